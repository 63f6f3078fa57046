#include "spec/sequence.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/numbers.h"

/* Pieces of memory behind each other, each at a multiple of 16. */
static size_t piece_bytes(size_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

static const void *copy(char **at, const void *from, size_t bytes)
{
    void *to = *at;
    if (!from || !bytes)
        return NULL;
    memcpy(to, from, bytes);
    *at += piece_bytes(bytes);
    return to;
}

/* Of parameters that have been checked, so that the sizes are possible ones. */
static enum mn_status copy_params(struct sequence *q, const struct mn_generate_params *p, uint32_t n_embd,
                                  const struct mn_log *log)
{
    const size_t prompt = (size_t)p->n_prompt * sizeof *p->prompt,
                 states = p->state0 ? (size_t)p->n_prompt * n_embd * sizeof *p->state0 : 0,
                 rule = p->exit.rule ? strlen(p->exit.rule) + 1 : 0,
                 forced = p->measuring.n_forced_acceptance * sizeof *p->measuring.forced_acceptance,
                 forced_at = p->measuring.n_forced_at * sizeof *p->measuring.forced_at,
                 stops = p->n_stop_ids * sizeof *p->stop_ids;
    char *at = malloc(piece_bytes(prompt) + piece_bytes(states) + piece_bytes(rule) + piece_bytes(forced) +
                      piece_bytes(forced_at) + piece_bytes(stops));
    if (!at)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a prompt of %u tokens", p->n_prompt);
    q->copies = at;
    q->params = *p;
    q->params.strategy = strategy_find(p->strategy ? p->strategy : "ar")->about.name;
    q->params.prompt = copy(&at, p->prompt, prompt);
    q->params.state0 = copy(&at, p->state0, states);
    q->params.exit.rule = copy(&at, p->exit.rule, rule);
    q->params.measuring.forced_acceptance = copy(&at, p->measuring.forced_acceptance, forced);
    q->params.measuring.forced_at = copy(&at, p->measuring.forced_at, forced_at);
    q->params.stop_ids = copy(&at, p->stop_ids, stops);
    return MN_OK;
}

static uint32_t rows_of(const struct generation *g)
{
    struct mn_generate_params params = *g->params;
    params.speculation.max_inflight = g->max_inflight;
    return g->strategy->rows ? min_u32(g->strategy->rows(&params), session_info(g->session)->max_rows) : 1;
}

enum mn_status sequence_create(struct sequence **out, struct session *s, struct mn_cost_table *costs,
                               const struct sequence_params *params)
{
    const struct mn_generate_params *p = params->generate;
    const struct mn_log *const later = p->log ? p->log : session_info(s)->log, *const log = params->log ? params->log
                                                                                                        : later;
    struct generation asked;
    struct mn_stats unused, *stats = params->stats ? params->stats : &unused;
    *out = NULL;
    generation_set_up(&asked, s, costs, p, stats, log);
    enum mn_status status = generation_check_settings(&asked);
    if (!status && !asked.strategy->about.batches)
        status = log_fail(log, MN_ERR_USAGE, "strategy %s: cannot run beside others", asked.strategy->about.name);
    if (!status)
        status = generation_check(&asked);
    if (status)
        return status;
    struct sequence *q = calloc(1, sizeof *q);
    if (!q)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a sequence");
    status = copy_params(q, p, session_info(s)->config->n_embd, log);
    if (!status)
        status = generation_open(&q->generation, s, costs, &q->params, params->stats ? params->stats : &q->stats, log);
    if (status) {
        sequence_destroy(q);
        return status;
    }
    q->generation.log = later;
    q->on_end = params->on_end;
    q->user = params->user;
    q->rows = rows_of(&q->generation);
    *out = q;
    return MN_OK;
}

void sequence_destroy(struct sequence *q)
{
    if (!q)
        return;
    generation_close(&q->generation);
    free(q->copies);
    free(q);
}
