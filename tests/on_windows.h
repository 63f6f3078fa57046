/* What the tests take from POSIX, for the build for Windows: CMake puts it in front of every test there. Temporary
 * folders are where the tests name them, on the drive of the working directory. */
#ifndef MUNINN_TESTS_ON_WINDOWS_H
#define MUNINN_TESTS_ON_WINDOWS_H

#include <direct.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

char *mkdtemp(char *name);
int symlink(const char *to, const char *path); /* a copy: links need rights there */
FILE *open_memstream(char **text, size_t *n_bytes);
int test_fclose(FILE *stream); /* knows the streams of open_memstream */

#define mkdir(path, rights) _mkdir(path)
#define fclose test_fclose

#endif
