/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "test-common.h"
#include "pimap-ranges.h"

#define MAX_UID 60

static void random_set(ARRAY_TYPE(seq_range) *set, bool *members)
{
	unsigned int uid, percent = i_rand_limit(100);

	t_array_init(set, 8);
	members[0] = FALSE;
	for (uid = 1; uid <= MAX_UID; uid++) {
		members[uid] = i_rand_limit(100) < percent;
		if (members[uid])
			seq_range_array_add(set, uid);
	}
}

static void test_pimap_ranges(void)
{
	ARRAY_TYPE(seq_range) a, b, common, rest;
	bool in_a[MAX_UID + 1], in_b[MAX_UID + 1];
	unsigned int i, uid;

	test_begin("sets of UIDs");
	for (i = 0; i < 2000; i++) T_BEGIN {
		random_set(&a, in_a);
		random_set(&b, in_b);
		t_array_init(&common, 8);
		pimap_ranges_add_common(&common, &a, &b);
		t_array_init(&rest, 8);
		for (uid = 1; uid <= MAX_UID; uid++) {
			test_assert_idx(seq_range_exists(&common, uid) ==
					(in_a[uid] && in_b[uid]), i);
		}
		/* what is in a moves from b */
		pimap_ranges_move_common(&rest, &b, &a);
		for (uid = 1; uid <= MAX_UID; uid++) {
			test_assert_idx(seq_range_exists(&rest, uid) ==
					(in_a[uid] && in_b[uid]), i);
			test_assert_idx(seq_range_exists(&b, uid) ==
					(!in_a[uid] && in_b[uid]), i);
			test_assert_idx(seq_range_exists(&a, uid) == in_a[uid], i);
		}
	} T_END;
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_ranges,
		NULL
	};
	return test_run(test_functions);
}
