/* SPDX-License-Identifier: LGPL-2.1-only */
/* auth refuses a locked device's login. This is for sessions that are open already,
   and for users whom their userdb has given another name than auth knew. */

#include "imap-common.h"
#include "ioloop.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "pimap-compat.h"
#include "pimap-locks.h"
#include "pimap-user.h"
#include "imap-pimap-plugin.h"
#include "imap-pimap-lock.h"

#define LOCK_CHECK_MSECS (5*1000)
/* In the middle of an answer BYE would be a part of that. */
#define LOCK_BYE_RETRY_MSECS 200
#define LOCK_BYE_RETRIES 25

static struct pimap_locks *imap_pimap_locks = NULL;

int imap_pimap_lock_check(struct pimap_user *puser, const char **error_r)
{
	if (imap_pimap_locks == NULL) {
		imap_pimap_locks = pimap_locks_init(
			pimap_master_service_get_settings(
				master_service)->state_dir);
	}
	return pimap_locks_check(imap_pimap_locks, puser->user->username,
				 puser->device, error_r);
}

static void lock_bye(struct client *client)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);

	timeout_remove(&pclient->to_lock);
	if (client->output_cmd_lock != NULL &&
	    pclient->lock_tries++ < LOCK_BYE_RETRIES) {
		pclient->to_lock = timeout_add_short(LOCK_BYE_RETRY_MSECS,
						     lock_bye, client);
		return;
	}
	if (client->output_cmd_lock == NULL)
		client_send_line(client, "* BYE This device is locked.");
	client_destroy(client, "The device is locked");
}

static void lock_check(struct client *client)
{
	struct pimap_user *puser = pimap_user_get(client->user);
	const char *error;
	int ret;

	T_BEGIN {
		ret = imap_pimap_lock_check(puser, &error);
		if (ret < 0)
			pimap_user_log_error(puser, error);
	} T_END;
	if (ret > 0)
		lock_bye(client);
}

void imap_pimap_lock_init(struct client *client)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);

	pclient->to_lock = timeout_add(LOCK_CHECK_MSECS, lock_check, client);
}

void imap_pimap_lock_deinit(struct client *client)
{
	struct imap_pimap_client *pclient = IMAP_PIMAP_CONTEXT_REQUIRE(client);

	timeout_remove(&pclient->to_lock);
}

void imap_pimap_locks_deinit(void)
{
	pimap_locks_deinit(&imap_pimap_locks);
}
