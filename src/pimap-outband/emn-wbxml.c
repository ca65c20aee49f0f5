/* SPDX-License-Identifier: LGPL-2.1-only */
/* EMN's tokens. libwbxml is for reading and writing documents of all kinds: this is one
   element with two attributes. */

#include "lib.h"
#include "buffer.h"
#include "emn-wbxml.h"

#include <time.h>

#define WBXML_VERSION 0x03
#define WBXML_END 0x01
#define WBXML_STR_I 0x03
#define WBXML_OPAQUE 0xc3
#define WBXML_TAG_ATTRIBUTES 0x80
#define WBXML_CHARSET_UTF8 0x6a
/* -//WAPFORUM//DTD EMN 1.0//EN */
#define EMN_PUBLIC_ID 0x0d
#define EMN_TAG 0x05
#define EMN_TIMESTAMP 0x05
/* with what its value begins with */
#define EMN_MAILBOX_MAILAT 0x07

/* Two digits an octet; zeros at the end are left out. */
static void append_timestamp(buffer_t *dest, time_t when)
{
	unsigned char octets[7];
	unsigned int values[7], i;
	size_t len;
	struct tm tm;

	if (gmtime_r(&when, &tm) == NULL || tm.tm_year < -1900 ||
	    tm.tm_year > 9999 - 1900) {
		when = 0;
		(void)gmtime_r(&when, &tm);
	}
	values[0] = (tm.tm_year + 1900) / 100;
	values[1] = (tm.tm_year + 1900) % 100;
	values[2] = tm.tm_mon + 1;
	values[3] = tm.tm_mday;
	values[4] = tm.tm_hour;
	values[5] = tm.tm_min;
	values[6] = tm.tm_sec;
	for (i = 0; i < N_ELEMENTS(values); i++)
		octets[i] = values[i] / 10 << 4 | values[i] % 10;
	for (len = sizeof(octets); octets[len-1] == 0; len--) ;
	buffer_append_c(dest, WBXML_OPAQUE);
	buffer_append_c(dest, len);
	buffer_append(dest, octets, len);
}

void emn_wbxml_append(buffer_t *dest, const char *account, time_t when)
{
	static const unsigned char head[] = {
		WBXML_VERSION, EMN_PUBLIC_ID, WBXML_CHARSET_UTF8,
		/* no table of strings */
		0x00,
		EMN_TAG | WBXML_TAG_ATTRIBUTES,
		EMN_MAILBOX_MAILAT, WBXML_STR_I
	};

	buffer_append(dest, head, sizeof(head));
	buffer_append(dest, account, strlen(account) + 1);
	buffer_append_c(dest, EMN_TIMESTAMP);
	append_timestamp(dest, when);
	buffer_append_c(dest, WBXML_END);
}
