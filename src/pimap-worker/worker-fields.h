/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef WORKER_FIELDS_H
#define WORKER_FIELDS_H

/* What the format EXTENDED tells of a message. Each is NULL if the message
   has none, or it can't be read: that keeps no notification back. */
struct worker_fields {
	const char *sender, *subject, *body;
};

/* Bytes that they have at most */
#define WORKER_FIELDS_MAX_SENDER 320
#define WORKER_FIELDS_MAX_SUBJECT 1000

/* The headers that they are in: a search that finds the mail has them as wanted ones */
#define WORKER_FIELDS_HEADERS "From", "Subject"

/* Reads them, allocated from the pool. body_size: of the body, 0 for none */
void worker_fields_read(struct mail *mail, pool_t pool, size_t body_size,
			struct worker_fields *fields_r);

#endif
