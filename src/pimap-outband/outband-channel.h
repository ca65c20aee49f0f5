/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_CHANNEL_H
#define OUTBAND_CHANNEL_H

#include "outband-store.h"

struct pimap_settings;
struct outband_channel;

/* A channel takes notifications to a device. Each is a table of functions;
   the list of them is outband_channels. */

enum outband_channel_outcome {
	/* the peer has taken it over */
	OUTBAND_CHANNEL_SENT,
	/* not now */
	OUTBAND_CHANNEL_RETRY,
	/* it will never be taken */
	OUTBAND_CHANNEL_GIVE_UP,
	/* neither this one nor any other to that address: there is no such device
	   any more */
	OUTBAND_CHANNEL_UNREGISTER
};

struct outband_channel_result {
	enum outband_channel_outcome outcome;
	/* of all but SENT */
	const char *error;
	/* of RETRY: the administrator has to mend it. Not so where the peer is
	   one that a user has chosen. It is logged, once until the channel works
	   again. */
	bool fault;
	/* of RETRY: the peer wants it not sooner, 0 = it doesn't say */
	unsigned int retry_secs;
};

typedef void
outband_channel_callback_t(const struct outband_channel_result *result,
			   void *context);

struct outband_channel_vfuncs {
	/* as in the preference PIMAP_OUTBAND_CHANNEL */
	const char *name;
	/* so many are sent at the same time: the others wait here, not there */
	unsigned int max_sends;
	/* bytes of a notification, 0 = any number */
	size_t max_size;
	/* only the device can read it */
	bool encrypts;

	/* Returns 1, 0 if the administrator hasn't configured it, or -1 and
	   error_r. The settings live longer than the channel. dir is the
	   service's own directory. */
	int (*init)(struct event *event_parent,
		    const struct pimap_settings *set, const char *dir,
		    struct outband_channel **channel_r, const char **error_r);
	/* What is being sent is broken off, without a callback. */
	void (*deinit)(struct outband_channel *channel);
	/* Sends a notification that has its number. It doesn't block, and the
	   callback is called once, not before it has returned; it always comes
	   in the end. The row lives until then. */
	void (*send)(struct outband_channel *channel,
		     const struct outband_row *row,
		     outband_channel_callback_t *callback, void *context);
};

struct outband_channel {
	const struct outband_channel_vfuncs *v;
};

extern const struct outband_channel_vfuncs outband_channel_mail;
extern const struct outband_channel_vfuncs outband_channel_program;
extern const struct outband_channel_vfuncs outband_channel_webpush;
/* All of them, NULL at the end */
extern const struct outband_channel_vfuncs *const outband_channels[];

#endif
