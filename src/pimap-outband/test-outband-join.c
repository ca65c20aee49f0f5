/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "pimap-settings.h"
#include "test-common.h"
#include "outband-join.h"

static const struct pimap_settings set = {
	.pimap_join_count = 5,
	.pimap_join_interval = 10,
	.pimap_limit_device = 60,
	.pimap_limit_user = 300,
	.pimap_limit_mail = 7,
	.pimap_limit_program = 8,
	.pimap_limit_webpush = 9,
};

static struct outband_limit limits[OUTBAND_WINDOW_COUNT];
static struct outband_window windows[OUTBAND_WINDOW_COUNT];
static time_t until;
static enum outband_window_type type;

static void begin(unsigned int join, unsigned int device, unsigned int user,
		  unsigned int channel)
{
	const unsigned int counts[] = { join, device, user, channel };
	unsigned int i;

	i_zero(&windows);
	for (i = 0; i < OUTBAND_WINDOW_COUNT; i++) {
		limits[i].count = counts[i];
		limits[i].secs = i == OUTBAND_WINDOW_JOIN ? 10 : 3600;
	}
}

/* Sends as many as it may at that time, up to max. */
static unsigned int send_at(time_t now, unsigned int max)
{
	unsigned int count;

	for (count = 0; count < max; count++) {
		if (outband_join_check(limits, windows, now, now, &until,
				       &type) != OUTBAND_JOIN_SEND)
			break;
		outband_join_add(limits, windows, now);
	}
	return count;
}

static enum outband_join check(time_t now, time_t created)
{
	return outband_join_check(limits, windows, now, created, &until, &type);
}

static void test_outband_limits_get(void)
{
	test_begin("outband_limits_get()");
	outband_limits_get(&set, "MAIL", limits);
	test_assert(limits[OUTBAND_WINDOW_JOIN].count == 5 &&
		    limits[OUTBAND_WINDOW_JOIN].secs == 10);
	test_assert(limits[OUTBAND_WINDOW_DEVICE].count == 60 &&
		    limits[OUTBAND_WINDOW_DEVICE].secs == 3600);
	test_assert(limits[OUTBAND_WINDOW_USER].count == 300 &&
		    limits[OUTBAND_WINDOW_USER].secs == 3600);
	test_assert(limits[OUTBAND_WINDOW_CHANNEL].count == 7 &&
		    limits[OUTBAND_WINDOW_CHANNEL].secs == 3600);
	outband_limits_get(&set, "PROGRAM", limits);
	test_assert(limits[OUTBAND_WINDOW_CHANNEL].count == 8);
	outband_limits_get(&set, "WEBPUSH", limits);
	test_assert(limits[OUTBAND_WINDOW_CHANNEL].count == 9);
	outband_limits_get(&set, "SMS", limits);
	test_assert(limits[OUTBAND_WINDOW_CHANNEL].count == 0);
	test_end();
}

static void test_outband_join(void)
{
	test_begin("R-13.5: joining");
	begin(5, 0, 0, 0);
	test_assert(send_at(1000, 1) == 1);
	test_assert(send_at(1004, 100) == 4);
	test_assert(check(1004, 1004) == OUTBAND_JOIN_WAIT && until == 1010 &&
		    type == OUTBAND_WINDOW_JOIN);
	/* the rest of the interval, also what was queued before it began */
	test_assert(check(1009, 900) == OUTBAND_JOIN_WAIT && until == 1010);
	test_assert(check(1010, 1004) == OUTBAND_JOIN_ALL);
	test_assert(check(1010, 900) == OUTBAND_JOIN_ALL);
	test_assert(check(1020, 1009) == OUTBAND_JOIN_ALL);
	/* what came later didn't wait */
	test_assert(check(1010, 1010) == OUTBAND_JOIN_SEND);
	/* the one that they become is the first of the next interval */
	outband_join_add(limits, windows, 1010);
	test_assert(check(1010, 1004) == OUTBAND_JOIN_SEND);
	test_assert(send_at(1019, 100) == 4);
	test_assert(check(1019, 1019) == OUTBAND_JOIN_WAIT && until == 1020);
	/* few at a time aren't joined */
	begin(5, 0, 0, 0);
	test_assert(send_at(1000, 5) == 5 && send_at(1010, 5) == 5);
	/* 0 switches it off */
	begin(0, 0, 0, 0);
	test_assert(send_at(1000, 1000) == 1000);
	test_assert(windows[OUTBAND_WINDOW_JOIN].count == 0);
	test_end();
}

static void test_outband_join_limits(void)
{
	unsigned int i;

	test_begin("R-14.5: limits");
	for (i = OUTBAND_WINDOW_DEVICE; i < OUTBAND_WINDOW_COUNT; i++) {
		begin(0, i == OUTBAND_WINDOW_DEVICE ? 3 : 0,
		      i == OUTBAND_WINDOW_USER ? 3 : 0,
		      i == OUTBAND_WINDOW_CHANNEL ? 3 : 0);
		test_assert_idx(send_at(1000, 9) == 3, i);
		test_assert_idx(check(4599, 1000) == OUTBAND_JOIN_WAIT &&
				until == 4600 && type == i, i);
		test_assert_idx(check(4600, 4599) == OUTBAND_JOIN_ALL, i);
		test_assert_idx(check(4600, 4600) == OUTBAND_JOIN_SEND, i);
	}
	/* the one that ends last counts, whichever is over already */
	begin(5, 5, 5, 5);
	test_assert(send_at(1000, 9) == 5);
	windows[OUTBAND_WINDOW_USER].start = 2000;
	test_assert(check(1005, 1005) == OUTBAND_JOIN_WAIT && until == 5600 &&
		    type == OUTBAND_WINDOW_USER);
	test_assert(check(4600, 1005) == OUTBAND_JOIN_WAIT && until == 5600);
	test_assert(check(5600, 1005) == OUTBAND_JOIN_ALL);
	/* of one with another limit in the meantime */
	limits[OUTBAND_WINDOW_USER].count = 6;
	test_assert(check(4599, 1005) == OUTBAND_JOIN_WAIT && until == 4600);
	test_end();
}

static void test_outband_join_clock(void)
{
	test_begin("windows when the clock jumps");
	/* forth: they are over */
	begin(5, 60, 0, 0);
	test_assert(send_at(1000, 9) == 5);
	test_assert(check(1000000, 1001) == OUTBAND_JOIN_ALL);
	test_assert(check(1000000, 1000000) == OUTBAND_JOIN_SEND);
	/* back a little: as long as they are at most, twice */
	test_assert(check(995, 995) == OUTBAND_JOIN_WAIT && until == 1010);
	test_assert(check(991, 991) == OUTBAND_JOIN_WAIT && until == 1010);
	/* back farther: they are over, nobody waits for days */
	test_assert(check(990, 1001) == OUTBAND_JOIN_ALL);
	test_assert(check(990, 1010) == OUTBAND_JOIN_SEND);
	test_assert(check(-100000, 1005) == OUTBAND_JOIN_ALL);
	outband_join_add(limits, windows, 5);
	test_assert(windows[OUTBAND_WINDOW_JOIN].start == 5 &&
		    windows[OUTBAND_WINDOW_JOIN].count == 1);
	/* the hour's has jumped less than an hour */
	test_assert(windows[OUTBAND_WINDOW_DEVICE].start == 1000 &&
		    windows[OUTBAND_WINDOW_DEVICE].count == 6);
	/* what the store has may be anything */
	windows[OUTBAND_WINDOW_JOIN].start = 0;
	windows[OUTBAND_WINDOW_JOIN].count = UINT_MAX;
	test_assert(check(1000, 1000) == OUTBAND_JOIN_SEND);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_outband_limits_get,
		test_outband_join,
		test_outband_join_limits,
		test_outband_join_clock,
		NULL
	};
	return test_run(test_functions);
}
