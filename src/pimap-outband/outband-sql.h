/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_SQL_H
#define OUTBAND_SQL_H

#include <stdarg.h>

/* What the store needs of a database, as a table of functions for each kind of it.
   All of them block.

   Statements are written once for all databases: their parameters are $1, $2, ...;
   what a change has done is read by RETURNING; integers are of 64 bits. No column
   is called user, which PostgreSQL has as a word of its own. */

struct outband_sql_stmt {
	const char *sql;
	/* of its parameters, a letter each: t = text, i = int64_t */
	const char *types;
};

struct outband_sql_value {
	/* NULL: it is an integer */
	const char *text;
	int64_t number;
};

/* The columns of a row as text, those that are NULL as "" */
typedef const char *const *outband_sql_row_t;
ARRAY_DEFINE_TYPE(outband_sql_rows, outband_sql_row_t);

struct outband_sql;

struct outband_sql_vfuncs {
	/* what a schema says for these */
	const char *schema_id, *schema_text, *schema_keyed;

	int (*open)(struct outband_sql *sql, const char *address,
		    const char **error_r);
	/* also after open() has failed */
	void (*close)(struct outband_sql *sql);

	/* Begins a transaction. Until it ends nobody else changes anything of
	   the user ("" = anything at all), and what is read is what was
	   committed last. */
	int (*begin)(struct outband_sql *sql, const char *user,
		     const char **error_r);
	/* When this has returned 0 it is on the disk. If it returns -1 it may
	   be there all the same, where the database is another machine. */
	int (*commit)(struct outband_sql *sql, const char **error_r);
	/* also if the database has done that by itself */
	void (*rollback)(struct outband_sql *sql);

	/* Runs statements that have no parameters and no rows. */
	int (*exec)(struct outband_sql *sql, const char *text,
		    const char **error_r);
	/* Runs a statement to its end, and appends its rows, which are in the
	   data stack. */
	int (*run)(struct outband_sql *sql, unsigned int stmt,
		   const struct outband_sql_value *values,
		   ARRAY_TYPE(outband_sql_rows) *rows,
		   const char **error_r);
};

/* What each of them begins with */
struct outband_sql {
	const struct outband_sql_vfuncs *v;
	struct event *event;
	/* for messages: it has no password */
	char *name;
	const struct outband_sql_stmt *stmts;
	unsigned int stmts_count;
};

/* The address is the path of a file of SQLite, or "pgsql:" and what libpq takes, or
   one of its postgresql:// URIs. Nothing is made in it yet. The statements must live
   as long as it is open. */
int outband_sql_open(struct event *event_parent, const char *address,
		     const struct outband_sql_stmt *stmts,
		     unsigned int stmts_count, struct outband_sql **sql_r,
		     const char **error_r);
bool outband_sql_is_file(const char *address);
void outband_sql_close(struct outband_sql **sql);

/* Runs a statement with these parameters. Returns 1 if it has rows, 0 if it has
   none, or -1 and error_r. */
int outband_sql_run(struct outband_sql *sql, unsigned int stmt,
		    ARRAY_TYPE(outband_sql_rows) *rows_r,
		    const char **error_r, ...);
int outband_sql_run_args(struct outband_sql *sql, unsigned int stmt,
			 ARRAY_TYPE(outband_sql_rows) *rows_r,
			 const char **error_r, va_list args);
int64_t outband_sql_int(outband_sql_row_t row, unsigned int column);

/* Runs statements that make tables. They say $id for a key that is counted up and
   never used again, $text for what text is kept as, and $keyed behind a table that
   is nothing but its key's index. */
int outband_sql_exec_schema(struct outband_sql *sql, const char *schema,
			    const char **error_r);

/* The drivers allocate what begins with a struct outband_sql. */
struct outband_sql *outband_sql_sqlite_alloc(void);
struct outband_sql *outband_sql_pgsql_alloc(void);

#endif
