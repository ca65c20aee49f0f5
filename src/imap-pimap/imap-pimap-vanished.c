/* SPDX-License-Identifier: LGPL-2.1-only */
/* What has changed in a view: see imap-pimap-vanished.h.

   VANISHED has to come after the mailbox is open and before the first FETCH. That
   is where Dovecot's command begins to search for what has changed, and that
   search is the one to be widened. */

#include "imap-common.h"
#include "array.h"
#include "str.h"
#include "ostream.h"
#include "imap-arg.h"
#include "imap-commands.h"
#include "imap-seqset.h"
#include "imap-util.h"
#include "mail-search.h"
#include "mail-storage-private.h"
#include "pimap-view.h"
#include "imap-pimap-vanished.h"

/* What a command asks for */
struct vanished_request {
	struct client *client;
	uint64_t modseq;
	/* which of these have vanished, until it is answered */
	bool vanished;
	ARRAY_TYPE(seq_range) uid_filter;
};

/* that of the command which begins */
static struct vanished_request *vanished_request = NULL;

static void
send_vanished(struct client *client, const ARRAY_TYPE(seq_range) *uids)
{
	string_t *str;

	if (array_count(uids) == 0)
		return;
	str = str_new(default_pool, 128);
	str_append(str, "* VANISHED (EARLIER) ");
	imap_write_seq_range(str, uids);
	str_append(str, "\r\n");
	o_stream_nsend(client->output, str_data(str), str_len(str));
	str_free(&str);
}

static void
vanished_answer(struct mailbox *box, struct vanished_request *request)
{
	ARRAY_TYPE(seq_range) uids;

	request->vanished = FALSE;
	t_array_init(&uids, 32);
	pimap_view_get_hidden_since(box, request->modseq, &request->uid_filter,
				    &uids);
	send_vanished(request->client, &uids);
}

/* A search begins in a mailbox that has a view. */
static void
vanished_search_begins(struct mailbox *box, struct mail_search_args *args)
{
	/* other mailboxes are searched too, and before this one is synced */
	if (vanished_request == NULL || !box->synced ||
	    vanished_request->client->mailbox != box)
		return;
	if (vanished_request->vanished) T_BEGIN {
		vanished_answer(box, vanished_request);
	} T_END;
	pimap_view_widen_changes(box, args->args);
}

/* Returns the list after the word, or the end of the arguments; NULL if the word
   isn't there. */
static const struct imap_arg *
find_after(const struct imap_arg *args, const char *word)
{
	for (; !IMAP_ARG_IS_EOL(args); args++) {
		if (imap_arg_atom_equals(args, word))
			return &args[1];
	}
	return NULL;
}

/* The modifiers are the list that is the last argument. */
static const struct imap_arg *
find_modifier(const struct imap_arg *args, const char *word)
{
	const struct imap_arg *list;

	for (; !IMAP_ARG_IS_EOL(args); args++) {
		if (IMAP_ARG_IS_EOL(&args[1]) && imap_arg_get_list(args, &list))
			return find_after(list, word);
	}
	return NULL;
}

static bool get_modseq(const struct imap_arg *arg, uint64_t *modseq_r)
{
	const char *str;

	return arg != NULL && imap_arg_get_atom(arg, &str) &&
		str_to_uint64(str, modseq_r) == 0;
}

/* set items (CHANGEDSINCE modseq [VANISHED]) */
static bool
parse_fetch(const struct imap_arg *args, struct vanished_request *request_r)
{
	const char *set;

	if (!get_modseq(find_modifier(args, "CHANGEDSINCE"),
			&request_r->modseq))
		return FALSE;
	request_r->vanished = find_modifier(args, "VANISHED") != NULL;
	return imap_arg_get_atom(&args[0], &set) &&
		imap_seq_set_parse(set, &request_r->uid_filter) == 0;
}

/* mailbox (QRESYNC (uidvalidity modseq [known-uids] [(sample)])) */
static bool
parse_select(const struct imap_arg *args, struct vanished_request *request_r)
{
	const struct imap_arg *param = find_modifier(args, "QRESYNC"), *list;
	const char *set;

	if (param == NULL || !imap_arg_get_list(param, &list) ||
	    IMAP_ARG_IS_EOL(&list[0]) ||
	    !get_modseq(&list[1], &request_r->modseq))
		return FALSE;
	request_r->vanished = TRUE;
	if (imap_arg_get_atom(&list[2], &set)) {
		return imap_seq_set_nostar_parse(set,
						 &request_r->uid_filter) == 0;
	}
	seq_range_array_add_range(&request_r->uid_filter, 1, (uint32_t)-1);
	return TRUE;
}

static const struct {
	const char *cmd_name;
	bool (*parse)(const struct imap_arg *args,
		      struct vanished_request *request_r);
} vanished_commands[] = {
	{ "SELECT", parse_select },
	{ "EXAMINE", parse_select },
	{ "FETCH", parse_fetch },
	{ "UID FETCH", parse_fetch },
};

bool imap_pimap_vanished_run(struct client_command_context *cmd,
			     const struct imap_arg *args)
{
	struct vanished_request request;
	unsigned int i;
	bool ret;

	i_zero(&request);
	request.client = cmd->client;
	t_array_init(&request.uid_filter, 8);
	for (i = 0; i < N_ELEMENTS(vanished_commands); i++) {
		if (strcasecmp(vanished_commands[i].cmd_name, cmd->name) == 0 &&
		    vanished_commands[i].parse(args, &request))
			vanished_request = &request;
	}
	/* it begins to search before it returns */
	ret = cmd->func(cmd);
	vanished_request = NULL;
	return ret;
}

void imap_pimap_vanished_init(void)
{
	pimap_view_search_begins = vanished_search_begins;
}

void imap_pimap_vanished_deinit(void)
{
	pimap_view_search_begins = NULL;
}
