/* SPDX-License-Identifier: LGPL-2.1-only */

#include "lib.h"
#include "str.h"
#include "test-common.h"
#include "pimap-compat.h"
#include "outband-mm7.h"

#define ANSWER(code, text) \
	"<?xml version='1.0'?>\n<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/" \
	"soap/envelope/\"><e:Header/><e:Body><m:SubmitRsp xmlns:m=\"x\">" \
	"<m:MM7Version>6.8.0</m:MM7Version><m:Status><m:StatusCode>"code \
	"</m:StatusCode><m:StatusText>"text"</m:StatusText></m:Status>" \
	"<m:MessageID>1</m:MessageID></m:SubmitRsp></e:Body></e:Envelope>"
#define FAULT(code, text) \
	"<env:Envelope xmlns:env='http://schemas.xmlsoap.org/soap/envelope/'>" \
	"<env:Body><env:Fault><faultcode>env:Client</faultcode><faultstring>" \
	"Client error</faultstring><detail><RSErrorRsp xmlns='x'><MM7Version>6.8.0" \
	"</MM7Version><Status><StatusCode>"code"</StatusCode><StatusText>"text \
	"</StatusText></Status></RSErrorRsp></detail></env:Fault></env:Body>" \
	"</env:Envelope>"

static void test_outband_mm7_judge(void)
{
	static const struct {
		unsigned int status;
		const char *answer;
		enum outband_channel_outcome outcome;
		bool fault;
		const char *error;
	} tests[] = {
		{ 200, ANSWER("1000", "Success"), OUTBAND_CHANNEL_SENT, FALSE,
		  "The MMSC's answer is 1000: Success" },
		{ 200, "--x\r\nContent-Type: text/xml\r\n\r\n"
		  ANSWER("\n 1000 ", "Success")"\r\n--x\r\n\r\n<p>more</p>\r\n--x--",
		  OUTBAND_CHANNEL_SENT, FALSE,
		  "The MMSC's answer is 1000: Success" },
		{ 200, ANSWER("1100", "Partial"), OUTBAND_CHANNEL_SENT, FALSE,
		  "The MMSC's answer is 1100: Partial" },
		{ 500, FAULT("2003", "Address Not Found"),
		  OUTBAND_CHANNEL_UNREGISTER, FALSE,
		  "The MMSC's answer is 2003: Address Not Found" },
		{ 200, ANSWER("2002", ""), OUTBAND_CHANNEL_GIVE_UP, FALSE,
		  "The MMSC's answer is 2002: " },
		{ 200, ANSWER("3002", "a&lt;b&#13;&#10;c"),
		  OUTBAND_CHANNEL_GIVE_UP, FALSE,
		  "The MMSC's answer is 3002: a<b??c" },
		{ 500, FAULT("4001", "Improper identification"),
		  OUTBAND_CHANNEL_RETRY, TRUE,
		  "The MMSC's answer is 4001: Improper identification" },
		{ 200, ANSWER("4006", "Service unavailable"),
		  OUTBAND_CHANNEL_RETRY, TRUE,
		  "The MMSC's answer is 4006: Service unavailable" },
		{ 200, ANSWER("9999", "?"), OUTBAND_CHANNEL_RETRY, TRUE,
		  "The MMSC's answer is 9999: ?" },
		/* without a status of MM7's */
		{ 200, "", OUTBAND_CHANNEL_RETRY, TRUE,
		  "The MMSC's answer is no status (HTTP 200): " },
		{ 200, ANSWER("", "Success"), OUTBAND_CHANNEL_RETRY, TRUE,
		  "The MMSC's answer is no status (HTTP 200): " },
		{ 200, ANSWER("-1000", "x"), OUTBAND_CHANNEL_RETRY, TRUE,
		  "The MMSC's answer is no status (HTTP 200): " },
		{ 200, "<html>1000</html>", OUTBAND_CHANNEL_RETRY, TRUE,
		  "The MMSC's answer is no status (HTTP 200): " },
		{ 200, "<!DOCTYPE x [<!ENTITY e '1000'>]>"ANSWER("&e;", ""),
		  OUTBAND_CHANNEL_RETRY, TRUE,
		  "The MMSC's answer is no status (HTTP 200): " },
		{ 401, "<html>who are you</html>", OUTBAND_CHANNEL_RETRY, TRUE,
		  NULL },
		{ 413, "", OUTBAND_CHANNEL_GIVE_UP, FALSE, NULL },
		{ 503, "", OUTBAND_CHANNEL_RETRY, TRUE, NULL },
		{ 500, "<a:Envelope xmlns:a='x'><a:Body><a:Fault><faultcode>a:Server"
		  "</faultcode><faultstring>busy</faultstring></a:Fault></a:Body>"
		  "</a:Envelope>", OUTBAND_CHANNEL_RETRY, TRUE,
		  "The MMSC's answer is no status (HTTP 500): busy" },
	};
	struct outband_channel_result result;
	string_t *answer = str_new(default_pool, 256);
	unsigned int i;
	size_t len;

	test_begin("outband_mm7_judge()");
	for (i = 0; i < N_ELEMENTS(tests); i++) T_BEGIN {
		str_truncate(answer, 0);
		str_append(answer, tests[i].answer);
		i_zero(&result);
		outband_mm7_judge(tests[i].status, answer, &result);
		test_assert_idx(result.outcome == tests[i].outcome, i);
		test_assert_idx(result.fault == tests[i].fault, i);
		test_assert_idx(null_strcmp(result.error, tests[i].error) == 0, i);
		/* cut anywhere, it is never what it isn't */
		for (len = 0; len < strlen(tests[i].answer); len++) {
			str_truncate(answer, 0);
			str_append_data(answer, tests[i].answer, len);
			i_zero(&result);
			outband_mm7_judge(tests[i].status, answer, &result);
			test_assert_idx(result.outcome == tests[i].outcome ||
				result.outcome == OUTBAND_CHANNEL_RETRY, i);
		}
	} T_END;
	str_free(&answer);
	test_end();
}

static void test_outband_mm7_submit(void)
{
	const struct outband_mm7_sender sender = {
		.vasp_id = "a<b>&\"", .vas_id = "", .number = "4711"
	};
	const struct outband_mm7_message msg = {
		.transaction = "joe#P1-<1>", .to = "+491701234567",
		.type = "text/plain", .text = "<&>\r\n--=_ \303\244"
	};
	string_t *body = t_str_new(1024), *again = t_str_new(1024);
	const char *type, *type2, *boundary, *p;

	test_begin("outband_mm7_submit()");
	type = outband_mm7_submit(body, &sender, &msg);
	type2 = outband_mm7_submit(again, &sender, &msg);
	test_assert_strcmp(type, type2);
	test_assert_strcmp(str_c(body), str_c(again));
	test_assert(pimap_str_begins(type, "multipart/related; type=\"text/xml\"; "
				    "start=\"<submit>\"; boundary=\""));
	boundary = t_strcut(strstr(type, "boundary=\"") + 10, '"');
	p = str_c(body);
	test_assert(pimap_str_begins(p, t_strconcat("--", boundary, "\r\n", NULL)));
	test_assert(strstr(p, "<VASPID>a&lt;b&gt;&amp;") != NULL);
	test_assert(strstr(p, "VASID>") == NULL);
	test_assert(strstr(p, "\"1\">joe#P1-&lt;1&gt;</TransactionID>") != NULL);
	test_assert(strstr(p, "<To><Number>+491701234567</Number></To>") != NULL);
	test_assert(strstr(p, t_strconcat("\r\n\r\n", msg.text, "\r\n--",
					  boundary, "--\r\n", NULL)) != NULL);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_outband_mm7_judge,
		test_outband_mm7_submit,
		NULL
	};
	return test_run(test_functions);
}
