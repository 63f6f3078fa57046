#include "lines.h"

#include <stdlib.h>
#include <string.h>

enum mn_status lines_each(const char *source, const char *text, size_t n_bytes,
                          enum mn_status (*take)(void *user, size_t number, const char *line, size_t n_bytes,
                                                 const struct mn_log *log),
                          void *user, const struct mn_log *log)
{
    struct line_log at = {log, source, 0};
    const struct mn_log with_line = {.write = cli_write_with_line, .user = &at};
    enum mn_status status = MN_OK;
    for (const char *line = text, *end = text + n_bytes; line < end && !status;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const size_t n = (size_t)((newline ? newline : end) - line);
        at.line++;
        if (!cli_is_blank(line, n))
            status = take(user, at.line, line, n, &with_line);
        line += n + 1;
    }
    return status;
}

enum mn_status lines_get_ids(const struct json_doc *doc, const char *key, uint32_t vocab_size, uint32_t **ids,
                             uint32_t *n_ids)
{
    const cJSON *array, *item;
    *ids = NULL;
    *n_ids = 0;
    enum mn_status status = json_get_array(doc, doc->root, key, &array);
    if (status)
        return status;
    const int n = cJSON_GetArraySize(array);
    if (n < 1 || n > CLI_IDS_MAX)
        return json_refuse(doc, MN_ERR_FORMAT, key, array,
                           "must hold at least one token id, and no more than the longest context");
    if (!(*ids = malloc((size_t)n * sizeof **ids)))
        return log_fail(doc->log, MN_ERR_MEMORY, "out of host memory for %d ids", n);
    cJSON_ArrayForEach (item, array) {
        if (!status)
            status = json_as_u32(doc, key, item, 0, vocab_size - 1, &(*ids)[(*n_ids)++]);
    }
    if (status) {
        free(*ids);
        *ids = NULL;
    }
    return status;
}
