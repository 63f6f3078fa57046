#include "bench/sensors/nvml.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/system.h"

/* The little of its interface that is used; it has been stable since 2012 (the counter: 2017). */
enum { NVML_SUCCESS = 0, NVML_CLOCK_SM = 1 };
typedef int nvml_return;
typedef struct nvml_device_state *nvml_device;

struct nvml {
    void *library;
    nvml_device device;
    nvml_return (*init)(void);
    nvml_return (*shutdown)(void);
    nvml_return (*by_pci)(const char *address, nvml_device *device);
    nvml_return (*energy)(nvml_device device, unsigned long long *mj); /* NULL: an old library */
    nvml_return (*power)(nvml_device device, unsigned *mw);
    nvml_return (*clock)(nvml_device device, int type, unsigned *mhz);
};

static bool find_all(struct nvml *n)
{
    library_find(n->library, "nvmlDeviceGetTotalEnergyConsumption", &n->energy);
    library_find(n->library, "nvmlDeviceGetPowerUsage", &n->power);
    library_find(n->library, "nvmlDeviceGetClockInfo", &n->clock);
    return library_find(n->library, "nvmlInit_v2", &n->init) &&
           library_find(n->library, "nvmlShutdown", &n->shutdown) &&
           library_find(n->library, "nvmlDeviceGetHandleByPciBusId_v2", &n->by_pci);
}

struct nvml *nvml_open(const char *library, uint64_t pci)
{
    char address[32];
    struct nvml *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->library = library_open(library ? (const char *const[]){library, NULL} : system_nvml_names);
    if (!n->library || !find_all(n) || n->init() != NVML_SUCCESS) {
        if (n->library)
            library_close(n->library);
        free(n);
        return NULL;
    }
    snprintf(address, sizeof address, "%08" PRIx64 ":%02" PRIx64 ":%02" PRIx64 ".%" PRIx64, pci >> 16 & 0xffffffff,
             pci >> 8 & 0xff, pci >> 3 & 0x1f, pci & 0x7);
    if (n->by_pci(address, &n->device) == NVML_SUCCESS)
        return n;
    nvml_close(n);
    return NULL;
}

void nvml_close(struct nvml *n)
{
    if (!n)
        return;
    n->shutdown();
    library_close(n->library);
    free(n);
}

bool nvml_energy_mj(const struct nvml *n, uint64_t *mj)
{
    unsigned long long value = 0;
    const bool good = n->energy && n->energy(n->device, &value) == NVML_SUCCESS;
    *mj = value;
    return good;
}

bool nvml_power_mw(const struct nvml *n, uint64_t *mw)
{
    unsigned value = 0;
    const bool good = n->power && n->power(n->device, &value) == NVML_SUCCESS;
    *mw = value;
    return good;
}

bool nvml_clock_mhz(const struct nvml *n, uint64_t *mhz)
{
    unsigned value = 0;
    const bool good = n->clock && n->clock(n->device, NVML_CLOCK_SM, &value) == NVML_SUCCESS;
    *mhz = value;
    return good && value > 0;
}
