#include "bench/sensors/host_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sensors/sysfs.h"

/* "32768K", "32M" */
static uint64_t read_size(const char *word)
{
    char *end;
    const unsigned long long value = strtoull(word, &end, 10);
    const uint64_t unit = *end == 'K' ? 1024 : *end == 'M' ? 1024 * 1024 : 0;
    return end > word && unit && !end[1] && *word != '-' && value <= (UINT64_C(1) << 40) / unit ? value * unit : 0;
}

static bool read_cache(struct host_cache *cache, const char *dir)
{
    char path[SYSFS_PATH_BYTES], word[SYSFS_WORD_BYTES];
    uint64_t level;
    if (!sysfs_join(path, dir, "type") || !sysfs_word(path, word) || !strcmp(word, "Instruction"))
        return false;
    if (!sysfs_join(path, dir, "level") || !sysfs_number(path, &level) || level < 1 || level > 9)
        return false;
    if (!sysfs_join(path, dir, "size") || !sysfs_word(path, word))
        return false;
    *cache = (struct host_cache){(uint32_t)level, read_size(word)};
    return cache->bytes > 0;
}

bool host_cache_find(struct host_cache *cache, const char *root, double bytes)
{
    char dir[SYSFS_PATH_BYTES], one[SYSFS_PATH_BYTES], name[32];
    uint32_t numbers[SYSFS_LIST_MAX];
    bool found = false;
    *cache = (struct host_cache){0};
    if (!sysfs_join(dir, root ? root : "", "sys/devices/system/cpu/cpu0/cache"))
        return false;
    const size_t n = sysfs_list(dir, "index", numbers);
    for (size_t i = 0; i < n; i++) {
        struct host_cache c;
        snprintf(name, sizeof name, "index%u", (unsigned)numbers[i]);
        if (!sysfs_join(one, dir, name) || !read_cache(&c, one))
            continue;
        const bool holds = (double)c.bytes >= bytes;
        if (holds ? !found || c.bytes < cache->bytes : !found && c.bytes > cache->bytes)
            *cache = c;
        found |= holds;
    }
    return found;
}
