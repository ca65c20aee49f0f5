/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_PROFILE_H
#define PIMAP_PROFILE_H

#include "guid.h"
#include "pimap-newest.h"

struct pimap_settings;

/* A user's profile: his named filters and, for each device, its mode, its
   preferences and the filters that it has on its folders (R-1.1, R-2.8, R-5.1,
   Everything in a profile is allocated from its pool. Where it is kept
   is pimap-store.h's business. */

enum pimap_filter_type {
	PIMAP_FILTER_VIEW,
	PIMAP_FILTER_NOTIFY,

	PIMAP_FILTER_TYPE_COUNT
};

enum pimap_filter_kind {
	/* nothing was set: a folder goes with its device's filter of all
	   folders, that with the site's default */
	PIMAP_FILTER_DEFAULT,
	/* the system's filters that are always there */
	PIMAP_FILTER_ALL,
	PIMAP_FILTER_NONE,
	/* one of the user's */
	PIMAP_FILTER_NAMED,
	/* one of the configuration's */
	PIMAP_FILTER_SYSTEM
};

#define PIMAP_FILTER_NAME_MAX 64
#define PIMAP_FILTER_DESC_MAX 1024

/* Which filter: name is set only for PIMAP_FILTER_NAMED and _SYSTEM. */
struct pimap_filter_ref {
	enum pimap_filter_kind kind;
	const char *name;
};

/* Reads the name of a filter: ALL, NONE and DEFAULT are the system's, in any
   case. Returns FALSE if it can't be a name. ref_r->name is name. Whether
   it is the configuration's isn't known here: never PIMAP_FILTER_SYSTEM. */
bool pimap_filter_ref_parse(const char *name, struct pimap_filter_ref *ref_r);
const char *pimap_filter_ref_name(const struct pimap_filter_ref *ref);
bool pimap_filter_ref_equals(const struct pimap_filter_ref *r1,
			     const struct pimap_filter_ref *r2);
/* desc may be NULL. */
bool pimap_filter_desc_is_valid(const char *desc);

struct pimap_filter {
	const char *name;
	const char *desc; /* NULL = NIL */
	/* search keys as IMAP text in UTF-8 (pimap-criteria.h) */
	const char *criteria;
};
ARRAY_DEFINE_TYPE(pimap_filter, struct pimap_filter);

/* The filters of one folder. It is known by its GUID; vname is the name
   that it had when a filter was last set, to find it by. */
struct pimap_folder {
	guid_128_t guid;
	const char *vname;
	struct pimap_filter_ref filters[PIMAP_FILTER_TYPE_COUNT];
};
ARRAY_DEFINE_TYPE(pimap_folder, struct pimap_folder);

/* What was in a folder when the device began to be notified of it, and
   the profile's generation then */
struct pimap_baseline {
	guid_128_t guid;
	uint32_t generation;
	uint32_t uid_validity, next_uid;
	/* HIGHESTMODSEQ, 0: not known, and the number of messages */
	uint64_t modseq;
	uint32_t messages;
	struct pimap_newest newest;
};

struct pimap_pref {
	const char *name;
	const char *value;
};

/* */
enum pimap_device_mode {
	/* a P-IMAP client */
	PIMAP_DEVICE_MODE_SESSION,
	/* an ordinary mail program */
	PIMAP_DEVICE_MODE_VIEW,

	PIMAP_DEVICE_MODE_COUNT
};

struct pimap_device {
	const char *id;
	enum pimap_device_mode mode;
	/* of all the folders that have none of their own */
	struct pimap_filter_ref filters[PIMAP_FILTER_TYPE_COUNT];
	ARRAY_TYPE(pimap_folder) folders;
	/* those that differ from the default */
	ARRAY(struct pimap_pref) prefs;
	/* A folder that notifies and isn't among them was made later: all in it
	   is new. */
	ARRAY(struct pimap_baseline) baselines;
};
ARRAY_DEFINE_TYPE(pimap_device, struct pimap_device *);

/* What the site gives devices that have set nothing */
struct pimap_defaults {
	struct pimap_filter_ref filters[PIMAP_FILTER_TYPE_COUNT];
	const char *event_filter;
	/* of devices that make themselves */
	enum pimap_device_mode mode;
	/* the channels that are configured, and NONE, ended by NULL */
	const char *const *channels;
	/* whom pimap_channel_takes_address() is asked for */
	const struct pimap_settings *set;
	const char *user;
};

struct pimap_profile {
	pool_t pool;
	/* Rises with every change that is stored; 0 if there never was one. From
	   the clock, as the next one. */
	uint32_t generation;
	/* Rises with every change of what views show; 0 if there never was one.
	   It is taken from the clock, so that it is another one too after a
	   profile was lost and made anew. */
	uint32_t views_generation;
	ARRAY_TYPE(pimap_filter) filters;
	ARRAY_TYPE(pimap_device) devices;
};

/* An empty profile. */
struct pimap_profile *pimap_profile_alloc(void);
struct pimap_profile *pimap_profile_dup(const struct pimap_profile *profile);
void pimap_profile_free(struct pimap_profile **profile);

/* Returns 0 and the profile, or -1 and error_r when the data isn't a whole and
   undamaged one. */
int pimap_profile_parse(const void *data, size_t size,
			struct pimap_profile **profile_r, const char **error_r);
void pimap_profile_print(const struct pimap_profile *profile, string_t *dest);

/* TRUE if a device has a channel. */
bool pimap_profile_has_channels(const struct pimap_profile *profile);

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
/* Adds a device that isn't there yet. */
struct pimap_device *
pimap_profile_add_device(struct pimap_profile *profile, const char *id,
			 enum pimap_device_mode mode);

/* Removes a device with all that is set for it. Returns FALSE if there is no such
   device. */
bool pimap_profile_remove_device(struct pimap_profile *profile,
				 const char *id);

/* Returns FALSE if there is no mode of that name. */
bool pimap_device_mode_parse(const char *name,
			     enum pimap_device_mode *mode_r);
const char *pimap_device_mode_name(enum pimap_device_mode mode);

/* guid and vname = NULL sets the filter of every folder, and drops the folders'
   own of that type. DEFAULT drops what was set. */
void pimap_device_set_filter(struct pimap_profile *profile,
			     struct pimap_device *device,
			     const guid_128_t guid, const char *vname,
			     enum pimap_filter_type type,
			     const struct pimap_filter_ref *ref);
/* The filter in force for a folder (guid = NULL: for a folder that has none of
   its own), never DEFAULT. device may be NULL: the defaults. */
struct pimap_filter_ref
pimap_device_get_filter(const struct pimap_device *device,
			const struct pimap_defaults *defaults,
			const guid_128_t guid, enum pimap_filter_type type);
/* TRUE if the folder has a filter of its own of that type. device may be NULL. */
bool pimap_device_has_own_filter(const struct pimap_device *device,
				 const guid_128_t guid,
				 enum pimap_filter_type type);
/* TRUE if some folder has a filter of its own of that type. */
bool pimap_device_has_folder_filters(const struct pimap_device *device,
				     enum pimap_filter_type type);

/* Returns NULL if there is none. */
const struct pimap_baseline *
pimap_device_find_baseline(const struct pimap_device *device,
			   const guid_128_t guid);
/* Adds one, or replaces the one of that folder. */
void pimap_device_set_baseline(struct pimap_device *device,
			       const struct pimap_baseline *baseline);
void pimap_device_drop_baseline(struct pimap_device *device,
				const guid_128_t guid);

/* value = NULL removes the preference. */
void pimap_device_set_pref(struct pimap_profile *profile,
			   struct pimap_device *device, const char *name,
			   const char *value);
/* Returns NULL if it is not set. device may be NULL. */
const char *pimap_device_get_pref(const struct pimap_device *device,
				  const char *name);

#endif
