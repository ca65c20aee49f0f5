/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef STOMP_FRAME_H
#define STOMP_FRAME_H

/* Frames of STOMP 1.2. */

/* of one that is received: longer ones are refused */
#define STOMP_MAX_FRAME (64*1024)
#define STOMP_MAX_HEAD (16*1024)
#define STOMP_MAX_HEADERS 100

struct stomp_frame {
	const char *command;
	/* name, value, name, ..., NULL */
	const char *const *headers;
	const unsigned char *body;
	size_t body_size;
};

/* Begins one, adds headers, and ends it. The values may have any characters, but for
   those of CONNECT, where no CR or LF can be; a body has none that are NUL. */
void stomp_frame_begin(string_t *dest, const char *command);
void stomp_frame_header(string_t *dest, const char *name, const char *value);
/* of CONNECT: it isn't escaped (as old brokers don't know that) */
void stomp_frame_header_raw(string_t *dest, const char *name, const char *value);
void stomp_frame_end(string_t *dest, const char *body);
/* Likewise, with characters of 4 octets as modified UTF-8 has them: as two of 3, which are
   UTF-16's surrogates. */
void stomp_frame_end_modified(string_t *dest, const char *body);

/* The header server of CONNECTED is of an ActiveMQ (before 5.18.6, and 6.1.4) whose JMS
   consumers can read only modified UTF-8 (AMQ-8398): a text with a character of 4 octets
   throws an exception there. */
bool stomp_server_needs_modified(const char *server);

/* Reads a frame. Returns 1 and frame_r, which lives in the data stack, but for the body
   that lives in data; 0 if it isn't whole yet, -1 and error_r if it is none. used_r is
   how much of data is done with. */
int stomp_frame_parse(const unsigned char *data, size_t size, size_t *used_r,
		      struct stomp_frame *frame_r, const char **error_r);

/* Returns NULL if there is no such header. Of several the first one counts. */
const char *stomp_frame_get(const struct stomp_frame *frame, const char *name);

/* The header heart-beat of CONNECTED: milliseconds, 0 = never: what the peer will send,
   and what it wants. Returns 0 or -1. */
int stomp_heart_beat_parse(const char *value, unsigned int *sends_r,
			   unsigned int *wants_r);

#endif
