/* Rows of the comparison: their names, what is known of them already, what they say. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sweep/measure.h"
#include "cli/common/output.h"
#include "cli/divergence/divergence.h"
#include "engine/base/system.h"

#define KIND "quantisation"

/* The candidates' weights differ from the reference's in type alone, so that a name is known before they are loaded. */
static void name_weights(struct divergence_run *run)
{
    for (int i = 0; i < IDENTITY_TEXTS; i++)
        if (!strcmp(run->identity.texts[i].name, "weight_type"))
            run->identity.texts[i].value = run->weight_type;
}

char *divergence_key(struct divergence_run *run, uint32_t num_steps)
{
    char *key = NULL;
    size_t n;
    FILE *out = memory_open(&key, &n);
    if (!out)
        return NULL;
    name_weights(run);
    fputs(KIND "|", out);
    identity_write_key(&run->identity, out);
    fprintf(out, "%s|%s|%s|%s|R%" PRIu32, run->kv_type, run->reference_weight_type, run->options->reference_kv_type,
            run->text_set, num_steps);
    char *valid = memory_close(out, &key, &n) ? json_name(key) : NULL; /* as its reader has it: found again */
    free(key);
    return valid;
}

/* *row is NULL when there is none, and on failure. */
static enum mn_status find_row(struct divergence_run *run, uint32_t num_steps, const cJSON **row)
{
    char *key = divergence_key(run, num_steps);
    *row = NULL;
    if (!key)
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for a key");
    *row = rows_find(&run->rows, key);
    free(key);
    return MN_OK;
}

enum mn_status divergence_is_known(struct divergence_run *run, bool *known)
{
    enum mn_status status = MN_OK;
    *known = true;
    for (uint32_t i = 0; i < run->num_steps.n && !status && *known; i++) {
        const cJSON *row;
        status = find_row(run, run->num_steps.values[i], &row);
        *known = !status && row;
    }
    return status;
}

static void add_mean(struct row_builder *b, const struct divergence_mean *mean, const char *const keys[3])
{
    row_number(b, keys[0], mean->value);
    if (mean->bounded) {
        row_number(b, keys[1], mean->low);
        row_number(b, keys[2], mean->high);
    }
}

static enum mn_status make_row(struct divergence_run *run, uint32_t num_steps, const struct divergence *d, cJSON **row)
{
    static const char *const kl[] = {"kl_mean", "kl_low", "kl_high"}, *const top1[] = {"top1_agreement", "top1_low",
                                                                                       "top1_high"};
    struct mn_model_info info;
    struct row_builder b;
    mn_engine_info(run->engine, &info);
    char *key = divergence_key(run, num_steps);
    row_begin_at(&b, key, KIND, &run->identity, &info, run->kv_type);
    row_text(&b, "reference_weight_type", run->reference_weight_type);
    row_text(&b, "reference_kv_type", run->options->reference_kv_type);
    row_text(&b, "text_set", run->text_set);
    row_number(&b, "texts", d->n_texts);
    row_number(&b, "positions", d->n_positions);
    row_number(&b, "num_steps", num_steps);
    add_mean(&b, &d->kl, kl);
    row_number(&b, "kl_p99", d->kl_p99);
    row_number(&b, "kl_max", d->kl_max);
    add_mean(&b, &d->agreement, top1);
    row_number(&b, "logit_error_max", d->logit_error_max);
    row_number(&b, "nll_mean", d->nll);
    row_number(&b, "reference_nll_mean", d->reference_nll);
    return row_end(&b, row, run->log);
}

enum mn_status divergence_put(struct divergence_run *run, uint32_t depth)
{
    const uint32_t num_steps = run->num_steps.values[depth];
    const cJSON *known;
    struct divergence d;
    cJSON *row = NULL;
    enum mn_status status = find_row(run, num_steps, &known);
    if (status || known)
        return status;
    status = divergence_sum(&d, run->points + (size_t)depth * run->n_positions, run->ends, run->n_items, run->log);
    if (!status)
        status = make_row(run, num_steps, &d, &row);
    if (!status && run->options->results)
        status = rows_append(&run->file, row, run->log);
    if (status) {
        cJSON_Delete(row);
        return status;
    }
    return rows_add(&run->rows, row, run->log);
}

enum mn_status divergence_print(struct divergence_run *run)
{
    const size_t most = (size_t)run->weight_types.n * run->kv_types.n * run->num_steps.n;
    struct rows shown = {.items = calloc(most, sizeof(cJSON *))}; /* borrowed rows */
    enum mn_status status = shown.items ? MN_OK : log_fail(run->log, MN_ERR_MEMORY, "out of host memory for rows");
    for (uint32_t w = 0; w < run->weight_types.n; w++)
        for (uint32_t k = 0; k < run->kv_types.n; k++)
            for (uint32_t i = 0; i < run->num_steps.n && !status; i++) {
                const cJSON *row;
                run->weight_type = run->weight_types.words[w];
                run->kv_type = run->kv_types.words[k];
                status = find_row(run, run->num_steps.values[i], &row);
                if (!status && row)
                    shown.items[shown.n++] = (cJSON *)row;
            }
    if (!status)
        status = rows_write(&shown, run->options->output, false, stdout, run->log);
    free(shown.items);
    return status ? status : cli_flush(run->log);
}
