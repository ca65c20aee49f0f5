/* SPDX-License-Identifier: LGPL-2.1-only */
/* What was read of view caches, kept for the next time that a folder is opened:
   clients open the same ones again and again. It stands for the file that it was
   read from as long as that is the one at its place, and for nothing else: whoever
   deletes or replaces the file need know nothing of this.

   The file isn't kept open: on NFS its folder couldn't be deleted. */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "llist.h"
#include "read-full.h"
#include "seq-range-array.h"
#include "pimap-view-cache.h"
#include "pimap-view-kept.h"

#include <fcntl.h>
#include <sys/stat.h>

struct kept_cache {
	struct kept_cache *prev, *next;
	pool_t pool;
	const char *path;
	struct stat st;
	struct pimap_view_cache cache;
};

/* what was used last comes first */
static struct kept_cache *kept_head = NULL, *kept_tail = NULL;
static unsigned int kept_count = 0;
static uoff_t kept_size = 0;

static void kept_remove(struct kept_cache *kept)
{
	DLLIST2_REMOVE(&kept_head, &kept_tail, kept);
	kept_count--;
	kept_size -= kept->st.st_size;
	pool_unref(&kept->pool);
}

void pimap_view_kept_free(void)
{
	while (kept_head != NULL)
		kept_remove(kept_head);
}

static struct kept_cache *kept_find(const char *path)
{
	struct kept_cache *kept;

	for (kept = kept_head; kept != NULL; kept = kept->next) {
		if (strcmp(kept->path, path) == 0)
			break;
	}
	return kept;
}

static bool
kept_is_file(const struct kept_cache *kept, const struct stat *st)
{
	return kept->st.st_ino == st->st_ino && kept->st.st_dev == st->st_dev &&
		kept->st.st_size == st->st_size &&
		kept->st.st_mtim.tv_sec == st->st_mtim.tv_sec &&
		kept->st.st_mtim.tv_nsec == st->st_mtim.tv_nsec &&
		kept->st.st_ctim.tv_sec == st->st_ctim.tv_sec &&
		kept->st.st_ctim.tv_nsec == st->st_ctim.tv_nsec;
}

/* A file has the time at which it came to its place, but the clock for that stands
   still for some milliseconds: in these another could come that seems to be the
   same. One that is older than that has been the last one. */
static bool file_is_settled(const struct stat *st)
{
	return st->st_ctim.tv_sec < ioloop_time - 1;
}

static void
kept_add(const char *path, const struct stat *st,
	 const struct pimap_view_cache *cache)
{
	struct kept_cache *kept;
	pool_t pool;

	if (!file_is_settled(st) || st->st_size > PIMAP_VIEW_KEPT_MAX_SIZE)
		return;
	while (kept_count >= PIMAP_VIEW_KEPT_MAX_COUNT ||
	       kept_size + st->st_size > PIMAP_VIEW_KEPT_MAX_SIZE)
		kept_remove(kept_tail);
	pool = pool_alloconly_create("pimap view cache", 512);
	kept = p_new(pool, struct kept_cache, 1);
	kept->pool = pool;
	kept->path = p_strdup(pool, path);
	kept->st = *st;
	kept->cache = *cache;
	kept->cache.criteria = p_strdup(pool, cache->criteria);
	kept->cache.zone = p_strdup(pool, cache->zone);
	p_array_init(&kept->cache.uids, pool, array_count(&cache->uids) + 1);
	array_append_array(&kept->cache.uids, &cache->uids);
	DLLIST2_PREPEND(&kept_head, &kept_tail, kept);
	kept_count++;
	kept_size += st->st_size;
}

static int
file_read(const char *path, struct stat *st_r, struct pimap_view_cache *cache_r)
{
	void *data;
	int fd, ret = -1;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	if (fstat(fd, st_r) == 0 && st_r->st_size > 0 &&
	    st_r->st_size <= PIMAP_VIEW_CACHE_MAX_SIZE) {
		data = t_malloc_no0(st_r->st_size);
		if (read_full(fd, data, st_r->st_size) > 0) {
			ret = pimap_view_cache_parse(data, st_r->st_size,
						     cache_r);
		}
	}
	i_close_fd(&fd);
	return ret;
}

int pimap_view_kept_read(const char *path, struct pimap_view_cache *cache_r)
{
	struct kept_cache *kept = kept_find(path);
	struct stat st;

	if (kept != NULL && stat(path, &st) == 0 && kept_is_file(kept, &st)) {
		DLLIST2_REMOVE(&kept_head, &kept_tail, kept);
		DLLIST2_PREPEND(&kept_head, &kept_tail, kept);
		*cache_r = kept->cache;
		return 0;
	}
	if (kept != NULL)
		kept_remove(kept);
	if (file_read(path, &st, cache_r) < 0)
		return -1;
	kept_add(path, &st, cache_r);
	return 0;
}
