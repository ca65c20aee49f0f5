/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_WEBPUSH_H
#define PIMAP_WEBPUSH_H

#include "net.h"

/* The address of the channel WEBPUSH: a subscription, as
   <endpoint> SP <p256dh> SP <auth> in base64url. */

#define PIMAP_WEBPUSH_KEY_SIZE 65
#define PIMAP_WEBPUSH_AUTH_SIZE 16
#define PIMAP_WEBPUSH_DEFAULT_PORT 443

struct pimap_webpush_address {
	/* a name in lower case, or an address: then ip.family isn't 0 */
	const char *host;
	struct ip_addr ip;
	in_port_t port;
	/* scheme, host and the port if it isn't 443 */
	const char *origin;
	/* path and query, never empty */
	const char *target;
	/* the device's public key, an uncompressed point of P-256, and its secret */
	unsigned char key[PIMAP_WEBPUSH_KEY_SIZE];
	unsigned char auth[PIMAP_WEBPUSH_AUTH_SIZE];
};

/* Parses it, the strings in the data stack. Both alphabets of base64 are taken,
   with or without padding. Returns 0, or -1 and error_r if it isn't one, or if its
   browser has made it to say that there is none any more. */
int pimap_webpush_address_parse(const char *address,
				struct pimap_webpush_address *addr_r,
				const char **error_r);

/* May the server connect there? hosts are names, in which * and ? are
   wildcards, and networks, separated by blanks: those that needn't be public. The
   ip is the host's own, or one that its name has been resolved to; NULL: it isn't
   known yet. Returns TRUE, or FALSE and error_r. */
bool pimap_webpush_host_is_allowed(const struct pimap_webpush_address *addr,
				   const struct ip_addr *ip, const char *hosts,
				   const char **error_r);
/* An address that belongs to no other purpose than to the Internet */
bool pimap_webpush_ip_is_public(const struct ip_addr *ip);

#endif
