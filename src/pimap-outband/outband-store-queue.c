/* SPDX-License-Identifier: LGPL-2.1-only */
/* A device's queue: what waits, is joined, numbered, sent. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "ioloop.h"
#include "outband-store-private.h"

void queue_row_get(outband_sql_row_t row, pool_t pool, struct outband_row *row_r)
{
	i_zero(row_r);
	row_r->id = outband_sql_int(row, 0);
	row_r->guid = p_strdup(pool, row[1]);
	row_r->folder = p_strdup(pool, row[2]);
	row_r->event.name = p_strdup(pool, row[3]);
	row_r->event.uid = outband_sql_int(row, 4);
	row_r->event.time = outband_sql_int(row, 5);
	row_r->seq = outband_sql_int(row, 6);
	if (row_r->seq != 0)
		row_r->payload = p_strdup(pool, row[7]);
	row_r->tries = outband_sql_int(row, 8);
	row_r->next_try = outband_sql_int(row, 9);
	row_r->created = outband_sql_int(row, 10);
	row_r->channel = p_strdup(pool, row[11]);
	row_r->address = p_strdup(pool, row[12]);
	row_r->format = p_strdup(pool, row[13]);
	row_r->last_error = p_strdup(pool, row[14]);
	row_r->user = p_strdup(pool, row[15]);
	row_r->device = p_strdup(pool, row[16]);
	row_r->event.fields = p_strdup(pool, row[17]);
	row_r->generation = outband_sql_int(row, 18);
	row_r->device_generation = outband_sql_int(row, 19);
	row_r->ended = p_strdup(pool, row[20]);
	row_r->held_until = outband_sql_int(row, 21);
	row_r->changes.uid_validity = outband_sql_int(row, 22);
	row_r->changes.start_modseq = outband_sql_int(row, 23);
	row_r->changes.end_modseq = outband_sql_int(row, 24);
}

static void
queue_row_get_windows(outband_sql_row_t row, struct outband_row *row_r)
{
	struct outband_window *window;
	unsigned int i, column;

	for (i = 0; i < OUTBAND_WINDOW_COUNT; i++) {
		window = &row_r->windows[i];
		column = WINDOW_COLUMNS_FIRST + i * 2;
		window->start = outband_sql_int(row, column);
		window->count = outband_sql_int(row, column + 1);
	}
}

int outband_store_head(struct outband_store *store, const char *user,
		       const char *device, pool_t pool,
		       struct outband_row *row_r, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	int ret;

	ret = outband_sql_run(store->sql, STMT_QUEUE_HEAD, &rows, error_r,
			      user, device);
	if (ret > 0) {
		queue_row_get(*array_front(&rows), pool, row_r);
		queue_row_get_windows(*array_front(&rows), row_r);
	}
	return ret;
}

int outband_store_readable(struct outband_store *store, const char *user,
			   const char *device, unsigned int max, pool_t pool,
			   ARRAY_TYPE(outband_row) *rows_r,
			   const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;

	p_array_init(rows_r, pool, 8);
	if (outband_sql_run(store->sql, STMT_READABLE, &rows, error_r, user,
			    device, (int64_t)max) < 0)
		return -1;
	array_foreach_elem(&rows, row)
		queue_row_get(row, pool, array_append_space(rows_r));
	return 0;
}

int outband_store_held_next(struct outband_store *store, const char *user,
			    const char *device, pool_t pool,
			    const char **user_r, const char **device_r,
			    const char **error_r)
{
	return store_next(store, STMT_HELD_NEXT, pool, user_r, device_r, error_r,
			  user, device);
}

int outband_store_release(struct outband_store *store, const char *user,
			  int64_t id, const char *reason,
			  const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	ret = queue_change(store, "released", reason, STMT_QUEUE_RELEASE,
			   error_r, id);
	return store_end(store, ret, error_r);
}

int outband_store_read(struct outband_store *store, const char *user, int64_t id,
		       bool held, const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	ret = queue_change(store, "done", "read inband", held ?
			   STMT_QUEUE_READ : STMT_QUEUE_READ_ANY,
			   error_r, id);
	return store_end(store, ret, error_r);
}

int outband_store_urgent(struct outband_store *store, const char *user,
			 const char *device, pool_t pool,
			 struct outband_row *row_r, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	int ret;

	ret = outband_sql_run(store->sql, STMT_QUEUE_URGENT, &rows, error_r,
			      user, device);
	if (ret > 0)
		queue_row_get(*array_front(&rows), pool, row_r);
	return ret;
}

int outband_store_queued(struct outband_store *store, const char *user,
			 const char *device, const char *guid,
			 int64_t generation, unsigned int max, pool_t pool,
			 ARRAY_TYPE(outband_row) *rows_r, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;

	p_array_init(rows_r, pool, 8);
	if (outband_sql_run(store->sql, STMT_QUEUED, &rows, error_r, user,
			    device, guid, generation, (int64_t)max) < 0)
		return -1;
	array_foreach_elem(&rows, row)
		queue_row_get(row, pool, array_append_space(rows_r));
	return 0;
}

/* Returns 1 when the registry has the device as it was found, 0 if it is newer, or
   -1 and error_r. old: its generation when the worker was asked */
static int
store_judged_device(struct outband_store *store, const char *user,
		    const char *device, int64_t old,
		    const struct outband_judged *judged, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	int64_t generation;
	int ret;

	ret = outband_sql_run(store->sql, STMT_GENERATION_GET, &rows, error_r,
			      user, device);
	if (ret <= 0)
		return ret;
	generation = outband_sql_int(*array_front(&rows), 0);
	/* as store_commit_device() */
	if (judged->generation < generation && old < generation)
		return 0;
	if (judged->verdicts == NULL) {
		ret = store_run(store, STMT_DEVICE_SET_GENERATION, error_r,
				user, device, judged->generation);
	} else {
		ret = store_run(store, STMT_DEVICE_SET, error_r, user, device,
				judged->generation, judged->channel,
				judged->address, judged->format);
	}
	return ret < 0 ? -1 : 1;
}

static int
store_judged_sync(struct outband_store *store, const struct outband_row *row,
		  int64_t generation, const char **error_r)
{
	int64_t id;
	int ret;

	ret = queue_change(store, "judged", "it can't be, and becomes a SYNC",
			   STMT_QUEUE_SYNC, error_r, row->id, generation,
			   (int64_t)ioloop_time);
	if (ret != 0)
		return ret;
	/* a number keeps its content */
	ret = queue_add(store, row->user, row->device, STMT_QUEUE_ADD_SYNC,
			&id, error_r, row->id, generation,
			(int64_t)ioloop_time);
	if (ret <= 0)
		return ret;
	if (step_add(store, id, ioloop_time, "queued", t_strdup_printf(
			"SYNC in %s, in the place of %"PRId64, row->folder,
			row->id), error_r) < 0)
		return -1;
	return queue_change(store, DROPPED_SYNC, STMT_QUEUE_DONE, error_r,
			    row->id);
}

static int
store_judged_row(struct outband_store *store, const struct outband_row *row,
		 const struct outband_judged *judged, char verdict,
		 const char **error_r)
{
	switch (verdict) {
	case OUTBAND_VERDICT_PASSES:
		return store_run(store, STMT_QUEUE_PASS, error_r, row->id,
				 row->generation, judged->generation);
	case OUTBAND_VERDICT_DROP:
		return queue_change(store, DROPPED_FILTER, STMT_QUEUE_FAIL,
				    error_r, row->id, row->generation);
	default:
		return 0;
	}
}

static int
store_judged_transaction(struct outband_store *store, const char *user,
			 const char *device,
			 const struct outband_judged *judged,
			 const ARRAY_TYPE(outband_row) *rows, bool sync,
			 const char **error_r)
{
	const struct outband_row *row;
	unsigned int i;
	char verdict;
	int ret;

	if (array_count(rows) == 0)
		return 1;
	row = array_front(rows);
	ret = store_judged_device(store, user, device, row->device_generation,
				  judged, error_r);
	if (ret <= 0)
		return ret;
	if (sync && judged->verdicts != NULL) {
		return store_judged_sync(store, row, judged->generation,
					 error_r) < 0 ? -1 : 1;
	}
	for (i = 0; i < array_count(rows); i++) {
		row = array_idx(rows, i);
		verdict = judged->verdicts == NULL ? OUTBAND_VERDICT_DROP :
			judged->verdicts[i];
		if (store_judged_row(store, row, judged, verdict, error_r) < 0)
			return -1;
	}
	return 1;
}

int outband_store_judged(struct outband_store *store, const char *user,
			 const char *device,
			 const struct outband_judged *judged,
			 const ARRAY_TYPE(outband_row) *rows, bool sync,
			 const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	ret = store_judged_transaction(store, user, device, judged, rows, sync,
				       error_r);
	return store_end(store, ret, error_r);
}

static int
store_join_transaction(struct outband_store *store, const char *user,
		       const char *device, int64_t generation, pool_t pool,
		       const char **guid_r, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	int64_t count, folders, id;
	const char *event;
	int ret;

	if (outband_sql_run(store->sql, STMT_JOINABLE, &rows, error_r, user,
			    device, generation) < 0)
		return -1;
	row = *array_front(&rows);
	count = outband_sql_int(row, 0);
	folders = outband_sql_int(row, 1);
	id = outband_sql_int(row, 2);
	if (count < 2)
		return 0;
	if (outband_sql_int(row, 7) > 0) {
		*guid_r = p_strdup(pool, row[6]);
		return 2;
	}
	if (outband_sql_int(row, 4) > 0)
		event = "STATE_COMPARISON_SYNC";
	else if (outband_sql_int(row, 5) > 0 || folders > 1)
		event = "FULL_SYNC";
	else
		event = "SYNC";
	ret = queue_change(store, "joined", t_strdup_printf(
			"%s, in the place of %"PRId64, event, count),
			STMT_QUEUE_JOIN, error_r, id, event, folders,
			(int64_t)ioloop_time, outband_sql_int(row, 3),
			/* no filter drops what is of the list of folders */
			row[8]);
	if (ret <= 0)
		return ret;
	return queue_change(store, "done",
			t_strdup_printf("joined into %"PRId64, id),
			STMT_QUEUE_JOINED_DROP, error_r, user, device, id);
}

int outband_store_join(struct outband_store *store, const char *user,
		       const char *device, int64_t generation, pool_t pool,
		       const char **guid_r, const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	ret = store_join_transaction(store, user, device, generation, pool,
				     guid_r, error_r);
	return store_end(store, ret, error_r);
}

/* The windows that aren't the device's own */
static int
store_number_windows(struct outband_store *store, const struct outband_row *row,
		     const char **error_r)
{
	const struct outband_window *user = &row->windows[OUTBAND_WINDOW_USER];
	const struct outband_window *channel =
		&row->windows[OUTBAND_WINDOW_CHANNEL];

	if (user->count > 0 &&
	    store_run(store, STMT_WINDOW_SET, error_r,
		      t_strconcat(WINDOW_USER, row->user, NULL),
		      (int64_t)user->start, (int64_t)user->count) < 0)
		return -1;
	if (channel->count > 0 &&
	    store_run(store, STMT_WINDOW_SET, error_r,
		      t_strconcat(WINDOW_CHANNEL, row->channel, NULL),
		      (int64_t)channel->start, (int64_t)channel->count) < 0)
		return -1;
	return 0;
}

/* Returns 1 and the number, 0 if the row is gone or has one, or -1 and error_r. */
static int
store_number_transaction(struct outband_store *store, struct outband_row *row,
			 string_t *text, outband_store_payload_t *payload,
			 const char **error_r)
{
	const struct outband_window *join = &row->windows[OUTBAND_WINDOW_JOIN];
	const struct outband_window *hour =
		&row->windows[OUTBAND_WINDOW_DEVICE];
	ARRAY_TYPE(outband_sql_rows) rows;
	int ret;

	ret = outband_sql_run(store->sql, STMT_SEQ_NEXT, &rows, error_r,
			      row->user, row->device, (int64_t)join->start,
			      (int64_t)join->count, (int64_t)hour->start,
			      (int64_t)hour->count);
	if (ret <= 0)
		return ret;
	if (store_number_windows(store, row, error_r) < 0)
		return -1;
	row->seq = outband_sql_int(*array_front(&rows), 0);
	payload(text, row);
	ret = queue_change(store, "numbered", dec2str(row->seq),
			   STMT_QUEUE_NUMBER, error_r, row->id, row->seq,
			   str_c(text), row->generation);
	if (ret <= 0)
		return ret;
	return store_run(store, STMT_TRACE_NUMBER, error_r, row->id,
			 row->seq) < 0 ? -1 : 1;
}

int outband_store_number(struct outband_store *store, struct outband_row *row,
			 pool_t pool, outband_store_payload_t *payload,
			 const char **error_r)
{
	string_t *text = t_str_new(256);
	int ret;

	i_assert(row->seq == 0);
	if (store_begin(store, row->user, error_r) < 0)
		return -1;
	ret = store_number_transaction(store, row, text, payload, error_r);
	ret = store_end(store, ret, error_r);
	if (ret > 0)
		row->payload = p_strdup(pool, str_c(text));
	else
		row->seq = 0;
	return ret;
}

int outband_store_retry(struct outband_store *store,
			const struct outband_row *row, time_t next_try,
			const char **error_r)
{
	const char *text = store_text(row->last_error);
	int ret;

	if (store_begin(store, row->user, error_r) < 0)
		return -1;
	ret = queue_change(store, "tried", text, STMT_QUEUE_RETRY, error_r,
			   row->id, (int64_t)row->tries, (int64_t)next_try,
			   text);
	return store_end(store, ret < 0 ? -1 : 1, error_r);
}

int outband_store_done(struct outband_store *store,
		       const struct outband_row *row, const char *result,
		       const char **error_r)
{
	int ret;

	if (store_begin(store, row->user, error_r) < 0)
		return -1;
	ret = queue_change(store, "done", result, STMT_QUEUE_DONE, error_r,
			   row->id);
	return store_end(store, ret < 0 ? -1 : 1, error_r);
}

static int
store_unregister(struct outband_store *store, const struct outband_row *row,
		 const char *result, const char *reason, const char **error_r)
{
	int ret = queue_change(store, "done", result, STMT_QUEUE_DONE, error_r,
			       row->id);

	return ret < 0 ? -1 :
		store_run(store, STMT_DEVICE_ENDED, error_r, row->user,
			  row->device, row->channel, row->address,
			  store_text(reason), (int64_t)ioloop_time);
}

int outband_store_unregister(struct outband_store *store,
			     const struct outband_row *row, const char *result,
			     const char *reason, const char **error_r)
{
	int ret;

	if (store_begin(store, row->user, error_r) < 0)
		return -1;
	ret = store_unregister(store, row, result, reason, error_r);
	return store_end(store, ret < 0 ? -1 : 1, error_r);
}

int outband_store_ended_get(struct outband_store *store, const char *user,
			    const char *device, pool_t pool,
			    const char **reason_r, time_t *since_r,
			    const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	int ret;

	ret = outband_sql_run(store->sql, STMT_DEVICE_ENDED_GET, &rows, error_r,
			      user, device);
	if (ret <= 0)
		return ret;
	row = *array_front(&rows);
	*reason_r = p_strdup(pool, row[0]);
	*since_r = outband_sql_int(row, 1);
	return 1;
}
