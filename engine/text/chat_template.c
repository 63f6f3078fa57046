#include "engine/text/chat_template.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/files/input.h"
#include "engine/files/json.h"

enum { TEMPLATE_BYTES_MAX = 1 << 20, CONFIG_BYTES_MAX = 64 << 20 };

/* Texts of Huginn's template, by the hash of template_hash: the authors' of the tokenizer and of finetuning, and the
 * one in docs/models.md. */
static const uint64_t known[] = {UINT64_C(0x60b5f9cb8b391488), UINT64_C(0xa8a0a291c25bc084),
                                 UINT64_C(0x12cc0be836ead7e1), UINT64_C(0xe8e99eaa0e6d8fed)};

/* What every text of it has. */
static const char *const marks[] = {"<|begin_header|>", "<|end_header|>", "<|end_turn|>", "Huginn"};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Of the text without blanks around it, and with line ends as they are however it spells them. */
static uint64_t template_hash(const char *text)
{
    uint64_t hash = HASH_START;
    size_t n = strlen(text);
    for (; n > 0 && is_space(*text); n--)
        text++;
    while (n > 0 && is_space(text[n - 1]))
        n--;
    for (size_t i = 0; i < n; i++) {
        const bool escaped = i + 1 < n && text[i] == '\\' && text[i + 1] == 'n';
        hash = hash_bytes(hash, escaped ? "\n" : text + i, 1);
        i += escaped;
    }
    return hash;
}

static enum chat_fit template_fit(const char *text)
{
    const uint64_t hash = template_hash(text);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (hash == known[i])
            return CHAT_SAME;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (!strstr(text, marks[i]))
            return CHAT_OTHER;
    return CHAT_SIMILAR;
}

/* Takes over `file`. */
static void settle(struct chat_template *out, enum chat_fit fit, char *file)
{
    chat_template_finish(out);
    *out = (struct chat_template){fit, file};
}

static char *join(const char *dir, const char *name)
{
    const size_t n = strlen(dir) + strlen(name) + 2;
    char *path = malloc(n);
    if (path)
        snprintf(path, n, "%s/%s", dir, name);
    return path;
}

/* The text of the key, or of the one named "default" in a list; NULL: none that would be taken. */
static enum mn_status find_text(const char **text, const struct json_doc *doc, const struct cJSON *node)
{
    static const char key[] = "chat_template";
    const struct cJSON *item;
    *text = NULL;
    if (!cJSON_IsArray(node))
        return json_as_string(doc, key, node, CONFIG_BYTES_MAX, text);
    cJSON_ArrayForEach (item, node) {
        const char *name;
        enum mn_status status = json_get_string(doc, item, "name", CONFIG_BYTES_MAX, &name);
        if (!status && !strcmp(name, "default"))
            status = json_get_string(doc, item, "template", CONFIG_BYTES_MAX, text);
        if (status)
            return status;
    }
    return MN_OK;
}

/* tokenizer_config.json, of which nothing else is read. Takes over `path`. */
static enum mn_status read_config(struct chat_template *out, char *path, const struct mn_log *log)
{
    struct json_doc doc = {0};
    const char *text = NULL;
    enum mn_status status = json_read_file(&doc, path, CONFIG_BYTES_MAX, log);
    const struct cJSON *node = json_find(doc.root, "chat_template");
    const bool there = node && !cJSON_IsNull(node);
    if (!status && there)
        status = find_text(&text, &doc, node);
    if (!status && there)
        settle(out, text ? template_fit(text) : CHAT_OTHER, path);
    else
        free(path);
    json_destroy(&doc);
    return status;
}

/* chat_template.jinja, which wins, as it does for the published code. Takes over `path`. */
static enum mn_status read_jinja(struct chat_template *out, char *path, const struct mn_log *log)
{
    char *text = NULL;
    size_t n_bytes = 0;
    enum mn_status status = input_read_all(&text, &n_bytes, path, TEMPLATE_BYTES_MAX, log);
    const char *instead = status ? NULL : input_instead(text, n_bytes);
    if (instead)
        status = log_fail(log, MN_ERR_FORMAT, "%s: %s", path, instead);
    if (status)
        free(path);
    else
        settle(out, template_fit(text), path);
    free(text);
    return status;
}

enum mn_status chat_template_read(struct chat_template *out, const char *dir, const struct mn_log *log)
{
    static const struct {
        const char *name;
        enum mn_status (*read)(struct chat_template *out, char *path, const struct mn_log *log);
    } files[] = {{"tokenizer_config.json", read_config}, {"chat_template.jinja", read_jinja}};
    enum mn_status status = MN_OK;
    *out = (struct chat_template){0};
    for (size_t i = 0; i < sizeof files / sizeof *files && !status; i++) {
        char *path = join(dir, files[i].name);
        if (!path)
            status = log_fail(log, MN_ERR_MEMORY, "%s: no memory for file names", dir);
        else if (input_exists(path))
            status = files[i].read(out, path, log);
        else
            free(path);
    }
    if (status)
        chat_template_finish(out);
    return status;
}

enum mn_status chat_template_check(const struct chat_template *t, const struct mn_log *log)
{
    if (t->fit == CHAT_OTHER)
        return log_fail(log, MN_ERR_UNSUPPORTED,
                        "%s: another chat template than Huginn's, which is the only one built in: give the prompt's "
                        "text as this template makes it",
                        t->file);
    if (t->fit == CHAT_SIMILAR)
        log_note(log, MN_LOG_WARN,
                 "%s: a chat template with Huginn's tokens, but not a known text of Huginn's; conversations are put "
                 "into Huginn's",
                 t->file);
    return MN_OK;
}

void chat_template_finish(struct chat_template *t)
{
    free(t->file);
    *t = (struct chat_template){0};
}
