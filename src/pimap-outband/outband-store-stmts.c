/* SPDX-License-Identifier: LGPL-2.1-only */
/* The tables, and all that is asked of them. A new table or column is a new element of
   outband_store_schemas[], a new statement one of outband_store_stmts[]. */

#include "lib.h"
#include "pimap-look.h"
#include "outband-store-private.h"

/* Its rows are the versions that it has come through. */
const char *const outband_store_schema_version =
	"CREATE TABLE IF NOT EXISTS outband_version"
	" (version BIGINT NOT NULL PRIMARY KEY)";

/* Each brings a database one version further. */
const char *const outband_store_schemas[] = {
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
const unsigned int outband_store_schemas_count =
	N_ELEMENTS(outband_store_schemas);

#define STR2(x) #x
#define STR(x) STR2(x)

/* What a row has, in the order of queue_row_get() */
#define QUEUE_COLUMNS \
	"q.id, q.guid, q.folder, q.event, q.uid, q.time, coalesce(q.seq, 0)," \
	" q.payload, q.tries, q.next_try, q.created, d.channel, d.address," \
	" d.format, q.last_error, q.username, q.device, q.fields," \
	" q.generation, d.generation, d.ended, q.held, q.uid_validity," \
	" q.start_modseq, q.end_modseq"
/* what was sent lately, in the order of queue_row_get_windows() */
#define WINDOW_COLUMNS \
	"d.join_start, d.join_count, d.hour_start, d.hour_count," \
	" coalesce(u.start, 0), coalesce(u.total, 0)," \
	" coalesce(c.start, 0), coalesce(c.total, 0)"
#define QUEUE_URGENT "event IN ('LOCK_DOWN', 'NEW_ENC_KEY')"
#define QUEUE_JOINABLE \
	" WHERE username = $1 AND device = $2 AND seq IS NULL AND held = 0" \
	" AND NOT "QUEUE_URGENT
#define QUEUE_SELECTED \
	" WHERE ($1 = 0 OR id = $1) AND ($2 = '' OR username = $2)" \
	" AND ($3 = '' OR device = $3)"

const struct outband_sql_stmt outband_store_stmts[STMT_COUNT] = {
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
		/* the list's events are of any folder */
		"SELECT count(*), count(DISTINCT CASE guid"
		"  WHEN '"PIMAP_LOOK_LIST_GUID"' THEN guid || folder"
		"  ELSE guid END), min(id), max(created),"
		" count(CASE event WHEN 'STATE_COMPARISON_SYNC' THEN 1 END),"
		" count(CASE event WHEN 'FULL_SYNC' THEN 1 END),"
		" coalesce(max(CASE WHEN generation <> $3 THEN guid END), ''),"
		" count(CASE WHEN generation <> $3 THEN 1 END),"
		" coalesce(max(CASE guid WHEN '"PIMAP_LOOK_LIST_GUID"'"
		"  THEN guid END), '')"
		" FROM queue"QUEUE_JOINABLE, "tti" },
	[STMT_QUEUE_JOIN] = {
		"UPDATE queue SET event = $2,"
		" guid = CASE $3 WHEN 1 THEN guid ELSE $6 END,"
		" folder = CASE $3 WHEN 1 THEN folder ELSE 'INBOX' END,"
		" uid = 0, time = $4, fields = '', created = $5,"
		" end_modseq = 0"
		" WHERE id = $1 AND seq IS NULL RETURNING id", "itiiit" },
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
