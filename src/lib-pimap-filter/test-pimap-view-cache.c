/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "seq-range-array.h"
#include "test-common.h"
#include "pimap-view-cache.h"

static void test_cache(string_t *text, uint32_t uid)
{
	struct pimap_view_cache cache = {
		.uid_validity = 1, .indexid = 2, .log_seq = 3,
		.log_offset = 4, .next_uid = 4000000000U,
		.fixed = TRUE, .criteria = "SUBJECT \"tab\t\\\" FROM x",
		.generation = 5, .epoch_modseq = 18446744073709551614U,
		.time = 1764000000, .zone = "Europe/Berlin",
	};

	t_array_init(&cache.uids, 4);
	if (uid > 0) {
		seq_range_array_add_range(&cache.uids, 1, 7);
		seq_range_array_add(&cache.uids, uid);
	}
	pimap_view_cache_print(&cache, text);
}

static void test_pimap_view_cache_round_trip(void)
{
	static const uint32_t uids[] = { 0, 9, 3999999999U };
	struct pimap_view_cache cache;
	string_t *text, *text2;
	unsigned int i;

	test_begin("view cache: round trip");
	for (i = 0; i < N_ELEMENTS(uids); i++) {
		text = t_str_new(128);
		text2 = t_str_new(128);
		test_cache(text, uids[i]);
		test_assert_idx(pimap_view_cache_parse(str_data(text),
					str_len(text), &cache) == 0, i);
		test_assert_idx(seq_range_count(&cache.uids) ==
				(uids[i] == 0 ? 0 : 8), i);
		pimap_view_cache_print(&cache, text2);
		test_assert_idx(str_equals(text, text2), i);
	}
	test_end();
}

static void test_pimap_view_cache_damaged(void)
{
	struct pimap_view_cache cache;
	string_t *text = t_str_new(128);
	unsigned char *data;
	size_t i, size;

	test_begin("view cache: damaged");
	test_cache(text, 9);
	size = str_len(text);
	data = t_malloc0(size);
	for (i = 0; i < size; i++) T_BEGIN {
		test_assert_idx(pimap_view_cache_parse(str_data(text), i,
						       &cache) < 0, i);
		memcpy(data, str_data(text), size);
		data[i] ^= 1;
		test_assert_idx(pimap_view_cache_parse(data, size,
						       &cache) < 0, i);
	} T_END;
	/* UIDs that can't have been evaluated */
	str_truncate(text, 0);
	test_cache(text, 4000000000U);
	test_assert(pimap_view_cache_parse(str_data(text), str_len(text),
					   &cache) < 0);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_view_cache_round_trip,
		test_pimap_view_cache_damaged,
		NULL
	};
	return test_run(test_functions);
}
