/* SPDX-License-Identifier: LGPL-2.1-only */
/* Texts of mail, for notifications */

#include "lib.h"
#include "str.h"
#include "unichar.h"
#include "pimap-text.h"

/* Of a valid character: its bytes, and itself */
static unsigned int text_get_char(const unsigned char *p, unichar_t *chr_r)
{
	unsigned int i, len = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;

	*chr_r = len == 1 ? *p : *p & (0x7f >> len);
	for (i = 1; i < len; i++)
		*chr_r = *chr_r << 6 | (p[i] & 0x3f);
	return len;
}

static bool text_is_blank(unichar_t chr)
{
	return chr <= 0x20 || (chr >= 0x7f && chr <= 0xa0) ||
		chr == 0x1680 || (chr >= 0x2000 && chr <= 0x200a) ||
		chr == 0x2028 || chr == 0x2029 || chr == 0x202f ||
		chr == 0x205f || chr == 0x3000;
}

/* Not the joiners, which belong to words and pictures */
static bool text_is_left_out(unichar_t chr)
{
	return chr == 0x061c || chr == 0x200b || chr == 0x200e ||
		chr == 0x200f || (chr >= 0x202a && chr <= 0x202e) ||
		(chr >= 0x2060 && chr <= 0x206f) || chr == 0xfeff ||
		/* no characters, in each plane and of Arabic */
		(chr & 0xfffe) == 0xfffe || (chr >= 0xfdd0 && chr <= 0xfdef) ||
		/* tags, which nothing shows */
		(chr >= 0xe0000 && chr <= 0xe001f);
}

void pimap_text_append_clean(string_t *dest, const char *text, size_t max)
{
	const unsigned char *p;
	string_t *valid = t_str_new(128);
	size_t start = str_len(dest), used;
	bool blank = FALSE;
	unsigned int len;
	unichar_t chr;

	if (!uni_utf8_get_valid_data((const unsigned char *)text, strlen(text),
				     valid))
		text = str_c(valid);
	for (p = (const unsigned char *)text; *p != '\0'; p += len) {
		len = text_get_char(p, &chr);
		if (text_is_blank(chr)) {
			blank = TRUE;
			continue;
		}
		if (text_is_left_out(chr))
			continue;
		used = str_len(dest) - start;
		blank = blank && used > 0;
		if (used + (blank ? 1 : 0) + len > max)
			break;
		if (blank)
			str_append_c(dest, ' ');
		str_append_data(dest, p, len);
		blank = FALSE;
	}
}

const char *pimap_text_get_reply(const char *text, size_t max)
{
	string_t *dest = t_str_new(128);
	size_t whole = 0;
	unichar_t chr;
	int len;

	i_assert(max >= 3);
	if (text == NULL)
		return NULL;
	for (; *text != '\0'; text += I_MAX(len, 1)) {
		len = uni_utf8_get_char(text, &chr);
		if (len <= 0 || text_is_left_out(chr) || chr < 0x20 ||
		    (chr >= 0x7f && chr < 0xa0) ||
		    chr == 0x2028 || chr == 0x2029)
			str_append_c(dest, '?');
		else
			str_append_data(dest, text, len);
		if (str_len(dest) > max) {
			str_truncate(dest, whole);
			str_append(dest, "...");
			break;
		}
		if (str_len(dest) <= max - 3)
			whole = str_len(dest);
	}
	return str_c(dest);
}

size_t pimap_text_cut(const char *text, size_t max)
{
	size_t len = strlen(text);

	if (len <= max)
		return len;
	while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
		max--;
	return max;
}

const char *pimap_text_get_line(pool_t pool, const char *value)
{
	size_t i, len = strlen(value);

	while (len > 0 && (value[len-1] == '\n' || value[len-1] == '\r'))
		len--;
	for (i = 0; i < len; i++) {
		if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
			return NULL;
	}
	return p_strndup(pool, value, len);
}
