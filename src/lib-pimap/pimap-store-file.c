/* SPDX-License-Identifier: LGPL-2.1-only */
/* A profile in a file. A change locks a file beside it, writes a new file, makes
   it durable and renames it over the old one: readers need no lock, and see the
   old profile or the new one. The lock is the kernel's: it goes with the process
   that has it. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "file-lock.h"
#include "mkdir-parents.h"
#include "read-full.h"
#include "write-full.h"
#include "pimap-profile.h"
#include "pimap-store.h"
#include "pimap-store-sessions.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct pimap_store_file {
	struct pimap_store store;
	char *path, *dir, *lock_path, *tmp_path;
	int lock_fd;
	struct file_lock *lock;

	/* The file that was read last; -1 and st_ino = 0 if there was none.
	   As long as it is open no other file gets its inode number, so that
	   comparing those is safe. */
	int fd;
	struct stat st;
	bool read_once;

	struct pimap_store_sessions sessions;
};

#define STORE_LOCK_TIMEOUT_SECS 30

static struct pimap_store_file *store_file(struct pimap_store *store)
{
	return container_of(store, struct pimap_store_file, store);
}

static bool stat_equals(const struct stat *st1, const struct stat *st2)
{
	return st1->st_ino == st2->st_ino && st1->st_dev == st2->st_dev &&
		st1->st_size == st2->st_size &&
		st1->st_mtim.tv_sec == st2->st_mtim.tv_sec &&
		st1->st_mtim.tv_nsec == st2->st_mtim.tv_nsec;
}

static int
store_file_parse(const char *path, int fd, uoff_t size,
		 struct pimap_profile **profile_r, const char **error_r)
{
	const char *error;
	void *data;
	int ret;

	if (size > PIMAP_STORE_MAX_SIZE) {
		*error_r = t_strdup_printf("%s is too large", path);
		return -1;
	}
	/* whoever changes it puts another file in its place */
	data = t_malloc_no0(size + 1);
	ret = size == 0 ? 1 : read_full(fd, data, size);
	if (ret < 0) {
		*error_r = t_strdup_printf("read(%s) failed: %m", path);
		return -1;
	}
	if (pimap_profile_parse(data, ret == 0 ? 0 : size, profile_r,
				&error) < 0) {
		*error_r = t_strdup_printf("Profile %s is unusable: %s "
			"(restore it, or delete it to lose all filters)",
			path, error);
		return -1;
	}
	return 0;
}

/* fd_r is -1 and st_r zero if there is no file. */
static int
store_file_load(const char *path, int *fd_r, struct stat *st_r,
		struct pimap_profile **profile_r, const char **error_r)
{
	i_zero(st_r);
	*fd_r = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd_r == -1 && errno == ENOENT) {
		*profile_r = pimap_profile_alloc();
		return 0;
	}
	if (*fd_r == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	if (fstat(*fd_r, st_r) < 0)
		*error_r = t_strdup_printf("fstat(%s) failed: %m", path);
	else if (!S_ISREG(st_r->st_mode))
		*error_r = t_strdup_printf("%s is not a file", path);
	else if (store_file_parse(path, *fd_r, st_r->st_size, profile_r,
				  error_r) == 0)
		return 0;
	i_close_fd(fd_r);
	return -1;
}

static int
store_file_read_locked(struct pimap_store *store,
		       struct pimap_profile **profile_r, const char **error_r)
{
	struct stat st;
	int fd;

	if (store_file_load(store_file(store)->path, &fd, &st, profile_r,
			    error_r) < 0)
		return -1;
	i_close_fd(&fd);
	return 0;
}

static int
store_file_read(struct pimap_store *store, struct pimap_profile **profile_r,
		const char **error_r)
{
	struct pimap_store_file *fstore = store_file(store);
	struct stat st;

	if (fstore->read_once) {
		if (stat(fstore->path, &st) < 0) {
			if (errno != ENOENT) {
				*error_r = t_strdup_printf(
					"stat(%s) failed: %m", fstore->path);
				return -1;
			}
			i_zero(&st);
		}
		if (stat_equals(&st, &fstore->st))
			return 0;
	}
	i_close_fd(&fstore->fd);
	fstore->read_once = FALSE;
	if (store_file_load(fstore->path, &fstore->fd, &fstore->st, profile_r,
			    error_r) < 0)
		return -1;
	fstore->read_once = TRUE;
	return 1;
}

static int store_dir_fsync(const char *dir, const char **error_r)
{
	int fd, ret = 0;

	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", dir);
		return -1;
	}
	if (fsync(fd) < 0) {
		*error_r = t_strdup_printf("fsync(%s) failed: %m", dir);
		ret = -1;
	}
	i_close_fd(&fd);
	return ret;
}

static const char *parent_dir(const char *path)
{
	const char *p = strrchr(path, '/');

	if (p == NULL)
		return ".";
	return p == path ? "/" : t_strdup_until(path, p);
}

/* Makes the folder, durably: a home that had no mail yet. */
static int store_file_mkdir(const char *dir, const char **error_r)
{
	const char *existing = dir;
	struct stat st;

	while (stat(existing, &st) < 0 && errno == ENOENT &&
	       strcmp(existing, parent_dir(existing)) != 0)
		existing = parent_dir(existing);
	if (mkdir_parents(dir, 0700) < 0 && errno != EEXIST) {
		*error_r = t_strdup_printf("mkdir(%s) failed: %m", dir);
		return -1;
	}
	while (strcmp(dir, existing) != 0) {
		dir = parent_dir(dir);
		if (store_dir_fsync(dir, error_r) < 0)
			return -1;
	}
	return 0;
}

static int store_file_open_lock(struct pimap_store_file *fstore,
				const char **error_r)
{
	const int flags = O_RDWR | O_CREAT | O_CLOEXEC;
	int fd;

	fd = open(fstore->lock_path, flags, 0600);
	if (fd == -1 && errno == ENOENT) {
		if (store_file_mkdir(fstore->dir, error_r) < 0)
			return -1;
		fd = open(fstore->lock_path, flags, 0600);
	}
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m",
					   fstore->lock_path);
	}
	return fd;
}

static int store_file_lock(struct pimap_store *store, const char **error_r)
{
	static const struct file_lock_settings lock_set = {
		.lock_method = FILE_LOCK_METHOD_FCNTL,
	};
	struct pimap_store_file *fstore = store_file(store);

	i_assert(fstore->lock_fd == -1);
	fstore->lock_fd = store_file_open_lock(fstore, error_r);
	if (fstore->lock_fd == -1)
		return -1;
	/* 0: somebody else has had it all the time; error_r says who */
	if (file_wait_lock(fstore->lock_fd, fstore->lock_path, F_WRLCK,
			   &lock_set, STORE_LOCK_TIMEOUT_SECS, &fstore->lock,
			   error_r) <= 0) {
		i_close_fd(&fstore->lock_fd);
		return -1;
	}
	return 0;
}

static void store_file_unlock(struct pimap_store *store)
{
	struct pimap_store_file *fstore = store_file(store);

	file_unlock(&fstore->lock);
	i_close_fd(&fstore->lock_fd);
}

static int
store_file_write_tmp(struct pimap_store_file *fstore, const string_t *text,
		     const char **error_r)
{
	const char *func = NULL;
	int fd;

	fd = open(fstore->tmp_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		  0600);
	if (fd == -1)
		func = "open";
	else if (write_full(fd, str_data(text), str_len(text)) < 0)
		func = "write";
	else if (fsync(fd) < 0)
		func = "fsync";
	else if (rename(fstore->tmp_path, fstore->path) < 0)
		func = "rename";
	if (func != NULL) {
		*error_r = t_strdup_printf("%s(%s) failed: %m", func,
					   fstore->tmp_path);
		i_unlink_if_exists(fstore->tmp_path);
	}
	i_close_fd(&fd);
	return func == NULL ? 0 : -1;
}

static int
store_file_write_unlock(struct pimap_store *store, const string_t *text,
			const char **error_r)
{
	struct pimap_store_file *fstore = store_file(store);
	int ret;

	ret = store_file_write_tmp(fstore, text, error_r);
	if (ret == 0) {
		/* for those that watch it; others have to look at times */
		if (pwrite(fstore->lock_fd, "\n", 1, 0) < 0)
			errno = 0;
		ret = store_dir_fsync(fstore->dir, error_r);
	}
	store_file_unlock(store);
	return ret;
}

/* The profile itself isn't enough: inotify tells of the end of a file that was
   renamed over only when no reader has it open any more. Its folder has mail
   in it, and changes all the time: it stands in where there is no lock file
   yet. */
static const char *const *store_file_get_watch_paths(struct pimap_store *store)
{
	struct pimap_store_file *fstore = store_file(store);
	const char *paths[] = { fstore->lock_path, fstore->path };
	ARRAY_TYPE(const_string) existing;
	struct stat st;
	unsigned int i;

	if (stat(fstore->lock_path, &st) < 0)
		paths[0] = fstore->dir;
	t_array_init(&existing, N_ELEMENTS(paths) + 1);
	for (i = 0; i < N_ELEMENTS(paths); i++) {
		if (stat(paths[i], &st) == 0)
			array_push_back(&existing, &paths[i]);
	}
	array_append_zero(&existing);
	return array_front(&existing);
}

static int
store_file_set_session(struct pimap_store *store, const char *id,
		       const char **error_r)
{
	struct pimap_store_file *fstore = store_file(store);

	/* a login alone leaves no file */
	if (id != NULL && fstore->fd == -1)
		return 0;
	return pimap_store_sessions_set(&fstore->sessions, id, error_r);
}

static int
store_file_count_sessions(struct pimap_store *store,
			  const struct pimap_profile *profile, const char *id,
			  unsigned int max, unsigned int *count_r,
			  const char **error_r)
{
	return pimap_store_sessions_count(&store_file(store)->sessions, profile,
					  id, max, count_r, error_r);
}

static void store_file_free(struct pimap_store *store)
{
	struct pimap_store_file *fstore = store_file(store);

	i_assert(fstore->lock_fd == -1);
	i_close_fd(&fstore->fd);
	pimap_store_sessions_deinit(&fstore->sessions);
	i_free(fstore->path);
	i_free(fstore->dir);
	i_free(fstore->lock_path);
	i_free(fstore->tmp_path);
	i_free(fstore);
}

static const struct pimap_store_vfuncs store_file_vfuncs = {
	.read = store_file_read,
	.lock = store_file_lock,
	.read_locked = store_file_read_locked,
	.write_unlock = store_file_write_unlock,
	.unlock = store_file_unlock,
	.get_watch_paths = store_file_get_watch_paths,
	.set_session = store_file_set_session,
	.count_sessions = store_file_count_sessions,
	.free = store_file_free,
};

struct pimap_store *pimap_store_file_create(const char *path)
{
	struct pimap_store_file *fstore = i_new(struct pimap_store_file, 1);

	fstore->store.v = &store_file_vfuncs;
	fstore->path = i_strdup(path);
	fstore->dir = i_strdup(parent_dir(path));
	fstore->lock_path = i_strconcat(path, ".lock", NULL);
	fstore->tmp_path = i_strconcat(path, ".tmp", NULL);
	fstore->fd = -1;
	fstore->lock_fd = -1;
	pimap_store_sessions_init(&fstore->sessions,
				  t_strconcat(path, ".sessions", NULL));
	return &fstore->store;
}
