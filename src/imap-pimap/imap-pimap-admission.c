/* SPDX-License-Identifier: LGPL-2.1-only */
/* What is off in device sessions: see imap-pimap-admission.h.

   A command that is off as a whole has its function replaced. One that is off
   only with some arguments gets a function that looks at them first, and then
   goes on with the command's own: the parser gives out the same arguments
   again. What is shown to be tight gets into the tables. */

#include "imap-common.h"
#include "str.h"
#include "imap-arg.h"
#include "imap-commands.h"
#include "mail-search.h"
#include "mail-search-build.h"
#include "mail-search-parser.h"
#include "mail-search-register.h"
#include "pimap-compat.h"
#include "imap-pimap-admission.h"
#include "imap-pimap-vanished.h"

#include <ctype.h>

/* What a device session has; what another plugin or a newer Dovecot adds is off
   until it has been looked at. */
static const char *const capabilities[] = {
	"IMAP4rev1", "SASL-IR", "LOGIN-REFERRALS", "ID", "ENABLE", "IDLE",
	"SORT", "SORT=DISPLAY", "THREAD=REFERENCES", "THREAD=REFS",
	"THREAD=ORDEREDSUBJECT", "MULTIAPPEND", "URL-PARTIAL", "CATENATE",
	"UNSELECT", "CHILDREN", "NAMESPACE", "UIDPLUS", "LIST-EXTENDED",
	"I18NLEVEL=1", "ESEARCH", "ESORT", "WITHIN", "LIST-STATUS", "BINARY",
	"MOVE", "SNIPPET=FUZZY", "PREVIEW=FUZZY", "PREVIEW", "STATUS=SIZE",
	"SAVEDATE", "LITERAL+", "LITERAL-", "SEARCH=FUZZY", "SPECIAL-USE",
	"CONDSTORE", "QRESYNC",
	"COMPRESS=DEFLATE", "INPROGRESS", "REPLACE", "ACL", "QUOTA",
	"QUOTASET",
	"XFILTER", "XPIMAPPREF", "XPROVISION", NULL
};
static const char *const capability_prefixes[] = {
	"AUTH=", "QUOTA=", "RIGHTS=", NULL
};

static const char *const commands[] = {
	"CAPABILITY", "NOOP", "LOGOUT", "ID", "ENABLE",
	"SELECT", "EXAMINE", "CREATE", "DELETE", "RENAME", "SUBSCRIBE",
	"UNSUBSCRIBE", "LIST", "LSUB", "XLIST", "NAMESPACE", "STATUS",
	"APPEND", "CHECK", "CLOSE", "UNSELECT", "EXPUNGE", "UID EXPUNGE",
	"SEARCH", "UID SEARCH", "SORT", "UID SORT", "THREAD", "UID THREAD",
	"FETCH", "UID FETCH", "STORE", "UID STORE", "COPY", "UID COPY",
	"MOVE", "UID MOVE", "REPLACE", "UID REPLACE", "IDLE", "COMPRESS",
	"GETQUOTA", "GETQUOTAROOT", "SETQUOTA",
	"GETACL", "SETACL", "DELETEACL", "LISTRIGHTS", "MYRIGHTS",
	"XFILTER", "XPROVISION", "XSETPIMAPPREF", "XGETPIMAPPREFS",
	"XGETPIMAPPREF", NULL
};

/* Parts of those commands that it doesn't have */
static const char *const off_search_returns[] = {
	"SAVE", "UPDATE", "CONTEXT", "PARTIAL", NULL
};

/* These return the word that is off, or NULL. */
typedef const char *
admission_check_t(struct client *client, const struct imap_arg *args);

static const char *
find_off(const struct imap_arg *args, const char *const *words)
{
	const char *atom;

	for (; !IMAP_ARG_IS_EOL(args); args++) {
		if (imap_arg_get_atom(args, &atom) &&
		    str_array_icase_find(words, atom))
			return t_str_ucase(atom);
	}
	return NULL;
}

static const char *
find_off_in_list(const struct imap_arg *arg, const char *const *words)
{
	const struct imap_arg *list;

	return imap_arg_get_list(arg, &list) ? find_off(list, words) : NULL;
}

/* SEARCHRES: the saved result as a set of messages */
static const char *find_searchres(const struct imap_arg *arg)
{
	const char *set;

	return imap_arg_get_astring(arg, &set) && strcmp(set, "$") == 0 ?
		"$" : NULL;
}

/* A mailbox that is selected may not keep account of modseqs; RFC 5161 doesn't
   allow ENABLE there anyway. */
static const char *
check_enable(struct client *client, const struct imap_arg *args)
{
	static const char *const words[] = { "CONDSTORE", "QRESYNC", NULL };
	const char *word;

	if (client->mailbox == NULL || (word = find_off(args, words)) == NULL)
		return NULL;
	return t_strdup_printf("ENABLE %s while a mailbox is selected", word);
}

/* Only its arguments are of interest (imap-pimap-vanished.h). */
static const char *
check_nothing(struct client *client ATTR_UNUSED,
	      const struct imap_arg *args ATTR_UNUSED)
{
	return NULL;
}

static const char *
check_set(struct client *client ATTR_UNUSED, const struct imap_arg *args)
{
	return find_searchres(&args[0]);
}

static const char *find_off_key(const struct mail_search_arg *arg)
{
	const char *word = NULL;

	for (; arg != NULL && word == NULL; arg = arg->next) {
		switch (arg->type) {
		case SEARCH_UIDSET:
			if (strcmp(arg->value.str, "$") == 0)
				word = "$";
			break;
		case SEARCH_OR:
		case SEARCH_SUB:
		case SEARCH_INTHREAD:
			word = find_off_key(arg->value.subargs);
			break;
		default:
			break;
		}
	}
	return word;
}

/* Only parsing tells a key from a string that looks like one. */
static const char *
check_keys(const struct imap_arg *args, const char *charset)
{
	struct mail_search_parser *parser;
	struct mail_search_args *sargs;
	const char *error, *word = NULL;

	if (IMAP_ARG_IS_EOL(args))
		return NULL;
	parser = mail_search_parser_init_imap(args);
	if (mail_search_build(pimap_search_register_get_imap(), parser,
			      &charset, &sargs, &error) == 0) {
		word = find_off_key(sargs->args);
		mail_search_args_unref(&sargs);
	}
	mail_search_parser_deinit(&parser);
	return word;
}

static const char *check_search_return(const struct imap_arg **args)
{
	const char *word;

	if (!imap_arg_atom_equals(&(*args)[0], "RETURN"))
		return NULL;
	word = find_off_in_list(&(*args)[1], off_search_returns);
	if (!IMAP_ARG_IS_EOL(&(*args)[1]))
		*args += 2;
	return word;
}

static const char *
check_search(struct client *client ATTR_UNUSED, const struct imap_arg *args)
{
	const char *word, *charset = "UTF-8";

	word = check_search_return(&args);
	if (imap_arg_atom_equals(&args[0], "CHARSET") &&
	    imap_arg_get_astring(&args[1], &charset))
		args += 2;
	return word != NULL ? word : check_keys(args, charset);
}

static const char *
check_sort(struct client *client ATTR_UNUSED, const struct imap_arg *args)
{
	const char *word, *charset;

	word = check_search_return(&args);
	if (word != NULL || IMAP_ARG_IS_EOL(&args[0]) ||
	    !imap_arg_get_astring(&args[1], &charset))
		return word;
	return check_keys(args + 2, charset);
}

static const struct {
	const char *command;
	admission_check_t *check;
} admission_checks[] = {
	{ "ENABLE", check_enable },
	{ "SELECT", check_nothing },
	{ "EXAMINE", check_nothing },
	{ "FETCH", check_set },
	{ "UID FETCH", check_set },
	{ "STORE", check_set },
	{ "UID STORE", check_set },
	{ "COPY", check_set },
	{ "UID COPY", check_set },
	{ "MOVE", check_set },
	{ "UID MOVE", check_set },
	{ "UID EXPUNGE", check_set },
	{ "SEARCH", check_search },
	{ "UID SEARCH", check_search },
	{ "SORT", check_sort },
	{ "UID SORT", check_sort },
	/* the algorithm stands where SORT has its list */
	{ "THREAD", check_sort },
	{ "UID THREAD", check_sort },
};

static bool
admission_refuse(struct client_command_context *cmd, const char *what)
{
	client_send_command_error(cmd, t_strdup_printf(
		"%s isn't available in a device session.", what));
	return TRUE;
}

static bool cmd_off(struct client_command_context *cmd)
{
	const struct imap_arg *args;

	if (!client_read_args(cmd, 0, 0, &args))
		return FALSE;
	return admission_refuse(cmd, cmd->name);
}

static admission_check_t *admission_find_check(const char *name)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(admission_checks); i++) {
		if (admission_checks[i].command[0] == i_toupper(name[0]) &&
		    strcasecmp(admission_checks[i].command, name) == 0)
			return admission_checks[i].check;
	}
	return NULL;
}

static bool cmd_checked(struct client_command_context *cmd)
{
	const struct imap_arg *args;
	const char *word;

	if (!client_read_args(cmd, 0, 0, &args))
		return FALSE;
	word = admission_find_check(cmd->name)(cmd->client, args);
	if (word != NULL)
		return admission_refuse(cmd, word);
	cmd->func = command_find(cmd->name)->func;
	return imap_pimap_vanished_run(cmd, args);
}

void imap_pimap_admission_command(struct client_command_context *cmd)
{
	const struct command *command;

	/* not where the command's function has put another in its place, to go
	   on with later */
	if (cmd->name == NULL || (command = command_find(cmd->name)) == NULL ||
	    cmd->func != command->func)
		return;
	if (!str_array_icase_find(commands, cmd->name))
		cmd->func = cmd_off;
	else if (admission_find_check(cmd->name) != NULL)
		cmd->func = cmd_checked;
}

static bool capability_is_admitted(const char *word)
{
	const char *const *prefix;

	for (prefix = capability_prefixes; *prefix != NULL; prefix++) {
		if (strncasecmp(word, *prefix, strlen(*prefix)) == 0)
			return TRUE;
	}
	return str_array_icase_find(capabilities, word);
}

void imap_pimap_admission_capability(struct client *client)
{
	const char *const *words =
		t_strsplit_spaces(str_c(client->capability_string), " ");

	str_truncate(client->capability_string, 0);
	for (; *words != NULL; words++) {
		if (!capability_is_admitted(*words))
			continue;
		if (str_len(client->capability_string) > 0)
			str_append_c(client->capability_string, ' ');
		str_append(client->capability_string, *words);
	}
}
