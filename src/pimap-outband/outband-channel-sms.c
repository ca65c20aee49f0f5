/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channel SMS: a short message by a gateway. What a notification says is cut until
   it fits into one, or into as many as the administrator pays for. */

#include "lib.h"
#include "pimap-channel.h"
#include "pimap-compat.h"
#include "pimap-settings.h"
#include "outband-channel.h"
#include "outband-kannel.h"
#include "outband-smstools.h"
#include "sms-text.h"

/* Kannel has a thread for each connection */
#define SMS_MAX_SENDS 20

struct sms_channel {
	struct outband_channel channel;
	/* one of them */
	struct outband_kannel *kannel;
	struct outband_smstools *tools;
};

#define SMS_CHANNEL(_channel) \
	container_of(_channel, struct sms_channel, channel)

static int
sms_channel_init(const struct outband_channel_env *env,
		 struct outband_channel **channel_r, const char **error_r)
{
	const struct pimap_settings *set = env->set;
	const struct outband_kannel_settings kannel_set = {
		.name = "pimap_sms_url",
		.url = set->pimap_sms_url,
		.ca = set->pimap_sms_ca,
		.user = set->pimap_sms_user,
		.password = set->pimap_sms_password,
		.from = set->pimap_sms_from,
		.connections = SMS_MAX_SENDS,
	};
	struct outband_kannel *kannel = NULL;
	struct outband_smstools *tools = NULL;
	struct sms_channel *channel;
	const char *url = set->pimap_sms_url;
	size_t part_size = SMS_TEXT_PART_SEPTETS;

	if (url[0] == '\0')
		return 0;
	if (set->pimap_sms_parts == 0 ||
	    set->pimap_sms_parts > SMS_TEXT_MAX_PARTS) {
		*error_r = t_strdup_printf("pimap_sms_parts %u: it must be 1 "
			"to %u", set->pimap_sms_parts, SMS_TEXT_MAX_PARTS);
		return -1;
	}
	if (pimap_str_begins(url, PIMAP_CHANNEL_SMSTOOLS)) {
		if (outband_smstools_init(kannel_set.name,
					  url + strlen(PIMAP_CHANNEL_SMSTOOLS),
					  set->pimap_sms_parts, &tools,
					  error_r) < 0)
			return -1;
		/* it cuts between characters, not septets */
		part_size--;
	} else if (outband_kannel_init(&kannel_set, env->event_parent, &kannel,
				       error_r) < 0) {
		return -1;
	}
	channel = i_new(struct sms_channel, 1);
	channel->channel.v = &outband_channel_sms;
	channel->channel.max_size = set->pimap_sms_parts == 1 ?
		SMS_TEXT_SEPTETS :
		set->pimap_sms_parts * part_size;
	channel->kannel = kannel;
	channel->tools = tools;
	*channel_r = &channel->channel;
	return 1;
}

static void sms_channel_deinit(struct outband_channel *_channel)
{
	struct sms_channel *channel = SMS_CHANNEL(_channel);

	if (channel->kannel != NULL)
		outband_kannel_deinit(&channel->kannel);
	if (channel->tools != NULL)
		outband_smstools_deinit(&channel->tools);
	i_free(channel);
}

static void
sms_channel_send_kannel(struct sms_channel *channel,
			const struct outband_row *row, const char *error,
			outband_channel_callback_t *callback, void *context)
{
	const struct outband_kannel_message msg = {
		.to = row->address,
		.coding = sms_text_is_gsm(row->payload) ? OUTBAND_KANNEL_GSM :
			OUTBAND_KANNEL_UCS2,
		.data = row->payload,
		.size = strlen(row->payload),
	};

	if (error != NULL) {
		outband_kannel_refuse(channel->kannel, error, callback,
				      context);
	} else {
		outband_kannel_send(channel->kannel, &msg, callback, context);
	}
}

static void
sms_channel_send_tools(struct sms_channel *channel,
		       const struct outband_row *row, const char *error,
		       outband_channel_callback_t *callback, void *context)
{
	if (error != NULL) {
		outband_smstools_refuse(channel->tools, error, callback,
					context);
	} else {
		outband_smstools_send(channel->tools, row->address,
			row->payload, t_strdup_printf("%s#%s %"PRId64,
				row->user, row->device, row->seq),
			callback, context);
	}
}

static void
sms_channel_send(struct outband_channel *_channel,
		 const struct outband_row *row,
		 outband_channel_callback_t *callback, void *context)
{
	struct sms_channel *channel = SMS_CHANNEL(_channel);
	const char *error = NULL;

	/* it got its number when more was allowed, or an account's name is longer
	   than a message */
	if (sms_text_measure(row->payload) > _channel->max_size)
		error = "It is longer than a short message";
	if (channel->tools != NULL) {
		sms_channel_send_tools(channel, row, error, callback, context);
	} else {
		sms_channel_send_kannel(channel, row, error, callback, context);
	}
}

const struct outband_channel_vfuncs outband_channel_sms = {
	.name = "SMS",
	.max_sends = SMS_MAX_SENDS,
	.measure = sms_text_measure,

	.init = sms_channel_init,
	.deinit = sms_channel_deinit,
	.send = sms_channel_send,
};
