/* SPDX-License-Identifier: LGPL-2.1-only */
/* Files for smsd: a header, an empty line and the text, in GSM 03.38's alphabet or, if it
   isn't all in that, in UTF-16. UTF-8 would be read by way of ISO 8859-15, which has no
   U+00A4 (it became a euro sign), and smsd (3.1.21) knows no characters of four octets. It
   looks at all files in the directory but for those whose name ends in
   .LOCK, so that is what a file is called until it is whole. */

#include "lib.h"
#include "fdatasync-path.h"
#include "hex-binary.h"
#include "ioloop.h"
#include "llist.h"
#include "sha1.h"
#include "str.h"
#include "unichar.h"
#include "write-full.h"
#include "outband-report-parse.h"
#include "outband-smstools.h"
#include "outband-smstools-report.h"
#include "sms-text.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* the directory has smsd's group */
#define SMSTOOLS_MODE 0660

struct outband_smstools {
	char *dir;
	unsigned int parts;
	struct smstools_send *sends;
};

struct smstools_send {
	struct smstools_send *prev, *next;
	struct outband_smstools *tools;

	struct timeout *to;
	/* NULL: it is there */
	char *error;
	/* it isn't to be */
	bool refused;

	outband_channel_callback_t *callback;
	void *context;
};

int outband_smstools_init(const char *name, const char *dir, unsigned int parts,
			  struct outband_smstools **tools_r,
			  const char **error_r)
{
	struct outband_smstools *tools;

	if (dir[0] != '/') {
		*error_r = t_strdup_printf("%s: %s isn't an absolute path",
					   name, dir);
		return -1;
	}
	tools = i_new(struct outband_smstools, 1);
	tools->dir = i_strdup(dir);
	tools->parts = parts;
	*tools_r = tools;
	return 0;
}

static void smstools_send_free(struct smstools_send *send)
{
	DLLIST_REMOVE(&send->tools->sends, send);
	timeout_remove(&send->to);
	i_free(send->error);
	i_free(send);
}

void outband_smstools_deinit(struct outband_smstools **_tools)
{
	struct outband_smstools *tools = *_tools;

	*_tools = NULL;
	while (tools->sends != NULL)
		smstools_send_free(tools->sends);
	i_free(tools->dir);
	i_free(tools);
}

static int
smstools_write_fd(int fd, const char *path, const string_t *file,
		  const char **error_r)
{
	if (write_full(fd, str_data(file), str_len(file)) < 0)
		*error_r = t_strdup_printf("write(%s) failed: %m", path);
	else if (fchmod(fd, SMSTOOLS_MODE) < 0)
		*error_r = t_strdup_printf("fchmod(%s) failed: %m", path);
	else if (fdatasync(fd) < 0)
		*error_r = t_strdup_printf("fdatasync(%s) failed: %m", path);
	else
		return 0;
	return -1;
}

static int
smstools_write(const char *dir, const char *name, const string_t *file,
	       const char **error_r)
{
	const char *path = t_strdup_printf("%s/%s", dir, name);
	const char *new_path = t_strconcat(path, ".LOCK", NULL);
	int fd, ret;

	/* one that somebody was killed with may be there */
	if (unlink(new_path) < 0 && errno != ENOENT) {
		*error_r = t_strdup_printf("unlink(%s) failed: %m", new_path);
		return -1;
	}
	fd = open(new_path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", new_path);
		return -1;
	}
	ret = smstools_write_fd(fd, new_path, file, error_r);
	i_close_fd(&fd);
	if (ret == 0 && rename(new_path, path) < 0) {
		*error_r = t_strdup_printf("rename(%s, %s) failed: %m",
					   new_path, path);
		ret = -1;
	}
	if (ret < 0) {
		/* if it can't be now, it is before the next try */
		(void)unlink(new_path);
		return -1;
	}
	if (fdatasync_path(dir) < 0) {
		*error_r = t_strdup_printf("fdatasync(%s) failed: %m", dir);
		return -1;
	}
	return 0;
}

static void smstools_append_utf16(string_t *dest, const char *text)
{
	unichar_t chr;
	int ret;

	for (; *text != '\0'; text += ret) {
		ret = uni_utf8_get_char(text, &chr);
		if (ret <= 0) {
			chr = UNICODE_REPLACEMENT_CHAR;
			ret = 1;
		}
		if (chr >= 0x10000) {
			chr -= 0x10000;
			str_append_c(dest, 0xd8 | chr >> 18);
			str_append_c(dest, chr >> 10 & 0xff);
			chr = 0xdc00 | (chr & 0x3ff);
		}
		str_append_c(dest, chr >> 8);
		str_append_c(dest, chr & 0xff);
	}
}

static void
smstools_append_file(string_t *dest, const char *to, const char *text,
		     unsigned int parts, const char *token)
{
	bool gsm = sms_text_is_gsm(text);

	/* without the +; a short one has an s */
	str_printfa(dest, "To: %s%s\nAlphabet: %s\nAutosplit: %d\n",
		    to[0] == '+' ? "" : "s", to[0] == '+' ? to + 1 : to,
		    gsm ? "GSM" : "UCS", parts > 1 ? 3 : 0);
	if (token != NULL) {
		str_printfa(dest, "Report: yes\n"
			    OUTBAND_REPORT_SMSD_HEADER": %s\n", token);
	}
	str_append_c(dest, '\n');
	if (gsm)
		sms_text_append_gsm(dest, text);
	else
		smstools_append_utf16(dest, text);
}

static void smstools_send_finish(struct smstools_send *send)
{
	outband_channel_callback_t *callback = send->callback;
	void *context = send->context;
	struct outband_channel_result result;

	i_zero(&result);
	result.outcome = OUTBAND_CHANNEL_SENT;
	if (send->refused)
		result.outcome = OUTBAND_CHANNEL_GIVE_UP;
	else if (send->error != NULL) {
		/* all of that can be mended */
		result.outcome = OUTBAND_CHANNEL_RETRY;
		result.fault = TRUE;
	}
	result.error = t_strdup(send->error);
	smstools_send_free(send);
	callback(&result, context);
}

static struct smstools_send *
smstools_send_create(struct outband_smstools *tools,
		     outband_channel_callback_t *callback, void *context)
{
	struct smstools_send *send = i_new(struct smstools_send, 1);

	send->tools = tools;
	send->callback = callback;
	send->context = context;
	send->to = timeout_add_short(0, smstools_send_finish, send);
	DLLIST_PREPEND(&tools->sends, send);
	return send;
}

void outband_smstools_refuse(struct outband_smstools *tools, const char *error,
			     outband_channel_callback_t *callback, void *context)
{
	struct smstools_send *send =
		smstools_send_create(tools, callback, context);

	send->refused = TRUE;
	send->error = i_strdup(error);
}

void outband_smstools_send(struct outband_smstools *tools, const char *to,
			   const char *text, const char *id, const char *token,
			   outband_channel_callback_t *callback, void *context)
{
	struct smstools_send *send =
		smstools_send_create(tools, callback, context);
	unsigned char digest[SHA1_RESULTLEN];
	const char *error;

	sha1_get_digest(id, strlen(id), digest);
	T_BEGIN {
		string_t *file = t_str_new(512);

		smstools_append_file(file, to, text, tools->parts, token);
		if (smstools_write(tools->dir, t_strconcat(
				OUTBAND_SMSTOOLS_PREFIX, binary_to_hex(digest, sizeof(digest)), NULL),
				file, &error) < 0)
			send->error = i_strdup(error);
	} T_END;
}
