/* Result rows as Markdown, CSV, JSON and JSON lines: the same figures in each. */
#include <stdlib.h>
#include <string.h>

#include "bench/rows/rows.h"
#include "bench/rows/table.h"
#include "engine/base/text.h"
#include "engine/files/json.h"

enum { COLUMNS_MAX = 256 };

/* ---- CSV: every key of every row ---- */

/* A value as one field: text as it is, everything else as in JSON. */
static bool write_field(FILE *stream, const cJSON *value)
{
    char *printed = NULL;
    const char *text = "";
    if (cJSON_IsString(value))
        text = value->valuestring;
    else if (value && !cJSON_IsNull(value) && !(text = printed = json_print(value)))
        return false;
    fputc('"', stream);
    if (cJSON_IsString(value) && *text && strchr("=+-@\t\r", *text)) /* a spreadsheet would take it for a formula */
        fputc('\'', stream);
    text_write_cell(stream, text, "\"", '"');
    fputc('"', stream);
    free(printed);
    return true;
}

static enum mn_status write_csv(const struct rows *rows, FILE *stream, const struct mn_log *log)
{
    const char *columns[COLUMNS_MAX];
    size_t n = 0;
    bool good = true;
    for (size_t r = 0; r < rows->n; r++) {
        const cJSON *item;
        cJSON_ArrayForEach (item, rows->items[r]) {
            size_t i = 0;
            while (i < n && strcmp(columns[i], item->string) != 0)
                i++;
            if (i == COLUMNS_MAX)
                return log_fail(log, MN_ERR_FORMAT, "more than %d different keys: too many for CSV", COLUMNS_MAX);
            if (i == n)
                columns[n++] = item->string;
        }
    }
    for (size_t i = 0; i < n && good; i++) {
        const cJSON title = {.type = cJSON_String, .valuestring = (char *)columns[i]};
        fputs(i ? "," : "", stream);
        good = write_field(stream, &title);
    }
    fputs(n ? "\n" : "", stream);
    for (size_t r = 0; r < rows->n && good; r++) {
        for (size_t i = 0; i < n && good; i++) {
            fputs(i ? "," : "", stream);
            good = write_field(stream, json_find(rows->items[r], columns[i]));
        }
        fputc('\n', stream);
    }
    return good ? MN_OK : log_fail(log, MN_ERR_MEMORY, "out of host memory for a row");
}

/* ---- JSON ---- */

static void write_json(const struct rows *rows, bool array, FILE *stream)
{
    fputs(array ? "[" : "", stream);
    for (size_t r = 0; r < rows->n; r++) {
        fputs(array && r ? ",\n" : "", stream);
        json_write_value(stream, rows->items[r]);
        fputs(array ? "" : "\n", stream);
    }
    fputs(array ? "]\n" : "", stream);
}

enum mn_status rows_write(const struct rows *rows, const char *format, bool all_columns, FILE *stream,
                          const struct mn_log *log)
{
    if (!strcmp(format, "csv"))
        return write_csv(rows, stream, log);
    if (!strcmp(format, "md"))
        return rows_write_tables(rows, all_columns, stream, log);
    write_json(rows, !strcmp(format, "json"), stream);
    return MN_OK;
}
