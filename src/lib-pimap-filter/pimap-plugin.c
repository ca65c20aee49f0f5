/* SPDX-License-Identifier: LGPL-2.1-only */
/* "mail_plugins = pimap": gives folders of a device session their view, and
   loads the modules that belong to the process it is in. */

#define _GNU_SOURCE
#include "lib.h"
#include "module-dir.h"
#include "master-service.h"
#include "mail-user.h"
#include "mail-storage-hooks.h"
#include "pimap-compat.h"
#include "pimap-criteria.h"
#include "pimap-user.h"
#include "pimap-scope.h"
#include "pimap-plugin.h"

#include <dlfcn.h>

extern const char *pimap_plugin_version;
const char *pimap_plugin_version = DOVECOT_ABI_VERSION;
struct module *pimap_module;

static struct module *pimap_siblings;

static const struct mail_storage_hooks pimap_mail_storage_hooks = {
	.mail_user_created = pimap_user_created,
};

/* In init() it would be too late under mail_chroot, and the ordinary loader
   exits on error. */
void pimap_plugin_preinit(void)
{
	const char *service = master_service_get_name(master_service);
	struct module_dir_load_settings set;
	const char *fname, *error;
	Dl_info info;

	if (pimap_siblings != NULL || strcmp(service, "imap") != 0)
		return;
	if (dladdr((void *)pimap_plugin_preinit, &info) == 0 ||
	    (fname = strrchr(info.dli_fname, '/')) == NULL)
		return;
	i_zero(&set);
	set.abi_version = DOVECOT_ABI_VERSION;
	set.binary_name = service;
	set.require_init_funcs = TRUE;
	if (pimap_module_dir_try_load_missing(&pimap_siblings,
			t_strdup_until(info.dli_fname, fname),
			"imap_pimap", &set, &error) < 0)
		i_error("pimap: %s", error);
}

void pimap_plugin_init(struct module *module)
{
	pimap_module = module;
	pimap_criteria_init();
	mail_storage_hooks_add(module, &pimap_mail_storage_hooks);
	pimap_scope_init(module);
	module_dir_init(pimap_siblings);
}

void pimap_plugin_deinit(void)
{
	module_dir_unload(&pimap_siblings);
	pimap_scope_deinit();
	mail_storage_hooks_remove(&pimap_mail_storage_hooks);
	pimap_criteria_deinit();
}
