/* SPDX-License-Identifier: LGPL-2.1-only */
/* The parts of messages that notifications tell */

#include "lib.h"
#include "str.h"
#include "mail-storage.h"
#include "message-address.h"
#include "message-header-decode.h"
#include "pimap-text.h"
#include "worker-fields.h"

/* Returns NULL if nothing is left of it. */
static const char *fields_clean(pool_t pool, const char *text, size_t max)
{
	string_t *clean = t_str_new(128);

	pimap_text_append_clean(clean, text, max);
	return str_len(clean) == 0 ? NULL : p_strdup(pool, str_c(clean));
}

static const char *fields_decode(const char *header)
{
	string_t *text = t_str_new(128);

	message_header_decode_utf8((const unsigned char *)header,
				   strlen(header), text, NULL);
	/* encoded words may have some */
	str_append_c(text, '\0');
	for (char *p = str_c_modifiable(text), *end = p + str_len(text) - 1;
	     p < end; p++) {
		if (*p == '\0')
			*p = ' ';
	}
	return str_c(text);
}

/* Name <address> of the first one, as far as it has both */
static const char *fields_get_sender(pool_t pool, const char *header)
{
	const struct message_address *addr;
	string_t *sender = t_str_new(128);
	const char *name, *address;

	addr = message_address_parse(pool_datastack_create(),
				     (const unsigned char *)header,
				     strlen(header), 1, 0);
	if (addr == NULL)
		return NULL;
	/* the address comes first: a long name can't hide it */
	address = addr->domain == NULL || addr->domain[0] == '\0' ?
		addr->mailbox :
		t_strconcat(addr->mailbox, "@", addr->domain, NULL);
	address = address == NULL ? NULL :
		fields_clean(pool_datastack_create(), address,
			     WORKER_FIELDS_MAX_SENDER / 2);
	name = addr->name == NULL ? NULL :
		fields_clean(pool_datastack_create(), fields_decode(addr->name),
			     WORKER_FIELDS_MAX_SENDER / 2 - 3);
	if (name == NULL)
		return p_strdup(pool, address);
	str_append(sender, name);
	if (address != NULL)
		str_printfa(sender, " <%s>", address);
	return p_strdup(pool, str_c(sender));
}

void worker_fields_read(struct mail *mail, pool_t pool, size_t body_size,
			struct worker_fields *fields_r)
{
	const char *value;

	i_zero(fields_r);
	T_BEGIN {
		if (mail_get_first_header(mail, "From", &value) > 0)
			fields_r->sender = fields_get_sender(pool, value);
		if (mail_get_first_header(mail, "Subject", &value) > 0) {
			fields_r->subject = fields_clean(pool,
				fields_decode(value),
				WORKER_FIELDS_MAX_SUBJECT);
		}
		/* before it there is how it was made */
		if (body_size > 0 &&
		    mail_get_special(mail, MAIL_FETCH_BODY_SNIPPET,
				     &value) == 0 && value[0] != '\0')
			fields_r->body = fields_clean(pool, value + 1, body_size);
	} T_END;
}
