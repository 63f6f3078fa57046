#include "bench/sweep/cost_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sweep/cache_folder.h"
#include "bench/sweep/cpu_device.h"
#include "engine/base/decimal.h"
#include "engine/base/hash.h"
#include "engine/base/system.h"
#include "engine/files/disk.h"
#include "engine/files/json.h"
#include "engine/files/output_file.h"

enum { KEY_BYTES = 2048, PATH_BYTES = 4096, FILE_BYTES_MAX = 1 << 16 };

/* A CPU device depends on the machine's processors and on the worker threads it is given, too. Names of devices and the
 * environment come from outside: the key is what a reader of the file finds. False: too long, or no memory. */
static bool make_key(const struct mn_session *session, char *key)
{
    char raw[KEY_BYTES];
    const int n = snprintf(raw, KEY_BYTES, "cpus%ld threads%.8s|", system_processors(), cpu_device_threads());
    if (n <= 0 || (size_t)n + mn_session_cost_key(session, raw + n, KEY_BYTES - (size_t)n) >= KEY_BYTES)
        return false;
    char *valid = json_name(raw);
    const bool good = valid && snprintf(key, KEY_BYTES, "%s", valid) < KEY_BYTES;
    free(valid);
    return good;
}

static bool make_path(const char *dir, const char *key, char *path)
{
    return snprintf(path, PATH_BYTES, "%s/costs-%016" PRIx64 ".json", dir, hash_string(HASH_START, key)) < PATH_BYTES;
}

/* ---- reading ---- */

/* Returns how many there are, 0 when something is wrong with them. */
static uint32_t read_numbers(const cJSON *root, const char *name, double *out)
{
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(root, name);
    const int n = cJSON_IsArray(array) ? cJSON_GetArraySize(array) : 0;
    if (n < 1 || n > MN_COST_POINTS)
        return 0;
    for (int i = 0; i < n; i++) {
        const cJSON *item = cJSON_GetArrayItem(array, i);
        if (!cJSON_IsNumber(item) || !(item->valuedouble > 0.0 && item->valuedouble < 1e12))
            return 0;
        out[i] = item->valuedouble;
    }
    return (uint32_t)n;
}

/* The key and every time as they are written, so that a digit that was changed shows. */
static void checksum(const char *key, const struct mn_cost_table *t, char *text)
{
    const double *const arrays[] = {t->prelude_ns, t->core_ns, t->head_ns, &t->submit_ns};
    char number[64];
    uint64_t hash = hash_string(HASH_START, key);
    for (uint32_t i = 0; i < t->n; i++) {
        snprintf(number, sizeof number, "|%" PRIu32, t->rows[i]);
        hash = hash_string(hash, number);
    }
    for (size_t a = 0; a < sizeof arrays / sizeof *arrays; a++)
        for (uint32_t i = 0; i < (arrays[a] == &t->submit_ns ? 1 : t->n); i++) {
            number[0] = '|';
            decimal_write(number + 1, arrays[a][i]);
            hash = hash_string(hash, number);
        }
    hash_write(hash, text);
}

static bool load(const char *path, const char *key, struct mn_cost_table *t)
{
    struct json_doc doc = {0};
    const struct mn_log silent = {0};
    char sum[HASH_TEXT_BYTES];
    double rows[MN_COST_POINTS], submit[MN_COST_POINTS];
    *t = (struct mn_cost_table){0};
    if (json_read_file(&doc, path, FILE_BYTES_MAX, &silent))
        return false;
    const cJSON *stored = cJSON_GetObjectItemCaseSensitive(doc.root, "key"),
                *stored_sum = cJSON_GetObjectItemCaseSensitive(doc.root, "checksum");
    const uint32_t n = read_numbers(doc.root, "rows", rows);
    bool good = n > 0 && cJSON_IsString(stored) && !strcmp(stored->valuestring, key) && cJSON_IsString(stored_sum) &&
                read_numbers(doc.root, "prelude_ns", t->prelude_ns) == n &&
                read_numbers(doc.root, "core_ns", t->core_ns) == n &&
                read_numbers(doc.root, "head_ns", t->head_ns) == n && read_numbers(doc.root, "submit_ns", submit) == 1;
    if (good) {
        t->n = n;
        t->submit_ns = submit[0];
        for (uint32_t i = 0; i < n; i++) {
            t->rows[i] = (uint32_t)fmin(rows[i], UINT32_MAX);
            good &= i == 0 ? t->rows[0] == 1 : t->rows[i] > t->rows[i - 1];
        }
        checksum(key, t, sum);
    }
    good = good && !strcmp(stored_sum->valuestring, sum);
    json_destroy(&doc);
    return good;
}

/* ---- writing ---- */

static void write_times(FILE *file, const char *name, uint32_t n, const double *ns)
{
    fprintf(file, ",\"%s\":[", name);
    for (uint32_t i = 0; i < n; i++) {
        fputs(i ? "," : "", file);
        json_write_double(file, ns[i]);
    }
    fputc(']', file);
}

/* The reason of a failure is nobody's concern: what could not be kept is measured again. */
static bool save(const char *path, const char *key, const struct mn_cost_table *t)
{
    const struct mn_log silent = {0};
    struct output_file out;
    char sum[HASH_TEXT_BYTES];
    if (output_open(&out, path, &silent))
        return false;
    checksum(key, t, sum);
    fputs("{\"key\":", out.text);
    json_write_string(out.text, key, strlen(key));
    fprintf(out.text, ",\"checksum\":\"%s\",\"rows\":[", sum);
    for (uint32_t i = 0; i < t->n; i++)
        fprintf(out.text, "%s%" PRIu32, i ? "," : "", t->rows[i]);
    fputc(']', out.text);
    write_times(out.text, "prelude_ns", t->n, t->prelude_ns);
    write_times(out.text, "core_ns", t->n, t->core_ns);
    write_times(out.text, "head_ns", t->n, t->head_ns);
    write_times(out.text, "submit_ns", 1, &t->submit_ns);
    fputs("}\n", out.text);
    return !output_commit(&out, &silent);
}

/* ---- in memory ---- */

struct cost_kept {
    char *key;
    struct mn_cost_table table;
};

static const struct mn_cost_table *memory_find(const struct cost_memory *memory, const char *key)
{
    for (uint32_t i = 0; memory && i < memory->n; i++)
        if (!strcmp(memory->kept[i].key, key))
            return &memory->kept[i].table;
    return NULL;
}

/* What there is no room for is measured or read again. */
static void memory_add(struct cost_memory *memory, const char *key, const struct mn_cost_table *table)
{
    struct cost_kept *kept = memory ? realloc(memory->kept, (memory->n + 1) * sizeof *kept) : NULL;
    if (!kept)
        return;
    memory->kept = kept;
    kept[memory->n] = (struct cost_kept){strdup(key), *table};
    memory->n += kept[memory->n].key != NULL;
}

void cost_memory_free(struct cost_memory *memory)
{
    for (uint32_t i = 0; i < memory->n; i++)
        free(memory->kept[i].key);
    free(memory->kept);
    *memory = (struct cost_memory){0};
}

/* From the file `path` in `dir`, or measured and kept there; path NULL: nowhere. */
static enum mn_status load_or_measure(struct mn_session *session, const char *key, const char *dir, const char *path,
                                      struct mn_cost_table *table, const struct mn_log *log)
{
    struct disk_info info;
    const bool exists = path && disk_look(&info, path);
    if (exists && load(path, key, table)) {
        cache_folder_used(path);
        return mn_session_set_costs(session, table);
    }
    if (exists)
        log_note(log, MN_LOG_WARN, "%s: not a whole table of this device and model; the costs are measured again",
                 path);
    enum mn_status status = mn_session_costs(session, table);
    const bool saved = !status && path && save(path, key, table);
    if (saved)
        cache_folder_trim(dir);
    else if (!status && path)
        log_note(log, MN_LOG_WARN, "%s: the measured costs could not be stored; they will be measured again", path);
    return status;
}

enum mn_status cost_file_use(struct mn_session *session, const char *dir, struct cost_memory *memory,
                             const struct mn_log *log)
{
    char key[KEY_BYTES], path[PATH_BYTES];
    struct mn_cost_table table;
    const bool has_key = make_key(session, key);
    const struct mn_cost_table *known = has_key ? memory_find(memory, key) : NULL;
    if (known)
        return mn_session_set_costs(session, known);
    const bool keeps = dir && has_key && make_path(dir, key, path);
    enum mn_status status = load_or_measure(session, key, dir, keeps ? path : NULL, &table, log);
    if (!status && has_key)
        memory_add(memory, key, &table);
    return status;
}
