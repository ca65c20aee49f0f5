/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_VIEW_H
#define PIMAP_VIEW_H

struct mailbox;

/* Makes the mailbox show only the messages that match the criteria
   (pimap-criteria.h). To be called from a mailbox_allocated hook. criteria =
   NULL: the view isn't known because of error; opening the mailbox logs it and
   fails. */
void pimap_view_attach(struct mailbox *box, const char *criteria,
		       const char *error);

/* The messages that stopped matching by this session's own flag changes, kept
   until now, leave at the next sync (R-1.4b). Does nothing if the mailbox has
   no view. */
void pimap_view_release_own(struct mailbox *box);

/* Returns TRUE if another SELECT of the mailbox would show what this one can't:
   messages that started to match below UIDNEXT, or those of another filter
   (R-1.4c, R-1.7). criteria are those of the filter now, NULL for all. The
   mailbox needn't have a view. */
bool pimap_view_is_outdated(struct mailbox *box, const char *criteria);

#endif
