/* SPDX-License-Identifier: LGPL-2.1-only */
/* Criteria made at random, of every key and in many charsets. PIMAP_SEED and
   PIMAP_COUNT are other ones, and more or less of them. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "istream.h"
#include "ioloop.h"
#include "imap-arg.h"
#include "imap-parser.h"
#include "mail-search.h"
#include "mail-search-build.h"
#include "mail-search-parser.h"
#include "mail-search-register.h"
#include "test-common.h"
#include "pimap-compat.h"
#include "pimap-settings.h"
#include "pimap-criteria.h"

#include <iconv.h>
#include <stdlib.h>
#include <time.h>

static const struct pimap_settings test_set = {
	.pimap_timezone = "",
	.pimap_max_filter_size = 8*1024,
	.pimap_max_filter_nesting = 32,
};

static uint64_t test_random_state;

static unsigned int test_random(unsigned int limit)
{
	test_random_state = test_random_state * 6364136223846793005U +
		1442695040888963407U;
	return (test_random_state >> 33) % limit;
}

#define TEST_PICK(array) ((array)[test_random(N_ELEMENTS(array))])

/* The charsets, and words that they have; all have ASCII. */
static const struct test_charset {
	const char *name;
	const char *words[4];
} test_charsets[] = {
	{ "UTF-8", { "\xc3\xa9t\xc3\xa9", "\xe2\x82\xac \xf0\x9f\x98\x80",
		     "\xd0\x9f\xd1\x80\xd0\xb8", "\xe6\x97\xa5\xe6\x9c\xac" } },
	{ "US-ASCII", { "x", "Re: x", "a.b", "~" } },
	{ "ISO-8859-1", { "\xc3\xa9t\xc3\xa9", "\xc3\x9f", "\xc2\xa0", "\xc3\xbc x" } },
	{ "KOI8-R", { "\xd0\x9f\xd1\x80\xd0\xb8", "\xd0\xb0", "\xd0\xaf \xd1\x8e", "x" } },
	{ "ISO-2022-JP", { "\xe6\x97\xa5\xe6\x9c\xac", "\xe3\x81\x82",
			   "a \xe3\x82\xa2 b", "\xe8\xa1\xa8" } },
	/* octets with a meaning in IMAP within a character */
	{ "SHIFT_JIS", { "\xe8\xa1\xa8\xe7\xa4\xba", "\xe3\x82\xbd", "\xe8\x83\xbd x",
			 "\xe5\x8d\x81" } },
	{ "GB18030", { "\xe6\x97\xa5\xe6\x9c\xac", "\xf0\x9f\x98\x80", "\xe4\xb8\x82",
		       "\xc3\xa9" } },
	{ "BIG5", { "\xe8\xa8\xb1", "\xe5\x8a\x9f\xe8\x93\x8b", "\xe4\xb8\x80", "x" } },
	/* where ASCII's octets aren't always ASCII */
	{ "UTF-7", { "\xc3\xa9t\xc3\xa9", "a+b", "\xe2\x82\xac", "\xe6\x97\xa5 x" } },
};

/* What is between what needs no quotes and what may stand in no quotes */
static const char *const test_words[] = {
	"a", "hello", "two words", "", " ", "NIL", "nil", "ALL", "OR", "NOT", "(",
	")", "(ALL)", "\"", "\\", "a\\\"b", "\"\"\"\"\"\"\"\"", "*", "%", "]", "[",
	"{3}", "{3+}", "{", "a\r\nb", "\r\n", "\n", "\r", "\t", "\x01\x7f", "$",
	"1:*", "DAYSBEFORETODAY", "a&b", "&-", "+", "~", "a@b.example", "0", "-1",
};
/* Dovecot takes these as they are, in whatever charset. */
static const char *const test_ascii[] = {
	"text", "TEXT", "nil", "two words", "", "a\"b", "$Label", "*", "(", "{1}",
	"a\r\nb",
};
/* We too take these so. */
static const char *const test_names[] = {
	"\\Seen", "$Label", "a+b", "a+AOQ-", "nil", "", "two words", "~", "a\r\nb",
	"\xc3\xa9",
};
static const char *const test_dates[] = {
	"1-Jan-1970", "01-Jan-1980", "29-Feb-2024", "31-Dec-2037", " 1-Mar-2020",
	"13-Dec-1901", "1-jan-2040",
};
static const char *const test_numbers[] = {
	"1", "00", "42", "4294967295", "65536", "007",
};

/* A wire's text */
static const struct test_charset *test_charset;
static string_t *test_line;

static void test_add(const char *str)
{
	size_t len = str_len(test_line);

	if (len > 0 && str_c(test_line)[len-1] != '(')
		str_append_c(test_line, ' ');
	str_append(test_line, str);
}

static void test_encode(const char *utf8, buffer_t *dest)
{
	unsigned char buf[512];
	iconv_t cd = iconv_open(test_charset->name, "UTF-8");
	char *in = t_strdup_noconst(utf8), *out = (char *)buf;
	size_t in_left = strlen(utf8), out_left = sizeof(buf);

	if (cd == (iconv_t)-1)
		i_fatal("no charset %s", test_charset->name);
	if (iconv(cd, &in, &in_left, &out, &out_left) == (size_t)-1 ||
	    iconv(cd, NULL, NULL, &out, &out_left) == (size_t)-1)
		i_fatal("%s isn't in %s", utf8, test_charset->name);
	iconv_close(cd);
	buffer_append(dest, buf, sizeof(buf) - out_left);
}

/* As an atom, quoted or a literal, where these can be */
static void test_add_octets(const buffer_t *octets)
{
	const unsigned char *data = octets->data;
	bool atom = octets->used > 0, quoted = TRUE;
	size_t i;

	for (i = 0; i < octets->used; i++) {
		if (data[i] <= ' ' || data[i] >= 0x7f ||
		    strchr("(){%*\"\\", data[i]) != NULL)
			atom = FALSE;
		if (data[i] == '\r' || data[i] == '\n' || data[i] >= 0x80)
			quoted = FALSE;
	}
	test_add("");
	if (atom && test_random(2) == 0)
		buffer_append(test_line, data, octets->used);
	else if (quoted && test_random(3) > 0) {
		str_append_c(test_line, '"');
		for (i = 0; i < octets->used; i++) {
			if (data[i] == '"' || data[i] == '\\')
				str_append_c(test_line, '\\');
			str_append_c(test_line, data[i]);
		}
		str_append_c(test_line, '"');
	} else {
		str_printfa(test_line, "{%zu}\r\n", octets->used);
		buffer_append(test_line, data, octets->used);
	}
}

static void test_add_string(const char *utf8)
{
	buffer_t *octets = t_buffer_create(64);

	test_encode(utf8, octets);
	test_add_octets(octets);
}

static void test_add_word(void)
{
	test_add_string(test_random(2) == 0 ? TEST_PICK(test_words) :
			TEST_PICK(test_charset->words));
}

static void test_add_as_is(const char *str)
{
	buffer_t *octets = t_buffer_create(64);

	buffer_append(octets, str, strlen(str));
	test_add_octets(octets);
}

static void test_add_mime(unsigned int depth)
{
	static const char *const strings[] = {
		"DESCRIPTION", "ENCODING", "ID", "LANGUAGE", "LOCATION", "MD5",
		"TYPE", "SUBTYPE", "BCC", "CC", "FROM", "IN-REPLY-TO",
		"MESSAGE-ID", "REPLY-TO", "SENDER", "SUBJECT", "TO",
		"DISPOSITION TYPE",
	};
	static const char *const numbers[] = {
		"SIZE LARGER", "SIZE SMALLER", "DEPTH MIN", "DEPTH MAX", "INDEX",
	};
	static const char *const names[] = {
		"FILENAME IS", "FILENAME CONTAINS", "FILENAME BEGINS",
	};
	static const char *const others[] = {
		"SIZE 7", "DEPTH 0", "CHILD EXISTS", "PARENT EXISTS",
		"CHILD NOT EXISTS",
	};
	unsigned int i;

	switch (test_random(depth > 4 ? 4 : 7)) {
	case 0:
		test_add(TEST_PICK(strings));
		test_add_as_is(TEST_PICK(test_ascii));
		break;
	case 1:
		test_add(TEST_PICK(numbers));
		test_add(TEST_PICK(test_numbers));
		break;
	case 2:
		test_add(TEST_PICK(names));
		test_add_word();
		break;
	case 3:
		test_add(TEST_PICK(others));
		break;
	case 4:
		test_add("NOT");
		test_add_mime(depth + 1);
		break;
	case 5:
		test_add("OR");
		test_add_mime(depth + 1);
		test_add_mime(depth + 1);
		break;
	default:
		test_add("(");
		for (i = test_random(3) + 1; i > 0; i--)
			test_add_mime(depth + 1);
		str_append_c(test_line, ')');
		break;
	}
}

static void test_add_key(const char *key, unsigned int depth);

static const char *const *test_keys;
static unsigned int test_keys_count, *test_keys_used;
/* Dovecot doesn't know it */
static bool test_has_days;

static void test_add_any(unsigned int depth)
{
	unsigned int i, idx;

	if (depth < 8 && test_random(5) == 0) {
		test_add("(");
		for (i = test_random(3) + 1; i > 0; i--)
			test_add_any(depth + 1);
		str_append_c(test_line, ')');
		return;
	}
	do {
		idx = test_random(test_keys_count);
		/* fewer and fewer that have others inside */
	} while (depth > 8 && (strcmp(test_keys[idx], "OR") == 0 ||
			       strcmp(test_keys[idx], "NOT") == 0 ||
			       strcmp(test_keys[idx], "FUZZY") == 0));
	test_keys_used[idx]++;
	test_add_key(test_keys[idx], depth);
}

static void test_add_key(const char *key, unsigned int depth)
{
	static const char *const dates[] = {
		"BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE",
		"SAVEDBEFORE", "SAVEDON", "SAVEDSINCE", "X-SAVEDBEFORE",
		"X-SAVEDON", "X-SAVEDSINCE", NULL
	};
	static const char *const numbers[] = {
		"LARGER", "SMALLER", "OLDER", "YOUNGER", NULL
	};
	static const char *const strings[] = {
		"BCC", "CC", "FROM", "TO", "SUBJECT", "BODY", "TEXT", NULL
	};
	static const char *const names[] = {
		"KEYWORD", "UNKEYWORD", "X-GUID", NULL
	};
	static const char *const flags[] = {
		"ALL", "ANSWERED", "UNANSWERED", "DELETED", "UNDELETED", "DRAFT",
		"UNDRAFT", "FLAGGED", "UNFLAGGED", "SEEN", "UNSEEN",
		"SAVEDATESUPPORTED", NULL
	};
	const char *number;

	test_add(test_random(4) == 0 ? t_str_lcase(key) : key);
	if (strcmp(key, "NOT") == 0 || strcmp(key, "FUZZY") == 0)
		test_add_any(depth + 1);
	else if (strcmp(key, "OR") == 0) {
		test_add_any(depth + 1);
		test_add_any(depth + 1);
	} else if (strcmp(key, "MIMEPART") == 0)
		test_add_mime(depth + 1);
	else if (strcmp(key, "HEADER") == 0) {
		test_add_word();
		test_add_word();
	} else if (strcmp(key, "X-MAILBOX") == 0)
		test_add(test_random(2) == 0 ? "INBOX" : "\"A &AOQ-/*\"");
	else if (strcmp(key, "DAYSBEFORETODAY") == 0) {
		test_add_string(TEST_PICK(test_numbers));
		test_has_days = TRUE;
	} else if (str_array_find(dates, key))
		test_add_string(TEST_PICK(test_dates));
	else if (str_array_find(numbers, key)) {
		do {
			number = TEST_PICK(test_numbers);
		} while (strcmp(number, "00") == 0);
		test_add_string(number);
	} else if (str_array_find(strings, key))
		test_add_word();
	else if (str_array_find(names, key))
		test_add_as_is(TEST_PICK(test_names));
	else if (!str_array_find(flags, key))
		i_fatal("How is %s used?", key);
}

static struct imap_parser *test_parse_line(struct istream **input_r,
					   const struct imap_arg **args_r)
{
	struct imap_parser *parser;

	str_append(test_line, "\r\n");
	*input_r = i_stream_create_from_data(str_data(test_line),
					     str_len(test_line));
	(void)i_stream_read(*input_r);
	parser = pimap_imap_parser_create(*input_r, SIZE_MAX);
	if (imap_parser_finish_line(parser, 0, 0, args_r) <= 0)
		i_fatal("unreadable: %s", str_c(test_line));
	str_truncate(test_line, str_len(test_line) - 2);
	return parser;
}

/* That what we build is what Dovecot makes of what the client sent */
static void
test_as_dovecot(const struct imap_arg *args, const struct pimap_criteria *ours)
{
	struct mail_search_parser *parser = mail_search_parser_init_imap(args);
	struct mail_search_args *theirs;
	const char *charset = test_charset->name, *error;

	if (mail_search_build(pimap_search_register_get_imap(), parser, &charset,
			      &theirs, &error) < 0)
		i_fatal("Dovecot refuses %s: %s", str_c(test_line), error);
	test_assert(mail_search_args_equal(theirs, ours->args));
	mail_search_args_unref(&theirs);
	mail_search_parser_deinit(&parser);
}

static void test_one_criteria(void)
{
	struct pimap_criteria criteria, again;
	const struct imap_arg *args;
	struct imap_parser *parser;
	struct istream *input;
	string_t *text = t_str_new(256), *text2 = t_str_new(256);
	unsigned int i;
	const char *error;

	test_charset = &TEST_PICK(test_charsets);
	test_line = t_str_new(256);
	test_has_days = FALSE;
	for (i = test_random(3) + 1; i > 0; i--)
		test_add_any(0);
	parser = test_parse_line(&input, &args);
	if (pimap_criteria_parse(&test_set, args, test_charset->name, text,
				 &error) != PIMAP_CRITERIA_OK)
		i_fatal("%s in %s: %s", str_c(test_line), test_charset->name, error);
	/* what GET answers is what SET takes, and it is that */
	if (pimap_criteria_parse_line(&test_set, str_c(text), text2,
				      &error) != PIMAP_CRITERIA_OK)
		i_fatal("%s again: %s", str_c(text), error);
	test_assert_strcmp(str_c(text), str_c(text2));
	test_assert(pimap_criteria_build(str_c(text), "", &criteria, &error) == 0);
	test_assert(pimap_criteria_build(str_c(text2), "", &again, &error) == 0);
	test_assert(mail_search_args_equal(criteria.args, again.args));
	if (!test_has_days)
		test_as_dovecot(args, &criteria);
	pimap_criteria_free(&criteria);
	pimap_criteria_free(&again);
	imap_parser_unref(&parser);
	i_stream_destroy(&input);
}

static unsigned int test_number(const char *name, unsigned int value)
{
	const char *str = getenv(name);

	if (str != NULL && str_to_uint(str, &value) < 0)
		i_fatal("%s isn't a number", name);
	return value;
}

static void test_pimap_criteria_round_trip(void)
{
	unsigned int i, seed = test_number("PIMAP_SEED", 1);
	unsigned int count = test_number("PIMAP_COUNT", 20000);

	test_begin("criteria round trip");
	ioloop_time = time(NULL);
	pimap_criteria_init();
	test_keys = (const char *const *)t_strsplit(pimap_criteria_get_keys(), " ");
	test_keys_count = str_array_length(test_keys);
	test_keys_used = t_new(unsigned int, test_keys_count);
	for (i = 0; i < count && !test_has_failed(); i++) T_BEGIN {
		test_random_state = seed * 1000003ULL + i;
		test_one_criteria();
		if (test_has_failed()) {
			i_error("PIMAP_SEED=%u, criteria %u, %s: %s", seed, i,
				test_charset->name, str_c(test_line));
		}
	} T_END;
	for (i = 0; i < test_keys_count && count > 1000 && !test_has_failed(); i++)
		test_assert_idx(test_keys_used[i] > count / 1000, i);
	pimap_criteria_deinit();
	test_end();
}

/* R-6.6: what is over a limit, and what is just at it */
static void test_pimap_criteria_limits(void)
{
	static const struct {
		const char *text;
		enum pimap_criteria_result result;
	} tests[] = {
		{ "((SEEN))", PIMAP_CRITERIA_OK },
		{ "(((SEEN)))", PIMAP_CRITERIA_TOO_LARGE },
		{ "NOT NOT SEEN", PIMAP_CRITERIA_OK },
		{ "NOT NOT SEEN NOT NOT SEEN", PIMAP_CRITERIA_OK },
		{ "NOT NOT NOT SEEN", PIMAP_CRITERIA_TOO_LARGE },
		{ "OR SEEN OR SEEN SEEN", PIMAP_CRITERIA_OK },
		{ "OR SEEN OR SEEN OR SEEN SEEN", PIMAP_CRITERIA_TOO_LARGE },
		{ "OR NOT SEEN NOT SEEN (NOT SEEN)", PIMAP_CRITERIA_OK },
		{ "OR NOT (SEEN) SEEN", PIMAP_CRITERIA_TOO_LARGE },
		{ "FUZZY FUZZY FUZZY NOT NOT SEEN", PIMAP_CRITERIA_OK },
		{ "MIMEPART (NOT SIZE 1) NOT NOT SEEN", PIMAP_CRITERIA_OK },
		{ "MIMEPART (NOT NOT SIZE 1)", PIMAP_CRITERIA_TOO_LARGE },
		{ "MIMEPART NOT OR TYPE a FILENAME IS b", PIMAP_CRITERIA_OK },
		{ "NOT MIMEPART NOT NOT TYPE a", PIMAP_CRITERIA_TOO_LARGE },
		{ "OR MIMEPART SIZE 1 OR SEEN OR SEEN SEEN", PIMAP_CRITERIA_TOO_LARGE },
		{ "OR MIMEPART DEPTH 1 OR SEEN SEEN", PIMAP_CRITERIA_OK },
		/* these are words, no operators */
		{ "SUBJECT NOT FROM OR TEXT (", PIMAP_CRITERIA_INVALID },
		{ "SUBJECT NOT FROM OR TEXT NOT", PIMAP_CRITERIA_OK },
		{ "NOT NOT", PIMAP_CRITERIA_INVALID },
		{ "OR SEEN", PIMAP_CRITERIA_INVALID },
		{ "(OR SEEN) SEEN", PIMAP_CRITERIA_INVALID },
		{ "()", PIMAP_CRITERIA_INVALID },
		{ "\"SEEN\"", PIMAP_CRITERIA_INVALID },
		{ "SUBJECT aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", PIMAP_CRITERIA_OK },
		{ "SUBJECT aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", PIMAP_CRITERIA_TOO_LARGE },
	};
	struct pimap_settings set = test_set;
	string_t *text = t_str_new(256);
	const char *error;
	unsigned int i;

	test_begin("criteria limits");
	pimap_criteria_init();
	set.pimap_max_filter_nesting = 2;
	set.pimap_max_filter_size = 40;
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		str_truncate(text, 0);
		error = NULL;
		test_assert_idx(pimap_criteria_parse_line(&set, tests[i].text,
					text, &error) == tests[i].result, i);
		if (tests[i].result == PIMAP_CRITERIA_OK)
			test_assert_strcmp_idx(str_c(text), tests[i].text, i);
		else
			test_assert_idx(error != NULL && strlen(error) > 10, i);
	}
	pimap_criteria_deinit();
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_criteria_round_trip,
		test_pimap_criteria_limits,
		NULL
	};
	return test_run(test_functions);
}
