/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_LOOKS_H
#define OUTBAND_LOOKS_H

#include "outband-store.h"

/* Which folders are to be looked at, and what is done with what is found there
   . A folder that is marked gets a look that begins after the mark;
   marks that come before it are one. */

struct outband_looks;
struct outband_judge;

/* The device's queue has changed. */
typedef void outband_looks_found_callback_t(const char *user,
					    const char *device, void *context);

/* Returns until when an event of the device in that folder is held, 0 = not at all. */
typedef time_t outband_looks_hold_callback_t(const char *user,
					     const char *device,
					     const char *guid, void *context);

/* scan_interval: seconds, 0 = off (outband-scan.h) */
struct outband_looks *
outband_looks_init(struct event *event_parent, const char *worker_path,
		   struct outband_judge *judge,
		   unsigned int scan_interval,
		   outband_looks_found_callback_t *callback,
		   outband_looks_hold_callback_t *hold_callback,
		   void *context);
void outband_looks_deinit(struct outband_looks **looks);

/* The folder is to be looked at (guid "": all of the user's). Until
   outband_looks_start() marks are kept. cause lives for ever. */
void outband_looks_mark(struct outband_looks *looks, const char *user,
			const char *guid, const char *cause);
/* What the next look at the folder is told (PIMAP_LOOK_NOTE); it is to be marked. */
void outband_looks_note(struct outband_looks *looks, const char *user,
			const char *guid, const char *note);
/* Likewise all that is accounted for, after outband_looks_start(). */
void outband_looks_mark_all(struct outband_looks *looks);

struct outband_looks_status {
	/* those at everything aren't among them before it is their turn */
	unsigned int waiting, running;
	/* since the service began */
	uint64_t done, failed;
	/* by scans: folders and profiles, and those that had changed */
	uint64_t scanned, scan_changed;
};
void outband_looks_get_status(struct outband_looks *looks,
			      struct outband_looks_status *status_r);

/* Begins, with a look at all that is accounted for. The store is the caller's; its
   functions block. */
void outband_looks_start(struct outband_looks *looks,
			 struct outband_store *store);

#endif
