/* SPDX-License-Identifier: LGPL-2.1-only */
/* The site's configuration as doveconf prints it.

   Why a program is run and its output read, where this process has settings of its
   own: doveadm was given those that doveadm needs, for the protocol doveadm. passdbs,
   userdbs, imap_capability and what an imap session has as mail_plugins aren't among
   them, and can't be asked for: in Dovecot 2.3 the struct of auth's settings isn't
   installed, in 2.4 a module may ask only for what it has declared itself. What
   doveconf prints has not changed between the versions, is in the order in which
   Dovecot reads it, and is there even when a value is refused: then doveconf says
   which one, and where. */

#define _GNU_SOURCE
#include "lib.h"
#include "array.h"
#include "env-util.h"
#include "str.h"
#include "write-full.h"
#include "doveadm-pimap-conf.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <sys/wait.h>

/* What Dovecot's processes tell each other in the environment (master-interface.h).
   In a doveadm server that is where its sockets and its configuration are: doveconf
   would take them for its own. */
static bool env_is_dovecots(const char *name)
{
	static const char *const names[] = {
		"CLIENT_LIMIT", "CONFIG_FILE", "CONFIG_FILE_SOCKET",
		"DOVECONF_ENV", "GENERATION", "IDLE_KILL", "IDLE_KILL_INTERVAL",
		"LOG_DEBUG", "LOG_SERVICE", "LOG_STDERR_TIMESTAMP",
		"PROCESS_LIMIT", "PROCESS_MIN_AVAIL", "SERVICE_COUNT",
		"SERVICE_NAME", "USE_SYSEXITS", "USER", "VERBOSE_PROCTITLE",
		NULL
	};

	return strncmp(name, "DOVECOT_", 8) == 0 ||
		strncmp(name, "SOCKET", 6) == 0 || str_array_find(names, name);
}

/* A doveadm has no more files open. */
#define CONF_MAX_FD 1024

/* doveconf is where doveadm is. */
static const char *conf_get_binary(void)
{
	char path[PATH_MAX];
	const char *binary;
	ssize_t ret;
	char *p;

	ret = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (ret > 0) {
		path[ret] = '\0';
		p = strrchr(path, '/');
		if (p != NULL) {
			binary = t_strconcat(t_strdup_until(path, p),
					     "/doveconf", NULL);
			if (access(binary, X_OK) == 0)
				return binary;
		}
	}
	return "doveconf";
}

static void ATTR_NORETURN
conf_exec(const char *const *argv, const int fds[2])
{
	const char *name;
	char **env;
	ARRAY_TYPE(const_string) drop;
	int fd, null_fd = open("/dev/null", O_RDONLY);

	t_array_init(&drop, 8);
	for (env = environ; *env != NULL; env++) {
		name = t_strcut(*env, '=');
		if (env_is_dovecots(name))
			array_push_back(&drop, &name);
	}
	array_foreach_elem(&drop, name)
		env_remove(name);
	if (null_fd != -1)
		(void)dup2(null_fd, STDIN_FILENO);
	if (dup2(fds[0], STDOUT_FILENO) >= 0 &&
	    dup2(fds[1], STDERR_FILENO) >= 0) {
		for (fd = STDERR_FILENO + 1; fd < CONF_MAX_FD; fd++)
			(void)close(fd);
		execvp(argv[0], (char *const *)argv);
	}
	name = t_strdup_printf("%s can't be run: %m\n", argv[0]);
	(void)write_full(STDERR_FILENO, name, strlen(name));
	_exit(127);
}

static void conf_read_pipes(const int fds[2], string_t *const output[2])
{
	struct pollfd pfds[2];
	char buf[4096];
	unsigned int i, open_count = 2;
	ssize_t ret;

	for (i = 0; i < 2; i++) {
		pfds[i].fd = fds[i];
		pfds[i].events = POLLIN;
	}
	while (open_count > 0) {
		if (poll(pfds, 2, -1) < 0) {
			if (errno != EINTR)
				break;
			continue;
		}
		for (i = 0; i < 2; i++) {
			if (pfds[i].fd < 0 || pfds[i].revents == 0)
				continue;
			ret = read(pfds[i].fd, buf, sizeof(buf));
			if (ret > 0)
				str_append_data(output[i], buf, ret);
			else if (ret == 0 || errno != EINTR) {
				pfds[i].fd = -1;
				open_count--;
			}
		}
	}
}

/* Returns the exit status, or -1. */
static int conf_run(const char *const *argv, string_t *const output[2])
{
	int out[2], err[2], fds[2], status;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		i_fatal("pipe() failed: %m");
	if (pipe2(err, O_CLOEXEC) < 0)
		i_fatal("pipe() failed: %m");
	pid = fork();
	if (pid < 0)
		i_fatal("fork() failed: %m");
	if (pid == 0) {
		fds[0] = out[1];
		fds[1] = err[1];
		conf_exec(argv, fds);
	}
	(void)close(out[1]);
	(void)close(err[1]);
	fds[0] = out[0];
	fds[1] = err[0];
	conf_read_pipes(fds, output);
	(void)close(out[0]);
	(void)close(err[0]);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static struct pimap_conf *
conf_add(pool_t pool, struct pimap_conf *parent, const char *key,
	 const char *name, const char *value)
{
	struct pimap_conf *conf = p_new(pool, struct pimap_conf, 1);

	conf->key = p_strdup(pool, key);
	conf->name = p_strdup(pool, name);
	conf->value = p_strdup(pool, value);
	p_array_init(&conf->blocks, pool, value != NULL ? 1 : 16);
	if (parent != NULL)
		array_push_back(&parent->blocks, &conf);
	return conf;
}

/* "a \"b\"" is a "b" */
static const char *conf_unquote(const char *value)
{
	size_t len = strlen(value);
	string_t *str;

	if (len < 2 || *value != '"' || value[len-1] != '"')
		return value;
	str = t_str_new(len);
	for (value++; value[1] != '\0'; value++) {
		if (*value == '\\' && value[2] != '\0')
			value++;
		str_append_c(str, *value);
	}
	return str_c(str);
}

static void conf_parse(pool_t pool, const char *text, struct pimap_conf *root)
{
	const char *const *lines = t_strsplit(text, "\n");
	struct pimap_conf *conf = root;
	ARRAY(struct pimap_conf *) outer;
	const char *line, *p;
	size_t len;

	t_array_init(&outer, 4);
	for (; *lines != NULL; lines++) {
		line = t_str_trim(*lines, " \t\r");
		len = strlen(line);
		if (*line == '\0' || *line == '#')
			continue;
		if (strcmp(line, "}") == 0) {
			if (array_count(&outer) > 0) {
				conf = *array_back(&outer);
				array_pop_back(&outer);
			}
		} else if (line[len-1] == '{' && strchr(line, '=') == NULL) {
			line = t_str_trim(t_strndup(line, len - 1), " ");
			p = strchr(line, ' ');
			array_push_back(&outer, &conf);
			conf = conf_add(pool, conf,
				p == NULL ? line : t_strdup_until(line, p),
				p == NULL ? "" : conf_unquote(p + 1), NULL);
		} else if ((p = strchr(line, '=')) != NULL) {
			(void)conf_add(pool, conf,
				t_str_trim(t_strdup_until(line, p), " "), "",
				conf_unquote(t_str_trim(p + 1, " ")));
		}
	}
}

int pimap_conf_read(pool_t pool, const char *path, const char *protocol,
		    const char *setting, struct pimap_conf **root_r,
		    const char **errors_r)
{
	ARRAY_TYPE(const_string) argv;
	string_t *output[2];
	const char *arg;
	int status;

#define CONF_ADD_ARG(value) \
	do { arg = value; array_push_back(&argv, &arg); } while (0)
	t_array_init(&argv, 8);
	CONF_ADD_ARG(conf_get_binary());
	/* not "# hidden" in place of pimap_webpush_key, say */
	CONF_ADD_ARG("-P");
	CONF_ADD_ARG("-c");
	CONF_ADD_ARG(path);
	if (protocol != NULL) {
		CONF_ADD_ARG("-f");
		CONF_ADD_ARG(t_strconcat("protocol=", protocol, NULL));
	}
	if (setting != NULL)
		CONF_ADD_ARG(setting);
	array_append_zero(&argv);

	output[0] = t_str_new(64*1024);
	output[1] = t_str_new(1024);
	status = conf_run(array_front(&argv), output);
	*errors_r = p_strdup(pool, str_c(output[1]));
	*root_r = conf_add(pool, NULL, "", "", NULL);
	conf_parse(pool, str_c(output[0]), *root_r);
	return status == 0 ? 0 : -1;
}

const struct pimap_conf *
pimap_conf_find(const struct pimap_conf *conf, const char *key)
{
	struct pimap_conf *block;

	array_foreach_elem(&conf->blocks, block) {
		if (strcmp(block->key, key) == 0)
			return block;
	}
	return NULL;
}

const char *pimap_conf_get(const struct pimap_conf *conf, const char *key)
{
	const struct pimap_conf *setting = pimap_conf_find(conf, key);

	return setting == NULL || setting->value == NULL ? "" : setting->value;
}

bool pimap_conf_list_has(const struct pimap_conf *conf, const char *key,
			 const char *word)
{
	const struct pimap_conf *list = pimap_conf_find(conf, key);

	if (list == NULL)
		return FALSE;
	if (list->value == NULL)
		return strcmp(pimap_conf_get(list, word), "yes") == 0;
	return str_array_find(t_strsplit_spaces(list->value, " ,+"), word);
}
