/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef DOVEADM_PIMAP_H
#define DOVEADM_PIMAP_H

#include "doveadm-mail.h"
#include "pimap-user.h"

struct module;

/* What every command is given */
struct doveadm_pimap_cmd {
	struct doveadm_mail_cmd_context ctx;

	/* NULL: not given */
	const char *device, *filter, *folder, *pref, *desc, *mode;
	/* the rest of the arguments, or NULL */
	const char *const *words;

	void (*print_headers)(void);
};

/* Returns the command, with init() and its options set. print_headers and
   print_type are NULL if it prints nothing. */
struct doveadm_mail_cmd_context *
doveadm_pimap_cmd_alloc(int (*run)(struct doveadm_mail_cmd_context *ctx,
				   struct mail_user *user),
			void (*print_headers)(void), const char *print_type);

/* Likewise, for a command whose struct begins with that one */
struct doveadm_mail_cmd_context *
doveadm_pimap_cmd_alloc_size(size_t size,
			     int (*run)(struct doveadm_mail_cmd_context *ctx,
					struct mail_user *user),
			     void (*print_headers)(void), const char *print_type);

/* A positional argument, of those that struct doveadm_pimap_cmd has */
#define DOVEADM_PIMAP_ARG(name, type) \
	DOVEADM_CMD_PARAM('\0', name, type, CMD_PARAM_FLAG_POSITIONAL)
/* Defines doveadm_pimap_cmd_<id>, whose mail_cmd is <id>_alloc(), and whose
   parameters follow. */
#define DOVEADM_PIMAP_CMD(id, name_, usage_, ...) \
	struct doveadm_cmd_ver2 doveadm_pimap_cmd_##id = { \
		.name = "pimap "name_, \
		.usage = DOVEADM_CMD_MAIL_USAGE_PREFIX usage_, \
		.mail_cmd = id##_alloc, \
		DOVEADM_CMD_PARAMS_START \
		DOVEADM_CMD_MAIL_COMMON \
		__VA_ARGS__ \
		DOVEADM_CMD_PARAMS_END \
	}

/* Prints what a user has written (NULL: nothing), for a terminal: control
   characters are replaced. */
void doveadm_pimap_print_text(const char *text);

/* Prints name and value of the device's preferences (NULL: of all). */
void doveadm_pimap_print_prefs(struct mail_user *user,
			       const struct pimap_device *device,
			       const char *name);

/* Each of these returns 0, or logs what is wrong, sets doveadm's exit status
   and returns -1. */
int doveadm_pimap_get_profile(struct doveadm_pimap_cmd *cmd,
			      struct mail_user *user,
			      const struct pimap_profile **profile_r);
/* cmd->device, which must be in the profile */
int doveadm_pimap_get_device(struct doveadm_pimap_cmd *cmd,
			     struct mail_user *user,
			     const struct pimap_device **device_r);
int doveadm_pimap_change_begin(struct doveadm_pimap_cmd *cmd,
			       struct mail_user *user,
			       struct pimap_user_change *change_r);
int doveadm_pimap_change_commit(struct doveadm_pimap_cmd *cmd,
				struct pimap_user_change *change);
/* Adds the device, in mode view, if it isn't there yet. On failure the
   change has ended, too. */
int doveadm_pimap_change_get_device(struct doveadm_pimap_cmd *cmd,
				    struct pimap_user_change *change,
				    struct pimap_device **device_r);
/* Ends the change without having changed anything. Returns -1. */
int doveadm_pimap_change_fail(struct doveadm_pimap_cmd *cmd,
			      struct pimap_user_change *change,
			      enum mail_error error, const char *reason);
/* Returns -1. */
int doveadm_pimap_fail(struct doveadm_pimap_cmd *cmd, enum mail_error error,
		       const char *reason);

extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_device_add;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_device_key;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_device_list;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_device_lock;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_device_mode;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_device_rekey;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_device_remove;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_device_show;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_device_unlock;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_doctor;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_filter_list;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_filter_show;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_filter_set;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_filter_delete;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_outband_drop;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_outband_list;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_outband_pause;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_outband_resume;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_outband_retry;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_outband_scan;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_outband_status;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_outband_test;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_outband_trace;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_pref_get;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_pref_set;
extern struct doveadm_cmd_ver2 doveadm_pimap_cmd_view_show;

/* This one */
extern struct module *doveadm_pimap_module;

void doveadm_pimap_plugin_init(struct module *module);
void doveadm_pimap_plugin_deinit(void);

#endif
