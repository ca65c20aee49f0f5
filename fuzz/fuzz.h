/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef FUZZ_H
#define FUZZ_H

/* What libFuzzer calls, or fuzz-main.c in its place */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* At the first call: libdovecot has to be initialised */
static inline void fuzz_init(void (*init)(void))
{
	static bool done = FALSE;

	if (done)
		return;
	done = TRUE;
	lib_init();
	if (init != NULL)
		init();
}

#endif
