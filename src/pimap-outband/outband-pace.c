/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "outband-pace.h"

static uint64_t pace_elapsed(const struct outband_pace *pace, uint64_t now)
{
	/* the clock may go back */
	return now > pace->begun ? now - pace->begun : 0;
}

void outband_pace_hint(struct outband_pace *pace)
{
	pace->hints++;
}

void outband_pace_begin(struct outband_pace *pace, uint64_t now)
{
	const uint64_t elapsed = pace_elapsed(pace, now);

	/* more than one, or it would be no rate */
	if (pace->hints > 1 &&
	    pace->hints * (OUTBAND_PACE_MIN_MSECS*1000ULL) > elapsed) {
		pace->hold_msecs = I_MIN(I_MAX(pace->hold_msecs * 2,
					       OUTBAND_PACE_MIN_MSECS),
					 OUTBAND_PACE_MAX_MSECS);
	} else {
		pace->hold_msecs = 0;
	}
	pace->hints = 0;
	pace->begun = now;
}

unsigned int outband_pace_end(struct outband_pace *pace, uint64_t now)
{
	const uint64_t took = pace_elapsed(pace, now) / 1000;
	uint64_t hold = I_MIN(took * OUTBAND_PACE_COST,
			      OUTBAND_PACE_MAX_COST_MSECS);

	if (pace->hold_msecs > took)
		hold = I_MAX(hold, pace->hold_msecs - took);
	return hold;
}
