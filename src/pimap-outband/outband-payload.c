/* SPDX-License-Identifier: LGPL-2.1-only */
/* The texts of notifications. They depend on nothing but what they are given, so
   that a repeated one is the same octets. */

#include "lib.h"
#include "str.h"
#include "unichar.h"
#include "strescape.h"
#include "pimap-text.h"
#include "outband-store.h"
#include "outband-payload.h"

#include <time.h>

const char *outband_payload_account(const char *user, const char *folder)
{
	if (strcasecmp(folder, "INBOX") == 0)
		return t_strdup(user);
	return t_strconcat(user, "/", folder, NULL);
}

/* How many bytes at p are a character that is none in XML, or a control character
   of two bytes */
static unsigned int xml_get_invalid(const char *p)
{
	const unsigned char *c = (const unsigned char *)p;

	if (c[0] == 0xc2 && c[1] < 0xa0)
		return 2;
	return c[0] == 0xef && c[1] == 0xbf && c[2] >= 0xbe ? 3 : 0;
}

static void append_xml_attribute(string_t *dest, const char *value)
{
	string_t *valid = t_str_new(strlen(value) + 16);
	unsigned int invalid;
	const char *p;

	/* a folder's name may be anything */
	if (!uni_utf8_get_valid_data((const unsigned char *)value,
				     strlen(value), valid))
		value = str_c(valid);
	for (p = value; *p != '\0'; p++) {
		switch (*p) {
		case '&':
			str_append(dest, "&amp;");
			break;
		case '<':
			str_append(dest, "&lt;");
			break;
		case '>':
			str_append(dest, "&gt;");
			break;
		case '"':
			str_append(dest, "&quot;");
			break;
		case '\t':
		case '\r':
		case '\n':
			/* else they would become blanks */
			str_printfa(dest, "&#%d;", *p);
			break;
		default:
			invalid = xml_get_invalid(p);
			if ((unsigned char)*p < 0x20 || *p == 0x7f || invalid > 0)
				str_append(dest, UNICODE_REPLACEMENT_CHAR_UTF8);
			else
				str_append_c(dest, *p);
			if (invalid > 0)
				p += invalid - 1;
		}
	}
}

static void get_utc(time_t when, struct tm *tm_r)
{
	/* years that EMN can't have are none that mail comes from */
	if (gmtime_r(&when, tm_r) == NULL || tm_r->tm_year < -1900 ||
	    tm_r->tm_year > 9999 - 1900) {
		when = 0;
		(void)gmtime_r(&when, tm_r);
	}
}

static void append_utc(string_t *dest, time_t when)
{
	struct tm tm;

	get_utc(when, &tm);
	str_printfa(dest, "%04d-%02d-%02dT%02d:%02d:%02dZ",
		    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
		    tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void outband_payload_emn(string_t *dest, const char *account, time_t when)
{
	str_append(dest, "<emn mailbox=\"mailat:");
	append_xml_attribute(dest, account);
	str_append(dest, "\" timestamp=\"");
	append_utc(dest, when);
	str_append(dest, "\"></emn>");
}

/* IMAP's quoted string, in UTF-8. What ends lines or rules devices never leaves. */
static void append_quoted(string_t *dest, const char *value)
{
	string_t *valid = t_str_new(strlen(value) + 16);
	const unsigned char *p;

	if (!uni_utf8_get_valid_data((const unsigned char *)value,
				     strlen(value), valid))
		value = str_c(valid);
	str_append_c(dest, '"');
	for (p = (const unsigned char *)value; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			str_append_c(dest, '\\');
		if (*p < 0x20 || *p == 0x7f)
			str_append(dest, UNICODE_REPLACEMENT_CHAR_UTF8);
		else if (*p == 0xc2 && p[1] < 0xa0) {
			str_append(dest, UNICODE_REPLACEMENT_CHAR_UTF8);
			p++;
		} else if (*p == 0xe2 && p[1] == 0x80 &&
			   (p[2] == 0xa8 || p[2] == 0xa9)) {
			str_append(dest, UNICODE_REPLACEMENT_CHAR_UTF8);
			p += 2;
		} else {
			str_append_c(dest, *p);
		}
	}
	str_append_c(dest, '"');
}

static void append_atom_or_quoted(string_t *dest, const char *value)
{
	const unsigned char *p;

	for (p = (const unsigned char *)value; *p != '\0'; p++) {
		if (*p <= 0x20 || *p >= 0x7f || strchr("(){%*\"\\]", *p) != NULL)
			break;
	}
	if (*p != '\0' || p == (const unsigned char *)value ||
	    strcasecmp(value, "NIL") == 0)
		append_quoted(dest, value);
	else
		str_append(dest, value);
}

static void append_nstring(string_t *dest, const char *value)
{
	if (value[0] == '\0')
		str_append(dest, "NIL");
	else
		append_quoted(dest, value);
}

static void
append_extended_message(string_t *dest, const struct outband_row *row,
			const char *const *fields)
{
	static const char *const months[] = {
		"Jan", "Feb", "Mar", "Apr", "May", "Jun",
		"Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
	};
	struct tm tm;

	get_utc(row->event.time, &tm);
	str_printfa(dest, " %u ", row->event.uid);
	append_nstring(dest, fields[0]);
	str_printfa(dest, " \"%02d-%s-%04d\" \"%02d:%02d:%02d\" ",
		    tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900,
		    tm.tm_hour, tm.tm_min, tm.tm_sec);
	append_nstring(dest, fields[1]);
	if (fields[2][0] != '\0') {
		str_append_c(dest, ' ');
		append_quoted(dest, fields[2]);
	}
}

/* What was appended since, as the channel counts it */
static size_t
payload_size(string_t *dest, size_t start, const struct outband_row *row)
{
	return row->measure != NULL ? row->measure(str_c(dest) + start) :
		str_len(dest) - start;
}

struct payload_message {
	string_t *dest;
	/* where the notification and, in it, the message begin */
	size_t start, head;
	const struct outband_row *row;
	size_t max;
	const char *fields[OUTBAND_PAYLOAD_FIELDS];
};

/* Appends the message anew. Returns TRUE if it fits. */
static bool payload_try(struct payload_message *msg)
{
	str_truncate(msg->dest, msg->head);
	append_extended_message(msg->dest, msg->row, msg->fields);
	return payload_size(msg->dest, msg->start, msg->row) <= msg->max;
}

static void payload_set_field(const char **field, const char *text, size_t len)
{
	len = pimap_text_cut(text, len);
	while (len > 0 && text[len-1] == ' ')
		len--;
	*field = t_strndup(text, len);
}

/* Cuts this field where it fits. Returns FALSE if it doesn't without it. */
static bool payload_cut_field(struct payload_message *msg, const char **field)
{
	const char *text = *field;
	size_t fits = 0, too_long = strlen(text), len;

	*field = "";
	if (!payload_try(msg))
		return FALSE;
	while (too_long - fits > 1) {
		len = (fits + too_long) / 2;
		payload_set_field(field, text, len);
		if (payload_try(msg))
			fits = len;
		else
			too_long = len;
	}
	payload_set_field(field, text, fits);
	return payload_try(msg);
}

/* Appends the message, cut as little as can be. Returns FALSE if it doesn't fit
   without any field. */
static bool payload_append_message(struct payload_message *msg)
{
	/* what can be spared best comes first */
	static const unsigned int order[OUTBAND_PAYLOAD_FIELDS] = { 2, 1, 0 };
	unsigned int i;
	bool fits = payload_try(msg);

	for (i = 0; i < OUTBAND_PAYLOAD_FIELDS && !fits; i++)
		fits = payload_cut_field(msg, &msg->fields[order[i]]);
	return fits;
}

static void
payload_get_fields(const struct outband_row *row, bool clear,
		   const char **fields_r)
{
	const char *const *args = NULL;
	unsigned int i;

	if (clear && row->event.fields != NULL)
		args = t_strsplit_tabescaped(row->event.fields);
	for (i = 0; i < OUTBAND_PAYLOAD_FIELDS; i++) {
		string_t *clean = t_str_new(128);

		if (args != NULL && *args != NULL) {
			pimap_text_append_clean(clean, *args, SIZE_MAX);
			args++;
		}
		fields_r[i] = str_c(clean);
	}
}

void outband_payload_extended(string_t *dest, const struct outband_row *row,
			      size_t max, bool clear)
{
	struct payload_message msg = {
		.dest = dest,
		.start = str_len(dest),
		.row = row,
		.max = max,
	};

	payload_get_fields(row, clear, msg.fields);
	str_printfa(dest, "%s %"PRId64" ", OUTBAND_PAYLOAD_TAG, row->seq);
	append_atom_or_quoted(dest, outband_payload_account(row->user,
							    row->folder));
	str_printfa(dest, " %s", row->event.name);
	msg.head = str_len(dest);
	if (row->event.uid != 0 && !payload_append_message(&msg))
		str_truncate(dest, msg.head);
	if (payload_size(dest, msg.start, row) > max) {
		/* the device looks at all folders */
		str_truncate(dest, msg.start);
		str_printfa(dest, "%s %"PRId64" ", OUTBAND_PAYLOAD_TAG,
			    row->seq);
		append_atom_or_quoted(dest, row->user);
		str_append(dest, " FULL_SYNC");
	}
}

void outband_payload_append(string_t *dest, const struct outband_row *row)
{
	const size_t max = row->max_size == 0 ? SIZE_MAX : row->max_size;
	const size_t start = str_len(dest);

	/* only EXTENDED can say these */
	if (strcmp(row->format, "EXTENDED") == 0 ||
	    strcmp(row->event.name, "LOCK_DOWN") == 0 ||
	    strcmp(row->event.name, "NEW_ENC_KEY") == 0) {
		outband_payload_extended(dest, row, max, row->fields_allowed);
		return;
	}
	outband_payload_emn(dest, outband_payload_account(row->user,
							  row->folder),
			    row->event.time);
	if (payload_size(dest, start, row) > max) {
		str_truncate(dest, start);
		outband_payload_emn(dest, row->user, row->event.time);
	}
}

const char *outband_payload_type(const char *payload)
{
	return payload[0] == '<' ? "text/vnd.wap.emn+xml" : "text/plain";
}

bool outband_payload_event_is_known(const char *event)
{
	static const char *const names[] = {
		"NEW_MESSAGE", "DELETED_MESSAGE", "CHANGED_MESSAGE", "SYNC",
		"FULL_SYNC", "STATE_COMPARISON_SYNC", "NEW_ENC_KEY",
		"LOCK_DOWN", NULL
	};

	return str_array_find(names, event);
}
