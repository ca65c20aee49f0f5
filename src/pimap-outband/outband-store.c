/* SPDX-License-Identifier: LGPL-2.1-only */
/* All that is asked of the database. There is one writer, the service that holds the
   spool lock; the conditions in the statements hold without it too: whatever changes
   the rows of a user is a transaction that has that user to itself
   (outband_sql_vfuncs.begin), and looks again at what it is to change.

   A new table or column is a new element of outband_store_schemas[], a new statement
   one of outband_store_stmts[]. What changes the queue goes through queue_add() or
   queue_change(), which write down the steps of notifications. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "str-sanitize.h"
#include "ioloop.h"
#include "outband-sql.h"
#include "outband-store.h"

/* of a text that is kept for the administrator, in characters */
#define OUTBAND_STORE_TEXT_MAX 500

enum outband_store_stmt {
	STMT_VERSION_GET,
	STMT_VERSION_ADD,
	STMT_ACCOUNTED_GET,
	STMT_ACCOUNTED_ADD,
	STMT_ACCOUNTED_DROP,
	STMT_FOLDER_NEXT,
	STMT_FOLDER_DROP,
	STMT_USER_DROP,
	STMT_USER_ADD,
	STMT_GENERATION_GET,
	STMT_DEVICE_SET,
	STMT_DEVICE_SET_GENERATION,
	STMT_RULES_GET,
	STMT_RULES_DROP,
	STMT_RULES_ADD,
	STMT_QUEUE_ANEW,
	STMT_DEVICE_ENDED,
	STMT_DEVICE_BEGINS,
	STMT_DEVICE_ENDED_GET,
	STMT_DEVICE_NEXT,
	STMT_DEVICE_OVERDUE,
	STMT_SEQ_NEXT,
	STMT_QUEUE_ADD,
	STMT_QUEUE_DROP_DEVICE,
	STMT_QUEUE_DROP_FOLDER,
	STMT_QUEUE_DROP_USER,
	STMT_QUEUE_HEAD,
	STMT_QUEUE_URGENT,
	STMT_READABLE,
	STMT_HELD_NEXT,
	STMT_QUEUE_RELEASE,
	STMT_QUEUE_READ,
	STMT_QUEUE_READ_ANY,
	STMT_QUEUED,
	STMT_JOINABLE,
	STMT_QUEUE_JOIN,
	STMT_QUEUE_JOINED_DROP,
	STMT_WINDOW_SET,
	STMT_QUEUE_PASS,
	STMT_QUEUE_FAIL,
	STMT_QUEUE_SYNC,
	STMT_QUEUE_ADD_SYNC,
	STMT_QUEUE_NUMBER,
	STMT_QUEUE_RETRY,
	STMT_QUEUE_DONE,
	STMT_STATUS,
	STMT_LIST,
	STMT_SELECTED,
	STMT_SELECTED_RETRY,
	STMT_SELECTED_DROP,
	STMT_TRACE_ADD,
	STMT_TRACE_NUMBER,
	STMT_TRACES_DROP,
	STMT_STEPS_DROP,
	STMT_STEP_ADD,
	STMT_STEP_DROP,
	STMT_TRACE,
	STMT_ADD_EVENT,
	STMT_PAUSED_GET,
	STMT_PAUSED_ADD,
	STMT_PAUSED_DROP,
	STMT_DEATHS_GET,
	STMT_DEATHS_ADD,
	STMT_DEATHS_PRUNE,
	STMT_DEATHS_CLEAR,
	STMT_DEATHS_DROP,

	STMT_COUNT
};

/* Its rows are the versions that it has come through. */
static const char *const outband_store_schema_version =
	"CREATE TABLE IF NOT EXISTS outband_version"
	" (version BIGINT NOT NULL PRIMARY KEY)";

/* Each brings a database one version further. */
static const char *const outband_store_schemas[] = {
	/* next_seq outlives all that is queued */
	"CREATE TABLE devices ("
	" username $text NOT NULL, device $text NOT NULL,"
	" generation BIGINT NOT NULL, channel $text NOT NULL,"
	" address $text NOT NULL, format $text NOT NULL,"
	" next_seq BIGINT NOT NULL DEFAULT 1,"
	" PRIMARY KEY (username, device)) $keyed;"
	/* a version is never used again, not even when its row is dropped and
	   another is made: that would let in a look with the old state */
	"CREATE TABLE accounted ("
	" version $id,"
	" username $text NOT NULL, guid $text NOT NULL, device $text NOT NULL,"
	" folder $text NOT NULL, state $text NOT NULL,"
	" UNIQUE (username, guid, device));"
	"CREATE TABLE queue ("
	" id $id,"
	" username $text NOT NULL, device $text NOT NULL, guid $text NOT NULL,"
	" folder $text NOT NULL, event $text NOT NULL, uid BIGINT NOT NULL,"
	" time BIGINT NOT NULL, fields $text NOT NULL,"
	" seq BIGINT, payload $text,"
	" tries BIGINT NOT NULL DEFAULT 0,"
	" next_try BIGINT NOT NULL DEFAULT 0, created BIGINT NOT NULL,"
	" last_error $text NOT NULL DEFAULT '',"
	" CHECK ((seq IS NULL) = (payload IS NULL)));"
	"CREATE INDEX queue_device ON queue (username, device, id);"
	/* one number, one notification */
	"CREATE UNIQUE INDEX queue_seq ON queue (username, device, seq)"
	" WHERE seq IS NOT NULL;"
	"CREATE TABLE paused (channel $text NOT NULL PRIMARY KEY) $keyed;"
	/* Of each notification, also when it is finished, and its steps */
	"CREATE TABLE traces ("
	" id BIGINT NOT NULL PRIMARY KEY, username $text NOT NULL,"
	" device $text NOT NULL, seq BIGINT, created BIGINT NOT NULL);"
	"CREATE INDEX traces_device ON traces (username, device, id);"
	"CREATE TABLE steps ("
	" id BIGINT NOT NULL, n BIGINT NOT NULL, time BIGINT NOT NULL,"
	" step $text NOT NULL, text $text NOT NULL,"
	" PRIMARY KEY (id, n)) $keyed;",

	"ALTER TABLE queue ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;",

	/* What was sent lately, of the device, and by name of others */
	"ALTER TABLE devices ADD COLUMN join_start BIGINT NOT NULL DEFAULT 0;"
	"ALTER TABLE devices ADD COLUMN join_count BIGINT NOT NULL DEFAULT 0;"
	"ALTER TABLE devices ADD COLUMN hour_start BIGINT NOT NULL DEFAULT 0;"
	"ALTER TABLE devices ADD COLUMN hour_count BIGINT NOT NULL DEFAULT 0;"
	"CREATE TABLE windows ("
	" name $text NOT NULL PRIMARY KEY, start BIGINT NOT NULL,"
	" total BIGINT NOT NULL) $keyed;"
	"CREATE INDEX queue_urgent ON queue (username, device, id)"
	" WHERE event IN ('LOCK_DOWN', 'NEW_ENC_KEY');",

	/* of workers; uid 0: it isn't known of which message */
	"CREATE TABLE deaths ("
	" username $text NOT NULL, guid $text NOT NULL, uid BIGINT NOT NULL,"
	" times BIGINT NOT NULL, PRIMARY KEY (username, guid, uid)) $keyed;",

	/* why the address isn't tried any more */
	"ALTER TABLE devices ADD COLUMN ended $text NOT NULL DEFAULT '';"
	"ALTER TABLE devices ADD COLUMN ended_time BIGINT NOT NULL DEFAULT 0;",

	/* by which what is queued was judged, beside the users' profiles: one row */
	"CREATE TABLE rules (rules $text NOT NULL PRIMARY KEY) $keyed;",
	/* what waits for a session to read it: until when; end_modseq 0: it isn't
	   known what to wait for */
	"ALTER TABLE queue ADD COLUMN held BIGINT NOT NULL DEFAULT 0;"
	"ALTER TABLE queue ADD COLUMN uid_validity BIGINT NOT NULL DEFAULT 0;"
	"ALTER TABLE queue ADD COLUMN start_modseq BIGINT NOT NULL DEFAULT 0;"
	"ALTER TABLE queue ADD COLUMN end_modseq BIGINT NOT NULL DEFAULT 0;"
	"CREATE INDEX queue_held ON queue (username, device) WHERE held > 0;",
};

#define STR2(x) #x
#define STR(x) STR2(x)

/* What a row has, in the order of row_get() */
#define QUEUE_COLUMNS \
	"q.id, q.guid, q.folder, q.event, q.uid, q.time, coalesce(q.seq, 0)," \
	" q.payload, q.tries, q.next_try, q.created, d.channel, d.address," \
	" d.format, q.last_error, q.username, q.device, q.fields," \
	" q.generation, d.generation, d.ended, q.held, q.uid_validity," \
	" q.start_modseq, q.end_modseq"
/* what was sent lately, in the order of row_get_windows() */
#define WINDOW_COLUMNS \
	"d.join_start, d.join_count, d.hour_start, d.hour_count," \
	" coalesce(u.start, 0), coalesce(u.total, 0)," \
	" coalesce(c.start, 0), coalesce(c.total, 0)"
#define WINDOW_COLUMNS_FIRST 25
#define WINDOW_USER "user "
#define WINDOW_CHANNEL "channel "
#define QUEUE_URGENT "event IN ('LOCK_DOWN', 'NEW_ENC_KEY')"
#define QUEUE_JOINABLE \
	" WHERE username = $1 AND device = $2 AND seq IS NULL AND held = 0" \
	" AND NOT "QUEUE_URGENT
#define QUEUE_SELECTED \
	" WHERE ($1 = 0 OR id = $1) AND ($2 = '' OR username = $2)" \
	" AND ($3 = '' OR device = $3)"

static const struct outband_sql_stmt outband_store_stmts[STMT_COUNT] = {
	[STMT_VERSION_GET] = {
		"SELECT coalesce(max(version), 0) FROM outband_version", "" },
	[STMT_VERSION_ADD] = {
		"INSERT INTO outband_version VALUES ($1)", "i" },
	[STMT_ACCOUNTED_GET] = {
		"SELECT a.device, a.state, a.version, d.generation, a.folder"
		" FROM accounted a JOIN devices d USING (username, device)"
		" WHERE a.username = $1 AND a.guid = $2 ORDER BY a.device",
		"tt" },
	[STMT_ACCOUNTED_ADD] = {
		"INSERT INTO accounted (username, guid, device, folder, state)"
		" VALUES ($1, $2, $3, $4, $5)", "ttttt" },
	[STMT_ACCOUNTED_DROP] = {
		"DELETE FROM accounted WHERE version = $1", "i" },
	[STMT_FOLDER_NEXT] = {
		"SELECT username, guid FROM accounted"
		" WHERE (username, guid) > ($1, $2)"
		" ORDER BY username, guid LIMIT 1", "tt" },
	[STMT_FOLDER_DROP] = {
		"DELETE FROM accounted WHERE username = $1 AND guid = $2",
		"tt" },
	[STMT_USER_DROP] = {
		"DELETE FROM accounted WHERE username = $1", "t" },
	/* of no folder and no device, until there is one */
	[STMT_USER_ADD] = {
		"INSERT INTO accounted (username, guid, device, folder, state)"
		" SELECT $1, '', '', '', '' WHERE NOT EXISTS"
		" (SELECT 1 FROM accounted WHERE username = $1)", "t" },
	[STMT_GENERATION_GET] = {
		"SELECT generation, channel, address, format FROM devices"
		" WHERE username = $1 AND device = $2", "tt" },
	[STMT_DEVICE_SET] = {
		"INSERT INTO devices"
		" (username, device, generation, channel, address, format)"
		" VALUES ($1, $2, $3, $4, $5, $6)"
		" ON CONFLICT (username, device) DO UPDATE SET generation = $3,"
		" channel = $4, address = $5, format = $6,"
		" ended = CASE WHEN devices.channel = $4"
		"  AND devices.address = $5 THEN devices.ended ELSE '' END",
		"ttittt" },
	[STMT_DEVICE_SET_GENERATION] = {
		"UPDATE devices SET generation = $3"
		" WHERE username = $1 AND device = $2", "tti" },
	[STMT_RULES_GET] = { "SELECT rules FROM rules", "" },
	[STMT_RULES_DROP] = { "DELETE FROM rules", "" },
	[STMT_RULES_ADD] = { "INSERT INTO rules VALUES ($1)", "t" },
	[STMT_QUEUE_ANEW] = {
		"UPDATE queue SET generation = -generation"
		" WHERE generation > 0 AND NOT "QUEUE_URGENT, "" },
	[STMT_DEVICE_ENDED] = {
		"UPDATE devices SET ended = $5, ended_time = $6"
		" WHERE username = $1 AND device = $2 AND channel = $3"
		" AND address = $4", "ttttti" },
	[STMT_DEVICE_BEGINS] = {
		"UPDATE devices SET ended = ''"
		" WHERE username = $1 AND device = $2 AND ended <> ''"
		" AND NOT EXISTS (SELECT 1 FROM accounted"
		"  WHERE username = $1 AND device = $2)", "tt" },
	[STMT_DEVICE_ENDED_GET] = {
		"SELECT ended, ended_time FROM devices"
		" WHERE username = $1 AND device = $2 AND ended <> ''", "tt" },
	[STMT_DEVICE_NEXT] = {
		"SELECT username, device FROM queue"
		" WHERE (username, device) > ($1, $2)"
		" ORDER BY username, device LIMIT 1", "tt" },
	[STMT_DEVICE_OVERDUE] = {
		"SELECT username, device FROM queue"
		" WHERE (username, device) > ($1, $2)"
		" AND created < $3 AND next_try < $3"
		" ORDER BY username, device LIMIT 1", "tti" },
	[STMT_SEQ_NEXT] = {
		"UPDATE devices SET next_seq = next_seq + 1, join_start = $3,"
		" join_count = $4, hour_start = $5, hour_count = $6"
		" WHERE username = $1 AND device = $2 RETURNING next_seq - 1",
		"ttiiii" },
	[STMT_QUEUE_ADD] = {
		"INSERT INTO queue"
		" (username, device, guid, folder, event, uid, time, fields,"
		" created, generation, held, uid_validity, start_modseq,"
		" end_modseq) VALUES"
		" ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
		" RETURNING id", "tttttiitiiiiii" },
	[STMT_QUEUE_DROP_DEVICE] = {
		"DELETE FROM queue WHERE username = $1 AND device = $2"
		" AND guid = $3 RETURNING id", "ttt" },
	[STMT_QUEUE_DROP_FOLDER] = {
		"DELETE FROM queue WHERE username = $1 AND guid = $2"
		" RETURNING id", "tt" },
	[STMT_QUEUE_DROP_USER] = {
		"DELETE FROM queue WHERE username = $1 RETURNING id", "t" },
	[STMT_QUEUE_HEAD] = {
		"SELECT "QUEUE_COLUMNS", "WINDOW_COLUMNS
		" FROM queue q JOIN devices d USING (username, device)"
		" LEFT JOIN windows u ON u.name = '"WINDOW_USER"' || $1"
		" LEFT JOIN windows c"
		"  ON c.name = '"WINDOW_CHANNEL"' || d.channel"
		" WHERE q.id = coalesce("
		"  (SELECT id FROM queue WHERE username = $1 AND device = $2"
		"   AND seq IS NOT NULL ORDER BY seq LIMIT 1),"
		"  (SELECT id FROM queue WHERE username = $1 AND device = $2"
		"   AND held = 0 ORDER BY id LIMIT 1))", "tt" },
	[STMT_QUEUE_URGENT] = {
		"SELECT "QUEUE_COLUMNS
		" FROM queue q JOIN devices d USING (username, device)"
		" WHERE q.username = $1 AND q.device = $2 AND q."QUEUE_URGENT
		" ORDER BY q.id LIMIT 1", "tt" },
	[STMT_READABLE] = {
		"SELECT "QUEUE_COLUMNS
		" FROM queue q JOIN devices d USING (username, device)"
		" WHERE q.username = $1 AND q.device = $2 AND q.end_modseq > 0"
		" AND (q.held > 0 OR upper(d.channel) = 'UDP')"
		" ORDER BY q.id LIMIT $3", "tti" },
	[STMT_HELD_NEXT] = {
		"SELECT username, device FROM queue"
		" WHERE (username, device) > ($1, $2) AND held > 0"
		" ORDER BY username, device LIMIT 1", "tt" },
	[STMT_QUEUE_RELEASE] = {
		"UPDATE queue SET held = 0 WHERE id = $1 AND held > 0"
		" RETURNING id", "i" },
	[STMT_QUEUE_READ] = {
		"DELETE FROM queue WHERE id = $1 AND seq IS NULL AND held > 0"
		" RETURNING id", "i" },
	[STMT_QUEUE_READ_ANY] = {
		"DELETE FROM queue WHERE id = $1 RETURNING id", "i" },
	[STMT_JOINABLE] = {
		"SELECT count(*), count(DISTINCT guid), min(id), max(created),"
		" count(CASE event WHEN 'STATE_COMPARISON_SYNC' THEN 1 END),"
		" count(CASE event WHEN 'FULL_SYNC' THEN 1 END),"
		" coalesce(max(CASE WHEN generation <> $3 THEN guid END), ''),"
		" count(CASE WHEN generation <> $3 THEN 1 END)"
		" FROM queue"QUEUE_JOINABLE, "tti" },
	[STMT_QUEUE_JOIN] = {
		"UPDATE queue SET event = $2,"
		" guid = CASE $3 WHEN 1 THEN guid ELSE '' END,"
		" folder = CASE $3 WHEN 1 THEN folder ELSE 'INBOX' END,"
		" uid = 0, time = $4, fields = '', created = $5,"
		" end_modseq = 0"
		" WHERE id = $1 AND seq IS NULL RETURNING id", "itiii" },
	[STMT_QUEUE_JOINED_DROP] = {
		"DELETE FROM queue"QUEUE_JOINABLE" AND id <> $3 RETURNING id",
		"tti" },
	[STMT_WINDOW_SET] = {
		"INSERT INTO windows VALUES ($1, $2, $3)"
		" ON CONFLICT (name) DO UPDATE SET start = $2, total = $3",
		"tii" },
	[STMT_QUEUED] = {
		"SELECT "QUEUE_COLUMNS
		" FROM queue q JOIN devices d USING (username, device)"
		" WHERE q.username = $1 AND q.device = $2 AND q.guid = $3"
		" AND q.generation <> $4 AND NOT q."QUEUE_URGENT
		" ORDER BY q.id LIMIT $5", "tttii" },
	[STMT_QUEUE_PASS] = {
		"UPDATE queue SET generation = $3"
		" WHERE id = $1 AND generation = $2", "iii" },
	[STMT_QUEUE_FAIL] = {
		"DELETE FROM queue WHERE id = $1 AND generation = $2"
		" RETURNING id", "ii" },
	[STMT_QUEUE_SYNC] = {
		"UPDATE queue SET event = 'SYNC', uid = 0, time = $3,"
		" fields = '', generation = $2, held = 0, end_modseq = 0"
		" WHERE id = $1 AND seq IS NULL RETURNING id", "iii" },
	[STMT_QUEUE_ADD_SYNC] = {
		"INSERT INTO queue (username, device, guid, folder, event, uid,"
		" time, fields, created, generation)"
		" SELECT username, device, guid, folder, 'SYNC', 0, $3, '', $3,"
		" $2 FROM queue WHERE id = $1 RETURNING id", "iii" },
	[STMT_QUEUE_NUMBER] = {
		"UPDATE queue SET seq = $2, payload = $3"
		" WHERE id = $1 AND seq IS NULL AND generation = $4"
		" RETURNING id", "iiti" },
	[STMT_QUEUE_RETRY] = {
		"UPDATE queue SET tries = $2, next_try = $3, last_error = $4"
		" WHERE id = $1 RETURNING id", "iiit" },
	[STMT_QUEUE_DONE] = {
		"DELETE FROM queue WHERE id = $1 RETURNING id", "i" },
	[STMT_STATUS] = {
		"SELECT count(*), count(seq), coalesce(min(created), 0),"
		" count(CASE WHEN held > 0 THEN 1 END),"
		" (SELECT count(*) FROM (SELECT DISTINCT username, device"
		"  FROM queue) AS x),"
		" (SELECT count(*) FROM (SELECT DISTINCT username, device"
		"  FROM accounted WHERE guid <> '') AS y),"
		" (SELECT count(*) FROM devices WHERE ended <> '') FROM queue",
		"" },
	[STMT_LIST] = {
		"SELECT "QUEUE_COLUMNS
		" FROM queue q JOIN devices d USING (username, device)"
		" WHERE q.id > $1 ORDER BY q.id LIMIT $2", "ii" },
	[STMT_SELECTED] = {
		"SELECT username, device FROM queue"QUEUE_SELECTED
		" ORDER BY username, device", "itt" },
	[STMT_SELECTED_RETRY] = {
		"UPDATE queue SET next_try = 0"QUEUE_SELECTED
		" AND next_try > 0 RETURNING id", "itt" },
	[STMT_SELECTED_DROP] = {
		"DELETE FROM queue"QUEUE_SELECTED" RETURNING id", "itt" },
	[STMT_TRACE_ADD] = {
		"INSERT INTO traces (id, username, device, created)"
		" VALUES ($1, $2, $3, $4)", "itti" },
	[STMT_TRACE_NUMBER] = {
		"UPDATE traces SET seq = $2 WHERE id = $1", "ii" },
	[STMT_TRACES_DROP] = {
		"DELETE FROM traces WHERE id <= $1 OR id < (SELECT id"
		" FROM traces WHERE created >= $2 ORDER BY id LIMIT 1)",
		"ii" },
	[STMT_STEPS_DROP] = {
		"DELETE FROM steps WHERE id < (SELECT min(id) FROM traces)",
		"" },
	[STMT_STEP_ADD] = {
		"INSERT INTO steps (id, n, time, step, text)"
		" SELECT $1, coalesce(max(n), 0) + 1, $2, $3, $4 FROM steps"
		" WHERE id = $1 RETURNING n", "iitt" },
	[STMT_STEP_DROP] = {
		"DELETE FROM steps WHERE id = $1 AND n = $2", "ii" },
	[STMT_TRACE] = {
		"SELECT t.id, s.n, t.username, t.device, coalesce(t.seq, 0),"
		" s.time, s.step, s.text FROM traces t JOIN steps s USING (id)"
		" WHERE t.id IN (SELECT id FROM traces WHERE id = $1 UNION"
		" SELECT id FROM (SELECT id FROM traces WHERE $1 = 0 AND"
		" username = $2 AND device = $3 AND ($4 = 0 OR seq = $4)"
		" ORDER BY id DESC LIMIT "STR(OUTBAND_TRACE_LAST)") AS x)"
		" AND (s.id, s.n) > ($5, $6) ORDER BY s.id, s.n LIMIT $7",
		"ittiiii" },
	[STMT_ADD_EVENT] = {
		"INSERT INTO queue (username, device, guid, folder, event, uid,"
		" time, fields, created, generation)"
		" SELECT username, device, '', 'INBOX', $4, 0, $3, '', $3,"
		" generation"
		" FROM devices WHERE username = $1 AND device = $2 AND EXISTS"
		" (SELECT 1 FROM accounted"
		"  WHERE username = $1 AND device = $2) RETURNING id", "ttit" },
	[STMT_PAUSED_GET] = { "SELECT channel FROM paused", "" },
	[STMT_PAUSED_ADD] = {
		"INSERT INTO paused VALUES ($1) ON CONFLICT DO NOTHING", "t" },
	[STMT_PAUSED_DROP] = { "DELETE FROM paused WHERE channel = $1", "t" },
	[STMT_DEATHS_GET] = {
		"SELECT uid, times FROM deaths"
		" WHERE username = $1 AND guid = $2 ORDER BY uid", "tt" },
	[STMT_DEATHS_ADD] = {
		"INSERT INTO deaths VALUES ($1, $2, $3, 1)"
		" ON CONFLICT (username, guid, uid) DO UPDATE"
		" SET times = deaths.times + 1 RETURNING times", "tti" },
	[STMT_DEATHS_PRUNE] = {
		"DELETE FROM deaths WHERE username = $1 AND guid = $2"
		" AND uid <> 0 AND uid <= (SELECT uid FROM deaths"
		"  WHERE username = $1 AND guid = $2 ORDER BY uid DESC"
		"  LIMIT 1 OFFSET "STR(OUTBAND_DEATHS_MAX_MESSAGES)")", "tt" },
	[STMT_DEATHS_CLEAR] = {
		"DELETE FROM deaths WHERE username = $1 AND guid = $2"
		" AND (uid = 0 OR times < $3)", "tti" },
	[STMT_DEATHS_DROP] = {
		"DELETE FROM deaths"
		" WHERE username = $1 AND ($2 = '' OR guid = $2)", "tt" },
};

struct outband_store {
	struct outband_sql *sql;
	/* what begins is a part of the batch; or can't be any more */
	bool in_batch, batch_broken;
};

/* Runs a statement whose rows nobody wants. Returns 1 if it has some, 0, or -1. */
static int
store_run(struct outband_store *store, enum outband_store_stmt stmt,
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

static int
store_begin(struct outband_store *store, const char *user, const char **error_r)
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

/* Ends the transaction: commits if ret is 1, else takes back what it did. Returns
   ret, or -1 and error_r. */
static int
store_end(struct outband_store *store, int ret, const char **error_r)
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
	if (version > (int64_t)N_ELEMENTS(outband_store_schemas)) {
		*error_r = t_strdup_printf(
			"%s: its version is %"PRId64", this service knows %u only",
			store->sql->name, version,
			(unsigned int)N_ELEMENTS(outband_store_schemas));
		return -1;
	}
	for (; version < (int64_t)N_ELEMENTS(outband_store_schemas); version++) {
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

int outband_store_accounted_get(struct outband_store *store, const char *user,
				const char *guid, pool_t pool,
				ARRAY_TYPE(outband_accounted) *accounted_r,
				const char **error_r)
{
	struct outband_accounted *accounted;
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;

	p_array_init(accounted_r, pool, 8);
	if (outband_sql_run(store->sql, STMT_ACCOUNTED_GET, &rows, error_r,
			    user, guid) < 0)
		return -1;
	array_foreach_elem(&rows, row) {
		accounted = array_append_space(accounted_r);
		accounted->device = p_strdup(pool, row[0]);
		accounted->state = p_strdup(pool, row[1]);
		accounted->version = outband_sql_int(row, 2);
		accounted->generation = outband_sql_int(row, 3);
	}
	return 0;
}

/* The pair after this one */
static int
store_next(struct outband_store *store, enum outband_store_stmt stmt,
	   const char *first, const char *second, pool_t pool,
	   const char **first_r, const char **second_r, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	int ret;

	ret = outband_sql_run(store->sql, stmt, &rows, error_r, first, second);
	if (ret <= 0)
		return ret;
	row = *array_front(&rows);
	*first_r = p_strdup(pool, row[0]);
	*second_r = p_strdup(pool, row[1]);
	return 1;
}

int outband_store_folder_next(struct outband_store *store, const char *user,
			      const char *guid, pool_t pool,
			      const char **user_r, const char **guid_r,
			      const char **error_r)
{
	return store_next(store, STMT_FOLDER_NEXT, user, guid, pool, user_r,
			  guid_r, error_r);
}

int outband_store_device_next(struct outband_store *store, const char *user,
			      const char *device, pool_t pool,
			      const char **user_r, const char **device_r,
			      const char **error_r)
{
	return store_next(store, STMT_DEVICE_NEXT, user, device, pool, user_r,
			  device_r, error_r);
}

int outband_store_overdue_next(struct outband_store *store, const char *user,
			       const char *device, time_t before, pool_t pool,
			       const char **user_r, const char **device_r,
			       const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	int ret;

	ret = outband_sql_run(store->sql, STMT_DEVICE_OVERDUE, &rows, error_r,
			      user, device, (int64_t)before);
	if (ret <= 0)
		return ret;
	row = *array_front(&rows);
	*user_r = p_strdup(pool, row[0]);
	*device_r = p_strdup(pool, row[1]);
	return 1;
}

static int
store_rules_set(struct outband_store *store, const char *rules,
		const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	int ret;

	ret = outband_sql_run(store->sql, STMT_RULES_GET, &rows, error_r);
	if (ret < 0)
		return -1;
	if (ret > 0) {
		row = *array_front(&rows);
		if (strcmp(row[0], rules) == 0)
			return 0;
		if (store_run(store, STMT_QUEUE_ANEW, error_r) < 0)
			return -1;
	}
	if (store_run(store, STMT_RULES_DROP, error_r) < 0 ||
	    store_run(store, STMT_RULES_ADD, error_r, rules) < 0)
		return -1;
	return 1;
}

int outband_store_rules_set(struct outband_store *store, const char *rules,
			    const char **error_r)
{
	if (store_begin(store, "", error_r) < 0)
		return -1;
	return store_end(store, store_rules_set(store, rules, error_r), error_r);
}

static const char *text_sanitize(const char *text)
{
	return str_sanitize_utf8(text, OUTBAND_STORE_TEXT_MAX);
}

/* Writes down a step of a notification. */
static int
step_add(struct outband_store *store, int64_t id, time_t time, const char *step,
	 const char *text, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	int64_t n;

	if (outband_sql_run(store->sql, STMT_STEP_ADD, &rows, error_r, id,
			    (int64_t)time, step, text_sanitize(text)) < 0)
		return -1;
	n = outband_sql_int(*array_front(&rows), 0);
	if (n <= OUTBAND_TRACE_MAX_STEPS)
		return 0;
	/* the first ones and the last ones are kept */
	return store_run(store, STMT_STEP_DROP, error_r, id,
			 n - OUTBAND_TRACE_MAX_STEPS / 2);
}

/* Runs a statement that adds a row to the device's queue and returns its id, and
   writes that down. Returns 1, 0 if it adds none, or -1 and error_r. */
static int
queue_add(struct outband_store *store, const char *user, const char *device,
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

/* Runs a statement that changes rows of the queue and returns their ids, and writes
   it down as a step of each. Returns 1, 0 if it changes none, or -1 and error_r. */
static int
queue_change(struct outband_store *store, const char *step, const char *text,
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

#define DROPPED_DEVICE \
	"done", "dropped: its folder doesn't notify the device any more"
#define DROPPED_ADMIN "done", "dropped: by the administrator"
#define DROPPED_FILTER "done", "dropped: the filter is another now"
#define DROPPED_SYNC \
	"done", "dropped: it can't be judged anew, a SYNC is sent in its place"

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
store_commit_verify(struct outband_store *store, const char *user,
		    const char *guid,
		    const ARRAY_TYPE(outband_accounted) *accounted,
		    ARRAY_TYPE(accounted_now) *now_r, const char **error_r)
{
	const struct outband_accounted *old;
	struct accounted_now *now;
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	bool same = TRUE;

	t_array_init(now_r, 8);
	if (outband_sql_run(store->sql, STMT_ACCOUNTED_GET, &rows, error_r,
			    user, guid) < 0)
		return -1;
	array_foreach_elem(&rows, row) {
		now = array_append_space(now_r);
		now->device = row[0];
		now->state = row[1];
		now->version = outband_sql_int(row, 2);
		now->folder = row[4];
		old = accounted_find(accounted, now->device);
		if (old == NULL || old->version != now->version)
			same = FALSE;
	}
	return same && array_count(now_r) == array_count(accounted) ? 1 : 0;
}

/* Returns 1 when the registry has the device as the look has found it, 0 if the
   look was made with a profile older than that, or -1 and error_r. */
static int
store_commit_device(struct outband_store *store, const char *user,
		    const struct outband_accounted *old,
		    const struct outband_found *found, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	int64_t generation = 0;
	int ret;

	ret = outband_sql_run(store->sql, STMT_GENERATION_GET, &rows, error_r,
			      user, found->device);
	if (ret < 0)
		return -1;
	if (ret > 0) {
		row = *array_front(&rows);
		generation = outband_sql_int(row, 0);
		if (generation == found->generation &&
		    strcmp(row[1], found->channel) == 0 &&
		    strcmp(row[2], found->address) == 0 &&
		    strcmp(row[3], found->format) == 0)
			return 1;
	}
	/* A profile that went back (a restore) is below what the registry had
	   when the look began. If another look has raised that meanwhile, this
	   one has read the profile too early. */
	if (ret > 0 && found->generation < generation && old != NULL &&
	    old->generation < generation)
		return 0;
	return store_run(store, STMT_DEVICE_SET, error_r, user, found->device,
			 found->generation, found->channel, found->address,
			 found->format) < 0 ? -1 : 1;
}

static int
store_commit_found(struct outband_store *store, const char *user,
		   const char *guid, const char *folder,
		   const struct outband_origin *origin,
		   const struct accounted_now *now,
		   const struct outband_found *found, const char **error_r)
{
	const struct outband_changes *changes = &found->changes;
	const struct outband_event *event;
	const char *text, *name;
	int64_t id, held;

	array_foreach(&found->events, event) {
		/* the others may be about anything */
		const bool readable = event->uid != 0 &&
			changes->end_modseq > 0;

		held = readable ? (int64_t)found->held_until : 0;
		name = event->folder != NULL ? event->folder : folder;
		text = t_strdup_printf("%s%s in %s, by a look at %s (%s)",
			event->name, event->uid == 0 ? "" :
			t_strdup_printf(" %u", event->uid), name, guid,
			origin->cause);
		if (queue_add(store, user, found->device, STMT_QUEUE_ADD, &id,
			      error_r, user, found->device, guid, name,
			      event->name, (int64_t)event->uid,
			      (int64_t)event->time,
			      event->fields == NULL ? "" : event->fields,
			      (int64_t)ioloop_time, found->generation, held,
			      (int64_t)changes->uid_validity,
			      (int64_t)changes->start_modseq,
			      readable ? (int64_t)changes->end_modseq :
			      (int64_t)0) < 0 ||
		    step_add(store, id, origin->begun, "found", text,
			     error_r) < 0 ||
		    step_add(store, id, ioloop_time, "queued", "",
			     error_r) < 0 ||
		    (held != 0 &&
		     step_add(store, id, ioloop_time, "held",
			      "the device is in IDLE there", error_r) < 0))
			return -1;
	}
	if (now != NULL) {
		if (strcmp(now->state, found->state) == 0 &&
		    strcmp(now->folder, folder) == 0) {
			/* most looks find nothing, and write nothing */
			return 0;
		}
		if (store_run(store, STMT_ACCOUNTED_DROP, error_r,
			      now->version) < 0)
			return -1;
	} else if (store_run(store, STMT_FOLDER_DROP, error_r, user, "") < 0) {
		return -1;
	}
	return store_run(store, STMT_ACCOUNTED_ADD, error_r, user, guid,
			 found->device, folder, found->state);
}

static int
store_commit_transaction(struct outband_store *store, const char *user,
			 const char *guid, const char *folder,
			 const struct outband_origin *origin,
			 const ARRAY_TYPE(outband_accounted) *accounted,
			 const ARRAY_TYPE(outband_found) *found,
			 const char **error_r)
{
	ARRAY_TYPE(accounted_now) all_now;
	struct accounted_now *now, *n;
	const struct outband_found *f;
	int ret;

	ret = store_commit_verify(store, user, guid, accounted, &all_now,
				  error_r);
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
		ret = store_commit_device(store, user,
			accounted_find(accounted, f->device), f, error_r);
		if (ret <= 0)
			return ret;
		if (store_commit_found(store, user, guid, folder, origin, now,
				       f, error_r) < 0)
			return -1;
	}
	array_foreach_modifiable(&all_now, now) {
		if (now->found)
			continue;
		if (store_run(store, STMT_ACCOUNTED_DROP, error_r,
			      now->version) < 0 ||
		    queue_change(store, DROPPED_DEVICE, STMT_QUEUE_DROP_DEVICE,
				 error_r, user, now->device, guid) < 0 ||
		    store_run(store, STMT_DEVICE_BEGINS, error_r, user,
			      now->device) < 0)
			return -1;
	}
	return 1;
}

int outband_store_commit(struct outband_store *store, const char *user,
			 const char *guid, const char *folder,
			 const struct outband_origin *origin,
			 const ARRAY_TYPE(outband_accounted) *accounted,
			 const ARRAY_TYPE(outband_found) *found,
			 const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	ret = store_commit_transaction(store, user, guid, folder, origin,
				       accounted, found, error_r);
	return store_end(store, ret, error_r);
}

int outband_store_add_user(struct outband_store *store, const char *user,
			   const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	ret = store_run(store, STMT_USER_ADD, error_r, user);
	return store_end(store, ret < 0 ? -1 : 1, error_r) < 0 ? -1 : 0;
}

int outband_store_drop_user(struct outband_store *store, const char *user,
			    const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	ret = store_run(store, STMT_FOLDER_DROP, error_r, user, "");
	return store_end(store, ret < 0 ? -1 : 1, error_r) < 0 ? -1 : 0;
}

int outband_store_gone(struct outband_store *store, const char *user,
		       const char *guid, const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	if (guid[0] == '\0') {
		ret = store_run(store, STMT_USER_DROP, error_r, user);
		if (ret == 0) {
			ret = queue_change(store, DROPPED_DEVICE,
					   STMT_QUEUE_DROP_USER, error_r, user);
		}
	} else {
		ret = store_run(store, STMT_FOLDER_DROP, error_r, user, guid);
		if (ret == 0) {
			ret = queue_change(store, DROPPED_DEVICE,
					   STMT_QUEUE_DROP_FOLDER, error_r,
					   user, guid);
		}
	}
	if (ret >= 0) {
		ret = store_run(store, STMT_DEATHS_DROP, error_r, user,
				guid);
	}
	return store_end(store, ret < 0 ? -1 : 1, error_r);
}

/* A row of QUEUE_COLUMNS */
static void
row_get(outband_sql_row_t row, pool_t pool, struct outband_row *row_r)
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
row_get_windows(outband_sql_row_t row, struct outband_row *row_r)
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
		row_get(*array_front(&rows), pool, row_r);
		row_get_windows(*array_front(&rows), row_r);
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
		row_get(row, pool, array_append_space(rows_r));
	return 0;
}

int outband_store_held_next(struct outband_store *store, const char *user,
			    const char *device, pool_t pool,
			    const char **user_r, const char **device_r,
			    const char **error_r)
{
	return store_next(store, STMT_HELD_NEXT, user, device, pool, user_r,
			  device_r, error_r);
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
		row_get(*array_front(&rows), pool, row_r);
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
		row_get(row, pool, array_append_space(rows_r));
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
			(int64_t)ioloop_time, outband_sql_int(row, 3));
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
	const char *text = text_sanitize(row->last_error);
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
			  text_sanitize(reason), (int64_t)ioloop_time);
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
		row_get(row, pool, array_append_space(rows_r));
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

/* Deaths of workers */

int outband_store_deaths_get(struct outband_store *store, const char *user,
			     const char *guid, pool_t pool,
			     struct outband_deaths *deaths_r,
			     const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	string_t *skip = t_str_new(64);

	i_zero(deaths_r);
	if (outband_sql_run(store->sql, STMT_DEATHS_GET, &rows, error_r, user,
			    guid) < 0)
		return -1;
	array_foreach_elem(&rows, row) {
		if (outband_sql_int(row, 0) == 0 ||
		    outband_sql_int(row, 1) < OUTBAND_DEATHS_MAX) {
			deaths_r->suspected = TRUE;
			continue;
		}
		if (str_len(skip) > 0)
			str_append_c(skip, ',');
		str_append(skip, row[0]);
	}
	deaths_r->skip = p_strdup(pool, str_c(skip));
	return 0;
}

static int
store_deaths_add(struct outband_store *store, const char *user,
		 const char *guid, uint32_t uid, unsigned int *count_r,
		 const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;

	if (outband_sql_run(store->sql, STMT_DEATHS_ADD, &rows, error_r, user,
			    guid, (int64_t)uid) < 0)
		return -1;
	*count_r = outband_sql_int(*array_front(&rows), 0);
	return store_run(store, STMT_DEATHS_PRUNE, error_r, user, guid) < 0 ?
		-1 : 1;
}

int outband_store_deaths_add(struct outband_store *store, const char *user,
			     const char *guid, uint32_t uid,
			     unsigned int *count_r, const char **error_r)
{
	if (store_begin(store, user, error_r) < 0)
		return -1;
	return store_end(store, store_deaths_add(store, user, guid, uid,
						 count_r, error_r), error_r);
}

int outband_store_deaths_clear(struct outband_store *store, const char *user,
			       const char *guid, bool all,
			       const char **error_r)
{
	int ret;

	if (store_begin(store, user, error_r) < 0)
		return -1;
	if (all)
		ret = store_run(store, STMT_DEATHS_DROP, error_r, user, guid);
	else {
		ret = store_run(store, STMT_DEATHS_CLEAR, error_r, user, guid,
				(int64_t)OUTBAND_DEATHS_MAX);
	}
	return store_end(store, ret < 0 ? -1 : 1, error_r);
}
