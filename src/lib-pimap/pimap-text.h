/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_TEXT_H
#define PIMAP_TEXT_H

/* What others wrote, made fit for one line of a notification: valid UTF-8;
   white space and control characters are one blank, none at the ends; marks that
   change the direction of what follows, and byte order marks, are left out. At most
   max bytes, cut between characters. What it gives, it gives again unchanged.
   Appends to dest. */
void pimap_text_append_clean(string_t *dest, const char *text, size_t max);

/* What a peer says, for a line of the log, a trace or a database: valid UTF-8, in
   which each character that ends a line, steers a terminal or turns what follows, and
   each octet that is none of UTF-8, is a question mark. At most max bytes, at least 3;
   what is cut, between characters, ends with three dots. */
const char *pimap_text_get_reply(const char *text, size_t max);

/* How many of the first max bytes of valid UTF-8 text end between characters */
size_t pimap_text_cut(const char *text, size_t max);

/* A value of the configuration as protocols can have it: what is read from a file ends
   its line. Returns NULL if it has control characters otherwise. */
const char *pimap_text_get_line(pool_t pool, const char *value);

#endif
