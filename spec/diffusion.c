/* The diffusion-forcing sampler (arXiv 2510.14961; docs/contract.md, 9). Lossy.
 *
 * A window of rows, the first one on the newest committed token. A tick
 *
 *   1. appends `headway` rows with fresh states, on the newest predicted token;
 *   2. runs the prelude of every row on its token as predicted now; the embedding part of the adapter is linear, so
 * averaging its output with the tick before is averaging embeddings [eta];
 *   3. mixes noise into the states, with weight beta / (1 + steps);
 *   4. takes `draft_steps` core steps with all rows, coda and head, and predicts every token anew;
 *   5. freezes the longest prefix of rows whose state moved by less than the threshold since the last tick, or which
 * have taken num_steps steps: their predictions are committed, in order.
 *
 * States are mixed on the host and handed back as initial states, so a row always enters at depth 0; with share:1, the
 * only policy here, every step uses the one slot whatever its depth.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "spec/exit.h"
#include "spec/strategy.h"

enum { USUAL_ROWS = 128 };

struct window {
    float *states;   /* [rows, n_embd] behind the last tick; the other three lie behind it */
    float *moved;    /* [rows, n_embd] behind this one */
    float *injected; /* [rows, n_embd] averaged */
    float *fresh;    /* [rows, n_embd] */
    uint32_t steps[SESSION_MAX_ROWS];
};

static uint32_t rows(const struct mn_generate_params *params)
{
    return params->speculation.max_inflight ? params->speculation.max_inflight : USUAL_ROWS;
}

static const char *lossy_because(const struct mn_generate_params *params)
{
    (void)params;
    return "strategy diffusion";
}

static enum mn_status check(const struct generation *g)
{
    const struct mn_diffusion_params *p = &g->params->diffusion;
    const uint32_t max_rows = session_info(g->session)->max_rows;
    enum mn_status status = check_max_inflight(g);
    if (status)
        return status;
    if (session_info(g->session)->kv_policy.share != 1)
        return log_fail(g->log, MN_ERR_USAGE, "strategy diffusion: needs kv_policy share:1");
    if (g->draft_steps < 1 || g->draft_steps > g->num_steps)
        return log_fail(g->log, MN_ERR_USAGE, "draft_steps %u: must be from 1 to %u with diffusion", g->draft_steps,
                        g->num_steps);
    if (p->headway > max_rows)
        return log_fail(g->log, MN_ERR_USAGE, "headway %u: the session has at most %u rows per pass", p->headway,
                        max_rows);
    if (!(p->freeze_threshold >= 0.0f && p->freeze_threshold <= 1e6f))
        return log_fail(g->log, MN_ERR_USAGE, "freeze_threshold %g: must be a number above 0",
                        (double)p->freeze_threshold);
    if (!is_share(p->state_noise))
        return log_fail(g->log, MN_ERR_USAGE, "state_noise %g: must be from 0 to 1", (double)p->state_noise);
    if (!(p->embed_average >= 0.0f && p->embed_average < 1.0f))
        return log_fail(g->log, MN_ERR_USAGE, "embed_average %g: must be from 0 to below 1", (double)p->embed_average);
    return MN_OK;
}

static enum mn_status open(struct generation *g, void *state)
{
    const size_t n = (size_t)g->max_inflight * session_info(g->session)->config->n_embd;
    float *all = malloc(4 * n * sizeof *all);
    if (!all)
        return log_fail(g->log, MN_ERR_MEMORY, "out of host memory for a window of %u rows", g->max_inflight);
    *(struct window *)state = (struct window){
        .states = all, .moved = all + n, .injected = all + 2 * n, .fresh = all + 3 * n};
    return MN_OK;
}

static void close(void *state)
{
    free(((struct window *)state)->states);
}

static void fresh_state(const struct generation *g, uint32_t position, float *state)
{
    const struct model_config *config = session_info(g->session)->config;
    for (uint32_t k = 0; k < config->n_embd; k++)
        state[k] = g->params->init_scale == 0.0f ? 0.0f
                                                 : (float)(config->state_std * (double)g->params->init_scale) *
                                                       sampler_state_noise(g->params->sampler.seed, position, k);
}

/* Step 1. */
static void append(struct generation *g, struct window *w)
{
    const uint32_t d = session_info(g->session)->config->n_embd, end = g->params->n_prompt + g->params->n_new;
    uint32_t headway = g->n_rows > 0 && g->params->diffusion.headway ? g->params->diffusion.headway : 1;
    for (; headway > 0 && g->n_rows < g->max_inflight; headway--) {
        const uint32_t n = g->n_rows;
        struct row row = {.token = g->pending, .position = g->position, .sequence = g->sequence};
        if (n > 0) {
            row.token = g->predicted[n - 1];
            row.position = g->rows[n - 1].position + 1;
            /* The row at position p decides the token at p + 1; the last one wanted stands at n_prompt + n_new - 1. */
            if (row.position + 1 >= end || generation_is_stop(g, row.token))
                return;
        }
        g->predicted[n] = row.token; /* with more headway, the rows behind stand on the same guess for one tick */
        w->steps[n] = 0;
        fresh_state(g, row.position, w->states + (size_t)n * d);
        g->rows[g->n_rows++] = row;
    }
}

/* Step 3, into w->fresh. */
static void mix_noise(const struct generation *g, struct window *w)
{
    const struct model_config *config = session_info(g->session)->config;
    const uint32_t d = config->n_embd;
    const double scale = config->state_std * (g->params->init_scale == 0.0f ? 1.0 : (double)g->params->init_scale);
    memcpy(w->fresh, w->states, (size_t)g->n_rows * d * sizeof *w->fresh);
    for (uint32_t i = 0; i < g->n_rows && g->params->diffusion.state_noise > 0.0f; i++) {
        const double weight = (double)g->params->diffusion.state_noise / (1.0 + w->steps[i]);
        /* Another draw at every depth, and none that another purpose makes. */
        const uint64_t seed = g->params->sampler.seed + 0x9E3779B97F4A7C15u * (w->steps[i] + 1);
        float *state = w->fresh + (size_t)i * d;
        for (uint32_t k = 0; k < d; k++)
            state[k] = (float)((1.0 - weight) * (double)state[k] +
                               weight * scale * (double)sampler_state_noise(seed, g->rows[i].position, k));
    }
}

/* Step 2. */
static enum mn_status average_embeddings(struct generation *g, struct window *w)
{
    const uint32_t d = session_info(g->session)->config->n_embd, n = g->n_rows, first = g->rows[0].position;
    const double eta = (double)g->params->diffusion.embed_average;
    enum mn_status status = session_read_injected(g->session, g->sequence, first, n, w->fresh);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < d; k++) {
            const size_t at = (size_t)i * d + k;
            w->injected[at] = w->steps[i] == 0
                                  ? w->fresh[at]
                                  : (float)(eta * (double)w->injected[at] + (1.0 - eta) * (double)w->fresh[at]);
        }
    return status ? status : session_write_injected(g->session, g->sequence, first, w->injected, n);
}

/* Steps 2 to 4. */
static enum mn_status advance(struct generation *g, struct window *w)
{
    const uint32_t n = g->n_rows, first = g->rows[0].position;
    struct session_run_params run = {.rows = g->rows, .n_rows = n, .n_new = n, .n_given = n};
    for (uint32_t i = 0; i < n; i++) {
        g->rows[i].token = i == 0 ? g->pending : g->predicted[i - 1];
        g->rows[i].depth = 0;
        g->before[i] = w->steps[i];
    }
    mix_noise(g, w);
    enum mn_status status = session_write_states(g->session, g->sequence, first, w->fresh, n);
    if (!status && g->params->diffusion.embed_average > 0.0f) {
        status = session_run(g->session, &run, NULL);
        if (!status)
            status = average_embeddings(g, w);
        run.n_new = run.n_given = 0;
    }
    run.n_core = g->draft_steps;
    run.coda = true;
    run.n_head = n;
    if (!status)
        status = session_run(g->session, &run, g->predicted);
    return status ? status : session_read_states(g->session, g->sequence, first, n, g->draft_steps, w->moved);
}

/* Step 5: rows that may be frozen. A row on a token that is no longer predicted has converged to the wrong thing. */
static uint32_t count_frozen(const struct generation *g, const struct window *w)
{
    const uint32_t d = session_info(g->session)->config->n_embd;
    const double threshold = g->params->diffusion.freeze_threshold > 0.0f
                                 ? (double)g->params->diffusion.freeze_threshold
                                 : 0.03;
    uint32_t n = 0;
    for (; n < g->n_rows; n++) {
        const size_t at = (size_t)n * d;
        bool settled = exit_latent_value(EXIT_LATENT_DIFF, w->moved + at, w->states + at, d) < threshold;
        if (!(settled || w->steps[n] >= g->num_steps) || (n > 0 && g->rows[n].token != g->predicted[n - 1]))
            break;
    }
    return n;
}

static void shift(struct generation *g, struct window *w, uint32_t n)
{
    const size_t d = session_info(g->session)->config->n_embd;
    g->n_rows -= n;
    memmove(g->rows, g->rows + n, g->n_rows * sizeof *g->rows);
    memmove(g->predicted, g->predicted + n, g->n_rows * sizeof *g->predicted);
    memmove(w->steps, w->steps + n, g->n_rows * sizeof *w->steps);
    memmove(w->states, w->moved + n * d, g->n_rows * d * sizeof *w->states);
    memmove(w->injected, w->injected + n * d, g->n_rows * d * sizeof *w->injected);
}

static enum mn_status tick(struct generation *g, struct window *w)
{
    generation_begin_event(g);
    append(g, w);
    const struct work_mark mark = work_begin(g->session);
    enum mn_status status = advance(g, w);
    work_end(g->stats, g->session, &mark);
    if (status)
        return status;
    g->stats->rounds++;
    g->stats->inflight_rows += g->n_rows;
    for (uint32_t i = 0; i < g->n_rows; i++)
        g->rows[i].depth = w->steps[i] += g->draft_steps;
    const uint32_t frozen = count_frozen(g, w);
    uint32_t committed = 0;
    for (; committed < frozen && !g->done; committed++)
        generation_commit(g, g->predicted[committed], w->steps[committed]);
    g->stats->committed += committed;
    generation_end_event(g, "window", g->n_rows, g->n_rows);
    shift(g, w, committed);
    return MN_OK;
}

static enum mn_status run(struct generation *g, void *state)
{
    enum mn_status status = MN_OK;
    while (!g->done && !status)
        status = tick(g, state);
    return status;
}

const struct strategy strategy_diffusion = {
    .about = {.name = "diffusion",
              .help = "LOSSY: a window of rows refined together on one shared slot",
              .uses = MN_USES_DRAFT_STEPS | MN_USES_WHOLE_DEPTH,
              .usual_inflight = USUAL_ROWS,
              .kv_policy = "share:1"},
    .injection = true,
    .state_bytes = sizeof(struct window),
    .rows = rows,
    .lossy_because = lossy_because,
    .check = check,
    .open = open,
    .close = close,
    .run = run};
