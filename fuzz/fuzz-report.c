/* SPDX-License-Identifier: LGPL-2.1-only */
/* Delivery reports: a token, Kannel's query string, or a file of smsd's. */

#include "fuzz-outband.h"
#include "unichar.h"
#include "../src/pimap-outband/outband-report-parse.c"

static void fuzz_check_text(const char *text)
{
	fuzz_check_line(text);
	i_assert(uni_utf8_str_is_valid(text));
	i_assert(uni_utf8_strlen(text) <= OUTBAND_REPORT_MAX_TEXT);
}

static void fuzz_check_number(const char *number)
{
	i_assert(strspn(number, "0123456789") == strlen(number));
}

static void fuzz_report_token(const char *text)
{
	struct outband_report_token token;

	if (outband_report_token_parse(text, &token)) {
		/* it is written in one way */
		i_assert(strcmp(text, t_strdup_printf("%"PRId64".%"PRId64".%s",
			token.id, token.seq,
			binary_to_hex(token.mac, sizeof(token.mac)))) == 0);
		i_assert(token.id > 0 && token.seq > 0);
	}
}

static void fuzz_report_query(const char *text)
{
	struct outband_report_query query;

	if (outband_report_query_parse(text, &query)) {
		fuzz_check_text(query.token);
		fuzz_check_text(query.text);
		i_assert(query.status <= OUTBAND_REPORT_FAILED);
		fuzz_report_token(query.token);
	}
}

static void fuzz_report_file(const char *text)
{
	struct outband_report_sent sent;
	struct outband_report_file report;
	unsigned int i;

	if (outband_report_sent_parse(text, &sent)) {
		fuzz_check_text(sent.token);
		fuzz_check_text(sent.fail_reason);
		fuzz_check_number(sent.to);
		i_assert(sent.ids_count <= OUTBAND_REPORT_MAX_PARTS);
		for (i = 0; i < sent.ids_count; i++)
			i_assert(sent.ids[i] <= 255);
	}
	if (outband_report_file_parse(text, &report)) {
		fuzz_check_text(report.text);
		fuzz_check_number(report.from);
		i_assert(report.id <= 255);
		i_assert(report.status <= OUTBAND_REPORT_FAILED);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(NULL);
	T_BEGIN {
		const char *text = t_strndup(data, size);

		fuzz_report_token(text);
		fuzz_report_query(text);
		fuzz_report_file(text);
	} T_END;
	return 0;
}
