/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channel UDP. Devices say HELLO, and notifications go to where that came
   from, again and again until a HELLO says that they have arrived. What doesn't
   authenticate changes nothing, and all of it gets the same answer.

   Where a device is, is kept with its key: it outlives this process. A notification
   for one that isn't anywhere waits here for its HELLO, if no other channel takes it. */

#include "lib.h"
#include "array.h"
#include "base64.h"
#include "buffer.h"
#include "fd-util.h"
#include "hash.h"
#include "ioloop.h"
#include "llist.h"
#include "net.h"
#include "randgen.h"
#include "str.h"
#include "pimap-channel.h"
#include "pimap-settings.h"
#include "outband-channel.h"
#include "outband-keys.h"
#include "outband-seal.h"
#include "outband-udp-limit.h"
#include "outband-udp-message.h"

#include <netinet/in.h>
#include <unistd.h>

/* Each device waits for itself. */
#define UDP_MAX_SENDS UINT_MAX
#define UDP_MAX_PAYLOAD 1024
/* read at once: others wait */
#define UDP_MAX_READS 64
#define UDP_BIND_RETRY_MSECS (10*1000)
#define UDP_STORE_RETRY_MSECS (10*1000)
/* after the first try, and after those that follow */
#define UDP_REPEAT_MIN_MSECS 1000
#define UDP_REPEAT_MAX_MSECS (60*1000)
/* timers have milliseconds, in an int */
#define UDP_MAX_WAIT_SECS (60*60)
#define UDP_CHALLENGE_SECS 60
/* how long a device that has no notification is remembered for its last HELLO */
#define UDP_DEVICE_SECS 120
#define UDP_PRUNE_MSECS (60*1000)
/* users that a name without a domain may mean */
#define UDP_MAX_USERS 5
#define UDP_INVALID "INVALID ENCRYPTION KEY"
#define UDP_MAX_INVALID 1
#define UDP_MAX_INVALID_ALL 100
#define UDP_RECEIVE_BUFFER (1024*1024)

enum udp_count {
	UDP_COUNT_RECEIVED,
	UDP_COUNT_MALFORMED,
	UDP_COUNT_LIMITED,
	UDP_COUNT_INVALID,
	UDP_COUNT_CHALLENGES,
	UDP_COUNT_HELLOS,
	UDP_COUNT_ACKS,
	UDP_COUNT_SENT,

	UDP_COUNT_COUNT
};

static const char *const udp_count_names[UDP_COUNT_COUNT] = {
	"datagrams received", "malformed datagrams", "datagrams over the limit",
	"datagrams not authentic", "challenges", "HELLOs", "ACKs",
	"datagrams sent"
};

struct udp_socket {
	struct udp_channel *channel;
	/* as it is configured */
	const char *name;
	struct ip_addr ip;
	in_port_t port;
	int fd;
	struct io *io;
};

struct udp_peer {
	struct sockaddr_storage addr;
	socklen_t addr_len;
	struct ip_addr ip;
	in_port_t port;
	/* "<address> <port>" */
	const char *text;
};

struct udp_device {
	char *user, *device;
	/* ioloop_time of its last HELLO */
	time_t time;

	/* NULL: there is none */
	char *challenge_peer;
	time_t challenge_time;
	unsigned char challenge[OUTBAND_UDP_CHALLENGE_SIZE];

	/* of its last HELLO */
	ARRAY(int64_t) acks;
	struct udp_send *send;
};

struct udp_send {
	struct udp_send *prev, *next;
	struct udp_channel *channel;
	struct udp_device *device;
	const struct outband_row *row;
	unsigned int tries;
	struct timeout *to;

	struct outband_channel_result result;
	outband_channel_callback_t *callback;
	void *context;
};

struct udp_channel {
	struct outband_channel channel;
	struct event *event;
	const struct pimap_settings *set;
	struct outband_keys *keys;
	pool_t pool;
	char separator;
	/* NULL: there is none */
	const char *fallback;

	ARRAY(struct udp_socket) sockets;
	struct timeout *to_bind, *to_prune;
	bool bind_error_logged, store_error_logged;
	unsigned char *input;
	size_t input_size;

	struct outband_udp_limit *hello_limit, *invalid_limit;
	HASH_TABLE(struct udp_device *, struct udp_device *) devices;
	struct udp_send *sends;
	uint64_t counts[UDP_COUNT_COUNT];
};

#define UDP_CHANNEL(_channel) \
	container_of(_channel, struct udp_channel, channel)

static void udp_send_run(struct udp_send *send);

/* Devices */

static unsigned int udp_device_hash(const struct udp_device *device)
{
	return str_hash(device->user) * 31 + str_hash(device->device);
}

static int
udp_device_cmp(const struct udp_device *device1,
	       const struct udp_device *device2)
{
	int ret = strcmp(device1->user, device2->user);

	return ret != 0 ? ret : strcmp(device1->device, device2->device);
}

static struct udp_device *
udp_device_lookup(struct udp_channel *channel, const char *user,
		  const char *device)
{
	struct udp_device key;

	i_zero(&key);
	key.user = (char *)user;
	key.device = (char *)device;
	return hash_table_lookup(channel->devices, &key);
}

static void udp_devices_prune(struct udp_channel *channel);

static struct udp_device *
udp_device_get(struct udp_channel *channel, const char *user,
	       const char *device)
{
	struct udp_device *dev = udp_device_lookup(channel, user, device);

	if (dev == NULL) {
		dev = i_new(struct udp_device, 1);
		dev->user = i_strdup(user);
		dev->device = i_strdup(device);
		i_array_init(&dev->acks, 4);
		hash_table_insert(channel->devices, dev, dev);
	}
	if (channel->to_prune == NULL) {
		channel->to_prune = timeout_add(UDP_PRUNE_MSECS,
						udp_devices_prune, channel);
	}
	return dev;
}

static void udp_device_free(struct udp_device *dev)
{
	array_free(&dev->acks);
	i_free(dev->challenge_peer);
	i_free(dev->user);
	i_free(dev->device);
	i_free(dev);
}

static void udp_devices_prune(struct udp_channel *channel)
{
	struct hash_iterate_context *iter;
	struct udp_device *dev;

	iter = hash_table_iterate_init(channel->devices);
	while (hash_table_iterate(iter, channel->devices, &dev, &dev)) {
		/* also if the clock went back */
		if (dev->send != NULL ||
		    (dev->time <= ioloop_time &&
		     dev->time + UDP_DEVICE_SECS > ioloop_time))
			continue;
		hash_table_remove(channel->devices, dev);
		udp_device_free(dev);
	}
	hash_table_iterate_deinit(&iter);
	if (hash_table_count(channel->devices) == 0)
		timeout_remove(&channel->to_prune);
}

static bool udp_device_has_acked(struct udp_device *dev, int64_t seq)
{
	int64_t ack;

	array_foreach_elem(&dev->acks, ack) {
		if (ack == seq)
			return TRUE;
	}
	return FALSE;
}

/* Sending */

static void
udp_channel_write(struct udp_channel *channel, struct udp_socket *sock,
		  const struct udp_peer *peer, const void *data, size_t size)
{
	/* what is lost here, or later, is sent again; a device that can't be
	   reached is no fault of anybody's */
	if (sendto(sock->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL,
		   (const struct sockaddr *)&peer->addr, peer->addr_len) < 0)
		e_debug(channel->event, "sendto(%s) failed: %m", peer->text);
	else
		channel->counts[UDP_COUNT_SENT]++;
}

static void udp_peer_set(struct udp_peer *peer, const struct ip_addr *ip, in_port_t port)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)&peer->addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&peer->addr;

	i_zero(peer);
	peer->ip = *ip;
	peer->port = port;
	peer->text = t_strdup_printf("%s %u", net_ip2addr(ip), port);
	if (ip->family == AF_INET6) {
		in6->sin6_family = AF_INET6;
		in6->sin6_addr = ip->u.ip6;
		in6->sin6_port = htons(port);
		peer->addr_len = sizeof(*in6);
	} else {
		in4->sin_family = AF_INET;
		in4->sin_addr = ip->u.ip4;
		in4->sin_port = htons(port);
		peer->addr_len = sizeof(*in4);
	}
}

/* The part of a device's address that the datagrams come from */
static const char *udp_address_get_peer(const char *address)
{
	const char *p = strchr(address, ' ');

	p = p == NULL ? NULL : strchr(p + 1, ' ');
	return p == NULL ? "" : t_strdup_until(address, p);
}

/* Where the device is: "<address> <port> <socket>". Returns FALSE if it isn't known, or
   there is no socket for it any more. */
static bool
udp_address_parse(struct udp_channel *channel, const char *address,
		  struct udp_socket **sock_r, struct udp_peer *peer_r)
{
	const char *const *parts = t_strsplit(address, " ");
	struct udp_socket *sock;
	struct ip_addr ip;
	in_port_t port;

	if (str_array_length(parts) != 3 || net_addr2ip(parts[0], &ip) < 0 ||
	    net_str2port(parts[1], &port) < 0)
		return FALSE;
	udp_peer_set(peer_r, &ip, port);
	*sock_r = NULL;
	array_foreach_modifiable(&channel->sockets, sock) {
		if (sock->fd == -1 || sock->ip.family != ip.family)
			continue;
		if (*sock_r == NULL || strcmp(sock->name, parts[2]) == 0)
			*sock_r = sock;
	}
	return *sock_r != NULL;
}

static bool
udp_key_is_alive(struct udp_channel *channel,
		 const struct outband_device_key *key, time_t *end_r)
{
	const time_t lifetime = channel->set->pimap_udp_lifetime;

	*end_r = key->udp_time + lifetime;
	return key->udp_address[0] != '\0' &&
		outband_device_key_sending(key) != NULL &&
		ioloop_time < *end_r &&
		/* the clock went back: in doubt it says HELLO again */
		key->udp_time <= ioloop_time + lifetime;
}

static void udp_send_free(struct udp_send *send)
{
	DLLIST_REMOVE(&send->channel->sends, send);
	send->device->send = NULL;
	timeout_remove(&send->to);
	i_free(send);
}

static void udp_send_finish(struct udp_send *send)
{
	struct outband_channel_result result = send->result;
	outband_channel_callback_t *callback = send->callback;
	void *context = send->context;

	udp_send_free(send);
	callback(&result, context);
}

static void
udp_send_finish_as(struct udp_send *send, enum outband_channel_outcome outcome,
		   const char *error)
{
	send->result.outcome = outcome;
	send->result.error = error;
	send->result.channel = send->channel->fallback;
	udp_send_finish(send);
}

/* Is there a channel that takes it in place of this one? */
static bool udp_send_has_fallback(struct udp_send *send)
{
	struct udp_channel *channel = send->channel;
	const char *error;

	if (channel->fallback == NULL)
		return FALSE;
	return pimap_channel_takes_address(channel->set, send->row->user,
					   channel->fallback,
					   send->row->address, &error);
}

static void udp_send_wait(struct udp_send *send, time_t msecs)
{
	timeout_remove(&send->to);
	msecs = I_MAX(msecs, 1);
	send->to = timeout_add_short(msecs, udp_send_run, send);
}

static void udp_send_repeat(struct udp_send *send, time_t end)
{
	time_t msecs = UDP_REPEAT_MIN_MSECS;
	unsigned int i;

	for (i = 0; i < send->tries && msecs < UDP_REPEAT_MAX_MSECS; i++)
		msecs *= 2;
	send->tries++;
	msecs = I_MIN(msecs, UDP_REPEAT_MAX_MSECS);
	udp_send_wait(send, I_MIN(msecs, (end - ioloop_time) * 1000));
}

static void udp_channel_store_failed(struct udp_channel *channel, const char *error)
{
	if (!channel->store_error_logged)
		e_error(channel->event, "%s", error);
	channel->store_error_logged = TRUE;
}

static void udp_send_run_key(struct udp_send *send, const struct outband_device_key *key)
{
	struct udp_channel *channel = send->channel;
	const struct outband_row *row = send->row;
	const time_t expires = row->created +
		(time_t)channel->set->pimap_outband_expire;
	struct udp_socket *sock;
	struct udp_peer peer;
	time_t end;

	if (udp_device_has_acked(send->device, row->seq)) {
		udp_send_finish_as(send, OUTBAND_CHANNEL_SENT, NULL);
		return;
	}
	if (ioloop_time >= expires) {
		if (udp_send_has_fallback(send)) {
			udp_send_finish_as(send, OUTBAND_CHANNEL_FALLBACK,
				"it hasn't been acknowledged in time");
		} else {
			/* the sender sees that, too */
			udp_send_finish_as(send, OUTBAND_CHANNEL_AGAIN, NULL);
		}
		return;
	}
	if (udp_key_is_alive(channel, key, &end) &&
	    udp_address_parse(channel, key->udp_address, &sock, &peer)) {
		udp_channel_write(channel, sock, &peer, row->payload,
				  strlen(row->payload));
		udp_send_repeat(send, I_MIN(end, expires));
		return;
	}
	if (udp_send_has_fallback(send)) {
		udp_send_finish_as(send, OUTBAND_CHANNEL_FALLBACK,
				   "the device hasn't said HELLO");
		return;
	}
	/* until it does */
	send->tries = 0;
	udp_send_wait(send, I_MIN(expires - ioloop_time,
				  UDP_MAX_WAIT_SECS) * 1000);
}

static void udp_send_run(struct udp_send *send)
{
	struct udp_channel *channel = send->channel;
	struct outband_device_key key;
	const char *error;

	timeout_remove(&send->to);
	T_BEGIN {
		if (outband_keys_get(channel->keys, send->row->user,
				     send->row->device,
				     pool_datastack_create(), &key,
				     &error) < 0) {
			udp_channel_store_failed(channel, error);
			udp_send_wait(send, UDP_STORE_RETRY_MSECS);
		} else {
			channel->store_error_logged = FALSE;
			udp_send_run_key(send, &key);
		}
	} T_END;
}

static void
udp_channel_send(struct outband_channel *_channel,
		 const struct outband_row *row,
		 outband_channel_callback_t *callback, void *context)
{
	struct udp_channel *channel = UDP_CHANNEL(_channel);
	struct udp_send *send;

	send = i_new(struct udp_send, 1);
	send->channel = channel;
	send->device = udp_device_get(channel, row->user, row->device);
	i_assert(send->device->send == NULL);
	send->device->send = send;
	send->row = row;
	send->callback = callback;
	send->context = context;
	DLLIST_PREPEND(&channel->sends, send);
	/* not before this function has returned */
	send->to = timeout_add_short(0, udp_send_run, send);
}

/* A key has changed, or a lock: what was encrypted isn't right any more. */
static void udp_keys_changed(const char *user, const char *device, void *context)
{
	struct udp_channel *channel = context;
	struct udp_device *dev = udp_device_lookup(channel, user, device);

	if (dev != NULL && dev->send != NULL)
		udp_send_finish_as(dev->send, OUTBAND_CHANNEL_AGAIN, NULL);
}

static void
udp_channel_read(struct outband_channel *_channel, const char *user,
		 const char *device)
{
	struct udp_channel *channel = UDP_CHANNEL(_channel);
	struct udp_device *dev = udp_device_lookup(channel, user, device);

	if (dev != NULL && dev->send != NULL)
		udp_send_finish_as(dev->send, OUTBAND_CHANNEL_READ, NULL);
}

/* Receiving */

struct udp_hello {
	struct udp_channel *channel;
	struct udp_socket *sock;
	struct udp_peer peer;
	/* of the datagram */
	size_t size;

	struct outband_udp_hello hello;
	struct pimap_envelope envelope;
	/* as soon as it is authentic */
	struct outband_device_key key;
	struct outband_udp_text text;
};

static void udp_hello_invalid(struct udp_hello *hello)
{
	struct udp_channel *channel = hello->channel;

	channel->counts[UDP_COUNT_INVALID]++;
	/* nobody sends us what makes more traffic than it is */
	if (hello->size < strlen(UDP_INVALID) ||
	    !outband_udp_limit_take(channel->invalid_limit, &hello->peer.ip,
				    ioloop_time))
		return;
	udp_channel_write(channel, hello->sock, &hello->peer, UDP_INVALID,
			  strlen(UDP_INVALID));
}

/* Answers by an envelope, of the method and under the key that the HELLO has. */
static void
udp_hello_answer(struct udp_hello *hello, const char *word, const void *text,
		 size_t size)
{
	struct udp_channel *channel = hello->channel;
	const struct pimap_envelope_key *key =
		hello->envelope.key_number == hello->key.key.number ?
		&hello->key.key : &hello->key.old;
	buffer_t *envelope = t_buffer_create(128);
	string_t *answer = t_str_new(256);
	const char *error;

	if (pimap_envelope_seal(key, hello->envelope.method,
				PIMAP_ENVELOPE_ANSWER, NULL, text, size,
				envelope, &error) < 0) {
		e_error(channel->event, "%s", error);
		return;
	}
	str_append(answer, word);
	str_append_c(answer, ' ');
	base64_encode(envelope->data, envelope->used, answer);
	udp_channel_write(channel, hello->sock, &hello->peer, str_data(answer),
			  str_len(answer));
}

static bool
udp_hello_open(struct udp_hello *hello, const struct outband_device_key *key)
{
	const struct pimap_envelope_key *const keys[] = { &key->key, &key->old };
	buffer_t *text = t_buffer_create(256);
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(keys); i++) {
		if (keys[i]->number != 0 &&
		    pimap_envelope_open(&hello->envelope, keys[i],
					PIMAP_ENVELOPE_HELLO, text)) {
			hello->key = *key;
			return outband_udp_text_parse(text->data, text->used,
						      &hello->text) &&
				strcmp(hello->text.device, key->device) == 0;
		}
	}
	return FALSE;
}

/* Returns 1 if it is a device's, 0 if it isn't anybody's, -1 and error_r. */
static int udp_hello_authenticate(struct udp_hello *hello, const char **error_r)
{
	struct udp_channel *channel = hello->channel;
	ARRAY_TYPE(outband_device_key) list;
	const struct outband_device_key *key;
	struct outband_device_key nobody;
	const char *user, *device;
	unsigned int idx;
	bool tried = FALSE;

	for (idx = 0; outband_udp_login_split(hello->hello.login,
			channel->separator, idx, &user, &device); idx++) {
		if (outband_keys_find(channel->keys, user, device,
				      UDP_MAX_USERS, pool_datastack_create(),
				      &list, error_r) < 0)
			return -1;
		array_foreach(&list, key) {
			tried = tried || key->key.number != 0;
			if (udp_hello_open(hello, key))
				return 1;
		}
	}
	if (!tried) {
		/* how long it takes doesn't tell which devices there are */
		i_zero(&nobody);
		nobody.device = "";
		nobody.key.number = hello->envelope.key_number;
		random_fill(nobody.key.key, sizeof(nobody.key.key));
		(void)udp_hello_open(hello, &nobody);
	}
	return 0;
}

/* May notifications go to where the HELLO came from? */
static bool udp_hello_knows_peer(struct udp_hello *hello, struct udp_device *dev)
{
	if (strcmp(udp_address_get_peer(hello->key.udp_address),
		   hello->peer.text) == 0)
		return TRUE;
	return hello->text.has_challenge && dev->challenge_peer != NULL &&
		strcmp(dev->challenge_peer, hello->peer.text) == 0 &&
		ioloop_time < dev->challenge_time + UDP_CHALLENGE_SECS &&
		memcmp(dev->challenge, hello->text.challenge,
		       sizeof(dev->challenge)) == 0;
}

static void udp_hello_challenge(struct udp_hello *hello, struct udp_device *dev)
{
	i_free(dev->challenge_peer);
	dev->challenge_peer = i_strdup(hello->peer.text);
	dev->challenge_time = ioloop_time;
	random_fill(dev->challenge, sizeof(dev->challenge));
	hello->channel->counts[UDP_COUNT_CHALLENGES]++;
	udp_hello_answer(hello, "CHALLENGE", dev->challenge,
			 sizeof(dev->challenge));
}

static void udp_hello_done(struct udp_hello *hello, struct udp_device *dev, bool known)
{
	struct udp_channel *channel = hello->channel;
	const bool first = hello->envelope.key_number == hello->key.key.number &&
		hello->key.old.number != 0;

	channel->counts[UDP_COUNT_HELLOS]++;
	channel->counts[UDP_COUNT_ACKS] += array_count(&hello->text.acks);
	dev->time = ioloop_time;
	array_clear(&dev->acks);
	array_append_array(&dev->acks, &hello->text.acks);
	if (known) {
		i_free(dev->challenge_peer);
		udp_hello_answer(hello, "OK", hello->peer.text,
				 strlen(hello->peer.text));
	} else {
		udp_hello_challenge(hello, dev);
	}
	if (dev->send == NULL)
		return;
	if (udp_device_has_acked(dev, dev->send->row->seq))
		udp_send_finish_as(dev->send, OUTBAND_CHANNEL_SENT, NULL);
	else if (first)
		/* it was encrypted with the key that the device had */
		udp_send_finish_as(dev->send, OUTBAND_CHANNEL_AGAIN, NULL);
	else if (known) {
		/* it is there now */
		dev->send->tries = 0;
		udp_send_run(dev->send);
	}
}

static void udp_hello_handle(struct udp_hello *hello)
{
	struct udp_channel *channel = hello->channel;
	struct udp_device *dev;
	const char *address = "", *error;
	bool known;
	int ret;

	if (!outband_seal_has_method(channel->set, hello->envelope.method)) {
		udp_hello_invalid(hello);
		return;
	}
	ret = udp_hello_authenticate(hello, &error);
	if (ret > 0) {
		dev = udp_device_get(channel, hello->key.user,
				     hello->key.device);
		known = udp_hello_knows_peer(hello, dev);
		if (known) {
			address = t_strconcat(hello->peer.text, " ",
					      hello->sock->name, NULL);
		}
		ret = outband_keys_hello(channel->keys, &hello->key,
			hello->envelope.key_number,
			pimap_envelope_get_counter(&hello->envelope), address,
			&error);
		if (ret > 0)
			udp_hello_done(hello, dev, known);
	}
	if (ret == 0)
		udp_hello_invalid(hello);
	else if (ret < 0) {
		/* it says HELLO again */
		udp_channel_store_failed(channel, error);
	} else {
		channel->store_error_logged = FALSE;
	}
}

static void
udp_datagram(struct udp_socket *sock, const struct sockaddr_storage *addr,
	     size_t size)
{
	struct udp_channel *channel = sock->channel;
	const struct sockaddr_in *in4 = (const void *)addr;
	const struct sockaddr_in6 *in6 = (const void *)addr;
	struct udp_hello hello;
	struct ip_addr ip;

	i_zero(&hello);
	i_zero(&ip);
	hello.channel = channel;
	hello.sock = sock;
	hello.size = size;
	ip.family = addr->ss_family;
	if (addr->ss_family == AF_INET6) {
		ip.u.ip6 = in6->sin6_addr;
		udp_peer_set(&hello.peer, &ip, ntohs(in6->sin6_port));
		((struct sockaddr_in6 *)&hello.peer.addr)->sin6_scope_id =
			in6->sin6_scope_id;
	} else {
		ip.u.ip4 = in4->sin_addr;
		udp_peer_set(&hello.peer, &ip, ntohs(in4->sin_port));
	}
	channel->counts[UDP_COUNT_RECEIVED]++;
	if (!outband_udp_limit_take(channel->hello_limit, &ip, ioloop_time)) {
		channel->counts[UDP_COUNT_LIMITED]++;
		return;
	}
	if (size > channel->set->pimap_udp_max_size || hello.peer.port == 0 ||
	    !outband_udp_hello_parse(channel->input, size, &hello.hello) ||
	    !pimap_envelope_parse(hello.hello.envelope->data,
				  hello.hello.envelope->used,
				  &hello.envelope)) {
		channel->counts[UDP_COUNT_MALFORMED]++;
		return;
	}
	udp_hello_handle(&hello);
}

static void udp_socket_input(struct udp_socket *sock)
{
	struct udp_channel *channel = sock->channel;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	unsigned int i;
	ssize_t ret;

	for (i = 0; i < UDP_MAX_READS; i++) {
		addr_len = sizeof(addr);
		ret = recvfrom(sock->fd, channel->input, channel->input_size,
			       MSG_DONTWAIT, (struct sockaddr *)&addr,
			       &addr_len);
		if (ret < 0) {
			/* ICMP tells of earlier ones */
			if (errno == EAGAIN || errno == EWOULDBLOCK)
				break;
			continue;
		}
		if (addr.ss_family != AF_INET && addr.ss_family != AF_INET6)
			continue;
		T_BEGIN {
			udp_datagram(sock, &addr, ret);
		} T_END;
	}
}

/* The channel */

static void udp_socket_close(struct udp_socket *sock)
{
	io_remove(&sock->io);
	i_close_fd(&sock->fd);
}

static int udp_socket_open(struct udp_socket *sock, const char **error_r)
{
	struct udp_peer addr;
	int on = 1, size = UDP_RECEIVE_BUFFER;

	udp_peer_set(&addr, &sock->ip, sock->port);
	sock->fd = socket(sock->ip.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock->fd == -1) {
		*error_r = t_strdup_printf("socket() failed: %m");
		return -1;
	}
	(void)setsockopt(sock->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	/* what listens to :: doesn't take IPv4's port too */
	if (sock->ip.family == AF_INET6 &&
	    setsockopt(sock->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on,
		       sizeof(on)) < 0)
		*error_r = t_strdup_printf("setsockopt(IPV6_V6ONLY) failed: %m");
	else if (bind(sock->fd, (const struct sockaddr *)&addr.addr,
		      addr.addr_len) < 0)
		*error_r = t_strdup_printf("bind(%s) failed: %m", sock->name);
	else {
		fd_set_nonblock(sock->fd, TRUE);
		sock->io = io_add(sock->fd, IO_READ, udp_socket_input, sock);
		return 0;
	}
	udp_socket_close(sock);
	return -1;
}

static void udp_channel_bind(struct udp_channel *channel)
{
	struct udp_socket *sock;
	const char *error;
	bool failed = FALSE;

	timeout_remove(&channel->to_bind);
	array_foreach_modifiable(&channel->sockets, sock) {
		if (sock->fd != -1 || udp_socket_open(sock, &error) == 0)
			continue;
		failed = TRUE;
		if (!channel->bind_error_logged)
			e_error(channel->event, "UDP: %s (it is tried on)",
				error);
	}
	channel->bind_error_logged = failed;
	if (failed) {
		channel->to_bind = timeout_add(UDP_BIND_RETRY_MSECS,
					       udp_channel_bind, channel);
	}
}

static void udp_channel_start(struct outband_channel *_channel)
{
	udp_channel_bind(UDP_CHANNEL(_channel));
}

static void
udp_channel_status(struct outband_channel *_channel,
		   outband_channel_status_t *callback, void *context)
{
	struct udp_channel *channel = UDP_CHANNEL(_channel);
	unsigned int i;

	for (i = 0; i < UDP_COUNT_COUNT; i++)
		callback(udp_count_names[i], channel->counts[i], context);
}

static int
udp_channel_add_socket(struct udp_channel *channel, const char *address,
		       const char **error_r)
{
	struct udp_socket *sock;
	const char *host;
	struct ip_addr ip;
	in_port_t port;

	if (net_str2hostport(address, 0, &host, &port) < 0 || port == 0 ||
	    net_addr2ip(strcmp(host, "*") == 0 ? "0.0.0.0" : host, &ip) < 0) {
		*error_r = t_strdup_printf("pimap_udp_listen %s isn't an IP "
			"address with a port", address);
		return -1;
	}
	sock = array_append_space(&channel->sockets);
	sock->channel = channel;
	sock->name = p_strdup(channel->pool, address);
	sock->ip = ip;
	sock->port = port;
	sock->fd = -1;
	return 0;
}

static int
udp_channel_set_fallback(struct udp_channel *channel, const char *name,
			 const char **error_r)
{
	unsigned int i;

	if (name[0] == '\0' || strcasecmp(name, "NONE") == 0)
		return 0;
	for (i = 0; outband_channels[i] != NULL; i++) {
		if (outband_channels[i] != &outband_channel_udp &&
		    strcasecmp(outband_channels[i]->name, name) == 0) {
			channel->fallback = outband_channels[i]->name;
			return 0;
		}
	}
	*error_r = t_strdup_printf("pimap_udp_fallback %s isn't a channel that "
				   "could take what UDP can't", name);
	return -1;
}

static void udp_channel_deinit(struct outband_channel *_channel)
{
	struct udp_channel *channel = UDP_CHANNEL(_channel);
	struct hash_iterate_context *iter;
	struct udp_device *dev;
	struct udp_socket *sock;

	outband_keys_set_callback(channel->keys, NULL, NULL);
	while (channel->sends != NULL)
		udp_send_free(channel->sends);
	iter = hash_table_iterate_init(channel->devices);
	while (hash_table_iterate(iter, channel->devices, &dev, &dev))
		udp_device_free(dev);
	hash_table_iterate_deinit(&iter);
	hash_table_destroy(&channel->devices);
	array_foreach_modifiable(&channel->sockets, sock)
		udp_socket_close(sock);
	timeout_remove(&channel->to_bind);
	timeout_remove(&channel->to_prune);
	outband_udp_limit_deinit(&channel->hello_limit);
	outband_udp_limit_deinit(&channel->invalid_limit);
	event_unref(&channel->event);
	i_free(channel->input);
	pool_unref(&channel->pool);
}

static int
udp_channel_init(const struct outband_channel_env *env,
		 struct outband_channel **channel_r, const char **error_r)
{
	const struct pimap_settings *set = env->set;
	const char *const *addresses;
	struct udp_channel *channel;
	pool_t pool;
	int ret = 0;

	addresses = t_strsplit_spaces(set->pimap_udp_listen, " ,");
	if (*addresses == NULL)
		return 0;
	pool = pool_alloconly_create("outband channel udp", 1024);
	channel = p_new(pool, struct udp_channel, 1);
	channel->pool = pool;
	channel->channel.v = &outband_channel_udp;
	channel->channel.max_size = UDP_MAX_PAYLOAD;
	channel->event = event_create(env->event_parent);
	channel->set = set;
	channel->keys = env->keys;
#ifdef PIMAP_HAVE_SETTINGS_GET
	channel->separator = set->pimap_separator[0];
#endif
	/* one octet more, so that one that is too long can be told */
	channel->input_size = set->pimap_udp_max_size + 1;
	channel->input = i_malloc(channel->input_size);
	channel->hello_limit =
		outband_udp_limit_init(set->pimap_udp_max_hellos, 0);
	channel->invalid_limit = outband_udp_limit_init(UDP_MAX_INVALID,
							UDP_MAX_INVALID_ALL);
	hash_table_create(&channel->devices, default_pool, 0, udp_device_hash,
			  udp_device_cmp);
	p_array_init(&channel->sockets, pool, 2);
	outband_keys_set_callback(env->keys, udp_keys_changed, channel);
	for (; *addresses != NULL && ret == 0; addresses++)
		ret = udp_channel_add_socket(channel, *addresses, error_r);
	if (ret == 0) {
		ret = udp_channel_set_fallback(channel,
					       set->pimap_udp_fallback, error_r);
	}
	if (ret < 0) {
		udp_channel_deinit(&channel->channel);
		return -1;
	}
	*channel_r = &channel->channel;
	return 1;
}

const struct outband_channel_vfuncs outband_channel_udp = {
	.name = "UDP",
	.max_sends = UDP_MAX_SENDS,
	.encrypts = TRUE,
	.init = udp_channel_init,
	.start = udp_channel_start,
	.status = udp_channel_status,
	.deinit = udp_channel_deinit,
	.send = udp_channel_send,
	.read = udp_channel_read,
};
