/* The rows of two result files, pair by pair. */
#include "bench/rows/compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/baseline.h"
#include "bench/rows/lists.h"
#include "bench/rows/rows.h"
#include "bench/rows/sampling.h"
#include "engine/base/system.h"
#include "engine/base/text.h"
#include "engine/files/json.h"

/* What makes two rows a pair: settings, of runs and of passes, and the model (see is_same_model). What is around them
 * (environment) may differ, and is reported. */
static const char *const settings[] = {
    "bench",       "weight_type", "matrix_units", "kv_policy", "kv_type",           "strategy",        "num_steps",
    "draft_steps", "lookahead",   "max_inflight", "batch",     "prompt_tokens",     "new_tokens",      "prompts",
    "prompt_set",  "stop_at_eos", "temperature",  "seed",      "forced_acceptance", "forced_by_depth", "forced_shares",
    "lookup",      "branches",    "pass",         "rows",      "position"};
static const char *const environment[] = {"device", "device_id", "driver",      "driver_version", "version",
                                          "commit", "build",     "cpu_threads", "model",          "model_hash"};
enum {
    N_SETTINGS = sizeof settings / sizeof *settings,
    N_ENVIRONMENT = sizeof environment / sizeof *environment,
    CHANGES_MAX = 64
};

struct entry {
    char *text; /* its settings, owned */
    const cJSON *row;
    struct entry *partner;
};

struct pair {
    const cJSON *a, *b;
    double a_rate, b_rate; /* medians */
    uint32_t n_a, n_b;
    struct interval ratio;
};

struct comparison {
    const struct compare_params *params;
    const struct mn_log *log;
    struct rows rows[2];
    struct entry *entries[2];
    size_t n_entries[2];
    const char *keys[N_SETTINGS]; /* those that must agree */
    size_t n_keys;
    struct word_list ignored;
    struct pair *pairs;
    size_t n_pairs;
};

/* ---- reading ---- */

static bool is_ignored(const struct comparison *c, const char *key)
{
    for (uint32_t i = 0; i < c->ignored.n; i++)
        if (!strcmp(c->ignored.words[i], key))
            return true;
    return false;
}

static enum mn_status choose_keys(struct comparison *c)
{
    enum mn_status status = c->params->ignore ? parse_words("ignore", c->params->ignore, NULL, &c->ignored, c->log)
                                              : MN_OK;
    for (uint32_t i = 0; i < c->ignored.n && !status; i++) {
        bool known = false;
        known |= !strcmp("model", c->ignored.words[i]);
        for (int k = 1; k < N_SETTINGS; k++) /* a run and a pass are never a pair */
            known |= !strcmp(settings[k], c->ignored.words[i]);
        if (!known)
            status = log_fail(c->log, MN_ERR_USAGE, "--ignore: '%s' is no setting that rows are paired by",
                              c->ignored.words[i]);
    }
    for (int k = 0; k < N_SETTINGS; k++)
        if (!is_ignored(c, settings[k]))
            c->keys[c->n_keys++] = settings[k];
    return status;
}

/* The samples as rates: the larger, the faster. */
static const cJSON *samples_of(const cJSON *row, bool *times)
{
    *times = !strcmp(row_string(row, "bench"), "pass");
    if (*times)
        return json_find(row, "us_samples");
    return !strcmp(row_string(row, "bench"), "run") ? json_find(row, "decode_samples") : NULL;
}

static enum mn_status take_samples(const struct comparison *c, const cJSON *row, double *values, uint32_t *n)
{
    bool times;
    const cJSON *array = samples_of(row, &times), *item;
    *n = 0;
    cJSON_ArrayForEach (item, array) {
        if (*n == SAMPLES_MAX || !cJSON_IsNumber(item) ||
            !(item->valuedouble > 0.0 && item->valuedouble < 1e300 && item->valuedouble > 1e-300))
            return log_fail(c->log, MN_ERR_FORMAT, "row '%.200s': samples must be up to %d numbers above 0",
                            row_string(row, "key"), SAMPLES_MAX);
        values[(*n)++] = times ? 1e6 / item->valuedouble : item->valuedouble;
    }
    if (!cJSON_IsArray(array) || *n == 0)
        return log_fail(c->log, MN_ERR_FORMAT, "row '%.200s': has no samples", row_string(row, "key"));
    return MN_OK;
}

static enum mn_status read_side(struct comparison *c, int side)
{
    uint64_t n_good;
    size_t n_older;
    struct rows *rows = &c->rows[side];
    const char *path = c->params->files[side];
    enum mn_status status = rows_read(rows, path, false, &n_good, c->log);
    if (!status)
        status = rows_keep_newest(rows, &n_older, c->log);
    if (!status && !(c->entries[side] = calloc(rows->n + 1, sizeof *c->entries[side])))
        status = log_fail(c->log, MN_ERR_MEMORY, "out of host memory for %zu rows", rows->n);
    for (size_t i = 0; i < rows->n && !status; i++) {
        bool times;
        if (!samples_of(rows->items[i], &times))
            continue;
        struct entry *e = &c->entries[side][c->n_entries[side]++];
        *e = (struct entry){.text = row_values(rows->items[i], c->keys, c->n_keys), .row = rows->items[i]};
        if (!e->text)
            status = log_fail(c->log, MN_ERR_MEMORY, "out of host memory for %zu rows", rows->n);
    }
    if (!status && c->n_entries[side] == 0)
        status = log_fail(c->log, MN_ERR_FORMAT, "%s: no row of a run or a pass", path);
    return status;
}

/* ---- pairing ---- */

static int by_text(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    const int order = strcmp(x->text, y->text);
    return order ? order : strcmp(row_string(x->row, "key"), row_string(y->row, "key"));
}

/* A model is its content, under whatever name. Rows whose content has no equal (it was trained on; a row of an older
 * version, which hashed other bytes) are paired by name, and what changed is said. */
enum likeness { SAME_CONTENT, SAME_NAME, ANY_MODEL };

static bool is_same_model(enum likeness likeness, const cJSON *a, const cJSON *b)
{
    static const char *const keys[] = {[SAME_CONTENT] = "model_hash", [SAME_NAME] = "model"};
    if (likeness == ANY_MODEL)
        return true;
    const char *word = row_string(a, keys[likeness]);
    return (*word || likeness == SAME_NAME) && !strcmp(word, row_string(b, keys[likeness]));
}

static int device_likeness(const cJSON *a, const cJSON *b)
{
    const bool kind = !strcmp(row_string(a, "device"), row_string(b, "device")),
               place = !strcmp(row_string(a, "device_id"), row_string(b, "device_id"));
    return kind ? 1 + place : 0;
}

/* Of several candidates (two devices in a file) the one on the same device, else the first that is left. */
static struct entry *find_partner(struct comparison *c, const struct entry *a, enum likeness likeness)
{
    struct entry *list = c->entries[1], *found = NULL;
    size_t low = 0, high = c->n_entries[1];
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(list[middle].text, a->text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i < c->n_entries[1] && !strcmp(list[i].text, a->text); i++) {
        if (list[i].partner || !is_same_model(likeness, a->row, list[i].row))
            continue;
        if (!found || device_likeness(a->row, list[i].row) > device_likeness(a->row, found->row))
            found = &list[i];
    }
    return found;
}

static enum mn_status compare_pair(struct comparison *c, struct pair *p)
{
    double a[SAMPLES_MAX], b[SAMPLES_MAX];
    enum mn_status status = take_samples(c, p->a, a, &p->n_a);
    if (!status)
        status = take_samples(c, p->b, b, &p->n_b);
    if (!status)
        status = samples_ratio(a, p->n_a, b, p->n_b, &p->ratio, c->log);
    if (!status) {
        p->a_rate = samples_median(a, p->n_a);
        p->b_rate = samples_median(b, p->n_b);
    }
    return status;
}

static enum mn_status pair_up(struct comparison *c)
{
    const enum likeness loosest = is_ignored(c, "model") ? ANY_MODEL : SAME_NAME;
    enum mn_status status = MN_OK;
    qsort(c->entries[1], c->n_entries[1], sizeof *c->entries[1], by_text);
    if (!(c->pairs = calloc(c->n_entries[0], sizeof *c->pairs)))
        return log_fail(c->log, MN_ERR_MEMORY, "out of host memory for %zu pairs", c->n_entries[0]);
    for (enum likeness likeness = SAME_CONTENT; likeness <= loosest; likeness++)
        for (size_t i = 0; i < c->n_entries[0]; i++) {
            struct entry *a = &c->entries[0][i];
            struct entry *b = a->partner ? NULL : find_partner(c, a, likeness);
            if (b) {
                a->partner = b;
                b->partner = a;
            }
        }
    for (size_t i = 0; i < c->n_entries[0] && !status; i++) {
        const struct entry *a = &c->entries[0][i];
        if (!a->partner)
            continue;
        c->pairs[c->n_pairs] = (struct pair){.a = a->row, .b = a->partner->row};
        status = compare_pair(c, &c->pairs[c->n_pairs++]);
    }
    if (!status && c->n_pairs == 0)
        status = log_fail(c->log, MN_ERR_FORMAT, "%s and %s have no setting in common", c->params->files[0],
                          c->params->files[1]);
    return status;
}

/* ---- results ---- */

static const char *verdict(const struct interval *r)
{
    if (!r->bounded)
        return "too few samples";
    return r->low > 1.0 ? "faster" : r->high < 1.0 ? "slower" : "no difference seen";
}

static double geometric_mean(const struct comparison *c)
{
    double sum = 0.0;
    for (size_t i = 0; i < c->n_pairs; i++)
        sum += log(c->pairs[i].ratio.ratio);
    return exp(sum / (double)c->n_pairs);
}

struct change {
    const char *key;
    char *a, *b; /* as JSON, owned */
    size_t n;    /* pairs */
};

struct changes {
    struct change items[CHANGES_MAX];
    int n;
    bool failed, more;
};

static void note_change(struct changes *changes, const char *key, const cJSON *a, const cJSON *b)
{
    const char *const one[] = {key};
    char *x = row_values(a, one, 1), *y = row_values(b, one, 1);
    int i = 0;
    changes->failed |= !x || !y;
    if (x && y && strcmp(x, y) != 0) {
        x[strlen(x) - 1] = y[strlen(y) - 1] = '\0'; /* the separator */
        while (i < changes->n && (strcmp(changes->items[i].key, key) != 0 || strcmp(changes->items[i].a, x) != 0 ||
                                  strcmp(changes->items[i].b, y) != 0))
            i++;
        if (i < changes->n) {
            changes->items[i].n++;
        } else if (i < CHANGES_MAX) {
            changes->items[changes->n++] = (struct change){key, x, y, 1};
            return;
        } else {
            changes->more = true;
        }
    }
    free(x);
    free(y);
}

static enum mn_status find_changes(const struct comparison *c, struct changes *changes)
{
    for (size_t i = 0; i < c->n_pairs; i++) {
        for (int k = 0; k < N_ENVIRONMENT; k++) /* what a row does not say (an older one) is unknown, not changed */
            if (json_find(c->pairs[i].a, environment[k]) && json_find(c->pairs[i].b, environment[k]))
                note_change(changes, environment[k], c->pairs[i].a, c->pairs[i].b);
        for (uint32_t k = 0; k < c->ignored.n; k++)
            if (strcmp(c->ignored.words[k], "model") != 0) /* is there already */
                note_change(changes, c->ignored.words[k], c->pairs[i].a, c->pairs[i].b);
    }
    return changes->failed ? log_fail(c->log, MN_ERR_MEMORY, "out of host memory for what changed") : MN_OK;
}

/* ---- writing ---- */

static void write_escaped(FILE *out, const char *text)
{
    text_write_cell(out, text, TEXT_MARKUP, '\\');
}

static double number_of(const cJSON *row, const char *key)
{
    const cJSON *value = json_find(row, key);
    return cJSON_IsNumber(value) ? value->valuedouble : 0.0;
}

static void write_setting(FILE *out, const cJSON *row)
{
    write_escaped(out, row_string(row, "model"));
    fputc(' ', out);
    write_escaped(out, row_string(row, "weight_type"));
    if (!strcmp(row_string(row, "bench"), "pass")) {
        fputs(", pass ", out);
        write_escaped(out, row_string(row, "pass"));
        fprintf(out, " of %.9g rows", number_of(row, "rows"));
        return;
    }
    fputs(", ", out);
    write_escaped(out, row_string(row, "strategy"));
    fprintf(out, " R %.9g K %.9g L %.9g W %.9g lookup %.9g branches %.9g batch %.9g, cache ",
            number_of(row, "num_steps"), number_of(row, "draft_steps"), number_of(row, "lookahead"),
            number_of(row, "max_inflight"), number_of(row, "lookup"), number_of(row, "branches"),
            number_of(row, "batch"));
    write_escaped(out, row_string(row, "kv_policy"));
    fputc(' ', out);
    write_escaped(out, row_string(row, "kv_type"));
    fprintf(out, ", %.9g + %.9g tokens", number_of(row, "prompt_tokens"), number_of(row, "new_tokens"));
}

static const char *lossless_word(const cJSON *row)
{
    static const char *const words[] = {"lossless", "FORCED", "LOSSY", ""};
    return words[row_class(row)];
}

static void write_markdown(const struct comparison *c, const struct changes *changes)
{
    FILE *out = c->params->out;
    fprintf(
        out,
        "| setting | A per s | B per s | B / A | 95 %% interval | | A | B |\n|---|---:|---:|---:|---:|---|---|---|\n");
    for (size_t i = 0; i < c->n_pairs; i++) {
        const struct pair *p = &c->pairs[i];
        fputs("| ", out);
        write_setting(out, p->a);
        fprintf(out, " | %.4g | %.4g | %.3f | ", p->a_rate, p->b_rate, p->ratio.ratio);
        if (p->ratio.bounded)
            fprintf(out, "%.3f to %.3f", p->ratio.low, p->ratio.high);
        fprintf(out, " | %s | %s | %s |\n", verdict(&p->ratio), lossless_word(p->a), lossless_word(p->b));
    }
    fprintf(out, "\n%zu pairs, geometric mean of B / A %.3f; only in A: %zu, only in B: %zu\n", c->n_pairs,
            geometric_mean(c), c->n_entries[0] - c->n_pairs, c->n_entries[1] - c->n_pairs);
    fputs("\nWhat changed:\n\n", out);
    for (int i = 0; i < changes->n; i++) {
        fputs("* ", out);
        write_escaped(out, changes->items[i].key);
        fputs(": ", out);
        write_escaped(out, changes->items[i].a);
        fputs(" -> ", out);
        write_escaped(out, changes->items[i].b);
        fprintf(out, " (%zu pairs)\n", changes->items[i].n);
    }
    fputs(changes->more ? "* and more\n"
          : changes->n  ? "\n"
                        : "* nothing: same device, driver, commit and model\n",
          out);
}

static void write_text(FILE *out, const char *key, const char *text, bool first)
{
    fprintf(out, "%s\"%s\":", first ? "" : ",", key);
    json_write_name(out, text);
}

/* What is not finite is null. */
static void write_number(FILE *out, const char *key, double value)
{
    fprintf(out, ",\"%s\":", key);
    json_write_double(out, value);
}

static void write_json(const struct comparison *c, const struct changes *changes, bool folders, FILE *out)
{
    fputc('{', out);
    write_text(out, "a", folders ? c->params->files[0] : path_name(c->params->files[0]), true);
    write_text(out, "b", folders ? c->params->files[1] : path_name(c->params->files[1]), false);
    fprintf(out,
            ",\"method\":\"median of quotients, 95 %% Mann-Whitney "
            "interval\",\"only_a\":%zu,\"only_b\":%zu",
            c->n_entries[0] - c->n_pairs, c->n_entries[1] - c->n_pairs);
    write_number(out, "geometric_mean", geometric_mean(c));
    fputs(",\"pairs\":[", out);
    for (size_t i = 0; i < c->n_pairs; i++) {
        const struct pair *p = &c->pairs[i];
        fputs(i ? ",{" : "{", out);
        write_text(out, "key_a", row_string(p->a, "key"), true);
        write_text(out, "key_b", row_string(p->b, "key"), false);
        write_number(out, "rate_a", p->a_rate);
        write_number(out, "rate_b", p->b_rate);
        fprintf(out, ",\"samples_a\":%" PRIu32 ",\"samples_b\":%" PRIu32, p->n_a, p->n_b);
        write_number(out, "ratio", p->ratio.ratio);
        write_number(out, "low", p->ratio.bounded ? p->ratio.low : NAN);
        write_number(out, "high", p->ratio.bounded ? p->ratio.high : NAN);
        write_text(out, "verdict", verdict(&p->ratio), false);
        write_text(out, "a_is", lossless_word(p->a), false);
        write_text(out, "b_is", lossless_word(p->b), false);
        fputc('}', out);
    }
    fputs("],\"changed\":[", out);
    for (int i = 0; i < changes->n; i++) {
        fputs(i ? ",{" : "{", out);
        write_text(out, "key", changes->items[i].key, true);
        write_text(out, "a", changes->items[i].a, false);
        write_text(out, "b", changes->items[i].b, false);
        fprintf(out, ",\"pairs\":%zu}", changes->items[i].n);
    }
    fputs("]}\n", out);
}

static enum mn_status show(const struct comparison *c, const struct changes *changes)
{
    char *json = NULL;
    size_t n_bytes;
    cJSON **rows = malloc((2 * c->n_pairs + 1) * sizeof *rows);
    FILE *out = memory_open(&json, &n_bytes);
    if (out)
        write_json(c, changes, false, out);
    enum mn_status status = rows && out ? MN_OK : MN_ERR_MEMORY;
    if (out && !memory_close(out, &json, &n_bytes))
        status = MN_ERR_MEMORY;
    if (status)
        log_fail(c->log, status, "out of host memory for a comparison");
    for (size_t i = 0; i < c->n_pairs && !status; i++) {
        rows[2 * i] = (cJSON *)c->pairs[i].a;
        rows[2 * i + 1] = (cJSON *)c->pairs[i].b;
    }
    if (!status)
        status = c->params->show(c->params->user, &(struct compared){json, rows, 2 * c->n_pairs}, c->log);
    free(json);
    free(rows);
    return status;
}

static enum mn_status write_comparison(const struct comparison *c, const struct changes *changes)
{
    if (!strcmp(c->params->output, "page"))
        return show(c, changes);
    if (!strcmp(c->params->output, "json"))
        write_json(c, changes, true, c->params->out);
    else
        write_markdown(c, changes);
    return MN_OK;
}

/* A pair is too slow when even the upper end of its interval is. */
static enum mn_status check_slowdown(const struct comparison *c)
{
    const double least = 1.0 - (double)c->params->max_slowdown / 100.0;
    size_t n = 0;
    for (size_t i = 0; i < c->n_pairs && c->params->max_slowdown > 0.0f; i++)
        n += c->pairs[i].ratio.bounded && c->pairs[i].ratio.high < least;
    return n ? log_fail(c->log, MN_ERR_CHECK, "%zu of %zu pairs are slower by more than %g %%", n, c->n_pairs,
                        (double)c->params->max_slowdown)
             : MN_OK;
}

enum mn_status compare_rows(const struct compare_params *params, const struct mn_log *log)
{
    struct changes changes = {0};
    struct comparison *c = calloc(1, sizeof *c);
    if (!c)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a comparison");
    *c = (struct comparison){.params = params, .log = log};
    enum mn_status status = choose_keys(c);
    for (int side = 0; side < 2 && !status; side++)
        status = read_side(c, side);
    if (!status)
        status = pair_up(c);
    if (!status)
        status = find_changes(c, &changes);
    if (!status)
        status = write_comparison(c, &changes);
    if (!status)
        status = check_slowdown(c);
    for (int i = 0; i < changes.n; i++) {
        free(changes.items[i].a);
        free(changes.items[i].b);
    }
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < c->n_entries[side]; i++)
            free(c->entries[side][i].text);
        free(c->entries[side]);
        rows_free(&c->rows[side]);
    }
    free(c->pairs);
    free(c);
    return status;
}
