/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "ioloop.h"
#include "test-common.h"
#include "pimap-look.h"
#include "outband-sql.h"
#include "outband-store.h"

#include <stdio.h>
#include <signal.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define PATH ".test-outband-store.sqlite"
#define GUID "0123456789abcdef0123456789abcdef"
#define SHARED_ROUNDS 100
#define OTHER "fedcba9876543210fedcba9876543210"

static const struct outband_origin origin = { "hint", 990 };

/* or what the program was called with: that database is emptied */
static const char *address = PATH;

/* Does what the store has no function for. */
static void exec(const char *text)
{
	static const struct outband_sql_stmt none = { "SELECT 1", "" };
	struct outband_sql *sql;
	const char *error;

	if (outband_sql_open(NULL, address, &none, 1, &sql, &error) < 0 ||
	    sql->v->exec(sql, text, &error) < 0)
		i_fatal("%s", error);
	outband_sql_close(&sql);
}

static void remove_all(void)
{
	if (!outband_sql_is_file(address)) {
		exec("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
		return;
	}
	i_unlink_if_exists(PATH);
	i_unlink_if_exists(PATH"-wal");
	i_unlink_if_exists(PATH"-shm");
}

static struct outband_store *open_store(void)
{
	struct outband_store *store;
	const char *error;

	if (outband_store_open(NULL, address, &store, &error) < 0)
		i_fatal("%s", error);
	return store;
}

static void reopen(struct outband_store **store)
{
	outband_store_close(store);
	*store = open_store();
}

static ARRAY_TYPE(outband_accounted)
accounted(struct outband_store *store, const char *guid)
{
	ARRAY_TYPE(outband_accounted) result;
	const char *error;

	if (outband_store_accounted_get(store, "joe", guid,
					pool_datastack_create(), &result,
					&error) < 0)
		i_fatal("%s", error);
	return result;
}

static const struct outband_accounted *
first(ARRAY_TYPE(outband_accounted) array)
{
	return array_front(&array);
}

static void
add_found(ARRAY_TYPE(outband_found) *found, const char *device,
	  int64_t generation, const char *state, unsigned int events)
{
	struct outband_found *f;
	unsigned int i;

	if (!array_is_created(found))
		t_array_init(found, 4);
	f = array_append_space(found);
	f->device = device;
	f->generation = generation;
	f->channel = "MAIL";
	f->address = t_strdup_printf("address%d", (int)generation);
	f->format = "EMN";
	f->state = state;
	t_array_init(&f->events, 4);
	for (i = 0; i < events; i++) {
		struct outband_event *event = array_append_space(&f->events);

		event->name = "NEW_MESSAGE";
		event->uid = i + 1;
		event->time = 1000 + i;
	}
}

static int
commit(struct outband_store *store, const char *guid,
       const ARRAY_TYPE(outband_accounted) *before,
       const ARRAY_TYPE(outband_found) *found)
{
	const char *error;
	int ret;

	ret = outband_store_commit(store, "joe", guid, "INBOX", &origin, before,
				   found, &error);
	if (ret < 0)
		i_fatal("%s", error);
	return ret;
}

/* A look that finds this of one device */
static int
look(struct outband_store *store, const char *device, const char *state,
     unsigned int events)
{
	ARRAY_TYPE(outband_accounted) before = accounted(store, GUID);
	ARRAY_TYPE(outband_found) found = ARRAY_INIT;

	add_found(&found, device, 1, state, events);
	return commit(store, GUID, &before, &found);
}

static void payload(string_t *dest, const struct outband_row *row)
{
	str_printfa(dest, "%s %u %"PRId64, row->event.name, row->event.uid,
		    row->seq);
}

static int
head(struct outband_store *store, const char *device, struct outband_row *row_r)
{
	const char *error;
	int ret;

	ret = outband_store_head(store, "joe", device, pool_datastack_create(),
				 row_r, &error);
	if (ret < 0)
		i_fatal("%s", error);
	return ret;
}

static int number(struct outband_store *store, struct outband_row *row)
{
	const char *error;
	int ret;

	ret = outband_store_number(store, row, pool_datastack_create(), payload,
				   &error);
	if (ret < 0)
		i_fatal("%s", error);
	return ret;
}

static void done(struct outband_store *store, const struct outband_row *row)
{
	const char *error;

	test_assert(outband_store_done(store, row, "sent", &error) == 1);
}

static void test_outband_store_commit(void)
{
	ARRAY_TYPE(outband_accounted) before, now;
	ARRAY_TYPE(outband_found) found = ARRAY_INIT;
	const struct outband_accounted *a;
	struct outband_store *store;
	struct outband_row row;
	const char *error;

	test_begin("outband store: commit");
	remove_all();
	store = open_store();
	before = accounted(store, GUID);
	test_assert(array_count(&before) == 0);
	add_found(&found, "phone", 1, "s1", 1);
	test_assert(commit(store, GUID, &before, &found) == 1);
	/* the same look again: another state is accounted by now */
	test_assert(commit(store, GUID, &before, &found) == 0);

	reopen(&store);
	before = accounted(store, GUID);
	test_assert(array_count(&before) == 1);
	a = array_front(&before);
	test_assert_strcmp(a->device, "phone");
	test_assert_strcmp(a->state, "s1");
	test_assert(a->generation == 1);

	/* two looks that began with one state */
	test_assert(look(store, "phone", "s2", 1) == 1);
	test_assert(commit(store, GUID, &before, &found) == 0);
	now = accounted(store, GUID);
	test_assert_strcmp(first(now)->state, "s2");
	test_assert(first(now)->version != a->version);

	/* one that finds nothing keeps the version */
	test_assert(look(store, "phone", "s2", 0) == 1);
	test_assert(first(now)->version ==
		    first(accounted(store, GUID))->version);

	/* dropped and begun anew is another state, whatever its text */
	test_assert(outband_store_gone(store, "joe", GUID, &error) == 1);
	test_assert(head(store, "phone", &row) == 0);
	test_assert(look(store, "phone", "s2", 0) == 1);
	test_assert(commit(store, GUID, &now, &found) == 0);
	test_assert(head(store, "phone", &row) == 0);
	outband_store_close(&store);
	test_end();
}

static void test_outband_store_devices(void)
{
	ARRAY_TYPE(outband_accounted) before, other;
	ARRAY_TYPE(outband_found) found = ARRAY_INIT;
	struct outband_store *store;
	struct outband_row row;

	test_begin("outband store: devices");
	remove_all();
	store = open_store();
	before = accounted(store, GUID);
	add_found(&found, "phone", 3, "p", 1);
	add_found(&found, "pad", 3, "q", 2);
	test_assert(commit(store, GUID, &before, &found) == 1);
	other = accounted(store, OTHER);
	test_assert(commit(store, OTHER, &other, &found) == 1);

	/* the pad isn't notified of the one folder any more */
	before = accounted(store, GUID);
	array_clear(&found);
	add_found(&found, "phone", 3, "p", 0);
	test_assert(commit(store, GUID, &before, &found) == 1);
	test_assert(head(store, "pad", &row) == 1);
	test_assert_strcmp(row.guid, OTHER);
	test_assert(head(store, "phone", &row) == 1);
	test_assert_strcmp(row.guid, GUID);
	before = accounted(store, GUID);
	test_assert(array_count(&before) == 1);

	/* a look with an older profile than another has had meanwhile */
	other = accounted(store, OTHER);
	array_clear(&found);
	add_found(&found, "phone", 4, "p2", 0);
	test_assert(commit(store, GUID, &before, &found) == 1);
	array_clear(&found);
	add_found(&found, "phone", 3, "p3", 1);
	add_found(&found, "pad", 3, "q", 0);
	test_assert(commit(store, OTHER, &other, &found) == 0);
	test_assert(head(store, "phone", &row) == 1);
	test_assert_strcmp(row.address, "address4");
	/* but if it is still older, the profile went back */
	other = accounted(store, OTHER);
	test_assert(commit(store, OTHER, &other, &found) == 1);
	test_assert(head(store, "phone", &row) == 1);
	test_assert_strcmp(row.address, "address3");
	outband_store_close(&store);
	test_end();
}

static void test_outband_store_number(void)
{
	struct outband_store *store;
	struct outband_row row, again;
	const char *error;
	int64_t id;

	test_begin("outband store: numbers");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 3) == 1);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.seq == 0 && row.event.uid == 1 && row.payload == NULL);
	test_assert(row.event.time == 1000 && row.tries == 0);
	id = row.id;
	again = row;
	test_assert(number(store, &row) == 1);
	test_assert(row.seq == 1);
	test_assert_strcmp(row.payload, "NEW_MESSAGE 1 1");
	/* it has one: no other, and none is lost */
	test_assert(number(store, &again) == 0);
	test_assert(again.seq == 0);

	reopen(&store);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.id == id && row.seq == 1);
	test_assert_strcmp(row.payload, "NEW_MESSAGE 1 1");
	test_assert_strcmp(row.last_error, "");
	row.tries = 2;
	row.last_error = "busy";
	test_assert(outband_store_retry(store, &row, 12345, &error) == 1);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.tries == 2 && row.next_try == 12345 && row.seq == 1);
	test_assert_strcmp(row.last_error, "busy");

	done(store, &row);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.event.uid == 2 && row.seq == 0 && row.tries == 0);
	test_assert(number(store, &row) == 1);
	test_assert(row.seq == 2);
	done(store, &row);

	/* numbers outlive what has had them, and the folder, and the user */
	test_assert(outband_store_gone(store, "joe", "", &error) == 1);
	test_assert(head(store, "phone", &row) == 0);
	reopen(&store);
	test_assert(look(store, "phone", "s1", 1) == 1);
	test_assert(head(store, "phone", &row) == 1);
	/* gone meanwhile */
	again = row;
	test_assert(outband_store_gone(store, "joe", GUID, &error) == 1);
	test_assert(number(store, &again) == 0);
	test_assert(look(store, "phone", "s1", 1) == 1);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.id > again.id);
	test_assert(number(store, &row) == 1);
	test_assert(row.seq == 3);
	/* another device has numbers of its own */
	test_assert(look(store, "pad", "s1", 1) == 1);
	test_assert(head(store, "pad", &row) == 1);
	test_assert(number(store, &row) == 1);
	test_assert(row.seq == 1);
	outband_store_close(&store);
	test_end();
}

static void test_outband_store_next(void)
{
	struct outband_store *store;
	ARRAY_TYPE(outband_accounted) none;
	ARRAY_TYPE(outband_found) found = ARRAY_INIT;
	const char *user = "", *second = "", *error;
	pool_t pool = pool_datastack_create();

	test_begin("outband store: all folders and devices");
	remove_all();
	store = open_store();
	test_assert(outband_store_folder_next(store, "", "", pool, &user,
					      &second, &error) == 0);
	test_assert(outband_store_device_next(store, "", "", pool, &user,
					      &second, &error) == 0);
	t_array_init(&none, 1);
	add_found(&found, "b", 1, "s", 2);
	add_found(&found, "a", 1, "s", 1);
	test_assert(outband_store_commit(store, "joe", GUID, "INBOX", &origin,
					 &none, &found, &error) == 1);
	test_assert(outband_store_commit(store, "ann", OTHER, "x", &origin,
					 &none, &found, &error) == 1);
	test_assert(outband_store_commit(store, "joe", OTHER, "x", &origin,
					 &none, &found, &error) == 1);

	static const char *const folders[][2] = {
		{ "ann", OTHER }, { "joe", GUID }, { "joe", OTHER }
	};
	static const char *const devices[][2] = {
		{ "ann", "a" }, { "ann", "b" }, { "joe", "a" }, { "joe", "b" }
	};
	unsigned int i;

	user = second = "";
	for (i = 0; i < N_ELEMENTS(folders); i++) {
		test_assert_idx(outband_store_folder_next(store, user, second,
							  pool, &user, &second,
							  &error) == 1, i);
		test_assert_strcmp_idx(user, folders[i][0], i);
		test_assert_strcmp_idx(second, folders[i][1], i);
	}
	test_assert(outband_store_folder_next(store, user, second, pool, &user,
					      &second, &error) == 0);
	user = second = "";
	for (i = 0; i < N_ELEMENTS(devices); i++) {
		test_assert_idx(outband_store_device_next(store, user, second,
							  pool, &user, &second,
							  &error) == 1, i);
		test_assert_strcmp_idx(user, devices[i][0], i);
		test_assert_strcmp_idx(second, devices[i][1], i);
	}
	test_assert(outband_store_device_next(store, user, second, pool, &user,
					      &second, &error) == 0);
	outband_store_close(&store);
	test_end();
}

/* What a process has done that is killed at any moment is done whole or not at
   all: what it says it has done is there. */
static void test_outband_store_killed(void)
{
	struct outband_store *store;
	struct outband_row row;
	unsigned int i, said, found;
	int fd[2];
	pid_t pid;

	test_begin("outband store: killed");
	remove_all();
	store = open_store();
	outband_store_close(&store);
	for (i = 0; i < 20; i++) {
		unsigned char byte;

		if (pipe(fd) < 0)
			i_fatal("pipe() failed: %m");
		pid = fork();
		if (pid < 0)
			i_fatal("fork() failed: %m");
		if (pid == 0) {
			store = open_store();
			for (;;) T_BEGIN {
				/* one event a state, as long as it lives */
				ARRAY_TYPE(outband_accounted) before =
					accounted(store, GUID);
				unsigned int n = 0;

				if (array_count(&before) > 0 &&
				    str_to_uint(first(before)->state,
						&n) < 0)
					i_fatal("state isn't a number");
				if (look(store, "phone", dec2str(n + 1), 1) != 1)
					i_fatal("commit failed");
				if (head(store, "phone", &row) != 1 ||
				    (row.seq == 0 && number(store, &row) != 1))
					i_fatal("number failed");
				if (write(fd[1], "x", 1) != 1)
					_exit(0);
			} T_END;
		}
		i_close_fd(&fd[1]);
		for (said = 0; said <= i; said++) {
			if (read(fd[0], &byte, 1) != 1)
				break;
		}
		test_assert_idx(said == i + 1, i);
		usleep(i * 150);
		(void)kill(pid, SIGKILL);
		if (waitpid(pid, NULL, 0) < 0)
			i_fatal("waitpid() failed: %m");
		while (read(fd[0], &byte, 1) == 1)
			said++;
		i_close_fd(&fd[0]);

		T_BEGIN {
			ARRAY_TYPE(outband_accounted) now;
			const char *error;
			unsigned int state;

			store = open_store();
			now = accounted(store, GUID);
			test_assert_idx(array_count(&now) == 1, i);
			test_assert_idx(str_to_uint(first(now)->state,
						    &state) == 0, i);
			/* as many events as the state says, one numbered */
			for (found = 0; head(store, "phone", &row) == 1;
			     found++) {
				test_assert_idx(found == 0 ||
						row.seq == 0, i);
				test_assert_idx(found > 0 ||
						row.seq == i + 1, i);
				done(store, &row);
			}
			test_assert_idx(found == state, i);
			test_assert_idx(state >= said && state <= said + 1, i);
			test_assert(outband_store_gone(store, "joe", GUID,
						       &error) == 1);
			outband_store_close(&store);
		} T_END;
	}
	test_end();
}

/* A disk that is full: nothing is changed, and all goes on when it isn't. */
static void test_outband_store_full(void)
{
	ARRAY_TYPE(outband_accounted) before;
	ARRAY_TYPE(outband_found) found = ARRAY_INIT;
	struct outband_store *store;
	struct outband_row row;
	struct rlimit old, limit;
	const char *error = NULL;

	if (!outband_sql_is_file(address))
		return;
	test_begin("outband store: full");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 1) == 1);
	before = accounted(store, GUID);
	add_found(&found, "phone", 1, "s2", 500);

	(void)signal(SIGXFSZ, SIG_IGN);
	if (getrlimit(RLIMIT_FSIZE, &old) < 0)
		i_fatal("getrlimit() failed: %m");
	limit = old;
	limit.rlim_cur = 48*1024;
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		i_fatal("setrlimit() failed: %m");
	test_assert(outband_store_commit(store, "joe", GUID, "INBOX", &origin,
					 &before, &found, &error) == -1);
	test_assert(error != NULL);
	before = accounted(store, GUID);
	test_assert_strcmp(first(before)->state, "s1");
	if (setrlimit(RLIMIT_FSIZE, &old) < 0)
		i_fatal("setrlimit() failed: %m");

	test_assert(commit(store, GUID, &before, &found) == 1);
	test_assert(head(store, "phone", &row) == 1);
	outband_store_close(&store);
	test_end();
}

static void batch_begin(struct outband_store *store)
{
	const char *error;

	if (outband_store_batch_begin(store, "", &error) < 0)
		i_fatal("%s", error);
}

static void batch_end(struct outband_store *store)
{
	const char *error;

	if (outband_store_batch_end(store, &error) < 0)
		i_fatal("%s", error);
}

/* Several changes in one transaction: all of it is there when that has ended, but for
   what isn't valid. */
static void test_outband_store_batch(void)
{
	struct outband_store *store, *other;
	struct outband_row row, row2, gone;

	test_begin("outband store: batch");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 3) == 1);
	/* one finished and the next numbered, and what somebody drops meanwhile:
	   that must not use up a number */
	test_assert(head(store, "phone", &row) == 1);
	test_assert(number(store, &row) == 1);
	batch_begin(store);
	done(store, &row);
	test_assert(head(store, "phone", &row2) == 1);
	gone = row2;
	gone.id += 1000;
	test_assert(number(store, &gone) == 0);
	test_assert(number(store, &row2) == 1 && row2.seq == 2);
	batch_end(store);
	reopen(&store);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.id == row2.id && row.seq == 2);

	/* nothing of it is seen, or left, before it has ended */
	other = open_store();
	batch_begin(store);
	done(store, &row);
	test_assert(head(store, "phone", &row2) == 1);
	test_assert(number(store, &row2) == 1 && row2.seq == 3);
	test_assert(head(other, "phone", &gone) == 1 && gone.id == row.id);
	outband_store_close(&other);
	reopen(&store);
	test_assert(head(store, "phone", &gone) == 1 && gone.id == row.id);

	/* after it each change is one of its own again */
	done(store, &row);
	test_assert(head(store, "phone", &row2) == 1);
	test_assert(number(store, &row2) == 1 && row2.seq == 3);
	outband_store_close(&store);
	test_end();
}

/* The same where the disk is full: the last parts fail, and then all of it */
static void test_outband_store_batch_full(void)
{
	ARRAY_TYPE(outband_accounted) before;
	ARRAY_TYPE(outband_found) found = ARRAY_INIT;
	struct outband_store *store;
	struct outband_row row, row2;
	struct rlimit old, limit;
	const char *error = NULL;
	int ret;

	if (!outband_sql_is_file(address))
		return;
	test_begin("outband store: batch on a full disk");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 1) == 1);
	before = accounted(store, GUID);
	add_found(&found, "phone", 1, "s2", 20000);
	test_assert(head(store, "phone", &row) == 1);

	(void)signal(SIGXFSZ, SIG_IGN);
	if (getrlimit(RLIMIT_FSIZE, &old) < 0)
		i_fatal("getrlimit() failed: %m");
	limit = old;
	limit.rlim_cur = 48*1024;
	batch_begin(store);
	test_assert(number(store, &row) == 1 && row.seq == 1);
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		i_fatal("setrlimit() failed: %m");
	/* more than is kept in memory until the end */
	ret = outband_store_commit(store, "joe", GUID, "INBOX", &origin,
				   &before, &found, &error);
	test_assert(ret == -1);
	ret = outband_store_done(store, &row, "sent", &error);
	test_assert(outband_store_batch_end(store, &error) == -1);
	test_assert(error != NULL);
	if (setrlimit(RLIMIT_FSIZE, &old) < 0)
		i_fatal("setrlimit() failed: %m");
	/* neither what has failed, nor what came before and after it */
	test_assert(head(store, "phone", &row2) == 1);
	test_assert(row2.id == row.id && row2.seq == 0);
	before = accounted(store, GUID);
	test_assert_strcmp(first(before)->state, "s1");

	batch_begin(store);
	test_assert(number(store, &row2) == 1 && row2.seq == 1);
	batch_end(store);
	outband_store_close(&store);
	test_end();
}

/* The database gives up the whole transaction in the middle of it. What comes then
   mustn't be one of its own. */
static void test_outband_store_batch_broken(void)
{
	struct outband_store *store;
	struct outband_row row, row2;
	const char *error;

	if (!outband_sql_is_file(address))
		return;
	test_begin("outband store: batch that is broken");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 1) == 1);
	test_assert(look(store, "tablet", "s1", 1) == 1);
	test_assert(head(store, "tablet", &row) == 1);
	exec("CREATE TRIGGER broken BEFORE DELETE ON queue"
	     " BEGIN SELECT RAISE(ROLLBACK, 'broken'); END");
	batch_begin(store);
	test_assert(number(store, &row) == 1);
	test_assert(outband_store_done(store, &row, "sent", &error) == -1);
	row2 = row;
	row2.seq = 0;
	test_assert(outband_store_number(store, &row2, pool_datastack_create(),
					 payload, &error) == -1);
	test_assert(outband_store_batch_end(store, &error) == -1);
	test_assert(head(store, "tablet", &row2) == 1);
	test_assert(row2.id == row.id && row2.seq == 0);
	exec("DROP TRIGGER broken");
	batch_begin(store);
	test_assert(number(store, &row2) == 1 && row2.seq == 1);
	done(store, &row2);
	batch_end(store);
	test_assert(head(store, "tablet", &row) == 0);
	outband_store_close(&store);
	test_end();
}

static unsigned int
die(struct outband_store *store, const char *guid, uint32_t uid)
{
	const char *error;
	unsigned int count;

	if (outband_store_deaths_add(store, "joe", guid, uid, &count,
				     &error) != 1)
		i_fatal("%s", error);
	return count;
}

static void
check_deaths(struct outband_store *store, const char *guid, bool suspected,
	     const char *skip)
{
	struct outband_deaths deaths;
	const char *error;

	if (outband_store_deaths_get(store, "joe", guid, pool_datastack_create(),
				     &deaths, &error) < 0)
		i_fatal("%s", error);
	test_assert(deaths.suspected == suspected);
	test_assert_strcmp(deaths.skip, skip);
}

static void clear_deaths(struct outband_store *store, const char *guid, bool all)
{
	const char *error;

	if (outband_store_deaths_clear(store, "joe", guid, all, &error) != 1)
		i_fatal("%s", error);
}

static void test_outband_store_deaths(void)
{
	struct outband_store *store;
	const char *error;
	unsigned int i;

	test_begin("outband store: deaths of workers");
	remove_all();
	store = open_store();
	check_deaths(store, GUID, FALSE, "");
	test_assert(die(store, GUID, 0) == 1);
	check_deaths(store, GUID, TRUE, "");
	check_deaths(store, OTHER, FALSE, "");
	/* of a message, which isn't known to be one until it has done so again */
	test_assert(die(store, GUID, 7) == 1);
	check_deaths(store, GUID, TRUE, "");
	reopen(&store);
	test_assert(die(store, GUID, 7) == 2);
	test_assert(die(store, GUID, 0) == 2);
	test_assert(die(store, GUID, 9) == 1);
	check_deaths(store, GUID, TRUE, "7");
	clear_deaths(store, GUID, FALSE);
	check_deaths(store, GUID, FALSE, "7");
	test_assert(die(store, GUID, 9) == 1);
	test_assert(die(store, GUID, 9) == 2);
	check_deaths(store, GUID, FALSE, "7,9");
	test_assert(die(store, OTHER, 3) == 1 && die(store, OTHER, 3) == 2);
	clear_deaths(store, GUID, TRUE);
	check_deaths(store, GUID, FALSE, "");
	check_deaths(store, OTHER, FALSE, "3");
	/* they are bounded */
	for (i = 1; i <= OUTBAND_DEATHS_MAX_MESSAGES + 5; i++) {
		(void)die(store, GUID, i);
		(void)die(store, GUID, i);
	}
	(void)die(store, GUID, 0);
	clear_deaths(store, GUID, FALSE);
	{
		struct outband_deaths deaths;

		test_assert(outband_store_deaths_get(store, "joe", GUID,
			pool_datastack_create(), &deaths, &error) == 0);
		test_assert(str_array_length(t_strsplit(deaths.skip, ",")) ==
			    OUTBAND_DEATHS_MAX_MESSAGES);
		test_assert(strncmp(deaths.skip, "6,", 2) == 0);
	}
	/* with the folder, and with the user */
	test_assert(outband_store_gone(store, "joe", GUID, &error) == 1);
	check_deaths(store, GUID, FALSE, "");
	check_deaths(store, OTHER, FALSE, "3");
	test_assert(outband_store_gone(store, "joe", "", &error) == 1);
	check_deaths(store, OTHER, FALSE, "");
	outband_store_close(&store);
	remove_all();
	test_end();
}

static void test_outband_store_version(void)
{
	struct outband_store *store;
	const char *error = NULL;

	test_begin("outband store: of a later version");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 1) == 1);
	outband_store_close(&store);
	exec("INSERT INTO outband_version VALUES (99)");
	test_assert(outband_store_open(NULL, address, &store, &error) == -1);
	test_assert(error != NULL && strstr(error, "version is 99") != NULL);
	exec("DELETE FROM outband_version WHERE version = 99");
	store = open_store();
	test_assert(first(accounted(store, GUID))->generation == 1);
	outband_store_close(&store);
	test_end();
}

static const struct outband_row *
row_of(ARRAY_TYPE(outband_row) rows, unsigned int i)
{
	return array_idx(&rows, i);
}

static int
change(struct outband_store *store, bool drop, int64_t id, const char *user,
       const char *device, unsigned int *devices_r)
{
	struct outband_selection selection = { id, user, device };
	ARRAY_TYPE(outband_device) devices;
	unsigned int count;
	const char *error;
	int ret;

	ret = (drop ? outband_store_drop : outband_store_retry_now)(
		store, &selection, pool_datastack_create(), &devices, &count,
		&error);
	if (ret < 0)
		i_fatal("%s", error);
	test_assert((count > 0) == (ret > 0));
	*devices_r = array_count(&devices);
	return count;
}

static void test_outband_store_admin(void)
{
	struct outband_store_status status;
	struct outband_store *store;
	ARRAY_TYPE(outband_row) rows;
	struct outband_row row;
	const char *error;
	unsigned int devices;

	test_begin("outband store: what the administrator does");
	remove_all();
	store = open_store();
	test_assert(outband_store_status(store, &status, &error) == 1);
	test_assert(status.queued == 0 && status.oldest == 0);
	test_assert(outband_store_list(store, 0, 10, pool_datastack_create(),
				       &rows, &error) == 0);
	test_assert(look(store, "phone", "s1", 3) == 1);
	{
		ARRAY_TYPE(outband_accounted) before = accounted(store, OTHER);
		ARRAY_TYPE(outband_found) found = ARRAY_INIT;

		add_found(&found, "pad", 1, "s1", 2);
		test_assert(commit(store, OTHER, &before, &found) == 1);
	}
	test_assert(head(store, "phone", &row) == 1);
	test_assert(number(store, &row) == 1);
	row.tries = 1;
	row.last_error = "busy";
	test_assert(outband_store_retry(store, &row, 12345, &error) == 1);
	test_assert(outband_store_status(store, &status, &error) == 1);
	test_assert(status.queued == 5 && status.numbered == 1);
	test_assert(status.devices == 2 && status.accounted_devices == 2);
	test_assert(status.oldest == 1000);

	test_assert(outband_store_list(store, 0, 2, pool_datastack_create(),
				       &rows, &error) == 1);
	test_assert(array_count(&rows) == 2);
	test_assert(row_of(rows, 0)->id == 1);
	test_assert_strcmp(row_of(rows, 0)->last_error, "busy");
	test_assert(outband_store_list(store, 2, 10, pool_datastack_create(),
				       &rows, &error) == 1);
	test_assert(array_count(&rows) == 3);
	test_assert_strcmp(row_of(rows, 0)->device, "phone");
	test_assert_strcmp(row_of(rows, 1)->device, "pad");
	test_assert(outband_store_list(store, 5, 10, pool_datastack_create(),
				       &rows, &error) == 0);

	test_assert(change(store, FALSE, 1, "ann", "", &devices) == 0);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.next_try == 12345);
	test_assert(change(store, FALSE, 0, "", "", &devices) == 5);
	test_assert(devices == 2);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.next_try == 0 && row.tries == 1 && row.seq == 1);

	test_assert(change(store, TRUE, 9, "", "", &devices) == 0);
	test_assert(change(store, TRUE, 0, "joe", "other", &devices) == 0);
	test_assert(change(store, TRUE, 2, "", "", &devices) == 1);
	test_assert(change(store, TRUE, 0, "joe", "pad", &devices) == 2);
	test_assert(devices == 1);
	reopen(&store);
	test_assert(head(store, "pad", &row) == 0);
	test_assert(change(store, TRUE, 1, "", "", &devices) == 1);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.id == 3 && row.seq == 0);
	/* the dropped one's number is gone */
	test_assert(number(store, &row) == 1);
	test_assert(row.seq == 2);
	outband_store_close(&store);
	test_end();
}

/* The steps of a notification as "step text", and all of them */
static const char *
trace(struct outband_store *store, int64_t id, const char *device, int64_t seq,
      ARRAY_TYPE(outband_step) *steps_r)
{
	struct outband_selection selection = { id, "joe", device };
	const struct outband_step *step;
	string_t *str = t_str_new(256);
	const char *error;

	if (outband_store_trace(store, &selection, seq, 0, 0, 10000,
				pool_datastack_create(), steps_r, &error) < 0)
		i_fatal("%s", error);
	array_foreach(steps_r, step)
		str_printfa(str, "%s[%s]", step->step, step->text);
	return str_c(str);
}

static const struct outband_step *first_step(ARRAY_TYPE(outband_step) steps)
{
	return array_front(&steps);
}

static const struct outband_step *last_step(ARRAY_TYPE(outband_step) steps)
{
	return array_back(&steps);
}

static void test_outband_store_trace(void)
{
	struct outband_selection all = { 0, "joe", "phone" };
	struct outband_store *store;
	ARRAY_TYPE(outband_step) steps;
	struct outband_row row;
	const char *error, *text;
	unsigned int i, devices;
	int64_t id;

	test_begin("outband store: what was done");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 3) == 1);
	test_assert(head(store, "phone", &row) == 1);
	id = row.id;
	test_assert_strcmp(trace(store, id, "", 0, &steps),
		"found[NEW_MESSAGE 1 in INBOX, by a look at "GUID" (hint)]"
		"queued[]");
	test_assert(first_step(steps)->time == 990);
	test_assert(last_step(steps)->time == 1000);
	test_assert(last_step(steps)->seq == 0);
	test_assert(number(store, &row) == 1);
	row.tries = 1;
	row.last_error = "busy";
	test_assert(outband_store_retry(store, &row, 12345, &error) == 1);
	test_assert(change(store, FALSE, id, "", "", &devices) == 1);
	/* it is no step if it doesn't wait */
	test_assert(change(store, FALSE, id, "", "", &devices) == 1);
	done(store, &row);
	reopen(&store);
	test_assert_strcmp(trace(store, 0, "phone", 1, &steps),
		"found[NEW_MESSAGE 1 in INBOX, by a look at "GUID" (hint)]"
		"queued[]numbered[1]tried[busy]retry[by the administrator]"
		"done[sent]");
	test_assert(first_step(steps)->id == id &&
		    first_step(steps)->seq == 1);
	test_assert_strcmp(first_step(steps)->user, "joe");
	test_assert_strcmp(first_step(steps)->device, "phone");
	/* where it is asked to go on */
	test_assert(outband_store_trace(store, &all, 1, id, 5, 10,
					pool_datastack_create(), &steps,
					&error) == 1);
	test_assert(array_count(&steps) == 1 && first_step(steps)->n == 6);
	test_assert(outband_store_trace(store, &all, 1, id, 6, 10,
					pool_datastack_create(), &steps,
					&error) == 0);
	/* whoever drops them */
	test_assert(change(store, TRUE, id + 1, "", "", &devices) == 1);
	test_assert(strstr(trace(store, id + 1, "", 0, &steps),
			   "done[dropped: by the administrator]") != NULL);
	test_assert(outband_store_gone(store, "joe", GUID, &error) == 1);
	test_assert(strstr(trace(store, id + 2, "", 0, &steps),
			   "done[dropped: its folder doesn't ") != NULL);
	test_assert_strcmp(trace(store, 99, "", 0, &steps), "");
	test_assert_strcmp(trace(store, 0, "phone", 99, &steps), "");
	test_assert_strcmp(trace(store, 0, "pad", 0, &steps), "");
	(void)trace(store, 0, "phone", 0, &steps);
	test_assert(array_count(&steps) == 6 + 3 + 3);

	/* bounded: the steps of one, the first and the last are kept */
	test_assert(look(store, "phone", "s2", 1) == 1);
	test_assert(head(store, "phone", &row) == 1);
	row.last_error = "busy";
	for (i = 1; i <= 300; i++) {
		row.tries = i;
		row.last_error = t_strdup_printf("busy %u", i);
		test_assert(outband_store_retry(store, &row, 12345,
						&error) == 1);
	}
	text = trace(store, row.id, "", 0, &steps);
	test_assert(array_count(&steps) == OUTBAND_TRACE_MAX_STEPS);
	test_assert(strncmp(text, "found[", 6) == 0);
	test_assert(strstr(text, "tried[busy 1]") != NULL);
	test_assert(strstr(text, "tried[busy 300]") != NULL);
	test_assert(strstr(text, "tried[busy 200]") == NULL);
	/* and the length of a text, whose end says so */
	row.last_error = t_strdup_printf("%01000d", 1);
	row.tries++;
	test_assert(outband_store_retry(store, &row, 12345, &error) == 1);
	(void)trace(store, row.id, "", 0, &steps);
	test_assert(strlen(last_step(steps)->text) == 500);
	/* nor anything that steers a terminal, or isn't UTF-8 */
	row.last_error = "a\x7f\xc2\x9b\x1b[1m\xff";
	row.tries++;
	test_assert(outband_store_retry(store, &row, 12345, &error) == 1);
	(void)trace(store, row.id, "", 0, &steps);
	test_assert_strcmp(last_step(steps)->text, "a???[1m?");

	/* those that are too old, whoever is queued still */
	id = row.id;
	ioloop_time += OUTBAND_TRACE_MAX_SECS - 1;
	test_assert(look(store, "phone", "s3", 200) == 1);
	test_assert(trace(store, id, "", 0, &steps)[0] != '\0');
	ioloop_time += 2;
	test_assert(look(store, "phone", "s4", 200) == 1);
	test_assert_strcmp(trace(store, id, "", 0, &steps), "");
	test_assert(trace(store, id + 1, "", 0, &steps)[0] != '\0');
	/* it goes on all the same */
	test_assert(head(store, "phone", &row) == 1 && row.id == id);
	done(store, &row);
	ioloop_time = 1000;
	outband_store_close(&store);
	test_end();
}

/* There are as many as there may be: those before them go. */
static void test_outband_store_trace_count(void)
{
	struct outband_store *store;
	ARRAY_TYPE(outband_step) steps;

	test_begin("outband store: not more is kept of what was done");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 10) == 1);
	outband_store_close(&store);
	exec(outband_sql_is_file(address) ?
	     "UPDATE sqlite_sequence SET seq = 99995 WHERE name = 'queue'" :
	     "ALTER TABLE queue ALTER id RESTART WITH 99996");
	store = open_store();
	test_assert(look(store, "phone", "s2", 104) == 1);
	test_assert(trace(store, 1, "", 0, &steps)[0] != '\0');
	/* they are looked for each 100 */
	test_assert(look(store, "phone", "s3", 1) == 1);
	test_assert_strcmp(trace(store, 10, "", 0, &steps), "");
	test_assert(trace(store, 99996, "", 0, &steps)[0] != '\0');
	/* the last ones of a device */
	(void)trace(store, 0, "phone", 0, &steps);
	test_assert(array_count(&steps) == 2 * OUTBAND_TRACE_LAST);
	test_assert(last_step(steps)->id == 100100);
	outband_store_close(&store);
	test_end();
}

/* Why the address isn't tried any more, NULL = it is */
static const char *ended(struct outband_store *store, const char *device)
{
	const char *reason = NULL, *error;
	time_t since = 0;
	int ret;

	ret = outband_store_ended_get(store, "joe", device,
				      pool_datastack_create(), &reason, &since,
				      &error);
	if (ret < 0)
		i_fatal("%s", error);
	test_assert(ret == 0 || since == ioloop_time);
	return ret == 0 ? NULL : reason;
}

/* an address that has ended is not tried again, by this service or the next
   one, until it is another, or the device begins anew to be notified. */
static void test_outband_store_unregister(void)
{
	ARRAY_TYPE(outband_accounted) before;
	ARRAY_TYPE(outband_found) found = ARRAY_INIT, none;
	struct outband_store_status status;
	struct outband_store *store;
	struct outband_found *f;
	struct outband_row row;
	const char *error;
	unsigned int i;

	test_begin("outband store: unregistered");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 3) == 1);
	test_assert(head(store, "phone", &row) == 1 && row.ended[0] == '\0');
	test_assert(number(store, &row) == 1);
	/* not the device's own channel, or no more its address */
	row.channel = "WEBPUSH";
	test_assert(outband_store_unregister(store, &row, "unregistered", "gone",
					     &error) == 1);
	test_assert(ended(store, "phone") == NULL);
	test_assert(head(store, "phone", &row) == 1 && number(store, &row) == 1);
	row.address = "another";
	test_assert(outband_store_unregister(store, &row, "unregistered", "gone",
					     &error) == 1);
	test_assert(ended(store, "phone") == NULL);
	test_assert(head(store, "phone", &row) == 1 && number(store, &row) == 1);
	test_assert(outband_store_unregister(store, &row, "unregistered", "gone",
					     &error) == 1);
	test_assert_strcmp(ended(store, "phone"), "gone");
	test_assert(ended(store, "tablet") == NULL);
	test_assert(head(store, "phone", &row) == 0);
	reopen(&store);
	test_assert_strcmp(ended(store, "phone"), "gone");
	test_assert(outband_store_status(store, &status, &error) == 1);
	test_assert(status.ended_devices == 1);

	/* the same address, of another generation, and another address */
	for (i = 0; i < 2; i++) {
		before = accounted(store, GUID);
		found.arr.buffer = NULL;
		add_found(&found, "phone", 2, t_strdup_printf("t%u", i), 1);
		if (i == 0) {
			f = array_front_modifiable(&found);
			f->address = "address1";
		}
		test_assert(commit(store, GUID, &before, &found) == 1);
		test_assert(head(store, "phone", &row) == 1);
		test_assert_strcmp_idx(row.ended, i == 0 ? "gone" : "", i);
		done(store, &row);
	}
	test_assert(ended(store, "phone") == NULL);

	/* a folder less is nothing; not to be notified of any is the channel NONE */
	test_assert(look(store, "phone", "u", 1) == 1);
	before = accounted(store, OTHER);
	test_assert(commit(store, OTHER, &before, &found) == 1);
	test_assert(head(store, "phone", &row) == 1 && number(store, &row) == 1);
	test_assert(outband_store_unregister(store, &row, "unregistered", "gone",
					     &error) == 1);
	t_array_init(&none, 1);
	before = accounted(store, GUID);
	test_assert(commit(store, GUID, &before, &none) == 1);
	test_assert_strcmp(ended(store, "phone"), "gone");
	before = accounted(store, OTHER);
	test_assert(commit(store, OTHER, &before, &none) == 1);
	test_assert(ended(store, "phone") == NULL);
	outband_store_close(&store);
	test_end();
}

static int64_t head_generation(struct outband_store *store)
{
	struct outband_row row;

	test_assert(head(store, "phone", &row) == 1);
	return row.generation;
}

/* what other filters of the site have judged is to be judged anew, once. */
static void test_outband_store_rules(void)
{
	struct outband_judged judged = {
		.generation = 1, .channel = "MAIL", .address = "address1",
		.format = "EMN", .verdicts = "1"
	};
	ARRAY_TYPE(outband_row) rows;
	struct outband_store *store;
	struct outband_row row;
	const char *error;

	test_begin("outband store: rules");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 1) == 1);
	/* it isn't known of which ones it was */
	test_assert(outband_store_rules_set(store, "a", &error) == 1);
	test_assert(head_generation(store) == 1);
	reopen(&store);
	test_assert(outband_store_rules_set(store, "a", &error) == 0);
	test_assert(head_generation(store) == 1);
	test_assert(outband_store_rules_set(store, "b", &error) == 1);
	test_assert(head_generation(store) == -1);
	/* and back, before it was judged */
	test_assert(outband_store_rules_set(store, "a", &error) == 1);
	test_assert(head_generation(store) == -1);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(outband_store_queued(store, "joe", "phone", GUID, 1, 10,
					 pool_datastack_create(), &rows,
					 &error) == 0);
	test_assert(array_count(&rows) == 1);
	test_assert(outband_store_judged(store, "joe", "phone", &judged, &rows,
					 FALSE, &error) == 1);
	test_assert(head_generation(store) == 1);
	outband_store_close(&store);
	test_end();
}

static void test_outband_store_others(void)
{
	struct outband_store *store;
	const char *error = NULL;
	FILE *file;

	if (!outband_sql_is_file(address))
		return;
	test_begin("outband store: not ours");
	remove_all();
	file = fopen(PATH, "w");
	if (file == NULL || fputs("this is no database, but a text that is "
				  "longer than a header of one: x x x x x x x "
				  "x x x x x x x x x x x x x x x x x x x", file) < 0 ||
	    fclose(file) != 0)
		i_fatal("can't write "PATH);
	test_assert(outband_store_open(NULL, PATH, &store, &error) == -1);
	test_assert(error != NULL && strstr(error, PATH) != NULL);
	remove_all();
	test_assert(outband_store_open(NULL, "/nonexistent/x", &store,
				       &error) == -1);
	test_end();
}

static int
judged(struct outband_store *store, unsigned int max, int64_t generation,
       const char *verdicts, bool sync)
{
	ARRAY_TYPE(outband_row) rows;
	struct outband_judged judged = {
		.generation = generation,
		.verdicts = verdicts,
	};
	const char *error;
	int ret;

	if (verdicts != NULL) {
		judged.channel = "PROGRAM";
		judged.address = "new";
		judged.format = "EXTENDED";
	}
	if (outband_store_queued(store, "joe", "phone", GUID, -1, max,
				 pool_datastack_create(), &rows, &error) < 0)
		i_fatal("%s", error);
	test_assert(array_count(&rows) <= max);
	ret = outband_store_judged(store, "joe", "phone", &judged, &rows, sync,
				   &error);
	if (ret < 0)
		i_fatal("%s", error);
	return ret;
}

/* The queue: event, UID, number, generation of each */
static const char *queue_text(struct outband_store *store)
{
	ARRAY_TYPE(outband_row) rows;
	const struct outband_row *row;
	string_t *text = t_str_new(128);
	const char *error;

	if (outband_store_list(store, 0, 100, pool_datastack_create(), &rows,
			       &error) < 0)
		i_fatal("%s", error);
	array_foreach(&rows, row) {
		str_printfa(text, "%s %u %"PRId64" %"PRId64",",
			    row->event.name, row->event.uid, row->seq,
			    row->generation);
	}
	return str_c(text);
}

static void test_outband_store_judged(void)
{
	struct outband_store *store;
	struct outband_row row, old;

	test_begin("outband store: R-1.7, judged anew");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 5) == 1);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.generation == 1 && row.device_generation == 1);
	test_assert(number(store, &row) == 1);
	test_assert_strcmp(queue_text(store), "NEW_MESSAGE 1 1 1,"
		"NEW_MESSAGE 2 0 1,NEW_MESSAGE 3 0 1,NEW_MESSAGE 4 0 1,"
		"NEW_MESSAGE 5 0 1,");
	/* what isn't known stays as it was, so do those behind */
	test_assert(judged(store, 4, 5, "1021", FALSE) == 1);
	reopen(&store);
	test_assert_strcmp(queue_text(store), "NEW_MESSAGE 1 1 5,"
		"NEW_MESSAGE 3 0 1,NEW_MESSAGE 4 0 5,NEW_MESSAGE 5 0 1,");
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.device_generation == 5);
	test_assert_strcmp(row.channel, "PROGRAM");
	test_assert_strcmp(row.address, "new");
	test_assert_strcmp(row.payload, "NEW_MESSAGE 1 1");
	/* a numbered one is dropped, its number isn't used again */
	test_assert(judged(store, 2, 6, "01", FALSE) == 1);
	test_assert_strcmp(queue_text(store), "NEW_MESSAGE 3 0 6,"
		"NEW_MESSAGE 4 0 5,NEW_MESSAGE 5 0 1,");
	/* one that was judged meanwhile isn't numbered as it was */
	test_assert(head(store, "phone", &old) == 1);
	test_assert(judged(store, 1, 7, "1", FALSE) == 1);
	test_assert(number(store, &old) == 0);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(number(store, &row) == 1 && row.seq == 2);
	/* It becomes a SYNC; one with a number leaves a gap. */
	test_assert(judged(store, 1, 8, "", TRUE) == 1);
	test_assert_strcmp(queue_text(store), "NEW_MESSAGE 4 0 5,"
		"NEW_MESSAGE 5 0 1,SYNC 0 0 8,");
	test_assert(judged(store, 1, 8, "", TRUE) == 1);
	test_assert_strcmp(queue_text(store), "SYNC 0 0 8,"
		"NEW_MESSAGE 5 0 1,SYNC 0 0 8,");
	/* the device isn't told any more */
	test_assert(judged(store, 2, 9, NULL, FALSE) == 1);
	test_assert_strcmp(queue_text(store), "SYNC 0 0 8,");
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.device_generation == 9);
	test_assert_strcmp(row.channel, "PROGRAM");
	/* a profile that went back */
	test_assert(judged(store, 1, 3, "1", FALSE) == 1);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.device_generation == 3 && row.generation == 3);
	outband_store_close(&store);
	test_end();
}

static void test_outband_store_judged_late(void)
{
	struct outband_store *store;
	ARRAY_TYPE(outband_row) rows;
	struct outband_judged late = { .generation = 4, .channel = "MAIL",
		.address = "a", .format = "EMN", .verdicts = "0" };
	const char *error;

	test_begin("outband store: judged by a profile that is older");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 1) == 1);
	test_assert(outband_store_queued(store, "joe", "phone", GUID, -1, 9,
		pool_datastack_create(), &rows, &error) == 0);
	test_assert(judged(store, 9, 5, "1", FALSE) == 1);
	/* the registry was raised above what it was asked with */
	test_assert(outband_store_judged(store, "joe", "phone", &late, &rows,
					 FALSE, &error) == 0);
	test_assert_strcmp(queue_text(store), "NEW_MESSAGE 1 0 5,");
	/* newer, but of what was judged by another meanwhile */
	late.generation = 6;
	test_assert(outband_store_judged(store, "joe", "phone", &late, &rows,
					 FALSE, &error) == 1);
	test_assert_strcmp(queue_text(store), "NEW_MESSAGE 1 0 5,");
	/* of no other device, and no other folder */
	test_assert(outband_store_queued(store, "joe", "phone", OTHER, -1, 9,
		pool_datastack_create(), &rows, &error) == 0);
	test_assert(array_count(&rows) == 0);
	test_assert(outband_store_queued(store, "joe", "other", GUID, -1, 9,
		pool_datastack_create(), &rows, &error) == 0);
	test_assert(array_count(&rows) == 0);
	outband_store_close(&store);
	test_end();
}

/* What a process has come to that shares the store with another */
struct shared_result {
	unsigned int commits, numbers;
	int64_t seqs[SHARED_ROUNDS];
};

static void shared_run(struct shared_result *result)
{
	struct outband_store *store = open_store();
	struct outband_row row;
	unsigned int i, n;

	for (i = 0; i < SHARED_ROUNDS; i++) T_BEGIN {
		ARRAY_TYPE(outband_accounted) before = accounted(store, GUID);

		n = 0;
		if (array_count(&before) > 0 &&
		    str_to_uint(first(before)->state, &n) < 0)
			i_fatal("state isn't a number");
		/* between them the other comes */
		usleep(i % 3 * 100);
		{
			ARRAY_TYPE(outband_found) found = ARRAY_INIT;

			add_found(&found, "phone", 1, dec2str(n + 1), 1);
			if (commit(store, GUID, &before, &found) > 0)
				result->commits++;
		}
		if (head(store, "phone", &row) > 0 && row.seq == 0) {
			usleep(i % 3 * 100);
			if (number(store, &row) > 0) {
				result->seqs[result->numbers++] = row.seq;
				done(store, &row);
			}
		}
	} T_END;
	outband_store_close(&store);
}

/* Without the spool lock: of those who change the same only one does. */
static void test_outband_store_shared(void)
{
	struct shared_result results[2];
	ARRAY_TYPE(outband_accounted) before, now;
	ARRAY_TYPE(outband_found) found = ARRAY_INIT;
	struct outband_store *store, *other;
	struct outband_row row, same;
	bool had[SHARED_ROUNDS * 2 + 1];
	unsigned int i, j, state, left;
	pid_t pids[2];
	int fd[2];

	test_begin("outband store: two at once");
	remove_all();
	store = open_store();
	other = open_store();
	before = accounted(other, GUID);
	add_found(&found, "phone", 1, "0", 1);
	test_assert(commit(store, GUID, &before, &found) == 1);
	test_assert(commit(other, GUID, &before, &found) == 0);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(head(other, "phone", &same) == 1);
	test_assert(same.id == row.id && same.seq == 0);
	test_assert(number(store, &row) == 1 && row.seq == 1);
	test_assert(number(other, &same) == 0 && same.seq == 0);
	/* what it reads is what the other has committed */
	test_assert(head(other, "phone", &same) == 1 && same.seq == 1);
	done(other, &same);
	done(store, &row);
	test_assert(head(store, "phone", &row) == 0);
	outband_store_close(&store);
	outband_store_close(&other);

	if (pipe(fd) < 0)
		i_fatal("pipe() failed: %m");
	for (i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			i_fatal("fork() failed: %m");
		if (pids[i] == 0) {
			i_zero(&results[0]);
			shared_run(&results[0]);
			_exit(write(fd[1], &results[0], sizeof(results[0])) ==
			      (ssize_t)sizeof(results[0]) ? 0 : 1);
		}
	}
	i_close_fd(&fd[1]);
	for (i = 0; i < 2; i++) {
		if (read(fd[0], &results[i], sizeof(results[i])) !=
		    (ssize_t)sizeof(results[i]))
			i_fatal("one of them has failed");
	}
	i_close_fd(&fd[0]);
	for (i = 0; i < 2; i++) {
		if (waitpid(pids[i], NULL, 0) < 0)
			i_fatal("waitpid() failed: %m");
	}

	/* each commit is one state further and one event */
	store = open_store();
	now = accounted(store, GUID);
	test_assert(array_count(&now) == 1);
	test_assert(str_to_uint(first(now)->state, &state) == 0);
	test_assert(state == results[0].commits + results[1].commits);
	test_assert(results[0].commits > 0 && results[1].commits > 0);
	for (left = 0; head(store, "phone", &row) > 0; left++)
		done(store, &row);
	test_assert(results[0].numbers + results[1].numbers + left == state);
	/* each number has been given once (the first one above) */
	memset(had, 0, sizeof(had));
	for (i = 0; i < 2; i++) {
		for (j = 0; j < results[i].numbers; j++) {
			int64_t seq = results[i].seqs[j] - 2;

			test_assert(seq >= 0 && seq < (int64_t)N_ELEMENTS(had));
			test_assert(!had[seq]);
			had[seq] = TRUE;
		}
	}
	for (i = 0; i < results[0].numbers + results[1].numbers; i++)
		test_assert_idx(had[i], i);
	outband_store_close(&store);
	test_end();
}

/* Who comes first makes the tables. */
static void test_outband_store_made_at_once(void)
{
	struct outband_store *store;
	unsigned int i, round;
	int status;
	pid_t pid[4];

	if (outband_sql_is_file(address))
		return;
	test_begin("outband store: made by several at once");
	for (round = 0; round < 5; round++) {
		remove_all();
		for (i = 0; i < N_ELEMENTS(pid); i++) {
			pid[i] = fork();
			if (pid[i] < 0)
				i_fatal("fork() failed: %m");
			if (pid[i] == 0) {
				store = open_store();
				outband_store_close(&store);
				_exit(0);
			}
		}
		for (i = 0; i < N_ELEMENTS(pid); i++) {
			test_assert(waitpid(pid[i], &status, 0) == pid[i]);
			test_assert_idx(status == 0, round);
		}
	}
	store = open_store();
	test_assert(look(store, "phone", "s1", 1) == 1);
	outband_store_close(&store);
	test_end();
}

/* What was lost while nobody used it is no error. */
static void test_outband_store_disconnected(void)
{
	static const char *const others_die =
		"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
		" WHERE backend_type = 'client backend'"
		" AND pid <> pg_backend_pid()";
	struct outband_store *store;
	struct outband_row row;
	const char *error;

	if (outband_sql_is_file(address))
		return;
	test_begin("outband store: disconnected");
	remove_all();
	store = open_store();
	test_assert(look(store, "phone", "s1", 1) == 1);
	exec(others_die);
	/* it begins with a transaction */
	test_assert(outband_store_gone(store, "joe", "other", &error) == 1);
	exec(others_die);
	test_assert(head(store, "phone", &row) == 1);
	outband_store_close(&store);
	test_end();
}

static int join(struct outband_store *store, int64_t generation)
{
	const char *guid = NULL, *error;
	int ret;

	ret = outband_store_join(store, "joe", "phone", generation,
				 pool_datastack_create(), &guid, &error);
	if (ret < 0)
		i_fatal("%s", error);
	if (ret == 2)
		test_assert_strcmp(guid, GUID);
	return ret;
}

static void test_outband_store_join(void)
{
	ARRAY_TYPE(outband_accounted) before;
	ARRAY_TYPE(outband_found) found = ARRAY_INIT;
	struct outband_store *store;
	struct outband_row row;
	unsigned int i;

	test_begin("outband store: R-13.5, joined");
	remove_all();
	store = open_store();
	before = accounted(store, GUID);
	add_found(&found, "phone", 1, "s1", 4);
	add_found(&found, "other", 1, "s1", 2);
	test_assert(commit(store, GUID, &before, &found) == 1);
	test_assert(head(store, "phone", &row) == 1);
	for (i = 0; i < OUTBAND_WINDOW_COUNT; i++) {
		test_assert_idx(row.windows[i].start == 0 &&
				row.windows[i].count == 0, i);
		row.windows[i].start = 500 + i;
		row.windows[i].count = 10 + i;
	}
	test_assert(number(store, &row) == 1);
	/* what has a number stays, what was judged otherwise first */
	test_assert(join(store, 2) == 2);
	test_assert(join(store, 1) == 1);
	test_assert(join(store, 1) == 0);
	reopen(&store);
	test_assert_strcmp(queue_text(store), "NEW_MESSAGE 1 1 1,SYNC 0 0 1,"
		"NEW_MESSAGE 1 0 1,NEW_MESSAGE 2 0 1,");
	/* what was sent: of this device, and of others */
	test_assert(head(store, "phone", &row) == 1);
	for (i = 0; i < OUTBAND_WINDOW_COUNT; i++) {
		test_assert_idx(row.windows[i].start == 500 + (time_t)i &&
				row.windows[i].count == 10 + i, i);
	}
	test_assert(head(store, "other", &row) == 1);
	for (i = 0; i < OUTBAND_WINDOW_COUNT; i++) {
		test_assert_idx(row.windows[i].count ==
				(i < OUTBAND_WINDOW_USER ? 0 : 10 + i), i);
	}
	outband_store_close(&store);
	test_end();
}

/* What is joined of several folders is of none, or of their list if some of it is. */
static void test_outband_store_join_list(void)
{
	static const char *const guids[] = {
		GUID, "99999999999999999999999999999999", PIMAP_LOOK_LIST_GUID
	};
	ARRAY_TYPE(outband_accounted) before;
	ARRAY_TYPE(outband_found) found;
	struct outband_store *store;
	struct outband_found *f;
	struct outband_event *event;
	struct outband_row row;
	unsigned int i, count;

	test_begin("outband store: joined with the list of folders");
	for (count = 2; count <= N_ELEMENTS(guids); count++) {
		remove_all();
		store = open_store();
		for (i = 0; i < count; i++) {
			i_zero(&found);
			before = accounted(store, guids[i]);
			add_found(&found, "phone", 1, "s1", 1);
			test_assert(commit(store, guids[i], &before,
					   &found) == 1);
		}
		test_assert(join(store, 1) == 1);
		test_assert(head(store, "phone", &row) == 1);
		test_assert_strcmp(row.event.name, "FULL_SYNC");
		test_assert_strcmp(row.guid, count == 2 ? "" :
				   PIMAP_LOOK_LIST_GUID);
		test_assert_strcmp(row.folder, "INBOX");
		outband_store_close(&store);
	}
	/* two of the list, of one folder and of two */
	for (count = 1; count <= 2; count++) {
		remove_all();
		store = open_store();
		i_zero(&found);
		before = accounted(store, PIMAP_LOOK_LIST_GUID);
		add_found(&found, "phone", 1, "s1", 2);
		f = array_front_modifiable(&found);
		event = array_front_modifiable(&f->events);
		event[0].folder = "Work";
		event[1].folder = count == 1 ? "Work" : "Other";
		test_assert(commit(store, PIMAP_LOOK_LIST_GUID, &before,
				   &found) == 1);
		test_assert(join(store, 1) == 1);
		test_assert(head(store, "phone", &row) == 1);
		test_assert_strcmp(row.event.name, count == 1 ? "SYNC" :
				   "FULL_SYNC");
		test_assert_strcmp(row.folder, count == 1 ? "Work" : "INBOX");
		test_assert_strcmp(row.guid, PIMAP_LOOK_LIST_GUID);
		outband_store_close(&store);
	}
	test_end();
}

static void test_outband_store_held(void)
{
	ARRAY_TYPE(outband_accounted) before;
	ARRAY_TYPE(outband_found) found = ARRAY_INIT;
	ARRAY_TYPE(outband_row) rows;
	struct outband_store_status status;
	struct outband_store *store;
	struct outband_found *f;
	struct outband_event *event;
	struct outband_row row;
	const struct outband_row *r;
	const char *user, *device, *error;
	int64_t ids[4];
	unsigned int i;

	test_begin("outband store: R-13.1, held");
	remove_all();
	store = open_store();
	before = accounted(store, GUID);
	add_found(&found, "phone", 1, "s1", 4);
	f = array_front_modifiable(&found);
	f->changes.uid_validity = 5;
	f->changes.start_modseq = 6;
	f->changes.end_modseq = 7;
	f->held_until = 2000;
	/* it isn't about a message */
	event = array_front_modifiable(&f->events);
	event->uid = 0;
	test_assert(commit(store, GUID, &before, &found) == 1);
	reopen(&store);
	test_assert(outband_store_held_next(store, "", "",
		pool_datastack_create(), &user, &device, &error) == 1);
	test_assert_strcmp(user, "joe");
	test_assert_strcmp(device, "phone");
	test_assert(outband_store_held_next(store, user, device,
		pool_datastack_create(), &user, &device, &error) == 0);
	test_assert(outband_store_readable(store, "joe", "phone", 10,
		pool_datastack_create(), &rows, &error) == 0);
	test_assert(array_count(&rows) == 3);
	array_foreach(&rows, r) {
		i = array_foreach_idx(&rows, r);
		ids[i] = r->id;
		test_assert_idx(r->held_until == 2000, i);
		test_assert_idx(r->event.uid == i + 2, i);
		test_assert_idx(r->changes.uid_validity == 5 &&
				r->changes.start_modseq == 6 &&
				r->changes.end_modseq == 7, i);
	}
	test_assert(outband_store_status(store, &status, &error) == 1);
	test_assert(status.queued == 4 && status.held == 3);

	/* what isn't held goes first, then nothing */
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.event.uid == 0 && row.held_until == 0);
	test_assert(join(store, 1) == 0);
	test_assert(number(store, &row) == 1 && row.seq == 1);
	done(store, &row);
	test_assert(head(store, "phone", &row) == 0);

	test_assert(outband_store_read(store, "joe", ids[0], TRUE, &error) == 1);
	test_assert(outband_store_read(store, "joe", ids[0], TRUE, &error) == 0);
	test_assert(outband_store_release(store, "joe", ids[0], "x", &error) == 0);
	test_assert(outband_store_release(store, "joe", ids[2], "x", &error) == 1);
	test_assert(outband_store_release(store, "joe", ids[2], "x", &error) == 0);
	/* it is to be sent, whatever comes late */
	test_assert(outband_store_read(store, "joe", ids[2], TRUE, &error) == 0);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.id == ids[2] && row.event.uid == 4);
	test_assert(number(store, &row) == 1 && row.seq == 2);
	test_assert(outband_store_read(store, "joe", ids[2], TRUE, &error) == 0);
	test_assert(outband_store_release(store, "joe", ids[1], "x", &error) == 1);
	/* the other channels don't repeat */
	test_assert(outband_store_readable(store, "joe", "phone", 10,
		pool_datastack_create(), &rows, &error) == 0);
	test_assert(array_count(&rows) == 0);
	test_assert(outband_store_read(store, "joe", ids[2], FALSE, &error) == 1);
	test_assert(head(store, "phone", &row) == 1);
	test_assert(row.id == ids[1] && row.event.uid == 3);
	outband_store_close(&store);
	test_end();
}

int main(int argc, char *argv[])
{
	static void (*const test_functions[])(void) = {
		test_outband_store_judged,
		test_outband_store_judged_late,
		test_outband_store_commit,
		test_outband_store_devices,
		test_outband_store_number,
		test_outband_store_next,
		test_outband_store_killed,
		test_outband_store_full,
		test_outband_store_batch,
		test_outband_store_batch_full,
		test_outband_store_batch_broken,
		test_outband_store_deaths,
		test_outband_store_version,
		test_outband_store_admin,
		test_outband_store_trace,
		test_outband_store_trace_count,
		test_outband_store_unregister,
		test_outband_store_rules,
		test_outband_store_others,
		test_outband_store_shared,
		test_outband_store_made_at_once,
		test_outband_store_disconnected,
		test_outband_store_join,
		test_outband_store_join_list,
		test_outband_store_held,
		NULL
	};
	int ret;

	if (argc > 1)
		address = argv[1];
	ioloop_time = 1000;
	ret = test_run(test_functions);
	if (outband_sql_is_file(address))
		remove_all();
	return ret;
}
