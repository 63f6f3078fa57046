/* Ceilings kept between runs. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bench/sweep/cache_folder.h"
#include "bench/sweep/ceiling.h"
#include "engine/base/decimal.h"
#include "engine/base/hash.h"
#include "engine/files/json.h"
#include "engine/files/output_file.h"

enum { PATH_BYTES = 4096, FILE_BYTES_MAX = 1 << 14 };

static bool make_path(const char *dir, const char *key, char *path)
{
    return snprintf(path, PATH_BYTES, "%s/ceiling-%016" PRIx64 ".json", dir, hash_string(HASH_START, key)) < PATH_BYTES;
}

/* The key and every number as it is written, so that a digit that was changed shows. */
static void checksum(const char *key, const struct ceiling_history *h, char *text)
{
    const double *const arrays[] = {h->gb_s, h->spread, h->seconds};
    char number[64] = "|";
    uint64_t hash = hash_string(HASH_START, key);
    for (size_t a = 0; a < sizeof arrays / sizeof *arrays; a++)
        for (uint32_t i = 0; i < h->n; i++) {
            decimal_write(number + 1, arrays[a][i]);
            hash = hash_string(hash, number);
        }
    hash_write(hash, text);
}

/* Returns how many there are, 0 when something is wrong with them. */
static uint32_t read_numbers(const cJSON *root, const char *name, double least, double most, double *out)
{
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(root, name);
    const int n = cJSON_IsArray(array) ? cJSON_GetArraySize(array) : 0;
    if (n < 1 || n > CEILING_KEPT)
        return 0;
    for (int i = 0; i < n; i++) {
        const cJSON *item = cJSON_GetArrayItem(array, i);
        if (!cJSON_IsNumber(item) || !(item->valuedouble >= least && item->valuedouble <= most))
            return 0;
        out[i] = item->valuedouble;
    }
    return (uint32_t)n;
}

void ceiling_file_read(struct ceiling_history *h, const char *dir, const char *key)
{
    struct json_doc doc = {0};
    const struct mn_log silent = {0};
    char path[PATH_BYTES], sum[HASH_TEXT_BYTES];
    *h = (struct ceiling_history){0};
    if (!make_path(dir, key, path) || json_read_file(&doc, path, FILE_BYTES_MAX, &silent))
        return;
    const cJSON *stored = cJSON_GetObjectItemCaseSensitive(doc.root, "key"),
                *stored_sum = cJSON_GetObjectItemCaseSensitive(doc.root, "checksum");
    h->n = read_numbers(doc.root, "gb_s", 1e-6, 1e6, h->gb_s);
    bool good = h->n > 0 && cJSON_IsString(stored) && !strcmp(stored->valuestring, key) && cJSON_IsString(stored_sum) &&
                read_numbers(doc.root, "spread", 0.0, 1e6, h->spread) == h->n &&
                read_numbers(doc.root, "seconds", 0.0, 1e12, h->seconds) == h->n;
    if (good)
        checksum(key, h, sum);
    good = good && !strcmp(stored_sum->valuestring, sum);
    json_destroy(&doc);
    if (!good)
        *h = (struct ceiling_history){0};
}

static void write_numbers(FILE *file, const char *name, uint32_t n, const double *values)
{
    fprintf(file, ",\"%s\":[", name);
    for (uint32_t i = 0; i < n; i++) {
        fputs(i ? "," : "", file);
        json_write_double(file, values[i]);
    }
    fputc(']', file);
}

static void push(double *values, uint32_t n, double value)
{
    if (n == CEILING_KEPT)
        memmove(values, values + 1, (CEILING_KEPT - 1) * sizeof *values);
    values[n < CEILING_KEPT ? n : CEILING_KEPT - 1] = value;
}

bool ceiling_file_add(struct ceiling_history *h, const char *dir, const char *key, const struct ceiling *now,
                      double seconds)
{
    const struct mn_log silent = {0};
    struct output_file out;
    char path[PATH_BYTES], sum[HASH_TEXT_BYTES];
    push(h->gb_s, h->n, now->gb_s);
    push(h->spread, h->n, now->spread);
    push(h->seconds, h->n, seconds);
    h->n += h->n < CEILING_KEPT;
    if (!make_path(dir, key, path) || output_open(&out, path, &silent))
        return false;
    checksum(key, h, sum);
    fputs("{\"key\":", out.text);
    json_write_string(out.text, key, strlen(key));
    fprintf(out.text, ",\"checksum\":\"%s\"", sum);
    write_numbers(out.text, "gb_s", h->n, h->gb_s);
    write_numbers(out.text, "spread", h->n, h->spread);
    write_numbers(out.text, "seconds", h->n, h->seconds);
    fputs("}\n", out.text);
    if (output_commit(&out, &silent))
        return false;
    cache_folder_trim(dir);
    return true;
}
