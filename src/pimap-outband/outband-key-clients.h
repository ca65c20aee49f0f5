/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_KEY_CLIENTS_H
#define OUTBAND_KEY_CLIENTS_H

struct event;
struct master_service_connection;
struct outband_key_clients;
struct outband_keys;

/* The connections of sessions that want their device's key (pimap-keys.h). Whether
   they may have it, workers tell. */

/* A user has at most so many keys. */
struct outband_key_clients *
outband_key_clients_init(struct event *event_parent, const char *worker_path,
			 struct outband_keys *keys, unsigned int max_keys);
void outband_key_clients_deinit(struct outband_key_clients **clients);
/* Takes over the connection. */
void outband_key_clients_connected(struct outband_key_clients *clients,
				   struct master_service_connection *conn);
/* Closes all connections. */
void outband_key_clients_disconnect(struct outband_key_clients *clients);

#endif
