#include "engine/model/weight_stored.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/model/weight_plan.h"

const char *stored_name(char *text, const char *name, enum weight_type type, bool scales)
{
    snprintf(text, STORED_NAME_BYTES, "%s.%s.%s", name, weight_type_name(type), scales ? "scales" : "values");
    return text;
}

static const char *file_of(const struct weight_plan *plan, const struct tensor_view *tensor)
{
    return safetensors_shard_name(plan->file, tensor->shard);
}

static void mark_used(const struct weight_plan *plan, const struct tensor_view *tensor)
{
    plan->used[tensor - safetensors_tensor(plan->file, 0)] = true;
}

/* ---- finding one ---- */

static enum mn_status check_dtype(const struct weight_plan *plan, const struct tensor_view *tensor,
                                  enum tensor_dtype dtype)
{
    return tensor->dtype == dtype
               ? MN_OK
               : log_fail(plan->log, MN_ERR_FORMAT, "%s: tensor '%s' has type %s, must have %s", file_of(plan, tensor),
                          tensor->name, tensor->dtype_name, tensor_dtype_name(dtype));
}

/* The form that `type` gives the name, if it is there; half of it is none. */
static enum mn_status find_groups(const struct weight_plan *plan, const char *name, enum weight_type type,
                                  struct stored_matrix *out)
{
    char values_name[STORED_NAME_BYTES], scales_name[STORED_NAME_BYTES];
    const struct stored_matrix found = {
        .values = safetensors_find(plan->file, stored_name(values_name, name, type, false)),
        .scales = safetensors_find(plan->file, stored_name(scales_name, name, type, true)),
        .type = type};
    if (!found.values && !found.scales)
        return MN_OK;
    if (!found.values || !found.scales)
        return log_fail(plan->log, MN_ERR_FORMAT, "%s: tensor '%s' is missing, '%s' is there", plan->dir,
                        found.values ? scales_name : values_name, found.values ? values_name : scales_name);
    if (out->values)
        return log_fail(plan->log, MN_ERR_FORMAT, "%s: tensor '%s' is there twice, as '%s' and as '%s'", plan->dir,
                        name, out->values->name, values_name);
    enum mn_status status = check_dtype(plan, found.values, TENSOR_U8);
    if (!status)
        status = check_dtype(plan, found.scales, TENSOR_F16);
    if (!status)
        *out = found;
    return status;
}

enum mn_status stored_find(const struct weight_plan *plan, const char *name, struct stored_matrix *out)
{
    enum mn_status status = MN_OK;
    *out = (struct stored_matrix){.values = safetensors_find(plan->file, name)};
    for (int type = 0; type < WEIGHT_TYPES && !status; type++)
        if (weight_type_quantised((enum weight_type)type))
            status = find_groups(plan, name, (enum weight_type)type, out);
    if (status)
        return status;
    if (!out->scales) {
        status = weight_plan_find(plan, name, &out->values);
        out->type = status ? WEIGHT_TYPE_AS_STORED : weight_plan_stored_type(out->values);
        return status;
    }
    if (!*plan->config->stored.name)
        return log_fail(plan->log, MN_ERR_FORMAT,
                        "%s: tensor '%s' is quantised, but config.json has no quantization_config", plan->dir,
                        out->values->name);
    mark_used(plan, out->values);
    mark_used(plan, out->scales);
    return MN_OK;
}

bool stored_exists(const struct weight_plan *plan, const char *name)
{
    char text[STORED_NAME_BYTES];
    bool found = safetensors_find(plan->file, name) != NULL;
    for (int type = 0; type < WEIGHT_TYPES; type++)
        for (int scales = 0; scales < 2 && weight_type_quantised((enum weight_type)type); scales++)
            found |= safetensors_find(plan->file, stored_name(text, name, (enum weight_type)type, scales)) != NULL;
    return found;
}

/* ---- shapes ---- */

uint64_t stored_rows(const struct stored_matrix *stored)
{
    return stored->values->shape[0];
}

uint64_t stored_value_bytes(const struct stored_matrix *stored, uint64_t columns)
{
    const struct weight_format *format = weight_format(stored->type);
    return stored->scales ? columns / format->group * format->group_bytes
                          : columns * tensor_dtype_bytes(stored->values->dtype);
}

uint64_t stored_scale_bytes(const struct stored_matrix *stored, uint64_t columns)
{
    const struct weight_format *format = weight_format(stored->type);
    return stored->scales ? columns / format->group * format->scale_bytes : 0;
}

static enum mn_status check_tensor(const struct weight_plan *plan, const struct tensor_view *tensor,
                                   const uint64_t shape[3], uint32_t rank)
{
    if (tensor->rank == rank && !memcmp(tensor->shape, shape, rank * sizeof *shape))
        return MN_OK;
    char asked[80], last[24] = "";
    if (rank > 2)
        snprintf(last, sizeof last, ", %" PRIu64, shape[2]);
    snprintf(asked, sizeof asked, "[%" PRIu64 ", %" PRIu64 "%s]", shape[0], shape[1], last);
    return log_fail(
        plan->log, MN_ERR_FORMAT,
        "%s: tensor '%s' has rank %u and shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64 "], config.json asks for %s",
        file_of(plan, tensor), tensor->name, tensor->rank, tensor->shape[0], tensor->shape[1], tensor->shape[2], asked);
}

enum mn_status stored_check_shape(const struct weight_plan *plan, const struct stored_matrix *stored, const char *name,
                                  uint64_t rows, uint32_t columns)
{
    const struct weight_format *format = weight_format(stored->type);
    const uint32_t n_groups = columns / format->group, n_halves = format->scale_bytes / 2;
    if (columns % format->group != 0)
        return log_fail(plan->log, MN_ERR_FORMAT,
                        "%s: tensor '%s' is stored as %s, but its rows of %u values are no whole groups of %u",
                        plan->dir, name, format->name, columns, format->group);
    const uint64_t n_rows = rows ? rows : stored->values->shape[0];
    const uint64_t values[3] = {n_rows, (uint64_t)n_groups * format->group_bytes},
                   scales[3] = {n_rows, n_groups, n_halves};
    enum mn_status status = check_tensor(plan, stored->values, values, 2);
    return status ? status : check_tensor(plan, stored->scales, scales, n_halves > 1 ? 3 : 2);
}

/* ---- values ---- */

enum mn_status stored_check_scales(const struct weight_plan *plan, const struct stored_matrix *stored,
                                   const uint8_t *scales, uint64_t columns)
{
    const uint64_t n_bytes = stored_scale_bytes(stored, columns);
    const uint32_t scale_bytes = weight_format(stored->type)->scale_bytes;
    for (uint64_t i = 0; i < n_bytes; i += 2) {
        uint16_t half;
        memcpy(&half, scales + i, sizeof half);
        const bool negative = half & 0x8000 && i % scale_bytes == 0, finite = (half & 0x7c00) != 0x7c00;
        if (negative || !finite)
            return log_fail(plan->log, MN_ERR_FORMAT, "%s: tensor '%s' holds a scale that is %s",
                            file_of(plan, stored->scales), stored->scales->name, finite ? "negative" : "not finite");
    }
    return MN_OK;
}

enum mn_status stored_decode(const struct weight_plan *plan, const struct stored_matrix *stored, const uint8_t *values,
                             const uint8_t *scales, uint64_t columns, float *out)
{
    const struct weight_format *format = weight_format(stored->type);
    if (!stored->scales)
        return weight_plan_decode(plan, stored->values, values, columns, out);
    enum mn_status status = stored_check_scales(plan, stored, scales, columns);
    for (uint64_t k = 0; k < columns && !status; k += format->group) {
        format->decode(values, scales, out + k);
        values += format->group_bytes;
        scales += format->scale_bytes;
    }
    return status;
}
