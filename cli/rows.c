/* Result rows: JSON objects, so that every output format shows the same figures. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "commit.h"
#include "json.h"

enum { ROWS_MAX = 1000000 };

char *row_key(const struct bench_model *model, const struct bench_setting *s, const struct bench_common *common)
{
    char *key = NULL;
    size_t n;
    FILE *out = open_memstream(&key, &n);
    if (!out)
        return NULL;
    fprintf(out, "%s|%s|%s|%s|%s|%s|%s|%s|R%" PRIu32 " K%" PRIu32 " L%" PRIu32 " W%" PRIu32 " p%" PRIu32 " n%" PRIu32 " b%" PRIu32 "|t%g s%" PRIu64, MUNINN_COMMIT,
            model->info.device_name, model->info.driver, model->hash, model->info.weight_type, s->kv_policy, s->kv_type, s->strategy, s->num_steps, s->draft_steps,
            s->lookahead, s->max_inflight, s->prompt_tokens, s->n_new, s->batch, (double)common->temperature, common->seed);
    for (uint32_t i = 0; i < common->n_acceptance; i++)
        fprintf(out, "%s%g", i ? "," : "|a", (double)common->acceptance[i]);
    if (fclose(out) != 0) {
        free(key);
        return NULL;
    }
    return key;
}

enum mn_status rows_add(struct rows *rows, cJSON *row, const struct mn_log *log)
{
    if (rows->n == rows->capacity) {
        const size_t capacity = rows->capacity ? 2 * rows->capacity : 64;
        cJSON **items = realloc(rows->items, capacity * sizeof *items);
        if (!items) {
            cJSON_Delete(row);
            return log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu rows", capacity);
        }
        rows->items = items;
        rows->capacity = capacity;
    }
    rows->items[rows->n++] = row;
    return MN_OK;
}

static const char *key_of(const cJSON *row)
{
    return json_find(row, "key")->valuestring;
}

const cJSON *rows_find(const struct rows *rows, const char *key)
{
    for (size_t i = 0; i < rows->n; i++)
        if (!strcmp(key_of(rows->items[i]), key))
            return rows->items[i];
    return NULL;
}

void rows_free(struct rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        cJSON_Delete(rows->items[i]);
    free(rows->items);
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
        places[i] = (struct place){key_of(rows->items[i]), i};
    qsort(places, rows->n, sizeof *places, by_key);
    for (size_t i = 0, first = 0; i < rows->n; i++) {
        cJSON **stays = &rows->items[places[first].at], **item = &rows->items[places[i].at];
        if (i == first || strcmp(places[i].key, places[first].key) != 0) {
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
    return MN_OK;
}

/* ---- reading ---- */

static enum mn_status take_line(struct rows *rows, const char *line, size_t n_bytes, const struct mn_log *log)
{
    struct json_doc doc = {0};
    const char *key;
    enum mn_status status = json_parse(&doc, "JSON", line, n_bytes, CLI_FILE_BYTES_MAX, log);
    if (!status && !cJSON_IsObject(doc.root))
        status = log_fail(log, MN_ERR_FORMAT, "must be a result row");
    if (!status)
        status = json_get_string(&doc, doc.root, "key", CLI_FILE_BYTES_MAX, &key);
    if (!status && rows->n == ROWS_MAX)
        status = log_fail(log, MN_ERR_FORMAT, "more than %d rows", ROWS_MAX);
    if (!status) {
        status = rows_add(rows, doc.root, log);
        doc.root = NULL; /* the list's now */
    }
    json_destroy(&doc);
    return status;
}

enum mn_status rows_read(struct rows *rows, const char *path, bool may_be_missing, uint64_t *n_good, const struct mn_log *log)
{
    char *text;
    size_t n_bytes;
    *n_good = 0;
    if (may_be_missing && access(path, F_OK) != 0 && errno == ENOENT)
        return MN_OK;
    enum mn_status status = cli_read_file(path, &text, &n_bytes, log);
    if (status)
        return status;
    struct line_log at = {log, path, 0};
    const struct mn_log with_line = {.write = cli_write_with_line, .user = &at};
    for (const char *line = text, *end = text + n_bytes; line < end && !status;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        if (!newline) {
            log_note(log, MN_LOG_WARN, "%s: line %zu is cut off and left out", path, at.line + 1);
            break;
        }
        at.line++;
        if (!cli_is_blank(line, (size_t)(newline - line)))
            status = take_line(rows, line, (size_t)(newline - line), &with_line);
        line = newline + 1;
        *n_good = (uint64_t)(line - text);
    }
    free(text);
    return status;
}

/* ---- appending ---- */

enum mn_status rows_open(FILE **file, const char *path, struct rows *rows, const struct mn_log *log)
{
    uint64_t n_good = 0;
    struct rows old = {0};
    *file = NULL;
    enum mn_status status = rows_read(&old, path, true, &n_good, log);
    if (!status && access(path, F_OK) == 0 && truncate(path, (off_t)n_good) != 0)
        status = log_fail(log, MN_ERR_FILE, "%s: cannot be cut behind its last whole line: %s", path, strerror(errno));
    if (!status && !(*file = fopen(path, "a")))
        status = log_fail(log, MN_ERR_FILE, "%s: cannot be written: %s", path, strerror(errno));
    if (!status && rows)
        *rows = old;
    else
        rows_free(&old);
    return status;
}

static enum mn_status write_failed(const char *path, const struct mn_log *log)
{
    return log_fail(log, MN_ERR_RUN, "%s: writing failed: %s", path, strerror(errno));
}

enum mn_status rows_append(FILE *file, const char *path, const cJSON *row, const struct mn_log *log)
{
    char *text = cJSON_PrintUnformatted(row);
    if (!text)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a row");
    errno = 0;
    const bool good = fprintf(file, "%s\n", text) > 0 && fflush(file) == 0;
    cJSON_free(text);
    return good ? MN_OK : write_failed(path, log);
}

enum mn_status rows_sync(FILE *file, const char *path, const struct mn_log *log)
{
    errno = 0;
    return fsync(fileno(file)) == 0 || errno == EINVAL ? MN_OK : write_failed(path, log); /* EINVAL: a pipe or a device */
}

/* ---- writing ---- */

/* A value as plain text for tables: numbers short, arrays with blanks between. */
static void write_plain(FILE *stream, const cJSON *value, int digits, bool csv)
{
    const cJSON *item;
    bool first = true;
    if (!value || cJSON_IsNull(value))
        return;
    if (cJSON_IsBool(value)) {
        fputs(cJSON_IsTrue(value) ? "yes" : "no", stream);
    } else if (cJSON_IsNumber(value)) {
        fprintf(stream, "%.*g", digits, value->valuedouble);
    } else if (cJSON_IsString(value)) {
        /* Names come from outside: nothing in them may end a cell or start a formula in a spreadsheet. */
        if (csv && strchr("=+-@", value->valuestring[0]) && value->valuestring[0])
            fputc('\'', stream);
        for (const char *c = value->valuestring; *c; c++) {
            if (!csv && (*c == '|' || *c == '\\' || *c == '<'))
                fputc('\\', stream);
            if (csv && *c == '"')
                fputc('"', stream);
            fputc((unsigned char)*c < ' ' ? ' ' : *c, stream);
        }
    } else {
        cJSON_ArrayForEach(item, value)
        {
            fputs(first ? "" : " ", stream);
            write_plain(stream, item, digits, csv);
            first = false;
        }
    }
}

static void write_markdown(const struct rows *rows, FILE *stream)
{
    static const struct {
        const char *title, *key;
        int digits;
    } columns[] = {{"device", "device", 0},          {"model", "model", 0},           {"weights", "weight_type", 0},      {"cache", "kv_policy", 0},
                   {"", "kv_type", 0},               {"strategy", "strategy", 0},     {"R", "num_steps", 9},              {"K", "draft_steps", 9},
                   {"L", "lookahead", 9},            {"batch", "batch", 9},           {"prompt", "prompt_tokens", 9},     {"new", "new_tokens", 9},
                   {"prefill tok/s", "prefill_tok_s", 4}, {"decode tok/s", "decode_tok_s", 4}, {"spread", "decode_spread", 2}, {"acceptance", "acceptance_rate", 3},
                   {"MB/token", "weight_mb_per_token", 4}, {"GB/s", "gb_s", 3},       {"% of ceiling", "ceiling_percent", 3}, {"lossless", "lossless", 0},
                   {"equals ar", "equals_ar", 0}};
    enum { N = sizeof columns / sizeof *columns };
    for (int i = 0; i < N; i++)
        fprintf(stream, "| %s ", columns[i].title);
    fputs("|\n", stream);
    for (int i = 0; i < N; i++)
        fputs(columns[i].digits ? "|---:" : "|---", stream);
    fputs("|\n", stream);
    for (size_t r = 0; r < rows->n; r++) {
        for (int i = 0; i < N; i++) {
            fputs("| ", stream);
            if (!strcmp(columns[i].key, "lossless") && cJSON_IsFalse(json_find(rows->items[r], "lossless")))
                fputs("LOSSY: ", stream), write_plain(stream, json_find(rows->items[r], "lossy_because"), 0, false);
            else
                write_plain(stream, json_find(rows->items[r], columns[i].key), columns[i].digits, false);
            fputc(' ', stream);
        }
        fputs("|\n", stream);
    }
}

/* All rows come from one function and have the same keys in the same order; a row of another version may lack some. */
static void write_csv(const struct rows *rows, FILE *stream)
{
    const cJSON *column;
    if (rows->n == 0)
        return;
    cJSON_ArrayForEach(column, rows->items[0])
        fprintf(stream, "%s%s", column == rows->items[0]->child ? "" : ",", column->string);
    fputc('\n', stream);
    for (size_t r = 0; r < rows->n; r++) {
        cJSON_ArrayForEach(column, rows->items[0])
        {
            if (column != rows->items[0]->child)
                fputc(',', stream);
            fputc('"', stream);
            write_plain(stream, json_find(rows->items[r], column->string), 9, true);
            fputc('"', stream);
        }
        fputc('\n', stream);
    }
}

static enum mn_status write_json(const struct rows *rows, bool array, FILE *stream, const struct mn_log *log)
{
    fputs(array ? "[" : "", stream);
    for (size_t r = 0; r < rows->n; r++) {
        char *text = cJSON_PrintUnformatted(rows->items[r]);
        if (!text)
            return log_fail(log, MN_ERR_MEMORY, "out of host memory for a row");
        fprintf(stream, "%s%s%s", array && r ? ",\n" : "", text, array ? "" : "\n");
        cJSON_free(text);
    }
    fputs(array ? "]\n" : "", stream);
    return MN_OK;
}

enum mn_status rows_write(const struct rows *rows, const char *format, FILE *stream, const struct mn_log *log)
{
    if (!strcmp(format, "md"))
        write_markdown(rows, stream);
    else if (!strcmp(format, "csv"))
        write_csv(rows, stream);
    else
        return write_json(rows, !strcmp(format, "json"), stream, log);
    return MN_OK;
}
