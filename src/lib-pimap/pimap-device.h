/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_DEVICE_H
#define PIMAP_DEVICE_H

#include <ctype.h>

#define PIMAP_DEVICE_ID_MAX 64
#define PIMAP_DEFAULT_SEPARATOR '#'
/* the only one with sessions of devices */
#define PIMAP_DEVICE_SERVICE "imap"

/* What a separator can't be, besides letters, digits, blanks and what isn't
   ASCII: what names of users and devices have, and what quotes or expands. */
#define PIMAP_SEPARATOR_IMPOSSIBLE "@._-*%{}()<>[]/\\\"'`,"

static inline bool pimap_device_separator_is_valid(unsigned char c)
{
	return c > ' ' && c < 0x7f && !i_isalnum(c) &&
		strchr(PIMAP_SEPARATOR_IMPOSSIBLE, c) == NULL;
}

/* The names of services in a list with blanks or commas, from the pool; NULL if
   it names none, or what can't be a service. */
static inline const char *const *
pimap_device_services_parse(pool_t pool, const char *list)
{
	const char *const *services = (const char *const *)
		p_strsplit_spaces(pool, list, " ,");
	const char *p;
	unsigned int i;

	for (i = 0; services[i] != NULL; i++) {
		for (p = services[i]; *p != '\0'; p++) {
			if (!i_isalnum(*p) && *p != '-' && *p != '_')
				return NULL;
		}
	}
	return i == 0 ? NULL : services;
}

/* Returns TRUE if id is a device id: 1 to 64 of A-Za-z0-9._-, the first a
   letter or digit. */
bool pimap_device_id_is_valid(const char *id);

/* Splits a login name at its last separator: user SEP device [@domain]
   or user@domain SEP device. Returns 1 and sets user_r (with its domain) and
   device_r, allocated from the data stack; 0 when there is no separator; -1
   when there is one, but not a user and a device on its two sides, or a domain
   on both. */
int pimap_device_split(const char *login, char separator,
		       const char **user_r, const char **device_r);

#endif
