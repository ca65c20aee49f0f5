/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "strescape.h"
#include "unichar.h"
#include "test-common.h"
#include "outband-store.h"
#include "outband-payload.h"

static void test_outband_payload_emn(void)
{
	static const struct {
		const char *user, *folder;
		time_t when;
		const char *emn;
	} tests[] = {
		/* R-13.2's own */
		{ "joe@foo.com", "INBOX", 1077259200,
		  "<emn mailbox=\"mailat:joe@foo.com\" "
		  "timestamp=\"2004-02-20T06:40:00Z\"></emn>" },
		{ "joe@foo.com", "inbox", 0,
		  "<emn mailbox=\"mailat:joe@foo.com\" "
		  "timestamp=\"1970-01-01T00:00:00Z\"></emn>" },
		{ "joe", "Lists/R & <D>", 951782399,
		  "<emn mailbox=\"mailat:joe/Lists/R &amp; &lt;D&gt;\" "
		  "timestamp=\"2000-02-28T23:59:59Z\"></emn>" },
		{ "joe", "\"a\tb\nc\rd\001\177", 253402300799,
		  "<emn mailbox=\"mailat:joe/&quot;a&#9;b&#10;c&#13;d"
		  "\xEF\xBF\xBD\xEF\xBF\xBD\" "
		  "timestamp=\"9999-12-31T23:59:59Z\"></emn>" },
		{ "joe", "Entw\xC3\xBCrfe", 253402300800,
		  "<emn mailbox=\"mailat:joe/Entw\xC3\xBCrfe\" "
		  "timestamp=\"1970-01-01T00:00:00Z\"></emn>" },
		{ "joe", "a\xFFz", 0,
		  "<emn mailbox=\"mailat:joe/a\xEF\xBF\xBDz\" "
		  "timestamp=\"1970-01-01T00:00:00Z\"></emn>" },
		/* no characters of XML, and controls of two bytes */
		{ "joe", "a\xC2\x85" "b\xEF\xBF\xBE" "c\xEF\xBF\xBF"
		  "d\xC2\xA0\xEF\xBF\xBC", 0,
		  "<emn mailbox=\"mailat:joe/a\xEF\xBF\xBD" "b\xEF\xBF\xBD"
		  "c\xEF\xBF\xBD" "d\xC2\xA0\xEF\xBF\xBC\" "
		  "timestamp=\"1970-01-01T00:00:00Z\"></emn>" },
	};
	string_t *str = t_str_new(128);
	unsigned int i;

	test_begin("outband_payload_emn()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		str_truncate(str, 0);
		outband_payload_emn(str, outband_payload_account(
			tests[i].user, tests[i].folder), tests[i].when);
		test_assert_strcmp_idx(str_c(str), tests[i].emn, i);
	}
	test_end();
}

static bool test_begins_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void
test_row(struct outband_row *row_r, string_t *fields, const char *sender,
	 const char *subject, const char *body)
{
	i_zero(row_r);
	row_r->user = "joe@foo.com";
	row_r->folder = "INBOX";
	row_r->format = "EXTENDED";
	row_r->seq = 7;
	row_r->event.name = "NEW_MESSAGE";
	row_r->event.uid = 5;
	row_r->event.time = 1077259200;
	row_r->fields_allowed = TRUE;
	str_truncate(fields, 0);
	str_append_tabescaped(fields, sender == NULL ? "" : sender);
	str_append_c(fields, '\t');
	str_append_tabescaped(fields, subject == NULL ? "" : subject);
	if (body != NULL) {
		str_append_c(fields, '\t');
		str_append_tabescaped(fields, body);
	}
	row_r->event.fields = str_c(fields);
}

static void test_outband_payload_extended(void)
{
	static const struct {
		const char *folder, *event;
		uint32_t uid;
		time_t time;
		/* before they are escaped */
		const char *sender, *subject, *body;
		const char *payload;
	} tests[] = {
		{ "INBOX", "NEW_MESSAGE", 5, 1077259200, "Ann <ann@peer.example>",
		  "Hello", NULL, "joe@foo.com NEW_MESSAGE 5 \"Ann <ann@peer.example>\" "
		  "\"20-Feb-2004\" \"06:40:00\" \"Hello\"" },
		{ "Work", "NEW_MESSAGE", 5, 0, "a@b", "Hello", "Some text",
		  "joe@foo.com/Work NEW_MESSAGE 5 \"a@b\" \"01-Jan-1970\" "
		  "\"00:00:00\" \"Hello\" \"Some text\"" },
		{ "INBOX", "NEW_MESSAGE", 4294967295, 0, NULL, NULL, NULL,
		  "joe@foo.com NEW_MESSAGE 4294967295 NIL \"01-Jan-1970\" "
		  "\"00:00:00\" NIL" },
		{ "INBOX", "NEW_MESSAGE", 1, 253402300800, "", "", "x",
		  "joe@foo.com NEW_MESSAGE 1 NIL \"01-Jan-1970\" \"00:00:00\" NIL \"x\"" },
		{ "INBOX", "SYNC", 0, 5, NULL, NULL, NULL, "joe@foo.com SYNC" },
		{ "INBOX", "LOCK_DOWN", 0, 5, NULL, NULL, NULL,
		  "joe@foo.com LOCK_DOWN" },
		{ "R & D (\"x\\y\")", "SYNC", 0, 5, NULL, NULL, NULL,
		  "\"joe@foo.com/R & D (\\\"x\\\\y\\\")\" SYNC" },
		{ "Entw\xC3\xBCrfe", "SYNC", 0, 5, NULL, NULL, NULL,
		  "\"joe@foo.com/Entw\xC3\xBCrfe\" SYNC" },
		{ "a\r\n* 1 EXISTS\t\x7f\xff\xC2\x85\xE2\x80\xA8", "SYNC", 0, 5,
		  NULL, NULL, NULL, "\"joe@foo.com/a\xEF\xBF\xBD\xEF\xBF\xBD"
		  "* 1 EXISTS\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
		  "\xEF\xBF\xBD\" SYNC" },
		{ "INBOX", "NEW_MESSAGE", 1, 0, "NIL", "NIL", NULL,
		  "joe@foo.com NEW_MESSAGE 1 \"NIL\" \"01-Jan-1970\" \"00:00:00\" "
		  "\"NIL\"" },
	};
	string_t *str = t_str_new(128), *fields = t_str_new(128);
	struct outband_row row;
	unsigned int i;

	test_begin("outband_payload_extended()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_row(&row, fields, tests[i].sender, tests[i].subject,
			 tests[i].body);
		row.folder = tests[i].folder;
		row.event.name = tests[i].event;
		row.event.uid = tests[i].uid;
		row.event.time = tests[i].time;
		str_truncate(str, 0);
		outband_payload_append(str, &row);
		test_assert_strcmp_idx(str_c(str), t_strconcat(
			"_%$P-IMAP$%_ 7 ", tests[i].payload, NULL), i);
		test_assert_strcmp_idx(outband_payload_type(str_c(str)),
				       "text/plain", i);

		/* */
		row.fields_allowed = FALSE;
		str_truncate(str, 0);
		outband_payload_append(str, &row);
		test_assert_idx(tests[i].subject == NULL ||
				(strstr(str_c(str), "Hello") == NULL &&
				 strstr(str_c(str), "peer") == NULL &&
				 strstr(str_c(str), "text") == NULL &&
				 strstr(str_c(str), "\"x\"") == NULL), i);
	}

	/* what can't be said otherwise */
	row.format = "EMN";
	row.event.name = "LOCK_DOWN";
	row.event.uid = 0;
	str_truncate(str, 0);
	outband_payload_append(str, &row);
	test_assert_strcmp(str_c(str), "_%$P-IMAP$%_ 7 joe@foo.com LOCK_DOWN");
	row.event.name = "SYNC";
	str_truncate(str, 0);
	outband_payload_append(str, &row);
	test_assert_strcmp(outband_payload_type(str_c(str)),
			   "text/vnd.wap.emn+xml");
	test_end();
}

/* What a device reads: atoms and quoted strings */
static const char *const *test_parse(const char *payload)
{
	ARRAY_TYPE(const_string) words;
	const char *p = payload, *text;

	t_array_init(&words, 16);
	while (*p != '\0') {
		string_t *word = t_str_new(64);

		if (*p == '"') {
			for (p++; *p != '\0' && *p != '"'; p++) {
				if (*p == '\\')
					p++;
				str_append_c(word, *p);
			}
			if (*p != '"')
				return NULL;
			p++;
		} else {
			while (*p != ' ' && *p != '\0') {
				if (*p == '"' || *p == '\\' || *p == '(')
					return NULL;
				str_append_c(word, *p++);
			}
			if (strcmp(str_c(word), "NIL") == 0)
				str_truncate(word, 0);
		}
		if (*p == ' ') {
			p++;
			if (*p == '\0')
				return NULL;
		} else if (*p != '\0')
			return NULL;
		text = str_c(word);
		array_push_back(&words, &text);
	}
	array_append_zero(&words);
	return array_front(&words);
}

static bool test_is_plain(const char *text)
{
	const unsigned char *p;

	for (p = (const unsigned char *)text; *p != '\0'; p++) {
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
			return FALSE;
	}
	return uni_utf8_str_is_valid(text);
}

static void
test_payload_cut(struct outband_row *row, const char *sender,
		 const char *subject, const char *body, size_t max,
		 unsigned int idx)
{
	const char *const *words;
	string_t *str = t_str_new(256);

	/* it is added to what is there */
	str_append(str, "x");
	row->max_size = max;
	outband_payload_append(str, row);
	str_delete(str, 0, 1);
	test_assert_idx(str_len(str) <= max, idx);
	test_assert_idx(test_is_plain(str_c(str)), idx);
	words = test_parse(str_c(str));
	test_assert_idx(words != NULL, idx);
	if (words == NULL)
		return;
	test_assert_strcmp_idx(words[0], "_%$P-IMAP$%_", idx);
	test_assert_strcmp_idx(words[1], "7", idx);
	if (str_array_length(words) == 4) {
		test_assert_idx(max < 200, idx);
		test_assert_strcmp_idx(words[3], "NEW_MESSAGE", idx);
		return;
	}
	test_assert_idx(str_array_length(words) == 9 ||
			str_array_length(words) == 10, idx);
	if (str_array_length(words) < 9)
		return;
	test_assert_strcmp_idx(words[4], "5", idx);
	test_assert_idx(test_begins_with(sender, words[5]), idx);
	test_assert_idx(test_begins_with(subject, words[8]), idx);
	if (words[9] != NULL)
		test_assert_idx(test_begins_with(body, words[9]), idx);
	/* the less important one first, and no more than must be: a blank at the
	   cut and a character that doesn't fit */
	if (strlen(words[8]) < strlen(subject))
		test_assert_idx(words[9] == NULL, idx);
	if (strlen(words[5]) < strlen(sender))
		test_assert_idx(words[8][0] == '\0', idx);
	if (words[9] != NULL && strlen(words[9]) < strlen(body))
		test_assert_idx(str_len(str) + 12 > max, idx);
}

static void test_outband_payload_subjects(void)
{
	/* as they may come from a worker, and as a device reads them; NULL: alike */
	static const char *const subjects[][2] = {
		{ "Hello", NULL },
		{ "", NULL },
		{ " ", "" },
		{ "  two  blanks  ", "two blanks" },
		{ "a\r\nTo: victim@peer.example", "a To: victim@peer.example" },
		{ "a\nb", "a b" },
		{ "a\rb", "a b" },
		{ "a\tb", "a b" },
		{ "\r\n.\r\nQUIT\r\n", ". QUIT" },
		{ "a\001b\033[1mc\177", "a b [1mc" },
		{ "\001", "" },
		{ "a\xC2\x80z\xC2\x9Fy", "a z y" },
		{ "a\xC2\xA0z", "a z" },
		{ "line\xE2\x80\xA8sep\xE2\x80\xA9par", "line sep par" },
		{ "a\"b", NULL },
		{ "\"", NULL },
		{ "\\", NULL },
		{ "a\\", NULL },
		{ "\"quoted\" \\ end\\\"", NULL },
		{ "x\" \"y", NULL },
		{ "NIL", NULL },
		{ "{5}", NULL },
		{ "(a b)", NULL },
		{ "%s%n%d%%", NULL },
		{ "_%$P-IMAP$%_ 7 joe", NULL },
		{ "\" _%$P-IMAP$%_ 8 joe NEW_MESSAGE", NULL },
		{ "<emn mailbox=\"x\">&amp;</emn>", NULL },
		{ "]]>", NULL },
		{ "a&b<c>d'e", NULL },
		{ "$(id) `id` ; | &", NULL },
		{ "../../etc/passwd", NULL },
		{ "\xC3\xBC\xC3\xA4\xC3\xB6", NULL },
		{ "\xF0\x9F\x98\x80", NULL },
		/* a family, with joiners; a flag; a heart */
		{ "\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9", NULL },
		{ "\xF0\x9F\x87\xA9\xF0\x9F\x87\xAA", NULL },
		{ "\xE2\x9D\xA4\xEF\xB8\x8F", NULL },
		/* Hebrew, Arabic, Chinese */
		{ "\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D", NULL },
		{ "\xD8\xB3\xD9\x84\xD8\xA7\xD9\x85", NULL },
		{ "\xE4\xBD\xA0\xE5\xA5\xBD", NULL },
		/* what turns the direction, and what isn't seen */
		{ "pay\xE2\x80\xAEgnp.exe", "paygnp.exe" },
		{ "a\xE2\x81\xA6z\xE2\x81\xA9", "az" },
		{ "a\xE2\x80\x8E\xE2\x80\x8Fz", "az" },
		{ "\xEF\xBB\xBFmark", "mark" },
		{ "zero\xE2\x80\x8Bwidth", "zerowidth" },
		{ "\xF3\xA0\x80\x81tag", "tag" },
		{ "e\xCC\x81", NULL },
		/* not UTF-8 */
		{ "caf\xE9", "caf\xEF\xBF\xBD" },
		{ "\xFF\xFE", "\xEF\xBF\xBD" },
		{ "\xC3", "\xEF\xBF\xBD" },
		{ "\xC0\xAF", "\xEF\xBF\xBD" },
		{ "\xED\xA0\x80", "\xEF\xBF\xBD" },
		{ "\xF4\x90\x80\x80", "\xEF\xBF\xBD" },
		{ "\xE2\x82", "\xEF\xBF\xBD" },
	};
	static const size_t sizes[] = {
		SIZE_MAX, 10000, 3993, 1000, 500, 200
	};
	struct outband_row row;
	string_t *fields = str_new(default_pool, 128);
	string_t *str = str_new(default_pool, 128);
	string_t *body = str_new(default_pool, 20000);
	const char *const *words, *expected;
	unsigned int i, j;
	size_t max;

	test_begin("outband_payload_extended() subjects");
	test_assert(N_ELEMENTS(subjects) >= 50);
	for (i = 0; i < N_ELEMENTS(subjects); i++) T_BEGIN {
		expected = subjects[i][1] != NULL ? subjects[i][1] :
			subjects[i][0];
		test_row(&row, fields, "a@b", subjects[i][0], NULL);
		str_truncate(str, 0);
		outband_payload_append(str, &row);
		test_assert_idx(test_is_plain(str_c(str)), i);
		words = test_parse(str_c(str));
		test_assert_idx(words != NULL && str_array_length(words) == 9,
				i);
		if (words != NULL && str_array_length(words) == 9)
			test_assert_strcmp_idx(words[8], expected, i);

		/* 10,000 characters of it, cut anywhere */
		str_truncate(body, 0);
		while (expected[0] != '\0' && str_len(body) < 10000) {
			str_append(body, expected);
			str_append_c(body, 'x');
		}
		for (j = 0; j < N_ELEMENTS(sizes); j++) {
			test_row(&row, fields, "Ann <ann@peer.example>",
				 str_c(body), str_c(body));
			test_payload_cut(&row, "Ann <ann@peer.example>",
					 str_c(body), str_c(body), sizes[j], i);
		}
		test_row(&row, fields, expected, expected, str_c(body));
		for (max = 60; max < 300; max++) T_BEGIN {
			test_payload_cut(&row, expected, expected,
					 str_c(body), max, i);
		} T_END;
	} T_END;
	str_free(&fields);
	str_free(&str);
	str_free(&body);
	test_end();
}

static void test_outband_payload_long_folder(void)
{
	struct outband_row row;
	string_t *fields = t_str_new(16), *str = t_str_new(128);
	string_t *folder = t_str_new(5000);

	test_begin("outband_payload_append() long folder");
	while (str_len(folder) < 4000)
		str_append(folder, "\xC3\xBC");
	test_row(&row, fields, "a@b", "c", "d");
	row.folder = str_c(folder);
	row.max_size = 3993;
	outband_payload_append(str, &row);
	test_assert_strcmp(str_c(str), "_%$P-IMAP$%_ 7 joe@foo.com FULL_SYNC");
	row.format = "EMN";
	str_truncate(str, 0);
	outband_payload_append(str, &row);
	test_assert_strcmp(str_c(str), "<emn mailbox=\"mailat:joe@foo.com\" "
			   "timestamp=\"2004-02-20T06:40:00Z\"></emn>");
	/* without fields it fits */
	row.format = "EXTENDED";
	row.max_size = str_len(folder) + 50;
	str_truncate(str, 0);
	outband_payload_append(str, &row);
	test_assert_strcmp(str_c(str), t_strconcat("_%$P-IMAP$%_ 7 \"joe@foo.com/",
		str_c(folder), "\" NEW_MESSAGE", NULL));
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_outband_payload_emn,
		test_outband_payload_extended,
		test_outband_payload_subjects,
		test_outband_payload_long_folder,
		NULL
	};
	return test_run(test_functions);
}
