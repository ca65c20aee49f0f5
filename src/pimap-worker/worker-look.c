/* SPDX-License-Identifier: LGPL-2.1-only */
/* What the devices of a user must be told of a folder. The order is what makes it
   right: the states are read before the profile, the profile before the folder is
   synced, and everything else is taken from the folder as it was synced then. So
   what comes meanwhile is new to the next look, and what is found was judged by
   the generation that is told with it. */

#include "lib.h"
#include "array.h"
#include "guid.h"
#include "hash.h"
#include "ioloop.h"
#include "str.h"
#include "mail-index.h"
#include "mail-search.h"
#include "mail-search-build.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "pimap-compat.h"
#include "pimap-criteria.h"
#include "pimap-look.h"
#include "pimap-look-state.h"
#include "pimap-notify.h"
#include "pimap-pref.h"
#include "pimap-user.h"
#include "pimap-worker.h"
#include "worker-fields.h"

/* of what has been logged once */
#define MAX_LOGGED 1000

struct look_event {
	const char *name;
	uint32_t uid;
	time_t time;
	struct worker_fields fields;
};

struct look {
	struct pimap_user *puser;
	struct mailbox *box;
	guid_128_t guid;
	/* of what was synced */
	uint32_t uid_validity, next_uid;
};

struct look_device {
	const struct look *look;
	const struct pimap_device *device;
	pool_t pool;
	/* both filters; NULL: nothing is told */
	const char *criteria;
	struct pimap_look_state state;
	ARRAY(struct look_event) events;
	/* what couldn't be read now */
	ARRAY_TYPE(seq_range) unreadable;
	/* its format wants the fields of messages */
	bool extended;
};

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

static void
look_add_event(struct look_device *ldev, const char *name, uint32_t uid,
	       time_t time)
{
	struct look_event *event = array_append_space(&ldev->events);

	event->name = name;
	event->uid = uid;
	event->time = time;
}

/* Of the event that was added last */
static void look_read_fields(struct look_device *ldev, struct mail *mail)
{
	struct look_event *event = array_back_modifiable(&ldev->events);

	worker_fields_read(mail, ldev->pool,
			   ldev->look->puser->set->pimap_outband_body,
			   &event->fields);
}

/* One event in the place of all others */
static void look_set_event(struct look_device *ldev, const char *name)
{
	array_clear(&ldev->events);
	look_add_event(ldev, name, 0, ioloop_time);
}

static bool look_is_full(const struct look_device *ldev)
{
	return array_count(&ldev->events) > PIMAP_LOOK_MAX_EVENTS ||
		seq_range_count(&ldev->unreadable) > PIMAP_LOOK_MAX_UNDECIDED;
}

/* Adds an event for each of the messages with these sequences that passes. Returns
   0 if some message can't be read: which one isn't known. */
static int
look_search_once(struct look_device *ldev, const ARRAY_TYPE(seq_range) *seqs,
		 const char **error_r)
{
	struct mailbox *box = ldev->look->box;
	struct mailbox_transaction_context *trans;
	struct mail_search_context *search_ctx;
	struct pimap_criteria criteria;
	struct mail_search_arg *arg;
	struct mail *mail;
	time_t received;
	int ret = 1;

	/* a search leaves its marks: they are built anew for each one */
	if (pimap_criteria_build(ldev->criteria,
				 ldev->look->puser->set->pimap_timezone,
				 &criteria, error_r) < 0)
		return -1;
	arg = p_new(criteria.args->pool, struct mail_search_arg, 1);
	arg->type = SEARCH_SEQSET;
	p_array_init(&arg->value.seqset, criteria.args->pool,
		     array_count(seqs));
	array_append_array(&arg->value.seqset, seqs);
	arg->next = criteria.args->args;
	criteria.args->args = arg;

	mail_search_args_init(criteria.args, box, FALSE, NULL);
	trans = mailbox_transaction_begin(box, 0, __func__);
	search_ctx = mailbox_search_init(trans, criteria.args, NULL,
					 MAIL_FETCH_RECEIVED_DATE, NULL);
	pimap_mailbox_search_hide_progress(search_ctx);
	while (!look_is_full(ldev) && mailbox_search_next(search_ctx, &mail)) {
		if (mail_get_received_date(mail, &received) == 0) {
			look_add_event(ldev, "NEW_MESSAGE", mail->uid,
				       received);
			if (ldev->extended)
				look_read_fields(ldev, mail);
		} else if (!mail->expunged)
			ret = 0;
	}
	if (mailbox_search_deinit(&search_ctx) < 0)
		ret = 0;
	mail_search_args_deinit(criteria.args);
	pimap_criteria_free(&criteria);
	if (mailbox_transaction_commit(&trans) < 0 ||
	    mailbox_is_inconsistent(box)) {
		*error_r = t_strdup(mailbox_get_last_internal_error(box, NULL));
		ret = -1;
	}
	return ret;
}

static void
look_split(const ARRAY_TYPE(seq_range) *seqs, unsigned int count,
	   ARRAY_TYPE(seq_range) *first, ARRAY_TYPE(seq_range) *second)
{
	struct seq_range_iter iter;
	uint32_t seq;

	seq_range_array_iter_init(&iter, seqs);
	if (!seq_range_array_iter_nth(&iter, count / 2, &seq))
		i_unreached();
	t_array_init(first, array_count(seqs));
	t_array_init(second, array_count(seqs));
	array_append_array(first, seqs);
	array_append_array(second, seqs);
	seq_range_array_remove_range(first, seq, (uint32_t)-1);
	seq_range_array_remove_range(second, 1, seq - 1);
}

/* The same, and notes which messages can't be read. What was found together with
   one of these isn't believed. */
static int
look_search(struct look_device *ldev, const ARRAY_TYPE(seq_range) *seqs,
	    const char **error_r)
{
	const unsigned int old_count = array_count(&ldev->events);
	const unsigned int count = seq_range_count(seqs);
	ARRAY_TYPE(seq_range) first, second;
	int ret;

	if (count == 0 || look_is_full(ldev))
		return 0;
	ret = look_search_once(ldev, seqs, error_r);
	if (ret != 0)
		return ret < 0 ? -1 : 0;
	array_delete(&ldev->events, old_count,
		     array_count(&ldev->events) - old_count);
	if (count == 1) {
		mailbox_get_uid_range(ldev->look->box, seqs, &ldev->unreadable);
		return 0;
	}
	look_split(seqs, count, &first, &second);
	return look_search(ldev, &first, error_r) < 0 ||
		look_search(ldev, &second, error_r) < 0 ? -1 : 0;
}

/* The messages that may be news to the device, by sequences */
static void
look_get_seqs(const struct look_device *ldev, ARRAY_TYPE(seq_range) *seqs)
{
	const struct look *look = ldev->look;
	ARRAY_TYPE(seq_range) uids;
	const struct seq_range *range;
	uint32_t seq1, seq2;
	unsigned int i;

	t_array_init(&uids, 8);
	for (i = 0; i < PIMAP_LOOK_TRIES; i++)
		seq_range_array_merge(&uids, &ldev->state.undecided[i]);
	if (ldev->state.next_uid < look->next_uid) {
		seq_range_array_add_range(&uids, ldev->state.next_uid,
					  look->next_uid - 1);
	}
	array_foreach(&uids, range) {
		mailbox_get_seq_range(look->box, range->seq1, range->seq2,
				      &seq1, &seq2);
		if (seq1 > 0)
			seq_range_array_add_range(seqs, seq1, seq2);
	}
}

/* What couldn't be read again is a try nearer to being given up. */
static void look_update_undecided(struct look_device *ldev)
{
	ARRAY_TYPE(seq_range) *undecided = ldev->state.undecided;
	ARRAY_TYPE(seq_range) fresh;
	unsigned int i;

	t_array_init(&fresh, 8);
	array_append_array(&fresh, &ldev->unreadable);
	for (i = 0; i < PIMAP_LOOK_TRIES; i++) {
		(void)seq_range_array_remove_seq_range(&fresh, &undecided[i]);
		seq_range_array_intersect(&undecided[i], &ldev->unreadable);
	}
	if (array_count(&undecided[PIMAP_LOOK_TRIES-1]) > 0)
		look_add_event(ldev, "SYNC", 0, ioloop_time);
	for (i = PIMAP_LOOK_TRIES; --i > 0; ) {
		array_clear(&undecided[i]);
		array_append_array(&undecided[i], &undecided[i-1]);
	}
	array_clear(&undecided[0]);
	array_append_array(&undecided[0], &fresh);
}

static int look_find_new(struct look_device *ldev, const char **error_r)
{
	ARRAY_TYPE(seq_range) seqs;

	t_array_init(&seqs, 8);
	look_get_seqs(ldev, &seqs);
	ldev->state.next_uid = ldev->look->next_uid;
	if (look_search(ldev, &seqs, error_r) < 0)
		return -1;
	if (look_is_full(ldev)) {
		look_set_event(ldev, "SYNC");
		pimap_look_state_init(ldev->pool, ldev->state.generation,
				      ldev->state.uid_validity,
				      ldev->state.next_uid, &ldev->state);
	} else {
		look_update_undecided(ldev);
	}
	return 0;
}

static int look_compare(struct look_device *ldev, const char **error_r)
{
	const struct look *look = ldev->look;
	const bool went_back =
		ldev->state.uid_validity != look->uid_validity ||
		ldev->state.next_uid > look->next_uid;

	if (went_back || ldev->criteria == NULL) {
		pimap_look_state_init(ldev->pool, ldev->state.generation,
				      look->uid_validity, look->next_uid,
				      &ldev->state);
	}
	if (ldev->criteria == NULL)
		return 0;
	if (went_back) {
		look_set_event(ldev, "STATE_COMPARISON_SYNC");
		return 0;
	}
	return look_find_new(ldev, error_r);
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
	}
}

/* Returns -1 if only the administrator can make a filter of it. */
static int look_get_criteria(struct look_device *ldev, const char **error_r)
{
	const struct look *look = ldev->look;
	const struct pimap_user *puser = look->puser;
	const char *event_filter, *view, *notify;
	struct pimap_criteria criteria;

	event_filter = pimap_pref_get(ldev->device, &puser->defaults,
				      pimap_pref_find("PIMAP_EVENT_FILTER"));
	if (strcmp(event_filter, "NONE") == 0)
		return 0;
	if (pimap_user_get_criteria(puser, ldev->device, look->guid,
				    PIMAP_FILTER_VIEW, &view, error_r) < 0 ||
	    pimap_user_get_criteria(puser, ldev->device, look->guid,
				    PIMAP_FILTER_NOTIFY, &notify, error_r) < 0)
		return -1;
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
		      NULL);
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
	    const char *state, pool_t pool, string_t *answer,
	    const char **error_r)
{
	struct look_device ldev = {
		.look = look,
		.device = device,
		.pool = pool,
	};
	const char *error;

	p_array_init(&ldev.events, pool, 8);
	p_array_init(&ldev.unreadable, pool, 8);
	ldev.extended = strcmp(pimap_pref_get(device, &look->puser->defaults,
		pimap_pref_find(PIMAP_PREF_FORMAT)), "EXTENDED") == 0;
	look_get_state(&ldev, state);
	if (look_get_criteria(&ldev, &error) < 0) {
		/* what comes now is told when that is mended */
		look_log_once(look, error);
	} else if (look_compare(&ldev, error_r) < 0)
		return -1;
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
	     string_t *answer, const char **error_r)
{
	const struct pimap_profile *profile = look->puser->profile;
	struct pimap_device *device;
	pool_t pool;
	int ret = 0;

	array_foreach_elem(&profile->devices, device) {
		if (!pimap_notify_has(look->puser, device, look->guid, special))
			continue;
		pool = pool_alloconly_create("pimap look", 1024);
		T_BEGIN {
			ret = look_device(look, device,
				look_find_state(states, device->id), pool,
				answer, error_r);
		} T_END_PASS_STR_IF(ret < 0, error_r);
		pool_unref(&pool);
		if (ret < 0)
			break;
	}
	return ret;
}

static int
look_folder(struct look *look, bool special, const char *const *states,
	    string_t *answer, const char **error_r)
{
	const struct mail_index_header *hdr;
	enum mail_error error;

	if (mailbox_sync(look->box, MAILBOX_SYNC_FLAG_FULL_READ) < 0) {
		*error_r = t_strdup_printf("Folder %s: %s",
			mailbox_get_vname(look->box),
			mailbox_get_last_internal_error(look->box, &error));
		return error == MAIL_ERROR_NOTFOUND ? 0 : -1;
	}
	/* not by a status, which may be newer */
	hdr = mail_index_get_header(look->box->view);
	look->uid_validity = hdr->uid_validity;
	look->next_uid = hdr->next_uid;
	worker_answer(answer, "FOLDER", guid_128_to_string(look->guid),
		      mailbox_get_vname(look->box), NULL);
	return look_devices(look, special, states, answer, error_r) < 0 ?
		-1 : 1;
}

int worker_look(struct pimap_user *puser, const guid_128_t guid,
		const char *const *states, string_t *answer,
		const char **error_r)
{
	const struct pimap_profile *profile;
	struct look look = { .puser = puser };
	bool special;
	int ret;

	guid_128_copy(look.guid, guid);
	if (pimap_user_get_profile(puser, &profile, error_r) < 0)
		return -1;
	ret = pimap_notify_find_folder(puser, guid, &look.box, &special,
				       error_r);
	if (ret <= 0)
		return ret;
	ret = look_folder(&look, special, states, answer, error_r);
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

int worker_folders(struct pimap_user *puser, string_t *answer,
		   const char **error_r)
{
	struct look_folders folders = {
		.puser = puser,
		.answer = answer,
	};
	const struct pimap_profile *profile;

	if (pimap_user_get_profile(puser, &profile, error_r) < 0)
		return -1;
	if (!look_has_channel(puser))
		return 1;
	return pimap_notify_foreach(puser, look_folders_add, &folders,
				    error_r) < 0 ? -1 : 1;
}
