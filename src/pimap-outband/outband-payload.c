/* SPDX-License-Identifier: LGPL-2.1-only */
/* The texts of notifications. They depend on nothing but what they are given, so
   that a repeated one is the same octets. */

#include "lib.h"
#include "str.h"
#include "unichar.h"
#include "outband-payload.h"

#include <time.h>

const char *outband_payload_account(const char *user, const char *folder)
{
	if (strcasecmp(folder, "INBOX") == 0)
		return t_strdup(user);
	return t_strconcat(user, "/", folder, NULL);
}

static void append_xml_attribute(string_t *dest, const char *value)
{
	string_t *valid = t_str_new(strlen(value) + 16);
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
			if ((unsigned char)*p < 0x20 || *p == 0x7f)
				str_append(dest, UNICODE_REPLACEMENT_CHAR_UTF8);
			else
				str_append_c(dest, *p);
		}
	}
}

static void append_utc(string_t *dest, time_t when)
{
	struct tm tm;

	/* years that EMN can't have are none that mail comes from */
	if (gmtime_r(&when, &tm) == NULL || tm.tm_year < -1900 ||
	    tm.tm_year > 9999 - 1900) {
		when = 0;
		(void)gmtime_r(&when, &tm);
	}
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

bool outband_payload_event_is_known(const char *event)
{
	static const char *const names[] = {
		"NEW_MESSAGE", "DELETED_MESSAGE", "CHANGED_MESSAGE", "SYNC",
		"FULL_SYNC", "STATE_COMPARISON_SYNC", "NEW_ENC_KEY",
		"LOCK_DOWN", NULL
	};

	return str_array_find(names, event);
}
