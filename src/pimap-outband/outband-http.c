/* SPDX-License-Identifier: LGPL-2.1-only */
/* Gateways that are asked by HTTP. */

#include "lib.h"
#include "ioloop.h"
#include "istream.h"
#include "llist.h"
#include "str.h"
#include "str-sanitize.h"
#include "http-client.h"
#include "http-url.h"
#include "outband-http.h"

#define HTTP_TIMEOUT_MSECS (30*1000)
#define HTTP_IDLE_MSECS (30*1000)
/* of it in an error */
#define HTTP_MAX_ERROR 256

struct outband_http {
	pool_t pool;
	struct event *event;
	struct http_client *client;
	const char *url;
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
	/* it isn't sent */
	bool refused;

	outband_channel_callback_t *callback;
	void *context;
};

static struct http_client *
outband_http_client_init(pool_t pool, struct event *event, unsigned int connections)
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
	set->max_idle_time_msecs = HTTP_IDLE_MSECS;
	set->connect_timeout_msecs = HTTP_TIMEOUT_MSECS;
	set->request_timeout_msecs = HTTP_TIMEOUT_MSECS;
#ifdef PIMAP_HAVE_HTTP_SETTINGS_INIT
	return http_client_init_private(set, event);
#else
	return http_client_init_private(set);
#endif
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
	const char *error = NULL;
	pool_t pool;

	pool = pool_alloconly_create("outband http", 1024);
	http = p_new(pool, struct outband_http, 1);
	http->pool = pool;
	http->url = p_strdup(pool, set->url);
	http->max_answer = set->max_answer;
	http->judge = set->judge;
	if (http_url_parse(set->url, NULL, 0, pool_datastack_create(), &url,
			   &error) == 0 && url->have_ssl)
		error = "only http:// is supported";
	if (error != NULL) {
		*error_r = t_strdup_printf("%s %s: %s", set->name, set->url,
					   error);
		pool_unref(&pool);
		return -1;
	}
	http->event = event_create(event_parent);
	/* lib-http would say for each try what the sender says once */
	event_set_min_log_level(http->event, LOG_TYPE_FATAL);
	http->client = outband_http_client_init(pool, http->event,
						set->connections);
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
	http_client_deinit(&http->client);
	event_unref(&http->event);
	pool_unref(&http->pool);
}

static void http_send_finish(struct http_send *send)
{
	outband_channel_callback_t *callback = send->callback;
	void *context = send->context;
	struct outband_channel_result result;
	string_t *error = t_str_new(128);

	i_zero(&result);
	if (send->refused) {
		result.outcome = OUTBAND_CHANNEL_GIVE_UP;
		str_append_str(error, send->answer);
	} else if (send->status == 0 ||
		   send->status >= HTTP_CLIENT_REQUEST_ERROR_ABORTED) {
		/* that can be mended */
		result.outcome = OUTBAND_CHANNEL_RETRY;
		result.fault = TRUE;
		if (send->status == 0) {
			str_append(error,
				   "The gateway hasn't answered in time");
		} else {
			str_printfa(error, "The gateway can't be reached: %s",
				    str_c(send->answer));
		}
	} else {
		send->http->judge(send->status, send->answer, &result);
		if (result.outcome == OUTBAND_CHANNEL_RETRY)
			result.retry_secs = send->retry_secs;
		if (result.error != NULL) {
			str_append(error, result.error);
		} else {
			str_printfa(error, "The gateway's answer is %u: ",
				    send->status);
			str_sanitize_append(error, str_c(send->answer),
					    HTTP_MAX_ERROR);
		}
	}
	result.error = t_str_replace(str_c(error), '\177', '?');
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

void outband_http_refuse(struct outband_http *http, const char *error,
			 outband_channel_callback_t *callback, void *context)
{
	struct http_send *send = http_send_create(http, callback, context);

	send->refused = TRUE;
	str_append(send->answer, error);
	send->to_finish = timeout_add_short(0, http_send_finish, send);
}

struct http_client_request *
outband_http_request(struct outband_http *http,
		     outband_channel_callback_t *callback, void *context)
{
	struct http_send *send = http_send_create(http, callback, context);

	send->to = timeout_add(HTTP_TIMEOUT_MSECS, http_send_timeout, send);
	send->req = http_client_request_url_str(http->client, "POST", http->url,
						http_send_response, send);
	http_client_request_set_event(send->req, http->event);
	return send->req;
}
