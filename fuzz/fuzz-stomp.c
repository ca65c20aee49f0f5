/* SPDX-License-Identifier: LGPL-2.1-only */
/* What a broker sends. The first octet chooses how far the connection is and how many
   messages are under way, the second one how much comes at a time. */

#include "fuzz-outband.h"
#include "buffer.h"
#include "test-common.h"
#include "outband-channel-jms.c"
#include "outband-payload.c"
#include "stomp-frame.c"

#define FUZZ_MAX_SENDS 4

static struct outband_row row = {
	.address = "/queue/pimap.joe", .payload = "text \xf0\x9f\x98\x80",
	.last_error = "", .seq = 1
};
static const struct pimap_settings set = {
	.pimap_jms_url = "stomp://127.0.0.1", .pimap_jms_prefix = "/queue/pimap.",
	.pimap_jms_user = "", .pimap_jms_password = "", .pimap_jms_ca = "",
};

static void init(void)
{
	io_loop_create();
	ioloop_time = 1800000000;
}

static void sent(const struct outband_channel_result *result ATTR_UNUSED,
		 void *context ATTR_UNUSED)
{
	/* not from within what reads */
	i_unreached();
}

static unsigned int check_list(const struct jms_send *send, bool finished)
{
	const struct outband_channel_result *result;
	unsigned int count = 0;

	for (; send != NULL; send = send->next) {
		count++;
		result = &send->result;
		i_assert((send->to_finish != NULL) == finished);
		if (!finished)
			continue;
		i_assert(send->to == NULL);
		if (result->outcome == OUTBAND_CHANNEL_SENT) {
			i_assert(send->error == NULL && send->receipt != 0);
			continue;
		}
		i_assert(result->outcome == OUTBAND_CHANNEL_RETRY);
		fuzz_check_reply(send->error);
		i_assert(strlen(send->error) < 1024);
	}
	return count;
}

static void check_channel(const struct jms_channel *channel, unsigned int sends)
{
	i_assert(check_list(channel->waiting_head, FALSE) +
		 check_list(channel->written_head, FALSE) +
		 check_list(channel->finished, TRUE) == sends);
	i_assert(channel->written_head == NULL ||
		 channel->state == JMS_CONNECTED ||
		 channel->state == JMS_ENDING);
	/* nobody waits for ever */
	i_assert(channel->state != JMS_CONNECTED ||
		 channel->waiting_head == NULL ||
		 channel->written_head != NULL);
	i_assert(channel->state != JMS_CLOSED ||
		 channel->waiting_head == NULL ||
		 channel->to_reconnect != NULL);
}

static void check_stream(const uint8_t *data, size_t size, unsigned int how,
			 unsigned int part)
{
	static const char connected[] = "CONNECTED\nversion:1.2\n\n";
	const struct outband_channel_env env = { .set = &set };
	unsigned int i, sends = how / 2 % (FUZZ_MAX_SENDS + 1);
	struct outband_channel *_channel;
	struct jms_channel *channel;
	struct istream *input;
	string_t *text = t_str_new(256);
	buffer_t *output = t_buffer_create(1024);
	const char *error;
	size_t pos = 0;

	if (jms_channel_init(&env, &_channel, &error) <= 0)
		i_fatal("%s", error);
	channel = JMS_CHANNEL(_channel);
	if ((how & 1) != 0)
		str_append_data(text, connected, sizeof(connected));
	str_append_data(text, data, size);
	input = test_istream_create_data(str_data(text), str_len(text));
	test_istream_set_allow_eof(input, FALSE);
	test_istream_set_max_buffer_size(input, STOMP_MAX_FRAME);
	channel->input = input;
	channel->output = o_stream_create_buffer(output);
	channel->state = JMS_CONNECTING;
	for (i = 0; i < sends; i++) {
		/* the last one is suspect */
		row.tries = how >= 128 && i == sends - 1 ? JMS_SUSPECT_TRIES : 0;
		jms_channel_send(_channel, &row, sent, NULL);
	}
	while (channel->state != JMS_CLOSED && pos < str_len(text)) {
		pos = I_MIN(pos + 1 + part, str_len(text));
		test_istream_set_size(input, pos);
		jms_input(channel);
		check_channel(channel, sends);
	}
	jms_channel_deinit(_channel);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(init);
	if (size < 2)
		return 0;
	T_BEGIN {
		check_stream(data + 2, size - 2, data[0], data[1]);
	} T_END;
	return 0;
}
