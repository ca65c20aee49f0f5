/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_SIP_H
#define OUTBAND_SIP_H

/* A client of SIP that sends requests of its own to one proxy: non-INVITE transactions
   (RFC 3261, 17.1.2) over UDP, TCP and TLS, with digest authentication. */

struct event;
struct outband_sip;

struct outband_sip_settings {
	const char *host;
	in_port_t port;
	/* tls: over TCP, by the authorities of the file, "" = the system's */
	bool tcp, tls;
	const char *ca;

	/* the sender's URI */
	const char *from;
	/* user "": the proxy isn't told any */
	const char *user, *password;
	/* "MESSAGE" or "NOTIFY", and headers that all have, each with its line end */
	const char *method, *headers;

	/* May a request be sent there, where an answer redirects it? Returns TRUE, or
	   FALSE and error_r. */
	bool (*uri_is_allowed)(const char *uri, const char **error_r,
			       void *context);
	void *context;
};

struct outband_sip_message {
	/* a URI of PIMAP_SIP_MAX_URI octets at most */
	const char *to;
	const char *content_type;
	const void *body;
	size_t size;
};

struct outband_sip_result {
	/* of the answer, 0 = there is none */
	unsigned int status;
	/* why it isn't sent, for the log; NULL: it is */
	const char *error;
	/* the peer wants it not sooner, 0 = it doesn't say */
	unsigned int retry_secs;
};

typedef void
outband_sip_callback_t(const struct outband_sip_result *result, void *context);

/* The settings' strings are to live longer. */
struct outband_sip *
outband_sip_init(const struct outband_sip_settings *set,
		 struct event *event_parent);
/* What is being sent is broken off, without a callback. */
void outband_sip_deinit(struct outband_sip **sip);

/* How long a body can be so that a request with an address of usual length needn't be
   longer than a datagram should be */
size_t outband_sip_get_max_body(struct outband_sip *sip);

/* Sends it. It doesn't block, and the callback is called once, later. The message
   is to live until then. */
void outband_sip_send(struct outband_sip *sip,
		      const struct outband_sip_message *msg,
		      outband_sip_callback_t *callback, void *context);

#endif
