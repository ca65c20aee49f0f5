/* SPDX-License-Identifier: LGPL-2.1-only */
/* What all stores of profiles have in common. */

#include "lib.h"
#include "str.h"
#include "pimap-profile.h"
#include "pimap-store.h"

int pimap_store_read(struct pimap_store *store,
		     struct pimap_profile **profile_r, const char **error_r)
{
	return store->v->read(store, profile_r, error_r);
}

const char *const *pimap_store_get_watch_paths(struct pimap_store *store)
{
	return store->v->get_watch_paths(store);
}

int pimap_store_begin(struct pimap_store *store,
		      struct pimap_profile **profile_r, const char **error_r)
{
	if (store->v->lock(store, error_r) < 0)
		return -1;
	if (store->v->read_locked(store, profile_r, error_r) < 0) {
		store->v->unlock(store);
		return -1;
	}
	return 0;
}

enum pimap_store_result
pimap_store_commit(struct pimap_store *store,
		   const struct pimap_profile *profile, const char **error_r)
{
	enum pimap_store_result result = PIMAP_STORE_FAILED;
	string_t *text = str_new(default_pool, 4096);

	pimap_profile_print(profile, text);
	if (str_len(text) > PIMAP_STORE_MAX_SIZE) {
		store->v->unlock(store);
		*error_r = "Too many settings for folders and filters";
		result = PIMAP_STORE_TOO_LARGE;
	} else if (store->v->write_unlock(store, text, error_r) == 0) {
		result = PIMAP_STORE_OK;
	}
	str_free(&text);
	return result;
}

void pimap_store_rollback(struct pimap_store *store)
{
	store->v->unlock(store);
}

int pimap_store_set_session(struct pimap_store *store, const char *id,
			    const char **error_r)
{
	return store->v->set_session(store, id, error_r);
}

int pimap_store_count_sessions(struct pimap_store *store,
			       const struct pimap_profile *profile,
			       const char *id, unsigned int max,
			       unsigned int *count_r, const char **error_r)
{
	return store->v->count_sessions(store, profile, id, max, count_r,
					error_r);
}

void pimap_store_free(struct pimap_store **_store)
{
	struct pimap_store *store = *_store;

	if (store == NULL)
		return;
	*_store = NULL;
	store->v->free(store);
}
