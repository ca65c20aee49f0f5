/* SPDX-License-Identifier: LGPL-2.1-only */
/* The tables of keys. They are in the store's database, by a connection of their
   own: its statements are one table, and these another. */

#include "lib.h"
#include "array.h"
#include "base64.h"
#include "buffer.h"
#include "str.h"
#include "safe-memset.h"
#include "outband-sql.h"
#include "outband-store-keys.h"

enum {
	STMT_GET,
	STMT_LIST,
	STMT_LIST_DEVICE,
	STMT_LIST_LOCALPART,
	STMT_COUNT_USER,
	STMT_ADD,
	STMT_SET,
	STMT_HELLO,
	STMT_HELLO_OLD,
	STMT_ID_GET,
	STMT_ID_DROP,
	STMT_ID_ADD,
	STMT_SEQ_RAISE,

	STMT_COUNT
};

static const char store_keys_schema[] =
	"CREATE TABLE IF NOT EXISTS device_keys ("
	" username $text NOT NULL, device $text NOT NULL,"
	" version BIGINT NOT NULL,"
	" number BIGINT NOT NULL, secret $text NOT NULL,"
	" used BIGINT NOT NULL, old_number BIGINT NOT NULL,"
	" old_secret $text NOT NULL, locked BIGINT NOT NULL,"
	" counter BIGINT NOT NULL, old_counter BIGINT NOT NULL,"
	" udp_address $text NOT NULL, udp_time BIGINT NOT NULL,"
	" PRIMARY KEY (device, username)) $keyed;"
	"CREATE INDEX IF NOT EXISTS device_keys_user"
	" ON device_keys (username);"
	"CREATE TABLE IF NOT EXISTS device_keys_file ("
	" id $text NOT NULL PRIMARY KEY) $keyed;";

#define KEY_COLUMNS \
	"username, device, version, number, secret, used, old_number," \
	" old_secret, locked, counter, old_counter, udp_address, udp_time"
#define KEY_TYPES "ttiitiitiiiti"

static const struct outband_sql_stmt store_keys_stmts[STMT_COUNT] = {
	[STMT_GET] = {
		"SELECT "KEY_COLUMNS" FROM device_keys"
		" WHERE username = $1 AND device = $2", "tt" },
	[STMT_LIST] = {
		"SELECT "KEY_COLUMNS" FROM device_keys"
		" WHERE (device, username) > ($1, $2)"
		" ORDER BY device, username LIMIT $3", "tti" },
	[STMT_LIST_DEVICE] = {
		"SELECT "KEY_COLUMNS" FROM device_keys"
		" WHERE device = $1 AND username > $2"
		" ORDER BY username LIMIT $3", "tti" },
	/* A follows @ */
	[STMT_LIST_LOCALPART] = {
		"SELECT "KEY_COLUMNS" FROM device_keys"
		" WHERE device = $1 AND username > $2 AND"
		" username > $3 || '@' AND username < $3 || 'A'"
		" ORDER BY username LIMIT $4", "ttti" },
	[STMT_COUNT_USER] = {
		"SELECT count(*) FROM device_keys"
		" WHERE username = $1 AND number > 0", "t" },
	[STMT_ADD] = {
		"INSERT INTO device_keys ("KEY_COLUMNS") VALUES"
		" ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
		" ON CONFLICT DO NOTHING RETURNING version", KEY_TYPES },
	[STMT_SET] = {
		"UPDATE device_keys SET version = $3, number = $4, secret = $5,"
		" used = $6, old_number = $7, old_secret = $8, locked = $9,"
		" counter = $10, old_counter = $11, udp_address = $12,"
		" udp_time = $13"
		" WHERE username = $1 AND device = $2 AND version = $14"
		" RETURNING version", KEY_TYPES"i" },
	[STMT_HELLO] = {
		"UPDATE device_keys SET counter = $4,"
		" udp_address = CASE WHEN $5 = '' THEN udp_address ELSE $5 END,"
		" udp_time = CASE WHEN $5 = '' THEN udp_time ELSE $6 END"
		" WHERE username = $1 AND device = $2 AND number = $3 AND"
		" counter < $4 RETURNING version", "ttiiti" },
	[STMT_HELLO_OLD] = {
		"UPDATE device_keys SET old_counter = $4,"
		" udp_address = CASE WHEN $5 = '' THEN udp_address ELSE $5 END,"
		" udp_time = CASE WHEN $5 = '' THEN udp_time ELSE $6 END"
		" WHERE username = $1 AND device = $2 AND old_number = $3 AND"
		" old_counter < $4 RETURNING version", "ttiiti" },
	[STMT_ID_GET] = { "SELECT id FROM device_keys_file", "" },
	[STMT_ID_DROP] = { "DELETE FROM device_keys_file", "" },
	[STMT_ID_ADD] = { "INSERT INTO device_keys_file VALUES ($1)", "t" },
	/* a generation that any profile has is higher */
	[STMT_SEQ_RAISE] = {
		"INSERT INTO devices (username, device, generation, channel,"
		" address, format, next_seq)"
		" VALUES ($1, $2, 0, 'NONE', '', 'EMN', $3)"
		" ON CONFLICT (username, device) DO UPDATE SET next_seq ="
		" CASE WHEN devices.next_seq < $3 THEN $3"
		" ELSE devices.next_seq END", "tti" },
};

struct outband_store_keys {
	struct outband_sql *sql;
};

int outband_store_keys_open(struct event *event_parent, const char *address,
			    struct outband_store_keys **keys_r,
			    const char **error_r)
{
	struct outband_store_keys *keys;
	struct outband_sql *sql;

	if (outband_sql_open(event_parent, address, store_keys_stmts,
			     STMT_COUNT, &sql, error_r) < 0)
		return -1;
	keys = i_new(struct outband_store_keys, 1);
	keys->sql = sql;
	if (outband_sql_exec_schema(sql, store_keys_schema, error_r) < 0) {
		outband_store_keys_close(&keys);
		return -1;
	}
	*keys_r = keys;
	return 0;
}

void outband_store_keys_close(struct outband_store_keys **_keys)
{
	struct outband_store_keys *keys = *_keys;

	*_keys = NULL;
	outband_sql_close(&keys->sql);
	i_free(keys);
}

/* Ends the transaction as store_end() in outband-store.c. */
static int
store_keys_end(struct outband_store_keys *keys, int ret, const char **error_r)
{
	if (ret > 0 && keys->sql->v->commit(keys->sql, error_r) < 0)
		ret = -1;
	if (ret <= 0)
		keys->sql->v->rollback(keys->sql);
	return ret;
}

static const char *secret_encode(const struct pimap_envelope_key *key)
{
	if (key->number == 0)
		return "";
	return str_c(t_base64_encode(0, SIZE_MAX, key->key, sizeof(key->key)));
}

static bool
secret_decode(int64_t number, const char *text, struct pimap_envelope_key *key_r)
{
	buffer_t *data = t_buffer_create(PIMAP_ENVELOPE_KEY_SIZE);

	i_zero(key_r);
	if (number == 0)
		return TRUE;
	if (number < 0 || number > UINT32_MAX ||
	    base64_scheme_decode(&base64_scheme, 0, text, strlen(text),
				 data) < 0 ||
	    data->used != sizeof(key_r->key))
		return FALSE;
	key_r->number = number;
	memcpy(key_r->key, data->data, data->used);
	safe_memset(buffer_get_modifiable_data(data, NULL), 0, data->used);
	return TRUE;
}

static int
store_keys_row(struct outband_store_keys *keys, outband_sql_row_t row,
	       pool_t pool, struct outband_device_key *key_r,
	       const char **error_r)
{
	i_zero(key_r);
	key_r->user = p_strdup(pool, row[0]);
	key_r->device = p_strdup(pool, row[1]);
	key_r->version = outband_sql_int(row, 2);
	key_r->used = outband_sql_int(row, 5) != 0;
	key_r->locked = outband_sql_int(row, 8) != 0;
	key_r->counter = outband_sql_int(row, 9);
	key_r->old_counter = outband_sql_int(row, 10);
	key_r->udp_address = p_strdup(pool, row[11]);
	key_r->udp_time = outband_sql_int(row, 12);
	if (!secret_decode(outband_sql_int(row, 3), row[4], &key_r->key) ||
	    !secret_decode(outband_sql_int(row, 6), row[7], &key_r->old)) {
		*error_r = t_strdup_printf("%s: the key of %s#%s is damaged",
			keys->sql->name, row[0], row[1]);
		return -1;
	}
	return 1;
}

int outband_store_keys_get(struct outband_store_keys *keys, const char *user,
			   const char *device, pool_t pool,
			   struct outband_device_key *key_r,
			   const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	int ret;

	ret = outband_sql_run(keys->sql, STMT_GET, &rows, error_r, user, device);
	if (ret > 0) {
		return store_keys_row(keys, *array_front(&rows), pool, key_r,
				      error_r);
	}
	i_zero(key_r);
	key_r->user = p_strdup(pool, user);
	key_r->device = p_strdup(pool, device);
	key_r->udp_address = "";
	return ret;
}

int outband_store_keys_list(struct outband_store_keys *keys, const char *device,
			    const char *localpart, const char *after_device,
			    const char *after_user, unsigned int max,
			    pool_t pool, ARRAY_TYPE(outband_device_key) *list_r,
			    const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	outband_sql_row_t row;
	struct outband_device_key *key;
	int ret;

	if (device[0] == '\0') {
		ret = outband_sql_run(keys->sql, STMT_LIST, &rows, error_r,
				      after_device, after_user, (int64_t)max);
	} else if (localpart[0] == '\0') {
		ret = outband_sql_run(keys->sql, STMT_LIST_DEVICE, &rows,
				      error_r, device, after_user,
				      (int64_t)max);
	} else {
		ret = outband_sql_run(keys->sql, STMT_LIST_LOCALPART, &rows,
				      error_r, device, after_user, localpart,
				      (int64_t)max);
	}
	if (ret < 0)
		return -1;
	p_array_init(list_r, pool, 4);
	array_foreach_elem(&rows, row) {
		key = array_append_space(list_r);
		if (store_keys_row(keys, row, pool, key, error_r) < 0)
			return -1;
	}
	return 0;
}

int outband_store_keys_count(struct outband_store_keys *keys, const char *user,
			     const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	int ret;

	ret = outband_sql_run(keys->sql, STMT_COUNT_USER, &rows, error_r, user);
	return ret <= 0 ? ret : (int)outband_sql_int(*array_front(&rows), 0);
}

static int
store_keys_set_transaction(struct outband_store_keys *keys,
			   const struct outband_device_key *key,
			   int64_t old_version, const char **error_r)
{
	const char *secret = secret_encode(&key->key);
	const char *old_secret = secret_encode(&key->old);
	ARRAY_TYPE(outband_sql_rows) rows;

	if (old_version == 0) {
		return outband_sql_run(keys->sql, STMT_ADD, &rows, error_r,
			key->user, key->device, key->version,
			(int64_t)key->key.number, secret, (int64_t)key->used,
			(int64_t)key->old.number, old_secret,
			(int64_t)key->locked, key->counter, key->old_counter,
			key->udp_address, (int64_t)key->udp_time);
	}
	return outband_sql_run(keys->sql, STMT_SET, &rows, error_r,
		key->user, key->device, key->version,
		(int64_t)key->key.number, secret, (int64_t)key->used,
		(int64_t)key->old.number, old_secret,
		(int64_t)key->locked, key->counter, key->old_counter,
		key->udp_address, (int64_t)key->udp_time, old_version);
}

int outband_store_keys_set(struct outband_store_keys *keys,
			   const struct outband_device_key *key,
			   int64_t old_version, const char **error_r)
{
	int ret;

	if (keys->sql->v->begin(keys->sql, key->user, error_r) < 0)
		return -1;
	ret = store_keys_set_transaction(keys, key, old_version, error_r);
	return store_keys_end(keys, ret, error_r);
}

int outband_store_keys_hello(struct outband_store_keys *keys, const char *user,
			     const char *device, uint32_t number,
			     int64_t counter, const char *address, time_t now,
			     const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	int ret;

	if (keys->sql->v->begin(keys->sql, user, error_r) < 0)
		return -1;
	ret = outband_sql_run(keys->sql, STMT_HELLO, &rows, error_r, user,
			      device, (int64_t)number, counter, address,
			      (int64_t)now);
	if (ret == 0) {
		ret = outband_sql_run(keys->sql, STMT_HELLO_OLD, &rows, error_r,
				      user, device, (int64_t)number, counter,
				      address, (int64_t)now);
	}
	return store_keys_end(keys, ret, error_r);
}

int outband_store_keys_get_id(struct outband_store_keys *keys,
			      const char **id_r, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	int ret;

	ret = outband_sql_run(keys->sql, STMT_ID_GET, &rows, error_r);
	if (ret < 0)
		return -1;
	*id_r = ret == 0 ? "" : (*array_front(&rows))[0];
	return 0;
}

int outband_store_keys_set_id(struct outband_store_keys *keys, const char *id,
			      const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	int ret;

	if (keys->sql->v->begin(keys->sql, "", error_r) < 0)
		return -1;
	ret = outband_sql_run(keys->sql, STMT_ID_DROP, &rows, error_r);
	if (ret == 0) {
		ret = outband_sql_run(keys->sql, STMT_ID_ADD, &rows, error_r,
				      id);
	}
	return store_keys_end(keys, ret < 0 ? -1 : 1, error_r) < 0 ? -1 : 0;
}

int outband_store_keys_raise_seq(struct outband_store_keys *keys,
				 const char *user, const char *device,
				 int64_t seq, const char **error_r)
{
	ARRAY_TYPE(outband_sql_rows) rows;
	int ret;

	if (keys->sql->v->begin(keys->sql, user, error_r) < 0)
		return -1;
	ret = outband_sql_run(keys->sql, STMT_SEQ_RAISE, &rows, error_r, user,
			      device, seq);
	return store_keys_end(keys, ret < 0 ? -1 : 1, error_r) < 0 ? -1 : 0;
}
