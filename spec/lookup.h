/* Tokens by lookup: where the last few tokens of a text occurred in it before, what followed there may follow here.
 * Prompt-lookup decoding (Saxena 2023) and LLMA (arXiv 2304.04487) draft so; here what is found are tokens that rows
 * enter on, and are judged as all others.
 *
 * The last LOOKUP_LONGEST tokens are looked for, else the last LOOKUP_SHORTEST, at their latest occurrence. The longer
 * the run that occurred before, the further the text goes on as it did there: behind a shorter run than LOOKUP_LONGEST
 * no more tokens are found than the run has. An index by hash holds where each run of these two lengths last ended: a
 * token costs O(1) on its way in, whatever the text's length, and so does a question.
 *
 * Owns: the text's tokens and the index, reserved when the text begins. Never: decides what becomes of what it finds.
 * Thread-safety: none. */
#ifndef MUNINN_SPEC_LOOKUP_H
#define MUNINN_SPEC_LOOKUP_H

#include <stdint.h>

#include "engine/base/status.h"

enum { LOOKUP_SHORTEST = 3, LOOKUP_LONGEST = 8 };

struct lookup;

/* For a text of up to n_max tokens. */
enum mn_status lookup_create(struct lookup **out, uint32_t n_max, const struct mn_log *log);
void lookup_destroy(struct lookup *lookup); /* NULL is fine */
/* One more token of the text. */
void lookup_push(struct lookup *lookup, uint32_t token);
/* The text's tokens, and behind them `tail` [n_tail], which are assumed only: up to `most` tokens that may follow.
 * Returns how many. What was found may run on into the tail, and into what was just found. */
uint32_t lookup_find(const struct lookup *lookup, const uint32_t *tail, uint32_t n_tail, uint32_t *found,
                     uint32_t most);

#endif
