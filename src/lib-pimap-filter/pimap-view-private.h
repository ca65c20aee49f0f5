/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_VIEW_PRIVATE_H
#define PIMAP_VIEW_PRIVATE_H

#include "mail-storage-private.h"
#include "mail-index-private.h"
#include "mail-index-view-private.h"
#include "pimap-criteria.h"
#include "pimap-view.h"
#include "pimap-view-cursor.h"

/* One mailbox, one index, two views of the index: "real" is the ordinary one,
   "filtered" has a map of its own with only the visible messages' records.
   box->view is the filtered one, except while core code has to see the whole
   folder: then it is the real one (pimap_view_enter_real()).

   Invariants, outside of enter/leave_real and of a sync:
   - box->view == filtered once the mailbox is open, unless all is shown
   - filtered has exactly the messages that the session has been told of, in the
     order of their UIDs
   - it has what matches, but for what is late, and besides what is kept and
     what is leaving; these three have nothing in common, and nothing that is
     kept or leaving matches
   - every UID shown the first time is >= known_next_uid
   - box->recent_flags has visible messages only */
struct pimap_view_recent {
	ARRAY_TYPE(seq_range) flags;
	uint32_t prev_uid, count;
};

struct pimap_view {
	union mailbox_module_context module_ctx;
	/* as long as the mailbox */
	pool_t pool;
	/* the views of this process that have a filtered index view */
	struct pimap_view *prev, *next;
	struct mailbox *box;
	struct mail_index_view *real;
	struct mail_index_view *filtered;
	unsigned int real_depth;
	/* box->recent_flags of the index view that isn't box->view */
	struct pimap_view_recent other_recent;
	/* the filtered view's sync that is under way */
	struct mailbox_sync_context *sync_ctx;

	pimap_view_lookup_t *lookup;
	const char *zone;
	/* set when resolved; NULL: all messages are shown, and there is no
	   filtered view */
	const char *criteria_text;
	uint32_t generation;
	/* built from it; args only for one search, NULL: not yet */
	struct pimap_criteria criteria;
	/* what another process has shown, until pimap_view_wake() */
	const struct pimap_view_state *state;
	/* while a client waits for changes: until the criteria expire */
	struct timeout *to_expires;
	const char *thread_path;
	/* NULL: there is no view cache */
	const char *cache_name;

	/* UIDs that match, of those below evaluated_next_uid */
	ARRAY_TYPE(seq_range) matches;
	uint32_t evaluated_next_uid;
	/* the UIDNEXT that the session was last told or can compute (R-1.4c) */
	uint32_t known_next_uid;
	/* the highest UID that it was told of since the last sync, as a message
	   that it has saved itself */
	uint32_t saved_uid;
	/* UIDs that don't match since this session changed their flags: they
	   stay until the session expunges or leaves (R-1.4b) */
	ARRAY_TYPE(seq_range) kept;
	/* UIDs that don't match or don't exist any more: they go at the next
	   sync that may say so (R-1.4a) */
	ARRAY_TYPE(seq_range) leaving;
	/* UIDs that match and can't be shown before the next SELECT (R-1.4c) */
	ARRAY_TYPE(seq_range) late;
	/* UIDs whose flags this session has changed since the last sync */
	ARRAY_TYPE(seq_range) own_changed;

	/* What a session that was told of all up to this modseq was told, may
	   have been of other criteria, or when nobody knows. Set by the first
	   sync, until then it is UINT64_MAX. */
	uint64_t epoch_modseq;
	/* The highest modseq of which it can be said that the session knows
	   everything up to it. It lags behind while the view is ahead. */
	uint64_t full_modseq;

	/* What has changed after this modseq is lost_changes. */
	uint64_t lost_modseq;

	/* the real view's position at the last sync */
	uint32_t synced_head_seq, synced_expunge_seq;
	uoff_t synced_head_offset, synced_expunge_offset;
	/* the map position that the filtered header's counts are of */
	uint32_t counts_head_seq;
	uoff_t counts_head_offset;

	bool delete_hidden:1;
	/* criteria.has_flags, expires and grow are right */
	bool criteria_known:1;
	/* lookup() has answered. Until then filtered is empty. */
	bool resolved:1;
	/* matches is right, as far as it goes */
	bool evaluated:1;
	/* some message couldn't be read: it counts as one that doesn't match,
	   but not for good */
	bool incomplete:1;
	/* the view cache doesn't have what is known now */
	bool cache_changed:1;
	/* what the session shows isn't what another SELECT would show: see
	   full_modseq */
	bool ahead:1;
	/* the mailbox has been synced: what filtered has may be known */
	bool synced:1;
	/* a sync has failed: what it has learnt is lost */
	bool lost_changes:1;
	/* see pimap_view_set_asleep() */
	bool asleep:1;
	/* the view can't go on: the client counts messages that it hasn't */
	bool broken:1;
};

/* What another process has shown */
struct pimap_view_state {
	/* NULL: all, and there is nothing else to say */
	const char *criteria;
	uint32_t generation;
	uint32_t next_uid;
	uint64_t full_modseq, synced_modseq;
	ARRAY_TYPE(seq_range) visible, kept, recent;
};

extern MODULE_CONTEXT_DEFINE(pimap_view_storage_module,
			     &mail_storage_module_register);
#define PIMAP_VIEW_CONTEXT(obj) \
	MODULE_CONTEXT(obj, pimap_view_storage_module)
#define PIMAP_VIEW_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, pimap_view_storage_module)

/* The view of the whole folder; the mailbox is open. */
static inline struct mail_index_view *
pimap_view_get_real(struct mailbox *box, struct pimap_view *view)
{
	return view->filtered != NULL ? view->real : box->view;
}
void pimap_view_enter_real(struct mailbox *box, struct pimap_view *view);
void pimap_view_leave_real(struct mailbox *box, struct pimap_view *view);
/* Gives box->recent_flags those of the real view's that are visible. */
void pimap_view_update_recent(struct mailbox *box, struct pimap_view *view);

/* TRUE if the mailbox, which is open, is the view's folder: it may have another
   name (alias_for), and another folder may have its name by now. */
bool pimap_view_is_of(const struct pimap_view *view, const struct mailbox *box);

/* Finds out what the mailbox, which is open, is to show, if that hasn't been
   done. Returns -1 if it can't be known. */
int pimap_view_resolve(struct mailbox *box, struct pimap_view *view);

extern struct pimap_view *pimap_views;

/* pimap-view-map.c */

/* Makes the filtered view, without any message, and shows it. */
void pimap_view_open_filtered(struct mailbox *box, struct pimap_view *view);
/* Does away with it, and shows the real one. */
void pimap_view_close_filtered(struct mailbox *box, struct pimap_view *view);
/* Gives the filtered view a new map, with those records of the real view that
   have the UIDs, and the real one's position. */
void pimap_view_map_build(struct pimap_view *view,
			  const ARRAY_TYPE(seq_range) *uids);
/* Brings the filtered view to the real one's position: takes out the records of
   the sequences, copies anew those of the changed UIDs as far as it has them,
   and adds those of appended_uids, which are above all that it has. */
void pimap_view_map_update(struct pimap_view *view,
			   const ARRAY_TYPE(seq_range) *removed_seqs,
			   const ARRAY_TYPE(seq_range) *changed_uids,
			   const ARRAY_TYPE(seq_range) *appended_uids);
/* Adds the UIDs of the map's records. */
void pimap_view_map_get_uids(const struct mail_index_map *map,
			     ARRAY_TYPE(seq_range) *uids);
/* Makes the counts of the filtered view's header those of the newest flags. */
void pimap_view_refresh_counts(struct pimap_view *view);

/* pimap-view-match.c; while the real view is shown */

/* Builds the criteria. Returns -1 if they are invalid, which is logged. */
int pimap_view_match_build(struct mailbox *box, struct pimap_view *view);
/* Brings view->matches up to date with the real view, in which the UIDs
   changed_uids have other flags than the last time, and expunged_uids are gone.
   Adds what matches no more to removed_uids, and what matches now to added_uids.
   Evaluates only what may have changed. Returns -1 on failure; then all is
   evaluated anew the next time. */
int pimap_view_match_update(struct mailbox *box, struct pimap_view *view,
			    const ARRAY_TYPE(seq_range) *changed_uids,
			    const ARRAY_TYPE(seq_range) *expunged_uids,
			    ARRAY_TYPE(seq_range) *removed_uids,
			    ARRAY_TYPE(seq_range) *added_uids);
/* Evaluates what is in the index, if that hasn't been done. */
int pimap_view_match_all(struct mailbox *box, struct pimap_view *view);
/* Does away with the criteria: they are built anew from their text. */
void pimap_view_match_forget(struct pimap_view *view);
/* TRUE if matches change by time alone, and have. */
bool pimap_view_match_is_expired(const struct pimap_view *view);

/* pimap-view-modseq.c */

/* To be called at the end of each sync, with what it has found (may be NULL),
   so that the HIGHESTMODSEQ that the session is told is one that it can come
   back with. */
void pimap_view_modseq_synced(struct mailbox *box, struct pimap_view *view,
			      struct mailbox_sync_status *status);

/* pimap-view-state.c */

/* Makes kept, leaving and late those of the view's state. */
void pimap_view_state_take_up(struct pimap_view *view);

/* pimap-view-notify.c */

/* Sets the timer anew, after criteria may have been built. */
void pimap_view_update_timer(struct mailbox *box, struct pimap_view *view);
void pimap_view_notify_changes(struct mailbox *box);

/* pimap-view-sync.c */

/* A mailbox that was opened but not synced shows what is in its index: fills
   the filtered view accordingly, if that hasn't been done. */
int pimap_view_fill(struct mailbox *box, struct pimap_view *view);

struct mailbox_sync_context *
pimap_view_sync_init(struct mailbox *box, enum mailbox_sync_flags flags);
bool pimap_view_sync_next(struct mailbox_sync_context *ctx,
			  struct mailbox_sync_rec *sync_rec_r);
int pimap_view_sync_deinit(struct mailbox_sync_context *ctx,
			   struct mailbox_sync_status *status_r);
/* Frees what syncs have left for the next one. */
void pimap_view_sync_free_spare(void);

#endif
