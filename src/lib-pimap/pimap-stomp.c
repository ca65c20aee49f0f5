/* SPDX-License-Identifier: LGPL-2.1-only */
/* Brokers that speak STOMP, and their destinations. */

#include "lib.h"
#include "pimap-stomp.h"

#include <ctype.h>

#define STOMP_SCHEME "stomp://"
#define STOMP_SSL_SCHEME "stomp+ssl://"
#define STOMP_MAX_NAME 200

int pimap_stomp_url_parse(const char *url, struct pimap_stomp_url *url_r,
			  const char **error_r)
{
	const char *p, *rest, *authority, *host;

	i_zero(url_r);
	if (strncasecmp(url, STOMP_SCHEME, strlen(STOMP_SCHEME)) == 0) {
		rest = url + strlen(STOMP_SCHEME);
		url_r->port = PIMAP_STOMP_PORT;
	} else if (strncasecmp(url, STOMP_SSL_SCHEME,
			       strlen(STOMP_SSL_SCHEME)) == 0) {
		rest = url + strlen(STOMP_SSL_SCHEME);
		url_r->port = PIMAP_STOMP_SSL_PORT;
		url_r->ssl = TRUE;
	} else {
		*error_r = "it isn't stomp://host or stomp+ssl://host";
		return -1;
	}
	for (p = rest; *p != '\0'; p++) {
		if ((unsigned char)*p <= ' ' || *p == 0x7f) {
			*error_r = "there is a blank or control character in it";
			return -1;
		}
	}
	authority = t_strcut(rest, '/');
	if (strchr(authority, '@') != NULL) {
		*error_r = "user and password are settings of their own";
		return -1;
	}
	if (strpbrk(authority, "?#%,()") != NULL ||
	    net_str2hostport(authority, url_r->port, &host,
			     &url_r->port) < 0 || *host == '\0' ||
	    url_r->port == 0) {
		*error_r = "there is no host, with or without a port, in it";
		return -1;
	}
	url_r->host = host;
	url_r->virtual_host = rest[strlen(authority)] == '\0' ||
		rest[strlen(authority) + 1] == '\0' ? host :
		t_strdup(rest + strlen(authority) + 1);
	return 0;
}

bool pimap_stomp_prefix_is_valid(const char *prefix, const char **error_r)
{
	const char *p;

	for (p = prefix; *p != '\0'; p++) {
		if ((unsigned char)*p <= ' ' || *p == 0x7f ||
		    strchr("*>#,;?", *p) != NULL) {
			*error_r = "there is a blank, control character or one "
				"of * > # , ; ? in it";
			return FALSE;
		}
	}
	return TRUE;
}

bool pimap_stomp_destination_is_allowed(const char *address,
					const char *setting, const char *prefix,
					const char **error_r)
{
	const char *name, *p;

	if (prefix[0] == '\0') {
		*error_r = t_strdup_printf("the administrator hasn't allowed "
			"any by %s", setting);
		return FALSE;
	}
	if (strncmp(address, prefix, strlen(prefix)) != 0) {
		*error_r = t_strdup_printf("it doesn't begin with %s", setting);
		return FALSE;
	}
	name = address + strlen(prefix);
	for (p = name; *p != '\0'; p++) {
		if (!i_isalnum(*p) && strchr("._-+=@", *p) == NULL)
			break;
	}
	if (*p != '\0' || p == name || p - name > STOMP_MAX_NAME) {
		*error_r = t_strdup_printf("after %s there must be 1 to %u "
			"letters, digits and . _ - + = @", setting,
			STOMP_MAX_NAME);
		return FALSE;
	}
	return TRUE;
}
