/* SPDX-License-Identifier: LGPL-2.1-only */
/* The user's side of pimap: which device logged in, and his profile. */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "str.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "pimap-channel.h"
#include "pimap-criteria.h"
#include "pimap-folder.h"
#include "pimap-hint.h"
#include "pimap-notify.h"
#include "pimap-pref.h"
#include "pimap-user.h"
#include "pimap-view.h"

#define PIMAP_USER_CONTEXT(obj) \
	MODULE_CONTEXT(obj, pimap_user_module)
#define PIMAP_USER_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, pimap_user_module)

static MODULE_CONTEXT_DEFINE_INIT(pimap_user_module,
				  &mail_user_module_register);

struct pimap_user *pimap_user_get(struct mail_user *user)
{
	return PIMAP_USER_CONTEXT(user);
}

static int
pimap_user_get_store(struct pimap_user *puser, struct pimap_store **store_r,
		     const char **error_r)
{
	struct mail_namespace *ns;
	const char *path;

	if (puser->store == NULL) {
		if (pimap_settings_get_profile_path(puser->user, &path, &ns,
						    error_r) < 0)
			return -1;
		puser->store = pimap_store_file_create(path);
	}
	*store_r = puser->store;
	return 0;
}

/* Dovecot has lower-cased the name of a master login: the id is that of the
   only device which it fits in any case. */
static int
pimap_user_match_device(struct pimap_user *puser,
			const struct pimap_profile *profile,
			const char **error_r)
{
	const char *match = NULL;
	struct pimap_device *device;

	if (pimap_profile_find_device(profile, puser->device) != NULL)
		match = puser->device;
	array_foreach_elem(&profile->devices, device) {
		if (strcasecmp(device->id, puser->device) != 0 ||
		    match == puser->device)
			continue;
		if (match != NULL) {
			*error_r = t_strdup_printf("A master user can't log in "
				"as device %s: it fits %s and %s",
				puser->device, match, device->id);
			return -1;
		}
		match = device->id;
	}
	if (match != NULL && match != puser->device)
		puser->device = p_strdup(puser->user->pool, match);
	return 0;
}

/* Nothing is noted, or done, for a device that is in the profile. */
static void pimap_user_note_session(struct pimap_user *puser)
{
	const bool known =
		pimap_profile_find_device(puser->profile, puser->device) != NULL;
	const char *error;

	if (pimap_store_set_session(puser->store, known ? NULL : puser->device,
				    &error) < 0)
		pimap_user_log_error(puser, error);
}

int pimap_user_get_profile(struct pimap_user *puser,
			   const struct pimap_profile **profile_r,
			   const char **error_r)
{
	struct pimap_store *store;
	struct pimap_profile *profile;
	int ret;

	if (pimap_user_get_store(puser, &store, error_r) < 0 ||
	    (ret = pimap_store_read(store, &profile, error_r)) < 0)
		return -1;
	if (ret > 0) {
		pimap_profile_free(&puser->profile);
		puser->profile = profile;
		i_free(puser->logged_error);
	}
	if (puser->device != NULL && puser->set->pimap_device_any_case &&
	    pimap_user_match_device(puser, puser->profile, error_r) < 0)
		return -1;
	if (ret > 0 && puser->views_enabled)
		pimap_user_note_session(puser);
	*profile_r = puser->profile;
	return 0;
}

void pimap_user_log_error(struct pimap_user *puser, const char *error)
{
	if (null_strcmp(puser->logged_error, error) == 0)
		return;
	i_free(puser->logged_error);
	puser->logged_error = i_strdup(error);
	e_error(puser->user->event, "pimap: %s", error);
}

int pimap_user_get_device(struct pimap_user *puser,
			  const struct pimap_device **device_r,
			  const char **error_r)
{
	const struct pimap_profile *profile;

	if (pimap_user_get_profile(puser, &profile, error_r) < 0)
		return -1;
	*device_r = pimap_profile_find_device(profile, puser->device);
	return 0;
}

const char *const *pimap_user_get_watch_paths(struct pimap_user *puser)
{
	static const char *const none[] = { NULL };
	struct pimap_store *store;
	const char *error;

	/* the error is logged where the profile is used */
	return pimap_user_get_store(puser, &store, &error) < 0 ? none :
		pimap_store_get_watch_paths(store);
}

const struct pimap_system_filter *
pimap_user_find_system_filter(const struct pimap_user *puser, const char *name)
{
	const struct pimap_system_filter *filter;

	array_foreach(&puser->system_filters, filter) {
		if (strcmp(filter->name, name) == 0)
			return filter;
	}
	return NULL;
}

void pimap_user_find_filter(const struct pimap_user *puser,
			    struct pimap_filter_ref *ref)
{
	if (ref->kind == PIMAP_FILTER_NAMED &&
	    pimap_user_find_system_filter(puser, ref->name) != NULL)
		ref->kind = PIMAP_FILTER_SYSTEM;
}

int pimap_user_get_criteria(const struct pimap_user *puser,
			    const struct pimap_device *device,
			    const guid_128_t guid, enum pimap_filter_type type,
			    const char **criteria_r, const char **error_r)
{
	const struct pimap_system_filter *filter;
	struct pimap_filter_ref ref;

	ref = pimap_device_get_filter(device, &puser->defaults, guid, type);
	switch (ref.kind) {
	case PIMAP_FILTER_ALL:
		*criteria_r = NULL;
		return 0;
	case PIMAP_FILTER_NAMED:
		/* a profile in which it is missing isn't read */
		*criteria_r = pimap_profile_find_filter(puser->profile,
							ref.name)->criteria;
		return 0;
	case PIMAP_FILTER_SYSTEM:
		filter = pimap_user_find_system_filter(puser, ref.name);
		if (filter == NULL) {
			*error_r = t_strdup_printf("Device %s has the filter "
				"%s, which isn't in the configuration any more: "
				"restore it, or give the device another one",
				device != NULL ? device->id : puser->device,
				ref.name);
			return -1;
		}
		*criteria_r = filter->criteria;
		return 0;
	case PIMAP_FILTER_NONE:
	case PIMAP_FILTER_DEFAULT:
		break;
	}
	*criteria_r = PIMAP_CRITERIA_NONE;
	return 0;
}

int pimap_user_get_view_filter(const struct pimap_user *puser,
			       const struct pimap_device *device,
			       const guid_128_t guid,
			       struct pimap_view_filter *filter_r,
			       const char **error_r)
{
	i_zero(filter_r);
	filter_r->generation = puser->profile->views_generation;
	return pimap_user_get_criteria(puser, device, guid, PIMAP_FILTER_VIEW,
				       &filter_r->criteria, error_r);
}

/* Makes the directory as Dovecot would, which is before mail is in it. */
static int pimap_user_mkdir(struct pimap_user *puser, const char **error_r)
{
	struct mail_namespace *ns;
	const char *path, *dir;

	if (pimap_settings_get_profile_path(puser->user, &path, &ns,
					    error_r) < 0)
		return -1;
	if (ns == NULL ||
	    !mailbox_list_get_root_path(ns->list,
			MAILBOX_LIST_PATH_TYPE_CONTROL, &dir) ||
	    mailbox_list_mkdir_root(ns->list, dir,
				    MAILBOX_LIST_PATH_TYPE_CONTROL) == 0)
		return 0;
	*error_r = t_strdup(mailbox_list_get_last_internal_error(ns->list,
								 NULL));
	return -1;
}

int pimap_user_change_begin(struct pimap_user *puser,
			    struct pimap_user_change *change_r,
			    const char **error_r)
{
	struct pimap_store *store;

	i_zero(change_r);
	change_r->puser = puser;
	if (pimap_user_get_store(puser, &store, error_r) < 0 ||
	    pimap_user_mkdir(puser, error_r) < 0)
		return -1;
	if (pimap_store_begin(store, &change_r->profile, error_r) < 0)
		return -1;
	change_r->old = pimap_profile_dup(change_r->profile);
	return 0;
}

struct pimap_device *
pimap_user_change_get_device(struct pimap_user_change *change, const char *id,
			     enum pimap_device_mode mode)
{
	const unsigned int max = change->puser->set->pimap_max_devices;
	const unsigned int count = array_count(&change->profile->devices);
	struct pimap_device *device =
		pimap_profile_find_device(change->profile, id);
	unsigned int others;
	const char *error;

	if (device != NULL)
		return device;
	if (count >= max)
		return NULL;
	/* what isn't known doesn't keep a device from being made */
	if (pimap_store_count_sessions(change->puser->store, change->profile,
				       id, max - count, &others, &error) < 0)
		pimap_user_log_error(change->puser, error);
	else if (others >= max - count)
		return NULL;
	return pimap_profile_add_device(change->profile, id, mode);
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

enum mail_error
pimap_user_change_set_xfilter(struct pimap_user_change *change,
			      struct pimap_device *device,
			      const struct pimap_pref_xfilter *value,
			      const guid_128_t guid, const char *vname,
			      const char **error_r)
{
	const unsigned int old_count = array_count(&device->folders);
	const unsigned int max_count =
		change->puser->set->pimap_device_max_folders;
	struct pimap_pref_xfilter present = *value;

	pimap_user_find_filter(change->puser, &present.ref);
	if (!pimap_pref_xfilter_set(change->profile, device, &present, guid,
				    vname)) {
		*error_r = "There is no such filter";
		return MAIL_ERROR_NOTFOUND;
	}
	if (array_count(&device->folders) <= I_MAX(max_count, old_count))
		return MAIL_ERROR_NONE;
	/* those that are gone don't count */
	pimap_folders_drop_gone(change->puser, change->profile);
	if (array_count(&device->folders) <= max_count)
		return MAIL_ERROR_NONE;
	*error_r = "Too many folders have a filter of their own";
	return MAIL_ERROR_LIMIT;
}

bool pimap_user_change_filter_is_used(struct pimap_user_change *change,
				      const char *name)
{
	if (!pimap_profile_filter_is_used(change->profile, name))
		return FALSE;
	pimap_folders_drop_gone(change->puser, change->profile);
	return pimap_profile_filter_is_used(change->profile, name);
}

static void pimap_user_change_free(struct pimap_user_change *change)
{
	pimap_profile_free(&change->profile);
	pimap_profile_free(&change->old);
}

enum pimap_change_result
pimap_user_change_commit(struct pimap_user_change *change,
			 const char **error_r)
{
	struct pimap_profile *profile = change->profile;
	enum pimap_change_result result = PIMAP_CHANGE_FAILED;

	profile->generation = I_MAX(profile->generation + 1,
				    (uint32_t)ioloop_time);
	if (pimap_notify_update_baselines(change->puser, change->old, profile,
					  error_r) < 0) {
		pimap_user_change_rollback(change);
		return result;
	}
	switch (pimap_store_commit(change->puser->store, profile, error_r)) {
	case PIMAP_STORE_OK:
		result = PIMAP_CHANGE_OK;
		if ((pimap_profile_has_channels(profile) ||
		     pimap_profile_has_channels(change->old)) &&
		    pimap_hint_tell_profile(change->puser->user, error_r) < 0)
			result = PIMAP_CHANGE_UNTOLD;
		break;
	case PIMAP_STORE_TOO_LARGE:
		result = PIMAP_CHANGE_TOO_LARGE;
		break;
	case PIMAP_STORE_FAILED:
		break;
	}
	pimap_user_change_free(change);
	return result;
}

void pimap_user_change_rollback(struct pimap_user_change *change)
{
	pimap_store_rollback(change->puser->store);
	pimap_user_change_free(change);
}

static void pimap_user_deinit(struct mail_user *user)
{
	struct pimap_user *puser = PIMAP_USER_CONTEXT_REQUIRE(user);

	i_free(puser->logged_error);
	pimap_profile_free(&puser->profile);
	pimap_store_free(&puser->store);
	puser->module_ctx.super.deinit(user);
}

/* A filter of the configuration, or ALL or NONE */
static int
pimap_user_init_default_filter(struct pimap_user *puser, const char *setting,
			       const char *name, enum pimap_filter_type type,
			       const char **error_r)
{
	struct pimap_filter_ref *ref = &puser->defaults.filters[type];

	if (pimap_filter_ref_parse(name, ref)) {
		pimap_user_find_filter(puser, ref);
		if (ref->kind == PIMAP_FILTER_ALL ||
		    ref->kind == PIMAP_FILTER_NONE ||
		    ref->kind == PIMAP_FILTER_SYSTEM)
			return 0;
	}
	*error_r = t_strdup_printf("%s: %s is neither ALL nor NONE nor a filter "
				   "of the configuration", setting, name);
	return -1;
}

/* In the order in which all of them stand, NONE at the end. */
static int
pimap_user_init_channels(struct pimap_user *puser, const char **error_r)
{
	const char *const *configured =
		t_strsplit_spaces(puser->set->pimap_channels, " ,");
	const struct pimap_channel_def *def;
	ARRAY_TYPE(const_string) channels;
	const char *const *channel, *none = "NONE";

	for (channel = configured; *channel != NULL; channel++) {
		if (strcasecmp(*channel, none) == 0 ||
		    pimap_channel_find(*channel) != NULL)
			continue;
		*error_r = t_strdup_printf("pimap_channels: there is no "
					   "channel %s", *channel);
		return -1;
	}
	p_array_init(&channels, puser->user->pool, 8);
	for (def = pimap_channel_defs; def->name != NULL; def++) {
		if (str_array_icase_find(configured, def->name))
			array_push_back(&channels, &def->name);
	}
	array_push_back(&channels, &none);
	array_append_zero(&channels);
	puser->defaults.channels = array_front(&channels);
	return 0;
}

static int
pimap_user_init_defaults(struct pimap_user *puser, const char **error_r)
{
	const struct pimap_settings *set = puser->set;

	/* what it may be is checked where it is read */
	if (!pimap_device_mode_parse(set->pimap_default_mode,
				     &puser->defaults.mode))
		i_unreached();
	puser->defaults.event_filter = set->pimap_default_event;
	puser->defaults.set = set;
	puser->defaults.user = puser->user->username;
	return pimap_user_init_channels(puser, error_r) < 0 ||
		pimap_user_init_default_filter(puser, "pimap_default_view",
			set->pimap_default_view, PIMAP_FILTER_VIEW,
			error_r) < 0 ||
		pimap_user_init_default_filter(puser,
			"pimap_default_notification",
			set->pimap_default_notification, PIMAP_FILTER_NOTIFY,
			error_r) < 0 ? -1 : 0;
}

int pimap_user_may_log_in(struct pimap_user *puser, const char **reason_r,
			  const char **error_r)
{
	const struct pimap_device *device;

	if (!puser->set->pimap) {
		*reason_r = "pimap is switched off for this user";
		return 0;
	}
	if (strcmp(puser->set->pimap_unknown_devices, "refuse") != 0)
		return 1;
	if (pimap_user_get_device(puser, &device, error_r) < 0)
		return -1;
	*reason_r = t_strdup_printf("the device %s hasn't been added",
				    puser->device);
	return device != NULL ? 1 : 0;
}

static int
pimap_user_check_system_filter(struct pimap_user *puser,
			       struct pimap_system_filter *filter,
			       const char **error_r)
{
	struct pimap_filter_ref ref;
	string_t *criteria = t_str_new(256);

	if (!pimap_filter_ref_parse(filter->name, &ref) ||
	    ref.kind != PIMAP_FILTER_NAMED) {
		*error_r = t_strdup_printf(
			"pimap_filter: %s can't be the name of a filter",
			filter->name);
		return -1;
	}
	if (pimap_criteria_parse_line(puser->set, filter->criteria, criteria,
				      error_r) != PIMAP_CRITERIA_OK) {
		*error_r = t_strdup_printf("pimap_filter %s: %s: %s",
			filter->name, filter->criteria, *error_r);
		return -1;
	}
	filter->criteria = p_strdup(puser->user->pool, str_c(criteria));
	return 0;
}

static int pimap_user_get_settings(struct pimap_user *puser,
				   const char **error_r)
{
	struct pimap_system_filter *filter;
	int ret = 0;

	if (pimap_settings_get(puser->user, &puser->set, error_r) < 0 ||
	    pimap_settings_get_filters(puser->user, &puser->system_filters,
				       error_r) < 0)
		return -1;
	array_foreach_modifiable(&puser->system_filters, filter) {
		ret = pimap_user_check_system_filter(puser, filter, error_r);
		if (ret < 0)
			break;
	}
	return ret;
}

struct pimap_user *
pimap_user_create(struct mail_user *user, const char **error_r)
{
	struct mail_user_vfuncs *v = user->vlast != NULL ?
		user->vlast : &user->v;
	struct pimap_user *puser;

	puser = p_new(user->pool, struct pimap_user, 1);
	puser->user = user;
	if (pimap_user_get_settings(puser, error_r) < 0 ||
	    pimap_user_init_defaults(puser, error_r) < 0) {
		*error_r = t_strconcat("Invalid settings: ", *error_r, NULL);
		return NULL;
	}
	if (puser->set->pimap_device[0] != '\0')
		puser->device = puser->set->pimap_device;
	puser->module_ctx.super = *v;
	if (user->vlast != NULL)
		user->vlast = &puser->module_ctx.super;
	v->deinit = pimap_user_deinit;
	MODULE_CONTEXT_SET(user, pimap_user_module, puser);
	return puser;
}
