/* SPDX-License-Identifier: LGPL-2.1-only */

#include "lib.h"
#include "pimap-profile-peek.h"

#define PEEK_START PIMAP_PROFILE_HEADER PIMAP_PROFILE_GENERATION

enum pimap_profile_peek
pimap_profile_peek(const unsigned char *data, size_t size)
{
	const size_t start = strlen(PEEK_START);
	const char *line, *const *numbers;
	const unsigned char *end;

	if (size < start || memcmp(data, PEEK_START, start) != 0)
		return PIMAP_PROFILE_PEEK_ALL;
	end = memchr(data + start, '\n', size - start);
	if (end == NULL)
		return PIMAP_PROFILE_PEEK_ALL;
	/* of views, of the whole, and that; profiles from before there were
	   channels don't have it */
	line = t_strdup_until(data + start, end);
	numbers = t_strsplit(line, "\t");
	if (str_array_length(numbers) < 3)
		return PIMAP_PROFILE_PEEK_NONE;
	if (numbers[2][0] < '0' || numbers[2][0] > '3' ||
	    numbers[2][1] != '\0')
		return PIMAP_PROFILE_PEEK_ALL;
	return numbers[2][0] - '0';
}
