/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_PREF_H
#define PIMAP_PREF_H

#include "pimap-profile.h"

/* The preferences of a device (draft 5.2.2, R-5.1), by their names. */

#define PIMAP_PREF_XFILTER "PIMAP_XFILTER"
#define PIMAP_PREF_CHANNEL "PIMAP_OUTBAND_CHANNEL"
#define PIMAP_PREF_EVENT_FILTER "PIMAP_EVENT_FILTER"
#define PIMAP_PREF_ADDRESS "PIMAP_OUTBAND_ADDRESS"
#define PIMAP_PREF_FORMAT "PIMAP_OUTBAND_FORMAT"

/* Set by XPROVISION: the channel's registration token */
#define PIMAP_PREF_NOTIF_ID "NOTIF_ID"
/* bytes of a token or an address */
#define PIMAP_PREF_TEXT_MAX 4096

/* A preference that has one value */
struct pimap_pref_def {
	const char *name;
	/* What it may take, NULL: any text. See pimap_pref_get_values(). */
	const char *const *values;
	/* NULL = NIL */
	const char *default_value;
	/* the site may have another default */
	bool site_default;
	/* the site says which values there are: its channels */
	bool site_values;
	/* a client may send it as a list */
	bool may_be_list;
};

/* Those, up to one whose name is NULL. */
extern const struct pimap_pref_def pimap_pref_defs[];

/* Returns NULL if there is no such preference, or if it is PIMAP_XFILTER. */
const struct pimap_pref_def *pimap_pref_find(const char *name);
/* TRUE for PIMAP_XFILTER, and XFILTER as the draft has it too. */
bool pimap_pref_is_xfilter(const char *name);
/* A token or an address: UTF-8 without control characters, of at most
   PIMAP_PREF_TEXT_MAX bytes. */
bool pimap_pref_text_is_valid(const char *text);

/* What it takes and XPROVISION offers, in that order, ended by NULL. Returns NULL
   if it takes any text. */
const char *const *
pimap_pref_get_values(const struct pimap_pref_def *def,
		      const struct pimap_defaults *defaults);
/* Sets the preference. Returns 0, or -1 and error_r if it doesn't take that
   value. */
int pimap_pref_set(struct pimap_profile *profile, struct pimap_device *device,
		   const struct pimap_pref_def *def,
		   const struct pimap_defaults *defaults, const char *value,
		   const char **error_r);
/* The value in force, or NULL: NIL. device may be NULL: default. */
const char *pimap_pref_get(const struct pimap_device *device,
			   const struct pimap_defaults *defaults,
			   const struct pimap_pref_def *def);

/* What PIMAP_XFILTER sets */
struct pimap_pref_xfilter {
	bool all_folders;
	bool types[PIMAP_FILTER_TYPE_COUNT];
	struct pimap_filter_ref ref;
};

/* Reads a folder's name, V, N or B and the name of a filter; whether there is
   such a folder is the caller's business (unless all_folders is set). Returns
   0, or -1 and error_r if they can't be a PIMAP_XFILTER. */
int pimap_pref_xfilter_parse(const char *folder, const char *type,
			     const char *filter,
			     struct pimap_pref_xfilter *value_r,
			     const char **error_r);
/* guid and vname are those of the folder; not used for all folders. Returns
   FALSE if the user has no filter of that name. */
bool pimap_pref_xfilter_set(struct pimap_profile *profile,
			    struct pimap_device *device,
			    const struct pimap_pref_xfilter *value,
			    const guid_128_t guid, const char *vname);

/* type: "V", "N" or "B". */
typedef void pimap_pref_xfilter_callback_t(const char *vname, const char *type,
					   const struct pimap_filter_ref *ref,
					   void *context);
/* Calls back for the filters of one folder, B if both are set and equal, else V
   and N as far as set. */
void pimap_pref_xfilter_foreach(const struct pimap_filter_ref *filters,
				const char *vname,
				pimap_pref_xfilter_callback_t *callback,
				void *context);
/* The same for what all folders have that have no filter of their own: those in
   force. device may be NULL: defaults. */
void pimap_pref_xfilter_all(const struct pimap_device *device,
			    const struct pimap_defaults *defaults,
			    pimap_pref_xfilter_callback_t *callback,
			    void *context);

/* The name that stands for all folders, upper case only */
#define PIMAP_FOLDER_ALL "ALL"

#endif
