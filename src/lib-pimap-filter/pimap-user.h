/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_USER_H
#define PIMAP_USER_H

#include "module-context.h"
#include "mail-error.h"

#include "pimap-profile.h"
#include "pimap-settings.h"
#include "pimap-store.h"

struct mail_user;
struct pimap_folders_gone;
struct pimap_pref_xfilter;
struct pimap_view_filter;
struct pimap_view_state;

/* What pimap knows of a mail user in this process. */
struct pimap_user {
	union mail_user_module_context module_ctx;
	struct mail_user *user;

	const struct pimap_settings *set;
	struct pimap_defaults defaults;
	/* the device that logged in, or NULL: plain session */
	const char *device;
	/* The device's session is under way: folders show its views, but for
	   those opened while whole_depth > 0 (pimap-scope.h). */
	bool views_enabled;
	/* The session is told modseqs that it will come back with: each folder
	   has a view that keeps account of that, also if all is shown. */
	bool views_tracked;
	unsigned int whole_depth;
	/* of the user's name, in names of files; NULL: not yet needed */
	const char *name_hash;
	/* the configuration's, their criteria as pimap_criteria_parse() writes
	   them */
	ARRAY_TYPE(pimap_system_filter) system_filters;
	/* what the mailbox that is opened next has shown in another process */
	const struct pimap_view_state *view_state;

	/* of pimap-folder.c; NULL: it hasn't missed any yet */
	struct pimap_folders_gone *folders_gone;

	/* since the profile was read the last time */
	char *logged_error;

	/* use pimap_user_get_profile() */
	struct pimap_store *store;
	struct pimap_profile *profile;
};

/* Makes what pimap knows of a user that has none yet, within the hook of his
   creation or later. It ends with him. Returns NULL and error_r if his settings
   are invalid. */
struct pimap_user *
pimap_user_create(struct mail_user *user, const char **error_r);
/* Whether the session's device may be let in: 1 if so, 0 and reason_r if
   not, -1 and error_r if that can't be known. */
int pimap_user_may_log_in(struct pimap_user *puser, const char **reason_r,
			  const char **error_r);
/* Returns NULL if there is none: a plain session needs none. */
struct pimap_user *pimap_user_get(struct mail_user *user);

/* Returns 0 and the profile as it is now (one stat() when it has not changed),
   valid until the next call; or -1 and error_r. */
int pimap_user_get_profile(struct pimap_user *puser,
			   const struct pimap_profile **profile_r,
			   const char **error_r);
/* Logs what keeps the profile from being used or changed, but not the same again
   as long as the profile is the same: clients go on asking. */
void pimap_user_log_error(struct pimap_user *puser, const char *error);
/* As pimap_user_get_profile(), and the session's device in it, or NULL if it isn't
   in the profile yet. */
int pimap_user_get_device(struct pimap_user *puser,
			  const struct pimap_device **device_r,
			  const char **error_r);
/* The paths of pimap_store_get_watch_paths(), none if the profile has no place. */
const char *const *pimap_user_get_watch_paths(struct pimap_user *puser);
/* The view of the device, which pimap_user_get_device() has just given, on a folder
   (guid = NULL: one that has no filter of its own). Returns 0 and filter_r
   (pimap-view.h, valid until the next call of that), or -1 and error_r if the
   configuration doesn't have the filter any more. */
int pimap_user_get_view_filter(const struct pimap_user *puser,
			       const struct pimap_device *device,
			       const guid_128_t guid,
			       struct pimap_view_filter *filter_r,
			       const char **error_r);

/* The criteria of a filter of a device that is in the profile (or NULL: the session's,
   which isn't), NULL if it is ALL; otherwise likewise. */
int pimap_user_get_criteria(const struct pimap_user *puser,
			    const struct pimap_device *device,
			    const guid_128_t guid, enum pimap_filter_type type,
			    const char **criteria_r, const char **error_r);

/* Returns NULL if the configuration has no filter of that name. */
const struct pimap_system_filter *
pimap_user_find_system_filter(const struct pimap_user *puser, const char *name);
/* Which filter a name means that pimap_filter_ref_parse() has read: the
   configuration's comes before one of the user's. */
void pimap_user_find_filter(const struct pimap_user *puser,
			    struct pimap_filter_ref *ref);

/* A change of the profile, locked against others until it ends. */
struct pimap_user_change {
	struct pimap_user *puser;
	struct pimap_profile *profile;
	/* as it was */
	struct pimap_profile *old;
};

/* Locks and reads the profile, so that change_r->profile may be changed. May
   wait for another session's change. Returns 0, or -1 and error_r. */
int pimap_user_change_begin(struct pimap_user *puser,
			    struct pimap_user_change *change_r,
			    const char **error_r);
/* The device in the profile, added in that mode if it wasn't there; NULL if the
   user has as many as he may. Others that have a session count, too. */
struct pimap_device *
pimap_user_change_get_device(struct pimap_user_change *change, const char *id,
			     enum pimap_device_mode mode);
/* Sets or adds a filter. Returns FALSE if the user has as many as he may. */
bool pimap_user_change_set_filter(struct pimap_user_change *change,
				  const char *name, const char *desc,
				  const char *criteria);
/* Sets a PIMAP_XFILTER of the device (pimap-pref.h): guid and vname are those of
   its folder. Returns MAIL_ERROR_NONE, or what is wrong and error_r. */
enum mail_error
pimap_user_change_set_xfilter(struct pimap_user_change *change,
			      struct pimap_device *device,
			      const struct pimap_pref_xfilter *value,
			      const guid_128_t guid, const char *vname,
			      const char **error_r);
/* Returns TRUE if a device uses the filter, be it for all folders or for one
   that exists. What devices have set for folders that are gone is dropped. */
bool pimap_user_change_filter_is_used(struct pimap_user_change *change,
				      const char *name);
enum pimap_change_result {
	PIMAP_CHANGE_OK,
	/* nothing has changed: as PIMAP_STORE_TOO_LARGE, PIMAP_STORE_FAILED */
	PIMAP_CHANGE_TOO_LARGE,
	PIMAP_CHANGE_FAILED,
	/* it is changed, but the service may still send what was queued before
	   it is to be changed again */
	PIMAP_CHANGE_UNTOLD
};
/* What is in folders that begin to notify is looked up, and stored with it. Where a
   device has a channel, waits for the service (pimap-hint.h). error_r is set but for
   OK. */
enum pimap_change_result
pimap_user_change_commit(struct pimap_user_change *change,
			 const char **error_r);
void pimap_user_change_rollback(struct pimap_user_change *change);

#endif
