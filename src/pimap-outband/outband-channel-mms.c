/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channel MMS: a message with the notification as its only part, by an MMSC's MM7. */

#include "lib.h"
#include "hex-binary.h"
#include "sha1.h"
#include "str.h"
#include "unichar.h"
#include "http-client.h"
#include "pimap-settings.h"
#include "pimap-text.h"
#include "outband-channel.h"
#include "outband-http.h"
#include "outband-mm7.h"
#include "outband-payload.h"

#define MMS_MAX_SENDS 20
/* of what each phone takes */
#define MMS_MAX_SIZE (30*1024)

struct mms_channel {
	struct outband_channel channel;
	pool_t pool;
	struct outband_http *http;
	const char *user, *password;
	struct outband_mm7_sender sender;
};

#define MMS_CHANNEL(_channel) \
	container_of(_channel, struct mms_channel, channel)

static int
mms_channel_init(const struct outband_channel_env *env,
		 struct outband_channel **channel_r, const char **error_r)
{
	const struct pimap_settings *set = env->set;
	const struct outband_http_settings http_set = {
		.name = "pimap_mms_url",
		.url = set->pimap_mms_url,
		.ca = set->pimap_mms_ca,
		.connections = MMS_MAX_SENDS,
		.max_answer = OUTBAND_MM7_MAX_ANSWER,
		.judge = outband_mm7_judge,
	};
	struct mms_channel *channel;
	pool_t pool;

	if (set->pimap_mms_url[0] == '\0')
		return 0;
	pool = pool_alloconly_create("outband mms", 512);
	channel = p_new(pool, struct mms_channel, 1);
	channel->pool = pool;
	channel->channel.v = &outband_channel_mms;
	channel->channel.max_size = MMS_MAX_SIZE;
	channel->user = pimap_text_get_line(pool, set->pimap_mms_user);
	channel->password =
		pimap_text_get_line(pool, set->pimap_mms_password);
	channel->sender.vasp_id =
		pimap_text_get_line(pool, set->pimap_mms_vasp_id);
	channel->sender.vas_id =
		pimap_text_get_line(pool, set->pimap_mms_vas_id);
	channel->sender.number =
		pimap_text_get_line(pool, set->pimap_mms_from);
	if (channel->user == NULL || channel->password == NULL ||
	    channel->sender.vasp_id == NULL || channel->sender.vas_id == NULL ||
	    channel->sender.number == NULL ||
	    !uni_utf8_str_is_valid(channel->sender.vasp_id) ||
	    !uni_utf8_str_is_valid(channel->sender.vas_id) ||
	    !uni_utf8_str_is_valid(channel->sender.number)) {
		*error_r = "pimap_mms_user, pimap_mms_password, "
			"pimap_mms_vasp_id, pimap_mms_vas_id and pimap_mms_from "
			"must be UTF-8, of one line";
		pool_unref(&pool);
		return -1;
	}
	if (outband_http_init(&http_set, env->event_parent, &channel->http,
			      error_r) < 0) {
		pool_unref(&pool);
		return -1;
	}
	*channel_r = &channel->channel;
	return 1;
}

static void mms_channel_deinit(struct outband_channel *_channel)
{
	struct mms_channel *channel = MMS_CHANNEL(_channel);

	outband_http_deinit(&channel->http);
	pool_unref(&channel->pool);
}

/* The same each time that it is sent; who the user is need not be told, and his name
   may have what XML can't have. */
static const char *mms_get_transaction(const struct outband_row *row)
{
	const char *device = t_strdup_printf("%s#%s", row->user, row->device);
	unsigned char digest[SHA1_RESULTLEN];

	sha1_get_digest(device, strlen(device), digest);
	return t_strdup_printf("%s-%"PRId64,
			       binary_to_hex(digest, sizeof(digest)), row->seq);
}

static void
mms_channel_send(struct outband_channel *_channel,
		 const struct outband_row *row,
		 outband_channel_callback_t *callback, void *context)
{
	struct mms_channel *channel = MMS_CHANNEL(_channel);
	const struct outband_mm7_message msg = {
		.transaction = mms_get_transaction(row),
		.to = row->address,
		.type = outband_payload_type(row->payload),
		.text = row->payload,
	};
	struct http_client_request *req;
	string_t *body = t_str_new(2048);
	const char *type;

	if (strlen(row->payload) > _channel->max_size) {
		outband_http_refuse(channel->http, "It is too long for an MMS",
				    callback, context);
		return;
	}
	type = outband_mm7_submit(body, &channel->sender, &msg);
	req = outband_http_request(channel->http, callback, context);
	if (req == NULL)
		return;
	if (channel->user[0] != '\0') {
		http_client_request_set_auth_simple(req, channel->user,
						    channel->password);
	}
	http_client_request_add_header(req, "Content-Type", type);
	http_client_request_add_header(req, "SOAPAction", "\"\"");
	http_client_request_set_payload_data(req, str_data(body),
					     str_len(body));
	http_client_request_submit(req);
}

const struct outband_channel_vfuncs outband_channel_mms = {
	.name = "MMS",
	.max_sends = MMS_MAX_SENDS,

	.init = mms_channel_init,
	.deinit = mms_channel_deinit,
	.send = mms_channel_send,
};
