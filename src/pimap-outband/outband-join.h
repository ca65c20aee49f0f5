/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_JOIN_H
#define OUTBAND_JOIN_H

/* How many notifications may go out in some time. A window begins
   with the first of them, and is as long as that time. When it has as many as it may,
   the others wait until it ends, and become one. */

struct pimap_settings;

enum outband_window_type {
	/* pimap_join_count in pimap_join_interval */
	OUTBAND_WINDOW_JOIN,
	/* pimap_limit_* in an hour */
	OUTBAND_WINDOW_DEVICE,
	OUTBAND_WINDOW_USER,
	OUTBAND_WINDOW_CHANNEL,

	OUTBAND_WINDOW_COUNT
};

struct outband_window {
	/* 0 and 0: there was none yet */
	time_t start;
	unsigned int count;
};

/* 0 = no limit */
struct outband_limit {
	unsigned int count, secs;
};

enum outband_join {
	OUTBAND_JOIN_SEND,
	/* not before a time */
	OUTBAND_JOIN_WAIT,
	/* it has waited, together with all that the device has: they are one now */
	OUTBAND_JOIN_ALL
};

/* The limits for notifications by this channel */
void outband_limits_get(const struct pimap_settings *set, const char *channel,
			struct outband_limit limits_r[OUTBAND_WINDOW_COUNT]);

/* May a notification that was created then be numbered now? For WAIT sets until when
   it isn't, and the window that is full. */
enum outband_join
outband_join_check(const struct outband_limit limits[OUTBAND_WINDOW_COUNT],
		   const struct outband_window windows[OUTBAND_WINDOW_COUNT],
		   time_t now, time_t created, time_t *until_r,
		   enum outband_window_type *type_r);
/* One is numbered. Windows without a limit become empty. */
void outband_join_add(const struct outband_limit limits[OUTBAND_WINDOW_COUNT],
		      struct outband_window windows[OUTBAND_WINDOW_COUNT],
		      time_t now);

#endif
