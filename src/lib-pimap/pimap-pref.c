/* SPDX-License-Identifier: LGPL-2.1-only */
/* Preferences: which there are, the values they take, and how a device's are
   set and listed, whoever asks (the XxxPIMAPPREF commands, doveadm). */

#include "lib.h"
#include "array.h"
#include "unichar.h"
#include "pimap-pref.h"

/* What isn't acted on yet is not offered */
static const char *const values_channel[] = { "NONE", NULL };
static const char *const values_new_format[] = { "NONE", NULL };
static const char *const values_push[] = { "OFF", NULL };
static const char *const values_format[] = { "EMN", "EXTENDED", NULL };
static const char *const values_event[] = { "NEW", "ALL", "NONE", NULL };

const struct pimap_pref_def pimap_pref_defs[] = {
	{ "PIMAP_OUTBAND_CHANNEL", values_channel },
	{ "PIMAP_INBAND_NEW_FORMAT", values_new_format },
	{ "PIMAP_INBAND_PUSH", values_push },
	{ "PIMAP_OUTBAND_FORMAT", values_format },
	{ "PIMAP_EVENT_FILTER", values_event },
	{ NULL, NULL }
};

const struct pimap_pref_def *pimap_pref_find(const char *name)
{
	const struct pimap_pref_def *def;

	for (def = pimap_pref_defs; def->name != NULL; def++) {
		if (strcasecmp(def->name, name) == 0)
			return def;
	}
	return NULL;
}

bool pimap_pref_notif_id_is_valid(const char *id)
{
	const char *p;

	for (p = id; *p != '\0'; p++) {
		if ((unsigned char)*p < ' ' || *p == '\177')
			return FALSE;
	}
	return strlen(id) <= PIMAP_PREF_NOTIF_ID_MAX && uni_utf8_str_is_valid(id);
}

bool pimap_pref_is_xfilter(const char *name)
{
	return strcasecmp(name, PIMAP_PREF_XFILTER) == 0 ||
		strcasecmp(name, "XFILTER") == 0;
}

bool pimap_pref_set(struct pimap_profile *profile, struct pimap_device *device,
		    const struct pimap_pref_def *def, const char *value)
{
	unsigned int i;

	for (i = 0; def->values[i] != NULL; i++) {
		if (strcasecmp(def->values[i], value) == 0)
			break;
	}
	if (def->values[i] == NULL)
		return FALSE;
	pimap_device_set_pref(profile, device, def->name,
			      i == 0 ? NULL : def->values[i]);
	return TRUE;
}

const char *pimap_pref_get(const struct pimap_device *device,
			   const struct pimap_pref_def *def)
{
	const char *value = pimap_device_get_pref(device, def->name);

	return value != NULL ? value : def->values[0];
}

int pimap_pref_xfilter_parse(const char *folder, const char *type,
			     const char *filter,
			     struct pimap_pref_xfilter *value_r,
			     const char **error_r)
{
	bool both;

	i_zero(value_r);
	value_r->vname = strcmp(folder, "ALL") == 0 ? NULL : folder;
	both = strcasecmp(type, "B") == 0 || strcasecmp(type, "BOTH") == 0;
	value_r->types[PIMAP_FILTER_VIEW] = both ||
		strcasecmp(type, "V") == 0 || strcasecmp(type, "VIEW") == 0;
	value_r->types[PIMAP_FILTER_NOTIFY] = both ||
		strcasecmp(type, "N") == 0 || strcasecmp(type, "NOTIF") == 0;
	if (!value_r->types[PIMAP_FILTER_VIEW] &&
	    !value_r->types[PIMAP_FILTER_NOTIFY]) {
		*error_r = "The type of filter is V, N or B.";
		return -1;
	}
	if (!pimap_filter_ref_parse(filter, &value_r->ref)) {
		*error_r = "That can't be the name of a filter.";
		return -1;
	}
	return 0;
}

bool pimap_pref_xfilter_set(struct pimap_profile *profile,
			    struct pimap_device *device,
			    const struct pimap_pref_xfilter *value)
{
	unsigned int i;

	if (value->ref.kind == PIMAP_FILTER_NAMED &&
	    pimap_profile_find_filter(profile, value->ref.name) == NULL)
		return FALSE;
	for (i = 0; i < PIMAP_FILTER_TYPE_COUNT; i++) {
		if (value->types[i]) {
			pimap_device_set_filter(profile, device, value->vname,
						i, &value->ref);
		}
	}
	return TRUE;
}

/* Both types of one folder, or of ALL: as B if they are equal. */
static void
xfilter_callback(const char *vname, const struct pimap_filter_ref *view,
		 const struct pimap_filter_ref *notify,
		 pimap_pref_xfilter_callback_t *callback, void *context)
{
	if (view != NULL && notify != NULL &&
	    pimap_filter_ref_equals(view, notify)) {
		callback(vname, "B", view, context);
		return;
	}
	if (view != NULL)
		callback(vname, "V", view, context);
	if (notify != NULL)
		callback(vname, "N", notify, context);
}

static const struct pimap_filter_ref *
folder_own_filter(const struct pimap_device *device, const char *vname,
		  enum pimap_filter_type type)
{
	const struct pimap_folder_filter *folder;

	array_foreach(&device->folders, folder) {
		if (folder->type == type && strcmp(folder->vname, vname) == 0)
			return &folder->ref;
	}
	return NULL;
}

void pimap_pref_xfilter_foreach(const struct pimap_device *device,
				pimap_pref_xfilter_callback_t *callback,
				void *context)
{
	const struct pimap_folder_filter *folder;
	struct pimap_filter_ref refs[PIMAP_FILTER_TYPE_COUNT];
	ARRAY_TYPE(const_string) done;
	unsigned int i;

	for (i = 0; i < PIMAP_FILTER_TYPE_COUNT; i++) {
		refs[i] = device != NULL ? device->defaults[i] :
			pimap_device_get_filter(NULL, "", i);
	}
	xfilter_callback(NULL, &refs[PIMAP_FILTER_VIEW],
			 &refs[PIMAP_FILTER_NOTIFY], callback, context);
	if (device == NULL)
		return;
	t_array_init(&done, 8);
	array_foreach(&device->folders, folder) {
		if (array_lsearch(&done, &folder->vname, i_strcmp_p) != NULL)
			continue;
		array_push_back(&done, &folder->vname);
		xfilter_callback(folder->vname,
			folder_own_filter(device, folder->vname,
					  PIMAP_FILTER_VIEW),
			folder_own_filter(device, folder->vname,
					  PIMAP_FILTER_NOTIFY),
			callback, context);
	}
}
