/* SPDX-License-Identifier: LGPL-2.1-only */
/* CONDSTORE and QRESYNC in a view. Modseqs are the folder's own. But a
   message can enter and leave a view without any change of its own, and a
   session may show what another SELECT wouldn't. A client that comes back with a
   modseq must be told of all that, so:

   - The HIGHESTMODSEQ that a session is told stays behind while the view is
     ahead: while it keeps messages that don't match, hasn't told of some that
     left, can't show some that match, couldn't read some, or is of another
     filter than the folder has by now. Whoever comes back with it is told of
     the changes since anew. It is what Dovecot does while it must not tell of
     expunges.
   - The epoch is the highest modseq when the filter that is in force was first
     used. What a client was told before may have been of another one: whoever
     comes back with that is told of all that is shown, and of all that isn't.
     The view cache keeps it; without a view cache, and where time changes what
     matches, it is the present.

   Neither needs anything to be written before a client is answered, and nothing
   is wrong if a process dies. */

#include "lib.h"
#include "array.h"
#include "mail-index-modseq.h"
#include "mail-transaction-log-private.h"
#include "mail-search.h"
#include "pimap-view.h"
#include "pimap-view-private.h"
#include "pimap-view-cache.h"

/* TRUE if the folder has another filter by now. Asked only where it matters. */
static bool view_has_other_filter(struct mailbox *box, struct pimap_view *view)
{
	struct pimap_view_filter filter;
	bool ret;

	if ((box->enabled_features & MAILBOX_FEATURE_CONDSTORE) == 0)
		return FALSE;
	pimap_view_enter_real(box, view);
	ret = view->lookup(box, &filter) < 0 ||
		null_strcmp(filter.criteria, view->criteria_text) != 0;
	pimap_view_leave_real(box, view);
	return ret;
}

static bool view_is_ahead(struct mailbox *box, struct pimap_view *view)
{
	if (view->filtered != NULL &&
	    (view->incomplete || view->state != NULL ||
	     view->lost_changes || array_count(&view->kept) > 0 ||
	     array_count(&view->leaving) > 0 || array_count(&view->late) > 0))
		return TRUE;
	return view_has_other_filter(box, view);
}

/* What the view's map has can be ahead. */
uint64_t pimap_view_get_synced_modseq(struct mail_index_view *real)
{
	struct mail_transaction_log_file *file;
	uint64_t modseq, highest = mail_index_modseq_get_highest(real);
	const char *error;

	if (mail_transaction_log_find_file(real->index->log,
					   real->log_file_head_seq, FALSE,
					   &file, &error) > 0 &&
	    real->log_file_head_offset <= file->sync_offset &&
	    mail_transaction_log_file_get_highest_modseq_at(file,
			real->log_file_head_offset, &modseq, &error) > 0)
		highest = I_MIN(highest, modseq);
	return I_MAX(highest, 1);
}

uint64_t pimap_view_get_modseq(struct mailbox *box)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT(box);

	return pimap_view_get_synced_modseq(view == NULL ? box->view :
					    pimap_view_get_real(box, view));
}

bool pimap_view_is_gone(struct mailbox *box, uint32_t uid)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT(box);
	uint32_t seq;

	return !mail_index_lookup_seq(view == NULL ? box->view :
				      pimap_view_get_real(box, view), uid,
				      &seq);
}

void pimap_view_modseq_synced(struct mailbox *box, struct pimap_view *view,
			      struct mailbox_sync_status *status)
{
	struct mail_index_view *real = pimap_view_get_real(box, view);

	if (!view->resolved)
		return;
	if (view->epoch_modseq == UINT64_MAX &&
	    !pimap_view_cache_load_epoch(box, view))
		view->epoch_modseq = mail_index_modseq_get_highest(real);
	/* in this order: what was told before the filter changed must not be
	   above what is the highest at its first use */
	view->ahead = view_is_ahead(box, view);
	if (!view->ahead && (status == NULL || !status->sync_delayed_expunges))
		view->full_modseq = pimap_view_get_synced_modseq(real);
	else if (view->ahead && status != NULL)
		status->sync_delayed_expunges = TRUE;
}

void pimap_view_widen_changes(struct mailbox *box, struct mail_search_arg *args)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT(box);

	for (; view != NULL && args != NULL; args = args->next) {
		/* it asks for what has this modseq or a higher one */
		if (args->type == SEARCH_MODSEQ &&
		    args->value.modseq->modseq > 1 &&
		    args->value.modseq->modseq - 1 <= view->epoch_modseq)
			args->value.modseq->modseq = 1;
	}
}

void pimap_view_get_hidden_since(struct mailbox *box, uint64_t modseq,
				 const ARRAY_TYPE(seq_range) *uid_filter,
				 ARRAY_TYPE(seq_range) *uids_r)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT(box);
	const struct seq_range *range;
	uint32_t seq, seq1, seq2, uid, shown1, shown2;
	bool all;

	if (view == NULL || view->filtered == NULL)
		return;
	all = modseq <= view->epoch_modseq;
	/* if flags don't matter, nothing has left since */
	if (!all && !view->criteria.has_flags)
		return;
	array_foreach(uid_filter, range) {
		mail_index_map_lookup_seq_range(view->real->map, range->seq1,
						range->seq2, &seq1, &seq2);
		for (seq = seq1; seq1 > 0 && seq <= seq2; seq++) {
			uid = MAIL_INDEX_REC_AT_SEQ(view->real->map, seq)->uid;
			mail_index_map_lookup_seq_range(view->filtered->map,
				uid, uid, &shown1, &shown2);
			if (shown1 == 0 &&
			    (all || mail_index_modseq_lookup(view->real,
							     seq) > modseq))
				seq_range_array_add(uids_r, uid);
		}
	}
}
