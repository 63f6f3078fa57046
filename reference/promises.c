#include "reference/promises.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/handles.h"

enum { PROMPT_MAX = 11, ROWS_MAX = 32, NEW_MAX = 24, CONTEXT = PROMPT_MAX + ROWS_MAX, DEPTH_MAX = 8 };

struct trial {
    const struct promises_params *params;
    struct mn_session *handle;
    struct session *session;
    uint32_t n_vocab, n_prompt, n_rows, n_new; /* n_rows: rows behind the prompt, and most of a pass */
    uint32_t num_steps, depth;                 /* of D2; of the rows of D0 and D1 */
    uint32_t prompt[PROMPT_MAX], tokens[ROWS_MAX];
    uint32_t *one, *many; /* [n_rows, n_vocab] bits of logits, owned: one row a pass, and another way */
    bool failed, broken;  /* broken: what is computed is nothing, and no text can be made of it */
};

static void report(struct trial *t, struct promise_result *result, const char *detail)
{
    result->holds = result->n_differ == 0;
    result->detail = result->holds ? "" : detail;
    t->failed |= !result->holds;
    if (t->params->report)
        t->params->report(t->params->user, result);
}

/* ---- D0 and D1: bits of logits ---- */

static enum mn_status read_row(struct trial *t, uint32_t head_row, uint32_t *bits, uint32_t row)
{
    return session_read_logits(t->session, head_row, (float *)(bits + (size_t)row * t->n_vocab));
}

static enum mn_status begin(struct trial *t, uint32_t *bits)
{
    memset(bits, 0, (size_t)t->n_rows * t->n_vocab * sizeof *bits);
    return session_prefill(
        t->session, &(struct session_prefill_params){.ids = t->prompt, .n = t->n_prompt, .num_steps = t->depth}, NULL);
}

static struct row row_at(const struct trial *t, uint32_t i)
{
    return (struct row){.token = t->tokens[i], .position = t->n_prompt + i};
}

/* Logits of the rows behind the prompt, `at_once` in a pass. */
static enum mn_status run_rows(struct trial *t, uint32_t at_once, uint32_t *bits)
{
    enum mn_status status = begin(t, bits);
    for (uint32_t first = 0; first < t->n_rows && !status; first += at_once) {
        struct row rows[ROWS_MAX];
        const uint32_t n = t->n_rows - first < at_once ? t->n_rows - first : at_once;
        for (uint32_t i = 0; i < n; i++)
            rows[i] = row_at(t, first + i);
        status = session_run(t->session,
                             &(struct session_run_params){
                                 .rows = rows, .n_rows = n, .n_new = n, .n_core = t->depth, .coda = true, .n_head = n},
                             NULL);
        for (uint32_t i = 0; i < n && !status; i++)
            status = read_row(t, i, bits, first + i);
    }
    return status;
}

/* The same rows in a staircase: with every pass a new one enters, and all in flight go one step further. */
static enum mn_status run_staircase(struct trial *t, uint32_t *bits)
{
    enum mn_status status = begin(t, bits);
    struct row rows[ROWS_MAX];
    for (uint32_t oldest = 0, newest = 0; oldest < t->n_rows && !status;) {
        const bool enters = newest < t->n_rows;
        if (enters) {
            rows[newest] = row_at(t, newest);
            newest++;
        }
        status = session_run(t->session,
                             &(struct session_run_params){.rows = rows + oldest,
                                                          .n_rows = newest - oldest,
                                                          .n_new = enters,
                                                          .n_core = 1,
                                                          .coda = true,
                                                          .n_head = newest - oldest},
                             NULL);
        for (uint32_t i = oldest; i < newest; i++)
            rows[i].depth++;
        if (!status && rows[oldest].depth == t->depth) {
            status = read_row(t, 0, bits, oldest);
            oldest++;
        }
    }
    return status;
}

static float as_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Logits that are no numbers, or all alike in a row or over all rows, equal themselves and say nothing: a device that
 * computes nothing keeps every promise. */
static void look_at_logits(struct trial *t)
{
    const size_t n = (size_t)t->n_rows * t->n_vocab;
    struct promise_result result = {
        .promise = "D0", .what = "logits, row by row", .num_steps = t->depth, .n_compared = n};
    char detail[160];
    uint64_t n_strange = 0;
    uint32_t n_flat = 0, n_same = 0;
    for (uint32_t row = 0; row < t->n_rows; row++) {
        const uint32_t *bits = t->one + (size_t)row * t->n_vocab;
        uint32_t n_alike = 0;
        for (uint32_t i = 0; i < t->n_vocab; i++) {
            n_strange += !isfinite(as_float(bits[i]));
            n_alike += bits[i] == bits[0];
        }
        n_flat += t->n_vocab > 1 && n_alike == t->n_vocab;
        n_same += row > 0 && !memcmp(bits, t->one, t->n_vocab * sizeof *bits);
    }
    t->broken = n_strange || n_flat || (t->n_rows > 1 && n_same == t->n_rows - 1);
    if (!t->broken)
        return;
    snprintf(detail, sizeof detail,
             "%llu of %zu logits are no finite numbers; %u of %u rows have one value alone, %u the first row's values",
             (unsigned long long)n_strange, n, n_flat, t->n_rows, n_same);
    result.n_differ = n_strange ? n_strange : n;
    report(t, &result, detail);
}

static void compare_bits(struct trial *t, const char *promise, const char *what)
{
    const size_t n = (size_t)t->n_rows * t->n_vocab;
    struct promise_result result = {.promise = promise, .what = what, .num_steps = t->depth, .n_compared = n};
    char detail[160] = "";
    for (size_t i = 0; i < n; i++)
        if (t->one[i] != t->many[i] && result.n_differ++ == 0)
            snprintf(detail, sizeof detail, "row %zu, logit %zu: %.9g against %.9g", i / t->n_vocab, i % t->n_vocab,
                     (double)as_float(t->many[i]), (double)as_float(t->one[i]));
    report(t, &result, detail);
}

static enum mn_status try_bits(struct trial *t)
{
    static const uint32_t all[] = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 24, 32},
                          few[] = {2, 3, 5, 8};
    const uint32_t *counts = t->params->quick ? few : all;
    const size_t n = t->params->quick ? sizeof few / sizeof *few : sizeof all / sizeof *all;
    char what[64];
    enum mn_status status = run_rows(t, 1, t->one);
    if (!status)
        look_at_logits(t);
    if (!status && t->broken)
        return MN_OK;
    if (!status)
        status = run_rows(t, 1, t->many);
    if (!status)
        compare_bits(t, "D0", "logits, row by row, twice");
    for (size_t i = 0; i < n && counts[i] <= t->n_rows && !status; i++) {
        status = run_rows(t, counts[i], t->many);
        snprintf(what, sizeof what, "logits, %u rows at once", counts[i]);
        if (!status)
            compare_bits(t, "D1", what);
    }
    if (status || t->depth < 2)
        return status;
    status = run_staircase(t, t->many);
    snprintf(what, sizeof what, "logits, %u depths at once", t->depth < t->n_rows ? t->depth : t->n_rows);
    if (!status)
        compare_bits(t, "D1", what);
    return status;
}

/* ---- D0 and D2: tokens ---- */

struct tokens {
    uint32_t n, ids[NEW_MAX];
};

static int keep_token(void *user, uint32_t token)
{
    struct tokens *tokens = user;
    if (tokens->n < NEW_MAX)
        tokens->ids[tokens->n++] = token;
    return 0;
}

static enum mn_status generate_tokens(struct trial *t, struct mn_generate_params g, struct tokens *tokens,
                                      struct mn_stats *stats)
{
    *tokens = (struct tokens){0};
    g.prompt = t->prompt;
    g.n_prompt = t->n_prompt;
    g.n_new = t->n_new;
    g.num_steps = t->num_steps;
    g.ignore_eos = true;
    g.on_token = keep_token;
    g.user = tokens;
    return mn_generate(t->handle, &g, stats);
}

static void compare_tokens(struct trial *t, struct promise_result *result, const struct tokens *got,
                           const struct tokens *wanted)
{
    char detail[160] = "";
    result->num_steps = t->num_steps;
    result->n_compared = wanted->n;
    for (uint32_t i = 0; i < wanted->n; i++)
        if ((i >= got->n || got->ids[i] != wanted->ids[i]) && result->n_differ++ == 0) {
            if (i < got->n)
                snprintf(detail, sizeof detail, "token %u is %u instead of %u", i, got->ids[i], wanted->ids[i]);
            else
                snprintf(detail, sizeof detail, "%u tokens instead of %u", got->n, wanted->n);
        }
    report(t, result, detail);
}

/* One setting against what `ar` said. */
static enum mn_status try_setting(struct trial *t, const struct mn_generate_params *g, const struct tokens *wanted)
{
    char what[96];
    struct tokens got;
    struct mn_stats stats;
    const struct mn_speculation_params *s = &g->speculation;
    int n = snprintf(what, sizeof what, "%s", g->strategy);
    if (s->draft_steps)
        n += snprintf(what + n, sizeof what - (size_t)n, " K %u", s->draft_steps);
    if (s->lookahead)
        n += snprintf(what + n, sizeof what - (size_t)n, " L %u", s->lookahead);
    if (s->max_inflight)
        n += snprintf(what + n, sizeof what - (size_t)n, " W %u", s->max_inflight);
    snprintf(what + n, sizeof what - (size_t)n, ", %s", g->sampler.temperature > 0.0f ? "sampled" : "greedy");
    enum mn_status status = generate_tokens(t, *g, &got, &stats);
    if (!status) {
        struct promise_result result = {
            .promise = "D2", .what = what, .drafted = stats.drafted, .accepted = stats.accepted};
        compare_tokens(t, &result, &got, wanted);
    }
    return status;
}

/* Every depth of drafts with every length of a round and every cap on the rows in flight; then `auto`. */
static enum mn_status try_settings(struct trial *t, struct mn_generate_params g, const struct tokens *wanted)
{
    static const uint32_t lookaheads[] = {4, 1, 7}, caps[] = {0, 3};
    const bool quick = t->params->quick;
    uint32_t last = 0;
    enum mn_status status = MN_OK;
    for (uint32_t part = quick ? 8 : 16; part >= (quick ? 8u : 2u) && !status; part /= 2) {
        const uint32_t k = t->num_steps / part ? t->num_steps / part : 1;
        if (k == last || k >= t->num_steps)
            continue;
        last = g.speculation.draft_steps = k;
        g.strategy = "draft-verify";
        g.speculation.max_inflight = 0;
        for (size_t i = 0; i < (quick ? 1 : 3) && !status; i++) {
            g.speculation.lookahead = lookaheads[i] < t->n_rows ? lookaheads[i] : 1;
            status = try_setting(t, &g, wanted);
        }
        g.strategy = "wavefront";
        g.speculation.lookahead = 0;
        for (size_t i = 0; i < (quick ? 1 : 2) && !status; i++) {
            g.speculation.max_inflight = caps[i];
            status = try_setting(t, &g, wanted);
        }
    }
    g.strategy = "auto";
    g.speculation = (struct mn_speculation_params){0};
    return status ? status : try_setting(t, &g, wanted);
}

static enum mn_status try_tokens(struct trial *t, bool sampled)
{
    struct mn_generate_params g = {.strategy = "ar"};
    if (sampled)
        g.sampler = (struct mn_sampler_params){.temperature = 1.0f, .top_k = 40, .top_p = 0.95f, .seed = 7};
    struct tokens wanted, again;
    struct mn_stats stats;
    enum mn_status status = generate_tokens(t, g, &wanted, &stats);
    if (!status)
        status = generate_tokens(t, g, &again, &stats);
    if (status)
        return status;
    compare_tokens(
        t, &(struct promise_result){.promise = "D0", .what = sampled ? "ar, sampled, twice" : "ar, greedy, twice"},
        &again, &wanted);
    return t->num_steps > 1 ? try_settings(t, g, &wanted) : MN_OK;
}

/* ---- the whole ---- */

/* As much of prompt, rows and tokens as the model's context holds. */
static void settle(struct trial *t, const struct mn_model_shape *shape)
{
    const uint32_t context = shape->block_size && shape->block_size < CONTEXT ? shape->block_size : CONTEXT,
                   rows = t->params->quick ? 8 : ROWS_MAX, n_new = t->params->quick ? NEW_MAX / 2 : NEW_MAX;
    t->n_vocab = shape->vocab_size;
    t->n_prompt = context / 2 < PROMPT_MAX ? context / 2 : PROMPT_MAX;
    const uint32_t rest = context - t->n_prompt;
    t->n_rows = rest < rows ? rest : rows;
    t->n_new = rest < n_new ? rest : n_new;
    t->num_steps = t->params->num_steps ? t->params->num_steps : shape->mean_recurrence;
    t->depth = t->num_steps < DEPTH_MAX ? t->num_steps : DEPTH_MAX;
    for (uint32_t i = 0; i < t->n_prompt; i++)
        t->prompt[i] = (29 * i + 3) % t->n_vocab;
    for (uint32_t i = 0; i < t->n_rows; i++)
        t->tokens[i] = (7 * i + 1) % t->n_vocab;
}

enum mn_status promises_run(struct mn_engine *engine, const struct promises_params *params)
{
    struct mn_model_info info;
    struct trial t = {.params = params};
    enum mn_status status = api_need_model(engine, "promises_run");
    if (status)
        return status;
    mn_engine_info(engine, &info);
    settle(&t, &info.shape);
    if (t.n_prompt == 0 || t.n_rows == 0)
        return log_fail(params->log, MN_ERR_UNSUPPORTED, "a context of %u positions: two are needed for a trial",
                        info.shape.block_size);
    status = mn_session_create(
        &t.handle, engine,
        &(struct mn_session_params){.n_ctx = t.n_prompt + (t.n_rows > t.n_new ? t.n_rows : t.n_new),
                                    .num_steps = t.num_steps,
                                    .max_rows = t.n_rows,
                                    .kv_type = params->kv_type});
    t.session = status ? NULL : t.handle->session;
    t.one = calloc((size_t)t.n_rows * t.n_vocab, sizeof *t.one);
    t.many = calloc((size_t)t.n_rows * t.n_vocab, sizeof *t.many);
    if (!status && (!t.one || !t.many))
        status = log_fail(params->log, MN_ERR_MEMORY, "out of host memory for logits");
    if (!status)
        status = try_bits(&t);
    if (!status && !t.broken)
        status = try_tokens(&t, false);
    if (!status && !t.broken)
        status = try_tokens(&t, true);
    free(t.one);
    free(t.many);
    mn_session_destroy(t.handle);
    return status ? status : t.failed ? MN_ERR_CHECK : MN_OK;
}
