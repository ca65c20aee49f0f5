/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_VIEW_KEPT_H
#define PIMAP_VIEW_KEPT_H

struct pimap_view_cache;

/* So many are kept, of so many octets together. */
#define PIMAP_VIEW_KEPT_MAX_COUNT 64
#define PIMAP_VIEW_KEPT_MAX_SIZE (1024*1024)

/* Returns 0 and what is in the view cache, which is valid until the next call; or
   -1 if there is no whole one. As long as the file stays the same it is read
   once. */
int pimap_view_kept_read(const char *path, struct pimap_view_cache *cache_r);
/* Frees all that is kept. */
void pimap_view_kept_free(void);

#endif
