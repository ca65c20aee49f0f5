/* SPDX-License-Identifier: LGPL-2.1-only */
/* What an MMSC answers: a line with HTTP's status, and the text. */

#include "fuzz-outband.h"
#include "str.h"
#include "../src/pimap-outband/outband-mm7.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(NULL);
	T_BEGIN {
		const char *text = t_strndup(data, size);
		const char *p = strchr(text, '\n');
		struct outband_channel_result result;
		string_t *answer = t_str_new(1024);
		unsigned int status;

		if (p != NULL && str_to_uint(t_strdup_until(text, p),
					     &status) == 0) {
			str_append_max(answer, p + 1, OUTBAND_MM7_MAX_ANSWER);
			i_zero(&result);
			outband_mm7_judge(status, answer, &result);
			i_assert(result.outcome <= OUTBAND_CHANNEL_UNREGISTER);
			i_assert(!result.fault ||
				 result.outcome == OUTBAND_CHANNEL_RETRY);
			if (result.error != NULL)
				fuzz_check_reply(result.error);
			/* only its word makes it one of these */
			if (result.outcome == OUTBAND_CHANNEL_SENT) {
				i_assert(strstr(p, "1000") != NULL ||
					 strstr(p, "1100") != NULL ||
					 strchr(p, '&') != NULL);
			} else if (result.outcome == OUTBAND_CHANNEL_UNREGISTER) {
				i_assert(strstr(p, "2003") != NULL ||
					 strchr(p, '&') != NULL);
			}
		}
	} T_END;
	return 0;
}
