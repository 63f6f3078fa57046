/* What a quantised folder has beside its weights. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/numbers.h"
#include "engine/files/disk.h"
#include "engine/files/input.h"
#include "engine/files/json.h"
#include "engine/files/output_folder.h"
#include "engine/model/config.h"
#include "engine/model/quantize.h"

enum { PIECE_BYTES = 1 << 20 };
static const char key[] = "quantization_config";

/* ---- copies ---- */

static bool ends_in(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

/* Weights in any of the formats that folders of models have, and what lists them. */
static bool is_weights(const char *name)
{
    static const char *const ends[] = {".safetensors", ".safetensors.index.json",
                                       ".bin",         ".bin.index.json",
                                       ".pt",          ".pth",
                                       ".ckpt",        ".gguf",
                                       ".h5",          ".msgpack",
                                       ".onnx"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_in(name, ends[i]))
            return true;
    return false;
}

static enum mn_status ask(const struct quantize_params *params)
{
    const struct mn_progress *p = &params->progress;
    return p->report && p->report(p->user, NULL, 0, 0) ? MN_ERR_INTERRUPTED : MN_OK;
}

static enum mn_status copy_bytes(const struct quantize_params *params, int fd, const char *from, uint64_t n_bytes,
                                 struct output_file *out)
{
    uint8_t *bytes = malloc(PIECE_BYTES);
    enum mn_status status = bytes ? MN_OK : log_fail(params->log, MN_ERR_MEMORY, "%s: out of host memory", from);
    for (uint64_t at = 0, n; at < n_bytes && !status; at += n) {
        n = min_u64(n_bytes - at, PIECE_BYTES);
        status = input_read(fd, from, at, n, bytes, params->log);
        if (!status)
            status = output_write(out, bytes, n, params->log);
        if (!status)
            status = ask(params);
    }
    free(bytes);
    return status;
}

static enum mn_status copy_file(const struct quantize_params *params, const struct output_folder *folder,
                                const char *name)
{
    char from[OUTPUT_PATH_BYTES], to[OUTPUT_PATH_BYTES];
    struct disk_info info;
    struct output_file out = {0};
    uint64_t n_bytes = 0;
    int fd = -1;
    if (snprintf(from, sizeof from, "%s/%s", params->model_dir, name) >= (int)sizeof from)
        return log_fail(params->log, MN_ERR_FILE, "%s/%s: the path is too long", params->model_dir, name);
    if (disk_look(&info, from) && info.kind == DISK_FOLDER)
        return MN_OK;
    enum mn_status status = output_folder_path(folder, name, to, params->log);
    if (!status)
        status = input_open(&fd, &n_bytes, from, params->log);
    if (!status)
        status = output_open(&out, to, params->log);
    if (!status)
        status = copy_bytes(params, fd, from, n_bytes, &out);
    if (!status)
        status = output_commit(&out, params->log);
    output_discard(&out);
    input_close(&fd);
    return status;
}

enum mn_status quantize_copy_rest(const struct quantize_params *params, const struct output_folder *folder)
{
    const char *name;
    struct folder *dir = folder_open(params->model_dir);
    enum mn_status status = dir ? MN_OK
                                : log_fail(params->log, MN_ERR_FILE, "%s: cannot be read: %s", params->model_dir,
                                           strerror(errno));
    while (!status && (name = folder_next(dir)) != NULL)
        if (name[0] != '.' && strcmp(name, "config.json") != 0 && !is_weights(name))
            status = copy_file(params, folder, name);
    folder_close(dir);
    return status;
}

/* ---- config.json ---- */

static size_t skip_blanks(const char *text, size_t n, size_t at)
{
    while (at < n && strchr(" \t\r\n", text[at]))
        at++;
    return at;
}

/* Where the value of the outermost object's member `key` begins, n where it has none by this spelling. The text is a
 * JSON document. */
static size_t find_value(const char *text, size_t n)
{
    int depth = 0;
    for (size_t at = 0; at < n; at++) {
        depth += text[at] == '{' || text[at] == '[';
        depth -= text[at] == '}' || text[at] == ']';
        if (text[at] != '"')
            continue;
        const size_t begin = ++at;
        while (at < n && text[at] != '"')
            at += text[at] == '\\' ? 2 : 1;
        const size_t colon = at < n ? skip_blanks(text, n, at + 1) : n;
        if (depth == 1 && colon < n && text[colon] == ':' && at - begin == sizeof key - 1 &&
            !memcmp(text + begin, key, sizeof key - 1))
            return skip_blanks(text, n, colon + 1);
    }
    return n;
}

/* Behind which byte a further member of the outermost object is put: its last value's. 0: it is no object. */
static size_t find_end(const char *text, size_t n)
{
    static const char blanks[] = " \t\r\n";
    while (n > 0 && strchr(blanks, text[n - 1]))
        n--;
    if (n == 0 || text[n - 1] != '}')
        return 0;
    n--;
    while (n > 0 && strchr(blanks, text[n - 1]))
        n--;
    return n;
}

static void write_member(FILE *out, const struct quantize_params *params)
{
    fprintf(out, "{\"quant_method\": \"%s\", \"format\": %d, \"weight_type\": ", CONFIG_QUANT_METHOD,
            CONFIG_QUANT_FORMAT);
    json_write_string(out, params->scheme.name, strlen(params->scheme.name));
    fprintf(out, ", \"group_size\": %d}", WEIGHT_GROUP_MAX);
}

/* A null in its place is replaced; else it is the last member, set off as the first one is. */
static enum mn_status edit(FILE *out, const struct quantize_params *params, const char *path, const char *text,
                           size_t n, bool is_null)
{
    const size_t null_at = find_value(text, n), end = find_end(text, n), first = json_byte_order_mark(text, n) + 1,
                 blanks = skip_blanks(text, n, first) - min_u64(first, n);
    if ((is_null && (n - null_at < 4 || memcmp(text + null_at, "null", 4) != 0)) || end == 0)
        return log_fail(params->log, MN_ERR_UNSUPPORTED, "%s: key '%s': cannot be replaced as it is spelled", path,
                        key);
    fwrite(text, 1, is_null ? null_at : end, out);
    if (!is_null)
        fprintf(out, ",%.*s\"%s\": ", (int)blanks, text + first, key);
    write_member(out, params);
    const size_t rest = is_null ? null_at + 4 : end;
    fwrite(text + rest, 1, n - rest, out);
    return MN_OK;
}

enum mn_status quantize_write_config(const struct quantize_params *params, const struct output_folder *folder)
{
    char from[OUTPUT_PATH_BYTES], to[OUTPUT_PATH_BYTES];
    char *text = NULL;
    size_t n = 0;
    struct json_doc doc = {0};
    struct output_file out = {0};
    if (snprintf(from, sizeof from, "%s/config.json", params->model_dir) >= (int)sizeof from)
        return log_fail(params->log, MN_ERR_FILE, "%s/config.json: the path is too long", params->model_dir);
    enum mn_status status = input_read_all(&text, &n, from, CONFIG_FILE_BYTES_MAX, params->log);
    if (!status)
        status = json_parse_foreign(&doc, from, text, n, CONFIG_FILE_BYTES_MAX, params->log);
    if (!status)
        status = output_folder_path(folder, "config.json", to, params->log);
    if (!status)
        status = output_open(&out, to, params->log);
    if (!status)
        status = edit(out.text, params, from, text, n, json_find(doc.root, key) != NULL);
    if (!status)
        status = output_commit(&out, params->log);
    output_discard(&out);
    json_destroy(&doc);
    free(text);
    return status;
}
