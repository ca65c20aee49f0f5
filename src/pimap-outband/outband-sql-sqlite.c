/* SPDX-License-Identifier: LGPL-2.1-only */
/* A file of SQLite, by its own library: Dovecot's driver says that a COMMIT has
   succeeded when it has not.

   The file is in WAL mode, so that doveadm may read while the service writes, and
   synchronous is FULL: a COMMIT that returned is on the disk. Who begins a
   transaction is alone in writing to the file. */

#include "lib.h"
#include "array.h"
#include "outband-sql.h"

#include <sqlite3.h>
#ifdef __GLIBC__
#  include <malloc.h>
#endif

/* doveadm may be at it */
#define OUTBAND_SQLITE_BUSY_MSECS 2000
/* What each savepoint and each RETURNING needs isn't given back to the system and
   asked of it again. */
#define OUTBAND_SQLITE_KEEP_MEMORY (1024*1024)

/* What each notification needs isn't prepared each time. */
static const char *const sqlite_kept[] = {
	"BEGIN IMMEDIATE",
	"COMMIT",
	"SAVEPOINT part",
	"RELEASE SAVEPOINT part",
};

struct sqlite_outband_sql {
	struct outband_sql sql;
	sqlite3 *db;
	/* NULL: not prepared yet */
	sqlite3_stmt **stmts;
	sqlite3_stmt *kept[N_ELEMENTS(sqlite_kept)];
};

#define SQLITE_SQL(_sql) container_of(_sql, struct sqlite_outband_sql, sql)

static int
sqlite_outband_error(struct sqlite_outband_sql *sql, const char **error_r)
{
	*error_r = t_strdup_printf("%s: %s (%d)", sql->sql.name,
				   sqlite3_errmsg(sql->db),
				   sqlite3_extended_errcode(sql->db));
	return -1;
}

/* Appends the row that the statement is at. Returns -1 if there is no memory. */
static int
sqlite_outband_row(sqlite3_stmt *stmt, ARRAY_TYPE(outband_sql_rows) *rows)
{
	int i, count = sqlite3_column_count(stmt);
	const char **row = t_new(const char *, count + 1);
	outband_sql_row_t columns = row;
	const void *text;

	for (i = 0; i < count; i++) {
		text = sqlite3_column_text(stmt, i);
		if (text == NULL && sqlite3_column_type(stmt, i) != SQLITE_NULL)
			return -1;
		row[i] = text == NULL ? "" : t_strdup(text);
	}
	array_push_back(rows, &columns);
	return 0;
}

static int
sqlite_outband_step(struct sqlite_outband_sql *sql, sqlite3_stmt *stmt,
		    ARRAY_TYPE(outband_sql_rows) *rows, const char **error_r)
{
	int ret;

	while ((ret = sqlite3_step(stmt)) == SQLITE_ROW) {
		if (sqlite_outband_row(stmt, rows) < 0)
			break;
	}
	if (ret != SQLITE_DONE)
		(void)sqlite_outband_error(sql, error_r);
	(void)sqlite3_reset(stmt);
	return ret == SQLITE_DONE ? 0 : -1;
}

static int
sqlite_outband_exec(struct outband_sql *_sql, const char *text,
		    const char **error_r)
{
	struct sqlite_outband_sql *sql = SQLITE_SQL(_sql);
	ARRAY_TYPE(outband_sql_rows) rows;
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(sqlite_kept); i++) {
		if (strcmp(text, sqlite_kept[i]) == 0)
			break;
	}
	if (i == N_ELEMENTS(sqlite_kept)) {
		if (sqlite3_exec(sql->db, text, NULL, NULL, NULL) != SQLITE_OK)
			return sqlite_outband_error(sql, error_r);
		return 0;
	}
	if (sql->kept[i] == NULL &&
	    sqlite3_prepare_v3(sql->db, text, -1, SQLITE_PREPARE_PERSISTENT,
			       &sql->kept[i], NULL) != SQLITE_OK)
		return sqlite_outband_error(sql, error_r);
	t_array_init(&rows, 1);
	return sqlite_outband_step(sql, sql->kept[i], &rows, error_r);
}

static int
sqlite_outband_run(struct outband_sql *_sql, unsigned int id,
		   const struct outband_sql_value *values,
		   ARRAY_TYPE(outband_sql_rows) *rows, const char **error_r)
{
	struct sqlite_outband_sql *sql = SQLITE_SQL(_sql);
	const struct outband_sql_stmt *text = &_sql->stmts[id];
	sqlite3_stmt *stmt = sql->stmts[id];
	unsigned int i;
	int n, ret = SQLITE_OK;

	if (stmt == NULL) {
		if (sqlite3_prepare_v3(sql->db, text->sql, -1,
				       SQLITE_PREPARE_PERSISTENT,
				       &sql->stmts[id], NULL) != SQLITE_OK)
			return sqlite_outband_error(sql, error_r);
		stmt = sql->stmts[id];
	}
	for (i = 0; text->types[i] != '\0' && ret == SQLITE_OK; i++) {
		/* $1 is a name for SQLite, it isn't the first one that it sees */
		n = sqlite3_bind_parameter_index(stmt,
			t_strdup_printf("$%u", i + 1));
		i_assert(n > 0);
		ret = values[i].text != NULL ?
			sqlite3_bind_text(stmt, n, values[i].text, -1,
					  SQLITE_STATIC) :
			sqlite3_bind_int64(stmt, n, values[i].number);
	}
	if (ret != SQLITE_OK)
		return sqlite_outband_error(sql, error_r);
	return sqlite_outband_step(sql, stmt, rows, error_r);
}

static int
sqlite_outband_begin(struct outband_sql *sql, const char *user ATTR_UNUSED,
		     const char **error_r)
{
	return sqlite_outband_exec(sql, "BEGIN IMMEDIATE", error_r);
}

static int sqlite_outband_commit(struct outband_sql *sql, const char **error_r)
{
	return sqlite_outband_exec(sql, "COMMIT", error_r);
}

static void sqlite_outband_rollback(struct outband_sql *_sql)
{
	struct sqlite_outband_sql *sql = SQLITE_SQL(_sql);
	const char *error;

	if (sqlite3_get_autocommit(sql->db) == 0 &&
	    sqlite_outband_exec(_sql, "ROLLBACK", &error) < 0)
		e_error(_sql->event, "Can't roll back: %s", error);
}

static int
sqlite_outband_open(struct outband_sql *_sql, const char *path,
		    const char **error_r)
{
	struct sqlite_outband_sql *sql = SQLITE_SQL(_sql);
	ARRAY_TYPE(outband_sql_rows) rows;
	sqlite3_stmt *stmt;
	int ret;

#ifdef __GLIBC__
	(void)mallopt(M_TRIM_THRESHOLD, OUTBAND_SQLITE_KEEP_MEMORY);
	(void)mallopt(M_TOP_PAD, OUTBAND_SQLITE_KEEP_MEMORY / 4);
#endif
	_sql->name = i_strdup(path);
	sql->stmts = i_new(sqlite3_stmt *, _sql->stmts_count);
	if (sqlite3_open_v2(path, &sql->db, SQLITE_OPEN_READWRITE |
			    SQLITE_OPEN_CREATE, NULL) != SQLITE_OK)
		return sqlite_outband_error(sql, error_r);
	(void)sqlite3_extended_result_codes(sql->db, 1);
	(void)sqlite3_busy_timeout(sql->db, OUTBAND_SQLITE_BUSY_MSECS);

	t_array_init(&rows, 1);
	if (sqlite3_prepare_v2(sql->db, "PRAGMA journal_mode = WAL", -1, &stmt,
			       NULL) != SQLITE_OK)
		return sqlite_outband_error(sql, error_r);
	ret = sqlite_outband_step(sql, stmt, &rows, error_r);
	(void)sqlite3_finalize(stmt);
	if (ret < 0)
		return -1;
	if (array_count(&rows) != 1 ||
	    strcasecmp((*array_front(&rows))[0], "wal") != 0) {
		*error_r = t_strdup_printf("%s: can't have a WAL", path);
		return -1;
	}
	return sqlite_outband_exec(_sql, "PRAGMA synchronous = FULL", error_r);
}

static void sqlite_outband_close(struct outband_sql *_sql)
{
	struct sqlite_outband_sql *sql = SQLITE_SQL(_sql);
	unsigned int i;

	for (i = 0; i < _sql->stmts_count; i++)
		(void)sqlite3_finalize(sql->stmts[i]);
	for (i = 0; i < N_ELEMENTS(sqlite_kept); i++)
		(void)sqlite3_finalize(sql->kept[i]);
	if (sqlite3_close(sql->db) != SQLITE_OK) {
		e_error(_sql->event, "Can't close %s: %s", _sql->name,
			sqlite3_errmsg(sql->db));
	}
	i_free(sql->stmts);
}

static const struct outband_sql_vfuncs outband_sql_sqlite = {
	.schema_id = "INTEGER PRIMARY KEY AUTOINCREMENT",
	.schema_text = "TEXT",
	.schema_keyed = "WITHOUT ROWID",

	.open = sqlite_outband_open,
	.close = sqlite_outband_close,
	.begin = sqlite_outband_begin,
	.commit = sqlite_outband_commit,
	.rollback = sqlite_outband_rollback,
	.exec = sqlite_outband_exec,
	.run = sqlite_outband_run,
};

struct outband_sql *outband_sql_sqlite_alloc(void)
{
	struct sqlite_outband_sql *sql = i_new(struct sqlite_outband_sql, 1);

	sql->sql.v = &outband_sql_sqlite;
	return &sql->sql;
}
