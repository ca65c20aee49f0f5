/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channels that there are, and the addresses that they take. */

#include "lib.h"
#include "pimap-address.h"
#include "pimap-channel.h"
#include "pimap-mqtt.h"
#include "pimap-settings.h"
#include "pimap-sip.h"
#include "pimap-stomp.h"
#include "pimap-webpush.h"

static const char *
channel_get_pattern(const struct pimap_channel_def *def,
		    const struct pimap_settings *set)
{
	return *(const char *const *)CONST_PTR_OFFSET(set, def->pattern_offset);
}

static bool
channel_jms_takes(const struct pimap_channel_def *def,
		  const struct pimap_settings *set,
		  const char *user ATTR_UNUSED, const char *address,
		  const char **error_r)
{
	return pimap_stomp_destination_is_allowed(address, def->pattern_name,
		channel_get_pattern(def, set), error_r);
}

static bool
channel_mail_takes(const struct pimap_channel_def *def,
		   const struct pimap_settings *set, const char *user,
		   const char *address, const char **error_r)
{
	return pimap_address_mail_is_allowed(user, address,
		channel_get_pattern(def, set), error_r);
}

static bool
channel_mqtt_takes(const struct pimap_channel_def *def,
		   const struct pimap_settings *set,
		   const char *user ATTR_UNUSED, const char *address,
		   const char **error_r)
{
	return pimap_mqtt_topic_is_allowed(address,
		channel_get_pattern(def, set), error_r);
}

static bool
channel_number_takes(const struct pimap_channel_def *def,
		     const struct pimap_settings *set,
		     const char *user ATTR_UNUSED, const char *address,
		     const char **error_r)
{
	return pimap_address_number_is_allowed(address, def->pattern_name,
		channel_get_pattern(def, set), error_r);
}

static bool
channel_sip_takes(const struct pimap_channel_def *def,
		  const struct pimap_settings *set,
		  const char *user ATTR_UNUSED, const char *address,
		  const char **error_r)
{
	return pimap_sip_address_is_allowed(address, def->pattern_name,
		channel_get_pattern(def, set), error_r);
}

static bool
channel_webpush_takes(const struct pimap_channel_def *def ATTR_UNUSED,
		      const struct pimap_settings *set,
		      const char *user ATTR_UNUSED, const char *address,
		      const char **error_r)
{
	struct pimap_webpush_address addr;

	if (pimap_webpush_address_parse(address, &addr, error_r) < 0)
		return FALSE;
	return pimap_webpush_host_is_allowed(&addr,
		addr.ip.family == 0 ? NULL : &addr.ip,
		set->pimap_webpush_hosts, error_r);
}

#define LIMIT(name) \
	.limit_offset = offsetof(struct pimap_settings, pimap_limit_##name)
#define PATTERN(setting) \
	.pattern_name = #setting, \
	.pattern_offset = offsetof(struct pimap_settings, setting)

const struct pimap_channel_def pimap_channel_defs[] = {
	{ .name = "JMS", LIMIT(jms), PATTERN(pimap_jms_prefix),
	  .address_is_allowed = channel_jms_takes,
	  .peer_name = "pimap_jms_url",
	  .peer_is = "the URL of a broker that speaks STOMP" },
	{ .name = "MAIL", LIMIT(mail), PATTERN(pimap_mail_pattern),
	  .address_is_allowed = channel_mail_takes,
	  .peer_name = "pimap_mail_relay",
	  .peer_is = "the host that takes mail" },
	{ .name = "MMS", LIMIT(mms), PATTERN(pimap_mms_pattern),
	  .address_is_allowed = channel_number_takes,
	  .peer_name = "pimap_mms_url",
	  .peer_is = "the URL of the MMSC's MM7" },
	{ .name = "MQTT", LIMIT(mqtt), PATTERN(pimap_mqtt_prefix),
	  .address_is_allowed = channel_mqtt_takes,
	  .peer_name = "pimap_mqtt_url",
	  .peer_is = "the URL of the broker" },
	/* what is an address is for the program to say */
	{ .name = "PROGRAM", LIMIT(program), .address_optional = TRUE,
	  .peer_name = "pimap_program_path", .peer_is = "the program" },
	{ .name = "SIP", LIMIT(sip), PATTERN(pimap_sip_pattern),
	  .address_is_allowed = channel_sip_takes,
	  .peer_name = "pimap_sip_proxy",
	  .peer_is = "the host of the SIP proxy" },
	{ .name = "SMS", LIMIT(sms), PATTERN(pimap_sms_pattern),
	  .address_is_allowed = channel_number_takes,
	  .peer_name = "pimap_sms_url",
	  .peer_is = "the URL of Kannel's sendsms, or smstools: and the spool "
		"directory of smsd" },
	/* its address is where it comes from; PIMAP_OUTBAND_ADDRESS is that of the
	   channel which takes over */
	{ .name = "UDP", LIMIT(udp), .address_optional = TRUE,
	  .extended = TRUE },
	{ .name = "WAP_PUSH", LIMIT(wap_push), PATTERN(pimap_wap_push_pattern),
	  .address_is_allowed = channel_number_takes,
	  .peer_name = "pimap_wap_push_url",
	  .peer_is = "the URL of Kannel's sendsms" },
	{ .name = "WEBPUSH", LIMIT(webpush),
	  .address_is_allowed = channel_webpush_takes },
	{ .name = NULL }
};

const struct pimap_channel_def *pimap_channel_find(const char *name)
{
	const struct pimap_channel_def *def;

	for (def = pimap_channel_defs; def->name != NULL; def++) {
		if (strcasecmp(def->name, name) == 0)
			return def;
	}
	return NULL;
}

bool pimap_channel_is_extended(const char *name)
{
	const struct pimap_channel_def *def = pimap_channel_find(name);

	return def != NULL && def->extended;
}

bool pimap_channel_takes_address(const struct pimap_settings *set,
				 const char *user, const char *channel,
				 const char *address, const char **error_r)
{
	const struct pimap_channel_def *def = pimap_channel_find(channel);

	if (def == NULL || def->address_is_allowed == NULL ||
	    (address[0] == '\0' && def->address_optional))
		return TRUE;
	return def->address_is_allowed(def, set, user, address, error_r);
}

unsigned int pimap_channel_get_limit(const struct pimap_settings *set,
				     const char *channel)
{
	const struct pimap_channel_def *def = pimap_channel_find(channel);

	return def == NULL ? 0 : *(const unsigned int *)
		CONST_PTR_OFFSET(set, def->limit_offset);
}
