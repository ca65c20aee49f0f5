/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef IMAP_PIMAP_FETCH_H
#define IMAP_PIMAP_FETCH_H

/* Makes FETCH take ALL, FAST and FULL among other items, in device sessions
   (R-1.9, draft 4.1). */
void imap_pimap_fetch_init(void);
void imap_pimap_fetch_deinit(void);

#endif
