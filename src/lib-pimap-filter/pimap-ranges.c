/* SPDX-License-Identifier: LGPL-2.1-only */
/* Sets of UIDs: see pimap-ranges.h. */

#include "lib.h"
#include "array.h"
#include "pimap-ranges.h"

/* The index of the first range that ends at uid or above it. */
static unsigned int
ranges_find(const struct seq_range *ranges, unsigned int count, uint32_t uid)
{
	unsigned int left = 0, right = count, mid;

	while (left < right) {
		mid = left + (right - left) / 2;
		if (ranges[mid].seq2 < uid)
			left = mid + 1;
		else
			right = mid;
	}
	return left;
}

void pimap_ranges_add_common(ARRAY_TYPE(seq_range) *dest,
			     const ARRAY_TYPE(seq_range) *small,
			     const ARRAY_TYPE(seq_range) *large)
{
	const struct seq_range *range, *ranges;
	unsigned int i, count;

	ranges = array_get(large, &count);
	array_foreach(small, range) {
		i = ranges_find(ranges, count, range->seq1);
		for (; i < count && ranges[i].seq1 <= range->seq2; i++) {
			seq_range_array_add_range(dest,
				I_MAX(range->seq1, ranges[i].seq1),
				I_MIN(range->seq2, ranges[i].seq2));
		}
	}
}

void pimap_ranges_move_common(ARRAY_TYPE(seq_range) *dest,
			      ARRAY_TYPE(seq_range) *src,
			      const ARRAY_TYPE(seq_range) *which)
{
	ARRAY_TYPE(seq_range) common;

	if (array_count(src) == 0 || array_count(which) == 0)
		return;
	t_array_init(&common, 16);
	pimap_ranges_add_common(&common, which, src);
	seq_range_array_merge(dest, &common);
	(void)seq_range_array_remove_seq_range(src, &common);
}
