/* muninn generate --batch -: lines of JSON as they come on standard input, each with settings of its own, answered as
 * each ends. Standard input may stay open: those under way go on while nothing comes. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/engine.h"
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
enum { IDLE_MS = 200, READ_BYTES = 1 << 16, MANY_WAITING = 2, LEAST_ROWS = 16 };

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
    enum mn_status refused;               /* of the first line that could not run */
    enum mn_status status;                /* of the output */
    char *bytes;                          /* [n_bytes] of the input that are not taken yet, owned */
    size_t n_bytes, at, capacity, n_seen; /* n_seen: of these, looked through for the end of a line */
    size_t number;                        /* of the last line */
    bool ended;
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
    line->number = w->number;
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

static enum mn_status read_more(struct worker *w)
{
    const struct mn_log *log = w->common->log;
    memmove(w->bytes, w->bytes + w->at, w->n_bytes - w->at); /* w->bytes is there: see generate_worker */
    w->n_bytes -= w->at;
    w->at = 0;
    if (w->n_bytes > TEXT_FILE_BYTES_MAX)
        return log_fail(log, MN_ERR_FILE, "%s: line %zu: more than %d bytes", source, w->number + 1,
                        TEXT_FILE_BYTES_MAX);
    if (w->capacity - w->n_bytes < READ_BYTES) {
        char *larger = realloc(w->bytes, 2 * w->capacity);
        if (!larger)
            return log_fail(log, MN_ERR_MEMORY, "%s: out of host memory for %zu bytes", source, 2 * w->capacity);
        w->bytes = larger;
        w->capacity *= 2;
    }
    const long n = process_input_read(w->bytes + w->n_bytes, READ_BYTES);
    if (n < 0 && errno != EINTR && errno != EAGAIN)
        return log_fail(log, MN_ERR_FILE, "%s: cannot be read: %s", source, strerror(errno));
    w->ended = n == 0;
    w->n_bytes += n > 0 ? (size_t)n : 0;
    return MN_OK;
}

/* The next whole line, or what is left at the end. False: there is none yet. */
static bool cut_line(struct worker *w, const char **line, size_t *n)
{
    if (w->number == 0 && w->at == 0 && json_byte_order_mark(w->bytes, w->n_bytes)) {
        w->at = json_byte_order_mark(w->bytes, w->n_bytes);
        w->n_seen = 0;
    }
    const char *begin = w->bytes + w->at, *newline = memchr(begin + w->n_seen, '\n', w->n_bytes - w->at - w->n_seen);
    *line = begin;
    *n = newline ? (size_t)(newline - begin) : w->n_bytes - w->at;
    w->n_seen = newline ? 0 : *n;
    if (!newline && (!w->ended || *n == 0))
        return false;
    w->at += *n + (newline != NULL);
    w->n_seen = 0;
    w->number++;
    return true;
}

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
        if (cut_line(w, &line, &n)) {
            status = take_line(w, line, n);
            continue;
        }
        const bool waits = !w->ended && process_input_waits(w->n_alive ? 0 : IDLE_MS);
        if (w->ended || (!waits && w->n_alive))
            break;
        if (waits)
            status = read_more(w);
    }
    return status;
}

/* ---- all ---- */

/* As many positions as the model knows, or three quarters of what there is room for. */
static enum mn_status choose_session(struct worker *w)
{
    const struct generate_run *common = w->common;
    const struct generate_options *options = common->options;
    const uint32_t rows = rows_per_sequence(options), parallel = options->parallel ? options->parallel : BATCH_PARALLEL;
    const struct mn_strategy *strategy = mn_strategy_find(options->strategy);
    struct mn_session_params *p = &w->session_params;
    struct mn_memory_plan plan;
    *p = (struct mn_session_params){.n_ctx = options->ctx ? options->ctx : common->info.shape.block_size,
                                    .num_steps = depth_or(options->num_steps, common->info.shape.mean_recurrence),
                                    .n_sequences = min_u32(parallel, BATCH_ROWS_MAX / rows),
                                    .kv_policy = options->kv_policy    ? options->kv_policy
                                                 : strategy->kv_policy ? strategy->kv_policy
                                                                       : "full",
                                    .kv_type = options->kv_type,
                                    .beyond_trained_depth = options->beyond};
    p->max_rows = max_u32(p->n_sequences * rows, LEAST_ROWS);
    if (options->ctx)
        return MN_OK;
    enum mn_status status = mn_memory_plan(&plan, common->engine, p, 0);
    if (!status && !plan.fits && plan.largest_n_ctx >= 4)
        p->n_ctx = plan.largest_n_ctx / 4 * 3;
    return status;
}

static enum mn_status open_worker(struct worker *w)
{
    enum mn_status status = choose_session(w);
    if (!status)
        status = cli_open_session(&w->session, w->common->engine, &w->session_params);
    if (!status)
        status = run_use_costs(w->common, w->session);
    if (!status)
        status = mn_scheduler_create(&w->scheduler, w->session, &(struct mn_scheduler_params){0});
    if (!status && !(w->bytes = malloc(w->capacity = 2 * READ_BYTES)))
        status = log_fail(w->common->log, MN_ERR_MEMORY, "out of host memory for standard input");
    return status;
}

static enum mn_status work(struct worker *w)
{
    enum mn_status status = MN_OK;
    report_banner(w->common, !w->common->options->num_steps);
    figures_begin(&w->figures, w->common->engine, &w->common->info);
    while (!status && !cli_interrupted() && !(w->ended && w->at == w->n_bytes && w->n_alive == 0)) {
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
    free(w.bytes);
    return status ? status : w.refused;
}
