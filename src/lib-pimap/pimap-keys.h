/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_KEYS_H
#define PIMAP_KEYS_H

/* How a session gets its device's key from the service pimap-outband. Whoever
   may connect may ask, but only root, the service's own user, and the uid that the
   userdb gives for that user are answered. Lines as in all of Dovecot's own protocols,
   a VERSION line first from both sides, one request in a connection:

     KEY <user> <device>
        KEY <number> <base64>    the device's, which has one from now on
        USED                     the device has used it: it isn't given out any more
        FAIL <reason> */

#define PIMAP_KEYS_SOCKET "pimap-outband-keys"
#define PIMAP_KEYS_PROTOCOL "pimap-keys"
#define PIMAP_KEYS_MAJOR 1
#define PIMAP_KEYS_MINOR 0

#endif
