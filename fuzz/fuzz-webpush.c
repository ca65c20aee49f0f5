/* SPDX-License-Identifier: LGPL-2.1-only */
/* What a push service answers, whom a user has chosen. The first octet chooses how
   often that was tried. */

#include "fuzz-outband.h"
#include "outband-channel-webpush.c"
#include "outband-payload.c"
#include "webpush-crypto.c"

static struct webpush_channel channel;
static const struct pimap_settings set = { .pimap_webpush_hosts = "" };

static void init(void)
{
	io_loop_create();
	ioloop_time = 1800000000;
	channel.set = &set;
	channel.event = event_create(NULL);
	hash_table_create(&channel.ended, default_pool, 0, str_hash, strcmp);
}

static void check_result(const struct webpush_send *send)
{
	const struct outband_channel_result *result = &send->result;

	/* Nobody waits for a second answer. */
	i_assert(send->to_finish != NULL);
	i_assert(!result->fault);
	i_assert((result->outcome == OUTBAND_CHANNEL_SENT) ==
		 (result->error == NULL));
	if (result->error != NULL) {
		fuzz_check_line(result->error);
		i_assert(strlen(result->error) < 1024);
	}
	if (result->outcome == OUTBAND_CHANNEL_UNREGISTER) {
		i_assert(hash_table_count(channel.ended) ==
			 (send->row->fallback ? 1 : 0));
	}
}

static void check_response(const uint8_t *data, size_t size, bool shortened)
{
	struct http_header_limits limits;
	struct outband_row row = { .address = "address" };
	struct webpush_send *send;
	pool_t pool = pool_alloconly_create("fuzz", 1024);

	row.event.uid = 1;
	send = p_new(pool, struct webpush_send, 1);
	send->pool = pool;
	send->channel = &channel;
	send->row = &row;
	send->shortened = shortened;
	row.fallback = shortened;
	send->fd = -1;
	/* where the same request would go once more: nowhere */
	send->addr.host = "127.0.0.1";
	if (net_addr2ip(send->addr.host, &send->addr.ip) < 0)
		i_unreached();
	DLLIST_PREPEND(&channel.sends, send);
	send->input = i_stream_create_from_data(data, size);
	webpush_limit_answer(&limits);
	send->parser = http_response_parser_init(send->input, &limits, 0);
	webpush_send_input(send);
	check_result(send);
	webpush_send_free(send);
	webpush_channel_clear_ended(&channel);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(init);
	if (size == 0)
		return 0;
	T_BEGIN {
		check_response(data + 1, size - 1, (data[0] & 1) != 0);
	} T_END;
	return 0;
}
