/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap pref */

#include "lib.h"
#include "array.h"
#include "unichar.h"
#include "mail-namespace.h"
#include "mail-storage.h"
#include "mail-user.h"
#include "pimap-device.h"
#include "pimap-folder.h"
#include "pimap-pref.h"
#include "doveadm-print.h"
#include "doveadm-pimap.h"

static void
pref_get_xfilter(const char *vname, const char *type,
		 const struct pimap_filter_ref *ref,
		 void *context ATTR_UNUSED)
{
	doveadm_print(PIMAP_PREF_XFILTER);
	doveadm_pimap_print_text(t_strdup_printf("%s %s %s", vname, type,
					pimap_filter_ref_name(ref)));
}

static void
pref_print_xfilters(struct mail_user *user, const struct pimap_device *device)
{
	const struct pimap_folder *folder;
	const char *const *names;

	pimap_pref_xfilter_all(device, &pimap_user_get(user)->defaults,
			       pref_get_xfilter, NULL);
	names = pimap_folders_get_names(pimap_user_get(user), device);
	array_foreach(&device->folders, folder) {
		if (*names != NULL) {
			pimap_pref_xfilter_foreach(folder->filters, *names,
						   pref_get_xfilter, NULL);
		}
		names++;
	}
}

void doveadm_pimap_print_prefs(struct mail_user *user,
			       const struct pimap_device *device,
			       const char *name)
{
	const struct pimap_pref_def *def;

	for (def = pimap_pref_defs; def->name != NULL; def++) {
		if (name == NULL || strcasecmp(name, def->name) == 0) {
			doveadm_print(def->name);
			doveadm_pimap_print_text(pimap_pref_get(device,
				&pimap_user_get(user)->defaults, def));
		}
	}
	if (name == NULL || pimap_pref_is_xfilter(name))
		pref_print_xfilters(user, device);
}

static int
pref_get_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	const struct pimap_device *device;

	if (cmd->pref != NULL && !pimap_pref_is_xfilter(cmd->pref) &&
	    pimap_pref_find(cmd->pref) == NULL)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
					  "There is no such preference");
	if (doveadm_pimap_get_device(cmd, user, &device) < 0)
		return -1;
	doveadm_pimap_print_prefs(user, device, cmd->pref);
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
pref_get_folder(struct doveadm_pimap_cmd *cmd, struct mail_user *user,
		const char *name, guid_128_t guid_r, const char **vname_r)
{
	struct mail_namespace *ns =
		mail_namespace_find(user->namespaces, name);
	struct mailbox *box = mailbox_alloc(ns->list, name, 0);
	enum mailbox_existence existence;
	int ret;

	*vname_r = t_strdup(mailbox_get_vname(box));
	ret = mailbox_exists(box, TRUE, &existence);
	if (ret < 0)
		doveadm_mail_failed_mailbox(&cmd->ctx, box);
	else if (existence != MAILBOX_EXISTENCE_SELECT) {
		ret = doveadm_pimap_fail(cmd, MAIL_ERROR_NOTFOUND,
			"There is no such folder that can have messages");
	} else if ((ret = pimap_folder_get_guid(box, guid_r)) < 0)
		doveadm_mail_failed_mailbox(&cmd->ctx, box);
	mailbox_free(&box);
	return ret;
}

static int
pref_set_xfilter(struct doveadm_pimap_cmd *cmd, struct mail_user *user)
{
	struct pimap_user_change change;
	struct pimap_device *device;
	struct pimap_pref_xfilter value;
	enum mail_error mail_error;
	guid_128_t guid;
	const char *error, *vname = NULL;

	if (str_array_length(cmd->words) != 3)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
			PIMAP_PREF_XFILTER" takes <folder or ALL> <V, N or B> "
			"<filter>");
	if (!uni_utf8_str_is_valid(cmd->words[0]))
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
					  "The folder's name isn't UTF-8");
	if (pimap_pref_xfilter_parse(cmd->words[0], cmd->words[1],
				     cmd->words[2], &value, &error) < 0)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS, error);
	if (!value.all_folders &&
	    pref_get_folder(cmd, user, cmd->words[0], guid, &vname) < 0)
		return -1;
	if (doveadm_pimap_change_begin(cmd, user, &change) < 0 ||
	    doveadm_pimap_change_get_device(cmd, &change, &device) < 0)
		return -1;
	mail_error = pimap_user_change_set_xfilter(&change, device, &value,
						   guid, vname, &error);
	if (mail_error != MAIL_ERROR_NONE) {
		return doveadm_pimap_change_fail(cmd, &change, mail_error,
						 error);
	}
	return doveadm_pimap_change_commit(cmd, &change);
}

static int
pref_set_value(struct doveadm_pimap_cmd *cmd, struct mail_user *user)
{
	const struct pimap_pref_def *def = pimap_pref_find(cmd->pref);
	struct pimap_user_change change;
	struct pimap_device *device;
	const char *error;

	if (def == NULL)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
					  "There is no such preference");
	if (str_array_length(cmd->words) != 1)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
					  "The preference takes one value");
	if (doveadm_pimap_change_begin(cmd, user, &change) < 0 ||
	    doveadm_pimap_change_get_device(cmd, &change, &device) < 0)
		return -1;
	if (pimap_pref_set(change.profile, device, def,
			   &change.puser->defaults, cmd->words[0], &error) < 0)
		return doveadm_pimap_change_fail(cmd, &change,
						 MAIL_ERROR_PARAMS, error);
	return doveadm_pimap_change_commit(cmd, &change);
}

static int
pref_set_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);

	if (cmd->device == NULL || !pimap_device_id_is_valid(cmd->device) ||
	    cmd->pref == NULL || cmd->words == NULL)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
			"A device, a preference and its value are needed");
	return pimap_pref_is_xfilter(cmd->pref) ?
		pref_set_xfilter(cmd, user) : pref_set_value(cmd, user);
}

static struct doveadm_mail_cmd_context *pref_set_alloc(void)
{
	return doveadm_pimap_cmd_alloc(pref_set_run, NULL, NULL);
}

DOVEADM_PIMAP_CMD(pref_get, "pref get", "<device> [<preference>]",
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR)
	DOVEADM_PIMAP_ARG("preference", CMD_PARAM_STR));

DOVEADM_PIMAP_CMD(pref_set, "pref set", "<device> <preference> <value>",
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR)
	DOVEADM_PIMAP_ARG("preference", CMD_PARAM_STR)
	DOVEADM_PIMAP_ARG("words", CMD_PARAM_ARRAY));
