/* SPDX-License-Identifier: LGPL-2.1-only */
/* The filtered index view of a mailbox: a clone of the real one with a private
   map, which holds only the visible messages' records. What a change of the map
   costs follows the change and what is visible, not what the folder holds. */

#include "lib.h"
#include "array.h"
#include "buffer.h"
#include "llist.h"
#include "seq-range-array.h"
#include "mailbox-recent-flags.h"
#include "pimap-view-private.h"

struct pimap_view *pimap_views = NULL;

static void recent_swap(struct mailbox *box, struct pimap_view *view)
{
	struct pimap_view_recent recent = {
		.flags = box->recent_flags,
		.prev_uid = box->recent_flags_prev_uid,
		.count = box->recent_flags_count,
	};

	box->recent_flags = view->other_recent.flags;
	box->recent_flags_prev_uid = view->other_recent.prev_uid;
	box->recent_flags_count = view->other_recent.count;
	view->other_recent = recent;
}

void pimap_view_enter_real(struct mailbox *box, struct pimap_view *view)
{
	if (view->real_depth++ == 0 && view->filtered != NULL) {
		i_assert(box->view == view->filtered);
		box->view = view->real;
		recent_swap(box, view);
	}
}

void pimap_view_leave_real(struct mailbox *box, struct pimap_view *view)
{
	i_assert(view->real_depth > 0);
	/* the mailbox may have been opened or closed in between */
	if (--view->real_depth == 0 && view->filtered != NULL) {
		i_assert(box->view == view->real);
		box->view = view->filtered;
		recent_swap(box, view);
	}
}

void pimap_view_update_recent(struct mailbox *box, struct pimap_view *view)
{
	ARRAY_TYPE(seq_range) uids;
	const struct seq_range *range;
	uint32_t seq, seq1, seq2;

	t_array_init(&uids, 8);
	if (array_is_created(&view->other_recent.flags))
		array_append_array(&uids, &view->other_recent.flags);
	/* those that were set for the session, when it woke up */
	if (array_is_created(&box->recent_flags))
		seq_range_array_merge(&uids, &box->recent_flags);
	mailbox_recent_flags_reset(box);
	array_foreach(&uids, range) {
		mail_index_map_lookup_seq_range(view->filtered->map,
			range->seq1, range->seq2, &seq1, &seq2);
		for (seq = seq1; seq1 > 0 && seq <= seq2; seq++) {
			mailbox_recent_flags_set_uid_forced(box,
				MAIL_INDEX_REC_AT_SEQ(view->filtered->map,
						      seq)->uid);
		}
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

/* The records of a map that is being made, with the counts of its header */

static struct mail_index_record *
map_rec(const struct mail_index_map *map, uint32_t idx)
{
	return PTR_OFFSET(buffer_get_modifiable_data(map->rec_map->buffer, NULL),
			  (size_t)idx * map->hdr.record_size);
}

static uint32_t map_count(const struct mail_index_map *map)
{
	return map->rec_map->buffer->used / map->hdr.record_size;
}

/* add is 1 or -1 */
static void
map_count_flags(struct mail_index_map *map,
		const struct mail_index_record *rec, int add)
{
	if ((rec->flags & MAIL_SEEN) != 0)
		map->hdr.seen_messages_count += add;
	if ((rec->flags & MAIL_DELETED) != 0)
		map->hdr.deleted_messages_count += add;
}

/* The index of the first record whose UID is uid or above it */
static uint32_t map_find(const struct mail_index_map *map, uint32_t uid)
{
	uint32_t left = 0, right = map_count(map), mid;

	while (left < right) {
		mid = left + (right - left) / 2;
		if (map_rec(map, mid)->uid < uid)
			left = mid + 1;
		else
			right = mid;
	}
	return left;
}

/* A copy of the real map's header, without records. */
static struct mail_index_map *map_create(struct pimap_view *view)
{
	struct mail_index_map empty, *map;

	/* mail_index_map_clone() of a map without records gives one with
	   private, empty records */
	empty = *view->real->map;
	empty.rec_map = NULL;
	map = mail_index_map_clone(&empty);
	map->hdr.seen_messages_count = 0;
	map->hdr.deleted_messages_count = 0;
	return map;
}

static void
map_append(struct mail_index_map *map, struct mail_index_map *src,
	   const ARRAY_TYPE(seq_range) *uids)
{
	struct pimap_view_cursor cursor = { .map = src };
	buffer_t *buffer = map->rec_map->buffer;
	const size_t used = buffer->used, size = src->hdr.record_size;
	const struct mail_index_record *rec;
	const struct seq_range *range;
	uint32_t seq, seq1, seq2, max, seen = 0, deleted = 0;
	unsigned char *dest, *end;

	max = I_MIN(seq_range_count(uids), src->hdr.messages_count);
	if (max == 0)
		return;
	dest = end = buffer_get_space_unsafe(buffer, used, max * size);
	array_foreach(uids, range) {
		if (range->seq1 == range->seq2) {
			seq1 = seq2 = pimap_view_seek_uid(&cursor, range->seq1);
			if (seq1 == 0)
				continue;
		} else if (!pimap_view_seek_range(&cursor, range, &seq1, &seq2))
			continue;
		rec = MAIL_INDEX_REC_AT_SEQ(src, seq1);
		memcpy(end, rec, (seq2 - seq1 + 1) * size);
		end += (seq2 - seq1 + 1) * size;
		for (seq = seq1; seq <= seq2; seq++) {
			if ((rec->flags & MAIL_SEEN) != 0)
				seen++;
			if ((rec->flags & MAIL_DELETED) != 0)
				deleted++;
			rec = CONST_PTR_OFFSET(rec, size);
		}
	}
	map->hdr.seen_messages_count += seen;
	map->hdr.deleted_messages_count += deleted;
	buffer_set_used_size(buffer, used + (end - dest));
}

static void
map_refresh(struct mail_index_map *map, struct mail_index_map *src,
	    const ARRAY_TYPE(seq_range) *uids)
{
	const struct seq_range *range;
	struct mail_index_record *rec;
	const struct mail_index_record *src_rec;
	uint32_t i, seq1, seq2, count = map_count(map);

	array_foreach(uids, range) {
		for (i = map_find(map, range->seq1); i < count; i++) {
			rec = map_rec(map, i);
			if (rec->uid > range->seq2)
				break;
			mail_index_map_lookup_seq_range(src, rec->uid, rec->uid,
							&seq1, &seq2);
			if (seq1 == 0)
				continue;
			src_rec = MAIL_INDEX_REC_AT_SEQ(src, seq1);
			map_count_flags(map, rec, -1);
			map_count_flags(map, src_rec, 1);
			memcpy(rec, src_rec, map->hdr.record_size);
		}
	}
}

/* seqs are those of the map's records */
static void
map_remove(struct mail_index_map *map, const ARRAY_TYPE(seq_range) *seqs)
{
	const struct seq_range *range;
	const size_t size = map->hdr.record_size;
	uint32_t seq, dest, next, count = map_count(map);
	unsigned int i, range_count;

	range = array_get(seqs, &range_count);
	if (range_count == 0)
		return;
	dest = range[0].seq1;
	for (i = 0; i < range_count; i++) {
		for (seq = range[i].seq1; seq <= range[i].seq2; seq++)
			map_count_flags(map, map_rec(map, seq - 1), -1);
		next = i + 1 < range_count ? range[i+1].seq1 : count + 1;
		memmove(map_rec(map, dest - 1), map_rec(map, range[i].seq2),
			(size_t)(next - range[i].seq2 - 1) * size);
		dest += next - range[i].seq2 - 1;
	}
	buffer_set_used_size(map->rec_map->buffer, (size_t)(dest - 1) * size);
}

static void map_finish(struct mail_index_map *map)
{
	struct mail_index_record_map *rec_map = map->rec_map;
	uint32_t count = map_count(map);

	rec_map->records = buffer_get_modifiable_data(rec_map->buffer, NULL);
	rec_map->records_count = count;
	rec_map->last_appended_uid = count == 0 ? 0 :
		map_rec(map, count - 1)->uid;
	map->hdr.messages_count = count;
}

/* Replaces the filtered view's map, and takes over the real one's position. */
static void
view_set_map(struct pimap_view *view, struct mail_index_map *map)
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
	view->counts_head_seq = 0;
}

/* TRUE if records have the same form in both. */
static bool
map_is_like(const struct mail_index_map *map1,
	    const struct mail_index_map *map2)
{
	const struct mail_index_ext *ext1, *ext2;
	unsigned int i, count1, count2;

	if (map1->hdr.indexid != map2->hdr.indexid ||
	    map1->hdr.record_size != map2->hdr.record_size)
		return FALSE;
	count1 = count2 = 0;
	ext1 = ext2 = NULL;
	if (array_is_created(&map1->extensions))
		ext1 = array_get(&map1->extensions, &count1);
	if (array_is_created(&map2->extensions))
		ext2 = array_get(&map2->extensions, &count2);
	if (count1 != count2)
		return FALSE;
	for (i = 0; i < count1; i++) {
		if (ext1[i].record_offset != ext2[i].record_offset ||
		    ext1[i].record_size != ext2[i].record_size ||
		    ext1[i].index_idx != ext2[i].index_idx)
			return FALSE;
	}
	return TRUE;
}

/* TRUE if the filtered view's map is what map_create() would give: it was made
   when the mailbox was opened, has no records yet, and nothing has changed. */
static bool map_is_fresh(const struct pimap_view *view)
{
	const struct mail_index_map *map = view->filtered->map;
	const struct mail_index_map *real = view->real->map;
	const size_t base = real->hdr.base_header_size;
	struct mail_index_header hdr = real->hdr;

	if (map == real || map->refcount > 1 ||
	    array_count(&map->rec_map->maps) > 1 ||
	    map->rec_map->records_count > 0)
		return FALSE;
	hdr.messages_count = map->hdr.messages_count;
	hdr.seen_messages_count = map->hdr.seen_messages_count;
	hdr.deleted_messages_count = map->hdr.deleted_messages_count;
	if (memcmp(&hdr, &map->hdr, sizeof(hdr)) != 0 ||
	    map->hdr_copy_buf->used != real->hdr_copy_buf->used ||
	    memcmp(CONST_PTR_OFFSET(map->hdr_copy_buf->data, base),
		   CONST_PTR_OFFSET(real->hdr_copy_buf->data, base),
		   real->hdr_copy_buf->used - base) != 0)
		return FALSE;
	if (array_is_created(&map->keyword_idx_map) !=
	    array_is_created(&real->keyword_idx_map) ||
	    (array_is_created(&map->keyword_idx_map) &&
	     array_count(&map->keyword_idx_map) !=
	     array_count(&real->keyword_idx_map)))
		return FALSE;
	return map_is_like(map, real);
}

void pimap_view_map_build(struct pimap_view *view,
			  const ARRAY_TYPE(seq_range) *uids)
{
	struct mail_index_map *map;

	if (map_is_fresh(view)) {
		map = view->filtered->map;
		map->refcount++;
	} else {
		map = map_create(view);
	}
	map_append(map, view->real->map, uids);
	map_finish(map);
	view_set_map(view, map);
	if (view->real->map == view->real->index->map) {
		/* the counts are those of the newest flags */
		view->counts_head_seq = map->hdr.log_file_seq;
		view->counts_head_offset = map->hdr.log_file_head_offset;
	}
}

/* Moves the records of a map that nobody else has, else copies them. */
static void
map_take_records(struct mail_index_map *map, struct mail_index_map *old)
{
	buffer_t *buffer;

	map->hdr.seen_messages_count = old->hdr.seen_messages_count;
	map->hdr.deleted_messages_count = old->hdr.deleted_messages_count;
	if (old->refcount > 1 || array_count(&old->rec_map->maps) > 1) {
		buffer_append(map->rec_map->buffer, old->rec_map->records,
			      (size_t)old->rec_map->records_count *
			      old->hdr.record_size);
		return;
	}
	buffer = map->rec_map->buffer;
	map->rec_map->buffer = old->rec_map->buffer;
	old->rec_map->buffer = buffer;
	old->rec_map->records = NULL;
	old->rec_map->records_count = 0;
	old->hdr.messages_count = 0;
}

/* What an extension has of records is of no use when it was begun anew: an offset
   in the cache file, say, would be that of whatever is there in the new file. Of
   messages that still exist the newest records are looked up; but those that are
   gone, and of which the session hasn't been told, have these. */
static void
map_reset_exts(struct mail_index_map *map, const struct mail_index_map *old)
{
	const struct mail_index_ext *ext, *old_ext;
	uint32_t idx, count = map_count(map);
	unsigned int i, ext_count;

	if (!array_is_created(&map->extensions))
		return;
	/* they are alike */
	old_ext = array_front(&old->extensions);
	ext = array_get(&map->extensions, &ext_count);
	for (i = 0; i < ext_count; i++) {
		if (ext[i].reset_id == old_ext[i].reset_id ||
		    ext[i].record_size == 0)
			continue;
		for (idx = 0; idx < count; idx++) {
			memset(PTR_OFFSET(map_rec(map, idx),
					  ext[i].record_offset), 0,
			       ext[i].record_size);
		}
	}
}

void pimap_view_map_get_uids(const struct mail_index_map *map,
			     ARRAY_TYPE(seq_range) *uids)
{
	uint32_t seq;

	for (seq = 1; seq <= map->hdr.messages_count; seq++)
		seq_range_array_add(uids, MAIL_INDEX_REC_AT_SEQ(map, seq)->uid);
}

static void
map_uids_remove_seqs(ARRAY_TYPE(seq_range) *uids,
		     const struct mail_index_map *map,
		     const ARRAY_TYPE(seq_range) *seqs)
{
	const struct seq_range *range;
	uint32_t seq;

	array_foreach(seqs, range) {
		for (seq = range->seq1; seq <= range->seq2; seq++) {
			seq_range_array_remove(uids,
				MAIL_INDEX_REC_AT_SEQ(map, seq)->uid);
		}
	}
}

void pimap_view_map_update(struct pimap_view *view,
			   const ARRAY_TYPE(seq_range) *removed_seqs,
			   const ARRAY_TYPE(seq_range) *changed_uids,
			   const ARRAY_TYPE(seq_range) *appended_uids)
{
	struct mail_index_map *map, *old = view->filtered->map;
	ARRAY_TYPE(seq_range) all;

	map = map_create(view);
	if (map_is_like(map, old)) {
		map_take_records(map, old);
		map_reset_exts(map, old);
		map_refresh(map, view->real->map, changed_uids);
		map_remove(map, removed_seqs);
		map_append(map, view->real->map, appended_uids);
	} else {
		t_array_init(&all, 128);
		pimap_view_map_get_uids(old, &all);
		/* by number: what goes may be gone from the real map too */
		map_uids_remove_seqs(&all, old, removed_seqs);
		seq_range_array_merge(&all, appended_uids);
		map_append(map, view->real->map, &all);
	}
	map_finish(map);
	view_set_map(view, map);
}

/* The counts of the header are those of the last sync, while flags are looked
   up in the newest map: searches that trust the counts would miss what has
   changed since. */
void pimap_view_refresh_counts(struct pimap_view *view)
{
	struct mail_index_map *head = view->filtered->index->map;
	struct mail_index_map *map = view->filtered->map;
	struct pimap_view_cursor cursor = { .map = head };
	struct mail_index_record *rec;
	uint32_t seq, seq1;
	uint8_t flags;

	if (view->counts_head_seq == head->hdr.log_file_seq &&
	    view->counts_head_offset == head->hdr.log_file_head_offset)
		return;
	view->counts_head_seq = head->hdr.log_file_seq;
	view->counts_head_offset = head->hdr.log_file_head_offset;
	for (seq = 1; seq <= map->hdr.messages_count; seq++) {
		rec = MAIL_INDEX_REC_AT_SEQ(map, seq);
		seq1 = pimap_view_seek(&cursor, rec->uid);
		if (seq1 > head->hdr.messages_count || cursor.uid != rec->uid)
			continue;
		flags = MAIL_INDEX_REC_AT_SEQ(head, seq1)->flags;
		if (rec->flags == flags)
			continue;
		map_count_flags(map, rec, -1);
		rec->flags = flags;
		map_count_flags(map, rec, 1);
	}
	map->hdr.first_unseen_uid_lowwater =
		head->hdr.first_unseen_uid_lowwater;
	map->hdr.first_deleted_uid_lowwater =
		head->hdr.first_deleted_uid_lowwater;
}

void pimap_view_open_filtered(struct mailbox *box, struct pimap_view *view)
{
	i_array_init(&view->matches, 128);
	view->real = box->view;
	view->filtered = i_new(struct mail_index_view, 1);
	mail_index_view_clone(view->filtered, view->real);
	view->filtered->v.lookup_full = filtered_lookup_full;
	DLLIST_PREPEND(&pimap_views, view);
	pimap_view_map_build(view, &view->matches);
	if (view->real_depth == 0) {
		box->view = view->filtered;
		recent_swap(box, view);
	}
}

void pimap_view_close_filtered(struct mailbox *box, struct pimap_view *view)
{
	DLLIST_REMOVE(&pimap_views, view);
	box->view = view->real;
	if (view->real_depth == 0)
		recent_swap(box, view);
	if (array_is_created(&view->other_recent.flags))
		array_free(&view->other_recent.flags);
	i_zero(&view->other_recent);
	mail_index_view_close(&view->filtered);
	view->real = NULL;
	array_free(&view->matches);
	array_clear(&view->kept);
	array_clear(&view->leaving);
	array_clear(&view->late);
	array_clear(&view->own_changed);
}
