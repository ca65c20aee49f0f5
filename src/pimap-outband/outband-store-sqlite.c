/* SPDX-License-Identifier: LGPL-2.1-only */
/* The store in a file of SQLite, by its own library: Dovecot's driver says that a
   COMMIT has succeeded when it has not.

   The file is in WAL mode, so that doveadm may read while the service writes, and
   synchronous is FULL: a COMMIT that returned is on the disk. There is one writer,
   the service that holds the spool lock; the conditions in the statements hold
   without it too. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "ioloop.h"
#include "outband-store.h"

#include <sqlite3.h>
#include <stdarg.h>

/* doveadm may be at it */
#define OUTBAND_SQLITE_BUSY_MSECS 2000

enum outband_sqlite_stmt {
	STMT_BEGIN,
	STMT_COMMIT,
	STMT_ROLLBACK,
	STMT_ACCOUNTED_GET,
	STMT_ACCOUNTED_SET,
	STMT_ACCOUNTED_DROP,
	STMT_FOLDER_NEXT,
	STMT_FOLDER_DROP,
	STMT_USER_DROP,
	STMT_GENERATION_GET,
	STMT_DEVICE_SET,
	STMT_DEVICE_NEXT,
	STMT_SEQ_NEXT,
	STMT_QUEUE_ADD,
	STMT_QUEUE_DROP_DEVICE,
	STMT_QUEUE_DROP_FOLDER,
	STMT_QUEUE_DROP_USER,
	STMT_QUEUE_HEAD,
	STMT_QUEUE_NUMBER,
	STMT_QUEUE_RETRY,
	STMT_QUEUE_DONE,
	STMT_STATUS,
	STMT_LIST,
	STMT_RETRY_NOW,
	STMT_DROP,
	STMT_OUTCOME,
	STMT_OUTCOME_SELECTED,
	STMT_TRACE_ADD,
	STMT_TRACE,
	STMT_ADD_TEST,
	STMT_PAUSED_GET,
	STMT_PAUSED_ADD,
	STMT_PAUSED_DROP,

	STMT_COUNT
};

#define TRACE_STR2(x) #x
#define TRACE_STR(x) TRACE_STR2(x)

/* Each brings a database one version further. */
static const char *const outband_sqlite_schemas[] = {
	/* next_seq outlives all that is queued */
	"CREATE TABLE devices ("
	" user TEXT NOT NULL, device TEXT NOT NULL,"
	" generation INTEGER NOT NULL, channel TEXT NOT NULL,"
	" address TEXT NOT NULL, format TEXT NOT NULL,"
	" next_seq INTEGER NOT NULL DEFAULT 1,"
	" PRIMARY KEY (user, device)) WITHOUT ROWID;"
	/* a version is never used again, not even when its row is dropped and
	   another is made: that would let in a look with the old state */
	"CREATE TABLE accounted ("
	" version INTEGER PRIMARY KEY AUTOINCREMENT,"
	" user TEXT NOT NULL, guid TEXT NOT NULL, device TEXT NOT NULL,"
	" folder TEXT NOT NULL, state TEXT NOT NULL,"
	" UNIQUE (user, guid, device));"
	"CREATE TABLE queue ("
	" id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" user TEXT NOT NULL, device TEXT NOT NULL, guid TEXT NOT NULL,"
	" folder TEXT NOT NULL, event TEXT NOT NULL, uid INTEGER NOT NULL,"
	" time INTEGER NOT NULL, fields TEXT NOT NULL,"
	" seq INTEGER, payload TEXT,"
	" tries INTEGER NOT NULL DEFAULT 0,"
	" next_try INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL,"
	" CHECK ((seq IS NULL) = (payload IS NULL)));"
	"CREATE INDEX queue_device ON queue (user, device, id);"
	/* one number, one notification */
	"CREATE UNIQUE INDEX queue_seq ON queue (user, device, seq)"
	" WHERE seq IS NOT NULL;",

	"ALTER TABLE queue ADD COLUMN last_error TEXT NOT NULL DEFAULT '';"
	"CREATE TABLE paused (channel TEXT NOT NULL PRIMARY KEY)"
	" WITHOUT ROWID;"
	/* The steps of notifications. What changes the queue is one: whoever
	   changes it can't forget that. */
	"ALTER TABLE queue ADD COLUMN outcome TEXT NOT NULL DEFAULT '';"
	"CREATE TABLE traces ("
	" id INTEGER PRIMARY KEY, user TEXT NOT NULL, device TEXT NOT NULL,"
	" seq INTEGER, created INTEGER NOT NULL);"
	"INSERT INTO traces SELECT id, user, device, seq, created FROM queue;"
	"CREATE INDEX traces_device ON traces (user, device, id);"
	"CREATE TABLE steps ("
	" id INTEGER NOT NULL, n INTEGER NOT NULL, time INTEGER NOT NULL,"
	" step TEXT NOT NULL, text TEXT NOT NULL,"
	" PRIMARY KEY (id, n)) WITHOUT ROWID;"
	"CREATE VIEW new_steps AS SELECT id, time, step, text FROM steps;"
	"CREATE TRIGGER step_add INSTEAD OF INSERT ON new_steps BEGIN"
	" INSERT INTO steps SELECT NEW.id, ifnull(max(n), 0) + 1,"
	"  ifnull(NEW.time, CAST(strftime('%s', 'now') AS INTEGER)),"
	"  NEW.step, substr(NEW.text, 1, 500) FROM steps WHERE id = NEW.id;"
	" END;"
	"CREATE TRIGGER step_bound AFTER INSERT ON steps"
	" WHEN NEW.n > "TRACE_STR(OUTBAND_TRACE_MAX_STEPS)" BEGIN"
	" DELETE FROM steps WHERE id = NEW.id AND"
	"  n = NEW.n - "TRACE_STR(OUTBAND_TRACE_MAX_STEPS)" / 2;"
	" END;"
	"CREATE TRIGGER trace_bound AFTER INSERT ON traces"
	" WHEN NEW.id % 100 = 0 BEGIN"
	" DELETE FROM traces WHERE id <="
	"  NEW.id - "TRACE_STR(OUTBAND_TRACE_MAX_COUNT)" OR id < (SELECT id"
	"   FROM traces WHERE created >="
	"    NEW.created - "TRACE_STR(OUTBAND_TRACE_MAX_SECS)
	"   ORDER BY id LIMIT 1);"
	" DELETE FROM steps WHERE id < (SELECT min(id) FROM traces);"
	" END;"
	"CREATE TRIGGER queue_added AFTER INSERT ON queue BEGIN"
	" INSERT INTO traces VALUES"
	"  (NEW.id, NEW.user, NEW.device, NEW.seq, NEW.created);"
	" END;"
	"CREATE TRIGGER queue_numbered AFTER UPDATE OF seq ON queue BEGIN"
	" UPDATE traces SET seq = NEW.seq WHERE id = NEW.id;"
	" INSERT INTO new_steps VALUES (NEW.id, NULL, 'numbered', NEW.seq);"
	" END;"
	"CREATE TRIGGER queue_tried AFTER UPDATE OF tries ON queue BEGIN"
	" INSERT INTO new_steps VALUES (NEW.id, NULL, 'tried', NEW.last_error);"
	" END;"
	"CREATE TRIGGER queue_retry AFTER UPDATE OF next_try ON queue"
	" WHEN NEW.next_try = 0 AND OLD.next_try > 0 BEGIN"
	" INSERT INTO new_steps VALUES"
	"  (NEW.id, NULL, 'retry', 'by the administrator');"
	" END;"
	"CREATE TRIGGER queue_done AFTER DELETE ON queue BEGIN"
	" INSERT INTO new_steps VALUES (OLD.id, NULL, 'done',"
	"  iif(OLD.outcome = '', 'dropped: its folder doesn''t notify the"
	" device any more', OLD.outcome));"
	" END;",
};

/* What a row has, in the order of row_get() */
#define QUEUE_COLUMNS \
	"q.id, q.guid, q.folder, q.event, q.uid, q.time, ifnull(q.seq, 0)," \
	" q.payload, q.tries, q.next_try, q.created, d.channel, d.address," \
	" d.format, q.last_error, q.user, q.device, q.fields"
#define QUEUE_SELECTED \
	" WHERE (?1 = 0 OR id = ?1) AND (?2 = '' OR user = ?2)" \
	" AND (?3 = '' OR device = ?3)"

static const char *const outband_sqlite_sql[STMT_COUNT] = {
	[STMT_BEGIN] = "BEGIN IMMEDIATE",
	[STMT_COMMIT] = "COMMIT",
	[STMT_ROLLBACK] = "ROLLBACK",
	[STMT_ACCOUNTED_GET] =
		"SELECT a.device, a.state, a.version, d.generation, a.folder"
		" FROM accounted a JOIN devices d USING (user, device)"
		" WHERE a.user = ?1 AND a.guid = ?2 ORDER BY a.device",
	[STMT_ACCOUNTED_SET] =
		"REPLACE INTO accounted (user, guid, device, folder, state)"
		" VALUES (?1, ?2, ?3, ?4, ?5)",
	[STMT_ACCOUNTED_DROP] = "DELETE FROM accounted WHERE version = ?1",
	[STMT_FOLDER_NEXT] =
		"SELECT user, guid FROM accounted"
		" WHERE (user, guid) > (?1, ?2) ORDER BY user, guid LIMIT 1",
	[STMT_FOLDER_DROP] = "DELETE FROM accounted WHERE user = ?1 AND guid = ?2",
	[STMT_USER_DROP] = "DELETE FROM accounted WHERE user = ?1",
	[STMT_GENERATION_GET] =
		"SELECT generation, channel, address, format FROM devices"
		" WHERE user = ?1 AND device = ?2",
	[STMT_DEVICE_SET] =
		"INSERT INTO devices"
		" (user, device, generation, channel, address, format)"
		" VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
		" ON CONFLICT (user, device) DO UPDATE SET generation = ?3,"
		" channel = ?4, address = ?5, format = ?6",
	[STMT_DEVICE_NEXT] =
		"SELECT user, device FROM queue"
		" WHERE (user, device) > (?1, ?2)"
		" ORDER BY user, device LIMIT 1",
	[STMT_SEQ_NEXT] =
		"UPDATE devices SET next_seq = next_seq + 1"
		" WHERE user = ?1 AND device = ?2 RETURNING next_seq - 1",
	[STMT_QUEUE_ADD] =
		"INSERT INTO queue"
		" (user, device, guid, folder, event, uid, time, fields,"
		" created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
	[STMT_QUEUE_DROP_DEVICE] =
		"DELETE FROM queue"
		" WHERE user = ?1 AND device = ?2 AND guid = ?3",
	[STMT_QUEUE_DROP_FOLDER] =
		"DELETE FROM queue WHERE user = ?1 AND guid = ?2",
	[STMT_QUEUE_DROP_USER] = "DELETE FROM queue WHERE user = ?1",
	[STMT_QUEUE_HEAD] =
		"SELECT "QUEUE_COLUMNS
		" FROM queue q JOIN devices d USING (user, device)"
		" WHERE q.user = ?1 AND q.device = ?2 ORDER BY q.id LIMIT 1",
	[STMT_QUEUE_NUMBER] =
		"UPDATE queue SET seq = ?2, payload = ?3"
		" WHERE id = ?1 AND seq IS NULL",
	[STMT_QUEUE_RETRY] =
		"UPDATE queue SET tries = ?2, next_try = ?3, last_error = ?4"
		" WHERE id = ?1",
	[STMT_QUEUE_DONE] = "DELETE FROM queue WHERE id = ?1",
	[STMT_STATUS] =
		"SELECT count(*), count(seq), ifnull(min(created), 0),"
		" (SELECT count(*) FROM (SELECT DISTINCT user, device"
		"  FROM queue)),"
		" (SELECT count(*) FROM (SELECT DISTINCT user, device"
		"  FROM accounted)) FROM queue",
	[STMT_LIST] =
		"SELECT "QUEUE_COLUMNS
		" FROM queue q JOIN devices d USING (user, device)"
		" WHERE q.id > ?1 ORDER BY q.id LIMIT ?2",
	[STMT_RETRY_NOW] =
		"UPDATE queue SET next_try = 0"QUEUE_SELECTED
		" RETURNING user, device",
	[STMT_DROP] =
		"DELETE FROM queue"QUEUE_SELECTED" RETURNING user, device",
	[STMT_OUTCOME] = "UPDATE queue SET outcome = ?2 WHERE id = ?1",
	[STMT_OUTCOME_SELECTED] =
		"UPDATE queue SET outcome = 'dropped: by the administrator'"
		QUEUE_SELECTED,
	[STMT_TRACE_ADD] =
		"INSERT INTO new_steps VALUES (?1, ?2, ?3, ?4)",
	[STMT_TRACE] =
		"SELECT t.id, s.n, t.user, t.device, ifnull(t.seq, 0), s.time,"
		" s.step, s.text FROM traces t JOIN steps s USING (id)"
		" WHERE t.id IN (SELECT id FROM traces WHERE id = ?1 UNION"
		" SELECT * FROM (SELECT id FROM traces WHERE ?1 = 0 AND"
		" user = ?2 AND device = ?3 AND (?4 = 0 OR seq = ?4)"
		" ORDER BY id DESC LIMIT "TRACE_STR(OUTBAND_TRACE_LAST)"))"
		" AND (s.id, s.n) > (?5, ?6) ORDER BY s.id, s.n LIMIT ?7",
	[STMT_ADD_TEST] =
		"INSERT INTO queue"
		" (user, device, guid, folder, event, uid, time, fields, created)"
		" SELECT user, device, '', 'INBOX', 'SYNC', 0, ?3, '', ?3"
		" FROM devices WHERE user = ?1 AND device = ?2 AND EXISTS"
		" (SELECT 1 FROM accounted WHERE user = ?1 AND device = ?2)",
	[STMT_PAUSED_GET] = "SELECT channel FROM paused",
	[STMT_PAUSED_ADD] = "INSERT OR IGNORE INTO paused VALUES (?1)",
	[STMT_PAUSED_DROP] = "DELETE FROM paused WHERE channel = ?1",
};

struct sqlite_outband_store {
	struct outband_store store;
	char *path;
	struct event *event;
	sqlite3 *db;
	sqlite3_stmt *stmts[STMT_COUNT];
};

#define SQLITE_STORE(_store) \
	container_of(_store, struct sqlite_outband_store, store)

static int
sqlite_outband_error(struct sqlite_outband_store *store, const char **error_r)
{
	*error_r = t_strdup_printf("%s: %s (%d)", store->path,
				   sqlite3_errmsg(store->db),
				   sqlite3_extended_errcode(store->db));
	return -1;
}

/* Returns the statement with its parameters: t = text, i = int64_t. What they
   point to lives until it is reset. NULL if there is no memory for it. */
static sqlite3_stmt *
sqlite_outband_bind(struct sqlite_outband_store *store,
		    enum outband_sqlite_stmt id, const char *types, ...)
{
	sqlite3_stmt *stmt = store->stmts[id];
	va_list args;
	int i, ret = SQLITE_OK;

	va_start(args, types);
	for (i = 0; types[i] != '\0' && ret == SQLITE_OK; i++) {
		if (types[i] == 't') {
			ret = sqlite3_bind_text(stmt, i + 1,
						va_arg(args, const char *), -1,
						SQLITE_STATIC);
		} else {
			ret = sqlite3_bind_int64(stmt, i + 1,
						 va_arg(args, int64_t));
		}
	}
	va_end(args);
	return ret == SQLITE_OK ? stmt : NULL;
}

/* Returns 1 if there is a row, 0 if there is none (any more): the statement is
   then ready for its next use; -1 and error_r likewise. */
static int
sqlite_outband_step(struct sqlite_outband_store *store, sqlite3_stmt *stmt,
		    const char **error_r)
{
	int ret;

	if (stmt == NULL)
		return sqlite_outband_error(store, error_r);
	ret = sqlite3_step(stmt);
	if (ret == SQLITE_ROW)
		return 1;
	if (ret != SQLITE_DONE) {
		(void)sqlite_outband_error(store, error_r);
		(void)sqlite3_reset(stmt);
		return -1;
	}
	(void)sqlite3_reset(stmt);
	return 0;
}

/* Runs a statement that has no rows. Returns 0, or -1 and error_r. */
static int
sqlite_outband_run(struct sqlite_outband_store *store, sqlite3_stmt *stmt,
		   const char **error_r)
{
	int ret = sqlite_outband_step(store, stmt, error_r);

	if (ret > 0) {
		(void)sqlite3_reset(stmt);
		*error_r = t_strdup_printf("%s: unexpected row", store->path);
		ret = -1;
	}
	return ret;
}

static int
sqlite_outband_begin(struct sqlite_outband_store *store, const char **error_r)
{
	return sqlite_outband_run(store, store->stmts[STMT_BEGIN], error_r);
}

/* Ends the transaction: commits if ret is 1, else takes back what it did. Returns
   ret, or -1 and error_r. */
static int
sqlite_outband_end(struct sqlite_outband_store *store, int ret,
		   const char **error_r)
{
	const char *error;

	if (ret > 0 && sqlite_outband_run(store, store->stmts[STMT_COMMIT],
					  error_r) < 0)
		ret = -1;
	/* some errors have done it already */
	if (sqlite3_get_autocommit(store->db) == 0 &&
	    sqlite_outband_run(store, store->stmts[STMT_ROLLBACK], &error) < 0)
		e_error(store->event, "Can't roll back: %s", error);
	return ret;
}

static const char *column_text(sqlite3_stmt *stmt, int i, pool_t pool)
{
	const void *text = sqlite3_column_text(stmt, i);

	/* NULL also if there is no memory for it */
	return p_strdup(pool, text == NULL ? "" : text);
}

static int
sqlite_outband_exec(struct sqlite_outband_store *store, const char *sql,
		    const char **error_r)
{
	if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return sqlite_outband_error(store, error_r);
	return 0;
}

/* Returns 0 and the first column of the first row as text ("" if there is none),
   or -1 and error_r. */
static int
sqlite_outband_query(struct sqlite_outband_store *store, const char *sql,
		     const char **value_r, const char **error_r)
{
	sqlite3_stmt *stmt;
	int ret;

	if (sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return sqlite_outband_error(store, error_r);
	ret = sqlite_outband_step(store, stmt, error_r);
	*value_r = ret > 0 ? column_text(stmt, 0, pool_datastack_create()) : "";
	(void)sqlite3_finalize(stmt);
	return ret < 0 ? -1 : 0;
}

static int
sqlite_outband_init_schema(struct sqlite_outband_store *store,
			   const char **error_r)
{
	const char *value, *sql;
	unsigned int version;

	if (sqlite_outband_query(store, "PRAGMA journal_mode = WAL",
				 &value, error_r) < 0)
		return -1;
	if (strcasecmp(value, "wal") != 0) {
		*error_r = t_strdup_printf("%s: can't have a WAL", store->path);
		return -1;
	}
	if (sqlite_outband_exec(store, "PRAGMA synchronous = FULL",
				error_r) < 0 ||
	    sqlite_outband_query(store, "PRAGMA user_version",
				 &value, error_r) < 0)
		return -1;
	if (str_to_uint(value, &version) < 0 ||
	    version > N_ELEMENTS(outband_sqlite_schemas)) {
		*error_r = t_strdup_printf(
			"%s: its version is %s, this service knows %u only",
			store->path, value,
			(unsigned int)N_ELEMENTS(outband_sqlite_schemas));
		return -1;
	}
	for (; version < N_ELEMENTS(outband_sqlite_schemas); version++) {
		/* new, or somebody else's: then a table may exist already */
		sql = t_strdup_printf("BEGIN IMMEDIATE; %s "
				      "PRAGMA user_version = %u; COMMIT",
				      outband_sqlite_schemas[version],
				      version + 1);
		if (sqlite_outband_exec(store, sql, error_r) < 0) {
			(void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL,
					   NULL);
			return -1;
		}
	}
	return 0;
}

static void sqlite_outband_close(struct outband_store *_store)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	unsigned int i;

	for (i = 0; i < STMT_COUNT; i++)
		(void)sqlite3_finalize(store->stmts[i]);
	if (sqlite3_close(store->db) != SQLITE_OK) {
		e_error(store->event, "Can't close %s: %s", store->path,
			sqlite3_errmsg(store->db));
	}
	event_unref(&store->event);
	i_free(store->path);
	i_free(store);
}

static int
sqlite_outband_open(struct event *event_parent, const char *path,
		    struct outband_store **store_r, const char **error_r)
{
	struct sqlite_outband_store *store;
	unsigned int i;
	int ret;

	store = i_new(struct sqlite_outband_store, 1);
	store->store.v = &outband_store_sqlite;
	store->path = i_strdup(path);
	store->event = event_create(event_parent);

	ret = sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE |
			      SQLITE_OPEN_CREATE, NULL) == SQLITE_OK ? 0 :
		sqlite_outband_error(store, error_r);
	if (ret == 0) {
		(void)sqlite3_extended_result_codes(store->db, 1);
		(void)sqlite3_busy_timeout(store->db,
					   OUTBAND_SQLITE_BUSY_MSECS);
		ret = sqlite_outband_init_schema(store, error_r);
	}
	for (i = 0; i < STMT_COUNT && ret == 0; i++) {
		if (sqlite3_prepare_v3(store->db, outband_sqlite_sql[i], -1,
				       SQLITE_PREPARE_PERSISTENT,
				       &store->stmts[i], NULL) != SQLITE_OK)
			ret = sqlite_outband_error(store, error_r);
	}
	if (ret < 0) {
		sqlite_outband_close(&store->store);
		return -1;
	}
	*store_r = &store->store;
	return 0;
}

static int
sqlite_outband_accounted_get(struct outband_store *_store, const char *user,
			     const char *guid, pool_t pool,
			     ARRAY_TYPE(outband_accounted) *accounted_r,
			     const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	struct outband_accounted *accounted;
	sqlite3_stmt *stmt;
	int ret;

	p_array_init(accounted_r, pool, 8);
	stmt = sqlite_outband_bind(store, STMT_ACCOUNTED_GET, "tt", user, guid);
	while ((ret = sqlite_outband_step(store, stmt, error_r)) > 0) {
		accounted = array_append_space(accounted_r);
		accounted->device = column_text(stmt, 0, pool);
		accounted->state = column_text(stmt, 1, pool);
		accounted->version = sqlite3_column_int64(stmt, 2);
		accounted->generation = sqlite3_column_int64(stmt, 3);
	}
	return ret;
}

/* The pair after this one */
static int
sqlite_outband_next(struct outband_store *_store, enum outband_sqlite_stmt id,
		    const char *first, const char *second, pool_t pool,
		    const char **first_r, const char **second_r,
		    const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	sqlite3_stmt *stmt;
	int ret;

	stmt = sqlite_outband_bind(store, id, "tt", first, second);
	ret = sqlite_outband_step(store, stmt, error_r);
	if (ret > 0) {
		*first_r = column_text(stmt, 0, pool);
		*second_r = column_text(stmt, 1, pool);
		(void)sqlite3_reset(stmt);
	}
	return ret;
}

static int
sqlite_outband_folder_next(struct outband_store *store, const char *user,
			   const char *guid, pool_t pool, const char **user_r,
			   const char **guid_r, const char **error_r)
{
	return sqlite_outband_next(store, STMT_FOLDER_NEXT, user, guid, pool,
				   user_r, guid_r, error_r);
}

static int
sqlite_outband_device_next(struct outband_store *store, const char *user,
			   const char *device, pool_t pool,
			   const char **user_r, const char **device_r,
			   const char **error_r)
{
	return sqlite_outband_next(store, STMT_DEVICE_NEXT, user, device, pool,
				   user_r, device_r, error_r);
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
sqlite_outband_commit_verify(struct sqlite_outband_store *store,
			     const char *user, const char *guid,
			     const ARRAY_TYPE(outband_accounted) *accounted,
			     ARRAY_TYPE(accounted_now) *now_r,
			     const char **error_r)
{
	const struct outband_accounted *old;
	struct accounted_now *now;
	sqlite3_stmt *stmt;
	bool same = TRUE;
	int ret;

	t_array_init(now_r, 8);
	stmt = sqlite_outband_bind(store, STMT_ACCOUNTED_GET, "tt", user, guid);
	while ((ret = sqlite_outband_step(store, stmt, error_r)) > 0) {
		now = array_append_space(now_r);
		now->device = column_text(stmt, 0, pool_datastack_create());
		now->state = column_text(stmt, 1, pool_datastack_create());
		now->version = sqlite3_column_int64(stmt, 2);
		now->folder = column_text(stmt, 4, pool_datastack_create());
		old = accounted_find(accounted, now->device);
		if (old == NULL || old->version != now->version)
			same = FALSE;
	}
	if (ret < 0)
		return -1;
	return same && array_count(now_r) == array_count(accounted) ? 1 : 0;
}

/* Returns 1 when the registry has the device as the look has found it, 0 if the
   look was made with a profile older than that, or -1 and error_r. */
static int
sqlite_outband_commit_device(struct sqlite_outband_store *store,
			     const char *user,
			     const struct outband_accounted *old,
			     const struct outband_found *found,
			     const char **error_r)
{
	sqlite3_stmt *stmt;
	int64_t generation = 0;
	bool same = FALSE;
	int ret;

	stmt = sqlite_outband_bind(store, STMT_GENERATION_GET, "tt",
				   user, found->device);
	ret = sqlite_outband_step(store, stmt, error_r);
	if (ret < 0)
		return -1;
	if (ret > 0) {
		pool_t pool = pool_datastack_create();

		generation = sqlite3_column_int64(stmt, 0);
		same = generation == found->generation &&
			strcmp(column_text(stmt, 1, pool), found->channel) == 0 &&
			strcmp(column_text(stmt, 2, pool), found->address) == 0 &&
			strcmp(column_text(stmt, 3, pool), found->format) == 0;
		(void)sqlite3_reset(stmt);
	}
	if (same)
		return 1;
	/* A profile that went back (a restore) is below what the registry had
	   when the look began. If another look has raised that meanwhile, this
	   one has read the profile too early. */
	if (ret > 0 && found->generation < generation && old != NULL &&
	    old->generation < generation)
		return 0;
	stmt = sqlite_outband_bind(store, STMT_DEVICE_SET, "ttittt", user,
				   found->device, found->generation,
				   found->channel, found->address,
				   found->format);
	return sqlite_outband_run(store, stmt, error_r) < 0 ? -1 : 1;
}

/* Traces the row that was added last. */
static int
sqlite_outband_trace_found(struct sqlite_outband_store *store,
			   const char *guid, const char *folder,
			   const struct outband_origin *origin,
			   const struct outband_event *event,
			   const char **error_r)
{
	int64_t id = sqlite3_last_insert_rowid(store->db);
	const char *text;

	text = t_strdup_printf("%s%s in %s, by a look at %s (%s)", event->name,
		event->uid == 0 ? "" : t_strdup_printf(" %u", event->uid),
		folder, guid, origin->cause);
	if (sqlite_outband_run(store, sqlite_outband_bind(store,
			STMT_TRACE_ADD, "iitt", id, (int64_t)origin->begun,
			"found", text), error_r) < 0)
		return -1;
	return sqlite_outband_run(store, sqlite_outband_bind(store,
			STMT_TRACE_ADD, "iitt", id, (int64_t)ioloop_time,
			"queued", ""), error_r);
}

static int
sqlite_outband_commit_found(struct sqlite_outband_store *store,
			    const char *user, const char *guid,
			    const char *folder,
			    const struct outband_origin *origin,
			    const struct accounted_now *now,
			    const struct outband_found *found,
			    const char **error_r)
{
	const struct outband_event *event;
	sqlite3_stmt *stmt;

	array_foreach(&found->events, event) {
		stmt = sqlite_outband_bind(store, STMT_QUEUE_ADD, "tttttiiti",
			user, found->device, guid, folder, event->name,
			(int64_t)event->uid, (int64_t)event->time,
			event->fields == NULL ? "" : event->fields,
			(int64_t)ioloop_time);
		if (sqlite_outband_run(store, stmt, error_r) < 0 ||
		    sqlite_outband_trace_found(store, guid, folder, origin,
					       event, error_r) < 0)
			return -1;
	}
	if (now != NULL && strcmp(now->state, found->state) == 0 &&
	    strcmp(now->folder, folder) == 0) {
		/* most looks find nothing, and write nothing */
		return 0;
	}
	stmt = sqlite_outband_bind(store, STMT_ACCOUNTED_SET, "ttttt", user,
				   guid, found->device, folder, found->state);
	return sqlite_outband_run(store, stmt, error_r);
}

static int
sqlite_outband_commit_transaction(struct sqlite_outband_store *store,
				  const char *user, const char *guid,
				  const char *folder,
				  const struct outband_origin *origin,
				  const ARRAY_TYPE(outband_accounted) *accounted,
				  const ARRAY_TYPE(outband_found) *found,
				  const char **error_r)
{
	ARRAY_TYPE(accounted_now) all_now;
	struct accounted_now *now, *n;
	const struct outband_found *f;
	int ret;

	ret = sqlite_outband_commit_verify(store, user, guid, accounted,
					   &all_now, error_r);
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
		ret = sqlite_outband_commit_device(store, user,
			accounted_find(accounted, f->device), f, error_r);
		if (ret <= 0)
			return ret;
		if (sqlite_outband_commit_found(store, user, guid, folder,
						origin, now, f, error_r) < 0)
			return -1;
	}
	array_foreach_modifiable(&all_now, now) {
		if (now->found)
			continue;
		if (sqlite_outband_run(store, sqlite_outband_bind(store,
				STMT_ACCOUNTED_DROP, "i", now->version),
				error_r) < 0 ||
		    sqlite_outband_run(store, sqlite_outband_bind(store,
				STMT_QUEUE_DROP_DEVICE, "ttt", user,
				now->device, guid), error_r) < 0)
			return -1;
	}
	return 1;
}

static int
sqlite_outband_commit(struct outband_store *_store, const char *user,
		      const char *guid, const char *folder,
		      const struct outband_origin *origin,
		      const ARRAY_TYPE(outband_accounted) *accounted,
		      const ARRAY_TYPE(outband_found) *found,
		      const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	int ret;

	if (sqlite_outband_begin(store, error_r) < 0)
		return -1;
	ret = sqlite_outband_commit_transaction(store, user, guid, folder,
						origin, accounted, found,
						error_r);
	return sqlite_outband_end(store, ret, error_r);
}

static int
sqlite_outband_gone(struct outband_store *_store, const char *user,
		    const char *guid, const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	sqlite3_stmt *accounted, *queue;
	int ret = 1;

	if (sqlite_outband_begin(store, error_r) < 0)
		return -1;
	if (guid[0] == '\0') {
		accounted = sqlite_outband_bind(store, STMT_USER_DROP,
						"t", user);
		queue = sqlite_outband_bind(store, STMT_QUEUE_DROP_USER,
					    "t", user);
	} else {
		accounted = sqlite_outband_bind(store, STMT_FOLDER_DROP,
						"tt", user, guid);
		queue = sqlite_outband_bind(store, STMT_QUEUE_DROP_FOLDER,
					    "tt", user, guid);
	}
	if (sqlite_outband_run(store, accounted, error_r) < 0 ||
	    sqlite_outband_run(store, queue, error_r) < 0)
		ret = -1;
	return sqlite_outband_end(store, ret, error_r);
}

/* The row that the statement is at, of QUEUE_COLUMNS */
static void
row_get(sqlite3_stmt *stmt, pool_t pool, struct outband_row *row_r)
{
	i_zero(row_r);
	row_r->id = sqlite3_column_int64(stmt, 0);
	row_r->guid = column_text(stmt, 1, pool);
	row_r->folder = column_text(stmt, 2, pool);
	row_r->event.name = column_text(stmt, 3, pool);
	row_r->event.uid = sqlite3_column_int64(stmt, 4);
	row_r->event.time = sqlite3_column_int64(stmt, 5);
	row_r->seq = sqlite3_column_int64(stmt, 6);
	if (row_r->seq != 0)
		row_r->payload = column_text(stmt, 7, pool);
	row_r->tries = sqlite3_column_int64(stmt, 8);
	row_r->next_try = sqlite3_column_int64(stmt, 9);
	row_r->created = sqlite3_column_int64(stmt, 10);
	row_r->channel = column_text(stmt, 11, pool);
	row_r->address = column_text(stmt, 12, pool);
	row_r->format = column_text(stmt, 13, pool);
	row_r->last_error = column_text(stmt, 14, pool);
	row_r->user = column_text(stmt, 15, pool);
	row_r->device = column_text(stmt, 16, pool);
	row_r->event.fields = column_text(stmt, 17, pool);
}

static int
sqlite_outband_head(struct outband_store *_store, const char *user,
		    const char *device, pool_t pool,
		    struct outband_row *row_r, const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	sqlite3_stmt *stmt;
	int ret;

	stmt = sqlite_outband_bind(store, STMT_QUEUE_HEAD, "tt", user, device);
	ret = sqlite_outband_step(store, stmt, error_r);
	if (ret <= 0)
		return ret;
	row_get(stmt, pool, row_r);
	(void)sqlite3_reset(stmt);
	return 1;
}

/* Returns 1 and the number, 0 if the row is gone or has one, or -1 and error_r. */
static int
sqlite_outband_number_transaction(struct sqlite_outband_store *store,
				  struct outband_row *row, string_t *text,
				  outband_store_payload_t *payload,
				  const char **error_r)
{
	sqlite3_stmt *stmt;
	int ret;

	stmt = sqlite_outband_bind(store, STMT_SEQ_NEXT, "tt", row->user,
				   row->device);
	ret = sqlite_outband_step(store, stmt, error_r);
	if (ret <= 0)
		return ret;
	row->seq = sqlite3_column_int64(stmt, 0);
	/* it isn't done before all of its rows are read */
	if (sqlite_outband_run(store, stmt, error_r) < 0)
		return -1;
	payload(text, row);
	stmt = sqlite_outband_bind(store, STMT_QUEUE_NUMBER, "iit", row->id,
				   row->seq, str_c(text));
	if (sqlite_outband_run(store, stmt, error_r) < 0)
		return -1;
	return sqlite3_changes(store->db) == 1 ? 1 : 0;
}

static int
sqlite_outband_number(struct outband_store *_store, struct outband_row *row,
		      pool_t pool, outband_store_payload_t *payload,
		      const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	string_t *text = t_str_new(256);
	int ret;

	i_assert(row->seq == 0);
	if (sqlite_outband_begin(store, error_r) < 0)
		return -1;
	ret = sqlite_outband_number_transaction(store, row, text, payload,
						error_r);
	ret = sqlite_outband_end(store, ret, error_r);
	if (ret > 0)
		row->payload = p_strdup(pool, str_c(text));
	else
		row->seq = 0;
	return ret;
}

static int
sqlite_outband_retry(struct outband_store *_store,
		     const struct outband_row *row, time_t next_try,
		     const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	sqlite3_stmt *stmt;

	stmt = sqlite_outband_bind(store, STMT_QUEUE_RETRY, "iiit", row->id,
				   (int64_t)row->tries, (int64_t)next_try,
				   row->last_error);
	return sqlite_outband_run(store, stmt, error_r) < 0 ? -1 : 1;
}

static int
sqlite_outband_done(struct outband_store *_store, const struct outband_row *row,
		    const char *result, const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	int ret = 1;

	if (sqlite_outband_begin(store, error_r) < 0)
		return -1;
	if (sqlite_outband_run(store, sqlite_outband_bind(store, STMT_OUTCOME,
			"it", row->id, result), error_r) < 0 ||
	    sqlite_outband_run(store, sqlite_outband_bind(store,
			STMT_QUEUE_DONE, "i", row->id), error_r) < 0)
		ret = -1;
	return sqlite_outband_end(store, ret, error_r);
}

static int
sqlite_outband_status(struct outband_store *_store,
		      struct outband_store_status *status_r,
		      const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	sqlite3_stmt *stmt = store->stmts[STMT_STATUS];
	int ret;

	ret = sqlite_outband_step(store, stmt, error_r);
	if (ret <= 0)
		return ret;
	status_r->queued = sqlite3_column_int64(stmt, 0);
	status_r->numbered = sqlite3_column_int64(stmt, 1);
	status_r->oldest = sqlite3_column_int64(stmt, 2);
	status_r->devices = sqlite3_column_int64(stmt, 3);
	status_r->accounted_devices = sqlite3_column_int64(stmt, 4);
	(void)sqlite3_reset(stmt);
	return 1;
}

static int
sqlite_outband_list(struct outband_store *_store, int64_t id, unsigned int max,
		    pool_t pool, ARRAY_TYPE(outband_row) *rows_r,
		    const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	sqlite3_stmt *stmt;
	int ret;

	p_array_init(rows_r, pool, 16);
	stmt = sqlite_outband_bind(store, STMT_LIST, "ii", id, (int64_t)max);
	while ((ret = sqlite_outband_step(store, stmt, error_r)) > 0)
		row_get(stmt, pool, array_append_space(rows_r));
	return ret < 0 ? -1 : (array_count(rows_r) > 0 ? 1 : 0);
}

static int
sqlite_outband_select(struct outband_store *_store, enum outband_sqlite_stmt id,
		      const struct outband_selection *selection, pool_t pool,
		      ARRAY_TYPE(outband_device) *devices_r,
		      unsigned int *count_r, const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	struct outband_device *device = NULL;
	const char *user, *name;
	sqlite3_stmt *stmt;
	int ret;

	p_array_init(devices_r, pool, 4);
	*count_r = 0;
	stmt = sqlite_outband_bind(store, id, "itt", selection->id,
				   selection->user, selection->device);
	while ((ret = sqlite_outband_step(store, stmt, error_r)) > 0) {
		(*count_r)++;
		/* those of one device are beside each other, mostly */
		user = (const void *)sqlite3_column_text(stmt, 0);
		name = (const void *)sqlite3_column_text(stmt, 1);
		if (device != NULL && null_strcmp(user, device->user) == 0 &&
		    null_strcmp(name, device->device) == 0)
			continue;
		device = array_append_space(devices_r);
		device->user = column_text(stmt, 0, pool);
		device->device = column_text(stmt, 1, pool);
	}
	return ret < 0 ? -1 : (*count_r > 0 ? 1 : 0);
}

static int
sqlite_outband_retry_now(struct outband_store *store,
			 const struct outband_selection *selection, pool_t pool,
			 ARRAY_TYPE(outband_device) *devices_r,
			 unsigned int *count_r, const char **error_r)
{
	return sqlite_outband_select(store, STMT_RETRY_NOW, selection, pool,
				     devices_r, count_r, error_r);
}

static int
sqlite_outband_drop(struct outband_store *_store,
		    const struct outband_selection *selection, pool_t pool,
		    ARRAY_TYPE(outband_device) *devices_r,
		    unsigned int *count_r, const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	sqlite3_stmt *stmt;
	int ret = -1;

	if (sqlite_outband_begin(store, error_r) < 0)
		return -1;
	stmt = sqlite_outband_bind(store, STMT_OUTCOME_SELECTED, "itt",
				   selection->id, selection->user,
				   selection->device);
	if (sqlite_outband_run(store, stmt, error_r) == 0) {
		ret = sqlite_outband_select(_store, STMT_DROP, selection, pool,
					    devices_r, count_r, error_r);
	}
	return sqlite_outband_end(store, ret, error_r);
}

static int
sqlite_outband_trace(struct outband_store *_store,
		     const struct outband_selection *selection, int64_t seq,
		     int64_t id, int64_t n, unsigned int max, pool_t pool,
		     ARRAY_TYPE(outband_step) *steps_r, const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	struct outband_step *step;
	sqlite3_stmt *stmt;
	int ret;

	p_array_init(steps_r, pool, 16);
	stmt = sqlite_outband_bind(store, STMT_TRACE, "ittiiii", selection->id,
				   selection->user, selection->device, seq, id,
				   n, (int64_t)max);
	while ((ret = sqlite_outband_step(store, stmt, error_r)) > 0) {
		step = array_append_space(steps_r);
		step->id = sqlite3_column_int64(stmt, 0);
		step->n = sqlite3_column_int64(stmt, 1);
		step->user = column_text(stmt, 2, pool);
		step->device = column_text(stmt, 3, pool);
		step->seq = sqlite3_column_int64(stmt, 4);
		step->time = sqlite3_column_int64(stmt, 5);
		step->step = column_text(stmt, 6, pool);
		step->text = column_text(stmt, 7, pool);
	}
	return ret < 0 ? -1 : (array_count(steps_r) > 0 ? 1 : 0);
}

static int
sqlite_outband_add_test(struct outband_store *_store, const char *user,
			const char *device, int64_t *id_r, const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	sqlite3_stmt *stmt;
	int ret = -1;

	if (sqlite_outband_begin(store, error_r) < 0)
		return -1;
	stmt = sqlite_outband_bind(store, STMT_ADD_TEST, "tti", user, device,
				   (int64_t)ioloop_time);
	if (sqlite_outband_run(store, stmt, error_r) == 0) {
		*id_r = sqlite3_last_insert_rowid(store->db);
		ret = sqlite3_changes(store->db) == 1 ? 1 : 0;
	}
	if (ret > 0) {
		stmt = sqlite_outband_bind(store, STMT_TRACE_ADD, "iitt", *id_r,
					   (int64_t)ioloop_time, "queued",
					   "SYNC, as a test");
		if (sqlite_outband_run(store, stmt, error_r) < 0)
			ret = -1;
	}
	return sqlite_outband_end(store, ret, error_r);
}

static int
sqlite_outband_paused_get(struct outband_store *_store, pool_t pool,
			  ARRAY_TYPE(const_string) *channels_r,
			  const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	sqlite3_stmt *stmt = store->stmts[STMT_PAUSED_GET];
	const char *channel;
	int ret;

	p_array_init(channels_r, pool, 4);
	while ((ret = sqlite_outband_step(store, stmt, error_r)) > 0) {
		channel = column_text(stmt, 0, pool);
		array_push_back(channels_r, &channel);
	}
	return ret;
}

static int
sqlite_outband_paused_set(struct outband_store *_store, const char *channel,
			  bool paused, const char **error_r)
{
	struct sqlite_outband_store *store = SQLITE_STORE(_store);
	sqlite3_stmt *stmt;

	stmt = sqlite_outband_bind(store, paused ? STMT_PAUSED_ADD :
				   STMT_PAUSED_DROP, "t", channel);
	return sqlite_outband_run(store, stmt, error_r) < 0 ? -1 : 1;
}

const struct outband_store_vfuncs outband_store_sqlite = {
	.name = "sqlite",
	.open = sqlite_outband_open,
	.close = sqlite_outband_close,
	.accounted_get = sqlite_outband_accounted_get,
	.folder_next = sqlite_outband_folder_next,
	.commit = sqlite_outband_commit,
	.gone = sqlite_outband_gone,
	.device_next = sqlite_outband_device_next,
	.head = sqlite_outband_head,
	.number = sqlite_outband_number,
	.retry = sqlite_outband_retry,
	.done = sqlite_outband_done,
	.status = sqlite_outband_status,
	.list = sqlite_outband_list,
	.retry_now = sqlite_outband_retry_now,
	.drop = sqlite_outband_drop,
	.trace = sqlite_outband_trace,
	.add_test = sqlite_outband_add_test,
	.paused_get = sqlite_outband_paused_get,
	.paused_set = sqlite_outband_paused_set,
};
