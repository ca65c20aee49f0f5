/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_STORE_SESSIONS_H
#define PIMAP_STORE_SESSIONS_H

struct pimap_profile;

/* Which devices that aren't in a user's profile have a session now, by locks on
   a file: for stores that have a place for one. */
struct pimap_store_sessions {
	char *path;
	/* -1: this session isn't noted */
	int fd;
	uint32_t key;
};

void pimap_store_sessions_init(struct pimap_store_sessions *sessions,
			       const char *path);
void pimap_store_sessions_deinit(struct pimap_store_sessions *sessions);

/* See pimap_store_set_session(). Makes the file if it isn't there; does nothing
   where this device is noted already, or none. */
int pimap_store_sessions_set(struct pimap_store_sessions *sessions,
			     const char *id, const char **error_r);
/* See pimap_store_count_sessions(). */
int pimap_store_sessions_count(struct pimap_store_sessions *sessions,
			       const struct pimap_profile *profile,
			       const char *id, unsigned int max,
			       unsigned int *count_r, const char **error_r);

#endif
