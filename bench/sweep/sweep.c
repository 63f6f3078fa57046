/* muninn bench: every combination of the settings asked for, measured one after the other. */
#include "bench/sweep/sweep.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/baseline.h"
#include "bench/rows/best.h"
#include "bench/rows/default_depth.h"
#include "bench/sweep/cost_file.h"
#include "bench/sweep/cpu_device.h"
#include "bench/sweep/estimate.h"
#include "bench/sweep/measure.h"
#include "engine/base/clock.h"
#include "engine/base/system.h"
#include "engine/base/text.h"
#include "engine/files/disk.h"
#include "engine/files/json.h"

struct sweep {
    const struct sweep_params *params;
    const struct mn_log *log;
    struct sweep_lists lists;
    struct setting_list settings; /* of the model under way */
    struct rows rows;             /* of this run, and of the file it resumes */
    struct output_file file;      /* results; closed when none are kept */
    double started;
    size_t n_done, n_skipped, n_models_left; /* n_done, n_skipped: rows; models behind the one under way */
    size_t n_possible;                       /* settings of all models so far, of all shards */
    bool noted_made_up;
    enum mn_status failed; /* the first failure that the sweep outlived */
};

static double clock_of_sampling(void *user)
{
    (void)user;
    return clock_s();
}

/* ---- progress ---- */

/* Time left goes by what rows took so far; models still to come are taken to be like this one. */
static void show_progress(const struct sweep *w, const struct bench_setting *s, size_t i)
{
    const size_t n = w->settings.n;
    char text[192], left_text[48] = "";
    if (!w->params->show)
        return;
    const double left = (double)(n - i) + (double)(w->n_models_left * n), spent = clock_s() - w->started;
    if (w->n_done) {
        const double seconds = spent / (double)w->n_done * left / w->lists.n_shards;
        snprintf(left_text, sizeof left_text,
                 seconds < 100.0    ? ", %.0f s left"
                 : seconds < 6000.0 ? ", %.0f min left"
                                    : ", %.0f h left",
                 seconds < 100.0    ? seconds
                 : seconds < 6000.0 ? seconds / 60.0
                                    : seconds / 3600.0);
    }
    snprintf(text, sizeof text, "%zu/%zu %s R %" PRIu32 " K %" PRIu32 " L %" PRIu32 " batch %" PRIu32 "%s", i + 1, n,
             s->strategy, s->num_steps, s->draft_steps, s->lookahead, s->batch, left_text);
    w->params->show(text, 0, 0);
}

static void end_progress(const struct sweep *w)
{
    if (w->params->show)
        w->params->show(NULL, 0, 0);
}

/* ---- running ---- */

static enum mn_status append(struct sweep *w, const cJSON *row)
{
    if (!w->params->results)
        return MN_OK;
    enum mn_status status = rows_append(&w->file, row, w->log);
    return status ? status : output_sync(&w->file, w->log);
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
    end_progress(w);
    warn_outliers(w, row, s);
    w->n_done++;
    if (!equal) /* the row stays: it says so itself */
        w->failed = log_fail(w->log, MN_ERR_CHECK,
                             "%s with K %" PRIu32 ", L %" PRIu32 ", R %" PRIu32 ", batch %" PRIu32
                             ": lossless, but its tokens are not those of ar",
                             s->strategy, s->draft_steps, s->lookahead, s->num_steps, s->batch);
    return keep_row(w, row);
}

static enum mn_status keep_kernel_row(void *user, cJSON *row)
{
    return keep_row(user, row);
}

static const cJSON *find_row(void *user, const char *key)
{
    return rows_find(&((const struct sweep *)user)->rows, key);
}

static enum mn_status run_kernels(struct sweep *w, struct bench_model *model, const struct bench_setting *s,
                                  const struct bench_common *common)
{
    char *last = kernels_last_key(model, s, common);
    if (!last)
        return log_fail(w->log, MN_ERR_MEMORY, "out of host memory for a key");
    const bool known = rows_find(&w->rows, last) != NULL;
    free(last);
    if (known) {
        w->n_skipped++;
        return MN_OK;
    }
    return kernels_measure(model, s, common, &(struct kernel_rows){keep_kernel_row, find_row, w});
}

/* Which settings of this model are this shard's? `counter` goes on over all models. */
static enum mn_status run_settings(struct sweep *w, struct bench_model *model, size_t *counter,
                                   const struct bench_common *common)
{
    enum mn_status status = MN_OK;
    w->started = clock_s();
    for (size_t i = 0; i < w->settings.n && !status; i++) {
        if ((*counter)++ % w->lists.n_shards != w->lists.shard - 1)
            continue;
        if (common->stop && common->stop())
            return MN_ERR_INTERRUPTED;
        show_progress(w, &w->settings.items[i], i);
        status = run_setting(w, model, &w->settings.items[i], common);
    }
    return status;
}

/* Before the first row, when it is worth it: how long all this will take. What stops it stops the settings as well. */
static enum mn_status say_estimate(struct sweep *w, struct bench_model *model, const struct bench_common *common)
{
    char text[ESTIMATE_BYTES];
    double token_s;
    const size_t n = w->settings.n / w->lists.n_shards;
    const uint32_t num_steps = n ? w->settings.items[0].num_steps : 0;
    if (n < 2 && common->sampling.min_repetitions < 2)
        return MN_OK;
    enum mn_status status = n ? bench_time_token(model, num_steps, common, &token_s) : MN_OK;
    if (!n || status)
        return is_survivable(status) ? MN_OK : status;
    const double seconds = sweep_estimate(w->settings.items, w->settings.n, token_s, num_steps, common->prompts->n,
                                          &common->sampling) /
                           w->lists.n_shards;
    if (sweep_estimate_words(text, model->identity.model, token_s, seconds, n, w->n_models_left + 1)) {
        end_progress(w);
        text_puts(w->params->err, text);
        fputc('\n', w->params->err);
    }
    return MN_OK;
}

/* All settings of one model in one type on one device; `place` says which. */
static enum mn_status run_model(struct sweep *w, const char *dir, const char *synthetic,
                                const struct bench_setting *place, size_t *counter, const struct bench_common *common)
{
    struct bench_model model;
    enum mn_status status = bench_model_open(&model, dir, synthetic, place, common);
    if (status) {
        w->failed = w->failed ? w->failed : status;
        return status == MN_ERR_MEMORY ? MN_OK : status;
    }
    if (dir && !w->params->num_steps)
        default_depth_note(w->params->err, &model.info);
    const size_t first = w->rows.n;
    w->n_done = 0;
    status = settings_fill(&w->settings, &w->lists, *place, model.info.shape.mean_recurrence, w->log);
    w->n_possible += w->settings.n;
    const enum mn_status misfit = status ? MN_OK
                                         : settings_check_acceptance(&w->settings, &w->lists.acceptance, w->log);
    w->failed = w->failed ? w->failed : misfit;
    if (misfit) { /* as a setting that cannot run costs its row: this model's */
        w->n_possible -= w->settings.n;
    } else if (!status && w->params->kernels) {
        status = w->settings.n && (*counter)++ % w->lists.n_shards == w->lists.shard - 1
                     ? run_kernels(w, &model, &w->settings.items[0], common)
                     : MN_OK;
    } else if (!status) {
        if (synthetic && w->params->made_up_note && !w->noted_made_up && w->settings.n) {
            end_progress(w);
            log_note(w->log, MN_LOG_WARN, "%s", w->params->made_up_note);
            w->noted_made_up = true;
        }
        status = say_estimate(w, &model, common);
        if (!status)
            status = run_settings(w, &model, counter, common);
    }
    if (!status && first < w->rows.n) /* --resume without anything left has nothing to say about it */
        status = bench_model_end(&(struct ceiling){0}, &model, &w->rows, first, w->log);
    end_progress(w);
    bench_model_close(&model);
    return status;
}

/* The model `m` of the list, in every type and way. */
static enum mn_status run_ways(struct sweep *w, uint32_t m, const char *device, size_t *counter,
                               const struct bench_common *common)
{
    const struct sweep_lists *l = &w->lists;
    const char *dir = m < w->params->n_models ? w->params->models[m] : NULL;
    const char *synthetic = dir ? NULL : w->params->synthetic[m - w->params->n_models];
    enum mn_status status = MN_OK;
    for (uint32_t t = 0; t < (l->weight_types.n ? l->weight_types.n : 1) && !status; t++)
        for (uint32_t u = 0; u < (l->matrix_units.n ? l->matrix_units.n : 1) && !status; u++) {
            w->n_models_left--;
            status = run_model(
                w, dir, synthetic,
                &(struct bench_setting){.device = device,
                                        .weight_type = l->weight_types.n ? l->weight_types.words[t] : NULL,
                                        .matrix_units = l->matrix_units.n ? l->matrix_units.words[u] : NULL},
                counter, common);
        }
    return status;
}

static enum mn_status run_all(struct sweep *w, struct bench_common *common)
{
    const struct sweep_lists *l = &w->lists;
    const struct sweep_params *p = w->params;
    const uint32_t n_models = p->n_models + p->n_synthetic, n_devices = l->devices.n ? l->devices.n : 1;
    const size_t n_ways = (size_t)(l->weight_types.n ? l->weight_types.n : 1) *
                          (l->matrix_units.n ? l->matrix_units.n : 1);
    const bool given_threads = system_variable("LP_NUM_THREADS") != NULL;
    size_t counter = 0;
    enum mn_status status = MN_OK;
    w->n_models_left = n_devices * n_models * n_ways;
    for (uint32_t d = 0; d < n_devices && !status; d++)
        for (uint32_t m = 0; m < n_models && !status; m++) {
            if (!given_threads)
                system_set_variable("LP_NUM_THREADS", NULL); /* what the model before was given */
            if (m < p->n_models)
                cpu_device_prepare(p->cpu_threads, p->models[m]);
            else
                cpu_device_prepare_synthetic(p->cpu_threads, p->synthetic[m - p->n_models]);
            common->cpu_threads = cpu_device_threads();
            status = run_ways(w, m, l->devices.n ? l->devices.words[d] : NULL, &counter, common);
        }
    return status;
}

/* ---- what comes out ---- */

static enum mn_status report(struct sweep *w)
{
    enum mn_status status = rows_add_speedup(&w->rows, w->log);
    if (!status)
        status = rows_write(&w->rows, w->params->output, w->params->all_columns, w->params->out, w->log);
    if (!status && w->params->output_err)
        status = rows_write(&w->rows, w->params->output_err, w->params->all_columns, w->params->rows_err, w->log);
    fflush(w->params->out); /* on a terminal the answer stands below the table */
    if (!status && !w->params->output_err)
        status = best_write(&w->rows, w->params->err, w->log);
    return status;
}

static void report_left_out(const struct sweep *w)
{
    if (w->settings.n_impossible)
        log_note(w->log, MN_LOG_WARN,
                 "%zu combinations cannot run (K not below R, more than %d rows per pass, diffusion in a batch) and "
                 "were left out",
                 w->settings.n_impossible, ROWS_PER_PASS);
    if (w->n_skipped && w->params->resume)
        log_note(w->log, MN_LOG_WARN, "%zu settings were in %s already", w->n_skipped, w->params->results);
    else if (w->n_skipped)
        log_note(w->log, MN_LOG_WARN, "%zu settings were asked for twice", w->n_skipped);
}

/* ---- what it writes ---- */

/* Is it an input of the sweep, or another output? */
static enum mn_status check_output(const struct sweep_params *p, const char *name, const char *path,
                                   const struct mn_log *log)
{
    struct output_use *uses = calloc((size_t)p->n_models + p->n_synthetic + 3, sizeof *uses);
    size_t n = 0;
    if (!uses)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a list of files");
    uses[n++] = (struct output_use){name, path, true};
    uses[n++] = (struct output_use){"--results", path == p->results ? NULL : p->results, true};
    uses[n++] = (struct output_use){"--prompts", p->prompts, false};
    for (uint32_t i = 0; i < p->n_models; i++)
        uses[n++] = (struct output_use){"--model", p->models[i], false};
    for (uint32_t i = 0; i < p->n_synthetic; i++) /* a shape may be a file */
        uses[n++] = (struct output_use){"--synthetic", p->synthetic[i], false};
    enum mn_status status = output_check(uses, n, log);
    free(uses);
    return status;
}

/* Before anything runs; which answers a setting will have is not known yet: whatever has such a name counts. */
enum mn_status sweep_check_outputs(const struct sweep_params *p, const struct mn_log *log)
{
    enum mn_status status = p->results ? check_output(p, "--results", p->results, log) : MN_OK;
    const char *name;
    struct folder *dir = status || !p->answers ? NULL : folder_open(p->answers);
    if (!dir)
        return status;
    while (!status && (name = folder_next(dir)) != NULL) {
        char path[OUTPUT_PATH_BYTES];
        if (!strncmp(name, ANSWERS_PREFIX, strlen(ANSWERS_PREFIX)) &&
            snprintf(path, sizeof path, "%s/%s", p->answers, name) < (int)sizeof path)
            status = check_output(p, "--answers", path, log);
    }
    folder_close(dir);
    return status;
}

/* ---- all of it ---- */

static enum mn_status sweep(struct sweep *w, struct bench_common *common, const struct mn_log *log)
{
    struct prompt_set prompts;
    enum mn_status status = sweep_check_outputs(w->params, log);
    if (!status)
        status = prompts_read(&prompts, w->params->prompts, log);
    if (status)
        return status;
    common->prompts = &prompts;
    if (prompts.questions && w->lists.prompt_tokens.n)
        status = log_fail(log, MN_ERR_USAGE, "--prompt-tokens: questions are as long as they are");
    else if (!prompts.questions && common->answers_dir)
        status = log_fail(log, MN_ERR_USAGE, "--answers: %s has no questions (question_id, turns)", w->params->prompts);
    if (!status && w->params->results)
        status = rows_open(&w->file, w->params->results, w->params->resume ? &w->rows : NULL, log);
    if (!status)
        status = run_all(w, common);
    /* Whatever ended it: what was measured is shown. */
    if (w->rows.n) {
        const enum mn_status reported = report(w);
        status = status ? status : reported;
    }
    report_left_out(w);
    if (!status && !w->failed && !w->n_possible)
        status = log_fail(log, MN_ERR_USAGE, "nothing could run");
    if (status == MN_ERR_INTERRUPTED)
        log_note(log, MN_LOG_WARN, "interrupted%s", w->params->results ? "; --resume goes on" : "");
    output_discard(&w->file); /* each row is on the disk */
    prompts_free(&prompts);
    return status ? status : w->failed;
}

enum mn_status sweep_run(const struct sweep_params *params, const struct mn_log *log)
{
    struct sweep *w = calloc(1, sizeof *w);
    if (!w)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a sweep");
    *w = (struct sweep){.params = params, .log = log};
    enum mn_status status = sweep_lists_parse(&w->lists, params, log);
    struct cost_memory costs = {0};
    struct ceiling_memory ceilings = {0};
    struct bench_common common = {
        .sampling = {params->repetitions, (double)params->min_seconds, clock_of_sampling, NULL},
        .seed = params->seed,
        .temperature = params->temperature,
        .stop_at_eos = params->stop_at_eos || params->answers,
        .beyond = params->beyond,
        .cost_dir = params->cost_dir,
        .costs = &costs,
        .ceilings = &ceilings,
        .answers_dir = params->answers,
        .acceptance = &w->lists.acceptance,
        .stop = params->stop,
        .progress = params->progress,
        .show = params->show,
        .log = log};
    if (!status)
        status = sweep(w, &common, log);
    cost_memory_free(&costs);
    ceiling_memory_free(&ceilings);
    rows_free(&w->rows);
    free(w->settings.items);
    free(w);
    return status;
}
