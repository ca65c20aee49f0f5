/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap view: what a device sees in a folder, and what keeps a message
   from it.

   The folder is opened twice: as the device's session opens it, with the same view
   but without its cache, and as it is. What only the second one has is hidden, and
   is searched for by each of the filter's search keys alone. Nothing is changed:
   both are read-only, and nothing of the view is kept. */

#include "lib.h"
#include "array.h"
#include "seq-range-array.h"
#include "str.h"
#include "unichar.h"
#include "imap-seqset.h"
#include "imap-util.h"
#include "mail-namespace.h"
#include "mail-search.h"
#include "mail-search-build.h"
#include "mail-search-parser.h"
#include "mail-search-register.h"
#include "mail-storage-hooks.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "pimap-compat.h"
#include "pimap-criteria.h"
#include "pimap-folder.h"
#include "pimap-scope.h"
#include "pimap-view.h"
#include "doveadm-print.h"
#include "doveadm-pimap.h"

/* One of the search keys that must all match */
struct view_key {
	const char *text;
	/* of the hidden messages: those that it matches, and those of which it
	   can't be known */
	ARRAY_TYPE(seq_range) matches, unknown;
};

struct view_show {
	struct doveadm_pimap_cmd *cmd;
	struct pimap_user *puser;
	/* as it is */
	struct mailbox *box;
	/* NULL: all is shown */
	const char *criteria;
	ARRAY(struct view_key) keys;
	/* what the device sees; what is asked for, and of that what it doesn't */
	ARRAY_TYPE(seq_range) shown, found, hidden;
};

/* Mailboxes that are allocated now get the view of his device. */
static struct pimap_user *view_user = NULL;

static void view_mailbox_allocated_scope(struct mailbox *box)
{
	if (view_user != NULL && view_user->user == box->storage->user)
		pimap_scope_mailbox_allocated(box);
}

static void view_mailbox_allocated_view(struct mailbox *box)
{
	struct pimap_view_settings set;

	if (view_user == NULL || view_user->user != box->storage->user ||
	    view_user->whole_depth > 0)
		return;
	/* no cache_name: the cache is neither read nor written */
	i_zero(&set);
	set.lookup = pimap_scope_get_view_filter;
	set.zone = view_user->set->pimap_timezone;
	pimap_view_attach(box, &set);
}

static const struct mail_storage_hooks view_hooks[] = {
	{ .mailbox_allocated = view_mailbox_allocated_scope },
	{ .mailbox_allocated = view_mailbox_allocated_view },
};

/* Only while the command runs: doveadm's modules are loaded before there is a
   mail storage, and unloaded after it. */
static bool view_hooked = FALSE;

static void view_hook(void)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(view_hooks); i++) {
		mail_storage_hooks_add_forced(doveadm_pimap_module,
					      &view_hooks[i]);
	}
	view_hooked = TRUE;
}

static void
view_show_deinit(struct doveadm_mail_cmd_context *ctx ATTR_UNUSED)
{
	unsigned int i;

	if (!view_hooked)
		return;
	for (i = N_ELEMENTS(view_hooks); i > 0; i--)
		mail_storage_hooks_remove(&view_hooks[i-1]);
	view_hooked = FALSE;
}

static int view_box_failed(struct doveadm_pimap_cmd *cmd, struct mailbox *box)
{
	i_error("pimap: Folder %s: %s", mailbox_get_vname(box),
		mailbox_get_last_internal_error(box, NULL));
	doveadm_mail_failed_mailbox(&cmd->ctx, box);
	return -1;
}

static void view_set_uids(struct mail_search_arg *arg, pool_t pool,
			  const ARRAY_TYPE(seq_range) *uids)
{
	p_array_init(&arg->value.seqset, pool, array_count(uids) + 1);
	array_append_array(&arg->value.seqset, uids);
}

static struct mail_search_args *view_args_uids(const ARRAY_TYPE(seq_range) *uids)
{
	struct mail_search_args *args = mail_search_build_init();

	view_set_uids(mail_search_build_add(args, SEARCH_UIDSET), args->pool,
		      uids);
	return args;
}

/* Adds what is found. Returns 0 if some message couldn't be read, -1 on other
   failures; the mailbox has the error. */
static int
view_search(struct mailbox *box, struct mail_search_args *args,
	    ARRAY_TYPE(seq_range) *uids)
{
	struct mailbox_transaction_context *trans;
	struct mail_search_context *search_ctx;
	struct mail *mail;
	int ret = 1;

	mail_search_args_init(args, box, TRUE, NULL);
	trans = mailbox_transaction_begin(box, 0, __func__);
	search_ctx = mailbox_search_init(trans, args, NULL, 0, NULL);
	pimap_mailbox_search_hide_progress(search_ctx);
	while (mailbox_search_next(search_ctx, &mail))
		seq_range_array_add(uids, mail->uid);
	if (mailbox_search_deinit(&search_ctx) < 0)
		ret = 0;
	mail_search_args_deinit(args);
	if (mailbox_transaction_commit(&trans) < 0)
		ret = -1;
	return ret;
}

/* The folder as the device's session opens it */
static int view_get_shown(struct view_show *show, const char *vname)
{
	struct mail_namespace *ns =
		mail_namespace_find(show->puser->user->namespaces, vname);
	struct pimap_view_filter filter;
	struct mail_search_args *args;
	struct mailbox *box;
	int ret = 0;

	view_user = show->puser;
	box = mailbox_alloc(ns->list, vname, MAILBOX_FLAG_READONLY);
	view_user = NULL;
	if (mailbox_open(box) < 0 ||
	    mailbox_sync(box, MAILBOX_SYNC_FLAG_FULL_READ) < 0)
		ret = view_box_failed(show->cmd, box);
	else if (pimap_scope_get_view_filter(box, &filter) < 0) {
		doveadm_mail_failed_error(&show->cmd->ctx, MAIL_ERROR_TEMP);
		ret = -1;
	} else {
		show->criteria = t_strdup(filter.criteria);
		args = mail_search_build_init();
		mail_search_build_add_all(args);
		if (view_search(box, args, &show->shown) <= 0)
			ret = view_box_failed(show->cmd, box);
		mail_search_args_unref(&args);
	}
	mailbox_free(&box);
	return ret;
}

/* What is asked for: all that is shown, UIDs, or a query */
static int
view_build_query(struct view_show *show, struct mail_search_args **args_r)
{
	const char *const *words = show->cmd->words;
	struct mail_search_parser *parser;
	const char *error, *charset = "UTF-8";
	ARRAY_TYPE(seq_range) uids;
	int ret;

	t_array_init(&uids, 8);
	if (words == NULL)
		*args_r = view_args_uids(&show->shown);
	else if (words[1] == NULL && imap_seq_set_nostar_parse(words[0],
							&uids) == 0)
		*args_r = view_args_uids(&uids);
	else {
		parser = mail_search_parser_init_cmdline(words);
		ret = mail_search_build(mail_search_register_get_human(),
					parser, &charset, args_r, &error);
		mail_search_parser_deinit(&parser);
		if (ret < 0)
			return doveadm_pimap_fail(show->cmd, MAIL_ERROR_PARAMS,
						  error);
	}
	return 0;
}

static int view_get_found(struct view_show *show)
{
	struct mail_search_args *args = NULL;
	int ret;

	if (view_build_query(show, &args) < 0)
		return -1;
	ret = view_search(show->box, args, &show->found);
	mail_search_args_unref(&args);
	if (ret <= 0)
		return view_box_failed(show->cmd, show->box);
	if (array_count(&show->found) == 0 && show->cmd->words != NULL)
		return doveadm_pimap_fail(show->cmd, MAIL_ERROR_NOTFOUND,
					  "There is no such message");
	array_append_array(&show->hidden, &show->found);
	(void)seq_range_array_remove_seq_range(&show->hidden, &show->shown);
	return 0;
}

static int
view_key_search(struct view_show *show, const struct view_key *key,
		const ARRAY_TYPE(seq_range) *uids,
		ARRAY_TYPE(seq_range) *matches)
{
	struct pimap_criteria criteria;
	struct mail_search_arg *arg;
	const char *error;
	int ret;

	if (pimap_criteria_build(key->text, show->puser->set->pimap_timezone,
				 &criteria, &error) < 0)
		return doveadm_pimap_fail(show->cmd, MAIL_ERROR_TEMP, error);
	pimap_criteria_simplify(&criteria);
	arg = mail_search_build_add(criteria.args, SEARCH_UIDSET);
	view_set_uids(arg, criteria.args->pool, uids);
	ret = view_search(show->box, criteria.args, matches);
	if (ret < 0)
		(void)view_box_failed(show->cmd, show->box);
	pimap_criteria_free(&criteria);
	return ret;
}

/* The search of many messages doesn't tell which one it couldn't read. */
static int view_key_find_unknown(struct view_show *show, struct view_key *key)
{
	ARRAY_TYPE(seq_range) uids, matches;
	struct seq_range_iter iter;
	unsigned int n = 0;
	uint32_t uid;
	int ret = 1;

	t_array_init(&uids, 1);
	t_array_init(&matches, 1);
	seq_range_array_iter_init(&iter, &show->hidden);
	while (ret >= 0 && seq_range_array_iter_nth(&iter, n++, &uid)) {
		if (seq_range_exists(&key->matches, uid))
			continue;
		array_clear(&uids);
		array_clear(&matches);
		seq_range_array_add(&uids, uid);
		ret = view_key_search(show, key, &uids, &matches);
		if (ret == 0)
			seq_range_array_add(&key->unknown, uid);
	}
	return ret < 0 ? -1 : 0;
}

static int view_get_keys(struct view_show *show)
{
	ARRAY_TYPE(const_string) texts;
	struct view_key *key;
	const char *text, *error;
	int ret;

	if (array_count(&show->hidden) == 0 || show->criteria == NULL)
		return 0;
	t_array_init(&texts, 8);
	if (pimap_criteria_split(show->criteria, &texts, &error) < 0)
		return doveadm_pimap_fail(show->cmd, MAIL_ERROR_TEMP, error);
	array_foreach_elem(&texts, text) {
		key = array_append_space(&show->keys);
		key->text = text;
		t_array_init(&key->matches, 32);
		t_array_init(&key->unknown, 1);
		ret = view_key_search(show, key, &show->hidden, &key->matches);
		if (ret < 0 ||
		    (ret == 0 && view_key_find_unknown(show, key) < 0))
			return -1;
	}
	return 0;
}

static const char *view_get_why(const struct view_show *show, uint32_t uid)
{
	const struct view_key *key;
	string_t *why = t_str_new(128);

	array_foreach(&show->keys, key) {
		if (seq_range_exists(&key->matches, uid))
			continue;
		if (str_len(why) > 0)
			str_append(why, ", ");
		str_append(why, key->text);
		if (seq_range_exists(&key->unknown, uid))
			str_append(why, " (can't be read)");
	}
	/* it came, or its flags changed, between one look and the other */
	return str_len(why) > 0 ? str_c(why) : "changed just now";
}

static const char *view_get_flags(struct mail *mail)
{
	string_t *flags = t_str_new(64);

	imap_write_flags(flags, mail_get_flags(mail), mail_get_keywords(mail));
	return str_c(flags);
}

static int view_print(struct view_show *show)
{
	struct mailbox_transaction_context *trans;
	struct mail_search_context *search_ctx;
	struct mail_search_args *args = view_args_uids(&show->found);
	struct seq_range_iter iter;
	struct mail *mail;
	unsigned int number = 0;
	const char *subject;
	uint32_t uid;
	int ret = 0;

	mail_search_args_init(args, show->box, FALSE, NULL);
	seq_range_array_iter_init(&iter, &show->shown);
	trans = mailbox_transaction_begin(show->box, 0, __func__);
	search_ctx = mailbox_search_init(trans, args, NULL, MAIL_FETCH_FLAGS,
					 NULL);
	pimap_mailbox_search_hide_progress(search_ctx);
	while (mailbox_search_next(search_ctx, &mail)) T_BEGIN {
		doveadm_print_num(mail->uid);
		if (seq_range_exists(&show->hidden, mail->uid)) {
			doveadm_print("");
			doveadm_print("no");
			doveadm_pimap_print_text(view_get_why(show, mail->uid));
		} else {
			/* both rise */
			while (seq_range_array_iter_nth(&iter, number++, &uid) &&
			       uid < mail->uid) ;
			doveadm_print_num(number);
			doveadm_print("yes");
			doveadm_print("");
		}
		doveadm_print(view_get_flags(mail));
		if (mail_get_first_header_utf8(mail, "Subject", &subject) <= 0)
			subject = "";
		doveadm_pimap_print_text(subject);
	} T_END;
	if (mailbox_search_deinit(&search_ctx) < 0)
		ret = view_box_failed(show->cmd, show->box);
	mail_search_args_deinit(args);
	mail_search_args_unref(&args);
	if (mailbox_transaction_commit(&trans) < 0 && ret == 0)
		ret = view_box_failed(show->cmd, show->box);
	return ret;
}

static int view_show_folder(struct view_show *show)
{
	const char *vname = show->cmd->folder;
	struct mail_namespace *ns =
		mail_namespace_find(show->puser->user->namespaces, vname);
	int ret;

	if (view_get_shown(show, vname) < 0)
		return -1;
	show->box = mailbox_alloc(ns->list, vname, MAILBOX_FLAG_READONLY);
	if (mailbox_open(show->box) < 0 || mailbox_sync(show->box, 0) < 0)
		ret = view_box_failed(show->cmd, show->box);
	else if (view_get_found(show) < 0 || view_get_keys(show) < 0)
		ret = -1;
	else
		ret = view_print(show);
	mailbox_free(&show->box);
	return ret;
}

static int
view_show_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	const struct pimap_device *device;
	struct view_show show;
	const char *old_device;
	int ret;

	if (cmd->folder == NULL || !uni_utf8_str_is_valid(cmd->folder))
		return doveadm_pimap_fail(cmd, MAIL_ERROR_PARAMS,
			"A device and a folder, in UTF-8, are needed");
	if (doveadm_pimap_get_device(cmd, user, &device) < 0)
		return -1;
	i_zero(&show);
	show.cmd = cmd;
	show.puser = pimap_user_get(user);
	t_array_init(&show.keys, 8);
	t_array_init(&show.shown, 128);
	t_array_init(&show.found, 128);
	t_array_init(&show.hidden, 32);
	old_device = show.puser->device;
	show.puser->device = cmd->device;
	ret = view_show_folder(&show);
	show.puser->device = old_device;
	return ret;
}

static void view_show_headers(void)
{
	/* init(), before the user is made */
	view_hook();
	doveadm_print_header("uid", "uid", DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
	doveadm_print_header("number", "number",
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
	doveadm_print_header_simple("shown");
	doveadm_print_header_simple("why");
	doveadm_print_header_simple("flags");
	doveadm_print_header("subject", "subject",
			     DOVEADM_PRINT_HEADER_FLAG_EXPAND);
}

static struct doveadm_mail_cmd_context *view_show_alloc(void)
{
	struct doveadm_mail_cmd_context *ctx =
		doveadm_pimap_cmd_alloc(view_show_run, view_show_headers,
					DOVEADM_PRINT_TYPE_TABLE);

	ctx->v.deinit = view_show_deinit;
	return ctx;
}

DOVEADM_PIMAP_CMD(view_show, "view show",
	"<device> <folder> [<UIDs>|<search query>]",
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR)
	DOVEADM_PIMAP_ARG("folder", CMD_PARAM_STR)
	DOVEADM_PIMAP_ARG("words", CMD_PARAM_ARRAY));
