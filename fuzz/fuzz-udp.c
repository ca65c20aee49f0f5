/* SPDX-License-Identifier: LGPL-2.1-only */
/* Datagrams: the first octet says what the rest is. 0: a datagram as it comes;
   1: what the envelope of one has in it; else a login name, with that separator, or
   none that is known. */

#include "fuzz-outband.h"
#include "array.h"
#include "base64.h"
#include "str.h"
#include "pimap-device.h"
#include "outband-udp-message.c"

static void fuzz_datagram(const uint8_t *data, size_t size)
{
	struct outband_udp_hello hello;
	string_t *again;

	if (!outband_udp_hello_parse(data, size, &hello))
		return;
	i_assert(hello.login[0] != '\0' &&
		 strlen(hello.login) <= OUTBAND_UDP_MAX_LOGIN);
	fuzz_check_line(hello.login);
	i_assert(hello.envelope->used <= size / 4 * 3);
	/* there is one way to write it */
	again = t_str_new(size + 1);
	str_printfa(again, "HELLO %s ", hello.login);
	base64_encode(hello.envelope->data, hello.envelope->used, again);
	i_assert(str_len(again) <= size &&
		 memcmp(str_data(again), data, str_len(again)) == 0);
	i_assert(str_len(again) == size || data[str_len(again)] == ' ');
}

static void fuzz_text(const uint8_t *data, size_t size)
{
	struct outband_udp_text text;
	int64_t ack;

	if (!outband_udp_text_parse(data, size, &text))
		return;
	i_assert(pimap_device_id_is_valid(text.device));
	i_assert(size > strlen(text.device) &&
		 memcmp(data, text.device, strlen(text.device)) == 0);
	i_assert(text.time >= 0);
	i_assert(array_count(&text.acks) <= OUTBAND_UDP_MAX_ACKS);
	array_foreach_elem(&text.acks, ack)
		i_assert(ack > 0);
}

static void fuzz_login(char separator, const char *login)
{
	const char *user, *device;
	unsigned int idx;

	for (idx = 0; outband_udp_login_split(login, separator, idx, &user,
					      &device); idx++) {
		i_assert(pimap_device_id_is_valid(device));
		i_assert(strlen(user) < strlen(login));
		i_assert(user[0] != '\0' || strcmp(device, login) == 0);
	}
	/* no more than there are characters that separate */
	i_assert(idx <= (separator == '\0' ? 20 : 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(NULL);
	if (size == 0)
		return 0;
	T_BEGIN {
		switch (data[0]) {
		case 0:
			fuzz_datagram(data + 1, size - 1);
			break;
		case 1:
			fuzz_text(data + 1, size - 1);
			break;
		default:
			fuzz_login(pimap_device_separator_is_valid(data[0]) ?
				   (char)data[0] : '\0',
				   t_strndup(data + 1, size - 1));
		}
	} T_END;
	return 0;
}
