#include <stdlib.h>
#include <string.h>

#include "engine/files/input.h"
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
    enum mn_status status = json_parse_foreign(&doc, file, bytes, n_bytes, (size_t)l.header_bytes_max, log);
    if (!status)
        status = list_shards(&map, &names, &n_names, &doc, &l);
    free(names);
    json_destroy(&doc);
    return status;
}

/* The index has a tensor where it is not; `view`: where it is, NULL: nowhere. */
static enum mn_status refuse_entry(const struct safetensors *st, const struct json_doc *doc, const struct cJSON *entry,
                                   const struct tensor_view *view)
{
    if (view)
        return log_fail(doc->log, MN_ERR_FORMAT,
                        "%s: key '%s': value \"%s\": this shard does not hold the tensor, %s does", doc->file,
                        entry->string, entry->valuestring, safetensors_shard_name(st, view->shard));
    return log_fail(doc->log, MN_ERR_FORMAT, "%s: key '%s': value \"%s\": %s does not hold the tensor", doc->file,
                    entry->string, entry->valuestring,
                    safetensors_n_shards(st) == 1 ? safetensors_shard_name(st, 0) : "this shard");
}

/* The index lists exactly the tensors of the shards, each where it is. `names` is ascending, and so st->shards are in
 * this order; NULL: all are in one file, whatever the index says. */
static enum mn_status check_map(const struct safetensors *st, const struct json_doc *doc, const struct cJSON *map,
                                const char *const *names)
{
    const struct tensor_view *first = safetensors_tensor(st, 0);
    const uint32_t n = safetensors_n_tensors(st);
    const struct cJSON *entry;
    bool *listed = calloc((size_t)n + 1, sizeof *listed);
    enum mn_status status = listed ? MN_OK
                                   : log_fail(doc->log, MN_ERR_MEMORY, "%s: no memory for %u tensors", doc->file,
                                              (unsigned)n);
    cJSON_ArrayForEach (entry, map) {
        const struct tensor_view *view = status ? NULL : safetensors_find(st, entry->string);
        if (!status && (!view || (names && strcmp(names[view->shard], entry->valuestring) != 0)))
            status = refuse_entry(st, doc, entry, view);
        if (!status)
            listed[view - first] = true;
    }
    for (uint32_t i = 0; i < n && !status; i++)
        if (!listed[i])
            status = log_fail(doc->log, MN_ERR_FORMAT, "%s: tensor '%s' of %s is not in the index", doc->file,
                              first[i].name, safetensors_shard_name(st, first[i].shard));
    free(listed);
    return status;
}

/* Converters write it in many ways, and nothing depends on it. */
static void check_total_size(const struct safetensors *st, const struct json_doc *doc)
{
    const struct cJSON *size = json_find(json_find(doc->root, "metadata"), "total_size");
    uint64_t total = 0;
    for (uint32_t i = 0; i < safetensors_n_tensors(st); i++)
        total += safetensors_tensor(st, i)->bytes;
    if (cJSON_IsNumber(size) && size->valuedouble != (double)total)
        log_note(doc->log, MN_LOG_WARN, "%s: key 'total_size': value %.0f, but the tensors have %ju bytes", doc->file,
                 size->valuedouble, (uintmax_t)total);
}

/* A shard that is not there is named together with who names it. */
static enum mn_status open_shard(struct safetensors *st, uint32_t i, const struct json_doc *doc,
                                 const struct cJSON *map, const char *name)
{
    const struct cJSON *entry = map->child;
    if (input_exists(safetensors_shard_name(st, i)))
        return safetensors_open_shard(st, i, doc->log);
    while (strcmp(entry->valuestring, name) != 0)
        entry = entry->next;
    return json_refuse(doc, MN_ERR_FILE, entry->string, entry, "this shard is not in the folder");
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
        status = open_shard(st, i, &doc, map, names[i]);
    if (!status)
        status = safetensors_build_names(st, log);
    if (!status)
        status = check_map(st, &doc, map, names);
    if (!status)
        check_total_size(st, &doc);
    if (status)
        safetensors_close(st);
    else
        *out = st;
    free(names);
    json_destroy(&doc);
    return status;
}

enum mn_status safetensors_check_index(const struct safetensors *st, const char *index_path,
                                       const struct safetensors_limits *limits, const struct mn_log *log)
{
    const struct cJSON *map = NULL;
    const char **names = NULL;
    uint32_t n_names = 0;
    struct json_doc doc = {0};
    enum mn_status status = json_read_file(&doc, index_path, (size_t)limits->header_bytes_max, log);
    if (!status)
        status = list_shards(&map, &names, &n_names, &doc, limits);
    if (!status)
        status = check_map(st, &doc, map, NULL);
    if (!status && (n_names != 1 || strcmp(names[0], "model.safetensors") != 0))
        log_note(log, MN_LOG_WARN, "%s: names %s as a file of weights, but %s is beside it and is the one that is read",
                 index_path, names[0], safetensors_shard_name(st, 0));
    free(names);
    json_destroy(&doc);
    return status;
}
