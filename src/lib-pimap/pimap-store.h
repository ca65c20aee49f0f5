/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_STORE_H
#define PIMAP_STORE_H

struct pimap_profile;
struct pimap_store;

/* Where a user's profile is kept. Another kind of store implements these
   functions and has a function of its own that creates it. All of them may
   block on disk. (R-5.4: durable before OK) */
struct pimap_store_vfuncs {
	/* See pimap_store_read(). */
	int (*read)(struct pimap_store *store, struct pimap_profile **profile_r,
		    const char **error_r);
	/* Locks out other writers, in all processes. Returns 0, or -1 and
	   error_r. */
	int (*lock)(struct pimap_store *store, const char **error_r);
	/* Called while locked. Always reads, and is not what read() compares
	   with. Returns 0, or -1 and error_r. */
	int (*read_locked)(struct pimap_store *store,
			   struct pimap_profile **profile_r,
			   const char **error_r);
	/* Replaces the profile by text, atomically, and unlocks, also on
	   failure. What it returns 0 for is durable. On -1 the old profile is
	   still there, unless only making the new one durable has failed. */
	int (*write_unlock)(struct pimap_store *store, const string_t *text,
			    const char **error_r);
	void (*unlock)(struct pimap_store *store);
	/* See pimap_store_get_watch_paths(). */
	const char *const *(*get_watch_paths)(struct pimap_store *store);
	/* See pimap_store_set_session(). */
	int (*set_session)(struct pimap_store *store, const char *id,
			   const char **error_r);
	/* Called while locked. See pimap_store_count_sessions(). */
	int (*count_sessions)(struct pimap_store *store,
			      const struct pimap_profile *profile,
			      const char *id, unsigned int max,
			      unsigned int *count_r, const char **error_r);
	void (*free)(struct pimap_store *store);
};

struct pimap_store {
	const struct pimap_store_vfuncs *v;
};

/* Longer ones are neither read nor written. */
#define PIMAP_STORE_MAX_SIZE (4*1024*1024)

/* A file. It needn't be there yet, nor need its folder. */
struct pimap_store *pimap_store_file_create(const char *path);

/* Returns 1 and the profile, which the caller frees; 0 if it is still the one
   that this function returned last (one stat()); -1 and error_r if there is one but it
   can't be used. Where nothing has been stored yet the profile is empty. */
int pimap_store_read(struct pimap_store *store,
		     struct pimap_profile **profile_r, const char **error_r);

/* Returns the paths of files and folders that change when the profile does, for
   inotify and the like; what is there may change without it, too. Allocated from
   the data stack, ended by NULL; all of them exist. There may be none. */
const char *const *pimap_store_get_watch_paths(struct pimap_store *store);

/* Locks the store for a change and reads the profile, which the caller frees
   after pimap_store_commit() or pimap_store_rollback(). Waits up to 30 seconds
   for another's change. Returns 0, or -1 and error_r. */
int pimap_store_begin(struct pimap_store *store,
		      struct pimap_profile **profile_r, const char **error_r);

enum pimap_store_result {
	/* done, and durable */
	PIMAP_STORE_OK,
	/* the profile would be too large: nothing was changed */
	PIMAP_STORE_TOO_LARGE,
	PIMAP_STORE_FAILED
};
/* Ends the change. error_r is set unless it returns PIMAP_STORE_OK. */
enum pimap_store_result
pimap_store_commit(struct pimap_store *store,
		   const struct pimap_profile *profile, const char **error_r);
void pimap_store_rollback(struct pimap_store *store);

/* Lets all processes know that there is a session of this device, which isn't in
   the profile that pimap_store_read() has returned last; NULL: there is none, or
   its device is in the profile. Lasts until the next call, until the store is
   freed or the process has ended. While nothing is stored nothing is noted.
   Returns 0, or -1 and error_r. */
int pimap_store_set_session(struct pimap_store *store, const char *id,
			    const char **error_r);
/* Called within a change. Counts the devices with such sessions that are neither
   in the profile nor this one, no further than to max. Some may be missed. Returns 0,
   or -1 and error_r; count_r is set in any case. */
int pimap_store_count_sessions(struct pimap_store *store,
			       const struct pimap_profile *profile,
			       const char *id, unsigned int max,
			       unsigned int *count_r, const char **error_r);

void pimap_store_free(struct pimap_store **store);

#endif
