/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_VIEW_PRIVATE_H
#define PIMAP_VIEW_PRIVATE_H

#include "mail-storage-private.h"
#include "mail-index-private.h"
#include "mail-index-view-private.h"
#include "pimap-view.h"

/* One mailbox, one index, two views of the index: "real" is the ordinary one,
   "filtered" has a map of its own with only the visible messages' records.
   box->view is the filtered one, except while core code has to see the whole
   folder: then it is the real one (pimap_view_enter_real()).

   Invariants, outside of enter/leave_real:
   - box->view == filtered once the mailbox is open, unless all is shown
   - filtered has exactly the messages that the session has been told of
   - every UID shown the first time is >= the filtered map's next_uid */
struct pimap_view {
	union mailbox_module_context module_ctx;
	struct mail_index_view *real;
	struct mail_index_view *filtered;
	unsigned int real_depth;
	/* the filtered view's sync that is under way */
	struct mailbox_sync_context *sync_ctx;

	pimap_view_lookup_t *lookup;
	/* set when resolved; NULL: all messages are shown, and there is no
	   filtered view */
	const char *criteria;
	struct mail_search_args *search_args;
	/* UIDs that match, kept up to date by Dovecot. It is in
	   box->search_results only while the real view is synced. */
	struct mail_search_result *result;
	/* UIDs whose flags this session has changed (R-1.4b) */
	ARRAY_TYPE(seq_range) own_uids;
	const char *thread_path;

	/* the real view's position that filtered was made from */
	uint32_t built_head_seq, built_expunge_seq;
	uoff_t built_head_offset, built_expunge_offset;

	bool delete_hidden:1;
	/* lookup() has answered. Until then filtered is empty. */
	bool resolved:1;
	/* the mailbox has been synced: what filtered has may be known */
	bool synced:1;
	/* filtered must be made anew even if the real view stays the same */
	bool rebuild:1;
	bool thread_opened:1;
	/* filtered lost a message that the client still counts */
	bool broken:1;
	/* messages match that can't be shown before the next SELECT (R-1.4c) */
	bool late:1;
};

extern MODULE_CONTEXT_DEFINE(pimap_view_storage_module,
			     &mail_storage_module_register);
#define PIMAP_VIEW_CONTEXT(obj) \
	MODULE_CONTEXT(obj, pimap_view_storage_module)
#define PIMAP_VIEW_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, pimap_view_storage_module)

void pimap_view_enter_real(struct mailbox *box, struct pimap_view *view);
void pimap_view_leave_real(struct mailbox *box, struct pimap_view *view);

/* Makes the filtered view, without any message, and shows it. */
void pimap_view_open_filtered(struct mailbox *box, struct pimap_view *view);
/* Returns a new map with those records of the real view that have the UIDs. */
struct mail_index_map *
pimap_view_map_build(struct pimap_view *view,
		     const ARRAY_TYPE(seq_range) *uids);
/* Replaces the filtered view's map, and takes over the real one's position. */
void pimap_view_set_map(struct pimap_view *view, struct mail_index_map *map);
/* Adds the UIDs of all messages of an index view. */
void pimap_view_get_uids(struct mail_index_view *index_view,
			 ARRAY_TYPE(seq_range) *uids);

/* Finds out what the mailbox, which is open, is to show, if that hasn't been
   done. Returns -1 if it can't be known. */
int pimap_view_resolve(struct mailbox *box, struct pimap_view *view);

/* A mailbox that was opened but not synced shows what is in its index: fills
   the filtered view accordingly, if that hasn't been done. */
int pimap_view_fill(struct mailbox *box, struct pimap_view *view);

void pimap_view_free_result(struct mailbox *box, struct pimap_view *view);

struct mailbox_sync_context *
pimap_view_sync_init(struct mailbox *box, enum mailbox_sync_flags flags);
bool pimap_view_sync_next(struct mailbox_sync_context *ctx,
			  struct mailbox_sync_rec *sync_rec_r);
int pimap_view_sync_deinit(struct mailbox_sync_context *ctx,
			   struct mailbox_sync_status *status_r);

#endif
