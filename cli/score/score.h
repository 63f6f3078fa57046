/* muninn score in five files: the run and likelihoods (score.c), generated answers (score_match.c), lines from the file
 * (score_lines.c), rows and resuming (score_rows.c), and what comes out of all of them (score_summary.c). The option
 * table is cli/score.c. */
#ifndef MUNINN_CLI_SCORE_SCORE_H
#define MUNINN_CLI_SCORE_SCORE_H

#include "bench/rows/identity.h"
#include "bench/rows/lists.h"
#include "bench/rows/rows.h"
#include "cli/common/options.h"
#include "engine/base/clock.h"

struct score_options {
    const char *model, *file, *device, *num_steps, *weight_type, *matrix_units, *kv_policy, *kv_type, *delimiter,
        *group_by, *results, *output, *cpu_threads;
    struct text_list stops;
    uint32_t ctx, parallel, n_new; /* ctx and parallel: 0 when not given */
    bool no_bos, truncate, resume, beyond;
};

enum score_kind {
    SCORE_LIKELIHOOD, /* context, continuation */
    SCORE_CHOICE,     /* query, choices, gold */
    SCORE_MATCH,      /* context, answer: generated and compared */
};

/* What a line came to at one depth. */
struct score_outcome {
    bool known;
    bool hit, hit_norm; /* is_greedy, acc or exact_match; acc_norm */
    double logprob;     /* SCORE_LIKELIHOOD */
};

struct score_line {
    enum score_kind kind;
    size_t number;                  /* in the file, from 1 */
    uint64_t hash;                  /* of its text */
    cJSON *kept;                    /* members that go to the output as they are; owned */
    const char *group;              /* the value of --group-by as text, owned; NULL without that option */
    struct mn_score_item *items;    /* [n_items], owned with their ids; one, or one per choice. SCORE_MATCH: the prompt,
                                       n_context == n_ids */
    uint32_t n_items, n_truncated;  /* n_truncated: ids cut from the left of the context, the most of any item */
    uint32_t *choice_bytes, gold;   /* SCORE_CHOICE: [n_items], owned */
    char *answer;                   /* SCORE_MATCH, owned */
    struct text_list stops;         /* SCORE_MATCH; those of the line are owned */
    uint32_t n_own_stops;           /* the first ones */
    struct score_outcome *outcomes; /* [num_steps.n], owned */
};

struct score_run {
    const struct score_options *options;
    const struct mn_log *log;
    struct mn_engine *engine;
    struct mn_model_info info;
    struct identity identity; /* with options->results */
    char model[IDENTITY_NAME_BYTES];
    struct number_list num_steps;
    uint32_t n_ctx;           /* most positions an item may take */
    uint64_t settings;        /* hash of everything but the line that numbers depend on */
    struct score_line *lines; /* [n_lines], owned */
    size_t n_lines, n_done;   /* n_done: lines finished in this run */
    struct output_file file;  /* results; closed: rows go to standard output */
    double synced;            /* seconds: when rows were last synced */
    double started;           /* when work began */
    uint64_t done, total;     /* finished phases and sequences, and all: core steps of rows */
};

/* ---- score_lines.c ---- */

/* All lines of options->file. MN_ERR_FORMAT with file, line and key for a line that cannot be scored. */
enum mn_status score_read(struct score_run *run, const char *text, size_t n_bytes);
void score_lines_free(struct score_run *run);
/* Takes the blanks from both ends of *text: moves it forward, returns the bytes that are left. */
size_t score_strip(const char **text, size_t n_bytes);

/* ---- score_rows.c ---- */

/* Opens options->results; with --resume what it has of these lines at these settings becomes known. `dir`: the model's
 * folder. */
enum mn_status score_open_results(struct score_run *run, const char *dir);
/* Is nothing left to do for the line? */
bool score_is_known(const struct score_run *run, const struct score_line *line);
/* Writes the rows of a line at all depths that were not known. `likelihoods`: [n_items, num_steps.n], those of an item
 * together. */
enum mn_status score_put_likelihoods(struct score_run *run, struct score_line *line,
                                     const struct mn_likelihood *likelihoods);
/* A text that was generated, at num_steps.values[step]. */
struct score_text {
    const char *text; /* [n_bytes] */
    size_t n_bytes;
    const uint32_t *tokens; /* [n_tokens] */
    uint32_t n_tokens;
    const char *finish_reason;
};
enum mn_status score_put_text(struct score_run *run, struct score_line *line, uint32_t step,
                              const struct score_text *text);

/* ---- score_match.c ---- */

/* Generates and compares the answers of all SCORE_MATCH lines that are not known. */
enum mn_status score_matches(struct score_run *run);

/* ---- score.c ---- */

/* The command. */
enum mn_status run_score(const struct score_options *options, const struct mn_log *log);

/* A shared cache is another function of the model: rows and summaries say so. */
#define SCORE_LOSSY "kv_policy share:k"
bool score_is_lossy(const struct score_run *run);

/* On a terminal: how far it is, with `more` core steps of rows beyond run->done, and what time is left. */
void score_progress(struct score_run *run, uint64_t more);
/* Core steps of the rows of a line at one depth, an upper bound where a text may end early. */
uint64_t score_work(const struct score_run *run, const struct score_line *line, uint32_t num_steps);

/* ---- score_summary.c ---- */

/* Means and standard errors per group, metric and depth on standard output. */
enum mn_status score_summary(const struct score_run *run);

#endif
