#include "bench/sweep/cache_folder.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/files/disk.h"

enum { HASH_DIGITS = 16, PART_SECONDS = 3600, CACHE_NAME_BYTES = 48 };

static const char beginning[] = "{\"key\":";

struct cached {
    char name[CACHE_NAME_BYTES];
    int64_t used_ns;
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

static bool is_our_file(const struct disk_info *info)
{
    return info->kind == DISK_PLAIN && info->own;
}

/* Somebody else's file may have such a name, too. */
static bool begins_as_ours(struct folder *folder, const char *name)
{
    char bytes[sizeof beginning - 1];
    const int fd = folder_open_read(folder, name);
    if (fd < 0)
        return false;
    const bool good = disk_read_at(fd, bytes, sizeof bytes, 0) == (int64_t)sizeof bytes &&
                      !memcmp(bytes, beginning, sizeof bytes);
    disk_close(fd);
    return good;
}

/* ---- the list ---- */

static bool add(struct cached_list *list, const char *name, const struct disk_info *info)
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
    *item = (struct cached){.used_ns = info->changed_ns, .n_bytes = info->n_bytes};
    memcpy(item->name, name, strlen(name) + 1);
    list->n_bytes += item->n_bytes;
    return true;
}

/* Our files; what a killed run left is removed on the way. */
static void list_folder(struct cached_list *list, struct folder *folder)
{
    const char *name;
    const int64_t now = (int64_t)time(NULL);
    bool good = true;
    while (good && (name = folder_next(folder)) != NULL) {
        const bool part = is_named(name, ".muninn-", ".part");
        struct disk_info info;
        const bool kept = is_named(name, "costs-", ".json") || is_named(name, "ceiling-", ".json");
        if ((!part && !kept) || !folder_look_here(&info, folder, name) || !is_our_file(&info))
            continue;
        if (part && now - info.changed_ns / 1000000000 > PART_SECONDS)
            folder_remove_file(folder, name);
        else if (!part && begins_as_ours(folder, name))
            good = add(list, name, &info);
    }
}

static int by_use(const void *a, const void *b)
{
    const struct cached *x = a, *y = b;
    if (x->used_ns != y->used_ns)
        return x->used_ns < y->used_ns ? -1 : 1;
    return strcmp(x->name, y->name);
}

void cache_folder_trim(const char *dir)
{
    struct cached_list list = {0};
    struct folder *folder = folder_open(dir);
    if (!folder)
        return;
    list_folder(&list, folder);
    if (list.n)
        qsort(list.items, list.n, sizeof *list.items, by_use);
    size_t n = list.n;
    uint64_t n_bytes = list.n_bytes;
    for (size_t i = 0; n > CACHE_FILES_MAX || n_bytes > CACHE_BYTES_MAX; i++, n--) {
        folder_remove_file(folder, list.items[i].name);
        n_bytes -= list.items[i].n_bytes;
    }
    free(list.items);
    folder_close(folder);
}

void cache_folder_used(const char *path)
{
    disk_touch(path);
}
