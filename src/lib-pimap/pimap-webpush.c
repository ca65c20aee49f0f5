/* SPDX-License-Identifier: LGPL-2.1-only */
/* Subscriptions of Web Push, as users set them, and where they may lead. */

#include "lib.h"
#include "str.h"
#include "base64.h"
#include "http-url.h"
#include "wildcard-match.h"
#include "pimap-webpush.h"

#include <ctype.h>

/* P-256. A number is 8 words, the least significant one first. libcrypto would do
   this, but IMAP processes are better without it: loading takes them longer than a
   short session. Nothing here is secret. */
#define P256_WORDS 8
typedef uint32_t p256_num[P256_WORDS];

static const p256_num p256_p = {
	0xffffffff, 0xffffffff, 0xffffffff, 0, 0, 0, 1, 0xffffffff
};
static const p256_num p256_b = {
	0x27d2604b, 0x3bce3c3e, 0xcc53b0f6, 0x651d06b0,
	0x769886bc, 0xb3ebbd55, 0xaa3a93e7, 0x5ac635d8
};

static bool p256_less(const p256_num a, const p256_num b)
{
	unsigned int i;

	for (i = P256_WORDS; i-- > 0; ) {
		if (a[i] != b[i])
			return a[i] < b[i];
	}
	return FALSE;
}

static void p256_sub(p256_num r, const p256_num a, const p256_num b)
{
	uint64_t diff, borrow = 0;
	unsigned int i;

	for (i = 0; i < P256_WORDS; i++) {
		diff = (uint64_t)a[i] - b[i] - borrow;
		r[i] = (uint32_t)diff;
		borrow = (diff >> 32) & 1;
	}
}

/* Both below p; and modulo p */
static void p256_add(p256_num r, const p256_num a, const p256_num b)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < P256_WORDS; i++) {
		sum += (uint64_t)a[i] + b[i];
		r[i] = (uint32_t)sum;
		sum >>= 32;
	}
	if (sum != 0 || !p256_less(r, p256_p))
		p256_sub(r, r, p256_p);
}

static void p256_mul(p256_num r, const p256_num a, const p256_num b)
{
	p256_num product = { 0 };
	unsigned int bit;

	for (bit = P256_WORDS * 32; bit-- > 0; ) {
		p256_add(product, product, product);
		if ((b[bit / 32] >> (bit % 32) & 1) != 0)
			p256_add(product, product, a);
	}
	memcpy(r, product, sizeof(product));
}

static void p256_read(p256_num r, const unsigned char *data)
{
	unsigned int i;

	for (i = 0; i < P256_WORDS; i++)
		r[i] = be32_to_cpu_unaligned(data + (P256_WORDS - 1 - i) * 4);
}

/* y^2 = x^3 - 3x + b. As the curve has no others, it is of the right order. */
static bool p256_point_is_valid(const unsigned char *key)
{
	p256_num x, y, left, right, x3;

	p256_read(x, key + 1);
	p256_read(y, key + 1 + 32);
	if (key[0] != 4 || !p256_less(x, p256_p) || !p256_less(y, p256_p))
		return FALSE;
	p256_mul(left, y, y);
	p256_add(left, left, x);
	p256_add(left, left, x);
	p256_add(left, left, x);
	p256_mul(x3, x, x);
	p256_mul(x3, x3, x);
	p256_add(right, x3, p256_b);
	return memcmp(left, right, sizeof(left)) == 0;
}

/* Returns -1 if it isn't base64 of so many octets. */
static int
webpush_decode(const char *text, unsigned char *data, size_t size)
{
	size_t len = strlen(text);
	string_t *url;
	buffer_t *decoded;

	/* as long as it is with padding, which may be missing */
	if (len > MAX_BASE64_ENCODED_SIZE(size))
		return -1;
	while (len > 0 && text[len-1] == '=')
		len--;
	url = t_str_new(len);
	for (; len > 0; len--, text++)
		str_append_c(url, *text == '+' ? '-' : *text == '/' ? '_' : *text);
	decoded = t_base64url_decode_str(BASE64_DECODE_FLAG_NO_PADDING |
					 BASE64_DECODE_FLAG_NO_WHITESPACE,
					 str_c(url));
	if (decoded == NULL || decoded->used != size)
		return -1;
	memcpy(data, decoded->data, size);
	return 0;
}

/* Resolvers take 127.1 and 0x7f000001 for addresses: no name's last part begins
   with a digit. */
static bool webpush_host_is_valid(const char *host)
{
	const char *p, *last = host;

	if (*host == '\0' || strlen(host) > 253)
		return FALSE;
	for (p = host; *p != '\0'; p++) {
		if (!i_isalnum(*p) && *p != '-' && *p != '_' && *p != '.')
			return FALSE;
		if (*p == '.') {
			if (p[1] == '.' || p[1] == '\0' || p == host)
				return FALSE;
			last = p + 1;
		}
	}
	return !i_isdigit(*last);
}

static int
webpush_endpoint_parse(const char *endpoint,
		       struct pimap_webpush_address *addr_r,
		       const char **error_r)
{
	struct http_url *url;
	const char *p, *error;

	for (p = endpoint; *p != '\0'; p++) {
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f) {
			*error_r = "the endpoint isn't a URL in ASCII";
			return -1;
		}
	}
	if (strncasecmp(endpoint, "https://", 8) != 0) {
		*error_r = "the endpoint isn't a https: URL";
		return -1;
	}
	if (http_url_parse(endpoint, NULL, 0, pool_datastack_create(), &url,
			   &error) < 0) {
		*error_r = t_strdup_printf("the endpoint isn't a URL: %s",
					   error);
		return -1;
	}
	addr_r->port = url->port != 0 ? url->port : PIMAP_WEBPUSH_DEFAULT_PORT;
	addr_r->ip = url->host.ip;
	if (addr_r->ip.family != 0) {
		addr_r->host = net_ip2addr(&addr_r->ip);
	} else if (url->host.name != NULL &&
		   webpush_host_is_valid(url->host.name)) {
		addr_r->host = t_str_lcase(url->host.name);
	} else {
		*error_r = "the endpoint's host isn't a name or an address";
		return -1;
	}
	addr_r->origin = t_strconcat("https://",
		addr_r->ip.family == AF_INET6 ? "[" : "", addr_r->host,
		addr_r->ip.family == AF_INET6 ? "]" : "",
		addr_r->port == PIMAP_WEBPUSH_DEFAULT_PORT ? NULL :
		t_strdup_printf(":%u", addr_r->port), NULL);
	p = endpoint + 8 + strcspn(endpoint + 8, "/?");
	addr_r->target = *p == '/' ? t_strdup(p) : t_strconcat("/", p, NULL);
	return 0;
}

int pimap_webpush_address_parse(const char *address,
				struct pimap_webpush_address *addr_r,
				const char **error_r)
{
	const char *const *parts = t_strsplit(address, " ");
	size_t len;

	i_zero(addr_r);
	if (str_array_length(parts) != 3) {
		*error_r = "it isn't <endpoint> <p256dh> <auth>";
		return -1;
	}
	if (webpush_endpoint_parse(parts[0], addr_r, error_r) < 0)
		return -1;
	len = strlen(addr_r->host);
	if (len >= 8 && strcmp(addr_r->host + len - 8, ".invalid") == 0) {
		*error_r = "the subscription has ended";
		return -1;
	}
	if (webpush_decode(parts[1], addr_r->key, sizeof(addr_r->key)) < 0) {
		*error_r = t_strdup_printf("p256dh isn't base64url of %u "
			"octets", PIMAP_WEBPUSH_KEY_SIZE);
		return -1;
	}
	if (!p256_point_is_valid(addr_r->key)) {
		*error_r = "p256dh isn't an uncompressed point of P-256";
		return -1;
	}
	if (webpush_decode(parts[2], addr_r->auth, sizeof(addr_r->auth)) < 0) {
		*error_r = t_strdup_printf("auth isn't base64url of %u octets",
					   PIMAP_WEBPUSH_AUTH_SIZE);
		return -1;
	}
	return 0;
}

static bool ip_is_in(const struct ip_addr *ip, const char *const *networks)
{
	struct ip_addr net, ip4;
	unsigned int bits;

	if (net_ipv6_mapped_ipv4_convert(ip, &ip4) == 0)
		ip = &ip4;
	for (; *networks != NULL; networks++) {
		if (net_parse_range(*networks, &net, &bits) == 0 &&
		    net.family == ip->family &&
		    net_is_in_network(ip, &net, bits))
			return TRUE;
	}
	return FALSE;
}

bool pimap_webpush_ip_is_public(const struct ip_addr *ip)
{
	/* IANA's registries of special-purpose addresses, and multicast */
	static const char *const special[] = {
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8",
		"169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
		"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"224.0.0.0/3", NULL
	};
	static const char *const special6[] = {
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", NULL
	};
	/* these have an IPv4 address at their end */
	static const char *const nat64[] = { "64:ff9b::/96", NULL };
	static const char *const global[] = { "2000::/3", NULL };
	struct ip_addr ip4;

	if (ip->family == AF_INET)
		return !ip_is_in(ip, special);
	if (ip->family != AF_INET6)
		return FALSE;
	if (net_ipv6_mapped_ipv4_convert(ip, &ip4) == 0)
		return pimap_webpush_ip_is_public(&ip4);
	if (ip_is_in(ip, nat64)) {
		i_zero(&ip4);
		ip4.family = AF_INET;
		memcpy(&ip4.u.ip4, &ip->u.ip6.s6_addr[12], 4);
		return pimap_webpush_ip_is_public(&ip4);
	}
	return ip_is_in(ip, global) && !ip_is_in(ip, special6);
}

bool pimap_webpush_host_is_allowed(const struct pimap_webpush_address *addr,
				   const struct ip_addr *ip, const char *hosts,
				   const char **error_r)
{
	const char *const *host = t_strsplit_spaces(hosts, " ,");

	for (; *host != NULL; host++) {
		const char *const network[] = { *host, NULL };

		if (wildcard_match_icase(addr->host, *host) ||
		    (ip != NULL && ip_is_in(ip, network)))
			return TRUE;
	}
	if (addr->port != PIMAP_WEBPUSH_DEFAULT_PORT && addr->port < 1024) {
		*error_r = "its port is another service's";
		return FALSE;
	}
	if (ip != NULL && !pimap_webpush_ip_is_public(ip)) {
		*error_r = "its address isn't public";
		return FALSE;
	}
	return TRUE;
}
