/* SPDX-License-Identifier: LGPL-2.1-only */
/* The user's side of pimap: which device logged in, and his profile. */

#include "lib.h"
#include "array.h"
#include "file-dotlock.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "pimap-profile.h"
#include "pimap-criteria.h"
#include "pimap-user.h"

#define PIMAP_USER_CONTEXT(obj) \
	MODULE_CONTEXT(obj, pimap_user_module)
#define PIMAP_USER_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, pimap_user_module)

#define PIMAP_PROFILE_FNAME "dovecot-pimap-profile"

static MODULE_CONTEXT_DEFINE_INIT(pimap_user_module,
				  &mail_user_module_register);

bool pimap_user_devices_handled = FALSE;

struct pimap_user *pimap_user_get(struct mail_user *user)
{
	return PIMAP_USER_CONTEXT(user);
}

static int
pimap_user_get_path(struct pimap_user *puser, const char **error_r)
{
	struct mail_namespace *ns;
	const char *dir;

	if (puser->profile_path != NULL)
		return 0;
	if (puser->set->pimap_profile[0] != '\0') {
		puser->profile_path = i_strdup(mail_user_home_expand(
			puser->user, puser->set->pimap_profile));
		return 0;
	}
	ns = mail_namespace_find_inbox(puser->user->namespaces);
	if (ns == NULL ||
	    !mailbox_list_get_root_path(ns->list,
			MAILBOX_LIST_PATH_TYPE_CONTROL, &dir)) {
		*error_r = "No place for the profile: "
			"set pimap_profile, his mail has no directory";
		return -1;
	}
	if (mailbox_list_mkdir_root(ns->list, dir,
				    MAILBOX_LIST_PATH_TYPE_CONTROL) < 0) {
		*error_r = t_strdup(mailbox_list_get_last_internal_error(
			ns->list, NULL));
		return -1;
	}
	puser->profile_path = i_strconcat(dir, "/"PIMAP_PROFILE_FNAME, NULL);
	return 0;
}

static bool stat_equals(const struct stat *st1, const struct stat *st2)
{
	return st1->st_ino == st2->st_ino && st1->st_size == st2->st_size &&
		st1->st_mtime == st2->st_mtime &&
		st1->st_mtim.tv_nsec == st2->st_mtim.tv_nsec;
}

int pimap_user_get_profile(struct pimap_user *puser,
			   const struct pimap_profile **profile_r,
			   const char **error_r)
{
	struct stat st;

	if (pimap_user_get_path(puser, error_r) < 0)
		return -1;
	if (puser->profile != NULL) {
		if (stat(puser->profile_path, &st) < 0) {
			if (errno != ENOENT) {
				*error_r = t_strdup_printf("stat(%s) failed: %m",
							   puser->profile_path);
				return -1;
			}
			i_zero(&st);
		}
		if (stat_equals(&st, &puser->profile_st)) {
			*profile_r = puser->profile;
			return 0;
		}
		pimap_profile_free(&puser->profile);
	}
	if (pimap_profile_read(puser->profile_path, &puser->profile,
			       &puser->profile_st, error_r) < 0) {
		puser->profile = NULL;
		return -1;
	}
	*profile_r = puser->profile;
	return 0;
}

int pimap_user_get_view_criteria(struct pimap_user *puser, const char *vname,
				 const char **criteria_r, const char **error_r)
{
	const struct pimap_profile *profile;
	const struct pimap_filter *filter;
	struct pimap_filter_ref ref;

	if (pimap_user_get_profile(puser, &profile, error_r) < 0)
		return -1;
	ref = pimap_device_get_filter(
		pimap_profile_find_device(profile, puser->device), vname,
		PIMAP_FILTER_VIEW);
	if (ref.kind == PIMAP_FILTER_ALL) {
		*criteria_r = NULL;
	} else if (ref.kind == PIMAP_FILTER_NAMED) {
		/* a profile in which it is missing isn't read */
		filter = pimap_profile_find_filter(profile, ref.name);
		*criteria_r = filter->criteria;
	} else {
		*criteria_r = PIMAP_CRITERIA_NONE;
	}
	return 0;
}

int pimap_user_change_begin(struct pimap_user *puser,
			    struct pimap_user_change *change_r,
			    const char **error_r)
{
	struct stat st;

	i_zero(change_r);
	change_r->puser = puser;
	if (pimap_user_get_path(puser, error_r) < 0 ||
	    pimap_profile_lock(puser->profile_path, &change_r->dotlock,
			       error_r) < 0)
		return -1;
	if (pimap_profile_read(puser->profile_path, &change_r->profile, &st,
			       error_r) < 0) {
		file_dotlock_delete(&change_r->dotlock);
		return -1;
	}
	return 0;
}

struct pimap_device *
pimap_user_change_get_device(struct pimap_user_change *change, const char *id)
{
	if (pimap_profile_find_device(change->profile, id) == NULL &&
	    array_count(&change->profile->devices) >=
			change->puser->set->pimap_max_devices)
		return NULL;
	return pimap_profile_get_device(change->profile, id);
}

bool pimap_user_change_set_filter(struct pimap_user_change *change,
				  const char *name, const char *desc,
				  const char *criteria)
{
	if (pimap_profile_find_filter(change->profile, name) == NULL &&
	    array_count(&change->profile->filters) >=
			change->puser->set->pimap_max_filters)
		return FALSE;
	pimap_profile_set_filter(change->profile, name, desc, criteria);
	return TRUE;
}

int pimap_user_change_commit(struct pimap_user_change *change,
			     const char **error_r)
{
	int ret;

	ret = pimap_profile_write(change->profile, change->puser->profile_path,
				  &change->dotlock, error_r);
	pimap_profile_free(&change->profile);
	return ret;
}

void pimap_user_change_rollback(struct pimap_user_change *change)
{
	file_dotlock_delete(&change->dotlock);
	pimap_profile_free(&change->profile);
}

static void pimap_user_deinit(struct mail_user *user)
{
	struct pimap_user *puser = PIMAP_USER_CONTEXT_REQUIRE(user);

	pimap_profile_free(&puser->profile);
	i_free(puser->profile_path);
	puser->module_ctx.super.deinit(user);
}

void pimap_user_created(struct mail_user *user)
{
	struct mail_user_vfuncs *v = user->vlast;
	struct pimap_user *puser;
	const char *error;

	puser = p_new(user->pool, struct pimap_user, 1);
	puser->user = user;
	if (pimap_settings_get(user, &puser->set, &error) < 0) {
		if (user->error == NULL) {
			user->error = p_strdup_printf(user->pool,
				"pimap: Invalid settings: %s", error);
		}
		return;
	}
	if (puser->set->pimap_device[0] != '\0')
		puser->device = puser->set->pimap_device;
	if (puser->device != NULL && !pimap_user_devices_handled &&
	    user->error == NULL) {
		user->error = p_strdup(user->pool, "pimap: Device login refused: "
			"the imap_pimap plugin isn't loaded (see above)");
	}
	puser->module_ctx.super = *v;
	user->vlast = &puser->module_ctx.super;
	v->deinit = pimap_user_deinit;
	MODULE_CONTEXT_SET(user, pimap_user_module, puser);
}
