/* SPDX-License-Identifier: LGPL-2.1-only */
/* The list of the channels, and what they have in common. */

#include "lib.h"
#include "outband-channel.h"

const struct outband_channel_vfuncs *const outband_channels[] = {
	&outband_channel_jms,
	&outband_channel_mail,
#ifdef PIMAP_HAVE_LIBXML
	&outband_channel_mms,
#endif
#ifdef PIMAP_HAVE_MQTT
	&outband_channel_mqtt,
#endif
	&outband_channel_program,
	&outband_channel_sip,
	&outband_channel_sms,
	&outband_channel_wap_push,
#ifdef PIMAP_HAVE_LIBCRYPTO
	&outband_channel_udp,
	&outband_channel_webpush,
#endif
	NULL
};
