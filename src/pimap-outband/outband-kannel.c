/* SPDX-License-Identifier: LGPL-2.1-only */
/* Kannel's sendsms: a POST for each message, which can be any octets, and whose status
   says what has become of it. */

#include "lib.h"
#include "hex-binary.h"
#include "str.h"
#include "http-client.h"
#include "pimap-text.h"
#include "outband-http.h"
#include "outband-kannel.h"
#include "outband-report-parse.h"

#define KANNEL_MAX_ANSWER 1024

struct outband_kannel {
	pool_t pool;
	struct outband_http *http;
	const char *user, *password, *from;
};

/* 202 is Kannel's word. Others that speak as it does say 200, and the same text; without
   it anything may be there. */
static bool kannel_has_accepted(unsigned int status, const string_t *answer)
{
	const char *text = str_c((string_t *)answer);

	return status == 202 ||
		(status == 200 && (strncmp(text, "0:", 2) == 0 ||
				   strncmp(text, "3:", 2) == 0));
}

static void
kannel_judge(unsigned int status, const string_t *answer,
	     struct outband_channel_result *result_r)
{
	if (kannel_has_accepted(status, answer)) {
		result_r->outcome = OUTBAND_CHANNEL_SENT;
	} else if (status == 406 || status == 413 || status == 414) {
		/* the receiver is not served, or the message is too long */
		result_r->outcome = OUTBAND_CHANNEL_GIVE_UP;
	} else {
		/* it doesn't work, or doesn't let this server in: all of that
		   can be mended */
		result_r->outcome = OUTBAND_CHANNEL_RETRY;
		result_r->fault = TRUE;
	}
}

int outband_kannel_init(const struct outband_kannel_settings *set,
			struct event *event_parent,
			struct outband_kannel **kannel_r, const char **error_r)
{
	const struct outband_http_settings http_set = {
		.name = set->name,
		.url = set->url,
		.ca = set->ca,
		.connections = set->connections,
		.max_answer = KANNEL_MAX_ANSWER,
		.judge = kannel_judge,
	};
	struct outband_kannel *kannel;
	pool_t pool;

	pool = pool_alloconly_create("outband kannel", 512);
	kannel = p_new(pool, struct outband_kannel, 1);
	kannel->pool = pool;
	kannel->user = pimap_text_get_line(pool, set->user);
	kannel->password = pimap_text_get_line(pool, set->password);
	kannel->from = pimap_text_get_line(pool, set->from);
	if (kannel->user == NULL || kannel->password == NULL ||
	    kannel->from == NULL) {
		*error_r = t_strdup_printf("%s: user, password and sender "
			"must be of one line", set->name);
		pool_unref(&pool);
		return -1;
	}
	if (outband_http_init(&http_set, event_parent, &kannel->http,
			      error_r) < 0) {
		pool_unref(&pool);
		return -1;
	}
	*kannel_r = kannel;
	return 0;
}

void outband_kannel_deinit(struct outband_kannel **_kannel)
{
	struct outband_kannel *kannel = *_kannel;

	*_kannel = NULL;
	outband_http_deinit(&kannel->http);
	pool_unref(&kannel->pool);
}

void outband_kannel_refuse(struct outband_kannel *kannel, const char *error,
			   outband_channel_callback_t *callback, void *context)
{
	outband_http_refuse(kannel->http, error, callback, context);
}

void outband_kannel_send(struct outband_kannel *kannel,
			 const struct outband_kannel_message *msg,
			 outband_channel_callback_t *callback, void *context)
{
	struct http_client_request *req =
		outband_http_request(kannel->http, callback, context);

	if (req == NULL)
		return;
	outband_http_add_header(req, "Content-Type",
				msg->coding == OUTBAND_KANNEL_OCTETS ?
				"application/octet-stream" :
				"text/plain; charset=UTF-8");
	outband_http_add_header(req, "X-Kannel-Username", kannel->user);
	outband_http_add_header(req, "X-Kannel-Password", kannel->password);
	outband_http_add_header(req, "X-Kannel-From", kannel->from);
	outband_http_add_header(req, "X-Kannel-To", msg->to);
	outband_http_add_header(req, "X-Kannel-Coding", dec2str(msg->coding));
	if (msg->udh != NULL) {
		outband_http_add_header(req, "X-Kannel-UDH",
			binary_to_hex(msg->udh, msg->udh_size));
	}
	if (msg->report_url != NULL) {
		outband_http_add_header(req, "X-Kannel-DLR-Mask",
			dec2str(OUTBAND_REPORT_KANNEL_MASK));
		outband_http_add_header(req, "X-Kannel-DLR-Url",
					msg->report_url);
	}
	http_client_request_set_payload_data(req, msg->data, msg->size);
	http_client_request_submit(req);
}
