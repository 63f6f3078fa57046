/* NVIDIA's management library, opened at run time where it is installed: a device's energy counter, power and clock.
 * Thread-safety: none. */
#ifndef MUNINN_BENCH_SENSORS_NVML_H
#define MUNINN_BENCH_SENSORS_NVML_H

#include <stdbool.h>
#include <stdint.h>

struct nvml;

/* The device at this PCI address; `library` NULL: libnvidia-ml.so.1. NULL: no library, or it does not know the device.
 */
struct nvml *nvml_open(const char *library, uint64_t pci);
void nvml_close(struct nvml *nvml); /* NULL is fine */
/* Since the driver was loaded; of the whole GPU, also where the device is a part of one. */
bool nvml_energy_mj(const struct nvml *nvml, uint64_t *mj);
bool nvml_power_mw(const struct nvml *nvml, uint64_t *mw);
bool nvml_clock_mhz(const struct nvml *nvml, uint64_t *mhz); /* of the multiprocessors */

#endif
