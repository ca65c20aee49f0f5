/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_ADDRESS_H
#define PIMAP_ADDRESS_H

/* Where notifications may go: what a user sets as the address of one of
   his devices is asked here when it is set, and again before each sending, as
   the administrator may have changed the pattern meanwhile. */

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

/* What the site has configured of addresses */
struct pimap_address_rules {
	const char *user;
	const char *mail_pattern;
	const char *sms_pattern;
	const char *wap_push_pattern;
	/* pimap_webpush_host_is_allowed() */
	const char *webpush_hosts;
};

/* May the user have this address for this channel? No address at all fits each
   channel, and so does any one where the channel is NONE. Of names, only
   those who connect know where they lead. Returns TRUE, or FALSE and error_r. */
bool pimap_address_is_allowed(const struct pimap_address_rules *rules,
			      const char *channel, const char *address,
			      const char **error_r);

#endif
