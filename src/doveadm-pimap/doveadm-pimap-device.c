/* SPDX-License-Identifier: LGPL-2.1-only */
/* doveadm pimap device */

#include "lib.h"
#include "array.h"
#include "pimap-profile.h"
#include "doveadm-print.h"
#include "doveadm-pimap.h"

static unsigned int
device_count_folders(const struct pimap_device *device)
{
	const struct pimap_folder_filter *f1, *f2;
	unsigned int count = 0;

	array_foreach(&device->folders, f1) {
		/* one that has both filters counts once */
		array_foreach(&device->folders, f2) {
			if (strcmp(f1->vname, f2->vname) == 0)
				break;
		}
		if (f1 == f2)
			count++;
	}
	return count;
}

static int
device_list_run(struct doveadm_mail_cmd_context *ctx, struct mail_user *user)
{
	struct doveadm_pimap_cmd *cmd =
		container_of(ctx, struct doveadm_pimap_cmd, ctx);
	const struct pimap_profile *profile;
	struct pimap_device *device;

	if (doveadm_pimap_get_profile(cmd, user, &profile) < 0)
		return -1;
	array_foreach_elem(&profile->devices, device) {
		doveadm_print(device->id);
		doveadm_print(pimap_filter_ref_name(
			&device->defaults[PIMAP_FILTER_VIEW]));
		doveadm_print(pimap_filter_ref_name(
			&device->defaults[PIMAP_FILTER_NOTIFY]));
		doveadm_print_num(device_count_folders(device));
	}
	return 0;
}

static void device_list_headers(void)
{
	doveadm_print_header("device", "device", DOVEADM_PRINT_HEADER_FLAG_EXPAND);
	doveadm_print_header_simple("view");
	doveadm_print_header_simple("notification");
	doveadm_print_header("folders", "folders with own filters",
			     DOVEADM_PRINT_HEADER_FLAG_RIGHT_JUSTIFY);
}

static struct doveadm_mail_cmd_context *device_list_alloc(void)
{
	return doveadm_pimap_cmd_alloc(device_list_run, device_list_headers,
				       DOVEADM_PRINT_TYPE_TABLE);
}

struct doveadm_cmd_ver2 doveadm_pimap_cmd_device_list = {
	.name = "pimap device list",
	.usage = DOVEADM_CMD_MAIL_USAGE_PREFIX,
	.mail_cmd = device_list_alloc,
DOVEADM_CMD_PARAMS_START
DOVEADM_CMD_MAIL_COMMON
DOVEADM_CMD_PARAMS_END
};
