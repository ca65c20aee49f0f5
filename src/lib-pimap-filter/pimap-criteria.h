/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_CRITERIA_H
#define PIMAP_CRITERIA_H

struct imap_arg;
struct mail_search_args;
struct pimap_settings;

#define PIMAP_CRITERIA_ALL "ALL"
#define PIMAP_CRITERIA_NONE "NOT ALL"

enum pimap_criteria_result {
	PIMAP_CRITERIA_OK,
	/* malformed, or a key that a filter can't have */
	PIMAP_CRITERIA_INVALID,
	PIMAP_CRITERIA_UNKNOWN_CHARSET,
	/* */
	PIMAP_CRITERIA_TOO_LARGE
};

/* Returns TRUE if there is such a charset, by a name without what iconv() takes
   besides. */
bool pimap_criteria_charset_is_known(const char *charset);
/* Checks the search keys that a client has sent and writes them in UTF-8:
   that text is what is stored, what XFILTER GET answers and what
   pimap_criteria_build() reads. charset may be NULL. set has the limits. */
enum pimap_criteria_result
pimap_criteria_parse(const struct pimap_settings *set,
		     const struct imap_arg *args, const char *charset,
		     string_t *text, const char **error_r);
/* The same for search keys that come as one line of UTF-8. */
enum pimap_criteria_result
pimap_criteria_parse_line(const struct pimap_settings *set, const char *line,
			  string_t *text, const char **error_r);

/* Search keys, ready to be searched for */
struct pimap_criteria {
	struct mail_search_args *args;
	/* they ask for flags or keywords: what else they ask for never changes
	   while a message is there */
	bool has_flags;
	/* from then on they must be built anew, 0 = never */
	time_t expires;
	/* what they mean then may be more than now: else time alone only takes
	   messages away */
	bool grow;
};

/* Builds the search of a criteria text as it is right now: a DAYSBEFORETODAY in
   it counts from the present day in that time zone (pimap-zone.h). Returns 0 and
   the criteria, to be freed by pimap_criteria_free(), or -1 and error_r if the
   text is invalid. */
int pimap_criteria_build(const char *text, const char *zone,
			 struct pimap_criteria *criteria_r,
			 const char **error_r);
/* Before they are searched for, and before anything is added to them: has Dovecot
   simplify the search, in a way that it then understands. */
void pimap_criteria_simplify(struct pimap_criteria *criteria);
/* Frees the search, if that has not been done, and sets args to NULL. What else is
   known of the criteria stays. */
void pimap_criteria_free(struct pimap_criteria *criteria);

/* Adds the search keys that must all match, each as text, from the data stack;
   parentheses around some of them are left out. Returns -1 and error_r if the text
   is invalid. */
int pimap_criteria_split(const char *text, ARRAY_TYPE(const_string) *keys,
			 const char **error_r);

/* The search keys that a filter may have, separated by spaces. */
const char *pimap_criteria_get_keys(void);

void pimap_criteria_init(void);
void pimap_criteria_deinit(void);

#endif
