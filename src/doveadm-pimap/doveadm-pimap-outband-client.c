/* SPDX-License-Identifier: LGPL-2.1-only */
/* The other side of pimap-control.h. */

#include "lib.h"
#include "net.h"
#include "str.h"
#include "strescape.h"
#include "write-full.h"
#include "pimap-control.h"
#include "doveadm-pimap-outband.h"

#include <poll.h>
#include <unistd.h>

/* No request takes so long: the service, or the disk, hangs. */
#define OUTBAND_CLIENT_TIMEOUT_SECS 120
#define OUTBAND_CLIENT_HANDSHAKE_SECS 10

struct outband_client {
	pool_t pool;
	const char *path;
	int fd;
	unsigned int timeout_secs;

	string_t *input;
	size_t consumed;
	char **fields;
};

static int
outband_client_read_more(struct outband_client *client, const char **error_r)
{
	struct pollfd pfd = { .fd = client->fd, .events = POLLIN };
	char buf[4096];
	ssize_t ret;

	if (client->consumed > 0) {
		str_delete(client->input, 0, client->consumed);
		client->consumed = 0;
	}
	if (str_len(client->input) > PIMAP_CONTROL_MAX_ANSWER) {
		*error_r = t_strdup_printf("%s: the answer is too long",
					   client->path);
		return -1;
	}
	do {
		ret = poll(&pfd, 1, client->timeout_secs * 1000);
	} while (ret < 0 && errno == EINTR);
	if (ret == 0) {
		*error_r = t_strdup_printf("%s: no answer for %u seconds",
			client->path, client->timeout_secs);
		return -1;
	}
	ret = ret < 0 ? -1 : read(client->fd, buf, sizeof(buf));
	if (ret < 0) {
		*error_r = t_strdup_printf("read(%s) failed: %m", client->path);
		return -1;
	}
	if (ret == 0) {
		*error_r = t_strdup_printf("%s: the service closed the "
					   "connection", client->path);
		return -1;
	}
	str_append_data(client->input, buf, ret);
	return 0;
}

int outband_client_read(struct outband_client *client,
			const char *const **fields_r, const char **error_r)
{
	const char *line, *end;

	for (;;) {
		line = str_c(client->input) + client->consumed;
		end = strchr(line, '\n');
		if (end != NULL)
			break;
		if (outband_client_read_more(client, error_r) < 0)
			return -1;
	}
	client->consumed = end + 1 - str_c(client->input);
	if (client->fields != NULL)
		p_strsplit_free(default_pool, client->fields);
	T_BEGIN {
		client->fields = p_strsplit_tabescaped(default_pool,
						t_strdup_until(line, end));
	} T_END;
	*fields_r = (const char *const *)client->fields;
	return 0;
}

int outband_client_send(struct outband_client *client,
			const char *const *fields, const char **error_r)
{
	string_t *line = t_str_new(256);
	unsigned int i;

	for (i = 0; fields[i] != NULL; i++) {
		if (i > 0)
			str_append_c(line, '\t');
		str_append_tabescaped(line, fields[i]);
	}
	str_append_c(line, '\n');
	if (str_len(line) >= PIMAP_CONTROL_MAX_REQUEST) {
		*error_r = "The arguments are too long";
		return -1;
	}
	if (write_full(client->fd, str_data(line), str_len(line)) < 0) {
		*error_r = t_strdup_printf("write(%s) failed: %m",
					   client->path);
		return -1;
	}
	return 0;
}

static int
outband_client_handshake(struct outband_client *client, const char **error_r)
{
	const char *const version[] = {
		"VERSION", PIMAP_CONTROL_PROTOCOL,
		dec2str(PIMAP_CONTROL_MAJOR), dec2str(PIMAP_CONTROL_MINOR), NULL
	};
	const char *const *fields;
	unsigned int major;

	if (outband_client_send(client, version, error_r) < 0 ||
	    outband_client_read(client, &fields, error_r) < 0)
		return -1;
	if (str_array_length(fields) < 4 || strcmp(fields[0], "VERSION") != 0 ||
	    strcmp(fields[1], PIMAP_CONTROL_PROTOCOL) != 0 ||
	    str_to_uint(fields[2], &major) < 0 ||
	    major != PIMAP_CONTROL_MAJOR) {
		*error_r = t_strdup_printf("%s: there is something else, or "
					   "another version", client->path);
		return -1;
	}
	client->timeout_secs = OUTBAND_CLIENT_TIMEOUT_SECS;
	return 0;
}

int outband_client_connect(const char *base_dir, struct outband_client **client_r,
			   const char **error_r, bool *forbidden_r)
{
	const char *path = t_strconcat(base_dir, "/"PIMAP_CONTROL_SOCKET, NULL);
	struct outband_client *client;
	pool_t pool;
	int fd;

	fd = net_connect_unix(path);
	*forbidden_r = fd < 0 && errno == EACCES;
	if (fd < 0) {
		*error_r = *forbidden_r ?
			t_strdup_printf("Only root, and the user of the service "
				"pimap-outband, may ask it (connect(%s): %m)",
				path) :
			t_strdup_printf("The service pimap-outband doesn't run "
				"(connect(%s): %m)", path);
		return -1;
	}
	net_set_nonblock(fd, FALSE);
	pool = pool_alloconly_create("outband client", 1024);
	client = p_new(pool, struct outband_client, 1);
	client->pool = pool;
	client->path = p_strdup(pool, path);
	client->fd = fd;
	client->timeout_secs = OUTBAND_CLIENT_HANDSHAKE_SECS;
	client->input = str_new(default_pool, 4096);
	if (outband_client_handshake(client, error_r) < 0) {
		outband_client_disconnect(&client);
		return -1;
	}
	*client_r = client;
	return 0;
}

void outband_client_disconnect(struct outband_client **_client)
{
	struct outband_client *client = *_client;

	*_client = NULL;
	i_close_fd(&client->fd);
	str_free(&client->input);
	if (client->fields != NULL)
		p_strsplit_free(default_pool, client->fields);
	pool_unref(&client->pool);
}
