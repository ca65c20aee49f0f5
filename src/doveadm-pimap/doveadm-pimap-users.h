/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef DOVEADM_PIMAP_USERS_H
#define DOVEADM_PIMAP_USERS_H

struct doveadm_cmd_context;

/* Whom -u and -A mean, as in doveadm's mail commands */
struct doveadm_pimap_users {
	/* neither -u nor -A was given: nobody in particular */
	bool selected;
	/* -A, or a mask with * and ?: there may be none */
	bool several;
	/* as the userdb has them */
	ARRAY_TYPE(const_string) names;
};

#define DOVEADM_PIMAP_USERS \
	DOVEADM_CMD_PARAM('A', "all-users", CMD_PARAM_BOOL, 0) \
	DOVEADM_CMD_PARAM('u', "user", CMD_PARAM_STR, 0)
#define DOVEADM_PIMAP_USERS_USAGE "[-A|-u <user>]"

/* Returns 0, or -1: one of them doesn't exist, or that couldn't be known. Then the error
   has been told, and doveadm's exit status is set. */
int doveadm_pimap_users_get(struct doveadm_cmd_context *cctx, pool_t pool,
			    struct doveadm_pimap_users *users_r);

#endif
