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

/* Texts that say what is built in, by the hash of template_hash. Of Huginn's: the authors' of the tokenizer and of
 * finetuning. Of ChatML: the one that most folders have. Of each: the one in docs/models.md. */
static const struct {
    uint64_t hash;
    enum chat_kind kind;
} known[] = {{UINT64_C(0x60b5f9cb8b391488), CHAT_HUGINN}, {UINT64_C(0xa8a0a291c25bc084), CHAT_HUGINN},
             {UINT64_C(0x12cc0be836ead7e1), CHAT_HUGINN}, {UINT64_C(0xe8e99eaa0e6d8fed), CHAT_HUGINN},
             {UINT64_C(0x121f975036479035), CHAT_CHATML}, {UINT64_C(0x88bf4138d5c826f0), CHAT_CHATML},
             {UINT64_C(0x8dd9881ace89a6cf), CHAT_LLAMA3}};

/* How a ChatML template writes a reply that begins with a thought: as the text of a template, or within its quotes. */
static const char *const thoughts[] = {"<|im_start|>assistant\n<think>\n", "<|im_start|>assistant\\n<think>\\n"};

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

static bool has_marks(const char *text, enum chat_kind kind)
{
    const char *marks[CHAT_MARKS_MAX];
    chat_marks(kind, marks);
    for (size_t i = 0; marks[i]; i++)
        if (!strstr(text, marks[i]))
            return false;
    return true;
}

/* `text` NULL: a template that is not known by its text. Takes over `file`. */
static void settle(struct chat_template *out, const char *text, char *file)
{
    chat_template_finish(out);
    out->file = file;
    for (int kind = 0; kind < CHAT_N_KINDS; kind++)
        out->fits[kind] = text && has_marks(text, (enum chat_kind)kind) ? CHAT_SIMILAR : CHAT_OTHER;
    const uint64_t hash = text ? template_hash(text) : 0;
    for (size_t i = 0; text && i < sizeof known / sizeof *known; i++)
        if (hash == known[i].hash)
            out->fits[known[i].kind] = CHAT_SAME;
    for (size_t i = 0; text && i < sizeof thoughts / sizeof *thoughts; i++)
        out->opens_thought = out->opens_thought || strstr(text, thoughts[i]);
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
        settle(out, text, path);
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
        settle(out, text, path);
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

static enum mn_status refuse(const struct chat_template *t, const struct mn_log *log)
{
    return log_fail(log, MN_ERR_UNSUPPORTED,
                    "%s: another chat template than those that are built in for this tokenizer: give the prompt's "
                    "text as this template makes it",
                    t->file);
}

enum mn_status chat_template_choose(struct chat_style *style, const struct chat_template *t,
                                    const struct tokenizer *tokenizer, bool warns, const struct mn_log *log)
{
    enum chat_fit best = CHAT_OTHER;
    bool any = false;
    *style = (struct chat_style){0};
    for (int kind = 0; kind < CHAT_N_KINDS; kind++) {
        if (!chat_has_tokens(tokenizer, (enum chat_kind)kind))
            continue;
        any = true;
        if (t->fits[kind] < best) {
            best = t->fits[kind];
            style->kind = (enum chat_kind)kind;
        }
    }
    if (!any)
        return log_fail(log, MN_ERR_UNSUPPORTED,
                        "chat: the tokenizer has the special tokens of no template that is built in (Huginn's, ChatML, "
                        "Llama-3's): give the prompt's text as the model's template makes it");
    if (best == CHAT_OTHER)
        return refuse(t, log);
    style->opens_thought = t->opens_thought && style->kind == CHAT_CHATML;
    if (best == CHAT_SIMILAR && warns)
        log_note(log, MN_LOG_WARN,
                 "%s: a chat template with the tokens of %s, but not a known text of it; conversations are put into "
                 "that%s",
                 t->file, chat_name(style->kind),
                 style->opens_thought ? ", replies begin with <think> as it says" : "");
    return MN_OK;
}

void chat_template_finish(struct chat_template *t)
{
    free(t->file);
    *t = (struct chat_template){0};
}
