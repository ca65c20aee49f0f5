/* SPDX-License-Identifier: LGPL-2.1-only */
/* The parser of workers' answers. It knows nothing of connections and stores. */

#include "lib.h"
#include "array.h"
#include "guid.h"
#include "str.h"
#include "strescape.h"
#include "pimap-look.h"
#include "outband-payload.h"
#include "outband-answer.h"

bool outband_has_control(const char *str)
{
	for (; *str != '\0'; str++) {
		if ((unsigned char)*str < 0x20 || *str == 0x7f)
			return TRUE;
	}
	return FALSE;
}

const char *outband_guid_parse(const char *str)
{
	guid_128_t guid;

	if (guid_128_from_string(str, guid) < 0 || guid_128_is_empty(guid))
		return NULL;
	return guid_128_to_string(guid);
}

struct outband_answer *outband_answer_init(const char *guid)
{
	struct outband_answer *answer;
	pool_t pool;

	pool = pool_alloconly_create("outband answer", 1024);
	answer = p_new(pool, struct outband_answer, 1);
	answer->pool = pool;
	answer->guid = p_strdup(pool, guid);
	answer->folder = NULL;
	answer->judged.generation = -1;
	answer->uid = (uid_t)-1;
	p_array_init(&answer->folders, pool, 16);
	p_array_init(&answer->found, pool, 4);
	p_array_init(&answer->changed, pool, 4);
	return answer;
}

void outband_answer_deinit(struct outband_answer **_answer)
{
	struct outband_answer *answer = *_answer;

	*_answer = NULL;
	if (answer != NULL)
		pool_unref(&answer->pool);
}

static int
outband_answer_folder(struct outband_answer *answer, const char *const *args,
		      const char **error_r)
{
	const char *guid;

	if (str_array_length(args) < 2 ||
	    strlen(args[1]) > OUTBAND_ANSWER_MAX_NAME) {
		*error_r = "FOLDER without a name";
		return -1;
	}
	guid = outband_guid_parse(args[0]);
	if (guid == NULL) {
		*error_r = "FOLDER without a GUID";
		return -1;
	}
	if (answer->guid == NULL) {
		if (array_count(&answer->folders) ==
		    OUTBAND_ANSWER_MAX_FOLDERS) {
			*error_r = "too many folders";
			return -1;
		}
		guid = p_strdup(answer->pool, guid);
		array_push_back(&answer->folders, &guid);
		return 0;
	}
	if (answer->folder != NULL || strcmp(guid, answer->guid) != 0) {
		*error_r = "it names another FOLDER";
		return -1;
	}
	answer->folder = p_strdup(answer->pool, args[1]);
	return 0;
}

/* One of the first ones is too long for a name. */
static bool
outband_answer_has_long(const char *const *args, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (strlen(args[i]) > OUTBAND_ANSWER_MAX_NAME)
			return TRUE;
	}
	return FALSE;
}

static int
outband_answer_device(struct outband_answer *answer, const char *const *args,
		      const char **error_r)
{
	struct outband_found *found;
	const struct outband_found *other;
	struct outband_changes changes;
	int64_t generation;

	if (answer->folder == NULL) {
		*error_r = "DEVICE before its FOLDER";
		return -1;
	}
	if (str_array_length(args) < 6 || args[0][0] == '\0' ||
	    outband_answer_has_long(args, 5) ||
	    outband_has_control(args[0]) || outband_has_control(args[2]) ||
	    str_to_int64(args[1], &generation) < 0 || generation < 0) {
		*error_r = "invalid DEVICE";
		return -1;
	}
	i_zero(&changes);
	if (args[6] != NULL &&
	    (str_array_length(args) < 9 ||
	     str_to_uint32(args[6], &changes.uid_validity) < 0 ||
	     str_to_uint64(args[7], &changes.start_modseq) < 0 ||
	     str_to_uint64(args[8], &changes.end_modseq) < 0 ||
	     changes.start_modseq > INT64_MAX ||
	     changes.end_modseq > INT64_MAX)) {
		*error_r = "invalid changes of a DEVICE";
		return -1;
	}
	if (array_count(&answer->found) == OUTBAND_ANSWER_MAX_DEVICES) {
		*error_r = "too many devices";
		return -1;
	}
	array_foreach(&answer->found, other) {
		if (strcmp(other->device, args[0]) == 0) {
			*error_r = "a DEVICE comes twice";
			return -1;
		}
	}
	found = array_append_space(&answer->found);
	found->device = p_strdup(answer->pool, args[0]);
	found->generation = generation;
	found->channel = p_strdup(answer->pool, args[2]);
	found->address = p_strdup(answer->pool, args[3]);
	found->format = p_strdup(answer->pool, args[4]);
	found->state = p_strdup(answer->pool, args[5]);
	found->changes = changes;
	p_array_init(&found->events, answer->pool, 4);
	return 0;
}

static const char *
outband_answer_get_fields(struct outband_answer *answer,
			  const char *const *args)
{
	string_t *fields;
	unsigned int i;

	if (args[0] == NULL)
		return "";
	fields = t_str_new(128);
	for (i = 0; i < OUTBAND_PAYLOAD_FIELDS && args[i] != NULL; i++) {
		if (i > 0)
			str_append_c(fields, '\t');
		str_append_tabescaped(fields, args[i]);
	}
	return p_strdup(answer->pool, str_c(fields));
}

static int
outband_answer_event(struct outband_answer *answer, const char *const *args,
		     const char **error_r)
{
	struct outband_found *found;
	struct outband_event event;

	if (array_count(&answer->found) == 0) {
		*error_r = "EVENT before its DEVICE";
		return -1;
	}
	i_zero(&event);
	if (str_array_length(args) < 3 ||
	    !outband_payload_event_is_known(args[0]) ||
	    str_to_uint32(args[1], &event.uid) < 0 ||
	    str_to_time(args[2], &event.time) < 0) {
		*error_r = "invalid EVENT";
		return -1;
	}
	found = array_back_modifiable(&answer->found);
	if (array_count(&found->events) == PIMAP_LOOK_MAX_EVENTS) {
		*error_r = "too many events";
		return -1;
	}
	event.name = p_strdup(answer->pool, args[0]);
	event.fields = outband_answer_get_fields(answer, args + 3);
	if (str_array_length(args) > 3 + OUTBAND_PAYLOAD_FIELDS) {
		event.folder = p_strdup(answer->pool,
					args[3 + OUTBAND_PAYLOAD_FIELDS]);
	}
	array_push_back(&found->events, &event);
	return 0;
}

static int
outband_answer_judged(struct outband_answer *answer, const char *const *args,
		      const char **error_r)
{
	struct outband_judged *judged = &answer->judged;
	const unsigned int count = str_array_length(args);

	if (judged->generation >= 0 || (count != 1 && count < 5) ||
	    str_to_int64(args[0], &judged->generation) < 0 ||
	    judged->generation < 0) {
		*error_r = "invalid JUDGED";
		return -1;
	}
	if (count == 1)
		return 0;
	if (outband_has_control(args[1]) || outband_answer_has_long(args, 5) ||
	    strspn(args[4], "012") != strlen(args[4]) ||
	    strlen(args[4]) > PIMAP_LOOK_MAX_JUDGED) {
		*error_r = "invalid JUDGED";
		return -1;
	}
	judged->channel = p_strdup(answer->pool, args[1]);
	judged->address = p_strdup(answer->pool, args[2]);
	judged->format = p_strdup(answer->pool, args[3]);
	judged->verdicts = p_strdup(answer->pool, args[4]);
	return 0;
}

static int
outband_answer_seen(struct outband_answer *answer, const char *const *args,
		    const char **error_r)
{
	if (args[0] == NULL || answer->seen != NULL ||
	    strlen(args[0]) > OUTBAND_ANSWER_MAX_SEEN) {
		*error_r = "invalid SEEN";
		return -1;
	}
	answer->seen = p_strdup(answer->pool, args[0]);
	return 0;
}

static int
outband_answer_changed(struct outband_answer *answer, const char *const *args,
		       const char **error_r)
{
	unsigned int number;

	if (args[0] == NULL || str_to_uint(args[0], &number) < 0 ||
	    number >= OUTBAND_ANSWER_MAX_SCAN ||
	    array_count(&answer->changed) == OUTBAND_ANSWER_MAX_SCAN) {
		*error_r = "invalid CHANGED";
		return -1;
	}
	array_push_back(&answer->changed, &number);
	return 0;
}

int outband_answer_add(struct outband_answer *answer, const char *const *args,
		       const char **error_r)
{
	unsigned int i;

	/* nothing of it is kept but the last one */
	if (args[0] != NULL && strcmp(args[0], "AT") == 0 &&
	    answer->guid != NULL && args[1] != NULL &&
	    str_to_uint32(args[1], &answer->at_uid) == 0)
		return 0;
	for (i = 0; args[i] != NULL; i++)
		answer->size += strlen(args[i]) + 1;
	if (answer->size > OUTBAND_ANSWER_MAX_SIZE) {
		*error_r = "it is too long";
		return -1;
	}
	if (args[0] == NULL) {
		*error_r = "empty line";
		return -1;
	}
	if (strcmp(args[0], "FOLDER") == 0)
		return outband_answer_folder(answer, args + 1, error_r);
	if (strcmp(args[0], "UID") == 0 && answer->guid == NULL) {
		if (args[1] == NULL || str_to_uid(args[1], &answer->uid) < 0) {
			*error_r = "invalid UID";
			return -1;
		}
		return 0;
	}
	if (strcmp(args[0], "DEVICE") == 0 && answer->guid != NULL)
		return outband_answer_device(answer, args + 1, error_r);
	if (strcmp(args[0], "EVENT") == 0 && answer->guid != NULL)
		return outband_answer_event(answer, args + 1, error_r);
	if (strcmp(args[0], "JUDGED") == 0 && answer->guid != NULL)
		return outband_answer_judged(answer, args + 1, error_r);

	if (strcmp(args[0], "SEEN") == 0)
		return outband_answer_seen(answer, args + 1, error_r);
	if (strcmp(args[0], "CHANGED") == 0 && answer->guid == NULL)
		return outband_answer_changed(answer, args + 1, error_r);

	if (strcmp(args[0], "OK") == 0)
		answer->result = OUTBAND_ANSWER_OK;
	else if (strcmp(args[0], "GONE") == 0)
		answer->result = OUTBAND_ANSWER_GONE;
	else if (strcmp(args[0], "FAIL") == 0)
		answer->result = OUTBAND_ANSWER_FAIL;
	else {
		*error_r = "unknown line";
		return -1;
	}
	answer->reason = p_strdup(answer->pool,
				  args[1] == NULL ? "" : args[1]);
	return 1;
}
