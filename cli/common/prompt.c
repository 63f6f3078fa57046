#include "cli/common/prompt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/system.h"
#include "engine/files/lines.h"

static void drop_newline(char *text, size_t *n_bytes)
{
    if (*n_bytes == 0 || text[*n_bytes - 1] != '\n')
        return;
    --*n_bytes;
    *n_bytes -= *n_bytes && text[*n_bytes - 1] == '\r';
    text[*n_bytes] = '\0';
}

enum mn_status cli_read_prompt(const char *path, bool raw, const char *ways, char **text, size_t *n_bytes,
                               const struct mn_log *log)
{
    if (!path && stream_is_terminal(stdin))
        return log_fail(log, MN_ERR_USAGE, "no prompt: give exactly one of %s", ways);
    enum mn_status status = prompt_file_read(path ? path : "-", text, n_bytes, log);
    if (status)
        return status;
    if (!raw)
        drop_newline(*text, n_bytes);
    if (path || *n_bytes)
        return MN_OK;
    free(*text);
    *text = NULL;
    return log_fail(log, MN_ERR_USAGE, "no prompt: standard input is empty; give exactly one of %s", ways);
}

enum mn_status cli_check_ids(const uint32_t *ids, size_t n_ids, uint32_t vocab_size, const struct mn_log *log)
{
    for (size_t i = 0; i < n_ids; i++)
        if (ids[i] >= vocab_size)
            return log_fail(log, MN_ERR_USAGE,
                            "--ids: token id %" PRIu32 " at place %zu: the vocabulary has ids 0 to %" PRIu32, ids[i],
                            i + 1, vocab_size - 1);
    return MN_OK;
}

enum mn_status cli_copy_ids(uint32_t **copy, const uint32_t *ids, size_t n_ids, uint32_t vocab_size,
                            const struct mn_log *log)
{
    enum mn_status status = cli_check_ids(ids, n_ids, vocab_size, log);
    if (status)
        return status;
    *copy = malloc(n_ids * sizeof **copy);
    if (!*copy)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu prompt ids", n_ids);
    memcpy(*copy, ids, n_ids * sizeof **copy);
    return MN_OK;
}

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
