/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_LOOK_STATE_H
#define PIMAP_LOOK_STATE_H

#include "seq-range-array.h"

/* A message that can't be read is tried again so many times, then it is told as SYNC
 */
#define PIMAP_LOOK_TRIES 3
/* A look that can't read more messages than these gives one SYNC in their place. */
#define PIMAP_LOOK_MAX_UNDECIDED 100

/* What is accounted for of one device and folder (pimap-look.h): a message is new
   if its UID is at or above next_uid, or undecided. */
struct pimap_look_state {
	/* of the baseline that it began with (pimap-profile.h); 0: with UID 1 */
	uint32_t generation;
	uint32_t uid_validity, next_uid;
	/* those that couldn't be read: once, twice and so on */
	ARRAY_TYPE(seq_range) undecided[PIMAP_LOOK_TRIES];
};

/* Both allocate from the pool. Returns -1 if the text isn't a state of this
   version. */
int pimap_look_state_parse(pool_t pool, const char *text,
			   struct pimap_look_state *state_r);
void pimap_look_state_init(pool_t pool, uint32_t generation,
			   uint32_t uid_validity, uint32_t next_uid,
			   struct pimap_look_state *state_r);
void pimap_look_state_print(const struct pimap_look_state *state,
			    string_t *dest);

#endif
