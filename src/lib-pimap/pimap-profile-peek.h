/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_PROFILE_PEEK_H
#define PIMAP_PROFILE_PEEK_H

/* What is known of a profile from its first bytes, without the rest of this
   library */

#define PIMAP_PROFILE_HEADER "pimap-profile\t1\n"
/* the line after that */
#define PIMAP_PROFILE_GENERATION "generation\t"

#define PIMAP_PROFILE_PEEK_SIZE 128

/* Returns FALSE if no device in the profile has a channel, as far as size bytes of
   it tell. */
bool pimap_profile_peek_channels(const unsigned char *data, size_t size);

#endif
