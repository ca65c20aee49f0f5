/* SPDX-License-Identifier: LGPL-2.1-only */
/* XSETPIMAPPREF and XGETPIMAPPREFS (draft 5.2.2, R-5) */

#include "imap-common.h"
#include "array.h"
#include "str.h"
#include "imap-arg.h"
#include "imap-commands.h"
#include "imap-quote.h"
#include "imap-utf7.h"
#include "mail-namespace.h"
#include "pimap-compat.h"
#include "pimap-folder.h"
#include "pimap-pref.h"
#include "pimap-user.h"
#include "imap-pimap-plugin.h"

/* Preferences in one XGETPIMAPPREFS */
#define XGETPIMAPPREFS_MAX 32

/* SETting */

/* Returns FALSE if it answered the command. */
static bool
xfilter_get_folder(struct client_command_context *cmd, const char *mailbox,
		   guid_128_t guid_r, const char **vname_r)
{
	struct mail_namespace *ns;
	struct mailbox *box;
	enum mailbox_existence existence;
	bool ret = FALSE;

	ns = client_find_namespace(cmd, &mailbox);
	if (ns == NULL)
		return FALSE;
	box = mailbox_alloc(ns->list, mailbox, 0);
	*vname_r = t_strdup(mailbox_get_vname(box));
	if (mailbox_exists(box, TRUE, &existence) < 0)
		client_send_box_error(cmd, box);
	else if (existence == MAILBOX_EXISTENCE_NONE) {
		client_send_tagline(cmd,
			"NO [NONEXISTENT] There is no such folder.");
	} else if (existence == MAILBOX_EXISTENCE_NOSELECT) {
		client_send_tagline(cmd,
			"NO [CANNOT] The folder can't have messages.");
	} else if (pimap_folder_get_guid(box, guid_r) < 0)
		client_send_box_error(cmd, box);
	else
		ret = TRUE;
	mailbox_free(&box);
	return ret;
}

/* The device in the profile that is being changed. Returns NULL if it ended the
   change and answered the command. */
static struct pimap_device *
xsetpimappref_get_device(struct client_command_context *cmd,
			 struct pimap_user *puser,
			 struct pimap_user_change *change)
{
	struct pimap_device *device =
		pimap_user_change_get_device(change, puser->device,
					     puser->defaults.mode);

	if (device == NULL) {
		pimap_user_change_rollback(change);
		imap_pimap_cmd_limit(cmd, "Too many devices");
	}
	return device;
}

static bool
xsetpimappref_xfilter(struct client_command_context *cmd,
		      struct pimap_user *puser, const struct imap_arg *args)
{
	struct pimap_user_change change;
	struct pimap_device *device;
	const struct imap_arg *list;
	struct pimap_pref_xfilter value;
	const char *mailbox, *type, *filter, *error, *vname = NULL;
	enum mail_error mail_error;
	unsigned int count;
	guid_128_t guid;

	if (!imap_arg_get_list_full(&args[0], &list, &count) || count != 3 ||
	    !IMAP_ARG_IS_EOL(&args[1]) ||
	    !imap_arg_get_astring(&list[0], &mailbox) ||
	    !imap_arg_get_atom(&list[1], &type) ||
	    !imap_arg_get_astring(&list[2], &filter)) {
		client_send_command_error(cmd, PIMAP_PREF_XFILTER" takes "
			"(<folder or ALL> <V, N or B> <filter>).");
		return TRUE;
	}
	if (pimap_pref_xfilter_parse(mailbox, type, filter, &value,
				     &error) < 0) {
		client_send_command_error(cmd, error);
		return TRUE;
	}
	if (!value.all_folders &&
	    !xfilter_get_folder(cmd, mailbox, guid, &vname))
		return TRUE;

	if (pimap_user_change_begin(puser, &change, &error) < 0) {
		imap_pimap_cmd_internal_error(cmd, error);
		return TRUE;
	}
	device = xsetpimappref_get_device(cmd, puser, &change);
	if (device == NULL)
		return TRUE;
	mail_error = pimap_user_change_set_xfilter(&change, device, &value,
						   guid, vname, &error);
	if (mail_error != MAIL_ERROR_NONE) {
		pimap_user_change_rollback(&change);
		client_send_tagline(cmd, t_strdup_printf("NO [%s] %s.",
			mail_error == MAIL_ERROR_LIMIT ? "LIMIT" : "NONEXISTENT",
			error));
		return TRUE;
	}
	if (imap_pimap_cmd_commit(cmd, &change))
		client_send_tagline(cmd, "OK XSETPIMAPPREF completed");
	return TRUE;
}

static bool
xsetpimappref_value(struct client_command_context *cmd,
		    struct pimap_user *puser, const struct pimap_pref_def *def,
		    const struct imap_arg *args)
{
	struct pimap_user_change change;
	struct pimap_device *device;
	const struct imap_arg *list;
	const char *value, *error;

	if (def->may_be_list && imap_arg_get_list(&args[0], &list))
		value = "(...)";
	else if (!imap_arg_get_astring(&args[0], &value)) {
		client_send_command_error(cmd, "The preference takes one value.");
		return TRUE;
	}
	if (!IMAP_ARG_IS_EOL(&args[1])) {
		client_send_command_error(cmd, "The preference takes one value.");
		return TRUE;
	}
	if (def->values == NULL && !pimap_pref_text_is_valid(value)) {
		client_send_command_error(cmd,
			"The value is too long or isn't plain UTF-8 text.");
		return TRUE;
	}
	if (pimap_user_change_begin(puser, &change, &error) < 0) {
		imap_pimap_cmd_internal_error(cmd, error);
		return TRUE;
	}
	device = xsetpimappref_get_device(cmd, puser, &change);
	if (device == NULL)
		return TRUE;
	if (pimap_pref_set(change.profile, device, def, &puser->defaults, value,
			   &error) < 0) {
		pimap_user_change_rollback(&change);
		client_send_tagline(cmd, t_strdup_printf("NO [CANNOT] %s.",
							 error));
		return TRUE;
	}
	if (imap_pimap_cmd_commit(cmd, &change))
		client_send_tagline(cmd, "OK XSETPIMAPPREF completed");
	return TRUE;
}

bool cmd_xsetpimappref(struct client_command_context *cmd)
{
	const struct pimap_pref_def *def;
	struct pimap_user *puser;
	const struct imap_arg *args;
	const char *name;

	if (!client_read_args(cmd, 0, 0, &args))
		return FALSE;
	imap_pimap_cmd_hide_args(cmd);
	if (!imap_pimap_cmd_check_args(cmd, args))
		return TRUE;
	puser = imap_pimap_cmd_get_device_user(cmd);
	if (puser == NULL)
		return TRUE;
	if (!imap_arg_get_atom(&args[0], &name)) {
		client_send_command_error(cmd, "Missing preference.");
		return TRUE;
	}
	if (pimap_pref_is_xfilter(name))
		return xsetpimappref_xfilter(cmd, puser, args + 1);
	def = pimap_pref_find(name);
	if (def != NULL)
		return xsetpimappref_value(cmd, puser, def, args + 1);
	client_send_command_error(cmd, "Unknown preference.");
	return TRUE;
}

/* GETting */

static void append_separator(string_t *dest)
{
	if (str_data(dest)[str_len(dest)-1] != '(')
		str_append_c(dest, ' ');
}

static void
append_xfilter(const char *vname, const char *type,
	       const struct pimap_filter_ref *ref, void *context)
{
	string_t *dest = context, *mutf7 = t_str_new(64);

	append_separator(dest);
	str_append(dest, PIMAP_PREF_XFILTER" (");
	if (imap_utf8_to_utf7(vname, mutf7) < 0)
		str_append(mutf7, vname);
	pimap_imap_append_astring(dest, str_c(mutf7));
	str_printfa(dest, " %s ", type);
	pimap_imap_append_astring(dest, pimap_filter_ref_name(ref));
	str_append_c(dest, ')');
}

/* names are those of the device's folders. */
static void
append_xfilters(string_t *dest, struct pimap_user *puser,
		const struct pimap_device *device, const char *const *names)
{
	const struct pimap_folder *folder;

	pimap_pref_xfilter_all(device, &puser->defaults, append_xfilter, dest);
	if (device == NULL)
		return;
	array_foreach(&device->folders, folder) {
		if (*names != NULL && strcmp(*names, PIMAP_FOLDER_ALL) != 0) {
			pimap_pref_xfilter_foreach(folder->filters, *names,
						   append_xfilter, dest);
		}
		names++;
	}
}

/* Returns FALSE if there is no such preference. */
static bool
append_pref(string_t *dest, struct pimap_user *puser,
	    const struct pimap_device *device, const char *name,
	    const char *const **folder_names)
{
	const struct pimap_pref_def *def;
	const char *value;

	if (pimap_pref_is_xfilter(name)) {
		/* it may have to look at many folders: once */
		if (*folder_names == NULL && device != NULL) {
			*folder_names = pimap_folders_get_names(puser, device);
		}
		append_xfilters(dest, puser, device, *folder_names);
		return TRUE;
	}
	def = pimap_pref_find(name);
	if (def == NULL)
		return FALSE;
	append_separator(dest);
	str_printfa(dest, "%s ", def->name);
	value = pimap_pref_get(device, &puser->defaults, def);
	if (value == NULL)
		str_append(dest, "NIL");
	else
		pimap_imap_append_astring(dest, value);
	return TRUE;
}

bool cmd_xgetpimapprefs(struct client_command_context *cmd)
{
	const struct pimap_device *device;
	struct pimap_user *puser;
	const struct imap_arg *args, *list;
	const char *name, *error, *const *folder_names = NULL;
	string_t *str = t_str_new(256);
	unsigned int count;

	if (!client_read_args(cmd, 0, 0, &args))
		return FALSE;
	if (!imap_pimap_cmd_check_args(cmd, args))
		return TRUE;
	puser = imap_pimap_cmd_get_device_user(cmd);
	if (puser == NULL)
		return TRUE;
	if (!imap_arg_get_list_full(&args[0], &list, &count) || count == 0 ||
	    count > XGETPIMAPPREFS_MAX || !IMAP_ARG_IS_EOL(&args[1])) {
		client_send_command_error(cmd, "XGETPIMAPPREFS takes a list of preferences.");
		return TRUE;
	}
	if (pimap_user_get_device(puser, &device, &error) < 0) {
		imap_pimap_cmd_internal_error(cmd, error);
		return TRUE;
	}
	str_append(str, "* XGETPIMAPPREFS (");
	for (; !IMAP_ARG_IS_EOL(list); list++) {
		if (!imap_arg_get_atom(list, &name) ||
		    !append_pref(str, puser, device, name, &folder_names)) {
			client_send_command_error(cmd, "Unknown preference.");
			return TRUE;
		}
	}
	str_append_c(str, ')');
	client_send_line(cmd->client, str_c(str));
	client_send_tagline(cmd, "OK XGETPIMAPPREFS completed");
	return TRUE;
}
