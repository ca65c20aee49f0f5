/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "array.h"
#include "str.h"
#include "strescape.h"
#include "pimap-look.h"
#include "test-common.h"
#include "outband-answer.h"

#define GUID "0123456789abcdef0123456789abcdef"
#define FOLDER "FOLDER\t"GUID"\tINBOX"
#define DEVICE "DEVICE\tphone\t7\tMAIL\tjoe@foo.com\tEMN\tstate"

/* Returns what the last of the lines returned. */
static int
add_lines(struct outband_answer *answer, const char *const *lines,
	  const char **error_r)
{
	int ret = 0;

	*error_r = NULL;
	for (; *lines != NULL && ret == 0; lines++) {
		ret = outband_answer_add(answer, t_strsplit_tabescaped(*lines),
					 error_r);
	}
	/* none is left after the one that ended it */
	test_assert(*lines == NULL);
	return ret;
}

static void test_outband_answer_look(void)
{
	static const char *const lines[] = {
		"FOLDER\t0123456789ABCDEF0123456789abcdef\ta\001tb",
		DEVICE,
		"EVENT\tNEW_MESSAGE\t4294967295\t1077259200",
		"EVENT\tSYNC\t0\t1",
		"DEVICE\tpad\t9223372036854775807\t\t\t\t",
		"DEVICE\tpager\t1\tMAIL\ta\tEMN\ts\t4294967295\t0\t9223372036854775807",
		"OK",
		NULL
	};
	struct outband_answer *answer = outband_answer_init(GUID);
	const struct outband_found *found;
	const struct outband_event *events;
	const char *error;
	unsigned int count;

	test_begin("outband_answer_add(): LOOK");
	test_assert(add_lines(answer, lines, &error) == 1);
	test_assert(answer->result == OUTBAND_ANSWER_OK);
	test_assert_strcmp(answer->folder, "a\tb");
	found = array_get(&answer->found, &count);
	test_assert(count == 3);
	test_assert(found[0].changes.end_modseq == 0);
	test_assert(found[2].changes.uid_validity == 4294967295U);
	test_assert(found[2].changes.start_modseq == 0);
	test_assert(found[2].changes.end_modseq == INT64_MAX);
	test_assert_strcmp(found[0].device, "phone");
	test_assert(found[0].generation == 7);
	test_assert_strcmp(found[0].channel, "MAIL");
	test_assert_strcmp(found[0].address, "joe@foo.com");
	test_assert_strcmp(found[0].format, "EMN");
	test_assert_strcmp(found[0].state, "state");
	events = array_get(&found[0].events, &count);
	test_assert(count == 2);
	test_assert_strcmp(events[0].name, "NEW_MESSAGE");
	test_assert(events[0].uid == 4294967295U);
	test_assert(events[0].time == 1077259200);
	test_assert_strcmp(events[1].name, "SYNC");
	test_assert_strcmp(found[1].state, "");
	test_assert(array_count(&found[1].events) == 0);
	outband_answer_deinit(&answer);
	test_end();
}

static void test_outband_answer_folders(void)
{
	static const char *const lines[] = {
		FOLDER, "FOLDER\tfedcba9876543210fedcba9876543210\tx", "OK", NULL
	};
	struct outband_answer *answer = outband_answer_init(NULL);
	const char *error;

	test_begin("outband_answer_add(): FOLDERS");
	test_assert(add_lines(answer, lines, &error) == 1);
	test_assert(array_count(&answer->folders) == 2);
	test_assert_strcmp(array_idx_elem(&answer->folders, 0), GUID);
	outband_answer_deinit(&answer);
	test_end();
}

static void test_outband_answer_scan(void)
{
	static const char *const lines[] = {
		"CHANGED\t0", "CHANGED\t99\tmore", "OK", NULL
	};
	static const char *const invalid[] = {
		"CHANGED", "CHANGED\t100", "CHANGED\tx", "CHANGED\t-1", "SEEN",
		NULL
	};
	static const char *const changed[] = { "CHANGED", "0", NULL };
	const char *seen[] = { "SEEN", "s", NULL };
	struct outband_answer *answer = outband_answer_init(NULL);
	const char *error;
	string_t *large = t_str_new(OUTBAND_ANSWER_MAX_SEEN + 1);
	unsigned int i;

	test_begin("outband_answer_add(): SCAN");
	test_assert(add_lines(answer, lines, &error) == 1);
	test_assert(array_count(&answer->changed) == 2);
	test_assert(*array_idx(&answer->changed, 1) == 99);
	test_assert(answer->seen == NULL);
	outband_answer_deinit(&answer);

	for (i = 0; invalid[i] != NULL; i++) {
		const char *const line[] = { invalid[i], NULL };

		answer = outband_answer_init(NULL);
		test_assert_idx(add_lines(answer, line, &error) == -1, i);
		outband_answer_deinit(&answer);
	}
	answer = outband_answer_init(NULL);
	for (i = 0; i < OUTBAND_ANSWER_MAX_SCAN; i++)
		test_assert_idx(outband_answer_add(answer, changed,
						   &error) == 0, i);
	test_assert(outband_answer_add(answer, changed, &error) == -1);
	outband_answer_deinit(&answer);

	/* once, and not too long */
	answer = outband_answer_init(GUID);
	test_assert(outband_answer_add(answer, seen, &error) == 0);
	test_assert_strcmp(answer->seen, "s");
	test_assert(outband_answer_add(answer, seen, &error) == -1);
	outband_answer_deinit(&answer);
	answer = outband_answer_init(GUID);
	for (i = 0; i <= OUTBAND_ANSWER_MAX_SEEN; i++)
		str_append_c(large, 'x');
	seen[1] = str_c(large);
	test_assert(outband_answer_add(answer, seen, &error) == -1);
	outband_answer_deinit(&answer);
	test_end();
}

static void test_outband_answer_ends(void)
{
	static const struct {
		const char *line;
		enum outband_answer_result result;
		const char *reason;
	} tests[] = {
		{ "OK", OUTBAND_ANSWER_OK, "" },
		{ "GONE", OUTBAND_ANSWER_GONE, "" },
		{ "FAIL\twhy\001tnot", OUTBAND_ANSWER_FAIL, "why\tnot" },
		{ "FAIL", OUTBAND_ANSWER_FAIL, "" },
	};
	unsigned int i;

	test_begin("outband_answer_add(): ends");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		struct outband_answer *answer = outband_answer_init(GUID);
		const char *const lines[] = { tests[i].line, NULL };
		const char *error;

		test_assert_idx(add_lines(answer, lines, &error) == 1, i);
		test_assert_idx(answer->result == tests[i].result, i);
		test_assert_strcmp_idx(answer->reason, tests[i].reason, i);
		outband_answer_deinit(&answer);
	}
	test_end();
}

static void test_outband_answer_invalid(void)
{
	static const char *const tests[][4] = {
		{ "" },
		{ "ok" },
		{ "NOTHING" },
		{ "FOLDER" },
		{ "FOLDER\t"GUID },
		{ "FOLDER\t00000000000000000000000000000000\tx" },
		{ "FOLDER\tfedcba9876543210fedcba9876543210\tx" },
		{ "FOLDER\t0123456789abcdef0123456789abcde\tx" },
		{ "FOLDER\t0123456789abcdef0123456789abcdef0\tx" },
		{ FOLDER, FOLDER },
		{ "AT" },
		{ "AT\tx" },
		{ "AT\t4294967296" },
		{ DEVICE },
		{ FOLDER, DEVICE, DEVICE },
		{ FOLDER, "DEVICE\tphone\t7\tMAIL\tjoe@foo.com\tEMN" },
		{ FOLDER, "DEVICE\t\t7\tMAIL\tjoe@foo.com\tEMN\tstate" },
		{ FOLDER, "DEVICE\tpho\001nne\t7\tMAIL\ta\tEMN\tstate" },
		{ FOLDER, "DEVICE\tphone\t7\tMA\001rIL\ta\tEMN\tstate" },
		{ FOLDER, "DEVICE\tphone\t-1\tMAIL\ta\tEMN\tstate" },
		{ FOLDER, "DEVICE\tphone\t9223372036854775808\tMAIL\ta\tEMN\ts" },
		{ FOLDER, "DEVICE\tphone\tx\tMAIL\ta\tEMN\tstate" },
		{ "EVENT\tSYNC\t0\t1" },
		{ FOLDER, "EVENT\tSYNC\t0\t1" },
		{ FOLDER, DEVICE"\t1\t2" },
		{ FOLDER, DEVICE"\t4294967296\t2\t3" },
		{ FOLDER, DEVICE"\t1\t-2\t3" },
		{ FOLDER, DEVICE"\t1\t9223372036854775808\t3" },
		{ FOLDER, DEVICE"\t1\t2\t9223372036854775808" },
		{ FOLDER, DEVICE, "EVENT\tSYNC\t0" },
		{ FOLDER, DEVICE, "EVENT\tsync\t0\t1" },
		{ FOLDER, DEVICE, "EVENT\tSYNC\t4294967296\t1" },
		{ FOLDER, DEVICE, "EVENT\tSYNC\t-1\t1" },
		{ FOLDER, DEVICE, "EVENT\tSYNC\t1\t" },
	};
	unsigned int i;

	test_begin("outband_answer_add(): invalid");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		struct outband_answer *answer = outband_answer_init(GUID);
		const char *error;

		test_assert_idx(add_lines(answer, tests[i], &error) == -1, i);
		test_assert_idx(error != NULL, i);
		outband_answer_deinit(&answer);
	}
	test_end();
}

static void test_outband_answer_judged(void)
{
	static const char *const good[] = {
		"JUDGED\t7\tMAIL\tjoe@foo.com\tEMN\t0121", "OK", NULL
	};
	static const char *const none[] = { "JUDGED\t8", "OK", NULL };
	static const char *const empty[] = {
		"JUDGED\t8\tMAIL\t\tEMN\t", "OK", NULL
	};
	static const char *const bad[] = {
		"JUDGED", "JUDGED\t-1", "JUDGED\tx", "JUDGED\t",
		"JUDGED\t7\tMAIL", "JUDGED\t7\tMAIL\tjoe\tEMN",
		"JUDGED\t7\tMAIL\tjoe\tEMN\t013",
		"JUDGED\t7\tMAIL\tjoe\tEMN\t1 ",
		"JUDGED\t7\tM\001nAIL\tjoe\tEMN\t1", NULL
	};
	static const char *const twice[] = { "JUDGED\t7", "JUDGED\t7", NULL };
	struct outband_answer *answer = outband_answer_init(GUID);
	const char *error, *lines[] = { NULL, NULL };
	string_t *many;
	unsigned int i;

	test_begin("outband_answer_add(): JUDGED");
	test_assert(answer->judged.generation == -1);
	test_assert(add_lines(answer, good, &error) == 1);
	test_assert(answer->judged.generation == 7);
	test_assert_strcmp(answer->judged.channel, "MAIL");
	test_assert_strcmp(answer->judged.address, "joe@foo.com");
	test_assert_strcmp(answer->judged.format, "EMN");
	test_assert_strcmp(answer->judged.verdicts, "0121");
	outband_answer_deinit(&answer);

	answer = outband_answer_init(GUID);
	test_assert(add_lines(answer, none, &error) == 1);
	test_assert(answer->judged.generation == 8 &&
		    answer->judged.verdicts == NULL);
	outband_answer_deinit(&answer);

	answer = outband_answer_init("");
	test_assert(add_lines(answer, empty, &error) == 1);
	test_assert_strcmp(answer->judged.verdicts, "");
	outband_answer_deinit(&answer);

	many = t_str_new(256);
	str_append(many, "JUDGED\t7\tMAIL\tjoe\tEMN\t");
	for (i = 0; i < PIMAP_LOOK_MAX_JUDGED; i++)
		str_append_c(many, '1');
	for (i = 0; i < 2; i++) {
		answer = outband_answer_init(GUID);
		lines[0] = str_c(many);
		test_assert_idx(add_lines(answer, lines, &error) ==
				(i == 0 ? 0 : -1), i);
		outband_answer_deinit(&answer);
		str_append_c(many, '1');
	}
	for (i = 0; bad[i] != NULL; i++) {
		answer = outband_answer_init(GUID);
		lines[0] = bad[i];
		test_assert_idx(add_lines(answer, lines, &error) == -1, i);
		outband_answer_deinit(&answer);
	}
	answer = outband_answer_init(GUID);
	test_assert(add_lines(answer, twice, &error) == -1);
	outband_answer_deinit(&answer);
	/* it isn't what FOLDERS asks for */
	answer = outband_answer_init(NULL);
	lines[0] = none[0];
	test_assert(add_lines(answer, lines, &error) == -1);
	outband_answer_deinit(&answer);
	test_end();
}

static void test_outband_answer_at(void)
{
	static const char *const lines[] = {
		"AT\t1", "AT\t4294967295", FOLDER, DEVICE, "AT\t7", "OK", NULL
	};
	static const char *const at[] = { "AT", "1234567890", NULL };
	struct outband_answer *answer = outband_answer_init(GUID);
	const char *error;
	unsigned int i;

	test_begin("outband_answer_add(): AT");
	test_assert(add_lines(answer, lines, &error) == 1);
	test_assert(answer->at_uid == 7);
	outband_answer_deinit(&answer);

	/* there may be more of them than of anything else */
	answer = outband_answer_init(GUID);
	for (i = 0; i < OUTBAND_ANSWER_MAX_SIZE / 10; i++) T_BEGIN {
		test_assert_idx(outband_answer_add(answer, at, &error) == 0, i);
	} T_END;
	outband_answer_deinit(&answer);
	test_end();
}

static void test_outband_answer_limits(void)
{
	static const char *const event[] = { "EVENT", "SYNC", "0", "1", NULL };
	const char *device[] = {
		"DEVICE", "x", "1", "MAIL", "a", "EMN", "s", NULL
	};
	const char *folder[] = { "FOLDER", GUID, "INBOX", NULL };
	struct outband_answer *answer = outband_answer_init(GUID);
	const char *error;
	string_t *large;
	unsigned int i;

	test_begin("outband_answer_add(): limits");
	test_assert(outband_answer_add(answer, folder, &error) == 0);
	for (i = 0; i < OUTBAND_ANSWER_MAX_DEVICES; i++) {
		device[1] = t_strdup_printf("d%u", i);
		test_assert_idx(outband_answer_add(answer, device, &error) == 0,
				i);
	}
	for (i = 0; i < PIMAP_LOOK_MAX_EVENTS; i++) {
		test_assert_idx(outband_answer_add(answer, event, &error) == 0,
				i);
	}
	test_assert(outband_answer_add(answer, event, &error) == -1);
	device[1] = "more";
	test_assert(outband_answer_add(answer, device, &error) == -1);
	outband_answer_deinit(&answer);

	answer = outband_answer_init(NULL);
	for (i = 0; i < OUTBAND_ANSWER_MAX_FOLDERS; i++)
		test_assert_idx(outband_answer_add(answer, folder, &error) == 0,
				i);
	test_assert(outband_answer_add(answer, folder, &error) == -1);
	outband_answer_deinit(&answer);

	answer = outband_answer_init(GUID);
	large = t_str_new(PIMAP_LOOK_MAX_LINE);
	for (i = 0; i < PIMAP_LOOK_MAX_LINE - 100; i++)
		str_append_c(large, 'x');
	test_assert(outband_answer_add(answer, folder, &error) == 0);
	device[6] = str_c(large);
	for (i = 0; i < OUTBAND_ANSWER_MAX_SIZE / PIMAP_LOOK_MAX_LINE; i++) {
		device[1] = t_strdup_printf("d%u", i);
		test_assert_idx(outband_answer_add(answer, device, &error) == 0,
				i);
	}
	device[1] = "more";
	test_assert(outband_answer_add(answer, device, &error) == -1);
	outband_answer_deinit(&answer);

	/* a state is as long as a line, what else it says isn't */
	device[6] = "s";
	for (i = 1; i < 6; i++) {
		const char *value = device[i];
		int ret;

		answer = outband_answer_init(GUID);
		(void)outband_answer_add(answer, folder, &error);
		str_truncate(large, OUTBAND_ANSWER_MAX_NAME + 1);
		device[i] = str_c(large);
		ret = outband_answer_add(answer, device, &error);
		test_assert_idx(ret == -1, i);
		device[i] = value;
		test_assert_idx(outband_answer_add(answer, device, &error) == 0,
				i);
		outband_answer_deinit(&answer);
	}
	answer = outband_answer_init(GUID);
	folder[2] = str_c(large);
	test_assert(outband_answer_add(answer, folder, &error) == -1);
	str_truncate(large, OUTBAND_ANSWER_MAX_NAME);
	folder[2] = str_c(large);
	test_assert(outband_answer_add(answer, folder, &error) == 0);
	outband_answer_deinit(&answer);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_outband_answer_look,
		test_outband_answer_folders,
		test_outband_answer_scan,
		test_outband_answer_ends,
		test_outband_answer_invalid,
		test_outband_answer_judged,
		test_outband_answer_at,
		test_outband_answer_limits,
		NULL
	};
	return test_run(test_functions);
}
