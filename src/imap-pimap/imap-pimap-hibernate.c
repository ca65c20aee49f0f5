/* SPDX-License-Identifier: LGPL-2.1-only */
/* A session in IDLE sleeps in imap-hibernate, and wakes in another imap process
   with what it has shown. What Dovecot passes on is made of blocks, each begun
   by a line with its name: pimap's comes before Dovecot's, and is one line. */

#include "imap-common.h"
#include "array.h"
#include "str.h"
#include "ostream.h"
#include "imap-util.h"
#include "mail-storage-private.h"
#include "pimap-user.h"
#include "pimap-view.h"
#include "imap-pimap-plugin.h"
#include "imap-pimap-idle.h"
#include "imap-pimap-resync.h"
#include "imap-pimap-hibernate.h"

#define BLOCK_NAME "pimap\n"
/* More isn't worth it: imap-hibernate would keep it in its memory. */
#define BLOCK_MAX_SIZE (64*1024)

static bool block_append(struct client *client, buffer_t *dest)
{
	const struct imap_pimap_client *pclient =
		IMAP_PIMAP_CONTEXT_REQUIRE(client);
	string_t *line = t_str_new(256);

	str_append_c(line, pclient->resync_sent ? '1' : '0');
	pimap_view_state_append(client->mailbox, line);
	str_append_c(line, '\n');
	if (str_len(line) > BLOCK_MAX_SIZE)
		return FALSE;
	buffer_append(dest, BLOCK_NAME, strlen(BLOCK_NAME));
	buffer_append(dest, str_data(line), str_len(line));
	return TRUE;
}

/* imap-hibernate wakes a session when its folder changes or the client says
   something, and not at a time. */
static const char *get_wakefulness(struct client *client)
{
	const struct imap_pimap_client *pclient =
		IMAP_PIMAP_CONTEXT_REQUIRE(client);

	if (pimap_view_expires(client->mailbox))
		return "the device's view changes by time";
	if (pclient->to_bye != NULL)
		return "the device's session is about to end";
	if (imap_pimap_idle_is_awaited(client)) {
		imap_pimap_idle_kept_awake(client);
		return "notifications wait for what the device reads";
	}
	return NULL;
}

int imap_pimap_state_export(struct client *client, bool internal,
			    buffer_t *dest, const char **error_r)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);
	struct mailbox *box = client->mailbox;
	int ret;

	if (!internal || box == NULL) {
		return pclient->module_ctx.super.state_export(client, internal,
							      dest, error_r);
	}
	*error_r = get_wakefulness(client);
	if (*error_r != NULL)
		return 0;
	if (!block_append(client, dest)) {
		*error_r = "the device's view has too many messages";
		return 0;
	}
	pimap_view_set_asleep(box, TRUE);
	ret = pclient->module_ctx.super.state_export(client, internal, dest,
						     error_r);
	pimap_view_set_asleep(box, FALSE);
	return ret;
}

static ssize_t
block_import(struct client *client, const unsigned char *data, size_t size,
	     const char **error_r)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);
	struct pimap_user *puser = pimap_user_get(client->user);
	const size_t name_len = strlen(BLOCK_NAME);
	const unsigned char *end;
	int ret = -1;

	data += name_len;
	end = memchr(data, '\n', size - name_len);
	if (end != NULL && end > data) T_BEGIN {
		pclient->resync_sent = data[0] == '1';
		ret = pimap_view_state_parse(client->pool,
			t_strdup_until(data + 1, end), &puser->view_state);
	} T_END;
	if (ret < 0) {
		*error_r = "Invalid pimap state";
		return 0;
	}
	return name_len + (end - data) + 1;
}

/* What is gone is told now; IDLE goes on, or the next command begins, with a sync
   that tells the rest. */
static void client_wake(struct client *client)
{
	ARRAY_TYPE(seq_range) uids, seqs;
	const struct seq_range *range;
	unsigned int i, count, recent_count;
	uint32_t seq;
	string_t *str = t_str_new(128);

	t_array_init(&uids, 32);
	t_array_init(&seqs, 32);
	if (!pimap_view_wake(client->mailbox, &uids, &seqs, &count,
			     &recent_count))
		return;
	client->messages_count = count;
	client->recent_count = recent_count;
	if (array_count(&uids) == 0)
		return;
	if (client_has_enabled(client, imap_feature_qresync)) {
		str_append(str, "* VANISHED ");
		imap_write_seq_range(str, &uids);
		str_append(str, "\r\n");
	} else {
		for (i = array_count(&seqs); i > 0; i--) {
			range = array_idx(&seqs, i - 1);
			for (seq = range->seq2; seq >= range->seq1; seq--)
				str_printfa(str, "* %u EXPUNGE\r\n", seq);
		}
	}
	o_stream_nsend(client->output, str_data(str), str_len(str));
}

ssize_t
imap_pimap_state_import(struct client *client, bool internal,
			const unsigned char *data, size_t size,
			const char **error_r)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);
	struct pimap_user *puser = pimap_user_get(client->user);
	bool resync_sent = pclient->resync_sent;
	ssize_t ret;

	if (internal && size > strlen(BLOCK_NAME) &&
	    memcmp(data, BLOCK_NAME, strlen(BLOCK_NAME)) == 0)
		return block_import(client, data, size, error_r);

	imap_pimap_idle_woken(client);
	/* the mailbox comes before what the client has enabled */
	puser->views_tracked = TRUE;
	ret = pclient->module_ctx.super.state_import(client, internal, data,
						     size, error_r);
	puser->view_state = NULL;
	if (ret > 0 && client->mailbox != NULL) T_BEGIN {
		client_wake(client);
		imap_pimap_resync_selected(client);
		pclient->resync_sent = resync_sent;
	} T_END;
	return ret;
}
