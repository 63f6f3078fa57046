/* muninn bench: every combination of the settings asked for, measured one after the other. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/rows/lists.h"
#include "bench/sweep/cpu_device.h"
#include "bench/sweep/sweep.h"
#include "cache/cache.h"
#include "cli/commands.h"
#include "engine/base/clock.h"
#include "engine/base/numbers.h"
#include "engine/files/json.h"

struct bench_options {
    struct text_list models, synthetic;
    const char *devices, *weight_types, *kv_policies, *kv_types, *strategies, *num_steps, *draft_steps, *lookaheads,
        *prompt_tokens, *n_new, *batches;
    const char *acceptance, *results, *shard, *output, *output_err, *cpu_threads, *prompts, *answers;
    uint32_t repetitions, max_inflight;
    float min_seconds, temperature;
    uint64_t seed;
    bool resume, stop_at_eos, kernels;
};

enum { SETTINGS_MAX = 100000, ROWS_PER_PASS = 128, ACCEPTANCE_MAX = MN_MAX_LOOKAHEAD };

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
    struct rows rows; /* of this run, and of the file it resumes */
    FILE *file;       /* results, or NULL */
    double started;
    size_t n_done, n_skipped, n_models_left; /* n_done, n_skipped: rows; models behind the one under way */
    enum mn_status failed;                   /* the first failure that the sweep outlived */
};

static double clock_of_sampling(void *user)
{
    (void)user;
    return clock_s();
}

/* ---- what to run over ---- */

static enum mn_status parse_shard(struct lists *l, const char *text, const struct mn_log *log)
{
    char end;
    l->shard = l->n_shards = 1;
    if (!text)
        return MN_OK;
    if (sscanf(text, "%6" SCNu32 "/%6" SCNu32 "%c", &l->shard, &l->n_shards, &end) != 2 || l->shard < 1 ||
        l->shard > l->n_shards)
        return log_fail(log, MN_ERR_USAGE, "--shard %s: must be i/n with i from 1 to n", text);
    return MN_OK;
}

static enum mn_status parse_acceptance(struct lists *l, const char *text, const struct mn_log *log)
{
    for (const char *at = text; at;) {
        char *end;
        const double value = strtod(at, &end);
        if (strspn(text, "0123456789.,") != strlen(text) || end == at || (*end != '\0' && *end != ',') ||
            !(value >= 0.0 && value <= 1.0) || l->n_acceptance == ACCEPTANCE_MAX)
            return log_fail(log, MN_ERR_USAGE,
                            "--acceptance %s: must be up to %d numbers from 0 to 1 with commas between", text,
                            ACCEPTANCE_MAX);
        l->acceptance[l->n_acceptance++] = (float)value;
        at = *end ? end + 1 : NULL;
    }
    return MN_OK;
}

static enum mn_status parse_lists(struct lists *l, const struct bench_options *o, const struct mn_log *log)
{
    char strategies[256];
    options_strategies(strategies, sizeof strategies);
    const struct {
        const char *option, *text, *choices;
        struct word_list *out;
    } words[] = {{"device", o->devices, NULL, &l->devices},
                 {"weight-type", o->weight_types, "bf16|f16|f32", &l->weight_types},
                 {"kv-policy", o->kv_policies, NULL, &l->kv_policies},
                 {"kv-type", o->kv_types, "f16|f32", &l->kv_types},
                 {"strategy", o->strategies, strategies, &l->strategies}};
    const struct {
        const char *option, *text;
        uint32_t min, max;
        struct number_list *out;
    } numbers[] = {{"num-steps", o->num_steps, 1, 4096, &l->num_steps},
                   {"draft-steps", o->draft_steps, 1, 4095, &l->draft_steps},
                   {"lookahead", o->lookaheads, 1, MN_MAX_LOOKAHEAD, &l->lookaheads},
                   {"prompt-tokens", o->prompt_tokens, 1, IDS_MAX, &l->prompt_tokens},
                   {"max-new-tokens", o->n_new, 2, IDS_MAX, &l->n_new},
                   {"batch", o->batches, 1, ROWS_PER_PASS, &l->batches}};
    enum mn_status status = parse_shard(l, o->shard, log);
    for (size_t i = 0; i < sizeof words / sizeof *words && !status; i++)
        if (words[i].text)
            status = parse_words(words[i].option, words[i].text, words[i].choices, words[i].out, log);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !status; i++)
        if (numbers[i].text)
            status = parse_numbers(numbers[i].option, numbers[i].text, numbers[i].min, numbers[i].max, numbers[i].out,
                                   log);
    for (uint32_t i = 0; i < l->kv_policies.n && !status; i++) {
        struct kv_policy policy;
        status = kv_policy_parse(l->kv_policies.words[i], &policy, log);
    }
    if (!status && o->resume && !o->results)
        status = log_fail(log, MN_ERR_USAGE, "--resume: needs --results FILE.jsonl");
    if (!status && o->seed > JSON_INTEGER_MAX)
        status = log_fail(log, MN_ERR_USAGE, "--seed %" PRIu64 ": at most 2^53 - 1, so that it can stand in JSON",
                          o->seed);
    if (!status && o->kernels && (o->prompts || o->answers || o->acceptance))
        status = log_fail(
            log, MN_ERR_USAGE,
            "--kernels: measures passes, not prompts: it goes without --prompts, --answers and --acceptance");
    if (!status && o->answers && !o->prompts)
        status = log_fail(log, MN_ERR_USAGE, "--answers: needs --prompts with questions");
    for (uint32_t i = 0; i < l->batches.n && !status && o->answers; i++)
        if (l->batches.values[i] > 1)
            status = log_fail(log, MN_ERR_USAGE,
                              "--answers: not with --batch above 1, where a question has no time of its own");
    return status ? status : parse_acceptance(l, o->acceptance, log);
}

/* ---- the cross product ---- */

/* Can this combination run? The rules are the engine's (spec/check.c); here they leave holes in the product instead of
 * ending it. */
static bool is_possible(const struct bench_setting *s)
{
    const struct mn_strategy *strategy = mn_strategy_find(s->strategy);
    const uint32_t most_steps = strategy->uses & MN_USES_WHOLE_DEPTH ? s->num_steps : s->num_steps - 1;
    if (strategy->uses & MN_USES_DRAFT_STEPS && s->draft_steps > most_steps)
        return false;
    return (strategy->batches || s->batch == 1) && bench_rows(s) * s->batch <= ROWS_PER_PASS;
}

/* Figures that the strategy does not use become 0, so that combinations which differ in nothing else are one. Rows in
 * flight that nobody asked for are what a batch has room for. */
static void normalise(struct bench_setting *s, uint32_t max_inflight)
{
    const struct mn_strategy *strategy = mn_strategy_find(s->strategy);
    if (!(strategy->uses & MN_USES_LOOKAHEAD))
        s->lookahead = 0;
    if (!(strategy->uses & MN_USES_DRAFT_STEPS))
        s->draft_steps = 0;
    if (strategy->kv_policy)
        s->kv_policy = strategy->kv_policy;
    s->max_inflight = !strategy->usual_inflight ? 0
                      : max_inflight            ? max_inflight
                                                : min_u32(strategy->usual_inflight, ROWS_PER_PASS / s->batch);
}

/* Among those of the same sizes, types and batch. */
static bool is_known(const struct sweep *w, size_t first, const struct bench_setting *s)
{
    for (size_t i = first; i < w->n; i++)
        if (w->settings[i].draft_steps == s->draft_steps && w->settings[i].lookahead == s->lookahead &&
            w->settings[i].strategy == s->strategy && !strcmp(w->settings[i].kv_policy, s->kv_policy))
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

/* The innermost lists: those that share sizes and the tokens of ar. */
static enum mn_status add_strategies(struct sweep *w, struct bench_setting s)
{
    const struct lists *l = &w->lists;
    const size_t first = w->n;
    enum mn_status status = MN_OK;
    for (uint32_t c = 0; c < l->kv_policies.n && !status; c++)
        for (uint32_t i = 0; i < l->strategies.n && !status; i++)
            for (uint32_t k = 0; k < l->draft_steps.n && !status; k++)
                for (uint32_t j = 0; j < l->lookaheads.n && !status; j++) {
                    s.kv_policy = l->kv_policies.words[c];
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
                    for (uint32_t b = 0; b < l->batches.n && !status; b++) {
                        s.num_steps = l->num_steps.n ? l->num_steps.values[r] : mean_recurrence;
                        s.prompt_tokens = l->prompt_tokens.n ? l->prompt_tokens.values[p] : 0;
                        s.n_new = l->n_new.values[n];
                        s.kv_type = l->kv_types.words[t];
                        s.batch = l->batches.values[b];
                        status = add_strategies(w, s);
                    }
    return status;
}

/* ---- running ---- */

/* Time left goes by what rows took so far; models still to come are taken to be like this one. */
static void show_progress(const struct sweep *w, const struct bench_setting *s, size_t i)
{
    enum { WIDTH = 24 };
    char bar[WIDTH + 1];
    if (!isatty(STDERR_FILENO))
        return;
    const double left = (double)(w->n - i) + (double)(w->n_models_left * w->n), spent = clock_s() - w->started;
    const size_t filled = (size_t)(WIDTH * i / w->n);
    memset(bar, '.', WIDTH);
    memset(bar, '#', filled);
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r\033[K[%s] %zu/%zu %s R %" PRIu32 " K %" PRIu32 " L %" PRIu32 " batch %" PRIu32, bar, i + 1,
            w->n, s->strategy, s->num_steps, s->draft_steps, s->lookahead, s->batch);
    if (w->n_done) {
        const double seconds = spent / (double)w->n_done * left / w->lists.n_shards;
        fprintf(stderr,
                seconds < 100.0    ? ", %.0f s left"
                : seconds < 6000.0 ? ", %.0f min left"
                                   : ", %.0f h left",
                seconds < 100.0    ? seconds
                : seconds < 6000.0 ? seconds / 60.0
                                   : seconds / 3600.0);
    }
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

static enum mn_status keep_row(struct sweep *w, cJSON *row)
{
    enum mn_status status = append(w, row);
    if (status) {
        cJSON_Delete(row);
        return status;
    }
    return rows_add(&w->rows, row, w->log);
}

static void warn_outliers(const struct sweep *w, const cJSON *row, const struct bench_setting *s)
{
    const cJSON *n = json_find(row, "decode_outliers");
    if (cJSON_IsNumber(n) && n->valuedouble > 0.0)
        log_note(w->log, MN_LOG_WARN,
                 "%s R %" PRIu32 " K %" PRIu32 " L %" PRIu32
                 ": %.0f of the samples are outliers (modified z-score above 3.5)",
                 s->strategy, s->num_steps, s->draft_steps, s->lookahead, n->valuedouble);
}

/* A setting that cannot run here (no memory for its context, a prompt too long) costs its row, not the sweep; the exit
 * code remembers. */
static bool is_survivable(enum mn_status status)
{
    return status == MN_ERR_MEMORY || status == MN_ERR_USAGE || status == MN_ERR_UNSUPPORTED;
}

static enum mn_status run_setting(struct sweep *w, struct bench_model *model, const struct bench_setting *s,
                                  const struct bench_common *common)
{
    cJSON *row;
    bool equal;
    char *key = row_key(model, s, common);
    if (!key)
        return log_fail(w->log, MN_ERR_MEMORY, "out of host memory for a key");
    const bool known = rows_find(&w->rows, key) != NULL;
    free(key);
    if (known) {
        w->n_skipped++;
        return MN_OK;
    }
    enum mn_status status = bench_measure(model, s, common, &row, &equal);
    if (status) {
        w->failed = w->failed ? w->failed : status;
        return is_survivable(status) ? MN_OK : status;
    }
    end_progress();
    warn_outliers(w, row, s);
    w->n_done++;
    if (!equal) /* the row stays: it says so itself */
        w->failed = log_fail(w->log, MN_ERR_CHECK,
                             "%s with K %" PRIu32 ", L %" PRIu32 ", R %" PRIu32 ", batch %" PRIu32
                             ": lossless, but its tokens are not those of ar",
                             s->strategy, s->draft_steps, s->lookahead, s->num_steps, s->batch);
    return keep_row(w, row);
}

static enum mn_status run_kernels(struct sweep *w, struct bench_model *model, const struct bench_setting *s,
                                  const struct bench_common *common)
{
    struct rows fresh = {0};
    char *last = kernels_last_key(model, s, common);
    if (!last)
        return log_fail(w->log, MN_ERR_MEMORY, "out of host memory for a key");
    const bool known = rows_find(&w->rows, last) != NULL;
    free(last);
    if (known) {
        w->n_skipped++;
        return MN_OK;
    }
    enum mn_status status = kernels_measure(model, s, common, &fresh);
    for (size_t i = 0; i < fresh.n && !status; i++) {
        cJSON *row = fresh.items[i];
        if (rows_find(&w->rows, row_string(row, "key")))
            continue;
        fresh.items[i] = NULL;
        status = keep_row(w, row);
    }
    rows_free(&fresh);
    return status;
}

/* Which settings of this model are this shard's? `counter` goes on over all models. */
static enum mn_status run_settings(struct sweep *w, struct bench_model *model, size_t *counter,
                                   const struct bench_common *common)
{
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < w->n && !status; i++) {
        if ((*counter)++ % w->lists.n_shards != w->lists.shard - 1)
            continue;
        if (cli_interrupted())
            return MN_ERR_INTERRUPTED;
        show_progress(w, &w->settings[i], i);
        status = run_setting(w, model, &w->settings[i], common);
    }
    return status;
}

/* All settings of one model in one type on one device. */
static enum mn_status run_model(struct sweep *w, const char *dir, const char *synthetic, const char *device,
                                const char *weight_type, size_t *counter, const struct bench_common *common)
{
    struct bench_model model;
    enum mn_status status = bench_model_open(&model, dir, synthetic, device, weight_type, common);
    if (status) {
        w->failed = w->failed ? w->failed : status;
        return status == MN_ERR_MEMORY ? MN_OK : status;
    }
    w->n = w->n_done = 0;
    w->started = clock_s();
    status = add_sizes(w, (struct bench_setting){.device = device, .weight_type = weight_type},
                       model.info.mean_recurrence);
    if (!status && w->options->kernels)
        status = w->n && (*counter)++ % w->lists.n_shards == w->lists.shard - 1
                     ? run_kernels(w, &model, &w->settings[0], common)
                     : MN_OK;
    else if (!status)
        status = run_settings(w, &model, counter, common);
    end_progress();
    bench_model_close(&model);
    return status;
}

static enum mn_status run_all(struct sweep *w, struct bench_common *common)
{
    const struct lists *l = &w->lists;
    const struct bench_options *o = w->options;
    const uint32_t n_dirs = o->models.n || o->synthetic.n ? o->models.n : 1, n_models = n_dirs + o->synthetic.n;
    const uint32_t n_devices = l->devices.n ? l->devices.n : 1, n_types = l->weight_types.n ? l->weight_types.n : 1;
    const bool given_threads = getenv("LP_NUM_THREADS") != NULL;
    size_t counter = 0;
    enum mn_status status = MN_OK;
    w->n_models_left = (size_t)n_devices * n_models * n_types;
    for (uint32_t d = 0; d < n_devices && !status; d++)
        for (uint32_t m = 0; m < n_models && !status; m++)
            for (uint32_t t = 0; t < n_types && !status; t++) {
                char dir[CLI_PATH_BYTES];
                const bool files = m < n_dirs;
                if (files)
                    status = cli_model_dir(o->models.n ? o->models.items[m] : NULL, dir, w->log);
                if (status)
                    break;
                if (!given_threads)
                    unsetenv("LP_NUM_THREADS"); /* what the model before was given */
                if (files)
                    cpu_device_prepare(o->cpu_threads, dir);
                else
                    cpu_device_prepare_synthetic(o->cpu_threads, o->synthetic.items[m - n_dirs]);
                common->cpu_threads = cpu_device_threads();
                w->n_models_left--;
                status = run_model(w, files ? dir : NULL, files ? NULL : o->synthetic.items[m - n_dirs],
                                   l->devices.n ? l->devices.words[d] : NULL,
                                   l->weight_types.n ? l->weight_types.words[t] : NULL, &counter, common);
            }
    return status;
}

static enum mn_status report(struct sweep *w)
{
    enum mn_status status = rows_add_speedup(&w->rows, w->log);
    if (!status)
        status = rows_write(&w->rows, w->options->output, stdout, w->log);
    if (!status && w->options->output_err)
        status = rows_write(&w->rows, w->options->output_err, stderr, w->log);
    return status;
}

static void report_left_out(const struct sweep *w)
{
    if (w->n_impossible)
        log_note(w->log, MN_LOG_WARN,
                 "%zu combinations cannot run (K not below R, more than %d rows per pass, diffusion in a batch) and "
                 "were left out",
                 w->n_impossible, ROWS_PER_PASS);
    if (w->n_skipped && w->options->resume)
        log_note(w->log, MN_LOG_WARN, "%zu settings were in %s already", w->n_skipped, w->options->results);
    else if (w->n_skipped)
        log_note(w->log, MN_LOG_WARN, "%zu settings were asked for twice", w->n_skipped);
}

static enum mn_status sweep(struct sweep *w, struct bench_common *common, const struct mn_log *log)
{
    struct prompt_set prompts;
    enum mn_status status = prompts_read(&prompts, w->options->prompts, log);
    if (status)
        return status;
    common->prompts = &prompts;
    if (prompts.questions && w->lists.prompt_tokens.n)
        status = log_fail(log, MN_ERR_USAGE, "--prompt-tokens: questions are as long as they are");
    else if (!prompts.questions && common->answers_dir)
        status = log_fail(log, MN_ERR_USAGE, "--answers: %s has no questions (question_id, turns)",
                          w->options->prompts);
    if (!status && w->options->results)
        status = rows_open(&w->file, w->options->results, w->options->resume ? &w->rows : NULL, log);
    if (!status)
        status = run_all(w, common);
    /* Whatever ended it: what was measured is shown. */
    if (w->rows.n) {
        const enum mn_status reported = report(w);
        status = status ? status : reported;
    }
    report_left_out(w);
    if (status == MN_ERR_INTERRUPTED)
        log_note(log, MN_LOG_WARN, "interrupted%s", w->options->results ? "; --resume goes on" : "");
    if (w->file && fclose(w->file) != 0 && !status)
        status = log_fail(log, MN_ERR_RUN, "%s: writing failed", w->options->results);
    prompts_free(&prompts);
    return status ? status : w->failed;
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
    struct bench_common common = {
        .sampling = {options->repetitions, (double)options->min_seconds, clock_of_sampling, NULL},
        .seed = options->seed,
        .temperature = options->temperature,
        .stop_at_eos = options->stop_at_eos || options->answers,
        .cost_dir = cli_cache_dir(cache_dir),
        .answers_dir = options->answers,
        .acceptance = w->lists.acceptance,
        .n_acceptance = w->lists.n_acceptance,
        .stop = cli_interrupted,
        .log = log};
    cli_catch_interrupt();
    if (!status)
        status = sweep(w, &common, log);
    rows_free(&w->rows);
    free(w->settings);
    free(w);
    return status;
}

/* ---- options ---- */

#define AT(field) offsetof(struct bench_options, field)

static const struct command_option table[] = {
    {.name = "model",
     .letter = 'm',
     .kind = OPTION_LIST,
     .offset = AT(models),
     .argument = "DIR",
     .shown = "$MUNINN_MODEL, else raven-deep",
     .help = "model folder; may be given up to 16 times"},
    {.name = "synthetic",
     .kind = OPTION_LIST,
     .offset = AT(synthetic),
     .argument = "SHAPE",
     .help = "a model made on the device from --seed; may be given up to 16 times"},
    {.name = "device",
     .kind = OPTION_TEXT,
     .offset = AT(devices),
     .argument = "LIST",
     .shown = "the best one",
     .help = "numbers or parts of names, see `muninn devices`"},
    {.name = "weight-type",
     .kind = OPTION_TEXT,
     .offset = AT(weight_types),
     .argument = "LIST",
     .shown = "as stored",
     .help = "bf16, f16, f32"},
    {.name = "kv-policy",
     .kind = OPTION_TEXT,
     .offset = AT(kv_policies),
     .argument = "LIST",
     .value = "full",
     .help = "full, share:k (LOSSY)"},
    {.name = "kv-type",
     .kind = OPTION_TEXT,
     .offset = AT(kv_types),
     .argument = "LIST",
     .value = "f16",
     .help = "f16, f32"},
    {.name = "strategy",
     .kind = OPTION_TEXT,
     .offset = AT(strategies),
     .argument = "LIST",
     .strategies = true,
     .value = "ar,draft-verify,wavefront",
     .help = "how tokens are found"},
    {.name = "num-steps",
     .kind = OPTION_TEXT,
     .offset = AT(num_steps),
     .argument = "LIST",
     .shown = "the model's mean_recurrence",
     .help = "R"},
    {.name = "draft-steps",
     .kind = OPTION_TEXT,
     .offset = AT(draft_steps),
     .argument = "LIST",
     .value = "2,4,8",
     .help = "K"},
    {.name = "lookahead",
     .kind = OPTION_TEXT,
     .offset = AT(lookaheads),
     .argument = "LIST",
     .value = "3,7",
     .help = "L"},
    {.name = "max-inflight",
     .kind = OPTION_U32,
     .offset = AT(max_inflight),
     .argument = "W",
     .shown = "the strategy's own",
     .min = 1,
     .max = ROWS_PER_PASS,
     .help = "most rows in flight in wavefront, auto and diffusion"},
    {.name = "prompt-tokens",
     .kind = OPTION_TEXT,
     .offset = AT(prompt_tokens),
     .argument = "LIST",
     .shown = "as they are",
     .help = "length of the prompts, which are cut or repeated to it"},
    {.name = "max-new-tokens",
     .letter = 'n',
     .kind = OPTION_TEXT,
     .offset = AT(n_new),
     .argument = "LIST",
     .value = "64",
     .help = "new tokens of each prompt"},
    {.name = "batch",
     .kind = OPTION_TEXT,
     .offset = AT(batches),
     .argument = "LIST",
     .value = "1",
     .help = "sequences at once"},
    {.name = "prompts",
     .kind = OPTION_TEXT,
     .offset = AT(prompts),
     .argument = "FILE.jsonl",
     .shown = "four short ones",
     .help = "lines of {\"prompt\": TEXT}, of {\"ids\": [..]}, or Spec-Bench's questions"},
    {.name = "stop-at-eos",
     .kind = OPTION_FLAG,
     .offset = AT(stop_at_eos),
     .help = "end at the end token instead of after exactly N tokens"},
    {.name = "answers",
     .kind = OPTION_TEXT,
     .offset = AT(answers),
     .argument = "DIR",
     .help = "write the answers to questions there in Spec-Bench's form, a file per setting; implies --stop-at-eos"},
    {.name = "acceptance",
     .kind = OPTION_TEXT,
     .offset = AT(acceptance),
     .argument = "P[,P...]",
     .shown = "measured",
     .help = "count drafts as right with this probability, per place in the round (LOSSY)"},
    {.name = "temp",
     .kind = OPTION_FLOAT,
     .offset = AT(temperature),
     .argument = "T",
     .value = "0",
     .min = 0,
     .max = 100,
     .help = "temperature; 0 is greedy"},
    {.name = "seed",
     .kind = OPTION_U64,
     .offset = AT(seed),
     .argument = "S",
     .value = "0",
     .help = "of sampling, forced acceptance and synthetic models"},
    {.name = "kernels",
     .kind = OPTION_FLAG,
     .offset = AT(kernels),
     .help = "measure every pass and kernel at 1 to 16 rows instead of strategies"},
    {.name = "repetitions",
     .letter = 'r',
     .kind = OPTION_U32,
     .offset = AT(repetitions),
     .argument = "N",
     .value = "5",
     .min = 1,
     .max = SAMPLES_MAX,
     .help = "at least so many, behind one that warms up"},
    {.name = "min-seconds",
     .kind = OPTION_FLOAT,
     .offset = AT(min_seconds),
     .argument = "S",
     .value = "3",
     .min = 0,
     .max = 3600,
     .help = "and at least so long"},
    {.name = "results",
     .kind = OPTION_TEXT,
     .offset = AT(results),
     .argument = "FILE.jsonl",
     .help = "append each row to this file as it comes"},
    {.name = "resume", .kind = OPTION_FLAG, .offset = AT(resume), .help = "leave out what --results has already"},
    {.name = "shard",
     .kind = OPTION_TEXT,
     .offset = AT(shard),
     .argument = "i/n",
     .shown = "1/1",
     .help = "every n-th setting, from the i-th; `muninn merge` puts shards together"},
    {.name = "cpu-threads",
     .kind = OPTION_CHOICE,
     .offset = AT(cpu_threads),
     .choices = "0|1|2|3|4|6|8|12|16|24|32",
     .shown = "0 for small models, else all",
     .help = "worker threads of a CPU device (lavapipe)"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = AT(output),
     .choices = "md|csv|json|jsonl",
     .value = "md",
     .help = "format on standard output"},
    {.name = "output-err",
     .kind = OPTION_CHOICE,
     .offset = AT(output_err),
     .choices = "md|csv|json|jsonl",
     .help = "a second format, on standard error"},
};

const struct command command_bench = {
    .name = "bench",
    .summary = "Measures settings against each other.",
    .synopsis = "[OPTIONS]",
    .example = "muninn bench --strategy ar,draft-verify --draft-steps 1-8 --lookahead 1-15*2 --results here.jsonl",
    .notes = "LIST is one or more pieces with commas between: a value, first-last, first-last+step or "
             "first-last*factor. All combinations are run; those that\n"
             "cannot run are left out and counted. Tokens per second do not count prompt tokens. Every row says "
             "whether it is lossless, and compares its\n"
             "tokens with those of `ar` with a full cache; exit code 7 says that a lossless setting differed.\n"
             "SHAPE is huginn-3.5b, raven-1b, raven-100m, raven-tiny, the path of a config.json, or "
             "d=..,heads=..,ff=..,vocab=..,layers=P-C-K. What such a\n"
             "model predicts means nothing: use --acceptance. What keys and columns mean: docs/benchmarking.md.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct bench_options),
    .run = run};
