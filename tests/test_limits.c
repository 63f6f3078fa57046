/* Goal: small limits and missing features of a device get a fallback with the same results, or a refusal that says what
 * would fit.
 * Method: `caps` is overwritten after the device is made and before anything is built on it. Row windows and several
 * memory blocks: the same bits as without the limit. Shaders without subgroup operations and the GPU's tiling (on
 * whatever device this runs on): the golden logits within the bound of test_golden.c, and every strategy emits the
 * tokens of ar (D2). A cache that is too large: the context that the message names does fit. On every device found; the
 * Vulkan validation layer must stay silent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vulkan/vk.h"
#include "tests/testing.h"

#define LOGIT_BOUND 2e-4

/* One of these stands for the whole change of a device. */
struct limits {
    uint64_t max_storage_range, max_allocation_bytes; /* 0: as they are; the range holds while weights are loaded */
    bool no_shuffle, gpu;
};

static struct model *open_model_with(struct test_log *log, const char *dir, const struct limits *limits)
{
    struct model *model = calloc(1, sizeof *model);
    struct stream stream = {0};
    test_log_init(log);
    assert_non_null(model);

    assert_int_equal(config_load(&model->config, dir, &log->log), MN_OK);
    struct device_params params = {.select = test_device, .validate = MN_TEST_VALIDATE};
    assert_int_equal(device_create(&model->device, &params, &log->log), MN_OK);
    struct caps *caps = &model->device->caps;
    const uint64_t range = caps->max_storage_range;
    if (limits->max_allocation_bytes)
        caps->max_allocation_bytes = limits->max_allocation_bytes;
    if (limits->no_shuffle)
        caps->subgroup_shuffle = false;
    if (limits->gpu)
        caps->is_cpu = caps->uma = caps->texel_loads = false; /* a GPU's shaders as well */
    model->tuning = tuning_choose(caps);
    assert_int_equal(kernels_init(&model->kernels, model->device), MN_OK);
    assert_int_equal(stream_init(&stream, model->device, &model->kernels), MN_OK);
    model->head_pad = (model->config.head_dim + 7) / 8 * 8;
    model->stride = (model->config.n_embd + 7) / 8 * 8;
    model->ff_stride = (model->config.intermediate_size + 7) / 8 * 8;
    model->heads_stride = ((model->config.n_heads + 2 * model->config.n_kv_heads) * model->config.head_dim + 7) / 8 * 8;
    if (limits->max_storage_range)
        caps->max_storage_range = limits->max_storage_range;
    const struct weight_scheme scheme = weight_scheme_of(WEIGHT_TYPE_F32);
    assert_int_equal(weights_load(&model->weights, dir, &model->config, &scheme, model->device, &stream), MN_OK);
    caps->max_storage_range = range;
    stream_finish(&stream);
    return model;
}

static void close_model(struct model *model)
{
    if (model->device->n_messages)
        fail_msg("%u validation messages, the first: %.300s", model->device->n_messages, model->device->first_message);
    model_free(model);
}

static struct session *open_session(struct model *model, const struct session_params *params)
{
    struct session *session;
    struct session_params with = *params;
    with.sampler.top_p = 1.0f;
    assert_int_equal(session_create(&session, model, &with), MN_OK);
    session->stream.timeout_ns = UINT64_MAX; /* it is no GPU */
    return session;
}

/* ---- the same bits ---- */

enum { N_PROMPT = 20, N_ROWS = 6, N_PRINTS = N_PROMPT + 1 + N_ROWS };

struct prints {
    float *at;
    uint32_t n_vocab;
};

static enum mn_status keep_logits(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    struct prints *prints = user;
    memcpy(prints->at + (size_t)position * n_vocab, logits, n_vocab * sizeof *logits);
    return MN_OK;
}

/* Logits of a prompt, of one row and of several rows behind it: all tiles and stamps. [N_PRINTS, V], malloc'ed. */
static float *take_prints(struct model *model, uint32_t n_ctx)
{
    const uint32_t n_vocab = model->config.vocab_size;
    struct session_params params = {.n_ctx = n_ctx, .num_steps = 4, .max_rows = 8, .kv_type = KV_F32};
    struct session *session = open_session(model, &params);
    float *logits = calloc((size_t)N_PRINTS * n_vocab, sizeof *logits);
    struct prints prints = {logits, n_vocab};
    uint32_t ids[N_PROMPT];
    for (uint32_t i = 0; i < N_PROMPT; i++)
        ids[i] = (i * 37 + 5) % n_vocab;
    struct session_prefill_params prefill = {
        .ids = ids, .n = N_PROMPT, .num_steps = 4, .each_logits = keep_logits, .user = &prints};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    for (uint32_t at = 0, n = 1; at < 1 + N_ROWS; at += n, n = N_ROWS) {
        struct row rows[N_ROWS];
        for (uint32_t i = 0; i < n; i++)
            rows[i] = (struct row){.token = (at + i) * 11 % n_vocab, .position = N_PROMPT + at + i};
        struct session_run_params run = {.rows = rows, .n_rows = n, .n_new = n, .n_core = 4, .coda = true, .n_head = n};
        uint32_t tokens[N_ROWS];
        assert_int_equal(session_run(session, &run, tokens), MN_OK);
        for (uint32_t i = 0; i < n; i++) {
            float *row = logits + (size_t)(N_PROMPT + at + i) * n_vocab;
            assert_int_equal(session_read_logits(session, i, row), MN_OK);
            /* The argmax runs over the windows' candidates. */
            assert_int_equal(tokens[i], sampler_argmax(row, n_vocab));
        }
    }
    session_destroy(session);
    return logits;
}

static uint32_t count_windows(const struct matrix *m)
{
    return (m->n_out + m->window_rows - 1) / m->window_rows;
}

static uint32_t count_blocks(const struct arena *arena)
{
    uint32_t n = 0;
    for (const struct arena_block *block = arena->first; block; block = block->next)
        n++;
    return n;
}

/* Wide enough for 256 rows of its matrices to be less than any of them, and for weights of more than one small
 * allocation. */
static const struct random_shape wide = {.n_embd = 320,
                                         .n_heads = 5,
                                         .intermediate_size = 320,
                                         .vocab_size = 400,
                                         .n_prelude = 1,
                                         .n_core = 1,
                                         .n_coda = 1,
                                         .block_size = 64,
                                         .tied = false,
                                         .qk_bias = true,
                                         .seed = 8};
enum { WIDE_RANGE = 256 * 320 * 4 };

static void check_windows(const char *dir, bool gpu)
{
    struct test_log log;
    struct limits limits = {.gpu = gpu};
    struct model *model = open_model_with(&log, dir, &limits);
    const size_t bytes = (size_t)N_PRINTS * wide.vocab_size * sizeof(float);
    float *expected = take_prints(model, 64);
    assert_int_equal(count_windows(&model->weights.blocks[0].qkv), 1);
    close_model(model);
    limits.max_storage_range = WIDE_RANGE;
    model = open_model_with(&log, dir, &limits);
    const struct block_weights *block = &model->weights.blocks[1];
    const struct matrix *const all[] = {&block->qkv,
                                        &block->proj,
                                        &block->gate,
                                        &block->down,
                                        &model->weights.adapter_state,
                                        &model->weights.adapter_embed,
                                        &model->weights.head,
                                        &model->weights.embedding};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_int_equal(all[i]->window_rows, 256);
        assert_int_equal(count_windows(all[i]), (all[i]->n_out + 255) / 256);
    }
    float *got = take_prints(model, 64);
    if (memcmp(got, expected, bytes))
        fail_msg("%s tiles: matrices in windows give other bits", gpu ? "GPU" : "this device's");

    /* Every binding keeps to the limit: a session can be made under it. */
    struct session *session;
    model->device->caps.max_storage_range = WIDE_RANGE;
    assert_int_equal(
        session_create(&session, model,
                       &(struct session_params){.num_steps = 2, .max_rows = 1, .sampler = {.top_p = 1.0f}}),
        MN_OK);
    session_destroy(session);
    close_model(model);
    free(got);
    free(expected);
}

static void test_windows(void **state)
{
    (void)state;
    char *dir;
    random_model_write(&wide, &dir);
    check_windows(dir, false);
    check_windows(dir, true);
    random_model_remove(dir);
}

/* The staging buffer of 8 MiB is the largest single piece; weights and cache must be cut. */
static void test_several_blocks(void **state)
{
    (void)state;
    enum { N_CTX = 800 };
    struct test_log log;
    char *dir;
    random_model_write(&wide, &dir);
    struct model *model = open_model_with(&log, dir, &(struct limits){0});
    float *expected = take_prints(model, N_CTX);
    assert_int_equal(count_blocks(&model->weights.arena), 1);
    close_model(model);
    model = open_model_with(&log, dir, &(struct limits){.max_allocation_bytes = (8 << 20) + 4096});
    assert_true(count_blocks(&model->weights.arena) > 1);
    struct session_params params = {.n_ctx = N_CTX, .num_steps = 4, .max_rows = 1, .kv_type = KV_F32};
    struct session *session = open_session(model, &params);
    assert_true(count_blocks(&session->cache.arena) > 1);
    session_destroy(session);
    float *got = take_prints(model, N_CTX);
    assert_memory_equal(got, expected, (size_t)N_PRINTS * wide.vocab_size * sizeof *got);
    close_model(model);
    free(got);
    free(expected);
    random_model_remove(dir);
}

/* So many ids that the embedding (and head: they are tied) takes 5 MiB and a row of logits 80 kB. */
static const struct random_shape many_ids = {.n_embd = 64,
                                             .n_heads = 4,
                                             .intermediate_size = 96,
                                             .vocab_size = 20000,
                                             .n_prelude = 1,
                                             .n_core = 1,
                                             .n_coda = 1,
                                             .block_size = 96,
                                             .tied = true,
                                             .qk_bias = false,
                                             .seed = 9};

/* The smallest allocation that a stream can live with: a matrix beyond it lies in several. */
static void test_matrix_beyond_allocation(void **state)
{
    (void)state;
    struct test_log log;
    char *dir;
    random_model_write(&many_ids, &dir);
    struct model *model = open_model_with(&log, dir, &(struct limits){0});
    float *expected = take_prints(model, 64);
    assert_int_equal(model->weights.embedding.n_windows, 1);
    close_model(model);
    model = open_model_with(&log, dir, &(struct limits){.max_allocation_bytes = STREAM_STAGING_BYTES + ARENA_ALIGN});
    const struct matrix *matrix = &model->weights.embedding;
    assert_int_equal(matrix->n_windows, 2);
    assert_true(matrix->windows[0].block != matrix->windows[1].block);
    for (const struct arena_block *block = model->weights.arena.first; block; block = block->next)
        assert_true(block->bytes <= STREAM_STAGING_BYTES + ARENA_ALIGN);
    float *got = take_prints(model, 64);
    assert_memory_equal(got, expected, (size_t)N_PRINTS * many_ids.vocab_size * sizeof *got);
    close_model(model);
    free(got);
    free(expected);
    random_model_remove(dir);
}

/* A binding that holds the logits of 16 rows: prompts run in chunks of 16, sessions with more rows per pass are
 * refused. */
static void test_logits_beyond_binding(void **state)
{
    (void)state;
    struct test_log log;
    char *dir;
    struct session *session;
    random_model_write(&many_ids, &dir);
    const uint64_t range = 16 * 4 * many_ids.vocab_size;
    struct model *model = open_model_with(&log, dir, &(struct limits){.max_storage_range = range});
    float *expected = take_prints(model, 64);
    model->device->caps.max_storage_range = range;
    float *got = take_prints(model, 64);
    assert_memory_equal(got, expected, (size_t)N_PRINTS * many_ids.vocab_size * sizeof *got);
    struct session_params params = {.num_steps = 2, .max_rows = 17, .n_ctx = 64, .sampler = {.top_p = 1.0f}};
    assert_int_equal(session_create(&session, model, &params), MN_ERR_MEMORY);
    assert_int_equal(log.n_errors, 1);
    if (!strstr(log.last, "17 rows of 20000 ids") || !strstr(log.last, "at most 16 rows per pass") ||
        !strstr(log.last, "lookahead"))
        fail_msg("message without sizes or hint: %.400s", log.last);
    log.n_errors = 0;
    params.max_rows = 16;
    session = open_session(model, &params);
    assert_int_equal(session->info.prefill_rows, 16);
    session_destroy(session);
    close_model(model);
    free(got);
    free(expected);
    random_model_remove(dir);
}

/* Threads per workgroup follow the device too. */
static void test_tuning(void **state)
{
    (void)state;
    struct caps caps = {.subgroup_size = 32, .max_workgroup_threads = 1024, .max_shared_bytes = 49152};
    assert_int_equal(tuning_choose(&caps).row_threads, 256);
    assert_int_equal(tuning_choose(&caps).decode.threads, 128);
    caps.max_workgroup_threads = 128; /* what Vulkan promises */
    caps.max_shared_bytes = 16384;
    const struct tuning least = tuning_choose(&caps);
    assert_true(least.row_threads == 128 && least.decode.threads == 64 && least.prefill.threads <= 128 &&
                least.attention_threads <= 128);
}

/* ---- the same results within a bound ---- */

static uint32_t check_golden(struct model *model, const char *what)
{
    struct safetensors *file;
    uint32_t n_ids, n_checked = 0;
    assert_int_equal(safetensors_open_file(&file, VECTORS "square/golden.safetensors", NULL, NULL), MN_OK);
    uint32_t *ids = golden_ids(file, "ids", &n_ids);
    for (uint32_t i = 0; i < safetensors_n_tensors(file); i++) {
        const char *name = safetensors_tensor(file, i)->name;
        uint32_t steps;
        uint64_t n;
        if (sscanf(name, "logits.r%u", &steps) != 1)
            continue;
        float *golden = golden_floats(file, name, &n);
        struct session *session = open_session(
            model, &(struct session_params){.num_steps = steps, .max_rows = 1, .kv_type = KV_F32});
        struct golden_error c = {.golden = golden};
        struct session_prefill_params prefill = {
            .ids = ids, .n = n_ids, .num_steps = steps, .each_logits = golden_compare, .user = &c};
        assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
        print_message("%s, %s: largest error %.3g\n", what, name, c.largest);
        assert_true(c.largest <= LOGIT_BOUND && c.largest > 0.0);
        session_destroy(session);
        free(golden);
        n_checked++;
    }
    free(ids);
    safetensors_close(file);
    return n_checked;
}

static void check_d2(struct model *model, enum kv_type kv_type)
{
    static const uint32_t prompt[] = {3, 141, 59, 26, 53, 58, 97, 93, 23, 84};
    static const struct {
        const char *strategy;
        uint32_t k, l;
    } settings[] = {{"draft-verify", 1, 1}, {"draft-verify", 2, 7}, {"draft-verify", 5, 3}, {"wavefront", 3, 0}};
    struct session *session = open_session(
        model, &(struct session_params){.num_steps = 8, .max_rows = 8, .kv_type = kv_type, .n_ctx = 64});
    for (int sampled = 0; sampled < 2; sampled++) {
        struct token_list expected = {0};
        struct mn_stats stats;
        struct mn_generate_params params = {
            .prompt = prompt,
            .n_prompt = sizeof prompt / sizeof *prompt,
            .n_new = 16,
            .strategy = "ar",
            .sampler = {.temperature = sampled ? 0.8f : 0.0f, .top_k = sampled ? 30 : 0, .seed = 5},
            .init_scale = 1.0f,
            .ignore_eos = true,
            .on_token = token_list_add,
            .user = &expected};
        assert_int_equal(generate(session, &params, &stats), MN_OK);
        for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
            struct token_list got = {0};
            params.user = &got;
            params.strategy = settings[i].strategy;
            params.speculation.draft_steps = settings[i].k;
            params.speculation.lookahead = settings[i].l;
            assert_int_equal(generate(session, &params, &stats), MN_OK);
            assert_true(stats.lossless);
            assert_int_equal(got.n, expected.n);
            assert_memory_equal(got.ids, expected.ids, got.n * sizeof *got.ids);
        }
    }
    session_destroy(session);
}

static void check_variant(const struct limits *limits, const char *what)
{
    struct test_log log;
    struct model *model = open_model_with(&log, VECTORS "square", limits);
    assert_int_equal(check_golden(model, what), 4);
    check_d2(model, KV_F16);
    check_d2(model, KV_Q8);
    close_model(model);
}

static void test_no_shuffle(void **state)
{
    (void)state;
    check_variant(&(struct limits){.no_shuffle = true}, "no subgroup operations");
}

static void test_gpu_tiles(void **state)
{
    (void)state;
    check_variant(&(struct limits){.gpu = true}, "GPU tiles");
}

static void test_gpu_tiles_no_shuffle(void **state)
{
    (void)state;
    check_variant(&(struct limits){.gpu = true, .no_shuffle = true}, "GPU tiles, no subgroup operations");
}

/* ---- what does not fit ---- */

static const struct random_shape tiny = {.n_embd = 16,
                                         .n_heads = 2,
                                         .intermediate_size = 24,
                                         .vocab_size = 32,
                                         .n_prelude = 1,
                                         .n_core = 1,
                                         .n_coda = 1,
                                         .block_size = 32,
                                         .tied = true,
                                         .qk_bias = true,
                                         .seed = 3};

/* The message names the needed and the possible size and a context that fits; that one then does. */
static void check_too_large(struct mn_engine *engine, struct test_log *log, struct session_params params,
                            double needed_mib, double limit_mib)
{
    struct session *session;
    char needed[32], limit[32];
    log->n_errors = 0;
    assert_int_equal(session_create(&session, engine->model, &params), MN_ERR_MEMORY);
    assert_null(session);
    assert_int_equal(log->n_errors, 1);
    snprintf(needed, sizeof needed, " %.1f MiB", needed_mib);
    snprintf(limit, sizeof limit, " %.1f MiB", limit_mib);
    const char *hint = strstr(log->last, "n_ctx ");
    if (!hint || !strstr(log->last, needed) || !strstr(log->last, limit) || !strstr(log->last, "share:k"))
        fail_msg("message without the sizes%s and%s or a hint: %.400s", needed, limit, log->last);
    params.n_ctx = (uint32_t)strtoul(hint + strlen("n_ctx "), NULL, 10);
    assert_int_equal(session_create(&session, engine->model, &params), MN_OK);
    session_destroy(session);
    params.n_ctx++;
    assert_int_equal(session_create(&session, engine->model, &params), MN_ERR_MEMORY);
    log->n_errors = 0;
}

static void test_cache_too_large(void **state)
{
    (void)state;
    struct test_log log;
    char *dir;
    test_log_init(&log);
    random_model_write(&tiny, &dir);
    struct mn_engine *engine = test_engine(&log, dir, NULL);
    struct device *device = engine->model->device;
    struct caps *caps = &device->caps;
    struct session_params params = {
        .num_steps = 64, .max_rows = 1, .kv_type = KV_F16, .n_ctx = 1 << 20, .sampler = {.top_p = 1.0f}};
    /* 64 steps x key and value x 2 heads x 8 x f16 are 4 KiB a position. */
    caps->max_storage_range = 128ull << 20;
    check_too_large(engine, &log, params, 4096.0, 128.0);
    caps->max_storage_range = 16 << 20;
    params.n_ctx = 8192;
    check_too_large(engine, &log, params, 32.0, 16.0);
    params.n_sequences = 2;
    check_too_large(engine, &log, params, 64.0, 16.0);
    params.n_sequences = 1;
    caps->max_storage_range = 128ull << 20;
    caps->max_allocation_bytes = (16 << 20) + 256;
    check_too_large(engine, &log, params, 32.0, 16.0);
    caps->max_allocation_bytes = 1ull << 31;

    /* All bindings fit, the heap is too small: refused before the driver is asked. */
    VkPhysicalDeviceMemoryProperties memory = device->vk->memory;
    for (uint32_t i = 0; i < device->vk->memory.memoryHeapCount; i++)
        device->vk->memory.memoryHeaps[i].size = 20 << 20;
    struct session *session;
    assert_int_equal(session_create(&session, engine->model, &params), MN_ERR_MEMORY);
    assert_int_equal(log.n_errors, 1);
    if (!strstr(log.last, "cache: needs 33.") || !strstr(log.last, "20.0 MiB") || !strstr(log.last, "n_ctx"))
        fail_msg("message without sizes or hint: %.400s", log.last);
    log.n_errors = 0;
    device->vk->memory = memory;
    session = open_session(engine->model, &params);
    session_destroy(session);
    assert_int_equal(log.n_errors, 0);
    test_engine_done(engine);
    random_model_remove(dir);
}

/* The first smaller type that takes all positions is named, and does; where none does, the smallest, with as many as it
 * takes. */
static void test_smaller_types(void **state)
{
    (void)state;
    struct random_shape shape = tiny;
    struct test_log log;
    char *dir, text[64];
    shape.n_embd = 64; /* heads of 32 */
    test_log_init(&log);
    random_model_write(&shape, &dir);
    struct mn_engine *engine = test_engine(&log, dir, NULL);
    /* 64 steps x key and value x 2 heads: 32, 16 and 8.5 KiB a position. */
    static const struct {
        enum kv_type type, fits;
        uint32_t n_ctx, limit_mib, n_fits; /* n_fits 0: all */
    } cases[] = {{KV_F32, KV_F16, 1500, 24, 0},
                 {KV_F32, KV_Q8, 1500, 16, 0},
                 {KV_F16, KV_Q8, 1500, 16, 0},
                 {KV_F32, KV_Q8, 1500, 8, 963},
                 {KV_F16, KV_Q8, 1500, 8, 963}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct session *session;
        struct session_params params = {.num_steps = 64,
                                        .max_rows = 1,
                                        .kv_type = cases[i].type,
                                        .n_ctx = cases[i].n_ctx,
                                        .sampler = {.top_p = 1.0f}};
        engine->model->device->caps.max_storage_range = (uint64_t)cases[i].limit_mib << 20;
        assert_int_equal(session_create(&session, engine->model, &params), MN_ERR_MEMORY);
        snprintf(text, sizeof text, cases[i].n_fits ? ", or kv_type %s with n_ctx %u" : ", or kv_type %s",
                 kv_type_name(cases[i].fits), cases[i].n_fits);
        const char *hint = strstr(log.last, ", or kv_type");
        if (!hint || strcmp(hint, text) != 0)
            fail_msg("case %zu: '%s' does not end in '%s'", i, log.last, text);
        params.kv_type = cases[i].fits;
        params.n_ctx = cases[i].n_fits ? cases[i].n_fits : params.n_ctx;
        assert_int_equal(session_create(&session, engine->model, &params), MN_OK);
        session_destroy(session);
        params.n_ctx++;
        assert_int_equal(session_create(&session, engine->model, &params), cases[i].n_fits ? MN_ERR_MEMORY : MN_OK);
        session_destroy(session);
        log.n_errors = 0;
    }
    /* Nothing is smaller than q8, and nothing smaller is named. */
    struct session *session;
    const struct session_params params = {
        .num_steps = 64, .max_rows = 1, .kv_type = KV_Q8, .n_ctx = 4000, .sampler = {.top_p = 1.0f}};
    assert_int_equal(session_create(&session, engine->model, &params), MN_ERR_MEMORY);
    assert_null(strstr(log.last, "kv_type"));
    log.n_errors = 0;
    test_engine_done(engine);
    random_model_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_windows),
                                       cmocka_unit_test(test_several_blocks),
                                       cmocka_unit_test(test_matrix_beyond_allocation),
                                       cmocka_unit_test(test_logits_beyond_binding),
                                       cmocka_unit_test(test_tuning),
                                       cmocka_unit_test(test_no_shuffle),
                                       cmocka_unit_test(test_gpu_tiles),
                                       cmocka_unit_test(test_gpu_tiles_no_shuffle),
                                       cmocka_unit_test(test_cache_too_large),
                                       cmocka_unit_test(test_smaller_types)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
