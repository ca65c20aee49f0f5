/* SPDX-License-Identifier: LGPL-2.1-only */
/* Each connection is for one request, and doesn't live long: of who keeps it open there
   are not many, and they don't take the service's other connections. */

#include "lib.h"
#include "ioloop.h"
#include "llist.h"
#include "net.h"
#include "http-server.h"
#include "http-url.h"
#include "master-service.h"
#include "outband-report.h"
#include "outband-report-http.h"
#include "outband-report-parse.h"

/* At the same time; the oldest one makes room. Kannel has a thread for each report. */
#define REPORT_HTTP_MAX_CONNECTIONS 50
#define REPORT_HTTP_MAX_SECS 30
/* path, query */
#define REPORT_HTTP_MAX_TARGET (OUTBAND_REPORT_MAX_QUERY + 512)
#define REPORT_HTTP_MAX_HEADER 8192
#define REPORT_HTTP_MAX_FIELDS 50

struct report_http {
	struct report_http *prev, *next;
	struct outband_report_server *server;
	struct http_server_connection *conn;
	struct timeout *to;
};

struct outband_report_server {
	struct event *event;
	struct outband_reports *reports;
	struct http_server *http_server;
	/* 2.4's server keeps it */
	struct http_server_settings set;
	unsigned int max, count;
	/* the newest is first */
	struct report_http *head, *tail;
};

static void report_http_answer(struct http_server_request *req,
			       enum outband_report_result result)
{
	switch (result) {
	case OUTBAND_REPORT_TAKEN:
		http_server_request_fail_close(req, 200, "OK");
		break;
	case OUTBAND_REPORT_UNKNOWN:
		http_server_request_fail_close(req, 404, "Not Found");
		break;
	case OUTBAND_REPORT_LATER:
		http_server_request_fail_close(req, 503, "Service Unavailable");
		break;
	}
}

static void report_http_added(enum outband_report_result result, void *context)
{
	struct http_server_request *req = context;

	if (!http_server_request_is_finished(req))
		report_http_answer(req, result);
	http_server_request_unref(&req);
}

static void
report_http_request(void *context, struct http_server_request *req)
{
	struct report_http *http = context;
	struct outband_reports *reports = http->server->reports;
	const struct http_request *request = http_server_request_get(req);
	struct outband_report_query query;
	const char *text;

	if (strcmp(request->method, "GET") != 0) {
		outband_reports_refused(reports);
		http_server_request_connection_close(req, TRUE);
		http_server_request_fail_bad_method(req, "GET");
		return;
	}
	text = request->target_raw == NULL ? NULL :
		strchr(request->target_raw, '?');
	if (text == NULL || !outband_report_query_parse(text + 1, &query)) {
		outband_reports_refused(reports);
		report_http_answer(req, OUTBAND_REPORT_UNKNOWN);
		return;
	}
	if (query.status == OUTBAND_REPORT_PENDING) {
		/* it wasn't asked for that */
		report_http_answer(req, OUTBAND_REPORT_TAKEN);
		return;
	}
	http_server_request_ref(req);
	outband_reports_add(reports, query.token,
			    query.status == OUTBAND_REPORT_DELIVERED,
			    query.text, report_http_added, req);
}

static void
report_http_connect_request(void *context,
			    struct http_server_request *req,
			    struct http_url *target ATTR_UNUSED)
{
	report_http_request(context, req);
}

static void report_http_destroyed(void *context, const char *reason ATTR_UNUSED)
{
	struct report_http *http = context;
	struct outband_report_server *server = http->server;

	DLLIST2_REMOVE(&server->head, &server->tail, http);
	server->count--;
	timeout_remove(&http->to);
	i_free(http);
	master_service_client_connection_destroyed(master_service);
}

static const struct http_server_callbacks report_http_callbacks = {
	.handle_request = report_http_request,
	.handle_connect_request = report_http_connect_request,
	.connection_destroy = report_http_destroyed,
};

static void report_http_close(struct report_http *http)
{
	struct http_server_connection *conn = http->conn;

	timeout_remove(&http->to);
	http_server_connection_close(&conn, "closed");
}

struct outband_report_server *
outband_report_server_init(struct event *event_parent,
			  struct outband_reports *reports)
{
	struct outband_report_server *server;
	struct http_server_settings *set;

	server = i_new(struct outband_report_server, 1);
	set = &server->set;
	server->reports = reports;
	server->max = I_MIN(REPORT_HTTP_MAX_CONNECTIONS,
		master_service_get_client_limit(master_service) / 4 + 1);
	server->event = event_create(event_parent);
	/* lib-http would say something of each that is wrong */
	event_set_min_log_level(server->event, LOG_TYPE_FATAL);
#ifdef PIMAP_HAVE_HTTP_SETTINGS_INIT
	http_server_settings_init(null_pool, set);
	set->request_max_target_length = REPORT_HTTP_MAX_TARGET;
	set->request_max_payload_size = 1;
	set->request_hdr_max_size = REPORT_HTTP_MAX_HEADER;
	set->request_hdr_max_field_size = REPORT_HTTP_MAX_HEADER;
	set->request_hdr_max_fields = REPORT_HTTP_MAX_FIELDS;
#else
	set->request_limits.max_target_length = REPORT_HTTP_MAX_TARGET;
	set->request_limits.max_payload_size = 1;
	set->request_limits.header.max_size = REPORT_HTTP_MAX_HEADER;
	set->request_limits.header.max_field_size = REPORT_HTTP_MAX_HEADER;
	set->request_limits.header.max_fields = REPORT_HTTP_MAX_FIELDS;
	set->event = server->event;
#endif
	set->max_client_idle_time_msecs = REPORT_HTTP_MAX_SECS * 1000;
	set->max_pipelined_requests = 1;
#ifdef PIMAP_HAVE_HTTP_SETTINGS_INIT
	server->http_server = http_server_init(set, server->event);
#else
	server->http_server = http_server_init(set);
#endif
	return server;
}

void outband_report_server_deinit(struct outband_report_server **_server)
{
	struct outband_report_server *server = *_server;

	*_server = NULL;
	outband_report_server_disconnect(server);
	http_server_deinit(&server->http_server);
	event_unref(&server->event);
	i_free(server);
}

void outband_report_server_connected(struct outband_report_server *server,
				    struct master_service_connection *conn)
{
	struct report_http *http;

	if (server->count == server->max)
		report_http_close(server->tail);
	http = i_new(struct report_http, 1);
	http->server = server;
	DLLIST2_PREPEND(&server->head, &server->tail, http);
	server->count++;
	http->to = timeout_add(REPORT_HTTP_MAX_SECS * 1000, report_http_close,
			       http);
	net_set_nonblock(conn->fd, TRUE);
	http->conn = http_server_connection_create(server->http_server, conn->fd,
		conn->fd, FALSE, &report_http_callbacks, http);
}

void outband_report_server_disconnect(struct outband_report_server *server)
{
	struct report_http *http, *next;

	outband_reports_flush(server->reports);
	for (http = server->head; http != NULL; http = next) {
		next = http->next;
		report_http_close(http);
	}
}
