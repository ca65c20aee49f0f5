/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "outband-sql.h"

bool outband_sql_is_file(const char *address)
{
	return strncmp(address, "pgsql:", 6) != 0 &&
		strncmp(address, "postgresql://", 13) != 0;
}

int outband_sql_open(struct event *event_parent, const char *address,
		     const struct outband_sql_stmt *stmts,
		     unsigned int stmts_count, struct outband_sql **sql_r,
		     const char **error_r)
{
	struct outband_sql *sql;

	if (outband_sql_is_file(address)) {
		sql = outband_sql_sqlite_alloc();
	} else {
#ifdef PIMAP_HAVE_PGSQL
		sql = outband_sql_pgsql_alloc();
#else
		*error_r = "pimap_outband_db: this pimap-outband was built "
			"without PostgreSQL";
		return -1;
#endif
	}
	sql->event = event_create(event_parent);
	sql->stmts = stmts;
	sql->stmts_count = stmts_count;
	if (sql->v->open(sql, address, error_r) < 0) {
		outband_sql_close(&sql);
		return -1;
	}
	*sql_r = sql;
	return 0;
}

void outband_sql_close(struct outband_sql **_sql)
{
	struct outband_sql *sql = *_sql;

	*_sql = NULL;
	sql->v->close(sql);
	event_unref(&sql->event);
	i_free(sql->name);
	i_free(sql);
}

int outband_sql_run_args(struct outband_sql *sql, unsigned int stmt,
			 ARRAY_TYPE(outband_sql_rows) *rows_r,
			 const char **error_r, va_list args)
{
	const char *types = sql->stmts[stmt].types;
	struct outband_sql_value *values;
	unsigned int i;

	values = t_new(struct outband_sql_value, strlen(types) + 1);
	for (i = 0; types[i] != '\0'; i++) {
		if (types[i] == 't')
			values[i].text = va_arg(args, const char *);
		else
			values[i].number = va_arg(args, int64_t);
		i_assert(types[i] != 't' || values[i].text != NULL);
	}
	t_array_init(rows_r, 8);
	if (sql->v->run(sql, stmt, values, rows_r, error_r) < 0)
		return -1;
	return array_count(rows_r) > 0 ? 1 : 0;
}

int outband_sql_run(struct outband_sql *sql, unsigned int stmt,
		    ARRAY_TYPE(outband_sql_rows) *rows_r,
		    const char **error_r, ...)
{
	va_list args;
	int ret;

	va_start(args, error_r);
	ret = outband_sql_run_args(sql, stmt, rows_r, error_r, args);
	va_end(args);
	return ret;
}

int64_t outband_sql_int(outband_sql_row_t row, unsigned int column)
{
	intmax_t number;

	if (*row[column] == '\0')
		return 0;
	if (str_to_intmax(row[column], &number) < 0)
		i_panic("A column of integers has %s", row[column]);
	return number;
}

int outband_sql_exec_schema(struct outband_sql *sql, const char *schema,
			    const char **error_r)
{
	const struct {
		const char *word, *text;
	} words[] = {
		{ "$id", sql->v->schema_id },
		{ "$text", sql->v->schema_text },
		{ "$keyed", sql->v->schema_keyed },
	};
	string_t *str = t_str_new(4096);
	unsigned int i;

	while (*schema != '\0') {
		for (i = 0; i < N_ELEMENTS(words); i++) {
			if (strncmp(schema, words[i].word,
				    strlen(words[i].word)) == 0)
				break;
		}
		if (i == N_ELEMENTS(words)) {
			str_append_c(str, *schema++);
		} else {
			str_append(str, words[i].text);
			schema += strlen(words[i].word);
		}
	}
	return sql->v->exec(sql, str_c(str), error_r);
}
