/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_STORE_KEYS_H
#define OUTBAND_STORE_KEYS_H

#include "pimap-envelope.h"

/* Devices' keys and locks in the database. What is said of functions
   in outband-store.h holds here, too. */

struct outband_store_keys;

struct outband_device_key {
	const char *user, *device;
	/* of this row: rises with each change but those of hello() */
	int64_t version;

	/* number 0: there is none. old: the device may not know of the new one */
	struct pimap_envelope_key key, old;
	/* the device has used the key */
	bool used;
	/* the administrator has locked the device */
	bool locked;
	/* the last one that came in a HELLO under each of them */
	int64_t counter, old_counter;

	/* where UDP reaches it, "" = nowhere; since when */
	const char *udp_address;
	time_t udp_time;
};
ARRAY_DEFINE_TYPE(outband_device_key, struct outband_device_key);

int outband_store_keys_open(struct event *event_parent, const char *address,
			    struct outband_store_keys **keys_r,
			    const char **error_r);
void outband_store_keys_close(struct outband_store_keys **keys);

/* Returns 1, or 0 if nothing is known of the device: key_r is empty then. */
int outband_store_keys_get(struct outband_store_keys *keys, const char *user,
			   const char *device, pool_t pool,
			   struct outband_device_key *key_r,
			   const char **error_r);
/* Those after this one, by device and user, until there are max: of all devices, or
   of those of this id, or of this one of users in any domain, if these aren't "".
   Returns 0 or -1. */
int outband_store_keys_list(struct outband_store_keys *keys, const char *device,
			    const char *localpart, const char *after_device,
			    const char *after_user, unsigned int max,
			    pool_t pool, ARRAY_TYPE(outband_device_key) *list_r,
			    const char **error_r);
/* Returns how many keys a user's devices have, or -1 and error_r. */
int outband_store_keys_count(struct outband_store_keys *keys, const char *user,
			     const char **error_r);
/* Writes all of it, if the version in the database is still the old one (0: there is
   none). Returns 1, or 0 if somebody else was faster. */
int outband_store_keys_set(struct outband_store_keys *keys,
			   const struct outband_device_key *key,
			   int64_t old_version, const char **error_r);
/* The device has said HELLO under this key, with this counter. Returns 1, or 0 if
   that hasn't risen, or the key is another by now: it is a replay. address "": the
   one that is known stays. */
int outband_store_keys_hello(struct outband_store_keys *keys, const char *user,
			     const char *device, uint32_t number,
			     int64_t counter, const char *address, time_t now,
			     const char **error_r);

/* Which file goes with the database: "" = none yet */
int outband_store_keys_get_id(struct outband_store_keys *keys,
			      const char **id_r, const char **error_r);
int outband_store_keys_set_id(struct outband_store_keys *keys, const char *id,
			      const char **error_r);
/* The device's next number isn't lower than this. */
int outband_store_keys_raise_seq(struct outband_store_keys *keys,
				 const char *user, const char *device,
				 int64_t seq, const char **error_r);

#endif
