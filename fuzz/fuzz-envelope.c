/* SPDX-License-Identifier: LGPL-2.1-only */
/* Envelopes: the first octet chooses what the rest is. 0: an envelope; else the text
   of one, which is sealed, opened again and refused where an octet of it is another. */

#include "lib.h"
#include "buffer.h"
#include "base64.h"
#include "pimap-envelope.c"
#include "fuzz.h"

static const struct pimap_envelope_key key = {
	.number = 1, .key = "0123456789abcdef0123456789abcdef"
};

static void fuzz_open(const void *data, size_t size)
{
	struct pimap_envelope envelope;
	buffer_t *text = t_buffer_create(256);

	if (!pimap_envelope_parse(data, size, &envelope))
		return;
	(void)pimap_envelope_get_counter(&envelope);
	/* who doesn't know the key can't make one */
	i_assert(!pimap_envelope_open(&envelope, &key, 'H', text));
	i_assert(text->used == 0);
}

static void fuzz_seal(unsigned int octet, const uint8_t *clear, size_t size)
{
	enum pimap_envelope_method method = octet % 2 == 0 ?
		PIMAP_ENVELOPE_AES : PIMAP_ENVELOPE_3DES;
	struct pimap_envelope envelope;
	buffer_t *data = t_buffer_create(256), *text = t_buffer_create(256);
	unsigned char *octets;
	const char *error;

	if (pimap_envelope_seal(&key, method, 'H', NULL, clear, size, data,
				&error) < 0)
		i_panic("%s", error);
	i_assert(pimap_envelope_parse(data->data, data->used, &envelope));
	i_assert(pimap_envelope_open(&envelope, &key, 'H', text));
	i_assert(text->used == size && memcmp(text->data, clear, size) == 0);
	i_assert(pimap_envelope_base64_max_text(method,
		MAX_BASE64_ENCODED_SIZE(data->used)) >= size);
	buffer_set_used_size(text, 0);
	octets = buffer_get_modifiable_data(data, NULL);
	octets[octet % data->used] ^= 1 + octet % 255;
	i_assert(!pimap_envelope_parse(data->data, data->used, &envelope) ||
		 !pimap_envelope_open(&envelope, &key, 'H', text));
	i_assert(text->used == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(NULL);
	if (size == 0)
		return 0;
	T_BEGIN {
		if (data[0] == 0)
			fuzz_open(data + 1, size - 1);
		else
			fuzz_seal(data[0], data + 1, size - 1);
	} T_END;
	return 0;
}
