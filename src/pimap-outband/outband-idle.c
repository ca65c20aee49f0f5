/* SPDX-License-Identifier: LGPL-2.1-only */
/* What is held, and the sessions that may say that it was read.

   What isn't surely read is sent: a session that ends, that can't be asked or doesn't
   answer has read nothing. A notification whose sessions are all gone isn't held any
   longer, but for two cases, where one may come back: this process has begun, which
   the sessions notice; or the session is asleep in imap-hibernate, which wakes it when
   the folder changes. */

#include "lib.h"
#include "array.h"
#include "connection.h"
#include "hash.h"
#include "ioloop.h"
#include "llist.h"
#include "net.h"
#include "ostream.h"
#include "str.h"
#include "strescape.h"
#include "master-service.h"
#include "pimap-device.h"
#include "pimap-idle.h"
#include "pimap-look.h"
#include "pimap-settings.h"
#include "outband-sender.h"
#include "outband-store.h"
#include "outband-worker.h"
#include "outband-idle.h"

#include <unistd.h>

#define IDLE_MAX_LINE 2048
#define IDLE_MAX_USER 1024
#define IDLE_MAX_WORKERS 2
/* Sessions that wait to be believed: the others aren't waited for. */
#define IDLE_MAX_WAITING 1000
/* of a device; then nothing more is held */
#define IDLE_MAX_ROWS 500
#define IDLE_MAX_LOAD (IDLE_MAX_ROWS + 2*PIMAP_LOOK_MAX_EVENTS)
#define IDLE_STORE_RETRY_MSECS (10*1000)
#define IDLE_ANSWER_MSECS (PIMAP_IDLE_ANSWER_MSECS + 2000)
/* until then imap-hibernate has woken a session whose folder has changed */
#define IDLE_WAKE_SECS 10

enum idle_row_state {
	/* for its time */
	IDLE_ROW_WAITS,
	/* for the sessions' answers */
	IDLE_ROW_ASKED,
	/* for the store, which couldn't be written */
	IDLE_ROW_READ,
	IDLE_ROW_UNREAD
};

struct idle_row_client {
	struct idle_client *client;
	bool answered;
};

struct idle_row {
	struct idle_row *prev, *next;
	struct idle_device *device;
	int64_t id;
	char *guid, *event;
	uint32_t uid;
	struct outband_changes changes;
	/* it isn't held (any more), but its channel repeats it */
	bool sending, repeats;
	enum idle_row_state state;
	const char *reason;
	struct timeout *to;
	/* those that were told to wait for it */
	ARRAY(struct idle_row_client) clients;
};

struct idle_device {
	struct outband_idles *idles;
	char *user, *device;
	struct idle_row *rows;
	unsigned int rows_count;
	struct idle_client *clients;
	/* of a session that is asleep, NULL = there is none */
	char *asleep_guid;
	struct timeout *to_load;
};

struct idle_client {
	struct connection conn;
	struct idle_client *prev, *next;
	struct outband_idles *idles;
	struct idle_device *device;
	/* where it was in IDLE last */
	char *guid;
	bool idle, asleep, believed, waiting;
	struct idle_lookup *lookup;
	/* those that aren't believed yet */
	struct idle_client *wait_prev, *wait_next;
};

struct idle_lookup {
	struct outband_idles *idles;
	/* NULL: it has gone */
	struct idle_client *client;
};

struct outband_idles {
	struct event *event;
	const struct pimap_settings *set;
	struct outband_sender *sender;
	struct outband_store *store;
	struct outband_workers *workers;
	struct connection_list *list;
	struct idle_client *wait_head, *wait_tail;
	unsigned int wait_count;
	HASH_TABLE(struct idle_device *, struct idle_device *) devices;
	uint64_t read, unread;
	bool store_failed, stopping, full_logged;
};

static void idle_row_timeout(struct idle_row *row);
static void idle_client_destroy(struct connection *conn);

static unsigned int idle_device_hash(const struct idle_device *device)
{
	return str_hash(device->user) * 31 + str_hash(device->device);
}

static int
idle_device_cmp(const struct idle_device *device1,
		const struct idle_device *device2)
{
	int ret = strcmp(device1->user, device2->user);

	return ret != 0 ? ret : strcmp(device1->device, device2->device);
}

static struct idle_device *
idle_device_lookup(struct outband_idles *idles, const char *user,
		   const char *device)
{
	struct idle_device key;

	i_zero(&key);
	key.user = (char *)user;
	key.device = (char *)device;
	return hash_table_lookup(idles->devices, &key);
}

static struct idle_device *
idle_device_get(struct outband_idles *idles, const char *user,
		const char *device)
{
	struct idle_device *dev = idle_device_lookup(idles, user, device);

	if (dev == NULL) {
		dev = i_new(struct idle_device, 1);
		dev->idles = idles;
		dev->user = i_strdup(user);
		dev->device = i_strdup(device);
		hash_table_insert(idles->devices, dev, dev);
	}
	return dev;
}

static void idle_device_free(struct idle_device *dev)
{
	hash_table_remove(dev->idles->devices, dev);
	timeout_remove(&dev->to_load);
	i_free(dev->asleep_guid);
	i_free(dev->user);
	i_free(dev->device);
	i_free(dev);
}

static void idle_device_free_unused(struct idle_device *dev)
{
	if (dev->rows == NULL && dev->clients == NULL &&
	    dev->asleep_guid == NULL && dev->to_load == NULL)
		idle_device_free(dev);
}

static void
idle_store_failed(struct outband_idles *idles, const char *error)
{
	if (!idles->store_failed)
		e_error(idles->event, "%s (it is tried again)", error);
	idles->store_failed = TRUE;
}

/* What is held */

static void
idle_client_send(struct idle_client *client, const char *word, int64_t id)
{
	T_BEGIN {
		o_stream_nsend_str(client->conn.output,
			t_strdup_printf("%s\t%"PRId64"\n", word, id));
	} T_END;
}

static void idle_row_free(struct idle_row *row)
{
	struct idle_device *dev = row->device;
	const struct idle_row_client *rc;

	array_foreach(&row->clients, rc)
		idle_client_send(rc->client, "FORGET", row->id);
	DLLIST_REMOVE(&dev->rows, row);
	dev->rows_count--;
	timeout_remove(&row->to);
	array_free(&row->clients);
	i_free(row->guid);
	i_free(row->event);
	i_free(row);
}

static void idle_row_wait(struct idle_row *row, time_t secs)
{
	timeout_remove(&row->to);
	if (secs <= 0)
		row->to = timeout_add_short(0, idle_row_timeout, row);
	else
		row->to = timeout_add(secs * 1000, idle_row_timeout, row);
}

static void idle_row_wait_again(struct idle_row *row)
{
	row->state = IDLE_ROW_WAITS;
	idle_row_wait(row, row->device->idles->set->pimap_inband_grace);
}

static void idle_row_wait_store(struct idle_row *row, enum idle_row_state state)
{
	row->state = state;
	timeout_remove(&row->to);
	row->to = timeout_add(IDLE_STORE_RETRY_MSECS, idle_row_timeout, row);
}

static void idle_row_log_read(struct idle_row *row)
{
	struct idle_device *dev = row->device;
	struct event_passthrough *e =
		event_create_passthrough(dev->idles->event)->
		set_name("pimap_notification_finished")->
		add_str("user", dev->user)->
		add_str("device", dev->device)->
		add_str("type", row->event)->
		add_str("result", "read inband");

	e_debug(e->event(), "%s#%s: Notification %s: read inband", dev->user,
		dev->device, row->event);
}

/* Frees the row, if it can be done now. */
static void idle_row_read(struct idle_row *row)
{
	struct idle_device *dev = row->device;
	struct outband_idles *idles = dev->idles;
	const char *error;
	int ret;

	/* what is being sent is the channel's to end */
	ret = row->sending && outband_sender_read(idles->sender, dev->user,
						  dev->device, row->id) ? 2 :
		outband_store_read(idles->store, dev->user, row->id,
				   !row->sending, &error);
	if (ret < 0) {
		idle_store_failed(idles, error);
		idle_row_wait_store(row, IDLE_ROW_READ);
		return;
	}
	idles->store_failed = FALSE;
	if (ret > 0)
		idles->read++;
	if (ret == 1) {
		idle_row_log_read(row);
		outband_sender_wake(idles->sender, dev->user, dev->device);
	}
	idle_row_free(row);
	idle_device_free_unused(dev);
}

/* It is to be sent. */
static void idle_row_unread(struct idle_row *row, const char *reason)
{
	struct idle_device *dev = row->device;
	struct outband_idles *idles = dev->idles;
	const char *error;
	int ret;

	if (row->sending) {
		idle_row_wait_again(row);
		return;
	}
	row->reason = reason;
	ret = outband_store_release(idles->store, dev->user, row->id, reason,
				    &error);
	if (ret < 0) {
		idle_store_failed(idles, error);
		idle_row_wait_store(row, IDLE_ROW_UNREAD);
		return;
	}
	idles->store_failed = FALSE;
	if (ret > 0) {
		idles->unread++;
		outband_sender_wake(idles->sender, dev->user, dev->device);
	}
	/* */
	if (ret > 0 && row->repeats && array_count(&row->clients) > 0) {
		row->sending = TRUE;
		idle_row_wait_again(row);
		return;
	}
	idle_row_free(row);
	idle_device_free_unused(dev);
}

static void idle_row_ask(struct idle_row *row)
{
	struct idle_row_client *rc;

	row->state = IDLE_ROW_ASKED;
	array_foreach_modifiable(&row->clients, rc) {
		rc->answered = FALSE;
		idle_client_send(rc->client, "ASK", row->id);
	}
	timeout_remove(&row->to);
	row->to = timeout_add(IDLE_ANSWER_MSECS, idle_row_timeout, row);
}

/* Returns 1, 0 if it is finished, or -1 if that can't be known. */
static int idle_row_is_repeated(struct idle_row *row)
{
	struct idle_device *dev = row->device;
	ARRAY_TYPE(outband_row) rows;
	const struct outband_row *r;
	const char *error;
	int ret;

	if (outband_store_readable(dev->idles->store, dev->user, dev->device,
				   IDLE_MAX_LOAD, pool_datastack_create(),
				   &rows, &error) < 0) {
		idle_store_failed(dev->idles, error);
		return -1;
	}
	ret = 0;
	array_foreach(&rows, r) {
		if (r->id == row->id)
			ret = 1;
	}
	return ret;
}

static void idle_row_timeout(struct idle_row *row)
{
	struct idle_device *dev = row->device;
	int ret = 1;

	timeout_remove(&row->to);
	switch (row->state) {
	case IDLE_ROW_READ:
		idle_row_read(row);
		return;
	case IDLE_ROW_UNREAD:
		idle_row_unread(row, row->reason);
		return;
	case IDLE_ROW_ASKED:
		idle_row_unread(row, "its session doesn't answer");
		return;
	case IDLE_ROW_WAITS:
		break;
	}
	if (row->sending) T_BEGIN {
		ret = idle_row_is_repeated(row);
	} T_END;
	if (ret < 0)
		idle_row_wait_store(row, IDLE_ROW_WAITS);
	else if (ret == 0 || (row->sending && array_count(&row->clients) == 0)) {
		idle_row_free(row);
		idle_device_free_unused(dev);
	} else if (array_count(&row->clients) == 0) {
		/* it didn't wake in time */
		i_free(dev->asleep_guid);
		idle_row_unread(row, "there is no session that could read it");
	} else {
		idle_row_ask(row);
	}
}

/* All sessions that were asked have answered. */
static void idle_row_check_answers(struct idle_row *row)
{
	const struct idle_row_client *rc;

	if (row->state != IDLE_ROW_ASKED)
		return;
	array_foreach(&row->clients, rc) {
		if (!rc->answered)
			return;
	}
	idle_row_unread(row, "it isn't read yet");
}

static struct idle_row_client *
idle_row_find_client(struct idle_row *row, struct idle_client *client)
{
	struct idle_row_client *rc;

	array_foreach_modifiable(&row->clients, rc) {
		if (rc->client == client)
			return rc;
	}
	return NULL;
}

static void idle_row_remove_client(struct idle_row *row, struct idle_client *client)
{
	struct idle_row_client *rc = idle_row_find_client(row, client);
	unsigned int idx;

	if (rc == NULL)
		return;
	idx = array_ptr_to_idx(&row->clients, rc);
	array_delete(&row->clients, idx, 1);
	if (client->idles->stopping)
		return;
	if (array_count(&row->clients) > 0)
		idle_row_check_answers(row);
	else if (row->state == IDLE_ROW_WAITS || row->state == IDLE_ROW_ASKED) {
		/* at once */
		row->state = IDLE_ROW_WAITS;
		idle_row_wait(row, 0);
	}
}

static void idle_row_add_client(struct idle_row *row, struct idle_client *client)
{
	struct idle_row_client rc = { .client = client };
	string_t *line;

	if (!client->believed || client->guid == NULL ||
	    strcmp(client->guid, row->guid) != 0 ||
	    idle_row_find_client(row, client) != NULL)
		return;
	if (row->state == IDLE_ROW_ASKED)
		rc.answered = TRUE;
	array_push_back(&row->clients, &rc);
	line = t_str_new(128);
	str_printfa(line, "WAIT\t%"PRId64"\t%s\t%u\t%"PRIu64"\t%"PRIu64
		    "\t%s\t%u\n", row->id, row->guid,
		    row->changes.uid_validity, row->changes.start_modseq,
		    row->changes.end_modseq, row->event, row->uid);
	o_stream_nsend(client->conn.output, str_data(line), str_len(line));
}

static struct idle_row *idle_row_find(struct idle_device *dev, int64_t id)
{
	struct idle_row *row;

	for (row = dev->rows; row != NULL; row = row->next) {
		if (row->id == id)
			return row;
	}
	return NULL;
}

static struct idle_row *
idle_row_add(struct idle_device *dev, const struct outband_row *r)
{
	struct idle_row *row;

	row = i_new(struct idle_row, 1);
	row->device = dev;
	row->id = r->id;
	row->guid = i_strdup(r->guid);
	row->event = i_strdup(r->event.name);
	row->uid = r->event.uid;
	row->changes = r->changes;
	row->sending = r->held_until == 0;
	row->repeats = strcasecmp(r->channel, "UDP") == 0;
	i_array_init(&row->clients, 2);
	DLLIST_PREPEND(&dev->rows, row);
	dev->rows_count++;
	return row;
}

/* begins: the sessions don't know this process yet. */
static void
idle_row_load(struct idle_device *dev, const struct outband_row *r, bool begins)
{
	const time_t grace = dev->idles->set->pimap_inband_grace;
	struct idle_row *row = idle_row_find(dev, r->id);
	struct idle_client *client;
	const bool is_new = row == NULL;
	time_t secs;

	if (is_new)
		row = idle_row_add(dev, r);
	for (client = dev->clients; client != NULL; client = client->next)
		idle_row_add_client(row, client);
	if (row->sending) {
		if (array_count(&row->clients) == 0)
			idle_row_free(row);
		else if (is_new)
			idle_row_wait_again(row);
		return;
	}
	if (row->state != IDLE_ROW_WAITS)
		return;
	/* the clock may have gone back */
	secs = I_MIN(r->held_until - ioloop_time, grace);
	if (array_count(&row->clients) == 0) {
		if (dev->asleep_guid != NULL &&
		    strcmp(dev->asleep_guid, row->guid) == 0)
			secs = I_MIN(secs, IDLE_WAKE_SECS);
		else if (!begins)
			secs = 0;
		if (!is_new)
			return;
	}
	idle_row_wait(row, secs);
}

static int
idle_device_load(struct idle_device *dev, bool begins, const char **error_r)
{
	ARRAY_TYPE(outband_row) rows;
	const struct outband_row *row;

	timeout_remove(&dev->to_load);
	if (outband_store_readable(dev->idles->store, dev->user, dev->device,
				   IDLE_MAX_LOAD, pool_datastack_create(),
				   &rows, error_r) < 0)
		return -1;
	array_foreach(&rows, row)
		idle_row_load(dev, row, begins);
	return 0;
}

/* Frees a device that has nothing. */
static void idle_device_update(struct idle_device *dev)
{
	const char *error;

	if (dev->idles->store == NULL)
		return;
	T_BEGIN {
		if (idle_device_load(dev, FALSE, &error) < 0) {
			idle_store_failed(dev->idles, error);
			dev->to_load = timeout_add(IDLE_STORE_RETRY_MSECS,
						   idle_device_update, dev);
		}
	} T_END;
	idle_device_free_unused(dev);
}

/* The sessions */

static void idle_client_believe(struct idle_client *client)
{
	client->believed = TRUE;
	if (client->guid != NULL)
		idle_device_update(client->device);
}

static void idle_lookup_done(struct outband_answer *answer, void *context)
{
	struct idle_lookup *lookup = context;
	struct idle_client *client = lookup->client;
	struct net_unix_cred cred;

	if (client != NULL) {
		client->lookup = NULL;
		if (answer->result == OUTBAND_ANSWER_OK &&
		    answer->uid != (uid_t)-1 &&
		    net_getunixcred(client->conn.fd_in, &cred) == 0 &&
		    cred.uid == answer->uid)
			idle_client_believe(client);
		else {
			if (answer->result == OUTBAND_ANSWER_OK) {
				e_warning(client->idles->event, "A process that "
					"isn't the user's isn't believed that "
					"%s#%s is in IDLE",
					client->device->user,
					client->device->device);
			}
			idle_client_destroy(&client->conn);
		}
	}
	outband_answer_deinit(&answer);
	i_free(lookup);
}

static void idle_client_wait(struct idle_client *client)
{
	struct outband_idles *idles = client->idles;

	client->waiting = TRUE;
	idles->wait_count++;
	DLLIST2_APPEND_FULL(&idles->wait_head, &idles->wait_tail, client,
			    wait_prev, wait_next);
}

static void idle_clients_lookup(void *context)
{
	struct outband_idles *idles = context;
	struct idle_client *client;
	struct idle_lookup *lookup;
	string_t *line;
	bool sent = TRUE;

	while (sent && (client = idles->wait_head) != NULL &&
	       outband_workers_is_one_free(idles->workers)) T_BEGIN {
		DLLIST2_REMOVE_FULL(&idles->wait_head, &idles->wait_tail,
				    client, wait_prev, wait_next);
		idles->wait_count--;
		client->waiting = FALSE;
		lookup = i_new(struct idle_lookup, 1);
		lookup->idles = idles;
		lookup->client = client;
		client->lookup = lookup;
		line = t_str_new(128);
		str_append(line, "USER\t");
		str_append_tabescaped(line, client->device->user);
		if (!outband_workers_send(idles->workers, str_c(line), NULL,
					  idle_lookup_done, lookup)) {
			/* there will be one */
			client->lookup = NULL;
			i_free(lookup);
			idle_client_wait(client);
			sent = FALSE;
		}
	} T_END;
}

static int
idle_client_device(struct idle_client *client, const char *const *args)
{
	struct outband_idles *idles = client->idles;
	struct net_unix_cred cred;

	if (client->device != NULL || str_array_length(args) != 2 ||
	    args[0][0] == '\0' || strlen(args[0]) > IDLE_MAX_USER ||
	    outband_has_control(args[0]) ||
	    !pimap_device_id_is_valid(args[1]) ||
	    net_getunixcred(client->conn.fd_in, &cred) < 0 ||
	    idles->wait_count >= IDLE_MAX_WAITING)
		return -1;
	client->device = idle_device_get(idles, args[0], args[1]);
	DLLIST_PREPEND(&client->device->clients, client);
	if (cred.uid == 0 || cred.uid == geteuid()) {
		idle_client_believe(client);
		return 1;
	}
	idle_client_wait(client);
	idle_clients_lookup(idles);
	return 1;
}

static int
idle_client_answer(struct idle_client *client, const char *word, const char *arg)
{
	struct idle_row_client *rc;
	struct idle_row *row;
	int64_t id;

	if (arg == NULL || str_to_int64(arg, &id) < 0)
		return -1;
	row = idle_row_find(client->device, id);
	rc = row == NULL ? NULL : idle_row_find_client(row, client);
	/* it may be finished, or never have been this one's */
	if (rc == NULL || row->state == IDLE_ROW_READ ||
	    row->state == IDLE_ROW_UNREAD)
		return 1;
	if (strcmp(word, "READ") == 0)
		idle_row_read(row);
	else if (strcmp(word, "NEVER") == 0)
		idle_row_remove_client(row, client);
	else if (strcmp(word, "UNREAD") == 0) {
		rc->answered = TRUE;
		idle_row_check_answers(row);
	} else {
		return -1;
	}
	return 1;
}

static int
idle_client_input_args(struct connection *conn, const char *const *args)
{
	struct idle_client *client =
		container_of(conn, struct idle_client, conn);
	const char *guid;
	int ret = 1;

	if (strcmp(args[0], "DEVICE") == 0)
		ret = idle_client_device(client, args + 1);
	else if (client->device == NULL)
		ret = -1;
	else if (strcmp(args[0], "IDLE") == 0) {
		guid = args[1] == NULL ? NULL : outband_guid_parse(args[1]);
		if (guid == NULL)
			ret = -1;
		else {
			i_free(client->guid);
			client->guid = i_strdup(guid);
			client->idle = TRUE;
			client->asleep = FALSE;
			i_free(client->device->asleep_guid);
			if (client->believed)
				idle_device_update(client->device);
		}
	} else if (strcmp(args[0], "DONE") == 0)
		client->idle = FALSE;
	else if (strcmp(args[0], "ASLEEP") == 0)
		client->asleep = client->believed && client->idle;
	else
		ret = idle_client_answer(client, args[0], args[1]);
	if (ret < 0) {
		e_error(conn->event, "Invalid line of a session in IDLE: %s",
			args[0]);
	}
	return ret;
}

static void idle_client_destroy(struct connection *conn)
{
	struct idle_client *client =
		container_of(conn, struct idle_client, conn);
	struct outband_idles *idles = client->idles;
	struct idle_device *dev = client->device;
	struct idle_row *row, *next;

	if (client->waiting) {
		DLLIST2_REMOVE_FULL(&idles->wait_head, &idles->wait_tail,
				    client, wait_prev, wait_next);
		idles->wait_count--;
	}
	if (client->lookup != NULL)
		client->lookup->client = NULL;
	connection_deinit(conn);
	if (dev != NULL) {
		DLLIST_REMOVE(&dev->clients, client);
		for (row = dev->rows; row != NULL; row = next) {
			next = row->next;
			idle_row_remove_client(row, client);
		}
		if (client->asleep) {
			i_free(dev->asleep_guid);
			dev->asleep_guid = i_strdup(client->guid);
		}
		idle_device_free_unused(dev);
	}
	i_free(client->guid);
	i_free(client);
	master_service_client_connection_destroyed(master_service);
}

static const struct connection_vfuncs idle_client_vfuncs = {
	.destroy = idle_client_destroy,
	.input_args = idle_client_input_args,
};

static const struct connection_settings idle_client_set = {
	.service_name_in = PIMAP_IDLE_PROTOCOL,
	.service_name_out = PIMAP_IDLE_PROTOCOL,
	.major_version = PIMAP_IDLE_MAJOR,
	.minor_version = PIMAP_IDLE_MINOR,
	.input_max_size = IDLE_MAX_LINE,
	.output_max_size = SIZE_MAX,
};

void outband_idles_connected(struct outband_idles *idles,
			     struct master_service_connection *conn)
{
	struct idle_client *client;

	client = i_new(struct idle_client, 1);
	client->idles = idles;
	client->conn.event_parent = idles->event;
	connection_init_server(idles->list, &client->conn, conn->name,
			       conn->fd, conn->fd);
	/* hints and requests come over the others */
	if (idles->list->connections_count >
	    master_service_get_client_limit(master_service) / 2) {
		if (!idles->full_logged) {
			e_warning(idles->event, "More than %u sessions are in "
				"IDLE (client_limit / 2): the notifications of "
				"the others aren't held",
				idles->list->connections_count - 1);
		}
		idles->full_logged = TRUE;
		idle_client_destroy(&client->conn);
	}
}

void outband_idles_disconnect(struct outband_idles *idles)
{
	idles->stopping = TRUE;
	while (idles->list->connections != NULL)
		idle_client_destroy(idles->list->connections);
}

time_t outband_idles_get_hold(struct outband_idles *idles, const char *user,
			      const char *device, const char *guid)
{
	struct idle_device *dev = idle_device_lookup(idles, user, device);
	struct idle_client *client;

	if (dev == NULL || idles->stopping || dev->rows_count >= IDLE_MAX_ROWS)
		return 0;
	for (client = dev->clients; client != NULL; client = client->next) {
		if (client->believed && client->idle &&
		    strcmp(client->guid, guid) == 0)
			break;
	}
	if (client == NULL && (dev->asleep_guid == NULL ||
			       strcmp(dev->asleep_guid, guid) != 0))
		return 0;
	/* nothing may be held that isn't known here, whatever becomes of it */
	if (dev->to_load == NULL) {
		dev->to_load = timeout_add(IDLE_STORE_RETRY_MSECS,
					   idle_device_update, dev);
	}
	return ioloop_time + (time_t)idles->set->pimap_inband_grace;
}

void outband_idles_found(struct outband_idles *idles, const char *user,
			 const char *device)
{
	struct idle_device *dev = idle_device_lookup(idles, user, device);

	if (dev != NULL)
		idle_device_update(dev);
}

void outband_idles_get_status(struct outband_idles *idles,
			      struct outband_idles_status *status_r)
{
	struct connection *conn;

	i_zero(status_r);
	status_r->read = idles->read;
	status_r->unread = idles->unread;
	for (conn = idles->list->connections; conn != NULL; conn = conn->next) {
		const struct idle_client *client =
			container_of(conn, struct idle_client, conn);

		if (client->believed && client->idle)
			status_r->sessions++;
	}
}

int outband_idles_start(struct outband_idles *idles, struct outband_store *store,
			const char **error_r)
{
	const char *user = "", *device = "";
	struct idle_device *dev;
	pool_t pool;
	int ret;

	idles->store = store;
	pool = pool_alloconly_create("outband idles", 512);
	do T_BEGIN {
		/* not in the pool that is cleared */
		const char *last_user = t_strdup(user);
		const char *last_device = t_strdup(device);

		p_clear(pool);
		ret = outband_store_held_next(store, last_user, last_device,
					      pool, &user, &device, error_r);
		if (ret > 0) {
			dev = idle_device_get(idles, user, device);
			if (idle_device_load(dev, TRUE, error_r) < 0)
				ret = -1;
			idle_device_free_unused(dev);
		}
	} T_END_PASS_STR_IF(ret < 0, error_r); while (ret > 0);
	pool_unref(&pool);
	return ret;
}

struct outband_idles *
outband_idles_init(struct event *event_parent, const char *worker_path,
		   const struct pimap_settings *set,
		   struct outband_sender *sender)
{
	struct outband_idles *idles;

	idles = i_new(struct outband_idles, 1);
	idles->event = event_create(event_parent);
	idles->set = set;
	idles->sender = sender;
	hash_table_create(&idles->devices, default_pool, 0, idle_device_hash,
			  idle_device_cmp);
	idles->workers = outband_workers_init(idles->event, worker_path,
					      IDLE_MAX_WORKERS,
					      idle_clients_lookup, idles);
	idles->list = connection_list_init(&idle_client_set,
					   &idle_client_vfuncs);
	return idles;
}

void outband_idles_deinit(struct outband_idles **_idles)
{
	struct outband_idles *idles = *_idles;
	struct hash_iterate_context *iter;
	struct idle_device *dev;

	*_idles = NULL;
	outband_idles_disconnect(idles);
	connection_list_deinit(&idles->list);
	outband_workers_deinit(&idles->workers);
	iter = hash_table_iterate_init(idles->devices);
	while (hash_table_iterate(iter, idles->devices, &dev, &dev)) {
		while (dev->rows != NULL)
			idle_row_free(dev->rows);
		idle_device_free(dev);
	}
	hash_table_iterate_deinit(&iter);
	hash_table_destroy(&idles->devices);
	event_unref(&idles->event);
	i_free(idles);
}
