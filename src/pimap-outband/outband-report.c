/* SPDX-License-Identifier: LGPL-2.1-only */
/* What comes waits for the next turn of the ioloop, or until the store is there: then it
   is one transaction. */

#include "lib.h"
#include "array.h"
#include "hex-binary.h"
#include "hmac.h"
#include "ioloop.h"
#include "sha2.h"
#include "outband-report.h"
#include "outband-report-parse.h"
#include "outband-store-report.h"

/* the only one that has them */
#define REPORT_CHANNEL "SMS"

struct report_added {
	char *token, *text;
	bool delivered;
	outband_report_callback_t *callback;
	void *context;
};

struct outband_reports {
	struct event *event;
	/* NULL: not yet */
	struct outband_store_reports *store;
	unsigned char secret[OUTBAND_STORE_REPORT_SECRET_SIZE];
	ARRAY(struct report_added) added;
	struct timeout *to;
	struct outband_reports_status status;
	bool store_failed;
};

struct outband_reports *outband_reports_init(struct event *event_parent)
{
	struct outband_reports *reports = i_new(struct outband_reports, 1);

	reports->event = event_create(event_parent);
	i_array_init(&reports->added, 8);
	return reports;
}

void outband_reports_deinit(struct outband_reports **_reports)
{
	struct outband_reports *reports = *_reports;

	*_reports = NULL;
	outband_reports_flush(reports);
	timeout_remove(&reports->to);
	if (reports->store != NULL)
		outband_store_reports_close(&reports->store);
	array_free(&reports->added);
	event_unref(&reports->event);
	i_free(reports);
}

static void
reports_get_mac(struct outband_reports *reports, int64_t id, int64_t seq,
		unsigned char mac_r[OUTBAND_REPORT_MAC_SIZE])
{
	const char *text = t_strdup_printf("%"PRId64".%"PRId64, id, seq);
	unsigned char digest[SHA256_RESULTLEN];
	struct hmac_context ctx;

	hmac_init(&ctx, reports->secret, sizeof(reports->secret),
		  &hash_method_sha256);
	hmac_update(&ctx, text, strlen(text));
	hmac_final(&ctx, digest);
	memcpy(mac_r, digest, OUTBAND_REPORT_MAC_SIZE);
}

const char *
outband_reports_get_token(struct outband_reports *reports, int64_t id,
			  int64_t seq)
{
	unsigned char mac[OUTBAND_REPORT_MAC_SIZE];

	i_assert(reports->store != NULL);
	reports_get_mac(reports, id, seq, mac);
	return t_strdup_printf("%"PRId64".%"PRId64".%s", id, seq,
			       binary_to_hex(mac, sizeof(mac)));
}

static bool
reports_check_token(struct outband_reports *reports, const char *text,
		    struct outband_report_token *token_r)
{
	unsigned char mac[OUTBAND_REPORT_MAC_SIZE];

	if (!outband_report_token_parse(text, token_r))
		return FALSE;
	reports_get_mac(reports, token_r->id, token_r->seq, mac);
	return mem_equals_timing_safe(mac, token_r->mac, sizeof(mac));
}

bool outband_reports_have_token(struct outband_reports *reports,
				const char *token)
{
	struct outband_report_token parsed;

	i_assert(reports->store != NULL);
	return reports_check_token(reports, token, &parsed);
}

static void
reports_event(struct outband_reports *reports,
	      const struct outband_store_report *report)
{
	struct event_passthrough *e =
		event_create_passthrough(reports->event)->
		set_name("pimap_notification_reported")->
		add_str("user", report->user)->
		add_str("device", report->device)->
		add_str("channel", REPORT_CHANNEL)->
		add_int("seq", report->seq)->
		add_str("result", report->step);

	if (!report->delivered)
		e->add_str("error", report->text);
	e_debug(e->event(), "%s#%s: Notification %"PRId64" (by %s): %s: %s",
		report->user, report->device, report->seq, REPORT_CHANNEL,
		report->step, report->text);
}

/* Returns FALSE if nothing was written. */
static bool
reports_write(struct outband_reports *reports,
	      ARRAY_TYPE(outband_store_report) *list)
{
	const struct outband_store_report *report;
	const char *error;

	if (array_count(list) == 0)
		return TRUE;
	if (outband_store_reports_add(reports->store, pool_datastack_create(),
				      list, &error) < 0) {
		/* one line until it can be */
		if (!reports->store_failed)
			e_error(reports->event, "%s", error);
		reports->store_failed = TRUE;
		return FALSE;
	}
	reports->store_failed = FALSE;
	array_foreach(list, report) {
		if (report->result != OUTBAND_STORE_REPORT_NEW)
			continue;
		if (report->delivered)
			reports->status.delivered++;
		else
			reports->status.failed++;
		reports_event(reports, report);
	}
	return TRUE;
}

static void
reports_answer(struct outband_reports *reports, const struct report_added *added,
	       const struct outband_store_report *report, bool written)
{
	enum outband_report_result result = OUTBAND_REPORT_TAKEN;

	if (report == NULL ||
	    (written && report->result == OUTBAND_STORE_REPORT_UNKNOWN)) {
		reports->status.refused++;
		result = OUTBAND_REPORT_UNKNOWN;
	} else if (!written)
		result = OUTBAND_REPORT_LATER;
	added->callback(result, added->context);
}

static void
reports_flush(struct outband_reports *reports, struct report_added *added,
	      unsigned int count)
{
	ARRAY_TYPE(outband_store_report) list;
	struct outband_store_report *report;
	struct outband_report_token token;
	/* of each, which one of the list it is */
	unsigned int *places = t_new(unsigned int, count + 1);
	unsigned int i;
	bool written;

	t_array_init(&list, count + 1);
	for (i = 0; i < count; i++) {
		places[i] = UINT_MAX;
		if (!reports_check_token(reports, added[i].token, &token))
			continue;
		places[i] = array_count(&list);
		report = array_append_space(&list);
		report->id = token.id;
		report->seq = token.seq;
		report->delivered = added[i].delivered;
		report->text = added[i].text;
	}
	written = reports_write(reports, &list);
	for (i = 0; i < count; i++) {
		reports_answer(reports, &added[i], places[i] == UINT_MAX ?
			       NULL : array_idx(&list, places[i]), written);
	}
}

void outband_reports_flush(struct outband_reports *reports)
{
	struct report_added *added;
	unsigned int i, count;

	timeout_remove(&reports->to);
	count = array_count(&reports->added);
	if (count == 0)
		return;
	/* callbacks may add some */
	added = i_new(struct report_added, count);
	memcpy(added, array_front(&reports->added), count * sizeof(*added));
	array_clear(&reports->added);
	if (reports->store != NULL) T_BEGIN {
		reports_flush(reports, added, count);
	} T_END; else {
		for (i = 0; i < count; i++) {
			added[i].callback(OUTBAND_REPORT_LATER,
					  added[i].context);
		}
	}
	for (i = 0; i < count; i++) {
		i_free(added[i].token);
		i_free(added[i].text);
	}
	i_free(added);
}

static void reports_flush_later(struct outband_reports *reports)
{
	if (reports->to == NULL && reports->store != NULL) {
		reports->to = timeout_add_short(0, outband_reports_flush,
						reports);
	}
}

int outband_reports_start(struct outband_reports *reports, const char *db_address,
			  const char **error_r)
{
	struct outband_store_reports *store;

	if (reports->store != NULL)
		return 0;
	if (outband_store_reports_open(reports->event, db_address, &store,
				       error_r) < 0)
		return -1;
	if (outband_store_reports_get_secret(store, reports->secret,
					     error_r) < 0) {
		outband_store_reports_close(&store);
		return -1;
	}
	reports->store = store;
	if (array_count(&reports->added) > 0)
		reports_flush_later(reports);
	return 0;
}

void outband_reports_add(struct outband_reports *reports, const char *token,
			 bool delivered, const char *text,
			 outband_report_callback_t *callback, void *context)
{
	struct report_added *added = array_append_space(&reports->added);

	added->token = i_strdup(token);
	added->text = i_strdup(text);
	added->delivered = delivered;
	added->callback = callback;
	added->context = context;
	reports_flush_later(reports);
}

void outband_reports_refused(struct outband_reports *reports)
{
	reports->status.refused++;
}

const struct outband_reports_status *
outband_reports_get_status(struct outband_reports *reports)
{
	return &reports->status;
}
