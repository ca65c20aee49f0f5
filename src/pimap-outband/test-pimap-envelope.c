/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "buffer.h"
#include "str.h"
#include "base64.h"
#include "hex-binary.h"
#include "istream.h"
#include "test-common.h"
#include "pimap-envelope.h"

#include <stdlib.h>

static const enum pimap_envelope_method methods[] = {
	PIMAP_ENVELOPE_AES, PIMAP_ENVELOPE_3DES
};

static const struct pimap_envelope_key test_key = {
	.number = 7, .key = "0123456789abcdef0123456789abcdef"
};

/* Each vector is a line, whose strings have no quotes in them but escaped ones. */
static const char *vector_get(const char *line, const char *name)
{
	const char *p = strstr(line, t_strdup_printf("\"%s\": ", name));
	string_t *value = t_str_new(128);
	unsigned int code;

	test_assert(p != NULL);
	if (p == NULL)
		return "";
	p += strlen(name) + 4;
	if (*p != '"')
		return t_strcut(t_strcut(p, ','), '}');
	for (p++; *p != '"' && *p != '\0'; p++) {
		if (p[0] == '\\' && p[1] == 'u') {
			/* below U+0800 */
			code = strtoul(t_strndup(p + 2, 4), NULL, 16);
			str_append_c(value, 0xc0 | (code >> 6));
			str_append_c(value, 0x80 | (code & 0x3f));
			p += 5;
		} else {
			if (*p == '\\')
				p++;
			str_append_c(value, *p);
		}
	}
	return str_c(value);
}

static buffer_t *vector_get_hex(const char *line, const char *name)
{
	const char *hex = vector_get(line, name);
	buffer_t *value = t_buffer_create(64);

	test_assert(hex_to_binary(hex, value) == 0);
	return value;
}

static void test_vector(const char *line)
{
	struct pimap_envelope_key key;
	struct pimap_envelope envelope;
	buffer_t *data = t_buffer_create(256), *text = t_buffer_create(256);
	const char *error, *base64 = vector_get(line, "envelope");
	const char *clear = vector_get(line, "text");
	const char direction = vector_get(line, "direction")[0];
	buffer_t *secret = vector_get_hex(line, "key");
	buffer_t *nonce = vector_get_hex(line, "nonce");
	enum pimap_envelope_method method =
		pimap_envelope_method_parse(vector_get(line, "method"));

	test_assert(method != 0 && secret->used == sizeof(key.key) &&
		    nonce->used == pimap_envelope_nonce_size(method));
	test_assert(str_to_uint32(vector_get(line, "key_number"),
				  &key.number) == 0);
	memcpy(key.key, secret->data, sizeof(key.key));
	test_assert(pimap_envelope_seal(&key, method, direction, nonce->data,
					clear, strlen(clear), data,
					&error) == 0);
	test_assert_strcmp(str_c(t_base64_encode(0, SIZE_MAX, data->data,
						 data->used)), base64);
	data = t_base64_decode_str(base64);
	test_assert(pimap_envelope_parse(data->data, data->used, &envelope));
	test_assert(envelope.method == method &&
		    envelope.key_number == key.number);
	test_assert(pimap_envelope_open(&envelope, &key, direction, text));
	test_assert_strcmp(t_strndup(text->data, text->used), clear);
	if (direction == 'H' || direction == 'C') {
		test_assert(pimap_envelope_get_counter(&envelope) ==
			be64_to_cpu_unaligned(CONST_PTR_OFFSET(nonce->data,
						nonce->used - 8)));
	}
}

static void test_pimap_envelope_vectors(void)
{
	const char *srcdir = getenv("srcdir");
	struct istream *input;
	const char *line;
	unsigned int count = 0;

	test_begin("pimap_envelope: vectors");
	input = i_stream_create_file(t_strconcat(srcdir == NULL ? "." : srcdir,
		"/../../doc/envelope-vectors.json", NULL), 65536);
	while ((line = i_stream_read_next_line(input)) != NULL) {
		if (line[0] == '{') T_BEGIN {
			test_vector(line);
			count++;
		} T_END;
	}
	i_stream_unref(&input);
	test_assert(count == 10);
	test_end();
}

static bool
test_opens(const void *data, size_t size, const struct pimap_envelope_key *key,
	   enum pimap_envelope_direction direction, buffer_t *text)
{
	struct pimap_envelope envelope;
	/* so that valgrind sees who reads too far */
	void *copy = i_malloc(size + 1);
	bool ret;

	memcpy(copy, data, size);
	copy = i_realloc(copy, size + 1, I_MAX(size, 1));
	ret = pimap_envelope_parse(copy, size, &envelope) &&
		pimap_envelope_open(&envelope, key, direction, text);
	i_free(copy);
	return ret;
}

static void test_pimap_envelope_refused_method(enum pimap_envelope_method method)
{
	static const char directions[] = "SCNHA";
	static const char clear[] = "what nobody else may read";
	/* they have to grow */
	buffer_t *data = t_buffer_create(1), *text = t_buffer_create(1);
	struct pimap_envelope_key other = test_key;
	unsigned char *octets;
	const char *error;
	unsigned int i, j;

	test_assert(pimap_envelope_seal(&test_key, method, 'H', NULL, clear,
					sizeof(clear), data, &error) == 0);
	test_assert(test_opens(data->data, data->used, &test_key, 'H', text));
	test_assert(text->used == sizeof(clear) &&
		    memcmp(text->data, clear, sizeof(clear)) == 0);
	buffer_set_used_size(text, 0);

	octets = buffer_get_modifiable_data(data, NULL);
	for (i = 0; i < data->used * 8; i++) {
		octets[i / 8] ^= 1 << (i % 8);
		test_assert_idx(!test_opens(octets, data->used, &test_key, 'H',
					    text), i);
		octets[i / 8] ^= 1 << (i % 8);
	}
	for (i = 0; i < data->used; i++) {
		test_assert_idx(!test_opens(octets, i, &test_key, 'H', text),
				i);
	}
	for (i = 0; directions[i] != '\0'; i++) {
		test_assert_idx(test_opens(octets, data->used, &test_key,
			directions[i], text) == (directions[i] == 'H'), i);
	}
	buffer_set_used_size(text, 0);
	for (i = 0; i < sizeof(other.key); i++) {
		for (j = 0; j < 8; j++) {
			other.key[i] ^= 1 << j;
			test_assert_idx(!test_opens(octets, data->used, &other,
						    'H', text), i);
			other.key[i] ^= 1 << j;
		}
	}
	test_assert(test_opens(octets, data->used, &other, 'H', text));
	buffer_set_used_size(text, 0);
	/* the right key, under another number */
	other.number++;
	test_assert(!test_opens(octets, data->used, &other, 'H', text));
	buffer_append_c(data, 0);
	test_assert(!test_opens(data->data, data->used, &test_key, 'H', text));
	/* nothing of what was refused is left */
	test_assert(text->used == 0);
}

static void test_pimap_envelope_refused(void)
{
	unsigned int i;

	test_begin("pimap_envelope: refused");
	for (i = 0; i < N_ELEMENTS(methods); i++)
		test_pimap_envelope_refused_method(methods[i]);
	test_end();
}

static void test_pimap_envelope_nonces(void)
{
	buffer_t *data = t_buffer_create(256), *data2 = t_buffer_create(256);
	const char *error;
	unsigned int i;

	test_begin("pimap_envelope: random nonces");
	for (i = 0; i < N_ELEMENTS(methods); i++) {
		buffer_set_used_size(data, 0);
		buffer_set_used_size(data2, 0);
		test_assert(pimap_envelope_seal(&test_key, methods[i], 'N',
			NULL, "x", 1, data, &error) == 0);
		test_assert(pimap_envelope_seal(&test_key, methods[i], 'N',
			NULL, "x", 1, data2, &error) == 0);
		test_assert(memcmp(data->data, data2->data, 6) == 0 &&
			    memcmp(CONST_PTR_OFFSET(data->data, 6),
				   CONST_PTR_OFFSET(data2->data, 6),
				   pimap_envelope_nonce_size(methods[i])) != 0);
	}
	test_end();
}

static void test_pimap_envelope_sizes(void)
{
	static const char zeros[2000];
	buffer_t *data = t_buffer_create(2048);
	const char *error;
	size_t size, max;
	unsigned int i;

	test_begin("pimap_envelope: sizes");
	for (i = 0; i < N_ELEMENTS(methods); i++) {
		for (size = 0; size < 1100; size++) {
			max = pimap_envelope_base64_max_text(methods[i], size);
			buffer_set_used_size(data, 0);
			test_assert(pimap_envelope_seal(&test_key, methods[i],
				'N', NULL, zeros, max, data, &error) == 0);
			test_assert(data->used - max <=
				    PIMAP_ENVELOPE_MAX_OVERHEAD);
			test_assert_idx(max == 0 ||
				MAX_BASE64_ENCODED_SIZE(data->used) <= size,
				size);
			/* one more wouldn't fit */
			buffer_set_used_size(data, 0);
			test_assert(pimap_envelope_seal(&test_key, methods[i],
				'N', NULL, zeros, max + 1, data, &error) == 0);
			test_assert_idx(MAX_BASE64_ENCODED_SIZE(data->used) >
					size, size);
		}
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_envelope_vectors,
		test_pimap_envelope_refused,
		test_pimap_envelope_nonces,
		test_pimap_envelope_sizes,
		NULL
	};

	return test_run(test_functions);
}
