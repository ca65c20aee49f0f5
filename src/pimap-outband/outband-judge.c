/* SPDX-License-Identifier: LGPL-2.1-only */
/* Profiles, changes of them, and judgements.

   A change takes away what is known of the profile. It waits for judgements that are
   under way, and no other begins meanwhile: so whoever tells of changes without end
   can't keep notifications back for ever, each judgement that has begun is of use.
   The change is answered when what was being sent then has ended. */

#include "lib.h"
#include "array.h"
#include "hash.h"
#include "ioloop.h"
#include "llist.h"
#include "str.h"
#include "strescape.h"
#include "pimap-look.h"
#include "outband-worker.h"
#include "outband-judge.h"

#define OUTBAND_JUDGE_MAX_WORKERS 2
/* A peer that doesn't answer isn't waited for so long: those who wait for an answer
   wait for 2 s. */
#define OUTBAND_JUDGE_SENDING_MSECS 1000
/* when the store can't be read */
#define OUTBAND_JUDGE_STORE_MSECS (10*1000)

struct outband_profile {
	struct outband_judge *judge;
	char *user;
	int refcount;

	/* -1: not known */
	int64_t generation;
	unsigned int changes;
	/* the window of that was full last */
	time_t full_start;
	/* judgements under way */
	unsigned int judging;
	/* a change waits for them */
	bool changed;

	/* what is being sent, and how much of it had begun before the last
	   change */
	unsigned int sending, sending_old;
	struct timeout *to_sending;
	struct outband_judge_wait *waits;
};

struct outband_judge_wait {
	struct outband_judge_wait *prev, *next;
	/* the list that it is in */
	struct outband_judge_wait **head;
	outband_judge_wait_callback_t *callback;
	void *context;
};

struct outband_judge_job {
	struct outband_judge_job *prev, *next;
	struct outband_judge *judge;
	struct outband_profile *profile;
	char *device, *guid;
	unsigned int max;
	bool not_found_before;
	/* NULL: cancelled */
	outband_judge_callback_t *callback;
	void *context;

	bool running;
	unsigned int changes;
	pool_t pool;
	ARRAY_TYPE(outband_row) rows;
};

struct outband_judge {
	struct event *event;
	struct outband_workers *workers;
	struct outband_store *store;
	HASH_TABLE(char *, struct outband_profile *) profiles;
	/* those that wait until there is a store */
	struct outband_judge_wait *waits;
	struct outband_judge_job *head, *tail;
	struct timeout *to_retry;
	bool store_failed;
	bool in_run;
};

static void outband_judge_run(struct outband_judge *judge);

/* Profiles */

struct outband_profile *
outband_profile_ref(struct outband_judge *judge, const char *user)
{
	struct outband_profile *profile;

	profile = hash_table_lookup(judge->profiles, user);
	if (profile == NULL) {
		profile = i_new(struct outband_profile, 1);
		profile->judge = judge;
		profile->user = i_strdup(user);
		profile->generation = -1;
		hash_table_insert(judge->profiles, profile->user, profile);
	}
	profile->refcount++;
	return profile;
}

static void outband_waits_answer(struct outband_judge_wait **waits)
{
	while (*waits != NULL) {
		struct outband_judge_wait *wait = *waits;
		outband_judge_wait_callback_t *callback = wait->callback;
		void *context = wait->context;

		outband_judge_unwait(&wait);
		callback(context);
	}
}

void outband_profile_unref(struct outband_profile **_profile)
{
	struct outband_profile *profile = *_profile;

	*_profile = NULL;
	if (profile == NULL || --profile->refcount > 0)
		return;
	i_assert(profile->sending == 0 && profile->judging == 0);
	hash_table_remove(profile->judge->profiles, profile->user);
	timeout_remove(&profile->to_sending);
	/* nothing of his is sent */
	outband_waits_answer(&profile->waits);
	i_free(profile->user);
	i_free(profile);
}

bool outband_profile_is(const struct outband_profile *profile,
			int64_t generation)
{
	return profile->generation >= 0 && profile->generation == generation;
}

int64_t
outband_profile_get_generation(const struct outband_profile *profile)
{
	return profile->generation;
}

bool outband_profile_is_first_full(struct outband_profile *profile,
				   time_t window_start)
{
	if (profile->full_start == window_start)
		return FALSE;
	profile->full_start = window_start;
	return TRUE;
}

unsigned int
outband_profile_get_changes(const struct outband_profile *profile)
{
	return profile->changes;
}

void outband_profile_was_read(struct outband_profile *profile,
			      unsigned int changes, int64_t generation)
{
	if (profile->changes == changes)
		profile->generation = generation;
}

static void outband_profile_answer(struct outband_profile *profile)
{
	timeout_remove(&profile->to_sending);
	/* a callback may be the last one's that is interested in it */
	profile->refcount++;
	outband_waits_answer(&profile->waits);
	outband_profile_unref(&profile);
}

static void outband_profile_try_answer(struct outband_profile *profile)
{
	if (profile->changed || profile->waits == NULL)
		return;
	if (profile->sending_old == 0) {
		outband_profile_answer(profile);
	} else if (profile->to_sending == NULL) {
		profile->to_sending = timeout_add(OUTBAND_JUDGE_SENDING_MSECS,
			outband_profile_answer, profile);
	}
}

unsigned int outband_profile_send_begin(struct outband_profile *profile)
{
	profile->sending++;
	return profile->changes;
}

void outband_profile_send_end(struct outband_profile *profile,
			      unsigned int begun)
{
	i_assert(profile->sending > 0);
	profile->sending--;
	if (begun == profile->changes)
		return;
	i_assert(profile->sending_old > 0);
	profile->sending_old--;
	outband_profile_try_answer(profile);
}

/* Changes */

static void outband_profile_change(struct outband_profile *profile)
{
	profile->changed = FALSE;
	profile->changes++;
	profile->generation = -1;
	profile->sending_old = profile->sending;
}

static struct outband_judge_wait *
outband_wait_add(struct outband_judge_wait **head,
		 outband_judge_wait_callback_t *callback, void *context)
{
	struct outband_judge_wait *wait;

	if (callback == NULL)
		return NULL;
	wait = i_new(struct outband_judge_wait, 1);
	wait->head = head;
	wait->callback = callback;
	wait->context = context;
	DLLIST_PREPEND(head, wait);
	return wait;
}

struct outband_judge_wait *
outband_judge_changed(struct outband_judge *judge, const char *user,
		      outband_judge_wait_callback_t *callback, void *context)
{
	struct outband_profile *profile =
		hash_table_lookup(judge->profiles, user);
	struct outband_judge_wait *wait;

	/* the process before this one may still be sending */
	if (judge->store == NULL)
		return outband_wait_add(&judge->waits, callback, context);
	if (profile == NULL)
		return NULL;
	if (profile->judging > 0)
		profile->changed = TRUE;
	else
		outband_profile_change(profile);
	if (!profile->changed && profile->sending_old == 0)
		return NULL;
	wait = outband_wait_add(&profile->waits, callback, context);
	outband_profile_try_answer(profile);
	return wait;
}

void outband_judge_unwait(struct outband_judge_wait **_wait)
{
	struct outband_judge_wait *wait = *_wait;

	*_wait = NULL;
	DLLIST_REMOVE(wait->head, wait);
	i_free(wait);
}

/* Judgements */

static void outband_judge_job_free(struct outband_judge_job *job)
{
	i_assert(!job->running);
	DLLIST2_REMOVE(&job->judge->head, &job->judge->tail, job);
	outband_profile_unref(&job->profile);
	pool_unref(&job->pool);
	i_free(job->device);
	i_free(job->guid);
	i_free(job);
}

static void
outband_judge_store_failed(struct outband_judge *judge, const char *error)
{
	if (!judge->store_failed)
		e_error(judge->event, "%s (it is tried again)", error);
	judge->store_failed = TRUE;
}

/* Returns 1 if the answer is stored, 0 if it isn't valid (any more), or -1 and
   error_r. */
static int
outband_judge_take(struct outband_judge_job *job,
		   const struct outband_judged *judged,
		   enum outband_judge_result *result_r, const char **error_r)
{
	struct outband_store *store = job->judge->store;
	const unsigned int count = array_count(&job->rows);
	int ret;

	if (judged->generation < 0 ||
	    (judged->verdicts != NULL && job->max > 0 &&
	     strlen(judged->verdicts) != count)) {
		*error_r = "A worker sent an invalid answer: "
			"it has not as many verdicts as it should";
		return -1;
	}
	*result_r = judged->verdicts != NULL && job->max > 0 && count > 0 &&
		judged->verdicts[0] == OUTBAND_VERDICT_UNKNOWN ?
		OUTBAND_JUDGE_UNKNOWN : OUTBAND_JUDGE_DONE;
	ret = outband_store_judged(store, job->profile->user, job->device,
				   judged, &job->rows, job->max == 0, error_r);
	if (ret > 0) {
		outband_profile_was_read(job->profile, job->changes,
					 judged->generation);
	}
	return ret;
}

static enum outband_judge_result
outband_judge_get_result(struct outband_judge_job *job,
			 const struct outband_answer *answer)
{
	struct outband_judge *judge = job->judge;
	enum outband_judge_result result = OUTBAND_JUDGE_DONE;
	const char *error;
	int ret;

	switch (answer->result) {
	case OUTBAND_ANSWER_OK:
		ret = outband_judge_take(job, &answer->judged, &result,
					 &error);
		break;
	case OUTBAND_ANSWER_GONE:
		if (!job->not_found_before)
			return OUTBAND_JUDGE_NOT_FOUND;
		ret = outband_store_gone(judge->store, job->profile->user,
					 job->guid, &error);
		break;
	case OUTBAND_ANSWER_LOST:
		return OUTBAND_JUDGE_LOST;
	default:
		return OUTBAND_JUDGE_FAILED;
	}
	if (ret < 0) {
		outband_judge_store_failed(judge, error);
		return OUTBAND_JUDGE_FAILED;
	}
	judge->store_failed = FALSE;
	return result;
}

static void
outband_judge_answered(struct outband_answer *answer, void *context)
{
	struct outband_judge_job *job = context;
	struct outband_judge *judge = job->judge;
	struct outband_profile *profile = job->profile;
	outband_judge_callback_t *callback = job->callback;
	void *callback_context = job->context;
	enum outband_judge_result result = OUTBAND_JUDGE_FAILED;

	i_assert(profile->judging > 0);
	job->running = FALSE;
	if (callback != NULL &&
	    answer->result == OUTBAND_ANSWER_UNREACHED) {
		/* it waits for the next worker */
		callback = NULL;
		pool_unref(&job->pool);
		job = NULL;
	} else if (callback != NULL) T_BEGIN {
		result = outband_judge_get_result(job, answer);
	} T_END;
	outband_answer_deinit(&answer);
	profile->refcount++;
	if (job != NULL)
		outband_judge_job_free(job);
	if (callback != NULL)
		callback(result, callback_context);
	if (--profile->judging == 0 && profile->changed) {
		outband_profile_change(profile);
		outband_profile_try_answer(profile);
	}
	outband_profile_unref(&profile);
	outband_judge_run(judge);
}

static bool
outband_judge_get_line(struct outband_judge_job *job, string_t *line,
		       const char **error_r)
{
	struct outband_store *store = job->judge->store;
	const struct outband_row *row;
	struct outband_deaths deaths;

	pool_unref(&job->pool);
	job->pool = pool_alloconly_create("outband judge", 1024);
	if (outband_store_deaths_get(store, job->profile->user, job->guid,
				     job->pool, &deaths, error_r) < 0)
		return FALSE;
	/* the sender finds out itself which of its rows it is */
	deaths.suspected = FALSE;
	outband_deaths_append_caution(&deaths, line);
	if (outband_store_queued(store, job->profile->user, job->device,
				 job->guid, job->profile->generation,
				 I_MAX(job->max, 1), job->pool, &job->rows,
				 error_r) < 0)
		return FALSE;
	str_append(line, "JUDGE\t");
	str_append_tabescaped(line, job->profile->user);
	str_printfa(line, "\t%s\t", job->guid);
	str_append_tabescaped(line, job->device);
	if (job->max > 0) array_foreach(&job->rows, row) {
		str_printfa(line, "\t%"PRId64"\t%s\t%u\t%"PRIdTIME_T,
			    row->generation, row->event.name, row->event.uid,
			    row->event.time);
	}
	return TRUE;
}

/* Returns FALSE if there is no worker, or it has to wait. */
static bool outband_judge_begin(struct outband_judge_job *job)
{
	struct outband_judge *judge = job->judge;
	string_t *line = t_str_new(1024);
	const char *error;

	if (!outband_judge_get_line(job, line, &error)) {
		outband_judge_store_failed(judge, error);
		judge->to_retry = timeout_add(OUTBAND_JUDGE_STORE_MSECS,
					      outband_judge_run, judge);
		return FALSE;
	}
	judge->store_failed = FALSE;
	if (!outband_workers_send(judge->workers, str_c(line), job->guid,
				  outband_judge_answered, job))
		return FALSE;
	job->running = TRUE;
	job->changes = job->profile->changes;
	job->profile->judging++;
	return TRUE;
}

static struct outband_judge_job *
outband_judge_find_ready(struct outband_judge *judge)
{
	struct outband_judge_job *job;

	for (job = judge->head; job != NULL; job = job->next) {
		if (!job->running && !job->profile->changed)
			return job;
	}
	return NULL;
}

static void outband_judge_run(struct outband_judge *judge)
{
	struct outband_judge_job *job;
	bool begun = TRUE;

	if (judge->store == NULL || judge->in_run)
		return;
	timeout_remove(&judge->to_retry);
	judge->in_run = TRUE;
	while (begun && outband_workers_is_one_free(judge->workers) &&
	       (job = outband_judge_find_ready(judge)) != NULL) T_BEGIN {
		begun = outband_judge_begin(job);
	} T_END;
	judge->in_run = FALSE;
}

static void outband_judge_worker_free(void *context)
{
	outband_judge_run(context);
}

struct outband_judge_job *
outband_judge_ask(struct outband_judge *judge, struct outband_profile *profile,
		  const char *device, const char *guid, unsigned int max,
		  bool not_found_before,
		  outband_judge_callback_t *callback, void *context)
{
	struct outband_judge_job *job;

	i_assert(max <= PIMAP_LOOK_MAX_JUDGED);
	job = i_new(struct outband_judge_job, 1);
	job->judge = judge;
	job->profile = outband_profile_ref(judge, profile->user);
	job->device = i_strdup(device);
	job->guid = i_strdup(guid);
	job->max = max;
	job->not_found_before = not_found_before;
	job->callback = callback;
	job->context = context;
	DLLIST2_APPEND(&judge->head, &judge->tail, job);
	outband_judge_run(judge);
	return job;
}

void outband_judge_cancel(struct outband_judge_job **_job)
{
	struct outband_judge_job *job = *_job;

	*_job = NULL;
	if (job == NULL)
		return;
	job->callback = NULL;
	if (!job->running)
		outband_judge_job_free(job);
}

struct outband_judge *
outband_judge_init(struct event *event_parent, const char *worker_path)
{
	struct outband_judge *judge;

	judge = i_new(struct outband_judge, 1);
	judge->event = event_create(event_parent);
	judge->workers = outband_workers_init(judge->event, worker_path,
					      OUTBAND_JUDGE_MAX_WORKERS,
					      outband_judge_worker_free, judge);
	hash_table_create(&judge->profiles, default_pool, 0, str_hash, strcmp);
	return judge;
}

bool outband_judge_add_user(struct outband_judge *judge, const char *user)
{
	const char *error;

	if (outband_store_add_user(judge->store, user, &error) < 0) {
		outband_judge_store_failed(judge, error);
		return FALSE;
	}
	return TRUE;
}

void outband_judge_start(struct outband_judge *judge,
			 struct outband_store *store)
{
	i_assert(judge->store == NULL);
	judge->store = store;
	outband_waits_answer(&judge->waits);
	outband_judge_run(judge);
}

void outband_judge_deinit(struct outband_judge **_judge)
{
	struct outband_judge *judge = *_judge;

	*_judge = NULL;
	judge->in_run = TRUE;
	/* their answers don't come any more */
	outband_workers_deinit(&judge->workers);
	while (judge->head != NULL) {
		struct outband_judge_job *job = judge->head;

		if (job->running)
			job->profile->judging--;
		job->running = FALSE;
		outband_judge_job_free(job);
	}
	i_assert(judge->waits == NULL);
	timeout_remove(&judge->to_retry);
	hash_table_destroy(&judge->profiles);
	event_unref(&judge->event);
	i_free(judge);
}
