/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_STORE_REPORT_H
#define OUTBAND_STORE_REPORT_H

/* Delivery reports in the database: the secret of their tokens, and the steps that they
   are in traces. What is said of functions in outband-store.h holds here, too. */

#define OUTBAND_STORE_REPORT_SECRET_SIZE 32

struct outband_store_reports;

enum outband_store_report_result {
	/* nothing is known of the notification (any more) */
	OUTBAND_STORE_REPORT_UNKNOWN,
	/* its trace has it already */
	OUTBAND_STORE_REPORT_KNOWN,
	OUTBAND_STORE_REPORT_NEW
};

struct outband_store_report {
	/* the notification */
	int64_t id, seq;
	bool delivered;
	const char *text;

	/* set by outband_store_reports_add(): user and device unless it is unknown */
	enum outband_store_report_result result;
	const char *user, *device, *step;
};
ARRAY_DEFINE_TYPE(outband_store_report, struct outband_store_report);

/* The tables of outband-store.h are there. */
int outband_store_reports_open(struct event *event_parent, const char *address,
			       struct outband_store_reports **store_r,
			       const char **error_r);
void outband_store_reports_close(struct outband_store_reports **store);

/* It is made when it is first asked for. Returns 0 or -1. */
int outband_store_reports_get_secret(struct outband_store_reports *store,
	unsigned char secret_r[OUTBAND_STORE_REPORT_SECRET_SIZE],
	const char **error_r);
/* Adds all of them, or none. Of a notification there is one step at most that says it was
   delivered, and one that it wasn't: it may be several short messages. Returns 0, or
   -1 and error_r. */
int outband_store_reports_add(struct outband_store_reports *store, pool_t pool,
			      ARRAY_TYPE(outband_store_report) *list,
			      const char **error_r);

#endif
