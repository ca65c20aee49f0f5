/* SPDX-License-Identifier: LGPL-2.1-only */
/* passdb and userdb "pimap".

   The passdb stands first in the chain. It takes the device off the login name
   and lets the passdbs after it verify the password of the user that remains.
   The userdb stands first in its chain and refuses every name that still has
   the separator: no mail of a user called "joe#p1" comes into being, whatever
   service asks. Neither verifies a password. (draft 1.2.3, R-2.1) */

#include "lib.h"
#include "auth-common.h"
#include "auth.h"
#include "auth-settings.h"
#include "auth-fields.h"
#include "passdb.h"
#include "userdb.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "pimap-compat.h"
#include "pimap-device.h"
#include "pimap-locks.h"
#include "authdb-pimap-compat.h"

extern const char *authdb_pimap_version;
const char *authdb_pimap_version = DOVECOT_ABI_VERSION;

/* where an event of Dovecot's has a request's passdb_pimap_request */
#define PASSDB_PIMAP_REQUEST "pimap_request"

/* One for all blocks of the configuration */
static char authdb_pimap_separator;
/* Those that take names with a device; NULL: only imap */
static const char *const *authdb_pimap_services;
/* NULL, or why no device may log in */
static const char *authdb_pimap_refuse_all;
static bool authdb_pimap_told_of_certs = FALSE;
static bool authdb_pimap_told_of_gssapi = FALSE;
static struct pimap_locks *authdb_pimap_locks = NULL;

void authdb_pimap_init(void);
void authdb_pimap_deinit(void);

struct passdb_pimap_request {
	/* What the results of passdbs and userdbs were for, before ours took
	   their place */
	verify_plain_callback_t *verify_plain;
	lookup_credentials_callback_t *lookup_credentials;
	userdb_callback_t *userdb;
	/* NULL where the name has none */
	const char *device;
	/* likewise; also where it only authenticates the user */
	const char *login_device;
};

static struct passdb_pimap_request *
passdb_pimap_request_get(struct auth_request *request)
{
	struct passdb_pimap_request *prequest =
		event_get_ptr(request->event, PASSDB_PIMAP_REQUEST);

	if (prequest == NULL) {
		prequest = p_new(request->pool, struct passdb_pimap_request, 1);
		event_set_ptr(request->event, PASSDB_PIMAP_REQUEST, prequest);
	}
	return prequest;
}

/* The name is that of an unknown user, and no further passdb is asked: a
   permissive one would accept the unsplit name. */
static enum passdb_result
passdb_pimap_refuse(struct auth_request *request, const char *reason)
{
	e_info(authdb_event(request), "pimap: %s", reason);
	request->passdb->result_failure = AUTH_DB_RULE_RETURN_FAIL;
	return PASSDB_RESULT_USER_UNKNOWN;
}

static bool
passdb_pimap_is_allowed(struct auth_request *request, const char **reason_r)
{
	const char *service = authdb_pimap_compat_protocol(request);

	if (authdb_pimap_services == NULL ?
	    strcmp(service, PIMAP_DEVICE_SERVICE) != 0 :
	    !str_array_find(authdb_pimap_services, service)) {
		*reason_r = t_strdup_printf(
			"device login in a service that pimap_services "
			"doesn't name: %s", service);
		return FALSE;
	}
	*reason_r = strcmp(service, PIMAP_DEVICE_SERVICE) == 0 ?
		authdb_pimap_refuse_all : NULL;
	return *reason_r == NULL;
}

static void
passdb_pimap_set_device(struct auth_request *request, const char *user,
			const char *device, bool any_case)
{
	char sep[] = { authdb_pimap_separator, '\0' };
	/* our fields must not make userdb prefetch believe that the passdb
	   which verifies the password has returned userdb fields */
	bool prefetch = request->userdb_prefetch_set;

	/* auth_policy was asked about the name with the device: Dovecot asks
	   again before the next passdb, as for a plain login of the user. With
	   another device at each guess nobody would count them otherwise. */
	request->policy_processed = FALSE;
	passdb_pimap_request_get(request)->login_device =
		p_strdup(request->pool, device);
	/* the others authenticate the user */
	if (strcmp(authdb_pimap_compat_protocol(request),
		   PIMAP_DEVICE_SERVICE) != 0)
		return;
	passdb_pimap_request_get(request)->device =
		p_strdup(request->pool, device);
	auth_request_set_field(request, "userdb_pimap_device", device, NULL);
	if (any_case) {
		auth_request_set_field(request, "userdb_pimap_device_any_case",
				       "yes", NULL);
	}
	/* if a later passdb makes it a proxy's login: the other server is to
	   know the device, too */
	auth_request_set_field(request, "destuser",
			       t_strconcat(user, sep, device, NULL), NULL);
	/* whatever section overrides mail_plugins: a device session without
	   pimap would see everything */
	auth_request_set_field(request, AUTHDB_PIMAP_COMPAT_PLUGINS_FIELD,
			       AUTHDB_PIMAP_COMPAT_PLUGINS_VALUE, NULL);
	request->userdb_prefetch_set = prefetch;
}

/* What auth_default_realm, auth_username_format and auth_username_translation
   make of a user's name, or NULL. */
static const char *
passdb_pimap_map_user(struct auth_request *request, const char *user,
		      const char **error_r)
{
	const char *old_user = request->fields.user, *mapped = NULL;

	/* where it is a certificate's, that name stands for what is given */
	auth_request_set_username_forced(request, user);
	if (auth_request_set_username(request, request->fields.cert_username ?
				      "" : user, error_r))
		mapped = request->fields.user;
	/* it is only a question: the name changes as a passdb's field */
	auth_request_set_username_forced(request, old_user);
	return mapped;
}

/* For names of which only what auth_username_format has left is to be had:
   FALSE if that can lack the device. It would be a plain session's name then. */
static bool
passdb_pimap_format_keeps_device(struct auth_request *request, const char *what,
				 bool *told, const char **reason_r)
{
	char sep[] = { authdb_pimap_separator, '\0' };
	const char *login, *error;

	login = passdb_pimap_map_user(request, t_strconcat("joe@example.com",
					sep, "p1", NULL), &error);
	if (login != NULL && strstr(login, t_strconcat(sep, "p1", NULL)) != NULL)
		return TRUE;
	*reason_r = t_strdup_printf("no logins by %s where auth_username_format "
		"or auth_username_translation hides a name's device", what);
	if (!*told)
		e_error(authdb_event(request), "pimap: %s", *reason_r);
	*told = TRUE;
	return FALSE;
}

/* auth_ssl_username_from_cert: the user is the one whom the certificate names,
   whatever name the client gives. The device can be in either name. */
static enum passdb_result passdb_pimap_split_cert(struct auth_request *request)
{
	const char *user, *device, *given_user, *given_device, *reason;
	int ret, given;

	if (!passdb_pimap_format_keeps_device(request, "certificates",
					      &authdb_pimap_told_of_certs,
					      &reason))
		return passdb_pimap_refuse(request, reason);
	ret = pimap_device_split(request->fields.user, authdb_pimap_separator,
				 &user, &device);
	given = request->fields.original_username == NULL ? 0 :
		pimap_device_split(request->fields.original_username,
				   authdb_pimap_separator,
				   &given_user, &given_device);
	if (ret == 0 && given == 0)
		return PASSDB_RESULT_NEXT;
	if (ret < 0 || given < 0 || (ret > 0 && given > 0))
		return passdb_pimap_refuse(request, "invalid device login name");
	if (!passdb_pimap_is_allowed(request, &reason))
		return passdb_pimap_refuse(request, reason);
	if (ret > 0)
		auth_request_set_field(request, "user", user, NULL);
	/* the format may have lower-cased it */
	passdb_pimap_set_device(request, request->fields.user,
				ret > 0 ? device : given_device, ret > 0);
	return PASSDB_RESULT_NEXT;
}

static enum passdb_result passdb_pimap_split(struct auth_request *request)
{
	const char *user, *device, *login, *reason;
	int ret;

	/* auth_username_format may have changed the case of the device or
	   even dropped it with the domain, and auth_username_translation the
	   separator: the name as given decides. */
	login = request->fields.original_username != NULL ?
		request->fields.original_username : request->fields.user;
	ret = pimap_device_split(login, authdb_pimap_separator, &user, &device);
	if (ret == 0) {
		if (strchr(request->fields.user, authdb_pimap_separator) == NULL)
			return PASSDB_RESULT_NEXT;
		return passdb_pimap_refuse(request,
			"separator appeared in user name");
	}
	if (ret < 0)
		return passdb_pimap_refuse(request, "invalid device login name");
	if (!passdb_pimap_is_allowed(request, &reason))
		return passdb_pimap_refuse(request, reason);
	user = passdb_pimap_map_user(request, user, &reason);
	if (user == NULL)
		return passdb_pimap_refuse(request, reason);
	if (strchr(user, authdb_pimap_separator) != NULL)
		return passdb_pimap_refuse(request,
			"separator appeared in user name");
	auth_request_set_field(request, "user", user, NULL);
	passdb_pimap_set_device(request, user, device, FALSE);
	return PASSDB_RESULT_NEXT;
}

/* In the chain of master passdbs: user#device*master. The device is that of
   the user who is logged in to. */
static enum passdb_result
passdb_pimap_split_master(struct auth_request *request)
{
	const char *user, *device, *reason;
	int ret;

	if (strchr(request->fields.user, authdb_pimap_separator) != NULL)
		return passdb_pimap_refuse(request, "a master user has no device");
	if (request->passdb->next == NULL)
		return passdb_pimap_refuse(request, "there are no master users");
	/* the login name as it was given is not to be had here */
	if (authdb_pimap_compat_is_translated(request->set,
					      authdb_pimap_separator))
		return passdb_pimap_refuse(request, "no master logins where "
			"auth_username_translation changes the separator");
	ret = pimap_device_split(request->fields.requested_login_user,
				 authdb_pimap_separator, &user, &device);
	if (ret == 0)
		return PASSDB_RESULT_NEXT;
	if (ret < 0)
		return passdb_pimap_refuse(request, "invalid device login name");
	if (!passdb_pimap_is_allowed(request, &reason))
		return passdb_pimap_refuse(request, reason);
	auth_request_set_field(request, "login_user", user, NULL);
	passdb_pimap_set_device(request, user, device, TRUE);
	return PASSDB_RESULT_NEXT;
}

static bool passdb_pimap_is_gssapi(struct auth_request *request)
{
	const char *name = request->mech == NULL ? "" : request->mech->mech_name;

	return strcmp(name, "GSSAPI") == 0 || strcmp(name, "GSS-SPNEGO") == 0;
}

/* The device is that of the authorisation name. The name as it was given is the
   principal's, though. Whether this may act for the user that remains, Dovecot
   asks when all passdbs have answered. */
static enum passdb_result passdb_pimap_split_gssapi(struct auth_request *request)
{
	const char *user, *device, *reason;
	int ret;

	if (request->fields.original_username != NULL &&
	    strchr(request->fields.original_username,
		   authdb_pimap_separator) != NULL)
		return passdb_pimap_refuse(request, "a principal has no device");
	if (!passdb_pimap_format_keeps_device(request, "GSSAPI",
					      &authdb_pimap_told_of_gssapi,
					      &reason))
		return passdb_pimap_refuse(request, reason);
	ret = pimap_device_split(request->fields.user, authdb_pimap_separator,
				 &user, &device);
	if (ret == 0)
		return PASSDB_RESULT_NEXT;
	if (ret < 0)
		return passdb_pimap_refuse(request, "invalid device login name");
	if (!passdb_pimap_is_allowed(request, &reason))
		return passdb_pimap_refuse(request, reason);
	user = passdb_pimap_map_user(request, user, &reason);
	if (user == NULL)
		return passdb_pimap_refuse(request, reason);
	auth_request_set_field(request, "user", user, NULL);
	/* the format may have lower-cased it */
	passdb_pimap_set_device(request, user, device, TRUE);
	return PASSDB_RESULT_NEXT;
}

static enum passdb_result passdb_pimap_lookup(struct auth_request *request)
{
	if (request->fields.requested_login_user != NULL)
		return passdb_pimap_split_master(request);
	if (request->fields.cert_username)
		return passdb_pimap_split_cert(request);
	if (passdb_pimap_is_gssapi(request))
		return passdb_pimap_split_gssapi(request);
	return passdb_pimap_split(request);
}

/* FALSE if a passdb after ours has made it the login to another server, under a
   name without the device: there it would be a plain session. */
static bool passdb_pimap_keeps_device(struct auth_request *request)
{
	struct auth_fields *fields = request->fields.extra_fields;
	const char *name, *device, *p;

	device = passdb_pimap_request_get(request)->device;
	if (device == NULL ||
	    (!auth_fields_exists(fields, "proxy") &&
	     !auth_fields_exists(fields, "proxy_maybe")))
		return TRUE;
	name = auth_fields_find(fields, "destuser");
	/* that server may have another separator */
	for (p = name; p != NULL && *p != '\0'; p++) {
		if (pimap_device_separator_is_valid(*p) &&
		    strcasecmp(t_strcut(p + 1, '@'), device) == 0)
			return TRUE;
	}
	e_error(authdb_event(request), "pimap: Device login refused: "
		"The proxy's destuser %s lacks the device %s",
		name == NULL ? "" : name, device);
	return FALSE;
}

/* the login of a device that is locked fails like a wrong password, whatever
   the other passdbs say. */
static enum passdb_result
passdb_pimap_check_lock(struct auth_request *request)
{
	const char *device = passdb_pimap_request_get(request)->login_device;
	struct event *event;
	const char *error;
	int ret;

	if (device == NULL)
		return PASSDB_RESULT_OK;
	if (authdb_pimap_locks == NULL) {
		authdb_pimap_locks = pimap_locks_init(
			pimap_master_service_get_settings(
				master_service)->state_dir);
	}
	ret = pimap_locks_check(authdb_pimap_locks, request->fields.user,
				device, &error);
	if (ret == 0)
		return PASSDB_RESULT_OK;
	if (ret < 0) {
		e_error(authdb_event(request), "pimap: Device login refused: %s",
			error);
		return PASSDB_RESULT_INTERNAL_FAILURE;
	}
	/* also without auth_verbose: somebody may have found the device */
	event = event_create(request->event);
	event_set_min_log_level(event, LOG_TYPE_INFO);
	e_info(event, "pimap: Device login refused: %s is locked", device);
	event_unref(&event);
	return PASSDB_RESULT_PASSWORD_MISMATCH;
}

static enum passdb_result
passdb_pimap_check_finished(struct auth_request *request)
{
	enum passdb_result result;

	T_BEGIN {
		result = passdb_pimap_keeps_device(request) ?
			passdb_pimap_check_lock(request) :
			PASSDB_RESULT_INTERNAL_FAILURE;
	} T_END;
	return result;
}

static void
passdb_pimap_verify_plain_finished(enum passdb_result result,
				   struct auth_request *request)
{
	if (result == PASSDB_RESULT_OK)
		result = passdb_pimap_check_finished(request);
	passdb_pimap_request_get(request)->verify_plain(result, request);
}

static void
passdb_pimap_lookup_credentials_finished(enum passdb_result result,
					 const unsigned char *credentials,
					 size_t size,
					 struct auth_request *request)
{
	if (result == PASSDB_RESULT_OK)
		result = passdb_pimap_check_finished(request);
	passdb_pimap_request_get(request)->
		lookup_credentials(result, credentials, size, request);
}

static void
passdb_pimap_verify_plain(struct auth_request *request,
			  const char *password ATTR_UNUSED,
			  verify_plain_callback_t *callback)
{
	verify_plain_callback_t **next = &request->private_callback.verify_plain;

	/* a mechanism may begin anew, with its own callback */
	if (*next != passdb_pimap_verify_plain_finished)
		passdb_pimap_request_get(request)->verify_plain = *next;
	*next = passdb_pimap_verify_plain_finished;
	callback(passdb_pimap_lookup(request), request);
}

static void
passdb_pimap_lookup_credentials(struct auth_request *request,
				lookup_credentials_callback_t *callback)
{
	lookup_credentials_callback_t **next =
		&request->private_callback.lookup_credentials;

	if (*next != passdb_pimap_lookup_credentials_finished)
		passdb_pimap_request_get(request)->lookup_credentials = *next;
	*next = passdb_pimap_lookup_credentials_finished;
	callback(passdb_pimap_lookup(request), NULL, 0, request);
}

/* No preinit(): its arguments differ in each version, and there is nothing to
   allocate. */
static void passdb_pimap_init(struct passdb_module *module)
{
	authdb_pimap_compat_init(module, &authdb_pimap_separator,
				 &authdb_pimap_services,
				 &authdb_pimap_refuse_all);
	authdb_pimap_compat_allow_char(authdb_pimap_separator);
}

static void userdb_pimap_init(struct userdb_module *module)
{
	authdb_pimap_compat_init(module, &authdb_pimap_separator,
				 &authdb_pimap_services,
				 &authdb_pimap_refuse_all);
}

static void
userdb_pimap_add_plugin(struct auth_fields *fields, const char *key,
			const char *list)
{
	if (!str_array_find(t_strsplit_spaces(list, ", "), "pimap")) {
		auth_fields_add(fields, key,
				t_strconcat(list, " pimap", NULL), 0);
	}
}

/* What the passdbs and userdbs after ours say is the site's, but for which
   device it is, and that its session has pimap. */
static void userdb_pimap_set_device(struct auth_request *request)
{
	const char *device = passdb_pimap_request_get(request)->device;
	struct auth_fields *fields = request->fields.userdb_reply;
	const char *key = AUTHDB_PIMAP_COMPAT_PLUGINS_FIELD + strlen("userdb_");
	const char *list;

	if (device == NULL) {
		auth_fields_remove(fields, "pimap_device");
		return;
	}
	auth_fields_add(fields, "pimap_device", device, 0);
	list = auth_fields_find(fields, key);
	if (AUTHDB_PIMAP_COMPAT_PLUGINS_IS_LIST && list != NULL)
		userdb_pimap_add_plugin(fields, key, list);
	else {
		auth_fields_add(fields, key, AUTHDB_PIMAP_COMPAT_PLUGINS_VALUE,
				0);
	}
	/* it would replace the whole list of the configuration */
	list = auth_fields_find(fields, "mail_plugins");
	if (list != NULL)
		userdb_pimap_add_plugin(fields, "mail_plugins", list);
}

static void
userdb_pimap_finished(enum userdb_result result, struct auth_request *request)
{
	if (result == USERDB_RESULT_OK)
		userdb_pimap_set_device(request);
	passdb_pimap_request_get(request)->userdb(result, request);
}

static void
userdb_pimap_lookup(struct auth_request *request, userdb_callback_t *callback)
{
	userdb_callback_t **next = &request->private_callback.userdb;

	if (*next != userdb_pimap_finished)
		passdb_pimap_request_get(request)->userdb = *next;
	*next = userdb_pimap_finished;
	if (strchr(request->fields.user, authdb_pimap_separator) != NULL)
		request->userdb->result_failure = AUTH_DB_RULE_RETURN_FAIL;
	else
		request->userdb->result_failure = AUTH_DB_RULE_CONTINUE;
	callback(USERDB_RESULT_USER_UNKNOWN, request);
}

static struct passdb_module_interface passdb_pimap = {
	.name = "pimap",
	.init = passdb_pimap_init,
	.verify_plain = passdb_pimap_verify_plain,
	.lookup_credentials = passdb_pimap_lookup_credentials,
};

static struct userdb_module_interface userdb_pimap = {
	.name = "pimap",
	.init = userdb_pimap_init,
	.lookup = userdb_pimap_lookup,
};

void authdb_pimap_init(void)
{
	passdb_register_module(&passdb_pimap);
	userdb_register_module(&userdb_pimap);
}

void authdb_pimap_deinit(void)
{
	passdb_unregister_module(&passdb_pimap);
	userdb_unregister_module(&userdb_pimap);
	pimap_locks_deinit(&authdb_pimap_locks);
}
