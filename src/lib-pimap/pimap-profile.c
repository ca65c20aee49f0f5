/* SPDX-License-Identifier: LGPL-2.1-only */
/* The profile of a user and its text form.

   The text is one record a line, fields separated by TAB and escaped as in
   all of Dovecot's own protocols:

     pimap-profile 1
     generation  number  number  number   of what views show, and of the whole;
                                          what devices with a channel are to be
                                          told (pimap-profile-peek.h)
     filter  name  criteria  [desc]
     device  id    mode   view  notify
     folder  guid  vname  view  notify    of the device above
     pref    name  value                  of the device above
     known   guid  generation  uidvalidity  uidnext  modseq  messages
             newest                       likewise: a baseline
     end     crc32                        of all the lines before it

   view and notify are D (default), A (all), N (none), U and the name of a
   filter of the user's, which stands above, or S and the name of one of the
   configuration's. Text that isn't whole is never used. */

#include "lib.h"
#include "array.h"
#include "ioloop.h"
#include "str.h"
#include "strescape.h"
#include "crc32.h"
#include "unichar.h"
#include "pimap-device.h"
#include "pimap-pref.h"
#include "pimap-profile-peek.h"
#include "pimap-profile.h"

/* by enum pimap_filter_kind */
static const char kind_chars[] = "DANUS";

static const char *const mode_names[PIMAP_DEVICE_MODE_COUNT] = {
	"session", "view"
};

struct pimap_profile *pimap_profile_alloc(void)
{
	struct pimap_profile *profile;
	pool_t pool = pool_alloconly_create("pimap profile", 2048);

	profile = p_new(pool, struct pimap_profile, 1);
	profile->pool = pool;
	p_array_init(&profile->filters, pool, 8);
	p_array_init(&profile->devices, pool, 4);
	return profile;
}

void pimap_profile_free(struct pimap_profile **_profile)
{
	struct pimap_profile *profile = *_profile;

	if (profile == NULL)
		return;
	*_profile = NULL;
	pool_unref(&profile->pool);
}

bool pimap_filter_ref_parse(const char *name, struct pimap_filter_ref *ref_r)
{
	const char *p;

	i_zero(ref_r);
	if (strcasecmp(name, "ALL") == 0) {
		ref_r->kind = PIMAP_FILTER_ALL;
		return TRUE;
	}
	if (strcasecmp(name, "NONE") == 0) {
		ref_r->kind = PIMAP_FILTER_NONE;
		return TRUE;
	}
	if (strcasecmp(name, "DEFAULT") == 0) {
		ref_r->kind = PIMAP_FILTER_DEFAULT;
		return TRUE;
	}
	for (p = name; *p != '\0'; p++) {
		if ((unsigned char)*p < ' ' || *p == '\177')
			return FALSE;
	}
	ref_r->kind = PIMAP_FILTER_NAMED;
	ref_r->name = name;
	return *name != '\0' && strlen(name) <= PIMAP_FILTER_NAME_MAX &&
		uni_utf8_str_is_valid(name);
}

const char *pimap_filter_ref_name(const struct pimap_filter_ref *ref)
{
	switch (ref->kind) {
	case PIMAP_FILTER_ALL:
		return "ALL";
	case PIMAP_FILTER_NONE:
		return "NONE";
	case PIMAP_FILTER_NAMED:
	case PIMAP_FILTER_SYSTEM:
		return ref->name;
	case PIMAP_FILTER_DEFAULT:
		return "DEFAULT";
	}
	i_unreached();
}

bool pimap_filter_ref_equals(const struct pimap_filter_ref *r1,
			     const struct pimap_filter_ref *r2)
{
	return r1->kind == r2->kind && null_strcmp(r1->name, r2->name) == 0;
}

bool pimap_filter_desc_is_valid(const char *desc)
{
	return desc == NULL || (strlen(desc) <= PIMAP_FILTER_DESC_MAX &&
				uni_utf8_str_is_valid(desc));
}

static void pimap_profile_views_changed(struct pimap_profile *profile)
{
	profile->views_generation = I_MAX(profile->views_generation + 1,
					    (uint32_t)ioloop_time);
}

struct pimap_filter *
pimap_profile_find_filter(const struct pimap_profile *profile,
			  const char *name)
{
	struct pimap_filter *filter;

	array_foreach_modifiable(&profile->filters, filter) {
		if (strcmp(filter->name, name) == 0)
			return filter;
	}
	return NULL;
}

void pimap_profile_set_filter(struct pimap_profile *profile, const char *name,
			      const char *desc, const char *criteria)
{
	struct pimap_filter *filter =
		pimap_profile_find_filter(profile, name);

	if (filter == NULL) {
		filter = array_append_space(&profile->filters);
		filter->name = p_strdup(profile->pool, name);
	}
	filter->desc = p_strdup(profile->pool, desc);
	filter->criteria = p_strdup(profile->pool, criteria);
	pimap_profile_views_changed(profile);
}

bool pimap_profile_delete_filter(struct pimap_profile *profile,
				 const char *name)
{
	struct pimap_filter *filter =
		pimap_profile_find_filter(profile, name);

	if (filter == NULL)
		return FALSE;
	array_delete(&profile->filters,
		     array_ptr_to_idx(&profile->filters, filter), 1);
	return TRUE;
}

static bool
filters_have_named(const struct pimap_filter_ref *filters, const char *name)
{
	unsigned int i;

	for (i = 0; i < PIMAP_FILTER_TYPE_COUNT; i++) {
		if (filters[i].kind == PIMAP_FILTER_NAMED &&
		    strcmp(filters[i].name, name) == 0)
			return TRUE;
	}
	return FALSE;
}

bool pimap_profile_filter_is_used(const struct pimap_profile *profile,
				  const char *name)
{
	const struct pimap_folder *folder;
	struct pimap_device *device;

	array_foreach_elem(&profile->devices, device) {
		if (filters_have_named(device->filters, name))
			return TRUE;
		array_foreach(&device->folders, folder) {
			if (filters_have_named(folder->filters, name))
				return TRUE;
		}
	}
	return FALSE;
}

struct pimap_device *
pimap_profile_find_device(const struct pimap_profile *profile, const char *id)
{
	struct pimap_device *device;

	array_foreach_elem(&profile->devices, device) {
		if (strcmp(device->id, id) == 0)
			return device;
	}
	return NULL;
}

struct pimap_device *
pimap_profile_add_device(struct pimap_profile *profile, const char *id,
			 enum pimap_device_mode mode)
{
	struct pimap_device *device;

	device = p_new(profile->pool, struct pimap_device, 1);
	device->id = p_strdup(profile->pool, id);
	device->mode = mode;
	p_array_init(&device->folders, profile->pool, 4);
	p_array_init(&device->prefs, profile->pool, 4);
	p_array_init(&device->baselines, profile->pool, 4);
	array_push_back(&profile->devices, &device);
	return device;
}

bool pimap_profile_remove_device(struct pimap_profile *profile, const char *id)
{
	struct pimap_device *const *device;

	array_foreach(&profile->devices, device) {
		if (strcmp((*device)->id, id) != 0)
			continue;
		array_delete(&profile->devices,
			     array_ptr_to_idx(&profile->devices, device), 1);
		/* a session of it may be open, or log in again */
		pimap_profile_views_changed(profile);
		return TRUE;
	}
	return FALSE;
}

bool pimap_device_mode_parse(const char *name, enum pimap_device_mode *mode_r)
{
	unsigned int i;

	for (i = 0; i < PIMAP_DEVICE_MODE_COUNT; i++) {
		if (strcmp(mode_names[i], name) == 0) {
			*mode_r = i;
			return TRUE;
		}
	}
	return FALSE;
}

const char *pimap_device_mode_name(enum pimap_device_mode mode)
{
	return mode_names[mode];
}

static struct pimap_folder *
pimap_device_find_folder(const struct pimap_device *device,
			 const guid_128_t guid)
{
	struct pimap_folder *folder;

	array_foreach_modifiable(&device->folders, folder) {
		if (guid_128_equals(folder->guid, guid))
			return folder;
	}
	return NULL;
}

/* Drops folders that have no filter of their own any more. */
static void pimap_device_tidy_folders(struct pimap_device *device)
{
	const struct pimap_folder *folder;
	unsigned int i, type;

	for (i = array_count(&device->folders); i > 0; i--) {
		folder = array_idx(&device->folders, i-1);
		for (type = 0; type < PIMAP_FILTER_TYPE_COUNT; type++) {
			if (folder->filters[type].kind != PIMAP_FILTER_DEFAULT)
				break;
		}
		if (type == PIMAP_FILTER_TYPE_COUNT)
			array_delete(&device->folders, i-1, 1);
	}
}

static struct pimap_folder *
pimap_device_get_folder(struct pimap_profile *profile,
			struct pimap_device *device,
			const guid_128_t guid, const char *vname)
{
	struct pimap_folder *folder = pimap_device_find_folder(device, guid);

	if (folder == NULL) {
		folder = array_append_space(&device->folders);
		guid_128_copy(folder->guid, guid);
	}
	if (null_strcmp(folder->vname, vname) != 0)
		folder->vname = p_strdup(profile->pool, vname);
	return folder;
}

void pimap_device_set_filter(struct pimap_profile *profile,
			     struct pimap_device *device,
			     const guid_128_t guid, const char *vname,
			     enum pimap_filter_type type,
			     const struct pimap_filter_ref *ref)
{
	struct pimap_filter_ref *dest;
	struct pimap_folder *folder;

	if (guid == NULL) {
		array_foreach_modifiable(&device->folders, folder)
			i_zero(&folder->filters[type]);
		dest = &device->filters[type];
	} else {
		dest = &pimap_device_get_folder(profile, device, guid,
						vname)->filters[type];
	}
	dest->kind = ref->kind;
	dest->name = p_strdup(profile->pool, ref->name);
	pimap_device_tidy_folders(device);
	if (type == PIMAP_FILTER_VIEW)
		pimap_profile_views_changed(profile);
}

static const struct pimap_filter_ref *
pimap_device_find_own_filter(const struct pimap_device *device,
			     const guid_128_t guid, enum pimap_filter_type type)
{
	const struct pimap_folder *folder = device == NULL || guid == NULL ?
		NULL : pimap_device_find_folder(device, guid);

	return folder == NULL ||
		folder->filters[type].kind == PIMAP_FILTER_DEFAULT ?
		NULL : &folder->filters[type];
}

bool pimap_device_has_own_filter(const struct pimap_device *device,
				 const guid_128_t guid,
				 enum pimap_filter_type type)
{
	return pimap_device_find_own_filter(device, guid, type) != NULL;
}

struct pimap_filter_ref
pimap_device_get_filter(const struct pimap_device *device,
			const struct pimap_defaults *defaults,
			const guid_128_t guid, enum pimap_filter_type type)
{
	const struct pimap_filter_ref *own =
		pimap_device_find_own_filter(device, guid, type);

	if (own != NULL)
		return *own;
	if (device != NULL &&
	    device->filters[type].kind != PIMAP_FILTER_DEFAULT)
		return device->filters[type];
	return defaults->filters[type];
}

bool pimap_device_has_folder_filters(const struct pimap_device *device,
				     enum pimap_filter_type type)
{
	const struct pimap_folder *folder;

	array_foreach(&device->folders, folder) {
		if (folder->filters[type].kind != PIMAP_FILTER_DEFAULT)
			return TRUE;
	}
	return FALSE;
}

const struct pimap_baseline *
pimap_device_find_baseline(const struct pimap_device *device,
			   const guid_128_t guid)
{
	const struct pimap_baseline *baseline;

	array_foreach(&device->baselines, baseline) {
		if (guid_128_equals(baseline->guid, guid))
			return baseline;
	}
	return NULL;
}

void pimap_device_set_baseline(struct pimap_device *device,
			       const struct pimap_baseline *baseline)
{
	pimap_device_drop_baseline(device, baseline->guid);
	array_push_back(&device->baselines, baseline);
}

void pimap_device_drop_baseline(struct pimap_device *device,
				const guid_128_t guid)
{
	const struct pimap_baseline *baseline =
		pimap_device_find_baseline(device, guid);

	if (baseline != NULL) {
		array_delete(&device->baselines,
			array_ptr_to_idx(&device->baselines, baseline), 1);
	}
}

static struct pimap_pref *
pimap_device_find_pref(const struct pimap_device *device, const char *name)
{
	struct pimap_pref *pref;

	array_foreach_modifiable(&device->prefs, pref) {
		if (strcmp(pref->name, name) == 0)
			return pref;
	}
	return NULL;
}

void pimap_device_set_pref(struct pimap_profile *profile,
			   struct pimap_device *device, const char *name,
			   const char *value)
{
	struct pimap_pref *pref = pimap_device_find_pref(device, name);

	if (value == NULL) {
		if (pref != NULL)
			array_delete(&device->prefs,
				     array_ptr_to_idx(&device->prefs, pref), 1);
		return;
	}
	if (pref == NULL) {
		pref = array_append_space(&device->prefs);
		pref->name = p_strdup(profile->pool, name);
	}
	pref->value = p_strdup(profile->pool, value);
}

const char *pimap_device_get_pref(const struct pimap_device *device,
				  const char *name)
{
	const struct pimap_pref *pref;

	if (device == NULL)
		return NULL;
	pref = pimap_device_find_pref(device, name);
	return pref == NULL ? NULL : pref->value;
}

/* text */

static void print_fields(string_t *dest, const char *first, ...)
{
	va_list args;
	const char *str;

	va_start(args, first);
	for (str = first; str != NULL; str = va_arg(args, const char *)) {
		if (str != first)
			str_append_c(dest, '\t');
		str_append_tabescaped(dest, str);
	}
	va_end(args);
	str_append_c(dest, '\n');
}

static const char *ref_str(const struct pimap_filter_ref *ref)
{
	return t_strdup_printf("%c%s", kind_chars[ref->kind],
			       ref->name == NULL ? "" : ref->name);
}

static void
pimap_device_print(const struct pimap_device *device, string_t *dest)
{
	const struct pimap_baseline *baseline;
	const struct pimap_folder *folder;
	const struct pimap_pref *pref;

	print_fields(dest, "device", device->id, mode_names[device->mode],
		     ref_str(&device->filters[PIMAP_FILTER_VIEW]),
		     ref_str(&device->filters[PIMAP_FILTER_NOTIFY]), NULL);
	array_foreach(&device->folders, folder) {
		print_fields(dest, "folder", guid_128_to_string(folder->guid),
			     folder->vname,
			     ref_str(&folder->filters[PIMAP_FILTER_VIEW]),
			     ref_str(&folder->filters[PIMAP_FILTER_NOTIFY]),
			     NULL);
	}
	array_foreach(&device->prefs, pref)
		print_fields(dest, "pref", pref->name, pref->value, NULL);
	array_foreach(&device->baselines, baseline) {
		str_printfa(dest, "known\t%s\t%u\t%u\t%u\t%"PRIu64"\t%u\t",
			    guid_128_to_string(baseline->guid),
			    baseline->generation, baseline->uid_validity,
			    baseline->next_uid, baseline->modseq,
			    baseline->messages);
		pimap_newest_print(&baseline->newest, dest);
		str_append_c(dest, '\n');
	}
}

bool pimap_profile_has_channels(const struct pimap_profile *profile)
{
	struct pimap_device *device;

	array_foreach_elem(&profile->devices, device) {
		if (pimap_device_get_pref(device, PIMAP_PREF_CHANNEL) != NULL)
			return TRUE;
	}
	return FALSE;
}

static enum pimap_profile_peek
profile_get_peek(const struct pimap_profile *profile)
{
	enum pimap_profile_peek peek = PIMAP_PROFILE_PEEK_NONE;
	struct pimap_device *device;
	const char *event_filter;

	array_foreach_elem(&profile->devices, device) {
		if (pimap_device_get_pref(device, PIMAP_PREF_CHANNEL) == NULL)
			continue;
		event_filter = pimap_device_get_pref(device,
						     PIMAP_PREF_EVENT_FILTER);
		if (event_filter == NULL)
			peek = PIMAP_PROFILE_PEEK_DEFAULT;
		else if (strcmp(event_filter, "ALL") == 0)
			return PIMAP_PROFILE_PEEK_ALL;
		else if (peek == PIMAP_PROFILE_PEEK_NONE)
			peek = PIMAP_PROFILE_PEEK_NEW;
	}
	return peek;
}

void pimap_profile_print(const struct pimap_profile *profile, string_t *dest)
{
	const struct pimap_filter *filter;
	struct pimap_device *device;
	const unsigned int peek = profile_get_peek(profile);
	size_t start = str_len(dest);

	str_append(dest, PIMAP_PROFILE_HEADER);
	str_printfa(dest, PIMAP_PROFILE_GENERATION"%u\t%u\t%u\n",
		    profile->views_generation, profile->generation,
		    peek);
	array_foreach(&profile->filters, filter) {
		print_fields(dest, "filter", filter->name, filter->criteria,
			     filter->desc, NULL);
	}
	array_foreach_elem(&profile->devices, device) T_BEGIN {
		pimap_device_print(device, dest);
	} T_END;
	str_printfa(dest, "end\t%08x\n",
		    crc32_data(str_data(dest) + start, str_len(dest) - start));
}

static int
parse_refs(const struct pimap_profile *profile, const char *const *args,
	   struct pimap_filter_ref refs_r[PIMAP_FILTER_TYPE_COUNT])
{
	struct pimap_filter_ref ref;
	unsigned int i;
	const char *p;

	for (i = 0; i < PIMAP_FILTER_TYPE_COUNT; i++) {
		i_zero(&refs_r[i]);
		if (args[i][0] == '\0' ||
		    (p = strchr(kind_chars, args[i][0])) == NULL)
			return -1;
		refs_r[i].kind = p - kind_chars;
		switch (refs_r[i].kind) {
		case PIMAP_FILTER_NAMED:
			if (pimap_profile_find_filter(profile,
						      args[i] + 1) == NULL)
				return -1;
			refs_r[i].name = args[i] + 1;
			break;
		case PIMAP_FILTER_SYSTEM:
			if (!pimap_filter_ref_parse(args[i] + 1, &ref) ||
			    ref.kind != PIMAP_FILTER_NAMED)
				return -1;
			refs_r[i].name = args[i] + 1;
			break;
		default:
			if (args[i][1] != '\0')
				return -1;
		}
	}
	return 0;
}

/* guid and vname are NULL for the device's own */
static int
parse_filters(struct pimap_profile *profile, struct pimap_device *device,
	      const guid_128_t guid, const char *vname,
	      const char *const *args)
{
	struct pimap_filter_ref refs[PIMAP_FILTER_TYPE_COUNT];
	unsigned int i;

	if (parse_refs(profile, args, refs) < 0)
		return -1;
	for (i = 0; i < PIMAP_FILTER_TYPE_COUNT; i++) {
		if (refs[i].kind != PIMAP_FILTER_DEFAULT) {
			pimap_device_set_filter(profile, device, guid, vname,
						i, &refs[i]);
		}
	}
	return 0;
}

static int
parse_device(struct pimap_profile *profile, const char *const *args,
	     struct pimap_device **device_r)
{
	enum pimap_device_mode mode;

	if (str_array_length(args) != 4 ||
	    !pimap_device_id_is_valid(args[0]) ||
	    pimap_profile_find_device(profile, args[0]) != NULL ||
	    !pimap_device_mode_parse(args[1], &mode))
		return -1;
	*device_r = pimap_profile_add_device(profile, args[0], mode);
	return parse_filters(profile, *device_r, NULL, NULL, args + 2);
}

static int
parse_folder(struct pimap_profile *profile, struct pimap_device *device,
	     const char *const *args)
{
	guid_128_t guid;

	if (str_array_length(args) != 4 ||
	    guid_128_from_string(args[0], guid) < 0 ||
	    args[1][0] == '\0' || !uni_utf8_str_is_valid(args[1]))
		return -1;
	return parse_filters(profile, device, guid, args[1], args + 2);
}

static int
parse_baseline(struct pimap_device *device, const char *const *args)
{
	struct pimap_baseline baseline;

	i_zero(&baseline);
	if (str_array_length(args) != 7 ||
	    guid_128_from_string(args[0], baseline.guid) < 0 ||
	    str_to_uint32(args[1], &baseline.generation) < 0 ||
	    str_to_uint32(args[2], &baseline.uid_validity) < 0 ||
	    str_to_uint32(args[3], &baseline.next_uid) < 0 ||
	    str_to_uint64(args[4], &baseline.modseq) < 0 ||
	    str_to_uint32(args[5], &baseline.messages) < 0 ||
	    baseline.messages >= I_MAX(baseline.next_uid, 1) ||
	    pimap_newest_parse(args[6], baseline.next_uid,
			       &baseline.newest) < 0)
		return -1;
	array_push_back(&device->baselines, &baseline);
	return 0;
}

static int
parse_record(struct pimap_profile *profile, struct pimap_device **device,
	     uint32_t *generation, const char *const *args)
{
	unsigned int count = str_array_length(args);
	struct pimap_filter_ref ref;

	if (count > 1 && strcmp(args[0], "generation") == 0) {
		/* profiles from before there were channels have one number */
		if (count > 2 &&
		    str_to_uint32(args[2], &profile->generation) < 0)
			return -1;
		return str_to_uint32(args[1], generation);
	}
	if (count < 3)
		return -1;
	if (strcmp(args[0], "filter") == 0) {
		if (count > 4 || !pimap_filter_ref_parse(args[1], &ref) ||
		    ref.kind != PIMAP_FILTER_NAMED ||
		    pimap_profile_find_filter(profile, args[1]) != NULL ||
		    !pimap_filter_desc_is_valid(args[3]))
			return -1;
		pimap_profile_set_filter(profile, args[1], args[3], args[2]);
		return 0;
	}
	if (strcmp(args[0], "device") == 0)
		return parse_device(profile, args + 1, device);
	if (*device == NULL)
		return -1;
	if (strcmp(args[0], "folder") == 0)
		return parse_folder(profile, *device, args + 1);
	if (strcmp(args[0], "known") == 0)
		return parse_baseline(*device, args + 1);
	if (strcmp(args[0], "pref") == 0 && count == 3) {
		pimap_device_set_pref(profile, *device, args[1], args[2]);
		return 0;
	}
	return -1;
}

static int
parse_lines(struct pimap_profile *profile, const char *text,
	    const char **error_r)
{
	struct pimap_device *device = NULL;
	const char *const *lines = t_strsplit(text, "\n");
	uint32_t generation = 0;
	unsigned int i;
	int ret = 0;

	/* the text ends with a newline, so the last one is empty */
	for (i = 1; lines[i+1] != NULL && ret == 0; i++) T_BEGIN {
		ret = parse_record(profile, &device, &generation,
				   t_strsplit_tabescaped(lines[i]));
	} T_END;
	/* reading is no change */
	profile->views_generation = generation;
	if (ret < 0)
		*error_r = t_strdup_printf("line %u is invalid", i);
	return ret;
}

int pimap_profile_parse(const void *data, size_t size,
			struct pimap_profile **profile_r, const char **error_r)
{
	const size_t header_len = strlen(PIMAP_PROFILE_HEADER);
	const size_t end_len = strlen("end\t01234567\n");
	struct pimap_profile *profile;
	const char *text, *end;
	int ret;

	if (size < header_len ||
	    memcmp(data, PIMAP_PROFILE_HEADER, header_len) != 0) {
		*error_r = "not a profile of a known version";
		return -1;
	}
	if (size < header_len + end_len || memchr(data, '\0', size) != NULL) {
		*error_r = "truncated or damaged";
		return -1;
	}
	end = t_strdup_printf("end\t%08x\n", crc32_data(data, size - end_len));
	if (memcmp(CONST_PTR_OFFSET(data, size - end_len), end, end_len) != 0) {
		*error_r = "truncated or damaged (checksum)";
		return -1;
	}
	profile = pimap_profile_alloc();
	text = t_strndup(data, size - end_len);
	ret = parse_lines(profile, text, error_r);
	if (ret < 0)
		pimap_profile_free(&profile);
	*profile_r = profile;
	return ret;
}

struct pimap_profile *pimap_profile_dup(const struct pimap_profile *profile)
{
	string_t *text = str_new(default_pool, 4096);
	struct pimap_profile *copy;
	const char *error;
	int ret;

	pimap_profile_print(profile, text);
	T_BEGIN {
		ret = pimap_profile_parse(str_data(text), str_len(text), &copy,
					  &error);
		if (ret < 0)
			i_panic("A profile can't be read again: %s", error);
	} T_END;
	str_free(&text);
	return copy;
}
