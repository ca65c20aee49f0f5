/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_PLUGIN_NOTE_H
#define PIMAP_PLUGIN_NOTE_H

#include "seq-range-array.h"

struct mailbox;
struct mail_index_transaction_commit_result;

/* What a session has done to a folder, for those who aren't to be told of that
   (pimap-look.h) */

/* Returns the note of a committed transaction, from the data stack; device "" = an
   import. What it expunges is added to expunged. NULL if there is nothing to say,
   or too much: the devices are told. */
const char *
pimap_plugin_note_commit(struct mailbox *box, const char *device,
			 const struct mail_index_transaction_commit_result *result,
			 ARRAY_TYPE(seq_range) *expunged);
/* Returns the note that these have been expunged, or NULL. */
const char *
pimap_plugin_note_expunged(struct mailbox *box, const char *device,
			   const ARRAY_TYPE(seq_range) *uids);

#endif
