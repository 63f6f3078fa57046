#include "engine/model/quantize.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/numbers.h"
#include "engine/base/progress.h"
#include "engine/files/json.h"
#include "engine/files/output_folder.h"
#include "engine/files/safetensors_write.h"
#include "engine/model/family.h"
#include "engine/model/weight_plan.h"

enum { PIECE_VALUES = 1 << 19, VALUE_BYTES_MAX = 4, FILE_NAME_BYTES = 64 };
#define SHARD_BYTES UINT64_C(5000000000)

/* A tensor to write. */
struct entry {
    const struct tensor_view *source;
    enum { AS_IT_IS, CONVERTED, GROUPS, SCALES } form; /* SCALES is behind the GROUPS of the same source */
    enum weight_type type;
    uint32_t shard;
    struct tensor_header header;
    char own_name[STORED_NAME_BYTES];
};

struct writer {
    const struct quantize_params *params;
    const struct mn_log *log;
    struct model_config config;
    struct weight_plan plan;
    struct weights weights;
    struct output_folder folder;
    struct progress progress;
    struct entry *entries; /* [n_entries] as they are written */
    uint32_t n_entries, n_shards;
    struct output_file file;
    uint8_t *bytes, *packed; /* [PIECE_VALUES, VALUE_BYTES_MAX] */
    float *values;           /* [PIECE_VALUES] */
    uint8_t *scales;         /* of the last GROUPS */
    struct quantize_result result;
};

static enum mn_status no_memory(const struct writer *w)
{
    return log_fail(w->log, MN_ERR_MEMORY, "%s: out of host memory for quantising", w->params->model_dir);
}

/* ---- what is written ---- */

static uint64_t count_values(const struct tensor_view *tensor)
{
    return tensor->bytes / tensor_dtype_bytes(tensor->dtype);
}

static enum tensor_dtype dtype_of(enum weight_type type)
{
    return type == WEIGHT_TYPE_BF16 ? TENSOR_BF16 : type == WEIGHT_TYPE_F16 ? TENSOR_F16 : TENSOR_F32;
}

static struct entry entry_as_it_is(const struct tensor_view *t)
{
    struct entry e = {.source = t, .form = AS_IT_IS, .header = {t->name, t->dtype_name, t->rank, {0}, t->bytes}};
    memcpy(e.header.shape, t->shape, sizeof t->shape);
    return e;
}

static struct entry entry_converted(const struct tensor_view *t, enum weight_type type)
{
    struct entry e = entry_as_it_is(t);
    e.form = CONVERTED;
    e.type = type;
    e.header.dtype_name = tensor_dtype_name(dtype_of(type));
    e.header.bytes = count_values(t) * tensor_dtype_bytes(dtype_of(type));
    return e;
}

/* own_name is where the header's name will be, once the entry has its place. */
static struct entry entry_groups(const struct tensor_view *t, const struct tensor_target *target, bool scales)
{
    const struct weight_format *format = weight_format(target->type);
    const uint64_t n = count_values(t), n_groups = target->columns / format->group;
    struct entry e = {.source = t, .form = scales ? SCALES : GROUPS, .type = target->type};
    e.header = (struct tensor_header){
        .dtype_name = tensor_dtype_name(scales ? TENSOR_F16 : TENSOR_U8),
        .rank = scales && format->scale_bytes > 2 ? 3 : 2,
        .shape = {n / target->columns, scales ? n_groups : n_groups * format->group_bytes},
        .bytes = n / format->group * (scales ? format->scale_bytes : format->group_bytes)};
    if (e.header.rank == 3)
        e.header.shape[2] = format->scale_bytes / 2;
    stored_name(e.own_name, t->name, target->type, scales);
    return e;
}

static void list_entries(struct writer *w)
{
    for (uint32_t i = 0; i < safetensors_n_tensors(w->plan.file); i++) {
        const struct tensor_view *t = safetensors_tensor(w->plan.file, i);
        const struct tensor_target *target = &w->plan.targets[i];
        struct entry *e = &w->entries[w->n_entries];
        if (target->repeats)
            continue;
        if (weight_type_quantised(target->type)) {
            e[0] = entry_groups(t, target, false);
            e[1] = entry_groups(t, target, true);
            e[0].header.name = e[0].own_name;
            e[1].header.name = e[1].own_name;
            w->n_entries += 2;
            w->result.n_quantized++;
        } else {
            const bool same = target->type == WEIGHT_TYPE_AS_STORED || target->type == weight_plan_stored_type(t);
            *e = same ? entry_as_it_is(t) : entry_converted(t, target->type);
            w->n_entries++;
        }
        w->result.read_bytes += t->bytes;
    }
    for (uint32_t i = 0; i < w->n_entries; i++)
        w->result.written_bytes += w->entries[i].header.bytes;
    for (uint32_t i = 0; i < w->plan.n_matrices; i++)
        w->result.n_kept += w->plan.matrices[i].matrix->kept;
}

/* Files of at most so many bytes; groups and their scales are in one. */
static void cut_shards(struct writer *w)
{
    const uint64_t most = w->params->shard_bytes ? w->params->shard_bytes : SHARD_BYTES;
    uint64_t bytes = 0;
    w->n_shards = 1;
    for (uint32_t i = 0; i < w->n_entries; i++) {
        const bool pair = w->entries[i].form == GROUPS;
        const uint64_t unit = w->entries[i].header.bytes + (pair ? w->entries[i + 1].header.bytes : 0);
        if (bytes && bytes + unit > most) {
            w->n_shards++;
            bytes = 0;
        }
        bytes += unit;
        w->entries[i].shard = w->n_shards - 1;
        if (pair)
            w->entries[++i].shard = w->n_shards - 1;
    }
}

/* ---- bytes ---- */

/* Bytes [at, at + n) of the entry's tensor as the file has them, and the progress of it. */
static enum mn_status read_piece(struct writer *w, const struct entry *e, uint64_t at, uint64_t n)
{
    enum mn_status status = safetensors_read(w->plan.file, e->source, at, n, w->bytes, w->log);
    return status ? status : progress_add(&w->progress, n);
}

static enum mn_status write_as_it_is(struct writer *w, const struct entry *e)
{
    const uint64_t piece = (uint64_t)PIECE_VALUES * VALUE_BYTES_MAX;
    enum mn_status status = MN_OK;
    for (uint64_t at = 0, n; at < e->source->bytes && !status; at += n) {
        n = min_u64(e->source->bytes - at, piece);
        status = read_piece(w, e, at, n);
        if (!status)
            status = output_write(&w->file, w->bytes, n, w->log);
    }
    return status;
}

/* The first n of w->values to w->packed and, where the type has scales, to `scales`. */
static enum mn_status encode(struct writer *w, const struct entry *e, uint64_t n, uint8_t *scales)
{
    const struct weight_format *format = weight_format(e->type);
    for (uint64_t k = n; k % format->group != 0; k++) /* plain types' last chunk need not be whole */
        w->values[k] = 0.0f;
    uint8_t *out = w->packed;
    for (uint64_t k = 0; k < n; k += format->group) {
        if (!format->encode(w->values + k, out, scales))
            return weight_plan_refuse_value(&w->plan, e->source, e->type, w->values + k);
        out += format->group_bytes;
        scales += format->scale_bytes;
    }
    return MN_OK;
}

/* Rows are whole groups, so that groups can be counted over all rows. The scales stay for the tensor that follows. */
static enum mn_status write_encoded(struct writer *w, const struct entry *e)
{
    const struct weight_format *format = weight_format(e->type);
    const uint64_t n_values = count_values(e->source), value_bytes = tensor_dtype_bytes(e->source->dtype);
    free(w->scales);
    w->scales = malloc(n_values / format->group * format->scale_bytes + 1);
    enum mn_status status = w->scales ? MN_OK : no_memory(w);
    for (uint64_t at = 0, n; at < n_values && !status; at += n) {
        n = min_u64(n_values - at, PIECE_VALUES);
        status = read_piece(w, e, at * value_bytes, n * value_bytes);
        if (!status)
            status = weight_plan_decode(&w->plan, e->source, w->bytes, n, w->values);
        if (!status)
            status = encode(w, e, n, w->scales + at / format->group * format->scale_bytes);
        if (!status)
            status = output_write(&w->file, w->packed,
                                  format->scale_bytes ? n / format->group * format->group_bytes
                                                      : n * tensor_dtype_bytes(dtype_of(e->type)),
                                  w->log);
    }
    return status;
}

static enum mn_status write_entry(struct writer *w, const struct entry *e)
{
    switch (e->form) {
    case AS_IT_IS: return write_as_it_is(w, e);
    case SCALES: return output_write(&w->file, w->scales, e->header.bytes, w->log);
    case CONVERTED:
    case GROUPS: break;
    }
    return write_encoded(w, e);
}

/* ---- files ---- */

static const char *file_name(const struct writer *w, uint32_t shard, char *name)
{
    if (w->n_shards == 1)
        snprintf(name, FILE_NAME_BYTES, "model.safetensors");
    else
        snprintf(name, FILE_NAME_BYTES, "model-%05" PRIu32 "-of-%05" PRIu32 ".safetensors", shard + 1, w->n_shards);
    return name;
}

/* Entries [first, end) are the shard's. */
static enum mn_status write_shard(struct writer *w, uint32_t first, uint32_t end)
{
    char name[FILE_NAME_BYTES], path[OUTPUT_PATH_BYTES];
    struct tensor_header *headers = malloc((end - first + 1) * sizeof *headers);
    enum mn_status status = headers ? MN_OK : no_memory(w);
    for (uint32_t i = first; i < end && !status; i++)
        headers[i - first] = w->entries[i].header;
    if (!status)
        status = output_folder_path(&w->folder, file_name(w, w->entries[first].shard, name), path, w->log);
    if (!status)
        status = output_open(&w->file, path, w->log);
    if (!status)
        status = safetensors_write_header(&w->file, headers, end - first, w->log);
    for (uint32_t i = first; i < end && !status; i++)
        status = write_entry(w, &w->entries[i]);
    if (!status)
        status = output_commit(&w->file, w->log);
    output_discard(&w->file);
    free(headers);
    return status;
}

static void print_index(const struct writer *w, FILE *out)
{
    char name[FILE_NAME_BYTES];
    fprintf(out, "{\"metadata\": {\"total_size\": %" PRIu64 "}, \"weight_map\": {\n", w->result.written_bytes);
    for (uint32_t i = 0; i < w->n_entries; i++) {
        const struct entry *e = &w->entries[i];
        json_write_string(out, e->header.name, strlen(e->header.name));
        fprintf(out, ": \"%s\"%s\n", file_name(w, e->shard, name), i + 1 < w->n_entries ? "," : "}}");
    }
}

static enum mn_status write_index(struct writer *w)
{
    char path[OUTPUT_PATH_BYTES];
    enum mn_status status = output_folder_path(&w->folder, "model.safetensors.index.json", path, w->log);
    if (!status)
        status = output_open(&w->file, path, w->log);
    if (!status) {
        print_index(w, w->file.text);
        status = output_commit(&w->file, w->log);
    }
    return status;
}

static enum mn_status write_tensors(struct writer *w)
{
    enum mn_status status = progress_begin(&w->progress, "quantising weights", w->result.read_bytes);
    for (uint32_t first = 0, end; first < w->n_entries && !status; first = end) {
        for (end = first; end < w->n_entries && w->entries[end].shard == w->entries[first].shard;)
            end++;
        status = write_shard(w, first, end);
    }
    status = progress_end(&w->progress, status);
    return status || w->n_shards == 1 ? status : write_index(w);
}

/* ---- the whole ---- */

static enum mn_status make_plan(struct writer *w)
{
    w->plan = (struct weight_plan){
        .config = &w->config, .log = w->log, .dir = w->params->model_dir, .scheme = w->params->scheme};
    enum mn_status status = weights_list(&w->weights, &w->plan);
    if (status)
        return status;
    w->entries = calloc((size_t)2 * safetensors_n_tensors(w->plan.file) + 1, sizeof *w->entries);
    w->bytes = malloc((size_t)PIECE_VALUES * VALUE_BYTES_MAX);
    w->packed = malloc((size_t)PIECE_VALUES * VALUE_BYTES_MAX);
    w->values = malloc(PIECE_VALUES * sizeof *w->values);
    if (!w->entries || !w->bytes || !w->packed || !w->values)
        return no_memory(w);
    list_entries(w);
    cut_shards(w);
    return MN_OK;
}

/* Whether what was written is the folder that was promised, as far as names, types and shapes go. */
static enum mn_status read_back(const struct writer *w, const struct mn_log *log)
{
    struct model_config config;
    struct weights weights = {0};
    struct weight_plan plan = {
        .config = &config, .log = log, .dir = w->folder.beside, .scheme = weight_scheme_as_stored()};
    enum mn_status status = config_load(&config, w->folder.beside, log);
    if (!status)
        status = weights_list(&weights, &plan);
    weight_plan_finish(&plan);
    weights_finish(&weights);
    return status;
}

static enum mn_status write_folder(struct writer *w)
{
    static const struct mn_log silent = {0}; /* warnings of the original were given once */
    enum mn_status status = write_tensors(w);
    if (!status)
        status = quantize_copy_rest(w->params, &w->folder);
    if (!status)
        status = quantize_write_config(w->params, &w->folder);
    if (!status)
        status = progress_poll(&w->progress);
    if (!status && read_back(w, &silent))
        status = read_back(w, w->log);
    return status ? status : output_folder_commit(&w->folder, w->log);
}

enum mn_status quantize_folder(const struct quantize_params *params, struct quantize_result *result)
{
    const struct mn_log *log = params->log;
    if (!weight_scheme_quantised(&params->scheme))
        return log_fail(log, MN_ERR_USAGE, "weight_type %s: is not a quantised type",
                        *params->scheme.name ? params->scheme.name : "as stored");
    struct writer *w = calloc(1, sizeof *w);
    if (!w)
        return log_fail(log, MN_ERR_MEMORY, "%s: out of host memory for quantising", params->model_dir);
    w->params = params;
    w->log = log;
    w->progress.to = params->progress;
    enum mn_status status = config_load(&w->config, params->model_dir, log);
    if (!status && *w->config.stored.name)
        status = log_fail(log, MN_ERR_UNSUPPORTED, "%s: is quantised already, as %s: quantise the original",
                          params->model_dir, w->config.stored.name);
    if (!status)
        status = output_folder_open(&w->folder, params->out_dir, params->model_dir, log);
    if (!status)
        status = make_plan(w);
    if (!status)
        status = write_folder(w);
    if (!status && result)
        *result = w->result;
    output_folder_discard(&w->folder);
    weight_plan_finish(&w->plan);
    weights_finish(&w->weights);
    free(w->entries);
    free(w->bytes);
    free(w->packed);
    free(w->values);
    free(w->scales);
    free(w);
    return status;
}
