/* Strict JSON: every JSON file of a model (config, index, safetensors header, tokenizer) comes through here.
 *
 * Owns: the check that a buffer is exactly one JSON document (RFC 8259, UTF-8) within fixed limits, the parsed tree,
 * typed look-ups that name file, key and value when they refuse, and all JSON that is written.
 * Never: repairs input, compares keys without regard to case, keeps a pointer into the caller's buffer, prints by
 * itself.
 * Thread-safety: a document is immutable once parsed; several threads may read it. Nothing global is used.
 *
 * The tree is libcjson's. cJSON alone would accept trailing junk, duplicate keys, `01`, raw control characters and
 * invalid UTF-8, would cut strings at \u0000 and would look keys up without regard to case: so the bytes are scanned
 * first, by a loop that does not recurse, and cJSON only ever sees a document that has passed.
 *
 * cJSON keeps numbers as doubles and prints 15 digits of them. Here a number keeps its own text (in `valuestring`,
 * which cJSON copies and frees) where the double would be printed otherwise, and only json_write_value prints: what
 * came in goes out, to the last digit.
 */
#ifndef MUNINN_ENGINE_FILES_JSON_H
#define MUNINN_ENGINE_FILES_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/base/status.h"

enum {
    JSON_DEPTH_MAX = 64,           /* nested arrays and objects; cJSON recurses, so this bounds its stack */
    JSON_NUMBER_BYTES_MAX = 60,    /* cJSON cuts the text of a number after 63 bytes */
    JSON_VALUES_MAX = 4 * 1048576, /* values in one document: `[0,0,...` costs 40 times its size as a tree */
};

/* U+FEFF in UTF-8: what some editors put in front of a file. */
#define JSON_BYTE_ORDER_MARK "\xef\xbb\xbf"

/* Largest integer an integer getter returns: above it a double no longer holds every integer. */
#define JSON_INTEGER_MAX ((UINT64_C(1) << 53) - 1)

/* A parsed document. Zeroed is a valid empty one. */
struct json_doc {
    struct cJSON *root;       /* owned; iterate with cJSON_ArrayForEach, which is O(1) per step */
    char *file;               /* owned copy of the name that messages use */
    const struct mn_log *log; /* borrowed: outlives the document */
};

/* Parses `bytes`, which need no terminating zero. `file` is only the name for messages.
 * MN_ERR_FORMAT: not strictly JSON, a key twice in one object, a number outside the range of double, a lone surrogate,
 *   a \u0000, deeper than JSON_DEPTH_MAX, more than JSON_VALUES_MAX values, or longer than `cap_bytes`.
 * MN_ERR_MEMORY: out of memory. On failure *doc is zeroed. */
enum mn_status json_parse(struct json_doc *doc, const char *file, const void *bytes, size_t n_bytes, size_t cap_bytes,
                          const struct mn_log *log);
/* The same for what other programs wrote and only some keys of which are read: a byte order mark in front is skipped,
 * and the NaN, Infinity and -Infinity that Python writes are null where nobody reads them. Every look-up refuses them
 * by their name, the *_or ones too. */
enum mn_status json_parse_foreign(struct json_doc *doc, const char *file, const void *bytes, size_t n_bytes,
                                  size_t cap_bytes, const struct mn_log *log);

/* json_parse_foreign on a regular file of at most `cap_bytes`. Adds MN_ERR_FILE: missing, unreadable, a link that leads
 * nowhere, not a regular file, shrank while it was read. A file that is something else by its first bytes (input.h) is
 * named as that. */
enum mn_status json_read_file(struct json_doc *doc, const char *path, size_t cap_bytes, const struct mn_log *log);

/* Steps over a byte order mark at the beginning of a text: returns its bytes, 3 or 0. */
size_t json_byte_order_mark(const char *text, size_t n_bytes);

/* Frees the tree. NULL and zeroed documents are fine; the document is zeroed. */
void json_destroy(struct json_doc *doc);

/* The member `key` of `object`, compared byte by byte; NULL when absent or when `object` is NULL or no object.
 * O(members): to visit a large object, iterate instead. */
const struct cJSON *json_find(const struct cJSON *object, const char *key);

/* Typed look-ups: MN_ERR_FORMAT when the member is absent, of another type, or outside the range (inclusive).
 * An integer may be spelled `3`, `3.0` or `3e0`, but not 3.0000000000000000001; `max` must not exceed JSON_INTEGER_MAX.
 * *out is only written on success. */
enum mn_status json_get_u32(const struct json_doc *doc, const struct cJSON *object, const char *key, uint32_t min,
                            uint32_t max, uint32_t *out);
enum mn_status json_get_u64(const struct json_doc *doc, const struct cJSON *object, const char *key, uint64_t min,
                            uint64_t max, uint64_t *out);
enum mn_status json_get_double(const struct json_doc *doc, const struct cJSON *object, const char *key, double min,
                               double max, double *out);
enum mn_status json_get_bool(const struct json_doc *doc, const struct cJSON *object, const char *key, bool *out);
/* The string is owned by the document, valid UTF-8, zero-terminated, without zero bytes inside, <= max_bytes long. */
enum mn_status json_get_string(const struct json_doc *doc, const struct cJSON *object, const char *key,
                               size_t max_bytes, const char **out);
enum mn_status json_get_object(const struct json_doc *doc, const struct cJSON *object, const char *key,
                               const struct cJSON **out);
enum mn_status json_get_array(const struct json_doc *doc, const struct cJSON *object, const char *key,
                              const struct cJSON **out);

/* The same, where an absent member or `null` gives `fallback` (which is not range-checked and may be NULL for
 * strings). */
enum mn_status json_get_u32_or(const struct json_doc *doc, const struct cJSON *object, const char *key, uint32_t min,
                               uint32_t max, uint32_t fallback, uint32_t *out);
enum mn_status json_get_double_or(const struct json_doc *doc, const struct cJSON *object, const char *key, double min,
                                  double max, double fallback, double *out);
enum mn_status json_get_bool_or(const struct json_doc *doc, const struct cJSON *object, const char *key, bool fallback,
                                bool *out);
enum mn_status json_get_string_or(const struct json_doc *doc, const struct cJSON *object, const char *key,
                                  size_t max_bytes, const char *fallback, const char **out);

/* The value of a node that is already at hand (an array element); `key` is only the name for the message. */
enum mn_status json_as_u32(const struct json_doc *doc, const char *key, const struct cJSON *node, uint32_t min,
                           uint32_t max, uint32_t *out);
enum mn_status json_as_u64(const struct json_doc *doc, const char *key, const struct cJSON *node, uint64_t min,
                           uint64_t max, uint64_t *out);
enum mn_status json_as_string(const struct json_doc *doc, const char *key, const struct cJSON *node, size_t max_bytes,
                              const char **out);

/* Logs "file: key 'k': value V: why" and returns `status`: for rules that only the caller knows. `node` NULL reads
 * as "(missing)". */
enum mn_status json_refuse(const struct json_doc *doc, enum mn_status status, const char *key, const struct cJSON *node,
                           const char *why);

/* Is the member there, and more than null? NaN and its kind are more than null: somebody reads them. */
bool json_is_given(const struct cJSON *object, const char *key);

/* ---- json_number.c ---- */

/* Notes the own text of every number in the tree of `doc` that was parsed from exactly these bytes, where its double
 * would be printed otherwise; and makes the words of json_scan_foreign null. MN_ERR_MEMORY. */
enum mn_status json_keep_numbers(struct json_doc *doc, const char *bytes, size_t n_bytes);
/* The word that stood where this null stands (NaN, ...), or NULL. */
const char *json_foreign_word(const struct cJSON *node);
/* The number as it is written: its own text, or its double's. */
enum { JSON_NUMBER_TEXT_BYTES = JSON_NUMBER_BYTES_MAX + 4 };
void json_number_text(const struct cJSON *number, char text[JSON_NUMBER_TEXT_BYTES]);
/* One spelling for all texts of a number: 1, 1.0 and 1e0 are 1. For grouping. */
enum { JSON_NUMBER_NAME_BYTES = 96 };
void json_number_name(const struct cJSON *number, char name[JSON_NUMBER_NAME_BYTES]);
/* Is the double, as it would be printed, the number that was given? */
bool json_number_is_exact(const struct cJSON *number);

/* ---- json_write.c: output. Always valid JSON; a write error stays on the stream: test ferror() once, at the end ----
 */

/* Writes `bytes` as a JSON string with its quotes. Every maximal piece of invalid UTF-8 becomes one U+FFFD. */
void json_write_string(FILE *stream, const char *bytes, size_t n_bytes);
/* A double that reads back the same, null when it is not finite. */
void json_write_double(FILE *stream, double value);
/* The shorter text that reads back to the same float. */
void json_write_float(FILE *stream, float value);
/* A tree on one line, strings and numbers as above. At most JSON_DEPTH_MAX deep. */
void json_write_value(FILE *stream, const struct cJSON *node);
/* The same as a text, malloc'ed; NULL without memory. */
char *json_print(const struct cJSON *node);
/* With numbers by json_number_name: equal values give equal texts. For grouping. */
char *json_print_name(const struct cJSON *node);

/* Names from outside (of files, folders, devices) as text that is valid UTF-8: bytes that are not become \xNN, so that
 * different names stay different. malloc'ed; NULL without memory. */
char *json_name(const char *name);
void json_write_name(FILE *stream, const char *name); /* the same as a JSON string */

#endif
