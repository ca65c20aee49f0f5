/* SPDX-License-Identifier: LGPL-2.1-only */
/* Where a user's profile is. Not for the module that doveconf loads, which has
   nothing of mail. */

#include "lib.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "pimap-settings.h"

#define PIMAP_PROFILE_FNAME "dovecot-pimap-profile"

int pimap_settings_get_profile_path(struct mail_user *user, const char **path_r,
				    struct mail_namespace **ns_r,
				    const char **error_r)
{
	struct mail_namespace *ns;
	const char *path, *dir;

	*ns_r = NULL;
	if (pimap_settings_get_profile(user, &path, error_r) < 0)
		return -1;
	if (path[0] != '\0') {
		*path_r = mail_user_home_expand(user, path);
		if ((*path_r)[0] == '/')
			return 0;
		*error_r = t_strdup_printf("pimap_profile %s is not an absolute "
			"path (or the user has no home)", *path_r);
		return -1;
	}
	ns = mail_namespace_find_inbox(user->namespaces);
	if (ns == NULL ||
	    !mailbox_list_get_root_path(ns->list,
			MAILBOX_LIST_PATH_TYPE_CONTROL, &dir)) {
		*error_r = "No place for the profile: "
			"set pimap_profile, his mail has no directory";
		return -1;
	}
	*path_r = t_strconcat(dir, "/"PIMAP_PROFILE_FNAME, NULL);
	*ns_r = ns;
	return 0;
}
