/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_PAYLOAD_H
#define OUTBAND_PAYLOAD_H

struct outband_row;

/* What a notification says. */

/* Returns the account of from the data stack: the user, with the folder's
   name if that isn't INBOX. */
const char *outband_payload_account(const char *user, const char *folder);

/* Appends an EMN (OMA-Push-EMN 1.0) as XML: account as above, when is the
   message's INTERNALDATE or the event's time. What no XML may hold is replaced. */
void outband_payload_emn(string_t *dest, const char *account, time_t when);

/* what EXTENDED begins with */
#define OUTBAND_PAYLOAD_TAG "_%$P-IMAP$%_"

/* sender, subject and body of an event */
#define OUTBAND_PAYLOAD_FIELDS 3

/* Appends an EXTENDED of at most max bytes, or of what row->measure counts: what doesn't fit is cut, first the body,
   then the subject, the sender, all of these and the UID, at last the folder. fields
   is an event's (outband-look.h). Without clear they aren't told. */
void outband_payload_extended(string_t *dest, const struct outband_row *row,
			      size_t max, bool clear);

/* Appends the notification, in the device's format and as its channel can carry
   it: at most max_size of the row. */
void outband_payload_append(string_t *dest, const struct outband_row *row);

/* Its media type */
const char *outband_payload_type(const char *payload);

/* Is it one of R-13.2's names? What else a worker says is not believed. */
bool outband_payload_event_is_known(const char *event);

#endif
