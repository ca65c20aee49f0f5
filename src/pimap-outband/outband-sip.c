/* SPDX-License-Identifier: LGPL-2.1-only */
/* A client of SIP (RFC 3261).

   Each request is a transaction with a branch of its own, by which its answer is known.
   Over UDP it is repeated, as it is, after T1, 2 T1 and so on up to T2, and each T2 once
   a provisional answer has come (timer E); without a final answer it ends after 64 T1
   (timer F). What comes after the final answer belongs to no transaction and is
   ignored, so that timer K needs no state. One that is challenged, redirected, or sent
   to the proxy's next address is another transaction, with the same Call-ID.

   All requests go by one socket of each kind, which are connected: the kernel lets
   nothing through but what the proxy has sent. TCP is used where it is configured, with
   or without TLS (26.2), and for requests that are too long for a datagram (18.1.1). */

#include "lib.h"
#include "buffer.h"
#include "hash.h"
#include "hash-method.h"
#include "hex-binary.h"
#include "ioloop.h"
#include "istream.h"
#include "llist.h"
#include "net.h"
#include "ostream.h"
#include "randgen.h"
#include "str.h"
#include "time-util.h"
#include "dns-lookup.h"
#include "iostream-ssl.h"
#include "pimap-sip.h"
#include "pimap-text.h"
#include "pimap-tls.h"
#include "outband-sip.h"
#include "sip-answer.h"
#include "sip-digest.h"

#include <sys/socket.h>

#define SIP_T1_MSECS 500
#define SIP_T2_MSECS 4000
#define SIP_TIMEOUT_MSECS (64*SIP_T1_MSECS)
/* sockets nobody uses are closed, and the proxy's name is looked up again */
#define SIP_IDLE_MSECS (60*1000)
/* octets of a request by UDP */
#define SIP_MAX_DATAGRAM 1300
#define SIP_RECEIVE_BUFFER (1024*1024)
/* datagrams at once: others aren't kept waiting by many */
#define SIP_MAX_READS 100
#define SIP_MAX_INPUT (64*1024)
/* of a challenge that is kept for later requests: a device behind the proxy could make
   all of them long */
#define SIP_MAX_KEPT 256
/* answers to challenges of one kind, for one message */
#define SIP_MAX_LOGINS 2
/* what a body must at least have room for */
#define SIP_MIN_BODY 200
/* z9hG4bK and 128 random bits */
#define SIP_BRANCH_MAGIC "z9hG4bK"
#define SIP_RANDOM_OCTETS 16

enum sip_login {
	/* 401, by who receives it */
	SIP_LOGIN_WWW,
	/* 407 */
	SIP_LOGIN_PROXY,

	SIP_LOGIN_COUNT
};

/* What was challenged last, so that the next request needn't be */
struct sip_auth {
	char *realm, *nonce, *opaque, *algorithm;
	/* its strings are those */
	struct sip_challenge challenge;
	unsigned int count;
};

struct sip_link {
	struct outband_sip *sip;
	bool tcp;
	int fd;
	struct io *io;
	struct istream *input;
	struct ostream *output;
	struct ssl_iostream *ssl;
	/* of a stream that is skipped */
	size_t body_left;
	/* our side, as Via names it, and the other one */
	const char *local;
	char *local_alloc, *peer;
	bool connected;
	struct timeval last_answer;
};

struct outband_sip {
	struct event *event;
	struct outband_sip_settings set;

	struct dns_lookup *lookup;
	struct ip_addr *ips;
	unsigned int ips_count, ip_idx;
	struct sip_link links[2];
	/* no TCP connection was taken */
	bool no_tcp;
	struct ssl_iostream_context *ssl_ctx;

	struct sip_auth auth[SIP_LOGIN_COUNT];
	struct sip_send *sends;
	HASH_TABLE(char *, struct sip_send *) branches;
	struct timeout *to_go_on, *to_idle;
	unsigned char *datagram;
};

struct sip_send {
	struct sip_send *prev, *next;
	struct outband_sip *sip;
	pool_t pool;
	const struct outband_sip_message *msg;
	const char *uri, *call_id, *tag;

	/* the transaction; NULL: it waits for an address */
	struct sip_link *link;
	unsigned int cseq;
	char *branch;
	string_t *request;
	struct timeout *to_again, *to_end;
	unsigned int again_msecs;
	bool proceeding;
	bool written;
	struct timeval begun;

	unsigned int logins[SIP_LOGIN_COUNT];
	/* what it was challenged with itself, NULL = it wasn't */
	const struct sip_challenge *challenges[SIP_LOGIN_COUNT];
	bool redirected;

	struct timeout *to_finish;
	struct outband_sip_result result;
	outband_sip_callback_t *callback;
	void *context;
};

static void sip_link_close(struct sip_link *link);
static void sip_link_failed(struct sip_link *link, const char *error);
static void sip_go_on_later(struct outband_sip *sip);

static const char *sip_random(void)
{
	unsigned char data[SIP_RANDOM_OCTETS];

	random_fill(data, sizeof(data));
	return binary_to_hex(data, sizeof(data));
}

/* sends */

static void sip_send_end_transaction(struct sip_send *send)
{
	timeout_remove(&send->to_again);
	timeout_remove(&send->to_end);
	if (send->branch != NULL) {
		hash_table_remove(send->sip->branches, send->branch);
		i_free(send->branch);
	}
	send->link = NULL;
	send->written = FALSE;
}

static void sip_send_free(struct sip_send *send)
{
	sip_send_end_transaction(send);
	DLLIST_REMOVE(&send->sip->sends, send);
	timeout_remove(&send->to_finish);
	str_free(&send->request);
	pool_unref(&send->pool);
}

static void sip_forget_ips(struct outband_sip *sip)
{
	i_free(sip->ips);
	sip->ips_count = 0;
}

static void sip_idle(struct outband_sip *sip)
{
	timeout_remove(&sip->to_idle);
	sip_link_close(&sip->links[FALSE]);
	sip_link_close(&sip->links[TRUE]);
	sip_forget_ips(sip);
}

static void sip_send_finished(struct sip_send *send)
{
	struct outband_sip *sip = send->sip;
	outband_sip_callback_t *callback = send->callback;
	void *context = send->context;
	struct outband_sip_result result = send->result;

	result.error = t_strdup(result.error);
	sip_send_free(send);
	if (sip->sends == NULL && sip->to_idle == NULL)
		sip->to_idle = timeout_add(SIP_IDLE_MSECS, sip_idle, sip);
	callback(&result, context);
}

/* Not from within what goes through the sends, or the call of outband_sip_send() */
static void sip_send_finish(struct sip_send *send, const char *error)
{
	if (send->to_finish != NULL)
		return;
	sip_send_end_transaction(send);
	send->result.error = p_strdup(send->pool, error);
	send->to_finish = timeout_add_short(0, sip_send_finished, send);
}

/* It waits for an address or a connection. */
static bool sip_send_is_waiting(const struct sip_send *send)
{
	return send->link == NULL && send->to_finish == NULL;
}

/* requests */

static void sip_auth_free(struct sip_auth *auth)
{
	i_free(auth->realm);
	i_free(auth->nonce);
	i_free(auth->opaque);
	i_free(auth->algorithm);
	i_zero(auth);
}

static void
sip_auth_set(struct sip_auth *auth, const struct sip_challenge *challenge)
{
	/* the same nonce again: its count goes on */
	unsigned int count = auth->nonce != NULL &&
		strcmp(auth->nonce, challenge->nonce) == 0 ? auth->count : 0;

	sip_auth_free(auth);
	if (strlen(challenge->realm) + strlen(challenge->nonce) +
	    (challenge->opaque == NULL ? 0 : strlen(challenge->opaque)) >
	    SIP_MAX_KEPT)
		return;
	auth->challenge = *challenge;
	auth->challenge.realm = auth->realm = i_strdup(challenge->realm);
	auth->challenge.nonce = auth->nonce = i_strdup(challenge->nonce);
	auth->challenge.opaque = auth->opaque = i_strdup(challenge->opaque);
	auth->challenge.algorithm = auth->algorithm =
		i_strdup(challenge->algorithm);
	auth->count = count;
}

static void sip_append_logins(string_t *dest, struct sip_send *send)
{
	static const char *const names[SIP_LOGIN_COUNT] = {
		"Authorization", "Proxy-Authorization"
	};
	const struct outband_sip_settings *set = &send->sip->set;
	enum sip_login login;

	for (login = 0; login < SIP_LOGIN_COUNT; login++) {
		struct sip_auth *auth = &send->sip->auth[login];
		const struct sip_challenge *challenge = send->challenges[login];
		unsigned int count = 1;

		if (challenge == NULL && auth->nonce != NULL)
			challenge = &auth->challenge;
		if (challenge == NULL)
			continue;
		/* another may have been challenged since */
		if (auth->nonce != NULL &&
		    strcmp(auth->nonce, challenge->nonce) == 0)
			count = ++auth->count;
		str_printfa(dest, "%s: ", names[login]);
		sip_digest_append(dest, challenge, set->user, set->password,
				  set->method, send->uri, sip_random(), count);
		str_append(dest, "\r\n");
	}
}

static const char *sip_link_get_transport(const struct sip_link *link)
{
	return !link->tcp ? "UDP" : link->sip->set.tls ? "TLS" : "TCP";
}

static void
sip_append_request(string_t *dest, struct sip_send *send,
		   const struct sip_link *link)
{
	const struct outband_sip_settings *set = &send->sip->set;
	const struct outband_sip_message *msg = send->msg;

	str_printfa(dest, "%s %s SIP/2.0\r\n"
		    "Via: SIP/2.0/%s %s;rport;branch=%s\r\n"
		    "Max-Forwards: 70\r\n"
		    "From: <%s>;tag=%s\r\n"
		    "To: <%s>\r\n"
		    "Call-ID: %s\r\n"
		    "CSeq: %u %s\r\n",
		    set->method, send->uri, sip_link_get_transport(link),
		    link->local, send->branch, set->from, send->tag, msg->to,
		    send->call_id, send->cseq, set->method);
	/* only a MESSAGE must have none (RFC 3428) */
	if (strcmp(set->method, "MESSAGE") != 0) {
		str_printfa(dest, "Contact: <sip:%s%s>\r\n", link->local,
			    !link->tcp ? "" : set->tls ? ";transport=tls" :
			    ";transport=tcp");
	}
	str_append(dest, set->headers);
	sip_append_logins(dest, send);
	str_printfa(dest, "User-Agent: dovecot-pimap\r\n"
		    "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n",
		    msg->content_type, msg->size);
	str_append_data(dest, msg->body, msg->size);
}

/* links */

static void sip_link_close(struct sip_link *link)
{
	io_remove(&link->io);
	ssl_iostream_destroy(&link->ssl);
	i_stream_destroy(&link->input);
	if (link->output != NULL)
		o_stream_abort(link->output);
	o_stream_destroy(&link->output);
	if (link->fd != -1)
		net_disconnect(link->fd);
	link->fd = -1;
	link->connected = FALSE;
	link->body_left = 0;
	i_zero(&link->last_answer);
	link->local = NULL;
	i_free(link->local_alloc);
	i_free(link->peer);
}

/* Its requests are sent anew. */
static void sip_link_restart(struct sip_link *link)
{
	struct sip_send *send;

	for (send = link->sip->sends; send != NULL; send = send->next) {
		if (send->link == link)
			sip_send_end_transaction(send);
	}
	sip_link_close(link);
	sip_go_on_later(link->sip);
}

static void sip_send_write(struct sip_send *send)
{
	struct sip_link *link = send->link;

	send->written = TRUE;
	if (link->tcp) {
		o_stream_nsend(link->output, str_data(send->request),
			       str_len(send->request));
		return;
	}
	/* what isn't sent now is repeated. What ICMP has told of earlier ones is
	   told once, at the next call. */
	if (sendto(link->fd, str_data(send->request), str_len(send->request),
		   MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0) < 0 &&
	    errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS) {
		sip_link_failed(link, t_strdup_printf("send(%s) failed: %m",
						      link->peer));
	}
}

static void sip_send_again(struct sip_send *send)
{
	timeout_remove(&send->to_again);
	send->again_msecs = send->proceeding ? SIP_T2_MSECS :
		I_MIN(send->again_msecs * 2, SIP_T2_MSECS);
	send->to_again = timeout_add(send->again_msecs, sip_send_again, send);
	sip_send_write(send);
}

static void sip_send_timeout(struct sip_send *send)
{
	struct outband_sip *sip = send->sip;
	struct sip_link *link = send->link;
	bool silent = link != NULL &&
		timeval_cmp(&link->last_answer, &send->begun) <= 0;

	sip_send_finish(send, t_strdup_printf("%s didn't answer in %u s",
		sip->set.host, SIP_TIMEOUT_MSECS / 1000));
	/* Nothing at all came: another address may be better, or connection. */
	if (silent && (link->tcp || sip->ips_count > 1))
		sip_link_failed(link, "it doesn't answer");
}

static void
sip_send_answered(struct sip_send *send, const struct sip_answer *answer);

/* A message has come. */
static void
sip_link_answer(struct sip_link *link, const struct sip_answer *answer)
{
	struct sip_send *send;

	link->last_answer = ioloop_timeval;
	if (answer->status == 0 || answer->branch == NULL ||
	    answer->method == NULL ||
	    strcmp(answer->method, link->sip->set.method) != 0)
		return;
	send = hash_table_lookup(link->sip->branches, answer->branch);
	if (send == NULL || send->link != link)
		return;
	if (answer->status / 100 == 1)
		send->proceeding = TRUE;
	else
		sip_send_answered(send, answer);
}

static void sip_link_read_datagrams(struct sip_link *link)
{
	struct outband_sip *sip = link->sip;
	struct sip_answer answer;
	const char *error;
	unsigned int i;
	ssize_t ret;

	for (i = 0; i < SIP_MAX_READS && link->fd != -1; i++) {
		ret = recv(link->fd, sip->datagram, SIP_MAX_INPUT,
			   MSG_DONTWAIT);
		if (ret < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK &&
			    errno != EINTR) {
				sip_link_failed(link, t_strdup_printf(
					"recv(%s) failed: %m", link->peer));
			}
			break;
		}
		T_BEGIN {
			if (sip_answer_parse(sip->datagram, ret, &answer,
					     &error) > 0)
				sip_link_answer(link, &answer);
		} T_END;
	}
}

/* Returns 1 if a message was read, 0 if there must come more, -1 and error_r. */
static int sip_link_read_message(struct sip_link *link, const char **error_r)
{
	struct sip_answer answer;
	const unsigned char *data;
	size_t size;
	int ret;

	data = i_stream_get_data(link->input, &size);
	if (link->body_left > 0) {
		size = I_MIN(size, link->body_left);
		i_stream_skip(link->input, size);
		link->body_left -= size;
		return size > 0 ? 1 : 0;
	}
	ret = sip_answer_parse(data, size, &answer, error_r);
	if (ret <= 0)
		return ret;
	if (!answer.has_body_size) {
		*error_r = "there is no Content-Length";
		return -1;
	}
	i_stream_skip(link->input, answer.header_size);
	link->body_left = answer.body_size;
	sip_link_answer(link, &answer);
	return 1;
}

static const char *sip_link_get_error(struct sip_link *link)
{
	if (link->ssl != NULL && ssl_iostream_has_handshake_failed(link->ssl)) {
		return pimap_tls_fix_error(
			ssl_iostream_get_last_error(link->ssl));
	}
	return link->input->stream_errno == 0 ? "the connection was closed" :
		i_stream_get_error(link->input);
}

static void sip_link_read_stream(struct sip_link *link)
{
	const char *error;
	int ret;

	ret = i_stream_read(link->input);
	if (ret < 0 && ret != -2) {
		sip_link_failed(link, sip_link_get_error(link));
		return;
	}
	while (link->fd != -1) {
		T_BEGIN {
			ret = sip_link_read_message(link, &error);
			if (ret < 0) {
				sip_link_failed(link, t_strdup_printf(
					"its answer can't be read: %s", error));
			}
		} T_END;
		if (ret <= 0)
			break;
	}
}

static void sip_link_connected(struct sip_link *link)
{
	struct outband_sip *sip = link->sip;
	struct sip_send *send, *next;
	const char *error;
	int err = net_geterror(link->fd);

	if (err != 0) {
		sip_link_failed(link, t_strdup_printf(
			"connect(%s) failed: %s", link->peer, strerror(err)));
		return;
	}
	io_remove(&link->io);
	link->connected = TRUE;
	(void)net_set_tcp_nodelay(link->fd, TRUE);
	link->input = i_stream_create_fd(link->fd, SIP_ANSWER_MAX_HEADER);
	link->output = o_stream_create_fd(link->fd, SIZE_MAX);
	o_stream_set_no_error_handling(link->output, TRUE);
	if (sip->set.tls &&
	    pimap_tls_start(sip->ssl_ctx, sip->set.host, sip->event,
			    &link->input, &link->output, &link->ssl,
			    &error) < 0) {
		sip_link_failed(link, error);
		return;
	}
	link->io = io_add_istream(link->input, sip_link_read_stream, link);
	for (send = sip->sends; send != NULL; send = next) {
		next = send->next;
		if (send->link == link && !send->written)
			sip_send_write(send);
	}
}

/* Returns 0, or -1 and error_r. */
static int sip_link_open(struct sip_link *link, const char **error_r)
{
	struct outband_sip *sip = link->sip;
	const struct ip_addr *ip = &sip->ips[sip->ip_idx];
	struct ip_addr local;
	in_port_t port;
	const char *peer = pimap_sip_hostport(ip, sip->set.port);

	/* the file may come to be there */
	if (sip->set.tls &&
	    pimap_tls_prepare(sip->set.ca, &sip->ssl_ctx, error_r) < 0)
		return -1;
	link->fd = link->tcp ? net_connect_ip(ip, sip->set.port, NULL) :
		net_connect_udp(ip, sip->set.port, NULL);
	if (link->fd == -1 ||
	    net_getsockname(link->fd, &local, &port) < 0) {
		*error_r = t_strdup_printf("connect(%s) failed: %m", peer);
		sip_link_close(link);
		return -1;
	}
	link->local = link->local_alloc =
		i_strdup(pimap_sip_hostport(&local, port));
	link->peer = i_strdup(peer);
	if (link->tcp) {
		link->io = io_add(link->fd, IO_WRITE, sip_link_connected, link);
	} else {
		net_set_nonblock(link->fd, TRUE);
		(void)net_set_recv_buffer_size(link->fd, SIP_RECEIVE_BUFFER);
		link->connected = TRUE;
		link->io = io_add(link->fd, IO_READ, sip_link_read_datagrams,
				  link);
	}
	return 0;
}

/* Its requests go by another one, where there is one. Links are opened later, not from
   within what reads or writes another. */
static void sip_link_failed(struct sip_link *link, const char *error)
{
	struct outband_sip *sip = link->sip;
	const bool other = link->tcp != sip->set.tcp;
	struct sip_send *send;
	const char *text;

	if (other && !link->connected) {
		/* what is too long for a datagram goes as one all the same */
		sip->no_tcp = TRUE;
		sip_link_restart(link);
		return;
	}
	if (!other && link->last_answer.tv_sec == 0 &&
	    sip->ip_idx + 1 < sip->ips_count) {
		sip->ip_idx++;
		sip_link_restart(&sip->links[FALSE]);
		sip_link_restart(&sip->links[TRUE]);
		return;
	}
	text = t_strdup_printf("%s: %s", sip->set.host, error);
	for (send = sip->sends; send != NULL; send = send->next) {
		if (send->link == link || (!other && send->link == NULL))
			sip_send_finish(send, text);
	}
	sip_link_close(link);
	if (!other)
		sip_forget_ips(sip);
}

/* transactions */

/* Returns 0, or -1 if the link can't be opened: then that was handled. */
static int sip_send_build(struct sip_send *send, struct sip_link *link)
{
	const char *error;

	if (link->fd == -1 && sip_link_open(link, &error) < 0) {
		sip_link_failed(link, error);
		return -1;
	}
	str_truncate(send->request, 0);
	sip_append_request(send->request, send, link);
	return 0;
}

static void sip_send_start(struct sip_send *send)
{
	struct outband_sip *sip = send->sip;
	struct sip_link *link = &sip->links[sip->set.tcp];

	send->cseq++;
	i_assert(send->branch == NULL);
	send->branch = i_strconcat(SIP_BRANCH_MAGIC, sip_random(), NULL);
	hash_table_insert(sip->branches, send->branch, send);
	if (sip_send_build(send, link) < 0) {
		sip_send_end_transaction(send);
		return;
	}
	if (!link->tcp && !sip->no_tcp &&
	    str_len(send->request) > SIP_MAX_DATAGRAM) {
		link = &sip->links[TRUE];
		if (sip_send_build(send, link) < 0) {
			sip_send_end_transaction(send);
			return;
		}
	}
	send->link = link;
	send->proceeding = FALSE;
	send->begun = ioloop_timeval;
	send->to_end = timeout_add(SIP_TIMEOUT_MSECS, sip_send_timeout, send);
	if (!link->tcp) {
		send->again_msecs = SIP_T1_MSECS;
		send->to_again = timeout_add_short(SIP_T1_MSECS, sip_send_again,
					     send);
	}
	if (link->connected)
		sip_send_write(send);
}

static void sip_finish_waiting(struct outband_sip *sip, const char *error)
{
	struct sip_send *send;

	for (send = sip->sends; send != NULL; send = send->next) {
		if (sip_send_is_waiting(send))
			sip_send_finish(send, error);
	}
}

static void sip_resolved(struct outband_sip *sip, const struct ip_addr *ips,
			 unsigned int count)
{
	if (count == 0) {
		sip_finish_waiting(sip, t_strdup_printf(
			"%s has no address", sip->set.host));
		return;
	}
	sip->ips = i_new(struct ip_addr, count);
	memcpy(sip->ips, ips, sizeof(*ips) * count);
	sip->ips_count = count;
	sip->ip_idx = 0;
	sip->no_tcp = FALSE;
	sip_go_on_later(sip);
}

static void
sip_looked_up(const struct dns_lookup_result *result, struct outband_sip *sip)
{
	sip->lookup = NULL;
	if (result->ret == 0)
		sip_resolved(sip, result->ips, result->ips_count);
	else {
		sip_finish_waiting(sip, t_strdup_printf("%s: %s",
			sip->set.host, result->error));
	}
}

static void sip_look_up(struct outband_sip *sip)
{
	struct dns_lookup_settings dns_set;
	struct ip_addr ip;

	if (sip->lookup != NULL)
		return;
	if (net_addr2ip(sip->set.host, &ip) == 0) {
		sip_resolved(sip, &ip, 1);
		return;
	}
	i_zero(&dns_set);
	dns_set.dns_client_socket_path = DNS_CLIENT_SOCKET_NAME;
	dns_set.timeout_msecs = SIP_TIMEOUT_MSECS;
	dns_set.event_parent = sip->event;
	/* it calls back where it fails */
	(void)dns_lookup(sip->set.host, &dns_set, sip_looked_up, sip,
			 &sip->lookup);
}

static void sip_go_on(struct outband_sip *sip)
{
	struct sip_send *send;

	timeout_remove(&sip->to_go_on);
	for (send = sip->sends; send != NULL; send = send->next) {
		if (!sip_send_is_waiting(send))
			continue;
		if (sip->ips_count == 0) {
			sip_look_up(sip);
			break;
		}
		T_BEGIN {
			sip_send_start(send);
		} T_END;
	}
}

static void sip_go_on_later(struct outband_sip *sip)
{
	if (sip->to_go_on == NULL)
		sip->to_go_on = timeout_add_short(0, sip_go_on, sip);
}

/* answers */

static void sip_send_set_challenge(struct sip_send *send, enum sip_login login,
				   const struct sip_challenge *challenge)
{
	struct sip_challenge *own =
		p_new(send->pool, struct sip_challenge, 1);

	*own = *challenge;
	own->realm = p_strdup(send->pool, challenge->realm);
	own->nonce = p_strdup(send->pool, challenge->nonce);
	own->opaque = p_strdup(send->pool, challenge->opaque);
	own->algorithm = p_strdup(send->pool, challenge->algorithm);
	send->challenges[login] = own;
	send->logins[login]++;
	sip_auth_set(&send->sip->auth[login], challenge);
}

/* Returns NULL if the request can go again, or why not. */
static const char *
sip_send_login(struct sip_send *send, enum sip_login login,
	       const char *const *challenges)
{
	struct sip_challenge challenge;

	if (send->sip->set.user[0] == '\0')
		return "a name and a password are wanted, and none are set";
	/* the first one is what it likes best (RFC 8760) */
	while (*challenges != NULL &&
	       !sip_challenge_parse(*challenges, &challenge))
		challenges++;
	if (*challenges == NULL)
		return "no way of authentication is known that it takes";
	/* what was kept from earlier requests doesn't count as a try */
	if (send->logins[login] >= SIP_MAX_LOGINS ||
	    (send->logins[login] > 0 && !challenge.stale)) {
		sip_auth_free(&send->sip->auth[login]);
		return "the name or the password is wrong";
	}
	sip_send_set_challenge(send, login, &challenge);
	return NULL;
}

/* Returns as sip_send_login(). */
static const char *
sip_send_redirect(struct sip_send *send, const struct sip_answer *answer)
{
	const struct outband_sip_settings *set = &send->sip->set;
	const char *error;

	if (answer->contact == NULL)
		return "it names no other address";
	if (send->redirected)
		return "it is redirected again";
	if (!set->uri_is_allowed(answer->contact, &error, set->context)) {
		return t_strdup_printf("to %s, which isn't allowed: %s",
				       pimap_text_get_reply(answer->contact, 80), error);
	}
	send->redirected = TRUE;
	send->uri = p_strdup(send->pool, answer->contact);
	return NULL;
}

/* The final answer to its request */
static void
sip_send_answered(struct sip_send *send, const struct sip_answer *answer)
{
	const char *why = "";

	send->result.status = answer->status;
	if (answer->status / 100 == 2) {
		sip_send_finish(send, NULL);
		return;
	}
	if (answer->status == 401)
		why = sip_send_login(send, SIP_LOGIN_WWW, answer->www);
	else if (answer->status == 407)
		why = sip_send_login(send, SIP_LOGIN_PROXY, answer->proxy);
	else if (answer->status / 100 == 3)
		why = sip_send_redirect(send, answer);
	if (why == NULL) {
		send->result.status = 0;
		sip_send_end_transaction(send);
		sip_go_on_later(send->sip);
		return;
	}
	send->result.retry_secs = answer->retry_secs;
	sip_send_finish(send, t_strdup_printf("The answer of %s is %u %s%s%s%s",
		send->sip->set.host, answer->status,
		pimap_text_get_reply(answer->reason, 80), *why == '\0' ? "" : " (",
		why, *why == '\0' ? "" : ")"));
}

/* the client */

struct outband_sip *
outband_sip_init(const struct outband_sip_settings *set,
		 struct event *event_parent)
{
	struct outband_sip *sip = i_new(struct outband_sip, 1);
	unsigned int i;

	sip->set = *set;
	sip->event = event_create(event_parent);
	for (i = 0; i < N_ELEMENTS(sip->links); i++) {
		sip->links[i].sip = sip;
		sip->links[i].tcp = i == TRUE;
		sip->links[i].fd = -1;
	}
	sip->datagram = i_malloc(SIP_MAX_INPUT);
	hash_table_create(&sip->branches, default_pool, 0, str_hash, strcmp);
	return sip;
}

void outband_sip_deinit(struct outband_sip **_sip)
{
	struct outband_sip *sip = *_sip;
	enum sip_login login;

	*_sip = NULL;
	while (sip->sends != NULL)
		sip_send_free(sip->sends);
	if (sip->lookup != NULL)
		dns_lookup_abort(&sip->lookup);
	sip_link_close(&sip->links[FALSE]);
	sip_link_close(&sip->links[TRUE]);
	timeout_remove(&sip->to_go_on);
	timeout_remove(&sip->to_idle);
	for (login = 0; login < SIP_LOGIN_COUNT; login++)
		sip_auth_free(&sip->auth[login]);
	hash_table_destroy(&sip->branches);
	if (sip->ssl_ctx != NULL)
		ssl_iostream_context_unref(&sip->ssl_ctx);
	event_unref(&sip->event);
	i_free(sip->ips);
	i_free(sip->datagram);
	i_free(sip);
}

static struct sip_send *
sip_send_create(struct outband_sip *sip, const struct outband_sip_message *msg)
{
	struct sip_send *send;
	pool_t pool;

	pool = pool_alloconly_create("outband sip", 1024);
	send = p_new(pool, struct sip_send, 1);
	send->pool = pool;
	send->sip = sip;
	send->msg = msg;
	send->uri = msg->to;
	send->call_id = p_strdup(pool, sip_random());
	send->tag = p_strndup(pool, sip_random(), 16);
	send->request = str_new(default_pool, SIP_MAX_DATAGRAM + 1);
	DLLIST_PREPEND(&sip->sends, send);
	return send;
}

size_t outband_sip_get_max_body(struct outband_sip *sip)
{
	/* what servers give isn't longer than these, mostly */
	static const struct sip_challenge challenge = {
		.algorithm = "SHA-256",
		.realm = "sip.longer-name.example.com",
		.nonce = "0123456789abcdef0123456789abcdef0123456789abcdef",
		.opaque = "0123456789abcdef0123456789abcdef",
		.qop = TRUE,
	};
	const struct outband_sip_message msg = {
		.to = "sip:a-name-of-twenty-chars@host.longer-name.example.com",
		.content_type = "text/plain;charset=utf-8",
		.body = "",
	};
	struct sip_link link = {
		.local = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"
	};
	struct sip_send *send = sip_send_create(sip, &msg);
	struct sip_challenge own = challenge;
	size_t size;

	own.hash = hash_method_lookup("sha256");
	if (sip->set.user[0] != '\0')
		send->challenges[SIP_LOGIN_PROXY] = &own;
	send->branch = i_strconcat(SIP_BRANCH_MAGIC, sip_random(), NULL);
	hash_table_insert(sip->branches, send->branch, send);
	sip_append_request(send->request, send, &link);
	/* digits of the body's length */
	size = str_len(send->request) + 3;
	sip_send_free(send);
	return size + SIP_MIN_BODY > SIP_MAX_DATAGRAM ? SIP_MIN_BODY :
		SIP_MAX_DATAGRAM - size;
}

void outband_sip_send(struct outband_sip *sip,
		      const struct outband_sip_message *msg,
		      outband_sip_callback_t *callback, void *context)
{
	struct sip_send *send = sip_send_create(sip, msg);

	timeout_remove(&sip->to_idle);
	send->callback = callback;
	send->context = context;
	sip_go_on_later(sip);
}
