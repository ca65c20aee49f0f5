/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_MQTT_H
#define PIMAP_MQTT_H

#include "net.h"

/* What all processes know of the channel MQTT: its broker's URL, and the topics that
   users may have their notifications published to. */

struct pimap_mqtt_url {
	/* without the brackets of an IPv6 address */
	const char *host;
	in_port_t port;
	bool tls;
};

/* mqtt://host[:port] or mqtts://host[:port]. The strings are in the data stack.
   Returns 0, or -1 and error_r. */
int pimap_mqtt_url_parse(const char *value, struct pimap_mqtt_url *url_r,
			 const char **error_r);

/* Is it a name to publish to? A broker that is given another one closes the
   connection, which is everybody's. Returns TRUE, or FALSE and error_r. */
bool pimap_mqtt_topic_is_valid(const char *topic, const char **error_r);
/* It is a valid one, and in the tree below prefix. Without a prefix nobody has an
   address. Returns TRUE, or FALSE and error_r. */
bool pimap_mqtt_topic_is_allowed(const char *topic, const char *prefix,
				 const char **error_r);

#endif
