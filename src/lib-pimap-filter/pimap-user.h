/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_USER_H
#define PIMAP_USER_H

#include "module-context.h"

#include "pimap-settings.h"

#include <sys/stat.h>

struct mail_user;
struct mailbox;
struct pimap_profile;

/* What pimap knows of a mail user in this process. */
struct pimap_user {
	union mail_user_module_context module_ctx;
	struct mail_user *user;

	const struct pimap_settings *set;
	/* the device that logged in, or NULL: plain session */
	const char *device;
	/* The device's session is under way: folders show its views, but for
	   those opened while whole_depth > 0 (pimap-scope.h). */
	bool views_enabled;
	unsigned int whole_depth;

	/* use pimap_user_get_profile() */
	char *profile_path;
	struct pimap_profile *profile;
	struct stat profile_st;
};

/* Set by the module that has sessions of devices. Without it a device
   session would see everything: it is refused. */
extern bool pimap_user_devices_handled;

/* A change of the profile, locked against others until it ends. */
struct pimap_user_change {
	struct pimap_user *puser;
	struct pimap_profile *profile;
	struct dotlock *dotlock;
};

/* Returns NULL if pimap isn't on for the user. */
struct pimap_user *pimap_user_get(struct mail_user *user);

/* Returns 0 and the profile as it is on disk now (one stat() when it has not
   changed), valid until the next call; or -1 and error_r. */
int pimap_user_get_profile(struct pimap_user *puser,
			   const struct pimap_profile **profile_r,
			   const char **error_r);

/* What a folder of the device's shows now. Returns 0 and criteria_r (valid
   until the next call; NULL: everything), or -1 and error_r. */
int pimap_user_get_view_criteria(struct pimap_user *puser, const char *vname,
				 const char **criteria_r, const char **error_r);

/* Locks and reads the profile, so that change_r->profile may be changed. May
   wait for another session's change. Returns 0, or -1 and error_r. */
int pimap_user_change_begin(struct pimap_user *puser,
			    struct pimap_user_change *change_r,
			    const char **error_r);
/* The device in the profile, added if it wasn't there; NULL if the user has as
   many as he may. */
struct pimap_device *
pimap_user_change_get_device(struct pimap_user_change *change, const char *id);
/* Sets or adds a filter. Returns FALSE if the user has as many as he may. */
bool pimap_user_change_set_filter(struct pimap_user_change *change,
				  const char *name, const char *desc,
				  const char *criteria);
/* Returns 0 when the changed profile is durable, or -1 and error_r. */
int pimap_user_change_commit(struct pimap_user_change *change,
			     const char **error_r);
void pimap_user_change_rollback(struct pimap_user_change *change);

void pimap_user_created(struct mail_user *user);

#endif
