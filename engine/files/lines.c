#include "engine/files/lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/disk.h"

enum mn_status text_file_read(const char *path, char **bytes, size_t *n_bytes, const struct mn_log *log)
{
    bool standard = !strcmp(path, "-");
    const char *name = standard ? "standard input" : path;
    FILE *file = standard ? stdin : disk_stream(path, "rb");
    if (!file)
        return log_fail(log, MN_ERR_FILE, "%s: cannot be opened: %s", name, strerror(errno));
    enum mn_status status = MN_OK;
    size_t n = 0, capacity = 1 << 16;
    char *buffer = malloc(capacity);
    while (buffer && !feof(file) && !ferror(file) && n <= TEXT_FILE_BYTES_MAX) {
        n += fread(buffer + n, 1, capacity - 1 - n, file);
        if (n + 1 == capacity) {
            char *larger = realloc(buffer, capacity *= 2);
            if (!larger)
                free(buffer);
            buffer = larger;
        }
    }
    if (!buffer)
        status = log_fail(log, MN_ERR_MEMORY, "%s: out of host memory for %zu bytes", name, capacity);
    else if (ferror(file))
        status = log_fail(log, MN_ERR_FILE, "%s: cannot be read: %s", name, strerror(errno));
    else if (n > TEXT_FILE_BYTES_MAX)
        status = log_fail(log, MN_ERR_FILE, "%s: more than %d bytes", name, TEXT_FILE_BYTES_MAX);
    if (!standard)
        fclose(file);
    if (status) {
        free(buffer);
        return status;
    }
    buffer[n] = '\0';
    *bytes = buffer;
    *n_bytes = n;
    return MN_OK;
}

enum mn_status prompt_file_read(const char *path, char **bytes, size_t *n_bytes, const struct mn_log *log)
{
    const char *name = strcmp(path, "-") ? path : "standard input";
    enum mn_status status = text_file_read(path, bytes, n_bytes, log);
    if (status)
        return status;
    if (*n_bytes >= 2 && (!memcmp(*bytes, "\xff\xfe", 2) || !memcmp(*bytes, "\xfe\xff", 2))) {
        free(*bytes);
        return log_fail(log, MN_ERR_FILE, "%s: this is UTF-16 text, by its byte order mark; a prompt must be UTF-8",
                        name);
    }
    if (json_byte_order_mark(*bytes, *n_bytes))
        log_note(log, MN_LOG_WARN, "%s: begins with a byte order mark, which stays a part of the prompt", name);
    return MN_OK;
}

bool line_read(FILE *stream, char **line, size_t *capacity, size_t *n_bytes)
{
    int c = 0;
    errno = 0;
    for (*n_bytes = 0; c != '\n' && (c = getc(stream)) != EOF; (*line)[(*n_bytes)++] = (char)c) {
        if (*n_bytes + 1 < *capacity)
            continue;
        const size_t larger = *capacity ? 2 * *capacity : 256;
        char *grown = realloc(*line, larger);
        if (!grown)
            return false;
        *line = grown;
        *capacity = larger;
    }
    if (*n_bytes)
        (*line)[*n_bytes] = '\0';
    return *n_bytes > 0 && !ferror(stream);
}

void line_log_write(void *user, enum mn_log_level level, const char *text)
{
    const struct line_log *at = user;
    log_note(at->next, level, "%s: line %zu: %s", at->source, at->line, text);
}

bool line_is_blank(const char *line, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        if (!strchr(" \t\r\n", line[i]) || line[i] == '\0')
            return false;
    return true;
}

enum mn_status lines_each(const char *source, const char *text, size_t n_bytes,
                          enum mn_status (*take)(void *user, size_t number, const char *line, size_t n_bytes,
                                                 const struct mn_log *log),
                          void *user, const struct mn_log *log)
{
    struct line_log at = {log, source, 0};
    const struct mn_log with_line = {.write = line_log_write, .user = &at};
    enum mn_status status = MN_OK;
    for (const char *line = text + json_byte_order_mark(text, n_bytes), *end = text + n_bytes; line < end && !status;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const size_t n = (size_t)((newline ? newline : end) - line);
        at.line++;
        if (!line_is_blank(line, n))
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
    if (n < 1 || n > IDS_MAX)
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
