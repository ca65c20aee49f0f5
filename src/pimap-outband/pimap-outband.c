/* SPDX-License-Identifier: LGPL-2.1-only */
/* The service pimap-outband: takes hints, has workers look, keeps what they find
   and sends it.

   There is one process, of Dovecot's internal user. It makes its directory while it
   is still root. After a reload an old process may still live: only the holder of
   the spool lock reads or writes the store. Until then hints are kept. */

#include "lib.h"
#include "ioloop.h"
#include "file-lock.h"
#include "hex-binary.h"
#include "sha1.h"
#include "restrict-access.h"
#include "master-service.h"
#include "master-service-settings.h"
#include "pimap-control.h"
#include "pimap-idle.h"
#include "pimap-keys.h"
#include "pimap-locks.h"
#include "pimap-look.h"
#include "pimap-settings.h"
#include "outband-control.h"
#include "outband-hint.h"
#include "outband-idle.h"
#include "outband-judge.h"
#include "outband-key-clients.h"
#include "outband-keys.h"
#include "outband-looks.h"
#include "outband-report.h"
#include "outband-report-http.h"
#include "outband-sender.h"
#include "outband-sql.h"

#include <fcntl.h>
#include <unistd.h>
#include <sys/stat.h>

#define OUTBAND_DIR PIMAP_LOCKS_DIR
#define OUTBAND_DB "outband.sqlite"
#define OUTBAND_LOCK_RETRY_MSECS 200
#define OUTBAND_STORE_RETRY_MSECS (10*1000)

struct outband_service {
	pool_t pool;
	const struct pimap_settings *set;
	struct event *event;
	/* the directory that it has for itself, and files there */
	const char *dir, *rules, *db_path, *lock_path, *locks_path;
	/* where the store is: db_path, or not in a file */
	const char *db;

	int lock_fd;
	struct file_lock *lock;
	struct timeout *to_start, *to_take_over;
	bool waiting_logged, error_logged;

	struct outband_store *store;
	struct outband_judge *judge;
	struct outband_hints *hints;
	struct outband_keys *keys;
	struct outband_looks *looks;
	struct outband_reports *reports;
	struct outband_report_server *report_server;
	struct outband_sender *sender;
	struct outband_idles *idles;
	struct outband_controls *controls;
	struct outband_key_clients *key_clients;
};

static struct outband_service service;

static void outband_start(struct outband_service *s);

static void outband_start_later(struct outband_service *s, unsigned int msecs)
{
	timeout_remove(&s->to_start);
	s->to_start = timeout_add(msecs, outband_start, s);
}

static void outband_start_failed(struct outband_service *s, const char *error)
{
	if (!s->error_logged)
		e_error(s->event, "%s (it is tried again)", error);
	s->error_logged = TRUE;
	outband_start_later(s, OUTBAND_STORE_RETRY_MSECS);
}

/* Returns 1 if the lock is ours, 0 if it is another's, -1 and error_r. */
static int outband_lock(struct outband_service *s, const char **error_r)
{
	struct file_lock_settings lock_set;

	if (s->lock != NULL)
		return 1;
	if (s->lock_fd == -1) {
		s->lock_fd = open(s->lock_path, O_RDWR | O_CREAT | O_CLOEXEC,
				  0600);
		if (s->lock_fd == -1) {
			*error_r = t_strdup_printf("open(%s) failed: %m",
						   s->lock_path);
			return -1;
		}
	}
	i_zero(&lock_set);
	lock_set.lock_method = FILE_LOCK_METHOD_FCNTL;
	return file_try_lock(s->lock_fd, s->lock_path, F_WRLCK, &lock_set,
			     &s->lock, error_r);
}

/* A database that isn't a file may be that of services on other hosts, too. */
static void outband_take_over(struct outband_service *s)
{
	outband_sender_take_over(s->sender, ioloop_time -
		(time_t)s->set->pimap_outband_scan_interval);
}

static void outband_start(struct outband_service *s)
{
	const char *error;
	int ret;

	ret = outband_lock(s, &error);
	if (ret == 0) {
		if (!s->waiting_logged)
			e_debug(s->event, "Waiting for %s", s->lock_path);
		s->waiting_logged = TRUE;
		outband_start_later(s, OUTBAND_LOCK_RETRY_MSECS);
		return;
	}
	if (ret < 0 ||
	    (s->store == NULL &&
	     outband_store_open(s->event, s->db, &s->store, &error) < 0) ||
	    outband_store_rules_set(s->store, s->rules, &error) < 0 ||
	    outband_keys_open(s->keys, s->db, &error) < 0 ||
	    outband_reports_start(s->reports, s->db, &error) < 0 ||
	    outband_sender_start(s->sender, s->store, &error) < 0 ||
	    outband_idles_start(s->idles, s->store, &error) < 0) {
		outband_start_failed(s, error);
		return;
	}
	timeout_remove(&s->to_start);
	outband_judge_start(s->judge, s->store);
	outband_looks_start(s->looks, s->store);
	outband_controls_start(s->controls, s->store);
	if (!outband_sql_is_file(s->db) &&
	    s->set->pimap_outband_scan_interval > 0) {
		s->to_take_over = timeout_add(
			s->set->pimap_outband_scan_interval * 1000,
			outband_take_over, s);
	}
}

/* The process may still be root, and what it makes here is the user's that it is to
   become. Everybody may go into the directory, where the file of locks is; the other
   files are only the service's. */
static void outband_dir_init(const char *dir)
{
	struct restrict_access_settings access;
	mode_t old_mask = umask(0);
	struct stat st;

	restrict_access_get_env(&access);
	if (mkdir(dir, 0711) == 0) {
		if (geteuid() == 0 && lchown(dir, access.uid, access.gid) < 0)
			i_fatal("lchown(%s) failed: %m", dir);
	} else if (errno != EEXIST) {
		i_fatal("mkdir(%s) failed: %m", dir);
	} else if (stat(dir, &st) == 0 && (st.st_mode & 0011) != 0011 &&
		   chmod(dir, (st.st_mode & 07777) | 0011) < 0) {
		i_warning("chmod(%s) failed: %m", dir);
	}
	(void)umask(old_mask);
}

/* The database's directory is the service's own: SQLite makes more files beside the
   one. */
static void
outband_paths_init(struct outband_service *s, const char *state_dir)
{
	const char *dir = t_strconcat(state_dir, "/"OUTBAND_DIR, NULL);

	outband_dir_init(dir);
	s->locks_path = p_strconcat(s->pool, dir, "/"PIMAP_LOCKS_FILE, NULL);
	if (s->set->pimap_outband_db[0] != '\0' &&
	    outband_sql_is_file(s->set->pimap_outband_db)) {
		s->db_path = s->set->pimap_outband_db;
		dir = strrchr(s->db_path, '/');
		s->dir = dir == NULL ? "." :
			p_strdup_until(s->pool, s->db_path, dir);
	} else {
		s->dir = p_strdup(s->pool, dir);
		s->db_path = p_strconcat(s->pool, dir, "/"OUTBAND_DB, NULL);
	}
	s->lock_path = p_strconcat(s->pool, s->db_path, ".lock", NULL);
	s->db = s->set->pimap_outband_db[0] != '\0' ?
		s->set->pimap_outband_db : s->db_path;
}

static void
outband_hinted(const char *user, const char *guid, const char *note, void *context)
{
	struct outband_service *s = context;

	if (note != NULL)
		outband_looks_note(s->looks, user, guid, note);
	outband_looks_mark(s->looks, user, guid,
			   *guid == '\0' ? "profile" : "hint");
}

static void outband_found(const char *user, const char *device, void *context)
{
	struct outband_service *s = context;

	outband_idles_found(s->idles, user, device);
	outband_sender_wake(s->sender, user, device);
}

static time_t
outband_hold(const char *user, const char *device, const char *guid,
	     void *context)
{
	struct outband_service *s = context;

	return outband_idles_get_hold(s->idles, user, device, guid);
}

static void client_connected(struct master_service_connection *conn)
{
	master_service_client_connection_accept(conn);
	if (strcmp(conn->name, PIMAP_CONTROL_SOCKET) == 0)
		outband_controls_connected(service.controls, conn);
	else if (strcmp(conn->name, PIMAP_KEYS_SOCKET) == 0)
		outband_key_clients_connected(service.key_clients, conn);
	else if (strcmp(conn->name, PIMAP_IDLE_SOCKET) == 0)
		outband_idles_connected(service.idles, conn);
	else if (strcmp(conn->name, OUTBAND_REPORT_LISTENER) == 0)
		outband_report_server_connected(service.report_server, conn);
	else
		outband_hints_connected(service.hints, conn);
}

/* The master goes, or has another process by now: what is left is in the store. */
static void outband_die(void)
{
	outband_hints_disconnect(service.hints);
	outband_controls_disconnect(service.controls);
	outband_key_clients_disconnect(service.key_clients);
	outband_idles_disconnect(service.idles);
	outband_report_server_disconnect(service.report_server);
	master_service_stop(master_service);
}

static void outband_init(struct outband_service *s, const char *state_dir)
{
	const char *error;

	outband_paths_init(s, state_dir);

	restrict_access_by_env(0, NULL);
	restrict_access_allow_coredumps(TRUE);
	(void)umask(0077);

	s->event = event_create(NULL);
	s->lock_fd = -1;
	s->judge = outband_judge_init(s->event, PIMAP_WORKER_SOCKET);
	s->keys = outband_keys_init(s->event, s->dir, s->locks_path);
	s->reports = outband_reports_init(s->event);
	s->report_server = outband_report_server_init(s->event, s->reports);
	if (outband_sender_init(s->event, s->set, s->dir, s->judge, s->keys,
				s->reports, &s->sender, &error) < 0)
		i_fatal("%s", error);
	s->looks = outband_looks_init(s->event, PIMAP_WORKER_SOCKET, s->judge,
				      s->set->pimap_outband_scan_interval,
				      outband_found, outband_hold, s);
	s->idles = outband_idles_init(s->event, PIMAP_WORKER_SOCKET, s->set,
				      s->sender);
	s->hints = outband_hints_init(s->event, s->judge, outband_hinted, s);
	/* devices that are removed keep theirs */
	s->key_clients = outband_key_clients_init(s->event,
		PIMAP_WORKER_SOCKET, s->keys, s->set->pimap_max_devices * 4);
	s->controls = outband_controls_init(s->event, s->looks, s->sender,
					    s->keys, s->idles);
}

static void outband_deinit(struct outband_service *s)
{
	timeout_remove(&s->to_start);
	timeout_remove(&s->to_take_over);
	outband_hints_deinit(&s->hints);
	outband_controls_deinit(&s->controls);
	outband_key_clients_deinit(&s->key_clients);
	outband_looks_deinit(&s->looks);
	outband_idles_deinit(&s->idles);
	outband_report_server_deinit(&s->report_server);
	outband_sender_deinit(&s->sender);
	outband_reports_deinit(&s->reports);
	outband_judge_deinit(&s->judge);
	outband_keys_deinit(&s->keys);
	if (s->store != NULL)
		outband_store_close(&s->store);
	if (s->lock != NULL)
		file_lock_free(&s->lock);
	i_close_fd(&s->lock_fd);
	event_unref(&s->event);
	pool_unref(&s->pool);
}

/* They may be long. */
static const char *outband_rules_hash(pool_t pool, const char *rules)
{
	unsigned char digest[SHA1_RESULTLEN];

	sha1_get_digest(rules, strlen(rules), digest);
	return p_strdup(pool, binary_to_hex(digest, sizeof(digest)));
}

int main(int argc, char *argv[])
{
	const char *state_dir, *rules, *error;

	master_service = master_service_init("pimap-outband",
		MASTER_SERVICE_FLAG_NO_IDLE_DIE, &argc, &argv, "");
	if (master_getopt(master_service) > 0)
		return FATAL_DEFAULT;

	service.pool = pool_alloconly_create("pimap-outband", 1024);
	if (pimap_settings_get_service(service.pool, &service.set, &state_dir,
				       &error) < 0 ||
	    pimap_settings_get_service_rules(service.pool, service.set,
					     &rules, &error) < 0)
		i_fatal("Error reading configuration: %s", error);
	service.rules = outband_rules_hash(service.pool, rules);
	master_service_init_log(master_service);
	/* also while somebody is connected: the next process waits for the lock */
	master_service_set_die_with_master(master_service, TRUE);
	master_service_set_die_callback(master_service, outband_die);

	outband_init(&service, state_dir);
	master_service_init_finish(master_service);
	outband_start(&service);

	master_service_run(master_service, client_connected);

	outband_deinit(&service);
	master_service_deinit(&master_service);
	return 0;
}
