/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_NOTIFY_H
#define PIMAP_NOTIFY_H

#include "guid.h"

struct mail;
struct mailbox;
struct pimap_device;
struct pimap_newest;
struct pimap_profile;
struct pimap_user;

/* Which folders notify which devices: those with a notification
   filter, for devices that have a channel. Only folders in the user's own
   namespaces do, and of these none that he has no right to read and no virtual
   ones, whose messages notify where they are. */

/* The device's channel, or NULL: NONE. device may be NULL. */
const char *pimap_notify_get_channel(const struct pimap_user *puser,
				     const struct pimap_device *device);

/* TRUE if the folder notifies the device. special: it is for what excepts
   (\Sent, \Drafts, \Trash, \Junk), so that only a filter of its own counts. */
bool pimap_notify_has(const struct pimap_user *puser,
		      const struct pimap_device *device,
		      const guid_128_t guid, bool special);

/* Goes through the user's folders that may notify, which are open but not synced.
   Returns 0, or -1 and error_r if one couldn't be looked at, or the callback has
   returned -1 (it sets error_r then). Blocks on the disk. */
typedef int
pimap_notify_folder_callback_t(struct mailbox *box, const guid_128_t guid,
			       bool special, void *context,
			       const char **error_r);
int pimap_notify_foreach(struct pimap_user *puser,
			 pimap_notify_folder_callback_t *callback,
			 void *context, const char **error_r);

/* The one of that GUID, open but not synced, which the caller frees. Returns 1; 0 if there is none (any more); -1 and error_r. Device sessions aren't
   what this is for: the folder may show a view there. */
int pimap_notify_find_folder(struct pimap_user *puser, const guid_128_t guid,
			     struct mailbox **box_r, bool *special_r,
			     const char **error_r);

/* The list of folders has this one, as if it were a folder. */
extern const guid_128_t pimap_notify_list_guid;

struct pimap_notify_name {
	guid_128_t guid;
	const char *name;
};
ARRAY_DEFINE_TYPE(pimap_notify_name, struct pimap_notify_name);

/* The user's folders by their GUIDs, but for INBOX, which there is always. Returns 0,
   or -1 and error_r. Blocks on the disk. */
int pimap_notify_get_list(struct pimap_user *puser, pool_t pool,
			  ARRAY_TYPE(pimap_notify_name) *list_r,
			  const char **error_r);
uint64_t pimap_notify_hash_list(const ARRAY_TYPE(pimap_notify_name) *list);

/* Keeps in a profile that is about to be stored what is in folders that begin to
   notify, where old is how it was before. Returns 0, or -1 and error_r.
   Blocks on the disk: it syncs those folders. */
int pimap_notify_update_baselines(struct pimap_user *puser,
				  const struct pimap_profile *old,
				  struct pimap_profile *profile,
				  const char **error_r);

/* The newest messages of a synced folder, and one of those, by any of its mails. Both
   block on the disk. */
void pimap_notify_add_newest(struct pimap_newest *newest, struct mail *mail,
			     uint32_t uid);
void pimap_notify_get_newest(struct mailbox *box, struct mail *mail,
			     struct pimap_newest *newest_r);

/* FALSE: somebody is just making the folder, or it is an INBOX that isn't there yet. Who
   opens a folder finishes it, and CREATE says then that it is there already; two who make
   an INBOX at once are a panic of Dovecot's. It needn't be open. */
bool pimap_notify_is_made(struct mailbox *box);

#endif
