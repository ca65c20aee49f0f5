/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_CONTROL_H
#define OUTBAND_CONTROL_H

struct event;
struct master_service_connection;
struct outband_controls;
struct outband_idles;
struct outband_keys;
struct outband_looks;
struct outband_sender;
struct outband_store;

/* The connections of administrators' programs (pimap-control.h). */

struct outband_controls *
outband_controls_init(struct event *event_parent, struct outband_looks *looks,
		      struct outband_sender *sender, struct outband_keys *keys,
		      struct outband_idles *idles);
void outband_controls_deinit(struct outband_controls **controls);

/* From now on requests are done. */
void outband_controls_start(struct outband_controls *controls,
			    struct outband_store *store);

/* Takes over the connection. */
void outband_controls_connected(struct outband_controls *controls,
				struct master_service_connection *conn);
/* Closes all connections. */
void outband_controls_disconnect(struct outband_controls *controls);

#endif
