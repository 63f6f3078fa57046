/* Early exit: when a token has had enough recurrence (docs/contract.md, 7).
 *
 * Seven criteria, each a value compared with a threshold after every checked step. The two latent ones look at the
 * state before ln_f, s, and the one a step earlier, s'; four need the coda and the head at every check; the gate is a
 * trained layer on the state, which some families have. All run on the host, in double, on what the device wrote: a
 * check is a read-back of d or V floats.
 *
 * Owns: the memory of the checks of one token. Never: touches the device. Thread-safety: none.
 */
#ifndef MUNINN_SPEC_EXIT_H
#define MUNINN_SPEC_EXIT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/status.h"

enum exit_criterion {
    EXIT_NONE,
    EXIT_LATENT_DIFF,      /* |s - s'| / |s| < 0.03 */
    EXIT_COSINE,           /* 1 - cos(s, s') < 1e-3 */
    EXIT_ENTROPY_DIFF,     /* |H - H'| < 1e-3, the first H' being 100 */
    EXIT_KL,               /* sum p' (log p' - log p) < 1e-3, the first p' being uniform */
    EXIT_MINP_KL,          /* the same with entries below 0.1 max set to 1/V and renormalised, < 1e-5 */
    EXIT_ARGMAX_STABILITY, /* successive checks whose best id is the previous check's: >= 5 */
    EXIT_GATE,             /* 1 - prod_(j <= u) (1 - sigmoid(w . s_j + b)) >= 0.9 after step u (arXiv 2510.25741) */
    EXIT_COUNT
};

struct exit_rule {
    enum exit_criterion criterion;
    double threshold;
    uint32_t min_steps;      /* no exit before so many steps; at least 1 */
    uint32_t check_interval; /* check after every so many steps */
};

/* "CRITERION" or "CRITERION:THRESHOLD"; MN_ERR_USAGE names them. NULL text: no early exit. */
enum mn_status exit_parse(const char *text, struct exit_rule *out, const struct mn_log *log);
const char *exit_name(enum exit_criterion criterion);
/* Does it look at the state, and not at logits? */
bool exit_is_latent(enum exit_criterion criterion);

/* The running comparison for one token (or one prompt). */
struct exit_memory {
    double *previous; /* [V] probabilities of the check before; latent criteria: unused */
    double *current;  /* [V] */
    uint32_t n_vocab, n_checks, previous_best, n_stable;
    double previous_entropy;
    double survival; /* the gate: what is left of the probability not to have left yet */
};

enum mn_status exit_memory_init(struct exit_memory *memory, uint32_t n_vocab, const struct mn_log *log);
void exit_memory_finish(struct exit_memory *memory);
/* Forgets the token before. */
void exit_begin(struct exit_memory *memory);

/* Value of a latent criterion for one position: states s and s' of n values. */
double exit_latent_value(enum exit_criterion criterion, const float *s, const float *before, uint32_t n);
/* Does the value (averaged over positions by the caller) ask for the exit? */
bool exit_latent(const struct exit_rule *rule, double value);
/* One step of the gate, which must see every one: gate [n + 1] weights and bias, s the state of n values. */
bool exit_gate(const struct exit_rule *rule, struct exit_memory *memory, const float *gate, const float *s, uint32_t n);
/* One check of a criterion on logits [V]; remembers them for the next. */
bool exit_logits(const struct exit_rule *rule, struct exit_memory *memory, const float *logits);

#endif
