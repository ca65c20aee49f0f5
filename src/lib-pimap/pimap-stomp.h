/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_STOMP_H
#define PIMAP_STOMP_H

#include "net.h"

#define PIMAP_STOMP_PORT 61613
#define PIMAP_STOMP_SSL_PORT 61614

/* Where a broker is that speaks STOMP */
struct pimap_stomp_url {
	/* without brackets */
	const char *host;
	in_port_t port;
	bool ssl;
	/* the virtual host: what is after the host, or that host */
	const char *virtual_host;
};

/* stomp://host[:port][/virtual host], or stomp+ssl:// with TLS. What it returns is in
   the data stack. Returns 0, or -1 and error_r. */
int pimap_stomp_url_parse(const char *url, struct pimap_stomp_url *url_r,
			  const char **error_r);

/* What destinations begin with: no control characters and nothing that brokers take
   for several destinations or for options. Returns TRUE, or FALSE and error_r. */
bool pimap_stomp_prefix_is_valid(const char *prefix, const char **error_r);

/* The address is the prefix, which the setting of that name has, and a name behind it,
   of at most 200 letters, digits and . _ - + = @: no wildcards, no second
   destination, no options. Without a prefix nobody has an address. Returns
   TRUE, or FALSE and error_r. */
bool pimap_stomp_destination_is_allowed(const char *address,
					const char *setting, const char *prefix,
					const char **error_r);

#endif
