/* SPDX-License-Identifier: LGPL-2.1-only */
/* Messages of an index map by UID: see pimap-view-cursor.h. */

#include "lib.h"
#include "seq-range-array.h"
#include "mail-index-private.h"
#include "pimap-view-cursor.h"

/* UIDs rise with sequences: a message is as far behind another as its UID is
   above the other's, or less. Where none are missing between it is just there. */
uint32_t pimap_view_seek(struct pimap_view_cursor *cursor, uint32_t uid)
{
	const struct mail_index_map *map = cursor->map;
	const uint32_t count = map->hdr.messages_count;
	uint32_t left = cursor->seq + 1, right, mid;

	if (cursor->seq > 0 && cursor->uid >= uid)
		return cursor->seq;
	right = uid - cursor->uid <= count - cursor->seq ?
		cursor->seq + (uid - cursor->uid) : count + 1;
	if (right <= count && MAIL_INDEX_REC_AT_SEQ(map, right)->uid == uid)
		left = right;
	while (left < right) {
		mid = left + (right - left) / 2;
		if (MAIL_INDEX_REC_AT_SEQ(map, mid)->uid < uid)
			left = mid + 1;
		else
			right = mid;
	}
	if (left <= count) {
		cursor->seq = left;
		cursor->uid = MAIL_INDEX_REC_AT_SEQ(map, left)->uid;
	}
	return left;
}

bool pimap_view_seek_range(struct pimap_view_cursor *cursor,
			   const struct seq_range *uids,
			   uint32_t *seq1_r, uint32_t *seq2_r)
{
	const struct mail_index_map *map = cursor->map;

	*seq1_r = pimap_view_seek(cursor, uids->seq1);
	if (uids->seq2 == (uint32_t)-1)
		*seq2_r = map->hdr.messages_count;
	else if (uids->seq1 < uids->seq2)
		*seq2_r = pimap_view_seek(cursor, uids->seq2 + 1) - 1;
	else if (*seq1_r <= map->hdr.messages_count &&
		 MAIL_INDEX_REC_AT_SEQ(map, *seq1_r)->uid == uids->seq1)
		*seq2_r = *seq1_r;
	else
		*seq2_r = *seq1_r - 1;
	return *seq1_r <= *seq2_r;
}
