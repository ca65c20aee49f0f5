/* SPDX-License-Identifier: LGPL-2.1-only */
/* Filters of the configuration. Dovecot 2.3: pimap_filter_<name> in
   plugin {}, as names of settings are free there; but a doveadm that isn't
   asked by another process gets them in lower case, so that is how they are for
   all. In 2.4 names of settings aren't free, but a setting may be a list of named
   blocks: pimap_filter <name> { criteria = } */

#include "lib.h"
#include "array.h"
#include "settings-parser.h"
#include "mail-user.h"
#include "pimap-settings.h"

#ifdef PIMAP_HAVE_SETTINGS_GET
#  include "settings.h"
#else
#  include "mail-storage-settings.h"
#endif

static int
pimap_system_filter_cmp(const struct pimap_system_filter *f1,
			const struct pimap_system_filter *f2)
{
	return strcmp(f1->name, f2->name);
}

static void
pimap_settings_add_filter(ARRAY_TYPE(pimap_system_filter) *filters,
			  pool_t pool, const char *name, const char *criteria)
{
	struct pimap_system_filter *filter;

	array_foreach_modifiable(filters, filter) {
		if (strcmp(filter->name, name) == 0)
			return;
	}
	filter = array_append_space(filters);
	filter->name = p_strdup(pool, name);
	filter->criteria = p_strdup(pool, criteria);
}

#ifdef PIMAP_HAVE_SETTINGS_GET

struct pimap_filters_settings {
	pool_t pool;
	ARRAY_TYPE(const_string) pimap_filter;
};

static const struct setting_define pimap_filters_setting_defines[] = {
	{ .type = SET_FILTER_ARRAY, .key = "pimap_filter",
	  .offset = offsetof(struct pimap_filters_settings, pimap_filter),
	  .filter_array_field_name = "pimap_filter_name" },

	SETTING_DEFINE_LIST_END
};

static const struct pimap_filters_settings pimap_filters_default_settings = {
	.pimap_filter = ARRAY_INIT,
};

const struct setting_parser_info pimap_filters_setting_parser_info = {
	.name = "pimap_filters",
	.pool_offset1 = 1 + offsetof(struct pimap_filters_settings, pool),
	.defines = pimap_filters_setting_defines,
	.defaults = &pimap_filters_default_settings,
	.struct_size = sizeof(struct pimap_filters_settings),
};

struct pimap_filter_settings {
	pool_t pool;
	const char *pimap_filter_name;
	const char *pimap_filter_criteria;
};

static const struct setting_define pimap_filter_setting_defines[] = {
	SETTING_DEFINE_STRUCT_STR("pimap_filter_name", pimap_filter_name,
				  struct pimap_filter_settings),
	SETTING_DEFINE_STRUCT_STR("pimap_filter_criteria", pimap_filter_criteria,
				  struct pimap_filter_settings),

	SETTING_DEFINE_LIST_END
};

static const struct pimap_filter_settings pimap_filter_default_settings = {
	.pimap_filter_name = "",
	.pimap_filter_criteria = "",
};

const struct setting_parser_info pimap_filter_setting_parser_info = {
	.name = "pimap_filter",
	.pool_offset1 = 1 + offsetof(struct pimap_filter_settings, pool),
	.defines = pimap_filter_setting_defines,
	.defaults = &pimap_filter_default_settings,
	.struct_size = sizeof(struct pimap_filter_settings),
};

static int
pimap_settings_read_filters(struct event *event, pool_t pool,
			    ARRAY_TYPE(pimap_system_filter) *filters,
			    const char **error_r)
{
	const struct pimap_filters_settings *set;
	const struct pimap_filter_settings *filter_set;
	const char *name;
	int ret = 0;

	if (settings_get(event, &pimap_filters_setting_parser_info, 0,
			 &set, error_r) < 0)
		return -1;
	if (array_is_created(&set->pimap_filter)) {
		array_foreach_elem(&set->pimap_filter, name) {
			ret = settings_get_filter(event, "pimap_filter",
				name, &pimap_filter_setting_parser_info, 0,
				&filter_set, error_r);
			if (ret < 0)
				break;
			pimap_settings_add_filter(filters, pool,
				filter_set->pimap_filter_name,
				filter_set->pimap_filter_criteria);
			settings_free(filter_set);
		}
	}
	settings_free(set);
	return ret;
}

int pimap_settings_get_service_filters(struct event *event, pool_t pool,
				ARRAY_TYPE(pimap_system_filter) *filters_r,
				const char **error_r)
{
	p_array_init(filters_r, pool, 4);
	if (pimap_settings_read_filters(event, pool, filters_r, error_r) < 0)
		return -1;
	array_sort(filters_r, pimap_system_filter_cmp);
	return 0;
}

#else

#define PIMAP_FILTER_PREFIX "pimap_filter_"

static void
pimap_settings_read_filters(const struct mail_user_settings *set, pool_t pool,
			    ARRAY_TYPE(pimap_system_filter) *filters)
{
	const size_t len = strlen(PIMAP_FILTER_PREFIX);
	const char *const *envs;
	unsigned int i, count;

	if (!array_is_created(&set->plugin_envs))
		return;
	/* names and values in turn */
	envs = array_get(&set->plugin_envs, &count);
	for (i = 0; i + 1 < count; i += 2) {
		if (strncmp(envs[i], PIMAP_FILTER_PREFIX, len) == 0) {
			pimap_settings_add_filter(filters, pool,
				t_str_lcase(envs[i] + len), envs[i+1]);
		}
	}
}

void pimap_settings_get_service_filters(const struct mail_user_settings *set,
				pool_t pool,
				ARRAY_TYPE(pimap_system_filter) *filters_r)
{
	p_array_init(filters_r, pool, 4);
	pimap_settings_read_filters(set, pool, filters_r);
	array_sort(filters_r, pimap_system_filter_cmp);
}

#endif

int pimap_settings_get_filters(struct mail_user *user,
			       ARRAY_TYPE(pimap_system_filter) *filters_r,
			       const char **error_r)
{
#ifdef PIMAP_HAVE_SETTINGS_GET
	return pimap_settings_get_service_filters(user->event, user->pool,
						  filters_r, error_r);
#else
	*error_r = NULL;
	pimap_settings_get_service_filters(user->set, user->pool, filters_r);
	return 0;
#endif
}
