/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap device */

#include "lib.h"
#include "array.h"
#include "pimap-compat.h"
#include "pimap-device.h"
#include "pimap-pref.h"
#include "pimap-scope.h"
#include "doveadm-print.h"
#include "doveadm-pimap.h"
#include "doveadm-pimap-outband.h"

static int
device_list_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	const struct pimap_profile *profile;
	struct pimap_device *device;
	struct pimap_filter_ref ref;
	unsigned int i;

	if (doveadm_pimap_get_profile(cmd, user, &profile) < 0)
		return -1;
	array_foreach_elem(&profile->devices, device) {
		doveadm_print(device->id);
		doveadm_print(pimap_device_mode_name(device->mode));
		for (i = 0; i < PIMAP_FILTER_TYPE_COUNT; i++) {
			ref = pimap_device_get_filter(device,
				&pimap_user_get(user)->defaults, NULL, i);
			doveadm_print(pimap_filter_ref_name(&ref));
		}
		doveadm_print_num(array_count(&device->folders));
	}
	return 0;
}

static void device_list_headers(void)
{
	doveadm_print_header("device", "device", DOVEADM_PRINT_HEADER_FLAG_EXPAND);
	doveadm_print_header_simple("mode");
	doveadm_print_header_simple("view");
	doveadm_print_header_simple("notification");
	doveadm_print_header("folders", "folders with own filters",
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
}

static struct doveadm_mail_cmd_context *device_list_alloc(void)
{
	return doveadm_pimap_cmd_alloc(device_list_run, device_list_headers,
				       DOVEADM_PRINT_TYPE_TABLE);
}

static int
device_check_args(struct doveadm_pimap_cmd *cmd, enum pimap_device_mode *mode_r)
{
	*mode_r = PIMAP_DEVICE_MODE_VIEW;
	if (cmd->device == NULL || !pimap_device_id_is_valid(cmd->device))
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
			"A device is 1 to 64 letters, digits, dots, - and _");
	if (cmd->mode != NULL && !pimap_device_mode_parse(cmd->mode, mode_r))
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
					  "The mode is session or view");
	return 0;
}

static int
device_add_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	struct pimap_user_change change;
	struct pimap_device *device;
	enum pimap_device_mode mode;

	if (device_check_args(cmd, &mode) < 0 ||
	    doveadm_pimap_change_begin(cmd, user, &change) < 0)
		return -1;
	if (pimap_profile_find_device(change.profile, cmd->device) != NULL)
		return doveadm_pimap_change_fail(cmd, &change,
			MAIL_ERROR_EXISTS, "There is such a device already");
	if (doveadm_pimap_change_get_device(cmd, &change, &device) < 0)
		return -1;
	device->mode = mode;
	return doveadm_pimap_change_commit(cmd, &change);
}

static struct doveadm_mail_cmd_context *device_add_alloc(void)
{
	return doveadm_pimap_cmd_alloc(device_add_run, NULL, NULL);
}

static int
device_mode_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	struct pimap_user_change change;
	struct pimap_device *device;
	enum pimap_device_mode mode;

	if (device_check_args(cmd, &mode) < 0)
		return -1;
	if (cmd->mode == NULL)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
					  "The mode is session or view");
	if (doveadm_pimap_change_begin(cmd, user, &change) < 0)
		return -1;
	device = pimap_profile_find_device(change.profile, cmd->device);
	if (device == NULL)
		return doveadm_pimap_change_fail(cmd, &change,
			MAIL_ERROR_NOTFOUND, "There is no such device");
	device->mode = mode;
	return doveadm_pimap_change_commit(cmd, &change);
}

static struct doveadm_mail_cmd_context *device_mode_alloc(void)
{
	return doveadm_pimap_cmd_alloc(device_mode_run, NULL, NULL);
}

static int
device_remove_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	struct pimap_user_change change;
	enum pimap_device_mode mode;

	if (device_check_args(cmd, &mode) < 0 ||
	    doveadm_pimap_change_begin(cmd, user, &change) < 0)
		return -1;
	if (!pimap_profile_remove_device(change.profile, cmd->device))
		return doveadm_pimap_change_fail(cmd, &change,
			MAIL_ERROR_NOTFOUND, "There is no such device");
	if (doveadm_pimap_change_commit(cmd, &change) < 0)
		return -1;
	if (pimap_scope_remove_caches(change.puser, cmd->device) < 0)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_TEMP,
			"The device is removed, but not all files of its views");
	return 0;
}

static struct doveadm_mail_cmd_context *device_remove_alloc(void)
{
	return doveadm_pimap_cmd_alloc(device_remove_run, NULL, NULL);
}

struct device_show_cmd {
	struct doveadm_pimap_cmd cmd;
	/* NULL: it can't be asked, and what only it knows isn't shown */
	struct outband_client *client;

	void (*init)(PIMAP_DOVEADM_INIT_ARGS(ctx));
};

static void device_show_init(PIMAP_DOVEADM_INIT_ARGS(_ctx))
{
	struct device_show_cmd *scmd =
		container_of(_ctx, struct device_show_cmd, cmd.ctx);
	const char *error;
	bool forbidden;

#ifdef PIMAP_HAVE_DOVEADM_PARSE_ARG
	scmd->init(_ctx, args);
#else
	scmd->init(_ctx);
#endif
	/* not later: users' mail is opened with their privileges */
	if (outband_client_connect(doveadm_settings->base_dir, &scmd->client,
				   &error, &forbidden) < 0)
		scmd->client = NULL;
}

static void device_show_deinit(struct doveadm_mail_cmd_context *_ctx)
{
	struct device_show_cmd *scmd =
		container_of(_ctx, struct device_show_cmd, cmd.ctx);

	if (scmd->client != NULL)
		outband_client_disconnect(&scmd->client);
}

/* Is the address one that the service doesn't try any more? */
static void device_show_ended(struct device_show_cmd *scmd, const char *user)
{
	const char *const request[] = {
		"DEVICE", user, scmd->cmd.device, NULL
	};
	const char *const *fields, *error;
	time_t since;

	if (scmd->client == NULL ||
	    outband_client_send(scmd->client, request, &error) < 0 ||
	    outband_client_read(scmd->client, &fields, &error) < 0 ||
	    null_strcmp(fields[0], "ENDED") != 0 ||
	    str_array_length(fields) < 3 ||
	    str_to_time(fields[1], &since) < 0)
		return;
	doveadm_print("unregistered");
	doveadm_pimap_print_text(t_strdup_printf("%s: %s", unixdate2str(since),
						 fields[2]));
	/* OK */
	(void)outband_client_read(scmd->client, &fields, &error);
}

static int
device_show_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	const struct pimap_device *device;

	if (doveadm_pimap_get_device(cmd, user, &device) < 0)
		return -1;
	doveadm_print("device");
	doveadm_print(device->id);
	doveadm_print("mode");
	doveadm_print(pimap_device_mode_name(device->mode));
	doveadm_print("registration");
	doveadm_pimap_print_text(pimap_device_get_pref(device,
						PIMAP_PREF_NOTIF_ID));
	doveadm_pimap_print_prefs(user, device, NULL);
	device_show_ended(container_of(ctx, struct device_show_cmd, cmd.ctx),
			  user->username);
	return 0;
}

static void device_show_headers(void)
{
	doveadm_print_header_simple("name");
	doveadm_print_header("value", "value", DOVEADM_PRINT_HEADER_FLAG_EXPAND);
}

static struct doveadm_mail_cmd_context *device_show_alloc(void)
{
	struct doveadm_mail_cmd_context *ctx =
		doveadm_pimap_cmd_alloc_size(sizeof(struct device_show_cmd),
			device_show_run, device_show_headers,
			DOVEADM_PRINT_TYPE_TABLE);
	struct device_show_cmd *scmd =
		container_of(ctx, struct device_show_cmd, cmd.ctx);

	scmd->init = ctx->v.init;
	ctx->v.init = device_show_init;
	ctx->v.deinit = device_show_deinit;
	return ctx;
}

DOVEADM_PIMAP_CMD(device_remove, "device remove", "<device>",
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR));

DOVEADM_PIMAP_CMD(device_show, "device show", "<device>",
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR));

DOVEADM_PIMAP_CMD(device_add, "device add", "[-m session|view] <device>",
	DOVEADM_CMD_PARAM('m', "mode", CMD_PARAM_STR, 0)
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR));

DOVEADM_PIMAP_CMD(device_list, "device list", "");

DOVEADM_PIMAP_CMD(device_mode, "device mode", "<device> session|view",
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR)
	DOVEADM_PIMAP_ARG("mode", CMD_PARAM_STR));
