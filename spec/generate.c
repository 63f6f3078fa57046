/* One sequence from its prompt to its end, and what strategies need of it. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/numbers.h"
#include "spec/generation.h"

bool generation_is_stop(const struct generation *g, uint32_t token)
{
    const struct model_config *config = session_info(g->session)->config;
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
    g->pending_depth = steps;
    if (g->params->steps)
        g->params->steps[g->stats->n_new] = steps;
    g->stats->n_new++;
    if (g->in_event && g->n_committed < SESSION_MAX_ROWS)
        g->committed[g->n_committed++] = token;
    bool stop = g->params->on_token && g->params->on_token(g->params->user, token);
    g->done = stop || generation_is_stop(g, token) || generation_remaining(g) == 0;
}

void generation_begin_event(struct generation *g)
{
    g->in_event = true;
    g->n_committed = 0;
    g->event_ns = clock_ns();
    g->event_draft_ns = g->stats->draft_ns;
    g->event_pass = session_counts(g->session).passes[PASS_CORE];
}

void generation_end_event(struct generation *g, const char *name, uint32_t n, uint32_t n_kept)
{
    const bool ends = g->in_event;
    g->in_event = false;
    if (!ends || !g->params->on_trace)
        return;
    struct mn_trace_row out[SESSION_MAX_ROWS];
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct mn_trace_row){g->rows[i].position, g->rows[i].token, g->before[i],
                                       g->rows[i].depth,    g->predicted[i],  i < n_kept};
    struct mn_trace trace = {name,
                             g->n_events++,
                             g->event_ns - g->start_ns,
                             clock_ns() - g->start_ns,
                             g->event_pass,
                             session_counts(g->session).passes[PASS_CORE],
                             out,
                             n,
                             g->committed,
                             g->n_committed,
                             g->stats->draft_ns - g->event_draft_ns};
    g->params->on_trace(g->params->user, &trace);
}

/* The setting that makes a run lossy, or NULL. */
static const char *lossy_because(const struct generation *g)
{
    const struct strategy *strategy = g->strategy;
    const char *own = strategy->lossy_because ? strategy->lossy_because(g->params) : NULL;
    if (accept_is_forced(&g->params->measuring))
        return "forced acceptance";
    if (!strategy->about.lossless)
        return own ? own : strategy->about.name; /* whatever its descriptor forgot: never lossless */
    return kv_policy_lossless(session_info(g->session)->kv_policy) ? own : "kv_policy share:k";
}

/* Also for a strategy that is not there: the refusal is the caller's to see. */
void generation_set_up(struct generation *g, struct session *s, struct mn_cost_table *costs,
                       const struct mn_generate_params *p, struct mn_stats *stats, const struct mn_log *log)
{
    *g = (struct generation){.session = s,
                             .costs = costs,
                             .strategy = strategy_find(p->strategy ? p->strategy : "ar"),
                             .params = p,
                             .stats = stats,
                             .log = log,
                             .num_steps = depth_or(p->num_steps, session_info(s)->num_steps),
                             .draft_steps = p->speculation.draft_steps,
                             .lookahead = p->speculation.lookahead,
                             .max_inflight = p->speculation.max_inflight ? p->speculation.max_inflight
                                                                         : session_info(s)->max_rows};
    *stats = (struct mn_stats){.strategy = g->strategy ? g->strategy->about.name : "",
                               .num_steps = g->num_steps,
                               .n_sequences = 1,
                               .n_prompt = p->n_prompt,
                               .kv_bytes_per_token = session_info(s)->kv_bytes_per_token};
}

enum mn_status generation_open(struct generation *g, struct session *s, struct mn_cost_table *costs,
                               const struct mn_generate_params *p, struct mn_stats *stats, const struct mn_log *log)
{
    generation_set_up(g, s, costs, p, stats, log);
    enum mn_status status = generation_check(g);
    if (status)
        return status;
    stats->lossy_because = lossy_because(g);
    stats->lossless = stats->lossy_because == NULL;
    if (p->speculation.require_lossless && !stats->lossless)
        return log_fail(log, MN_ERR_USAGE, "require_lossless: %s is lossy", stats->lossy_because);
    if (accept_is_forced(&p->measuring))
        g->prompt_hash = accept_prompt_hash(p);
    session_set_sampler(s,
                        &(struct sampler_params){p->sampler.temperature, p->sampler.top_k,
                                                 p->sampler.top_p == 0.0f ? 1.0f : p->sampler.top_p, p->sampler.min_p,
                                                 p->sampler.seed},
                        p->init_scale);
    /* Everything a generation will ever need on the host: nothing is allocated between two tokens. */
    if (g->strategy->state_bytes && !(g->state = calloc(1, g->strategy->state_bytes)))
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a generation");
    return g->strategy->open ? g->strategy->open(g, g->state) : MN_OK;
}

enum mn_status generation_prompt(struct generation *g, uint32_t *token)
{
    const struct mn_generate_params *p = g->params;
    struct session_prefill_params prefill = {
        .ids = p->prompt, .n = p->n_prompt, .sequence = g->sequence, .num_steps = g->num_steps, .state0 = p->state0};
    return session_prefill(g->session, &prefill, token);
}

enum mn_status generation_prefill(struct generation *g, uint32_t sequence)
{
    uint32_t token, steps = g->num_steps;
    g->sequence = sequence;
    double start = clock_ns();
    enum mn_status status = g->strategy->prompt ? g->strategy->prompt(g, g->state, &steps, &token)
                                                : generation_prompt(g, &token);
    g->start_ns = clock_ns();
    g->stats->prefill_ns = g->start_ns - start;
    if (!status)
        generation_commit(g, token, steps);
    return status;
}

void generation_close(struct generation *g)
{
    if (g->state && g->strategy->close)
        g->strategy->close(g->state);
    free(g->state);
    g->state = NULL;
}

enum mn_status generate_with_costs(struct session *s, struct mn_cost_table *costs, const struct mn_generate_params *p,
                                   struct mn_stats *stats)
{
    struct generation g;
    const struct mn_log *log = p->log ? p->log : session_info(s)->log;
    enum mn_status status = generation_open(&g, s, costs, p, stats, log);
    if (!status)
        status = generation_prefill(&g, 0);
    if (!status && !g.done)
        status = g.strategy->run ? g.strategy->run(&g, g.state) : schedule_run(&g);
    if (g.start_ns > 0.0)
        stats->decode_ns = clock_ns() - g.start_ns;
    generation_close(&g);
    return status;
}

enum mn_status generate(struct session *s, const struct mn_generate_params *p, struct mn_stats *stats)
{
    struct mn_cost_table costs = {0};
    return generate_with_costs(s, &costs, p, stats);
}
