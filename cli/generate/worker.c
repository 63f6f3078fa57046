/* muninn generate --batch -: lines of JSON as they come on standard input, each with settings of its own, answered as
 * each ends. Standard input may stay open: those under way go on while nothing comes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/engine.h"
#include "cli/common/input_lines.h"
#include "cli/common/interrupt.h"
#include "cli/common/output.h"
#include "cli/common/process.h"
#include "cli/common/progress.h"
#include "cli/common/talk.h"
#include "cli/generate/generate.h"
#include "engine/base/clock.h"
#include "engine/base/numbers.h"
#include "engine/files/lines.h"

/* MANY_WAITING: more lines are not read while so many wait for each place; the writer waits, too. LEAST_ROWS: a line
 * may ask for a strategy that takes more of them than the usual one. */
enum { IDLE_MS = 200, MANY_WAITING = 2, LEAST_ROWS = 16 };

static const char source[] = "standard input";

struct worker;

struct worker_line {
    struct worker *worker;
    struct generate_options options;
    struct generate_run run;
    struct mn_log log;
    size_t number;
    uint64_t id;                        /* of its sequence; 0: none yet */
    struct worker_line *next, **before; /* in the list of those that have not been answered */
};

struct worker {
    const struct generate_run *common;
    struct mn_session_params session_params;
    struct mn_session *session;
    struct mn_scheduler *scheduler;
    struct worker_line *lines;
    struct run_figures figures;
    uint32_t n_lines, n_answered, n_alive;
    uint64_t n_tokens, n_wanted;
    enum mn_status refused; /* of the first line that could not run */
    enum mn_status status;  /* of the output */
    struct input_lines input;
};

/* ---- answers ---- */

static void write_line(void *user, enum mn_log_level level, const char *text)
{
    struct worker_line *line = user;
    if (level == MN_LOG_ERROR && !line->run.error)
        line->run.error = strdup(text);
    struct line_log at = {line->worker->common->log, source, line->number};
    line_log_write(&at, level, text);
}

static void free_line(struct worker_line *line)
{
    *line->before = line->next;
    if (line->next)
        line->next->before = line->before;
    run_free(&line->run);
    free(line);
}

/* A write that fails ends everything; what ended the sequence ends the sequence. */
static void answer(struct worker_line *line, enum mn_status status)
{
    struct worker *w = line->worker;
    run_finish(&line->run, status);
    if (!w->status && (ferror(stdout) || cli_pipe_is_closed()))
        w->status = cli_pipe_is_closed() ? MN_ERR_INTERRUPTED : MN_ERR_RUN;
    w->n_answered++;
    free_line(line);
}

static void on_end(void *user, uint64_t id, const struct mn_stats *stats)
{
    struct worker_line *line = user;
    struct generate_run *run = &line->run;
    (void)id;
    run->stats = *stats;
    answer(line, run->status                ? run->status
                 : stats->status            ? stats->status
                 : run_was_interrupted(run) ? MN_ERR_INTERRUPTED
                                            : MN_OK);
}

static void refuse(struct worker_line *line, enum mn_status status)
{
    struct worker *w = line->worker;
    w->refused = w->refused ? w->refused : status;
    line->run.status = MN_OK; /* the way out has not failed */
    answer(line, status);
}

/* ---- lines ---- */

static enum mn_status begin_line(struct worker_line **out, struct worker *w)
{
    const struct generate_run *common = w->common;
    struct worker_line *line = calloc(1, sizeof *line);
    *out = line;
    if (!line)
        return log_fail(common->log, MN_ERR_MEMORY, "out of host memory for a line");
    line->worker = w;
    line->number = w->input.number;
    line->log = (struct mn_log){write_line, line};
    line->options = *common->options;
    line->options.ctx = w->session_params.n_ctx;
    line->run = *common;
    line->run.options = &line->options;
    line->run.collects = line->run.in_batch = true;
    line->run.index = w->n_lines++;
    line->run.n_new = line->run.num_steps = 0;
    line->run.kv_policy = w->session_params.kv_policy;
    line->run.stats.strategy = line->options.strategy;
    line->next = w->lines;
    line->before = &w->lines;
    if (w->lines)
        w->lines->before = &line->next;
    w->lines = line;
    return MN_OK;
}

static enum mn_status add_line(struct worker *w, struct worker_line *line)
{
    struct mn_session_params unused;
    struct mn_generate_params params;
    struct generate_run *run = &line->run;
    enum mn_status status = settle_run(run, &unused, &params);
    if (!status)
        status = run_prepare(run);
    if (status)
        return status;
    run->count = &w->n_tokens;
    run->count_of = w->n_wanted += run->n_new;
    run->polled = w->figures.sensors;
    delivery_begin(&run->delivery, clock_s());
    params.log = &line->log;
    status = mn_scheduler_add(w->scheduler, &params, on_end, line, &line->id);
    w->n_alive += !status;
    return status;
}

/* What is wrong with a line is its answer; only memory ends the work. */
static enum mn_status take_line(struct worker *w, const char *text, size_t n_bytes)
{
    struct worker_line *line;
    if (line_is_blank(text, n_bytes))
        return MN_OK;
    enum mn_status status = begin_line(&line, w);
    if (status)
        return status;
    struct generate_run *run = &line->run;
    run->log = *run->engine_log = &line->log;
    status = line_settings_read(run, &line->options, text, n_bytes, &line->log, &line->log);
    status = status ? status : run->status;
    if (!status)
        status = add_line(w, line);
    *run->engine_log = w->common->log;
    if (status)
        refuse(line, status);
    else
        run->log = w->common->log;
    return w->status;
}

/* ---- input ---- */

/* Takes the lines that are there; waits for one where there is nothing else to do. */
static enum mn_status take_input(struct worker *w)
{
    enum mn_status status = MN_OK;
    struct mn_scheduler_stats now;
    const char *line;
    size_t n;
    while (!status && !cli_interrupted()) {
        mn_scheduler_stats(w->scheduler, &now);
        if (now.n_waiting >= MANY_WAITING * w->session_params.n_sequences)
            break;
        if (input_lines_next(&w->input, &line, &n)) {
            status = take_line(w, line, n);
            continue;
        }
        const bool waits = !w->input.ended && process_input_waits(w->n_alive ? 0 : IDLE_MS);
        if (w->input.ended || (!waits && w->n_alive))
            break;
        if (waits)
            status = input_lines_more(&w->input, w->common->log);
    }
    return status;
}

/* ---- all ---- */

static enum mn_status choose_session(struct worker *w)
{
    const struct generate_run *common = w->common;
    const struct generate_options *options = common->options;
    const uint32_t rows = rows_per_sequence(options), parallel = options->parallel ? options->parallel : BATCH_PARALLEL;
    const struct mn_strategy *strategy = mn_strategy_find(options->strategy);
    struct mn_session_params *p = &w->session_params;
    *p = (struct mn_session_params){.n_ctx = options->ctx,
                                    .num_steps = depth_or(options->num_steps, common->info.shape.mean_recurrence),
                                    .n_sequences = min_u32(parallel, BATCH_ROWS_MAX / rows),
                                    .kv_policy = options->kv_policy    ? options->kv_policy
                                                 : strategy->kv_policy ? strategy->kv_policy
                                                                       : "full",
                                    .kv_type = options->kv_type,
                                    .beyond_trained_depth = options->beyond};
    p->max_rows = max_u32(p->n_sequences * rows, LEAST_ROWS);
    return options->ctx ? MN_OK : cli_fit_context(p, common->engine);
}

static enum mn_status open_worker(struct worker *w)
{
    enum mn_status status = choose_session(w);
    if (!status)
        status = cli_open_session(&w->session, w->common->engine, &w->session_params);
    if (!status)
        status = cli_use_costs(w->session, w->common->options->strategy, w->common->log);
    if (!status)
        status = mn_scheduler_create(&w->scheduler, w->session, &(struct mn_scheduler_params){0});
    if (!status)
        status = input_lines_open(&w->input, w->common->log);
    return status;
}

static enum mn_status work(struct worker *w)
{
    enum mn_status status = MN_OK;
    report_banner(w->common, !w->common->options->num_steps);
    figures_begin(&w->figures, w->common->engine, &w->common->info);
    while (!status && !cli_interrupted() && !(input_lines_are_over(&w->input) && w->n_alive == 0)) {
        status = take_input(w);
        if (!status)
            status = mn_scheduler_step(w->scheduler, &w->n_alive);
        status = status ? status : w->status;
    }
    figures_end(&w->figures);
    cli_progress_own(NULL, 0, 0);
    return status ? status : cli_interrupted() ? MN_ERR_INTERRUPTED : MN_OK;
}

/* What sequences had said when the work was ended early. */
static void answer_rest(struct worker *w)
{
    for (struct worker_line *line = w->lines, *next; line; line = next) {
        next = line->next;
        if (line->run.n_tokens && !w->status)
            mn_scheduler_cancel(w->scheduler, line->id);
    }
}

static void sum_up(const struct worker *w)
{
    struct mn_scheduler_stats now;
    mn_scheduler_stats(w->scheduler, &now);
    if (now.total.n_new)
        fprintf(cli_notes(),
                "muninn: %" PRIu32 " tokens in %" PRIu32 " sequences, %.1f tok/s; %" PRIu64 " of %" PRIu32
                " positions of prompts were in the cache\n",
                now.total.n_new, now.total.n_sequences, mn_stats_decode_tok_s(&now.total), now.reused_rows,
                now.total.n_prompt);
}

enum mn_status generate_worker(const struct generate_run *common)
{
    struct worker w = {.common = common};
    enum mn_status status = open_worker(&w);
    if (!status)
        status = work(&w);
    if (status == MN_ERR_INTERRUPTED)
        answer_rest(&w);
    sum_up(&w);
    if (status == MN_ERR_INTERRUPTED)
        log_note(common->log, MN_LOG_WARN, "interrupted after %" PRIu32 " of %" PRIu32 " sequences", w.n_answered,
                 w.n_lines);
    mn_scheduler_destroy(w.scheduler);
    mn_session_destroy(w.session);
    while (w.lines)
        free_line(w.lines);
    figures_free(&w.figures);
    input_lines_close(&w.input);
    return status ? status : w.refused;
}
