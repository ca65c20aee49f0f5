/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_MM7_H
#define OUTBAND_MM7_H

#include "outband-channel.h"

/* MM7 (3GPP TS 23.140 6.16): how a service gives an MMSC a message. */

struct outband_mm7_sender {
	/* what the MMSC knows the service by, "" = nothing */
	const char *vasp_id, *vas_id;
	/* a number, "" = the MMSC's own */
	const char *number;
};

struct outband_mm7_message {
	/* of the request: a repeated one has the same. UTF-8, as all of these,
	   without control characters. */
	const char *transaction;
	/* a number */
	const char *to;
	/* of the content: media type, and text in UTF-8 */
	const char *type;
	const char *text;
};

/* Appends the body of the request that submits the message: SOAP with the content
   attached (multipart/related). Returns its Content-Type from the data stack. Without
   memory it is fatal. */
const char *outband_mm7_submit(string_t *dest,
			       const struct outband_mm7_sender *sender,
			       const struct outband_mm7_message *msg);

/* bytes of an answer that are read */
#define OUTBAND_MM7_MAX_ANSWER (16*1024)

/* What becomes of the message by the MMSC's answer: HTTP's status, and the SubmitRsp, the
   RSErrorRsp or another fault in the text. Errors are from the data stack. */
void outband_mm7_judge(unsigned int status, const string_t *answer,
		       struct outband_channel_result *result_r);

#endif
