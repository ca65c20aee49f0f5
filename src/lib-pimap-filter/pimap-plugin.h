/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_PLUGIN_H
#define PIMAP_PLUGIN_H

/* Dovecot calls a user's hooks only for the modules named in his
   mail_plugins: the modules that pimap loads register theirs with this. */
extern struct module *pimap_module;

void pimap_plugin_preinit(void);
void pimap_plugin_init(struct module *module);
void pimap_plugin_deinit(void);

#endif
