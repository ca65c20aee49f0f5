/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "str.h"
#include "test-common.h"
#include "pimap-stomp.h"

static void test_pimap_stomp_url(void)
{
	static const struct {
		const char *url, *host;
		in_port_t port;
		bool ssl;
		const char *virtual_host;
	} good[] = {
		{ "stomp://broker", "broker", 61613, FALSE, "broker" },
		{ "stomp://broker/", "broker", 61613, FALSE, "broker" },
		{ "stomp://broker:1234", "broker", 1234, FALSE, "broker" },
		{ "STOMP://broker:1234/pimap", "broker", 1234, FALSE, "pimap" },
		{ "stomp://broker//", "broker", 61613, FALSE, "/" },
		{ "stomp+ssl://b.example", "b.example", 61614, TRUE,
		  "b.example" },
		{ "stomp+ssl://b.example:61613/v:h", "b.example", 61613, TRUE,
		  "v:h" },
		{ "stomp://192.0.2.1:61613", "192.0.2.1", 61613, FALSE,
		  "192.0.2.1" },
		{ "stomp://[2001:db8::1]:99", "2001:db8::1", 99, FALSE,
		  "2001:db8::1" },
	};
	static const char *const bad[] = {
		"", "broker", "broker:61613", "http://broker", "stomp:broker",
		"stomp+tls://broker", "stomp://", "stomp:///vh",
		"stomp://:61613", "stomp://broker:0", "stomp://broker:65536",
		"stomp://broker:x", "stomp://joe:secret@broker",
		"stomp://bro ker", "stomp://broker\n", "stomp://broker/v\nh",
		"stomp://a,b", "stomp://broker?x=y",
		"failover:(stomp://a,stomp://b)",
	};
	struct pimap_stomp_url url;
	const char *error;
	unsigned int i;

	test_begin("pimap_stomp_url_parse()");
	for (i = 0; i < N_ELEMENTS(good); i++) {
		test_assert_idx(pimap_stomp_url_parse(good[i].url, &url,
						      &error) == 0, i);
		test_assert_strcmp_idx(url.host, good[i].host, i);
		test_assert_idx(url.port == good[i].port, i);
		test_assert_idx(url.ssl == good[i].ssl, i);
		test_assert_strcmp_idx(url.virtual_host, good[i].virtual_host,
				       i);
	}
	for (i = 0; i < N_ELEMENTS(bad); i++) {
		error = NULL;
		test_assert_idx(pimap_stomp_url_parse(bad[i], &url,
						      &error) < 0, i);
		test_assert_idx(error != NULL, i);
	}
	test_end();
}

static void test_pimap_stomp_prefix(void)
{
	static const struct {
		const char *prefix;
		bool valid;
	} tests[] = {
		{ "", TRUE },
		{ "/queue/pimap.", TRUE },
		{ "/exchange/pimap/", TRUE },
		{ "/queue/*.", FALSE },
		{ "/queue/a,b", FALSE },
		{ "/queue/a?x=", FALSE },
		{ "/queue/>", FALSE },
		{ "/queue/#", FALSE },
		{ "/queue/a;", FALSE },
		{ "/queue/a b", FALSE },
		{ "/queue/a\nx", FALSE },
	};
	const char *error;
	unsigned int i;

	test_begin("pimap_stomp_prefix_is_valid()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(pimap_stomp_prefix_is_valid(tests[i].prefix,
			&error) == tests[i].valid, i);
	}
	test_end();
}

static void test_pimap_stomp_destination(void)
{
	static const struct {
		const char *address, *prefix;
		bool allowed;
	} tests[] = {
		{ "/queue/pimap.joe", "/queue/pimap.", TRUE },
		{ "/queue/pimap.joe@foo.com-P1_a+b=", "/queue/pimap.", TRUE },
		{ "/queue/pimap.joe", "", FALSE },
		{ "", "", FALSE },
		{ "", "/queue/pimap.", FALSE },
		{ "/queue/pimap.", "/queue/pimap.", FALSE },
		{ "/queue/pimap", "/queue/pimap.", FALSE },
		{ "/queue/other.joe", "/queue/pimap.", FALSE },
		{ "/QUEUE/pimap.joe", "/queue/pimap.", FALSE },
		{ "joe", "/queue/pimap.", FALSE },
		{ "x/queue/pimap.joe", "/queue/pimap.", FALSE },
		{ "/queue/pimap.*", "/queue/pimap.", FALSE },
		{ "/queue/pimap.>", "/queue/pimap.", FALSE },
		{ "/queue/pimap.#", "/queue/pimap.", FALSE },
		{ "/queue/pimap.a,other", "/queue/pimap.", FALSE },
		{ "/queue/pimap.a;b", "/queue/pimap.", FALSE },
		{ "/queue/pimap.a?consumer.exclusive=true", "/queue/pimap.",
		  FALSE },
		{ "/queue/pimap.a::b", "/queue/pimap.", FALSE },
		{ "/queue/pimap.a/b", "/queue/pimap.", FALSE },
		{ "/queue/pimap.%2Fb", "/queue/pimap.", FALSE },
		{ "/queue/pimap.a b", "/queue/pimap.", FALSE },
		{ "/queue/pimap.a\nreceipt:x", "/queue/pimap.", FALSE },
		{ "/queue/pimap.a\r", "/queue/pimap.", FALSE },
		{ "/queue/pimap.a\\nb", "/queue/pimap.", FALSE },
		{ "/queue/pimap.\x01", "/queue/pimap.", FALSE },
		{ "/queue/pimap.\xc3\xa4", "/queue/pimap.", FALSE },
		{ "/queue/topic://x", "/queue/", FALSE },
	};
	string_t *address = t_str_new(256);
	const char *error;
	unsigned int i;

	test_begin("pimap_stomp_destination_is_allowed()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		error = NULL;
		test_assert_idx(pimap_stomp_destination_is_allowed(
			tests[i].address, "pimap_jms_prefix", tests[i].prefix,
			&error) == tests[i].allowed, i);
		test_assert_idx((error == NULL) == tests[i].allowed, i);
	}
	str_append(address, "/queue/");
	for (i = 0; i < 200; i++)
		str_append_c(address, 'x');
	test_assert(pimap_stomp_destination_is_allowed(str_c(address), "x",
						       "/queue/", &error));
	str_append_c(address, 'x');
	test_assert(!pimap_stomp_destination_is_allowed(str_c(address), "x",
							"/queue/", &error));
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_stomp_url,
		test_pimap_stomp_prefix,
		test_pimap_stomp_destination,
		NULL
	};
	return test_run(test_functions);
}
