/* Numbers as decimal text, with a point in every locale of the host program.
 *
 * Owns: how a double and a float are written so that reading gives the same one, how text becomes a double, and when
 * two texts name one number. Never: changes the process's locale; allocates.
 * Thread-safety: stateless; only the calling thread's locale is changed, and changed back. */
#ifndef MUNINN_ENGINE_BASE_DECIMAL_H
#define MUNINN_ENGINE_BASE_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>

enum { DECIMAL_BYTES = 32 }; /* what any double takes as text, with its terminating zero */

/* The first of 15, 16 and 17 significant digits that reads back to the same double. Returns the length. */
int decimal_write(char text[DECIMAL_BYTES], double value);
/* The same for a float, of 6 to 9: its own precision, so that 0.8f is 0.8. */
int decimal_write_float(char text[DECIMAL_BYTES], float value);

/* The double that this text names: 0.8 for 0.8f. */
double decimal_of_float(float value);

/* strtod with a point. `end` may be NULL. */
double decimal_read(const char *text, const char **end);

/* Do two texts of JSON numbers name exactly the same number? 1, 1.0 and 10e-1 do; no double comes into it. */
bool decimal_same(const char *a, const char *b);
/* The one spelling of a JSON number's text that all texts of this number share, cut at `name_bytes` (at least 96 hold
 * every text of 60 bytes). */
void decimal_name(const char *text, char *name, size_t name_bytes);

#endif
