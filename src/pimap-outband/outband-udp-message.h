/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_UDP_MESSAGE_H
#define OUTBAND_UDP_MESSAGE_H

/* The datagrams of the channel UDP, which anybody may have sent. */

#define OUTBAND_UDP_CHALLENGE_SIZE 16
/* ACKs in one HELLO: a datagram has no room for more */
#define OUTBAND_UDP_MAX_ACKS 500
#define OUTBAND_UDP_MAX_LOGIN 320

struct outband_udp_hello {
	/* as the client has it */
	const char *login;
	/* the envelope, not opened yet */
	buffer_t *envelope;
};

/* What the envelope of a HELLO has in it */
struct outband_udp_text {
	const char *device;
	time_t time;
	/* it answers a challenge */
	bool has_challenge;
	unsigned char challenge[OUTBAND_UDP_CHALLENGE_SIZE];
	ARRAY(int64_t) acks;
};

/* Returns FALSE if it isn't a HELLO. What follows the envelope is any octets. */
bool outband_udp_hello_parse(const unsigned char *data, size_t size,
			     struct outband_udp_hello *hello_r);
/* Returns FALSE if it isn't what a HELLO has in it. */
bool outband_udp_text_parse(const void *data, size_t size,
			    struct outband_udp_text *text_r);

/* The users and devices that a login name can mean; the separator is '\0' where it
   isn't known. Each time it is called with the next idx, from 0 on. User "" = only the
   device's id was given. Returns FALSE if there is no other one. */
bool outband_udp_login_split(const char *login, char separator,
			     unsigned int idx, const char **user_r,
			     const char **device_r);

#endif
