/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef WEBPUSH_CRYPTO_H
#define WEBPUSH_CRYPTO_H

/* What Web Push needs of libcrypto: the encryption of messages (RFC 8291), and the
   signature that tells push services who sends (VAPID, RFC 8292). */

#define WEBPUSH_SALT_SIZE 16
/* One record of 4096 octets, which each push service takes (RFC 8030, 7.2), has
   86 octets before the text, its end and its tag after it. */
#define WEBPUSH_RECORD_SIZE 4096
#define WEBPUSH_MAX_TEXT 3993

struct webpush_key;

/* Any private key of P-256. They return 0, or -1 and error_r. */
int webpush_key_generate(struct webpush_key **key_r, const char **error_r);
/* The number d, of 32 octets */
int webpush_key_from_private(const unsigned char *data,
			     struct webpush_key **key_r, const char **error_r);
/* From a file (PEM). If there is none, it is made, and only its owner may read it.
   Two processes that do so at once have the same key in the end. */
int webpush_key_load(const char *path, bool create,
		     struct webpush_key **key_r, const char **error_r);
void webpush_key_free(struct webpush_key **key);
/* The public key, an uncompressed point, in base64url */
const char *webpush_key_get_public(const struct webpush_key *key);

/* Appends the body of a request: the text, encrypted for the device whose public key
   (65 octets) and secret (16) these are. The sender's key and the salt must never be
   used for another text. Returns 0, or -1 and error_r. */
int webpush_encrypt(const unsigned char *device_key, const unsigned char *auth,
		    const struct webpush_key *sender_key,
		    const unsigned char *salt, const void *text, size_t size,
		    buffer_t *dest, const char **error_r);
/* The same with a new key and salt */
int webpush_encrypt_new(const unsigned char *device_key,
			const unsigned char *auth, const void *text,
			size_t size, buffer_t *dest, const char **error_r);

/* The value of the field Authorization, for the push service of that origin.
   subject: how its operator reaches ours, valid in JSON. Returns 0, or -1 and
   error_r. */
int webpush_vapid(const struct webpush_key *key, const char *origin,
		  const char *subject, time_t expires, string_t *dest,
		  const char **error_r);

#endif
