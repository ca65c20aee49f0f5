/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "str.h"
#include "test-common.h"
#include "smtp-address.h"
#include "outband-store.h"
#include "outband-message.h"

static void test_outband_message(void)
{
	static const char *const header =
		"From: <pimap@foo.com>\r\n"
		"To: <\"a b\"@foo.com>\r\n"
		"Message-ID: <pimap.1077259200.5@host.example>\r\n"
		"Subject: Mail notification\r\n"
		"Auto-Submitted: auto-generated\r\n"
		"X-PIMAP-Notification: 3\r\n"
		"MIME-Version: 1.0\r\n"
		"Content-Type: text/vnd.wap.emn+xml; charset=utf-8\r\n";
	string_t *mail = t_str_new(512), *payload = t_str_new(2048);
	static const struct smtp_address from = {
		.localpart = "pimap", .domain = "foo.com",
	}, to = {
		.localpart = "a b", .domain = "foo.com",
	};
	struct outband_row row = {
		.id = 5, .seq = 3, .created = 1077259200, .payload = "<emn>",
	};
	const char *text, *line;
	unsigned int i;

	test_begin("outband_message_append()");
	outband_message_append(mail, &row, &from, &to, "host.example");
	text = str_c(mail);
	test_assert(strncmp(text, "Date: ", 6) == 0 &&
		    strstr(text, " Feb 2004 ") != NULL);
	text = strstr(text, "From:");
	test_assert(text != NULL);
	if (text != NULL) {
		test_assert_strcmp(text, t_strconcat(header, "\r\n<emn>\r\n",
						     NULL));
	}

	/* what isn't short ASCII: no line is too long */
	for (i = 0; i < 1000; i++)
		str_append_c(payload, 'x');
	str_truncate(mail, 0);
	row.payload = str_c(payload);
	outband_message_append(mail, &row, &from, &to, "h");
	for (line = str_c(mail); line != NULL && *line != '\0'; line = text) {
		text = strstr(line, "\r\n");
		test_assert(text != NULL && text - line < 79);
		if (text != NULL)
			text += 2;
	}

	str_truncate(mail, 0);
	row.payload = "\xC3\xBC\r\n.\r\nX: y";
	outband_message_append(mail, &row, &from, &to, "h");
	text = strstr(str_c(mail), "Content-Transfer-Encoding");
	test_assert(text != NULL);
	if (text != NULL) {
		test_assert_strcmp(text, "Content-Transfer-Encoding: base64\r\n"
				   "\r\nw7wNCi4NClg6IHk=\r\n");
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_outband_message,
		NULL
	};
	return test_run(test_functions);
}
