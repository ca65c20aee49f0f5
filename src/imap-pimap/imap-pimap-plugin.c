/* SPDX-License-Identifier: LGPL-2.1-only */
/* The sessions of devices, in the imap process: commands, the lines before the
   login reply, and from when to when folders are opened for the device. pimap
   loads it when a device logs in, or for XPROVISION in a plain session. */

#include "imap-common.h"
#include "str.h"
#include "randgen.h"
#include "ostream.h"
#include "ioloop.h"
#include "imap-arg.h"
#include "imap-commands.h"
#include "imap-quote.h"
#include "imap-sync-private.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "pimap-compat.h"
#include "pimap-plugin.h"
#include "pimap-criteria.h"
#include "pimap-user.h"
#include "pimap-scope.h"
#include "pimap-view.h"
#include "pimap-output.h"
#include "imap-pimap-admission.h"
#include "imap-pimap-vanished.h"
#include "imap-pimap-fetch.h"
#include "imap-pimap-hibernate.h"
#include "imap-pimap-idle.h"
#include "imap-pimap-lock.h"
#include "imap-pimap-resync.h"
#include "imap-pimap-plugin.h"

extern const char *imap_pimap_plugin_version;
const char *imap_pimap_plugin_version = DOVECOT_ABI_VERSION;
const char imap_pimap_plugin_binary_dependency[] = "imap";

struct imap_pimap_module imap_pimap_module =
	MODULE_CONTEXT_INIT(&imap_module_register);
static imap_client_created_func_t *next_hook_client_created;

/* Commands that ask about whole folders: quota is the user's. */
static const char *const whole_commands[] = {
	"GETQUOTA", "GETQUOTAROOT", "SETQUOTA", NULL
};

/* Commands after which the session's own flag changes count (R-1.4b). */
static const char *const expunge_commands[] = {
	"EXPUNGE", "UID EXPUNGE", NULL
};

/* Dovecot's parser takes as many lists in each other as the line is long: who
   goes into them doesn't go deeper than this. */
#define IMAP_PIMAP_MAX_LISTS 1000

static const char *
imap_pimap_args_find_error(const struct imap_arg *args, unsigned int depth)
{
	const struct imap_arg *list;
	const char *str, *error;

	if (depth > IMAP_PIMAP_MAX_LISTS)
		return "NO [LIMIT] Lists are nested too deeply.";
	for (; !IMAP_ARG_IS_EOL(args); args++) {
		if (imap_arg_get_list(args, &list)) {
			error = imap_pimap_args_find_error(list, depth + 1);
			if (error != NULL)
				return error;
		} else if (imap_arg_get_astring(args, &str) &&
			   strlen(str) != args->str_len)
			return "NULs not allowed in strings";
	}
	return NULL;
}

bool imap_pimap_cmd_check_args(struct client_command_context *cmd,
			       const struct imap_arg *args)
{
	const char *error = imap_pimap_args_find_error(args, 0);

	if (error == NULL)
		return TRUE;
	if (pimap_str_begins(error, "NO "))
		client_send_tagline(cmd, error);
	else
		client_send_command_error(cmd, error);
	return FALSE;
}

void imap_pimap_cmd_hide_args(struct client_command_context *cmd)
{
	cmd->args = cmd->human_args = "(hidden)";
	event_add_str(cmd->event, "cmd_args", cmd->args);
	event_add_str(cmd->event, "cmd_human_args", cmd->human_args);
}

struct pimap_user *
imap_pimap_cmd_get_user(struct client_command_context *cmd)
{
	struct pimap_user *puser = pimap_user_get(cmd->client->user);
	const char *error;

	if (puser == NULL) {
		puser = pimap_user_create(cmd->client->user, &error);
		if (puser == NULL)
			imap_pimap_cmd_internal_error(cmd, error);
	}
	if (puser != NULL && !puser->set->pimap) {
		client_send_command_error(cmd, "Unknown command.");
		return NULL;
	}
	return puser;
}

struct pimap_user *
imap_pimap_cmd_get_device_user(struct client_command_context *cmd)
{
	struct pimap_user *puser = pimap_user_get(cmd->client->user);
	const struct pimap_device *device;
	const char *error;

	if (puser == NULL || puser->device == NULL) {
		client_send_command_error(cmd,
			"This command needs a device login (user#device).");
		return NULL;
	}
	/* a master login's device is known when the profile has been read */
	if (puser->set->pimap_device_any_case &&
	    pimap_user_get_device(puser, &device, &error) < 0) {
		imap_pimap_cmd_internal_error(cmd, error);
		return NULL;
	}
	return puser;
}

void imap_pimap_cmd_internal_error(struct client_command_context *cmd,
				   const char *error)
{
	struct pimap_user *puser = pimap_user_get(cmd->client->user);

	if (puser != NULL)
		pimap_user_log_error(puser, error);
	else
		e_error(cmd->client->event, "pimap: %s", error);
	client_send_tagline(cmd,
		"NO [SERVERBUG] The device's settings can't be used, "
		"the administrator has been told.");
}

void imap_pimap_cmd_limit(struct client_command_context *cmd,
			  const char *reason)
{
	client_send_tagline(cmd, t_strdup_printf("NO [LIMIT] %s.", reason));
}

bool imap_pimap_cmd_commit(struct client_command_context *cmd,
			   struct pimap_user_change *change)
{
	const char *error;

	switch (pimap_user_change_commit(change, &error)) {
	case PIMAP_CHANGE_OK:
		return TRUE;
	case PIMAP_CHANGE_TOO_LARGE:
		imap_pimap_cmd_limit(cmd, error);
		break;
	case PIMAP_CHANGE_FAILED:
		imap_pimap_cmd_internal_error(cmd, error);
		break;
	case PIMAP_CHANGE_UNTOLD:
		client_send_tagline(cmd, t_strdup_printf(
			"NO [UNAVAILABLE] %s: the change is kept, repeat it.",
			error));
		break;
	}
	return FALSE;
}

static void imap_pimap_cmd_pre(struct client_command_context *cmd)
{
	struct pimap_user *puser = pimap_user_get(cmd->client->user);

	if (puser == NULL || puser->device == NULL || cmd->name == NULL)
		return;
	if (str_array_icase_find(whole_commands, cmd->name))
		pimap_scope_whole_begin(puser);
	imap_pimap_admission_command(cmd);
	imap_pimap_idle_cmd_pre(cmd);
}

static void imap_pimap_cmd_post(struct client_command_context *cmd)
{
	struct client *client = cmd->client;
	struct pimap_user *puser = pimap_user_get(client->user);

	if (puser == NULL || puser->device == NULL || cmd->name == NULL)
		return;
	if (str_array_icase_find(whole_commands, cmd->name))
		pimap_scope_whole_end(puser);
	/* the client comes back with the modseqs that it is told */
	if (client_has_enabled(client, imap_feature_qresync))
		puser->views_tracked = TRUE;
	imap_pimap_resync_selected(client);
	if (client->mailbox != NULL &&
	    str_array_icase_find(expunge_commands, cmd->name))
		pimap_view_release_own(client->mailbox);
	imap_pimap_idle_cmd_post(cmd);
}

/* At least 60 random bits, no leading zero */
static const char *imap_pimap_session_id(void)
{
	uint64_t id;

	do {
		random_fill(&id, sizeof(id));
	} while (id < (uint64_t)1 << 60);
	return t_strdup_printf("%"PRIu64, id);
}

static void imap_pimap_client_init(struct client *client)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);
	struct pimap_user *puser = pimap_user_get(client->user);
	const struct pimap_device *device;
	const char *error;

	pclient->module_ctx.super.init(client);
	puser->views_enabled = TRUE;
	imap_pimap_lock_init(client);
	imap_pimap_idle_init(client);
	T_BEGIN {
		/* What the first folder will need is read before the login's
		   reply. What can't be read is for commands to tell of. */
		(void)pimap_user_get_device(puser, &device, &error);
		pimap_output_release(pclient->output, t_strdup_printf(
			"* SESSIONID %s\r\n", imap_pimap_session_id()));
	} T_END;
}

/* Flags are looked up where the index is, which may be ahead of what has been
   synced: the client must not take a MODSEQ that it has seen there for all that
   it knows. That is what Dovecot prevents where it must not tell of expunges. */
static void imap_pimap_sync_modseq(struct imap_sync_context *ctx)
{
	struct client *client = ctx->client;

	if (ctx->sync_status.sync_delayed_expunges ||
	    client->highest_fetch_modseq <= ctx->status.highest_modseq)
		return;
	client->sync_last_full_modseq = ctx->status.highest_modseq;
	ctx->sync_status.sync_delayed_expunges = TRUE;
}

static int imap_pimap_sync_notify_more(struct imap_sync_context *ctx)
{
	struct client *client = ctx->client;
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);

	imap_pimap_idle_synced(ctx, !ctx->sync_status.sync_delayed_expunges);
	imap_pimap_sync_modseq(ctx);
	if (ctx->box == client->mailbox && pimap_scope_synced_expunges(ctx->box))
		imap_pimap_resync_synced(client);
	return pclient->module_ctx.super.sync_notify_more(ctx);
}

static void
imap_pimap_send_tagline(struct client_command_context *cmd, const char *data)
{
	struct client *client = cmd->client;
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);

	imap_pimap_idle_tagline_pre(cmd, data);
	pclient->module_ctx.super.send_tagline(cmd, data);
	imap_pimap_idle_tagline_post(client);
}

/* What is opened now is for autoexpunge, or quota's last count. */
static void imap_pimap_client_destroy(struct client *client, const char *reason)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);
	struct pimap_user *puser = pimap_user_get(client->user);

	timeout_remove(&pclient->to_bye);
	imap_pimap_lock_deinit(client);
	imap_pimap_idle_deinit(client);
	puser->views_enabled = FALSE;
	pclient->module_ctx.super.destroy(client, reason);
}

static void imap_pimap_client_created(struct client **clientp)
{
	struct client *client = *clientp;
	struct pimap_user *puser = pimap_user_get(client->user);
	struct imap_pimap_client *pclient;
	struct ostream *parent;

	if (puser != NULL && puser->device != NULL) {
		pclient = p_new(client->pool, struct imap_pimap_client, 1);
		pclient->module_ctx.super = client->v;
		client->v.init = imap_pimap_client_init;
		client->v.destroy = imap_pimap_client_destroy;
		client->v.send_tagline = imap_pimap_send_tagline;
		client->v.sync_notify_more = imap_pimap_sync_notify_more;
		client->v.state_import = imap_pimap_state_import;
		client->v.state_export = imap_pimap_state_export;
		MODULE_CONTEXT_SET(client, imap_pimap_module, pclient);
		T_BEGIN {
			imap_pimap_admission_capability(client);
		} T_END;
		parent = client->output;
		client->output = pclient->output =
			pimap_output_create_held(parent);
		o_stream_unref(&parent);
	}
	if (next_hook_client_created != NULL)
		next_hook_client_created(clientp);
}

static void imap_pimap_user_created(struct mail_user *user)
{
	const char *error;

	if (pimap_user_create(user, &error) == NULL)
		user->error = p_strdup_printf(user->pool, "pimap: %s", error);
}

static int imap_pimap_may_log_in(struct pimap_user *puser, const char **reason_r,
				 const char **error_r)
{
	const struct pimap_device *device;
	int ret = pimap_user_may_log_in(puser, reason_r, error_r);

	if (ret <= 0)
		return ret;
	/* a master login's device is known when the profile has been read */
	if (puser->set->pimap_device_any_case &&
	    pimap_user_get_device(puser, &device, error_r) < 0)
		return -1;
	*reason_r = "the device is locked";
	ret = imap_pimap_lock_check(puser, error_r);
	return ret < 0 ? -1 : ret == 0 ? 1 : 0;
}

/* The profile, which is with his mail, can be read from here on. Commands can't
   come in yet. */
static void imap_pimap_namespaces_created(struct mail_user *user)
{
	struct pimap_user *puser = pimap_user_get(user);
	struct imap_pimap_client *pclient;
	struct client *client;
	const char *reason, *error;
	int ret;

	if (puser == NULL || puser->device == NULL ||
	    (ret = imap_pimap_may_log_in(puser, &reason, &error)) > 0)
		return;
	for (client = imap_clients; client != NULL; client = client->next) {
		if (client->user != user)
			continue;
		pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);
		pimap_output_refuse(pclient->output, ret == 0 ?
			"NO [AUTHORIZATIONFAILED] This device may not log in." :
			"NO [SERVERBUG] The device's settings can't be used, "
			"the administrator has been told.");
	}
	user->error = p_strdup_printf(user->pool,
		"pimap: Device login refused: %s", ret == 0 ? reason : error);
}

static const struct pimap_sessions imap_pimap_sessions = {
	.user_created = imap_pimap_user_created,
	.namespaces_created = imap_pimap_namespaces_created,
	.mailbox_allocated = {
		pimap_scope_mailbox_allocated,
		pimap_scope_mailbox_allocated_view,
	},
};

/* mail_plugins may name it too, and pimap may have loaded it before: then Dovecot
   has it initialised a second time. */
static unsigned int imap_pimap_init_count = 0;

void imap_pimap_plugin_init(struct module *module ATTR_UNUSED)
{
	if (imap_pimap_init_count++ > 0)
		return;
	pimap_criteria_init();
	pimap_plugin_set_sessions(&imap_pimap_sessions);
	command_register("XFILTER", cmd_xfilter, 0);
	command_register("XPROVISION", cmd_xprovision, 0);
	command_register("XSETPIMAPPREF", cmd_xsetpimappref, 0);
	command_register("XGETPIMAPPREFS", cmd_xgetpimapprefs, 0);
	command_register("XGETPIMAPPREF", cmd_xgetpimapprefs, 0);
	imap_pimap_fetch_init();
	imap_pimap_vanished_init();
	command_hook_register(imap_pimap_cmd_pre, imap_pimap_cmd_post);
	next_hook_client_created =
		imap_client_created_hook_set(imap_pimap_client_created);
}

void imap_pimap_plugin_deinit(void)
{
	if (--imap_pimap_init_count > 0)
		return;
	imap_client_created_hook_set(next_hook_client_created);
	command_hook_unregister(imap_pimap_cmd_pre, imap_pimap_cmd_post);
	imap_pimap_vanished_deinit();
	imap_pimap_fetch_deinit();
	command_unregister("XGETPIMAPPREF");
	command_unregister("XGETPIMAPPREFS");
	command_unregister("XSETPIMAPPREF");
	command_unregister("XPROVISION");
	command_unregister("XFILTER");
	pimap_plugin_set_sessions(NULL);
	imap_pimap_locks_deinit();
	imap_pimap_idles_deinit();
	pimap_view_deinit();
	pimap_criteria_deinit();
}
