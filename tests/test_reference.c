/* Goal: D3. The device computes what plain loops in double compute, whatever the shape of the model.
 * Method: checkpoints made from seeds - odd heads, tiny and non-multiple sizes, no prelude, no coda, tied and untied
 * heads, several attention splits - and the golden ones of every family, against the reference model of ref.h: logits
 * of a prompt and of decoded tokens within 2e-4 and the same best id wherever the reference's margin exceeds that
 * bound; cache policies full and share:k, f32 and f16. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "reference/ref.h"
#include "tests/testing.h"

#define BOUND_F32 2e-4
#define BOUND_Q8 1e-1  /* the same, and the neighbours are further apart */
#define BOUND_F16 2e-2 /* both sides round the cache to f16, but not always to the same neighbour */

struct reference_case {
    const char *name;
    struct random_shape shape; /* n_embd 0: the folder of golden checkpoints that has the case's name */
    uint32_t share, n_prompt, n_decode, num_steps;
    enum kv_type kv_type;
};

static const struct reference_case cases[] = {
    {"head_dim 2",
     {.n_embd = 8,
      .n_heads = 4,
      .intermediate_size = 12,
      .vocab_size = 17,
      .n_prelude = 1,
      .n_core = 1,
      .n_coda = 1,
      .block_size = 64,
      .tied = true,
      .qk_bias = true,
      .seed = 1},
     0,
     9,
     5,
     4,
     KV_F32},
    {"head_dim 10",
     {.n_embd = 30,
      .n_heads = 3,
      .intermediate_size = 50,
      .vocab_size = 101,
      .n_prelude = 2,
      .n_core = 3,
      .n_coda = 1,
      .block_size = 64,
      .tied = false,
      .qk_bias = true,
      .seed = 2},
     0,
     17,
     5,
     6,
     KV_F32},
    {"head_dim 36, share:2",
     {.n_embd = 72,
      .n_heads = 2,
      .intermediate_size = 100,
      .vocab_size = 131,
      .n_prelude = 1,
      .n_core = 2,
      .n_coda = 2,
      .block_size = 128,
      .tied = true,
      .qk_bias = false,
      .seed = 3},
     2,
     70,
     5,
     5,
     KV_F32},
    {"head_dim 96",
     {.n_embd = 192,
      .n_heads = 2,
      .intermediate_size = 136,
      .vocab_size = 1001,
      .n_prelude = 1,
      .n_core = 1,
      .n_coda = 1,
      .block_size = 64,
      .tied = false,
      .qk_bias = true,
      .seed = 4},
     0,
     12,
     3,
     3,
     KV_F32},
    {"no prelude",
     {.n_embd = 24,
      .n_heads = 2,
      .intermediate_size = 40,
      .vocab_size = 64,
      .n_prelude = 0,
      .n_core = 2,
      .n_coda = 1,
      .block_size = 64,
      .tied = true,
      .qk_bias = true,
      .seed = 5},
     0,
     10,
     4,
     4,
     KV_F32},
    {"no coda",
     {.n_embd = 24,
      .n_heads = 2,
      .intermediate_size = 40,
      .vocab_size = 64,
      .n_prelude = 1,
      .n_core = 2,
      .n_coda = 0,
      .block_size = 64,
      .tied = true,
      .qk_bias = true,
      .seed = 6},
     0,
     10,
     4,
     4,
     KV_F32},
    {"head_dim 20, neither prelude nor coda",
     {.n_embd = 60,
      .n_heads = 3,
      .intermediate_size = 44,
      .vocab_size = 77,
      .n_prelude = 0,
      .n_core = 3,
      .n_coda = 0,
      .block_size = 64,
      .tied = false,
      .qk_bias = true,
      .seed = 10},
     0,
     13,
     4,
     5,
     KV_F32},
    {"head_dim 24, four codas, no bias",
     {.n_embd = 72,
      .n_heads = 3,
      .intermediate_size = 65,
      .vocab_size = 99,
      .n_prelude = 3,
      .n_core = 1,
      .n_coda = 4,
      .block_size = 64,
      .tied = false,
      .qk_bias = false,
      .seed = 11},
     0,
     13,
     4,
     4,
     KV_F32},
    {"one head of 34",
     {.n_embd = 34,
      .n_heads = 1,
      .intermediate_size = 7,
      .vocab_size = 5,
      .n_prelude = 1,
      .n_core = 1,
      .n_coda = 1,
      .block_size = 64,
      .tied = true,
      .qk_bias = true,
      .seed = 12},
     0,
     11,
     4,
     3,
     KV_F32},
    {"2,100 positions: three attention splits on a CPU device",
     {.n_embd = 16,
      .n_heads = 2,
      .intermediate_size = 24,
      .vocab_size = 50,
      .n_prelude = 1,
      .n_core = 1,
      .n_coda = 1,
      .block_size = 2112,
      .tied = true,
      .qk_bias = true,
      .seed = 13},
     0,
     2100,
     6,
     2,
     KV_F32},
    {"300 positions: three attention splits on a GPU",
     {.n_embd = 32,
      .n_heads = 2,
      .intermediate_size = 40,
      .vocab_size = 90,
      .n_prelude = 1,
      .n_core = 1,
      .n_coda = 1,
      .block_size = 320,
      .tied = true,
      .qk_bias = true,
      .seed = 7},
     0,
     300,
     6,
     2,
     KV_F32},
    {"long prompt, share:1",
     {.n_embd = 32,
      .n_heads = 4,
      .intermediate_size = 40,
      .vocab_size = 90,
      .n_prelude = 1,
      .n_core = 1,
      .n_coda = 1,
      .block_size = 192,
      .tied = true,
      .qk_bias = true,
      .seed = 8},
     1,
     150,
     6,
     3,
     KV_F32},
    {"f16 cache",
     {.n_embd = 60,
      .n_heads = 6,
      .intermediate_size = 92,
      .vocab_size = 173,
      .n_prelude = 1,
      .n_core = 2,
      .n_coda = 1,
      .block_size = 64,
      .tied = true,
      .qk_bias = true,
      .seed = 9},
     0,
     20,
     6,
     6,
     KV_F16},
    {"retrofit of Llama: one key per four heads of 10, neither prelude nor coda",
     {.family = "retrofit-llama",
      .n_embd = 36,
      .n_heads = 4,
      .n_kv_heads = 1,
      .head_dim = 10,
      .intermediate_size = 50,
      .vocab_size = 101,
      .n_core = 1,
      .block_size = 64,
      .seed = 14},
     0,
     17,
     5,
     6,
     KV_F32},
    {"retrofit of Llama: tied, heads of 24, long prompt, share:2",
     {.family = "retrofit-llama",
      .n_embd = 30,
      .n_heads = 6,
      .n_kv_heads = 3,
      .head_dim = 24,
      .intermediate_size = 33,
      .vocab_size = 64,
      .n_prelude = 1,
      .n_core = 2,
      .n_coda = 1,
      .block_size = 192,
      .tied = true,
      .seed = 15},
     2,
     150,
     5,
     5,
     KV_F32},
    {"retrofit of OLMo: grouped heads of 10, neither prelude nor coda",
     {.family = "retrofit-olmo",
      .n_embd = 44,
      .n_heads = 4,
      .n_kv_heads = 2,
      .head_dim = 10,
      .intermediate_size = 50,
      .vocab_size = 77,
      .n_core = 2,
      .block_size = 64,
      .seed = 16},
     0,
     17,
     5,
     6,
     KV_F32},
    {"retrofit of OLMo: one head of 34, three codas, share:2",
     {.family = "retrofit-olmo",
      .n_embd = 34,
      .n_heads = 1,
      .intermediate_size = 65,
      .vocab_size = 99,
      .n_prelude = 2,
      .n_core = 1,
      .n_coda = 3,
      .block_size = 192,
      .tied = true,
      .seed = 17},
     2,
     140,
     5,
     5,
     KV_F32},
    {"retrofit of OLMo: heads of 6, f16 cache",
     {.family = "retrofit-olmo",
      .n_embd = 60,
      .n_heads = 5,
      .head_dim = 6,
      .intermediate_size = 44,
      .vocab_size = 90,
      .n_prelude = 1,
      .n_core = 1,
      .n_coda = 1,
      .block_size = 64,
      .seed = 18},
     0,
     20,
     5,
     4,
     KV_F16},
    {"Ouro: one layer, grouped heads of 14, tied",
     {.family = "ouro",
      .n_embd = 36,
      .n_heads = 4,
      .n_kv_heads = 2,
      .head_dim = 14,
      .intermediate_size = 50,
      .vocab_size = 101,
      .n_core = 1,
      .block_size = 192,
      .tied = true,
      .seed = 19},
     0,
     150,
     5,
     4,
     KV_F32},
    {"Ouro: heads of 2, one step",
     {.family = "ouro",
      .n_embd = 10,
      .n_heads = 3,
      .head_dim = 2,
      .intermediate_size = 7,
      .vocab_size = 17,
      .n_core = 3,
      .block_size = 64,
      .seed = 20},
     0,
     9,
     5,
     1,
     KV_F32},
    {"Llama: one key per three heads of 96",
     {.family = "llama",
      .n_embd = 50,
      .n_heads = 3,
      .n_kv_heads = 1,
      .head_dim = 96,
      .intermediate_size = 136,
      .vocab_size = 131,
      .n_core = 2,
      .block_size = 192,
      .seed = 21},
     0,
     150,
     5,
     1,
     KV_F32},
    {"retrofit-llama", {0}, 0, 70, 6, 8, KV_F32},
    {"retrofit-llama", {0}, 3, 20, 6, 8, KV_F16},
    {"retrofit-tinyllama-bf16-sharded", {0}, 2, 20, 6, 6, KV_F32},
    {"retrofit-olmo", {0}, 0, 70, 6, 8, KV_F32},
    {"retrofit-olmo", {0}, 3, 20, 6, 8, KV_F16},
    {"ouro", {0}, 0, 70, 6, 4, KV_F32},
    {"ouro", {0}, 2, 20, 6, 4, KV_F32},
    {"ouro", {0}, 0, 20, 6, 3, KV_F16},
    {"llama-fixed-depth", {0}, 0, 70, 6, 1, KV_F32},
    {"llama-fixed-depth", {0}, 0, 20, 6, 1, KV_F16},
    {"retrofit-llama", {0}, 0, 70, 6, 8, KV_Q8},
    {"retrofit-olmo", {0}, 0, 20, 6, 8, KV_Q8},
    {"retrofit-olmo", {0}, 3, 20, 6, 8, KV_Q8},
    {"ouro", {0}, 0, 70, 6, 4, KV_Q8},
    {"llama-fixed-depth", {0}, 0, 70, 6, 1, KV_Q8},
    {"Llama: one key per three heads of 96, q8 cache",
     {.family = "llama",
      .n_embd = 50,
      .n_heads = 3,
      .n_kv_heads = 1,
      .head_dim = 96,
      .intermediate_size = 136,
      .vocab_size = 131,
      .n_core = 2,
      .block_size = 192,
      .seed = 21},
     0,
     150,
     5,
     1,
     KV_Q8},
    {"head_dim 20, biases, q8 cache",
     {.n_embd = 60,
      .n_heads = 3,
      .intermediate_size = 50,
      .vocab_size = 101,
      .n_prelude = 2,
      .n_core = 3,
      .n_coda = 1,
      .block_size = 64,
      .qk_bias = true,
      .seed = 22},
     0,
     17,
     5,
     6,
     KV_Q8},
};

static const double bounds[] = {[KV_F32] = BOUND_F32, [KV_F16] = BOUND_F16, [KV_Q8] = BOUND_Q8};

struct comparison {
    const double *reference; /* [position][V] */
    double largest, bound;
    uint32_t n_best, n_equal;
};

static enum mn_status compare(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    struct comparison *c = user;
    const double *reference = c->reference + (size_t)position * n_vocab;
    uint32_t best = 0, second = 1;
    for (uint32_t i = 0; i < n_vocab; i++) {
        double error = fabs((double)logits[i] - reference[i]);
        if (!(error <= c->largest))
            c->largest = error;
        if (i > 0 && reference[i] > reference[best]) {
            second = best;
            best = i;
        } else if (i > 1 && reference[i] > reference[second]) {
            second = i;
        }
    }
    if (reference[best] - reference[second] > 2 * c->bound) {
        c->n_best++;
        c->n_equal += sampler_argmax(logits, n_vocab) == best;
    }
    return MN_OK;
}

static void check_model(const struct reference_case *rc, const char *dir)
{
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, dir, NULL);
    struct ref_model *model;
    struct ref_session *ref;
    struct ref_session_params ref_params = {rc->n_prompt + rc->n_decode, rc->num_steps, {rc->share}, rc->kv_type};
    assert_int_equal(ref_model_load(&model, dir, "f32", &log.log), MN_OK);
    assert_int_equal(ref_session_create(&ref, model, &ref_params, &log.log), MN_OK);
    const uint32_t v = ref_model_config(model)->vocab_size;
    uint32_t *ids = calloc(rc->n_prompt, sizeof *ids);
    double *reference = calloc((size_t)rc->n_prompt * v, sizeof *reference);
    float *logits = calloc(v, sizeof *logits);
    for (uint32_t i = 0; i < rc->n_prompt; i++)
        ids[i] = (i * 31 + 7) % v;
    assert_int_equal(ref_forward(ref, ids, rc->n_prompt, 0, rc->num_steps, NULL, reference, &log.log), MN_OK);

    struct session_params params = {
        .num_steps = rc->num_steps, .max_rows = 1, .kv_type = rc->kv_type, .policy = {rc->share}};
    struct session *session = test_session(engine, &params);
    struct comparison c = {.reference = reference, .bound = bounds[rc->kv_type]};
    struct session_prefill_params prefill = {
        .ids = ids, .n = rc->n_prompt, .num_steps = rc->num_steps, .each_logits = compare, .user = &c};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    for (uint32_t i = 0; i < rc->n_decode; i++) {
        uint32_t token = (i * 13 + 3) % v, position = rc->n_prompt + i;
        assert_int_equal(ref_forward(ref, &token, 1, position, rc->num_steps, NULL, reference, &log.log), MN_OK);
        struct row row = {.token = token, .position = position};
        struct session_run_params run = {
            .rows = &row, .n_rows = 1, .n_new = 1, .n_core = rc->num_steps, .coda = true, .n_head = 1};
        assert_int_equal(session_run(session, &run, NULL), MN_OK);
        assert_int_equal(session_read_logits(session, 0, logits), MN_OK);
        compare(&c, 0, logits, v);
    }
    print_message("%s: largest error %.3g, best id equal %u of %u\n", rc->name, c.largest, c.n_equal, c.n_best);
    assert_true(c.largest <= c.bound);
    assert_true(c.n_best > 0);
    assert_int_equal(c.n_equal, c.n_best);
    session_destroy(session);
    ref_session_destroy(ref);
    ref_model_free(model);
    free(ids);
    free(reference);
    free(logits);
    test_engine_done(engine);
}

static void check_case(const struct reference_case *rc)
{
    char path[256], *dir;
    snprintf(path, sizeof path, VECTORS "%s", rc->name);
    if (rc->shape.n_embd == 0) {
        check_model(rc, path);
        return;
    }
    random_model_write(&rc->shape, &dir);
    check_model(rc, dir);
    random_model_remove(dir);
}

/* ---- what the type of the cache does to logits ---- */

enum { N_TYPED = 48, TYPED_STEPS = 8 };

struct typed {
    double *values; /* [N_TYPED][V] */
};

static enum mn_status keep(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    struct typed *t = user;
    for (uint32_t i = 0; i < n_vocab; i++)
        t->values[(size_t)position * n_vocab + i] = (double)logits[i];
    return MN_OK;
}

/* Root of the mean square of what a cache of this type changes, over that of the logits with an f32 cache. */
static double change(struct mn_engine *engine, enum kv_type type, uint32_t num_steps, const double *plain, size_t n,
                     double *values)
{
    const uint32_t v = engine->model->config.vocab_size;
    const struct session_params params = {.n_ctx = N_TYPED, .num_steps = num_steps, .max_rows = 1, .kv_type = type};
    struct session *session = test_session(engine, &params);
    uint32_t ids[N_TYPED];
    for (uint32_t i = 0; i < N_TYPED; i++)
        ids[i] = (i * 31 + 7) % v;
    struct typed kept = {values};
    const struct session_prefill_params prefill = {
        .ids = ids, .n = N_TYPED, .num_steps = num_steps, .each_logits = keep, .user = &kept};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    session_destroy(session);
    double error = 0.0, power = 0.0;
    for (size_t i = 0; i < n && plain; i++) {
        error += (values[i] - plain[i]) * (values[i] - plain[i]);
        power += plain[i] * plain[i];
    }
    return plain ? sqrt(error / power) : 0.0;
}

static void test_types_of_the_cache(void **state)
{
    (void)state;
    static const struct {
        const char *folder;
        uint32_t num_steps;
        double bound; /* twice what was measured */
    } models[] = {{RAVEN_TINY, TYPED_STEPS, 0.015},
                  {VECTORS "retrofit-llama", TYPED_STEPS, 0.006},
                  {VECTORS "retrofit-olmo", TYPED_STEPS, 0.15},
                  {VECTORS "ouro", 4, 0.03},
                  {VECTORS "llama-fixed-depth", 1, 0.006}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct test_log log;
        test_log_init(&log);
        struct mn_engine *engine = test_engine(&log, models[i].folder, NULL);
        const size_t n = (size_t)N_TYPED * engine->model->config.vocab_size;
        double *plain = calloc(2 * n, sizeof *plain);
        change(engine, KV_F32, models[i].num_steps, NULL, n, plain);
        const double f16 = change(engine, KV_F16, models[i].num_steps, plain, n, plain + n),
                     q8 = change(engine, KV_Q8, models[i].num_steps, plain, n, plain + n);
        print_message("%s: logits change by %.3g with an f16 cache, by %.3g with q8\n", models[i].folder, f16, q8);
        assert_true(f16 > 0.0 && f16 < models[i].bound / 8);
        assert_true(q8 > f16 && q8 < models[i].bound); /* if it were not larger, which cache was it? */
        free(plain);
        test_engine_done(engine);
    }
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_case(&cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_types_of_the_cache)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
