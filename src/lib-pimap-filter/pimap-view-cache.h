/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_VIEW_CACHE_H
#define PIMAP_VIEW_CACHE_H

struct mailbox;
struct pimap_view;

#define PIMAP_VIEW_CACHE_PREFIX "dovecot-pimap-view."
/* Larger ones are neither read nor written. */
#define PIMAP_VIEW_CACHE_MAX_SIZE (8*1024*1024)

struct pimap_view_cache {
	uint32_t uid_validity, indexid;
	/* all changes up to this position of the index's log are in it */
	uint32_t log_seq;
	uoff_t log_offset;
	/* what has a UID below it has been evaluated */
	uint32_t next_uid;
	/* the filter (pimap-view.h; "" instead of NULL), and the highest modseq
	   when it was first used */
	const char *criteria;
	/* what they mean doesn't change by time; they ask for flags */
	bool fixed, has_flags;
	uint32_t generation;
	uint64_t epoch_modseq;
	/* when it was evaluated at the latest, and the time zone that days were
	   of: what didn't match then may match earlier or elsewhere */
	time_t time;
	const char *zone;
	ARRAY_TYPE(seq_range) uids;
};

/* Returns 0, or -1 if it isn't a whole and undamaged cache. Allocates from the
   data stack. */
int pimap_view_cache_parse(const void *data, size_t size,
			   struct pimap_view_cache *cache_r);
void pimap_view_cache_print(const struct pimap_view_cache *cache,
			    string_t *dest);

/* Sets view->matches and evaluated_next_uid from the cache, and epoch_modseq if
   it has it, and adds to changed_uids what must be evaluated anew of that.
   Returns FALSE, and changes nothing, if there is no cache or it can't be used;
   one of another filter is deleted. */
bool pimap_view_cache_load(struct mailbox *box, struct pimap_view *view,
			   ARRAY_TYPE(seq_range) *changed_uids);
/* Sets view->epoch_modseq, if it can be known. For a view that shows all; for
   others loading the cache has done it. */
bool pimap_view_cache_load_epoch(struct mailbox *box, struct pimap_view *view);
/* Writes the cache, if there is something new in it. The mailbox is synced, its
   real view still open. */
void pimap_view_cache_save(struct mailbox *box, struct pimap_view *view);

#endif
