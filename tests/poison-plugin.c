/* SPDX-License-Identifier: LGPL-2.1-only */
/* A mail plugin of the tests: pimap-worker dies as soon as it opens a message with a
   field X-Poison. */

#include "config.h"
#include "lib.h"
#include "istream.h"
#include "module-context.h"
#include "mail-storage-private.h"

#include <stdlib.h>

const char *poison_plugin_version = DOVECOT_ABI_VERSION;

static MODULE_CONTEXT_DEFINE_INIT(poison_mail_module, &mail_module_register);

static int
poison_get_stream(struct mail *_mail, bool get_body,
		  struct message_size *hdr_size,
		  struct message_size *body_size, struct istream **stream_r)
{
	struct mail_private *mail = (struct mail_private *)_mail;
	union mail_module_context *pmail =
		MODULE_CONTEXT_REQUIRE(mail, poison_mail_module);
	const unsigned char *data;
	size_t size;

	if (pmail->super.get_stream(_mail, get_body, hdr_size, body_size,
				    stream_r) < 0)
		return -1;
	i_stream_seek(*stream_r, 0);
	(void)i_stream_read_more(*stream_r, &data, &size);
	T_BEGIN {
		if (strstr(t_strndup(data, size), "X-Poison:") != NULL)
			abort();
	} T_END;
	i_stream_seek(*stream_r, 0);
	return 0;
}

static void poison_mail_allocated(struct mail *_mail)
{
	struct mail_private *mail = (struct mail_private *)_mail;
	struct mail_vfuncs *v = mail->vlast;
	union mail_module_context *pmail;

	if (strcmp(_mail->box->storage->user->service, "pimap-worker") != 0)
		return;
	pmail = p_new(mail->pool, union mail_module_context, 1);
	pmail->super = *v;
	mail->vlast = &pmail->super;
	v->get_stream = poison_get_stream;
	MODULE_CONTEXT_SET_SELF(mail, poison_mail_module, pmail);
}

static struct mail_storage_hooks poison_hooks = {
	.mail_allocated = poison_mail_allocated
};

void poison_plugin_init(struct module *module);
void poison_plugin_deinit(void);

void poison_plugin_init(struct module *module)
{
	mail_storage_hooks_add(module, &poison_hooks);
}

void poison_plugin_deinit(void)
{
	mail_storage_hooks_remove(&poison_hooks);
}
