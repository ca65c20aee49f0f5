/* SPDX-License-Identifier: LGPL-2.1-only */
/* XPROVISION (draft 5.2.1, R-4): makes the device, and tells it what it may
   set. */

#include "imap-common.h"
#include "array.h"
#include "hostpid.h"
#include "net.h"
#include "str.h"
#include "imap-arg.h"
#include "imap-commands.h"
#include "imap-quote.h"
#include "imap-utf7.h"
#include "mail-namespace.h"
#include "mailbox-list-iter.h"
#include "pimap-compat.h"
#include "pimap-device.h"
#include "pimap-pref.h"
#include "pimap-criteria.h"
#include "pimap-user.h"
#include "imap-pimap-key.h"
#include "imap-pimap-plugin.h"

/* A name among words that mean something: ALL and NONE. */
static void append_name(string_t *dest, const char *name)
{
	str_append_c(dest, ' ');
	if (strcasecmp(name, "ALL") == 0 || strcasecmp(name, "NONE") == 0)
		pimap_imap_append_string(dest, name);
	else
		pimap_imap_append_astring(dest, name);
}

static const char *imap_pimap_astring(const char *value)
{
	string_t *str = t_str_new(64);

	pimap_imap_append_astring(str, value);
	return str_c(str);
}

static void
xprovision_send(struct client *client, const char *name, const char *values)
{
	client_send_line(client, t_strdup_printf("* XPROVISION %s (%s)",
						 name, values));
}

static void
xprovision_send_pref(struct client *client, const struct pimap_user *puser,
		     const char *name)
{
	const struct pimap_pref_def *def = pimap_pref_find(name);

	xprovision_send(client, t_strconcat("XPIMAPPREF ", name, NULL),
			t_strarray_join(pimap_pref_get_values(def,
						&puser->defaults), " "));
}

static int
xprovision_append_folders(struct pimap_user *puser, string_t *dest)
{
	static const char *const patterns[] = { "*", NULL };
	struct mailbox_list_iterate_context *iter;
	const struct mailbox_info *info;
	string_t *mutf7 = t_str_new(64);
	unsigned int count = 0;

	str_append(dest, "ALL");
	iter = mailbox_list_iter_init_namespaces(puser->user->namespaces,
		patterns, MAIL_NAMESPACE_TYPE_MASK_ALL,
		MAILBOX_LIST_ITER_SKIP_ALIASES);
	while ((info = mailbox_list_iter_next(iter)) != NULL) {
		if ((info->flags & (MAILBOX_NOSELECT | MAILBOX_NONEXISTENT)) != 0)
			continue;
		if (++count > puser->set->pimap_max_listed_folders)
			break;
		str_truncate(mutf7, 0);
		if (imap_utf8_to_utf7(info->vname, mutf7) == 0)
			append_name(dest, str_c(mutf7));
	}
	if (count > puser->set->pimap_max_listed_folders) {
		str_truncate(dest, 0);
		str_append(dest, "ALL INBOX");
	}
	return mailbox_list_iter_deinit(&iter);
}

static bool xprovision_has_udp(const struct pimap_user *puser)
{
	return puser->set->pimap_udp_listen[0] != '\0' &&
		str_array_find(puser->defaults.channels, "UDP");
}

/* Where UDP reaches the server, and the key */
static void
xprovision_send_secrets(struct client *client, const struct pimap_user *puser,
			const char *device)
{
	const struct pimap_settings *set = puser->set;
	const char *key, *host;
	in_port_t port;

	if (xprovision_has_udp(puser)) {
		host = set->pimap_udp_host[0] != '\0' ? set->pimap_udp_host :
			my_hostname;
		port = set->pimap_udp_port;
		if (port == 0 &&
		    net_str2hostport(t_strcut(set->pimap_udp_listen, ' '), 0,
				     &key, &port) < 0)
			port = 0;
		xprovision_send(client, "PIMAP_UDP_HOST",
				imap_pimap_astring(host));
		xprovision_send(client, "PIMAP_UDP_PORT",
				t_strdup_printf("%u", port));
	} else if (set->pimap_encryption[0] == '\0') {
		return;
	}
	key = imap_pimap_key_get(client, puser, device);
	if (key != NULL)
		xprovision_send(client, "PIMAP_ENC_KEY", key);
}

/* Everything in R-4.2's order */
static void
xprovision_send_all(struct client *client, const struct pimap_user *puser,
		    const struct pimap_profile *profile, const char *device,
		    const char *folders)
{
	const struct pimap_system_filter *system_filter;
	const struct pimap_filter *filter;
	string_t *names = t_str_new(256);

	str_append(names, "ALL NONE");
	array_foreach(&puser->system_filters, system_filter)
		append_name(names, system_filter->name);
	array_foreach(&profile->filters, filter) {
		if (pimap_user_find_system_filter(puser, filter->name) == NULL)
			append_name(names, filter->name);
	}

	xprovision_send(client, "XFILTER_GET", "DESC CRITERIA");
	xprovision_send(client, "XFILTER_SET", pimap_criteria_get_keys());
	xprovision_send_pref(client, puser, "PIMAP_OUTBAND_CHANNEL");
	xprovision_send_pref(client, puser, "PIMAP_INBAND_NEW_FORMAT");
	xprovision_send_pref(client, puser, "PIMAP_INBAND_PUSH");
	xprovision_send(client, "XPIMAPPREF XFILTER_FOLDER", folders);
	xprovision_send(client, "XPIMAPPREF XFILTER_TYPE", "V N B");
	xprovision_send(client, "XPIMAPPREF XFILTER_NAME", str_c(names));
	xprovision_send_pref(client, puser, "PIMAP_EVENT_FILTER");
	xprovision_send_pref(client, puser, "PIMAP_OUTBAND_FORMAT");
	xprovision_send_secrets(client, puser, device);
}

/* Returns FALSE if it answered the command. */
static bool
xprovision_get_device(struct client_command_context *cmd,
		      struct pimap_user *puser, const struct imap_arg *args,
		      const char **device_r, const char **notif_id_r)
{
	*device_r = NULL;
	*notif_id_r = NULL;
	if (puser == NULL) {
		client_send_tagline(cmd, "NO [CANNOT] pimap is off.");
		return FALSE;
	}
	if (puser->device != NULL &&
	    imap_pimap_cmd_get_device_user(cmd) == NULL)
		return FALSE;
	*device_r = puser->device;
	if (!IMAP_ARG_IS_EOL(&args[0]) &&
	    (!imap_arg_get_astring(&args[0], device_r) ||
	     (!IMAP_ARG_IS_EOL(&args[1]) &&
	      (!imap_arg_get_astring(&args[1], notif_id_r) ||
	       !IMAP_ARG_IS_EOL(&args[2]))))) {
		client_send_command_error(cmd,
			"XPROVISION takes a device and its registration.");
		return FALSE;
	}
	if (*device_r == NULL) {
		client_send_command_error(cmd,
			"In a plain session XPROVISION needs a device.");
		return FALSE;
	}
	if (!pimap_device_id_is_valid(*device_r)) {
		client_send_command_error(cmd, "That can't be a device.");
		return FALSE;
	}
	if (puser->device != NULL && strcmp(puser->device, *device_r) != 0) {
		client_send_tagline(cmd,
			"NO [CANNOT] This session is another device's.");
		return FALSE;
	}
	if (*notif_id_r != NULL && !pimap_pref_text_is_valid(*notif_id_r)) {
		client_send_command_error(cmd,
			"The registration is too long or isn't text.");
		return FALSE;
	}
	return TRUE;
}

/* Makes the device, and keeps what it registers with. Returns FALSE if it
   answered the command. */
static bool
xprovision_set_device(struct client_command_context *cmd,
		      struct pimap_user *puser, const char *id,
		      const char *notif_id)
{
	struct pimap_user_change change;
	struct pimap_device *device;
	const char *error;

	if (pimap_user_change_begin(puser, &change, &error) < 0) {
		imap_pimap_cmd_internal_error(cmd, error);
		return FALSE;
	}
	device = pimap_profile_find_device(change.profile, id);
	if (device != NULL &&
	    (notif_id == NULL ||
	     null_strcmp(pimap_device_get_pref(device, PIMAP_PREF_NOTIF_ID),
			 notif_id) == 0)) {
		/* as it is already */
		pimap_user_change_rollback(&change);
		return TRUE;
	}
	device = pimap_user_change_get_device(&change, id,
					      puser->defaults.mode);
	if (device == NULL) {
		pimap_user_change_rollback(&change);
		imap_pimap_cmd_limit(cmd, "Too many devices");
		return FALSE;
	}
	if (notif_id != NULL) {
		pimap_device_set_pref(change.profile, device,
				      PIMAP_PREF_NOTIF_ID, notif_id);
	}
	return imap_pimap_cmd_commit(cmd, &change);
}

bool cmd_xprovision(struct client_command_context *cmd)
{
	struct pimap_user *puser;
	const struct pimap_profile *profile;
	const struct imap_arg *args;
	const char *id, *notif_id, *error;
	string_t *folders = t_str_new(256);

	if (!client_read_args(cmd, 0, 0, &args))
		return FALSE;
	imap_pimap_cmd_hide_args(cmd);
	if (!imap_pimap_cmd_check_args(cmd, args))
		return TRUE;
	if ((puser = imap_pimap_cmd_get_user(cmd)) == NULL ||
	    !xprovision_get_device(cmd, puser, args, &id, &notif_id))
		return TRUE;
	if (xprovision_append_folders(puser, folders) < 0) {
		client_send_tagline(cmd,
			"NO [UNAVAILABLE] The folders can't be listed now.");
		return TRUE;
	}
	if (!xprovision_set_device(cmd, puser, id, notif_id))
		return TRUE;
	if (pimap_user_get_profile(puser, &profile, &error) < 0) {
		imap_pimap_cmd_internal_error(cmd, error);
		return TRUE;
	}
	xprovision_send_all(cmd->client, puser, profile, id, str_c(folders));
	client_send_tagline(cmd, "OK XPROVISION completed");
	return TRUE;
}
