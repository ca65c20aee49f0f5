/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_KEYS_H
#define OUTBAND_KEYS_H

#include "outband-store-keys.h"

/* Devices' keys and locks: in the database, in the file beside it, and
   the locks in the file that auth and imap read (pimap-locks.h). Everything blocks for
   the time that the disk takes. What is not on the disk was not done: -1 and error_r.
   No text of an error has a key in it. */

struct outband_keys;

/* Something has changed that is to be known at once: a lock, or a key. */
typedef void outband_keys_callback_t(const char *user, const char *device,
				     void *context);

/* dir is where the file is, locks_path the other one. */
struct outband_keys *
outband_keys_init(struct event *event_parent, const char *dir,
		  const char *locks_path);
void outband_keys_deinit(struct outband_keys **keys);
void outband_keys_set_callback(struct outband_keys *keys,
			       outband_keys_callback_t *callback, void *context);

/* Before this nothing else may be called. What the database doesn't have (any more)
   is taken from the file. Returns 0, or -1 and error_r: then it may be called again. */
int outband_keys_open(struct outband_keys *keys, const char *db_address,
		      const char **error_r);
bool outband_keys_is_open(struct outband_keys *keys);

/* Returns 1, or 0 if nothing is known of the device: key_r is empty then. */
int outband_keys_get(struct outband_keys *keys, const char *user,
		     const char *device, pool_t pool,
		     struct outband_device_key *key_r, const char **error_r);
/* Returns how many keys a user's devices have, or -1 and error_r. */
int outband_keys_count(struct outband_keys *keys, const char *user,
		       const char **error_r);
/* With which of them the server encrypts, NULL = there is none: the device doesn't
   know the new one for sure before it has used it. */
const struct pimap_envelope_key *
outband_device_key_sending(const struct outband_device_key *key);

/* The device has a key when this returns 0. */
int outband_keys_make(struct outband_keys *keys, const char *user,
		      const char *device, pool_t pool,
		      struct outband_device_key *key_r, const char **error_r);
/* It has a new one. Returns 1, or 0 if it had none. */
int outband_keys_rekey(struct outband_keys *keys, const char *user,
		       const char *device, pool_t pool,
		       struct outband_device_key *key_r, const char **error_r);
/* Returns 1, or 0 if it was (not) locked already. */
int outband_keys_lock(struct outband_keys *keys, const char *user,
		      const char *device, bool locked, const char **error_r);

/* The devices that a name means which a client gave: user "" = a device that only one
   user has. At most max are returned, if the name isn't exact. Returns 0 or -1. */
int outband_keys_find(struct outband_keys *keys, const char *user,
		      const char *device, unsigned int max, pool_t pool,
		      ARRAY_TYPE(outband_device_key) *list_r,
		      const char **error_r);
/* An authentic HELLO of the device under the key of that number. address: where UDP
   reaches it from now on, or "". Returns 1, or 0 if its counter hasn't risen. */
int outband_keys_hello(struct outband_keys *keys,
		       const struct outband_device_key *key, uint32_t number,
		       uint64_t counter, const char *address,
		       const char **error_r);

/* The number has been given, and the file is to know it before anybody else does. */
int outband_keys_reserve(struct outband_keys *keys, const char *user,
			 const char *device, int64_t seq, const char **error_r);

#endif
