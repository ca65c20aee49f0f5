/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channel MQTT: each notification is published, with QoS 1, to the topic that is
   the device's address. One connection to the broker carries all; libmosquitto speaks
   the protocol, in Dovecot's ioloop.

   It is MQTT 5: in 3.1.1 a broker acknowledges also what it throws away.

   By the reason code that the broker acknowledges it with, a notification is

     SENT     0x00
     RETRY    0x10: nobody has subscribed to the topic, so it would be lost
     GIVE_UP  0x90, 0x95, 0x99: the topic, the length or the format isn't taken
     RETRY    all others, as 0x87 (not authorised) and 0x97 (quota): a fault

   What isn't acknowledged when the connection ends, or for 30 s, is tried again by the
   queue. Nothing is left in libmosquitto for another connection. CONNACK's reason
   codes, DISCONNECT's, and what the network and TLS say, are faults.

   Brokers may end the connection because of one message (Mosquitto 2.0.11 does where
   its rules forbid the topic). So that it isn't in all others' way again and again,
   there is at first just one at a time under way after it; and what wasn't published
   yet, or after a refusal, waits for the next connection. */

#include "lib.h"
#include "hostpid.h"
#include "ioloop.h"
#include "llist.h"
#include "net.h"
#include "dns-lookup.h"
#include "pimap-mqtt.h"
#include "pimap-settings.h"
#include "pimap-text.h"
#include "outband-channel.h"

#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define MQTT_MAX_SENDS 100
/* until the broker has let us in; until it has acknowledged one */
#define MQTT_TIMEOUT_MSECS (30*1000)
#define MQTT_KEEPALIVE_SECS 60
/* so often it is looked whether the connection lives */
#define MQTT_MISC_MSECS 1000
/* of connections that come to nothing */
#define MQTT_MIN_BACKOFF_SECS 1
#define MQTT_MAX_BACKOFF_SECS 60
#define MQTT_MAX_REASON 200

enum mqtt_state {
	/* there is no connection */
	MQTT_STATE_NONE,
	MQTT_STATE_LOOKUP,
	/* up to CONNACK */
	MQTT_STATE_CONNECTING,
	MQTT_STATE_READY
};

struct mqtt_channel {
	struct outband_channel channel;
	pool_t pool;
	struct event *event;
	const struct pimap_settings *set;
	struct pimap_mqtt_url url;
	const char *user, *password, *client_id;

	enum mqtt_state state;
	struct dns_lookup *lookup;
	struct ip_addr *ips;
	unsigned int ips_count, ip_idx;
	SSL_CTX *ssl_ctx;
	struct mosquitto *mosq;
	struct io *io_read, *io_write;
	struct timeout *to_connect, *to_wait, *to_misc, *to_finish;
	/* it has come to be writable */
	bool connected;
	/* libmosquitto has said that it is over; why, NULL = it didn't say */
	bool ended;
	char *reason;
	/* of its DISCONNECT */
	int code;
	/* what was wrong with the broker's certificate */
	char *tls_error;

	/* until there is a new one; there was no acknowledgement since that time came
	   to be so long */
	unsigned int backoff_secs;
	time_t retry_time;
	char *last_error;
	/* it was none from the beginning: nothing waits for the next one */
	bool connect_failed;

	/* the last acknowledgement was a refusal */
	bool refused;
	/* how many aren't acknowledged, and may be */
	unsigned int published, window;

	/* those that wait for the connection, or for their acknowledgement */
	struct mqtt_send *sends_head, *sends_tail;
	/* those that the caller isn't told of yet */
	struct mqtt_send *finished_head, *finished_tail;
};

struct mqtt_send {
	struct mqtt_send *prev, *next;
	struct mqtt_channel *channel;
	const struct outband_row *row;
	/* 0: it isn't published yet */
	int mid;
	struct timeout *to;

	struct outband_channel_result result;
	char *error;
	outband_channel_callback_t *callback;
	void *context;
};

#define MQTT_CHANNEL(_channel) \
	container_of(_channel, struct mqtt_channel, channel)

static void mqtt_channel_connect(struct mqtt_channel *channel);
static void mqtt_connect_ip(struct mqtt_channel *channel);
static void mqtt_channel_check(struct mqtt_channel *channel, int ret);

/* Returns NULL if it can't be in MQTT. */
static const char *mqtt_get_string(pool_t pool, const char *value)
{
	const char *line = pimap_text_get_line(pool, value);

	return line != NULL && strlen(line) <= UINT16_MAX &&
		mosquitto_validate_utf8(line, strlen(line)) ==
		MOSQ_ERR_SUCCESS ? line : NULL;
}

static int
mqtt_channel_init(const struct outband_channel_env *env,
		  struct outband_channel **channel_r, const char **error_r)
{
	const struct pimap_settings *set = env->set;
	struct mqtt_channel *channel;
	const char *error = NULL;
	pool_t pool;

	if (set->pimap_mqtt_url[0] == '\0')
		return 0;
	pool = pool_alloconly_create("outband channel mqtt", 1024);
	channel = p_new(pool, struct mqtt_channel, 1);
	channel->pool = pool;
	channel->channel.v = &outband_channel_mqtt;
	channel->set = set;
	channel->user = mqtt_get_string(pool, set->pimap_mqtt_user);
	channel->password = mqtt_get_string(pool, set->pimap_mqtt_password);
	channel->client_id = mqtt_get_string(pool,
		set->pimap_mqtt_client_id[0] != '\0' ?
		set->pimap_mqtt_client_id :
		t_strconcat("pimap-", my_hostname, NULL));
	if (pimap_mqtt_url_parse(set->pimap_mqtt_url, &channel->url,
				 &error) < 0) {
		*error_r = t_strdup_printf("pimap_mqtt_url %s: %s",
					   set->pimap_mqtt_url, error);
	} else if (set->pimap_mqtt_prefix[0] != '\0' &&
		   !pimap_mqtt_topic_is_valid(
			t_strconcat(t_str_rtrim(set->pimap_mqtt_prefix, "/"),
				    "/x", NULL), &error)) {
		*error_r = t_strdup_printf("pimap_mqtt_prefix %s: %s",
					   set->pimap_mqtt_prefix, error);
	} else if (channel->user == NULL || channel->password == NULL ||
		   channel->client_id == NULL) {
		*error_r = error = "pimap_mqtt_user, pimap_mqtt_password and "
			"pimap_mqtt_client_id must be UTF-8, of one line";
	}
	if (error != NULL) {
		pool_unref(&pool);
		return -1;
	}
	channel->url.host = p_strdup(pool, channel->url.host);
	channel->event = event_create(env->event_parent);
	channel->window = MQTT_MAX_SENDS;
	(void)mosquitto_lib_init();
	*channel_r = &channel->channel;
	return 1;
}

/* Finishing */

static void mqtt_channel_tell(struct mqtt_channel *channel)
{
	struct mqtt_send *send;

	timeout_remove(&channel->to_finish);
	while ((send = channel->finished_head) != NULL) {
		DLLIST2_REMOVE(&channel->finished_head,
			       &channel->finished_tail, send);
		send->result.error = send->error;
		send->callback(&send->result, send->context);
		i_free(send->error);
		i_free(send);
	}
}

/* Not from within what uses the connection, or the call of send() */
static void
mqtt_send_finish(struct mqtt_send *send, enum outband_channel_outcome outcome,
		 bool fault, const char *error)
{
	struct mqtt_channel *channel = send->channel;

	if (send->mid != 0)
		channel->published--;
	send->result.outcome = outcome;
	send->result.fault = fault;
	send->error = i_strdup(error);
	timeout_remove(&send->to);
	DLLIST2_REMOVE(&channel->sends_head, &channel->sends_tail, send);
	DLLIST2_APPEND(&channel->finished_head, &channel->finished_tail, send);
	if (channel->to_finish == NULL) {
		channel->to_finish = timeout_add_short(0, mqtt_channel_tell,
						       channel);
	}
}

static void mqtt_channel_disconnect(struct mqtt_channel *channel)
{
	if (channel->lookup != NULL)
		dns_lookup_abort(&channel->lookup);
	timeout_remove(&channel->to_misc);
	if (channel->mosq != NULL && mosquitto_socket(channel->mosq) == -1) {
		/* libmosquitto has closed it */
		io_remove_closed(&channel->io_read);
		io_remove_closed(&channel->io_write);
	} else {
		io_remove(&channel->io_read);
		io_remove(&channel->io_write);
	}
	if (channel->mosq != NULL)
		mosquitto_destroy(channel->mosq);
	channel->mosq = NULL;
	channel->connected = FALSE;
	channel->ended = FALSE;
	channel->code = 0;
	channel->refused = FALSE;
	i_free(channel->reason);
	i_free(channel->tls_error);
}

static void
mqtt_channel_no_connection(struct mqtt_channel *channel, const char *error)
{
	i_free(channel->last_error);
	channel->last_error = i_strdup_printf("%s: %s", channel->url.host,
					      error);
	mqtt_channel_disconnect(channel);
	timeout_remove(&channel->to_connect);
	i_free(channel->ips);
	channel->state = MQTT_STATE_NONE;
	channel->backoff_secs = channel->backoff_secs == 0 ?
		MQTT_MIN_BACKOFF_SECS :
		I_MIN(channel->backoff_secs * 2, MQTT_MAX_BACKOFF_SECS);
	channel->retry_time = ioloop_time + channel->backoff_secs;
	e_debug(channel->event, "MQTT: %s", channel->last_error);
}

static void mqtt_send_retry(struct mqtt_send *send)
{
	send->result.retry_secs = send->channel->backoff_secs;
	mqtt_send_finish(send, OUTBAND_CHANNEL_RETRY, TRUE,
			 send->channel->last_error);
}

/* There is no connection to be had. All is tried again later: the queue has it. */
static void
mqtt_channel_failed(struct mqtt_channel *channel, const char *error)
{
	mqtt_channel_no_connection(channel, error);
	channel->connect_failed = TRUE;
	while (channel->sends_head != NULL)
		mqtt_send_retry(channel->sends_head);
}

static bool mqtt_is_final(int code)
{
	return code == MQTT_RC_TOPIC_NAME_INVALID ||
		code == MQTT_RC_PACKET_TOO_LARGE ||
		code == MQTT_RC_PAYLOAD_FORMAT_INVALID;
}

static void mqtt_channel_wait(struct mqtt_channel *channel)
{
	time_t secs = channel->retry_time - ioloop_time;

	/* a clock may have jumped */
	secs = I_MAX(I_MIN(secs, (time_t)channel->backoff_secs), 0);
	channel->to_wait = timeout_add(secs * 1000, mqtt_channel_connect,
				       channel);
}

/* One that worked is over. */
static void
mqtt_channel_lost(struct mqtt_channel *channel, const char *error)
{
	bool final = channel->published == 1 && mqtt_is_final(channel->code);
	bool refused = channel->refused;
	struct mqtt_send *send, *next;

	mqtt_channel_no_connection(channel, error);
	channel->connect_failed = FALSE;
	channel->window = 1;
	for (send = channel->sends_head; send != NULL; send = next) {
		next = send->next;
		if (send->mid == 0)
			continue;
		if (refused) {
			/* it isn't what the broker was against */
			timeout_remove(&send->to);
			send->mid = 0;
			channel->published--;
		} else if (final) {
			mqtt_send_finish(send, OUTBAND_CHANNEL_GIVE_UP, FALSE,
					 channel->last_error);
		} else {
			mqtt_send_retry(send);
		}
	}
	if (channel->sends_head != NULL)
		mqtt_channel_wait(channel);
}

/* TLS */

/* libmosquitto is given an address, as it would block to resolve a name. So it is
   here that the name is asked for, and compared with the certificate's. */
static void mqtt_tls_info(const SSL *ssl, int where, int ret ATTR_UNUSED)
{
	const struct mqtt_channel *channel =
		SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	if ((where & SSL_CB_HANDSHAKE_START) != 0 &&
	    !SSL_is_init_finished(ssl)) {
		(void)SSL_set_tlsext_host_name((SSL *)ssl, channel->url.host);
	}
}

static int mqtt_tls_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store,
		SSL_get_ex_data_X509_STORE_CTX_idx());
	struct mqtt_channel *channel =
		SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	if (ok == 0 && channel->tls_error == NULL) {
		channel->tls_error = i_strdup(X509_verify_cert_error_string(
			X509_STORE_CTX_get_error(store)));
	}
	return ok;
}

static const char *mqtt_tls_error(void)
{
	unsigned long err = ERR_get_error();
	const char *error = err == 0 ? NULL : ERR_reason_error_string(err);

	ERR_clear_error();
	return error == NULL ? "OpenSSL failed" : error;
}

/* Made for each connection: a file of certificates may be mended meanwhile. */
static int
mqtt_tls_init(struct mqtt_channel *channel, const char **error_r)
{
	const char *ca = channel->set->pimap_mqtt_ca;
	X509_VERIFY_PARAM *param;
	struct ip_addr ip;
	SSL_CTX *ctx;
	int ret;

	SSL_CTX_free(channel->ssl_ctx);
	channel->ssl_ctx = ctx = SSL_CTX_new(TLS_client_method());
	if (ctx == NULL) {
		*error_r = mqtt_tls_error();
		return -1;
	}
	(void)SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	/* libmosquitto may come again with the same octets elsewhere */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
			 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_app_data(ctx, channel);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, mqtt_tls_verify);
	param = SSL_CTX_get0_param(ctx);
	if (net_addr2ip(channel->url.host, &ip) == 0) {
		ret = X509_VERIFY_PARAM_set1_ip_asc(param, channel->url.host);
	} else {
		X509_VERIFY_PARAM_set_hostflags(param,
			X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		ret = X509_VERIFY_PARAM_set1_host(param, channel->url.host, 0);
		SSL_CTX_set_info_callback(ctx, mqtt_tls_info);
	}
	if (ret != 1) {
		*error_r = mqtt_tls_error();
		return -1;
	}
	ERR_clear_error();
	if ((ca[0] == '\0' ? SSL_CTX_set_default_verify_paths(ctx) :
	     SSL_CTX_load_verify_file(ctx, ca)) != 1) {
		*error_r = t_strdup_printf("pimap_mqtt_ca %s: %s", ca,
					   mqtt_tls_error());
		return -1;
	}
	return 0;
}

/* The connection */

static const char *mqtt_get_error(struct mqtt_channel *channel, int ret)
{
	if (channel->tls_error != NULL) {
		return t_strconcat("its certificate isn't accepted: ",
				   channel->tls_error, NULL);
	}
	if (channel->reason != NULL)
		return t_strdup(channel->reason);
	switch (ret) {
	case MOSQ_ERR_MALFORMED_PACKET:
	case MOSQ_ERR_PROTOCOL:
		if (channel->state == MQTT_STATE_CONNECTING) {
			/* 3.1.1's CONNACK is no packet of 5 */
			return t_strconcat("it doesn't speak MQTT 5: ",
					   mosquitto_strerror(ret), NULL);
		}
		break;
	case MOSQ_ERR_SUCCESS:
	case MOSQ_ERR_CONN_LOST:
		return "the connection was closed";
	case MOSQ_ERR_ERRNO:
		return errno == 0 ? "the connection was closed" :
			t_strdup(strerror(errno));
	case MOSQ_ERR_KEEPALIVE:
		return "it doesn't answer any more";
	}
	return t_strdup(mosquitto_strerror(ret));
}

static const char *
mqtt_get_reason(int code, const mosquitto_property *props)
{
	const char *reason = t_strdup_printf("%s (0x%02x)",
		mosquitto_reason_string(code), (unsigned int)code);
	char *text = NULL;

	if (mosquitto_property_read_string(props, MQTT_PROP_REASON_STRING,
					   &text, FALSE) != NULL &&
	    text != NULL) {
		reason = t_strdup_printf("%s: %s", reason,
			pimap_text_get_reply(text, MQTT_MAX_REASON));
	}
	free(text);
	return reason;
}

/* One that a broker of another version may have sent, too */
static const char *
mqtt_get_refusal(int code, const mosquitto_property *props)
{
	if (code == MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION || code == 1)
		return "it doesn't speak MQTT 5";
	return t_strconcat("it doesn't let this server in: ", code < 0x80 ?
			   mosquitto_connack_string(code) :
			   mqtt_get_reason(code, props), NULL);
}

static void
mqtt_callback_connect(struct mosquitto *mosq ATTR_UNUSED, void *context,
		      int code, int flags ATTR_UNUSED,
		      const mosquitto_property *props)
{
	struct mqtt_channel *channel = context;

	if (channel->state != MQTT_STATE_CONNECTING)
		return;
	if (code == 0) {
		channel->state = MQTT_STATE_READY;
		i_free(channel->reason);
	} else {
		i_free(channel->reason);
		channel->reason = i_strdup(mqtt_get_refusal(code, props));
		channel->ended = TRUE;
	}
}

static void
mqtt_callback_disconnect(struct mosquitto *mosq ATTR_UNUSED, void *context,
			 int code, const mosquitto_property *props)
{
	struct mqtt_channel *channel = context;

	/* below it are libmosquitto's own codes, which its functions return */
	if (code >= 0x80 && channel->reason == NULL) {
		channel->reason = i_strconcat("it has ended the connection: ",
			code == MQTT_RC_SESSION_TAKEN_OVER ?
			"another client has the same pimap_mqtt_client_id" :
			mqtt_get_reason(code, props), NULL);
	}
	if (code >= 0x80)
		channel->code = code;
	channel->ended = TRUE;
}

static void
mqtt_callback_log(struct mosquitto *mosq ATTR_UNUSED, void *context,
		  int level, const char *text)
{
	struct mqtt_channel *channel = context;

	/* what OpenSSL has to say, and what was wrong in a packet */
	if (level != MOSQ_LOG_ERR || channel->reason != NULL)
		return;
	if (strncmp(text, "Error: ", 7) == 0)
		text += 7;
	text = t_str_rtrim(text, "\r\n");
	channel->reason = i_strdup(pimap_text_get_reply(text, MQTT_MAX_REASON));
}

static struct mqtt_send *mqtt_find_send(struct mqtt_channel *channel, int mid)
{
	struct mqtt_send *send;

	/* they are acknowledged in the order in which they were published */
	for (send = channel->sends_head; send != NULL; send = send->next) {
		if (send->mid == mid)
			return send;
	}
	return NULL;
}

static void
mqtt_callback_acknowledged(struct mosquitto *mosq ATTR_UNUSED, void *context,
			   int mid, int code, const mosquitto_property *props)
{
	struct mqtt_channel *channel = context;
	struct mqtt_send *send = mqtt_find_send(channel, mid);
	const char *error;

	channel->backoff_secs = 0;
	if (send == NULL)
		return;
	channel->refused = code >= 0x80;
	if (code == 0) {
		channel->window = I_MIN(channel->window * 2, MQTT_MAX_SENDS);
		mqtt_send_finish(send, OUTBAND_CHANNEL_SENT, FALSE, NULL);
		return;
	}
	error = t_strdup_printf("The broker's answer is %s",
				mqtt_get_reason(code, props));
	if (code == MQTT_RC_NO_MATCHING_SUBSCRIBERS) {
		mqtt_send_finish(send, OUTBAND_CHANNEL_RETRY, FALSE,
				 "Nobody has subscribed to the topic");
	} else if (mqtt_is_final(code)) {
		mqtt_send_finish(send, OUTBAND_CHANNEL_GIVE_UP, FALSE, error);
	} else {
		mqtt_send_finish(send, OUTBAND_CHANNEL_RETRY, TRUE, error);
	}
}

static void mqtt_send_timeout(struct mqtt_send *send)
{
	mqtt_channel_lost(send->channel, t_strdup_printf(
		"it hasn't acknowledged a notification in %u s",
		MQTT_TIMEOUT_MSECS / 1000));
}

/* Returns what libmosquitto says. */
static int
mqtt_publish(struct mqtt_channel *channel, struct mqtt_send *send)
{
	mosquitto_property *props = NULL;
	time_t ttl = send->row->created +
		(time_t)channel->set->pimap_outband_expire - ioloop_time;
	int ret;

	/* neither has a device to be told of it then */
	ttl = I_MIN(I_MAX(ttl, 1), (time_t)UINT32_MAX);
	ret = mosquitto_property_add_int32(&props,
		MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, ttl);
	if (ret == MOSQ_ERR_SUCCESS) {
		ret = mosquitto_publish_v5(channel->mosq, &send->mid,
			send->row->address, strlen(send->row->payload),
			send->row->payload, 1, FALSE, props);
	}
	if (send->mid != 0)
		channel->published++;
	mosquitto_property_free_all(&props);
	return ret;
}

static void
mqtt_send_publish(struct mqtt_channel *channel, struct mqtt_send *send)
{
	const char *error = NULL;
	bool valid = pimap_mqtt_topic_is_valid(send->row->address, &error);
	int ret = valid ? mqtt_publish(channel, send) : MOSQ_ERR_INVAL;

	switch (ret) {
	case MOSQ_ERR_SUCCESS:
		send->to = timeout_add(MQTT_TIMEOUT_MSECS, mqtt_send_timeout,
				       send);
		break;
	case MOSQ_ERR_INVAL:
	case MOSQ_ERR_MALFORMED_UTF8:
	case MOSQ_ERR_OVERSIZE_PACKET:
	case MOSQ_ERR_PAYLOAD_SIZE:
		mqtt_send_finish(send, OUTBAND_CHANNEL_GIVE_UP, FALSE,
			t_strdup_printf("It can't be published: %s",
			error != NULL ? error : mosquitto_strerror(ret)));
		break;
	case MOSQ_ERR_QOS_NOT_SUPPORTED:
		mqtt_send_finish(send, OUTBAND_CHANNEL_RETRY, TRUE,
			"The broker acknowledges nothing: it takes QoS 0 only");
		break;
	default:
		mqtt_channel_lost(channel, mqtt_get_error(channel, ret));
	}
}

static void mqtt_publish_waiting(struct mqtt_channel *channel)
{
	struct mqtt_send *send, *next;

	for (send = channel->sends_head; send != NULL; send = next) {
		next = send->next;
		if (channel->published >= channel->window)
			break;
		if (send->mid != 0)
			continue;
		mqtt_send_publish(channel, send);
		if (channel->state != MQTT_STATE_READY)
			break;
	}
}

/* Is TLS still to be set up? */
static bool mqtt_in_handshake(struct mqtt_channel *channel)
{
	const SSL *ssl = mosquitto_ssl_get(channel->mosq);

	return ssl != NULL && !SSL_is_init_finished(ssl);
}

static void mqtt_channel_output(struct mqtt_channel *channel)
{
	int ret = MOSQ_ERR_SUCCESS;

	if (!channel->connected) {
		int err = net_geterror(mosquitto_socket(channel->mosq));

		if (err != 0) {
			errno = err;
			mqtt_channel_check(channel, MOSQ_ERR_ERRNO);
			return;
		}
		channel->connected = TRUE;
		/* it is what drives the handshake */
		if (mqtt_in_handshake(channel))
			ret = mosquitto_loop_read(channel->mosq, 1);
	}
	if (ret == MOSQ_ERR_SUCCESS && !mqtt_in_handshake(channel))
		ret = mosquitto_loop_write(channel->mosq, 1);
	mqtt_channel_check(channel, ret);
}

static void mqtt_channel_input(struct mqtt_channel *channel)
{
	mqtt_channel_check(channel, mosquitto_loop_read(channel->mosq, 1));
}

static void mqtt_channel_misc(struct mqtt_channel *channel)
{
	/* before CONNACK another time counts */
	if (channel->state == MQTT_STATE_READY)
		mqtt_channel_check(channel, mosquitto_loop_misc(channel->mosq));
}

static void mqtt_channel_update_io(struct mqtt_channel *channel)
{
	/* Until it is connected, and then while there is something to be written.
	   In the handshake libmosquitto always has something. */
	if (!channel->connected || (!mqtt_in_handshake(channel) &&
				    mosquitto_want_write(channel->mosq))) {
		if (channel->io_write == NULL) {
			channel->io_write =
				io_add(mosquitto_socket(channel->mosq),
				       IO_WRITE, mqtt_channel_output, channel);
		}
	} else {
		io_remove(&channel->io_write);
	}
}

/* The next address, if it is this one that can't be reached */
static void
mqtt_connection_failed(struct mqtt_channel *channel, const char *error)
{
	if (channel->state == MQTT_STATE_READY) {
		mqtt_channel_lost(channel, error);
		return;
	}
	if (channel->state != MQTT_STATE_CONNECTING || channel->connected ||
	    channel->ip_idx + 1 >= channel->ips_count) {
		mqtt_channel_failed(channel, error);
		return;
	}
	mqtt_channel_disconnect(channel);
	timeout_reset(channel->to_connect);
	channel->ip_idx++;
	mqtt_connect_ip(channel);
}

/* After each of libmosquitto's functions that reads or writes */
static void mqtt_channel_check(struct mqtt_channel *channel, int ret)
{
	if (ret != MOSQ_ERR_SUCCESS || channel->ended ||
	    mosquitto_socket(channel->mosq) == -1) {
		mqtt_connection_failed(channel, mqtt_get_error(channel, ret));
		return;
	}
	if (channel->state == MQTT_STATE_READY) {
		timeout_remove(&channel->to_connect);
		mqtt_publish_waiting(channel);
	}
	if (channel->mosq != NULL)
		mqtt_channel_update_io(channel);
}

static int
mqtt_channel_create(struct mqtt_channel *channel, const char **error_r)
{
	struct mosquitto *mosq;
	int ret = MOSQ_ERR_SUCCESS;

	if (channel->url.tls && mqtt_tls_init(channel, error_r) < 0)
		return -1;
	mosq = mosquitto_new(channel->client_id, TRUE, channel);
	if (mosq == NULL) {
		*error_r = t_strdup_printf("libmosquitto: %m");
		return -1;
	}
	channel->mosq = mosq;
	mosquitto_connect_v5_callback_set(mosq, mqtt_callback_connect);
	mosquitto_disconnect_v5_callback_set(mosq, mqtt_callback_disconnect);
	mosquitto_publish_v5_callback_set(mosq, mqtt_callback_acknowledged);
	mosquitto_log_callback_set(mosq, mqtt_callback_log);
	if (mosquitto_int_option(mosq, MOSQ_OPT_PROTOCOL_VERSION,
				 MQTT_PROTOCOL_V5) != MOSQ_ERR_SUCCESS ||
	    mosquitto_int_option(mosq, MOSQ_OPT_SEND_MAXIMUM,
				 MQTT_MAX_SENDS) != MOSQ_ERR_SUCCESS ||
	    mosquitto_int_option(mosq, MOSQ_OPT_TCP_NODELAY,
				 1) != MOSQ_ERR_SUCCESS)
		ret = MOSQ_ERR_NOT_SUPPORTED;
	if (ret == MOSQ_ERR_SUCCESS && channel->url.tls) {
		ret = mosquitto_int_option(mosq, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS,
					   0);
		if (ret == MOSQ_ERR_SUCCESS) {
			ret = mosquitto_void_option(mosq, MOSQ_OPT_SSL_CTX,
						    channel->ssl_ctx);
		}
	}
	if (ret == MOSQ_ERR_SUCCESS && channel->user[0] != '\0') {
		ret = mosquitto_username_pw_set(mosq, channel->user,
			channel->password[0] == '\0' ? NULL :
			channel->password);
	}
	if (ret != MOSQ_ERR_SUCCESS) {
		*error_r = t_strconcat("libmosquitto: ",
				       mosquitto_strerror(ret), NULL);
		return -1;
	}
	return 0;
}

static void mqtt_connect_ip(struct mqtt_channel *channel)
{
	const char *ip = net_ip2addr(&channel->ips[channel->ip_idx]);
	const char *error;
	int ret;

	channel->state = MQTT_STATE_CONNECTING;
	if (mqtt_channel_create(channel, &error) < 0) {
		mqtt_channel_failed(channel, error);
		return;
	}
	ret = mosquitto_connect_async(channel->mosq, ip, channel->url.port,
				      MQTT_KEEPALIVE_SECS);
	if (ret > 0 || mosquitto_socket(channel->mosq) == -1) {
		mqtt_channel_check(channel, ret);
		return;
	}
	channel->io_read = io_add(mosquitto_socket(channel->mosq), IO_READ,
				  mqtt_channel_input, channel);
	channel->to_misc = timeout_add(MQTT_MISC_MSECS, mqtt_channel_misc,
				       channel);
	mqtt_channel_update_io(channel);
}

static void
mqtt_channel_resolved(struct mqtt_channel *channel, const struct ip_addr *ips,
		      unsigned int count)
{
	if (count == 0) {
		mqtt_channel_failed(channel, "it has no address");
		return;
	}
	i_free(channel->ips);
	channel->ips = i_new(struct ip_addr, count);
	memcpy(channel->ips, ips, sizeof(*ips) * count);
	channel->ips_count = count;
	channel->ip_idx = 0;
	mqtt_connect_ip(channel);
}

static void
mqtt_channel_looked_up(const struct dns_lookup_result *result,
		       struct mqtt_channel *channel)
{
	channel->lookup = NULL;
	if (result->ret != 0)
		mqtt_channel_failed(channel, result->error);
	else
		mqtt_channel_resolved(channel, result->ips, result->ips_count);
}

static void mqtt_connect_timeout(struct mqtt_channel *channel)
{
	mqtt_connection_failed(channel, t_strdup_printf(
		"it hasn't answered in %u s", MQTT_TIMEOUT_MSECS / 1000));
}

static void mqtt_channel_connect(struct mqtt_channel *channel)
{
	struct dns_lookup_settings dns_set;
	struct ip_addr ip;

	timeout_remove(&channel->to_wait);
	channel->to_connect = timeout_add(MQTT_TIMEOUT_MSECS,
					  mqtt_connect_timeout, channel);
	if (net_addr2ip(channel->url.host, &ip) == 0) {
		mqtt_channel_resolved(channel, &ip, 1);
		return;
	}
	channel->state = MQTT_STATE_LOOKUP;
	i_zero(&dns_set);
	dns_set.dns_client_socket_path = DNS_CLIENT_SOCKET_NAME;
	dns_set.timeout_msecs = MQTT_TIMEOUT_MSECS;
	dns_set.event_parent = channel->event;
	/* it calls back where it fails */
	(void)dns_lookup(channel->url.host, &dns_set, mqtt_channel_looked_up,
			 channel, &channel->lookup);
}

static void
mqtt_channel_send(struct outband_channel *_channel,
		  const struct outband_row *row,
		  outband_channel_callback_t *callback, void *context)
{
	struct mqtt_channel *channel = MQTT_CHANNEL(_channel);
	struct mqtt_send *send;

	send = i_new(struct mqtt_send, 1);
	send->channel = channel;
	send->row = row;
	send->callback = callback;
	send->context = context;
	DLLIST2_APPEND(&channel->sends_head, &channel->sends_tail, send);
	T_BEGIN {
		if (channel->state == MQTT_STATE_READY) {
			mqtt_publish_waiting(channel);
			if (channel->mosq != NULL)
				mqtt_channel_update_io(channel);
		} else if (channel->state != MQTT_STATE_NONE ||
			   channel->to_wait != NULL) {
			/* it waits for the connection */
		} else if (channel->retry_time <= ioloop_time ||
			   channel->retry_time > ioloop_time +
				(time_t)channel->backoff_secs) {
			mqtt_channel_connect(channel);
		} else if (!channel->connect_failed) {
			mqtt_channel_wait(channel);
		} else {
			mqtt_send_retry(send);
		}
	} T_END;
}

static void mqtt_channel_deinit(struct outband_channel *_channel)
{
	struct mqtt_channel *channel = MQTT_CHANNEL(_channel);
	struct mqtt_send *send;

	while ((send = channel->sends_head) != NULL) {
		mqtt_send_finish(send, OUTBAND_CHANNEL_RETRY, FALSE, NULL);
	}
	while ((send = channel->finished_head) != NULL) {
		DLLIST2_REMOVE(&channel->finished_head,
			       &channel->finished_tail, send);
		i_free(send->error);
		i_free(send);
	}
	timeout_remove(&channel->to_finish);
	timeout_remove(&channel->to_connect);
	timeout_remove(&channel->to_wait);
	if (channel->state == MQTT_STATE_READY) {
		/* else the broker takes it for a failure */
		(void)mosquitto_disconnect_v5(channel->mosq, 0, NULL);
	}
	mqtt_channel_disconnect(channel);
	(void)mosquitto_lib_cleanup();
	SSL_CTX_free(channel->ssl_ctx);
	i_free(channel->ips);
	i_free(channel->last_error);
	event_unref(&channel->event);
	pool_unref(&channel->pool);
}

const struct outband_channel_vfuncs outband_channel_mqtt = {
	.name = "MQTT",
	.max_sends = MQTT_MAX_SENDS,
	.init = mqtt_channel_init,
	.deinit = mqtt_channel_deinit,
	.send = mqtt_channel_send,
};
