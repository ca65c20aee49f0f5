/* SPDX-License-Identifier: LGPL-2.1-only */
/* In every process that opens mail: a hint for the service pimap-outband when
   something has come into a folder of a user whose devices have channels, or has
   changed or gone and a device wants to know that too. Most have no channel, or no
   profile at all: that costs them one open(). Whether the folder notifies a
   device, and of what, is found out by others (pimap-look.h). */

#include "lib.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "pimap-hint.h"
#include "pimap-profile-peek.h"
#include "pimap-settings.h"
#include "pimap-plugin.h"

#include <fcntl.h>
#include <unistd.h>

#define HINT_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, pimap_plugin_hint_module)

#define HINT_CHANGES \
	(MAIL_INDEX_TRANSACTION_CHANGE_FLAGS | \
	 MAIL_INDEX_TRANSACTION_CHANGE_KEYWORDS)

struct hint_mailbox {
	union mailbox_module_context module_ctx;
	/* in the sync that is under way */
	bool expunged;
};

static MODULE_CONTEXT_DEFINE_INIT(pimap_plugin_hint_module,
				  &mail_storage_module_register);

static enum pimap_profile_peek hint_read_profile(const char *path)
{
	unsigned char data[PIMAP_PROFILE_PEEK_SIZE];
	ssize_t ret;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1) {
		return errno == ENOENT ? PIMAP_PROFILE_PEEK_NONE :
			PIMAP_PROFILE_PEEK_ALL;
	}
	ret = read(fd, data, sizeof(data));
	i_close_fd(&fd);
	/* an empty file is no profile yet */
	if (ret <= 0) {
		return ret == 0 ? PIMAP_PROFILE_PEEK_NONE :
			PIMAP_PROFILE_PEEK_ALL;
	}
	return pimap_profile_peek(data, ret);
}

/* In doubt it does: a hint does no harm. */
static bool hint_is_wanted(struct mail_user *user, bool saved)
{
	struct mail_namespace *ns;
	const char *path, *error;

	/* where there is no place for a profile there is no device either */
	if (pimap_settings_get_profile_path(user, &path, &ns, &error) < 0)
		return FALSE;
	switch (hint_read_profile(path)) {
	case PIMAP_PROFILE_PEEK_NONE:
		break;
	case PIMAP_PROFILE_PEEK_NEW:
		return saved;
	case PIMAP_PROFILE_PEEK_ALL:
		return TRUE;
	case PIMAP_PROFILE_PEEK_DEFAULT:
		return saved || pimap_settings_wants_all_events(user);
	}
	return FALSE;
}

static void hint_send(struct mailbox *box, bool saved)
{
	T_BEGIN {
		if (hint_is_wanted(box->storage->user, saved))
			pimap_hint_send_folder(box);
	} T_END;
}

static int
hint_transaction_commit(struct mailbox_transaction_context *t,
			struct mail_transaction_commit_changes *changes_r)
{
	struct mailbox *box = t->box;
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(box);
	const bool saved = t->save_count > 0;

	if (hbox->module_ctx.super.transaction_commit(t, changes_r) < 0)
		return -1;
	if (saved || (changes_r->changes_mask & HINT_CHANGES) != 0)
		hint_send(box, saved);
	return 0;
}

/* What a transaction expunges is there until somebody syncs. */
static void
hint_sync_notify(struct mailbox *box, uint32_t uid,
		 enum mailbox_sync_type sync_type)
{
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(box);

	if (sync_type == MAILBOX_SYNC_TYPE_EXPUNGE)
		hbox->expunged = TRUE;
	if (hbox->module_ctx.super.sync_notify != NULL)
		hbox->module_ctx.super.sync_notify(box, uid, sync_type);
}

static int
hint_sync_deinit(struct mailbox_sync_context *ctx,
		 struct mailbox_sync_status *status_r)
{
	struct mailbox *box = ctx->box;
	struct hint_mailbox *hbox = HINT_CONTEXT_REQUIRE(box);
	int ret;

	ret = hbox->module_ctx.super.sync_deinit(ctx, status_r);
	if (hbox->expunged) {
		hbox->expunged = FALSE;
		hint_send(box, FALSE);
	}
	return ret;
}

void pimap_plugin_hint_mailbox_allocated(struct mailbox *box)
{
	struct mailbox_vfuncs *v = box->vlast;
	struct hint_mailbox *hbox;

	/* the folders that a virtual one consists of are opened themselves */
	if (mailbox_get_namespace(box)->type != MAIL_NAMESPACE_TYPE_PRIVATE ||
	    box->virtual_vfuncs != NULL ||
	    pimap_plugin_is_off(box->storage->user))
		return;
	hbox = p_new(box->pool, struct hint_mailbox, 1);
	hbox->module_ctx.super = *v;
	box->vlast = &hbox->module_ctx.super;
	v->transaction_commit = hint_transaction_commit;
	v->sync_notify = hint_sync_notify;
	v->sync_deinit = hint_sync_deinit;
	MODULE_CONTEXT_SET(box, pimap_plugin_hint_module, hbox);
}
