/* SPDX-License-Identifier: LGPL-2.1-only */

#include "lib.h"
#include "str.h"
#include "unichar.h"
#include "test-common.h"
#include "outband-report-parse.h"

#define MAC "00112233445566778899aabbccddeeff"

static void test_outband_report_token(void)
{
	static const char *const wrong[] = {
		"", ".", "..", "1.2.", "1.2", "1."MAC, "1.2."MAC"0", "1.2.0"MAC,
		"1.2.00112233445566778899AABBCCDDEEFF", "01.2."MAC, "1.02."MAC,
		"0.1."MAC, "1.0."MAC, "-1.2."MAC, "+1.2."MAC, " 1.2."MAC,
		"1.2."MAC" ", "1.2.3."MAC, "9223372036854775808.1."MAC,
		"1.2.0x112233445566778899aabbccddeeff"
	};
	struct outband_report_token token;
	unsigned int i;

	test_begin("outband report token");
	test_assert(outband_report_token_parse("12.3."MAC, &token));
	test_assert(token.id == 12 && token.seq == 3);
	test_assert(token.mac[0] == 0 && token.mac[1] == 0x11 &&
		    token.mac[15] == 0xff);
	test_assert(outband_report_token_parse("9223372036854775807.1."MAC,
					       &token));
	for (i = 0; i < N_ELEMENTS(wrong); i++)
		test_assert_idx(!outband_report_token_parse(wrong[i], &token), i);
	test_end();
}

static void test_outband_report_query(void)
{
	static const struct {
		const char *query;
		enum outband_report_status status;
		const char *text;
	} tests[] = {
		{ "pimap=t&type=1&reply=ACK%2F&receipt=",
		  OUTBAND_REPORT_DELIVERED, "ACK/" },
		{ "a=b&type=1&pimap=t&c&=d&pima=1&pimapx=2",
		  OUTBAND_REPORT_DELIVERED, "" },
		{ "pimap=t&type=2&reply=x&receipt=id%3a1+stat%3AUNDELIV+text:more",
		  OUTBAND_REPORT_FAILED, "id:1 stat:UNDELIV" },
		{ "pimap=t&type=2&receipt=Text%3Asecret", OUTBAND_REPORT_FAILED,
		  "" },
		{ "pimap=t&type=16&reply=NACK%2F11", OUTBAND_REPORT_FAILED,
		  "NACK/11" },
		{ "pimap=t&type=34", OUTBAND_REPORT_FAILED, "" },
		{ "pimap=t&type=3", OUTBAND_REPORT_FAILED, "" },
		{ "pimap=t&type=8", OUTBAND_REPORT_PENDING, "" },
		{ "pimap=t&type=4", OUTBAND_REPORT_PENDING, "" },
		{ "pimap=t&type=0", OUTBAND_REPORT_PENDING, "" },
		{ "pimap=t&type=2&reply=a%0d%0ab%00c%1b%7f%ff", OUTBAND_REPORT_FAILED,
		  "a??b?c???" },
	};
	static const char *const wrong[] = {
		"", "pimap=t", "type=1", "pimap=t&type=", "pimap=t&type=x",
		"pimap=t&type=-1", "pimap=t&type=1x", "pimap=t&type=99999999999",
		"pimap=t&pimap=t&type=1", "pimap=t&type=1&type=1",
		"pimap=t&type=1&reply=%", "pimap=t&type=1&reply=%4",
		"pimap=t&type=1&reply=%4g", "pimap=%zz&type=1",
		"pimap=t%0a&type=1", "pimap=%ff&type=1", "pimap&type=1"
	};
	struct outband_report_query query;
	unsigned int i;
	string_t *text = t_str_new(8192);

	test_begin("outband report query");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(outband_report_query_parse(tests[i].query,
							   &query), i);
		test_assert_idx(query.status == tests[i].status, i);
		test_assert_strcmp_idx(query.token, "t", i);
		test_assert_strcmp_idx(query.text, tests[i].text, i);
	}
	for (i = 0; i < N_ELEMENTS(wrong); i++)
		test_assert_idx(!outband_report_query_parse(wrong[i], &query), i);
	str_append(text, "pimap=t&type=1&reply=");
	while (str_len(text) < OUTBAND_REPORT_MAX_QUERY)
		str_append_c(text, 'x');
	test_assert(outband_report_query_parse(str_c(text), &query));
	test_assert(uni_utf8_strlen(query.text) == OUTBAND_REPORT_MAX_TEXT);
	str_append_c(text, 'x');
	test_assert(!outband_report_query_parse(str_c(text), &query));
	/* octets that aren't UTF-8 count, too */
	str_truncate(text, 0);
	str_append(text, "pimap=t&type=1&reply=");
	while (str_len(text) < OUTBAND_REPORT_MAX_QUERY)
		str_append_c(text, 0xff);
	test_assert(outband_report_query_parse(str_c(text), &query));
	test_assert(uni_utf8_strlen(query.text) == OUTBAND_REPORT_MAX_TEXT);
	test_end();
}

static void test_outband_report_sent(void)
{
	struct outband_report_sent sent;

	test_begin("outband report sent");
	test_assert(outband_report_sent_parse(
		"To: 491701234567\nReport: yes\nX-Pimap: token\nModem: GSM1\n"
		"Sent: 04-02-20 06:40:00\nMessage_id: 117\n\nModem: x\n", &sent));
	test_assert_strcmp(sent.token, "token");
	test_assert_strcmp(sent.to, "491701234567");
	test_assert_strcmp(sent.modem, "GSM1");
	test_assert_strcmp(sent.fail_reason, "");
	test_assert(sent.ids_count == 1 && sent.ids[0] == 117);
	test_assert(outband_report_sent_parse(
		"To: s4711\nX-Pimap: t\nMessage_id: 254 255 0 .\n", &sent));
	test_assert_strcmp(sent.to, "4711");
	test_assert(sent.ids_count == 3 && sent.ids[0] == 254 &&
		    sent.ids[2] == 0);
	test_assert(outband_report_sent_parse(
		"X-Pimap: t\nFail_reason: a\033b", &sent));
	test_assert_strcmp(sent.fail_reason, "a?b");
	test_assert(sent.ids_count == 0);
	/* the text isn't ours, whatever it says */
	test_assert(!outband_report_sent_parse("To: 1\n\nX-Pimap: t\n", &sent));
	test_assert(!outband_report_sent_parse("", &sent));
	test_assert(!outband_report_sent_parse("X-Pimap: a\033\n", &sent));
	test_assert(!outband_report_sent_parse(
		"X-Pimap: t\nMessage_id: 256\n", &sent));
	test_assert(!outband_report_sent_parse(
		"X-Pimap: t\nMessage_id: 1 2 3 4 5 6 7 .\n", &sent));
	test_end();
}

#define REPORT_HEAD "From: 491701234567\nModem: GSM1\n\nSMS STATUS REPORT\n"

static void test_outband_report_file(void)
{
	static const struct {
		const char *status;
		enum outband_report_status result;
	} tests[] = {
		{ "0,Ok,short message received by the SME",
		  OUTBAND_REPORT_DELIVERED },
		{ "31,x", OUTBAND_REPORT_DELIVERED },
		{ "32,Still trying,congestion", OUTBAND_REPORT_PENDING },
		{ "63", OUTBAND_REPORT_PENDING },
		{ "64,Error,remote procedure error", OUTBAND_REPORT_FAILED },
		{ "255,Error,reserved", OUTBAND_REPORT_FAILED },
	};
	static const char *const wrong[] = {
		"", "x", "From: 1\n\nSMS STATUS REPORT\n",
		"From: 1\n\nHello\nMessage_id: 1\nStatus: 0\n",
		"From: 1\nSMS STATUS REPORT\nMessage_id: 1\nStatus: 0\n",
		REPORT_HEAD"Message_id: 1\n", REPORT_HEAD"Status: 0,Ok\n",
		REPORT_HEAD"Message_id: 256\nStatus: 0,Ok\n",
		REPORT_HEAD"Message_id: x\nStatus: 0,Ok\n",
		REPORT_HEAD"Message_id: 1\nStatus: 256,Ok\n",
		REPORT_HEAD"Message_id: 1\nStatus: Ok\n",
		"\n\nSMS STATUS REPORT\nMessage_id: 1\nStatus: 0\n",
		"From: Bank\n\nSMS STATUS REPORT\nMessage_id: 1\nStatus: 0\n"
	};
	struct outband_report_file report;
	unsigned int i;

	test_begin("outband report file");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(outband_report_file_parse(t_strconcat(
			REPORT_HEAD"Message_id: 117\nDischarge_timestamp: "
			"04-02-20 06:41:00\nStatus: ", tests[i].status, "\n",
			NULL), &report), i);
		test_assert_idx(report.status == tests[i].result, i);
		test_assert_idx(report.id == 117, i);
		test_assert_strcmp_idx(report.from, "491701234567", i);
		test_assert_strcmp_idx(report.modem, "GSM1", i);
		test_assert_strcmp_idx(report.text, tests[i].status, i);
	}
	for (i = 0; i < N_ELEMENTS(wrong); i++)
		test_assert_idx(!outband_report_file_parse(wrong[i], &report), i);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_outband_report_token,
		test_outband_report_query,
		test_outband_report_sent,
		test_outband_report_file,
		NULL
	};

	return test_run(test_functions);
}
