/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "crc32.h"
#include "guid.h"
#include "test-common.h"
#include "pimap-profile.h"
#include "pimap-profile-peek.h"

static const struct pimap_defaults test_defaults = {
	.filters = {
		[PIMAP_FILTER_VIEW] = { .kind = PIMAP_FILTER_ALL },
		[PIMAP_FILTER_NOTIFY] = { .kind = PIMAP_FILTER_NONE },
	},
};
static const guid_128_t test_guid = { 1, 2, 3 };

static const struct pimap_baseline test_baselines[] = {
	{ .guid = { 1, 2, 3 }, .generation = 7, .uid_validity = 8,
	  .next_uid = 9, .modseq = UINT64_MAX, .messages = 8,
	  .newest = { .known = TRUE, .count = 2, .messages = {
		{ .uid = 3 }, { .uid = 8, .hash = 0xabc } } } },
	{ .guid = { 4 }, .generation = 1, .uid_validity = UINT32_MAX,
	  .next_uid = 1 },
};

static struct pimap_profile *test_profile(void)
{
	struct pimap_profile *profile = pimap_profile_alloc();
	struct pimap_filter_ref ref = { PIMAP_FILTER_NAMED, "two \\words" };
	struct pimap_device *device;

	pimap_profile_set_filter(profile, "two \\words", "a\r\nb",
				 "SUBJECT {3}\r\nabc");
	pimap_profile_set_filter(profile, "x", NULL, "UNSEEN");
	device = pimap_profile_add_device(profile, "P1",
					  PIMAP_DEVICE_MODE_VIEW);
	pimap_device_set_filter(profile, device, test_guid, "Work\\tab\t",
				PIMAP_FILTER_VIEW, &ref);
	pimap_device_set_pref(profile, device, "PIMAP_INBAND_PUSH", "ON");
	pimap_device_set_baseline(device, &test_baselines[0]);
	pimap_device_set_baseline(device, &test_baselines[1]);
	device = pimap_profile_add_device(profile, "P2",
					  PIMAP_DEVICE_MODE_SESSION);
	ref.name = "x";
	pimap_device_set_filter(profile, device, NULL, NULL,
				PIMAP_FILTER_NOTIFY, &ref);
	ref.kind = PIMAP_FILTER_SYSTEM;
	ref.name = "nobody has it";
	pimap_device_set_filter(profile, device, NULL, NULL,
				PIMAP_FILTER_VIEW, &ref);
	return profile;
}

static void test_pimap_profile_round_trip(void)
{
	struct pimap_profile *profile = test_profile(), *profile2;
	struct pimap_device *device;
	struct pimap_filter_ref ref;
	string_t *text = t_str_new(1024), *text2 = t_str_new(1024);
	uint32_t generation;
	const char *error;

	test_begin("profile round trip");
	pimap_profile_print(profile, text);
	if (pimap_profile_parse(str_data(text), str_len(text),
				&profile2, &error) < 0)
		i_fatal("%s\n%s", error, str_c(text));
	pimap_profile_print(profile2, text2);
	test_assert_strcmp(str_c(text), str_c(text2));
	device = pimap_profile_find_device(profile2, "P1");
	test_assert(device->mode == PIMAP_DEVICE_MODE_VIEW);
	test_assert_strcmp(pimap_device_get_pref(device, "PIMAP_INBAND_PUSH"),
			   "ON");
	ref = pimap_device_get_filter(device, &test_defaults, test_guid,
				      PIMAP_FILTER_VIEW);
	test_assert(ref.kind == PIMAP_FILTER_NAMED);
	test_assert_strcmp(ref.name, "two \\words");
	test_assert(pimap_profile_filter_is_used(profile2, "two \\words"));
	test_assert(pimap_profile_filter_is_used(profile2, "x"));
	test_assert(!pimap_profile_filter_is_used(profile2, "y"));
	test_assert(!pimap_profile_filter_is_used(profile2, "nobody has it"));
	ref = pimap_device_get_filter(pimap_profile_find_device(profile2, "P2"),
				      &test_defaults, test_guid, PIMAP_FILTER_VIEW);
	test_assert(ref.kind == PIMAP_FILTER_SYSTEM);
	test_assert_strcmp(ref.name, "nobody has it");
	ref = pimap_device_get_filter(device, &test_defaults, test_guid,
				      PIMAP_FILTER_VIEW);
	/* reading is no change of what views show, other settings aren't either */
	generation = profile->views_generation;
	test_assert(generation > 0);
	test_assert(profile2->views_generation == generation);
	pimap_device_set_filter(profile2, device, test_guid, "Work",
				PIMAP_FILTER_NOTIFY, &ref);
	test_assert(profile2->views_generation == generation);
	pimap_device_set_filter(profile2, device, test_guid, "Work",
				PIMAP_FILTER_VIEW, &ref);
	test_assert(profile2->views_generation == generation + 1);
	pimap_profile_set_filter(profile2, "x", NULL, "SEEN");
	test_assert(profile2->views_generation == generation + 2);
	pimap_profile_free(&profile);
	pimap_profile_free(&profile2);
	test_end();
}

/* */
static void test_pimap_profile_filters(void)
{
	static const guid_128_t guid2 = { 9 };
	static const struct pimap_filter_ref all = { .kind = PIMAP_FILTER_ALL };
	static const struct pimap_filter_ref none = { .kind = PIMAP_FILTER_NONE };
	static const struct pimap_filter_ref unset = { .kind = PIMAP_FILTER_DEFAULT };
	struct pimap_profile *profile = pimap_profile_alloc();
	struct pimap_device *device =
		pimap_profile_add_device(profile, "P1", PIMAP_DEVICE_MODE_VIEW);
#define VIEW(guid) \
	pimap_device_get_filter(device, &test_defaults, guid, \
				PIMAP_FILTER_VIEW).kind
#define NOTIFY(guid) \
	pimap_device_get_filter(device, &test_defaults, guid, \
				PIMAP_FILTER_NOTIFY).kind

	test_begin("profile: which filter is in force");
	/* the site's defaults */
	test_assert(pimap_device_get_filter(NULL, &test_defaults, test_guid,
			PIMAP_FILTER_VIEW).kind == PIMAP_FILTER_ALL);
	test_assert(VIEW(test_guid) == PIMAP_FILTER_ALL);
	test_assert(NOTIFY(test_guid) == PIMAP_FILTER_NONE);
	/* a folder's own, for the type that was set */
	pimap_device_set_filter(profile, device, test_guid, "a",
				PIMAP_FILTER_VIEW, &none);
	test_assert(VIEW(test_guid) == PIMAP_FILTER_NONE);
	test_assert(VIEW(guid2) == PIMAP_FILTER_ALL);
	test_assert(pimap_device_has_folder_filters(device, PIMAP_FILTER_VIEW));
	test_assert(!pimap_device_has_folder_filters(device, PIMAP_FILTER_NOTIFY));
	/* all folders replaces that type's */
	pimap_device_set_filter(profile, device, test_guid, "a",
				PIMAP_FILTER_NOTIFY, &all);
	pimap_device_set_filter(profile, device, NULL, NULL,
				PIMAP_FILTER_NOTIFY, &none);
	test_assert(NOTIFY(test_guid) == PIMAP_FILTER_NONE);
	test_assert(VIEW(test_guid) == PIMAP_FILTER_NONE);
	pimap_device_set_filter(profile, device, NULL, NULL,
				PIMAP_FILTER_VIEW, &none);
	test_assert(array_count(&device->folders) == 0);
	test_assert(VIEW(guid2) == PIMAP_FILTER_NONE);
	/* DEFAULT drops a folder's, then all folders' own */
	pimap_device_set_filter(profile, device, guid2, "b",
				PIMAP_FILTER_VIEW, &all);
	test_assert(VIEW(guid2) == PIMAP_FILTER_ALL);
	pimap_device_set_filter(profile, device, guid2, "b",
				PIMAP_FILTER_VIEW, &unset);
	test_assert(VIEW(guid2) == PIMAP_FILTER_NONE);
	pimap_device_set_filter(profile, device, NULL, NULL,
				PIMAP_FILTER_VIEW, &unset);
	test_assert(VIEW(guid2) == PIMAP_FILTER_ALL);
	test_assert(array_count(&device->folders) == 0);
	pimap_profile_free(&profile);
	test_end();
}

/* Records that a right checksum doesn't make right */
static void test_print_record(const char *record, string_t *text)
{
	str_truncate(text, 0);
	str_printfa(text, "pimap-profile\t1\n%s\n", record);
	str_printfa(text, "end\t%08x\n",
		    crc32_data(str_data(text), str_len(text)));
}

static void test_pimap_profile_invalid(void)
{
#define KNOWN(numbers) \
	"generation\t1\t1\t0\ndevice\tP1\tview\tD\tD\nknown\t" \
	"0102030405060708090a0b0c0d0e0f10\t" numbers
	static const char *const records[] = {
		"", "filter\tf", "filter\tf\tALL\td\tx", "device\tP1",
		"filter\t\tALL", "filter\tnone\tALL", "filter\ta\001tb\tALL",
		"filter\ta\tALL\nfilter\ta\tALL", "filter\ta\tALL\t\xff",
		"device\tP1\tview\tS\tD", "device\tP1\tview\tSall\tD",
		"device\t../x\tview\tD\tD", "device\tP1\tview\tD",
		"device\tP1\tX\tD\tD", "device\tP1\tview\tD\tD\tD",
		"device\tP1\tview\tX\tD", "device\tP1\tview\tAx\tD",
		"device\tP1\tview\tUnosuch\tD", "device\tP1\tview\t\tD",
		"device\tP1\tview\tD\tD\ndevice\tP1\tview\tD\tD",
		"pref\ta\tb", "folder\t0102\ta\tN\tD", "foo\ta\tb",
		"device\tP1\tview\tD\tD\nfolder\t0102\ta\tN\tD",
		"device\tP1\tview\tD\tD\npref\ta\tb\tc",
		"device\tP1\tview\tD\tD\nfolder\t"
			"0102030405060708090a0b0c0d0e0f10\t\xff\tN\tD",
		KNOWN("1\t2"), KNOWN("1\t2\t3"), KNOWN("1\t2\t3\t4\t2"),
		KNOWN("1\t2\t3\t4\t2\t-\t5"), KNOWN("1\t2\t3\t-1\t2\t-"),
		KNOWN("1\t2\t3\t4\t3\t-"), KNOWN("1\t2\t3\t4\t\t-"),
		KNOWN("1\t2\t3\t18446744073709551616\t1\t-"),
		KNOWN("1\t2\t3\t4\t2\tx"), KNOWN("1\t2\t3\t4\t2\t3.01234567"),
	};
	static const char *const valid[] = {
		KNOWN("1\t2\t3\t0\t0\t-"), KNOWN("1\t2\t3\t4\t2\t"),
		KNOWN("1\t2\t3\t4\t2\t1.,2.01234567"),
	};
	struct pimap_profile *profile;
	string_t *text = t_str_new(1024);
	const char *error;
	unsigned int i;

	test_begin("profile: invalid records");
	for (i = 0; i < N_ELEMENTS(records); i++) {
		test_print_record(records[i], text);
		test_assert_idx(pimap_profile_parse(str_data(text), str_len(text),
				&profile, &error) < 0, i);
	}
	/* they are what those are made of */
	for (i = 0; i < N_ELEMENTS(valid); i++) {
		test_print_record(valid[i], text);
		test_assert_idx(pimap_profile_parse(str_data(text), str_len(text),
				&profile, &error) == 0, i);
		pimap_profile_free(&profile);
	}
	test_end();
}

static void test_pimap_profile_remove_device(void)
{
	struct pimap_profile *profile = pimap_profile_alloc();
	uint32_t generation;

	test_begin("profile: a device is removed");
	(void)pimap_profile_add_device(profile, "P1", PIMAP_DEVICE_MODE_VIEW);
	(void)pimap_profile_add_device(profile, "P2", PIMAP_DEVICE_MODE_VIEW);
	(void)pimap_profile_add_device(profile, "P3", PIMAP_DEVICE_MODE_VIEW);
	generation = profile->views_generation;
	test_assert(!pimap_profile_remove_device(profile, "p2"));
	test_assert(profile->views_generation == generation);
	test_assert(pimap_profile_remove_device(profile, "P2"));
	test_assert(profile->views_generation > generation);
	test_assert(array_count(&profile->devices) == 2);
	test_assert(pimap_profile_find_device(profile, "P1") != NULL);
	test_assert(pimap_profile_find_device(profile, "P2") == NULL);
	test_assert(pimap_profile_find_device(profile, "P3") != NULL);
	pimap_profile_free(&profile);
	test_end();
}

static void test_pimap_profile_damaged(void)
{
	struct pimap_profile *profile = test_profile(), *profile2;
	string_t *text = t_str_new(1024);
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

static void test_pimap_profile_baselines(void)
{
	struct pimap_profile *profile = test_profile(), *profile2;
	const struct pimap_baseline *baseline;
	struct pimap_baseline other = test_baselines[0];
	struct pimap_device *device;
	static const guid_128_t unknown = { 5 };

	test_begin("profile baselines");
	profile->generation = 12;
	profile2 = pimap_profile_dup(profile);
	test_assert(profile2->generation == 12);
	device = pimap_profile_find_device(profile2, "P1");
	test_assert(array_count(&device->baselines) == 2);
	baseline = pimap_device_find_baseline(device, test_baselines[0].guid);
	test_assert(baseline != NULL &&
		    memcmp(baseline, &test_baselines[0],
			   sizeof(*baseline)) == 0);
	test_assert(pimap_device_find_baseline(device, unknown) == NULL);
	other.next_uid = 10;
	pimap_device_set_baseline(device, &other);
	test_assert(array_count(&device->baselines) == 2);
	baseline = pimap_device_find_baseline(device, other.guid);
	test_assert(baseline != NULL && baseline->next_uid == 10);
	pimap_device_drop_baseline(device, other.guid);
	pimap_device_drop_baseline(device, unknown);
	test_assert(array_count(&device->baselines) == 1);
	pimap_profile_free(&profile);
	pimap_profile_free(&profile2);
	test_end();
}

static enum pimap_profile_peek
test_peek(const struct pimap_profile *profile, size_t max_size)
{
	string_t *text = t_str_new(1024);

	pimap_profile_print(profile, text);
	return pimap_profile_peek(str_data(text),
				  I_MIN(str_len(text), max_size));
}

static void test_pimap_profile_peek(void)
{
	static const char *const texts[] = {
		/* in doubt */
		"", "pimap-profile\t2\n", "pimap-profile\t1\ngeneration\t1\t2\t0",
		"pimap-profile\t1\ngeneration\t1\t2\tx\n",
		"pimap-profile\t1\ngeneration\t1\t2\t\n",
		"pimap-profile\t1\ngeneration\t1\t2\t4\n",
		"pimap-profile\t1\ngeneration\t1\t2\t10\n",
	};
	static const struct {
		const char *value;
		enum pimap_profile_peek peek;
	} event_filters[] = {
		{ NULL, PIMAP_PROFILE_PEEK_DEFAULT },
		{ "NONE", PIMAP_PROFILE_PEEK_NEW },
		{ "NEW", PIMAP_PROFILE_PEEK_NEW },
		{ "ALL", PIMAP_PROFILE_PEEK_ALL },
	};
	struct pimap_profile *profile = test_profile();
	struct pimap_device *device = pimap_profile_find_device(profile, "P2");
	struct pimap_device *other = pimap_profile_add_device(profile, "P9",
		PIMAP_DEVICE_MODE_SESSION);
	unsigned int i;

	test_begin("profile peek");
	profile->generation = profile->views_generation = UINT32_MAX;
	test_assert(test_peek(profile, PIMAP_PROFILE_PEEK_SIZE) ==
		    PIMAP_PROFILE_PEEK_NONE);
	pimap_device_set_pref(profile, device, "PIMAP_OUTBAND_CHANNEL", "MAIL");
	for (i = 0; i < N_ELEMENTS(event_filters); i++) {
		pimap_device_set_pref(profile, device, "PIMAP_EVENT_FILTER",
				      event_filters[i].value);
		test_assert_idx(test_peek(profile, PIMAP_PROFILE_PEEK_SIZE) ==
				event_filters[i].peek, i);
	}
	/* the one that wants the most */
	pimap_device_set_pref(profile, other, "PIMAP_OUTBAND_CHANNEL", "MAIL");
	for (i = 0; i < N_ELEMENTS(event_filters); i++) {
		pimap_device_set_pref(profile, device, "PIMAP_EVENT_FILTER",
				      event_filters[i].value);
		pimap_device_set_pref(profile, other, "PIMAP_EVENT_FILTER",
				      "NONE");
		test_assert_idx(test_peek(profile, PIMAP_PROFILE_PEEK_SIZE) ==
				event_filters[i].peek, i);
		pimap_device_set_pref(profile, other, "PIMAP_EVENT_FILTER",
				      "ALL");
		test_assert_idx(test_peek(profile, PIMAP_PROFILE_PEEK_SIZE) ==
				PIMAP_PROFILE_PEEK_ALL, i);
	}
	pimap_device_set_pref(profile, other, "PIMAP_OUTBAND_CHANNEL", NULL);
	pimap_device_set_pref(profile, device, "PIMAP_OUTBAND_CHANNEL", NULL);
	test_assert(test_peek(profile, PIMAP_PROFILE_PEEK_SIZE) ==
		    PIMAP_PROFILE_PEEK_NONE);
	pimap_profile_free(&profile);
	for (i = 0; i < N_ELEMENTS(texts); i++) {
		test_assert_idx(pimap_profile_peek((const void *)texts[i],
			strlen(texts[i])) == PIMAP_PROFILE_PEEK_ALL, i);
	}
	/* from before there were channels */
	test_assert(pimap_profile_peek(
		(const void *)"pimap-profile\t1\ngeneration\t1\n", 29) ==
		PIMAP_PROFILE_PEEK_NONE);
	/* from before it told the event filter */
	test_assert(pimap_profile_peek((const void *)
		"pimap-profile\t1\ngeneration\t1\t2\t1\n", 33) ==
		PIMAP_PROFILE_PEEK_NEW);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_profile_round_trip,
		test_pimap_profile_baselines,
		test_pimap_profile_peek,
		test_pimap_profile_filters,
		test_pimap_profile_invalid,
		test_pimap_profile_remove_device,
		test_pimap_profile_damaged,
		NULL
	};
	return test_run(test_functions);
}
