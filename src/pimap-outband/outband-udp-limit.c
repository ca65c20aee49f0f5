/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "net.h"
#include "randgen.h"
#include "outband-udp-limit.h"

#define LIMIT_SLOTS 8192

struct limit_slot {
	time_t second;
	unsigned int count;
};

struct outband_udp_limit {
	unsigned int max, max_all;
	/* which sources share a slot isn't known outside */
	uint32_t seed;
	struct limit_slot all, slots[LIMIT_SLOTS];
};

struct outband_udp_limit *
outband_udp_limit_init(unsigned int max, unsigned int max_all)
{
	struct outband_udp_limit *limit = i_new(struct outband_udp_limit, 1);

	limit->max = max;
	limit->max_all = max_all;
	random_fill(&limit->seed, sizeof(limit->seed));
	return limit;
}

void outband_udp_limit_deinit(struct outband_udp_limit **limit)
{
	i_free_and_null(*limit);
}

static unsigned int
limit_get_slot(const struct outband_udp_limit *limit, const struct ip_addr *ip)
{
	const unsigned char *data;
	unsigned int i, size;
	uint32_t hash = 2166136261U ^ limit->seed;

	if (ip->family == AF_INET6) {
		data = (const void *)&ip->u.ip6;
		size = 8;
	} else {
		data = (const void *)&ip->u.ip4;
		size = sizeof(ip->u.ip4);
	}
	for (i = 0; i < size; i++)
		hash = (hash ^ data[i]) * 16777619U;
	hash ^= hash >> 15;
	return hash % LIMIT_SLOTS;
}

static bool limit_slot_take(struct limit_slot *slot, unsigned int max, time_t now)
{
	if (slot->second != now) {
		slot->second = now;
		slot->count = 0;
	}
	if (max != 0 && slot->count >= max)
		return FALSE;
	slot->count++;
	return TRUE;
}

bool outband_udp_limit_take(struct outband_udp_limit *limit,
			    const struct ip_addr *ip, time_t now)
{
	return limit_slot_take(&limit->slots[limit_get_slot(limit, ip)],
			       limit->max, now) &&
		limit_slot_take(&limit->all, limit->max_all, now);
}
