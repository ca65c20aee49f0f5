/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap doctor: what notifications need, where a channel is configured. */

#include "lib.h"
#include "array.h"
#include "http-url.h"
#include "net.h"
#include "pimap-channel.h"
#include "pimap-compat.h"
#include "pimap-control.h"
#include "pimap-gateway.h"
#include "pimap-idle.h"
#include "pimap-keys.h"
#include "pimap-look.h"
#include "pimap-mqtt.h"
#include "pimap-pref.h"
#include "pimap-sip.h"
#include "pimap-stomp.h"
#include "doveadm-pimap.h"
#include "doveadm-pimap-conf.h"
#include "doveadm-pimap-doctor.h"
#include "doveadm-pimap-outband.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/stat.h>

#define DOCTOR_CONNECT_MSECS (5*1000)
#define DOCTOR_MAIL_PORT 25

static const char *const *doctor_get_channels(struct doctor *doctor)
{
	return t_strsplit_spaces(doctor_get(doctor, "pimap_channels"), " ,");
}

/* A block that has a name */
static const struct pimap_conf *
doctor_find_block(const struct pimap_conf *conf, const char *key,
		  const char *name)
{
	struct pimap_conf *block;

	array_foreach_elem(&conf->blocks, block) {
		if (strcmp(block->key, key) == 0 && block->value == NULL &&
		    strcmp(block->name, name) == 0)
			return block;
	}
	return NULL;
}

/* A setting may be another's value: $name, in Dovecot 2.4 $SET:name. */
static const char *
doctor_get_expanded(struct doctor *doctor, const struct pimap_conf *conf,
		    const char *key)
{
	const char *value = pimap_conf_get(conf, key);

	if (*value != '$')
		return value;
	value++;
	if (strncmp(value, "SET:", 4) == 0)
		value += 4;
	/* Dovecot 2.4's default isn't printed */
	if (strcmp(value, "default_internal_user") == 0 &&
	    pimap_conf_find(doctor->global, value) == NULL)
		return "dovecot";
	return pimap_conf_get(doctor->global, value);
}

/* outband */

/* Returns NULL if there is none. */
static const struct pimap_conf *
doctor_check_service(struct doctor *doctor, const char *name)
{
	const struct pimap_conf *service =
		doctor_find_block(doctor->global, "service", name);
	const char *path;

	if (service == NULL) {
		doctor_fail(doctor, "service %s isn't in the configuration: "
			"nobody is notified. Add it (see "
			"06-pimap-outband.conf), or take out pimap_channels",
			name);
		return NULL;
	}
	path = t_strcut(pimap_conf_get(service, "executable"), ' ');
	if (*path != '/') {
		path = t_strconcat(doveadm_settings->libexec_dir, "/",
				   *path == '\0' ? name : path, NULL);
	}
	if (access(path, X_OK) < 0) {
		doctor_fail(doctor, "service %s: %s can't be run: %m. Install "
			"pimap's programs anew", name, path);
	}
	return service;
}

/* Returns its mode, or -1 if there is none. */
static int
doctor_check_listener(struct doctor *doctor, const struct pimap_conf *service,
		      const char *name, const struct pimap_conf **listener_r)
{
	unsigned int mode;

	*listener_r = doctor_find_block(service, "unix_listener", name);
	if (*listener_r == NULL ||
	    str_to_uint_oct(pimap_conf_get(*listener_r, "mode"), &mode) < 0 ||
	    mode == 0) {
		doctor_fail(doctor, "service %s { unix_listener %s } is missing, "
			"or has no mode. Add it (see 06-pimap-outband.conf)",
			service->name, name);
		return -1;
	}
	return mode;
}

/* One that the processes of users connect to */
static void
doctor_check_users_socket(struct doctor *doctor, const struct pimap_conf *outband,
			  const char *name, const char *what)
{
	const struct pimap_conf *listener;
	const char *user = doctor_get_expanded(doctor, outband, "user");
	int mode = doctor_check_listener(doctor, outband, name, &listener);

	if (mode != -1 && (mode & 0002) == 0 &&
	    !((mode & 0200) != 0 &&
	      pimap_conf_get(listener, "user")[0] != '\0' &&
	      strcmp(doctor_get_expanded(doctor, listener, "user"),
		     user) != 0) &&
	    !((mode & 0020) != 0 &&
	      pimap_conf_get(listener, "group")[0] != '\0')) {
		doctor_fail(doctor, "service %s { unix_listener %s { mode = %04o } }: "
			"the processes of users can't %s. Set it to 0666",
			outband->name, name, mode, what);
	}
}

/* Are devices given keys by XPROVISION? */
static bool doctor_gives_keys(struct doctor *doctor)
{
	if (strcmp(doctor_get(doctor, "pimap_key_transport"), "never") == 0)
		return FALSE;
	return doctor_get(doctor, "pimap_encryption")[0] != '\0' ||
		str_array_icase_find(doctor_get_channels(doctor), "UDP");
}

/* "" is the default */
static bool doctor_has_grace(struct doctor *doctor)
{
	const char *grace = doctor_get(doctor, "pimap_inband_grace");

	return grace[0] == '\0' || grace[strspn(grace, "0")] != '\0';
}

static void
doctor_check_sockets(struct doctor *doctor, const struct pimap_conf *outband,
		     const struct pimap_conf *worker)
{
	const struct pimap_conf *listener;
	const char *user = doctor_get_expanded(doctor, outband, "user");
	int mode;

	doctor_check_users_socket(doctor, outband, PIMAP_HINT_SOCKET,
				  "tell it what has come");
	if (doctor_gives_keys(doctor)) {
		doctor_check_users_socket(doctor, outband, PIMAP_KEYS_SOCKET,
			"get their devices' keys there");
	}
	if (doctor_has_grace(doctor)) {
		doctor_check_users_socket(doctor, outband, PIMAP_IDLE_SOCKET,
			"tell what is read in IDLE, which is sent all the same");
	}
	mode = doctor_check_listener(doctor, outband, PIMAP_CONTROL_SOCKET,
				     &listener);
	if (mode != -1 && (mode & 0077) != 0) {
		doctor_fail(doctor, "service %s { unix_listener %s { mode = %04o } }: "
			"others may read and change what is queued for all "
			"users. Set it to 0600", outband->name,
			PIMAP_CONTROL_SOCKET, mode);
	}
	mode = doctor_check_listener(doctor, worker, PIMAP_WORKER_SOCKET,
				     &listener);
	if (mode == -1)
		return;
	if ((mode & 0006) != 0) {
		doctor_fail(doctor, "service %s { unix_listener %s { mode = %04o } }: "
			"others may have all users' folders read. Set it to "
			"0600", worker->name, PIMAP_WORKER_SOCKET, mode);
	} else if (*user != '\0' && strcmp(user, "root") != 0 &&
		   strcmp(doctor_get_expanded(doctor, listener, "user"),
			  user) != 0 &&
		   ((mode & 0020) == 0 ||
		    pimap_conf_get(listener, "group")[0] == '\0')) {
		doctor_fail(doctor, "service %s { unix_listener %s }: it isn't "
			"%s's, who is the user of service %s. Set user = %s "
			"there", worker->name, PIMAP_WORKER_SOCKET, user,
			outband->name, user);
	}
}

/* Does Dovecot's master run? */
static bool doctor_server_runs(void)
{
	const char *path = t_strconcat(doveadm_settings->base_dir,
				       "/master.pid", NULL);
	FILE *file = fopen(path, "r");
	int pid, count;

	if (file == NULL)
		return FALSE;
	count = fscanf(file, "%d", &pid);
	(void)fclose(file);
	return count == 1 && pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

static void doctor_check_answer(struct doctor *doctor)
{
	const char *const request[] = { "STATUS", NULL };
	struct outband_client *client;
	const char *const *fields, *error;
	bool forbidden;

	if (!doctor_server_runs())
		return;
	if (outband_client_connect(doveadm_settings->base_dir, &client, &error,
				   &forbidden) < 0) {
		if (!forbidden) {
			doctor_fail(doctor, "%s. Reload Dovecot, or see its log",
				    error);
		}
		return;
	}
	if (outband_client_send(client, request, &error) < 0 ||
	    outband_client_read(client, &fields, &error) < 0) {
		doctor_fail(doctor, "%s. Dovecot's log has more", error);
	} else if (null_strcmp(fields[0], "FAIL") == 0 ||
		   null_strcmp(fields[0], "BUSY") == 0) {
		doctor_fail(doctor, "The service pimap-outband can't work: %s. "
			"Dovecot's log has more",
			fields[1] == NULL ? "" : fields[1]);
	}
	outband_client_disconnect(&client);
}

void doctor_check_outband(struct doctor *doctor)
{
	const struct pimap_conf *outband, *worker;

	if (doctor_get_channels(doctor)[0] == NULL)
		return;
	outband = doctor_check_service(doctor, "pimap-outband");
	worker = doctor_check_service(doctor, "pimap-worker");
	if (outband != NULL && worker != NULL)
		doctor_check_sockets(doctor, outband, worker);
	if (outband != NULL)
		doctor_check_answer(doctor);
}

/* channels */

/* A peer, by the value of a setting */
struct doctor_peer {
	const char *setting, *value;
	const char *host;
	in_port_t port;
	/* the file of authorities, "" = the system's; NULL = there is no TLS */
	const char *ca;
};

/* Returns 0, or -1 and error_r. */
static int
doctor_connect(const struct doctor_peer *peer, const struct ip_addr *ip,
	       const char **error_r)
{
	struct pollfd pfd = { .events = POLLOUT };
	int fd, err;

	fd = net_connect_ip(ip, peer->port, NULL);
	if (fd < 0) {
		*error_r = t_strdup_printf("%m");
		return -1;
	}
	pfd.fd = fd;
	err = poll(&pfd, 1, DOCTOR_CONNECT_MSECS) > 0 ? net_geterror(fd) :
		ETIMEDOUT;
	if (err == 0 && peer->ca != NULL) {
		/* closes it */
		return doctor_start_tls(fd, peer->host, peer->ca,
					DOCTOR_CONNECT_MSECS, error_r);
	}
	(void)close(fd);
	if (err == 0)
		return 0;
	*error_r = t_strdup(strerror(err));
	return -1;
}

static int
doctor_ask_proxy(const struct doctor_peer *peer, const struct ip_addr *ip,
		 const char **error_r)
{
	return doctor_ask_sip(ip, peer->port, error_r);
}

/* connect: returns 0, or -1 and error_r */
static void
doctor_check_peer_by(struct doctor *doctor, const struct doctor_peer *peer,
		     int (*connect)(const struct doctor_peer *peer,
				    const struct ip_addr *ip,
				    const char **error_r))
{
	const char *error = "it has no address";
	struct ip_addr *ips;
	unsigned int i, count;
	int ret;

	ret = net_gethostbyname(peer->host, &ips, &count);
	if (ret != 0) {
		doctor_fail(doctor, "%s = %s: there is no such host: %s",
			    peer->setting, peer->value, net_gethosterror(ret));
		return;
	}
	for (i = 0; i < count; i++) {
		if (connect(peer, &ips[i], &error) == 0)
			return;
	}
	doctor_fail(doctor, "%s = %s can't be reached: %s. Notifications wait "
		    "until it can", peer->setting, peer->value, error);
}

static void
doctor_check_host(struct doctor *doctor, const char *setting, const char *host,
		  in_port_t port)
{
	const struct doctor_peer peer = {
		.setting = setting,
		.value = doctor_get(doctor, setting),
		.host = host,
		.port = port,
	};

	doctor_check_peer_by(doctor, &peer, doctor_connect);
}

/* A setting of the service's */
static const char *doctor_get_outband(struct doctor *doctor, const char *key)
{
	const struct pimap_conf *outband =
		doctor_find_block(doctor->global, "service", "pimap-outband");

	return outband == NULL ? "" : doctor_get_expanded(doctor, outband, key);
}

/* The file of authorities that a peer may have certificates of, "" = the system's; NULL
   if there is no TLS, or nothing can be said of certificates. with_tls: what would have
   it; value: the peer as it may be shown */
static const char *
doctor_check_ca(struct doctor *doctor, const struct pimap_channel_def *def,
		const char *value, bool tls, const char *with_tls)
{
	const char *name = t_strdup_printf("pimap_%s_ca",
					   t_str_lcase(def->name));
	const char *path = doctor_get(doctor, name);
	unsigned int failures = doctor->failures;

	if (!tls) {
		if (*path != '\0') {
			doctor_fail(doctor, "%s is set, but %s = %s is without "
				"TLS. Make it %s", name, def->peer_name, value,
				with_tls);
		}
		return NULL;
	}
	doctor_check_file(doctor, name, def->name,
			  doctor_get_outband(doctor, "user"),
			  doctor_get_outband(doctor, "extra_groups"));
	return doctor->failures == failures ? path : NULL;
}

static void
doctor_check_tls(struct doctor *doctor, const struct pimap_channel_def *def,
		 const char *value, const char *host, in_port_t port, bool tls,
		 const char *with_tls)
{
	const struct doctor_peer peer = {
		.setting = def->peer_name,
		.value = value,
		.host = host,
		.port = port,
		.ca = doctor_check_ca(doctor, def, value, tls, with_tls),
	};

	doctor_check_peer_by(doctor, &peer, doctor_connect);
}

static void
doctor_check_relay(struct doctor *doctor, const struct pimap_channel_def *def,
		   const char *relay)
{
	const char *host;
	in_port_t port;

	if (net_str2hostport(relay, DOCTOR_MAIL_PORT, &host, &port) < 0) {
		doctor_fail(doctor, "%s = %s: it isn't a host with or without "
			    "a port", def->peer_name, relay);
	} else {
		doctor_check_host(doctor, def->peer_name, host, port);
	}
}

static void
doctor_check_mqtt(struct doctor *doctor, const struct pimap_channel_def *def,
		 const char *value)
{
	struct pimap_mqtt_url url;
	const char *error;

#ifndef PIMAP_HAVE_MQTT
	doctor_fail(doctor, "pimap_channels has %s, but pimap was built "
		    "without libmosquitto: nothing is sent. Install that and "
		    "build it anew", def->name);
#endif
	if (pimap_mqtt_url_parse(value, &url, &error) < 0) {
		doctor_fail(doctor, "%s = %s: %s. Until it is mended "
			"pimap-outband doesn't start", def->peer_name, value,
			error);
	} else {
		doctor_check_tls(doctor, def, value, url.host, url.port,
				 url.tls, "mqtts://");
	}
}

static void
doctor_check_program(struct doctor *doctor, const struct pimap_channel_def *def,
		     const char *path)
{
	if (access(path, X_OK) < 0) {
		doctor_fail(doctor, "%s = %s: it can't be run: %m",
			    def->peer_name, path);
	}
}

static void
doctor_check_gateway(struct doctor *doctor, const struct pimap_channel_def *def,
		     const char *value)
{
	struct http_url *url;
	const char *error;

	if (pimap_gateway_url_parse(value, &url, &error) < 0) {
		/* there may be a password in it */
		doctor_fail(doctor, "%s: %s. Until it is mended pimap-outband "
			"doesn't start", def->peer_name, error);
	} else {
		doctor_check_tls(doctor, def, pimap_gateway_url_show(url),
				 url->host.name, http_url_get_port(url),
				 url->have_ssl, "https://");
	}
}

static void
doctor_check_jms(struct doctor *doctor, const struct pimap_channel_def *def,
		 const char *value)
{
	const char *prefix = doctor_get(doctor, def->pattern_name), *error;
	struct pimap_stomp_url url;

	if (!pimap_stomp_prefix_is_valid(prefix, &error)) {
		doctor_fail(doctor, "%s = %s: %s. Until it is mended "
			"pimap-outband doesn't start", def->pattern_name,
			prefix, error);
	}
	if (pimap_stomp_url_parse(value, &url, &error) < 0) {
		doctor_fail(doctor, "%s = %s: %s. Until it is mended "
			"pimap-outband doesn't start", def->peer_name, value,
			error);
		return;
	}
	doctor_check_tls(doctor, def, value, url.host, url.port, url.ssl,
			 "stomp+ssl://");
}

static void
doctor_check_sip(struct doctor *doctor, const struct pimap_channel_def *def,
		 const char *value)
{
	const char *from = doctor_get(doctor, "pimap_sip_from"), *error;
	struct doctor_peer peer = {
		.setting = def->peer_name,
		.value = value,
	};
	struct pimap_sip_proxy proxy;

	if (from[0] != '\0' && !pimap_sip_uri_is_valid(from, &error)) {
		doctor_fail(doctor, "pimap_sip_from = %s: %s. Until it is mended "
			"pimap-outband doesn't start", from, error);
	}
	if (pimap_sip_proxy_parse(value, &proxy, &error) < 0) {
		doctor_fail(doctor, "%s = %s: %s. Until it is mended "
			"pimap-outband doesn't start", def->peer_name, value,
			error);
		return;
	}
	peer.host = proxy.host;
	peer.port = proxy.port;
	peer.ca = doctor_check_ca(doctor, def, value, proxy.tls,
				  "host;transport=tls");
	doctor_check_peer_by(doctor, &peer, proxy.tcp ? doctor_connect :
			     doctor_ask_proxy);
}

/* Reports are what goes with the gateway. */
static void doctor_check_sms_reports(struct doctor *doctor, bool smstools)
{
	static const char *const names[] = { "sent", "failed", "report" };
	const char *value = doctor_get(doctor, "pimap_sms_report_url"), *path;
	struct http_url *url;
	struct stat st;
	const char *error = NULL;
	unsigned int i;

	if (value[0] == '\0')
		return;
	if (!smstools) {
		(void)http_url_parse(value, NULL, HTTP_URL_ALLOW_USERINFO_PART,
				     pool_datastack_create(), &url, &error);
	} else if (!pimap_str_begins(value, PIMAP_CHANNEL_SMSTOOLS) ||
		   value[strlen(PIMAP_CHANNEL_SMSTOOLS)] != '/') {
		error = "it must be "PIMAP_CHANNEL_SMSTOOLS" and the absolute "
			"path of a directory";
	}
	if (error != NULL) {
		doctor_fail(doctor, "pimap_sms_report_url = %s: %s. Until it is "
			"mended pimap-outband doesn't start", value, error);
		return;
	}
	for (i = 0; smstools && i < N_ELEMENTS(names); i++) {
		path = t_strconcat(value + strlen(PIMAP_CHANNEL_SMSTOOLS), "/",
				   names[i], NULL);
		if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
			continue;
		doctor_fail(doctor, "pimap_sms_report_url = %s: there is no "
			"directory %s. Make it, and set %s in smsd.conf to it",
			value, path, names[i]);
	}
}

static void
doctor_check_sms(struct doctor *doctor, const struct pimap_channel_def *def,
		 const char *value)
{
	const bool smstools = pimap_str_begins(value, PIMAP_CHANNEL_SMSTOOLS);
	struct stat st;

	doctor_check_sms_reports(doctor, smstools);
	if (!smstools) {
		doctor_check_gateway(doctor, def, value);
	} else if (stat(value + strlen(PIMAP_CHANNEL_SMSTOOLS), &st) < 0) {
		doctor_fail(doctor, "%s = %s: it can't be looked at: %m",
			    def->peer_name, value);
	} else if (!S_ISDIR(st.st_mode)) {
		doctor_fail(doctor, "%s = %s: it isn't a directory. Name that "
			    "which smsd takes files from", def->peer_name,
			    value);
	}
}

static void
doctor_check_channel_webpush(struct doctor *doctor,
			     const struct pimap_channel_def *def ATTR_UNUSED,
			     const char *peer ATTR_UNUSED)
{
	doctor_check_webpush(doctor, doctor_get_outband(doctor, "user"),
			     doctor_get_outband(doctor, "extra_groups"));
}

/* How it is seen that a channel's peer is there */
static const struct {
	const char *channel;
	/* peer: the value of pimap_channel_def.peer_name */
	void (*check)(struct doctor *doctor,
		      const struct pimap_channel_def *def, const char *peer);
} doctor_peers[] = {
	{ "JMS", doctor_check_jms },
	{ "MAIL", doctor_check_relay },
	{ "MMS", doctor_check_gateway },
	{ "MQTT", doctor_check_mqtt },
	{ "PROGRAM", doctor_check_program },
	{ "SIP", doctor_check_sip },
	{ "SMS", doctor_check_sms },
	{ "WAP_PUSH", doctor_check_gateway },
	{ "WEBPUSH", doctor_check_channel_webpush },
};

static void
doctor_check_peer(struct doctor *doctor, const struct pimap_channel_def *def)
{
	const char *peer = def->peer_name == NULL ? "" :
		doctor_get(doctor, def->peer_name);
	unsigned int i;

	if (def->peer_name != NULL && *peer == '\0') {
		doctor_fail(doctor, "pimap_channels has %s, but there is no %s: "
			"nothing is sent. Set it to %s", def->name,
			def->peer_name, def->peer_is);
		return;
	}
	for (i = 0; i < N_ELEMENTS(doctor_peers); i++) {
		if (strcmp(doctor_peers[i].channel, def->name) == 0)
			doctor_peers[i].check(doctor, def, peer);
	}
}

static void
doctor_check_pattern(struct doctor *doctor, const struct pimap_channel_def *def)
{
	if (def->pattern_name == NULL ||
	    doctor_get(doctor, def->pattern_name)[0] != '\0')
		return;
	if (strcmp(def->name, "MAIL") == 0) {
		doctor->ok = "they can be reached; MAIL goes to addresses in the "
			"user's own domain only, pimap_mail_pattern isn't set";
	} else {
		doctor_fail(doctor, "pimap_channels has %s, but %s isn't set: no "
			"device can have an address", def->name,
			def->pattern_name);
	}
}

void doctor_check_channels(struct doctor *doctor)
{
	const char *const *channel = doctor_get_channels(doctor);
	const struct pimap_channel_def *def;

	for (; *channel != NULL; channel++) {
		def = pimap_channel_find(*channel);
		if (def != NULL) {
			doctor_check_pattern(doctor, def);
			doctor_check_peer(doctor, def);
		} else if (strcasecmp(*channel, "NONE") != 0) {
			doctor_fail(doctor, "pimap_channels: there is no channel "
				"%s. Until then no device can log in", *channel);
		}
	}
}
