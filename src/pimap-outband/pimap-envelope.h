/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_ENVELOPE_H
#define PIMAP_ENVELOPE_H

/* The envelope that encrypts what goes between server and device. Whoever
   makes or opens one links libcrypto: neither imap nor lmtp do. Its vectors are
   doc/envelope-vectors.json. */

#define PIMAP_ENVELOPE_VERSION 1
/* version, method, number of the key */
#define PIMAP_ENVELOPE_HEAD_SIZE 6
#define PIMAP_ENVELOPE_KEY_SIZE 32
#define PIMAP_ENVELOPE_MAX_NONCE_SIZE 12
/* An envelope is at most so much longer than its text. */
#define PIMAP_ENVELOPE_MAX_OVERHEAD 54

enum pimap_envelope_method {
	/* AES-256-GCM */
	PIMAP_ENVELOPE_AES = 1,
	/* DES-EDE3-CBC with HMAC-SHA-256 */
	PIMAP_ENVELOPE_3DES = 2
};

enum pimap_envelope_direction {
	PIMAP_ENVELOPE_SERVER = 'S',
	PIMAP_ENVELOPE_CLIENT = 'C',
	PIMAP_ENVELOPE_NOTIFICATION = 'N',
	PIMAP_ENVELOPE_HELLO = 'H',
	PIMAP_ENVELOPE_ANSWER = 'A'
};

struct pimap_envelope_key {
	uint32_t number;
	unsigned char key[PIMAP_ENVELOPE_KEY_SIZE];
};

/* What can be read of one without its key. It points into what was parsed. */
struct pimap_envelope {
	enum pimap_envelope_method method;
	uint32_t key_number;
	const unsigned char *data;
	size_t size;
};

/* Returns the method, or 0 if there is none of that name ("AES", "3DES"). */
enum pimap_envelope_method pimap_envelope_method_parse(const char *name);
const char *pimap_envelope_method_name(enum pimap_envelope_method method);

/* The octets of a nonce: AES 12, 3DES 8 */
size_t pimap_envelope_nonce_size(enum pimap_envelope_method method);
/* An envelope of so much text at most fits into so many octets in base64; 0 = none
   does. */
size_t pimap_envelope_base64_max_text(enum pimap_envelope_method method,
				      size_t size);

/* Appends the envelope of the text. A nonce must never be used again with this key,
   direction and method; NULL = random. Returns 0, or -1 and error_r. */
int pimap_envelope_seal(const struct pimap_envelope_key *key,
			enum pimap_envelope_method method,
			enum pimap_envelope_direction direction,
			const unsigned char *nonce, const void *text,
			size_t size, buffer_t *dest, const char **error_r);

/* Returns FALSE if that is no envelope. */
bool pimap_envelope_parse(const void *data, size_t size,
			  struct pimap_envelope *envelope_r);
/* Of the directions C and H: what must rise from message to message. It is only
   true of an envelope that could be opened. */
uint64_t pimap_envelope_get_counter(const struct pimap_envelope *envelope);
/* Appends the text, and nothing unless all of it is authentic. Returns FALSE if
   it isn't, or not of this key and direction. */
bool pimap_envelope_open(const struct pimap_envelope *envelope,
			 const struct pimap_envelope_key *key,
			 enum pimap_envelope_direction direction,
			 buffer_t *text);

#endif
