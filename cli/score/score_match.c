/* Exact match: answers are generated greedily, many at a time, and compared. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/interrupt.h"
#include "cli/generate/generate.h"
#include "cli/score/score.h"

enum { SLICE = 256, DEFAULT_PARALLEL = 16 }; /* sequences that are prepared, and that share passes */

/* One line at one depth. */
struct attempt {
    struct score_line *line;
    uint32_t step; /* place in num_steps */
    struct generate_options options;
    struct generate_run run;
};

struct matcher {
    struct score_run *run;
    struct attempt *attempts;          /* [SLICE] */
    struct mn_generate_params *params; /* [SLICE] */
    struct mn_stats *stats;            /* [SLICE] */
    uint32_t n;
    enum mn_status status; /* of the output */
};

static enum mn_status open_attempt(struct matcher *m, struct score_line *line, uint32_t step)
{
    struct score_run *run = m->run;
    struct attempt *a = &m->attempts[m->n];
    *a = (struct attempt){.line = line, .step = step, .options = {.stops = line->stops}};
    a->run = (struct generate_run){.options = &a->options,
                                   .log = run->log,
                                   .engine = run->engine,
                                   .info = run->info,
                                   .n_new = run->options->n_new,
                                   .collects = true,
                                   .in_batch = true};
    m->params[m->n++] = (struct mn_generate_params){.prompt = line->items[0].ids,
                                                    .n_prompt = line->items[0].n_ids,
                                                    .n_new = run->options->n_new,
                                                    .num_steps = run->num_steps.values[step],
                                                    .on_token = run_on_token,
                                                    .user = &a->run};
    return run_prepare(&a->run);
}

static enum mn_status end_attempt(struct matcher *m, struct attempt *a)
{
    struct generate_run *run = &a->run;
    const char *text = "";
    size_t n_bytes = 0;
    enum mn_status status = run->status;
    if (!status && run_was_interrupted(run))
        return MN_ERR_INTERRUPTED;
    if (run->decoder && !status)
        status = mn_stream_decoder_finish(run->decoder, &text, &n_bytes);
    if (!status)
        status = text_out_push(&run->text, text, n_bytes, run->log);
    if (status)
        return status;
    const struct score_text result = {.text = run->text.text ? run->text.text : "",
                                      .n_bytes = run->text.n,
                                      .tokens = run->tokens,
                                      .n_tokens = run->n_tokens,
                                      .finish_reason = run->text.stopped   ? "stop"
                                                       : run->ended_by_eos ? "eos"
                                                                           : "length"};
    status = score_put_text(m->run, a->line, a->step, &result);
    if (score_is_known(m->run, a->line))
        m->run->n_done++;
    m->run->done += score_work(m->run, a->line, m->run->num_steps.values[a->step]);
    score_progress(m->run, 0);
    return status;
}

static int on_end(void *user, uint32_t i)
{
    struct matcher *m = user;
    const enum mn_status status = end_attempt(m, &m->attempts[i]);
    if (!m->status)
        m->status = status;
    return m->status || cli_interrupted();
}

static enum mn_status run_slice(struct matcher *m, struct mn_session *session)
{
    struct mn_stats total;
    enum mn_status status = cli_interrupted()
                                ? MN_ERR_INTERRUPTED
                                : mn_generate_batch(session, m->params, m->n, m->stats, &total, on_end, m);
    for (uint32_t i = 0; i < m->n; i++)
        run_free(&m->attempts[i].run);
    m->n = 0;
    if (!status)
        status = m->status;
    return !status && cli_interrupted() ? MN_ERR_INTERRUPTED : status;
}

static enum mn_status run_all(struct matcher *m, struct mn_session *session)
{
    struct score_run *run = m->run;
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < run->n_lines && !status; i++)
        for (uint32_t step = 0; step < run->num_steps.n && !status; step++) {
            struct score_line *line = &run->lines[i];
            if (line->kind != SCORE_MATCH || line->outcomes[step].known)
                continue;
            status = open_attempt(m, line, step);
            if (!status && m->n == SLICE)
                status = run_slice(m, session);
        }
    return status || m->n == 0 ? status : run_slice(m, session);
}

enum mn_status score_matches(struct score_run *run)
{
    struct matcher m = {.run = run};
    struct mn_session *session = NULL;
    uint32_t longest = 0, deepest = 0, n_attempts = 0;
    for (size_t i = 0; i < run->n_lines; i++) {
        const struct score_line *line = &run->lines[i];
        for (uint32_t step = 0; line->kind == SCORE_MATCH && step < run->num_steps.n; step++)
            if (!line->outcomes[step].known) {
                longest = line->items[0].n_ids > longest ? line->items[0].n_ids : longest;
                deepest = run->num_steps.values[step] > deepest ? run->num_steps.values[step] : deepest;
                n_attempts += n_attempts < SLICE;
            }
    }
    if (n_attempts == 0)
        return MN_OK;
    uint32_t parallel = run->options->parallel ? run->options->parallel : DEFAULT_PARALLEL;
    parallel = parallel < n_attempts ? parallel : n_attempts;
    m.attempts = calloc(SLICE, sizeof *m.attempts);
    m.params = calloc(SLICE, sizeof *m.params);
    m.stats = calloc(SLICE, sizeof *m.stats);
    enum mn_status status = m.attempts && m.params && m.stats
                                ? MN_OK
                                : log_fail(run->log, MN_ERR_MEMORY, "out of host memory for %d sequences", SLICE);
    if (!status)
        status = mn_session_create(&session, run->engine,
                                   &(struct mn_session_params){.n_ctx = longest + run->options->n_new - 1 > 2
                                                                            ? longest + run->options->n_new - 1
                                                                            : 2,
                                                               .num_steps = deepest,
                                                               .n_sequences = parallel,
                                                               .max_rows = parallel,
                                                               .kv_policy = run->options->kv_policy,
                                                               .kv_type = run->options->kv_type,
                                                               .beyond_trained_depth = run->options->beyond});
    if (!status)
        status = run_all(&m, session);
    for (uint32_t i = 0; m.attempts && i < m.n; i++) /* a slice that was not run */
        run_free(&m.attempts[i].run);
    mn_session_destroy(session);
    free(m.attempts);
    free(m.params);
    free(m.stats);
    return status;
}
