/* muninn generate --batch: many sequences from a file of JSON lines, on one session, answered in the order in which
 * they end. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/engine.h"
#include "cli/common/interrupt.h"
#include "cli/common/output.h"
#include "cli/common/paths.h"
#include "cli/common/progress.h"
#include "cli/generate/generate.h"
#include "engine/base/clock.h"
#include "engine/base/system.h"
#include "engine/files/lines.h"

enum { LINES_MAX = 1 << 16 };

/* Messages about a sequence: with the line it comes from, kept for its JSON line. */
struct batch_line {
    struct batch *batch;
    struct mn_log log;
    size_t number;
};

struct batch {
    const struct generate_run *common;
    struct generate_run *runs; /* [n]; one whose status is set cannot run */
    struct batch_line *lines;  /* [n] */
    bool *printed;             /* [n] */
    uint32_t n, n_ready;
    uint32_t *ready;                   /* [n_ready] which of the runs the library gets */
    struct mn_generate_params *params; /* [n_ready] */
    struct mn_stats *stats;            /* [n_ready] */
    char *said;                        /* the first reason why a sequence cannot run, owned */
    uint32_t n_same;                   /* further sequences with that reason */
    enum mn_status status;             /* of the output */
    struct run_figures figures;        /* of all together */
    uint64_t n_tokens;                 /* so far */
};

/* What is wrong with every line is said once. */
static void write_line(void *user, enum mn_log_level level, const char *text)
{
    const struct batch_line *line = user;
    struct batch *b = line->batch;
    struct generate_run *run = &b->runs[line - b->lines];
    if (level == MN_LOG_ERROR && !run->error)
        run->error = strdup(text);
    if (level == MN_LOG_ERROR && b->said && !strcmp(b->said, text)) {
        b->n_same++;
        return;
    }
    if (level == MN_LOG_ERROR && !b->said)
        b->said = strdup(text);
    struct line_log at = {b->common->log, b->common->options->batch, line->number};
    line_log_write(&at, level, text);
}

/* ---- reading ---- */

static enum mn_status take_line(void *user, size_t number, const char *line, size_t n_bytes, const struct mn_log *log)
{
    struct batch *b = user;
    struct generate_run *run = &b->runs[b->n];
    struct batch_line *at = &b->lines[b->n];
    *at = (struct batch_line){b, {write_line, at}, number};
    *run = *b->common;
    run->log = log;
    run->collects = run->in_batch = true;
    run->index = b->n++;
    run->n_new = run->num_steps = 0;
    enum mn_status status = line_settings_read(run, NULL, line, n_bytes, log, &at->log);
    run->log = *run->engine_log = b->common->log;
    return status;
}

/* One run per line that is not blank. */
static enum mn_status read_lines(struct batch *b, const char *text, size_t n_bytes)
{
    const struct mn_log *log = b->common->log;
    const char *source = b->common->options->batch;
    size_t most = 1;
    for (size_t i = 0; i < n_bytes; i++)
        most += text[i] == '\n';
    if (most > LINES_MAX)
        return log_fail(log, MN_ERR_FILE, "%s: %zu lines; at most %d", source, most, LINES_MAX);
    b->runs = calloc(most, sizeof *b->runs);
    b->params = calloc(most, sizeof *b->params);
    b->stats = calloc(most, sizeof *b->stats);
    b->printed = calloc(most, sizeof *b->printed);
    b->lines = calloc(most, sizeof *b->lines);
    b->ready = calloc(most, sizeof *b->ready);
    if (!b->runs || !b->params || !b->stats || !b->printed || !b->lines || !b->ready)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu sequences", most);
    enum mn_status status = lines_each(source, text, n_bytes, take_line, b, log);
    if (!status && b->n == 0)
        status = log_fail(log, MN_ERR_FORMAT, "%s: no line with a prompt", source);
    return status;
}

/* ---- running ---- */

static enum mn_status print_run(struct batch *b, uint32_t i, enum mn_status status)
{
    b->printed[i] = true;
    return run_finish(&b->runs[i], status);
}

/* Its line says why; only a failed write ends the batch. */
static void print_refused(struct batch *b, uint32_t i)
{
    const enum mn_status status = b->runs[i].status;
    b->runs[i].status = MN_OK; /* that line has not failed */
    print_run(b, i, status);
    b->runs[i].status = status;
    if (!b->status && ferror(stdout))
        b->status = cli_pipe_is_closed() ? MN_ERR_INTERRUPTED : MN_ERR_RUN;
}

static int on_end(void *user, uint32_t ready)
{
    struct batch *b = user;
    const uint32_t i = b->ready[ready];
    struct generate_run *run = &b->runs[i];
    run->stats = b->stats[ready];
    if (b->stats[ready].status) {
        run->status = b->stats[ready].status;
        print_refused(b, i);
    } else {
        const enum mn_status status = print_run(b, i,
                                                run->status                ? run->status
                                                : run_was_interrupted(run) ? MN_ERR_INTERRUPTED
                                                                           : MN_OK);
        if (!b->status)
            b->status = status;
    }
    return b->status || cli_interrupted();
}

/* Settles every sequence; the session is as deep as the deepest that can run. */
static enum mn_status settle_all(struct batch *b, struct mn_session_params *session)
{
    enum mn_status status = MN_OK;
    uint32_t deepest = 0, longest = 2;
    for (uint32_t i = 0; i < b->n && !status; i++) {
        struct mn_generate_params *params = &b->params[b->n_ready];
        struct generate_run *run = &b->runs[i];
        status = settle_run(run, session, params);
        if (status || run->status)
            continue;
        params->log = &b->lines[i].log;
        run->live = &b->stats[b->n_ready];
        b->ready[b->n_ready++] = i;
        status = run_prepare(run);
        deepest = run->num_steps > deepest ? run->num_steps : deepest;
        longest = session->n_ctx > longest ? session->n_ctx : longest;
    }
    session->num_steps = deepest;
    session->n_ctx = longest;
    return status;
}

/* The first in the file. */
static enum mn_status first_refusal(const struct batch *b)
{
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < b->n && !status; i++)
        status = b->runs[i].status;
    if (b->n_same)
        log_note(b->common->log, MN_LOG_ERROR, "%s: %" PRIu32 " more lines that cannot run: %s",
                 b->common->options->batch, b->n_same, b->said);
    return status;
}

/* Keeps an error instead of writing it. */
struct kept_error {
    const struct mn_log *next;
    char text[1024];
};

static void keep_error(void *user, enum mn_log_level level, const char *text)
{
    struct kept_error *kept = user;
    if (level == MN_LOG_ERROR)
        snprintf(kept->text, sizeof kept->text, "%s", text);
    else
        log_note(kept->next, level, "%s", text);
}

/* A cache has room for the deepest sequence: where it is not to be had, that one cannot run, and less deep ones may.
 * False when all are equally deep. */
static bool refuse_deepest(struct batch *b, struct mn_session_params *session, enum mn_status why, const char *text)
{
    uint32_t deepest = 0, kept = 0;
    for (uint32_t i = 0; i < b->n_ready; i++) {
        const uint32_t num_steps = b->runs[b->ready[i]].num_steps;
        deepest = num_steps < session->num_steps && num_steps > deepest ? num_steps : deepest;
    }
    for (uint32_t i = 0; i < b->n_ready && deepest; i++) {
        const uint32_t at = b->ready[i];
        if (b->runs[at].num_steps > deepest) {
            write_line(&b->lines[at], MN_LOG_ERROR, text);
            b->runs[at].status = why;
            print_refused(b, at);
            continue;
        }
        b->params[kept] = b->params[i];
        b->runs[at].live = &b->stats[kept];
        b->ready[kept++] = at;
    }
    b->n_ready = deepest ? kept : b->n_ready;
    session->num_steps = deepest ? deepest : session->num_steps;
    return deepest > 0;
}

static enum mn_status open_session(struct mn_session **session, struct batch *b, struct mn_session_params *params)
{
    const struct generate_run *common = b->common;
    const uint32_t rows = rows_per_sequence(common->options);
    const uint32_t wanted = common->options->parallel ? common->options->parallel : BATCH_PARALLEL;
    struct kept_error kept = {.next = common->log};
    const struct mn_log keeping = {keep_error, &kept};
    enum mn_status status;
    do {
        params->n_sequences = wanted < b->n_ready ? wanted : b->n_ready;
        if (params->n_sequences > BATCH_ROWS_MAX / rows)
            params->n_sequences = BATCH_ROWS_MAX / rows;
        params->max_rows = params->n_sequences * rows;
        *common->engine_log = &keeping;
        status = cli_open_session(session, common->engine, params);
        *common->engine_log = common->log;
    } while (status == MN_ERR_MEMORY && refuse_deepest(b, params, status, kept.text) && !b->status &&
             !cli_interrupted());
    if (status && (b->status || cli_interrupted()))
        return b->status ? b->status : MN_ERR_INTERRUPTED;
    return status ? log_fail(common->log, status, "%s", kept.text) : MN_OK;
}

static enum mn_status run_ready(struct batch *b, struct mn_session_params *session_params, struct mn_stats *total)
{
    struct mn_session *session = NULL;
    enum mn_status status = open_session(&session, b, session_params);
    if (status)
        return status;
    status = cli_use_costs(session, b->common->options->strategy, b->common->log);
    if (!status) {
        const struct generate_run *common = b->common;
        figures_begin(&b->figures, common->engine, &common->info);
        const double now = clock_s();
        uint64_t most = 0;
        for (uint32_t i = 0; i < b->n_ready; i++)
            most += b->runs[b->ready[i]].n_new;
        for (uint32_t i = 0; i < b->n_ready; i++) {
            b->runs[b->ready[i]].polled = b->figures.sensors;
            b->runs[b->ready[i]].count = &b->n_tokens;
            b->runs[b->ready[i]].count_of = most;
            delivery_begin(&b->runs[b->ready[i]].delivery, now);
        }
        status = mn_generate_batch(session, b->params, b->n_ready, b->stats, total, on_end, b);
        figures_end(&b->figures);
        cli_progress_own(NULL, 0, 0);
        for (uint32_t i = 0; i < b->n_ready; i++)
            latency_add(&b->figures.latency, &b->runs[b->ready[i]].figures.latency);
    }
    mn_session_destroy(session);
    for (uint32_t i = 0; i < b->n_ready; i++)
        if (b->stats[i].status)
            status = status == b->stats[i].status ? MN_OK : status; /* first_refusal's to report */
    return status ? status : b->status;
}

static bool any_default_depth(const struct batch *b)
{
    for (uint32_t i = 0; i < b->n_ready; i++)
        if (b->runs[b->ready[i]].default_depth)
            return true;
    return false;
}

static enum mn_status run_all(struct batch *b)
{
    struct mn_session_params session_params;
    struct mn_stats total = {0};
    enum mn_status status = settle_all(b, &session_params);
    for (uint32_t i = 0; i < b->n && !status; i++) {
        if (b->runs[i].status)
            print_refused(b, i);
        status = b->status;
    }
    if (status || b->n_ready == 0)
        return status ? status : first_refusal(b);
    if (cli_interrupted())
        return MN_ERR_INTERRUPTED;
    status = run_ready(b, &session_params, &total);
    const enum mn_status refused = first_refusal(b);
    if (total.n_new == 0)
        return status ? status : refused;
    /* What sequences had said when the batch was ended early. */
    for (uint32_t i = 0; i < b->n_ready; i++)
        if (!b->printed[b->ready[i]] && b->runs[b->ready[i]].n_tokens) {
            b->runs[b->ready[i]].stats = b->stats[i];
            print_run(b, b->ready[i], status);
        }
    report_total(&b->runs[b->ready[0]], &total, &b->figures, session_params.n_sequences);
    enum mn_status flushed = !status || status == MN_ERR_INTERRUPTED ? cli_flush(b->common->log) : MN_OK;
    report_banner(b->common, any_default_depth(b));
    report_summary(b->common, &total);
    figures_summary(&b->figures, total.n_new);
    if (status == MN_ERR_INTERRUPTED)
        log_note(b->common->log, MN_LOG_WARN, "interrupted after %" PRIu32 " of %" PRIu32 " sequences",
                 total.n_sequences, b->n);
    if (!status)
        status = flushed;
    return status ? status : refused;
}

enum mn_status generate_file(const struct generate_run *common)
{
    char *text = NULL;
    size_t n_bytes = 0;
    struct batch b = {.common = common};
    enum mn_status status = text_file_read(common->options->batch, &text, &n_bytes, common->log);
    if (!status)
        status = read_lines(&b, text, n_bytes);
    if (!status)
        status = run_all(&b);
    for (uint32_t i = 0; i < b.n; i++)
        run_free(&b.runs[i]);
    figures_free(&b.figures);
    free(b.runs);
    free(b.params);
    free(b.stats);
    free(b.printed);
    free(b.lines);
    free(b.ready);
    free(b.said);
    free(text);
    return status;
}
