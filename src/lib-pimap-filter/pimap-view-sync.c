/* SPDX-License-Identifier: LGPL-2.1-only */
/* Syncing a mailbox that has a view. The real view is synced first, and the
   search result that says which messages match follows it. Then the filtered
   map is made anew by one merge of what was visible, what exists and what
   matches; the differences are what the session is told. */

#include "lib.h"
#include "array.h"
#include "seq-range-array.h"
#include "mail-search.h"
#include "mail-search-build.h"
#include "mailbox-search-result-private.h"
#include "index-storage.h"
#include "index-sync-private.h"
#include "index-search-result.h"
#include "pimap-criteria.h"
#include "pimap-view-private.h"

struct pimap_view_sync_context {
	struct mailbox_sync_context ctx;
	struct mailbox_sync_status status;
	struct mail_index_map *new_map;

	/* sequences in the filtered view */
	ARRAY_TYPE(seq_range) flags, modseqs, expunges;
	ARRAY_TYPE(seq_range) changed_uids;
	uint32_t old_count;
	unsigned int flags_idx, modseqs_idx, expunges_idx;
	bool failed;
};

void pimap_view_free_result(struct mailbox *box, struct pimap_view *view)
{
	struct mail_search_result *const *results;
	unsigned int i, count;

	if (view->result == NULL)
		return;
	/* mailbox_search_result_free() wants to find it */
	results = array_get(&box->search_results, &count);
	for (i = 0; i < count && results[i] != view->result; i++) ;
	if (i == count)
		array_push_back(&box->search_results, &view->result);
	mailbox_search_result_free(&view->result);
}

/* Finds all messages that match. The real view is shown. */
static int pimap_view_search(struct mailbox *box, struct pimap_view *view)
{
	struct mailbox_transaction_context *trans;
	struct mail_search_context *search_ctx;
	struct mail *mail;
	const char *error;
	int ret;

	if (view->search_args == NULL) {
		view->search_args = pimap_criteria_build(view->criteria, &error);
		if (view->search_args == NULL) {
			mailbox_set_critical(box, "pimap: Invalid view filter "
				"%s: %s", view->criteria, error);
			return -1;
		}
	}
	mail_search_args_init(view->search_args, box, TRUE, NULL);
	trans = mailbox_transaction_begin(box, 0, __func__);
	search_ctx = mailbox_search_init(trans, view->search_args, NULL, 0, NULL);
	view->result = mailbox_search_result_save(search_ctx,
		MAILBOX_SEARCH_RESULT_FLAG_UPDATE);
	while (mailbox_search_next(search_ctx, &mail)) ;
	ret = mailbox_search_deinit(&search_ctx);
	if (mailbox_transaction_commit(&trans) < 0)
		ret = -1;
	if (ret < 0)
		pimap_view_free_result(box, view);
	return ret;
}

int pimap_view_fill(struct mailbox *box, struct pimap_view *view)
{
	int ret;

	if (view->filtered == NULL || view->real_depth > 0 ||
	    view->result != NULL || view->synced)
		return 0;
	pimap_view_enter_real(box, view);
	ret = pimap_view_search(box, view);
	pimap_view_leave_real(box, view);
	if (ret < 0)
		return -1;
	array_delete(&box->search_results,
		     array_count(&box->search_results) - 1, 1);
	pimap_view_set_map(view,
		pimap_view_map_build(view, &view->result->uids));
	return 0;
}

/* TRUE if uid is in the sorted ranges. *idx advances with rising UIDs. */
static bool
ranges_have_uid(const ARRAY_TYPE(seq_range) *ranges, unsigned int *idx,
		uint32_t uid)
{
	const struct seq_range *range;
	unsigned int count;

	range = array_get(ranges, &count);
	while (*idx < count && range[*idx].seq2 < uid)
		(*idx)++;
	return *idx < count && range[*idx].seq1 <= uid;
}

static bool
real_has_uid(const struct pimap_view *view, uint32_t *seq, uint32_t uid)
{
	const struct mail_index_map *map = view->real->map;

	while (*seq <= map->hdr.messages_count &&
	       MAIL_INDEX_REC_AT_SEQ(map, *seq)->uid < uid)
		(*seq)++;
	return *seq <= map->hdr.messages_count &&
		MAIL_INDEX_REC_AT_SEQ(map, *seq)->uid == uid;
}

/* TRUE if messages below next_uid match, but aren't kept. */
static bool
pimap_view_has_late(const struct pimap_view *view,
		    const ARRAY_TYPE(seq_range) *keep, uint32_t next_uid)
{
	ARRAY_TYPE(seq_range) late;

	t_array_init(&late, array_count(&view->result->uids) + 1);
	array_append_array(&late, &view->result->uids);
	seq_range_array_remove_range(&late, next_uid, (uint32_t)-1);
	(void)seq_range_array_remove_seq_range(&late, keep);
	return array_count(&late) > 0;
}

static void
pimap_view_sync_build(struct pimap_view *view,
		      struct pimap_view_sync_context *ctx,
		      const ARRAY_TYPE(seq_range) *flag_uids,
		      const ARRAY_TYPE(seq_range) *modseq_uids)
{
	const bool no_expunges =
		(ctx->ctx.flags & MAILBOX_SYNC_FLAG_NO_EXPUNGES) != 0;
	/* all messages are new at the first sync */
	const uint32_t next_uid = !view->synced ? 1 :
		view->filtered->map->hdr.next_uid;
	const struct seq_range *range;
	ARRAY_TYPE(seq_range) keep;
	unsigned int match_idx = 0, own_idx = 0, flag_idx = 0, modseq_idx = 0;
	uint32_t seq, real_seq = 1, uid;
	bool exists, matches;

	view->rebuild = FALSE;
	t_array_init(&keep, 128);
	ctx->old_count = !view->synced ? 0 :
		view->filtered->map->hdr.messages_count;
	view->synced = TRUE;
	for (seq = 1; seq <= ctx->old_count; seq++) {
		uid = MAIL_INDEX_REC_AT_SEQ(view->filtered->map, seq)->uid;
		exists = real_has_uid(view, &real_seq, uid);
		matches = exists &&
			(ranges_have_uid(&view->result->uids, &match_idx, uid) ||
			 ranges_have_uid(&view->own_uids, &own_idx, uid));
		if (!matches && !no_expunges) {
			seq_range_array_add(&ctx->expunges, seq);
			continue;
		}
		if (!matches) {
			view->rebuild = TRUE;
			ctx->status.sync_delayed_expunges = TRUE;
		}
		if (!exists) {
			view->broken = TRUE;
			continue;
		}
		seq_range_array_add(&keep, uid);
		if (ranges_have_uid(flag_uids, &flag_idx, uid))
			seq_range_array_add(&ctx->flags, seq);
		else if (ranges_have_uid(modseq_uids, &modseq_idx, uid))
			seq_range_array_add(&ctx->modseqs, seq);
		else
			continue;
		seq_range_array_add(&ctx->changed_uids, uid);
	}
	ctx->expunges_idx = array_count(&ctx->expunges);

	view->late = pimap_view_has_late(view, &keep, next_uid);
	/* new messages: those that IMAP can add at the end (R-1.4c) */
	array_foreach(&view->result->uids, range) {
		if (range->seq2 >= next_uid) {
			seq_range_array_add_range(&keep,
				I_MAX(range->seq1, next_uid), range->seq2);
		}
	}
	ctx->new_map = pimap_view_map_build(view, &keep);
	view->built_head_seq = view->real->log_file_head_seq;
	view->built_head_offset = view->real->log_file_head_offset;
	view->built_expunge_seq = view->real->log_file_expunge_seq;
	view->built_expunge_offset = view->real->log_file_expunge_offset;
}

static bool pimap_view_is_changed(const struct pimap_view *view)
{
	const struct mail_index_view *real = view->real;

	return view->rebuild ||
		view->built_head_seq != real->log_file_head_seq ||
		view->built_head_offset != real->log_file_head_offset ||
		view->built_expunge_seq != real->log_file_expunge_seq ||
		view->built_expunge_offset != real->log_file_expunge_offset;
}

/* Transactions that hide their changes were committed by way of the filtered
   view, but it is the real one that is synced. */
static void pimap_view_move_hidden(struct pimap_view *view)
{
	if (!array_is_created(&view->filtered->syncs_hidden))
		return;
	if (!array_is_created(&view->real->syncs_hidden))
		i_array_init(&view->real->syncs_hidden, 32);
	array_append_array(&view->real->syncs_hidden,
			   &view->filtered->syncs_hidden);
	array_clear(&view->filtered->syncs_hidden);
}

/* Syncs the real view and brings view->result up to date. Returns the UIDs
   whose flags or modseqs have changed. */
static int
pimap_view_sync_real(struct mailbox *box, struct pimap_view *view,
		     enum mailbox_sync_flags flags,
		     struct mailbox_sync_status *status_r,
		     ARRAY_TYPE(seq_range) *flag_uids,
		     ARRAY_TYPE(seq_range) *modseq_uids)
{
	struct mailbox_sync_context *sync_ctx;
	struct mailbox_sync_rec rec;
	uint32_t seq, uid;

	sync_ctx = view->module_ctx.super.sync_init(box, flags);
	while (view->module_ctx.super.sync_next(sync_ctx, &rec)) {
		if (rec.type == MAILBOX_SYNC_TYPE_EXPUNGE)
			continue; /* found by comparing UIDs */
		for (seq = rec.seq1; seq <= rec.seq2; seq++) {
			mail_index_lookup_uid(box->view, seq, &uid);
			seq_range_array_add(rec.type == MAILBOX_SYNC_TYPE_FLAGS ?
					    flag_uids : modseq_uids, uid);
		}
	}
	if (((struct index_mailbox_sync_context *)sync_ctx)->failed) {
		/* index_sync_search_results_uidify() would crash */
		array_clear(&box->search_results);
	}
	if (view->module_ctx.super.sync_deinit(sync_ctx, status_r) < 0) {
		/* it may have missed changes */
		pimap_view_free_result(box, view);
		return -1;
	}
	if (view->result == NULL)
		return pimap_view_search(box, view);
	return 0;
}

/* The client's search results (SEARCHRES, CONTEXT) are about what it sees:
   they lose what leaves before it is told so. */
static void
pimap_view_expunge_results(struct mailbox *box, struct pimap_view *view,
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

struct mailbox_sync_context *
pimap_view_sync_init(struct mailbox *box, enum mailbox_sync_flags flags)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);
	struct pimap_view_sync_context *ctx;
	bool resolved = pimap_view_resolve(box, view) == 0;
	ARRAY(struct mail_search_result *) client_results;
	ARRAY_TYPE(seq_range) flag_uids, modseq_uids;

	if (view->filtered == NULL)
		return view->module_ctx.super.sync_init(box, flags);
	if (view->real_depth > 0) {
		/* core code syncs for itself: what it learns is not to be told,
		   but it must not be missed at the next sync either */
		pimap_view_free_result(box, view);
		view->rebuild = TRUE;
		return view->module_ctx.super.sync_init(box, flags);
	}

	ctx = i_new(struct pimap_view_sync_context, 1);
	ctx->ctx.box = box;
	ctx->ctx.flags = flags;
	view->sync_ctx = &ctx->ctx;
	i_array_init(&ctx->flags, 16);
	i_array_init(&ctx->modseqs, 16);
	i_array_init(&ctx->expunges, 16);
	i_array_init(&ctx->changed_uids, 16);
	if (!resolved) {
		ctx->failed = TRUE;
		return &ctx->ctx;
	}

	t_array_init(&flag_uids, 32);
	t_array_init(&modseq_uids, 32);
	t_array_init(&client_results, 4);
	array_append_array(&client_results, &box->search_results);
	array_clear(&box->search_results);
	if (view->result != NULL)
		array_push_back(&box->search_results, &view->result);

	pimap_view_move_hidden(view);
	pimap_view_enter_real(box, view);
	ctx->failed = pimap_view_sync_real(box, view, flags, &ctx->status,
					   &flag_uids, &modseq_uids) < 0;
	pimap_view_leave_real(box, view);

	array_clear(&box->search_results);
	array_append_array(&box->search_results, &client_results);
	if (!ctx->failed && pimap_view_is_changed(view)) {
		pimap_view_sync_build(view, ctx, &flag_uids, &modseq_uids);
		pimap_view_expunge_results(box, view, ctx);
	}
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
	struct pimap_view_sync_context *ctx =
		(struct pimap_view_sync_context *)_ctx;
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(_ctx->box);
	unsigned int last;

	if (_ctx != view->sync_ctx)
		return view->module_ctx.super.sync_next(_ctx, sync_rec_r);
	if (ctx->failed)
		return FALSE;
	if (sync_next_range(&ctx->flags, &ctx->flags_idx,
			    MAILBOX_SYNC_TYPE_FLAGS, sync_rec_r))
		return TRUE;
	if ((_ctx->box->enabled_features & MAILBOX_FEATURE_CONDSTORE) != 0 &&
	    sync_next_range(&ctx->modseqs, &ctx->modseqs_idx,
			    MAILBOX_SYNC_TYPE_MODSEQ, sync_rec_r))
		return TRUE;
	/* from the end to the beginning, so that numbers stay valid */
	if (ctx->expunges_idx == 0)
		return FALSE;
	last = --ctx->expunges_idx;
	return sync_next_range(&ctx->expunges, &last,
			       MAILBOX_SYNC_TYPE_EXPUNGE, sync_rec_r);
}

int pimap_view_sync_deinit(struct mailbox_sync_context *_ctx,
			   struct mailbox_sync_status *status_r)
{
	struct pimap_view_sync_context *ctx =
		(struct pimap_view_sync_context *)_ctx;
	struct mailbox *box = _ctx->box;
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);
	struct mail_search_result *result;
	uint32_t kept;
	int ret;

	if (_ctx != view->sync_ctx)
		return view->module_ctx.super.sync_deinit(_ctx, status_r);
	view->sync_ctx = NULL;
	ret = ctx->failed ? -1 : 0;
	if (ret == 0 && ctx->new_map != NULL) {
		kept = ctx->old_count - seq_range_count(&ctx->expunges);
		pimap_view_set_map(view, ctx->new_map);
		array_foreach_elem(&box->search_results, result) {
			if ((result->flags & MAILBOX_SEARCH_RESULT_FLAG_UPDATE) == 0)
				continue;
			if (index_search_result_update_flags(result,
					&ctx->changed_uids) < 0 ||
			    index_search_result_update_appends(result, kept) < 0)
				ret = -1;
		}
	}
	if (ret == 0 && status_r != NULL)
		*status_r = ctx->status;
	array_free(&ctx->flags);
	array_free(&ctx->modseqs);
	array_free(&ctx->expunges);
	array_free(&ctx->changed_uids);
	i_free(ctx);
	return ret;
}
