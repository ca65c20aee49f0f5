/* SPDX-License-Identifier: LGPL-2.1-only */
/* Accounted states as text:

     1:<baseline's generation>:<UIDVALIDITY>:<UIDNEXT>:<once>:<twice>:...

   The last ones are the UIDs of messages that couldn't be read so often: empty, or
   UIDs and ranges of them, rising, separated by commas. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "pimap-look-state.h"

#define STATE_VERSION "1"

static bool
state_add_range(struct pimap_look_state *state, ARRAY_TYPE(seq_range) *uids,
		const char *text)
{
	const struct seq_range *last;
	unsigned int i, count, total = 0;
	const char *dash = strchr(text, '-');
	uint32_t seq1, seq2;

	if (str_to_uint32(dash == NULL ? text : t_strdup_until(text, dash),
			  &seq1) < 0 ||
	    str_to_uint32(dash == NULL ? text : dash + 1, &seq2) < 0 ||
	    seq1 == 0 || seq1 > seq2 || seq2 >= state->next_uid ||
	    seq2 - seq1 >= PIMAP_LOOK_MAX_UNDECIDED)
		return FALSE;
	last = array_get(uids, &count);
	if (count > 0 && last[count-1].seq2 >= seq1)
		return FALSE;
	seq_range_array_add_range(uids, seq1, seq2);
	for (i = 0; i < PIMAP_LOOK_TRIES; i++) {
		if (&state->undecided[i] != uids &&
		    seq_range_array_have_common(&state->undecided[i], uids))
			return FALSE;
		total += seq_range_count(&state->undecided[i]);
	}
	return total <= PIMAP_LOOK_MAX_UNDECIDED;
}

static int
state_parse_fields(const char *const *fields, struct pimap_look_state *state)
{
	const char *const *ranges;
	unsigned int i;

	if (str_array_length(fields) != 4 + PIMAP_LOOK_TRIES ||
	    strcmp(fields[0], STATE_VERSION) != 0 ||
	    str_to_uint32(fields[1], &state->generation) < 0 ||
	    str_to_uint32(fields[2], &state->uid_validity) < 0 ||
	    str_to_uint32(fields[3], &state->next_uid) < 0 ||
	    state->next_uid == 0)
		return -1;
	for (i = 0; i < PIMAP_LOOK_TRIES; i++) {
		if (fields[4+i][0] == '\0')
			continue;
		ranges = t_strsplit(fields[4+i], ",");
		for (; *ranges != NULL; ranges++) {
			if (!state_add_range(state, &state->undecided[i],
					     *ranges))
				return -1;
		}
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
	unsigned int i;

	i_zero(state_r);
	state_r->generation = generation;
	state_r->uid_validity = uid_validity;
	/* there is no UID 0 */
	state_r->next_uid = I_MAX(next_uid, 1);
	for (i = 0; i < PIMAP_LOOK_TRIES; i++)
		p_array_init(&state_r->undecided[i], pool, 4);
}

static void
state_print_uids(const ARRAY_TYPE(seq_range) *uids, string_t *dest)
{
	const struct seq_range *range;
	const char *sep = "";

	array_foreach(uids, range) {
		str_printfa(dest, "%s%u", sep, range->seq1);
		if (range->seq2 > range->seq1)
			str_printfa(dest, "-%u", range->seq2);
		sep = ",";
	}
}

void pimap_look_state_print(const struct pimap_look_state *state,
			    string_t *dest)
{
	unsigned int i;

	str_printfa(dest, STATE_VERSION":%u:%u:%u", state->generation,
		    state->uid_validity, state->next_uid);
	for (i = 0; i < PIMAP_LOOK_TRIES; i++) {
		str_append_c(dest, ':');
		state_print_uids(&state->undecided[i], dest);
	}
}
