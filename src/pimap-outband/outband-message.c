/* SPDX-License-Identifier: LGPL-2.1-only */
/* The mail that carries a notification. Nothing of it is what a user wrote, but for
   the addresses, which Dovecot's parser has read, and the payload, which is the
   body and is encoded if it isn't short plain ASCII. */

#include "lib.h"
#include "str.h"
#include "base64.h"
#include "message-date.h"
#include "smtp-address.h"
#include "pimap-address.h"
#include "outband-store.h"
#include "outband-message.h"
#include "outband-payload.h"

#define MESSAGE_MAX_LINE 900
/* octets that give a line of 76 */
#define MESSAGE_BASE64_BYTES 57

static bool message_is_plain(const char *text)
{
	const char *p;

	for (p = text; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			return FALSE;
	}
	return p - text <= MESSAGE_MAX_LINE;
}

static void message_append_base64(string_t *dest, const char *text)
{
	size_t size, left = strlen(text);

	while (left > 0) {
		size = I_MIN(left, MESSAGE_BASE64_BYTES);
		base64_encode(text, size, dest);
		str_append(dest, "\r\n");
		text += size;
		left -= size;
	}
}

void outband_message_append(string_t *dest, const struct outband_row *row,
			    const struct smtp_address *from,
			    const struct smtp_address *to,
			    const char *hostname)
{
	bool plain = message_is_plain(row->payload);

	/* when the event was found: a repeated one is the same octets */
	str_printfa(dest, "Date: %s\r\n", message_date_create(row->created));
	str_append(dest, "From: ");
	smtp_address_write_path(dest, from);
	str_append(dest, "\r\nTo: ");
	smtp_address_write_path(dest, to);
	str_printfa(dest, "\r\nMessage-ID: <pimap.%"PRId64".%"PRId64"@%s>\r\n",
		    (int64_t)row->created, row->id, hostname);
	str_append(dest, "Subject: Mail notification\r\n"
		   "Auto-Submitted: auto-generated\r\n");
	str_printfa(dest, PIMAP_ADDRESS_MAIL_HEADER": %"PRId64"\r\n", row->seq);
	str_printfa(dest, "MIME-Version: 1.0\r\n"
		    "Content-Type: %s; charset=utf-8\r\n",
		    outband_payload_type(row->payload));
	if (plain)
		str_printfa(dest, "\r\n%s\r\n", row->payload);
	else {
		str_append(dest, "Content-Transfer-Encoding: base64\r\n\r\n");
		message_append_base64(dest, row->payload);
	}
}
