/* The bound of the folder in which costs and ceilings are kept (cost_file.h, ceiling.h): a machine that runs many
 * models and builds does not fill it up.
 *
 * Owns: which files of the folder are ours: plain files of this user named costs- or ceiling-<16 hexadecimal
 * digits>.json that begin as cost_file.c and ceiling_file.c begin them, and what a killed run left beside one
 * (.muninn-<16 digits>.part, an hour old). Never: removes, follows or waits for anything else. Thread-safety: none;
 * several processes may share a folder. */
#ifndef MUNINN_BENCH_SWEEP_CACHE_FOLDER_H
#define MUNINN_BENCH_SWEEP_CACHE_FOLDER_H

enum { CACHE_FILES_MAX = 64, CACHE_BYTES_MAX = 1 << 20 };

/* Notes that a file was of use, in its time of change: folders are often mounted without times of access. */
void cache_folder_used(const char *path);

/* Removes the files longest without use until at most CACHE_FILES_MAX and CACHE_BYTES_MAX are left. Failures are
 * nobody's concern: the next run tries again. */
void cache_folder_trim(const char *dir);

#endif
