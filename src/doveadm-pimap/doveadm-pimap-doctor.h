/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef DOVEADM_PIMAP_DOCTOR_H
#define DOVEADM_PIMAP_DOCTOR_H

#include "net.h"

/* What the files of the doctor share. */

struct mail_user;

struct doctor {
	pool_t pool;
	const char *conf_path;
	/* where Dovecot was compiled to look for modules */
	const char *module_dir;
	/* as IMAP sessions have it; NULL: Dovecot doesn't take it */
	struct pimap_conf *conf;
	/* outside of all protocols */
	struct pimap_conf *global;
	const char *conf_errors;

	/* the one that is under way */
	const char *check;
	/* what is said of it if it finds nothing; it may say something else */
	const char *ok;
	unsigned int failures;
	bool check_failed;
};

/* The check that is under way has found something: prints that. */
void doctor_fail(struct doctor *doctor, const char *format, ...)
	ATTR_FORMAT(2, 3);
/* Prints that it has found nothing. */
void doctor_ok(struct doctor *doctor, const char *text);

/* A setting of pimap's, "" if it isn't set */
const char *doctor_get(struct doctor *doctor, const char *key);
/* Is it in the mail_plugins of IMAP sessions? */
bool doctor_has_plugin(struct doctor *doctor, const char *name);

/* doveadm-pimap-doctor-auth.c: checks */
void doctor_check_separator(struct doctor *doctor);
void doctor_check_passdbs(struct doctor *doctor);
void doctor_check_masters(struct doctor *doctor);
void doctor_check_userdbs(struct doctor *doctor);
/* Fails with each passdb and userdb of ours, which is to be taken out. */
void doctor_list_dbs(struct doctor *doctor);

/* doveadm-pimap-doctor-outband.c: checks */
void doctor_check_outband(struct doctor *doctor);
void doctor_check_channels(struct doctor *doctor);

/* doveadm-pimap-doctor-sip.c: asks a SIP proxy by UDP. Returns 0, or -1 and error_r. */
int doctor_ask_sip(const struct ip_addr *ip, in_port_t port,
		   const char **error_r);

/* doveadm-pimap-doctor-tls.c: has a peer that is connected a certificate of its name's
   by these authorities? They are in the file ca, "" = the system's. Closes fd. Returns 0, or
   -1 and error_r. */
int doctor_start_tls(int fd, const char *host, const char *ca,
		     unsigned int timeout_msecs, const char **error_r);

/* doveadm-pimap-doctor-webpush.c: of the check of channels. The service is that user's,
   and in these groups. */
void doctor_check_webpush(struct doctor *doctor, const char *user,
			  const char *groups);
/* The file that a setting names, if it does: it has certificates, or is the key of
   WEBPUSH, and the service can read it. */
void doctor_check_file(struct doctor *doctor, const char *key,
		       const char *channel, const char *user,
		       const char *groups);

/* doveadm-pimap-doctor-user.c: the checks of one user, with what they find or
   don't. */
void doctor_check_user(struct doctor *doctor, struct mail_user *user);

#endif
