/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_TLS_H
#define OUTBAND_TLS_H

struct ssl_iostream;
struct ssl_iostream_context;

/* TLS to channels' peers, who must have a certificate for their name. */

/* Makes the context unless it is there. ca is a file with certificates of authorities,
   "" = the system's. Returns 0, or -1 and error_r. */
int outband_tls_prepare(const char *ca, struct ssl_iostream_context **ctx,
			const char **error_r);

/* Begins with TLS over the streams, which are replaced. Returns 0, or -1 and error_r. */
int outband_tls_start(struct ssl_iostream_context *ctx, const char *host,
		      struct event *event, struct istream **input,
		      struct ostream **output, struct ssl_iostream **ssl_r,
		      const char **error_r);

#endif
