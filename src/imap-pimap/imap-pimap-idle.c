/* SPDX-License-Identifier: LGPL-2.1-only */
/* What the client has surely read, so that its device isn't notified of it:

     told     by the syncs of this selection: which UIDs there are, and all changes up
              to a modseq
     acked    what it was told before a "+" that was answered by DONE, or before a
              tagged reply after which a command came (R-2.4's (a) and (b))
     by TCP   what it was told, when all of it has left the kernel's queue

   The first event that isn't surely covered by these is unread. It is all forgotten
   with the selection, and when this process ends. The service may come and go: no
   command waits for it, or fails because of it. */

#include "imap-common.h"
#include "array.h"
#include "connection.h"
#include "ioloop.h"
#include "istream.h"
#include "llist.h"
#include "net.h"
#include "ostream.h"
#include "str.h"
#include "strescape.h"
#include "imap-commands.h"
#include "imap-sync-private.h"
#include "mail-index-private.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "pimap-idle.h"
#include "pimap-notify.h"
#include "pimap-settings.h"
#include "pimap-user.h"
#include "pimap-view.h"
#include "imap-pimap-plugin.h"
#include "imap-pimap-idle.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>

#define IDLE_RETRY_MIN_MSECS 1000
#define IDLE_RETRY_MAX_MSECS (60*1000)
#define IDLE_TCP_MSECS 100
#define IDLE_HIBERNATE_MSECS 1000
/* The oldest ones are given up. */
#define IDLE_MAX_WAITS 3000
#define IDLE_MAX_LINE 1024

enum idle_event {
	IDLE_EVENT_NEW,
	IDLE_EVENT_CHANGED,
	IDLE_EVENT_DELETED
};

/* How much the client knows of the selected folder: 0 = nothing */
struct idle_told {
	/* messages up to this UID, as far as the view shows them */
	uint32_t uid;
	/* changes up to this */
	uint64_t modseq;
};

/* An event that the service waits for */
struct idle_wait {
	struct idle_wait *prev, *next;
	int64_t id;
	enum idle_event event;
	uint32_t uid_validity, uid;
	uint64_t start_modseq, end_modseq;
	bool asked;
};

struct imap_pimap_idle {
	struct client *client;
	/* NULL: it isn't in IDLE. Only to compare it: it may be freed. */
	const struct client_command_context *cmd;

	/* the folder that is selected, by its generation_sequence, and the modseq
	   that it had then: changes up to that aren't told */
	unsigned int generation;
	char *guid;
	uint64_t start_modseq;
	struct idle_told told, acked;
	/* before the "+", and before the last tagged reply; clean: there was no
	   further input when that was written */
	struct idle_told plus, reply;
	bool plus_clean, reply_clean;
	/* it sends no command before it has read the reply of the one before */
	bool promise;
	bool compressed;
	/* it is known whether this IDLE is the service's concern */
	bool begun;
	/* it would sleep, if nothing were waited for */
	bool kept_awake;

	struct idle_connection *conn;
	struct timeout *to_connect, *to_tcp, *to_hibernate;
	unsigned int retry_msecs, tcp_msecs;
	struct idle_wait *wait_head, *wait_tail;
	unsigned int wait_count;
};

struct idle_connection {
	struct connection conn;
	struct imap_pimap_idle *idle;
};

static struct connection_list *idle_connections = NULL;

static void idle_connect(struct imap_pimap_idle *idle);
static void idle_hibernate(struct imap_pimap_idle *idle);

/* The lines */

static void idle_send(struct imap_pimap_idle *idle, const char *line)
{
	if (idle->conn != NULL && idle->conn->conn.output != NULL)
		o_stream_nsend_str(idle->conn->conn.output, line);
}

static void idle_wait_free(struct imap_pimap_idle *idle, struct idle_wait *wait)
{
	DLLIST2_REMOVE(&idle->wait_head, &idle->wait_tail, wait);
	idle->wait_count--;
	i_free(wait);
	if (idle->wait_count == 0 && idle->kept_awake && idle->cmd != NULL &&
	    idle->to_hibernate == NULL) {
		idle->to_hibernate = timeout_add(IDLE_HIBERNATE_MSECS,
						 idle_hibernate, idle);
	}
}

static void
idle_wait_end(struct imap_pimap_idle *idle, struct idle_wait *wait,
	      const char *word)
{
	T_BEGIN {
		idle_send(idle, t_strdup_printf("%s\t%"PRId64"\n", word,
						wait->id));
	} T_END;
	idle_wait_free(idle, wait);
}

static void idle_waits_end(struct imap_pimap_idle *idle)
{
	while (idle->wait_head != NULL)
		idle_wait_end(idle, idle->wait_head, "NEVER");
}

/* What is known */

static bool idle_shows(struct imap_pimap_idle *idle, uint32_t uid)
{
	uint32_t seq1, seq2;

	mailbox_get_seq_range(idle->client->mailbox, uid, uid, &seq1, &seq2);
	return seq1 != 0 && seq1 <= idle->client->messages_count;
}

static bool
idle_covers(struct imap_pimap_idle *idle, const struct idle_told *told,
	    const struct idle_wait *wait)
{
	struct client *client = idle->client;
	bool all, changes;

	if (client->mailbox == NULL ||
	    client->mailbox->generation_sequence != idle->generation ||
	    client->uidvalidity != wait->uid_validity)
		return FALSE;
	all = wait->end_modseq <= told->modseq && idle->start_modseq > 0 &&
		!client->nonpermanent_modseqs;
	changes = all && wait->start_modseq >= idle->start_modseq;
	/* then there is nothing left to read, and the client knows that */
	if (all && wait->event != IDLE_EVENT_DELETED &&
	    !idle_shows(idle, wait->uid) &&
	    pimap_view_is_gone(client->mailbox, wait->uid))
		return TRUE;
	switch (wait->event) {
	case IDLE_EVENT_NEW:
		return wait->uid <= told->uid && idle_shows(idle, wait->uid);
	case IDLE_EVENT_CHANGED:
		return changes && wait->uid <= told->uid &&
			idle_shows(idle, wait->uid);
	case IDLE_EVENT_DELETED:
		return changes;
	}
	i_unreached();
}

static void
idle_ack(struct imap_pimap_idle *idle, const struct idle_told *told)
{
	struct idle_wait *wait, *next;

	idle->acked.uid = I_MAX(idle->acked.uid, told->uid);
	idle->acked.modseq = I_MAX(idle->acked.modseq, told->modseq);
	for (wait = idle->wait_head; wait != NULL; wait = next) {
		next = wait->next;
		if (idle_covers(idle, &idle->acked, wait))
			idle_wait_end(idle, wait, "READ");
	}
}

/* Has the client said nothing more yet? In doubt, it has. */
static bool idle_input_is_empty(struct client *client)
{
	const unsigned char *data, *end;
	size_t size;
	int pending;

	data = i_stream_get_data(client->input, &size);
	if (client->input_skip_line) {
		/* the end of the command's own line */
		end = size == 0 ? NULL : memchr(data, '\n', size);
		if (end == NULL || end + 1 != data + size)
			return FALSE;
	} else if (size > 0) {
		return FALSE;
	}
	return client->command_queue_size <= 1 &&
		ioctl(client->fd_in, FIONREAD, &pending) == 0 && pending == 0;
}

/* What was written before hasn't left this process: nobody has answered it. */
static bool idle_output_is_pending(struct client *client)
{
	return o_stream_get_buffer_used_size(client->output) > 0;
}

/* TCP tells only of whom the connection is with: a proxy is not the client. */
static bool idle_is_tcp_to_client(struct client *client)
{
	const struct mail_user *user = client->user;
	struct ip_addr ip;
	in_port_t port;

	return user->conn.remote_ip != NULL &&
		net_getpeername(client->fd_out, &ip, &port) == 0 &&
		(ip.family == AF_INET || ip.family == AF_INET6) &&
		net_ip_compare(&ip, user->conn.remote_ip) &&
		port == user->conn.remote_port;
}

static bool idle_may_ask_tcp(struct imap_pimap_idle *idle)
{
	const struct pimap_user *puser = pimap_user_get(idle->client->user);

	/* compression keeps some of it for itself */
	return strcmp(puser->set->pimap_inband_grace_by, "tcp") == 0 &&
		!idle->compressed && idle_is_tcp_to_client(idle->client);
}

/* All that was written has arrived, and the connection lives. */
static bool idle_tcp_has_acked(struct client *client)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int queued;

	if (client->disconnected || client->output->closed ||
	    idle_output_is_pending(client) ||
	    ioctl(client->fd_out, SIOCOUTQ, &queued) < 0 || queued > 0)
		return FALSE;
	i_zero(&info);
	return getsockopt(client->fd_out, IPPROTO_TCP, TCP_INFO, &info,
			  &len) == 0 && info.tcpi_state == TCP_ESTABLISHED;
}

/* ASK */

static void idle_answer_unread(struct imap_pimap_idle *idle, struct idle_wait *wait)
{
	wait->asked = FALSE;
	T_BEGIN {
		idle_send(idle, t_strdup_printf("UNREAD\t%"PRId64"\n",
						wait->id));
	} T_END;
}

static void idle_ask_tcp(struct imap_pimap_idle *idle)
{
	const bool last = idle->tcp_msecs >= PIMAP_IDLE_ANSWER_MSECS;
	const bool acked = idle_tcp_has_acked(idle->client);
	struct idle_wait *wait, *next;

	idle->tcp_msecs += IDLE_TCP_MSECS;
	for (wait = idle->wait_head; wait != NULL; wait = next) {
		next = wait->next;
		if (!wait->asked)
			continue;
		if (acked && idle_covers(idle, &idle->told, wait))
			idle_wait_end(idle, wait, "READ");
		else if (acked || last)
			idle_answer_unread(idle, wait);
	}
	if (acked || last)
		timeout_remove(&idle->to_tcp);
}

static void idle_ask(struct imap_pimap_idle *idle, struct idle_wait *wait)
{
	if (!idle_may_ask_tcp(idle) ||
	    !idle_covers(idle, &idle->told, wait)) {
		idle_answer_unread(idle, wait);
		return;
	}
	wait->asked = TRUE;
	idle->tcp_msecs = 0;
	if (idle->to_tcp == NULL) {
		idle->to_tcp = timeout_add_short(IDLE_TCP_MSECS, idle_ask_tcp,
						 idle);
	}
}

/* The connection */

static struct idle_wait *
idle_wait_find(struct imap_pimap_idle *idle, int64_t id)
{
	struct idle_wait *wait;

	for (wait = idle->wait_head; wait != NULL; wait = wait->next) {
		if (wait->id == id)
			return wait;
	}
	return NULL;
}

static int
idle_wait_parse(const char *const *args, struct idle_wait *wait_r)
{
	i_zero(wait_r);
	if (str_array_length(args) < 7 ||
	    str_to_int64(args[0], &wait_r->id) < 0 ||
	    str_to_uint32(args[2], &wait_r->uid_validity) < 0 ||
	    str_to_uint64(args[3], &wait_r->start_modseq) < 0 ||
	    str_to_uint64(args[4], &wait_r->end_modseq) < 0 ||
	    str_to_uint32(args[6], &wait_r->uid) < 0)
		return -1;
	if (strcmp(args[5], "NEW_MESSAGE") == 0)
		wait_r->event = IDLE_EVENT_NEW;
	else if (strcmp(args[5], "CHANGED_MESSAGE") == 0)
		wait_r->event = IDLE_EVENT_CHANGED;
	else if (strcmp(args[5], "DELETED_MESSAGE") == 0)
		wait_r->event = IDLE_EVENT_DELETED;
	else
		return -1;
	return 0;
}

static int idle_wait_add(struct imap_pimap_idle *idle, const char *const *args)
{
	struct idle_wait new_wait, *wait;

	if (idle_wait_parse(args, &new_wait) < 0)
		return -1;
	wait = idle_wait_find(idle, new_wait.id);
	if (wait != NULL)
		idle_wait_free(idle, wait);
	wait = i_new(struct idle_wait, 1);
	*wait = new_wait;
	DLLIST2_APPEND(&idle->wait_head, &idle->wait_tail, wait);
	idle->wait_count++;
	if (null_strcmp(args[1], idle->guid) != 0)
		idle_wait_end(idle, wait, "NEVER");
	else if (idle_covers(idle, &idle->acked, wait))
		idle_wait_end(idle, wait, "READ");
	else if (idle->wait_count > IDLE_MAX_WAITS)
		idle_wait_end(idle, idle->wait_head, "NEVER");
	return 0;
}

static void idle_hibernate(struct imap_pimap_idle *idle)
{
	struct client *client = idle->client;
	const char *reason;

	timeout_remove(&idle->to_hibernate);
	if (idle->wait_count == 0 && client->command_queue != NULL && client->command_queue == idle->cmd &&
	    client->command_queue->state == CLIENT_COMMAND_STATE_WAIT_INPUT &&
	    client->command_queue->next == NULL &&
	    i_stream_get_data_size(client->input) == 0)
		(void)imap_client_hibernate(&client, &reason);
}

static int
idle_input_args(struct connection *conn, const char *const *args)
{
	struct idle_connection *iconn =
		container_of(conn, struct idle_connection, conn);
	struct imap_pimap_idle *idle = iconn->idle;
	struct idle_wait *wait;
	int64_t id;

	/* it knows this session */
	idle->retry_msecs = 0;
	if (strcmp(args[0], "WAIT") == 0) {
		if (idle_wait_add(idle, args + 1) < 0) {
			e_error(conn->event, "Invalid WAIT");
			return -1;
		}
		return 1;
	}
	if (args[1] == NULL || str_to_int64(args[1], &id) < 0)
		return 1;
	wait = idle_wait_find(idle, id);
	if (wait == NULL)
		return 1;
	if (strcmp(args[0], "ASK") == 0)
		idle_ask(idle, wait);
	else if (strcmp(args[0], "FORGET") == 0)
		idle_wait_free(idle, wait);
	return 1;
}

static void idle_disconnect(struct imap_pimap_idle *idle)
{
	struct idle_connection *iconn = idle->conn;

	if (iconn == NULL)
		return;
	idle->conn = NULL;
	connection_deinit(&iconn->conn);
	i_free(iconn);
	/* what it waits for, it tells the next connection anew */
	while (idle->wait_head != NULL)
		idle_wait_free(idle, idle->wait_head);
	timeout_remove(&idle->to_tcp);
}

static void idle_connect_later(struct imap_pimap_idle *idle)
{
	timeout_remove(&idle->to_connect);
	if (idle->cmd == NULL || idle->guid == NULL)
		return;
	idle->retry_msecs = idle->retry_msecs == 0 ? IDLE_RETRY_MIN_MSECS :
		I_MIN(idle->retry_msecs * 2, IDLE_RETRY_MAX_MSECS);
	idle->to_connect = timeout_add_short(idle->retry_msecs, idle_connect,
					     idle);
}

static void idle_conn_destroy(struct connection *conn)
{
	struct idle_connection *iconn =
		container_of(conn, struct idle_connection, conn);
	struct imap_pimap_idle *idle = iconn->idle;

	idle_disconnect(idle);
	idle_connect_later(idle);
}

static const struct connection_vfuncs idle_vfuncs = {
	.destroy = idle_conn_destroy,
	.input_args = idle_input_args,
};

static const struct connection_settings idle_set = {
	.service_name_in = PIMAP_IDLE_PROTOCOL,
	.service_name_out = PIMAP_IDLE_PROTOCOL,
	.major_version = PIMAP_IDLE_MAJOR,
	.minor_version = PIMAP_IDLE_MINOR,
	.input_max_size = IDLE_MAX_LINE,
	.output_max_size = SIZE_MAX,
	.client = TRUE,
};

static void idle_tell(struct imap_pimap_idle *idle)
{
	T_BEGIN {
		idle_send(idle, t_strdup_printf("IDLE\t%s\n", idle->guid));
	} T_END;
}

static void idle_connect(struct imap_pimap_idle *idle)
{
	struct client *client = idle->client;
	const struct pimap_user *puser = pimap_user_get(client->user);
	struct idle_connection *iconn;

	timeout_remove(&idle->to_connect);
	if (idle_connections == NULL)
		idle_connections = connection_list_init(&idle_set, &idle_vfuncs);
	iconn = i_new(struct idle_connection, 1);
	iconn->idle = idle;
	iconn->conn.event_parent = client->event;
	T_BEGIN {
		connection_init_client_unix(idle_connections, &iconn->conn,
			t_strconcat(client->user->set->base_dir,
				    "/"PIMAP_IDLE_SOCKET, NULL));
	} T_END;
	if (connection_client_connect(&iconn->conn) < 0) {
		/* who changes mail says that it doesn't run */
		connection_deinit(&iconn->conn);
		i_free(iconn);
		idle_connect_later(idle);
		return;
	}
	idle->conn = iconn;
	T_BEGIN {
		string_t *line = t_str_new(128);

		str_append(line, "DEVICE\t");
		str_append_tabescaped(line, client->user->username);
		str_append_c(line, '\t');
		str_append_tabescaped(line, puser->device);
		str_append_c(line, '\n');
		idle_send(idle, str_c(line));
	} T_END;
	idle_tell(idle);
}

/* The session */

/* Another folder may have been selected. */
static void idle_check_selected(struct imap_pimap_idle *idle)
{
	struct mailbox *box = idle->client->mailbox;
	const unsigned int generation =
		box == NULL ? 0 : box->generation_sequence;

	if (idle->generation == generation)
		return;
	idle_waits_end(idle);
	idle->generation = generation;
	i_free(idle->guid);
	i_zero(&idle->told);
	i_zero(&idle->acked);
	i_zero(&idle->plus);
	i_zero(&idle->reply);
	idle->start_modseq = box == NULL ? 0 : pimap_view_get_modseq(box);
}

/* Does the selected folder notify the device? */
static bool idle_get_folder(struct imap_pimap_idle *idle)
{
	struct client *client = idle->client;
	struct pimap_user *puser = pimap_user_get(client->user);
	const struct pimap_device *device;
	struct mailbox_metadata metadata;
	const char *error;

	i_free(idle->guid);
	if (client->mailbox == NULL || client->notify_ctx != NULL ||
	    mailbox_get_namespace(client->mailbox)->type !=
		MAIL_NAMESPACE_TYPE_PRIVATE ||
	    pimap_user_get_device(puser, &device, &error) < 0 ||
	    mailbox_get_metadata(client->mailbox, MAILBOX_METADATA_GUID,
				 &metadata) < 0 ||
	    !pimap_notify_has(puser, device, metadata.guid, FALSE))
		return FALSE;
	idle->guid = i_strdup(guid_128_to_string(metadata.guid));
	return TRUE;
}

static struct imap_pimap_idle *imap_pimap_idle_get(struct client *client)
{
	struct imap_pimap_client *pclient;
	struct pimap_user *puser = pimap_user_get(client->user);

	if (puser == NULL || puser->device == NULL)
		return NULL;
	pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);
	return pclient->idle;
}

void imap_pimap_idle_cmd_pre(struct client_command_context *cmd)
{
	struct client *client = cmd->client;
	struct imap_pimap_idle *idle = imap_pimap_idle_get(client);

	if (idle == NULL || idle->cmd == cmd)
		return;
	if (idle->reply_clean && idle_output_is_pending(client))
		idle->promise = FALSE;
	if (idle->promise && idle->reply_clean)
		idle_ack(idle, &idle->reply);
	/* once */
	idle->reply_clean = FALSE;
	if (strcasecmp(cmd->name, "IDLE") != 0)
		return;
	idle->cmd = cmd;
	idle->begun = idle->kept_awake = FALSE;
	idle->plus = idle->told;
	idle->plus_clean = !client->state_import_idle_continue &&
		idle_input_is_empty(client);
}

void imap_pimap_idle_cmd_post(struct client_command_context *cmd)
{
	struct client *client = cmd->client;
	struct imap_pimap_idle *idle = imap_pimap_idle_get(client);

	if (idle == NULL)
		return;
	idle_check_selected(idle);
	if (strcasecmp(cmd->name, "COMPRESS") == 0)
		idle->compressed = TRUE;
	if (idle->cmd != cmd || idle->begun)
		return;
	idle->begun = TRUE;
	if (idle->plus_clean && !idle_input_is_empty(client))
		idle->plus_clean = FALSE;
	if (!idle_get_folder(idle))
		return;
	if (idle->conn == NULL)
		idle_connect(idle);
	else
		idle_tell(idle);
}

void imap_pimap_idle_tagline_pre(struct client_command_context *cmd,
				 const char *data)
{
	struct imap_pimap_idle *idle = imap_pimap_idle_get(cmd->client);

	if (idle == NULL || idle->cmd != cmd)
		return;
	/* DONE has come */
	if (idle->plus_clean && strncmp(data, "OK ", 3) == 0 &&
	    !idle_output_is_pending(cmd->client))
		idle_ack(idle, &idle->plus);
	idle->cmd = NULL;
	timeout_remove(&idle->to_hibernate);
	timeout_remove(&idle->to_connect);
	if (idle->guid != NULL)
		idle_send(idle, "DONE\n");
}

void imap_pimap_idle_tagline_post(struct client *client)
{
	struct imap_pimap_idle *idle = imap_pimap_idle_get(client);

	if (idle == NULL)
		return;
	idle->reply = idle->told;
	idle->reply_clean = idle_input_is_empty(client);
	if (!idle->reply_clean)
		idle->promise = FALSE;
}

void imap_pimap_idle_synced(struct imap_sync_context *ctx, bool complete)
{
	struct client *client = ctx->client;
	struct imap_pimap_idle *idle = imap_pimap_idle_get(client);

	if (idle == NULL || ctx->box != client->mailbox ||
	    client->notify_ctx != NULL)
		return;
	idle_check_selected(idle);
	if (!ctx->no_newmail && client->messages_count > 0) {
		mail_index_lookup_uid(client->mailbox->view,
				      client->messages_count, &idle->told.uid);
	}
	if (complete)
		idle->told.modseq = pimap_view_get_modseq(client->mailbox);
}

bool imap_pimap_idle_is_awaited(struct client *client)
{
	struct imap_pimap_idle *idle = imap_pimap_idle_get(client);

	return idle != NULL && idle->wait_count > 0;
}

void imap_pimap_idle_kept_awake(struct client *client)
{
	struct imap_pimap_idle *idle = imap_pimap_idle_get(client);

	if (idle != NULL)
		idle->kept_awake = TRUE;
}

void imap_pimap_idle_woken(struct client *client)
{
	struct imap_pimap_idle *idle = imap_pimap_idle_get(client);

	/* what it has done before isn't known */
	if (idle != NULL)
		idle->promise = FALSE;
}

void imap_pimap_idle_init(struct client *client)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);
	struct pimap_user *puser = pimap_user_get(client->user);
	struct imap_pimap_idle *idle;

	if (puser->set->pimap_inband_grace == 0)
		return;
	idle = p_new(client->pool, struct imap_pimap_idle, 1);
	idle->client = client;
	/* what the login process hands over was there before its reply */
	idle->promise = i_stream_read(client->input) == 0 &&
		idle_input_is_empty(client);
	pclient->idle = idle;
}

void imap_pimap_idle_deinit(struct client *client)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);
	struct imap_pimap_idle *idle = pclient->idle;

	if (idle == NULL)
		return;
	if (client->hibernated && idle->cmd != NULL && idle->guid != NULL)
		idle_send(idle, "ASLEEP\n");
	pclient->idle = NULL;
	idle->cmd = NULL;
	idle_disconnect(idle);
	timeout_remove(&idle->to_connect);
	timeout_remove(&idle->to_hibernate);
	i_free(idle->guid);
}

void imap_pimap_idles_deinit(void)
{
	if (idle_connections != NULL)
		connection_list_deinit(&idle_connections);
}
