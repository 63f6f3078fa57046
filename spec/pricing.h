/* What passes take for one generation, out of the measured costs: the part of it that falls to its rows when others
 * share them. And whether tokens by lookup are worth the rows they take.
 *
 * Never: measures. Thread-safety: none. */
#ifndef MUNINN_SPEC_PRICING_H
#define MUNINN_SPEC_PRICING_H

#include "spec/cost.h"
#include "spec/strategy.h"

struct pricing {
    const struct mn_cost_table *costs;
    uint32_t others; /* rows of other generations in a pass */
};

double price_share(const struct pricing *pricing, const double *ns, uint32_t rows);
double price_core(const struct pricing *pricing, uint32_t rows); /* one step */
double price_head(const struct pricing *pricing, uint32_t rows);
double price_enter(const struct pricing *pricing); /* a row's prelude, and its submit */

/* What lookup would have found in the text so far, and how much of it was right: counted whether it is used or not. */
struct lookup_record {
    double found, right; /* tokens; old ones fade */
    uint32_t tokens[MN_MAX_LOOKUP], n, at;
    uint32_t seen; /* committed tokens that have been looked at */
};

/* The generation has committed tokens: the n newest of them, in order. */
void lookup_record_add(struct lookup_record *record, const struct generation *g, const uint32_t *tokens, uint32_t n);
/* A right token by lookup in a wave of so many rows saves the tick in which its row would have entered, but not the
 * steps of that row; a wrong one takes part in one tick. */
bool lookup_pays_in_wave(const struct lookup_record *record, const struct pricing *pricing, uint32_t num_steps,
                         uint32_t draft_steps, uint32_t rows);
/* In a round it saves the passes of a draft, but not its row's part in them; a wrong one takes part in one draft. */
bool lookup_pays_in_round(const struct lookup_record *record, const struct pricing *pricing, uint32_t draft_steps);

#endif
