/* SPDX-License-Identifier: LGPL-2.1-only */
/* The encodings of short messages (3GPP TS 23.038). The gateway encodes: this tells
   which one it has to use, and what fits. */

#include "lib.h"
#include "buffer.h"
#include "unichar.h"
#include "sms-text.h"

#define GSM_ESCAPE 0x1b

/* by their codes */
static const unichar_t gsm_basic[128] = {
	'@', 0xa3, '$', 0xa5, 0xe8, 0xe9, 0xf9, 0xec,
	0xf2, 0xc7, 0x0a, 0xd8, 0xf8, 0x0d, 0xc5, 0xe5,
	0x394, '_', 0x3a6, 0x393, 0x39b, 0x3a9, 0x3a0, 0x3a8,
	0x3a3, 0x398, 0x39e, 0, 0xc6, 0xe6, 0xdf, 0xc9,
	' ', '!', '"', '#', 0xa4, '%', '&', '\'',
	'(', ')', '*', '+', ',', '-', '.', '/',
	'0', '1', '2', '3', '4', '5', '6', '7',
	'8', '9', ':', ';', '<', '=', '>', '?',
	0xa1, 'A', 'B', 'C', 'D', 'E', 'F', 'G',
	'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O',
	'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W',
	'X', 'Y', 'Z', 0xc4, 0xd6, 0xd1, 0xdc, 0xa7,
	0xbf, 'a', 'b', 'c', 'd', 'e', 'f', 'g',
	'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o',
	'p', 'q', 'r', 's', 't', 'u', 'v', 'w',
	'x', 'y', 'z', 0xe4, 0xf6, 0xf1, 0xfc, 0xe0
};

/* behind the escape */
static const struct {
	unichar_t chr;
	unsigned char code;
} gsm_extension[] = {
	{ '^', 0x14 }, { '{', 0x28 }, { '}', 0x29 }, { '\\', 0x2f },
	{ '[', 0x3c }, { '~', 0x3d }, { ']', 0x3e }, { '|', 0x40 },
	{ 0x20ac, 0x65 }
};

/* How many septets a character takes, 0 = it isn't there; their codes */
static unsigned int gsm_septets(unichar_t chr, unsigned char codes_r[2])
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(gsm_basic); i++) {
		if (gsm_basic[i] == chr && chr != 0) {
			codes_r[0] = i;
			return 1;
		}
	}
	for (i = 0; i < N_ELEMENTS(gsm_extension); i++) {
		if (gsm_extension[i].chr == chr) {
			codes_r[0] = GSM_ESCAPE;
			codes_r[1] = gsm_extension[i].code;
			return 2;
		}
	}
	return 0;
}

bool sms_text_is_gsm(const char *text)
{
	unsigned char codes[2];
	unichar_t chr;
	int ret;

	for (; *text != '\0'; text += ret) {
		ret = uni_utf8_get_char(text, &chr);
		if (ret <= 0 || gsm_septets(chr, codes) == 0)
			return FALSE;
	}
	return TRUE;
}

void sms_text_append_gsm(buffer_t *dest, const char *text)
{
	unsigned char codes[2];
	unichar_t chr;
	int ret;

	for (; *text != '\0'; text += ret) {
		ret = uni_utf8_get_char(text, &chr);
		i_assert(ret > 0);
		buffer_append(dest, codes, gsm_septets(chr, codes));
	}
}

size_t sms_text_measure(const char *text)
{
	size_t septets = 0, units = 0;
	unsigned int count;
	unsigned char codes[2];
	bool gsm = TRUE;
	unichar_t chr;
	int ret;

	for (; *text != '\0'; text += ret) {
		ret = uni_utf8_get_char(text, &chr);
		if (ret <= 0) {
			/* what isn't a character becomes one */
			chr = UNICODE_REPLACEMENT_CHAR;
			ret = 1;
		}
		count = gsm_septets(chr, codes);
		if (count == 0)
			gsm = FALSE;
		septets += count;
		units += chr >= 0x10000 ? 2 : 1;
	}
	return gsm ? septets : units * 16 / 7;
}
