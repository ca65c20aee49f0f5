/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef SIP_ANSWER_H
#define SIP_ANSWER_H

/* Answers to SIP requests (RFC 3261, section 7), read as tolerantly as that wants it.
   They may come from anybody: what is read is bounded. */

/* of an answer's start and headers */
#define SIP_ANSWER_MAX_HEADER (8*1024)
#define SIP_ANSWER_MAX_BODY (64*1024)
#define SIP_ANSWER_MAX_CHALLENGES 8

/* All of it is on the data stack, and has no control characters. */
struct sip_answer {
	/* 100 to 699; 0: it is no answer but a request */
	unsigned int status;
	const char *reason;
	/* of the Via; NULL: there isn't just one, or it has none */
	const char *branch;
	/* CSeq's; NULL: there is none */
	const char *method;
	/* seconds, 0 = it doesn't say */
	unsigned int retry_secs;
	/* the first one's URI, NULL = there is none */
	const char *contact;
	/* values of the headers WWW-Authenticate and Proxy-Authenticate, up to NULL */
	const char *www[SIP_ANSWER_MAX_CHALLENGES + 1];
	const char *proxy[SIP_ANSWER_MAX_CHALLENGES + 1];

	/* octets up to the body, and of that; there may be none that tells it */
	size_t header_size, body_size;
	bool has_body_size;
};

/* Returns 1 if the headers are there, 0 if there must come more, or -1 and error_r if
   no message begins so: where it ends isn't known then. */
int sip_answer_parse(const unsigned char *data, size_t size,
		     struct sip_answer *answer_r, const char **error_r);

#endif
