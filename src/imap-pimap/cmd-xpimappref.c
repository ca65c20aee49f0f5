/* SPDX-License-Identifier: LGPL-2.1-only */
/* XSETPIMAPPREF and XGETPIMAPPREFS (draft 5.2.2, R-5) */

#include "imap-common.h"
#include "str.h"
#include "imap-arg.h"
#include "imap-commands.h"
#include "imap-quote.h"
#include "imap-utf7.h"
#include "mail-namespace.h"
#include "pimap-compat.h"
#include "pimap-pref.h"
#include "pimap-user.h"
#include "imap-pimap-plugin.h"

/* SETting */

/* Returns FALSE if it answered the command. */
static bool
xfilter_folder_check(struct client_command_context *cmd, const char *mailbox,
		     const char **vname_r)
{
	struct mail_namespace *ns;
	struct mailbox *box;
	enum mailbox_existence existence;
	int ret;

	ns = client_find_namespace(cmd, &mailbox);
	if (ns == NULL)
		return FALSE;
	box = mailbox_alloc(ns->list, mailbox, 0);
	ret = mailbox_exists(box, TRUE, &existence);
	*vname_r = t_strdup(mailbox_get_vname(box));
	if (ret < 0)
		client_send_box_error(cmd, box);
	else if (existence == MAILBOX_EXISTENCE_NONE) {
		client_send_tagline(cmd,
			"NO [NONEXISTENT] There is no such folder.");
		ret = -1;
	}
	mailbox_free(&box);
	return ret == 0;
}

/* The device in the profile that is being changed. Returns NULL if it ended the
   change and answered the command. */
static struct pimap_device *
xsetpimappref_get_device(struct client_command_context *cmd,
			 struct pimap_user *puser,
			 struct pimap_user_change *change)
{
	struct pimap_device *device =
		pimap_user_change_get_device(change, puser->device);

	if (device == NULL) {
		pimap_user_change_rollback(change);
		client_send_tagline(cmd, "NO [LIMIT] Too many devices.");
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
	const char *mailbox, *type, *filter, *error;
	unsigned int count;

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
	if (value.vname != NULL &&
	    !xfilter_folder_check(cmd, mailbox, &value.vname))
		return TRUE;

	if (pimap_user_change_begin(puser, &change, &error) < 0) {
		imap_pimap_cmd_internal_error(cmd, error);
		return TRUE;
	}
	device = xsetpimappref_get_device(cmd, puser, &change);
	if (device == NULL)
		return TRUE;
	if (!pimap_pref_xfilter_set(change.profile, device, &value)) {
		pimap_user_change_rollback(&change);
		client_send_tagline(cmd,
			"NO [NONEXISTENT] There is no such filter.");
		return TRUE;
	}
	imap_pimap_cmd_commit(cmd, &change, "OK XSETPIMAPPREF completed");
	return TRUE;
}

static bool
xsetpimappref_word(struct client_command_context *cmd,
		   struct pimap_user *puser, const struct pimap_pref_def *def,
		   const struct imap_arg *args)
{
	struct pimap_user_change change;
	struct pimap_device *device;
	const char *value, *error;

	if (!imap_arg_get_astring(&args[0], &value) ||
	    !IMAP_ARG_IS_EOL(&args[1])) {
		client_send_command_error(cmd, "The preference takes one value.");
		return TRUE;
	}
	if (pimap_user_change_begin(puser, &change, &error) < 0) {
		imap_pimap_cmd_internal_error(cmd, error);
		return TRUE;
	}
	device = xsetpimappref_get_device(cmd, puser, &change);
	if (device == NULL)
		return TRUE;
	if (!pimap_pref_set(change.profile, device, def, value)) {
		pimap_user_change_rollback(&change);
		client_send_tagline(cmd, t_strdup_printf(
			"NO [CANNOT] %s takes %s here.", def->name,
			t_strarray_join(def->values, " or ")));
		return TRUE;
	}
	imap_pimap_cmd_commit(cmd, &change, "OK XSETPIMAPPREF completed");
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
		return xsetpimappref_word(cmd, puser, def, args + 1);
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
	if (vname == NULL)
		str_append(dest, "ALL");
	else {
		if (imap_utf8_to_utf7(vname, mutf7) < 0)
			str_append(mutf7, vname);
		pimap_imap_append_astring(dest, str_c(mutf7));
	}
	str_printfa(dest, " %s ", type);
	pimap_imap_append_astring(dest, pimap_filter_ref_name(ref));
	str_append_c(dest, ')');
}

bool cmd_xgetpimapprefs(struct client_command_context *cmd)
{
	const struct pimap_profile *profile;
	const struct pimap_device *device;
	const struct pimap_pref_def *def;
	struct pimap_user *puser;
	const struct imap_arg *args, *list;
	const char *name, *error;
	string_t *str = t_str_new(256);

	if (!client_read_args(cmd, 0, 0, &args))
		return FALSE;
	puser = imap_pimap_cmd_get_device_user(cmd);
	if (puser == NULL)
		return TRUE;
	if (!imap_arg_get_list(&args[0], &list) || IMAP_ARG_IS_EOL(list) ||
	    !IMAP_ARG_IS_EOL(&args[1])) {
		client_send_command_error(cmd, "Missing (preferences).");
		return TRUE;
	}
	if (pimap_user_get_profile(puser, &profile, &error) < 0) {
		imap_pimap_cmd_internal_error(cmd, error);
		return TRUE;
	}
	device = pimap_profile_find_device(profile, puser->device);
	str_append(str, "* XGETPIMAPPREFS (");
	for (; !IMAP_ARG_IS_EOL(list); list++) {
		if (!imap_arg_get_atom(list, &name)) {
			client_send_command_error(cmd, "Invalid preference.");
			return TRUE;
		}
		if (pimap_pref_is_xfilter(name)) {
			pimap_pref_xfilter_foreach(device, append_xfilter, str);
			continue;
		}
		def = pimap_pref_find(name);
		if (def == NULL) {
			client_send_command_error(cmd, "Unknown preference.");
			return TRUE;
		}
		append_separator(str);
		str_printfa(str, "%s %s", def->name,
			    pimap_pref_get(device, def));
	}
	str_append_c(str, ')');
	client_send_line(cmd->client, str_c(str));
	client_send_tagline(cmd, "OK XGETPIMAPPREFS completed");
	return TRUE;
}
