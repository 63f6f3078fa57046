/* Rows that leave the recurrence when they have settled: a small state machine inside that of a strategy.
 *
 * Owns: the rule, and the memory of its checks.
 * Never: decides what a row that has left means.
 * Thread-safety: none. */
#ifndef MUNINN_SPEC_EARLY_EXIT_H
#define MUNINN_SPEC_EARLY_EXIT_H

#include "spec/exit.h"
#include "spec/strategy.h"

struct early_exit {
    struct exit_rule rule; /* criterion EXIT_NONE: nothing leaves early */
    struct exit_memory memory;
    float *before, *now; /* [n_rows, n_embd] latent states of the step before and of this one */
    float *logits;       /* [vocab_size] */
    struct row *rows;    /* [n_rows] of a prompt */
    enum early_exit_sweep { EXIT_SETTING_OUT, EXIT_ENTERING, EXIT_STEPPING, EXIT_ENDING, EXIT_LEFT } sweep;
    uint32_t at;    /* the prompt's row that the sweep goes on with */
    bool predicted; /* the sweep that ended last had coda and head */
    uint32_t row, step, max_steps;
    bool active, entered, leave; /* of the row on its way */
};

/* Refuses a rule that is none. */
enum mn_status early_exit_check(const struct generation *generation);
/* The rule of the generation's parameters, with all memory it needs, if it is one; for n_rows rows that leave together.
 * `e` is zeroed. Also after a failure, early_exit_close is to be called. */
enum mn_status early_exit_open(struct early_exit *e, const struct generation *generation, uint32_t n_rows);
void early_exit_close(struct early_exit *e);

/* Rows[row] enters under the exit rule, for at most `max_steps` steps. */
void early_exit_begin(struct early_exit *e, uint32_t row, uint32_t max_steps);
void early_exit_next(const struct early_exit *e, struct request *request);
/* Sets e->active to false when the row has left; its prediction is then in place and its depth what it took. */
enum mn_status early_exit_absorb(struct early_exit *e, struct generation *generation);
/* The same for a prompt, whose positions all take the same number of steps: n_rows is n_prompt. In pieces, as
 * generation_prompt. */
enum mn_status early_exit_prompt(struct early_exit *e, struct generation *generation, uint32_t *rows, uint32_t *token);

#endif
