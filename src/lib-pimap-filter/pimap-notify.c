/* SPDX-License-Identifier: LGPL-2.1-only */
/* Which folders notify which devices. */

#include "lib.h"
#include "array.h"
#include "byteorder.h"
#include "sha1.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-transaction-log.h"
#include "mail-user.h"
#include "mailbox-list-iter.h"
#include "pimap-folder.h"
#include "pimap-newest.h"
#include "pimap-notify.h"
#include "pimap-pref.h"
#include "pimap-scope.h"
#include "pimap-user.h"
#include "pimap-view.h"

#include <sys/stat.h>

/* what isn't new to the user, or not wanted */
static const char *const special_uses[] = {
	"\\Sent", "\\Drafts", "\\Trash", "\\Junk", NULL
};

const char *pimap_notify_get_channel(const struct pimap_user *puser,
				     const struct pimap_device *device)
{
	const char *channel =
		pimap_device_get_pref(device, PIMAP_PREF_CHANNEL);

	/* the administrator may have taken it away */
	return channel != NULL &&
		str_array_find(puser->defaults.channels, channel) ?
		channel : NULL;
}

bool pimap_notify_has(const struct pimap_user *puser,
		      const struct pimap_device *device,
		      const guid_128_t guid, bool special)
{
	struct pimap_filter_ref ref;

	if (pimap_notify_get_channel(puser, device) == NULL)
		return FALSE;
	if (special && !pimap_device_has_own_filter(device, guid,
						    PIMAP_FILTER_NOTIFY))
		return FALSE;
	ref = pimap_device_get_filter(device, &puser->defaults, guid,
				      PIMAP_FILTER_NOTIFY);
	return ref.kind != PIMAP_FILTER_NONE;
}

/* Returns 0 to go on, 1 to stop, -1 and error_r. */
typedef int
notify_list_callback_t(const struct mailbox_info *info, void *context,
		       const char **error_r);

static int
notify_list_namespace(struct mail_namespace *ns, bool raw,
		      notify_list_callback_t *callback, void *context,
		      const char **error_r)
{
	struct mailbox_list_iterate_context *iter;
	const struct mailbox_info *info;
	int ret = 0;

	iter = mailbox_list_iter_init(ns->list, "*",
		(raw ? MAILBOX_LIST_ITER_RAW_LIST : 0) |
		MAILBOX_LIST_ITER_NO_AUTO_BOXES |
		MAILBOX_LIST_ITER_RETURN_SPECIALUSE);
	while (ret == 0 && (info = mailbox_list_iter_next(iter)) != NULL) {
		if ((info->flags & (MAILBOX_NOSELECT |
				    MAILBOX_NONEXISTENT)) != 0)
			continue;
		ret = callback(info, context, error_r);
	}
	if (mailbox_list_iter_deinit(&iter) < 0 && ret == 0) {
		*error_r = "Listing the folders failed";
		ret = -1;
	}
	return ret;
}

/* raw: not from the list index, which would be made newer: whoever is just creating a
   folder is told by Dovecot that it exists already. Going through the namespaces at
   once would do that for INBOX. */
static int
notify_list_whole(struct pimap_user *puser, bool raw,
		  notify_list_callback_t *callback, void *context,
		  const char **error_r)
{
	struct mail_namespace *ns;
	int ret = 0;

	for (ns = puser->user->namespaces; ret == 0 && ns != NULL;
	     ns = ns->next) {
		if (ns->type == MAIL_NAMESPACE_TYPE_PRIVATE &&
		    ns->alias_for == NULL) {
			ret = notify_list_namespace(ns, raw, callback, context,
						    error_r);
		}
	}
	return ret;
}

static int
notify_list(struct pimap_user *puser, bool raw,
	    notify_list_callback_t *callback, void *context,
	    const char **error_r)
{
	int ret;

	pimap_scope_whole_begin(puser);
	ret = notify_list_whole(puser, raw, callback, context, error_r);
	pimap_scope_whole_end(puser);
	return ret;
}

static struct mailbox *notify_alloc(const struct mailbox_info *info)
{
	return mailbox_alloc(info->ns->list, info->vname,
			     MAILBOX_FLAG_READONLY);
}

static bool notify_is_special(const struct mailbox_info *info)
{
	const char *const *uses;
	bool ret = FALSE;

	/* Dovecot has flags for them, but sets none */
	if (info->special_use == NULL)
		return FALSE;
	T_BEGIN {
		uses = t_strsplit_spaces(info->special_use, " ");
		for (; *uses != NULL && !ret; uses++)
			ret = str_array_icase_find(special_uses, *uses);
	} T_END;
	return ret;
}

/* A Maildir's last directory is tmp/, a dbox folder's index is made after its directory.
   Not by mailbox_exists(), which makes the list index newer. */
bool pimap_notify_is_made(struct mailbox *box)
{
	const char *path;
	struct stat st;

	if (strstr(box->storage->name, "dbox") != NULL) {
		if (mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_INDEX,
					&path) <= 0)
			return TRUE;
		path = t_strconcat(path, "/", box->index_prefix, NULL);
		if (stat(path, &st) == 0 || errno != ENOENT)
			return TRUE;
		path = t_strconcat(path, ".log", NULL);
		return stat(path, &st) == 0 ? st.st_size >
			(off_t)sizeof(struct mail_transaction_log_header) :
			errno != ENOENT;
	}
	if (mailbox_get_path_to(box, MAILBOX_LIST_PATH_TYPE_MAILBOX, &path) <= 0)
		return !box->inbox_any;
	if (strcmp(box->storage->name, "maildir") == 0)
		path = t_strconcat(path, "/tmp", NULL);
	else if (!box->inbox_any)
		return TRUE;
	return stat(path, &st) == 0 || errno != ENOENT;
}

/* Returns 1 and the GUID; 0 if the folder is gone while it is looked at, its owner
   has no right to read it, or it is virtual: what is in it notifies where it is; -1
   and error_r. An INBOX that isn't there yet isn't made: Dovecot panics where two
   processes do that at once. */
static int
notify_open(struct mailbox *box, guid_128_t guid_r, const char **error_r)
{
	enum mail_error error;

	if (!pimap_notify_is_made(box))
		return 0;
	if (pimap_folder_get_guid(box, guid_r) == 0)
		return box->virtual_vfuncs == NULL ? 1 : 0;
	*error_r = t_strdup_printf("Folder %s: %s", mailbox_get_vname(box),
		mailbox_get_last_internal_error(box, &error));
	return error == MAIL_ERROR_NOTFOUND || error == MAIL_ERROR_PERM ?
		0 : -1;
}

struct notify_folders {
	pimap_notify_folder_callback_t *callback;
	void *context;
};

static int
notify_foreach(const struct mailbox_info *info, void *context,
	       const char **error_r)
{
	const struct notify_folders *folders = context;
	struct mailbox *box = notify_alloc(info);
	guid_128_t guid;
	int ret;

	ret = notify_open(box, guid, error_r);
	if (ret > 0) {
		ret = folders->callback(box, guid, notify_is_special(info),
					folders->context, error_r);
	}
	mailbox_free(&box);
	return ret;
}

int pimap_notify_foreach(struct pimap_user *puser,
			 pimap_notify_folder_callback_t *callback,
			 void *context, const char **error_r)
{
	struct notify_folders folders = {
		.callback = callback,
		.context = context,
	};

	return notify_list(puser, TRUE, notify_foreach, &folders, error_r);
}

struct notify_find {
	guid_128_t guid;
	/* believe the list index about folders that have another GUID there */
	bool by_index;
	struct mailbox *box;
	bool special;
};

static int
notify_find(const struct mailbox_info *info, void *context,
	    const char **error_r)
{
	struct notify_find *find = context;
	struct mailbox *box = notify_alloc(info);
	struct mailbox_metadata metadata;
	guid_128_t guid;
	int ret;

	if (find->by_index &&
	    (mailbox_get_metadata(box, MAILBOX_METADATA_GUID, &metadata) < 0 ||
	     !guid_128_equals(metadata.guid, find->guid)))
		ret = 0;
	else
		ret = notify_open(box, guid, error_r);
	if (ret > 0 && guid_128_equals(guid, find->guid)) {
		find->box = box;
		find->special = notify_is_special(info);
		return 1;
	}
	mailbox_free(&box);
	return ret < 0 && !find->by_index ? -1 : 0;
}

/* Not by mailbox_alloc_guid(): the list index may be older than the folders, so that
   a folder seems to be gone, or one that has been renamed to be two. */
int pimap_notify_find_folder(struct pimap_user *puser, const guid_128_t guid,
			     struct mailbox **box_r, bool *special_r,
			     const char **error_r)
{
	struct notify_find find;
	int ret;

	i_zero(&find);
	guid_128_copy(find.guid, guid);
	find.by_index = TRUE;
	ret = notify_list(puser, FALSE, notify_find, &find, error_r);
	if (ret == 0) {
		find.by_index = FALSE;
		ret = notify_list(puser, TRUE, notify_find, &find, error_r);
	}
	*box_r = find.box;
	*special_r = find.special;
	return ret;
}

/* The list of folders */

const guid_128_t pimap_notify_list_guid = { [GUID_128_SIZE-1] = 1 };

struct notify_names {
	pool_t pool;
	ARRAY_TYPE(pimap_notify_name) *names;
};

static int
notify_name(struct mailbox *box, const guid_128_t guid,
	    bool special ATTR_UNUSED, void *context,
	    const char **error_r ATTR_UNUSED)
{
	const struct notify_names *names = context;
	struct pimap_notify_name *name;

	if (strcasecmp(mailbox_get_vname(box), "INBOX") == 0)
		return 0;
	name = array_append_space(names->names);
	guid_128_copy(name->guid, guid);
	name->name = p_strdup(names->pool, mailbox_get_vname(box));
	return 0;
}

static int
notify_name_cmp(const struct pimap_notify_name *name1,
		const struct pimap_notify_name *name2)
{
	int ret = guid_128_cmp(name1->guid, name2->guid);

	return ret != 0 ? ret : strcmp(name1->name, name2->name);
}

int pimap_notify_get_list(struct pimap_user *puser, pool_t pool,
			  ARRAY_TYPE(pimap_notify_name) *list_r,
			  const char **error_r)
{
	struct notify_names names = { .pool = pool, .names = list_r };
	struct notify_folders folders = {
		.callback = notify_name,
		.context = &names,
	};

	p_array_init(list_r, pool, 16);
	if (notify_list(puser, TRUE, notify_foreach, &folders, error_r) < 0)
		return -1;
	array_sort(list_r, notify_name_cmp);
	return 0;
}

uint64_t pimap_notify_hash_list(const ARRAY_TYPE(pimap_notify_name) *list)
{
	const struct pimap_notify_name *name;
	unsigned char digest[SHA1_RESULTLEN];
	struct sha1_ctxt ctx;

	sha1_init(&ctx);
	array_foreach(list, name) {
		sha1_loop(&ctx, name->guid, sizeof(name->guid));
		sha1_loop(&ctx, name->name, strlen(name->name) + 1);
	}
	sha1_result(&ctx, digest);
	/* a profile keeps it where folders have HIGHESTMODSEQ */
	return be64_to_cpu_unaligned(digest) >> 1;
}

/* Baselines */

struct notify_change {
	struct pimap_user *puser;
	const struct pimap_profile *old;
	struct pimap_profile *profile;
};

/* TRUE if some device is told of changes. */
static bool notify_wants_changes(const struct notify_change *change)
{
	struct pimap_device *device;
	const char *event_filter;

	array_foreach_elem(&change->profile->devices, device) {
		event_filter = pimap_pref_get(device, &change->puser->defaults,
			pimap_pref_find(PIMAP_PREF_EVENT_FILTER));
		if (strcmp(event_filter, "ALL") == 0)
			return TRUE;
	}
	return FALSE;
}

void pimap_notify_add_newest(struct pimap_newest *newest, struct mail *mail,
			     uint32_t uid)
{
	guid_128_t guid_128;
	const char *guid;

	if (mail_set_uid(mail, uid) &&
	    mail_get_special(mail, MAIL_FETCH_GUID, &guid) == 0 &&
	    guid[0] != '\0') {
		mail_generate_guid_128_hash(guid, guid_128);
		pimap_newest_add(newest, uid, guid_128);
	} else {
		pimap_newest_add(newest, uid, NULL);
	}
}

void pimap_notify_get_newest(struct mailbox *box, struct mail *mail,
			     struct pimap_newest *newest_r)
{
	uint32_t seq, count, uid;

	i_zero(newest_r);
	newest_r->known = TRUE;
	count = mail_index_view_get_messages_count(box->view);
	seq = count > PIMAP_NEWEST_MAX ? count - PIMAP_NEWEST_MAX + 1 : 1;
	for (; seq <= count; seq++) {
		mail_index_lookup_uid(box->view, seq, &uid);
		pimap_notify_add_newest(newest_r, mail, uid);
	}
}

static void
notify_get_newest(struct mailbox *box, struct pimap_newest *newest_r)
{
	struct mailbox_transaction_context *trans;
	struct mail *mail;

	trans = mailbox_transaction_begin(box, 0, __func__);
	mail = mail_alloc(trans, MAIL_FETCH_GUID, NULL);
	pimap_notify_get_newest(box, mail, newest_r);
	mail_free(&mail);
	mailbox_transaction_rollback(&trans);
}

static int
notify_get_baseline(struct mailbox *box, const guid_128_t guid,
		    const struct notify_change *change,
		    struct pimap_baseline *baseline_r, const char **error_r)
{
	const bool changes = notify_wants_changes(change);
	struct mailbox_status status;

	if ((changes && mailbox_enable(box, MAILBOX_FEATURE_CONDSTORE) < 0) ||
	    mailbox_sync(box, 0) < 0 ||
	    mailbox_get_status(box, STATUS_UIDVALIDITY | STATUS_UIDNEXT |
			       STATUS_MESSAGES, &status) < 0) {
		*error_r = t_strdup_printf("Folder %s: %s", box->vname,
			mailbox_get_last_internal_error(box, NULL));
		return -1;
	}
	i_zero(baseline_r);
	guid_128_copy(baseline_r->guid, guid);
	baseline_r->generation = change->profile->generation;
	baseline_r->uid_validity = status.uidvalidity;
	baseline_r->next_uid = status.uidnext;
	if (changes) {
		baseline_r->modseq = pimap_view_get_synced_modseq(box->view);
		baseline_r->messages = status.messages;
	}
	notify_get_newest(box, &baseline_r->newest);
	return 0;
}

static int
notify_baseline_callback(struct mailbox *box, const guid_128_t guid,
			 bool special, void *context, const char **error_r)
{
	const struct notify_change *change = context;
	struct pimap_baseline baseline = { .generation = 0 };
	const struct pimap_device *old;
	struct pimap_device *device;

	array_foreach_elem(&change->profile->devices, device) {
		if (!pimap_notify_has(change->puser, device, guid, special)) {
			pimap_device_drop_baseline(device, guid);
			continue;
		}
		old = pimap_profile_find_device(change->old, device->id);
		if (pimap_notify_has(change->puser, old, guid, special))
			continue;
		/* one look is enough for all devices */
		if (baseline.generation == 0 &&
		    notify_get_baseline(box, guid, change, &baseline,
					error_r) < 0)
			return -1;
		pimap_device_set_baseline(device, &baseline);
	}
	return 0;
}

static bool
notify_refs_differ(const struct pimap_user *puser,
		   const struct pimap_device *device1,
		   const struct pimap_device *device2, const guid_128_t guid)
{
	return pimap_notify_has(puser, device1, guid, FALSE) !=
		pimap_notify_has(puser, device2, guid, FALSE) ||
		pimap_notify_has(puser, device1, guid, TRUE) !=
		pimap_notify_has(puser, device2, guid, TRUE);
}

/* TRUE if some folder notifies the one and not the other. */
static bool
notify_devices_differ(const struct pimap_user *puser,
		      const struct pimap_device *old,
		      const struct pimap_device *device)
{
	const struct pimap_folder *folder;

	if (notify_refs_differ(puser, old, device, NULL))
		return TRUE;
	array_foreach(&device->folders, folder) {
		if (notify_refs_differ(puser, old, device, folder->guid))
			return TRUE;
	}
	if (old != NULL) array_foreach(&old->folders, folder) {
		if (notify_refs_differ(puser, old, device, folder->guid))
			return TRUE;
	}
	return FALSE;
}

/* Of the list of folders, which devices with a channel are told of */
static int
notify_update_list(struct notify_change *change, const char **error_r)
{
	const struct pimap_user *puser = change->puser;
	ARRAY_TYPE(pimap_notify_name) list;
	struct pimap_baseline baseline = { .generation = 0 };
	struct pimap_device *device;

	array_foreach_elem(&change->profile->devices, device) {
		if (pimap_notify_get_channel(puser, device) == NULL) {
			pimap_device_drop_baseline(device,
						   pimap_notify_list_guid);
			continue;
		}
		if (pimap_notify_get_channel(puser, pimap_profile_find_device(
				change->old, device->id)) != NULL)
			continue;
		if (baseline.generation == 0) {
			if (pimap_notify_get_list(change->puser,
					pool_datastack_create(), &list,
					error_r) < 0)
				return -1;
			guid_128_copy(baseline.guid, pimap_notify_list_guid);
			baseline.generation = change->profile->generation;
			baseline.uid_validity = 1;
			baseline.next_uid = 1;
			baseline.modseq = pimap_notify_hash_list(&list);
		}
		pimap_device_set_baseline(device, &baseline);
	}
	return 0;
}

int pimap_notify_update_baselines(struct pimap_user *puser,
				  const struct pimap_profile *old,
				  struct pimap_profile *profile,
				  const char **error_r)
{
	struct notify_change change = {
		.puser = puser,
		.old = old,
		.profile = profile,
	};
	struct pimap_device *device;

	if (notify_update_list(&change, error_r) < 0)
		return -1;
	array_foreach_elem(&profile->devices, device) {
		if (notify_devices_differ(puser,
				pimap_profile_find_device(old, device->id),
				device)) {
			return pimap_notify_foreach(puser,
				notify_baseline_callback, &change, error_r);
		}
	}
	return 0;
}
