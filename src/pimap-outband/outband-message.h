/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_MESSAGE_H
#define OUTBAND_MESSAGE_H

struct outband_row;
struct smtp_address;

/* Appends the mail of the channel MAIL (RFC 5322, lines end in CRLF, none is longer than 998). The same
   row gives the same octets each time. hostname is this machine's. */
void outband_message_append(string_t *dest, const struct outband_row *row,
			    const struct smtp_address *from,
			    const struct smtp_address *to,
			    const char *hostname);

#endif
