/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_HTTP_H
#define OUTBAND_HTTP_H

#include "outband-channel.h"

/* A gateway that takes each notification by a POST, whose answer says what has become of
   it. Nothing is tried twice or sent elsewhere here. */

struct http_client_request;
struct outband_http;

/* What becomes of a notification by the gateway's answer: its status, 100 to 599, and the
   beginning of its text. result_r is empty; if its error stays NULL, the status and the
   text are told. */
typedef void
outband_http_judge_t(unsigned int status, const string_t *answer,
		     struct outband_channel_result *result_r);

struct outband_http_settings {
	/* what the URL is called in the configuration */
	const char *name;
	const char *url;
	/* a file with certificates of authorities, "" = the system's */
	const char *ca;
	/* at the same time */
	unsigned int connections;
	/* of an answer's text: more isn't read */
	size_t max_answer;
	outband_http_judge_t *judge;
};

/* The settings needn't live on. Returns 0, or -1 and error_r. */
int outband_http_init(const struct outband_http_settings *set,
		      struct event *event_parent,
		      struct outband_http **http_r, const char **error_r);
/* What is being sent is broken off, without a callback. */
void outband_http_deinit(struct outband_http **http);

/* Returns a request for the caller to add headers and the payload to, and to submit, or
   NULL if it can't be made. It doesn't block, and the callback is called once, later. */
struct http_client_request *
outband_http_request(struct outband_http *http,
		     outband_channel_callback_t *callback, void *context);
/* What isn't given to the gateway is given up: the callback is called later. */
void outband_http_refuse(struct outband_http *http, const char *error,
			 outband_channel_callback_t *callback, void *context);

/* Adds the header if the value isn't empty. */
void outband_http_add_header(struct http_client_request *req, const char *name,
			     const char *value);

#endif
