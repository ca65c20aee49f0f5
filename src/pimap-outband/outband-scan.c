/* SPDX-License-Identifier: LGPL-2.1-only */
/* Scans go through all that was ever looked at, a small job at a time, so that one
   round takes the interval. */

#include "lib.h"
#include "array.h"
#include "hash.h"
#include "ioloop.h"
#include "llist.h"
#include "str.h"
#include "strescape.h"
#include "pimap-look.h"
#include "outband-answer.h"
#include "outband-worker.h"
#include "outband-scan.h"

/* Hints come first. */
#define OUTBAND_SCAN_BUSY_MSECS 200
#define OUTBAND_SCAN_MIN_MSECS 10

struct outband_scan {
	/* the one that is the next first */
	struct outband_scan *prev, *next;
	const char *user, *guid, *seen;
	/* msecs */
	uint64_t due;
};

struct outband_scanned {
	const char *user, *guid;
	const char *seen;
};

struct outband_scans {
	struct event *event;
	struct outband_workers *workers;
	uint64_t interval;
	outband_scans_changed_callback_t *callback;
	void *context;

	HASH_TABLE(struct outband_scan *, struct outband_scan *) all;
	struct outband_scan *head, *tail;
	struct timeout *to;
	/* when the last job began */
	uint64_t begun;
	uint64_t scanned, changed;

	/* the job that is under way */
	pool_t pool;
	ARRAY(struct outband_scanned) job;
};

static void outband_scans_run(struct outband_scans *scans);

static unsigned int outband_scan_hash(const struct outband_scan *scan)
{
	return str_hash(scan->user) * 31 + str_hash(scan->guid);
}

static int
outband_scan_cmp(const struct outband_scan *scan1,
		 const struct outband_scan *scan2)
{
	int ret = strcmp(scan1->guid, scan2->guid);

	return ret != 0 ? ret : strcmp(scan1->user, scan2->user);
}

static struct outband_scan *
outband_scans_find(struct outband_scans *scans, const char *user,
		   const char *guid)
{
	struct outband_scan key;

	i_zero(&key);
	key.user = user;
	key.guid = guid;
	return hash_table_lookup(scans->all, &key);
}

static void
outband_scan_free(struct outband_scans *scans, struct outband_scan *scan)
{
	hash_table_remove(scans->all, scan);
	DLLIST2_REMOVE(&scans->head, &scans->tail, scan);
	i_free(scan);
}

/* They are many: one piece of memory for each. */
static struct outband_scan *
outband_scan_alloc(const char *user, const char *guid, const char *seen)
{
	const size_t user_size = strlen(user) + 1, guid_size = strlen(guid) + 1;
	const size_t seen_size = strlen(seen) + 1;
	struct outband_scan *scan;
	char *text;

	scan = i_malloc(sizeof(*scan) + user_size + guid_size + seen_size);
	text = (char *)(scan + 1);
	scan->user = memcpy(text, user, user_size);
	scan->guid = memcpy(text + user_size, guid, guid_size);
	scan->seen = memcpy(text + user_size + guid_size, seen, seen_size);
	return scan;
}

static uint64_t outband_scans_now(void)
{
	struct timespec ts;

	/* not the clock that may jump */
	if (clock_gettime(CLOCK_MONOTONIC, &ts) < 0)
		i_fatal("clock_gettime() failed: %m");
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void outband_scans_wait(struct outband_scans *scans, uint64_t msecs)
{
	timeout_remove(&scans->to);
	scans->to = timeout_add(I_MAX(msecs, OUTBAND_SCAN_MIN_MSECS),
				outband_scans_run, scans);
}

/* Waits until the first is due, and so long that a round takes the interval. */
static void outband_scans_schedule(struct outband_scans *scans)
{
	const uint64_t now = outband_scans_now();
	uint64_t next;

	if (scans->head == NULL || scans->pool != NULL)
		return;
	next = scans->begun + scans->interval * OUTBAND_ANSWER_MAX_SCAN /
		I_MAX(hash_table_count(scans->all), OUTBAND_ANSWER_MAX_SCAN);
	next = I_MAX(next, scans->head->due);
	outband_scans_wait(scans, next > now ? next - now : 0);
}

static void
outband_scans_answered(struct outband_answer *answer, void *context)
{
	struct outband_scans *scans = context;
	const struct outband_scanned *scanned;
	struct outband_scan *scan;
	unsigned int number;
	pool_t pool = scans->pool;

	/* what isn't OK the worker has logged, and the next round repeats */
	if (answer->result != OUTBAND_ANSWER_OK)
		array_clear(&answer->changed);
	else
		scans->scanned += array_count(&scans->job);
	scans->pool = NULL;
	array_foreach_elem(&answer->changed, number) {
		if (number >= array_count(&scans->job))
			continue;
		scanned = array_idx(&scans->job, number);
		scan = outband_scans_find(scans, scanned->user, scanned->guid);
		/* it may have been looked at meanwhile */
		if (scan != NULL && strcmp(scan->seen, scanned->seen) == 0) {
			scans->changed++;
			scans->callback(scanned->user, scanned->guid,
					scans->context);
		}
	}
	outband_answer_deinit(&answer);
	pool_unref(&pool);
	outband_scans_schedule(scans);
}

/* Makes a job of those that are due. Returns FALSE if there are none. */
static bool outband_scans_get_job(struct outband_scans *scans, string_t *line)
{
	const uint64_t now = outband_scans_now();
	struct outband_scanned *scanned;
	struct outband_scan *scan;

	scans->pool = pool_alloconly_create("outband scan", 16384);
	p_array_init(&scans->job, scans->pool, OUTBAND_ANSWER_MAX_SCAN);
	str_append(line, "SCAN");
	while ((scan = scans->head) != NULL && scan->due <= now &&
	       array_count(&scans->job) < OUTBAND_ANSWER_MAX_SCAN &&
	       str_len(line) < PIMAP_LOOK_MAX_LINE / 2) {
		str_append_c(line, '\t');
		str_append_tabescaped(line, scan->seen);
		scanned = array_append_space(&scans->job);
		scanned->user = p_strdup(scans->pool, scan->user);
		scanned->guid = p_strdup(scans->pool, scan->guid);
		scanned->seen = p_strdup(scans->pool, scan->seen);
		DLLIST2_REMOVE(&scans->head, &scans->tail, scan);
		scan->due = now + scans->interval;
		DLLIST2_APPEND(&scans->head, &scans->tail, scan);
	}
	if (array_count(&scans->job) > 0)
		return TRUE;
	pool_unref(&scans->pool);
	return FALSE;
}

static void outband_scans_run(struct outband_scans *scans)
{
	string_t *line;

	timeout_remove(&scans->to);
	if (!outband_workers_is_one_free(scans->workers)) {
		outband_scans_wait(scans, OUTBAND_SCAN_BUSY_MSECS);
		return;
	}
	T_BEGIN {
		line = t_str_new(16384);
		if (outband_scans_get_job(scans, line)) {
			scans->begun = outband_scans_now();
			if (!outband_workers_send(scans->workers, str_c(line),
						  NULL, outband_scans_answered,
						  scans))
				pool_unref(&scans->pool);
		}
	} T_END;
	outband_scans_schedule(scans);
}

struct outband_scans *
outband_scans_init(struct event *event_parent, struct outband_workers *workers,
		   unsigned int interval,
		   outband_scans_changed_callback_t *callback, void *context)
{
	struct outband_scans *scans;

	scans = i_new(struct outband_scans, 1);
	scans->event = event_create(event_parent);
	scans->workers = workers;
	scans->interval = (uint64_t)interval * 1000;
	scans->callback = callback;
	scans->context = context;
	hash_table_create(&scans->all, default_pool, 0, outband_scan_hash,
			  outband_scan_cmp);
	return scans;
}

void outband_scans_deinit(struct outband_scans **_scans)
{
	struct outband_scans *scans = *_scans;

	*_scans = NULL;
	timeout_remove(&scans->to);
	while (scans->head != NULL)
		outband_scan_free(scans, scans->head);
	hash_table_destroy(&scans->all);
	pool_unref(&scans->pool);
	event_unref(&scans->event);
	i_free(scans);
}

void outband_scans_set(struct outband_scans *scans, const char *user,
		       const char *guid, const char *seen)
{
	struct outband_scan *scan;

	scan = outband_scans_find(scans, user, guid);
	if (scan != NULL)
		outband_scan_free(scans, scan);
	if (seen == NULL || scans->interval == 0)
		return;
	scan = outband_scan_alloc(user, guid, seen);
	scan->due = outband_scans_now() + scans->interval;
	hash_table_insert(scans->all, scan, scan);
	DLLIST2_APPEND(&scans->head, &scans->tail, scan);
	if (scans->to == NULL)
		outband_scans_schedule(scans);
}

void outband_scans_forget(struct outband_scans *scans, const char *user,
			  const char *guid)
{
	struct outband_scan *scan, *next;

	if (guid[0] != '\0') {
		outband_scans_set(scans, user, guid, NULL);
		return;
	}
	for (scan = scans->head; scan != NULL; scan = next) {
		next = scan->next;
		if (strcmp(scan->user, user) == 0)
			outband_scan_free(scans, scan);
	}
}

void outband_scans_get_status(struct outband_scans *scans, uint64_t *scanned_r,
			      uint64_t *changed_r)
{
	*scanned_r = scans->scanned;
	*changed_r = scans->changed;
}
