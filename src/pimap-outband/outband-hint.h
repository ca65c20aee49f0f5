/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_HINT_H
#define OUTBAND_HINT_H

struct event;
struct outband_hints;
struct outband_judge;
struct master_service_connection;

/* The connections of those who send hints (pimap-look.h). Whoever may connect may
   send them, so they are bounded, and cause looks only. guid "" is all of the
   user's folders: his profile has changed, which the judge knows then. note: who says
   so, and what (NULL: nothing). */
typedef void outband_hint_callback_t(const char *user, const char *guid,
				     const char *note, void *context);

struct outband_hints *
outband_hints_init(struct event *event_parent, struct outband_judge *judge,
		   outband_hint_callback_t *callback, void *context);
void outband_hints_deinit(struct outband_hints **hints);

/* Takes over the connection. */
void outband_hints_connected(struct outband_hints *hints,
			     struct master_service_connection *conn);
/* Closes all connections. */
void outband_hints_disconnect(struct outband_hints *hints);

/* Returns TRUE and what the line of a hint says, from the data stack or the
   fields, or FALSE and error_r. note_r is NULL if there is none. wait_r: it is to be
   answered. */
bool outband_hint_parse(const char *const *args, const char **user_r,
			const char **guid_r, const char **note_r, bool *wait_r,
			const char **error_r);

#endif
