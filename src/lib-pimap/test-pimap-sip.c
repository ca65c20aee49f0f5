/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "str.h"
#include "net.h"
#include "test-common.h"
#include "pimap-sip.h"

static void test_pimap_sip_address(void)
{
	static const struct {
		const char *address, *pattern;
		bool allowed;
	} tests[] = {
		{ "sip:joe@example.com", "sip:*@example.com", TRUE },
		{ "SIP:joe@EXAMPLE.com", "sip:*@example.com", TRUE },
		{ "sip:joe@example.com:5070", "sip:*@example.com:5070", TRUE },
		{ "sip:+49170123@example.com", "sip:+49*@example.com", TRUE },
		{ "sip:j.o-e_!~*'()&=+$,%20%C3%A4@a-b.example", "*", TRUE },
		{ "sip:joe@192.0.2.1", "*", TRUE },
		{ "sip:joe@[2001:db8::1]", "*", TRUE },
		{ "sip:joe@[2001:db8::1]:65535", "*", TRUE },
		{ "sip:joe@example.com", "", FALSE },
		{ "sip:joe@example.org", "sip:*@example.com", FALSE },
		{ "sip:joe@example.com:5070", "sip:*@example.com", FALSE },
		{ "", "*", FALSE },
		{ "sip:", "*", FALSE },
		{ "sip:@example.com", "*", FALSE },
		{ "sip:joe@", "*", FALSE },
		{ "sip:example.com", "*", FALSE },
		{ "joe@example.com", "*", FALSE },
		{ "sips:joe@example.com", "*", FALSE },
		{ "tel:+49170123", "*", FALSE },
		{ "<sip:joe@example.com>", "*", FALSE },
		{ "sip:joe@example.com>", "*", FALSE },
		{ "sip:joe@example.com;transport=tcp", "*", FALSE },
		{ "sip:joe@example.com;maddr=192.0.2.1", "*", FALSE },
		{ "sip:joe;x@example.com", "*", FALSE },
		{ "sip:joe@example.com?Route=x", "*", FALSE },
		{ "sip:joe?x@example.com", "*", FALSE },
		{ "sip:joe:secret@example.com", "*", FALSE },
		{ "sip:joe@evil.example@example.com", "*", FALSE },
		{ "sip:joe@example.com\r\nX: y", "*", FALSE },
		{ "sip:joe@example.com:5070\r\nX: y", "*", FALSE },
		{ "sip:joe\n@example.com", "*", FALSE },
		{ "sip:joe x@example.com", "*", FALSE },
		{ "sip:joe@example.com ", "*", FALSE },
		{ "sip:j\x7foe@example.com", "*", FALSE },
		{ "sip:j\xC3\xB6@example.com", "*", FALSE },
		{ "sip:joe%0d%0aX@example.com", "*", FALSE },
		{ "sip:joe%00@example.com", "*", FALSE },
		{ "sip:joe%1F@example.com", "*", FALSE },
		{ "sip:joe%7f@example.com", "*", FALSE },
		{ "sip:joe%7F@example.com", "*", FALSE },
		{ "sip:joe%@example.com", "*", FALSE },
		{ "sip:joe%2@example.com", "*", FALSE },
		{ "sip:joe%zz@example.com", "*", FALSE },
		{ "sip:joe\"x\"@example.com", "*", FALSE },
		{ "sip:joe@example..com", "*", FALSE },
		{ "sip:joe@-example.com", "*", FALSE },
		{ "sip:joe@example.com-", "*", FALSE },
		{ "sip:joe@example_x.com", "*", FALSE },
		{ "sip:joe@example.com:", "*", FALSE },
		{ "sip:joe@example.com:0", "*", FALSE },
		{ "sip:joe@example.com:65536", "*", FALSE },
		{ "sip:joe@example.com:+5060", "*", FALSE },
		{ "sip:joe@[2001:db8::1", "*", FALSE },
		{ "sip:joe@[192.0.2.1]", "*", FALSE },
		{ "sip:joe@[fe80::1%lo]", "*", FALSE },
		{ "sip:joe@[::1]x", "*", FALSE },
	};
	string_t *uri = t_str_new(256);
	const char *error;
	unsigned int i;

	test_begin("pimap_sip_address_is_allowed()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		error = NULL;
		test_assert_idx(pimap_sip_address_is_allowed(
			tests[i].address, "pimap_sip_pattern",
			tests[i].pattern, &error) == tests[i].allowed, i);
		test_assert_idx((error == NULL) == tests[i].allowed, i);
	}
	str_append(uri, "sip:");
	while (str_len(uri) < PIMAP_SIP_MAX_URI - strlen("@example.com"))
		str_append_c(uri, 'x');
	test_assert(pimap_sip_uri_is_valid(t_strconcat(
		str_c(uri), "@example.com", NULL), &error));
	test_assert(!pimap_sip_uri_is_valid(t_strconcat(
		str_c(uri), "x@example.com", NULL), &error));
	test_end();
}

static void test_pimap_sip_proxy(void)
{
	static const struct {
		const char *value, *host;
		in_port_t port;
		bool tcp, tls;
	} tests[] = {
		{ "sip.example.com", "sip.example.com", 5060, FALSE, FALSE },
		{ "sip.example.com:5070", "sip.example.com", 5070, FALSE, FALSE },
		{ "127.0.0.1:5070;transport=tcp", "127.0.0.1", 5070, TRUE, FALSE },
		{ "localhost;Transport=UDP", "localhost", 5060, FALSE, FALSE },
		{ "[2001:db8::1]:5070", "2001:db8::1", 5070, FALSE, FALSE },
		{ "[::1];transport=tcp", "::1", 5060, TRUE, FALSE },
		{ "sip.example.com;transport=tls", "sip.example.com", 5061, TRUE,
		  TRUE },
		{ "127.0.0.1:5060;Transport=TLS", "127.0.0.1", 5060, TRUE, TRUE },
	};
	static const char *const invalid[] = {
		":5060", "a:0", "a:65536", "a:x", "a b", "sip:a", "a;transport=sctp",
		"a;lr", "a;transport=tcp;lr", "a;", ";transport=tcp", "a\r\nb",
		"joe@a",
	};
	struct pimap_sip_proxy proxy;
	const char *error;
	unsigned int i;

	test_begin("pimap_sip_proxy_parse()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		if (pimap_sip_proxy_parse(tests[i].value, &proxy, &error) < 0)
			i_fatal("%s: %s", tests[i].value, error);
		test_assert_strcmp_idx(proxy.host, tests[i].host, i);
		test_assert_idx(proxy.port == tests[i].port, i);
		test_assert_idx(proxy.tcp == tests[i].tcp, i);
		test_assert_idx(proxy.tls == tests[i].tls, i);
	}
	for (i = 0; i < N_ELEMENTS(invalid); i++) {
		test_assert_idx(pimap_sip_proxy_parse(invalid[i], &proxy,
						      &error) < 0, i);
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_sip_address,
		test_pimap_sip_proxy,
		NULL
	};
	return test_run(test_functions);
}
