#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/cli.h"

static enum mn_status put_in_front(uint32_t id, uint32_t **ids, size_t *n_ids, const struct mn_log *log)
{
    uint32_t *longer = malloc((*n_ids + 1) * sizeof *longer);
    if (!longer)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu prompt ids", *n_ids + 1);
    longer[0] = id;
    if (*n_ids)
        memcpy(longer + 1, *ids, *n_ids * sizeof *longer);
    free(*ids);
    *ids = longer;
    ++*n_ids;
    return MN_OK;
}

enum mn_status cli_encode_prompt(struct mn_engine *engine, const char *text, size_t n_bytes, bool bos, uint32_t **ids,
                                 size_t *n_ids, const struct mn_log *log)
{
    struct mn_model_info info;
    mn_engine_info(engine, &info);
    *ids = NULL;
    enum mn_status status = mn_tokenize(engine, text, n_bytes, true, ids, n_ids);
    if (!status && bos && info.bos_token_id != UINT32_MAX && !(*n_ids && (*ids)[0] == info.bos_token_id))
        status = put_in_front(info.bos_token_id, ids, n_ids, log);
    if (!status && *n_ids > IDS_MAX)
        status = log_fail(log, MN_ERR_USAGE, "a prompt of %zu tokens; at most %d", *n_ids, IDS_MAX);
    if (status) {
        free(*ids);
        *ids = NULL;
    }
    return status;
}
