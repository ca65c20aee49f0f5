/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "str.h"
#include "base64.h"
#include "test-common.h"
#include "pimap-channel.h"
#include "pimap-settings.h"
#include "pimap-webpush.h"

/* RFC 8291, section 5 */
#define KEY "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyP" \
	"js7Vd8pZGH6SRpkNtoIAiw4"
#define KEY2 "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS" \
	"6TlzAC8wEqKK6PBru3jl7A8"
#define AUTH "BTBZMqHH6r4Tts7J_aSIgg"

static const char *test_base64(const void *data, size_t size)
{
	return str_c(t_base64url_encode(BASE64_ENCODE_FLAG_NO_PADDING,
					SIZE_MAX, data, size));
}

/* The key with these first octets, that last one changed by a bit, and that long */
static const char *test_key(int first, bool flip, size_t size)
{
	unsigned char key[PIMAP_WEBPUSH_KEY_SIZE + 1] = { 0 };

	memcpy(key, t_base64url_decode_str(BASE64_DECODE_FLAG_NO_PADDING,
					   KEY)->data, PIMAP_WEBPUSH_KEY_SIZE);
	key[0] = first;
	if (flip)
		key[PIMAP_WEBPUSH_KEY_SIZE - 1] ^= 1;
	return test_base64(key, size);
}

static void test_pimap_webpush_address(void)
{
	static const unsigned char zero[PIMAP_WEBPUSH_KEY_SIZE] = { 4 };
	/* x is p, for which 0 must not be taken */
	static const unsigned char big[PIMAP_WEBPUSH_KEY_SIZE] = {
		4, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff,
		/* the root of b */
		0x66, 0x48, 0x5c, 0x78, 0x0e, 0x2f, 0x83, 0xd7,
		0x24, 0x33, 0xbd, 0x5d, 0x84, 0xa0, 0x6b, 0xb6,
		0x54, 0x1c, 0x2a, 0xf3, 0x1d, 0xae, 0x87, 0x17,
		0x28, 0xbf, 0x85, 0x6a, 0x17, 0x4f, 0x93, 0xf4
	};
	unsigned char null[PIMAP_WEBPUSH_KEY_SIZE];
	const struct {
		const char *address;
		const char *origin, *target;
	} tests[] = {
		{ "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV "
		  KEY" "AUTH, "https://push.example.net",
		  "/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV" },
		{ "https://Push.example:443/?a=b "KEY2" "AUTH,
		  "https://push.example", "/?a=b" },
		{ "HTTPS://push.example:8443?a "KEY" "AUTH"==",
		  "https://push.example:8443", "/?a" },
		{ "https://push.example "KEY"= "AUTH, "https://push.example", "/" },
		{ "https://push.example./ "KEY" "AUTH, "https://push.example", "/" },
		{ "https://[2001:db8::1]/x "KEY" "AUTH, "https://[2001:db8::1]",
		  "/x" },
		{ "https://192.0.2.1/x "KEY" "AUTH, "https://192.0.2.1", "/x" },
		/* the other alphabet */
		{ "https://push.example/ BCVxsr7N/eNgVRqvHtD0zTZsEc6+VV+JvLexhqUz"
		  "ORcxaOzi6+AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4= "
		  "BTBZMqHH6r4Tts7J/aSIgg==", "https://push.example", "/" },
		{ "", NULL, NULL },
		{ "joe@example.com", NULL, NULL },
		{ "https://push.example/ "KEY, NULL, NULL },
		{ "https://push.example/ "KEY" "AUTH" x", NULL, NULL },
		{ "https://push.example/  "KEY" "AUTH, NULL, NULL },
		{ "http://push.example/ "KEY" "AUTH, NULL, NULL },
		{ "ftp://push.example/ "KEY" "AUTH, NULL, NULL },
		{ "//push.example/ "KEY" "AUTH, NULL, NULL },
		{ "https:/push.example/ "KEY" "AUTH, NULL, NULL },
		{ "https:///x "KEY" "AUTH, NULL, NULL },
		{ "https://joe@push.example/ "KEY" "AUTH, NULL, NULL },
		{ "https://good@127.0.0.1/ "KEY" "AUTH, NULL, NULL },
		{ "https://push.example/#x "KEY" "AUTH, NULL, NULL },
		{ "https://push.example:0x1bb/ "KEY" "AUTH, NULL, NULL },
		{ "https://push.example:99999/ "KEY" "AUTH, NULL, NULL },
		{ "https://push.exa%0ample/ "KEY" "AUTH, NULL, NULL },
		{ "https://push.example%2f/ "KEY" "AUTH, NULL, NULL },
		{ "https://push\r\n/ "KEY" "AUTH, NULL, NULL },
		{ "https://push.example/\tx "KEY" "AUTH, NULL, NULL },
		{ "https://push.example/\xc3\xa4 "KEY" "AUTH, NULL, NULL },
		{ "https://2130706433/ "KEY" "AUTH, NULL, NULL },
		{ "https://0x7f.1/ "KEY" "AUTH, NULL, NULL },
		{ "https://127.1/ "KEY" "AUTH, NULL, NULL },
		{ "https://permanently-removed.invalid/fcm/send/x "KEY" "AUTH,
		  NULL, NULL },
		{ "https://push.example/ "AUTH" "KEY, NULL, NULL },
		{ "https://push.example/ "KEY" BTBZMqHH6r4Tts7J_aSI", NULL, NULL },
		{ "https://push.example/ "KEY" "AUTH"==!", NULL, NULL },
		{ "https://push.example/ "KEY" BTBZMqHH6r4Tts7J_aSI\tg", NULL, NULL },
		{ t_strconcat("https://push.example/ ", test_key(4, FALSE, 65),
			      " "AUTH, NULL), "https://push.example", "/" },
		{ t_strconcat("https://push.example/ ", test_key(4, FALSE, 64),
			      " "AUTH, NULL), NULL, NULL },
		{ t_strconcat("https://push.example/ ", test_key(4, FALSE, 66),
			      " "AUTH, NULL), NULL, NULL },
		{ t_strconcat("https://push.example/ ", test_key(4, TRUE, 65),
			      " "AUTH, NULL), NULL, NULL },
		{ t_strconcat("https://push.example/ ", test_key(6, FALSE, 65),
			      " "AUTH, NULL), NULL, NULL },
		{ t_strconcat("https://push.example/ ", test_key(2, FALSE, 33),
			      " "AUTH, NULL), NULL, NULL },
		{ t_strconcat("https://push.example/ ",
			      test_base64(zero, sizeof(zero)), " "AUTH, NULL),
		  NULL, NULL },
		{ t_strconcat("https://push.example/ ",
			      test_base64(big, sizeof(big)), " "AUTH, NULL),
		  NULL, NULL },
	};
	struct pimap_webpush_address addr;
	const char *error;
	unsigned int i;

	test_begin("pimap_webpush_address_parse()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		error = NULL;
		if (tests[i].origin == NULL) {
			test_assert_idx(pimap_webpush_address_parse(
				tests[i].address, &addr, &error) < 0, i);
			test_assert_idx(error != NULL, i);
			continue;
		}
		test_assert_idx(pimap_webpush_address_parse(
			tests[i].address, &addr, &error) == 0, i);
		test_assert_idx(error == NULL, i);
		test_assert_strcmp_idx(addr.origin, tests[i].origin, i);
		test_assert_strcmp_idx(addr.target, tests[i].target, i);
	}
	/* the root is one: with a 0 in the place of p it is a point */
	memcpy(null, big, sizeof(null));
	memset(null + 1, 0, 32);
	test_assert(pimap_webpush_address_parse(t_strconcat(
		"https://push.example/ ", test_base64(null, sizeof(null)),
		" "AUTH, NULL), &addr, &error) == 0);
	test_end();
}

static void test_pimap_webpush_public(void)
{
	static const char *const other[] = {
		"0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.255",
		"127.0.0.1", "127.255.0.1", "169.254.169.254", "172.16.0.1",
		"172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.1.1",
		"198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9",
		"224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
		"::ffff:100.64.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
		"64:ff9b:1::1", "100::1", "fd00::1", "fc00::1", "fe80::1",
		"fec0::1", "ff02::1", "2001::1", "2001:db8::1",
		"2002:7f00:1::", "3fff::1", "4000::1"
	};
	static const char *const public[] = {
		"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255",
		"100.128.0.0", "126.0.0.1", "128.0.0.1", "172.15.0.1",
		"172.32.0.1", "192.0.1.1", "198.17.0.1", "198.20.0.0",
		"223.255.255.255", "::ffff:1.1.1.1", "64:ff9b::101:101",
		"2600::1", "2a00:1450:4001::1", "2001:4860::1", "2003::1"
	};
	struct ip_addr ip;
	unsigned int i;

	test_begin("pimap_webpush_ip_is_public()");
	for (i = 0; i < N_ELEMENTS(other); i++) {
		test_assert_idx(net_addr2ip(other[i], &ip) == 0, i);
		test_assert_idx(!pimap_webpush_ip_is_public(&ip), i);
	}
	for (i = 0; i < N_ELEMENTS(public); i++) {
		test_assert_idx(net_addr2ip(public[i], &ip) == 0, i);
		test_assert_idx(pimap_webpush_ip_is_public(&ip), i);
	}
	i_zero(&ip);
	test_assert(!pimap_webpush_ip_is_public(&ip));
	test_end();
}

static void test_pimap_webpush_allowed(void)
{
	static const struct {
		const char *endpoint, *ip, *hosts;
		bool allowed;
	} tests[] = {
		{ "https://push.example/", NULL, "", TRUE },
		{ "https://push.example/", "1.1.1.1", "", TRUE },
		{ "https://push.example/", "10.0.0.1", "", FALSE },
		{ "https://push.example/", "10.0.0.1", "push.example", TRUE },
		{ "https://push.example/", "10.0.0.1", "a PUSH.example", TRUE },
		{ "https://push.example/", "10.0.0.1", "*.example", TRUE },
		{ "https://push.example/", "10.0.0.1", "example", FALSE },
		{ "https://push.example/", "10.0.0.1", "10.0.0.0/24", TRUE },
		{ "https://push.example/", "10.0.1.1", "10.0.0.0/24", FALSE },
		{ "https://push.example/", "::ffff:10.0.0.9", "10.0.0.0/24", TRUE },
		{ "https://push.example/", "::1", "10.0.0.0/24 ::1", TRUE },
		{ "https://push.example:25/", "1.1.1.1", "", FALSE },
		{ "https://push.example:25/", "1.1.1.1", "push.example", TRUE },
		{ "https://push.example:8443/", "1.1.1.1", "", TRUE },
		/* a list of these doesn't forbid others */
		{ "https://push.example/", "1.1.1.1", "10.0.0.0/24", TRUE },
		{ "https://10.0.0.1/", "10.0.0.1", "", FALSE },
		{ "https://10.0.0.1/", "10.0.0.1", "10.0.0.1", TRUE },
		{ "https://[::ffff:10.0.0.1]/", "::ffff:10.0.0.1", "", FALSE },
	};
	struct pimap_settings set = { .pimap_webpush_hosts = "" };
	struct pimap_webpush_address addr;
	struct ip_addr ip;
	const char *address, *error;
	unsigned int i;

	test_begin("pimap_webpush_host_is_allowed()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		address = t_strconcat(tests[i].endpoint, " "KEY" "AUTH, NULL);
		test_assert_idx(pimap_webpush_address_parse(address, &addr,
							    &error) == 0, i);
		if (tests[i].ip != NULL)
			test_assert_idx(net_addr2ip(tests[i].ip, &ip) == 0, i);
		test_assert_idx(pimap_webpush_host_is_allowed(&addr,
			tests[i].ip == NULL ? NULL : &ip, tests[i].hosts,
			&error) == tests[i].allowed, i);
		/* what is known without a resolver */
		set.pimap_webpush_hosts = tests[i].hosts;
		if (addr.ip.family != 0 || tests[i].allowed) {
			test_assert_idx(pimap_channel_takes_address(&set,
				"joe", "WEBPUSH", address, &error) ==
				tests[i].allowed, i);
		}
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_webpush_address,
		test_pimap_webpush_public,
		test_pimap_webpush_allowed,
		NULL
	};
	return test_run(test_functions);
}
