/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap filter */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "imap-quote.h"
#include "pimap-compat.h"
#include "pimap-criteria.h"
#include "doveadm-print.h"
#include "doveadm-pimap.h"

static int
filter_list_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	const struct pimap_profile *profile;
	const struct pimap_filter *filter;
	const struct pimap_system_filter *system_filter;

	if (doveadm_pimap_get_profile(cmd, user, &profile) < 0)
		return -1;
	array_foreach(&pimap_user_get(user)->system_filters, system_filter) {
		doveadm_print(system_filter->name);
		doveadm_print("system");
		doveadm_print("");
	}
	array_foreach(&profile->filters, filter) {
		doveadm_print(filter->name);
		doveadm_print(pimap_profile_filter_is_used(profile,
			filter->name) ? "yes" : "no");
		doveadm_pimap_print_text(filter->desc);
	}
	return 0;
}

static void filter_list_headers(void)
{
	doveadm_print_header_simple("filter");
	doveadm_print_header_simple("used");
	doveadm_print_header("description", "description",
			     DOVEADM_PRINT_HEADER_FLAG_EXPAND);
}

static struct doveadm_mail_cmd_context *filter_list_alloc(void)
{
	return doveadm_pimap_cmd_alloc(filter_list_run, filter_list_headers,
				       DOVEADM_PRINT_TYPE_TABLE);
}

/* Returns 0 and the name of a filter that the user may have. */
static int
filter_get_name(struct doveadm_pimap_cmd *cmd, const char **name_r)
{
	struct pimap_filter_ref ref;

	if (cmd->filter == NULL || !pimap_filter_ref_parse(cmd->filter, &ref))
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
			"That can't be the name of a filter");
	if (ref.kind != PIMAP_FILTER_NAMED)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_NOTPOSSIBLE,
			"ALL, NONE and DEFAULT are the system's");
	*name_r = ref.name;
	return 0;
}

/* Ends the change and returns -1 if the filter is the configuration's. */
static int
filter_check_change(struct doveadm_pimap_cmd *cmd,
		    struct pimap_user_change *change, const char *name)
{
	if (pimap_user_find_system_filter(change->puser, name) == NULL)
		return 0;
	return doveadm_pimap_change_fail(cmd, change, MAIL_ERROR_NOTPOSSIBLE,
		"The filter is the system's: it is set in the configuration");
}

static int
filter_show_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	const struct pimap_profile *profile;
	const struct pimap_filter *filter;
	const struct pimap_system_filter *system_filter;
	const char *name;

	if (filter_get_name(cmd, &name) < 0 ||
	    doveadm_pimap_get_profile(cmd, user, &profile) < 0)
		return -1;
	system_filter = pimap_user_find_system_filter(pimap_user_get(user), name);
	if (system_filter != NULL) {
		doveadm_print(name);
		doveadm_print("");
		doveadm_pimap_print_text(system_filter->criteria);
		return 0;
	}
	filter = pimap_profile_find_filter(profile, name);
	if (filter == NULL)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_NOTFOUND,
					  "There is no such filter");
	doveadm_print(filter->name);
	doveadm_pimap_print_text(filter->desc);
	doveadm_pimap_print_text(filter->criteria);
	return 0;
}

static void filter_show_headers(void)
{
	doveadm_print_header_simple("filter");
	doveadm_print_header_simple("description");
	doveadm_print_header_simple("criteria");
}

static struct doveadm_mail_cmd_context *filter_show_alloc(void)
{
	return doveadm_pimap_cmd_alloc(filter_show_run, filter_show_headers,
				       DOVEADM_PRINT_TYPE_PAGER);
}

/* The search keys as a line of IMAP. One argument is such a line. Of several each
   is one word, as in doveadm search: blanks in it, quotes, whatever it is, are the
   word's. Joined by blanks, SUBJECT "not seen" would be SUBJECT not, and SEEN. */
static int filter_get_line(struct doveadm_pimap_cmd *cmd, const char **line_r)
{
	const char *const *words = cmd->words;
	string_t *line;

	if (words == NULL || words[0] == NULL)
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
					  "Missing search keys");
	if (words[1] == NULL) {
		*line_r = words[0];
		return 0;
	}
	line = t_str_new(256);
	for (; *words != NULL; words++) {
		/* the shell's quotes are enough: who writes IMAP's too would be
		   looking for quotes */
		if (**words == '"') {
			return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
				t_strdup_printf("%s: Search keys with quotes of "
					"IMAP must be one argument as a whole",
					*words));
		}
		if (str_len(line) > 0)
			str_append_c(line, ' ');
		if (strcmp(*words, "(") == 0 || strcmp(*words, ")") == 0)
			str_append(line, *words);
		else
			pimap_imap_append_astring(line, *words);
	}
	*line_r = str_c(line);
	return 0;
}

static int
filter_set_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	struct pimap_user_change change;
	const char *name, *line = NULL, *error;
	string_t *criteria = t_str_new(256);

	if (filter_get_name(cmd, &name) < 0 ||
	    filter_get_line(cmd, &line) < 0)
		return -1;
	if (!pimap_filter_desc_is_valid(cmd->desc))
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
			"The description is too long or isn't UTF-8");
	if (doveadm_pimap_change_begin(cmd, user, &change) < 0 ||
	    filter_check_change(cmd, &change, name) < 0)
		return -1;
	if (pimap_criteria_parse_line(change.puser->set, line, criteria,
				      &error) != PIMAP_CRITERIA_OK)
		return doveadm_pimap_change_fail(cmd, &change,
						 MAIL_ERROR_PARAMS, error);
	if (!pimap_user_change_set_filter(&change, name, cmd->desc,
					  str_c(criteria)))
		return doveadm_pimap_change_fail(cmd, &change,
			MAIL_ERROR_LIMIT, "Too many filters");
	return doveadm_pimap_change_commit(cmd, &change);
}

static struct doveadm_mail_cmd_context *filter_set_alloc(void)
{
	return doveadm_pimap_cmd_alloc(filter_set_run, NULL, NULL);
}

static int
filter_delete_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	struct pimap_user_change change;
	const char *name;

	if (filter_get_name(cmd, &name) < 0 ||
	    doveadm_pimap_change_begin(cmd, user, &change) < 0 ||
	    filter_check_change(cmd, &change, name) < 0)
		return -1;
	if (pimap_user_change_filter_is_used(&change, name))
		return doveadm_pimap_change_fail(cmd, &change,
			MAIL_ERROR_INUSE, "A device uses the filter");
	if (!pimap_profile_delete_filter(change.profile, name))
		return doveadm_pimap_change_fail(cmd, &change,
			MAIL_ERROR_NOTFOUND, "There is no such filter");
	return doveadm_pimap_change_commit(cmd, &change);
}

static struct doveadm_mail_cmd_context *filter_delete_alloc(void)
{
	return doveadm_pimap_cmd_alloc(filter_delete_run, NULL, NULL);
}

DOVEADM_PIMAP_CMD(filter_list, "filter list", "");

DOVEADM_PIMAP_CMD(filter_show, "filter show", "<filter>",
	DOVEADM_PIMAP_ARG("filter", CMD_PARAM_STR));

DOVEADM_PIMAP_CMD(filter_set, "filter set",
	"[-d <description>] <filter> <search key> [<search key> ...]",
	DOVEADM_CMD_PARAM('d', "description", CMD_PARAM_STR, 0)
	DOVEADM_PIMAP_ARG("filter", CMD_PARAM_STR)
	DOVEADM_PIMAP_ARG("words", CMD_PARAM_ARRAY));

DOVEADM_PIMAP_CMD(filter_delete, "filter delete", "<filter>",
	DOVEADM_PIMAP_ARG("filter", CMD_PARAM_STR));
