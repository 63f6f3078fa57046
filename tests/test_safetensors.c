/* Goal: a checkpoint opens only when every tensor lies inside its file exactly as the format demands; every hostile or
 * damaged file is refused with the right status and one message that names the file and, where there is one, the key.
 * Method: one table row per bug class over files built in memory (header text plus a number of data bytes); the same
 * rules over real folders in a temporary directory for what needs files: indices, shards, pipes, truncation after
 * opening; the golden checkpoints of tests/vectors as the positive case.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/files/safetensors.h"
#include "tests/capture.h"

/* length prefix + header, in a block of exactly that size; the caller frees it. */
static unsigned char *build(const char *header, uint64_t claimed_bytes, size_t *n_bytes)
{
    size_t n = strlen(header);
    unsigned char *bytes = malloc(8 + n);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(claimed_bytes >> 8 * i);
    memcpy(bytes + 8, header, n);
    *n_bytes = 8 + n;
    return bytes;
}

static enum mn_status parse(struct safetensors **st, const char *header, uint64_t data_bytes,
                            const struct safetensors_limits *limits, const struct mn_log *log)
{
    size_t n;
    unsigned char *bytes = build(header, strlen(header), &n);
    enum mn_status status = safetensors_parse(st, "some/x.safetensors", bytes, n, n + data_bytes, limits, log);
    free(bytes);
    return status;
}

#define TENSOR(name, dtype, shape, range) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" range "}"

static const struct {
    const char *header;
    uint64_t data_bytes;
    enum mn_status status;
    const char *log;
} rows[] = {
    /* legal */
    {"{}", 0, MN_OK, ""},
    {"{\"__metadata__\":{\"format\":\"pt\"}}   ", 0, MN_OK, ""},
    {"{" TENSOR("a", "F32", "[2,3]", "[0,24]") "," TENSOR("b", "BF16", "[4]", "[24,32]") "}", 32, MN_OK, ""},
    {"{" TENSOR("z", "U8", "[1]", "[1,2]") "," TENSOR("a", "U8", "[1]", "[0,1]") "}", 2, MN_OK, ""},
    {"{" TENSOR("scalar", "F64", "[]", "[0,8]") "}", 8, MN_OK, ""},
    {"{" TENSOR("none", "F16", "[0,7]", "[0,0]") "," TENSOR("a", "U8", "[3]", "[0,3]") "}", 3, MN_OK, ""},
    {"{" TENSOR("a", "U8", "[3]", "[0,3]") "," TENSOR("none", "F16", "[7,0]", "[3,3]") "}", 3, MN_OK, ""},
    {"{" TENSOR("a", "U8", "[1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, MN_OK, ""},
    {"{" TENSOR("odd", "U8", "[3]", "[0,3]") "," TENSOR("unaligned", "F32", "[1]", "[3,7]") "}", 7, MN_OK, ""},
    /* not an object, not JSON */
    {"", 0, MN_ERR_FORMAT, "does not start with '{'"},
    {"[]", 0, MN_ERR_FORMAT, "does not start with '{'"},
    {" {}", 0, MN_ERR_FORMAT, "does not start with '{'"},
    {"{} x", 0, MN_ERR_FORMAT, "more after the end"},
    {"{\"a\":", 0, MN_ERR_FORMAT, "byte 5"},
    {"{\"\xff\":1}", 0, MN_ERR_FORMAT, "invalid UTF-8"},
    {"{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 0, MN_ERR_FORMAT,
     "nested too deeply"},
    /* duplicate keys */
    {"{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("a", "U8", "[1]", "[1,2]") "}", 2, MN_ERR_FORMAT,
     "key 'a': given twice"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"shape\":[2],\"data_offsets\":[0,1]}}", 1, MN_ERR_FORMAT,
     "key 'shape': given twice"},
    /* shape product, sum and count overflows */
    {"{" TENSOR("a", "U8", "[4294967296,4294967296]", "[0,0]") "}", 0, MN_ERR_FORMAT, "key 'a': the size"},
    {"{" TENSOR("a", "F32", "[4611686018427387904]", "[0,0]") "}", 0, MN_ERR_FORMAT,
     "key 'a': value 4611686018427387904"},
    {"{" TENSOR("a", "F64", "[4503599627370496,4503599627370496]", "[0,8]") "}", 8, MN_ERR_FORMAT, "key 'a': the size"},
    {"{" TENSOR("a", "F64", "[2305843009213693952]", "[0,0]") "}", 0, MN_ERR_FORMAT, "key 'a'"},
    {"{" TENSOR("a", "F64", "[1048576,1048576,2097152]", "[0,0]") "}", 0, MN_ERR_FORMAT, "key 'a': the size"},
    {"{" TENSOR("a", "F32", "[0,1099511627776,1099511627776]", "[0,0]") "}", 0, MN_ERR_FORMAT, "key 'a': the size"},
    {"{" TENSOR("a", "U8", "[1]", "[18446744073709551615,0]") "}", 1, MN_ERR_FORMAT,
     "key 'a': value 18446744073709551615"},
    {"{" TENSOR("a", "U8", "[9007199254740991]", "[0,9007199254740991]") "}", 1, MN_ERR_FORMAT, "key 'a': ends at"},
    /* size against offsets */
    {"{" TENSOR("a", "F32", "[2]", "[0,4]") "}", 4, MN_ERR_FORMAT, "key 'a': data_offsets [0, 4] do not hold the 8"},
    {"{" TENSOR("a", "F32", "[2]", "[0,9]") "}", 9, MN_ERR_FORMAT, "key 'a': data_offsets"},
    {"{" TENSOR("a", "U8", "[1]", "[1,0]") "}", 1, MN_ERR_FORMAT, "key 'a': data_offsets [1, 0]"},
    {"{" TENSOR("a", "U8", "[]", "[0,0]") "}", 0, MN_ERR_FORMAT, "key 'a': data_offsets"}, /* rank 0 is one value */
    /* offsets against the file and each other */
    {"{" TENSOR("a", "U8", "[4]", "[0,4]") "}", 3, MN_ERR_FORMAT,
     "key 'a': ends at byte 4 of the data, the file has 3"},
    {"{" TENSOR("a", "U8", "[4]", "[0,4]") "}", 5, MN_ERR_FORMAT, "5 bytes of data, the tensors cover 4"},
    {"{}", 1, MN_ERR_FORMAT, "1 bytes of data, the tensors cover 0"},
    {"{" TENSOR("a", "U8", "[1]", "[1,2]") "}", 2, MN_ERR_FORMAT,
     "key 'a': starts at byte 1 of the data, after a hole"},
    {"{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("b", "U8", "[1]", "[2,3]") "}", 3, MN_ERR_FORMAT,
     "key 'b': starts at byte 2 of the data, after a hole that starts at 1"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[2]", "[1,3]") "}", 3, MN_ERR_FORMAT,
     "key 'b': starts at byte 1 of the data, inside another tensor"},
    {"{" TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[2]", "[0,2]") "}", 2, MN_ERR_FORMAT,
     "inside another tensor"},
    {"{" TENSOR("a", "U8", "[4]", "[0,4]") "," TENSOR("none", "U8", "[0]", "[2,2]") "}", 4, MN_ERR_FORMAT,
     "key 'none': starts at byte 2"},
    {"{" TENSOR("none", "U8", "[0]", "[9,9]") "}", 0, MN_ERR_FORMAT, "key 'none': starts at byte 9"},
    /* negative and odd numbers */
    {"{" TENSOR("a", "U8", "[-1]", "[0,1]") "}", 1, MN_ERR_FORMAT, "key 'a': value -1"},
    {"{" TENSOR("a", "U8", "[1.5]", "[0,1]") "}", 1, MN_ERR_FORMAT, "key 'a': value 1.5"},
    {"{" TENSOR("a", "U8", "[\"1\"]", "[0,1]") "}", 1, MN_ERR_FORMAT, "key 'a': value \"1\""},
    {"{" TENSOR("a", "U8", "[1]", "[-1,0]") "}", 1, MN_ERR_FORMAT, "key 'a': value -1"},
    {"{" TENSOR("a", "U8", "[1]", "[0,null]") "}", 1, MN_ERR_FORMAT, "key 'a': value null"},
    /* types: a negative or unknown type id has no way in, since types are names */
    {"{" TENSOR("a", "F4", "[1]", "[0,1]") "}", 1, MN_ERR_FORMAT, "key 'a': dtype F4 and shape make 4 bits, no whole"},
    {"{" TENSOR("a", "F6_E2M3", "[2]", "[0,2]") "}", 2, MN_ERR_FORMAT, "make 12 bits"},
    {"{" TENSOR("a", "F4", "[2]", "[0,2]") "}", 2, MN_ERR_FORMAT, "do not hold the 1 bytes"},
    {"{" TENSOR("a", "F4", "[2]", "[0,1]") "," TENSOR("b", "C64", "[1]", "[1,9]") "}", 9, MN_OK, ""},
    {"{" TENSOR("a", "f32", "[1]", "[0,4]") "}", 4, MN_OK, ""}, /* a type that nobody knows */
    {"{" TENSOR("a", "F5", "[1]", "[0,4]") "}", 5, MN_ERR_FORMAT, "5 bytes of data, the tensors cover 4"},
    {"{" TENSOR("a", "F5", "[1]", "[4,0]") "}", 4, MN_ERR_FORMAT, "key 'a': data_offsets [4, 0]"},
    {"{" TENSOR("a", "F5", "[1]", "[1,4]") "}", 4, MN_ERR_FORMAT,
     "key 'a': starts at byte 1 of the data, after a hole"},
    {"{" TENSOR("a", "F5", "[9]", "[0,2]") "," TENSOR("b", "U8", "[3]", "[1,4]") "}", 4, MN_ERR_FORMAT,
     "key 'b': starts at byte 1 of the data, inside another tensor"},
    {"{" TENSOR("a", "F5", "[4294967296,4294967296]", "[0,1]") "}", 1, MN_ERR_FORMAT, "the size of this shape"},
    {"{\"a\":{\"dtype\":-1,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, MN_ERR_FORMAT, "key 'a': value -1: dtype"},
    {"{" TENSOR("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, MN_ERR_UNSUPPORTED,
     "key 'a': value [...]: more than 8"},
    /* missing and mistyped members */
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, MN_ERR_FORMAT, "key 'a': value (missing): dtype"},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, MN_ERR_FORMAT, "key 'a': value (missing): shape"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, MN_ERR_FORMAT, "key 'a': value (missing): data_offsets"},
    {"{\"a\":{\"Dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, MN_ERR_FORMAT, "key 'a': value (missing)"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1, MN_ERR_FORMAT, "key 'a': value 1: shape"},
    {"{" TENSOR("a", "U8", "[1]", "[0,1,2]") "}", 1, MN_ERR_FORMAT, "key 'a': value [...]: data_offsets"},
    {"{" TENSOR("a", "U8", "[1]", "[0]") "}", 1, MN_ERR_FORMAT, "key 'a': value [...]: data_offsets"},
    {"{\"a\":[]}", 0, MN_ERR_FORMAT, "key 'a': value [...]: must be an object"},
    {"{\"a\":null}", 0, MN_ERR_FORMAT, "key 'a': value null: must be an object"},
    {"{" TENSOR("", "U8", "[1]", "[0,1]") "}", 1, MN_ERR_FORMAT, "a tensor name has 1 to 512 bytes"},
    {"{\"__metadata__\":1}", 0, MN_ERR_FORMAT, "key '__metadata__': value 1"},
    {"{\"__metadata__\":{\"format\":1}}", 0, MN_ERR_FORMAT, "key 'format': value 1"},
};

static void test_rows(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct safetensors *st;
        enum mn_status status = parse(&st, rows[i].header, rows[i].data_bytes, NULL, &log);
        if (status != rows[i].status || (status == MN_OK) != (st != NULL))
            fail_msg("%s: %s, log \"%s\"", rows[i].header, mn_status_name(status), c.line);
        if (status == MN_OK)
            assert_int_equal(c.n, 0);
        else
            expect_log(&c, "some/x.safetensors", rows[i].log);
        safetensors_close(st);
    }
}

static void test_table(void **state)
{
    (void)state;
    struct safetensors *st;
    const char *header = "{" TENSOR("z", "F32", "[2,3]", "[6,30]") "," TENSOR("a", "I16", "[]", "[0,2]") "," TENSOR(
        "none", "F64", "[5,0]", "[6,6]") "," TENSOR("b", "U16", "[2]", "[2,6]") "}";
    assert_int_equal(parse(&st, header, 30, NULL, NULL), MN_OK);
    const char *const order[] = {"a", "b", "none", "z"}; /* by offset, the empty one first */
    assert_int_equal(safetensors_n_tensors(st), 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_string_equal(safetensors_tensor(st, i)->name, order[i]);
        assert_ptr_equal(safetensors_find(st, order[i]), safetensors_tensor(st, i));
    }
    assert_null(safetensors_tensor(st, 4));
    assert_null(safetensors_find(st, "Z"));
    assert_null(safetensors_find(st, ""));
    const struct tensor_view *z = safetensors_find(st, "z");
    assert_int_equal(z->dtype, TENSOR_F32);
    assert_int_equal(z->rank, 2);
    assert_int_equal(z->shape[0], 2);
    assert_int_equal(z->shape[1], 3);
    assert_int_equal(z->shape[2], 0);
    assert_int_equal(z->bytes, 24);
    assert_int_equal(z->offset, 8 + strlen(header) + 6);
    assert_string_equal(safetensors_shard_name(st, 0), "some/x.safetensors");
    safetensors_close(st);
    safetensors_close(NULL);
}

static void test_dtypes(void **state)
{
    (void)state;
    const struct {
        const char *name;
        uint32_t bits;
    } official[] = {
        {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
        {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
        {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
        {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
    };
    assert_int_equal(sizeof official / sizeof *official, TENSOR_DTYPE_COUNT);
    for (size_t i = 0; i < TENSOR_DTYPE_COUNT; i++) {
        char header[128];
        struct safetensors *st;
        const uint32_t bytes = 12 * official[i].bits / 8;
        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"%s\",\"shape\":[12],\"data_offsets\":[0,%u]}}",
                 official[i].name, bytes);
        assert_int_equal(parse(&st, header, bytes, NULL, NULL), MN_OK);
        assert_int_equal(safetensors_tensor(st, 0)->dtype, i);
        assert_string_equal(safetensors_tensor(st, 0)->dtype_name, official[i].name);
        assert_string_equal(tensor_dtype_name(i), official[i].name);
        assert_int_equal(tensor_dtype_bits(i), official[i].bits);
        assert_int_equal(tensor_dtype_bytes(i), official[i].bits % 8 ? 0 : official[i].bits / 8);
        safetensors_close(st);
        assert_int_equal(parse(&st, header, bytes + 1, NULL, NULL), MN_ERR_FORMAT);
        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"%s\",\"shape\":[12],\"data_offsets\":[0,%u]}}",
                 official[i].name, bytes + 1);
        assert_int_equal(parse(&st, header, bytes + 1, NULL, NULL), MN_ERR_FORMAT);
    }
}

/* A type newer than the list: the tensor is in the table with the place that the file gives it, and the layout is
 * checked all the same. */
static void test_new_dtype(void **state)
{
    (void)state;
    struct safetensors *st;
    const char *header = "{" TENSOR("b", "F5_E2M2", "[3]", "[4,6]") "," TENSOR("a", "F32", "[1]", "[0,4]") "," TENSOR(
        "c", "", "[7,0]", "[6,6]") "}";
    assert_int_equal(parse(&st, header, 6, NULL, NULL), MN_OK);
    assert_int_equal(safetensors_n_tensors(st), 3);
    const struct tensor_view *b = safetensors_find(st, "b");
    assert_int_equal(b->dtype, TENSOR_OTHER);
    assert_string_equal(b->dtype_name, "F5_E2M2");
    assert_string_equal(safetensors_find(st, "c")->dtype_name, "");
    assert_string_equal(safetensors_find(st, "a")->dtype_name, "F32");
    assert_int_equal(b->bytes, 2);
    assert_int_equal(tensor_dtype_bytes(b->dtype), 0);
    assert_int_equal(tensor_dtype_bits(b->dtype), 0);
    safetensors_close(st);
}

static void test_header_length(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    struct safetensors *st;
    const struct safetensors_limits small = {.header_bytes_max = 3};
    size_t n;
    const struct {
        uint64_t claimed;
        const struct safetensors_limits *limits;
        const char *why;
    } bad[] = {
        {3, NULL, "the header claims 3 bytes, the file has 10"},
        {(UINT64_C(1) << 20) + 1, NULL, "the limit is 1048576"},
        {UINT64_MAX, NULL, "the header claims 18446744073709551615 bytes"}, /* 8 + N wraps */
        {UINT64_MAX - 7, NULL, "the limit is"},
        {UINT64_C(1) << 63, NULL, "the limit is"},
        {4, &small, "the limit is 3"},
        {0, NULL, "does not start with '{'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        unsigned char *bytes = build("{}", bad[i].claimed, &n);
        assert_int_equal(safetensors_parse(&st, "f", bytes, n, n, bad[i].limits, &log), MN_ERR_FORMAT);
        assert_null(st);
        expect_log(&c, "f: ", bad[i].why);
        free(bytes);
    }
    unsigned char *bytes = build("{}", 2, &n);
    for (size_t cut = 0; cut < n; cut++) {
        assert_int_equal(safetensors_parse(&st, "f", bytes, cut, cut, NULL, &log), MN_ERR_FORMAT);
        expect_log(&c, "f: ", "");
        /* The caller holds less than the header: its mistake, not the file's. */
        if (cut >= 8) {
            assert_int_equal(safetensors_parse(&st, "f", bytes, cut, n, NULL, &log), MN_ERR_USAGE);
            expect_log(&c, "f: ", "at hand");
        }
    }
    free(bytes);
}

/* A header of n tensors of one byte. */
static char *many_tensors(int n)
{
    char *text = malloc((size_t)n * 80 + 8), *at = text;
    assert_non_null(text);
    *at++ = '{';
    for (int i = 0; i < n; i++)
        at += sprintf(at, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "", i, i,
                      i + 1);
    strcpy(at, "}");
    return text;
}

static void test_header_bloat(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    struct safetensors *st;
    struct safetensors_limits raised = {.header_bytes_max = 100000000};
    char *text = many_tensors(100000);
    assert_int_equal(parse(&st, text, 100000, NULL, &log), MN_ERR_FORMAT);
    expect_log(&c, "some/x.safetensors", "the limit is 1048576");
    assert_int_equal(parse(&st, text, 100000, &raised, &log), MN_ERR_FORMAT);
    expect_log(&c, "some/x.safetensors", "100000 tensors so far, the limit is 16384");
    raised.n_tensors_max = 100000;
    assert_int_equal(parse(&st, text, 100000, &raised, &log), MN_OK);
    assert_int_equal(safetensors_find(st, "t99999")->offset, 8 + strlen(text) + 99999);
    safetensors_close(st);
    free(text);

    text = malloc(2000);
    assert_non_null(text);
    memset(text, 'n', 1000);
    memcpy(text, "{\"", 2);
    strcpy(text + 1000, "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}");
    assert_int_equal(parse(&st, text, 1, NULL, &log), MN_ERR_FORMAT);
    expect_log(&c, "some/x.safetensors", "1 to 512 bytes");
    free(text);
}

/* ---- folders ---- */

struct folder {
    char path[32];
    struct capture capture;
    struct mn_log log;
};

static void write_file(const struct folder *f, const char *name, const void *bytes, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void write_text(const struct folder *f, const char *name, const char *text)
{
    write_file(f, name, text, strlen(text));
}

/* A file with `tensors` (without braces) and n_data bytes 0, 1, 2, ... */
static void write_shard(const struct folder *f, const char *name, const char *tensors, size_t n_data)
{
    char header[512];
    size_t n;
    snprintf(header, sizeof header, "{%s}", tensors);
    unsigned char *head = build(header, strlen(header), &n), *bytes = malloc(n + n_data);
    assert_non_null(bytes);
    memcpy(bytes, head, n);
    for (size_t i = 0; i < n_data; i++)
        bytes[n + i] = (unsigned char)i;
    write_file(f, name, bytes, n + n_data);
    free(bytes);
    free(head);
}

static int set_up(void **state)
{
    struct folder *f = calloc(1, sizeof *f);
    if (!f)
        return -1;
    strcpy(f->path, "/tmp/muninn-st-XXXXXX");
    f->log = (struct mn_log){capture_write, &f->capture};
    *state = f;
    return mkdtemp(f->path) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct folder *f = *state;
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "1.safetensors",
                                        "2.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", f->path, names[i]);
        remove(path);
    }
    rmdir(f->path);
    free(f);
    return 0;
}

static void expect_open(struct folder *f, enum mn_status expected, const char *file, const char *text)
{
    struct safetensors *st;
    enum mn_status status = safetensors_open(&st, f->path, NULL, &f->log);
    if (status != expected)
        fail_msg("%s: %s, log \"%s\"", f->path, mn_status_name(status), f->capture.line);
    assert_null(st);
    expect_log(&f->capture, file, text);
}

static void test_missing_files(void **state)
{
    struct folder *f = *state;
    struct safetensors *st;
    char path[128];
    expect_open(f, MN_ERR_FILE, f->path, "neither model.safetensors nor");
    snprintf(path, sizeof path, "%s/model.safetensors", f->path);
    assert_int_equal(safetensors_open_file(&st, path, NULL, &f->log), MN_ERR_FILE);
    expect_log(&f->capture, path, "No such file");

    assert_int_equal(mkdir(path, 0700), 0);
    expect_open(f, MN_ERR_FILE, path, "not a regular file");
    assert_int_equal(rmdir(path), 0);
#ifndef _WIN32
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_open(f, MN_ERR_FILE, path, "not a regular file"); /* and does not wait for a writer */
    assert_int_equal(unlink(path), 0);
#endif
    write_file(f, "model.safetensors", "", 0);
    expect_open(f, MN_ERR_FORMAT, path, "the file is empty");
    write_file(f, "model.safetensors", "\2\0\0", 3);
    expect_open(f, MN_ERR_FORMAT, path, "3 bytes are too short");
    write_file(f, "model.safetensors", "\2\0\0\0\0\0\0\0{", 9);
    expect_open(f, MN_ERR_FORMAT, path, "the header claims 2 bytes");
}

static void test_reading(void **state)
{
    struct folder *f = *state;
    struct safetensors *st;
    char path[128];
    unsigned char got[8] = {0};
    snprintf(path, sizeof path, "%s/model.safetensors", f->path);
    write_shard(f, "model.safetensors",
                TENSOR("a", "U8", "[3]", "[0,3]") "," TENSOR("none", "U8", "[0]", "[3,3]") "," TENSOR("b", "F32", "[1]",
                                                                                                      "[3,7]"),
                7);
    assert_int_equal(safetensors_open(&st, f->path, NULL, &f->log), MN_OK);
    const struct tensor_view *a = safetensors_find(st, "a"), *b = safetensors_find(st, "b");
    assert_int_equal(safetensors_read(st, a, 0, 3, got, &f->log), MN_OK);
    assert_memory_equal(got, "\0\1\2", 3);
    assert_int_equal(safetensors_read(st, b, 1, 2, got, &f->log), MN_OK);
    assert_memory_equal(got, "\4\5", 2);
    assert_int_equal(safetensors_read(st, b, 4, 0, got, &f->log), MN_OK);
    assert_int_equal(safetensors_read(st, safetensors_find(st, "none"), 0, 0, got, &f->log), MN_OK);

    assert_int_equal(safetensors_read(st, a, 0, 4, got, &f->log), MN_ERR_USAGE); /* would read into b */
    expect_log(&f->capture, path, "tensor 'a' has 3 bytes, asked for 4 at 0");
    assert_int_equal(safetensors_read(st, a, 4, 0, got, &f->log), MN_ERR_USAGE);
    expect_log(&f->capture, path, "tensor 'a'");
    assert_int_equal(safetensors_read(st, a, 2, UINT64_MAX, got, &f->log), MN_ERR_USAGE); /* offset + n wraps */
    expect_log(&f->capture, path, "tensor 'a'");

    /* The file shrinks after it was opened: a status, where a mapping would raise SIGBUS. */
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size - 2), 0);
    assert_int_equal(safetensors_read(st, a, 0, 3, got, &f->log), MN_OK);
    assert_int_equal(safetensors_read(st, b, 0, 4, got, &f->log), MN_ERR_FILE);
    expect_log(&f->capture, path, "has become shorter");
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(safetensors_read(st, a, 0, 3, got, &f->log), MN_ERR_FILE);
    expect_log(&f->capture, path, "has become shorter");
    safetensors_close(st);
}

static const char index_name[] = "model.safetensors.index.json";

static void test_index(void **state)
{
    struct folder *f = *state;
    struct safetensors *st;
    unsigned char got[2];
    write_shard(f, "2.safetensors", TENSOR("a", "U8", "[2]", "[0,2]"), 2);
    write_shard(f, "1.safetensors", TENSOR("b", "U8", "[2]", "[0,2]") "," TENSOR("extra", "U8", "[1]", "[2,3]"), 3);
    write_text(f, index_name, "{\"weight_map\":{\"a\":\"2.safetensors\",\"b\":\"1.safetensors\"}}");
    expect_open(f, MN_ERR_FORMAT, index_name, "/1.safetensors is not in the index");
    struct safetensors_limits limits = {.n_tensors_max = 2}; /* over all shards together */
    assert_int_equal(safetensors_open(&st, f->path, &limits, &f->log), MN_ERR_FORMAT);
    expect_log(&f->capture, ".safetensors", "3 tensors so far, the limit is 2");
    write_text(f, index_name,
               "{\"weight_map\":{\"a\":\"2.safetensors\",\"b\":\"1.safetensors\",\"extra\":\"1.safetensors\"}}");
    assert_int_equal(safetensors_open(&st, f->path, NULL, &f->log), MN_OK);
    assert_int_equal(safetensors_n_shards(st), 2);
    assert_int_equal(safetensors_n_tensors(st), 3);
    assert_int_equal(safetensors_read(st, safetensors_find(st, "a"), 0, 2, got, &f->log), MN_OK);
    assert_memory_equal(got, "\0\1", 2);
    assert_non_null(strstr(safetensors_shard_name(st, safetensors_find(st, "a")->shard), "/2.safetensors"));
    assert_non_null(safetensors_find(st, "extra"));
    safetensors_close(st);

    limits = (struct safetensors_limits){.n_shards_max = 1};
    assert_int_equal(safetensors_open(&st, f->path, &limits, &f->log), MN_ERR_FORMAT);
    expect_log(&f->capture, index_name, "key 'weight_map': 2 shards, the limit is 1");
    limits = (struct safetensors_limits){.header_bytes_max = 8};
    assert_int_equal(safetensors_open(&st, f->path, &limits, &f->log), MN_ERR_FORMAT);
    expect_log(&f->capture, index_name, "the limit is 8");

    write_text(f, index_name, "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"1.safetensors\"}}");
    expect_open(f, MN_ERR_FORMAT, index_name, "/1.safetensors does not hold the tensor");
    write_text(f, index_name,
               "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"1.safetensors\",\"extra\":\"2.safetensors\"}}");
    expect_open(f, MN_ERR_FORMAT, "key 'a': value \"1.safetensors\": this shard does not hold the tensor, ",
                "/2.safetensors does");
    write_text(f, index_name, "{\"weight_map\":{\"gone\":\"1.safetensors\"}}");
    expect_open(f, MN_ERR_FORMAT, index_name, "key 'gone'");
    write_text(f, index_name, "{\"weight_map\":{\"a\":\"3.safetensors\"}}");
    expect_open(f, MN_ERR_FILE, index_name, "key 'a': value \"3.safetensors\": this shard is not in the folder");
    write_shard(f, "1.safetensors", TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[1]", "[2,3]"), 3);
    write_text(f, index_name, "{\"weight_map\":{\"a\":\"2.safetensors\",\"b\":\"1.safetensors\"}}");
    expect_open(f, MN_ERR_FORMAT, ".safetensors: key 'a': this tensor is also in", ".safetensors");
    write_shard(f, "2.safetensors", TENSOR("a", "U8", "[2]", "[0,2]"), 1);
    expect_open(f, MN_ERR_FORMAT, "2.safetensors: key 'a': ends at byte 2", "the file has 1");
}

/* Two tables of one checkpoint in one folder. */
static void test_index_beside_file(void **state)
{
    struct folder *f = *state;
    struct safetensors *st;
    write_shard(f, "model.safetensors", TENSOR("a", "U8", "[2]", "[0,2]") "," TENSOR("b", "U8", "[1]", "[2,3]"), 3);
    write_text(f, index_name,
               "{\"metadata\":{\"total_size\":77},"
               "\"weight_map\":{\"a\":\"model.safetensors\",\"b\":\"model.safetensors\"}}");
    assert_int_equal(safetensors_open(&st, f->path, NULL, &f->log), MN_OK); /* as some writers leave it */
    assert_int_equal(f->capture.n, 0);
    safetensors_close(st);
    write_text(f, index_name, "{\"weight_map\":{\"b\":\"2.safetensors\",\"a\":\"1.safetensors\"}}");
    assert_int_equal(safetensors_open(&st, f->path, NULL, &f->log), MN_OK);
    assert_int_equal(safetensors_n_shards(st), 1);
    expect_log(&f->capture, index_name, "/model.safetensors is beside it and is the one that is read");
    safetensors_close(st);
    write_text(f, index_name, "{\"weight_map\":{\"a\":\"1.safetensors\",\"c\":\"1.safetensors\"}}");
    expect_open(f, MN_ERR_FORMAT, index_name, "/model.safetensors does not hold the tensor");
    write_text(f, index_name, "{\"weight_map\":{\"b\":\"1.safetensors\"}}");
    expect_open(f, MN_ERR_FORMAT, index_name, "tensor 'a' of ");
    write_text(f, index_name, "{");
    expect_open(f, MN_ERR_FORMAT, index_name, "byte 1");
}

static void test_total_size(void **state)
{
    struct folder *f = *state;
    struct safetensors *st;
    write_shard(f, "1.safetensors", TENSOR("a", "U8", "[2]", "[0,2]"), 2);
    static const char *const sizes[] = {"2", "2.0", "null", "\"x\"", "3", "-1", "1e300"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":%s},\"weight_map\":{\"a\":\"1.safetensors\"}}",
                 sizes[i]);
        write_text(f, index_name, text);
        assert_int_equal(safetensors_open(&st, f->path, NULL, &f->log), MN_OK);
        if (i < 4)
            assert_int_equal(f->capture.n, 0);
        else
            expect_log(&f->capture, "key 'total_size': value", "but the tensors have 2 bytes");
        safetensors_close(st);
    }
}

static void test_index_rows(void **state)
{
    struct folder *f = *state;
    const struct {
        const char *text, *log;
    } bad[] = {
        {"[]", "must be an object"},
        {"{", "byte 1"},
        {"{}", "key 'weight_map': value (missing)"},
        {"{\"weight_map\":[]}", "key 'weight_map': value [...]"},
        {"{\"weight_map\":{}}", "key 'weight_map': 0 tensors"},
        {"{\"weight_map\":{\"a\":1}}", "key 'a': value 1"},
        {"{\"weight_map\":{\"a\":null}}", "key 'a': value null"},
        {"{\"weight_map\":{\"a\":\"1\",\"a\":\"2\"}}", "key 'a': given twice"},
        {"{\"weight_map\":{\"a\":\"\"}}", "key 'a': value \"\": must be a plain file name"},
        {"{\"weight_map\":{\"a\":\".\"}}", "key 'a': value \".\": must be a plain"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "key 'a': value \"..\": must be a plain"},
        {"{\"weight_map\":{\"a\":\"../up.safetensors\"}}", "key 'a': value \"../up.safetensors\": must be a plain"},
        {"{\"weight_map\":{\"a\":\"x/../../up\"}}", "must be a plain"},
        {"{\"weight_map\":{\"a\":\"sub/x.safetensors\"}}", "must be a plain"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "value \"/etc/passwd\": must be a plain"},
        {"{\"weight_map\":{\"a\":\"..\\\\x\"}}", "must be a plain"},
        {"{\"weight_map\":{\"a\":\"\\u002e\\u002e\\u002fx\"}}", "value \"../x\": must be a plain"},
        {"{\"weight_map\":{\"a\":\"x\\u0000.safetensors\"}}", "\\u0000"},
        {"{\"weight_map\":{\"a\":\".hidden\"}}", "must be a plain"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text(f, index_name, bad[i].text);
        expect_open(f, MN_ERR_FORMAT, index_name, bad[i].log);
        assert_int_equal(safetensors_parse_index("i.json", bad[i].text, strlen(bad[i].text), NULL, &f->log),
                         MN_ERR_FORMAT);
        expect_log(&f->capture, "i.json", bad[i].log);
    }
    char text[400] = "{\"weight_map\":{\"a\":\"";
    memset(text + strlen(text), 'x', 256);
    strcat(text, "\"}}");
    write_text(f, index_name, text);
    expect_open(f, MN_ERR_FORMAT, index_name, "at most 255 bytes");
}

static void test_golden(void **state)
{
    (void)state;
    static const struct {
        const char *dir;
        uint32_t n_shards;
        uint64_t rows, width;
        enum tensor_dtype dtype;
    } golden[] = {
        {"square", 1, 256, 64, TENSOR_F32},
        {"converging", 1, 200, 80, TENSOR_F32},
        {"odd-bf16-sharded", 3, 131, 72, TENSOR_BF16},
    };
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        char path[512];
        struct safetensors *st;
        snprintf(path, sizeof path, "%s/tests/vectors/%s", MN_SOURCE_DIR, golden[i].dir);
        assert_int_equal(safetensors_open(&st, path, NULL, NULL), MN_OK);
        assert_int_equal(safetensors_n_shards(st), golden[i].n_shards);
        const struct tensor_view *wte = safetensors_find(st, "transformer.wte.weight");
        assert_non_null(wte);
        assert_int_equal(wte->dtype, golden[i].dtype);
        assert_int_equal(wte->rank, 2);
        assert_int_equal(wte->shape[0], golden[i].rows);
        assert_int_equal(wte->shape[1], golden[i].width);
        for (uint32_t t = 0; t < safetensors_n_tensors(st); t++) {
            const struct tensor_view *view = safetensors_tensor(st, t);
            void *bytes = malloc(view->bytes ? view->bytes : 1);
            assert_non_null(bytes);
            assert_int_equal(safetensors_read(st, view, 0, view->bytes, bytes, NULL), MN_OK);
            free(bytes);
        }
        safetensors_close(st);
        snprintf(path, sizeof path, "%s/tests/vectors/%s/golden.safetensors", MN_SOURCE_DIR, golden[i].dir);
        assert_int_equal(safetensors_open_file(&st, path, NULL, NULL), MN_OK);
        assert_non_null(safetensors_find(st, "ids"));
        safetensors_close(st);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_new_dtype),
        cmocka_unit_test(test_header_length),
        cmocka_unit_test(test_header_bloat),
        cmocka_unit_test_setup_teardown(test_missing_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reading, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_index_beside_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_total_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_index_rows, set_up, tear_down),
        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
