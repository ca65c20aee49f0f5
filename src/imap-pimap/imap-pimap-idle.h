/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef IMAP_PIMAP_IDLE_H
#define IMAP_PIMAP_IDLE_H

struct client;
struct client_command_context;
struct imap_sync_context;

/* What the client has surely read, for the service pimap-outband (pimap-idle.h). */

void imap_pimap_idle_init(struct client *client);
/* Closes the connection to the service. */
void imap_pimap_idle_deinit(struct client *client);

/* Before and after a command is executed, or goes on */
void imap_pimap_idle_cmd_pre(struct client_command_context *cmd);
void imap_pimap_idle_cmd_post(struct client_command_context *cmd);
/* Around a command's tagged reply */
void imap_pimap_idle_tagline_pre(struct client_command_context *cmd,
				 const char *data);
void imap_pimap_idle_tagline_post(struct client *client);
/* The client is told all of a sync. complete: also of what was expunged */
void imap_pimap_idle_synced(struct imap_sync_context *ctx, bool complete);

/* TRUE if the service waits to know what the client has read. */
bool imap_pimap_idle_is_awaited(struct client *client);
/* The session would have gone to sleep if it weren't. */
void imap_pimap_idle_kept_awake(struct client *client);

/* It comes from imap-hibernate. */
void imap_pimap_idle_woken(struct client *client);

/* Frees what the process keeps when there is no client. */
void imap_pimap_idles_deinit(void);

#endif
