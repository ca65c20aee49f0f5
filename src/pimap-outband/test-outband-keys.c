/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "istream.h"
#include "str.h"
#include "unlink-directory.h"
#include "write-full.h"
#include "test-common.h"
#include "pimap-locks.h"
#include "outband-keys.h"
#include "outband-sql.h"
#include "outband-store.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR ".test-outband-keys"
#define STATE DIR"/"PIMAP_LOCKS_DIR
#define DB "/outband.sqlite"
#define LOCKS STATE"/"PIMAP_LOCKS_FILE

static struct outband_keys *keys;
static char *db_path;
static unsigned int changes;

static void test_changed(const char *user ATTR_UNUSED,
			 const char *device ATTR_UNUSED, void *context ATTR_UNUSED)
{
	changes++;
}

static void test_dir(void)
{
	char cwd[PATH_MAX];
	const char *error;

	(void)unlink_directory(DIR, UNLINK_DIRECTORY_FLAG_RMDIR, &error);
	test_assert(mkdir(DIR, 0700) == 0 && mkdir(STATE, 0711) == 0);
	test_assert(getcwd(cwd, sizeof(cwd)) != NULL);
	i_free(db_path);
	db_path = i_strconcat(cwd, "/"STATE DB, NULL);
}

static void test_open(void)
{
	struct outband_store *store;
	const char *error;

	/* its tables are there first */
	test_assert(outband_store_open(NULL, db_path, &store,
				       &error) == 0);
	outband_store_close(&store);
	keys = outband_keys_init(NULL, STATE, LOCKS);
	outband_keys_set_callback(keys, test_changed, NULL);
	test_assert(!outband_keys_is_open(keys));
	test_assert(outband_keys_open(keys, db_path, &error) == 0);
	test_assert(outband_keys_is_open(keys));
}

static void test_close(void)
{
	outband_keys_deinit(&keys);
}

static void test_unlink_db(void)
{
	i_unlink_if_exists(STATE DB);
	i_unlink_if_exists(STATE DB"-wal");
	i_unlink_if_exists(STATE DB"-shm");
}

static void test_copy(const char *from, const char *to)
{
	string_t *text = t_str_new(65536);
	const unsigned char *data;
	struct istream *input = i_stream_create_file(from, 65536);
	size_t size;
	int fd;

	while (i_stream_read_more(input, &data, &size) > 0) {
		str_append_data(text, data, size);
		i_stream_skip(input, size);
	}
	i_stream_unref(&input);
	fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	test_assert(fd != -1 &&
		    write_full(fd, str_data(text), str_len(text)) == 0);
	i_close_fd(&fd);
}

static int test_get(const char *user, const char *device,
		    struct outband_device_key *key_r)
{
	const char *error;

	return outband_keys_get(keys, user, device, pool_datastack_create(),
				key_r, &error);
}

static int test_locked(const char *user, const char *device)
{
	struct pimap_locks *locks = pimap_locks_init(DIR);
	const char *error;
	int ret = pimap_locks_check(locks, user, device, &error);

	pimap_locks_deinit(&locks);
	return ret;
}

static int test_hello(const char *user, const char *device, uint32_t number,
		      uint64_t counter, const char *address)
{
	struct outband_device_key key;
	const char *error;

	test_assert(test_get(user, device, &key) >= 0);
	return outband_keys_hello(keys, &key, number, counter, address, &error);
}

static int64_t test_next_seq(const char *user, const char *device)
{
	static const struct outband_sql_stmt stmts[] = {
		{ "SELECT next_seq FROM devices"
		  " WHERE username = $1 AND device = $2", "tt" }
	};
	ARRAY_TYPE(outband_sql_rows) rows;
	struct outband_sql *sql;
	const char *error;
	int64_t seq = 0;

	test_assert(outband_sql_open(NULL, db_path, stmts, 1, &sql,
				     &error) == 0);
	if (outband_sql_run(sql, 0, &rows, &error, user, device) > 0)
		seq = outband_sql_int(*array_front(&rows), 0);
	outband_sql_close(&sql);
	return seq;
}

static void test_remove_dir(void)
{
	const char *error;

	(void)unlink_directory(DIR, UNLINK_DIRECTORY_FLAG_RMDIR, &error);
}

static void test_outband_keys_life(void)
{
	struct outband_device_key key, key2;
	const char *error;
	pool_t pool = pool_datastack_create();

	test_begin("outband_keys: make, use, rekey");
	test_dir();
	test_open();
	test_assert(test_get("joe", "P1", &key) == 0);
	test_assert(outband_device_key_sending(&key) == NULL);
	test_assert(outband_keys_rekey(keys, "joe", "P1", pool, &key,
				       &error) == 0);
	test_assert(outband_keys_make(keys, "joe", "P1", pool, &key,
				      &error) == 0);
	test_assert(key.key.number == 1 && !key.used && key.old.number == 0);
	/* it is made once */
	test_assert(outband_keys_make(keys, "joe", "P1", pool, &key2,
				      &error) == 0);
	test_assert(memcmp(&key.key, &key2.key, sizeof(key.key)) == 0);
	/* and another for each */
	test_assert(outband_keys_make(keys, "joe", "P2", pool, &key2,
				      &error) == 0);
	test_assert(memcmp(key.key.key, key2.key.key,
			   sizeof(key.key.key)) != 0);
	test_assert(outband_device_key_sending(&key)->number == 1);
	test_assert(changes == 0);

	/* the counter rises */
	test_assert(test_hello("joe", "P1", 1, 5, "192.0.2.1:99") == 1);
	test_assert(test_hello("joe", "P1", 1, 5, "192.0.2.2:99") == 0);
	test_assert(test_hello("joe", "P1", 1, 4, "192.0.2.2:99") == 0);
	test_assert(test_hello("joe", "P1", 2, 6, "192.0.2.2:99") == 0);
	test_assert(test_hello("joe", "P1", 1, (uint64_t)INT64_MAX + 1,
			       "192.0.2.2:99") == 0);
	test_assert(test_get("joe", "P1", &key) == 1);
	test_assert(key.used && key.counter == 5);
	test_assert_strcmp(key.udp_address, "192.0.2.1:99");
	test_assert(test_hello("joe", "P1", 1, 7, "") == 1);
	test_assert(test_get("joe", "P1", &key) == 1);
	test_assert_strcmp(key.udp_address, "192.0.2.1:99");

	/* the old key until the first use of the new one */
	test_assert(outband_keys_rekey(keys, "joe", "P1", pool, &key2,
				       &error) == 1);
	test_assert(changes == 1);
	test_assert(key2.key.number == 2 && key2.old.number == 1 &&
		    !key2.used && key2.old_counter == 7 && key2.counter == 0);
	test_assert(outband_device_key_sending(&key2)->number == 1);
	test_assert(memcmp(key2.key.key, key.key.key,
			   sizeof(key.key.key)) != 0);
	test_assert(test_hello("joe", "P1", 1, 7, "") == 0);
	test_assert(test_hello("joe", "P1", 1, 8, "") == 1);
	/* another one, while the device has that one still */
	test_assert(outband_keys_rekey(keys, "joe", "P1", pool, &key2,
				       &error) == 1);
	test_assert(key2.key.number == 3 && key2.old.number == 1 &&
		    key2.old_counter == 8);
	test_assert(test_hello("joe", "P1", 2, 1, "") == 0);
	test_assert(test_hello("joe", "P1", 3, 1, "") == 1);
	test_assert(test_get("joe", "P1", &key) == 1);
	test_assert(key.used && key.old.number == 0 && key.key.number == 3 &&
		    key.counter == 1);
	test_assert(test_hello("joe", "P1", 1, 100, "") == 0);

	/* all of it survives */
	test_close();
	test_open();
	test_assert(test_get("joe", "P1", &key2) == 1);
	test_assert(memcmp(&key.key, &key2.key, sizeof(key.key)) == 0);
	test_assert(key2.used && key2.counter == 1);
	test_assert(test_hello("joe", "P1", 3, 1, "") == 0);
	test_close();
	test_end();
}

static void test_outband_keys_lock(void)
{
	struct outband_device_key key;
	const char *error;

	test_begin("outband_keys: locks");
	test_dir();
	test_open();
	changes = 0;
	test_assert(test_locked("joe", "P1") == 0);
	test_assert(outband_keys_lock(keys, "joe", "P1", FALSE, &error) == 0);
	test_assert(outband_keys_lock(keys, "joe", "P1", TRUE, &error) == 1);
	test_assert(outband_keys_lock(keys, "jane", "P1", TRUE, &error) == 1);
	test_assert(changes == 2);
	test_assert(test_locked("joe", "P1") == 1);
	test_assert(test_locked("jane", "P1") == 1);
	test_assert(test_locked("joe", "P2") == 0);
	test_assert(outband_keys_lock(keys, "joe", "P1", TRUE, &error) == 0);
	test_assert(outband_keys_lock(keys, "jane", "P1", FALSE, &error) == 1);
	test_assert(test_locked("joe", "P1") == 1);
	test_assert(test_locked("jane", "P1") == 0);
	/* a lock outlives the database, and the file of locks */
	test_close();
	test_unlink_db();
	i_unlink(LOCKS);
	test_expect_error_string("are restored");
	test_open();
	test_expect_no_more_errors();
	test_assert(test_locked("joe", "P1") == 1);
	test_assert(test_locked("jane", "P1") == 0);
	test_assert(test_get("joe", "P1", &key) == 1 && key.locked);
	test_assert(outband_keys_lock(keys, "joe", "P1", FALSE, &error) == 1);
	test_assert(test_locked("joe", "P1") == 0);
	test_close();
	test_end();
}

static void test_outband_keys_restore(void)
{
	struct outband_device_key key, key2;
	const char *error;
	pool_t pool = pool_datastack_create();

	test_begin("outband_keys: lost and older databases");
	test_dir();
	test_open();
	test_assert(outband_keys_make(keys, "joe\t\n", "P1", pool, &key,
				      &error) == 0);
	test_assert(test_hello("joe\t\n", "P1", 1, 9, "") == 1);
	test_close();
	test_copy(STATE DB, DIR"/old");
	test_open();
	test_assert(outband_keys_rekey(keys, "joe\t\n", "P1", pool, &key,
				       &error) == 1);
	test_assert(outband_keys_make(keys, "jane", "P2", pool, &key2,
				      &error) == 0);
	test_close();

	/* the older one */
	test_unlink_db();
	test_copy(DIR"/old", STATE DB);
	test_expect_error_string("2 keys and locks are restored");
	test_open();
	test_expect_no_more_errors();
	test_assert(test_get("joe\t\n", "P1", &key2) == 1);
	test_assert(memcmp(&key.key, &key2.key, sizeof(key.key)) == 0 &&
		    memcmp(&key.old, &key2.old, sizeof(key.old)) == 0);
	test_assert(!key2.used && key2.counter == 0);
	test_close();

	/* none */
	test_unlink_db();
	test_expect_error_string("2 keys and locks are restored");
	test_open();
	test_expect_no_more_errors();
	test_assert(test_get("joe\t\n", "P1", &key2) == 1);
	test_assert(memcmp(&key.key, &key2.key, sizeof(key.key)) == 0);
	test_close();

	/* the file is lost: the database has it all */
	i_unlink(STATE"/keys");
	test_open();
	test_close();
	test_unlink_db();
	test_expect_error_string("2 keys and locks are restored");
	test_open();
	test_expect_no_more_errors();
	test_assert(test_get("joe\t\n", "P1", &key2) == 1);
	test_assert(memcmp(&key.key, &key2.key, sizeof(key.key)) == 0);
	test_close();
	test_end();
}

static void test_outband_keys_numbers(void)
{
	const char *error;

	test_begin("outband_keys: numbers");
	test_dir();
	test_open();
	test_assert(outband_keys_reserve(keys, "joe", "P1", 1, &error) == 0);
	test_assert(outband_keys_reserve(keys, "joe", "P2", 2500, &error) == 0);
	test_close();
	/* as long as the database is there, it is what counts */
	test_open();
	test_assert(test_next_seq("joe", "P1") == 0);
	test_assert(outband_keys_reserve(keys, "joe", "P1", 1000, &error) == 0);
	test_close();
	test_copy(STATE DB, DIR"/old");

	test_unlink_db();
	test_expect_error_string("higher numbers");
	test_open();
	test_expect_no_more_errors();
	test_assert(test_next_seq("joe", "P1") > 1000);
	test_assert(test_next_seq("joe", "P2") > 2500);
	/* for others it begins as ever */
	test_assert(test_next_seq("joe", "P3") == 0);
	test_assert(outband_keys_reserve(keys, "joe", "P1",
		test_next_seq("joe", "P1"), &error) == 0);
	test_close();

	/* an older copy */
	test_unlink_db();
	test_copy(DIR"/old", STATE DB);
	test_expect_error_string("higher numbers");
	test_open();
	test_expect_no_more_errors();
	test_assert(test_next_seq("joe", "P1") > 2000);
	test_close();
	test_open();
	test_close();
	test_end();
}

static void test_append(const char *text)
{
	int fd = open(STATE"/keys", O_WRONLY | O_APPEND);

	test_assert(fd != -1 && write_full(fd, text, strlen(text)) == 0);
	i_close_fd(&fd);
}

static void test_outband_keys_damaged(void)
{
	struct outband_device_key key, key2;
	const char *error;
	pool_t pool = pool_datastack_create();

	test_begin("outband_keys: damaged file");
	test_dir();
	test_open();
	test_assert(outband_keys_make(keys, "joe", "P1", pool, &key,
				      &error) == 0);
	test_close();
	/* what a crash leaves */
	test_append("KEY\tjoe\tP1\t99");
	test_open();
	test_assert(test_get("joe", "P1", &key2) == 1);
	test_assert(key2.version == key.version);
	test_close();
	/* what nothing but damage leaves: no lock, no key, no number is believed */
	test_append("KEY\tjoe\tP1\t99\t0\t\t0\t\t0\t0\t00000000\n");
	test_append("BOUND\tjoe\tP1\t99\tdeadbeef\n");
	test_append("\n");
	test_expect_error_string("3 lines are damaged");
	test_open();
	test_expect_no_more_errors();
	test_assert(test_get("joe", "P1", &key2) == 1);
	test_assert(memcmp(&key.key, &key2.key, sizeof(key.key)) == 0);
	test_close();
	test_end();
}

static void test_outband_keys_find(void)
{
	ARRAY_TYPE(outband_device_key) list;
	struct outband_device_key key;
	const char *error;
	pool_t pool = pool_datastack_create();
	static const struct {
		const char *user, *device, *found;
		unsigned int count;
	} tests[] = {
		{ "joe", "P1", "joe", 1 },
		{ "JOE", "P1", "joe", 1 },
		{ "joe", "p1", NULL, 0 },
		{ "joe@foo.com", "P1", NULL, 0 },
		{ "ann@foo.com", "P1", "ann@foo.com", 1 },
		{ "Ann@FOO.com", "P1", "ann@foo.com", 1 },
		{ "ann", "P1", "ann@foo.com", 2 },
		{ "an", "P1", NULL, 0 },
		{ "annA", "P1", "anna@bar.com", 1 },
		{ "", "P1", NULL, 0 },
		{ "", "P7", "joe", 1 },
		{ "", "P8", NULL, 0 },
	};
	unsigned int i;

	test_begin("outband_keys: names");
	test_dir();
	test_open();
	test_assert(outband_keys_make(keys, "joe", "P1", pool, &key, &error) == 0);
	test_assert(outband_keys_make(keys, "joe", "P7", pool, &key, &error) == 0);
	test_assert(outband_keys_make(keys, "ann@foo.com", "P1", pool, &key,
				      &error) == 0);
	test_assert(outband_keys_make(keys, "ann@bar.com", "P1", pool, &key,
				      &error) == 0);
	test_assert(outband_keys_make(keys, "anna@bar.com", "P1", pool, &key,
				      &error) == 0);
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		test_assert_idx(outband_keys_find(keys, tests[i].user,
			tests[i].device, 5, pool, &list, &error) == 0, i);
		test_assert_idx(array_count(&list) == tests[i].count, i);
		if (tests[i].count == 1) {
			key = *array_idx(&list, 0);
			test_assert_strcmp_idx(key.user, tests[i].found, i);
		}
	}
	test_assert(outband_keys_find(keys, "ann", "P1", 1, pool, &list,
				      &error) == 0);
	test_assert(array_count(&list) == 1);
	test_close();
	test_end();
}

static void test_outband_keys_files(void)
{
	struct outband_device_key key;
	struct stat st;
	const char *error;
	pool_t pool = pool_datastack_create();
	unsigned int i;

	test_begin("outband_keys: the files");
	test_dir();
	test_open();
	test_assert(outband_keys_make(keys, "joe", "P1", pool, &key,
				      &error) == 0);
	/* only the service may read the keys, everybody the hashes of locks */
	test_assert(stat(STATE"/keys", &st) == 0 && (st.st_mode & 0777) == 0600);
	test_assert(stat(LOCKS, &st) == 0 && (st.st_mode & 0777) == 0644);
	/* it doesn't grow without end */
	for (i = 0; i < 3000; i++) {
		T_BEGIN {
			test_assert(outband_keys_lock(keys, "joe", "P1",
						      i % 2 == 0, &error) == 1);
		} T_END;
	}
	test_assert(stat(STATE"/keys", &st) == 0 && st.st_size < 200*1024);
	/* what can't be written is told, and written the next time */
	test_assert(mkdir(LOCKS".new", 0700) == 0);
	test_assert(outband_keys_lock(keys, "joe", "P1", TRUE, &error) == -1);
	test_assert(strstr(error, LOCKS) != NULL);
	test_assert(rmdir(LOCKS".new") == 0);
	test_assert(test_locked("joe", "P1") == 0);
	test_assert(outband_keys_lock(keys, "joe", "P1", TRUE, &error) == 0);
	test_assert(test_locked("joe", "P1") == 1);
	test_close();
	test_remove_dir();
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_outband_keys_life,
		test_outband_keys_lock,
		test_outband_keys_restore,
		test_outband_keys_numbers,
		test_outband_keys_damaged,
		test_outband_keys_find,
		test_outband_keys_files,
		NULL
	};
	int ret;

	ioloop_time = 1000;
	ret = test_run(test_functions);
	i_free(db_path);
	return ret;
}
