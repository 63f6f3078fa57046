#include "spec/cost.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/hash.h"
#include "engine/files/json.h"
#include "engine/model/session_internal.h"
#include "spec/strategy.h"

/* Attention grows with the position: passes are timed in the middle of a context, up to a usual length. */
enum { USUAL_POSITION = 128 };

enum { ROUNDS = 3, REPETITIONS = 3, KEY_BYTES = 1024, PATH_BYTES = 4096, FILE_BYTES_MAX = 1 << 16 };

double cost_at(const struct cost_table *t, const double *ns, uint32_t rows)
{
    if (rows == 0 || t->n == 0)
        return 0.0;
    uint32_t i = 0;
    while (i < t->n && t->rows[i] < rows)
        i++;
    if (i == t->n) /* beyond the last point: in proportion */
        return ns[t->n - 1] * rows / t->rows[t->n - 1];
    if (t->rows[i] == rows || i == 0)
        return ns[i];
    double part = (double)(rows - t->rows[i - 1]) / (double)(t->rows[i] - t->rows[i - 1]);
    return ns[i - 1] + part * (ns[i] - ns[i - 1]);
}

/* ---- measuring ---- */

/* Row counts from 1 that the session can run. */
static uint32_t n_points(const struct session *s)
{
    uint32_t n = session_info(s)->max_rows < COST_POINTS ? session_info(s)->max_rows : COST_POINTS;
    return n < session_info(s)->n_ctx ? n : session_info(s)->n_ctx;
}

static uint32_t first_position(const struct session *s)
{
    const uint32_t middle = (session_info(s)->n_ctx - n_points(s)) / 2;
    return middle < USUAL_POSITION ? middle : USUAL_POSITION;
}

/* Steps of the run that is compared with one of a single step. */
static uint32_t many_steps(const struct session *s)
{
    return session_info(s)->num_steps < 5 ? session_info(s)->num_steps : 5;
}

/* Four runs for a row count, each with one thing more than the first: what they differ in is that thing's time. */
enum { ONE_STEP, MANY_STEPS, ENTERING, HEADED, N_RUNS };

static enum mn_status time_rows(struct session *s, uint32_t n, double *fastest)
{
    struct row rows[SESSION_MAX_ROWS] = {{0}};
    for (uint32_t i = 0; i < n; i++)
        rows[i].position = first_position(s) + i;
    const struct session_run_params runs[N_RUNS] = {
        [ONE_STEP] = {.rows = rows, .n_rows = n, .n_core = 1},
        [MANY_STEPS] = {.rows = rows, .n_rows = n, .n_core = many_steps(s)},
        [ENTERING] = {.rows = rows, .n_rows = n, .n_core = 1, .n_new = n},
        [HEADED] = {.rows = rows, .n_rows = n, .n_core = 1, .coda = true, .n_head = n}};
    for (int repetition = 0; repetition < REPETITIONS; repetition++)
        for (int i = 0; i < N_RUNS; i++) {
            const double start = clock_ns();
            enum mn_status status = session_run(s, &runs[i], NULL);
            if (status)
                return status;
            fastest[i] = fmin(fastest[i], clock_ns() - start);
        }
    return MN_OK;
}

static double above_zero(double ns)
{
    return ns > 1.0 ? ns : 1.0;
}

/* More rows never take less: neighbours that say so are taken together. */
static void rising(double *ns, uint32_t n)
{
    double sum[COST_POINTS];
    uint32_t count[COST_POINTS], n_groups = 0;
    for (uint32_t i = 0; i < n; i++, n_groups++) {
        sum[n_groups] = ns[i];
        count[n_groups] = 1;
        for (; n_groups > 0 && sum[n_groups - 1] * count[n_groups] > sum[n_groups] * count[n_groups - 1]; n_groups--) {
            sum[n_groups - 1] += sum[n_groups];
            count[n_groups - 1] += count[n_groups];
        }
    }
    for (uint32_t i = 0, group = 0; group < n_groups; group++)
        for (uint32_t j = 0; j < count[group]; j++)
            ns[i++] = sum[group] / count[group];
}

enum mn_status cost_measure(struct session *s, struct cost_table *t)
{
    double fastest[COST_POINTS][N_RUNS]; /* what disturbs a run only adds to it */
    const uint32_t n = n_points(s);
    *t = (struct cost_table){.n = n};
    for (uint32_t i = 0; i < n * N_RUNS; i++)
        fastest[i / N_RUNS][i % N_RUNS] = INFINITY;
    for (int round = 0; round < ROUNDS; round++) /* a machine's slow moment meets one round */
        for (uint32_t i = 0; i < n; i++) {
            enum mn_status status = time_rows(s, i + 1, fastest[i]);
            if (status)
                return status;
        }
    for (uint32_t i = 0; i < n; i++) {
        const double *ns = fastest[i];
        const uint32_t more = many_steps(s) - 1;
        t->rows[i] = i + 1;
        t->core_ns[i] = more ? above_zero((ns[MANY_STEPS] - ns[ONE_STEP]) / more) : ns[ONE_STEP];
        t->prelude_ns[i] = above_zero(ns[ENTERING] - ns[ONE_STEP]);
        t->head_ns[i] = above_zero(ns[HEADED] - ns[ONE_STEP]);
    }
    t->submit_ns = above_zero(fastest[0][ONE_STEP] - t->core_ns[0]);
    rising(t->core_ns, n);
    rising(t->prelude_ns, n);
    rising(t->head_ns, n);
    return MN_OK;
}

/* ---- keeping ---- */

/* Of the shaders and how they are cut to size: a build with others measures anew. */
static uint64_t hash_kernels(const struct model *model)
{
    uint64_t hash = hash_bytes(HASH_START, &model->tuning, sizeof model->tuning);
    for (enum kernel_id id = 0; id < KERNEL_COUNT; id++)
        hash = hash_bytes(hash, kernels_code(&model->kernels, id)->words, kernels_code(&model->kernels, id)->bytes);
    return hash;
}

/* What decides what a pass takes. A CPU device depends on the machine's processors and on the worker threads it is
 * given, too. */
static void make_key(const struct session *s, char *key)
{
    const struct model *m = s->model;
    const struct model_config *c = &m->config;
    const char *threads = getenv("LP_NUM_THREADS");
    snprintf(key, KEY_BYTES,
             "%s|%s|%u|cpus%ld threads%.8s|d%u h%u f%u v%u p%u c%u k%u|w%" PRIu64
             "|kv%d share%u rows%u at%u|%016" PRIx64,
             m->device->caps.name, m->device->caps.driver, m->device->caps.api_version, sysconf(_SC_NPROCESSORS_ONLN),
             threads ? threads : "", c->n_embd, c->n_heads, c->intermediate_size, c->vocab_size, c->n_prelude,
             c->n_core, c->n_coda, m->weights.arena.bytes, (int)session_info(s)->kv_type,
             session_info(s)->kv_policy.share, n_points(s), first_position(s), hash_kernels(m));
}

static bool make_path(const char *dir, const char *key, char *path)
{
    return snprintf(path, PATH_BYTES, "%s/costs-%016" PRIx64 ".json", dir, hash_string(HASH_START, key)) < PATH_BYTES;
}

static bool read_times(const cJSON *root, const char *name, uint32_t n, double *out)
{
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(root, name);
    if (!cJSON_IsArray(array) || cJSON_GetArraySize(array) != (int)n)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const cJSON *item = cJSON_GetArrayItem(array, (int)i);
        if (!cJSON_IsNumber(item) || !(item->valuedouble > 0.0 && item->valuedouble < 1e12))
            return false;
        out[i] = item->valuedouble;
    }
    return true;
}

/* The key and every time as they are written, so that a digit that was changed shows. */
static void checksum(const char *key, const struct cost_table *t, char *text)
{
    const double *const arrays[] = {t->prelude_ns, t->core_ns, t->head_ns, &t->submit_ns};
    uint64_t hash = hash_string(HASH_START, key);
    for (size_t a = 0; a < sizeof arrays / sizeof *arrays; a++)
        for (uint32_t i = 0; i < (arrays[a] == &t->submit_ns ? 1 : t->n); i++) {
            char number[64];
            snprintf(number, sizeof number, "|%.1f", arrays[a][i]);
            hash = hash_string(hash, number);
        }
    hash_write(hash, text);
}

static bool load(const struct session *s, const char *path, const char *key, struct cost_table *t)
{
    struct json_doc doc = {0};
    const struct mn_log silent = {0};
    char sum[HASH_TEXT_BYTES];
    *t = (struct cost_table){.n = n_points(s)};
    for (uint32_t i = 0; i < t->n; i++)
        t->rows[i] = i + 1;
    if (json_read_file(&doc, path, FILE_BYTES_MAX, &silent) != MN_OK)
        return false;
    const cJSON *stored = cJSON_GetObjectItemCaseSensitive(doc.root, "key"),
                *stored_sum = cJSON_GetObjectItemCaseSensitive(doc.root, "checksum");
    bool good = cJSON_IsString(stored) && !strcmp(stored->valuestring, key) &&
                read_times(doc.root, "prelude_ns", t->n, t->prelude_ns) &&
                read_times(doc.root, "core_ns", t->n, t->core_ns) &&
                read_times(doc.root, "head_ns", t->n, t->head_ns) &&
                read_times(doc.root, "submit_ns", 1, &t->submit_ns);
    if (good)
        checksum(key, t, sum);
    good = good && cJSON_IsString(stored_sum) && !strcmp(stored_sum->valuestring, sum);
    json_destroy(&doc);
    return good;
}

static void write_times(FILE *file, const char *name, uint32_t n, const double *ns)
{
    fprintf(file, ",\"%s\":[", name);
    for (uint32_t i = 0; i < n; i++)
        fprintf(file, "%s%.1f", i ? "," : "", ns[i]);
    fputc(']', file);
}

/* Under another name first: a reader, or the next run after a crash, sees the whole file or none. */
static bool save(const char *path, const char *key, const struct cost_table *t)
{
    char temporary[PATH_BYTES + 32], sum[HASH_TEXT_BYTES];
    snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
    FILE *file = fopen(temporary, "w");
    if (!file)
        return false;
    checksum(key, t, sum);
    fputs("{\"key\":", file);
    json_write_string(file, key, strlen(key));
    fprintf(file, ",\"checksum\":\"%s\"", sum);
    write_times(file, "prelude_ns", t->n, t->prelude_ns);
    write_times(file, "core_ns", t->n, t->core_ns);
    write_times(file, "head_ns", t->n, t->head_ns);
    write_times(file, "submit_ns", 1, &t->submit_ns);
    fputs("}\n", file);
    bool good = !ferror(file);
    good = fclose(file) == 0 && good;
    if (good && rename(temporary, path) == 0)
        return true;
    remove(temporary);
    return false;
}

bool cost_store(const struct session *s, const char *dir, const struct cost_table *t)
{
    char key[KEY_BYTES], path[PATH_BYTES];
    make_key(s, key);
    return make_path(dir, key, path) && save(path, key, t);
}

enum mn_status cost_get(struct session *s, const char *dir, struct cost_table *t)
{
    char key[KEY_BYTES], path[PATH_BYTES];
    const struct mn_log *log = session_info(s)->log;
    make_key(s, key);
    const bool keeps = dir && make_path(dir, key, path), exists = keeps && access(path, F_OK) == 0;
    if (exists && load(s, path, key, t))
        return MN_OK;
    if (exists)
        log_note(log, MN_LOG_WARN, "%s: not a whole table of this device and model; the costs are measured again",
                 path);
    enum mn_status status = cost_measure(s, t);
    if (!status && keeps && !save(path, key, t))
        log_note(log, MN_LOG_WARN, "%s: the measured costs could not be stored; they will be measured again", path);
    return status;
}
