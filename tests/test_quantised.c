/* Goal: q8_0 and q4_1 are the formats they say they are, and a quantised model is the model of the values that they
 * stand for, bit by bit. Method: matrices after quantising, logits (bound 2e-4) and tokens against those of the
 * authors' code with such weights; a checkpoint that stores the rounded values as f32 has the same logits to the last
 * bit, in prefill, single rows and several rows; groups whose values are hard to round; schemes, what they refuse, and
 * the bytes that they take. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/model/weight_scheme.h"
#include "tests/testing.h"

#define FOLDER VECTORS "quantised"
#define LOGIT_BOUND 2e-4
enum { VERIFY_STEPS = 8, NAME_BYTES = 160 };

static struct safetensors *open_file(const char *path, const struct mn_log *log)
{
    struct safetensors *file;
    assert_int_equal(safetensors_open_file(&file, path, NULL, log), MN_OK);
    return file;
}

/* Rounds values, whole groups, to what the type holds. */
static void round_values(float *values, uint64_t n, enum weight_type type)
{
    const struct weight_format *format = weight_format(type);
    for (uint64_t i = 0; i < n; i += format->group) {
        uint8_t packed[WEIGHT_GROUP_MAX * sizeof(float)], scale[4];
        assert_true(format->encode(values + i, packed, scale));
        format->decode(packed, scale, values + i);
    }
}

/* Values of a bf16 tensor, malloc'ed. */
static float *stored_values(const struct safetensors *file, const struct tensor_view *tensor, uint64_t *n)
{
    struct test_log log;
    test_log_init(&log);
    *n = tensor->bytes / 2;
    uint16_t *halves = malloc(tensor->bytes);
    float *values = malloc(*n * sizeof *values);
    assert_true(halves && values && tensor->dtype == TENSOR_BF16);
    assert_int_equal(safetensors_read(file, tensor, 0, tensor->bytes, halves, &log.log), MN_OK);
    for (uint64_t i = 0; i < *n; i++)
        values[i] = bf16_to_f32(halves[i]);
    free(halves);
    return values;
}

/* ---- against the authors' code ---- */

/* The group of a Huginn tensor; -1: not a matrix. */
static int group_of(const struct tensor_view *tensor)
{
    static const char *const sections[] = {"transformer.prelude.", "transformer.core_block.", "transformer.coda."},
                             *const parts[] = {"attn.Wqkv.weight", "attn.proj.weight", "mlp.fc.weight",
                                               "mlp.proj.weight"};
    if (!strcmp(tensor->name, "transformer.wte.weight"))
        return WEIGHT_GROUP_EMBEDDING;
    if (!strcmp(tensor->name, "transformer.adapter.weight"))
        return WEIGHT_GROUP_ADAPTER;
    for (int section = 0; section < 3; section++)
        for (int part = 0; part < 4; part++)
            if (!strncmp(tensor->name, sections[section], strlen(sections[section])) &&
                strstr(tensor->name, parts[part]))
                return WEIGHT_GROUP_BLOCKS + WEIGHT_PARTS * section + part;
    return -1;
}

static void test_values(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct safetensors *model = open_file(FOLDER "/model.safetensors", &log.log),
                       *golden = open_file(FOLDER "/golden.safetensors", &log.log);
    uint32_t n_checked = 0;
    for (uint32_t i = 0; i < safetensors_n_tensors(golden); i++) {
        const char *const name = safetensors_tensor(golden, i)->name, *const rest = strstr(name, ".dequantized.");
        struct weight_scheme scheme;
        char type_name[16], source[NAME_BYTES];
        uint64_t n, n_golden;
        if (!rest)
            continue;
        snprintf(type_name, sizeof type_name, "%.*s", (int)(rest - name), name);
        assert_int_equal(weight_scheme_parse(type_name, &scheme, &log.log), MN_OK);
        snprintf(source, sizeof source, "transformer.%s", rest + strlen(".dequantized."));
        const struct tensor_view *tensor = safetensors_find(model, source);
        assert_non_null(tensor);
        float *values = stored_values(model, tensor, &n), *expected = golden_floats(golden, name, &n_golden);
        assert_true(n == n_golden);
        round_values(values, n, scheme.types[group_of(tensor)]);
        assert_memory_equal(values, expected, n * sizeof *values);
        free(values);
        free(expected);
        n_checked++;
    }
    assert_int_equal(n_checked, 4);
    safetensors_close(model);
    safetensors_close(golden);
}

static void check_logits(struct mn_engine *engine, const struct safetensors *golden, const char *type, uint32_t steps)
{
    char name[64];
    uint64_t n_logits;
    uint32_t n;
    snprintf(name, sizeof name, "%s.logits.r%u", type, steps);
    struct golden_error error = {.golden = golden_floats(golden, name, &n_logits)};
    uint32_t *ids = golden_ids(golden, "ids", &n);
    struct session *session = test_session(
        engine, &(struct session_params){.num_steps = steps, .max_rows = 1, .kv_type = KV_F32});
    const struct session_prefill_params prefill = {
        .ids = ids, .n = n, .num_steps = steps, .each_logits = golden_compare, .user = &error};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    print_message("%s: largest error %.3g\n", name, error.largest);
    assert_true(error.largest <= LOGIT_BOUND && error.largest > 0.0);
    session_destroy(session);
    free(ids);
    free((void *)error.golden);
}

static void check_tokens(struct mn_engine *engine, const struct safetensors *golden, const char *type)
{
    char name[64];
    uint32_t n, n_tokens, token;
    snprintf(name, sizeof name, "%s.decode.full.tokens", type);
    uint32_t *ids = golden_ids(golden, "ids", &n), *tokens = golden_ids(golden, name, &n_tokens);
    struct session *session = test_session(
        engine, &(struct session_params){.num_steps = VERIFY_STEPS, .max_rows = 1, .kv_type = KV_F32});
    const struct session_prefill_params prefill = {.ids = ids, .n = n, .num_steps = VERIFY_STEPS};
    assert_int_equal(session_prefill(session, &prefill, &token), MN_OK);
    assert_true(n_tokens > 0);
    for (uint32_t i = 0; i < n_tokens; i++) {
        assert_int_equal(token, tokens[i]);
        struct row row = {.token = token, .position = n + i};
        const struct session_run_params run = {
            .rows = &row, .n_rows = 1, .n_new = 1, .n_core = VERIFY_STEPS, .coda = true, .n_head = 1};
        assert_int_equal(session_run(session, &run, &token), MN_OK);
    }
    session_destroy(session);
    free(ids);
    free(tokens);
}

static void test_golden(void **state)
{
    (void)state;
    static const char *const types[] = {"q8_0", "q4_1"};
    for (int i = 0; i < 2; i++) {
        struct test_log log;
        test_log_init(&log);
        struct safetensors *golden = open_file(FOLDER "/golden.safetensors", &log.log);
        struct mn_engine *engine = test_engine(&log, FOLDER, types[i]);
        check_logits(engine, golden, types[i], 1);
        check_logits(engine, golden, types[i], VERIFY_STEPS);
        check_tokens(engine, golden, types[i]);
        safetensors_close(golden);
        test_engine_done(engine);
    }
}

/* ---- the model of the rounded values ---- */

/* A folder with the same tensors as f32, matrices rounded as the scheme says. */
static void write_rounded(const char *dir, const struct weight_scheme *scheme)
{
    struct test_log log;
    test_log_init(&log);
    struct safetensors *file = open_file(FOLDER "/model.safetensors", &log.log);
    char path[512], command[1024], *header = calloc(1, 1 << 16);
    uint64_t offset = 0, header_bytes;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    FILE *out = fopen(path, "wb");
    assert_true(out && header);
    for (uint32_t i = 0; i < safetensors_n_tensors(file); i++) {
        const struct tensor_view *tensor = safetensors_tensor(file, i);
        char *const at = header + strlen(header);
        int n = sprintf(at, "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[", i ? ',' : '{', tensor->name);
        for (uint32_t k = 0; k < tensor->rank; k++)
            n += sprintf(at + n, "%s%u", k ? "," : "", (unsigned)tensor->shape[k]);
        sprintf(at + n, "],\"data_offsets\":[%u,%u]}", (unsigned)offset, (unsigned)(offset + 2 * tensor->bytes));
        offset += 2 * tensor->bytes;
    }
    strcat(header, "}");
    header_bytes = strlen(header);
    fwrite(&header_bytes, 8, 1, out);
    fwrite(header, 1, header_bytes, out);
    for (uint32_t i = 0; i < safetensors_n_tensors(file); i++) {
        uint64_t n;
        const struct tensor_view *tensor = safetensors_tensor(file, i);
        float *values = stored_values(file, tensor, &n);
        if (group_of(tensor) >= 0)
            round_values(values, n, scheme->types[group_of(tensor)]);
        assert_int_equal(fwrite(values, sizeof *values, n, out), n);
        free(values);
    }
    assert_int_equal(fclose(out), 0);
    free(header);
    safetensors_close(file);
    snprintf(command, sizeof command, "cp '%s/config.json' '%s'", FOLDER, dir);
    assert_int_equal(system(command), 0);
}

static enum mn_status keep_logits(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    memcpy((float *)user + (size_t)position * n_vocab, logits, n_vocab * sizeof *logits);
    return MN_OK;
}

/* Logits of a prompt, of a row alone, and of N_ROWS rows in one pass, malloc'ed. */
enum { N_PROMPT = 9, N_ROWS = 5, N_POSITIONS = N_PROMPT + 1 + N_ROWS, N_STEPS = 4 };

static float *logits_of(const char *dir, const char *weight_type)
{
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, dir, weight_type);
    const uint32_t v = engine->model->config.vocab_size;
    struct session *session = test_session(
        engine, &(struct session_params){.num_steps = N_STEPS, .max_rows = N_ROWS, .kv_type = KV_F32, .n_ctx = 32});
    float *logits = calloc((size_t)N_POSITIONS * v, sizeof *logits);
    uint32_t ids[N_PROMPT], token[N_ROWS];
    for (uint32_t i = 0; i < N_PROMPT; i++)
        ids[i] = 7 + i * 13 % 200;
    const struct session_prefill_params prefill = {
        .ids = ids, .n = N_PROMPT, .num_steps = N_STEPS, .each_logits = keep_logits, .user = logits};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    for (uint32_t first = N_PROMPT, n = 1; first < N_POSITIONS; first += n, n = N_ROWS) {
        struct row rows[N_ROWS];
        for (uint32_t i = 0; i < n; i++)
            rows[i] = (struct row){.token = first * 11 + i, .position = first + i};
        const struct session_run_params run = {
            .rows = rows, .n_rows = n, .n_new = n, .n_core = N_STEPS, .coda = true, .n_head = n};
        assert_int_equal(session_run(session, &run, token), MN_OK);
        for (uint32_t i = 0; i < n; i++)
            assert_int_equal(session_read_logits(session, i, logits + (size_t)(first + i) * v), MN_OK);
    }
    session_destroy(session);
    test_engine_done(engine);
    return logits;
}

static void test_same_bits(void **state)
{
    (void)state;
    static const char *const schemes[] = {"q4_1", "bf16+core.mlp=q8_0+coda=q4_1+adapter=q4_1"};
    float *plain = logits_of(FOLDER, NULL);
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        struct test_log log;
        struct weight_scheme scheme;
        char dir[] = "/tmp/muninn-quantised-XXXXXX", path[64];
        test_log_init(&log);
        assert_non_null(mkdtemp(dir));
        assert_int_equal(weight_scheme_parse(schemes[i], &scheme, &log.log), MN_OK);
        write_rounded(dir, &scheme);
        float *quantised = logits_of(FOLDER, schemes[i]), *rounded = logits_of(dir, NULL);
        assert_memory_equal(quantised, rounded, (size_t)N_POSITIONS * 224 * sizeof *rounded);
        assert_memory_not_equal(quantised, plain, (size_t)N_POSITIONS * 224 * sizeof *plain);
        free(quantised);
        free(rounded);
        snprintf(path, sizeof path, "%s/model.safetensors", dir);
        unlink(path);
        snprintf(path, sizeof path, "%s/config.json", dir);
        unlink(path);
        rmdir(dir);
    }
    free(plain);
}

/* ---- groups that are hard to round ---- */

static void test_rounding(void **state)
{
    (void)state;
    float values[32] = {127.0f, 0.5f, 1.5f, -0.5f, -1.5f, 2.5f, -126.5f, 0.49999997f};
    const struct weight_format *q8 = weight_format(WEIGHT_TYPE_Q8_0), *q4 = weight_format(WEIGHT_TYPE_Q4_1);
    uint8_t packed[32], scale[4];
    /* The scale is 1: halves go away from zero. */
    assert_true(q8->encode(values, packed, scale));
    q8->decode(packed, scale, values);
    static const float away[8] = {127.0f, 1.0f, 2.0f, -1.0f, -2.0f, 3.0f, -127.0f, 0.0f};
    assert_memory_equal(values, away, sizeof away);
    /* All zeros, all equal, and values whose scale is nothing in f16. */
    for (int i = 0; i < 32; i++)
        values[i] = 0.0f;
    assert_true(q8->encode(values, packed, scale));
    q8->decode(packed, scale, values);
    for (int i = 0; i < 32; i++)
        assert_true(values[i] == 0.0f);
    for (int i = 0; i < 32; i++)
        values[i] = -3.25f;
    assert_true(q4->encode(values, packed, scale));
    q4->decode(packed, scale, values);
    for (int i = 0; i < 32; i++)
        assert_true(values[i] == -3.25f);
    for (int i = 0; i < 32; i++)
        values[i] = (float)i * 1e-44f;
    assert_true(q8->encode(values, packed, scale) && q4->encode(values, packed, scale));
    q4->decode(packed, scale, values);
    for (int i = 0; i < 32; i++)
        assert_true(values[i] == 0.0f);
    /* Scales and minimums that are too large for f16. */
    for (int i = 0; i < 32; i++)
        values[i] = (float)i * 1e6f;
    assert_false(q8->encode(values, packed, scale));
    assert_false(q4->encode(values, packed, scale));
    for (int i = 0; i < 32; i++)
        values[i] = 1e6f;
    assert_true(q8->encode(values, packed, scale));
    assert_false(q4->encode(values, packed, scale));
    /* What was rounded once is not rounded again. */
    for (int i = 0; i < 32; i++)
        values[i] = sinf((float)i);
    for (int type = WEIGHT_TYPE_Q8_0; type <= WEIGHT_TYPE_Q4_1; type++) {
        float once[32], twice[32];
        memcpy(once, values, sizeof once);
        round_values(once, 32, (enum weight_type)type);
        memcpy(twice, once, sizeof twice);
        round_values(twice, 32, (enum weight_type)type);
        assert_memory_equal(once, twice, sizeof once);
    }
}

/* ---- schemes ---- */

static void test_schemes(void **state)
{
    (void)state;
    struct test_log log;
    struct weight_scheme scheme;
    test_log_init(&log);
    assert_int_equal(weight_scheme_parse(NULL, &scheme, &log.log), MN_OK);
    assert_string_equal(scheme.name, "");
    assert_int_equal(scheme.types[WEIGHT_GROUP_HEAD], WEIGHT_TYPE_AS_STORED);
    assert_int_equal(weight_scheme_parse("q4_1", &scheme, &log.log), MN_OK);
    uint32_t n_q8 = 0;
    for (int i = 0; i < WEIGHT_GROUPS; i++)
        n_q8 += scheme.types[i] == WEIGHT_TYPE_Q8_0;
    assert_int_equal(n_q8, 5);
    assert_int_equal(scheme.types[WEIGHT_GROUP_BLOCKS + WEIGHT_PARTS * WEIGHT_CORE + WEIGHT_MLP_PROJ],
                     WEIGHT_TYPE_Q8_0);
    assert_int_equal(weight_scheme_parse("q4_1+all=q4_1", &scheme, &log.log), MN_OK);
    for (int i = 0; i < WEIGHT_GROUPS; i++)
        assert_int_equal(scheme.types[i], WEIGHT_TYPE_Q4_1);
    assert_int_equal(weight_scheme_parse("f16+core=q8_0+core.mlp.proj=bf16+head=f32", &scheme, &log.log), MN_OK);
    assert_string_equal(scheme.name, "f16+core=q8_0+core.mlp.proj=bf16+head=f32");
    for (int i = 0; i < WEIGHT_GROUPS; i++) {
        const char *const name = weight_group_name((enum weight_group)i);
        assert_int_equal(scheme.types[i], !strcmp(name, "core.mlp.proj") ? WEIGHT_TYPE_BF16
                                          : !strncmp(name, "core.", 5)   ? WEIGHT_TYPE_Q8_0
                                          : !strcmp(name, "head")        ? WEIGHT_TYPE_F32
                                                                         : WEIGHT_TYPE_F16);
    }
    char longer[WEIGHT_SCHEME_BYTES + 1] = "q4_1";
    while (strlen(longer) < WEIGHT_SCHEME_BYTES - 9)
        strcat(longer, "+head=f32");
    assert_int_equal(weight_scheme_parse(strcat(longer, "+head=f32"), &scheme, &log.log), MN_ERR_USAGE);
    static const char *const wrong[][2] = {{"", "weight_type :"},
                                           {"q4", "weight_type q4:"},
                                           {"q4_1+", "GROUP=TYPE"},
                                           {"+core=q4_1", "weight_type :"},
                                           {"q4_1+core", "GROUP=TYPE"},
                                           {"q4_1+=q8_0", "GROUP=TYPE"},
                                           {"q4_1+core=", "weight_type :"},
                                           {"q4_1+core=q5_0", "q5_0"},
                                           {"q4_1+cor=q8_0", "'cor'"},
                                           {"q4_1+core.=q8_0", "'core.'"},
                                           {"q4_1+core.mlp.proj.x=q8_0", "'core.mlp.proj.x'"},
                                           {"q4_1+core.mlp.p=q8_0", "'core.mlp.p'"},
                                           {"q8_0 ", "q8_0 :"},
                                           {"Q8_0", "Q8_0:"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(weight_scheme_parse(wrong[i][0], &scheme, &log.log), MN_ERR_USAGE);
        if (!strstr(log.last, wrong[i][1]))
            fail_msg("'%s': %s", wrong[i][0], log.last);
    }
}

/* ---- bytes ---- */

static void count(const char *synthetic, const char *type, uint32_t at, struct mn_weight_count *out,
                  struct mn_model_info *info)
{
    struct test_log log;
    struct mn_engine *engine;
    test_log_init(&log);
    assert_int_equal(mn_engine_create(&engine, &(struct mn_engine_params){.synthetic = synthetic,
                                                                          .weight_type = type,
                                                                          .plan_only = true,
                                                                          .log = &log.log}),
                     MN_OK);
    mn_engine_weight_count(engine, at, out);
    mn_engine_info(engine, info);
    assert_string_equal(info->weight_type, type);
    mn_engine_destroy(engine);
}

/* Per row: 64 values are two groups of 32 bytes and two scales of 2 in q8_0, of 16 and 4 in q4_1, each row's scales in
 * whole words of 16. */
static void test_bytes(void **state)
{
    (void)state;
    static const char shape[] = "d=64,heads=2,ff=96,vocab=512,layers=1-1-1";
    struct mn_weight_count q8, q4;
    struct mn_model_info info;
    const uint64_t rows = 3 * (192 + 64 + 192), row_q8 = 64 + 16, row_q4 = 32 + 16, down_q8 = 96 + 16,
                   down_q4 = 48 + 16;
    count(shape, "q8_0", WEIGHT_TYPE_Q8_0, &q8, &info);
    assert_int_equal(q8.n_matrices, 1 + 2 + 3 * 4);
    assert_int_equal(q8.n_kept, 0);
    assert_int_equal(q8.bytes, (512 + 64 + 64 + rows) * row_q8 + 3 * 64 * down_q8);
    assert_int_equal(info.core_bytes, (64 + 192 + 64 + 192) * row_q8 + 64 * down_q8);
    count(shape, "q4_1", WEIGHT_TYPE_Q8_0, &q8, &info);
    count(shape, "q4_1", WEIGHT_TYPE_Q4_1, &q4, &info);
    assert_int_equal(q8.n_matrices, 1 + 2 + 1);
    assert_int_equal(q8.bytes, (512 + 64 + 64) * row_q8 + 64 * down_q8);
    assert_int_equal(q4.n_matrices, 3 * 4 - 1);
    assert_int_equal(q4.bytes, rows * row_q4 + 2 * 64 * down_q4);
    assert_int_equal(info.core_bytes, 64 * row_q8 + (192 + 64 + 192) * row_q4 + 64 * down_q8);
    /* Rows of 80 are not whole groups: they stay what they are. */
    static const char odd[] = "d=64,heads=2,ff=80,vocab=512,layers=1-1-1";
    struct mn_weight_count bf16;
    count(odd, "q4_1", WEIGHT_TYPE_BF16, &bf16, &info);
    assert_int_equal(bf16.n_matrices, 3);
    assert_int_equal(bf16.n_kept, 3);
    assert_int_equal(bf16.bytes, 3 * 64 * 160);
    /* Nor are heads that are padded on the device: 3 of 20 values. */
    static const char heads[] = "d=96,heads=8,ff=96,vocab=512,layers=0-1-0";
    count(heads, "q8_0", WEIGHT_TYPE_BF16, &bf16, &info);
    assert_int_equal(bf16.n_kept, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values),    cmocka_unit_test(test_golden),
                                       cmocka_unit_test(test_same_bits), cmocka_unit_test(test_rounding),
                                       cmocka_unit_test(test_schemes),   cmocka_unit_test(test_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
