/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap doctor -u: what of one user keeps his devices from working. */

#define _GNU_SOURCE
#include "lib.h"
#include "array.h"
#include "mail-storage-settings.h"
#include "mail-user.h"
#include "pimap-user.h"
#include "doveadm-pimap-doctor.h"

#include <unistd.h>
#include <sys/stat.h>

static int
doctor_user_check_profile(struct doctor *doctor, struct mail_user *user,
			  struct pimap_user *puser)
{
	const struct pimap_profile *profile;
	const char *error;

	doctor->check = "profile";
	if (pimap_user_get_profile(puser, &profile, &error) < 0) {
		doctor_fail(doctor, "%s. His devices see nothing. Restore the "
			"file from a backup; without it his filters and devices "
			"are lost, and devices see all mail", error);
		return -1;
	}
	doctor_ok(doctor, t_strdup_printf(
		"%s: %u filters, %u devices", user->username,
		array_count(&profile->filters), array_count(&profile->devices)));
	return 0;
}

static void
doctor_user_check_place(struct doctor *doctor, struct pimap_user *puser)
{
	struct pimap_user_change change;
	const char *const *paths, *dir, *p, *error;
	struct stat st;

	doctor->check = "profile-folder";
	doctor->check_failed = FALSE;
	if (pimap_user_change_begin(puser, &change, &error) < 0) {
		doctor_fail(doctor, "%s. Mend what is in its way", error);
		return;
	}
	pimap_user_change_rollback(&change);
	/* a change is a new file in the folder where this file is */
	paths = pimap_user_get_watch_paths(puser);
	dir = *paths;
	if (dir != NULL && stat(dir, &st) == 0 && !S_ISDIR(st.st_mode) &&
	    (p = strrchr(dir, '/')) != NULL)
		dir = t_strdup_until(dir, p);
	if (dir != NULL && eaccess(dir, W_OK | X_OK) < 0) {
		doctor_fail(doctor, "%s: %m, for user ID %s. Let him write "
			"there, or set pimap_profile", dir, dec2str(geteuid()));
	}
	if (!doctor->check_failed)
		doctor_ok(doctor, "he can change his profile");
}

static void
doctor_user_check_chroot(struct doctor *doctor, struct mail_user *user)
{
	const char *home;

	doctor->check = "user-chroot";
	if (doctor->conf != NULL && !doctor_has_plugin(doctor, "imap_pimap") &&
	    (user->set->mail_chroot[0] != '\0' ||
	     (mail_user_get_home(user, &home) > 0 &&
	      strstr(home, "/./") != NULL))) {
		doctor_fail(doctor, "He has a chroot: his devices are refused. "
			"Add imap_pimap to the mail_plugins of protocol imap, "
			"beside pimap");
	} else {
		doctor_ok(doctor, "none, or imap_pimap is in mail_plugins");
	}
}

void doctor_check_user(struct doctor *doctor, struct mail_user *user)
{
	struct pimap_user *puser;
	const char *error;

	doctor->check = "user-settings";
	puser = pimap_user_create(user, &error);
	if (puser == NULL) {
		doctor_fail(doctor, "%s. Mend the configuration, or what his "
			    "userdb says", error);
	} else {
		doctor_ok(doctor, "they are valid");
		if (doctor_user_check_profile(doctor, user, puser) == 0)
			doctor_user_check_place(doctor, puser);
	}
	doctor_user_check_chroot(doctor, user);
}
