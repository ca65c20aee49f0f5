/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_CHANNEL_H
#define OUTBAND_CHANNEL_H

#include "outband-store.h"

struct pimap_settings;
struct outband_channel;
struct outband_keys;
struct outband_reports;

/* A channel takes notifications to a device. Each is a table of functions;
   the list of them is outband_channels. What the other processes know of it, and the
   check of its addresses, is in pimap-channel.h. */

enum outband_channel_outcome {
	/* the peer has taken it over */
	OUTBAND_CHANNEL_SENT,
	/* not now */
	OUTBAND_CHANNEL_RETRY,
	/* it will never be taken */
	OUTBAND_CHANNEL_GIVE_UP,
	/* neither this one nor any other to that address: there is no such device
	   any more */
	OUTBAND_CHANNEL_UNREGISTER,
	/* it is another channel's from now on */
	OUTBAND_CHANNEL_FALLBACK,
	/* the device's session has read it */
	OUTBAND_CHANNEL_READ,
	/* it was no try: what was known of the device isn't true any more */
	OUTBAND_CHANNEL_AGAIN
};

struct outband_channel_result {
	enum outband_channel_outcome outcome;
	/* of all but SENT */
	const char *error;
	/* of FALLBACK: the other one's name, which is never freed */
	const char *channel;
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

/* What a channel is given. All of it lives longer. */
struct outband_channel_env {
	struct event *event_parent;
	const struct pimap_settings *set;
	/* the service's own directory */
	const char *dir;
	struct outband_keys *keys;
	/* they are started before anything is sent */
	struct outband_reports *reports;
};

/* Something about the channel that an administrator may want to know */
typedef void
outband_channel_status_t(const char *name, uint64_t count, void *context);

struct outband_channel_vfuncs {
	/* as in the preference PIMAP_OUTBAND_CHANNEL */
	const char *name;
	/* so many are sent at the same time: the others wait here, not there */
	unsigned int max_sends;
	/* How max_size counts a text. More characters never are less. NULL: bytes.
	   A byte of what is encrypted, in base64, is 1. */
	size_t (*measure)(const char *text);
	/* only the device can read it */
	bool encrypts;

	/* Returns 1, 0 if the administrator hasn't configured it, or -1 and
	   error_r. */
	int (*init)(const struct outband_channel_env *env,
		    struct outband_channel **channel_r, const char **error_r);
	/* The keys can be used from now on: nothing is received before. NULL: it
	   receives nothing by itself. */
	void (*start)(struct outband_channel *channel);
	/* NULL: there is nothing to tell */
	void (*status)(struct outband_channel *channel,
		       outband_channel_status_t *callback, void *context);
	/* What is being sent is broken off, without a callback. */
	void (*deinit)(struct outband_channel *channel);
	/* Sends a notification that has its number. It doesn't block, and the
	   callback is called once, not before it has returned; it always comes
	   in the end. The row lives until then. */
	void (*send)(struct outband_channel *channel,
		     const struct outband_row *row,
		     outband_channel_callback_t *callback, void *context);
	/* The device's session has read what is being sent: it needn't arrive any
	   more. NULL: it isn't repeated anyway. */
	void (*read)(struct outband_channel *channel, const char *user,
		     const char *device);
};

struct outband_channel {
	const struct outband_channel_vfuncs *v;
	/* of a notification, 0 = any. Set by init. */
	size_t max_size;
};

extern const struct outband_channel_vfuncs outband_channel_jms;
extern const struct outband_channel_vfuncs outband_channel_mail;
extern const struct outband_channel_vfuncs outband_channel_mms;
extern const struct outband_channel_vfuncs outband_channel_mqtt;
extern const struct outband_channel_vfuncs outband_channel_program;
extern const struct outband_channel_vfuncs outband_channel_sip;
extern const struct outband_channel_vfuncs outband_channel_sms;
extern const struct outband_channel_vfuncs outband_channel_udp;
extern const struct outband_channel_vfuncs outband_channel_wap_push;
extern const struct outband_channel_vfuncs outband_channel_webpush;
/* All of them, NULL at the end */
extern const struct outband_channel_vfuncs *const outband_channels[];

#endif
