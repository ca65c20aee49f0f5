/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_SENDER_H
#define OUTBAND_SENDER_H

#include "outband-channel.h"

struct outband_keys;
struct outband_reports;
struct pimap_settings;
struct outband_judge;

/* Takes what is queued to the channels: of each device one after
   the other, in order, until the channel has taken it, it has expired, or is given
   up; devices don't wait for each other. */

struct outband_sender;

/* The settings and the judge live longer than it. Returns 0, or -1 and error_r if a channel's
   settings are wrong. */
int outband_sender_init(struct event *event_parent,
			const struct pimap_settings *set, const char *dir,
			struct outband_judge *judge,
			struct outband_keys *keys,
			struct outband_reports *reports,
			struct outband_sender **sender_r, const char **error_r);
/* What is being sent is broken off, and sent again by the next one. */
void outband_sender_deinit(struct outband_sender **sender);

/* Begins with what is queued. The store is the caller's; its functions block. The
   keys are open.
   Returns 0, or -1 and error_r: then it may be called again. */
int outband_sender_start(struct outband_sender *sender,
			 struct outband_store *store, const char **error_r);
/* Sends what another service on the same database should have begun to send before that
   time: it may be gone. What was paused or resumed there is so here, too. */
void outband_sender_take_over(struct outband_sender *sender, time_t before);
/* Something has been queued for the device, or was taken from its queue. */
void outband_sender_wake(struct outband_sender *sender, const char *user,
			 const char *device);
/* Likewise, and its next notification doesn't wait any more to be tried again. */
void outband_sender_retry(struct outband_sender *sender, const char *user,
			  const char *device);

/* A session of the device has read the notification. Returns TRUE if it is being sent:
   then a channel that repeats it ends that, and it is finished as ever. */
bool outband_sender_read(struct outband_sender *sender, const char *user,
			 const char *device, int64_t id);

/* What a channel has done since the service began */
struct outband_sender_status {
	unsigned int sending;
	uint64_t sent, retries, given_up;
	/* the administrator has to mend it: nothing was sent since */
	bool failing;
	/* it sends nothing until it is resumed */
	bool paused;
};
/* Returns NULL if the channel isn't configured. */
const struct outband_sender_status *
outband_sender_get_status(struct outband_sender *sender, const char *channel);
/* What the channel itself counts, if it is configured */
void outband_sender_get_counts(struct outband_sender *sender, const char *channel,
			       outband_channel_status_t *callback,
			       void *context);
uint64_t outband_sender_get_expired(struct outband_sender *sender);

/* Pauses a configured channel, or resumes it, also after a restart. What it is sending
   goes on. Returns 0, or -1 and error_r. */
int outband_sender_pause(struct outband_sender *sender, const char *channel,
			 bool paused, const char **error_r);

/* What the first try of a notification has come to: result is one of "sent",
   "retry", "given up", "unregistered", "expired"; error is NULL if it was sent. */
typedef void
outband_sender_watch_callback_t(const char *result, const char *error,
				int64_t seq, void *context);
struct outband_sender_watch;
/* Watches the notification with this id. The callback is called once, and the watch
   has then ended. */
struct outband_sender_watch *
outband_sender_watch(struct outband_sender *sender, int64_t id,
		     outband_sender_watch_callback_t *callback, void *context);
void outband_sender_unwatch(struct outband_sender_watch **watch);
/* Returns from the data stack what this notification of the device waits for, but for
   its own try; NULL: nothing. */
const char *
outband_sender_get_obstacle(struct outband_sender *sender, const char *user,
			    const char *device, int64_t id);

#endif
