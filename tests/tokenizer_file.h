/* What the tests of the tokenizer share: a log that remembers, and a small tokenizer.json in a string, of which each
 * part can be replaced. Functions are inline, so that a test need not use them all.
 */
#ifndef MUNINN_TESTS_TOKENIZER_FILE_H
#define MUNINN_TESTS_TOKENIZER_FILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/base/status.h"
#include "engine/files/json.h"
#include "engine/text/tokenizer.h"

struct messages {
    unsigned n_errors;
    char last[1024];
};

static inline void message_write(void *user, enum mn_log_level level, const char *line)
{
    struct messages *messages = user;
    if (level == MN_LOG_ERROR)
        messages->n_errors++;
    snprintf(messages->last, sizeof messages->last, "%s", line);
}

struct builder {
    char *text;
    size_t n, capacity;
};

static inline void add(struct builder *b, const char *fmt, ...) MN_PRINTF(2, 3);
static inline void add(struct builder *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int need = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (b->n + (size_t)need + 1 > b->capacity) {
        b->capacity = 2 * (b->n + (size_t)need + 1);
        b->text = realloc(b->text, b->capacity);
        assert_non_null(b->text);
    }
    va_start(args, fmt);
    vsnprintf(b->text + b->n, b->capacity - b->n, fmt, args);
    va_end(args);
    b->n += (size_t)need;
}

/* The values of a file; NULL means the default, which is valid. Ids 0 to 255 are the bytes. */
struct parts {
    const char *vocab;  /* more entries, each starting with a comma */
    const char *merges; /* the array */
    const char *model;  /* more members of the model, each starting with a comma */
    const char *added;  /* the array */
    const char *normalizer, *pre_tokenizer, *decoder, *post_processor;
    const char *tail;   /* after the last member */
    unsigned skip_byte; /* this byte is left out of the vocabulary when not 0 */
};

#define BYTE_LEVEL(use_regex) \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":" use_regex "}"

static inline void build(struct builder *b, const struct parts *parts)
{
    unsigned next = 0x100;
    *b = (struct builder){0};
    add(b,
        "{\"version\":\"1.0\",\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,\"decoder\":%s,"
        "\"post_processor\":%s,",
        parts->added ? parts->added : "[]", parts->normalizer ? parts->normalizer : "null",
        parts->pre_tokenizer ? parts->pre_tokenizer : BYTE_LEVEL("true"),
        parts->decoder ? parts->decoder : "{\"type\":\"ByteLevel\"}",
        parts->post_processor ? parts->post_processor : "null");
    add(b, "\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (unsigned i = 0; i < 256; i++) {
        unsigned c = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i <= 0xac) || i >= 0xae ? i : next++;
        if (!i || i != parts->skip_byte)
            add(b, "%s\"\\u%04x\":%u", i ? "," : "", c, i);
    }
    add(b, "%s},\"merges\":%s%s}%s}", parts->vocab ? parts->vocab : ",\"ab\":256,\"abc\":257",
        parts->merges ? parts->merges : "[[\"a\",\"b\"],[\"ab\",\"c\"]]", parts->model ? parts->model : "",
        parts->tail ? parts->tail : "");
}

static inline enum mn_status create(struct tokenizer **out, const struct parts *parts, const struct mn_log *log)
{
    struct builder b;
    build(&b, parts);
    enum mn_status status = tokenizer_create_from_memory(out, "tokenizer.json", b.text, b.n, log);
    free(b.text);
    return status;
}

static inline struct tokenizer *create_valid(const struct parts *parts)
{
    struct messages messages = {0};
    const struct mn_log log = {message_write, &messages};
    struct tokenizer *tokenizer;
    if (create(&tokenizer, parts, &log) != MN_OK)
        fail_msg("%s", messages.last);
    return tokenizer;
}

static inline char *repeated(const char *text, size_t times)
{
    struct builder b = {0};
    size_t n = strlen(text);
    b.text = malloc(n * times + 1);
    assert_non_null(b.text);
    for (size_t i = 0; i < times; i++)
        memcpy(b.text + i * n, text, n);
    b.text[n * times] = 0;
    return b.text;
}

/* --- what is expected ------------------------------------------------------------------------------------------- */

static inline void encode_expect(const struct tokenizer *tokenizer, const char *text, size_t n_bytes,
                                 enum encode_mode mode, const uint32_t *expected, size_t n_expected)
{
    struct messages messages = {0};
    const struct mn_log log = {message_write, &messages};
    uint32_t *ids;
    size_t n_ids;
    if (tokenizer_encode(tokenizer, text, n_bytes, mode, &ids, &n_ids, &log) != MN_OK)
        fail_msg("'%.*s': %s", (int)n_bytes, text, messages.last);
    if (n_ids != n_expected || (expected && n_ids && memcmp(ids, expected, n_ids * sizeof *ids))) {
        for (size_t i = 0; i < n_ids; i++)
            print_message("%u ", ids[i]);
        fail_msg("'%.*s': %zu ids instead of %zu", (int)n_bytes, text, n_ids, n_expected);
    }
    free(ids);
}

#define IDS(...) (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)

/* Whole and token by token. */
static inline void decode_expect(const struct tokenizer *tokenizer, const uint32_t *ids, size_t n_ids,
                                 bool skip_special, const char *expected, size_t n_expected)
{
    struct stream_decoder decoder;
    char *text;
    const char *part;
    size_t n_bytes, n_part, n_streamed = 0;

    assert_int_equal(tokenizer_decode(tokenizer, ids, n_ids, skip_special, &text, &n_bytes, NULL), MN_OK);
    if (n_bytes != n_expected || memcmp(text, expected, n_expected))
        fail_msg("%zu ids from %u on: '%s' instead of '%s'", n_ids, n_ids ? ids[0] : 0, text, expected);
    assert_int_equal(text[n_bytes], 0);
    stream_decoder_init(&decoder, tokenizer, skip_special);
    for (size_t i = 0; i <= n_ids; i++) {
        if (i < n_ids)
            assert_int_equal(stream_decoder_push(&decoder, ids[i], &part, &n_part, NULL), MN_OK);
        else
            stream_decoder_finish(&decoder, &part, &n_part);
        assert_true(n_part <= n_bytes - n_streamed);
        assert_memory_equal(text + n_streamed, part, n_part);
        n_streamed += n_part;
    }
    assert_int_equal(n_streamed, n_bytes);
    free(text);
}

/* --- files of cases --------------------------------------------------------------------------------------------- */

static inline char *file_read(const char *path, size_t *n_bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("cannot open %s", path);
    fseek(file, 0, SEEK_END);
    *n_bytes = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*n_bytes + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, *n_bytes, file), *n_bytes);
    text[*n_bytes] = 0;
    fclose(file);
    return text;
}

static inline size_t ids_read(const struct cJSON *array, uint32_t *ids, size_t capacity)
{
    const struct cJSON *node;
    size_t n = 0;
    assert_true(cJSON_IsArray(array));
    cJSON_ArrayForEach (node, array) {
        assert_true(n < capacity);
        ids[n++] = (uint32_t)node->valuedouble;
    }
    return n;
}

/* Calls back for every line of a .jsonl file; returns the number of lines. */
static inline size_t lines_visit(const char *path, void (*visit)(const struct json_doc *, void *), void *user)
{
    size_t n_bytes, n_lines = 0;
    char *text = file_read(path, &n_bytes);
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, n_lines++) {
        struct json_doc doc;
        assert_int_equal(json_parse(&doc, path, line, (size_t)(end - line), n_bytes, NULL), MN_OK);
        visit(&doc, user);
        json_destroy(&doc);
    }
    free(text);
    return n_lines;
}

#endif
