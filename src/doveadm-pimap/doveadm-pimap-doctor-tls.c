/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap doctor: can a channel begin with TLS? */

#include "lib.h"
#include "ioloop.h"
#include "istream.h"
#include "net.h"
#include "ostream.h"
#include "iostream-ssl.h"
#include "pimap-tls.h"
#include "doveadm-pimap-doctor.h"

struct doctor_tls {
	struct istream *input;
	struct ostream *output;
	struct ssl_iostream *ssl;
	struct timeout *to;
	/* NULL = it can */
	char *error;
};

static void doctor_tls_timeout(struct doctor_tls *tls)
{
	timeout_remove(&tls->to);
	tls->error = i_strdup("it doesn't answer TLS");
	io_loop_stop(current_ioloop);
}

static void doctor_tls_input(struct doctor_tls *tls)
{
	/* that is what makes the handshake */
	ssize_t ret = i_stream_read(tls->input);

	if (ssl_iostream_is_handshaked(tls->ssl)) {
		/* the certificate is accepted, too */
	} else if (ssl_iostream_has_handshake_failed(tls->ssl)) {
		tls->error = i_strdup(pimap_tls_fix_error(
			ssl_iostream_get_last_error(tls->ssl)));
	} else if (ret < 0) {
		tls->error = i_strdup(tls->input->stream_errno == 0 ?
			"Connection closed" :
			i_stream_get_error(tls->input));
	} else {
		return;
	}
	io_loop_stop(current_ioloop);
}

static void
doctor_tls_run(struct doctor_tls *tls, int fd, const char *host,
	       struct ssl_iostream_context *ctx, unsigned int timeout_msecs)
{
	struct event *event = event_create(NULL);
	const char *error;
	struct io *io;

	tls->input = i_stream_create_fd(fd, 4096);
	tls->output = o_stream_create_fd(fd, SIZE_MAX);
	o_stream_set_no_error_handling(tls->output, TRUE);
	if (pimap_tls_start(ctx, host, event, &tls->input, &tls->output,
			    &tls->ssl, &error) < 0) {
		tls->error = i_strdup(error);
	} else {
		io = io_add_istream(tls->input, doctor_tls_input, tls);
		tls->to = timeout_add(timeout_msecs, doctor_tls_timeout, tls);
		io_loop_run(current_ioloop);
		timeout_remove(&tls->to);
		io_remove(&io);
	}
	ssl_iostream_destroy(&tls->ssl);
	i_stream_destroy(&tls->input);
	o_stream_abort(tls->output);
	o_stream_destroy(&tls->output);
	event_unref(&event);
}

int doctor_start_tls(int fd, const char *host, const char *ca,
		     unsigned int timeout_msecs, const char **error_r)
{
	struct ssl_iostream_context *ctx = NULL;
	struct doctor_tls tls;
	struct ioloop *ioloop;

	i_zero(&tls);
	if (pimap_tls_prepare(ca, &ctx, error_r) < 0) {
		net_disconnect(fd);
		return -1;
	}
	ioloop = io_loop_create();
	doctor_tls_run(&tls, fd, host, ctx, timeout_msecs);
	io_loop_destroy(&ioloop);
	ssl_iostream_context_unref(&ctx);
	net_disconnect(fd);
	if (tls.error == NULL)
		return 0;
	*error_r = t_strdup(tls.error);
	i_free(tls.error);
	return -1;
}
