/* SPDX-License-Identifier: LGPL-2.1-only */
/* Accounted states as text:

     1:<baseline's generation>:<UIDVALIDITY>:<UIDNEXT>:<undecided>

   undecided is empty, or UIDs and ranges of them, rising, separated by commas. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "pimap-look-state.h"

#define STATE_VERSION "1"

static bool state_add_range(struct pimap_look_state *state, const char *text)
{
	const struct seq_range *last;
	unsigned int count;
	const char *dash = strchr(text, '-');
	uint32_t seq1, seq2;

	if (str_to_uint32(dash == NULL ? text : t_strdup_until(text, dash),
			  &seq1) < 0 ||
	    str_to_uint32(dash == NULL ? text : dash + 1, &seq2) < 0 ||
	    seq1 == 0 || seq1 > seq2 || seq2 >= state->next_uid)
		return FALSE;
	last = array_get(&state->undecided, &count);
	if (count > 0 && last[count-1].seq2 >= seq1)
		return FALSE;
	/* before they are counted one by one */
	if (seq2 - seq1 >= PIMAP_LOOK_MAX_UNDECIDED)
		return FALSE;
	seq_range_array_add_range(&state->undecided, seq1, seq2);
	return seq_range_count(&state->undecided) <= PIMAP_LOOK_MAX_UNDECIDED;
}

static int
state_parse_fields(const char *const *fields, struct pimap_look_state *state)
{
	const char *const *ranges;

	if (str_array_length(fields) != 5 ||
	    strcmp(fields[0], STATE_VERSION) != 0 ||
	    str_to_uint32(fields[1], &state->generation) < 0 ||
	    str_to_uint32(fields[2], &state->uid_validity) < 0 ||
	    str_to_uint32(fields[3], &state->next_uid) < 0 ||
	    state->next_uid == 0)
		return -1;
	if (fields[4][0] == '\0')
		return 0;
	for (ranges = t_strsplit(fields[4], ","); *ranges != NULL; ranges++) {
		if (!state_add_range(state, *ranges))
			return -1;
	}
	return 0;
}

int pimap_look_state_parse(pool_t pool, const char *text,
			   struct pimap_look_state *state_r)
{
	int ret;

	pimap_look_state_init(pool, 0, 0, 1, state_r);
	T_BEGIN {
		ret = state_parse_fields(t_strsplit(text, ":"), state_r);
	} T_END;
	return ret;
}

void pimap_look_state_init(pool_t pool, uint32_t generation,
			   uint32_t uid_validity, uint32_t next_uid,
			   struct pimap_look_state *state_r)
{
	i_zero(state_r);
	state_r->generation = generation;
	state_r->uid_validity = uid_validity;
	/* there is no UID 0 */
	state_r->next_uid = I_MAX(next_uid, 1);
	p_array_init(&state_r->undecided, pool, 4);
}

void pimap_look_state_print(const struct pimap_look_state *state,
			    string_t *dest)
{
	const struct seq_range *range;
	const char *sep = "";

	str_printfa(dest, STATE_VERSION":%u:%u:%u:", state->generation,
		    state->uid_validity, state->next_uid);
	array_foreach(&state->undecided, range) {
		str_printfa(dest, "%s%u", sep, range->seq1);
		if (range->seq2 > range->seq1)
			str_printfa(dest, "-%u", range->seq2);
		sep = ",";
	}
}
