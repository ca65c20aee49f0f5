/* SPDX-License-Identifier: LGPL-2.1-only */
/* The macros ALL, FAST and FULL among the items in FETCH's parentheses: the
   draft has FETCH 501 (ALL BODY[]) (4.1, R-1.9). To Dovecot they are items like
   any other, whose handlers stand for those of several: so what else the command
   has, its modifiers for one, is Dovecot's as always. */

#include "imap-common.h"
#include "imap-fetch.h"
#include "pimap-user.h"
#include "imap-pimap-fetch.h"

static const char *const fetch_all_items[] = {
	"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", NULL
};
static const char *const fetch_fast_items[] = {
	"FLAGS", "INTERNALDATE", "RFC822.SIZE", NULL
};
static const char *const fetch_full_items[] = {
	"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY", NULL
};

static bool
fetch_macro_init(struct imap_fetch_init_context *ctx, const char *macro,
		 const char *const *items)
{
	struct pimap_user *puser = pimap_user_get(ctx->fetch_ctx->client->user);
	const char *name = ctx->name;
	bool ret = TRUE;

	if (puser == NULL || puser->device == NULL ||
	    strcmp(name, macro) != 0) {
		/* as without us */
		ctx->error = t_strdup_printf("Unknown parameter: %s", name);
		return FALSE;
	}
	for (; *items != NULL && ret; items++) {
		ctx->name = *items;
		ret = imap_fetch_init_handler(ctx);
	}
	ctx->name = name;
	return ret;
}

static bool fetch_all_init(struct imap_fetch_init_context *ctx)
{
	return fetch_macro_init(ctx, "ALL", fetch_all_items);
}

static bool fetch_fast_init(struct imap_fetch_init_context *ctx)
{
	return fetch_macro_init(ctx, "FAST", fetch_fast_items);
}

static bool fetch_full_init(struct imap_fetch_init_context *ctx)
{
	return fetch_macro_init(ctx, "FULL", fetch_full_items);
}

static const struct imap_fetch_handler fetch_macros[] = {
	{ "ALL", fetch_all_init },
	{ "FAST", fetch_fast_init },
	{ "FULL", fetch_full_init },
};

void imap_pimap_fetch_init(void)
{
	imap_fetch_handlers_register(fetch_macros, N_ELEMENTS(fetch_macros));
}

void imap_pimap_fetch_deinit(void)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(fetch_macros); i++)
		imap_fetch_handler_unregister(fetch_macros[i].name);
}
