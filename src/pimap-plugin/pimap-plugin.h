/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_PLUGIN_H
#define PIMAP_PLUGIN_H

struct mail_user;
struct mailbox;
struct module;

/* Functions that a mailbox's hook overrides are in place only when the next hook
   is called: as many layers may be put around it. */
#define PIMAP_SESSIONS_LAYERS 2

/* What the module that has the sessions of devices gives. Dovecot chooses a
   user's hooks before that module is loaded for him, so they are this one's. */
struct pimap_sessions {
	/* The session of a device begins. It sets user->error if it can't. */
	void (*user_created)(struct mail_user *user);
	/* The folders' places are known now. Called for all users, may set
	   user->error. */
	void (*namespaces_created)(struct mail_user *user);
	/* From the outermost to the innermost. Called for all users. */
	void (*mailbox_allocated[PIMAP_SESSIONS_LAYERS])(struct mailbox *box);
};

/* Called when that module is initialised, by whomever it is loaded: it registers
   its commands after that. NULL when it is deinitialised. */
void pimap_plugin_set_sessions(const struct pimap_sessions *sessions);

/* Loads it, if that hasn't been done. Returns 0, or -1 and error_r. Blocks on the
   disk. */
int pimap_plugin_load_sessions(const char **error_r);

/* TRUE if pimap is switched off for the user. */
bool pimap_plugin_is_off(struct mail_user *user);

/* The device whose session it is, or NULL. */
const char *pimap_plugin_get_device(struct mail_user *user);

/* Hints of what is saved into the folder */
void pimap_plugin_hint_mailbox_allocated(struct mailbox *box);

/* The imap process's part */
void pimap_plugin_imap_init(void);
void pimap_plugin_imap_deinit(void);
void pimap_plugin_imap_register(void);
void pimap_plugin_imap_unregister(void);

void pimap_plugin_init(struct module *module);
void pimap_plugin_deinit(void);

#endif
