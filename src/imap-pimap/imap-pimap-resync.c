/* SPDX-License-Identifier: LGPL-2.1-only */
/* What a view can't show before the next SELECT - messages that began to match
   too late, another filter: a device in mode session is told so by RESYNC. An
   ordinary mail program doesn't know that; it may be made to connect anew. */

#include "imap-common.h"
#include "ioloop.h"
#include "istream.h"
#include "imap-commands.h"
#include "imap-sync-private.h"
#include "mail-storage-private.h"
#include "pimap-user.h"
#include "pimap-scope.h"
#include "pimap-view.h"
#include "imap-pimap-plugin.h"
#include "imap-pimap-resync.h"

/* A program that is sent away all the time shows nothing at all: it has a folder
   for at least so long, */
#define BYE_MIN_SELECTED_SECS 60
/* and isn't sent away in the middle of what it is about to do. */
#define BYE_IDLE_MSECS 1000

/* Returns TRUE, and the device's mode, if the view can't show what another SELECT
   would. A profile that can't be read is logged where it is used. */
static bool
imap_pimap_is_outdated(struct client *client, enum pimap_device_mode *mode_r)
{
	struct pimap_user *puser = pimap_user_get(client->user);
	const struct pimap_device *device;
	struct pimap_view_filter filter;
	const char *error;

	if (pimap_scope_get_view_filter(client->mailbox, &filter) < 0 ||
	    !pimap_view_is_outdated(client->mailbox, filter.criteria) ||
	    pimap_user_get_device(puser, &device, &error) < 0)
		return FALSE;
	*mode_r = device == NULL ? puser->defaults.mode : device->mode;
	return TRUE;
}

/* Nothing is under way, but for IDLE */
static bool client_is_idle(struct client *client)
{
	const struct client_command_context *cmd = client->command_queue;

	return client->output_cmd_lock == NULL &&
		i_stream_get_data_size(client->input) == 0 &&
		(cmd == NULL ||
		 (cmd->next == NULL && cmd->name != NULL &&
		  strcasecmp(cmd->name, "IDLE") == 0 &&
		  cmd->state == CLIENT_COMMAND_STATE_WAIT_INPUT));
}

static void bye_timeout(struct client *client)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);
	enum pimap_device_mode mode;
	bool outdated = FALSE;

	timeout_remove(&pclient->to_bye);
	if (client->mailbox != NULL) T_BEGIN {
		outdated = imap_pimap_is_outdated(client, &mode) &&
			mode == PIMAP_DEVICE_MODE_VIEW;
	} T_END;
	if (!outdated)
		return;
	if (!client_is_idle(client)) {
		pclient->to_bye = timeout_add(BYE_IDLE_MSECS, bye_timeout,
					      client);
		return;
	}
	client_send_line(client, "* BYE The folder shows other messages now, "
			 "connect again to see them.");
	client_destroy(client, "The device's view has changed");
}

static void imap_pimap_bye_later(struct client *client)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);
	time_t selected_secs = ioloop_time - pclient->selected_time;

	timeout_remove(&pclient->to_bye);
	pclient->to_bye = selected_secs < BYE_MIN_SELECTED_SECS ?
		timeout_add((BYE_MIN_SELECTED_SECS - I_MAX(selected_secs, 0)) *
			    1000, bye_timeout, client) :
		timeout_add(BYE_IDLE_MSECS, bye_timeout, client);
}

void imap_pimap_resync_selected(struct client *client)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);

	if (client->mailbox == NULL ||
	    client->mailbox->generation_sequence ==
		pclient->selected_generation)
		return;
	pclient->selected_generation = client->mailbox->generation_sequence;
	pclient->selected_time = ioloop_time;
	pclient->resync_sent = FALSE;
	timeout_remove(&pclient->to_bye);
}

void imap_pimap_resync_synced(struct client *client)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);
	const struct pimap_user *puser = pimap_user_get(client->user);
	enum pimap_device_mode mode;

	imap_pimap_resync_selected(client);
	if (pclient->resync_sent || !imap_pimap_is_outdated(client, &mode))
		return;
	if (mode == PIMAP_DEVICE_MODE_SESSION) {
		client_send_line(client, "* RESYNC");
		pclient->resync_sent = TRUE;
	} else if (strcmp(puser->set->pimap_view_late, "bye") == 0) {
		imap_pimap_bye_later(client);
	}
}
