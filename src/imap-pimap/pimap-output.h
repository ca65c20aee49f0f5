/* SPDX-License-Identifier: LGPL-2.1-only */
#ifndef PIMAP_OUTPUT_H
#define PIMAP_OUTPUT_H

struct ostream;

/* Returns a stream on top of parent (which it references) that holds back what
   is written to it. */
struct ostream *pimap_output_create_held(struct ostream *parent);
/* Writes text, then what was held back, and holds back nothing from now on.
   Returns FALSE, and writes only what was held back, if nothing had been held
   back: there is no login reply to write before. */
bool pimap_output_release(struct ostream *output, const char *text);
/* Writes the login reply's tag and text in place of what was held back. */
void pimap_output_refuse(struct ostream *output, const char *text);

#endif
