/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "test-common.h"
#include "pimap-address.h"

static void test_pimap_address_mail(void)
{
	static const struct {
		const char *user, *address, *pattern;
		bool allowed;
	} tests[] = {
		{ "joe@foo.com", "joe@foo.com", "", TRUE },
		{ "joe@foo.com", "other@FOO.com", "", TRUE },
		{ "joe@foo.com", "\"a b\"@foo.com", "", TRUE },
		{ "joe@foo.com", "joe@bar.com", "", FALSE },
		{ "joe@foo.com", "joe@sub.foo.com", "", FALSE },
		{ "joe@foo.com", "joe@xfoo.com", "", FALSE },
		{ "joe@bar.com@foo.com", "joe@bar.com", "", FALSE },
		{ "joe", "joe@foo.com", "", FALSE },
		{ "joe@", "joe@foo.com", "", FALSE },
		{ "joe@", "joe@", "", FALSE },
		{ "joe@foo.com", "joe", "", FALSE },
		{ "joe@foo.com", "", "", FALSE },
		{ "joe@foo.com", "", "*", FALSE },
		{ "joe@foo.com", "<joe@foo.com>", "", FALSE },
		{ "joe@foo.com", "Joe <joe@foo.com>", "", FALSE },
		{ "joe@foo.com", "joe@foo.com,x@bar.com", "", FALSE },
		{ "joe@foo.com", "joe@foo.com x@bar.com", "*", FALSE },
		{ "joe@foo.com", "joe@foo.com\r\nRCPT TO:<x@bar.com>", "*", FALSE },
		{ "joe@foo.com", "\"a\r\nb\"@foo.com", "*", FALSE },
		{ "joe@foo.com", "\"a\nb\"@foo.com", "*", FALSE },
		{ "joe@foo.com", "joe@foo.com\n", "*", FALSE },
		/* where a pattern is, the domain isn't looked at */
		{ "joe", "joe@sms.example", "*@sms.example", TRUE },
		{ "joe@foo.com", "joe@SMS.example", "*@sms.example", TRUE },
		{ "joe@foo.com", "joe@foo.com", "*@sms.example", FALSE },
		{ "joe@foo.com", "\"x@sms.example\"@foo.com",
		  "*@sms.example", FALSE },
		{ "joe@foo.com", "49123@sms.example", "49???@sms.example", TRUE },
		{ "joe@foo.com", "491234@sms.example", "49???@sms.example",
		  FALSE },
	};
	const char *error;
	unsigned int i;

	test_begin("pimap_address_mail_is_allowed()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		error = NULL;
		test_assert_idx(pimap_address_mail_is_allowed(
			tests[i].user, tests[i].address, tests[i].pattern,
			&error) == tests[i].allowed, i);
		test_assert_idx((error == NULL) == tests[i].allowed, i);
	}
	test_end();
}

static void test_pimap_address_number(void)
{
	static const struct {
		const char *address, *pattern;
		bool allowed;
	} tests[] = {
		{ "+491701234567", "+49*", TRUE },
		{ "4711", "*", TRUE },
		{ "112", "*", TRUE },
		{ "+12345678901234567890", "*", TRUE },
		{ "+4312345", "+49*", FALSE },
		{ "491701234567", "+49*", FALSE },
		{ "+491701234567", "", FALSE },
		{ "", "*", FALSE },
		{ "+", "*", FALSE },
		{ "11", "*", FALSE },
		{ "+123456789012345678901", "*", FALSE },
		{ "++491234", "*", FALSE },
		{ "+49 170", "*", FALSE },
		{ "+49170;+43999", "*", FALSE },
		{ "+49170&to=+43999", "*", FALSE },
		{ "+49170\n", "*", FALSE },
		{ "tel:+49170", "*", FALSE },
		{ "*100#", "*", FALSE },
	};
	const char *error;
	unsigned int i;

	test_begin("pimap_address_number_is_allowed()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		error = NULL;
		test_assert_idx(pimap_address_number_is_allowed(
			tests[i].address, "pimap_sms_pattern",
			tests[i].pattern, &error) == tests[i].allowed, i);
		test_assert_idx((error == NULL) == tests[i].allowed, i);
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_address_mail,
		test_pimap_address_number,
		NULL
	};
	return test_run(test_functions);
}
