/* SPDX-License-Identifier: LGPL-2.1-only */
/* Criteria as XFILTER SET gets them: the first octet chooses a charset, the rest
   is a line with its literals. What is taken is what GET answers, and again. */

#include "lib.h"
#include "str.h"
#include "istream.h"
#include "ioloop.h"
#include "imap-arg.h"
#include "imap-parser.h"
#include "mail-search.h"
#include "pimap-compat.h"
#include "pimap-settings.h"
#include "pimap-criteria.h"
#include "fuzz.h"

static const char *const charsets[] = {
	"UTF-8", "ISO-8859-1", "ISO-2022-JP", "UTF-7", "SHIFT_JIS", "UTF-16BE"
};

static const struct pimap_settings set = {
	.pimap_timezone = "",
	.pimap_max_filter_size = 8*1024,
	.pimap_max_filter_nesting = 32,
};

static void check_text(const char *text)
{
	struct pimap_criteria criteria, again;
	string_t *text2 = t_str_new(256);
	const char *error;

	if (pimap_criteria_parse_line(&set, text, text2, &error) !=
	    PIMAP_CRITERIA_OK ||
	    pimap_criteria_build(text, "", &criteria, &error) < 0 ||
	    pimap_criteria_build(str_c(text2), "", &again, &error) < 0)
		i_fatal("%s: %s", error, text);
	if (strcmp(text, str_c(text2)) != 0)
		i_fatal("%s became %s", text, str_c(text2));
	i_assert(mail_search_args_equal(criteria.args, again.args));
	i_assert(criteria.has_flags == again.has_flags &&
		 criteria.grow == again.grow);
	pimap_criteria_free(&criteria);
	pimap_criteria_free(&again);
}

static void check_args(const struct imap_arg *args, const char *charset)
{
	enum pimap_criteria_result result;
	string_t *text = t_str_new(256);
	const char *error = NULL, *p;

	result = pimap_criteria_parse(&set, args, charset, text, &error);
	if (result == PIMAP_CRITERIA_OK) {
		check_text(str_c(text));
		return;
	}
	/* it is sent to the client */
	i_assert(error != NULL && *error != '\0');
	for (p = error; *p != '\0'; p++)
		i_assert(*p != '\r' && *p != '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(pimap_criteria_init);
	ioloop_time = 1800000000;
	/* Dovecot's parser asserts that there is one */
	if (size < 2)
		return 0;
	T_BEGIN {
		string_t *line = t_str_new(256);
		const struct imap_arg *args;
		struct imap_parser *parser;
		struct istream *input;

		str_append_data(line, data + 1, size - 1);
		str_append(line, "\r\n");
		input = i_stream_create_from_data(str_data(line), str_len(line));
		(void)i_stream_read(input);
		parser = pimap_imap_parser_create(input, SIZE_MAX);
		if (imap_parser_finish_line(parser, 0, 0, &args) > 0)
			check_args(args, charsets[data[0] % N_ELEMENTS(charsets)]);
		imap_parser_unref(&parser);
		i_stream_destroy(&input);
	} T_END;
	return 0;
}
