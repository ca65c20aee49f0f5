/* SPDX-License-Identifier: LGPL-2.1-only */
/* What the administrator asks for, and does. */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "outband-store-private.h"

int outband_store_status(struct outband_store *store,
			 struct outband_store_status *status_r,
			 const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;

	if (outband_sql_run(store->sql, STMT_STATUS, &rows, error_r) < 0)
		return -1;
	row = *array_front(&rows);
	status_r->queued = outband_sql_int(row, 0);
	status_r->numbered = outband_sql_int(row, 1);
	status_r->oldest = outband_sql_int(row, 2);
	status_r->held = outband_sql_int(row, 3);
	status_r->devices = outband_sql_int(row, 4);
	status_r->accounted_devices = outband_sql_int(row, 5);
	status_r->ended_devices = outband_sql_int(row, 6);
	return 1;
}

int outband_store_list(struct outband_store *store, int64_t id,
		       unsigned int max, pool_t pool,
		       ARRAY_TYPE(outband_row) *rows_r, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	int ret;

	p_array_init(rows_r, pool, 16);
	ret = outband_sql_run(store->sql, STMT_LIST, &rows, error_r, id,
			      (int64_t)max);
	if (ret <= 0)
		return ret;
	array_foreach_elem(&rows, row)
		queue_row_get(row, pool, array_append_space(rows_r));
	return 1;
}

/* Changes what is selected, and says whose that was, also of those that it is no
   change for. */
static int
store_select(struct outband_store *store, enum outband_store_stmt stmt,
	     const char *step, const char *text,
	     const struct outband_selection *selection, pool_t pool,
	     ARRAY_TYPE(outband_device) *devices_r, unsigned int *count_r,
	     const char **error_r)
{
	struct outband_device *device = NULL;
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	int ret;

	p_array_init(devices_r, pool, 4);
	*count_r = 0;
	if (store_begin(store, selection->user, error_r) < 0)
		return -1;
	ret = outband_sql_run(store->sql, STMT_SELECTED, &rows, error_r,
			      selection->id, selection->user,
			      selection->device);
	if (ret > 0 && queue_change(store, step, text, stmt, error_r,
				    selection->id, selection->user,
				    selection->device) < 0)
		ret = -1;
	ret = store_end(store, ret, error_r);
	if (ret <= 0)
		return ret;
	array_foreach_elem(&rows, row) {
		if (device != NULL && strcmp(row[0], device->user) == 0 &&
		    strcmp(row[1], device->device) == 0)
			continue;
		device = array_append_space(devices_r);
		device->user = p_strdup(pool, row[0]);
		device->device = p_strdup(pool, row[1]);
	}
	*count_r = array_count(&rows);
	return 1;
}

int outband_store_retry_now(struct outband_store *store,
			    const struct outband_selection *selection,
			    pool_t pool, ARRAY_TYPE(outband_device) *devices_r,
			    unsigned int *count_r, const char **error_r)
{
	return store_select(store, STMT_SELECTED_RETRY, "retry",
			    "by the administrator", selection, pool, devices_r,
			    count_r, error_r);
}

int outband_store_drop(struct outband_store *store,
		       const struct outband_selection *selection, pool_t pool,
		       ARRAY_TYPE(outband_device) *devices_r,
		       unsigned int *count_r, const char **error_r)
{
	return store_select(store, STMT_SELECTED_DROP, DROPPED_ADMIN,
			    selection, pool, devices_r, count_r, error_r);
}

int outband_store_trace(struct outband_store *store,
			const struct outband_selection *selection, int64_t seq,
			int64_t id, int64_t n, unsigned int max, pool_t pool,
			ARRAY_TYPE(outband_step) *steps_r,
			const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	struct outband_step *step;
	int ret;

	p_array_init(steps_r, pool, 16);
	ret = outband_sql_run(store->sql, STMT_TRACE, &rows, error_r,
			      selection->id, selection->user,
			      selection->device, seq, id, n, (int64_t)max);
	if (ret <= 0)
		return ret;
	array_foreach_elem(&rows, row) {
		step = array_append_space(steps_r);
		step->id = outband_sql_int(row, 0);
		step->n = outband_sql_int(row, 1);
		step->user = p_strdup(pool, row[2]);
		step->device = p_strdup(pool, row[3]);
		step->seq = outband_sql_int(row, 4);
		step->time = outband_sql_int(row, 5);
		step->step = p_strdup(pool, row[6]);
		step->text = p_strdup(pool, row[7]);
	}
	return 1;
}

static int
store_add(struct outband_store *store, const char *user, const char *device,
	  const char *event, const char *text, int64_t *id_r,
	  const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	ret = queue_add(store, user, device, STMT_ADD_EVENT, id_r, error_r,
			user, device, (int64_t)ioloop_time, event);
	if (ret > 0 && step_add(store, *id_r, ioloop_time, "queued",
				text, error_r) < 0)
		ret = -1;
	return store_end(store, ret, error_r);
}

int outband_store_add_test(struct outband_store *store, const char *user,
			   const char *device, int64_t *id_r,
			   const char **error_r)
{
	return store_add(store, user, device, "SYNC", "SYNC, as a test", id_r,
			 error_r);
}

int outband_store_add_event(struct outband_store *store, const char *user,
			    const char *device, const char *event,
			    int64_t *id_r, const char **error_r)
{
	return store_add(store, user, device, event,
			 t_strdup_printf("%s, by the administrator", event),
			 id_r, error_r);
}

int outband_store_paused_get(struct outband_store *store, pool_t pool,
			     ARRAY_TYPE(const_string) *channels_r,
			     const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	const char *channel;

	p_array_init(channels_r, pool, 4);
	if (outband_sql_run(store->sql, STMT_PAUSED_GET, &rows, error_r) < 0)
		return -1;
	array_foreach_elem(&rows, row) {
		channel = p_strdup(pool, row[0]);
		array_push_back(channels_r, &channel);
	}
	return 0;
}

int outband_store_paused_set(struct outband_store *store, const char *channel,
			     bool paused, const char **error_r)
{
	return store_run(store, paused ? STMT_PAUSED_ADD : STMT_PAUSED_DROP,
			 error_r, channel) < 0 ? -1 : 1;
}
