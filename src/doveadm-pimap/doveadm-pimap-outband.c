/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap outband: what the service pimap-outband has queued. They are no mail
   commands: nobody's mail is opened, and without -u and -A they are about the whole
   service, also about users who don't exist any more. */

#include "lib.h"
#include "array.h"
#include "hash.h"
#include "strescape.h"
#include "pimap-control.h"
#include "pimap-device.h"
#include "doveadm-print.h"
#include "doveadm-pimap.h"
#include "doveadm-pimap-outband.h"
#include "doveadm-pimap-users.h"

#include <time.h>
#include <unistd.h>

/* The service waits for its predecessor to end. */
#define OUTBAND_BUSY_SECS 10
#define OUTBAND_BUSY_RETRY_USECS (200*1000)

struct outband_cmd {
	struct doveadm_cmd_context *cctx;
	pool_t pool;
	struct outband_client *client;
	struct doveadm_pimap_users users;
	/* of list: NULL = all */
	HASH_TABLE(const char *, const char *) only;
};

/* Is called with each line but the last of an answer. */
typedef void
outband_cmd_line_t(struct outband_cmd *cmd, const char *const *fields);

static void outband_cmd_fail(int exit_code, const char *error)
{
	i_error("pimap: %s", error);
	doveadm_exit_code = exit_code;
}

static void outband_cmd_end(struct outband_cmd *cmd)
{
	if (cmd->client != NULL)
		outband_client_disconnect(&cmd->client);
	hash_table_destroy(&cmd->only);
	pool_unref(&cmd->pool);
}

/* Returns 0, or -1: then the error has been told. */
static int
outband_cmd_begin(struct outband_cmd *cmd, struct doveadm_cmd_context *cctx)
{
	const char *error;
	bool forbidden;

	i_zero(cmd);
	cmd->cctx = cctx;
	cmd->pool = pool_alloconly_create("outband command", 1024);
	if (outband_client_connect(doveadm_settings->base_dir, &cmd->client,
				   &error, &forbidden) < 0) {
		outband_cmd_fail(forbidden ? EX_NOPERM : EX_TEMPFAIL, error);
		outband_cmd_end(cmd);
		return -1;
	}
	if (doveadm_pimap_users_get(cctx, cmd->pool, &cmd->users) < 0) {
		outband_cmd_end(cmd);
		return -1;
	}
	return 0;
}

/* Returns 1 and what follows the last word (NULL: nothing), 0 if that word is BUSY,
   -1 if it failed: then the error has been told, but of NOTFOUND: that is -2. more_r is
   set if it is MORE. */
static int
outband_cmd_answer(struct outband_cmd *cmd, outband_cmd_line_t *line,
		   const char **value_r, bool *more_r, const char **error_r)
{
	const char *const *fields;

	for (;;) {
		if (outband_client_read(cmd->client, &fields, error_r) < 0) {
			outband_cmd_fail(EX_TEMPFAIL, *error_r);
			return -1;
		}
		*value_r = t_strdup(fields[0] == NULL ? NULL : fields[1]);
		*more_r = null_strcmp(fields[0], "MORE") == 0;
		if (*more_r || null_strcmp(fields[0], "OK") == 0)
			return 1;
		*error_r = *value_r != NULL ? *value_r :
			"The service gives no reason";
		if (null_strcmp(fields[0], "BUSY") == 0)
			return 0;
		if (null_strcmp(fields[0], "NOTFOUND") == 0)
			return -2;
		if (null_strcmp(fields[0], "FAIL") == 0) {
			outband_cmd_fail(EX_TEMPFAIL, *error_r);
			return -1;
		}
		if (line != NULL) T_BEGIN {
			line(cmd, fields);
		} T_END;
	}
}

/* Returns 1 and the number that follows OK, if there is one; 0 and error_r if there is
   nothing that it could be about; or -1: then the error has been told. */
static int
outband_cmd_try(struct outband_cmd *cmd, const char **fields,
		outband_cmd_line_t *line, const char **value_r,
		const char **error_r)
{
	time_t deadline = time(NULL) + OUTBAND_BUSY_SECS;
	bool more;
	int ret;

	do {
		if (outband_client_send(cmd->client, fields, error_r) < 0) {
			outband_cmd_fail(EX_TEMPFAIL, *error_r);
			return -1;
		}
		ret = outband_cmd_answer(cmd, line, value_r, &more, error_r);
		if (ret > 0 && more) {
			/* from there */
			fields[1] = *value_r;
			ret = 0;
		} else if (ret == 0) {
			if (time(NULL) >= deadline) {
				outband_cmd_fail(EX_TEMPFAIL, *error_r);
				return -1;
			}
			(void)usleep(OUTBAND_BUSY_RETRY_USECS);
		}
	} while (ret == 0);
	return ret == -2 ? 0 : ret;
}

/* Likewise, but it has been told, too, that there is nothing. Returns 0 or -1. */
static int
outband_cmd_request(struct outband_cmd *cmd, const char **fields,
		    outband_cmd_line_t *line, const char **value_r)
{
	const char *error;
	int ret = outband_cmd_try(cmd, fields, line, value_r, &error);

	if (ret == 0)
		outband_cmd_fail(DOVEADM_EX_NOTFOUND, error);
	return ret > 0 ? 0 : -1;
}

/* One for each user, whose name is the field at that place. Of several users some may
   have nothing that it could be about, but not all. Returns 0 and the sum of the
   numbers, or -1: then the error has been told. */
static int
outband_cmd_request_users(struct outband_cmd *cmd, const char **fields,
			  unsigned int user_pos, outband_cmd_line_t *line,
			  uint64_t *sum_r)
{
	const char *value, *error = "There is no such user";
	const char *begin = fields[1], *const *users;
	unsigned int i, count;
	bool found = FALSE;
	uint64_t number;
	int ret = 0;

	*sum_r = 0;
	users = array_get(&cmd->users.names, &count);
	for (i = 0; i < count && ret >= 0; i++) T_BEGIN {
		fields[1] = begin;
		fields[user_pos] = users[i];
		ret = outband_cmd_try(cmd, fields, line, &value, &error);
		if (ret > 0) {
			found = TRUE;
			if (value != NULL && str_to_uint64(value, &number) == 0)
				*sum_r += number;
		}
		error = ret == 0 ? p_strdup(cmd->pool, error) : "";
	} T_END;
	if (ret < 0)
		return -1;
	if (!found) {
		outband_cmd_fail(DOVEADM_EX_NOTFOUND, error);
		return -1;
	}
	return 0;
}

static void outband_cmd_usage(struct doveadm_cmd_context *cctx, const char *error)
{
	i_error("pimap: %s", error);
	i_error("Usage: doveadm %s %s", cctx->cmd->name, cctx->cmd->usage);
	doveadm_exit_code = EX_USAGE;
}

/* Times are local, as all of doveadm's; nothing in place of none. */
static void outband_print_time(const char *value)
{
	time_t when;

	doveadm_print(str_to_time(value, &when) < 0 || when == 0 ? "" :
		      unixdate2str(when));
}

static void outband_print_number(const char *value)
{
	doveadm_print(strcmp(value, "0") == 0 ? "" : value);
}

/* status */

static void
outband_status_line(struct outband_cmd *cmd ATTR_UNUSED, const char *const *fields)
{
	if (str_array_length(fields) < 3)
		return;
	doveadm_pimap_print_text(fields[1]);
	if (strcmp(fields[0], "TIME") == 0)
		outband_print_time(fields[2]);
	else
		doveadm_pimap_print_text(fields[2]);
}

static void cmd_outband_status(struct doveadm_cmd_context *cctx)
{
	const char *request[] = { "STATUS", NULL };
	struct outband_cmd cmd;
	const char *value;

	if (outband_cmd_begin(&cmd, cctx) < 0)
		return;
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	doveadm_print_header_simple("name");
	doveadm_print_header("value", "value", DOVEADM_PRINT_HEADER_FLAG_EXPAND);
	(void)outband_cmd_request(&cmd, request, outband_status_line, &value);
	outband_cmd_end(&cmd);
}

/* list */

static void
outband_list_line(struct outband_cmd *cmd, const char *const *fields)
{
	if (strcmp(fields[0], "ROW") != 0 || str_array_length(fields) < 14 ||
	    (hash_table_is_created(cmd->only) &&
	     hash_table_lookup(cmd->only, fields[2]) == NULL))
		return;
	doveadm_print(fields[1]);
	doveadm_pimap_print_text(fields[2]);
	doveadm_pimap_print_text(fields[3]);
	doveadm_pimap_print_text(fields[4]);
	doveadm_pimap_print_text(fields[5]);
	outband_print_number(fields[6]);
	outband_print_number(fields[7]);
	doveadm_print(fields[8]);
	outband_print_time(fields[11]);
	outband_print_time(fields[9]);
	doveadm_pimap_print_text(fields[12]);
	doveadm_pimap_print_text(fields[10]);
}

static void cmd_outband_list(struct doveadm_cmd_context *cctx)
{
	const char *mask = "", *device = "", *user, *value;
	struct outband_cmd cmd;

	if (outband_cmd_begin(&cmd, cctx) < 0)
		return;
	(void)doveadm_cmd_param_str(cctx, "device", &device);
	if (cmd.users.selected) {
		/* one question for all of them: each reads the whole queue */
		hash_table_create(&cmd.only, cmd.pool, 0, str_hash, strcmp);
		array_foreach_elem(&cmd.users.names, user)
			hash_table_update(cmd.only, user, user);
		if (!cmd.users.several)
			mask = array_idx_elem(&cmd.users.names, 0);
	}
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	doveadm_print_header("id", "id", DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
	doveadm_print_header_simple("user");
	doveadm_print_header_simple("device");
	doveadm_print_header_simple("event");
	doveadm_print_header_simple("folder");
	doveadm_print_header("uid", "uid", DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
	doveadm_print_header("number", "number",
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
	doveadm_print_header("tries", "tries",
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
	doveadm_print_header_simple("found");
	doveadm_print_header_simple("next try");
	doveadm_print_header_simple("channel");
	doveadm_print_header("last error", "last error",
			     DOVEADM_PRINT_HEADER_FLAG_EXPAND);

	const char *request[] = { "LIST", "0", mask, device, NULL };
	(void)outband_cmd_request(&cmd, request, outband_list_line, &value);
	outband_cmd_end(&cmd);
}

/* retry, drop */

/* Adds id and device of "-A | -u <user> [<device>] | <id>". Returns 0, or -1 if the usage
   is wrong. */
static int
outband_cmd_get_selection(struct doveadm_cmd_context *cctx, bool device_needed,
			  const char **request)
{
	const char *user = NULL, *which = NULL;
	bool all = FALSE;
	int64_t id;

	(void)doveadm_cmd_param_bool(cctx, "all-users", &all);
	(void)doveadm_cmd_param_str(cctx, "user", &user);
	(void)doveadm_cmd_param_str(cctx, "which", &which);
	request[0] = "0";
	request[1] = request[2] = "";
	if (!all && user == NULL) {
		if (which == NULL) {
			if (!device_needed)
				return 0;
			outband_cmd_usage(cctx, "An id or a device is missing");
			return -1;
		}
		if (str_to_int64(which, &id) < 0 || id <= 0) {
			outband_cmd_usage(cctx, "The id is a number as in the "
				"first column of list; a device needs its "
				"user (-u)");
			return -1;
		}
		request[0] = which;
		return 0;
	}
	if (!all && user[0] == '\0') {
		outband_cmd_usage(cctx, "The user's name is missing");
		return -1;
	}
	if (which == NULL ? device_needed : !pimap_device_id_is_valid(which)) {
		outband_cmd_usage(cctx, "A device is 1 to 64 letters, digits, "
				  "dots, - and _");
		return -1;
	}
	if (which != NULL)
		request[2] = which;
	return 0;
}

static void
outband_cmd_change(struct doveadm_cmd_context *cctx, const char *name,
		   bool device_needed)
{
	const char *request[] = { name, NULL, NULL, NULL, NULL };
	struct outband_cmd cmd;
	const char *value;
	uint64_t sum;
	int ret;

	if (outband_cmd_get_selection(cctx, device_needed, request + 1) < 0 ||
	    outband_cmd_begin(&cmd, cctx) < 0)
		return;
	doveadm_print_init(DOVEADM_PRINT_TYPE_FLOW);
	doveadm_print_header("notifications", "notifications", 0);
	if (cmd.users.selected) {
		ret = outband_cmd_request_users(&cmd, request, 2, NULL, &sum);
		value = t_strdup_printf("%"PRIu64, sum);
	} else {
		ret = outband_cmd_request(&cmd, request, NULL, &value);
	}
	if (ret == 0)
		doveadm_print(value == NULL ? "" : value);
	outband_cmd_end(&cmd);
}

static void cmd_outband_retry(struct doveadm_cmd_context *cctx)
{
	outband_cmd_change(cctx, "RETRY", FALSE);
}

static void cmd_outband_drop(struct doveadm_cmd_context *cctx)
{
	outband_cmd_change(cctx, "DROP", TRUE);
}

/* scan */

static void cmd_outband_scan(struct doveadm_cmd_context *cctx)
{
	const char *request[] = { "SCAN", "", NULL };
	struct outband_cmd cmd;
	const char *user, *value;
	uint64_t sum;

	if (doveadm_cmd_param_str(cctx, "user", &user) && user[0] == '\0') {
		outband_cmd_usage(cctx, "The user's name is missing");
		return;
	}
	if (outband_cmd_begin(&cmd, cctx) < 0)
		return;
	if (cmd.users.selected)
		(void)outband_cmd_request_users(&cmd, request, 1, NULL, &sum);
	else
		(void)outband_cmd_request(&cmd, request, NULL, &value);
	outband_cmd_end(&cmd);
}

/* pause, resume */

static void outband_cmd_pause(struct doveadm_cmd_context *cctx, const char *name)
{
	const char *request[] = { name, NULL, NULL };
	struct outband_cmd cmd;
	const char *value;

	if (outband_cmd_begin(&cmd, cctx) < 0)
		return;
	(void)doveadm_cmd_param_str(cctx, "channel", &request[1]);
	(void)outband_cmd_request(&cmd, request, NULL, &value);
	outband_cmd_end(&cmd);
}

static void cmd_outband_pause(struct doveadm_cmd_context *cctx)
{
	outband_cmd_pause(cctx, "PAUSE");
}

static void cmd_outband_resume(struct doveadm_cmd_context *cctx)
{
	outband_cmd_pause(cctx, "RESUME");
}

/* test */

static void
outband_test_line(struct outband_cmd *cmd ATTR_UNUSED, const char *const *fields)
{
	if (strcmp(fields[0], "QUEUED") == 0 && fields[1] != NULL)
		doveadm_print(fields[1]);
	if (strcmp(fields[0], "RESULT") != 0 || str_array_length(fields) < 4)
		return;
	outband_print_number(fields[2]);
	doveadm_pimap_print_text(fields[1]);
	doveadm_pimap_print_text(fields[3]);
	if (strcmp(fields[1], "sent") != 0)
		doveadm_exit_code = EX_TEMPFAIL;
}

static void cmd_outband_test(struct doveadm_cmd_context *cctx)
{
	const char *request[] = { "TEST", NULL, NULL, NULL };
	struct outband_cmd cmd;
	const char *value;

	if (!doveadm_cmd_param_str(cctx, "user", &request[1]) ||
	    strpbrk(request[1], "*?") != NULL ||
	    !doveadm_cmd_param_str(cctx, "device", &request[2])) {
		outband_cmd_usage(cctx, "One user (-u) and a device are needed");
		return;
	}
	if (outband_cmd_begin(&cmd, cctx) < 0)
		return;
	request[1] = array_idx_elem(&cmd.users.names, 0);
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	doveadm_print_header_simple("id");
	doveadm_print_header_simple("number");
	doveadm_print_header_simple("result");
	doveadm_print_header("error", "error", DOVEADM_PRINT_HEADER_FLAG_EXPAND);
	(void)outband_cmd_request(&cmd, request, outband_test_line, &value);
	outband_cmd_end(&cmd);
}

/* trace */

static void
outband_trace_line(struct outband_cmd *cmd ATTR_UNUSED, const char *const *fields)
{
	if (strcmp(fields[0], "STEP") != 0 || str_array_length(fields) < 8)
		return;
	doveadm_print(fields[1]);
	doveadm_pimap_print_text(fields[2]);
	doveadm_pimap_print_text(fields[3]);
	outband_print_number(fields[4]);
	outband_print_time(fields[5]);
	doveadm_pimap_print_text(fields[6]);
	doveadm_pimap_print_text(fields[7]);
}

static void cmd_outband_trace(struct doveadm_cmd_context *cctx)
{
	const char *request[] = {
		"TRACE", "0.0", NULL, NULL, NULL, "0", NULL
	};
	struct outband_cmd cmd;
	const char *value;
	int64_t number;
	uint64_t sum;

	if (outband_cmd_get_selection(cctx, TRUE, request + 2) < 0)
		return;
	if (doveadm_cmd_param_str(cctx, "number", &request[5]) &&
	    (request[4][0] == '\0' || str_to_int64(request[5], &number) < 0 ||
	     number <= 0)) {
		outband_cmd_usage(cctx, "The number is one of a device, as in "
				  "list");
		return;
	}
	if (outband_cmd_begin(&cmd, cctx) < 0)
		return;
	doveadm_print_init(DOVEADM_PRINT_TYPE_TABLE);
	doveadm_print_header("id", "id", DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
	doveadm_print_header_simple("user");
	doveadm_print_header_simple("device");
	doveadm_print_header("number", "number",
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
	doveadm_print_header_simple("time");
	doveadm_print_header_simple("step");
	doveadm_print_header("text", "text", DOVEADM_PRINT_HEADER_FLAG_EXPAND);
	if (cmd.users.selected) {
		(void)outband_cmd_request_users(&cmd, request, 3,
						outband_trace_line, &sum);
	} else {
		(void)outband_cmd_request(&cmd, request, outband_trace_line,
					  &value);
	}
	outband_cmd_end(&cmd);
}

/* The options' and arguments' definitions come last. */
#define OUTBAND_CMD(id, name_, usage_, ...) \
	struct doveadm_cmd_ver2 doveadm_pimap_cmd_##id = { \
		.name = "pimap "name_, \
		.usage = usage_, \
		.cmd = cmd_##id, \
		DOVEADM_CMD_PARAMS_START \
		__VA_ARGS__ \
		DOVEADM_CMD_PARAMS_END \
	}

OUTBAND_CMD(outband_status, "outband status", "");

OUTBAND_CMD(outband_list, "outband list", DOVEADM_PIMAP_USERS_USAGE" [<device>]",
	DOVEADM_PIMAP_USERS
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR));

OUTBAND_CMD(outband_retry, "outband retry",
	"[<id> | -A|-u <user> [<device>]]",
	DOVEADM_PIMAP_USERS
	DOVEADM_PIMAP_ARG("which", CMD_PARAM_STR));

OUTBAND_CMD(outband_drop, "outband drop", "<id> | -A|-u <user> <device>",
	DOVEADM_PIMAP_USERS
	DOVEADM_PIMAP_ARG("which", CMD_PARAM_STR));

OUTBAND_CMD(outband_scan, "outband scan", DOVEADM_PIMAP_USERS_USAGE,
	DOVEADM_PIMAP_USERS);

OUTBAND_CMD(outband_pause, "outband pause", "[<channel>]",
	DOVEADM_PIMAP_ARG("channel", CMD_PARAM_STR));

OUTBAND_CMD(outband_resume, "outband resume", "[<channel>]",
	DOVEADM_PIMAP_ARG("channel", CMD_PARAM_STR));

OUTBAND_CMD(outband_test, "outband test", "-u <user> <device>",
	DOVEADM_CMD_PARAM('u', "user", CMD_PARAM_STR, 0)
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR));

OUTBAND_CMD(outband_trace, "outband trace",
	"<id> | -A|-u <user> <device> [<number>]",
	DOVEADM_PIMAP_USERS
	DOVEADM_PIMAP_ARG("which", CMD_PARAM_STR)
	DOVEADM_PIMAP_ARG("number", CMD_PARAM_STR));
