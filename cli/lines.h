/* JSON lines from outside: one document per line, messages with file and line number. */
#ifndef MUNINN_LINES_H
#define MUNINN_LINES_H

#include "cli.h"
#include "json.h"

/* Calls `take` for every line of `text` that is not blank, with its number from 1 and a log that puts source and number
 * in front. The first failure ends it. */
enum mn_status lines_each(const char *source, const char *text, size_t n_bytes,
                          enum mn_status (*take)(void *user, size_t number, const char *line, size_t n_bytes,
                                                 const struct mn_log *log),
                          void *user, const struct mn_log *log);

/* The member `key` as token ids, at least one and each below vocab_size. *ids is malloc'ed. */
enum mn_status lines_get_ids(const struct json_doc *doc, const char *key, uint32_t vocab_size, uint32_t **ids,
                             uint32_t *n_ids);

#endif
