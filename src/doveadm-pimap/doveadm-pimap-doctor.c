/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap doctor: what of the site's configuration, and of one user, keeps
   pimap from working, or makes it show too much. Each check says what to mend.

   It is no mail command: it has to work without a user, and where mail plugins
   can't be loaded (doveadm -o mail_plugins= pimap doctor). The part about a user is
   one: the same command's, run after the site's. */

#define _GNU_SOURCE
#include "lib.h"
#include "array.h"
#include "str.h"
#include "istream.h"
#include "master-service.h"
#include "settings-parser.h"
#include "pimap-criteria.h"
#include "pimap-zone.h"
#include "doveadm-print.h"
#include "doveadm-pimap.h"
#include "doveadm-pimap-conf.h"
#include "doveadm-pimap-doctor.h"

#include <ctype.h>
#include <dlfcn.h>
#include <sys/stat.h>

/* A device's new connection comes before its old one has gone, beside a plain
   one. */
#define DOCTOR_MIN_CONNECTIONS 3
/* No module is so large. */
#define DOCTOR_MAX_MODULE_SIZE (64*1024*1024)
#define DOCTOR_MAX_FILTER_SIZE (1024*1024)
#define DOCTOR_MAX_FILTER_NESTING 1000

struct doctor_check {
	const char *name;
	/* what is said if doctor_fail() isn't called */
	const char *ok;
	void (*run)(struct doctor *doctor);
};

/* Its user's part comes after the site's. */
static struct doctor *doctor_site = NULL;

static void
doctor_print(const char *result, const char *check, const char *text)
{
	doveadm_print(result);
	doveadm_print(check);
	doveadm_pimap_print_text(text);
}

void doctor_ok(struct doctor *doctor, const char *text)
{
	doctor_print("ok", doctor->check, text);
}

void doctor_fail(struct doctor *doctor, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	doctor_print("FAIL", doctor->check, t_strdup_vprintf(format, args));
	va_end(args);
	doctor->check_failed = TRUE;
	doctor->failures++;
}

/* Of Dovecot 2.3 they are in plugin {}. */
const char *doctor_get(struct doctor *doctor, const char *key)
{
	const struct pimap_conf *plugin =
		pimap_conf_find(doctor->conf, "plugin");

	if (plugin != NULL && pimap_conf_find(plugin, key) != NULL)
		return pimap_conf_get(plugin, key);
	return pimap_conf_get(doctor->conf, key);
}

/* In Dovecot 2.4 a block of a protocol adds to the list outside of it, which doveconf
   doesn't tell with it. */
static bool
doctor_list_has(struct doctor *doctor, const struct pimap_conf *conf,
		const char *key, const char *word)
{
	const struct pimap_conf *list = pimap_conf_find(conf, key);

	if (list == NULL ||
	    (list->value == NULL && pimap_conf_find(list, word) == NULL))
		conf = doctor->global;
	return pimap_conf_list_has(conf, key, word);
}

bool doctor_has_plugin(struct doctor *doctor, const char *name)
{
	return doctor_list_has(doctor, doctor->conf, "mail_plugins", name);
}

/* configuration */

static void doctor_check_configuration(struct doctor *doctor)
{
	const char *const *lines;

	if (doctor->conf != NULL)
		return;
	lines = t_strsplit(doctor->conf_errors, "\n");
	for (; *lines != NULL; lines++) {
		if (**lines != '\0')
			doctor_fail(doctor, "%s", *lines);
	}
	if (!doctor->check_failed)
		doctor_fail(doctor, "doveconf fails and says nothing");
}

/* modules */

static const char *
doctor_read_module(const char *path, size_t *size_r, const char **error_r)
{
	struct istream *input;
	const unsigned char *data;
	struct stat st;
	const char *ret = NULL;

	if (stat(path, &st) < 0) {
		*error_r = errno == ENOENT ? "it isn't there" :
			t_strdup_printf("%m");
		return NULL;
	}
	input = i_stream_create_file(path, DOCTOR_MAX_MODULE_SIZE);
	while (i_stream_read(input) > 0) ;
	if (input->stream_errno != 0)
		*error_r = t_strdup(strerror(input->stream_errno));
	else {
		data = i_stream_get_data(input, size_r);
		ret = t_malloc_no0(*size_r + 1);
		memcpy((void *)ret, data, *size_r);
	}
	i_stream_destroy(&input);
	return ret;
}

/* The version that is compiled into a module is a string of its own. To load it
   would take the binary that it is for. */
static const char *
doctor_find_abi(const char *data, size_t size)
{
	const char *const end = data + size;
	const char *p = data, *start, *last;

	while (p < end && (p = memmem(p, end - p, ".ABIv", 5)) != NULL) {
		for (start = p; start > data &&
		     start[-1] > ' ' && start[-1] < 0x7f; start--) ;
		for (last = p; last < end && *last > ' ' && *last < 0x7f; last++) ;
		if (i_isdigit(*start))
			return t_strdup_until(start, last);
		p += 5;
	}
	return NULL;
}

static bool
doctor_check_module(struct doctor *doctor, const char *dir, const char *name)
{
	const char *path = t_strconcat(dir, "/", name, NULL);
	const char *data, *abi, *error;
	size_t size;

	data = doctor_read_module(path, &size, &error);
	if (data == NULL) {
		doctor_fail(doctor, "%s: %s. Install pimap's modules anew",
			    path, error);
		return FALSE;
	}
	abi = doctor_find_abi(data, size);
	if (abi == NULL) {
		doctor_fail(doctor, "%s is no module of Dovecot's. Install "
			    "pimap's modules anew", path);
		return FALSE;
	}
	if (strcmp(abi, DOVECOT_ABI_VERSION) != 0) {
		doctor_fail(doctor, "%s is of Dovecot %s, this is %s. Build and "
			"install pimap for this Dovecot", path, abi,
			DOVECOT_ABI_VERSION);
		return FALSE;
	}
	return TRUE;
}

static void doctor_list_plugin(struct doctor *doctor)
{
	doctor_fail(doctor, "Until then no session starts. To go on without "
		    "pimap take it out of every mail_plugins");
}

static void doctor_check_modules(struct doctor *doctor)
{
	const char *dir = pimap_conf_get(doctor->conf, "mail_plugin_dir");
	bool auth, plugin;

	/* its default, which isn't always told */
	if (*dir == '\0')
		dir = doctor->module_dir;
	auth = doctor_check_module(doctor, t_strconcat(doctor->module_dir,
			"/auth", NULL), "libauthdb_pimap.so");
	plugin = doctor_check_module(doctor, dir, "lib01_pimap_plugin.so");
	if (!doctor_check_module(doctor, dir, "lib30_imap_pimap_plugin.so")) {
		doctor_fail(doctor, "Until then devices are refused, other "
			    "sessions go on");
	}
#ifdef PIMAP_HAVE_SETTINGS_GET
	if (!doctor_check_module(doctor, t_strconcat(doctor->module_dir,
				 "/settings", NULL), "libpimap_settings.so")) {
		/* the others ask for them */
		doctor_fail(doctor, "Until then Dovecot doesn't know its "
			"settings. To go on without pimap take out every line "
			"that begins with pimap_");
		auth = plugin = FALSE;
	}
#endif
	if (!auth)
		doctor_list_dbs(doctor);
	if (!plugin)
		doctor_list_plugin(doctor);
}

/* settings: Dovecot 2.3 takes everything in plugin {}. */

static void
doctor_check_filter(struct doctor *doctor, const char *setting,
		    const char *criteria)
{
	const struct pimap_settings *defaults =
		pimap_setting_parser_info.defaults;
	struct pimap_settings set = *defaults;
	string_t *text = t_str_new(256);
	const char *error;

	/* sessions look whether it keeps the limits */
	set.pimap_max_filter_size = DOCTOR_MAX_FILTER_SIZE;
	set.pimap_max_filter_nesting = DOCTOR_MAX_FILTER_NESTING;
	if (pimap_criteria_parse_line(&set, criteria, text, &error) !=
	    PIMAP_CRITERIA_OK) {
		doctor_fail(doctor, "%s = %s: %s. Until then no device can log "
			    "in", setting, criteria, error);
	}
}

/* A filter that devices have which have set none */
static void doctor_check_default(struct doctor *doctor, const char *key)
{
	const char *name = doctor_get(doctor, key);
	const struct pimap_conf *plugin =
		pimap_conf_find(doctor->conf, "plugin");
	struct pimap_conf *filter;

	if (*name == '\0' || strcasecmp(name, "ALL") == 0 ||
	    strcasecmp(name, "NONE") == 0 ||
	    (plugin != NULL && pimap_conf_find(plugin,
			t_strconcat("pimap_filter_", name, NULL)) != NULL))
		return;
	array_foreach_elem(&doctor->conf->blocks, filter) {
		if (strcmp(filter->key, "pimap_filter") == 0 &&
		    strcmp(filter->name, name) == 0)
			return;
	}
	doctor_fail(doctor, "%s = %s: there is no such filter. Until then no "
		"device can log in. Take ALL, NONE or a filter of the "
		"configuration", key, name);
}

static void doctor_check_settings(struct doctor *doctor)
{
	doctor_check_default(doctor, "pimap_default_view");
	doctor_check_default(doctor, "pimap_default_notification");
#ifndef PIMAP_HAVE_SETTINGS_GET
	const struct pimap_conf *plugin =
		pimap_conf_find(doctor->conf, "plugin");
	const struct setting_define *def;
	struct setting_parser_context *parser;
	struct pimap_conf *set;
	const char *error;

	if (plugin == NULL)
		return;
	parser = settings_parser_init(doctor->pool,
				      &pimap_setting_parser_info, 0);
	array_foreach_elem(&plugin->blocks, set) {
		if (strncmp(set->key, "pimap_", 6) != 0 || set->value == NULL)
			continue;
		for (def = pimap_setting_parser_info.defines; def->key != NULL; def++) {
			if (strcmp(def->key, set->key) == 0)
				break;
		}
		if (strcmp(set->key, "pimap_separator") == 0) {
			doctor_fail(doctor, "plugin { pimap_separator }: the "
				"separator is an argument of the passdbs and "
				"the userdb, args = \"separator=%s\"",
				set->value);
		} else if (strncmp(set->key, "pimap_device", 12) == 0) {
			doctor_fail(doctor, "plugin { %s }: that is set by "
				"passdb pimap, and would make a device of every "
				"session. Take it out", set->key);
		} else if (strncmp(set->key, "pimap_filter_", 13) == 0) {
			doctor_check_filter(doctor, set->key, set->value);
		} else if (def->key == NULL) {
			doctor_fail(doctor, "plugin { %s }: there is no such "
				"setting (see dovecot-pimap(7))", set->key);
		} else if (settings_parse_keyvalue(parser, set->key,
						   set->value) <= 0) {
			doctor_fail(doctor, "plugin { %s = %s }: %s", set->key,
				set->value, settings_parser_get_error(parser));
		}
	}
	/* the time zone is another check */
	(void)settings_parse_keyvalue(parser, "pimap_timezone", "");
	if (!doctor->check_failed &&
	    !settings_parser_check(parser, doctor->pool, &error))
		doctor_fail(doctor, "plugin {}: %s", error);
	settings_parser_deinit(&parser);
#else
	struct pimap_conf *filter;

	/* doveconf has refused all else that is wrong */
	array_foreach_elem(&doctor->conf->blocks, filter) {
		if (strcmp(filter->key, "pimap_filter") == 0) {
			doctor_check_filter(doctor,
				t_strconcat("pimap_filter ", filter->name, NULL),
				pimap_conf_get(filter, "criteria"));
		}
	}
	if (doctor_get(doctor, "pimap_device")[0] != '\0')
		doctor_fail(doctor, "pimap_device is set by passdb pimap. "
			    "Take it out");
#endif
}

static void doctor_check_timezone(struct doctor *doctor)
{
	const char *zone = doctor_get(doctor, "pimap_timezone");

	if (!pimap_zone_is_valid(zone)) {
		doctor_fail(doctor, "pimap_timezone = %s: this system has no such "
			"time zone. Take a name below /usr/share/zoneinfo, as in "
			"Europe/Berlin, or install tzdata", zone);
	}
}

/* plugins, chroot */

static void
doctor_check_protocol(struct doctor *doctor, const char *protocol)
{
	struct pimap_conf *conf;
	const char *errors;

	if (pimap_conf_read(doctor->pool, doctor->conf_path, protocol,
			    "mail_plugins", &conf, &errors) < 0) {
		doctor_fail(doctor, "protocol %s: %s", protocol, errors);
		return;
	}
	if (!doctor_list_has(doctor, conf, "mail_plugins", "pimap")) {
#ifdef PIMAP_HAVE_SETTINGS_GET
		doctor_fail(doctor, "protocol %s: pimap isn't in mail_plugins. "
			"Add mail_plugins { pimap = yes } to protocol %s { }, "
			"after what sets it (see 99-pimap.conf)",
			protocol, protocol);
#else
		doctor_fail(doctor, "protocol %s: pimap isn't in mail_plugins. "
			"Write mail_plugins = $mail_plugins ... there",
			protocol);
#endif
	}
	/* in other processes it has no commands to replace */
	if (strcmp(protocol, "imap") != 0 &&
	    doctor_list_has(doctor, conf, "mail_plugins", "imap_pimap")) {
		doctor_fail(doctor, "protocol %s: imap_pimap in mail_plugins is "
			    "for protocol imap only", protocol);
	}
}

/* Left over from 2.3, where it has been put in by now, it is a plugin's name in
   2.4. */
static void
doctor_check_dollar(struct doctor *doctor, const struct pimap_conf *conf)
{
	const char *plugins = pimap_conf_get(conf, "mail_plugins");

	if (strchr(plugins, '$') != NULL) {
		doctor_fail(doctor, "mail_plugins = %s: this Dovecot takes $... "
			"for a plugin's name. Write mail_plugins { NAME = yes } "
			"for what is to be added", plugins);
	}
}

static void doctor_check_plugins(struct doctor *doctor)
{
	if (!pimap_conf_list_has(doctor->conf, "protocols", "imap"))
		doctor_fail(doctor, "imap isn't in protocols: no device can log in");
	doctor_check_dollar(doctor, doctor->global);
	doctor_check_dollar(doctor, doctor->conf);
	doctor_check_protocol(doctor, "imap");
	if (pimap_conf_list_has(doctor->conf, "protocols", "lmtp"))
		doctor_check_protocol(doctor, "lmtp");
	doctor_check_protocol(doctor, "lda");
}

static void doctor_check_chroot(struct doctor *doctor)
{
	static const char *const paths[] = {
		"mail_home", "mail_location", "mail_path"
	};
	const char *where = NULL;
	unsigned int i;

	if (pimap_conf_get(doctor->conf, "mail_chroot")[0] != '\0')
		where = "mail_chroot is set";
	for (i = 0; i < N_ELEMENTS(paths) && where == NULL; i++) {
		if (strstr(pimap_conf_get(doctor->conf, paths[i]),
			   "/./") != NULL)
			where = t_strconcat(paths[i], " has /./ in it", NULL);
	}
	if (where != NULL && !doctor_has_plugin(doctor, "imap_pimap")) {
		doctor_fail(doctor, "%s: devices are refused, as in a chroot "
			"nothing can be loaded. Add imap_pimap to the "
			"mail_plugins of protocol imap, beside pimap", where);
	}
}

/* capability, connections */

static void doctor_check_capability(struct doctor *doctor)
{
	/* pimap-plugin-imap.c */
	static const char *const capabilities[] = {
		"XPIMAPPREF", "XPROVISION", "XFILTER",
	};
	const struct pimap_conf *set =
		pimap_conf_find(doctor->conf, "imap_capability");
	ARRAY_TYPE(const_string) missing;
	unsigned int i;

	t_array_init(&missing, N_ELEMENTS(capabilities) + 1);
	for (i = 0; i < N_ELEMENTS(capabilities); i++) {
		if (!doctor_list_has(doctor, doctor->conf, "imap_capability",
				     capabilities[i]))
			array_push_back(&missing, &capabilities[i]);
	}
	if (array_count(&missing) > 0) {
		array_append_zero(&missing);
		doctor_fail(doctor, "imap_capability lacks %s: clients aren't "
			"told before the login. Add it (see 05-pimap.conf)",
			t_strarray_join(array_front(&missing), " "));
	}
#ifdef PIMAP_HAVE_SETTINGS_GET
	if (set != NULL && set->value != NULL && set->value[0] == '+') {
		doctor_fail(doctor, "imap_capability = %s: in this Dovecot that "
			"is all that is announced. Write imap_capability { "
			"XFILTER = yes ... }", set->value);
	}
#else
	if (set != NULL && set->value != NULL && set->value[0] != '\0' &&
	    set->value[0] != '+' && strstr(set->value, "IMAP4rev1") == NULL) {
		doctor_fail(doctor, "imap_capability = %s: that is all that is "
			"announced. Begin it with +", set->value);
	}
#endif
}

static void doctor_check_connections(struct doctor *doctor)
{
	const char *value =
		pimap_conf_get(doctor->conf, "mail_max_userip_connections");
	struct pimap_conf *service;
	unsigned int limit;

	if (str_to_uint(value, &limit) == 0 && limit > 0 &&
	    limit < DOCTOR_MIN_CONNECTIONS) {
		doctor_fail(doctor, "mail_max_userip_connections = %u: all of a "
			"user's devices and programs at one address share them. "
			"Set it to 10 or more", limit);
	}
	array_foreach_elem(&doctor->conf->blocks, service) {
		if (strcmp(service->key, "service") != 0 ||
		    strcmp(service->name, "imap") != 0 ||
		    str_to_uint(pimap_conf_get(service, "process_limit"),
				&limit) < 0)
			continue;
		if (limit > 0 && limit < DOCTOR_MIN_CONNECTIONS) {
			doctor_fail(doctor, "service imap { process_limit = %u }: "
				"each session is a process. Set it to the number "
				"of sessions at once", limit);
		}
	}
}

static const struct doctor_check doctor_checks[] = {
	{ "configuration", "Dovecot takes it", doctor_check_configuration },
	{ "modules", "all are there, for this Dovecot", doctor_check_modules },
	{ "settings", "all are known and have valid values",
	  doctor_check_settings },
	{ "timezone", "this system has it", doctor_check_timezone },
	{ "separator", "it is one character, the same everywhere",
	  doctor_check_separator },
	{ "passdb", "pimap is the first", doctor_check_passdbs },
	{ "master", "pimap is the first, or there are no master users",
	  doctor_check_masters },
	{ "userdb", "pimap is the first", doctor_check_userdbs },
	{ "plugins", "pimap is in the mail_plugins of all protocols",
	  doctor_check_plugins },
	{ "chroot", "none, or imap_pimap is in mail_plugins",
	  doctor_check_chroot },
	{ "capability", "it is announced", doctor_check_capability },
	{ "connections", "devices may have theirs", doctor_check_connections },
	{ "outband", "the service works, or there are no channels",
	  doctor_check_outband },
	{ "channels", "they can be reached, or there are none",
	  doctor_check_channels },
};

static void
doctor_run(struct doctor *doctor, const char *name, const char *ok,
	   void (*run)(struct doctor *doctor))
{
	doctor->check = name;
	doctor->check_failed = FALSE;
	doctor->ok = ok;
	T_BEGIN {
		run(doctor);
		if (!doctor->check_failed)
			doctor_ok(doctor, doctor->ok);
	} T_END;
}

static void doctor_run_site(struct doctor *doctor)
{
	unsigned int i;

	/* the first one is about whether there is anything for the others */
	for (i = 0; i < N_ELEMENTS(doctor_checks); i++) {
		if (i > 0 && doctor->conf == NULL)
			break;
		doctor_run(doctor, doctor_checks[i].name, doctor_checks[i].ok,
			   doctor_checks[i].run);
	}
}

/* a user */

static int
doctor_user_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	const unsigned int failures = doctor_site->failures;

	doctor_check_user(doctor_site, user);
	if (doctor_site->failures == failures)
		return 0;
	ctx->exit_code = EX_CONFIG;
	return -1;
}

static struct doveadm_mail_cmd_context *doctor_user_alloc(void)
{
	return doveadm_pimap_cmd_alloc(doctor_user_run, NULL, NULL);
}

/* Where the modules are in which this one is, in its folder doveadm */
static const char *doctor_get_module_dir(void)
{
	Dl_info info;
	const char *dir, *p;

	if (dladdr(&doctor_checks, &info) == 0 || info.dli_fname == NULL)
		i_fatal("pimap: dladdr() doesn't know this module");
	dir = info.dli_fname;
	if ((p = strrchr(dir, '/')) != NULL) {
		dir = t_strdup_until(dir, p);
		if ((p = strrchr(dir, '/')) != NULL)
			dir = t_strdup_until(dir, p);
	}
	return dir;
}

/* In Dovecot's own processes it may be a socket. */
static const char *doctor_get_conf_path(void)
{
	const char *path = master_service_get_config_path(master_service);
	struct stat st;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		path = t_strconcat(doveadm_settings->base_dir, "/dovecot.conf",
				   NULL);
	return path;
}

static void cmd_pimap_doctor(struct doveadm_cmd_context *cctx)
{
	struct doctor doctor;
	const char *user = NULL;

	if (doveadm_cmd_param_str(cctx, "user", &user) &&
	    (strchr(user, '*') != NULL || strchr(user, '?') != NULL)) {
		i_error("pimap: doctor looks at one user");
		doveadm_exit_code = EX_USAGE;
		return;
	}
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	doveadm_print_header_simple("result");
	doveadm_print_header_simple("check");
	doveadm_print_header("text", "text", DOVEADM_PRINT_HEADER_FLAG_EXPAND);

	i_zero(&doctor);
	doctor.pool = pool_alloconly_create("pimap doctor", 64*1024);
	doctor.module_dir = doctor_get_module_dir();
	doctor.conf_path = doctor_get_conf_path();
	if (pimap_conf_read(doctor.pool, doctor.conf_path, NULL, NULL,
			    &doctor.global, &doctor.conf_errors) < 0 ||
	    pimap_conf_read(doctor.pool, doctor.conf_path, "imap", NULL,
			    &doctor.conf, &doctor.conf_errors) < 0)
		doctor.conf = NULL;
	doctor_run_site(&doctor);
	if (user != NULL) {
		doctor_site = &doctor;
		doveadm_cmd_ver2_to_mail_cmd_wrapper(cctx);
		doctor_site = NULL;
	}
	if (doctor.failures > 0 && doveadm_exit_code == 0)
		doveadm_exit_code = EX_CONFIG;
	pool_unref(&doctor.pool);
}

struct doveadm_cmd_ver2 doveadm_pimap_cmd_doctor = {
	.name = "pimap doctor",
	.usage = "[-u <user>]",
	.cmd = cmd_pimap_doctor,
	.mail_cmd = doctor_user_alloc,
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_PARAM('u', "user", CMD_PARAM_STR, 0)
DOVEADM_CMD_PARAMS_END
};
