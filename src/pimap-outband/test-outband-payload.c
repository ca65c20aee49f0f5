/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "str.h"
#include "test-common.h"
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

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_outband_payload_emn,
		NULL
	};
	return test_run(test_functions);
}
