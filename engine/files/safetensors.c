#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/file_hash.h"
#include "engine/files/input.h"
#include "engine/files/json.h"
#include "engine/files/safetensors_internal.h"

enum { PREFIX_BYTES = 8 /* the header length */ };

static const struct safetensors_limits default_limits = {
    .header_bytes_max = UINT64_C(1) << 20,
    .n_tensors_max = 16384,
    .n_shards_max = 256,
};

static const struct {
    const char *name;
    uint32_t bits;
} dtypes[TENSOR_DTYPE_COUNT] = {
    [TENSOR_BOOL] = {"BOOL", 8},
    [TENSOR_F4] = {"F4", 4},
    [TENSOR_F6_E2M3] = {"F6_E2M3", 6},
    [TENSOR_F6_E3M2] = {"F6_E3M2", 6},
    [TENSOR_U8] = {"U8", 8},
    [TENSOR_I8] = {"I8", 8},
    [TENSOR_F8_E5M2] = {"F8_E5M2", 8},
    [TENSOR_F8_E4M3] = {"F8_E4M3", 8},
    [TENSOR_F8_E8M0] = {"F8_E8M0", 8},
    [TENSOR_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [TENSOR_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [TENSOR_I16] = {"I16", 16},
    [TENSOR_U16] = {"U16", 16},
    [TENSOR_F16] = {"F16", 16},
    [TENSOR_BF16] = {"BF16", 16},
    [TENSOR_I32] = {"I32", 32},
    [TENSOR_U32] = {"U32", 32},
    [TENSOR_F32] = {"F32", 32},
    [TENSOR_C64] = {"C64", 64},
    [TENSOR_F64] = {"F64", 64},
    [TENSOR_I64] = {"I64", 64},
    [TENSOR_U64] = {"U64", 64},
};

struct shard {
    char *path;  /* owned */
    char *names; /* owned: the names of its tensors and of types that are not known, one after the other */
    int fd;      /* -1 when parsed from memory */
    uint64_t header_hash;
};

struct safetensors {
    struct safetensors_limits limits;
    uint64_t index_hash;  /* 0: opened without one */
    struct shard *shards; /* [n_shards] */
    uint32_t n_shards;
    struct tensor_view *tensors; /* [n_tensors] by shard, then offset */
    uint32_t n_tensors;
    const struct tensor_view **by_name; /* [n_tensors] into tensors, names ascending */
};

const char *tensor_dtype_name(enum tensor_dtype dtype)
{
    return (unsigned)dtype < TENSOR_DTYPE_COUNT ? dtypes[dtype].name : "?";
}

uint32_t tensor_dtype_bits(enum tensor_dtype dtype)
{
    return (unsigned)dtype < TENSOR_DTYPE_COUNT ? dtypes[dtype].bits : 0;
}

uint32_t tensor_dtype_bytes(enum tensor_dtype dtype)
{
    return tensor_dtype_bits(dtype) % 8 == 0 ? tensor_dtype_bits(dtype) / 8 : 0;
}

/* ---- one header ---- */

/* Bits of a tensor, or false on overflow. Zeros are left out of the check's product, not of the result: a shape such
 * as [0, 2^40, 2^40] has no bytes, but callers multiply dimensions in other orders. */
static bool tensor_bits(const struct tensor_view *view, uint64_t *bits)
{
    uint64_t product = view->dtype == TENSOR_OTHER ? 1 : dtypes[view->dtype].bits;
    bool empty = false;
    for (uint32_t i = 0; i < view->rank; i++) {
        uint64_t dim = view->shape[i];
        if (dim == 0)
            empty = true;
        else if (product > UINT64_MAX / dim)
            return false;
        else
            product *= dim;
    }
    *bits = empty ? 0 : product;
    return true;
}

/* view->dtype_name: as this module or, for a type that is not known, as the document owns it. */
static enum mn_status parse_dtype(const struct json_doc *doc, const struct cJSON *entry, struct tensor_view *view)
{
    const struct cJSON *name = json_find(entry, "dtype");
    if (!cJSON_IsString(name))
        return json_refuse(doc, MN_ERR_FORMAT, entry->string, name, "dtype must be a string");
    view->dtype = TENSOR_OTHER;
    view->dtype_name = name->valuestring;
    for (int i = 0; i < TENSOR_DTYPE_COUNT; i++)
        if (strcmp(dtypes[i].name, name->valuestring) == 0) {
            view->dtype = (enum tensor_dtype)i;
            view->dtype_name = dtypes[i].name;
        }
    return MN_OK;
}

static enum mn_status parse_shape(const struct json_doc *doc, const struct cJSON *entry, struct tensor_view *view)
{
    const struct cJSON *shape = json_find(entry, "shape"), *dim;
    if (!cJSON_IsArray(shape))
        return json_refuse(doc, MN_ERR_FORMAT, entry->string, shape, "shape must be an array");
    cJSON_ArrayForEach (dim, shape) {
        if (view->rank == TENSOR_RANK_MAX)
            return json_refuse(doc, MN_ERR_UNSUPPORTED, entry->string, shape, "more than 8 dimensions");
        enum mn_status status = json_as_u64(doc, entry->string, dim, 0, JSON_INTEGER_MAX, &view->shape[view->rank++]);
        if (status)
            return status;
    }
    return MN_OK;
}

static enum mn_status parse_range(uint64_t range[2], const struct json_doc *doc, const struct cJSON *entry)
{
    const struct cJSON *offsets = json_find(entry, "data_offsets");
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2)
        return json_refuse(doc, MN_ERR_FORMAT, entry->string, offsets, "data_offsets must be [begin, end]");
    enum mn_status status = MN_OK;
    for (int i = 0; i < 2 && !status; i++)
        status = json_as_u64(doc, entry->string, cJSON_GetArrayItem(offsets, i), 0, JSON_INTEGER_MAX, &range[i]);
    return status;
}

/* Is a tensor as long as its place? Of a type that is not known nobody can say. */
static enum mn_status check_size(const struct json_doc *doc, const struct tensor_view *view, const uint64_t range[2])
{
    uint64_t bits;
    if (!tensor_bits(view, &bits))
        return log_fail(doc->log, MN_ERR_FORMAT, "%s: key '%s': the size of this shape overflows", doc->file,
                        view->name);
    const bool known = view->dtype != TENSOR_OTHER;
    if (known && bits % 8 != 0)
        return log_fail(doc->log, MN_ERR_FORMAT, "%s: key '%s': dtype %s and shape make %ju bits, no whole byte",
                        doc->file, view->name, view->dtype_name, (uintmax_t)bits);
    if (range[0] > range[1] || (known && range[1] - range[0] != bits / 8))
        return log_fail(doc->log, MN_ERR_FORMAT,
                        "%s: key '%s': data_offsets [%ju, %ju] do not hold the %ju bytes of dtype and shape", doc->file,
                        view->name, (uintmax_t)range[0], (uintmax_t)range[1], (uintmax_t)(bits / 8));
    return MN_OK;
}

/* One `name: {dtype, shape, data_offsets}`. view->offset stays relative to the data here. */
static enum mn_status parse_tensor(const struct json_doc *doc, const struct cJSON *entry, struct tensor_view *view)
{
    uint64_t range[2];
    if (entry->string[0] == 0 || strlen(entry->string) > TENSOR_NAME_BYTES_MAX)
        return json_refuse(doc, MN_ERR_FORMAT, entry->string, entry, "a tensor name has 1 to 512 bytes");
    if (!cJSON_IsObject(entry))
        return json_refuse(doc, MN_ERR_FORMAT, entry->string, entry, "must be an object");
    enum mn_status status = parse_dtype(doc, entry, view);
    if (!status)
        status = parse_shape(doc, entry, view);
    if (!status)
        status = parse_range(range, doc, entry);
    if (!status)
        status = check_size(doc, view, range);
    if (status)
        return status;
    view->offset = range[0];
    view->bytes = range[1] - range[0];
    return MN_OK;
}

static enum mn_status check_metadata(const struct json_doc *doc, const struct cJSON *metadata)
{
    const struct cJSON *member;
    if (!cJSON_IsObject(metadata))
        return json_refuse(doc, MN_ERR_FORMAT, "__metadata__", metadata, "must be an object");
    cJSON_ArrayForEach (member, metadata) {
        if (!cJSON_IsString(member))
            return json_refuse(doc, MN_ERR_FORMAT, member->string, member, "__metadata__ holds only strings");
    }
    return MN_OK;
}

/* Empty tensors sort before the one that starts at the same byte, so that the walk below sees no step back. */
static int compare_offsets(const void *a, const void *b)
{
    const struct tensor_view *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The data must be covered exactly: bytes that belong to no tensor, or to two, are how files smuggle other formats. */
static enum mn_status check_layout(const char *file, struct tensor_view *views, uint32_t n, uint64_t data_start,
                                   uint64_t file_bytes, const struct mn_log *log)
{
    uint64_t end = 0; /* no wrap: every range end is <= JSON_INTEGER_MAX, and data_start is <= file_bytes */
    if (n > 0)
        qsort(views, n, sizeof *views, compare_offsets);
    for (uint32_t i = 0; i < n; i++) {
        if (views[i].offset != end)
            return log_fail(log, MN_ERR_FORMAT, "%s: key '%s': starts at byte %ju of the data, %s at %ju", file,
                            views[i].name, (uintmax_t)views[i].offset,
                            views[i].offset < end ? "inside another tensor that ends" : "after a hole that starts",
                            (uintmax_t)end);
        end += views[i].bytes;
        if (end > file_bytes - data_start)
            return log_fail(log, MN_ERR_FORMAT, "%s: key '%s': ends at byte %ju of the data, the file has %ju", file,
                            views[i].name, (uintmax_t)end, (uintmax_t)(file_bytes - data_start));
        views[i].offset += data_start;
    }
    if (end != file_bytes - data_start)
        return log_fail(log, MN_ERR_FORMAT, "%s: %ju bytes of data, the tensors cover %ju", file,
                        (uintmax_t)(file_bytes - data_start), (uintmax_t)end);
    return MN_OK;
}

/* N of the header, checked against the limit and the file, of which the first n_head bytes are at hand. */
static enum mn_status check_head(uint64_t *header_bytes, const char *file, const unsigned char *head, size_t n_head,
                                 uint64_t file_bytes, const struct safetensors_limits *limits, const struct mn_log *log)
{
    uint64_t n = 0;
    const char *instead = input_instead(head, n_head); /* read as a length, their first letters would be huge */
    if (instead)
        return log_fail(log, MN_ERR_FORMAT, "%s: %s", file, instead);
    if (n_head < PREFIX_BYTES)
        return log_fail(log, MN_ERR_FORMAT, "%s: %ju bytes are too short for a header", file, (uintmax_t)file_bytes);
    for (int i = PREFIX_BYTES - 1; i >= 0; i--)
        n = n << 8 | head[i];
    if (n > limits->header_bytes_max)
        return log_fail(log, MN_ERR_FORMAT, "%s: the header claims %ju bytes, the limit is %ju", file, (uintmax_t)n,
                        (uintmax_t)limits->header_bytes_max);
    if (n > file_bytes - PREFIX_BYTES)
        return log_fail(log, MN_ERR_FORMAT, "%s: the header claims %ju bytes, the file has %ju", file, (uintmax_t)n,
                        (uintmax_t)file_bytes);
    *header_bytes = n;
    return MN_OK;
}

static bool is_metadata(const struct cJSON *entry)
{
    return strcmp(entry->string, "__metadata__") == 0;
}

/* Room for the tensors of a header and for their names, which belong to the shard. */
static enum mn_status reserve_tensors(struct safetensors *st, uint32_t shard, const struct json_doc *doc)
{
    const struct cJSON *entry;
    size_t n_names_bytes = 0;
    uint64_t n_new = 0;
    cJSON_ArrayForEach (entry, doc->root) {
        n_new += !is_metadata(entry);
        const struct cJSON *dtype = json_find(entry, "dtype");
        n_names_bytes += strlen(entry->string) + 1; /* bounded by the bytes of the header */
        n_names_bytes += cJSON_IsString(dtype) ? strlen(dtype->valuestring) + 1 : 0;
    }
    if (n_new > st->limits.n_tensors_max - st->n_tensors)
        return log_fail(doc->log, MN_ERR_FORMAT, "%s: %ju tensors so far, the limit is %u", doc->file,
                        (uintmax_t)(st->n_tensors + n_new), (unsigned)st->limits.n_tensors_max);
    struct tensor_view *grown = realloc(st->tensors, (size_t)(st->n_tensors + n_new + 1) * sizeof *grown);
    if (grown)
        st->tensors = grown;
    st->shards[shard].names = malloc(n_names_bytes + 1);
    if (!grown || !st->shards[shard].names)
        return log_fail(doc->log, MN_ERR_MEMORY, "%s: no memory for %ju tensors", doc->file, (uintmax_t)n_new);
    return MN_OK;
}

/* Copies a string to *end, which moves behind it. */
static const char *keep_string(char **end, const char *text)
{
    const size_t n = strlen(text) + 1;
    char *copy = memcpy(*end, text, n);
    *end += n;
    return copy;
}

/* Writes *n views behind those that st has. */
static enum mn_status parse_tensors(uint32_t *n, struct safetensors *st, uint32_t shard, const struct json_doc *doc)
{
    struct tensor_view *view = st->tensors + st->n_tensors;
    char *names = st->shards[shard].names;
    const struct cJSON *entry;
    cJSON_ArrayForEach (entry, doc->root) {
        enum mn_status status;
        if (is_metadata(entry)) {
            status = check_metadata(doc, entry);
        } else {
            *view = (struct tensor_view){.name = keep_string(&names, entry->string), .shard = shard};
            status = parse_tensor(doc, entry, view);
            if (!status && view->dtype == TENSOR_OTHER)
                view->dtype_name = keep_string(&names, view->dtype_name);
            view++;
        }
        if (status)
            return status;
    }
    *n = (uint32_t)(view - (st->tensors + st->n_tensors));
    return MN_OK;
}

/* Appends the tensors of one shard to st; `shard` is its number and its path is already set. */
static enum mn_status parse_header(struct safetensors *st, uint32_t shard, const void *header, uint64_t header_bytes,
                                   uint64_t file_bytes, const struct mn_log *log)
{
    const char *file = st->shards[shard].path;
    struct json_doc doc = {0};
    uint32_t n = 0;
    if (header_bytes == 0 || *(const char *)header != '{')
        return log_fail(log, MN_ERR_FORMAT, "%s: the header does not start with '{'", file);
    enum mn_status status = json_parse(&doc, file, header, (size_t)header_bytes, (size_t)header_bytes, log);
    if (!status)
        status = reserve_tensors(st, shard, &doc);
    if (!status)
        status = parse_tensors(&n, st, shard, &doc);
    if (!status)
        status = check_layout(file, st->tensors + st->n_tensors, n, PREFIX_BYTES + header_bytes, file_bytes, log);
    if (!status)
        st->n_tensors += n;
    json_destroy(&doc);
    return status;
}

/* ---- the table of all tensors ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const struct tensor_view *const *)a)->name, (*(const struct tensor_view *const *)b)->name);
}

static int compare_to_name(const void *name, const void *element)
{
    return strcmp(name, (*(const struct tensor_view *const *)element)->name);
}

enum mn_status safetensors_build_names(struct safetensors *st, const struct mn_log *log)
{
    const struct tensor_view **names = malloc(((size_t)st->n_tensors + 1) * sizeof *names);
    if (!names)
        return log_fail(log, MN_ERR_MEMORY, "%s: no memory for %u tensor names", st->shards[0].path,
                        (unsigned)st->n_tensors);
    st->by_name = names;
    for (uint32_t i = 0; i < st->n_tensors; i++)
        names[i] = &st->tensors[i];
    qsort(names, st->n_tensors, sizeof *names, compare_names);
    for (uint32_t i = 1; i < st->n_tensors; i++)
        if (strcmp(names[i - 1]->name, names[i]->name) == 0)
            return log_fail(log, MN_ERR_FORMAT, "%s: key '%s': this tensor is also in %s",
                            st->shards[names[i]->shard].path, names[i]->name, st->shards[names[i - 1]->shard].path);
    return MN_OK;
}

/* dir + "/" + name, or NULL. */
static char *join(const char *dir, const char *name)
{
    size_t n = strlen(dir) + strlen(name) + 2;
    char *path = malloc(n);
    if (path)
        snprintf(path, n, "%s/%s", dir, name);
    return path;
}

enum mn_status safetensors_create(struct safetensors **out, const char *file, const char *dir, const char *const *names,
                                  uint32_t n_shards, const struct safetensors_limits *limits, const struct mn_log *log)
{
    struct safetensors *st = calloc(1, sizeof *st);
    bool complete = st && (st->shards = calloc(n_shards, sizeof *st->shards)) != NULL;
    for (uint32_t i = 0; complete && i < n_shards; i++) {
        st->n_shards = i + 1;
        st->shards[i].fd = -1;
        st->shards[i].path = dir ? join(dir, names[i]) : strdup(names[i]);
        complete = st->shards[i].path != NULL;
    }
    if (!complete) {
        safetensors_close(st);
        return log_fail(log, MN_ERR_MEMORY, "%s: no memory for %u shards", file, (unsigned)n_shards);
    }
    st->limits = *limits;
    *out = st;
    return MN_OK;
}

struct safetensors_limits safetensors_effective_limits(const struct safetensors_limits *limits)
{
    struct safetensors_limits l = limits ? *limits : default_limits;
    l.header_bytes_max = l.header_bytes_max ? l.header_bytes_max : default_limits.header_bytes_max;
    l.n_tensors_max = l.n_tensors_max ? l.n_tensors_max : default_limits.n_tensors_max;
    l.n_shards_max = l.n_shards_max ? l.n_shards_max : default_limits.n_shards_max;
    return l;
}

enum mn_status safetensors_parse(struct safetensors **out, const char *file, const void *bytes, size_t n_bytes,
                                 uint64_t file_bytes, const struct safetensors_limits *limits, const struct mn_log *log)
{
    struct safetensors_limits l = safetensors_effective_limits(limits);
    struct safetensors *st = NULL;
    uint64_t header_bytes = 0;
    *out = NULL;
    if (n_bytes > file_bytes)
        return log_fail(log, MN_ERR_USAGE, "%s: %zu bytes at hand of a file of %ju", file, n_bytes,
                        (uintmax_t)file_bytes);
    enum mn_status status = check_head(&header_bytes, file, bytes, n_bytes, file_bytes, &l, log);
    if (status)
        return status;
    if (header_bytes > n_bytes - PREFIX_BYTES)
        return log_fail(log, MN_ERR_USAGE, "%s: %zu bytes at hand, the header ends after %ju", file, n_bytes,
                        (uintmax_t)(PREFIX_BYTES + header_bytes));
    status = safetensors_create(&st, file, NULL, &file, 1, &l, log);
    if (!status)
        status = parse_header(st, 0, (const char *)bytes + PREFIX_BYTES, header_bytes, file_bytes, log);
    if (!status)
        status = safetensors_build_names(st, log);
    if (status)
        safetensors_close(st);
    else
        *out = st;
    return status;
}

/* ---- files ---- */

enum mn_status safetensors_open_shard(struct safetensors *st, uint32_t i, const struct mn_log *log)
{
    struct shard *shard = &st->shards[i];
    unsigned char head[INPUT_HEAD_BYTES] = {0};
    uint64_t header_bytes = 0, file_bytes;
    enum mn_status status = input_open(&shard->fd, &file_bytes, shard->path, log);
    if (status)
        return status;
    const size_t n_head = file_bytes < sizeof head ? (size_t)file_bytes : sizeof head;
    status = input_read(shard->fd, shard->path, 0, n_head, head, log);
    if (!status)
        status = check_head(&header_bytes, shard->path, head, n_head, file_bytes, &st->limits, log);
    if (status)
        return status;
    char *header = malloc((size_t)header_bytes + 1);
    if (!header)
        return log_fail(log, MN_ERR_MEMORY, "%s: no memory for a header of %ju bytes", shard->path,
                        (uintmax_t)header_bytes);
    status = input_read(shard->fd, shard->path, PREFIX_BYTES, header_bytes, header, log);
    if (!status)
        status = parse_header(st, i, header, header_bytes, file_bytes, log);
    if (!status)
        shard->header_hash = hash_block(file_bytes, header, (size_t)header_bytes);
    free(header);
    return status;
}

enum mn_status safetensors_open_file(struct safetensors **out, const char *path,
                                     const struct safetensors_limits *limits, const struct mn_log *log)
{
    struct safetensors_limits l = safetensors_effective_limits(limits);
    struct safetensors *st = NULL;
    *out = NULL;
    enum mn_status status = safetensors_create(&st, path, NULL, &path, 1, &l, log);
    if (!status)
        status = safetensors_open_shard(st, 0, log);
    if (!status)
        status = safetensors_build_names(st, log);
    if (status)
        safetensors_close(st);
    else
        *out = st;
    return status;
}

/* ---- folders ---- */

static enum mn_status open_by_index(struct safetensors **out, const char *dir, const char *index,
                                    const struct safetensors_limits *limits, const struct mn_log *log)
{
    enum mn_status status = safetensors_open_index(out, dir, index, limits, log);
    if (!status)
        status = file_hash(&(*out)->index_hash, dir, strrchr(index, '/') + 1, log);
    if (status) {
        safetensors_close(*out);
        *out = NULL;
    }
    return status;
}

enum mn_status safetensors_open(struct safetensors **out, const char *dir, const struct safetensors_limits *limits,
                                const struct mn_log *log)
{
    struct safetensors_limits l = safetensors_effective_limits(limits);
    enum mn_status status;
    *out = NULL;
    char *single = join(dir, "model.safetensors"), *index = join(dir, "model.safetensors.index.json");
    if (!single || !index)
        status = log_fail(log, MN_ERR_MEMORY, "%s: no memory for file names", dir);
    else if (input_exists(single))
        status = safetensors_open_file(out, single, &l, log);
    else if (input_exists(index))
        status = open_by_index(out, dir, index, &l, log);
    else
        status = log_fail(log, MN_ERR_FILE, "%s: neither model.safetensors nor model.safetensors.index.json", dir);
    if (!status && input_exists(single) && input_exists(index))
        status = safetensors_check_index(*out, index, &l, log);
    if (status) {
        safetensors_close(*out);
        *out = NULL;
    }
    free(single);
    free(index);
    return status;
}

/* ---- use ---- */

void safetensors_close(struct safetensors *st)
{
    if (!st)
        return;
    for (uint32_t i = 0; i < st->n_shards; i++) {
        input_close(&st->shards[i].fd);
        free(st->shards[i].path);
        free(st->shards[i].names);
    }
    free(st->shards);
    free(st->tensors);
    free(st->by_name);
    free(st);
}

const struct tensor_view *safetensors_find(const struct safetensors *st, const char *name)
{
    const struct tensor_view *const *found = bsearch(name, st->by_name, st->n_tensors, sizeof *st->by_name,
                                                     compare_to_name);
    return found ? *found : NULL;
}

uint32_t safetensors_n_tensors(const struct safetensors *st)
{
    return st->n_tensors;
}

const struct tensor_view *safetensors_tensor(const struct safetensors *st, uint32_t i)
{
    return i < st->n_tensors ? &st->tensors[i] : NULL;
}

uint32_t safetensors_n_shards(const struct safetensors *st)
{
    return st->n_shards;
}

const char *safetensors_shard_name(const struct safetensors *st, uint32_t shard)
{
    return shard < st->n_shards ? st->shards[shard].path : "?";
}

uint64_t safetensors_headers_hash(const struct safetensors *st)
{
    uint64_t hash = st->index_hash;
    for (uint32_t i = 0; i < st->n_shards; i++)
        hash = hash_block(hash, &st->shards[i].header_hash, sizeof st->shards[i].header_hash);
    return hash;
}

enum mn_status safetensors_read(const struct safetensors *st, const struct tensor_view *tensor, uint64_t byte_offset,
                                uint64_t n_bytes, void *dst, const struct mn_log *log)
{
    if (tensor->shard >= st->n_shards || st->shards[tensor->shard].fd < 0)
        return log_fail(log, MN_ERR_USAGE, "%s: no open file to read tensor '%s' from",
                        safetensors_shard_name(st, tensor->shard), tensor->name);
    if (byte_offset > tensor->bytes || n_bytes > tensor->bytes - byte_offset)
        return log_fail(log, MN_ERR_USAGE, "%s: tensor '%s' has %ju bytes, asked for %ju at %ju",
                        st->shards[tensor->shard].path, tensor->name, (uintmax_t)tensor->bytes, (uintmax_t)n_bytes,
                        (uintmax_t)byte_offset);
    const struct shard *shard = &st->shards[tensor->shard];
    return input_read(shard->fd, shard->path, tensor->offset + byte_offset, n_bytes, dst, log);
}
