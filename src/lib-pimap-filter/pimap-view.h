/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_VIEW_H
#define PIMAP_VIEW_H

#include "seq-range-array.h"

struct mailbox;
struct mail_search_arg;
struct mail_search_args;
struct pimap_view_state;

/* Which messages a mailbox shows */
struct pimap_view_filter {
	/* those that match (pimap-criteria.h); NULL: all */
	const char *criteria;
	/* It rises when filters change: under one number a mailbox has had the
	   same criteria all the time. 0: it has never had any. */
	uint32_t generation;
};

/* Tells what a mailbox, which is open, is to show. Returns 0, or -1 if that isn't
   known: then the mailbox shows nothing, and the function has logged why
 */
typedef int pimap_view_lookup_t(struct mailbox *box,
				struct pimap_view_filter *filter_r);

struct pimap_view_settings {
	pimap_view_lookup_t *lookup;
	/* the time zone of criteria that are about days (pimap-zone.h) */
	const char *zone;
	/* keeps the device's view cache apart from those of other devices and
	   other users; it becomes part of a file name */
	const char *cache_name;
	/* the mailbox may be deleted while it has messages that the view hides
	 */
	bool delete_hidden;
	/* What another process has shown, which this one is to go on with: it
	   has that filter until it is closed. NULL: lookup it. */
	const struct pimap_view_state *state;
};

/* Makes the mailbox show a view, looked up once when it is first read. To be
   called from a mailbox_allocated hook. set is copied. */
void pimap_view_attach(struct mailbox *box,
		       const struct pimap_view_settings *set);

/* Frees what the process keeps when no mailbox is open. */
void pimap_view_deinit(void);

/* The messages that stopped matching by this session's own flag changes, kept
   until now, leave at the next sync (R-1.4b). Does nothing if the mailbox has
   no view. */
void pimap_view_release_own(struct mailbox *box);

/* Messages were saved to the mailbox and the session is told their UIDs (COPYUID,
   APPENDUID). The mailbox needn't have a view: those of the same folder that
   have one take it to their account (R-1.4c). */
void pimap_view_note_saved(struct mailbox *box,
			   const ARRAY_TYPE(seq_range) *saved_uids);

/* Returns TRUE if another SELECT of the mailbox would show what this one can't:
   messages that started to match below UIDNEXT, or those of another filter
   (R-1.4c, R-1.7). criteria are those of the filter now, NULL for all. The
   mailbox needn't have a view. */
bool pimap_view_is_outdated(struct mailbox *box, const char *criteria);

/* Makes a search for what has changed since a modseq (MODSEQ among args) find all
   that a session which was told of all changes up to that may not know, whatever
   the messages' own modseqs are. The mailbox needn't have a view. */
void pimap_view_widen_changes(struct mailbox *box, struct mail_search_arg *args);
/* Adds to uids_r those of uid_filter that the mailbox has and doesn't show, as
   far as it can have shown them to a session that was told of all changes up to
   modseq (R-1.3, VANISHED (EARLIER)). The mailbox needn't have a view. */
void pimap_view_get_hidden_since(struct mailbox *box, uint64_t modseq,
				 const ARRAY_TYPE(seq_range) *uid_filter,
				 ARRAY_TYPE(seq_range) *uids_r);

/* Called when somebody begins to search a mailbox that has a view, before it is
   searched. NULL: nobody wants to know. A hook of its own in every mailbox would
   cost more than all that a view adds to opening it. */
typedef void pimap_view_search_begins_t(struct mailbox *box,
					struct mail_search_args *args);
extern pimap_view_search_begins_t *pimap_view_search_begins;

/* Returns TRUE if what the mailbox shows changes by time alone. A client
   that waits for changes by mailbox_notify_changes() is told when it does; who
   waits in another way (imap-hibernate) isn't. The mailbox needn't have a
   view. */
bool pimap_view_expires(struct mailbox *box);

/* The modseq up to which a mailbox's own view is synced. */
uint64_t pimap_view_get_synced_modseq(struct mail_index_view *real);

/* That of a mailbox, which may have a view: all changes up to it were told when it
   was synced. */
uint64_t pimap_view_get_modseq(struct mailbox *box);
/* TRUE if the folder had no such message then, shown or not. */
bool pimap_view_is_gone(struct mailbox *box, uint32_t uid);

/* A session goes on in another process: */

/* Appends to dest what the mailbox shows, in a line without its end; nothing if
   that is all. The mailbox needn't have a view. */
void pimap_view_state_append(struct mailbox *box, string_t *dest);
/* Returns 0 and state_r, from the pool, or -1 if str isn't such a line. */
int pimap_view_state_parse(pool_t pool, const char *str,
			   const struct pimap_view_state **state_r);
/* While it is asleep a filtered mailbox says that it has no messages: for
   Dovecot's own account of it, in both processes. */
void pimap_view_set_asleep(struct mailbox *box, bool asleep);
/* The mailbox, attached with a state, has been synced by the process which goes
   on. Returns FALSE if it shows all; else TRUE, what the client must be told is
   gone, its numbers being those before that, the number of messages that the
   client knows then, and how many it was told are recent. The next sync tells
   the rest. */
bool pimap_view_wake(struct mailbox *box,
		     ARRAY_TYPE(seq_range) *gone_uids_r,
		     ARRAY_TYPE(seq_range) *gone_seqs_r,
		     unsigned int *count_r, unsigned int *recent_count_r);

#endif
