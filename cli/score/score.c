/* muninn score: the run from the lines to the summary, and the lines that ask for likelihoods. */
#include "cli/score/score.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/default_depth.h"
#include "cli/common/engine.h"
#include "cli/common/interrupt.h"
#include "cli/common/progress.h"
#include "cli/common/talk.h"
#include "engine/base/text.h"
#include "engine/files/lines.h"

enum { ROWS_AT_ONCE = 2048, DEFAULT_PARALLEL_MAX = 32 };

/* ---- progress ---- */

uint64_t score_work(const struct score_run *run, const struct score_line *line, uint32_t num_steps)
{
    uint64_t rows = line->kind == SCORE_MATCH ? run->options->n_new : 0;
    for (uint32_t i = 0; i < line->n_items; i++)
        rows += line->items[i].n_ids - 1;
    return rows * num_steps;
}

static uint32_t deepest_of(const struct score_run *run)
{
    uint32_t deepest = 0;
    for (uint32_t i = 0; i < run->num_steps.n; i++)
        deepest = run->num_steps.values[i] > deepest ? run->num_steps.values[i] : deepest;
    return deepest;
}

static void add_up_work(struct score_run *run)
{
    for (size_t i = 0; i < run->n_lines; i++) {
        const struct score_line *line = &run->lines[i];
        if (line->kind != SCORE_MATCH && !score_is_known(run, line))
            run->total += score_work(run, line, deepest_of(run));
        for (uint32_t step = 0; line->kind == SCORE_MATCH && step < run->num_steps.n; step++)
            run->total += line->outcomes[step].known ? 0 : score_work(run, line, run->num_steps.values[step]);
    }
    run->started = clock_s();
}

void score_progress(struct score_run *run, uint64_t more)
{
    char text[64];
    snprintf(text, sizeof text, "%zu of %zu lines", run->n_done, run->n_lines);
    cli_progress_own(text, run->done + more, run->total);
}

/* ---- likelihoods ---- */

/* The items of all lines with something left to do, and the way back from an item to its line. */
struct pending {
    struct score_run *run;
    struct mn_score_item *items;       /* [n] */
    struct score_line **lines;         /* [n], of each item */
    struct mn_likelihood *likelihoods; /* those of the line under way: [n_items, num_steps.n] */
    uint32_t n, most, longest;         /* most items of one line, most positions of one item */
    uint64_t done;
};

static enum mn_status collect(struct pending *p)
{
    struct score_run *run = p->run;
    size_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < run->n_lines; i++) {
            struct score_line *line = &run->lines[i];
            if (line->kind == SCORE_MATCH || score_is_known(run, line))
                continue;
            p->most = line->n_items > p->most ? line->n_items : p->most;
            n += line->n_items;
            for (uint32_t k = 0; pass && k < line->n_items; k++) {
                p->items[p->n] = line->items[k];
                p->lines[p->n++] = line;
                p->longest = line->items[k].n_ids - 1 > p->longest ? line->items[k].n_ids - 1 : p->longest;
            }
        }
        if (pass || n == 0)
            return MN_OK;
        if (n > UINT32_MAX)
            return log_fail(run->log, MN_ERR_FILE, "%s: %zu choices in all: too many", run->options->file, n);
        p->items = malloc(n * sizeof *p->items);
        p->lines = malloc(n * sizeof(struct score_line *));
        p->likelihoods = malloc((size_t)p->most * run->num_steps.n * sizeof *p->likelihoods);
        if (!p->items || !p->lines || !p->likelihoods)
            return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for %zu items", n);
    }
    return MN_OK;
}

static enum mn_status on_item(void *user, uint32_t item, const struct mn_likelihood *likelihoods)
{
    struct pending *p = user;
    struct score_line *line = p->lines[item];
    uint32_t k = 0; /* of the line */
    while (k < item && p->lines[item - k - 1] == line)
        k++;
    memcpy(p->likelihoods + (size_t)k * p->run->num_steps.n, likelihoods, p->run->num_steps.n * sizeof *likelihoods);
    return k + 1 < line->n_items ? MN_OK : score_put_likelihoods(p->run, line, p->likelihoods);
}

static int on_progress(void *user, uint64_t done, uint64_t total)
{
    struct pending *p = user;
    (void)total;
    p->done = done;
    score_progress(p->run, done);
    return cli_interrupted();
}

/* As many sequences as fill many passes, as long as that is not many more positions than one sequence may have. */
static uint32_t parallel_of(const struct score_run *run, const struct pending *p)
{
    uint32_t n = run->options->parallel;
    if (!n)
        n = ROWS_AT_ONCE / p->longest < 1                      ? 1
            : ROWS_AT_ONCE / p->longest > DEFAULT_PARALLEL_MAX ? DEFAULT_PARALLEL_MAX
                                                               : ROWS_AT_ONCE / p->longest;
    return n < p->n ? n : p->n;
}

static enum mn_status run_pending(struct pending *p)
{
    struct score_run *run = p->run;
    struct mn_session *session;
    enum mn_status status = mn_session_create(
        &session, run->engine,
        &(struct mn_session_params){.n_ctx = p->longest > 2 ? p->longest : 2,
                                    .num_steps = deepest_of(run),
                                    .n_sequences = parallel_of(run, p),
                                    .max_rows = 1,
                                    .kv_policy = run->options->kv_policy,
                                    .kv_type = run->options->kv_type,
                                    .beyond_trained_depth = run->options->beyond});
    if (status)
        return status;
    status = mn_score(session, &(struct mn_score_params){.items = p->items,
                                                         .n_items = p->n,
                                                         .num_steps = run->num_steps.values,
                                                         .n_num_steps = run->num_steps.n,
                                                         .each = on_item,
                                                         .progress = on_progress,
                                                         .user = p});
    run->done += p->done;
    mn_session_destroy(session);
    return status;
}

static enum mn_status score_likelihoods(struct score_run *run)
{
    struct pending p = {.run = run};
    enum mn_status status = collect(&p);
    if (!status && p.n)
        status = run_pending(&p);
    free(p.items);
    free(p.lines);
    free(p.likelihoods);
    return status;
}

/* ---- the command ---- */

bool score_is_lossy(const struct score_run *run)
{
    return strcmp(run->options->kv_policy, "full") != 0;
}

static void report_speed(const struct score_run *run)
{
    const double seconds = clock_s() - run->started;
    FILE *notes = cli_notes();
    fprintf(notes, "muninn: %zu lines at %" PRIu32 " depths in %.2f s (%.1f lines/s)", run->n_done, run->num_steps.n,
            seconds, seconds > 0.0 ? (double)run->n_done / seconds : 0.0);
    if (run->n_done < run->n_lines) {
        fprintf(notes, ", %zu were in ", run->n_lines - run->n_done);
        text_puts(notes, run->options->results);
        fputs(" already", notes);
    }
    fputs(score_is_lossy(run) ? "; LOSSY (" SCORE_LOSSY ")\n" : "\n", notes);
}

static enum mn_status run_lines(struct score_run *run, const char *dir, const char *text, size_t n_bytes)
{
    enum mn_status status = score_read(run, text, n_bytes);
    if (!status)
        status = score_open_results(run, dir);
    if (status)
        return status;
    if (!run->options->num_steps)
        default_depth_note(cli_notes(), &run->info);
    add_up_work(run);
    status = score_likelihoods(run);
    if (!status)
        status = score_matches(run);
    if (!status && run->options->results)
        status = output_commit(&run->file, run->log);
    cli_progress_own(NULL, 0, 0);
    if (status == MN_ERR_INTERRUPTED)
        log_note(run->log, MN_LOG_WARN, "interrupted after %zu of %zu lines%s", run->n_done, run->n_lines,
                 run->options->results ? "; --resume goes on from there" : "");
    if (status)
        return status;
    report_speed(run);
    return score_summary(run);
}

static void open_run(struct score_run *run)
{
    mn_engine_info(run->engine, &run->info);
    run->n_ctx = run->options->ctx ? run->options->ctx : run->info.shape.block_size;
    if (run->num_steps.n == 0)
        run->num_steps = (struct number_list){{run->info.shape.mean_recurrence}, 1};
}

static enum mn_status check_options(struct score_run *run)
{
    const struct score_options *o = run->options;
    if (!o->file)
        return log_fail(run->log, MN_ERR_USAGE, "-f FILE is missing; see `muninn score --help`");
    if (o->resume && !o->results)
        return log_fail(run->log, MN_ERR_USAGE, "--resume: needs --results FILE.jsonl");
    enum mn_status status = mn_kv_policy_check(o->kv_policy, run->log);
    return status || !o->num_steps ? status
                                   : parse_numbers("num-steps", o->num_steps, 1, 4096, &run->num_steps, run->log);
}

enum mn_status run_score(const struct score_options *options, const struct mn_log *log)
{
    struct score_run run = {.options = options, .log = log};
    char dir[CLI_PATH_BYTES], *text = NULL;
    size_t n_bytes = 0;
    const struct output_use uses[] = {{"--results", options->results, true}, {"--file", options->file, false}};
    enum mn_status status = check_options(&run);
    if (!status)
        status = cli_check_outputs(options->model, uses, sizeof uses / sizeof *uses, log);
    if (!status)
        status = text_file_read(options->file, &text, &n_bytes, log);
    if (status)
        return status;
    cli_catch_interrupt();
    status = cli_open_engine(&run.engine, dir,
                             &(struct engine_choice){.model = options->model,
                                                     .device = options->device,
                                                     .weight_type = options->weight_type,
                                                     .matrix_units = options->matrix_units,
                                                     .cpu_threads = options->cpu_threads},
                             log);
    if (!status) {
        open_run(&run);
        status = identity_model_name(run.model, dir, log);
    }
    if (!status) {
        status = run_lines(&run, dir, text, n_bytes);
    }
    output_discard(&run.file); /* rows that were written stay */
    score_lines_free(&run);
    mn_engine_destroy(run.engine);
    free(text);
    return status;
}
