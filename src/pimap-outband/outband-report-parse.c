/* SPDX-License-Identifier: LGPL-2.1-only */

#include "lib.h"
#include "hex-binary.h"
#include "str.h"
#include "pimap-text.h"
#include "outband-report-parse.h"

/* Kannel's types of reports. It may add up some. */
#define KANNEL_DELIVERED 1
#define KANNEL_FAILED 2
#define KANNEL_REJECTED 16

/* 3GPP TS 23.040, 9.2.3.15 */
#define SMSD_STATUS_TRYING 32
#define SMSD_STATUS_FAILED 64

static const char *report_text(const char *text)
{
	return pimap_text_get_reply(text, OUTBAND_REPORT_MAX_TEXT);
}

static bool report_text_is_clean(const char *text)
{
	return strcmp(report_text(text), text) == 0;
}

static bool token_get_number(const char **text, int64_t *number_r)
{
	const char *end = strchr(*text, '.');
	const char *number;

	if (end == NULL)
		return FALSE;
	number = t_strdup_until(*text, end);
	/* there is just one way to write it */
	if (number[0] < '1' || number[0] > '9' ||
	    str_to_int64(number, number_r) < 0)
		return FALSE;
	*text = end + 1;
	return TRUE;
}

bool outband_report_token_parse(const char *text,
				struct outband_report_token *token_r)
{
	buffer_t *mac = t_buffer_create(OUTBAND_REPORT_MAC_SIZE);

	i_zero(token_r);
	if (strlen(text) > OUTBAND_REPORT_MAX_TOKEN ||
	    !token_get_number(&text, &token_r->id) ||
	    !token_get_number(&text, &token_r->seq) ||
	    strspn(text, "0123456789abcdef") != strlen(text) ||
	    strlen(text) != OUTBAND_REPORT_MAC_SIZE * 2 ||
	    hex_to_binary(text, mac) < 0)
		return FALSE;
	memcpy(token_r->mac, mac->data, sizeof(token_r->mac));
	return TRUE;
}

/* Kannel's */

static int query_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool query_decode(const char *value, const char **text_r)
{
	string_t *text = t_str_new(128);
	int high, low;

	for (; *value != '\0'; value++) {
		if (*value == '+') {
			str_append_c(text, ' ');
		} else if (*value != '%') {
			str_append_c(text, *value);
		} else {
			high = query_hex(value[1]);
			low = high < 0 ? -1 : query_hex(value[2]);
			if (low < 0)
				return FALSE;
			/* a NUL is none of a text */
			str_append_c(text, (high | low) == 0 ? '?' :
				     high << 4 | low);
			value += 2;
		}
	}
	*text_r = str_c(text);
	return TRUE;
}

/* What the receipt repeats of the message's text is nobody's business here. */
static const char *query_cut_receipt(const char *receipt)
{
	const char *p;

	for (p = receipt; *p != '\0'; p++) {
		if (strncasecmp(p, "text:", 5) == 0)
			break;
	}
	while (p > receipt && p[-1] == ' ')
		p--;
	return t_strdup_until(receipt, p);
}

static bool
query_get_status(const char *type, enum outband_report_status *status_r)
{
	unsigned int number;

	if (str_to_uint(type, &number) < 0)
		return FALSE;
	if ((number & (KANNEL_FAILED | KANNEL_REJECTED)) != 0)
		*status_r = OUTBAND_REPORT_FAILED;
	else if ((number & KANNEL_DELIVERED) != 0)
		*status_r = OUTBAND_REPORT_DELIVERED;
	else
		*status_r = OUTBAND_REPORT_PENDING;
	return TRUE;
}

bool outband_report_query_parse(const char *query,
				struct outband_report_query *query_r)
{
	static const char *const names[] = {
		"pimap", "type", "reply", "receipt"
	};
	const char *values[N_ELEMENTS(names)] = { NULL };
	const char *const *args, *value;
	unsigned int i;

	i_zero(query_r);
	if (strlen(query) > OUTBAND_REPORT_MAX_QUERY)
		return FALSE;
	for (args = t_strsplit(query, "&"); *args != NULL; args++) {
		value = strchr(*args, '=');
		if (value == NULL)
			continue;
		for (i = 0; i < N_ELEMENTS(names); i++) {
			if (strlen(names[i]) != (size_t)(value - *args) ||
			    strncmp(*args, names[i], value - *args) != 0)
				continue;
			/* none of them twice */
			if (values[i] != NULL ||
			    !query_decode(value + 1, &values[i]))
				return FALSE;
		}
	}
	if (values[0] == NULL || values[1] == NULL ||
	    !report_text_is_clean(values[0]) ||
	    !query_get_status(values[1], &query_r->status))
		return FALSE;
	query_r->token = values[0];
	/* what the SMSC says when it doesn't take one, or later of one */
	query_r->text = values[3] != NULL && values[3][0] != '\0' ?
		query_cut_receipt(values[3]) :
		values[2] != NULL ? values[2] : "";
	query_r->text = report_text(query_r->text);
	return TRUE;
}

/* smsd's */

struct file_line {
	const char *name, *value;
};

/* Takes a line "Name: value" off; what isn't one has no name. FALSE: there is none any
   more. */
static bool file_next_line(const char **file, struct file_line *line_r)
{
	const char *end = strchr(*file, '\n');
	const char *line, *colon;

	if (**file == '\0')
		return FALSE;
	if (end == NULL)
		end = *file + strlen(*file);
	line = t_strdup_until(*file, end);
	*file = *end == '\0' ? end : end + 1;
	line_r->name = "";
	line_r->value = line;
	if ((colon = strchr(line, ':')) != NULL) {
		line_r->name = t_strdup_until(line, colon);
		line_r->value = colon + 1 + strspn(colon + 1, " ");
	}
	return TRUE;
}

static bool file_get_id(const char *text, unsigned int *id_r)
{
	return str_to_uint(text, id_r) == 0 && *id_r <= 255;
}

/* One, or as many as there are parts, and a dot */
static bool file_get_ids(const char *value, struct outband_report_sent *sent)
{
	const char *const *ids = t_strsplit_spaces(value, " ");

	sent->ids_count = 0;
	for (; *ids != NULL && strcmp(*ids, ".") != 0; ids++) {
		if (sent->ids_count == OUTBAND_REPORT_MAX_PARTS ||
		    !file_get_id(*ids, &sent->ids[sent->ids_count]))
			return FALSE;
		sent->ids_count++;
	}
	return TRUE;
}

/* Numbers are written with a +, or an s where they are short ones, or without. */
static const char *file_get_number(const char *value)
{
	value += strspn(value, "+s");
	return t_strndup(value, strspn(value, "0123456789"));
}

bool outband_report_sent_parse(const char *file,
			       struct outband_report_sent *sent_r)
{
	struct file_line line;

	i_zero(sent_r);
	sent_r->to = sent_r->modem = sent_r->fail_reason = "";
	/* behind an empty line is the text */
	while (file_next_line(&file, &line) && line.value[0] != '\0') {
		if (strcmp(line.name, OUTBAND_REPORT_SMSD_HEADER) == 0)
			sent_r->token = line.value;
		else if (strcmp(line.name, "To") == 0)
			sent_r->to = file_get_number(line.value);
		else if (strcmp(line.name, "Modem") == 0)
			sent_r->modem = line.value;
		else if (strcmp(line.name, "Fail_reason") == 0)
			sent_r->fail_reason = report_text(line.value);
		else if (strcmp(line.name, "Message_id") == 0 &&
			 !file_get_ids(line.value, sent_r))
			return FALSE;
	}
	return sent_r->token != NULL && report_text_is_clean(sent_r->token);
}

/* "64,Error,no SM rejected", "0,Ok,short message received by the SME" */
static bool
file_get_status(const char *value, enum outband_report_status *status_r)
{
	unsigned int status;

	if (str_to_uint(t_strcut(value, ','), &status) < 0 || status > 255)
		return FALSE;
	*status_r = status < SMSD_STATUS_TRYING ? OUTBAND_REPORT_DELIVERED :
		status < SMSD_STATUS_FAILED ? OUTBAND_REPORT_PENDING :
		OUTBAND_REPORT_FAILED;
	return TRUE;
}

bool outband_report_file_parse(const char *file,
			       struct outband_report_file *report_r)
{
	struct file_line line;
	bool has_id = FALSE, has_status = FALSE;

	i_zero(report_r);
	report_r->from = report_r->modem = report_r->text = "";
	while (file_next_line(&file, &line) && line.value[0] != '\0') {
		if (strcmp(line.name, "From") == 0)
			report_r->from = file_get_number(line.value);
		else if (strcmp(line.name, "Modem") == 0)
			report_r->modem = line.value;
	}
	if (!file_next_line(&file, &line) ||
	    strcmp(line.value, "SMS STATUS REPORT") != 0)
		return FALSE;
	while (file_next_line(&file, &line)) {
		if (strcmp(line.name, "Message_id") == 0) {
			if (!file_get_id(line.value, &report_r->id))
				return FALSE;
			has_id = TRUE;
		} else if (strcmp(line.name, "Status") == 0) {
			if (!file_get_status(line.value, &report_r->status))
				return FALSE;
			report_r->text = report_text(line.value);
			has_status = TRUE;
		}
	}
	return has_id && has_status && report_r->from[0] != '\0';
}
