/* muninn bench: one model on one device, one setting measured and turned into a result row. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"
#include "commit.h"
#include "sampler.h"

enum { MAX_BATCH = 64, COLUMNS = 2 };

/* The fixed set: a question, a sort, a chain of assignments, a sum. Models without a tokenizer get ids from a counter-based generator. */
static const char *const texts[] = {"Kai has 53 keys and Max has 52 keys. How many keys do they have together?", "sort 2 8 0 1 9 4 :",
                                    "mod 10 let g = 2 , a = k + 3 , k = g + 1 ;", "282 + 216 ="};
enum { N_TEXTS = sizeof texts / sizeof *texts, RANDOM_PROMPT = 24 };

/* What ar says: the tokens of each prompt. Settings that share it follow each other. */
struct reference {
    uint32_t num_steps, n_new;
    const char *kv_type;
    uint32_t *tokens; /* [n_prompts, n_new], owned */
};

/* ---- the model ---- */

enum mn_status bench_model_open(struct bench_model *m, const struct bench_setting *setting, const char *dir, const struct mn_log *log)
{
    *m = (struct bench_model){.dir = dir, .prompt_tokens = UINT32_MAX};
    enum mn_status status = mn_engine_create(
        &m->engine, &(struct mn_engine_params){.model_dir = dir, .device = setting->device, .weight_type = setting->weight_type, .log = log});
    if (!status)
        status = cli_model_hash(dir, m->hash, log);
    if (!status)
        status = mn_read_bandwidth(m->engine, &m->ceiling_gb_s);
    if (!status)
        mn_engine_info(m->engine, &m->info);
    else
        bench_model_close(m);
    return status;
}

static void free_prompts(struct bench_model *m)
{
    for (uint32_t i = 0; i < m->n_prompts; i++)
        free(m->prompts[i]);
    m->n_prompts = 0;
}

void bench_model_close(struct bench_model *m)
{
    free_prompts(m);
    if (m->reference)
        free(m->reference->tokens);
    free(m->reference);
    mn_engine_destroy(m->engine);
    *m = (struct bench_model){0};
}

/* ---- prompts ---- */

static enum mn_status base_prompt(struct bench_model *m, uint32_t which, uint32_t **ids, size_t *n, const struct mn_log *log)
{
    if (mn_tokenize(m->engine, texts[which], strlen(texts[which]), false, ids, n) == MN_OK)
        return MN_OK;
    *n = RANDOM_PROMPT;
    if (!(*ids = malloc(*n * sizeof **ids)))
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a prompt");
    for (uint32_t i = 0; i < *n; i++) {
        const uint32_t counter[4] = {i, which, 0, 0}, key[2] = {0, 0};
        uint32_t bits[4];
        philox(counter, key, bits);
        (*ids)[i] = bits[0] % m->info.vocab_size;
    }
    return MN_OK;
}

/* The begin token, then the text, repeated or cut to `length` tokens in all; 0: as long as it is. */
static enum mn_status make_prompt(struct bench_model *m, uint32_t which, uint32_t length, const struct mn_log *log)
{
    uint32_t *base;
    size_t n;
    enum mn_status status = base_prompt(m, which, &base, &n, log);
    if (status)
        return status;
    const uint32_t bos = m->info.bos_token_id != UINT32_MAX, total = length ? length : (uint32_t)n + bos;
    uint32_t *ids = malloc(total * sizeof *ids);
    if (!ids)
        status = log_fail(log, MN_ERR_MEMORY, "out of host memory for a prompt");
    for (uint32_t i = 0; i < total && !status; i++)
        ids[i] = i < bos ? m->info.bos_token_id : base[(i - bos) % n];
    free(base);
    if (status)
        return status;
    m->prompts[m->n_prompts] = ids;
    m->lengths[m->n_prompts++] = total;
    return MN_OK;
}

static enum mn_status make_prompts(struct bench_model *m, uint32_t length, const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    if (m->prompt_tokens == length)
        return MN_OK;
    free_prompts(m);
    for (uint32_t i = 0; i < N_TEXTS && !status; i++)
        status = make_prompt(m, i, length, log);
    m->prompt_tokens = status ? UINT32_MAX : length;
    if (m->reference)
        m->reference->n_new = 0; /* of other prompts */
    return status;
}

/* ---- running ---- */

struct run {
    struct bench_model *model;
    const struct bench_setting *setting;
    const struct bench_common *common;
    struct mn_session *session;
    struct mn_generate_params params[MAX_BATCH];
    uint32_t n;                    /* sequences: the prompts one by one, or a batch of them */
    struct sequence {
        uint32_t *tokens, n;       /* tokens borrowed from one block */
    } sequences[MAX_BATCH];
    struct mn_stats stats;         /* sums over the last repetition */
};

static int keep(void *user, uint32_t token)
{
    struct sequence *s = user;
    s->tokens[s->n++] = token;
    return 0;
}

static void fill_params(const struct run *r, struct mn_generate_params *p, uint32_t prompt)
{
    const struct bench_setting *s = r->setting;
    *p = (struct mn_generate_params){.prompt = r->model->prompts[prompt],
                                     .n_prompt = r->model->lengths[prompt],
                                     .n_new = s->n_new,
                                     .num_steps = s->num_steps,
                                     .strategy = s->strategy,
                                     .draft_steps = s->draft_steps,
                                     .lookahead = s->lookahead,
                                     .max_inflight = s->max_inflight,
                                     .embed_average = 0.1f,
                                     .cost_dir = r->common->cost_dir,
                                     .temperature = r->common->temperature,
                                     .seed = r->common->seed,
                                     .ignore_eos = true,
                                     .on_token = keep};
    if (r->common->n_acceptance && (s->draft_steps && strcmp(s->strategy, "diffusion") != 0)) {
        p->forced_acceptance = r->common->acceptance;
        p->n_forced_acceptance = r->common->n_acceptance;
    }
}

static void add_stats(struct mn_stats *sum, const struct mn_stats *s)
{
    sum->n_sequences += s->n_sequences;
    sum->n_prompt += s->n_prompt;
    sum->n_new += s->n_new;
    sum->rounds += s->rounds;
    sum->drafted += s->drafted;
    sum->accepted += s->accepted;
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
    for (uint32_t i = 0; i < MN_MAX_LOOKAHEAD; i++) {
        sum->drafted_at[i] += s->drafted_at[i];
        sum->accepted_at[i] += s->accepted_at[i];
        sum->accepted_lengths[i] += s->accepted_lengths[i];
    }
    sum->accepted_lengths[MN_MAX_LOOKAHEAD] += s->accepted_lengths[MN_MAX_LOOKAHEAD];
}

/* What a sum takes over from its last part. */
static void copy_labels(struct mn_stats *sum, const struct mn_stats *s)
{
    sum->strategy = s->strategy;
    sum->lossless = s->lossless;
    sum->lossy_because = s->lossy_because;
    sum->num_steps = s->num_steps;
    sum->draft_steps = s->draft_steps;
    sum->lookahead = s->lookahead;
    sum->tick_weight_bytes = s->tick_weight_bytes;
    sum->kv_bytes_per_token = s->kv_bytes_per_token;
    sum->chosen_strategy = s->chosen_strategy;
    sum->chosen_draft_steps = s->chosen_draft_steps;
    sum->chosen_lookahead = s->chosen_lookahead;
}

/* One repetition: decode and prefill in tokens per second. */
static enum mn_status run_once(void *user, double *values)
{
    struct run *r = user;
    struct mn_stats one, each[MAX_BATCH];
    enum mn_status status = MN_OK;
    r->stats = (struct mn_stats){0};
    for (uint32_t i = 0; i < r->n; i++)
        r->sequences[i].n = 0;
    if (r->setting->batch > 1) {
        status = mn_generate_batch(r->session, r->params, r->n, each, &r->stats, NULL, NULL);
    } else {
        for (uint32_t i = 0; i < r->n && !status; i++) {
            status = mn_generate(r->session, &r->params[i], &one);
            add_stats(&r->stats, &one);
        }
        copy_labels(&r->stats, &one);
    }
    values[0] = mn_stats_decode_tok_s(&r->stats);
    values[1] = mn_stats_prefill_tok_s(&r->stats);
    return status;
}

static uint32_t rows_of(const struct bench_setting *s)
{
    return !strcmp(s->strategy, "draft-verify") ? s->lookahead + 1 : s->max_inflight ? s->max_inflight : 1;
}

static enum mn_status open_session(struct run *r, const char *policy, const char *kv_type, uint32_t rows, uint32_t n_sequences)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < r->model->n_prompts; i++)
        longest = r->model->lengths[i] > longest ? r->model->lengths[i] : longest;
    const struct mn_session_params params = {.n_ctx = longest + r->setting->n_new,
                                             .num_steps = r->setting->num_steps,
                                             .n_sequences = n_sequences,
                                             .max_rows = rows * n_sequences,
                                             .kv_policy = policy,
                                             .kv_type = kv_type};
    return mn_session_create(&r->session, r->model->engine, &params);
}

/* The tokens of ar with a full cache, unless they are known from the setting before. */
static enum mn_status get_reference(struct run *r)
{
    struct bench_model *m = r->model;
    const struct bench_setting *s = r->setting;
    if (m->reference && m->reference->n_new == s->n_new && m->reference->num_steps == s->num_steps && !strcmp(m->reference->kv_type, s->kv_type))
        return MN_OK;
    if (!m->reference && !(m->reference = calloc(1, sizeof *m->reference)))
        return log_fail(r->common->log, MN_ERR_MEMORY, "out of host memory for the tokens of ar");
    free(m->reference->tokens);
    *m->reference = (struct reference){.tokens = calloc((size_t)m->n_prompts * s->n_new, sizeof(uint32_t))};
    if (!m->reference->tokens)
        return log_fail(r->common->log, MN_ERR_MEMORY, "out of host memory for the tokens of ar");
    struct mn_session *own = r->session;
    enum mn_status status = open_session(r, "full", s->kv_type, 1, 1);
    for (uint32_t i = 0; i < m->n_prompts && !status; i++) {
        struct sequence sequence = {.tokens = m->reference->tokens + (size_t)i * s->n_new};
        struct mn_generate_params p;
        struct mn_stats stats;
        fill_params(r, &p, i);
        p.strategy = "ar";
        p.n_forced_acceptance = 0;
        p.user = &sequence;
        status = mn_generate(r->session, &p, &stats);
    }
    if (r->session != own)
        mn_session_destroy(r->session);
    r->session = own;
    if (!status) {
        m->reference->num_steps = s->num_steps;
        m->reference->n_new = s->n_new;
        m->reference->kv_type = s->kv_type;
    }
    return status;
}

static double agreement(const struct run *r)
{
    uint64_t n_equal = 0;
    for (uint32_t i = 0; i < r->n; i++)
        for (uint32_t j = 0; j < r->setting->n_new; j++)
            n_equal += r->sequences[i].tokens[j] == r->model->reference->tokens[(size_t)(i % r->model->n_prompts) * r->setting->n_new + j];
    return (double)n_equal / ((double)r->n * r->setting->n_new);
}

/* ---- the row ---- */

static void add_number(cJSON *row, const char *key, double value)
{
    cJSON_AddNumberToObject(row, key, isfinite(value) ? value : 0.0);
}

static void add_samples(cJSON *row, const char *key, const struct samples *samples, uint32_t column)
{
    cJSON *array = cJSON_AddArrayToObject(row, key);
    for (uint32_t i = 0; i < samples->n && array; i++)
        cJSON_AddItemToArray(array, cJSON_CreateNumber(samples->values[i][column]));
}

static void add_setting(cJSON *row, const struct run *r)
{
    const struct bench_setting *s = r->setting;
    const char *name = strrchr(r->model->dir, '/');
    char time_text[32];
    const time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    cJSON_AddStringToObject(row, "time", time_text);
    cJSON_AddStringToObject(row, "version", MN_VERSION);
    cJSON_AddStringToObject(row, "commit", MUNINN_COMMIT);
    cJSON_AddStringToObject(row, "device", r->model->info.device_name);
    cJSON_AddStringToObject(row, "driver", r->model->info.driver);
    cJSON_AddStringToObject(row, "banner", r->model->info.device_banner);
    cJSON_AddStringToObject(row, "model", name && name[1] ? name + 1 : r->model->dir);
    cJSON_AddStringToObject(row, "model_hash", r->model->hash);
    cJSON_AddStringToObject(row, "weight_type", r->model->info.weight_type);
    cJSON_AddStringToObject(row, "kv_policy", s->kv_policy);
    cJSON_AddStringToObject(row, "kv_type", s->kv_type);
    cJSON_AddStringToObject(row, "strategy", s->strategy);
    add_number(row, "num_steps", s->num_steps);
    add_number(row, "draft_steps", s->draft_steps);
    add_number(row, "lookahead", s->lookahead);
    add_number(row, "max_inflight", s->max_inflight);
    add_number(row, "prompt_tokens", s->prompt_tokens);
    add_number(row, "new_tokens", s->n_new);
    add_number(row, "batch", s->batch);
    add_number(row, "prompts", r->model->n_prompts);
    add_number(row, "temperature", (double)r->common->temperature);
    add_number(row, "seed", (double)r->common->seed);
}

static void add_times(cJSON *row, const struct samples *samples)
{
    const struct summary decode = samples_summary(samples, 0), prefill = samples_summary(samples, 1);
    add_number(row, "repetitions", samples->n);
    add_number(row, "decode_tok_s", decode.median);
    add_number(row, "decode_spread", decode.median > 0.0 ? (decode.max - decode.min) / decode.median : 0.0);
    add_number(row, "decode_mad", decode.mad);
    add_number(row, "decode_outliers", decode.n_outliers);
    add_number(row, "prefill_tok_s", prefill.median);
    add_number(row, "prefill_spread", prefill.median > 0.0 ? (prefill.max - prefill.min) / prefill.median : 0.0);
    add_samples(row, "decode_samples", samples, 0);
    add_samples(row, "prefill_samples", samples, 1);
}

static void add_acceptance(cJSON *row, const struct mn_stats *s)
{
    add_number(row, "rounds", (double)s->rounds);
    add_number(row, "drafted", (double)s->drafted);
    add_number(row, "accepted", (double)s->accepted);
    add_number(row, "acceptance_rate", mn_stats_acceptance_rate(s));
    add_number(row, "mean_acceptance_length", s->lookahead ? mn_stats_mean_acceptance_length(s) : 0.0);
    add_number(row, "mean_inflight", s->rounds ? (double)s->inflight_rows / (double)s->rounds : 0.0);
    cJSON *per_position = cJSON_AddArrayToObject(row, "acceptance_per_position"), *lengths = cJSON_AddArrayToObject(row, "accepted_lengths");
    for (uint32_t i = 0; i < s->lookahead; i++)
        cJSON_AddItemToArray(per_position, cJSON_CreateNumber(s->drafted_at[i] ? (double)s->accepted_at[i] / (double)s->drafted_at[i] : 0.0));
    for (uint32_t i = 0; s->lookahead && i <= s->lookahead; i++)
        cJSON_AddItemToArray(lengths, cJSON_CreateNumber((double)s->accepted_lengths[i]));
}

static void add_work(cJSON *row, const struct run *r)
{
    const struct mn_stats *s = &r->stats;
    const double ceiling = r->model->ceiling_gb_s, gb_s = mn_stats_gb_s(s);
    add_number(row, "prelude_passes", (double)s->prelude_passes);
    add_number(row, "core_passes", (double)s->core_passes);
    add_number(row, "coda_passes", (double)s->coda_passes);
    add_number(row, "core_rows", (double)s->core_rows);
    add_number(row, "submits", (double)s->submits);
    add_number(row, "dispatches", (double)s->dispatches);
    add_number(row, "weight_bytes_per_token", mn_stats_weight_bytes_per_token(s));
    add_number(row, "weight_mb_per_token", mn_stats_weight_bytes_per_token(s) / 1e6);
    add_number(row, "kv_bytes_per_token", (double)s->kv_bytes_per_token);
    add_number(row, "gb_s", gb_s);
    add_number(row, "ceiling_gb_s", ceiling);
    add_number(row, "ceiling_percent", ceiling > 0.0 ? 100.0 * gb_s / ceiling : 0.0);
    add_number(row, "draft_share", s->decode_ns > 0.0 ? s->draft_ns / s->decode_ns : 0.0);
    cJSON_AddStringToObject(row, "chosen", s->chosen_strategy ? s->chosen_strategy : "");
    add_number(row, "chosen_draft_steps", s->chosen_draft_steps);
    add_number(row, "chosen_lookahead", s->chosen_lookahead);
}

static enum mn_status make_row(const struct run *r, const struct samples *samples, cJSON **out)
{
    const struct mn_stats *s = &r->stats;
    const double agrees = agreement(r);
    char *key = row_key(r->model, r->setting, r->common);
    cJSON *row = cJSON_CreateObject();
    if (!key || !row) {
        free(key);
        cJSON_Delete(row);
        return log_fail(r->common->log, MN_ERR_MEMORY, "out of host memory for a row");
    }
    cJSON_AddStringToObject(row, "key", key);
    free(key);
    add_setting(row, r);
    add_times(row, samples);
    cJSON_AddBoolToObject(row, "lossless", s->lossless);
    cJSON_AddStringToObject(row, "lossy_because", s->lossy_because ? s->lossy_because : "");
    cJSON_AddBoolToObject(row, "equals_ar", agrees == 1.0);
    add_number(row, "agreement", agrees);
    add_acceptance(row, s);
    add_work(row, r);
    *out = row;
    return MN_OK;
}

/* ---- all of it ---- */

static enum mn_status prepare(struct run *r, uint32_t **tokens)
{
    const struct bench_setting *s = r->setting;
    enum mn_status status = make_prompts(r->model, s->prompt_tokens, r->common->log);
    if (status)
        return status;
    r->n = s->batch > 1 ? s->batch : r->model->n_prompts;
    *tokens = malloc((size_t)r->n * s->n_new * sizeof **tokens);
    if (!*tokens)
        return log_fail(r->common->log, MN_ERR_MEMORY, "out of host memory for tokens");
    for (uint32_t i = 0; i < r->n; i++) {
        r->sequences[i].tokens = *tokens + (size_t)i * s->n_new;
        fill_params(r, &r->params[i], i % r->model->n_prompts);
        r->params[i].user = &r->sequences[i];
    }
    status = get_reference(r);
    return status ? status : open_session(r, s->kv_policy, s->kv_type, rows_of(s), s->batch);
}

enum mn_status bench_measure(struct bench_model *model, const struct bench_setting *setting, const struct bench_common *common, cJSON **row)
{
    struct run *r = calloc(1, sizeof *r);
    uint32_t *tokens = NULL;
    struct samples samples = {0};
    *row = NULL;
    if (!r)
        return log_fail(common->log, MN_ERR_MEMORY, "out of host memory for a run");
    *r = (struct run){.model = model, .setting = setting, .common = common};
    enum mn_status status = prepare(r, &tokens);
    if (!status)
        status = sampling_run(&common->sampling, run_once, r, COLUMNS, common->stop, &samples, common->log);
    if (!status && r->stats.lossless && agreement(r) != 1.0)
        status = log_fail(common->log, MN_ERR_CHECK, "%s with K %" PRIu32 ", L %" PRIu32 ", R %" PRIu32 ", batch %" PRIu32 ": its tokens are not those of ar",
                          setting->strategy, setting->draft_steps, setting->lookahead, setting->num_steps, setting->batch);
    if (!status)
        status = make_row(r, &samples, row);
    samples_free(&samples);
    mn_session_destroy(r->session);
    free(tokens);
    free(r);
    return status;
}
