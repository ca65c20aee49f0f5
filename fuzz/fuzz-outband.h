/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef FUZZ_OUTBAND_H
#define FUZZ_OUTBAND_H

#include "lib.h"
#include "unichar.h"
#include "fuzz.h"

/* The service's files aren't in a library: each fuzzer includes those that it is
   about, and gets at their static functions so. */

/* The input as lines. What is behind a NUL isn't seen: no connection lets one
   through. */
static inline const char *const *fuzz_lines(const uint8_t *data, size_t size)
{
	return t_strsplit(t_strndup(data, size), "\n");
}

/* It comes to be in the log, or in a line of a protocol. */
static inline void fuzz_check_line(const char *text)
{
	i_assert(text != NULL);
	for (; *text != '\0'; text++)
		i_assert((unsigned char)*text >= 0x20 && *text != 0x7f);
}

/* What a peer has said, as it comes to be in the log: no C1 either */
static inline void fuzz_check_reply(const char *text)
{
	fuzz_check_line(text);
	i_assert(uni_utf8_str_is_valid(text));
	for (; *text != '\0'; text++) {
		i_assert((unsigned char)*text != 0xc2 ||
			 (unsigned char)text[1] >= 0xa0);
	}
}

/* str_begins() isn't the same in all versions of Dovecot */
static inline bool fuzz_begins(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static inline void fuzz_check_guid(const char *guid)
{
	i_assert(strlen(guid) == 32);
	i_assert(strspn(guid, "0123456789abcdef") == 32);
	i_assert(strspn(guid, "0") < 32);
}

#endif
