/* SPDX-License-Identifier: LGPL-2.1-only */
/* The service pimap-outband has the keys, and makes one for a device that has none
   (pimap-keys.h). That takes a moment, for which the session waits. */

#include "imap-common.h"
#include "net.h"
#include "str.h"
#include "strescape.h"
#include "write-full.h"
#include "mail-user.h"
#include "pimap-compat.h"
#include "pimap-keys.h"
#include "pimap-settings.h"
#include "pimap-user.h"
#include "imap-pimap-key.h"

#include <poll.h>
#include <unistd.h>

#define KEY_TIMEOUT_MSECS (5*1000)
#define KEY_MAX_ANSWER 1024

/* Returns 0, or -1 and error_r. */
static int
key_read_line(int fd, const char *path, string_t *input, const char **line_r,
	      const char **error_r)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char buf[KEY_MAX_ANSWER];
	const char *end;
	ssize_t ret;

	while ((end = strchr(str_c(input), '\n')) == NULL) {
		ret = poll(&pfd, 1, KEY_TIMEOUT_MSECS);
		if (ret < 0 && errno == EINTR)
			continue;
		if (ret > 0)
			ret = read(fd, buf, sizeof(buf));
		else if (ret == 0)
			errno = ETIMEDOUT;
		if (ret <= 0 || str_len(input) > KEY_MAX_ANSWER) {
			*error_r = t_strdup_printf("read(%s) failed: %s", path,
				ret < 0 || errno == ETIMEDOUT ?
				strerror(errno) : "it isn't answered");
			return -1;
		}
		str_append_data(input, buf, ret);
	}
	*line_r = t_strdup_until(str_c(input), end);
	str_delete(input, 0, end + 1 - str_c(input));
	return 0;
}

/* Returns 1 and key_r, 0 if it isn't given out, or -1 and error_r. */
static int
key_request(int fd, const char *path, const char *user, const char *device,
	    const char **key_r, const char **error_r)
{
	string_t *request = t_str_new(256), *input = t_str_new(256);
	const char *line, *const *fields;

	str_printfa(request, "VERSION\t"PIMAP_KEYS_PROTOCOL"\t%u\t%u\nKEY\t",
		    PIMAP_KEYS_MAJOR, PIMAP_KEYS_MINOR);
	str_append_tabescaped(request, user);
	str_printfa(request, "\t%s\n", device);
	if (write_full(fd, str_data(request), str_len(request)) < 0) {
		*error_r = t_strdup_printf("write(%s) failed: %m", path);
		return -1;
	}
	/* its version is the first one */
	if (key_read_line(fd, path, input, &line, error_r) < 0 ||
	    key_read_line(fd, path, input, &line, error_r) < 0)
		return -1;
	fields = t_strsplit_tabescaped(line);
	if (null_strcmp(fields[0], "KEY") == 0 &&
	    str_array_length(fields) == 3) {
		*key_r = t_strconcat(fields[1], ":", fields[2], NULL);
		return 1;
	}
	if (null_strcmp(fields[0], "USED") == 0)
		return 0;
	/* not what it says: it could be a key after all */
	*error_r = t_strdup_printf("%s: %s", path,
		null_strcmp(fields[0], "FAIL") == 0 && fields[1] != NULL ?
		fields[1] : "the service's answer isn't known");
	return -1;
}

static bool key_transport_is_allowed(struct client *client, const char *transport)
{
	if (strcmp(transport, "never") == 0)
		return FALSE;
	if (strcmp(transport, "tls") == 0)
		return pimap_mail_user_is_tls(client->user);
	return pimap_mail_user_is_secured(client->user);
}

const char *imap_pimap_key_get(struct client *client,
			       const struct pimap_user *puser,
			       const char *device)
{
	const char *path, *key, *error;
	int fd, ret;

	if (!key_transport_is_allowed(client, puser->set->pimap_key_transport))
		return NULL;
	path = t_strconcat(client->user->set->base_dir, "/"PIMAP_KEYS_SOCKET,
			   NULL);
	fd = net_connect_unix(path);
	if (fd == -1) {
		error = t_strdup_printf("connect(%s) failed: %m", path);
		ret = -1;
	} else {
		net_set_nonblock(fd, FALSE);
		ret = key_request(fd, path, client->user->username, device,
				  &key, &error);
		i_close_fd(&fd);
	}
	/* the client asks again */
	if (ret < 0)
		e_error(client->event, "pimap: The key of device %s isn't "
			"given to it: %s", device, error);
	return ret > 0 ? key : NULL;
}
