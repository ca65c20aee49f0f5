/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "str.h"
#include "unichar.h"
#include "test-common.h"
#include "outband-store.h"
#include "outband-payload.h"
#include "sms-text.h"

static void test_sms_text_measure(void)
{
	static const struct {
		const char *text;
		bool gsm;
		size_t septets;
	} tests[] = {
		{ "", TRUE, 0 },
		{ "Hello @ 5$_%", TRUE, 12 },
		{ "<emn mailbox=\"mailat:joe@foo.com\"></emn>", TRUE, 40 },
		/* the extension's take two */
		{ "[a]", TRUE, 5 },
		{ "{}\\^~|[]", TRUE, 16 },
		{ "\xE2\x82\xAC", TRUE, 2 },
		{ "\xC3\xA4\xC3\xB6\xC3\xBC\xC3\x9F", TRUE, 4 },
		{ "\xCE\xA9", TRUE, 1 },
		/* not there */
		{ "`", FALSE, 2 },
		{ "\t", FALSE, 2 },
		{ "\x7f", FALSE, 2 },
		{ "\xC3\xA1", FALSE, 2 },
		{ "\xCE\xB1", FALSE, 2 },
		{ "abcdef\xC5\x82", FALSE, 16 },
		{ "\xF0\x9F\x98\x80", FALSE, 4 },
		/* no UTF-8 */
		{ "\xff", FALSE, 2 },
		{ "\xE2\x82", FALSE, 4 },
	};
	unsigned int i;

	test_begin("measure of short messages");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(sms_text_is_gsm(tests[i].text) == tests[i].gsm,
				i);
		test_assert_idx(sms_text_measure(tests[i].text) ==
				tests[i].septets, i);
	}
	test_end();
}

/* A code in each octet, of all that are in the alphabet */
static void test_sms_text_append_gsm(void)
{
	static const unsigned char others[] = {
		0x01, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c,
		0x0d, 0x0e, 0x0f, 0x10, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
		0x19, 0x1a, 0x1c, 0x1d, 0x1e, 0x1f, 0x24, 0x40, 0x5b, 0x5c, 0x5d,
		0x5e, 0x5f, 0x60, 0x7b, 0x7c, 0x7d, 0x7e, 0x7f
	};
	static const char ascii[] = "@$_ 09AZaz[]{}\\^~|";
	static const char octets[] =
		"\0\002\021 09AZaz\033<\033>\033(\033)\033/\033\024\033=\033@";
	buffer_t *dest = t_buffer_create(128);

	test_begin("short messages in GSM 03.38's alphabet");
	sms_text_append_gsm(dest, ascii);
	test_assert(dest->used == sizeof(octets) - 1 &&
		    memcmp(dest->data, octets, dest->used) == 0);
	buffer_set_used_size(dest, 0);
	sms_text_append_gsm(dest, "£¥èéùìòÇ\nØø\rÅåΔΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà");
	test_assert(dest->used == sizeof(others) &&
		    memcmp(dest->data, others, dest->used) == 0);
	buffer_set_used_size(dest, 0);
	sms_text_append_gsm(dest, "€");
	test_assert(dest->used == 2 && memcmp(dest->data, "\033e", 2) == 0);
	test_end();
}

/* So many characters that aren't in the alphabet fill so many parts. */
static void test_sms_text_units(void)
{
	string_t *text = t_str_new(4096);
	unsigned int parts, units, max;

	test_begin("measure of short messages in UCS-2");
	for (parts = 1; parts <= SMS_TEXT_MAX_PARTS; parts++) {
		units = parts == 1 ? 70 : 67 * parts;
		max = parts == 1 ? SMS_TEXT_SEPTETS :
			SMS_TEXT_PART_SEPTETS * parts;
		str_truncate(text, 0);
		while (str_len(text) < units * 2)
			str_append(text, "\xC5\x82");
		test_assert_idx(sms_text_measure(str_c(text)) <= max, parts);
		str_append_c(text, 'a');
		test_assert_idx(sms_text_measure(str_c(text)) > max, parts);
	}
	test_end();
}

static size_t test_count_utf16(const char *text)
{
	size_t units = 0;

	for (; *text != '\0'; text++) {
		if (((unsigned char)*text & 0xc0) != 0x80)
			units += (unsigned char)*text >= 0xf0 ? 2 : 1;
	}
	return units;
}

/* A notification of a long subject fills the message, and not more. */
static void test_sms_text_payload(void)
{
	static const char *const chars[] = {
		"a", "[", "\xC3\xA4", "\xC5\x82", "\xF0\x9F\x98\x80"
	};
	struct outband_row row;
	string_t *fields, *text;
	unsigned int i, j, before;
	size_t size;

	test_begin("notifications as short messages");
	i_zero(&row);
	row.user = "joe@example.com";
	row.folder = "INBOX";
	row.seq = 7;
	row.event.name = "NEW_MESSAGE";
	row.event.uid = 5;
	row.event.time = 1077259200;
	row.format = "EXTENDED";
	row.max_size = SMS_TEXT_SEPTETS;
	row.measure = sms_text_measure;
	row.fields_allowed = TRUE;
	for (i = 0; i < N_ELEMENTS(chars); i++)
	for (before = 0; before < 100; before++) T_BEGIN {
		fields = t_str_new(1024);
		text = t_str_new(256);
		str_append(fields, "Joe <joe@example.com>\t");
		for (j = 0; j < before; j++)
			str_append_c(fields, 'x');
		for (j = 0; j < 200; j++)
			str_append(fields, chars[i]);
		str_append(fields, "\tbody");
		row.event.fields = str_c(fields);
		outband_payload_append(text, &row);
		test_assert_idx(uni_utf8_str_is_valid(str_c(text)), before);
		test_assert_idx(strstr(str_c(text), "\"Joe <") != NULL, before);
		size = sms_text_measure(str_c(text));
		test_assert_idx(size <= SMS_TEXT_SEPTETS, before);
		if (sms_text_is_gsm(str_c(text))) {
			/* one more character doesn't fit; where that is one
			   that isn't in the alphabet, there is more room left */
			test_assert_idx(size >= SMS_TEXT_SEPTETS - 1 || i >= 3,
					before);
		} else {
			test_assert_idx(test_count_utf16(str_c(text)) >= 69,
					before);
		}
	} T_END;
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_sms_text_measure,
		test_sms_text_append_gsm,
		test_sms_text_units,
		test_sms_text_payload,
		NULL
	};
	return test_run(test_functions);
}
