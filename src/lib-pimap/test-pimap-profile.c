/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "test-common.h"
#include "pimap-profile.h"

#include <sys/stat.h>

static struct pimap_profile *test_profile(void)
{
	struct pimap_profile *profile = pimap_profile_alloc();
	struct pimap_filter_ref ref = { PIMAP_FILTER_NAMED, "tab\there" };
	struct pimap_device *device;

	pimap_profile_set_filter(profile, "tab\there", "a\r\nb",
				 "SUBJECT {3}\r\nabc");
	pimap_profile_set_filter(profile, "x", NULL, "UNSEEN");
	device = pimap_profile_get_device(profile, "P1");
	pimap_device_set_filter(profile, device, "INBOX", PIMAP_FILTER_VIEW,
				&ref);
	pimap_device_set_pref(profile, device, "PIMAP_INBAND_PUSH", "ON");
	(void)pimap_profile_get_device(profile, "P2");
	return profile;
}

static void test_pimap_profile_round_trip(void)
{
	struct pimap_profile *profile = test_profile(), *profile2;
	struct pimap_filter_ref ref;
	string_t *text = t_str_new(256), *text2 = t_str_new(256);
	const char *error;

	test_begin("profile round trip");
	pimap_profile_print(profile, text);
	if (pimap_profile_parse(str_data(text), str_len(text),
				&profile2, &error) < 0)
		i_fatal("%s\n%s", error, str_c(text));
	pimap_profile_print(profile2, text2);
	test_assert_strcmp(str_c(text), str_c(text2));
	ref = pimap_device_get_filter(pimap_profile_find_device(profile2, "P1"),
				      "INBOX", PIMAP_FILTER_VIEW);
	test_assert(ref.kind == PIMAP_FILTER_NAMED);
	test_assert_strcmp(ref.name, "tab\there");
	test_assert(pimap_profile_filter_is_used(profile2, "tab\there"));
	test_assert(!pimap_profile_filter_is_used(profile2, "x"));
	pimap_profile_free(&profile);
	pimap_profile_free(&profile2);
	test_end();
}

static void test_pimap_profile_damaged(void)
{
	struct pimap_profile *profile = test_profile(), *profile2;
	string_t *text = t_str_new(256);
	unsigned char *data;
	const char *error;
	size_t i, size;

	test_begin("profile damaged");
	pimap_profile_print(profile, text);
	size = str_len(text);
	data = t_malloc0(size);
	for (i = 0; i < size; i++) {
		/* every truncation and a change of every byte */
		test_assert_idx(pimap_profile_parse(str_data(text), i,
						    &profile2, &error) < 0, i);
		memcpy(data, str_data(text), size);
		data[i] ^= 1;
		test_assert_idx(pimap_profile_parse(data, size,
						    &profile2, &error) < 0, i);
	}
	pimap_profile_free(&profile);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_profile_round_trip,
		test_pimap_profile_damaged,
		NULL
	};
	return test_run(test_functions);
}
