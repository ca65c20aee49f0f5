/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_SENDER_H
#define OUTBAND_SENDER_H

#include "outband-store.h"

struct pimap_settings;

/* Takes what is queued to the channels: of each device one after
   the other, in order, until the channel has taken it, it has expired, or is given
   up; devices don't wait for each other. */

struct outband_sender;

/* The settings live longer than it. Returns 0, or -1 and error_r if a channel's
   settings are wrong. */
int outband_sender_init(struct event *event_parent,
			const struct pimap_settings *set, const char *dir,
			struct outband_sender **sender_r, const char **error_r);
/* What is being sent is broken off, and sent again by the next one. */
void outband_sender_deinit(struct outband_sender **sender);

/* Begins with what is queued. The store is the caller's; its functions block.
   Returns 0, or -1 and error_r: then it may be called again. */
int outband_sender_start(struct outband_sender *sender,
			 struct outband_store *store, const char **error_r);
/* Something has been queued for the device, or was taken from its queue. */
void outband_sender_wake(struct outband_sender *sender, const char *user,
			 const char *device);

#endif
