/* SPDX-License-Identifier: LGPL-2.1-only */
/* Hints: one connection each, so that none of the many mail processes keeps one. */

#include "lib.h"
#include "net.h"
#include "str.h"
#include "strescape.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "pimap-hint.h"
#include "pimap-look.h"

#include <unistd.h>

#define HINT_VERSION "VERSION\t"PIMAP_HINT_PROTOCOL"\t" \
	DEC2STR(PIMAP_HINT_MAJOR)"\t"DEC2STR(PIMAP_HINT_MINOR)"\n"
#define DEC2STR(n) DEC2STR2(n)
#define DEC2STR2(n) #n

static bool hint_failed = FALSE;

static void hint_fail(struct mail_user *user, const char *func, const char *path)
{
	/* a queue that is full is no fault */
	if (errno == EAGAIN || hint_failed)
		return;
	hint_failed = TRUE;
	e_error(user->event, "pimap: %s(%s) failed: %m "
		"(notifications are late until the service runs)", func, path);
}

static void hint_send(struct mail_user *user, const string_t *text)
{
	const char *path = t_strconcat(user->set->base_dir,
				       "/"PIMAP_HINT_SOCKET, NULL);
	int fd = net_connect_unix(path);

	if (fd == -1) {
		hint_fail(user, "net_connect_unix", path);
		return;
	}
	if (write(fd, str_data(text), str_len(text)) < 0)
		hint_fail(user, "write", path);
	else
		hint_failed = FALSE;
	i_close_fd(&fd);
}

static void
hint_send_line(struct mail_user *user, const char *name, const char *arg)
{
	string_t *text = t_str_new(256);

	str_append(text, HINT_VERSION);
	str_append(text, name);
	str_append_c(text, '\t');
	str_append_tabescaped(text, user->username);
	if (arg != NULL) {
		str_append_c(text, '\t');
		str_append(text, arg);
	}
	str_append_c(text, '\n');
	hint_send(user, text);
}

void pimap_hint_send_folder(struct mailbox *box)
{
	struct mailbox_metadata metadata;

	mail_storage_last_error_push(box->storage);
	if (mailbox_get_metadata(box, MAILBOX_METADATA_GUID, &metadata) == 0) T_BEGIN {
		hint_send_line(box->storage->user, "HINT",
			       guid_128_to_string(metadata.guid));
	} T_END;
	mail_storage_last_error_pop(box->storage);
}

void pimap_hint_send_profile(struct mail_user *user)
{
	T_BEGIN {
		hint_send_line(user, "PROFILE", NULL);
	} T_END;
}
