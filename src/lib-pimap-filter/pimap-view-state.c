/* SPDX-License-Identifier: LGPL-2.1-only */
/* A session goes on in another process (imap-hibernate), and shows what it has
   shown: messages that have stopped matching meanwhile leave as they would have
   left before, by a sync that tells of it.

   Dovecot's own account of a mailbox doesn't help there: it takes every expunge
   for one that the client was to be told of, and everything that isn't one for a
   fault. A mailbox with a filtered view says that it has no messages while that
   account is made and read, and gives one of its own. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "strescape.h"
#include "imap-seqset.h"
#include "imap-util.h"
#include "mailbox-recent-flags.h"
#include "pimap-ranges.h"
#include "pimap-view.h"
#include "pimap-view-private.h"

enum state_field {
	FIELD_GENERATION,
	FIELD_NEXT_UID,
	FIELD_FULL_MODSEQ,
	FIELD_SYNCED_MODSEQ,
	FIELD_VISIBLE,
	FIELD_KEPT,
	FIELD_RECENT,
	FIELD_CRITERIA,

	FIELD_COUNT
};

static void
append_ranges(string_t *dest, const ARRAY_TYPE(seq_range) *uids)
{
	if (array_is_created(uids) && array_count(uids) > 0)
		imap_write_seq_range(dest, uids);
	str_append_c(dest, '\t');
}

void pimap_view_state_append(struct mailbox *box, string_t *dest)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT(box);
	ARRAY_TYPE(seq_range) visible;

	if (view == NULL || view->filtered == NULL || !view->synced)
		return;
	t_array_init(&visible, 128);
	pimap_view_map_get_uids(view->filtered->map, &visible);
	str_printfa(dest, "%u\t%u\t%"PRIu64"\t%"PRIu64"\t", view->generation,
		    view->known_next_uid, view->full_modseq,
		    pimap_view_get_synced_modseq(view->real));
	append_ranges(dest, &visible);
	append_ranges(dest, &view->kept);
	append_ranges(dest, &box->recent_flags);
	str_append_tabescaped(dest, view->criteria_text);
}

static int
parse_ranges(pool_t pool, const char *str, ARRAY_TYPE(seq_range) *uids_r)
{
	p_array_init(uids_r, pool, 32);
	return str[0] == '\0' ? 0 : imap_seq_set_nostar_parse(str, uids_r);
}

int pimap_view_state_parse(pool_t pool, const char *str,
			   const struct pimap_view_state **state_r)
{
	struct pimap_view_state *state = p_new(pool, struct pimap_view_state, 1);
	const char *const *fields;

	*state_r = state;
	/* all is shown */
	if (str[0] == '\0')
		return 0;
	fields = t_strsplit_tabescaped(str);
	if (str_array_length(fields) != FIELD_COUNT ||
	    str_to_uint32(fields[FIELD_GENERATION], &state->generation) < 0 ||
	    str_to_uint32(fields[FIELD_NEXT_UID], &state->next_uid) < 0 ||
	    str_to_uint64(fields[FIELD_FULL_MODSEQ],
			  &state->full_modseq) < 0 ||
	    str_to_uint64(fields[FIELD_SYNCED_MODSEQ],
			  &state->synced_modseq) < 0 ||
	    parse_ranges(pool, fields[FIELD_VISIBLE], &state->visible) < 0 ||
	    parse_ranges(pool, fields[FIELD_KEPT], &state->kept) < 0 ||
	    parse_ranges(pool, fields[FIELD_RECENT], &state->recent) < 0)
		return -1;
	state->criteria = p_strdup(pool, fields[FIELD_CRITERIA]);
	return 0;
}

void pimap_view_set_asleep(struct mailbox *box, bool asleep)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT(box);

	if (view != NULL)
		view->asleep = asleep;
}

/* The real view's UIDs among them */
static void
get_existing(struct pimap_view *view, const ARRAY_TYPE(seq_range) *uids,
	     ARRAY_TYPE(seq_range) *existing_r)
{
	struct mail_index_map *map = view->real->map;
	const struct seq_range *range;
	uint32_t seq, seq1, seq2;

	array_foreach(uids, range) {
		mail_index_map_lookup_seq_range(map, range->seq1, range->seq2,
						&seq1, &seq2);
		for (seq = seq1; seq1 > 0 && seq <= seq2; seq++) {
			seq_range_array_add(existing_r,
				MAIL_INDEX_REC_AT_SEQ(map, seq)->uid);
		}
	}
}

void pimap_view_state_take_up(struct pimap_view *view)
{
	const struct pimap_view_state *state = view->state;

	/* what is shown and doesn't match */
	array_clear(&view->leaving);
	get_existing(view, &state->visible, &view->leaving);
	(void)seq_range_array_remove_seq_range(&view->leaving, &view->matches);
	array_clear(&view->kept);
	pimap_ranges_move_common(&view->kept, &view->leaving, &state->kept);
	/* what matches and can't be shown */
	array_clear(&view->late);
	array_append_array(&view->late, &view->matches);
	(void)seq_range_array_remove_seq_range(&view->late, &state->visible);
	(void)seq_range_array_remove_range(&view->late, state->next_uid,
					   (uint32_t)-1);
	view->known_next_uid = state->next_uid;
	view->full_modseq = state->full_modseq;
}

bool pimap_view_wake(struct mailbox *box,
		     ARRAY_TYPE(seq_range) *gone_uids_r,
		     ARRAY_TYPE(seq_range) *gone_seqs_r,
		     unsigned int *count_r, unsigned int *recent_count_r)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT(box);
	ARRAY_TYPE(seq_range) existing, recent;
	const struct seq_range *range;
	uint32_t uid, seq = 0;

	if (view == NULL || view->state == NULL)
		return FALSE;
	view->asleep = FALSE;
	if (view->filtered == NULL) {
		view->state = NULL;
		return FALSE;
	}
	t_array_init(&existing, 128);
	get_existing(view, &view->state->visible, &existing);
	array_foreach(&view->state->visible, range) {
		for (uid = range->seq1; uid <= range->seq2; uid++) {
			seq++;
			if (seq_range_exists(&existing, uid))
				continue;
			seq_range_array_add(gone_uids_r, uid);
			seq_range_array_add(gone_seqs_r, seq);
		}
	}
	*count_r = seq_range_count(&existing);
	t_array_init(&recent, 32);
	get_existing(view, &view->state->recent, &recent);
	array_foreach(&recent, range) {
		for (uid = range->seq1; uid <= range->seq2; uid++)
			mailbox_recent_flags_set_uid_forced(box, uid);
	}
	*recent_count_r = seq_range_count(&view->state->recent);
	/* the next sync tells which flags are others */
	view->lost_changes = TRUE;
	view->lost_modseq = view->state->synced_modseq;
	view->state = NULL;
	return TRUE;
}
