/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "crc32.h"
#include "str.h"
#include "pimap-newest.h"

#define HASH_LEN 8

void pimap_newest_add(struct pimap_newest *newest, uint32_t uid,
		      const guid_128_t guid)
{
	struct pimap_newest_message *message;

	i_assert(newest->count < PIMAP_NEWEST_MAX);
	message = &newest->messages[newest->count++];
	message->uid = uid;
	message->hash = guid == NULL ? 0 :
		I_MAX(crc32_data(guid, GUID_128_SIZE), 1);
}

const struct pimap_newest_message *
pimap_newest_find(const struct pimap_newest *newest, uint32_t uid)
{
	unsigned int i;

	for (i = 0; i < newest->count; i++) {
		if (newest->messages[i].uid == uid)
			return &newest->messages[i];
	}
	return NULL;
}

bool pimap_newest_differs(const struct pimap_newest_message *message1,
			  const struct pimap_newest_message *message2)
{
	return message1->hash != 0 && message2->hash != 0 &&
		message1->hash != message2->hash;
}

void pimap_newest_print(const struct pimap_newest *newest, string_t *dest)
{
	unsigned int i;

	if (!newest->known)
		str_append_c(dest, '-');
	for (i = 0; i < newest->count; i++) {
		if (i > 0)
			str_append_c(dest, ',');
		str_printfa(dest, "%u.", newest->messages[i].uid);
		if (newest->messages[i].hash != 0)
			str_printfa(dest, "%08x", newest->messages[i].hash);
	}
}

int pimap_newest_parse(const char *text, uint32_t next_uid,
		       struct pimap_newest *newest_r)
{
	struct pimap_newest_message *message;
	const char *const *messages, *p;
	uint32_t last_uid = 0;

	i_zero(newest_r);
	if (strcmp(text, "-") == 0)
		return 0;
	newest_r->known = TRUE;
	if (text[0] == '\0')
		return 0;
	messages = t_strsplit(text, ",");
	if (str_array_length(messages) > PIMAP_NEWEST_MAX)
		return -1;
	for (; *messages != NULL; messages++) {
		message = &newest_r->messages[newest_r->count++];
		p = strchr(*messages, '.');
		if (p == NULL ||
		    str_to_uint32(t_strdup_until(*messages, p),
				  &message->uid) < 0 ||
		    message->uid <= last_uid || message->uid >= next_uid ||
		    (p[1] != '\0' &&
		     (strlen(p + 1) != HASH_LEN ||
		      str_to_uint32_hex(p + 1, &message->hash) < 0)))
			return -1;
		last_uid = message->uid;
	}
	return 0;
}
