/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef IMAP_PIMAP_VANISHED_H
#define IMAP_PIMAP_VANISHED_H

struct client_command_context;
struct imap_arg;

/* What Dovecot knows to have vanished since a modseq, is what was expunged. In a
   device session messages vanish from the view too: SELECT and EXAMINE with
   QRESYNC, and UID FETCH with VANISHED, name them in a VANISHED (EARLIER) of
   their own (R-1.3, RFC 7162 3.2.5.2 and 3.2.6). And they enter it without a
   change of their own: these commands, and FETCH with CHANGEDSINCE, find them. */

/* Runs the command, whose arguments these are, for a device session. Returns
   what its function returns. */
bool imap_pimap_vanished_run(struct client_command_context *cmd,
			     const struct imap_arg *args);

void imap_pimap_vanished_init(void);
void imap_pimap_vanished_deinit(void);

#endif
