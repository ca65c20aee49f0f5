/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_SMSTOOLS_REPORT_H
#define OUTBAND_SMSTOOLS_REPORT_H

struct outband_reports;
struct outband_smstools_reports;

/* What smsd says of messages: in its directory are sent, failed and report. Of what
   is there only files of our messages are read and, when they have been, removed, and
   the reports that belong to them. */

/* What the names of our files begin with */
#define OUTBAND_SMSTOOLS_PREFIX "pimap-"

/* Returns 0, or -1 and error_r. */
int outband_smstools_reports_init(struct event *event_parent,
				  const char *name, const char *dir,
				  struct outband_reports *reports,
				  struct outband_smstools_reports **tools_r,
				  const char **error_r);
/* What was added to the reports is answered. */
void outband_smstools_reports_deinit(struct outband_smstools_reports **tools);
/* The reports have been started. */
void outband_smstools_reports_start(struct outband_smstools_reports *tools);

#endif
