/* SPDX-License-Identifier: LGPL-2.1-only */
/* The encodings of short messages (3GPP TS 23.038). The gateway encodes: this tells
   which one it has to use, and what fits. */

#include "lib.h"
#include "unichar.h"
#include "sms-text.h"

/* beside the printable characters of ASCII that are the same ones */
static const unichar_t gsm_others[] = {
	0x0a, 0x0d, 0xa1, 0xa3, 0xa4, 0xa5, 0xa7, 0xbf, 0xc4, 0xc5, 0xc6, 0xc7,
	0xc9, 0xd1, 0xd6, 0xd8, 0xdc, 0xdf, 0xe0, 0xe4, 0xe5, 0xe6, 0xe8, 0xe9,
	0xec, 0xf1, 0xf2, 0xf6, 0xf8, 0xf9, 0xfc, 0x393, 0x394, 0x398, 0x39b,
	0x39e, 0x3a0, 0x3a3, 0x3a6, 0x3a8, 0x3a9
};

/* How many septets a character takes, 0 = it isn't there */
static unsigned int gsm_septets(unichar_t chr)
{
	unsigned int i;

	if (chr >= 0x20 && chr < 0x7f && chr != '`')
		return strchr("^{}\\[~]|", (int)chr) != NULL ? 2 : 1;
	if (chr == 0x20ac)
		return 2;
	for (i = 0; i < N_ELEMENTS(gsm_others); i++) {
		if (gsm_others[i] == chr)
			return 1;
	}
	return 0;
}

bool sms_text_is_gsm(const char *text)
{
	unichar_t chr;
	int ret;

	for (; *text != '\0'; text += ret) {
		ret = uni_utf8_get_char(text, &chr);
		if (ret <= 0 || gsm_septets(chr) == 0)
			return FALSE;
	}
	return TRUE;
}

size_t sms_text_measure(const char *text)
{
	size_t septets = 0, units = 0;
	unsigned int count;
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
		count = gsm_septets(chr);
		if (count == 0)
			gsm = FALSE;
		septets += count;
		units += chr >= 0x10000 ? 2 : 1;
	}
	return gsm ? septets : units * 16 / 7;
}
