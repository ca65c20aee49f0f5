/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef OUTBAND_SMSTOOLS_H
#define OUTBAND_SMSTOOLS_H

#include "outband-channel.h"

/* A gateway for short messages, by the spool directory of SMS Server Tools 3 (smsd): who
   writes a file there has handed it over. */

struct outband_smstools;

/* dir: its absolute path, from the setting of that name. parts: of how many messages one
   may be. The directory needn't be there yet. Returns 0, or -1 and error_r. */
int outband_smstools_init(const char *name, const char *dir, unsigned int parts,
			  struct outband_smstools **tools_r,
			  const char **error_r);
/* What is being sent is broken off, without a callback. */
void outband_smstools_deinit(struct outband_smstools **tools);

/* Writes the message, text in UTF-8, to that number. id: of the message; one that is sent
   again takes the place of the first, if it is still there. It blocks for the time that
   the disk takes; the callback is called once, later. token: by which its reports name
   it, NULL = there are to be none. */
void outband_smstools_send(struct outband_smstools *tools, const char *to,
			   const char *text, const char *id, const char *token,
			   outband_channel_callback_t *callback, void *context);
/* What isn't written is given up: the callback is called later. */
void outband_smstools_refuse(struct outband_smstools *tools, const char *error,
			     outband_channel_callback_t *callback,
			     void *context);

#endif
