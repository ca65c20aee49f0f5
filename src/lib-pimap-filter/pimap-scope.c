/* SPDX-License-Identifier: LGPL-2.1-only */
/* Which mailboxes show a device's view: all that are opened in its session,
   whatever command does it or none, except those that Dovecot or another plugin
   opens for a purpose of its own and that have to be whole:

   - flag SAVEONLY: nothing is read from them
   - flag IGNORE_ACLS: storage rebuild, list index rebuild, autoexpunge
   - opened while another mailbox is opened: what a virtual mailbox consists of,
     whose index is all sessions'
   - opened while another mailbox is renamed: notify_status
   - opened while a mail is being saved, copied or committed: trash, lazy_expunge,
     imapsieve
   - opened by quota to count, at any moment, a timer's too: it tells the reason
   - opened within pimap_scope_whole_begin() and _end()

   A new case is added here, not where the mailbox is opened. */

#include "lib.h"
#include "hex-binary.h"
#include "sha1.h"
#include "mail-storage-private.h"
#include "mailbox-list-iter.h"
#include "mailbox-watch.h"
#include "pimap-folder.h"
#include "pimap-pref.h"
#include "pimap-user.h"
#include "pimap-view.h"
#include "pimap-view-cache.h"
#include "pimap-scope.h"

#define PIMAP_SCOPE_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, pimap_scope_module)

struct pimap_scope_box {
	union mailbox_module_context module_ctx;
	struct pimap_user *puser;
	enum mailbox_sync_flags sync_flags;
	/* empty as long as nothing has depended on it */
	guid_128_t guid;
};

static MODULE_CONTEXT_DEFINE_INIT(pimap_scope_module,
				  &mail_storage_module_register);

void pimap_scope_whole_begin(struct pimap_user *puser)
{
	puser->whole_depth++;
}

void pimap_scope_whole_end(struct pimap_user *puser)
{
	i_assert(puser->whole_depth > 0);
	puser->whole_depth--;
}

static int pimap_scope_open(struct mailbox *box)
{
	struct pimap_scope_box *sbox = PIMAP_SCOPE_CONTEXT_REQUIRE(box);
	int ret;

	pimap_scope_whole_begin(sbox->puser);
	ret = sbox->module_ctx.super.open(box);
	pimap_scope_whole_end(sbox->puser);
	return ret;
}

static int
pimap_scope_rename(struct mailbox *src, struct mailbox *dest)
{
	struct pimap_scope_box *sbox = PIMAP_SCOPE_CONTEXT_REQUIRE(src);
	int ret;

	pimap_scope_whole_begin(sbox->puser);
	ret = sbox->module_ctx.super.rename_box(src, dest);
	pimap_scope_whole_end(sbox->puser);
	return ret;
}

static int
pimap_scope_save_begin(struct mail_save_context *ctx, struct istream *input)
{
	struct pimap_scope_box *sbox =
		PIMAP_SCOPE_CONTEXT_REQUIRE(ctx->transaction->box);
	int ret;

	pimap_scope_whole_begin(sbox->puser);
	ret = sbox->module_ctx.super.save_begin(ctx, input);
	pimap_scope_whole_end(sbox->puser);
	return ret;
}

static int pimap_scope_save_finish(struct mail_save_context *ctx)
{
	struct pimap_scope_box *sbox =
		PIMAP_SCOPE_CONTEXT_REQUIRE(ctx->transaction->box);
	int ret;

	pimap_scope_whole_begin(sbox->puser);
	ret = sbox->module_ctx.super.save_finish(ctx);
	pimap_scope_whole_end(sbox->puser);
	return ret;
}

static int pimap_scope_copy(struct mail_save_context *ctx, struct mail *mail)
{
	struct pimap_scope_box *sbox =
		PIMAP_SCOPE_CONTEXT_REQUIRE(ctx->transaction->box);
	int ret;

	pimap_scope_whole_begin(sbox->puser);
	ret = sbox->module_ctx.super.copy(ctx, mail);
	pimap_scope_whole_end(sbox->puser);
	return ret;
}

static struct mailbox_sync_context *
pimap_scope_sync_init(struct mailbox *box, enum mailbox_sync_flags flags)
{
	struct pimap_scope_box *sbox = PIMAP_SCOPE_CONTEXT_REQUIRE(box);

	sbox->sync_flags = flags;
	return sbox->module_ctx.super.sync_init(box, flags);
}

/* Who waits for changes of a mailbox waits for those of its filter too
 */
static void pimap_scope_notify_changes(struct mailbox *box)
{
	struct pimap_scope_box *sbox = PIMAP_SCOPE_CONTEXT_REQUIRE(box);
	const char *const *paths;

	sbox->module_ctx.super.notify_changes(box);
	/* A storage that watches no files tells of changes in its own way, and
	   isn't hibernated: with a file it would be, and never wake. */
	if (box->notify_callback == NULL || box->notify_files == NULL)
		return;
	paths = pimap_user_get_watch_paths(sbox->puser);
	for (; *paths != NULL; paths++)
		mailbox_watch_add(box, *paths);
}

bool pimap_scope_synced_expunges(struct mailbox *box)
{
	struct pimap_scope_box *sbox = PIMAP_SCOPE_CONTEXT_REQUIRE(box);

	return (sbox->sync_flags & MAILBOX_SYNC_FLAG_NO_EXPUNGES) == 0;
}

static int
pimap_scope_transaction_commit(struct mailbox_transaction_context *t,
			       struct mail_transaction_commit_changes *changes_r)
{
	struct mailbox *box = t->box;
	struct pimap_scope_box *sbox = PIMAP_SCOPE_CONTEXT_REQUIRE(box);
	int ret;

	pimap_scope_whole_begin(sbox->puser);
	ret = sbox->module_ctx.super.transaction_commit(t, changes_r);
	pimap_scope_whole_end(sbox->puser);
	if (ret == 0)
		pimap_view_note_saved(box, &changes_r->saved_uids);
	return ret;
}

void pimap_scope_mailbox_allocated(struct mailbox *box)
{
	struct pimap_user *puser = pimap_user_get(box->storage->user);
	struct mailbox_vfuncs *v = box->vlast;
	struct pimap_scope_box *sbox;

	if (puser == NULL || puser->device == NULL)
		return;
	sbox = p_new(box->pool, struct pimap_scope_box, 1);
	sbox->module_ctx.super = *v;
	sbox->puser = puser;
	box->vlast = &sbox->module_ctx.super;
	v->open = pimap_scope_open;
	v->rename_box = pimap_scope_rename;
	v->save_begin = pimap_scope_save_begin;
	v->save_finish = pimap_scope_save_finish;
	v->copy = pimap_scope_copy;
	v->notify_changes = pimap_scope_notify_changes;
	v->sync_init = pimap_scope_sync_init;
	v->transaction_commit = pimap_scope_transaction_commit;
	MODULE_CONTEXT_SET(box, pimap_scope_module, sbox);
}

int pimap_scope_get_view_filter(struct mailbox *box,
				struct pimap_view_filter *filter_r)
{
	struct pimap_scope_box *sbox = PIMAP_SCOPE_CONTEXT_REQUIRE(box);
	struct pimap_user *puser = sbox->puser;
	const struct pimap_device *device;
	const char *error;
	bool by_guid;

	if (pimap_user_get_device(puser, &device, &error) < 0) {
		pimap_user_log_error(puser, error);
		return -1;
	}
	by_guid = device != NULL &&
		pimap_device_has_folder_filters(device, PIMAP_FILTER_VIEW) &&
		strcmp(box->vname, PIMAP_FOLDER_ALL) != 0;
	if (by_guid && guid_128_is_empty(sbox->guid)) {
		if (pimap_folder_get_guid(box, sbox->guid) < 0) {
			e_error(box->event, "pimap: %s",
				mailbox_get_last_internal_error(box, NULL));
			return -1;
		}
		/* what that does may have read the profile anew */
		if (pimap_user_get_device(puser, &device, &error) < 0) {
			pimap_user_log_error(puser, error);
			return -1;
		}
	}
	if (pimap_user_get_view_filter(puser, device,
				       by_guid ? sbox->guid : NULL, filter_r,
				       &error) < 0) {
		pimap_user_log_error(puser, error);
		return -1;
	}
	return 0;
}

/* FALSE if the device has no view on any folder: then nothing is hooked. */
static bool pimap_scope_may_have_view(struct pimap_user *puser)
{
	const struct pimap_device *device;
	struct pimap_view_filter filter;
	const char *error;

	if (pimap_user_get_device(puser, &device, &error) < 0 ||
	    (device != NULL && pimap_device_has_folder_filters(device,
						PIMAP_FILTER_VIEW)))
		return TRUE;
	/* where there is an error, it is the view's to say so */
	return pimap_user_get_view_filter(puser, device, NULL, &filter,
					  &error) < 0 ||
		filter.criteria != NULL;
}

/* A folder's index, beside which the cache is, may be several users'. */
static const char *
pimap_scope_cache_name(struct pimap_user *puser, const char *device)
{
	unsigned char digest[SHA1_RESULTLEN];
	const char *name = puser->user->username;

	if (puser->name_hash == NULL) {
		sha1_get_digest(name, strlen(name), digest);
		puser->name_hash = p_strdup(puser->user->pool,
			binary_to_hex(digest, sizeof(digest)));
	}
	return t_strconcat(device, ".", puser->name_hash, NULL);
}

int pimap_scope_remove_caches(struct pimap_user *puser, const char *device)
{
	static const char *const patterns[] = { "*", NULL };
	const char *name = pimap_scope_cache_name(puser, device);
	struct mailbox_list_iterate_context *iter;
	const struct mailbox_info *info;
	struct mailbox *box;
	const char *dir;

	iter = mailbox_list_iter_init_namespaces(puser->user->namespaces,
		patterns, MAIL_NAMESPACE_TYPE_MASK_ALL,
		MAILBOX_LIST_ITER_SKIP_ALIASES |
		MAILBOX_LIST_ITER_RETURN_NO_FLAGS);
	while ((info = mailbox_list_iter_next(iter)) != NULL) T_BEGIN {
		box = mailbox_alloc(info->ns->list, info->vname, 0);
		if (mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_INDEX,
					&dir) > 0) {
			i_unlink_if_exists(t_strconcat(dir,
				"/"PIMAP_VIEW_CACHE_PREFIX, name, NULL));
		}
		mailbox_free(&box);
	} T_END;
	return mailbox_list_iter_deinit(&iter);
}

static bool pimap_scope_is_for_quota(void)
{
	struct event *event = event_get_global();
	const char *reasons;
	bool ret;

	if (event == NULL)
		return FALSE;
	T_BEGIN {
		/* separated by commas */
		reasons = event_find_field_recursive_str(event,
							 EVENT_REASON_CODE);
		ret = reasons != NULL && strstr(reasons, "quota:") != NULL;
	} T_END;
	return ret;
}

void pimap_scope_mailbox_allocated_view(struct mailbox *box)
{
	struct pimap_user *puser = pimap_user_get(box->storage->user);
	struct pimap_view_settings set;

	if (puser == NULL || puser->device == NULL ||
	    !puser->views_enabled || puser->whole_depth > 0 ||
	    (box->flags & (MAILBOX_FLAG_SAVEONLY |
			   MAILBOX_FLAG_IGNORE_ACLS)) != 0)
		return;
	if (pimap_scope_is_for_quota())
		return;
	if (puser->views_tracked || pimap_scope_may_have_view(puser)) T_BEGIN {
		i_zero(&set);
		set.state = puser->view_state;
		puser->view_state = NULL;
		set.lookup = pimap_scope_get_view_filter;
		set.zone = puser->set->pimap_timezone;
		/* A virtual mailbox may not know yet of what came into the
		   folders that it consists of: what it finds isn't final. */
		if (box->virtual_vfuncs == NULL)
			set.cache_name =
				pimap_scope_cache_name(puser, puser->device);
		set.delete_hidden = puser->set->pimap_delete_hidden;
		pimap_view_attach(box, &set);
	} T_END;
}
