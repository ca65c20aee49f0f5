/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_SIP_H
#define PIMAP_SIP_H

#include "net.h"

/* Addresses of SIP (RFC 3261), as far as notifications need them. */

#define PIMAP_SIP_PORT 5060
#define PIMAP_SIP_TLS_PORT 5061
/* of an address: it stands twice, with credentials three times, in a request that
   must fit into a datagram */
#define PIMAP_SIP_MAX_URI 128

/* sip:user@host[:port], nothing else: a parameter could say where it goes (maddr), and
   what follows a ? would be headers of the request. sips: needs TLS.
   Returns TRUE, or FALSE and error_r. */
bool pimap_sip_uri_is_valid(const char *uri, const char **error_r);

/* It is such an address, and matches the pattern, without regard to case, which the
   setting of that name has. Without one nobody has an address. Returns TRUE,
   or FALSE and error_r. */
bool pimap_sip_address_is_allowed(const char *address, const char *setting,
				  const char *pattern, const char **error_r);

struct pimap_sip_proxy {
	const char *host;
	in_port_t port;
	bool tcp;
	/* over TCP */
	bool tls;
};

/* host[:port][;transport=udp|tcp|tls], from the data stack. Returns 0, or -1 and error_r,
   which says what it isn't. */
int pimap_sip_proxy_parse(const char *value, struct pimap_sip_proxy *proxy_r,
			  const char **error_r);

/* host:port of an address, from the data stack */
const char *pimap_sip_hostport(const struct ip_addr *ip, in_port_t port);

#endif
