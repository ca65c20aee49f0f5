/* SPDX-License-Identifier: LGPL-2.1-only */
/* Names of logins: the first octet is the separator. */

#include "lib.h"
#include "pimap-device.h"
#include "fuzz.h"

static void check_split(const char *login, char separator)
{
	const char *user, *device, *user2, *device2, *at;
	int ret;

	ret = pimap_device_split(login, separator, &user, &device);
	i_assert((ret == 0) == (strchr(login, separator) == NULL));
	if (ret <= 0)
		return;
	/* a name with the separator goes nowhere */
	i_assert(*user != '\0' && strchr(user, separator) == NULL);
	i_assert(strlen(user) + 1 + strlen(device) == strlen(login));
	i_assert(pimap_device_id_is_valid(device));
	i_assert(strlen(device) <= PIMAP_DEVICE_ID_MAX);
	i_assert(strpbrk(device, "/\\ \t\r\n@#") == NULL && *device != '.');
	/* both of the forms with a domain are one device */
	at = strchr(user, '@');
	if (at != NULL) {
		i_assert(pimap_device_split(t_strdup_printf("%s%c%s%s",
			t_strdup_until(user, at), separator, device, at),
			separator, &user2, &device2) == 1);
		i_assert(strcmp(user, user2) == 0 &&
			 strcmp(device, device2) == 0);
	}
	i_assert(pimap_device_split(t_strdup_printf("%s%c%s", user, separator,
			device), separator, &user2, &device2) == 1);
	i_assert(strcmp(user, user2) == 0 && strcmp(device, device2) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init(NULL);
	if (size == 0 || !pimap_device_separator_is_valid(data[0]))
		return 0;
	T_BEGIN {
		check_split(t_strndup(data + 1, size - 1), data[0]);
	} T_END;
	return 0;
}
