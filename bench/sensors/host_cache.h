/* The processor's caches, as the system shows them. Thread-safety: stateless. */
#ifndef MUNINN_BENCH_SENSORS_HOST_CACHE_H
#define MUNINN_BENCH_SENSORS_HOST_CACHE_H

#include <stdbool.h>
#include <stdint.h>

struct host_cache {
    uint32_t level;
    uint64_t bytes;
};

/* The smallest data cache of the first processor that holds so many bytes; root: where sys/ lies, NULL: "". With false,
 * cache->level 0: the system shows none; else *cache is the largest there is. */
bool host_cache_find(struct host_cache *cache, const char *root, double bytes);

#endif
