/* SPDX-License-Identifier: LGPL-2.1-only */

#include "lib.h"
#include "pimap-profile-peek.h"

#define PEEK_START PIMAP_PROFILE_HEADER PIMAP_PROFILE_GENERATION

bool pimap_profile_peek_channels(const unsigned char *data, size_t size)
{
	const size_t start = strlen(PEEK_START);
	const char *line, *const *numbers;
	const unsigned char *end;

	if (size < start || memcmp(data, PEEK_START, start) != 0)
		return TRUE;
	end = memchr(data + start, '\n', size - start);
	if (end == NULL)
		return TRUE;
	/* of views, of the whole, and that; profiles from before there were
	   channels don't have it */
	line = t_strdup_until(data + start, end);
	numbers = t_strsplit(line, "\t");
	if (str_array_length(numbers) < 3)
		return FALSE;
	return strcmp(numbers[2], "0") != 0;
}
