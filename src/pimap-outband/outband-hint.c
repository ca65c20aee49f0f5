/* SPDX-License-Identifier: LGPL-2.1-only */
/* Hints: their lines, and the connections that they come over. */

#include "lib.h"
#include "net.h"
#include "connection.h"
#include "ostream.h"
#include "master-service.h"
#include "pimap-look.h"
#include "outband-answer.h"
#include "outband-judge.h"
#include "outband-hint.h"

/* No user's name is longer, and no hint. */
#define OUTBAND_HINT_MAX_USER 512
#define OUTBAND_HINT_MAX_LINE (PIMAP_NOTE_MAX_SIZE + 1024)
/* Clients that don't say anything take the place of others. */
#define OUTBAND_HINT_IDLE_SECS (5*60)

struct outband_hints {
	struct event *event;
	struct connection_list *list;
	struct outband_judge *judge;
	outband_hint_callback_t *callback;
	void *context;
};

struct outband_hint_client {
	struct connection conn;
	struct outband_hints *hints;
	/* who it is, -1 = not known */
	uid_t uid;
	/* it has no further input before it is answered */
	struct outband_judge_wait *wait;
	/* who has changed */
	char *user;
};

bool outband_hint_parse(const char *const *args, const char **user_r,
			const char **guid_r, const char **note_r, bool *wait_r,
			const char **error_r)
{
	unsigned int count = str_array_length(args);

	if (count < 2 || args[1][0] == '\0' ||
	    strlen(args[1]) > OUTBAND_HINT_MAX_USER ||
	    outband_has_control(args[1])) {
		*error_r = "no user in it";
		return FALSE;
	}
	*user_r = args[1];
	*note_r = NULL;
	*wait_r = FALSE;
	if (strcmp(args[0], "PROFILE") == 0) {
		*guid_r = "";
		*wait_r = count > 2 && strcmp(args[2], PIMAP_HINT_WAIT) == 0;
		return TRUE;
	}
	if (strcmp(args[0], "HINT") != 0) {
		*error_r = "unknown word";
		return FALSE;
	}
	*guid_r = count < 3 ? NULL : outband_guid_parse(args[2]);
	if (*guid_r == NULL) {
		*error_r = "no GUID in it";
		return FALSE;
	}
	if (count < 4)
		return TRUE;
	if (strlen(args[3]) > PIMAP_NOTE_MAX_SIZE ||
	    outband_has_control(args[3])) {
		*error_r = "invalid note";
		return FALSE;
	}
	*note_r = args[3];
	return TRUE;
}

static void outband_hint_destroy(struct connection *conn)
{
	struct outband_hint_client *client =
		container_of(conn, struct outband_hint_client, conn);

	if (client->wait != NULL)
		outband_judge_unwait(&client->wait);
	connection_deinit(conn);
	i_free(client->user);
	i_free(client);
	master_service_client_connection_destroyed(master_service);
}

/* Of a user that isn't known there may be no other hint. Who gets no answer tries
   again. */
static void
outband_hint_answer(struct outband_hint_client *client, const char *user)
{
	if (!outband_judge_add_user(client->hints->judge, user))
		return;
	o_stream_nsend_str(client->conn.output, "OK\n");
}

static void outband_hint_waited(void *context)
{
	struct outband_hint_client *client = context;

	client->wait = NULL;
	outband_hint_answer(client, client->user);
	connection_input_resume(&client->conn);
}

/* Returns FALSE if it is answered later. */
static bool
outband_hint_profile(struct outband_hint_client *client, const char *user,
		     bool wait)
{
	client->wait = outband_judge_changed(client->hints->judge, user,
		wait ? outband_hint_waited : NULL, client);
	if (client->wait != NULL) {
		i_free(client->user);
		client->user = i_strdup(user);
		connection_input_halt(&client->conn);
		return FALSE;
	}
	if (wait)
		outband_hint_answer(client, user);
	return TRUE;
}

static int
outband_hint_input_args(struct connection *conn, const char *const *args)
{
	struct outband_hint_client *client =
		container_of(conn, struct outband_hint_client, conn);
	const char *user, *guid, *note, *error;
	bool wait, go_on = TRUE;

	if (!outband_hint_parse(args, &user, &guid, &note, &wait, &error)) {
		e_error(conn->event, "Invalid hint: %s", error);
		return -1;
	}
	if (*guid == '\0')
		go_on = outband_hint_profile(client, user, wait);
	if (note != NULL) {
		note = client->uid == (uid_t)-1 ? NULL :
			t_strdup_printf("%s:%s", dec2str(client->uid), note);
	}
	client->hints->callback(user, guid, note, client->hints->context);
	return go_on ? 1 : 0;
}

static const struct connection_vfuncs outband_hint_vfuncs = {
	.destroy = outband_hint_destroy,
	.input_args = outband_hint_input_args,
};

static const struct connection_settings outband_hint_set = {
	.service_name_in = PIMAP_HINT_PROTOCOL,
	.service_name_out = PIMAP_HINT_PROTOCOL,
	.major_version = PIMAP_HINT_MAJOR,
	.minor_version = PIMAP_HINT_MINOR,
	.input_idle_timeout_secs = OUTBAND_HINT_IDLE_SECS,
	.input_max_size = OUTBAND_HINT_MAX_LINE,
	.output_max_size = IO_BLOCK_SIZE,
};

struct outband_hints *
outband_hints_init(struct event *event_parent, struct outband_judge *judge,
		   outband_hint_callback_t *callback, void *context)
{
	struct outband_hints *hints;

	hints = i_new(struct outband_hints, 1);
	hints->event = event_create(event_parent);
	hints->judge = judge;
	hints->callback = callback;
	hints->context = context;
	hints->list = connection_list_init(&outband_hint_set,
					   &outband_hint_vfuncs);
	return hints;
}

void outband_hints_deinit(struct outband_hints **_hints)
{
	struct outband_hints *hints = *_hints;

	*_hints = NULL;
	connection_list_deinit(&hints->list);
	event_unref(&hints->event);
	i_free(hints);
}

void outband_hints_connected(struct outband_hints *hints,
			     struct master_service_connection *conn)
{
	struct outband_hint_client *client;
	struct net_unix_cred cred;

	client = i_new(struct outband_hint_client, 1);
	client->hints = hints;
	client->uid = net_getunixcred(conn->fd, &cred) < 0 ? (uid_t)-1 :
		cred.uid;
	client->conn.event_parent = hints->event;
	connection_init_server(hints->list, &client->conn, conn->name,
			       conn->fd, conn->fd);
}

void outband_hints_disconnect(struct outband_hints *hints)
{
	while (hints->list->connections != NULL)
		outband_hint_destroy(hints->list->connections);
}
