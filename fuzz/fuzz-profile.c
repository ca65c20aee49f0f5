/* SPDX-License-Identifier: LGPL-2.1-only */
/* Profiles: the input is what is between the first and the last line, so that
   it gets by the checksum; and it is read as it is. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "crc32.h"
#include "pimap-pref.h"
#include "pimap-profile.h"
#include "fuzz.h"

static const struct pimap_defaults defaults = {
	.filters = {
		[PIMAP_FILTER_VIEW] = { .kind = PIMAP_FILTER_ALL },
		[PIMAP_FILTER_NOTIFY] = { .kind = PIMAP_FILTER_NONE },
	},
};

#define HEADER "pimap-profile\t1\n"

static void ignore_xfilter(const char *vname ATTR_UNUSED,
			   const char *type ATTR_UNUSED,
			   const struct pimap_filter_ref *ref,
			   void *context ATTR_UNUSED)
{
	i_assert(*pimap_filter_ref_name(ref) != '\0');
}

static void use_profile(struct pimap_profile *profile)
{
	struct pimap_filter_ref ref;
	struct pimap_device *device;
	const struct pimap_filter *filter;
	unsigned int i;

	array_foreach(&profile->filters, filter)
		(void)pimap_profile_filter_is_used(profile, filter->name);
	array_foreach_elem(&profile->devices, device) {
		pimap_pref_xfilter_all(device, &defaults, ignore_xfilter, NULL);
		for (i = 0; i < PIMAP_FILTER_TYPE_COUNT; i++) {
			ref = pimap_device_get_filter(device, &defaults, NULL, i);
			i_assert(ref.kind != PIMAP_FILTER_DEFAULT);
			i_assert(ref.kind != PIMAP_FILTER_NAMED ||
				 pimap_profile_find_filter(profile, ref.name) != NULL);
		}
	}
}

static void check_profile(const void *data, size_t size)
{
	struct pimap_profile *profile, *again;
	string_t *text, *text2;
	const char *error = NULL;

	if (pimap_profile_parse(data, size, &profile, &error) < 0) {
		i_assert(error != NULL);
		return;
	}
	text = str_new(default_pool, 256);
	text2 = str_new(default_pool, 256);
	use_profile(profile);
	pimap_profile_print(profile, text);
	if (pimap_profile_parse(str_data(text), str_len(text), &again,
				&error) < 0)
		i_fatal("%s: %s", error, str_c(text));
	pimap_profile_print(again, text2);
	i_assert(str_equals(text, text2));
	pimap_profile_free(&profile);
	pimap_profile_free(&again);
	str_free(&text);
	str_free(&text2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(NULL);
	T_BEGIN {
		string_t *text = t_str_new(256);

		check_profile(data, size);
		str_append(text, HEADER);
		str_append_data(text, data, size);
		if (size > 0 && data[size-1] != '\n')
			str_append_c(text, '\n');
		str_printfa(text, "end\t%08x\n",
			    crc32_data(str_data(text), str_len(text)));
		check_profile(str_data(text), str_len(text));
	} T_END;
	return 0;
}
