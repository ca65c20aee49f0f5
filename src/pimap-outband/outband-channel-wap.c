/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channel WAP_PUSH: a WAP push (WAP-235-PushOTA, connectionless) in a short message, by
   a gateway. An EMN goes as WBXML to the phone's mail program, an EXTENDED as text. */

#include "lib.h"
#include "buffer.h"
#include "str.h"
#include "pimap-settings.h"
#include "emn-wbxml.h"
#include "outband-channel.h"
#include "outband-kannel.h"
#include "outband-payload.h"

#define WAP_MAX_SENDS 20

/* a short message, less the header with the ports */
#define WAP_MAX_SIZE (140 - 7)
/* WSP's header */
#define WAP_HEADER_SIZE 6
/* As WBXML an EMN is shorter at least by so much. */
#define WAP_EMN_SPARED 40

/* to port 2948 (WAP push, connectionless) from 9200 */
static const unsigned char wap_udh[] = {
	0x06, 0x05, 0x04, 0x0b, 0x84, 0x23, 0xf0
};

enum {
	WSP_PUSH = 0x06,
	WSP_TEXT_PLAIN = 0x80 | 0x03,
	WSP_EMN_WBXML = 0x80 | 0x30,
	WSP_APPLICATION_ID = 0x80 | 0x2f,
	/* x-wap-application:emn.ua */
	WSP_APPLICATION_EMN = 0x80 | 0x09
};

struct wap_channel {
	struct outband_channel channel;
	struct outband_kannel *kannel;
};

#define WAP_CHANNEL(_channel) \
	container_of(_channel, struct wap_channel, channel)

static bool wap_is_emn(const char *text)
{
	return text[0] == '<';
}

static size_t wap_measure(const char *text)
{
	size_t size = strlen(text);

	if (wap_is_emn(text))
		return size > WAP_EMN_SPARED ? size - WAP_EMN_SPARED : 0;
	return size;
}

static int
wap_channel_init(const struct outband_channel_env *env,
		 struct outband_channel **channel_r, const char **error_r)
{
	const struct pimap_settings *set = env->set;
	const struct outband_kannel_settings kannel_set = {
		.name = "pimap_wap_push_url",
		.url = set->pimap_wap_push_url,
		.ca = set->pimap_wap_push_ca,
		.user = set->pimap_wap_push_user,
		.password = set->pimap_wap_push_password,
		.from = set->pimap_wap_push_from,
		.connections = WAP_MAX_SENDS,
	};
	struct outband_kannel *kannel;
	struct wap_channel *channel;

	if (set->pimap_wap_push_url[0] == '\0')
		return 0;
	if (outband_kannel_init(&kannel_set, env->event_parent, &kannel,
				error_r) < 0)
		return -1;
	channel = i_new(struct wap_channel, 1);
	channel->channel.v = &outband_channel_wap_push;
	channel->channel.max_size = WAP_MAX_SIZE - WAP_HEADER_SIZE;
	channel->kannel = kannel;
	*channel_r = &channel->channel;
	return 1;
}

static void wap_channel_deinit(struct outband_channel *_channel)
{
	struct wap_channel *channel = WAP_CHANNEL(_channel);

	outband_kannel_deinit(&channel->kannel);
	i_free(channel);
}

static void wap_append_emn(buffer_t *dest, const struct outband_row *row)
{
	const char *account = outband_payload_account(row->user, row->folder);
	string_t *text = t_str_new(256);

	/* it may have been too long with the folder's name */
	outband_payload_emn(text, account, row->event.time);
	emn_wbxml_append(dest, strcmp(str_c(text), row->payload) == 0 ?
			 account : row->user, row->event.time);
}

static void wap_append_push(buffer_t *dest, const struct outband_row *row)
{
	const unsigned char header[WAP_HEADER_SIZE] = {
		/* a transaction: a repeated one has the same */
		row->seq & 0xff, WSP_PUSH, 3,
		wap_is_emn(row->payload) ? WSP_EMN_WBXML : WSP_TEXT_PLAIN,
		WSP_APPLICATION_ID, WSP_APPLICATION_EMN
	};

	buffer_append(dest, header, sizeof(header));
	if (wap_is_emn(row->payload))
		wap_append_emn(dest, row);
	else
		buffer_append(dest, row->payload, strlen(row->payload));
}

static void
wap_channel_send(struct outband_channel *_channel,
		 const struct outband_row *row,
		 outband_channel_callback_t *callback, void *context)
{
	struct wap_channel *channel = WAP_CHANNEL(_channel);
	struct outband_kannel_message msg = {
		.to = row->address,
		.coding = OUTBAND_KANNEL_OCTETS,
		.udh = wap_udh,
		.udh_size = sizeof(wap_udh),
	};
	buffer_t *push = t_buffer_create(256);

	wap_append_push(push, row);
	msg.data = push->data;
	msg.size = push->used;
	if (push->used > WAP_MAX_SIZE) {
		outband_kannel_refuse(channel->kannel,
			"It is longer than a short message", callback,
			context);
	} else {
		outband_kannel_send(channel->kannel, &msg, callback, context);
	}
}

const struct outband_channel_vfuncs outband_channel_wap_push = {
	.name = "WAP_PUSH",
	.max_sends = WAP_MAX_SENDS,
	.measure = wap_measure,

	.init = wap_channel_init,
	.deinit = wap_channel_deinit,
	.send = wap_channel_send,
};
