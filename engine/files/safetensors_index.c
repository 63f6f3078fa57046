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

static enum mn_status find_map(const struct cJSON **map, size_t *n_entries, const struct json_doc *doc,
                               const struct safetensors_limits *limits)
{
    const struct cJSON *entry;
    size_t n = 0;
    if (!cJSON_IsObject(doc->root))
        return json_refuse(doc, MN_ERR_FORMAT, "", doc->root, "an index must be an object");
    enum mn_status status = json_get_object(doc, doc->root, "weight_map", map);
    if (status)
        return status;
    cJSON_ArrayForEach (entry, *map)
        n++;
    if (n == 0 || n > limits->n_tensors_max)
        return log_fail(doc->log, MN_ERR_FORMAT, "%s: key 'weight_map': %zu tensors, must be 1 to %u", doc->file, n,
                        (unsigned)limits->n_tensors_max);
    *n_entries = n;
    return MN_OK;
}

/* The shard names of all entries, as pointers into `doc`. */
static enum mn_status read_names(const char **names, const struct json_doc *doc, const struct cJSON *map)
{
    const struct cJSON *entry;
    cJSON_ArrayForEach (entry, map) {
        enum mn_status status = json_as_string(doc, entry->string, entry, SHARD_NAME_BYTES_MAX, names++);
        if (!status && !is_base_name(entry->valuestring))
            status = json_refuse(doc, MN_ERR_FORMAT, entry->string, entry, "must be a plain file name");
        if (status)
            return status;
    }
    return MN_OK;
}

/* Sorts names and moves the distinct ones to the front; how many there are. */
static size_t keep_distinct(const char **names, size_t n)
{
    size_t n_distinct = 0;
    qsort(names, n, sizeof *names, compare_strings);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i], names[n_distinct - 1]) != 0)
            names[n_distinct++] = names[i];
    return n_distinct;
}

/* Checks the weight_map and lists the distinct shard names, ascending, as pointers into `doc`. The caller frees
 * *names. */
static enum mn_status list_shards(const struct cJSON **map, const char ***names, uint32_t *n_names,
                                  const struct json_doc *doc, const struct safetensors_limits *limits)
{
    size_t n = 0;
    *names = NULL;
    enum mn_status status = find_map(map, &n, doc, limits);
    if (status)
        return status;
    const char **all = malloc(n * sizeof *all);
    if (!all)
        return log_fail(doc->log, MN_ERR_MEMORY, "%s: no memory for %zu tensors", doc->file, n);
    status = read_names(all, doc, *map);
    if (!status)
        n = keep_distinct(all, n);
    if (!status && n > limits->n_shards_max)
        status = log_fail(doc->log, MN_ERR_FORMAT, "%s: key 'weight_map': %zu shards, the limit is %u", doc->file, n,
                          (unsigned)limits->n_shards_max);
    if (status) {
        free(all);
        return status;
    }
    *names = all;
    *n_names = (uint32_t)n;
    return MN_OK;
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
    if (!status)
        status = list_shards(&map, &names, &n_names, &doc, &l);
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
    if (!status)
        status = list_shards(&map, &names, &n_names, &doc, limits);
    if (!status)
        status = safetensors_create(&st, index_path, dir, names, n_names, limits, log);
    for (uint32_t i = 0; i < n_names && !status; i++)
        status = safetensors_open_shard(st, i, log);
    if (!status)
        status = safetensors_build_names(st, log);
    if (!status)
        status = check_map(st, &doc, map, names);
    if (status)
        safetensors_close(st);
    else
        *out = st;
    free(names);
    json_destroy(&doc);
    return status;
}
