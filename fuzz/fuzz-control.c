/* SPDX-License-Identifier: LGPL-2.1-only */
/* Requests of the administrator's programs: in the first line the request, in the
   others what the store has queued. */

#include "fuzz-outband.h"
#include "outband-control.c"

struct outband_sender_watch {
	int64_t id;
};

static struct outband_sender_watch watched;
static struct outband_sender_status sender_status;
static struct event *event;
/* what is queued */
static const char *const *texts;
static unsigned int texts_count;

static const char *text_n(unsigned int n)
{
	/* with whatever it has */
	return texts_count == 0 ? "" :
		t_str_tabunescape(texts[n % texts_count]);
}

/* The store, in which anything is */

int outband_store_status(struct outband_store *store ATTR_UNUSED,
			 struct outband_store_status *status_r,
			 const char **error_r)
{
	i_zero(status_r);
	*error_r = text_n(0);
	return texts_count == 1 ? -1 : 0;
}

static void store_row(unsigned int n, struct outband_row *row_r)
{
	i_zero(row_r);
	row_r->id = n + 1;
	row_r->user = text_n(n);
	row_r->device = text_n(n + 1);
	row_r->event.name = text_n(n + 2);
	row_r->folder = text_n(n + 3);
	row_r->last_error = text_n(n + 4);
	row_r->channel = text_n(n + 5);
	row_r->address = text_n(n + 6);
}

int outband_store_list(struct outband_store *store ATTR_UNUSED, int64_t id,
		       unsigned int max, pool_t pool,
		       ARRAY_TYPE(outband_row) *rows_r,
		       const char **error_r)
{
	struct outband_row *row;
	unsigned int i;

	*error_r = NULL;
	p_array_init(rows_r, pool, texts_count);
	for (i = 0; i < texts_count && i < max; i++) {
		row = array_append_space(rows_r);
		store_row(i, row);
	}
	return id > 0 || texts_count == 0 ? 0 : 1;
}

static int
store_change(const struct outband_selection *selection, pool_t pool,
	     ARRAY_TYPE(outband_device) *devices_r, unsigned int *count_r,
	     const char **error_r)
{
	struct outband_device *device;

	i_assert(selection->id >= 0);
	i_assert(selection->user != NULL && selection->device != NULL);
	*error_r = text_n(0);
	if (texts_count < 2)
		return (int)texts_count - 1;
	p_array_init(devices_r, pool, 1);
	device = array_append_space(devices_r);
	device->user = text_n(0);
	device->device = text_n(1);
	*count_r = texts_count;
	return 1;
}

int outband_store_retry_now(struct outband_store *store ATTR_UNUSED,
			    const struct outband_selection *selection,
			    pool_t pool, ARRAY_TYPE(outband_device) *devices_r,
			    unsigned int *count_r, const char **error_r)
{
	return store_change(selection, pool, devices_r, count_r, error_r);
}

int outband_store_drop(struct outband_store *store ATTR_UNUSED,
		       const struct outband_selection *selection, pool_t pool,
		       ARRAY_TYPE(outband_device) *devices_r,
		       unsigned int *count_r, const char **error_r)
{
	/* never all of them */
	i_assert(selection->id != 0 || (selection->user[0] != '\0' &&
					selection->device[0] != '\0'));
	return store_change(selection, pool, devices_r, count_r, error_r);
}

int outband_store_trace(struct outband_store *store ATTR_UNUSED,
			const struct outband_selection *selection ATTR_UNUSED,
			int64_t seq ATTR_UNUSED, int64_t id,
			int64_t n ATTR_UNUSED, unsigned int max, pool_t pool,
			ARRAY_TYPE(outband_step) *steps_r,
			const char **error_r)
{
	struct outband_step *step;
	unsigned int i;

	*error_r = NULL;
	p_array_init(steps_r, pool, texts_count);
	for (i = 0; i < texts_count && i < max; i++) {
		step = array_append_space(steps_r);
		step->id = i + 1;
		step->user = text_n(i);
		step->device = text_n(i + 1);
		step->step = text_n(i + 2);
		step->text = text_n(i + 3);
	}
	return id > 0 || texts_count == 0 ? 0 : 1;
}

int outband_store_ended_get(struct outband_store *store ATTR_UNUSED,
			    const char *user ATTR_UNUSED,
			    const char *device ATTR_UNUSED, pool_t pool,
			    const char **reason_r, time_t *since_r,
			    const char **error_r)
{
	*reason_r = *error_r = p_strdup(pool, text_n(0));
	*since_r = 1;
	return texts_count > 2 ? 1 : (int)texts_count - 1;
}

void outband_idles_get_status(struct outband_idles *idles ATTR_UNUSED,
			      struct outband_idles_status *status_r)
{
	i_zero(status_r);
}

int outband_store_add_test(struct outband_store *store ATTR_UNUSED,
			   const char *user ATTR_UNUSED,
			   const char *device ATTR_UNUSED, int64_t *id_r,
			   const char **error_r)
{
	*error_r = text_n(0);
	*id_r = 1;
	return texts_count > 2 ? 1 : (int)texts_count - 1;
}

int outband_store_add_event(struct outband_store *store ATTR_UNUSED,
			    const char *user ATTR_UNUSED,
			    const char *device ATTR_UNUSED,
			    const char *event ATTR_UNUSED, int64_t *id_r,
			    const char **error_r)
{
	*error_r = text_n(0);
	*id_r = 1;
	return texts_count > 2 ? 1 : (int)texts_count - 1;
}

/* The keys */

static int key_change(const char **error_r)
{
	*error_r = text_n(0);
	return texts_count > 2 ? 1 : (int)texts_count - 1;
}

int outband_keys_make(struct outband_keys *keys ATTR_UNUSED,
		      const char *user ATTR_UNUSED,
		      const char *device ATTR_UNUSED, pool_t pool ATTR_UNUSED,
		      struct outband_device_key *key_r, const char **error_r)
{
	i_zero(key_r);
	key_r->key.number = texts_count;
	return key_change(error_r) < 0 ? -1 : 0;
}

int outband_keys_rekey(struct outband_keys *keys ATTR_UNUSED,
		       const char *user ATTR_UNUSED,
		       const char *device ATTR_UNUSED, pool_t pool ATTR_UNUSED,
		       struct outband_device_key *key_r, const char **error_r)
{
	i_zero(key_r);
	return key_change(error_r);
}

int outband_keys_lock(struct outband_keys *keys ATTR_UNUSED,
		      const char *user ATTR_UNUSED,
		      const char *device ATTR_UNUSED, bool locked ATTR_UNUSED,
		      const char **error_r)
{
	return key_change(error_r);
}

/* The sender and the looks, who do nothing */

const struct outband_channel_vfuncs outband_channel_mail = { .name = "MAIL" };
const struct outband_channel_vfuncs *const outband_channels[] = {
	&outband_channel_mail, NULL
};

const struct outband_sender_status *
outband_sender_get_status(struct outband_sender *sender ATTR_UNUSED,
			  const char *channel ATTR_UNUSED)
{
	return &sender_status;
}

void outband_sender_get_counts(struct outband_sender *sender ATTR_UNUSED,
			       const char *channel ATTR_UNUSED,
			       outband_channel_status_t *callback,
			       void *context)
{
	callback("counted", texts_count, context);
}

uint64_t
outband_sender_get_expired(struct outband_sender *sender ATTR_UNUSED)
{
	return 0;
}

int outband_sender_pause(struct outband_sender *sender ATTR_UNUSED,
			 const char *channel ATTR_UNUSED,
			 bool paused ATTR_UNUSED, const char **error_r)
{
	*error_r = text_n(0);
	return texts_count == 1 ? -1 : 0;
}

void outband_sender_wake(struct outband_sender *sender ATTR_UNUSED,
			 const char *user ATTR_UNUSED,
			 const char *device ATTR_UNUSED)
{
}

void outband_sender_retry(struct outband_sender *sender ATTR_UNUSED,
			  const char *user ATTR_UNUSED,
			  const char *device ATTR_UNUSED)
{
}

struct outband_sender_watch *
outband_sender_watch(struct outband_sender *sender ATTR_UNUSED, int64_t id,
		     outband_sender_watch_callback_t *callback ATTR_UNUSED,
		     void *context ATTR_UNUSED)
{
	i_assert(watched.id == 0);
	watched.id = id;
	return &watched;
}

void outband_sender_unwatch(struct outband_sender_watch **watch)
{
	i_assert(*watch == &watched && watched.id != 0);
	watched.id = 0;
	*watch = NULL;
}

const char *
outband_sender_get_obstacle(struct outband_sender *sender ATTR_UNUSED,
			    const char *user ATTR_UNUSED,
			    const char *device ATTR_UNUSED,
			    int64_t id ATTR_UNUSED)
{
	return texts_count % 2 == 0 ? NULL : text_n(0);
}

void outband_looks_mark(struct outband_looks *looks ATTR_UNUSED,
			const char *user, const char *guid ATTR_UNUSED,
			const char *cause ATTR_UNUSED)
{
	i_assert(user[0] != '\0');
}

void outband_looks_mark_all(struct outband_looks *looks ATTR_UNUSED)
{
}

void outband_looks_get_status(struct outband_looks *looks ATTR_UNUSED,
			      struct outband_looks_status *status_r)
{
	i_zero(status_r);
}

static void ignore_info(const struct failure_context *ctx ATTR_UNUSED,
			const char *format ATTR_UNUSED,
			va_list args ATTR_UNUSED)
{
}

static void init(void)
{
	io_loop_create();
	event = event_create(NULL);
	i_set_info_handler(ignore_info);
}

/* Whole lines of known names, of which the last, and no other, ends it, unless it
   comes later */
static void check_answer(const char *answer, bool later)
{
	static const char *const ends[] = {
		"OK", "MORE", "NOTFOUND", "BUSY", "FAIL", NULL
	};
	static const char *const others[] = {
		"STATUS", "TIME", "ROW", "STEP", "QUEUED", "RESULT", "KEY", "ENDED",
		NULL
	};
	const char *const *lines = t_strsplit(answer, "\n"), *word;

	i_assert(strlen(answer) <= PIMAP_CONTROL_MAX_ANSWER);
	for (; lines[1] != NULL; lines++) {
		word = t_strcut(*lines, '\t');
		if (lines[2] == NULL && !later)
			i_assert(str_array_find(ends, word));
		else
			i_assert(str_array_find(others, word));
	}
	i_assert(**lines == '\0');
}

static void check_request(struct outband_control *control, const char *line)
{
	const char *const *args = t_strsplit_tabescaped(line);
	buffer_t *buf = t_buffer_create(1024);

	if (args[0] == NULL)
		return;
	control->conn.output = o_stream_create_buffer(buf);
	i_assert(outband_control_input_args(&control->conn, args) == 1);
	/* it ends itself, as long as it isn't answered */
	i_assert((control->watch != NULL) == (control->to_watch != NULL));
	check_answer(t_strndup(buf->data, buf->used), control->watch != NULL);
	if (control->watch != NULL)
		outband_sender_unwatch(&control->watch);
	timeout_remove(&control->to_watch);
	o_stream_destroy(&control->conn.output);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(init);
	T_BEGIN {
		const char *const *lines = fuzz_lines(data, size);
		struct outband_controls controls;
		struct outband_control control;

		i_zero(&controls);
		i_zero(&control);
		control.controls = &controls;
		controls.event = event;
		/* it only has to be one */
		controls.store = POINTER_CAST(1);
		texts = lines + (lines[0] == NULL ? 0 : 1);
		texts_count = str_array_length(texts);
		if (lines[0] != NULL)
			check_request(&control, lines[0]);
		/* as when the connection ends */
		i_free(control.test_user);
		i_free(control.test_device);
	} T_END;
	return 0;
}
