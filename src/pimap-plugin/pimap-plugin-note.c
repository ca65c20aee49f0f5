/* SPDX-License-Identifier: LGPL-2.1-only */
/* What a transaction was is read from the index's log, where it is between others':
   so it is certain what was done by this session, and that nothing in between was
   done by another. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "mail-index-private.h"
#include "mail-transaction-log-private.h"
#include "mail-storage-private.h"
#include "pimap-look.h"
#include "pimap-plugin-note.h"

struct note {
	uint64_t start_modseq, end_modseq;
	ARRAY_TYPE(seq_range) changed, saved, expunged;
};

static void note_init(struct note *note_r)
{
	i_zero(note_r);
	t_array_init(&note_r->changed, 8);
	t_array_init(&note_r->saved, 8);
	t_array_init(&note_r->expunged, 8);
}

static void note_append_uids(string_t *dest, const ARRAY_TYPE(seq_range) *uids)
{
	const struct seq_range *range;
	const char *sep = "";

	array_foreach(uids, range) {
		str_printfa(dest, "%s%u", sep, range->seq1);
		if (range->seq2 > range->seq1)
			str_printfa(dest, "-%u", range->seq2);
		sep = ",";
	}
}

static const char *
note_print(struct mailbox *box, const char *device, const struct note *note)
{
	string_t *text;

	if (array_count(&note->changed) == 0 && array_count(&note->saved) == 0 &&
	    array_count(&note->expunged) == 0)
		return NULL;
	text = t_str_new(128);
	str_printfa(text, "%s:%u:%"PRIu64":%"PRIu64":", device,
		    box->index->map->hdr.uid_validity,
		    note->start_modseq, note->end_modseq);
	note_append_uids(text, &note->changed);
	str_append_c(text, ':');
	note_append_uids(text, &note->saved);
	str_append_c(text, ':');
	note_append_uids(text, &note->expunged);
	return str_len(text) > PIMAP_NOTE_MAX_SIZE ? NULL : str_c(text);
}

/* A record of the log: what of it has UIDs */
static void
note_add(struct note *note, const struct mail_transaction_header *hdr,
	 const void *data)
{
	const struct mail_index_record *rec = data;
	const struct mail_transaction_flag_update *flags = data;
	const struct mail_transaction_keyword_update *keyword = data;
	const struct mail_transaction_expunge_guid *expunge = data;
	const void *end = CONST_PTR_OFFSET(data, hdr->size);
	const uint32_t *uids;
	size_t offset;

	switch ((uint32_t)hdr->type & MAIL_TRANSACTION_TYPE_MASK) {
	case MAIL_TRANSACTION_APPEND:
		for (; (const void *)(rec + 1) <= end; rec++)
			seq_range_array_add(&note->saved, rec->uid);
		break;
	case MAIL_TRANSACTION_FLAG_UPDATE:
		for (; (const void *)(flags + 1) <= end; flags++) {
			seq_range_array_add_range(&note->changed, flags->uid1,
						  flags->uid2);
		}
		break;
	case MAIL_TRANSACTION_KEYWORD_UPDATE:
		if (hdr->size < sizeof(*keyword))
			break;
		/* the UIDs come after the name, at a multiple of 4 */
		offset = sizeof(*keyword) + keyword->name_size;
		offset = (offset + 3) & ~(size_t)3;
		if (offset > hdr->size)
			break;
		uids = CONST_PTR_OFFSET(data, offset);
		for (; (const void *)(uids + 2) <= end; uids += 2) {
			seq_range_array_add_range(&note->changed, uids[0],
						  uids[1]);
		}
		break;
	case MAIL_TRANSACTION_EXPUNGE_GUID | MAIL_TRANSACTION_EXPUNGE_PROT:
	case MAIL_TRANSACTION_EXPUNGE_GUID:
		for (; (const void *)(expunge + 1) <= end; expunge++)
			seq_range_array_add(&note->expunged, expunge->uid);
		break;
	}
}

static int
note_read(struct mailbox *box, uint32_t file_seq, uoff_t start, uoff_t end,
	  struct note *note)
{
	struct mail_transaction_log_file *file = box->index->log->head;
	const struct mail_transaction_header *hdr;
	struct mail_transaction_log_view *view;
	const char *error;
	const void *data;
	bool reset;
	int ret;

	/* it was rotated meanwhile */
	if (file == NULL || file->hdr.file_seq != file_seq)
		return -1;
	if (mail_transaction_log_file_get_highest_modseq_at(file, start,
			&note->start_modseq, &error) <= 0 ||
	    mail_transaction_log_file_get_highest_modseq_at(file, end,
			&note->end_modseq, &error) <= 0)
		return -1;
	view = mail_transaction_log_view_open(box->index->log);
	ret = mail_transaction_log_view_set(view, file_seq, start, file_seq,
					    end, &reset, &error);
	while (ret > 0 && !reset &&
	       (ret = mail_transaction_log_view_next(view, &hdr, &data)) > 0)
		note_add(note, hdr, data);
	mail_transaction_log_view_close(&view);
	return ret < 0 || reset ? -1 : 0;
}

const char *
pimap_plugin_note_commit(struct mailbox *box, const char *device,
			 const struct mail_index_transaction_commit_result *result,
			 ARRAY_TYPE(seq_range) *expunged)
{
	struct note note;

	note_init(&note);
	if (result->commit_size == 0 ||
	    result->log_file_offset < result->commit_size ||
	    note_read(box, result->log_file_seq,
		      result->log_file_offset - result->commit_size,
		      result->log_file_offset, &note) < 0)
		return NULL;
	seq_range_array_merge(expunged, &note.expunged);
	return note_print(box, device, &note);
}

const char *
pimap_plugin_note_expunged(struct mailbox *box, const char *device,
			   const ARRAY_TYPE(seq_range) *uids)
{
	struct note note;

	note_init(&note);
	array_append_array(&note.expunged, uids);
	return note_print(box, device, &note);
}
