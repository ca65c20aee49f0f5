/* SPDX-License-Identifier: LGPL-2.1-only */
/* What is queued, judged anew by the profile as it is now.

   What was judged by this generation already passes, and no mail is opened for it.
   Else a message passes if both filters let it through, now. One that is gone, or has
   another INTERNALDATE than was told (the folder went back), can't be judged and
   doesn't pass, but for its deletion, which passes as long as the device is told of
   deletions; not if the message is there, and passes: then it is known again. What is
   of no message passes while the folder notifies. What was found before the folder
   began to notify for the last time doesn't pass: it is in that baseline. */

#include "lib.h"
#include "array.h"
#include "guid.h"
#include "str.h"
#include "mail-storage-private.h"
#include "pimap-look.h"
#include "pimap-notify.h"
#include "pimap-pref.h"
#include "pimap-user.h"
#include "pimap-worker.h"
#include "worker-look.h"

#define VERDICT_PASSES '1'
#define VERDICT_DROP '0'
#define VERDICT_UNKNOWN '2'

enum judge_kind {
	JUDGE_NEW,
	JUDGE_CHANGED,
	JUDGE_DELETED,
	/* of no message */
	JUDGE_SYNC
};

struct judge_row {
	int64_t generation;
	enum judge_kind kind;
	const char *event;
	uint32_t uid;
	time_t time;
	/* the site's filters were others */
	bool anew;
	char verdict;
};

struct judge {
	struct pimap_user *puser;
	const struct pimap_device *device;
	ARRAY(struct judge_row) rows;
};

static bool
judge_row_parse(const char *const *args, struct judge_row *row_r)
{
	i_zero(row_r);
	row_r->event = args[1];
	if (str_to_int64(args[0], &row_r->generation) < 0 ||
	    str_to_uint32(args[2], &row_r->uid) < 0 ||
	    str_to_time(args[3], &row_r->time) < 0)
		return FALSE;
	if (row_r->generation < 0) {
		row_r->generation = -row_r->generation;
		row_r->anew = TRUE;
	}
	if (strcmp(args[1], "NEW_MESSAGE") == 0)
		row_r->kind = JUDGE_NEW;
	else if (strcmp(args[1], "CHANGED_MESSAGE") == 0)
		row_r->kind = JUDGE_CHANGED;
	else if (strcmp(args[1], "DELETED_MESSAGE") == 0)
		row_r->kind = JUDGE_DELETED;
	else
		row_r->kind = JUDGE_SYNC;
	return row_r->kind == JUDGE_SYNC || row_r->uid != 0;
}

static const char *judge_get_event_filter(const struct judge *judge)
{
	return pimap_pref_get(judge->device, &judge->puser->defaults,
			      pimap_pref_find(PIMAP_PREF_EVENT_FILTER));
}

/* Is it of a time before this baseline? */
static bool
judge_is_older(const struct judge_row *row,
	       const struct pimap_baseline *baseline)
{
	return baseline != NULL && baseline->generation > row->generation;
}

/* What isn't of one folder: a SYNC is the administrator's test, or of folders that
   are no more. */
static bool
judge_row_without_folder(const struct judge *judge, const struct judge_row *row)
{
	const struct pimap_device *device = judge->device;
	const struct pimap_baseline *baseline;
	const struct pimap_folder *folder;
	bool notifies;

	if (row->kind != JUDGE_SYNC)
		return FALSE;
	if (strcmp(row->event, "SYNC") == 0)
		return TRUE;
	notifies = pimap_notify_has(judge->puser, device, NULL, FALSE);
	array_foreach(&device->folders, folder) {
		if (pimap_notify_has(judge->puser, device, folder->guid, TRUE))
			notifies = TRUE;
	}
	if (!notifies || strcmp(judge_get_event_filter(judge), "NONE") == 0)
		return FALSE;
	/* of some folder that has notified ever since */
	array_foreach(&device->baselines, baseline) {
		if (!judge_is_older(row, baseline))
			return TRUE;
	}
	return array_count(&device->baselines) == 0;
}

/* Decides what needs no look at messages. Returns how many do. */
static unsigned int
judge_rows_by_profile(struct judge *judge, const struct look_device *ldev)
{
	const struct pimap_baseline *baseline =
		pimap_device_find_baseline(judge->device, ldev->look->guid);
	struct judge_row *row;
	unsigned int count = 0;

	array_foreach_modifiable(&judge->rows, row) {
		if (row->verdict == VERDICT_PASSES)
			continue;
		row->verdict = VERDICT_DROP;
		if (ldev->criteria == NULL || judge_is_older(row, baseline))
			continue;
		switch (row->kind) {
		case JUDGE_CHANGED:
		case JUDGE_DELETED:
			if (!ldev->all)
				break;
			/* fall through */
		case JUDGE_NEW:
			row->verdict = VERDICT_UNKNOWN;
			count++;
			break;
		case JUDGE_SYNC:
			row->verdict = VERDICT_PASSES;
			break;
		}
	}
	return count;
}

static const struct look_found *
judge_find(const struct look_search *search, uint32_t uid)
{
	const struct look_found *found;

	array_foreach(&search->found, found) {
		if (found->uid == uid)
			return found;
	}
	return NULL;
}

static int
judge_rows_by_messages(struct judge *judge, struct look_device *ldev,
		       const char **error_r)
{
	const struct look_found *found;
	ARRAY_TYPE(seq_range) uids;
	struct look_search search;
	struct judge_row *row;
	bool passes;

	t_array_init(&uids, 8);
	array_foreach_modifiable(&judge->rows, row) {
		if (row->verdict == VERDICT_UNKNOWN)
			seq_range_array_add(&uids, row->uid);
	}
	look_search_init(&search, ldev->pool, ldev->look, ldev->criteria,
			 UINT_MAX);
	if (look_search(&search, &uids, error_r) < 0)
		return -1;
	/* then not all were evaluated */
	if (look_search_is_full(&search))
		return 0;
	array_foreach_modifiable(&judge->rows, row) {
		if (row->verdict != VERDICT_UNKNOWN ||
		    seq_range_exists(&search.unreadable, row->uid) ||
		    seq_range_exists(&search.skipped, row->uid))
			continue;
		found = judge_find(&search, row->uid);
		if (row->kind == JUDGE_DELETED)
			passes = found == NULL;
		else
			passes = found != NULL && found->received == row->time;
		row->verdict = passes ? VERDICT_PASSES : VERDICT_DROP;
	}
	return 0;
}

/* Returns 1 if the device is told of the folder, 0 if there is no such folder, -1
   and error_r. */
static int
judge_rows(struct judge *judge, struct look *look, bool *notifies_r,
	   const char **error_r)
{
	struct look_device ldev = {
		.look = look,
		.device = judge->device,
		.pool = pool_datastack_create(),
	};
	bool special;
	int ret;

	ret = look_open(look, &special, error_r);
	if (ret <= 0)
		return ret;
	*notifies_r = pimap_notify_has(judge->puser, judge->device, look->guid,
				       special);
	if (!*notifies_r)
		return 1;
	if (look_get_criteria(&ldev, error_r) < 0)
		return -1;
	if (judge_rows_by_profile(judge, &ldev) > 0 &&
	    judge_rows_by_messages(judge, &ldev, error_r) < 0)
		return look_get_failure(look);
	return 1;
}

static void
judge_print(const struct judge *judge, bool notifies, string_t *answer)
{
	const struct pimap_user *puser = judge->puser;
	const char *generation = dec2str(puser->profile->generation);
	const struct judge_row *row;
	const char *address;
	string_t *verdicts;

	if (!notifies) {
		worker_answer(answer, "JUDGED", generation, NULL);
		return;
	}
	verdicts = t_str_new(PIMAP_LOOK_MAX_JUDGED);
	array_foreach(&judge->rows, row)
		str_append_c(verdicts, row->verdict);
	address = pimap_pref_get(judge->device, &puser->defaults,
				 pimap_pref_find("PIMAP_OUTBAND_ADDRESS"));
	worker_answer(answer, "JUDGED", generation,
		      pimap_notify_get_channel(puser, judge->device),
		      address == NULL ? "" : address,
		      pimap_pref_get(judge->device, &puser->defaults,
				     pimap_pref_find(PIMAP_PREF_FORMAT)),
		      str_c(verdicts), NULL);
}

int worker_judge(struct pimap_user *puser, const guid_128_t guid,
		 const char *id, const char *const *args, string_t *answer,
		 const char **error_r)
{
	const struct pimap_profile *profile;
	struct judge judge = { .puser = puser };
	struct look look = { .puser = puser };
	struct judge_row *row;
	bool notifies, known = TRUE;
	int ret = 1;

	guid_128_copy(look.guid, guid);
	t_array_init(&judge.rows, PIMAP_LOOK_MAX_JUDGED);
	for (; *args != NULL; args += 4) {
		if (!judge_row_parse(args, array_append_space(&judge.rows))) {
			*error_r = "invalid notification in it";
			return -1;
		}
	}
	if (pimap_user_get_profile(puser, &profile, error_r) < 0)
		return -1;
	judge.device = pimap_profile_find_device(profile, id);
	notifies = judge.device != NULL &&
		pimap_notify_get_channel(puser, judge.device) != NULL;
	if (notifies) array_foreach_modifiable(&judge.rows, row) {
		if ((row->generation == profile->generation && !row->anew) ||
		    guid_128_equals(guid, pimap_notify_list_guid) ||
		    (guid_128_is_empty(guid) &&
		     judge_row_without_folder(&judge, row)))
			row->verdict = VERDICT_PASSES;
		else if (guid_128_is_empty(guid))
			row->verdict = VERDICT_DROP;
		else
			known = FALSE;
	}
	if (!known) {
		ret = judge_rows(&judge, &look, &notifies, error_r);
		if (look.box != NULL)
			mailbox_free(&look.box);
	}
	if (ret > 0)
		judge_print(&judge, notifies, answer);
	return ret;
}
