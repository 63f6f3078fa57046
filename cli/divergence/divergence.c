/* muninn divergence: the reference runs first and leaves its logits in host memory, so that one model is loaded at a
 * time; then each candidate runs over the same ids and is compared as its logits come. */
#include "cli/divergence/divergence.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/default_depth.h"
#include "cli/common/engine.h"
#include "cli/common/interrupt.h"
#include "cli/common/progress.h"
#include "cli/common/talk.h"
#include "engine/base/clock.h"
#include "engine/base/text.h"
#include "engine/files/lines.h"

enum { ROWS_AT_ONCE = 2048, DEFAULT_PARALLEL_MAX = 32 };

/* ---- a pass over all texts ---- */

static size_t position_of(const struct divergence_run *run, uint32_t item, uint32_t place)
{
    return (item ? run->ends[item - 1] : 0) + place - 1;
}

static float *reference_at(const struct divergence_run *run, size_t position, uint32_t depth)
{
    return run->logits + (position * run->num_steps.n + depth) * run->info.shape.vocab_size;
}

static enum mn_status keep_logits(void *user, uint32_t item, uint32_t place, uint32_t depth, const float *logits,
                                  uint32_t n_vocab)
{
    const struct divergence_run *run = user;
    memcpy(reference_at(run, position_of(run, item, place), depth), logits, n_vocab * sizeof *logits);
    return MN_OK;
}

static enum mn_status compare_logits(void *user, uint32_t item, uint32_t place, uint32_t depth, const float *logits,
                                     uint32_t n_vocab)
{
    const struct divergence_run *run = user;
    const size_t position = position_of(run, item, place);
    bool finite;
    run->points[(size_t)depth * run->n_positions + position] = divergence_at(
        reference_at(run, position, depth), logits, n_vocab, run->items[item].ids[place], &finite);
    return finite ? MN_OK
                  : log_fail(run->log, MN_ERR_RUN,
                             "text %" PRIu32 ", token %" PRIu32 ", %" PRIu32
                             " steps: a logit is not a finite number, or a divergence is infinite",
                             item + 1, place + 1, run->num_steps.values[depth]);
}

static enum mn_status nothing(void *user, uint32_t item, const struct mn_likelihood *likelihoods)
{
    (void)user;
    (void)item;
    (void)likelihoods;
    return MN_OK;
}

static int on_progress(void *user, uint64_t done, uint64_t total)
{
    const struct divergence_run *run = user;
    char text[96];
    snprintf(text, sizeof text, "%s, cache %s", run->weight_type, run->kv_type);
    cli_progress_own(text, run->n_done * total + done, run->n_all * total);
    return cli_interrupted();
}

static uint32_t parallel_of(const struct divergence_run *run)
{
    uint32_t n = run->options->parallel;
    if (!n)
        n = ROWS_AT_ONCE / run->longest < 1                      ? 1
            : ROWS_AT_ONCE / run->longest > DEFAULT_PARALLEL_MAX ? DEFAULT_PARALLEL_MAX
                                                                 : ROWS_AT_ONCE / run->longest;
    return n < run->n_items ? n : run->n_items;
}

/* Runs the open engine over all texts at all depths. */
static enum mn_status run_texts(struct divergence_run *run,
                                enum mn_status (*logits)(void *user, uint32_t item, uint32_t place, uint32_t depth,
                                                         const float *logits, uint32_t n_vocab))
{
    struct mn_session *session;
    enum mn_status status = mn_session_create(
        &session, run->engine,
        &(struct mn_session_params){.n_ctx = run->longest > 2 ? run->longest : 2,
                                    .num_steps = run->deepest,
                                    .n_sequences = parallel_of(run),
                                    .max_rows = 1,
                                    .kv_type = run->kv_type,
                                    .beyond_trained_depth = run->options->beyond});
    if (status)
        return status;
    status = mn_score(session, &(struct mn_score_params){.items = run->items,
                                                         .n_items = run->n_items,
                                                         .num_steps = run->num_steps.values,
                                                         .n_num_steps = run->num_steps.n,
                                                         .each = nothing,
                                                         .progress = on_progress,
                                                         .user = run,
                                                         .logits = logits});
    mn_session_destroy(session);
    run->n_done += !status;
    return status;
}

/* ---- models ---- */

static enum mn_status open_model(struct divergence_run *run, const char *weight_type)
{
    const struct divergence_options *o = run->options;
    return cli_open_engine(
        &run->engine, run->dir,
        &(struct engine_choice){
            .model = o->model, .device = o->device, .weight_type = weight_type, .cpu_threads = o->cpu_threads},
        run->log);
}

static void close_model(struct divergence_run *run)
{
    mn_engine_destroy(run->engine);
    run->engine = NULL;
}

static enum mn_status run_reference(struct divergence_run *run)
{
    const uint64_t n = (uint64_t)run->n_positions * run->num_steps.n * run->info.shape.vocab_size;
    run->logits = n <= SIZE_MAX / sizeof *run->logits ? malloc((size_t)n * sizeof *run->logits) : NULL;
    run->points = calloc((size_t)run->n_positions * run->num_steps.n, sizeof *run->points);
    if (!run->logits || !run->points)
        return log_fail(run->log, MN_ERR_MEMORY,
                        "out of host memory for the reference's logits, %.1f GB of %" PRIu32 " positions at %" PRIu32
                        " depths: give fewer texts or depths",
                        (double)n * sizeof *run->logits / 1e9, run->n_positions, run->num_steps.n);
    run->weight_type = run->reference_weight_type;
    run->kv_type = run->options->reference_kv_type;
    return run_texts(run, keep_logits);
}

/* A candidate is the same model: the files may not change while we look. */
static enum mn_status check_same(const struct divergence_run *run, uint64_t model_hash)
{
    struct mn_model_info info;
    mn_engine_info(run->engine, &info);
    return info.model_hash == model_hash
               ? MN_OK
               : log_fail(run->log, MN_ERR_FILE, "%s: the model's files changed during the run", run->dir);
}

static enum mn_status run_candidate(struct divergence_run *run)
{
    enum mn_status status = run_texts(run, compare_logits);
    for (uint32_t i = 0; i < run->num_steps.n && !status; i++)
        status = divergence_put(run, i);
    return status;
}

/* Calls for every candidate that is not known, with its weights loaded once; NULL only counts them. */
static enum mn_status each_candidate(struct divergence_run *run, enum mn_status (*call)(struct divergence_run *run))
{
    enum mn_status status = MN_OK;
    for (uint32_t w = 0; w < run->weight_types.n && !status; w++) {
        for (uint32_t k = 0; k < run->kv_types.n && !status; k++) {
            bool known;
            run->weight_type = run->weight_types.words[w];
            run->kv_type = run->kv_types.words[k];
            status = divergence_is_known(run, &known);
            if (status || known)
                continue;
            run->n_all += !call;
            if (call && !run->engine) {
                status = open_model(run, run->weight_type);
                if (!status)
                    status = check_same(run, run->info.model_hash);
            }
            if (call && !status)
                status = call(run);
        }
        if (call)
            close_model(run);
    }
    return status;
}

/* ---- the command ---- */

static enum mn_status open_rows(struct divergence_run *run)
{
    const char *weight_type = run->options->reference_weight_type;
    run->reference_weight_type = strdup(weight_type ? weight_type : run->info.weight_type);
    if (!run->reference_weight_type)
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for a name");
    return run->options->results
               ? rows_open(&run->file, run->options->results, run->options->resume ? &run->rows : NULL, run->log)
               : MN_OK;
}

/* The engine's strings go with it: the identity gets its own. */
static enum mn_status keep_identity(struct divergence_run *run, const char *threads)
{
    enum mn_status status = identity_init(&run->identity, &run->info, run->dir, NULL, threads, run->log);
    for (int i = 0; i < IDENTITY_TEXTS && !status; i++) {
        run->kept[i] = strdup(run->identity.texts[i].value);
        if (!run->kept[i])
            return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for a name");
        run->identity.texts[i].value = run->kept[i];
    }
    return status;
}

static enum mn_status run_lines(struct divergence_run *run, const char *text, size_t n_bytes)
{
    mn_engine_info(run->engine, &run->info);
    run->n_ctx = run->options->ctx ? run->options->ctx : run->info.shape.block_size;
    if (run->num_steps.n == 0)
        run->num_steps = (struct number_list){{run->info.shape.mean_recurrence}, 1};
    for (uint32_t i = 0; i < run->num_steps.n; i++)
        run->deepest = run->num_steps.values[i] > run->deepest ? run->num_steps.values[i] : run->deepest;
    enum mn_status status = divergence_read(run, text, n_bytes);
    if (!status)
        status = keep_identity(run, run->options->cpu_threads);
    if (!status)
        status = open_rows(run);
    if (!status && !run->options->num_steps)
        default_depth_note(cli_notes(), &run->info);
    if (!status)
        status = each_candidate(run, NULL);
    if (!status && run->n_all++ > 0)
        status = run_reference(run);
    close_model(run);
    if (!status)
        status = each_candidate(run, run_candidate);
    cli_progress_own(NULL, 0, 0);
    if (status == MN_ERR_INTERRUPTED)
        log_note(run->log, MN_LOG_WARN, "interrupted after %zu of %zu runs over the texts%s", run->n_done, run->n_all,
                 run->options->results ? "; --resume goes on from there" : "");
    if (!status && run->options->results)
        status = output_commit(&run->file, run->log);
    return status ? status : divergence_print(run);
}

static enum mn_status check_options(struct divergence_run *run)
{
    const struct divergence_options *o = run->options;
    char kv_types[CHOICES_BYTES];
    if (!o->file)
        return log_fail(run->log, MN_ERR_USAGE, "-f FILE is missing; see `muninn divergence --help`");
    if (!o->weight_types)
        return log_fail(run->log, MN_ERR_USAGE, "--weight-type LIST is missing; see `muninn divergence --help`");
    if (o->resume && !o->results)
        return log_fail(run->log, MN_ERR_USAGE, "--resume: needs --results FILE.jsonl");
    join_choices(mn_kv_type_at, kv_types, sizeof kv_types);
    enum mn_status status = parse_words("weight-type", o->weight_types, NULL, &run->weight_types, run->log);
    for (uint32_t i = 0; i < run->weight_types.n && !status; i++)
        status = mn_weight_type_check(run->weight_types.words[i], run->log);
    if (!status && o->reference_weight_type)
        status = mn_weight_type_check(o->reference_weight_type, run->log);
    if (!status)
        status = parse_words("kv-type", o->kv_types, kv_types, &run->kv_types, run->log);
    return status || !o->num_steps ? status
                                   : parse_numbers("num-steps", o->num_steps, 1, 4096, &run->num_steps, run->log);
}

enum mn_status run_divergence(const struct divergence_options *options, const struct mn_log *log)
{
    struct divergence_run *run = calloc(1, sizeof *run);
    char *text = NULL;
    size_t n_bytes = 0;
    const struct output_use uses[] = {{"--results", options->results, true}, {"--file", options->file, false}};
    if (!run)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a comparison");
    run->options = options;
    run->log = log;
    enum mn_status status = check_options(run);
    if (!status)
        status = cli_check_outputs(options->model, uses, sizeof uses / sizeof *uses, log);
    if (!status)
        status = text_file_read(options->file, &text, &n_bytes, log);
    if (!status) {
        cli_catch_interrupt();
        status = open_model(run, options->reference_weight_type);
    }
    if (!status)
        status = run_lines(run, text, n_bytes);
    output_discard(&run->file); /* rows that were written stay */
    mn_engine_destroy(run->engine);
    divergence_texts_free(run);
    for (int i = 0; i < IDENTITY_TEXTS; i++)
        free(run->kept[i]);
    free((char *)run->reference_weight_type);
    rows_free(&run->rows);
    free(run->logits);
    free(run->points);
    free(run);
    free(text);
    return status;
}
