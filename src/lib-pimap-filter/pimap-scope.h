/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_SCOPE_H
#define PIMAP_SCOPE_H

struct mailbox;
struct pimap_user;
struct pimap_view_filter;

/* Mailboxes that are opened between these show everything, device session or
   not. */
void pimap_scope_whole_begin(struct pimap_user *puser);
void pimap_scope_whole_end(struct pimap_user *puser);

/* Returns TRUE if EXPUNGE was allowed at the mailbox's last sync. For
   mailboxes of device sessions only. */
bool pimap_scope_synced_expunges(struct mailbox *box);

/* The view that the mailbox, which is open, would have if it were opened now.
   Returns 0 and filter_r (pimap-view.h, valid until the next call), or -1 if that
   can't be known, which has been logged. For mailboxes of device sessions only. */
int pimap_scope_get_view_filter(struct mailbox *box,
				struct pimap_view_filter *filter_r);

/* Removes what views of a device have left beside the folders' indexes. Returns -1
   if the folders can't be listed: some may be left. That does no harm: no view
   takes them for its own. */
int pimap_scope_remove_caches(struct pimap_user *puser, const char *device);

/* Two hooks: what the first one overrides is in place only when the next one is
   called. */
void pimap_scope_mailbox_allocated(struct mailbox *box);
void pimap_scope_mailbox_allocated_view(struct mailbox *box);

#endif
