/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channel MAIL: a mail to the device's address by the configured relay. Whether
   the relay can deliver it is its matter once it has taken it. */

#include "lib.h"
#include "str.h"
#include "hostpid.h"
#include "ioloop.h"
#include "istream.h"
#include "llist.h"
#include "smtp-address.h"
#include "smtp-client.h"
#include "smtp-client-connection.h"
#include "smtp-client-transaction.h"
#include "pimap-address.h"
#include "pimap-settings.h"
#include "outband-channel.h"
#include "outband-message.h"

#define MAIL_DEFAULT_PORT 25
#define MAIL_MAX_SENDS 20
#define MAIL_CONNECT_TIMEOUT_MSECS (30*1000)
#define MAIL_COMMAND_TIMEOUT_MSECS (60*1000)
#define MAIL_MAX_REPLY_SIZE (16*1024)
/* A relay has better uses for a connection than to wait for our next mail. */
#define MAIL_IDLE_TIMEOUT_MSECS (2*1000)

struct mail_channel {
	struct outband_channel channel;
	struct event *event;
	const struct pimap_settings *set;

	pool_t pool;
	const char *host;
	in_port_t port;
	struct smtp_address *from;

	struct smtp_client *client;
	/* those that wait for the next mail, the last used first */
	struct mail_conn *idle;
	struct mail_send *sends;
};

struct mail_conn {
	struct mail_conn *prev, *next;
	struct mail_channel *channel;
	struct smtp_client_connection *conn;
	/* while it is idle */
	struct timeout *to_idle;
};

/* One mail that is being sent. It has a connection for itself: the relay may be slow
   with one, and not with another. */
struct mail_send {
	struct mail_send *prev, *next;
	struct mail_channel *channel;
	pool_t pool;

	const struct smtp_address *to;
	string_t *mail;

	struct mail_conn *conn;
	struct smtp_client_transaction *trans;
	struct timeout *to_finish;
	/* its connection has sent others before */
	bool reused;
	/* the relay has ended the connection, or just won't have more by it */
	bool conn_ended;

	struct outband_channel_result result;
	outband_channel_callback_t *callback;
	void *context;
};

#define MAIL_CHANNEL(_channel) \
	container_of(_channel, struct mail_channel, channel)

static const struct smtp_address no_sender = { .localpart = NULL };

static int
mail_channel_init(const struct outband_channel_env *env,
		  struct outband_channel **channel_r, const char **error_r)
{
	const struct pimap_settings *set = env->set;
	struct smtp_client_settings client_set;
	struct mail_channel *channel;
	const char *from, *error;
	pool_t pool;

	if (set->pimap_mail_relay[0] == '\0')
		return 0;
	pool = pool_alloconly_create("outband channel mail", 512);
	channel = p_new(pool, struct mail_channel, 1);
	channel->pool = pool;
	channel->channel.v = &outband_channel_mail;
	channel->set = set;
	if (net_str2hostport(set->pimap_mail_relay, MAIL_DEFAULT_PORT,
			     &channel->host, &channel->port) < 0) {
		*error_r = t_strdup_printf("pimap_mail_relay %s isn't a host "
			"with or without a port", set->pimap_mail_relay);
		pool_unref(&pool);
		return -1;
	}
	channel->host = p_strdup(pool, channel->host);
	from = set->pimap_mail_from[0] != '\0' ? set->pimap_mail_from :
		t_strconcat("pimap@", my_hostdomain(), NULL);
	if (smtp_address_parse_mailbox(pool, from, 0, &channel->from,
				       &error) < 0 ||
	    channel->from->domain == NULL) {
		*error_r = t_strdup_printf("pimap_mail_from %s isn't an "
					   "address with a domain", from);
		pool_unref(&pool);
		return -1;
	}
	channel->event = event_create(env->event_parent);
	/* lib-smtp would say for each try what the sender says once */
	event_set_min_log_level(channel->event, LOG_TYPE_FATAL);

	i_zero(&client_set);
	client_set.my_hostname = my_hostdomain();
	client_set.dns_client_socket_path = "dns-client";
	client_set.connect_timeout_msecs = MAIL_CONNECT_TIMEOUT_MSECS;
	client_set.command_timeout_msecs = MAIL_COMMAND_TIMEOUT_MSECS;
	client_set.max_reply_size = MAIL_MAX_REPLY_SIZE;
	client_set.event_parent = channel->event;
	channel->client = smtp_client_init(&client_set);

	*channel_r = &channel->channel;
	return 1;
}

static void mail_conn_free(struct mail_conn *conn)
{
	if (conn->to_idle != NULL) {
		timeout_remove(&conn->to_idle);
		DLLIST_REMOVE(&conn->channel->idle, conn);
	}
	smtp_client_connection_close(&conn->conn);
	i_free(conn);
}

static bool mail_conn_is_ready(struct mail_conn *conn)
{
	return smtp_client_connection_get_state(conn->conn) ==
		SMTP_CLIENT_CONNECTION_STATE_READY;
}

/* One that is idle, or else a new one */
static struct mail_conn *
mail_conn_get(struct mail_channel *channel, bool *reused_r)
{
	struct mail_conn *conn;

	while ((conn = channel->idle) != NULL) {
		if (!mail_conn_is_ready(conn)) {
			mail_conn_free(conn);
			continue;
		}
		timeout_remove(&conn->to_idle);
		DLLIST_REMOVE(&channel->idle, conn);
		*reused_r = TRUE;
		return conn;
	}
	conn = i_new(struct mail_conn, 1);
	conn->channel = channel;
	conn->conn = smtp_client_connection_create(channel->client,
		SMTP_PROTOCOL_SMTP, channel->host, channel->port,
		SMTP_CLIENT_SSL_MODE_NONE, NULL);
	*reused_r = FALSE;
	return conn;
}

static void mail_conn_put(struct mail_conn *conn)
{
	conn->to_idle = timeout_add_short(MAIL_IDLE_TIMEOUT_MSECS,
					  mail_conn_free, conn);
	DLLIST_PREPEND(&conn->channel->idle, conn);
}

/* What is under way ends; its connection is kept if it is fit for others. */
static void mail_send_end(struct mail_send *send)
{
	if (send->trans != NULL)
		smtp_client_transaction_destroy(&send->trans);
	if (send->conn == NULL)
		;
	else if (send->result.outcome == OUTBAND_CHANNEL_SENT &&
		 mail_conn_is_ready(send->conn))
		mail_conn_put(send->conn);
	else
		mail_conn_free(send->conn);
	send->conn = NULL;
	/* of one that is broken off they have told that it has finished */
	timeout_remove(&send->to_finish);
}

static void mail_send_free(struct mail_send *send)
{
	mail_send_end(send);
	DLLIST_REMOVE(&send->channel->sends, send);
	pool_unref(&send->pool);
}

static void mail_channel_deinit(struct outband_channel *_channel)
{
	struct mail_channel *channel = MAIL_CHANNEL(_channel);

	while (channel->sends != NULL) {
		channel->sends->callback = NULL;
		mail_send_free(channel->sends);
	}
	while (channel->idle != NULL)
		mail_conn_free(channel->idle);
	smtp_client_deinit(&channel->client);
	event_unref(&channel->event);
	pool_unref(&channel->pool);
}

static void mail_send_start(struct mail_send *send);

static void mail_send_finish(struct mail_send *send)
{
	if (send->reused && send->conn_ended) {
		/* Relays end connections after some time, or some mails. That is no
		   fault. */
		mail_send_end(send);
		while (send->channel->idle != NULL)
			mail_conn_free(send->channel->idle);
		mail_send_start(send);
		return;
	}

	outband_channel_callback_t *callback = send->callback;
	void *context = send->context;
	struct outband_channel_result result = send->result;

	result.error = result.error != NULL ? t_strdup(result.error) :
		"The relay hasn't answered";
	mail_send_free(send);
	callback(&result, context);
}

/* Not from within lib-smtp's callbacks: it uses what would be freed */
static void mail_send_finish_later(struct mail_send *send)
{
	if (send->to_finish == NULL)
		send->to_finish = timeout_add_short(0, mail_send_finish, send);
}

static void
mail_send_result(struct mail_send *send, const char *what, bool final,
		 const struct smtp_reply *reply)
{
	struct outband_channel_result *result = &send->result;

	/* the first refusal is the cause of what comes after it */
	if (send->result.error != NULL)
		return;
	if (smtp_reply_is_success(reply)) {
		result->outcome = OUTBAND_CHANNEL_SENT;
		return;
	}
	send->conn_ended =
		reply->status == SMTP_CLIENT_COMMAND_ERROR_CONNECTION_LOST ||
		/* 421 */
		reply->status == SMTP_CLIENT_COMMAND_ERROR_CONNECTION_CLOSED;
	/* codes that lib-smtp has made itself are none of the relay's */
	result->outcome = final && smtp_reply_is_remote(reply) &&
		!smtp_reply_is_temp_fail(reply) ?
		OUTBAND_CHANNEL_GIVE_UP : OUTBAND_CHANNEL_RETRY;
	/* unless it is only against this recipient */
	result->fault = !final || !smtp_reply_is_remote(reply);
	result->error = p_strdup_printf(send->pool, "%s: %s", what,
					smtp_reply_log(reply));
}

/* What the relay has against us, its client, or against the sender is no matter of
   this notification: the administrator can mend it before it expires. */
static void
mail_send_from(const struct smtp_reply *reply, struct mail_send *send)
{
	if (!smtp_reply_is_success(reply))
		mail_send_result(send, "MAIL FROM", FALSE, reply);
}

static void
mail_send_rcpt(const struct smtp_reply *reply, struct mail_send *send)
{
	if (!smtp_reply_is_success(reply))
		mail_send_result(send, "RCPT TO", TRUE, reply);
}

static void
mail_send_rcpt_data(const struct smtp_reply *reply ATTR_UNUSED,
		    struct mail_send *send ATTR_UNUSED)
{
}

static void
mail_send_data(const struct smtp_reply *reply, struct mail_send *send)
{
	mail_send_result(send, "DATA", TRUE, reply);
}

static void mail_send_transaction_finished(struct mail_send *send)
{
	/* it frees itself */
	send->trans = NULL;
	mail_send_finish_later(send);
}

static void mail_send_start(struct mail_send *send)
{
	struct istream *input;

	i_zero(&send->result);
	/* what no callback says is neither sent nor refused */
	send->result.outcome = OUTBAND_CHANNEL_RETRY;
	send->result.fault = TRUE;
	send->conn_ended = FALSE;
	send->conn = mail_conn_get(send->channel, &send->reused);
	/* nobody is to answer it, by a bounce either (R-14.5) */
	send->trans = smtp_client_transaction_create(send->conn->conn,
		&no_sender, NULL, 0, mail_send_transaction_finished, send);
	smtp_client_transaction_start(send->trans, mail_send_from, send);
	smtp_client_transaction_add_rcpt(send->trans, send->to, NULL,
		mail_send_rcpt, mail_send_rcpt_data, send);
	input = i_stream_create_from_data(str_data(send->mail),
					  str_len(send->mail));
	smtp_client_transaction_send(send->trans, input, mail_send_data, send);
	i_stream_unref(&input);
}

static void
mail_channel_send(struct outband_channel *_channel,
		  const struct outband_row *row,
		  outband_channel_callback_t *callback, void *context)
{
	struct mail_channel *channel = MAIL_CHANNEL(_channel);
	struct mail_send *send;
	struct smtp_address *to;
	const char *error;
	pool_t pool;

	pool = pool_alloconly_create("outband mail", 2048);
	send = p_new(pool, struct mail_send, 1);
	send->pool = pool;
	send->channel = channel;
	send->callback = callback;
	send->context = context;
	DLLIST_PREPEND(&channel->sends, send);

	if (smtp_address_parse_mailbox(pool, row->address, 0, &to,
				       &error) < 0) {
		send->result.outcome = OUTBAND_CHANNEL_GIVE_UP;
		send->result.error = p_strdup_printf(pool,
			"The address isn't allowed: %s", error);
		mail_send_finish_later(send);
		return;
	}

	send->to = to;
	send->mail = str_new(pool, 1024);
	outband_message_append(send->mail, row, channel->from, to,
			       my_hostdomain());
	mail_send_start(send);
}

const struct outband_channel_vfuncs outband_channel_mail = {
	.name = "MAIL",
	.max_sends = MAIL_MAX_SENDS,
	.init = mail_channel_init,
	.deinit = mail_channel_deinit,
	.send = mail_channel_send,
};
