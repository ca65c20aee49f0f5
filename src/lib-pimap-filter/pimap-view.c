/* SPDX-License-Identifier: LGPL-2.1-only */
/* The view behind one mailbox: which of the mailbox's functions see the real
   view, which the filtered one. */

#include "lib.h"
#include "array.h"
#include "hex-binary.h"
#include "ioloop.h"
#include "randgen.h"
#include "seq-range-array.h"
#include "mail-index-transaction-private.h"
#include "index-storage.h"
#include "index-thread-private.h"
#include "pimap-compat.h"
#include "pimap-view.h"
#include "pimap-view-private.h"
#include "pimap-view-cache.h"
#include "pimap-view-kept.h"

#define STATUS_ITEMS_OF_MESSAGES \
	(STATUS_MESSAGES | STATUS_RECENT | STATUS_UNSEEN | \
	 STATUS_FIRST_UNSEEN_SEQ | STATUS_HIGHESTMODSEQ | \
	 PIMAP_STATUS_LAST_CACHED_SEQ)

struct pimap_view_storage_module pimap_view_storage_module =
	MODULE_CONTEXT_INIT(&mail_storage_module_register);
pimap_view_search_begins_t *pimap_view_search_begins = NULL;

/* dovecot.index.thread is shared by all sessions and must have all messages.
   This session gets a file of its own, by making the thread index before
   index_storage_mailbox_open() does, under another name. For that the index
   must seem to be open; whether it exists doesn't matter. */
static void
pimap_view_open_thread(struct mailbox *box, struct pimap_view *view)
{
	unsigned char unique[8];
	struct mail_index *index;
	char *filepath;

	if (view->thread_path != NULL ||
	    index_storage_mailbox_alloc_index(box) < 0 ||
	    box->index->dir == NULL)
		return;
	index = box->index;
	filepath = index->filepath;
	/* no name that a killed process has left a file of, so that there is
	   nothing to remove first */
	random_fill(unique, sizeof(unique));
	index->filepath = i_strconcat(index->dir, "/", index->prefix, ".pimap.",
		binary_to_hex(unique, sizeof(unique)), NULL);
	view->thread_path = p_strconcat(view->pool, index->filepath, ".thread",
					NULL);
	index->open_count++;
	index_thread_mailbox_opened(box);
	index->open_count--;
	i_free(index->filepath);
	index->filepath = filepath;
}

static int pimap_view_open(struct mailbox *box)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);

	pimap_view_open_thread(box, view);
	if (view->module_ctx.super.open(box) < 0)
		return -1;
	if (box->view != NULL && view->filtered == NULL) T_BEGIN {
		pimap_view_open_filtered(box, view);
	} T_END;
	return 0;
}

/* All messages are shown from now on. */
static void pimap_view_drop_filtered(struct mailbox *box,
				     struct pimap_view *view)
{
	if (view->filtered == NULL)
		return;
	pimap_view_close_filtered(box, view);
	view->evaluated = FALSE;
	view->incomplete = FALSE;
	view->synced = FALSE;
	view->lost_changes = FALSE;
}

int pimap_view_resolve(struct mailbox *box, struct pimap_view *view)
{
	struct pimap_view_filter filter;
	int ret;

	if (view->resolved || view->filtered == NULL || view->real_depth > 0)
		return 0;
	if (view->state != NULL) {
		filter.criteria = view->state->criteria;
		filter.generation = view->state->generation;
	} else {
		/* it may ask the mailbox for its metadata */
		pimap_view_enter_real(box, view);
		ret = view->lookup(box, &filter);
		pimap_view_leave_real(box, view);
		if (ret < 0) {
			mail_storage_set_internal_error(box->storage);
			return -1;
		}
	}
	view->resolved = TRUE;
	view->criteria_text = p_strdup(view->pool, filter.criteria);
	view->generation = filter.generation;
	if (filter.criteria == NULL)
		pimap_view_drop_filtered(box, view);
	return 0;
}

static void pimap_view_close(struct mailbox *box)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);

	if (view->resolved) T_BEGIN {
		pimap_view_cache_save(box, view);
	} T_END;
	timeout_remove(&view->to_expires);
	pimap_view_match_forget(view);
	pimap_view_drop_filtered(box, view);
	view->resolved = FALSE;
	view->state = NULL;
	view->asleep = FALSE;
	view->epoch_modseq = UINT64_MAX;
	view->full_modseq = 0;
	view->ahead = FALSE;
	if (view->thread_path != NULL)
		i_unlink_if_exists(view->thread_path);
	view->module_ctx.super.close(box);
}

static void pimap_view_free(struct mailbox *box)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);
	pool_t pool = view->pool;

	view->module_ctx.super.free(box);
	pool_unref(&pool);
}

/* Deleting a folder takes all its messages: not those that the device doesn't
   see. */
static int pimap_view_delete(struct mailbox *box)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);
	int ret;

	if (pimap_view_resolve(box, view) < 0)
		return -1;
	if (view->filtered != NULL && !view->delete_hidden) {
		if (mailbox_sync(box, 0) < 0)
			return -1;
		if (mail_index_view_get_messages_count(view->real) >
		    mail_index_view_get_messages_count(view->filtered)) {
			mail_storage_set_error(box->storage,
				MAIL_ERROR_NOTPOSSIBLE, "The folder has "
				"messages that this device doesn't see");
			return -1;
		}
	}
	pimap_view_enter_real(box, view);
	ret = view->module_ctx.super.delete_box(box);
	pimap_view_leave_real(box, view);
	return ret;
}

static int
view_get_filtered_status(struct mailbox *box, struct pimap_view *view,
			 enum mailbox_status_items items,
			 struct mailbox_status *status_r)
{
	if ((items & STATUS_UIDNEXT) != 0 && !view->asleep) {
		/* the session is told */
		view->known_next_uid = view->filtered->map->hdr.next_uid;
	}
	pimap_view_refresh_counts(view);
	/* what Dovecot remembers for looking anew what is recent is about the
	   real view */
	if (view->module_ctx.super.get_status(box,
			items & ENUM_NEGATE(STATUS_RECENT), status_r) < 0)
		return -1;
	if ((items & STATUS_RECENT) != 0)
		status_r->recent = box->recent_flags_count;
	return 0;
}

static int
pimap_view_get_status(struct mailbox *box, enum mailbox_status_items items,
		      struct mailbox_status *status_r)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);
	int ret;

	if (view->real_depth > 0)
		return view->module_ctx.super.get_status(box, items, status_r);
	if (!box->opened && (items & STATUS_ITEMS_OF_MESSAGES) != 0) {
		/* the list index would answer with the real counts */
		if (mailbox_open(box) < 0 ||
		    mailbox_sync(box, MAILBOX_SYNC_FLAG_FAST) < 0)
			return -1;
	}
	if (pimap_view_resolve(box, view) < 0 || pimap_view_fill(box, view) < 0)
		return -1;
	ret = view->filtered == NULL ?
		view->module_ctx.super.get_status(box, items, status_r) :
		view_get_filtered_status(box, view, items, status_r);
	if (view->filtered != NULL && view->asleep)
		status_r->messages = status_r->recent = 0;
	if (ret == 0 && (items & STATUS_HIGHESTMODSEQ) != 0 &&
	    (view->ahead || view->full_modseq > 0)) {
		status_r->highest_modseq = I_MIN(status_r->highest_modseq,
						 I_MAX(view->full_modseq, 1));
	}
	return ret;
}

static int pimap_view_virtual_size(struct mailbox *box, uint64_t *size_r)
{
	struct mailbox_transaction_context *trans;
	struct mail *mail;
	uint32_t seq, count;
	uoff_t size;
	int ret = 0;

	*size_r = 0;
	trans = mailbox_transaction_begin(box, 0, __func__);
	mail = mail_alloc(trans, MAIL_FETCH_VIRTUAL_SIZE, NULL);
	count = mail_index_view_get_messages_count(box->view);
	for (seq = 1; seq <= count; seq++) {
		mail_set_seq(mail, seq);
		if (mail_get_virtual_size(mail, &size) == 0)
			*size_r += size;
		else if (!mail->expunged && mailbox_get_last_mail_error(box) !=
						MAIL_ERROR_EXPUNGED)
			ret = -1;
	}
	mail_free(&mail);
	if (mailbox_transaction_commit(&trans) < 0)
		ret = -1;
	return ret;
}

static int
pimap_view_get_metadata(struct mailbox *box,
			enum mailbox_metadata_items items,
			struct mailbox_metadata *metadata_r)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);
	bool own_size = view->real_depth == 0 &&
		(items & MAILBOX_METADATA_VIRTUAL_SIZE) != 0;
	int ret;

	if ((items & ENUM_NEGATE(MAILBOX_METADATA_BACKEND_NAMESPACE)) != 0 &&
	    !box->opened && mailbox_open(box) < 0)
		return -1;
	if (own_size && !box->synced &&
	    mailbox_sync(box, MAILBOX_SYNC_FLAG_FAST) < 0)
		return -1;
	if (own_size && (pimap_view_resolve(box, view) < 0 ||
			 pimap_view_fill(box, view) < 0))
		return -1;
	if (view->filtered == NULL) {
		return view->module_ctx.super.get_metadata(box, items,
							   metadata_r);
	}
	/* what Dovecot stores in the index is about the whole folder. Its size
	   isn't asked for: that fails when the last message is gone. */
	if (own_size)
		items &= ENUM_NEGATE(MAILBOX_METADATA_VIRTUAL_SIZE);
	pimap_view_enter_real(box, view);
	ret = view->module_ctx.super.get_metadata(box, items, metadata_r);
	pimap_view_leave_real(box, view);
	if (ret == 0 && own_size)
		ret = pimap_view_virtual_size(box, &metadata_r->virtual_size);
	return ret;
}

/* If a message has a sort ID, all before it must have one. The filtered view
   can't give that: it uses those that exist and never writes any. */
static void pimap_view_drop_sort_ids(struct mail_index_transaction *trans)
{
	const struct mail_index_registered_ext *ext;
	ARRAY_TYPE(seq_array) *updates;
	unsigned int i, count;

	if (!array_is_created(&trans->ext_rec_updates))
		return;
	count = array_count(&trans->ext_rec_updates);
	for (i = 0; i < count; i++) {
		updates = array_idx_modifiable(&trans->ext_rec_updates, i);
		ext = array_idx(&trans->view->index->extensions, i);
		if (array_is_created(updates) && pimap_str_begins(ext->name, "sort-"))
			array_free(updates);
	}
}

static void
pimap_view_add_own(struct pimap_view *view, uint32_t seq1, uint32_t seq2)
{
	uint32_t seq, count =
		mail_index_view_get_messages_count(view->filtered);

	/* sequences above it are messages saved in the same transaction */
	for (seq = seq1; seq <= seq2 && seq <= count; seq++) {
		seq_range_array_add(&view->own_changed,
			MAIL_INDEX_REC_AT_SEQ(view->filtered->map, seq)->uid);
	}
}

/* R-1.4b: remember whose flags this session changes. */
static void
pimap_view_note_own(struct pimap_view *view,
		    const struct mail_index_transaction *trans)
{
	const struct mail_index_transaction_keyword_update *kw;
	const struct mail_index_flag_update *update;
	const struct seq_range *range;

	/* uid1 and uid2 are still sequences before the commit */
	if (array_is_created(&trans->updates)) {
		array_foreach(&trans->updates, update)
			pimap_view_add_own(view, update->uid1, update->uid2);
	}
	if (array_is_created(&trans->keyword_updates)) {
		array_foreach(&trans->keyword_updates, kw) {
			if (array_is_created(&kw->add_seq)) {
				array_foreach(&kw->add_seq, range)
					pimap_view_add_own(view, range->seq1,
							   range->seq2);
			}
			if (array_is_created(&kw->remove_seq)) {
				array_foreach(&kw->remove_seq, range)
					pimap_view_add_own(view, range->seq1,
							   range->seq2);
			}
		}
	}
}

static struct mailbox_transaction_context *
pimap_view_transaction_begin(struct mailbox *box,
			     enum mailbox_transaction_flags flags,
			     const char *reason)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);

	/* on failure the mailbox seems empty, and the reason is logged */
	if (pimap_view_resolve(box, view) == 0)
		(void)pimap_view_fill(box, view);
	return view->module_ctx.super.transaction_begin(box, flags, reason);
}

static int
pimap_view_transaction_commit(struct mailbox_transaction_context *t,
			      struct mail_transaction_commit_changes *changes_r)
{
	struct mailbox *box = t->box;
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);
	int ret;

	if (view->filtered != NULL && view->real_depth == 0) {
		pimap_view_drop_sort_ids(t->itrans);
		pimap_view_note_own(view, t->itrans);
	}
	/* storages sync in their commit, and update the list index */
	pimap_view_enter_real(box, view);
	ret = view->module_ctx.super.transaction_commit(t, changes_r);
	pimap_view_leave_real(box, view);
	return ret;
}

static struct mail_search_context *
pimap_view_search_init(struct mailbox_transaction_context *t,
		       struct mail_search_args *args,
		       const enum mail_sort_type *sort_program,
		       enum mail_fetch_field wanted_fields,
		       struct mailbox_header_lookup_ctx *wanted_headers)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(t->box);

	if (view->real_depth == 0) {
		if (pimap_view_search_begins != NULL)
			pimap_view_search_begins(t->box, args);
		if (view->filtered != NULL)
			pimap_view_refresh_counts(view);
	}
	return view->module_ctx.super.search_init(t, args, sort_program,
						  wanted_fields, wanted_headers);
}

static bool pimap_view_is_inconsistent(struct mailbox *box)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);
	bool ret;

	pimap_view_enter_real(box, view);
	ret = view->module_ctx.super.is_inconsistent(box);
	pimap_view_leave_real(box, view);
	return ret || view->broken;
}

void pimap_view_release_own(struct mailbox *box)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT(box);

	if (view == NULL || view->filtered == NULL)
		return;
	seq_range_array_merge(&view->leaving, &view->kept);
	array_clear(&view->kept);
	array_clear(&view->own_changed);
}

bool pimap_view_is_of(const struct pimap_view *view, const struct mailbox *box)
{
	const struct mail_index_header *hdr, *view_hdr;

	if (view->box->index == box->index)
		return TRUE;
	if (box->view == NULL ||
	    !mailbox_equals(view->box, mailbox_get_namespace(box), box->vname))
		return FALSE;
	hdr = mail_index_get_header(box->view);
	view_hdr = mail_index_get_header(view->real);
	return hdr->uid_validity == view_hdr->uid_validity &&
		hdr->indexid == view_hdr->indexid;
}

void pimap_view_note_saved(struct mailbox *box,
			   const ARRAY_TYPE(seq_range) *saved_uids)
{
	const struct seq_range *last;
	struct pimap_view *view;

	if (!array_is_created(saved_uids) || array_count(saved_uids) == 0)
		return;
	last = array_idx(saved_uids, array_count(saved_uids) - 1);
	for (view = pimap_views; view != NULL; view = view->next) {
		if (pimap_view_is_of(view, box))
			view->saved_uid = I_MAX(view->saved_uid, last->seq2);
	}
}

bool pimap_view_is_outdated(struct mailbox *box, const char *criteria)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT(box);

	if (view == NULL)
		return criteria != NULL;
	return null_strcmp(view->criteria_text, criteria) != 0 ||
		(view->filtered != NULL && array_count(&view->late) > 0);
}

void pimap_view_attach(struct mailbox *box,
		       const struct pimap_view_settings *set)
{
	struct mailbox_vfuncs *v = box->vlast;
	struct pimap_view *view;
	pool_t pool;

	/* the mailbox's own pool would have to grow, by more than is needed */
	pool = pool_alloconly_create("pimap view",
				     sizeof(struct pimap_view) + 768);
	view = p_new(pool, struct pimap_view, 1);
	view->pool = pool;
	view->module_ctx.super = *v;
	box->vlast = &view->module_ctx.super;
	view->box = box;
	view->lookup = set->lookup;
	view->zone = p_strdup(pool, set->zone);
	view->cache_name = p_strdup(pool, set->cache_name);
	view->delete_hidden = set->delete_hidden;
	view->state = set->state;
	view->asleep = set->state != NULL;
	view->epoch_modseq = UINT64_MAX;
	/* mostly these stay empty */
	p_array_init(&view->kept, pool, 4);
	p_array_init(&view->leaving, pool, 4);
	p_array_init(&view->late, pool, 4);
	p_array_init(&view->own_changed, pool, 4);

	v->free = pimap_view_free;
	v->open = pimap_view_open;
	v->close = pimap_view_close;
	v->delete_box = pimap_view_delete;
	v->get_status = pimap_view_get_status;
	v->get_metadata = pimap_view_get_metadata;
	v->notify_changes = pimap_view_notify_changes;
	v->sync_init = pimap_view_sync_init;
	v->sync_next = pimap_view_sync_next;
	v->sync_deinit = pimap_view_sync_deinit;
	v->transaction_begin = pimap_view_transaction_begin;
	v->transaction_commit = pimap_view_transaction_commit;
	v->search_init = pimap_view_search_init;
	v->is_inconsistent = pimap_view_is_inconsistent;
	MODULE_CONTEXT_SET(box, pimap_view_storage_module, view);
}

void pimap_view_deinit(void)
{
	pimap_view_kept_free();
	pimap_view_sync_free_spare();
}
