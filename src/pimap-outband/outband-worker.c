/* SPDX-License-Identifier: LGPL-2.1-only */
/* A pool of connections to pimap-worker, each with one job at a time. What the jobs
   are for, and what becomes of them when a worker dies, is its caller's matter. */

#include "lib.h"
#include "ioloop.h"
#include "connection.h"
#include "ostream.h"
#include "str.h"
#include "pimap-look.h"
#include "outband-store.h"
#include "outband-worker.h"

/* A worker that has said nothing for so long isn't waited for. */
#define OUTBAND_WORKER_TIMEOUT_SECS (10*60)
/* A connection that isn't needed keeps a process. */
#define OUTBAND_WORKER_IDLE_MSECS (5*1000)
#define OUTBAND_WORKER_BACKOFF_MIN_MSECS 500
#define OUTBAND_WORKER_BACKOFF_MAX_MSECS (60*1000)

struct outband_worker {
	struct connection conn;
	struct outband_workers *workers;
	struct timeout *to_idle;

	/* NULL: free */
	struct outband_answer *answer;
	outband_worker_callback_t *callback;
	void *context;
};

struct outband_workers {
	struct event *event;
	char *path;
	unsigned int max;
	outband_worker_free_callback_t *free_callback;
	void *free_context;

	struct connection_list *list;
	/* while it runs, no new connections are tried */
	struct timeout *to_backoff;
	unsigned int backoff_msecs;
	bool deinitializing;
};

static void outband_workers_backoff_over(struct outband_workers *workers)
{
	timeout_remove(&workers->to_backoff);
	workers->free_callback(workers->free_context);
}

/* Workers can't be reached, or don't come as far as a VERSION. */
static void
outband_workers_backoff(struct outband_workers *workers, const char *error)
{
	if (workers->deinitializing || workers->to_backoff != NULL)
		return;
	if (workers->backoff_msecs == 0) {
		workers->backoff_msecs = OUTBAND_WORKER_BACKOFF_MIN_MSECS;
	} else {
		workers->backoff_msecs = I_MIN(workers->backoff_msecs * 2,
			OUTBAND_WORKER_BACKOFF_MAX_MSECS);
	}
	/* once, not each time */
	if (workers->backoff_msecs == OUTBAND_WORKER_BACKOFF_MIN_MSECS * 8)
		e_error(workers->event, "No worker at %s: %s (it is tried on)",
			workers->path, error);
	workers->to_backoff = timeout_add(workers->backoff_msecs,
					  outband_workers_backoff_over,
					  workers);
}

/* Ends the job: the worker is free. */
static void
outband_worker_answer(struct outband_worker *worker,
		      enum outband_answer_result result)
{
	struct outband_answer *answer = worker->answer;

	worker->answer = NULL;
	answer->result = result;
	worker->callback(answer, worker->context);
}

static void outband_worker_destroy(struct connection *conn)
{
	struct outband_worker *worker =
		container_of(conn, struct outband_worker, conn);
	struct outband_workers *workers = worker->workers;
	bool greeted = conn->version_received;

	if (worker->answer != NULL) {
		switch (conn->disconnect_reason) {
		case CONNECTION_DISCONNECT_BUFFER_FULL:
			e_error(conn->event, "A worker sent an invalid answer: "
				"its line is too long");
			break;
		case CONNECTION_DISCONNECT_IDLE_TIMEOUT:
			e_error(conn->event, "A worker hasn't answered for %u s",
				OUTBAND_WORKER_TIMEOUT_SECS);
			break;
		default:
			break;
		}
	}
	timeout_remove(&worker->to_idle);
	connection_deinit(conn);
	if (workers->deinitializing)
		outband_answer_deinit(&worker->answer);
	else if (!greeted)
		outband_workers_backoff(workers, "it closes the connection");
	if (worker->answer != NULL) {
		outband_worker_answer(worker, greeted ? OUTBAND_ANSWER_LOST :
				      OUTBAND_ANSWER_UNREACHED);
	}
	i_free(worker);
	if (!workers->deinitializing)
		workers->free_callback(workers->free_context);
}

static void outband_worker_idle(struct outband_worker *worker)
{
	outband_worker_destroy(&worker->conn);
}

static int
outband_worker_input_args(struct connection *conn, const char *const *args)
{
	struct outband_worker *worker =
		container_of(conn, struct outband_worker, conn);
	struct outband_workers *workers = worker->workers;
	const char *error;
	int ret;

	if (worker->answer == NULL) {
		e_error(conn->event, "A worker sent an answer to no job");
		return -1;
	}
	ret = outband_answer_add(worker->answer, args, &error);
	if (ret < 0) {
		e_error(conn->event, "A worker sent an invalid answer: %s",
			error);
		return -1;
	}
	if (ret > 0) {
		workers->backoff_msecs = 0;
		worker->to_idle = timeout_add(OUTBAND_WORKER_IDLE_MSECS,
					      outband_worker_idle, worker);
		outband_worker_answer(worker, worker->answer->result);
		workers->free_callback(workers->free_context);
	}
	return 1;
}

static const struct connection_vfuncs outband_worker_vfuncs = {
	.destroy = outband_worker_destroy,
	.input_args = outband_worker_input_args,
};

static const struct connection_settings outband_worker_set = {
	.service_name_in = PIMAP_WORKER_PROTOCOL,
	.service_name_out = PIMAP_WORKER_PROTOCOL,
	.major_version = PIMAP_WORKER_MAJOR,
	.minor_version = PIMAP_WORKER_MINOR,
	.input_max_size = PIMAP_LOOK_MAX_LINE,
	.output_max_size = SIZE_MAX,
	.input_idle_timeout_secs = OUTBAND_WORKER_TIMEOUT_SECS,
	.client = TRUE,
};

struct outband_workers *
outband_workers_init(struct event *event_parent, const char *path,
		     unsigned int max, outband_worker_free_callback_t *callback,
		     void *context)
{
	struct outband_workers *workers;

	workers = i_new(struct outband_workers, 1);
	workers->event = event_create(event_parent);
	workers->path = i_strdup(path);
	workers->max = max;
	workers->free_callback = callback;
	workers->free_context = context;
	workers->list = connection_list_init(&outband_worker_set,
					     &outband_worker_vfuncs);
	return workers;
}

void outband_workers_deinit(struct outband_workers **_workers)
{
	struct outband_workers *workers = *_workers;

	*_workers = NULL;
	workers->deinitializing = TRUE;
	timeout_remove(&workers->to_backoff);
	connection_list_deinit(&workers->list);
	event_unref(&workers->event);
	i_free(workers->path);
	i_free(workers);
}

static struct outband_worker *
outband_workers_find_free(struct outband_workers *workers)
{
	struct connection *conn;

	for (conn = workers->list->connections; conn != NULL;
	     conn = conn->next) {
		struct outband_worker *worker =
			container_of(conn, struct outband_worker, conn);

		if (worker->answer == NULL && !conn->disconnected)
			return worker;
	}
	return NULL;
}

bool outband_workers_is_one_free(struct outband_workers *workers)
{
	return outband_workers_find_free(workers) != NULL ||
		(workers->to_backoff == NULL &&
		 workers->list->connections_count < workers->max);
}

static struct outband_worker *
outband_workers_connect(struct outband_workers *workers)
{
	struct outband_worker *worker;

	worker = i_new(struct outband_worker, 1);
	worker->workers = workers;
	worker->conn.event_parent = workers->event;
	connection_init_client_unix(workers->list, &worker->conn,
				    workers->path);
	if (connection_client_connect(&worker->conn) < 0) {
		outband_workers_backoff(workers, strerror(errno));
		connection_deinit(&worker->conn);
		i_free(worker);
		return NULL;
	}
	return worker;
}

bool outband_workers_send(struct outband_workers *workers, const char *line,
			  const char *guid, outband_worker_callback_t *callback,
			  void *context)
{
	struct outband_worker *worker;
	const struct const_iovec iov[2] = {
		{ .iov_base = line, .iov_len = strlen(line) },
		{ .iov_base = "\n", .iov_len = 1 },
	};

	worker = outband_workers_find_free(workers);
	if (worker == NULL && workers->to_backoff == NULL &&
	    workers->list->connections_count < workers->max)
		worker = outband_workers_connect(workers);
	if (worker == NULL)
		return FALSE;
	timeout_remove(&worker->to_idle);
	worker->answer = outband_answer_init(guid);
	worker->callback = callback;
	worker->context = context;
	/* one that is broken is noticed by its input */
	o_stream_nsendv(worker->conn.output, iov, N_ELEMENTS(iov));
	return TRUE;
}

void outband_deaths_append_caution(const struct outband_deaths *deaths,
				   string_t *line)
{
	if (deaths->suspected || deaths->skip[0] != '\0') {
		str_printfa(line, "CAUTION\t%s\t%c\n", deaths->skip,
			    deaths->suspected ? '1' : '0');
	}
}
