/* Goal: weights are bound as config.json says, or refused with one line that says which file and tensor is wrong; what
 * is stored, and how it lies on the device, does not change results beyond its precision.
 * Method: random checkpoints are read into a list of tensors, edited, and written again. A table of malformed ones,
 * each with the status and the words expected. Values that bf16 (or f16) holds exactly must give the same bits however
 * they are stored and loaded. The Vulkan validation layer must stay silent where a model loads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/testing.h"

/* ---- checkpoints as lists of tensors ---- */

struct tensor {
    char name[96];
    enum tensor_dtype dtype;
    uint32_t rank;
    uint64_t shape[3], n_bytes;
    uint8_t *bytes;
};

struct checkpoint {
    char *dir;
    uint32_t n;
    struct tensor tensors[64];
};

static void checkpoint_make(struct checkpoint *c, const struct random_shape *shape)
{
    struct safetensors *file;
    memset(c, 0, sizeof *c);
    random_model_write(shape, &c->dir);
    assert_int_equal(safetensors_open(&file, c->dir, NULL, NULL), MN_OK);
    c->n = safetensors_n_tensors(file);
    assert_true(c->n <= sizeof c->tensors / sizeof *c->tensors);
    for (uint32_t i = 0; i < c->n; i++) {
        const struct tensor_view *view = safetensors_tensor(file, i);
        struct tensor *t = &c->tensors[i];
        snprintf(t->name, sizeof t->name, "%s", view->name);
        t->dtype = view->dtype;
        t->rank = view->rank;
        memcpy(t->shape, view->shape, sizeof t->shape);
        t->n_bytes = view->bytes;
        t->bytes = malloc(view->bytes);
        assert_non_null(t->bytes);
        assert_int_equal(safetensors_read(file, view, 0, view->bytes, t->bytes, NULL), MN_OK);
    }
    safetensors_close(file);
}

static void checkpoint_write(const struct checkpoint *c)
{
    char path[256], *header = NULL;
    size_t header_bytes = 0;
    uint64_t offset = 0;
    FILE *text = open_memstream(&header, &header_bytes);
    assert_non_null(text);
    for (uint32_t i = 0; i < c->n; i++) {
        const struct tensor *t = &c->tensors[i];
        fprintf(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "{", t->name, tensor_dtype_name(t->dtype));
        for (uint32_t k = 0; k < t->rank; k++)
            fprintf(text, "%s%llu", k ? "," : "", (unsigned long long)t->shape[k]);
        fprintf(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                (unsigned long long)(offset + t->n_bytes));
        offset += t->n_bytes;
    }
    fputc('}', text);
    fclose(text);
    snprintf(path, sizeof path, "%s/model.safetensors", c->dir);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    uint64_t n = header_bytes;
    assert_int_equal(fwrite(&n, sizeof n, 1, file), 1);
    assert_int_equal(fwrite(header, 1, header_bytes, file), header_bytes);
    for (uint32_t i = 0; i < c->n; i++)
        assert_int_equal(fwrite(c->tensors[i].bytes, 1, c->tensors[i].n_bytes, file), c->tensors[i].n_bytes);
    assert_int_equal(fclose(file), 0);
    free(header);
}

static void checkpoint_free(struct checkpoint *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        free(c->tensors[i].bytes);
    random_model_remove(c->dir);
}

static struct tensor *find(struct checkpoint *c, const char *name)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (!strcmp(c->tensors[i].name, name))
            return &c->tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void drop(struct checkpoint *c, const char *name)
{
    struct tensor *t = find(c, name);
    free(t->bytes);
    memmove(t, t + 1, (size_t)(c->tensors + c->n - (t + 1)) * sizeof *t);
    c->n--;
}

static void reshape(struct checkpoint *c, const char *name, uint32_t rank, uint64_t a, uint64_t b, uint64_t d)
{
    struct tensor *t = find(c, name);
    *t = (struct tensor){.dtype = t->dtype, .rank = rank, .shape = {a, b, d}, .n_bytes = t->n_bytes, .bytes = t->bytes};
    snprintf(t->name, sizeof t->name, "%s", name);
    uint64_t n = 1;
    for (uint32_t i = 0; i < rank; i++)
        n *= t->shape[i];
    assert_true(n * 4 <= t->n_bytes);
    t->n_bytes = n * 4;
}

/* Value number `at`, from the end when negative. */
static void poke(struct checkpoint *c, const char *name, int at, float value)
{
    struct tensor *t = find(c, name);
    assert_int_equal(t->dtype, TENSOR_F32);
    float *values = (float *)(void *)t->bytes;
    values[at < 0 ? (int)(t->n_bytes / 4) + at : at] = value;
}

static void config_replace(const struct checkpoint *c, const char *from, const char *to)
{
    char path[256], text[4096];
    snprintf(path, sizeof path, "%s/config.json", c->dir);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    char *at = strstr(text, from);
    assert_non_null(at);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_int_equal(fclose(file), 0);
}

/* ---- malformed checkpoints ---- */

static const struct random_shape shape = {.n_embd = 24,
                                          .n_heads = 2,
                                          .intermediate_size = 20,
                                          .vocab_size = 40,
                                          .n_prelude = 1,
                                          .n_core = 2,
                                          .n_coda = 1,
                                          .block_size = 32,
                                          .tied = true,
                                          .qk_bias = true,
                                          .seed = 21};

#define WTE "transformer.wte.weight"
#define QKV "transformer.core_block.1.attn.Wqkv.weight"
#define FC "transformer.prelude.0.mlp.fc.weight"
#define NORM "transformer.coda.0.norm_3.weight"
#define BIAS "transformer.core_block.0.attn.qk_bias"

static void no_matrix(struct checkpoint *c)
{
    drop(c, FC);
}
static void no_adapter(struct checkpoint *c)
{
    drop(c, "transformer.adapter.weight");
}
static void no_norm(struct checkpoint *c)
{
    drop(c, NORM);
}
static void no_ln_f(struct checkpoint *c)
{
    drop(c, "transformer.ln_f.weight");
}
static void no_bias(struct checkpoint *c)
{
    drop(c, BIAS);
}
static void no_embedding(struct checkpoint *c)
{
    drop(c, WTE);
}
static void transposed(struct checkpoint *c)
{
    reshape(c, QKV, 2, 24, 72, 0);
}
static void short_matrix(struct checkpoint *c)
{
    reshape(c, QKV, 2, 71, 24, 0);
}
static void narrow_matrix(struct checkpoint *c)
{
    reshape(c, FC, 2, 40, 23, 0);
}
static void flat_matrix(struct checkpoint *c)
{
    reshape(c, QKV, 1, 72 * 24, 0, 0);
}
static void deep_matrix(struct checkpoint *c)
{
    reshape(c, WTE, 3, 40, 24, 1);
}
static void scalar_norm(struct checkpoint *c)
{
    reshape(c, NORM, 0, 0, 0, 0);
}
static void short_norm(struct checkpoint *c)
{
    reshape(c, NORM, 1, 23, 0, 0);
}
static void short_bias(struct checkpoint *c)
{
    reshape(c, BIAS, 2, 1, 24, 0);
}
static void empty_norm(struct checkpoint *c)
{
    reshape(c, NORM, 1, 0, 0, 0);
}
static void integers(struct checkpoint *c)
{
    find(c, QKV)->dtype = TENSOR_I32;
}
static void integer_norm(struct checkpoint *c)
{
    find(c, NORM)->dtype = TENSOR_U32;
}
static void nan_matrix(struct checkpoint *c)
{
    poke(c, FC, 17, NAN);
}
static void nan_last(struct checkpoint *c)
{
    poke(c, "transformer.coda.0.mlp.proj.weight", -1, NAN);
}
static void inf_embedding(struct checkpoint *c)
{
    poke(c, WTE, 5, INFINITY);
}
static void inf_norm(struct checkpoint *c)
{
    poke(c, NORM, 3, -INFINITY);
}
static void nan_bias(struct checkpoint *c)
{
    poke(c, BIAS, 0, NAN);
}
static void large(struct checkpoint *c)
{
    poke(c, QKV, 100, 70000.0f);
}
static void few_words(struct checkpoint *c)
{
    config_replace(c, "\"vocab_size\":40", "\"vocab_size\":41");
}
static void many_blocks(struct checkpoint *c)
{
    config_replace(c, "recurrent_block\":2", "recurrent_block\":3");
}
static void untied(struct checkpoint *c)
{
    config_replace(c, "\"tie_embeddings\":true", "\"tie_embeddings\":false");
}
static void other_width(struct checkpoint *c)
{
    config_replace(c, "\"intermediate_size\":20", "\"intermediate_size\":21");
}

static const struct malformed {
    void (*edit)(struct checkpoint *c);
    const char *weight_type;
    enum mn_status status;
    const char *tensor, *words;
} malformed[] = {
    {no_matrix, NULL, MN_ERR_FORMAT, FC, "missing"},
    {no_adapter, NULL, MN_ERR_FORMAT, "transformer.adapter.weight", "missing"},
    {no_norm, NULL, MN_ERR_FORMAT, NORM, "missing"},
    {no_ln_f, NULL, MN_ERR_FORMAT, "transformer.ln_f.weight", "missing"},
    {no_bias, NULL, MN_ERR_FORMAT, BIAS, "missing"},
    {no_embedding, NULL, MN_ERR_FORMAT, WTE, "missing"},
    {many_blocks, NULL, MN_ERR_FORMAT, "transformer.core_block.2.attn.Wqkv.weight", "missing"},
    {untied, NULL, MN_ERR_FORMAT, "lm_head.weight", "missing"},
    {transposed, NULL, MN_ERR_FORMAT, QKV, "[24, 72]"},
    {short_matrix, NULL, MN_ERR_FORMAT, QKV, "[71, 24]"},
    {narrow_matrix, NULL, MN_ERR_FORMAT, FC, "[40, 23]"},
    {flat_matrix, NULL, MN_ERR_FORMAT, QKV, "rank 1"},
    {deep_matrix, NULL, MN_ERR_FORMAT, WTE, "rank 3"},
    {scalar_norm, NULL, MN_ERR_FORMAT, NORM, "has 1 values"},
    {short_norm, NULL, MN_ERR_FORMAT, NORM, "has 23 values"},
    {empty_norm, NULL, MN_ERR_FORMAT, NORM, "has 0 values"},
    {short_bias, NULL, MN_ERR_FORMAT, BIAS, "has 24 values"},
    {other_width, NULL, MN_ERR_FORMAT, FC, "asks for [42, 24]"},
    {few_words, NULL, MN_ERR_FORMAT, WTE, "asks for [41, 24]"},
    {integers, NULL, MN_ERR_UNSUPPORTED, QKV, "I32"},
    {integer_norm, NULL, MN_ERR_UNSUPPORTED, NORM, "U32"},
    {nan_matrix, NULL, MN_ERR_FORMAT, FC, "not finite"},
    {nan_matrix, "bf16", MN_ERR_FORMAT, FC, "not finite"},
    {nan_last, "f16", MN_ERR_FORMAT, "transformer.coda.0.mlp.proj.weight", "not finite"},
    {inf_embedding, NULL, MN_ERR_FORMAT, WTE, "not finite"},
    {inf_norm, NULL, MN_ERR_FORMAT, NORM, "not finite"},
    {nan_bias, NULL, MN_ERR_FORMAT, BIAS, "not finite"},
    {large, "f16", MN_ERR_UNSUPPORTED, QKV, "70000"},
};

static void check_refused(const struct checkpoint *c, const char *weight_type, enum mn_status status, const char *name,
                          const char *words)
{
    struct test_log log;
    struct mn_engine *engine;
    test_log_init(&log);
    struct mn_engine_params params = {.model_dir = c->dir, .weight_type = weight_type, .log = &log.log};
    enum mn_status got = mn_engine_create(&engine, &params);
    if (got != status || log.n_errors != 1 || !strstr(log.last, c->dir) || !strstr(log.last, name) ||
        !strstr(log.last, words))
        fail_msg("%s, %s: %s instead of %s, %u lines, the last: %.300s", name, words, mn_status_name(got),
                 mn_status_name(status), log.n_errors, log.last);
    assert_null(engine);
}

static void test_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        struct checkpoint c;
        checkpoint_make(&c, &shape);
        malformed[i].edit(&c);
        checkpoint_write(&c);
        check_refused(&c, malformed[i].weight_type, malformed[i].status, malformed[i].tensor, malformed[i].words);
        checkpoint_free(&c);
    }
}

/* A tokenizer of more words than the model has rows. */
static void test_tokenizer_too_large(void **state)
{
    (void)state;
    struct checkpoint c;
    char path[256];
    checkpoint_make(&c, &shape);
    snprintf(path, sizeof path, "%s/tokenizer.json", c.dir);
    assert_int_equal(symlink(RAVEN_TINY "/tokenizer.json", path), 0);
    check_refused(&c, NULL, MN_ERR_FORMAT, "tokenizer.json", "vocab_size 40");
    unlink(path);
    checkpoint_free(&c);
}

/* ---- what is accepted ---- */

enum { N_PROMPT = 11, N_ROWS = 2, N_STEPS = 3 };

static enum mn_status keep_logits(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    memcpy((float *)user + (size_t)position * n_vocab, logits, n_vocab * sizeof *logits);
    return MN_OK;
}

/* Logits [N_PROMPT + N_ROWS, V] of the checkpoint, malloc'ed: a prompt and rows decoded one by one. */
static float *logits_of(const char *dir, const char *weight_type, enum weight_type expected)
{
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, dir, weight_type);
    if (expected != WEIGHT_TYPE_AS_STORED)
        assert_int_equal(engine->model->weights.blocks[0].qkv.type, expected);
    const uint32_t n_vocab = engine->model->config.vocab_size;
    struct session *session = test_session(
        engine, &(struct session_params){.num_steps = N_STEPS, .max_rows = 1, .kv_type = KV_F32, .n_ctx = 32});
    float *logits = calloc((size_t)(N_PROMPT + N_ROWS) * n_vocab, sizeof *logits);
    uint32_t ids[N_PROMPT];
    for (uint32_t i = 0; i < N_PROMPT; i++)
        ids[i] = i * 13 % 39;
    struct session_prefill_params prefill = {
        .ids = ids, .n = N_PROMPT, .num_steps = N_STEPS, .each_logits = keep_logits, .user = logits};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    for (uint32_t i = 0; i < N_ROWS; i++) {
        struct row row = {.token = i * 17 % 39, .position = N_PROMPT + i};
        struct session_run_params run = {
            .rows = &row, .n_rows = 1, .n_new = 1, .n_core = N_STEPS, .coda = true, .n_head = 1};
        assert_int_equal(session_run(session, &run, NULL), MN_OK);
        assert_int_equal(session_read_logits(session, 0, logits + (size_t)(N_PROMPT + i) * n_vocab), MN_OK);
    }
    for (size_t i = 0; i < (size_t)(N_PROMPT + N_ROWS) * n_vocab; i++)
        assert_true(isfinite(logits[i]));
    struct token_list list = {0};
    struct mn_stats stats;
    struct mn_generate_params generation = {
        .prompt = ids, .n_prompt = N_PROMPT, .n_new = 5, .ignore_eos = true, .on_token = token_list_add, .user = &list};
    assert_int_equal(generate(session, &generation, &stats), MN_OK);
    assert_int_equal(list.n, 5);
    session_destroy(session);
    test_engine_done(engine);
    return logits;
}

static double nmse(const float *x, const float *y, size_t n)
{
    double error = 0.0, size = 0.0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        size += (double)y[i] * (double)y[i];
    }
    return error / size;
}

static void assert_bits(float *got, const float *expected, size_t n, const char *what)
{
    if (memcmp(got, expected, n * sizeof *got))
        fail_msg("%s: other bits", what);
    free(got);
}

static void test_types(void **state)
{
    (void)state;
    struct checkpoint c;
    checkpoint_make(&c, &shape);
    const size_t n = (size_t)(N_PROMPT + N_ROWS) * shape.vocab_size;
    float *f32 = logits_of(c.dir, "f32", WEIGHT_TYPE_F32), *f16 = logits_of(c.dir, "f16", WEIGHT_TYPE_F16),
          *bf16 = logits_of(c.dir, "bf16", WEIGHT_TYPE_BF16);
    assert_bits(logits_of(c.dir, NULL, WEIGHT_TYPE_F32), f32, n, "as stored");
    print_message("relative error: f16 %.3g, bf16 %.3g\n", nmse(f16, f32, n), nmse(bf16, f32, n));
    assert_true(nmse(f16, f32, n) > 0.0 && nmse(f16, f32, n) < 1e-5);
    assert_true(nmse(bf16, f32, n) > nmse(f16, f32, n) && nmse(bf16, f32, n) < 1e-3);
    /* Too large for f16 only. */
    large(&c);
    checkpoint_write(&c);
    free(logits_of(c.dir, "f32", WEIGHT_TYPE_F32));
    free(logits_of(c.dir, "bf16", WEIGHT_TYPE_BF16));
    free(f32);
    free(f16);
    free(bf16);
    checkpoint_free(&c);
}

/* Rounds every value to what `type` holds; with `store`, tensors of odd number (or all) are stored in it. */
static void round_to(struct checkpoint *c, enum weight_type type, bool store_all, bool store_some)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct tensor *t = &c->tensors[i];
        float *values = (float *)(void *)t->bytes;
        const uint64_t n = t->n_bytes / 4;
        uint16_t *halves = malloc(n * sizeof *halves);
        assert_non_null(halves);
        for (uint64_t k = 0; k < n; k++) {
            halves[k] = type == WEIGHT_TYPE_BF16 ? f32_to_bf16(values[k]) : f32_to_f16(values[k]);
            values[k] = type == WEIGHT_TYPE_BF16 ? bf16_to_f32(halves[k]) : f16_to_f32(halves[k]);
        }
        if (!store_all && !(store_some && i % 2)) {
            free(halves);
            continue;
        }
        free(t->bytes);
        t->bytes = (uint8_t *)halves;
        t->n_bytes = 2 * n;
        t->dtype = type == WEIGHT_TYPE_BF16 ? TENSOR_BF16 : TENSOR_F16;
    }
}

static void check_exact(enum weight_type type)
{
    const char *const name = weight_type_name(type);
    const size_t n = (size_t)(N_PROMPT + N_ROWS) * shape.vocab_size;
    float *expected = NULL;
    for (int stored = 0; stored < 3; stored++) {
        struct checkpoint c;
        checkpoint_make(&c, &shape);
        round_to(&c, type, stored == 1, stored == 2);
        checkpoint_write(&c);
        if (!expected)
            expected = logits_of(c.dir, NULL, WEIGHT_TYPE_F32);
        assert_bits(logits_of(c.dir, NULL, stored == 1 ? type : WEIGHT_TYPE_AS_STORED), expected, n, "as stored");
        assert_bits(logits_of(c.dir, name, type), expected, n, name);
        assert_bits(logits_of(c.dir, "f32", WEIGHT_TYPE_F32), expected, n, "f32");
        checkpoint_free(&c);
    }
    free(expected);
}

static void test_exact_bf16(void **state)
{
    (void)state;
    check_exact(WEIGHT_TYPE_BF16);
}

static void test_exact_f16(void **state)
{
    (void)state;
    check_exact(WEIGHT_TYPE_F16);
}

/* Checkpoints pad the vocabulary: rows past it count for nothing, whatever they hold. */
static void test_padded_vocabulary(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        struct random_shape with = shape;
        with.tied = tied;
        struct checkpoint c;
        checkpoint_make(&c, &with);
        float *all = logits_of(c.dir, NULL, WEIGHT_TYPE_F32);
        config_replace(&c, "\"vocab_size\":40", "\"vocab_size\":39");
        poke(&c, tied ? WTE : "lm_head.weight", -1, NAN);
        checkpoint_write(&c);
        float *first = logits_of(c.dir, NULL, WEIGHT_TYPE_F32);
        for (uint32_t i = 0; i < N_PROMPT + N_ROWS; i++)
            assert_memory_equal(first + (size_t)i * 39, all + (size_t)i * 40, 39 * sizeof *all);
        free(all);
        free(first);
        checkpoint_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),      cmocka_unit_test(test_malformed), cmocka_unit_test(test_tokenizer_too_large),
        cmocka_unit_test(test_exact_bf16), cmocka_unit_test(test_exact_f16), cmocka_unit_test(test_padded_vocabulary)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
