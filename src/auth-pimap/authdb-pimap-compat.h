/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef AUTHDB_PIMAP_COMPAT_H
#define AUTHDB_PIMAP_COMPAT_H

/* What differs between the versions of Dovecot in the auth process.

   authdb_pimap_compat_init(module, separator, services, refuse_all_r)
     is called for each passdb and userdb of ours. Sets the separator, which is
     '\0' before the first call, the services that take names with a device,
     which are NULL as long as no block has set them, and refuse_all_r, if the
     configuration is such that device sessions would not get pimap.
   authdb_pimap_compat_allow_char(c)
     allows c in user names, whatever auth_username_chars says.
   authdb_pimap_compat_protocol(request)
     what the client speaks: "imap", "lmtp", ...
   AUTHDB_PIMAP_COMPAT_PLUGINS_FIELD, AUTHDB_PIMAP_COMPAT_PLUGINS_VALUE
     the field that adds pimap to its user's mail_plugins.
   AUTHDB_PIMAP_COMPAT_PLUGINS_IS_LIST
     whether its value is a list that a site may have put others in. */

/* TRUE if auth_username_translation makes something else of the separator */
static inline bool
authdb_pimap_compat_is_translated(const struct auth_settings *set, char c)
{
	return set != NULL &&
		set->username_translation_map[(unsigned char)c] != 0;
}

static inline void
authdb_pimap_compat_allow_char_in(const struct auth_settings *set, char c)
{
	/* settings are const to everyone else */
	if (set != NULL) {
		((struct auth_settings *)set)->
			username_chars_map[(unsigned char)c] = 1;
	}
}

#ifdef PIMAP_HAVE_AUTH_MODULE_ARGS

#define AUTHDB_PIMAP_COMPAT_PLUGINS_FIELD "userdb_mail_plugins+"
#define AUTHDB_PIMAP_COMPAT_PLUGINS_VALUE " pimap"
#define AUTHDB_PIMAP_COMPAT_PLUGINS_IS_LIST TRUE

#define authdb_pimap_compat_protocol(request) ((request)->fields.service)

#define authdb_pimap_compat_init(module, separator, services, refuse_all_r) \
	STMT_START { \
	authdb_pimap_compat_parse_args((module)->args, separator, services); \
	*(refuse_all_r) = NULL; \
	} STMT_END

static inline void
authdb_pimap_compat_parse_services(const char *value,
				   const char *const **services)
{
	const char *const *list = pimap_device_services_parse(default_pool, value);

	if (list == NULL)
		i_fatal("passdb/userdb pimap: services=%s isn't a list of "
			"services", value);
	if (*services != NULL &&
	    strcmp(t_strarray_join(*services, " "),
		   t_strarray_join(list, " ")) != 0) {
		i_fatal("passdb/userdb pimap: All blocks that have services "
			"need the same (now: %s)", value);
	}
	*services = list;
}

static inline void
authdb_pimap_compat_parse_args(const char *args, char *separator,
			       const char *const **services)
{
	const char *const *tmp = t_strsplit_spaces(args, " ");
	char c = *separator != '\0' ? *separator : PIMAP_DEFAULT_SEPARATOR;

	for (; *tmp != NULL; tmp++) {
		if (str_begins(*tmp, "services=")) {
			authdb_pimap_compat_parse_services(*tmp + 9, services);
			continue;
		}
		if (!str_begins(*tmp, "separator=") || strlen(*tmp) != 11)
			i_fatal("passdb/userdb pimap: Invalid argument: %s", *tmp);
		c = (*tmp)[10];
		if (!pimap_device_separator_is_valid(c)) {
			i_fatal("passdb/userdb pimap: '%c' can't be the "
				"separator: names have it", c);
		}
	}
	if (*separator != '\0' && *separator != c) {
		i_fatal("passdb/userdb pimap: All need the same separator "
			"(first: %c, now: %c)", *separator, c);
	}
	*separator = c;
}

static inline void authdb_pimap_compat_allow_char(char c)
{
	authdb_pimap_compat_allow_char_in(global_auth_settings, c);
	authdb_pimap_compat_allow_char_in(auth_default_service()->set, c);
	authdb_pimap_compat_allow_char_in(auth_find_service("imap")->set, c);
}

#else

#include "pimap-settings.h"

#define AUTHDB_PIMAP_COMPAT_PLUGINS_FIELD "userdb_mail_plugins/pimap"
#define AUTHDB_PIMAP_COMPAT_PLUGINS_VALUE "yes"
#define AUTHDB_PIMAP_COMPAT_PLUGINS_IS_LIST FALSE

#define authdb_pimap_compat_protocol(request) ((request)->fields.protocol)

#define authdb_pimap_compat_init(module, separator, services, refuse_all_r) \
	STMT_START { \
	(void)(module); \
	authdb_pimap_compat_settings(separator, services, refuse_all_r); \
	} STMT_END

static inline void
authdb_pimap_compat_settings(char *separator, const char *const **services,
			     const char **refuse_all_r)
{
	const char *error;
	bool loaded;

	if (*separator != '\0')
		return;
	if (pimap_settings_get_auth(auth_event, separator, services, &loaded,
				    &error) < 0)
		i_fatal("pimap: %s", error);
	if (!loaded) {
		*refuse_all_r = "pimap isn't in mail_plugins of protocol imap";
		e_error(auth_event, "pimap: Refusing all device logins: %s",
			*refuse_all_r);
	}
}

/* There is a struct for each protocol, and one for each of its passdbs. */
static inline void authdb_pimap_compat_allow_char(char c)
{
	struct auth_passdb *db;
	struct auth *auth;

	authdb_pimap_compat_allow_char_in(global_auth_settings, c);
	array_foreach_elem(&auths, auth) {
		authdb_pimap_compat_allow_char_in(auth->protocol_set, c);
		for (db = auth->passdbs; db != NULL; db = db->next)
			authdb_pimap_compat_allow_char_in(db->auth_set, c);
		for (db = auth->masterdbs; db != NULL; db = db->next)
			authdb_pimap_compat_allow_char_in(db->auth_set, c);
	}
}

#endif

#endif
