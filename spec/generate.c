/* One sequence from its prompt to its end, and what strategies need of it. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/numbers.h"
#include "spec/cost.h"
#include "spec/generation.h"
#include "spec/lookup.h"

bool generation_is_stop(const struct generation *g, uint32_t token)
{
    const struct model_config *config = session_info(g->session)->config;
    for (uint32_t i = 0; !g->params->ignore_eos && i < config->n_eos; i++)
        if (config->eos_token_ids[i] == token)
            return true;
    for (uint32_t i = 0; i < g->params->n_stop_ids; i++)
        if (g->params->stop_ids[i] == token)
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
    if (g->lookup)
        lookup_push(g->lookup, token);
    if (g->in_event && g->n_committed < SESSION_MAX_ROWS)
        g->committed[g->n_committed++] = token;
    const bool wish = g->params->on_token && g->params->on_token(g->params->user, token);
    g->stats->end = generation_is_stop(g, token)   ? MN_END_TOKEN
                    : wish                         ? MN_END_CALLER
                    : generation_remaining(g) == 0 ? MN_END_LENGTH
                                                   : MN_END_NONE;
    g->done = g->stats->end != MN_END_NONE;
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
                                       g->rows[i].depth,    g->predicted[i],  i < n_kept && !g->dropped[i],
                                       g->rows[i].shift > 0};
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
                             .at_once = p->speculation.lookup,
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
    /* Everything a generation will ever need on the host: nothing is allocated between two tokens. */
    if (p->speculation.lookup)
        status = lookup_create(&g->lookup, p->n_prompt + p->n_new, log);
    if (status)
        return status;
    for (uint32_t i = 0; g->lookup && i < p->n_prompt; i++)
        lookup_push(g->lookup, p->prompt[i]);
    if (g->strategy->state_bytes && !(g->state = calloc(1, g->strategy->state_bytes)))
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a generation");
    return g->strategy->open ? g->strategy->open(g, g->state) : MN_OK;
}

enum mn_status generation_begin(struct generation *g, uint32_t sequence, uint32_t skip)
{
    const struct mn_generate_params *p = g->params;
    const struct mn_sampler_params *sampler = &p->sampler;
    const struct session_prefill_params prefill = {
        .ids = p->prompt, .n = p->n_prompt, .sequence = sequence, .num_steps = g->num_steps, .state0 = p->state0};
    g->sequence = sequence;
    g->stats->n_reused = skip;
    session_set_sequence_sampler(g->session, sequence,
                                 &(struct sampler_params){sampler->temperature, sampler->top_k,
                                                          sampler->top_p == 0.0f ? 1.0f : sampler->top_p,
                                                          sampler->min_p, sampler->seed},
                                 p->init_scale);
    enum mn_status status = g->strategy->about.uses & MN_USES_COSTS ? cost_ready(g->session, g->costs, sequence)
                                                                    : MN_OK;
    return status ? status : session_prompt_begin(g->session, &g->prompt, &prefill, skip);
}

void generation_skip(struct generation *g, uint32_t n)
{
    g->prompt.at = n;
    g->stats->n_reused = n;
}

enum mn_status generation_prompt(struct generation *g, uint32_t *rows, uint32_t *token)
{
    enum mn_status status = session_prompt_run(g->session, &g->prompt, rows, token);
    g->read = !status && g->prompt.done;
    g->prompt_steps = g->num_steps;
    return status;
}

enum mn_status generation_read(struct generation *g, uint32_t *rows)
{
    uint32_t token = 0;
    const double start = clock_ns();
    enum mn_status status = g->strategy->prompt ? g->strategy->prompt(g, g->state, rows, &token)
                                                : generation_prompt(g, rows, &token);
    g->start_ns = clock_ns();
    g->stats->prefill_ns += g->start_ns - start;
    if (!status && g->read)
        generation_commit(g, token, g->prompt_steps);
    return status;
}

enum mn_status generation_prefill(struct generation *g, uint32_t sequence)
{
    struct progress *progress = session_progress(g->session);
    enum mn_status status = generation_begin(g, sequence, 0);
    if (status)
        return status;
    status = progress_begin(progress, "reading the prompt", (uint64_t)g->params->n_prompt * g->num_steps);
    while (!status && !g->read) {
        uint32_t rows = UINT32_MAX;
        status = generation_read(g, &rows);
    }
    return progress_end(progress, status);
}

void generation_end(struct generation *g, enum mn_status status)
{
    if (g->stats->end != MN_END_NONE)
        return;
    g->stats->end = status ? MN_END_FAILED : MN_END_CALLER;
    g->stats->status = status;
    g->done = true;
}

void generation_close(struct generation *g)
{
    if (g->state && g->strategy->close)
        g->strategy->close(g->state);
    lookup_destroy(g->lookup);
    free(g->state);
    g->state = NULL;
    g->lookup = NULL;
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
    if (status)
        generation_end(&g, status);
    generation_close(&g);
    return status;
}

enum mn_status generate(struct session *s, const struct mn_generate_params *p, struct mn_stats *stats)
{
    struct mn_cost_table costs = {0};
    return generate_with_costs(s, &costs, p, stats);
}
