/* SPDX-License-Identifier: LGPL-2.1-only */
/* Kinds of addresses that a user may have his notifications sent to. */

#include "lib.h"
#include "wildcard-match.h"
#include "smtp-address.h"
#include "pimap-address.h"

bool pimap_address_mail_is_allowed(const char *user, const char *address,
				   const char *pattern, const char **error_r)
{
	struct smtp_address *addr;
	const char *domain, *encoded, *error;

	if (smtp_address_parse_mailbox(pool_datastack_create(), address, 0,
				       &addr, &error) < 0) {
		*error_r = t_strdup_printf("not an address: %s", error);
		return FALSE;
	}
	if (addr->localpart == NULL || addr->domain == NULL ||
	    addr->domain[0] == '\0') {
		*error_r = "not an address: it has no domain";
		return FALSE;
	}
	if (pattern[0] != '\0') {
		encoded = smtp_address_encode(addr);
		if (wildcard_match_icase(encoded, pattern))
			return TRUE;
		*error_r = "it doesn't match pimap_mail_pattern";
		return FALSE;
	}
	domain = strrchr(user, '@');
	if (domain != NULL && domain[1] != '\0' &&
	    strcasecmp(domain + 1, addr->domain) == 0)
		return TRUE;
	*error_r = "it isn't in the user's own domain";
	return FALSE;
}

bool pimap_address_number_is_allowed(const char *address, const char *setting,
				     const char *pattern, const char **error_r)
{
	const char *digits = address[0] == '+' ? address + 1 : address;
	size_t len = strspn(digits, "0123456789");

	if (digits[len] != '\0' || len < 3 || len > 20) {
		*error_r = "not a number: a + or none, and 3 to 20 digits";
		return FALSE;
	}
	if (pattern[0] == '\0') {
		*error_r = t_strdup_printf("the administrator hasn't allowed "
			"any by %s", setting);
		return FALSE;
	}
	if (wildcard_match(address, pattern))
		return TRUE;
	*error_r = t_strdup_printf("it doesn't match %s", setting);
	return FALSE;
}
