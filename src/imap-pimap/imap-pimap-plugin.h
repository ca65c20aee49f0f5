/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef IMAP_PIMAP_PLUGIN_H
#define IMAP_PIMAP_PLUGIN_H

#include "module-context.h"

struct client_command_context;
struct imap_arg;
struct imap_pimap_idle;
struct ostream;
struct timeout;
struct pimap_user;
struct pimap_user_change;

/* A device's client */
struct imap_pimap_client {
	union imap_module_context module_ctx;
	/* the login reply's output is held back */
	struct ostream *output;

	/* the folder that is selected, by its generation_sequence, and since when */
	unsigned int selected_generation;
	time_t selected_time;
	/* RESYNC was sent for it */
	bool resync_sent;
	/* BYE is to be sent for it */
	struct timeout *to_bye;
	/* is the device locked by now? */
	struct timeout *to_lock;
	unsigned int lock_tries;
	/* what the client has read; NULL: nobody wants to know */
	struct imap_pimap_idle *idle;
};

extern MODULE_CONTEXT_DEFINE(imap_pimap_module, &imap_module_register);
#define IMAP_PIMAP_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, imap_pimap_module)

/* Returns FALSE and answers the command with BAD if one of its strings has a NUL,
   which IMAP forbids: Dovecot's parser takes it in literals, and what follows it
   would be lost. With NO, if its lists are so deep that no filter is. */
bool imap_pimap_cmd_check_args(struct client_command_context *cmd,
			       const struct imap_arg *args);
/* Keeps what was just read from the log and from events: Dovecot tells commands'
   arguments where it is asked to debug. */
void imap_pimap_cmd_hide_args(struct client_command_context *cmd);
/* Returns the session's user. Otherwise answers the command and returns NULL. */
struct pimap_user *imap_pimap_cmd_get_user(struct client_command_context *cmd);
/* Returns the user of a device session. Otherwise answers the command and returns
   NULL: with BAD in a plain session. */
struct pimap_user *
imap_pimap_cmd_get_device_user(struct client_command_context *cmd);
/* Answers the command with NO, and logs the error once: something is wrong with
   the server, not with the command. */
void imap_pimap_cmd_internal_error(struct client_command_context *cmd,
				   const char *error);
/* Answers the command with NO [LIMIT]. */
void imap_pimap_cmd_limit(struct client_command_context *cmd,
			  const char *reason);
/* Commits the change. Returns FALSE if it failed and the command was answered. */
bool imap_pimap_cmd_commit(struct client_command_context *cmd,
			   struct pimap_user_change *change);

bool cmd_xfilter(struct client_command_context *cmd);
bool cmd_xsetpimappref(struct client_command_context *cmd);
bool cmd_xgetpimapprefs(struct client_command_context *cmd);
bool cmd_xprovision(struct client_command_context *cmd);

void imap_pimap_plugin_init(struct module *module);
void imap_pimap_plugin_deinit(void);

extern const char imap_pimap_plugin_binary_dependency[];

#endif
