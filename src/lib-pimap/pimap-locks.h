/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_LOCKS_H
#define PIMAP_LOCKS_H

/* Which devices are locked. The service pimap-outband keeps that, and
   writes it into a file that everybody may read: hashes only, so that nobody learns
   from it who has devices. auth looks there at each device login, and the sessions of
   devices now and then; as long as the file is the same that is one stat(). */

/* below Dovecot's state_dir */
#define PIMAP_LOCKS_DIR "pimap-outband"
#define PIMAP_LOCKS_FILE "locks"

struct pimap_locks;

/* state_dir is copied. */
struct pimap_locks *pimap_locks_init(const char *state_dir);
void pimap_locks_deinit(struct pimap_locks **locks);

/* Returns 1 if the device is locked, 0 if it isn't (there may be no file at all), or
   -1 and error_r: whether it is can't be known. */
int pimap_locks_check(struct pimap_locks *locks, const char *user,
		      const char *device, const char **error_r);

/* Appends the line of a device that is locked. */
void pimap_locks_append(string_t *dest, const char *user, const char *device);

#endif
