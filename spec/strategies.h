/* THE table of strategies: a line each, in the order in which lists and help show them. X(name) is the descriptor
 * strategy_name of the file name.c. */
#ifndef MUNINN_SPEC_STRATEGIES_H
#define MUNINN_SPEC_STRATEGIES_H

#include "spec/strategy.h"

#define STRATEGIES(X) \
    X(ar) \
    X(draft_verify) \
    X(wavefront) \
    X(auto) \
    X(diffusion)

#define STRATEGY_DECLARE(name) extern const struct strategy strategy_##name;
STRATEGIES(STRATEGY_DECLARE)
#undef STRATEGY_DECLARE

#endif
