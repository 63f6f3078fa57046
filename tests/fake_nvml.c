/* A stand-in for libnvidia-ml.so.1 as far as bench/sensors/nvml.c uses it. The environment says what it answers: each
 * of FAKE_NVML_ENERGY (mJ), FAKE_NVML_POWER (mW) and FAKE_NVML_CLOCK (MHz) is a number, or absent: not supported.
 * FAKE_NVML_PCI is the only device there is; FAKE_NVML_BROKEN: it cannot start. */
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9 };
static int the_device, n_open;

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **device);
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj);
int nvmlDeviceGetPowerUsage(void *device, unsigned *mw);
int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz);

static int answer(const char *name, const void *device, unsigned long long *value)
{
    const char *text = getenv(name);
    if (device != &the_device || !text || n_open < 1)
        return NOT_SUPPORTED;
    *value = strtoull(text, NULL, 10);
    return SUCCESS;
}

int nvmlInit_v2(void)
{
    if (getenv("FAKE_NVML_BROKEN"))
        return DRIVER_NOT_LOADED;
    n_open++;
    return SUCCESS;
}

int nvmlShutdown(void)
{
    n_open--;
    return SUCCESS;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **device)
{
    const char *there = getenv("FAKE_NVML_PCI");
    *device = &the_device;
    return there && !strcmp(there, address) ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj)
{
    return answer("FAKE_NVML_ENERGY", device, mj);
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *mw)
{
    unsigned long long value = 0;
    const int result = answer("FAKE_NVML_POWER", device, &value);
    *mw = (unsigned)value;
    return result;
}

int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz)
{
    unsigned long long value = 0;
    const int result = type == 1 ? answer("FAKE_NVML_CLOCK", device, &value) : NOT_SUPPORTED;
    *mhz = (unsigned)value;
    return result;
}
