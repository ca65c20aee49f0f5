/* SPDX-License-Identifier: LGPL-2.1-only */
/* Frames of STOMP 1.2: a command, headers, a body that ends with NUL, and empty lines
   between them, which are heart-beats. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "strnum.h"
#include "unichar.h"
#include "stomp-frame.h"

#include <ctype.h>

/* a day: it is multiplied */
#define STOMP_MAX_HEART_BEAT (24U*60*60*1000)

void stomp_frame_begin(string_t *dest, const char *command)
{
	str_append(dest, command);
	str_append_c(dest, '\n');
}

static void stomp_append_escaped(string_t *dest, const char *text)
{
	for (; *text != '\0'; text++) {
		switch (*text) {
		case '\\':
			str_append(dest, "\\\\");
			break;
		case '\r':
			str_append(dest, "\\r");
			break;
		case '\n':
			str_append(dest, "\\n");
			break;
		case ':':
			str_append(dest, "\\c");
			break;
		default:
			str_append_c(dest, *text);
			break;
		}
	}
}

void stomp_frame_header(string_t *dest, const char *name, const char *value)
{
	stomp_append_escaped(dest, name);
	str_append_c(dest, ':');
	stomp_append_escaped(dest, value);
	str_append_c(dest, '\n');
}

void stomp_frame_header_raw(string_t *dest, const char *name, const char *value)
{
	i_assert(strpbrk(value, "\r\n") == NULL);
	str_printfa(dest, "%s:%s\n", name, value);
}

void stomp_frame_end(string_t *dest, const char *body)
{
	str_append_c(dest, '\n');
	str_append(dest, body);
	str_append_c(dest, '\0');
}

static void stomp_append_surrogate(string_t *dest, unsigned int half)
{
	str_append_c(dest, 0xe0 | (half >> 12));
	str_append_c(dest, 0x80 | ((half >> 6) & 0x3f));
	str_append_c(dest, 0x80 | (half & 0x3f));
}

void stomp_frame_end_modified(string_t *dest, const char *body)
{
	unichar_t chr;

	str_append_c(dest, '\n');
	while (*body != '\0') {
		if (((unsigned char)*body & 0xf8) == 0xf0 &&
		    uni_utf8_get_char(body, &chr) == 4) {
			chr -= 0x10000;
			stomp_append_surrogate(dest, 0xd800 | (chr >> 10));
			stomp_append_surrogate(dest, 0xdc00 | (chr & 0x3ff));
			body += 4;
		} else {
			str_append_c(dest, *body++);
		}
	}
	str_append_c(dest, '\0');
}

bool stomp_server_needs_modified(const char *server)
{
	static const char name[] = "ActiveMQ/";
	unsigned int version[3] = { 0, 0, 0 }, i;

	if (strncmp(server, name, strlen(name)) != 0)
		return FALSE;
	server += strlen(name);
	for (i = 0; i < N_ELEMENTS(version); i++) {
		if (str_parse_uint(server, &version[i], &server) < 0)
			return FALSE;
		if (*server != '.')
			break;
		server++;
	}
	if (version[0] == 6) {
		return version[1] == 0 ||
			(version[1] == 1 && version[2] < 4);
	}
	return version[0] < 5 || (version[0] == 5 &&
		(version[1] < 18 || (version[1] == 18 && version[2] < 6)));
}

/* Returns NULL if there is an escape that isn't one. */
static const char *stomp_unescape(const char *text)
{
	string_t *dest;

	if (strchr(text, '\\') == NULL)
		return text;
	dest = t_str_new(strlen(text));
	for (; *text != '\0'; text++) {
		if (*text != '\\') {
			str_append_c(dest, *text);
			continue;
		}
		switch (*++text) {
		case '\\':
			str_append_c(dest, '\\');
			break;
		case 'r':
			str_append_c(dest, '\r');
			break;
		case 'n':
			str_append_c(dest, '\n');
			break;
		case 'c':
			str_append_c(dest, ':');
			break;
		default:
			return NULL;
		}
	}
	return str_c(dest);
}

/* Returns the line without its end, or NULL if it isn't whole. */
static const char *stomp_next_line(const unsigned char **data, size_t *size)
{
	const unsigned char *end = memchr(*data, '\n', *size);
	const char *line;
	size_t len;

	if (end == NULL)
		return NULL;
	len = end - *data;
	line = t_strndup(*data, len > 0 && (*data)[len-1] == '\r' ?
			 len - 1 : len);
	*size -= len + 1;
	*data = end + 1;
	return line;
}

/* Where the head ends, 0: it isn't whole. */
static size_t stomp_head_size(const unsigned char *data, size_t size)
{
	const unsigned char *p = data, *end = data + size;

	while ((p = memchr(p, '\n', end - p)) != NULL) {
		p++;
		if (p < end && *p == '\n')
			return p + 1 - data;
		if (end - p >= 2 && p[0] == '\r' && p[1] == '\n')
			return p + 2 - data;
	}
	return 0;
}

static int
stomp_parse_header(ARRAY_TYPE(const_string) *headers, const char *line,
		   bool escaped, const char **error_r)
{
	const char *name, *value, *colon = strchr(line, ':');

	if (colon == NULL || colon == line) {
		*error_r = "a header without a name";
		return -1;
	}
	name = t_strdup_until(line, colon);
	value = colon + 1;
	if (escaped) {
		name = stomp_unescape(name);
		value = stomp_unescape(value);
		if (name == NULL || value == NULL) {
			*error_r = "a header with an unknown escape";
			return -1;
		}
	}
	if (array_count(headers) >= STOMP_MAX_HEADERS * 2) {
		*error_r = "too many headers";
		return -1;
	}
	array_push_back(headers, &name);
	array_push_back(headers, &value);
	return 0;
}

static int
stomp_parse_head(const unsigned char *data, size_t size,
		 struct stomp_frame *frame_r, const char **error_r)
{
	ARRAY_TYPE(const_string) headers;
	const char *line;
	bool escaped;

	frame_r->command = stomp_next_line(&data, &size);
	i_assert(frame_r->command != NULL);
	for (line = frame_r->command; *line != '\0'; line++) {
		if (!i_isupper(*line)) {
			*error_r = "what it sends isn't STOMP";
			return -1;
		}
	}
	escaped = strcmp(frame_r->command, "CONNECTED") != 0;
	t_array_init(&headers, 32);
	while ((line = stomp_next_line(&data, &size)) != NULL && *line != '\0') {
		if (stomp_parse_header(&headers, line, escaped, error_r) < 0)
			return -1;
	}
	array_append_zero(&headers);
	frame_r->headers = array_front(&headers);
	return 0;
}

int stomp_frame_parse(const unsigned char *data, size_t size, size_t *used_r,
		      struct stomp_frame *frame_r, const char **error_r)
{
	const unsigned char *end, *start = data;
	const char *value;
	size_t head;
	uint64_t length;

	i_zero(frame_r);
	while (size > 0 && (*data == '\n' || *data == '\r')) {
		data++;
		size--;
	}
	*used_r = data - start;
	if (size == 0)
		return 0;
	head = stomp_head_size(data, size);
	if (memchr(data, '\0', head == 0 ? size : head) != NULL) {
		*error_r = "what it sends isn't STOMP";
		return -1;
	}
	if (head > STOMP_MAX_HEAD || (head == 0 && size > STOMP_MAX_HEAD)) {
		*error_r = "a frame's headers are too long";
		return -1;
	}
	if (head == 0)
		return 0;
	if (stomp_parse_head(data, head, frame_r, error_r) < 0)
		return -1;
	data += head;
	size -= head;
	frame_r->body = data;
	value = stomp_frame_get(frame_r, "content-length");
	if (value == NULL) {
		end = memchr(data, '\0', size);
		if (end != NULL) {
			frame_r->body_size = end - data;
			*used_r = end + 1 - start;
			return 1;
		}
		length = size;
	} else if (str_to_uint64(value, &length) < 0) {
		*error_r = "content-length isn't a number";
		return -1;
	}
	if (length > STOMP_MAX_FRAME - head - 1) {
		*error_r = "a frame is too long";
		return -1;
	}
	if (value == NULL || size <= length)
		return 0;
	if (data[length] != '\0') {
		*error_r = "a frame is longer than its content-length";
		return -1;
	}
	frame_r->body_size = length;
	*used_r = data + length + 1 - start;
	return 1;
}

const char *stomp_frame_get(const struct stomp_frame *frame, const char *name)
{
	const char *const *header;

	for (header = frame->headers; *header != NULL; header += 2) {
		if (strcmp(header[0], name) == 0)
			return header[1];
	}
	return NULL;
}

int stomp_heart_beat_parse(const char *value, unsigned int *sends_r,
			   unsigned int *wants_r)
{
	const char *end;

	if (str_parse_uint(value, sends_r, &end) < 0 || *end != ',' ||
	    str_to_uint(end + 1, wants_r) < 0)
		return -1;
	*sends_r = I_MIN(*sends_r, STOMP_MAX_HEART_BEAT);
	*wants_r = I_MIN(*wants_r, STOMP_MAX_HEART_BEAT);
	return 0;
}
