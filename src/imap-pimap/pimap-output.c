/* SPDX-License-Identifier: LGPL-2.1-only */
/* A filter in the client's output. Dovecot writes the tagged login reply
   before plugins can say anything; the filter holds it back for what has to
   come first. A filter rather than another client->output: rawlog and
   the command parser keep references to the stream. */

#include "lib.h"
#include "buffer.h"
#include "ostream-private.h"
#include "pimap-output.h"

struct pimap_ostream {
	struct ostream_private ostream;
	/* not NULL while output is held back */
	buffer_t *held;
};

static ssize_t
pimap_ostream_sendv(struct ostream_private *stream,
		    const struct const_iovec *iov, unsigned int iov_count)
{
	struct pimap_ostream *pstream =
		container_of(stream, struct pimap_ostream, ostream);
	unsigned int i;
	ssize_t ret = 0;

	if (pstream->held == NULL) {
		if ((ret = o_stream_sendv(stream->parent, iov, iov_count)) < 0) {
			o_stream_copy_error_from_parent(stream);
			return -1;
		}
	} else {
		for (i = 0; i < iov_count; i++) {
			buffer_append(pstream->held, iov[i].iov_base,
				      iov[i].iov_len);
			ret += iov[i].iov_len;
		}
	}
	stream->ostream.offset += ret;
	return ret;
}

static size_t pimap_ostream_used(const struct ostream_private *stream)
{
	return o_stream_get_buffer_used_size(stream->parent);
}

static void pimap_ostream_destroy(struct iostream_private *stream)
{
	struct pimap_ostream *pstream =
		container_of(stream, struct pimap_ostream, ostream.iostream);

	buffer_free(&pstream->held);
	o_stream_unref(&pstream->ostream.parent);
}

struct ostream *pimap_output_create_held(struct ostream *parent)
{
	struct pimap_ostream *pstream;
	struct ostream *output;

	pstream = i_new(struct pimap_ostream, 1);
	pstream->ostream.sendv = pimap_ostream_sendv;
	pstream->ostream.get_buffer_used_size = pimap_ostream_used;
	pstream->ostream.iostream.destroy = pimap_ostream_destroy;
	pstream->held = buffer_create_dynamic(default_pool, 256);
	output = o_stream_create(&pstream->ostream, parent,
				 o_stream_get_fd(parent));
	o_stream_set_name(output, "<pimap>");
	return output;
}

void pimap_output_refuse(struct ostream *output, const char *text)
{
	struct pimap_ostream *pstream =
		container_of(output->real_stream, struct pimap_ostream, ostream);
	const char *reply = t_strndup(pstream->held->data, pstream->held->used);
	const char *tag = t_strcut(reply, ' ');

	/* a session that was there before login has no tag: PREAUTH */
	buffer_set_used_size(pstream->held, 0);
	if (*tag != '\0' && strcmp(tag, "*") != 0) {
		reply = t_strdup_printf("%s %s\r\n", tag, text);
		buffer_append(pstream->held, reply, strlen(reply));
	}
	(void)pimap_output_release(output, "");
}

bool pimap_output_release(struct ostream *output, const char *text)
{
	struct pimap_ostream *pstream =
		container_of(output->real_stream, struct pimap_ostream, ostream);
	struct ostream *parent = pstream->ostream.parent;
	bool have_reply = pstream->held->used > 0;

	o_stream_cork(parent);
	if (have_reply) {
		o_stream_nsend_str(parent, text);
		o_stream_nsend(parent, pstream->held->data,
			       pstream->held->used);
	}
	buffer_free(&pstream->held);
	o_stream_uncork(parent);
	return have_reply;
}
