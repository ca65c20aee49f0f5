/* SPDX-License-Identifier: LGPL-2.1-only */
/* The device alone: all that plain sessions ask for, and what can be got where
   other settings are invalid. */

#include "lib.h"
#include "settings-parser.h"
#include "mail-user.h"
#include "pimap-settings.h"

#ifdef PIMAP_HAVE_SETTINGS_GET
#  include "settings.h"

struct pimap_device_settings {
	pool_t pool;
	const char *pimap_device;
};

static const struct setting_define pimap_device_setting_defines[] = {
	SETTING_DEFINE_STRUCT_STR("pimap_device", pimap_device,
				  struct pimap_device_settings),

	SETTING_DEFINE_LIST_END
};

static const struct pimap_device_settings pimap_device_default_settings = {
	.pimap_device = "",
};

const struct setting_parser_info pimap_device_setting_parser_info = {
	.name = "pimap_device",
	.pool_offset1 = 1 + offsetof(struct pimap_device_settings, pool),
	.defines = pimap_device_setting_defines,
	.defaults = &pimap_device_default_settings,
	.struct_size = sizeof(struct pimap_device_settings),
};

bool pimap_settings_may_be_device(struct mail_user *user)
{
	const struct pimap_device_settings *set;
	const char *error;
	bool ret;

	if (settings_get(user->event, &pimap_device_setting_parser_info, 0,
			 &set, &error) < 0)
		return TRUE;
	ret = set->pimap_device[0] != '\0';
	settings_free(set);
	return ret;
}

#else

bool pimap_settings_may_be_device(struct mail_user *user)
{
	const char *device = mail_user_plugin_getenv(user, "pimap_device");

	return device != NULL && device[0] != '\0';
}

#endif
