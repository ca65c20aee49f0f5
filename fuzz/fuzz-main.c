/* SPDX-License-Identifier: LGPL-2.1-only */
/* Runs a fuzzer's corpus once, without libFuzzer: that of its own name, below
   $srcdir/corpus, or the files that it is given. */

#include "lib.h"
#include "istream.h"
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/stat.h>

static unsigned int run_file(const char *path)
{
	unsigned char *data;
	struct stat st;
	FILE *file;
	size_t size;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	file = fopen(path, "r");
	/* no octet more than there are, so that valgrind sees who reads on */
	data = file == NULL ? NULL : malloc(st.st_size + (st.st_size == 0));
	if (data == NULL) {
		fprintf(stderr, "can't read %s\n", path);
		exit(1);
	}
	size = fread(data, 1, st.st_size, file);
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 1;
}

static unsigned int run_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned int count = 0;
	char name[4096];

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		count += run_file(name);
	}
	if (dir != NULL)
		closedir(dir);
	return count;
}

int main(int argc, char *argv[])
{
	const char *name = strrchr(argv[0], '/'), *srcdir = getenv("srcdir");
	unsigned int count = 0;
	char path[4096];
	int i;

	name = name == NULL ? argv[0] : name + 1;
	/* libtool's */
	if (strncmp(name, "lt-", 3) == 0)
		name += 3;
	name += strncmp(name, "test-fuzz-", 10) == 0 ? 10 : 0;
	for (i = 1; i < argc; i++)
		count += run_file(argv[i]);
	if (argc == 1) {
		snprintf(path, sizeof(path), "%s/corpus/%s",
			 srcdir == NULL ? "." : srcdir, name);
		count = run_dir(path);
	}
	printf("%s: %u inputs\n", name, count);
	return count == 0 ? 1 : 0;
}
