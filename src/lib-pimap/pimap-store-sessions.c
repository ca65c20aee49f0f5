/* SPDX-License-Identifier: LGPL-2.1-only */
/* Each session holds a lock on one byte of the file, the one with the number that
   its device's id hashes to; the file itself stays empty. The lock is that of an
   open file, not of a process: a process may have several sessions, and it goes
   when the last of its file descriptors does, however the process ends. Two ids
   that hash to the same number are one: that lets a device in, and shuts none
   out. */

#define _GNU_SOURCE
#include "lib.h"
#include "array.h"
#include "crc32.h"
#include "pimap-profile.h"
#include "pimap-store-sessions.h"

#include <fcntl.h>
#include <unistd.h>

#define KEY_MAX 0x7fffffff
/* of locks that are looked at while others wait for the store */
#define LOCKS_MAX 10000

void pimap_store_sessions_init(struct pimap_store_sessions *sessions,
			       const char *path)
{
	sessions->path = i_strdup(path);
	sessions->fd = -1;
}

void pimap_store_sessions_deinit(struct pimap_store_sessions *sessions)
{
	i_close_fd(&sessions->fd);
	i_free(sessions->path);
}

#ifdef F_OFD_SETLK

struct keys {
	off_t first, last;
};

static uint32_t device_key(const char *id)
{
	return crc32_str(id) & KEY_MAX;
}

/* A kernel that doesn't know these locks is no fault. */
static int lock_call(const char *path, int fd, int cmd, struct flock *fl,
		     const char **error_r)
{
	if (fcntl(fd, cmd, fl) == 0)
		return 1;
	if (errno == EINVAL)
		return 0;
	*error_r = t_strdup_printf("fcntl(%s) failed: %m", path);
	return -1;
}

int pimap_store_sessions_set(struct pimap_store_sessions *sessions,
			     const char *id, const char **error_r)
{
	struct flock fl = {
		.l_type = F_RDLCK,
		.l_whence = SEEK_SET,
		.l_len = 1,
	};
	int ret;

	if (id != NULL && sessions->fd != -1 &&
	    sessions->key == device_key(id))
		return 0;
	i_close_fd(&sessions->fd);
	if (id == NULL)
		return 0;

	sessions->key = device_key(id);
	sessions->fd = open(sessions->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (sessions->fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m",
					   sessions->path);
		return -1;
	}
	fl.l_start = sessions->key;
	ret = lock_call(sessions->path, sessions->fd, F_OFD_SETLK, &fl,
			error_r);
	if (ret <= 0)
		i_close_fd(&sessions->fd);
	return ret < 0 ? -1 : 0;
}

/* Of the locks among these keys the kernel tells one, not the first one: what is
   left on its two sides is looked at then. */
static int
sessions_count(const char *path, int fd, const ARRAY_TYPE(uint32_t) *known,
	       unsigned int max, unsigned int *count_r, const char **error_r)
{
	struct keys keys = { .first = 0, .last = KEY_MAX }, rest;
	ARRAY(struct keys) todo;
	struct flock fl;
	unsigned int i, todo_count, locks = 0;
	uint32_t key;
	int ret;

	t_array_init(&todo, 64);
	array_push_back(&todo, &keys);
	while ((todo_count = array_count(&todo)) > 0 && *count_r < max &&
	       locks < LOCKS_MAX) {
		keys = *array_idx(&todo, todo_count - 1);
		array_pop_back(&todo);
		i_zero(&fl);
		fl.l_type = F_WRLCK;
		fl.l_whence = SEEK_SET;
		fl.l_start = keys.first;
		fl.l_len = keys.last - keys.first + 1;
		ret = lock_call(path, fd, F_OFD_GETLK, &fl, error_r);
		if (ret <= 0)
			return ret;
		if (fl.l_type == F_UNLCK)
			continue;
		locks++;
		/* what isn't ours may be of any size */
		rest.first = keys.first;
		rest.last = fl.l_start - 1;
		if (rest.first <= rest.last)
			array_push_back(&todo, &rest);
		rest.first = fl.l_start + fl.l_len;
		rest.last = keys.last;
		if (fl.l_len > 0 && rest.first <= rest.last)
			array_push_back(&todo, &rest);

		for (i = 0; i < array_count(known); i++) {
			key = *array_idx(known, i);
			if (fl.l_start == (off_t)key)
				break;
		}
		if (i == array_count(known))
			*count_r += 1;
	}
	return 0;
}

int pimap_store_sessions_count(struct pimap_store_sessions *sessions,
			       const struct pimap_profile *profile,
			       const char *id, unsigned int max,
			       unsigned int *count_r, const char **error_r)
{
	ARRAY_TYPE(uint32_t) known;
	struct pimap_device *device;
	uint32_t key = device_key(id);
	int fd, ret;

	*count_r = 0;
	/* not the session's own: a file never tells of its own locks */
	fd = open(sessions->path, O_RDWR | O_CLOEXEC);
	if (fd == -1) {
		if (errno == ENOENT)
			return 0;
		*error_r = t_strdup_printf("open(%s) failed: %m",
					   sessions->path);
		return -1;
	}
	t_array_init(&known, array_count(&profile->devices) + 1);
	array_push_back(&known, &key);
	array_foreach_elem(&profile->devices, device) {
		key = device_key(device->id);
		array_push_back(&known, &key);
	}
	ret = sessions_count(sessions->path, fd, &known, max, count_r, error_r);
	i_close_fd(&fd);
	return ret;
}

#else

/* There is no such lock: nothing is counted. */
int pimap_store_sessions_set(struct pimap_store_sessions *sessions ATTR_UNUSED,
			     const char *id ATTR_UNUSED,
			     const char **error_r ATTR_UNUSED)
{
	return 0;
}

int pimap_store_sessions_count(struct pimap_store_sessions *sessions ATTR_UNUSED,
			       const struct pimap_profile *profile ATTR_UNUSED,
			       const char *id ATTR_UNUSED,
			       unsigned int max ATTR_UNUSED,
			       unsigned int *count_r,
			       const char **error_r ATTR_UNUSED)
{
	*count_r = 0;
	return 0;
}

#endif
