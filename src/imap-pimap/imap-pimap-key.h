/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef IMAP_PIMAP_KEY_H
#define IMAP_PIMAP_KEY_H

struct client;
struct pimap_user;

/* The device's key, if this session may tell it: <number>:<base64>, from the
   data stack; or NULL. It must not come to be in a log. */
const char *imap_pimap_key_get(struct client *client,
			       const struct pimap_user *puser,
			       const char *device);

#endif
