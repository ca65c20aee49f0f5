/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_KANNEL_H
#define OUTBAND_KANNEL_H

#include "outband-channel.h"

/* A gateway for short messages, by Kannel's interface sendsms. */

struct outband_kannel;

enum outband_kannel_coding {
	/* GSM 03.38's alphabet */
	OUTBAND_KANNEL_GSM = 0,
	OUTBAND_KANNEL_OCTETS = 1,
	OUTBAND_KANNEL_UCS2 = 2
};

struct outband_kannel_message {
	/* a number, NULL: the gateway's own one */
	const char *from;
	const char *to;
	enum outband_kannel_coding coding;
	/* UTF-8, or octets */
	const void *data;
	size_t size;
	/* user data header, NULL = none */
	const char *udh;
	size_t udh_size;
};

/* url is that of sendsms, with a query or without one. connections are used at the same
   time. Returns 0, or -1 and error_r (setting is what the URL is called there). */
int outband_kannel_init(struct event *event_parent, const char *setting,
			const char *url, const char *user, const char *password,
			unsigned int connections,
			struct outband_kannel **kannel_r, const char **error_r);
/* What is being sent is broken off, without a callback. */
void outband_kannel_deinit(struct outband_kannel **kannel);

/* Sends it. It doesn't block, and the callback is called once, later. The message
   needn't live on. */
void outband_kannel_send(struct outband_kannel *kannel,
			 const struct outband_kannel_message *msg,
			 outband_channel_callback_t *callback, void *context);

#endif
