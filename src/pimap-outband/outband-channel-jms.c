/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channel JMS: a message to a queue or topic of a broker, by STOMP 1.2 (ActiveMQ,
   Artemis, RabbitMQ). Without content-length, so that ActiveMQ makes it a TextMessage:
   a notification has no NUL.

   There is one connection, which is made when there is something to send, and stays
   as long as it lives. On it up to JMS_MAX_SENDS messages wait for their receipts.

   What becomes of a message:

     RECEIPT of it                        sent
     ERROR that names it (receipt-id)     tried again; alone, as brokers may end the
                                          connection with an ERROR, so that it takes
                                          no other with it
     ERROR that doesn't                   all without a receipt are tried again
     the connection ends, a frame is      likewise
     malformed, no RECEIPT or heart-beat
     in time
     the broker can't be reached, has     all are tried again; for a while, which
     another certificate or version, or   doubles, nobody else tries to connect
     lets this server not in

   STOMP has no codes of errors, and all that a broker could have against a destination
   below the administrator's prefix he can mend: nothing is given up. */

#include "lib.h"
#include "ioloop.h"
#include "istream.h"
#include "llist.h"
#include "net.h"
#include "ostream.h"
#include "str.h"
#include "dns-lookup.h"
#include "iostream-ssl.h"
#include "pimap-settings.h"
#include "pimap-stomp.h"
#include "pimap-text.h"
#include "pimap-tls.h"
#include "outband-channel.h"
#include "outband-payload.h"
#include "stomp-frame.h"

#define JMS_MAX_SENDS 100
/* to connect, and until a receipt */
#define JMS_TIMEOUT_MSECS (30*1000)
#define JMS_HEART_BEAT_MSECS (10*1000)
/* between tries to connect */
#define JMS_MAX_BACKOFF_SECS 32
/* of a notification: brokers' limits for a frame are above */
#define JMS_MAX_TEXT (64*1024)
/* so often tried in vain: it may be the cause */
#define JMS_SUSPECT_TRIES 3
#define JMS_MAX_ERROR 200
#define JMS_REFUSED "The broker refuses it: "

enum jms_state {
	JMS_CLOSED,
	/* until the broker has said CONNECTED */
	JMS_CONNECTING,
	JMS_CONNECTED,
	/* after an ERROR: nothing more is written */
	JMS_ENDING
};

struct jms_send {
	struct jms_send *prev, *next;
	struct jms_channel *channel;
	const struct outband_row *row;
	/* nothing else is under way with it */
	bool alone;
	uint64_t receipt;

	struct timeout *to, *to_finish;
	struct outband_channel_result result;
	char *error;
	outband_channel_callback_t *callback;
	void *context;
};

struct jms_channel {
	struct outband_channel channel;
	pool_t pool;
	struct event *event;
	const struct pimap_settings *set;
	struct pimap_stomp_url url;
	const char *user, *password;
	struct ssl_iostream_context *ssl_ctx;

	/* those that are to be written, wait for their receipts, and have their
	   results: each in order */
	struct jms_send *waiting_head, *waiting_tail;
	struct jms_send *written_head, *written_tail;
	struct jms_send *finished;
	uint64_t last_receipt;

	/* the connection */
	enum jms_state state;
	struct dns_lookup *lookup;
	struct ip_addr *ips;
	unsigned int ips_count, ip_idx;
	int fd;
	struct io *io;
	struct istream *input;
	struct ostream *output;
	struct ssl_iostream *ssl;
	/* it takes too long; the broker is silent; it is to hear of us */
	struct timeout *to_connect, *to_silent, *to_beat;
	unsigned int silent_msecs;
	bool wrote;
	/* it is an ActiveMQ that needs that */
	bool modified_utf8;
	/* the broker has said something about a message */
	bool answered;

	/* connections in sequence that were good for nothing: the next isn't made
	   before then */
	unsigned int failures;
	time_t next_connect;
	char *last_error;
	struct timeout *to_reconnect;
};

#define JMS_CHANNEL(_channel) \
	container_of(_channel, struct jms_channel, channel)

static void jms_connect(struct jms_channel *channel);
static void jms_connect_ip(struct jms_channel *channel);

static int
jms_channel_init(const struct outband_channel_env *env,
		 struct outband_channel **channel_r, const char **error_r)
{
	const struct pimap_settings *set = env->set;
	struct jms_channel *channel;
	const char *error;
	pool_t pool;

	if (set->pimap_jms_url[0] == '\0')
		return 0;
	pool = pool_alloconly_create("outband channel jms", 512);
	channel = p_new(pool, struct jms_channel, 1);
	channel->pool = pool;
	channel->channel.v = &outband_channel_jms;
	channel->channel.max_size = JMS_MAX_TEXT;
	channel->set = set;
	channel->fd = -1;
	channel->user = pimap_text_get_line(pool, set->pimap_jms_user);
	channel->password = pimap_text_get_line(pool, set->pimap_jms_password);
	if (pimap_stomp_url_parse(set->pimap_jms_url, &channel->url,
				  &error) < 0) {
		*error_r = t_strdup_printf("pimap_jms_url %s: %s",
					   set->pimap_jms_url, error);
	} else if (!pimap_stomp_prefix_is_valid(set->pimap_jms_prefix,
						&error)) {
		*error_r = t_strdup_printf("pimap_jms_prefix: %s", error);
	} else if (channel->user == NULL || channel->password == NULL) {
		*error_r = "pimap_jms_user and pimap_jms_password must be of "
			"one line";
	} else {
		channel->url.host = p_strdup(pool, channel->url.host);
		channel->url.virtual_host =
			p_strdup(pool, channel->url.virtual_host);
		channel->event = event_create(env->event_parent);
		*channel_r = &channel->channel;
		return 1;
	}
	pool_unref(&pool);
	return -1;
}

static void jms_close(struct jms_channel *channel)
{
	channel->state = JMS_CLOSED;
	if (channel->lookup != NULL)
		dns_lookup_abort(&channel->lookup);
	timeout_remove(&channel->to_connect);
	timeout_remove(&channel->to_silent);
	timeout_remove(&channel->to_beat);
	io_remove(&channel->io);
	ssl_iostream_destroy(&channel->ssl);
	i_stream_destroy(&channel->input);
	if (channel->output != NULL)
		o_stream_abort(channel->output);
	o_stream_destroy(&channel->output);
	if (channel->fd != -1)
		net_disconnect(channel->fd);
	channel->fd = -1;
	i_free(channel->ips);
	channel->ips_count = channel->ip_idx = 0;
}

static void jms_send_free(struct jms_send *send)
{
	timeout_remove(&send->to);
	timeout_remove(&send->to_finish);
	i_free(send->error);
	i_free(send);
}

static void jms_sends_free(struct jms_send *sends)
{
	struct jms_send *next;

	for (; sends != NULL; sends = next) {
		next = sends->next;
		jms_send_free(sends);
	}
}

static void jms_channel_deinit(struct outband_channel *_channel)
{
	struct jms_channel *channel = JMS_CHANNEL(_channel);

	jms_close(channel);
	timeout_remove(&channel->to_reconnect);
	jms_sends_free(channel->waiting_head);
	jms_sends_free(channel->written_head);
	jms_sends_free(channel->finished);
	if (channel->ssl_ctx != NULL)
		ssl_iostream_context_unref(&channel->ssl_ctx);
	i_free(channel->last_error);
	event_unref(&channel->event);
	pool_unref(&channel->pool);
}

static void jms_send_finished(struct jms_send *send)
{
	outband_channel_callback_t *callback = send->callback;
	void *context = send->context;
	struct outband_channel_result result = send->result;

	result.error = t_strdup(send->error);
	DLLIST_REMOVE(&send->channel->finished, send);
	jms_send_free(send);
	callback(&result, context);
}

/* It has been taken out of its list. Not from within what uses the streams, or the
   call of send(). error is NULL if it is sent. */
static void jms_send_finish(struct jms_send *send, const char *error)
{
	struct jms_channel *channel = send->channel;

	timeout_remove(&send->to);
	if (error == NULL) {
		send->result.outcome = OUTBAND_CHANNEL_SENT;
	} else {
		send->result.outcome = OUTBAND_CHANNEL_RETRY;
		send->result.fault = TRUE;
		if (channel->next_connect > ioloop_time) {
			send->result.retry_secs =
				channel->next_connect - ioloop_time;
		}
		send->error = i_strdup(error);
	}
	DLLIST_PREPEND(&channel->finished, send);
	send->to_finish = timeout_add_short(0, jms_send_finished, send);
}

static void jms_finish_waiting(struct jms_channel *channel, const char *error)
{
	struct jms_send *send;

	while ((send = channel->waiting_head) != NULL) {
		DLLIST2_REMOVE(&channel->waiting_head, &channel->waiting_tail,
			       send);
		jms_send_finish(send, error);
	}
}

/* The next try to connect is later. */
static void jms_back_off(struct jms_channel *channel, const char *error)
{
	channel->next_connect = ioloop_time +
		I_MIN(1 << I_MIN(channel->failures, 8), JMS_MAX_BACKOFF_SECS);
	channel->failures++;
	i_free(channel->last_error);
	channel->last_error = i_strdup(error);
}

static void jms_reconnect(struct jms_channel *channel)
{
	timeout_remove(&channel->to_reconnect);
	if (channel->waiting_head != NULL && channel->state == JMS_CLOSED)
		jms_connect(channel);
}

/* The connection has ended, or couldn't be made. */
static void jms_disconnect(struct jms_channel *channel, const char *error)
{
	struct jms_send *send;

	error = t_strdup_printf("%s: %s", channel->url.host, error);
	e_debug(channel->event, "JMS: %s", error);
	jms_close(channel);
	if (!channel->answered) {
		jms_back_off(channel, error);
		jms_finish_waiting(channel, error);
	}
	while ((send = channel->written_head) != NULL) {
		DLLIST2_REMOVE(&channel->written_head, &channel->written_tail,
			       send);
		jms_send_finish(send, error);
	}
	if (channel->waiting_head != NULL && channel->to_reconnect == NULL) {
		channel->to_reconnect =
			timeout_add_short(0, jms_reconnect, channel);
	}
}

static void jms_send_timeout(struct jms_send *send)
{
	jms_disconnect(send->channel, t_strdup_printf(
		"There was no receipt in %u s", JMS_TIMEOUT_MSECS / 1000));
}

static void jms_send_write(struct jms_send *send)
{
	struct jms_channel *channel = send->channel;
	string_t *frame = t_str_new(1024);

	send->receipt = ++channel->last_receipt;
	stomp_frame_begin(frame, "SEND");
	stomp_frame_header(frame, "destination", send->row->address);
	stomp_frame_header(frame, "receipt", dec2str(send->receipt));
	stomp_frame_header(frame, "persistent", "true");
	stomp_frame_header(frame, "content-type", t_strdup_printf(
		"%s;charset=utf-8", outband_payload_type(send->row->payload)));
	/* a name that selectors can have: who reads the queue knows by it what is
	   sent again */
	stomp_frame_header(frame, "pimap_seq", dec2str(send->row->seq));
	if (channel->modified_utf8)
		stomp_frame_end_modified(frame, send->row->payload);
	else
		stomp_frame_end(frame, send->row->payload);
	o_stream_nsend(channel->output, str_data(frame), str_len(frame));
	channel->wrote = TRUE;
	send->to = timeout_add(JMS_TIMEOUT_MSECS, jms_send_timeout, send);
}

static void jms_pump(struct jms_channel *channel)
{
	struct jms_send *send;

	if (channel->state != JMS_CONNECTED)
		return;
	o_stream_cork(channel->output);
	while ((send = channel->waiting_head) != NULL) {
		if (channel->written_head != NULL &&
		    (send->alone || channel->written_head->alone))
			break;
		DLLIST2_REMOVE(&channel->waiting_head, &channel->waiting_tail,
			       send);
		DLLIST2_APPEND(&channel->written_head, &channel->written_tail,
			       send);
		T_BEGIN {
			jms_send_write(send);
		} T_END;
	}
	o_stream_uncork(channel->output);
}

static void jms_silent(struct jms_channel *channel)
{
	jms_disconnect(channel, t_strdup_printf(
		"It has sent nothing for %u s", channel->silent_msecs / 1000));
}

static void jms_beat(struct jms_channel *channel)
{
	if (!channel->wrote)
		o_stream_nsend(channel->output, "\n", 1);
	channel->wrote = FALSE;
}

/* RabbitMQ has what is wrong in the body, ActiveMQ has there the message again. */
static const char *jms_get_message(const struct stomp_frame *frame)
{
	const char *message = stomp_frame_get(frame, "message");
	const char *text = t_strcut(t_strcut(t_strndup(frame->body,
				frame->body_size), '\n'), '\r');

	if (message != NULL && message[0] != '\0') {
		text = text[0] == '\0' || strstr(text, message) != NULL ?
			message : t_strdup_printf("%s: %s", message, text);
	}
	return pimap_text_get_reply(text, JMS_MAX_ERROR);
}

/* Each returns 0, or -1 and error_r: the connection is to be ended. */
static int
jms_handle_connected(struct jms_channel *channel,
		     const struct stomp_frame *frame, const char **error_r)
{
	const char *version = stomp_frame_get(frame, "version");
	const char *beat = stomp_frame_get(frame, "heart-beat");
	const char *server = stomp_frame_get(frame, "server");
	unsigned int sends = 0, wants = 0;

	if (strcmp(frame->command, "ERROR") == 0) {
		*error_r = t_strdup_printf("It lets us not in: %s",
					   jms_get_message(frame));
		return -1;
	}
	if (strcmp(frame->command, "CONNECTED") != 0) {
		*error_r = "It hasn't answered with CONNECTED";
		return -1;
	}
	if (null_strcmp(version, "1.2") != 0) {
		*error_r = t_strdup_printf("It speaks STOMP %s, not 1.2",
			version == NULL ? "1.0" : pimap_text_get_reply(version, 20));
		return -1;
	}
	if (beat != NULL && stomp_heart_beat_parse(beat, &sends, &wants) < 0) {
		*error_r = "Its heart-beat isn't two numbers";
		return -1;
	}
	timeout_remove(&channel->to_connect);
	channel->state = JMS_CONNECTED;
	channel->modified_utf8 = server != NULL &&
		stomp_server_needs_modified(server);
	if (sends > 0) {
		/* it may be late */
		channel->silent_msecs = 2 * I_MAX(sends, JMS_HEART_BEAT_MSECS);
		channel->to_silent = timeout_add(channel->silent_msecs,
						 jms_silent, channel);
	}
	if (wants > 0) {
		/* we mustn't: it may be written to just after a beat */
		channel->to_beat = timeout_add(
			I_MAX(wants, JMS_HEART_BEAT_MSECS) / 3,
			jms_beat, channel);
	}
	e_debug(channel->event, "JMS: connected to %s", channel->url.host);
	return 0;
}

static struct jms_send *
jms_find_written(struct jms_channel *channel, const struct stomp_frame *frame)
{
	const char *id = stomp_frame_get(frame, "receipt-id");
	struct jms_send *send;
	uint64_t receipt;

	if (id == NULL || str_to_uint64(id, &receipt) < 0)
		return NULL;
	for (send = channel->written_head; send != NULL; send = send->next) {
		if (send->receipt == receipt)
			return send;
	}
	return NULL;
}

static int
jms_handle_answer(struct jms_channel *channel, const struct stomp_frame *frame,
		  const char **error_r)
{
	bool refused = strcmp(frame->command, "ERROR") == 0;
	struct jms_send *send = jms_find_written(channel, frame);

	if (!refused && strcmp(frame->command, "RECEIPT") != 0) {
		*error_r = t_strdup_printf("It has sent %s",
			pimap_text_get_reply(frame->command, 20));
		return -1;
	}
	if (send == NULL) {
		if (!refused)
			return 0;
		*error_r = t_strdup_printf("It has ended the connection: %s",
					   jms_get_message(frame));
		return -1;
	}
	DLLIST2_REMOVE(&channel->written_head, &channel->written_tail, send);
	channel->answered = TRUE;
	channel->failures = 0;
	if (refused) {
		/* it is to close the connection, and what would be written to
		   it until then is lost */
		channel->state = JMS_ENDING;
		jms_send_finish(send, t_strconcat(JMS_REFUSED,
						  jms_get_message(frame), NULL));
	} else {
		jms_send_finish(send, NULL);
	}
	if (channel->state == JMS_ENDING && channel->written_head == NULL) {
		*error_r = "It has refused a message";
		return -1;
	}
	return 0;
}

static int jms_handle_frame(struct jms_channel *channel,
			    const struct stomp_frame *frame,
			    const char **error_r)
{
	if (channel->state == JMS_CONNECTING)
		return jms_handle_connected(channel, frame, error_r);
	else
		return jms_handle_answer(channel, frame, error_r);
}

/* What has been read. Returns 0, or -1 and error_r. */
static int jms_handle_frames(struct jms_channel *channel, const char **error_r)
{
	struct stomp_frame frame;
	const unsigned char *data;
	size_t size, used;
	int ret;

	do T_BEGIN {
		data = i_stream_get_data(channel->input, &size);
		ret = stomp_frame_parse(data, size, &used, &frame, error_r);
		if (ret > 0 && jms_handle_frame(channel, &frame, error_r) < 0)
			ret = -1;
		i_stream_skip(channel->input, used);
	} T_END_PASS_STR_IF(ret < 0, error_r); while (ret > 0);
	return ret;
}

static const char *jms_get_stream_error(struct jms_channel *channel)
{
	if (channel->ssl != NULL && ssl_iostream_has_handshake_failed(channel->ssl))
		return pimap_tls_fix_error(
			ssl_iostream_get_last_error(channel->ssl));
	if (channel->input->stream_errno != 0)
		return i_stream_get_error(channel->input);
	if (channel->output->stream_errno != 0)
		return o_stream_get_error(channel->output);
	return "The connection was closed";
}

static void jms_input(struct jms_channel *channel)
{
	const char *error;
	ssize_t ret;

	ret = i_stream_read(channel->input);
	if (ret > 0 && channel->to_silent != NULL)
		timeout_reset(channel->to_silent);
	if (ret != 0 && jms_handle_frames(channel, &error) < 0) {
		jms_disconnect(channel, error);
		return;
	}
	if (ret == -2) {
		jms_disconnect(channel, "It sends a frame that is too long");
		return;
	}
	if (ret == -1) {
		jms_disconnect(channel, jms_get_stream_error(channel));
		return;
	}
	jms_pump(channel);
	if (ret > 0) {
		/* TLS may have more that poll() doesn't tell of */
		i_stream_set_input_pending(channel->input, TRUE);
	}
}

static void jms_write_connect(struct jms_channel *channel)
{
	string_t *frame = t_str_new(256);

	stomp_frame_begin(frame, "CONNECT");
	stomp_frame_header_raw(frame, "accept-version", "1.2");
	stomp_frame_header_raw(frame, "host", channel->url.virtual_host);
	stomp_frame_header_raw(frame, "heart-beat", t_strdup_printf("%u,%u",
		JMS_HEART_BEAT_MSECS, JMS_HEART_BEAT_MSECS));
	if (channel->user[0] != '\0')
		stomp_frame_header_raw(frame, "login", channel->user);
	if (channel->password[0] != '\0')
		stomp_frame_header_raw(frame, "passcode", channel->password);
	stomp_frame_end(frame, "");
	o_stream_nsend(channel->output, str_data(frame), str_len(frame));
}

/* It can't be connected to, at this address. */
static void jms_unreachable(struct jms_channel *channel, const char *error)
{
	if (channel->ip_idx + 1 < channel->ips_count) {
		io_remove(&channel->io);
		if (channel->fd != -1)
			net_disconnect(channel->fd);
		channel->fd = -1;
		channel->ip_idx++;
		jms_connect_ip(channel);
		return;
	}
	jms_disconnect(channel, error);
}

static void jms_connected(struct jms_channel *channel)
{
	const char *error;
	int err = net_geterror(channel->fd);

	if (err != 0) {
		jms_unreachable(channel, t_strdup_printf(
			"connect(%s, %u) failed: %s",
			net_ip2addr(&channel->ips[channel->ip_idx]),
			channel->url.port, strerror(err)));
		return;
	}
	io_remove(&channel->io);
	channel->input = i_stream_create_fd(channel->fd, STOMP_MAX_FRAME);
	channel->output = o_stream_create_fd(channel->fd, SIZE_MAX);
	o_stream_set_no_error_handling(channel->output, TRUE);
	if (channel->url.ssl &&
	    pimap_tls_start(channel->ssl_ctx, channel->url.host,
			    channel->event, &channel->input, &channel->output,
			    &channel->ssl, &error) < 0) {
		jms_disconnect(channel, error);
		return;
	}
	channel->io = io_add_istream(channel->input, jms_input, channel);
	jms_write_connect(channel);
	jms_input(channel);
}

static void jms_connect_ip(struct jms_channel *channel)
{
	const struct ip_addr *ip = &channel->ips[channel->ip_idx];

	channel->fd = net_connect_ip(ip, channel->url.port, NULL);
	if (channel->fd == -1) {
		jms_unreachable(channel, t_strdup_printf(
			"connect(%s, %u) failed: %m", net_ip2addr(ip),
			channel->url.port));
		return;
	}
	channel->io = io_add(channel->fd, IO_WRITE, jms_connected, channel);
}

static void jms_looked_up(const struct dns_lookup_result *result,
			  struct jms_channel *channel)
{
	channel->lookup = NULL;
	if (result->ret != 0 || result->ips_count == 0) {
		jms_disconnect(channel, result->ret != 0 ? result->error :
			       "It has no address");
		return;
	}
	channel->ips = i_new(struct ip_addr, result->ips_count);
	memcpy(channel->ips, result->ips,
	       sizeof(*result->ips) * result->ips_count);
	channel->ips_count = result->ips_count;
	jms_connect_ip(channel);
}

static void jms_connect_timeout(struct jms_channel *channel)
{
	jms_disconnect(channel, t_strdup_printf("It didn't answer in %u s",
						JMS_TIMEOUT_MSECS / 1000));
}

static void jms_connect(struct jms_channel *channel)
{
	struct dns_lookup_settings dns_set;
	struct ip_addr ip;
	const char *error;

	channel->answered = FALSE;
	channel->wrote = FALSE;
	channel->state = JMS_CONNECTING;
	channel->to_connect = timeout_add(JMS_TIMEOUT_MSECS,
					  jms_connect_timeout, channel);
	if (channel->url.ssl &&
	    pimap_tls_prepare(channel->set->pimap_jms_ca, &channel->ssl_ctx,
			      &error) < 0) {
		/* the file may come to be there */
		jms_disconnect(channel, error);
		return;
	}
	if (net_addr2ip(channel->url.host, &ip) == 0) {
		channel->ips = i_new(struct ip_addr, 1);
		channel->ips[0] = ip;
		channel->ips_count = 1;
		jms_connect_ip(channel);
		return;
	}
	i_zero(&dns_set);
	dns_set.dns_client_socket_path = DNS_CLIENT_SOCKET_NAME;
	dns_set.timeout_msecs = JMS_TIMEOUT_MSECS;
	dns_set.event_parent = channel->event;
	/* it calls back where it fails */
	(void)dns_lookup(channel->url.host, &dns_set, jms_looked_up, channel,
			 &channel->lookup);
}

static void
jms_channel_send(struct outband_channel *_channel, const struct outband_row *row,
		 outband_channel_callback_t *callback, void *context)
{
	struct jms_channel *channel = JMS_CHANNEL(_channel);
	struct jms_send *send;

	send = i_new(struct jms_send, 1);
	send->channel = channel;
	send->row = row;
	send->callback = callback;
	send->context = context;
	send->alone = row->tries >= JMS_SUSPECT_TRIES ||
		strncmp(row->last_error, JMS_REFUSED,
			strlen(JMS_REFUSED)) == 0;
	if (channel->state == JMS_CLOSED && channel->to_reconnect == NULL &&
	    ioloop_time < channel->next_connect) {
		jms_send_finish(send, channel->last_error);
		return;
	}
	DLLIST2_APPEND(&channel->waiting_head, &channel->waiting_tail, send);
	T_BEGIN {
		if (channel->state != JMS_CLOSED)
			jms_pump(channel);
		else if (channel->to_reconnect == NULL)
			jms_connect(channel);
	} T_END;
}

const struct outband_channel_vfuncs outband_channel_jms = {
	.name = "JMS",
	.max_sends = JMS_MAX_SENDS,
	.init = jms_channel_init,
	.deinit = jms_channel_deinit,
	.send = jms_channel_send,
};
