/* muninn score: likelihoods, multiple choice and exact match from JSON lines, at one or several depths. */
#include "cli/score/score.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/sweep/cpu_device.h"
#include "bench/sweep/model_hash.h"
#include "cache/cache.h"
#include "cli/commands.h"

enum { ROWS_AT_ONCE = 2048, SEQUENCES_MAX = 64, DEFAULT_PARALLEL_MAX = 32 };
#define SHOW_SECONDS 0.2

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
    const double now = clock_s(), share = run->total ? (double)(run->done + more) / (double)run->total : 0.0;
    if (!isatty(STDERR_FILENO) || now - run->shown < SHOW_SECONDS)
        return;
    run->shown = now;
    fprintf(stderr, "\r\033[K[%zu/%zu] %.0f %%", run->n_done, run->n_lines, 100.0 * share);
    if (share > 0.0)
        fprintf(stderr, ", about %.0f s left", (now - run->started) * (1.0 - share) / share);
    fflush(stderr);
}

static void end_progress(const struct score_run *run)
{
    if (run->shown > 0.0)
        fputs("\r\033[K", stderr);
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
    enum mn_status status = mn_session_create(&session, run->engine,
                                              &(struct mn_session_params){.n_ctx = p->longest > 2 ? p->longest : 2,
                                                                          .num_steps = deepest_of(run),
                                                                          .n_sequences = parallel_of(run, p),
                                                                          .max_rows = 1,
                                                                          .kv_policy = run->options->kv_policy,
                                                                          .kv_type = run->options->kv_type});
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
    fprintf(stderr, "muninn: %zu lines at %" PRIu32 " depths in %.2f s (%.1f lines/s)", run->n_done, run->num_steps.n,
            seconds, seconds > 0.0 ? (double)run->n_done / seconds : 0.0);
    if (run->n_done < run->n_lines)
        fprintf(stderr, ", %zu were in %s already", run->n_lines - run->n_done, run->options->results);
    fputs(score_is_lossy(run) ? "; LOSSY (" SCORE_LOSSY ")\n" : "\n", stderr);
}

static enum mn_status run_lines(struct score_run *run, const char *model_hash, const char *text, size_t n_bytes)
{
    enum mn_status status = score_read(run, text, n_bytes);
    if (!status)
        status = score_open_results(run, model_hash);
    if (status)
        return status;
    add_up_work(run);
    status = score_likelihoods(run);
    if (!status)
        status = score_matches(run);
    if (!status && run->file)
        status = rows_sync(run->file, run->options->results, run->log);
    end_progress(run);
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
    run->n_ctx = run->options->ctx ? run->options->ctx : run->info.block_size;
    if (run->num_steps.n == 0)
        run->num_steps = (struct number_list){{run->info.mean_recurrence}, 1};
}

static enum mn_status check_options(struct score_run *run)
{
    const struct score_options *o = run->options;
    struct kv_policy policy;
    if (!o->file)
        return log_fail(run->log, MN_ERR_USAGE, "-f FILE is missing; see `muninn score --help`");
    if (o->resume && !o->results)
        return log_fail(run->log, MN_ERR_USAGE, "--resume: needs --results FILE.jsonl");
    enum mn_status status = kv_policy_parse(o->kv_policy, &policy, run->log);
    return status || !o->num_steps ? status
                                   : parse_numbers("num-steps", o->num_steps, 1, 4096, &run->num_steps, run->log);
}

static enum mn_status run_score(const void *values, const struct mn_log *log)
{
    struct score_run run = {.options = values, .log = log};
    const struct score_options *o = run.options;
    char dir[CLI_PATH_BYTES], hash[HASH_TEXT_BYTES], *text = NULL;
    size_t n_bytes = 0;
    enum mn_status status = check_options(&run);
    if (!status)
        status = cli_model_dir(o->model, dir, log);
    if (!status)
        status = text_file_read(o->file, &text, &n_bytes, log);
    if (!status)
        status = model_hash(dir, hash, log);
    if (status) {
        free(text);
        return status;
    }
    cli_catch_interrupt();
    cpu_device_prepare(o->cpu_threads, dir);
    status = mn_engine_create(
        &run.engine,
        &(struct mn_engine_params){.model_dir = dir, .device = o->device, .weight_type = o->weight_type, .log = log});
    if (!status) {
        open_run(&run);
        status = run_lines(&run, hash, text, n_bytes);
    }
    if (run.file && fclose(run.file) != 0 && !status)
        status = log_fail(log, MN_ERR_RUN, "%s: writing failed", o->results);
    score_lines_free(&run);
    mn_engine_destroy(run.engine);
    free(text);
    return status;
}

/* ---- options ---- */

#define AT(field) offsetof(struct score_options, field)

static const struct command_option table[] = {
    {.name = "model",
     .letter = 'm',
     .kind = OPTION_TEXT,
     .offset = AT(model),
     .argument = "DIR",
     .shown = "$MUNINN_MODEL, else raven-deep",
     .help = "model folder"},
    {.name = "file",
     .letter = 'f',
     .kind = OPTION_TEXT,
     .offset = AT(file),
     .argument = "FILE.jsonl",
     .shown = "none, required",
     .help = "lines to score; - for standard input"},
    {.name = "num-steps",
     .kind = OPTION_TEXT,
     .offset = AT(num_steps),
     .argument = "LIST",
     .shown = "the model's mean_recurrence",
     .help = "depths, all in one run: 1,2,4 or 1-8 or 1-32*2"},
    {.name = "delimiter",
     .kind = OPTION_TEXT,
     .offset = AT(delimiter),
     .argument = "TEXT",
     .value = " ",
     .shown = "a blank",
     .help = "between a query and its choices"},
    {.name = "group-by",
     .kind = OPTION_TEXT,
     .offset = AT(group_by),
     .argument = "KEY",
     .shown = "no groups",
     .help = "a summary for each value that this key has in the lines, and for all"},
    {.name = "max-new-tokens",
     .letter = 'n',
     .kind = OPTION_U32,
     .offset = AT(n_new),
     .argument = "N",
     .value = "64",
     .min = 1,
     .max = IDS_MAX,
     .help = "longest generated answer"},
    {.name = "stop",
     .kind = OPTION_LIST,
     .offset = AT(stops),
     .argument = "TEXT",
     .shown = "none",
     .help = "ends a generated answer, beside the line's own; may be given up to 16 times"},
    {.name = "no-bos", .kind = OPTION_FLAG, .offset = AT(no_bos), .help = "no begin token in front of text"},
    {.name = "truncate",
     .kind = OPTION_FLAG,
     .offset = AT(truncate),
     .help = "cut contexts that are too long from the left, and say so, instead of refusing them"},
    {.name = "ctx",
     .kind = OPTION_U32,
     .offset = AT(ctx),
     .argument = "N",
     .shown = "the model's block_size",
     .min = 2,
     .max = IDS_MAX,
     .help = "most positions of an item"},
    {.name = "parallel",
     .kind = OPTION_U32,
     .offset = AT(parallel),
     .argument = "N",
     .shown = "by length, up to 32; generated: 16",
     .min = 1,
     .max = SEQUENCES_MAX,
     .help = "items in the cache at once, which share passes"},
    {.name = "results",
     .kind = OPTION_TEXT,
     .offset = AT(results),
     .argument = "FILE.jsonl",
     .shown = "standard output",
     .help = "append each row to this file as it comes"},
    {.name = "resume", .kind = OPTION_FLAG, .offset = AT(resume), .help = "leave out what --results has already"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = AT(output),
     .choices = "jsonl|md",
     .value = "jsonl",
     .help = "rows and summary as JSON lines, or the summary alone as a table"},
    {.name = "kv-policy",
     .kind = OPTION_TEXT,
     .offset = AT(kv_policy),
     .argument = "full|share:k",
     .value = "full",
     .help = "cache every step, or the last k (another function of the model)"},
    {.name = "kv-type",
     .kind = OPTION_CHOICE,
     .offset = AT(kv_type),
     .choices = "f16|f32",
     .value = "f32",
     .help = "type of the cache; f16 takes half the memory, and answers as generate does by default"},
    {.name = "weight-type",
     .kind = OPTION_CHOICE,
     .offset = AT(weight_type),
     .choices = "bf16|f16|f32",
     .shown = "as stored",
     .help = "convert the matrices"},
    {.name = "device",
     .kind = OPTION_TEXT,
     .offset = AT(device),
     .argument = "D",
     .shown = "the best one",
     .help = "number or part of a name, see `muninn devices`"},
    {.name = "cpu-threads",
     .kind = OPTION_CHOICE,
     .offset = AT(cpu_threads),
     .choices = "0|1|2|3|4|6|8|12|16|24|32",
     .shown = "0 for small models, else all",
     .help = "worker threads of a CPU device (lavapipe)"},
};

const struct command command_score = {
    .name = "score",
    .summary = "Scores JSON lines: likelihoods, multiple choice, exact match.",
    .synopsis = "[-m DIR] -f FILE.jsonl [OPTIONS]",
    .example = "muninn score -f tasks.jsonl --num-steps 1-32*2 --group-by task --results scores.jsonl --resume -o md",
    .notes = "A line is one of\n"
             "  {\"context\":\"..\",\"continuation\":\"..\"}, or {\"context_ids\":[..],\"continuation_ids\":[..]}   "
             "logprob, is_greedy\n"
             "  {\"query\":\"..\",\"choices\":[\"..\",..],\"gold\":0}                          acc, acc_norm (logprob "
             "per byte of the choice)\n"
             "  {\"context\":\"..\",\"answer\":\"..\",\"stop\":[\"..\"]}                         exact_match of the "
             "greedy answer\n"
             "and gives one row per depth, which keeps the line's other members. Text is tokenised as the "
             "lm-evaluation-harness does it. Lines that\n"
             "cannot be scored end the run before anything is computed. See docs/score.md.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct score_options),
    .run = run_score};
