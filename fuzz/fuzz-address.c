/* SPDX-License-Identifier: LGPL-2.1-only */
/* Addresses that users set, each in a line of its own, after the administrator's
   pattern and hosts in the first one. */

#include "fuzz-outband.h"
#include <ctype.h>
#include "str.h"
#include "unichar.h"
#include "smtp-address.h"
#include "pimap-address.h"
#include "pimap-channel.h"
#include "pimap-mqtt.h"
#include "pimap-settings.h"
#include "pimap-webpush.h"

static void check_mail(const char *address, const char *pattern)
{
	struct smtp_address *addr;
	string_t *path = t_str_new(128);
	const char *error = NULL;

	if (!pimap_address_mail_is_allowed("joe@example.com", address, pattern,
					   &error)) {
		i_assert(error != NULL);
		return;
	}
	/* as the channel does it */
	if (smtp_address_parse_mailbox(pool_datastack_create(), address, 0,
				       &addr, &error) < 0)
		i_fatal("%s: %s", address, error);
	smtp_address_write_path(path, addr);
	fuzz_check_line(str_c(path));
	if (pattern[0] == '\0')
		i_assert(strcasecmp(addr->domain, "example.com") == 0);
}

static void check_webpush(const char *address, const char *hosts)
{
	struct pimap_webpush_address addr, again;
	const char *error = NULL, *p;
	bool allowed, public;

	if (pimap_webpush_address_parse(address, &addr, &error) < 0) {
		i_assert(error != NULL);
		return;
	}
	/* they come to be in a request, and in JSON */
	for (p = addr.origin; *p != '\0'; p++)
		i_assert(i_isalnum(*p) || strchr("-_.:/[]%", *p) != NULL);
	for (p = addr.target; *p != '\0'; p++)
		i_assert((unsigned char)*p > 0x20 && (unsigned char)*p < 0x7f);
	i_assert(addr.target[0] == '/' && strchr(addr.target, '#') == NULL);
	i_assert(addr.port != 0 && strchr(addr.host, '%') == NULL);
	/* a host that is no address is no number in any form */
	p = strrchr(addr.host, '.');
	i_assert(addr.ip.family != 0 ||
		 !i_isdigit(p == NULL ? addr.host[0] : p[1]));
	if (pimap_webpush_address_parse(t_strconcat(addr.origin, addr.target,
			strchr(address, ' '), NULL), &again, &error) < 0)
		i_fatal("%s: %s", addr.origin, error);
	i_assert(strcmp(addr.origin, again.origin) == 0 &&
		 strcmp(addr.target, again.target) == 0 &&
		 strcmp(addr.host, again.host) == 0 && addr.port == again.port);
	if (addr.ip.family == 0)
		return;
	public = pimap_webpush_ip_is_public(&addr.ip);
	allowed = pimap_webpush_host_is_allowed(&addr, &addr.ip, "", &error);
	i_assert(public || !allowed);
	i_assert(!allowed || pimap_webpush_host_is_allowed(&addr, &addr.ip,
							   hosts, &error));
}

static void check_mqtt(const char *text, const char *site)
{
	struct pimap_mqtt_url url, again;
	const char *error = NULL;

	if (pimap_mqtt_topic_is_allowed(text, site, &error)) {
		fuzz_check_line(text);
		i_assert(strlen(text) <= 255 && strpbrk(text, "+#$") == NULL);
		i_assert(fuzz_begins(text, t_str_rtrim(site, "/")));
		i_assert(strlen(text) > strlen(site) &&
			 uni_utf8_str_is_valid(text));
	} else {
		i_assert(error != NULL);
	}
	error = NULL;
	if (pimap_mqtt_url_parse(text, &url, &error) < 0) {
		i_assert(error != NULL);
		return;
	}
	i_assert(url.host[0] != '\0' && url.port != 0);
	fuzz_check_line(url.host);
	if (pimap_mqtt_url_parse(t_strdup_printf(strchr(url.host, ':') != NULL ?
			"%s://[%s]:%u" : "%s://%s:%u", url.tls ? "mqtts" :
			"mqtt", url.host, url.port), &again, &error) < 0)
		i_fatal("%s: %s", text, error);
	i_assert(strcmp(url.host, again.host) == 0 && url.port == again.port &&
		 url.tls == again.tls);
}

static void
check_channel(const struct pimap_settings *set,
	      const struct pimap_channel_def *def, const char *address)
{
	const char *error = NULL;

	if (!pimap_channel_takes_address(set, "joe@example.com", def->name,
					 address, &error))
		i_assert(error != NULL);
	else if (strcmp(def->name, "SMS") == 0 ||
		 strcmp(def->name, "WAP_PUSH") == 0) {
		i_assert(strspn(address, "+0123456789") == strlen(address));
	} else if (strcmp(def->name, "SIP") == 0) {
		/* it stands in a request as it is */
		fuzz_check_line(address);
		i_assert(strncasecmp(address, "sip:", 4) == 0);
		i_assert(strpbrk(address, " <>;?\"\\") == NULL);
		i_assert(strchr(address, '@') != NULL &&
			 strchr(address, '@') == strrchr(address, '@'));
	} else if (strcmp(def->name, "JMS") == 0) {
		/* what the administrator has written, and a name */
		i_assert(fuzz_begins(address, set->pimap_jms_prefix));
		address += strlen(set->pimap_jms_prefix);
		i_assert(set->pimap_jms_prefix[0] != '\0' &&
			 *address != '\0');
		fuzz_check_line(address);
		i_assert(strpbrk(address, " *>#,;?:/\\%") == NULL);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(NULL);
	T_BEGIN {
		const char *const *lines = fuzz_lines(data, size);
		const char *site = *lines;
		const struct pimap_settings set = {
			.pimap_jms_prefix = site,
			.pimap_mail_pattern = site,
			.pimap_mms_pattern = site,
			.pimap_sip_pattern = site,
			.pimap_mqtt_prefix = site,
			.pimap_sms_pattern = site,
			.pimap_wap_push_pattern = site,
			.pimap_webpush_hosts = site,
		};
		const struct pimap_channel_def *def;

		while (site != NULL && *++lines != NULL) {
			check_mail(*lines, site);
			check_mqtt(*lines, site);
			check_webpush(*lines, site);
			for (def = pimap_channel_defs; def->name != NULL; def++)
				check_channel(&set, def, *lines);
		}
	} T_END;
	return 0;
}
