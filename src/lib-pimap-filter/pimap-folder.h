/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_FOLDER_H
#define PIMAP_FOLDER_H

#include "guid.h"

struct mail_user;
struct mailbox;
struct pimap_device;
struct pimap_profile;
struct pimap_user;

/* What the user needs of a folder in his settings. */

/* Returns 0 and what stands for the folder in settings, its GUID or, of a virtual
   mailbox, one made of its name; or -1, and the mailbox has the error. Opens the
   mailbox if need be. */
int pimap_folder_get_guid(struct mailbox *box, guid_128_t guid_r);

/* Returns the present names of the folders that have filters of the device's, in
   the order of device->folders and allocated from the data stack; NULL: a folder
   that is gone. Where that can't be found out, the name is the last one known,
   unless another folder has that by now.
   Looks through all of the user's folders if one isn't where it was, but for
   the same one not again for a minute. */
const char *const *
pimap_folders_get_names(struct pimap_user *puser,
			const struct pimap_device *device);
/* Drops what the devices have set for folders that are gone. */
void pimap_folders_drop_gone(struct pimap_user *puser,
			     struct pimap_profile *profile);

#endif
