/* What all lines come to: means and standard errors. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/output.h"
#include "cli/score/score.h"
#include "engine/base/hash.h"
#include "engine/base/text.h"
#include "engine/files/json.h"

struct metric {
    const char *name;
    enum score_kind kind;
    double (*value)(const struct score_outcome *outcome);
};

static double hit(const struct score_outcome *o)
{
    return o->hit;
}

static double hit_norm(const struct score_outcome *o)
{
    return o->hit_norm;
}

static double logprob(const struct score_outcome *o)
{
    return o->logprob;
}

static const struct metric metrics[] = {{"is_greedy", SCORE_LIKELIHOOD, hit},
                                        {"logprob", SCORE_LIKELIHOOD, logprob},
                                        {"acc", SCORE_CHOICE, hit},
                                        {"acc_norm", SCORE_CHOICE, hit_norm},
                                        {"exact_match", SCORE_MATCH, hit}};
enum { N_METRICS = sizeof metrics / sizeof *metrics };

struct mean {
    uint64_t n;
    double value, error; /* standard error: sqrt(sum (x - mean)^2 / (n - 1) / n), as the harness has it; 0 for n = 1 */
};

static bool is_in(const struct score_line *line, const struct metric *metric, const char *group)
{
    return line->kind == metric->kind && (!group || !strcmp(line->group, group));
}

/* Two passes: the deviations of long files do not cancel. */
static struct mean mean_of(const struct score_run *run, const struct metric *metric, const char *group, uint32_t step)
{
    struct mean mean = {0};
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < run->n_lines; i++)
        if (is_in(&run->lines[i], metric, group)) {
            sum += metric->value(&run->lines[i].outcomes[step]);
            mean.n++;
        }
    if (mean.n == 0)
        return mean;
    mean.value = sum / (double)mean.n;
    for (size_t i = 0; i < run->n_lines; i++)
        if (is_in(&run->lines[i], metric, group)) {
            const double difference = metric->value(&run->lines[i].outcomes[step]) - mean.value;
            squares += difference * difference;
        }
    if (mean.n > 1)
        mean.error = sqrt(squares / (double)(mean.n - 1) / (double)mean.n);
    return mean;
}

/* ---- the two forms ---- */

static void write_json_model(const struct score_run *run)
{
    char hash[HASH_TEXT_BYTES];
    hash_write(run->info.model_hash, hash);
    cli_json_string("model", run->model, false);
    cli_json_string("model_hash", hash, false);
    cli_json_string("weight_type", run->info.weight_type, false);
    cli_json_string("matrix_units", identity_matrix_units(&run->info), false);
    cli_json_string("kv_type", run->options->kv_type, false);
    cli_json_string("device", run->info.device_name, false);
}

static void write_json(const struct score_run *run, const struct metric *metric, const char *group)
{
    for (uint32_t step = 0; step < run->num_steps.n; step++) {
        const struct mean mean = mean_of(run, metric, group, step);
        if (mean.n == 0)
            return;
        putchar('{');
        cli_json_key("summary", true);
        putchar('{');
        cli_json_string("metric", metric->name, true);
        if (group)
            cli_json_string("group", group, false);
        cli_json_u64("num_steps", run->num_steps.values[step], false);
        cli_json_double("value", mean.value, false);
        cli_json_double("stderr", mean.error, false);
        cli_json_u64("n", mean.n, false);
        if (score_is_lossy(run))
            cli_json_string("lossy_because", SCORE_LOSSY, false);
        write_json_model(run);
        puts("}}");
    }
}

static void write_cell(const char *text)
{
    text_write_cell(stdout, text, TEXT_MARKUP, '\\');
}

static void write_markdown_head(const struct score_run *run)
{
    if (run->options->group_by) {
        fputs("| ", stdout);
        write_cell(run->options->group_by);
        putchar(' ');
    }
    fputs("| metric | n ", stdout);
    for (uint32_t step = 0; step < run->num_steps.n; step++)
        printf("| R = %" PRIu32 " ", run->num_steps.values[step]);
    printf("|\n%s|---|---:", run->options->group_by ? "|---" : "");
    for (uint32_t step = 0; step < run->num_steps.n; step++)
        fputs("|---:", stdout);
    puts("|");
}

static void write_markdown(const struct score_run *run, const struct metric *metric, const char *group)
{
    struct mean mean = mean_of(run, metric, group, 0);
    if (mean.n == 0)
        return;
    if (run->options->group_by) {
        fputs("| ", stdout);
        write_cell(group ? group : "all");
        putchar(' ');
    }
    printf("| %s | %" PRIu64 " ", metric->name, mean.n);
    for (uint32_t step = 0; step < run->num_steps.n; step++) {
        mean = mean_of(run, metric, group, step);
        printf("| %.3f ± %.3f ", mean.value, mean.error);
    }
    puts("|");
}

/* ---- groups ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Each group once, by name; the names belong to the lines. */
static enum mn_status list_groups(const struct score_run *run, const char ***groups, size_t *n)
{
    *n = 0;
    *groups = malloc(run->n_lines * sizeof **groups);
    if (!*groups)
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for %zu groups", run->n_lines);
    for (size_t i = 0; i < run->n_lines; i++)
        (*groups)[i] = run->lines[i].group;
    qsort(*groups, run->n_lines, sizeof **groups, compare_names);
    for (size_t i = 0; i < run->n_lines; i++)
        if (*n == 0 || strcmp((*groups)[*n - 1], (*groups)[i]) != 0)
            (*groups)[(*n)++] = (*groups)[i];
    return MN_OK;
}

enum mn_status score_summary(const struct score_run *run)
{
    const bool markdown = !strcmp(run->options->output, "md");
    void (*write)(const struct score_run *, const struct metric *, const char *) = markdown ? write_markdown
                                                                                            : write_json;
    const char **groups = NULL;
    size_t n_groups = 0;
    enum mn_status status = run->options->group_by ? list_groups(run, &groups, &n_groups) : MN_OK;
    if (status)
        return status;
    if (markdown) {
        write_cell(run->model);
        fputs(" on ", stdout);
        write_cell(run->info.device_name);
        printf(", weights %s, cache %s\n\n", run->info.weight_type, run->options->kv_type);
    }
    if (markdown && score_is_lossy(run))
        puts("LOSSY: " SCORE_LOSSY "\n");
    if (markdown)
        write_markdown_head(run);
    for (size_t g = 0; g < n_groups; g++)
        for (size_t i = 0; i < N_METRICS; i++)
            write(run, &metrics[i], groups[g]);
    for (size_t i = 0; i < N_METRICS; i++)
        write(run, &metrics[i], NULL);
    free(groups);
    return cli_flush(run->log);
}
