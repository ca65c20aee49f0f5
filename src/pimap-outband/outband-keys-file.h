/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_KEYS_FILE_H
#define OUTBAND_KEYS_FILE_H

#include "outband-store-keys.h"

/* The file beside the database. It repeats what must not be lost with that: devices'
   keys and locks, and for each device a number that no notification has reached yet
 */

struct outband_keys_file;

struct outband_keys_file_device {
	const char *user, *device;
	/* version 0: there is no key and no lock, only a bound */
	struct outband_device_key key;
	/* all numbers that were given are lower */
	int64_t bound;
};

/* Reads it, or begins a new one. What is damaged in it is logged and left out.
   Returns 0, or -1 and error_r. */
int outband_keys_file_open(struct event *event_parent, const char *path,
			   struct outband_keys_file **file_r,
			   const char **error_r);
void outband_keys_file_close(struct outband_keys_file **file);

/* Is the database that has this id the one that the file was written with? */
bool outband_keys_file_has_id(struct outband_keys_file *file, const char *id);

struct hash_iterate_context *
outband_keys_file_iterate_init(struct outband_keys_file *file);
/* Returns NULL at the end. They may be set meanwhile, but none may be added. */
const struct outband_keys_file_device *
outband_keys_file_iterate(struct hash_iterate_context *iter,
			  struct outband_keys_file *file);

const struct outband_keys_file_device *
outband_keys_file_find(struct outband_keys_file *file, const char *user,
		       const char *device);

/* Each of these is on the disk when it returns 0; or it returns -1 and error_r. */
int outband_keys_file_set_key(struct outband_keys_file *file,
			      const struct outband_device_key *key,
			      const char **error_r);
/* It will be there when all is written anew. */
void outband_keys_file_note_key(struct outband_keys_file *file,
				const struct outband_device_key *key);
int outband_keys_file_set_bound(struct outband_keys_file *file,
				const char *user, const char *device,
				int64_t bound, const char **error_r);
/* Writes all of it anew, for a database that will have this id. Until it is called
   with the same id again the last one is valid, too: nobody knows whether the database
   has the new one yet. */
int outband_keys_file_rewrite(struct outband_keys_file *file, const char *id,
			      const char **error_r);

#endif
