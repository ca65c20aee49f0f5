/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_PAYLOAD_H
#define OUTBAND_PAYLOAD_H

/* What a notification says. */

/* Returns the account of from the data stack: the user, with the folder's
   name if that isn't INBOX. */
const char *outband_payload_account(const char *user, const char *folder);

/* Appends an EMN (OMA-Push-EMN 1.0) as XML: account as above, when is the
   message's INTERNALDATE or the event's time. What no XML may hold is replaced. */
void outband_payload_emn(string_t *dest, const char *account, time_t when);

/* Is it one of R-13.2's names? What else a worker says is not believed. */
bool outband_payload_event_is_known(const char *event);

#endif
