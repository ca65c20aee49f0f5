/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef WORKER_LOOK_H
#define WORKER_LOOK_H

#include "guid.h"
#include "seq-range-array.h"
#include "pimap-look-state.h"
#include "worker-fields.h"

struct look_event {
	const char *name;
	uint32_t uid;
	time_t time;
	/* of a message, where the device's format wants them */
	struct worker_fields fields;
};

/* pimap-look.h; what was done by one transaction */
struct look_note {
	/* who says so in the system */
	uid_t uid;
	/* "" = it was imported */
	const char *device;
	uint32_t uid_validity;
	uint64_t start_modseq, end_modseq;
	ARRAY_TYPE(seq_range) changed, saved, expunged;
};

struct look {
	struct pimap_user *puser;
	struct mailbox *box;
	guid_128_t guid;
	/* gets the line that says what a scan would see; NULL: none */
	string_t *seen;
	/* of what was synced */
	uint32_t uid_validity, next_uid;
	uint64_t modseq;
	/* what a state may have of pushed UIDs, in octets */
	size_t max_pushed_size;
	ARRAY(struct look_note) notes;
};

struct look_device {
	const struct look *look;
	const struct pimap_device *device;
	pool_t pool;
	/* both filters; NULL: nothing is told */
	const char *criteria;
	/* another number if they select by something else */
	uint64_t filters;
	/* the event filter is ALL */
	bool all;
	/* its format wants the fields of messages */
	bool extended;
	/* what was accounted: its events are of changes above this */
	uint64_t start_modseq;
	/* some message has changed since the folder was synced: whether it had
	   before can't be seen any more, so that all is looked at again */
	bool ahead;

	struct pimap_look_state state;
	ARRAY(struct look_event) events;
};

/* worker-look.c */

/* Sets criteria, filters and all. Returns 0, or -1 and error_r if only the
   administrator can make a filter of what there is. */
int look_get_criteria(struct look_device *ldev, const char **error_r);
/* Opens and syncs the folder of look->guid for its devices. Returns 1, 0 if there is
   none (any more), or -1 and error_r; the caller frees look->box, which
   may be NULL, in each case. */
int look_open(struct look *look, bool *special_r, const char **error_r);
/* What failed after that: returns 0 if it is that the folder was deleted meanwhile, else
   -1. */
int look_get_failure(const struct look *look);

/* worker-search.c */

struct look_found {
	uint32_t uid;
	time_t received;
	struct worker_fields fields;
};

struct look_search {
	const struct look *look;
	const char *criteria;
	/* it ends when there are more */
	unsigned int max_found;
	/* what is found gets its fields, too */
	bool want_fields;
	pool_t pool;
	/* messages that pass */
	ARRAY(struct look_found) found;
	/* what couldn't be read: UIDs. It ends when they are more than
	   PIMAP_LOOK_MAX_UNDECIDED. */
	ARRAY_TYPE(seq_range) unreadable;
	/* what wasn't evaluated, because workers have died of it: UIDs */
	ARRAY_TYPE(seq_range) skipped;
};

void look_search_init(struct look_search *search_r, pool_t pool,
		      const struct look *look, const char *criteria,
		      unsigned int max_found);
/* Searches the messages with these UIDs, in their order. Returns 0, or -1 and
   error_r. */
int look_search(struct look_search *search, const ARRAY_TYPE(seq_range) *uids,
		const char **error_r);
/* TRUE if there were more than it was to find. */
bool look_search_is_full(const struct look_search *search);

/* Adds the UIDs of the messages that there are in that range. */
void look_get_existing(const struct look *look, uint32_t uid1, uint32_t uid2,
		       ARRAY_TYPE(seq_range) *uids);

/* worker-note.c */

/* Returns FALSE if that is none. Allocates from the pool. */
bool look_note_parse(pool_t pool, const char *text, struct look_note *note_r);
/* Takes the notes that are among a job's states, as far as they may be believed, into
   the data stack. */
void look_add_notes(struct look *look, const char *const *states);
/* Adds those that the device isn't told of that they have gone. */
void look_get_own_expunges(const struct look_device *ldev,
			   ARRAY_TYPE(seq_range) *uids);
/* TRUE if the device isn't told that the message has come, or has changed since the
   state that is accounted. */
bool look_is_own_message(const struct look_device *ldev, uint32_t uid);
bool look_is_own_change(const struct look_device *ldev, uint32_t uid);

/* worker-compare.c */

/* Finds the device's events and its new state. Returns 0, or -1 and error_r. */
int look_compare(struct look_device *ldev, const char **error_r);

#endif
