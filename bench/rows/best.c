/* The answer that rows give: of each model on each device the best setting, as a sentence. */
#include "bench/rows/best.h"

#include <stdlib.h>
#include <string.h>

#include "api/muninn.h"
#include "engine/base/system.h"
#include "engine/base/text.h"
#include "engine/files/json.h"

/* A row that can be an answer, or what one is compared with. */
struct entry {
    char *group, *conditions; /* model and device; conditions, with the acceptance where it is forced. Owned */
    size_t first;             /* row of the group that came first */
    size_t at;                /* its own place */
    const cJSON *row, *ar;
    enum row_class class_;
};

/* ---- numbers ---- */

static double number_of(const cJSON *row, const char *key)
{
    const cJSON *value = json_find(row, key);
    return cJSON_IsNumber(value) ? value->valuedouble : 0.0;
}

/* 0 when there are none, or any that is no speed: files come from outside. */
static uint32_t take_samples(const cJSON *row, double values[SAMPLES_MAX])
{
    const cJSON *item;
    uint32_t n = 0;
    cJSON_ArrayForEach (item, json_find(row, "decode_samples")) {
        if (n == SAMPLES_MAX || !cJSON_IsNumber(item) || !(item->valuedouble > 1e-300 && item->valuedouble < 1e300))
            return 0;
        values[n++] = item->valuedouble;
    }
    return n;
}

static double quotient(const cJSON *row, const cJSON *ar)
{
    return ar ? row_tok_s(row) / row_tok_s(ar) : 0.0;
}

static enum mn_status find_ratio(struct best *b, const struct mn_log *log)
{
    double a[SAMPLES_MAX], s[SAMPLES_MAX];
    if (!b->row || !b->ar)
        return MN_OK;
    const uint32_t n_a = take_samples(b->ar, a), n = take_samples(b->row, s);
    b->ratio = (struct interval){.ratio = quotient(b->row, b->ar)};
    return n_a && n ? samples_ratio(a, n_a, s, n, &b->ratio, log) : MN_OK;
}

bool best_is_faster(const struct best *b)
{
    return b->row && (!b->ar || b->ratio.ratio > 1.0);
}

/* ---- entries ---- */

static bool make_entry(struct entry *e, const struct baselines *baselines, cJSON *row, size_t at)
{
    const char *const keys[] = {*row_string(row, "model_hash") ? "model_hash" : "model", "device", "device_id"};
    static const char *const forced[] = {"forced_acceptance", "forced_by_depth", "forced_shares"};
    *e = (struct entry){.group = row_values(row, keys, sizeof keys / sizeof *keys),
                        .conditions = row_conditions(row),
                        .at = at,
                        .first = at,
                        .row = row,
                        .class_ = row_class(row)};
    if (!e->group || !e->conditions)
        return false;
    e->ar = baselines_find(baselines, e->conditions);
    if (e->class_ != ROW_FORCED)
        return true;
    char *acceptance = row_values(row, forced, sizeof forced / sizeof *forced), *both = NULL;
    const size_t n = strlen(e->conditions);
    if (acceptance && (both = realloc(e->conditions, n + strlen(acceptance) + 1))) {
        strcpy(both + n, acceptance);
        e->conditions = both;
    }
    free(acceptance);
    return both != NULL;
}

static void free_entries(struct entry *entries, size_t n)
{
    for (size_t i = 0; i < n && entries; i++) {
        free(entries[i].group);
        free(entries[i].conditions);
    }
    free(entries);
}

static int by_group(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    const int order = strcmp(x->group, y->group);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static int by_order(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    if (x->class_ != y->class_)
        return x->class_ < y->class_ ? -1 : 1;
    const int order = strcmp(x->conditions, y->conditions);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static enum mn_status list_entries(const struct rows *rows, struct entry **out, size_t *n, const struct mn_log *log)
{
    struct baselines baselines = {0};
    struct entry *entries = calloc(rows->n + 1, sizeof *entries);
    enum mn_status status = entries ? baselines_init(&baselines, rows, log)
                                    : log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu rows", rows->n);
    *n = 0;
    for (size_t i = 0; i < rows->n && !status; i++)
        if (row_is_run(rows->items[i]) && row_tok_s(rows->items[i]) > 0.0 &&
            !make_entry(&entries[(*n)++], &baselines, rows->items[i], i))
            status = log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu rows", rows->n);
    baselines_free(&baselines);
    if (status) {
        free_entries(entries, *n);
        return status;
    }
    qsort(entries, *n, sizeof *entries, by_group);
    for (size_t i = 1; i < *n; i++)
        if (!strcmp(entries[i].group, entries[i - 1].group))
            entries[i].first = entries[i - 1].first;
    qsort(entries, *n, sizeof *entries, by_order);
    *out = entries;
    return MN_OK;
}

/* ---- the best of a class ---- */

/* Conditions that differ are named where the answer holds under one of them alone. */
static void note_varying(struct best *b, const cJSON *row)
{
    const char *const *keys;
    const size_t n = condition_keys(b->any, &keys);
    for (size_t i = 0; i < n; i++) {
        const cJSON *x = json_find(b->any, keys[i]), *y = json_find(row, keys[i]);
        if ((x || y) && !cJSON_Compare(x, y, true))
            b->varying |= 1u << i;
    }
}

/* The best of entries of equal conditions goes into *b, or among the others'. */
static void take_conditions(struct best *b, const struct entry *entries, size_t n)
{
    const struct entry *found = NULL;
    const double before = b->row ? quotient(b->row, b->ar) : 0.0;
    note_varying(b, entries->row);
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = &entries[i];
        if (row_is_baseline(e->row)) {
            if (!b->row && (!b->ar || row_tok_s(e->row) > row_tok_s(b->ar)))
                b->ar = e->row;
            continue;
        }
        if (e->class_ == ROW_LOSSLESS && cJSON_IsFalse(json_find(e->row, "equals_ar")))
            b->n_differ++;
        else if (!found || row_tok_s(e->row) > row_tok_s(found->row))
            found = e;
    }
    if (!found)
        return;
    const double now = quotient(found->row, found->ar);
    const bool better = !b->row ||
                        (now > 0.0 || before > 0.0 ? now > before : row_tok_s(found->row) > row_tok_s(b->row));
    const double other = better ? before : now;
    if (now > 0.0)
        b->n_conditions++;
    if (other > 0.0) {
        b->least = b->least > 0.0 && b->least < other ? b->least : other;
        b->most = b->most > other ? b->most : other;
    }
    if (better) {
        b->row = found->row;
        b->ar = found->ar;
    }
}

static struct best best_of(const struct entry *entries, size_t n)
{
    struct best b = {.class_ = entries->class_, .any = entries->row};
    if (b.class_ > ROW_FORCED)
        return b;
    for (size_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && !strcmp(entries[end].conditions, entries[first].conditions); end++) {
        }
        take_conditions(&b, entries + first, end - first);
    }
    return b;
}

enum mn_status best_find(struct best_list *list, const struct rows *rows, const struct mn_log *log)
{
    struct entry *entries;
    size_t n;
    *list = (struct best_list){0};
    enum mn_status status = list_entries(rows, &entries, &n, log);
    if (status)
        return status;
    if (!(list->items = calloc(n + 1, sizeof *list->items)))
        status = log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu answers", n);
    for (size_t first = 0, end; first < n && !status; first = end) {
        const bool answered = first > 0 && entries[first - 1].first == entries[first].first;
        for (end = first + 1;
             end < n && entries[end].first == entries[first].first && entries[end].class_ == entries[first].class_;
             end++) {
        }
        if (entries[first].class_ > ROW_FORCED && answered)
            continue;
        struct best *b = &list->items[list->n++];
        *b = best_of(entries + first, end - first);
        status = find_ratio(b, log);
    }
    free_entries(entries, n);
    if (status)
        best_free(list);
    return status;
}

void best_free(struct best_list *list)
{
    free(list->items);
    *list = (struct best_list){0};
}

bool best_has(const struct best_list *list, const cJSON *row)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->items[i].row && row == (best_is_faster(&list->items[i]) ? list->items[i].row : list->items[i].ar))
            return true;
    return false;
}

/* ---- words ---- */

static void write_figures(FILE *stream, double k, double l)
{
    if (k > 0.0)
        fprintf(stream, " K %.9g", k);
    if (l > 0.0)
        fprintf(stream, " L %.9g", l);
}

void write_setting_name(FILE *stream, const cJSON *row)
{
    const char *name = row_string(row, "strategy");
    const struct mn_strategy *strategy = mn_strategy_find(name);
    const double w = number_of(row, "max_inflight");
    text_write_cell(stream, name, "", ' ');
    write_figures(stream, number_of(row, "draft_steps"), number_of(row, "lookahead"));
    if (w > 0.0 && (!strategy || w != strategy->usual_inflight))
        fprintf(stream, " W %.9g", w);
    if (number_of(row, "lookup") > 0.0)
        fprintf(stream, " lookup %.9g", number_of(row, "lookup"));
    if (number_of(row, "branches") > 0.0)
        fprintf(stream, " branches %.9g", number_of(row, "branches"));
    if (*row_string(row, "kv_policy") && strcmp(row_string(row, "kv_policy"), "full") != 0) {
        fputc(' ', stream);
        text_write_cell(stream, row_string(row, "kv_policy"), "", ' ');
    }
    if (*row_string(row, "chosen")) {
        fputs(" (last used ", stream);
        text_write_cell(stream, row_string(row, "chosen"), "", ' ');
        write_figures(stream, number_of(row, "chosen_draft_steps"), number_of(row, "chosen_lookahead"));
        fputc(')', stream);
    }
}

static void write_speed(FILE *out, double tok_s)
{
    fprintf(out, tok_s >= 1000.0 && tok_s < 1e15 ? "%.0f tok/s" : "%.3g tok/s", tok_s);
}

static void write_interval(FILE *out, const struct interval *r)
{
    if (!r->bounded)
        fputs("too few samples for an interval", out);
    else
        fprintf(out, "%.2f to %.2f%s", r->low, r->high, r->low <= 1.0 && r->high >= 1.0 ? ": no difference seen" : "");
}

/* What is set by the user comes in words, the rest by its name. */
static void write_condition(FILE *out, const char *key, const cJSON *value)
{
    static const struct {
        const char *key, *before, *behind;
    } words[] = {
        {"num_steps", "R ", ""},           {"batch", "batch ", ""},         {"prompt_tokens", "prompts of ", " tokens"},
        {"new_tokens", "", " new tokens"}, {"weight_type", "weights ", ""}, {"kv_type", "cache ", ""},
        {"cpu_threads", "", " threads"}};
    size_t i = 0;
    while (i < sizeof words / sizeof *words && strcmp(words[i].key, key) != 0)
        i++;
    const bool known = i < sizeof words / sizeof *words;
    fputs(known ? words[i].before : key, out);
    fputs(known ? "" : " ", out);
    if (cJSON_IsString(value))
        text_write_cell(out, value->valuestring, "", ' ');
    else if (cJSON_IsNumber(value))
        fprintf(out, "%.9g", value->valuedouble);
    else
        fputs(cJSON_IsTrue(value) ? "yes" : cJSON_IsFalse(value) ? "no" : "?", out);
    fputs(known ? words[i].behind : "", out);
}

/* A speed, and under which of several conditions it was reached. */
static void write_speed_at(FILE *out, const struct best *b, const cJSON *row)
{
    const char *const *keys, *before = ", at ";
    const size_t n = condition_keys(b->any, &keys);
    write_speed(out, row_tok_s(row));
    for (size_t i = 0; i < n; i++) {
        if (!(b->varying >> i & 1))
            continue;
        fputs(before, out);
        write_condition(out, keys[i], json_find(row, keys[i]));
        before = ", ";
    }
}

static void write_others(FILE *out, const struct best *b)
{
    if (b->n_conditions == 2)
        fprintf(out, "; under one other condition %.2fx", b->least);
    else if (b->n_conditions > 2)
        fprintf(out, "; under %zu other conditions %.2fx to %.2fx", b->n_conditions - 1, b->least, b->most);
}

static void write_compared(FILE *out, const struct best *b)
{
    const bool faster = b->ratio.ratio > 1.0;
    fputs(b->class_ == ROW_FORCED ? "best setting: " : "best lossless setting: ", out);
    if (!faster) {
        fputs("ar itself, ", out);
        write_speed_at(out, b, b->ar);
        fputs("; nothing was faster (", out);
    }
    write_setting_name(out, b->row);
    fprintf(out, faster ? ", %.2fx of ar (" : ": %.2fx, ", b->ratio.ratio);
    write_interval(out, &b->ratio);
    fputs(faster ? "), " : ")", out);
    if (faster)
        write_speed_at(out, b, b->row);
    write_others(out, b);
}

static void write_best(FILE *out, const struct best *b)
{
    if (b->class_ == ROW_FORCED) {
        fputs("with forced agreement ", out);
        row_write_acceptance(out, b->row);
        fputs(": ", out);
    }
    if (b->class_ > ROW_FORCED) {
        fputs("no lossless setting was measured", out);
    } else if (!b->row && !b->ar) {
        fputs("no setting gave the tokens of ar", out);
    } else if (!b->row) {
        fputs("ar, ", out);
        write_speed_at(out, b, b->ar);
        fputs("; no other lossless setting was measured", out);
    } else if (!b->ar) {
        fputs(b->class_ == ROW_FORCED ? "fastest setting: " : "fastest lossless setting: ", out);
        write_setting_name(out, b->row);
        fputs(", ", out);
        write_speed_at(out, b, b->row);
        fputs("; no row of ar to compare it with", out);
    } else {
        write_compared(out, b);
    }
    if (b->n_differ)
        fprintf(out, "; %zu setting%s that promised the tokens of ar gave others: left out", b->n_differ,
                b->n_differ > 1 ? "s" : "");
}

char *best_sentence(const struct best *b)
{
    char *text = NULL;
    size_t n;
    FILE *out = memory_open(&text, &n);
    if (!out)
        return NULL;
    text_write_cell(out, row_string(b->any, "model"), "", ' '); /* one line, whatever the names are */
    fputs(" on ", out);
    text_write_cell(out, row_string(b->any, "device"), "", ' ');
    fputs(": ", out);
    write_best(out, b);
    if (memory_close(out, &text, &n))
        return text;
    free(text);
    return NULL;
}

enum mn_status best_write(const struct rows *rows, FILE *stream, const struct mn_log *log)
{
    struct best_list list;
    enum mn_status status = best_find(&list, rows, log);
    for (size_t i = 0; i < list.n && !status; i++) {
        char *text = best_sentence(&list.items[i]);
        if (text) {
            text_puts(stream, text);
            fputc('\n', stream);
        } else {
            status = log_fail(log, MN_ERR_MEMORY, "out of host memory for a sentence");
        }
        free(text);
    }
    best_free(&list);
    return status;
}
