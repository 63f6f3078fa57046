#include "tests/testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void remember(void *user, enum mn_log_level level, const char *line)
{
    struct test_log *log = user;
    if (level == MN_LOG_WARN) {
        log->n_warnings++;
        snprintf(log->last_warning, sizeof log->last_warning, "%s", line);
    }
    if (level != MN_LOG_ERROR)
        return;
    log->n_errors++;
    snprintf(log->last, sizeof log->last, "%s", line);
}

void test_log_init(struct test_log *log)
{
    *log = (struct test_log){.log = {remember, log}};
}

void test_refused(struct test_log *log, enum mn_status status, const char *word, const char *what)
{
    if (status != MN_ERR_USAGE || log->n_errors != 1 || !strstr(log->last, word))
        fail_msg("%s: %s, %u error lines, the last without '%s': %.300s", what, mn_status_name(status), log->n_errors,
                 word, log->last);
    log->n_errors = 0;
}

const char *test_device;

static void visit_device(void *user, uint32_t index, const struct caps *caps, const char *refusal)
{
    struct test_devices *devices = user;
    if (refusal)
        print_message("device %u '%s' is not used: %s\n", index, caps->name, refusal);
    else if (devices->n < TEST_MAX_DEVICES)
        snprintf(devices->select[devices->n++], sizeof *devices->select, "%u", index);
}

void test_devices_find(struct test_devices *devices)
{
    struct test_log log;
    test_log_init(&log);
    *devices = (struct test_devices){0};
    enum mn_status status = device_list(visit_device, devices, &log.log);
    if (status == MN_ERR_NO_DEVICE || (!status && devices->n == 0)) {
        fprintf(stderr, "skipped: %s\n", status ? log.last : "no device that can be used");
        exit(77);
    }
    if (status) {
        fprintf(stderr, "%s\n", log.last);
        exit(1);
    }
}

int test_every_device(const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup, CMFixtureFunction teardown)
{
    struct test_devices devices;
    int n_failed = 0;
    test_devices_find(&devices);
    for (uint32_t i = 0; i < devices.n; i++) {
        char name[32];
        test_device = devices.select[i];
        snprintf(name, sizeof name, "device %s", test_device);
        n_failed += _cmocka_run_group_tests(name, tests, n, setup,
                                            teardown); /* what the macro calls, for an array of its own */
    }
    test_device = NULL;
    return n_failed;
}

struct mn_engine *test_engine(struct test_log *log, const char *dir, const char *weight_type)
{
    struct mn_engine *engine = NULL;
    struct mn_engine_params params = {.model_dir = dir,
                                      .device = test_device,
                                      .weight_type = weight_type,
                                      .validate = MN_TEST_VALIDATE,
                                      .log = &log->log};
    enum mn_status status = mn_engine_create(&engine, &params);
    if (status == MN_ERR_NO_DEVICE) {
        fprintf(stderr, "skipped: %s\n", log->last);
        exit(77);
    }
    if (status)
        fail_msg("%s: %s", dir, log->last);
    return engine;
}

void test_engine_done(struct mn_engine *engine)
{
    const struct device *device = engine->model->device;
    if (device->n_messages)
        fail_msg("%u validation messages, the first: %s", device->n_messages, device->first_message);
    mn_engine_destroy(engine);
}

struct session *test_session(struct mn_engine *engine, const struct session_params *params)
{
    struct session *session = NULL;
    struct session_params with = *params;
    if (with.sampler.top_p == 0.0f)
        with.sampler.top_p = 1.0f;
    enum mn_status status = session_create(&session, engine->model, &with);
    assert_int_equal(status, MN_OK);
    return session;
}

static void *golden_bytes(const struct safetensors *file, const char *name, const struct tensor_view **tensor)
{
    *tensor = safetensors_find(file, name);
    if (!*tensor)
        return NULL;
    void *bytes = malloc((*tensor)->bytes + 1);
    assert_non_null(bytes);
    assert_int_equal(safetensors_read(file, *tensor, 0, (*tensor)->bytes, bytes, NULL), MN_OK);
    return bytes;
}

float *golden_floats(const struct safetensors *file, const char *name, uint64_t *n)
{
    const struct tensor_view *tensor;
    float *values = golden_bytes(file, name, &tensor);
    if (values) {
        assert_int_equal(tensor->dtype, TENSOR_F32);
        *n = tensor->bytes / sizeof *values;
    }
    return values;
}

uint32_t *golden_ids(const struct safetensors *file, const char *name, uint32_t *n)
{
    const struct tensor_view *tensor;
    uint32_t *values = golden_bytes(file, name, &tensor);
    if (values) {
        assert_int_equal(tensor->dtype, TENSOR_I32);
        *n = (uint32_t)(tensor->bytes / sizeof *values);
    }
    return values;
}

enum mn_status golden_compare(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    struct golden_error *c = user;
    for (uint32_t i = 0; i < n_vocab; i++) {
        const double error = fabs((double)logits[i] - (double)c->golden[(size_t)position * n_vocab + i]);
        c->largest = isnan(error) ? INFINITY : fmax(error, c->largest); /* a NaN would not last */
    }
    return MN_OK;
}

float test_noise(uint64_t seed, uint64_t index)
{
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), 0, 77},
                   key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t bits[4];
    philox(counter, key, bits);
    return (float)(int32_t)bits[0] / 2147483648.0f;
}

/* ---- random checkpoints ---- */

struct writer {
    FILE *header, *data;
    uint64_t offset, seed;
    bool first;
};

/* `center` plus noise of size `scale`. */
static void write_tensor(struct writer *w, const char *name, uint32_t rows, uint32_t columns, float center, float scale)
{
    uint64_t n = (uint64_t)rows * (columns ? columns : 1);
    char shape[64];
    if (columns)
        snprintf(shape, sizeof shape, "[%u,%u]", rows, columns);
    else
        snprintf(shape, sizeof shape, "[%u]", rows);
    fprintf(w->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[%llu,%llu]}", w->first ? "" : ",",
            name, shape, (unsigned long long)w->offset, (unsigned long long)(w->offset + 4 * n));
    for (uint64_t i = 0; i < n; i++) {
        float value = center + scale * test_noise(w->seed, w->offset + i);
        assert_int_equal(fwrite(&value, sizeof value, 1, w->data), 1);
    }
    w->offset += 4 * n;
    w->first = false;
}

static void write_block(struct writer *w, const struct random_shape *s, const char *section, uint32_t index)
{
    const uint32_t d = s->n_embd, f = s->intermediate_size;
    /* Uniform noise of this size keeps the variance of a product at about that of its input. */
    const float in_d = 1.7f / sqrtf((float)d), in_f = 1.7f / sqrtf((float)f);
    struct {
        const char *name;
        uint32_t rows, columns;
        float center, scale;
    } const tensors[] = {{"attn.Wqkv.weight", 3 * d, d, 0, in_d}, {"attn.proj.weight", d, d, 0, in_d},
                         {"mlp.fc.weight", 2 * f, d, 0, in_d},    {"mlp.proj.weight", d, f, 0, in_f},
                         {"norm_1.weight", d, 0, 1, 0.2f},        {"norm_2.weight", d, 0, 1, 0.2f},
                         {"norm_3.weight", d, 0, 1, 0.2f},        {"norm_4.weight", d, 0, 1, 0.2f}};
    char name[128];
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        snprintf(name, sizeof name, "transformer.%s.%u.%s", section, index, tensors[i].name);
        write_tensor(w, name, tensors[i].rows, tensors[i].columns, tensors[i].center, tensors[i].scale);
    }
    if (s->qk_bias) {
        snprintf(name, sizeof name, "transformer.%s.%u.attn.qk_bias", section, index);
        write_tensor(w, name, 2, d, 0, 0.3f);
    }
}

static bool is_of(const struct random_shape *s, const char *family)
{
    return s->family && !strcmp(s->family, family);
}

static uint32_t head_dim_of(const struct random_shape *s)
{
    return s->head_dim ? s->head_dim : s->n_embd / s->n_heads;
}

static uint32_t kv_heads_of(const struct random_shape *s)
{
    return s->n_kv_heads ? s->n_kv_heads : s->n_heads;
}

/* A block of another family than Huginn. */
static void write_family_block(struct writer *w, const struct random_shape *s, const char *section, uint32_t index)
{
    const uint32_t d = s->n_embd, f = s->intermediate_size, q = s->n_heads * head_dim_of(s),
                   k = kv_heads_of(s) * head_dim_of(s);
    const bool ouro = is_of(s, "ouro"), apart = ouro || is_of(s, "llama"), olmo = is_of(s, "retrofit-olmo");
    const struct {
        bool there;
        const char *name;
        uint32_t rows, columns; /* columns 0: a norm */
    } tensors[] = {{!apart, "attn.Wqkv", q + 2 * k, d},
                   {!apart, "attn.proj", d, q},
                   {!apart, "mlp.fc", 2 * f, d},
                   {!apart, "mlp.proj", d, f},
                   {!apart, "norm_1", d, 0},
                   {!apart, "norm_2", d, 0},
                   {olmo, "attn.q_norm", q, 0},
                   {olmo, "attn.k_norm", k, 0},
                   {apart, "self_attn.q_proj", q, d},
                   {apart, "self_attn.k_proj", k, d},
                   {apart, "self_attn.v_proj", k, d},
                   {apart, "self_attn.o_proj", d, q},
                   {apart, "mlp.gate_proj", f, d},
                   {apart, "mlp.up_proj", f, d},
                   {apart, "mlp.down_proj", d, f},
                   {apart, "input_layernorm", d, 0},
                   {apart, "post_attention_layernorm", d, 0},
                   {ouro, "input_layernorm_2", d, 0},
                   {ouro, "post_attention_layernorm_2", d, 0}};
    char name[128];
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        const uint32_t n_in = tensors[i].columns;
        snprintf(name, sizeof name, "%s.%u.%s.weight", section, index, tensors[i].name);
        if (tensors[i].there)
            write_tensor(w, name, tensors[i].rows, n_in, n_in ? 0 : 1, n_in ? 1.7f / sqrtf((float)n_in) : 0.2f);
    }
}

/* Everything of a checkpoint of another family. */
static void write_family(struct writer *w, const struct random_shape *s)
{
    static const char *const sections[] = {"transformer.prelude", "transformer.core_block", "transformer.coda"};
    const uint32_t d = s->n_embd, counts[] = {s->n_prelude, s->n_core, s->n_coda};
    const bool ouro = is_of(s, "ouro"), apart = ouro || is_of(s, "llama");
    const float in_d = 1.7f / sqrtf((float)d);
    write_tensor(w, apart ? "model.embed_tokens.weight" : "transformer.wte.weight", s->vocab_size, d, 0, in_d);
    if (!s->tied)
        write_tensor(w, "lm_head.weight", s->vocab_size, d, 0, in_d);
    if (!apart)
        write_tensor(w, "transformer.adapter.weight", d, 2 * d, 0, 1.2f / sqrtf((float)d));
    write_tensor(w, apart ? "model.norm.weight" : "transformer.ln_f.weight", d, 0, 1, 0.2f);
    if (ouro) {
        write_tensor(w, "model.early_exit_gate.weight", 1, d, 0, in_d);
        write_tensor(w, "model.early_exit_gate.bias", 1, 0, 0, 0.5f);
    }
    for (int section = 0; section < 3; section++)
        for (uint32_t i = 0; i < counts[section]; i++)
            write_family_block(w, s, apart ? "model.layers" : sections[section], i);
}

static void write_huginn(struct writer *w, const struct random_shape *s)
{
    const uint32_t d = s->n_embd, counts[] = {s->n_prelude, s->n_core, s->n_coda};
    static const char *const sections[] = {"prelude", "core_block", "coda"};
    write_tensor(w, "transformer.wte.weight", s->vocab_size, d, 0, 1.7f / sqrtf((float)d));
    if (!s->tied)
        write_tensor(w, "lm_head.weight", s->vocab_size, d, 0, 1.7f / sqrtf((float)d));
    write_tensor(w, "transformer.adapter.weight", d, 2 * d, 0, 1.2f / sqrtf((float)d));
    write_tensor(w, "transformer.ln_f.weight", d, 0, 1, 0.2f);
    for (int section = 0; section < 3; section++)
        for (uint32_t i = 0; i < counts[section]; i++)
            write_block(w, s, sections[section], i);
}

static void write_weights(const struct random_shape *s, const char *path)
{
    char *header = NULL, *data = NULL;
    size_t header_bytes = 0, data_bytes = 0;
    struct writer w = {.header = open_memstream(&header, &header_bytes),
                       .data = open_memstream(&data, &data_bytes),
                       .seed = s->seed,
                       .first = true};
    fputc('{', w.header);
    if (s->family)
        write_family(&w, s);
    else
        write_huginn(&w, s);
    fputc('}', w.header);
    fclose(w.header);
    fclose(w.data);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    uint64_t n = header_bytes;
    assert_int_equal(fwrite(&n, sizeof n, 1, file), 1);
    assert_int_equal(fwrite(header, 1, header_bytes, file), header_bytes);
    assert_int_equal(fwrite(data, 1, data_bytes, file), data_bytes);
    assert_int_equal(fclose(file), 0);
    free(header);
    free(data);
}

static void write_huginn_config(const struct random_shape *s, FILE *file)
{
    fprintf(
        file,
        "{\"model_type\":\"huginn_raven\",\"n_embd\":%u,\"n_heads\":%u,\"intermediate_size\":%u,\"vocab_size\":%u,"
        "\"n_layers_in_prelude\":%u,\"n_layers_in_recurrent_block\":%u,\"n_layers_in_coda\":%u,\"mean_recurrence\":8,"
        "\"block_size\":%u,\"tie_embeddings\":%s,\"qk_bias\":%s,\"rope_base\":50000,\"norm_eps\":1e-6,\"eos_token_id\":"
        "1,\"bos_token_id\":0}",
        s->n_embd, s->n_heads, s->intermediate_size, s->vocab_size, s->n_prelude, s->n_core, s->n_coda, s->block_size,
        s->tied ? "true" : "false", s->qk_bias ? "true" : "false");
}

static void write_family_config(const struct random_shape *s, FILE *file)
{
    static const char scaling[] = "{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
                                  "\"high_freq_factor\":4,\"original_max_position_embeddings\":64}";
    const bool apart = is_of(s, "ouro") || is_of(s, "llama");
    fprintf(file,
            apart ? "{\"model_type\":\"%s\",\"hidden_size\":%u,\"num_attention_heads\":%u,\"vocab_size\":%u,"
                  : "{\"model_type\":\"%s\",\"n_embd\":%u,\"n_heads\":%u,\"vocab_size\":%u,",
            apart ? s->family : "huginn_raven", s->n_embd, s->n_heads, s->vocab_size);
    if (apart)
        fprintf(file,
                "\"num_hidden_layers\":%u,\"total_ut_steps\":4,\"max_position_embeddings\":%u,\"hidden_act\":\"silu\","
                "\"tie_word_embeddings\":%s,\"rms_norm_eps\":1e-6,",
                s->n_core, s->block_size, s->tied ? "true" : "false");
    else
        fprintf(file,
                "\"n_layers_in_prelude\":%u,\"n_layers_in_recurrent_block\":%u,\"n_layers_in_coda\":%u,"
                "\"mean_recurrence\":8,\"block_size\":%u,\"tie_embeddings\":%s,\"norm_eps\":1e-5,"
                "\"init_values\":{\"embed_scale\":1.5},",
                s->n_prelude, s->n_core, s->n_coda, s->block_size, s->tied ? "true" : "false");
    fprintf(file,
            "\"intermediate_size\":%u,\"num_key_value_heads\":%u,\"head_dim\":%u,\"rope_theta\":10000,"
            "\"rope_scaling\":%s,\"eos_token_id\":1,\"bos_token_id\":0}",
            s->intermediate_size, kv_heads_of(s), head_dim_of(s),
            is_of(s, "retrofit-llama") || is_of(s, "llama") ? scaling : "null");
}

void random_model_write(const struct random_shape *s, char **dir)
{
    char path[256];
    *dir = strdup("/tmp/muninn-test-XXXXXX");
    assert_non_null(mkdtemp(*dir));
    snprintf(path, sizeof path, "%s/config.json", *dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    if (s->family)
        write_family_config(s, file);
    else
        write_huginn_config(s, file);
    assert_int_equal(fclose(file), 0);
    snprintf(path, sizeof path, "%s/model.safetensors", *dir);
    write_weights(s, path);
}

void random_model_remove(char *dir)
{
    char path[256];
    snprintf(path, sizeof path, "%s/config.json", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    unlink(path);
    rmdir(dir);
    free(dir);
}

void test_model_open(struct test_model *m, const struct random_shape *shape)
{
    test_log_init(&m->log);
    random_model_write(shape, &m->dir);
    m->engine = test_engine(&m->log, m->dir, NULL);
}

void test_model_close(struct test_model *m)
{
    test_engine_done(m->engine);
    random_model_remove(m->dir);
}

int token_list_add(void *user, uint32_t token)
{
    struct token_list *list = user;
    assert_true(list->n < sizeof list->ids / sizeof *list->ids);
    list->ids[list->n++] = token;
    return list->stop_after && list->n == list->stop_after;
}
