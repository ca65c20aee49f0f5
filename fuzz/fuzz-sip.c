/* SPDX-License-Identifier: LGPL-2.1-only */
/* What a SIP proxy answers: the octets as they come, some more than one message. */

#include "fuzz-outband.h"
#include "str.h"
#include "pimap-sip.h"
#include "sip-answer.h"
/* so that inputs can be longer */
#undef SIP_ANSWER_MAX_HEADER
#define SIP_ANSWER_MAX_HEADER 1000
#include "sip-answer.c"
#include "sip-digest.c"

static void check_optional(const char *text)
{
	if (text != NULL)
		fuzz_check_line(text);
}

/* Credentials are one line, whose quotes end where they should. */
static void check_challenge(const char *value)
{
	struct sip_challenge challenge;
	string_t *dest = t_str_new(512);
	const char *p;
	unsigned int params = 0;

	fuzz_check_line(value);
	if (!sip_challenge_parse(value, &challenge))
		return;
	sip_digest_append(dest, &challenge, "dovecot\"\\", "secret", "MESSAGE",
			  "sip:joe@example.com", "cnonce", 1);
	fuzz_check_line(str_c(dest));
	for (p = str_c(dest); *p != '\0'; p++) {
		if (*p == ',')
			params++;
		if (*p == '"') {
			p = sip_skip_enclosed(p) - 1;
			i_assert(*p == '"' && (p[1] == ',' || p[1] == '\0'));
		}
	}
	i_assert(params == 4U + (challenge.algorithm == NULL ? 0 : 1) +
		 (challenge.opaque == NULL ? 0 : 1) + (challenge.qop ? 3 : 0));
}

static void check_answer(const struct sip_answer *answer)
{
	const char *const *challenge;
	const char *error;

	i_assert(answer->status == 0 ||
		 (answer->status >= 100 && answer->status < 700));
	if (answer->status != 0)
		fuzz_check_line(answer->reason);
	check_optional(answer->branch);
	check_optional(answer->method);
	check_optional(answer->contact);
	/* one that a request may be redirected to */
	if (answer->contact != NULL &&
	    pimap_sip_uri_is_valid(answer->contact, &error)) {
		i_assert(strlen(answer->contact) <= PIMAP_SIP_MAX_URI);
		i_assert(strpbrk(answer->contact, " <>;?\"\\") == NULL);
	}
	for (challenge = answer->www; *challenge != NULL; challenge++)
		check_challenge(*challenge);
	for (challenge = answer->proxy; *challenge != NULL; challenge++)
		check_challenge(*challenge);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sip_answer answer, again;
	const char *error;
	int ret;

	fuzz_init(NULL);
	while (size > 0) {
		ret = -1;
		T_BEGIN {
			error = NULL;
			ret = sip_answer_parse(data, size, &answer, &error);
			i_assert((error != NULL) == (ret < 0));
			if (ret > 0) {
				check_answer(&answer);
				i_assert(answer.header_size <= size &&
					 answer.header_size <= SIP_ANSWER_MAX_HEADER &&
					 answer.body_size <= SIP_ANSWER_MAX_BODY);
				/* what comes later changes nothing, what is
				   missing is missed */
				i_assert(sip_answer_parse(data,
					answer.header_size, &again, &error) > 0);
				i_assert(again.header_size == answer.header_size &&
					 again.status == answer.status);
				i_assert(sip_answer_parse(data,
					answer.header_size - 1, &again, &error) == 0);
			}
		} T_END;
		if (ret <= 0)
			break;
		data += answer.header_size;
		size -= answer.header_size;
		ret = I_MIN(size, answer.body_size);
		data += ret;
		size -= ret;
	}
	return 0;
}
