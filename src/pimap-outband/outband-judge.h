/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_JUDGE_H
#define OUTBAND_JUDGE_H

#include "outband-store.h"

/* by which generation of his profile a user's notifications must be judged,
   and a worker's judgement of those that weren't. That generation is known only from
   what a worker has read since the user's last change was told; nothing is sent
   before it is known. */

struct outband_judge;
struct outband_profile;
struct outband_judge_job;
struct outband_judge_wait;

struct outband_judge *
outband_judge_init(struct event *event_parent, const char *worker_path);
/* Profiles are unreferenced and jobs cancelled before. */
void outband_judge_deinit(struct outband_judge **judge);
/* The store is the caller's; its functions block. */
void outband_judge_start(struct outband_judge *judge,
			 struct outband_store *store);

/* What is known of the user's profile, as long as somebody is interested in it */
struct outband_profile *
outband_profile_ref(struct outband_judge *judge, const char *user);
void outband_profile_unref(struct outband_profile **profile);

/* Is this the generation by which is to be judged now? */
bool outband_profile_is(const struct outband_profile *profile,
			int64_t generation);
/* -1 if that isn't known. */
int64_t
outband_profile_get_generation(const struct outband_profile *profile);
/* TRUE the first time for this window of the user's, so that it is logged once. */
bool outband_profile_is_first_full(struct outband_profile *profile,
				   time_t window_start);
/* How often the profile has changed: before a worker is asked to read it, and what
   it has read. That doesn't count if it was changed meanwhile. */
unsigned int
outband_profile_get_changes(const struct outband_profile *profile);
void outband_profile_was_read(struct outband_profile *profile,
			      unsigned int changes, int64_t generation);
/* Something that is judged is handed to a channel: the value is given back when that
   has answered. */
unsigned int outband_profile_send_begin(struct outband_profile *profile);
void outband_profile_send_end(struct outband_profile *profile,
			      unsigned int begun);

/* The user's profile has changed. Returns NULL if nothing goes out any more that was
   judged before; else the callback is called, once, when this is so (or what is being
   sent takes too long), if there is one. */
typedef void outband_judge_wait_callback_t(void *context);
struct outband_judge_wait *
outband_judge_changed(struct outband_judge *judge, const char *user,
		      outband_judge_wait_callback_t *callback, void *context);
void outband_judge_unwait(struct outband_judge_wait **wait);
/* The user is found by whoever starts next, if this process ends before it has looked.
   Returns FALSE if that can't be stored now. Not before outband_judge_start(). */
bool outband_judge_add_user(struct outband_judge *judge, const char *user);

enum outband_judge_result {
	/* something was settled: what passes is of the present generation, what
	   doesn't is dropped */
	OUTBAND_JUDGE_DONE,
	/* the first one couldn't be judged */
	OUTBAND_JUDGE_UNKNOWN,
	/* The folder wasn't found, and nothing was dropped: while it is renamed it
	   may have no name for a moment. */
	OUTBAND_JUDGE_NOT_FOUND,
	/* the worker has died of it */
	OUTBAND_JUDGE_LOST,
	OUTBAND_JUDGE_FAILED
};
typedef void outband_judge_callback_t(enum outband_judge_result result,
				      void *context);
/* Has the device's first notifications of a folder judged, so many at most (0: the
   first one becomes a SYNC, which needs no look at messages). A folder that isn't
   found is gone if it wasn't found before. The callback is called once, later. */
struct outband_judge_job *
outband_judge_ask(struct outband_judge *judge, struct outband_profile *profile,
		  const char *device, const char *guid, unsigned int max,
		  bool not_found_before,
		  outband_judge_callback_t *callback, void *context);
void outband_judge_cancel(struct outband_judge_job **job);

#endif
