#include "bench/sensors/sensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sensors/nvml.h"
#include "bench/sensors/sysfs.h"
#include "engine/base/clock.h"

enum { COUNTERS_MAX = 16 };

static const double POLL_S = 5.0;
/* No package draws more: a counter whose range this power passes between two readings may have gone round unseen. */
static const double POWER_MAX_W = 2000.0;

/* What counts up. */
struct counter {
    char path[SYSFS_PATH_BYTES]; /* microjoules; "": NVML's, in millijoules */
    uint64_t range;              /* the value behind which it begins at 0 again; 0: it does not */
    uint64_t last;
    double total_j;
    bool lost; /* within this span */
};

struct sensors {
    struct nvml *nvml;
    struct counter counters[COUNTERS_MAX];
    uint32_t n_counters;
    bool power_by_nvml, clock_by_nvml;
    char power_path[SYSFS_PATH_BYTES]; /* microwatts; "": none, or NVML */
    char clock_path[SYSFS_PATH_BYTES]; /* hertz; "": none, or NVML, or the processors' */
    char cpu_dir[SYSFS_PATH_BYTES];    /* "": not the processors' */
    char energy_source[SENSOR_SOURCE_BYTES], clock_source[SENSOR_SOURCE_BYTES];
    /* the span: */
    double begin_s, end_s, read_s, power_sum, clock_sum;
    uint32_t n_power, n_clock, n_samples;
};

/* ---- counters ---- */

static bool read_counter(const struct sensors *s, const struct counter *c, uint64_t *value)
{
    return *c->path ? sysfs_number(c->path, value) : nvml_energy_mj(s->nvml, value);
}

/* A counter that went back without a range was started anew; one that was away for too long says nothing. */
static void advance(const struct sensors *s, struct counter *c, double seconds)
{
    const double unit = *c->path ? 1e-6 : 1e-3;
    uint64_t now;
    if (c->lost || !read_counter(s, c, &now) ||
        (c->range && (now > c->range || (double)c->range * unit < seconds * POWER_MAX_W)) ||
        (now < c->last && !c->range)) {
        c->lost = true;
        return;
    }
    c->total_j += (double)(now >= c->last ? now - c->last : c->range - c->last + now) * unit;
    c->last = now;
}

static void advance_all(struct sensors *s)
{
    const double now = clock_s();
    for (uint32_t i = 0; i < s->n_counters; i++)
        advance(s, &s->counters[i], now - s->read_s);
    s->read_s = now;
}

static void add_counter(struct sensors *s, const char *path, uint64_t range)
{
    struct counter *c = &s->counters[s->n_counters];
    uint64_t value;
    *c = (struct counter){.range = range};
    memcpy(c->path, path, strlen(path) + 1);
    s->n_counters += read_counter(s, c, &value);
}

/* ---- what there is ---- */

static void find_nvml(struct sensors *s, const struct sensors_params *p)
{
    uint64_t value;
    if (!(s->nvml = nvml_open(p->nvml, p->pci)))
        return;
    add_counter(s, "", 0);
    s->power_by_nvml = !s->n_counters && nvml_power_mw(s->nvml, &value);
    s->clock_by_nvml = nvml_clock_mhz(s->nvml, &value);
    snprintf(s->energy_source, SENSOR_SOURCE_BYTES, s->n_counters ? "nvml" : "nvml power");
    snprintf(s->clock_source, SENSOR_SOURCE_BYTES, "nvml");
}

/* The file of a hwmon folder, named in `source` when it can be read. */
static bool find_hwmon_file(const char *dir, const char *driver, const char *name, char *path, char *source)
{
    uint64_t value;
    if (!sysfs_join(path, dir, name) || !sysfs_number(path, &value)) {
        *path = '\0';
        return false;
    }
    snprintf(source, SENSOR_SOURCE_BYTES, "hwmon %s %s", driver, name);
    return true;
}

static void look_into_hwmon(struct sensors *s, const char *dir)
{
    char path[SYSFS_PATH_BYTES], driver[SYSFS_WORD_BYTES];
    if (!sysfs_join(path, dir, "name") || !sysfs_word(path, driver))
        return;
    if (find_hwmon_file(dir, driver, "energy1_input", path, s->energy_source))
        add_counter(s, path, 0);
    else if (!find_hwmon_file(dir, driver, "power1_average", s->power_path, s->energy_source))
        find_hwmon_file(dir, driver, "power1_input", s->power_path, s->energy_source);
    find_hwmon_file(dir, driver, "freq1_input", s->clock_path, s->clock_source);
}

static void find_hwmon(struct sensors *s, const struct sensors_params *p)
{
    char dir[SYSFS_PATH_BYTES], one[SYSFS_PATH_BYTES], name[64];
    uint32_t numbers[SYSFS_LIST_MAX];
    snprintf(name, sizeof name, "sys/bus/pci/devices/%04" PRIx64 ":%02" PRIx64 ":%02" PRIx64 ".%" PRIx64 "/hwmon",
             p->pci >> 16, p->pci >> 8 & 0xff, p->pci >> 3 & 0x1f, p->pci & 0x7);
    if (!sysfs_join(dir, p->root ? p->root : "", name))
        return;
    const size_t n = sysfs_list(dir, "hwmon", numbers);
    for (size_t i = 0; i < n && !s->n_counters && !*s->power_path; i++) {
        snprintf(name, sizeof name, "hwmon%" PRIu32, numbers[i]);
        if (sysfs_join(one, dir, name))
            look_into_hwmon(s, one);
    }
}

/* Zones of whole packages; what lies within one has two numbers, and psys is more than the processors. All of them, or
 * none: a part of the energy is not it. */
static void find_rapl(struct sensors *s, const char *root)
{
    char dir[SYSFS_PATH_BYTES], name[64], path[SYSFS_PATH_BYTES], word[SYSFS_WORD_BYTES];
    uint32_t numbers[SYSFS_LIST_MAX], n_packages = 0;
    if (!sysfs_join(dir, root, "sys/class/powercap"))
        return;
    const size_t n = sysfs_list(dir, "intel-rapl:", numbers);
    for (size_t i = 0; i < n && n_packages < COUNTERS_MAX; i++) {
        uint64_t range = 0;
        snprintf(name, sizeof name, "intel-rapl:%" PRIu32 "/name", numbers[i]);
        if (!sysfs_join(path, dir, name) || !sysfs_word(path, word) || strncmp(word, "package-", 8) != 0)
            continue;
        n_packages++;
        snprintf(name, sizeof name, "intel-rapl:%" PRIu32 "/max_energy_range_uj", numbers[i]);
        if (sysfs_join(path, dir, name))
            sysfs_number(path, &range);
        snprintf(name, sizeof name, "intel-rapl:%" PRIu32 "/energy_uj", numbers[i]);
        if (range && sysfs_join(path, dir, name))
            add_counter(s, path, range);
    }
    if (s->n_counters < n_packages)
        s->n_counters = 0;
    snprintf(s->energy_source, SENSOR_SOURCE_BYTES, "rapl");
}

/* The highest clock of all processors: those that idle say nothing of the work. */
static bool cpu_clock(const struct sensors *s, double *mhz)
{
    uint32_t numbers[SYSFS_LIST_MAX];
    char name[64], path[SYSFS_PATH_BYTES];
    const size_t n = sysfs_list(s->cpu_dir, "cpu", numbers);
    *mhz = 0.0;
    for (size_t i = 0; i < n; i++) {
        uint64_t khz;
        snprintf(name, sizeof name, "cpu%" PRIu32 "/cpufreq/scaling_cur_freq", numbers[i]);
        if (sysfs_join(path, s->cpu_dir, name) && sysfs_number(path, &khz) && (double)khz / 1e3 > *mhz)
            *mhz = (double)khz / 1e3;
    }
    return *mhz > 0.0;
}

static void find_cpu(struct sensors *s, const struct sensors_params *p)
{
    const char *root = p->root ? p->root : "";
    double mhz;
    find_rapl(s, root);
    if (!sysfs_join(s->cpu_dir, root, "sys/devices/system/cpu") || !cpu_clock(s, &mhz))
        s->cpu_dir[0] = '\0';
    snprintf(s->clock_source, SENSOR_SOURCE_BYTES, "cpufreq");
}

/* ---- its life ---- */

struct sensors *sensors_open(const struct sensors_params *p)
{
    struct sensors *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    if (p->is_cpu)
        find_cpu(s, p);
    else if (p->pci)
        find_nvml(s, p);
    if (!p->is_cpu && p->pci && !s->nvml)
        find_hwmon(s, p);
    if (s->n_counters || s->power_by_nvml || s->clock_by_nvml || *s->power_path || *s->clock_path || *s->cpu_dir) {
        sensors_begin(s);
        return s;
    }
    sensors_close(s);
    return NULL;
}

void sensors_close(struct sensors *s)
{
    if (s)
        nvml_close(s->nvml);
    free(s);
}

void sensors_begin(struct sensors *s)
{
    if (!s)
        return;
    s->power_sum = s->clock_sum = 0.0;
    s->n_power = s->n_clock = s->n_samples = 0;
    for (uint32_t i = 0; i < s->n_counters; i++) {
        struct counter *c = &s->counters[i];
        c->total_j = 0.0;
        c->lost = !read_counter(s, c, &c->last);
    }
    s->begin_s = s->end_s = s->read_s = clock_s();
}

static bool read_power(const struct sensors *s, double *watts)
{
    uint64_t value = 0;
    const bool good = s->power_by_nvml ? nvml_power_mw(s->nvml, &value)
                                       : *s->power_path && sysfs_number(s->power_path, &value);
    *watts = (double)value * (s->power_by_nvml ? 1e-3 : 1e-6);
    return good;
}

static bool read_clock(const struct sensors *s, double *mhz)
{
    uint64_t value = 0;
    if (*s->cpu_dir)
        return cpu_clock(s, mhz);
    const bool good = s->clock_by_nvml ? nvml_clock_mhz(s->nvml, &value)
                                       : *s->clock_path && sysfs_number(s->clock_path, &value);
    *mhz = (double)value * (s->clock_by_nvml ? 1.0 : 1e-6);
    return good && value > 0;
}

void sensors_sample(struct sensors *s)
{
    double value;
    if (!s)
        return;
    advance_all(s);
    s->end_s = s->read_s;
    s->n_samples++;
    if (read_power(s, &value)) {
        s->power_sum += value;
        s->n_power++;
    }
    if (read_clock(s, &value)) {
        s->clock_sum += value;
        s->n_clock++;
    }
}

void sensors_poll(struct sensors *s, double now_s)
{
    if (s && now_s - s->read_s > POLL_S)
        advance_all(s);
}

struct sensor_totals sensors_totals(const struct sensors *s)
{
    struct sensor_totals t = {0};
    if (!s || !s->n_samples || !(s->end_s > s->begin_s))
        return t;
    t.seconds = s->end_s - s->begin_s;
    t.has_energy = s->n_counters > 0;
    for (uint32_t i = 0; i < s->n_counters; i++) {
        t.has_energy &= !s->counters[i].lost;
        t.energy_j += s->counters[i].total_j;
    }
    if (!s->n_counters && s->n_power == s->n_samples) {
        t.energy_j = s->power_sum / s->n_power * t.seconds;
        t.has_energy = true;
    }
    t.has_energy &= t.energy_j > 0.0; /* a counter that stands still counts something else */
    t.energy_j = t.has_energy ? t.energy_j : 0.0;
    t.power_w = t.energy_j / t.seconds;
    t.has_clock = s->n_clock == s->n_samples;
    t.clock_mhz = t.has_clock ? s->clock_sum / s->n_clock : 0.0;
    memcpy(t.energy_source, s->energy_source, sizeof t.energy_source);
    memcpy(t.clock_source, s->clock_source, sizeof t.clock_source);
    return t;
}
