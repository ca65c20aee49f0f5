/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "str.h"
#include "hash-method.h"
#include "test-common.h"
#include "sip-answer.h"
#include "sip-digest.h"

static int
test_parse(const char *text, struct sip_answer *answer_r, const char **error_r)
{
	*error_r = NULL;
	return sip_answer_parse((const unsigned char *)text, strlen(text),
				answer_r, error_r);
}

static void test_sip_answer(void)
{
	struct sip_answer answer;
	const char *error;
	const char *text =
		"\r\n\r\nSIP/2.0 401 Not \xC3\xBC you\r\n"
		"v :\tSIP/2.0/UDP host;rport=5060 ; Branch = z9hG4bK1;received=::1\r\n"
		"CSeq: 0017\r\n"
		"\t MESSAGE  \r\n"
		"WWW-Authenticate: Digest realm=\"a\",\r\n nonce=\"b\"\r\n"
		"www-authenticate: Basic realm=\"c\"\r\n"
		"Proxy-Authenticate: Digest realm=\"d\"\r\n"
		"no header\r\n"
		"Retry-After: 120 (I'm in a meeting);duration=30\r\n"
		"m: \"<a>, b\" <sip:joe@example.com;x=y> ;q=1, <sip:x@y>\r\n"
		"L: 4\r\n"
		"\r\nbody";

	test_begin("sip_answer_parse()");
	test_assert(test_parse(text, &answer, &error) == 1);
	test_assert(answer.status == 401);
	test_assert_strcmp(answer.reason, "Not \xC3\xBC you");
	test_assert_strcmp(answer.branch, "z9hG4bK1");
	test_assert_strcmp(answer.method, "MESSAGE");
	test_assert_strcmp(answer.www[0], "Digest realm=\"a\", nonce=\"b\"");
	test_assert_strcmp(answer.www[1], "Basic realm=\"c\"");
	test_assert(answer.www[2] == NULL);
	test_assert_strcmp(answer.proxy[0], "Digest realm=\"d\"");
	test_assert(answer.retry_secs == 120);
	test_assert_strcmp(answer.contact, "sip:joe@example.com;x=y");
	test_assert(answer.has_body_size && answer.body_size == 4);
	test_assert(answer.header_size == strlen(text) - 4);
	test_end();
}

static void test_sip_answer_parts(void)
{
	const char *text = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP h;branch=b\r\n"
		"CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n";
	const size_t size = strlen(text);
	struct sip_answer answer;
	const char *error;
	size_t i;

	test_begin("sip_answer_parse(): cut anywhere");
	for (i = 0; i < size; i++) {
		test_assert_idx(sip_answer_parse((const unsigned char *)text, i,
						 &answer, &error) == 0, i);
	}
	test_assert(test_parse(text, &answer, &error) == 1);
	test_assert(answer.header_size == size && answer.body_size == 0);
	test_end();
}

static void test_sip_answer_odd(void)
{
#define VIA "Via: SIP/2.0/UDP h;branch=b\r\n"
	static const struct {
		const char *text;
		int ret;
		unsigned int status;
		const char *branch;
	} tests[] = {
		{ "SIP/2.0 200\r\n"VIA"\r\n", 1, 200, "b" },
		{ "sip/2.0 200 OK\n"VIA"\n", 1, 200, "b" },
		{ "SIP/2.0 699 x\r\n\r\n", 1, 699, NULL },
		/* a request, which isn't answered */
		{ "OPTIONS sip:a@b SIP/2.0\r\n"VIA"\r\n", 1, 0, "b" },
		{ "HTTP/1.1 200 OK\r\n\r\n", 1, 0, NULL },
		/* it isn't for us */
		{ "SIP/2.0 200 OK\r\n"VIA VIA"\r\n", 1, 200, NULL },
		{ "SIP/2.0 200 OK\r\nv: a;branch=b, c;branch=d\r\n\r\n", 1, 200, NULL },
		{ "SIP/2.0 200 OK\r\nVia: a;x=\";branch=c\";branch=b\r\n\r\n",
		  1, 200, "b" },
		{ "SIP/2.0 200 OK\r\nVia: a;x=\"y, z\";branch=b\r\n\r\n", 1, 200, "b" },
		{ "SIP/2.0 200 OK\r\nVia: a;branches=c\r\n\r\n", 1, 200, NULL },
		{ "SIP/2.0 200 OK\r\nVia: a;branch=\r\n\r\n", 1, 200, NULL },
		{ "SIP/2.0 200 OK\r\nVia: a;x=\"\\\";branch=c\r\n\r\n", 1, 200, NULL },
		{ "SIP/2.0 200 OK\r\nVia:\r\n\r\n", 1, 200, NULL },
		{ "SIP/2.0 200 OK\r\n:\r\n: x\r\n"VIA"\r\n", 1, 200, "b" },
		{ "SIP/2.0 99 x\r\n\r\n", -1, 0, NULL },
		{ "SIP/2.0 700 x\r\n\r\n", -1, 0, NULL },
		{ "SIP/2.0 2000 x\r\n\r\n", -1, 0, NULL },
		{ "SIP/2.0 200OK\r\n\r\n", -1, 0, NULL },
		{ "SIP/3.0 200 OK\r\n\r\n", -1, 0, NULL },
		{ "SIP/2.0 200 OK\r\nl: 1\r\nl: 2\r\n\r\n", -1, 0, NULL },
		{ "SIP/2.0 200 OK\r\nl: 1\r\nContent-Length: 1\r\n\r\n", 1, 200, NULL },
		{ "SIP/2.0 200 OK\r\nl: -1\r\n\r\n", -1, 0, NULL },
		{ "SIP/2.0 200 OK\r\nl: 1x\r\n\r\n", -1, 0, NULL },
		{ "SIP/2.0 200 OK\r\nl:\r\n\r\n", -1, 0, NULL },
		{ "SIP/2.0 200 OK\r\nl: 65537\r\n\r\n", -1, 0, NULL },
		{ "SIP/2.0 200 OK\r\nl: 99999999999999999999\r\n\r\n", -1, 0, NULL },
		{ "SIP/2.0 200 O\x1bK\r\n\r\n", -1, 0, NULL },
		{ "SIP/2.0 200 OK\r\nX: a\rb\r\n\r\n", -1, 0, NULL },
		{ "SIP/2.0 200 OK\r\nX: a\r\n \x7f\r\n\r\n", -1, 0, NULL },
	};
	static const unsigned char null[] = "SIP/2.0 200 OK\r\nX: a\0b\r\n\r\n";
	struct sip_answer answer;
	string_t *text = t_str_new(SIP_ANSWER_MAX_HEADER + 100);
	const char *error;
	unsigned int i;

	test_begin("sip_answer_parse(): odd ones");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(test_parse(tests[i].text, &answer, &error) ==
				tests[i].ret, i);
		test_assert_idx((error == NULL) == (tests[i].ret >= 0), i);
		if (tests[i].ret < 0)
			continue;
		test_assert_idx(answer.status == tests[i].status, i);
		test_assert_idx(null_strcmp(answer.branch, tests[i].branch) == 0, i);
	}
	test_assert(sip_answer_parse(null, sizeof(null) - 1, &answer,
				     &error) < 0);
	/* too long */
	str_append(text, "SIP/2.0 200 OK\r\nX: ");
	while (str_len(text) < SIP_ANSWER_MAX_HEADER - 4)
		str_append_c(text, 'x');
	test_assert(test_parse(t_strconcat(str_c(text), "\r\n\r\n", NULL),
			       &answer, &error) == 1);
	test_assert(test_parse(t_strconcat(str_c(text), "x\r\n\r\n", NULL),
			       &answer, &error) < 0);
	/* and without a beginning */
	str_truncate(text, 0);
	while (str_len(text) < SIP_ANSWER_MAX_HEADER + 50)
		str_append(text, "\r\n");
	test_assert(test_parse(str_c(text), &answer, &error) < 0);
	/* more challenges than there may be */
	str_truncate(text, 0);
	str_append(text, "SIP/2.0 401 x\r\n");
	for (i = 0; i < 100; i++)
		str_printfa(text, "WWW-Authenticate: %u\r\n", i);
	str_append(text, "\r\n");
	test_assert(test_parse(str_c(text), &answer, &error) == 1);
	test_assert_strcmp(answer.www[SIP_ANSWER_MAX_CHALLENGES - 1], "7");
	test_assert(answer.www[SIP_ANSWER_MAX_CHALLENGES] == NULL);
	/* more than fits */
	test_assert(test_parse("SIP/2.0 503 x\r\nRetry-After: 99999999999\r\n\r\n",
			       &answer, &error) == 1);
	test_assert(answer.retry_secs == UINT_MAX);
	test_end();
}

static void test_sip_contact(void)
{
	static const struct {
		const char *value, *contact;
	} tests[] = {
		{ "sip:joe@example.com", "sip:joe@example.com" },
		{ "sip:joe@example.com;q=0.5", "sip:joe@example.com" },
		{ "sip:joe@example.com , <sip:x@y>", "sip:joe@example.com" },
		{ "Joe Doe<sip:joe@example.com>;q=1", "sip:joe@example.com" },
		{ "\"\\\"<x>\" <sip:joe@example.com>", "sip:joe@example.com" },
		{ "<sip:joe@example.com", NULL },
		{ "\"", "\"" },
		{ "<>", "" },
		{ "", "" },
	};
	struct sip_answer answer;
	const char *error;
	unsigned int i;

	test_begin("sip_answer_parse(): Contact");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(test_parse(t_strdup_printf(
			"SIP/2.0 302 x\r\nContact: %s\r\n\r\n", tests[i].value),
			&answer, &error) == 1, i);
		test_assert_idx(null_strcmp(answer.contact,
					    tests[i].contact) == 0, i);
	}
	test_end();
}

static void test_sip_digest(void)
{
	static const struct {
		const char *challenge, *user, *password, *method, *uri, *cnonce;
		const char *result;
	} tests[] = {
		/* RFC 2617, section 3.5 */
		{ "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", "
		  "nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", "
		  "opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
		  "Mufasa", "Circle Of Life", "GET", "/dir/index.html", "0a4f113b",
		  "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", "
		  "nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", "
		  "uri=\"/dir/index.html\", "
		  "response=\"6629fae49393a05397450978507c4ef1\", "
		  "opaque=\"5ccc069c403ebaf9f0171e9517f40e41\", qop=auth, "
		  "nc=00000001, cnonce=\"0a4f113b\"" },
		/* RFC 7616, section 3.9.1 */
		{ "digest  Realm = \"http-auth@example.org\" , qop=auth, "
		  "algorithm=sha-256, stale=FALSE, "
		  "nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", "
		  "opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
		  "Mufasa", "Circle of Life", "GET", "/dir/index.html",
		  "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
		  "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", "
		  "nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", "
		  "uri=\"/dir/index.html\", response=\"753927fa0e85d155564e2e27"
		  "2a28d1802ca10daf4496794697cf8db5856cb6c1\", algorithm=SHA-256, "
		  "opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\", "
		  "qop=auth, nc=00000001, "
		  "cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\"" },
		{ "Digest realm=\"http-auth@example.org\", qop=auth, algorithm=MD5, "
		  "nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\"",
		  "Mufasa", "Circle of Life", "GET", "/dir/index.html",
		  "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
		  "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", "
		  "nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", "
		  "uri=\"/dir/index.html\", "
		  "response=\"8ca523f5e9506fed4657c9700eebdbec\", algorithm=MD5, "
		  "qop=auth, nc=00000001, "
		  "cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\"" },
		/* without qop, and with what must be quoted; by md5sum */
		{ "Digest realm=\"a\", nonce=\"b\"", "u\"\\", "p", "MESSAGE",
		  "sip:x@y", "c",
		  "Digest username=\"u\\\"\\\\\", realm=\"a\", nonce=\"b\", "
		  "uri=\"sip:x@y\", "
		  "response=\"5e1cf50a5bebc3d151e6f58e3849b80d\"" },
	};
	static const char *const invalid[] = {
		"", "Digest", "Digest ", "Basic realm=\"a\"",
		"Digest realm=\"a\"", "Digest nonce=\"b\"",
		"Digestrealm=\"a\", nonce=\"b\"",
		"Digest realm=\"a\", nonce=\"b", "Digest realm=\"a\", nonce=\"b\\",
		"Digest realm=\"a\", nonce=\"b\" x", "Digest realm=\"a\" nonce=\"b\"",
		"Digest realm=\"a\", nonce=b\\, x=y",
		"Digest realm=\"a\", nonce=\"b\", =c", "Digest realm=\"a\", nonce",
		"Digest realm=\"a\", nonce=\"b\", algorithm=MD5-sess",
		"Digest realm=\"a\", nonce=\"b\", algorithm=SHA-512-256",
		"Digest realm=\"a\", nonce=\"b\", qop=\"auth-int\"",
		"Digest realm=\"a\", nonce=\"b\", qop=\"\"",
		"Digest realm=\"a\", nonce=\"b\ncc\"",
	};
	struct sip_challenge challenge;
	string_t *dest = t_str_new(512);
	unsigned int i;

	test_begin("digest");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		str_truncate(dest, 0);
		if (!sip_challenge_parse(tests[i].challenge, &challenge))
			i_fatal("%s", tests[i].challenge);
		sip_digest_append(dest, &challenge, tests[i].user,
				  tests[i].password, tests[i].method,
				  tests[i].uri, tests[i].cnonce, 1);
		test_assert_strcmp_idx(str_c(dest), tests[i].result, i);
	}
	for (i = 0; i < N_ELEMENTS(invalid); i++)
		test_assert_idx(!sip_challenge_parse(invalid[i], &challenge), i);
	/* how long one may be */
	str_truncate(dest, 0);
	for (i = 0; i < 512; i++)
		str_append_c(dest, 'x');
	test_assert(sip_challenge_parse(t_strdup_printf(
		"Digest realm=\"a\", nonce=\"%s\"", str_c(dest)), &challenge));
	test_assert(!sip_challenge_parse(t_strdup_printf(
		"Digest realm=\"a\", nonce=\"%sx\"", str_c(dest)), &challenge));
	test_assert(sip_challenge_parse("Digest realm=\"a\", nonce=\"b\", "
					"stale=\"TRUE\"", &challenge) &&
		    challenge.stale && !challenge.qop);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_sip_answer,
		test_sip_answer_parts,
		test_sip_answer_odd,
		test_sip_contact,
		test_sip_digest,
		NULL
	};
	return test_run(test_functions);
}
