/* Goal: the fuzz corpora, crashers included, run in every build, also where libFuzzer is missing (gcc).
 * Method: a main() for one fuzz target: every regular file of the folders given on the command line is loaded into
 * an exactly sized heap block (so that a sanitizer sees one byte too far) and handed to LLVMFuzzerTestOneInput.
 * Fails when a folder or file cannot be read, and when there was nothing to run: an empty corpus must not
 * pass. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PATH_BYTES_MAX = 4096, INPUT_BYTES_MAX = 1 << 24 };

/* 0 when the file was run, or is no regular file. */
static int replay_file(const char *path, unsigned *n_run)
{
    struct stat info;
    int failed = 1;
    uint8_t *bytes = NULL;
    FILE *file = fopen(path, "rb");
    if (!file || stat(path, &info) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        goto done;
    }
    failed = !S_ISREG(info.st_mode) ? 0 : 1;
    if (!failed)
        goto done;
    size_t n = info.st_size <= INPUT_BYTES_MAX ? (size_t)info.st_size : 0;
    bytes = malloc(n ? n : 1);
    if (!bytes || info.st_size > INPUT_BYTES_MAX || fread(bytes, 1, n, file) != n) {
        fprintf(stderr, "%s: cannot be loaded\n", path);
        goto done;
    }
    LLVMFuzzerTestOneInput(bytes, n);
    ++*n_run;
    failed = 0;

done:
    free(bytes);
    if (file)
        fclose(file);
    return failed;
}

static int replay_folder(const char *folder, unsigned *n_run)
{
    int failed = 0;
    struct dirent *entry;
    DIR *dir = opendir(folder);
    if (!dir) {
        fprintf(stderr, "%s: %s\n", folder, strerror(errno));
        return 1;
    }
    while ((entry = readdir(dir)) != NULL) {
        char path[PATH_BYTES_MAX];
        if (entry->d_name[0] == '.')
            continue;
        int n = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        failed |= n < 0 || (size_t)n >= sizeof path || replay_file(path, n_run);
    }
    closedir(dir);
    return failed;
}

int main(int argc, char **argv)
{
    unsigned n_run = 0;
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= replay_folder(argv[i], &n_run);
    printf("%u inputs replayed\n", n_run);
    if (n_run == 0)
        fprintf(stderr, "usage: %s corpus-folder...: at least one must hold inputs\n", argv[0]);
    return failed || n_run == 0;
}
