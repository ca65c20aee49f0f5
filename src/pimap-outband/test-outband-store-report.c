/* SPDX-License-Identifier: LGPL-2.1-only */
/* With an argument: in the database of that address, which is empty */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "unlink-directory.h"
#include "test-common.h"
#include "outband-sql.h"
#include "outband-store.h"
#include "outband-store-report.h"

#include <sys/stat.h>

#define DIR ".test-outband-store-report"

enum {
	STMT_TRACE_ADD,
	STMT_STEP_ADD,
	STMT_STEPS,
	STMT_SECRET_BREAK,

	STMT_COUNT
};

static const struct outband_sql_stmt test_stmts[STMT_COUNT] = {
	[STMT_TRACE_ADD] = {
		"INSERT INTO traces (id, username, device, seq, created)"
		" VALUES ($1, $2, 'phone', CASE $3 WHEN 0 THEN NULL ELSE $3 END,"
		" 1)", "iti" },
	[STMT_STEP_ADD] = {
		"INSERT INTO steps VALUES ($1, $2, 1, $3, '')", "iit" },
	[STMT_STEPS] = {
		"SELECT id, n, step, text FROM steps ORDER BY id, n", "" },
	[STMT_SECRET_BREAK] = {
		"UPDATE report_secret SET secret = $1", "t" },
};

static const char *address = DIR"/outband.sqlite";
static struct outband_store_reports *store;
static struct outband_sql *sql;

static void test_run_stmt(int ret, const char *error)
{
	if (ret < 0)
		i_error("%s", error);
	test_assert(ret >= 0);
}
#define RUN(stmt, ...) do { \
	ARRAY_TYPE(outband_sql_rows) _rows; \
	const char *_error = NULL; \
	int _ret = outband_sql_run(sql, stmt, &_rows, &_error, __VA_ARGS__); \
	test_run_stmt(_ret, _error); \
	} while (0)

static void test_open(void)
{
	struct outband_store *all;
	const char *error;

	if (outband_store_open(NULL, address, &all, &error) < 0 ||
	    outband_store_reports_open(NULL, address, &store, &error) < 0 ||
	    outband_sql_open(NULL, address, test_stmts, STMT_COUNT, &sql,
			     &error) < 0)
		i_fatal("%s", error);
	outband_store_close(&all);
}

static void test_close(void)
{
	outband_store_reports_close(&store);
	outband_sql_close(&sql);
}

static void test_unlink(void)
{
	const char *error;

	(void)unlink_directory(DIR, UNLINK_DIRECTORY_FLAG_RMDIR, &error);
}

static void test_outband_store_reports_secret(void)
{
	unsigned char secret[OUTBAND_STORE_REPORT_SECRET_SIZE];
	unsigned char again[OUTBAND_STORE_REPORT_SECRET_SIZE];
	const unsigned char none[OUTBAND_STORE_REPORT_SECRET_SIZE] = { 0 };
	const char *error;

	test_begin("outband store reports: secret");
	test_unlink();
	test_assert(mkdir(DIR, 0700) == 0);
	test_open();
	test_assert(outband_store_reports_get_secret(store, secret, &error) == 0);
	test_assert(memcmp(secret, none, sizeof(none)) != 0);
	test_close();
	/* the next process has the same */
	test_open();
	test_assert(outband_store_reports_get_secret(store, again, &error) == 0);
	test_assert(memcmp(secret, again, sizeof(again)) == 0);
	/* one that anybody may know is none */
	RUN(STMT_SECRET_BREAK, "");
	test_assert(outband_store_reports_get_secret(store, again, &error) < 0);
	test_assert(strstr(error, "is damaged") != NULL);
	RUN(STMT_SECRET_BREAK, "00112233");
	test_assert(outband_store_reports_get_secret(store, again, &error) < 0);
	test_close();
	test_end();
}

static void
add(ARRAY_TYPE(outband_store_report) *list, int64_t id, int64_t seq,
    bool delivered, const char *text)
{
	struct outband_store_report *report = array_append_space(list);

	report->id = id;
	report->seq = seq;
	report->delivered = delivered;
	report->text = text;
}

static void test_outband_store_reports_add(void)
{
	static const struct {
		enum outband_store_report_result result;
		const char *user, *step;
	} results[] = {
		{ OUTBAND_STORE_REPORT_NEW, "joe", "delivered" },
		{ OUTBAND_STORE_REPORT_KNOWN, "joe", "delivered" },
		{ OUTBAND_STORE_REPORT_NEW, "joe", "not delivered" },
		{ OUTBAND_STORE_REPORT_UNKNOWN, NULL, "delivered" },
		{ OUTBAND_STORE_REPORT_NEW, "ann", "not delivered" },
		{ OUTBAND_STORE_REPORT_UNKNOWN, NULL, "delivered" },
		{ OUTBAND_STORE_REPORT_UNKNOWN, NULL, "delivered" },
	};
	static const char *const steps[] = {
		"1 1 found ", "1 2 done ", "1 3 delivered one",
		"1 4 not delivered x?y", "2 1 not delivered ",
	};
	ARRAY_TYPE(outband_store_report) list;
	ARRAY_TYPE(outband_sql_rows) rows;
	const struct outband_store_report *report;
	outband_sql_row_t row;
	const char *error;
	unsigned int i;

	test_begin("outband store reports: add");
	test_open();
	RUN(STMT_TRACE_ADD, (int64_t)1, "joe", (int64_t)7);
	RUN(STMT_STEP_ADD, (int64_t)1, (int64_t)1, "found");
	RUN(STMT_STEP_ADD, (int64_t)1, (int64_t)2, "done");
	RUN(STMT_TRACE_ADD, (int64_t)2, "ann", (int64_t)7);
	/* it has no number */
	RUN(STMT_TRACE_ADD, (int64_t)3, "ann", (int64_t)0);
	t_array_init(&list, 8);
	add(&list, 1, 7, TRUE, "one");
	add(&list, 1, 7, TRUE, "two");
	add(&list, 1, 7, FALSE, "x\033y");
	add(&list, 1, 8, TRUE, "");
	add(&list, 2, 7, FALSE, "");
	add(&list, 3, 7, TRUE, "");
	add(&list, 4, 7, TRUE, "");
	test_assert(outband_store_reports_add(store, pool_datastack_create(),
					      &list, &error) == 0);
	for (i = 0; i < N_ELEMENTS(results); i++) {
		report = array_idx(&list, i);
		test_assert_idx(report->result == results[i].result, i);
		test_assert_strcmp_idx(report->user, results[i].user, i);
		test_assert_strcmp_idx(report->step, results[i].step, i);
	}
	test_assert(outband_sql_run(sql, STMT_STEPS, &rows, &error) == 1);
	test_assert(array_count(&rows) == N_ELEMENTS(steps));
	for (i = 0; i < N_ELEMENTS(steps) && i < array_count(&rows); i++) {
		row = array_idx_elem(&rows, i);
		test_assert_strcmp_idx(t_strdup_printf("%s %s %s %s", row[0],
			row[1], row[2], row[3]), steps[i], i);
	}
	/* again, later */
	array_clear(&list);
	add(&list, 2, 7, FALSE, "");
	test_assert(outband_store_reports_add(store, pool_datastack_create(),
					      &list, &error) == 0);
	report = array_front(&list);
	test_assert(report->result == OUTBAND_STORE_REPORT_KNOWN);
	test_close();
	test_unlink();
	test_end();
}

int main(int argc, char *argv[])
{
	static void (*const test_functions[])(void) = {
		test_outband_store_reports_secret,
		test_outband_store_reports_add,
		NULL
	};

	ioloop_time = 1000;
	if (argc > 1)
		address = argv[1];
	return test_run(test_functions);
}
