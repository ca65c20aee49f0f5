/* SPDX-License-Identifier: LGPL-2.1-only */

#include "lib.h"
#include "http-url.h"
#include "test-common.h"
#include "pimap-gateway.h"

static void test_pimap_gateway_url(void)
{
	static const struct {
		const char *text, *shown;
		in_port_t port;
		bool ssl;
	} tests[] = {
		{ "http://sms.example.com", "http://sms.example.com/", 80, FALSE },
		{ "https://sms.example.com/cgi-bin/sendsms?user=a&password=geheim",
		  "https://sms.example.com/cgi-bin/sendsms", 443, TRUE },
		{ "HTTPS://127.0.0.1:13013/?geheim", "https://127.0.0.1:13013/",
		  13013, TRUE },
		{ "https://[::1]:8443/mm7", "https://[::1]:8443/mm7", 8443, TRUE },
		{ "", NULL, 0, FALSE },
		{ "sms.example.com", NULL, 0, FALSE },
		{ "127.0.0.1:13013", NULL, 0, FALSE },
		{ "ftp://sms.example.com/geheim", NULL, 0, FALSE },
		{ "https:sms.example.com?geheim", NULL, 0, FALSE },
		{ "https://", NULL, 0, FALSE },
		{ "https://h:geheim/", NULL, 0, FALSE },
		{ "https://u:geheim@h/", NULL, 0, FALSE },
		{ "https://u:g/eheim@h/", NULL, 0, FALSE },
		{ "https://h/#geheim", NULL, 0, FALSE },
		{ "https://h/?password=geheim x", NULL, 0, FALSE },
		{ "https://h/?password=geheim%z", NULL, 0, FALSE },
	};
	struct http_url *url;
	const char *error;
	unsigned int i;
	int ret;

	test_begin("pimap_gateway_url_parse()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		error = NULL;
		ret = pimap_gateway_url_parse(tests[i].text, &url, &error);
		test_assert_idx(ret == (tests[i].shown != NULL ? 0 : -1), i);
		test_assert_idx((error == NULL) == (ret == 0), i);
		if (ret < 0)
			test_assert_idx(strstr(error, "eheim") == NULL, i);
		if (ret < 0 || tests[i].shown == NULL)
			continue;
		test_assert_strcmp_idx(pimap_gateway_url_show(url),
				       tests[i].shown, i);
		test_assert_idx(http_url_get_port(url) == tests[i].port, i);
		test_assert_idx(url->have_ssl == tests[i].ssl, i);
	}
	test_end();
}

static void test_pimap_gateway_query(void)
{
	static const struct {
		const char *query, *text;
		bool told;
	} tests[] = {
		{ "user=a&password=geheim", "not found: /x?password=geheim", TRUE },
		{ "user=a&password=geheim", "<p>a, \"geheim\"</p>", TRUE },
		{ "geheim", "geheim", TRUE },
		{ "a=b;p=x=y=z", "x=y=z", TRUE },
		{ "user=joey&password=geheim", "user joey?", TRUE },
		{ "user=a&password=geheim", "a wrong password=gehei", FALSE },
		{ "user=a&password=&x", "password=", FALSE },
		{ "pin=123", "status 1234", FALSE },
		{ "", "", FALSE },
	};
	unsigned int i;

	test_begin("pimap_gateway_query_is_told()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(pimap_gateway_query_is_told(tests[i].query,
			tests[i].text) == tests[i].told, i);
	}
	test_end();
}

int main(void)
{
	static void (*const tests[])(void) = {
		test_pimap_gateway_url,
		test_pimap_gateway_query,
		NULL
	};
	return test_run(tests);
}
