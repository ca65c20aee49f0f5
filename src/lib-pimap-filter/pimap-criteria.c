/* SPDX-License-Identifier: LGPL-2.1-only */
/* Criteria of filters: the search keys that a filter may have, how they are
   read and how they are written. What a client sends is first written as text,
   and then that text is parsed: so whatever is accepted can be read again. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "istream.h"
#include "ioloop.h"
#include "charset-utf8.h"
#include "imap-arg.h"
#include "imap-parser.h"
#include "imap-quote.h"
#include "mail-search.h"
#include "mail-search-build.h"
#include "mail-search-mime.h"
#include "mail-search-parser.h"
#include "mail-search-register.h"
#include "pimap-compat.h"
#include "pimap-settings.h"
#include "pimap-zone.h"
#include "pimap-criteria.h"

#include <ctype.h>

static struct mail_search_register *criteria_register;

/* Keys that mean something only in one session, or only now. */
static const char *const transient_keys[] = {
	"UID", "$", "RECENT", "NEW", "OLD", "MODSEQ", "INTHREAD", "X-REAL-UID",
	NULL
};

#define CRITERIA_ERROR_TOO_DEEP "Criteria are nested too deeply"

/* OLDER and YOUNGER count seconds: they are looked at again after this many. */
#define CRITERIA_INTERVAL_LIVE_SECS 60

/* The functions that parse a search key get no context of ours: what is known
   of the criteria that are being built. */
static time_t criteria_expires;
static bool criteria_grow;
static const char *criteria_zone;
/* How many ORs and NOTs may be around a key, and are around this one */
static unsigned int criteria_max_depth, criteria_depth;
/* There is an odd number of NOTs around it. */
static bool criteria_negated;
static bool criteria_too_deep;

/* grows: what has passed until then lets messages in, not out */
static void criteria_expire_at(time_t time, bool grows)
{
	if (grows != criteria_negated)
		criteria_grow = TRUE;
	if (criteria_expires == 0 || criteria_expires > time)
		criteria_expires = time;
}

/* draft 5.2.3, R-6.3 */
static struct mail_search_arg *
criteria_daysbeforetoday(struct mail_search_build_context *ctx)
{
	struct mail_search_arg *sarg;
	const char *value;
	time_t since, tomorrow;
	uint32_t days;

	if (mail_search_parse_string(ctx->parser, &value) < 0)
		return NULL;
	if (str_to_uint32(value, &days) < 0) {
		ctx->_error = "Invalid DAYSBEFORETODAY parameter";
		return NULL;
	}
	pimap_zone_get_days(criteria_zone, ioloop_time, days, &since,
			    &tomorrow);
	sarg = mail_search_build_new(ctx, SEARCH_SINCE);
	sarg->value.date_type = MAIL_SEARCH_DATE_TYPE_RECEIVED;
	sarg->value.search_flags = MAIL_SEARCH_ARG_FLAG_UTC_TIMES;
	sarg->value.time = since;
	criteria_expire_at(tomorrow, FALSE);
	return sarg;
}

/* Dovecot's own, but live */
static struct mail_search_arg *
criteria_interval(struct mail_search_build_context *ctx, const char *key,
		  bool grows)
{
	criteria_expire_at(ioloop_time + CRITERIA_INTERVAL_LIVE_SECS, grows);
	return mail_search_register_find(pimap_search_register_get_imap(),
					 key)->build(ctx);
}

static struct mail_search_arg *
criteria_older(struct mail_search_build_context *ctx)
{
	return criteria_interval(ctx, "OLDER", TRUE);
}

static struct mail_search_arg *
criteria_younger(struct mail_search_build_context *ctx)
{
	return criteria_interval(ctx, "YOUNGER", FALSE);
}

/* Dovecot's parser would go as deep as the text is long. */
static struct mail_search_arg *
criteria_nested(struct mail_search_build_context *ctx, const char *key)
{
	struct mail_search_arg *sarg = NULL;

	if (++criteria_depth > criteria_max_depth) {
		criteria_too_deep = TRUE;
		ctx->_error = CRITERIA_ERROR_TOO_DEEP;
	} else {
		sarg = mail_search_register_find(
			pimap_search_register_get_imap(), key)->build(ctx);
	}
	criteria_depth--;
	return sarg;
}

static struct mail_search_arg *
criteria_not(struct mail_search_build_context *ctx)
{
	struct mail_search_arg *sarg;

	criteria_negated = !criteria_negated;
	sarg = criteria_nested(ctx, "NOT");
	criteria_negated = !criteria_negated;
	return sarg;
}

static struct mail_search_arg *
criteria_or(struct mail_search_build_context *ctx)
{
	return criteria_nested(ctx, "OR");
}

static const struct mail_search_register_arg criteria_keys[] = {
	{ "DAYSBEFORETODAY", criteria_daysbeforetoday },
	{ "NOT", criteria_not },
	{ "OLDER", criteria_older },
	{ "OR", criteria_or },
	{ "YOUNGER", criteria_younger },
};

static bool criteria_is_own_key(const char *key)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(criteria_keys); i++) {
		if (strcmp(criteria_keys[i].key, key) == 0)
			return TRUE;
	}
	return FALSE;
}

static struct mail_search_arg *
criteria_unknown_key(struct mail_search_build_context *ctx, const char *key)
{
	const char *reason = "Unknown search key";

	if (str_array_find(transient_keys, key))
		reason = "A filter can't have the search key";
	else if (*key == '*' || i_isdigit(*key))
		reason = "A filter can't have message numbers:";
	ctx->_error = p_strdup_printf(ctx->pool, "%s %s", reason, key);
	return NULL;
}

static enum pimap_criteria_result
criteria_print_string(const struct imap_arg *arg, const char *charset,
		      string_t *text, const char **error_r)
{
	const char *str = imap_arg_as_astring(arg);
	string_t *utf8 = t_str_new(128);
	enum charset_result result;

	if (charset_to_utf8_str(charset == NULL ? "UTF-8" : charset, NULL, str,
				utf8, &result) < 0) {
		*error_r = "Unknown charset";
		return PIMAP_CRITERIA_UNKNOWN_CHARSET;
	}
	if (result != CHARSET_RET_OK) {
		*error_r = "String isn't valid in its charset";
		return PIMAP_CRITERIA_INVALID;
	}
	pimap_imap_append_string(text, str_c(utf8));
	return PIMAP_CRITERIA_OK;
}

static enum pimap_criteria_result
criteria_print(const struct pimap_settings *set,
	       const struct imap_arg *args, const char *charset,
	       unsigned int nesting, unsigned int *deepest,
	       string_t *text, const char **error_r)
{
	enum pimap_criteria_result ret = PIMAP_CRITERIA_OK;
	const struct imap_arg *arg;

	if (nesting > set->pimap_max_filter_nesting) {
		*error_r = CRITERIA_ERROR_TOO_DEEP;
		return PIMAP_CRITERIA_TOO_LARGE;
	}
	*deepest = I_MAX(*deepest, nesting);
	for (arg = args; !IMAP_ARG_IS_EOL(arg); arg++) {
		if (arg != args)
			str_append_c(text, ' ');
		switch (arg->type) {
		case IMAP_ARG_NIL:
			str_append(text, "NIL");
			break;
		case IMAP_ARG_ATOM:
			str_append(text, imap_arg_as_astring(arg));
			break;
		case IMAP_ARG_LIST:
			str_append_c(text, '(');
			ret = criteria_print(set, imap_arg_as_list(arg),
					     charset, nesting + 1, deepest,
					     text, error_r);
			str_append_c(text, ')');
			break;
		default:
			ret = criteria_print_string(arg, charset, text, error_r);
			break;
		}
		if (ret != PIMAP_CRITERIA_OK)
			return ret;
		if (str_len(text) > set->pimap_max_filter_size) {
			*error_r = "Criteria are too long";
			return PIMAP_CRITERIA_TOO_LARGE;
		}
	}
	return ret;
}

/* A line of search keys while it is being read */
struct criteria_line {
	struct istream *input;
	struct imap_parser *parser;
	const struct imap_arg *args;
};

static int
criteria_line_init(struct criteria_line *line_r, const char *text,
		   const char **error_r)
{
	const char *line = t_strconcat(text, "\r\n", NULL);

	line_r->input = i_stream_create_from_data(line, strlen(line));
	(void)i_stream_read(line_r->input);
	line_r->parser = pimap_imap_parser_create(line_r->input, SIZE_MAX);
	if (imap_parser_finish_line(line_r->parser, 0, 0, &line_r->args) <= 0) {
		*error_r = "Unfinished search keys";
		return -1;
	}
	if (IMAP_ARG_IS_EOL(line_r->args)) {
		*error_r = "Missing search keys";
		return -1;
	}
	return 0;
}

static void criteria_line_deinit(struct criteria_line *line)
{
	imap_parser_unref(&line->parser);
	i_stream_destroy(&line->input);
}

static bool criteria_args_have_flags(const struct mail_search_arg *arg)
{
	for (; arg != NULL; arg = arg->next) {
		switch (arg->type) {
		case SEARCH_FLAGS:
		case SEARCH_KEYWORDS:
			return TRUE;
		case SEARCH_OR:
		case SEARCH_SUB:
			if (criteria_args_have_flags(arg->value.subargs))
				return TRUE;
			break;
		default:
			break;
		}
	}
	return FALSE;
}

static const char *
criteria_find_unsafe_mime_key(const struct mail_search_mime_arg *arg)
{
	const char *key;

	for (; arg != NULL; arg = arg->next) {
		switch (arg->type) {
		case SEARCH_MIME_OR:
		case SEARCH_MIME_SUB:
			key = criteria_find_unsafe_mime_key(arg->value.subargs);
			if (key != NULL)
				return key;
			break;
		/* reads before the name, if that is shorter */
		case SEARCH_MIME_FILENAME_ENDS:
			return "FILENAME ENDS";
		/* reads the date of an attached message without one */
		case SEARCH_MIME_SENTBEFORE:
		case SEARCH_MIME_SENTON:
		case SEARCH_MIME_SENTSINCE:
			return "SENTBEFORE, SENTON or SENTSINCE";
		/* reads the parent of the whole message. Copied, PARENT and
		   CHILD lose their keys, PARAM the name */
		case SEARCH_MIME_PARENT:
			if (arg->value.subargs != NULL)
				return "PARENT with anything but EXISTS";
			break;
		case SEARCH_MIME_CHILD:
			if (arg->value.subargs != NULL)
				return "CHILD with anything but EXISTS";
			break;
		case SEARCH_MIME_PARAM:
		case SEARCH_MIME_DISPOSITION_PARAM:
			return "PARAM";
		/* are never evaluated */
		case SEARCH_MIME_HEADER:
		case SEARCH_MIME_BODY:
		case SEARCH_MIME_TEXT:
			return "HEADER, BODY or TEXT";
		default:
			break;
		}
	}
	return NULL;
}

/* Some keys in MIMEPART make Dovecot, up to 2.4.1 at least, crash on some
   messages. In a filter that would be at each SELECT. */
static const char *
criteria_find_unsafe_key(const struct mail_search_arg *arg)
{
	const char *key = NULL;

	for (; arg != NULL && key == NULL; arg = arg->next) {
		switch (arg->type) {
		case SEARCH_OR:
		case SEARCH_SUB:
			key = criteria_find_unsafe_key(arg->value.subargs);
			break;
		case SEARCH_MIMEPART:
			key = criteria_find_unsafe_mime_key(
				arg->value.mime_part->args);
			break;
		default:
			break;
		}
	}
	return key;
}

static int
criteria_build(const char *text, const char *zone, unsigned int max_depth,
	       struct pimap_criteria *criteria_r, const char **error_r)
{
	struct mail_search_parser *parser;
	const char *unsafe, *charset = "UTF-8";
	struct criteria_line line;
	int ret = -1;

	i_zero(criteria_r);
	criteria_expires = 0;
	criteria_grow = FALSE;
	criteria_negated = FALSE;
	criteria_zone = zone;
	criteria_max_depth = max_depth;
	criteria_depth = 0;
	criteria_too_deep = FALSE;
	if (criteria_line_init(&line, text, error_r) == 0) {
		parser = mail_search_parser_init_imap(line.args);
		ret = mail_search_build(criteria_register, parser, &charset,
					&criteria_r->args, error_r);
		mail_search_parser_deinit(&parser);
	}
	criteria_line_deinit(&line);
	if (ret < 0)
		return -1;
	unsafe = criteria_find_unsafe_key(criteria_r->args->args);
	if (unsafe != NULL) {
		*error_r = t_strdup_printf(
			"A filter can't have the search key MIMEPART %s",
			unsafe);
		mail_search_args_unref(&criteria_r->args);
		return -1;
	}
	criteria_r->has_flags = criteria_args_have_flags(criteria_r->args->args);
	criteria_r->expires = criteria_expires;
	criteria_r->grow = criteria_grow;
	return 0;
}

enum pimap_criteria_result
pimap_criteria_parse(const struct pimap_settings *set,
		     const struct imap_arg *args, const char *charset,
		     string_t *text, const char **error_r)
{
	struct pimap_criteria criteria;
	enum pimap_criteria_result ret;
	unsigned int deepest = 0;

	if (IMAP_ARG_IS_EOL(args)) {
		*error_r = "Missing search keys";
		return PIMAP_CRITERIA_INVALID;
	}
	/* the parentheses around all of the criteria don't count */
	ret = criteria_print(set, args, charset, 0, &deepest, text, error_r);
	if (ret != PIMAP_CRITERIA_OK)
		return ret;
	/* which parentheses are inside of which ORs and NOTs isn't known: they
	   share what may be nested */
	if (criteria_build(str_c(text), set->pimap_timezone,
			   set->pimap_max_filter_nesting - deepest,
			   &criteria, error_r) < 0) {
		return criteria_too_deep ? PIMAP_CRITERIA_TOO_LARGE :
			PIMAP_CRITERIA_INVALID;
	}
	pimap_criteria_free(&criteria);
	return PIMAP_CRITERIA_OK;
}

enum pimap_criteria_result
pimap_criteria_parse_line(const struct pimap_settings *set, const char *text,
			  string_t *dest, const char **error_r)
{
	enum pimap_criteria_result ret = PIMAP_CRITERIA_INVALID;
	struct criteria_line line;

	if (criteria_line_init(&line, text, error_r) == 0)
		ret = pimap_criteria_parse(set, line.args, NULL, dest, error_r);
	criteria_line_deinit(&line);
	return ret;
}

/* The shortest beginning that is a search key is the first one: none of them takes
   arguments that may be left out. */
static int
criteria_split_first(const struct imap_arg *args, unsigned int *count_r,
		     const char **text_r, const char **error_r)
{
	static const struct pimap_settings unlimited = {
		.pimap_max_filter_size = SIZE_MAX,
		.pimap_max_filter_nesting = UINT_MAX,
	};
	struct pimap_criteria criteria;
	string_t *text = t_str_new(128);
	unsigned int count, deepest = 0, total = 0;
	struct imap_arg *first;

	while (!IMAP_ARG_IS_EOL(&args[total]))
		total++;
	first = t_new(struct imap_arg, total + 1);
	*error_r = "Missing search keys";
	for (count = 0; count < total; count++) {
		first[count] = args[count];
		first[count+1].type = IMAP_ARG_EOL;
		str_truncate(text, 0);
		if (criteria_print(&unlimited, first, NULL, 0, &deepest, text,
				   error_r) != PIMAP_CRITERIA_OK)
			return -1;
		if (criteria_build(str_c(text), "", UINT_MAX, &criteria,
				   error_r) == 0) {
			pimap_criteria_free(&criteria);
			*count_r = count + 1;
			*text_r = str_c(text);
			return 0;
		}
	}
	return -1;
}

static int
criteria_split(const struct imap_arg *args, ARRAY_TYPE(const_string) *keys,
	       const char **error_r)
{
	unsigned int count;
	const char *text;

	for (; !IMAP_ARG_IS_EOL(args); args += count) {
		count = 1;
		if (args->type == IMAP_ARG_LIST) {
			if (criteria_split(imap_arg_as_list(args), keys,
					   error_r) < 0)
				return -1;
		} else {
			if (criteria_split_first(args, &count, &text,
						 error_r) < 0)
				return -1;
			array_push_back(keys, &text);
		}
	}
	return 0;
}

int pimap_criteria_split(const char *text, ARRAY_TYPE(const_string) *keys,
			 const char **error_r)
{
	struct criteria_line line;
	int ret = -1;

	if (criteria_line_init(&line, text, error_r) == 0)
		ret = criteria_split(line.args, keys, error_r);
	criteria_line_deinit(&line);
	return ret;
}

int pimap_criteria_build(const char *text, const char *zone,
			 struct pimap_criteria *criteria_r,
			 const char **error_r)
{
	/* what is stored was checked when it was set */
	return criteria_build(text, zone, UINT_MAX, criteria_r, error_r);
}

void pimap_criteria_free(struct pimap_criteria *criteria)
{
	if (criteria->args != NULL)
		mail_search_args_unref(&criteria->args);
}

const char *pimap_criteria_get_keys(void)
{
	const struct mail_search_register_arg *args;
	string_t *keys = t_str_new(512);
	unsigned int i, count;

	args = mail_search_register_get(criteria_register, &count);
	for (i = 0; i < count; i++) {
		if (i > 0)
			str_append_c(keys, ' ');
		str_append(keys, args[i].key);
	}
	return str_c(keys);
}

void pimap_criteria_init(void)
{
	const struct mail_search_register_arg *args;
	unsigned int i, count;

	criteria_register = mail_search_register_init();
	args = mail_search_register_get(
		pimap_search_register_get_imap(), &count);
	for (i = 0; i < count; i++) {
		if (!str_array_find(transient_keys, args[i].key) &&
		    !criteria_is_own_key(args[i].key))
			mail_search_register_add(criteria_register, &args[i], 1);
	}
	mail_search_register_add(criteria_register, criteria_keys,
				 N_ELEMENTS(criteria_keys));
	mail_search_register_fallback(criteria_register, criteria_unknown_key);
}

void pimap_criteria_deinit(void)
{
	mail_search_register_deinit(&criteria_register);
}
