/* Rows of `muninn score`: one per line and depth, on standard output or in a results file that a later run goes on
 * from. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/output.h"
#include "cli/score/score.h"
#include "engine/base/system.h"
#include "engine/base/text.h"
#include "engine/files/json.h"

enum { KEY_BYTES = 80 };
#define SYNC_SECONDS 1.0

/* ---- keys ---- */

static void fold_text(uint64_t *hash, const char *text)
{
    *hash = hash_bytes(*hash, text, strlen(text) + 1);
}

/* Everything but the line itself that its numbers depend on. */
static uint64_t fold_settings(const struct score_run *run)
{
    const struct score_options *o = run->options;
    const uint32_t numbers[] = {o->no_bos, o->truncate, run->n_ctx, o->n_new};
    uint64_t hash = identity_hash(&run->identity);
    const char *const texts[] = {o->kv_policy, o->kv_type, o->delimiter};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        fold_text(&hash, texts[i]);
    for (uint32_t i = 0; i < o->stops.n; i++)
        fold_text(&hash, o->stops.items[i]);
    return hash_bytes(hash, numbers, sizeof numbers);
}

static void write_key(const struct score_run *run, const struct score_line *line, uint32_t step, char *key)
{
    snprintf(key, KEY_BYTES, "score-%016" PRIx64 "-%zu-%016" PRIx64 "-R%" PRIu32, run->settings, line->number,
             line->hash, run->num_steps.values[step]);
}

/* ---- resuming ---- */

static const char *key_of(const cJSON *row)
{
    return json_find(row, "key")->valuestring;
}

static int compare_rows(const void *a, const void *b)
{
    return strcmp(key_of(*(const cJSON *const *)a), key_of(*(const cJSON *const *)b));
}

static int compare_key(const void *key, const void *row)
{
    return strcmp(key, key_of(*(const cJSON *const *)row));
}

static enum mn_status take_outcome(const struct score_run *run, struct score_line *line, struct score_outcome *outcome,
                                   cJSON *row)
{
    static const char *const flags[] = {"is_greedy", "acc", "exact_match"};
    const struct json_doc doc = {.root = row, .file = (char *)run->options->results, .log = run->log};
    uint32_t hit = 0, hit_norm = 0;
    bool greedy = false;
    enum mn_status status = MN_OK;
    if (line->kind == SCORE_LIKELIHOOD)
        status = json_get_bool(&doc, row, flags[SCORE_LIKELIHOOD], &greedy);
    else
        status = json_get_u32(&doc, row, flags[line->kind], 0, 1, &hit);
    if (!status && line->kind == SCORE_LIKELIHOOD)
        status = json_get_double(&doc, row, "logprob", -1e300, 1e300, &outcome->logprob);
    if (!status && line->kind == SCORE_CHOICE)
        status = json_get_u32(&doc, row, "acc_norm", 0, 1, &hit_norm);
    outcome->known = !status;
    outcome->hit = line->kind == SCORE_LIKELIHOOD ? greedy : hit != 0;
    outcome->hit_norm = hit_norm != 0;
    return status;
}

static enum mn_status take_rows(struct score_run *run, const struct rows *rows)
{
    char key[KEY_BYTES];
    enum mn_status status = MN_OK;
    if (rows->n == 0)
        return MN_OK;
    qsort(rows->items, rows->n, sizeof(cJSON *), compare_rows);
    for (size_t i = 0; i < run->n_lines && !status; i++)
        for (uint32_t step = 0; step < run->num_steps.n && !status; step++) {
            write_key(run, &run->lines[i], step, key);
            cJSON *const *row = bsearch(key, rows->items, rows->n, sizeof(cJSON *), compare_key);
            if (row)
                status = take_outcome(run, &run->lines[i], &run->lines[i].outcomes[step], *row);
        }
    return status;
}

enum mn_status score_open_results(struct score_run *run, const char *dir)
{
    struct rows rows = {0};
    if (!run->options->results)
        return MN_OK;
    enum mn_status status = identity_init(&run->identity, &run->info, dir, NULL, NULL, run->log);
    if (status)
        return status;
    run->settings = fold_settings(run);
    status = rows_open(&run->file, run->options->results, run->options->resume ? &rows : NULL, run->log);
    if (!status)
        status = take_rows(run, &rows);
    rows_free(&rows);
    return status;
}

bool score_is_known(const struct score_run *run, const struct score_line *line)
{
    for (uint32_t i = 0; i < run->num_steps.n; i++)
        if (!line->outcomes[i].known)
            return false;
    return true;
}

/* ---- writing ---- */

/* A file outlives the run: its rows say what they were measured with. */
static bool add_run(const struct score_run *run, cJSON *row)
{
    cJSON *object = cJSON_AddObjectToObject(row, "run");
    bool good = object != NULL;
    for (int i = 0; i < IDENTITY_TEXTS && good; i++) {
        const struct identity_text *text = &run->identity.texts[i];
        char *valid = json_name(text->value);
        good = valid && (!*valid || cJSON_AddStringToObject(object, text->name, valid));
        free(valid);
    }
    good = good && cJSON_AddStringToObject(object, "kv_policy", run->options->kv_policy);
    return good && cJSON_AddStringToObject(object, "kv_type", run->options->kv_type);
}

/* The row up to where the kinds part ways. NULL without memory. */
static cJSON *begin_row(const struct score_run *run, const struct score_line *line, uint32_t step)
{
    char key[KEY_BYTES];
    const cJSON *member;
    cJSON *row = cJSON_CreateObject();
    if (run->options->results) {
        write_key(run, line, step, key);
        cJSON_AddStringToObject(row, "key", key);
    }
    cJSON_AddNumberToObject(row, "line", (double)line->number);
    cJSON_AddNumberToObject(row, "num_steps", run->num_steps.values[step]);
    cJSON_ArrayForEach (member, line->kept) {
        cJSON *copy = cJSON_Duplicate(member, true);
        if (!copy || !cJSON_AddItemToObject(row, member->string, copy)) {
            cJSON_Delete(row);
            return NULL;
        }
    }
    if (score_is_lossy(run))
        cJSON_AddStringToObject(row, "lossy_because", SCORE_LOSSY);
    if (line->n_truncated)
        cJSON_AddNumberToObject(row, "truncated", line->n_truncated);
    if (run->options->results && !add_run(run, row)) {
        cJSON_Delete(row);
        return NULL;
    }
    return row;
}

static cJSON *add_ids(cJSON *row, const uint32_t *ids, uint32_t n)
{
    cJSON *array = cJSON_AddArrayToObject(row, "tokens");
    for (uint32_t i = 0; i < n && array; i++)
        cJSON_AddItemToArray(array, cJSON_CreateNumber(ids[i]));
    return array;
}

/* Takes the row. `last` was the last thing added to it: NULL when memory ran out. */
static enum mn_status put(struct score_run *run, cJSON *row, const cJSON *last)
{
    enum mn_status status = MN_OK;
    char *text = NULL;
    if (!last) {
        status = log_fail(run->log, MN_ERR_MEMORY, "out of host memory for a row");
    } else if (run->options->results) {
        status = rows_append(&run->file, row, run->log);
        /* A killed process loses nothing that was written; only a machine that stops loses what was not synced. */
        if (!status && clock_s() - run->synced > SYNC_SECONDS) {
            status = output_sync(&run->file, run->log);
            run->synced = clock_s();
        }
    } else if (!strcmp(run->options->output, "md")) {
        ; /* the table alone */
    } else if (!(text = json_print(row))) {
        status = log_fail(run->log, MN_ERR_MEMORY, "out of host memory for a row");
    } else {
        text_puts(stdout, text);
        putchar('\n');
        status = cli_flush(run->log);
    }
    free(text);
    cJSON_Delete(row);
    return status;
}

static uint32_t largest(const double *values, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (values[i] > values[best])
            best = i;
    return best;
}

static cJSON *add_choices(cJSON *row, const struct score_line *line, const struct mn_likelihood *likelihoods,
                          uint32_t stride, struct score_outcome *outcome, double *values)
{
    cJSON *array = cJSON_AddArrayToObject(row, "logprobs");
    for (uint32_t i = 0; i < line->n_items; i++) {
        values[i] = likelihoods[(size_t)i * stride].logprob;
        if (array)
            cJSON_AddItemToArray(array, cJSON_CreateNumber(values[i]));
    }
    const uint32_t pred = largest(values, line->n_items);
    for (uint32_t i = 0; i < line->n_items; i++)
        values[i] /= line->choice_bytes[i];
    const uint32_t pred_norm = largest(values, line->n_items);
    outcome->hit = pred == line->gold;
    outcome->hit_norm = pred_norm == line->gold;
    cJSON_AddNumberToObject(row, "gold", line->gold);
    cJSON_AddNumberToObject(row, "pred", pred);
    cJSON_AddNumberToObject(row, "pred_norm", pred_norm);
    cJSON_AddNumberToObject(row, "acc", outcome->hit);
    return array ? cJSON_AddNumberToObject(row, "acc_norm", outcome->hit_norm) : NULL;
}

static cJSON *add_likelihood(cJSON *row, const struct score_line *line, const struct mn_likelihood *likelihood,
                             struct score_outcome *outcome)
{
    const struct mn_score_item *item = &line->items[0];
    outcome->hit = likelihood->is_greedy;
    outcome->logprob = likelihood->logprob;
    cJSON_AddNumberToObject(row, "logprob", likelihood->logprob);
    cJSON_AddBoolToObject(row, "is_greedy", likelihood->is_greedy);
    return add_ids(row, item->ids + item->n_context, item->n_ids - item->n_context);
}

enum mn_status score_put_likelihoods(struct score_run *run, struct score_line *line,
                                     const struct mn_likelihood *likelihoods)
{
    double *values = malloc(line->n_items * sizeof *values);
    enum mn_status status = values ? MN_OK
                                   : log_fail(run->log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " choices",
                                              line->n_items);
    for (uint32_t step = 0; step < run->num_steps.n && !status; step++) {
        struct score_outcome *outcome = &line->outcomes[step];
        if (outcome->known)
            continue;
        cJSON *row = begin_row(run, line, step);
        const cJSON *last = line->kind == SCORE_CHOICE
                                ? add_choices(row, line, likelihoods + step, run->num_steps.n, outcome, values)
                                : add_likelihood(row, line, likelihoods + step, outcome);
        status = put(run, row, last);
        outcome->known = !status;
    }
    free(values);
    run->n_done++;
    return status;
}

enum mn_status score_put_text(struct score_run *run, struct score_line *line, uint32_t step,
                              const struct score_text *text)
{
    struct score_outcome *outcome = &line->outcomes[step];
    char *json = NULL;
    size_t n;
    FILE *out = memory_open(&json, &n); /* a text may hold zero bytes, which cJSON's strings cannot */
    if (out)
        json_write_string(out, text->text, text->n_bytes);
    if (!out || !memory_close(out, &json, &n)) {
        free(json);
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for a text");
    }
    const char *got = text->text, *wanted = line->answer;
    const size_t n_got = score_strip(&got, text->n_bytes), n_wanted = score_strip(&wanted, strlen(wanted));
    outcome->hit = n_got == n_wanted && !memcmp(got, wanted, n_got);
    cJSON *row = begin_row(run, line, step);
    cJSON_AddRawToObject(row, "text", json);
    cJSON_AddNumberToObject(row, "exact_match", outcome->hit);
    cJSON_AddStringToObject(row, "finish_reason", text->finish_reason);
    const cJSON *last = add_ids(row, text->tokens, text->n_tokens);
    free(json);
    enum mn_status status = put(run, row, last);
    outcome->known = !status;
    return status;
}
