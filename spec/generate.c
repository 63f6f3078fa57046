/* One sequence from its prompt to its end, and what strategies need of it. */
#include <stdlib.h>
#include <string.h>

#include "spec/generation.h"

static const struct strategy *const strategies[] = {&strategy_ar, &strategy_draft_verify, &strategy_wavefront,
                                                    &strategy_auto, &strategy_diffusion};

const struct strategy *strategy_find(const char *name)
{
    for (size_t i = 0; i < sizeof strategies / sizeof *strategies; i++)
        if (!strcmp(name, strategies[i]->name))
            return strategies[i];
    return NULL;
}

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

uint32_t generation_steps_to(const struct generation *g, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < g->probe.n_depths; i++)
        if (g->probe.depths[i] > from && g->probe.depths[i] < to)
            return g->probe.depths[i] - from;
    return to - from;
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
    g->committed[g->n_committed++] = token;
    bool stop = g->params->on_token && g->params->on_token(g->params->user, token);
    g->done = stop || generation_is_stop(g, token) || generation_remaining(g) == 0;
}

void generation_event(struct generation *g)
{
    g->event_ns = clock_ns();
    g->event_pass = session_counts(g->session).passes[PASS_CORE];
}

void generation_trace(struct generation *g, const char *event, uint32_t n, uint32_t n_kept)
{
    const uint32_t n_committed = g->n_committed;
    g->n_committed = 0;
    if (!g->params->on_trace)
        return;
    struct mn_trace_row out[SESSION_MAX_ROWS];
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct mn_trace_row){g->rows[i].position, g->rows[i].token, g->before[i],
                                       g->rows[i].depth,    g->predicted[i],  i < n_kept};
    struct mn_trace trace = {event,
                             g->n_events++,
                             g->event_ns - g->start_ns,
                             clock_ns() - g->start_ns,
                             g->event_pass,
                             session_counts(g->session).passes[PASS_CORE],
                             out,
                             n,
                             g->committed,
                             n_committed};
    g->params->on_trace(g->params->user, &trace);
}

static bool exits_answer(const struct generation *g)
{
    return g->exit.criterion && !g->strategy->drafts;
}

/* The setting that makes a run lossy, or NULL. */
static const char *lossy_because(const struct generation *g)
{
    const struct mn_generate_params *p = g->params;
    if (p->measuring.n_forced_acceptance)
        return "forced acceptance";
    if (!g->strategy->lossless)
        return "--strategy diffusion";
    if (!kv_policy_lossless(session_info(g->session)->kv_policy))
        return "--kv-policy share:k";
    if (exits_answer(g))
        return "--exit in ar";
    if (p->continuous)
        return "--continuous";
    return p->speculation.verification_threshold > 0.0f ? "--verification-threshold" : NULL;
}

static float *floats(size_t n)
{
    return malloc(n * sizeof(float));
}

/* Everything a generation will ever need on the host: nothing is allocated between two tokens. */
static enum mn_status reserve(struct generation *g)
{
    const struct model_config *config = session_info(g->session)->config;
    const size_t d = config->n_embd, n = (exits_answer(g) ? g->params->n_prompt : 1) * d;
    enum mn_status status = g->exit.criterion ? exit_memory_init(&g->exit_memory, config->vocab_size, g->log) : MN_OK;
    if (status)
        return status;
    if (exits_answer(g) && !(g->early.rows = calloc(g->params->n_prompt, sizeof *g->early.rows)))
        return log_fail(g->log, MN_ERR_MEMORY, "out of host memory for a prompt of %u tokens", g->params->n_prompt);
    bool exits = g->exit.criterion, logits = exits || g->params->speculation.verification_threshold > 0.0f;
    if ((exits && (!(g->early.before = floats(n)) || !(g->early.now = floats(n)))) ||
        (logits && !(g->logits = floats(config->vocab_size))) || (g->params->continuous && !(g->warm = floats(d))))
        return log_fail(g->log, MN_ERR_MEMORY, "out of host memory for a generation");
    return MN_OK;
}

enum mn_status generation_open(struct generation *g, struct session *s, const struct mn_generate_params *p,
                               struct mn_stats *stats, const struct mn_log *log)
{
    *g = (struct generation){.session = s, .params = p, .stats = stats, .log = log};
    g->strategy = strategy_find(p->strategy ? p->strategy : "ar");
    g->num_steps = p->num_steps ? p->num_steps : session_info(s)->num_steps;
    *stats = (struct mn_stats){.strategy = g->strategy ? g->strategy->name : "",
                               .num_steps = g->num_steps,
                               .n_sequences = 1,
                               .n_prompt = p->n_prompt};
    enum mn_status status = generation_check(g);
    if (!status)
        status = exit_parse(p->exit.rule, &g->exit, g->log);
    if (status)
        return status;
    g->exit.min_steps = p->exit.min_steps ? p->exit.min_steps : 1;
    g->exit.check_interval = p->exit.check_interval ? p->exit.check_interval : 1;
    stats->lossy_because = lossy_because(g);
    stats->lossless = stats->lossy_because == NULL;
    if (p->speculation.require_lossless && !stats->lossless)
        return log_fail(g->log, MN_ERR_USAGE, "--require-lossless: %s is lossy", stats->lossy_because);
    g->draft_steps = p->speculation.draft_steps;
    g->lookahead = p->speculation.lookahead;
    g->max_inflight = p->speculation.max_inflight ? p->speculation.max_inflight : session_info(s)->max_rows;
    stats->draft_steps = g->strategy->drafts || g->strategy->wave ? p->speculation.draft_steps : 0;
    stats->lookahead = g->strategy->drafts ? p->speculation.lookahead : 0;
    stats->kv_bytes_per_token = session_info(s)->kv_bytes_per_token;
    const struct session_info *w = session_info(s);
    stats->tick_weight_bytes = g->strategy->wave
                                   ? w->prelude_bytes + w->core_bytes * p->speculation.draft_steps + w->coda_bytes
                                   : 0;
    session_set_sampler(s,
                        &(struct sampler_params){p->sampler.temperature, p->sampler.top_k,
                                                 p->sampler.top_p == 0.0f ? 1.0f : p->sampler.top_p, p->sampler.min_p,
                                                 p->sampler.seed},
                        p->init_scale);
    status = reserve(g);
    return status || !g->strategy->open ? status : g->strategy->open(g);
}

enum mn_status generation_prefill(struct generation *g, uint32_t sequence)
{
    const struct mn_generate_params *p = g->params;
    struct session_prefill_params prefill = {
        .ids = p->prompt, .n = p->n_prompt, .sequence = sequence, .num_steps = g->num_steps, .state0 = p->state0};
    uint32_t token, steps = g->num_steps;
    g->sequence = sequence;
    double start = clock_ns();
    enum mn_status status = exits_answer(g) ? early_exit_prompt(g, &steps, &token)
                                            : session_prefill(g->session, &prefill, &token);
    g->start_ns = clock_ns();
    g->stats->prefill_ns = g->start_ns - start;
    if (!status)
        generation_commit(g, token, steps);
    g->n_committed = 0; /* events begin behind the prompt */
    return status;
}

void generation_close(struct generation *g)
{
    if (g->strategy && g->strategy->close)
        g->strategy->close(g);
    exit_memory_finish(&g->exit_memory);
    free(g->early.before);
    free(g->early.now);
    free(g->early.rows);
    free(g->logits);
    free(g->warm);
    g->early.before = g->early.now = g->logits = g->warm = NULL;
    g->early.rows = NULL;
}

enum mn_status generate(struct session *s, const struct mn_generate_params *p, struct mn_stats *stats)
{
    struct generation g;
    enum mn_status status = generation_open(&g, s, p, stats, session_info(s)->log);
    if (!status)
        status = generation_prefill(&g, 0);
    if (!status && !g.done)
        status = g.strategy->run ? g.strategy->run(&g) : schedule_run(&g);
    if (g.start_ns > 0.0)
        stats->decode_ns = clock_ns() - g.start_ns;
    generation_close(&g);
    return status;
}
