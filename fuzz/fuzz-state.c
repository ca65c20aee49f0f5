/* SPDX-License-Identifier: LGPL-2.1-only */
/* Accounted states, as the service's database gives them back: what is taken is what
   is printed, and again. */

#include "fuzz-outband.h"
#include "pimap-look-state.c"

static void check_uids(const ARRAY_TYPE(seq_range) *uids, uint32_t next_uid)
{
	const struct seq_range *range;
	uint32_t last = 0;

	array_foreach(uids, range) {
		i_assert(range->seq1 > last && range->seq1 <= range->seq2);
		i_assert(range->seq2 < next_uid);
		last = range->seq2;
	}
}

static void check_state(const struct pimap_look_state *state)
{
	const struct pimap_newest *newest = &state->newest;
	uint32_t last = 0;
	unsigned int i;

	i_assert(state->next_uid > 0);
	for (i = 0; i < PIMAP_LOOK_TRIES; i++)
		check_uids(&state->undecided[i], state->next_uid);
	check_uids(&state->pushed, state->next_uid);
	i_assert(newest->count <= PIMAP_NEWEST_MAX);
	for (i = 0; i < newest->count; i++) {
		i_assert(newest->messages[i].uid > last &&
			 newest->messages[i].uid < state->next_uid);
		last = newest->messages[i].uid;
	}
	i_assert(newest->known || newest->count == 0);
	i_assert(state->pushed_type == PIMAP_LOOK_PUSHED_UIDS ||
		 array_count(&state->pushed) == 0);
}

static void check_text(const char *text)
{
	struct pimap_look_state state, again;
	string_t *str = t_str_new(256), *str2 = t_str_new(256);
	pool_t pool = pool_alloconly_create("fuzz", 1024);

	if (pimap_look_state_parse(pool, text, &state) == 0) {
		check_state(&state);
		pimap_look_state_print(&state, str);
		fuzz_check_line(str_c(str));
		if (pimap_look_state_parse(pool, str_c(str), &again) < 0)
			i_fatal("%s", str_c(str));
		pimap_look_state_print(&again, str2);
		i_assert(str_equals(str, str2));
		i_assert(pimap_look_state_pushed_fits(&state, str_len(str)));
	}
	pool_unref(&pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(NULL);
	T_BEGIN {
		check_text(t_strndup(data, size));
	} T_END;
	return 0;
}
