/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "test-common.h"
#include "pimap-look-state.h"

static void test_pimap_look_state_round_trip(void)
{
	static const char *const texts[] = {
		"1:0:0:1:::",
		"1:4294967295:4294967295:4294967295:4294967294::",
		"1:7:1764028800:200:1,3-5,199::2",
		"1:7:1764028800:200::1-100:",
		"1:7:1:1000:100-148:200-249:999",
	};
	struct pimap_look_state state;
	unsigned int i;

	test_begin("pimap look state: what is written is read");
	for (i = 0; i < N_ELEMENTS(texts); i++) {
		pool_t pool = pool_alloconly_create("state", 256);
		string_t *str = t_str_new(128);

		test_assert_idx(pimap_look_state_parse(pool, texts[i],
						       &state) == 0, i);
		pimap_look_state_print(&state, str);
		test_assert_idx(strcmp(str_c(str), texts[i]) == 0, i);
		pool_unref(&pool);
	}
	test_end();
}

static void test_pimap_look_state_fields(void)
{
	struct pimap_look_state state;
	pool_t pool = pool_alloconly_create("state", 256);
	string_t *str = t_str_new(128);

	test_begin("pimap look state: fields");
	test_assert(pimap_look_state_parse(pool, "1:2:3:40:5-6,9:8:1-2",
					   &state) == 0);
	test_assert(state.generation == 2);
	test_assert(state.uid_validity == 3);
	test_assert(state.next_uid == 40);
	test_assert(seq_range_count(&state.undecided[0]) == 3);
	test_assert(seq_range_exists(&state.undecided[0], 5));
	test_assert(seq_range_exists(&state.undecided[0], 6));
	test_assert(seq_range_exists(&state.undecided[0], 9));
	test_assert(seq_range_count(&state.undecided[1]) == 1);
	test_assert(seq_range_exists(&state.undecided[1], 8));
	test_assert(seq_range_count(&state.undecided[2]) == 2);
	test_assert(seq_range_exists(&state.undecided[2], 1));
	test_assert(seq_range_exists(&state.undecided[2], 2));
	pimap_look_state_init(pool, 2, 3, 0, &state);
	pimap_look_state_print(&state, str);
	test_assert_strcmp(str_c(str), "1:2:3:1:::");
	pool_unref(&pool);
	test_end();
}

static void test_pimap_look_state_hostile(void)
{
	static const char *const texts[] = {
		"", "1", ":", "::::::", "1:2:3:4::", "1:2:3:4::::",
		"1:2:3:4:5:::",
		/* another version */
		"0:2:3:4:::", "2:2:3:4:::", "01:2:3:4:::", " 1:2:3:4:::",
		/* no numbers, or too large ones */
		"1::3:4:::", "1:-2:3:4:::", "1:+2:3:4:::", "1:x:3:4:::",
		"1:2 :3:4:::", "1:2:4294967296:4:::",
		"1:2:3:99999999999999999999:::", "1:2:3::::",
		/* UIDs that can't be */
		"1:2:3:0:::", "1:2:3:4:0::", "1:2:3:4:4::", "1:2:3:4::0-2:",
		"1:2:3:4:::2-4", "1:2:3:4294967295:4294967295::",
		/* no set */
		"1:2:3:90:,::", "1:2:3:90:1,::", "1:2:3:90::,1:",
		"1:2:3:90:::1,,2", "1:2:3:90:1-::", "1:2:3:90:-1::",
		"1:2:3:90:1-2-3::", "1:2:3:90:5-4::", "1:2:3:90:*::",
		"1:2:3:90:1-*::", "1:2:3:90:1:2:3:4",
		/* not rising, or twice */
		"1:2:3:90:2,1::", "1:2:3:90:1,1::", "1:2:3:90:1-5,5::",
		"1:2:3:90:3,1-9::", "1:2:3:90:1:1:", "1:2:3:90:1-5::3",
		"1:2:3:90::7:6-8",
		/* too many */
		"1:2:3:4294967295:1-101::", "1:2:3:4294967295:1-4294967294::",
		"1:2:3:4294967295:1-60,70-110::",
		"1:2:3:4294967295:1-60:70-109:999",
	};
	struct pimap_look_state state;
	unsigned int i;

	test_begin("pimap look state: what isn't one");
	for (i = 0; i < N_ELEMENTS(texts); i++) {
		pool_t pool = pool_alloconly_create("state", 256);

		test_assert_idx(pimap_look_state_parse(pool, texts[i],
						       &state) < 0, i);
		pool_unref(&pool);
	}
	test_end();
}

static void test_pimap_look_state_random(void)
{
	static const char chars[] = "0123456789:,-:::\t x";
	struct pimap_look_state state;
	char text[32];
	unsigned int i, j, len, total;

	unsigned int valid = 0;

	test_begin("pimap look state: anything");
	for (i = 0; i < 50000; i++) T_BEGIN {
		pool_t pool = pool_alloconly_create("state", 256);
		string_t *str = t_str_new(64), *str2 = t_str_new(64);

		len = i_rand_limit(sizeof(text) - 12);
		memcpy(text, "1:2:3:9", 7);
		for (j = 0; j < len; j++)
			text[7 + j] = chars[i_rand_limit(sizeof(chars) - 1)];
		text[7 + j] = '\0';
		/* what is taken for a state is one */
		if (pimap_look_state_parse(pool, text, &state) == 0) {
			pimap_look_state_print(&state, str);
			test_assert(pimap_look_state_parse(pool, str_c(str),
							   &state) == 0);
			pimap_look_state_print(&state, str2);
			test_assert(str_equals(str, str2));
			for (j = total = 0; j < PIMAP_LOOK_TRIES; j++)
				total += seq_range_count(&state.undecided[j]);
			test_assert(total <= PIMAP_LOOK_MAX_UNDECIDED);
			valid++;
		}
		pool_unref(&pool);
	} T_END;
	test_assert(valid > 10);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_look_state_round_trip,
		test_pimap_look_state_fields,
		test_pimap_look_state_hostile,
		test_pimap_look_state_random,
		NULL
	};

	return test_run(test_functions);
}
