/* SPDX-License-Identifier: LGPL-2.1-only */
/* A report of smsd's names a message by the number that the SMSC has given it, one of
   256, and the receiver. Which message that is, smsd has written into its file when
   it moved it to the directory of those sent. So these are what is remembered.

   The directories are looked at now and then, if they have changed. Who may write there
   can have anything sent anyway. */

#include "lib.h"
#include "hash.h"
#include "ioloop.h"
#include "pimap-compat.h"
#include "outband-report.h"
#include "outband-report-parse.h"
#include "outband-smstools-report.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOOLS_POLL_MSECS 2000
/* of a directory in a round: the others are the next one's */
#define TOOLS_MAX_READ 100
/* more of a directory's files aren't seen */
#define TOOLS_MAX_FILES 20000
/* A message that nothing was said of for so long is forgotten, as its trace is. */
#define TOOLS_MAX_SECS (7*24*3600)
/* how often a file is looked at that isn't understood, or a report of no message which
   is known: smsd may be writing it, or moving the message */
#define TOOLS_MAX_TRIES 3

enum tools_dir_type {
	TOOLS_SENT,
	TOOLS_FAILED,
	TOOLS_REPORT,

	TOOLS_DIRS
};

static const char *const tools_dir_names[TOOLS_DIRS] = {
	"sent", "failed", "report"
};

struct tools_file {
	char *name;
	ino_t ino;
	/* it was there in this round */
	bool seen;
	/* it isn't ours, or is done with */
	bool ignored;
	/* the reports have it */
	bool added;
	unsigned int tries;

	/* of one that was sent */
	time_t time;
	char *token, *to, *modem;
	unsigned int ids_count;
	unsigned int ids[OUTBAND_REPORT_MAX_PARTS];
	/* those that were delivered, a bit each */
	unsigned int delivered;

	/* of a report that waits for those of the message's other parts: the
	   message */
	char *sent_name;
};

struct tools_dir {
	char *path;
	/* as it was when all of it had been read */
	struct timespec mtime;
	bool changed;
	HASH_TABLE(char *, struct tools_file *) files;
};

struct outband_smstools_reports {
	struct event *event;
	struct outband_reports *reports;
	struct tools_dir dirs[TOOLS_DIRS];
	struct timeout *to;
	/* something has failed: it was logged; it was in this round */
	bool error_logged, failed;
};

/* What the reports are asked with */
struct tools_added {
	struct outband_smstools_reports *tools;
	enum tools_dir_type type;
	char *name;
	/* the message, if nothing more is to come of it */
	char *sent_name;
};

int outband_smstools_reports_init(struct event *event_parent, const char *name,
				  const char *dir,
				  struct outband_reports *reports,
				  struct outband_smstools_reports **tools_r,
				  const char **error_r)
{
	struct outband_smstools_reports *tools;
	unsigned int i;

	if (dir[0] != '/') {
		*error_r = t_strdup_printf("%s: %s isn't an absolute path",
					   name, dir);
		return -1;
	}
	tools = i_new(struct outband_smstools_reports, 1);
	tools->event = event_create(event_parent);
	tools->reports = reports;
	for (i = 0; i < TOOLS_DIRS; i++) {
		tools->dirs[i].path = i_strconcat(dir, "/", tools_dir_names[i],
						  NULL);
		hash_table_create(&tools->dirs[i].files, default_pool, 0,
				  str_hash, strcmp);
	}
	*tools_r = tools;
	return 0;
}

static void tools_file_free(struct tools_file *file)
{
	i_free(file->name);
	i_free(file->token);
	i_free(file->to);
	i_free(file->modem);
	i_free(file->sent_name);
	i_free(file);
}

static void tools_file_forget(struct tools_dir *dir, struct tools_file *file)
{
	hash_table_remove(dir->files, file->name);
	tools_file_free(file);
}

void outband_smstools_reports_deinit(struct outband_smstools_reports **_tools)
{
	struct outband_smstools_reports *tools = *_tools;
	struct hash_iterate_context *iter;
	struct tools_file *file;
	unsigned int i;
	char *name;

	*_tools = NULL;
	timeout_remove(&tools->to);
	for (i = 0; i < TOOLS_DIRS; i++) {
		iter = hash_table_iterate_init(tools->dirs[i].files);
		while (hash_table_iterate(iter, tools->dirs[i].files, &name,
					  &file))
			tools_file_free(file);
		hash_table_iterate_deinit(&iter);
		hash_table_destroy(&tools->dirs[i].files);
		i_free(tools->dirs[i].path);
	}
	event_unref(&tools->event);
	i_free(tools);
}

/* One line until it works again */
static void
tools_failed(struct outband_smstools_reports *tools, const char *call,
	     const char *path)
{
	if (!tools->error_logged) {
		e_error(tools->event, "%s(%s) failed: %m (there are no delivery "
			"reports, it is tried again)", call, path);
	}
	tools->error_logged = tools->failed = TRUE;
}

/* Reads the beginning of a file. Returns FALSE if it can't be, or is none. */
static bool
tools_read(struct tools_dir *dir, const char *name, const char **text_r,
	   time_t *time_r)
{
	const char *path = t_strdup_printf("%s/%s", dir->path, name);
	char data[OUTBAND_REPORT_MAX_FILE];
	struct stat st;
	ssize_t ret = -1;
	int fd;

	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		return FALSE;
	if (fstat(fd, &st) == 0) {
		errno = EINVAL;
		if (S_ISREG(st.st_mode))
			ret = read(fd, data, sizeof(data));
	}
	i_close_fd(&fd);
	if (ret < 0)
		return FALSE;
	*text_r = t_strndup(data, ret);
	*time_r = st.st_mtime;
	return TRUE;
}

static void
tools_unlink(struct outband_smstools_reports *tools, enum tools_dir_type type,
	     const char *name)
{
	struct tools_dir *dir = &tools->dirs[type];
	const char *path = t_strdup_printf("%s/%s", dir->path, name);
	struct tools_file *file = hash_table_lookup(dir->files, name);

	if (unlink(path) < 0 && errno != ENOENT) {
		tools_failed(tools, "unlink", path);
		/* it is the same the next time */
		if (file != NULL)
			file->ignored = TRUE;
	} else if (file != NULL)
		tools_file_forget(dir, file);
}

/* A message, and the reports of its parts */
static void
tools_unlink_sent(struct outband_smstools_reports *tools, const char *sent_name)
{
	struct tools_dir *dir = &tools->dirs[TOOLS_REPORT];
	struct hash_iterate_context *iter;
	struct tools_file *file;
	char *name;

	iter = hash_table_iterate_init(dir->files);
	while (hash_table_iterate(iter, dir->files, &name, &file)) {
		if (file->sent_name != NULL &&
		    strcmp(file->sent_name, sent_name) == 0)
			tools_unlink(tools, TOOLS_REPORT, name);
	}
	hash_table_iterate_deinit(&iter);
	tools_unlink(tools, TOOLS_SENT, sent_name);
}

static void tools_added_answer(enum outband_report_result result, void *context)
{
	struct tools_added *added = context;
	struct outband_smstools_reports *tools = added->tools;
	struct tools_file *file;

	if (result == OUTBAND_REPORT_LATER) {
		file = hash_table_lookup(tools->dirs[added->type].files,
					 added->name);
		if (file != NULL)
			file->added = FALSE;
		file = added->sent_name == NULL ? NULL :
			hash_table_lookup(tools->dirs[TOOLS_SENT].files,
					  added->sent_name);
		if (file != NULL)
			file->added = FALSE;
		tools->dirs[added->type].changed = TRUE;
	} else {
		tools_unlink(tools, added->type, added->name);
		if (added->sent_name != NULL)
			tools_unlink_sent(tools, added->sent_name);
	}
	i_free(added->name);
	i_free(added->sent_name);
	i_free(added);
}

static void
tools_add(struct outband_smstools_reports *tools, enum tools_dir_type type,
	  struct tools_file *file, const char *sent_name, const char *token,
	  bool delivered, const char *text)
{
	struct tools_added *added = i_new(struct tools_added, 1);

	file->added = TRUE;
	added->tools = tools;
	added->type = type;
	added->name = i_strdup(file->name);
	added->sent_name = i_strdup(sent_name);
	outband_reports_add(tools->reports, token, delivered, text,
			    tools_added_answer, added);
}

/* Not yet, or never */
static void
tools_file_again(struct outband_smstools_reports *tools,
		 enum tools_dir_type type, struct tools_file *file)
{
	if (++file->tries == TOOLS_MAX_TRIES)
		file->ignored = TRUE;
	else
		tools->dirs[type].changed = TRUE;
}

/* Returns TRUE if it is a message of ours. */
static bool
tools_file_parse_sent(struct outband_smstools_reports *tools,
		      enum tools_dir_type type, struct tools_file *file,
		      const char *text, struct outband_report_sent *sent_r)
{
	if (!outband_report_sent_parse(text, sent_r)) {
		tools_file_again(tools, type, file);
		return FALSE;
	}
	/* those of another server may be here, too */
	if (!outband_reports_have_token(tools->reports, sent_r->token)) {
		file->ignored = TRUE;
		return FALSE;
	}
	return TRUE;
}

static void
tools_file_sent(struct outband_smstools_reports *tools, struct tools_file *file,
		const char *text, time_t mtime)
{
	struct outband_report_sent sent;

	if (!tools_file_parse_sent(tools, TOOLS_SENT, file, text, &sent))
		return;
	i_free(file->token);
	i_free(file->to);
	i_free(file->modem);
	file->time = mtime;
	file->token = i_strdup(sent.token);
	file->to = i_strdup(sent.to);
	file->modem = i_strdup(sent.modem);
	file->ids_count = sent.ids_count;
	memcpy(file->ids, sent.ids, sizeof(file->ids));
	if (file->ids_count == 0)
		tools_file_again(tools, TOOLS_SENT, file);
}

static void
tools_file_failed(struct outband_smstools_reports *tools,
		  struct tools_file *file, const char *text)
{
	struct outband_report_sent sent;

	if (!tools_file_parse_sent(tools, TOOLS_FAILED, file, text, &sent))
		return;
	tools_add(tools, TOOLS_FAILED, file, NULL, sent.token, FALSE,
		  sent.fail_reason[0] != '\0' ? sent.fail_reason :
		  "smsd couldn't send it");
}

/* The message of a report: numbers come again, it is the last one. */
static struct tools_file *
tools_find_sent(struct outband_smstools_reports *tools,
		const struct outband_report_file *report, unsigned int *part_r)
{
	struct tools_dir *dir = &tools->dirs[TOOLS_SENT];
	struct tools_file *file, *found = NULL;
	struct hash_iterate_context *iter;
	unsigned int i;
	char *name;

	iter = hash_table_iterate_init(dir->files);
	while (hash_table_iterate(iter, dir->files, &name, &file)) {
		if (file->ignored || file->ids_count == 0 ||
		    strcmp(file->to, report->from) != 0 ||
		    (file->modem[0] != '\0' && report->modem[0] != '\0' &&
		     strcmp(file->modem, report->modem) != 0) ||
		    (found != NULL && found->time >= file->time))
			continue;
		for (i = 0; i < file->ids_count; i++) {
			if (file->ids[i] != report->id)
				continue;
			found = file;
			*part_r = i;
		}
	}
	hash_table_iterate_deinit(&iter);
	return found;
}

static void
tools_file_report(struct outband_smstools_reports *tools,
		  struct tools_file *file, const char *text)
{
	struct outband_report_file report;
	struct tools_file *sent;
	unsigned int part;

	if (!outband_report_file_parse(text, &report)) {
		tools_file_again(tools, TOOLS_REPORT, file);
		return;
	}
	sent = tools_find_sent(tools, &report, &part);
	if (sent == NULL) {
		tools_file_again(tools, TOOLS_REPORT, file);
		return;
	}
	if (report.status == OUTBAND_REPORT_PENDING) {
		/* another one will come */
		tools_unlink(tools, TOOLS_REPORT, file->name);
		return;
	}
	if (report.status == OUTBAND_REPORT_DELIVERED) {
		sent->delivered |= 1U << part;
		if (sent->delivered != (1U << sent->ids_count) - 1) {
			file->sent_name = i_strdup(sent->name);
			return;
		}
	} else if (sent->added) {
		/* it is known of another part */
		file->sent_name = i_strdup(sent->name);
		return;
	}
	sent->added = TRUE;
	tools_add(tools, TOOLS_REPORT, file, sent->name, sent->token,
		  report.status == OUTBAND_REPORT_DELIVERED, report.text);
}

/* A file that wasn't read yet. Returns FALSE if it isn't there any more. */
static bool
tools_file_new(struct outband_smstools_reports *tools, enum tools_dir_type type,
	       struct tools_file *file)
{
	const char *text;
	time_t mtime;

	if (!tools_read(&tools->dirs[type], file->name, &text, &mtime)) {
		if (errno == ENOENT)
			return FALSE;
		if (errno == EACCES) {
			tools_failed(tools, "open", t_strdup_printf("%s/%s",
				tools->dirs[type].path, file->name));
		}
		file->ignored = TRUE;
		return TRUE;
	}
	switch (type) {
	case TOOLS_SENT:
		tools_file_sent(tools, file, text, mtime);
		break;
	case TOOLS_FAILED:
		tools_file_failed(tools, file, text);
		break;
	case TOOLS_REPORT:
		tools_file_report(tools, file, text);
		break;
	case TOOLS_DIRS:
		i_unreached();
	}
	return TRUE;
}

static bool
tools_dir_entry(struct outband_smstools_reports *tools, enum tools_dir_type type,
		const char *name, ino_t ino)
{
	struct tools_dir *dir = &tools->dirs[type];
	struct tools_file *file = hash_table_lookup(dir->files, name);

	if (file != NULL && file->ino != ino && !file->added) {
		/* another one of that name */
		tools_file_forget(dir, file);
		file = NULL;
	}
	if (file != NULL) {
		file->seen = TRUE;
		if (file->ignored || file->added || file->sent_name != NULL ||
		    file->ids_count > 0)
			return FALSE;
	} else {
		file = i_new(struct tools_file, 1);
		file->name = i_strdup(name);
		file->ino = ino;
		file->seen = TRUE;
		hash_table_insert(dir->files, file->name, file);
	}
	if (!tools_file_new(tools, type, file))
		tools_file_forget(dir, file);
	return TRUE;
}

/* Those that have gone, and those of which nothing will be said any more */
static void
tools_dir_sweep(struct outband_smstools_reports *tools, enum tools_dir_type type)
{
	struct tools_dir *dir = &tools->dirs[type];
	struct hash_iterate_context *iter;
	struct tools_file *file;
	char *name;

	iter = hash_table_iterate_init(dir->files);
	while (hash_table_iterate(iter, dir->files, &name, &file)) {
		if (file->added)
			continue;
		if (!file->seen)
			tools_file_forget(dir, file);
		else if (file->token != NULL &&
			 file->time < ioloop_time - TOOLS_MAX_SECS)
			tools_unlink_sent(tools, name);
	}
	hash_table_iterate_deinit(&iter);
}

/* smsd's, of a file that it moves */
static bool tools_name_is_lock(const char *name)
{
	const size_t len = strlen(name);

	return len >= 5 && strcmp(name + len - 5, ".LOCK") == 0;
}

static void
tools_dir_list(struct outband_smstools_reports *tools, enum tools_dir_type type,
	       DIR *dirp)
{
	struct tools_dir *dir = &tools->dirs[type];
	struct hash_iterate_context *iter;
	struct tools_file *file;
	struct dirent *d;
	unsigned int files = 0, count = 0;
	char *name;

	iter = hash_table_iterate_init(dir->files);
	while (hash_table_iterate(iter, dir->files, &name, &file))
		file->seen = FALSE;
	hash_table_iterate_deinit(&iter);
	while ((d = readdir(dirp)) != NULL && files++ < TOOLS_MAX_FILES) {
		if (d->d_name[0] == '.' || tools_name_is_lock(d->d_name) ||
		    (type != TOOLS_REPORT &&
		     !pimap_str_begins(d->d_name, OUTBAND_SMSTOOLS_PREFIX)))
			continue;
		if (count == TOOLS_MAX_READ) {
			/* what is left is the next round's */
			dir->changed = TRUE;
			return;
		}
		T_BEGIN {
			if (tools_dir_entry(tools, type, d->d_name, d->d_ino))
				count++;
		} T_END;
	}
	tools_dir_sweep(tools, type);
}

static void
tools_dir_look(struct outband_smstools_reports *tools, enum tools_dir_type type)
{
	struct tools_dir *dir = &tools->dirs[type];
	struct stat st;
	DIR *dirp;

	if (stat(dir->path, &st) < 0) {
		tools_failed(tools, "stat", dir->path);
		return;
	}
	if (!dir->changed && st.st_mtim.tv_sec == dir->mtime.tv_sec &&
	    st.st_mtim.tv_nsec == dir->mtime.tv_nsec)
		return;
	dirp = opendir(dir->path);
	if (dirp == NULL) {
		tools_failed(tools, "opendir", dir->path);
		return;
	}
	dir->mtime = st.st_mtim;
	/* a second change may have the same time */
	dir->changed = st.st_mtim.tv_sec + 1 >= ioloop_time;
	tools_dir_list(tools, type, dirp);
	(void)closedir(dirp);
}

static void tools_look(struct outband_smstools_reports *tools)
{
	unsigned int i;

	tools->failed = FALSE;
	for (i = 0; i < TOOLS_DIRS; i++) T_BEGIN {
		tools_dir_look(tools, i);
	} T_END;
	if (!tools->failed)
		tools->error_logged = FALSE;
}

void outband_smstools_reports_start(struct outband_smstools_reports *tools)
{
	if (tools->to == NULL) {
		tools->to = timeout_add(TOOLS_POLL_MSECS, tools_look, tools);
		tools_look(tools);
	}
}
