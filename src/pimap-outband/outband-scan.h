/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_SCAN_H
#define OUTBAND_SCAN_H

/* Scans: what changes without a hint is seen from outside, where the last
   look has said that it can be seen. What was seen is kept in memory only: when the
   service starts everything is looked at. */

struct outband_scans;
struct outband_workers;

/* The folder (guid "": the user's profile) is to be looked at. */
typedef void outband_scans_changed_callback_t(const char *user,
					      const char *guid, void *context);

/* Everything is scanned once in so many seconds; 0: nothing ever. */
struct outband_scans *
outband_scans_init(struct event *event_parent, struct outband_workers *workers,
		   unsigned int interval,
		   outband_scans_changed_callback_t *callback, void *context);
/* Before that of the workers */
void outband_scans_deinit(struct outband_scans **scans);

/* A look has seen this (NULL: it isn't to be scanned any more). */
void outband_scans_set(struct outband_scans *scans, const char *user,
		       const char *guid, const char *seen);
/* How many were scanned since the service began, and had changed */
void outband_scans_get_status(struct outband_scans *scans, uint64_t *scanned_r,
			      uint64_t *changed_r);
/* The folder is gone, or the user with all of his (guid ""). */
void outband_scans_forget(struct outband_scans *scans, const char *user,
			  const char *guid);

#endif
