/* SPDX-License-Identifier: LGPL-2.1-only */
/* What is accounted of users, devices and folders: looks are committed here. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "ioloop.h"
#include "outband-store-private.h"

int outband_store_accounted_get(struct outband_store *store, const char *user,
				const char *guid, pool_t pool,
				ARRAY_TYPE(outband_accounted) *accounted_r,
				const char **error_r)
{
	struct outband_accounted *accounted;
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;

	p_array_init(accounted_r, pool, 8);
	if (outband_sql_run(store->sql, STMT_ACCOUNTED_GET, &rows, error_r,
			    user, guid) < 0)
		return -1;
	array_foreach_elem(&rows, row) {
		accounted = array_append_space(accounted_r);
		accounted->device = p_strdup(pool, row[0]);
		accounted->state = p_strdup(pool, row[1]);
		accounted->version = outband_sql_int(row, 2);
		accounted->generation = outband_sql_int(row, 3);
	}
	return 0;
}

int outband_store_folder_next(struct outband_store *store, const char *user,
			      const char *guid, pool_t pool,
			      const char **user_r, const char **guid_r,
			      const char **error_r)
{
	return store_next(store, STMT_FOLDER_NEXT, pool, user_r, guid_r, error_r,
			  user, guid);
}

int outband_store_device_next(struct outband_store *store, const char *user,
			      const char *device, pool_t pool,
			      const char **user_r, const char **device_r,
			      const char **error_r)
{
	return store_next(store, STMT_DEVICE_NEXT, pool, user_r, device_r,
			  error_r, user, device);
}

int outband_store_overdue_next(struct outband_store *store, const char *user,
			       const char *device, time_t before, pool_t pool,
			       const char **user_r, const char **device_r,
			       const char **error_r)
{
	return store_next(store, STMT_DEVICE_OVERDUE, pool, user_r, device_r,
			  error_r, user, device, (int64_t)before);
}

static int
store_rules_set(struct outband_store *store, const char *rules,
		const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	int ret;

	ret = outband_sql_run(store->sql, STMT_RULES_GET, &rows, error_r);
	if (ret < 0)
		return -1;
	if (ret > 0) {
		row = *array_front(&rows);
		if (strcmp(row[0], rules) == 0)
			return 0;
		if (store_run(store, STMT_QUEUE_ANEW, error_r) < 0)
			return -1;
	}
	if (store_run(store, STMT_RULES_DROP, error_r) < 0 ||
	    store_run(store, STMT_RULES_ADD, error_r, rules) < 0)
		return -1;
	return 1;
}

int outband_store_rules_set(struct outband_store *store, const char *rules,
			    const char **error_r)
{
	if (store_begin(store, "", error_r) < 0)
		return -1;
	return store_end(store, store_rules_set(store, rules, error_r), error_r);
}

/* One that is accounted now, while a look is committed */
struct accounted_now {
	const char *device, *state, *folder;
	int64_t version;
	bool found;
};
ARRAY_DEFINE_TYPE(accounted_now, struct accounted_now);

static const struct outband_accounted *
accounted_find(const ARRAY_TYPE(outband_accounted) *accounted,
	       const char *device)
{
	const struct outband_accounted *a;

	array_foreach(accounted, a) {
		if (strcmp(a->device, device) == 0)
			return a;
	}
	return NULL;
}

/* Returns 1 and what is accounted now, 0 if that isn't what the look was asked
   with, or -1 and error_r. */
static int
store_commit_verify(struct outband_store *store, const char *user,
		    const char *guid,
		    const ARRAY_TYPE(outband_accounted) *accounted,
		    ARRAY_TYPE(accounted_now) *now_r, const char **error_r)
{
	const struct outband_accounted *old;
	struct accounted_now *now;
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	bool same = TRUE;

	t_array_init(now_r, 8);
	if (outband_sql_run(store->sql, STMT_ACCOUNTED_GET, &rows, error_r,
			    user, guid) < 0)
		return -1;
	array_foreach_elem(&rows, row) {
		now = array_append_space(now_r);
		now->device = row[0];
		now->state = row[1];
		now->version = outband_sql_int(row, 2);
		now->folder = row[4];
		old = accounted_find(accounted, now->device);
		if (old == NULL || old->version != now->version)
			same = FALSE;
	}
	return same && array_count(now_r) == array_count(accounted) ? 1 : 0;
}

/* Returns 1 when the registry has the device as the look has found it, 0 if the
   look was made with a profile older than that, or -1 and error_r. */
static int
store_commit_device(struct outband_store *store, const char *user,
		    const struct outband_accounted *old,
		    const struct outband_found *found, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	int64_t generation = 0;
	int ret;

	ret = outband_sql_run(store->sql, STMT_GENERATION_GET, &rows, error_r,
			      user, found->device);
	if (ret < 0)
		return -1;
	if (ret > 0) {
		row = *array_front(&rows);
		generation = outband_sql_int(row, 0);
		if (generation == found->generation &&
		    strcmp(row[1], found->channel) == 0 &&
		    strcmp(row[2], found->address) == 0 &&
		    strcmp(row[3], found->format) == 0)
			return 1;
	}
	/* A profile that went back (a restore) is below what the registry had
	   when the look began. If another look has raised that meanwhile, this
	   one has read the profile too early. */
	if (ret > 0 && found->generation < generation && old != NULL &&
	    old->generation < generation)
		return 0;
	return store_run(store, STMT_DEVICE_SET, error_r, user, found->device,
			 found->generation, found->channel, found->address,
			 found->format) < 0 ? -1 : 1;
}

static int
store_commit_found(struct outband_store *store, const char *user,
		   const char *guid, const char *folder,
		   const struct outband_origin *origin,
		   const struct accounted_now *now,
		   const struct outband_found *found, const char **error_r)
{
	const struct outband_changes *changes = &found->changes;
	const struct outband_event *event;
	const char *text, *name;
	int64_t id, held;

	array_foreach(&found->events, event) {
		/* the others may be about anything */
		const bool readable = event->uid != 0 &&
			changes->end_modseq > 0;

		held = readable ? (int64_t)found->held_until : 0;
		name = event->folder != NULL ? event->folder : folder;
		text = t_strdup_printf("%s%s in %s, by a look at %s (%s)",
			event->name, event->uid == 0 ? "" :
			t_strdup_printf(" %u", event->uid), name, guid,
			origin->cause);
		if (queue_add(store, user, found->device, STMT_QUEUE_ADD, &id,
			      error_r, user, found->device, guid, name,
			      event->name, (int64_t)event->uid,
			      (int64_t)event->time,
			      event->fields == NULL ? "" : event->fields,
			      (int64_t)ioloop_time, found->generation, held,
			      (int64_t)changes->uid_validity,
			      (int64_t)changes->start_modseq,
			      readable ? (int64_t)changes->end_modseq :
			      (int64_t)0) < 0 ||
		    step_add(store, id, origin->begun, "found", text,
			     error_r) < 0 ||
		    step_add(store, id, ioloop_time, "queued", "",
			     error_r) < 0 ||
		    (held != 0 &&
		     step_add(store, id, ioloop_time, "held",
			      "the device is in IDLE there", error_r) < 0))
			return -1;
	}
	if (now != NULL) {
		if (strcmp(now->state, found->state) == 0 &&
		    strcmp(now->folder, folder) == 0) {
			/* most looks find nothing, and write nothing */
			return 0;
		}
		if (store_run(store, STMT_ACCOUNTED_DROP, error_r,
			      now->version) < 0)
			return -1;
	} else if (store_run(store, STMT_FOLDER_DROP, error_r, user, "") < 0) {
		return -1;
	}
	return store_run(store, STMT_ACCOUNTED_ADD, error_r, user, guid,
			 found->device, folder, found->state);
}

static int
store_commit_transaction(struct outband_store *store, const char *user,
			 const char *guid, const char *folder,
			 const struct outband_origin *origin,
			 const ARRAY_TYPE(outband_accounted) *accounted,
			 const ARRAY_TYPE(outband_found) *found,
			 const char **error_r)
{
	ARRAY_TYPE(accounted_now) all_now;
	struct accounted_now *now, *n;
	const struct outband_found *f;
	int ret;

	ret = store_commit_verify(store, user, guid, accounted, &all_now,
				  error_r);
	if (ret <= 0)
		return ret;

	array_foreach(found, f) {
		now = NULL;
		array_foreach_modifiable(&all_now, n) {
			if (strcmp(n->device, f->device) == 0)
				now = n;
		}
		if (now != NULL)
			now->found = TRUE;
		ret = store_commit_device(store, user,
			accounted_find(accounted, f->device), f, error_r);
		if (ret <= 0)
			return ret;
		if (store_commit_found(store, user, guid, folder, origin, now,
				       f, error_r) < 0)
			return -1;
	}
	array_foreach_modifiable(&all_now, now) {
		if (now->found)
			continue;
		if (store_run(store, STMT_ACCOUNTED_DROP, error_r,
			      now->version) < 0 ||
		    queue_change(store, DROPPED_DEVICE, STMT_QUEUE_DROP_DEVICE,
				 error_r, user, now->device, guid) < 0 ||
		    store_run(store, STMT_DEVICE_BEGINS, error_r, user,
			      now->device) < 0)
			return -1;
	}
	return 1;
}

int outband_store_commit(struct outband_store *store, const char *user,
			 const char *guid, const char *folder,
			 const struct outband_origin *origin,
			 const ARRAY_TYPE(outband_accounted) *accounted,
			 const ARRAY_TYPE(outband_found) *found,
			 const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	ret = store_commit_transaction(store, user, guid, folder, origin,
				       accounted, found, error_r);
	return store_end(store, ret, error_r);
}

int outband_store_add_user(struct outband_store *store, const char *user,
			   const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	ret = store_run(store, STMT_USER_ADD, error_r, user);
	return store_end(store, ret < 0 ? -1 : 1, error_r) < 0 ? -1 : 0;
}

int outband_store_drop_user(struct outband_store *store, const char *user,
			    const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	ret = store_run(store, STMT_FOLDER_DROP, error_r, user, "");
	return store_end(store, ret < 0 ? -1 : 1, error_r) < 0 ? -1 : 0;
}

int outband_store_gone(struct outband_store *store, const char *user,
		       const char *guid, const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	if (guid[0] == '\0') {
		ret = store_run(store, STMT_USER_DROP, error_r, user);
		if (ret == 0) {
			ret = queue_change(store, DROPPED_DEVICE,
					   STMT_QUEUE_DROP_USER, error_r, user);
		}
	} else {
		ret = store_run(store, STMT_FOLDER_DROP, error_r, user, guid);
		if (ret == 0) {
			ret = queue_change(store, DROPPED_DEVICE,
					   STMT_QUEUE_DROP_FOLDER, error_r,
					   user, guid);
		}
	}
	if (ret >= 0) {
		ret = store_run(store, STMT_DEATHS_DROP, error_r, user,
				guid);
	}
	return store_end(store, ret < 0 ? -1 : 1, error_r);
}

/* Deaths of workers */

int outband_store_deaths_get(struct outband_store *store, const char *user,
			     const char *guid, pool_t pool,
			     struct outband_deaths *deaths_r,
			     const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	string_t *skip = t_str_new(64);

	i_zero(deaths_r);
	if (outband_sql_run(store->sql, STMT_DEATHS_GET, &rows, error_r, user,
			    guid) < 0)
		return -1;
	array_foreach_elem(&rows, row) {
		if (outband_sql_int(row, 0) == 0 ||
		    outband_sql_int(row, 1) < OUTBAND_DEATHS_MAX) {
			deaths_r->suspected = TRUE;
			continue;
		}
		if (str_len(skip) > 0)
			str_append_c(skip, ',');
		str_append(skip, row[0]);
	}
	deaths_r->skip = p_strdup(pool, str_c(skip));
	return 0;
}

static int
store_deaths_add(struct outband_store *store, const char *user,
		 const char *guid, uint32_t uid, unsigned int *count_r,
		 const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;

	if (outband_sql_run(store->sql, STMT_DEATHS_ADD, &rows, error_r, user,
			    guid, (int64_t)uid) < 0)
		return -1;
	*count_r = outband_sql_int(*array_front(&rows), 0);
	return store_run(store, STMT_DEATHS_PRUNE, error_r, user, guid) < 0 ?
		-1 : 1;
}

int outband_store_deaths_add(struct outband_store *store, const char *user,
			     const char *guid, uint32_t uid,
			     unsigned int *count_r, const char **error_r)
{
	if (store_begin(store, user, error_r) < 0)
		return -1;
	return store_end(store, store_deaths_add(store, user, guid, uid,
						 count_r, error_r), error_r);
}

int outband_store_deaths_clear(struct outband_store *store, const char *user,
			       const char *guid, bool all,
			       const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	if (all)
		ret = store_run(store, STMT_DEATHS_DROP, error_r, user, guid);
	else {
		ret = store_run(store, STMT_DEATHS_CLEAR, error_r, user, guid,
				(int64_t)OUTBAND_DEATHS_MAX);
	}
	return store_end(store, ret < 0 ? -1 : 1, error_r);
}
