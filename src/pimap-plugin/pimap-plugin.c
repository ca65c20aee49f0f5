/* SPDX-License-Identifier: LGPL-2.1-only */
/* "mail_plugins = pimap". Every process with that loads this module, so it is
   small: the sessions of devices are another module's, imap_pimap, which it loads
   when one begins. A device's session without it would show everything: it is
   refused. */

#define _GNU_SOURCE
#include "lib.h"
#include "module-dir.h"
#include "restrict-access.h"
#include "master-service.h"
#include "module-context.h"
#include "mail-user.h"
#include "mail-namespace.h"
#include "mail-storage-hooks.h"
#include "pimap-compat.h"
#include "pimap-settings.h"
#include "pimap-plugin.h"

#include <dlfcn.h>

extern const char *pimap_plugin_version;
const char *pimap_plugin_version = DOVECOT_ABI_VERSION;

#define SESSIONS_SERVICE "imap"
#define SESSIONS_MODULE "imap_pimap"

static MODULE_CONTEXT_DEFINE_INIT(pimap_plugin_user_module,
				  &mail_user_module_register);
struct pimap_plugin_user {
	union mail_user_module_context module_ctx;
	const char *device;
};

/* what a user has for whom pimap is off */
static struct pimap_plugin_user pimap_plugin_off;

static const struct pimap_sessions *pimap_sessions;
static struct module *pimap_sessions_modules;

static bool pimap_plugin_has_sessions(void)
{
	return strcmp(master_service_get_name(master_service),
		      SESSIONS_SERVICE) == 0;
}

void pimap_plugin_set_sessions(const struct pimap_sessions *sessions)
{
	if (sessions != NULL)
		pimap_plugin_imap_unregister();
	else
		pimap_plugin_imap_register();
	pimap_sessions = sessions;
}

/* It is where this one is. */
static int pimap_plugin_get_dir(const char **dir_r)
{
	const char *fname;
	Dl_info info;

	if (dladdr((void *)pimap_plugin_get_dir, &info) == 0 ||
	    (fname = strrchr(info.dli_fname, '/')) == NULL)
		return -1;
	*dir_r = t_strdup_until(info.dli_fname, fname);
	return 0;
}

int pimap_plugin_load_sessions(const char **error_r)
{
	struct module_dir_load_settings set;
	const char *dir, *error;

	if (pimap_sessions != NULL)
		return 0;
	if (!pimap_plugin_has_sessions()) {
		*error_r = "this service has no sessions of devices";
		return -1;
	}
	i_zero(&set);
	set.abi_version = DOVECOT_ABI_VERSION;
	set.binary_name = SESSIONS_SERVICE;
	set.require_init_funcs = TRUE;
	if (pimap_plugin_get_dir(&dir) < 0)
		error = "its folder isn't known";
	else if (pimap_module_dir_try_load_missing(&pimap_sessions_modules, dir,
				SESSIONS_MODULE, &set, &error) == 0) {
		module_dir_init(pimap_sessions_modules);
		if (pimap_sessions != NULL)
			return 0;
		error = "it isn't of this version of pimap";
	}
	*error_r = t_strdup_printf("Can't load plugin "SESSIONS_MODULE": %s%s",
		error, restrict_access_get_current_chroot() == NULL ? "" :
		" (in a chroot: name it in mail_plugins beside pimap)");
	return -1;
}

static void pimap_plugin_user_created(struct mail_user *user)
{
	struct pimap_plugin_user *puser;
	const char *error;

	if (user->error != NULL)
		return;
	switch (pimap_settings_get_session(user)) {
	case PIMAP_SESSION_PLAIN:
		return;
	case PIMAP_SESSION_PLAIN_OFF:
		MODULE_CONTEXT_SET(user, pimap_plugin_user_module,
				   &pimap_plugin_off);
		return;
	case PIMAP_SESSION_DEVICE:
		break;
	}
	if (pimap_plugin_load_sessions(&error) == 0) {
		puser = p_new(user->pool, struct pimap_plugin_user, 1);
		puser->device = pimap_settings_get_device(user);
		MODULE_CONTEXT_SET(user, pimap_plugin_user_module, puser);
		pimap_sessions->user_created(user);
	} else {
		user->error = p_strdup_printf(user->pool,
			"pimap: Device login refused: %s", error);
	}
}

bool pimap_plugin_is_off(struct mail_user *user)
{
	return MODULE_CONTEXT(user, pimap_plugin_user_module) ==
		&pimap_plugin_off;
}

const char *pimap_plugin_get_device(struct mail_user *user)
{
	const struct pimap_plugin_user *puser =
		MODULE_CONTEXT(user, pimap_plugin_user_module);

	return puser == NULL ? NULL : puser->device;
}

static void
pimap_plugin_namespaces_created(struct mail_namespace *namespaces)
{
	if (pimap_sessions != NULL)
		pimap_sessions->namespaces_created(namespaces->user);
}

#define LAYER(n) \
static void pimap_plugin_mailbox_allocated_##n(struct mailbox *box) \
{ \
	if (pimap_sessions != NULL) \
		pimap_sessions->mailbox_allocated[n](box); \
}
LAYER(0)
LAYER(1)

static const struct mail_storage_hooks pimap_plugin_hooks[] = {
	/* around what devices' sessions put there */
	{ .mailbox_allocated = pimap_plugin_hint_mailbox_allocated },
	{
		.mail_user_created = pimap_plugin_user_created,
		.mail_namespaces_created = pimap_plugin_namespaces_created,
		.mailbox_allocated = pimap_plugin_mailbox_allocated_0,
	},
	{ .mailbox_allocated = pimap_plugin_mailbox_allocated_1 },
};

void pimap_plugin_init(struct module *module)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(pimap_plugin_hooks); i++)
		mail_storage_hooks_add(module, &pimap_plugin_hooks[i]);
	if (pimap_plugin_has_sessions())
		pimap_plugin_imap_init();
}

void pimap_plugin_deinit(void)
{
	unsigned int i;

	module_dir_unload(&pimap_sessions_modules);
	if (pimap_plugin_has_sessions())
		pimap_plugin_imap_deinit();
	for (i = N_ELEMENTS(pimap_plugin_hooks); i > 0; i--)
		mail_storage_hooks_remove(&pimap_plugin_hooks[i-1]);
}
