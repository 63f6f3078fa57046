#include "bench/page/read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/disk.h"
#include "engine/files/input.h"
#include "engine/files/json.h"

enum { PATH_BYTES = 4096, LENGTH_BYTES = 8 };

static bool has_object(const cJSON *value, const char *key)
{
    return cJSON_IsObject(json_find(value, key));
}

bool page_is_row(const cJSON *value)
{
    static const char *const outcomes[] = {"is_greedy", "acc", "exact_match"};
    bool scored = false;
    for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++)
        scored |= json_is_given(value, outcomes[i]);
    return cJSON_IsObject(value) &&
           (*row_string(value, "bench") || *row_string(value, "event") || *row_string(value, "key") ||
            (scored && json_is_given(value, "num_steps")) || has_object(value, "summary") ||
            has_object(value, "total") || (has_object(value, "stats") && cJSON_IsArray(json_find(value, "tokens"))));
}

/* ---- what else it may be ---- */

/* By its first bytes; NULL: text that may be rows. */
static const char *what_else(const char *bytes, size_t n_bytes)
{
    const size_t n_head = n_bytes < INPUT_HEAD_BYTES ? n_bytes : INPUT_HEAD_BYTES;
    const char *text = bytes + json_byte_order_mark(bytes, n_bytes), *end = bytes + n_bytes;
    if (n_bytes == 0)
        return "the file is empty: it has no rows";
    if (n_bytes >= 2 && (!memcmp(bytes, "\xff\xfe", 2) || !memcmp(bytes, "\xfe\xff", 2)))
        return "this is UTF-16 text, by its byte order mark; rows are UTF-8";
    if (n_bytes > LENGTH_BYTES && bytes[LENGTH_BYTES] == '{' && bytes[LENGTH_BYTES - 1] == '\0')
        return "weights of a model (safetensors), not result rows";
    if (memchr(bytes, '\0', n_head))
        return "a binary file, not result rows";
    while (text < end && strchr(" \t\r\n", *text))
        text++;
    if (text < end && *text == '<')
        return "a web page or other markup, not the rows it was made from";
    const char *instead = input_instead(bytes, n_bytes);
    if (instead)
        return instead;
    return text == end                    ? "nothing but blanks: it has no rows"
           : *text != '{' && *text != '[' ? "text of another kind: result rows are JSON"
                                          : NULL;
}

/* One JSON document that is no row: which? */
static const char *what_document(const cJSON *value)
{
    if (has_object(value, "weight_map"))
        return "the index of a model's weights, not result rows";
    if (json_find(value, "architectures") || json_find(value, "model_type"))
        return "the configuration of a model, not result rows";
    if (has_object(value, "model") && json_find(value, "added_tokens"))
        return "a tokenizer, not result rows";
    if (json_find(value, "pairs") && json_find(value, "geometric_mean"))
        return "what `muninn compare -o json` writes; a page comes from the two files that were compared";
    return "JSON, but no result row: it has no key 'bench', 'event', 'summary' or 'key'";
}

/* Folders and the first bytes of plain files: weights may be larger than any text that is read. */
static enum mn_status check_kind(const char *path, const struct mn_log *log)
{
    struct disk_info info;
    char inside[PATH_BYTES], head[INPUT_HEAD_BYTES];
    if (!strcmp(path, "-") || !disk_look(&info, path))
        return MN_OK; /* what is not there is said by whoever opens it */
    if (info.kind == DISK_FOLDER) {
        const int n = snprintf(inside, sizeof inside, "%s/config.json", path);
        const bool model = n > 0 && (size_t)n < sizeof inside && input_exists(inside);
        return log_fail(log, MN_ERR_FILE, "%s: a %s, not a file of result rows", path,
                        model ? "folder with a model" : "folder");
    }
    FILE *file = info.kind == DISK_PLAIN ? disk_stream(path, "rb") : NULL;
    const size_t n = file ? fread(head, 1, sizeof head, file) : 0;
    const bool good = file && !ferror(file);
    if (file)
        fclose(file);
    /* Blanks at its head may have rows behind them. */
    const char *what = good && !(n > 0 && line_is_blank(head, n)) ? what_else(head, n) : NULL;
    if (what)
        return log_fail(log, MN_ERR_FORMAT, "%s: %s", path, what);
    return MN_OK;
}

/* ---- rows ---- */

static const char *what_value(const cJSON *value)
{
    return cJSON_IsObject(value) ? what_document(value) : "a JSON value that is no result row";
}

/* Takes the value out of its document. */
static enum mn_status take_value(struct rows *rows, cJSON *value, const struct mn_log *log)
{
    if (page_is_row(value))
        return rows_add(rows, value, log);
    enum mn_status status = log_fail(log, MN_ERR_FORMAT, "%s", what_value(value));
    cJSON_Delete(value);
    return status;
}

static enum mn_status take_line(struct rows *rows, const char *line, size_t n_bytes, const struct mn_log *log)
{
    struct json_doc doc = {0};
    enum mn_status status = json_parse(&doc, "JSON", line, n_bytes, TEXT_FILE_BYTES_MAX, log);
    if (!status) {
        status = take_value(rows, doc.root, log);
        doc.root = NULL; /* the list's now, or gone */
    }
    json_destroy(&doc);
    return status;
}

static enum mn_status take_array(struct rows *rows, const char *name, const char *text, size_t n_bytes,
                                 const struct mn_log *log)
{
    struct json_doc doc = {0};
    enum mn_status status = json_parse(&doc, name, text, n_bytes, TEXT_FILE_BYTES_MAX, log);
    for (size_t i = 1; !status && doc.root->child; i++) {
        if (!page_is_row(doc.root->child))
            status = log_fail(log, MN_ERR_FORMAT, "%s: value %zu: %s", name, i, what_value(doc.root->child));
        else
            status = rows_add(rows, cJSON_DetachItemViaPointer(doc.root, doc.root->child), log);
    }
    json_destroy(&doc);
    return status;
}

/* Its first line is no row: the reason is a better one when the whole file is one document over many lines. */
static enum mn_status refuse(const char *name, const char *text, size_t n_bytes, const char *line, size_t n_line,
                             const struct mn_log *log)
{
    const struct mn_log silent = {0};
    struct line_log at = {log, name, 1};
    const struct mn_log with_line = {.write = line_log_write, .user = &at};
    struct json_doc doc = {0};
    struct rows none = {0};
    enum mn_status status = json_parse_foreign(&doc, name, text, n_bytes, TEXT_FILE_BYTES_MAX, &silent);
    for (const char *c = text; c < line; c++)
        at.line += *c == '\n';
    if (status == MN_ERR_FORMAT) /* not one document: what is wrong with the line? */
        status = take_line(&none, line, n_line, &with_line);
    else if (!status)
        status = log_fail(log, MN_ERR_FORMAT, "%s: %s", name, what_value(doc.root));
    rows_free(&none);
    json_destroy(&doc);
    return status;
}

static enum mn_status take_lines(struct rows *rows, const char *name, const char *text, size_t n_bytes,
                                 const struct mn_log *log)
{
    const size_t n_before = rows->n;
    struct line_log at = {log, name, 0};
    const struct mn_log with_line = {.write = line_log_write, .user = &at}, silent = {0};
    enum mn_status status = MN_OK;
    for (const char *line = text, *end = text + n_bytes; line < end && !status;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const size_t n = (size_t)((newline ? newline : end) - line);
        const bool first = rows->n == n_before;
        at.line++;
        if (!line_is_blank(line, n))
            status = take_line(rows, line, n, first || !newline ? &silent : &with_line);
        if (status == MN_ERR_FORMAT && first)
            return refuse(name, text, n_bytes, line, n, log);
        if (status == MN_ERR_FORMAT && !newline) {
            log_note(log, MN_LOG_WARN, "%s: line %zu is cut off and left out", name, at.line);
            return MN_OK;
        }
        line += n + (newline != NULL);
    }
    return status;
}

enum mn_status page_read(struct rows *rows, const char *path, const struct mn_log *log)
{
    const char *name = strcmp(path, "-") ? path : "standard input";
    const size_t n_before = rows->n;
    char *text = NULL;
    size_t n_bytes;
    enum mn_status status = check_kind(path, log);
    if (!status)
        status = text_file_read(path, &text, &n_bytes, log);
    if (status)
        return status;
    const char *what = what_else(text, n_bytes), *begin = text + json_byte_order_mark(text, n_bytes),
               *first = begin + strspn(begin, " \t\r\n");
    const size_t n = (size_t)(text + n_bytes - begin);
    if (what)
        status = log_fail(log, MN_ERR_FORMAT, "%s: %s", name, what);
    else if (*first == '[')
        status = take_array(rows, name, begin, n, log);
    else
        status = take_lines(rows, name, begin, n, log);
    if (!status && rows->n == n_before)
        status = log_fail(log, MN_ERR_FORMAT, "%s: it has no rows", name);
    free(text);
    return status;
}
