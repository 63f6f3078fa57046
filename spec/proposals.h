/* What was proposed behind the rows in flight, by whom, and whether it was right: rows by lookup, and statistics. By
 * the position of a row modulo the rows there can be; those of a branch apart.
 *
 * Never: decides what is committed. Thread-safety: none. */
#ifndef MUNINN_SPEC_PROPOSALS_H
#define MUNINN_SPEC_PROPOSALS_H

#include "spec/strategy.h"

struct proposals {
    uint8_t by[2 * SESSION_MAX_ROWS]; /* enum mn_proposal: of the token on which the row stands */
    uint32_t predicted[2 * SESSION_MAX_ROWS][MN_AGREEMENT_DEPTHS]; /* by the row, [depth - 1]; UINT32_MAX: not asked */
};

/* A row enters on a token of this origin; what its position had is forgotten. */
void proposals_enter(struct proposals *p, const struct row *row, enum mn_proposal by);
/* Up to `most` tokens for the rows behind rows[n_rows - 1] of the generation, which enter as rows behind it: up to the
 * row limit, to what is still wanted, and to a token that ends the text. Returns how many entered. */
uint32_t proposals_look_up(struct proposals *p, struct generation *g, uint32_t most);
/* These rows of the generation have predicted. */
void proposals_note(struct proposals *p, const struct generation *g, uint32_t first, uint32_t n);
/* A branch of n rows, the first at position `first`, becomes the sequence's own. */
void proposals_take_branch(struct proposals *p, uint32_t first, uint32_t n);
/* `token` was committed behind the row; `follower`: the row that stood on it, or NULL. */
void proposals_commit(struct proposals *p, const struct generation *g, const struct row *row,
                      const struct row *follower, uint32_t token);

#endif
