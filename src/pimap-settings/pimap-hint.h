/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_HINT_H
#define PIMAP_HINT_H

struct mail_user;

/* Hints for the service pimap-outband (pimap-look.h). They never wait, and may be
   lost: what they are about is found in the folder and in the profile. That there
   is no service is logged once in a process. */

/* Something may have come into the folder, which is open. */
void pimap_hint_send_folder(struct mailbox *box);
/* The user's profile has changed. */
void pimap_hint_send_profile(struct mail_user *user);

#endif
