/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_ADDRESS_H
#define PIMAP_ADDRESS_H

/* Kinds of addresses that notifications go to (R-14.5; pimap-channel.h says which
   channel has which). */

/* A mail that has this header is a notification, and isn't notified itself. Its
   value is the notification's number. */
#define PIMAP_ADDRESS_MAIL_HEADER "X-PIMAP-Notification"

/* The address is one that SMTP can be given as it is, without a display name,
   comments or control characters, and matches the pattern, in which * and ? are
   wildcards. Without a pattern ("") it is to be in the user's own domain, so that
   users without one have none. Returns TRUE, or FALSE and error_r. */
bool pimap_address_mail_is_allowed(const char *user, const char *address,
				   const char *pattern, const char **error_r);

/* The address is a number that a phone can be called by, an optional + and 3 to 20
   digits, and matches the pattern, which the setting of that name has. Without one
   nobody has an address. Returns TRUE, or FALSE and error_r. */
bool pimap_address_number_is_allowed(const char *address, const char *setting,
				     const char *pattern, const char **error_r);

#endif
