/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_ZONE_H
#define PIMAP_ZONE_H

/* Returns TRUE if zone is a time zone that the system has: a name below
   /usr/share/zoneinfo (or $TZDIR), as in Europe/Berlin; or "", the server's own
   (the process's). Reads the disk. */
bool pimap_zone_is_valid(const char *zone);

/* The days of a zone, which must be valid. since_r is when the day began that
   is that many days before the one of now, tomorrow_r when the next one will:
   with the first second of that date in the zone, also where there is no
   midnight or no such date. The process's own time zone is afterwards what it
   was. */
void pimap_zone_get_days(const char *zone, time_t now, uint32_t days,
			 time_t *since_r, time_t *tomorrow_r);

#endif
