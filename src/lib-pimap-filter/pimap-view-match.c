/* SPDX-License-Identifier: LGPL-2.1-only */
/* Which messages of a mailbox match its view's criteria. A message is looked at
   when it is new, when its flags have changed and the criteria ask for flags,
   and when time changes what the criteria mean; never without such a reason. */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "mail-search.h"
#include "mail-search-build.h"
#include "pimap-compat.h"
#include "pimap-ranges.h"
#include "pimap-view-private.h"
#include "pimap-view-cache.h"

/* Between what is looked at there may be so many messages that needn't be: they
   cost less than another search. */
#define MATCH_MAX_GAP 256

int pimap_view_match_build(struct mailbox *box, struct pimap_view *view)
{
	const time_t expires = view->criteria.expires;
	const char *error;

	if (pimap_criteria_build(view->criteria_text, view->zone,
				 &view->criteria, &error) < 0) {
		mailbox_set_critical(box, "pimap: Invalid view filter %s: %s",
				     view->criteria_text, error);
		return -1;
	}
	/* what was evaluated before isn't newer than it was */
	if (expires != 0)
		view->criteria.expires = expires;
	/* simplify them without the UIDs that are searched among */
	pimap_criteria_simplify(&view->criteria);
	view->criteria_known = TRUE;
	return 0;
}

/* Adds those of the messages with the sequences (NULL: of all) that match. A
   message that can't be read doesn't match; Dovecot has logged why.
   Returns -1 if what matches isn't known. */
static int
match_search(struct mailbox *box, struct pimap_view *view,
	     const ARRAY_TYPE(seq_range) *seqs, ARRAY_TYPE(seq_range) *matches)
{
	struct mail_search_args *args;
	struct mail_search_arg seqset;
	struct mailbox_transaction_context *trans;
	struct mail_search_context *search_ctx;
	struct mail *mail;
	int ret;

	if (view->criteria.args == NULL && pimap_view_match_build(box, view) < 0)
		return -1;
	args = view->criteria.args;
	if (seqs != NULL) {
		i_zero(&seqset);
		seqset.type = SEARCH_SEQSET;
		seqset.value.seqset = *seqs;
		seqset.next = args->args;
		args->args = &seqset;
	}
	mail_search_args_init(args, box, FALSE, NULL);
	trans = mailbox_transaction_begin(box, 0, __func__);
	search_ctx = mailbox_search_init(trans, args, NULL, 0, NULL);
	/* its figures would be those of the whole folder */
	pimap_mailbox_search_hide_progress(search_ctx);
	while (mailbox_search_next(search_ctx, &mail)) {
		/* A sync that must not tell of EXPUNGE keeps messages that came
		   and went before it. Their flags aren't known any more. */
		if (!mail_index_is_expunged(view->real, mail->seq) ||
		    seq_range_exists(&view->matches, mail->uid))
			seq_range_array_add(matches, mail->uid);
	}
	/* a virtual mailbox may take for gone what it doesn't know of yet */
	if (box->virtual_vfuncs != NULL &&
	    mailbox_search_seen_lost_data(search_ctx))
		view->incomplete = TRUE;
	if (mailbox_search_deinit(&search_ctx) < 0)
		view->incomplete = TRUE;
	mail_search_args_deinit(args);
	/* a search leaves its marks: full text search puts other keys in their
	   place, MIMEPART FILENAME keeps a pointer to what it has freed */
	pimap_criteria_free(&view->criteria);
	ret = mailbox_transaction_commit(&trans);
	return mail_index_view_is_inconsistent(view->real) ? -1 : ret;
}

/* The same for UIDs. A search goes through all messages between the first and
   the last that it is given: where they are far apart it is several. */
static int
match_search_uids(struct mailbox *box, struct pimap_view *view,
		  const ARRAY_TYPE(seq_range) *uids,
		  ARRAY_TYPE(seq_range) *matches)
{
	const struct seq_range *range;
	ARRAY_TYPE(seq_range) seqs;
	uint32_t seq1, seq2, last = 0;

	t_array_init(&seqs, 32);
	array_foreach(uids, range) {
		mail_index_map_lookup_seq_range(view->real->map, range->seq1,
						range->seq2, &seq1, &seq2);
		if (seq1 == 0)
			continue;
		if (array_count(&seqs) > 0 && seq1 - last > MATCH_MAX_GAP) {
			if (match_search(box, view, &seqs, matches) < 0)
				return -1;
			array_clear(&seqs);
		}
		seq_range_array_add_range(&seqs, seq1, seq2);
		last = seq2;
	}
	return array_count(&seqs) == 0 ? 0 :
		match_search(box, view, &seqs, matches);
}

void pimap_view_match_forget(struct pimap_view *view)
{
	pimap_criteria_free(&view->criteria);
	i_zero(&view->criteria);
	view->criteria_known = FALSE;
}

bool pimap_view_match_is_expired(const struct pimap_view *view)
{
	return view->criteria.expires != 0 &&
		ioloop_time >= view->criteria.expires;
}

static int
match_everything(struct mailbox *box, struct pimap_view *view,
		 ARRAY_TYPE(seq_range) *removed_uids,
		 ARRAY_TYPE(seq_range) *added_uids)
{
	ARRAY_TYPE(seq_range) matches;

	view->incomplete = FALSE;
	t_array_init(&matches, 128);
	if (match_search(box, view, NULL, &matches) < 0)
		return -1;

	array_append_array(removed_uids, &view->matches);
	(void)seq_range_array_remove_seq_range(removed_uids, &matches);
	array_append_array(added_uids, &matches);
	(void)seq_range_array_remove_seq_range(added_uids, &view->matches);
	array_clear(&view->matches);
	array_append_array(&view->matches, &matches);
	return 0;
}

static int
match_changes(struct mailbox *box, struct pimap_view *view,
	      const ARRAY_TYPE(seq_range) *changed_uids,
	      const ARRAY_TYPE(seq_range) *expunged_uids,
	      ARRAY_TYPE(seq_range) *removed_uids,
	      ARRAY_TYPE(seq_range) *added_uids)
{
	const uint32_t next_uid = view->real->map->hdr.next_uid;
	ARRAY_TYPE(seq_range) uids, matches;

	t_array_init(&uids, 32);
	t_array_init(&matches, 32);
	if (view->criteria.has_flags || view->criteria.expires != 0)
		array_append_array(&uids, changed_uids);
	pimap_ranges_add_common(removed_uids, &uids, &view->matches);
	if (next_uid > view->evaluated_next_uid) {
		seq_range_array_add_range(&uids, view->evaluated_next_uid,
					  next_uid - 1);
	}
	if (array_count(&uids) > 0 &&
	    match_search_uids(box, view, &uids, &matches) < 0)
		return -1;
	(void)seq_range_array_remove_seq_range(removed_uids, &matches);
	pimap_ranges_add_common(removed_uids, expunged_uids, &view->matches);
	array_append_array(added_uids, &matches);
	array_clear(&uids);
	pimap_ranges_add_common(&uids, &matches, &view->matches);
	(void)seq_range_array_remove_seq_range(added_uids, &uids);

	(void)seq_range_array_remove_seq_range(&view->matches, removed_uids);
	seq_range_array_merge(&view->matches, added_uids);
	if (array_count(removed_uids) > 0 || array_count(added_uids) > 0 ||
	    next_uid > view->evaluated_next_uid)
		view->cache_changed = TRUE;
	return 0;
}

static int
match_first(struct mailbox *box, struct pimap_view *view,
	    ARRAY_TYPE(seq_range) *removed_uids,
	    ARRAY_TYPE(seq_range) *added_uids)
{
	ARRAY_TYPE(seq_range) changed, none;

	t_array_init(&changed, 32);
	t_array_init(&none, 1);
	if (!pimap_view_cache_load(box, view, &changed))
		return match_everything(box, view, removed_uids, added_uids);
	if (view->criteria.expires != 0)
		seq_range_array_merge(&changed, &view->matches);
	return match_changes(box, view, &changed, &none, removed_uids,
			     added_uids);
}

int pimap_view_match_update(struct mailbox *box, struct pimap_view *view,
			    const ARRAY_TYPE(seq_range) *changed_uids,
			    const ARRAY_TYPE(seq_range) *expunged_uids,
			    ARRAY_TYPE(seq_range) *removed_uids,
			    ARRAY_TYPE(seq_range) *added_uids)
{
	ARRAY_TYPE(seq_range) changed;
	int ret;

	t_array_init(&changed, 32);
	array_append_array(&changed, changed_uids);
	if (pimap_view_match_is_expired(view)) {
		if (view->criteria.grow || view->incomplete)
			view->evaluated = FALSE;
		else
			seq_range_array_merge(&changed, &view->matches);
		pimap_view_match_forget(view);
	}
	if (!view->evaluated && !view->synced)
		ret = match_first(box, view, removed_uids, added_uids);
	else if (!view->criteria_known && pimap_view_match_build(box, view) < 0)
		ret = -1;
	else if (view->evaluated)
		ret = match_changes(box, view, &changed, expunged_uids,
				    removed_uids, added_uids);
	else
		ret = match_everything(box, view, removed_uids, added_uids);
	view->evaluated = ret == 0;
	if (ret == 0)
		view->evaluated_next_uid = view->real->map->hdr.next_uid;
	return ret;
}

int pimap_view_match_all(struct mailbox *box, struct pimap_view *view)
{
	ARRAY_TYPE(seq_range) none, removed, added;

	if (view->evaluated)
		return 0;
	t_array_init(&none, 1);
	t_array_init(&removed, 1);
	t_array_init(&added, 128);
	return pimap_view_match_update(box, view, &none, &none, &removed,
				       &added);
}
