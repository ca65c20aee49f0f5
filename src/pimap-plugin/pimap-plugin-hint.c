/* SPDX-License-Identifier: LGPL-2.1-only */
/* In every process that opens mail: a hint for the service pimap-outband when
   something has come into a folder of a user whose devices have channels, or has
   changed or gone and a device wants to know that too. Most have no channel, or no
   profile at all: that costs them one open(). Whether the folder notifies a
   device, and of what, is found out by others (pimap-look.h). */

#include "lib.h"
#include "array.h"
#include "mail-index-private.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "pimap-hint.h"
#include "pimap-profile-peek.h"
#include "pimap-settings.h"
#include "pimap-plugin.h"
#include "pimap-plugin-note.h"

#include <fcntl.h>
#include <unistd.h>

#define HINT_CONTEXT(obj) \
	MODULE_CONTEXT(obj, pimap_plugin_hint_module)
#define HINT_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, pimap_plugin_hint_module)

#define HINT_CHANGES \
	(MAIL_INDEX_TRANSACTION_CHANGE_FLAGS | \
	 MAIL_INDEX_TRANSACTION_CHANGE_KEYWORDS)

/* doveadm import has nothing else that tells it from others */
#define HINT_IMPORT_REASON "cmd_import_box_contents"

struct hint_mailbox {
	union mailbox_module_context module_ctx;
	/* whose session it is, NULL: no device's */
	const char *device;
	/* in the sync that is under way */
	bool expunged;
	/* what this session has expunged and no sync has told yet */
	ARRAY_TYPE(seq_range) own_expunged;
	/* what the last commit was */
	struct mail_index_transaction_commit_result committed;
};

struct hint_transaction {
	union mailbox_transaction_module_context module_ctx;
	int (*commit)(struct mail_index_transaction *itrans,
		      struct mail_index_transaction_commit_result *result_r);
};

static MODULE_CONTEXT_DEFINE_INIT(pimap_plugin_hint_module,
				  &mail_storage_module_register);

static enum pimap_profile_peek hint_read_profile(const char *path)
{
	unsigned char data[PIMAP_PROFILE_PEEK_SIZE];
	ssize_t ret;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1) {
		return errno == ENOENT ? PIMAP_PROFILE_PEEK_NONE :
			PIMAP_PROFILE_PEEK_ALL;
	}
	ret = read(fd, data, sizeof(data));
	i_close_fd(&fd);
	/* an empty file is no profile yet */
	if (ret <= 0) {
		return ret == 0 ? PIMAP_PROFILE_PEEK_NONE :
			PIMAP_PROFILE_PEEK_ALL;
	}
	return pimap_profile_peek(data, ret);
}

/* In doubt it does: a hint does no harm. */
static bool hint_is_wanted(struct mail_user *user, bool saved)
{
	struct mail_namespace *ns;
	const char *path, *error;

	/* where there is no place for a profile there is no device either */
	if (pimap_settings_get_profile_path(user, &path, &ns, &error) < 0)
		return FALSE;
	switch (hint_read_profile(path)) {
	case PIMAP_PROFILE_PEEK_NONE:
		break;
	case PIMAP_PROFILE_PEEK_NEW:
		return saved;
	case PIMAP_PROFILE_PEEK_ALL:
		return TRUE;
	case PIMAP_PROFILE_PEEK_DEFAULT:
		return saved || pimap_settings_wants_all_events(user);
	}
	return FALSE;
}

static void hint_send(struct mailbox *box, bool saved)
{
	T_BEGIN {
		if (hint_is_wanted(box->storage->user, saved))
			pimap_hint_send_folder(box, NULL);
	} T_END;
}

/* Not by doveadm's command line: dsync may be a server, too. */
static bool hint_is_import(const struct mailbox *box, const char *reason)
{
	return box->storage->user->dsyncing ||
		null_strcmp(reason, HINT_IMPORT_REASON) == 0;
}

/* Returns whose doing it is that a device is not to be told of: "" = nobody's, it is
   an import. NULL: there is no such. */
static const char *hint_get_author(struct mailbox *box, const char *reason)
{
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(box);

	return hint_is_import(box, reason) ? "" : hbox->device;
}

static int
hint_index_commit(struct mail_index_transaction *itrans,
		  struct mail_index_transaction_commit_result *result_r)
{
	struct mailbox_transaction_context *t =
		MAIL_STORAGE_CONTEXT_REQUIRE(itrans);
	struct hint_transaction *ht = HINT_CONTEXT_REQUIRE(t);
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(t->box);

	if (ht->commit(itrans, result_r) < 0)
		return -1;
	hbox->committed = *result_r;
	return 0;
}

/* Where it is known what others were told by a transaction, and it can be that this
   is asked for */
static struct mailbox_transaction_context *
hint_transaction_begin(struct mailbox *box,
		       enum mailbox_transaction_flags flags, const char *reason)
{
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(box);
	struct mailbox_transaction_context *t;
	struct hint_transaction *ht;

	if (hint_get_author(box, reason) == NULL)
		return hbox->module_ctx.super.transaction_begin(box, flags,
								reason);
	if (hint_is_import(box, reason)) {
		/* else a Maildir gives them when it likes */
		flags |= MAILBOX_TRANSACTION_FLAG_ASSIGN_UIDS;
	}
	t = hbox->module_ctx.super.transaction_begin(box, flags, reason);
	ht = i_new(struct hint_transaction, 1);
	ht->commit = t->itrans->v.commit;
	t->itrans->v.commit = hint_index_commit;
	MODULE_CONTEXT_SET(t, pimap_plugin_hint_module, ht);
	return t;
}

static void
hint_send_committed(struct mailbox *box, bool saved, bool changed,
		    const char *author)
{
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(box);
	ARRAY_TYPE(seq_range) expunged;
	const char *note;

	if (!hint_is_wanted(box->storage->user, saved))
		return;
	t_array_init(&expunged, 8);
	note = pimap_plugin_note_commit(box, author, &hbox->committed,
					&expunged);
	if (array_count(&expunged) > 0 && hbox->device != NULL) {
		if (!array_is_created(&hbox->own_expunged))
			p_array_init(&hbox->own_expunged, box->pool, 8);
		seq_range_array_merge(&hbox->own_expunged, &expunged);
		/* whoever syncs next tells of them */
		changed = TRUE;
	}
	if (saved || changed)
		pimap_hint_send_folder(box, note);
}

static int
hint_transaction_commit(struct mailbox_transaction_context *t,
			struct mail_transaction_commit_changes *changes_r)
{
	struct mailbox *box = t->box;
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(box);
	struct hint_transaction *ht = HINT_CONTEXT(t);
	const char *author = hint_get_author(box, t->reason);
	const bool saved = t->save_count > 0;
	/* it is only asked for, which changes_mask doesn't tell */
	const bool expunged = array_is_created(&t->itrans->expunges);
	bool changed;
	int ret;

	i_zero(&hbox->committed);
	ret = hbox->module_ctx.super.transaction_commit(t, changes_r);
	i_free(ht);
	if (ret < 0)
		return -1;
	changed = (changes_r->changes_mask & HINT_CHANGES) != 0;
	if (author != NULL && hbox->committed.commit_size > 0 &&
	    (saved || changed || expunged)) T_BEGIN {
		hint_send_committed(box, saved, changed, author);
	} T_END; else if (saved || changed)
		hint_send(box, saved);
	return 0;
}

static void hint_transaction_rollback(struct mailbox_transaction_context *t)
{
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(t->box);
	struct hint_transaction *ht = HINT_CONTEXT(t);

	hbox->module_ctx.super.transaction_rollback(t);
	i_free(ht);
}

/* What a transaction expunges is there until somebody syncs. */
static void
hint_sync_notify(struct mailbox *box, uint32_t uid,
		 enum mailbox_sync_type sync_type)
{
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(box);

	if (sync_type == MAILBOX_SYNC_TYPE_EXPUNGE)
		hbox->expunged = TRUE;
	if (hbox->module_ctx.super.sync_notify != NULL)
		hbox->module_ctx.super.sync_notify(box, uid, sync_type);
}

static void hint_send_expunged(struct mailbox *box)
{
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(box);
	const char *note = NULL;

	if (!hint_is_wanted(box->storage->user, FALSE))
		return;
	if (hbox->device != NULL && array_is_created(&hbox->own_expunged)) {
		note = pimap_plugin_note_expunged(box, hbox->device,
						  &hbox->own_expunged);
	}
	pimap_hint_send_folder(box, note);
}

static int
hint_sync_deinit(struct mailbox_sync_context *ctx,
		 struct mailbox_sync_status *status_r)
{
	struct mailbox *box = ctx->box;
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(box);
	int ret;

	ret = hbox->module_ctx.super.sync_deinit(ctx, status_r);
	if (hbox->expunged) T_BEGIN {
		hbox->expunged = FALSE;
		hint_send_expunged(box);
		if (array_is_created(&hbox->own_expunged))
			array_clear(&hbox->own_expunged);
	} T_END;
	return ret;
}

/* Folders that come, go or get another name: of that each device with a channel is
   told. */
static void hint_send_list(struct mailbox *box)
{
	T_BEGIN {
		if (hint_is_wanted(box->storage->user, TRUE))
			pimap_hint_send_list(box->storage->user);
	} T_END;
}

static int
hint_create_box(struct mailbox *box, const struct mailbox_update *update,
		bool directory)
{
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(box);

	if (hbox->module_ctx.super.create_box(box, update, directory) < 0)
		return -1;
	if (!directory)
		hint_send_list(box);
	return 0;
}

static int hint_delete_box(struct mailbox *box)
{
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(box);

	if (hbox->module_ctx.super.delete_box(box) < 0)
		return -1;
	hint_send_list(box);
	return 0;
}

static int hint_rename_box(struct mailbox *src, struct mailbox *dest)
{
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(src);

	if (hbox->module_ctx.super.rename_box(src, dest) < 0)
		return -1;
	hint_send_list(src);
	return 0;
}

void pimap_plugin_hint_mailbox_allocated(struct mailbox *box)
{
	struct mailbox_vfuncs *v = box->vlast;
	struct hint_mailbox *hbox;

	/* the folders that a virtual one consists of are opened themselves */
	if (mailbox_get_namespace(box)->type != MAIL_NAMESPACE_TYPE_PRIVATE ||
	    box->virtual_vfuncs != NULL ||
	    pimap_plugin_is_off(box->storage->user))
		return;
	hbox = p_new(box->pool, struct hint_mailbox, 1);
	hbox->module_ctx.super = *v;
	box->vlast = &hbox->module_ctx.super;
	hbox->device = pimap_plugin_get_device(box->storage->user);
	v->create_box = hint_create_box;
	v->delete_box = hint_delete_box;
	v->rename_box = hint_rename_box;
	v->transaction_begin = hint_transaction_begin;
	v->transaction_commit = hint_transaction_commit;
	v->transaction_rollback = hint_transaction_rollback;
	v->sync_notify = hint_sync_notify;
	v->sync_deinit = hint_sync_deinit;
	MODULE_CONTEXT_SET(box, pimap_plugin_hint_module, hbox);
}
