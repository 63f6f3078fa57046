/* The grammar of JSON (RFC 8259) and of UTF-8, as json.c and json_write.c share them.
 *
 * Owns: the answer to "is this exactly one strict JSON document within the limits of json.h?".
 * Never: allocates, builds anything, repairs input.
 * Thread-safety: pure functions of their arguments.
 */
#ifndef MUNINN_ENGINE_FILES_JSON_SCAN_H
#define MUNINN_ENGINE_FILES_JSON_SCAN_H

#include <stddef.h>

struct json_scan {
    const unsigned char *p; /* [n] */
    size_t n, at;
    size_t n_values;
};

/* NULL, or what is wrong at s->p[s->at]. The grammar has its own stack: hostile nesting cannot reach the C stack. */
const char *json_scan_document(struct json_scan *s);

/* Length of the well-formed UTF-8 sequence at p, 1 to 4. 0 when there is none: then *bad_bytes is the length of the
 * longest prefix that could have become one (the unit that is replaced by one U+FFFD), at least 1. Needs n >= 1. */
size_t utf8_step(const unsigned char *p, size_t n, size_t *bad_bytes);

#endif
