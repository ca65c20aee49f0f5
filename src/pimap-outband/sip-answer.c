/* SPDX-License-Identifier: LGPL-2.1-only */
/* The parser of SIP's answers. It knows nothing of requests and connections. */

#include "lib.h"
#include "str.h"
#include "sip-answer.h"

#include <ctype.h>

static bool sip_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static const char *sip_skip_blanks(const char *p)
{
	while (sip_is_blank(*p))
		p++;
	return p;
}

/* The next line without its end. Returns FALSE if that isn't there. */
static bool
sip_next_line(const unsigned char *data, size_t size, size_t *pos,
	      const unsigned char **line_r, size_t *len_r)
{
	const unsigned char *line = data + *pos;
	const unsigned char *end = memchr(line, '\n', size - *pos);

	if (end == NULL)
		return FALSE;
	*pos = end + 1 - data;
	*line_r = line;
	*len_r = end - line;
	if (*len_r > 0 && line[*len_r - 1] == '\r')
		*len_r -= 1;
	return TRUE;
}

/* Where the quoted string, or what is between < and >, at p ends: behind it */
static const char *sip_skip_enclosed(const char *p)
{
	const char end = *p == '<' ? '>' : '"';

	for (p++; *p != '\0' && *p != end; p++) {
		if (*p == '\\' && end == '"' && p[1] != '\0')
			p++;
	}
	return *p == '\0' ? p : p + 1;
}

/* The end of a value in a list */
static const char *sip_skip_value(const char *p)
{
	while (*p != '\0' && *p != ',') {
		if (*p == '"' || *p == '<')
			p = sip_skip_enclosed(p);
		else
			p++;
	}
	return p;
}

static const char *sip_get_branch(const char *via)
{
	const char *p = via, *value;
	size_t len;

	while (*p != '\0') {
		if (*p == '"') {
			p = sip_skip_enclosed(p);
			continue;
		}
		if (*p++ != ';')
			continue;
		p = sip_skip_blanks(p);
		if (strncasecmp(p, "branch", 6) != 0)
			continue;
		value = sip_skip_blanks(p + 6);
		if (*value != '=')
			continue;
		value = sip_skip_blanks(value + 1);
		len = strcspn(value, " \t;,");
		return len == 0 ? NULL : t_strndup(value, len);
	}
	return NULL;
}

static void sip_add_via(struct sip_answer *answer, const char *value,
			unsigned int *count)
{
	const char *end;

	for (;; value = end + 1) {
		end = sip_skip_value(value);
		if (*count == 0)
			answer->branch = sip_get_branch(t_strdup_until(value, end));
		*count += 1;
		if (*end == '\0')
			break;
	}
	/* what has come over others was for them */
	if (*count > 1)
		answer->branch = NULL;
}

static void sip_set_cseq(struct sip_answer *answer, const char *value)
{
	const char *p = value;

	while (i_isdigit(*p))
		p++;
	if (p == value || !sip_is_blank(*p))
		return;
	p = sip_skip_blanks(p);
	answer->method = t_strdup_until(p, p + strcspn(p, " \t"));
}

static void sip_set_retry(struct sip_answer *answer, const char *value)
{
	size_t len = strspn(value, "0123456789");

	if (len > 0 && str_to_uint(t_strndup(value, len),
				   &answer->retry_secs) < 0)
		answer->retry_secs = UINT_MAX;
}

static void sip_set_contact(struct sip_answer *answer, const char *value)
{
	const char *p = value, *end;

	if (answer->contact != NULL)
		return;
	while (*p != '\0' && *p != '<' && *p != ',') {
		if (*p == '"')
			p = sip_skip_enclosed(p);
		else
			p++;
	}
	if (*p == '<') {
		end = sip_skip_enclosed(p);
		if (end[-1] != '>')
			return;
		answer->contact = t_strdup_until(p + 1, end - 1);
	} else {
		answer->contact = t_strdup_until(value,
						 value + strcspn(value, " \t;,"));
	}
}

static void sip_add_challenge(const char **challenges, const char *value)
{
	unsigned int i;

	for (i = 0; i < SIP_ANSWER_MAX_CHALLENGES; i++) {
		if (challenges[i] == NULL) {
			challenges[i] = value;
			break;
		}
	}
}

static int sip_set_length(struct sip_answer *answer, const char *value,
			  const char **error_r)
{
	uoff_t size;

	if (str_to_uoff(value, &size) < 0 || size > SIP_ANSWER_MAX_BODY ||
	    (answer->has_body_size && answer->body_size != size)) {
		*error_r = "invalid Content-Length";
		return -1;
	}
	answer->body_size = size;
	answer->has_body_size = TRUE;
	return 0;
}

static bool sip_name_is(const char *name, const char *full, const char *compact)
{
	return strcasecmp(name, full) == 0 ||
		(compact != NULL && strcasecmp(name, compact) == 0);
}

/* Returns 0, or -1 and error_r. What isn't understood is ignored. */
static int
sip_add_header(struct sip_answer *answer, const char *line,
	       unsigned int *vias, const char **error_r)
{
	const char *colon = strchr(line, ':'), *end, *name, *value;

	if (colon == NULL)
		return 0;
	for (end = colon; end > line && sip_is_blank(end[-1]); end--) ;
	name = t_strdup_until(line, end);
	value = sip_skip_blanks(colon + 1);
	if (sip_name_is(name, "Via", "v"))
		sip_add_via(answer, value, vias);
	else if (sip_name_is(name, "CSeq", NULL))
		sip_set_cseq(answer, value);
	else if (sip_name_is(name, "Content-Length", "l"))
		return sip_set_length(answer, value, error_r);
	else if (sip_name_is(name, "Retry-After", NULL))
		sip_set_retry(answer, value);
	else if (sip_name_is(name, "Contact", "m"))
		sip_set_contact(answer, value);
	else if (sip_name_is(name, "WWW-Authenticate", NULL))
		sip_add_challenge(answer->www, value);
	else if (sip_name_is(name, "Proxy-Authenticate", NULL))
		sip_add_challenge(answer->proxy, value);
	return 0;
}

/* "SIP/2.0 200 OK". What begins otherwise is a request. Returns 0, or -1 and error_r. */
static int
sip_set_status(struct sip_answer *answer, const char *line,
	       const char **error_r)
{
	const char *p;

	if (strncasecmp(line, "SIP/", 4) != 0)
		return 0;
	p = strncasecmp(line, "SIP/2.0 ", 8) != 0 ? NULL :
		sip_skip_blanks(line + 8);
	if (p == NULL || strspn(p, "0123456789") != 3 || p[0] < '1' ||
	    p[0] > '6' || (p[3] != '\0' && p[3] != ' ')) {
		*error_r = "invalid status line";
		return -1;
	}
	answer->status = (p[0] - '0') * 100 + (p[1] - '0') * 10 + p[2] - '0';
	answer->reason = t_strdup(sip_skip_blanks(p + 3));
	return 0;
}

/* Appends a line without blanks at its end. Returns FALSE if there is in it what no line has. */
static bool
sip_append_line(string_t *dest, const unsigned char *line, size_t len)
{
	size_t i;

	while (len > 0 && sip_is_blank(line[len - 1]))
		len--;
	for (i = 0; i < len; i++) {
		if ((line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
			return FALSE;
		str_append_c(dest, line[i] == '\t' ? ' ' : line[i]);
	}
	return TRUE;
}

/* A line with those that go on with it. Returns 1, 0 if it is the empty one, or -1. */
static int
sip_get_header(const unsigned char *data, size_t size, size_t *pos,
	       string_t *header)
{
	const unsigned char *line;
	size_t len;

	str_truncate(header, 0);
	if (!sip_next_line(data, size, pos, &line, &len))
		i_unreached();
	if (len == 0)
		return 0;
	if (!sip_append_line(header, line, len))
		return -1;
	while (*pos < size && sip_is_blank(data[*pos])) {
		if (!sip_next_line(data, size, pos, &line, &len))
			i_unreached();
		while (len > 0 && sip_is_blank(*line)) {
			line++;
			len--;
		}
		str_append_c(header, ' ');
		if (!sip_append_line(header, line, len))
			return -1;
	}
	return 1;
}

/* Returns where the headers end, 0 if they don't. */
static size_t sip_find_end(const unsigned char *data, size_t size, size_t pos)
{
	const unsigned char *line;
	size_t len;

	while (sip_next_line(data, size, &pos, &line, &len)) {
		if (len == 0)
			return pos;
	}
	return 0;
}

int sip_answer_parse(const unsigned char *data, size_t size,
		     struct sip_answer *answer_r, const char **error_r)
{
	string_t *header;
	unsigned int vias = 0;
	size_t pos = 0, end;
	bool start = TRUE;
	int ret;

	i_zero(answer_r);
	size = I_MIN(size, SIP_ANSWER_MAX_HEADER);
	/* to keep a connection open, some send empty lines */
	while (pos < size && (data[pos] == '\r' || data[pos] == '\n'))
		pos++;
	end = sip_find_end(data, size, pos);
	if (end == 0) {
		if (size < SIP_ANSWER_MAX_HEADER)
			return 0;
		*error_r = "its headers are too long";
		return -1;
	}
	header = t_str_new(256);
	while ((ret = sip_get_header(data, end, &pos, header)) > 0) {
		if (start)
			ret = sip_set_status(answer_r, str_c(header), error_r);
		else
			ret = sip_add_header(answer_r, t_strdup(str_c(header)),
					     &vias, error_r);
		if (ret < 0)
			return -1;
		start = FALSE;
	}
	if (ret < 0) {
		*error_r = "there are control characters in it";
		return -1;
	}
	answer_r->header_size = end;
	return 1;
}
