#include "bench/sensors/sysfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/disk.h"

bool sysfs_word(const char *path, char *word)
{
    struct disk_info info;
    const int fd = disk_open_read(path);
    if (fd < 0)
        return false;
    int64_t n = disk_look_open(&info, fd) && info.kind == DISK_PLAIN ? disk_read_at(fd, word, SYSFS_WORD_BYTES, 0) : -1;
    disk_close(fd);
    if (n <= 0 || n == SYSFS_WORD_BYTES)
        return false;
    n -= word[n - 1] == '\n';
    for (int64_t i = 0; i < n; i++)
        if (word[i] < ' ' || word[i] > '~')
            return false;
    word[n] = '\0';
    return n > 0;
}

static bool read_digits(const char *text, uint64_t most, uint64_t *value)
{
    *value = 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9' || *value > (most - (uint64_t)(*c - '0')) / 10)
            return false;
        *value = *value * 10 + (uint64_t)(*c - '0');
    }
    return *text != '\0';
}

bool sysfs_number(const char *path, uint64_t *value)
{
    char word[SYSFS_WORD_BYTES];
    return sysfs_word(path, word) && read_digits(word, INT64_MAX, value);
}

bool sysfs_join(char *path, const char *dir, const char *name)
{
    const int n = snprintf(path, SYSFS_PATH_BYTES, "%s/%s", dir, name);
    return n > 0 && n < SYSFS_PATH_BYTES;
}

static int ascending(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

size_t sysfs_list(const char *dir, const char *prefix, uint32_t *numbers)
{
    const size_t n_prefix = strlen(prefix);
    size_t n = 0;
    const char *name;
    struct folder *folder = folder_open(dir);
    if (!folder)
        return 0;
    while (n < SYSFS_LIST_MAX && (name = folder_next(folder)) != NULL) {
        uint64_t number;
        if (!strncmp(name, prefix, n_prefix) && read_digits(name + n_prefix, UINT32_MAX, &number))
            numbers[n++] = (uint32_t)number;
    }
    folder_close(folder);
    qsort(numbers, n, sizeof *numbers, ascending);
    return n;
}
