/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap doctor: is there a SIP proxy? */

#include "lib.h"
#include "hex-binary.h"
#include "hostpid.h"
#include "randgen.h"
#include "str.h"
#include "pimap-sip.h"
#include "doveadm-pimap-doctor.h"

#include <poll.h>
#include <unistd.h>
#include <sys/socket.h>

/* after which the question is repeated: twice that the next time, so often */
#define DOCTOR_SIP_MSECS 500
#define DOCTOR_SIP_TRIES 4

static const char *doctor_sip_random(void)
{
	unsigned char data[8];

	random_fill(data, sizeof(data));
	return binary_to_hex(data, sizeof(data));
}

/* It is for the proxy itself: it mustn't be forwarded (RFC 3261, section 11). */
static const char *doctor_sip_options(int fd, const char *proxy)
{
	struct ip_addr ip;
	in_port_t port;
	const char *local = my_hostname;

	if (net_getsockname(fd, &ip, &port) == 0)
		local = pimap_sip_hostport(&ip, port);
	return t_strdup_printf("OPTIONS sip:%s SIP/2.0\r\n"
		"Via: SIP/2.0/UDP %s;rport;branch=z9hG4bK%s\r\n"
		"Max-Forwards: 0\r\n"
		"From: <sip:doctor@%s>;tag=%s\r\n"
		"To: <sip:%s>\r\n"
		"Call-ID: %s\r\n"
		"CSeq: 1 OPTIONS\r\n"
		"Contact: <sip:doctor@%s>\r\n"
		"Content-Length: 0\r\n\r\n",
		proxy, local, doctor_sip_random(), local, doctor_sip_random(),
		proxy, doctor_sip_random(), local);
}

static int
doctor_sip_ask_fd(int fd, const char *request, const char **error_r)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	unsigned int i, msecs = DOCTOR_SIP_MSECS;
	char answer[8];
	ssize_t ret;

	for (i = 0; i < DOCTOR_SIP_TRIES; i++, msecs *= 2) {
		ret = send(fd, request, strlen(request), MSG_NOSIGNAL);
		if (ret >= 0 && poll(&pfd, 1, msecs) > 0)
			ret = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
		else if (ret >= 0)
			continue;
		if (ret < 0) {
			*error_r = t_strdup_printf("%m");
			return -1;
		}
		/* whatever it says */
		if ((size_t)ret == sizeof(answer) &&
		    strncasecmp(answer, "SIP/2.0 ", sizeof(answer)) == 0)
			return 0;
	}
	*error_r = "it doesn't answer an OPTIONS";
	return -1;
}

int doctor_ask_sip(const struct ip_addr *ip, in_port_t port,
		   const char **error_r)
{
	int fd, ret;

	fd = net_connect_udp(ip, port, NULL);
	if (fd < 0) {
		*error_r = t_strdup_printf("%m");
		return -1;
	}
	ret = doctor_sip_ask_fd(fd, doctor_sip_options(fd,
		pimap_sip_hostport(ip, port)), error_r);
	(void)close(fd);
	return ret;
}
