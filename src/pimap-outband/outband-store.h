/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_STORE_H
#define OUTBAND_STORE_H

#include "outband-join.h"
#include "outband-look.h"

/* What the service must not forget: the registry of devices, the states that are
   accounted for, and the queue of notifications. Everything that a step changes is
   one transaction: when a function has returned 1, it is on the disk.

   All functions block, for the time that the disk takes. They return -1 and
   error_r if nothing was changed (the disk is full, say) or if that couldn't be
   known: each change is conditional and may be asked for again. Strings that are
   returned are in the given pool. */

struct outband_store;

/* A notification, at the head of its device's queue */
struct outband_row {
	int64_t id;
	const char *user, *device, *guid;
	/* its name when the event was found */
	const char *folder;
	struct outband_event event;
	/* 0: it has no number yet, and no payload */
	int64_t seq;
	const char *payload;
	unsigned int tries;
	time_t next_try, created;
	/* of the last try, "" = there was none */
	const char *last_error;
	/* of the profile that it was judged by (negative: but by other filters of the
	   site), and the registry's */
	int64_t generation, device_generation;
	/* it isn't sent before, 0 = it isn't held; what a session of the device must
	   have told for it to be read */
	time_t held_until;
	struct outband_changes changes;
	/* what was sent lately: of the head, and set anew by who numbers it */
	struct outband_window windows[OUTBAND_WINDOW_COUNT];

	/* the device's, as the registry has it now */
	const char *channel, *address, *format;
	/* why nothing is sent there any more, "" = it is */
	const char *ended;
	/* The channel is that which takes the place of the device's own. Set by the
	   sender. */
	bool fallback;

	/* What the channel can carry, 0 = anything, how it counts that, NULL =
	   bytes, and whether it may tell the fields of messages. Set by
	   the sender. */
	size_t max_size;
	size_t (*measure)(const char *text);
	bool fields_allowed;
};

ARRAY_DEFINE_TYPE(outband_row, struct outband_row);

/* Which of them an administrator means: 0 and "" don't restrict it */
struct outband_selection {
	int64_t id;
	const char *user, *device;
};

struct outband_device {
	const char *user, *device;
};
ARRAY_DEFINE_TYPE(outband_device, struct outband_device);

/* What was done with a notification, also when that is finished */
struct outband_step {
	/* the notification, and which one of its steps this is */
	int64_t id, n;
	const char *user, *device;
	/* 0: it never had a number */
	int64_t seq;
	time_t time;
	const char *step, *text;
};
ARRAY_DEFINE_TYPE(outband_step, struct outband_step);

/* Steps are kept of so many notifications, or those of so many seconds; of each these,
   the first and the last ones. */
#define OUTBAND_TRACE_MAX_COUNT 100000
#define OUTBAND_TRACE_MAX_SECS (7*24*3600)
#define OUTBAND_TRACE_MAX_STEPS 100
/* of a device */
#define OUTBAND_TRACE_LAST 20

struct outband_store_status {
	/* notifications, those of them that have a number, or are held; devices
	   that have some */
	uint64_t queued, numbered, held, devices;
	/* when the first of them was found, 0 = there is none */
	time_t oldest;
	/* devices that are notified of some folder, and those whose address has
	   ended */
	uint64_t accounted_devices, ended_devices;
};

/* Appends the text of the notification when its number is known. */
typedef void
outband_store_payload_t(string_t *dest, const struct outband_row *row);

/* Opens the store at the address (outband-sql.h), and makes it if there is none. */
int outband_store_open(struct event *event_parent, const char *address,
		       struct outband_store **store_r, const char **error_r);
void outband_store_close(struct outband_store **store);

/* What is changed from here on, of this user ("": of anybody), is on the disk when
   outband_store_batch_end() has returned 0; if that returns -1 none of it is, or it
   isn't known. One change that fails, or isn't valid any more, takes back nothing of
   the others. */
int outband_store_batch_begin(struct outband_store *store, const char *user,
			      const char **error_r);
int outband_store_batch_end(struct outband_store *store, const char **error_r);

/* What a look at this folder is asked with */
int outband_store_accounted_get(struct outband_store *store, const char *user,
				const char *guid, pool_t pool,
				ARRAY_TYPE(outband_accounted) *accounted_r,
				const char **error_r);
/* The folder after this one among all that are accounted for; user and guid are "" for
   the first. Returns 1, or 0 if that was the last. */
int outband_store_folder_next(struct outband_store *store, const char *user,
			      const char *guid, pool_t pool,
			      const char **user_r, const char **guid_r,
			      const char **error_r);

/* commits what a look has found: the devices in the registry, the events in the
   queue, the states; what is queued or accounted for a device that the folder no longer
   notifies is dropped. Returns 1, or 0 if the look isn't valid any more (another state
   is accounted, or it was made with a profile that is older than the registry knows).
   */
int outband_store_commit(struct outband_store *store, const char *user,
			 const char *guid, const char *folder,
			 const struct outband_origin *origin,
			 const ARRAY_TYPE(outband_accounted) *accounted,
			 const ARRAY_TYPE(outband_found) *found,
			 const char **error_r);
/* From now on folder_next() has the user, with the folder "" as long as nothing of him
   is accounted for: whoever starts next looks for his folders. */
int outband_store_add_user(struct outband_store *store, const char *user,
			   const char **error_r);
/* No folder of the user's notifies: that isn't needed. */
int outband_store_drop_user(struct outband_store *store, const char *user,
			    const char **error_r);
/* The folder (guid "": the user) is gone, and with it what is queued and accounted. The
   numbers that the user's devices have come to stay: a user that wasn't found may come
   back. */
int outband_store_gone(struct outband_store *store, const char *user,
		       const char *guid, const char **error_r);

/* The device after this one among all with queued notifications, as folder_next(). */
int outband_store_device_next(struct outband_store *store, const char *user,
			      const char *device, pool_t pool,
			      const char **user_r, const char **device_r,
			      const char **error_r);
/* Likewise, with some that were found, and were to be tried, before that time: who was to
   send them doesn't. */
int outband_store_overdue_next(struct outband_store *store, const char *user,
			       const char *device, time_t before, pool_t pool,
			       const char **user_r, const char **device_r,
			       const char **error_r);
/* The notification of the device that is to be sent next: one with a number, or the
   oldest that isn't held. Returns 1, or 0 if it has none. */
int outband_store_head(struct outband_store *store, const char *user,
		       const char *device, pool_t pool,
		       struct outband_row *row_r, const char **error_r);
/* Those of the device that sessions may have read: which are held, or go by UDP; so many
   at most, from the first one. */
int outband_store_readable(struct outband_store *store, const char *user,
			   const char *device, unsigned int max, pool_t pool,
			   ARRAY_TYPE(outband_row) *rows_r,
			   const char **error_r);
/* The device after this one among all with held notifications, as folder_next(). */
int outband_store_held_next(struct outband_store *store, const char *user,
			    const char *device, pool_t pool,
			    const char **user_r, const char **device_r,
			    const char **error_r);
/* It isn't held any more. Returns 1, or 0 if it wasn't. */
int outband_store_release(struct outband_store *store, const char *user,
			  int64_t id, const char *reason,
			  const char **error_r);
/* A session has read it: forgets it. held: not if it isn't held any more. Returns 1,
   or 0 if it wasn't forgotten. */
int outband_store_read(struct outband_store *store, const char *user, int64_t id,
		       bool held, const char **error_r);
/* The first one that no filter and no limit is about (LOCK_DOWN, NEW_ENC_KEY), which
   goes before those that wait because there were too many. */
int outband_store_urgent(struct outband_store *store, const char *user,
			 const char *device, pool_t pool,
			 struct outband_row *row_r, const char **error_r);
/* The first notifications of the device that are of this folder and weren't judged by
   this generation, so many at most, but for urgent ones. */
int outband_store_queued(struct outband_store *store, const char *user,
			 const char *device, const char *guid,
			 int64_t generation, unsigned int max, pool_t pool,
			 ARRAY_TYPE(outband_row) *rows_r, const char **error_r);
/* The site's own filters and defaults, as any text: if they were others when this was
   called last, what is queued was judged by those, and is to be judged anew. */
int outband_store_rules_set(struct outband_store *store, const char *rules,
			    const char **error_r);
/* what passes is of the judgement's generation now, which the registry has
   too; what doesn't is forgotten, numbered or not. sync: there is only a first one,
   without a verdict, and it becomes a SYNC. Returns 1, or 0 if the judgement isn't
   valid: the registry knows a profile by now that is newer than its own. */
int outband_store_judged(struct outband_store *store, const char *user,
			 const char *device,
			 const struct outband_judged *judged,
			 const ARRAY_TYPE(outband_row) *rows, bool sync,
			 const char **error_r);
/* the device's notifications that have no number yet, and aren't urgent,
   become one, in the place of the first: SYNC, FULL_SYNC if they are of several
   folders, STATE_COMPARISON_SYNC if that is among them. All were judged by this
   generation, else nothing is done. Returns 1; 0 if there is one at most; 2 and guid_r
   if one of that folder was judged by another generation. */
int outband_store_join(struct outband_store *store, const char *user,
		       const char *device, int64_t generation, pool_t pool,
		       const char **guid_r, const char **error_r);
/* gives it the device's next number and its payload, and sets them in the row.
   Returns 1, or 0 if it is gone or has one. */
int outband_store_number(struct outband_store *store, struct outband_row *row,
			 pool_t pool, outband_store_payload_t *payload,
			 const char **error_r);
/* It is to be tried again, because of its last_error. */
int outband_store_retry(struct outband_store *store,
			const struct outband_row *row, time_t next_try,
			const char **error_r);
/* It is sent or given up, as result says: forgets all but that. */
int outband_store_done(struct outband_store *store,
		       const struct outband_row *row, const char *result,
		       const char **error_r);
/* Likewise, as the row's channel has said that there is nothing at its address any more:
   if that is still the device's, it is not to be tried until the device has another
   channel or address, or was notified of nothing for a while. */
int outband_store_unregister(struct outband_store *store,
			     const struct outband_row *row, const char *result,
			     const char *reason, const char **error_r);
/* Returns 1 and why the device's address isn't tried any more, and since when, or 0 if
   it is. */
int outband_store_ended_get(struct outband_store *store, const char *user,
			    const char *device, pool_t pool,
			    const char **reason_r, time_t *since_r,
			    const char **error_r);

/* For the administrator (pimap-control.h). */
int outband_store_status(struct outband_store *store,
			 struct outband_store_status *status_r,
			 const char **error_r);
/* So many notifications, or less, that have been queued after the one with this id (0:
   the first), in that order. Returns 1, or 0 if there are none. */
int outband_store_list(struct outband_store *store, int64_t id,
		       unsigned int max, pool_t pool,
		       ARRAY_TYPE(outband_row) *rows_r, const char **error_r);
/* They don't wait for their next try any more, or are forgotten. count_r is how many,
   and devices_r has whose. Returns 1, or 0 if there are none. */
int outband_store_retry_now(struct outband_store *store,
			    const struct outband_selection *selection,
			    pool_t pool, ARRAY_TYPE(outband_device) *devices_r,
			    unsigned int *count_r, const char **error_r);
int outband_store_drop(struct outband_store *store,
		       const struct outband_selection *selection, pool_t pool,
		       ARRAY_TYPE(outband_device) *devices_r,
		       unsigned int *count_r, const char **error_r);
/* The steps of a notification (selection's id), or of the last ones of a device (seq
   0), or those with that number; so many, or less, that come after the step n of id.
   Returns 1, or 0 if there are none. */
int outband_store_trace(struct outband_store *store,
			const struct outband_selection *selection, int64_t seq,
			int64_t id, int64_t n, unsigned int max, pool_t pool,
			ARRAY_TYPE(outband_step) *steps_r,
			const char **error_r);
/* Queues a SYNC for a device that is notified of something, behind what it has. Returns
   1 and its id, or 0 if there is no such device. */
int outband_store_add_test(struct outband_store *store, const char *user,
			   const char *device, int64_t *id_r,
			   const char **error_r);
/* Likewise, another event that is of no folder. */
int outband_store_add_event(struct outband_store *store, const char *user,
			    const char *device, const char *event,
			    int64_t *id_r, const char **error_r);
/* Channels that don't send until they are resumed. */
int outband_store_paused_get(struct outband_store *store, pool_t pool,
			     ARRAY_TYPE(const_string) *channels_r,
			     const char **error_r);
int outband_store_paused_set(struct outband_store *store, const char *channel,
			     bool paused, const char **error_r);

/* Workers that have died of a folder: of which messages, as far as that is known */
struct outband_deaths {
	/* UIDs that aren't to be evaluated any more, separated by commas */
	const char *skip;
	/* there are deaths of which it isn't known, or not sure, what they are of */
	bool suspected;
};
/* So many deaths are a message's own. The first one of all isn't known to be. */
#define OUTBAND_DEATHS_MAX 2
/* So many messages are kept of a folder, the newest ones. */
#define OUTBAND_DEATHS_MAX_MESSAGES 100

int outband_store_deaths_get(struct outband_store *store, const char *user,
			     const char *guid, pool_t pool,
			     struct outband_deaths *deaths_r,
			     const char **error_r);
/* One more, of the message with that UID, 0 = it isn't known. count_r is how many it
   makes. */
int outband_store_deaths_add(struct outband_store *store, const char *user,
			     const char *guid, uint32_t uid,
			     unsigned int *count_r, const char **error_r);
/* What is only suspected was a mistake, or (all) the folder is another one. */
int outband_store_deaths_clear(struct outband_store *store, const char *user,
			       const char *guid, bool all,
			       const char **error_r);

#endif
