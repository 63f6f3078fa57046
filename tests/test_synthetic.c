/* Synthetic models: weights made on the device from a shape and a seed.
 *
 * Goal: the same seed gives the same model on every device, in every weight type and however its matrices are cut; and
 * such a model is under the contract of all others. Method: every value of every matrix against the C version; windows
 * forced by a small binding range; the tokens of ar, draft-verify and wavefront in three weight types; refusals with
 * their words. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/synthetic.h"
#include "tests/testing.h"

/* Heads of 10 are padded to 16, rows of 20 and of 12 to 24 and 16. */
static const char odd[] = "d=20,heads=2,ff=12,vocab=300,layers=1-2-1,steps=6,ctx=64";

/* An odd number of groups per row, and rows that are no groups. */
static const char groups[] = "d=352,heads=11,ff=80,vocab=70,layers=1-1-1,steps=3,ctx=64";

struct opened {
    struct test_log log;
    struct model model; /* device, kernels, configuration, weights */
    struct stream stream;
};

static enum mn_status open_weights(struct opened *o, const char *shape, enum weight_type type, uint64_t seed,
                                   uint64_t range, uint64_t heap)
{
    *o = (struct opened){0};
    test_log_init(&o->log);
    assert_int_equal(synthetic_config(&o->model.config, shape, &o->log.log), MN_OK);
    const struct device_params params = {.validate = MN_TEST_VALIDATE};
    if (device_create(&o->model.device, &params, &o->log.log) == MN_ERR_NO_DEVICE)
        exit(77);
    assert_non_null(o->model.device);
    struct caps *caps = &o->model.device->caps;
    caps->max_storage_range = range ? range : caps->max_storage_range;
    if (heap) { /* as on a GPU: a software device has no heap of its own */
        caps->device_heap_bytes = heap;
        caps->is_cpu = false;
    }
    assert_int_equal(kernels_init(&o->model.kernels, o->model.device), MN_OK);
    assert_int_equal(stream_init(&o->stream, o->model.device, &o->model.kernels), MN_OK);
    const struct weight_scheme scheme = weight_scheme_of(type);
    return weights_synthesize(&o->model.weights, &o->model.config, &scheme, seed, o->model.device, &o->stream);
}

static void close_weights(struct opened *o)
{
    if (o->model.device->n_messages)
        fail_msg("%u validation messages, the first: %.300s", o->model.device->n_messages,
                 o->model.device->first_message);
    stream_finish(&o->stream);
    weights_finish(&o->model.weights);
    kernels_finish(&o->model.kernels);
    device_destroy(o->model.device);
}

/* Value k of a row. */
static float value_at(const uint8_t *row, const struct matrix *m, uint32_t k)
{
    const struct weight_format *format = weight_format(m->type);
    float values[WEIGHT_GROUP_MAX];
    format->decode(row + k / format->group * format->group_bytes,
                   row + m->value_bytes + k / format->group * format->scale_bytes, values);
    return values[k % format->group];
}

/* Every value and all padding, bit by bit. */
static void check_matrix(struct opened *o, const struct matrix *m, const struct synthetic_matrix *what)
{
    const uint64_t bytes = m->row_bytes * m->n_out, columns = m->n_chunks * 8ull;
    uint8_t *got = malloc(bytes);
    double sum = 0.0, squares = 0.0, n = 0.0;
    for (uint32_t row = 0; row < m->n_out; row += m->window_rows) {
        const uint32_t rows = matrix_rows_at(m, row, m->window_rows);
        assert_int_equal(
            stream_download(&o->stream, matrix_span(m, row, rows), 0, got + row * m->row_bytes, rows * m->row_bytes),
            MN_OK);
    }
    for (uint32_t row = 0; row < m->n_out; row++)
        for (uint32_t k = 0; k < columns; k++) {
            const float wanted = synthetic_value(what, m->type, row, k), x = value_at(got + row * m->row_bytes, m, k);
            if (wanted != x)
                fail_msg("matrix %u, row %u, input %u: %g instead of %g", what->number, row, k, (double)x,
                         (double)wanted);
            sum += (double)x;
            squares += (double)x * (double)x;
            n += k % what->period < what->n_valid;
        }
    free(got);
    /* About 1/sqrt(inputs) in size (a power of two near it), and centred; q8_0's whole numbers are -128 to 127 steps of
     * two, one below the centre. */
    const double scale = sqrt(squares / n * what->n_in),
                 centre = m->type == WEIGHT_TYPE_Q8_0 ? -(double)synthetic_scale(what->n_in) : 0.0;
    assert_true(scale > 0.65 && scale < 1.55);
    assert_true(fabs(sum / n - centre) < 5.0 * sqrt(squares / n / n));
}

static void check_all(struct opened *o, uint64_t seed)
{
    const struct model_config *c = &o->model.config;
    const struct weights *w = &o->model.weights;
    const uint32_t d = c->n_embd, head_pad = (c->head_dim + 7) / 8 * 8;
    uint32_t number = 0;
    struct synthetic_matrix plain = {seed, number++, d, w->embedding.n_chunks * 8, d};
    check_matrix(o, &w->embedding, &plain);
    plain.n_in = 2 * d; /* the adapter's two halves are summed together */
    plain.number = number++;
    check_matrix(o, &w->adapter_state, &plain);
    plain.number = number++;
    check_matrix(o, &w->adapter_embed, &plain);
    plain.n_in = d;
    for (uint32_t i = 0; i < c->n_prelude + c->n_core + c->n_coda; i++) {
        const struct block_weights *b = &w->blocks[i];
        plain.number = number++;
        check_matrix(o, &b->qkv, &plain);
        check_matrix(o, &b->proj, &(struct synthetic_matrix){seed, number++, d, head_pad, c->head_dim});
        plain.number = number++;
        check_matrix(o, &b->gate, &plain);
        check_matrix(o, &b->down,
                     &(struct synthetic_matrix){seed, number++, c->intermediate_size, b->down.n_chunks * 8,
                                                c->intermediate_size});
    }
}

static void test_values(void **state)
{
    (void)state;
    static const enum weight_type types[] = {WEIGHT_TYPE_AS_STORED, WEIGHT_TYPE_F16, WEIGHT_TYPE_F32};
    struct opened o;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(open_weights(&o, odd, types[i], 0x123456789abcdef0u, 0, 0), MN_OK);
        assert_int_equal(o.model.weights.embedding.type, i ? types[i] : WEIGHT_TYPE_BF16);
        check_all(&o, 0x123456789abcdef0u);
        close_weights(&o);
    }
    for (int q4 = 0; q4 < 2; q4++) {
        const enum weight_type type = q4 ? WEIGHT_TYPE_Q4_1 : WEIGHT_TYPE_Q8_0;
        assert_int_equal(open_weights(&o, groups, type, 99, 0, 0), MN_OK);
        assert_int_equal(o.model.weights.blocks[1].gate.type, type);
        assert_int_equal(o.model.weights.blocks[1].down.type, WEIGHT_TYPE_BF16); /* rows of 80 values */
        assert_true(o.model.weights.blocks[1].down.kept);
        check_all(&o, 99);
        close_weights(&o);
    }
    /* 1024 rows of 128 bytes in windows of 256 */
    assert_int_equal(open_weights(&o, "d=64,heads=4,ff=64,vocab=1024,layers=0-1-0", WEIGHT_TYPE_BF16, 7, 256 * 128, 0),
                     MN_OK);
    assert_int_equal(o.model.weights.embedding.window_rows, 256);
    check_all(&o, 7);
    close_weights(&o);
}

static void test_scale(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 1 << 18; n = n * 3 + 1) {
        const float scale = synthetic_scale(n);
        uint32_t bits;
        memcpy(&bits, &scale, 4);
        assert_int_equal(bits & 0x7fffff, 0); /* a power of two */
        assert_true(scale >= 0x1p-14f);       /* f16 keeps every multiple */
        assert_true(f16_to_f32(f32_to_f16(255 * scale)) == 255 * scale &&
                    bf16_to_f32(f32_to_bf16(-253 * scale)) == -253 * scale);
    }
}

/* ---- a model of it ---- */

static void run(struct mn_session *session, const char *strategy, struct token_list *tokens)
{
    static const uint32_t prompt[] = {1, 2, 3, 40, 50};
    struct mn_stats stats;
    *tokens = (struct token_list){0};
    const struct mn_generate_params params = {.prompt = prompt,
                                              .n_prompt = 5,
                                              .n_new = 24,
                                              .strategy = strategy,
                                              .speculation = {.draft_steps = 2, .lookahead = 3, .max_inflight = 4},
                                              .ignore_eos = true,
                                              .on_token = token_list_add,
                                              .user = tokens};
    assert_int_equal(mn_generate(session, &params, &stats), MN_OK);
    assert_true(stats.lossless);
    assert_int_equal(tokens->n, 24);
}

static void tokens_of(const char *type, uint64_t seed, struct token_list *out)
{
    static const char *const strategies[] = {"ar", "draft-verify", "wavefront"};
    struct test_log log;
    struct mn_engine *engine;
    struct mn_session *session;
    struct mn_model_info info;
    struct token_list tokens;
    test_log_init(&log);
    assert_int_equal(mn_engine_create(&engine, &(struct mn_engine_params){.synthetic = odd,
                                                                          .synthetic_seed = seed,
                                                                          .weight_type = type,
                                                                          .validate = MN_TEST_VALIDATE,
                                                                          .log = &log.log}),
                     MN_OK);
    mn_engine_info(engine, &info);
    assert_string_equal(info.weight_type, type);
    assert_false(info.has_tokenizer);
    assert_int_equal(mn_session_create(&session, engine, &(struct mn_session_params){.max_rows = 4}), MN_OK);
    run(session, strategies[0], out);
    for (int i = 1; i < 3; i++) {
        run(session, strategies[i], &tokens);
        assert_memory_equal(tokens.ids, out->ids, sizeof *out->ids * 24);
    }
    mn_session_destroy(session);
    test_engine_done(engine);
}

static void test_lossless(void **state)
{
    (void)state;
    static struct token_list first, again, other;
    tokens_of("bf16", 5, &first);
    tokens_of("f32", 5, &again);
    assert_memory_equal(first.ids, again.ids, sizeof *first.ids * 24);
    tokens_of("f16", 5, &again);
    assert_memory_equal(first.ids, again.ids, sizeof *first.ids * 24);
    tokens_of("bf16", 6, &other);
    assert_memory_not_equal(first.ids, other.ids, sizeof *first.ids * 24);
}

/* ---- refusals ---- */

static void test_fit(void **state)
{
    (void)state;
    struct opened o;
    /* 65536 x 64 values: 8 MiB as bf16, 16 as f32, 5 as q8_0; the staging ring takes 8 */
    static const char shape[] = "d=64,heads=4,ff=64,vocab=65536,layers=0-1-0";
    assert_int_equal(open_weights(&o, shape, WEIGHT_TYPE_F32, 1, 0, 24 << 20), MN_ERR_MEMORY);
    assert_non_null(strstr(o.log.last, "weight_type bf16 would fit"));
    assert_int_equal(o.model.device->reserved_bytes, o.stream.staging_arena.bytes);
    close_weights(&o);
    assert_int_equal(open_weights(&o, shape, WEIGHT_TYPE_BF16, 1, 0, 15 << 20), MN_ERR_MEMORY);
    assert_non_null(strstr(o.log.last, "weight_type q8_0 would fit"));
    close_weights(&o);
    /* q4_1 keeps the vocabulary in q8_0: a shape of blocks, about 9 million values */
    static const char blocks[] = "d=1024,heads=8,ff=1024,vocab=64,layers=0-1-0";
    assert_int_equal(open_weights(&o, blocks, WEIGHT_TYPE_Q8_0, 1, 0, 16 << 20), MN_ERR_MEMORY);
    assert_non_null(strstr(o.log.last, "weight_type q4_1 would fit"));
    close_weights(&o);
    assert_int_equal(open_weights(&o, shape, WEIGHT_TYPE_BF16, 1, 0, 4 << 20), MN_ERR_MEMORY);
    assert_non_null(strstr(o.log.last, "no weight_type would fit"));
    close_weights(&o);
}

static void test_shapes(void **state)
{
    (void)state;
    struct model_config c;
    struct test_log log;
    test_log_init(&log);
    assert_int_equal(synthetic_config(&c, "huginn-3.5b", &log.log), MN_OK);
    assert_int_equal(c.n_embd, 5280);
    assert_int_equal(c.head_dim, 96);
    assert_int_equal(c.intermediate_size, 17920);
    assert_int_equal(c.vocab_size, 65536);
    assert_int_equal(c.n_prelude * 100 + c.n_core * 10 + c.n_coda, 242);
    assert_true(c.tie_embeddings && c.qk_bias);
    static const char *const good[] = {"raven-1b", "raven-100m", "raven-tiny", odd};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(synthetic_config(&c, good[i], &log.log), MN_OK);
    assert_int_equal(synthetic_config(&c, RAVEN_TINY "/config.json", &log.log), MN_OK);
    assert_int_equal(c.n_embd, 128);
    assert_int_equal(synthetic_config(&c, "/none/config.json", NULL), MN_ERR_FILE);
    static const char *const bad[] = {"",
                                      "huginn",
                                      "d=64",
                                      "d=64,heads=4,ff=64,vocab=16,layers=1-1",
                                      "d=64,heads=5,ff=64,vocab=16,layers=1-1-1",
                                      "d=0,heads=4,ff=64,vocab=16,layers=1-1-1",
                                      "d=64,heads=4,ff=64,vocab=16,layers=1-0-1",
                                      "d=-64,heads=4,ff=64,vocab=16,layers=1-1-1",
                                      "d=64,heads=4,ff=64,vocab=16,layers=1-1-1,x=1",
                                      "d=64x,heads=4,ff=64,vocab=16,layers=1-1-1",
                                      "d=64,,heads=4,ff=64,vocab=16,layers=1-1-1",
                                      "d=99999999,heads=4,ff=64,vocab=16,layers=1-1-1",
                                      "d",
                                      "=",
                                      "d=",
                                      "d=64,heads=4,ff=64,vocab=16,layers=1-1-1-1",
                                      "xconfig.json"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        test_log_init(&log);
        if (synthetic_config(&c, bad[i], &log.log) != MN_ERR_USAGE)
            fail_msg("'%s' was not refused", bad[i]);
        assert_int_equal(log.n_errors, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_scale),
                                       cmocka_unit_test(test_fit), cmocka_unit_test(test_values),
                                       cmocka_unit_test(test_lossless)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
