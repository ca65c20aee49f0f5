/* SPDX-License-Identifier: LGPL-2.1-only */
/* The profile of a user, its text form and the file it is kept in.

   The text is one record a line, fields separated by TAB and escaped as in
   all of Dovecot's own protocols:

     pimap-profile 1
     filter  name  criteria  [desc]
     device  id
     default type  kind  [name]        of the device above
     folder  vname type kind [name]    of the device above
     pref    name  value               of the device above
     end     crc32                     of all the lines before it

   A file that isn't whole is never used. */

#include "lib.h"
#include "array.h"
#include "str.h"
#include "strescape.h"
#include "crc32.h"
#include "unichar.h"
#include "istream.h"
#include "file-dotlock.h"
#include "mkdir-parents.h"
#include "write-full.h"
#include "pimap-device.h"
#include "pimap-profile.h"

#include <sys/stat.h>
#include <unistd.h>

#define PIMAP_PROFILE_HEADER "pimap-profile\t1\n"
#define PIMAP_PROFILE_MAX_SIZE (4*1024*1024)

static const char type_chars[PIMAP_FILTER_TYPE_COUNT+1] = "VN";
static const char kind_chars[] = "ANU"; /* all, none, user's */

static const struct dotlock_settings profile_dotlock_set = {
	.timeout = 30,
	.stale_timeout = 60,
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
		return ref->name;
	case PIMAP_FILTER_DEFAULT:
		return "DEFAULT";
	}
	i_unreached();
}

bool pimap_filter_desc_is_valid(const char *desc)
{
	return desc == NULL || (strlen(desc) <= PIMAP_FILTER_DESC_MAX &&
				uni_utf8_str_is_valid(desc));
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
pimap_filter_ref_is_named(const struct pimap_filter_ref *ref, const char *name)
{
	return ref->kind == PIMAP_FILTER_NAMED && strcmp(ref->name, name) == 0;
}

bool pimap_profile_filter_is_used(const struct pimap_profile *profile,
				  const char *name)
{
	const struct pimap_folder_filter *folder;
	struct pimap_device *device;
	unsigned int i;

	array_foreach_elem(&profile->devices, device) {
		for (i = 0; i < PIMAP_FILTER_TYPE_COUNT; i++) {
			if (pimap_filter_ref_is_named(&device->defaults[i], name))
				return TRUE;
		}
		array_foreach(&device->folders, folder) {
			if (pimap_filter_ref_is_named(&folder->ref, name))
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
pimap_profile_get_device(struct pimap_profile *profile, const char *id)
{
	struct pimap_device *device = pimap_profile_find_device(profile, id);

	if (device == NULL) {
		device = p_new(profile->pool, struct pimap_device, 1);
		device->id = p_strdup(profile->pool, id);
		device->defaults[PIMAP_FILTER_VIEW].kind = PIMAP_FILTER_ALL;
		device->defaults[PIMAP_FILTER_NOTIFY].kind = PIMAP_FILTER_NONE;
		p_array_init(&device->folders, profile->pool, 4);
		p_array_init(&device->prefs, profile->pool, 4);
		array_push_back(&profile->devices, &device);
	}
	return device;
}

bool pimap_filter_ref_equals(const struct pimap_filter_ref *r1,
			     const struct pimap_filter_ref *r2)
{
	return r1->kind == r2->kind &&
		null_strcmp(r1->name, r2->name) == 0;
}

static struct pimap_folder_filter *
pimap_device_find_folder(const struct pimap_device *device, const char *vname,
			 enum pimap_filter_type type)
{
	struct pimap_folder_filter *folder;

	array_foreach_modifiable(&device->folders, folder) {
		if (folder->type == type && strcmp(folder->vname, vname) == 0)
			return folder;
	}
	return NULL;
}

static void
pimap_device_drop_folders(struct pimap_device *device, const char *vname,
			  enum pimap_filter_type type)
{
	const struct pimap_folder_filter *folder;
	unsigned int i;

	for (i = array_count(&device->folders); i > 0; i--) {
		folder = array_idx(&device->folders, i-1);
		if (folder->type == type &&
		    (vname == NULL || strcmp(folder->vname, vname) == 0))
			array_delete(&device->folders, i-1, 1);
	}
}

void pimap_device_set_filter(struct pimap_profile *profile,
			     struct pimap_device *device, const char *vname,
			     enum pimap_filter_type type,
			     const struct pimap_filter_ref *ref)
{
	struct pimap_filter_ref *dest;
	struct pimap_folder_filter *folder;

	pimap_device_drop_folders(device, vname, type);
	if (vname == NULL) {
		dest = &device->defaults[type];
		if (ref->kind == PIMAP_FILTER_DEFAULT) {
			*dest = pimap_device_get_filter(NULL, "", type);
			return;
		}
	} else {
		if (ref->kind == PIMAP_FILTER_DEFAULT)
			return;
		folder = array_append_space(&device->folders);
		folder->vname = p_strdup(profile->pool, vname);
		folder->type = type;
		dest = &folder->ref;
	}
	dest->kind = ref->kind;
	dest->name = p_strdup(profile->pool, ref->name);
}

struct pimap_filter_ref
pimap_device_get_filter(const struct pimap_device *device, const char *vname,
			enum pimap_filter_type type)
{
	static const struct pimap_filter_ref defaults[] = {
		[PIMAP_FILTER_VIEW] = { .kind = PIMAP_FILTER_ALL },
		[PIMAP_FILTER_NOTIFY] = { .kind = PIMAP_FILTER_NONE },
	};
	const struct pimap_folder_filter *folder;

	if (device == NULL)
		return defaults[type];
	folder = pimap_device_find_folder(device, vname, type);
	return folder != NULL ? folder->ref : device->defaults[type];
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

static const char *type_str(enum pimap_filter_type type)
{
	return t_strdup_printf("%c", type_chars[type]);
}

static const char *kind_str(enum pimap_filter_kind kind)
{
	return t_strdup_printf("%c", kind_chars[kind]);
}

static void
pimap_device_print(const struct pimap_device *device, string_t *dest)
{
	const struct pimap_folder_filter *folder;
	const struct pimap_pref *pref;
	unsigned int i;

	print_fields(dest, "device", device->id, NULL);
	for (i = 0; i < PIMAP_FILTER_TYPE_COUNT; i++) {
		print_fields(dest, "default", type_str(i),
			     kind_str(device->defaults[i].kind),
			     device->defaults[i].name, NULL);
	}
	array_foreach(&device->folders, folder) {
		print_fields(dest, "folder", folder->vname,
			     type_str(folder->type),
			     kind_str(folder->ref.kind),
			     folder->ref.name, NULL);
	}
	array_foreach(&device->prefs, pref)
		print_fields(dest, "pref", pref->name, pref->value, NULL);
}

void pimap_profile_print(const struct pimap_profile *profile, string_t *dest)
{
	const struct pimap_filter *filter;
	struct pimap_device *device;
	size_t start = str_len(dest);

	str_append(dest, PIMAP_PROFILE_HEADER);
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
parse_ref(struct pimap_profile *profile, const char *const *args,
	  enum pimap_filter_type *type_r, struct pimap_filter_ref *ref_r)
{
	const char *p;

	i_zero(ref_r);
	if (args[0] == NULL || strlen(args[0]) != 1 ||
	    (p = strchr(type_chars, args[0][0])) == NULL)
		return -1;
	*type_r = p - type_chars;
	if (args[1] == NULL || strlen(args[1]) != 1 ||
	    (p = strchr(kind_chars, args[1][0])) == NULL)
		return -1;
	ref_r->kind = p - kind_chars;
	if (ref_r->kind != PIMAP_FILTER_NAMED)
		return args[2] == NULL ? 0 : -1;
	if (args[2] == NULL || args[3] != NULL ||
	    pimap_profile_find_filter(profile, args[2]) == NULL)
		return -1;
	ref_r->name = args[2];
	return 0;
}

static int
parse_record(struct pimap_profile *profile, struct pimap_device **device,
	     const char *const *args)
{
	enum pimap_filter_type type;
	struct pimap_filter_ref ref;
	unsigned int count = str_array_length(args);

	if (count < 2)
		return -1;
	if (strcmp(args[0], "filter") == 0) {
		if (count < 3 || count > 4)
			return -1;
		pimap_profile_set_filter(profile, args[1], args[3], args[2]);
	} else if (strcmp(args[0], "device") == 0) {
		if (count != 2 || !pimap_device_id_is_valid(args[1]))
			return -1;
		*device = pimap_profile_get_device(profile, args[1]);
	} else if (*device == NULL) {
		return -1;
	} else if (strcmp(args[0], "default") == 0) {
		if (parse_ref(profile, args + 1, &type, &ref) < 0)
			return -1;
		pimap_device_set_filter(profile, *device, NULL, type, &ref);
	} else if (strcmp(args[0], "folder") == 0) {
		if (parse_ref(profile, args + 2, &type, &ref) < 0)
			return -1;
		pimap_device_set_filter(profile, *device, args[1], type, &ref);
	} else if (strcmp(args[0], "pref") == 0) {
		if (count != 3)
			return -1;
		pimap_device_set_pref(profile, *device, args[1], args[2]);
	} else {
		return -1;
	}
	return 0;
}

static int
parse_lines(struct pimap_profile *profile, const char *text,
	    const char **error_r)
{
	struct pimap_device *device = NULL;
	const char *const *lines = t_strsplit(text, "\n");
	unsigned int i;
	int ret = 0;

	for (i = 1; lines[i] != NULL && lines[i][0] != '\0' && ret == 0; i++) T_BEGIN {
		ret = parse_record(profile, &device,
				   t_strsplit_tabescaped(lines[i]));
	} T_END;
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

/* file */

int pimap_profile_read(const char *path, struct pimap_profile **profile_r,
		       struct stat *st_r, const char **error_r)
{
	struct istream *input;
	const unsigned char *data;
	size_t size;
	const char *error;
	int fd, ret;

	fd = open(path, O_RDONLY);
	if (fd == -1 && errno == ENOENT) {
		i_zero(st_r);
		*profile_r = pimap_profile_alloc();
		return 0;
	}
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	if (fstat(fd, st_r) < 0) {
		*error_r = t_strdup_printf("fstat(%s) failed: %m", path);
		i_close_fd(&fd);
		return -1;
	}
	input = i_stream_create_fd_autoclose(&fd, PIMAP_PROFILE_MAX_SIZE);
	while ((ret = i_stream_read(input)) > 0) ;
	data = i_stream_get_data(input, &size);
	if (ret == -2) {
		*error_r = t_strdup_printf("%s is too large", path);
	} else if (input->stream_errno != 0) {
		*error_r = t_strdup_printf("read(%s) failed: %s", path,
					   i_stream_get_error(input));
		ret = -2;
	} else {
		ret = pimap_profile_parse(data, size, profile_r, &error);
		if (ret < 0) {
			*error_r = t_strdup_printf(
				"Profile %s is unusable: %s "
				"(restore it, or delete it to lose all filters)",
				path, error);
		}
	}
	i_stream_unref(&input);
	return ret < 0 ? -1 : 0;
}

int pimap_profile_lock(const char *path, struct dotlock **dotlock_r,
		       const char **error_r)
{
	int fd;

	fd = file_dotlock_open_mode(&profile_dotlock_set, path, 0, 0600,
				    (uid_t)-1, (gid_t)-1, dotlock_r);
	if (fd == -1 && errno == ENOENT &&
	    mkdir_parents(t_strdup_until(path, strrchr(path, '/')), 0700) == 0) {
		/* a home that had no mail yet */
		fd = file_dotlock_open_mode(&profile_dotlock_set, path, 0, 0600,
					    (uid_t)-1, (gid_t)-1, dotlock_r);
	}
	if (fd == -1) {
		*error_r = errno == EAGAIN ?
			t_strdup_printf("Timeout while locking %s", path) :
			t_strdup_printf("file_dotlock_open(%s) failed: %m", path);
		return -1;
	}
	return 0;
}

static int sync_dir_of(const char *path, const char **error_r)
{
	const char *dir = t_strdup_until(path, strrchr(path, '/'));
	int fd, ret = 0;

	fd = open(dir, O_RDONLY | O_DIRECTORY);
	if (fd == -1) {
		*error_r = t_strdup_printf("open(%s) failed: %m", dir);
		return -1;
	}
	if (fsync(fd) < 0) {
		*error_r = t_strdup_printf("fsync(%s) failed: %m", dir);
		ret = -1;
	}
	i_close_fd(&fd);
	return ret;
}

int pimap_profile_write(const struct pimap_profile *profile, const char *path,
			struct dotlock **dotlock, const char **error_r)
{
	const char *lock_path = file_dotlock_get_lock_path(*dotlock);
	string_t *text = str_new(default_pool, 1024);
	int fd, ret = -1;

	pimap_profile_print(profile, text);
	fd = open(lock_path, O_WRONLY | O_TRUNC);
	if (fd == -1)
		*error_r = t_strdup_printf("open(%s) failed: %m", lock_path);
	else if (write_full(fd, str_data(text), str_len(text)) < 0)
		*error_r = t_strdup_printf("write(%s) failed: %m", lock_path);
	else if (fsync(fd) < 0)
		*error_r = t_strdup_printf("fsync(%s) failed: %m", lock_path);
	else
		ret = 0;
	i_close_fd(&fd);
	str_free(&text);
	if (ret < 0) {
		file_dotlock_delete(dotlock);
		return -1;
	}
	if (file_dotlock_replace(dotlock,
				 DOTLOCK_REPLACE_FLAG_VERIFY_OWNER) <= 0) {
		*error_r = t_strdup_printf("Replacing %s failed", path);
		return -1;
	}
	return sync_dir_of(path, error_r);
}
