/* The grammar of JSON (RFC 8259).
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

#endif
