/* Result rows: JSON objects, so that every output format shows the same figures. */
#include "bench/rows/rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/system.h"
#include "engine/files/disk.h"
#include "engine/files/json.h"

enum { ROWS_MAX = 1000000 };

const char *path_name(const char *path)
{
    const size_t n = path_folder_bytes(path);
    return path[n] ? path + n : path;
}

const char *row_string(const cJSON *row, const char *key)
{
    const cJSON *value = json_find(row, key);
    return cJSON_IsString(value) ? value->valuestring : "";
}

char *row_values(const cJSON *row, const char *const *keys, size_t n)
{
    char *text = NULL;
    size_t n_bytes;
    FILE *out = memory_open(&text, &n_bytes);
    bool good = out != NULL;
    for (size_t i = 0; i < n && good; i++) {
        const cJSON *value = json_find(row, keys[i]);
        char *printed = value ? json_print_name(value) : NULL;
        good = !value || printed;
        fprintf(out, "%s|", printed ? printed : "");
        free(printed);
    }
    good = out && memory_close(out, &text, &n_bytes) && good;
    if (!good) {
        free(text);
        return NULL;
    }
    return text;
}

/* ---- the list ---- */

static size_t slot_of(const struct rows *rows, const char *key)
{
    const uint64_t hash = hash_string(HASH_START, key);
    size_t slot = (size_t)(hash ^ hash >> 32) & (rows->n_slots - 1);
    while (rows->slots[slot] && strcmp(row_string(rows->items[rows->slots[slot] - 1], "key"), key) != 0)
        slot = (slot + 1) & (rows->n_slots - 1);
    return slot;
}

static void index_all(struct rows *rows)
{
    memset(rows->slots, 0, rows->n_slots * sizeof *rows->slots);
    for (size_t i = 0; i < rows->n; i++) {
        const size_t slot = slot_of(rows, row_string(rows->items[i], "key"));
        if (!rows->slots[slot])
            rows->slots[slot] = i + 1;
    }
}

/* Twice as much of everything; the hash table stays half empty. */
static bool grow(struct rows *rows)
{
    const size_t capacity = rows->capacity ? 2 * rows->capacity : 64;
    cJSON **items = realloc(rows->items, capacity * sizeof *items);
    if (!items)
        return false;
    rows->items = items;
    size_t *slots = calloc(2 * capacity, sizeof *slots);
    if (!slots)
        return false;
    free(rows->slots);
    rows->slots = slots;
    rows->n_slots = 2 * capacity;
    rows->capacity = capacity;
    index_all(rows);
    return true;
}

enum mn_status rows_add(struct rows *rows, cJSON *row, const struct mn_log *log)
{
    if (rows->n == rows->capacity && !grow(rows)) {
        cJSON_Delete(row);
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu rows", rows->n + 1);
    }
    const size_t slot = slot_of(rows, row_string(row, "key"));
    rows->items[rows->n++] = row;
    if (!rows->slots[slot])
        rows->slots[slot] = rows->n;
    return MN_OK;
}

const cJSON *rows_find(const struct rows *rows, const char *key)
{
    if (rows->n == 0)
        return NULL;
    const size_t slot = slot_of(rows, key);
    return rows->slots[slot] ? rows->items[rows->slots[slot] - 1] : NULL;
}

void rows_free(struct rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        cJSON_Delete(rows->items[i]);
    free(rows->items);
    free(rows->slots);
    *rows = (struct rows){0};
}

/* ---- each setting once ---- */

struct place {
    const char *key;
    size_t at;
};

static int by_key(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    const int order = strcmp(x->key, y->key);
    return order ? order : x->at < y->at ? -1 : x->at > y->at;
}

/* Of equal times the later line. A row without a time is older than all. */
static bool is_newer(const cJSON *row, const cJSON *than)
{
    const cJSON *time = json_find(row, "time"), *old = json_find(than, "time");
    return !cJSON_IsString(old) || (cJSON_IsString(time) && strcmp(time->valuestring, old->valuestring) >= 0);
}

enum mn_status rows_keep_newest(struct rows *rows, size_t *n_older, const struct mn_log *log)
{
    size_t n_kept = 0;
    *n_older = 0;
    if (rows->n < 2)
        return MN_OK;
    struct place *places = malloc(rows->n * sizeof *places);
    if (!places)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu keys", rows->n);
    for (size_t i = 0; i < rows->n; i++)
        places[i] = (struct place){row_string(rows->items[i], "key"), i};
    qsort(places, rows->n, sizeof *places, by_key);
    for (size_t i = 0, first = 0; i < rows->n; i++) {
        cJSON **stays = &rows->items[places[first].at], **item = &rows->items[places[i].at];
        if (i == first || !*places[i].key || strcmp(places[i].key, places[first].key) != 0) {
            first = i;
            continue;
        }
        const bool newer = is_newer(*item, *stays);
        cJSON *older = newer ? *stays : *item;
        if (newer) {
            *stays = *item;
            places[first].key = places[i].key; /* the old one's key goes with it */
        }
        cJSON_Delete(older);
        *item = NULL;
    }
    free(places);
    for (size_t i = 0; i < rows->n; i++)
        if (rows->items[i])
            rows->items[n_kept++] = rows->items[i];
    *n_older = rows->n - n_kept;
    rows->n = n_kept;
    index_all(rows);
    return MN_OK;
}

/* ---- reading ---- */

static enum mn_status take_line(struct rows *rows, const char *line, size_t n_bytes, const struct mn_log *log)
{
    struct json_doc doc = {0};
    const char *key;
    enum mn_status status = json_parse(&doc, "JSON", line, n_bytes, TEXT_FILE_BYTES_MAX, log);
    if (!status && !cJSON_IsObject(doc.root))
        status = log_fail(log, MN_ERR_FORMAT, "must be a result row");
    if (!status)
        status = json_get_string(&doc, doc.root, "key", TEXT_FILE_BYTES_MAX, &key);
    if (!status && rows->n == ROWS_MAX)
        status = log_fail(log, MN_ERR_FORMAT, "more than %d rows", ROWS_MAX);
    if (!status) {
        status = rows_add(rows, doc.root, log);
        doc.root = NULL; /* the list's now */
    }
    json_destroy(&doc);
    return status;
}

/* What may stand at the end of a file whose writer was killed: the beginning of a row, or of a record of a trace, and
 * nothing else. */
static bool begins_a_row(const char *line, size_t n_bytes)
{
    static const char *const starts[] = {"{\"key\":\"", "{\"bench\":\"trace"};
    bool begins = false;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        const size_t n = strlen(starts[i]);
        begins |= !memcmp(line, starts[i], n_bytes < n ? n_bytes : n);
    }
    return begins;
}

enum mn_status rows_parse(struct rows *rows, const char *path, const char *text, size_t n_bytes, uint64_t *n_good,
                          const struct mn_log *log)
{
    struct line_log at = {log, path, 0};
    const struct mn_log with_line = {.write = line_log_write, .user = &at}, silent = {0};
    enum mn_status status = MN_OK;
    *n_good = json_byte_order_mark(text, n_bytes);
    for (const char *line = text + *n_good, *end = text + n_bytes; line < end && !status;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const size_t n = (size_t)((newline ? newline : end) - line);
        at.line++;
        const bool last = !newline && begins_a_row(line, n);
        if (!line_is_blank(line, n))
            status = take_line(rows, line, n, last ? &silent : &with_line);
        if (last && status == MN_ERR_FORMAT) {
            log_note(log, MN_LOG_WARN, "%s: line %zu is cut off and left out", path, at.line);
            return MN_OK;
        }
        line += n + (newline != NULL);
        *n_good = (uint64_t)(line - text);
    }
    return status;
}

enum mn_status rows_read(struct rows *rows, const char *path, bool may_be_missing, uint64_t *n_good,
                         const struct mn_log *log)
{
    char *text;
    size_t n_bytes;
    *n_good = 0;
    struct disk_info info;
    if (may_be_missing && !disk_look(&info, path) && errno == ENOENT)
        return MN_OK;
    enum mn_status status = text_file_read(path, &text, &n_bytes, log);
    if (status)
        return status;
    status = rows_parse(rows, path, text, n_bytes, n_good, log);
    free(text);
    return status;
}

/* ---- appending ---- */

/* Through the descriptor that holds the lock: closing any other one of the file would give the lock up. */
static enum mn_status read_locked(struct rows *rows, const struct output_file *out, const char *path, uint64_t *n_good,
                                  const struct mn_log *log)
{
    struct disk_info info;
    if (!disk_look_open(&info, out->fd))
        return log_fail(log, MN_ERR_FILE, "%s: cannot be read: %s", path, strerror(errno));
    const size_t n = (size_t)info.n_bytes;
    if (n > TEXT_FILE_BYTES_MAX)
        return log_fail(log, MN_ERR_FILE, "%s: more than %d bytes", path, TEXT_FILE_BYTES_MAX);
    char *text = malloc(n + 1);
    if (!text)
        return log_fail(log, MN_ERR_MEMORY, "%s: out of host memory for %zu bytes", path, n);
    errno = 0;
    enum mn_status status = disk_read_at(out->fd, text, n, 0) == (int64_t)n
                                ? rows_parse(rows, path, text, n, n_good, log)
                                : log_fail(log, MN_ERR_FILE, "%s: cannot be read: %s", path, strerror(errno));
    free(text);
    return status;
}

/* Two writers in one file would each miss what the other has; then what there is, and a clean end. */
static enum mn_status begin_appending(struct rows *rows, struct output_file *out, const char *path,
                                      const struct mn_log *log)
{
    uint64_t n_good = 0;
    char last = '\n';
    if (out->kind != OUTPUT_APPENDS) /* a pipe or a device has nothing to go on from */
        return MN_OK;
    if (!disk_lock(out->fd))
        return log_fail(log, MN_ERR_FILE, "%s: another process is writing it; shards need a file each", path);
    enum mn_status status = read_locked(rows, out, path, &n_good, log);
    if (!status)
        status = output_cut(out, n_good, log);
    if (!status && n_good > 0 && disk_read_at(out->fd, &last, 1, n_good - 1) == 1 && last != '\n')
        status = output_write(out, "\n", 1, log);
    return status;
}

enum mn_status rows_open(struct output_file *out, const char *path, struct rows *rows, const struct mn_log *log)
{
    struct rows old = {0};
    enum mn_status status = output_append(out, path, log);
    if (status)
        return status;
    status = begin_appending(&old, out, path, log);
    if (status)
        output_discard(out);
    if (!status && rows)
        *rows = old;
    else
        rows_free(&old);
    return status;
}

enum mn_status rows_append(struct output_file *out, const cJSON *row, const struct mn_log *log)
{
    char *text = json_print(row);
    if (!text)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a row");
    fprintf(out->text, "%s\n", text);
    free(text);
    return output_flush(out, log);
}
