/* SPDX-License-Identifier: LGPL-2.1-only */
/* Folders as devices' settings know them: by GUID. So a setting stays with its
   folder however it is renamed, by whatever service, and a new folder of the
   same name doesn't inherit it.

   But virtual mailboxes by name: their GUID is another each time they are opened
   before they were synced once, or by a process that doesn't know of that sync
   yet. It is their configuration's place that makes them what they are. */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "mailbox-list-iter.h"
#include "pimap-scope.h"
#include "pimap-user.h"
#include "pimap-folder.h"

/* So long isn't looked again for a folder that wasn't among all of the user's: to
   open each takes its time, and one that is gone doesn't come back. One that can't
   be opened may be the one. */
#define PIMAP_FOLDERS_GONE_SECS 60

struct pimap_folders_gone {
	time_t looked;
	ARRAY(guid_128_t) guids;
	/* some can't be opened */
	bool uncertain;
};

struct folder_names {
	struct mail_user *user;
	const struct pimap_device *device;
	/* one for each of device->folders */
	const char **names;
	/* the same: another folder has the name by now */
	bool *taken;
	/* NULL, or what needn't be looked for */
	const struct pimap_folders_gone *gone;
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

static bool
folders_gone_have(const struct pimap_folders_gone *gone, const guid_128_t guid)
{
	const guid_128_t *have;

	if (gone == NULL)
		return FALSE;
	array_foreach(&gone->guids, have) {
		if (guid_128_equals(*have, guid))
			return TRUE;
	}
	return FALSE;
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
		else if (!folders_gone_have(names->gone, folder[i].guid))
			names->missing++;
		else if (names->gone->uncertain)
			names->uncertain = TRUE;
		names->taken[i] = ret > 0 && names->names[i] == NULL;
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
			if (!folders_gone_have(names->gone, guid))
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

/* What all folders have been looked through for, in vain */
static void
folders_gone_note(struct pimap_user *puser, const struct folder_names *names)
{
	const struct pimap_folder *folder;
	unsigned int i, count;

	folder = array_get(&names->device->folders, &count);
	if (puser->folders_gone == NULL) {
		puser->folders_gone = p_new(puser->user->pool,
					    struct pimap_folders_gone, 1);
		p_array_init(&puser->folders_gone->guids, puser->user->pool, 8);
	}
	array_clear(&puser->folders_gone->guids);
	for (i = 0; i < count; i++) {
		if (names->names[i] == NULL)
			array_push_back(&puser->folders_gone->guids,
					&folder[i].guid);
	}
	puser->folders_gone->looked = ioloop_time;
	puser->folders_gone->uncertain = names->uncertain;
}

/* names_r->names has NULL for what isn't there, or may not be if it is uncertain. */
static void
folders_get_names(struct pimap_user *puser, const struct pimap_device *device,
		  const struct pimap_folders_gone *gone,
		  struct folder_names *names_r)
{
	const unsigned int count = array_count(&device->folders);

	i_zero(names_r);
	names_r->user = puser->user;
	names_r->device = device;
	names_r->gone = gone;
	names_r->names = t_new(const char *, count + 1);
	names_r->taken = t_new(bool, count + 1);
	pimap_scope_whole_begin(puser);
	folder_names_try_known(names_r);
	if (names_r->missing > 0) {
		folder_names_try_all(names_r);
		if (names_r->missing > 0)
			folders_gone_note(puser, names_r);
	}
	pimap_scope_whole_end(puser);
}

const char *const *
pimap_folders_get_names(struct pimap_user *puser,
			const struct pimap_device *device)
{
	const struct pimap_folders_gone *gone = puser->folders_gone;
	const struct pimap_folder *folder;
	struct folder_names names;
	unsigned int i, count;

	if (gone != NULL &&
	    (ioloop_time - gone->looked >= PIMAP_FOLDERS_GONE_SECS ||
	     ioloop_time < gone->looked))
		gone = NULL;
	folders_get_names(puser, device, gone, &names);
	folder = array_get(&device->folders, &count);
	for (i = 0; i < count && names.uncertain; i++) {
		if (names.names[i] == NULL && !names.taken[i])
			names.names[i] = t_strdup(folder[i].vname);
	}
	return names.names;
}

void pimap_folders_drop_gone(struct pimap_user *puser,
			     struct pimap_profile *profile)
{
	struct pimap_device *device;
	struct folder_names names;
	unsigned int i;

	array_foreach_elem(&profile->devices, device) T_BEGIN {
		/* what is dropped must be gone now */
		folders_get_names(puser, device, NULL, &names);
		for (i = names.uncertain ? 0 : array_count(&device->folders);
		     i > 0; i--) {
			if (names.names[i-1] == NULL)
				array_delete(&device->folders, i-1, 1);
		}
	} T_END;
}
