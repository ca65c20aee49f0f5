/* SPDX-License-Identifier: LGPL-2.1-only */
/* Which messages pass a device's filters, and which can't be read. */

#include "lib.h"
#include "array.h"
#include "mail-search.h"
#include "mail-search-build.h"
#include "mail-storage-private.h"
#include "pimap-address.h"
#include "pimap-compat.h"
#include "pimap-criteria.h"
#include "pimap-user.h"
#include "worker-caution.h"
#include "worker-look.h"

void look_search_init(struct look_search *search_r, pool_t pool,
		      const struct look *look, const char *criteria,
		      unsigned int max_found)
{
	i_zero(search_r);
	search_r->pool = pool;
	search_r->look = look;
	search_r->criteria = criteria;
	search_r->max_found = max_found;
	p_array_init(&search_r->found, pool, 8);
	p_array_init(&search_r->unreadable, pool, 8);
	p_array_init(&search_r->skipped, pool, 1);
}

bool look_search_is_full(const struct look_search *search)
{
	return array_count(&search->found) > search->max_found ||
		seq_range_count(&search->unreadable) >
			PIMAP_LOOK_MAX_UNDECIDED;
}

/* All that are read of a message that passes, so that it is done at once */
static struct mailbox_header_lookup_ctx *
search_get_headers(const struct look_search *search)
{
	static const char *const headers[] = {
		PIMAP_ADDRESS_MAIL_HEADER, WORKER_FIELDS_HEADERS, NULL
	};
	static const char *const notification_header[] = {
		PIMAP_ADDRESS_MAIL_HEADER, NULL
	};

	return mailbox_header_lookup_init(search->look->box,
		search->want_fields ? headers : notification_header);
}

/* A notification by mail isn't notified in its turn. Returns -1 if it can't
   be read. */
static int search_is_notification(struct mail *mail)
{
	const char *value;

	return mail_get_first_header(mail, PIMAP_ADDRESS_MAIL_HEADER, &value);
}

/* Adds one that passes. Returns FALSE if it can't be read. */
static bool look_search_add(struct look_search *search, struct mail *mail)
{
	struct look_found *found;
	time_t received;
	int ret;

	ret = search_is_notification(mail);
	if (ret > 0)
		return TRUE;
	if (ret < 0 || mail_get_received_date(mail, &received) < 0)
		return mail->expunged;
	found = array_append_space(&search->found);
	found->uid = mail->uid;
	found->received = received;
	if (search->want_fields) {
		worker_fields_read(mail, search->pool,
			search->look->puser->set->pimap_outband_body,
			&found->fields);
	}
	return TRUE;
}

/* Finds those of the messages with these sequences that pass. Returns 0 if some
   message can't be read: which one isn't known. */
static int
look_search_once(struct look_search *search, const ARRAY_TYPE(seq_range) *seqs,
		 const char **error_r)
{
	struct mailbox *box = search->look->box;
	struct mailbox_transaction_context *trans;
	struct mailbox_header_lookup_ctx *headers;
	struct mail_search_context *search_ctx;
	struct pimap_criteria criteria;
	struct mail_search_arg *arg;
	struct mail *mail, *passed;
	int ret = 1;

	/* a search leaves its marks: they are built anew for each one */
	if (pimap_criteria_build(search->criteria,
				 search->look->puser->set->pimap_timezone,
				 &criteria, error_r) < 0)
		return -1;
	pimap_criteria_simplify(&criteria);
	arg = p_new(criteria.args->pool, struct mail_search_arg, 1);
	arg->type = SEARCH_SEQSET;
	p_array_init(&arg->value.seqset, criteria.args->pool,
		     array_count(seqs));
	array_append_array(&arg->value.seqset, seqs);
	arg->next = criteria.args->args;
	criteria.args->args = arg;

	mail_search_args_init(criteria.args, box, FALSE, NULL);
	trans = mailbox_transaction_begin(box, 0, __func__);
	headers = search_get_headers(search);
	search_ctx = mailbox_search_init(trans, criteria.args, NULL,
					 MAIL_FETCH_RECEIVED_DATE, headers);
	/* Not the search's own: where criteria have read a header, Dovecot (2.3.19.1,
	   2.4.1) reads the next one from a wrong place, keeps in its cache that there
	   is none, or panics. */
	passed = mail_alloc(trans, MAIL_FETCH_RECEIVED_DATE, headers);
	mailbox_header_lookup_unref(&headers);
	pimap_mailbox_search_hide_progress(search_ctx);
	while (!look_search_is_full(search) &&
	       mailbox_search_next(search_ctx, &mail)) {
		mail_set_seq(passed, mail->seq);
		if (!look_search_add(search, passed))
			ret = 0;
	}
	mail_free(&passed);
	if (mailbox_search_deinit(&search_ctx) < 0)
		ret = 0;
	mail_search_args_deinit(criteria.args);
	pimap_criteria_free(&criteria);
	if (mailbox_transaction_commit(&trans) < 0 ||
	    mailbox_is_inconsistent(box)) {
		*error_r = t_strdup(mailbox_get_last_internal_error(box, NULL));
		ret = -1;
	}
	return ret;
}

static void
look_split(const ARRAY_TYPE(seq_range) *seqs, unsigned int count,
	   ARRAY_TYPE(seq_range) *first, ARRAY_TYPE(seq_range) *second)
{
	struct seq_range_iter iter;
	uint32_t seq;

	seq_range_array_iter_init(&iter, seqs);
	if (!seq_range_array_iter_nth(&iter, count / 2, &seq))
		i_unreached();
	t_array_init(first, array_count(seqs));
	t_array_init(second, array_count(seqs));
	array_append_array(first, seqs);
	array_append_array(second, seqs);
	seq_range_array_remove_range(first, seq, (uint32_t)-1);
	seq_range_array_remove_range(second, 1, seq - 1);
}

/* The same, and notes which messages can't be read. What was found together with
   one of these isn't believed. */
static int
look_search_seqs(struct look_search *search, const ARRAY_TYPE(seq_range) *seqs,
		 const char **error_r)
{
	const unsigned int old_count = array_count(&search->found);
	const unsigned int count = seq_range_count(seqs);
	ARRAY_TYPE(seq_range) first, second;
	int ret;

	if (count == 0 || look_search_is_full(search))
		return 0;
	ret = look_search_once(search, seqs, error_r);
	if (ret != 0)
		return ret < 0 ? -1 : 0;
	array_delete(&search->found, old_count,
		     array_count(&search->found) - old_count);
	if (count == 1) {
		mailbox_get_uid_range(search->look->box, seqs,
				      &search->unreadable);
		return 0;
	}
	look_split(seqs, count, &first, &second);
	return look_search_seqs(search, &first, error_r) < 0 ||
		look_search_seqs(search, &second, error_r) < 0 ? -1 : 0;
}

/* Takes out those of which workers have died. */
static void
look_search_skip(struct look_search *search, const ARRAY_TYPE(seq_range) *uids,
		 ARRAY_TYPE(seq_range) *seqs)
{
	struct seq_range_iter iter;
	unsigned int i = 0;
	uint32_t uid, seq1, seq2;

	seq_range_array_iter_init(&iter, worker_caution_get_skipped());
	while (seq_range_array_iter_nth(&iter, i++, &uid)) {
		if (!seq_range_exists(uids, uid))
			continue;
		mailbox_get_seq_range(search->look->box, uid, uid, &seq1, &seq2);
		if (seq1 > 0) {
			(void)seq_range_array_remove(seqs, seq1);
			seq_range_array_add(&search->skipped, uid);
		}
	}
}

/* One by one: the service knows which one it is. */
static int
look_search_each(struct look_search *search, const ARRAY_TYPE(seq_range) *seqs,
		 const char **error_r)
{
	ARRAY_TYPE(seq_range) one;
	struct seq_range_iter iter;
	unsigned int i = 0;
	uint32_t seq, uid;
	int ret = 0;

	t_array_init(&one, 1);
	seq_range_array_iter_init(&iter, seqs);
	while (ret == 0 && !look_search_is_full(search) &&
	       seq_range_array_iter_nth(&iter, i++, &seq)) T_BEGIN {
		mail_index_lookup_uid(search->look->box->view, seq, &uid);
		worker_caution_tell(uid);
		array_clear(&one);
		seq_range_array_add(&one, seq);
		ret = look_search_seqs(search, &one, error_r);
	} T_END_PASS_STR_IF(ret < 0, error_r);
	return ret;
}

int look_search(struct look_search *search, const ARRAY_TYPE(seq_range) *uids,
		const char **error_r)
{
	ARRAY_TYPE(seq_range) seqs;
	const struct seq_range *range;
	uint32_t seq1, seq2;

	t_array_init(&seqs, 8);
	array_foreach(uids, range) {
		mailbox_get_seq_range(search->look->box, range->seq1,
				      range->seq2, &seq1, &seq2);
		if (seq1 > 0)
			seq_range_array_add_range(&seqs, seq1, seq2);
	}
	look_search_skip(search, uids, &seqs);
	if (worker_caution_tells())
		return look_search_each(search, &seqs, error_r);
	return look_search_seqs(search, &seqs, error_r);
}

void look_get_existing(const struct look *look, uint32_t uid1, uint32_t uid2,
		       ARRAY_TYPE(seq_range) *uids)
{
	ARRAY_TYPE(seq_range) seqs;
	uint32_t seq1, seq2;

	if (uid1 > uid2)
		return;
	mailbox_get_seq_range(look->box, uid1, uid2, &seq1, &seq2);
	if (seq1 == 0)
		return;
	t_array_init(&seqs, 1);
	seq_range_array_add_range(&seqs, seq1, seq2);
	mailbox_get_uid_range(look->box, &seqs, uids);
}
