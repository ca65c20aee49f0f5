/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "seq-range-array.h"
#include "mail-index-private.h"
#include "test-common.h"
#include "pimap-view-cursor.h"

#define MAX_UID 40

/* A map whose messages are those of 1..MAX_UID that chance takes */
static void
make_map(struct mail_index_map *map, struct mail_index_record_map *records,
	 unsigned int percent)
{
	struct mail_index_record *recs = t_new(struct mail_index_record, MAX_UID);
	uint32_t uid;

	i_zero(map);
	i_zero(records);
	map->hdr.record_size = sizeof(*recs);
	map->rec_map = records;
	records->records = recs;
	for (uid = 1; uid <= MAX_UID; uid++) {
		if (i_rand_limit(100) < percent)
			recs[map->hdr.messages_count++].uid = uid;
	}
	records->records_count = map->hdr.messages_count;
}

static uint32_t seek_simply(const struct mail_index_map *map, uint32_t uid)
{
	uint32_t seq;

	for (seq = 1; seq <= map->hdr.messages_count; seq++) {
		if (MAIL_INDEX_REC_AT_SEQ(map, seq)->uid >= uid)
			break;
	}
	return seq;
}

static void test_pimap_view_cursor_seek(void)
{
	static const unsigned int percents[] = { 0, 3, 50, 95, 100 };
	struct mail_index_record_map records;
	struct mail_index_map map;
	unsigned int i, round;
	uint32_t uid, seq;
	bool exists;

	test_begin("view cursor: seek");
	for (i = 0; i < N_ELEMENTS(percents); i++) {
		for (round = 0; round < 200; round++) T_BEGIN {
			make_map(&map, &records, percents[i]);
			struct pimap_view_cursor cursor = { .map = &map };
			struct pimap_view_cursor uid_cursor = cursor;

			for (uid = 1 + i_rand_limit(5); uid < MAX_UID + 5;
			     uid += i_rand_limit(8)) {
				seq = seek_simply(&map, uid);
				exists = seq <= map.hdr.messages_count &&
					MAIL_INDEX_REC_AT_SEQ(&map, seq)->uid == uid;
				test_assert_idx(pimap_view_seek(&cursor, uid) ==
						seq, uid);
				test_assert_idx(pimap_view_seek_uid(&uid_cursor,
						uid) == (exists ? seq : 0), uid);
			}
			test_assert(pimap_view_seek(&cursor, (uint32_t)-1) ==
				    map.hdr.messages_count + 1);
			test_assert(pimap_view_seek_uid(&uid_cursor,
							(uint32_t)-1) == 0);
		} T_END;
	}
	test_end();
}

static void test_pimap_view_cursor_range(void)
{
	static const unsigned int percents[] = { 0, 3, 50, 95, 100 };
	struct mail_index_record_map records;
	struct mail_index_map map;
	struct seq_range range;
	uint32_t seq1, seq2, end;
	unsigned int i, round;
	bool found;

	test_begin("view cursor: range");
	for (i = 0; i < N_ELEMENTS(percents); i++) {
		for (round = 0; round < 200; round++) T_BEGIN {
			make_map(&map, &records, percents[i]);
			struct pimap_view_cursor cursor = { .map = &map };

			for (range.seq1 = 1; range.seq1 < MAX_UID;
			     range.seq1 = range.seq2 + 1 + i_rand_limit(6)) {
				range.seq2 = range.seq1 + i_rand_limit(4);
				end = seek_simply(&map, range.seq2 + 1) - 1;
				found = pimap_view_seek_range(&cursor, &range,
							      &seq1, &seq2);
				test_assert(found == (seq1 <= end));
				test_assert(seq1 == seek_simply(&map,
								range.seq1));
				test_assert(seq2 == end);
			}
			range.seq2 = (uint32_t)-1;
			(void)pimap_view_seek_range(&cursor, &range, &seq1,
						    &seq2);
			test_assert(seq2 == map.hdr.messages_count);
		} T_END;
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_view_cursor_seek,
		test_pimap_view_cursor_range,
		NULL
	};
	return test_run(test_functions);
}
