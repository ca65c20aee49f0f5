/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef DOVEADM_PIMAP_CONF_H
#define DOVEADM_PIMAP_CONF_H

/* A setting, or a block of them, as doveconf prints it */
struct pimap_conf {
	const char *key;
	/* of a block: what stands between its key and its brace, or "" */
	const char *name;
	/* of a setting, without its quotes; NULL: a block */
	const char *value;
	ARRAY(struct pimap_conf *) blocks;
};

/* Runs doveconf on the file, for sessions of a protocol (NULL: of none). Returns 0
   and the root of all settings (setting = NULL) or the one that is named, or -1 if
   Dovecot doesn't take the configuration. errors_r is what doveconf says of it, in
   lines; "" is nothing. All is allocated from the pool. */
int pimap_conf_read(pool_t pool, const char *path, const char *protocol,
		    const char *setting, struct pimap_conf **root_r,
		    const char **errors_r);

/* Returns NULL if there is none. */
const struct pimap_conf *
pimap_conf_find(const struct pimap_conf *conf, const char *key);
/* Its value, "" if there is none */
const char *pimap_conf_get(const struct pimap_conf *conf, const char *key);
/* Is the word in a list? That is words in a value, or, since Dovecot 2.4, a block of
   words that are set to yes. */
bool pimap_conf_list_has(const struct pimap_conf *conf, const char *key,
			 const char *word);

#endif
