/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap: what the commands share. */

#include "lib.h"
#include "str-sanitize.h"
#include "pimap-compat.h"
#include "pimap-criteria.h"
#include "pimap-device.h"
#include "doveadm-print.h"
#include "doveadm-pimap.h"

extern const char *doveadm_pimap_plugin_version;
const char *doveadm_pimap_plugin_version = DOVECOT_ABI_VERSION;

struct module *doveadm_pimap_module;

static struct doveadm_cmd_ver2 *const doveadm_pimap_cmds[] = {
	&doveadm_pimap_cmd_device_add,
	&doveadm_pimap_cmd_device_key,
	&doveadm_pimap_cmd_device_list,
	&doveadm_pimap_cmd_device_lock,
	&doveadm_pimap_cmd_device_mode,
	&doveadm_pimap_cmd_device_rekey,
	&doveadm_pimap_cmd_device_remove,
	&doveadm_pimap_cmd_device_show,
	&doveadm_pimap_cmd_device_unlock,
	&doveadm_pimap_cmd_doctor,
	&doveadm_pimap_cmd_filter_list,
	&doveadm_pimap_cmd_filter_show,
	&doveadm_pimap_cmd_filter_set,
	&doveadm_pimap_cmd_filter_delete,
	&doveadm_pimap_cmd_outband_drop,
	&doveadm_pimap_cmd_outband_list,
	&doveadm_pimap_cmd_outband_pause,
	&doveadm_pimap_cmd_outband_resume,
	&doveadm_pimap_cmd_outband_retry,
	&doveadm_pimap_cmd_outband_scan,
	&doveadm_pimap_cmd_outband_status,
	&doveadm_pimap_cmd_outband_test,
	&doveadm_pimap_cmd_outband_trace,
	&doveadm_pimap_cmd_pref_get,
	&doveadm_pimap_cmd_pref_set,
	&doveadm_pimap_cmd_view_show,
};

static void doveadm_pimap_cmd_init(PIMAP_DOVEADM_INIT_ARGS(_ctx))
{
	struct doveadm_pimap_cmd *cmd =
		container_of(_ctx, struct doveadm_pimap_cmd, ctx);

	(void)doveadm_cmd_param_str(_ctx->cctx, "device", &cmd->device);
	(void)doveadm_cmd_param_str(_ctx->cctx, "filter", &cmd->filter);
	(void)doveadm_cmd_param_str(_ctx->cctx, "folder", &cmd->folder);
	(void)doveadm_cmd_param_str(_ctx->cctx, "preference", &cmd->pref);
	(void)doveadm_cmd_param_str(_ctx->cctx, "description", &cmd->desc);
	(void)doveadm_cmd_param_str(_ctx->cctx, "mode", &cmd->mode);
	(void)doveadm_cmd_param_array(_ctx->cctx, "words", &cmd->words);
	/* not before: with -A the user name is the first column */
	if (cmd->print_headers != NULL)
		cmd->print_headers();
}

static bool
doveadm_pimap_parse_arg(struct doveadm_mail_cmd_context *ctx ATTR_UNUSED,
			int c)
{
	return c == 'd' || c == 'm';
}

struct doveadm_mail_cmd_context *
doveadm_pimap_cmd_alloc(int (*run)(struct doveadm_mail_cmd_context *ctx,
				   struct mail_user *user),
			void (*print_headers)(void), const char *print_type)
{
	return doveadm_pimap_cmd_alloc_size(sizeof(struct doveadm_pimap_cmd),
					    run, print_headers, print_type);
}

struct doveadm_mail_cmd_context *
doveadm_pimap_cmd_alloc_size(size_t size,
			     int (*run)(struct doveadm_mail_cmd_context *ctx,
					struct mail_user *user),
			     void (*print_headers)(void), const char *print_type)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(doveadm_mail_cmd_alloc_size(size),
			     struct doveadm_pimap_cmd, ctx);

	pimap_doveadm_set_options(&cmd->ctx, "d:m:", doveadm_pimap_parse_arg);
	cmd->ctx.v.init = doveadm_pimap_cmd_init;
	cmd->ctx.v.run = run;
	cmd->print_headers = print_headers;
	if (print_headers != NULL)
		doveadm_print_init(print_type);
	return &cmd->ctx;
}

void doveadm_pimap_print_text(const char *text)
{
	doveadm_print(text == NULL ? "" : str_sanitize_utf8(text, UINTMAX_MAX));
}

int doveadm_pimap_fail(struct doveadm_pimap_cmd *cmd, enum mail_error error,
		       const char *reason)
{
	i_error("pimap: %s", reason);
	doveadm_mail_failed_error(&cmd->ctx, error);
	return -1;
}

static struct pimap_user *
doveadm_pimap_get_user(struct doveadm_pimap_cmd *cmd, struct mail_user *user)
{
	struct pimap_user *puser = pimap_user_get(user);
	const char *error;

	if (puser == NULL) {
		puser = pimap_user_create(user, &error);
		if (puser == NULL)
			(void)doveadm_pimap_fail(cmd, MAIL_ERROR_TEMP, error);
	}
	return puser;
}

int doveadm_pimap_get_profile(struct doveadm_pimap_cmd *cmd,
			      struct mail_user *user,
			      const struct pimap_profile **profile_r)
{
	struct pimap_user *puser = doveadm_pimap_get_user(cmd, user);
	const char *error;

	if (puser == NULL)
		return -1;
	if (pimap_user_get_profile(puser, profile_r, &error) < 0)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_TEMP, error);
	return 0;
}

int doveadm_pimap_get_device(struct doveadm_pimap_cmd *cmd,
			     struct mail_user *user,
			     const struct pimap_device **device_r)
{
	const struct pimap_profile *profile;

	if (cmd->device == NULL || !pimap_device_id_is_valid(cmd->device))
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
			"A device is 1 to 64 letters, digits, dots, - and _");
	if (doveadm_pimap_get_profile(cmd, user, &profile) < 0)
		return -1;
	*device_r = pimap_profile_find_device(profile, cmd->device);
	if (*device_r == NULL)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_NOTFOUND,
					  "There is no such device");
	return 0;
}

int doveadm_pimap_change_begin(struct doveadm_pimap_cmd *cmd,
			       struct mail_user *user,
			       struct pimap_user_change *change_r)
{
	struct pimap_user *puser = doveadm_pimap_get_user(cmd, user);
	const char *error;

	if (puser == NULL)
		return -1;
	if (pimap_user_change_begin(puser, change_r, &error) < 0)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_TEMP, error);
	return 0;
}

int doveadm_pimap_change_commit(struct doveadm_pimap_cmd *cmd,
				struct pimap_user_change *change)
{
	const char *error;

	switch (pimap_user_change_commit(change, &error)) {
	case PIMAP_CHANGE_OK:
		return 0;
	case PIMAP_CHANGE_TOO_LARGE:
		return doveadm_pimap_fail(cmd, MAIL_ERROR_LIMIT, error);
	case PIMAP_CHANGE_FAILED:
		break;
	case PIMAP_CHANGE_UNTOLD:
		return doveadm_pimap_fail(cmd, MAIL_ERROR_TEMP,
			t_strconcat(error, ": the change is kept, repeat it",
				    NULL));
	}
	return doveadm_pimap_fail(cmd, MAIL_ERROR_TEMP, error);
}

int doveadm_pimap_change_get_device(struct doveadm_pimap_cmd *cmd,
				    struct pimap_user_change *change,
				    struct pimap_device **device_r)
{
	*device_r = pimap_user_change_get_device(change, cmd->device,
						 PIMAP_DEVICE_MODE_VIEW);
	return *device_r != NULL ? 0 :
		doveadm_pimap_change_fail(cmd, change, MAIL_ERROR_LIMIT,
					  "Too many devices");
}

int doveadm_pimap_change_fail(struct doveadm_pimap_cmd *cmd,
			      struct pimap_user_change *change,
			      enum mail_error error, const char *reason)
{
	pimap_user_change_rollback(change);
	return doveadm_pimap_fail(cmd, error, reason);
}

void doveadm_pimap_plugin_init(struct module *module)
{
	unsigned int i;

	pimap_criteria_init();
	doveadm_pimap_module = module;
	for (i = 0; i < N_ELEMENTS(doveadm_pimap_cmds); i++)
		doveadm_cmd_register_ver2(doveadm_pimap_cmds[i]);
}

void doveadm_pimap_plugin_deinit(void)
{
	pimap_criteria_deinit();
}
