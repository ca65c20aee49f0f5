/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_ANSWER_H
#define OUTBAND_ANSWER_H

#include "outband-look.h"

/* A worker's answer to a job (pimap-look.h), line by line. A worker opens mail that
   anybody may have written: what it says is checked, and bounded. */

#define OUTBAND_ANSWER_MAX_DEVICES 1000
#define OUTBAND_ANSWER_MAX_FOLDERS 100000
/* of a folder's name, an address and so on: the administrator's lists have them. No
   name in Dovecot is longer, and no preference. */
#define OUTBAND_ANSWER_MAX_NAME (16*1024)
/* of one; the process has 256 MB (default_vsz_limit) */
#define OUTBAND_ANSWER_MAX_SIZE (16*1024*1024)

/* of one folder, and folders in one SCAN */
#define OUTBAND_ANSWER_MAX_SEEN 16384
#define OUTBAND_ANSWER_MAX_SCAN 100

enum outband_answer_result {
	OUTBAND_ANSWER_OK,
	/* there is no such user or folder any more */
	OUTBAND_ANSWER_GONE,
	/* the worker couldn't do it, and has said why in the log */
	OUTBAND_ANSWER_FAIL,
	/* there is no answer: the worker has died, or didn't say what it should */
	OUTBAND_ANSWER_LOST,
	/* there is no answer: no worker has seen the job */
	OUTBAND_ANSWER_UNREACHED
};

struct outband_answer {
	pool_t pool;
	enum outband_answer_result result;
	/* of FAIL */
	const char *reason;

	/* to USER; (uid_t)-1: it wasn't told */
	uid_t uid;

	/* to FOLDERS: the GUIDs */
	ARRAY_TYPE(const_string) folders;

	/* to LOOK */
	const char *guid;
	const char *folder;
	ARRAY_TYPE(outband_found) found;

	/* to JUDGE */
	struct outband_judged judged;

	/* to LOOK and FOLDERS; NULL: it isn't said */
	const char *seen;

	/* to SCAN */
	ARRAY(unsigned int) changed;

	/* the message that the worker has said last that it evaluates, 0 = none */
	uint32_t at_uid;

	size_t size;
};

/* guid is the one of the LOOK or JUDGE, NULL for FOLDERS, SCAN and USER. */
struct outband_answer *outband_answer_init(const char *guid);
void outband_answer_deinit(struct outband_answer **answer);

/* Adds a line, whose fields are unescaped. Returns 1 if it is the last and the
   answer has its result, 0 if there are more, -1 and error_r if a worker doesn't
   write such a line. */
int outband_answer_add(struct outband_answer *answer, const char *const *args,
		       const char **error_r);

/* Are there control characters in it? Nobody is called so, and it may come to be
   in the log. */
bool outband_has_control(const char *str);
/* Returns the text of a GUID from the data stack as it is written everywhere, or
   NULL if that is none. */
const char *outband_guid_parse(const char *str);

#endif
