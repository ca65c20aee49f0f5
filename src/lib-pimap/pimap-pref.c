/* SPDX-License-Identifier: LGPL-2.1-only */
/* Preferences: which there are, the values they take, and how a device's are
   set and listed, whoever asks (IMAP commands or doveadm). */

#include "lib.h"
#include "array.h"
#include "unichar.h"
#include "pimap-channel.h"
#include "pimap-pref.h"

static const char *const values_new_format[] = { "NONE", NULL };
static const char *const values_push[] = { "OFF", NULL };
static const char *const values_encryption[] = { "NONE", NULL };
static const char *const values_event[] = { "ALL", "NONE", "NEW", NULL };
static const char *const values_format[] = { "EMN", "EXTENDED", NULL };

const struct pimap_pref_def pimap_pref_defs[] = {
	{ .name = PIMAP_PREF_CHANNEL,
	  .default_value = "NONE", .site_values = TRUE },
	{ .name = PIMAP_PREF_ADDRESS },
	{ .name = "PIMAP_INBAND_NEW_FORMAT", .values = values_new_format,
	  .default_value = "NONE", .may_be_list = TRUE },
	{ .name = "PIMAP_INBAND_PUSH", .values = values_push,
	  .default_value = "OFF" },
	{ .name = "PIMAP_ENCRYPTION", .values = values_encryption,
	  .default_value = "NONE" },
	{ .name = PIMAP_PREF_EVENT_FILTER, .values = values_event,
	  .default_value = "NEW", .site_default = TRUE },
	{ .name = PIMAP_PREF_FORMAT, .values = values_format,
	  .default_value = "EMN" },
	{ .name = NULL }
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

bool pimap_pref_text_is_valid(const char *text)
{
	const char *p;

	for (p = text; *p != '\0'; p++) {
		if ((unsigned char)*p < ' ' || *p == '\177')
			return FALSE;
		/* C1 */
		if ((unsigned char)*p == 0xc2 && (unsigned char)p[1] < 0xa0)
			return FALSE;
	}
	return strlen(text) <= PIMAP_PREF_TEXT_MAX &&
		uni_utf8_str_is_valid(text);
}

bool pimap_pref_is_xfilter(const char *name)
{
	return strcasecmp(name, PIMAP_PREF_XFILTER) == 0 ||
		strcasecmp(name, "XFILTER") == 0;
}

const char *const *
pimap_pref_get_values(const struct pimap_pref_def *def,
		      const struct pimap_defaults *defaults)
{
	return def->site_values ? defaults->channels : def->values;
}

/* Does the channel have an address that fits it, if it has one? */
static int
pref_check_address(const struct pimap_device *device,
		   const struct pimap_pref_def *def,
		   const struct pimap_defaults *defaults, const char *value,
		   const char **error_r)
{
	const char *channel, *address, *error;

	if (strcmp(def->name, PIMAP_PREF_CHANNEL) == 0) {
		channel = value;
		address = pimap_device_get_pref(device, PIMAP_PREF_ADDRESS);
	} else if (strcmp(def->name, PIMAP_PREF_ADDRESS) == 0) {
		channel = pimap_device_get_pref(device, PIMAP_PREF_CHANNEL);
		address = value;
	} else {
		return 0;
	}
	/* no address at all fits each channel */
	if (channel == NULL || address == NULL || address[0] == '\0' ||
	    pimap_channel_takes_address(defaults->set, defaults->user, channel,
					address, &error))
		return 0;
	*error_r = t_strdup_printf("%s %s doesn't take the address: %s",
				   PIMAP_PREF_CHANNEL, channel, error);
	return -1;
}

int pimap_pref_set(struct pimap_profile *profile, struct pimap_device *device,
		   const struct pimap_pref_def *def,
		   const struct pimap_defaults *defaults, const char *value,
		   const char **error_r)
{
	const char *const *values = pimap_pref_get_values(def, defaults);
	unsigned int i;

	if (values == NULL) {
		if (!pimap_pref_text_is_valid(value)) {
			*error_r = t_strdup_printf("%s is too long or isn't "
				"plain UTF-8 text", def->name);
			return -1;
		}
	} else {
		for (i = 0; values[i] != NULL; i++) {
			if (strcasecmp(values[i], value) == 0)
				break;
		}
		if (values[i] == NULL) {
			*error_r = t_strdup_printf("%s takes %s here",
				def->name, t_strarray_join(values, " or "));
			return -1;
		}
		value = values[i];
	}
	if (pref_check_address(device, def, defaults, value, error_r) < 0)
		return -1;
	if (!def->site_default &&
	    strcmp(value, def->default_value == NULL ? "" :
		   def->default_value) == 0)
		value = NULL;
	pimap_device_set_pref(profile, device, def->name, value);
	return 0;
}

const char *pimap_pref_get(const struct pimap_device *device,
			   const struct pimap_defaults *defaults,
			   const struct pimap_pref_def *def)
{
	const char *value = pimap_device_get_pref(device, def->name);

	if (value != NULL)
		return value;
	return def->site_default ? defaults->event_filter : def->default_value;
}

int pimap_pref_xfilter_parse(const char *folder, const char *type,
			     const char *filter,
			     struct pimap_pref_xfilter *value_r,
			     const char **error_r)
{
	bool both;

	i_zero(value_r);
	value_r->all_folders = strcmp(folder, PIMAP_FOLDER_ALL) == 0;
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
			    const struct pimap_pref_xfilter *value,
			    const guid_128_t guid, const char *vname)
{
	unsigned int i;

	if (value->ref.kind == PIMAP_FILTER_NAMED &&
	    pimap_profile_find_filter(profile, value->ref.name) == NULL)
		return FALSE;
	for (i = 0; i < PIMAP_FILTER_TYPE_COUNT; i++) {
		if (value->types[i]) {
			pimap_device_set_filter(profile, device,
				value->all_folders ? NULL : guid,
				value->all_folders ? NULL : vname,
				i, &value->ref);
		}
	}
	return TRUE;
}

void pimap_pref_xfilter_foreach(const struct pimap_filter_ref *filters,
				const char *vname,
				pimap_pref_xfilter_callback_t *callback,
				void *context)
{
	const struct pimap_filter_ref *view = &filters[PIMAP_FILTER_VIEW];
	const struct pimap_filter_ref *notify = &filters[PIMAP_FILTER_NOTIFY];

	if (view->kind != PIMAP_FILTER_DEFAULT &&
	    pimap_filter_ref_equals(view, notify)) {
		callback(vname, "B", view, context);
		return;
	}
	if (view->kind != PIMAP_FILTER_DEFAULT)
		callback(vname, "V", view, context);
	if (notify->kind != PIMAP_FILTER_DEFAULT)
		callback(vname, "N", notify, context);
}

void pimap_pref_xfilter_all(const struct pimap_device *device,
			    const struct pimap_defaults *defaults,
			    pimap_pref_xfilter_callback_t *callback,
			    void *context)
{
	struct pimap_filter_ref filters[PIMAP_FILTER_TYPE_COUNT];
	unsigned int i;

	for (i = 0; i < PIMAP_FILTER_TYPE_COUNT; i++)
		filters[i] = pimap_device_get_filter(device, defaults, NULL, i);
	pimap_pref_xfilter_foreach(filters, PIMAP_FOLDER_ALL, callback, context);
}
