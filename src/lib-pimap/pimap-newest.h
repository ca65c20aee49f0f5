/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_NEWEST_H
#define PIMAP_NEWEST_H

#include "guid.h"

/* As many of a folder's newest messages are remembered as tell that it went back
 */
#define PIMAP_NEWEST_MAX 8

struct pimap_newest_message {
	uint32_t uid;
	/* of its GUID, 0: it couldn't be read */
	uint32_t hash;
};

struct pimap_newest {
	/* FALSE: nothing is */
	bool known;
	unsigned int count;
	/* By UID, rising; if they are fewer than PIMAP_NEWEST_MAX there were no
	   others. */
	struct pimap_newest_message messages[PIMAP_NEWEST_MAX];
};

/* guid NULL: it can't be read */
void pimap_newest_add(struct pimap_newest *newest, uint32_t uid,
		      const guid_128_t guid);
/* NULL if it isn't remembered */
const struct pimap_newest_message *
pimap_newest_find(const struct pimap_newest *newest, uint32_t uid);
/* One that couldn't be read then, or can't be now, is taken for the same. */
bool pimap_newest_differs(const struct pimap_newest_message *message1,
			  const struct pimap_newest_message *message2);

/* <UID>.<8 hex digits, or nothing>, separated by commas, or "-" if they aren't known.
   Parsing returns -1 if the text can't be of a folder with that UIDNEXT. */
void pimap_newest_print(const struct pimap_newest *newest, string_t *dest);
int pimap_newest_parse(const char *text, uint32_t next_uid,
		       struct pimap_newest *newest_r);

#endif
