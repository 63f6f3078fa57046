#include "bench/sensors/host_memory.h"

#include <sys/resource.h>

uint64_t host_peak_bytes(void)
{
    struct rusage usage;
#ifdef __APPLE__
    const uint64_t unit = 1;
#else
    const uint64_t unit = 1024;
#endif
    return getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_maxrss > 0 ? (uint64_t)usage.ru_maxrss * unit : 0;
}
