/* Files of sysfs: one short word or number each. They come from outside: what is too long, no plain file, no number, or
 * cannot be read is not there. Never: waits, follows more than the kernel's own links, says why. Thread-safety:
 * stateless. */
#ifndef MUNINN_BENCH_SENSORS_SYSFS_H
#define MUNINN_BENCH_SENSORS_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SYSFS_PATH_BYTES = 512, SYSFS_WORD_BYTES = 64, SYSFS_LIST_MAX = 1024 };

/* Decimal digits and a newline, below 2^63. */
bool sysfs_number(const char *path, uint64_t *value);
/* Printable ASCII and a newline; word [SYSFS_WORD_BYTES]. */
bool sysfs_word(const char *path, char *word);
/* DIR/NAME: false when it is longer than SYSFS_PATH_BYTES, `path`'s room. */
bool sysfs_join(char *path, const char *dir, const char *name);
/* Entries of a folder named `prefix` and decimal digits, as numbers, ascending; returns how many of them, at most
 * SYSFS_LIST_MAX. */
size_t sysfs_list(const char *dir, const char *prefix, uint32_t *numbers);

#endif
