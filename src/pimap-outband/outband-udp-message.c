/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "base64.h"
#include "buffer.h"
#include "str.h"
#include "pimap-device.h"
#include "outband-udp-message.h"

/* The word up to a blank or the end. Returns FALSE if there is none. */
static bool next_word(const unsigned char **data, const unsigned char *end,
		      const unsigned char **word_r, size_t *size_r)
{
	const unsigned char *p = *data;

	while (p < end && *p != ' ')
		p++;
	*word_r = *data;
	*size_r = p - *data;
	*data = p < end ? p + 1 : end;
	return *size_r > 0;
}

/* Just base64, all of it, in the one way that there is to write it */
static bool decode_base64(const unsigned char *data, size_t size, buffer_t *dest)
{
	buffer_t *again;

	if (size % 4 != 0 ||
	    base64_scheme_decode(&base64_scheme,
				 BASE64_DECODE_FLAG_NO_WHITESPACE, data, size,
				 dest) < 0)
		return FALSE;
	again = t_base64_encode(0, SIZE_MAX, dest->data, dest->used);
	return again->used == size && memcmp(again->data, data, size) == 0;
}

bool outband_udp_hello_parse(const unsigned char *data, size_t size,
			     struct outband_udp_hello *hello_r)
{
	const unsigned char *end = data + size, *word;
	size_t word_size, i;

	i_zero(hello_r);
	if (!next_word(&data, end, &word, &word_size) || word_size != 5 ||
	    memcmp(word, "HELLO", 5) != 0)
		return FALSE;
	if (!next_word(&data, end, &word, &word_size) ||
	    word_size > OUTBAND_UDP_MAX_LOGIN)
		return FALSE;
	for (i = 0; i < word_size; i++) {
		if (word[i] < 0x20 || word[i] == 0x7f)
			return FALSE;
	}
	hello_r->login = t_strndup(word, word_size);
	if (!next_word(&data, end, &word, &word_size))
		return FALSE;
	hello_r->envelope = t_buffer_create(word_size);
	return decode_base64(word, word_size, hello_r->envelope);
}

static bool parse_acks(const char *text, struct outband_udp_text *text_r)
{
	const char *const *seqs = t_strsplit(text, ",");
	int64_t seq;

	if (*seqs == NULL)
		return FALSE;
	for (; *seqs != NULL; seqs++) {
		if (array_count(&text_r->acks) == OUTBAND_UDP_MAX_ACKS ||
		    str_to_int64(*seqs, &seq) < 0 || seq <= 0)
			return FALSE;
		array_push_back(&text_r->acks, &seq);
	}
	return TRUE;
}

bool outband_udp_text_parse(const void *data, size_t size,
			    struct outband_udp_text *text_r)
{
	const char *const *words;
	buffer_t *octets;

	i_zero(text_r);
	t_array_init(&text_r->acks, 8);
	if (memchr(data, '\0', size) != NULL)
		return FALSE;
	words = t_strsplit(t_strndup(data, size), " ");
	if (str_array_length(words) < 2 || str_array_length(words) > 4 ||
	    !pimap_device_id_is_valid(words[0]) ||
	    str_to_time(words[1], &text_r->time) < 0 || text_r->time < 0)
		return FALSE;
	text_r->device = words[0];
	words += 2;
	if (*words != NULL && strncmp(*words, "ACK=", 4) != 0) {
		octets = t_buffer_create(OUTBAND_UDP_CHALLENGE_SIZE + 2);
		if (!decode_base64((const unsigned char *)*words,
				   strlen(*words), octets) ||
		    octets->used != OUTBAND_UDP_CHALLENGE_SIZE)
			return FALSE;
		memcpy(text_r->challenge, octets->data, octets->used);
		text_r->has_challenge = TRUE;
		words++;
	}
	if (*words != NULL) {
		if (strncmp(*words, "ACK=", 4) != 0 ||
		    !parse_acks(*words + 4, text_r))
			return FALSE;
		words++;
	}
	return *words == NULL;
}

bool outband_udp_login_split(const char *login, char separator,
			     unsigned int idx, const char **user_r,
			     const char **device_r)
{
	const char *p;
	char c;

	/* only an id, which has none of the characters that separate */
	if (pimap_device_id_is_valid(login)) {
		*user_r = "";
		*device_r = login;
		return idx == 0;
	}
	if (separator != '\0') {
		return idx == 0 && pimap_device_split(login, separator, user_r,
						      device_r) > 0;
	}
	/* each of those that could be it, once */
	for (p = login; *p != '\0'; p++) {
		c = *p;
		if (!pimap_device_separator_is_valid(c) ||
		    memchr(login, c, p - login) != NULL ||
		    pimap_device_split(login, c, user_r, device_r) <= 0)
			continue;
		if (idx-- == 0)
			return TRUE;
	}
	return FALSE;
}
