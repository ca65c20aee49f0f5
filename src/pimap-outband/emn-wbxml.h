/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef EMN_WBXML_H
#define EMN_WBXML_H

/* Appends an EMN (OMA-Push-EMN 1.0) as WBXML 1.3: account as in outband-payload.h, in
   UTF-8; of it nothing is left out but NULs. */
void emn_wbxml_append(buffer_t *dest, const char *account, time_t when);

#endif
