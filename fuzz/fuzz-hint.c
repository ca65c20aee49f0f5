/* SPDX-License-Identifier: LGPL-2.1-only */
/* Lines that anybody may send as hints. */

#include "fuzz-outband.h"
#include "outband-answer.c"
#include "outband-payload.c"
#include "outband-hint.c"

struct outband_judge_wait *
outband_judge_changed(struct outband_judge *judge ATTR_UNUSED,
		      const char *user ATTR_UNUSED,
		      outband_judge_wait_callback_t *callback ATTR_UNUSED,
		      void *context ATTR_UNUSED)
{
	i_unreached();
}

void outband_judge_unwait(struct outband_judge_wait **wait ATTR_UNUSED)
{
	i_unreached();
}

bool outband_judge_add_user(struct outband_judge *judge ATTR_UNUSED,
			    const char *user ATTR_UNUSED)
{
	i_unreached();
}

static void check_hint(const char *line)
{
	const char *const *args = t_strsplit_tabescaped(line);
	const char *user, *guid, *note, *error = NULL;
	bool wait;

	/* Dovecot's connections refuse empty lines */
	if (args[0] == NULL)
		return;
	if (!outband_hint_parse(args, &user, &guid, &note, &wait, &error)) {
		fuzz_check_line(error);
		return;
	}
	fuzz_check_line(user);
	i_assert(*user != '\0' && strlen(user) <= OUTBAND_HINT_MAX_USER);
	if (*guid != '\0')
		fuzz_check_guid(guid);
	/* the others have no answer */
	i_assert(!wait || *guid == '\0');
	if (note != NULL) {
		fuzz_check_line(note);
		i_assert(strlen(note) <= PIMAP_NOTE_MAX_SIZE);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(NULL);
	T_BEGIN {
		const char *const *lines = fuzz_lines(data, size);

		for (; *lines != NULL; lines++)
			check_hint(*lines);
	} T_END;
	return 0;
}
