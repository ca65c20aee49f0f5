/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "str.h"
#include "unlink-directory.h"
#include "write-full.h"
#include "test-common.h"
#include "pimap-locks.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR ".test-pimap-locks"
#define FILE_PATH DIR"/"PIMAP_LOCKS_DIR"/"PIMAP_LOCKS_FILE

static void test_write(const char *text)
{
	int fd = open(FILE_PATH".tmp", O_WRONLY | O_CREAT | O_TRUNC, 0644);

	test_assert(fd != -1);
	test_assert(write_full(fd, text, strlen(text)) == 0);
	i_close_fd(&fd);
	test_assert(rename(FILE_PATH".tmp", FILE_PATH) == 0);
}

static void test_pimap_locks(void)
{
	struct pimap_locks *locks = pimap_locks_init(DIR);
	string_t *text = t_str_new(256);
	const char *error;

	test_begin("pimap_locks");
	(void)unlink_directory(DIR, UNLINK_DIRECTORY_FLAG_RMDIR, &error);
	/* neither the directory nor the file */
	test_assert(pimap_locks_check(locks, "joe", "P1", &error) == 0);
	test_assert(mkdir(DIR, 0700) == 0 &&
		    mkdir(DIR"/"PIMAP_LOCKS_DIR, 0700) == 0);
	test_assert(pimap_locks_check(locks, "joe", "P1", &error) == 0);
	test_write("");
	test_assert(pimap_locks_check(locks, "joe", "P1", &error) == 0);

	pimap_locks_append(text, "jane", "P2");
	pimap_locks_append(text, "joe", "P1");
	pimap_locks_append(text, "joe@foo.com", "P3");
	test_write(str_c(text));
	test_assert(pimap_locks_check(locks, "joe", "P1", &error) == 1);
	test_assert(pimap_locks_check(locks, "jane", "P2", &error) == 1);
	test_assert(pimap_locks_check(locks, "joe@foo.com", "P3", &error) == 1);
	test_assert(pimap_locks_check(locks, "joe", "P3", &error) == 0);
	test_assert(pimap_locks_check(locks, "joe", "p1", &error) == 0);
	test_assert(pimap_locks_check(locks, "jane", "P1", &error) == 0);
	/* who reads it doesn't learn their names */
	test_assert(strstr(str_c(text), "joe") == NULL);

	/* another file of the same size, at once */
	str_truncate(text, 0);
	pimap_locks_append(text, "jane", "P2");
	pimap_locks_append(text, "joe", "P4");
	pimap_locks_append(text, "joe@foo.com", "P3");
	test_write(str_c(text));
	test_assert(pimap_locks_check(locks, "joe", "P1", &error) == 0);
	test_assert(pimap_locks_check(locks, "joe", "P4", &error) == 1);

	/* in doubt nobody may say that a device isn't locked */
	i_unlink(FILE_PATH);
	test_assert(pimap_locks_check(locks, "joe", "P4", &error) == 0);
	test_assert(mkdir(FILE_PATH, 0700) == 0);
	test_assert(pimap_locks_check(locks, "joe", "P4", &error) == -1);
	test_assert(pimap_locks_check(locks, "joe", "P4", &error) == -1);
	test_assert(rmdir(FILE_PATH) == 0);
	test_assert(unlink_directory(DIR, UNLINK_DIRECTORY_FLAG_RMDIR,
				     &error) >= 0);
	pimap_locks_deinit(&locks);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_locks,
		NULL
	};

	return test_run(test_functions);
}
