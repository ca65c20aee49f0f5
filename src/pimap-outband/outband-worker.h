/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_WORKER_H
#define OUTBAND_WORKER_H

#include "outband-answer.h"

/* The connections to workers, which open the mail. Nothing here blocks. */

struct outband_deaths;
struct outband_workers;

/* The answer belongs to the callee. */
typedef void
outband_worker_callback_t(struct outband_answer *answer, void *context);
/* A worker may be free again. */
typedef void outband_worker_free_callback_t(void *context);

/* There are at most max connections to the socket. */
struct outband_workers *
outband_workers_init(struct event *event_parent, const char *path,
		     unsigned int max, outband_worker_free_callback_t *callback,
		     void *context);
/* Jobs that are under way get no answer any more. */
void outband_workers_deinit(struct outband_workers **workers);

/* Is a worker free, or could one be? If not, the callback will say so. */
bool outband_workers_is_one_free(struct outband_workers *workers);
/* Gives a free worker a job, a line without its end,
   perhaps after that of a CAUTION; guid as for
   outband_answer_init(). The callback is called once, not before this function
   returns. Returns FALSE if there is none after all: then no callback. */
bool outband_workers_send(struct outband_workers *workers, const char *line,
			  const char *guid, outband_worker_callback_t *callback,
			  void *context);

/* Appends the line that comes before a job in such a folder, if there is one. */
void outband_deaths_append_caution(const struct outband_deaths *deaths,
				   string_t *line);

#endif
