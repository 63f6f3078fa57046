#include <stdlib.h>
#include <string.h>

#include "engine/files/json.h"
#include "engine/files/safetensors_internal.h"

enum { SHARD_NAME_BYTES_MAX = 255 };

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A side file may only be a neighbour: no folder, no parent, no hidden file. */
static bool is_base_name(const char *name)
{
    return name[0] != 0 && name[0] != '.' && !strpbrk(name, "/\\") && !strstr(name, "..");
}

/* Checks the weight_map and lists the distinct shard names, ascending, as pointers into `doc`. The caller frees
 * *names. */
static enum mn_status list_shards(const struct json_doc *doc, const struct safetensors_limits *limits,
                                  const struct cJSON **map, const char ***names, uint32_t *n_names)
{
    const struct cJSON *entry;
    size_t n = 0, n_distinct = 0;
    enum mn_status status;
    *names = NULL;
    if (!cJSON_IsObject(doc->root))
        return json_refuse(doc, MN_ERR_FORMAT, "", doc->root, "an index must be an object");
    if ((status = json_get_object(doc, doc->root, "weight_map", map)) != MN_OK)
        return status;
    cJSON_ArrayForEach (entry, *map)
        n++;
    if (n == 0 || n > limits->n_tensors_max)
        return log_fail(doc->log, MN_ERR_FORMAT, "%s: key 'weight_map': %zu tensors, must be 1 to %u", doc->file, n,
                        (unsigned)limits->n_tensors_max);

    const char **all = malloc(n * sizeof *all);
    if (!all)
        return log_fail(doc->log, MN_ERR_MEMORY, "%s: no memory for %zu tensors", doc->file, n);
    n = 0;
    cJSON_ArrayForEach (entry, *map) {
        status = json_as_string(doc, entry->string, entry, SHARD_NAME_BYTES_MAX, &all[n++]);
        if (status == MN_OK && !is_base_name(entry->valuestring))
            status = json_refuse(doc, MN_ERR_FORMAT, entry->string, entry, "must be a plain file name");
        if (status != MN_OK)
            goto fail;
    }
    qsort(all, n, sizeof *all, compare_strings);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(all[i], all[n_distinct - 1]) != 0)
            all[n_distinct++] = all[i];
    if (n_distinct > limits->n_shards_max) {
        status = log_fail(doc->log, MN_ERR_FORMAT, "%s: key 'weight_map': %zu shards, the limit is %u", doc->file,
                          n_distinct, (unsigned)limits->n_shards_max);
        goto fail;
    }
    *names = all;
    *n_names = (uint32_t)n_distinct;
    return MN_OK;

fail:
    free(all);
    return status;
}

enum mn_status safetensors_parse_index(const char *file, const void *bytes, size_t n_bytes,
                                       const struct safetensors_limits *limits, const struct mn_log *log)
{
    struct safetensors_limits l = safetensors_effective_limits(limits);
    const struct cJSON *map;
    const char **names = NULL;
    uint32_t n_names;
    struct json_doc doc = {0};
    enum mn_status status = json_parse(&doc, file, bytes, n_bytes, (size_t)l.header_bytes_max, log);
    if (status == MN_OK)
        status = list_shards(&doc, &l, &map, &names, &n_names);
    free(names);
    json_destroy(&doc);
    return status;
}

/* Every tensor of the index is where the index says. `names` is ascending, and so st->shards are in this order. */
static enum mn_status check_map(const struct safetensors *st, const struct json_doc *doc, const struct cJSON *map,
                                const char *const *names)
{
    const struct cJSON *entry;
    cJSON_ArrayForEach (entry, map) {
        const struct tensor_view *view = safetensors_find(st, entry->string);
        if (!view || strcmp(names[view->shard], entry->valuestring) != 0)
            return json_refuse(doc, MN_ERR_FORMAT, entry->string, entry, "this shard does not hold the tensor");
    }
    return MN_OK;
}

enum mn_status safetensors_open_index(struct safetensors **out, const char *dir, const char *index_path,
                                      const struct safetensors_limits *limits, const struct mn_log *log)
{
    const struct cJSON *map = NULL;
    const char **names = NULL;
    uint32_t n_names = 0;
    struct safetensors *st = NULL;
    struct json_doc doc = {0};
    enum mn_status status = json_read_file(&doc, index_path, (size_t)limits->header_bytes_max, log);
    if (status != MN_OK || (status = list_shards(&doc, limits, &map, &names, &n_names)) != MN_OK ||
        (status = safetensors_create(&st, index_path, dir, names, n_names, limits, log)) != MN_OK)
        goto fail;
    for (uint32_t i = 0; i < n_names; i++)
        if ((status = safetensors_open_shard(st, i, log)) != MN_OK)
            goto fail;
    if ((status = safetensors_build_names(st, log)) != MN_OK || (status = check_map(st, &doc, map, names)) != MN_OK)
        goto fail;
    *out = st;
    st = NULL;

fail:
    safetensors_close(st);
    free(names);
    json_destroy(&doc);
    return status;
}
