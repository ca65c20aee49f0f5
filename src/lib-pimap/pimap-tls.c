/* SPDX-License-Identifier: LGPL-2.1-only */
/* TLS to channels' peers: Dovecot's iostream-ssl, which differs by version. */

#include "lib.h"
#include "istream.h"
#include "iostream-ssl.h"
#include "pimap-tls.h"

#define TLS_MAX_CA (4*1024*1024)

static int tls_read_ca(const char *path, const char **ca_r, const char **error_r)
{
	struct istream *input = i_stream_create_file(path, TLS_MAX_CA);
	const unsigned char *data;
	size_t size;
	int ret = 0;

	while (i_stream_read(input) > 0) ;
	data = i_stream_get_data(input, &size);
	if (input->stream_errno != 0) {
		*error_r = t_strdup(i_stream_get_error(input));
		ret = -1;
	} else if (!input->eof) {
		*error_r = t_strdup_printf("%s is too large", path);
		ret = -1;
	} else {
		*ca_r = t_strndup(data, size);
		/* to OpenSSL that is no error */
		if (strstr(*ca_r, "CERTIFICATE-----") == NULL) {
			*error_r = t_strdup_printf(
				"there is no certificate in %s", path);
			ret = -1;
		}
	}
	i_stream_unref(&input);
	return ret;
}

int pimap_tls_get_settings(pool_t pool, const char *ca_path,
			   const struct ssl_iostream_settings **set_r,
			   const char **error_r)
{
	struct ssl_iostream_settings *set =
		p_new(pool, struct ssl_iostream_settings, 1);
	const char *ca = NULL;

	set->verify_remote_cert = TRUE;
	set->skip_crl_check = TRUE;
	set->min_protocol = "TLSv1.2";
	if (ca_path[0] != '\0' && tls_read_ca(ca_path, &ca, error_r) < 0)
		return -1;
#ifdef PIMAP_HAVE_SETTINGS_GET
	set->pool = pool;
	set->ca.content = p_strdup(pool, ca);
#else
	set->ca = p_strdup(pool, ca);
#endif
	*set_r = set;
	return 0;
}

int pimap_tls_prepare(const char *ca_path, struct ssl_iostream_context **ctx,
		      const char **error_r)
{
	const struct ssl_iostream_settings *set;

	if (*ctx != NULL)
		return 0;
	if (pimap_tls_get_settings(pool_datastack_create(), ca_path, &set,
				   error_r) < 0)
		return -1;
	return ssl_iostream_context_init_client(set, ctx, error_r) < 0 ? -1 : 0;
}

int pimap_tls_start(struct ssl_iostream_context *ctx, const char *host,
		    struct event *event ATTR_UNUSED, struct istream **input,
		    struct ostream **output, struct ssl_iostream **ssl_r,
		    const char **error_r)
{
#ifdef PIMAP_HAVE_SETTINGS_GET
	if (io_stream_create_ssl_client(ctx, host, event, 0, input, output,
					ssl_r, error_r) < 0)
		return -1;
#else
	struct ssl_iostream_settings ssl_set;

	i_zero(&ssl_set);
	ssl_set.verify_remote_cert = TRUE;
	if (io_stream_create_ssl_client(ctx, host, &ssl_set, input, output,
					ssl_r, error_r) < 0)
		return -1;
#endif
	if (ssl_iostream_handshake(*ssl_r) < 0) {
		*error_r = pimap_tls_fix_error(
			ssl_iostream_get_last_error(*ssl_r));
		return -1;
	}
	return 0;
}

const char *pimap_tls_fix_error(const char *error)
{
	const char *hint = strstr(error, " (check ssl_client_ca_"), *end;

	end = hint == NULL ? NULL : strchr(hint, ')');
	return end == NULL ? error :
		t_strconcat(t_strdup_until(error, hint), end + 1, NULL);
}
