/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_PREF_H
#define PIMAP_PREF_H

#include "pimap-profile.h"

/* The preferences of a device (draft 5.2.2, R-5.1), by their names. */

#define PIMAP_PREF_XFILTER "PIMAP_XFILTER"

/* Set by XPROVISION: the channel's registration token */
#define PIMAP_PREF_NOTIF_ID "NOTIF_ID"
#define PIMAP_PREF_NOTIF_ID_MAX 4096

/* A preference that takes one of a few words */
struct pimap_pref_def {
	const char *name;
	/* the first is the default */
	const char *const *values;
};

/* Those, up to one whose name is NULL. */
extern const struct pimap_pref_def pimap_pref_defs[];

/* Returns NULL if there is no such preference, or if it is PIMAP_XFILTER. */
const struct pimap_pref_def *pimap_pref_find(const char *name);
bool pimap_pref_notif_id_is_valid(const char *id);
/* TRUE for PIMAP_XFILTER, and XFILTER as the draft has it too. */
bool pimap_pref_is_xfilter(const char *name);

/* Returns FALSE if that isn't one of the values. */
bool pimap_pref_set(struct pimap_profile *profile, struct pimap_device *device,
		    const struct pimap_pref_def *def, const char *value);
/* The value in force. device may be NULL: default. */
const char *pimap_pref_get(const struct pimap_device *device,
			   const struct pimap_pref_def *def);

/* Which filters a folder gets */
struct pimap_pref_xfilter {
	const char *vname; /* NULL = ALL */
	bool types[PIMAP_FILTER_TYPE_COUNT];
	struct pimap_filter_ref ref;
};

/* Reads folder (known to exist, if it isn't ALL), V, N or B and the name of a
   filter. Returns 0, or -1 and error_r if they can't be a PIMAP_XFILTER. */
int pimap_pref_xfilter_parse(const char *folder, const char *type,
			     const char *filter,
			     struct pimap_pref_xfilter *value_r,
			     const char **error_r);
/* Returns FALSE if the user has no filter of that name. */
bool pimap_pref_xfilter_set(struct pimap_profile *profile,
			    struct pimap_device *device,
			    const struct pimap_pref_xfilter *value);

/* vname = NULL: ALL. type: "V", "N" or "B". */
typedef void pimap_pref_xfilter_callback_t(const char *vname, const char *type,
					   const struct pimap_filter_ref *ref,
					   void *context);
/* Calls back for ALL, then for each folder that differs. device may be
   NULL: defaults. */
void pimap_pref_xfilter_foreach(const struct pimap_device *device,
				pimap_pref_xfilter_callback_t *callback,
				void *context);

#endif
