/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef IMAP_PIMAP_RESYNC_H
#define IMAP_PIMAP_RESYNC_H

struct client;

/* To be called after each command: takes note of a folder newly selected. */
void imap_pimap_resync_selected(struct client *client);
/* To be called when the selected folder has been synced, where EXPUNGE is
   allowed. If its view can't show what another SELECT would, `* RESYNC` is sent,
   once until that SELECT (R-1.4c, R-1.7); a device in mode view gets `* BYE` at
   an idle moment later on, if pimap_view_late says so. */
void imap_pimap_resync_synced(struct client *client);

#endif
