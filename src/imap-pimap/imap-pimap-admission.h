/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef IMAP_PIMAP_ADMISSION_H
#define IMAP_PIMAP_ADMISSION_H

struct client;
struct client_command_context;

/* What of Dovecot's IMAP a device session doesn't have, because it has not been
   shown that it never tells of hidden messages: it isn't in the CAPABILITY and
   is answered BAD. */

/* Takes it out of the client's capabilities. */
void imap_pimap_admission_capability(struct client *client);
/* Called for each command of a device session before it is executed: has it
   answered if it isn't to be. */
void imap_pimap_admission_command(struct client_command_context *cmd);

#endif
