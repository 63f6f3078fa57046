#include "engine/model/weight_check.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/numbers.h"

enum { PIECE_VALUES = 1 << 16, VALUE_BYTES_MAX = 4 };

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

/* The rows of the vocabulary that are used. `values` [2, PIECE_VALUES], `bytes` [PIECE_VALUES, VALUE_BYTES_MAX] */
static enum mn_status compare_values(const struct weight_plan *plan, const struct tensor_view *const both[2],
                                     float *values, uint8_t *bytes)
{
    const struct mn_log *log = plan->log;
    const uint64_t n = plan->config->vocab_size * both[0]->shape[1];
    for (uint64_t at = 0, piece; at < n; at += piece) {
        piece = min_u64(n - at, PIECE_VALUES);
        for (int i = 0; i < 2; i++) {
            const uint64_t value_bytes = tensor_dtype_bytes(both[i]->dtype);
            enum mn_status status = safetensors_read(plan->file, both[i], at * value_bytes, piece * value_bytes, bytes,
                                                     log);
            if (!status)
                status = weight_plan_decode(plan, both[i], bytes, piece, values + i * PIECE_VALUES);
            if (status)
                return status;
        }
        for (uint64_t i = 0; i < piece; i++)
            if (values[i] != values[PIECE_VALUES + i])
                return log_fail(log, MN_ERR_FORMAT,
                                "%s: tensors '%s' and '%s' differ, but config.json says that they are tied", plan->dir,
                                both[0]->name, both[1]->name);
    }
    return MN_OK;
}

static enum mn_status compare_tensors(const struct weight_plan *plan, const struct tensor_view *const both[2])
{
    const uint64_t rows = plan->config->vocab_size;
    if (both[0]->rank != 2 || both[1]->rank != 2 || both[0]->shape[1] != both[1]->shape[1] ||
        both[0]->shape[0] < rows || both[1]->shape[0] < rows)
        return log_fail(plan->log, MN_ERR_FORMAT,
                        "%s: tensors '%s' and '%s' have different shapes, but config.json says that they are tied",
                        plan->dir, both[0]->name, both[1]->name);
    float *values = malloc(2 * PIECE_VALUES * sizeof *values);
    uint8_t *bytes = malloc((size_t)PIECE_VALUES * VALUE_BYTES_MAX);
    enum mn_status status = values && bytes ? compare_values(plan, both, values, bytes)
                                            : log_fail(plan->log, MN_ERR_MEMORY, "out of host memory for tensor '%s'",
                                                       both[0]->name);
    free(values);
    free(bytes);
    return status;
}

void plan_tied(struct weight_plan *plan, const char *name, const char *twin)
{
    const struct tensor_view *both[2];
    if (plan->status || !plan->file || !safetensors_find(plan->file, name))
        return;
    plan->status = weight_plan_find(plan, name, &both[0]);
    if (!plan->status)
        plan->status = weight_plan_find(plan, twin, &both[1]);
    if (!plan->status)
        plan->status = compare_tensors(plan, both);
}
