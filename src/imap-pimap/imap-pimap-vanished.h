/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef IMAP_PIMAP_VANISHED_H
#define IMAP_PIMAP_VANISHED_H

struct client_command_context;
struct imap_arg;
struct mailbox;

/* What Dovecot knows to have vanished since a modseq, is what was expunged. In a
   device session messages vanish from the view too: SELECT and EXAMINE with
   QRESYNC, and UID FETCH with VANISHED, name them in a VANISHED (EARLIER) of
   their own (R-1.3, RFC 7162 3.2.5.2 and 3.2.6). And they enter it without a
   change of their own: these commands, and FETCH with CHANGEDSINCE, find them. */

/* Runs the command, whose arguments these are, for a device session. Returns
   what its function returns. */
bool imap_pimap_vanished_run(struct client_command_context *cmd,
			     const struct imap_arg *args);

/* A hook, outside of the view's. */
void imap_pimap_vanished_mailbox_allocated(struct mailbox *box);

#endif
