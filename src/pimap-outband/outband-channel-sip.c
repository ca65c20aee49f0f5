/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channel SIP (R-13.8): a MESSAGE (RFC 3428) to the device's address, by the
   configured outbound proxy; or a NOTIFY that nobody has subscribed to (RFC 3842), which
   telephones take for their lamp.

   What becomes of a notification by the proxy's answer:

     2xx                        sent; 202 is what is delivered later
     3xx                        one redirection is followed, to an address that the
                                pattern allows; else given up
     401, 407                   answered; if that isn't enough, tried again: the
     403                        administrator can mend it
     404, 410, 604              there is no such device any more
     408, 430, 480, 486, 487, 491
                                tried again: it can't be reached now
     500, 502 to 504, other 5xx, no answer, no connection
                                tried again: the proxy doesn't work
     501, 505, 513, other 4xx and 6xx
                                given up

   Tries wait as long as Retry-After wants. */

#include "lib.h"
#include "hostpid.h"
#include "ioloop.h"
#include "llist.h"
#include "str.h"
#include "pimap-settings.h"
#include "pimap-sip.h"
#include "pimap-text.h"
#include "outband-channel.h"
#include "outband-payload.h"
#include "outband-sip.h"

/* Those to devices that don't answer wait for the proxy's 408, and keep others waiting
   where there are too many. */
#define SIP_MAX_SENDS 200

#define SIP_NOTIFY_HEADERS \
	"Event: message-summary\r\n" \
	"Subscription-State: terminated\r\n"
/* The notification is one of the headers by which a summary tells of a message. */
#define SIP_NOTIFY_BEGIN "Messages-Waiting: yes\r\n\r\nX-PIMAP-Notification: "
#define SIP_NOTIFY_END "\r\n"

struct sip_channel {
	struct outband_channel channel;
	pool_t pool;
	const struct pimap_settings *set;
	bool notify;
	struct outband_sip *sip;
	struct sip_channel_send *sends;
};

struct sip_channel_send {
	struct sip_channel_send *prev, *next;
	struct sip_channel *channel;
	pool_t pool;
	struct outband_sip_message msg;
	outband_channel_callback_t *callback;
	void *context;
};

#define SIP_CHANNEL(_channel) \
	container_of(_channel, struct sip_channel, channel)

static bool
sip_channel_uri_is_allowed(const char *uri, const char **error_r, void *context)
{
	struct sip_channel *channel = context;

	return pimap_sip_address_is_allowed(uri, "pimap_sip_pattern",
		channel->set->pimap_sip_pattern, error_r);
}

/* Returns 0, or -1 and error_r. */
static int
sip_channel_get_settings(struct sip_channel *channel,
			 struct outband_sip_settings *sip_set_r,
			 const char **error_r)
{
	const struct pimap_settings *set = channel->set;
	struct pimap_sip_proxy proxy;
	const char *error;

	i_zero(sip_set_r);
	if (pimap_sip_proxy_parse(set->pimap_sip_proxy, &proxy, &error) < 0) {
		*error_r = t_strdup_printf("pimap_sip_proxy %s: %s",
					   set->pimap_sip_proxy, error);
		return -1;
	}
	sip_set_r->host = p_strdup(channel->pool, proxy.host);
	sip_set_r->port = proxy.port;
	sip_set_r->tcp = proxy.tcp;
	sip_set_r->tls = proxy.tls;
	sip_set_r->ca = set->pimap_sip_ca;
	sip_set_r->from = set->pimap_sip_from[0] != '\0' ?
		set->pimap_sip_from :
		p_strconcat(channel->pool, "sip:pimap@", my_hostdomain(), NULL);
	if (!pimap_sip_uri_is_valid(sip_set_r->from, &error)) {
		*error_r = t_strdup_printf("pimap_sip_from %s: %s",
					   sip_set_r->from, error);
		return -1;
	}
	sip_set_r->user = pimap_text_get_line(channel->pool,
					       set->pimap_sip_user);
	sip_set_r->password = pimap_text_get_line(channel->pool,
						   set->pimap_sip_password);
	if (sip_set_r->user == NULL || sip_set_r->password == NULL) {
		*error_r = "pimap_sip_user and pimap_sip_password must be of "
			"one line";
		return -1;
	}
	sip_set_r->method = channel->notify ? "NOTIFY" : "MESSAGE";
	sip_set_r->headers = channel->notify ? SIP_NOTIFY_HEADERS : "";
	sip_set_r->uri_is_allowed = sip_channel_uri_is_allowed;
	sip_set_r->context = channel;
	return 0;
}

static int
sip_channel_init(const struct outband_channel_env *env,
		 struct outband_channel **channel_r, const char **error_r)
{
	struct outband_sip_settings sip_set;
	struct sip_channel *channel;
	pool_t pool;

	if (env->set->pimap_sip_proxy[0] == '\0')
		return 0;
	pool = pool_alloconly_create("outband channel sip", 512);
	channel = p_new(pool, struct sip_channel, 1);
	channel->channel.v = &outband_channel_sip;
	channel->pool = pool;
	channel->set = env->set;
	channel->notify = strcmp(env->set->pimap_sip_method, "notify") == 0;
	if (sip_channel_get_settings(channel, &sip_set, error_r) < 0) {
		pool_unref(&pool);
		return -1;
	}
	channel->sip = outband_sip_init(&sip_set, env->event_parent);
	channel->channel.max_size = outband_sip_get_max_body(channel->sip);
	if (channel->notify) {
		channel->channel.max_size -= strlen(SIP_NOTIFY_BEGIN) +
			strlen(SIP_NOTIFY_END);
	}
	*channel_r = &channel->channel;
	return 1;
}

static void sip_channel_deinit(struct outband_channel *_channel)
{
	struct sip_channel *channel = SIP_CHANNEL(_channel);
	struct sip_channel_send *send;

	outband_sip_deinit(&channel->sip);
	while ((send = channel->sends) != NULL) {
		DLLIST_REMOVE(&channel->sends, send);
		pool_unref(&send->pool);
	}
	pool_unref(&channel->pool);
}

/* What becomes of a notification by an answer that doesn't take it */
static void
sip_channel_get_result(unsigned int status,
		       struct outband_channel_result *result)
{
	switch (status) {
	case 404:
	case 410:
	case 604:
		result->outcome = OUTBAND_CHANNEL_UNREGISTER;
		return;
	case 408:
	case 430:
	case 480:
	case 486:
	case 487:
	case 491:
		result->outcome = OUTBAND_CHANNEL_RETRY;
		return;
	case 501:
	case 505:
	case 513:
		result->outcome = OUTBAND_CHANNEL_GIVE_UP;
		return;
	}
	if (status == 0 || status == 401 || status == 403 || status == 407 ||
	    status / 100 == 5) {
		result->outcome = OUTBAND_CHANNEL_RETRY;
		result->fault = TRUE;
	} else {
		result->outcome = OUTBAND_CHANNEL_GIVE_UP;
	}
}

static void
sip_channel_sent(const struct outband_sip_result *sip_result, void *context)
{
	struct sip_channel_send *send = context;
	outband_channel_callback_t *callback = send->callback;
	void *callback_context = send->context;
	struct outband_channel_result result = {
		.outcome = OUTBAND_CHANNEL_SENT,
		.error = sip_result->error,
		.retry_secs = sip_result->retry_secs,
	};

	if (sip_result->error != NULL)
		sip_channel_get_result(sip_result->status, &result);
	DLLIST_REMOVE(&send->channel->sends, send);
	pool_unref(&send->pool);
	callback(&result, callback_context);
}

static void
sip_channel_send(struct outband_channel *_channel,
		 const struct outband_row *row,
		 outband_channel_callback_t *callback, void *context)
{
	struct sip_channel *channel = SIP_CHANNEL(_channel);
	struct sip_channel_send *send;
	const char *body = row->payload;
	pool_t pool;

	pool = pool_alloconly_create("outband channel sip send", 512);
	send = p_new(pool, struct sip_channel_send, 1);
	send->pool = pool;
	send->channel = channel;
	send->callback = callback;
	send->context = context;
	DLLIST_PREPEND(&channel->sends, send);

	send->msg.to = row->address;
	if (channel->notify) {
		body = p_strconcat(pool, SIP_NOTIFY_BEGIN, row->payload,
				   SIP_NOTIFY_END, NULL);
		send->msg.content_type = "application/simple-message-summary";
	} else {
		send->msg.content_type = p_strconcat(pool,
			outband_payload_type(row->payload), ";charset=utf-8",
			NULL);
	}
	send->msg.body = body;
	send->msg.size = strlen(body);
	outband_sip_send(channel->sip, &send->msg, sip_channel_sent, send);
}

const struct outband_channel_vfuncs outband_channel_sip = {
	.name = "SIP",
	.max_sends = SIP_MAX_SENDS,

	.init = sip_channel_init,
	.deinit = sip_channel_deinit,
	.send = sip_channel_send,
};
