/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_RANGES_H
#define PIMAP_RANGES_H

#include "seq-range-array.h"

/* Sets of UIDs, where Dovecot's seq-range-array.h has no function whose cost
   follows the smaller set. */

/* Adds to dest what is in both sets. */
void pimap_ranges_add_common(ARRAY_TYPE(seq_range) *dest,
			     const ARRAY_TYPE(seq_range) *small,
			     const ARRAY_TYPE(seq_range) *large);
/* Moves from src to dest what is in which, too. which and src are different
   sets. */
void pimap_ranges_move_common(ARRAY_TYPE(seq_range) *dest,
			      ARRAY_TYPE(seq_range) *src,
			      const ARRAY_TYPE(seq_range) *which);

#endif
