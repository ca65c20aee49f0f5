/* SPDX-License-Identifier: LGPL-2.1-only */
/* pimap-worker: opens users' folders for pimap-outband, and finds what their devices
   must be told. */

#include "lib.h"
#include "guid.h"
#include "restrict-access.h"
#include "mail-storage-service.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "pimap-compat.h"
#include "pimap-criteria.h"
#include "pimap-look.h"
#include "pimap-worker.h"

static struct mail_storage_service_ctx *storage_service;

static void client_connected(struct master_service_connection *conn)
{
	master_service_client_connection_accept(conn);
	if (!worker_connection_create(conn, storage_service)) {
		i_error(PIMAP_WORKER_SOCKET" must be configured with "
			"client_limit=1");
		i_close_fd(&conn->fd);
		master_service_client_connection_destroyed(master_service);
	}
}

static void drop_privileges(void)
{
	struct restrict_access_settings set;
	const char *error;

	/* it opens the connection to config, which another user may not */
	if (pimap_master_service_settings_read(master_service, &error) < 0)
		i_fatal("%s", error);
	restrict_access_get_env(&set);
	/* root remains root between jobs: each one has another user */
	restrict_access_by_env(RESTRICT_ACCESS_FLAG_ALLOW_ROOT, NULL);
}

int main(int argc, char *argv[])
{
	const enum master_service_flags service_flags =
		PIMAP_MASTER_SERVICE_FLAG_KEEP_CONFIG_OPEN;
	enum mail_storage_service_flags storage_service_flags =
		MAIL_STORAGE_SERVICE_FLAG_USERDB_LOOKUP |
		MAIL_STORAGE_SERVICE_FLAG_TEMP_PRIV_DROP |
		MAIL_STORAGE_SERVICE_FLAG_NO_IDLE_TIMEOUT;
	int c;

	master_service = master_service_init(PIMAP_WORKER_SOCKET, service_flags,
					     &argc, &argv, "D");
	while ((c = master_getopt(master_service)) > 0) {
		switch (c) {
		case 'D':
			storage_service_flags |=
				MAIL_STORAGE_SERVICE_FLAG_ENABLE_CORE_DUMPS;
			break;
		default:
			return FATAL_DEFAULT;
		}
	}

	drop_privileges();
	master_service_init_log_with_pid(master_service);

	storage_service = pimap_storage_service_init(master_service,
						     storage_service_flags);
	restrict_access_allow_coredumps(TRUE);
	pimap_criteria_init();
	worker_hook_init();
	master_service_init_finish(master_service);

	master_service_run(master_service, client_connected);

	worker_connections_destroy();
	worker_look_deinit();
	worker_hook_deinit();
	pimap_criteria_deinit();
	mail_storage_service_deinit(&storage_service);
	master_service_deinit(&master_service);
	return 0;
}
