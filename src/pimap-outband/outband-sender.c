/* SPDX-License-Identifier: LGPL-2.1-only */
/* The sender. Each device with queued notifications has a lane, which goes by what
   the store says is at the head:

     judge it anew if its user's profile is another by now (outband-judge.h) ->
     wait, or join it with others, if there were many lately (outband-join.h) ->
     number it (one transaction) -> hand it to the channel -> done (another)

   What the channel answers is all that is kept in memory between these. After a
   crash the head is sent again, with the same number and content.

   Lanes that are to go on do so together, in a turn of the ioloop: what they change
   is one transaction, and only when that is on the disk the channels see what was
   numbered in it. */

#include "lib.h"
#include "array.h"
#include "hash.h"
#include "ioloop.h"
#include "llist.h"
#include "str.h"
#include "pimap-channel.h"
#include "pimap-settings.h"
#include "pimap-look.h"
#include "pimap-pref.h"
#include "pimap-text.h"
#include "outband-channel.h"
#include "outband-join.h"
#include "outband-judge.h"
#include "outband-payload.h"
#include "outband-seal.h"
#include "outband-sender.h"

/* of a channel's error */
#define OUTBAND_SENDER_MAX_ERROR 1024
/* when the store can't be written */
#define OUTBAND_SENDER_STORE_RETRY_SECS 10
/* when a notification couldn't be judged: after so many seconds, and so often. Then
   it becomes a SYNC. */
#define OUTBAND_SENDER_JUDGE_SECS 10
#define OUTBAND_SENDER_JUDGE_TRIES 3
/* Lanes of one turn: others aren't kept waiting by many. */
#define OUTBAND_SENDER_TURN_LANES 200

struct outband_lane {
	/* in those that wait for the channel, or are to go on in the next turn */
	struct outband_lane *prev, *next;
	struct outband_sender *sender;
	char *user, *device;
	struct timeout *to;

	/* the head, while it is being sent or waits; NULL: it isn't known */
	pool_t pool;
	struct outband_row row;
	/* as the channel is given it */
	struct outband_row sealed;
	struct outband_sender_channel *channel;
	/* one that is finished, until the store has forgotten it; NULL: none */
	int64_t done_id;
	char *done_result;
	/* of one that was unregistered; NULL: it wasn't */
	char *ended, *ended_channel, *ended_address;

	/* its user's, by which what is sent must be judged */
	struct outband_profile *profile;
	struct outband_judge_job *job;
	/* in sequence: judgements that didn't come, and of those that no verdict
	   came of: how often the worker died, and it couldn't be known */
	unsigned int judge_failures, judge_deaths, judge_unknown;
	/* the folder wasn't found by the last one */
	bool judge_not_found;
	/* of outband_profile_send_begin() */
	unsigned int send_begun;

	/* of a row that the store couldn't be told of */
	int64_t retry_id;
	time_t retry_time;
	/* of a row that another channel than the device's sends */
	int64_t fallback_id;
	const char *fallback;

	bool waiting:1;
	bool sending:1;
	/* there were too many: all wait until then. 0 = they don't */
	time_t held_until;
	/* the window of that was full last */
	time_t full_start;
	/* in the next turn; of the turn: its queue is empty, it needs a
	   transaction of its own */
	bool ready:1;
	bool empty:1;
	bool alone:1;
	/* done_result, in the turn's transaction */
	bool done_written:1;
};
ARRAY_DEFINE_TYPE(outband_lanes, struct outband_lane *);

struct outband_sender_watch {
	struct outband_sender_watch *prev, *next;
	struct outband_sender *sender;
	int64_t id;
	outband_sender_watch_callback_t *callback;
	void *context;
};

struct outband_sender_channel {
	struct outband_channel *channel;
	struct outband_sender_status status;
	/* the window of that was full last */
	time_t full_start;
	struct outband_lane *wait_head, *wait_tail;
};

struct outband_sender {
	struct event *event;
	const struct pimap_settings *set;
	struct outband_judge *judge;
	struct outband_keys *keys;
	struct outband_store *store;
	bool store_failed;
	/* the lanes of the next turn */
	struct outband_lane *ready_head, *ready_tail;
	struct timeout *to_turn;
	bool in_batch, batch_failed;
	uint64_t expired;
	struct outband_sender_watch *watches;

	HASH_TABLE(struct outband_lane *, struct outband_lane *) lanes;
	ARRAY(struct outband_sender_channel) channels;
};

static void outband_sender_turn(struct outband_sender *sender);

static unsigned int outband_lane_hash(const struct outband_lane *lane)
{
	return str_hash(lane->user) * 31 + str_hash(lane->device);
}

static int
outband_lane_cmp(const struct outband_lane *lane1,
		 const struct outband_lane *lane2)
{
	int ret = strcmp(lane1->user, lane2->user);

	return ret != 0 ? ret : strcmp(lane1->device, lane2->device);
}

static void outband_lane_free_done(struct outband_lane *lane)
{
	i_free(lane->done_result);
	i_free(lane->ended);
	i_free(lane->ended_channel);
	i_free(lane->ended_address);
}

static void outband_lane_free(struct outband_lane *lane)
{
	hash_table_remove(lane->sender->lanes, lane);
	if (lane->waiting) {
		DLLIST2_REMOVE(&lane->channel->wait_head,
			       &lane->channel->wait_tail, lane);
	}
	if (lane->ready) {
		DLLIST2_REMOVE(&lane->sender->ready_head,
			       &lane->sender->ready_tail, lane);
	}
	timeout_remove(&lane->to);
	outband_judge_cancel(&lane->job);
	if (lane->sending)
		outband_profile_send_end(lane->profile, lane->send_begun);
	outband_profile_unref(&lane->profile);
	pool_unref(&lane->pool);
	outband_lane_free_done(lane);
	i_free(lane->user);
	i_free(lane->device);
	i_free(lane);
}

static void outband_lane_later(struct outband_lane *lane)
{
	struct outband_sender *sender = lane->sender;

	/* of those that wait there may be room for one now */
	if (sender->to_turn == NULL) {
		sender->to_turn = timeout_add_short(0, outband_sender_turn,
						    sender);
	}
	timeout_remove(&lane->to);
	if (lane->sending || lane->waiting || lane->ready)
		return;
	lane->ready = TRUE;
	DLLIST2_APPEND(&sender->ready_head, &sender->ready_tail, lane);
}

static void outband_lane_wait(struct outband_lane *lane, time_t secs)
{
	timeout_remove(&lane->to);
	secs = I_MAX(secs, 1);
	/* a clock may have jumped */
	secs = I_MIN(secs, (time_t)lane->sender->set->pimap_outband_retry_max);
	lane->to = timeout_add(secs * 1000, outband_lane_later, lane);
}

/* The store can't do it now: one line until it can. */
static void
outband_sender_store_failed(struct outband_sender *sender, const char *error)
{
	if (!sender->store_failed)
		e_error(sender->event, "%s (it is tried again)", error);
	sender->store_failed = TRUE;
	sender->batch_failed = TRUE;
}

static void outband_sender_store_works(struct outband_sender *sender)
{
	/* else that is known at its end */
	if (!sender->in_batch)
		sender->store_failed = FALSE;
}

static void
outband_lane_store_failed(struct outband_lane *lane, const char *error)
{
	outband_sender_store_failed(lane->sender, error);
	outband_lane_wait(lane, OUTBAND_SENDER_STORE_RETRY_SECS);
}

static void
outband_lane_tell_watches(struct outband_lane *lane, const char *result,
			  const char *error)
{
	struct outband_sender_watch *watch, *next;

	for (watch = lane->sender->watches; watch != NULL; watch = next) {
		next = watch->next;
		if (watch->id != lane->row.id)
			continue;
		watch->callback(result, error, lane->row.seq, watch->context);
		outband_sender_unwatch(&watch);
	}
}

static void
outband_lane_event(struct outband_lane *lane, const char *result,
		   const char *error)
{
	const struct outband_row *row = &lane->row;
	struct event_passthrough *e =
		event_create_passthrough(lane->sender->event)->
		set_name("pimap_notification_finished")->
		add_str("user", row->user)->
		add_str("device", row->device)->
		add_str("channel", row->channel)->
		add_str("type", row->event.name)->
		add_int("seq", row->seq)->
		add_int("tries", row->tries)->
		add_str("result", result);
	const char *text = t_strdup_printf("%s#%s: Notification %"PRId64
		" (%s by %s): %s%s%s", row->user, row->device, row->seq,
		row->event.name, row->channel, result,
		error == NULL ? "" : ": ", error == NULL ? "" : error);

	if (error != NULL)
		e->add_str("error", error);
	if (strcmp(result, "given up") == 0 || strcmp(result, "expired") == 0 ||
	    strcmp(result, "unregistered") == 0)
		e_warning(e->event(), "%s", text);
	else
		e_debug(e->event(), "%s", text);
	outband_lane_tell_watches(lane, result, error);
}

/* The head is finished: nothing is left but to forget it. */
static void outband_lane_finish(struct outband_lane *lane, const char *result)
{
	i_assert(lane->done_result == NULL);
	lane->done_id = lane->row.id;
	lane->done_result = i_strdup(result);
}

/* Returns FALSE if the lane can't go on. */
static bool outband_lane_write_done(struct outband_lane *lane)
{
	const struct outband_row row = {
		.id = lane->done_id,
		.user = lane->user,
		.device = lane->device,
		.channel = lane->ended_channel,
		.address = lane->ended_address,
	};
	const char *error;
	int ret;

	if (lane->done_result == NULL)
		return TRUE;
	if (lane->ended != NULL) {
		ret = outband_store_unregister(lane->sender->store, &row,
					       lane->done_result, lane->ended,
					       &error);
	} else {
		ret = outband_store_done(lane->sender->store, &row,
					 lane->done_result, &error);
	}
	if (ret < 0) {
		outband_lane_store_failed(lane, error);
		return FALSE;
	}
	outband_sender_store_works(lane->sender);
	if (lane->sender->in_batch)
		lane->done_written = TRUE;
	else
		outband_lane_free_done(lane);
	return TRUE;
}

static void
outband_sender_payload(string_t *dest, const struct outband_row *row)
{
	outband_payload_append(dest, row);
}

static struct outband_sender_channel *
outband_sender_find_channel(struct outband_sender *sender, const char *name)
{
	struct outband_sender_channel *channel;

	array_foreach_modifiable(&sender->channels, channel) {
		if (strcasecmp(channel->channel->v->name, name) == 0)
			return channel;
	}
	return NULL;
}

/* When it may be tried again: in secs, or after what doubles with each try */
static time_t
outband_lane_next_try(struct outband_lane *lane, unsigned int secs)
{
	const struct pimap_settings *set = lane->sender->set;
	uint64_t backoff = set->pimap_outband_retry_min;
	unsigned int i;

	for (i = 1; i < lane->row.tries &&
	     backoff < set->pimap_outband_retry_max; i++)
		backoff *= 2;
	backoff = I_MAX(backoff, secs);
	return ioloop_time + (time_t)I_MIN(backoff,
					   set->pimap_outband_retry_max);
}

static void
outband_lane_retry(struct outband_lane *lane,
		   const struct outband_channel_result *result)
{
	struct outband_sender *sender = lane->sender;
	const char *error;

	lane->row.tries++;
	lane->row.last_error = result->error;
	lane->retry_id = lane->row.id;
	lane->retry_time = outband_lane_next_try(lane, result->retry_secs);
	if (outband_store_retry(sender->store, &lane->row, lane->retry_time,
				&error) < 0)
		outband_sender_store_failed(sender, error);
}

static void
outband_lane_sent(const struct outband_channel_result *_result, void *context)
{
	struct outband_channel_result cleaned = *_result, *result = &cleaned;
	struct outband_lane *lane = context;
	struct outband_sender_channel *channel = lane->channel;

	/* whoever said it, and whatever the channel made of it */
	if (result->error != NULL) {
		result->error = pimap_text_get_reply(result->error,
						     OUTBAND_SENDER_MAX_ERROR);
	}

	lane->sending = FALSE;
	channel->status.sending--;
	outband_profile_send_end(lane->profile, lane->send_begun);
	switch (result->outcome) {
	case OUTBAND_CHANNEL_SENT:
		channel->status.failing = FALSE;
		channel->status.sent++;
		outband_lane_event(lane, "sent", NULL);
		outband_lane_finish(lane, "sent");
		break;
	case OUTBAND_CHANNEL_RETRY:
		if (result->fault && !channel->status.failing) {
			e_warning(lane->sender->event, "%s: %s (it is tried on)",
				  lane->row.channel, result->error);
			channel->status.failing = TRUE;
		}
		channel->status.retries++;
		outband_lane_retry(lane, result);
		outband_lane_event(lane, "retry", result->error);
		break;
	case OUTBAND_CHANNEL_FALLBACK:
		lane->fallback_id = lane->row.id;
		lane->fallback = result->channel;
		outband_lane_event(lane, "fallback", result->error);
		break;
	case OUTBAND_CHANNEL_READ:
		outband_lane_event(lane, "read inband", NULL);
		outband_lane_finish(lane, "read inband");
		break;
	case OUTBAND_CHANNEL_AGAIN:
		break;
	case OUTBAND_CHANNEL_UNREGISTER:
		channel->status.given_up++;
		outband_lane_event(lane, "unregistered", t_strconcat(
			result->error, " (nothing is sent until the device "
			"sets another address)", NULL));
		outband_lane_finish(lane, t_strconcat("unregistered: ",
						      result->error, NULL));
		lane->ended = i_strdup(result->error);
		lane->ended_channel = i_strdup(lane->row.channel);
		lane->ended_address = i_strdup(lane->row.address);
		break;
	case OUTBAND_CHANNEL_GIVE_UP:
		channel->status.given_up++;
		outband_lane_event(lane, "given up", result->error);
		outband_lane_finish(lane, t_strconcat("given up: ",
						      result->error, NULL));
		break;
	}
	outband_lane_later(lane);
}

static void
outband_lane_judged(enum outband_judge_result result, void *context)
{
	struct outband_lane *lane = context;
	unsigned int secs = OUTBAND_SENDER_JUDGE_SECS;

	lane->job = NULL;
	switch (result) {
	case OUTBAND_JUDGE_DONE:
		lane->judge_failures = lane->judge_deaths =
			lane->judge_unknown = 0;
		lane->judge_not_found = FALSE;
		outband_lane_later(lane);
		/* now: there may be changes without end, each of which would
		   have it judged anew */
		outband_sender_turn(lane->sender);
		return;
	case OUTBAND_JUDGE_LOST:
		lane->judge_deaths++;
		break;
	case OUTBAND_JUDGE_NOT_FOUND:
		lane->judge_not_found = TRUE;
		secs = OUTBAND_GONE_SECS;
		break;
	case OUTBAND_JUDGE_UNKNOWN:
		lane->judge_unknown++;
		lane->judge_failures = 0;
		break;
	case OUTBAND_JUDGE_FAILED:
		secs <<= I_MIN(lane->judge_failures, 8);
		lane->judge_failures++;
		break;
	}
	outband_lane_wait(lane, secs);
}

/* It says nothing of mail, and to no filter. */
static bool outband_row_is_of_mail(const struct outband_row *row)
{
	return strcmp(row->event.name, "LOCK_DOWN") != 0 &&
		strcmp(row->event.name, "NEW_ENC_KEY") != 0;
}

/* The lane goes on when they are judged. */
static void
outband_lane_ask(struct outband_lane *lane, const char *guid, time_t expires)
{
	unsigned int max = PIMAP_LOOK_MAX_JUDGED;

	if (lane->job == NULL) {
		if (lane->judge_deaths >= OUTBAND_SENDER_JUDGE_TRIES ||
		    lane->judge_unknown >= OUTBAND_SENDER_JUDGE_TRIES)
			max = 0;
		else if (lane->judge_deaths > 0) {
			/* of which one? */
			max = 1;
		}
		lane->job = outband_judge_ask(lane->sender->judge,
			lane->profile, lane->device, guid, max,
			lane->judge_not_found, outband_lane_judged, lane);
	}
	outband_lane_wait(lane, expires - ioloop_time);
}

static bool outband_lane_is_judged(struct outband_lane *lane)
{
	const struct outband_row *row = &lane->row;

	return !outband_row_is_of_mail(row) ||
		(row->generation == row->device_generation &&
		 outband_profile_is(lane->profile, row->generation));
}

static void
outband_lane_log_full(struct outband_lane *lane, enum outband_window_type type,
		      unsigned int max)
{
	const struct outband_row *row = &lane->row;
	const time_t start = row->windows[type].start;
	const char *setting, *who;

	switch (type) {
	case OUTBAND_WINDOW_DEVICE:
		if (lane->full_start == start)
			return;
		lane->full_start = start;
		who = t_strdup_printf("%s#%s", row->user, row->device);
		setting = "device";
		break;
	case OUTBAND_WINDOW_USER:
		if (!outband_profile_is_first_full(lane->profile, start))
			return;
		who = row->user;
		setting = "user";
		break;
	case OUTBAND_WINDOW_CHANNEL:
		if (lane->channel->full_start == start)
			return;
		lane->channel->full_start = start;
		who = row->channel;
		setting = t_str_lcase(row->channel);
		break;
	default:
		return;
	}
	e_warning(lane->sender->event, "%s: %u notifications in an hour "
		  "(pimap_limit_%s): the others are joined at its end",
		  who, max, setting);
}

/* Puts what mustn't wait in the place of the head. Returns 1 if there is something,
   0 if not, -1 if the lane waits. */
static int outband_lane_prefer_urgent(struct outband_lane *lane)
{
	struct outband_store *store = lane->sender->store;
	struct outband_row row;
	const char *error;
	int ret;

	ret = outband_store_urgent(store, lane->user, lane->device, lane->pool,
				   &row, &error);
	if (ret < 0)
		outband_lane_store_failed(lane, error);
	else if (ret > 0) {
		memcpy(row.windows, lane->row.windows, sizeof(row.windows));
		lane->row = row;
	}
	return ret;
}

/* a head without a number. Returns 1 if it may get one, 0 if the
   head is another now, -1 if the lane waits. */
static int outband_lane_check_limits(struct outband_lane *lane, time_t expires)
{
	struct outband_store *store = lane->sender->store;
	struct outband_row *row = &lane->row;
	struct outband_limit limits[OUTBAND_WINDOW_COUNT];
	enum outband_window_type type;
	enum outband_join join;
	const char *guid, *error;
	time_t until;
	int ret;

	if (!outband_row_is_of_mail(row))
		return 1;
	outband_limits_get(lane->sender->set, row->channel, limits);
	join = outband_join_check(limits, row->windows, ioloop_time,
				  row->created, &until, &type);
	/* another device of the user's may have begun the next window */
	if (join == OUTBAND_JOIN_SEND && row->created < lane->held_until)
		join = OUTBAND_JOIN_ALL;
	switch (join) {
	case OUTBAND_JOIN_WAIT:
		outband_lane_log_full(lane, type, limits[type].count);
		ret = outband_lane_prefer_urgent(lane);
		if (ret != 0)
			return ret;
		lane->held_until = until;
		outband_lane_wait(lane, I_MIN(until, expires) - ioloop_time);
		return -1;
	case OUTBAND_JOIN_ALL:
		ret = outband_store_join(store, lane->user, lane->device,
					 row->generation, lane->pool, &guid,
					 &error);
		if (ret < 0) {
			outband_lane_store_failed(lane, error);
			return -1;
		}
		if (ret == 1)
			return 0;
		if (ret > 1) {
			outband_lane_ask(lane, guid, expires);
			return -1;
		}
		break;
	case OUTBAND_JOIN_SEND:
		break;
	}
	lane->held_until = 0;
	outband_join_add(limits, row->windows, ioloop_time);
	return 1;
}

/* The head isn't sent. Returns as outband_lane_prepare(). */
static int
outband_lane_end(struct outband_lane *lane, const char *result,
		 const char *error)
{
	if (lane->sender->in_batch) {
		/* it is told before it is known whether it is done */
		lane->alone = TRUE;
		return -1;
	}
	outband_lane_event(lane, result, error);
	outband_lane_finish(lane, error == NULL ? result :
			    t_strdup_printf("%s: %s", result, error));
	return outband_lane_write_done(lane) ? 0 : -1;
}

/* Returns as outband_lane_prepare(). */
static int outband_lane_seal(struct outband_lane *lane, struct outband_seal *seal)
{
	struct outband_sender *sender = lane->sender;
	struct outband_row *row = &lane->row;
	const char *error;
	int ret;

	/* the administrator may have changed the pattern meanwhile */
	if (!pimap_channel_takes_address(sender->set, row->user, row->channel,
					 row->address, &error)) {
		if (!sender->in_batch)
			lane->channel->status.given_up++;
		return outband_lane_end(lane, "given up", t_strdup_printf(
			"The address isn't allowed: %s", error));
	}
	/* before the channel has it, so that a damaged database can't give the
	   number again */
	if (outband_keys_reserve(sender->keys, row->user, row->device, row->seq,
				 &error) < 0 ||
	    (ret = outband_seal_row(seal, row, lane->pool, &lane->sealed,
				    &error)) < 0) {
		outband_lane_store_failed(lane, error);
		return -1;
	}
	if (ret > 0)
		return 1;
	if (!sender->in_batch)
		lane->channel->status.given_up++;
	return outband_lane_end(lane, "given up", error);
}

/* Returns 1 if the head can be sent, 0 if something else was done and the head is
   to be looked at again, -1 if the lane waits, or is empty or alone. */
static int outband_lane_prepare(struct outband_lane *lane)
{
	struct outband_sender *sender = lane->sender;
	struct outband_store *store = sender->store;
	struct outband_row *row = &lane->row;
	struct outband_seal seal;
	time_t expires, due;
	const char *error;
	int ret;

	if (lane->pool == NULL)
		lane->pool = pool_alloconly_create("outband lane", 512);
	else
		p_clear(lane->pool);
	ret = outband_store_head(store, lane->user, lane->device, lane->pool,
				 row, &error);
	if (ret < 0) {
		outband_lane_store_failed(lane, error);
		return -1;
	}
	if (ret == 0) {
		lane->empty = TRUE;
		return -1;
	}
	expires = row->created + (time_t)sender->set->pimap_outband_expire;
	if (ioloop_time >= expires) {
		if (!sender->in_batch)
			sender->expired++;
		return outband_lane_end(lane, "expired", NULL);
	}
	if (lane->fallback_id == row->id) {
		row->channel = lane->fallback;
		row->fallback = TRUE;
	}
	lane->channel = outband_sender_find_channel(sender, row->channel);
	if (outband_seal_prepare(sender->keys, sender->set,
				 lane->channel == NULL ? NULL :
				 lane->channel->channel, row, &seal,
				 &error) < 0) {
		outband_lane_store_failed(lane, error);
		return -1;
	}
	if (seal.locked) {
		return outband_lane_end(lane, "dropped",
					"the device is locked");
	}
	if (row->ended[0] != '\0')
		return outband_lane_end(lane, "dropped", row->ended);
	due = row->next_try;
	if (lane->retry_id == row->id)
		due = I_MAX(due, lane->retry_time);
	if (due > ioloop_time + (time_t)sender->set->pimap_outband_retry_max) {
		/* the clock went back */
		due = ioloop_time;
	}
	if (lane->channel == NULL || lane->channel->status.paused) {
		/* it may be configured again, or resumed, before it expires */
		due = expires;
	}
	if (due > ioloop_time) {
		outband_lane_wait(lane, I_MIN(due, expires) - ioloop_time);
		return -1;
	}
	if (!outband_lane_is_judged(lane)) {
		outband_lane_ask(lane, row->guid, expires);
		return -1;
	}
	if (lane->channel->status.sending >= lane->channel->channel->v->max_sends) {
		lane->waiting = TRUE;
		DLLIST2_APPEND(&lane->channel->wait_head,
			       &lane->channel->wait_tail, lane);
		/* they may be many */
		i_zero(&lane->row);
		pool_unref(&lane->pool);
		return -1;
	}
	if (row->seq == 0) {
		ret = outband_lane_check_limits(lane, expires);
		if (ret <= 0)
			return ret;
		ret = outband_store_number(store, row, lane->pool,
					   outband_sender_payload, &error);
		if (ret < 0) {
			outband_lane_store_failed(lane, error);
			return -1;
		}
		outband_sender_store_works(sender);
		if (ret == 0)
			return 0;
	}
	return outband_lane_seal(lane, &seal);
}

/* Forgets what is finished, and comes to what can be sent. */
static int outband_lane_run(struct outband_lane *lane)
{
	int ret;

	if (!outband_lane_write_done(lane))
		return -1;
	do T_BEGIN {
		ret = outband_lane_prepare(lane);
	} T_END; while (ret == 0);
	if (ret > 0) {
		lane->sending = TRUE;
		lane->channel->status.sending++;
	}
	return ret;
}

static void outband_lane_send(struct outband_lane *lane)
{
	/* nothing that it says must change what is being sent */
	outband_judge_cancel(&lane->job);
	lane->send_begun = outband_profile_send_begin(lane->profile);
	lane->channel->channel->v->send(lane->channel->channel, &lane->sealed,
					outband_lane_sent, lane);
}

/* What the lane has come to is on the disk. */
static void outband_lane_go_on(struct outband_lane *lane)
{
	if (lane->alone && outband_lane_run(lane) < 0 && !lane->empty)
		return;
	if (lane->empty)
		outband_lane_free(lane);
	else if (lane->sending)
		outband_lane_send(lane);
}

/* All of it is to be done again. */
static void outband_lane_take_back(struct outband_lane *lane, const char *error)
{
	if (lane->sending) {
		lane->sending = FALSE;
		lane->channel->status.sending--;
	}
	if (!lane->waiting)
		outband_lane_store_failed(lane, error);
}

/* Takes the lanes of this turn: first those that have waited longest for a channel
   that can send more. */
static void
outband_sender_take_ready(struct outband_sender *sender,
			  ARRAY_TYPE(outband_lanes) *lanes)
{
	struct outband_sender_channel *channel;
	struct outband_lane *lane;
	unsigned int sending;

	array_foreach_modifiable(&sender->channels, channel) {
		sending = channel->status.sending;
		while ((lane = channel->wait_head) != NULL &&
		       sending++ < channel->channel->v->max_sends) {
			DLLIST2_REMOVE(&channel->wait_head,
				       &channel->wait_tail, lane);
			lane->waiting = FALSE;
			array_push_back(lanes, &lane);
		}
	}
	while ((lane = sender->ready_head) != NULL &&
	       array_count(lanes) < OUTBAND_SENDER_TURN_LANES) {
		DLLIST2_REMOVE(&sender->ready_head, &sender->ready_tail, lane);
		lane->ready = FALSE;
		array_push_back(lanes, &lane);
	}
}

static int
outband_sender_run_lanes(struct outband_sender *sender,
			 const ARRAY_TYPE(outband_lanes) *lanes,
			 const char **error_r)
{
	struct outband_lane *lane = array_idx_elem(lanes, 0);
	const char *user = lane->user;

	array_foreach_elem(lanes, lane) {
		lane->empty = lane->alone = lane->done_written = FALSE;
		if (strcmp(lane->user, user) != 0)
			user = "";
	}
	if (outband_store_batch_begin(sender->store, user, error_r) < 0)
		return -1;
	sender->in_batch = TRUE;
	sender->batch_failed = FALSE;
	array_foreach_elem(lanes, lane) T_BEGIN {
		timeout_remove(&lane->to);
		(void)outband_lane_run(lane);
	} T_END;
	sender->in_batch = FALSE;
	return outband_store_batch_end(sender->store, error_r);
}

static void
outband_sender_turn_lanes(struct outband_sender *sender,
			  const ARRAY_TYPE(outband_lanes) *lanes)
{
	struct outband_lane *lane;
	const char *error;

	if (outband_sender_run_lanes(sender, lanes, &error) < 0) {
		array_foreach_elem(lanes, lane)
			outband_lane_take_back(lane, error);
		return;
	}
	if (!sender->batch_failed)
		sender->store_failed = FALSE;
	array_foreach_elem(lanes, lane) {
		if (lane->done_written)
			outband_lane_free_done(lane);
		outband_lane_go_on(lane);
	}
}

static void outband_sender_turn(struct outband_sender *sender)
{
	timeout_remove(&sender->to_turn);
	T_BEGIN {
		ARRAY_TYPE(outband_lanes) lanes;

		t_array_init(&lanes, 32);
		outband_sender_take_ready(sender, &lanes);
		if (array_count(&lanes) > 0)
			outband_sender_turn_lanes(sender, &lanes);
	} T_END;
	if (sender->ready_head != NULL && sender->to_turn == NULL) {
		sender->to_turn = timeout_add_short(0, outband_sender_turn,
						    sender);
	}
}

/* What has been sent isn't to be sent again by the next service. */
static void outband_sender_write_done(struct outband_sender *sender)
{
	struct hash_iterate_context *iter;
	struct outband_lane *lane;
	const char *error;

	if (sender->store == NULL ||
	    outband_store_batch_begin(sender->store, "", &error) < 0)
		return;
	iter = hash_table_iterate_init(sender->lanes);
	while (hash_table_iterate(iter, sender->lanes, &lane, &lane)) T_BEGIN {
		(void)outband_lane_write_done(lane);
	} T_END;
	hash_table_iterate_deinit(&iter);
	if (outband_store_batch_end(sender->store, &error) < 0)
		outband_sender_store_failed(sender, error);
}

static struct outband_lane *
outband_sender_get_lane(struct outband_sender *sender, const char *user,
			const char *device)
{
	struct outband_lane *lane, key;

	i_zero(&key);
	key.user = (char *)user;
	key.device = (char *)device;
	lane = hash_table_lookup(sender->lanes, &key);
	if (lane == NULL) {
		lane = i_new(struct outband_lane, 1);
		lane->sender = sender;
		lane->user = i_strdup(user);
		lane->device = i_strdup(device);
		lane->profile = outband_profile_ref(sender->judge, user);
		hash_table_insert(sender->lanes, lane, lane);
	}
	return lane;
}

void outband_sender_wake(struct outband_sender *sender, const char *user,
			 const char *device)
{
	if (sender->store != NULL) {
		outband_lane_later(outband_sender_get_lane(sender, user,
							   device));
	}
}

void outband_sender_retry(struct outband_sender *sender, const char *user,
			  const char *device)
{
	struct outband_lane *lane;

	i_assert(sender->store != NULL);
	lane = outband_sender_get_lane(sender, user, device);
	lane->retry_id = 0;
	outband_lane_later(lane);
}

bool outband_sender_read(struct outband_sender *sender, const char *user,
			 const char *device, int64_t id)
{
	struct outband_lane *lane, key;
	struct outband_channel *channel;

	i_zero(&key);
	key.user = (char *)user;
	key.device = (char *)device;
	lane = hash_table_lookup(sender->lanes, &key);
	if (lane == NULL || !lane->sending || lane->row.id != id)
		return FALSE;
	channel = lane->channel->channel;
	if (channel->v->read != NULL)
		channel->v->read(channel, user, device);
	return TRUE;
}

const struct outband_sender_status *
outband_sender_get_status(struct outband_sender *sender, const char *channel)
{
	struct outband_sender_channel *c =
		outband_sender_find_channel(sender, channel);

	return c == NULL ? NULL : &c->status;
}

void outband_sender_get_counts(struct outband_sender *sender, const char *name,
			       outband_channel_status_t *callback,
			       void *context)
{
	struct outband_sender_channel *c =
		outband_sender_find_channel(sender, name);

	if (c != NULL && c->channel->v->status != NULL)
		c->channel->v->status(c->channel, callback, context);
}

uint64_t outband_sender_get_expired(struct outband_sender *sender)
{
	return sender->expired;
}

static void
outband_sender_set_paused(struct outband_sender *sender,
			  struct outband_sender_channel *channel, bool paused)
{
	struct hash_iterate_context *iter;
	struct outband_lane *lane;

	if (channel->status.paused == paused)
		return;
	channel->status.paused = paused;
	if (paused)
		return;
	iter = hash_table_iterate_init(sender->lanes);
	while (hash_table_iterate(iter, sender->lanes, &lane, &lane)) {
		if (lane->channel == channel)
			outband_lane_later(lane);
	}
	hash_table_iterate_deinit(&iter);
}

static int
outband_sender_read_paused(struct outband_sender *sender,
			   struct outband_store *store, const char **error_r)
{
	struct outband_sender_channel *channel;
	ARRAY_TYPE(const_string) names;
	const char *name;
	bool paused;

	if (outband_store_paused_get(store, pool_datastack_create(), &names,
				     error_r) < 0)
		return -1;
	array_foreach_modifiable(&sender->channels, channel) {
		paused = FALSE;
		array_foreach_elem(&names, name) {
			if (strcasecmp(name, channel->channel->v->name) == 0)
				paused = TRUE;
		}
		outband_sender_set_paused(sender, channel, paused);
	}
	return 0;
}

int outband_sender_pause(struct outband_sender *sender, const char *name,
			 bool paused, const char **error_r)
{
	struct outband_sender_channel *channel =
		outband_sender_find_channel(sender, name);

	i_assert(channel != NULL);
	if (outband_store_paused_set(sender->store, channel->channel->v->name,
				     paused, error_r) < 0)
		return -1;
	outband_sender_set_paused(sender, channel, paused);
	return 0;
}

struct outband_sender_watch *
outband_sender_watch(struct outband_sender *sender, int64_t id,
		     outband_sender_watch_callback_t *callback, void *context)
{
	struct outband_sender_watch *watch;

	watch = i_new(struct outband_sender_watch, 1);
	watch->sender = sender;
	watch->id = id;
	watch->callback = callback;
	watch->context = context;
	DLLIST_PREPEND(&sender->watches, watch);
	return watch;
}

void outband_sender_unwatch(struct outband_sender_watch **_watch)
{
	struct outband_sender_watch *watch = *_watch;

	*_watch = NULL;
	DLLIST_REMOVE(&watch->sender->watches, watch);
	i_free(watch);
}

const char *
outband_sender_get_obstacle(struct outband_sender *sender, const char *user,
			    const char *device, int64_t id)
{
	struct outband_lane *lane, key;

	i_zero(&key);
	key.user = (char *)user;
	key.device = (char *)device;
	while ((lane = hash_table_lookup(sender->lanes, &key)) != NULL &&
	       lane->ready)
		outband_sender_turn(sender);
	if (lane == NULL || lane->sending || lane->waiting)
		return NULL;
	if (lane->channel == NULL) {
		return t_strdup_printf("Channel %s isn't configured",
				       lane->row.channel);
	}
	if (lane->channel->status.paused) {
		return t_strdup_printf("Channel %s is paused",
				       lane->row.channel);
	}
	if (lane->held_until != 0) {
		return "There were too many notifications: what comes now is "
			"joined after a while";
	}
	if (lane->row.id != id && lane->to != NULL && lane->job == NULL) {
		return t_strdup_printf("Notification %"PRId64" goes first, "
				       "and is to be tried again: %s",
				       lane->row.id, lane->row.last_error);
	}
	return NULL;
}

/* Wakes all devices with queued notifications (before 0), or those with overdue ones. */
static int
outband_sender_wake_all(struct outband_sender *sender,
			struct outband_store *store, time_t before,
			const char **error_r)
{
	const char *user = "", *device = "";
	pool_t pool;
	int ret;

	pool = pool_alloconly_create("outband devices", 512);
	do T_BEGIN {
		/* not in the pool that is cleared */
		const char *last_user = t_strdup(user);
		const char *last_device = t_strdup(device);

		p_clear(pool);
		if (before == 0) {
			ret = outband_store_device_next(store, last_user,
				last_device, pool, &user, &device, error_r);
		} else {
			ret = outband_store_overdue_next(store, last_user,
				last_device, before, pool, &user, &device,
				error_r);
		}
		if (ret > 0)
			outband_sender_wake(sender, user, device);
	} T_END_PASS_STR_IF(ret < 0, error_r); while (ret > 0);
	pool_unref(&pool);
	return ret;
}

void outband_sender_take_over(struct outband_sender *sender, time_t before)
{
	const char *error;

	if (sender->store == NULL)
		return;
	if (outband_sender_read_paused(sender, sender->store, &error) < 0 ||
	    outband_sender_wake_all(sender, sender->store, before, &error) < 0)
		outband_sender_store_failed(sender, error);
}

int outband_sender_start(struct outband_sender *sender,
			 struct outband_store *store, const char **error_r)
{
	struct outband_sender_channel *channel;

	if (outband_sender_read_paused(sender, store, error_r) < 0)
		return -1;
	if (sender->store == NULL) {
		array_foreach_modifiable(&sender->channels, channel) {
			if (channel->channel->v->start != NULL)
				channel->channel->v->start(channel->channel);
		}
	}
	sender->store = store;
	return outband_sender_wake_all(sender, store, 0, error_r);
}

int outband_sender_init(struct event *event_parent,
			const struct pimap_settings *set, const char *dir,
			struct outband_judge *judge,
			struct outband_keys *keys,
			struct outband_reports *reports,
			struct outband_sender **sender_r, const char **error_r)
{
	struct outband_channel_env env;
	struct outband_sender *sender;
	struct outband_channel *channel;
	unsigned int i;
	int ret;

	sender = i_new(struct outband_sender, 1);
	sender->event = event_create(event_parent);
	sender->set = set;
	sender->judge = judge;
	sender->keys = keys;
	hash_table_create(&sender->lanes, default_pool, 0, outband_lane_hash,
			  outband_lane_cmp);
	i_array_init(&sender->channels, 4);
	i_zero(&env);
	env.event_parent = sender->event;
	env.set = set;
	env.dir = dir;
	env.keys = keys;
	env.reports = reports;
	for (i = 0; outband_channels[i] != NULL; i++) {
		ret = outband_channels[i]->init(&env, &channel, error_r);
		if (ret < 0) {
			outband_sender_deinit(&sender);
			return -1;
		}
		if (ret > 0) {
			struct outband_sender_channel *c =
				array_append_space(&sender->channels);
			c->channel = channel;
		}
	}
	*sender_r = sender;
	return 0;
}

void outband_sender_deinit(struct outband_sender **_sender)
{
	struct outband_sender *sender = *_sender;
	struct outband_sender_channel *channel;
	struct hash_iterate_context *iter;
	struct outband_lane *lane;

	*_sender = NULL;
	while (sender->watches != NULL) {
		struct outband_sender_watch *watch = sender->watches;

		outband_sender_unwatch(&watch);
	}
	array_foreach_modifiable(&sender->channels, channel)
		channel->channel->v->deinit(channel->channel);
	timeout_remove(&sender->to_turn);
	outband_sender_write_done(sender);
	iter = hash_table_iterate_init(sender->lanes);
	while (hash_table_iterate(iter, sender->lanes, &lane, &lane))
		outband_lane_free(lane);
	hash_table_iterate_deinit(&iter);
	hash_table_destroy(&sender->lanes);
	array_free(&sender->channels);
	event_unref(&sender->event);
	i_free(sender);
}
