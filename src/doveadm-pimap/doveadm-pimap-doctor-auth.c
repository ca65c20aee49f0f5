/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap doctor: the passdbs and userdbs of ours, and their separator. */

#include "lib.h"
#include "array.h"
#include "istream.h"
#include "pimap-device.h"
#include "doveadm-pimap-conf.h"
#include "doveadm-pimap-doctor.h"

static bool db_is_pimap(const struct pimap_conf *db)
{
	const struct pimap_conf *driver = pimap_conf_find(db, "driver");

	/* in 2.4 it may be the name alone */
	return strcmp(driver == NULL ? db->name : driver->value, "pimap") == 0;
}

static bool db_is_master(const struct pimap_conf *db)
{
	return strcmp(pimap_conf_get(db, "master"), "yes") == 0;
}

/* To be found in the configuration */
static const char *db_get_lines(const struct pimap_conf *db)
{
	const char *name = *db->name == '\0' ? "" :
		t_strconcat(db->name, " ", NULL);
	const char *driver = pimap_conf_find(db, "driver") == NULL ? "" :
		" driver = pimap";

	return t_strdup_printf("%s %s{%s%s }", db->key, name, driver,
			       db_is_master(db) ? " master = yes" : "");
}

void doctor_list_dbs(struct doctor *doctor)
{
	struct pimap_conf *db;

	array_foreach_elem(&doctor->conf->blocks, db) {
		if ((strcmp(db->key, "passdb") == 0 ||
		     strcmp(db->key, "userdb") == 0) && db_is_pimap(db)) {
			doctor_fail(doctor, "Until then nobody can log in. To "
				"go on without pimap take out: %s",
				db_get_lines(db));
		}
	}
}

/* separator */

/* Is the line of a file one of ours? */
static bool doctor_line_is_ours(const char *path, unsigned int linenum)
{
	struct istream *input = i_stream_create_file(path, SIZE_MAX);
	const char *line;
	bool ret = FALSE;

	while ((line = i_stream_read_next_line(input)) != NULL) {
		if (--linenum == 0) {
			ret = strstr(line, "pimap") != NULL ||
				strstr(line, "separator") != NULL ||
				strstr(line, "username") != NULL;
			break;
		}
	}
	i_stream_destroy(&input);
	return ret;
}

/* doveconf: "... file PATH line N: Ambiguous '#' character in line, ..." */
static void doctor_check_comments(struct doctor *doctor)
{
	const char *const *lines = t_strsplit(doctor->conf_errors, "\n");
	const char *p, *file, *path;
	unsigned int linenum;

	for (; *lines != NULL; lines++) {
		p = strstr(*lines, ": Ambiguous '#'");
		file = strstr(*lines, " file ");
		if (p == NULL || file == NULL || file > p)
			continue;
		file = t_strdup_until(file + 6, p);
		p = strstr(file, " line ");
		if (p == NULL || str_to_uint(p + 6, &linenum) < 0 || linenum == 0)
			continue;
		path = t_strdup_until(file, p);
		if (doctor_line_is_ours(path, linenum)) {
			doctor_fail(doctor, "%s line %u: # begins a comment "
				"there. Put the whole value in quotes",
				path, linenum);
		}
	}
}

/* Returns '\0' if that is no separator. */
static char
doctor_parse_separator(struct doctor *doctor, const char *what,
		       const char *value)
{
	if (*value == '\0') {
		doctor_fail(doctor, "%s: it is empty. An unquoted # begins a "
			    "comment: put the whole value in quotes", what);
	} else if (value[1] != '\0' ||
		   !pimap_device_separator_is_valid(value[0])) {
		doctor_fail(doctor, "%s: \"%s\" can't be the separator, which is "
			"one character that no name has", what, value);
	} else {
		return *value;
	}
	return '\0';
}

static void
doctor_check_args(struct doctor *doctor, const struct pimap_conf *db,
		  char *separator)
{
	const char *const *args =
		t_strsplit_spaces(pimap_conf_get(db, "args"), " ");
	const char *lines = db_get_lines(db);
	char c = PIMAP_DEFAULT_SEPARATOR;

	for (; *args != NULL; args++) {
		if (strncmp(*args, "services=", 9) == 0) {
			if (pimap_device_services_parse(doctor->pool,
							*args + 9) == NULL) {
				doctor_fail(doctor, "%s: %s is no list of "
					"services", lines, *args);
			}
			continue;
		}
		if (strncmp(*args, "separator=", 10) != 0) {
			doctor_fail(doctor, "%s: there is no argument %s. Take "
				    "it out", lines, *args);
			continue;
		}
		c = doctor_parse_separator(doctor, t_strconcat(lines,
				": args = separator=", NULL), *args + 10);
	}
	if (c == '\0')
		return;
	if (*separator != '\0' && *separator != c) {
		doctor_fail(doctor, "%s: the separator is %c, but %c in the "
			"blocks before. All of them need the same", lines, c,
			*separator);
	}
	*separator = c;
}

void doctor_check_separator(struct doctor *doctor)
{
	const struct pimap_conf *set =
		pimap_conf_find(doctor->conf, "pimap_separator");
	struct pimap_conf *db;
	char separator = '\0';

	doctor_check_comments(doctor);
	if (set != NULL && set->value != NULL)
		(void)doctor_parse_separator(doctor, set->key, set->value);
	array_foreach_elem(&doctor->conf->blocks, db) {
		if ((strcmp(db->key, "passdb") == 0 ||
		     strcmp(db->key, "userdb") == 0) && db_is_pimap(db))
			doctor_check_args(doctor, db, &separator);
	}
}

/* passdbs, userdbs */

/* Looks whether the first of the passdbs or userdbs is ours. Returns the number of
   all of them. */
static unsigned int
doctor_check_dbs(struct doctor *doctor, const char *key, bool master)
{
	const char *what = t_strconcat(master ? "master " : "", key, NULL);
	struct pimap_conf *db, *first = NULL;
	unsigned int ours = 0, others = 0;

	array_foreach_elem(&doctor->conf->blocks, db) {
		if (strcmp(db->key, key) != 0 || db_is_master(db) != master)
			continue;
		if (!db_is_pimap(db)) {
			if (others++ == 0)
				first = db;
			continue;
		}
		if (ours++ > 0) {
			doctor_fail(doctor, "%s pimap is there twice. Take out "
				    "the second one", what);
		} else if (others > 0) {
			doctor_fail(doctor, "%s pimap comes after %s %s. "
				"It must be the first: put 05-pimap.conf before "
				"the file which has that", what, what,
				pimap_conf_get(first, "driver")[0] != '\0' ?
				pimap_conf_get(first, "driver") : first->name);
		}
	}
	if (ours == 0 && (others > 0 || !master)) {
		doctor_fail(doctor, "%s pimap is missing. Add %s { driver = "
			"pimap%s } before all others (see 05-pimap.conf)", what,
			key, master ? " master = yes" : "");
	}
	return ours + others;
}

void doctor_check_passdbs(struct doctor *doctor)
{
	if (doctor_check_dbs(doctor, "passdb", FALSE) == 1) {
		doctor_fail(doctor, "There is no passdb after pimap's, which "
			    "verifies no password");
	}
}

void doctor_check_masters(struct doctor *doctor)
{
	(void)doctor_check_dbs(doctor, "passdb", TRUE);
}

void doctor_check_userdbs(struct doctor *doctor)
{
	if (doctor_check_dbs(doctor, "userdb", FALSE) == 1) {
		doctor_fail(doctor, "There is no userdb after pimap's, which "
			    "knows no user");
	}
}
