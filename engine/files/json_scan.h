/* The grammar of JSON (RFC 8259).
 *
 * Owns: the answer to "is this exactly one strict JSON document within the limits of json.h?".
 * Never: allocates, builds anything.
 * Thread-safety: pure functions of their arguments.
 */
#ifndef MUNINN_ENGINE_FILES_JSON_SCAN_H
#define MUNINN_ENGINE_FILES_JSON_SCAN_H

#include <stddef.h>

struct json_scan {
    const unsigned char *p; /* [n] */
    size_t n, at;
    size_t n_values;
    size_t n_foreign;  /* words that are no JSON, see json_scan_foreign */
    size_t key, n_key; /* the key of the value under way, as it is spelled; n_key 0: unknown, or none */
};

/* NULL, or what is wrong at s->p[s->at], in the value of s->key where n_key is not 0. The grammar has its own stack:
 * hostile nesting cannot reach the C stack. */
const char *json_scan_document(struct json_scan *s);

/* Bytes of the NaN, Infinity or -Infinity at s->at, else 0: what Python's json module writes and reads as numbers. The
 * document counts them as values; who asked for it decides. */
size_t json_scan_foreign(const struct json_scan *s);

/* Overwrites them in a document that has passed by the number 0 and blanks (json_number.c). */
void json_hide_foreign(char *bytes, size_t n_bytes);

#endif
