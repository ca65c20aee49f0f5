/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "test-common.h"
#include "pimap-look-state.h"

static void test_pimap_look_state_round_trip(void)
{
	static const char *const texts[] = {
		"3:0:0:1::::0:-:-",
		"3:4294967295:4294967295:4294967295:4294967294::"
			":18446744073709551615:4294967294.:"
			"ffffffffffffffff*4294967294=1-4294967294",
		"3:7:1764028800:200:1,3-5,199::2:1::0000000000000000*0=",
		"3:7:1764028800:200::1-100::12345:1.,3.0123abcd"
			":0123456789abcdef*9=1,3-5,7",
		"3:7:1:1000:100-148:200-249:999:7:1.,2.,3.,4.,5.,6.,7.,999."
			":0000000000000001*999",
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
	const struct pimap_newest_message *message;
	struct pimap_look_state state;
	pool_t pool = pool_alloconly_create("state", 256);
	string_t *str = t_str_new(128);

	test_begin("pimap look state: fields");
	test_assert(pimap_look_state_parse(pool, "3:2:3:40:5-6,9:8:1-2:0:-:-",
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
	test_assert(state.modseq == 0 && !state.newest.known);
	test_assert(state.pushed_type == PIMAP_LOOK_PUSHED_NONE);

	test_assert(pimap_look_state_parse(pool, "3:2:3:40:5-6,9:8:1-2:77:"
		"5.,39.00ffeedd:"
		"00000000000000ff*30=1-3,9", &state) == 0);
	test_assert(seq_range_count(&state.undecided[2]) == 2);
	test_assert(state.modseq == 77);
	test_assert(state.newest.known && state.newest.count == 2);
	message = state.newest.messages;
	test_assert(message[0].uid == 5 && message[0].hash == 0);
	test_assert(message[1].uid == 39 && message[1].hash == 0xffeedd);
	test_assert(state.pushed_type == PIMAP_LOOK_PUSHED_UIDS);
	test_assert(state.pushed_filters == 0xff);
	test_assert(seq_range_count(&state.pushed) == 4);
	test_assert(seq_range_exists(&state.pushed, 9));
	test_assert(pimap_look_state_pushed_fits(&state, 5));
	test_assert(!pimap_look_state_pushed_fits(&state, 4));
	test_assert(pimap_look_state_parse(pool,
		"3:2:3:40::::77::0000000000000000*39", &state) == 0);
	test_assert(state.newest.known && state.newest.count == 0);
	test_assert(state.pushed_type == PIMAP_LOOK_PUSHED_COUNT);
	test_assert(state.pushed_count == 39);

	pimap_look_state_init(pool, 2, 3, 0, &state);
	pimap_look_state_print(&state, str);
	test_assert_strcmp(str_c(str), "3:2:3:1::::0:-:-");
	pool_unref(&pool);
	test_end();
}

static void test_pimap_look_state_hostile(void)
{
	static const char *const texts[] = {
		"", "1", ":", "::::::", "1:2:3:4::", "1:2:3:4::::",
		"1:2:3:4:5:::",
		/* another version */
		"0:2:3:4::::1:-:-", "03:2:3:4::::1:-:-", " 3:2:3:4::::1:-:-",
		"3:2:3:4:::", "1:2:3:4::::1:-:-", "3:2:3:4::::1:-",
		"3:2:3:4::::1:-:-:", "4:2:3:4::::1:-:-",
		/* no numbers, or too large ones */
		"3::3:4::::0:-:-", "3:-2:3:4::::0:-:-", "3:+2:3:4::::0:-:-", "3:x:3:4::::0:-:-",
		"3:2 :3:4::::0:-:-", "3:2:4294967296:4::::0:-:-",
		"3:2:3:99999999999999999999::::0:-:-", "3:2:3:::::0:-:-",
		/* UIDs that can't be */
		"3:2:3:0::::0:-:-", "3:2:3:4:0:::0:-:-", "3:2:3:4:4:::0:-:-", "3:2:3:4::0-2::0:-:-",
		"3:2:3:4:::2-4:0:-:-", "3:2:3:4294967295:4294967295:::0:-:-",
		/* no set */
		"3:2:3:90:,:::0:-:-", "3:2:3:90:1,:::0:-:-", "3:2:3:90::,1::0:-:-",
		"3:2:3:90:::1,,2:0:-:-", "3:2:3:90:1-:::0:-:-", "3:2:3:90:-1:::0:-:-",
		"3:2:3:90:1-2-3:::0:-:-", "3:2:3:90:5-4:::0:-:-", "3:2:3:90:*:::0:-:-",
		"3:2:3:90:1-*:::0:-:-", "3:2:3:90:1:2:3:4:0:-:-",
		/* not rising, or twice */
		"3:2:3:90:2,1:::0:-:-", "3:2:3:90:1,1:::0:-:-", "3:2:3:90:1-5,5:::0:-:-",
		"3:2:3:90:3,1-9:::0:-:-", "3:2:3:90:1:1::0:-:-", "3:2:3:90:1-5::3:0:-:-",
		"3:2:3:90::7:6-8:0:-:-",
		/* too many */
		"3:2:3:4294967295:1-101:::0:-:-", "3:2:3:4294967295:1-4294967294:::0:-:-",
		"3:2:3:4294967295:1-60,70-110:::0:-:-",
		"3:2:3:4294967295:1-60:70-109:999:0:-:-",
		/* HIGHESTMODSEQ */
		"3:2:3:4:::::-:-", "3:2:3:4::::-1:-:-", "3:2:3:4::::x:-:-",
		"3:2:3:4::::18446744073709551616:-:-",
		/* the newest */
		"3:2:3:4::::1:1:-", "3:2:3:4::::1:0.:-", "3:2:3:4::::1:4.:-",
		"3:2:3:4::::1:2.,1.:-", "3:2:3:4::::1:1.,1.:-",
		"3:2:3:4::::1:1.,:-", "3:2:3:4::::1:,1.:-", "3:2:3:4::::1:.:-",
		"3:2:3:4::::1:1.00:-", "3:2:3:4::::1:--:-",
		"3:2:3:4::::1:1.0011223g:-", "3:2:3:4::::1:1.0x112233:-",
		"3:2:3:4::::1:1.001122334:-", "3:2:3:4::::1:1.0011223:-",
		"3:2:3:90::::1:1.,2.,3.,4.,5.,6.,7.,8.,9.:-",
		/* what was pushed */
		"3:2:3:4::::1:-:", "3:2:3:4::::1:-:1", "3:2:3:4::::1:-:1=",
		"3:2:3:4::::1:-:=", "3:2:3:4::::1:-:=1-2",
		"3:2:3:4::::1:-:0123456789abcdef", "3:2:3:4::::1:-:--",
		"3:2:3:4::::1:-:0123456789abcdeg=",
		"3:2:3:4::::1:-:0123456789abcdef1",
		"3:2:3:4::::1:-:0123456789abcdef=1",
		"3:2:3:4::::1:-:0123456789abcdef*=1",
		"3:2:3:4::::1:-:0123456789abcdef*1=1-2",
		"3:2:3:4::::1:-:0123456789abcdef*3=0",
		"3:2:3:4::::1:-:0123456789abcdef*3=4",
		"3:2:3:4::::1:-:0123456789abcdef*3=1-4",
		"3:2:3:4::::1:-:0123456789abcdef*3=2-1",
		"3:2:3:4::::1:-:0123456789abcdef*3=2,1",
		"3:2:3:4::::1:-:0123456789abcdef*3=1-2,2",
		"3:2:3:4::::1:-:0123456789abcdef*3=1,",
		"3:2:3:4::::1:-:0123456789abcdef*3=1,,2",
		"3:2:3:4::::1:-:0123456789abcdef=-",
		"3:2:3:4::::1:-:0123456789abcdef=*",
		"3:2:3:4::::1:-:0123456789abcdef*",
		"3:2:3:4::::1:-:0123456789abcdef*4",
		"3:2:3:4::::1:-:0123456789abcdef*-1",
		"3:2:3:4::::1:-:0123456789abcdef*1,2",
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
	static const char chars[] = "0123456789:,-:::\t x.=*f";
	static const char *const starts[] = {
		"3:2:3:99:",
		"3:2:3:99::::1:-:0123456789abcdef*98",
		"3:2:3:99::::1:1.00112233"
	};
	static const char *const ends[N_ELEMENTS(starts)] = {
		"::0:-:-", "", ":-"
	};
	struct pimap_look_state state;
	char text[80];
	unsigned int i, j, len, start, total;

	unsigned int valid[N_ELEMENTS(starts)] = { 0, };

	test_begin("pimap look state: anything");
	for (i = 0; i < 50000; i++) T_BEGIN {
		pool_t pool = pool_alloconly_create("state", 256);
		string_t *str = t_str_new(64), *str2 = t_str_new(64);

		len = i_rand_limit(20);
		i_strocpy(text, starts[i % N_ELEMENTS(starts)], sizeof(text));
		start = strlen(text);
		for (j = 0; j < len; j++)
			text[start + j] = chars[i_rand_limit(sizeof(chars) - 1)];
		i_strocpy(text + start + j, ends[i % N_ELEMENTS(starts)],
			  sizeof(text) - start - j);
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
			test_assert(state.newest.count <= PIMAP_NEWEST_MAX);
			valid[i % N_ELEMENTS(starts)]++;
		}
		pool_unref(&pool);
	} T_END;
	for (i = 0; i < N_ELEMENTS(starts); i++)
		test_assert_idx(valid[i] > 0, i);
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
