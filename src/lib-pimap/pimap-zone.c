/* SPDX-License-Identifier: LGPL-2.1-only */
/* Days in a time zone that needn't be the process's. Only the C library knows
   what zone files mean; it is asked with another TZ in the environment, and that
   is put back before anything else can look at it. */

#include "lib.h"
#include "utc-mktime.h"
#include "pimap-zone.h"

#include <ctype.h>
#include <stdlib.h>
#include <time.h>
#include <fcntl.h>
#include <unistd.h>

#define ZONE_DEFAULT_DIR "/usr/share/zoneinfo"
#define ZONE_FILE_MAGIC "TZif"
#define ZONE_NAME_MAX 64

#define ZONE_DAY_SECS (24*3600)

static bool zone_name_is_valid(const char *zone)
{
	const char *p;

	if (!i_isalnum(zone[0]) || strlen(zone) > ZONE_NAME_MAX)
		return FALSE;
	for (p = zone; *p != '\0'; p++) {
		if (!i_isalnum(*p) && strchr("/_+-", *p) == NULL)
			return FALSE;
	}
	return TRUE;
}

bool pimap_zone_is_valid(const char *zone)
{
	const char *dir = getenv("TZDIR");
	char magic[sizeof(ZONE_FILE_MAGIC)-1];
	bool ret;
	int fd;

	if (zone[0] == '\0')
		return TRUE;
	if (!zone_name_is_valid(zone))
		return FALSE;
	fd = open(t_strconcat(dir == NULL ? ZONE_DEFAULT_DIR : dir, "/", zone,
			      NULL), O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return FALSE;
	ret = read(fd, magic, sizeof(magic)) == (ssize_t)sizeof(magic) &&
		memcmp(magic, ZONE_FILE_MAGIC, sizeof(magic)) == 0;
	i_close_fd(&fd);
	return ret;
}

static void zone_set(const char *tz)
{
	if (tz == NULL)
		(void)unsetenv("TZ");
	else if (setenv("TZ", tz, 1) < 0)
		i_fatal_status(FATAL_OUTOFMEM, "setenv(TZ) failed: %m");
	tzset();
}

/* Is the date of that time before the date? */
static bool zone_is_before(time_t time, const struct tm *date)
{
	struct tm tm;

	if (localtime_r(&time, &tm) == NULL)
		i_unreached();
	if (tm.tm_year != date->tm_year)
		return tm.tm_year < date->tm_year;
	if (tm.tm_mon != date->tm_mon)
		return tm.tm_mon < date->tm_mon;
	return tm.tm_mday < date->tm_mday;
}

/* The first second of a date, which is given by its midnight in UTC: no zone is
   a whole day off. mktime() isn't asked, for it answers what it likes where
   clocks are changed at midnight. */
static time_t zone_find_begin(time_t utc_midnight)
{
	time_t before = utc_midnight - ZONE_DAY_SECS;
	time_t after = utc_midnight + ZONE_DAY_SECS;
	struct tm date;
	time_t time;

	if (gmtime_r(&utc_midnight, &date) == NULL)
		i_unreached();
	while (before + 1 < after) {
		time = before + (after - before) / 2;
		if (zone_is_before(time, &date))
			before = time;
		else
			after = time;
	}
	return after;
}

void pimap_zone_get_days(const char *zone, time_t now, uint32_t days,
			 time_t *since_r, time_t *tomorrow_r)
{
	const char *old = zone[0] == '\0' ? NULL : t_strdup(getenv("TZ"));
	time_t midnight, since;
	struct tm tm;

	if (zone[0] == '\0')
		tzset();
	else {
		/* ":": it is a file, and nothing else */
		zone_set(t_strconcat(":", zone, NULL));
	}
	if (localtime_r(&now, &tm) == NULL)
		i_unreached();
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	midnight = utc_mktime(&tm);
	*tomorrow_r = zone_find_begin(midnight + ZONE_DAY_SECS);
	since = midnight - (time_t)days * ZONE_DAY_SECS;
	/* before 1970 nobody minds, and somewhere the library's years end */
	*since_r = since < ZONE_DAY_SECS ? since : zone_find_begin(since);
	if (zone[0] != '\0')
		zone_set(old);
}
