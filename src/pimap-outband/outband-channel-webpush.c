/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channel WEBPUSH (RFC 8030, 8291, 8292): an encrypted POST to the push service
   of the device's browser or distributor.

   Users say where it goes, so each send has a connection of its own, to an address
   that was looked at after the name was resolved: lib-http's client would
   resolve the name again. Redirects aren't followed. */

#include "lib.h"
#include "buffer.h"
#include "hash.h"
#include "ioloop.h"
#include "istream.h"
#include "llist.h"
#include "net.h"
#include "ostream.h"
#include "str.h"
#include "dns-lookup.h"
#include "http-date.h"
#include "http-header.h"
#include "http-response-parser.h"
#include "iostream-ssl.h"
#include "pimap-settings.h"
#include "pimap-text.h"
#include "pimap-tls.h"
#include "pimap-webpush.h"
#include "outband-channel.h"
#include "outband-payload.h"
#include "webpush-crypto.h"

#define WEBPUSH_MAX_SENDS 50
#define WEBPUSH_TIMEOUT_MSECS (30*1000)
#define WEBPUSH_MAX_INPUT 4096
#define WEBPUSH_KEY_FILE "webpush.pem"
/* of a signature: at most a day (RFC 8292), and clocks differ */
#define WEBPUSH_VAPID_SECS (12*60*60)
/* services refuse longer ones, or shorten them */
#define WEBPUSH_MAX_TTL (28*24*60*60)
/* subscriptions that are known to have ended; of devices whose own channel it is the
   registry knows */
#define WEBPUSH_MAX_ENDED 10000

struct webpush_channel {
	struct outband_channel channel;
	struct event *event;
	const struct pimap_settings *set;
	char *key_path;
	struct webpush_key *key;
	struct ssl_iostream_context *ssl_ctx;
	struct webpush_send *sends;

	HASH_TABLE(char *, void *) ended;
};

struct webpush_send {
	struct webpush_send *prev, *next;
	struct webpush_channel *channel;
	pool_t pool;
	const struct outband_row *row;
	struct pimap_webpush_address addr;
	/* it was too long */
	bool shortened;

	struct dns_lookup *lookup;
	/* those that are allowed */
	struct ip_addr *ips;
	unsigned int ips_count, ip_idx;

	int fd;
	struct io *io;
	struct istream *input;
	struct ostream *output;
	struct ssl_iostream *ssl;
	struct http_response_parser *parser;

	struct timeout *to, *to_finish;
	struct outband_channel_result result;
	outband_channel_callback_t *callback;
	void *context;
};

#define WEBPUSH_CHANNEL(_channel) \
	container_of(_channel, struct webpush_channel, channel)

static void webpush_send_connect(struct webpush_send *send);
static void webpush_send_begin(struct webpush_send *send);

/* It is written into JSON as it is. */
static bool webpush_subject_is_valid(const char *subject)
{
	const char *p;

	for (p = subject; *p != '\0'; p++) {
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f ||
		    *p == '"' || *p == '\\')
			return FALSE;
	}
	return strncmp(subject, "mailto:", 7) == 0 ||
		strncmp(subject, "https://", 8) == 0;
}

static int
webpush_channel_init(const struct outband_channel_env *env,
		     struct outband_channel **channel_r, const char **error_r)
{
	const struct pimap_settings *set = env->set;
	struct webpush_channel *channel;

	if (set->pimap_webpush_subject[0] == '\0')
		return 0;
	if (!webpush_subject_is_valid(set->pimap_webpush_subject)) {
		*error_r = t_strdup_printf("pimap_webpush_subject %s isn't a "
			"mailto: or https: URL", set->pimap_webpush_subject);
		return -1;
	}
	channel = i_new(struct webpush_channel, 1);
	channel->channel.v = &outband_channel_webpush;
	channel->channel.max_size = WEBPUSH_MAX_TEXT;
	channel->event = event_create(env->event_parent);
	channel->set = set;
	channel->key_path = set->pimap_webpush_key[0] != '\0' ?
		i_strdup(set->pimap_webpush_key) :
		i_strconcat(env->dir, "/"WEBPUSH_KEY_FILE, NULL);
	hash_table_create(&channel->ended, default_pool, 0, str_hash, strcmp);
	*channel_r = &channel->channel;
	return 1;
}

static void webpush_channel_clear_ended(struct webpush_channel *channel)
{
	struct hash_iterate_context *iter;
	char *key;
	void *value;

	iter = hash_table_iterate_init(channel->ended);
	while (hash_table_iterate(iter, channel->ended, &key, &value)) {
		hash_table_remove(channel->ended, key);
		i_free(key);
	}
	hash_table_iterate_deinit(&iter);
}

static void webpush_send_disconnect(struct webpush_send *send)
{
	io_remove(&send->io);
	if (send->parser != NULL)
		http_response_parser_deinit(&send->parser);
	ssl_iostream_destroy(&send->ssl);
	i_stream_destroy(&send->input);
	if (send->output != NULL)
		o_stream_abort(send->output);
	o_stream_destroy(&send->output);
	if (send->fd != -1)
		net_disconnect(send->fd);
	send->fd = -1;
}

static void webpush_send_free(struct webpush_send *send)
{
	DLLIST_REMOVE(&send->channel->sends, send);
	if (send->lookup != NULL)
		dns_lookup_abort(&send->lookup);
	webpush_send_disconnect(send);
	timeout_remove(&send->to);
	timeout_remove(&send->to_finish);
	pool_unref(&send->pool);
}

static void webpush_channel_deinit(struct outband_channel *_channel)
{
	struct webpush_channel *channel = WEBPUSH_CHANNEL(_channel);

	while (channel->sends != NULL)
		webpush_send_free(channel->sends);
	webpush_channel_clear_ended(channel);
	hash_table_destroy(&channel->ended);
	if (channel->ssl_ctx != NULL)
		ssl_iostream_context_unref(&channel->ssl_ctx);
	webpush_key_free(&channel->key);
	event_unref(&channel->event);
	i_free(channel->key_path);
	i_free(channel);
}

static void webpush_send_finished(struct webpush_send *send)
{
	outband_channel_callback_t *callback = send->callback;
	void *context = send->context;
	struct outband_channel_result result = send->result;

	result.error = t_strdup(result.error);
	webpush_send_free(send);
	callback(&result, context);
}

/* Not from within what uses the streams, or the call of send() */
static void
webpush_send_finish(struct webpush_send *send,
		    enum outband_channel_outcome outcome, const char *error)
{
	if (send->to_finish != NULL)
		return;
	io_remove(&send->io);
	send->result.outcome = outcome;
	send->result.error = p_strdup(send->pool, error);
	send->to_finish = timeout_add_short(0, webpush_send_finished, send);
}

static void webpush_send_timeout(struct webpush_send *send)
{
	timeout_remove(&send->to);
	webpush_send_finish(send, OUTBAND_CHANNEL_RETRY, t_strdup_printf(
		"%s didn't answer in %u s", send->addr.host,
		WEBPUSH_TIMEOUT_MSECS / 1000));
}

/* The key and what TLS needs. They may come to be there: nothing is given up. */
static int
webpush_channel_prepare(struct webpush_channel *channel, const char **error_r)
{
	if (channel->key == NULL) {
		if (webpush_key_load(channel->key_path,
				     channel->set->pimap_webpush_key[0] == '\0',
				     &channel->key, error_r) < 0)
			return -1;
		e_info(channel->event, "Web Push: devices subscribe with the "
		       "key %s", webpush_key_get_public(channel->key));
	}
	return pimap_tls_prepare(channel->set->pimap_webpush_ca,
				 &channel->ssl_ctx, error_r);
}

static void webpush_send_ended(struct webpush_send *send)
{
	struct webpush_channel *channel = send->channel;

	if (hash_table_count(channel->ended) >= WEBPUSH_MAX_ENDED)
		webpush_channel_clear_ended(channel);
	if (send->row->fallback &&
	    hash_table_lookup(channel->ended, send->row->address) == NULL) {
		hash_table_insert(channel->ended, i_strdup(send->row->address),
				  POINTER_CAST(1));
	}
	webpush_send_finish(send, OUTBAND_CHANNEL_UNREGISTER,
			    "The subscription has ended");
}

/* Dovecot's parser reads Retry-After of 503 only, if there is a Date. */
static unsigned int
webpush_get_retry_secs(const struct http_response *response)
{
	const char *value = http_response_header_get(response, "Retry-After");
	unsigned int secs;
	time_t when;

	if (value == NULL)
		return 0;
	if (str_to_uint(value, &secs) == 0)
		return secs;
	if (!http_date_parse((const unsigned char *)value, strlen(value),
			     &when) || when <= ioloop_time)
		return 0;
	return I_MIN(when - ioloop_time, INT_MAX);
}

/* The push service has answered. */
static void
webpush_send_answered(struct webpush_send *send,
		      const struct http_response *response)
{
	const char *error = t_strdup_printf("%s: %u %s", send->addr.host,
		response->status, pimap_text_get_reply(response->reason, 80));

	send->result.retry_secs = webpush_get_retry_secs(response);
	switch (response->status) {
	case 404:
	case 410:
		webpush_send_ended(send);
		return;
	case 413:
		if (!send->shortened && send->row->event.uid != 0) {
			send->shortened = TRUE;
			webpush_send_disconnect(send);
			webpush_send_begin(send);
			return;
		}
		break;
	/* a clock or the key is wrong, which can be mended: each try signs anew */
	case 401:
	case 403:
	case 408:
	case 425:
	case 429:
		webpush_send_finish(send, OUTBAND_CHANNEL_RETRY, error);
		return;
	}
	if (response->status / 100 == 2)
		webpush_send_finish(send, OUTBAND_CHANNEL_SENT, NULL);
	else if (response->status / 100 == 5)
		webpush_send_finish(send, OUTBAND_CHANNEL_RETRY, error);
	else
		webpush_send_finish(send, OUTBAND_CHANNEL_GIVE_UP, error);
}

/* The next address, if it is the connection that failed */
static void webpush_send_lost(struct webpush_send *send, const char *error)
{
	if (send->input == NULL && send->ip_idx + 1 < send->ips_count) {
		webpush_send_disconnect(send);
		send->ip_idx++;
		webpush_send_connect(send);
		return;
	}
	webpush_send_finish(send, OUTBAND_CHANNEL_RETRY, t_strdup_printf(
		"%s: %s", send->addr.host, error));
}

static void webpush_send_input(struct webpush_send *send)
{
	struct http_response response;
	const char *error;
	int ret;

	do {
		ret = http_response_parse_next(send->parser,
			HTTP_RESPONSE_PAYLOAD_TYPE_ALLOWED, &response, &error);
		/* 1xx: there comes another */
	} while (ret > 0 && response.status / 100 == 1);
	if (ret > 0)
		webpush_send_answered(send, &response);
	else if (send->ssl != NULL && ssl_iostream_has_handshake_failed(send->ssl))
		webpush_send_lost(send, pimap_tls_fix_error(
			ssl_iostream_get_last_error(send->ssl)));
	else if (send->input->stream_errno != 0)
		webpush_send_lost(send, i_stream_get_error(send->input));
	else if (ret < 0)
		webpush_send_lost(send, error);
	else if (send->input->eof)
		webpush_send_lost(send, "The connection was closed");
}

/* Returns the request's body, or NULL and error_r. */
static buffer_t *
webpush_send_get_body(struct webpush_send *send, const char **error_r)
{
	buffer_t *body = buffer_create_dynamic(send->pool,
					       WEBPUSH_RECORD_SIZE);
	struct outband_row row = *send->row;
	string_t *text = t_str_new(512);

	if (send->shortened) {
		/* the same one, without the message */
		row.event.uid = 0;
		outband_payload_extended(text, &row, WEBPUSH_MAX_TEXT, FALSE);
	} else {
		str_append(text, row.payload);
	}
	return webpush_encrypt_new(send->addr.key, send->addr.auth,
				   str_data(text), str_len(text), body,
				   error_r) < 0 ? NULL : body;
}

static const char *webpush_get_urgency(const char *event)
{
	return strcmp(event, "LOCK_DOWN") == 0 ||
		strcmp(event, "NEW_ENC_KEY") == 0 ? "high" : "normal";
}

static int
webpush_send_request(struct webpush_send *send, const char **error_r)
{
	const struct pimap_settings *set = send->channel->set;
	string_t *request = t_str_new(1024);
	buffer_t *body;
	time_t ttl;

	body = webpush_send_get_body(send, error_r);
	if (body == NULL)
		return -1;
	ttl = send->row->created + (time_t)set->pimap_outband_expire -
		ioloop_time;
	ttl = I_MAX(I_MIN(ttl, WEBPUSH_MAX_TTL), 0);
	str_printfa(request, "POST %s HTTP/1.1\r\nHost: %s\r\n"
		    "Connection: close\r\nAuthorization: ", send->addr.target,
		    send->addr.origin + strlen("https://"));
	if (webpush_vapid(send->channel->key, send->addr.origin,
			  set->pimap_webpush_subject,
			  ioloop_time + WEBPUSH_VAPID_SECS, request,
			  error_r) < 0)
		return -1;
	str_printfa(request, "\r\nTTL: %ld\r\nUrgency: %s\r\n"
		    "Content-Type: application/octet-stream\r\n"
		    "Content-Encoding: aes128gcm\r\n"
		    "Content-Length: %zu\r\n\r\n", (long)ttl,
		    webpush_get_urgency(send->row->event.name), body->used);
	str_append_data(request, body->data, body->used);
	o_stream_nsend(send->output, str_data(request), str_len(request));
	return 0;
}

static void webpush_limit_answer(struct http_header_limits *limits_r)
{
	i_zero(limits_r);
	limits_r->max_size = 16*1024;
	limits_r->max_field_size = 4*1024;
	limits_r->max_fields = 100;
}

static void webpush_send_connected(struct webpush_send *send)
{
	struct http_header_limits limits;
	const char *error;
	int err = net_geterror(send->fd);

	if (err != 0) {
		webpush_send_lost(send, t_strdup_printf("connect(%s, %u) "
			"failed: %s", net_ip2addr(&send->ips[send->ip_idx]),
			send->addr.port, strerror(err)));
		return;
	}
	io_remove(&send->io);
	send->input = i_stream_create_fd(send->fd, WEBPUSH_MAX_INPUT);
	send->output = o_stream_create_fd(send->fd, SIZE_MAX);
	o_stream_set_no_error_handling(send->output, TRUE);
	if (pimap_tls_start(send->channel->ssl_ctx, send->addr.host,
			    send->channel->event, &send->input, &send->output,
			    &send->ssl, &error) < 0) {
		webpush_send_lost(send, error);
		return;
	}
	webpush_limit_answer(&limits);
	send->parser = http_response_parser_init(send->input, &limits, 0);
	send->io = io_add_istream(send->input, webpush_send_input, send);
	if (webpush_send_request(send, &error) < 0)
		webpush_send_finish(send, OUTBAND_CHANNEL_GIVE_UP, error);
	else
		webpush_send_input(send);
}

static void webpush_send_connect(struct webpush_send *send)
{
	const struct ip_addr *ip = &send->ips[send->ip_idx];

	send->fd = net_connect_ip(ip, send->addr.port, NULL);
	if (send->fd == -1) {
		webpush_send_lost(send, t_strdup_printf("connect(%s, %u) "
			"failed: %m", net_ip2addr(ip), send->addr.port));
		return;
	}
	send->io = io_add(send->fd, IO_WRITE, webpush_send_connected, send);
}

/* It has these addresses. */
static void
webpush_send_resolved(struct webpush_send *send, const struct ip_addr *ips,
		      unsigned int count)
{
	const char *error = "it has no address";
	unsigned int i;

	send->ips = p_new(send->pool, struct ip_addr, I_MAX(count, 1));
	send->ips_count = send->ip_idx = 0;
	for (i = 0; i < count; i++) {
		if (pimap_webpush_host_is_allowed(&send->addr, &ips[i],
				send->channel->set->pimap_webpush_hosts,
				&error))
			send->ips[send->ips_count++] = ips[i];
	}
	if (send->ips_count == 0) {
		webpush_send_finish(send, OUTBAND_CHANNEL_GIVE_UP,
			t_strdup_printf("%s isn't allowed: %s",
					send->addr.host, error));
		return;
	}
	webpush_send_connect(send);
}

static void
webpush_send_looked_up(const struct dns_lookup_result *result,
		       struct webpush_send *send)
{
	send->lookup = NULL;
	if (result->ret != 0) {
		webpush_send_finish(send, OUTBAND_CHANNEL_RETRY,
			t_strdup_printf("%s: %s", send->addr.host,
					result->error));
		return;
	}
	webpush_send_resolved(send, result->ips, result->ips_count);
}

static void webpush_send_begin(struct webpush_send *send)
{
	struct dns_lookup_settings dns_set;

	if (send->addr.ip.family != 0) {
		webpush_send_resolved(send, &send->addr.ip, 1);
		return;
	}
	i_zero(&dns_set);
	dns_set.dns_client_socket_path = DNS_CLIENT_SOCKET_NAME;
	dns_set.timeout_msecs = WEBPUSH_TIMEOUT_MSECS;
	dns_set.event_parent = send->channel->event;
	/* it calls back where it fails */
	(void)dns_lookup(send->addr.host, &dns_set, webpush_send_looked_up,
			 send, &send->lookup);
}

static void webpush_send_try(struct webpush_send *send)
{
	struct webpush_channel *channel = send->channel;
	struct pimap_webpush_address addr;
	const char *error;

	if (send->row->fallback &&
	    hash_table_lookup(channel->ended, send->row->address) != NULL) {
		webpush_send_ended(send);
		return;
	}
	if (pimap_webpush_address_parse(send->row->address, &addr,
					&error) < 0) {
		webpush_send_finish(send, OUTBAND_CHANNEL_GIVE_UP,
			t_strdup_printf("The address isn't allowed: %s", error));
		return;
	}
	send->addr = addr;
	send->addr.host = p_strdup(send->pool, addr.host);
	send->addr.origin = p_strdup(send->pool, addr.origin);
	send->addr.target = p_strdup(send->pool, addr.target);
	if (webpush_channel_prepare(channel, &error) < 0) {
		send->result.fault = TRUE;
		webpush_send_finish(send, OUTBAND_CHANNEL_RETRY, error);
		return;
	}
	webpush_send_begin(send);
}

static void
webpush_channel_send(struct outband_channel *_channel,
		     const struct outband_row *row,
		     outband_channel_callback_t *callback, void *context)
{
	struct webpush_channel *channel = WEBPUSH_CHANNEL(_channel);
	struct webpush_send *send;
	pool_t pool;

	pool = pool_alloconly_create("outband webpush", 2048);
	send = p_new(pool, struct webpush_send, 1);
	send->pool = pool;
	send->channel = channel;
	send->row = row;
	send->fd = -1;
	send->callback = callback;
	send->context = context;
	DLLIST_PREPEND(&channel->sends, send);
	send->to = timeout_add(WEBPUSH_TIMEOUT_MSECS, webpush_send_timeout,
			       send);
	T_BEGIN {
		webpush_send_try(send);
	} T_END;
}

const struct outband_channel_vfuncs outband_channel_webpush = {
	.name = "WEBPUSH",
	.max_sends = WEBPUSH_MAX_SENDS,
	.encrypts = TRUE,
	.init = webpush_channel_init,
	.deinit = webpush_channel_deinit,
	.send = webpush_channel_send,
};
