/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap doctor: what the channel WEBPUSH needs. */

#include "lib.h"
#include "base64.h"
#include "buffer.h"
#include "net.h"
#include "str.h"
#include "doveadm-pimap.h"
#include "doveadm-pimap-conf.h"
#include "doveadm-pimap-doctor.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/wait.h>

#define WEBPUSH_MAX_FILE (4*1024*1024)
/* the object identifier of P-256, in DER */
static const unsigned char webpush_p256[] = {
	0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07
};

/* Becomes the user, as the master makes a service one: without the groups that it
   isn't given. Returns 0, or errno. */
static int webpush_become(const char *user, const char *groups)
{
	const char *const *group = t_strsplit_spaces(groups, " ,");
	const struct passwd *pw = getpwnam(user);
	gid_t gids[16];
	unsigned int count = 0;
	uid_t uid;

	if (pw == NULL)
		return EINVAL;
	uid = pw->pw_uid;
	gids[count++] = pw->pw_gid;
	for (; *group != NULL && count < N_ELEMENTS(gids); group++) {
		const struct group *gr = getgrnam(*group);

		if (gr != NULL)
			gids[count++] = gr->gr_gid;
	}
	if (setgroups(count, gids) < 0 || setgid(gids[0]) < 0 || setuid(uid) < 0)
		return errno;
	return 0;
}

/* Can the service's user read it? Only that process knows who has to go through all
   its folders. Returns 0, or errno. */
static int webpush_try_read(const char *path, const char *user, const char *groups)
{
	int fd, status;
	pid_t pid;

	if (geteuid() != 0 || *user == '\0' || strcmp(user, "root") == 0)
		return access(path, R_OK) < 0 ? errno : 0;
	pid = fork();
	if (pid < 0)
		return errno;
	if (pid == 0) {
		status = webpush_become(user, groups);
		if (status == 0) {
			fd = open(path, O_RDONLY | O_NONBLOCK);
			if (fd == -1)
				status = errno;
		}
		_exit(status);
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return errno;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINVAL;
}

/* Returns NULL if it can't be read. */
static const char *webpush_read(const char *path)
{
	string_t *text = t_str_new(1024);
	char buf[4096];
	FILE *file = fopen(path, "r");
	size_t size;

	if (file == NULL)
		return NULL;
	while (str_len(text) < WEBPUSH_MAX_FILE &&
	       (size = fread(buf, 1, sizeof(buf), file)) > 0)
		str_append_data(text, buf, size);
	(void)fclose(file);
	return str_c(text);
}

static bool webpush_has_p256(const buffer_t *der)
{
	const unsigned char *data = der->data;
	size_t i;

	for (i = 0; i + sizeof(webpush_p256) <= der->used; i++) {
		if (memcmp(data + i, webpush_p256, sizeof(webpush_p256)) == 0)
			return TRUE;
	}
	return FALSE;
}

/* Is there a private key of P-256 in the PEM, one without a password? doveadm links no
   libcrypto: the service has the last word. */
static bool webpush_is_key(const char *pem)
{
	static const char *const types[] = { "EC PRIVATE KEY", "PRIVATE KEY" };
	const char *begin, *end;
	buffer_t *der = t_buffer_create(256);
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(types); i++) {
		const char *line = t_strdup_printf("-----BEGIN %s-----", types[i]);

		begin = strstr(pem, line);
		if (begin != NULL) {
			begin += strlen(line);
			end = strstr(begin, "-----END ");
			if (end == NULL ||
			    base64_scheme_decode(&base64_scheme, 0, begin,
						 end - begin, der) < 0)
				return FALSE;
			return webpush_has_p256(der);
		}
	}
	return FALSE;
}

void doctor_check_file(struct doctor *doctor, const char *key,
		       const char *channel, const char *user, const char *groups)
{
	const char *path = doctor_get(doctor, key), *text;
	int err;

	if (*path == '\0')
		return;
	err = webpush_try_read(path, user, groups);
	if (err != 0) {
		doctor_fail(doctor, "%s = %s: %s can't read it: %s. Until then "
			"nothing is sent by %s", key, path,
			*user == '\0' ? "the service pimap-outband" : user,
			strerror(err), channel);
		return;
	}
	text = webpush_read(path);
	if (text == NULL)
		return;
	if (strcmp(key, "pimap_webpush_key") != 0) {
		if (strstr(text, "-----BEGIN CERTIFICATE-----") == NULL &&
		    strstr(text, "-----BEGIN TRUSTED CERTIFICATE-----") == NULL) {
			doctor_fail(doctor, "%s = %s: there is no certificate "
				    "(PEM) in it", key, path);
		}
	} else if (!webpush_is_key(text)) {
		doctor_fail(doctor, "%s = %s: it isn't a private key of P-256 "
			"(PEM, without a password). Make one: openssl ecparam "
			"-name prime256v1 -genkey -noout", key, path);
	}
}

/* Those that can't be any host's let nothing through. */
static void webpush_check_hosts(struct doctor *doctor)
{
	const char *const *host =
		t_strsplit_spaces(doctor_get(doctor, "pimap_webpush_hosts"), " ,");
	struct ip_addr ip;
	unsigned int bits;

	for (; *host != NULL; host++) {
		if (net_parse_range(*host, &ip, &bits) == 0 ||
		    strpbrk(*host, "/:[]@") == NULL)
			continue;
		doctor_fail(doctor, "pimap_webpush_hosts: %s is neither a host's "
			"name (without https:// and port) nor a network: it lets "
			"nothing through", *host);
	}
}

void doctor_check_webpush(struct doctor *doctor, const char *user,
			  const char *groups)
{
	const char *subject = doctor_get(doctor, "pimap_webpush_subject");

	if (*subject == '\0') {
		doctor_fail(doctor, "pimap_channels has WEBPUSH, but there is no "
			"pimap_webpush_subject: nothing is sent. Set it to a "
			"mailto: or https: URL where push services reach you");
	} else if (strncmp(subject, "mailto:", 7) != 0 &&
		   strncmp(subject, "https://", 8) != 0) {
		doctor_fail(doctor, "pimap_webpush_subject = %s: it isn't a "
			"mailto: or https: URL", subject);
	}
	doctor_check_file(doctor, "pimap_webpush_key", "WEBPUSH", user, groups);
	doctor_check_file(doctor, "pimap_webpush_ca", "WEBPUSH", user, groups);
	webpush_check_hosts(doctor);
}
