/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_CHANNEL_H
#define PIMAP_CHANNEL_H

/* The channels, as all processes know them. A channel is a row in
   pimap_channel_defs, its settings, and the code that sends: a file and a row in
   pimap-outband (outband-channel.h). */

struct pimap_settings;

struct pimap_channel_def {
	/* as in the preference PIMAP_OUTBAND_CHANNEL */
	const char *name;
	/* All is sent as EXTENDED, whatever the device's format: by UDP, as EMN has
	   nothing that could be acknowledged. */
	bool extended;
	/* it can send to a device without an address */
	bool address_optional;
	/* The setting pimap_limit_<channel>: notifications an hour. In
	   struct pimap_settings, as what follows. */
	size_t limit_offset;

	/* May the user have that address? See pimap_channel_takes_address(). NULL:
	   any one. */
	bool (*address_is_allowed)(const struct pimap_channel_def *def,
				   const struct pimap_settings *set,
				   const char *user, const char *address,
				   const char **error_r);
	/* The setting with the administrator's pattern of addresses, NULL: it has
	   none */
	const char *pattern_name;
	size_t pattern_offset;

	/* The setting without which nothing is sent, NULL: it has none */
	const char *peer_name;
	/* what that is, for who doesn't know it */
	const char *peer_is;
};

/* how pimap_sms_url begins if it isn't Kannel's: a directory's path follows */
#define PIMAP_CHANNEL_SMSTOOLS "smstools:"

/* Those, up to one whose name is NULL, in the order in which XPROVISION offers them. */
extern const struct pimap_channel_def pimap_channel_defs[];

/* In any case. NULL if there is none, or it is NONE. */
const struct pimap_channel_def *pimap_channel_find(const char *name);
bool pimap_channel_is_extended(const char *name);

/* Where notifications may go: asked when the user sets the address, and again
   before each sending, as the administrator may have changed the pattern meanwhile. Of
   hosts' names, only those who connect know where they lead. Returns TRUE, or FALSE and
   error_r. */
bool pimap_channel_takes_address(const struct pimap_settings *set,
				 const char *user, const char *channel,
				 const char *address, const char **error_r);

unsigned int pimap_channel_get_limit(const struct pimap_settings *set,
				     const char *channel);

#endif
