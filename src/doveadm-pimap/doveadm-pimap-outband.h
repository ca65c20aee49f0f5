/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef DOVEADM_PIMAP_OUTBAND_H
#define DOVEADM_PIMAP_OUTBAND_H

/* A connection to the service pimap-outband (pimap-control.h). Everything blocks, but
   not for ever. */

struct outband_client;

/* Returns 0, or -1 and error_r, and whether it is only that this user may not. */
int outband_client_connect(const char *base_dir, struct outband_client **client_r,
			   const char **error_r, bool *forbidden_r);
void outband_client_disconnect(struct outband_client **client);

/* Sends a request, its fields ending with NULL. */
int outband_client_send(struct outband_client *client,
			const char *const *fields, const char **error_r);
/* Returns 0 and the fields of the next line of the answer, which live until the next
   call, or -1 and error_r. */
int outband_client_read(struct outband_client *client,
			const char *const **fields_r, const char **error_r);

#endif
