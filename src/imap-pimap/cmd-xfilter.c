/* SPDX-License-Identifier: LGPL-2.1-only */
/* XFILTER GET, SET, DELETE (draft 5.2.3, R-6) */

#include "imap-common.h"
#include "charset-utf8.h"
#include "str.h"
#include "imap-arg.h"
#include "imap-commands.h"
#include "imap-quote.h"
#include "pimap-compat.h"
#include "pimap-criteria.h"
#include "pimap-user.h"
#include "imap-pimap-plugin.h"

/* The charset of a command's strings: an unquoted CHARSET begins one.
   Returns FALSE if it answered the command. */
static bool
xfilter_get_charset(struct client_command_context *cmd,
		    const struct imap_arg **args, const char **charset_r)
{
	*charset_r = "UTF-8";
	if ((*args)[0].type != IMAP_ARG_ATOM ||
	    !imap_arg_atom_equals(&(*args)[0], "CHARSET"))
		return TRUE;
	if (!imap_arg_get_astring(&(*args)[1], charset_r)) {
		client_send_command_error(cmd, "CHARSET needs a charset.");
		return FALSE;
	}
	if (!pimap_criteria_charset_is_known(*charset_r)) {
		client_send_tagline(cmd,
			"NO [BADCHARSET (UTF-8 US-ASCII)] Unknown charset.");
		return FALSE;
	}
	*args += 2;
	return TRUE;
}

/* Returns NULL if str isn't valid in its charset. */
static const char *xfilter_to_utf8(const char *str, const char *charset)
{
	string_t *utf8 = t_str_new(64);
	enum charset_result result;

	if (charset_to_utf8_str(charset, NULL, str, utf8, &result) < 0 ||
	    result != CHARSET_RET_OK)
		return NULL;
	return str_c(utf8);
}

static bool
xfilter_get_name(struct pimap_user *puser, const struct imap_arg *arg,
		 const char *charset, struct pimap_filter_ref *ref_r)
{
	const char *name;

	if (!imap_arg_get_astring(arg, &name) ||
	    (name = xfilter_to_utf8(name, charset)) == NULL ||
	    !pimap_filter_ref_parse(name, ref_r))
		return FALSE;
	pimap_user_find_filter(puser, ref_r);
	return TRUE;
}

/* Returns NULL, desc_r and criteria_r, or what the command is answered if there
   is no such filter. */
static const char *
xfilter_find(const struct pimap_user *puser,
	     const struct pimap_profile *profile,
	     const struct pimap_filter_ref *ref,
	     const char **desc_r, const char **criteria_r)
{
	const struct pimap_filter *filter;

	*desc_r = *criteria_r = NULL;
	switch (ref->kind) {
	case PIMAP_FILTER_DEFAULT:
		return "NO [CANNOT] DEFAULT has no criteria of its own.";
	case PIMAP_FILTER_ALL:
		*criteria_r = PIMAP_CRITERIA_ALL;
		break;
	case PIMAP_FILTER_NONE:
		*criteria_r = PIMAP_CRITERIA_NONE;
		break;
	case PIMAP_FILTER_SYSTEM:
		*criteria_r = pimap_user_find_system_filter(puser,
						ref->name)->criteria;
		break;
	case PIMAP_FILTER_NAMED:
		filter = pimap_profile_find_filter(profile, ref->name);
		if (filter == NULL)
			return "NO [NONEXISTENT] There is no such filter.";
		*desc_r = filter->desc;
		*criteria_r = filter->criteria;
		break;
	}
	return NULL;
}

static bool
xfilter_get(struct client_command_context *cmd, struct pimap_user *puser,
	    const struct imap_arg *args)
{
	const struct pimap_profile *profile;
	const struct imap_arg *attrs;
	struct pimap_filter_ref ref;
	const char *charset, *desc, *criteria, *error;
	bool want_desc = FALSE, want_criteria = FALSE;
	string_t *str;

	if (!xfilter_get_charset(cmd, &args, &charset))
		return TRUE;
	if (!xfilter_get_name(puser, &args[0], charset, &ref) ||
	    !imap_arg_get_list(&args[1], &attrs) || IMAP_ARG_IS_EOL(attrs) ||
	    !IMAP_ARG_IS_EOL(&args[2])) {
		client_send_command_error(cmd,
			"XFILTER GET needs a name and (DESC CRITERIA).");
		return TRUE;
	}
	for (; !IMAP_ARG_IS_EOL(attrs); attrs++) {
		if (imap_arg_atom_equals(attrs, "DESC"))
			want_desc = TRUE;
		else if (imap_arg_atom_equals(attrs, "CRITERIA"))
			want_criteria = TRUE;
		else {
			client_send_command_error(cmd,
				"A filter has only DESC and CRITERIA.");
			return TRUE;
		}
	}
	if (pimap_user_get_profile(puser, &profile, &error) < 0) {
		imap_pimap_cmd_internal_error(cmd, error);
		return TRUE;
	}
	error = xfilter_find(puser, profile, &ref, &desc, &criteria);
	if (error != NULL) {
		client_send_tagline(cmd, error);
		return TRUE;
	}
	str = t_str_new(256);
	str_append(str, "* XFILTER ");
	pimap_imap_append_astring(str, pimap_filter_ref_name(&ref));
	str_append(str, " (");
	if (want_desc) {
		str_append(str, "DESC ");
		pimap_imap_append_nstring(str, desc);
	}
	if (want_criteria) {
		str_printfa(str, "%sCRITERIA (%s)", want_desc ? " " : "",
			    criteria);
	}
	str_append_c(str, ')');
	client_send_line(cmd->client, str_c(str));
	client_send_tagline(cmd, "OK XFILTER completed");
	return TRUE;
}

static bool
xfilter_set(struct client_command_context *cmd, struct pimap_user *puser,
	    const struct imap_arg *args)
{
	struct pimap_user_change change;
	const struct imap_arg *keys;
	struct pimap_filter_ref ref;
	const char *charset, *desc, *error;
	string_t *criteria = t_str_new(256);

	if (!xfilter_get_charset(cmd, &args, &charset))
		return TRUE;
	if (!xfilter_get_name(puser, &args[0], charset, &ref) ||
	    !imap_arg_get_nstring(&args[1], &desc) ||
	    !imap_arg_get_list(&args[2], &keys) ||
	    !IMAP_ARG_IS_EOL(&args[3])) {
		client_send_command_error(cmd, "XFILTER SET needs a name, "
			"a description and (search keys).");
		return TRUE;
	}
	if (desc != NULL &&
	    ((desc = xfilter_to_utf8(desc, charset)) == NULL ||
	     !pimap_filter_desc_is_valid(desc))) {
		client_send_command_error(cmd, "The description is too long "
					  "or isn't valid in its charset.");
		return TRUE;
	}
	if (ref.kind != PIMAP_FILTER_NAMED) {
		client_send_tagline(cmd,
			"NO [CANNOT] The system's filters can't be changed.");
		return TRUE;
	}
	switch (pimap_criteria_parse(puser->set, keys, charset, criteria, &error)) {
	case PIMAP_CRITERIA_OK:
		break;
	case PIMAP_CRITERIA_INVALID:
		client_send_command_error(cmd, error);
		return TRUE;
	case PIMAP_CRITERIA_UNKNOWN_CHARSET:
		client_send_tagline(cmd,
			"NO [BADCHARSET (UTF-8 US-ASCII)] Unknown charset.");
		return TRUE;
	case PIMAP_CRITERIA_TOO_LARGE:
		imap_pimap_cmd_limit(cmd, error);
		return TRUE;
	}
	if (pimap_user_change_begin(puser, &change, &error) < 0) {
		imap_pimap_cmd_internal_error(cmd, error);
		return TRUE;
	}
	if (!pimap_user_change_set_filter(&change, ref.name, desc,
					  str_c(criteria))) {
		pimap_user_change_rollback(&change);
		imap_pimap_cmd_limit(cmd, "Too many filters");
		return TRUE;
	}
	if (imap_pimap_cmd_commit(cmd, &change))
		client_send_tagline(cmd, "OK XFILTER completed");
	return TRUE;
}

static bool
xfilter_delete(struct client_command_context *cmd, struct pimap_user *puser,
	       const struct imap_arg *args)
{
	struct pimap_user_change change;
	struct pimap_filter_ref ref;
	const char *error, *reply = NULL;

	if (!xfilter_get_name(puser, &args[0], "UTF-8", &ref) ||
	    !IMAP_ARG_IS_EOL(&args[1])) {
		client_send_command_error(cmd, "XFILTER DELETE needs a name.");
		return TRUE;
	}
	if (ref.kind != PIMAP_FILTER_NAMED) {
		client_send_tagline(cmd,
			"NO [CANNOT] The system's filters can't be deleted.");
		return TRUE;
	}
	if (pimap_user_change_begin(puser, &change, &error) < 0) {
		imap_pimap_cmd_internal_error(cmd, error);
		return TRUE;
	}
	if (pimap_user_change_filter_is_used(&change, ref.name))
		reply = "NO [INUSE] A device uses the filter.";
	else if (!pimap_profile_delete_filter(change.profile, ref.name))
		reply = "NO [NONEXISTENT] There is no such filter.";
	if (reply != NULL) {
		pimap_user_change_rollback(&change);
		client_send_tagline(cmd, reply);
		return TRUE;
	}
	if (imap_pimap_cmd_commit(cmd, &change))
		client_send_tagline(cmd, "OK XFILTER completed");
	return TRUE;
}

bool cmd_xfilter(struct client_command_context *cmd)
{
	struct pimap_user *puser;
	const struct imap_arg *args;

	if (!client_read_args(cmd, 0, 0, &args))
		return FALSE;
	if (!imap_pimap_cmd_check_args(cmd, args))
		return TRUE;
	puser = imap_pimap_cmd_get_device_user(cmd);
	if (puser == NULL)
		return TRUE;
	if (imap_arg_atom_equals(&args[0], "GET"))
		return xfilter_get(cmd, puser, args + 1);
	if (imap_arg_atom_equals(&args[0], "SET"))
		return xfilter_set(cmd, puser, args + 1);
	if (imap_arg_atom_equals(&args[0], "DELETE"))
		return xfilter_delete(cmd, puser, args + 1);
	client_send_command_error(cmd, "XFILTER takes GET, SET or DELETE.");
	return TRUE;
}
