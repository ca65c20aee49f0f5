/* SPDX-License-Identifier: LGPL-2.1-only */
/* A notification is kept as it is before it is encrypted, so that it can be sent
   again under another key. What may only go encrypted is looked at again
   each time: the device's channel may be another than when it got its text. */

#include "lib.h"
#include "buffer.h"
#include "base64.h"
#include "str.h"
#include "pimap-channel.h"
#include "pimap-settings.h"
#include "outband-channel.h"
#include "outband-payload.h"
#include "outband-seal.h"

#define TAG OUTBAND_PAYLOAD_TAG" "

static bool event_is_of_device(const char *event)
{
	return strcmp(event, "LOCK_DOWN") == 0 ||
		strcmp(event, "NEW_ENC_KEY") == 0;
}

static enum pimap_envelope_method seal_get_method(const struct pimap_settings *set)
{
	const char *const *names =
		t_strsplit_spaces(set->pimap_encryption, " ,");

	return *names != NULL && strcasecmp(*names, "3DES") == 0 ?
		PIMAP_ENVELOPE_3DES : PIMAP_ENVELOPE_AES;
}

bool outband_seal_has_method(const struct pimap_settings *set,
			     enum pimap_envelope_method method)
{
	const char *const *names =
		t_strsplit_spaces(set->pimap_encryption, " ,");

	if (*names == NULL)
		return method == PIMAP_ENVELOPE_AES;
	return str_array_icase_find(names, method == PIMAP_ENVELOPE_AES ?
				    "AES" : "3DES");
}

#ifdef PIMAP_HAVE_LIBCRYPTO
static size_t
seal_get_max_size(const struct outband_seal *seal, size_t max_size)
{
	if (max_size == 0)
		return 0;
	return max_size <= strlen(TAG) ? 1 : strlen(TAG) +
		pimap_envelope_base64_max_text(seal->method,
					       max_size - strlen(TAG));
}
#endif

int outband_seal_prepare(struct outband_keys *keys,
			 const struct pimap_settings *set,
			 const struct outband_channel *channel,
			 struct outband_row *row, struct outband_seal *seal_r,
			 const char **error_r)
{
	const struct pimap_envelope_key *sending;
	struct outband_device_key key;

	i_zero(seal_r);
	if (outband_keys_get(keys, row->user, row->device,
			     pool_datastack_create(), &key, error_r) < 0)
		return -1;
	seal_r->locked = key.locked && !event_is_of_device(row->event.name);
	seal_r->method = seal_get_method(set);
	if (channel == NULL)
		return 0;
	row->max_size = channel->max_size;
	row->measure = channel->v->measure;
	row->fields_allowed = channel->v->encrypts ||
		str_array_icase_find(t_strsplit_spaces(
			set->pimap_clear_text, " ,"), row->channel);
	if (pimap_channel_is_extended(channel->v->name) || event_is_of_device(row->event.name))
		row->format = "EXTENDED";
	sending = outband_device_key_sending(&key);
	if (sending == NULL)
		return 0;
#ifdef PIMAP_HAVE_LIBCRYPTO
	seal_r->key = *sending;
	if (strcmp(row->format, "EXTENDED") == 0) {
		row->max_size = seal_get_max_size(seal_r, row->max_size);
		row->measure = NULL;
		row->fields_allowed = TRUE;
	}
#endif
	return 0;
}

static bool payload_is_extended(const struct outband_row *row)
{
	return strncmp(row->payload, TAG, strlen(TAG)) == 0;
}

/* Does it tell nothing of a message but that there is one? */
static bool payload_is_bare(const struct outband_row *row)
{
	struct outband_row bare_row = *row;
	string_t *bare = t_str_new(256);

	bare_row.measure = NULL;
	outband_payload_extended(bare, &bare_row, strlen(row->payload), FALSE);
	return strcmp(str_c(bare), row->payload) == 0;
}

int outband_seal_row(const struct outband_seal *seal,
		     const struct outband_row *row, pool_t pool,
		     struct outband_row *sealed_r, const char **error_r)
{
	*sealed_r = *row;
	if (!payload_is_extended(row))
		return 1;
	if (seal->key.number == 0) {
		if (row->fields_allowed || payload_is_bare(row))
			return 1;
		*error_r = "It tells of a message, which may not go in clear "
			"text by this channel";
		return 0;
	}
#ifdef PIMAP_HAVE_LIBCRYPTO
	const char *text = row->payload + strlen(TAG);
	buffer_t *envelope = t_buffer_create(512);
	string_t *payload = str_new(pool, 512);

	if (pimap_envelope_seal(&seal->key, seal->method,
				PIMAP_ENVELOPE_NOTIFICATION, NULL, text,
				strlen(text), envelope, error_r) < 0)
		return -1;
	str_append(payload, TAG);
	base64_encode(envelope->data, envelope->used, payload);
	sealed_r->payload = str_c(payload);
	return 1;
#else
	(void)pool;
	i_unreached();
#endif
}
