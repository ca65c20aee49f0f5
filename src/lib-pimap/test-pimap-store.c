/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "unlink-directory.h"
#include "write-full.h"
#include "test-common.h"
#include "pimap-profile.h"
#include "pimap-store.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST_DIR ".test-pimap-store"
#define TEST_PATH TEST_DIR"/new/deep/profile"
#define SESSIONS_PATH TEST_PATH".sessions"

static void test_dir_remove(void)
{
	const char *error;

	if (unlink_directory(TEST_DIR, UNLINK_DIRECTORY_FLAG_RMDIR, &error) < 0 &&
	    errno != ENOENT)
		i_fatal("unlink_directory() failed: %s", error);
}

static void add_filter(struct pimap_store *store, const char *name)
{
	struct pimap_profile *profile;
	const char *error;

	if (pimap_store_begin(store, &profile, &error) < 0)
		i_fatal("begin: %s", error);
	pimap_profile_set_filter(profile, name, NULL, "ALL");
	if (pimap_store_commit(store, profile, &error) != PIMAP_STORE_OK)
		i_fatal("commit: %s", error);
	pimap_profile_free(&profile);
}

static int count_filters(struct pimap_store *store)
{
	struct pimap_profile *profile;
	const char *error;
	int ret;

	ret = pimap_store_read(store, &profile, &error);
	if (ret <= 0)
		return -1;
	ret = array_count(&profile->filters);
	pimap_profile_free(&profile);
	return ret;
}

static void test_pimap_store_file(void)
{
	struct pimap_store *store = pimap_store_file_create(TEST_PATH);
	struct pimap_store *other = pimap_store_file_create(TEST_PATH);
	struct pimap_profile *profile;
	const char *error;
	struct stat st;

	test_begin("store: file");
	/* nothing there yet, not even its folder: read once, then unchanged */
	test_assert(count_filters(store) == 0);
	test_assert(pimap_store_read(store, &profile, &error) == 0);
	test_assert(stat(TEST_DIR, &st) < 0);

	add_filter(other, "F1");
	test_assert(count_filters(store) == 1);
	test_assert(pimap_store_read(store, &profile, &error) == 0);
	/* one's own change is seen by reading, too */
	add_filter(store, "F2");
	test_assert(count_filters(store) == 2);
	test_assert(count_filters(other) == 2);

	/* a change that isn't committed is none */
	test_assert(pimap_store_begin(store, &profile, &error) == 0);
	pimap_profile_set_filter(profile, "F3", NULL, "ALL");
	pimap_store_rollback(store);
	pimap_profile_free(&profile);
	test_assert(count_filters(other) == -1);
	/* what a change has read is not what read() has returned */
	pimap_store_free(&other);
	other = pimap_store_file_create(TEST_PATH);
	test_assert(pimap_store_begin(other, &profile, &error) == 0);
	pimap_store_rollback(other);
	pimap_profile_free(&profile);
	test_assert(count_filters(other) == 2);
	test_assert(stat(TEST_PATH".tmp", &st) < 0);
	test_assert(stat(TEST_PATH, &st) == 0 && (st.st_mode & 0777) == 0600);

	/* it goes */
	i_unlink(TEST_PATH);
	test_assert(count_filters(other) == 0);
	pimap_store_free(&other);
	pimap_store_free(&store);
	test_dir_remove();
	test_end();
}

/* A file of the same size in the same instant is another one. */
static void test_pimap_store_same_size(void)
{
	struct pimap_store *store = pimap_store_file_create(TEST_PATH);
	struct pimap_store *other = pimap_store_file_create(TEST_PATH);
	struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	struct pimap_profile *profile;
	const char *error;
	unsigned int i;

	test_begin("store: changed in the same instant");
	add_filter(other, "X");
	for (i = 0; i < 20; i++) {
		const char *name = i % 2 == 0 ? "A" : "B";

		test_assert(pimap_store_begin(other, &profile, &error) == 0);
		array_clear(&profile->filters);
		pimap_profile_set_filter(profile, name, NULL, "ALL");
		test_assert(pimap_store_commit(other, profile, &error) ==
			    PIMAP_STORE_OK);
		pimap_profile_free(&profile);
		if (utimensat(AT_FDCWD, TEST_PATH, times, 0) < 0)
			i_fatal("utimensat() failed: %m");
		test_assert_idx(pimap_store_read(store, &profile, &error) == 1, i);
		test_assert_idx(pimap_profile_find_filter(profile, name) != NULL, i);
		pimap_profile_free(&profile);
	}
	pimap_store_free(&other);
	pimap_store_free(&store);
	test_dir_remove();
	test_end();
}

static void write_raw(const char *data, size_t size)
{
	int fd = open(TEST_PATH, O_WRONLY | O_TRUNC | O_CREAT, 0600);

	if (fd == -1 || write_full(fd, data, size) < 0)
		i_fatal("writing %s failed: %m", TEST_PATH);
	i_close_fd(&fd);
}

static void test_pimap_store_damaged(void)
{
	struct pimap_store *store = pimap_store_file_create(TEST_PATH);
	struct pimap_profile *profile;
	const char *error;
	char *large = i_malloc(PIMAP_STORE_MAX_SIZE + 100);

	test_begin("store: damaged");
	add_filter(store, "F1");
	write_raw("hello", 5);
	/* it isn't forgotten that it was damaged */
	test_assert(pimap_store_read(store, &profile, &error) < 0);
	test_assert(pimap_store_read(store, &profile, &error) < 0);
	test_assert(strstr(error, "restore it, or delete it") != NULL);
	test_assert(pimap_store_begin(store, &profile, &error) < 0);
	write_raw("", 0);
	test_assert(pimap_store_read(store, &profile, &error) < 0);
	memset(large, 'x', PIMAP_STORE_MAX_SIZE + 100);
	write_raw(large, PIMAP_STORE_MAX_SIZE + 100);
	test_assert(pimap_store_read(store, &profile, &error) < 0);
	test_assert(strstr(error, "too large") != NULL);
	/* a folder in its place */
	i_unlink(TEST_PATH);
	if (mkdir(TEST_PATH, 0700) < 0)
		i_fatal("mkdir() failed: %m");
	test_assert(pimap_store_read(store, &profile, &error) < 0);
	i_free(large);
	pimap_store_free(&store);
	test_dir_remove();
	test_end();
}

static void test_pimap_store_too_large(void)
{
	struct pimap_store *store = pimap_store_file_create(TEST_PATH);
	struct pimap_profile *profile;
	const char *error;
	char *large = i_malloc(PIMAP_STORE_MAX_SIZE);

	test_begin("store: too large");
	add_filter(store, "F1");
	memset(large, 'x', PIMAP_STORE_MAX_SIZE - 1);
	test_assert(pimap_store_begin(store, &profile, &error) == 0);
	pimap_profile_set_filter(profile, "F2", NULL, large);
	test_assert(pimap_store_commit(store, profile, &error) ==
		    PIMAP_STORE_TOO_LARGE);
	pimap_profile_free(&profile);
	test_assert(count_filters(store) == 1 ||
		    pimap_store_read(store, &profile, &error) == 0);
	add_filter(store, "F3");
	test_assert(count_filters(store) == 2);
	i_free(large);
	pimap_store_free(&store);
	test_dir_remove();
	test_end();
}

/* Several processes change the profile at once: nothing is lost. */
static void test_pimap_store_parallel(void)
{
	enum { PROCESSES = 4, CHANGES = 10 };
	struct pimap_store *store;
	pid_t pids[PROCESSES];
	unsigned int i, j;
	int status;

	test_begin("store: parallel changes");
	for (i = 0; i < PROCESSES; i++) {
		if ((pids[i] = fork()) < 0)
			i_fatal("fork() failed: %m");
		if (pids[i] != 0)
			continue;
		store = pimap_store_file_create(TEST_PATH);
		for (j = 0; j < CHANGES; j++) T_BEGIN {
			add_filter(store, t_strdup_printf("F%u-%u", i, j));
		} T_END;
		_exit(0);
	}
	for (i = 0; i < PROCESSES; i++) {
		test_assert_idx(waitpid(pids[i], &status, 0) == pids[i] &&
				status == 0, i);
	}
	store = pimap_store_file_create(TEST_PATH);
	test_assert(count_filters(store) == PROCESSES * CHANGES);
	pimap_store_free(&store);
	test_dir_remove();
	test_end();
}

/* A process that dies in the middle of a change hinders nobody. */
static void test_pimap_store_killed(void)
{
	struct pimap_store *store;
	struct pimap_profile *profile;
	const char *error;
	pid_t pid;
	int status;

	test_begin("store: killed during a change");
	store = pimap_store_file_create(TEST_PATH);
	add_filter(store, "F1");
	if ((pid = fork()) < 0)
		i_fatal("fork() failed: %m");
	if (pid == 0) {
		if (pimap_store_begin(store, &profile, &error) < 0)
			_exit(1);
		/* as if in the middle of writing */
		if (creat(TEST_PATH".tmp", 0600) < 0)
			_exit(2);
		_exit(0);
	}
	test_assert(waitpid(pid, &status, 0) == pid && status == 0);
	add_filter(store, "F2");
	test_assert(count_filters(store) == 2);
	pimap_store_free(&store);
	test_dir_remove();
	test_end();
}

/* The disk is full: the old profile is still there. */
static void test_pimap_store_full(void)
{
	struct pimap_store *store = pimap_store_file_create(TEST_PATH);
	struct rlimit old_limit, limit;
	struct pimap_profile *profile;
	const char *error;

	test_begin("store: no space");
	add_filter(store, "F1");
	if (getrlimit(RLIMIT_FSIZE, &old_limit) < 0)
		i_fatal("getrlimit() failed: %m");
	limit = old_limit;
	limit.rlim_cur = 10;
	(void)signal(SIGXFSZ, SIG_IGN);
	test_assert(pimap_store_begin(store, &profile, &error) == 0);
	pimap_profile_set_filter(profile, "F2", NULL, "ALL");
	(void)setrlimit(RLIMIT_FSIZE, &limit);
	test_assert(pimap_store_commit(store, profile, &error) ==
		    PIMAP_STORE_FAILED);
	(void)setrlimit(RLIMIT_FSIZE, &old_limit);
	pimap_profile_free(&profile);
	test_assert(strstr(error, "write(") != NULL);
	test_assert(count_filters(store) == 1);
	add_filter(store, "F3");
	test_assert(count_filters(store) == 2);
	pimap_store_free(&store);
	test_dir_remove();
	test_end();
}

static void read_store(struct pimap_store *store)
{
	struct pimap_profile *profile;
	const char *error;
	int ret;

	ret = pimap_store_read(store, &profile, &error);
	if (ret < 0)
		i_fatal("read: %s", error);
	if (ret > 0)
		pimap_profile_free(&profile);
}

static struct pimap_store *session_begin(const char *id)
{
	struct pimap_store *store = pimap_store_file_create(TEST_PATH);
	const char *error;

	read_store(store);
	if (pimap_store_set_session(store, id, &error) < 0)
		i_fatal("set_session: %s", error);
	return store;
}

static unsigned int
count_sessions(struct pimap_store *store, const char *id, unsigned int max)
{
	struct pimap_profile *profile;
	unsigned int count;
	const char *error;

	if (pimap_store_begin(store, &profile, &error) < 0)
		i_fatal("begin: %s", error);
	if (pimap_store_count_sessions(store, profile, id, max, &count,
				       &error) < 0)
		i_fatal("count_sessions: %s", error);
	pimap_store_rollback(store);
	pimap_profile_free(&profile);
	return count;
}

static void add_device(struct pimap_store *store, const char *id)
{
	struct pimap_profile *profile;
	const char *error;

	if (pimap_store_begin(store, &profile, &error) < 0)
		i_fatal("begin: %s", error);
	(void)pimap_profile_add_device(profile, id, PIMAP_DEVICE_MODE_VIEW);
	if (pimap_store_commit(store, profile, &error) != PIMAP_STORE_OK)
		i_fatal("commit: %s", error);
	pimap_profile_free(&profile);
}

static void test_pimap_store_sessions(void)
{
	struct pimap_store *store, *s1, *s1_again, *s2, *s3;
	const char *error;
	struct stat st;

	test_begin("store: sessions");
	/* nothing there yet, and nothing is made */
	s1 = session_begin("P1");
	test_assert(stat(TEST_DIR, &st) < 0);
	store = pimap_store_file_create(TEST_PATH);
	add_filter(store, "F1");
	test_assert(count_sessions(store, "P9", 10) == 0);
	test_assert(pimap_store_set_session(s1, NULL, &error) == 0);
	test_assert(stat(SESSIONS_PATH, &st) < 0);
	/* it has to have read that there is a profile */
	test_assert(pimap_store_set_session(s1, "P1", &error) == 0);
	test_assert(stat(SESSIONS_PATH, &st) < 0);
	read_store(s1);
	test_assert(pimap_store_set_session(s1, "P1", &error) == 0);
	test_assert(stat(SESSIONS_PATH, &st) == 0 &&
		    (st.st_mode & 0777) == 0600 && st.st_size == 0);
	test_assert(count_sessions(store, "P9", 10) == 1);

	/* not the one that is to be added; devices, not sessions */
	test_assert(count_sessions(store, "P1", 10) == 0);
	test_assert(count_sessions(s1, "P1", 10) == 0);
	s1_again = session_begin("P1");
	test_assert(count_sessions(store, "P9", 10) == 1);
	s2 = session_begin("P2");
	s3 = session_begin("P3");
	test_assert(count_sessions(store, "P9", 10) == 3);
	test_assert(count_sessions(store, "P2", 10) == 2);
	/* one's own session counts when another device is added */
	test_assert(count_sessions(s1, "P9", 10) == 3);
	test_assert(count_sessions(s2, "P9", 10) == 3);
	test_assert(count_sessions(s2, "P2", 10) == 2);
	test_assert(count_sessions(store, "P9", 2) == 2);
	test_assert(count_sessions(store, "P9", 0) == 0);

	/* those that are in the profile don't count, noted or not */
	add_device(store, "P2");
	test_assert(count_sessions(store, "P9", 10) == 2);
	test_assert(pimap_store_set_session(s2, NULL, &error) == 0);
	test_assert(count_sessions(store, "P9", 10) == 2);
	/* the same again changes nothing, another takes its place */
	test_assert(pimap_store_set_session(s3, "P3", &error) == 0);
	test_assert(count_sessions(store, "P3", 10) == 1);
	test_assert(pimap_store_set_session(s3, "P4", &error) == 0);
	test_assert(count_sessions(store, "P3", 10) == 2);
	test_assert(count_sessions(store, "P4", 10) == 1);
	test_assert(pimap_store_set_session(s3, NULL, &error) == 0);
	test_assert(count_sessions(store, "P9", 10) == 1);
	test_assert(pimap_store_set_session(s3, "P4", &error) == 0);
	test_assert(count_sessions(store, "P9", 10) == 2);

	/* they go, one after the other */
	pimap_store_free(&s3);
	test_assert(count_sessions(store, "P9", 10) == 1);
	pimap_store_free(&s1);
	test_assert(count_sessions(store, "P9", 10) == 1);
	pimap_store_free(&s1_again);
	test_assert(count_sessions(store, "P9", 10) == 0);
	pimap_store_free(&s2);
	pimap_store_free(&store);
	test_dir_remove();
	test_end();
}

/* Whatever the order in which they come, none is missed. */
static void test_pimap_store_sessions_many(void)
{
	enum { SESSIONS = 200 };
	struct pimap_store *store = pimap_store_file_create(TEST_PATH);
	struct pimap_store *sessions[SESSIONS];
	unsigned int i;

	test_begin("store: many sessions");
	add_filter(store, "F1");
	for (i = 0; i < SESSIONS; i++) T_BEGIN {
		sessions[i] = session_begin(t_strdup_printf("phone%u", i));
		test_assert_idx(count_sessions(store, "P9", 1000) == i + 1, i);
	} T_END;
	test_assert(count_sessions(store, "phone7", 1000) == SESSIONS - 1);
	test_assert(count_sessions(store, "P9", 50) == 50);
	for (i = 0; i < SESSIONS; i++) {
		pimap_store_free(&sessions[i]);
		test_assert_idx(count_sessions(store, "P9", 1000) ==
				SESSIONS - 1 - i, i);
	}
	pimap_store_free(&store);
	test_dir_remove();
	test_end();
}

/* The kernel ends what a killed process had. */
static void test_pimap_store_sessions_killed(void)
{
	struct pimap_store *store = pimap_store_file_create(TEST_PATH);
	char c = 'x';
	int fds[2], status;
	pid_t pid;

	test_begin("store: killed session");
	add_filter(store, "F1");
	if (pipe(fds) < 0 || (pid = fork()) < 0)
		i_fatal("pipe() or fork() failed: %m");
	if (pid == 0) {
		(void)session_begin("P1");
		if (write(fds[1], &c, 1) == 1)
			(void)pause();
		_exit(1);
	}
	i_close_fd(&fds[1]);
	test_assert(read(fds[0], &c, 1) == 1);
	test_assert(count_sessions(store, "P9", 10) == 1);
	test_assert(kill(pid, SIGKILL) == 0 &&
		    waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	test_assert(count_sessions(store, "P9", 10) == 0);
	i_close_fd(&fds[0]);
	pimap_store_free(&store);
	test_dir_remove();
	test_end();
}

/* What isn't a file, and locks that others have put there. */
static void test_pimap_store_sessions_faults(void)
{
	struct pimap_store *store = pimap_store_file_create(TEST_PATH);
	struct pimap_store *session;
	struct pimap_profile *profile;
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	unsigned int count = 1;
	const char *error;
	pid_t pid;
	char c = 'x';
	int fd, fds[2], status;

	test_begin("store: sessions, faults");
	add_filter(store, "F1");
	if (mkdir(SESSIONS_PATH, 0700) < 0)
		i_fatal("mkdir() failed: %m");
	session = pimap_store_file_create(TEST_PATH);
	read_store(session);
	test_assert(pimap_store_set_session(session, "P1", &error) < 0);
	test_assert(strstr(error, "open("SESSIONS_PATH") failed: ") != NULL);
	test_assert(pimap_store_begin(store, &profile, &error) == 0);
	test_assert(pimap_store_count_sessions(store, profile, "P9", 10,
					       &count, &error) < 0);
	test_assert(count == 0 && strstr(error, SESSIONS_PATH) != NULL);
	pimap_store_rollback(store);
	pimap_profile_free(&profile);
	if (rmdir(SESSIONS_PATH) < 0)
		i_fatal("rmdir() failed: %m");
	test_assert(pimap_store_set_session(session, "P1", &error) == 0);
	test_assert(count_sessions(store, "P9", 10) == 1);
	pimap_store_free(&session);

	/* all of the file is one lock */
	if (pipe(fds) < 0 || (pid = fork()) < 0)
		i_fatal("pipe() or fork() failed: %m");
	if (pid == 0) {
		fd = open(SESSIONS_PATH, O_RDWR);
		if (fd == -1 || fcntl(fd, F_SETLK, &fl) < 0)
			_exit(1);
		if (write(fds[1], &c, 1) == 1)
			(void)pause();
		_exit(1);
	}
	i_close_fd(&fds[1]);
	test_assert(read(fds[0], &c, 1) == 1);
	test_assert(count_sessions(store, "P9", 10) == 1);
	test_assert(kill(pid, SIGKILL) == 0 &&
		    waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	test_assert(count_sessions(store, "P9", 10) == 0);
	i_close_fd(&fds[0]);
	pimap_store_free(&store);
	test_dir_remove();
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_store_file,
		test_pimap_store_same_size,
		test_pimap_store_damaged,
		test_pimap_store_too_large,
		test_pimap_store_parallel,
		test_pimap_store_killed,
		test_pimap_store_full,
		test_pimap_store_sessions,
		test_pimap_store_sessions_many,
		test_pimap_store_sessions_killed,
		test_pimap_store_sessions_faults,
		NULL
	};
	test_dir_remove();
	return test_run(test_functions);
}
