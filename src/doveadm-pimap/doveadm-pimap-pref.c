/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap pref */

#include "lib.h"
#include "mail-namespace.h"
#include "mail-storage.h"
#include "mail-user.h"
#include "pimap-device.h"
#include "pimap-pref.h"
#include "doveadm-print.h"
#include "doveadm-pimap.h"

static void
pref_get_xfilter(const char *vname, const char *type,
		 const struct pimap_filter_ref *ref,
		 void *context ATTR_UNUSED)
{
	doveadm_print(PIMAP_PREF_XFILTER);
	doveadm_print(t_strdup_printf("%s %s %s", vname == NULL ? "ALL" : vname,
				      type, pimap_filter_ref_name(ref)));
}

static int
pref_get_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	const struct pimap_pref_def *def;
	const struct pimap_profile *profile;
	const struct pimap_device *device;

	if (cmd->device == NULL)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
					  "Which device?");
	if (cmd->pref != NULL && !pimap_pref_is_xfilter(cmd->pref) &&
	    pimap_pref_find(cmd->pref) == NULL)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
					  "There is no such preference");
	if (doveadm_pimap_get_profile(cmd, user, &profile) < 0)
		return -1;
	device = pimap_profile_find_device(profile, cmd->device);
	if (device == NULL)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_NOTFOUND,
					  "There is no such device");
	for (def = pimap_pref_defs; def->name != NULL; def++) {
		if (cmd->pref == NULL || strcasecmp(cmd->pref, def->name) == 0) {
			doveadm_print(def->name);
			doveadm_print(pimap_pref_get(device, def));
		}
	}
	if (cmd->pref == NULL || pimap_pref_is_xfilter(cmd->pref))
		pimap_pref_xfilter_foreach(device, pref_get_xfilter, NULL);
	return 0;
}

static void pref_get_headers(void)
{
	doveadm_print_header_simple("preference");
	doveadm_print_header("value", "value", DOVEADM_PRINT_HEADER_FLAG_EXPAND);
}

static struct doveadm_mail_cmd_context *pref_get_alloc(void)
{
	return doveadm_pimap_cmd_alloc(pref_get_run, pref_get_headers,
				       DOVEADM_PRINT_TYPE_TABLE);
}

static int
pref_check_folder(struct doveadm_pimap_cmd *cmd, struct mail_user *user,
		  const char *vname)
{
	struct mail_namespace *ns =
		mail_namespace_find(user->namespaces, vname);
	struct mailbox *box = mailbox_alloc(ns->list, vname, 0);
	enum mailbox_existence existence;
	int ret;

	ret = mailbox_exists(box, TRUE, &existence);
	if (ret < 0)
		doveadm_mail_failed_mailbox(&cmd->ctx, box);
	else if (existence == MAILBOX_EXISTENCE_NONE)
		ret = doveadm_pimap_fail(cmd, MAIL_ERROR_NOTFOUND,
					 "There is no such folder");
	mailbox_free(&box);
	return ret;
}

static int
pref_set_xfilter(struct doveadm_pimap_cmd *cmd, struct mail_user *user,
		 struct pimap_user_change *change, struct pimap_device *device)
{
	struct pimap_pref_xfilter value;
	const char *error;

	if (str_array_length(cmd->words) != 3)
		return doveadm_pimap_change_fail(cmd, change, MAIL_ERROR_PARAMS,
			PIMAP_PREF_XFILTER" takes <folder or ALL> <V, N or B> "
			"<filter>");
	if (pimap_pref_xfilter_parse(cmd->words[0], cmd->words[1],
				     cmd->words[2], &value, &error) < 0)
		return doveadm_pimap_change_fail(cmd, change,
						 MAIL_ERROR_PARAMS, error);
	if (value.vname != NULL &&
	    pref_check_folder(cmd, user, value.vname) < 0) {
		pimap_user_change_rollback(change);
		return -1;
	}
	if (!pimap_pref_xfilter_set(change->profile, device, &value))
		return doveadm_pimap_change_fail(cmd, change,
			MAIL_ERROR_NOTFOUND, "There is no such filter");
	return doveadm_pimap_change_commit(cmd, change);
}

static int
pref_set_word(struct doveadm_pimap_cmd *cmd, struct pimap_user_change *change,
	      struct pimap_device *device)
{
	const struct pimap_pref_def *def = pimap_pref_find(cmd->pref);

	if (def == NULL)
		return doveadm_pimap_change_fail(cmd, change, MAIL_ERROR_PARAMS,
						 "There is no such preference");
	if (str_array_length(cmd->words) != 1 ||
	    !pimap_pref_set(change->profile, device, def, cmd->words[0]))
		return doveadm_pimap_change_fail(cmd, change, MAIL_ERROR_PARAMS,
			t_strdup_printf("%s takes %s", def->name,
				t_strarray_join(def->values, " or ")));
	return doveadm_pimap_change_commit(cmd, change);
}

static int
pref_set_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	struct pimap_user_change change;
	struct pimap_device *device;

	if (cmd->device == NULL || !pimap_device_id_is_valid(cmd->device) ||
	    cmd->pref == NULL || cmd->words == NULL)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
			"A device, a preference and its value are needed");
	if (doveadm_pimap_change_begin(cmd, user, &change) < 0)
		return -1;
	device = pimap_user_change_get_device(&change, cmd->device);
	if (device == NULL)
		return doveadm_pimap_change_fail(cmd, &change,
			MAIL_ERROR_LIMIT, "Too many devices");
	return pimap_pref_is_xfilter(cmd->pref) ?
		pref_set_xfilter(cmd, user, &change, device) :
		pref_set_word(cmd, &change, device);
}

static struct doveadm_mail_cmd_context *pref_set_alloc(void)
{
	return doveadm_pimap_cmd_alloc(pref_set_run, NULL, NULL);
}

struct doveadm_cmd_ver2 doveadm_pimap_cmd_pref_get = {
	.name = "pimap pref get",
	.usage = DOVEADM_CMD_MAIL_USAGE_PREFIX "<device> [<preference>]",
	.mail_cmd = pref_get_alloc,
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_MAIL_COMMON
DOVEADM_CMD_PARAM('\0', "device", CMD_PARAM_STR, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAM('\0', "preference", CMD_PARAM_STR, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAMS_END
};

struct doveadm_cmd_ver2 doveadm_pimap_cmd_pref_set = {
	.name = "pimap pref set",
	.usage = DOVEADM_CMD_MAIL_USAGE_PREFIX
		"<device> <preference> <value>",
	.mail_cmd = pref_set_alloc,
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_MAIL_COMMON
DOVEADM_CMD_PARAM('\0', "device", CMD_PARAM_STR, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAM('\0', "preference", CMD_PARAM_STR, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAM('\0', "words", CMD_PARAM_ARRAY, CMD_PARAM_FLAG_POSITIONAL)
DOVEADM_CMD_PARAMS_END
};
