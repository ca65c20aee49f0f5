/* SPDX-License-Identifier: LGPL-2.1-only */
/* The settings: one table for all versions of Dovecot, and how its values are
   got.

   Where settings_get() exists (2.4), the configuration must know every setting
   before it is used: this file alone is the module that doveconf and the config
   process load from modules/settings. So nothing but libdovecot's symbols may
   be used there, and what of lib-pimap is built into it. */

#include "lib.h"
#include "array.h"
#include "settings-parser.h"
#include "mail-user.h"
#include "pimap-compat.h"
#include "pimap-device.h"
#include "pimap-zone.h"
#include "pimap-settings.h"

#ifdef PIMAP_HAVE_SETTINGS_GET
#  include "settings.h"
#endif

#include <ctype.h>

/* timers have milliseconds, in an int */
#define PIMAP_OUTBAND_MAX_RETRY (7*24*60*60)
#define PIMAP_OUTBAND_MAX_SCAN_INTERVAL (7*24*60*60)

#define PIMAP_PROGRAM_MAX_TIMEOUT (60*60)

#define PIMAP_MAX_JOIN_INTERVAL (60*60)
#define PIMAP_MAX_INBAND_GRACE (60*60)
#define PIMAP_UDP_MAX_LIFETIME (7*24*60*60)
/* a FULL_SYNC of any account fits, and no datagram is longer */
#define PIMAP_UDP_MIN_SIZE 256
#define PIMAP_UDP_MAX_SIZE 65507

#define DEF(type, name) \
	SETTING_DEFINE_STRUCT_##type(#name, name, struct pimap_settings)

static const struct setting_define pimap_setting_defines[] = {
	DEF(BOOL, pimap),
	DEF(ENUM, pimap_unknown_devices),
	DEF(STR, pimap_default_view),
	DEF(STR, pimap_default_notification),
	DEF(ENUM, pimap_default_event),
	DEF(ENUM, pimap_default_mode),
	DEF(STR, pimap_channels),
	DEF(STR, pimap_device), /* internal: set by passdb pimap */
	DEF(BOOL, pimap_device_any_case), /* internal: likewise */

#ifdef PIMAP_HAVE_SETTINGS_GET
	DEF(STR, pimap_separator),
	DEF(STR, pimap_services),
#endif
	DEF(STR, pimap_profile),
	DEF(UINT, pimap_max_listed_folders),
	DEF(UINT, pimap_max_devices),
	DEF(UINT, pimap_max_filters),
	DEF(UINT, pimap_device_max_folders),
	DEF(SIZE, pimap_max_filter_size),
	DEF(UINT, pimap_max_filter_nesting),
	DEF(BOOL, pimap_delete_hidden),
	DEF(STR, pimap_timezone),
	DEF(ENUM, pimap_view_late),
	DEF(BOOL, pimap_notify_imports),
	DEF(STR, pimap_outband_db),
	DEF(TIME, pimap_outband_scan_interval),
	DEF(TIME, pimap_outband_expire),
	DEF(TIME, pimap_outband_retry_min),
	DEF(TIME, pimap_outband_retry_max),
	DEF(TIME, pimap_inband_grace),
	DEF(ENUM, pimap_inband_grace_by),
	DEF(UINT, pimap_join_count),
	DEF(TIME, pimap_join_interval),
	DEF(UINT, pimap_limit_device),
	DEF(UINT, pimap_limit_user),
	DEF(UINT, pimap_limit_jms),
	DEF(UINT, pimap_limit_mail),
	DEF(UINT, pimap_limit_mqtt),
	DEF(UINT, pimap_limit_mms),
	DEF(UINT, pimap_limit_program),
	DEF(UINT, pimap_limit_sip),
	DEF(UINT, pimap_limit_sms),
	DEF(UINT, pimap_limit_udp),
	DEF(UINT, pimap_limit_wap_push),
	DEF(UINT, pimap_limit_webpush),
	DEF(SIZE, pimap_outband_body),
	DEF(STR, pimap_clear_text),
	DEF(STR, pimap_encryption),
	DEF(ENUM, pimap_key_transport),
	DEF(STR, pimap_jms_url),
	DEF(STR, pimap_jms_user),
	DEF(STR, pimap_jms_password),
	DEF(STR, pimap_jms_ca),
	DEF(STR, pimap_jms_prefix),
	DEF(STR, pimap_mail_relay),
	DEF(STR, pimap_mail_from),
	DEF(STR, pimap_mail_pattern),
	DEF(STR, pimap_mqtt_url),
	DEF(STR, pimap_mqtt_user),
	DEF(STR, pimap_mqtt_password),
	DEF(STR, pimap_mqtt_ca),
	DEF(STR, pimap_mqtt_prefix),
	DEF(STR, pimap_mqtt_client_id),
	DEF(STR, pimap_mms_url),
	DEF(STR, pimap_mms_user),
	DEF(STR, pimap_mms_password),
	DEF(STR, pimap_mms_ca),
	DEF(STR, pimap_mms_vasp_id),
	DEF(STR, pimap_mms_vas_id),
	DEF(STR, pimap_mms_from),
	DEF(STR, pimap_mms_pattern),
	DEF(STR, pimap_program_path),
	DEF(TIME, pimap_program_timeout),
	DEF(STR, pimap_sip_proxy),
	DEF(STR, pimap_sip_from),
	DEF(STR, pimap_sip_user),
	DEF(STR, pimap_sip_password),
	DEF(STR, pimap_sip_ca),
	DEF(STR, pimap_sip_pattern),
	DEF(ENUM, pimap_sip_method),
	DEF(STR, pimap_sms_url),
	DEF(STR, pimap_sms_user),
	DEF(STR, pimap_sms_password),
	DEF(STR, pimap_sms_ca),
	DEF(STR, pimap_sms_from),
	DEF(STR, pimap_sms_pattern),
	DEF(UINT, pimap_sms_parts),
	DEF(STR, pimap_sms_report_url),
	DEF(STR, pimap_udp_listen),
	DEF(STR, pimap_udp_host),
	DEF(UINT, pimap_udp_port),
	DEF(TIME, pimap_udp_lifetime),
	DEF(STR, pimap_udp_fallback),
	DEF(SIZE, pimap_udp_max_size),
	DEF(UINT, pimap_udp_max_hellos),
	DEF(STR, pimap_wap_push_url),
	DEF(STR, pimap_wap_push_user),
	DEF(STR, pimap_wap_push_password),
	DEF(STR, pimap_wap_push_ca),
	DEF(STR, pimap_wap_push_from),
	DEF(STR, pimap_wap_push_pattern),
	DEF(STR, pimap_webpush_subject),
	DEF(STR, pimap_webpush_key),
	DEF(STR, pimap_webpush_ca),
	DEF(STR, pimap_webpush_hosts),

	SETTING_DEFINE_LIST_END
};

static const struct pimap_settings pimap_default_settings = {
	.pimap = TRUE,
	.pimap_unknown_devices = "accept:refuse",
	.pimap_default_view = "ALL",
	.pimap_default_notification = "NONE",
	.pimap_default_event = "NEW:ALL:NONE",
	.pimap_default_mode = "session:view",
	.pimap_channels = "",
	.pimap_device = "",
	.pimap_device_any_case = FALSE,
	.pimap_separator = "#",
	.pimap_services = "imap",
	.pimap_profile = "",
	.pimap_max_listed_folders = 500,
	.pimap_max_devices = 50,
	.pimap_max_filters = 100,
	.pimap_device_max_folders = 500,
	.pimap_max_filter_size = 8*1024,
	.pimap_max_filter_nesting = 32,
	.pimap_delete_hidden = FALSE,
	.pimap_timezone = "",
	.pimap_view_late = "wait:bye",
	.pimap_notify_imports = FALSE,
	.pimap_outband_db = "",
	.pimap_outband_scan_interval = 5*60,
	.pimap_outband_expire = 3*24*60*60,
	.pimap_outband_retry_min = 5,
	.pimap_outband_retry_max = 60*60,
	.pimap_inband_grace = 60,
	.pimap_inband_grace_by = "tcp:read",
	.pimap_join_count = 5,
	.pimap_join_interval = 10,
	.pimap_limit_device = 60,
	.pimap_limit_user = 300,
	.pimap_limit_jms = 0,
	.pimap_limit_mail = 0,
	.pimap_limit_mqtt = 0,
	.pimap_limit_mms = 0,
	.pimap_limit_program = 0,
	.pimap_limit_sip = 0,
	.pimap_limit_sms = 0,
	.pimap_limit_udp = 0,
	.pimap_limit_wap_push = 0,
	.pimap_limit_webpush = 0,
	.pimap_outband_body = 0,
	.pimap_clear_text = "",
	.pimap_encryption = "",
	.pimap_key_transport = "secured:tls:never",
	.pimap_jms_url = "",
	.pimap_jms_user = "",
	.pimap_jms_password = "",
	.pimap_jms_ca = "",
	.pimap_jms_prefix = "",
	.pimap_mail_relay = "",
	.pimap_mail_from = "",
	.pimap_mail_pattern = "",
	.pimap_mqtt_url = "",
	.pimap_mqtt_user = "",
	.pimap_mqtt_password = "",
	.pimap_mqtt_ca = "",
	.pimap_mqtt_prefix = "",
	.pimap_mqtt_client_id = "",
	.pimap_mms_url = "",
	.pimap_mms_user = "",
	.pimap_mms_password = "",
	.pimap_mms_ca = "",
	.pimap_mms_vasp_id = "",
	.pimap_mms_vas_id = "",
	.pimap_mms_from = "",
	.pimap_mms_pattern = "",
	.pimap_program_path = "",
	.pimap_program_timeout = 30,
	.pimap_sip_proxy = "",
	.pimap_sip_from = "",
	.pimap_sip_user = "",
	.pimap_sip_password = "",
	.pimap_sip_ca = "",
	.pimap_sip_pattern = "",
	.pimap_sip_method = "message:notify",
	.pimap_sms_url = "",
	.pimap_sms_user = "",
	.pimap_sms_password = "",
	.pimap_sms_ca = "",
	.pimap_sms_from = "",
	.pimap_sms_pattern = "",
	.pimap_sms_parts = 1,
	.pimap_sms_report_url = "",
	.pimap_udp_listen = "",
	.pimap_udp_host = "",
	.pimap_udp_port = 0,
	.pimap_udp_lifetime = 10*60,
	.pimap_udp_fallback = "",
	.pimap_udp_max_size = 1024,
	.pimap_udp_max_hellos = 10,
	.pimap_wap_push_url = "",
	.pimap_wap_push_user = "",
	.pimap_wap_push_password = "",
	.pimap_wap_push_ca = "",
	.pimap_wap_push_from = "",
	.pimap_wap_push_pattern = "",
	.pimap_webpush_subject = "",
	.pimap_webpush_key = "",
	.pimap_webpush_ca = "",
	.pimap_webpush_hosts = "",
};

static bool
pimap_settings_check_udp(const struct pimap_settings *set, const char **error_r)
{
	const char *const *names = t_strsplit_spaces(set->pimap_encryption,
						     " ,");

	for (; *names != NULL; names++) {
		if (strcasecmp(*names, "AES") != 0 &&
		    strcasecmp(*names, "3DES") != 0) {
			*error_r = t_strdup_printf("pimap_encryption %s: the "
				"methods are AES and 3DES", *names);
			return FALSE;
		}
	}
	if (set->pimap_udp_port > 65535) {
		*error_r = "pimap_udp_port must be 65535 at most";
		return FALSE;
	}
	if (set->pimap_udp_lifetime == 0 ||
	    set->pimap_udp_lifetime > PIMAP_UDP_MAX_LIFETIME) {
		*error_r = "pimap_udp_lifetime must be 1 s at least, 7 days at "
			"most";
		return FALSE;
	}
	if (set->pimap_udp_max_size < PIMAP_UDP_MIN_SIZE ||
	    set->pimap_udp_max_size > PIMAP_UDP_MAX_SIZE) {
		*error_r = "pimap_udp_max_size must be 256 at least, 65507 at "
			"most";
		return FALSE;
	}
	if (set->pimap_udp_max_hellos == 0) {
		*error_r = "pimap_udp_max_hellos must not be 0";
		return FALSE;
	}
	return TRUE;
}

static bool
pimap_settings_check(void *_set, pool_t pool, const char **error_r)
{
	const struct pimap_settings *set = _set;

#ifdef PIMAP_SETTINGS_MODULE
	/* Dovecot 2.4.1 prefers the configuration to what the passdb says:
	   every login would be this device's. */
	if (set->pimap_device[0] != '\0' || set->pimap_device_any_case) {
		*error_r = "pimap_device is set by passdb pimap, "
			"not in the configuration";
		return FALSE;
	}
#endif
	if (strlen(set->pimap_separator) != 1 ||
	    !pimap_device_separator_is_valid(set->pimap_separator[0])) {
		*error_r = t_strdup_printf("pimap_separator \"%s\" isn't one "
			"character that no name has (write # as \"#\")",
			set->pimap_separator);
		return FALSE;
	}
	if (pimap_device_services_parse(pool, set->pimap_services) == NULL) {
		*error_r = t_strdup_printf("pimap_services \"%s\" isn't a list "
			"of services", set->pimap_services);
		return FALSE;
	}
	if (set->pimap_max_filter_nesting == 0) {
		*error_r = "pimap_max_filter_nesting must not be 0";
		return FALSE;
	}
	if (!pimap_zone_is_valid(set->pimap_timezone)) {
		*error_r = t_strdup_printf("pimap_timezone %s: there is no "
			"such time zone in this system", set->pimap_timezone);
		return FALSE;
	}
	/* it isn't told: it may have a password */
	if (set->pimap_outband_db[0] != '\0' && set->pimap_outband_db[0] != '/' &&
	    !pimap_str_begins(set->pimap_outband_db, "pgsql:") &&
	    !pimap_str_begins(set->pimap_outband_db, "postgresql://")) {
		*error_r = "pimap_outband_db must be an absolute path, or begin "
			"with pgsql: or postgresql://";
		return FALSE;
	}
	if (set->pimap_outband_scan_interval > PIMAP_OUTBAND_MAX_SCAN_INTERVAL) {
		*error_r = "pimap_outband_scan_interval must be 7 days at most";
		return FALSE;
	}
	if (set->pimap_outband_expire == 0) {
		*error_r = "pimap_outband_expire must not be 0";
		return FALSE;
	}
	if (set->pimap_outband_retry_min == 0 ||
	    set->pimap_outband_retry_min > set->pimap_outband_retry_max ||
	    set->pimap_outband_retry_max > PIMAP_OUTBAND_MAX_RETRY) {
		*error_r = "pimap_outband_retry_min and pimap_outband_retry_max "
			"must be 1 s at least, 7 days at most, in this order";
		return FALSE;
	}
	if (set->pimap_inband_grace > PIMAP_MAX_INBAND_GRACE) {
		*error_r = "pimap_inband_grace must be 1 hour at most";
		return FALSE;
	}
	if (set->pimap_join_interval == 0 ||
	    set->pimap_join_interval > PIMAP_MAX_JOIN_INTERVAL) {
		*error_r = "pimap_join_interval must be 1 s at least, 1 hour "
			"at most";
		return FALSE;
	}
	if (set->pimap_program_path[0] != '\0' &&
	    set->pimap_program_path[0] != '/') {
		*error_r = "pimap_program_path must be an absolute path";
		return FALSE;
	}
	if (set->pimap_program_timeout == 0 ||
	    set->pimap_program_timeout > PIMAP_PROGRAM_MAX_TIMEOUT) {
		*error_r = "pimap_program_timeout must be 1 s at least, 1 hour "
			"at most";
		return FALSE;
	}
	return pimap_settings_check_udp(set, error_r);
}

const struct setting_parser_info pimap_setting_parser_info = {
#ifdef PIMAP_HAVE_SETTINGS_GET
	.name = "pimap",
	.pool_offset1 = 1 + offsetof(struct pimap_settings, pool),
#else
	.module_name = "pimap",
	.type_offset = SIZE_MAX,
	.parent_offset = SIZE_MAX,
#endif
	.defines = pimap_setting_defines,
	.defaults = &pimap_default_settings,
	.struct_size = sizeof(struct pimap_settings),
	.check_func = pimap_settings_check,
};

#ifdef PIMAP_HAVE_SETTINGS_GET

/* Another name for a setting of Dovecot's own, which the auth process can't
   ask for otherwise. */
struct pimap_auth_settings {
	pool_t pool;
	ARRAY_TYPE(const_string) mail_plugins;
};

static const struct setting_define pimap_auth_setting_defines[] = {
	SETTING_DEFINE_STRUCT_BOOLLIST("mail_plugins", mail_plugins,
				       struct pimap_auth_settings),

	SETTING_DEFINE_LIST_END
};

static const struct pimap_auth_settings pimap_auth_default_settings = {
	.mail_plugins = ARRAY_INIT,
};

static const struct setting_parser_info pimap_auth_setting_parser_info = {
	.name = "pimap_auth",
	.pool_offset1 = 1 + offsetof(struct pimap_auth_settings, pool),
	.defines = pimap_auth_setting_defines,
	.defaults = &pimap_auth_default_settings,
	.struct_size = sizeof(struct pimap_auth_settings),
};

int pimap_settings_get_auth(struct event *parent, char *separator_r,
			    const char *const **services_r,
			    bool *plugin_loaded_r, const char **error_r)
{
	const struct pimap_settings *set;
	const struct pimap_auth_settings *auth_set;
	struct event *event = event_create(parent);
	int ret = -1;

	event_add_str(event, "protocol", "imap");
	if (settings_get(event, &pimap_setting_parser_info, 0, &set,
			 error_r) == 0) {
		*separator_r = set->pimap_separator[0];
		*services_r = pimap_device_services_parse(default_pool,
							  set->pimap_services);
		settings_free(set);
		ret = settings_get(event, &pimap_auth_setting_parser_info, 0,
				   &auth_set, error_r);
	}
	if (ret == 0) {
		*plugin_loaded_r = array_is_created(&auth_set->mail_plugins) &&
			str_array_find(settings_boollist_get(
				&auth_set->mail_plugins), "pimap");
		settings_free(auth_set);
	}
	event_unref(&event);
	return ret;
}

int pimap_settings_get(struct mail_user *user,
		       const struct pimap_settings **set_r,
		       const char **error_r)
{
	const struct pimap_settings *set;

	if (settings_get(user->event, &pimap_setting_parser_info, 0, &set,
			 error_r) < 0)
		return -1;
	*set_r = set;
	/* Settings that outlive this module crash the process at its end: the
	   warning about them names a file, in a string of the module. */
	pool_add_external_ref(user->pool, set->pool);
	settings_free(set);
	return 0;
}

#else

int pimap_settings_get(struct mail_user *user,
		       const struct pimap_settings **set_r,
		       const char **error_r)
{
	const struct setting_define *def;
	struct setting_parser_context *parser;
	const char *value;
	int ret = 0;

	parser = settings_parser_init(user->pool, &pimap_setting_parser_info, 0);
	for (def = pimap_setting_defines; def->key != NULL && ret == 0; def++) {
		value = mail_user_plugin_getenv(user, def->key);
		if (value != NULL &&
		    settings_parse_keyvalue(parser, def->key, value) <= 0) {
			*error_r = t_strdup(settings_parser_get_error(parser));
			ret = -1;
		}
	}
	if (ret == 0 && !settings_parser_check(parser, user->pool, error_r))
		ret = -1;
	if (ret == 0)
		*set_r = settings_parser_get(parser);
	settings_parser_deinit(&parser);
	return ret;
}

#endif

#ifdef PIMAP_SETTINGS_MODULE
extern const char *pimap_settings_version;
extern const struct setting_parser_info *pimap_settings_set_infos[];

const char *pimap_settings_version = DOVECOT_ABI_VERSION;
const struct setting_parser_info *pimap_settings_set_infos[] = {
	&pimap_setting_parser_info,
	&pimap_auth_setting_parser_info,
	&pimap_plain_setting_parser_info,
	&pimap_event_setting_parser_info,
	&pimap_filters_setting_parser_info,
	&pimap_filter_setting_parser_info,
	NULL
};
#endif
