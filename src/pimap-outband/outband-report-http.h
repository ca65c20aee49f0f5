/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_REPORT_HTTP_H
#define OUTBAND_REPORT_HTTP_H

struct master_service_connection;
struct outband_reports;

/* Where Kannel's reports come in, by HTTP. Whoever reaches it may say what he
   likes: just what has a token that is right does anything, and no line of the log is
   by others. */

struct outband_report_server;

/* The service's listener that is one for these */
#define OUTBAND_REPORT_LISTENER "pimap-outband-report"

struct outband_report_server *
outband_report_server_init(struct event *event_parent,
			  struct outband_reports *reports);
void outband_report_server_deinit(struct outband_report_server **server);

/* The connection has been accepted. */
void outband_report_server_connected(struct outband_report_server *server,
				    struct master_service_connection *conn);
/* Answers what has come, and closes all of them. */
void outband_report_server_disconnect(struct outband_report_server *server);

#endif
