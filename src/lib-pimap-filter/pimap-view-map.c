/* SPDX-License-Identifier: LGPL-2.1-only */
/* The filtered index view of a mailbox: a clone of the real one with a private
   map, which holds only the visible messages' records. */

#include "lib.h"
#include "array.h"
#include "buffer.h"
#include "seq-range-array.h"
#include "pimap-view-private.h"

void pimap_view_enter_real(struct mailbox *box, struct pimap_view *view)
{
	if (view->real_depth++ == 0 && view->filtered != NULL) {
		i_assert(box->view == view->filtered);
		box->view = view->real;
	}
}

void pimap_view_leave_real(struct mailbox *box, struct pimap_view *view)
{
	i_assert(view->real_depth > 0);
	/* the mailbox may have been opened or closed in between */
	if (--view->real_depth == 0 && view->filtered != NULL) {
		i_assert(box->view == view->real);
		box->view = view->filtered;
	}
}

/* Keeps the map until the view is synced the next time: records in it have
   been returned. */
static void
filtered_ref_map(struct mail_index_view *filtered, struct mail_index_map *map)
{
	struct mail_index_map *const *mapp;

	if (!array_is_created(&filtered->map_refs))
		i_array_init(&filtered->map_refs, 4);
	array_foreach(&filtered->map_refs, mapp) {
		if (*mapp == map)
			return;
	}
	map->refcount++;
	array_push_back(&filtered->map_refs, &map);
}

/* Dovecot's own version looks for the newest record at or below the same
   sequence; here it is at or above. */
static const struct mail_index_record *
filtered_lookup_full(struct mail_index_view *filtered, uint32_t seq,
		     struct mail_index_map **map_r, bool *expunged_r)
{
	struct mail_index_map *head = filtered->index->map;
	const struct mail_index_record *rec;
	uint32_t seq1, seq2;

	i_assert(seq > 0 &&
		 seq <= mail_index_view_get_messages_count(filtered));
	rec = MAIL_INDEX_REC_AT_SEQ(filtered->map, seq);
	mail_index_map_lookup_seq_range(head, rec->uid, rec->uid, &seq1, &seq2);
	if (expunged_r != NULL)
		*expunged_r = seq1 == 0;
	if (seq1 == 0) {
		*map_r = filtered->map;
		return rec;
	}
	filtered_ref_map(filtered, head);
	*map_r = head;
	return MAIL_INDEX_REC_AT_SEQ(head, seq1);
}

static void map_finish(struct mail_index_map *map)
{
	struct mail_index_record_map *rec_map = map->rec_map;
	unsigned int record_size = map->hdr.record_size;
	const struct mail_index_record *rec;
	uint32_t i, count = rec_map->buffer->used / record_size;

	rec_map->records = buffer_get_modifiable_data(rec_map->buffer, NULL);
	rec_map->records_count = count;
	map->hdr.messages_count = count;
	map->hdr.seen_messages_count = 0;
	map->hdr.deleted_messages_count = 0;
	for (i = 0; i < count; i++) {
		rec = CONST_PTR_OFFSET(rec_map->records,
				       (size_t)i * record_size);
		if ((rec->flags & MAIL_SEEN) != 0)
			map->hdr.seen_messages_count++;
		if ((rec->flags & MAIL_DELETED) != 0)
			map->hdr.deleted_messages_count++;
		rec_map->last_appended_uid = rec->uid;
	}
}

struct mail_index_map *
pimap_view_map_build(struct pimap_view *view,
		     const ARRAY_TYPE(seq_range) *uids)
{
	struct mail_index_map *src = view->real->map, empty, *map;
	const struct seq_range *range;
	uint32_t seq = 1, seq1;

	/* mail_index_map_clone() of a map without records gives one with
	   private, empty records */
	empty = *src;
	empty.rec_map = NULL;
	map = mail_index_map_clone(&empty);

	array_foreach(uids, range) {
		while (seq <= src->hdr.messages_count &&
		       MAIL_INDEX_REC_AT_SEQ(src, seq)->uid < range->seq1)
			seq++;
		seq1 = seq;
		while (seq <= src->hdr.messages_count &&
		       MAIL_INDEX_REC_AT_SEQ(src, seq)->uid <= range->seq2)
			seq++;
		if (seq1 < seq) {
			buffer_append(map->rec_map->buffer,
				      MAIL_INDEX_REC_AT_SEQ(src, seq1),
				      (size_t)(seq - seq1) *
				      src->hdr.record_size);
		}
	}
	map_finish(map);
	return map;
}

void pimap_view_set_map(struct pimap_view *view, struct mail_index_map *map)
{
	struct mail_index_view *filtered = view->filtered, *real = view->real;
	struct mail_index_map **mapp;

	mail_index_unmap(&filtered->map);
	filtered->map = map;
	if (array_is_created(&filtered->map_refs)) {
		array_foreach_modifiable(&filtered->map_refs, mapp)
			mail_index_unmap(mapp);
		array_clear(&filtered->map_refs);
	}
	filtered->indexid = real->indexid;
	filtered->inconsistency_id = real->inconsistency_id;
	filtered->inconsistent = real->inconsistent;
	filtered->log_file_expunge_seq = real->log_file_expunge_seq;
	filtered->log_file_expunge_offset = real->log_file_expunge_offset;
	filtered->log_file_head_seq = real->log_file_head_seq;
	filtered->log_file_head_offset = real->log_file_head_offset;
}

void pimap_view_open_filtered(struct mailbox *box, struct pimap_view *view)
{
	ARRAY_TYPE(seq_range) none;

	t_array_init(&none, 1);
	view->real = box->view;
	view->filtered = i_new(struct mail_index_view, 1);
	mail_index_view_clone(view->filtered, view->real);
	view->filtered->v.lookup_full = filtered_lookup_full;
	pimap_view_set_map(view, pimap_view_map_build(view, &none));
	view->rebuild = TRUE;
	if (view->real_depth == 0)
		box->view = view->filtered;
}

void pimap_view_get_uids(struct mail_index_view *index_view,
			 ARRAY_TYPE(seq_range) *uids)
{
	uint32_t seq, uid, count;

	count = mail_index_view_get_messages_count(index_view);
	for (seq = 1; seq <= count; seq++) {
		mail_index_lookup_uid(index_view, seq, &uid);
		seq_range_array_add(uids, uid);
	}
}
