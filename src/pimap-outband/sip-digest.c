/* SPDX-License-Identifier: LGPL-2.1-only */
/* Digest authentication. What the server wrote is given back as it was written. */

#include "lib.h"
#include "buffer.h"
#include "hash-method.h"
#include "hex-binary.h"
#include "str.h"
#include "sip-digest.h"

/* of a realm, nonce or opaque */
#define DIGEST_MAX_VALUE 512

static const char *digest_skip_blanks(const char *p)
{
	while (*p == ' ' || *p == '\t')
		p++;
	return p;
}

/* name=value or name="value", and the comma behind it. Returns 1, 0 at the end, or -1 if
   that is none. */
static int
digest_next_param(const char **p, const char **name_r, const char **value_r)
{
	const char *start;

	while (**p == ' ' || **p == '\t' || **p == ',')
		*p += 1;
	if (**p == '\0')
		return 0;
	start = *p;
	*p += strcspn(*p, " \t=,\"");
	*name_r = t_strdup_until(start, *p);
	*p = digest_skip_blanks(*p);
	if (*p == start || **p != '=')
		return -1;
	*p = digest_skip_blanks(*p + 1);
	start = *p;
	if (**p != '"') {
		*p += strcspn(*p, " \t,\"\\");
		*value_r = t_strdup_until(start, *p);
	} else {
		for (*p += 1; **p != '"'; *p += 1) {
			if (**p == '\\')
				*p += 1;
			if (**p == '\0')
				return -1;
		}
		*value_r = t_strdup_until(start + 1, *p);
		*p += 1;
	}
	*p = digest_skip_blanks(*p);
	return **p == ',' || **p == '\0' ? 1 : -1;
}

static bool digest_has_auth(const char *qop)
{
	return str_array_icase_find(t_strsplit_spaces(qop, " ,\t"), "auth");
}

static bool digest_value_is_valid(const char *value)
{
	const char *p;

	for (p = value; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return FALSE;
	}
	return p - value <= DIGEST_MAX_VALUE;
}

bool sip_challenge_parse(const char *value, struct sip_challenge *challenge_r)
{
	const char *name, *param;
	int ret;

	i_zero(challenge_r);
	if (strncasecmp(value, "Digest", 6) != 0 ||
	    (value[6] != ' ' && value[6] != '\t'))
		return FALSE;
	value += 6;
	while ((ret = digest_next_param(&value, &name, &param)) > 0) {
		if (!digest_value_is_valid(param))
			return FALSE;
		if (strcasecmp(name, "realm") == 0)
			challenge_r->realm = param;
		else if (strcasecmp(name, "nonce") == 0)
			challenge_r->nonce = param;
		else if (strcasecmp(name, "opaque") == 0)
			challenge_r->opaque = param;
		else if (strcasecmp(name, "algorithm") == 0)
			challenge_r->algorithm = param;
		else if (strcasecmp(name, "stale") == 0)
			challenge_r->stale = strcasecmp(param, "true") == 0;
		else if (strcasecmp(name, "qop") == 0) {
			if (!digest_has_auth(param))
				return FALSE;
			challenge_r->qop = TRUE;
		}
	}
	if (ret < 0 || challenge_r->realm == NULL || challenge_r->nonce == NULL)
		return FALSE;
	if (challenge_r->algorithm == NULL ||
	    strcasecmp(challenge_r->algorithm, "MD5") == 0)
		challenge_r->hash = hash_method_lookup("md5");
	else if (strcasecmp(challenge_r->algorithm, "SHA-256") == 0)
		challenge_r->hash = hash_method_lookup("sha256");
	return challenge_r->hash != NULL;
}

static const char *
digest_hex(const struct sip_challenge *challenge, const char *text)
{
	const buffer_t *hash = t_hash_str(challenge->hash, text);

	return binary_to_hex(hash->data, hash->used);
}

static void digest_append_quoted(string_t *dest, const char *text)
{
	str_append_c(dest, '"');
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			str_append_c(dest, '\\');
		str_append_c(dest, *text);
	}
	str_append_c(dest, '"');
}

void sip_digest_append(string_t *dest, const struct sip_challenge *challenge,
		       const char *user, const char *password,
		       const char *method, const char *uri,
		       const char *cnonce, unsigned int count)
{
	const char *ha1, *ha2, *middle = "";

	ha1 = digest_hex(challenge, t_strdup_printf("%s:%s:%s", user,
		challenge->realm, password));
	ha2 = digest_hex(challenge, t_strdup_printf("%s:%s", method, uri));
	if (challenge->qop)
		middle = t_strdup_printf("%08x:%s:auth:", count, cnonce);
	str_append(dest, "Digest username=");
	digest_append_quoted(dest, user);
	str_printfa(dest, ", realm=\"%s\", nonce=\"%s\", uri=\"%s\", "
		    "response=\"%s\"", challenge->realm, challenge->nonce, uri,
		    digest_hex(challenge, t_strdup_printf("%s:%s:%s%s", ha1,
			challenge->nonce, middle, ha2)));
	if (challenge->algorithm != NULL)
		str_printfa(dest, ", algorithm=%s", challenge->hash ==
			    hash_method_lookup("md5") ? "MD5" : "SHA-256");
	if (challenge->opaque != NULL)
		str_printfa(dest, ", opaque=\"%s\"", challenge->opaque);
	if (challenge->qop) {
		str_printfa(dest, ", qop=auth, nc=%08x, cnonce=\"%s\"", count,
			    cnonce);
	}
}
