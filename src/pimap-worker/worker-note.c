/* SPDX-License-Identifier: LGPL-2.1-only */
/* What needn't be told to a device, because its own session did it, or nobody,
   because it was imported. In doubt it is told: what nobody has noted may be
   another's. */

#include "lib.h"
#include "array.h"
#include "mail-index-modseq.h"
#include "mail-storage-private.h"
#include "pimap-look.h"
#include "pimap-settings.h"
#include "pimap-user.h"
#include "worker-look.h"

#include <unistd.h>

#define NOTE_FIELDS 8

static bool
note_parse_uids(pool_t pool, const char *text, ARRAY_TYPE(seq_range) *uids_r)
{
	const char *const *ranges, *dash;
	uint32_t seq1, seq2;

	p_array_init(uids_r, pool, 4);
	if (text[0] == '\0')
		return TRUE;
	for (ranges = t_strsplit(text, ","); *ranges != NULL; ranges++) {
		dash = strchr(*ranges, '-');
		if (str_to_uint32(dash == NULL ? *ranges :
				  t_strdup_until(*ranges, dash), &seq1) < 0 ||
		    str_to_uint32(dash == NULL ? *ranges : dash + 1,
				  &seq2) < 0 ||
		    seq1 == 0 || seq1 > seq2 || seq2 == (uint32_t)-1)
			return FALSE;
		seq_range_array_add_range(uids_r, seq1, seq2);
	}
	return TRUE;
}

bool look_note_parse(pool_t pool, const char *text, struct look_note *note_r)
{
	const char *const *fields = t_strsplit(text, ":");
	uint64_t uid;

	i_zero(note_r);
	if (str_array_length(fields) != NOTE_FIELDS ||
	    str_to_uint64(fields[0], &uid) < 0)
		return FALSE;
	note_r->uid = uid;
	note_r->device = p_strdup(pool, fields[1]);
	return str_to_uint32(fields[2], &note_r->uid_validity) == 0 &&
		str_to_uint64(fields[3], &note_r->start_modseq) == 0 &&
		str_to_uint64(fields[4], &note_r->end_modseq) == 0 &&
		note_parse_uids(pool, fields[5], &note_r->changed) &&
		note_parse_uids(pool, fields[6], &note_r->saved) &&
		note_parse_uids(pool, fields[7], &note_r->expunged);
}

void look_add_notes(struct look *look, const char *const *states)
{
	struct look_note note;

	for (; *states != NULL; states += 2) {
		if (strcmp(states[0], PIMAP_LOOK_NOTE) != 0 ||
		    !look_note_parse(pool_datastack_create(), states[1],
				     &note))
			continue;
		/* this process is the user by now */
		if (note.uid != 0 && note.uid != geteuid())
			continue;
		if (note.device[0] == '\0' &&
		    look->puser->set->pimap_notify_imports)
			continue;
		array_push_back(&look->notes, &note);
	}
}

static bool
note_is_for(const struct look_note *note, const struct look_device *ldev)
{
	return note->uid_validity == ldev->look->uid_validity &&
		(note->device[0] == '\0' ||
		 strcmp(note->device, ldev->device->id) == 0);
}

void look_get_own_expunges(const struct look_device *ldev,
			   ARRAY_TYPE(seq_range) *uids)
{
	const struct look_note *note;

	array_foreach(&ldev->look->notes, note) {
		if (note_is_for(note, ldev))
			seq_range_array_merge(uids, &note->expunged);
	}
}

/* The one of the device's own session which the change with that modseq was in */
static const struct look_note *
look_find_note(const struct look_device *ldev, uint64_t modseq)
{
	const struct look_note *note;

	array_foreach(&ldev->look->notes, note) {
		if (note_is_for(note, ldev) && note->device[0] != '\0' &&
		    note->start_modseq < modseq && modseq <= note->end_modseq)
			return note;
	}
	return NULL;
}

static uint64_t look_get_modseq(const struct look *look, uint32_t uid)
{
	uint32_t seq;

	return mail_index_lookup_seq(look->box->view, uid, &seq) ?
		mail_index_modseq_lookup(look->box->view, seq) : 0;
}

bool look_is_own_change(const struct look_device *ldev, uint32_t uid)
{
	uint64_t modseq = look_get_modseq(ldev->look, uid);
	const struct look_note *note;

	/* all that was done since the accounted state must have been the
	   session's: one transaction after the other, without a gap */
	while (modseq > ldev->state.modseq) {
		note = look_find_note(ldev, modseq);
		if (note == NULL)
			return FALSE;
		modseq = note->start_modseq;
	}
	return TRUE;
}

bool look_is_own_message(const struct look_device *ldev, uint32_t uid)
{
	const struct look_note *note;
	bool saved = FALSE;
	uint64_t modseq;

	array_foreach(&ldev->look->notes, note) {
		if (!note_is_for(note, ldev) ||
		    !seq_range_exists(&note->saved, uid))
			continue;
		if (note->device[0] == '\0')
			return TRUE;
		saved = TRUE;
	}
	/* of others changes are no events */
	if (!saved || !ldev->all)
		return saved;
	modseq = look_get_modseq(ldev->look, uid);
	while ((note = look_find_note(ldev, modseq)) != NULL) {
		if (seq_range_exists(&note->saved, uid))
			return TRUE;
		modseq = note->start_modseq;
	}
	return FALSE;
}
