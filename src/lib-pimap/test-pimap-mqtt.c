/* SPDX-License-Identifier: LGPL-2.1-only */

#include "lib.h"
#include "str.h"
#include "test-common.h"
#include "pimap-mqtt.h"

static void test_pimap_mqtt_url(void)
{
	static const struct {
		const char *value, *host;
		in_port_t port;
		bool tls;
	} tests[] = {
		{ "mqtt://mqtt.example.com", "mqtt.example.com", 1883, FALSE },
		{ "mqtts://mqtt.example.com", "mqtt.example.com", 8883, TRUE },
		{ "MQTT://127.0.0.1:11883/", "127.0.0.1", 11883, FALSE },
		{ "mqtts://[2001:db8::1]:4711", "2001:db8::1", 4711, TRUE },
		{ "mqtt://[::1]", "::1", 1883, FALSE },
		{ "mqtt://h", "h", 1883, FALSE },
		{ "", NULL, 0, FALSE },
		{ "mqtt.example.com", NULL, 0, FALSE },
		{ "tcp://mqtt.example.com", NULL, 0, FALSE },
		{ "mqtt:mqtt.example.com", NULL, 0, FALSE },
		{ "mqtt://", NULL, 0, FALSE },
		{ "mqtt:///", NULL, 0, FALSE },
		{ "mqtt://:1883", NULL, 0, FALSE },
		{ "mqtt://h:0", NULL, 0, FALSE },
		{ "mqtt://h:65536", NULL, 0, FALSE },
		{ "mqtt://h:x", NULL, 0, FALSE },
		{ "mqtt://user:password@h", NULL, 0, FALSE },
		{ "mqtt://[h]:1883", "h", 1883, FALSE },
		{ "mqtt://a:b:c", NULL, 0, FALSE },
		{ "mqtt://h]", NULL, 0, FALSE },
		{ "mqtt://h/topic", NULL, 0, FALSE },
		{ "mqtt://h?x", NULL, 0, FALSE },
		{ "mqtt://h h", NULL, 0, FALSE },
		{ "mqtt://h\n", NULL, 0, FALSE },
	};
	struct pimap_mqtt_url url;
	const char *error;
	unsigned int i;
	int ret;

	test_begin("pimap_mqtt_url_parse()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		error = NULL;
		ret = pimap_mqtt_url_parse(tests[i].value, &url, &error);
		test_assert_idx(ret == (tests[i].host != NULL ? 0 : -1), i);
		test_assert_idx((error == NULL) == (ret == 0), i);
		if (ret < 0 || tests[i].host == NULL)
			continue;
		test_assert_strcmp_idx(url.host, tests[i].host, i);
		test_assert_idx(url.port == tests[i].port, i);
		test_assert_idx(url.tls == tests[i].tls, i);
	}
	test_end();
}

static const char *test_long(size_t len)
{
	string_t *str = t_str_new(len);

	str_append(str, "pimap/");
	while (str_len(str) < len)
		str_append_c(str, 'x');
	return str_c(str);
}

static void test_pimap_mqtt_topic(void)
{
	const struct {
		const char *topic, *prefix;
		bool allowed;
	} tests[] = {
		{ "pimap/joe/phone", "pimap", TRUE },
		{ "pimap/joe/phone", "pimap/", TRUE },
		{ "pimap/joe/phone", "pimap/joe", TRUE },
		{ "pimap/joe phone", "pimap", TRUE },
		{ "pimap/j\xc3\xb6/\xf0\x9f\x98\x80", "pimap", TRUE },
		{ "p\xc3\xaemap/joe", "p\xc3\xaemap", TRUE },
		{ "pimap/../x", "pimap", TRUE },
		{ test_long(255), "pimap", TRUE },
		{ test_long(256), "pimap", FALSE },
		{ test_long(70000), "pimap", FALSE },
		{ "pimap/joe/phone", "", FALSE },
		{ "pimap/joe/phone", "/", FALSE },
		{ "", "pimap", FALSE },
		{ "pimap", "pimap", FALSE },
		{ "pimap/", "pimap", FALSE },
		{ "pimapx/joe", "pimap", FALSE },
		{ "Pimap/joe", "pimap", FALSE },
		{ "other/joe", "pimap", FALSE },
		{ "/pimap/joe", "pimap", FALSE },
		{ "pimap//joe", "pimap", FALSE },
		{ "pimap/joe/", "pimap", FALSE },
		{ "pimap/ann/phone", "pimap/joe", FALSE },
		{ "pimap/joe/#", "pimap", FALSE },
		{ "pimap/joe#phone", "pimap", FALSE },
		{ "pimap/+/phone", "pimap", FALSE },
		{ "pimap/joe+x", "pimap", FALSE },
		{ "$SYS/x", "$SYS", FALSE },
		{ "$share/a/x", "$share/a", FALSE },
		{ "pimap/$x", "pimap", FALSE },
		{ "#", "pimap", FALSE },
		{ "pimap/a\nb", "pimap", FALSE },
		{ "pimap/a\x01", "pimap", FALSE },
		{ "pimap/a\x7f", "pimap", FALSE },
		{ "pimap/a\xc2\x80", "pimap", FALSE },
		{ "pimap/a\xc2\x9f", "pimap", FALSE },
		{ "pimap/a\xc2\xa0", "pimap", TRUE },
		/* ISO 8859-1, cut, too long a form, NUL in one, a surrogate */
		{ "pimap/\xf6", "pimap", FALSE },
		{ "pimap/\xc3", "pimap", FALSE },
		{ "pimap/\xc0\xaf", "pimap", FALSE },
		{ "pimap/\xc0\x80", "pimap", FALSE },
		{ "pimap/\xed\xa0\x80", "pimap", FALSE },
		/* no characters: U+FFFE, U+FFFF, U+FDD0, U+1FFFE, U+10FFFF */
		{ "pimap/\xef\xbf\xbe", "pimap", FALSE },
		{ "pimap/\xef\xbf\xbf", "pimap", FALSE },
		{ "pimap/\xef\xb7\x90", "pimap", FALSE },
		{ "pimap/\xf0\x9f\xbf\xbe", "pimap", FALSE },
		{ "pimap/\xf4\x8f\xbf\xbf", "pimap", FALSE },
	};
	const char *error;
	unsigned int i;

	test_begin("pimap_mqtt_topic_is_allowed()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		error = NULL;
		test_assert_idx(pimap_mqtt_topic_is_allowed(tests[i].topic,
			tests[i].prefix, &error) == tests[i].allowed, i);
		test_assert_idx((error == NULL) == tests[i].allowed, i);
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_mqtt_url,
		test_pimap_mqtt_topic,
		NULL
	};
	return test_run(test_functions);
}
