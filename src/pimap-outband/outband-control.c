/* SPDX-License-Identifier: LGPL-2.1-only */
/* The administrator's requests: their lines, and what is done. */

#include "lib.h"
#include "array.h"
#include "base64.h"
#include "connection.h"
#include "ioloop.h"
#include "ostream.h"
#include "str.h"
#include "strescape.h"
#include "wildcard-match.h"
#include "master-service.h"
#include "pimap-control.h"
#include "outband-channel.h"
#include "outband-idle.h"
#include "outband-keys.h"
#include "outband-looks.h"
#include "outband-sender.h"
#include "outband-control.h"

#define OUTBAND_CONTROL_IDLE_SECS (5*60)
/* LIST reads no more of them at once: what is sent doesn't wait for it. */
#define OUTBAND_CONTROL_LIST_ROWS 500
/* ... and answers no more. A row is shorter than what is left. */
#define OUTBAND_CONTROL_LIST_SIZE (PIMAP_CONTROL_MAX_ANSWER / 2)

struct outband_controls {
	struct event *event;
	struct connection_list *list;
	struct outband_looks *looks;
	struct outband_sender *sender;
	struct outband_keys *keys;
	struct outband_idles *idles;
	/* NULL: not yet */
	struct outband_store *store;
};

struct outband_control {
	struct connection conn;
	struct outband_controls *controls;

	/* TEST */
	struct outband_sender_watch *watch;
	struct timeout *to_watch;
	/* what it is of, and for how many seconds it has been watched */
	char *test_user, *test_device;
	int64_t test_id;
	unsigned int test_secs;
};

struct outband_request {
	const char *name;
	/* how many fields follow it, at least and at most */
	unsigned int min_args, max_args;
	/* Appends the answer. */
	void (*run)(struct outband_control *control, const char *const *args,
		    string_t *answer);
};

static void answer_line(string_t *answer, const char *const *fields)
{
	const char *const *field;

	for (field = fields; *field != NULL; field++) {
		if (field != fields)
			str_append_c(answer, '\t');
		str_append_tabescaped(answer, *field);
	}
	str_append_c(answer, '\n');
}

#define ANSWER(answer, ...) \
	answer_line(answer, (const char *const []) { __VA_ARGS__, NULL })
#define ANSWER_NUMBER(answer, word, name, number) \
	ANSWER(answer, word, name, \
	       t_strdup_printf("%"PRId64, (int64_t)(number)))

/* STATUS */

struct control_count {
	const char *channel;
	string_t *answer;
};

static void control_status_count(const char *name, uint64_t number, void *context)
{
	struct control_count *count = context;

	ANSWER_NUMBER(count->answer, "STATUS",
		      t_strconcat(count->channel, " ", name, NULL), number);
}

static void
control_status_channel(struct outband_control *control, const char *name,
		       string_t *answer)
{
	const struct outband_sender_status *status =
		outband_sender_get_status(control->controls->sender, name);
	struct control_count count = { .channel = name, .answer = answer };
#define ANSWER_CHANNEL(what, number) \
	ANSWER_NUMBER(answer, "STATUS", t_strconcat(name, " ", what, NULL), \
		      number)

	ANSWER(answer, "STATUS", name, status == NULL ? "not configured" :
	       status->paused ? "paused" : status->failing ? "failing" :
	       "working");
	if (status == NULL)
		return;
	ANSWER_CHANNEL("being sent", status->sending);
	ANSWER_CHANNEL("sent", status->sent);
	ANSWER_CHANNEL("failed tries", status->retries);
	ANSWER_CHANNEL("given up", status->given_up);
	outband_sender_get_counts(control->controls->sender, name,
				  control_status_count, &count);
}

static void
control_status(struct outband_control *control,
	       const char *const *args ATTR_UNUSED, string_t *answer)
{
	struct outband_controls *controls = control->controls;
	struct outband_store *store = controls->store;
	struct outband_store_status status;
	struct outband_looks_status looks;
	struct outband_idles_status idles;
	const char *error;
	unsigned int i;

	i_zero(&status);
	if (outband_store_status(store, &status, &error) < 0) {
		ANSWER(answer, "FAIL", error);
		return;
	}
	outband_looks_get_status(controls->looks, &looks);
	outband_idles_get_status(controls->idles, &idles);
	ANSWER_NUMBER(answer, "STATUS", "queued", status.queued);
	ANSWER_NUMBER(answer, "STATUS", "queued with a number",
		      status.numbered);
	ANSWER_NUMBER(answer, "STATUS", "held for a session", status.held);
	ANSWER_NUMBER(answer, "TIME", "oldest", status.oldest);
	ANSWER_NUMBER(answer, "STATUS", "devices with queued",
		      status.devices);
	ANSWER_NUMBER(answer, "STATUS", "devices", status.accounted_devices);
	ANSWER_NUMBER(answer, "STATUS", "devices unregistered",
		      status.ended_devices);
	ANSWER_NUMBER(answer, "STATUS", "looks waiting", looks.waiting);
	ANSWER_NUMBER(answer, "STATUS", "looks running", looks.running);
	ANSWER_NUMBER(answer, "STATUS", "looks done", looks.done);
	ANSWER_NUMBER(answer, "STATUS", "failed looks", looks.failed);
	ANSWER_NUMBER(answer, "STATUS", "scanned", looks.scanned);
	ANSWER_NUMBER(answer, "STATUS", "scanned and changed",
		      looks.scan_changed);
	ANSWER_NUMBER(answer, "STATUS", "sessions in IDLE", idles.sessions);
	ANSWER_NUMBER(answer, "STATUS", "read inband", idles.read);
	ANSWER_NUMBER(answer, "STATUS", "held and not read", idles.unread);
	ANSWER_NUMBER(answer, "STATUS", "expired",
		      outband_sender_get_expired(controls->sender));
	for (i = 0; outband_channels[i] != NULL; i++)
		control_status_channel(control, outband_channels[i]->name,
				       answer);
	ANSWER(answer, "OK");
}

/* LIST */

static void control_list_row(string_t *answer, const struct outband_row *row)
{
	ANSWER(answer, "ROW", t_strdup_printf("%"PRId64, row->id), row->user,
	       row->device, row->event.name, row->folder,
	       t_strdup_printf("%u", row->event.uid),
	       t_strdup_printf("%"PRId64, row->seq),
	       t_strdup_printf("%u", row->tries),
	       t_strdup_printf("%"PRIdTIME_T, row->held_until == 0 ?
			       row->next_try : row->held_until),
	       row->held_until == 0 ? row->last_error :
	       "held, as the device is in IDLE there",
	       t_strdup_printf("%"PRIdTIME_T, row->created), row->channel,
	       row->address);
}

static void
control_list(struct outband_control *control, const char *const *args,
	     string_t *answer)
{
	struct outband_store *store = control->controls->store;
	ARRAY_TYPE(outband_row) rows;
	const struct outband_row *row;
	const char *error;
	int64_t id;
	int ret;

	if (str_to_int64(args[0], &id) < 0) {
		ANSWER(answer, "FAIL", "Invalid id");
		return;
	}
	ret = outband_store_list(store, id, OUTBAND_CONTROL_LIST_ROWS,
				 pool_datastack_create(), &rows, &error);
	if (ret < 0) {
		ANSWER(answer, "FAIL", error);
		return;
	}
	array_foreach(&rows, row) {
		if (str_len(answer) >= OUTBAND_CONTROL_LIST_SIZE)
			break;
		id = row->id;
		if ((args[1][0] == '\0' ||
		     wildcard_match_icase(row->user, args[1])) &&
		    (args[2][0] == '\0' || strcmp(row->device, args[2]) == 0))
			control_list_row(answer, row);
	}
	if (ret == 0)
		ANSWER(answer, "OK");
	else
		ANSWER(answer, "MORE", t_strdup_printf("%"PRId64, id));
}

/* RETRY, DROP */

static bool
control_select(const char *const *args, struct outband_selection *selection_r,
	       string_t *answer)
{
	i_zero(selection_r);
	if (str_to_int64(args[0], &selection_r->id) < 0 ||
	    selection_r->id < 0) {
		ANSWER(answer, "FAIL", "Invalid id");
		return FALSE;
	}
	selection_r->user = args[1];
	selection_r->device = args[2];
	return TRUE;
}

static void
control_change(struct outband_control *control,
	       const struct outband_selection *selection, bool drop,
	       string_t *answer)
{
	struct outband_controls *controls = control->controls;
	struct outband_store *store = controls->store;
	ARRAY_TYPE(outband_device) devices;
	const struct outband_device *device;
	const char *error;
	unsigned int count;
	pool_t pool;
	int ret;

	pool = pool_alloconly_create("outband control", 1024);
	ret = (drop ? outband_store_drop : outband_store_retry_now)(
		store, selection, pool, &devices, &count, &error);
	if (ret < 0)
		ANSWER(answer, "FAIL", error);
	else if (ret == 0)
		ANSWER(answer, "NOTFOUND", "No such notification is queued");
	else {
		array_foreach(&devices, device) {
			outband_sender_retry(controls->sender, device->user,
					     device->device);
		}
		ANSWER(answer, "OK", t_strdup_printf("%u", count));
	}
	pool_unref(&pool);
}

static void
control_retry(struct outband_control *control, const char *const *args,
	      string_t *answer)
{
	struct outband_selection selection;

	if (control_select(args, &selection, answer))
		control_change(control, &selection, FALSE, answer);
}

static void
control_drop(struct outband_control *control, const char *const *args,
	     string_t *answer)
{
	struct outband_selection selection;

	if (!control_select(args, &selection, answer))
		return;
	if (selection.id == 0 &&
	    (selection.user[0] == '\0' || selection.device[0] == '\0')) {
		ANSWER(answer, "FAIL", "Neither an id nor a device");
		return;
	}
	e_info(control->controls->event, "Dropped by the administrator: %s",
	       selection.id != 0 ? t_strconcat("notification ", args[0], NULL) :
	       t_strconcat("all of ", selection.user, "#", selection.device,
			   NULL));
	control_change(control, &selection, TRUE, answer);
}

/* SCAN */

static void
control_scan(struct outband_control *control, const char *const *args,
	     string_t *answer)
{
	if (args[0][0] == '\0')
		outband_looks_mark_all(control->controls->looks);
	else
		outband_looks_mark(control->controls->looks, args[0], "",
				   "scan");
	ANSWER(answer, "OK");
}

/* PAUSE, RESUME */

static void
control_pause_set(struct outband_control *control, const char *name, bool paused,
		  string_t *answer)
{
	struct outband_sender *sender = control->controls->sender;
	const char *channel, *error;
	unsigned int i;
	bool found = FALSE;

	for (i = 0; outband_channels[i] != NULL; i++) {
		channel = outband_channels[i]->name;
		if ((name != NULL && strcasecmp(name, channel) != 0) ||
		    outband_sender_get_status(sender, channel) == NULL)
			continue;
		found = TRUE;
		if (outband_sender_pause(sender, channel, paused, &error) < 0) {
			ANSWER(answer, "FAIL", error);
			return;
		}
		e_info(control->controls->event, "Channel %s is %s by the "
		       "administrator", channel, paused ? "paused" : "resumed");
	}
	if (found)
		ANSWER(answer, "OK");
	else
		ANSWER(answer, "NOTFOUND", "No such channel is configured");
}

static void
control_pause(struct outband_control *control, const char *const *args,
	      string_t *answer)
{
	control_pause_set(control, args[0], TRUE, answer);
}

static void
control_resume(struct outband_control *control, const char *const *args,
	       string_t *answer)
{
	control_pause_set(control, args[0], FALSE, answer);
}

/* TRACE */

static void
control_trace(struct outband_control *control, const char *const *args,
	      string_t *answer)
{
	struct outband_store *store = control->controls->store;
	const char *const *position = t_strsplit(args[0], ".");
	struct outband_selection selection;
	ARRAY_TYPE(outband_step) steps;
	const struct outband_step *step;
	const char *error;
	int64_t id, n, seq;
	int ret;

	if (!control_select(args + 1, &selection, answer))
		return;
	if (str_array_length(position) != 2 ||
	    str_to_int64(position[0], &id) < 0 ||
	    str_to_int64(position[1], &n) < 0 ||
	    str_to_int64(args[4], &seq) < 0) {
		ANSWER(answer, "FAIL", "Invalid number");
		return;
	}
	ret = outband_store_trace(store, &selection, seq, id, n,
				  OUTBAND_CONTROL_LIST_ROWS,
				  pool_datastack_create(), &steps, &error);
	if (ret < 0) {
		ANSWER(answer, "FAIL", error);
		return;
	}
	if (ret == 0) {
		if (id == 0)
			ANSWER(answer, "NOTFOUND", "Nothing is known of it");
		else
			ANSWER(answer, "OK");
		return;
	}
	array_foreach(&steps, step) {
		if (str_len(answer) >= OUTBAND_CONTROL_LIST_SIZE)
			break;
		id = step->id;
		n = step->n;
		ANSWER(answer, "STEP", t_strdup_printf("%"PRId64, id),
		       step->user, step->device,
		       t_strdup_printf("%"PRId64, step->seq),
		       t_strdup_printf("%"PRIdTIME_T, step->time), step->step,
		       step->text);
	}
	ANSWER(answer, "MORE", t_strdup_printf("%"PRId64".%"PRId64, id, n));
}

/* TEST */

static void
control_test_result(struct outband_control *control, const char *result,
		    int64_t seq, const char *error)
{
	string_t *answer = t_str_new(256);

	ANSWER(answer, "RESULT", result, t_strdup_printf("%"PRId64, seq),
	       error == NULL ? "" : error);
	ANSWER(answer, "OK");
	o_stream_nsend(control->conn.output, str_data(answer), str_len(answer));
}

static void
control_test_done(const char *result, const char *error, int64_t seq,
		  void *context)
{
	struct outband_control *control = context;

	control->watch = NULL;
	timeout_remove(&control->to_watch);
	control_test_result(control, result, seq, error);
}

/* Each second, as long as there is no result */
static void control_test_wait(struct outband_control *control)
{
	const char *obstacle;

	obstacle = outband_sender_get_obstacle(control->controls->sender,
		control->test_user, control->test_device, control->test_id);
	if (obstacle == NULL && control->test_secs++ < PIMAP_CONTROL_TEST_SECS)
		return;
	outband_sender_unwatch(&control->watch);
	timeout_remove(&control->to_watch);
	control_test_result(control, "waiting", 0, obstacle);
}

static void
control_test(struct outband_control *control, const char *const *args,
	     string_t *answer)
{
	struct outband_controls *controls = control->controls;
	struct outband_store *store = controls->store;
	const char *error;
	int64_t id;
	int ret;

	ret = outband_store_add_test(store, args[0], args[1], &id, &error);
	if (ret < 0) {
		ANSWER(answer, "FAIL", error);
		return;
	}
	if (ret == 0) {
		ANSWER(answer, "NOTFOUND", "No such device is notified");
		return;
	}
	ANSWER(answer, "QUEUED", t_strdup_printf("%"PRId64, id));
	o_stream_nsend(control->conn.output, str_data(answer), str_len(answer));
	str_truncate(answer, 0);
	i_free(control->test_user);
	i_free(control->test_device);
	control->test_user = i_strdup(args[0]);
	control->test_device = i_strdup(args[1]);
	control->test_id = id;
	control->test_secs = 0;
	control->to_watch = timeout_add(1000, control_test_wait, control);
	control->watch = outband_sender_watch(controls->sender, id,
					      control_test_done, control);
	outband_sender_wake(controls->sender, args[0], args[1]);
	if (control->watch != NULL)
		control_test_wait(control);
}

/* KEY, REKEY, LOCK, UNLOCK */

/* R-13.7: the device itself is told, too, if it is notified of anything */
static void
control_tell_device(struct outband_controls *controls, const char *const *args,
		    const char *event, string_t *answer)
{
	const char *error;
	int64_t id;
	int ret;

	ret = outband_store_add_event(controls->store, args[0], args[1], event,
				      &id, &error);
	if (ret < 0) {
		ANSWER(answer, "FAIL", t_strdup_printf("It is done, but the "
			"device can't be notified: %s", error));
		return;
	}
	/* also what it isn't to be told any more, or again */
	outband_sender_retry(controls->sender, args[0], args[1]);
	ANSWER(answer, "OK", t_strdup_printf("%d", ret));
}

static void
control_key(struct outband_control *control, const char *const *args,
	    string_t *answer)
{
	struct outband_device_key key;
	const char *error;

	if (outband_keys_make(control->controls->keys, args[0], args[1],
			      pool_datastack_create(), &key, &error) < 0) {
		ANSWER(answer, "FAIL", error);
		return;
	}
	ANSWER(answer, "KEY", t_strdup_printf("%u", key.key.number),
	       str_c(t_base64_encode(0, SIZE_MAX, key.key.key,
				     sizeof(key.key.key))));
	ANSWER(answer, "OK");
}

static void
control_rekey(struct outband_control *control, const char *const *args,
	      string_t *answer)
{
	struct outband_controls *controls = control->controls;
	struct outband_device_key key;
	const char *error;
	int ret;

	ret = outband_keys_rekey(controls->keys, args[0], args[1],
				 pool_datastack_create(), &key, &error);
	if (ret < 0) {
		ANSWER(answer, "FAIL", error);
		return;
	}
	if (ret == 0) {
		ANSWER(answer, "NOTFOUND", "The device has no key yet");
		return;
	}
	e_info(controls->event, "%s#%s has a new key, by the administrator",
	       args[0], args[1]);
	control_tell_device(controls, args, "NEW_ENC_KEY", answer);
}

static void
control_lock_set(struct outband_control *control, const char *const *args,
		 bool locked, string_t *answer)
{
	struct outband_controls *controls = control->controls;
	const char *error;
	int ret;

	ret = outband_keys_lock(controls->keys, args[0], args[1], locked,
				&error);
	if (ret < 0) {
		ANSWER(answer, "FAIL", error);
		return;
	}
	if (ret == 0) {
		ANSWER(answer, "NOTFOUND", locked ?
		       "The device is locked already" :
		       "The device isn't locked");
		return;
	}
	e_info(controls->event, "%s#%s is %s by the administrator",
	       args[0], args[1], locked ? "locked" : "unlocked");
	/* what happened meanwhile it hasn't been told */
	control_tell_device(controls, args, locked ? "LOCK_DOWN" : "FULL_SYNC",
			    answer);
}

static void
control_lock(struct outband_control *control, const char *const *args,
	     string_t *answer)
{
	control_lock_set(control, args, TRUE, answer);
}

static void
control_unlock(struct outband_control *control, const char *const *args,
	       string_t *answer)
{
	control_lock_set(control, args, FALSE, answer);
}

/* DEVICE */

static void
control_device(struct outband_control *control, const char *const *args,
	       string_t *answer)
{
	const char *reason, *error;
	time_t since;
	int ret;

	ret = outband_store_ended_get(control->controls->store, args[0],
				      args[1], pool_datastack_create(),
				      &reason, &since, &error);
	if (ret < 0) {
		ANSWER(answer, "FAIL", error);
		return;
	}
	if (ret > 0) {
		ANSWER(answer, "ENDED", t_strdup_printf("%"PRIdTIME_T, since),
		       reason);
	}
	ANSWER(answer, "OK");
}

static const struct outband_request outband_requests[] = {
	{ "STATUS", 0, 0, control_status },
	{ "LIST", 3, 3, control_list },
	{ "RETRY", 3, 3, control_retry },
	{ "DROP", 3, 3, control_drop },
	{ "SCAN", 1, 1, control_scan },
	{ "PAUSE", 0, 1, control_pause },
	{ "RESUME", 0, 1, control_resume },
	{ "TEST", 2, 2, control_test },
	{ "TRACE", 5, 5, control_trace },
	{ "DEVICE", 2, 2, control_device },
	{ "KEY", 2, 2, control_key },
	{ "REKEY", 2, 2, control_rekey },
	{ "LOCK", 2, 2, control_lock },
	{ "UNLOCK", 2, 2, control_unlock },
};

static void outband_control_destroy(struct connection *conn)
{
	struct outband_control *control =
		container_of(conn, struct outband_control, conn);

	if (control->watch != NULL)
		outband_sender_unwatch(&control->watch);
	timeout_remove(&control->to_watch);
	i_free(control->test_user);
	i_free(control->test_device);
	connection_deinit(conn);
	i_free(control);
	master_service_client_connection_destroyed(master_service);
}

static int
outband_control_input_args(struct connection *conn, const char *const *args)
{
	struct outband_control *control =
		container_of(conn, struct outband_control, conn);
	const struct outband_request *request = NULL;
	string_t *answer = str_new(default_pool, 1024);
	unsigned int i, count = str_array_length(args) - 1;

	for (i = 0; i < N_ELEMENTS(outband_requests); i++) {
		if (strcmp(outband_requests[i].name, args[0]) == 0)
			request = &outband_requests[i];
	}
	if (request == NULL)
		ANSWER(answer, "FAIL", "Unknown request");
	else if (control->watch != NULL)
		ANSWER(answer, "FAIL", "The last request isn't answered yet");
	else if (count < request->min_args || count > request->max_args)
		ANSWER(answer, "FAIL", "Wrong number of fields");
	else if (control->controls->store == NULL)
		ANSWER(answer, "BUSY", "The service hasn't begun yet");
	else
		request->run(control, args + 1, answer);
	o_stream_nsend(conn->output, str_data(answer), str_len(answer));
	str_free(&answer);
	/* one who doesn't read what he asks for would miss a part */
	return conn->output->overflow ? -1 : 1;
}

static const struct connection_vfuncs outband_control_vfuncs = {
	.destroy = outband_control_destroy,
	.input_args = outband_control_input_args,
};

static const struct connection_settings outband_control_set = {
	.service_name_in = PIMAP_CONTROL_PROTOCOL,
	.service_name_out = PIMAP_CONTROL_PROTOCOL,
	.major_version = PIMAP_CONTROL_MAJOR,
	.minor_version = PIMAP_CONTROL_MINOR,
	.input_idle_timeout_secs = OUTBAND_CONTROL_IDLE_SECS,
	.input_max_size = PIMAP_CONTROL_MAX_REQUEST,
	.output_max_size = PIMAP_CONTROL_MAX_ANSWER,
};

struct outband_controls *
outband_controls_init(struct event *event_parent, struct outband_looks *looks,
		      struct outband_sender *sender, struct outband_keys *keys,
		      struct outband_idles *idles)
{
	struct outband_controls *controls;

	controls = i_new(struct outband_controls, 1);
	controls->event = event_create(event_parent);
	controls->looks = looks;
	controls->sender = sender;
	controls->keys = keys;
	controls->idles = idles;
	controls->list = connection_list_init(&outband_control_set,
					      &outband_control_vfuncs);
	return controls;
}

void outband_controls_deinit(struct outband_controls **_controls)
{
	struct outband_controls *controls = *_controls;

	*_controls = NULL;
	connection_list_deinit(&controls->list);
	event_unref(&controls->event);
	i_free(controls);
}

void outband_controls_start(struct outband_controls *controls,
			    struct outband_store *store)
{
	controls->store = store;
}

void outband_controls_connected(struct outband_controls *controls,
				struct master_service_connection *conn)
{
	struct outband_control *control;

	control = i_new(struct outband_control, 1);
	control->controls = controls;
	control->conn.event_parent = controls->event;
	connection_init_server(controls->list, &control->conn, conn->name,
			       conn->fd, conn->fd);
}

void outband_controls_disconnect(struct outband_controls *controls)
{
	while (controls->list->connections != NULL)
		outband_control_destroy(controls->list->connections);
}
