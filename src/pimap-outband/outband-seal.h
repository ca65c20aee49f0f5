/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_SEAL_H
#define OUTBAND_SEAL_H

#include "outband-keys.h"

struct outband_channel_vfuncs;
struct outband_row;
struct pimap_settings;

/* What a device's key and lock mean for its notifications. */

struct outband_seal {
	/* number 0: there is none */
	struct pimap_envelope_key key;
	enum pimap_envelope_method method;
	/* The device is locked, and this is nothing that it may be told. */
	bool locked;
};

/* Sets what the row may be by this channel: its format, max_size, measure and
   fields_allowed.
   Returns 0, or -1 and error_r. */
int outband_seal_prepare(struct outband_keys *keys,
			 const struct pimap_settings *set,
			 const struct outband_channel *channel,
			 struct outband_row *row, struct outband_seal *seal_r,
			 const char **error_r);
/* Returns 1 and the row as the channel sends it: what follows the tag of EXTENDED is in
   an envelope if there is a key. 0 and error_r: it must not be sent; it tells what may
   not be told in clear text (any more). -1 and error_r: it can't be encrypted now. */
int outband_seal_row(const struct outband_seal *seal,
		     const struct outband_row *row, pool_t pool,
		     struct outband_row *sealed_r, const char **error_r);

/* Which methods a site has, "" = AES; the first is what the server uses. */
bool outband_seal_has_method(const struct pimap_settings *set,
			     enum pimap_envelope_method method);

#endif
