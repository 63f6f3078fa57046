/* What was proposed behind the rows in flight, by whom, and whether it was right: statistics, and what a strategy
 * learns from them about lookup. By the position of a row modulo the rows there can be.
 *
 * Never: decides what is committed. Thread-safety: none. */
#ifndef MUNINN_SPEC_PROPOSALS_H
#define MUNINN_SPEC_PROPOSALS_H

#include "spec/strategy.h"

struct proposals {
    uint8_t by[SESSION_MAX_ROWS];         /* enum mn_proposal: of the token on which the row stands */
    uint32_t looked_up[SESSION_MAX_ROWS]; /* the token that lookup saw behind the row; UINT32_MAX: none */
    uint32_t predicted[SESSION_MAX_ROWS][MN_AGREEMENT_DEPTHS]; /* by the row, [depth - 1]; UINT32_MAX: not asked */
    /* [depth - 1]: where a prediction there and lookup differed, how often each was right; old ones fade. */
    double lookup_right[MN_AGREEMENT_DEPTHS], prediction_right[MN_AGREEMENT_DEPTHS];
};

/* A row enters on a token of this origin; what its position had is forgotten. */
void proposals_enter(struct proposals *p, const struct row *row, enum mn_proposal by);
/* Up to `most` tokens for the rows behind rows[n_rows - 1] of the generation, which enter as rows behind it: up to the
 * row limit, to what is still wanted, and to a token that ends the text. Returns how many entered. */
uint32_t proposals_look_up(struct proposals *p, struct generation *g, uint32_t most);
/* These rows of the generation have predicted. */
void proposals_note(struct proposals *p, const struct generation *g, uint32_t first, uint32_t n);
/* Does row i + 1 stand although row i predicts another token: because lookup put it there, and has been right more
 * often than predictions of this depth where they differed? Not at full depth. */
bool proposals_keep(const struct proposals *p, const struct generation *g, uint32_t i);
/* `token` was committed behind the row; `follower`: the row that stood on it, or NULL. */
void proposals_commit(struct proposals *p, const struct generation *g, const struct row *row,
                      const struct row *follower, uint32_t token);

#endif
