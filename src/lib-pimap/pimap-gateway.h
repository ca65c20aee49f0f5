/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_GATEWAY_H
#define PIMAP_GATEWAY_H

struct http_url;

/* The URL of a gateway that is asked by HTTP, with or without TLS. What it returns is in
   the data stack; errors tell nothing of the URL, which may have a password in it.
   Returns 0, or -1 and error_r. */
int pimap_gateway_url_parse(const char *text, struct http_url **url_r,
			    const char **error_r);
/* The URL without its query, which may tell a password, in the data stack */
const char *pimap_gateway_url_show(const struct http_url *url);

/* Has the text something of a query as it is written there? Values of less than 4
   characters don't count. */
bool pimap_gateway_query_is_told(const char *query, const char *text);

#endif
