/* SPDX-License-Identifier: LGPL-2.1-only */
/* Messages that kill: which ones the service knows of, and by which one it is known
   after the next death. */

#include "lib.h"
#include "array.h"
#include "ostream.h"
#include "worker-caution.h"

static struct {
	ARRAY_TYPE(seq_range) skipped;
	struct ostream *output;
} caution;

int worker_caution_set(const char *uids, struct ostream *output)
{
	const char *const *uid;
	uint32_t number;

	worker_caution_reset();
	if (uids[0] != '\0') {
		for (uid = t_strsplit(uids, ","); *uid != NULL; uid++) {
			if (str_to_uint32(*uid, &number) < 0 || number == 0)
				return -1;
			seq_range_array_add(&caution.skipped, number);
		}
	}
	caution.output = output;
	return 0;
}

void worker_caution_reset(void)
{
	if (!array_is_created(&caution.skipped))
		i_array_init(&caution.skipped, 4);
	array_clear(&caution.skipped);
	caution.output = NULL;
}

const ARRAY_TYPE(seq_range) *worker_caution_get_skipped(void)
{
	return &caution.skipped;
}

bool worker_caution_tells(void)
{
	return caution.output != NULL;
}

void worker_caution_tell(uint32_t uid)
{
	o_stream_nsend_str(caution.output, t_strdup_printf("AT\t%u\n", uid));
	/* nobody else would do it when this process dies */
	(void)o_stream_flush(caution.output);
}
