/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_LOOK_STATE_H
#define PIMAP_LOOK_STATE_H

#include "seq-range-array.h"
#include "pimap-newest.h"

/* A message that can't be read is tried again so many times, then it is told as SYNC
 */
#define PIMAP_LOOK_TRIES 3
/* A look that can't read more messages than these gives one SYNC in their place. */
#define PIMAP_LOOK_MAX_UNDECIDED 100

enum pimap_look_pushed {
	/* not kept: there is no event filter ALL, or it begins now */
	PIMAP_LOOK_PUSHED_NONE,
	PIMAP_LOOK_PUSHED_UIDS,
	/* they are too many, or not known: only how many messages there were */
	PIMAP_LOOK_PUSHED_COUNT
};

/* What is accounted for of one device and folder (pimap-look.h): a message is new
   if its UID is at or above next_uid, or undecided. */
struct pimap_look_state {
	/* of the baseline that it began with (pimap-profile.h); 0: with UID 1 */
	uint32_t generation;
	uint32_t uid_validity, next_uid;
	/* those that couldn't be read: once, twice and so on */
	ARRAY_TYPE(seq_range) undecided[PIMAP_LOOK_TRIES];

	/* the folder's HIGHESTMODSEQ, 0: not known */
	uint64_t modseq;
	struct pimap_newest newest;

	/* For event filter ALL: what was told or accounted for as being of the
	   push repository, and of which filters (any number that tells them
	   apart) */
	enum pimap_look_pushed pushed_type;
	uint64_t pushed_filters;
	ARRAY_TYPE(seq_range) pushed;
	/* how many messages there were, these and others */
	uint32_t pushed_count;
};

/* Both allocate from the pool, and init begins with nothing but these. Returns -1
   if the text isn't a state of a version that is known. */
int pimap_look_state_parse(pool_t pool, const char *text,
			   struct pimap_look_state *state_r);
void pimap_look_state_init(pool_t pool, uint32_t generation,
			   uint32_t uid_validity, uint32_t next_uid,
			   struct pimap_look_state *state_r);
/* Returns FALSE if the pushed UIDs are longer than max_size as text. */
bool pimap_look_state_pushed_fits(const struct pimap_look_state *state,
				  size_t max_size);
void pimap_look_state_print(const struct pimap_look_state *state,
			    string_t *dest);

#endif
