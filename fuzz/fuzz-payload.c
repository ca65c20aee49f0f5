/* SPDX-License-Identifier: LGPL-2.1-only */
/* Texts of notifications, made of what is queued: the first octets are numbers, then
   come the row's texts, a line each. */

#include "fuzz-outband.h"
#include "outband-payload.c"
#include "outband-message.c"
#include "sms-text.c"

#define TAG "_%%$P-IMAP$%%_ "
/* a line of RFC 5322, without its end */
#define MAX_LINE 998

static const char *const events[] = {
	"NEW_MESSAGE", "DELETED_MESSAGE", "CHANGED_MESSAGE", "SYNC",
	"FULL_SYNC", "STATE_COMPARISON_SYNC", "NEW_ENC_KEY", "LOCK_DOWN"
};

static void check_text(const char *text)
{
	const unsigned char *p;

	i_assert(uni_utf8_str_is_valid(text));
	for (p = (const unsigned char *)text; *p != '\0'; p++)
		i_assert(*p >= 0x20 && *p != 0x7f &&
			 (*p != 0xc2 || p[1] >= 0xa0));
}

static void check_emn(const char *text)
{
	const char *const start = "<emn mailbox=\"mailat:";
	const char *const end = "\"></emn>";
	size_t len = strlen(text);

	i_assert(fuzz_begins(text, start));
	i_assert(len > strlen(start) + strlen(end) &&
		 strcmp(text + len - strlen(end), end) == 0);
	text = t_strndup(text + strlen(start),
			 len - strlen(start) - strlen(end));
	/* the end of one value and the begin of the other */
	i_assert(strpbrk(text, "<>") == NULL);
	/* no characters of XML */
	i_assert(strstr(text, "\xef\xbf\xbe") == NULL &&
		 strstr(text, "\xef\xbf\xbf") == NULL);
	text = strchr(text, '"');
	i_assert(text != NULL && fuzz_begins(text, "\" timestamp=\""));
	text += strlen("\" timestamp=\"");
	i_assert(strlen(text) == strlen("2004-02-20T06:40:00Z") &&
		 strspn(text, "0123456789-:TZ") == strlen(text));
}

/* One line: number, account, event and what it has of a message. What others wrote
   is within quotes: it can't begin another notification. */
static void check_extended(const char *text, const struct outband_row *row)
{
	const char *p, *tag = t_strdup_printf(TAG"%"PRId64" ", row->seq);
	unsigned int fields = 0;

	i_assert(fuzz_begins(text, tag));
	for (p = text + strlen(tag); *p != '\0'; fields++) {
		if (*p == '"') {
			for (p++; *p != '"'; p++) {
				i_assert(*p != '\0');
				if (*p == '\\')
					i_assert(*++p == '"' || *p == '\\');
			}
			p++;
		} else {
			i_assert(*p != ' ');
			for (; *p != '\0' && *p != ' '; p++)
				i_assert(strchr("\"\\(){", *p) == NULL);
		}
		if (*p != '\0')
			i_assert(*p++ == ' ' && *p != '\0');
	}
	i_assert(fields == 2 || fields == 7 || fields == 8);
}

static void
check_size(const char *text, const struct outband_row *row)
{
	string_t *least = t_str_new(128);

	if (row->max_size == 0 || (row->measure != NULL ? row->measure(text) :
				   strlen(text)) <= row->max_size)
		return;
	if (*text == '<')
		outband_payload_emn(least, row->user, row->event.time);
	else {
		str_printfa(least, TAG"%"PRId64" ", row->seq);
		append_atom_or_quoted(least, row->user);
		str_append(least, " FULL_SYNC");
	}
	i_assert(strcmp(text, str_c(least)) == 0);
}

static void check_message(const struct outband_row *row)
{
	static const char *const names[] = {
		"Date: ", "From: <", "To: <", "Message-ID: <pimap.", "Subject: ",
		"Auto-Submitted: auto-generated", PIMAP_ADDRESS_MAIL_HEADER": ",
		"MIME-Version: ", "Content-Type: ",
		"Content-Transfer-Encoding: base64"
	};
	struct smtp_address *addr;
	string_t *mail = t_str_new(1024);
	const char *const *lines, *error;
	unsigned int i;

	if (smtp_address_parse_mailbox(pool_datastack_create(), row->address,
				       0, &addr, &error) < 0)
		return;
	outband_message_append(mail, row, addr, addr, "mail.example.com");
	i_assert(str_len(mail) == strlen(str_c(mail)));
	lines = t_strsplit(str_c(mail), "\n");
	for (i = 0; strcmp(lines[i], "\r") != 0; i++) {
		i_assert(i < N_ELEMENTS(names) &&
			 fuzz_begins(lines[i], names[i]));
	}
	i_assert(i >= N_ELEMENTS(names) - 1);
	for (; *lines != NULL && lines[1] != NULL; lines++) {
		size_t len = strlen(*lines);

		i_assert(len > 0 && len <= MAX_LINE + 1 &&
			 strchr(*lines, '\r') == *lines + len - 1);
		for (len--; len-- > 0; )
			i_assert((unsigned char)(*lines)[len] < 0x7f);
	}
	/* a line's end is the last of it */
	i_assert(**lines == '\0');
}

static void check_row(struct outband_row *row)
{
	string_t *text = t_str_new(256), *text2 = t_str_new(256);

	outband_payload_append(text, row);
	outband_payload_append(text2, row);
	i_assert(str_equals(text, text2));
	check_text(str_c(text));
	check_size(str_c(text), row);
	if (str_c(text)[0] == '<')
		check_emn(str_c(text));
	else
		check_extended(str_c(text), row);
	row->payload = str_c(text);
	check_message(row);
	/* one that another version has frozen */
	row->payload = row->event.fields;
	check_message(row);
}

static const char *next_line(const char *const **lines)
{
	return **lines == NULL ? "" : *(*lines)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(NULL);
	if (size < 16)
		return 0;
	T_BEGIN {
		const char *const *lines = fuzz_lines(data + 16, size - 16);
		struct outband_row row;

		i_zero(&row);
		row.event.name = events[data[0] % N_ELEMENTS(events)];
		row.fields_allowed = (data[1] & 1) != 0;
		row.format = (data[1] & 2) != 0 ? "EXTENDED" : "EMN";
		row.measure = (data[1] & 4) != 0 ? sms_text_measure : NULL;
		row.max_size = be16_to_cpu_unaligned(data + 2);
		row.event.uid = be32_to_cpu_unaligned(data + 4);
		row.event.time = (time_t)be64_to_cpu_unaligned(data + 8);
		row.id = row.seq = row.event.uid % 1000 + 1;
		row.created = row.event.uid;
		row.user = next_line(&lines);
		row.folder = next_line(&lines);
		row.address = next_line(&lines);
		row.event.fields = next_line(&lines);
		check_row(&row);
	} T_END;
	return 0;
}
