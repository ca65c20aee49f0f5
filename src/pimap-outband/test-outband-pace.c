/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "test-common.h"
#include "outband-pace.h"

/* In milliseconds: hints come each_usecs apart, and looks take look_msecs. */
struct run {
	unsigned int hints, looks, longest;
};

static struct run
run_hints(unsigned int each_usecs, unsigned int count, unsigned int look_msecs)
{
	struct outband_pace pace;
	struct run run = { .hints = count };
	uint64_t now, marked = 0, ends = 0, free_at = 0;
	const uint64_t end = 1000000 + (uint64_t)each_usecs * count + 10000000;
	unsigned int sent = 0;

	i_zero(&pace);
	for (now = 1000000; now < end; now += 100) {
		while (sent < count && 1000000 +
		       (uint64_t)each_usecs * sent <= now) {
			outband_pace_hint(&pace);
			sent++;
			if (marked == 0)
				marked = now;
		}
		if (ends != 0 && now >= ends) {
			ends = 0;
			free_at = now +
				outband_pace_end(&pace, now) * 1000ULL;
		}
		if (ends == 0 && now >= free_at) {
			if (marked == 0) {
				/* as the service forgets it */
				i_zero(&pace);
				continue;
			}
			run.looks++;
			run.longest = I_MAX(run.longest, (now - marked) / 1000);
			outband_pace_begin(&pace, now);
			ends = now + look_msecs * 1000ULL;
			marked = 0;
		}
	}
	test_assert(marked == 0);
	return run;
}

static void test_pace_single(void)
{
	struct outband_pace pace;

	test_begin("pace: one hint");
	i_zero(&pace);
	outband_pace_hint(&pace);
	outband_pace_begin(&pace, 5000000);
	test_assert(outband_pace_end(&pace, 5007000) ==
		    7 * OUTBAND_PACE_COST);
	test_end();
}

static void test_pace_few(void)
{
	struct run run;

	test_begin("pace: fifty hints a second");
	run = run_hints(20000, 500, 3);
	test_assert(run.looks == 500);
	test_assert(run.longest == 0);
	/* looks that take longer are fewer */
	run = run_hints(20000, 500, 30);
	test_assert(run.looks < 100);
	test_assert(run.longest <= 30 * (OUTBAND_PACE_COST + 1));
	test_end();
}

static void test_pace_many(void)
{
	struct run run;

	test_begin("pace: four hundred hints a second");
	run = run_hints(2500, 4000, 5);
	test_assert(run.looks > 40 && run.looks < 65);
	test_assert(run.longest <= OUTBAND_PACE_MAX_MSECS);
	/* four at once, now and then */
	run = run_hints(1000, 4, 5);
	test_assert(run.looks <= 3);
	test_assert(run.longest <= 5 * (OUTBAND_PACE_COST + 1));
	test_end();
}

static void test_pace_slow(void)
{
	struct outband_pace pace;

	test_begin("pace: a look that takes long");
	i_zero(&pace);
	outband_pace_hint(&pace);
	outband_pace_begin(&pace, 1000000);
	test_assert(outband_pace_end(&pace, 2000000) ==
		    1000 * OUTBAND_PACE_COST);
	outband_pace_hint(&pace);
	outband_pace_begin(&pace, 5000000);
	test_assert(outband_pace_end(&pace, 605000000) ==
		    OUTBAND_PACE_MAX_COST_MSECS);
	test_end();
}

static void test_pace_clock(void)
{
	struct outband_pace pace;
	unsigned int i;

	test_begin("pace: a clock that goes back");
	i_zero(&pace);
	for (i = 0; i < 10; i++) {
		outband_pace_hint(&pace);
		outband_pace_hint(&pace);
		outband_pace_begin(&pace, 9000000000 - i * 100000000ULL);
		test_assert(outband_pace_end(&pace, 1000) <=
			    OUTBAND_PACE_MAX_MSECS);
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pace_single,
		test_pace_few,
		test_pace_many,
		test_pace_slow,
		test_pace_clock,
		NULL
	};

	return test_run(test_functions);
}
