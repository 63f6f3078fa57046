/* Prompts as token ids. Thread-safety: as the engine's. */
#ifndef MUNINN_CLI_COMMON_PROMPT_H
#define MUNINN_CLI_COMMON_PROMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/muninn.h"

/* The prompt of --file: `path`, "-" for standard input, or NULL when no prompt was given at all: then it is standard
 * input, unless that is a terminal or empty (MN_ERR_USAGE, with `ways`, the ways to give a prompt). The newline at the
 * end of the last line is not part of the prompt, unless `raw`. *text is malloc'ed, with a zero byte behind it. */
enum mn_status cli_read_prompt(const char *path, bool raw, const char *ways, char **text, size_t *n_bytes,
                               const struct mn_log *log);

/* MN_ERR_USAGE when an id is not below vocab_size. */
enum mn_status cli_check_ids(const uint32_t *ids, size_t n_ids, uint32_t vocab_size, const struct mn_log *log);

/* The ids of --ids, checked like that. *copy is malloc'ed. */
enum mn_status cli_copy_ids(uint32_t **copy, const uint32_t *ids, size_t n_ids, uint32_t vocab_size,
                            const struct mn_log *log);

/* A text prompt as ids, special tokens recognised, with the model's begin token in front unless it is there or `bos` is
 * false. *ids is malloc'ed. MN_ERR_USAGE: not UTF-8, or more than IDS_MAX ids. MN_ERR_FILE: the model has no
 * tokenizer. */
enum mn_status cli_encode_prompt(struct mn_engine *engine, const char *text, size_t n_bytes, bool bos, uint32_t **ids,
                                 size_t *n_ids, const struct mn_log *log);

#endif
