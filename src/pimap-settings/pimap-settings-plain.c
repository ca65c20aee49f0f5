/* SPDX-License-Identifier: LGPL-2.1-only */
/* The device, whether the user has pimap at all, and where his profile is: all
   that plain sessions and deliveries ask for, and what can be got where other
   settings are invalid. */

#include "lib.h"
#include "settings-parser.h"
#include "mail-user.h"
#include "pimap-settings.h"

#ifdef PIMAP_HAVE_SETTINGS_GET
#  include "settings.h"

struct pimap_plain_settings {
	pool_t pool;
	const char *pimap_device;
	const char *pimap_profile;
	bool pimap;
};

static const struct setting_define pimap_plain_setting_defines[] = {
	SETTING_DEFINE_STRUCT_STR("pimap_device", pimap_device,
				  struct pimap_plain_settings),
	SETTING_DEFINE_STRUCT_STR("pimap_profile", pimap_profile,
				  struct pimap_plain_settings),
	SETTING_DEFINE_STRUCT_BOOL("pimap", pimap,
				   struct pimap_plain_settings),

	SETTING_DEFINE_LIST_END
};

static const struct pimap_plain_settings pimap_plain_default_settings = {
	.pimap_device = "",
	.pimap_profile = "",
	.pimap = TRUE,
};

const struct setting_parser_info pimap_plain_setting_parser_info = {
	.name = "pimap_plain",
	.pool_offset1 = 1 + offsetof(struct pimap_plain_settings, pool),
	.defines = pimap_plain_setting_defines,
	.defaults = &pimap_plain_default_settings,
	.struct_size = sizeof(struct pimap_plain_settings),
};

/* Of its own: a plain session isn't refused because of a wrong value. */
struct pimap_event_settings {
	pool_t pool;
	const char *pimap_default_event;
};

static const struct setting_define pimap_event_setting_defines[] = {
	SETTING_DEFINE_STRUCT_ENUM("pimap_default_event", pimap_default_event,
				   struct pimap_event_settings),

	SETTING_DEFINE_LIST_END
};

static const struct pimap_event_settings pimap_event_default_settings = {
	.pimap_default_event = "NEW:ALL:NONE",
};

const struct setting_parser_info pimap_event_setting_parser_info = {
	.name = "pimap_event",
	.pool_offset1 = 1 + offsetof(struct pimap_event_settings, pool),
	.defines = pimap_event_setting_defines,
	.defaults = &pimap_event_default_settings,
	.struct_size = sizeof(struct pimap_event_settings),
};

enum pimap_session pimap_settings_get_session(struct mail_user *user)
{
	const struct pimap_plain_settings *set;
	enum pimap_session session;
	const char *error;

	if (settings_get(user->event, &pimap_plain_setting_parser_info, 0,
			 &set, &error) < 0)
		return PIMAP_SESSION_DEVICE;
	if (set->pimap_device[0] != '\0')
		session = PIMAP_SESSION_DEVICE;
	else {
		session = set->pimap ? PIMAP_SESSION_PLAIN :
			PIMAP_SESSION_PLAIN_OFF;
	}
	settings_free(set);
	return session;
}

const char *pimap_settings_get_device(struct mail_user *user)
{
	const struct pimap_plain_settings *set;
	const char *device, *error;

	if (settings_get(user->event, &pimap_plain_setting_parser_info, 0,
			 &set, &error) < 0)
		return NULL;
	device = set->pimap_device[0] == '\0' ? NULL :
		p_strdup(user->pool, set->pimap_device);
	settings_free(set);
	return device;
}

int pimap_settings_get_profile(struct mail_user *user, const char **value_r,
			       const char **error_r)
{
	const struct pimap_plain_settings *set;

	if (settings_get(user->event, &pimap_plain_setting_parser_info, 0,
			 &set, error_r) < 0)
		return -1;
	*value_r = t_strdup(set->pimap_profile);
	settings_free(set);
	return 0;
}

bool pimap_settings_wants_all_events(struct mail_user *user)
{
	const struct pimap_event_settings *set;
	const char *error;
	bool ret;

	if (settings_get(user->event, &pimap_event_setting_parser_info, 0,
			 &set, &error) < 0)
		return TRUE;
	ret = strcmp(set->pimap_default_event, "ALL") == 0;
	settings_free(set);
	return ret;
}

#else

enum pimap_session pimap_settings_get_session(struct mail_user *user)
{
	const char *device = mail_user_plugin_getenv(user, "pimap_device");
	const char *pimap;
	bool on;

	if (device != NULL && device[0] != '\0')
		return PIMAP_SESSION_DEVICE;
	pimap = mail_user_plugin_getenv(user, "pimap");
	if (pimap == NULL)
		return PIMAP_SESSION_PLAIN;
	/* a plain session isn't refused because of a wrong value */
	on = strcasecmp(pimap, "yes") == 0 || strcasecmp(pimap, "y") == 0 ||
		strcmp(pimap, "1") == 0;
	return on ? PIMAP_SESSION_PLAIN : PIMAP_SESSION_PLAIN_OFF;
}

const char *pimap_settings_get_device(struct mail_user *user)
{
	const char *device = mail_user_plugin_getenv(user, "pimap_device");

	return device == NULL || device[0] == '\0' ? NULL : device;
}

int pimap_settings_get_profile(struct mail_user *user, const char **value_r,
			       const char **error_r ATTR_UNUSED)
{
	*value_r = mail_user_plugin_getenv(user, "pimap_profile");
	if (*value_r == NULL)
		*value_r = "";
	return 0;
}

bool pimap_settings_wants_all_events(struct mail_user *user)
{
	const char *value = mail_user_plugin_getenv(user, "pimap_default_event");

	return value != NULL && strcmp(value, "ALL") == 0;
}

#endif
