/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_REPORT_H
#define OUTBAND_REPORT_H

#include "outband-channel.h"

/* Delivery reports: what a gateway says, later, of a notification that it has taken. It
   is a step in the notification's trace, an event for statistics, and counted; it
   changes nothing in what is sent.

   A gateway names the notification by its token, which nobody else can make: it
   has an HMAC by a secret that the database keeps. */

struct outband_reports;

enum outband_report_result {
	/* it is on the disk, or was */
	OUTBAND_REPORT_TAKEN,
	/* there is no such notification (any more), or the token isn't ours */
	OUTBAND_REPORT_UNKNOWN,
	/* not now */
	OUTBAND_REPORT_LATER
};

typedef void
outband_report_callback_t(enum outband_report_result result, void *context);

/* What there was since the service began */
struct outband_reports_status {
	uint64_t delivered, failed, refused;
};

struct outband_reports *outband_reports_init(struct event *event_parent);
void outband_reports_deinit(struct outband_reports **reports);

/* Begins with what has come, and with what comes, by the database at this address,
   which outband_store_open() has made. Returns 0, or -1 and error_r: then it may be
   called again. */
int outband_reports_start(struct outband_reports *reports, const char *db_address,
			  const char **error_r);

/* Returns from the data stack the token of a notification that has a number. It has
   been started. */
const char *
outband_reports_get_token(struct outband_reports *reports, int64_t id,
			  int64_t seq);
/* Is it one that outband_reports_get_token() has returned? */
bool outband_reports_have_token(struct outband_reports *reports,
				const char *token);
/* The notification with this token was delivered, or won't ever be; text is what the
   gateway says of that. The callback is called once, not before it has returned. What
   comes together is written together. */
void outband_reports_add(struct outband_reports *reports, const char *token,
			 bool delivered, const char *text,
			 outband_report_callback_t *callback, void *context);
/* One that wasn't understood */
void outband_reports_refused(struct outband_reports *reports);
/* All that was added is answered now. */
void outband_reports_flush(struct outband_reports *reports);

const struct outband_reports_status *
outband_reports_get_status(struct outband_reports *reports);

#endif
