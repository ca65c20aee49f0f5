/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channel MQTT's broker and topics. */

#include "lib.h"
#include "unichar.h"
#include "pimap-mqtt.h"

#include <ctype.h>

#define MQTT_DEFAULT_PORT 1883
#define MQTT_DEFAULT_TLS_PORT 8883
/* MQTT has 65,535, brokers less */
#define MQTT_MAX_TOPIC 255

static bool mqtt_host_is_valid(const char *host)
{
	struct ip_addr ip;
	const char *p;

	if (net_addr2ip(host, &ip) == 0)
		return TRUE;
	for (p = host; *p != '\0'; p++) {
		if (!i_isalnum(*p) && strchr("-_.", *p) == NULL)
			return FALSE;
	}
	return p != host;
}

int pimap_mqtt_url_parse(const char *value, struct pimap_mqtt_url *url_r,
			 const char **error_r)
{
	size_t len;

	i_zero(url_r);
	if (strncasecmp(value, "mqtt://", 7) == 0) {
		value += 7;
	} else if (strncasecmp(value, "mqtts://", 8) == 0) {
		value += 8;
		url_r->tls = TRUE;
	} else {
		*error_r = "it doesn't begin with mqtt:// or mqtts://";
		return -1;
	}
	len = strlen(value);
	if (len > 0 && value[len-1] == '/')
		value = t_strndup(value, len - 1);
	if (strchr(value, '@') != NULL) {
		*error_r = "name and password have settings of their own";
		return -1;
	}
	if (net_str2hostport(value, url_r->tls ? MQTT_DEFAULT_TLS_PORT :
			     MQTT_DEFAULT_PORT, &url_r->host,
			     &url_r->port) < 0 ||
	    !mqtt_host_is_valid(url_r->host) || url_r->port == 0) {
		*error_r = "after it is just a host, or host:port";
		return -1;
	}
	return 0;
}

/* Brokers and libmosquitto don't take these (MQTT 5.0, 1.5.4). */
static bool mqtt_char_is_valid(unichar_t chr)
{
	return chr >= 0x20 && !(chr >= 0x7f && chr <= 0x9f) &&
		!(chr >= 0xd800 && chr <= 0xdfff) &&
		!(chr >= 0xfdd0 && chr <= 0xfdef) &&
		(chr & 0xfffe) != 0xfffe;
}

bool pimap_mqtt_topic_is_valid(const char *topic, const char **error_r)
{
	const char *p;
	unichar_t chr;
	int len;

	if (strlen(topic) > MQTT_MAX_TOPIC) {
		*error_r = t_strdup_printf("not a topic: it is longer than %u "
					   "octets", MQTT_MAX_TOPIC);
		return FALSE;
	}
	for (p = topic; *p != '\0'; p += len) {
		len = uni_utf8_get_char(p, &chr);
		if (len <= 0 || !mqtt_char_is_valid(chr)) {
			*error_r = "not a topic: it isn't UTF-8, or has "
				"control characters";
			return FALSE;
		}
		if (chr == '+' || chr == '#' || chr == '$') {
			*error_r = "not a topic to publish to: it has a +, # "
				"or $";
			return FALSE;
		}
	}
	if (topic[0] == '\0' || topic[0] == '/' ||
	    topic[strlen(topic)-1] == '/' || strstr(topic, "//") != NULL) {
		*error_r = "not a topic: it has an empty level";
		return FALSE;
	}
	return TRUE;
}

bool pimap_mqtt_topic_is_allowed(const char *topic, const char *prefix,
				 const char **error_r)
{
	size_t len = strlen(prefix);

	if (!pimap_mqtt_topic_is_valid(topic, error_r))
		return FALSE;
	if (len == 0) {
		*error_r = "the administrator hasn't allowed any by "
			"pimap_mqtt_prefix";
		return FALSE;
	}
	/* the whole of a level */
	if (prefix[len-1] == '/')
		len--;
	if (len == 0 || strncmp(topic, prefix, len) != 0 ||
	    topic[len] != '/') {
		*error_r = "it isn't below pimap_mqtt_prefix";
		return FALSE;
	}
	return TRUE;
}
