/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_IDLE_H
#define OUTBAND_IDLE_H

struct event;
struct master_service_connection;
struct outband_sender;
struct outband_store;
struct pimap_settings;

/* The grace of: what happens in a folder where the device's session is in IDLE is
   held, and forgotten if that has told the client and the client has read it; else it is
   sent. A notification by UDP, which is repeated, ends likewise. The sessions
   are connected (pimap-idle.h). */

struct outband_idles;

/* The settings and the sender live longer. */
struct outband_idles *
outband_idles_init(struct event *event_parent, const char *worker_path,
		   const struct pimap_settings *set,
		   struct outband_sender *sender);
void outband_idles_deinit(struct outband_idles **idles);
/* Goes on with what is held. Returns 0, or -1 and error_r: then it may be called
   again. */
int outband_idles_start(struct outband_idles *idles, struct outband_store *store,
			const char **error_r);

/* Takes over the connection. */
void outband_idles_connected(struct outband_idles *idles,
			     struct master_service_connection *conn);
/* Closes all connections, for another process that takes over. */
void outband_idles_disconnect(struct outband_idles *idles);

/* Returns until when an event in that folder is held, 0 = not at all. */
time_t outband_idles_get_hold(struct outband_idles *idles, const char *user,
			      const char *device, const char *guid);
/* Something of the device has been queued. */
void outband_idles_found(struct outband_idles *idles, const char *user,
			 const char *device);

struct outband_idles_status {
	/* sessions that are in IDLE, so far as it matters here */
	unsigned int sessions;
	/* since the service began: what was read, and what wasn't in time */
	uint64_t read, unread;
};
void outband_idles_get_status(struct outband_idles *idles,
			      struct outband_idles_status *status_r);

#endif
