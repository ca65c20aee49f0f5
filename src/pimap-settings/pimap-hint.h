/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_HINT_H
#define PIMAP_HINT_H

struct mail_user;

/* Hints for the service pimap-outband (pimap-look.h). That there is no service is
   logged once in a process. */

/* Something may have come into the folder, which is open. This never waits, and may
   be lost: what it is about is found in the folder. note: what a device needn't be
   told, or NULL. */
void pimap_hint_send_folder(struct mailbox *box, const char *note);
/* The list of his folders has changed. This never waits either. */
void pimap_hint_send_list(struct mail_user *user);
/* The user's profile has changed. Returns 0 as soon as nothing is sent any
   more that was judged by the profile before, also if the service doesn't run; or
   -1 and error_r, after 2 seconds at most, if the service runs and doesn't say so.
   Blocks. */
int pimap_hint_tell_profile(struct mail_user *user, const char **error_r);

#endif
