/* SPDX-License-Identifier: LGPL-2.1-only */
/* Addresses of SIP. They are written into requests as they are: what isn't known to be
   harmless is refused. */

#include "lib.h"
#include "net.h"
#include "wildcard-match.h"
#include "pimap-sip.h"

#include <ctype.h>

/* Returns what follows the user, or NULL. RFC 3261 allows ; ? and / in it, too, which
   others could take for something else. */
static const char *sip_skip_user(const char *p)
{
	const char *start = p;

	for (; *p != '\0' && *p != '@'; p++) {
		if (*p == '%') {
			if (!i_isxdigit(p[1]) || !i_isxdigit(p[2]) ||
			    p[1] < '2' || (p[1] == '7' && i_toupper(p[2]) == 'F'))
				return NULL;
			p += 2;
		} else if (!i_isalnum(*p) &&
			   strchr("-_.!~*'()&=+$,", *p) == NULL)
			return NULL;
	}
	return p == start || *p != '@' ? NULL : p;
}

/* Returns what follows the host, or NULL. */
static const char *sip_skip_host(const char *p)
{
	const char *start = p;
	struct ip_addr ip;

	if (*p == '[') {
		p = strchr(p, ']');
		if (p == NULL ||
		    net_addr2ip(t_strdup_until(start + 1, p), &ip) < 0 ||
		    ip.family != AF_INET6 ||
		    /* a zone is of this host only */
		    memchr(start, '%', p - start) != NULL)
			return NULL;
		return p + 1;
	}
	for (; i_isalnum(*p) || *p == '-' || *p == '.'; p++) {
		if ((*p == '-' || *p == '.') &&
		    (p == start || p[-1] == '.' || (*p == '.' && p[-1] == '-')))
			return NULL;
	}
	return p == start || p[-1] == '-' ? NULL : p;
}

bool pimap_sip_uri_is_valid(const char *uri, const char **error_r)
{
	const char *p = NULL;
	in_port_t port;

	if (strncasecmp(uri, "sip:", 4) == 0)
		p = sip_skip_user(uri + 4);
	if (p != NULL)
		p = sip_skip_host(p + 1);
	if (p != NULL && *p == ':') {
		if (net_str2port(p + 1, &port) == 0 && i_isdigit(p[1]))
			p += strlen(p);
	}
	if (p == NULL || *p != '\0') {
		*error_r = "not sip:user@host or sip:user@host:port";
		return FALSE;
	}
	if (p - uri > PIMAP_SIP_MAX_URI) {
		*error_r = t_strdup_printf("it is longer than %u",
					   PIMAP_SIP_MAX_URI);
		return FALSE;
	}
	return TRUE;
}

bool pimap_sip_address_is_allowed(const char *address, const char *setting,
				  const char *pattern, const char **error_r)
{
	if (!pimap_sip_uri_is_valid(address, error_r))
		return FALSE;
	if (pattern[0] == '\0') {
		*error_r = t_strdup_printf("the administrator hasn't allowed "
			"any by %s", setting);
		return FALSE;
	}
	if (wildcard_match_icase(address, pattern))
		return TRUE;
	*error_r = t_strdup_printf("it doesn't match %s", setting);
	return FALSE;
}

int pimap_sip_proxy_parse(const char *value, struct pimap_sip_proxy *proxy_r,
			  const char **error_r)
{
	const char *params = strchr(value, ';'), *end;
	struct ip_addr ip;

	i_zero(proxy_r);
	if (params != NULL) {
		if (strcasecmp(params, ";transport=tls") == 0)
			proxy_r->tcp = proxy_r->tls = TRUE;
		else if (strcasecmp(params, ";transport=tcp") == 0)
			proxy_r->tcp = TRUE;
		else if (strcasecmp(params, ";transport=udp") != 0) {
			*error_r = "behind the ; may be transport=udp, "
				"transport=tcp or transport=tls";
			return -1;
		}
		value = t_strdup_until(value, params);
	}
	if (net_str2hostport(value, proxy_r->tls ? PIMAP_SIP_TLS_PORT :
			     PIMAP_SIP_PORT, &proxy_r->host,
			     &proxy_r->port) < 0 || proxy_r->port == 0 ||
	    (net_addr2ip(proxy_r->host, &ip) < 0 &&
	     ((end = sip_skip_host(proxy_r->host)) == NULL || *end != '\0'))) {
		*error_r = "it isn't a host with or without a port";
		return -1;
	}
	return 0;
}

const char *pimap_sip_hostport(const struct ip_addr *ip, in_port_t port)
{
	return t_strdup_printf(ip->family == AF_INET6 ? "[%s]:%u" : "%s:%u",
			       net_ip2addr(ip), port);
}
