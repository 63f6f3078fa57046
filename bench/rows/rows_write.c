/* Result rows as Markdown, CSV, JSON and JSON lines: the same figures in each. */
#include <stdlib.h>
#include <string.h>

#include "bench/rows/rows.h"
#include "engine/base/text.h"
#include "engine/files/json.h"

enum { COLUMNS_MAX = 256 };

/* ---- Markdown: what people look at first ---- */

struct column {
    const char *title, *key;
    int digits; /* 0: text */
};

static const struct column run_columns[] = {{"device", "device", 0},
                                            {"model", "model", 0},
                                            {"weights", "weight_type", 0},
                                            {"cache", "kv_policy", 0},
                                            {"", "kv_type", 0},
                                            {"strategy", "strategy", 0},
                                            {"R", "num_steps", 9},
                                            {"K", "draft_steps", 9},
                                            {"L", "lookahead", 9},
                                            {"W", "max_inflight", 9},
                                            {"batch", "batch", 9},
                                            {"prompt", "prompt_tokens", 9},
                                            {"new", "new_tokens", 9},
                                            {"prefill tok/s", "prefill_tok_s", 4},
                                            {"decode tok/s", "decode_tok_s", 4},
                                            {"spread", "decode_spread", 2},
                                            {"speedup", "speedup", 3},
                                            {"acceptance", "acceptance_rate", 3},
                                            {"tokens/round", "mean_acceptance_length", 3},
                                            {"weight bytes/token", "weight_bytes_per_token", 4},
                                            {"GB/s", "gb_s", 3},
                                            {"% of ceiling", "ceiling_percent", 3},
                                            {"lossless", "lossless", 0},
                                            {"equals ar", "equals_ar", 0}};
static const struct column pass_columns[] = {{"device", "device", 0},
                                             {"model", "model", 0},
                                             {"weights", "weight_type", 0},
                                             {"pass", "pass", 0},
                                             {"rows", "rows", 9},
                                             {"dispatches", "dispatches", 9},
                                             {"us", "us", 4},
                                             {"spread", "us_spread", 2},
                                             {"t(n)/t(1)", "t_ratio", 3},
                                             {"GB/s", "gb_s", 3},
                                             {"% of ceiling", "ceiling_percent", 3}};
static const struct column kernel_columns[] = {{"device", "device", 0},
                                               {"model", "model", 0},
                                               {"weights", "weight_type", 0},
                                               {"pass", "pass", 0},
                                               {"what", "what", 0},
                                               {"shape", "shape", 0},
                                               {"rows", "rows", 9},
                                               {"in a pass", "dispatches", 9},
                                               {"us each", "us", 4},
                                               {"t(n)/t(1)", "t_ratio", 3},
                                               {"GB/s", "gb_s", 3},
                                               {"GFLOP/s", "gflop_s", 3},
                                               {"% of ceiling", "ceiling_percent", 3}};
static const struct column floor_columns[] = {{"device", "device", 0},
                                              {"model", "model", 0},
                                              {"dispatch floor us", "us", 3},
                                              {"submit us", "submit_us", 3},
                                              {"ceiling GB/s", "ceiling_gb_s", 3}};
#define COUNT(array) (int)(sizeof(array) / sizeof *(array))
static const struct {
    const char *kind;
    const struct column *columns;
    int n;
} tables[] = {{"run", run_columns, COUNT(run_columns)},
              {"pass", pass_columns, COUNT(pass_columns)},
              {"kernel", kernel_columns, COUNT(kernel_columns)},
              {"floor", floor_columns, COUNT(floor_columns)}};

/* Names come from outside: nothing in them may end a cell or become markup. */
static void write_cell_text(FILE *stream, const char *text)
{
    text_write_cell(stream, text, TEXT_MARKUP, '\\');
}

static void write_cell(FILE *stream, const cJSON *row, const struct column *column)
{
    const cJSON *value = json_find(row, column->key);
    if (!strcmp(column->key, "lossless") && cJSON_IsFalse(value)) {
        fputs("LOSSY: ", stream);
        write_cell_text(stream, row_string(row, "lossy_because"));
    } else if (cJSON_IsBool(value)) {
        fputs(cJSON_IsTrue(value) ? "yes" : "no", stream);
    } else if (cJSON_IsNumber(value)) {
        fprintf(stream, "%.*g", column->digits ? column->digits : 9, value->valuedouble);
    } else if (cJSON_IsString(value)) {
        write_cell_text(stream, value->valuestring);
    }
}

static void write_table(const struct rows *rows, const char *kind, const struct column *columns, int n, FILE *stream)
{
    bool begun = false;
    for (size_t r = 0; r < rows->n; r++) {
        if (strcmp(row_string(rows->items[r], "bench"), kind) != 0)
            continue;
        for (int i = 0; i < n && !begun; i++)
            fprintf(stream, "| %s ", columns[i].title);
        fputs(begun ? "" : "|\n", stream);
        for (int i = 0; i < n && !begun; i++)
            fputs(columns[i].digits ? "|---:" : "|---", stream);
        fputs(begun ? "" : "|\n", stream);
        begun = true;
        for (int i = 0; i < n; i++) {
            fputs("| ", stream);
            write_cell(stream, rows->items[r], &columns[i]);
            fputc(' ', stream);
        }
        fputs("|\n", stream);
    }
    fputs(begun ? "\n" : "", stream);
}

/* ---- CSV: every key of every row ---- */

/* A value as one field: text as it is, everything else as in JSON. */
static bool write_field(FILE *stream, const cJSON *value)
{
    char *printed = NULL;
    const char *text = "";
    if (cJSON_IsString(value))
        text = value->valuestring;
    else if (value && !cJSON_IsNull(value) && !(text = printed = json_print(value)))
        return false;
    fputc('"', stream);
    if (cJSON_IsString(value) && *text && strchr("=+-@\t\r", *text)) /* a spreadsheet would take it for a formula */
        fputc('\'', stream);
    text_write_cell(stream, text, "\"", '"');
    fputc('"', stream);
    free(printed);
    return true;
}

static enum mn_status write_csv(const struct rows *rows, FILE *stream, const struct mn_log *log)
{
    const char *columns[COLUMNS_MAX];
    size_t n = 0;
    bool good = true;
    for (size_t r = 0; r < rows->n; r++) {
        const cJSON *item;
        cJSON_ArrayForEach (item, rows->items[r]) {
            size_t i = 0;
            while (i < n && strcmp(columns[i], item->string) != 0)
                i++;
            if (i == COLUMNS_MAX)
                return log_fail(log, MN_ERR_FORMAT, "more than %d different keys: too many for CSV", COLUMNS_MAX);
            if (i == n)
                columns[n++] = item->string;
        }
    }
    for (size_t i = 0; i < n && good; i++) {
        const cJSON title = {.type = cJSON_String, .valuestring = (char *)columns[i]};
        fputs(i ? "," : "", stream);
        good = write_field(stream, &title);
    }
    fputs(n ? "\n" : "", stream);
    for (size_t r = 0; r < rows->n && good; r++) {
        for (size_t i = 0; i < n && good; i++) {
            fputs(i ? "," : "", stream);
            good = write_field(stream, json_find(rows->items[r], columns[i]));
        }
        fputc('\n', stream);
    }
    return good ? MN_OK : log_fail(log, MN_ERR_MEMORY, "out of host memory for a row");
}

/* ---- JSON ---- */

static void write_json(const struct rows *rows, bool array, FILE *stream)
{
    fputs(array ? "[" : "", stream);
    for (size_t r = 0; r < rows->n; r++) {
        fputs(array && r ? ",\n" : "", stream);
        json_write_value(stream, rows->items[r]);
        fputs(array ? "" : "\n", stream);
    }
    fputs(array ? "]\n" : "", stream);
}

enum mn_status rows_write(const struct rows *rows, const char *format, FILE *stream, const struct mn_log *log)
{
    if (!strcmp(format, "csv"))
        return write_csv(rows, stream, log);
    if (strcmp(format, "md") != 0)
        write_json(rows, !strcmp(format, "json"), stream);
    for (int i = 0; i < COUNT(tables) && !strcmp(format, "md"); i++)
        write_table(rows, tables[i].kind, tables[i].columns, tables[i].n, stream);
    return MN_OK;
}
