/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_PROFILE_PEEK_H
#define PIMAP_PROFILE_PEEK_H

/* What is known of a profile from its first bytes, without the rest of this
   library */

#define PIMAP_PROFILE_HEADER "pimap-profile\t1\n"
/* the line after that */
#define PIMAP_PROFILE_GENERATION "generation\t"

#define PIMAP_PROFILE_PEEK_SIZE 128

/* What the devices that have a channel are to be told; the numbers are those in that
   line */
enum pimap_profile_peek {
	/* no device has one */
	PIMAP_PROFILE_PEEK_NONE = 0,
	/* they have set NEW or NONE */
	PIMAP_PROFILE_PEEK_NEW = 1,
	/* one of them has set ALL */
	PIMAP_PROFILE_PEEK_ALL = 2,
	/* one of them has set nothing, and none ALL */
	PIMAP_PROFILE_PEEK_DEFAULT = 3
};

/* Returns that, as far as size bytes of the profile tell; in doubt ALL. */
enum pimap_profile_peek
pimap_profile_peek(const unsigned char *data, size_t size);

#endif
