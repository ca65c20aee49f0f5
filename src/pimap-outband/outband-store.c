/* SPDX-License-Identifier: LGPL-2.1-only */
/* All that is asked of the database. There is one writer, the service that holds the
   spool lock; the conditions in the statements hold without it too: whatever changes
   the rows of a user is a transaction that has that user to itself
   (outband_sql_vfuncs.begin), and looks again at what it is to change.

   What changes the queue goes through queue_add() or queue_change(), which write down
   the steps of notifications. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "ioloop.h"
#include "pimap-text.h"
#include "outband-store-private.h"

int store_run(struct outband_store *store, enum outband_store_stmt stmt,
	      const char **error_r, ...)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	va_list args;
	int ret;

	va_start(args, error_r);
	ret = outband_sql_run_args(store->sql, stmt, &rows, error_r, args);
	va_end(args);
	return ret;
}

int store_begin(struct outband_store *store, const char *user,
		const char **error_r)
{
	if (!store->in_batch)
		return store->sql->v->begin(store->sql, user, error_r);
	if (store->batch_broken) {
		*error_r = t_strdup_printf("%s: the transaction has failed",
					   store->sql->name);
		return -1;
	}
	return store->sql->v->exec(store->sql, "SAVEPOINT part", error_r);
}

static int
store_end_part(struct outband_store *store, int ret, const char **error_r)
{
	const char *error;

	if (ret > 0) {
		if (store->sql->v->exec(store->sql, "RELEASE SAVEPOINT part",
					error_r) == 0)
			return ret;
		ret = -1;
	}
	/* the database may have ended the whole transaction */
	if (store->sql->v->exec(store->sql, "ROLLBACK TO SAVEPOINT part;"
				"RELEASE SAVEPOINT part", &error) < 0) {
		if (ret == 0)
			*error_r = error;
		store->batch_broken = TRUE;
		ret = -1;
	}
	return ret;
}

int store_end(struct outband_store *store, int ret, const char **error_r)
{
	if (store->in_batch)
		return store_end_part(store, ret, error_r);
	if (ret > 0 && store->sql->v->commit(store->sql, error_r) < 0)
		ret = -1;
	if (ret <= 0)
		store->sql->v->rollback(store->sql);
	return ret;
}

int outband_store_batch_begin(struct outband_store *store, const char *user,
			      const char **error_r)
{
	i_assert(!store->in_batch);
	if (store_begin(store, user, error_r) < 0)
		return -1;
	store->in_batch = TRUE;
	store->batch_broken = FALSE;
	return 0;
}

int outband_store_batch_end(struct outband_store *store, const char **error_r)
{
	i_assert(store->in_batch);
	store->in_batch = FALSE;
	if (store->batch_broken) {
		*error_r = t_strdup_printf("%s: the transaction has failed",
					   store->sql->name);
	}
	return store_end(store, store->batch_broken ? -1 : 1, error_r) < 0 ?
		-1 : 0;
}

static int
store_init_schema_transaction(struct outband_store *store, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	int64_t version;

	if (outband_sql_exec_schema(store->sql, outband_store_schema_version,
				    error_r) < 0 ||
	    outband_sql_run(store->sql, STMT_VERSION_GET, &rows, error_r) < 0)
		return -1;
	version = outband_sql_int(*array_front(&rows), 0);
	if (version > (int64_t)outband_store_schemas_count) {
		*error_r = t_strdup_printf(
			"%s: its version is %"PRId64", this service knows %u only",
			store->sql->name, version,
			outband_store_schemas_count);
		return -1;
	}
	for (; version < (int64_t)outband_store_schemas_count; version++) {
		/* if it is somebody else's, a table may exist already */
		if (outband_sql_exec_schema(store->sql,
				outband_store_schemas[version], error_r) < 0 ||
		    store_run(store, STMT_VERSION_ADD, error_r,
			      version + 1) < 0)
			return -1;
	}
	return 1;
}

static int
store_init_schema(struct outband_store *store, const char **error_r)
{
	int ret;

	if (store_begin(store, "", error_r) < 0)
		return -1;
	ret = store_init_schema_transaction(store, error_r);
	return store_end(store, ret, error_r);
}

int outband_store_open(struct event *event_parent, const char *address,
		       struct outband_store **store_r, const char **error_r)
{
	struct outband_store *store;
	struct outband_sql *sql;

	if (outband_sql_open(event_parent, address, outband_store_stmts,
			     STMT_COUNT, &sql, error_r) < 0)
		return -1;
	store = i_new(struct outband_store, 1);
	store->sql = sql;
	if (store_init_schema(store, error_r) < 0) {
		outband_store_close(&store);
		return -1;
	}
	*store_r = store;
	return 0;
}

void outband_store_close(struct outband_store **_store)
{
	struct outband_store *store = *_store;

	*_store = NULL;
	outband_sql_close(&store->sql);
	i_free(store);
}

int store_next(struct outband_store *store, enum outband_store_stmt stmt,
	       pool_t pool, const char **first_r, const char **second_r,
	       const char **error_r, ...)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	va_list args;
	int ret;

	va_start(args, error_r);
	ret = outband_sql_run_args(store->sql, stmt, &rows, error_r, args);
	va_end(args);
	if (ret <= 0)
		return ret;
	row = *array_front(&rows);
	*first_r = p_strdup(pool, row[0]);
	*second_r = p_strdup(pool, row[1]);
	return 1;
}

const char *store_text(const char *text)
{
	return pimap_text_get_reply(text, OUTBAND_STORE_TEXT_MAX);
}

int step_add(struct outband_store *store, int64_t id, time_t time,
	     const char *step, const char *text, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	int64_t n;

	if (outband_sql_run(store->sql, STMT_STEP_ADD, &rows, error_r, id,
			    (int64_t)time, step, store_text(text)) < 0)
		return -1;
	n = outband_sql_int(*array_front(&rows), 0);
	if (n <= OUTBAND_TRACE_MAX_STEPS)
		return 0;
	/* the first ones and the last ones are kept */
	return store_run(store, STMT_STEP_DROP, error_r, id,
			 n - OUTBAND_TRACE_MAX_STEPS / 2);
}

int queue_add(struct outband_store *store, const char *user, const char *device,
	      enum outband_store_stmt stmt, int64_t *id_r, const char **error_r,
	      ...)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	va_list args;
	int ret;

	va_start(args, error_r);
	ret = outband_sql_run_args(store->sql, stmt, &rows, error_r, args);
	va_end(args);
	if (ret <= 0)
		return ret;
	*id_r = outband_sql_int(*array_front(&rows), 0);
	if (store_run(store, STMT_TRACE_ADD, error_r, *id_r, user, device,
		      (int64_t)ioloop_time) < 0)
		return -1;
	if (*id_r % 100 == 0 &&
	    (store_run(store, STMT_TRACES_DROP, error_r,
		       *id_r - OUTBAND_TRACE_MAX_COUNT,
		       (int64_t)ioloop_time - OUTBAND_TRACE_MAX_SECS) < 0 ||
	     store_run(store, STMT_STEPS_DROP, error_r) < 0))
		return -1;
	return 1;
}

int queue_change(struct outband_store *store, const char *step, const char *text,
		 enum outband_store_stmt stmt, const char **error_r, ...)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	va_list args;
	int ret;

	va_start(args, error_r);
	ret = outband_sql_run_args(store->sql, stmt, &rows, error_r, args);
	va_end(args);
	if (ret <= 0)
		return ret;
	array_foreach_elem(&rows, row) {
		if (step_add(store, outband_sql_int(row, 0), ioloop_time,
			     step, text, error_r) < 0)
			return -1;
	}
	return 1;
}
