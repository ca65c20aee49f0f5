/* SPDX-License-Identifier: LGPL-2.1-only */
/* Folders as devices' settings know them: by GUID. So a setting stays with its
   folder however it is renamed, by whatever service, and a new folder of the
   same name doesn't inherit it.

   But virtual mailboxes by name: their GUID is another each time they are opened
   before they were synced once, or by a process that doesn't know of that sync
   yet. It is their configuration's place that makes them what they are. */

#include "lib.h"
#include "array.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "mailbox-list-iter.h"
#include "pimap-scope.h"
#include "pimap-user.h"
#include "pimap-folder.h"

struct folder_names {
	struct mail_user *user;
	const struct pimap_device *device;
	/* one for each of device->folders */
	const char **names;
	unsigned int missing;
	/* something can't be looked up now: what is missing may be there */
	bool uncertain;
};

int pimap_folder_get_guid(struct mailbox *box, guid_128_t guid_r)
{
	struct mailbox_metadata metadata;

	/* of a mailbox that isn't open the list index answers, which may still
	   know the folder that had the name before */
	if (mailbox_open(box) < 0 ||
	    mailbox_get_metadata(box, MAILBOX_METADATA_GUID, &metadata) < 0)
		return -1;
	if (box->virtual_vfuncs != NULL)
		mail_generate_guid_128_hash(box->vname, guid_r);
	else
		guid_128_copy(guid_r, metadata.guid);
	return 0;
}

/* Returns 1 and the GUID, 0 if there is no such folder, -1 if that can't be
   known. */
static int
folder_lookup(struct mail_namespace *ns, const char *vname, guid_128_t guid_r)
{
	struct mailbox *box = mailbox_alloc(ns->list, vname, 0);
	enum mail_error error;
	int ret = 1;

	if (pimap_folder_get_guid(box, guid_r) < 0) {
		(void)mailbox_get_last_error(box, &error);
		ret = error == MAIL_ERROR_NOTFOUND ||
			error == MAIL_ERROR_PARAMS ? 0 : -1;
	}
	mailbox_free(&box);
	return ret;
}

/* Most folders still have the name under which they were set. */
static void folder_names_try_known(struct folder_names *names)
{
	const struct pimap_folder *folder;
	struct mail_namespace *ns;
	unsigned int i, count;
	guid_128_t guid;
	int ret;

	folder = array_get(&names->device->folders, &count);
	for (i = 0; i < count; i++) {
		ns = mail_namespace_find(names->user->namespaces,
					 folder[i].vname);
		ret = folder_lookup(ns, folder[i].vname, guid);
		if (ret > 0 && guid_128_equals(guid, folder[i].guid))
			names->names[i] = t_strdup(folder[i].vname);
		else
			names->missing++;
		if (ret < 0)
			names->uncertain = TRUE;
	}
}

static void
folder_names_found(struct folder_names *names, const guid_128_t guid,
		   const char *vname)
{
	const struct pimap_folder *folder;
	unsigned int i, count;

	folder = array_get(&names->device->folders, &count);
	for (i = 0; i < count; i++) {
		if (names->names[i] == NULL &&
		    guid_128_equals(guid, folder[i].guid)) {
			names->names[i] = t_strdup(vname);
			names->missing--;
		}
	}
}

static void folder_names_try_all(struct folder_names *names)
{
	static const char *const patterns[] = { "*", NULL };
	struct mailbox_list_iterate_context *iter;
	const struct mailbox_info *info;
	guid_128_t guid;
	int ret;

	iter = mailbox_list_iter_init_namespaces(names->user->namespaces,
		patterns, MAIL_NAMESPACE_TYPE_MASK_ALL,
		MAILBOX_LIST_ITER_SKIP_ALIASES);
	while (names->missing > 0 &&
	       (info = mailbox_list_iter_next(iter)) != NULL) {
		if ((info->flags & (MAILBOX_NOSELECT |
				    MAILBOX_NONEXISTENT)) != 0)
			continue;
		ret = folder_lookup(info->ns, info->vname, guid);
		if (ret > 0)
			folder_names_found(names, guid, info->vname);
		else if (ret < 0)
			names->uncertain = TRUE;
	}
	if (mailbox_list_iter_deinit(&iter) < 0)
		names->uncertain = TRUE;
}

const char *const *
pimap_folders_get_names(struct pimap_user *puser,
			const struct pimap_device *device)
{
	struct folder_names names = {
		.user = puser->user,
		.device = device,
	};
	const struct pimap_folder *folder;
	unsigned int i, count;

	folder = array_get(&device->folders, &count);
	names.names = t_new(const char *, count + 1);
	pimap_scope_whole_begin(puser);
	folder_names_try_known(&names);
	if (names.missing > 0)
		folder_names_try_all(&names);
	pimap_scope_whole_end(puser);
	for (i = 0; i < count && names.uncertain; i++) {
		if (names.names[i] == NULL)
			names.names[i] = t_strdup(folder[i].vname);
	}
	return names.names;
}

void pimap_folders_drop_gone(struct pimap_user *puser,
			     struct pimap_profile *profile)
{
	struct pimap_device *device;
	const char *const *names;
	unsigned int i;

	array_foreach_elem(&profile->devices, device) T_BEGIN {
		names = pimap_folders_get_names(puser, device);
		for (i = array_count(&device->folders); i > 0; i--) {
			if (names[i-1] == NULL)
				array_delete(&device->folders, i-1, 1);
		}
	} T_END;
}
