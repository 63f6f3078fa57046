/* What the system shows of a device's energy, power and clock while something runs on it.
 *
 * Where it comes from: an NVIDIA GPU's NVML; else a GPU's hwmon folder, found by its PCI address (energy counter, or
 * power); for a CPU device RAPL's counters of all processor packages (powercap), and the highest clock of the
 * processors (cpufreq). What is not shown, may not be read, goes away or may have wrapped around unseen is absent:
 * never 0, never guessed. Never: fails a run, writes a message, changes anything of the system. Thread-safety: none. */
#ifndef MUNINN_BENCH_SENSORS_SENSORS_H
#define MUNINN_BENCH_SENSORS_SENSORS_H

#include <stdbool.h>
#include <stdint.h>

struct sensors_params {
    const char *root; /* where sys/ lies; NULL: the system's */
    const char *nvml; /* the library; NULL: libnvidia-ml.so.1 */
    uint64_t pci;     /* mn_model_info.device_pci; 0: a GPU of which nothing is known */
    bool is_cpu;      /* a CPU device: the processors' sensors */
};

struct sensors;

/* NULL: nothing is shown, or no memory. All functions take NULL as sensors that show nothing. */
struct sensors *sensors_open(const struct sensors_params *params);
void sensors_close(struct sensors *sensors);

/* A span begins: what was counted before is forgotten. */
void sensors_begin(struct sensors *sensors);
/* Right behind a piece of work: the span reaches to here, power and clock are sampled. */
void sensors_sample(struct sensors *sensors);
/* While work goes on: counters that wrap around are read every few seconds; costs nothing otherwise. */
void sensors_poll(struct sensors *sensors, double now_s);

enum { SENSOR_SOURCE_BYTES = 160 };

struct sensor_totals {
    bool has_energy, has_clock;
    double seconds;                          /* from sensors_begin to the last sensors_sample */
    double energy_j;                         /* within them; from a counter, or mean power x seconds */
    double power_w;                          /* energy_j / seconds */
    double clock_mhz;                        /* mean of the samples */
    char energy_source[SENSOR_SOURCE_BYTES]; /* "nvml", "nvml power", "hwmon amdgpu power1_average", "rapl" */
    char clock_source[SENSOR_SOURCE_BYTES];
};
struct sensor_totals sensors_totals(const struct sensors *sensors);

#endif
