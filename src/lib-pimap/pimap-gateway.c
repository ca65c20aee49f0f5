/* SPDX-License-Identifier: LGPL-2.1-only */
/* Gateways that are asked by HTTP. */

#include "lib.h"
#include "http-url.h"
#include "pimap-gateway.h"

/* shorter ones are in many a text, and are no passwords */
#define GATEWAY_MIN_SECRET 4

int pimap_gateway_url_parse(const char *text, struct http_url **url_r,
			    const char **error_r)
{
	const char *error;

	if (http_url_parse(text, NULL, 0, pool_datastack_create(), url_r,
			   &error) == 0)
		return 0;
	*error_r = t_strdup_printf("it isn't an http:// or https:// URL: %s",
				   error);
	return -1;
}

const char *pimap_gateway_url_show(const struct http_url *url)
{
	struct http_url shown = *url;

	shown.enc_query = NULL;
	return http_url_create(&shown);
}

bool pimap_gateway_query_is_told(const char *query, const char *text)
{
	const char *const *param, *value;

	for (param = t_strsplit(query, "&;"); *param != NULL; param++) {
		value = strchr(*param, '=');
		value = value == NULL ? *param : value + 1;
		if (strlen(value) >= GATEWAY_MIN_SECRET &&
		    strstr(text, value) != NULL)
			return TRUE;
	}
	return FALSE;
}
