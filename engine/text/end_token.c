#include "engine/text/end_token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/input.h"
#include "engine/files/json.h"

enum { CONFIG_BYTES_MAX = 16 << 20, TOKEN_BYTES_MAX = 1024 };

/* A token's text, or an object with its "content" and flags; null and nothing: none. */
static enum mn_status find_content(const char **content, const struct json_doc *doc)
{
    static const char key[] = "eos_token";
    const struct cJSON *node = json_find(doc->root, key);
    *content = NULL;
    if (!node || cJSON_IsNull(node))
        return MN_OK;
    if (cJSON_IsObject(node))
        return json_get_string(doc, node, "content", TOKEN_BYTES_MAX, content);
    return json_as_string(doc, key, node, TOKEN_BYTES_MAX, content);
}

static enum mn_status read_from(bool *found, uint32_t *id, const char *path, const struct tokenizer *tokenizer,
                                const struct mn_log *log)
{
    struct json_doc doc = {0};
    const char *content = NULL;
    enum mn_status status = json_read_file(&doc, path, CONFIG_BYTES_MAX, log);
    if (!status)
        status = find_content(&content, &doc);
    *found = !status && content && tokenizer_token_to_id(tokenizer, content, id);
    if (!status && content && !*found)
        status = json_refuse(&doc, MN_ERR_FORMAT, "eos_token", json_find(doc.root, "eos_token"),
                             "tokenizer.json has no such token");
    json_destroy(&doc);
    return status;
}

enum mn_status end_token_read(bool *found, uint32_t *id, const char *dir, const struct tokenizer *tokenizer,
                              const struct mn_log *log)
{
    static const char name[] = "tokenizer_config.json";
    const size_t n = strlen(dir) + sizeof name + 1;
    char *path = malloc(n);
    *found = false;
    if (!path)
        return log_fail(log, MN_ERR_MEMORY, "%s: no memory for file names", dir);
    snprintf(path, n, "%s/%s", dir, name);
    enum mn_status status = input_exists(path) ? read_from(found, id, path, tokenizer, log) : MN_OK;
    free(path);
    return status;
}
