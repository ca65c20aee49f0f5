/* SPDX-License-Identifier: LGPL-2.1-only */
/* A client waits for changes of a mailbox (IDLE): what its view shows changes by
   time, too. */

#include "lib.h"
#include "ioloop.h"
#include "pimap-view-private.h"

/* When the clock is set forward Dovecot moves all timers by as much: so none
   runs for longer than this. */
#define EXPIRY_TIMEOUT_MAX_SECS 3600

static void expiry_timeout(struct mailbox *box)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);

	timeout_remove(&view->to_expires);
	if (pimap_view_match_is_expired(view)) {
		/* it syncs the mailbox; the client may be gone afterwards */
		box->notify_callback(box, box->notify_context);
	} else {
		pimap_view_update_timer(box, view);
	}
}

void pimap_view_update_timer(struct mailbox *box, struct pimap_view *view)
{
	struct timeval tv = { .tv_sec = view->criteria.expires };

	timeout_remove(&view->to_expires);
	if (box->notify_callback == NULL || view->criteria.expires == 0)
		return;
	/* a mailbox that couldn't be synced isn't tried all the time */
	tv.tv_sec = I_MAX(tv.tv_sec, ioloop_time + 1);
	tv.tv_sec = I_MIN(tv.tv_sec, ioloop_time + EXPIRY_TIMEOUT_MAX_SECS);
	view->to_expires = timeout_add_absolute(&tv, expiry_timeout, box);
}

void pimap_view_notify_changes(struct mailbox *box)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT_REQUIRE(box);

	view->module_ctx.super.notify_changes(box);
	pimap_view_update_timer(box, view);
}

bool pimap_view_expires(struct mailbox *box)
{
	struct pimap_view *view = PIMAP_VIEW_CONTEXT(box);

	return view != NULL && view->criteria.expires != 0;
}
