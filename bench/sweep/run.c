/* muninn bench: one setting measured and turned into a result row. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/baseline.h"
#include "bench/rows/latency.h"
#include "bench/sweep/cost_file.h"
#include "bench/sweep/measure.h"
#include "engine/base/clock.h"
#include "engine/base/decimal.h"
#include "engine/base/numbers.h"
#include "engine/base/system.h"

enum { DECODE, PREFILL, COLUMNS };

struct sequence {
    struct run *run;
    struct delivery delivery;
    uint32_t *tokens, n;                    /* [n_new], from one block */
    uint32_t *lengths, n_lengths, capacity; /* tokens of each step, where answers are collected; owned */
    bool no_memory;
    double wall_s;
};

struct run {
    struct bench_model *model;
    const struct bench_setting *setting;
    const struct bench_common *common;
    struct mn_session *session;
    struct mn_generate_params *params; /* [n] */
    struct mn_stats *each;             /* [n] */
    struct sequence *sequences;        /* [n] */
    uint32_t *tokens;                  /* [n, n_new] */
    uint32_t n;                        /* sequences: the prompts one by one, or whole batches of them */
    struct mn_stats stats;             /* sums over the last repetition */
    struct latency latency;            /* of all repetitions but the one that warms up */
    uint32_t n_repetitions;            /* begun */
};

/* ---- running ---- */

static int keep(void *user, uint32_t token)
{
    struct sequence *s = user;
    const double now = clock_s();
    s->tokens[s->n++] = token;
    delivery_token(&s->delivery, &s->run->latency, now);
    sensors_poll(s->run->model->sensors, now);
    return 0;
}

static void keep_length(void *user, const struct mn_trace *trace)
{
    struct sequence *s = user;
    if (s->n_lengths == s->capacity) {
        const uint32_t capacity = s->capacity ? 2 * s->capacity : 256;
        uint32_t *lengths = realloc(s->lengths, capacity * sizeof *lengths);
        s->no_memory |= !lengths;
        if (!lengths)
            return;
        s->lengths = lengths;
        s->capacity = capacity;
    }
    s->lengths[s->n_lengths++] = trace->n_committed;
}

static void add_arrays(struct mn_stats *sum, const struct mn_stats *s)
{
    for (uint32_t i = 0; i < MN_MAX_LOOKAHEAD; i++) {
        sum->drafted_at[i] += s->drafted_at[i];
        sum->accepted_at[i] += s->accepted_at[i];
        sum->accepted_lengths[i] += s->accepted_lengths[i];
    }
    sum->accepted_lengths[MN_MAX_LOOKAHEAD] += s->accepted_lengths[MN_MAX_LOOKAHEAD];
    for (uint32_t i = 0; i < MN_PROPOSALS; i++)
        sum->proposed_by[i] += s->proposed_by[i];
    for (uint32_t i = 0; i < MN_AGREEMENT_DEPTHS; i++) {
        sum->predicted_at[i] += s->predicted_at[i];
        sum->agreed_at[i] += s->agreed_at[i];
    }
    sum->looked_up += s->looked_up;
    sum->most_inflight = max_u32(sum->most_inflight, s->most_inflight);
}

/* `sum` begins as the first part: labels and settings are the same in all of them. */
static void add_stats(struct mn_stats *sum, const struct mn_stats *s)
{
    sum->n_sequences += s->n_sequences;
    sum->n_prompt += s->n_prompt;
    sum->n_new += s->n_new;
    sum->rounds += s->rounds;
    sum->drafted += s->drafted;
    sum->accepted += s->accepted;
    sum->committed += s->committed;
    sum->inflight_rows += s->inflight_rows;
    sum->prelude_passes += s->prelude_passes;
    sum->core_passes += s->core_passes;
    sum->coda_passes += s->coda_passes;
    sum->core_rows += s->core_rows;
    sum->weight_bytes += s->weight_bytes;
    sum->kv_bytes += s->kv_bytes;
    sum->submits += s->submits;
    sum->dispatches += s->dispatches;
    sum->prefill_ns += s->prefill_ns;
    sum->draft_ns += s->draft_ns;
    sum->verify_ns += s->verify_ns;
    sum->decode_ns += s->decode_ns;
    add_arrays(sum, s);
    sum->chosen_strategy = s->chosen_strategy;
    sum->chosen_draft_steps = s->chosen_draft_steps;
    sum->chosen_lookahead = s->chosen_lookahead;
    sum->chosen_lookup = s->chosen_lookup;
}

static enum mn_status run_batch(struct run *r)
{
    const double now = clock_s();
    for (uint32_t i = 0; i < r->n; i++)
        delivery_begin(&r->sequences[i].delivery, now);
    enum mn_status status = mn_generate_batch(r->session, r->params, r->n, r->each, &r->stats, NULL, NULL);
    if (status)
        return status;
    if (r->each[0].chosen_strategy) { /* of a batch under auto: what its last sequence used */
        r->stats.chosen_strategy = r->each[r->n - 1].chosen_strategy;
        r->stats.chosen_draft_steps = r->each[r->n - 1].chosen_draft_steps;
        r->stats.chosen_lookahead = r->each[r->n - 1].chosen_lookahead;
        r->stats.chosen_lookup = r->each[r->n - 1].chosen_lookup;
    }
    return MN_OK;
}

static enum mn_status run_one_by_one(struct run *r)
{
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->common->stop && r->common->stop())
            return MN_ERR_INTERRUPTED;
        delivery_begin(&r->sequences[i].delivery, clock_s());
        enum mn_status status = mn_generate(r->session, &r->params[i], &r->each[i]);
        if (status)
            return status;
        r->sequences[i].wall_s = (r->each[i].prefill_ns + r->each[i].decode_ns) / 1e9;
        if (i == 0)
            r->stats = r->each[0];
        else
            add_stats(&r->stats, &r->each[i]);
    }
    return MN_OK;
}

/* One repetition: decode and prefill in tokens per second. */
static enum mn_status run_once(void *user, double *values)
{
    struct run *r = user;
    const bool warms_up = r->n_repetitions == 0;
    for (uint32_t i = 0; i < r->n; i++)
        r->sequences[i].n = r->sequences[i].n_lengths = 0;
    if (r->n_repetitions++ == 1) {
        latency_clear(&r->latency);
        sensors_begin(r->model->sensors);
    }
    enum mn_status status = r->setting->batch > 1 ? run_batch(r) : run_one_by_one(r);
    if (status)
        return status;
    if (!warms_up)
        sensors_sample(r->model->sensors);
    values[DECODE] = mn_stats_decode_tok_s(&r->stats);
    values[PREFILL] = mn_stats_prefill_tok_s(&r->stats);
    return MN_OK;
}

static const struct expected *expected_of(const struct run *r, uint32_t i)
{
    return &r->model->expected[i % r->model->n_expected];
}

/* Share of places at which both have the same token. */
static double agreement(const struct run *r)
{
    uint64_t n_equal = 0, n_places = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct expected *e = expected_of(r, i);
        const struct sequence *s = &r->sequences[i];
        for (uint32_t j = 0; j < s->n && j < e->n_tokens; j++)
            n_equal += s->tokens[j] == e->tokens[j];
        n_places += s->n > e->n_tokens ? s->n : e->n_tokens;
    }
    return n_places ? (double)n_equal / (double)n_places : 0.0;
}

/* ---- the row ---- */

static double ratio(double a, double b)
{
    return b > 0.0 ? a / b : 0.0;
}

static void add_setting(struct row_builder *b, const struct run *r)
{
    const struct bench_setting *s = r->setting;
    double forced[MN_MAX_LOOKAHEAD];
    const struct mn_measuring_params *measuring = &r->params[0].measuring;
    const uint32_t n_forced = measuring->n_forced_acceptance;
    for (uint32_t i = 0; i < n_forced; i++)
        forced[i] = decimal_of_float(measuring->forced_acceptance[i]);
    row_text(b, "kv_policy", s->kv_policy);
    row_text(b, "strategy", s->strategy);
    row_number(b, "num_steps", s->num_steps);
    row_number(b, "draft_steps", s->draft_steps);
    row_number(b, "lookahead", s->lookahead);
    row_number(b, "max_inflight", s->max_inflight);
    if (s->lookup) /* not in other rows: those of older versions are to be equal to them */
        row_number(b, "lookup", s->lookup);
    if (s->branches)
        row_number(b, "branches", s->branches);
    row_number(b, "batch", s->batch);
    row_number(b, "prompt_tokens", s->prompt_tokens);
    row_number(b, "new_tokens", s->n_new);
    row_number(b, "prompts", r->model->n_expected);
    row_text(b, "prompt_set", r->model->prompt_set);
    row_bool(b, "stop_at_eos", r->common->stop_at_eos);
    row_float(b, "temperature", r->common->temperature);
    row_number(b, "seed", (double)r->common->seed);
    row_numbers(b, "forced_acceptance", forced, n_forced);
    if (measuring->n_forced_at) { /* not in other rows: those of older versions are to be equal to them */
        row_text(b, "forced_by_depth", r->common->acceptance->given);
        row_text(b, "forced_shares", r->common->acceptance->pairs);
    }
    row_number(b, "total_prompt_tokens", r->stats.n_prompt);
    row_number(b, "total_new_tokens", r->stats.n_new);
}

static void add_samples(struct row_builder *b, const char *key, const struct samples *samples, uint32_t column)
{
    double values[SAMPLES_MAX];
    for (uint32_t i = 0; i < samples->n; i++)
        values[i] = samples->values[i][column];
    row_numbers(b, key, values, samples->n);
}

static void add_times(struct row_builder *b, const struct samples *samples)
{
    const struct summary decode = samples_summary(samples, DECODE), prefill = samples_summary(samples, PREFILL);
    row_number(b, "repetitions", samples->n);
    row_number(b, "decode_tok_s", decode.median);
    row_number(b, "decode_spread", ratio(decode.max - decode.min, decode.median));
    row_number(b, "decode_mad", decode.mad);
    row_number(b, "decode_outliers", decode.n_outliers);
    add_samples(b, "decode_samples", samples, DECODE);
    row_number(b, "prefill_tok_s", prefill.median);
    row_number(b, "prefill_spread", ratio(prefill.max - prefill.min, prefill.median));
    add_samples(b, "prefill_samples", samples, PREFILL);
}

/* Agreement by depth as two lists, depths and shares; and the counts behind these. */
static void add_proposals(struct row_builder *b, const struct mn_stats *s)
{
    double depths[MN_AGREEMENT_DEPTHS], shares[MN_AGREEMENT_DEPTHS], counts[MN_AGREEMENT_DEPTHS];
    uint32_t n = 0;
    if (!s->committed)
        return;
    for (uint32_t i = 0; i < MN_AGREEMENT_DEPTHS; i++)
        if (s->predicted_at[i]) {
            depths[n] = i + 1;
            counts[n] = (double)s->predicted_at[i];
            shares[n++] = ratio((double)s->agreed_at[i], (double)s->predicted_at[i]);
        }
    row_number(b, "most_inflight", s->most_inflight);
    row_number(b, "by_first", mn_proposal_share(s, MN_PROPOSAL_FIRST));
    row_number(b, "by_correction", mn_proposal_share(s, MN_PROPOSAL_CORRECTION));
    row_number(b, "by_lookup", mn_proposal_share(s, MN_PROPOSAL_LOOKUP));
    row_number(b, "by_restart", mn_proposal_share(s, MN_PROPOSAL_RESTART));
    row_number(b, "looked_up", (double)s->looked_up);
    row_numbers(b, "agreement_depths", depths, n);
    row_numbers(b, "agreement_shares", shares, n);
    row_numbers(b, "agreement_counts", counts, n);
}

static void add_acceptance(struct row_builder *b, const struct mn_stats *s)
{
    double per_position[MN_MAX_LOOKAHEAD], lengths[MN_MAX_LOOKAHEAD + 1];
    for (uint32_t i = 0; i < s->lookahead; i++)
        per_position[i] = ratio((double)s->accepted_at[i], (double)s->drafted_at[i]);
    for (uint32_t i = 0; i <= s->lookahead; i++)
        lengths[i] = (double)s->accepted_lengths[i];
    row_number(b, "rounds", (double)s->rounds);
    row_number(b, "drafted", (double)s->drafted);
    row_number(b, "accepted", (double)s->accepted);
    row_number(b, "acceptance_rate", mn_stats_acceptance_rate(s));
    row_number(b, "mean_acceptance_length", s->lookahead ? mn_stats_mean_acceptance_length(s) : 0.0);
    row_number(b, "mean_inflight", ratio((double)s->inflight_rows, (double)s->rounds));
    add_proposals(b, s);
    row_numbers(b, "acceptance_per_position", per_position, s->lookahead);
    row_numbers(b, "accepted_lengths", lengths, s->lookahead ? s->lookahead + 1 : 0);
}

static void add_work(struct row_builder *b, const struct run *r)
{
    const struct mn_stats *s = &r->stats;
    const double gb_s = mn_stats_gb_s(s);
    row_number(b, "prelude_passes", (double)s->prelude_passes);
    row_number(b, "core_passes", (double)s->core_passes);
    row_number(b, "coda_passes", (double)s->coda_passes);
    row_number(b, "core_rows", (double)s->core_rows);
    row_number(b, "core_passes_per_token", ratio((double)s->core_passes, (double)s->n_new - s->n_sequences));
    row_number(b, "gamma", mn_stats_gamma(s));
    row_number(b, "submits", (double)s->submits);
    row_number(b, "dispatches", (double)s->dispatches);
    row_number(b, "weight_bytes_per_token", mn_stats_weight_bytes_per_token(s));
    row_number(b, "kv_bytes_per_token", (double)s->kv_bytes_per_token);
    row_number(b, "gb_s", gb_s);
    row_share(b, r->model, gb_s, "a core step", (double)r->model->info.core_bytes);
    row_number(b, "draft_share", ratio(s->draft_ns, s->decode_ns));
    row_text(b, "chosen", s->chosen_strategy ? s->chosen_strategy : "");
    row_number(b, "chosen_draft_steps", s->chosen_draft_steps);
    row_number(b, "chosen_lookahead", s->chosen_lookahead);
    if (s->chosen_lookup)
        row_number(b, "chosen_lookup", s->chosen_lookup);
}

static void add_latency(struct row_builder *b, struct run *r)
{
    const struct latency_summary s = latency_summarise(&r->latency);
    if (s.has_first)
        row_number(b, "ttft_ms", 1e3 * s.first_s);
    if (!s.has_gaps)
        return;
    row_number(b, "inter_token_p50_ms", 1e3 * s.p50_s);
    row_number(b, "inter_token_p95_ms", 1e3 * s.p95_s);
    row_number(b, "inter_token_p99_ms", 1e3 * s.p99_s);
}

/* What the system does not show has no key. */
static void add_device(struct row_builder *b, const struct run *r)
{
    const struct sensor_totals e = sensors_totals(r->model->sensors);
    const double n_tokens = (double)r->stats.n_new * (r->n_repetitions - 1);
    struct mn_model_info now;
    mn_engine_info(r->model->engine, &now);
    row_number(b, "device_peak_bytes", (double)now.device_bytes);
    if (system_peak_bytes())
        row_number(b, "host_peak_bytes", (double)system_peak_bytes());
    if (e.has_energy && n_tokens > 0.0) {
        row_number(b, "joules_per_token", e.energy_j / n_tokens);
        row_number(b, "power_w", e.power_w);
        row_text(b, "energy_source", e.energy_source);
    }
    if (e.has_clock) {
        row_number(b, "clock_mhz", e.clock_mhz);
        row_text(b, "clock_source", e.clock_source);
    }
}

static enum mn_status make_row(struct run *r, const struct samples *samples, cJSON **out)
{
    const double agrees = agreement(r);
    struct row_builder b;
    row_begin(&b, row_key(r->model, r->setting, r->common), "run", r->model, r->setting->kv_type);
    add_setting(&b, r);
    add_times(&b, samples);
    row_bool(&b, "lossless", r->stats.lossless);
    row_text(&b, "lossy_because", r->stats.lossy_because ? r->stats.lossy_because : "");
    row_bool(&b, "equals_ar", agrees == 1.0);
    row_number(&b, "agreement", agrees);
    row_text(&b, "class", row_class_name(row_class(b.row)));
    add_acceptance(&b, &r->stats);
    add_work(&b, r);
    add_latency(&b, r);
    add_device(&b, r);
    return row_end(&b, out, r->common->log);
}

/* ---- answers ---- */

/* Once more, with a trace: what it costs must not be in the samples. */
static enum mn_status collect_answers(struct run *r)
{
    double values[4];
    struct answer *answers = calloc(r->n, sizeof *answers);
    if (!answers)
        return log_fail(r->common->log, MN_ERR_MEMORY, "out of host memory for answers");
    for (uint32_t i = 0; i < r->n; i++)
        r->params[i].on_trace = keep_length;
    enum mn_status status = run_once(r, values);
    for (uint32_t i = 0; i < r->n && !status; i++) {
        const struct sequence *s = &r->sequences[i];
        if (s->no_memory)
            status = log_fail(r->common->log, MN_ERR_MEMORY, "out of host memory for answers");
        answers[i] = (struct answer){s->tokens, s->n, s->lengths, s->n_lengths, s->wall_s};
    }
    if (!status)
        status = answers_write(r->model, r->setting, r->common, answers);
    free(answers);
    return status;
}

/* ---- all of it ---- */

static enum mn_status prepare(struct run *r)
{
    const struct bench_setting *s = r->setting;
    enum mn_status status = bench_model_expect(r->model, s, r->common);
    if (status)
        return status;
    r->n = (r->model->n_expected + s->batch - 1) / s->batch * s->batch;
    r->params = calloc(r->n, sizeof *r->params);
    r->each = calloc(r->n, sizeof *r->each);
    r->sequences = calloc(r->n, sizeof *r->sequences);
    r->tokens = malloc((size_t)r->n * s->n_new * sizeof *r->tokens);
    if (!r->params || !r->each || !r->sequences || !r->tokens)
        return log_fail(r->common->log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " sequences", r->n);
    for (uint32_t i = 0; i < r->n; i++) {
        r->sequences[i].run = r;
        r->sequences[i].tokens = r->tokens + (size_t)i * s->n_new;
        bench_params(&r->params[i], expected_of(r, i), s, r->common);
        r->params[i].on_token = keep;
        r->params[i].user = &r->sequences[i];
    }
    const uint32_t rows = bench_rows(s) * s->batch;
    status = mn_session_create(
        &r->session, r->model->engine,
        &(struct mn_session_params){.n_ctx = r->model->longest + s->n_new,
                                    .num_steps = s->num_steps,
                                    .n_sequences = s->batch,
                                    .max_rows = rows,
                                    .kv_policy = s->kv_policy,
                                    .kv_type = s->kv_type,
                                    .branch_positions = s->branches ? MN_USUAL_BRANCH_POSITIONS : 0,
                                    .beyond_trained_depth = r->common->beyond});
    if (!status && mn_strategy_find(s->strategy)->uses & MN_USES_COSTS)
        status = cost_file_use(r->session, r->common->cost_dir, r->common->costs, r->common->log);
    return status;
}

enum mn_status bench_measure(struct bench_model *model, const struct bench_setting *setting,
                             const struct bench_common *common, cJSON **row, bool *equal)
{
    struct run r = {.model = model, .setting = setting, .common = common};
    struct samples samples = {0};
    *row = NULL;
    *equal = true;
    enum mn_status status = prepare(&r);
    if (!status)
        status = sampling_run(&common->sampling, run_once, &r, COLUMNS, common->stop, &samples, common->log);
    if (!status)
        status = make_row(&r, &samples, row);
    if (!status) {
        *equal = !r.stats.lossless || agreement(&r) == 1.0;
        if (common->answers_dir)
            status = collect_answers(&r);
    }
    if (status) {
        cJSON_Delete(*row);
        *row = NULL;
    }
    for (uint32_t i = 0; i < r.n && r.sequences; i++)
        free(r.sequences[i].lengths);
    samples_free(&samples);
    latency_free(&r.latency);
    mn_session_destroy(r.session);
    free(r.params);
    free(r.each);
    free(r.sequences);
    free(r.tokens);
    return status;
}
