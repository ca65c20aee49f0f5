/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_REPORT_PARSE_H
#define OUTBAND_REPORT_PARSE_H

/* What gateways for short messages say of those that they have taken. All of it may be
   anybody's. Strings are in the data stack; none of them has a character that
   steers anything. */

#define OUTBAND_REPORT_MAC_SIZE 16
/* longer tokens, queries and files aren't ours */
#define OUTBAND_REPORT_MAX_TOKEN 128
#define OUTBAND_REPORT_MAX_QUERY 4096
#define OUTBAND_REPORT_MAX_FILE 4096
/* of what the gateway says, in bytes */
#define OUTBAND_REPORT_MAX_TEXT 200
/* parts of a message of smsd's */
#define OUTBAND_REPORT_MAX_PARTS 6

/* <id>.<seq>.<HMAC in hex> of a notification */
struct outband_report_token {
	int64_t id, seq;
	unsigned char mac[OUTBAND_REPORT_MAC_SIZE];
};

enum outband_report_status {
	/* it is still under way, or at the gateway's gateway */
	OUTBAND_REPORT_PENDING,
	OUTBAND_REPORT_DELIVERED,
	OUTBAND_REPORT_FAILED
};

struct outband_report_query {
	const char *token;
	enum outband_report_status status;
	const char *text;
};

/* A file of smsd's: of a message of ours that is sent, or has failed */
struct outband_report_sent {
	const char *token;
	/* digits only; the modem's name, "" = it isn't known */
	const char *to, *modem;
	/* what smsd's reports name its parts by, in order */
	unsigned int ids_count;
	unsigned int ids[OUTBAND_REPORT_MAX_PARTS];
	/* why it has failed, "" = it doesn't say that */
	const char *fail_reason;
};

/* A file of smsd's: a status report, of one part */
struct outband_report_file {
	const char *from, *modem;
	unsigned int id;
	enum outband_report_status status;
	const char *text;
};

/* Is it written as outband_reports_get_token() does? */
bool outband_report_token_parse(const char *text,
				struct outband_report_token *token_r);
/* The query string of a report of Kannel's: OUTBAND_REPORT_KANNEL_QUERY, filled in.
   Returns FALSE if it isn't one. */
bool outband_report_query_parse(const char *query,
				struct outband_report_query *query_r);
/* Files that are something else: FALSE. */
bool outband_report_sent_parse(const char *file,
			       struct outband_report_sent *sent_r);
bool outband_report_file_parse(const char *file,
			       struct outband_report_file *report_r);

/* In it Kannel puts what it knows: the type of the report, the SMSC's reply, and the
   receipt that the SMSC has sent. The token comes before it. */
#define OUTBAND_REPORT_KANNEL_TOKEN "pimap="
#define OUTBAND_REPORT_KANNEL_QUERY "&type=%d&reply=%A&receipt=%a"
/* Which reports it is asked for: delivered, not delivered, not taken by the SMSC */
#define OUTBAND_REPORT_KANNEL_MASK (1 | 2 | 16)
/* The token in a file for smsd */
#define OUTBAND_REPORT_SMSD_HEADER "X-Pimap"

#endif
