/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef SIP_DIGEST_H
#define SIP_DIGEST_H

struct hash_method;

/* Digest authentication (RFC 2617, 7616, 8760): MD5 and SHA-256, qop auth or none */

struct sip_challenge {
	const struct hash_method *hash;
	/* as the server wrote it, NULL = it didn't */
	const char *algorithm;
	/* as between the quotes; opaque is NULL if there is none */
	const char *realm, *nonce, *opaque;
	bool qop, stale;
};

/* The value of a WWW-Authenticate or Proxy-Authenticate. Returns FALSE if it is none that
   can be answered. What is got points into the data stack. */
bool sip_challenge_parse(const char *value, struct sip_challenge *challenge_r);

/* Appends the value of an Authorization or Proxy-Authorization. count: how often the
   nonce was used, this time included. */
void sip_digest_append(string_t *dest, const struct sip_challenge *challenge,
		       const char *user, const char *password,
		       const char *method, const char *uri,
		       const char *cnonce, unsigned int count);

#endif
