/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_TLS_H
#define PIMAP_TLS_H

struct ssl_iostream;
struct ssl_iostream_context;
struct ssl_iostream_settings;

/* TLS to channels' peers, who must have a certificate for their name. */

/* Makes the context unless it is there. ca is a file with certificates of authorities,
   "" = the system's. Returns 0, or -1 and error_r. */
int pimap_tls_prepare(const char *ca, struct ssl_iostream_context **ctx,
		      const char **error_r);

/* What such a context is made with, for who makes it himself. Returns 0, or -1 and
   error_r. */
int pimap_tls_get_settings(pool_t pool, const char *ca,
			   const struct ssl_iostream_settings **set_r,
			   const char **error_r);

/* Begins with TLS over the streams, which are replaced. Returns 0, or -1 and error_r. */
int pimap_tls_start(struct ssl_iostream_context *ctx, const char *host,
		    struct event *event, struct istream **input,
		    struct ostream **output, struct ssl_iostream **ssl_r,
		    const char **error_r);

/* What Dovecot says of a handshake, without its hint at settings that aren't these: the
   same or from the data stack */
const char *pimap_tls_fix_error(const char *error);

#endif
