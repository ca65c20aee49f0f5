/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef SMS_TEXT_H
#define SMS_TEXT_H

/* Short messages carry 140 octets: 160 septets of GSM 03.38's alphabet, or 70 units of
   UCS-2, in which all else goes. */

/* What a message holds, in septets, and each part of a longer one */
#define SMS_TEXT_SEPTETS 160
#define SMS_TEXT_PART_SEPTETS 153
/* Up to so many parts the one measure is right for both encodings. */
#define SMS_TEXT_MAX_PARTS 6

/* Are all characters of the UTF-8 text in GSM 03.38's alphabet, or in its extension? */
bool sms_text_is_gsm(const char *text);
/* Such a text, a code in each octet. That of @ is NUL. */
void sms_text_append_gsm(buffer_t *dest, const char *text);
/* How many septets the UTF-8 text takes, or of UCS-2 as many septets as take its
   place. */
size_t sms_text_measure(const char *text);

#endif
