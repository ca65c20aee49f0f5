/* SPDX-License-Identifier: LGPL-2.1-only */
/* Device names: what a device id may look like, and how a login name is
   split into user and device. Knows nothing of authentication or mail. */

#include "lib.h"
#include "pimap-device.h"

#include <ctype.h>

bool pimap_device_id_is_valid(const char *id)
{
	unsigned int i;

	if (!i_isalnum(id[0]))
		return FALSE;
	for (i = 1; id[i] != '\0'; i++) {
		if (!i_isalnum(id[i]) && strchr("._-", id[i]) == NULL)
			return FALSE;
	}
	return i <= PIMAP_DEVICE_ID_MAX;
}

int pimap_device_split(const char *login, char separator,
		       const char **user_r, const char **device_r)
{
	const char *sep = strrchr(login, separator), *domain;

	if (sep == NULL)
		return 0;
	domain = strchr(sep + 1, '@');
	if (domain == NULL)
		domain = sep + strlen(sep);
	*device_r = t_strdup_until(sep + 1, domain);
	*user_r = t_strconcat(t_strdup_until(login, sep), domain, NULL);
	if (sep == login || **user_r == '@' || strchr(*user_r, separator) != NULL ||
	    (*domain != '\0' && memchr(login, '@', sep - login) != NULL) ||
	    !pimap_device_id_is_valid(*device_r))
		return -1;
	return 1;
}
