#include <string.h>

#include "engine.h"
#include "strategy.h"

static const struct strategy *const strategies[] = {&strategy_ar, &strategy_draft_verify, &strategy_wavefront};

const struct strategy *strategy_find(const char *name)
{
    for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++)
        if (!strcmp(name, strategies[i]->name))
            return strategies[i];
    return NULL;
}

bool generation_is_stop(const struct generation *g, uint32_t token)
{
    const struct model_config *config = &g->session->model->config;
    for (uint32_t i = 0; !g->params->ignore_eos && i < config->n_eos; i++)
        if (config->eos_token_ids[i] == token)
            return true;
    return false;
}

uint32_t generation_remaining(const struct generation *g)
{
    return g->params->n_new - g->stats->n_new;
}

void generation_commit(struct generation *g, uint32_t token, uint32_t steps)
{
    /* The first token stands behind the prompt; each later one behind the token that was pending. */
    g->position = g->stats->n_prompt + g->stats->n_new;
    g->pending = token;
    if (g->params->steps)
        g->params->steps[g->stats->n_new] = steps;
    g->stats->n_new++;
    bool stop = g->params->on_token && g->params->on_token(g->params->user, token);
    g->done = stop || generation_is_stop(g, token) || generation_remaining(g) == 0;
}

void generation_trace(struct generation *g, const char *event, double start_ns, const struct row *rows, const uint32_t *before,
                      const uint32_t *predicted, uint32_t n, uint32_t n_kept, uint32_t n_committed)
{
    if (!g->params->on_trace)
        return;
    struct mn_trace_row out[SESSION_MAX_ROWS];
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct mn_trace_row){rows[i].position, rows[i].token, before[i], rows[i].depth, predicted[i], i < n_kept};
    struct mn_trace trace = {event, g->n_events++, start_ns - g->start_ns, clock_ns() - g->start_ns, out, n, n_committed};
    g->params->on_trace(g->params->user, &trace);
}

static enum mn_status check_params(const struct session *s, const struct mn_generate_params *p, const struct strategy *strategy, uint32_t num_steps,
                                   const struct mn_log *log)
{
    if (!strategy)
        return log_fail(log, MN_ERR_USAGE, "--strategy %s: must be ar, draft-verify or wavefront", p->strategy);
    if (p->n_prompt < 1)
        return log_fail(log, MN_ERR_USAGE, "the prompt is empty: at least one token is needed");
    if (p->n_new < 1)
        return log_fail(log, MN_ERR_USAGE, "-n %u: at least one new token", p->n_new);
    if (p->n_prompt > s->n_ctx)
        return log_fail(log, MN_ERR_USAGE, "a prompt of %u tokens does not fit into the context of %u (--ctx)", p->n_prompt, s->n_ctx);
    if ((uint64_t)p->n_prompt + p->n_new - 1 > s->n_ctx)
        return log_fail(log, MN_ERR_USAGE, "a prompt of %u tokens and %u new ones do not fit into the context of %u (--ctx); -n %u would fit", p->n_prompt,
                        p->n_new, s->n_ctx, s->n_ctx + 1 - p->n_prompt);
    if (num_steps > s->num_steps)
        return log_fail(log, MN_ERR_USAGE, "--num-steps %u: the session has at most %u", num_steps, s->num_steps);
    if (!(p->init_scale >= 0.0f && p->init_scale <= 1000.0f))
        return log_fail(log, MN_ERR_USAGE, "--init-scale %g: must be from 0 to 1000", (double)p->init_scale);
    if (p->exit && !strategy->exits)
        return log_fail(log, MN_ERR_USAGE, "--exit %s: strategy %s has no early exit", p->exit, strategy->name);
    if (!strategy->drafts && !strategy->wave)
        return MN_OK;
    if (num_steps < 2)
        return log_fail(log, MN_ERR_USAGE, "--num-steps %u: %s needs at least 2, to draft with fewer", num_steps, strategy->name);
    if (p->draft_steps < 1 || p->draft_steps >= num_steps)
        return log_fail(log, MN_ERR_USAGE, "--draft-steps %u: must be from 1 to %u, below --num-steps %u", p->draft_steps, num_steps - 1, num_steps);
    if (strategy->wave)
        return p->max_inflight <= s->max_rows
                   ? MN_OK
                   : log_fail(log, MN_ERR_USAGE, "--max-inflight %u: the session has at most %u rows per pass", p->max_inflight, s->max_rows);
    if (s->max_rows < 2)
        return log_fail(log, MN_ERR_USAGE, "%s needs a session with at least 2 rows per pass", strategy->name);
    if (p->lookahead < 1 || p->lookahead > MN_MAX_LOOKAHEAD || p->lookahead + 1 > s->max_rows)
        return log_fail(log, MN_ERR_USAGE, "--lookahead %u: must be from 1 to %u", p->lookahead,
                        s->max_rows - 1 < MN_MAX_LOOKAHEAD ? s->max_rows - 1 : MN_MAX_LOOKAHEAD);
    return MN_OK;
}

static void count_decode(struct mn_stats *stats, const struct session *s, const struct session_counts *before, uint64_t submits, uint64_t dispatches)
{
    stats->prelude_passes = s->counts.passes[PASS_PRELUDE] - before->passes[PASS_PRELUDE];
    stats->core_passes = s->counts.passes[PASS_CORE] - before->passes[PASS_CORE];
    stats->coda_passes = s->counts.passes[PASS_CODA] - before->passes[PASS_CODA];
    stats->core_rows = s->counts.rows[PASS_CORE] - before->rows[PASS_CORE];
    stats->weight_bytes = s->counts.weight_bytes - before->weight_bytes;
    stats->kv_bytes = s->counts.kv_bytes - before->kv_bytes;
    stats->submits = s->stream.n_submits - submits;
    stats->dispatches = s->stream.n_dispatches - dispatches;
}

enum mn_status generate(struct session *s, const struct mn_generate_params *p, struct mn_stats *stats)
{
    const struct mn_log *log = s->model->device->log;
    const struct strategy *strategy = strategy_find(p->strategy ? p->strategy : "ar");
    uint32_t num_steps = p->num_steps ? p->num_steps : s->num_steps;
    *stats = (struct mn_stats){.strategy = strategy ? strategy->name : "", .num_steps = num_steps, .n_prompt = p->n_prompt};
    enum mn_status status = check_params(s, p, strategy, num_steps, log);
    if (status)
        return status;
    struct sampler_params sampler = {p->temperature, p->top_k, p->top_p == 0.0f ? 1.0f : p->top_p, p->min_p, p->seed};
    status = sampler_check(&sampler, log);
    if (status)
        return status;
    session_set_sampler(s, &sampler, p->init_scale);
    bool exits_answer = p->exit && !strategy->drafts;
    stats->lossless = strategy->lossless && kv_policy_lossless(s->cache.policy) && !exits_answer;
    if (p->require_lossless && !stats->lossless)
        return log_fail(log, MN_ERR_USAGE, "--require-lossless: %s is lossy", exits_answer ? "ar with --exit" : "--kv-policy share:k");
    stats->draft_steps = strategy->drafts || strategy->wave ? p->draft_steps : 0;
    stats->lookahead = strategy->drafts ? p->lookahead : 0;
    stats->kv_bytes_per_token = s->cache.bytes_per_token;

    struct generation g = {.session = s, .params = p, .stats = stats, .log = log, .num_steps = num_steps, .max_inflight = p->max_inflight ? p->max_inflight : s->max_rows};
    status = exit_parse(p->exit, &g.exit, log);
    if (status)
        return status;
    g.exit.min_steps = p->exit_min_steps ? p->exit_min_steps : 1;
    g.exit.check_interval = p->exit_check_interval ? p->exit_check_interval : 1;
    if (g.exit.criterion)
        status = exit_memory_init(&g.exit_memory, s->model->config.vocab_size, log);
    if (status)
        return status;
    struct session_prefill_params prefill = {.ids = p->prompt, .n = p->n_prompt, .num_steps = num_steps, .state0 = p->state0};
    double start = clock_ns();
    uint32_t token, steps = num_steps;
    status = exits_answer ? early_exit_prompt(&g, &steps, &token) : session_prefill(s, &prefill, &token);
    double decode_start = clock_ns();
    g.start_ns = decode_start;
    stats->prefill_ns = decode_start - start;
    if (status) {
        exit_memory_finish(&g.exit_memory);
        return status;
    }
    struct session_counts before = s->counts;
    uint64_t submits = s->stream.n_submits, dispatches = s->stream.n_dispatches;
    generation_commit(&g, token, steps);
    if (!g.done)
        status = strategy->run(&g);
    stats->decode_ns = clock_ns() - decode_start;
    count_decode(stats, s, &before, submits, dispatches);
    exit_memory_finish(&g.exit_memory);
    return status;
}
