/* SPDX-License-Identifier: LGPL-2.1-only */
/* A database of PostgreSQL, by libpq.

   Who else changes it: nobody, as long as one service has it; but this doesn't count
   on that. A transaction is READ COMMITTED, and before it reads anything it takes an
   advisory lock of its user (all of them share another, which is taken alone by who
   changes anybody's). So of two transactions of one user the second begins when the
   first has ended, and each of its statements sees what that has committed: what it
   looks at is true until it commits, and it needn't be asked again as SERIALIZABLE
   would have it. It is the order that SQLite's BEGIN IMMEDIATE makes.

   Everything blocks, but not for long: nothing is waited for longer than the times
   below, whatever the server and the network do (the resolver, for a host's name,
   has times of its own). Whoever doesn't answer in time is
   disconnected from, and what it was asked may have been done or not: as if the
   connection was lost while it was asked to COMMIT. That isn't known then, and isn't
   guessed: it is an error, and who asked asks again. A look that was committed after
   all isn't valid any more, a row that has a number is given no other, what is done
   isn't in the queue.

   A connection that was lost since it was used last is noticed when it is used next:
   then it is tried once more on a new one, unless that would be in the middle of a
   transaction. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "crc32.h"
#include "outband-sql.h"

#include <libpq-fe.h>
#include <poll.h>
#include <time.h>

#define OUTBAND_PGSQL_CONNECT_MSECS 3000
#define OUTBAND_PGSQL_QUERY_MSECS 5000
/* the server gives up a little before, and rids others of who hangs */
#define OUTBAND_PGSQL_SESSION \
	"SET statement_timeout = 4000; SET lock_timeout = 3000;" \
	"SET idle_in_transaction_session_timeout = 10000;" \
	/* what is committed is on the disk */ \
	"SELECT set_config('synchronous_commit', 'on', false)" \
	" WHERE current_setting('synchronous_commit') = 'off'"

/* of the advisory locks: "pimap" */
#define OUTBAND_PGSQL_LOCK_ALL 0x70696d61
#define OUTBAND_PGSQL_LOCK_USER 0x70696d62

/* pg_type.h */
#define OUTBAND_PGSQL_OID_INT8 20
#define OUTBAND_PGSQL_OID_TEXT 25
#define OUTBAND_PGSQL_MAX_PARAMS 16

struct pgsql_outband_sql {
	struct outband_sql sql;
	char *conninfo;
	/* NULL: not connected */
	PGconn *conn;
	/* statements that this connection has */
	bool *prepared;
	bool in_transaction;

	/* until then it isn't connected to again, because of that error */
	uint64_t connect_msecs;
	char *connect_error;
};

#define PGSQL_SQL(_sql) container_of(_sql, struct pgsql_outband_sql, sql)

static uint64_t now_msecs(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts) < 0)
		i_fatal("clock_gettime() failed: %m");
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* libpq's text on one line */
static int
pgsql_outband_error(struct pgsql_outband_sql *sql, const char *text,
		    const char **error_r)
{
	*error_r = t_strdup_printf("%s: %s", sql->sql.name,
		t_strarray_join(t_strsplit_spaces(text, "\n\t"), "; "));
	return -1;
}

static void pgsql_outband_disconnect(struct pgsql_outband_sql *sql)
{
	if (sql->conn != NULL)
		PQfinish(sql->conn);
	sql->conn = NULL;
	memset(sql->prepared, 0,
	       sizeof(*sql->prepared) * sql->sql.stmts_count);
}

/* Returns FALSE when it is too late, or the socket isn't one any more. */
static bool pgsql_outband_wait(PGconn *conn, short events, uint64_t deadline)
{
	struct pollfd fd = { .fd = PQsocket(conn), .events = events };
	uint64_t now;
	int ret;

	while (fd.fd >= 0 && (now = now_msecs()) < deadline) {
		ret = poll(&fd, 1, (int)(deadline - now));
		if (ret > 0)
			return TRUE;
		if (ret < 0 && errno != EINTR)
			return FALSE;
	}
	return FALSE;
}

static void
pgsql_outband_notice(void *context, const char *message)
{
	struct pgsql_outband_sql *sql = context;

	e_debug(sql->sql.event, "%s: %s", sql->sql.name, message);
}

/* Waits for all that was asked. Returns the last result, or NULL and error_r. */
static PGresult *
pgsql_outband_result(struct pgsql_outband_sql *sql, const char **error_r)
{
	uint64_t deadline = now_msecs() + OUTBAND_PGSQL_QUERY_MSECS;
	PGresult *result = NULL, *next;
	const char *error = NULL, *text;
	int flush;

	while ((flush = PQflush(sql->conn)) > 0) {
		/* it may want to be read from before it reads on */
		if (!pgsql_outband_wait(sql->conn, POLLIN | POLLOUT, deadline)) {
			error = "It doesn't answer";
			break;
		}
		if (PQconsumeInput(sql->conn) == 0)
			break;
	}
	while (error == NULL) {
		if (PQisBusy(sql->conn) != 0) {
			if (!pgsql_outband_wait(sql->conn, POLLIN, deadline))
				error = "It doesn't answer";
			else if (PQconsumeInput(sql->conn) == 0)
				error = t_strdup(PQerrorMessage(sql->conn));
			continue;
		}
		next = PQgetResult(sql->conn);
		if (next == NULL)
			break;
		if (result != NULL)
			PQclear(result);
		result = next;
		switch (PQresultStatus(result)) {
		case PGRES_COMMAND_OK:
		case PGRES_TUPLES_OK:
		case PGRES_EMPTY_QUERY:
			break;
		default:
			/* no detail: that has what people wrote */
			text = PQresultErrorField(result,
						  PG_DIAG_MESSAGE_PRIMARY);
			error = text != NULL ? t_strdup(text) :
				t_strdup(PQresultErrorMessage(result));
			text = PQresultErrorField(result, PG_DIAG_SQLSTATE);
			if (text != NULL)
				error = t_strdup_printf("%s (%s)", error, text);
			break;
		}
	}
	if (error == NULL && (flush < 0 || result == NULL))
		error = t_strdup(PQerrorMessage(sql->conn));
	if (error == NULL)
		return result;

	(void)pgsql_outband_error(sql, error, error_r);
	if (result != NULL)
		PQclear(result);
	/* what comes after an error of the statement is still to be read */
	while (PQstatus(sql->conn) == CONNECTION_OK &&
	       PQtransactionStatus(sql->conn) == PQTRANS_ACTIVE) {
		if (PQisBusy(sql->conn) == 0) {
			result = PQgetResult(sql->conn);
			if (result == NULL)
				break;
			PQclear(result);
		} else if (!pgsql_outband_wait(sql->conn, POLLIN, deadline) ||
			   PQconsumeInput(sql->conn) == 0) {
			break;
		}
	}
	if (PQstatus(sql->conn) != CONNECTION_OK ||
	    PQtransactionStatus(sql->conn) == PQTRANS_ACTIVE ||
	    PQtransactionStatus(sql->conn) == PQTRANS_UNKNOWN)
		pgsql_outband_disconnect(sql);
	return NULL;
}

/* Runs one or more statements without parameters, on the connection that there is. */
static int
pgsql_outband_query(struct pgsql_outband_sql *sql, const char *text,
		    const char **error_r)
{
	PGresult *result;

	if (PQsendQuery(sql->conn, text) == 0) {
		(void)pgsql_outband_error(sql, PQerrorMessage(sql->conn),
					  error_r);
		pgsql_outband_disconnect(sql);
		return -1;
	}
	result = pgsql_outband_result(sql, error_r);
	if (result == NULL)
		return -1;
	PQclear(result);
	return 0;
}

/* Returns 0, or -1 and what is wrong. */
static int
pgsql_outband_connect_now(struct pgsql_outband_sql *sql, const char **error_r)
{
	/* what the site's own string says comes after these */
	static const char *const keywords[] = {
		"target_session_attrs", "tcp_user_timeout", "keepalives_idle",
		"keepalives_interval", "keepalives_count",
		"fallback_application_name", "dbname", "client_encoding", NULL
	};
	const char *values[N_ELEMENTS(keywords)] = {
		"read-write", "5000", "30", "10", "3", "pimap-outband",
		sql->conninfo, "UTF8", NULL
	};
	uint64_t deadline = now_msecs() + OUTBAND_PGSQL_CONNECT_MSECS;
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;
	const char *encoding;

	sql->conn = PQconnectStartParams(keywords, values, 1);
	if (sql->conn == NULL)
		return pgsql_outband_error(sql, "Out of memory", error_r);
	(void)PQsetNoticeProcessor(sql->conn, pgsql_outband_notice, sql);
	while (PQstatus(sql->conn) != CONNECTION_BAD &&
	       status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
		if (!pgsql_outband_wait(sql->conn,
				status == PGRES_POLLING_READING ? POLLIN :
				POLLOUT, deadline)) {
			return pgsql_outband_error(sql, "It doesn't answer",
						   error_r);
		}
		status = PQconnectPoll(sql->conn);
	}
	if (status != PGRES_POLLING_OK) {
		return pgsql_outband_error(sql, PQerrorMessage(sql->conn),
					   error_r);
	}
	encoding = PQparameterStatus(sql->conn, "server_encoding");
	if (encoding == NULL || (strcmp(encoding, "UTF8") != 0 &&
				 strcmp(encoding, "SQL_ASCII") != 0)) {
		return pgsql_outband_error(sql, t_strdup_printf(
			"Its encoding is %s, not UTF8", encoding), error_r);
	}
	if (PQsetnonblocking(sql->conn, 1) < 0) {
		return pgsql_outband_error(sql, PQerrorMessage(sql->conn),
					   error_r);
	}
	return pgsql_outband_query(sql, OUTBAND_PGSQL_SESSION, error_r);
}

/* Connects, if it isn't. After it couldn't, it isn't tried again at once: of the time
   that the service has, it blocks a third at most. */
static int
pgsql_outband_connect(struct pgsql_outband_sql *sql, const char **error_r)
{
	uint64_t begun = now_msecs(), ended;

	if (sql->conn != NULL)
		return 0;
	if (sql->in_transaction) {
		/* a new connection wouldn't be in it */
		return pgsql_outband_error(sql, "Connection lost", error_r);
	}
	if (begun < sql->connect_msecs) {
		*error_r = t_strdup(sql->connect_error);
		return -1;
	}
	if (pgsql_outband_connect_now(sql, error_r) == 0)
		return 0;
	pgsql_outband_disconnect(sql);
	ended = now_msecs();
	sql->connect_msecs = ended + 500 + (ended - begun) * 2;
	i_free(sql->connect_error);
	sql->connect_error = i_strdup(*error_r);
	return -1;
}

static int
pgsql_outband_exec(struct outband_sql *_sql, const char *text,
		   const char **error_r)
{
	struct pgsql_outband_sql *sql = PGSQL_SQL(_sql);

	if (pgsql_outband_connect(sql, error_r) < 0)
		return -1;
	return pgsql_outband_query(sql, text, error_r);
}

static PGresult *
pgsql_outband_run_now(struct pgsql_outband_sql *sql, unsigned int id,
		      const struct outband_sql_value *values,
		      const char **error_r)
{
	const struct outband_sql_stmt *stmt = &sql->sql.stmts[id];
	const char *texts[OUTBAND_PGSQL_MAX_PARAMS], *name;
	Oid types[OUTBAND_PGSQL_MAX_PARAMS];
	PGresult *result;
	unsigned int i;
	int ret;

	for (i = 0; stmt->types[i] != '\0'; i++) {
		i_assert(i < OUTBAND_PGSQL_MAX_PARAMS);
		types[i] = stmt->types[i] == 't' ? OUTBAND_PGSQL_OID_TEXT :
			OUTBAND_PGSQL_OID_INT8;
		texts[i] = values[i].text != NULL ? values[i].text :
			t_strdup_printf("%"PRId64, values[i].number);
	}
	name = t_strdup_printf("s%u", id);
	if (!sql->prepared[id]) {
		ret = PQsendPrepare(sql->conn, name, stmt->sql, i, types);
		result = ret == 0 ? NULL : pgsql_outband_result(sql, error_r);
		if (ret != 0 && result == NULL)
			return NULL;
		if (ret != 0) {
			PQclear(result);
			sql->prepared[id] = TRUE;
		}
	}
	if (sql->prepared[id] &&
	    PQsendQueryPrepared(sql->conn, name, i, texts, NULL, NULL, 0) != 0)
		return pgsql_outband_result(sql, error_r);
	(void)pgsql_outband_error(sql, PQerrorMessage(sql->conn), error_r);
	pgsql_outband_disconnect(sql);
	return NULL;
}

static int
pgsql_outband_run(struct outband_sql *_sql, unsigned int id,
		  const struct outband_sql_value *values,
		  ARRAY_TYPE(outband_sql_rows) *rows, const char **error_r)
{
	struct pgsql_outband_sql *sql = PGSQL_SQL(_sql);
	bool again = sql->conn != NULL && !sql->in_transaction;
	outband_sql_row_t columns;
	PGresult *result;
	const char **row;
	int i, j;

	if (pgsql_outband_connect(sql, error_r) < 0)
		return -1;
	result = pgsql_outband_run_now(sql, id, values, error_r);
	if (result == NULL && sql->conn == NULL && again &&
	    pgsql_outband_connect(sql, error_r) == 0)
		result = pgsql_outband_run_now(sql, id, values, error_r);
	if (result == NULL)
		return -1;
	for (i = 0; i < PQntuples(result); i++) {
		columns = row = t_new(const char *, PQnfields(result) + 1);
		for (j = 0; j < PQnfields(result); j++)
			row[j] = t_strdup(PQgetvalue(result, i, j));
		array_push_back(rows, &columns);
	}
	PQclear(result);
	return 0;
}

static int
pgsql_outband_begin(struct outband_sql *_sql, const char *user,
		    const char **error_r)
{
	struct pgsql_outband_sql *sql = PGSQL_SQL(_sql);
	bool again = sql->conn != NULL;
	const char *text;
	int ret;

	i_assert(!sql->in_transaction);
	if (pgsql_outband_connect(sql, error_r) < 0)
		return -1;
	/* two users may have one lock: they wait for each other */
	if (*user == '\0') {
		text = t_strdup_printf("BEGIN ISOLATION LEVEL READ COMMITTED;"
			"SELECT pg_advisory_xact_lock(%d)",
			OUTBAND_PGSQL_LOCK_ALL);
	} else {
		text = t_strdup_printf("BEGIN ISOLATION LEVEL READ COMMITTED;"
			"SELECT pg_advisory_xact_lock_shared(%d);"
			"SELECT pg_advisory_xact_lock(%d, %d)",
			OUTBAND_PGSQL_LOCK_ALL, OUTBAND_PGSQL_LOCK_USER,
			(int)crc32_str(user));
	}
	ret = pgsql_outband_query(sql, text, error_r);
	if (ret < 0 && sql->conn == NULL && again &&
	    pgsql_outband_connect(sql, error_r) == 0)
		ret = pgsql_outband_query(sql, text, error_r);
	if (ret == 0)
		sql->in_transaction = TRUE;
	else if (sql->conn != NULL)
		_sql->v->rollback(_sql);
	return ret;
}

static int
pgsql_outband_commit(struct outband_sql *_sql, const char **error_r)
{
	struct pgsql_outband_sql *sql = PGSQL_SQL(_sql);

	i_assert(sql->in_transaction);
	/* a transaction that has failed is rolled back by COMMIT, without an
	   error */
	if (sql->conn != NULL &&
	    PQtransactionStatus(sql->conn) != PQTRANS_INTRANS)
		return pgsql_outband_error(sql, "Transaction failed", error_r);
	if (pgsql_outband_exec(_sql, "COMMIT", error_r) < 0)
		return -1;
	sql->in_transaction = FALSE;
	return 0;
}

static void pgsql_outband_rollback(struct outband_sql *_sql)
{
	struct pgsql_outband_sql *sql = PGSQL_SQL(_sql);
	const char *error;

	sql->in_transaction = FALSE;
	if (sql->conn != NULL &&
	    PQtransactionStatus(sql->conn) != PQTRANS_IDLE &&
	    pgsql_outband_query(sql, "ROLLBACK", &error) < 0) {
		/* without the connection it is */
		pgsql_outband_disconnect(sql);
	}
}

/* libpq takes what is behind a wrong password for the host, and tells it. */
static bool pgsql_outband_uri_is_valid(const char *uri)
{
	const char *authority = strstr(uri, "://"), *at, *end;

	if (authority == NULL || (at = strchr(uri, '@')) == NULL)
		return TRUE;
	end = authority + 3 + strcspn(authority + 3, "/?");
	return at < end && strchr(at + 1, '@') == NULL;
}

static int
pgsql_outband_open(struct outband_sql *_sql, const char *address,
		   const char **error_r)
{
	struct pgsql_outband_sql *sql = PGSQL_SQL(_sql);
	const char *host = "", *dbname = "";
	PQconninfoOption *options = NULL, *opt;
	char *error = NULL;
	bool parse;

	sql->prepared = i_new(bool, _sql->stmts_count);
	if (strncmp(address, "pgsql:", 6) == 0)
		address += 6;
	sql->conninfo = i_strdup(address);
	/* a mere name is a database's */
	parse = strchr(address, '=') != NULL || strstr(address, "://") != NULL;
	if (!parse)
		dbname = address;
	else if (!pgsql_outband_uri_is_valid(address) ||
		 (options = PQconninfoParse(address, &error)) == NULL) {
		/* libpq would tell what it was stopped by: a password, maybe */
		if (error != NULL)
			PQfreemem(error);
		*error_r = "pimap_outband_db: libpq can't read the connection "
			"string (is a character quoted that needs it?)";
		return -1;
	}
	for (opt = options; opt != NULL && opt->keyword != NULL; opt++) {
		if (opt->val == NULL)
			continue;
		if (strcmp(opt->keyword, "host") == 0)
			host = t_strconcat(" at ", opt->val, NULL);
		else if (strcmp(opt->keyword, "dbname") == 0)
			dbname = t_strdup(opt->val);
	}
	_sql->name = i_strdup_printf("PostgreSQL database %s%s", dbname, host);
	if (options != NULL)
		PQconninfoFree(options);
	return pgsql_outband_connect(sql, error_r);
}

static void pgsql_outband_close(struct outband_sql *_sql)
{
	struct pgsql_outband_sql *sql = PGSQL_SQL(_sql);

	pgsql_outband_disconnect(sql);
	i_free(sql->prepared);
	i_free(sql->conninfo);
	i_free(sql->connect_error);
}

static const struct outband_sql_vfuncs outband_sql_pgsql = {
	.schema_id = "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
	/* in the order of their bytes, which no update of the system changes */
	.schema_text = "TEXT COLLATE \"C\"",
	.schema_keyed = "",

	.open = pgsql_outband_open,
	.close = pgsql_outband_close,
	.begin = pgsql_outband_begin,
	.commit = pgsql_outband_commit,
	.rollback = pgsql_outband_rollback,
	.exec = pgsql_outband_exec,
	.run = pgsql_outband_run,
};

struct outband_sql *outband_sql_pgsql_alloc(void)
{
	struct pgsql_outband_sql *sql = i_new(struct pgsql_outband_sql, 1);

	sql->sql.v = &outband_sql_pgsql;
	return &sql->sql;
}
