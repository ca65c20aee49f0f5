/* SPDX-License-Identifier: LGPL-2.1-only */
/* What the devices of a user must be told of a folder. The order is what makes it
   right: the states are read before the profile, the profile before the folder is
   synced, and everything else is taken from the folder as it was synced then. So
   what comes meanwhile is new to the next look, and what is found was judged by
   the generation that is told with it. */

#include "lib.h"
#include "array.h"
#include "byteorder.h"
#include "guid.h"
#include "hash.h"
#include "sha1.h"
#include "str.h"
#include "mail-index.h"
#include "mail-storage-private.h"
#include "mail-transaction-log.h"
#include "mail-user.h"
#include "pimap-channel.h"
#include "pimap-criteria.h"
#include "pimap-look.h"
#include "pimap-notify.h"
#include "pimap-pref.h"
#include "pimap-settings.h"
#include "pimap-user.h"
#include "pimap-view.h"
#include "pimap-worker.h"
#include "worker-look.h"

#include <sys/stat.h>

/* of what has been logged once */
#define MAX_LOGGED 1000
/* All states of a folder are in one line of a job. */
#define LOOK_MAX_PUSHED_SIZE (64*1024)
/* of one that finds changes which come meanwhile */
#define LOOK_MAX_TRIES 5

static HASH_TABLE(char *, void *) logged_errors;

/* Each look finds again what only the administrator can mend. */
static void look_log_once(const struct look *look, const char *error)
{
	struct mail_user *user = look->puser->user;
	const char *key = t_strconcat(user->username, "\n", error, NULL);

	if (hash_table_is_created(logged_errors) &&
	    hash_table_lookup(logged_errors, key) != NULL)
		return;
	if (hash_table_is_created(logged_errors) &&
	    hash_table_count(logged_errors) >= MAX_LOGGED)
		worker_look_deinit();
	if (!hash_table_is_created(logged_errors)) {
		hash_table_create(&logged_errors, default_pool, 0, str_hash,
				  strcmp);
	}
	hash_table_insert(logged_errors, i_strdup(key), POINTER_CAST(1));
	e_error(user->event, "pimap: %s", error);
}

void worker_look_deinit(void)
{
	struct hash_iterate_context *iter;
	char *key;
	void *value;

	if (!hash_table_is_created(logged_errors))
		return;
	iter = hash_table_iterate_init(logged_errors);
	while (hash_table_iterate(iter, logged_errors, &key, &value))
		i_free(key);
	hash_table_iterate_deinit(&iter);
	hash_table_destroy(&logged_errors);
}

static const char *
look_get_event_filter(const struct pimap_user *puser,
		      const struct pimap_device *device)
{
	return pimap_pref_get(device, &puser->defaults,
			      pimap_pref_find(PIMAP_PREF_EVENT_FILTER));
}

/* The state that the device begins with */
static void look_get_state(struct look_device *ldev, const char *text)
{
	const struct look *look = ldev->look;
	const struct pimap_baseline *baseline =
		pimap_device_find_baseline(ldev->device, look->guid);

	if (text != NULL &&
	    pimap_look_state_parse(ldev->pool, text, &ldev->state) < 0) {
		look_log_once(look, t_strdup_printf(
			"Folder %s: The state of device %s is invalid, "
			"it begins anew", mailbox_get_vname(look->box),
			ldev->device->id));
		text = NULL;
	}
	if (text != NULL && ldev->state.generation ==
				(baseline == NULL ? 0 : baseline->generation))
		return;
	if (baseline == NULL) {
		/* the folder was made later */
		pimap_look_state_init(ldev->pool, 0, look->uid_validity, 1,
				      &ldev->state);
	} else {
		pimap_look_state_init(ldev->pool, baseline->generation,
				      baseline->uid_validity,
				      baseline->next_uid, &ldev->state);
		ldev->state.newest = baseline->newest;
		if (baseline->modseq == 0)
			return;
		/* what the device saw isn't known, but what has changed since */
		ldev->state.modseq = baseline->modseq;
		ldev->state.pushed_type = PIMAP_LOOK_PUSHED_COUNT;
		ldev->state.pushed_count = baseline->messages;
	}
}

/* As long as it is the same, what the criteria select of messages that don't change
   is the same. What time alone makes another is in the lower 32 bits. */
static uint64_t
look_get_filters(const char *criteria, const char *zone, time_t expires)
{
	unsigned char digest[SHA1_RESULTLEN];
	const char *text = t_strdup_printf("%s\n%s", criteria, zone);

	sha1_get_digest(text, strlen(text), digest);
	/* what expires after a minute isn't evaluated anew at each look */
	return ((uint64_t)be32_to_cpu_unaligned(digest) << 32) |
		(uint32_t)((expires + 59) / 60);
}

int look_get_criteria(struct look_device *ldev, const char **error_r)
{
	const struct look *look = ldev->look;
	const struct pimap_user *puser = look->puser;
	const char *event_filter, *view, *notify;
	struct pimap_criteria criteria;

	event_filter = look_get_event_filter(puser, ldev->device);
	if (strcmp(event_filter, "NONE") == 0)
		return 0;
	if (pimap_user_get_criteria(puser, ldev->device, look->guid,
				    PIMAP_FILTER_VIEW, &view, error_r) < 0 ||
	    pimap_user_get_criteria(puser, ldev->device, look->guid,
				    PIMAP_FILTER_NOTIFY, &notify, error_r) < 0)
		return -1;
	ldev->all = strcmp(event_filter, "ALL") == 0;
	/* all search keys must match */
	ldev->criteria = t_strdup_printf("%s %s",
		view == NULL ? PIMAP_CRITERIA_ALL : view,
		notify == NULL ? PIMAP_CRITERIA_ALL : notify);
	if (pimap_criteria_build(ldev->criteria, puser->set->pimap_timezone,
				 &criteria, error_r) < 0) {
		*error_r = t_strdup_printf("Device %s has an invalid filter "
			"%s: %s", ldev->device->id, ldev->criteria, *error_r);
		return -1;
	}
	pimap_criteria_free(&criteria);
	ldev->filters = look_get_filters(ldev->criteria,
					 puser->set->pimap_timezone,
					 criteria.expires);
	return 0;
}

static const char *look_field(const char *text)
{
	return text == NULL ? "" : text;
}

static void
look_print_device(const struct look_device *ldev, string_t *answer)
{
	const struct pimap_user *puser = ldev->look->puser;
	const char *address, *format;
	const struct look_event *event;
	string_t *state = t_str_new(64);

	address = pimap_pref_get(ldev->device, &puser->defaults,
				 pimap_pref_find("PIMAP_OUTBAND_ADDRESS"));
	format = pimap_pref_get(ldev->device, &puser->defaults,
				pimap_pref_find("PIMAP_OUTBAND_FORMAT"));
	pimap_look_state_print(&ldev->state, state);
	worker_answer(answer, "DEVICE", ldev->device->id,
		      dec2str(puser->profile->generation),
		      pimap_notify_get_channel(puser, ldev->device),
		      address == NULL ? "" : address, format, str_c(state),
		      dec2str(ldev->look->uid_validity),
		      dec2str(ldev->start_modseq),
		      dec2str(ldev->look->modseq), NULL);
	array_foreach(&ldev->events, event) T_BEGIN {
		const char *uid = dec2str(event->uid);
		const char *time = dec2str(event->time);

		if (ldev->extended) {
			worker_answer(answer, "EVENT", event->name, uid, time,
				      look_field(event->fields.sender),
				      look_field(event->fields.subject),
				      look_field(event->fields.body), NULL);
		} else {
			worker_answer(answer, "EVENT", event->name, uid, time,
				      NULL);
		}
	} T_END;
}

static int
look_device(const struct look *look, const struct pimap_device *device,
	    const char *state, pool_t pool, string_t *answer, bool *ahead_r,
	    const char **error_r)
{
	struct look_device ldev = {
		.look = look,
		.device = device,
		.pool = pool,
	};
	const char *error;

	p_array_init(&ldev.events, pool, 8);
	ldev.extended = strcmp(pimap_pref_get(device, &look->puser->defaults,
		pimap_pref_find(PIMAP_PREF_FORMAT)), "EXTENDED") == 0 ||
		pimap_channel_is_extended(pimap_notify_get_channel(look->puser,
								   device));
	look_get_state(&ldev, state);
	ldev.start_modseq = ldev.state.modseq;
	if (look_get_criteria(&ldev, &error) < 0) {
		/* what comes now is told when that is mended */
		look_log_once(look, error);
	} else if (look_compare(&ldev, error_r) < 0)
		return -1;
	if (ldev.ahead)
		*ahead_r = TRUE;
	look_print_device(&ldev, answer);
	return 0;
}

static const char *
look_find_state(const char *const *states, const char *id)
{
	for (; *states != NULL; states += 2) {
		if (strcmp(states[0], id) == 0)
			return states[1];
	}
	return NULL;
}

static int
look_devices(const struct look *look, bool special, const char *const *states,
	     string_t *answer, bool *ahead_r, const char **error_r)
{
	const struct pimap_profile *profile = look->puser->profile;
	struct pimap_device *device;
	pool_t pool;
	int ret = 0;

	*ahead_r = FALSE;
	array_foreach_elem(&profile->devices, device) {
		if (!pimap_notify_has(look->puser, device, look->guid, special))
			continue;
		pool = pool_alloconly_create("pimap look", 1024);
		T_BEGIN {
			ret = look_device(look, device,
				look_find_state(states, device->id), pool,
				answer, ahead_r, error_r);
		} T_END_PASS_STR_IF(ret < 0, error_r);
		pool_unref(&pool);
		if (ret < 0)
			break;
	}
	return ret;
}

/* Modseqs aren't kept of messages before somebody asks for them. */
static int look_enable_modseqs(const struct look *look, bool special)
{
	const struct pimap_user *puser = look->puser;
	struct pimap_device *device;

	array_foreach_elem(&puser->profile->devices, device) {
		if (pimap_notify_has(puser, device, look->guid, special) &&
		    strcmp(look_get_event_filter(puser, device), "ALL") == 0) {
			return mailbox_enable(look->box,
					      MAILBOX_FEATURE_CONDSTORE);
		}
	}
	return 0;
}

static int look_sync(struct look *look, bool special, const char **error_r)
{
	const struct mail_index_header *hdr;
	enum mail_error error;

	if (look_enable_modseqs(look, special) < 0 ||
	    mailbox_sync(look->box, MAILBOX_SYNC_FLAG_FULL_READ) < 0) {
		*error_r = t_strdup_printf("Folder %s: %s",
			mailbox_get_vname(look->box),
			mailbox_get_last_internal_error(look->box, &error));
		return error == MAIL_ERROR_NOTFOUND ? 0 : -1;
	}
	/* not by a status, which may be newer */
	hdr = mail_index_get_header(look->box->view);
	look->uid_validity = hdr->uid_validity;
	look->next_uid = hdr->next_uid;
	look->modseq = pimap_view_get_synced_modseq(look->box->view);
	return 1;
}

int look_open(struct look *look, bool *special_r, const char **error_r)
{
	int ret;

	ret = pimap_notify_find_folder(look->puser, look->guid, &look->box,
				       special_r, error_r);
	if (ret <= 0)
		return ret;
	/* what comes from now on is seen by a scan, if not by this look */
	if (look->seen != NULL)
		worker_scan_add_folder(look->box, look->seen);
	look->max_pushed_size = I_MIN(LOOK_MAX_PUSHED_SIZE, PIMAP_LOOK_MAX_LINE /
		2 / I_MAX(array_count(&look->puser->profile->devices), 1));
	return look_sync(look, *special_r, error_r);
}

int look_get_failure(const struct look *look)
{
	return look->box->mailbox_deleted ? 0 : -1;
}

int worker_look(struct pimap_user *puser, const guid_128_t guid,
		const char *const *states, string_t *answer,
		const char **error_r)
{
	const struct pimap_profile *profile;
	struct look look = { .puser = puser, .seen = t_str_new(256) };
	unsigned int tries = 0;
	bool special, ahead;
	size_t size;
	int ret;

	guid_128_copy(look.guid, guid);
	t_array_init(&look.notes, 4);
	look_add_notes(&look, states);
	if (pimap_user_get_profile(puser, &profile, error_r) < 0)
		return -1;
	ret = look_open(&look, &special, error_r);
	if (ret > 0) {
		worker_answer(answer, "FOLDER", guid_128_to_string(guid),
			      mailbox_get_vname(look.box), NULL);
		str_append_str(answer, look.seen);
	}
	size = str_len(answer);
	while (ret > 0) {
		if (look_devices(&look, special, states, answer, &ahead,
				 error_r) < 0) {
			ret = look_get_failure(&look);
			break;
		}
		if (!ahead || ++tries == LOOK_MAX_TRIES)
			break;
		str_truncate(answer, size);
		ret = look_sync(&look, special, error_r);
	}
	if (look.box != NULL)
		mailbox_free(&look.box);
	return ret;
}

struct look_folders {
	struct pimap_user *puser;
	string_t *answer;
};

static int
look_folders_add(struct mailbox *box, const guid_128_t guid, bool special,
		 void *context, const char **error_r ATTR_UNUSED)
{
	const struct look_folders *folders = context;
	struct pimap_device *device;

	array_foreach_elem(&folders->puser->profile->devices, device) {
		if (pimap_notify_has(folders->puser, device, guid, special)) {
			worker_answer(folders->answer, "FOLDER",
				      guid_128_to_string(guid),
				      mailbox_get_vname(box), NULL);
			break;
		}
	}
	return 0;
}

static bool look_has_channel(const struct pimap_user *puser)
{
	struct pimap_device *device;

	array_foreach_elem(&puser->profile->devices, device) {
		if (pimap_notify_get_channel(puser, device) != NULL)
			return TRUE;
	}
	return FALSE;
}

/* Where there is no INBOX yet, or it is just being made: the file that comes with it. Its
   first mail is no change of any folder that is accounted for. */
static const char *folders_get_missing_inbox(const struct pimap_user *puser)
{
	struct mail_namespace *ns =
		mail_namespace_find_inbox(puser->user->namespaces);
	struct stat st;
	const char *path;

	if (ns == NULL ||
	    mailbox_list_get_path(ns->list, "INBOX",
				  MAILBOX_LIST_PATH_TYPE_INDEX, &path) <= 0)
		return NULL;
	path = t_strconcat(path, "/"MAIL_INDEX_PREFIX".log", NULL);
	if (stat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? path : NULL;
	return st.st_size <= (off_t)sizeof(struct mail_transaction_log_header) ?
		path : NULL;
}

int worker_folders(struct pimap_user *puser, string_t *answer,
		   const char **error_r)
{
	struct look_folders folders = {
		.puser = puser,
		.answer = answer,
	};
	const struct pimap_profile *profile;
	struct mail_namespace *ns;
	const char *path;

	if (pimap_settings_get_profile_path(puser->user, &path, &ns,
					    error_r) < 0)
		return -1;
	worker_scan_add_profile(path, folders_get_missing_inbox(puser), answer);
	if (pimap_user_get_profile(puser, &profile, error_r) < 0)
		return -1;
	if (!look_has_channel(puser))
		return 1;
	/* of that each device is told */
	worker_answer(answer, "FOLDER",
		      guid_128_to_string(pimap_notify_list_guid), "INBOX", NULL);
	return pimap_notify_foreach(puser, look_folders_add, &folders,
				    error_r) < 0 ? -1 : 1;
}
