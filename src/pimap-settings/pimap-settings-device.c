/* SPDX-License-Identifier: LGPL-2.1-only */
/* The device, and whether the user has pimap at all: all that plain sessions ask
   for, and what can be got where other settings are invalid. */

#include "lib.h"
#include "settings-parser.h"
#include "mail-user.h"
#include "pimap-settings.h"

#ifdef PIMAP_HAVE_SETTINGS_GET
#  include "settings.h"

struct pimap_device_settings {
	pool_t pool;
	const char *pimap_device;
	bool pimap;
};

static const struct setting_define pimap_device_setting_defines[] = {
	SETTING_DEFINE_STRUCT_STR("pimap_device", pimap_device,
				  struct pimap_device_settings),
	SETTING_DEFINE_STRUCT_BOOL("pimap", pimap,
				   struct pimap_device_settings),

	SETTING_DEFINE_LIST_END
};

static const struct pimap_device_settings pimap_device_default_settings = {
	.pimap_device = "",
	.pimap = TRUE,
};

const struct setting_parser_info pimap_device_setting_parser_info = {
	.name = "pimap_device",
	.pool_offset1 = 1 + offsetof(struct pimap_device_settings, pool),
	.defines = pimap_device_setting_defines,
	.defaults = &pimap_device_default_settings,
	.struct_size = sizeof(struct pimap_device_settings),
};

enum pimap_session pimap_settings_get_session(struct mail_user *user)
{
	const struct pimap_device_settings *set;
	enum pimap_session session;
	const char *error;

	if (settings_get(user->event, &pimap_device_setting_parser_info, 0,
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

#endif
