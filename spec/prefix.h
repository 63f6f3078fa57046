/* What the places of the cache hold of prompts: those of sequences that ended stay until the place is needed. A prompt
 * that begins like one of them, or like one that is being decoded, goes on from there: in that place, or in another one
 * with a copy.
 *
 * What may be reused is what would be computed again with the same bits (docs/contract.md, 13): positions of a prompt,
 * under policy `full`, from the same ids and initial states; by a prompt of the same depth, or of a lesser one where no
 * coda keeps entries of the last state.
 * Never: touches the cache. Thread-safety: none. */
#ifndef MUNINN_SPEC_PREFIX_H
#define MUNINN_SPEC_PREFIX_H

#include "spec/generation.h"

struct prefix_store;

/* `keeps`: else every place is empty as soon as it is left. */
enum mn_status prefix_store_create(struct prefix_store **out, const struct session_info *info, bool keeps);
void prefix_store_destroy(struct prefix_store *store); /* NULL is fine */

/* The place where a generation goes on, one that nobody has; *skip: so many positions of its prompt are there. */
void prefix_enter(struct prefix_store *store, const struct generation *generation, uint32_t *place, uint32_t *skip);
/* A place from which more of its prompt can be copied than it has: *n positions in all. False: there is none. */
bool prefix_find(const struct prefix_store *store, const struct generation *generation, uint32_t *from, uint32_t *n);
/* It has read more of its prompt. */
void prefix_read(struct prefix_store *store, const struct generation *generation);
/* It leaves. `keep`: the positions it has read are complete. */
void prefix_leave(struct prefix_store *store, const struct generation *generation, bool keep);
/* All places are empty. */
void prefix_forget(struct prefix_store *store);
/* Places that nobody has and that hold something. */
uint32_t prefix_store_kept(const struct prefix_store *store);

#endif
