/* SPDX-License-Identifier: LGPL-2.1-only */
/* Workers' answers: the first octet chooses the job. A worker that has opened
   somebody's mail may say anything. */

#include "fuzz-outband.h"
#include "outband-answer.c"
#include "outband-payload.c"

static void check_event(const struct outband_event *event)
{
	i_assert(outband_payload_event_is_known(event->name));
	i_assert(str_array_length(t_strsplit_tabescaped(event->fields)) <=
		 OUTBAND_PAYLOAD_FIELDS);
	i_assert(strchr(event->fields, '\n') == NULL);
}

static void check_answer(const struct outband_answer *answer)
{
	const struct outband_found *found, *other;
	const struct outband_event *event;
	const char *guid;

	i_assert(answer->size <= OUTBAND_ANSWER_MAX_SIZE);
	array_foreach_elem(&answer->folders, guid)
		fuzz_check_guid(guid);
	array_foreach(&answer->found, found) {
		/* these are in the log, and in lines of other protocols */
		fuzz_check_line(found->device);
		fuzz_check_line(found->channel);
		i_assert(*found->device != '\0' && found->generation >= 0);
		i_assert(answer->folder != NULL && found->address != NULL &&
			 found->format != NULL && found->state != NULL);
		array_foreach(&answer->found, other) {
			i_assert(other == found ||
				 strcmp(other->device, found->device) != 0);
		}
		i_assert(array_count(&found->events) <= PIMAP_LOOK_MAX_EVENTS);
		array_foreach(&found->events, event)
			check_event(event);
	}
	i_assert(answer->judged.generation >= -1);
	if (answer->judged.verdicts != NULL) {
		fuzz_check_line(answer->judged.channel);
		i_assert(answer->judged.generation >= 0);
		i_assert(strspn(answer->judged.verdicts, "012") ==
			 strlen(answer->judged.verdicts) &&
			 strlen(answer->judged.verdicts) <=
			 PIMAP_LOOK_MAX_JUDGED);
	}
	i_assert(array_count(&answer->folders) == 0 || answer->guid == NULL);
}

static void check_lines(const char *guid, const char *const *lines)
{
	struct outband_answer *answer = outband_answer_init(guid);
	const char *error = NULL;
	int ret = 0;

	for (; *lines != NULL && ret == 0; lines++)
		ret = outband_answer_add(answer, t_strsplit_tabescaped(*lines),
					 &error);
	i_assert((ret < 0) == (error != NULL));
	if (ret < 0)
		fuzz_check_line(error);
	else
		check_answer(answer);
	i_assert((ret > 0) == (answer->reason != NULL));
	outband_answer_deinit(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(NULL);
	if (size == 0)
		return 0;
	T_BEGIN {
		check_lines(data[0] == 'F' ? NULL :
			    "0123456789abcdef0123456789abcdef",
			    fuzz_lines(data + 1, size - 1));
	} T_END;
	return 0;
}
