/* SPDX-License-Identifier: LGPL-2.1-only */
/* What is accounted for of a device and a folder against what is there now (R-1.5,


   New is what is at or above the accounted UIDNEXT, or undecided. Event filter ALL
   also tells of others, if they have been expunged, or have a modseq above the
   accounted one: the push set says whether the device knows them. What enters or
   leaves that set otherwise, by time or because the filters are others, is only
   accounted for. What has gone since the filters are others, or doesn't pass any more,
   may have been of the set in between: that is told as SYNC.

   In one look a message has one event at most. */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "mail-index-modseq.h"
#include "mail-storage-private.h"
#include "pimap-look.h"
#include "pimap-notify.h"
#include "worker-look.h"

#define EVENT_NEW "NEW_MESSAGE"
#define EVENT_CHANGED "CHANGED_MESSAGE"
#define EVENT_DELETED "DELETED_MESSAGE"
#define EVENT_SYNC "SYNC"
#define EVENT_WENT_BACK "STATE_COMPARISON_SYNC"

struct look_compare {
	struct look_device *ldev;
	/* what there is below the accounted UIDNEXT: all of it is evaluated,
	   because it isn't known what the filters select */
	bool whole;
	/* UIDs: new to the device; with changes; expunged by the device itself */
	ARRAY_TYPE(seq_range) fresh, changed, own_expunges;
	/* those of them that couldn't be evaluated */
	ARRAY_TYPE(seq_range) unreadable;
	/* the filters are others than those of the push set, and not by time */
	bool filters_changed;
	/* something isn't known: the device must look itself */
	bool sync;
};

static void
look_add_event(struct look_device *ldev, const char *name, uint32_t uid,
	       time_t time)
{
	struct look_event *event = array_append_space(&ldev->events);

	event->name = name;
	event->uid = uid;
	event->time = time;
}

/* One event in the place of all others */
static void look_set_event(struct look_device *ldev, const char *name)
{
	array_clear(&ldev->events);
	look_add_event(ldev, name, 0, ioloop_time);
}

static int
look_event_cmp(const struct look_event *event1, const struct look_event *event2)
{
	return event1->uid < event2->uid ? -1 : event1->uid > event2->uid;
}

/* A folder that went back */

static bool
look_newest_differ(const struct look_device *ldev, struct mail *mail)
{
	const struct pimap_newest *old = &ldev->state.newest;
	const struct pimap_newest_message *message;
	struct pimap_newest now;
	ARRAY_TYPE(seq_range) uids;
	struct seq_range_iter iter;
	unsigned int i = 0;
	uint32_t uid;

	if (!old->known)
		return FALSE;
	t_array_init(&uids, PIMAP_NEWEST_MAX);
	look_get_existing(ldev->look, old->count == PIMAP_NEWEST_MAX ?
			  old->messages[0].uid : 1,
			  ldev->state.next_uid - 1, &uids);
	if (seq_range_count(&uids) > old->count)
		return TRUE;
	seq_range_array_iter_init(&iter, &uids);
	while (seq_range_array_iter_nth(&iter, i++, &uid)) {
		message = pimap_newest_find(old, uid);
		if (message == NULL)
			return TRUE;
		now.count = 0;
		pimap_notify_add_newest(&now, mail, uid);
		if (pimap_newest_differs(message, &now.messages[0]))
			return TRUE;
	}
	return FALSE;
}

static void look_update_newest(struct look_device *ldev, struct mail *mail)
{
	const struct pimap_newest old = ldev->state.newest;
	struct pimap_newest *now = &ldev->state.newest;
	const struct pimap_newest_message *message;
	unsigned int i;

	pimap_notify_get_newest(ldev->look->box, mail, now);
	/* what can't be read any more is what it was */
	for (i = 0; i < now->count; i++) {
		message = pimap_newest_find(&old, now->messages[i].uid);
		if (message != NULL && now->messages[i].hash == 0)
			now->messages[i].hash = message->hash;
	}
}

static bool look_went_back(const struct look_device *ldev, struct mail *mail)
{
	const struct look *look = ldev->look;
	const struct pimap_look_state *state = &ldev->state;

	return state->uid_validity != look->uid_validity ||
		state->next_uid > look->next_uid ||
		state->modseq > look->modseq ||
		look_newest_differ(ldev, mail);
}

/* What is to be evaluated */

static void look_get_fresh(struct look_compare *cmp)
{
	const struct look_device *ldev = cmp->ldev;
	const struct look *look = ldev->look;
	ARRAY_TYPE(seq_range) existing;
	struct seq_range_iter iter;
	unsigned int i;
	uint32_t uid;

	for (i = 0; i < PIMAP_LOOK_TRIES; i++) {
		seq_range_array_merge(&cmp->fresh,
				      &ldev->state.undecided[i]);
	}
	if (ldev->state.next_uid < look->next_uid) {
		seq_range_array_add_range(&cmp->fresh, ldev->state.next_uid,
					  look->next_uid - 1);
	}
	if (ldev->all || array_count(&look->notes) == 0)
		return;
	/* these needn't be read */
	t_array_init(&existing, 8);
	look_get_existing(look, 1, look->next_uid - 1, &existing);
	seq_range_array_intersect(&existing, &cmp->fresh);
	seq_range_array_iter_init(&iter, &existing);
	for (i = 0; seq_range_array_iter_nth(&iter, i, &uid); i++) {
		if (look_is_own_message(ldev, uid))
			seq_range_array_remove(&cmp->fresh, uid);
	}
}

static void look_get_changed(struct look_compare *cmp)
{
	const struct look_device *ldev = cmp->ldev;
	struct mailbox *box = ldev->look->box;
	uint32_t seq, seq1, seq2, uid;
	uint64_t modseq;

	if (ldev->state.next_uid == 1 || ldev->state.modseq == 0 ||
	    ldev->state.modseq == ldev->look->modseq)
		return;
	mailbox_get_seq_range(box, 1, ldev->state.next_uid - 1, &seq1, &seq2);
	if (seq1 == 0)
		return;
	for (seq = seq1; seq <= seq2; seq++) {
		/* A record may be newer than what the folder was synced to:
		   what is above that is the next look's, or it would be told
		   by both. What came before it can't be seen any more. */
		modseq = mail_index_modseq_lookup(box->view, seq);
		if (modseq > ldev->look->modseq)
			cmp->ldev->ahead = TRUE;
		else if (modseq > ldev->state.modseq) {
			mail_index_lookup_uid(box->view, seq, &uid);
			seq_range_array_add(&cmp->changed, uid);
		}
	}
}

/* Events */

/* Those of the push set that aren't there any more */
static void look_find_gone(struct look_compare *cmp)
{
	struct look_device *ldev = cmp->ldev;
	ARRAY_TYPE(seq_range) existing, gone;
	const struct seq_range *range;
	struct seq_range_iter iter;
	unsigned int i = 0;
	uint32_t uid;

	t_array_init(&gone, 8);
	t_array_init(&existing, 8);
	array_foreach(&ldev->state.pushed, range) {
		array_clear(&existing);
		look_get_existing(ldev->look, range->seq1, range->seq2,
				  &existing);
		if (seq_range_count(&existing) == range->seq2 - range->seq1 + 1)
			continue;
		seq_range_array_add_range(&gone, range->seq1, range->seq2);
		(void)seq_range_array_remove_seq_range(&gone, &existing);
	}
	seq_range_array_iter_init(&iter, &gone);
	while (seq_range_array_iter_nth(&iter, i++, &uid)) {
		if (!seq_range_exists(&cmp->own_expunges, uid))
			look_add_event(ldev, EVENT_DELETED, uid, ioloop_time);
	}
	(void)seq_range_array_remove_seq_range(&ldev->state.pushed, &gone);
	ldev->state.pushed_count -= seq_range_count(&gone);
	(void)seq_range_array_remove_seq_range(&cmp->own_expunges, &gone);
}

/* Others of which it isn't known whether they were in the push set: just how many
   messages there were is */
static void look_count_gone(struct look_compare *cmp)
{
	const struct look_device *ldev = cmp->ldev;
	ARRAY_TYPE(seq_range) accounted;

	t_array_init(&accounted, 8);
	look_get_existing(ldev->look, 1, ldev->state.next_uid - 1, &accounted);
	seq_range_array_merge(&accounted, &cmp->own_expunges);
	seq_range_array_remove_range(&accounted, ldev->state.next_uid,
				     (uint32_t)-1);
	if (seq_range_count(&accounted) < ldev->state.pushed_count)
		cmp->sync = TRUE;
}

static void
look_found(struct look_compare *cmp, const struct look_found *found)
{
	struct look_device *ldev = cmp->ldev;
	const bool fresh = seq_range_exists(&cmp->fresh, found->uid);
	const bool known = ldev->all &&
		seq_range_exists(&ldev->state.pushed, found->uid);
	struct look_event *event;

	if (ldev->all)
		seq_range_array_add(&ldev->state.pushed, found->uid);
	if (fresh ? look_is_own_message(ldev, found->uid) :
	    look_is_own_change(ldev, found->uid))
		return;
	look_add_event(ldev, fresh && !known ? EVENT_NEW : EVENT_CHANGED,
		       found->uid, found->received);
	event = array_back_modifiable(&ldev->events);
	event->fields = found->fields;
}

/* Of the messages that were evaluated: those that don't pass any more */
static void
look_find_left(struct look_compare *cmp, const ARRAY_TYPE(seq_range) *judged,
	       const ARRAY_TYPE(seq_range) *passed, struct mail *mail)
{
	struct look_device *ldev = cmp->ldev;
	ARRAY_TYPE(seq_range) left, others;
	struct seq_range_iter iter;
	unsigned int i = 0;
	time_t received;
	uint32_t uid;

	t_array_init(&left, 8);
	array_append_array(&left, judged);
	(void)seq_range_array_remove_seq_range(&left, passed);
	if (ldev->state.pushed_type == PIMAP_LOOK_PUSHED_COUNT ||
	    cmp->filters_changed) {
		/* they may have been in it */
		t_array_init(&others, 8);
		array_append_array(&others, &left);
		(void)seq_range_array_intersect(&others, &cmp->changed);
		(void)seq_range_array_remove_seq_range(&others,
						       &ldev->state.pushed);
		seq_range_array_iter_init(&iter, &others);
		while (seq_range_array_iter_nth(&iter, i++, &uid)) {
			if (!look_is_own_change(ldev, uid))
				cmp->sync = TRUE;
		}
		i = 0;
	}
	seq_range_array_intersect(&left, &ldev->state.pushed);
	seq_range_array_iter_init(&iter, &left);
	while (seq_range_array_iter_nth(&iter, i++, &uid)) {
		if (!seq_range_exists(&cmp->fresh, uid) &&
		    look_is_own_change(ldev, uid))
			continue;
		if (!mail_set_uid(mail, uid) ||
		    mail_get_received_date(mail, &received) < 0)
			received = ioloop_time;
		look_add_event(ldev, EVENT_DELETED, uid, received);
	}
	(void)seq_range_array_remove_seq_range(&ldev->state.pushed, &left);
}

/* What couldn't be read again is a try nearer to being given up. */
static void look_update_undecided(struct look_compare *cmp)
{
	ARRAY_TYPE(seq_range) *undecided = cmp->ldev->state.undecided;
	ARRAY_TYPE(seq_range) fresh;
	unsigned int i;

	t_array_init(&fresh, 8);
	array_append_array(&fresh, &cmp->unreadable);
	for (i = 0; i < PIMAP_LOOK_TRIES; i++) {
		(void)seq_range_array_remove_seq_range(&fresh, &undecided[i]);
		seq_range_array_intersect(&undecided[i], &cmp->unreadable);
	}
	if (array_count(&undecided[PIMAP_LOOK_TRIES-1]) > 0)
		look_add_event(cmp->ldev, EVENT_SYNC, 0, ioloop_time);
	for (i = PIMAP_LOOK_TRIES; --i > 0; ) {
		array_clear(&undecided[i]);
		array_append_array(&undecided[i], &undecided[i-1]);
	}
	array_clear(&undecided[0]);
	array_append_array(&undecided[0], &fresh);
}

/* Evaluates what is new or has changed. */
static int
look_judge(struct look_compare *cmp, struct mail *mail, const char **error_r)
{
	struct look_device *ldev = cmp->ldev;
	ARRAY_TYPE(seq_range) judged, passed;
	const struct look_found *found;
	struct look_search search;

	t_array_init(&judged, 8);
	array_append_array(&judged, &cmp->fresh);
	seq_range_array_merge(&judged, &cmp->changed);
	look_search_init(&search, ldev->pool, ldev->look, ldev->criteria,
			 ldev->all ? UINT_MAX : PIMAP_LOOK_MAX_EVENTS);
	search.want_fields = ldev->extended;
	if (look_search(&search, &judged, error_r) < 0)
		return -1;
	t_array_init(&passed, 8);
	array_foreach(&search.found, found) {
		look_found(cmp, found);
		seq_range_array_add(&passed, found->uid);
	}
	array_append_array(&cmp->unreadable, &search.unreadable);
	if (array_count(&search.skipped) > 0) {
		look_add_event(ldev, EVENT_SYNC, 0, ioloop_time);
		(void)seq_range_array_remove_seq_range(&judged,
						       &search.skipped);
	}
	if (look_search_is_full(&search)) {
		/* not all were evaluated */
		cmp->sync = TRUE;
	} else if (ldev->all) {
		(void)seq_range_array_remove_seq_range(&judged,
						       &search.unreadable);
		look_find_left(cmp, &judged, &passed, mail);
	}
	return 0;
}

/* Evaluates all others, for what may be told of them later. Of what can't be read
   remains what was known of it. */
static int look_judge_whole(struct look_compare *cmp, const char **error_r)
{
	struct look_device *ldev = cmp->ldev;
	ARRAY_TYPE(seq_range) judged;
	const struct look_found *found;
	struct look_search search;

	t_array_init(&judged, 8);
	look_get_existing(ldev->look, 1, ldev->look->next_uid - 1, &judged);
	(void)seq_range_array_remove_seq_range(&judged, &cmp->fresh);
	(void)seq_range_array_remove_seq_range(&judged, &cmp->changed);
	look_search_init(&search, ldev->pool, ldev->look, ldev->criteria,
			 UINT_MAX);
	if (look_search(&search, &judged, error_r) < 0)
		return -1;
	if (!look_search_is_full(&search)) {
		(void)seq_range_array_remove_seq_range(&judged,
						       &search.unreadable);
		(void)seq_range_array_remove_seq_range(&judged,
						       &search.skipped);
		(void)seq_range_array_remove_seq_range(&ldev->state.pushed,
						       &judged);
	}
	array_foreach(&search.found, found)
		seq_range_array_add(&ldev->state.pushed, found->uid);
	return 0;
}

static void look_update_pushed(struct look_compare *cmp)
{
	struct look_device *ldev = cmp->ldev;
	struct pimap_look_state *state = &ldev->state;

	if (!ldev->all) {
		state->pushed_type = PIMAP_LOOK_PUSHED_NONE;
		array_clear(&state->pushed);
		return;
	}
	state->pushed_filters = ldev->filters;
	if (cmp->whole)
		state->pushed_type = PIMAP_LOOK_PUSHED_UIDS;
	if (state->pushed_type == PIMAP_LOOK_PUSHED_UIDS &&
	    !pimap_look_state_pushed_fits(state, ldev->look->max_pushed_size))
		state->pushed_type = PIMAP_LOOK_PUSHED_COUNT;
	if (state->pushed_type == PIMAP_LOOK_PUSHED_COUNT)
		array_clear(&state->pushed);
	state->pushed_count =
		mail_index_view_get_messages_count(ldev->look->box->view);
}

static int
look_find(struct look_device *ldev, struct mail *mail, const char **error_r)
{
	struct look_compare cmp = { .ldev = ldev };
	struct pimap_look_state *state = &ldev->state;
	unsigned int i;

	t_array_init(&cmp.fresh, 8);
	t_array_init(&cmp.changed, 8);
	t_array_init(&cmp.unreadable, 8);
	t_array_init(&cmp.own_expunges, 8);
	look_get_own_expunges(ldev, &cmp.own_expunges);
	look_get_fresh(&cmp);
	if (ldev->all) {
		cmp.filters_changed =
			state->pushed_type != PIMAP_LOOK_PUSHED_NONE &&
			(state->pushed_filters >> 32) != (ldev->filters >> 32);
		cmp.whole = state->pushed_type == PIMAP_LOOK_PUSHED_NONE ||
			state->pushed_filters != ldev->filters;
		if (state->pushed_type != PIMAP_LOOK_PUSHED_NONE)
			look_get_changed(&cmp);
		if (state->pushed_type == PIMAP_LOOK_PUSHED_UIDS)
			look_find_gone(&cmp);
		if (state->pushed_type == PIMAP_LOOK_PUSHED_COUNT ||
		    cmp.filters_changed)
			look_count_gone(&cmp);
	}
	if (look_judge(&cmp, mail, error_r) < 0 ||
	    (cmp.whole && look_judge_whole(&cmp, error_r) < 0))
		return -1;
	look_update_pushed(&cmp);
	state->next_uid = ldev->look->next_uid;
	if (cmp.sync || array_count(&ldev->events) > PIMAP_LOOK_MAX_EVENTS) {
		look_set_event(ldev, EVENT_SYNC);
		for (i = 0; i < PIMAP_LOOK_TRIES; i++)
			array_clear(&state->undecided[i]);
	} else {
		array_sort(&ldev->events, look_event_cmp);
		look_update_undecided(&cmp);
	}
	return 0;
}

static int
look_compare_with(struct look_device *ldev, struct mail *mail,
		  const char **error_r)
{
	const struct look *look = ldev->look;
	const bool went_back = look_went_back(ldev, mail);

	if (went_back || ldev->criteria == NULL) {
		pimap_look_state_init(ldev->pool, ldev->state.generation,
				      look->uid_validity, look->next_uid,
				      &ldev->state);
	}
	if (ldev->criteria != NULL) {
		if (look_find(ldev, mail, error_r) < 0)
			return -1;
		if (went_back)
			look_set_event(ldev, EVENT_WENT_BACK);
	}
	ldev->state.modseq = look->modseq;
	look_update_newest(ldev, mail);
	return 0;
}

int look_compare(struct look_device *ldev, const char **error_r)
{
	struct mailbox_transaction_context *trans;
	struct mail *mail;
	int ret;

	trans = mailbox_transaction_begin(ldev->look->box, 0, __func__);
	mail = mail_alloc(trans, MAIL_FETCH_GUID, NULL);
	ret = look_compare_with(ldev, mail, error_r);
	mail_free(&mail);
	/* what was put into the cache */
	if (mailbox_transaction_commit(&trans) < 0 && ret == 0) {
		*error_r = t_strdup(mailbox_get_last_internal_error(
			ldev->look->box, NULL));
		ret = -1;
	}
	return ret;
}
