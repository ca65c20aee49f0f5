/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "str.h"
#include "seq-range-array.h"
#include "write-full.h"
#include "test-common.h"
#include "pimap-view-cache.h"
#include "pimap-view-kept.h"

#include <stdio.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TEST_FNAME ".test-pimap-view-kept"
#define TEST_CRITERIA "SUBJECT x"

static const char *test_path(unsigned int i)
{
	return t_strdup_printf(TEST_FNAME".%u", i);
}

/* A view cache with every second UID up to so many, each in a range of its own */
static void test_write(const char *path, uint32_t first, unsigned int count)
{
	struct pimap_view_cache cache = {
		.uid_validity = 1, .indexid = 2, .next_uid = 4000000000U,
		.criteria = TEST_CRITERIA, .zone = "",
	};
	string_t *text = str_new(default_pool, 1024);
	unsigned int i;
	int fd;

	t_array_init(&cache.uids, count + 1);
	for (i = 0; i < count; i++)
		seq_range_array_add(&cache.uids, first + i * 2);
	pimap_view_cache_print(&cache, text);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd == -1 || write_full(fd, str_data(text), str_len(text)) < 0)
		i_fatal("Can't write %s: %m", path);
	i_close_fd(&fd);
	str_free(&text);
}

/* Returns the first UID, 0 if there is no cache. kept_r: it is kept now. */
static uint32_t test_read(const char *path, bool *kept_r)
{
	struct pimap_view_cache cache, again;
	const struct seq_range *first;

	*kept_r = FALSE;
	if (pimap_view_kept_read(path, &cache) < 0)
		return 0;
	test_assert(pimap_view_kept_read(path, &cache) == 0);
	test_assert(pimap_view_kept_read(path, &again) == 0);
	*kept_r = cache.criteria == again.criteria;
	test_assert(strcmp(again.criteria, TEST_CRITERIA) == 0);
	first = array_idx(&again.uids, 0);
	return first->seq1;
}

static void test_set_mtime(const char *path, const struct stat *st)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };

	if (utimensat(AT_FDCWD, path, times, 0) < 0)
		i_fatal("utimensat(%s) failed: %m", path);
}

/* The kernel's clock for files stands still for some milliseconds. */
static void test_wait(void)
{
	usleep(50000);
}

static void test_pimap_view_kept_is_file(void)
{
	const char *path = test_path(0), *path2 = test_path(1);
	struct stat st;
	bool kept;

	test_begin("view kept: is the file");
	ioloop_time = time(NULL) + 10;
	i_unlink_if_exists(path);
	test_assert(test_read(path, &kept) == 0);
	test_write(path, 1, 3);
	test_assert(test_read(path, &kept) == 1 && kept);
	test_assert(test_read(path, &kept) == 1 && kept);
	/* replaced by one of the same size and time */
	if (stat(path, &st) < 0)
		i_fatal("stat() failed: %m");
	test_wait();
	test_write(path2, 2, 3);
	test_set_mtime(path2, &st);
	test_assert(rename(path2, path) == 0);
	test_assert(test_read(path, &kept) == 2 && kept);
	/* written over, in the same way */
	test_wait();
	test_write(path, 3, 3);
	test_set_mtime(path, &st);
	test_assert(test_read(path, &kept) == 3 && kept);
	/* damaged */
	test_wait();
	test_assert(truncate(path, st.st_size - 1) == 0);
	test_assert(test_read(path, &kept) == 0);
	test_write(path, 4, 3);
	test_assert(test_read(path, &kept) == 4 && kept);
	/* gone, and another one is there */
	test_assert(unlink(path) == 0);
	test_assert(test_read(path, &kept) == 0);
	test_assert(test_read(path, &kept) == 0);
	test_write(path, 5, 3);
	test_assert(test_read(path, &kept) == 5 && kept);
	/* other paths are other caches */
	test_write(path2, 6, 3);
	test_assert(test_read(path2, &kept) == 6 && kept);
	test_assert(test_read(path, &kept) == 5 && kept);
	pimap_view_kept_free();
	i_unlink(path);
	i_unlink(path2);
	test_end();
}

static void test_pimap_view_kept_settled(void)
{
	const char *path = test_path(0);
	struct stat st;
	bool kept;

	test_begin("view kept: settled");
	test_write(path, 1, 3);
	if (stat(path, &st) < 0)
		i_fatal("stat() failed: %m");
	/* it may be replaced by one that has the same time, or the clock may
	   have been set back */
	for (ioloop_time = st.st_ctime - 10; ioloop_time <= st.st_ctime + 1;
	     ioloop_time++)
		test_assert(test_read(path, &kept) == 1 && !kept);
	test_assert(test_read(path, &kept) == 1 && kept);
	pimap_view_kept_free();
	i_unlink(path);
	test_end();
}

/* It was kept before; nothing is kept by asking. */
static bool test_is_kept(unsigned int i)
{
	const time_t now = ioloop_time;
	bool kept;

	ioloop_time = 0;
	T_BEGIN {
		test_assert_idx(test_read(test_path(i), &kept) > 0, i);
	} T_END;
	ioloop_time = now;
	return kept;
}

static void test_keep(unsigned int i)
{
	struct pimap_view_cache cache;

	T_BEGIN {
		test_assert_idx(pimap_view_kept_read(test_path(i),
						     &cache) == 0, i);
	} T_END;
}

static void test_pimap_view_kept_bounds(void)
{
	const unsigned int count = PIMAP_VIEW_KEPT_MAX_COUNT;
	const unsigned int large = PIMAP_VIEW_KEPT_MAX_SIZE / 8 / 3;
	unsigned int i;

	test_begin("view kept: bounds");
	ioloop_time = time(NULL) + 10;
	for (i = 0; i <= count; i++) T_BEGIN {
		test_write(test_path(i), i + 1, 1);
	} T_END;
	for (i = 0; i < count; i++)
		test_keep(i);
	for (i = 0; i < count; i++)
		test_assert_idx(test_is_kept(i), i);
	/* the one that was used longest ago goes */
	test_keep(0);
	test_keep(count);
	for (i = 0; i <= count; i++)
		test_assert_idx(test_is_kept(i) == (i != 1), i);
	pimap_view_kept_free();
	for (i = 0; i <= count; i++)
		test_assert_idx(!test_is_kept(i), i);

	/* two of these are all that may be kept, and more than that is one */
	for (i = 0; i < 3; i++) T_BEGIN {
		test_write(test_path(i), 1, large);
	} T_END;
	T_BEGIN {
		test_write(test_path(3), 1, large * 3);
	} T_END;
	for (i = 0; i < 4; i++)
		test_keep(i);
	for (i = 0; i < 4; i++)
		test_assert_idx(test_is_kept(i) == (i == 1 || i == 2), i);
	pimap_view_kept_free();
	for (i = 0; i <= count; i++)
		i_unlink(test_path(i));
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_view_kept_is_file,
		test_pimap_view_kept_settled,
		test_pimap_view_kept_bounds,
		NULL
	};
	return test_run(test_functions);
}
