/* SPDX-License-Identifier: LGPL-2.1-only */
/* In the imap process: the capabilities, which plain sessions have too, and the
   names of the commands. What does them is loaded when one of them is used, or
   when a device logs in.

   Other processes don't have the functions of imap that are called here, and must
   be able to load this module: these symbols are weak. */

#include "imap-common.h"
#include "str.h"
#include "imap-commands.h"
#include "pimap-plugin.h"

#pragma weak client_add_capability
#pragma weak client_send_command_error
#pragma weak client_send_tagline
#pragma weak command_find
#pragma weak command_register
#pragma weak command_unregister
#pragma weak imap_client_created_hook_set

static const char *const capabilities[] = {
	"XPIMAPPREF", "XPROVISION", "XFILTER",
};
static const char *const commands[] = {
	"XFILTER", "XGETPIMAPPREF", "XGETPIMAPPREFS", "XPROVISION",
	"XSETPIMAPPREF",
};

static imap_client_created_func_t *next_hook_client_created;
static bool commands_registered = FALSE;

/* imap_capability may name them, for before the login. */
static void pimap_plugin_remove_capabilities(struct client *client)
{
	const char *const *word = t_strsplit_spaces(
		str_c(client->capability_string), " ");
	string_t *left = t_str_new(256);
	unsigned int i;

	for (; *word != NULL; word++) {
		for (i = 0; i < N_ELEMENTS(capabilities); i++) {
			if (strcasecmp(*word, capabilities[i]) == 0)
				break;
		}
		if (i == N_ELEMENTS(capabilities)) {
			if (str_len(left) > 0)
				str_append_c(left, ' ');
			str_append(left, *word);
		}
	}
	str_truncate(client->capability_string, 0);
	str_append_str(client->capability_string, left);
}

/* imap_capability may name them already, for before the login. */
static void pimap_plugin_client_created(struct client **clientp)
{
	struct client *client = *clientp;
	const char *const *present;
	unsigned int i;

	if (pimap_plugin_is_off(client->user)) T_BEGIN {
		pimap_plugin_remove_capabilities(client);
	} T_END;
	else T_BEGIN {
		present = t_strsplit_spaces(str_c(client->capability_string),
					    " ");
		for (i = 0; i < N_ELEMENTS(capabilities); i++) {
			if (!str_array_icase_find(present, capabilities[i]))
				client_add_capability(client, capabilities[i]);
		}
	} T_END;
	if (next_hook_client_created != NULL)
		next_hook_client_created(clientp);
}

static bool pimap_plugin_cmd_load(struct client_command_context *cmd)
{
	const struct command *command;
	const char *error;

	if (pimap_plugin_is_off(cmd->client->user)) {
		client_send_command_error(cmd, "Unknown command.");
		return TRUE;
	}
	if (pimap_plugin_load_sessions(&error) < 0) {
		e_error(cmd->client->event, "pimap: %s", error);
		client_send_tagline(cmd, "NO [SERVERBUG] This command isn't "
			"there, the administrator has been told.");
		return TRUE;
	}
	/* it has registered itself in place of this one */
	command = command_find(cmd->name);
	cmd->func = command->func;
	cmd->cmd_flags = command->flags;
	return cmd->func(cmd);
}

void pimap_plugin_imap_register(void)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(commands); i++)
		command_register(commands[i], pimap_plugin_cmd_load, 0);
	commands_registered = TRUE;
}

void pimap_plugin_imap_unregister(void)
{
	unsigned int i;

	if (!commands_registered)
		return;
	for (i = 0; i < N_ELEMENTS(commands); i++)
		command_unregister(commands[i]);
	commands_registered = FALSE;
}

void pimap_plugin_imap_init(void)
{
	next_hook_client_created =
		imap_client_created_hook_set(pimap_plugin_client_created);
	pimap_plugin_imap_register();
}

void pimap_plugin_imap_deinit(void)
{
	pimap_plugin_imap_unregister();
	imap_client_created_hook_set(next_hook_client_created);
}
