#include "bench/sweep/ceiling.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/rows/sampling.h"
#include "bench/sensors/host_cache.h"
#include "engine/base/clock.h"
#include "engine/base/system.h"
#include "engine/files/json.h"

enum { REPEATS = 5, REPEATS_FEWEST = 3, KEY_BYTES = 2048 };
/* A slow device needs no five. */
static const double REPEATS_S = 0.5;
static const double TOLERANCE = 0.1;
/* No device's cache is larger. */
static const double DEVICE_CACHE_BYTES = 1e9;

/* ---- in memory ---- */

struct ceiling_known {
    char *name; /* owned */
    struct ceiling ceiling;
};

void ceiling_memory_free(struct ceiling_memory *memory)
{
    for (uint32_t i = 0; i < memory->n; i++)
        free(memory->known[i].name);
    free(memory->known);
    *memory = (struct ceiling_memory){0};
}

/* What there is no room for is measured again. */
static void memory_add(struct ceiling_memory *memory, const char *name, const struct ceiling *ceiling)
{
    struct ceiling_known *known = realloc(memory->known, (memory->n + 1) * sizeof *known);
    if (!known)
        return;
    memory->known = known;
    known[memory->n] = (struct ceiling_known){strdup(name), *ceiling};
    memory->n += known[memory->n].name != NULL;
}

/* ---- measuring ---- */

static enum mn_status repeat(struct ceiling *c, struct mn_engine *engine)
{
    double values[REPEATS];
    uint32_t n = 0;
    enum mn_status status = MN_OK;
    const double begin = clock_s();
    const time_t now = time(NULL);
    const struct tm utc = system_utc(now);
    for (; n < REPEATS && !status && (n < REPEATS_FEWEST || clock_s() - begin < REPEATS_S); n += !status)
        status = mn_read_bandwidth(engine, &values[n]);
    *c = (struct ceiling){0};
    if (status)
        return status;
    c->gb_s = samples_median(values, n); /* sorts */
    c->spread = c->gb_s > 0.0 ? (values[n - 1] - values[0]) / c->gb_s : 0.0;
    c->seconds = clock_s() - begin;
    strftime(c->time, sizeof c->time, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return MN_OK;
}

bool ceiling_differs(double gb_s, double spread, double other_gb_s, double other_spread)
{
    const double allowed = fmax(TOLERANCE, fmax(spread, other_spread));
    return gb_s > 0.0 && other_gb_s > 0.0 && fabs(gb_s / other_gb_s - 1.0) > allowed;
}

/* ---- what earlier runs had ---- */

static bool make_key(char *key, const struct mn_model_info *info, const char *cpu_threads)
{
    char raw[KEY_BYTES];
    const int n = snprintf(raw, sizeof raw, "ceiling cpus%ld threads%.8s|%s|%s|%s|%08x", system_processors(),
                           cpu_threads ? cpu_threads : "", info->device_name, info->device_id, info->driver,
                           (unsigned)info->driver_version);
    char *valid = n > 0 && n < KEY_BYTES ? json_name(raw) : NULL;
    const bool good = valid && snprintf(key, KEY_BYTES, "%s", valid) < KEY_BYTES;
    free(valid);
    return good;
}

static void compare(const struct ceiling_history *h, const struct ceiling *now, const struct mn_log *log)
{
    double sorted[CEILING_KEPT], spreads[CEILING_KEPT];
    if (!h->n)
        return;
    memcpy(sorted, h->gb_s, sizeof sorted);
    memcpy(spreads, h->spread, sizeof spreads);
    const double before = samples_median(sorted, h->n), spread = samples_median(spreads, h->n);
    for (uint32_t i = 0; i < h->n; i++) /* how far runs are from each other, by the middle of it: one odd day is no
                                           measure */
        spreads[i] = fabs(h->gb_s[i] / before - 1.0);
    const double usual = fmax(spread, 3.0 * samples_median(spreads, h->n));
    const bool seen = now->gb_s >= sorted[0] && now->gb_s <= sorted[h->n - 1];
    if (!seen && ceiling_differs(now->gb_s, now->spread, before, usual))
        log_note(
            log, MN_LOG_WARN,
            "read bandwidth: %.3g GB/s today, where %u earlier run%s on this device had %.3g to %.3g: %s; shares of "
            "the ceiling refer to today's",
            now->gb_s, (unsigned)h->n, h->n > 1 ? "s" : "", sorted[0], sorted[h->n - 1],
            now->gb_s < before ? "something else uses it, or it is throttled" : "it was disturbed then, or changed");
}

static void keep(const struct ceiling *now, const struct mn_model_info *info, const struct ceiling_params *p)
{
    char key[KEY_BYTES];
    struct ceiling_history history;
    if (!p->dir || !make_key(key, info, p->cpu_threads))
        return;
    ceiling_file_read(&history, p->dir, key);
    compare(&history, now, p->log);
    ceiling_file_add(&history, p->dir, key, now, (double)time(NULL)); /* else the next run has it not */
}

enum mn_status ceiling_at_rest(struct ceiling *ceiling, struct ceiling_memory *memory, const struct ceiling_params *p)
{
    char name[512];
    struct mn_engine *engine;
    struct mn_model_info info;
    snprintf(name, sizeof name, "%s|%s", p->device ? p->device : "", p->cpu_threads ? p->cpu_threads : "");
    for (uint32_t i = 0; memory && i < memory->n; i++)
        if (!strcmp(memory->known[i].name, name)) {
            *ceiling = memory->known[i].ceiling;
            return MN_OK;
        }
    *ceiling = (struct ceiling){0};
    enum mn_status status = mn_engine_create(
        &engine,
        &(struct mn_engine_params){
            .synthetic = "raven-tiny", .device = p->device, .plan_only = true, .progress = p->progress, .log = p->log});
    if (status)
        return status;
    status = repeat(ceiling, engine);
    mn_engine_info(engine, &info);
    if (!status && memory)
        memory_add(memory, name, ceiling);
    if (!status)
        keep(ceiling, &info, p);
    mn_engine_destroy(engine);
    return status;
}

enum mn_status ceiling_at_end(struct ceiling *end, const struct ceiling *rest, struct mn_engine *engine,
                              const struct mn_log *log)
{
    enum mn_status status = repeat(end, engine);
    if (!status && ceiling_differs(end->gb_s, end->spread, rest->gb_s, rest->spread))
        log_note(
            log, MN_LOG_WARN,
            "read bandwidth: %.3g GB/s in rest, %.3g at the end: the device was not the same all the time (heat, or "
            "something else that uses it); compare rows with care",
            rest->gb_s, end->gb_s);
    return status;
}

/* ---- above it ---- */

void ceiling_cause(char *text, const struct ceiling *ceiling, double percent, const char *what, double bytes,
                   bool is_cpu, const char *root)
{
    struct host_cache cache = {0};
    const bool fits = is_cpu && host_cache_find(&cache, root, bytes);
    if (fits)
        snprintf(text, CEILING_CAUSE_BYTES, "the weights of %s (%.3g MB) fit the L%u cache (%.3g MB)", what,
                 bytes / 1e6, (unsigned)cache.level, (double)cache.bytes / 1e6);
    else if (percent <= 100.0 * (1.0 + ceiling->spread))
        snprintf(text, CEILING_CAUSE_BYTES, "the ceiling itself varies by %.2g %%", 100.0 * ceiling->spread);
    else if (is_cpu && cache.level)
        snprintf(text, CEILING_CAUSE_BYTES, "cause not known: the weights of %s (%.3g MB) fit no cache (L%u: %.3g MB)",
                 what, bytes / 1e6, (unsigned)cache.level, (double)cache.bytes / 1e6);
    else if (bytes < DEVICE_CACHE_BYTES)
        snprintf(text, CEILING_CAUSE_BYTES, "a cache may hold the weights of %s (%.3g MB); its size is not shown", what,
                 bytes / 1e6);
    else
        snprintf(text, CEILING_CAUSE_BYTES, "cause not known: no cache holds the weights of %s (%.3g MB)", what,
                 bytes / 1e6);
}
