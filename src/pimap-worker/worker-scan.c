/* SPDX-License-Identifier: LGPL-2.1-only */
/* What can be seen of a folder without opening it. A look says what it has seen
   before it has looked, and a scan compares that with what is there now:

     <what was seen> TAB <places>...

   A place is a letter and a path: f, a file; m, a Maildir, of which only new/ and cur/
   can change without Dovecot's index; n, the names of the directories in one; N, of
   those in them, too; T, with their times. Of users' folders that haven't been
   looked at for long this is all that is done, so it opens nothing and becomes no
   user. What can't be seen so is told as changed. */

#include "lib.h"
#include "array.h"
#include "byteorder.h"
#include "ioloop.h"
#include "sha1.h"
#include "str.h"
#include "strescape.h"
#include "mail-storage-private.h"
#include "pimap-worker.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/stat.h>

/* A folder's time doesn't tell changes apart that come so soon after one another
   (some file systems have seconds). */
#define SCAN_SETTLED_SECS 2
#define SCAN_SEEN_LEN 16
#define SCAN_MAX_DIRECTORIES 100000
#define SCAN_MAX_DEPTH 64
/* It equals nothing that is seen. */
#define SCAN_SEEN_UNKNOWN "0000000000000000"

struct scan {
	struct sha1_ctxt hash;
	/* of folders, in seconds */
	time_t newest;
};

static bool scan_add(struct scan *scan, const char *path, bool dir)
{
	struct stat st;
	uint64_t seen[5];

	i_zero(&seen);
	if (stat(path, &st) == 0) {
		seen[0] = st.st_ino;
		seen[1] = st.st_mtim.tv_sec;
		seen[2] = st.st_mtim.tv_nsec;
		/* a folder's size is its file system's own matter */
		seen[3] = dir ? 0 : st.st_size;
		seen[4] = 1;
		if (dir)
			scan->newest = I_MAX(scan->newest, st.st_mtim.tv_sec);
	} else if (errno != ENOENT && errno != ENOTDIR) {
		/* not even root may see it, say */
		return FALSE;
	}
	sha1_loop(&scan->hash, seen, sizeof(seen));
	return TRUE;
}

/* What is no folder, but in one */
static const char *const scan_no_folders[] = {
	".", "..", "cur", "new", "tmp", "dbox-Mails", NULL
};

struct scan_tree {
	struct scan *scan;
	char type;
	unsigned int directories;
	/* of all that is there: readdir() has no order */
	uint64_t sum;
};

static void
scan_tree_add(struct scan_tree *tree, const char *path, const void *data,
	      size_t size)
{
	unsigned char digest[SHA1_RESULTLEN];
	struct sha1_ctxt ctx;

	sha1_init(&ctx);
	sha1_loop(&ctx, path, strlen(path) + 1);
	sha1_loop(&ctx, data, size);
	sha1_result(&ctx, digest);
	tree->sum += be64_to_cpu_unaligned(digest);
}

/* path is relative. Takes over fd. */
static bool
scan_tree_read(struct scan_tree *tree, int fd, const char *path,
	       unsigned int depth)
{
	const uint64_t nothing = 0;
	struct dirent *d;
	struct stat st;
	bool ret = TRUE;
	DIR *dir;
	int sub;

	dir = fdopendir(fd);
	if (dir == NULL || fstat(fd, &st) < 0 ||
	    ++tree->directories > SCAN_MAX_DIRECTORIES ||
	    depth > SCAN_MAX_DEPTH) {
		if (dir != NULL)
			(void)closedir(dir);
		else
			i_close_fd(&fd);
		return FALSE;
	}
	if (tree->type == 'T') {
		const uint64_t times[] = {
			st.st_ino, st.st_mtim.tv_sec, st.st_mtim.tv_nsec
		};
		scan_tree_add(tree, path, times, sizeof(times));
		tree->scan->newest = I_MAX(tree->scan->newest,
					   st.st_mtim.tv_sec);
	}
	while (ret && (d = readdir(dir)) != NULL) T_BEGIN {
		const char *name = t_strconcat(path, "/", d->d_name, NULL);

		if ((d->d_type == DT_DIR || d->d_type == DT_LNK ||
		     d->d_type == DT_UNKNOWN) &&
		    !str_array_find(scan_no_folders, d->d_name)) {
			scan_tree_add(tree, name, &nothing, sizeof(nothing));
			sub = tree->type == 'n' || d->d_type == DT_LNK ? -1 :
				openat(fd, d->d_name, O_RDONLY | O_DIRECTORY |
				       O_NOFOLLOW);
			if (sub != -1)
				ret = scan_tree_read(tree, sub, name, depth + 1);
		}
	} T_END;
	(void)closedir(dir);
	return ret;
}

/* Returns FALSE if it can't be seen. */
static bool scan_add_tree(struct scan *scan, char type, const char *path)
{
	struct scan_tree tree = { .scan = scan, .type = type };
	int fd = open(path, O_RDONLY | O_DIRECTORY);

	if (fd == -1 ? errno != ENOENT && errno != ENOTDIR :
	    !scan_tree_read(&tree, fd, "", 0))
		return FALSE;
	sha1_loop(&scan->hash, &tree.sum, sizeof(tree.sum));
	return TRUE;
}

static bool scan_add_place(struct scan *scan, const char *place)
{
	switch (place[0]) {
	case 'f':
		return scan_add(scan, place + 1, FALSE);
	case 'n':
	case 'N':
	case 'T':
		return scan_add_tree(scan, place[0], place + 1);
	case 'm':
		return scan_add(scan, t_strconcat(place + 1, "/new", NULL),
				TRUE) &&
			scan_add(scan, t_strconcat(place + 1, "/cur", NULL),
				 TRUE);
	}
	return FALSE;
}

/* Returns what is to be seen there now. */
static const char *
scan_places(const char *const *places, bool settled)
{
	struct scan scan = { .newest = 0 };
	unsigned char digest[SHA1_RESULTLEN];
	uint64_t seen;

	sha1_init(&scan.hash);
	for (; *places != NULL; places++) {
		if (!scan_add_place(&scan, *places))
			return SCAN_SEEN_UNKNOWN;
	}
	if (settled && scan.newest + SCAN_SETTLED_SECS >= time(NULL))
		return SCAN_SEEN_UNKNOWN;
	sha1_result(&scan.hash, digest);
	seen = be64_to_cpu_unaligned(digest);
	return t_strdup_printf("%016"PRIx64, I_MAX(seen, 1));
}

static void
scan_answer(string_t *answer, const char *const *places)
{
	string_t *seen = t_str_new(256);

	if (*places != NULL)
		str_append(seen, scan_places(places, TRUE));
	for (; *places != NULL; places++) {
		str_append_c(seen, '\t');
		str_append(seen, *places);
	}
	worker_answer(answer, "SEEN", str_c(seen), NULL);
}

void worker_scan_add_folder(struct mailbox *box, string_t *answer)
{
	const char *places[3] = { NULL, NULL, NULL };
	const char *name = box->storage->name;

	/* nothing is seen of an index that isn't on the disk, nor of what other
	   formats keep besides the index: these are looked at instead */
	if (!mail_index_is_in_memory(box->index) &&
	    (strcmp(name, "maildir") == 0 || strcmp(name, "sdbox") == 0 ||
	     strcmp(name, "mdbox") == 0)) {
		places[0] = t_strdup_printf("f%s.log", box->index->filepath);
		if (strcmp(name, "maildir") == 0) {
			places[1] = t_strdup_printf("m%s",
						    mailbox_get_path(box));
		}
	}
	scan_answer(answer, places);
}

void worker_scan_add_profile(const char *path, const char *inbox, string_t *answer)
{
	const char *places[3] = { NULL, NULL, NULL };

	if (path != NULL)
		places[0] = t_strconcat("f", path, NULL);
	if (path != NULL && inbox != NULL)
		places[1] = t_strconcat("f", inbox, NULL);
	scan_answer(answer, places);
}

void worker_scan_add_places(const char *const *places, string_t *answer)
{
	scan_answer(answer, places);
}

static bool scan_has_changed(const char *text)
{
	const char *const *seen = t_strsplit(text, "\t");

	return *seen == NULL || seen[1] == NULL ||
		strcmp(*seen, SCAN_SEEN_UNKNOWN) == 0 ||
		strcmp(*seen, scan_places(seen + 1, FALSE)) != 0;
}

void worker_scan(const char *const *seen, string_t *answer)
{
	unsigned int i;

	for (i = 0; seen[i] != NULL; i++) T_BEGIN {
		if (scan_has_changed(seen[i]))
			worker_answer(answer, "CHANGED", dec2str(i), NULL);
	} T_END;
}
