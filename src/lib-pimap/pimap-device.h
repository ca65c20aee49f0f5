/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_DEVICE_H
#define PIMAP_DEVICE_H

#define PIMAP_DEVICE_ID_MAX 64
#define PIMAP_DEFAULT_SEPARATOR '#'

/* Returns TRUE if id is a device id: 1 to 64 of A-Za-z0-9._-, the first a
   letter or digit. */
bool pimap_device_id_is_valid(const char *id);

/* Splits a login name at its last separator: user SEP device [@domain]
   or user@domain SEP device. Returns 1 and sets user_r (with its domain) and
   device_r, allocated from the data stack; 0 when there is no separator; -1
   when there is one, but not a user and a device on its two sides. */
int pimap_device_split(const char *login, char separator,
		       const char **user_r, const char **device_r);

#endif
