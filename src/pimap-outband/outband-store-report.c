/* SPDX-License-Identifier: LGPL-2.1-only */
/* A connection of its own, as outband-store-keys.c. */

#include "lib.h"
#include "array.h"
#include "hex-binary.h"
#include "ioloop.h"
#include "randgen.h"
#include "pimap-text.h"
#include "outband-sql.h"
#include "outband-store-report.h"

/* as in outband-store.c */
#define REPORT_TEXT_MAX 500

enum {
	STMT_SECRET_GET,
	STMT_SECRET_ADD,
	STMT_FIND,
	STMT_STEP_FIND,
	STMT_STEP_ADD,

	STMT_COUNT
};

static const char store_reports_schema[] =
	"CREATE TABLE IF NOT EXISTS report_secret ("
	" id BIGINT NOT NULL PRIMARY KEY, secret $text NOT NULL) $keyed;";

static const struct outband_sql_stmt store_reports_stmts[STMT_COUNT] = {
	[STMT_SECRET_GET] = {
		"SELECT secret FROM report_secret WHERE id = 1", "" },
	[STMT_SECRET_ADD] = {
		"INSERT INTO report_secret VALUES (1, $1)"
		" ON CONFLICT DO NOTHING", "t" },
	[STMT_FIND] = {
		"SELECT username, device FROM traces WHERE id = $1 AND seq = $2",
		"ii" },
	[STMT_STEP_FIND] = {
		"SELECT n FROM steps WHERE id = $1 AND step = $2", "it" },
	[STMT_STEP_ADD] = {
		"INSERT INTO steps (id, n, time, step, text)"
		" SELECT $1, coalesce(max(n), 0) + 1, $2, $3, $4 FROM steps"
		" WHERE id = $1", "iitt" },
};

struct outband_store_reports {
	struct outband_sql *sql;
};

int outband_store_reports_open(struct event *event_parent, const char *address,
			       struct outband_store_reports **store_r,
			       const char **error_r)
{
	struct outband_store_reports *store;
	struct outband_sql *sql;

	if (outband_sql_open(event_parent, address, store_reports_stmts,
			     STMT_COUNT, &sql, error_r) < 0)
		return -1;
	store = i_new(struct outband_store_reports, 1);
	store->sql = sql;
	if (outband_sql_exec_schema(sql, store_reports_schema, error_r) < 0) {
		outband_store_reports_close(&store);
		return -1;
	}
	*store_r = store;
	return 0;
}

void outband_store_reports_close(struct outband_store_reports **_store)
{
	struct outband_store_reports *store = *_store;

	*_store = NULL;
	outband_sql_close(&store->sql);
	i_free(store);
}

/* Ends the transaction as store_end() in outband-store.c. */
static int
store_reports_end(struct outband_store_reports *store, int ret,
		  const char **error_r)
{
	if (ret >= 0 && store->sql->v->commit(store->sql, error_r) < 0)
		ret = -1;
	if (ret < 0)
		store->sql->v->rollback(store->sql);
	return ret;
}

static int
store_reports_make_secret(struct outband_store_reports *store,
			  ARRAY_TYPE(outband_sql_rows) *rows_r,
			  const char **error_r)
{
	unsigned char secret[OUTBAND_STORE_REPORT_SECRET_SIZE];
	ARRAY_TYPE(outband_sql_rows) rows;

	random_fill(secret, sizeof(secret));
	if (outband_sql_run(store->sql, STMT_SECRET_ADD, &rows, error_r,
			    binary_to_hex(secret, sizeof(secret))) < 0)
		return -1;
	/* another service on the same database may have been faster */
	return outband_sql_run(store->sql, STMT_SECRET_GET, rows_r, error_r);
}

int outband_store_reports_get_secret(struct outband_store_reports *store,
	unsigned char secret_r[OUTBAND_STORE_REPORT_SECRET_SIZE],
	const char **error_r)
{
	buffer_t *secret = t_buffer_create(OUTBAND_STORE_REPORT_SECRET_SIZE);
	ARRAY_TYPE(outband_sql_rows) rows;
	int ret;

	ret = outband_sql_run(store->sql, STMT_SECRET_GET, &rows, error_r);
	if (ret == 0) {
		if (store->sql->v->begin(store->sql, "", error_r) < 0)
			return -1;
		ret = store_reports_end(store, store_reports_make_secret(store,
			&rows, error_r), error_r);
	}
	if (ret < 0)
		return -1;
	if (ret == 0 || hex_to_binary((*array_front(&rows))[0], secret) < 0 ||
	    secret->used != OUTBAND_STORE_REPORT_SECRET_SIZE) {
		*error_r = t_strdup_printf("%s: the secret of reports is damaged",
					   store->sql->name);
		return -1;
	}
	memcpy(secret_r, secret->data, secret->used);
	return 0;
}

static int
store_reports_add_one(struct outband_store_reports *store, pool_t pool,
		      struct outband_store_report *report, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	int ret;

	report->result = OUTBAND_STORE_REPORT_UNKNOWN;
	report->step = report->delivered ? "delivered" : "not delivered";
	ret = outband_sql_run(store->sql, STMT_FIND, &rows, error_r, report->id,
			      report->seq);
	if (ret <= 0)
		return ret;
	row = *array_front(&rows);
	report->user = p_strdup(pool, row[0]);
	report->device = p_strdup(pool, row[1]);
	report->result = OUTBAND_STORE_REPORT_KNOWN;
	ret = outband_sql_run(store->sql, STMT_STEP_FIND, &rows, error_r,
			      report->id, report->step);
	if (ret != 0)
		return ret;
	report->result = OUTBAND_STORE_REPORT_NEW;
	report->text = p_strdup(pool, pimap_text_get_reply(report->text,
						REPORT_TEXT_MAX));
	return outband_sql_run(store->sql, STMT_STEP_ADD, &rows, error_r,
			       report->id, (int64_t)ioloop_time, report->step,
			       report->text);
}

int outband_store_reports_add(struct outband_store_reports *store, pool_t pool,
			      ARRAY_TYPE(outband_store_report) *list,
			      const char **error_r)
{
	struct outband_store_report *report;
	int ret = 0;

	if (store->sql->v->begin(store->sql, "", error_r) < 0)
		return -1;
	array_foreach_modifiable(list, report) {
		ret = store_reports_add_one(store, pool, report, error_r);
		if (ret < 0)
			break;
	}
	return store_reports_end(store, ret, error_r) < 0 ? -1 : 0;
}
