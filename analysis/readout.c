#include "analysis/readout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/numbers.h"
#include "engine/base/progress.h"

const char *mn_readout_name(enum mn_readout_rule rule)
{
    static const char *const names[MN_READOUT_COUNT] = {
        [MN_READOUT_PLAIN] = "plain", [MN_READOUT_AITKEN] = "aitken", [MN_READOUT_ANDERSON] = "anderson"};
    return (unsigned)rule < MN_READOUT_COUNT ? names[rule] : NULL;
}

const char *mn_entries_name(enum mn_entries entries)
{
    static const char *const names[MN_ENTRIES_COUNT] = {[MN_ENTRIES_SAME] = "same", [MN_ENTRIES_FINAL] = "final"};
    return (unsigned)entries < MN_ENTRIES_COUNT ? names[entries] : NULL;
}

/* ---- the estimates ---- */

/* f_(step - back) . f_(step - other), where f_t = s_t - s_(t-1). */
static double product(const float *states, uint32_t step, uint32_t back, uint32_t other, uint32_t d)
{
    const float *a = states + (size_t)(step - back) * d, *b = states + (size_t)(step - other) * d;
    double sum = 0.0;
    for (uint32_t k = 0; k < d; k++)
        sum += ((double)a[k] - (double)a[(ptrdiff_t)k - (ptrdiff_t)d]) *
               ((double)b[k] - (double)b[(ptrdiff_t)k - (ptrdiff_t)d]);
    return sum;
}

/* Differences that shrink by a factor l per step add up to l / (1 - l) times the last one. l is what explains the last
 * difference best by the one before it, kept where the sum means something. */
static double aitken(const float *states, uint32_t step, uint32_t d)
{
    static const double MOST = 0.8;
    const double before = product(states, step, 1, 1, d);
    const double l = before > 0.0 ? product(states, step, 0, 1, d) / before : 0.0;
    const double kept = fmin(fmax(l, -MOST), MOST);
    return kept / (1.0 - kept);
}

/* Anderson's mixing of depth 1 and 2: s - c_0 f_t - c_1 f_(t-1), where c minimises |f_t - c_0 (f_t - f_(t-1)) -
 * c_1 (f_(t-1) - f_(t-2))|. The normal equations of two unknowns, a millionth of their trace on the diagonal. Where
 * differences stay the same (a slider) c could be of any size: it is kept at what Aitken's factor reaches. */
static void anderson(const float *states, uint32_t step, uint32_t d, double c[2])
{
    static const double RIDGE = 1e-6, MOST = 4.0;
    double f[3][3] = {{0.0}};
    const uint32_t n = step > 2 ? 3 : 2;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j <= i; j++)
            f[i][j] = f[j][i] = product(states, step, i, j, d);
    const double a = f[0][0] - 2.0 * f[0][1] + f[1][1], x = f[0][0] - f[0][1];
    const double b = n > 2 ? f[1][1] - 2.0 * f[1][2] + f[2][2] : 0.0, y = n > 2 ? f[0][1] - f[0][2] : 0.0;
    const double ab = n > 2 ? f[0][1] - f[0][2] - f[1][1] + f[1][2] : 0.0, ridge = RIDGE * (a + b);
    const double determinant = (a + ridge) * (b + ridge) - ab * ab;
    c[0] = determinant > 0.0 ? (x * (b + ridge) - y * ab) / determinant : 0.0;
    c[1] = determinant > 0.0 && n > 2 ? ((a + ridge) * y - ab * x) / determinant : 0.0;
    for (int i = 0; i < 2; i++)
        c[i] = fmin(fmax(c[i], -MOST), MOST);
}

void readout_state(enum mn_readout_rule rule, const float *states, uint32_t step, uint32_t d, float *out)
{
    const float *s = states + (size_t)step * d;
    double c[2] = {0.0}; /* out = s - c_0 f_t - c_1 f_(t-1) */
    if (rule == MN_READOUT_AITKEN && step > 1)
        c[0] = -aitken(states, step, d);
    else if (rule == MN_READOUT_ANDERSON && step > 1)
        anderson(states, step, d, c);
    memcpy(out, s, d * sizeof *out);
    for (uint32_t i = 0; i < 2 && i < step; i++)
        for (uint32_t k = 0; k < d && c[i] != 0.0; k++) {
            const float *newer = s - (size_t)i * d;
            out[k] = (float)((double)out[k] - c[i] * ((double)newer[k] - (double)newer[(ptrdiff_t)k - (ptrdiff_t)d]));
        }
}

/* ---- the measurement ---- */

struct reader {
    struct mn_depth_trace *trace;
    struct session *session;
    const struct mn_depth_trace_params *params;
    float *states; /* [n_tokens, d] what is read out */
};

/* As many positions from `at` as are read together: as in the trace, the prompt's by the prefill path. */
static uint32_t chunk(const struct reader *r, uint32_t at)
{
    const struct session_info *info = session_info(r->session);
    return at < r->trace->n_prompt ? min_u32(r->trace->n_prompt - at, info->prefill_rows)
                                   : min_u32(r->trace->n_tokens - at, info->max_rows);
}

/* Coda, and head for `best` [n] (may be NULL), of positions [at, at + n) as they stand after `step` steps. */
static enum mn_status read_rows(struct reader *r, uint32_t at, uint32_t n, uint32_t step, uint32_t *best)
{
    const struct mn_depth_trace *t = r->trace;
    struct row rows[SESSION_MAX_ROWS];
    if (r->params->stop && r->params->stop(r->params->user))
        return MN_ERR_INTERRUPTED;
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct row){.token = t->tokens[at + i].id, .position = at + i, .depth = step};
    const struct session_run_params run = {
        .rows = rows, .n_rows = n, .coda = true, .n_head = best ? n : 0, .prefill = at < t->n_prompt};
    enum mn_status status = session_run(r->session, &run, best);
    return status ? status : progress_add(session_progress(r->session), best ? n : 0);
}

static enum mn_status place_states(struct reader *r, enum mn_readout_rule rule, uint32_t step)
{
    const struct mn_depth_trace *t = r->trace;
    for (uint32_t i = 0; i < t->n_tokens; i++)
        readout_state(rule, t->states + (size_t)i * (t->n_steps + 1) * t->n_embd, step, t->n_embd,
                      r->states + (size_t)i * t->n_embd);
    return session_replace_states(r->session, 0, 0, t->n_tokens, r->states);
}

static uint32_t *found(const struct reader *r, uint32_t token, uint32_t which, enum mn_readout_rule rule,
                       enum mn_entries entries)
{
    const struct mn_depth_trace *t = r->trace;
    const size_t row = ((size_t)token * t->readout_stride + which) * MN_READOUT_COUNT + rule;
    return &t->readouts[row * MN_ENTRIES_COUNT + entries];
}

/* All positions at one depth: every one reads what the same read-out makes of those before it. */
static enum mn_status read_same(struct reader *r, uint32_t which, enum mn_readout_rule rule)
{
    const uint32_t step = r->params->readout_steps[which];
    uint32_t best[SESSION_MAX_ROWS];
    enum mn_status status = place_states(r, rule, step);
    for (uint32_t at = 0, n; at < r->trace->n_tokens && !status; at += n) {
        n = chunk(r, at);
        status = read_rows(r, at, n, step, best);
        for (uint32_t i = 0; i < n && !status; i++)
            *found(r, at + i, which, rule, MN_ENTRIES_SAME) = best[i];
    }
    return status;
}

/* All entries from the last step, then one position after the other, the last one first: what a position writes is read
 * by none that is still to come. */
static enum mn_status read_final(struct reader *r, uint32_t which, enum mn_readout_rule rule)
{
    const struct mn_depth_trace *t = r->trace;
    const uint32_t step = r->params->readout_steps[which];
    enum mn_status status = place_states(r, MN_READOUT_PLAIN, t->n_steps);
    for (uint32_t at = 0, n; at < t->n_tokens && !status; at += n) {
        n = chunk(r, at);
        status = read_rows(r, at, n, t->n_steps, NULL);
    }
    if (!status)
        status = place_states(r, rule, step);
    for (uint32_t at = t->n_tokens; at-- > 0 && !status;)
        status = read_rows(r, at, 1, step, found(r, at, which, rule, MN_ENTRIES_FINAL));
    return status;
}

static enum mn_status measure_step(struct reader *r, uint32_t which)
{
    enum mn_status status = MN_OK;
    for (int rule = 0; rule < MN_READOUT_COUNT && !status; rule++) {
        status = read_same(r, which, (enum mn_readout_rule)rule);
        if (!status)
            status = read_final(r, which, (enum mn_readout_rule)rule);
    }
    return status;
}

enum mn_status readout_measure(struct mn_depth_trace *t, struct session *session,
                               const struct mn_depth_trace_params *params)
{
    struct reader r = {.trace = t, .session = session, .params = params};
    const size_t per_step = (size_t)MN_READOUT_COUNT * MN_ENTRIES_COUNT, n = (size_t)t->n_tokens * params->n_readouts;
    if (n == 0)
        return MN_OK;
    t->readout_stride = params->n_readouts;
    t->readouts = calloc(n, per_step * sizeof *t->readouts);
    r.states = calloc((size_t)t->n_tokens * t->n_embd, sizeof *r.states);
    enum mn_status status = MN_OK;
    if (!t->readouts || !r.states)
        status = log_fail(session_info(session)->log, MN_ERR_MEMORY, "out of host memory for read-outs of %u tokens",
                          t->n_tokens);
    if (!status)
        status = progress_begin(session_progress(session), "reading out", (uint64_t)n * per_step);
    for (uint32_t i = 0; i < params->n_readouts && !status; i++) {
        status = measure_step(&r, i);
        if (!status)
            t->n_readouts++;
    }
    free(r.states);
    return progress_end(session_progress(session), status);
}
