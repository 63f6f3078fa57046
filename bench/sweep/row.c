/* A result row under construction: its name, and what every row begins with. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/sweep/measure.h"
#include "engine/base/decimal.h"
#include "engine/base/system.h"
#include "engine/files/json.h"

/* ---- names ---- */

char *row_key_of(const struct bench_model *model, const char *kind, const char *rest)
{
    char *key = NULL;
    size_t n;
    FILE *out = memory_open(&key, &n);
    if (!out)
        return NULL;
    fprintf(out, "%s|", kind);
    identity_write_key(&model->identity, out);
    fputs(rest, out);
    char *valid = memory_close(out, &key, &n) ? json_name(key) : NULL; /* as its reader has it: found again */
    free(key);
    return valid;
}

char *row_key(const struct bench_model *model, const struct bench_setting *s, const struct bench_common *common)
{
    char *rest = NULL, *key = NULL;
    size_t n;
    FILE *out = memory_open(&rest, &n);
    if (!out)
        return NULL;
    fprintf(out,
            "%s|%s|%s|R%" PRIu32 " K%" PRIu32 " L%" PRIu32 " W%" PRIu32 " b%" PRIu32 "|%s p%" PRIu32 " n%" PRIu32
            " e%d|t%.9g s%" PRIu64,
            s->kv_policy, s->kv_type, s->strategy, s->num_steps, s->draft_steps, s->lookahead, s->max_inflight,
            s->batch, model->prompt_set, s->prompt_tokens, s->n_new, common->stop_at_eos, (double)common->temperature,
            common->seed);
    if (s->lookup) /* keys of older rows stay as they are */
        fprintf(out, "|l%" PRIu32, s->lookup);
    if (s->branches)
        fprintf(out, "|b%" PRIu32, s->branches);
    const struct acceptance *a = common->acceptance;
    for (uint32_t i = 0; a && i < a->n_flat; i++)
        fprintf(out, "%s%.9g", i ? "," : "|a", (double)a->flat[i]);
    if (a && a->n_at)
        fprintf(out, "|a%s", a->given);
    if (memory_close(out, &rest, &n))
        key = row_key_of(model, "run", rest);
    free(rest);
    return key;
}

/* ---- making one ---- */

static void add(struct row_builder *b, const char *key, cJSON *value)
{
    if (!value || !cJSON_AddItemToObject(b->row, key, value)) {
        cJSON_Delete(value);
        b->failed = true;
    }
}

void row_text(struct row_builder *b, const char *key, const char *value)
{
    char *valid = json_name(value);
    add(b, key, valid ? cJSON_CreateString(valid) : NULL);
    free(valid);
}

void row_number(struct row_builder *b, const char *key, double value)
{
    add(b, key, cJSON_CreateNumber(isfinite(value) ? value : 0.0));
}

void row_float(struct row_builder *b, const char *key, float value)
{
    row_number(b, key, isfinite(value) ? decimal_of_float(value) : 0.0);
}

void row_bool(struct row_builder *b, const char *key, bool value)
{
    add(b, key, cJSON_CreateBool(value));
}

void row_numbers(struct row_builder *b, const char *key, const double *values, uint32_t n)
{
    add(b, key, n ? cJSON_CreateDoubleArray(values, (int)n) : cJSON_CreateArray());
}

void row_begin_at(struct row_builder *b, char *key, const char *kind, const struct identity *identity,
                  const struct mn_model_info *info, const char *kv_type)
{
    char time_text[32];
    const time_t now = time(NULL);
    const struct tm utc = system_utc(now);
    strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    *b = (struct row_builder){.row = cJSON_CreateObject(), .failed = !key};
    row_text(b, "key", key ? key : "");
    free(key);
    row_text(b, "bench", kind);
    row_text(b, "time", time_text);
    for (int i = 0; i < IDENTITY_TEXTS; i++)
        row_text(b, identity->texts[i].name, identity->texts[i].value);
    row_text(b, "banner", info->device_banner);
    row_number(b, "n_parameters", (double)info->n_parameters);
    row_number(b, "weight_bytes", (double)info->weight_bytes);
    row_text(b, "kv_type", kv_type);
}

void row_begin(struct row_builder *b, char *key, const char *kind, const struct bench_model *model, const char *kv_type)
{
    row_begin_at(b, key, kind, &model->identity, &model->info, kv_type);
    row_number(b, "ceiling_gb_s", model->ceiling.gb_s);
    row_number(b, "ceiling_spread", model->ceiling.spread);
    row_text(b, "ceiling_time", model->ceiling.time);
}

void row_share(struct row_builder *b, const struct bench_model *model, double gb_s, const char *what, double bytes)
{
    const double percent = model->ceiling.gb_s > 0.0 ? 100.0 * gb_s / model->ceiling.gb_s : 0.0;
    char cause[CEILING_CAUSE_BYTES];
    row_number(b, "ceiling_percent", percent);
    if (percent <= 100.0)
        return;
    ceiling_cause(cause, &model->ceiling, percent, what, bytes, !strcmp(model->info.device_type, "cpu"),
                  model->sensor_root);
    row_text(b, "ceiling_cause", cause);
}

enum mn_status row_end(struct row_builder *b, cJSON **row, const struct mn_log *log)
{
    if (b->failed) {
        cJSON_Delete(b->row);
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a row");
    }
    *row = b->row;
    return MN_OK;
}
