/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_WORKER_H
#define PIMAP_WORKER_H

struct mail_storage_service_ctx;
struct mailbox;
struct master_service_connection;
struct pimap_user;

/* Returns FALSE if there is a connection already. */
bool worker_connection_create(struct master_service_connection *master,
			      struct mail_storage_service_ctx *storage_service);
void worker_connections_destroy(void);

/* Jobs (pimap-look.h). They return 1 and add to the answer's lines, but for the
   last one; 0: GONE; -1 and error_r: FAIL. */
int worker_folders(struct pimap_user *puser, string_t *answer,
		   const char **error_r);
/* states: a device, its state, the next device and so on, up to NULL */
int worker_look(struct pimap_user *puser, const guid_128_t guid,
		const char *const *states, string_t *answer,
		const char **error_r);
/* rows: four fields of each, up to NULL */
int worker_judge(struct pimap_user *puser, const guid_128_t guid,
		 const char *device, const char *const *rows, string_t *answer,
		 const char **error_r);
void worker_look_deinit(void);
/* LOOK at the list of folders */
int worker_list(struct pimap_user *puser, const char *const *states,
		string_t *answer, const char **error_r);
/* seen: what answers have told as SEEN, up to NULL */
void worker_scan(const char *const *seen, string_t *answer);

/* worker-hook.c */
void worker_hook_init(void);
void worker_hook_deinit(void);

/* Adds what is seen of an open folder, or of the profile at that path (NULL: there
   is none) and of another file (NULL: it isn't to be seen), to the answer. What
   comes from now on isn't in it. */
void worker_scan_add_folder(struct mailbox *box, string_t *answer);
void worker_scan_add_profile(const char *path, const char *inbox, string_t *answer);
/* Likewise of places, up to NULL. */
void worker_scan_add_places(const char *const *places, string_t *answer);

/* Adds a line, fields up to NULL. */
void worker_answer(string_t *answer, ...) ATTR_SENTINEL;

#endif
