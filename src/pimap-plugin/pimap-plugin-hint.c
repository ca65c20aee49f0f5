/* SPDX-License-Identifier: LGPL-2.1-only */
/* In every process that saves mail: a hint for the service pimap-outband when
   something has come into a folder of a user whose devices have channels. Most
   have none, or no profile at all: that costs them one stat(). Whether the folder
   notifies a device, and of what, is found out by others (pimap-look.h). */

#include "lib.h"
#include "read-full.h"
#include "mail-namespace.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "pimap-hint.h"
#include "pimap-profile-peek.h"
#include "pimap-settings.h"
#include "pimap-plugin.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define HINT_CONTEXT_REQUIRE(obj) \
	MODULE_CONTEXT_REQUIRE(obj, pimap_plugin_hint_module)

static MODULE_CONTEXT_DEFINE_INIT(pimap_plugin_hint_module,
				  &mail_storage_module_register);

static bool hint_read_profile(const char *path)
{
	unsigned char data[PIMAP_PROFILE_PEEK_SIZE];
	ssize_t ret;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return errno != ENOENT;
	ret = read(fd, data, sizeof(data));
	i_close_fd(&fd);
	/* an empty file is no profile yet */
	return ret < 0 || (ret > 0 && pimap_profile_peek_channels(data, ret));
}

/* In doubt it does: a hint does no harm. */
static bool hint_user_has_channels(struct mail_user *user)
{
	struct mail_namespace *ns;
	const char *path, *error;

	/* where there is no place for a profile there is no device either */
	return pimap_settings_get_profile_path(user, &path, &ns, &error) == 0 &&
		hint_read_profile(path);
}

static int
hint_transaction_commit(struct mailbox_transaction_context *t,
			struct mail_transaction_commit_changes *changes_r)
{
	struct mailbox *box = t->box;
	union mailbox_module_context *mctx = HINT_CONTEXT_REQUIRE(box);
	const bool saved = t->save_count > 0;

	if (mctx->super.transaction_commit(t, changes_r) < 0)
		return -1;
	if (saved) T_BEGIN {
		if (hint_user_has_channels(box->storage->user))
			pimap_hint_send_folder(box);
	} T_END;
	return 0;
}

void pimap_plugin_hint_mailbox_allocated(struct mailbox *box)
{
	struct mailbox_vfuncs *v = box->vlast;
	union mailbox_module_context *mctx;

	/* the folders that a virtual one consists of are opened themselves */
	if (mailbox_get_namespace(box)->type != MAIL_NAMESPACE_TYPE_PRIVATE ||
	    box->virtual_vfuncs != NULL ||
	    pimap_plugin_is_off(box->storage->user))
		return;
	mctx = p_new(box->pool, union mailbox_module_context, 1);
	mctx->super = *v;
	box->vlast = &mctx->super;
	v->transaction_commit = hint_transaction_commit;
	MODULE_CONTEXT_SET_SELF(box, pimap_plugin_hint_module, mctx);
}
