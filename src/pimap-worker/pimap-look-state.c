/* SPDX-License-Identifier: LGPL-2.1-only */
/* Accounted states as text:

     3:<baseline's generation>:<UIDVALIDITY>:<UIDNEXT>:<once>:<twice>:...
      :<HIGHESTMODSEQ>:<newest>:<pushed>

   After UIDNEXT the UIDs of messages that couldn't be read so often: empty, or
   UIDs and ranges of them, rising, separated by commas. The newest ones are as in
   pimap-newest.h. What is pushed is "-", <filters>*<number of messages>, or that and
   =<UIDs>. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "pimap-look-state.h"

#define STATE_VERSION "3"

/* before HIGHESTMODSEQ */
#define STATE_FIELDS_HEAD (4 + PIMAP_LOOK_TRIES)
#define STATE_FIELDS (STATE_FIELDS_HEAD + 3)

#define STATE_FILTERS_LEN 16

/* Adds a UID or a range that is above all there is. */
static bool
state_add_range(const struct pimap_look_state *state,
		ARRAY_TYPE(seq_range) *uids, const char *text)
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
	last = array_get(uids, &count);
	if (count > 0 && last[count-1].seq2 >= seq1)
		return FALSE;
	seq_range_array_add_range(uids, seq1, seq2);
	return TRUE;
}

static bool
state_parse_uids(const struct pimap_look_state *state,
		 ARRAY_TYPE(seq_range) *uids, const char *text)
{
	const char *const *ranges;

	if (text[0] == '\0')
		return TRUE;
	ranges = t_strsplit(text, ",");
	for (; *ranges != NULL; ranges++) {
		if (!state_add_range(state, uids, *ranges))
			return FALSE;
	}
	return TRUE;
}

/* None is in two of them, and they aren't too many. */
static bool state_undecided_are_valid(const struct pimap_look_state *state)
{
	const ARRAY_TYPE(seq_range) *undecided = state->undecided;
	const struct seq_range *range;
	unsigned int i, j;
	uint64_t total = 0;

	for (i = 0; i < PIMAP_LOOK_TRIES; i++) {
		array_foreach(&undecided[i], range)
			total += (uint64_t)range->seq2 - range->seq1 + 1;
	}
	if (total > PIMAP_LOOK_MAX_UNDECIDED)
		return FALSE;
	for (i = 0; i < PIMAP_LOOK_TRIES; i++) {
		for (j = 0; j < i; j++) {
			if (seq_range_array_have_common(&undecided[i],
							&undecided[j]))
				return FALSE;
		}
	}
	return TRUE;
}

static bool
state_parse_pushed(struct pimap_look_state *state, const char *text)
{
	const char *rest;

	if (strcmp(text, "-") == 0)
		return TRUE;
	if (strlen(text) <= STATE_FILTERS_LEN ||
	    text[STATE_FILTERS_LEN] != '*' ||
	    str_to_uint64_hex(t_strndup(text, STATE_FILTERS_LEN),
			      &state->pushed_filters) < 0 ||
	    str_parse_uint32(text + STATE_FILTERS_LEN + 1,
			     &state->pushed_count, &rest) < 0 ||
	    state->pushed_count >= state->next_uid)
		return FALSE;
	if (*rest == '\0') {
		state->pushed_type = PIMAP_LOOK_PUSHED_COUNT;
		return TRUE;
	}
	state->pushed_type = PIMAP_LOOK_PUSHED_UIDS;
	return *rest == '=' &&
		state_parse_uids(state, &state->pushed, rest + 1) &&
		seq_range_count(&state->pushed) <= state->pushed_count;
}

static int
state_parse_fields(const char *const *fields, struct pimap_look_state *state)
{
	unsigned int i;

	if (str_array_length(fields) != STATE_FIELDS ||
	    strcmp(fields[0], STATE_VERSION) != 0 ||
	    str_to_uint32(fields[1], &state->generation) < 0 ||
	    str_to_uint32(fields[2], &state->uid_validity) < 0 ||
	    str_to_uint32(fields[3], &state->next_uid) < 0 ||
	    state->next_uid == 0)
		return -1;
	for (i = 0; i < PIMAP_LOOK_TRIES; i++) {
		if (!state_parse_uids(state, &state->undecided[i],
				      fields[4+i]))
			return -1;
	}
	fields += STATE_FIELDS_HEAD;
	return state_undecided_are_valid(state) &&
		str_to_uint64(fields[0], &state->modseq) == 0 &&
		pimap_newest_parse(fields[1], state->next_uid,
				   &state->newest) == 0 &&
		state_parse_pushed(state, fields[2]) ? 0 : -1;
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
	p_array_init(&state_r->pushed, pool, 4);
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

bool pimap_look_state_pushed_fits(const struct pimap_look_state *state,
				  size_t max_size)
{
	string_t *str;
	bool ret;

	T_BEGIN {
		str = t_str_new(1024);
		state_print_uids(&state->pushed, str);
		ret = str_len(str) <= max_size;
	} T_END;
	return ret;
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
	str_printfa(dest, ":%"PRIu64":", state->modseq);
	pimap_newest_print(&state->newest, dest);
	str_append_c(dest, ':');
	if (state->pushed_type == PIMAP_LOOK_PUSHED_NONE) {
		str_append_c(dest, '-');
		return;
	}
	str_printfa(dest, "%016"PRIx64"*%u", state->pushed_filters,
		    state->pushed_count);
	if (state->pushed_type == PIMAP_LOOK_PUSHED_UIDS) {
		str_append_c(dest, '=');
		state_print_uids(&state->pushed, dest);
	}
}
