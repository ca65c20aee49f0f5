/* SPDX-License-Identifier: LGPL-2.1-only */
/* The channel PROGRAM: a program of the administrator's gets each notification on
   its standard input, and what it is of in its environment. There is no shell, and
   nothing of the notification in its arguments. Its exit status decides; Dovecot's
   lib-program-client doesn't tell it, so it is run here.

   It is a process group of its own: when it takes too long, what it has started
   goes with it. */

#include "lib.h"
#include "child-wait.h"
#include "ioloop.h"
#include "llist.h"
#include "str.h"
#include "fd-util.h"
#include "pimap-settings.h"
#include "pimap-text.h"
#include "outband-channel.h"

#include <fcntl.h>
#include <signal.h>
#include <sysexits.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM_MAX_SENDS 10
/* of its output: more is read, but not kept */
#define PROGRAM_MAX_OUTPUT 1024

struct program_channel {
	struct outband_channel channel;
	struct event *event;
	const char *path;
	char *env_path;
	unsigned int timeout_msecs;
	struct program_send *sends;
};

struct program_send {
	struct program_send *prev, *next;
	struct program_channel *channel;
	pool_t pool;

	pid_t pid;
	struct child_wait *wait;
	struct timeout *to, *to_finish;

	/* its standard input, and what is left to write */
	int in_fd;
	struct io *io_in;
	const char *input;
	size_t input_left;
	/* its output and errors */
	int out_fd;
	struct io *io_out;
	string_t *output;

	bool timed_out;
	struct outband_channel_result result;
	outband_channel_callback_t *callback;
	void *context;
};

#define PROGRAM_CHANNEL(_channel) \
	container_of(_channel, struct program_channel, channel)

static int
program_channel_init(const struct outband_channel_env *env,
		     struct outband_channel **channel_r, const char **error_r)
{
	const struct pimap_settings *set = env->set;
	struct program_channel *channel;
	const char *env_path;

	if (set->pimap_program_path[0] == '\0')
		return 0;
	if (set->pimap_program_path[0] != '/') {
		*error_r = t_strdup_printf("pimap_program_path %s isn't an "
			"absolute path", set->pimap_program_path);
		return -1;
	}
	channel = i_new(struct program_channel, 1);
	channel->channel.v = &outband_channel_program;
	channel->event = event_create(env->event_parent);
	channel->path = set->pimap_program_path;
	channel->timeout_msecs = set->pimap_program_timeout * 1000;
	env_path = getenv("PATH");
	channel->env_path = i_strconcat("PATH=", env_path == NULL ?
		"/usr/local/bin:/usr/bin:/bin" : env_path, NULL);
	child_wait_init();
	*channel_r = &channel->channel;
	return 1;
}

static void program_send_close_input(struct program_send *send)
{
	io_remove(&send->io_in);
	i_close_fd(&send->in_fd);
}

static void program_send_close_output(struct program_send *send)
{
	io_remove(&send->io_out);
	i_close_fd(&send->out_fd);
}

static void program_send_kill(struct program_send *send)
{
	if (send->pid != -1 && kill(-send->pid, SIGKILL) < 0 &&
	    errno != ESRCH)
		e_error(send->channel->event, "kill(%ld) failed: %m",
			(long)send->pid);
}

static void program_send_free(struct program_send *send)
{
	DLLIST_REMOVE(&send->channel->sends, send);
	timeout_remove(&send->to);
	timeout_remove(&send->to_finish);
	program_send_close_input(send);
	program_send_close_output(send);
	program_send_kill(send);
	if (send->wait != NULL)
		child_wait_free(&send->wait);
	pool_unref(&send->pool);
}

static void program_channel_deinit(struct outband_channel *_channel)
{
	struct program_channel *channel = PROGRAM_CHANNEL(_channel);

	while (channel->sends != NULL)
		program_send_free(channel->sends);
	child_wait_deinit();
	event_unref(&channel->event);
	i_free(channel->env_path);
	i_free(channel);
}

static void program_send_finish(struct program_send *send)
{
	outband_channel_callback_t *callback = send->callback;
	void *context = send->context;
	struct outband_channel_result result = send->result;

	result.error = t_strdup(result.error);
	program_send_free(send);
	callback(&result, context);
}

static void program_send_output(struct program_send *send)
{
	char buf[1024];
	ssize_t ret;

	/* a bounded part at a time: others wait */
	ret = read(send->out_fd, buf, sizeof(buf));
	if (ret < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (ret <= 0) {
		program_send_close_output(send);
		return;
	}
	str_append_data(send->output, buf,
		I_MIN((size_t)ret, PROGRAM_MAX_OUTPUT - str_len(send->output)));
}

static void program_send_input(struct program_send *send)
{
	ssize_t ret;

	ret = write(send->in_fd, send->input, send->input_left);
	if (ret < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (ret >= 0) {
		send->input += ret;
		send->input_left -= ret;
		if (send->input_left > 0)
			return;
	}
	/* one that reads nothing may still succeed */
	program_send_close_input(send);
}

static void
program_send_exited(const struct child_wait_status *status,
		    struct program_send *send)
{
	struct outband_channel_result *result = &send->result;
	struct event_passthrough *e;

	/* reaped: the number may be another's from now on */
	send->pid = -1;
	if (send->out_fd != -1)
		program_send_output(send);
	e = event_create_passthrough(send->channel->event)->
		set_name("pimap_program_finished");
	e_debug(e->event(), "%s: %s", send->channel->path,
		pimap_text_get_reply(str_c(send->output), PROGRAM_MAX_OUTPUT));
	result->outcome = OUTBAND_CHANNEL_RETRY;
	result->fault = TRUE;
	if (send->timed_out) {
		result->error = p_strdup_printf(send->pool,
			"%s took longer than %u s", send->channel->path,
			send->channel->timeout_msecs / 1000);
	} else if (!WIFEXITED(status->status)) {
		result->error = p_strdup_printf(send->pool,
			"%s was ended by signal %d", send->channel->path,
			WTERMSIG(status->status));
	} else if (WEXITSTATUS(status->status) == 0) {
		result->outcome = OUTBAND_CHANNEL_SENT;
	} else {
		if (WEXITSTATUS(status->status) != EX_TEMPFAIL)
			result->outcome = OUTBAND_CHANNEL_GIVE_UP;
		result->error = p_strdup_printf(send->pool,
			"%s exited with status %d", send->channel->path,
			WEXITSTATUS(status->status));
	}
	program_send_finish(send);
}

static void program_send_timeout(struct program_send *send)
{
	/* it exits by that */
	timeout_remove(&send->to);
	send->timed_out = TRUE;
	program_send_kill(send);
}

/* In the child */
static void ATTR_NORETURN
program_exec(const char *path, char *const *env, int in_fd, int out_fd)
{
	char *const args[] = { (char *)path, NULL };
	static const char failed[] = "It can't be executed\n";
	sigset_t mask;
#ifndef PIMAP_HAVE_CLOSEFROM
	int fd;
#endif

	(void)setpgid(0, 0);
	/* neither may be in the place of the other: they are above 2 */
	if (dup2(in_fd, STDIN_FILENO) < 0 || dup2(out_fd, STDOUT_FILENO) < 0 ||
	    dup2(out_fd, STDERR_FILENO) < 0 || chdir("/") < 0)
		_exit(EX_TEMPFAIL);
	/* the queue, connections to the master and to others */
#ifdef PIMAP_HAVE_CLOSEFROM
	closefrom(STDERR_FILENO + 1);
#else
	for (fd = (int)sysconf(_SC_OPEN_MAX) - 1; fd > STDERR_FILENO; fd--)
		(void)close(fd);
#endif
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGCHLD, SIG_DFL);
	(void)sigemptyset(&mask);
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	(void)execve(path, args, env);
	(void)!write(STDERR_FILENO, failed, sizeof(failed) - 1);
	_exit(EX_TEMPFAIL);
}

static char *const *
program_get_env(struct program_channel *channel, const struct outband_row *row)
{
	const char **env = t_new(const char *, 7);

	env[0] = channel->env_path;
	env[1] = t_strconcat("PIMAP_USER=", row->user, NULL);
	env[2] = t_strconcat("PIMAP_DEVICE=", row->device, NULL);
	env[3] = t_strconcat("PIMAP_ADDRESS=", row->address, NULL);
	env[4] = t_strdup_printf("PIMAP_SEQ=%"PRId64, row->seq);
	env[5] = t_strconcat("PIMAP_EVENT=", row->event.name, NULL);
	return (char *const *)env;
}

/* Above 2, and closed in programs */
static int program_pipe(int fds[2], const char **error_r)
{
	if (pipe(fds) < 0) {
		*error_r = t_strdup_printf("pipe() failed: %m");
		return -1;
	}
	i_assert(fds[0] > STDERR_FILENO && fds[1] > STDERR_FILENO);
	fd_close_on_exec(fds[0], TRUE);
	fd_close_on_exec(fds[1], TRUE);
	return 0;
}

static int
program_send_start(struct program_send *send, const struct outband_row *row,
		   const char **error_r)
{
	struct program_channel *channel = send->channel;
	char *const *env;
	struct stat st;
	int in[2], out[2];

	if (stat(channel->path, &st) < 0 || access(channel->path, X_OK) < 0) {
		*error_r = t_strdup_printf("%s can't be executed: %m",
					   channel->path);
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		*error_r = t_strdup_printf("%s isn't a file", channel->path);
		return -1;
	}
	if (program_pipe(in, error_r) < 0)
		return -1;
	if (program_pipe(out, error_r) < 0) {
		i_close_fd(&in[0]);
		i_close_fd(&in[1]);
		return -1;
	}
	env = program_get_env(channel, row);
	send->pid = fork();
	if (send->pid == 0)
		program_exec(channel->path, env, in[0], out[1]);
	i_close_fd(&in[0]);
	i_close_fd(&out[1]);
	send->in_fd = in[1];
	send->out_fd = out[0];
	if (send->pid == -1) {
		*error_r = t_strdup_printf("fork() failed: %m");
		return -1;
	}
	/* whoever comes first, it is done before kill() */
	(void)setpgid(send->pid, send->pid);
	send->wait = child_wait_new_with_pid(send->pid, program_send_exited,
					     send);
	send->to = timeout_add(channel->timeout_msecs, program_send_timeout,
			       send);
	fd_set_nonblock(send->in_fd, TRUE);
	fd_set_nonblock(send->out_fd, TRUE);
	send->input = row->payload;
	send->input_left = strlen(row->payload);
	send->output = str_new(send->pool, 128);
	send->io_in = io_add(send->in_fd, IO_WRITE, program_send_input, send);
	send->io_out = io_add(send->out_fd, IO_READ, program_send_output, send);
	return 0;
}

static void
program_channel_send(struct outband_channel *_channel,
		     const struct outband_row *row,
		     outband_channel_callback_t *callback, void *context)
{
	struct program_channel *channel = PROGRAM_CHANNEL(_channel);
	struct program_send *send;
	const char *error;
	pool_t pool;

	pool = pool_alloconly_create("outband program", 1024);
	send = p_new(pool, struct program_send, 1);
	send->pool = pool;
	send->channel = channel;
	send->callback = callback;
	send->context = context;
	send->pid = -1;
	send->in_fd = send->out_fd = -1;
	DLLIST_PREPEND(&channel->sends, send);

	T_BEGIN {
		if (program_send_start(send, row, &error) < 0) {
			send->result.outcome = OUTBAND_CHANNEL_RETRY;
			send->result.fault = TRUE;
			send->result.error = p_strdup(pool, error);
			send->to_finish = timeout_add_short(0,
				program_send_finish, send);
		}
	} T_END;
}

const struct outband_channel_vfuncs outband_channel_program = {
	.name = "PROGRAM",
	.max_sends = PROGRAM_MAX_SENDS,
	.init = program_channel_init,
	.deinit = program_channel_deinit,
	.send = program_channel_send,
};
