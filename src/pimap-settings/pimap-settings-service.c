/* SPDX-License-Identifier: LGPL-2.1-only */
/* The settings of a service that opens no mail: it has no user to ask for them. */

#include "lib.h"
#include "str.h"
#include "array.h"
#include "settings-parser.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "mail-user.h"
#include "mail-storage-settings.h"
#include "pimap-settings.h"

#ifdef PIMAP_HAVE_SETTINGS_GET
#  include "settings.h"

int pimap_settings_get_service(pool_t pool, const struct pimap_settings **set_r,
			       const char **state_dir_r, const char **error_r)
{
	const struct pimap_settings *set;

	if (master_service_settings_read_simple(master_service, error_r) < 0 ||
	    settings_get(master_service_get_event(master_service),
			 &pimap_setting_parser_info, 0, &set, error_r) < 0)
		return -1;
	*set_r = set;
	pool_add_external_ref(pool, set->pool);
	settings_free(set);
	*state_dir_r = p_strdup(pool, master_service_get_service_settings(
		master_service)->state_dir);
	return 0;
}

#else

/* %% is % for mail processes, which expand variables in plugin {}. */
static const char *pimap_settings_unescape(const char *value)
{
	string_t *str = t_str_new(128);

	for (; *value != '\0'; value++) {
		str_append_c(str, *value);
		if (value[0] == '%' && value[1] == '%')
			value++;
	}
	return str_c(str);
}

int pimap_settings_get_service(pool_t pool, const struct pimap_settings **set_r,
			       const char **state_dir_r, const char **error_r)
{
	static const struct setting_parser_info *roots[] = {
		&mail_user_setting_parser_info,
		NULL
	};
	struct master_service_settings_input input;
	struct master_service_settings_output output;
	struct setting_parser_context *parser;
	const struct mail_user_settings *user_set;
	const struct setting_define *def;
	const char *value;
	int ret = 0;

	i_zero(&input);
	input.roots = roots;
	/* only mail processes are told of plugin {} */
	input.module = "mail";
	input.service = master_service_get_name(master_service);
	if (master_service_settings_read(master_service, &input, &output,
					 error_r) < 0)
		return -1;
	user_set = master_service_settings_get_others(master_service)[0];
	parser = settings_parser_init(pool, &pimap_setting_parser_info, 0);
	def = pimap_setting_parser_info.defines;
	for (; def->key != NULL && ret == 0; def++) {
		value = mail_user_set_plugin_getenv(user_set, def->key);
		if (value != NULL &&
		    settings_parse_keyvalue(parser, def->key,
				pimap_settings_unescape(value)) <= 0) {
			*error_r = t_strdup(settings_parser_get_error(parser));
			ret = -1;
		}
	}
	if (ret == 0 && !settings_parser_check(parser, pool, error_r))
		ret = -1;
	if (ret == 0) {
		*set_r = settings_parser_get(parser);
		*state_dir_r = p_strdup(pool, master_service_settings_get(
			master_service)->state_dir);
	}
	settings_parser_deinit(&parser);
	return ret;
}

#endif

int pimap_settings_get_service_rules(pool_t pool, const struct pimap_settings *set,
				     const char **rules_r, const char **error_r)
{
	ARRAY_TYPE(pimap_system_filter) filters;
	const struct pimap_system_filter *filter;
	string_t *rules = str_new(pool, 256);

#ifdef PIMAP_HAVE_SETTINGS_GET
	if (pimap_settings_get_service_filters(
			master_service_get_event(master_service), pool,
			&filters, error_r) < 0)
		return -1;
#else
	*error_r = NULL;
	pimap_settings_get_service_filters(
		master_service_settings_get_others(master_service)[0], pool,
		&filters);
#endif
	str_printfa(rules, "%s\n%s\n%s\n%s\n", set->pimap_default_view,
		    set->pimap_default_notification, set->pimap_default_event,
		    set->pimap_timezone);
	array_foreach(&filters, filter)
		str_printfa(rules, "%s %s\n", filter->name, filter->criteria);
	*rules_r = str_c(rules);
	return 0;
}
