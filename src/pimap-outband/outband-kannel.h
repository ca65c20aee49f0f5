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

struct outband_kannel_settings {
	/* what the URL is called in the configuration */
	const char *name;
	/* of sendsms */
	const char *url;
	/* as outband_http_settings.ca */
	const char *ca;
	const char *user, *password;
	/* "": the gateway's own sender */
	const char *from;
	/* at the same time */
	unsigned int connections;
};

struct outband_kannel_message {
	const char *to;
	enum outband_kannel_coding coding;
	/* UTF-8, or octets */
	const void *data;
	size_t size;
	/* user data header, NULL = none */
	const void *udh;
	size_t udh_size;
	/* where the gateway says whether it was delivered, NULL = it isn't to */
	const char *report_url;
};

/* The settings needn't live on. Returns 0, or -1 and error_r. */
int outband_kannel_init(const struct outband_kannel_settings *set,
			struct event *event_parent,
			struct outband_kannel **kannel_r, const char **error_r);
/* What is being sent is broken off, without a callback. */
void outband_kannel_deinit(struct outband_kannel **kannel);

/* Sends it. It doesn't block, and the callback is called once, later. The message
   needn't live on. */
void outband_kannel_send(struct outband_kannel *kannel,
			 const struct outband_kannel_message *msg,
			 outband_channel_callback_t *callback, void *context);
/* What isn't given to the gateway is given up: the callback is called later. */
void outband_kannel_refuse(struct outband_kannel *kannel, const char *error,
			   outband_channel_callback_t *callback, void *context);

#endif
