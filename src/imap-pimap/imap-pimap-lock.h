/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef IMAP_PIMAP_LOCK_H
#define IMAP_PIMAP_LOCK_H

struct client;
struct pimap_user;

/* Devices that the administrator has locked. */

/* Returns 1 if the session's device is locked, 0 if it isn't, or -1 and error_r. */
int imap_pimap_lock_check(struct pimap_user *puser, const char **error_r);

/* From now on the session ends with BYE soon after its device has been locked. */
void imap_pimap_lock_init(struct client *client);
/* The session ends by itself. */
void imap_pimap_lock_deinit(struct client *client);

void imap_pimap_locks_deinit(void);

#endif
