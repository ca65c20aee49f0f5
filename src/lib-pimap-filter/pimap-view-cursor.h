/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_VIEW_CURSOR_H
#define PIMAP_VIEW_CURSOR_H

#include "mail-index-private.h"

struct seq_range;

/* Finds messages of a map by UID, each asked for at or above the one before. Set
   map, and the rest to 0. */
struct pimap_view_cursor {
	const struct mail_index_map *map;
	/* the message that was found last */
	uint32_t seq, uid;
};

/* Returns the first sequence whose UID is uid or above it, or one more than there
   are messages. */
uint32_t pimap_view_seek(struct pimap_view_cursor *cursor, uint32_t uid);
/* Returns FALSE if there is no message with such a UID; then seq1_r is above
   seq2_r. The next UIDs that are asked for must be above these. */
bool pimap_view_seek_range(struct pimap_view_cursor *cursor,
			   const struct seq_range *uids,
			   uint32_t *seq1_r, uint32_t *seq2_r);

/* The same for a single UID: returns 0 if there is no such message. It is done for
   each visible message each time a folder is opened, and mostly no message is
   missing between two of them. */
static inline uint32_t
pimap_view_seek_uid(struct pimap_view_cursor *cursor, uint32_t uid)
{
	const struct mail_index_map *map = cursor->map;
	uint32_t seq = cursor->seq + (uid - cursor->uid);

	if (uid > cursor->uid && seq > cursor->seq &&
	    seq <= map->hdr.messages_count &&
	    MAIL_INDEX_REC_AT_SEQ(map, seq)->uid == uid) {
		cursor->seq = seq;
		cursor->uid = uid;
		return seq;
	}
	seq = pimap_view_seek(cursor, uid);
	return seq <= map->hdr.messages_count && cursor->uid == uid ? seq : 0;
}

#endif
