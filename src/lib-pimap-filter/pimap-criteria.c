/* SPDX-License-Identifier: LGPL-2.1-only */
/* Criteria of filters: the search keys that a filter may have, how they are
   read and how they are written. Dovecot's own parser of search keys reads them,
   through one of ours that writes each word as it is read, and knows how deep it
   is. So what is written is what was understood, in one way of writing: keys in
   upper case, strings in UTF-8. */

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
#include "mail-search-parser-private.h"
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

/* OLDER and YOUNGER count seconds: they are looked at again after this many. */
#define CRITERIA_INTERVAL_LIVE_SECS 60

/* The functions that parse a search key get no context of ours: what is known
   of the criteria that are being built. */
static time_t criteria_expires;
static bool criteria_grow;
static const char *criteria_zone;
/* There is an odd number of NOTs around it. */
static bool criteria_negated;

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

static struct mail_search_arg *
criteria_not(struct mail_search_build_context *ctx)
{
	struct mail_search_arg *sarg;

	criteria_negated = !criteria_negated;
	sarg = mail_search_register_find(pimap_search_register_get_imap(),
					 "NOT")->build(ctx);
	criteria_negated = !criteria_negated;
	return sarg;
}

static const struct mail_search_register_arg criteria_keys[] = {
	{ "DAYSBEFORETODAY", criteria_daysbeforetoday },
	{ "NOT", criteria_not },
	{ "OLDER", criteria_older },
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

/* Keys that are followed by others, and by how many. Those in MIMEPART have no
   name with another meaning outside of it. */
static const struct criteria_operator {
	const char *key;
	unsigned int operands;
	/* it is a level */
	bool nests;
} criteria_operators[] = {
	{ "NOT", 1, TRUE },
	{ "OR", 2, TRUE },
	{ "FUZZY", 1, FALSE },
	{ "MIMEPART", 1, FALSE },
	{ "PARENT", 1, FALSE },
	{ "CHILD", 1, FALSE },
	/* what follows these is read as a key, too */
	{ "DEPTH", 1, FALSE },
	{ "DISPOSITION", 1, FALSE },
	{ "FILENAME", 1, FALSE },
	{ "SIZE", 1, FALSE },
};

/* Their strings are names, and have no charset. */
static const char *const name_keys[] = {
	"KEYWORD", "UNKEYWORD", "X-GUID", "X-MAILBOX", NULL
};

/* What is open: a list, or an operator that has not all of its operands yet */
struct criteria_level {
	/* 0 = a list */
	unsigned int operands;
	bool nests;
};

/* Stands before Dovecot's parser of IMAP's search keys */
struct criteria_parser {
	struct mail_search_parser parser;
	struct mail_search_parser *imap;

	unsigned int max_nesting, nesting;
	uoff_t max_size;
	ARRAY(struct criteria_level) levels;

	const char *charset;
	/* what has been read */
	string_t *text;
	bool too_large;
};

static int
criteria_parser_fail(struct criteria_parser *parser, const char *error)
{
	parser->parser.error = error;
	return -1;
}

static int
criteria_parser_too_large(struct criteria_parser *parser, const char *error)
{
	parser->too_large = TRUE;
	return criteria_parser_fail(parser, error);
}

static void criteria_parser_space(struct criteria_parser *parser)
{
	size_t len = str_len(parser->text);

	if (len > 0 && str_c(parser->text)[len-1] != '(')
		str_append_c(parser->text, ' ');
}

static int criteria_parser_check_size(struct criteria_parser *parser)
{
	if (str_len(parser->text) <= parser->max_size)
		return 1;
	return criteria_parser_too_large(parser, "Criteria are too long");
}

/* Dovecot goes as deep as the text does. */
static int
criteria_parser_push(struct criteria_parser *parser, unsigned int operands,
		     bool nests)
{
	struct criteria_level *level = array_append_space(&parser->levels);

	level->operands = operands;
	level->nests = nests;
	if (nests && ++parser->nesting > parser->max_nesting) {
		return criteria_parser_too_large(parser,
			"Criteria are nested too deeply");
	}
	return 1;
}

static void criteria_parser_pop(struct criteria_parser *parser)
{
	const struct criteria_level *level = array_back(&parser->levels);

	if (level->nests)
		parser->nesting--;
	array_pop_back(&parser->levels);
}

/* A key or a list is complete but for its strings, and with it the operators
   whose last operand it is. */
static void criteria_parser_complete(struct criteria_parser *parser)
{
	struct criteria_level *level;

	while (array_count(&parser->levels) > 0) {
		level = array_back_modifiable(&parser->levels);
		if (level->operands == 0 || --level->operands > 0)
			break;
		criteria_parser_pop(parser);
	}
}

static int
criteria_parser_key_begins(struct criteria_parser *parser, const char *key)
{
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(criteria_operators); i++) {
		if (strcmp(criteria_operators[i].key, key) == 0) {
			return criteria_parser_push(parser,
				criteria_operators[i].operands,
				criteria_operators[i].nests);
		}
	}
	criteria_parser_complete(parser);
	return 1;
}

static int
criteria_parse_key(struct mail_search_parser *_parser, const char **key_r)
{
	struct criteria_parser *parser =
		container_of(_parser, struct criteria_parser, parser);
	const struct criteria_level *level;
	int ret;

	if (parser->too_large)
		return -1;
	ret = parser->imap->v.parse_key(parser->imap, key_r);
	if (ret < 0) {
		/* not Dovecot's error, which has the string as it is */
		return criteria_parser_fail(parser,
			"There is a string in place of a search key");
	}
	if (ret == 0) {
		/* the end of a list, or of all the criteria, which are none */
		if (array_count(&parser->levels) == 0)
			return 0;
		level = array_back(&parser->levels);
		if (level->operands > 0)
			return 0; /* and one of them is missing */
		str_append_c(parser->text, ')');
		criteria_parser_pop(parser);
		criteria_parser_complete(parser);
		return 0;
	}
	criteria_parser_space(parser);
	if (strcmp(*key_r, MAIL_SEARCH_PARSER_KEY_LIST) == 0) {
		str_append_c(parser->text, '(');
		ret = criteria_parser_push(parser, 0, TRUE);
	} else {
		*key_r = str_ucase(p_strdup(parser->parser.pool, *key_r));
		str_append(parser->text, *key_r);
		ret = criteria_parser_key_begins(parser, *key_r);
	}
	return ret < 0 ? -1 : criteria_parser_check_size(parser);
}

static int
criteria_parse_string(struct mail_search_parser *_parser, const char **value_r)
{
	struct criteria_parser *parser =
		container_of(_parser, struct criteria_parser, parser);
	const char *value, *charset = parser->charset;
	enum charset_result result;
	int ret;

	if (str_array_find(name_keys, parser->parser.cur_key))
		charset = "UTF-8";
	ret = parser->imap->v.parse_string(parser->imap, &value);
	if (ret < 0)
		return criteria_parser_fail(parser, parser->imap->error);
	T_BEGIN {
		string_t *utf8 = t_str_new(128);

		if (charset_to_utf8_str(charset, NULL, value, utf8,
					&result) < 0)
			result = CHARSET_RET_INVALID_INPUT;
		*value_r = p_strdup(parser->parser.pool, str_c(utf8));
	} T_END;
	if (result != CHARSET_RET_OK) {
		return criteria_parser_fail(parser,
			"String isn't valid in its charset");
	}
	criteria_parser_space(parser);
	pimap_imap_append_astring(parser->text, *value_r);
	return criteria_parser_check_size(parser);
}

/* OR OR is one OR of more than two for Dovecot, but a level more for us. */
static bool
criteria_parse_skip_next(struct mail_search_parser *_parser, const char *str)
{
	struct criteria_parser *parser =
		container_of(_parser, struct criteria_parser, parser);

	if (parser->too_large ||
	    !parser->imap->v.parse_skip_next(parser->imap, str))
		return FALSE;
	criteria_parser_space(parser);
	str_append(parser->text, str);
	/* if that is too deep, the key that follows fails */
	(void)criteria_parser_key_begins(parser, str);
	return TRUE;
}

static const struct mail_search_parser_vfuncs criteria_parser_vfuncs = {
	criteria_parse_key,
	criteria_parse_string,
	criteria_parse_skip_next
};

static void
criteria_parser_init(struct criteria_parser *parser_r,
		     const struct imap_arg *args, const char *charset,
		     string_t *text)
{
	i_zero(parser_r);
	parser_r->imap = mail_search_parser_init_imap(args);
	parser_r->parser.v = criteria_parser_vfuncs;
	parser_r->parser.pool = parser_r->imap->pool;
	parser_r->max_nesting = UINT_MAX;
	parser_r->max_size = UOFF_T_MAX;
	parser_r->charset = charset;
	parser_r->text = text;
	p_array_init(&parser_r->levels, parser_r->parser.pool, 8);
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

/* Builds what the parser reads, and sees to it that it is safe. */
static int
criteria_build(struct criteria_parser *parser, const char *zone,
	       struct pimap_criteria *criteria_r, const char **error_r)
{
	const char *unsafe, *charset = "UTF-8";
	int ret;

	i_zero(criteria_r);
	criteria_expires = 0;
	criteria_grow = FALSE;
	criteria_negated = FALSE;
	criteria_zone = zone;
	ret = mail_search_build(criteria_register, &parser->parser, &charset,
				&criteria_r->args, error_r);
	if (parser->too_large)
		*error_r = t_strdup(parser->parser.error);
	mail_search_parser_deinit(&parser->imap);
	if (ret < 0 || parser->too_large) {
		if (ret == 0)
			mail_search_args_unref(&criteria_r->args);
		if (*error_r == NULL)
			*error_r = "Invalid search keys";
		return -1;
	}
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

bool pimap_criteria_charset_is_known(const char *charset)
{
	string_t *empty = t_str_new(8);
	enum charset_result result;

	return *charset != '\0' && strchr(charset, '/') == NULL &&
		charset_to_utf8_str(charset, NULL, "", empty, &result) == 0;
}

enum pimap_criteria_result
pimap_criteria_parse(const struct pimap_settings *set,
		     const struct imap_arg *args, const char *charset,
		     string_t *text, const char **error_r)
{
	struct criteria_parser parser;
	struct pimap_criteria criteria;

	if (IMAP_ARG_IS_EOL(args)) {
		*error_r = "Missing search keys";
		return PIMAP_CRITERIA_INVALID;
	}
	if (charset == NULL)
		charset = "UTF-8";
	if (!pimap_criteria_charset_is_known(charset)) {
		*error_r = "Unknown charset";
		return PIMAP_CRITERIA_UNKNOWN_CHARSET;
	}
	/* the parentheses around all of the criteria don't count */
	criteria_parser_init(&parser, args, charset, text);
	parser.max_nesting = set->pimap_max_filter_nesting;
	parser.max_size = set->pimap_max_filter_size;
	if (criteria_build(&parser, set->pimap_timezone, &criteria,
			   error_r) < 0) {
		return parser.too_large ? PIMAP_CRITERIA_TOO_LARGE :
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
	struct criteria_parser parser;
	struct pimap_criteria criteria;
	string_t *text = t_str_new(128);
	unsigned int count, total = 0;
	struct imap_arg *first;

	while (!IMAP_ARG_IS_EOL(&args[total]))
		total++;
	first = t_new(struct imap_arg, total + 1);
	*error_r = "Missing search keys";
	for (count = 0; count < total; count++) {
		first[count] = args[count];
		first[count+1].type = IMAP_ARG_EOL;
		str_truncate(text, 0);
		criteria_parser_init(&parser, first, "UTF-8", text);
		if (criteria_build(&parser, "", &criteria, error_r) == 0) {
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
	struct criteria_parser parser;
	struct criteria_line line;
	int ret = -1;

	i_zero(criteria_r);
	if (criteria_line_init(&line, text, error_r) == 0) {
		/* what is stored was checked when it was set */
		criteria_parser_init(&parser, line.args, "UTF-8",
				     t_str_new(256));
		ret = criteria_build(&parser, zone, criteria_r, error_r);
	}
	criteria_line_deinit(&line);
	return ret;
}

/* Dovecot makes one key of OR UNSEEN UNDELETED, which is to match what doesn't have
   both flags. Among the keys that must all match it takes that for UNSEEN and for
   UNDELETED, and finds nothing where all messages are seen, or deleted, and not all
   where those before the first unseen one are seen. In an OR it doesn't. */
static void criteria_split_flags(struct mail_search_args *args)
{
	struct mail_search_arg *arg, *sub;
	enum mail_flags flags, flag;

	for (arg = args->args; arg != NULL; arg = arg->next) {
		if (arg->type != SEARCH_FLAGS || !arg->match_not)
			continue;
		flags = arg->value.flags;
		if ((flags & (flags - 1)) == 0)
			continue;
		arg->type = SEARCH_OR;
		arg->match_not = FALSE;
		i_zero(&arg->value);
		for (flag = 1; flag <= flags; flag <<= 1) {
			if ((flags & flag) == 0)
				continue;
			sub = p_new(args->pool, struct mail_search_arg, 1);
			sub->type = SEARCH_FLAGS;
			sub->match_not = TRUE;
			sub->value.flags = flag;
			sub->next = arg->value.subargs;
			arg->value.subargs = sub;
		}
	}
}

void pimap_criteria_simplify(struct pimap_criteria *criteria)
{
	mail_search_args_simplify(criteria->args);
	criteria_split_flags(criteria->args);
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
