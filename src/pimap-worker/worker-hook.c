/* SPDX-License-Identifier: LGPL-2.1-only */
/* A worker only looks: it opens no folder whose CREATE is under way, which would finish
   it. Dovecot itself opens new folders where its index of the list is made newer, with
   that index locked. */

#include "lib.h"
#include "mail-storage-private.h"
#include "mail-storage-hooks.h"
#include "pimap-notify.h"
#include "pimap-worker.h"

static MODULE_CONTEXT_DEFINE_INIT(worker_storage_module,
				  &mail_storage_module_register);

/* A folder that isn't there is one that may not be read, never one that isn't found:
   Dovecot then makes INBOX and each folder with autocreate, and does so with the index
   of the list locked, for which another process that is just making it waits with what
   is waited for here. */
static int worker_mailbox_open(struct mailbox *box)
{
	union mailbox_module_context *wbox =
		MODULE_CONTEXT_REQUIRE(box, worker_storage_module);
	enum mail_error error;

	if (pimap_notify_is_made(box)) {
		if (wbox->super.open(box) == 0)
			return 0;
		(void)mailbox_get_last_error(box, &error);
		if (error != MAIL_ERROR_NOTFOUND)
			return -1;
	}
	mail_storage_set_error(box->storage, MAIL_ERROR_PERM,
			       "The folder isn't there");
	return -1;
}

static void worker_mailbox_allocated(struct mailbox *box)
{
	struct mailbox_vfuncs *v = box->vlast;
	union mailbox_module_context *wbox;

	wbox = p_new(box->pool, union mailbox_module_context, 1);
	wbox->super = *v;
	box->vlast = &wbox->super;
	v->open = worker_mailbox_open;
	MODULE_CONTEXT_SET_SELF(box, worker_storage_module, wbox);
}

static struct mail_storage_hooks worker_hooks = {
	.mailbox_allocated = worker_mailbox_allocated
};

void worker_hook_init(void)
{
	mail_storage_hooks_add_internal(&worker_hooks);
}

void worker_hook_deinit(void)
{
	mail_storage_hooks_remove_internal(&worker_hooks);
}
