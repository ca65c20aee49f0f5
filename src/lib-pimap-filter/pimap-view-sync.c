/* SPDX-License-Identifier: LGPL-2.1-only */
/* Syncing a mailbox that has a view. The real view is synced first; what it has
   learnt - messages that are gone, new, or have other flags - decides what is
   evaluated anew, and that, who enters and who leaves. The differences are what
   the session is told. */

#include "lib.h"
#include "array.h"
#include "mail-search.h"
#include "mail-index-modseq.h"
#include "mailbox-search-result-private.h"
#include "index-storage.h"
#include "index-sync-private.h"
#include "index-search-result.h"
#include "pimap-ranges.h"
#include "pimap-view-private.h"

struct pimap_view_sync_context {
	struct mailbox_sync_context ctx;
	struct mailbox_sync_status status;
	uint32_t old_count;
	unsigned int flags_idx, modseqs_idx, expunges_idx;
	/* the view begins with this sync: there is nothing to tell */
	bool first;
	bool changed;
	bool failed;

	/* from here on it is made once, and used again */
	pool_t pool;

	/* What the real view's sync has learnt, as UIDs. flags are to be told,
	   hidden ones not, or only as a new modseq. */
	ARRAY_TYPE(seq_range) flag_uids, hidden_uids, expunged_uids;

	/* What the session is told: sequences in the filtered view as it is
	   until the sync ends */
	ARRAY_TYPE(seq_range) flags, modseqs, expunges;
	/* UIDs that become visible */
	ARRAY_TYPE(seq_range) appended_uids;
};

/* A client syncs with almost every command, and mostly nothing has changed: this
   is what is left of the last sync, for the next one. */
static struct pimap_view_sync_context *spare_ctx = NULL;

#define SPARE_CTX_MAX_SIZE 8192

/* What another mailbox of the session shows of the same folder counts as visible
   in this one too: MOVE, for one, opens the selected folder again. */
static void view_inherit(struct mailbox *box, struct pimap_view *view)
{
	const struct mail_index_map *map;
	struct pimap_view *other;
	ARRAY_TYPE(seq_range) uids;
	uint32_t seq, uid, seq1, seq2;

	t_array_init(&uids, 32);
	for (other = pimap_views; other != NULL; other = other->next) {
		if (other == view || !other->synced ||
		    !pimap_view_is_of(other, box))
			continue;
		map = other->filtered->map;
		for (seq = 1; seq <= map->hdr.messages_count; seq++) {
			uid = MAIL_INDEX_REC_AT_SEQ(map, seq)->uid;
			mail_index_map_lookup_seq_range(view->real->map, uid,
							uid, &seq1, &seq2);
			if (seq1 > 0)
				seq_range_array_add(&uids, uid);
		}
	}
	if (array_count(&uids) > 0)
		(void)seq_range_array_remove_seq_range(&uids, &view->matches);
	array_clear(&view->kept);
	array_append_array(&view->kept, &uids);
}

/* The filtered map at the beginning */
static void view_begin(struct mailbox *box, struct pimap_view *view)
{
	ARRAY_TYPE(seq_range) uids;

	if (view->state != NULL)
		pimap_view_state_take_up(view);
	else
		view_inherit(box, view);
	if (array_count(&view->late) == 0 && array_count(&view->kept) == 0 &&
	    array_count(&view->leaving) == 0)
		pimap_view_map_build(view, &view->matches);
	else {
		t_array_init(&uids, 128);
		array_append_array(&uids, &view->matches);
		(void)seq_range_array_remove_seq_range(&uids, &view->late);
		seq_range_array_merge(&uids, &view->kept);
		seq_range_array_merge(&uids, &view->leaving);
		pimap_view_map_build(view, &uids);
	}
	if (view->state == NULL)
		view->known_next_uid = view->filtered->map->hdr.next_uid;
}

int pimap_view_fill(struct mailbox *box, struct pimap_view *view)
{
	int ret;

	if (view->filtered == NULL || view->real_depth > 0 ||
	    view->evaluated || view->synced)
		return 0;
	pimap_view_enter_real(box, view);
	ret = pimap_view_match_all(box, view);
	pimap_view_leave_real(box, view);
	if (ret == 0) T_BEGIN {
		view_begin(box, view);
	} T_END;
	return ret;
}

static void
add_uids(struct mailbox *box, ARRAY_TYPE(seq_range) *uids,
	 uint32_t seq1, uint32_t seq2)
{
	uint32_t seq, uid;

	for (seq = seq1; seq <= seq2; seq++) {
		mail_index_lookup_uid(box->view, seq, &uid);
		seq_range_array_add(uids, uid);
	}
}

/* Transactions that hide their changes were committed by way of the filtered
   view, but it is the real one that is synced. */
static void sync_move_hidden(struct pimap_view *view)
{
	if (!array_is_created(&view->filtered->syncs_hidden))
		return;
	if (!array_is_created(&view->real->syncs_hidden))
		i_array_init(&view->real->syncs_hidden, 32);
	array_append_array(&view->real->syncs_hidden,
			   &view->filtered->syncs_hidden);
	array_clear(&view->filtered->syncs_hidden);
}

/* Syncs the real view. */
static int
sync_real(struct mailbox *box, struct pimap_view *view,
	  struct pimap_view_sync_context *ctx)
{
	struct mailbox_sync_context *sync_ctx;
	struct index_mailbox_sync_context *index_ctx;
	struct mailbox_sync_rec rec;
	const struct seq_range *range;

	sync_ctx = view->module_ctx.super.sync_init(box, ctx->ctx.flags);
	index_ctx = (struct index_mailbox_sync_context *)sync_ctx;
	if (!index_ctx->failed) {
		array_foreach(&index_ctx->hidden_updates, range) {
			add_uids(box, &ctx->hidden_uids, range->seq1,
				 range->seq2);
		}
	}
	while (view->module_ctx.super.sync_next(sync_ctx, &rec)) {
		if (rec.type == MAILBOX_SYNC_TYPE_FLAGS)
			add_uids(box, &ctx->flag_uids, rec.seq1, rec.seq2);
		else if (rec.type == MAILBOX_SYNC_TYPE_EXPUNGE)
			add_uids(box, &ctx->expunged_uids, rec.seq1, rec.seq2);
	}
	return view->module_ctx.super.sync_deinit(sync_ctx, &ctx->status);
}

/* A sync before this one has failed, having learnt who knows what, or was another
   process's: tells of every message that it is gone or may have other flags. */
static void
sync_recover(struct mailbox *box, struct pimap_view *view,
	     struct pimap_view_sync_context *ctx)
{
	const struct mail_index_map *map = view->filtered->map;
	uint32_t seq, seq1, seq2, uid;

	if (view->lost_modseq > 0)
		mail_index_modseq_enable(box->index);
	for (seq = 1; seq <= map->hdr.messages_count; seq++) {
		uid = MAIL_INDEX_REC_AT_SEQ(map, seq)->uid;
		mail_index_map_lookup_seq_range(view->real->map, uid, uid,
						&seq1, &seq2);
		if (seq1 == 0)
			seq_range_array_add(&ctx->expunged_uids, uid);
		else if (view->lost_modseq == 0 ||
			 mail_index_modseq_lookup(view->real,
						  seq1) > view->lost_modseq)
			seq_range_array_add(&ctx->flag_uids, uid);
	}
}

/* What stops matching and what starts to */
static void
sync_move(struct pimap_view *view, struct pimap_view_sync_context *ctx,
	  ARRAY_TYPE(seq_range) *removed, ARRAY_TYPE(seq_range) *added)
{
	const uint32_t next_uid = view->known_next_uid;
	ARRAY_TYPE(seq_range) gone;

	t_array_init(&gone, 16);
	/* what isn't shown goes unseen */
	pimap_ranges_move_common(&gone, removed, &view->late);
	(void)seq_range_array_remove_seq_range(&view->late, &gone);
	/* by this session's doing: it stays, unless it doesn't exist */
	array_clear(&gone);
	pimap_ranges_move_common(&gone, removed, &ctx->expunged_uids);
	pimap_ranges_move_common(&view->kept, removed, &view->own_changed);
	pimap_ranges_move_common(&gone, &view->kept, &ctx->expunged_uids);
	seq_range_array_merge(&view->leaving, removed);
	seq_range_array_merge(&view->leaving, &gone);

	/* what is still shown and matches again */
	array_clear(&gone);
	pimap_ranges_move_common(&gone, &view->kept, added);
	pimap_ranges_move_common(&gone, &view->leaving, added);
	(void)seq_range_array_remove_seq_range(added, &gone);
	/* IMAP can add only at the end (R-1.4c) */
	array_append_array(&ctx->appended_uids, added);
	if (next_uid > 1) {
		(void)seq_range_array_remove_range(&ctx->appended_uids, 1,
						   next_uid - 1);
		(void)seq_range_array_remove_range(added, next_uid,
						   (uint32_t)-1);
		seq_range_array_merge(&view->late, added);
	}
}

static void
add_seqs(struct pimap_view *view, ARRAY_TYPE(seq_range) *seqs,
	 const ARRAY_TYPE(seq_range) *uids)
{
	const struct seq_range *range;
	uint32_t seq1, seq2;

	array_foreach(uids, range) {
		mail_index_map_lookup_seq_range(view->filtered->map,
			range->seq1, range->seq2, &seq1, &seq2);
		if (seq1 > 0)
			seq_range_array_add_range(seqs, seq1, seq2);
	}
}

/* What the session is told */
static void
sync_tell(struct mailbox *box, struct pimap_view *view,
	  struct pimap_view_sync_context *ctx)
{
	ctx->old_count = view->filtered->map->hdr.messages_count;
	if ((ctx->ctx.flags & MAILBOX_SYNC_FLAG_NO_EXPUNGES) == 0) {
		add_seqs(view, &ctx->expunges, &view->leaving);
		array_clear(&view->leaving);
	} else if (array_count(&view->leaving) > 0) {
		ctx->status.sync_delayed_expunges = TRUE;
		/* the real view keeps what it may not tell of */
		if (seq_range_array_have_common(&view->leaving,
						&ctx->expunged_uids))
			view->broken = TRUE;
	}
	add_seqs(view, &ctx->flags, &ctx->flag_uids);
	(void)seq_range_array_remove_seq_range(&ctx->flags, &ctx->expunges);
	if ((box->enabled_features & MAILBOX_FEATURE_CONDSTORE) != 0) {
		add_seqs(view, &ctx->modseqs, &ctx->hidden_uids);
		(void)seq_range_array_remove_seq_range(&ctx->modseqs,
						       &ctx->flags);
		(void)seq_range_array_remove_seq_range(&ctx->modseqs,
						       &ctx->expunges);
	}
	ctx->expunges_idx = array_count(&ctx->expunges);
}

static void
sync_begin_view(struct pimap_view *view, struct pimap_view_sync_context *ctx)
{
	ctx->first = TRUE;
	view->synced = TRUE;
	array_clear(&view->kept);
	array_clear(&view->leaving);
	array_clear(&view->late);
	array_clear(&view->own_changed);
}

/* What a sync has learnt isn't known: the next one looks at everything. */
static void view_lose_changes(struct pimap_view *view)
{
	view->lost_changes = TRUE;
	view->lost_modseq = 0;
	view->evaluated = FALSE;
}

/* Returns FALSE if nothing can have changed since the last sync. */
static bool sync_is_needed(const struct pimap_view *view,
			   const struct pimap_view_sync_context *ctx)
{
	const struct mail_index_view *real = view->real;

	return !view->synced || !view->evaluated || view->lost_changes ||
		array_count(&ctx->flag_uids) > 0 ||
		array_count(&ctx->hidden_uids) > 0 ||
		array_count(&ctx->expunged_uids) > 0 ||
		pimap_view_match_is_expired(view) ||
		(array_count(&view->leaving) > 0 &&
		 (ctx->ctx.flags & MAILBOX_SYNC_FLAG_NO_EXPUNGES) == 0) ||
		view->synced_head_seq != real->log_file_head_seq ||
		view->synced_head_offset != real->log_file_head_offset ||
		view->synced_expunge_seq != real->log_file_expunge_seq ||
		view->synced_expunge_offset != real->log_file_expunge_offset;
}

static int
sync_view(struct mailbox *box, struct pimap_view *view,
	  struct pimap_view_sync_context *ctx)
{
	ARRAY_TYPE(seq_range) changed, removed, added;
	int ret;

	if (view->lost_changes && view->synced)
		sync_recover(box, view, ctx);
	t_array_init(&changed, 32);
	t_array_init(&removed, 32);
	t_array_init(&added, 32);
	array_append_array(&changed, &ctx->flag_uids);
	seq_range_array_merge(&changed, &ctx->hidden_uids);
	pimap_view_enter_real(box, view);
	ret = pimap_view_match_update(box, view, &changed, &ctx->expunged_uids,
				      &removed, &added);
	pimap_view_leave_real(box, view);
	if (ret < 0)
		return -1;
	if (!view->synced)
		sync_begin_view(view, ctx);
	else {
		sync_move(view, ctx, &removed, &added);
		sync_tell(box, view, ctx);
	}
	view->lost_changes = FALSE;
	view->lost_modseq = 0;
	view->synced_head_seq = view->real->log_file_head_seq;
	view->synced_head_offset = view->real->log_file_head_offset;
	view->synced_expunge_seq = view->real->log_file_expunge_seq;
	view->synced_expunge_offset = view->real->log_file_expunge_offset;
	return 0;
}

/* The client's search results (SEARCHRES, CONTEXT) are about what it sees:
   they lose what leaves before it is told so. */
static void
sync_expunge_results(struct mailbox *box, struct pimap_view *view,
		     struct pimap_view_sync_context *ctx)
{
	struct mail_search_result *result;
	const struct seq_range *range;
	uint32_t seq, uid;

	array_foreach_elem(&box->search_results, result) {
		array_foreach(&ctx->expunges, range) {
			for (seq = range->seq1; seq <= range->seq2; seq++) {
				mail_index_lookup_uid(view->filtered, seq, &uid);
				mailbox_search_result_remove(result, uid);
			}
		}
	}
}

static int
sync_run(struct mailbox *box, struct pimap_view *view,
	 struct pimap_view_sync_context *ctx)
{
	ARRAY(struct mail_search_result *) client_results;
	int ret;

	/* The real view's sync must not update results that are about the
	   filtered one; and on failure it would crash on them. */
	t_array_init(&client_results, 4);
	array_append_array(&client_results, &box->search_results);
	array_clear(&box->search_results);
	sync_move_hidden(view);
	pimap_view_enter_real(box, view);
	ret = sync_real(box, view, ctx);
	pimap_view_leave_real(box, view);
	array_append_array(&box->search_results, &client_results);

	ctx->changed = ret == 0 && sync_is_needed(view, ctx);
	if (ctx->changed)
		ret = sync_view(box, view, ctx);
	if (ret < 0) {
		view_lose_changes(view);
		return -1;
	}
	if (ctx->changed)
		sync_expunge_results(box, view, ctx);
	/* whatever this session did is known by now */
	array_clear(&view->own_changed);
	return 0;
}

static struct pimap_view_sync_context *sync_context_get(void)
{
	struct pimap_view_sync_context *ctx = spare_ctx;
	pool_t pool;

	if (ctx != NULL) {
		spare_ctx = NULL;
		memset(ctx, 0, offsetof(struct pimap_view_sync_context, pool));
		return ctx;
	}
	pool = pool_alloconly_create("pimap view sync", 1024);
	ctx = p_new(pool, struct pimap_view_sync_context, 1);
	ctx->pool = pool;
	/* mostly all stay empty */
	p_array_init(&ctx->flag_uids, pool, 4);
	p_array_init(&ctx->hidden_uids, pool, 4);
	p_array_init(&ctx->expunged_uids, pool, 4);
	p_array_init(&ctx->flags, pool, 4);
	p_array_init(&ctx->modseqs, pool, 4);
	p_array_init(&ctx->expunges, pool, 4);
	p_array_init(&ctx->appended_uids, pool, 4);
	return ctx;
}

static void sync_context_put(struct pimap_view_sync_context *ctx)
{
	if (spare_ctx != NULL ||
	    pool_alloconly_get_total_alloc_size(ctx->pool) > SPARE_CTX_MAX_SIZE) {
		pool_unref(&ctx->pool);
		return;
	}
	array_clear(&ctx->flag_uids);
	array_clear(&ctx->hidden_uids);
	array_clear(&ctx->expunged_uids);
	array_clear(&ctx->flags);
	array_clear(&ctx->modseqs);
	array_clear(&ctx->expunges);
	array_clear(&ctx->appended_uids);
	spare_ctx = ctx;
}

void pimap_view_sync_free_spare(void)
{
	if (spare_ctx != NULL)
		pool_unref(&spare_ctx->pool);
	spare_ctx = NULL;
}

struct mailbox_sync_context *
pimap_view_sync_init(struct mailbox *box, enum mailbox_sync_flags flags)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);
	struct pimap_view_sync_context *ctx;
	/* this may find out that there is no filtered view */
	bool resolved = pimap_view_resolve(box, view) == 0;

	/* Core code syncs for itself before the first sync of the view, or to
	   delete the mailbox. Another plugin might do so later, in a commit:
	   what it learns is not told. */
	if (view->filtered != NULL && view->real_depth > 0 && view->synced)
		view_lose_changes(view);
	if (view->filtered == NULL || view->real_depth > 0)
		return view->module_ctx.super.sync_init(box, flags);

	ctx = sync_context_get();
	ctx->ctx.box = box;
	ctx->ctx.flags = flags;
	if ((flags & MAILBOX_SYNC_FLAG_FIX_INCONSISTENT) != 0) {
		/* mailbox_sync() sets it when nobody wants to know what has
		   changed; but then the real view doesn't tell of it */
		if (view->synced)
			ctx->ctx.flags &= ENUM_NEGATE(
				MAILBOX_SYNC_FLAG_FIX_INCONSISTENT);
		else
			view->evaluated = FALSE;
	}
	T_BEGIN {
		ctx->failed = !resolved || sync_run(box, view, ctx) < 0;
	} T_END;
	view->sync_ctx = &ctx->ctx;
	/* as in Dovecot's own: who begins a transaction now needs no copy */
	if (view->filtered != NULL)
		view->filtered->syncing = TRUE;
	return &ctx->ctx;
}

static bool
sync_next_range(const ARRAY_TYPE(seq_range) *ranges, unsigned int *idx,
		enum mailbox_sync_type type, struct mailbox_sync_rec *sync_rec_r)
{
	const struct seq_range *range;

	if (*idx >= array_count(ranges))
		return FALSE;
	range = array_idx(ranges, (*idx)++);
	sync_rec_r->type = type;
	sync_rec_r->seq1 = range->seq1;
	sync_rec_r->seq2 = range->seq2;
	return TRUE;
}

bool pimap_view_sync_next(struct mailbox_sync_context *_ctx,
			  struct mailbox_sync_rec *sync_rec_r)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(_ctx->box);
	struct pimap_view_sync_context *ctx =
		(struct pimap_view_sync_context *)_ctx;
	unsigned int last;

	if (_ctx != view->sync_ctx)
		return view->module_ctx.super.sync_next(_ctx, sync_rec_r);
	if (ctx->failed)
		return FALSE;
	if (sync_next_range(&ctx->flags, &ctx->flags_idx,
			    MAILBOX_SYNC_TYPE_FLAGS, sync_rec_r))
		return TRUE;
	if (sync_next_range(&ctx->modseqs, &ctx->modseqs_idx,
			    MAILBOX_SYNC_TYPE_MODSEQ, sync_rec_r))
		return TRUE;
	/* from the end to the beginning, so that numbers stay valid */
	if (ctx->expunges_idx == 0)
		return FALSE;
	last = --ctx->expunges_idx;
	return sync_next_range(&ctx->expunges, &last,
			       MAILBOX_SYNC_TYPE_EXPUNGE, sync_rec_r);
}

static int
sync_update_results(struct mailbox *box, struct pimap_view_sync_context *ctx)
{
	const uint32_t kept = ctx->old_count - seq_range_count(&ctx->expunges);
	struct mail_search_result *result;

	array_foreach_elem(&box->search_results, result) {
		if ((result->flags & MAILBOX_SEARCH_RESULT_FLAG_UPDATE) == 0)
			continue;
		if (index_search_result_update_flags(result,
						     &ctx->flag_uids) < 0 ||
		    index_search_result_update_appends(result, kept) < 0)
			return -1;
	}
	return 0;
}

/* The number of messages that the invariant of struct pimap_view asks for */
static uint32_t sync_expected_count(const struct pimap_view *view)
{
	return seq_range_count(&view->matches) - seq_range_count(&view->late) +
		seq_range_count(&view->kept) + seq_range_count(&view->leaving);
}

/* What was shown can be fetched with its UID; COPYUID told others. */
static void view_learn_next_uid(struct pimap_view *view)
{
	const struct mail_index_map *map = view->filtered->map;
	uint32_t uid;

	/* those of its own messages that are visible have been shown */
	view->known_next_uid = I_MAX(view->known_next_uid,
				     view->saved_uid + 1);
	view->saved_uid = 0;
	if (map->hdr.messages_count == 0)
		return;
	uid = MAIL_INDEX_REC_AT_SEQ(map, map->hdr.messages_count)->uid;
	view->known_next_uid = I_MAX(view->known_next_uid, uid + 1);
}

static int
sync_finish(struct mailbox *box, struct pimap_view *view,
	    struct pimap_view_sync_context *ctx)
{
	ARRAY_TYPE(seq_range) changed;
	uint32_t count;

	t_array_init(&changed, 32);
	array_append_array(&changed, &ctx->flag_uids);
	seq_range_array_merge(&changed, &ctx->hidden_uids);
	if (ctx->first) {
		view_begin(box, view);
	} else {
		pimap_view_map_update(view, &ctx->expunges, &changed,
				      &ctx->appended_uids);
	}
	view_learn_next_uid(view);
	pimap_view_update_recent(box, view);
	count = mail_index_view_get_messages_count(view->filtered);
	if (count != sync_expected_count(view) && !view->broken) {
		mailbox_set_critical(box, "pimap: BUG: view has %u messages "
			"instead of %u", count, sync_expected_count(view));
		view->broken = TRUE;
	}
	return view->broken ? -1 : sync_update_results(box, ctx);
}

int pimap_view_sync_deinit(struct mailbox_sync_context *_ctx,
			   struct mailbox_sync_status *status_r)
{
	struct mailbox *box = _ctx->box;
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);
	struct pimap_view_sync_context *ctx =
		(struct pimap_view_sync_context *)_ctx;
	int ret = 0;

	if (_ctx != view->sync_ctx) {
		/* the whole folder's sync, because all is shown or core code
		   syncs for itself */
		ret = view->module_ctx.super.sync_deinit(_ctx, status_r);
		if (ret == 0 && view->real_depth == 0)
			pimap_view_modseq_synced(box, view, status_r);
		return ret;
	}
	view->sync_ctx = NULL;
	if (view->filtered != NULL)
		view->filtered->syncing = FALSE;
	if (ctx->failed)
		ret = -1;
	else if (ctx->changed) T_BEGIN {
		ret = sync_finish(box, view, ctx);
	} T_END;
	if (ret == 0)
		pimap_view_modseq_synced(box, view, &ctx->status);
	pimap_view_update_timer(box, view);
	if (ret == 0 && status_r != NULL)
		*status_r = ctx->status;
	sync_context_put(ctx);
	return ret;
}
