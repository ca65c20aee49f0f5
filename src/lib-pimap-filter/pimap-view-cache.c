/* SPDX-License-Identifier: LGPL-2.1-only */
/* The view cache: which messages matched when a mailbox was closed, so that the
   next one to open it evaluates only what is new or has changed since. One file
   for each device and folder, beside the folder's index; it may be deleted at
   any time.

   It is stamped with the index's position that the real view had synced, never
   with that of its map, which can be ahead: what a stamp claims to have been
   evaluated must have been. What doesn't match the index, isn't whole or is of
   another filter is not used. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "hostpid.h"
#include "ioloop.h"
#include "write-full.h"
#include "mail-transaction-log.h"
#include "pimap-view-private.h"
#include "pimap-view-cache.h"
#include "pimap-view-kept.h"

#include <stdio.h>
#include <fcntl.h>
#include <unistd.h>

static const char *
cache_get_path(struct mailbox *box, const struct pimap_view *view)
{
	const char *dir;

	if (view->cache_name == NULL || mail_index_is_in_memory(box->index) ||
	    mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_INDEX, &dir) <= 0)
		return NULL;
	return t_strconcat(dir, "/"PIMAP_VIEW_CACHE_PREFIX, view->cache_name,
			   NULL);
}

static const char *view_criteria(const struct pimap_view *view)
{
	return view->criteria_text == NULL ? "" : view->criteria_text;
}

/* TRUE if time hasn't let anything in since it was made. */
static bool
cache_time_is_past(const struct pimap_view *view,
		   const struct pimap_view_cache *cache)
{
	return view->criteria.expires == 0 ||
		(!view->criteria.grow && cache->time <= ioloop_time &&
		 strcmp(cache->zone, view->zone) == 0);
}

/* To build the criteria costs more than to read the cache, which tells what needs
   to be known of them if they are fixed. */
static int
cache_know_criteria(struct mailbox *box, struct pimap_view *view,
		    const struct pimap_view_cache *cache)
{
	if (view->filtered == NULL || view->criteria_known)
		return 0;
	if (!cache->fixed)
		return pimap_view_match_build(box, view);
	view->criteria.has_flags = cache->has_flags;
	view->criteria_known = TRUE;
	return 0;
}

/* Returns TRUE if there is one that is of any use. One that isn't is deleted: it
   must not seem later that its filter has been in force all the time. */
static bool
cache_read(struct mailbox *box, struct pimap_view *view,
	   struct pimap_view_cache *cache_r)
{
	const struct mail_index_header *hdr =
		&pimap_view_get_real(box, view)->map->hdr;
	const char *path = cache_get_path(box, view);

	if (path == NULL)
		return FALSE;
	if (pimap_view_kept_read(path, cache_r) == 0 &&
	    cache_r->uid_validity == hdr->uid_validity &&
	    cache_r->indexid == hdr->indexid &&
	    cache_r->next_uid <= hdr->next_uid &&
	    strcmp(cache_r->criteria, view_criteria(view)) == 0 &&
	    cache_know_criteria(box, view, cache_r) == 0 &&
	    cache_time_is_past(view, cache_r))
		return TRUE;
	i_unlink_if_exists(path);
	return FALSE;
}

/* It is of use only where its filter wasn't another one in between, and time
   changes nothing. */
static bool
cache_get_epoch(struct pimap_view *view, const struct pimap_view_cache *cache)
{
	if (cache->generation != view->generation || view->criteria.expires != 0)
		return FALSE;
	view->epoch_modseq = cache->epoch_modseq;
	return TRUE;
}

static bool cache_exists(struct mailbox *box, struct pimap_view *view)
{
	const char *path = cache_get_path(box, view);

	return path != NULL && access(path, F_OK) == 0;
}

bool pimap_view_cache_load_epoch(struct mailbox *box, struct pimap_view *view)
{
	struct pimap_view_cache cache;

	if (view->filtered != NULL)
		return FALSE;
	if (view->generation == 0 && !cache_exists(box, view)) {
		/* there never was another filter: with one that was a site's
		   default there would be a cache */
		view->epoch_modseq = 0;
		return TRUE;
	}
	if ((box->enabled_features & MAILBOX_FEATURE_CONDSTORE) == 0)
		return FALSE;
	view->cache_changed = TRUE;
	if (!cache_read(box, view, &cache) || !cache_get_epoch(view, &cache))
		return FALSE;
	view->cache_changed = FALSE;
	return TRUE;
}

static void
add_uid_pairs(ARRAY_TYPE(seq_range) *uids, const void *data, size_t size,
	      size_t pair_size)
{
	const uint32_t *pair;
	size_t i;

	for (i = 0; i + pair_size <= size; i += pair_size) {
		pair = CONST_PTR_OFFSET(data, i);
		if (pair[0] > 0 && pair[0] <= pair[1])
			seq_range_array_add_range(uids, pair[0], pair[1]);
	}
}

static void
add_changed_by(ARRAY_TYPE(seq_range) *uids,
	       const struct mail_transaction_header *hdr, const void *data)
{
	const struct mail_transaction_keyword_update *keyword;
	size_t skip;

	switch (hdr->type & MAIL_TRANSACTION_TYPE_MASK) {
	case MAIL_TRANSACTION_FLAG_UPDATE:
		add_uid_pairs(uids, data, hdr->size,
			      sizeof(struct mail_transaction_flag_update));
		break;
	case MAIL_TRANSACTION_KEYWORD_UPDATE:
		keyword = data;
		skip = (sizeof(*keyword) + keyword->name_size + 3) &
			~(size_t)3;
		if (skip < hdr->size) {
			add_uid_pairs(uids, CONST_PTR_OFFSET(data, skip),
				      hdr->size - skip, sizeof(uint32_t) * 2);
		}
		break;
	case MAIL_TRANSACTION_KEYWORD_RESET:
		add_uid_pairs(uids, data, hdr->size,
			      sizeof(struct mail_transaction_keyword_reset));
		break;
	}
}

/* Adds the UIDs whose flags have changed since the cache was made. Returns -1 if
   the log doesn't go back that far. */
static int
cache_get_changes(struct pimap_view *view, const struct pimap_view_cache *cache,
		  ARRAY_TYPE(seq_range) *uids)
{
	const struct mail_index_header *hdr = &view->real->map->hdr;
	const struct mail_transaction_header *thdr;
	struct mail_transaction_log_view *log_view;
	const void *data;
	const char *reason;
	bool reset;
	int ret;

	if (cache->log_seq == hdr->log_file_seq &&
	    cache->log_offset == hdr->log_file_head_offset)
		return 0;
	if (cache->log_seq > hdr->log_file_seq ||
	    (cache->log_seq == hdr->log_file_seq &&
	     cache->log_offset > hdr->log_file_head_offset))
		return -1;
	log_view = mail_transaction_log_view_open(view->real->index->log);
	ret = mail_transaction_log_view_set(log_view, cache->log_seq,
		cache->log_offset, hdr->log_file_seq,
		hdr->log_file_head_offset, &reset, &reason);
	if (ret <= 0 || reset)
		ret = -1;
	else while ((ret = mail_transaction_log_view_next(log_view, &thdr,
							   &data)) > 0)
		add_changed_by(uids, thdr, data);
	mail_transaction_log_view_close(&log_view);
	return ret;
}

/* Keeps those of the cached UIDs that still exist. */
static void
cache_keep_existing(struct pimap_view *view,
		    const ARRAY_TYPE(seq_range) *cached,
		    ARRAY_TYPE(seq_range) *uids)
{
	struct mail_index_map *map = view->real->map;
	struct pimap_view_cursor cursor = { .map = map };
	const struct seq_range *ranges;
	uint32_t seq, seq1, seq2;
	unsigned int i, count;
	/* mostly all do: there is nothing to put together then */
	bool whole = TRUE, exists;

	ranges = array_get(cached, &count);
	for (i = 0; i < count; i++) {
		if (ranges[i].seq1 == ranges[i].seq2) {
			exists = pimap_view_seek_uid(&cursor,
						     ranges[i].seq1) != 0;
			seq1 = 1;
			seq2 = 0;
		} else {
			exists = pimap_view_seek_range(&cursor, &ranges[i],
						       &seq1, &seq2) &&
				seq2 - seq1 == ranges[i].seq2 - ranges[i].seq1;
		}
		if (exists) {
			if (!whole)
				array_push_back(uids, &ranges[i]);
			continue;
		}
		if (whole)
			array_append(uids, ranges, i);
		whole = FALSE;
		for (seq = seq1; seq <= seq2; seq++) {
			seq_range_array_add(uids,
				MAIL_INDEX_REC_AT_SEQ(map, seq)->uid);
		}
	}
	if (whole)
		array_append(uids, ranges, count);
}

bool pimap_view_cache_load(struct mailbox *box, struct pimap_view *view,
			   ARRAY_TYPE(seq_range) *changed_uids)
{
	const struct mail_index_header *hdr = &view->real->map->hdr;
	struct pimap_view_cache cache;
	bool epoch;

	view->cache_changed = TRUE;
	if (!cache_read(box, view, &cache))
		return FALSE;
	if (view->criteria.has_flags &&
	    cache_get_changes(view, &cache, changed_uids) < 0)
		return FALSE;
	array_clear(&view->matches);
	cache_keep_existing(view, &cache.uids, &view->matches);
	view->evaluated_next_uid = cache.next_uid;
	epoch = cache_get_epoch(view, &cache);
	/* while the log goes on, there is no need to write the cache anew */
	view->cache_changed = (!epoch && view->criteria.expires == 0) ||
		array_count(changed_uids) > 0 ||
		cache.next_uid != hdr->next_uid ||
		cache.log_seq != hdr->log_file_seq;
	return TRUE;
}

static int cache_write(const char *path, const string_t *text)
{
	const char *tmp = t_strconcat(path, ".", my_pid, NULL);
	int fd, ret;

	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd == -1)
		return -1;
	/* not fsynced: what a crash leaves isn't whole, and not used */
	ret = write_full(fd, str_data(text), str_len(text));
	i_close_fd(&fd);
	if (ret == 0)
		ret = rename(tmp, path);
	if (ret < 0)
		i_unlink_if_exists(tmp);
	return ret;
}

/* TRUE if what the view knows is right and whole. */
static bool view_can_be_saved(const struct pimap_view *view)
{
	if (!view->cache_changed || view->epoch_modseq == UINT64_MAX)
		return FALSE;
	return view->filtered == NULL ||
		(view->evaluated && view->synced && !view->lost_changes &&
		 !view->incomplete && !view->broken &&
		 (view->criteria.expires == 0 || !view->criteria.grow));
}

static void
cache_init(struct mailbox *box, struct pimap_view *view,
	   struct pimap_view_cache *cache_r)
{
	const struct mail_index_header *hdr =
		&pimap_view_get_real(box, view)->map->hdr;

	i_zero(cache_r);
	cache_r->uid_validity = hdr->uid_validity;
	cache_r->indexid = hdr->indexid;
	cache_r->criteria = view_criteria(view);
	cache_r->generation = view->generation;
	cache_r->epoch_modseq = view->epoch_modseq;
	cache_r->fixed = view->criteria.expires == 0;
	cache_r->has_flags = view->criteria.has_flags;
	cache_r->time = ioloop_time;
	cache_r->zone = view->zone;
	if (view->filtered == NULL) {
		/* there is nothing to evaluate */
		cache_r->next_uid = 1;
		t_array_init(&cache_r->uids, 1);
	} else {
		cache_r->log_seq = view->synced_head_seq;
		cache_r->log_offset = view->synced_head_offset;
		cache_r->next_uid = view->evaluated_next_uid;
		cache_r->uids = view->matches;
	}
}

void pimap_view_cache_save(struct mailbox *box, struct pimap_view *view)
{
	struct pimap_view_cache cache;
	const char *path;
	string_t *text;

	if (box->deleting || !view_can_be_saved(view) ||
	    (path = cache_get_path(box, view)) == NULL)
		return;
	cache_init(box, view, &cache);
	text = str_new(default_pool, 1024);
	pimap_view_cache_print(&cache, text);
	if (str_len(text) <= PIMAP_VIEW_CACHE_MAX_SIZE &&
	    cache_write(path, text) == 0)
		view->cache_changed = FALSE;
	else if (errno != ENOSPC && errno != EDQUOT && errno != EACCES &&
		 errno != ENOENT)
		e_error(box->event, "pimap: Writing view cache %s failed: %m",
			path);
	str_free(&text);
}
