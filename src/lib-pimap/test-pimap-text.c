/* SPDX-License-Identifier: LGPL-2.1-only */

#include "lib.h"
#include "str.h"
#include "unichar.h"
#include "test-common.h"
#include "pimap-text.h"

static void test_pimap_text_get_reply(void)
{
	static const struct {
		const char *text, *wanted;
	} tests[] = {
		{ "", "" },
		{ "It is \"so\" \\ <&> %s", "It is \"so\" \\ <&> %s" },
		{ "a\r\nX: y\tz\x01\x1b[1m", "a??X: y?z??[1m" },
		/* DEL, C1 (CSI), what isn't C1 any more */
		{ "a\x7f""b\xc2\x80""c\xc2\x9b""31m\xc2\x9f\xc2\xa0\xc2\xa1",
		  "a?b?c?31m?\xc2\xa0\xc2\xa1" },
		/* line and paragraph separator, the other direction, BOM */
		{ "a\xe2\x80\xa8""b\xe2\x80\xa9""c\xe2\x80\xae""d\xef\xbb\xbf",
		  "a?b?c?d?" },
		{ "\xc3\xa4 \xe4\xbd\xa0 \xf0\x9f\x98\x80",
		  "\xc3\xa4 \xe4\xbd\xa0 \xf0\x9f\x98\x80" },
		/* not UTF-8: alone, cut, too long, surrogates, above all */
		{ "\xe4 \xff\xfe", "? ??" },
		{ "x\xe4\xbd", "x??" },
		{ "\xc0\xaf\xe0\x80\xaf", "?????" },
		{ "\xed\xa0\x80", "???" },
		{ "\xf4\x90\x80\x80", "????" },
	};
	unsigned int i, max;
	const char *text, *cut;

	test_begin("pimap_text_get_reply()");
	test_assert(pimap_text_get_reply(NULL, 100) == NULL);
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		text = pimap_text_get_reply(tests[i].text, 1000);
		test_assert_strcmp_idx(text, tests[i].wanted, i);
		/* again it is the same */
		test_assert_strcmp_idx(pimap_text_get_reply(text, strlen(text) + 3),
				       text, i);
		/* wherever it is cut */
		for (max = 3; max < strlen(text); max++) {
			cut = pimap_text_get_reply(tests[i].text, max);
			test_assert_idx(strlen(cut) <= max, i);
			test_assert_idx(strlen(cut) + 4 > max, i);
			test_assert_idx(uni_utf8_str_is_valid(cut), i);
			test_assert_idx(strcmp(cut + strlen(cut) - 3, "...") == 0, i);
			test_assert_idx(strncmp(cut, text, strlen(cut) - 3) == 0, i);
		}
	}
	test_assert_strcmp(pimap_text_get_reply("abcdef", 6), "abcdef");
	test_assert_strcmp(pimap_text_get_reply("abcdefg", 6), "abc...");
	test_assert_strcmp(pimap_text_get_reply("ab\xc3\xa4""cdef", 6), "ab...");
	test_assert_strcmp(pimap_text_get_reply("abcd", 3), "...");
	test_end();
}

static void test_pimap_text_append_clean(void)
{
	static const struct {
		const char *text, *wanted;
	} tests[] = {
		{ " a\r\n\tb \x7f\xc2\x9b c\x01 ", "a b c" },
		{ "a\xe2\x80\xae""b\xe2\x80\x8b\xef\xbb\xbf""c", "abc" },
		{ "a\xff b\xc3", "a\xef\xbf\xbd b\xef\xbf\xbd" },
	};
	string_t *dest = t_str_new(64);
	unsigned int i;

	test_begin("pimap_text_append_clean()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		str_truncate(dest, 0);
		str_append(dest, "x ");
		pimap_text_append_clean(dest, tests[i].text, 100);
		test_assert_strcmp_idx(str_c(dest) + 2, tests[i].wanted, i);
	}
	str_truncate(dest, 0);
	pimap_text_append_clean(dest, "ab \xc3\xa4", 4);
	test_assert_strcmp(str_c(dest), "ab");
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_text_get_reply,
		test_pimap_text_append_clean,
		NULL
	};
	return test_run(test_functions);
}
