/* Goal: a checkpoint that says something else than its config.json is refused with both named; what is harmless loads,
 * and nothing is dropped without a word.
 * Method: a random model gets a second shard with tensors that config.json does not speak of, and an index; or its
 * config.json is changed. Each case says what loading it must answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/testing.h"

#define BASE "base.safetensors"
#define EXTRA "extra.safetensors"
#define INDEX "model.safetensors.index.json"
#define WTE "transformer.wte.weight"
#define HEAD "lm_head.weight"

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
                                          .seed = 5};

struct odd_model {
    char *dir;
    struct test_log log;
};

struct extra {
    const char *name, *dtype;
    uint32_t rows, columns; /* columns 0: a vector */
    size_t n_bytes;
    const void *data; /* NULL: zeros */
};

static FILE *create(const struct odd_model *m, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", m->dir, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    return file;
}

static void write_extras(const struct odd_model *m, const struct extra *extras, uint32_t n)
{
    char *header = NULL;
    size_t header_bytes = 0, offset = 0;
    FILE *text = open_memstream(&header, &header_bytes);
    for (uint32_t i = 0; i < n; offset += extras[i++].n_bytes) {
        fprintf(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%u", i ? "," : "{", extras[i].name, extras[i].dtype,
                (unsigned)extras[i].rows);
        if (extras[i].columns)
            fprintf(text, ",%u", (unsigned)extras[i].columns);
        fprintf(text, "],\"data_offsets\":[%zu,%zu]}", offset, offset + extras[i].n_bytes);
    }
    fputc('}', text);
    fclose(text);
    FILE *file = create(m, EXTRA);
    const uint64_t length = header_bytes;
    assert_int_equal(fwrite(&length, sizeof length, 1, file), 1);
    assert_int_equal(fwrite(header, 1, header_bytes, file), header_bytes);
    for (uint32_t i = 0; i < n; i++)
        for (size_t k = 0; k < extras[i].n_bytes; k++)
            fputc(extras[i].data ? ((const uint8_t *)extras[i].data)[k] : 0, file);
    assert_int_equal(fclose(file), 0);
    free(header);
}

/* The model's own file becomes one of two shards. */
static void add(const struct odd_model *m, const struct extra *extras, uint32_t n)
{
    char from[256], to[256];
    struct safetensors *st;
    snprintf(from, sizeof from, "%s/model.safetensors", m->dir);
    snprintf(to, sizeof to, "%s/" BASE, m->dir);
    assert_int_equal(rename(from, to), 0);
    write_extras(m, extras, n);
    assert_int_equal(safetensors_open_file(&st, to, NULL, NULL), MN_OK);
    FILE *file = create(m, INDEX);
    fputs("{\"weight_map\":{", file);
    for (uint32_t i = 0; i < safetensors_n_tensors(st); i++)
        fprintf(file, "\"%s\":\"" BASE "\",", safetensors_tensor(st, i)->name);
    for (uint32_t i = 0; i < n; i++)
        fprintf(file, "%s\"%s\":\"" EXTRA "\"", i ? "," : "", extras[i].name);
    fputs("}}", file);
    assert_int_equal(fclose(file), 0);
    safetensors_close(st);
}

static void make(struct odd_model *m, const struct random_shape *s)
{
    test_log_init(&m->log);
    random_model_write(s, &m->dir);
}

static void end(struct odd_model *m)
{
    static const char *const names[] = {BASE, EXTRA, INDEX};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", m->dir, names[i]);
        unlink(path);
    }
    random_model_remove(m->dir);
}

/* `word`: in the error, or in the one warning; NULL: nothing is to be said. */
static void expect(struct odd_model *m, enum mn_status status, const char *word, const char *other)
{
    struct mn_engine *engine;
    struct test_log *log = &m->log;
    const enum mn_status got = mn_engine_create(&engine,
                                                &(struct mn_engine_params){.model_dir = m->dir, .log = &log->log});
    mn_engine_destroy(engine);
    if (got == MN_ERR_NO_DEVICE) {
        fprintf(stderr, "skipped: %s\n", log->last);
        exit(77);
    }
    const char *line = status ? log->last : log->last_warning;
    const uint32_t n_errors = status != MN_OK, n_warnings = !status && word;
    if (got != status || log->n_errors != n_errors || log->n_warnings != n_warnings ||
        (word && (!strstr(line, word) || !strstr(line, other) || !strstr(line, m->dir))))
        fail_msg("'%s', '%s': %s, %u errors, the last: %s; %u warnings, the last: %s", word ? word : "",
                 other ? other : "", mn_status_name(got), log->n_errors, log->last, log->n_warnings, log->last_warning);
}

static void try_extras(const struct extra *extras, uint32_t n, enum mn_status status, const char *word,
                       const char *other)
{
    struct odd_model m;
    make(&m, &shape);
    add(&m, extras, n);
    expect(&m, status, word, other);
    end(&m);
}

/* ---- more than config.json describes ---- */

static void test_more_of_the_model(void **state)
{
    (void)state;
    static const char *const names[] = {
        "transformer.core_block.2.norm_1.weight",      /* another block */
        "transformer.coda.17.mlp.fc.weight",           /* far behind the last */
        "transformer.core_block.0.attn.q_norm.weight", /* another block's kind */
        "transformer.prelude.0.mlp.experts.3.weight",
        "transformer.coda.0.attn.Wqkv.bias",
        "transformer.ln_f.bias",
        "transformer.adapter.lora_A",
        "transformer.wte.weight_scale",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        try_extras(&(struct extra){names[i], "F32", 24, 0, 96, NULL}, 1, MN_ERR_FORMAT,
                   "1 tensors have no place in the model that config.json describes", names[i]);
    const struct extra two[] = {{"other", "F32", 1, 0, 4, NULL}, {"transformer.ln_f.bias", "F32", 24, 0, 96, NULL}};
    try_extras(two, 2, MN_ERR_FORMAT, "1 tensors have no place", "transformer.ln_f.bias");
}

static void test_outside_the_model(void **state)
{
    (void)state;
    const struct extra some[] = {{"value_head.weight", "F32", 2, 3, 24, NULL},
                                 {"optimizer.0.step", "I64", 1, 0, 8, NULL},
                                 {"packed", "F4", 2, 0, 1, NULL},
                                 {"future", "F5_E2M2", 2, 0, 3, NULL}};
    try_extras(some, 4, MN_OK, "4 tensors are not used, the first is 'value_head.weight'", "");
    const struct extra buffers[] = {{"freqs_cis", "C64", 4, 0, 32, NULL},
                                    {"transformer.freqs_cis", "C64", 4, 0, 32, NULL},
                                    {"transformer.coda.0.attn.rotary_emb.inv_freq", "F32", 4, 0, 16, NULL}};
    try_extras(buffers, 3, MN_OK, NULL, NULL);
}

static void try_config(const struct random_shape *s, const char *from, const char *to, const char *word,
                       const char *other)
{
    struct odd_model m;
    char path[256], text[2048];
    make(&m, s);
    snprintf(path, sizeof path, "%s/config.json", m.dir);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    const char *at = strstr(text, from);
    assert_non_null(at);
    file = create(&m, "config.json");
    fprintf(file, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_int_equal(fclose(file), 0);
    expect(&m, MN_ERR_FORMAT, word, other);
    end(&m);
}

static void test_configuration(void **state)
{
    (void)state;
    struct random_shape untied = shape;
    untied.tied = false;
    /* which family it is, the tensors say */
    try_config(&shape, "\"rope_base\":50000", "\"rope_base\":50000,\"rope_theta\":10000", "value 10000: rope_base says",
               "key 'rope_theta'");
    try_config(&shape, "\"qk_bias\":true", "\"qk_bias\":false", "4 tensors have no place", "attn.qk_bias'");
    try_config(&shape, "recurrent_block\":2", "recurrent_block\":1", "9 tensors have no place", "core_block.1.");
    try_config(&shape, "in_coda\":1", "in_coda\":2", "transformer.coda.1.attn.Wqkv.weight", "config.json asks for it");
    try_config(&shape, "\"tie_embeddings\":true", "\"tie_embeddings\":false", HEAD, "config.json asks for it");
    try_config(&untied, "\"tie_embeddings\":false", "\"tie_embeddings\":true", "differ, but config.json", HEAD);
    try_config(&shape, "\"vocab_size\":40", "\"vocab_size\":40,\"padded_vocab_size\":48", WTE, "asks for [48, 24]");
    try_config(&shape, "\"vocab_size\":40", "\"vocab_size\":39,\"padded_vocab_size\":41", WTE, "asks for [41, 24]");
}

/* ---- the head of tied embeddings, written all the same ---- */

static void try_head(const char *dtype, uint32_t rows, uint32_t columns, uint32_t value_bytes, int changed,
                     enum mn_status status, const char *word)
{
    struct odd_model m;
    struct safetensors *st;
    float values[40 * 24 + 24];
    make(&m, &shape);
    assert_int_equal(safetensors_open(&st, m.dir, NULL, NULL), MN_OK);
    assert_int_equal(safetensors_read(st, safetensors_find(st, WTE), 0, sizeof(float) * 40 * 24, values, NULL), MN_OK);
    safetensors_close(st);
    if (changed >= 0)
        values[changed] += 1.0f;
    add(&m, &(struct extra){HEAD, dtype, rows, columns, (size_t)rows * columns * value_bytes, values}, 1);
    expect(&m, status, word, status ? HEAD : NULL);
    end(&m);
}

static void test_tied_head(void **state)
{
    (void)state;
    try_head("F32", 40, 24, 4, -1, MN_OK, NULL);
    try_head("F32", 41, 24, 4, 40 * 24, MN_OK, NULL); /* padding is nobody's */
    try_head("F32", 40, 24, 4, 40 * 24 - 1, MN_ERR_FORMAT, "differ, but config.json says that they are tied");
    try_head("F32", 40, 24, 4, 0, MN_ERR_FORMAT, "differ, but config.json says that they are tied");
    try_head("F32", 39, 24, 4, -1, MN_ERR_FORMAT, "have different shapes");
    try_head("F32", 24, 40, 4, -1, MN_ERR_FORMAT, "have different shapes");
    try_head("F8_E4M3FNUZ", 40, 24, 1, -1, MN_ERR_UNSUPPORTED, "has type F8_E4M3FNUZ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_more_of_the_model),
        cmocka_unit_test(test_outside_the_model),
        cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_tied_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
