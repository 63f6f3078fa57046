/* Quantised folders. */
#include "engine/model/quantize.h"

#include "api/handles.h"

enum mn_status mn_quantize(const struct mn_quantize_params *params, struct mn_quantized *made)
{
    const struct mn_log *log = params ? params->log : NULL;
    struct quantize_result result;
    if (made)
        *made = (struct mn_quantized){0};
    if (!params || !params->model_dir || !params->out_dir || !params->weight_type)
        return api_missing(log, "mn_quantize",
                           !params              ? "params"
                           : !params->model_dir ? "params.model_dir"
                           : !params->out_dir   ? "params.out_dir"
                                                : "params.weight_type");
    struct quantize_params quantize = {
        .model_dir = params->model_dir, .out_dir = params->out_dir, .progress = params->progress, .log = log};
    enum mn_status status = CHECK_ROOM(log, "mn_quantize_params", params);
    if (!status)
        status = weight_scheme_parse(params->weight_type, &quantize.scheme, log);
    if (!status)
        status = quantize_folder(&quantize, &result);
    if (!status && made)
        *made = (struct mn_quantized){.read_bytes = result.read_bytes,
                                      .written_bytes = result.written_bytes,
                                      .n_quantized = result.n_quantized,
                                      .n_kept = result.n_kept};
    return status;
}
