/* SPDX-License-Identifier: LGPL-2.1-only */
/* The looks: the set of marked folders, the jobs that workers get for them, and the
   commit of their answers.

   A look is marked (in the queue), running, both (marked again while it runs: what
   the running one sees may be older than the mark), resting (it can't be done now,
   and is tried again later, or sooner when it is marked), or held off because the
   last one was a moment ago (outband-pace.h), whether marked or not. */

#include "lib.h"
#include "array.h"
#include "hash.h"
#include "ioloop.h"
#include "llist.h"
#include "str.h"
#include "strescape.h"
#include "time-util.h"
#include "pimap-look.h"
#include "outband-judge.h"
#include "outband-pace.h"
#include "outband-scan.h"
#include "outband-worker.h"
#include "outband-looks.h"

#define OUTBAND_LOOKS_MAX_WORKERS 4
/* The list of folders is looked at so long after its last change, or after the
   first. */
#define OUTBAND_LOOKS_LIST_MSECS 500
#define OUTBAND_LOOKS_LIST_SECS 5
/* A look that finds something is done again while there come notes about that */
#define OUTBAND_LOOKS_NOTES_SECS 1
#define OUTBAND_LOOKS_NOTES_MSECS 20
/* Octets of notes for one look; without a note the devices are told. */
#define OUTBAND_LOOKS_MAX_NOTES (64*1024)
/* Marks that are kept in memory. If there are more, all that is accounted for is
   looked at. */
#define OUTBAND_LOOKS_MAX 100000
/* When everything is looked at, so many of them are marked at a time: hints don't
   wait behind all of it. */
#define OUTBAND_LOOKS_SWEEP 16
/* Workers that have died of a folder, it isn't known of which message */
#define OUTBAND_LOOKS_MAX_DEATHS 3
#define OUTBAND_LOOKS_REST_MIN_MSECS (10*1000)
#define OUTBAND_LOOKS_REST_MAX_MSECS (60*60*1000)

struct outband_look {
	struct outband_look *prev, *next;
	struct outband_looks *looks;
	char *user, *guid;

	pool_t pool;
	ARRAY_TYPE(outband_accounted) accounted;
	/* while it runs: what it reads, and the changes of that before */
	struct outband_profile *profile;
	unsigned int profile_changes;

	struct timeout *to_rest;
	unsigned int rest_msecs;
	/* when it wasn't found, 0 = it was */
	uint64_t not_found_usecs;
	struct timeout *to_hold;
	struct outband_pace pace;
	/* workers have died of it, perhaps of a message */
	bool suspected;
	/* of the mark, and of the look that runs */
	const char *cause;
	struct outband_origin origin;
	/* For the next look, each after a TAB, or NULL; and how much of them the
	   one that runs has been told. */
	char *notes;
	size_t notes_told;
	/* the list of folders has begun to change */
	time_t list_since;
	/* notes have come while it was looked, since then; 0 = they haven't */
	time_t notes_since;

	bool marked:1;
	bool running:1;
	bool notes_waited:1;
	/* What was found before may be queued, though the store has said that it
	   failed. Then it isn't found again. */
	bool unsure:1;
	/* FOLDERS: those that are accounted for are looked at already */
	bool only_new:1;
};

struct outband_looks {
	struct event *event;
	outband_looks_found_callback_t *found_callback;
	void *found_context;
	outband_looks_hold_callback_t *hold_callback;

	struct outband_workers *workers;
	struct outband_judge *judge;
	struct outband_scans *scans;
	struct outband_store *store;

	HASH_TABLE(struct outband_look *, struct outband_look *) all;
	struct outband_look *head, *tail;
	unsigned int marked_count, running_count;
	uint64_t done, failed;

	/* where the look at everything is */
	char *sweep_user, *sweep_guid;
	const char *sweep_cause;
	struct timeout *to_sweep;
	bool sweeping:1;
	bool overflowed:1;
	bool store_failed:1;
	bool in_run:1;
};

static void outband_looks_run(struct outband_looks *looks);
static void
outband_looks_sweep_begin(struct outband_looks *looks, const char *cause);

static unsigned int outband_look_hash(const struct outband_look *look)
{
	return str_hash(look->user) * 31 + str_hash(look->guid);
}

static int
outband_look_cmp(const struct outband_look *look1,
		 const struct outband_look *look2)
{
	int ret = strcmp(look1->user, look2->user);

	return ret != 0 ? ret : strcmp(look1->guid, look2->guid);
}

static void outband_look_unmark(struct outband_look *look)
{
	struct outband_looks *looks = look->looks;

	i_assert(look->marked);
	DLLIST2_REMOVE(&looks->head, &looks->tail, look);
	looks->marked_count--;
	look->marked = FALSE;
}

static void outband_look_free(struct outband_look *look)
{
	hash_table_remove(look->looks->all, look);
	if (look->marked)
		outband_look_unmark(look);
	timeout_remove(&look->to_rest);
	outband_profile_unref(&look->profile);
	timeout_remove(&look->to_hold);
	pool_unref(&look->pool);
	i_free(look->user);
	i_free(look->guid);
	i_free(look->notes);
	i_free(look);
}

/* Returns NULL if there are too many. */
static struct outband_look *
outband_looks_get(struct outband_looks *looks, const char *user,
		  const char *guid)
{
	struct outband_look *look, key;

	i_zero(&key);
	key.user = (char *)user;
	key.guid = (char *)guid;
	look = hash_table_lookup(looks->all, &key);
	if (look != NULL)
		return look;
	if (hash_table_count(looks->all) >= OUTBAND_LOOKS_MAX) {
		looks->overflowed = TRUE;
		return NULL;
	}
	look = i_new(struct outband_look, 1);
	look->looks = looks;
	look->user = i_strdup(user);
	look->guid = i_strdup(guid);
	hash_table_insert(looks->all, look, look);
	return look;
}

static void outband_look_mark(struct outband_look *look, const char *cause)
{
	struct outband_looks *looks = look->looks;

	timeout_remove(&look->to_rest);
	if (look->marked)
		return;
	look->list_since = 0;
	look->marked = TRUE;
	look->cause = cause;
	DLLIST2_APPEND(&looks->head, &looks->tail, look);
	looks->marked_count++;
}

static void outband_look_list_settled(struct outband_look *look)
{
	outband_look_mark(look, look->cause);
	outband_looks_run(look->looks);
}

/* Folders come and go one after the other, and who looks at them meanwhile is in the
   way: Dovecot says of a folder that it exists already, if another process has come
   to know it while it is being created. So it is waited until nothing more comes. */
static void outband_look_list(struct outband_look *look, const char *cause)
{
	if (look->marked)
		return;
	if (look->list_since == 0 || ioloop_time < look->list_since)
		look->list_since = ioloop_time;
	else if (ioloop_time > look->list_since + OUTBAND_LOOKS_LIST_SECS &&
		 look->to_rest != NULL)
		return;
	look->cause = cause;
	timeout_remove(&look->to_rest);
	look->to_rest = timeout_add_short(OUTBAND_LOOKS_LIST_MSECS,
					  outband_look_list_settled, look);
}

void outband_looks_mark(struct outband_looks *looks, const char *user,
			const char *guid, const char *cause)
{
	struct outband_look *look = outband_looks_get(looks, user, guid);

	if (look == NULL)
		return;
	look->only_new = FALSE;
	outband_pace_hint(&look->pace);
	if (strcmp(guid, PIMAP_LOOK_LIST_GUID) == 0) {
		outband_look_list(look, cause);
		return;
	}
	outband_look_mark(look, cause);
	outband_looks_run(looks);
}

/* Is there nothing more to know of it? */
static void outband_look_free_idle(struct outband_look *look)
{
	if (!look->marked && !look->running && look->to_rest == NULL &&
	    look->to_hold == NULL)
		outband_look_free(look);
}

static void outband_look_held(struct outband_look *look)
{
	struct outband_looks *looks = look->looks;

	timeout_remove(&look->to_hold);
	outband_look_free_idle(look);
	outband_looks_run(looks);
}

/* A look has ended. The next one of the folder begins in a moment; of the list of
   folders, at once. */
static void outband_look_hold(struct outband_look *look)
{
	unsigned int msecs = outband_pace_end(&look->pace, i_microseconds());

	if (look->guid[0] != '\0' && msecs > 0 && look->to_hold == NULL) {
		look->to_hold = timeout_add_short(msecs, outband_look_held,
						  look);
	}
}

void outband_looks_note(struct outband_looks *looks, const char *user,
			const char *guid, const char *note)
{
	struct outband_look *look = outband_looks_get(looks, user, guid);
	char *notes;

	if (look == NULL)
		return;
	look->notes_waited = FALSE;
	if (look->notes == NULL)
		look->notes = i_strconcat("\t", note, NULL);
	else if (strlen(look->notes) + strlen(note) < OUTBAND_LOOKS_MAX_NOTES) {
		notes = i_strconcat(look->notes, "\t", note, NULL);
		i_free(look->notes);
		look->notes = notes;
	}
}

/* The look has used them, but for what came meanwhile. */
static void outband_look_drop_notes(struct outband_look *look)
{
	char *notes = NULL;

	if (look->notes != NULL && look->notes[look->notes_told] != '\0')
		notes = i_strdup(look->notes + look->notes_told);
	i_free(look->notes);
	look->notes = notes;
}

/* Was something found that a note may be about which the look hasn't been told? Who
   sends one does that after his commit: the look may have seen this already. Where
   there are notes there may be another soon: that is waited for once. */
static bool
outband_look_awaits_notes(struct outband_look *look,
			  const struct outband_answer *answer)
{
	const struct outband_found *found;
	bool events = FALSE;

	array_foreach(&answer->found, found) {
		if (array_count(&found->events) > 0)
			events = TRUE;
	}
	if (!events || look->notes == NULL)
		return FALSE;
	if (look->notes[look->notes_told] == '\0') {
		if (look->notes_waited)
			return FALSE;
		look->notes_waited = TRUE;
	}
	if (look->notes_since == 0)
		look->notes_since = ioloop_time;
	/* the clock may go back, too */
	return ioloop_time >= look->notes_since &&
		ioloop_time <= look->notes_since + OUTBAND_LOOKS_NOTES_SECS;
}

static void
outband_look_append_notes(struct outband_look *look, string_t *line)
{
	const char *const *notes;

	look->notes_told = 0;
	if (look->notes == NULL)
		return;
	look->notes_told = strlen(look->notes);
	for (notes = t_strsplit(look->notes + 1, "\t"); *notes != NULL; notes++) {
		str_append(line, "\t"PIMAP_LOOK_NOTE"\t");
		str_append_tabescaped(line, *notes);
	}
}

/* Storing fails for all or for none: one line, not one for each. */
static void
outband_looks_store_failed(struct outband_looks *looks, const char *error)
{
	if (!looks->store_failed)
		e_error(looks->event, "%s (it is tried again)", error);
	looks->store_failed = TRUE;
}

static void outband_look_rested(struct outband_look *look)
{
	outband_look_mark(look, look->origin.cause);
	outband_looks_run(look->looks);
}

/* It couldn't be done now. */
static void outband_look_rest(struct outband_look *look)
{
	if (look->rest_msecs == 0)
		look->rest_msecs = OUTBAND_LOOKS_REST_MIN_MSECS;
	else {
		look->rest_msecs = I_MIN(look->rest_msecs * 2,
					 OUTBAND_LOOKS_REST_MAX_MSECS);
	}
	if (!look->marked && look->to_rest == NULL) {
		look->to_rest = timeout_add(look->rest_msecs,
					    outband_look_rested, look);
	}
}

static void
outband_look_finished_event(struct outband_look *look, const char *result)
{
	struct event_passthrough *e =
		event_create_passthrough(look->looks->event)->
		set_name("pimap_look_finished")->
		add_str("user", look->user)->
		add_str("mailbox_guid", look->guid)->
		add_str("result", result);
	e_debug(e->event(), "Look of %s at %s: %s", look->user,
		look->guid[0] == '\0' ? "folders" : look->guid, result);
}

/* Marks the folders that the user's devices are notified of. Returns 0, or -1 and
   error_r. */
static int
outband_look_folders(struct outband_look *look,
		     const struct outband_answer *answer, const char **error_r)
{
	struct outband_looks *looks = look->looks;
	const char *user = look->user, *guid = "";
	ARRAY_TYPE(outband_accounted) accounted;
	int ret;

	array_foreach_elem(&answer->folders, guid) {
		struct outband_look *folder;

		if (look->only_new) {
			if (outband_store_accounted_get(looks->store,
					look->user, guid,
					pool_datastack_create(), &accounted,
					error_r) < 0)
				return -1;
			if (array_count(&accounted) > 0)
				continue;
		}
		folder = outband_looks_get(looks, look->user, guid);
		if (folder != NULL)
			outband_look_mark(folder, look->origin.cause);
	}
	if (array_count(&answer->folders) == 0 &&
	    outband_store_drop_user(looks->store, user, error_r) < 0)
		return -1;
	if (look->only_new)
		return 0;
	/* and those that they no longer are */
	guid = "";
	while ((ret = outband_store_folder_next(looks->store, user, guid,
						pool_datastack_create(), &user,
						&guid, error_r)) > 0 &&
	       strcmp(user, look->user) == 0) {
		struct outband_look *folder;

		folder = outband_looks_get(looks, user, guid);
		if (folder != NULL)
			outband_look_mark(folder, look->origin.cause);
	}
	return ret < 0 ? -1 : 0;
}

static bool
outband_look_has_found(const struct outband_answer *answer, const char *device)
{
	const struct outband_found *found;

	array_foreach(&answer->found, found) {
		if (strcmp(found->device, device) == 0)
			return TRUE;
	}
	return FALSE;
}

/* Returns 1, 0 if it is to be done again, or -1 and error_r if not now. */
static int
outband_look_commit(struct outband_look *look,
		    const struct outband_answer *answer, const char **error_r)
{
	struct outband_looks *looks = look->looks;
	const struct outband_accounted *accounted;
	const struct outband_found *found;
	int ret;

	if (outband_look_awaits_notes(look, answer))
		return 0;
	look->notes_since = 0;
	look->notes_waited = FALSE;
	ret = outband_store_commit(looks->store, look->user, look->guid,
				   answer->folder, &look->origin,
				   &look->accounted, &answer->found, error_r);
	if (ret < 0)
		look->unsure = TRUE;
	if (ret <= 0)
		return ret;
	if (array_count(&answer->found) > 0) {
		found = array_front(&answer->found);
		outband_profile_was_read(look->profile, look->profile_changes,
					 found->generation);
	}
	array_foreach(&answer->found, found) {
		if (array_count(&found->events) > 0 || look->unsure) {
			looks->found_callback(look->user, found->device,
					      looks->found_context);
		}
	}
	look->unsure = FALSE;
	/* what waits behind one that is dropped doesn't wait any more */
	array_foreach(&look->accounted, accounted) {
		if (!outband_look_has_found(answer, accounted->device)) {
			looks->found_callback(look->user, accounted->device,
					      looks->found_context);
		}
	}
	return 1;
}

/* The list of folders has changed: there may be some that nobody has told of. */
static void
outband_look_new_folders(struct outband_look *look,
			 const struct outband_answer *answer)
{
	const struct outband_found *found;
	struct outband_look *folders;
	bool changed = FALSE;

	array_foreach(&answer->found, found) {
		if (array_count(&found->events) > 0)
			changed = TRUE;
	}
	folders = !changed ? NULL :
		outband_looks_get(look->looks, look->user, "");
	if (folders != NULL && !folders->marked) {
		folders->only_new = TRUE;
		outband_look_mark(folders, look->origin.cause);
	}
}

/* It wasn't found. */
static bool outband_look_is_gone(struct outband_look *look)
{
	const uint64_t now = i_microseconds();

	/* the clock may go back, too */
	if (look->not_found_usecs == 0 || now < look->not_found_usecs)
		look->not_found_usecs = now;
	return now - look->not_found_usecs >= OUTBAND_GONE_SECS * 1000000;
}

/* Returns 1, 0 or -1 as outband_look_commit(). */
static int
outband_look_take(struct outband_look *look,
		  const struct outband_answer *answer, const char **error_r)
{
	struct outband_looks *looks = look->looks;
	int ret;

	switch (answer->result) {
	case OUTBAND_ANSWER_OK:
		if (look->guid[0] != '\0')
			ret = outband_look_commit(look, answer, error_r);
		else
			ret = outband_look_folders(look, answer, error_r) < 0 ? -1 : 1;
		if (ret > 0 && strcmp(look->guid, PIMAP_LOOK_LIST_GUID) == 0)
			outband_look_new_folders(look, answer);
		if (ret > 0) {
			outband_scans_set(looks->scans, look->user, look->guid,
				array_count(&answer->found) > 0 ||
				array_count(&answer->folders) > 0 ?
				answer->seen : NULL);
		}
		return ret;
	case OUTBAND_ANSWER_GONE:
		if (!outband_look_is_gone(look))
			return 0;
		ret = outband_store_gone(looks->store, look->user, look->guid,
					 error_r);
		if (ret >= 0) {
			outband_scans_forget(looks->scans, look->user,
					     look->guid);
		}
		return ret;
	case OUTBAND_ANSWER_FAIL:
	case OUTBAND_ANSWER_LOST:
	case OUTBAND_ANSWER_UNREACHED:
		break;
	}
	i_unreached();
}

/* No worker has died this time. */
static void
outband_look_survived(struct outband_look *look,
		      const struct outband_answer *answer)
{
	const struct outband_found *found;
	const struct outband_event *event;
	const char *error;
	bool went_back = FALSE;

	/* then its UIDs are of other messages */
	array_foreach(&answer->found, found) {
		array_foreach(&found->events, event) {
			if (strcmp(event->name, "STATE_COMPARISON_SYNC") == 0)
				went_back = TRUE;
		}
	}
	if ((look->suspected || went_back) &&
	    outband_store_deaths_clear(look->looks->store, look->user,
				       look->guid, went_back, &error) < 0)
		outband_looks_store_failed(look->looks, error);
}

/* A worker has died. What it died of stays known when this process ends: a message
   that kills is evaluated so often, then no more; a folder where it isn't known what
   it is rests, longer each time. */
static void
outband_look_died(struct outband_look *look, uint32_t uid)
{
	struct outband_looks *looks = look->looks;
	const char *error;
	unsigned int deaths;

	if (outband_store_deaths_add(looks->store, look->user, look->guid, uid,
				     &deaths, &error) < 0) {
		outband_looks_store_failed(looks, error);
		look->rest_msecs = 0;
		outband_look_rest(look);
		return;
	}
	if (uid == 0 && deaths >= OUTBAND_LOOKS_MAX_DEATHS) {
		if (look->rest_msecs == 0) {
			e_error(looks->event, "User %s: %u workers have died "
				"of folder %s (it is tried again)", look->user,
				deaths, look->guid[0] == '\0' ? "list" :
				look->guid);
		}
		outband_look_rest(look);
		return;
	}
	if (uid != 0 && deaths >= OUTBAND_DEATHS_MAX) {
		e_error(looks->event, "User %s: Workers have died of message "
			"UID %u of folder %s: It isn't evaluated any more, "
			"devices are told SYNC of it", look->user, uid,
			look->guid);
	}
	outband_look_mark(look, look->origin.cause);
}

/* */
static void
outband_look_hold_events(struct outband_look *look,
			 struct outband_answer *answer)
{
	struct outband_looks *looks = look->looks;
	struct outband_found *found;

	array_foreach_modifiable(&answer->found, found) {
		if (array_count(&found->events) > 0 &&
		    found->changes.end_modseq > 0) {
			found->held_until = looks->hold_callback(look->user,
				found->device, look->guid,
				looks->found_context);
		}
	}
}

static void
outband_look_answered(struct outband_answer *answer, void *context)
{
	struct outband_look *look = context;
	struct outband_looks *looks = look->looks;
	const char *result = "ok", *error;
	int ret;

	look->running = FALSE;
	looks->running_count--;
	switch (answer->result) {
	case OUTBAND_ANSWER_OK:
	case OUTBAND_ANSWER_GONE:
		T_BEGIN {
			outband_look_hold_events(look, answer);
			ret = outband_look_take(look, answer, &error);
			if (ret < 0)
				outband_looks_store_failed(looks, error);
			else if (ret > 0)
				outband_look_survived(look, answer);
		} T_END;
		if (ret < 0) {
			result = "not stored";
			look->rest_msecs = 0;
			outband_look_rest(look);
			break;
		}
		looks->store_failed = FALSE;
		look->rest_msecs = 0;
		if (ret > 0)
			outband_look_drop_notes(look);
		if (answer->result == OUTBAND_ANSWER_OK)
			look->not_found_usecs = 0;
		if (ret == 0 && look->not_found_usecs != 0) {
			result = "not found";
			if (!look->marked && look->to_rest == NULL) {
				look->to_rest = timeout_add(
					OUTBAND_GONE_SECS * 1000 + 100,
					outband_look_rested, look);
			}
		} else if (ret == 0) {
			result = "stale";
			if (look->notes_since == 0)
				outband_look_mark(look, look->origin.cause);
			else if (!look->marked) {
				look->to_rest = timeout_add_short(
					OUTBAND_LOOKS_NOTES_MSECS,
					outband_look_rested, look);
			}
		} else if (answer->result == OUTBAND_ANSWER_GONE) {
			result = "gone";
		}
		break;
	case OUTBAND_ANSWER_FAIL:
		result = "failed";
		outband_look_rest(look);
		break;
	case OUTBAND_ANSWER_LOST:
		result = "lost";
		T_BEGIN {
			outband_look_died(look, answer->at_uid);
		} T_END;
		break;
	case OUTBAND_ANSWER_UNREACHED:
		result = "no worker";
		outband_look_mark(look, look->origin.cause);
		break;
	}
	if (strcmp(result, "ok") == 0 || strcmp(result, "gone") == 0)
		looks->done++;
	else if (strcmp(result, "stale") != 0 &&
		 strcmp(result, "not found") != 0)
		looks->failed++;
	outband_look_finished_event(look, result);
	outband_answer_deinit(&answer);
	outband_profile_unref(&look->profile);
	pool_unref(&look->pool);
	outband_look_hold(look);
	outband_look_free_idle(look);
}

/* Returns 1 if a worker has the job, 0 if none is free, -1 and error_r if there
   can't be one now. */
static int outband_look_begin(struct outband_look *look, const char **error_r)
{
	struct outband_looks *looks = look->looks;
	const struct outband_accounted *accounted;
	string_t *line = t_str_new(256);
	struct outband_deaths deaths;
	const char *guid = NULL;

	pool_unref(&look->pool);
	look->pool = pool_alloconly_create("outband look", 1024);
	if (outband_store_deaths_get(looks->store, look->user, look->guid,
				     look->pool, &deaths, error_r) < 0) {
		/* as long as the store can't, all looks try at the same pace: it
		   isn't this folder's fault */
		look->rest_msecs = 0;
		return -1;
	}
	look->suspected = deaths.suspected;
	outband_deaths_append_caution(&deaths, line);
	if (look->guid[0] == '\0') {
		str_append(line, "FOLDERS\t");
		str_append_tabescaped(line, look->user);
	} else {
		guid = look->guid;
		str_append(line, "LOOK\t");
		str_append_tabescaped(line, look->user);
		str_append_c(line, '\t');
		str_append(line, guid);
		if (outband_store_accounted_get(looks->store, look->user, guid,
						look->pool, &look->accounted,
						error_r) < 0) {
			look->rest_msecs = 0;
			return -1;
		}
		array_foreach(&look->accounted, accounted) {
			str_append_c(line, '\t');
			str_append_tabescaped(line, accounted->device);
			str_append_c(line, '\t');
			str_append_tabescaped(line, accounted->state);
		}
		outband_look_append_notes(look, line);
	}
	if (str_len(line) >= PIMAP_LOOK_MAX_LINE) {
		*error_r = t_strdup_printf("User %s: the states of folder %s "
			"are too long for a job", look->user, look->guid);
		return -1;
	}
	/* A mark that comes from now on causes another. */
	return outband_workers_send(looks->workers, str_c(line), guid,
				    outband_look_answered, look) ? 1 : 0;
}

static void outband_looks_sweep(struct outband_looks *looks)
{
	struct outband_look *look;
	const char *user, *guid, *error;
	int ret = 1;

	timeout_remove(&looks->to_sweep);
	while (looks->sweeping && looks->marked_count < OUTBAND_LOOKS_SWEEP) {
		ret = outband_store_folder_next(looks->store, looks->sweep_user,
						looks->sweep_guid,
						pool_datastack_create(), &user,
						&guid, &error);
		if (ret <= 0)
			break;
		look = outband_looks_get(looks, user, guid);
		if (look == NULL) {
			/* go on when there is room */
			break;
		}
		outband_look_mark(look, looks->sweep_cause);
		/* Nothing else finds a folder that began to notify while the
		   service didn't run. */
		if (strcmp(user, looks->sweep_user) != 0 &&
		    (look = outband_looks_get(looks, user, "")) != NULL &&
		    !look->marked) {
			look->only_new = TRUE;
			outband_look_mark(look, looks->sweep_cause);
		}
		i_free(looks->sweep_user);
		looks->sweep_user = i_strdup(user);
		i_free(looks->sweep_guid);
		looks->sweep_guid = i_strdup(guid);
	}
	if (ret == 0) {
		looks->sweeping = FALSE;
		if (looks->overflowed) {
			looks->overflowed = FALSE;
			outband_looks_sweep_begin(looks, "many marks");
		}
	} else if (ret < 0) {
		outband_looks_store_failed(looks, error);
		looks->to_sweep = timeout_add(OUTBAND_LOOKS_REST_MIN_MSECS,
					      outband_looks_run, looks);
	}
}

static void
outband_looks_sweep_begin(struct outband_looks *looks, const char *cause)
{
	i_free(looks->sweep_user);
	i_free(looks->sweep_guid);
	looks->sweep_user = i_strdup("");
	looks->sweep_guid = i_strdup("");
	looks->sweep_cause = cause;
	looks->sweeping = TRUE;
}

/* Gives jobs to all free workers. */
static void outband_looks_run(struct outband_looks *looks)
{
	struct outband_look *look, *next;
	const char *error;
	int ret = 1;

	if (looks->store == NULL || looks->in_run)
		return;
	looks->in_run = TRUE;
	if (looks->overflowed && !looks->sweeping &&
	    hash_table_count(looks->all) < OUTBAND_LOOKS_MAX / 2) {
		looks->overflowed = FALSE;
		outband_looks_sweep_begin(looks, "many marks");
	}
	if (looks->sweeping) T_BEGIN {
		outband_looks_sweep(looks);
	} T_END;
	for (look = looks->head; look != NULL && ret != 0; look = next) {
		next = look->next;
		if (look->running || look->to_hold != NULL)
			continue;
		if (!outband_workers_is_one_free(looks->workers))
			break;
		T_BEGIN {
			ret = outband_look_begin(look, &error);
			if (ret < 0)
				outband_looks_store_failed(looks, error);
		} T_END;
		if (ret > 0) {
			look->origin.cause = look->cause;
			look->origin.begun = ioloop_time;
			look->profile = outband_profile_ref(looks->judge,
							    look->user);
			look->profile_changes =
				outband_profile_get_changes(look->profile);
			outband_pace_begin(&look->pace, i_microseconds());
			look->running = TRUE;
			looks->running_count++;
			outband_look_unmark(look);
		} else if (ret < 0) {
			look->origin.cause = look->cause;
			outband_look_unmark(look);
			outband_look_rest(look);
		}
	}
	looks->in_run = FALSE;
}

static void outband_looks_worker_free(void *context)
{
	outband_looks_run(context);
}

static void
outband_looks_scan_changed(const char *user, const char *guid, void *context)
{
	outband_looks_mark(context, user, guid, "scan");
}

struct outband_looks *
outband_looks_init(struct event *event_parent, const char *worker_path,
		   struct outband_judge *judge,
		   unsigned int scan_interval,
		   outband_looks_found_callback_t *callback,
		   outband_looks_hold_callback_t *hold_callback,
		   void *context)
{
	struct outband_looks *looks;

	looks = i_new(struct outband_looks, 1);
	looks->event = event_create(event_parent);
	looks->judge = judge;
	looks->found_callback = callback;
	looks->hold_callback = hold_callback;
	looks->found_context = context;
	looks->workers = outband_workers_init(looks->event, worker_path,
					      OUTBAND_LOOKS_MAX_WORKERS,
					      outband_looks_worker_free, looks);
	looks->scans = outband_scans_init(looks->event, looks->workers,
					  scan_interval,
					  outband_looks_scan_changed, looks);
	hash_table_create(&looks->all, default_pool, 0, outband_look_hash,
			  outband_look_cmp);
	return looks;
}

void outband_looks_deinit(struct outband_looks **_looks)
{
	struct outband_looks *looks = *_looks;
	struct hash_iterate_context *iter;
	struct outband_look *look;

	*_looks = NULL;
	looks->in_run = TRUE;
	outband_scans_deinit(&looks->scans);
	outband_workers_deinit(&looks->workers);
	iter = hash_table_iterate_init(looks->all);
	while (hash_table_iterate(iter, looks->all, &look, &look))
		outband_look_free(look);
	hash_table_iterate_deinit(&iter);
	hash_table_destroy(&looks->all);
	timeout_remove(&looks->to_sweep);
	event_unref(&looks->event);
	i_free(looks->sweep_user);
	i_free(looks->sweep_guid);
	i_free(looks);
}

void outband_looks_start(struct outband_looks *looks,
			 struct outband_store *store)
{
	i_assert(looks->store == NULL);
	looks->store = store;
	outband_looks_sweep_begin(looks, "start");
	outband_looks_run(looks);
}

void outband_looks_mark_all(struct outband_looks *looks)
{
	i_assert(looks->store != NULL);
	outband_looks_sweep_begin(looks, "scan");
	outband_looks_run(looks);
}

void outband_looks_get_status(struct outband_looks *looks,
			      struct outband_looks_status *status_r)
{
	i_zero(status_r);
	status_r->waiting = looks->marked_count;
	status_r->running = looks->running_count;
	status_r->done = looks->done;
	status_r->failed = looks->failed;
	outband_scans_get_status(looks->scans, &status_r->scanned,
				 &status_r->scan_changed);
}
