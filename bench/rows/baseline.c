/* What a row promises, and which row of `ar` it is measured against. */
#include "bench/rows/baseline.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/text.h"
#include "engine/files/json.h"

enum row_class row_class(const cJSON *row)
{
    const cJSON *lossless = json_find(row, "lossless");
    if (cJSON_GetArraySize(json_find(row, "forced_acceptance")) > 0 || *row_string(row, "forced_by_depth"))
        return ROW_FORCED;
    return cJSON_IsTrue(lossless) ? ROW_LOSSLESS : cJSON_IsFalse(lossless) ? ROW_LOSSY : ROW_CLASS_UNKNOWN;
}

/* A text of a row on one line, cut. */
static void write_given(FILE *out, const char *text)
{
    enum { MOST = 48 };
    char cut[MOST + 3];
    const size_t n = strlen(text) > MOST ? utf8_whole(text, MOST) : strlen(text);
    snprintf(cut, sizeof cut, "%.*s%s", (int)n, text, text[n] ? ".." : "");
    text_write_cell(out, cut, TEXT_MARKUP, '\\');
}

void row_write_acceptance(FILE *out, const cJSON *row)
{
    const char *given = row_string(row, "forced_by_depth"), *shares = row_string(row, "forced_shares"), *before = "";
    const cJSON *item;
    write_given(out, given);
    if (*given && *shares && strcmp(given, shares) != 0) {
        fputs(" (", out);
        write_given(out, shares);
        fputc(')', out);
    }
    if (*given)
        return;
    cJSON_ArrayForEach (item, json_find(row, "forced_acceptance")) {
        fprintf(out, cJSON_IsNumber(item) ? "%s%.4g" : "%s?", before, item->valuedouble);
        before = ",";
    }
}

const char *row_class_name(enum row_class class_)
{
    static const char *const names[] = {"lossless", "forced", "lossy", ""};
    return names[class_];
}

bool row_is_run(const cJSON *row)
{
    return !strcmp(row_string(row, "bench"), "run");
}

double row_tok_s(const cJSON *row)
{
    const cJSON *value = json_find(row, "decode_tok_s");
    return cJSON_IsNumber(value) ? value->valuedouble : 0.0;
}

bool row_is_baseline(const cJSON *row)
{
    return row_is_run(row) && !strcmp(row_string(row, "strategy"), "ar") &&
           !strcmp(row_string(row, "kv_policy"), "full") && row_tok_s(row) > 0.0;
}

/* A model is its content, under whatever name; a row that does not know it has the name alone. */
size_t condition_keys(const cJSON *row, const char *const **keys)
{
    static const char *const all[] = {"model",         "version",      "commit",         "build",       "device",
                                      "device_id",     "driver",       "driver_version", "cpu_threads", "model_hash",
                                      "weight_type",   "matrix_units", "kv_type",        "num_steps",   "batch",
                                      "prompt_tokens", "new_tokens",   "prompts",        "prompt_set",  "stop_at_eos",
                                      "temperature",   "seed"};
    const size_t by_content = *row_string(row, "model_hash") != '\0';
    *keys = all + by_content;
    return sizeof all / sizeof *all - by_content;
}

char *row_conditions(const cJSON *row)
{
    const char *const *keys;
    const size_t n = condition_keys(row, &keys);
    return row_values(row, keys, n);
}

/* ---- the rows of ar ---- */

static int by_conditions(const void *a, const void *b)
{
    return strcmp(((const struct baseline *)a)->conditions, ((const struct baseline *)b)->conditions);
}

static int by_place(const void *a, const void *b)
{
    const struct baseline *x = a, *y = b;
    const int order = by_conditions(a, b);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

enum mn_status baselines_init(struct baselines *b, const struct rows *rows, const struct mn_log *log)
{
    size_t n_kept = 0;
    *b = (struct baselines){.items = calloc(rows->n + 1, sizeof *b->items)};
    bool good = b->items != NULL;
    for (size_t i = 0; i < rows->n && good; i++) {
        if (!row_is_baseline(rows->items[i]))
            continue;
        b->items[b->n] = (struct baseline){row_conditions(rows->items[i]), rows->items[i], i};
        good = b->items[b->n].conditions != NULL;
        b->n += good;
    }
    if (!good) {
        baselines_free(b);
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu rows", rows->n);
    }
    qsort(b->items, b->n, sizeof *b->items, by_place);
    for (size_t i = 0; i < b->n; i++) {
        if (n_kept && !by_conditions(&b->items[n_kept - 1], &b->items[i]))
            free(b->items[i].conditions);
        else
            b->items[n_kept++] = b->items[i];
    }
    b->n = n_kept;
    return MN_OK;
}

const cJSON *baselines_find(const struct baselines *b, const char *conditions)
{
    const struct baseline wanted = {(char *)conditions, NULL, 0};
    const struct baseline *found = b->n ? bsearch(&wanted, b->items, b->n, sizeof *b->items, by_conditions) : NULL;
    return found ? found->row : NULL;
}

void baselines_free(struct baselines *b)
{
    for (size_t i = 0; i < b->n; i++)
        free(b->items[i].conditions);
    free(b->items);
    *b = (struct baselines){0};
}

/* ---- speedup ---- */

static bool set_speedup(cJSON *row, double speedup)
{
    cJSON *value = speedup > 0.0 ? cJSON_CreateNumber(speedup) : cJSON_CreateNull();
    cJSON_DeleteItemFromObjectCaseSensitive(row, "speedup");
    if (value && cJSON_AddItemToObject(row, "speedup", value))
        return true;
    cJSON_Delete(value);
    return false;
}

enum mn_status rows_add_speedup(struct rows *rows, const struct mn_log *log)
{
    struct baselines baselines;
    enum mn_status status = baselines_init(&baselines, rows, log);
    bool good = true;
    for (size_t i = 0; i < rows->n && good && !status; i++) {
        if (!row_is_run(rows->items[i]))
            continue;
        char *conditions = row_conditions(rows->items[i]);
        const cJSON *ar = conditions ? baselines_find(&baselines, conditions) : NULL;
        good = conditions && set_speedup(rows->items[i], ar ? row_tok_s(rows->items[i]) / row_tok_s(ar) : 0.0);
        free(conditions);
    }
    baselines_free(&baselines);
    return status || good ? status : log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu rows", rows->n);
}
