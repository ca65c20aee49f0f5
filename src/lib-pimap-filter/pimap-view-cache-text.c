/* SPDX-License-Identifier: LGPL-2.1-only */
/* What is in a view cache's file: lines of text, but for the UIDs, which are many.
   Those are in this machine's own form, as in Dovecot's index. */

#include "lib.h"
#include "array.h"
#include "buffer.h"
#include "str.h"
#include "strescape.h"
#include "crc32.h"
#include "seq-range-array.h"
#include "pimap-view-cache.h"

#define VIEW_CACHE_HEADER "pimap-view\t4\n"
#define VIEW_CACHE_END "end\t01234567\n"

void pimap_view_cache_print(const struct pimap_view_cache *cache,
			    string_t *dest)
{
	size_t start = str_len(dest);
	const struct seq_range *ranges;
	unsigned int count;

	str_append(dest, VIEW_CACHE_HEADER);
	str_printfa(dest, "stamp\t%u\t%u\t%u\t%"PRIuUOFF_T"\t%u\t%d\t%d\n",
		    cache->uid_validity, cache->indexid, cache->log_seq,
		    cache->log_offset, cache->next_uid, cache->fixed ? 1 : 0,
		    cache->has_flags ? 1 : 0);
	str_append(dest, "filter\t");
	str_append_tabescaped(dest, cache->criteria);
	str_printfa(dest, "\nsince\t%u\t%"PRIu64"\ntime\t%"PRId64"\t",
		    cache->generation, cache->epoch_modseq,
		    (int64_t)cache->time);
	str_append_tabescaped(dest, cache->zone);
	ranges = array_get(&cache->uids, &count);
	str_printfa(dest, "\nuids\t%u\n", count);
	str_append_data(dest, ranges, count * sizeof(*ranges));
	str_printfa(dest, "end\t%08x\n",
		    crc32_data(str_data(dest) + start, str_len(dest) - start));
}

static int
cache_parse_stamp(const char *line, struct pimap_view_cache *cache_r)
{
	const char *const *args = t_strsplit(line, "\t");

	if (str_array_length(args) != 8 || strcmp(args[0], "stamp") != 0 ||
	    str_to_uint32(args[1], &cache_r->uid_validity) < 0 ||
	    str_to_uint32(args[2], &cache_r->indexid) < 0 ||
	    str_to_uint32(args[3], &cache_r->log_seq) < 0 ||
	    str_to_uoff(args[4], &cache_r->log_offset) < 0 ||
	    str_to_uint32(args[5], &cache_r->next_uid) < 0)
		return -1;
	cache_r->fixed = strcmp(args[6], "1") == 0;
	cache_r->has_flags = strcmp(args[7], "1") == 0;
	return cache_r->next_uid == 0 ? -1 : 0;
}

static int
cache_parse_since(const char *line, struct pimap_view_cache *cache_r)
{
	const char *const *args = t_strsplit(line, "\t");

	return str_array_length(args) != 3 || strcmp(args[0], "since") != 0 ||
		str_to_uint32(args[1], &cache_r->generation) < 0 ||
		str_to_uint64(args[2], &cache_r->epoch_modseq) < 0 ? -1 : 0;
}

static int
cache_parse_time(const char *line, struct pimap_view_cache *cache_r)
{
	const char *const *args = t_strsplit_tabescaped(line);
	intmax_t time;

	if (str_array_length(args) != 3 || strcmp(args[0], "time") != 0 ||
	    str_to_intmax(args[1], &time) < 0)
		return -1;
	cache_r->time = time;
	cache_r->zone = args[2];
	return 0;
}

static int
cache_parse_uids(const char *line, const void *data, size_t size,
		 struct pimap_view_cache *cache_r)
{
	struct seq_range range;
	unsigned int i, count;
	uint64_t next = 1;

	if (strncmp(line, "uids\t", 5) != 0 ||
	    str_to_uint(line + 5, &count) < 0 ||
	    size != (uint64_t)count * sizeof(range))
		return -1;
	for (i = 0; i < count; i++) {
		memcpy(&range, CONST_PTR_OFFSET(data, i * sizeof(range)),
		       sizeof(range));
		if (range.seq1 < next || range.seq2 < range.seq1)
			return -1;
		/* ranges don't touch each other */
		next = (uint64_t)range.seq2 + 2;
	}
	if (count > 0 && range.seq2 >= cache_r->next_uid)
		return -1;
	t_array_init(&cache_r->uids, count + 1);
	buffer_append(cache_r->uids.arr.buffer, data, size);
	return 0;
}

/* Returns NULL if there is no whole line any more. */
static const char *
cache_next_line(const unsigned char **data, const unsigned char *end)
{
	const unsigned char *line = *data;
	const unsigned char *lf = memchr(line, '\n', end - line);

	if (lf == NULL || memchr(line, '\0', lf - line) != NULL)
		return NULL;
	*data = lf + 1;
	return t_strdup_until(line, lf);
}

int pimap_view_cache_parse(const void *data, size_t size,
			   struct pimap_view_cache *cache_r)
{
	const size_t header_len = strlen(VIEW_CACHE_HEADER);
	const size_t end_len = strlen(VIEW_CACHE_END);
	const unsigned char *p = data, *end;
	const char *lines[6], *text;
	unsigned int i;

	i_zero(cache_r);
	if (size < header_len + end_len ||
	    memcmp(data, VIEW_CACHE_HEADER, header_len) != 0)
		return -1;
	size -= end_len;
	end = p + size;
	text = t_strdup_printf("end\t%08x\n", crc32_data(data, size));
	if (memcmp(end, text, end_len) != 0)
		return -1;
	for (i = 0; i < N_ELEMENTS(lines); i++) {
		if ((lines[i] = cache_next_line(&p, end)) == NULL)
			return -1;
	}
	if (cache_parse_stamp(lines[1], cache_r) < 0 ||
	    strncmp(lines[2], "filter\t", 7) != 0 ||
	    cache_parse_since(lines[3], cache_r) < 0 ||
	    cache_parse_time(lines[4], cache_r) < 0 ||
	    cache_parse_uids(lines[5], p, end - p, cache_r) < 0)
		return -1;
	cache_r->criteria = t_str_tabunescape(lines[2] + 7);
	return 0;
}
