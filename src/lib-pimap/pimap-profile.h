/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_PROFILE_H
#define PIMAP_PROFILE_H

#include <sys/stat.h>

/* A user's profile: his named filters and, for each device, its preferences
   and the filters that it has on its folders. Everything
   in a profile is allocated from its pool. */

enum pimap_filter_type {
	PIMAP_FILTER_VIEW,
	PIMAP_FILTER_NOTIFY,

	PIMAP_FILTER_TYPE_COUNT
};

enum pimap_filter_kind {
	/* the system's filters that are always there */
	PIMAP_FILTER_ALL,
	PIMAP_FILTER_NONE,
	/* one of the user's */
	PIMAP_FILTER_NAMED,
	/* what all folders have: only to be set */
	PIMAP_FILTER_DEFAULT
};

#define PIMAP_FILTER_NAME_MAX 64
#define PIMAP_FILTER_DESC_MAX 1024

/* Which filter: name is set only for PIMAP_FILTER_NAMED. */
struct pimap_filter_ref {
	enum pimap_filter_kind kind;
	const char *name;
};

/* Reads the name of a filter: ALL, NONE and DEFAULT are the system's, in any
   case. Returns FALSE if it can't be a name. */
bool pimap_filter_ref_parse(const char *name, struct pimap_filter_ref *ref_r);
const char *pimap_filter_ref_name(const struct pimap_filter_ref *ref);
/* desc may be NULL. */
bool pimap_filter_desc_is_valid(const char *desc);

struct pimap_filter {
	const char *name;
	const char *desc; /* NULL = NIL */
	/* search keys as IMAP text in UTF-8 (pimap-criteria.h) */
	const char *criteria;
};
ARRAY_DEFINE_TYPE(pimap_filter, struct pimap_filter);

struct pimap_folder_filter {
	const char *vname;
	enum pimap_filter_type type;
	struct pimap_filter_ref ref;
};

struct pimap_pref {
	const char *name;
	const char *value;
};

struct pimap_device {
	const char *id;
	/* filters of all the folders that have none of their own */
	struct pimap_filter_ref defaults[PIMAP_FILTER_TYPE_COUNT];
	ARRAY(struct pimap_folder_filter) folders;
	/* those that differ from the default */
	ARRAY(struct pimap_pref) prefs;
};

struct pimap_profile {
	pool_t pool;
	ARRAY_TYPE(pimap_filter) filters;
	ARRAY(struct pimap_device *) devices;
};

/* An empty profile. */
struct pimap_profile *pimap_profile_alloc(void);
void pimap_profile_free(struct pimap_profile **profile);

/* Returns 0, or -1 and error_r when the data isn't a whole and undamaged
   profile. */
int pimap_profile_parse(const void *data, size_t size,
			struct pimap_profile **profile_r, const char **error_r);
void pimap_profile_print(const struct pimap_profile *profile, string_t *dest);

struct pimap_filter *
pimap_profile_find_filter(const struct pimap_profile *profile,
			  const char *name);
/* Adds the filter, or replaces the one of that name. desc may be NULL. */
void pimap_profile_set_filter(struct pimap_profile *profile, const char *name,
			      const char *desc, const char *criteria);
/* Returns FALSE if there is no such filter. */
bool pimap_profile_delete_filter(struct pimap_profile *profile,
				 const char *name);
/* Returns TRUE if any device uses the user's filter of that name. */
bool pimap_profile_filter_is_used(const struct pimap_profile *profile,
				  const char *name);

struct pimap_device *
pimap_profile_find_device(const struct pimap_profile *profile, const char *id);
/* As above, but the device is added if it isn't there yet. */
struct pimap_device *
pimap_profile_get_device(struct pimap_profile *profile, const char *id);

/* vname = NULL sets the filter of every folder, and drops the folders' own of
   that type. DEFAULT drops a folder's own, or sets what a new device has
 */
void pimap_device_set_filter(struct pimap_profile *profile,
			     struct pimap_device *device, const char *vname,
			     enum pimap_filter_type type,
			     const struct pimap_filter_ref *ref);
/* The filter in force for a folder. device may be NULL: defaults. */
struct pimap_filter_ref
pimap_device_get_filter(const struct pimap_device *device, const char *vname,
			enum pimap_filter_type type);
bool pimap_filter_ref_equals(const struct pimap_filter_ref *r1,
			     const struct pimap_filter_ref *r2);

/* value = NULL removes the preference. */
void pimap_device_set_pref(struct pimap_profile *profile,
			   struct pimap_device *device, const char *name,
			   const char *value);
/* Returns NULL if it is not set. device may be NULL. */
const char *pimap_device_get_pref(const struct pimap_device *device,
				  const char *name);

/* Reads the profile of path; a file that isn't there is an empty profile.
   Returns 0, or -1 and error_r. st_r tells which version was read (st_ino = 0
   when there was none). */
int pimap_profile_read(const char *path, struct pimap_profile **profile_r,
		       struct stat *st_r, const char **error_r);

struct dotlock;
/* Locks the profile for a change: waits at most 30 seconds for another
   session's change. Returns 0, or -1 and error_r. */
int pimap_profile_lock(const char *path, struct dotlock **dotlock_r,
		       const char **error_r);
/* Writes the profile and unlocks it. It is durable when this returns 0. */
int pimap_profile_write(const struct pimap_profile *profile, const char *path,
			struct dotlock **dotlock, const char **error_r);

#endif
