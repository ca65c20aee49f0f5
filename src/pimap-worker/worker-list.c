/* SPDX-License-Identifier: LGPL-2.1-only */
/* The list of the user's folders, which every device with a channel is told the
   changes of. It is looked at as a folder is, under a GUID of its own; its
   state is

     1:<baseline's generation>:=<GUID><name> TAB <GUID><name>...
     1:<baseline's generation>:#<hash>

   the second where the list is too long for a job: then it is known that something
   has changed, but not what. */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "str.h"
#include "strescape.h"
#include "mail-storage-private.h"
#include "mail-user.h"
#include "mailbox-list-index.h"
#include "pimap-look.h"
#include "pimap-notify.h"
#include "pimap-pref.h"
#include "pimap-user.h"
#include "pimap-worker.h"

#define LIST_MAX_SIZE (64*1024)
#define LIST_GUID_LEN (GUID_128_SIZE * 2)

struct list_state {
	uint32_t generation;
	/* FALSE: only the hash */
	bool known;
	uint64_t hash;
	ARRAY_TYPE(pimap_notify_name) names;
};

static int
list_state_parse(pool_t pool, const char *text, struct list_state *state_r)
{
	struct pimap_notify_name *name;
	const char *const *names, *p;

	i_zero(state_r);
	if (strncmp(text, "1:", 2) != 0)
		return -1;
	text += 2;
	p = strchr(text, ':');
	if (p == NULL || str_to_uint32(t_strdup_until(text, p),
				       &state_r->generation) < 0)
		return -1;
	text = p + 2;
	if (p[1] == '#')
		return str_to_uint64_hex(text, &state_r->hash);
	if (p[1] != '=')
		return -1;
	state_r->known = TRUE;
	p_array_init(&state_r->names, pool, 16);
	if (text[0] == '\0')
		return 0;
	for (names = t_strsplit(text, "\t"); *names != NULL; names++) {
		if (strlen(*names) <= LIST_GUID_LEN)
			return -1;
		name = array_append_space(&state_r->names);
		if (guid_128_from_string(t_strndup(*names, LIST_GUID_LEN),
					 name->guid) < 0)
			return -1;
		name->name = p_strdup(pool,
			str_tabunescape(t_strdup_noconst(*names + LIST_GUID_LEN)));
	}
	return 0;
}

static const char *
list_state_print(uint32_t generation,
		 const ARRAY_TYPE(pimap_notify_name) *names, size_t max_size)
{
	const struct pimap_notify_name *name;
	string_t *text = t_str_new(1024);
	const char *sep = "";

	str_printfa(text, "1:%u:=", generation);
	array_foreach(names, name) {
		str_append(text, sep);
		str_append(text, guid_128_to_string(name->guid));
		str_append_tabescaped(text, name->name);
		sep = "\t";
	}
	if (str_len(text) <= max_size)
		return str_c(text);
	return t_strdup_printf("1:%u:#%016"PRIx64, generation,
			       pimap_notify_hash_list(names));
}

static void
list_event(string_t *answer, const char *event, const char *name)
{
	worker_answer(answer, "EVENT", event, "0", dec2str(ioloop_time),
		      "", "", "", name, NULL);
}

static const struct pimap_notify_name *
list_find(const ARRAY_TYPE(pimap_notify_name) *names, const guid_128_t guid)
{
	const struct pimap_notify_name *name;

	array_foreach(names, name) {
		if (guid_128_equals(name->guid, guid))
			return name;
	}
	return NULL;
}

/* Tells of the folders that have come, gone or got another name: that one, by which
   the device finds it. */
static void
list_compare(const struct list_state *state,
	     const ARRAY_TYPE(pimap_notify_name) *names, string_t *answer)
{
	const struct pimap_notify_name *name, *old;
	unsigned int count = 0;
	size_t begin = str_len(answer);

	if (!state->known) {
		if (state->hash != pimap_notify_hash_list(names))
			list_event(answer, "FULL_SYNC", "INBOX");
		return;
	}
	array_foreach(&state->names, old) {
		name = list_find(names, old->guid);
		if (name == NULL) {
			list_event(answer, "SYNC", old->name);
			count++;
		}
	}
	array_foreach(names, name) {
		old = list_find(&state->names, name->guid);
		if (old == NULL || strcmp(old->name, name->name) != 0) {
			list_event(answer, "SYNC", name->name);
			count++;
		}
	}
	if (count > PIMAP_LOOK_MAX_EVENTS) {
		str_truncate(answer, begin);
		list_event(answer, "FULL_SYNC", "INBOX");
	}
}

static void
list_device(const struct pimap_user *puser, const struct pimap_device *device,
	    const char *text, const ARRAY_TYPE(pimap_notify_name) *names,
	    size_t max_size, string_t *answer)
{
	const struct pimap_baseline *baseline =
		pimap_device_find_baseline(device, pimap_notify_list_guid);
	const uint32_t generation = baseline == NULL ? 0 : baseline->generation;
	const char *address = pimap_pref_get(device, &puser->defaults,
		pimap_pref_find("PIMAP_OUTBAND_ADDRESS"));
	struct list_state state;

	worker_answer(answer, "DEVICE", device->id,
		      dec2str(puser->profile->generation),
		      pimap_notify_get_channel(puser, device),
		      address == NULL ? "" : address,
		      pimap_pref_get(device, &puser->defaults,
				     pimap_pref_find(PIMAP_PREF_FORMAT)),
		      list_state_print(generation, names, max_size), NULL);
	if (text == NULL ||
	    list_state_parse(pool_datastack_create(), text, &state) < 0 ||
	    state.generation != generation) {
		/* it begins with what there was when it got a channel */
		if (baseline == NULL)
			return;
		i_zero(&state);
		state.hash = baseline->modseq;
	}
	list_compare(&state, names, answer);
}

/* The directory that the namespace's folders are in, and how it is looked at. Returns
   FALSE if there is none, or it isn't known what else may be in it. */
static bool
list_get_tree(struct mail_namespace *ns, char *type_r, const char **path_r)
{
	const char *storage = ns->storage->name;
	const char *path, *p;

	/* that of any folder; INBOX may be elsewhere */
	if (mailbox_list_get_path(ns->list, "x", MAILBOX_LIST_PATH_TYPE_DIR,
				  &path) <= 0 ||
	    (p = strrchr(path, '/')) == NULL)
		return FALSE;
	*path_r = t_strdup_until(path, p);
	if (strcmp(storage, "sdbox") == 0 || strcmp(storage, "mdbox") == 0)
		*type_r = 'T';
	else if (strcmp(storage, "maildir") != 0)
		return FALSE;
	else
		*type_r = p[1] == '.' ? 'n' : 'N';
	return TRUE;
}

/* Where it is seen that the folders' list changes. Dovecot marks its index of it, but
   not if it is marked already as older than the folders. It isn't made newer here:
   that opens new folders, and then who is just creating one is told that it is there
   already. So the folders' directories are looked at, too. */
static void list_add_seen(const struct pimap_user *puser, string_t *answer)
{
	ARRAY_TYPE(const_string) places;
	struct mailbox_list_index *ilist;
	struct mail_namespace *ns;
	const char *path;
	char type;

	t_array_init(&places, 4);
	for (ns = puser->user->namespaces; ns != NULL; ns = ns->next) {
		if (ns->type != MAIL_NAMESPACE_TYPE_PRIVATE ||
		    ns->alias_for != NULL)
			continue;
		ilist = INDEX_LIST_CONTEXT(ns->list);
		if (ilist == NULL || ilist->index == NULL ||
		    mail_index_is_in_memory(ilist->index))
			return;
		path = t_strdup_printf("f%s.log", ilist->path);
		array_push_back(&places, &path);
		if (!ilist->has_backing_store)
			continue;
		if (!list_get_tree(ns, &type, &path)) {
			/* looked at again and again */
			array_clear(&places);
			break;
		}
		path = t_strdup_printf("%c%s", type, path);
		array_push_back(&places, &path);
	}
	array_append_zero(&places);
	worker_scan_add_places(array_front(&places), answer);
}

int worker_list(struct pimap_user *puser, const char *const *states,
		string_t *answer, const char **error_r)
{
	const struct pimap_profile *profile;
	ARRAY_TYPE(pimap_notify_name) names;
	struct pimap_device *device;
	const char *const *state;
	size_t max_size;

	worker_answer(answer, "FOLDER",
		      guid_128_to_string(pimap_notify_list_guid), "INBOX", NULL);
	list_add_seen(puser, answer);
	if (pimap_user_get_profile(puser, &profile, error_r) < 0 ||
	    pimap_notify_get_list(puser, pool_datastack_create(), &names,
				  error_r) < 0)
		return -1;
	max_size = I_MIN(LIST_MAX_SIZE, PIMAP_LOOK_MAX_LINE / 4 /
			 I_MAX(array_count(&profile->devices), 1));
	array_foreach_elem(&profile->devices, device) {
		if (pimap_notify_get_channel(puser, device) == NULL)
			continue;
		for (state = states; *state != NULL; state += 2) {
			if (strcmp(state[0], device->id) == 0)
				break;
		}
		list_device(puser, device, *state == NULL ? NULL : state[1],
			    &names, max_size, answer);
	}
	return 1;
}
