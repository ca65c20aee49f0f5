/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_STORE_PRIVATE_H
#define OUTBAND_STORE_PRIVATE_H

#include "outband-sql.h"
#include "outband-store.h"

/* What the store's files have in common: the statements are in outband-store-stmts.c,
   what they are for in outband-store-account.c, -queue.c and -admin.c. */

enum outband_store_stmt {
	STMT_VERSION_GET,
	STMT_VERSION_ADD,
	STMT_ACCOUNTED_GET,
	STMT_ACCOUNTED_ADD,
	STMT_ACCOUNTED_DROP,
	STMT_FOLDER_NEXT,
	STMT_FOLDER_DROP,
	STMT_USER_DROP,
	STMT_USER_ADD,
	STMT_GENERATION_GET,
	STMT_DEVICE_SET,
	STMT_DEVICE_SET_GENERATION,
	STMT_RULES_GET,
	STMT_RULES_DROP,
	STMT_RULES_ADD,
	STMT_QUEUE_ANEW,
	STMT_DEVICE_ENDED,
	STMT_DEVICE_BEGINS,
	STMT_DEVICE_ENDED_GET,
	STMT_DEVICE_NEXT,
	STMT_DEVICE_OVERDUE,
	STMT_SEQ_NEXT,
	STMT_QUEUE_ADD,
	STMT_QUEUE_DROP_DEVICE,
	STMT_QUEUE_DROP_FOLDER,
	STMT_QUEUE_DROP_USER,
	STMT_QUEUE_HEAD,
	STMT_QUEUE_URGENT,
	STMT_READABLE,
	STMT_HELD_NEXT,
	STMT_QUEUE_RELEASE,
	STMT_QUEUE_READ,
	STMT_QUEUE_READ_ANY,
	STMT_QUEUED,
	STMT_JOINABLE,
	STMT_QUEUE_JOIN,
	STMT_QUEUE_JOINED_DROP,
	STMT_WINDOW_SET,
	STMT_QUEUE_PASS,
	STMT_QUEUE_FAIL,
	STMT_QUEUE_SYNC,
	STMT_QUEUE_ADD_SYNC,
	STMT_QUEUE_NUMBER,
	STMT_QUEUE_RETRY,
	STMT_QUEUE_DONE,
	STMT_STATUS,
	STMT_LIST,
	STMT_SELECTED,
	STMT_SELECTED_RETRY,
	STMT_SELECTED_DROP,
	STMT_TRACE_ADD,
	STMT_TRACE_NUMBER,
	STMT_TRACES_DROP,
	STMT_STEPS_DROP,
	STMT_STEP_ADD,
	STMT_STEP_DROP,
	STMT_TRACE,
	STMT_ADD_EVENT,
	STMT_PAUSED_GET,
	STMT_PAUSED_ADD,
	STMT_PAUSED_DROP,
	STMT_DEATHS_GET,
	STMT_DEATHS_ADD,
	STMT_DEATHS_PRUNE,
	STMT_DEATHS_CLEAR,
	STMT_DEATHS_DROP,

	STMT_COUNT
};

extern const struct outband_sql_stmt outband_store_stmts[STMT_COUNT];
extern const char *const outband_store_schema_version;
extern const char *const outband_store_schemas[];
extern const unsigned int outband_store_schemas_count;

/* of a text that is kept for the administrator */
#define OUTBAND_STORE_TEXT_MAX 500
/* where a row's windows are, behind QUEUE_COLUMNS */
#define WINDOW_COLUMNS_FIRST 25
/* how the names of those of more than a device begin */
#define WINDOW_USER "user "
#define WINDOW_CHANNEL "channel "

#define DROPPED_DEVICE \
	"done", "dropped: its folder doesn't notify the device any more"
#define DROPPED_ADMIN "done", "dropped: by the administrator"
#define DROPPED_FILTER "done", "dropped: the filter is another now"
#define DROPPED_SYNC \
	"done", "dropped: it can't be judged anew, a SYNC is sent in its place"

struct outband_store {
	struct outband_sql *sql;
	/* what begins is a part of the batch; or can't be any more */
	bool in_batch, batch_broken;
};

/* Runs a statement whose rows nobody wants. Returns 1 if it has some, 0, or -1. */
int store_run(struct outband_store *store, enum outband_store_stmt stmt,
	      const char **error_r, ...);

/* A transaction that has the user to itself, or a part of the batch */
int store_begin(struct outband_store *store, const char *user,
		const char **error_r);

/* Ends the transaction: commits if ret is 1, else takes back what it did. Returns
   ret, or -1 and error_r. */
int store_end(struct outband_store *store, int ret, const char **error_r);

/* Runs a statement that gives two texts: the pair after the one that it is given.
   Returns 1, 0 if there is none, or -1 and error_r. */
int store_next(struct outband_store *store, enum outband_store_stmt stmt,
	       pool_t pool, const char **first_r, const char **second_r,
	       const char **error_r, ...);

/* The text, fit to be kept. */
const char *store_text(const char *text);

/* Writes down a step of a notification. */
int step_add(struct outband_store *store, int64_t id, time_t time,
	     const char *step, const char *text, const char **error_r);

/* Runs a statement that adds a row to the device's queue and returns its id, and
   writes that down. Returns 1, 0 if it adds none, or -1 and error_r. */
int queue_add(struct outband_store *store, const char *user, const char *device,
	      enum outband_store_stmt stmt, int64_t *id_r, const char **error_r,
	      ...);

/* Runs a statement that changes rows of the queue and returns their ids, and writes
   it down as a step of each. Returns 1, 0 if it changes none, or -1 and error_r. */
int queue_change(struct outband_store *store, const char *step, const char *text,
		 enum outband_store_stmt stmt, const char **error_r, ...);

/* A row of QUEUE_COLUMNS */
void queue_row_get(outband_sql_row_t row, pool_t pool, struct outband_row *row_r);

#endif
