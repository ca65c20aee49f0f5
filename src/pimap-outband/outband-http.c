/* SPDX-License-Identifier: LGPL-2.1-only */
/* Gateways that are asked by HTTP. */

#include "lib.h"
#include "ioloop.h"
#include "istream.h"
#include "llist.h"
#include "str.h"
#include "http-client.h"
#include "http-url.h"
#include "iostream-ssl.h"
#include "pimap-compat.h"
#include "pimap-gateway.h"
#include "pimap-text.h"
#include "pimap-tls.h"
#include "outband-http.h"

#define HTTP_TIMEOUT_MSECS (30*1000)
#define HTTP_IDLE_MSECS (30*1000)
/* of it in an error */
#define HTTP_MAX_ERROR 256

struct outband_http {
	pool_t pool;
	struct event *event;
	/* made when the first one is sent */
	struct http_client *client;
	unsigned int connections;
	const char *url, *ca;
	/* of the URL, may tell a password */
	const char *query;
	bool ssl;
	size_t max_answer;
	outband_http_judge_t *judge;
	struct http_send *sends;
};

struct http_send {
	struct http_send *prev, *next;
	struct outband_http *http;

	struct http_client_request *req;
	struct timeout *to, *to_finish;
	struct istream *payload;
	struct io *io;
	unsigned int status;
	/* the gateway doesn't want it sooner, 0 = it doesn't say */
	unsigned int retry_secs;
	string_t *answer;
	/* it isn't sent: never, or now */
	bool refused, failed;

	outband_channel_callback_t *callback;
	void *context;
};

#ifndef PIMAP_HAVE_HTTP_SETTINGS_INIT
static failure_callback_t *http_info_handler;

/* 2.3's client has each try's certificate logged, whatever its event says. */
static void ATTR_FORMAT(2, 0)
http_info(const struct failure_context *ctx, const char *format, va_list args)
{
	va_list copy;

	VA_COPY(copy, args);
	T_BEGIN {
		const char *text = t_strdup_vprintf(format, copy);

		if (!pimap_str_begins(text, "Received invalid SSL certificate: "))
			http_info_handler(ctx, format, args);
	} T_END;
	va_end(copy);
}

static void http_filter_info(void)
{
	failure_callback_t *fatal, *error, *info, *debug;

	i_get_failure_handlers(&fatal, &error, &info, &debug);
	if (info == http_info)
		return;
	http_info_handler = info;
	i_set_info_handler(http_info);
}
#endif

/* Returns NULL and error_r if its settings can't be used. */
static struct http_client *
http_client_create(struct outband_http *http, pool_t pool, const char **error_r)
{
	const struct ssl_iostream_settings *ssl_set = NULL;
	struct ssl_iostream_context *ssl_ctx = NULL;
	struct http_client_settings *set;
	struct http_client *client;

	if (http->ssl) {
		/* the client would keep what it can't use */
		if (pimap_tls_get_settings(pool, http->ca, &ssl_set,
					   error_r) < 0 ||
		    ssl_iostream_context_init_client(ssl_set, &ssl_ctx,
						     error_r) < 0)
			return NULL;
		ssl_iostream_context_unref(&ssl_ctx);
	}
	/* 2.4's client keeps it */
	set = p_new(http->pool, struct http_client_settings, 1);
#ifdef PIMAP_HAVE_HTTP_SETTINGS_INIT
	http_client_settings_init(null_pool, set);
	set->request_max_attempts = 1;
#else
	set->no_auto_retry = TRUE;
	set->no_auto_redirect = TRUE;
	set->max_attempts = 1;
	set->event_parent = http->event;
	set->ssl = ssl_set;
	if (ssl_set != NULL)
		http_filter_info();
#endif
	set->dns_client_socket_path = "./dns-client";
	set->user_agent = "dovecot-pimap";
	set->max_parallel_connections = http->connections;
	set->max_idle_time_msecs = HTTP_IDLE_MSECS;
	set->connect_timeout_msecs = HTTP_TIMEOUT_MSECS;
	set->request_timeout_msecs = HTTP_TIMEOUT_MSECS;
#ifdef PIMAP_HAVE_HTTP_SETTINGS_INIT
	client = http_client_init_private(set, http->event);
	if (ssl_set != NULL)
		http_client_set_ssl_settings(client, ssl_set);
#else
	client = http_client_init_private(set);
#endif
	return client;
}

/* The file of authorities may be mended meanwhile: nothing is given up. */
static int outband_http_prepare(struct outband_http *http, const char **error_r)
{
	pool_t pool;

	if (http->client != NULL)
		return 0;
	pool = pool_alloconly_create("outband http tls", 1024);
	http->client = http_client_create(http, pool, error_r);
	pool_unref(&pool);
	return http->client == NULL ? -1 : 0;
}

void outband_http_add_header(struct http_client_request *req, const char *name,
			     const char *value)
{
	if (value[0] != '\0')
		http_client_request_add_header(req, name, value);
}

int outband_http_init(const struct outband_http_settings *set,
		      struct event *event_parent,
		      struct outband_http **http_r, const char **error_r)
{
	struct outband_http *http;
	struct http_url *url;
	const char *error;
	pool_t pool;

	if (pimap_gateway_url_parse(set->url, &url, &error) < 0) {
		*error_r = t_strdup_printf("%s: %s", set->name, error);
		return -1;
	}
	pool = pool_alloconly_create("outband http", 1024);
	http = p_new(pool, struct outband_http, 1);
	http->pool = pool;
	http->url = p_strdup(pool, set->url);
	http->query = p_strdup_empty(pool, url->enc_query);
	http->ssl = url->have_ssl;
	http->ca = p_strdup(pool, set->ca);
	http->connections = set->connections;
	http->max_answer = set->max_answer;
	http->judge = set->judge;
	http->event = event_create(event_parent);
	/* lib-http would say for each try what the sender says once */
	event_set_min_log_level(http->event, LOG_TYPE_FATAL);
	*http_r = http;
	return 0;
}

static void http_send_free(struct http_send *send)
{
	DLLIST_REMOVE(&send->http->sends, send);
	timeout_remove(&send->to);
	timeout_remove(&send->to_finish);
	io_remove(&send->io);
	if (send->req != NULL)
		http_client_request_abort(&send->req);
	i_stream_unref(&send->payload);
	str_free(&send->answer);
	i_free(send);
}

void outband_http_deinit(struct outband_http **_http)
{
	struct outband_http *http = *_http;

	*_http = NULL;
	while (http->sends != NULL)
		http_send_free(http->sends);
	if (http->client != NULL)
		http_client_deinit(&http->client);
	event_unref(&http->event);
	pool_unref(&http->pool);
}

static void http_send_finish(struct http_send *send)
{
	struct outband_http *http = send->http;
	outband_channel_callback_t *callback = send->callback;
	void *context = send->context;
	struct outband_channel_result result;
	string_t *error = t_str_new(128);

	i_zero(&result);
	if (send->refused) {
		result.outcome = OUTBAND_CHANNEL_GIVE_UP;
		str_append_str(error, send->answer);
	} else if (send->failed || send->status == 0 ||
		   send->status >= HTTP_CLIENT_REQUEST_ERROR_ABORTED) {
		/* that can be mended */
		result.outcome = OUTBAND_CHANNEL_RETRY;
		result.fault = TRUE;
		if (send->status == 0 && !send->failed) {
			str_append(error,
				   "The gateway hasn't answered in time");
		} else {
			str_printfa(error, "The gateway can't be reached: %s",
				    pimap_tls_fix_error(str_c(send->answer)));
		}
	} else {
		http->judge(send->status, send->answer, &result);
		if (result.outcome == OUTBAND_CHANNEL_RETRY)
			result.retry_secs = send->retry_secs;
		if (http->query != NULL &&
		    pimap_gateway_query_is_told(http->query,
						str_c(send->answer))) {
			str_printfa(error, "The gateway's answer is %u, with a "
				"text that tells what the URL's query does",
				send->status);
		} else if (result.error != NULL) {
			str_append(error, result.error);
		} else {
			str_printfa(error, "The gateway's answer is %u: ",
				    send->status);
			str_append(error, pimap_text_get_reply(
				str_c(send->answer), HTTP_MAX_ERROR));
		}
	}
	result.error = str_c(error);
	http_send_free(send);
	callback(&result, context);
}

static void http_send_timeout(struct http_send *send)
{
	/* what is known of its answer counts */
	http_send_finish(send);
}

static void http_send_read(struct http_send *send)
{
	const unsigned char *data;
	size_t size;
	int ret;

	while ((ret = i_stream_read_more(send->payload, &data, &size)) > 0) {
		str_append_data(send->answer, data,
			I_MIN(size, send->http->max_answer - str_len(send->answer)));
		i_stream_skip(send->payload, size);
		if (str_len(send->answer) == send->http->max_answer)
			break;
	}
	if (ret == 0)
		return;
	/* not from within what the client does with the stream */
	io_remove(&send->io);
	send->to_finish = timeout_add_short(0, http_send_finish, send);
}

static void
http_send_response(const struct http_response *response,
		     struct http_send *send)
{
	send->req = NULL;
	send->status = response->status;
	if (response->retry_after > ioloop_time)
		send->retry_secs = response->retry_after - ioloop_time;
	if (response->payload == NULL ||
	    response->status >= HTTP_CLIENT_REQUEST_ERROR_ABORTED) {
		str_append_max(send->answer,
			response->reason == NULL ? "" : response->reason,
			send->http->max_answer);
		send->to_finish = timeout_add_short(0, http_send_finish, send);
		return;
	}
	send->payload = response->payload;
	i_stream_ref(send->payload);
	send->io = io_add_istream(send->payload, http_send_read, send);
	http_send_read(send);
}

static struct http_send *
http_send_create(struct outband_http *http,
		   outband_channel_callback_t *callback, void *context)
{
	struct http_send *send = i_new(struct http_send, 1);

	send->http = http;
	send->callback = callback;
	send->context = context;
	send->answer = str_new(default_pool, 64);
	DLLIST_PREPEND(&http->sends, send);
	return send;
}

static void http_send_fail(struct http_send *send, const char *error)
{
	str_append(send->answer, error);
	send->to_finish = timeout_add_short(0, http_send_finish, send);
}

void outband_http_refuse(struct outband_http *http, const char *error,
			 outband_channel_callback_t *callback, void *context)
{
	struct http_send *send = http_send_create(http, callback, context);

	send->refused = TRUE;
	http_send_fail(send, error);
}

struct http_client_request *
outband_http_request(struct outband_http *http,
		     outband_channel_callback_t *callback, void *context)
{
	struct http_send *send = http_send_create(http, callback, context);
	const char *error;

	if (outband_http_prepare(http, &error) < 0) {
		send->failed = TRUE;
		http_send_fail(send, error);
		return NULL;
	}
	send->to = timeout_add(HTTP_TIMEOUT_MSECS, http_send_timeout, send);
	send->req = http_client_request_url_str(http->client, "POST", http->url,
						http_send_response, send);
	http_client_request_set_event(send->req, http->event);
	return send->req;
}
