/* Memory of this process. Thread-safety: stateless. */
#ifndef MUNINN_BENCH_SENSORS_HOST_MEMORY_H
#define MUNINN_BENCH_SENSORS_HOST_MEMORY_H

#include <stdint.h>

/* The most that was resident at any time so far; 0: the system does not say. */
uint64_t host_peak_bytes(void);

#endif
