/* Tokens per second of every strategy over its settings, on a few prompts, with the agreement of its tokens with those
 * of `ar`.
 *
 *     build/bench_strategies [MODEL_DIR [N_NEW [REPETITIONS [GROUP...]]]]
 *
 * Groups: draft-verify, wavefront, auto, lossy, batch; all of them when none is named. `ar` always runs first. JSON
 * lines, one per setting: median over the repetitions of the whole prompt set (batch: one prompt set per sequence). A
 * lossless setting whose tokens are not those of `ar` ends the program with exit code 7. Depth: the model's
 * mean_recurrence. bench/table.sh makes tables of them.
 *
 * "huginn_gain": the gain over `ar` that the passes counted here would bring on Huginn's shapes if time were bytes of
 * weights, each pass reading its weights once whatever its rows: the memory-bound cost model, with the acceptance
 * measured on this model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/muninn.h"
#include "bench/rows/sampling.h"
#include "bench/sweep/cpu_device.h"

static void write_log(void *user, enum mn_log_level level, const char *line)
{
    (void)user;
    if (level != MN_LOG_INFO)
        fprintf(stderr, "%s\n", line);
}

static const char *const prompts[] = {
    "<|begin_text|>Kai has 53 keys and Max has 52 keys. How many keys do they have together?",
    "<|begin_text|>sort 2 8 0 1 9 4 :", "<|begin_text|>mod 10 let g = 2 , a = k + 3 , k = g + 1 ;",
    "<|begin_text|>282 + 216 ="};
enum { N_PROMPTS = sizeof prompts / sizeof *prompts, MAX_NEW = 400, MAX_REPETITIONS = 25, MAX_BATCH = 64 };

struct output {
    uint32_t n, ids[N_PROMPTS * MAX_NEW];
};

struct figures {
    double tok_s, acceptance, length, weight_bytes, draft_share, inflight, huginn_bytes;
};

/* Bytes of bf16 matrices that each kind of pass reads at huginn-0125's shapes. */
static double huginn_bytes(const struct mn_stats *s)
{
    const double d = 5280, f = 17920, vocab = 65536, block = 4 * d * d + 3 * d * f; /* Wqkv, proj; gate, up, down */
    const double prelude = 2 * block + d * d, core = 4 * block + d * d,
                 coda = 2 * block + vocab * d; /* each with its half of the adapter; the head */
    return 2 * ((double)s->prelude_passes * prelude + (double)s->core_passes * core + (double)s->coda_passes * coda);
}

struct bench {
    struct mn_engine *engine;
    uint32_t n_new, repetitions, n_prompt[N_PROMPTS], *prompt[N_PROMPTS];
    struct output expected; /* of ar */
    double ar_tok_s, ar_huginn_bytes;
};

static int keep(void *user, uint32_t token)
{
    struct output *output = user;
    output->ids[output->n++] = token;
    return 0;
}

/* All prompts once; sums over prompts. */
static enum mn_status run_once(const struct bench *b, struct mn_session *session, struct mn_generate_params params,
                               struct output *output, struct figures *figures, struct mn_stats *last)
{
    double ns = 0.0, tokens = 0.0, bytes = 0.0, drafted = 0.0, accepted = 0.0, rounds = 0.0, committed = 0.0,
           draft_ns = 0.0, rows = 0.0, huginn = 0.0;
    output->n = 0;
    for (int i = 0; i < N_PROMPTS; i++) {
        params.prompt = b->prompt[i];
        params.n_prompt = b->n_prompt[i];
        params.on_token = keep;
        params.user = output;
        enum mn_status status = mn_generate(session, &params, last);
        if (status)
            return status;
        ns += last->decode_ns;
        tokens += last->n_new - 1;
        bytes += (double)last->weight_bytes;
        drafted += (double)last->drafted;
        accepted += (double)last->accepted;
        rounds += (double)last->rounds;
        committed += (double)last->committed;
        rows += (double)last->inflight_rows;
        draft_ns += last->draft_ns;
        huginn += huginn_bytes(last);
    }
    *figures = (struct figures){tokens * 1e9 / ns,
                                drafted > 0 ? accepted / drafted : 0,
                                rounds > 0 ? committed / rounds : 0,
                                bytes / tokens,
                                draft_ns / ns,
                                rounds > 0 ? rows / rounds : 0,
                                huginn / tokens};
    return MN_OK;
}

/* Tokens that are those of ar, and those before the first difference of each prompt. */
static void count_equal(const struct output *a, const struct output *b, uint32_t n_new, uint32_t *n_equal,
                        uint32_t *n_prefix)
{
    *n_equal = *n_prefix = 0;
    for (uint32_t i = 0; i < N_PROMPTS; i++) {
        bool same = true;
        for (uint32_t j = 0; j < n_new; j++) {
            const bool equal = a->ids[i * n_new + j] == b->ids[i * n_new + j];
            same = same && equal;
            *n_equal += equal;
            *n_prefix += same;
        }
    }
}

/* `what` describes settings that have no column of their own. */
static enum mn_status measure(struct bench *b, struct mn_session *session, const struct mn_generate_params *params,
                              const char *policy, const char *what)
{
    double samples[MAX_REPETITIONS];
    struct figures figures = {0};
    struct mn_stats last = {0};
    struct output *output = malloc(sizeof *output);
    enum mn_status status = output ? MN_OK : MN_ERR_MEMORY;
    for (uint32_t i = 0; i <= b->repetitions && !status; i++) { /* the first run warms up */
        status = run_once(b, session, *params, output, &figures, &last);
        if (i > 0)
            samples[i - 1] = figures.tok_s;
    }
    if (!status && !b->expected.n)
        b->expected = *output;
    const bool equal = !status && output->n == b->expected.n &&
                       !memcmp(output->ids, b->expected.ids, output->n * sizeof *output->ids);
    if (!status && last.lossless && !equal) {
        fprintf(stderr, "%s: tokens differ from those of ar\n", params->strategy);
        status = MN_ERR_CHECK;
    }
    if (!status) {
        const double tok_s = samples_median(samples, b->repetitions);
        uint32_t n_equal, n_prefix;
        if (b->ar_tok_s == 0.0)
            b->ar_tok_s = tok_s, b->ar_huginn_bytes = figures.huginn_bytes;
        count_equal(output, &b->expected, b->n_new, &n_equal, &n_prefix);
        printf("{\"bench\":\"strategies\",\"strategy\":\"%s\",\"setting\":\"%s\",\"kv_policy\":\"%s\",\"draft_steps\":%"
               "u,\"lookahead\":%u,\"tok_s\":%.1f,\"slowest\":%.1f,"
               "\"fastest\":%.1f,\"speedup\":%.3f,\"acceptance_rate\":%.4f,\"mean_acceptance_length\":%.3f,\"mean_"
               "inflight\":%.2f,\"weight_bytes_per_token\":%.0f,"
               "\"huginn_gain\":%.2f,\"draft_share\":%.3f,\"lossless\":%s,\"equals_ar\":%s,\"agreement\":%.4f,"
               "\"agreement_before_first_difference\":%.4f",
               params->strategy, what, policy, last.draft_steps, last.lookahead, tok_s, samples[0],
               samples[b->repetitions - 1], tok_s / b->ar_tok_s, figures.acceptance, figures.length, figures.inflight,
               figures.weight_bytes, b->ar_huginn_bytes / figures.huginn_bytes, figures.draft_share,
               last.lossless ? "true" : "false", equal ? "true" : "false", (double)n_equal / output->n,
               (double)n_prefix / output->n);
        if (last.chosen_strategy)
            printf(",\"last_choice\":\"%s K %u L %u\",\"choices\":%llu", last.chosen_strategy, last.chosen_draft_steps,
                   last.chosen_lookahead, (unsigned long long)last.n_choices);
        puts("}");
        fflush(stdout);
    }
    free(output);
    return status;
}

static enum mn_status sweep_drafts(struct bench *b, struct mn_session *session, const struct mn_generate_params *ar)
{
    static const uint32_t depths[] = {1, 2, 3, 4, 5, 6, 8}, lookaheads[] = {1, 2, 3, 5, 7, 11, 13, 15};
    enum mn_status status = MN_OK;
    for (size_t k = 0; k < sizeof depths / sizeof *depths; k++)
        for (size_t l = 0; l < sizeof lookaheads / sizeof *lookaheads && !status; l++) {
            struct mn_generate_params draft = *ar;
            draft.strategy = "draft-verify";
            draft.speculation.draft_steps = depths[k];
            draft.speculation.lookahead = lookaheads[l];
            status = measure(b, session, &draft, "full", "");
        }
    return status;
}

static enum mn_status sweep_waves(struct bench *b, struct mn_session *session, const struct mn_generate_params *ar)
{
    static const uint32_t steps_per_tick[] = {1, 2, 3, 4, 5, 6, 8, 11, 16};
    enum mn_status status = MN_OK;
    for (size_t k = 0; k < sizeof steps_per_tick / sizeof *steps_per_tick && !status; k++) {
        struct mn_generate_params wave = *ar;
        wave.strategy = "wavefront";
        wave.speculation.draft_steps = steps_per_tick[k];
        status = measure(b, session, &wave, "full", "");
    }
    return status;
}

/* The cost table is measured by the run that warms up, as it would be once on a user's machine. */
static enum mn_status run_auto(struct bench *b, struct mn_session *session, const struct mn_generate_params *ar)
{
    struct mn_generate_params p = *ar;
    p.strategy = "auto";
    return measure(b, session, &p, "full", "");
}

static enum mn_status run_with_policy(struct bench *b, const struct mn_generate_params *params, const char *policy,
                                      uint32_t max_rows, const char *what)
{
    struct mn_session *session;
    struct mn_session_params with = {.max_rows = max_rows, .kv_policy = policy};
    enum mn_status status = mn_session_create(&session, b->engine, &with);
    if (status)
        return status;
    status = measure(b, session, params, policy, what);
    mn_session_destroy(session);
    return status;
}

static enum mn_status sweep_lossy(struct bench *b, struct mn_session *full, const struct mn_generate_params *ar)
{
    static const char *const criteria[] = {"latent-diff:0.03", "cosine",          "entropy-diff", "kl",
                                           "minp-kl",          "argmax-stability"};
    static const uint32_t depths[] = {1, 2, 4, 8};
    static const float freezes[] = {0.01f, 0.03f, 0.1f}, thresholds[] = {0.9f, 0.5f};
    char what[64];
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < sizeof criteria / sizeof *criteria && !status; i++) {
        struct mn_generate_params p = *ar;
        p.exit.rule = criteria[i];
        snprintf(what, sizeof what, "exit %s", criteria[i]);
        status = measure(b, full, &p, "full", what);
    }
    for (size_t i = 0; i < 2 && !status; i++) {
        struct mn_generate_params p = *ar;
        p.continuous = true;
        p.num_steps = i ? 8 : 0;
        status = measure(b, full, &p, "full", i ? "continuous, 8 steps" : "continuous");
    }
    for (size_t i = 0; i < sizeof thresholds / sizeof *thresholds && !status; i++) {
        struct mn_generate_params p = *ar;
        p.strategy = "draft-verify";
        p.speculation.draft_steps = 3;
        p.speculation.lookahead = 7;
        p.speculation.verification_threshold = thresholds[i];
        snprintf(what, sizeof what, "verification threshold %g", (double)thresholds[i]);
        status = measure(b, full, &p, "full", what);
    }
    static const char *const policies[] = {"share:1", "share:4"};
    for (size_t i = 0; i < 2 && !status; i++) {
        struct mn_generate_params p = *ar;
        status = run_with_policy(b, &p, policies[i], 1, "");
        p.strategy = "draft-verify";
        p.speculation.draft_steps = 5;
        p.speculation.lookahead = 7;
        if (!status)
            status = run_with_policy(b, &p, policies[i], 8, "");
    }
    for (size_t k = 0; k < sizeof depths / sizeof *depths; k++)
        for (size_t i = 0; i < sizeof freezes / sizeof *freezes && !status; i++) {
            struct mn_generate_params p = *ar;
            p.strategy = "diffusion";
            p.speculation.draft_steps = depths[k];
            p.diffusion.freeze_threshold = freezes[i];
            p.diffusion.embed_average = 0.1f;
            snprintf(what, sizeof what, "%u steps per tick, freeze %g", depths[k], (double)freezes[i]);
            status = run_with_policy(b, &p, "share:1", 64, what);
        }
    return status;
}

/* n copies of the prompt set in turn, all at once. */
static enum mn_status run_batch(struct bench *b, struct mn_generate_params params, uint32_t n, uint32_t rows_each,
                                double *alone_tok_s)
{
    struct mn_generate_params p[MAX_BATCH];
    struct mn_stats stats[MAX_BATCH], total;
    double samples[MAX_REPETITIONS];
    struct mn_session *session;
    struct mn_session_params with = {.max_rows = n * rows_each, .n_sequences = n};
    for (int i = 0; i < N_PROMPTS; i++) /* no more context than is used: many sequences have to fit */
        with.n_ctx = b->n_prompt[i] + b->n_new > with.n_ctx ? b->n_prompt[i] + b->n_new : with.n_ctx;
    enum mn_status status = mn_session_create(&session, b->engine, &with);
    if (status)
        return status;
    params.speculation.max_inflight = rows_each;
    for (uint32_t i = 0; i < n; i++) {
        p[i] = params;
        p[i].prompt = b->prompt[i % N_PROMPTS];
        p[i].n_prompt = b->n_prompt[i % N_PROMPTS];
    }
    for (uint32_t i = 0; i <= b->repetitions && !status; i++) {
        status = mn_generate_batch(session, p, n, stats, &total, NULL, NULL);
        if (i > 0)
            samples[i - 1] = mn_stats_decode_tok_s(&total);
    }
    mn_session_destroy(session);
    if (status)
        return status;
    const double tok_s = samples_median(samples, b->repetitions);
    if (*alone_tok_s == 0.0)
        *alone_tok_s = tok_s;
    printf("{\"bench\":\"batch\",\"strategy\":\"%s\",\"draft_steps\":%u,\"lookahead\":%u,\"sequences\":%u,\"tok_s\":%."
           "1f,\"slowest\":%.1f,\"fastest\":%.1f,"
           "\"against_one\":%.3f,\"weight_bytes_per_token\":%.0f,\"rows_per_core_pass\":%.2f,\"lossless\":%s}\n",
           params.strategy, total.draft_steps, total.lookahead, n, tok_s, samples[0], samples[b->repetitions - 1],
           tok_s / *alone_tok_s, mn_stats_weight_bytes_per_token(&total),
           (double)total.core_rows / (double)total.core_passes, total.lossless ? "true" : "false");
    fflush(stdout);
    return MN_OK;
}

static enum mn_status sweep_batches(struct bench *b, const struct mn_generate_params *ar)
{
    enum mn_status status = MN_OK;
    struct mn_generate_params wave = *ar, draft = *ar;
    wave.strategy = "wavefront";
    wave.speculation.draft_steps = 4;
    draft.strategy = "draft-verify";
    draft.speculation.draft_steps = 5;
    draft.speculation.lookahead = 7;
    double alone = 0.0;
    for (uint32_t n = 1; n <= 32 && !status; n *= 2)
        status = run_batch(b, *ar, n, 1, &alone);
    alone = 0.0;
    for (uint32_t n = 1; n <= 8 && !status; n *= 2)
        status = run_batch(b, draft, n, 8, &alone);
    alone = 0.0;
    for (uint32_t n = 1; n <= 8 && !status; n *= 2)
        status = run_batch(b, wave, n, 8, &alone);
    return status;
}

static bool wanted(int argc, char **argv, const char *group)
{
    for (int i = 4; i < argc; i++)
        if (!strcmp(argv[i], group))
            return true;
    return argc <= 4;
}

static enum mn_status run_groups(struct bench *b, int argc, char **argv, const char *model)
{
    struct mn_session *session;
    struct mn_session_params with = {.max_rows = 16};
    struct mn_model_info info;
    mn_engine_info(b->engine, &info);
    const struct mn_generate_params ar = {.n_new = b->n_new, .strategy = "ar", .ignore_eos = true};
    enum mn_status status = mn_session_create(&session, b->engine, &with);
    if (status)
        return status;
    printf("{\"bench\":\"device\",\"banner\":\"%s\",\"model\":\"%s\",\"num_steps\":%u,\"n_new\":%u,\"prompts\":%d,"
           "\"repetitions\":%u}\n",
           info.device_banner, model, info.shape.mean_recurrence, b->n_new, N_PROMPTS, b->repetitions);
    status = measure(b, session, &ar, "full", "");
    if (!status && wanted(argc, argv, "auto"))
        status = run_auto(b, session, &ar);
    if (!status && wanted(argc, argv, "wavefront"))
        status = sweep_waves(b, session, &ar);
    if (!status && wanted(argc, argv, "draft-verify"))
        status = sweep_drafts(b, session, &ar);
    if (!status && wanted(argc, argv, "lossy"))
        status = sweep_lossy(b, session, &ar);
    if (!status && wanted(argc, argv, "batch"))
        status = sweep_batches(b, &ar);
    mn_session_destroy(session);
    return status;
}

int main(int argc, char **argv)
{
    struct mn_log log = {write_log, NULL};
    struct bench *b = calloc(1, sizeof *b);
    const char *model = argc > 1 ? argv[1] : "models/raven-tiny";
    if (!b)
        return 6;
    b->n_new = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 96;
    b->repetitions = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 5;
    if (b->n_new < 2 || b->n_new > MAX_NEW || b->repetitions < 1 || b->repetitions > MAX_REPETITIONS) {
        fprintf(stderr, "usage: bench_strategies [MODEL_DIR [N_NEW 2..%d [REPETITIONS 1..%d [GROUP...]]]]\n", MAX_NEW,
                MAX_REPETITIONS);
        free(b);
        return 2;
    }
    cpu_device_prepare(NULL, model);
    enum mn_status status = mn_engine_create(&b->engine, &(struct mn_engine_params){.model_dir = model, .log = &log});
    for (int i = 0; i < N_PROMPTS && !status; i++) {
        size_t n = 0;
        status = mn_tokenize(b->engine, prompts[i], strlen(prompts[i]), true, &b->prompt[i], &n);
        b->n_prompt[i] = (uint32_t)n;
    }
    if (!status)
        status = run_groups(b, argc, argv, model);
    for (int i = 0; i < N_PROMPTS; i++)
        free(b->prompt[i]);
    mn_engine_destroy(b->engine);
    free(b);
    return mn_status_exit_code(status);
}
