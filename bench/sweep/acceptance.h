/* How often predictions are right, as `muninn bench --acceptance` gives it: by place in the round, by depth, or by the
 * name of a profile. Never opens a model. Thread-safety: stateless. */
#ifndef MUNINN_BENCH_SWEEP_ACCEPTANCE_H
#define MUNINN_BENCH_SWEEP_ACCEPTANCE_H

#include "api/muninn.h"

enum { ACCEPTANCE_MAX = MN_MAX_LOOKAHEAD, ACCEPTANCE_SHARES_MAX = 256, ACCEPTANCE_BYTES = 1024 };

/* Zeroed: nothing is given. */
struct acceptance {
    float flat[ACCEPTANCE_MAX]; /* [n_flat] per place, at the depth that a setting drafts with */
    uint32_t n_flat;
    struct mn_acceptance_at at[ACCEPTANCE_SHARES_MAX]; /* [n_at] by depth and place */
    uint32_t n_at;
    const char *given; /* borrowed, as it was written */
    const char *pairs; /* of n_at shares: as text, another one than `given` where that is a profile's name */
};

/* "P,P,..", "DEPTH:SHARE[/SHARE..],..", or a profile's name; NULL: nothing. `text` must outlive what comes of it.
 * MN_ERR_USAGE names --acceptance and the piece. A point is a point in every locale. */
enum mn_status acceptance_parse(struct acceptance *acceptance, const char *text, const struct mn_log *log);
/* Can it be given for models of so many steps? */
bool acceptance_fits(const struct acceptance *acceptance, uint32_t num_steps);
/* MN_ERR_USAGE names depth and R where it cannot. */
enum mn_status acceptance_check(const struct acceptance *acceptance, uint32_t num_steps, const struct mn_log *log);
/* What a strategy is given of it; nothing where it has no use for it. */
void acceptance_set(const struct acceptance *acceptance, const char *strategy, struct mn_measuring_params *measuring);

/* The names of the profiles; NULL behind the last. */
const char *acceptance_profile_at(uint32_t index);

#endif
