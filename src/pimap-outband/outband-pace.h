/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_PACE_H
#define OUTBAND_PACE_H

/* How soon a folder is looked at again. The first look begins at once; the next one
   when four times as long has passed as that took. Where hints come
   faster than that, one look is for many of them: what looks cost delivery then
   depends on the time, not on the mails.

   All zeroes is a folder that hasn't been looked at for a while. Times are in
   microseconds, of any clock. */
struct outband_pace {
	uint64_t begun;
	unsigned int hold_msecs;
	/* hints that have come since the last look began */
	unsigned int hints;
};

/* Hints that come no faster than that get a look each */
#define OUTBAND_PACE_MIN_MSECS 10
/* Nothing is held off for longer because there are many hints, */
#define OUTBAND_PACE_MAX_MSECS 200
/* or because a look takes long. */
#define OUTBAND_PACE_COST 4
#define OUTBAND_PACE_MAX_COST_MSECS (5*1000)

void outband_pace_hint(struct outband_pace *pace);
void outband_pace_begin(struct outband_pace *pace, uint64_t now);
/* Returns for how many milliseconds from now, which is when a look has ended, the
   next one isn't to begin. */
unsigned int outband_pace_end(struct outband_pace *pace, uint64_t now);

#endif
