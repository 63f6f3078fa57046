/* Goal: nothing on the token path allocates, maps, records or compiles, whatever the strategy: from the first new
 * token to the last.
 * Method: this executable is linked with --wrap for malloc, calloc, realloc and strdup, which counts the calls of the
 * engine's own objects (not those inside the driver and the C library); vk_hooks.h counts the Vulkan calls. Counting
 * begins in the callback of the first token. Only submits, waits and resets of fences may be seen; on a device whose
 * memory the host does not see, each read-back of states or logits records its one copy into a buffer that is there. */
#include <stdlib.h>
#include <string.h>

#include "tests/testing.h"
#include "tests/vk_hooks.h"

static struct {
    bool on;
    unsigned n;
} host;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *block, size_t n);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *block, size_t n);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t n)
{
    host.n += host.on;
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    host.n += host.on;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *block, size_t n)
{
    host.n += host.on;
    return __real_realloc(block, n);
}

char *__wrap_strdup(const char *text)
{
    host.n += host.on;
    return __real_strdup(text);
}

static const struct random_shape shape = {.n_embd = 60,
                                          .n_heads = 6,
                                          .intermediate_size = 92,
                                          .vocab_size = 173,
                                          .n_prelude = 1,
                                          .n_core = 2,
                                          .n_coda = 1,
                                          .block_size = 96,
                                          .tied = false,
                                          .qk_bias = true,
                                          .seed = 12};
static const uint32_t prompt[] = {0, 23, 29, 90, 100, 23, 27, 92, 26};
enum { R = 8, N_PROMPT = sizeof prompt / sizeof *prompt, N_NEW = 20 };

static struct {
    struct test_log log;
    char *dir;
    struct mn_engine *engine;
    struct session *full, *shared;
} f;

static int open_engine(void **state)
{
    (void)state;
    test_log_init(&f.log);
    random_model_write(&shape, &f.dir);
    f.engine = test_engine(&f.log, f.dir, NULL);
    hooks_install(f.engine->model->device);
    struct session_params params = {.num_steps = R, .max_rows = 8, .n_sequences = 2, .kv_type = KV_F16, .n_ctx = 64};
    f.full = test_session(f.engine, &params);
    params.policy.share = 1;
    f.shared = test_session(f.engine, &params);
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    session_destroy(f.full);
    session_destroy(f.shared);
    *f.engine->model->device->vk = hooks.real;
    test_engine_done(f.engine);
    random_model_remove(f.dir);
    return 0;
}

static void begin_counting(void)
{
    if (host.on)
        return;
    host.on = true;
    host.n = 0;
    hooks_disarm();
}

static int first_token(void *user, uint32_t token)
{
    (void)token;
    ++*(uint32_t *)user;
    begin_counting();
    return 0;
}

static void look(void *user, const struct mn_trace *trace)
{
    (void)user;
    (void)trace;
}

static void assert_nothing(const char *what, bool copies)
{
    host.on = false;
    const uint32_t copying = hooks.n[CALL_BeginCommandBuffer] + hooks.n[CALL_EndCommandBuffer];
    const uint32_t allowed = hooks.n[CALL_QueueSubmit] + hooks.n[CALL_WaitForFences] + hooks.n[CALL_ResetFences] +
                             (copies ? copying : 0);
    if (host.n || hooks_n_calls() != allowed || hooks.n[CALL_QueueSubmit] == 0)
        fail_msg("%s: %u host allocations; %u of %u Vulkan calls are not submits (%u), waits or resets", what, host.n,
                 hooks_n_calls() - allowed, hooks_n_calls(), hooks.n[CALL_QueueSubmit]);
}

static const float forced[] = {0.7f};
static const struct way {
    const char *what;
    bool shared;
    struct mn_generate_params params;
} ways[] = {
    {"ar", false, {.strategy = "ar"}},
    {"ar, warm start", false, {.strategy = "ar", .continuous = true}},
    {"ar, exit by states", false, {.strategy = "ar", .exit = {.rule = "latent-diff:0.2"}}},
    {"ar, exit by logits", false, {.strategy = "ar", .exit = {.rule = "kl:0.01"}}},
    {"draft-verify", false, {.strategy = "draft-verify", .speculation = {.draft_steps = 3, .lookahead = 5}}},
    {"draft-verify, exit in drafts",
     false,
     {.strategy = "draft-verify",
      .speculation = {.draft_steps = 4, .lookahead = 3},
      .exit = {.rule = "argmax-stability:2"}}},
    {"draft-verify, threshold",
     false,
     {.strategy = "draft-verify", .speculation = {.draft_steps = 2, .lookahead = 3, .verification_threshold = 0.5f}}},
    {"draft-verify, forced acceptance",
     false,
     {.strategy = "draft-verify",
      .speculation = {.draft_steps = 2, .lookahead = 3},
      .measuring = {.forced_acceptance = forced, .n_forced_acceptance = 1}}},
    {"wavefront", false, {.strategy = "wavefront", .speculation = {.draft_steps = 2}}},
    {"wavefront, lookup", false, {.strategy = "wavefront", .speculation = {.draft_steps = 2, .lookup = 8}}},
    {"auto", false, {.strategy = "auto"}},
    {"auto, lookup", false, {.strategy = "auto", .speculation = {.lookup = 8}}},
    {"ar, share:1", true, {.strategy = "ar"}},
    {"diffusion",
     true,
     {.strategy = "diffusion",
      .speculation = {.draft_steps = 2},
      .diffusion = {.headway = 2, .state_noise = 0.1f, .embed_average = 0.3f}}},
};

static struct mn_generate_params with_prompt(struct mn_generate_params params, bool sampled, uint32_t *n_tokens)
{
    params.prompt = prompt;
    params.n_prompt = N_PROMPT;
    params.n_new = N_NEW;
    params.ignore_eos = true;
    params.sampler.temperature = sampled ? 0.9f : 0.0f;
    params.sampler.top_p = 0.95f;
    params.init_scale = sampled ? 1.0f : 0.0f;
    params.on_token = first_token;
    params.on_trace = look;
    params.user = n_tokens;
    return params;
}

static void check_ways(bool sampled, bool copies)
{
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        uint32_t n_tokens = 0;
        struct mn_stats stats;
        const struct mn_generate_params params = with_prompt(ways[i].params, sampled, &n_tokens);
        enum mn_status status = generate(ways[i].shared ? f.shared : f.full, &params, &stats);
        assert_nothing(ways[i].what, copies);
        assert_int_equal(status, MN_OK);
        assert_int_equal(n_tokens, N_NEW);
    }
}

static void test_strategies(void **state)
{
    (void)state;
    const bool copies = !f.engine->model->device->caps.uma;
    check_ways(false, copies);
    check_ways(true, copies);
}

static void test_strategies_staged(void **state)
{
    (void)state;
    bool *uma = &f.engine->model->device->caps.uma;
    const bool was = *uma;
    *uma = false;
    check_ways(false, true);
    *uma = was;
}

/* Sequences that wait join later: their prompts run on the token path of those that are there. */
static void test_batch(void **state)
{
    (void)state;
    static const char *const strategies[] = {"ar", "draft-verify", "wavefront", "auto"};
    for (int s = 0; s < 4; s++) {
        struct mn_generate_params params[3];
        struct mn_stats stats[3], total;
        uint32_t n_tokens = 0;
        const struct mn_generate_params one = {.strategy = strategies[s],
                                               .speculation = {.draft_steps = 3, .lookahead = 3, .max_inflight = 4}};
        for (uint32_t i = 0; i < 3; i++) {
            params[i] = with_prompt(one, false, &n_tokens);
            params[i].n_new = N_NEW - 5 * i;
        }
        enum mn_status status = generate_batch(f.full, params, 3, stats, &total, NULL, NULL);
        assert_nothing(strategies[s], !f.engine->model->device->caps.uma);
        assert_int_equal(status, MN_OK);
        assert_int_equal(n_tokens, 3 * N_NEW - 15);
    }
}

static enum mn_status first_logits(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    (void)position;
    (void)logits;
    (void)n_vocab;
    ++*(uint32_t *)user;
    begin_counting();
    return MN_OK;
}

static void test_logits(void **state)
{
    (void)state;
    uint32_t ids[64], n = 0;
    float states[64 * 60];
    for (uint32_t i = 0; i < 64; i++)
        ids[i] = i * 7 % 173;
    for (uint32_t i = 0; i < 64 * 60; i++)
        states[i] = test_noise(5, i);
    struct session_prefill_params prefill = {
        .ids = ids, .n = 64, .num_steps = R, .state0 = states, .each_logits = first_logits, .user = &n};
    f.full->info.prefill_rows = 16; /* several chunks, so that passes follow the first position */
    assert_int_equal(session_prefill(f.full, &prefill, NULL), MN_OK);
    f.full->info.prefill_rows = SESSION_MAX_ROWS;
    assert_nothing("logits", !f.engine->model->device->caps.uma);
    assert_int_equal(n, 64);
}

/* The counters must be able to count. */
static void test_counters(void **state)
{
    (void)state;
    struct session *session;
    begin_counting();
    assert_int_equal(
        session_create(&session, f.engine->model,
                       &(struct session_params){.num_steps = 2, .max_rows = 1, .sampler = {.top_p = 1.0f}}),
        MN_OK);
    host.on = false;
    session_destroy(session);
    assert_true(host.n > 0);
    static const enum call calls[] = {CALL_AllocateMemory,         CALL_MapMemory,
                                      CALL_CreateBuffer,           CALL_BindBufferMemory,
                                      CALL_CreateDescriptorPool,   CALL_AllocateDescriptorSets,
                                      CALL_AllocateCommandBuffers, CALL_BeginCommandBuffer,
                                      CALL_EndCommandBuffer,       CALL_CreateFence};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        assert_true(hooks.n[calls[i]] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counters), cmocka_unit_test(test_strategies),
                                       cmocka_unit_test(test_strategies_staged), cmocka_unit_test(test_batch),
                                       cmocka_unit_test(test_logits)};
    return RUN_ON_EVERY_DEVICE(tests, open_engine, close_engine);
}
