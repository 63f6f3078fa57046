/* muninn merge: the rows of several result files, each setting once. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "json.h"

struct merge_options {
    struct operand_list files;
    const char *output;
};

/* The newest row of a setting stands where its first one stood. */
static enum mn_status take(struct rows *all, struct rows *more, const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < more->n && !status; i++) {
        cJSON *row = more->items[i];
        const char *key = json_find(row, "key")->valuestring;
        size_t j = 0;
        more->items[i] = NULL;
        while (j < all->n && strcmp(json_find(all->items[j], "key")->valuestring, key) != 0)
            j++;
        if (j == all->n) {
            status = rows_add(all, row, log);
            continue;
        }
        const cJSON *old_time = json_find(all->items[j], "time"), *time = json_find(row, "time");
        const bool newer = !cJSON_IsString(old_time) || (cJSON_IsString(time) && strcmp(time->valuestring, old_time->valuestring) >= 0);
        cJSON_Delete(newer ? all->items[j] : row);
        if (newer)
            all->items[j] = row;
    }
    rows_free(more);
    return status;
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct merge_options *options = values;
    struct rows all = {0};
    uint64_t n_good;
    enum mn_status status = MN_OK;
    if (options->files.n == 0)
        return log_fail(log, MN_ERR_USAGE, "no file to merge; see `muninn merge --help`");
    for (uint32_t i = 0; i < options->files.n && !status; i++) {
        struct rows more = {0};
        status = rows_read(&more, options->files.items[i], false, &n_good, log);
        if (!status)
            status = take(&all, &more, log);
        rows_free(&more);
    }
    if (!status)
        status = rows_write(&all, options->output, stdout, log);
    rows_free(&all);
    return status;
}

static const struct option_spec specs[] = {
    {.name = "output", .letter = 'o', .kind = OPTION_CHOICE, .offset = offsetof(struct merge_options, output), .choices = "md|csv|json|jsonl", .value = "jsonl",
     .help = "format on standard output"},
};

const struct command command_merge = {.name = "merge",
                                      .summary = "Puts result files of `muninn bench` together.",
                                      .synopsis = "[OPTIONS] FILE.jsonl...",
                                      .example = "muninn merge shard-*.jsonl >all.jsonl",
                                      .notes = "A setting that is in several files appears once, with its newest row. A line that was cut off at the end of a file is left out.",
                                      .options = specs,
                                      .n_options = sizeof specs / sizeof *specs,
                                      .values_bytes = sizeof(struct merge_options),
                                      .takes_operands = true,
                                      .operands_offset = offsetof(struct merge_options, files),
                                      .run = run};
