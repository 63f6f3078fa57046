#include "engine/model/weight_check.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/numbers.h"

enum { VALUE_BYTES_MAX = 4 };

/* ---- what is left over ---- */

/* Tables that published code keeps beside the weights and that follow from the configuration. */
static bool is_buffer(const char *name)
{
    static const char *const endings[] = {"freqs_cis", "inv_freq"};
    const size_t n = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t m = strlen(endings[i]);
        if (n >= m && !strcmp(name + n - m, endings[i]))
            return true;
    }
    return false;
}

/* The part of a name that begins at `at`, up to its dot. */
static size_t part_bytes(const char *at)
{
    return strcspn(at, ".");
}

static bool is_number(const char *part, size_t n)
{
    size_t digits = 0;
    while (digits < n && isdigit((unsigned char)part[digits]))
        digits++;
    return n > 0 && digits == n;
}

/* Calls `visit` with a hash for each group that a name is of: every numbered thing it lies in, whatever the number
 * ("model.layers.7"), and what it is a part of ("model.norm" for "model.norm.weight"). True as soon as one is. */
static bool any_group(const char *name, bool (*visit)(void *user, uint64_t group), void *user)
{
    uint64_t hash = HASH_START;
    for (const char *at = name;;) {
        const size_t n = part_bytes(at);
        const bool number = is_number(at, n);
        if (at[n] == '\0')
            return at > name && visit(user, hash_bytes(hash, "w", 1));
        hash = hash_bytes(hash, number ? "#" : at, number ? 1 : n);
        if (number && visit(user, hash))
            return true;
        hash = hash_bytes(hash, ".", 1);
        at += n + 1;
    }
}

struct groups {
    uint64_t *hashes; /* ascending once sorted */
    size_t n;
};

static bool add_group(void *user, uint64_t group)
{
    struct groups *g = user;
    if (g->hashes)
        g->hashes[g->n] = group;
    g->n++;
    return false;
}

static int compare_groups(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool has_group(void *user, uint64_t group)
{
    const struct groups *g = user;
    return bsearch(&group, g->hashes, g->n, sizeof group, compare_groups) != NULL;
}

/* The groups of all tensors that the plan uses. */
static enum mn_status list_groups(struct groups *g, const struct weight_plan *plan)
{
    const uint32_t n_tensors = safetensors_n_tensors(plan->file);
    for (int pass = 0; pass < 2; pass++) { /* to count them, and to keep them */
        g->n = 0;
        for (uint32_t i = 0; i < n_tensors; i++)
            if (plan->used[i])
                any_group(safetensors_tensor(plan->file, i)->name, add_group, g);
        if (!g->hashes && !(g->hashes = malloc((g->n + 1) * sizeof *g->hashes)))
            return log_fail(plan->log, MN_ERR_MEMORY, "%s: out of host memory for %u tensors", plan->dir,
                            (unsigned)n_tensors);
    }
    qsort(g->hashes, g->n, sizeof *g->hashes, compare_groups);
    return MN_OK;
}

enum mn_status weight_check_rest(const struct weight_plan *plan)
{
    struct groups groups = {0};
    const char *first = NULL, *foreign = NULL;
    unsigned n = 0, n_foreign = 0;
    enum mn_status status = list_groups(&groups, plan);
    for (uint32_t i = 0; i < safetensors_n_tensors(plan->file) && !status; i++) {
        const char *name = safetensors_tensor(plan->file, i)->name;
        if (plan->used[i] || is_buffer(name))
            continue;
        const bool of_model = any_group(name, has_group, &groups);
        n_foreign += of_model;
        foreign = foreign || !of_model ? foreign : name;
        first = n++ ? first : name;
    }
    free(groups.hashes);
    if (!status && foreign)
        status = log_fail(plan->log, MN_ERR_FORMAT,
                          "%s: %u tensors have no place in the model that config.json describes, the first is '%s'",
                          plan->dir, n_foreign, foreign);
    if (!status && n)
        log_note(plan->log, MN_LOG_WARN, "%s: %u tensors are not used, the first is '%s'", plan->dir, n, first);
    return status;
}

/* ---- what is there twice ---- */

struct row_reader {
    const struct weight_plan *plan;
    struct stored_matrix stored[2];
    uint32_t columns;
    uint8_t *bytes; /* [2, columns, VALUE_BYTES_MAX] values and scales of a row */
    float *values;  /* [2, columns] */
};

static enum mn_status read_row(const struct row_reader *r, int which, uint64_t row)
{
    const struct stored_matrix *s = &r->stored[which];
    const uint64_t value_bytes = stored_value_bytes(s, r->columns), scale_bytes = stored_scale_bytes(s, r->columns);
    uint8_t *scales = r->bytes + (size_t)r->columns * VALUE_BYTES_MAX;
    enum mn_status status = safetensors_read(r->plan->file, s->values, row * value_bytes, value_bytes, r->bytes,
                                             r->plan->log);
    if (!status && s->scales)
        status = safetensors_read(r->plan->file, s->scales, row * scale_bytes, scale_bytes, scales, r->plan->log);
    return status ? status
                  : stored_decode(r->plan, s, r->bytes, scales, r->columns, r->values + (size_t)which * r->columns);
}

/* The rows of the vocabulary that are used. */
static enum mn_status compare_rows(const struct row_reader *r, const char *name, const char *twin)
{
    enum mn_status status = MN_OK;
    for (uint64_t row = 0; row < r->plan->config->vocab_size && !status; row++) {
        status = read_row(r, 0, row);
        if (!status)
            status = read_row(r, 1, row);
        for (uint32_t k = 0; k < r->columns && !status; k++)
            if (r->values[k] != r->values[r->columns + k])
                status = log_fail(r->plan->log, MN_ERR_FORMAT,
                                  "%s: tensors '%s' and '%s' differ, but config.json says that they are tied",
                                  r->plan->dir, name, twin);
    }
    return status;
}

/* Columns of a matrix, 0 when it has too few rows or is none. */
static uint32_t tied_columns(const struct weight_plan *plan, const struct stored_matrix *stored)
{
    const struct weight_format *format = weight_format(stored->type);
    const struct tensor_view *values = stored->values;
    if (values->rank != 2 || values->shape[0] < plan->config->vocab_size || values->shape[1] > UINT32_MAX)
        return 0;
    return stored->scales ? (uint32_t)values->shape[1] / format->group_bytes * format->group
                          : (uint32_t)values->shape[1];
}

static enum mn_status compare_tensors(struct row_reader *r, const char *name, const char *twin)
{
    const struct weight_plan *plan = r->plan;
    r->columns = tied_columns(plan, &r->stored[1]);
    enum mn_status status = MN_OK;
    if (r->columns == 0 || r->columns != tied_columns(plan, &r->stored[0]))
        return log_fail(plan->log, MN_ERR_FORMAT,
                        "%s: tensors '%s' and '%s' have different shapes, but config.json says that they are tied",
                        plan->dir, name, twin);
    for (int i = 0; i < 2 && !status; i++)
        if (r->stored[i].scales)
            status = stored_check_shape(plan, &r->stored[i], i ? twin : name, 0, r->columns);
    if (status)
        return status;
    r->values = malloc((size_t)2 * r->columns * sizeof *r->values);
    r->bytes = malloc((size_t)2 * r->columns * VALUE_BYTES_MAX);
    status = r->values && r->bytes ? compare_rows(r, name, twin)
                                   : log_fail(plan->log, MN_ERR_MEMORY, "out of host memory for tensor '%s'", name);
    free(r->values);
    free(r->bytes);
    return status;
}

void plan_tied(struct weight_plan *plan, const char *name, const char *twin)
{
    struct row_reader r = {.plan = plan};
    if (plan->status || !plan->file || !stored_exists(plan, name))
        return;
    plan->status = stored_find(plan, name, &r.stored[0]);
    if (!plan->status)
        plan->status = stored_find(plan, twin, &r.stored[1]);
    if (!plan->status)
        plan->status = compare_tensors(&r, name, twin);
    if (!plan->status)
        plan->targets[r.stored[0].values - safetensors_tensor(plan->file, 0)].repeats = true;
}
