/* SPDX-License-Identifier: LGPL-2.1-only */
/* Who asks is known by the uid of his process, which the kernel tells. Which uid a
   user has, only a userdb knows: a worker looks there. */

#include "lib.h"
#include "base64.h"
#include "connection.h"
#include "llist.h"
#include "net.h"
#include "ostream.h"
#include "str.h"
#include "strescape.h"
#include "master-service.h"
#include "pimap-device.h"
#include "pimap-keys.h"
#include "outband-key-clients.h"
#include "outband-keys.h"
#include "outband-worker.h"

#include <unistd.h>

#define KEY_CLIENT_IDLE_SECS 30
#define KEY_CLIENT_MAX_LINE 2048
#define KEY_CLIENT_MAX_USER 1024
/* the others aren't waited for */
#define KEY_CLIENTS_MAX_WAITING 200
#define KEY_CLIENTS_MAX_WORKERS 4

struct outband_key_clients {
	struct event *event;
	struct connection_list *list;
	struct outband_keys *keys;
	struct outband_workers *workers;
	unsigned int max_keys;

	/* for a worker */
	struct key_client *wait_head, *wait_tail;
	unsigned int wait_count;
};

struct key_client {
	struct connection conn;
	struct key_client *prev, *next;
	struct outband_key_clients *clients;
	uid_t uid;
	/* NULL: it hasn't asked yet */
	char *user, *device;
	bool waiting;
	/* what a worker is asked for it */
	struct key_lookup *lookup;
};

struct key_lookup {
	struct outband_key_clients *clients;
	/* NULL: it has gone */
	struct key_client *client;
};

static void key_client_answer(struct key_client *client, const char *word,
			      const char *arg1, const char *arg2)
{
	string_t *line = t_str_new(128);

	str_append(line, word);
	if (arg1 != NULL) {
		str_append_c(line, '\t');
		str_append_tabescaped(line, arg1);
	}
	if (arg2 != NULL) {
		str_append_c(line, '\t');
		str_append_tabescaped(line, arg2);
	}
	str_append_c(line, '\n');
	o_stream_nsend(client->conn.output, str_data(line), str_len(line));
}

static void key_client_get(struct key_client *client)
{
	struct outband_key_clients *clients = client->clients;
	struct outband_device_key key;
	const char *error;
	int ret;

	ret = outband_keys_get(clients->keys, client->user, client->device,
			       pool_datastack_create(), &key, &error);
	if (ret >= 0 && key.key.number == 0) {
		ret = outband_keys_count(clients->keys, client->user, &error);
		if (ret >= 0 && (unsigned int)ret >= clients->max_keys) {
			key_client_answer(client, "FAIL",
					  "The user has too many keys", NULL);
			return;
		}
		if (ret >= 0) {
			ret = outband_keys_make(clients->keys, client->user,
				client->device, pool_datastack_create(), &key,
				&error);
		}
	}
	if (ret < 0) {
		e_error(clients->event, "%s", error);
		key_client_answer(client, "FAIL", "It can't be had now", NULL);
	} else if (key.used) {
		key_client_answer(client, "USED", NULL, NULL);
	} else {
		key_client_answer(client, "KEY",
			t_strdup_printf("%u", key.key.number),
			str_c(t_base64_encode(0, SIZE_MAX, key.key.key,
					      sizeof(key.key.key))));
	}
}

static void key_lookup_done(struct outband_answer *answer, void *context)
{
	struct key_lookup *lookup = context;
	struct key_client *client = lookup->client;

	if (client != NULL) T_BEGIN {
		client->lookup = NULL;
		if (answer->result == OUTBAND_ANSWER_OK &&
		    answer->uid == client->uid &&
		    answer->uid != (uid_t)-1)
			key_client_get(client);
		else if (answer->result == OUTBAND_ANSWER_OK ||
			 answer->result == OUTBAND_ANSWER_GONE) {
			e_warning(lookup->clients->event, "A process of uid %ld "
				  "isn't given the key of %s#%s",
				  (long)client->uid, client->user,
				  client->device);
			key_client_answer(client, "FAIL",
					  "This uid isn't the user's", NULL);
		} else {
			key_client_answer(client, "FAIL", "The user can't be "
					  "looked up now", NULL);
		}
	} T_END;
	outband_answer_deinit(&answer);
	i_free(lookup);
}

static void key_clients_lookup(void *context)
{
	struct outband_key_clients *clients = context;
	struct key_client *client;
	struct key_lookup *lookup;
	string_t *line;

	while ((client = clients->wait_head) != NULL &&
	       outband_workers_is_one_free(clients->workers)) T_BEGIN {
		DLLIST2_REMOVE(&clients->wait_head, &clients->wait_tail, client);
		clients->wait_count--;
		client->waiting = FALSE;
		lookup = i_new(struct key_lookup, 1);
		lookup->clients = clients;
		lookup->client = client;
		client->lookup = lookup;
		line = t_str_new(128);
		str_append(line, "USER\t");
		str_append_tabescaped(line, client->user);
		if (!outband_workers_send(clients->workers, str_c(line), NULL,
					  key_lookup_done, lookup)) {
			client->lookup = NULL;
			i_free(lookup);
			key_client_answer(client, "FAIL",
					  "There is no worker", NULL);
		}
	} T_END;
}

static int
key_client_input_args(struct connection *conn, const char *const *args)
{
	struct key_client *client = container_of(conn, struct key_client, conn);
	struct outband_key_clients *clients = client->clients;
	struct net_unix_cred cred;

	if (client->user != NULL || str_array_length(args) != 3 ||
	    strcmp(args[0], "KEY") != 0 || args[1][0] == '\0' ||
	    strlen(args[1]) > KEY_CLIENT_MAX_USER ||
	    outband_has_control(args[1]) ||
	    !pimap_device_id_is_valid(args[2])) {
		e_error(conn->event, "Invalid request for a key");
		return -1;
	}
	client->user = i_strdup(args[1]);
	client->device = i_strdup(args[2]);
	if (net_getunixcred(conn->fd_in, &cred) < 0) {
		e_error(conn->event, "Who asks for a key can't be known: %m");
		return -1;
	}
	client->uid = cred.uid;
	if (!outband_keys_is_open(clients->keys))
		key_client_answer(client, "FAIL", "The service hasn't begun yet",
				  NULL);
	else if (cred.uid == 0 || cred.uid == geteuid())
		key_client_get(client);
	else if (clients->wait_count >= KEY_CLIENTS_MAX_WAITING)
		key_client_answer(client, "FAIL", "Too many ask", NULL);
	else {
		client->waiting = TRUE;
		clients->wait_count++;
		DLLIST2_APPEND(&clients->wait_head, &clients->wait_tail, client);
		key_clients_lookup(clients);
	}
	return 1;
}

static void key_client_destroy(struct connection *conn)
{
	struct key_client *client = container_of(conn, struct key_client, conn);
	struct outband_key_clients *clients = client->clients;

	if (client->waiting) {
		DLLIST2_REMOVE(&clients->wait_head, &clients->wait_tail, client);
		clients->wait_count--;
	}
	if (client->lookup != NULL)
		client->lookup->client = NULL;
	connection_deinit(conn);
	i_free(client->user);
	i_free(client->device);
	i_free(client);
	master_service_client_connection_destroyed(master_service);
}

static const struct connection_vfuncs key_client_vfuncs = {
	.destroy = key_client_destroy,
	.input_args = key_client_input_args,
};

static const struct connection_settings key_client_set = {
	.service_name_in = PIMAP_KEYS_PROTOCOL,
	.service_name_out = PIMAP_KEYS_PROTOCOL,
	.major_version = PIMAP_KEYS_MAJOR,
	.minor_version = PIMAP_KEYS_MINOR,
	.input_idle_timeout_secs = KEY_CLIENT_IDLE_SECS,
	.input_max_size = KEY_CLIENT_MAX_LINE,
	.output_max_size = IO_BLOCK_SIZE,
};

struct outband_key_clients *
outband_key_clients_init(struct event *event_parent, const char *worker_path,
			 struct outband_keys *keys, unsigned int max_keys)
{
	struct outband_key_clients *clients;

	clients = i_new(struct outband_key_clients, 1);
	clients->event = event_create(event_parent);
	clients->keys = keys;
	clients->max_keys = max_keys;
	clients->workers = outband_workers_init(clients->event, worker_path,
						KEY_CLIENTS_MAX_WORKERS,
						key_clients_lookup, clients);
	clients->list = connection_list_init(&key_client_set,
					     &key_client_vfuncs);
	return clients;
}

void outband_key_clients_deinit(struct outband_key_clients **_clients)
{
	struct outband_key_clients *clients = *_clients;

	*_clients = NULL;
	connection_list_deinit(&clients->list);
	outband_workers_deinit(&clients->workers);
	event_unref(&clients->event);
	i_free(clients);
}

void outband_key_clients_connected(struct outband_key_clients *clients,
				   struct master_service_connection *conn)
{
	struct key_client *client;

	client = i_new(struct key_client, 1);
	client->clients = clients;
	client->conn.event_parent = clients->event;
	connection_init_server(clients->list, &client->conn, conn->name,
			       conn->fd, conn->fd);
}

void outband_key_clients_disconnect(struct outband_key_clients *clients)
{
	while (clients->list->connections != NULL)
		key_client_destroy(clients->list->connections);
}
