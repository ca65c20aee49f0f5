/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "test-common.h"
#include "pimap-zone.h"

#include <stdlib.h>
#include <time.h>

/* The expected times were computed with Python's zoneinfo. */
static void test_pimap_zone_days(void)
{
	static const struct {
		const char *zone;
		time_t now;
		uint32_t days;
		time_t since, tomorrow;
	} tests[] = {
		{ "UTC", 1764072000, 0,
		  1764028800, 1764115200 },
		/* 23 h */
		{ "Europe/Berlin", 1743289199, 0,
		  1743202800, 1743289200 },
		{ "Europe/Berlin", 1743289200, 0,
		  1743289200, 1743372000 },
		{ "Europe/Berlin", 1743336000, 1,
		  1743202800, 1743372000 },
		{ "Europe/Berlin", 1743422400, 1,
		  1743289200, 1743458400 },
		/* 25 h */
		{ "Europe/Berlin", 1761480000, 0,
		  1761429600, 1761519600 },
		{ "Europe/Berlin", 1761566400, 7,
		  1760911200, 1761606000 },
		{ "America/New_York", 1741521600, 0,
		  1741496400, 1741579200 },
		{ "America/New_York", 1762084800, 0,
		  1762056000, 1762146000 },
		/* UTC+14 */
		{ "Pacific/Kiritimati", 1764064799, 0,
		  1763978400, 1764064800 },
		{ "Pacific/Kiritimati", 1764064800, 0,
		  1764064800, 1764151200 },
		/* UTC-11 */
		{ "Pacific/Pago_Pago", 1764068399, 0,
		  1763982000, 1764068400 },
		{ "Pacific/Pago_Pago", 1764068400, 0,
		  1764068400, 1764154800 },
		{ "Asia/Kathmandu", 1764094499, 0,
		  1764008100, 1764094500 },
		/* by 30 minutes */
		{ "Australia/Lord_Howe", 1743940800, 1,
		  1743771600, 1743946200 },
		/* no midnight */
		{ "America/Havana", 1741521600, 0,
		  1741496400, 1741579200 },
		{ "America/Havana", 1741435200, 0,
		  1741410000, 1741496400 },
		{ "Asia/Beirut", 1743336000, 0,
		  1743285600, 1743368400 },
		/* two midnights */
		{ "America/Havana", 1762084800, 0,
		  1762056000, 1762146000 },
		/* 23:00 comes twice */
		{ "America/Asuncion", 1679745600, 1,
		  1679626800, 1679803200 },
		/* no 2011-12-30 */
		{ "Pacific/Apia", 1325160000, 0,
		  1325152800, 1325239200 },
		{ "Pacific/Apia", 1325332800, 1,
		  1325239200, 1325412000 },
		{ "Pacific/Apia", 1325332800, 2,
		  1325239200, 1325412000 },
	};
	time_t since, tomorrow;
	unsigned int i;

	test_begin("pimap zone: days");
	for (i = 0; i < N_ELEMENTS(tests); i++) {
		pimap_zone_get_days(tests[i].zone, tests[i].now, tests[i].days,
				    &since, &tomorrow);
		test_assert_idx(since == tests[i].since, i);
		test_assert_idx(tomorrow == tests[i].tomorrow, i);
	}
	pimap_zone_get_days("UTC", 1764072000, UINT32_MAX, &since, &tomorrow);
	test_assert(since < 0);
	test_end();
}

/* What else the process tells of local times stays as it is. */
static void test_pimap_zone_process(void)
{
	static const char *const zones[] = {
		NULL, "", "Asia/Tokyo", ":Asia/Tokyo", "XYZ-3"
	};
	const time_t now = 1764072000;
	time_t since, tomorrow, since2, tomorrow2;
	struct tm before, *after;
	unsigned int i;
	char *name;

	test_begin("pimap zone: the process's own zone");
	for (i = 0; i < N_ELEMENTS(zones); i++) {
		if (zones[i] == NULL)
			(void)unsetenv("TZ");
		else
			(void)setenv("TZ", zones[i], 1);
		tzset();
		name = i_strdup(tzname[0]);
		before = *localtime(&now);
		pimap_zone_get_days("America/Caracas", now, 3, &since,
				    &tomorrow);
		test_assert_idx(since == 1763784000, i);
		test_assert_idx(null_strcmp(getenv("TZ"), zones[i]) == 0, i);
		test_assert_idx(strcmp(tzname[0], name) == 0, i);
		after = localtime(&now);
		test_assert_idx(after->tm_gmtoff == before.tm_gmtoff &&
				after->tm_hour == before.tm_hour, i);
		i_free(name);
	}
	/* "" is that zone */
	(void)setenv("TZ", "Asia/Tokyo", 1);
	pimap_zone_get_days("", now, 3, &since, &tomorrow);
	pimap_zone_get_days("Asia/Tokyo", now, 3, &since2, &tomorrow2);
	test_assert(since == since2 && tomorrow == tomorrow2);
	test_end();
}

static void test_pimap_zone_is_valid(void)
{
	static const char *const valid[] = {
		"", "UTC", "Europe/Berlin", "Etc/GMT+5",
		"America/Port-au-Prince", "America/Argentina/Buenos_Aires"
	};
	static const char *const invalid[] = {
		"Europe/Nowhere", "Europe", "CET-1CEST", ":UTC", " UTC", "UTC ",
		"/usr/share/zoneinfo/UTC", "../zoneinfo/UTC", "Europe/../UTC",
		"zone.tab", "tzdata.zi", "Europe/Berlin/", "-5", "+05:00",
		"01234567890123456789012345678901234567890123456789012345678901234"
	};
	unsigned int i;

	test_begin("pimap zone: names");
	for (i = 0; i < N_ELEMENTS(valid); i++)
		test_assert_idx(pimap_zone_is_valid(valid[i]), i);
	for (i = 0; i < N_ELEMENTS(invalid); i++)
		test_assert_idx(!pimap_zone_is_valid(invalid[i]), i);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_pimap_zone_days,
		test_pimap_zone_process,
		test_pimap_zone_is_valid,
		NULL
	};

	return test_run(test_functions);
}
