/* SPDX-License-Identifier: LGPL-2.1-only */
/* Lines are added at the end; of what is said of a device the last one counts. Each
   has a checksum: a crash may leave a part of the last. Now and then, and whenever
   the service begins, a new file with one line for each takes its place. */

#include "lib.h"
#include "base64.h"
#include "crc32.h"
#include "hash.h"
#include "istream.h"
#include "safe-memset.h"
#include "str.h"
#include "strescape.h"
#include "write-full.h"
#include "outband-keys-file.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define KEYS_FILE_MAGIC "pimap-keys 1"
#define KEYS_FILE_MAX_LINE 8192
/* it isn't written anew before it has so many lines more than it needs */
#define KEYS_FILE_MIN_SPARE 1000

struct outband_keys_file {
	struct event *event;
	char *path;
	int fd;
	/* the database's, and the one before that; "" = there is none */
	char *id, *last_id;
	unsigned int lines;
	/* a write has failed: the last line may be a part of one */
	bool broken;

	pool_t pool;
	HASH_TABLE(struct outband_keys_file_device *,
		   struct outband_keys_file_device *) devices;
};

static unsigned int device_hash(const struct outband_keys_file_device *device)
{
	return str_hash(device->user) * 31 + str_hash(device->device);
}

static int
device_cmp(const struct outband_keys_file_device *device1,
	   const struct outband_keys_file_device *device2)
{
	int ret = strcmp(device1->user, device2->user);

	return ret != 0 ? ret : strcmp(device1->device, device2->device);
}

static struct outband_keys_file_device *
keys_file_lookup(struct outband_keys_file *file, const char *user,
		 const char *device)
{
	struct outband_keys_file_device key;

	i_zero(&key);
	key.user = user;
	key.device = device;
	return hash_table_lookup(file->devices, &key);
}

static struct outband_keys_file_device *
keys_file_get(struct outband_keys_file *file, const char *user,
	      const char *device)
{
	struct outband_keys_file_device *dev =
		keys_file_lookup(file, user, device);

	if (dev == NULL) {
		dev = p_new(file->pool, struct outband_keys_file_device, 1);
		dev->user = p_strdup(file->pool, user);
		dev->device = p_strdup(file->pool, device);
		dev->key.user = dev->user;
		dev->key.device = dev->device;
		dev->key.udp_address = "";
		hash_table_insert(file->devices, dev, dev);
	}
	return dev;
}

const struct outband_keys_file_device *
outband_keys_file_find(struct outband_keys_file *file, const char *user,
		       const char *device)
{
	return keys_file_lookup(file, user, device);
}

static void
keys_file_copy_key(struct outband_keys_file_device *dev,
		   const struct outband_device_key *key)
{
	dev->key.version = key->version;
	dev->key.key = key->key;
	dev->key.old = key->old;
	dev->key.used = key->used;
	dev->key.locked = key->locked;
}

/* Lines */

static void line_end(string_t *dest, size_t start)
{
	str_printfa(dest, "\t%08x\n",
		    crc32_data(str_data(dest) + start, str_len(dest) - start));
}

static void
line_append_secret(string_t *dest, const struct pimap_envelope_key *key)
{
	str_printfa(dest, "\t%u\t", key->number);
	if (key->number != 0)
		base64_encode(key->key, sizeof(key->key), dest);
}

static void
line_append_name(string_t *dest, const char *word, const char *user,
		 const char *device)
{
	str_append(dest, word);
	str_append_c(dest, '\t');
	str_append_tabescaped(dest, user);
	str_append_c(dest, '\t');
	str_append_tabescaped(dest, device);
}

static void line_append_key(string_t *dest, const struct outband_device_key *key)
{
	const size_t start = str_len(dest);

	line_append_name(dest, "KEY", key->user, key->device);
	str_printfa(dest, "\t%"PRId64, key->version);
	line_append_secret(dest, &key->key);
	line_append_secret(dest, &key->old);
	str_printfa(dest, "\t%d\t%d", key->used ? 1 : 0, key->locked ? 1 : 0);
	line_end(dest, start);
}

static void
line_append_bound(string_t *dest, const char *user, const char *device,
		  int64_t bound)
{
	const size_t start = str_len(dest);

	line_append_name(dest, "BOUND", user, device);
	str_printfa(dest, "\t%"PRId64, bound);
	line_end(dest, start);
}

static void line_append_ids(string_t *dest, const char *id, const char *last_id)
{
	const size_t start = str_len(dest);

	str_printfa(dest, "ID\t%s\t%s", id, last_id);
	line_end(dest, start);
}

static bool
line_get_secret(const char *const *args, struct pimap_envelope_key *key_r)
{
	buffer_t *data = t_buffer_create(PIMAP_ENVELOPE_KEY_SIZE);

	i_zero(key_r);
	if (str_to_uint32(args[0], &key_r->number) < 0)
		return FALSE;
	if (key_r->number == 0)
		return *args[1] == '\0';
	if (base64_scheme_decode(&base64_scheme, 0, args[1], strlen(args[1]),
				 data) < 0 ||
	    data->used != sizeof(key_r->key))
		return FALSE;
	memcpy(key_r->key, data->data, data->used);
	safe_memset(buffer_get_modifiable_data(data, NULL), 0, data->used);
	return TRUE;
}

static bool
keys_file_parse_args(struct outband_keys_file *file, const char *const *args)
{
	const unsigned int count = str_array_length(args);
	struct outband_device_key key;
	int64_t bound;

	if (count == 3 && strcmp(args[0], "ID") == 0) {
		i_free(file->id);
		i_free(file->last_id);
		file->id = i_strdup(args[1]);
		file->last_id = i_strdup(args[2]);
		return TRUE;
	}
	if (count == 4 && strcmp(args[0], "BOUND") == 0) {
		if (str_to_int64(args[3], &bound) < 0 || bound <= 0)
			return FALSE;
		keys_file_get(file, args[1], args[2])->bound = bound;
		return TRUE;
	}
	if (count != 10 || strcmp(args[0], "KEY") != 0)
		return FALSE;
	i_zero(&key);
	if (str_to_int64(args[3], &key.version) < 0 || key.version <= 0 ||
	    !line_get_secret(args + 4, &key.key) ||
	    !line_get_secret(args + 6, &key.old))
		return FALSE;
	key.used = strcmp(args[8], "1") == 0;
	key.locked = strcmp(args[9], "1") == 0;
	keys_file_copy_key(keys_file_get(file, args[1], args[2]), &key);
	return TRUE;
}

static bool keys_file_parse(struct outband_keys_file *file, const char *line)
{
	const char *end = strrchr(line, '\t');
	unsigned long sum;
	char *sum_end;

	if (end == NULL || strlen(end + 1) != 8)
		return FALSE;
	sum = strtoul(end + 1, &sum_end, 16);
	if (*sum_end != '\0' || sum != crc32_data(line, end - line))
		return FALSE;
	return keys_file_parse_args(file,
		t_strsplit_tabescaped(t_strdup_until(line, end)));
}

/* Returns 1, 0 if there is no file, or -1 and error_r. */
static int
keys_file_read(struct outband_keys_file *file, const char **error_r)
{
	struct istream *input;
	const char *line;
	unsigned int damaged = 0;
	int fd, ret = 1;

	fd = open(file->path, O_RDONLY | O_CLOEXEC);
	if (fd == -1) {
		if (errno == ENOENT)
			return 0;
		*error_r = t_strdup_printf("open(%s) failed: %m", file->path);
		return -1;
	}
	input = i_stream_create_fd_autoclose(&fd, KEYS_FILE_MAX_LINE);
	line = i_stream_read_next_line(input);
	if (line != NULL && strcmp(line, KEYS_FILE_MAGIC) != 0) {
		*error_r = t_strdup_printf("%s isn't a file of keys that this "
					   "service knows", file->path);
		ret = -1;
	}
	while (ret > 0 && (line = i_stream_read_next_line(input)) != NULL) {
		T_BEGIN {
			if (!keys_file_parse(file, line))
				damaged++;
		} T_END;
	}
	if (ret > 0 && input->stream_errno != 0) {
		*error_r = t_strdup_printf("read(%s) failed: %s", file->path,
					   i_stream_get_error(input));
		ret = -1;
	}
	/* a part of the last line is what a crash leaves: it was not yet said that
	   it is there */
	if (damaged > 0) {
		e_error(file->event, "%s: %u lines are damaged and left out",
			file->path, damaged);
	}
	i_stream_unref(&input);
	return ret;
}

/* Writing */

static int keys_file_sync_dir(const char *path, const char **error_r)
{
	const char *slash = strrchr(path, '/');
	const char *dir = slash == NULL ? "." : t_strdup_until(path, slash);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = fd == -1 ? -1 : fsync(fd);

	if (ret < 0)
		*error_r = t_strdup_printf("fsync(%s) failed: %m", dir);
	i_close_fd(&fd);
	return ret;
}

static string_t *keys_file_get_text(struct outband_keys_file *file)
{
	struct hash_iterate_context *iter;
	struct outband_keys_file_device *dev;
	string_t *text = str_new(default_pool, 4096);

	file->lines = 0;
	str_append(text, KEYS_FILE_MAGIC"\n");
	line_append_ids(text, file->id, file->last_id);
	iter = hash_table_iterate_init(file->devices);
	while (hash_table_iterate(iter, file->devices, &dev, &dev)) {
		if (dev->key.version > 0) {
			line_append_key(text, &dev->key);
			file->lines++;
		}
		if (dev->bound > 0) {
			line_append_bound(text, dev->user, dev->device,
					  dev->bound);
			file->lines++;
		}
	}
	hash_table_iterate_deinit(&iter);
	return text;
}

static int keys_file_write_all(struct outband_keys_file *file, const char **error_r)
{
	const char *temp = t_strconcat(file->path, ".new", NULL);
	string_t *text;
	int fd, ret = -1;

	/* appending goes on in the one that takes its place */
	fd = open(temp, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", temp);
		return -1;
	}
	text = keys_file_get_text(file);
	if (write_full(fd, str_data(text), str_len(text)) < 0 || fsync(fd) < 0)
		*error_r = t_strdup_printf("write(%s) failed: %m", temp);
	else if (rename(temp, file->path) < 0) {
		*error_r = t_strdup_printf("rename(%s, %s) failed: %m", temp,
					   file->path);
	} else {
		ret = keys_file_sync_dir(file->path, error_r);
	}
	safe_memset(str_c_modifiable(text), 0, str_len(text));
	str_free(&text);
	if (ret < 0) {
		i_close_fd(&fd);
		file->broken = TRUE;
		return -1;
	}
	i_close_fd(&file->fd);
	file->fd = fd;
	file->broken = FALSE;
	return 0;
}

static int
keys_file_append(struct outband_keys_file *file, const string_t *line,
		 const char **error_r)
{
	if (file->broken ||
	    file->lines > hash_table_count(file->devices) * 4 +
	    KEYS_FILE_MIN_SPARE)
		return keys_file_write_all(file, error_r);
	if (write_full(file->fd, str_data(line), str_len(line)) < 0 ||
	    fdatasync(file->fd) < 0) {
		*error_r = t_strdup_printf("write(%s) failed: %m", file->path);
		file->broken = TRUE;
		return -1;
	}
	file->lines++;
	return 0;
}

void outband_keys_file_note_key(struct outband_keys_file *file,
				const struct outband_device_key *key)
{
	keys_file_copy_key(keys_file_get(file, key->user, key->device), key);
}

int outband_keys_file_set_key(struct outband_keys_file *file,
			      const struct outband_device_key *key,
			      const char **error_r)
{
	string_t *line = t_str_new(256);

	/* if it can't be written now it is the next time that something is */
	outband_keys_file_note_key(file, key);
	line_append_key(line, key);
	return keys_file_append(file, line, error_r);
}

int outband_keys_file_set_bound(struct outband_keys_file *file,
				const char *user, const char *device,
				int64_t bound, const char **error_r)
{
	struct outband_keys_file_device *dev =
		keys_file_get(file, user, device);
	const int64_t old_bound = dev->bound;
	string_t *line = t_str_new(128);

	dev->bound = bound;
	line_append_bound(line, user, device, bound);
	if (keys_file_append(file, line, error_r) < 0) {
		/* the caller asks again before it sends anything */
		dev->bound = old_bound;
		return -1;
	}
	return 0;
}

int outband_keys_file_rewrite(struct outband_keys_file *file, const char *id,
			      const char **error_r)
{
	i_free(file->last_id);
	file->last_id = file->id;
	file->id = i_strdup(id);
	return keys_file_write_all(file, error_r);
}

bool outband_keys_file_has_id(struct outband_keys_file *file, const char *id)
{
	/* a database without one has just been made */
	return file->id[0] == '\0' ||
		(id[0] != '\0' && (strcmp(id, file->id) == 0 ||
				   strcmp(id, file->last_id) == 0));
}

struct hash_iterate_context *
outband_keys_file_iterate_init(struct outband_keys_file *file)
{
	return hash_table_iterate_init(file->devices);
}

const struct outband_keys_file_device *
outband_keys_file_iterate(struct hash_iterate_context *iter,
			  struct outband_keys_file *file)
{
	struct outband_keys_file_device *dev;

	return hash_table_iterate(iter, file->devices, &dev, &dev) ? dev : NULL;
}

int outband_keys_file_open(struct event *event_parent, const char *path,
			   struct outband_keys_file **file_r,
			   const char **error_r)
{
	struct outband_keys_file *file;

	file = i_new(struct outband_keys_file, 1);
	file->event = event_create(event_parent);
	file->path = i_strdup(path);
	file->fd = -1;
	/* nothing is appended to what was there */
	file->broken = TRUE;
	file->id = i_strdup("");
	file->last_id = i_strdup("");
	file->pool = pool_alloconly_create("outband keys", 4096);
	hash_table_create(&file->devices, default_pool, 0, device_hash,
			  device_cmp);
	if (keys_file_read(file, error_r) < 0) {
		outband_keys_file_close(&file);
		return -1;
	}
	*file_r = file;
	return 0;
}

void outband_keys_file_close(struct outband_keys_file **_file)
{
	struct outband_keys_file *file = *_file;

	*_file = NULL;
	hash_table_destroy(&file->devices);
	pool_unref(&file->pool);
	i_close_fd(&file->fd);
	i_free(file->id);
	i_free(file->last_id);
	i_free(file->path);
	event_unref(&file->event);
	i_free(file);
}
