/* The end token that a tokenizer's own configuration names, for models whose config.json and generation_config.json
 * name none: tokenizer_config.json's "eos_token".
 *
 * Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_TEXT_END_TOKEN_H
#define MUNINN_ENGINE_TEXT_END_TOKEN_H

#include "engine/text/tokenizer.h"

/* *found: it names one, *id. A file that does not exist names none. MN_ERR_FORMAT: a token that the tokenizer does not
 * have. MN_ERR_FILE, MN_ERR_MEMORY. */
enum mn_status end_token_read(bool *found, uint32_t *id, const char *dir, const struct tokenizer *tokenizer,
                              const struct mn_log *log);

#endif
