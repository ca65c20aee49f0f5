/* SPDX-License-Identifier: LGPL-2.1-only */
/* A change goes into the database first, then into the file: when the service begins,
   the newer one of both counts, by the version that each key has. Which one the
   database is, is known by an id that both have and that changes whenever the service
   begins or ends: with another database, or an older copy of this one, devices go on
   with numbers that are higher than all that were given. */

#include "lib.h"
#include "array.h"
#include "hash.h"
#include "ioloop.h"
#include "randgen.h"
#include "str.h"
#include "write-full.h"
#include "pimap-locks.h"
#include "outband-keys.h"
#include "outband-keys-file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEYS_FILE "keys"
/* so many numbers are given before the file has to know of another one */
#define KEYS_RESERVE 1000
/* read at once */
#define KEYS_LIST_MAX 500
/* Another service, with the same database, may be at the same key. */
#define KEYS_RETRIES 5

struct outband_keys {
	struct event *event;
	char *path, *locks_path;
	struct outband_store_keys *store;
	struct outband_keys_file *file;
	bool open;

	outband_keys_callback_t *callback;
	void *context;
};

struct outband_keys *
outband_keys_init(struct event *event_parent, const char *dir,
		  const char *locks_path)
{
	struct outband_keys *keys = i_new(struct outband_keys, 1);

	keys->event = event_create(event_parent);
	keys->path = i_strconcat(dir, "/"KEYS_FILE, NULL);
	keys->locks_path = i_strdup(locks_path);
	return keys;
}

void outband_keys_set_callback(struct outband_keys *keys,
			       outband_keys_callback_t *callback, void *context)
{
	keys->callback = callback;
	keys->context = context;
}

/* The locks */

static int keys_replace_file(const char *path, const string_t *text,
			     const char **error_r)
{
	const char *temp = t_strconcat(path, ".new", NULL);
	const char *dir = t_strdup_until(path, strrchr(path, '/'));
	int fd, ret = -1;

	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", temp);
		return -1;
	}
	/* everybody may read it */
	if (fchmod(fd, 0644) < 0 ||
	    write_full(fd, str_data(text), str_len(text)) < 0 || fsync(fd) < 0)
		*error_r = t_strdup_printf("write(%s) failed: %m", temp);
	else if (rename(temp, path) < 0)
		*error_r = t_strdup_printf("rename(%s, %s) failed: %m", temp,
					   path);
	else
		ret = 0;
	i_close_fd(&fd);
	if (ret == 0) {
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd == -1 || fsync(fd) < 0) {
			*error_r = t_strdup_printf("fsync(%s) failed: %m", dir);
			ret = -1;
		}
		i_close_fd(&fd);
	}
	return ret;
}

static int keys_write_locks(struct outband_keys *keys, const char **error_r)
{
	const struct outband_keys_file_device *dev;
	struct hash_iterate_context *iter;
	string_t *text = t_str_new(1024);

	iter = outband_keys_file_iterate_init(keys->file);
	while ((dev = outband_keys_file_iterate(iter, keys->file)) != NULL) {
		if (dev->key.locked)
			pimap_locks_append(text, dev->user, dev->device);
	}
	hash_table_iterate_deinit(&iter);
	return keys_replace_file(keys->locks_path, text, error_r);
}

/* When the service begins */

static const char *keys_new_id(void)
{
	uint64_t id[2];

	random_fill(id, sizeof(id));
	return t_strdup_printf("%016"PRIx64"%016"PRIx64, id[0], id[1]);
}

/* From now on file and database have another id. */
static int keys_change_id(struct outband_keys *keys, const char **error_r)
{
	const char *id = keys_new_id();

	if (outband_keys_file_rewrite(keys->file, id, error_r) < 0 ||
	    outband_store_keys_set_id(keys->store, id, error_r) < 0 ||
	    outband_keys_file_rewrite(keys->file, id, error_r) < 0)
		return -1;
	return 0;
}

/* What the file knows better than the database. Returns 1 if there was something. */
static int
keys_restore_device(struct outband_keys *keys, bool same,
		    const struct outband_keys_file_device *dev,
		    const char **error_r)
{
	struct outband_device_key key;
	int ret = 0;

	if (!same && dev->bound > 0 &&
	    outband_store_keys_raise_seq(keys->store, dev->user, dev->device,
					 dev->bound, error_r) < 0)
		return -1;
	if (dev->key.version > 0) {
		const struct outband_device_key *file_key = &dev->key;
		int64_t version;

		if (outband_store_keys_get(keys->store, dev->user, dev->device,
					   pool_datastack_create(), &key,
					   error_r) < 0)
			return -1;
		version = key.version;
		if (file_key->version > version) {
			/* what it knows of a device's counter is of that key */
			if (key.key.number != file_key->key.number)
				key.counter = 0;
			if (key.old.number != file_key->old.number)
				key.old_counter = 0;
			key.version = file_key->version;
			key.key = file_key->key;
			key.old = file_key->old;
			key.used = file_key->used;
			key.locked = file_key->locked;
			ret = outband_store_keys_set(keys->store, &key, version,
						     error_r);
		}
	}
	return ret;
}

static int
keys_restore(struct outband_keys *keys, bool same, const char **error_r)
{
	const struct outband_keys_file_device *dev;
	struct hash_iterate_context *iter;
	unsigned int count = 0;
	int ret = 0;

	iter = outband_keys_file_iterate_init(keys->file);
	while (ret >= 0 &&
	       (dev = outband_keys_file_iterate(iter, keys->file)) != NULL) {
		T_BEGIN {
			ret = keys_restore_device(keys, same, dev, error_r);
		} T_END_PASS_STR_IF(ret < 0, error_r);
		count += ret > 0 ? 1 : 0;
	}
	hash_table_iterate_deinit(&iter);
	if (ret >= 0 && (count > 0 || !same)) {
		e_warning(keys->event, "%s: The database is another one, or lacks "
			  "what it had: %u keys and locks are restored, devices "
			  "go on with higher numbers", keys->path, count);
	}
	return ret < 0 ? -1 : 0;
}

static int keys_read_all(struct outband_keys *keys, const char **error_r)
{
	ARRAY_TYPE(outband_device_key) list;
	const struct outband_device_key *key;
	const struct outband_keys_file_device *dev;
	const char *device = "", *user = "";
	pool_t pool, last_pool = NULL;
	int ret;

	do {
		pool = pool_alloconly_create("outband keys", 4096);
		ret = outband_store_keys_list(keys->store, "", "", device, user,
					      KEYS_LIST_MAX, pool, &list,
					      error_r);
		if (last_pool != NULL)
			pool_unref(&last_pool);
		last_pool = pool;
		if (ret < 0 || array_count(&list) == 0)
			break;
		array_foreach(&list, key) {
			dev = outband_keys_file_find(keys->file, key->user,
						     key->device);
			/* it is written when the file is */
			if (dev == NULL || dev->key.version < key->version)
				outband_keys_file_note_key(keys->file, key);
			device = key->device;
			user = key->user;
		}
	} while (ret >= 0);
	if (last_pool != NULL)
		pool_unref(&last_pool);
	return ret;
}

int outband_keys_open(struct outband_keys *keys, const char *db_address,
		      const char **error_r)
{
	const char *id;
	bool same;

	if (keys->open)
		return 0;
	if (keys->store == NULL &&
	    outband_store_keys_open(keys->event, db_address, &keys->store,
				    error_r) < 0)
		return -1;
	if (keys->file == NULL &&
	    outband_keys_file_open(keys->event, keys->path, &keys->file,
				   error_r) < 0)
		return -1;
	if (outband_store_keys_get_id(keys->store, &id, error_r) < 0)
		return -1;
	/* Services on other machines have files of their own: the id of a database
	   that isn't a file is only there. */
	same = outband_keys_file_has_id(keys->file, id) ||
		(db_address[0] != '/' && id[0] != '\0');
	if (keys_restore(keys, same, error_r) < 0 ||
	    keys_read_all(keys, error_r) < 0 ||
	    keys_change_id(keys, error_r) < 0 ||
	    keys_write_locks(keys, error_r) < 0)
		return -1;
	keys->open = TRUE;
	return 0;
}

bool outband_keys_is_open(struct outband_keys *keys)
{
	return keys->open;
}

void outband_keys_deinit(struct outband_keys **_keys)
{
	struct outband_keys *keys = *_keys;
	const char *error;

	*_keys = NULL;
	if (keys->open && keys_change_id(keys, &error) < 0)
		e_error(keys->event, "%s", error);
	if (keys->file != NULL)
		outband_keys_file_close(&keys->file);
	if (keys->store != NULL)
		outband_store_keys_close(&keys->store);
	event_unref(&keys->event);
	i_free(keys->path);
	i_free(keys->locks_path);
	i_free(keys);
}

int outband_keys_get(struct outband_keys *keys, const char *user,
		     const char *device, pool_t pool,
		     struct outband_device_key *key_r, const char **error_r)
{
	return outband_store_keys_get(keys->store, user, device, pool, key_r,
				      error_r);
}

int outband_keys_count(struct outband_keys *keys, const char *user,
		       const char **error_r)
{
	return outband_store_keys_count(keys->store, user, error_r);
}

const struct pimap_envelope_key *
outband_device_key_sending(const struct outband_device_key *key)
{
	if (key->old.number != 0)
		return &key->old;
	return key->key.number == 0 ? NULL : &key->key;
}

/* Changes. Each returns FALSE if there is nothing to change. */
typedef bool keys_change_t(struct outband_device_key *key);

static void
keys_changed(struct outband_keys *keys, const char *user, const char *device)
{
	if (keys->callback != NULL)
		keys->callback(user, device, keys->context);
}

/* Returns 1, 0 if there was nothing to change, or -1 and error_r. */
static int
keys_change(struct outband_keys *keys, const char *user, const char *device,
	    pool_t pool, keys_change_t *change,
	    struct outband_device_key *key_r, const char **error_r)
{
	unsigned int i;
	int64_t version;
	bool locked;
	int ret;

	for (i = 0; i < KEYS_RETRIES; i++) {
		if (outband_store_keys_get(keys->store, user, device, pool,
					   key_r, error_r) < 0)
			return -1;
		version = key_r->version;
		locked = key_r->locked;
		if (!change(key_r))
			return 0;
		key_r->version++;
		ret = outband_store_keys_set(keys->store, key_r, version,
					     error_r);
		if (ret < 0)
			return -1;
		if (ret == 0)
			continue;
		ret = outband_keys_file_set_key(keys->file, key_r, error_r);
		/* a lock is to hold whatever the other file can take */
		if (key_r->locked != locked &&
		    keys_write_locks(keys, error_r) < 0)
			ret = -1;
		return ret < 0 ? -1 : 1;
	}
	*error_r = "The device's key is being changed all the time";
	return -1;
}

static void key_generate(struct pimap_envelope_key *key)
{
	key->number++;
	random_fill(key->key, sizeof(key->key));
}

static bool change_make(struct outband_device_key *key)
{
	if (key->key.number != 0)
		return FALSE;
	key_generate(&key->key);
	return TRUE;
}

int outband_keys_make(struct outband_keys *keys, const char *user,
		      const char *device, pool_t pool,
		      struct outband_device_key *key_r, const char **error_r)
{
	return keys_change(keys, user, device, pool, change_make, key_r,
			   error_r) < 0 ? -1 : 0;
}

static bool change_rekey(struct outband_device_key *key)
{
	if (key->key.number == 0)
		return FALSE;
	/* One that the device has never used may have got lost on its way: then it
	   only has the one before. */
	if (key->used || key->old.number == 0) {
		key->old = key->key;
		key->old_counter = key->counter;
	}
	key_generate(&key->key);
	key->counter = 0;
	key->used = FALSE;
	return TRUE;
}

int outband_keys_rekey(struct outband_keys *keys, const char *user,
		       const char *device, pool_t pool,
		       struct outband_device_key *key_r, const char **error_r)
{
	int ret = keys_change(keys, user, device, pool, change_rekey, key_r,
			      error_r);

	if (ret != 0)
		keys_changed(keys, user, device);
	return ret;
}

static bool change_lock(struct outband_device_key *key)
{
	if (key->locked)
		return FALSE;
	key->locked = TRUE;
	return TRUE;
}

static bool change_unlock(struct outband_device_key *key)
{
	if (!key->locked)
		return FALSE;
	key->locked = FALSE;
	return TRUE;
}

int outband_keys_lock(struct outband_keys *keys, const char *user,
		      const char *device, bool locked, const char **error_r)
{
	struct outband_device_key key;
	int ret;

	ret = keys_change(keys, user, device, pool_datastack_create(),
			  locked ? change_lock : change_unlock, &key, error_r);
	/* it may have failed at the files the last time */
	if (ret == 0 && key.version > 0 &&
	    (outband_keys_file_set_key(keys->file, &key, error_r) < 0 ||
	     keys_write_locks(keys, error_r) < 0))
		ret = -1;
	if (ret != 0)
		keys_changed(keys, user, device);
	return ret;
}

static bool change_used(struct outband_device_key *key)
{
	if (key->used && key->old.number == 0)
		return FALSE;
	key->used = TRUE;
	i_zero(&key->old);
	key->old_counter = 0;
	return TRUE;
}

int outband_keys_find(struct outband_keys *keys, const char *user,
		      const char *device, unsigned int max, pool_t pool,
		      ARRAY_TYPE(outband_device_key) *list_r,
		      const char **error_r)
{
	struct outband_device_key *key;
	int ret = 0;

	p_array_init(list_r, pool, 2);
	if (user[0] == '\0') {
		/* more than one is none */
		if (outband_store_keys_list(keys->store, device, "", "", "", 2,
					    pool, list_r, error_r) < 0)
			return -1;
		if (array_count(list_r) > 1)
			array_clear(list_r);
		return 0;
	}
	key = array_append_space(list_r);
	ret = outband_store_keys_get(keys->store, user, device, pool, key,
				     error_r);
	if (ret == 0 && strcmp(user, t_str_lcase(user)) != 0) {
		/* as auth_username_format has it by default */
		ret = outband_store_keys_get(keys->store, t_str_lcase(user),
					     device, pool, key, error_r);
	}
	if (ret != 0)
		return ret < 0 ? -1 : 0;
	array_clear(list_r);
	/* auth_default_realm, or what a passdb makes of it */
	if (strchr(user, '@') != NULL)
		return 0;
	return outband_store_keys_list(keys->store, device, t_str_lcase(user),
				       "", "", max, pool, list_r, error_r);
}

int outband_keys_hello(struct outband_keys *keys,
		       const struct outband_device_key *key, uint32_t number,
		       uint64_t counter, const char *address,
		       const char **error_r)
{
	struct outband_device_key changed;
	int ret;

	if (counter > INT64_MAX)
		return 0;
	ret = outband_store_keys_hello(keys->store, key->user, key->device,
				       number, counter, address, ioloop_time,
				       error_r);
	if (ret <= 0)
		return ret;
	if (number == key->key.number && (!key->used || key->old.number != 0)) {
		/* the first one under it */
		if (keys_change(keys, key->user, key->device,
				pool_datastack_create(), change_used, &changed,
				error_r) < 0)
			return -1;
	}
	return 1;
}

int outband_keys_reserve(struct outband_keys *keys, const char *user,
			 const char *device, int64_t seq, const char **error_r)
{
	const struct outband_keys_file_device *dev =
		outband_keys_file_find(keys->file, user, device);

	if (dev != NULL && seq < dev->bound)
		return 0;
	return outband_keys_file_set_bound(keys->file, user, device,
					   seq + KEYS_RESERVE, error_r);
}
