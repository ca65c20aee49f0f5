/* SPDX-License-Identifier: LGPL-2.1-only */
/* The file of locks: SHA-256 of each user and device, in hex, a line each. It is
   only ever replaced as a whole. */

#include "lib.h"
#include "hex-binary.h"
#include "sha2.h"
#include "str.h"
#include "read-full.h"
#include "pimap-locks.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* so many devices: 1 M */
#define LOCKS_MAX_SIZE (65*1024*1024)

struct pimap_locks {
	char *path;
	/* of the file that was read; st_ino 0 = there was none */
	struct stat st;
	string_t *text;
};

struct pimap_locks *pimap_locks_init(const char *state_dir)
{
	struct pimap_locks *locks = i_new(struct pimap_locks, 1);

	locks->path = i_strconcat(state_dir,
		"/"PIMAP_LOCKS_DIR"/"PIMAP_LOCKS_FILE, NULL);
	locks->text = str_new(default_pool, 128);
	return locks;
}

void pimap_locks_deinit(struct pimap_locks **_locks)
{
	struct pimap_locks *locks = *_locks;

	*_locks = NULL;
	if (locks == NULL)
		return;
	str_free(&locks->text);
	i_free(locks->path);
	i_free(locks);
}

static bool locks_is_file(const struct pimap_locks *locks, const struct stat *st)
{
	return st->st_ino == locks->st.st_ino && st->st_dev == locks->st.st_dev &&
		st->st_size == locks->st.st_size &&
		st->st_mtime == locks->st.st_mtime &&
		ST_MTIME_NSEC(*st) == ST_MTIME_NSEC(locks->st);
}

static int
locks_read(struct pimap_locks *locks, const char **error_r)
{
	struct stat st;
	ssize_t ret;
	int fd;

	fd = open(locks->path, O_RDONLY | O_CLOEXEC);
	if (fd == -1) {
		if (errno == ENOENT)
			return 0;
		*error_r = t_strdup_printf("open(%s) failed: %m", locks->path);
		return -1;
	}
	if (fstat(fd, &st) < 0 || st.st_size > LOCKS_MAX_SIZE) {
		*error_r = t_strdup_printf("%s: it can't be the file of locks",
					   locks->path);
		i_close_fd(&fd);
		return -1;
	}
	str_truncate(locks->text, 0);
	ret = st.st_size == 0 ? 1 :
		read_full(fd, buffer_append_space_unsafe(locks->text,
							 st.st_size),
			  st.st_size);
	i_close_fd(&fd);
	if (ret <= 0) {
		i_zero(&locks->st);
		*error_r = ret == 0 ?
			t_strdup_printf("%s has become shorter", locks->path) :
			t_strdup_printf("read(%s) failed: %m", locks->path);
		return -1;
	}
	locks->st = st;
	return 1;
}

void pimap_locks_append(string_t *dest, const char *user, const char *device)
{
	/* a device has no TAB */
	const char *name = t_strconcat(device, "\t", user, NULL);
	unsigned char digest[SHA256_RESULTLEN];

	sha256_get_digest(name, strlen(name), digest);
	binary_to_hex_append(dest, digest, sizeof(digest));
	str_append_c(dest, '\n');
}

int pimap_locks_check(struct pimap_locks *locks, const char *user,
		      const char *device, const char **error_r)
{
	string_t *line;
	struct stat st;
	int ret;

	if (stat(locks->path, &st) < 0) {
		i_zero(&locks->st);
		str_truncate(locks->text, 0);
		if (errno == ENOENT)
			return 0;
		*error_r = t_strdup_printf("stat(%s) failed: %m", locks->path);
		return -1;
	}
	if (!locks_is_file(locks, &st)) {
		ret = locks_read(locks, error_r);
		if (ret <= 0)
			return ret;
	}
	if (str_len(locks->text) == 0)
		return 0;
	line = t_str_new(SHA256_RESULTLEN * 2 + 2);
	pimap_locks_append(line, user, device);
	/* nothing but whole lines is as long */
	return strstr(str_c(locks->text), str_c(line)) != NULL ? 1 : 0;
}
