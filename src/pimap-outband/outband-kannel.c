/* SPDX-License-Identifier: LGPL-2.1-only */
/* Kannel's sendsms: a POST for each message, which can be any octets, and whose status
   says what has become of it. */

#include "lib.h"
#include "hex-binary.h"
#include "ioloop.h"
#include "istream.h"
#include "llist.h"
#include "str.h"
#include "str-sanitize.h"
#include "http-client.h"
#include "http-url.h"
#include "outband-kannel.h"

#define KANNEL_TIMEOUT_MSECS (30*1000)
#define KANNEL_IDLE_MSECS (30*1000)
/* of an answer: more isn't read */
#define KANNEL_MAX_ANSWER 256

struct outband_kannel {
	pool_t pool;
	struct event *event;
	struct http_client *client;
	const char *url, *user, *password, *from;
	struct kannel_send *sends;
};

struct kannel_send {
	struct kannel_send *prev, *next;
	struct outband_kannel *kannel;

	struct http_client_request *req;
	struct timeout *to, *to_finish;
	struct istream *payload;
	struct io *io;
	unsigned int status;
	string_t *answer;
	/* it isn't sent */
	bool refused;

	outband_channel_callback_t *callback;
	void *context;
};

static struct http_client *
kannel_client_init(pool_t pool, struct event *event, unsigned int connections)
{
	/* 2.4's client keeps it */
	struct http_client_settings *set =
		p_new(pool, struct http_client_settings, 1);

#ifdef PIMAP_HAVE_HTTP_SETTINGS_INIT
	http_client_settings_init(null_pool, set);
	set->request_max_attempts = 1;
#else
	set->no_auto_retry = TRUE;
	set->no_auto_redirect = TRUE;
	set->max_attempts = 1;
	set->event_parent = event;
#endif
	set->dns_client_socket_path = "./dns-client";
	set->user_agent = "dovecot-pimap";
	set->max_parallel_connections = connections;
	set->max_idle_time_msecs = KANNEL_IDLE_MSECS;
	set->connect_timeout_msecs = KANNEL_TIMEOUT_MSECS;
	set->request_timeout_msecs = KANNEL_TIMEOUT_MSECS;
#ifdef PIMAP_HAVE_HTTP_SETTINGS_INIT
	return http_client_init_private(set, event);
#else
	return http_client_init_private(set);
#endif
}

/* As a header has it. What is read from a file ends its line. Returns NULL if it is of
   more lines. */
static const char *kannel_get_header(pool_t pool, const char *value)
{
	size_t i, len = strlen(value);

	while (len > 0 && (value[len-1] == '\n' || value[len-1] == '\r'))
		len--;
	for (i = 0; i < len; i++) {
		if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
			return NULL;
	}
	return p_strndup(pool, value, len);
}

static void
kannel_add_header(struct http_client_request *req, const char *name,
		  const char *value)
{
	if (value[0] != '\0')
		http_client_request_add_header(req, name, value);
}

int outband_kannel_init(const struct outband_kannel_settings *set,
			struct event *event_parent,
			struct outband_kannel **kannel_r, const char **error_r)
{
	struct outband_kannel *kannel;
	struct http_url *url;
	const char *error = NULL;
	pool_t pool;

	pool = pool_alloconly_create("outband kannel", 1024);
	kannel = p_new(pool, struct outband_kannel, 1);
	kannel->pool = pool;
	kannel->url = p_strdup(pool, set->url);
	kannel->user = kannel_get_header(pool, set->user);
	kannel->password = kannel_get_header(pool, set->password);
	kannel->from = kannel_get_header(pool, set->from);
	if (http_url_parse(set->url, NULL, 0, pool_datastack_create(), &url,
			   &error) == 0) {
		if (url->have_ssl)
			error = "only http:// is supported";
		else if (kannel->user == NULL || kannel->password == NULL ||
			 kannel->from == NULL)
			error = "user, password and sender must be of one line";
	}
	if (error != NULL) {
		*error_r = t_strdup_printf("%s %s: %s", set->name, set->url,
					   error);
		pool_unref(&pool);
		return -1;
	}
	kannel->event = event_create(event_parent);
	/* lib-http would say for each try what the sender says once */
	event_set_min_log_level(kannel->event, LOG_TYPE_FATAL);
	kannel->client = kannel_client_init(pool, kannel->event,
					    set->connections);
	*kannel_r = kannel;
	return 0;
}

static void kannel_send_free(struct kannel_send *send)
{
	DLLIST_REMOVE(&send->kannel->sends, send);
	timeout_remove(&send->to);
	timeout_remove(&send->to_finish);
	io_remove(&send->io);
	if (send->req != NULL)
		http_client_request_abort(&send->req);
	i_stream_unref(&send->payload);
	str_free(&send->answer);
	i_free(send);
}

void outband_kannel_deinit(struct outband_kannel **_kannel)
{
	struct outband_kannel *kannel = *_kannel;

	*_kannel = NULL;
	while (kannel->sends != NULL)
		kannel_send_free(kannel->sends);
	http_client_deinit(&kannel->client);
	event_unref(&kannel->event);
	pool_unref(&kannel->pool);
}

/* What becomes of a message by the gateway's status */
static void
kannel_get_result(unsigned int status, struct outband_channel_result *result_r)
{
	i_zero(result_r);
	if (status / 100 == 2) {
		result_r->outcome = OUTBAND_CHANNEL_SENT;
	} else if (status == 406 || status == 413 || status == 414) {
		/* the receiver is not served, or the message is too long */
		result_r->outcome = OUTBAND_CHANNEL_GIVE_UP;
	} else {
		/* it doesn't work, or doesn't let this server in: all of that
		   can be mended */
		result_r->outcome = OUTBAND_CHANNEL_RETRY;
		result_r->fault = TRUE;
	}
}

static void kannel_send_finish(struct kannel_send *send)
{
	outband_channel_callback_t *callback = send->callback;
	void *context = send->context;
	struct outband_channel_result result;
	string_t *error = t_str_new(128);

	kannel_get_result(send->status, &result);
	if (send->refused) {
		result.outcome = OUTBAND_CHANNEL_GIVE_UP;
		result.fault = FALSE;
		str_append_str(error, send->answer);
	} else if (send->status == 0)
		str_append(error, "The gateway hasn't answered in time");
	else if (send->status >= HTTP_CLIENT_REQUEST_ERROR_ABORTED) {
		str_printfa(error, "The gateway can't be reached: %s",
			    str_c(send->answer));
	} else {
		str_printfa(error, "The gateway's answer is %u: ", send->status);
		str_sanitize_append(error, str_c(send->answer),
				    KANNEL_MAX_ANSWER);
	}
	result.error = str_c(error);
	kannel_send_free(send);
	callback(&result, context);
}

static void kannel_send_timeout(struct kannel_send *send)
{
	/* what is known of its answer counts */
	kannel_send_finish(send);
}

static void kannel_send_read(struct kannel_send *send)
{
	const unsigned char *data;
	size_t size;
	int ret;

	while ((ret = i_stream_read_more(send->payload, &data, &size)) > 0) {
		str_append_data(send->answer, data,
			I_MIN(size, KANNEL_MAX_ANSWER - str_len(send->answer)));
		i_stream_skip(send->payload, size);
		if (str_len(send->answer) == KANNEL_MAX_ANSWER)
			break;
	}
	if (ret == 0)
		return;
	/* not from within what the client does with the stream */
	io_remove(&send->io);
	send->to_finish = timeout_add_short(0, kannel_send_finish, send);
}

static void
kannel_send_response(const struct http_response *response,
		     struct kannel_send *send)
{
	send->req = NULL;
	send->status = response->status;
	if (response->payload == NULL ||
	    response->status >= HTTP_CLIENT_REQUEST_ERROR_ABORTED) {
		str_append_max(send->answer,
			response->reason == NULL ? "" : response->reason,
			KANNEL_MAX_ANSWER);
		send->to_finish = timeout_add_short(0, kannel_send_finish, send);
		return;
	}
	send->payload = response->payload;
	i_stream_ref(send->payload);
	send->io = io_add_istream(send->payload, kannel_send_read, send);
	kannel_send_read(send);
}

static struct kannel_send *
kannel_send_create(struct outband_kannel *kannel,
		   outband_channel_callback_t *callback, void *context)
{
	struct kannel_send *send = i_new(struct kannel_send, 1);

	send->kannel = kannel;
	send->callback = callback;
	send->context = context;
	send->answer = str_new(default_pool, 64);
	DLLIST_PREPEND(&kannel->sends, send);
	return send;
}

void outband_kannel_refuse(struct outband_kannel *kannel, const char *error,
			   outband_channel_callback_t *callback, void *context)
{
	struct kannel_send *send = kannel_send_create(kannel, callback, context);

	send->refused = TRUE;
	str_append(send->answer, error);
	send->to_finish = timeout_add_short(0, kannel_send_finish, send);
}

void outband_kannel_send(struct outband_kannel *kannel,
			 const struct outband_kannel_message *msg,
			 outband_channel_callback_t *callback, void *context)
{
	struct kannel_send *send = kannel_send_create(kannel, callback, context);
	struct http_client_request *req;

	send->to = timeout_add(KANNEL_TIMEOUT_MSECS, kannel_send_timeout, send);
	send->req = req = http_client_request_url_str(kannel->client, "POST",
						      kannel->url,
						      kannel_send_response,
						      send);
	http_client_request_set_event(req, kannel->event);
	kannel_add_header(req, "Content-Type",
			  msg->coding == OUTBAND_KANNEL_OCTETS ?
			  "application/octet-stream" :
			  "text/plain; charset=UTF-8");
	kannel_add_header(req, "X-Kannel-Username", kannel->user);
	kannel_add_header(req, "X-Kannel-Password", kannel->password);
	kannel_add_header(req, "X-Kannel-From", kannel->from);
	kannel_add_header(req, "X-Kannel-To", msg->to);
	kannel_add_header(req, "X-Kannel-Coding", dec2str(msg->coding));
	if (msg->udh != NULL) {
		kannel_add_header(req, "X-Kannel-UDH",
				  binary_to_hex(msg->udh, msg->udh_size));
	}
	http_client_request_set_payload_data(req, msg->data, msg->size);
	http_client_request_submit(req);
}
