/* SPDX-License-Identifier: LGPL-2.1-only */
/* The connection of the service whose jobs are done here, one at a time. */

#include "lib.h"
#include "connection.h"
#include "guid.h"
#include "ostream.h"
#include "process-title.h"
#include "str.h"
#include "strescape.h"
#include "mail-storage-service.h"
#include "mail-user.h"
#include "mail-namespace.h"
#include "mailbox-list-private.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "pimap-compat.h"
#include "pimap-look.h"
#include "pimap-notify.h"
#include "pimap-user.h"
#include "pimap-worker.h"
#include "worker-caution.h"

#include <unistd.h>

struct worker_connection {
	struct connection conn;
	struct mail_storage_service_ctx *storage_service;
};

struct worker_job {
	const char *name;
	/* NULL: SCAN, of many users' folders */
	const char *username;
	/* LOOK's and JUDGE's */
	guid_128_t guid;
	const char *const *states;
	const char *device;
	const char *const *rows;
	/* SCAN's */
	const char *const *seen;
};

static struct connection_list *worker_connections = NULL;

void worker_answer(string_t *answer, ...)
{
	const char *field, *sep = "";
	va_list args;

	va_start(args, answer);
	while ((field = va_arg(args, const char *)) != NULL) {
		str_append(answer, sep);
		str_append_tabescaped(answer, field);
		sep = "\t";
	}
	va_end(args);
	str_append_c(answer, '\n');
}

static void worker_set_proctitle(const struct worker_job *job)
{
	if (!pimap_master_service_get_settings(
			master_service)->verbose_proctitle)
		return;
	process_title_set(job == NULL ? "[idling]" :
			  t_strdup_printf("[%s %s]", job->username == NULL ?
					  "-" : job->username, job->name));
}

static bool
worker_job_parse(const char *const *args, struct worker_job *job_r)
{
	const unsigned int count = str_array_length(args);

	i_zero(job_r);
	if (count < 2)
		return FALSE;
	job_r->name = args[0];
	if (strcmp(args[0], "SCAN") == 0) {
		job_r->seen = args + 1;
		return TRUE;
	}
	if (args[1][0] == '\0')
		return FALSE;
	job_r->username = args[1];
	if (strcmp(args[0], "FOLDERS") == 0 || strcmp(args[0], "USER") == 0)
		return count == 2;
	if (strcmp(args[0], "LOOK") == 0 && count >= 3 && count % 2 == 1) {
		job_r->states = args + 3;
		return guid_128_from_string(args[2], job_r->guid) == 0;
	}
	if (strcmp(args[0], "JUDGE") == 0 && count >= 4 && count % 4 == 0) {
		job_r->device = args[3];
		job_r->rows = args + 4;
		return args[2][0] == '\0' ||
			guid_128_from_string(args[2], job_r->guid) == 0;
	}
	return FALSE;
}

static int
worker_job_run_user(const struct worker_job *job, struct mail_user *user,
		    string_t *answer, const char **error_r)
{
	struct pimap_user *puser = pimap_user_create(user, error_r);

	if (puser == NULL)
		return -1;
	/* his devices may not log in, and aren't told anything */
	if (!puser->set->pimap)
		return 0;
	if (job->rows != NULL) {
		return worker_judge(puser, job->guid, job->device, job->rows,
				    answer, error_r);
	}
	if (strcmp(job->name, "USER") == 0) {
		/* the process has become him */
		worker_answer(answer, "UID", dec2str((long)geteuid()), NULL);
		return 1;
	}
	if (job->states != NULL &&
	    guid_128_equals(job->guid, pimap_notify_list_guid))
		return worker_list(puser, job->states, answer, error_r);
	return job->states == NULL ? worker_folders(puser, answer, error_r) :
		worker_look(puser, job->guid, job->states, answer, error_r);
}

static int
worker_job_run(struct worker_connection *conn, const struct worker_job *job,
	       string_t *answer, const char **error_r)
{
	struct mail_storage_service_input input;
	struct mail_user *user;
	int ret;

	i_zero(&input);
	pimap_storage_service_input_init(&input);
	input.service = PIMAP_WORKER_SOCKET;
	input.username = job->username;
	ret = pimap_storage_service_lookup_next(conn->storage_service, &input,
						&user, error_r);
	if (ret < 0) {
		e_error(conn->conn.event, "User %s: %s", job->username,
			*error_r);
	}
	if (ret <= 0)
		return ret < 0 ? -1 : 0;
	pimap_storage_service_user_init(user);
	/* a hint by another of his names would make another user of him, who is
	   notified too */
	if (strcmp(user->username, job->username) == 0)
		ret = worker_job_run_user(job, user, answer, error_r);
	else
		ret = 0;
	if (ret < 0)
		e_error(user->event, "%s: %s", job->name, *error_r);
	mail_user_deinit(&user);
	return ret;
}

/* It is nobody's job: the user of the last one may not see others' folders. */
static int
worker_job_run_scan(const struct worker_job *job, string_t *answer,
		    const char **error_r)
{
	if (getuid() == 0 && geteuid() != 0 && seteuid(0) < 0) {
		*error_r = "seteuid(0) failed";
		return -1;
	}
	worker_scan(job->seen, answer);
	return 1;
}

static int
worker_connection_input_args(struct connection *_conn, const char *const *args)
{
	struct worker_connection *conn =
		container_of(_conn, struct worker_connection, conn);
	struct worker_job job;
	const char *error = NULL;
	string_t *answer;
	int ret;

	if (strcmp(args[0], "CAUTION") == 0 && str_array_length(args) == 3 &&
	    worker_caution_set(args[1], args[2][0] == '1' ?
			       conn->conn.output : NULL) == 0)
		return 1;
	if (!worker_job_parse(args, &job)) {
		e_error(conn->conn.event, "Invalid job");
		return -1;
	}
	worker_set_proctitle(&job);
	answer = str_new(default_pool, 1024);
	ret = job.seen != NULL ? worker_job_run_scan(&job, answer, &error) :
		worker_job_run(conn, &job, answer, &error);
	worker_set_proctitle(NULL);
	worker_caution_reset();
	if (ret <= 0)
		str_truncate(answer, 0);
	if (ret > 0)
		worker_answer(answer, "OK", NULL);
	else if (ret == 0)
		worker_answer(answer, "GONE", NULL);
	else
		worker_answer(answer, "FAIL", error, NULL);
	o_stream_nsend(conn->conn.output, str_data(answer), str_len(answer));
	str_free(&answer);
	return 1;
}

static void worker_connection_destroy(struct connection *conn)
{
	connection_deinit(conn);
	i_free(conn);
	master_service_client_connection_destroyed(master_service);
}

static const struct connection_vfuncs worker_connection_vfuncs = {
	.destroy = worker_connection_destroy,
	.input_args = worker_connection_input_args,
};

static const struct connection_settings worker_connection_set = {
	.service_name_in = PIMAP_WORKER_PROTOCOL,
	.service_name_out = PIMAP_WORKER_PROTOCOL,
	.major_version = PIMAP_WORKER_MAJOR,
	.minor_version = PIMAP_WORKER_MINOR,
	.input_max_size = PIMAP_LOOK_MAX_LINE,
	.output_max_size = SIZE_MAX,
};

bool worker_connection_create(struct master_service_connection *master,
			      struct mail_storage_service_ctx *storage_service)
{
	struct worker_connection *conn;

	if (worker_connections == NULL) {
		worker_connections =
			connection_list_init(&worker_connection_set,
					     &worker_connection_vfuncs);
	} else if (worker_connections->connections_count > 0) {
		return FALSE;
	}
	worker_caution_reset();
	conn = i_new(struct worker_connection, 1);
	conn->storage_service = storage_service;
	connection_init_server(worker_connections, &conn->conn, master->name,
			       master->fd, master->fd);
	return TRUE;
}

void worker_connections_destroy(void)
{
	if (worker_connections != NULL)
		connection_list_deinit(&worker_connections);
}
