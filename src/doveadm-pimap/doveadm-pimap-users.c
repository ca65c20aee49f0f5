/* SPDX-License-Identifier: LGPL-2.1-only */
/* -u and -A of commands that open nobody's mail. */

#include "lib.h"
#include "array.h"
#include "auth-master.h"
#include "wildcard-match.h"
#include "pimap-compat.h"
#include "doveadm-pimap.h"
#include "doveadm-pimap-users.h"

#include <sysexits.h>

struct users_lookup {
	struct auth_master_connection *conn;
	struct auth_user_info info;
	struct doveadm_pimap_users *users;
	pool_t pool;
};

/* Returns 1 if there is such a user, 0 if not, -1 if that isn't known: then the error
   has been told. */
static int users_lookup(struct users_lookup *lookup, const char *name)
{
	const char *const *fields = NULL, *known = NULL;
	int ret;

	ret = auth_master_user_lookup(lookup->conn, name, &lookup->info,
				      lookup->pool, &known, &fields);
	if (ret < 0) {
		i_error("pimap: userdb lookup failed for %s%s%s", name,
			fields == NULL || fields[0] == NULL ? "" : ": ",
			fields == NULL || fields[0] == NULL ? "" : fields[0]);
		doveadm_exit_code = EX_TEMPFAIL;
		return -1;
	}
	if (ret > 0) {
		known = p_strdup(lookup->pool, known == NULL ? name : known);
		array_push_back(&lookup->users->names, &known);
	}
	return ret;
}

static int users_lookup_all(struct users_lookup *lookup, const char *mask)
{
	struct auth_master_user_list_ctx *list;
	ARRAY_TYPE(const_string) names;
	const char *name;
	int ret = 0;

	p_array_init(&names, lookup->pool, 64);
	list = auth_master_user_list_init(lookup->conn,
					  mask == NULL ? "*" : mask,
					  &lookup->info);
	while ((name = auth_master_user_list_next(list)) != NULL) {
		if (mask != NULL && !wildcard_match_icase(name, mask))
			continue;
		name = p_strdup(lookup->pool, name);
		array_push_back(&names, &name);
	}
	if (auth_master_user_list_deinit(&list) < 0) {
		i_error("pimap: Failed to iterate through some users");
		doveadm_exit_code = EX_TEMPFAIL;
		return -1;
	}
	/* nothing is done for some of them only */
	array_foreach_elem(&names, name) T_BEGIN {
		if (users_lookup(lookup, name) < 0)
			ret = -1;
	} T_END;
	return ret;
}

int doveadm_pimap_users_get(struct doveadm_cmd_context *cctx, pool_t pool,
			    struct doveadm_pimap_users *users_r)
{
	struct users_lookup lookup = {
		.info = { .PIMAP_AUTH_INFO_PROTOCOL = "doveadm" },
		.users = users_r,
		.pool = pool,
	};
	const char *name = NULL;
	bool all = FALSE;
	int ret;

	i_zero(users_r);
	p_array_init(&users_r->names, pool, 8);
	(void)doveadm_cmd_param_bool(cctx, "all-users", &all);
	(void)doveadm_cmd_param_str(cctx, "user", &name);
	if (!all && name == NULL)
		return 0;
	if (all)
		name = NULL;
	users_r->selected = TRUE;
	users_r->several = name == NULL || strchr(name, '*') != NULL ||
		strchr(name, '?') != NULL;
	lookup.info.debug = doveadm_debug;
	lookup.conn = auth_master_init(doveadm_settings->auth_socket_path,
				       doveadm_debug ?
				       AUTH_MASTER_FLAG_DEBUG : 0);
	if (users_r->several)
		ret = users_lookup_all(&lookup, name);
	else {
		ret = users_lookup(&lookup, name);
		if (ret == 0) {
			i_error("pimap: User doesn't exist: %s", name);
			doveadm_exit_code = EX_NOUSER;
		}
		ret = ret > 0 ? 0 : -1;
	}
	auth_master_deinit(&lookup.conn);
	return ret;
}
