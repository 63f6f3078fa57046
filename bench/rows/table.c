/* Rows as tables of Markdown, for people. */
#include "bench/rows/table.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/best.h"
#include "bench/rows/table_columns.h"
#include "engine/base/system.h"
#include "engine/base/text.h"
#include "engine/files/json.h"

enum {
    TEXT_CELL_BYTES = 64,
    COLUMNS_MAX = 48,
    RANK_WANTED = 5 /* rather than do without columns from this rank on, rows come in several tables */
};

/* ---- cells ---- */

/* Names come from outside: nothing in them may end a cell or become markup. */
static void write_text(FILE *out, const char *text)
{
    char cut[TEXT_CELL_BYTES + 3];
    const size_t n = strlen(text) > TEXT_CELL_BYTES ? utf8_whole(text, TEXT_CELL_BYTES) : strlen(text);
    memcpy(cut, text, n);
    strcpy(cut + n, text[n] ? ".." : "");
    text_write_cell(out, cut, TEXT_MARKUP, '\\');
}

/* So many digits, and no exponent where a number is large. */
static void write_number(FILE *out, double value, int digits)
{
    if (fabs(value) >= pow(10.0, digits) && fabs(value) < 1e15)
        fprintf(out, "%.0f", value);
    else
        fprintf(out, "%.*g", digits, value);
}

static void write_class(FILE *out, const cJSON *row)
{
    switch (row_class(row)) {
    case ROW_LOSSLESS: fputs(cJSON_IsFalse(json_find(row, "equals_ar")) ? "DIFFERS from ar" : "lossless", out); break;
    case ROW_FORCED:
        fputs("forced ", out);
        row_write_acceptance(out, row);
        break;
    case ROW_LOSSY:
        fputs("LOSSY: ", out);
        write_text(out, row_string(row, "lossy_because"));
        break;
    case ROW_CLASS_UNKNOWN: break;
    }
}

static void write_value(FILE *out, const struct column *column, const cJSON *row, double value)
{
    const cJSON *drafted = json_find(row, "drafted"), *repetitions = json_find(row, "repetitions");
    switch (column->kind) {
    case CELL_COUNT:
        if (value != 0.0)
            write_number(out, value, column->digits);
        break;
    case CELL_PROMPT:
        if (value != 0.0)
            write_number(out, value, column->digits);
        else
            fputs("as it is", out);
        break;
    case CELL_ACCEPTED:
        if (cJSON_IsNumber(drafted) && drafted->valuedouble == 0.0)
            break;
        fprintf(out, "%.1f %%", 100.0 * value);
        break;
    case CELL_AGREEMENT:
        if (row_class(row) == ROW_LOSSY)
            fprintf(out, "%.1f %%", 100.0 * value);
        break;
    case CELL_SPREAD:
        if (!cJSON_IsNumber(repetitions) || repetitions->valuedouble != 1.0)
            fprintf(out, "%.1f %%", 100.0 * value);
        break;
    case CELL_MB: write_number(out, value / 1e6, column->digits); break;
    case CELL_SHARE:
        if (value > 100.0)
            fputs("above", out);
        else
            write_number(out, value, column->digits);
        break;
    case CELL_MS: write_number(out, value < 0.005 ? 0.0 : value, column->digits); break;
    case CELL_TIMES: fprintf(out, "%.2f", value); break;
    default: write_number(out, value, column->digits ? column->digits : 9); break;
    }
}

static void write_cell(FILE *out, const struct column *column, const cJSON *row, const struct best_list *best)
{
    const cJSON *value = json_find(row, column->key);
    if (column->kind == CELL_MARK)
        fputs(best_has(best, row) ? "*" : "", out);
    else if (column->kind == CELL_CLASS)
        write_class(out, row);
    else if (cJSON_IsString(value))
        write_text(out, value->valuestring);
    else if (cJSON_IsNumber(value))
        write_value(out, column, row, value->valuedouble);
    else if (cJSON_IsBool(value))
        fputs(cJSON_IsTrue(value) ? "yes" : "no", out);
}

/* ---- one table ---- */

/* Rows of one kind as text, each cell ended by a zero. */
struct table {
    const struct column *columns; /* [n_columns] */
    size_t n_columns, n_rows;
    const cJSON **rows; /* [n_rows] */
    char *text;         /* owned */
    size_t *cells;      /* [n_rows, n_columns] where a cell begins, owned */
    size_t widths[COLUMNS_MAX];
    bool shown[COLUMNS_MAX], folded[COLUMNS_MAX], numeric[COLUMNS_MAX];
    bool went[COLUMNS_MAX]; /* had something to say, and no room */
};

static const char *cell_at(const struct table *t, size_t row, size_t column)
{
    return t->text + t->cells[row * t->n_columns + column];
}

static size_t width_of(const char *text)
{
    size_t n = 0;
    for (const char *c = text; *c; c++)
        n += ((unsigned char)*c & 0xc0) != 0x80; /* characters, not bytes */
    return n;
}

static bool render(struct table *t, const struct best_list *best)
{
    size_t n;
    FILE *out = memory_open(&t->text, &n);
    t->cells = malloc((t->n_rows * t->n_columns + 1) * sizeof *t->cells);
    for (size_t i = 0; out && t->cells && i < t->n_rows * t->n_columns; i++) {
        t->cells[i] = (size_t)ftell(out);
        write_cell(out, &t->columns[i % t->n_columns], t->rows[i / t->n_columns], best);
        fputc('\0', out);
    }
    return (!out || memory_close(out, &t->text, &n)) && out && t->cells;
}

static void free_table(struct table *t)
{
    free(t->text);
    free(t->cells);
}

/* Do all rows to which the column applies agree? Text that some rows lack is not agreed upon. */
static bool is_constant(const struct table *t, size_t c)
{
    const char *value = NULL;
    for (size_t r = 0; r < t->n_rows; r++) {
        const char *cell = cell_at(t, r, c);
        if (!*cell && t->columns[c].kind != CELL_TEXT)
            continue;
        if (value && strcmp(value, cell) != 0)
            return false;
        value = cell;
    }
    return true;
}

static void measure(struct table *t, bool all)
{
    for (size_t c = 0; c < t->n_columns; c++) {
        const enum cell_kind kind = t->columns[c].kind;
        bool any = false;
        t->widths[c] = width_of(t->columns[c].title);
        t->numeric[c] = kind != CELL_TEXT && kind != CELL_CLASS && kind != CELL_MARK;
        for (size_t r = 0; r < t->n_rows; r++) {
            const size_t width = width_of(cell_at(t, r, c));
            any |= width > 0;
            t->widths[c] = width > t->widths[c] ? width : t->widths[c];
        }
        t->folded[c] = !all && t->columns[c].use == COLUMN_FOLDS && any && is_constant(t, c);
        t->shown[c] = all || (any && !t->folded[c]);
    }
}

static size_t total_width(const struct table *t)
{
    size_t n = 1;
    for (size_t c = 0; c < t->n_columns; c++)
        n += t->shown[c] ? t->widths[c] + 3 : 0;
    return n;
}

/* The column that may go next, or come back: the lowest rank of those shown, or the highest of those that went. */
static size_t next_to(const struct table *t, bool back)
{
    size_t found = t->n_columns;
    for (size_t c = 0; c < t->n_columns; c++) {
        const bool candidate = back ? t->went[c] && total_width(t) + t->widths[c] + 3 <= TABLE_WIDTH
                                    : t->shown[c] && t->columns[c].use == COLUMN_GOES;
        if (candidate && (found == t->n_columns || (t->columns[c].rank > t->columns[found].rank) == back))
            found = c;
    }
    return found;
}

/* Leaves columns of up to this rank out until it fits, or until there are none that may go; narrow ones may find a
 * place again. */
static void make_room(struct table *t, int most)
{
    size_t c;
    while (total_width(t) > TABLE_WIDTH && (c = next_to(t, false)) < t->n_columns && t->columns[c].rank <= most) {
        t->shown[c] = false;
        t->went[c] = true;
    }
    while ((c = next_to(t, true)) < t->n_columns) {
        t->shown[c] = true;
        t->went[c] = false;
    }
}

/* What all rows share, in lines of at most TABLE_WIDTH. */
static void write_shared(const struct table *t, FILE *stream)
{
    size_t at = 0;
    for (size_t c = 0; c < t->n_columns; c++) {
        if (!t->folded[c])
            continue;
        size_t r = 0;
        while (r + 1 < t->n_rows && !*cell_at(t, r, c))
            r++;
        const char *cell = cell_at(t, r, c), *before = t->columns[c].before ? t->columns[c].before : "",
                   *behind = t->columns[c].behind ? t->columns[c].behind : "",
                   *between = at == 0                  ? ""
                              : !strcmp(before, "on ") ? " "
                                                       : ", ";
        const size_t width = width_of(before) + width_of(cell) + width_of(behind);
        const bool breaks = at > 0 && at + strlen(between) + width + 1 > TABLE_WIDTH;
        fprintf(stream, "%s%s", breaks && *between == ',' ? ",\n" : breaks ? "\n" : between, before);
        text_puts(stream, cell);
        fputs(behind, stream);
        at = breaks ? width : at + strlen(between) + width;
    }
    fputs(at ? "\n\n" : "", stream);
}

static void write_padded(const char *text, size_t width, bool right, FILE *stream)
{
    const int pad = (int)(width - width_of(text));
    fprintf(stream, "| %*s", right ? pad : 0, "");
    text_puts(stream, text);
    fprintf(stream, "%*s ", right ? 0 : pad, "");
}

static void write_grid(const struct table *t, FILE *stream)
{
    for (size_t c = 0; c < t->n_columns; c++)
        if (t->shown[c])
            write_padded(t->columns[c].title, t->widths[c], t->numeric[c], stream);
    fputs("|\n", stream);
    for (size_t c = 0; c < t->n_columns; c++) {
        fputs(t->shown[c] ? "|" : "", stream);
        for (size_t i = 0; i < t->widths[c] + 2 && t->shown[c]; i++)
            fputc(t->numeric[c] && i == t->widths[c] + 1 ? ':' : '-', stream);
    }
    fputs("|\n", stream);
    for (size_t r = 0; r < t->n_rows; r++) {
        for (size_t c = 0; c < t->n_columns; c++)
            if (t->shown[c])
                write_padded(cell_at(t, r, c), t->widths[c], t->numeric[c], stream);
        fputs("|\n", stream);
    }
    fputc('\n', stream);
}

/* NULL: not above it. */
static const char *cause_of(const cJSON *row)
{
    const cJSON *percent = json_find(row, "ceiling_percent");
    const char *cause = row_string(row, "ceiling_cause"); /* rows of older versions have none */
    return !cJSON_IsNumber(percent) || percent->valuedouble <= 100.0 ? NULL : *cause ? cause : "cause not known";
}

/* Why rows are above the ceiling: the first few causes. */
static void write_causes(const struct table *t, FILE *stream)
{
    enum { CAUSES_MAX = 4 };
    bool shown = false;
    uint32_t n = 0, n_more = 0;
    for (size_t c = 0; c < t->n_columns; c++)
        shown |= t->shown[c] && t->columns[c].kind == CELL_SHARE;
    for (size_t r = 0; r < t->n_rows && shown; r++) {
        const char *cause = cause_of(t->rows[r]);
        bool known = !cause;
        for (size_t i = 0; i < r && !known; i++)
            known = cause_of(t->rows[i]) && !strcmp(cause_of(t->rows[i]), cause);
        if (known)
            continue;
        n_more += n == CAUSES_MAX;
        if (n == CAUSES_MAX)
            continue;
        fputs(n++ ? "\n" : "", stream);
        fputs("above the ceiling: ", stream);
        text_write_cell(stream, cause, TEXT_MARKUP, '\\');
    }
    if (n_more)
        fprintf(stream, "\nabove the ceiling: %u more causes (--columns all, `ceiling_cause` of the rows)", n_more);
    fputs(n ? "\n\n" : "", stream);
}

static void write_left_out(const struct table *t, FILE *stream)
{
    static const char first[] = "no room for ", last[] = " (--columns all)\n\n";
    size_t at = 0;
    for (size_t c = 0; c < t->n_columns; c++) {
        if (!t->went[c])
            continue;
        const char *title = t->columns[c].title;
        const bool breaks = at && at + 2 + width_of(title) + sizeof last > TABLE_WIDTH;
        fprintf(stream, "%s%s", !at ? first : breaks ? ",\n" : ", ", title);
        at = (breaks ? 0 : at + (at ? 2 : sizeof first - 1)) + width_of(title);
    }
    fputs(at ? last : "", stream);
}

/* ---- tables ---- */

struct member {
    char *group; /* owned */
    size_t first, at;
    const cJSON *row;
};

static int by_group(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    const int order = strcmp(x->group, y->group);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static int by_first(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    return x->first != y->first ? (x->first > y->first) - (x->first < y->first) : (x->at > y->at) - (x->at < y->at);
}

/* Orders rows by groups, and groups by their first rows: sizes [n] of the groups, *n_groups of them. */
static void order_members(struct member *members, size_t n, size_t *sizes, size_t *n_groups)
{
    qsort(members, n, sizeof *members, by_group);
    for (size_t i = 0; i < n; i++)
        members[i].first = i && !strcmp(members[i].group, members[i - 1].group) ? members[i - 1].first : members[i].at;
    qsort(members, n, sizeof *members, by_first);
    *n_groups = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || members[i].first != members[i - 1].first)
            sizes[(*n_groups)++] = 0;
        sizes[*n_groups - 1]++;
    }
}

/* Rows of one kind on their way into tables. */
struct writer {
    const struct column *columns;
    size_t n_columns;
    bool all;
    const struct best_list *best;
    FILE *stream;
};
static bool write_rows(const struct writer *w, const cJSON **rows, size_t n);

static bool write_groups(const struct writer *w, const cJSON **rows, size_t n, const char *const *keys, size_t n_keys)
{
    struct member *members = calloc(n, sizeof *members);
    size_t *sizes = calloc(n, sizeof *sizes), n_groups = 0;
    bool good = members && sizes;
    for (size_t i = 0; i < n && good; i++) {
        members[i] = (struct member){.group = row_values(rows[i], keys, n_keys), .at = i, .row = rows[i]};
        good = members[i].group != NULL;
    }
    if (good) {
        order_members(members, n, sizes, &n_groups);
        for (size_t i = 0; i < n; i++)
            rows[i] = members[i].row;
    }
    for (size_t g = 0, first = 0; g < n_groups && good; first += sizes[g++])
        good = write_rows(w, rows + first, sizes[g]);
    for (size_t i = 0; i < n && members; i++)
        free(members[i].group);
    free(members);
    free(sizes);
    return good;
}

static bool write_rows(const struct writer *w, const cJSON **rows, size_t n)
{
    struct table t = {.columns = w->columns, .n_columns = w->n_columns, .rows = rows, .n_rows = n};
    bool good = render(&t, w->best);
    if (!good) {
        free_table(&t);
        return false;
    }
    measure(&t, w->all);
    if (!w->all)
        make_room(&t, RANK_WANTED - 1);
    size_t splits = 0;
    while (splits < t.n_columns && !(t.shown[splits] && t.columns[splits].use == COLUMN_FOLDS))
        splits++;
    if (!w->all && total_width(&t) > TABLE_WIDTH && splits < t.n_columns) {
        const char *const key[] = {t.columns[splits].key};
        free_table(&t);
        return write_groups(w, rows, n, key, 1);
    }
    if (!w->all)
        make_room(&t, INT_MAX);
    write_shared(&t, w->stream);
    write_grid(&t, w->stream);
    write_causes(&t, w->stream);
    if (!w->all)
        write_left_out(&t, w->stream);
    free_table(&t);
    return true;
}

enum mn_status rows_write_tables(const struct rows *rows, bool all, FILE *stream, const struct mn_log *log)
{
    static const char *const apart[] = {"model_hash", "model", "device", "device_id"};
    struct best_list best;
    const cJSON **of_kind = malloc((rows->n + 1) * sizeof *of_kind);
    bool good = of_kind != NULL;
    enum mn_status status = best_find(&best, rows, log);
    for (size_t k = 0; k < table_n_kinds && good && !status; k++) {
        const struct writer w = {table_kinds[k].columns, table_kinds[k].n, all, &best, stream};
        size_t n = 0;
        for (size_t r = 0; r < rows->n; r++)
            if (!strcmp(row_string(rows->items[r], "bench"), table_kinds[k].kind))
                of_kind[n++] = rows->items[r];
        if (n)
            good = all ? write_rows(&w, of_kind, n) : write_groups(&w, of_kind, n, apart, sizeof apart / sizeof *apart);
    }
    free(of_kind);
    if (!status)
        best_free(&best);
    return status || good ? status : log_fail(log, MN_ERR_MEMORY, "out of host memory for a table");
}
