/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_COMPAT_H
#define PIMAP_COMPAT_H

/* The one place, beside pimap-settings.c and authdb-pimap-compat.h, for what
   differs between the versions of Dovecot. configure probes for features, not
   for versions. Only macros: it is for every part, whatever it includes. */

#ifdef PIMAP_HAVE_STR_BEGINS_WITH
#  define pimap_str_begins(haystack, needle) str_begins_with(haystack, needle)
#else
#  define pimap_str_begins(haystack, needle) str_begins(haystack, needle)
#endif

#ifdef PIMAP_HAVE_IMAP_PARSER_PARAMS
#  define pimap_imap_parser_create(input, max_line_size) \
	imap_parser_create(input, NULL, max_line_size, NULL)
#else
#  define pimap_imap_parser_create(input, max_line_size) \
	imap_parser_create(input, NULL, max_line_size)
#endif

#ifdef PIMAP_HAVE_IMAP_QUOTE_FLAGS
#  define pimap_imap_append_string(dest, src) imap_append_string(dest, src, 0)
#  define pimap_imap_append_astring(dest, src) imap_append_astring(dest, src, 0)
#  define pimap_imap_append_nstring(dest, src) imap_append_nstring(dest, src, 0)
#else
#  define pimap_imap_append_string(dest, src) imap_append_string(dest, src)
#  define pimap_imap_append_astring(dest, src) imap_append_astring(dest, src)
#  define pimap_imap_append_nstring(dest, src) imap_append_nstring(dest, src)
#endif

#ifdef PIMAP_HAVE_SEARCH_REGISTER_IMAP4REV1
#  define pimap_search_register_get_imap() \
	mail_search_register_get_imap4rev1()
#else
#  define pimap_search_register_get_imap() mail_search_register_get_imap()
#endif

#ifdef PIMAP_HAVE_STATUS_LAST_CACHED_SEQ
#  define PIMAP_STATUS_LAST_CACHED_SEQ STATUS_LAST_CACHED_SEQ
#else
#  define PIMAP_STATUS_LAST_CACHED_SEQ 0
#endif

/* Long searches tell the client how many messages they have to look at. */
#ifdef PIMAP_HAVE_SEARCH_PROGRESS_HIDDEN
#  define pimap_mailbox_search_hide_progress(ctx) \
	mailbox_search_set_progress_hidden(ctx, TRUE)
#else
#  define pimap_mailbox_search_hide_progress(ctx) (void)(ctx)
#endif

/* One module, by its name */
#ifdef PIMAP_HAVE_MODULE_NAMES_ARRAY
#  define pimap_module_dir_try_load_missing(modules, dir, name, set, error_r) \
	module_dir_try_load_missing(modules, dir, \
		(const char *const []) { name, NULL }, set, error_r)
#else
#  define pimap_module_dir_try_load_missing(modules, dir, name, set, error_r) \
	module_dir_try_load_missing(modules, dir, name, set, error_r)
#endif

/* Processes that open users' mail. They only look: a list that they make doesn't remove empty
   directories, be it that of a folder which is being created. */
#ifdef PIMAP_HAVE_STORAGE_SERVICE_SET_ROOTS
#  define pimap_storage_service_init(service, flags) \
	mail_storage_service_init(service, NULL, flags)
#  define pimap_storage_service_input_init(input) ((input)->module = "mail")
#  define pimap_storage_service_user_init(user) STMT_START { \
	struct mail_namespace *_ns; \
	for (_ns = (user)->namespaces; _ns != NULL; _ns = _ns->next) \
		_ns->list->set.no_noselect = FALSE; \
	} STMT_END
/* the mail user has a reference of his own */
#  define pimap_storage_service_lookup_next(ctx, input, user_r, error_r) ({ \
	struct mail_storage_service_user *_service_user; \
	int _ret = mail_storage_service_lookup_next(ctx, input, \
				&_service_user, user_r, error_r); \
	if (_ret > 0) \
		mail_storage_service_user_unref(&_service_user); \
	_ret; })
#  define pimap_master_service_settings_read(service, error_r) \
	master_service_settings_read_simple(service, NULL, error_r)
#  define pimap_master_service_get_settings(service) \
	master_service_settings_get(service)
#  define PIMAP_MASTER_SERVICE_FLAG_KEEP_CONFIG_OPEN \
	MASTER_SERVICE_FLAG_KEEP_CONFIG_OPEN
#else
#  define pimap_storage_service_init(service, flags) \
	mail_storage_service_init(service, flags)
#  define pimap_storage_service_input_init(input) \
	((input)->code_override_fields = (const char *const []) { \
		"mailbox_list_drop_noselect=no", NULL })
#  define pimap_storage_service_user_init(user) (void)(user)
#  define pimap_storage_service_lookup_next(ctx, input, user_r, error_r) \
	mail_storage_service_lookup_next(ctx, input, user_r, error_r)
#  define pimap_master_service_settings_read(service, error_r) \
	master_service_settings_read_simple(service, error_r)
#  define pimap_master_service_get_settings(service) \
	master_service_get_service_settings(service)
#  define PIMAP_MASTER_SERVICE_FLAG_KEEP_CONFIG_OPEN 0
#endif

/* Is the user's connection encrypted, or one that Dovecot takes for safe all the same:
   from this host, say? */
#ifdef PIMAP_HAVE_CONN_SECURED
#  define pimap_mail_user_is_tls(user) ((user)->conn.ssl_secured)
#  define pimap_mail_user_is_secured(user) ((user)->conn.secured)
#else
#  define pimap_mail_user_is_tls(user) ((user)->conn.end_client_tls_secured)
#  define pimap_mail_user_is_secured(user) \
	((user)->conn.end_client_tls_secured || \
	 ((user)->conn.local_ip != NULL && (user)->conn.remote_ip != NULL && \
	  net_ip_compare((user)->conn.local_ip, (user)->conn.remote_ip)))
#endif

/* In struct auth_user_info */
#ifdef PIMAP_HAVE_AUTH_INFO_PROTOCOL
#  define PIMAP_AUTH_INFO_PROTOCOL protocol
#else
#  define PIMAP_AUTH_INFO_PROTOCOL service
#endif

/* doveadm's mail commands. Where it parses options itself, it insists on a
   function for those that have a letter; the values are read by
   doveadm_cmd_param_*() in init() all the same. */
#ifdef PIMAP_HAVE_DOVEADM_PARSE_ARG
#  define PIMAP_DOVEADM_INIT_ARGS(ctx) \
	struct doveadm_mail_cmd_context *ctx, \
	const char *const args[] ATTR_UNUSED
#  define pimap_doveadm_set_options(ctx, letters, func) STMT_START { \
	(ctx)->getopt_args = letters; \
	(ctx)->v.parse_arg = func; \
	} STMT_END
#else
#  define PIMAP_DOVEADM_INIT_ARGS(ctx) struct doveadm_mail_cmd_context *ctx
#  define pimap_doveadm_set_options(ctx, letters, func) STMT_START { \
	(void)(ctx); (void)(letters); (void)(func); \
	} STMT_END
#endif

#endif
