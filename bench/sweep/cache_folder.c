#include "bench/sweep/cache_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HASH_DIGITS = 16, PART_SECONDS = 3600, CACHE_NAME_BYTES = 48 };

static const char beginning[] = "{\"key\":";

struct cached {
    char name[CACHE_NAME_BYTES];
    struct timespec used;
    uint64_t n_bytes;
};

struct cached_list {
    struct cached *items; /* [n], owned */
    size_t n, capacity;
    uint64_t n_bytes;
};

/* ---- what is ours ---- */

static bool is_named(const char *name, const char *prefix, const char *suffix)
{
    const size_t n = strlen(prefix);
    return !strncmp(name, prefix, n) && strspn(name + n, "0123456789abcdef") == HASH_DIGITS &&
           !strcmp(name + n + HASH_DIGITS, suffix);
}

static bool is_our_file(const struct stat *info)
{
    return S_ISREG(info->st_mode) && info->st_uid == geteuid();
}

/* Somebody else's file may have such a name, too. */
static bool begins_as_ours(int folder, const char *name)
{
    char bytes[sizeof beginning - 1];
    const int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    const bool good = read(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes && !memcmp(bytes, beginning, sizeof bytes);
    close(fd);
    return good;
}

/* ---- the list ---- */

static bool add(struct cached_list *list, const char *name, const struct stat *info)
{
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 2 * CACHE_FILES_MAX;
        struct cached *items = realloc(list->items, capacity * sizeof *items);
        if (!items)
            return false;
        list->items = items;
        list->capacity = capacity;
    }
    struct cached *item = &list->items[list->n++];
    *item = (struct cached){.used = info->st_mtim, .n_bytes = (uint64_t)info->st_size};
    memcpy(item->name, name, strlen(name) + 1);
    list->n_bytes += item->n_bytes;
    return true;
}

/* Our files; what a killed run left is removed on the way. */
static void list_folder(struct cached_list *list, DIR *folder)
{
    const int fd = dirfd(folder);
    const time_t now = time(NULL);
    bool good = true;
    for (struct dirent *entry = readdir(folder); entry && good; entry = readdir(folder)) {
        const char *name = entry->d_name;
        const bool part = is_named(name, ".muninn-", ".part");
        struct stat info;
        const bool kept = is_named(name, "costs-", ".json") || is_named(name, "ceiling-", ".json");
        if ((!part && !kept) || fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !is_our_file(&info))
            continue;
        if (part && now - info.st_mtime > PART_SECONDS)
            unlinkat(fd, name, 0);
        else if (!part && begins_as_ours(fd, name))
            good = add(list, name, &info);
    }
}

static int by_use(const void *a, const void *b)
{
    const struct cached *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec)
        return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    if (x->used.tv_nsec != y->used.tv_nsec)
        return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
    return strcmp(x->name, y->name);
}

void cache_folder_trim(const char *dir)
{
    struct cached_list list = {0};
    DIR *folder = opendir(dir);
    if (!folder)
        return;
    list_folder(&list, folder);
    if (list.n)
        qsort(list.items, list.n, sizeof *list.items, by_use);
    size_t n = list.n;
    uint64_t n_bytes = list.n_bytes;
    for (size_t i = 0; n > CACHE_FILES_MAX || n_bytes > CACHE_BYTES_MAX; i++, n--) {
        unlinkat(dirfd(folder), list.items[i].name, 0);
        n_bytes -= list.items[i].n_bytes;
    }
    free(list.items);
    closedir(folder);
}

void cache_folder_used(const char *path)
{
    utimensat(AT_FDCWD, path, NULL, 0);
}
