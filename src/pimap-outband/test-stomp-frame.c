/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "str.h"
#include "test-common.h"
#include "stomp-frame.h"

static void test_stomp_frame_write(void)
{
	string_t *str = t_str_new(128);
	static const char want[] = "SEND\n"
		"destination:/queue/a\\cb\\\\c\\r\\nreceipt\\c0\n"
		"a\\cb:\n"
		"login:a:b\\c\n"
		"\n"
		"text\r\nof:\\n two \xf0\x9f\x98\x80 lines";

	test_begin("stomp_frame_*()");
	stomp_frame_begin(str, "SEND");
	stomp_frame_header(str, "destination", "/queue/a:b\\c\r\nreceipt:0");
	stomp_frame_header(str, "a:b", "");
	stomp_frame_header_raw(str, "login", "a:b\\c");
	stomp_frame_end(str, "text\r\nof:\\n two \xf0\x9f\x98\x80 lines");
	test_assert(str_len(str) == sizeof(want));
	test_assert(memcmp(str_data(str), want, sizeof(want)) == 0);
	test_end();
}

static void test_stomp_frame_modified(void)
{
	static const struct {
		const char *server;
		bool modified;
	} servers[] = {
		{ "ActiveMQ/5.17.2", TRUE },
		{ "ActiveMQ/5.17.6", TRUE },
		{ "ActiveMQ/4.1", TRUE },
		{ "ActiveMQ/5.18.5", TRUE },
		{ "ActiveMQ/5.18.5.redhat-1", TRUE },
		{ "ActiveMQ/5.18.6", FALSE },
		{ "ActiveMQ/5.18.10", FALSE },
		{ "ActiveMQ/5.19.0", FALSE },
		{ "ActiveMQ/6.0.1", TRUE },
		{ "ActiveMQ/6.1.3", TRUE },
		{ "ActiveMQ/6.1.4", FALSE },
		{ "ActiveMQ/6.2.0", FALSE },
		{ "ActiveMQ/7.0.0", FALSE },
		{ "ActiveMQ/", FALSE },
		{ "ActiveMQ/5.", FALSE },
		{ "ActiveMQ/x", FALSE },
		{ "ActiveMQ-Artemis/2.28.0 ActiveMQ Artemis Messaging Engine",
		  FALSE },
		{ "RabbitMQ/3.10.8", FALSE },
		{ "", FALSE },
	};
	string_t *str = t_str_new(128);
	static const char want[] = "\na\xc3\xa4\xe2\x82\xac"
		"\xed\xa0\xbd\xed\xb8\x80\xed\xa0\x80\xed\xb0\x80"
		"\xed\xaf\xbf\xed\xbf\xbf\xf0\x9f\x98";
	unsigned int i;

	test_begin("stomp_frame_end_modified()");
	stomp_frame_end_modified(str, "a\xc3\xa4\xe2\x82\xac"
		"\xf0\x9f\x98\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"
		"\xf0\x9f\x98");
	test_assert(str_len(str) == sizeof(want));
	test_assert(memcmp(str_data(str), want, sizeof(want)) == 0);
	for (i = 0; i < N_ELEMENTS(servers); i++) {
		test_assert_idx(stomp_server_needs_modified(
			servers[i].server) == servers[i].modified, i);
	}
	test_end();
}

#define PARSE(text) \
	stomp_frame_parse((const unsigned char *)(text), sizeof(text) - 1, \
			  &used, &frame, &error)

static void test_stomp_frame_parse(void)
{
	/* what ActiveMQ sends */
	static const char text[] = "\n\r\nERROR\r\nmessage:a\\cb\\\\\\r\\nc\n"
		"receipt-id:7\nmessage:second\nempty:\ncolons:a:b\r\n\r\n"
		"body\nof it\0" "\nRECEIPT\nreceipt-id:8\n\n\0\n";
	const unsigned char *data = (const unsigned char *)text;
	struct stomp_frame frame;
	const char *error;
	size_t used, i, end = strstr(text, "body") - text + 11;

	test_begin("stomp_frame_parse()");
	/* in whatever parts it comes */
	for (i = 0; i < end; i++) {
		test_assert_idx(stomp_frame_parse(data, i, &used, &frame,
						  &error) == 0, i);
		test_assert_idx(used == I_MIN(i, 3), i);
	}
	for (i = end; i < sizeof(text) - 1; i++) {
		test_assert_idx(stomp_frame_parse(data, i, &used, &frame,
						  &error) == 1, i);
		test_assert_idx(used == end, i);
	}
	test_assert_strcmp(frame.command, "ERROR");
	test_assert_strcmp(stomp_frame_get(&frame, "message"), "a:b\\\r\nc");
	test_assert_strcmp(stomp_frame_get(&frame, "receipt-id"), "7");
	test_assert_strcmp(stomp_frame_get(&frame, "empty"), "");
	test_assert_strcmp(stomp_frame_get(&frame, "colons"), "a:b");
	test_assert(stomp_frame_get(&frame, "Message") == NULL);
	test_assert(frame.body_size == 10 &&
		    memcmp(frame.body, "body\nof it", 10) == 0);
	data += end;
	test_assert(stomp_frame_parse(data, sizeof(text) - 1 - end, &used,
				      &frame, &error) == 1);
	test_assert_strcmp(frame.command, "RECEIPT");
	test_assert_strcmp(stomp_frame_get(&frame, "receipt-id"), "8");
	test_assert(frame.body_size == 0);
	data += used;
	test_assert(stomp_frame_parse(data, 1, &used, &frame, &error) == 0 &&
		    used == 1);
	/* in CONNECTED nothing is escaped */
	test_assert(PARSE("CONNECTED\nserver:a\\c\\x\n\n\0") == 1);
	test_assert_strcmp(stomp_frame_get(&frame, "server"), "a\\c\\x");
	/* by its length, and the first one counts */
	test_assert(PARSE("ERROR\ncontent-length:5\ncontent-length:9\n\n"
			  "a\0b\0\n\0RECEIPT") == 1);
	test_assert(used == sizeof("ERROR\ncontent-length:5\n"
		"content-length:9\n\na\0b\0\n\0RECEIPT") - 1 - 7);
	test_assert(frame.body_size == 5 &&
		    memcmp(frame.body, "a\0b\0\n", 5) == 0);
	test_assert(PARSE("ERROR\ncontent-length:5\n\na\0b\0\n") == 0);
	test_assert(PARSE("ERROR\ncontent-length:0\n\n\0") == 1);
	test_assert(frame.body_size == 0);
	test_end();
}

static void test_stomp_frame_malformed(void)
{
	struct stomp_frame frame;
	const char *error;
	size_t used;

	test_begin("stomp_frame_parse(): malformed");
	test_assert(PARSE("HTTP/1.1 400 Bad\r\nX: y\r\n\r\n") < 0);
	test_assert(PARSE("receipt\n\n\0") < 0);
	test_assert(PARSE(" RECEIPT\n\n\0") < 0);
	test_assert(PARSE("\0") < 0);
	test_assert(PARSE("RECEIPT\0") < 0);
	test_assert(PARSE("\x16\x03\x01\0\xa5\x01") < 0);
	test_assert(PARSE("RECEIPT\nreceipt-id:1\0\n\n\0") < 0);
	test_assert(PARSE("RECEIPT\nreceipt-id\n\n\0") < 0);
	test_assert(PARSE("RECEIPT\n:1\n\n\0") < 0);
	test_assert(PARSE("RECEIPT\nreceipt-id:\\t\n\n\0") < 0);
	test_assert(PARSE("RECEIPT\nreceipt-id:\\\n\n\0") < 0);
	test_assert(PARSE("RECEIPT\nreceipt\\x:1\n\n\0") < 0);
	test_assert(PARSE("ERROR\ncontent-length:\n\n\0") < 0);
	test_assert(PARSE("ERROR\ncontent-length:-1\n\n\0") < 0);
	test_assert(PARSE("ERROR\ncontent-length:1x\n\n\0") < 0);
	test_assert(PARSE("ERROR\ncontent-length:99999999999999999999\n\n\0") < 0);
	test_assert(PARSE("ERROR\ncontent-length:18446744073709551615\n\n") < 0);
	test_assert(PARSE("ERROR\ncontent-length:65536\n\n") < 0);
	test_assert(PARSE("ERROR\ncontent-length:2\n\nabc\0") < 0);
	test_end();
}

static void test_stomp_frame_limits(void)
{
	string_t *str = str_new(default_pool, STOMP_MAX_FRAME + 100);
	struct stomp_frame frame;
	const char *error;
	size_t used, size;
	unsigned int i;

	test_begin("stomp_frame_parse(): limits");
	str_append(str, "ERROR\n\n");
	while (str_len(str) < STOMP_MAX_FRAME - 1)
		str_append_c(str, 'x');
	test_assert(stomp_frame_parse(str_data(str), str_len(str), &used,
				      &frame, &error) == 0);
	str_append_c(str, '\0');
	/* it fits into an istream of that size */
	test_assert(str_len(str) == STOMP_MAX_FRAME);
	test_assert(stomp_frame_parse(str_data(str), str_len(str), &used,
				      &frame, &error) == 1);
	str_truncate(str, STOMP_MAX_FRAME - 1);
	str_append_c(str, 'x');
	test_assert(stomp_frame_parse(str_data(str), str_len(str), &used,
				      &frame, &error) < 0);

	str_truncate(str, 0);
	size = STOMP_MAX_FRAME - strlen("ERROR\ncontent-length:12345\n\n") - 1;
	str_printfa(str, "ERROR\ncontent-length:%zu\n\n", size);
	test_assert(stomp_frame_parse(str_data(str), str_len(str), &used,
				      &frame, &error) == 0);
	str_truncate(str, 0);
	str_printfa(str, "ERROR\ncontent-length:%zu\n\n", size + 1);
	test_assert(stomp_frame_parse(str_data(str), str_len(str), &used,
				      &frame, &error) < 0);

	str_truncate(str, 0);
	str_append(str, "ERROR\n");
	for (i = 0; i < STOMP_MAX_HEADERS; i++)
		str_printfa(str, "h%u:x\n", i);
	size = str_len(str);
	str_append_c(str, '\n');
	str_append_c(str, '\0');
	test_assert(stomp_frame_parse(str_data(str), str_len(str), &used,
				      &frame, &error) == 1);
	str_truncate(str, size);
	str_append(str, "more:x\n\n");
	str_append_c(str, '\0');
	test_assert(stomp_frame_parse(str_data(str), str_len(str), &used,
				      &frame, &error) < 0);

	/* a head without an end */
	str_truncate(str, 0);
	str_append(str, "ERROR\nmessage:");
	while (str_len(str) < STOMP_MAX_HEAD)
		str_append_c(str, 'x');
	test_assert(stomp_frame_parse(str_data(str), str_len(str), &used,
				      &frame, &error) == 0);
	str_append_c(str, 'x');
	test_assert(stomp_frame_parse(str_data(str), str_len(str), &used,
				      &frame, &error) < 0);
	str_append(str, "\n\n");
	test_assert(stomp_frame_parse(str_data(str), str_len(str), &used,
				      &frame, &error) < 0);
	str_free(&str);
	test_end();
}

static void test_stomp_heart_beat(void)
{
	static const char *const bad[] = {
		"", ",", "1", "1,", ",1", "1,x", "1,2,3", "1 ,2", "-1,0",
		"4294967296,0",
	};
	unsigned int sends, wants, i;

	test_begin("stomp_heart_beat_parse()");
	test_assert(stomp_heart_beat_parse("0,10000", &sends, &wants) == 0 &&
		    sends == 0 && wants == 10000);
	test_assert(stomp_heart_beat_parse("4294967295,1", &sends,
					   &wants) == 0);
	test_assert(sends == 24*60*60*1000 && wants == 1);
	for (i = 0; i < N_ELEMENTS(bad); i++) {
		test_assert_idx(stomp_heart_beat_parse(bad[i], &sends,
						       &wants) < 0, i);
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_stomp_frame_write,
		test_stomp_frame_modified,
		test_stomp_frame_parse,
		test_stomp_frame_malformed,
		test_stomp_frame_limits,
		test_stomp_heart_beat,
		NULL
	};
	return test_run(test_functions);
}
