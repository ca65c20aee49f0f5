/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef WORKER_CAUTION_H
#define WORKER_CAUTION_H

#include "seq-range-array.h"

struct ostream;

/* What the service says before a job in whose folder workers have died
   (pimap-look.h). It is of the next job only. */

/* Returns -1 if that isn't UIDs, separated by commas. output: each message that is
   evaluated is told there before, NULL = it isn't. */
int worker_caution_set(const char *uids, struct ostream *output);
void worker_caution_reset(void);

/* These aren't evaluated. */
const ARRAY_TYPE(seq_range) *worker_caution_get_skipped(void);
/* Messages are evaluated one by one, each after it was told. */
bool worker_caution_tells(void);
void worker_caution_tell(uint32_t uid);

#endif
