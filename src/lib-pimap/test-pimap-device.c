/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "test-common.h"
#include "pimap-device.h"

static void test_pimap_device_split(void)
{
	static const struct {
		const char *login;
		int ret;
		const char *user, *device;
	} tests[] = {
		{ "joe", 0, NULL, NULL },
		{ "joe@foo.com", 0, NULL, NULL },
		{ "", 0, NULL, NULL },
		{ "joe#P1", 1, "joe", "P1" },
		{ "joe#P1@foo.com", 1, "joe@foo.com", "P1" },
		{ "joe@foo.com#P1", 1, "joe@foo.com", "P1" },
		{ "joe#a._-Z", 1, "joe", "a._-Z" },
		{ "joe#", -1, NULL, NULL },
		{ "#P1", -1, NULL, NULL },
		{ "joe#..", -1, NULL, NULL },
		{ "joe#P1/..", -1, NULL, NULL },
		{ "joe#P1#P2", -1, NULL, NULL },
		{ "joe#@foo.com", -1, NULL, NULL },
		{ "@foo.com#P1", -1, NULL, NULL },
		{ "joe@a#P1@b", -1, NULL, NULL },
		{ "joe#0123456789012345678901234567890123456789012345678901234567890123",
		  1, "joe", "0123456789012345678901234567890123456789012345678901234567890123" },
		{ "joe#01234567890123456789012345678901234567890123456789012345678901234",
		  -1, NULL, NULL },
	};
	const char *user, *device;
	unsigned int i;

	test_begin("pimap_device_split()");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		int ret = pimap_device_split(tests[i].login, '#',
					     &user, &device);
		test_assert_idx(ret == tests[i].ret, i);
		if (ret > 0 && tests[i].ret > 0) {
			test_assert_idx(strcmp(user, tests[i].user) == 0, i);
			test_assert_idx(strcmp(device, tests[i].device) == 0, i);
		}
	}
	test_end();
}

static void test_pimap_device_separator(void)
{
	static const char valid[] = "#+=|~!$&:;?^";
	unsigned int c;

	test_begin("pimap_device_separator_is_valid()");
	for (c = 0; c < 256; c++) {
		test_assert_idx(pimap_device_separator_is_valid(c) ==
				(c != 0 && strchr(valid, c) != NULL), c);
	}
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_device_split,
		test_pimap_device_separator,
		NULL
	};
	return test_run(test_functions);
}
