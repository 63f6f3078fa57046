/* Goal: what the system shows of energy, power and clocks is what is reported, and what it does not show is absent.
 * Method: a made tree of files in the place of /sys, and a made library in the place of NVML. (1) RAPL: two packages
 * are added up, counters wrap around, parts and psys do not count; one that may not be read takes all of it away. (2)
 * hwmon: the folder at the device's PCI address alone, a counter before power, power times time. (3) NVML before hwmon;
 * without its counter power, without a device hwmon. (4) Files that are huge, binary, empty, negative, no files at all,
 * or go away while work runs: absent, never 0. (5) Caches of the processor. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench/sensors/host_cache.h"
#include "bench/sensors/sensors.h"
#include "bench/sensors/sysfs.h"
#include "testing.h"

#define RAPL "sys/class/powercap/intel-rapl:"
#define CPU "sys/devices/system/cpu/cpu"
#define HWMON "sys/bus/pci/devices/0001:c1:1f.3/hwmon/hwmon4/"
static const uint64_t PCI = 1 << 16 | 0xc1 << 8 | 0x1f << 3 | 3;

static char root[64];

static const char *path_of(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static void put_bytes(const char *name, const void *bytes, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s", path_of(name));
    for (char *c = path + strlen(root) + 1; *c; c++)
        if (*c == '/') {
            *c = '\0';
            mkdir(path, 0700);
            *c = '/';
        }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void put(const char *name, const char *text)
{
    put_bytes(name, text, strlen(text));
}

static void drop(const char *name)
{
    unlink(path_of(name));
}

static int make_tree(void **state)
{
    (void)state;
    strcpy(root, "/tmp/muninn-sensors-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_tree(void **state)
{
    char command[256];
    (void)state;
    snprintf(command, sizeof command, "chmod -R u+rwx %s && rm -rf %s", root, root);
    unsetenv("FAKE_NVML_ENERGY");
    unsetenv("FAKE_NVML_POWER");
    unsetenv("FAKE_NVML_CLOCK");
    unsetenv("FAKE_NVML_PCI");
    unsetenv("FAKE_NVML_BROKEN");
    return system(command);
}

static struct sensors *open_cpu(void)
{
    return sensors_open(&(struct sensors_params){.root = root, .nvml = "/nowhere/lib.so", .is_cpu = true});
}

static struct sensors *open_gpu(const char *nvml)
{
    return sensors_open(&(struct sensors_params){.root = root, .nvml = nvml, .pci = PCI});
}

static void wait_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static struct sensor_totals end(struct sensors *s)
{
    wait_a_little();
    sensors_sample(s);
    const struct sensor_totals t = sensors_totals(s);
    sensors_close(s);
    return t;
}

/* ---- RAPL ---- */

static void put_zone(const char *number, const char *name, const char *energy)
{
    char path[128];
    snprintf(path, sizeof path, RAPL "%s/name", number);
    put(path, name);
    snprintf(path, sizeof path, RAPL "%s/max_energy_range_uj", number);
    put(path, "262143328850\n");
    snprintf(path, sizeof path, RAPL "%s/energy_uj", number);
    put(path, energy);
}

static void put_packages(void)
{
    put_zone("0", "package-0\n", "1000000\n");
    put_zone("0:0", "core\n", "500000\n");
    put_zone("1", "package-1\n", "262143000000\n");
    put_zone("2", "psys\n", "900000\n");
}

static void test_rapl(void **state)
{
    (void)state;
    put_packages();
    struct sensors *s = open_cpu();
    assert_non_null(s);
    assert_false(sensors_totals(s).has_energy); /* no sample yet */
    put_zone("0", "package-0\n", "3500000\n");
    put_zone("0:0", "core\n", "99500000\n");
    put_zone("1", "package-1\n", "671150\n"); /* behind its end, 328850 before it */
    put_zone("2", "psys\n", "99900000\n");
    const struct sensor_totals t = end(s);
    assert_true(t.has_energy);
    assert_float_equal(t.energy_j, 2.5 + 1.0, 1e-9);
    assert_string_equal(t.energy_source, "rapl");
    assert_true(t.seconds > 0.0);
    assert_float_equal(t.power_w * t.seconds, t.energy_j, 1e-9);
    assert_false(t.has_clock);
}

static void test_rapl_spans(void **state)
{
    (void)state;
    put_zone("0", "package-0\n", "1000000\n");
    struct sensors *s = open_cpu();
    put_zone("0", "package-0\n", "9000000\n");
    sensors_begin(s); /* what was before does not count */
    put_zone("0", "package-0\n", "9250000\n");
    sensors_poll(s, 1e12);
    put_zone("0", "package-0\n", "9500000\n");
    assert_float_equal(end(s).energy_j, 0.5, 1e-9);
}

static void refuse_rapl(void)
{
    struct sensors *s = open_cpu();
    assert_null(s);
}

static void test_rapl_refused(void **state)
{
    (void)state;
    refuse_rapl();
    put_packages();
    drop(RAPL "1/energy_uj"); /* half of the machine is no answer */
    refuse_rapl();
    put_packages();
    drop(RAPL "1/max_energy_range_uj");
    refuse_rapl();
    put_packages();
    if (geteuid() != 0) {
        chmod(path_of(RAPL "0/energy_uj"), 0);
        refuse_rapl();
        chmod(path_of(RAPL "0/energy_uj"), 0600);
    }
    static const char *const texts[] = {
        "",           "\n", "-5\n", "0x10\n", "12 13\n", "1e6\n", "99999999999999999999999\n", "18446744073709551615\n",
        "\x80\xff\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        put(RAPL "0/energy_uj", texts[i]);
        refuse_rapl();
    }
    put_bytes(RAPL "0/energy_uj",
              "12\0"
              "34\n",
              6);
    refuse_rapl();
    char *huge = malloc(1 << 20);
    memset(huge, '7', 1 << 20);
    put_bytes(RAPL "0/energy_uj", huge, 1 << 20);
    free(huge);
    refuse_rapl();
    drop(RAPL "0/energy_uj");
    assert_int_equal(mkfifo(path_of(RAPL "0/energy_uj"), 0600), 0); /* nobody writes: not waited for */
    refuse_rapl();
    drop(RAPL "0/energy_uj");
    assert_int_equal(mkdir(path_of(RAPL "0/energy_uj"), 0700), 0);
    refuse_rapl();
}

/* While work runs. */
static void test_rapl_lost(void **state)
{
    (void)state;
    put_packages();
    struct sensors *s = open_cpu();
    drop(RAPL "1/energy_uj");
    sensors_poll(s, 1e12);
    put_zone("1", "package-1\n", "262143100000\n"); /* it comes back: what was in between is not known */
    put_zone("0", "package-0\n", "3500000\n");
    struct sensor_totals t = end(s);
    assert_false(t.has_energy);
    assert_true(t.energy_j == 0.0 && t.power_w == 0.0);
    put_packages();
    s = open_cpu();
    put_zone("0", "package-0\n", "262143328851\n"); /* beyond its own range */
    assert_false(end(s).has_energy);
    put_packages();
    s = open_cpu(); /* stands still */
    assert_false(end(s).has_energy);
    put_packages();
    put(RAPL "0/max_energy_range_uj", "1000001\n"); /* 1 J is over in half a millisecond: it may have gone round */
    s = open_cpu();
    put(RAPL "0/energy_uj", "1000001\n");
    assert_false(end(s).has_energy);
}

static void test_clock(void **state)
{
    (void)state;
    put(CPU "0/cpufreq/scaling_cur_freq", "800000\n");
    put(CPU "7/cpufreq/scaling_cur_freq", "3600500\n");
    put(CPU "8/cpufreq/scaling_cur_freq", "fast\n");
    put(CPU "idle/cpufreq/scaling_cur_freq", "9000000\n");
    struct sensors *s = open_cpu();
    assert_non_null(s);
    sensors_sample(s);
    put(CPU "7/cpufreq/scaling_cur_freq", "3400500\n");
    struct sensor_totals t = end(s);
    assert_true(t.has_clock);
    assert_float_equal(t.clock_mhz, 3500.5, 1e-9);
    assert_string_equal(t.clock_source, "cpufreq");
    assert_false(t.has_energy);
    s = open_cpu();
    sensors_sample(s);
    drop(CPU "7/cpufreq/scaling_cur_freq");
    drop(CPU "0/cpufreq/scaling_cur_freq");
    assert_false(end(s).has_clock);
}

/* ---- hwmon ---- */

static void test_hwmon(void **state)
{
    (void)state;
    put("sys/bus/pci/devices/0000:c1:1f.3/hwmon/hwmon1/name", "amdgpu\n"); /* another device */
    put("sys/bus/pci/devices/0000:c1:1f.3/hwmon/hwmon1/power1_average", "1\n");
    put_packages();
    assert_null(open_gpu("/nowhere/lib.so"));
    put(HWMON "name", "amdgpu\n");
    put(HWMON "temp1_input", "45000\n");
    assert_null(open_gpu("/nowhere/lib.so"));
    put(HWMON "power1_average", "90000000\n");
    put(HWMON "freq1_input", "2400000000\n");
    struct sensors *s = open_gpu("/nowhere/lib.so");
    assert_non_null(s);
    sensors_sample(s);
    put(HWMON "power1_average", "110000000\n");
    struct sensor_totals t = end(s);
    assert_true(t.has_energy && t.has_clock);
    assert_float_equal(t.power_w, 100.0, 1e-9);
    assert_float_equal(t.energy_j, 100.0 * t.seconds, 1e-9);
    assert_string_equal(t.energy_source, "hwmon amdgpu power1_average");
    assert_float_equal(t.clock_mhz, 2400.0, 1e-9);
    assert_string_equal(t.clock_source, "hwmon amdgpu freq1_input");
    put(HWMON "name", "xe\n");
    put(HWMON "energy1_input", "5000000\n");
    s = open_gpu("/nowhere/lib.so");
    put(HWMON "energy1_input", "5750000\n");
    t = end(s);
    assert_float_equal(t.energy_j, 0.75, 1e-9);
    assert_string_equal(t.energy_source, "hwmon xe energy1_input");
    s = open_gpu("/nowhere/lib.so");
    put(HWMON "energy1_input", "100\n"); /* started anew */
    assert_false(end(s).has_energy);
}

/* The whole device goes away. */
static void test_hwmon_vanishes(void **state)
{
    char command[128];
    (void)state;
    put(HWMON "name", "amdgpu\n");
    put(HWMON "power1_average", "90000000\n");
    put(HWMON "freq1_input", "2400000000\n");
    struct sensors *s = open_gpu("/nowhere/lib.so");
    sensors_sample(s);
    snprintf(command, sizeof command, "rm -r %s/sys/bus", root);
    assert_int_equal(system(command), 0);
    const struct sensor_totals t = end(s);
    assert_false(t.has_energy || t.has_clock);
    assert_null(open_gpu("/nowhere/lib.so"));
}

/* Without a place nothing belongs to it. */
static void test_no_place(void **state)
{
    (void)state;
    put("sys/bus/pci/devices/0000:00:00.0/hwmon/hwmon0/name", "amdgpu\n");
    put("sys/bus/pci/devices/0000:00:00.0/hwmon/hwmon0/power1_average", "1000000\n");
    setenv("FAKE_NVML_PCI", "00000000:00:00.0", 1);
    setenv("FAKE_NVML_POWER", "100", 1);
    assert_null(sensors_open(&(struct sensors_params){.root = root, .nvml = FAKE_NVML}));
    sensors_begin(NULL);
    sensors_sample(NULL);
    sensors_poll(NULL, 0.0);
    assert_false(sensors_totals(NULL).has_energy);
    sensors_close(NULL);
}

/* ---- NVML ---- */

static void test_nvml(void **state)
{
    (void)state;
    put(HWMON "name", "other\n");
    put(HWMON "power1_input", "7000000\n");
    setenv("FAKE_NVML_PCI", "00000001:c1:1f.3", 1);
    setenv("FAKE_NVML_ENERGY", "5000", 1);
    setenv("FAKE_NVML_POWER", "300000", 1);
    setenv("FAKE_NVML_CLOCK", "1980", 1);
    struct sensors *s = open_gpu(FAKE_NVML);
    assert_non_null(s);
    setenv("FAKE_NVML_ENERGY", "6500", 1);
    struct sensor_totals t = end(s);
    assert_true(t.has_energy && t.has_clock);
    assert_float_equal(t.energy_j, 1.5, 1e-9);
    assert_float_equal(t.clock_mhz, 1980.0, 1e-9);
    assert_string_equal(t.energy_source, "nvml");
    assert_string_equal(t.clock_source, "nvml");
    s = open_gpu(FAKE_NVML);
    unsetenv("FAKE_NVML_ENERGY"); /* it fell off the bus */
    unsetenv("FAKE_NVML_CLOCK");
    t = end(s);
    assert_false(t.has_energy || t.has_clock);
    s = open_gpu(FAKE_NVML); /* a GPU without a counter */
    t = end(s);
    assert_true(t.has_energy);
    assert_float_equal(t.power_w, 300.0, 1e-9);
    assert_string_equal(t.energy_source, "nvml power");
    unsetenv("FAKE_NVML_POWER");
    assert_null(open_gpu(FAKE_NVML));
    setenv("FAKE_NVML_PCI", "00000000:c1:1f.3", 1); /* not its device: hwmon */
    assert_string_equal(end(open_gpu(FAKE_NVML)).energy_source, "hwmon other power1_input");
    setenv("FAKE_NVML_BROKEN", "1", 1);
    assert_string_equal(end(open_gpu(FAKE_NVML)).energy_source, "hwmon other power1_input");
    put("no.so", "not a library\n");
    char path[512];
    snprintf(path, sizeof path, "%s", path_of("no.so"));
    assert_string_equal(end(open_gpu(path)).energy_source, "hwmon other power1_input");
}

/* ---- caches ---- */

static void put_cache(const char *index, const char *level, const char *type, const char *size)
{
    char path[128];
    snprintf(path, sizeof path, CPU "0/cache/index%s/level", index);
    put(path, level);
    snprintf(path, sizeof path, CPU "0/cache/index%s/type", index);
    put(path, type);
    snprintf(path, sizeof path, CPU "0/cache/index%s/size", index);
    put(path, size);
}

static void test_caches(void **state)
{
    struct host_cache c;
    (void)state;
    assert_false(host_cache_find(&c, root, 1.0));
    assert_int_equal(c.level, 0);
    put_cache("0", "1\n", "Data\n", "32K\n");
    put_cache("1", "1\n", "Instruction\n", "64K\n");
    put_cache("2", "2\n", "Unified\n", "512K\n");
    put_cache("3", "3\n", "Unified\n", "32M\n");
    put_cache("4", "4\n", "Unified\n", "99999999999999999999K\n");
    put_cache("5", "4\n", "Unified\n", "-5K\n");
    put_cache("6", "4\n", "Unified\n", "77\n");
    put_cache("7", "77\n", "Unified\n", "64M\n");
    assert_true(host_cache_find(&c, root, 40000.0));
    assert_true(c.level == 2 && c.bytes == 512 * 1024);
    assert_true(host_cache_find(&c, root, 32.0 * 1024 * 1024));
    assert_true(c.level == 3 && c.bytes == 32 * 1024 * 1024);
    assert_false(host_cache_find(&c, root, 32.0 * 1024 * 1024 + 1));
    assert_true(c.level == 3);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_tree, remove_tree)
    const struct CMUnitTest tests[] = {
        TEST(test_rapl),  TEST(test_rapl_spans),     TEST(test_rapl_refused), TEST(test_rapl_lost), TEST(test_clock),
        TEST(test_hwmon), TEST(test_hwmon_vanishes), TEST(test_no_place),     TEST(test_nvml),      TEST(test_caches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
