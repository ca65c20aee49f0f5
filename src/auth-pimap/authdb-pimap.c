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
#include "pimap-device.h"
#include "authdb-pimap-compat.h"

extern const char *authdb_pimap_version;
const char *authdb_pimap_version = DOVECOT_ABI_VERSION;

/* One for all blocks of the configuration */
static char authdb_pimap_separator;
/* NULL, or why no device may log in */
static const char *authdb_pimap_refuse_all;

void authdb_pimap_init(void);
void authdb_pimap_deinit(void);

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
	if (strcmp(authdb_pimap_compat_protocol(request), "imap") != 0) {
		*reason_r = "device login in a service other than imap";
		return FALSE;
	}
	*reason_r = authdb_pimap_refuse_all;
	return *reason_r == NULL;
}

static void
passdb_pimap_set_device(struct auth_request *request, const char *device,
			bool any_case)
{
	/* our fields must not make userdb prefetch believe that the passdb
	   which verifies the password has returned userdb fields */
	bool prefetch = request->userdb_prefetch_set;

	auth_request_set_field(request, "userdb_pimap_device", device, NULL);
	if (any_case) {
		auth_request_set_field(request, "userdb_pimap_device_any_case",
				       "yes", NULL);
	}
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

	if (auth_request_set_username(request, user, error_r))
		mapped = request->fields.user;
	/* it is only a question: the name changes as a passdb's field */
	auth_request_set_username_forced(request, old_user);
	return mapped;
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
	passdb_pimap_set_device(request, device, FALSE);
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
	passdb_pimap_set_device(request, device, TRUE);
	return PASSDB_RESULT_NEXT;
}

static enum passdb_result passdb_pimap_lookup(struct auth_request *request)
{
	return request->fields.requested_login_user != NULL ?
		passdb_pimap_split_master(request) :
		passdb_pimap_split(request);
}

static void
passdb_pimap_verify_plain(struct auth_request *request,
			  const char *password ATTR_UNUSED,
			  verify_plain_callback_t *callback)
{
	callback(passdb_pimap_lookup(request), request);
}

static void
passdb_pimap_lookup_credentials(struct auth_request *request,
				lookup_credentials_callback_t *callback)
{
	callback(passdb_pimap_lookup(request), NULL, 0, request);
}

/* No preinit(): its arguments differ in each version, and there is nothing to
   allocate. */
static void passdb_pimap_init(struct passdb_module *module)
{
	authdb_pimap_compat_init(module, &authdb_pimap_separator,
				 &authdb_pimap_refuse_all);
	authdb_pimap_compat_allow_char(authdb_pimap_separator);
}

static void userdb_pimap_init(struct userdb_module *module)
{
	authdb_pimap_compat_init(module, &authdb_pimap_separator,
				 &authdb_pimap_refuse_all);
}

static void
userdb_pimap_lookup(struct auth_request *request, userdb_callback_t *callback)
{
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
}
