/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_SETTINGS_H
#define PIMAP_SETTINGS_H

struct event;
struct mail_namespace;
struct mail_user;

/* Specification, section 15. In Dovecot 2.3 they are in plugin {}, in 2.4
   global; a userdb field of the same name overrides them for its user. */
struct pimap_settings {
	pool_t pool;

	/* FALSE: the user's devices may not log in, and his plain sessions are as
	   without pimap */
	bool pimap;
	/* "accept", or "refuse" devices that haven't been added */
	const char *pimap_unknown_devices;
	/* what devices have that have set nothing, and the mode of those
	   that make themselves */
	const char *pimap_default_view;
	const char *pimap_default_notification;
	const char *pimap_default_event;
	const char *pimap_default_mode;
	/* channels that devices may have, separated by blanks */
	const char *pimap_channels;
	/* the device that logged in, set by the passdb; "" = plain session */
	const char *pimap_device;
	/* it is a master login, whose names Dovecot has lower-cased */
	bool pimap_device_any_case;
	/* one character. Dovecot 2.3: an argument of the passdb instead */
	const char *pimap_separator;
	/* Services that take names with a device, separated by blanks: all but
	   imap authenticate the user. Dovecot 2.3: likewise */
	const char *pimap_services;
	/* path of the profile, "" = with the control files of his mail */
	const char *pimap_profile;
	/* more folders than these aren't listed by XPROVISION */
	unsigned int pimap_max_listed_folders;
	/* per user */
	unsigned int pimap_max_devices;
	unsigned int pimap_max_filters;
	/* with a filter of their own, per device */
	unsigned int pimap_device_max_folders;
	/* of one filter's criteria: bytes, and levels of parentheses */
	uoff_t pimap_max_filter_size;
	unsigned int pimap_max_filter_nesting;
	/* a device may delete folders with messages that it doesn't see */
	bool pimap_delete_hidden;
	/* What becomes of a session in mode view that can't show what another
	   SELECT would: "wait" or "bye" */
	const char *pimap_view_late;
	/* in which DAYSBEFORETODAY has its days, "" = the server's */
	const char *pimap_timezone;
	/* devices are told of what dsync and doveadm import put in */
	bool pimap_notify_imports;

	/* The service pimap-outband (section 13), which has no users' fields */
	/* path of its database, "" = pimap-outband/outband.sqlite in state_dir */
	const char *pimap_outband_db;
	/* seconds: so often it is seen whether something has changed that nobody
	   has told it, 0 = never */
	unsigned int pimap_outband_scan_interval;
	/* seconds: a notification that can't be sent is given up after; it is
	   tried again after min, twice that, and so on up to max */
	unsigned int pimap_outband_expire;
	unsigned int pimap_outband_retry_min;
	unsigned int pimap_outband_retry_max;
	/* seconds that a notification is held whose device is in IDLE on that folder,
	   0 = none; what tells that it was read there: "tcp" or "read" */
	unsigned int pimap_inband_grace;
	const char *pimap_inband_grace_by;
	/* after so many of a device in so many seconds the others of that time are
	   one; so many in an hour likewise. 0 = no limit */
	unsigned int pimap_join_count;
	unsigned int pimap_join_interval;
	unsigned int pimap_limit_device;
	unsigned int pimap_limit_user;
	unsigned int pimap_limit_jms;
	unsigned int pimap_limit_mail;
	unsigned int pimap_limit_mqtt;
	unsigned int pimap_limit_mms;
	unsigned int pimap_limit_program;
	unsigned int pimap_limit_sip;
	unsigned int pimap_limit_sms;
	unsigned int pimap_limit_udp;
	unsigned int pimap_limit_wap_push;
	unsigned int pimap_limit_webpush;
	/* octets of a message's text that EXTENDED tells, 0 = none; the channels
	   that may tell of messages without encryption, separated by blanks */
	uoff_t pimap_outband_body;
	const char *pimap_clear_text;
	/* methods of encryption, separated by blanks, the first is the server's;
	   over which connections keys are given out: "secured", "tls" or "never"
	 */
	const char *pimap_encryption;
	const char *pimap_key_transport;
	/* The channel JMS: URL of a broker that speaks STOMP, "" = there is none; what
	   it knows this server by; path of certificates that it may have, "" = the
	   system's; what destinations begin with, "" = there are none */
	const char *pimap_jms_url;
	const char *pimap_jms_user;
	const char *pimap_jms_password;
	const char *pimap_jms_ca;
	const char *pimap_jms_prefix;
	/* The channel MAIL: host[:port], "" = there is none; the sender, "" =
	   pimap@ this host; what addresses must match, "" = in the user's own
	   domain */
	const char *pimap_mail_relay;
	const char *pimap_mail_from;
	const char *pimap_mail_pattern;
	/* The channel MQTT: URL of the broker, "" = there is none; what it knows this
	   server by; path of certificates that it may have, "" = the system's; the
	   topic below which users' are, "" = there are none; the client's
	   identifier, "" = of this host */
	const char *pimap_mqtt_url;
	const char *pimap_mqtt_user;
	const char *pimap_mqtt_password;
	const char *pimap_mqtt_ca;
	const char *pimap_mqtt_prefix;
	const char *pimap_mqtt_client_id;
	/* The channel MMS: URL of the MMSC's MM7, "" = there is none; what it knows
	   this server by, by HTTP and in MM7, "" = nothing; path of certificates that
	   it may have, "" = the system's; the sender's number, "" = the MMSC's own;
	   what numbers must match, "" = there are none */
	const char *pimap_mms_url;
	const char *pimap_mms_user;
	const char *pimap_mms_password;
	const char *pimap_mms_ca;
	const char *pimap_mms_vasp_id;
	const char *pimap_mms_vas_id;
	const char *pimap_mms_from;
	const char *pimap_mms_pattern;
	/* The channel PROGRAM: an absolute path, "" = there is none; seconds */
	const char *pimap_program_path;
	unsigned int pimap_program_timeout;
	/* The channel SIP: host[:port][;transport=udp|tcp|tls] of the outbound
	   proxy, "" = there is none; the sender's address, "" = sip:pimap@ this
	   host; what the proxy knows this server by; path of certificates that it
	   may have, "" = the system's; what addresses must match, "" = there are
	   none; how they are sent, "message" or "notify" */
	const char *pimap_sip_proxy;
	const char *pimap_sip_from;
	const char *pimap_sip_user;
	const char *pimap_sip_password;
	const char *pimap_sip_ca;
	const char *pimap_sip_pattern;
	const char *pimap_sip_method;
	/* The channel SMS: URL of the gateway's sendsms, "" = there is none; what it
	   knows this server by; path of certificates that it may have, "" = the
	   system's; the sender, "" = the gateway's own; what numbers must match,
	   "" = there are none; of how many parts a notification may be; where
	   the gateway's delivery reports are, "" = it isn't asked for any */
	const char *pimap_sms_url;
	const char *pimap_sms_user;
	const char *pimap_sms_password;
	const char *pimap_sms_ca;
	const char *pimap_sms_from;
	const char *pimap_sms_pattern;
	unsigned int pimap_sms_parts;
	const char *pimap_sms_report_url;
	/* The channel UDP: addresses with ports, separated by blanks, "" = there is
	   none; what devices are told of them, "" and 0 = this host and the first
	   port; seconds that a HELLO is valid; the channel of devices that aren't
	   reached, "" = none; octets of a datagram; HELLOs a second and source */
	const char *pimap_udp_listen;
	const char *pimap_udp_host;
	unsigned int pimap_udp_port;
	unsigned int pimap_udp_lifetime;
	const char *pimap_udp_fallback;
	uoff_t pimap_udp_max_size;
	unsigned int pimap_udp_max_hellos;
	/* The channel WAP_PUSH, likewise */
	const char *pimap_wap_push_url;
	const char *pimap_wap_push_user;
	const char *pimap_wap_push_password;
	const char *pimap_wap_push_ca;
	const char *pimap_wap_push_from;
	const char *pimap_wap_push_pattern;
	/* The channel WEBPUSH: how push services reach the administrator, a URL,
	   "" = there is none; path of the key, "" = webpush.pem in the service's
	   directory; of certificates that they may have, "" = the system's;
	   hosts that needn't be public */
	const char *pimap_webpush_subject;
	const char *pimap_webpush_key;
	const char *pimap_webpush_ca;
	const char *pimap_webpush_hosts;
};

/* A filter that every user has */
struct pimap_system_filter {
	const char *name;
	const char *criteria;
};
ARRAY_DEFINE_TYPE(pimap_system_filter, struct pimap_system_filter);

extern const struct setting_parser_info pimap_setting_parser_info;
#ifdef PIMAP_HAVE_SETTINGS_GET
/* pimap-settings-plain.c */
extern const struct setting_parser_info pimap_plain_setting_parser_info;
extern const struct setting_parser_info pimap_event_setting_parser_info;
/* pimap-settings-filter.c */
extern const struct setting_parser_info pimap_filters_setting_parser_info;
extern const struct setting_parser_info pimap_filter_setting_parser_info;
#endif

/* Returns 0 and the user's settings, which live as long as he does, or -1 and
   error_r. */
int pimap_settings_get(struct mail_user *user,
		       const struct pimap_settings **set_r,
		       const char **error_r);

/* The settings of the service that calls this, in place of
   master_service_settings_read(), and Dovecot's state_dir. They live as long as
   the pool. Returns 0, or -1 and error_r. (pimap-settings-service.c) */
int pimap_settings_get_service(pool_t pool, const struct pimap_settings **set_r,
			       const char **state_dir_r, const char **error_r);
/* What of the configuration decides which messages notify: its filters and defaults,
   as text. After pimap_settings_get_service(). */
int pimap_settings_get_service_rules(pool_t pool, const struct pimap_settings *set,
				     const char **rules_r, const char **error_r);

/* The filters of the configuration, sorted by name, as they are written there.
   They live as long as the user. Returns 0, or -1 and error_r. */
int pimap_settings_get_filters(struct mail_user *user,
			       ARRAY_TYPE(pimap_system_filter) *filters_r,
			       const char **error_r);

/* Likewise, of no user: they live as long as the pool. */
#ifdef PIMAP_HAVE_SETTINGS_GET
int pimap_settings_get_service_filters(struct event *event, pool_t pool,
				ARRAY_TYPE(pimap_system_filter) *filters_r,
				const char **error_r);
#else
struct mail_user_settings;
void pimap_settings_get_service_filters(const struct mail_user_settings *set,
				pool_t pool,
				ARRAY_TYPE(pimap_system_filter) *filters_r);
#endif

enum pimap_session {
	PIMAP_SESSION_PLAIN,
	/* plain, and pimap is switched off for the user */
	PIMAP_SESSION_PLAIN_OFF,
	/* the user has logged in as a device, or that can't be known */
	PIMAP_SESSION_DEVICE
};
enum pimap_session pimap_settings_get_session(struct mail_user *user);

/* The device, as it is in the settings; lives as long as the user. NULL: none, or
   that can't be known. */
const char *pimap_settings_get_device(struct mail_user *user);

/* The setting pimap_profile, allocated from the data stack or longer. Returns 0, or
   -1 and error_r. */
int pimap_settings_get_profile(struct mail_user *user, const char **value_r,
			       const char **error_r);
/* TRUE if the event filter of devices that have set none is ALL, or that can't be
   known. */
bool pimap_settings_wants_all_events(struct mail_user *user);
/* Where the user's profile is: returns 0 and its path, allocated from the data
   stack, or -1 and error_r. ns_r is the namespace that has the path among its control
   files, or NULL. His namespaces must be known. */
int pimap_settings_get_profile_path(struct mail_user *user, const char **path_r,
				    struct mail_namespace **ns_r,
				    const char **error_r);

/* The auth process's part (Dovecot 2.4 only; in 2.3 it doesn't see plugin {}).
   separator_r and services_r are the configured ones; plugin_loaded_r tells
   whether pimap is in the mail_plugins of IMAP sessions. Returns 0, or -1 and
   error_r. */
int pimap_settings_get_auth(struct event *event, char *separator_r,
			    const char *const **services_r,
			    bool *plugin_loaded_r, const char **error_r);

#endif
