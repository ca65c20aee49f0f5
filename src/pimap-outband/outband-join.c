/* SPDX-License-Identifier: LGPL-2.1-only */
/* The limits, as functions of times and numbers: what there was is kept by the
   store, so that a restart doesn't begin anew. */

#include "lib.h"
#include "pimap-channel.h"
#include "pimap-settings.h"
#include "outband-join.h"

#define OUTBAND_LIMIT_SECS (60*60)

void outband_limits_get(const struct pimap_settings *set, const char *channel,
			struct outband_limit limits_r[OUTBAND_WINDOW_COUNT])
{
	limits_r[OUTBAND_WINDOW_JOIN].count = set->pimap_join_count;
	limits_r[OUTBAND_WINDOW_DEVICE].count = set->pimap_limit_device;
	limits_r[OUTBAND_WINDOW_USER].count = set->pimap_limit_user;
	limits_r[OUTBAND_WINDOW_CHANNEL].count =
		pimap_channel_get_limit(set, channel);
	limits_r[OUTBAND_WINDOW_JOIN].secs = set->pimap_join_interval;
	limits_r[OUTBAND_WINDOW_DEVICE].secs =
		limits_r[OUTBAND_WINDOW_USER].secs =
		limits_r[OUTBAND_WINDOW_CHANNEL].secs = OUTBAND_LIMIT_SECS;
}

/* If the clock went back by more than the window is long, it is over: nobody waits
   until the clock is there again. */
static bool
outband_window_is_open(const struct outband_limit *limit,
		       const struct outband_window *window, time_t now)
{
	const time_t secs = limit->secs;

	return window->count > 0 && now < window->start + secs &&
		now > window->start - secs;
}

enum outband_join
outband_join_check(const struct outband_limit limits[OUTBAND_WINDOW_COUNT],
		   const struct outband_window windows[OUTBAND_WINDOW_COUNT],
		   time_t now, time_t created, time_t *until_r,
		   enum outband_window_type *type_r)
{
	enum outband_join result = OUTBAND_JOIN_SEND;
	unsigned int i;
	time_t end;

	*until_r = 0;
	for (i = 0; i < OUTBAND_WINDOW_COUNT; i++) {
		if (limits[i].count == 0 ||
		    windows[i].count < limits[i].count)
			continue;
		end = windows[i].start + (time_t)limits[i].secs;
		if (!outband_window_is_open(&limits[i], &windows[i], now)) {
			if (created < end && result == OUTBAND_JOIN_SEND)
				result = OUTBAND_JOIN_ALL;
		} else if (end > *until_r) {
			result = OUTBAND_JOIN_WAIT;
			*until_r = end;
			*type_r = i;
		}
	}
	return result;
}

void outband_join_add(const struct outband_limit limits[OUTBAND_WINDOW_COUNT],
		      struct outband_window windows[OUTBAND_WINDOW_COUNT],
		      time_t now)
{
	unsigned int i;

	for (i = 0; i < OUTBAND_WINDOW_COUNT; i++) {
		if (limits[i].count == 0)
			i_zero(&windows[i]);
		else if (outband_window_is_open(&limits[i], &windows[i], now))
			windows[i].count++;
		else {
			windows[i].start = now;
			windows[i].count = 1;
		}
	}
}
