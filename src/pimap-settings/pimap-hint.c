/* SPDX-License-Identifier: LGPL-2.1-only */
/* Hints: one connection each, so that none of the many mail processes keeps one. */

#include "lib.h"
#include "net.h"
#include "sleep.h"
#include "str.h"
#include "strescape.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "pimap-hint.h"
#include "pimap-look.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

#define HINT_WAIT_MSECS 2000
/* A service that has just ended is tried again after. */
#define HINT_AGAIN_MSECS 50
#define HINT_MAX_ANSWER 256

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

static string_t *
hint_get_line(struct mail_user *user, const char *name, const char *arg,
	      const char *note)
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
	if (note != NULL) {
		str_append_c(text, '\t');
		str_append_tabescaped(text, note);
	}
	str_append_c(text, '\n');
	return text;
}

void pimap_hint_send_folder(struct mailbox *box, const char *note)
{
	struct mailbox_metadata metadata;

	mail_storage_last_error_push(box->storage);
	if (mailbox_get_metadata(box, MAILBOX_METADATA_GUID, &metadata) == 0) T_BEGIN {
		struct mail_user *user = box->storage->user;

		hint_send(user, hint_get_line(user, "HINT",
			guid_128_to_string(metadata.guid), note));
	} T_END;
	mail_storage_last_error_pop(box->storage);
}

void pimap_hint_send_list(struct mail_user *user)
{
	T_BEGIN {
		hint_send(user, hint_get_line(user, "HINT",
					      PIMAP_LOOK_LIST_GUID, NULL));
	} T_END;
}

/* It doesn't jump when the clock is set. */
static uint64_t hint_get_msecs(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts) < 0)
		i_fatal("clock_gettime() failed: %m");
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int hint_get_msecs_left(uint64_t deadline)
{
	uint64_t now = hint_get_msecs();

	return now >= deadline ? 0 : (int)(deadline - now);
}

/* Waits for the line that answers the hint. Returns 1 if it came, 0 if the other
   side has gone, -1 if it is too late. */
static int hint_wait(int fd, uint64_t deadline)
{
	char answer[HINT_MAX_ANSWER + 1];
	size_t size = 0;
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	ssize_t ret;
	int msecs;

	while (size < HINT_MAX_ANSWER) {
		msecs = hint_get_msecs_left(deadline);
		if (msecs == 0)
			return -1;
		if (poll(&pfd, 1, msecs) <= 0)
			continue;
		ret = read(fd, answer + size, HINT_MAX_ANSWER - size);
		if (ret < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (ret <= 0)
			return 0;
		size += ret;
		answer[size] = '\0';
		/* its VERSION comes first */
		if (strstr(answer, "\nOK\n") != NULL)
			return 1;
	}
	return 0;
}

int pimap_hint_tell_profile(struct mail_user *user, const char **error_r)
{
	const char *path = t_strconcat(user->set->base_dir,
				       "/"PIMAP_HINT_SOCKET, NULL);
	const string_t *text = hint_get_line(user, "PROFILE",
					     PIMAP_HINT_WAIT, NULL);
	uint64_t deadline = hint_get_msecs() + HINT_WAIT_MSECS;
	int fd, ret = 0;

	*error_r = "The notification service doesn't answer";
	while (ret == 0 && hint_get_msecs_left(deadline) > 0) {
		fd = net_connect_unix(path);
		if (fd == -1 && (errno == ENOENT || errno == ECONNREFUSED)) {
			/* It doesn't run, and asks when it does. */
			hint_fail(user, "net_connect_unix", path);
			return 0;
		}
		if (fd == -1 && errno != EAGAIN) {
			*error_r = t_strdup_printf(
				"The notification service can't be asked: %m");
			hint_fail(user, "net_connect_unix", path);
			return -1;
		}
		/* It may end before it has answered: the next one will. */
		if (fd != -1) {
			if (write(fd, str_data(text), str_len(text)) ==
			    (ssize_t)str_len(text))
				ret = hint_wait(fd, deadline);
			i_close_fd(&fd);
		}
		if (ret == 0)
			i_sleep_msecs(HINT_AGAIN_MSECS);
	}
	return ret > 0 ? 0 : -1;
}
