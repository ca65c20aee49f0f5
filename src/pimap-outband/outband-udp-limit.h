/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_UDP_LIMIT_H
#define OUTBAND_UDP_LIMIT_H

struct ip_addr;
struct outband_udp_limit;

/* How often something is done a second, for each source and for all of them.
   An IPv6 source is a network of 64 bits. The memory is the same for any number of
   sources; now and then two of them share a limit. */

/* 0 = no limit */
struct outband_udp_limit *
outband_udp_limit_init(unsigned int max, unsigned int max_all);
void outband_udp_limit_deinit(struct outband_udp_limit **limit);

/* Returns TRUE if it may be done once more. */
bool outband_udp_limit_take(struct outband_udp_limit *limit,
			    const struct ip_addr *ip, time_t now);

#endif
