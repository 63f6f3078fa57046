/* Data goes to stdout, everything else to stderr as `muninn: ...` (main.c). Write errors stay on the stream until it is
 * flushed. Thread-safety: none; one thread. */
#ifndef MUNINN_CLI_COMMON_OUTPUT_H
#define MUNINN_CLI_COMMON_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "api/muninn.h"
#include "engine/base/status.h"

/* Flushes stdout; a failure now or earlier (a full disk) is MN_ERR_RUN. A pipe that nobody reads any more is
 * MN_ERR_INTERRUPTED, without a message: see interrupt.h. */
enum mn_status cli_flush(const struct mn_log *log);

/* The device, for reports of others' machines; one line on cli_notes. */
void cli_banner(const char *banner);

/* JSON pieces on stdout. Numbers read back the same; one that is not finite is 0: JSON has no word for it. */
void cli_json_key(const char *key, bool first); /* `"key":`, with a comma in front unless first */
void cli_json_string(const char *key, const char *text, bool first);
void cli_json_u64(const char *key, uint64_t value, bool first);
void cli_json_double(const char *key, double value, bool first);
void cli_json_float(const char *key, float value, bool first); /* 0.8 as 0.8, which it is not as a double */
void cli_json_bool(const char *key, bool value, bool first);
void cli_json_ids(const char *key, const uint32_t *ids, size_t n_ids, bool first);

/* The text of one token as a JSON string. A token may hold a part of a character, which becomes U+FFFD; without a
 * decoder (NULL), and of an id that the tokenizer does not know, the text is empty. MN_ERR_MEMORY. */
enum mn_status cli_write_token(FILE *out, struct mn_stream_decoder *decoder, uint32_t id, const struct mn_log *log);

#endif
