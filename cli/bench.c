/* muninn bench: every combination of the settings asked for, measured one after the other. */
#include "bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cache.h"
#include "lists.h"

struct bench_options {
    struct text_list models;
    const char *devices, *weight_types, *kv_policies, *kv_types, *strategies, *num_steps, *draft_steps, *lookaheads, *prompt_tokens, *n_new, *batches;
    const char *acceptance, *results, *shard, *output, *output_err, *cpu_threads;
    uint32_t repetitions, max_inflight;
    float min_seconds, temperature;
    uint64_t seed;
    bool resume;
};

enum { SETTINGS_MAX = 100000, WAVE_ROWS = 8, WINDOW_ROWS = 64, AUTO_ROWS = 16, ROWS_PER_PASS = 64, ACCEPTANCE_MAX = MN_MAX_LOOKAHEAD };

struct lists {
    struct word_list devices, weight_types, kv_policies, kv_types, strategies;
    struct number_list num_steps, draft_steps, lookaheads, prompt_tokens, n_new, batches;
    uint32_t shard, n_shards; /* shard from 1 */
    float acceptance[ACCEPTANCE_MAX];
    uint32_t n_acceptance;
};

struct sweep {
    const struct bench_options *options;
    const struct mn_log *log;
    struct lists lists;
    struct bench_setting *settings;
    size_t n, capacity, n_impossible;
    struct rows rows;        /* of this run, and of the file it resumes */
    FILE *file;              /* results, or NULL */
    double started;
    size_t n_done, n_skipped;
};

static double now_s(void *user)
{
    struct timespec t;
    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what to run over ---- */

static enum mn_status parse_shard(struct lists *l, const char *text, const struct mn_log *log)
{
    char end;
    l->shard = l->n_shards = 1;
    if (!text)
        return MN_OK;
    if (sscanf(text, "%6" SCNu32 "/%6" SCNu32 "%c", &l->shard, &l->n_shards, &end) != 2 || l->shard < 1 || l->shard > l->n_shards)
        return log_fail(log, MN_ERR_USAGE, "--shard %s: must be i/n with i from 1 to n", text);
    return MN_OK;
}

static enum mn_status parse_acceptance(struct lists *l, const char *text, const struct mn_log *log)
{
    for (const char *at = text; at;) {
        char *end;
        const double value = strtod(at, &end);
        if (end == at || (*end != '\0' && *end != ',') || !(value >= 0.0 && value <= 1.0) || l->n_acceptance == ACCEPTANCE_MAX)
            return log_fail(log, MN_ERR_USAGE, "--acceptance %s: must be up to %d numbers from 0 to 1 with commas between", text, ACCEPTANCE_MAX);
        l->acceptance[l->n_acceptance++] = (float)value;
        at = *end ? end + 1 : NULL;
    }
    return MN_OK;
}

static enum mn_status parse_lists(struct lists *l, const struct bench_options *o, const struct mn_log *log)
{
    const struct {
        const char *option, *text, *choices;
        struct word_list *out;
    } words[] = {{"device", o->devices, NULL, &l->devices},
                 {"weight-type", o->weight_types, "bf16|f16|f32", &l->weight_types},
                 {"kv-policy", o->kv_policies, NULL, &l->kv_policies},
                 {"kv-type", o->kv_types, "f16|f32", &l->kv_types},
                 {"strategy", o->strategies, "ar|draft-verify|wavefront|auto|diffusion", &l->strategies}};
    const struct {
        const char *option, *text;
        uint32_t min, max;
        struct number_list *out;
    } numbers[] = {{"num-steps", o->num_steps, 1, 4096, &l->num_steps},
                   {"draft-steps", o->draft_steps, 1, 4095, &l->draft_steps},
                   {"lookahead", o->lookaheads, 1, MN_MAX_LOOKAHEAD, &l->lookaheads},
                   {"prompt-tokens", o->prompt_tokens, 1, CLI_IDS_MAX, &l->prompt_tokens},
                   {"max-new-tokens", o->n_new, 2, CLI_IDS_MAX, &l->n_new},
                   {"batch", o->batches, 1, ROWS_PER_PASS, &l->batches}};
    enum mn_status status = parse_shard(l, o->shard, log);
    for (size_t i = 0; i < sizeof words / sizeof *words && !status; i++)
        if (words[i].text)
            status = parse_words(words[i].option, words[i].text, words[i].choices, words[i].out, log);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !status; i++)
        if (numbers[i].text)
            status = parse_numbers(numbers[i].option, numbers[i].text, numbers[i].min, numbers[i].max, numbers[i].out, log);
    for (uint32_t i = 0; i < l->kv_policies.n && !status; i++) {
        struct kv_policy policy;
        status = kv_policy_parse(l->kv_policies.words[i], &policy, log);
    }
    if (!status && o->resume && !o->results)
        status = log_fail(log, MN_ERR_USAGE, "--resume: needs --results FILE.jsonl");
    return status ? status : parse_acceptance(l, o->acceptance, log);
}

/* ---- the cross product ---- */

/* Can this combination run? The rules are the engine's (spec/check.c); here they leave holes in the product instead of ending it. */
static bool is_possible(const struct bench_setting *s)
{
    const bool drafts = !strcmp(s->strategy, "draft-verify"), wave = !strcmp(s->strategy, "wavefront"), diffusion = !strcmp(s->strategy, "diffusion");
    const uint32_t rows = drafts ? s->lookahead + 1 : s->max_inflight ? s->max_inflight : 1;
    if ((drafts || wave) && s->draft_steps >= s->num_steps)
        return false;
    if (diffusion && (s->draft_steps > s->num_steps || strcmp(s->kv_policy, "share:1") != 0 || s->batch > 1))
        return false;
    return rows * s->batch <= ROWS_PER_PASS;
}

/* Figures that the strategy does not use become 0, so that combinations which differ in nothing else are one. */
static void normalise(struct bench_setting *s, uint32_t max_inflight)
{
    const bool drafts = !strcmp(s->strategy, "draft-verify"), wave = !strcmp(s->strategy, "wavefront"), diffusion = !strcmp(s->strategy, "diffusion");
    if (!drafts)
        s->lookahead = 0;
    if (!drafts && !wave && !diffusion)
        s->draft_steps = 0;
    s->max_inflight = wave ? (max_inflight ? max_inflight : WAVE_ROWS) : diffusion ? (max_inflight ? max_inflight : WINDOW_ROWS) : !strcmp(s->strategy, "auto") ? AUTO_ROWS : 0;
}

static bool is_known(const struct sweep *w, size_t first, const struct bench_setting *s)
{
    for (size_t i = first; i < w->n; i++)
        if (w->settings[i].draft_steps == s->draft_steps && w->settings[i].lookahead == s->lookahead && w->settings[i].strategy == s->strategy)
            return true;
    return false;
}

static enum mn_status add_setting(struct sweep *w, size_t first, struct bench_setting s)
{
    normalise(&s, w->options->max_inflight);
    if (!is_possible(&s)) {
        w->n_impossible++;
        return MN_OK;
    }
    if (is_known(w, first, &s))
        return MN_OK;
    if (w->n == SETTINGS_MAX)
        return log_fail(w->log, MN_ERR_USAGE, "more than %d settings", SETTINGS_MAX);
    if (w->n == w->capacity) {
        const size_t capacity = w->capacity ? 2 * w->capacity : 256;
        struct bench_setting *settings = realloc(w->settings, capacity * sizeof *settings);
        if (!settings)
            return log_fail(w->log, MN_ERR_MEMORY, "out of host memory for %zu settings", capacity);
        w->settings = settings;
        w->capacity = capacity;
    }
    w->settings[w->n++] = s;
    return MN_OK;
}

/* The innermost lists: those that share a session's sizes and the tokens of ar. */
static enum mn_status add_strategies(struct sweep *w, struct bench_setting s)
{
    const struct lists *l = &w->lists;
    const size_t first = w->n;
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < l->strategies.n && !status; i++)
        for (uint32_t k = 0; k < l->draft_steps.n && !status; k++)
            for (uint32_t j = 0; j < l->lookaheads.n && !status; j++) {
                s.strategy = l->strategies.words[i];
                s.draft_steps = l->draft_steps.values[k];
                s.lookahead = l->lookaheads.values[j];
                status = add_setting(w, first, s);
            }
    return status;
}

/* num_steps 0 and prompt_tokens 0: the model's own, known when it is open. An empty list is one value: the default. */
static enum mn_status add_sizes(struct sweep *w, struct bench_setting s, uint32_t mean_recurrence)
{
    const struct lists *l = &w->lists;
    enum mn_status status = MN_OK;
    for (uint32_t r = 0; r < (l->num_steps.n ? l->num_steps.n : 1) && !status; r++)
        for (uint32_t p = 0; p < (l->prompt_tokens.n ? l->prompt_tokens.n : 1) && !status; p++)
            for (uint32_t n = 0; n < l->n_new.n && !status; n++)
                for (uint32_t t = 0; t < l->kv_types.n && !status; t++)
                    for (uint32_t c = 0; c < l->kv_policies.n && !status; c++)
                        for (uint32_t b = 0; b < l->batches.n && !status; b++) {
                            s.num_steps = l->num_steps.n ? l->num_steps.values[r] : mean_recurrence;
                            s.prompt_tokens = l->prompt_tokens.n ? l->prompt_tokens.values[p] : 0;
                            s.n_new = l->n_new.values[n];
                            s.kv_type = l->kv_types.words[t];
                            s.kv_policy = l->kv_policies.words[c];
                            s.batch = l->batches.values[b];
                            status = add_strategies(w, s);
                        }
    return status;
}

/* ---- running ---- */

static void show_progress(const struct sweep *w, const struct bench_setting *s, size_t i)
{
    if (!isatty(STDERR_FILENO))
        return;
    const double spent = now_s(NULL) - w->started;
    fprintf(stderr, "\r\033[K[%zu/%zu] %s R %" PRIu32 " K %" PRIu32 " L %" PRIu32 " batch %" PRIu32, i + 1, w->n, s->strategy, s->num_steps, s->draft_steps, s->lookahead, s->batch);
    if (w->n_done)
        fprintf(stderr, ", about %.0f s left for this model", spent / (double)w->n_done * (double)(w->n - i));
    fflush(stderr);
}

static void end_progress(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

static enum mn_status append(struct sweep *w, const cJSON *row)
{
    if (!w->file)
        return MN_OK;
    enum mn_status status = rows_append(w->file, w->options->results, row, w->log);
    return status ? status : rows_sync(w->file, w->options->results, w->log);
}

static void warn_outliers(const struct sweep *w, const cJSON *row, const struct bench_setting *s)
{
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(row, "decode_outliers");
    if (cJSON_IsNumber(n) && n->valuedouble > 0.0)
        log_note(w->log, MN_LOG_WARN, "%s R %" PRIu32 " K %" PRIu32 " L %" PRIu32 ": %.0f of the samples are outliers (modified z-score above 3.5)", s->strategy, s->num_steps,
                 s->draft_steps, s->lookahead, n->valuedouble);
}

static enum mn_status run_setting(struct sweep *w, struct bench_model *model, const struct bench_setting *s, const struct bench_common *common)
{
    cJSON *row = NULL;
    char *key = row_key(model, s, common);
    if (!key)
        return log_fail(w->log, MN_ERR_MEMORY, "out of host memory for a key");
    const bool known = rows_find(&w->rows, key) != NULL;
    free(key);
    if (known) {
        w->n_skipped++;
        return MN_OK;
    }
    enum mn_status status = bench_measure(model, s, common, &row);
    if (status)
        return status;
    end_progress();
    warn_outliers(w, row, s);
    status = append(w, row);
    if (status) {
        cJSON_Delete(row);
        return status;
    }
    w->n_done++;
    return rows_add(&w->rows, row, w->log);
}

/* All settings of one model in one type on one device. */
static enum mn_status run_model(struct sweep *w, struct bench_setting s, const char *dir, size_t *counter, const struct bench_common *common)
{
    struct bench_model model;
    s.model = dir;
    enum mn_status status = bench_model_open(&model, &s, dir, w->log);
    if (status)
        return status;
    w->n = w->n_done = 0;
    w->started = now_s(NULL);
    status = add_sizes(w, s, model.info.mean_recurrence);
    for (size_t i = 0; i < w->n && !status; i++) {
        if ((*counter)++ % w->lists.n_shards != w->lists.shard - 1)
            continue;
        if (cli_interrupted()) {
            status = MN_ERR_INTERRUPTED;
            break;
        }
        show_progress(w, &w->settings[i], i);
        status = run_setting(w, &model, &w->settings[i], common);
    }
    end_progress();
    bench_model_close(&model);
    return status;
}

static enum mn_status run_all(struct sweep *w, const struct bench_common *common)
{
    const struct lists *l = &w->lists;
    const uint32_t n_models = w->options->models.n ? w->options->models.n : 1;
    size_t counter = 0;
    enum mn_status status = MN_OK;
    for (uint32_t d = 0; d < (l->devices.n ? l->devices.n : 1) && !status; d++)
        for (uint32_t m = 0; m < n_models && !status; m++)
            for (uint32_t t = 0; t < (l->weight_types.n ? l->weight_types.n : 1) && !status; t++) {
                char dir[CLI_PATH_BYTES];
                const struct bench_setting s = {.device = l->devices.n ? l->devices.words[d] : NULL,
                                                .weight_type = l->weight_types.n ? l->weight_types.words[t] : NULL};
                status = cli_model_dir(w->options->models.n ? w->options->models.items[m] : NULL, dir, w->log);
                if (!status) {
                    cli_set_cpu_threads(w->options->cpu_threads, dir);
                    status = run_model(w, s, dir, &counter, common);
                }
            }
    return status;
}

static enum mn_status report(const struct sweep *w)
{
    enum mn_status status = rows_write(&w->rows, w->options->output, stdout, w->log);
    if (!status && w->options->output_err)
        status = rows_write(&w->rows, w->options->output_err, stderr, w->log);
    if (w->n_impossible)
        log_note(w->log, MN_LOG_WARN, "%zu combinations cannot run (K not below R, more than %d rows per pass, diffusion without share:1 or in a batch) and were left out",
                 w->n_impossible, ROWS_PER_PASS);
    if (w->n_skipped)
        log_note(w->log, MN_LOG_WARN, "%zu settings were in %s already", w->n_skipped, w->options->results);
    return status;
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct bench_options *options = values;
    struct sweep *w = calloc(1, sizeof *w);
    char cache_dir[CLI_PATH_BYTES];
    if (!w)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a sweep");
    *w = (struct sweep){.options = options, .log = log};
    enum mn_status status = parse_lists(&w->lists, options, log);
    const struct bench_common common = {.sampling = {options->repetitions, (double)options->min_seconds, now_s, NULL},
                                        .seed = options->seed,
                                        .temperature = options->temperature,
                                        .cost_dir = cli_cache_dir(cache_dir),
                                        .acceptance = w->lists.acceptance,
                                        .n_acceptance = w->lists.n_acceptance,
                                        .stop = cli_interrupted,
                                        .log = log};
    cli_catch_interrupt();
    if (!status && options->results)
        status = rows_open(&w->file, options->results, options->resume ? &w->rows : NULL, log);
    if (!status)
        status = run_all(w, &common);
    /* Whatever ended it: what was measured is shown. */
    if (w->rows.n) {
        const enum mn_status reported = report(w);
        status = status ? status : reported;
    }
    if (w->file && fclose(w->file) != 0 && !status)
        status = log_fail(log, MN_ERR_RUN, "%s: writing failed", options->results);
    rows_free(&w->rows);
    free(w->settings);
    free(w);
    return status;
}

/* ---- options ---- */

#define AT(field) offsetof(struct bench_options, field)

static const struct option_spec specs[] = {
    {.name = "model", .letter = 'm', .kind = OPTION_LIST, .offset = AT(models), .argument = "DIR", .shown = "$MUNINN_MODEL, else raven-tiny",
     .help = "model folder; may be given up to 16 times"},
    {.name = "device", .kind = OPTION_TEXT, .offset = AT(devices), .argument = "LIST", .shown = "the best one", .help = "numbers or parts of names, see `muninn devices`"},
    {.name = "weight-type", .kind = OPTION_TEXT, .offset = AT(weight_types), .argument = "LIST", .shown = "as stored", .help = "bf16, f16, f32"},
    {.name = "kv-policy", .kind = OPTION_TEXT, .offset = AT(kv_policies), .argument = "LIST", .value = "full", .help = "full, share:k (LOSSY)"},
    {.name = "kv-type", .kind = OPTION_TEXT, .offset = AT(kv_types), .argument = "LIST", .value = "f16", .help = "f16, f32"},
    {.name = "strategy", .kind = OPTION_TEXT, .offset = AT(strategies), .argument = "LIST", .value = "ar,draft-verify,wavefront",
     .help = "ar, draft-verify, wavefront, auto, diffusion (LOSSY)"},
    {.name = "num-steps", .kind = OPTION_TEXT, .offset = AT(num_steps), .argument = "LIST", .shown = "the model's mean_recurrence", .help = "R"},
    {.name = "draft-steps", .kind = OPTION_TEXT, .offset = AT(draft_steps), .argument = "LIST", .value = "4", .help = "K"},
    {.name = "lookahead", .kind = OPTION_TEXT, .offset = AT(lookaheads), .argument = "LIST", .value = "7", .help = "L"},
    {.name = "max-inflight", .kind = OPTION_U32, .offset = AT(max_inflight), .argument = "W", .shown = "8; diffusion: 64", .min = 1, .max = ROWS_PER_PASS,
     .help = "most rows in flight in wavefront and diffusion"},
    {.name = "prompt-tokens", .kind = OPTION_TEXT, .offset = AT(prompt_tokens), .argument = "LIST", .shown = "as they are",
     .help = "length of the prompts, which are cut or repeated to it"},
    {.name = "max-new-tokens", .letter = 'n', .kind = OPTION_TEXT, .offset = AT(n_new), .argument = "LIST", .value = "64", .help = "new tokens of each prompt"},
    {.name = "batch", .kind = OPTION_TEXT, .offset = AT(batches), .argument = "LIST", .value = "1", .help = "sequences at once"},
    {.name = "acceptance", .kind = OPTION_TEXT, .offset = AT(acceptance), .argument = "P[,P...]", .shown = "measured",
     .help = "count drafts as right with this probability, per place in the round (LOSSY)"},
    {.name = "temp", .kind = OPTION_FLOAT, .offset = AT(temperature), .argument = "T", .value = "0", .min = 0, .max = 100, .help = "temperature; 0 is greedy"},
    {.name = "seed", .kind = OPTION_U64, .offset = AT(seed), .argument = "S", .value = "0", .help = "of sampling and forced acceptance"},
    {.name = "repetitions", .letter = 'r', .kind = OPTION_U32, .offset = AT(repetitions), .argument = "N", .value = "5", .min = 1, .max = SAMPLES_MAX,
     .help = "at least so many, behind one that warms up"},
    {.name = "min-seconds", .kind = OPTION_FLOAT, .offset = AT(min_seconds), .argument = "S", .value = "3", .min = 0, .max = 3600, .help = "and at least so long"},
    {.name = "results", .kind = OPTION_TEXT, .offset = AT(results), .argument = "FILE.jsonl", .help = "append each row to this file as it comes"},
    {.name = "resume", .kind = OPTION_FLAG, .offset = AT(resume), .help = "leave out what --results has already"},
    {.name = "shard", .kind = OPTION_TEXT, .offset = AT(shard), .argument = "i/n", .shown = "1/1", .help = "every n-th setting, from the i-th; `muninn merge` puts shards together"},
    {.name = "cpu-threads", .kind = OPTION_CHOICE, .offset = AT(cpu_threads), .choices = "0|1|2|3|4|6|8|12|16|24|32", .shown = "0 for small models, else all",
     .help = "worker threads of a CPU device (lavapipe)"},
    {.name = "output", .letter = 'o', .kind = OPTION_CHOICE, .offset = AT(output), .choices = "md|csv|json|jsonl", .value = "md", .help = "format on standard output"},
    {.name = "output-err", .kind = OPTION_CHOICE, .offset = AT(output_err), .choices = "md|csv|json|jsonl", .help = "a second format, on standard error"},
};

const struct command command_bench = {
    .name = "bench",
    .summary = "Measures settings against each other.",
    .synopsis = "[OPTIONS]",
    .example = "muninn bench --strategy ar,draft-verify --draft-steps 1-8 --lookahead 1-15*2 --results here.jsonl",
    .notes = "LIST is one or more pieces with commas between: a value, first-last, first-last+step or first-last*factor. All combinations are run; those that\n"
             "cannot run are left out and counted. Tokens per second do not count prompt tokens. Every row says whether it is lossless, and compares its\n"
             "tokens with those of `ar` with a full cache; a lossless setting that differs ends the sweep with exit code 7.",
    .options = specs,
    .n_options = sizeof specs / sizeof *specs,
    .values_bytes = sizeof(struct bench_options),
    .run = run};
