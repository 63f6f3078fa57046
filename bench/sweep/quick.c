/* muninn bench --quick: in two minutes at most, what a device gives. */
#include "bench/sweep/quick.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/rows/best.h"
#include "bench/sweep/cost_file.h"
#include "bench/sweep/cpu_device.h"
#include "bench/sweep/estimate.h"
#include "bench/sweep/measure.h"
#include "bench/sweep/quick_plan.h"
#include "commit.h"
#include "engine/base/clock.h"
#include "engine/base/system.h"
#include "engine/base/text.h"

enum { SETTINGS_MAX = 6 };

/* For models that predict nothing: what was published of their kind; where there are too few steps for that, Huginn's
 * figure at whatever depth they draft with. */
enum { AS_HUGINN, AS_RETROFIT, AT_ANY_DEPTH, N_ACCEPTANCES };
static const char *const quick_acceptance[N_ACCEPTANCES] = {"huginn", "retrofit", "0.94"};

struct setting {
    const char *strategy;
    uint32_t divisor, lookahead; /* K is R / divisor */
};
/* What is most wanted comes first: time may end in front of any of them. */
static const struct setting trained[SETTINGS_MAX] = {{"ar", 0, 0},           {"wavefront", 8, 0},
                                                     {"draft-verify", 8, 7}, {"draft-verify", 4, 7},
                                                     {"wavefront", 4, 0},    {"draft-verify", 4, 3}};
static const struct setting made[] = {
    {"ar", 0, 0}, {"draft-verify", 8, 7}, {"wavefront", 8, 0}, {"draft-verify", 8, 3}};
enum { N_MADE = sizeof made / sizeof *made };

struct run {
    const struct sweep_params *params;
    const struct mn_log *log;
    struct bench_common common;
    struct bench_model model; /* the one that is open */
    struct quick_subject subjects[QUICK_SUBJECTS_MAX];
    const char *refusals[QUICK_SUBJECTS_MAX];       /* why not, known before the time begins; NULL: nothing is */
    uint32_t order[QUICK_SUBJECTS_MAX], n, n_tried; /* order [n_tried]: those without a refusal */
    struct rows rows;
    struct output_file file;
    char *lines[QUICK_SUBJECTS_MAX]; /* owned */
    size_t first_row;                /* of the model that is open */
    struct ceiling rest, end;        /* of the device, in rest and behind the last model; gb_s 0: not measured */
    struct acceptance acceptances[N_ACCEPTANCES];
    double deadline;
    bool given_threads;
    enum mn_status failed;
    char banner[512];
};

static double now(void *user)
{
    (void)user;
    return clock_s();
}

static double now_of_sampling(void *user)
{
    return now(user);
}

static bool stop(void *user)
{
    const struct run *r = user;
    return r->params->stop && r->params->stop();
}

/* The engine asks here before every submit. */
static int report(void *user, const char *what, uint64_t done, uint64_t total)
{
    const struct run *r = user;
    const struct mn_progress *next = &r->params->progress;
    const int ends = next->report ? next->report(next->user, what, done, total) : 0;
    return ends || clock_s() > r->deadline || stop(user);
}

/* ---- subjects ---- */

static const char *dir_of(const struct run *r, uint32_t i)
{
    return i < r->params->n_models ? r->params->models[i] : NULL;
}

static const char *shape_of(const struct run *r, uint32_t i)
{
    return i < r->params->n_models ? NULL : r->params->synthetic[i - r->params->n_models];
}

static const char *name_of(const struct run *r, uint32_t i)
{
    return shape_of(r, i) ? shape_of(r, i) : path_name(dir_of(r, i));
}

static void prepare_device(struct run *r, uint32_t i)
{
    if (!r->given_threads)
        system_set_variable("LP_NUM_THREADS", NULL); /* what the model before was given */
    if (dir_of(r, i))
        cpu_device_prepare(r->params->cpu_threads, dir_of(r, i));
    else
        cpu_device_prepare_synthetic(r->params->cpu_threads, shape_of(r, i));
    r->common.cpu_threads = cpu_device_threads();
}

/* Its size, and whether its weights and a context that is enough find room: nothing is read or made for it. */
static enum mn_status plan_subject(struct run *r, uint32_t i)
{
    struct mn_engine *engine;
    struct mn_memory_plan plan = {0};
    struct mn_model_info info;
    prepare_device(r, i);
    enum mn_status status = mn_engine_create(&engine, &(struct mn_engine_params){.model_dir = dir_of(r, i),
                                                                                 .synthetic = shape_of(r, i),
                                                                                 .device = r->params->devices,
                                                                                 .plan_only = true,
                                                                                 .log = r->log});
    if (status)
        return status;
    mn_engine_info(engine, &info);
    status = mn_memory_plan(&plan, engine, &(struct mn_session_params){.n_ctx = 128}, 0);
    const bool depth = !info.shape.fixed_depth && info.shape.mean_recurrence > 1;
    r->subjects[i] = (struct quick_subject){.weight_bytes = plan.weight_bytes,
                                            .n_settings = !depth           ? 1
                                                          : shape_of(r, i) ? N_MADE
                                                                           : SETTINGS_MAX,
                                            .synthetic = shape_of(r, i) != NULL};
    if (!*r->banner)
        snprintf(r->banner, sizeof r->banner, "%s", info.device_banner);
    if (!status && !plan.fits)
        r->refusals[i] = "left out: it does not fit";
    mn_engine_destroy(engine);
    return status;
}

static const struct acceptance *acceptance_of(const struct run *r, const struct mn_model_shape *shape)
{
    const struct acceptance *a = &r->acceptances[strncmp(shape->family, "retrofit", 8) ? AS_HUGINN : AS_RETROFIT];
    return acceptance_fits(a, shape->mean_recurrence) ? a : &r->acceptances[AT_ANY_DEPTH];
}

static enum mn_status open_subject(void *user, uint32_t which, double deadline)
{
    struct run *r = user;
    const uint32_t i = r->order[which];
    r->deadline = deadline;
    r->first_row = r->rows.n;
    prepare_device(r, i);
    enum mn_status status = bench_model_open(&r->model, dir_of(r, i), shape_of(r, i),
                                             &(struct bench_setting){.device = r->params->devices}, &r->common);
    r->common.acceptance = !status && r->subjects[i].synthetic ? acceptance_of(r, &r->model.info.shape) : NULL;
    return status;
}

static void close_subject(void *user, uint32_t which)
{
    struct run *r = user;
    (void)which;
    bench_model_close(&r->model);
}

/* ---- measuring ---- */

static uint32_t depth_of(const struct run *r)
{
    return r->model.info.shape.mean_recurrence;
}

static enum mn_status time_token(void *user, uint32_t which, double deadline, double *seconds)
{
    struct run *r = user;
    (void)which;
    r->deadline = deadline;
    return bench_time_token(&r->model, depth_of(r), &r->common, seconds);
}

static struct bench_setting setting_of(const struct run *r, uint32_t i, uint32_t k, uint32_t n_new)
{
    const struct setting *s = r->subjects[i].synthetic ? &made[k] : &trained[k];
    const uint32_t steps = depth_of(r), draft = s->divisor ? steps / s->divisor : 0;
    return (struct bench_setting){.device = r->params->devices,
                                  .kv_policy = "full",
                                  .kv_type = "f16",
                                  .strategy = s->strategy,
                                  .num_steps = steps,
                                  .draft_steps = s->divisor && draft < 1 ? 1 : draft,
                                  .lookahead = s->lookahead,
                                  .max_inflight = mn_strategy_find(s->strategy)->usual_inflight,
                                  .n_new = n_new,
                                  .batch = 1};
}

static enum mn_status keep(struct run *r, cJSON *row)
{
    enum mn_status status = MN_OK;
    if (r->params->results)
        status = rows_append(&r->file, row, r->log);
    if (r->params->results && !status)
        status = output_sync(&r->file, r->log);
    if (!status)
        return rows_add(&r->rows, row, r->log);
    cJSON_Delete(row);
    return status;
}

static enum mn_status measure(void *user, uint32_t which, uint32_t k, uint32_t n_new, double deadline)
{
    struct run *r = user;
    const struct bench_setting s = setting_of(r, r->order[which], k, n_new);
    cJSON *row;
    bool equal;
    r->deadline = deadline;
    enum mn_status status = bench_measure(&r->model, &s, &r->common, &row, &equal);
    if (status)
        return status;
    if (!equal && !r->failed)
        r->failed = log_fail(r->log, MN_ERR_CHECK,
                             "%s with K %" PRIu32 ": lossless, but its tokens are not those of ar", s.strategy,
                             s.draft_steps);
    return keep(r, row);
}

static enum mn_status finish(void *user, uint32_t which, double deadline)
{
    struct run *r = user;
    struct ceiling end;
    (void)which;
    r->deadline = deadline;
    const enum mn_status status = bench_model_end(&end, &r->model, &r->rows, r->first_row, r->log);
    if (!status) {
        r->rest = r->model.ceiling;
        r->end = end;
    }
    return status;
}

static double finish_s(void *user, uint32_t which)
{
    (void)which;
    return ((struct run *)user)->model.ceiling.seconds;
}

/* ---- lines ---- */

/* The sentence of the rows that this subject gave: of a shape the forced one, where it got so far. */
static char *sentence_of(const struct run *r, bool synthetic)
{
    struct rows own = {0};
    struct best_list list;
    char *text = NULL;
    for (size_t i = r->first_row; i < r->rows.n; i++) {
        cJSON *copy = cJSON_Duplicate(r->rows.items[i], true);
        if (copy)
            rows_add(&own, copy, r->log);
    }
    if (!best_find(&list, &own, r->log)) {
        const size_t wanted = synthetic && list.n > 1 ? 1 : 0;
        text = list.n ? best_sentence(&list.items[wanted]) : NULL;
        best_free(&list);
    }
    rows_free(&own);
    return text;
}

static void add_line(struct run *r, uint32_t i, uint32_t n_measured, const char *why)
{
    char *sentence = n_measured ? sentence_of(r, r->subjects[i].synthetic) : NULL, *line = NULL;
    size_t n;
    FILE *out = memory_open(&line, &n);
    if (out) {
        if (!sentence) {
            text_write_cell(out, name_of(r, i), "", ' ');
            fputs(": ", out);
        }
        fprintf(out, "%s%s%s%s", sentence ? sentence : "", sentence && why ? " (" : "", why ? why : "",
                sentence && why ? ")" : "");
        memory_close(out, &line, &n);
    }
    free(sentence);
    free(r->lines[i]);
    r->lines[i] = line;
    if (line) {
        text_puts(r->params->err, line);
        fputc('\n', r->params->err);
        fflush(r->params->err);
    }
}

static void over(void *user, uint32_t which, uint32_t n_measured, const char *why)
{
    struct run *r = user;
    add_line(r, r->order[which], n_measured, why);
}

/* A block that stands by itself: what, on what, with which program, when. */
static void write_block(const struct run *r, double seconds)
{
    FILE *out = r->params->out;
    char day[16];
    const time_t today = time(NULL);
    const struct tm utc = system_utc(today);
    strftime(day, sizeof day, "%Y-%m-%d", &utc);
    fputs("```\n", out);
    for (uint32_t i = 0; i < r->n; i++) {
        text_puts(out, r->lines[i] ? r->lines[i] : "?");
        fputc('\n', out);
    }
    text_puts(out, r->banner);
    if (r->end.gb_s > 0.0)
        fprintf(out, "\nread bandwidth: %.3g GB/s in rest (spread %.2g %%), %.3g at the end (%.2g %%)", r->rest.gb_s,
                100.0 * r->rest.spread, r->end.gb_s, 100.0 * r->end.spread);
    fprintf(out, "\nmuninn " MN_VERSION ", commit " MUNINN_COMMIT ", bench --quick, %.0f s, %s\n```\n", seconds, day);
}

/* ---- all of it ---- */

static enum mn_status write_results(struct run *r, double seconds)
{
    enum mn_status status = rows_add_speedup(&r->rows, r->log);
    if (!strcmp(r->params->output, "md"))
        write_block(r, seconds);
    else if (!status)
        status = rows_write(&r->rows, r->params->output, false, r->params->out, r->log);
    return status;
}

static enum mn_status go_through(struct run *r)
{
    const struct quick_ops ops = {now,    stop,     open_subject,  time_token, measure,
                                  finish, finish_s, close_subject, over,       r};
    struct quick_subject tried[QUICK_SUBJECTS_MAX];
    const double start = clock_s();
    for (uint32_t i = 0; i < r->n; i++) {
        const enum mn_status status = plan_subject(r, i);
        if (status == MN_ERR_NO_DEVICE || status == MN_ERR_USAGE)
            return status;
        r->failed = r->failed ? r->failed : status;
        r->refusals[i] = status ? "left out: it cannot be loaded" : r->refusals[i];
        if (r->refusals[i]) {
            add_line(r, i, 0, r->refusals[i]);
        } else {
            tried[r->n_tried] = r->subjects[i];
            r->order[r->n_tried++] = i;
        }
    }
    enum mn_status status = quick_plan_run(&ops, tried, r->n_tried, QUICK_SECONDS - (clock_s() - start));
    if (status == MN_ERR_INTERRUPTED) {
        log_note(r->log, MN_LOG_WARN, "interrupted");
    } else if (r->rows.n) {
        r->failed = r->failed ? r->failed : status;
        status = MN_OK;
    }
    if (r->rows.n) {
        const enum mn_status written = write_results(r, clock_s() - start);
        status = status ? status : written;
    } else if (!status) {
        status = log_fail(r->log, MN_ERR_USAGE, "nothing could be measured in %d s", QUICK_SECONDS);
    }
    return status ? status : r->failed;
}

enum mn_status quick_run(const struct sweep_params *params, const struct mn_log *log)
{
    struct prompt_set prompts;
    struct cost_memory costs = {0};
    struct ceiling_memory ceilings = {0};
    struct run *r = calloc(1, sizeof *r);
    if (!r)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a bench");
    *r = (struct run){.params = params, .log = log, .n = params->n_models + params->n_synthetic};
    r->given_threads = system_variable("LP_NUM_THREADS") != NULL;
    r->common = (struct bench_common){.sampling = {QUICK_REPETITIONS, 0.5, now_of_sampling, NULL},
                                      .prompts = &prompts,
                                      .seed = params->seed,
                                      .cost_dir = params->cost_dir,
                                      .costs = &costs,
                                      .ceilings = &ceilings,
                                      .stop = params->stop,
                                      .progress = {report, r},
                                      .log = log};
    enum mn_status status = sweep_check_outputs(params, log);
    for (int i = 0; i < N_ACCEPTANCES && !status; i++)
        status = acceptance_parse(&r->acceptances[i], quick_acceptance[i], log);
    prompts = (struct prompt_set){0};
    if (!status)
        status = prompts_read(&prompts, NULL, log);
    if (!status && r->n > QUICK_SUBJECTS_MAX)
        status = log_fail(log, MN_ERR_USAGE, "--quick: at most %d models", QUICK_SUBJECTS_MAX);
    if (!status && params->results)
        status = rows_open(&r->file, params->results, NULL, log);
    if (!status)
        status = go_through(r);
    output_discard(&r->file); /* each row is on the disk */
    for (uint32_t i = 0; i < QUICK_SUBJECTS_MAX; i++)
        free(r->lines[i]);
    rows_free(&r->rows);
    cost_memory_free(&costs);
    ceiling_memory_free(&ceilings);
    prompts_free(&prompts);
    free(r);
    return status;
}
