/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef IMAP_PIMAP_HIBERNATE_H
#define IMAP_PIMAP_HIBERNATE_H

struct client;

/* What client->v has for device sessions. state_export returns 1, 0 if the
   session can't sleep, or -1; error_r has the reason. state_import returns the
   size of what it has taken, 0 if that is damaged, or -1. */
int imap_pimap_state_export(struct client *client, bool internal,
			    buffer_t *dest, const char **error_r);
ssize_t
imap_pimap_state_import(struct client *client, bool internal,
			const unsigned char *data, size_t size,
			const char **error_r);

#endif
