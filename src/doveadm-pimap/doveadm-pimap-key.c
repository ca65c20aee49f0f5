/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap device key, rekey, lock and unlock: the service pimap-outband does it,
   for a user and a device that there are. */

#include "lib.h"
#include "pimap-compat.h"
#include "pimap-device.h"
#include "doveadm-print.h"
#include "doveadm-pimap.h"
#include "doveadm-pimap-outband.h"

#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* The service waits for its predecessor to end. */
#define KEY_BUSY_SECS 10
#define KEY_BUSY_RETRY_USECS (200*1000)

struct key_cmd {
	struct doveadm_pimap_cmd cmd;
	struct outband_client *client;
	/* why there is no client */
	const char *error;
	bool forbidden;

	void (*init)(PIMAP_DOVEADM_INIT_ARGS(ctx));
};

static void key_cmd_init(PIMAP_DOVEADM_INIT_ARGS(_ctx))
{
	struct key_cmd *kcmd = container_of(_ctx, struct key_cmd, cmd.ctx);
	const char *error;

#ifdef PIMAP_HAVE_DOVEADM_PARSE_ARG
	kcmd->init(_ctx, args);
#else
	kcmd->init(_ctx);
#endif
	/* not later: users' mail is opened with their privileges */
	if (outband_client_connect(doveadm_settings->base_dir, &kcmd->client,
				   &error, &kcmd->forbidden) < 0)
		kcmd->error = p_strdup(_ctx->pool, error);
}

static void key_cmd_deinit(struct doveadm_mail_cmd_context *_ctx)
{
	struct key_cmd *kcmd = container_of(_ctx, struct key_cmd, cmd.ctx);

	if (kcmd->client != NULL)
		outband_client_disconnect(&kcmd->client);
}

static int
key_cmd_fail(struct key_cmd *kcmd, int exit_code, const char *error)
{
	i_error("pimap: %s", error);
	doveadm_mail_failed_error(&kcmd->cmd.ctx, MAIL_ERROR_TEMP);
	kcmd->cmd.ctx.exit_code = exit_code;
	return -1;
}

/* Returns 1, or 0 if the service hasn't begun yet, or -1: then the error has been
   told. */
static int
key_cmd_try(struct key_cmd *kcmd, const char *const *request,
	    const char **error_r)
{
	const char *const *fields;

	if (outband_client_send(kcmd->client, request, error_r) < 0)
		return key_cmd_fail(kcmd, EX_TEMPFAIL, *error_r);
	for (;;) {
		if (outband_client_read(kcmd->client, &fields, error_r) < 0)
			return key_cmd_fail(kcmd, EX_TEMPFAIL, *error_r);
		if (null_strcmp(fields[0], "KEY") == 0 && fields[1] != NULL &&
		    fields[2] != NULL) {
			doveadm_print(kcmd->cmd.device);
			doveadm_print(fields[1]);
			doveadm_print(fields[2]);
			continue;
		}
		if (null_strcmp(fields[0], "OK") == 0) {
			/* it is there, but the device isn't told of it */
			if (null_strcmp(fields[1], "0") == 0 &&
			    strcmp(request[0], "UNLOCK") != 0) {
				i_info("pimap: The device isn't notified of "
				       "anything, and not of this");
			}
			return 1;
		}
		*error_r = t_strdup(fields[0] != NULL && fields[1] != NULL ?
			fields[1] : "The service gives no reason");
		if (null_strcmp(fields[0], "BUSY") == 0)
			return 0;
		return key_cmd_fail(kcmd,
			null_strcmp(fields[0], "NOTFOUND") == 0 ?
			DOVEADM_EX_NOTFOUND : EX_TEMPFAIL, *error_r);
	}
}

static int
key_cmd_request(struct doveadm_mail_cmd_context *ctx, struct mail_user *user,
		const char *name, bool known)
{
	struct key_cmd *kcmd = container_of(ctx, struct key_cmd, cmd.ctx);
	const time_t deadline = time(NULL) + KEY_BUSY_SECS;
	const struct pimap_device *device;
	const char *request[4], *error;
	int ret;

	if (known) {
		if (doveadm_pimap_get_device(&kcmd->cmd, user, &device) < 0)
			return -1;
	} else if (kcmd->cmd.device == NULL ||
		   !pimap_device_id_is_valid(kcmd->cmd.device)) {
		return doveadm_pimap_fail(&kcmd->cmd, MAIL_ERROR_PARAMS,
			"A device is 1 to 64 letters, digits, dots, - and _");
	}
	if (kcmd->client == NULL) {
		return key_cmd_fail(kcmd, kcmd->forbidden ? EX_NOPERM :
				    EX_TEMPFAIL, kcmd->error);
	}
	request[0] = name;
	request[1] = user->username;
	request[2] = kcmd->cmd.device;
	request[3] = NULL;
	while ((ret = key_cmd_try(kcmd, request, &error)) == 0) {
		if (time(NULL) >= deadline)
			return key_cmd_fail(kcmd, EX_TEMPFAIL, error);
		(void)usleep(KEY_BUSY_RETRY_USECS);
	}
	return ret < 0 ? -1 : 0;
}

static int
device_key_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	return key_cmd_request(ctx, user, "KEY", TRUE);
}

static int
device_rekey_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	return key_cmd_request(ctx, user, "REKEY", TRUE);
}

static int
device_lock_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	return key_cmd_request(ctx, user, "LOCK", TRUE);
}

/* Also one that was removed after it had been locked */
static int
device_unlock_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	return key_cmd_request(ctx, user, "UNLOCK", FALSE);
}

static void device_key_headers(void)
{
	doveadm_print_header_simple("device");
	doveadm_print_header_simple("number");
	doveadm_print_header("key", "key", DOVEADM_PRINT_HEADER_FLAG_EXPAND);
}

static struct doveadm_mail_cmd_context *
key_cmd_alloc(int (*run)(struct doveadm_mail_cmd_context *ctx,
			 struct mail_user *user),
	      void (*print_headers)(void), const char *print_type)
{
	struct doveadm_mail_cmd_context *ctx =
		doveadm_pimap_cmd_alloc_size(sizeof(struct key_cmd), run,
					     print_headers, print_type);
	struct key_cmd *kcmd = container_of(ctx, struct key_cmd, cmd.ctx);

	kcmd->init = ctx->v.init;
	ctx->v.init = key_cmd_init;
	ctx->v.deinit = key_cmd_deinit;
	return ctx;
}

static struct doveadm_mail_cmd_context *device_key_alloc(void)
{
	return key_cmd_alloc(device_key_run, device_key_headers,
			     DOVEADM_PRINT_TYPE_TABLE);
}

static struct doveadm_mail_cmd_context *device_rekey_alloc(void)
{
	return key_cmd_alloc(device_rekey_run, NULL, NULL);
}

static struct doveadm_mail_cmd_context *device_lock_alloc(void)
{
	return key_cmd_alloc(device_lock_run, NULL, NULL);
}

static struct doveadm_mail_cmd_context *device_unlock_alloc(void)
{
	return key_cmd_alloc(device_unlock_run, NULL, NULL);
}

DOVEADM_PIMAP_CMD(device_key, "device key", "<device>",
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR));

DOVEADM_PIMAP_CMD(device_rekey, "device rekey", "<device>",
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR));

DOVEADM_PIMAP_CMD(device_lock, "device lock", "<device>",
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR));

DOVEADM_PIMAP_CMD(device_unlock, "device unlock", "<device>",
	DOVEADM_PIMAP_ARG("device", CMD_PARAM_STR));
