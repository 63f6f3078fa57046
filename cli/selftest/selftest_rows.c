#include "cli/selftest/selftest_rows.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sweep/measure.h"
#include "engine/base/system.h"

#define KIND "selftest"

/* ---- the file ---- */

enum mn_status selftest_rows_open(struct selftest_rows *r, const char *path)
{
    enum mn_status status = path ? rows_open(&r->file, path, NULL, r->log) : MN_OK;
    r->is_open = path && !status;
    return status;
}

enum mn_status selftest_rows_of_device(struct selftest_rows *r, const struct selftest_device *device)
{
    snprintf(r->banner, sizeof r->banner, "%s", device->banner);
    snprintf(r->name, sizeof r->name, "%s", device->name);
    snprintf(r->driver, sizeof r->driver, "%s", device->driver);
    snprintf(r->id, sizeof r->id, "%s", device->id);
    r->info = (struct mn_model_info){.device_banner = r->banner,
                                     .device_name = r->name,
                                     .driver = r->driver,
                                     .device_id = r->id,
                                     .driver_version = device->driver_version,
                                     .weight_type = ""};
    return identity_init(&r->identity, &r->info, NULL, NULL, NULL, r->log);
}

enum mn_status selftest_rows_of_model(struct selftest_rows *r, const struct mn_engine *engine, const char *dir,
                                      const char *synthetic)
{
    mn_engine_info(engine, &r->info);
    return identity_init(&r->identity, &r->info, dir, synthetic, NULL, r->log);
}

/* ---- rows ---- */

static char *make_key(const struct selftest_rows *r, const char *check, const char *what, uint32_t num_steps)
{
    char *key = NULL;
    size_t n;
    FILE *out = memory_open(&key, &n);
    if (!out)
        return NULL;
    fputs(KIND "|", out);
    identity_write_key(&r->identity, out);
    fprintf(out, "%s|%s|%s|R%" PRIu32 "%s", r->kv_type ? r->kv_type : "", check, what, num_steps,
            r->quick ? "|quick" : "");
    if (memory_close(out, &key, &n))
        return key;
    free(key);
    return NULL;
}

static void begin_row(const struct selftest_rows *r, struct row_builder *b, const char *check, const char *what,
                      uint32_t num_steps)
{
    row_begin_at(b, make_key(r, check, what, num_steps), KIND, &r->identity, &r->info, r->kv_type ? r->kv_type : "");
    row_text(b, "check", check);
    row_text(b, "what", what);
    row_bool(b, "quick", r->quick);
}

static enum mn_status end_row(struct selftest_rows *r, struct row_builder *b)
{
    cJSON *row;
    enum mn_status status = row_end(b, &row, r->log);
    if (status)
        return status;
    status = rows_append(&r->file, row, r->log);
    cJSON_Delete(row);
    return status;
}

/* A case with a limit of 0 is exact, or as far from it as can be. */
static double closeness(double nmse, double limit)
{
    return limit > 0.0 ? nmse / limit : nmse == 0.0 ? 0.0 : HUGE_VAL;
}

void selftest_rows_case(struct selftest_rows *r, const struct kernel_case_result *result, bool matrix_units)
{
    uint32_t i = 0;
    while (i < r->n_kernels &&
           (strcmp(r->kernels[i].name, result->kernel) != 0 || r->kernels[i].matrix_units != matrix_units))
        i++;
    if (!r->is_open || i == SELFTEST_KERNELS_MAX)
        return;
    struct selftest_kernel *k = &r->kernels[i];
    if (i == r->n_kernels) {
        r->n_kernels++;
        snprintf(k->name, sizeof k->name, "%s", result->kernel);
        k->matrix_units = matrix_units;
        k->nmse = result->nmse;
        k->limit = result->limit;
    }
    if (!result->ok && k->n_failed++ == 0)
        snprintf(k->detail, sizeof k->detail, "%s: %s", result->name, result->detail);
    k->n_cases++;
    if (closeness(result->nmse, result->limit) > closeness(k->nmse, k->limit)) {
        k->nmse = result->nmse;
        k->limit = result->limit;
    }
}

static enum mn_status put_kernel(struct selftest_rows *r, const struct selftest_kernel *k)
{
    struct row_builder b;
    r->info.matrix_units = k->matrix_units ? MN_MATRIX_FEW | MN_MATRIX_PROMPTS : 0;
    enum mn_status status = identity_init(&r->identity, &r->info, NULL, NULL, NULL, r->log);
    if (status)
        return status;
    begin_row(r, &b, "kernel", k->name, 0);
    row_number(&b, "cases", k->n_cases);
    row_number(&b, "failed", k->n_failed);
    row_number(&b, "nmse", k->nmse);
    row_number(&b, "limit", k->limit);
    row_text(&b, "detail", k->detail);
    return end_row(r, &b);
}

enum mn_status selftest_rows_promise(struct selftest_rows *r, const struct promise_result *result)
{
    struct row_builder b;
    if (!r->is_open)
        return MN_OK;
    begin_row(r, &b, result->promise, result->what, result->num_steps);
    row_number(&b, "num_steps", result->num_steps);
    row_number(&b, "cases", 1);
    row_number(&b, "failed", !result->holds);
    row_number(&b, "compared", (double)result->n_compared);
    row_number(&b, "differ", (double)result->n_differ);
    if (result->drafted) {
        row_number(&b, "drafted", (double)result->drafted);
        row_number(&b, "accepted", (double)result->accepted);
    }
    row_text(&b, "detail", result->detail);
    return end_row(r, &b);
}

enum mn_status selftest_rows_close(struct selftest_rows *r)
{
    enum mn_status status = MN_OK;
    if (!r->is_open)
        return MN_OK;
    for (uint32_t i = 0; i < r->n_kernels && !status; i++)
        status = put_kernel(r, &r->kernels[i]);
    r->is_open = false;
    if (status) {
        output_discard(&r->file); /* whole rows stay */
        return status;
    }
    return output_commit(&r->file, r->log);
}
