/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channel SMS: a short message by a gateway. What a notification says is cut until
   it fits into one, or into as many as the administrator pays for. */

#include "lib.h"
#include "http-url.h"
#include "pimap-channel.h"
#include "pimap-compat.h"
#include "pimap-settings.h"
#include "outband-channel.h"
#include "outband-kannel.h"
#include "outband-report.h"
#include "outband-report-parse.h"
#include "outband-smstools.h"
#include "outband-smstools-report.h"
#include "sms-text.h"

/* Kannel has a thread for each connection */
#define SMS_MAX_SENDS 20

struct sms_channel {
	struct outband_channel channel;
	/* one of them */
	struct outband_kannel *kannel;
	struct outband_smstools *tools;

	struct outband_reports *reports;
	/* of Kannel's reports: the token follows. NULL = there are none */
	char *report_url;
	/* smsd's, NULL = there are none */
	struct outband_smstools_reports *tools_reports;
};

#define SMS_CHANNEL(_channel) \
	container_of(_channel, struct sms_channel, channel)

#define SMS_REPORT_SETTING "pimap_sms_report_url"

static int
sms_channel_check_report_url(const char *url, const char **error_r)
{
	struct http_url *parsed;
	const char *error;

	if (http_url_parse(url, NULL, HTTP_URL_ALLOW_USERINFO_PART,
			   pool_datastack_create(), &parsed, &error) == 0)
		return 0;
	*error_r = t_strdup_printf(SMS_REPORT_SETTING" %s: %s", url, error);
	return -1;
}

static int
sms_channel_init_tools(const struct outband_channel_env *env,
		       struct outband_smstools **tools_r,
		       struct outband_smstools_reports **reports_r,
		       const char **error_r)
{
	const struct pimap_settings *set = env->set;
	const char *dir = set->pimap_sms_report_url;

	if (outband_smstools_init("pimap_sms_url", set->pimap_sms_url +
				  strlen(PIMAP_CHANNEL_SMSTOOLS),
				  set->pimap_sms_parts, tools_r, error_r) < 0)
		return -1;
	if (dir[0] == '\0')
		return 0;
	if (!pimap_str_begins(dir, PIMAP_CHANNEL_SMSTOOLS)) {
		*error_r = t_strdup_printf(SMS_REPORT_SETTING" %s: with smstools "
			"it is "PIMAP_CHANNEL_SMSTOOLS" and a directory", dir);
	} else if (outband_smstools_reports_init(env->event_parent,
			SMS_REPORT_SETTING,
			dir + strlen(PIMAP_CHANNEL_SMSTOOLS),
			env->reports, reports_r, error_r) == 0) {
		return 0;
	}
	outband_smstools_deinit(tools_r);
	return -1;
}

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
	struct outband_smstools_reports *tools_reports = NULL;
	struct sms_channel *channel;
	const char *url = set->pimap_sms_url;
	const char *report_url = set->pimap_sms_report_url;
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
		if (sms_channel_init_tools(env, &tools, &tools_reports,
					   error_r) < 0)
			return -1;
		/* it cuts between characters, not septets */
		part_size--;
	} else if ((report_url[0] != '\0' &&
		    sms_channel_check_report_url(report_url, error_r) < 0) ||
		   outband_kannel_init(&kannel_set, env->event_parent, &kannel,
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
	channel->reports = env->reports;
	channel->tools_reports = tools_reports;
	if (kannel != NULL && report_url[0] != '\0') {
		channel->report_url = i_strconcat(report_url,
			strchr(report_url, '?') == NULL ? "?" : "&",
			OUTBAND_REPORT_KANNEL_TOKEN, NULL);
	}
	*channel_r = &channel->channel;
	return 1;
}

static void sms_channel_start(struct outband_channel *_channel)
{
	struct sms_channel *channel = SMS_CHANNEL(_channel);

	if (channel->tools_reports != NULL)
		outband_smstools_reports_start(channel->tools_reports);
}

static void sms_channel_deinit(struct outband_channel *_channel)
{
	struct sms_channel *channel = SMS_CHANNEL(_channel);

	if (channel->kannel != NULL)
		outband_kannel_deinit(&channel->kannel);
	if (channel->tools != NULL)
		outband_smstools_deinit(&channel->tools);
	if (channel->tools_reports != NULL)
		outband_smstools_reports_deinit(&channel->tools_reports);
	i_free(channel->report_url);
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
		.report_url = channel->report_url == NULL ? NULL :
			t_strconcat(channel->report_url,
				outband_reports_get_token(channel->reports,
							  row->id, row->seq),
				OUTBAND_REPORT_KANNEL_QUERY, NULL),
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
			channel->tools_reports == NULL ? NULL :
			outband_reports_get_token(channel->reports, row->id,
						  row->seq),
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

static void
sms_channel_status(struct outband_channel *_channel,
		   outband_channel_status_t *callback, void *context)
{
	struct sms_channel *channel = SMS_CHANNEL(_channel);
	const struct outband_reports_status *status =
		outband_reports_get_status(channel->reports);

	if (channel->report_url == NULL && channel->tools_reports == NULL)
		return;
	callback("delivered", status->delivered, context);
	callback("not delivered", status->failed, context);
	callback("refused reports", status->refused, context);
}

const struct outband_channel_vfuncs outband_channel_sms = {
	.name = "SMS",
	.max_sends = SMS_MAX_SENDS,
	.measure = sms_text_measure,

	.init = sms_channel_init,
	.start = sms_channel_start,
	.status = sms_channel_status,
	.deinit = sms_channel_deinit,
	.send = sms_channel_send,
};
