/* What the tests of quantised folders share: a place for what they make, a folder's tensors to be rewritten. */
#ifndef MUNINN_TESTS_QUANTIZED_H
#define MUNINN_TESTS_QUANTIZED_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/files/input.h"
#include "engine/files/safetensors_write.h"
#include "tests/testing.h"

#define FOLDER VECTORS "quantised"
enum { PATH_BYTES = 512, MAX_TENSORS = 256, CONFIG_MAX = 1 << 16 };

/* A place for what a test makes: one folder, with nothing in it but what is to be there. */
struct place {
    char dir[64], out[128];
    struct test_log log;
};

struct tensors {
    struct safetensors *file;
    struct tensor_header headers[MAX_TENSORS];
    uint8_t *bytes[MAX_TENSORS];
    uint32_t n;
};

void place_open(struct place *p);
void run_shell(const char *what, const char *a, const char *b);
void place_close(struct place *p);
uint32_t count_files(const char *path);
enum mn_status quantize(struct place *p, const char *model, const char *type);
void quantize_well(struct place *p, const char *model, const char *type);
void tensors_read(struct tensors *t, const char *dir);
void tensors_free(struct tensors *t);
/* Over the folder's own file. */
void tensors_write(const struct tensors *t, const char *dir);
uint32_t find(const struct tensors *t, const char *name);
void expect_same_tensors(const struct tensors *a, const struct tensors *b);
char *read_text(const char *dir, const char *name);
void write_text(const char *dir, const char *name, const char *text);
/* `text` with the first `old` replaced, malloc'ed. */
char *replaced(const char *text, const char *old, const char *by);

#endif
