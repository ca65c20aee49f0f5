/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_LOOK_H
#define OUTBAND_LOOK_H

/* What a look is asked with, and what it has found (pimap-look.h). GUIDs are text
   everywhere in this service: 32 hexadecimal digits in lower case. */

/* The accounted state of a device, as a look is begun with it */
struct outband_accounted {
	const char *device;
	const char *state;
	/* never the same for two states */
	int64_t version;
	/* the registry's, of the device's profile */
	int64_t generation;
};
ARRAY_DEFINE_TYPE(outband_accounted, struct outband_accounted);

struct outband_event {
	const char *name;
	uint32_t uid;
	time_t time;
	/* for EXTENDED: sender, subject and body, tab-escaped, or "" */
	const char *fields;
	/* the folder's name, NULL = the one that was looked at */
	const char *folder;
};

/* What the events of a look are about: changes with modseqs above start, up to end;
   end 0 = it isn't known */
struct outband_changes {
	uint32_t uid_validity;
	uint64_t start_modseq, end_modseq;
};

/* A device that the folder notifies */
struct outband_found {
	const char *device;
	int64_t generation;
	const char *channel, *address, *format;
	const char *state;
	struct outband_changes changes;
	/* its events are held until then, 0 = they aren't (outband-idle.h) */
	time_t held_until;
	ARRAY(struct outband_event) events;
};
ARRAY_DEFINE_TYPE(outband_found, struct outband_found);

/* What has become of queued notifications by the profile as it is now. */
struct outband_judged {
	/* -1: nothing was said */
	int64_t generation;
	/* the device as it is now, and one of OUTBAND_VERDICT_* for each of what it
	   was asked about; NULL: it isn't told of the folder any more */
	const char *channel, *address, *format;
	const char *verdicts;
};
#define OUTBAND_VERDICT_DROP '0'
#define OUTBAND_VERDICT_PASSES '1'
#define OUTBAND_VERDICT_UNKNOWN '2'

/* A folder, or a user, is gone if it isn't found, and wasn't so long before: while a
   folder is renamed it may have no name for a moment. */
#define OUTBAND_GONE_SECS 2

/* How a look came about, for who asks what became of a notification */
struct outband_origin {
	/* "hint", ... */
	const char *cause;
	time_t begun;
};

#endif
