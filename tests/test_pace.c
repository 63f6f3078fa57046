/* Goal: no submit is much longer than the session's limit, whatever the device's speed, for every pass: prelude, core,
 * coda, head, chunks of long prompts, a cache that grows; and cutting changes no bit and no token.
 * Method: a clock of this test's own, moved on by a simulated device: a wrapper of vkQueueSubmit looks up which pieces
 * a submit holds, reads from the state buffer what rows they work on, and says how long that takes at a speed that
 * only it knows - another one for every stamp. The real device computes what the clock does not see. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/pace.h"
#include "tests/testing.h"
#include "tests/vk_hooks.h"

enum { R = 4, N_CTX = 512, V = 2000, N_PROMPT = 300 };

static const struct random_shape shape = {.n_embd = 64,
                                          .n_heads = 4,
                                          .intermediate_size = 300,
                                          .vocab_size = V,
                                          .n_prelude = 1,
                                          .n_core = 1,
                                          .n_coda = 1,
                                          .block_size = N_CTX,
                                          .tied = true,
                                          .qk_bias = false,
                                          .seed = 21};
/* So small that every matrix of more than 256 rows is cut, and attention stands alone. */
#define SMALL_PIECES (256.0 * 64.0 * (16 + PACE_READ_ROWS))

static struct {
    struct session *session;
    double ns_per_work[SESSION_N_STAMPS], submit_overhead_ns;
    double now, longest_ns, longest_piece_ns; /* longest_ns: of submits with more than one piece */
    uint32_t n_submits, n_long;               /* n_long: beyond 200 ms */
} sim;

static double sim_now(void)
{
    return sim.now;
}

/* What a piece takes: from the rows in the state buffer, as the device would see them. */
static double piece_ns(const struct piece *piece, enum pass pass, uint32_t stamp)
{
    static const uint32_t tables[PASS_COUNT] = {TABLE_PRELUDE, TABLE_CORE, TABLE_CODA, TABLE_HEAD, TABLE_HEAD};
    const struct session *s = sim.session;
    const uint32_t *head = span_host(s->state), first = head[2 * tables[pass]], n = head[2 * tables[pass] + 1];
    const uint32_t n_max = session_tile(s, stamp)->n_max, padded = (n + n_max - 1) / n_max * n_max;
    double positions = 0.0;
    for (uint32_t i = first; i < first + n; i++)
        positions += head[STATE_HEAD_WORDS + 4 * i + 1] + 1.0; /* (token, position, sequence, depth) */
    return sim.ns_per_work[stamp] *
           (pace_matmul_work(piece->weights, padded) + piece->n_attention * pace_attention_work(s, positions));
}

static double handle_ns(VkCommandBuffer handle)
{
    const struct session *s = sim.session;
    for (int pass = 0; pass < PASS_COUNT; pass++)
        for (uint32_t stamp = 0; stamp < SESSION_N_STAMPS; stamp++)
            for (uint32_t i = 0; i < s->recordings[pass][stamp].n; i++) {
                const struct piece *piece = &s->pieces[s->recordings[pass][stamp].first + i];
                if (piece->recording.handle == handle)
                    return piece_ns(piece, (enum pass)pass, stamp);
            }
    return 0.0; /* a copy */
}

static void on_submit(const VkSubmitInfo *info)
{
    double ns = 0.0;
    for (uint32_t i = 0; i < info->commandBufferCount; i++) {
        const double piece = handle_ns(info->pCommandBuffers[i]);
        sim.longest_piece_ns = fmax(sim.longest_piece_ns, piece);
        ns += piece;
    }
    sim.now += ns + sim.submit_overhead_ns;
    sim.n_submits++;
    sim.n_long += ns > 200e6;
    if (info->commandBufferCount > 1)
        sim.longest_ns = fmax(sim.longest_ns, ns);
}

struct rig {
    struct test_log log;
    char *dir;
    struct mn_engine *engine;
};

static void rig_open(struct rig *rig)
{
    test_log_init(&rig->log);
    random_model_write(&shape, &rig->dir);
    rig->engine = test_engine(&rig->log, rig->dir, "f32");
    hooks_install(rig->engine->model->device);
}

static void rig_close(struct rig *rig)
{
    *rig->engine->model->device->vk = hooks.real;
    test_engine_done(rig->engine);
    random_model_remove(rig->dir);
}

static struct session *open_session(struct rig *rig, double piece_work)
{
    return test_session(
        rig->engine, &(struct session_params){
                         .num_steps = R, .max_rows = 16, .kv_type = KV_F16, .n_ctx = N_CTX, .piece_work = piece_work});
}

/* From here on the session's clock is the simulated one, and nothing is known of the device. */
static void simulate(struct session *session, double ns_per_work, double overhead_ns)
{
    memset(&sim, 0, sizeof sim);
    sim.session = session;
    sim.submit_overhead_ns = overhead_ns;
    for (uint32_t i = 0; i < SESSION_N_STAMPS; i++)
        sim.ns_per_work[i] = ns_per_work * (i % 2 ? 0.3 : 1.0);
    pace_init(session, session->piece_work);
    session->now_ns = sim_now;
    hooks.on_submit = on_submit;
}

static struct token_list run(struct session *session, const char *strategy, struct mn_stats *stats)
{
    static uint32_t prompt[N_PROMPT];
    struct token_list list = {0};
    for (uint32_t i = 0; i < N_PROMPT; i++)
        prompt[i] = (i * i * 31 + i * 7 + 3) % V;
    struct mn_generate_params params = {.prompt = prompt,
                                        .n_prompt = N_PROMPT,
                                        .n_new = 40,
                                        .strategy = strategy,
                                        .speculation = {.draft_steps = 2, .lookahead = 5},
                                        .ignore_eos = true,
                                        .on_token = token_list_add,
                                        .user = &list};
    assert_int_equal(generate(session, &params, stats), MN_OK);
    return list;
}

static const char *const strategies[] = {"ar", "draft-verify", "wavefront"};
enum { N_STRATEGIES = sizeof strategies / sizeof *strategies };

static void test_bound(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct session *whole = open_session(&rig, INFINITY), *cut = open_session(&rig, SMALL_PIECES);
    for (int s = 0; s < N_STRATEGIES; s++) {
        struct mn_stats stats;
        hooks.on_submit = NULL;
        whole->submit_ns = INFINITY;
        const struct token_list expected = run(whole, strategies[s], &stats);
        const uint64_t whole_submits = stats.submits;
        /* The largest piece, attention of a whole chunk at the end of the prompt, takes about 0.1 s; then a device 200
         * times as fast. */
        for (int fast = 0; fast < 2; fast++) {
            simulate(cut, fast ? 0.75 : 150.0, 30e3);
            const struct token_list got = run(cut, strategies[s], &stats);
            assert_int_equal(got.n, expected.n);
            assert_memory_equal(got.ids, expected.ids, got.n * sizeof *got.ids);
            print_message(
                "%s, %s: %u submits (%u of them of a run that is never cut), longest %.1f ms, longest piece %.1f ms\n",
                strategies[s], fast ? "fast" : "slow", sim.n_submits, (unsigned)whole_submits, sim.longest_ns / 1e6,
                sim.longest_piece_ns / 1e6);
            assert_int_equal(sim.n_long, 0);
            assert_true(sim.longest_ns > 0.0);
            if (fast) /* one submit a run, but for the first ones */
                assert_true(stats.submits < whole_submits + 10);
            else
                assert_true(sim.longest_piece_ns > 50e6 && stats.submits > whole_submits);
        }
    }
    hooks.on_submit = NULL;
    session_destroy(whole);
    session_destroy(cut);
    rig_close(&rig);
}

/* A device whose clock falls to a third is soon known to be slow. */
static void test_slowdown(void **state)
{
    (void)state;
    struct rig rig;
    struct mn_stats stats;
    rig_open(&rig);
    struct session *session = open_session(&rig, SMALL_PIECES);
    simulate(session, 8.0, 30e3);
    run(session, "ar", &stats);
    assert_int_equal(sim.n_long, 0);
    for (uint32_t i = 0; i < SESSION_N_STAMPS; i++)
        sim.ns_per_work[i] *= 3.0;
    run(session, "ar", &stats);
    print_message("%u of %u submits beyond 200 ms\n", sim.n_long, sim.n_submits);
    assert_true(sim.n_long <= 8);
    hooks.on_submit = NULL;
    session_destroy(session);
    rig_close(&rig);
}

/* Every pass is recorded in pieces of bounded work, a head with many ids in many. */
static void test_pieces(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct session *session = open_session(&rig, SMALL_PIECES);
    for (int pass = 0; pass < PASS_COUNT; pass++)
        for (uint32_t stamp = 0; stamp < SESSION_N_STAMPS; stamp++) {
            const struct pass_recording *recording = &session->recordings[pass][stamp];
            const uint32_t rows = session_stamp_rows(stamp);
            double weights = 0.0;
            if (recording->n == 0) {
                assert_true(stamp > session_stamp(session->info.max_rows, false) && stamp < SESSION_N_STAMPS - 1);
                continue;
            }
            assert_true(recording->n > (pass == PASS_CODA ? 2 : 1));
            for (uint32_t i = 0; i < recording->n; i++) {
                const struct piece *piece = &session->pieces[recording->first + i];
                weights += piece->weights;
                /* More than the limit only in a single dispatch: of 256 rows, or one that cannot be cut. */
                if (pace_matmul_work(piece->weights, rows) > SMALL_PIECES)
                    assert_true(piece->recording.n_dispatches <= 2 && piece->weights <= 304.0 * 256.0);
            }
            if (pass == PASS_HEAD_GREEDY) {
                assert_true(weights == 64.0 * V);
                assert_true(recording->n >= (V + 511) / 512);
            }
        }
    session_destroy(session);
    rig_close(&rig);
}

static enum mn_status keep_logits(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    memcpy((float *)user + (size_t)position * n_vocab, logits, n_vocab * sizeof *logits);
    return MN_OK;
}

/* Where even the attention of one chunk takes too long, chunks have fewer rows; with the same bits. */
static void test_chunks(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct session *session = open_session(&rig, 0.0);
    uint32_t ids[N_PROMPT];
    const size_t bytes = (size_t)N_PROMPT * V * sizeof(float);
    float *expected = malloc(bytes), *got = malloc(bytes);
    for (uint32_t i = 0; i < N_PROMPT; i++)
        ids[i] = (i * 37 + 5) % V;
    struct session_prefill_params prefill = {
        .ids = ids, .n = N_PROMPT, .num_steps = R, .each_logits = keep_logits, .user = expected};
    assert_int_equal(pace_chunk_rows(session, N_CTX - 1), SESSION_MAX_ROWS);
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    const uint64_t passes = session->counts.passes[PASS_PRELUDE];
    assert_int_equal(passes, (N_PROMPT + SESSION_MAX_ROWS - 1) / SESSION_MAX_ROWS);
    /* One row at position 255 takes 10 ms. A chunk never has fewer rows than share one read of the weights. */
    const uint32_t least = session->model->tuning.prefill.n_max;
    simulate(session, 10e6 / pace_attention_work(session, 256.0), 0.0);
    session->ns_per_work[SESSION_N_STAMPS - 1] = sim.ns_per_work[SESSION_N_STAMPS - 1] = sim.ns_per_work[0];
    session->measured[SESSION_N_STAMPS - 1] = true;
    assert_int_equal(pace_chunk_rows(session, 3), SESSION_MAX_ROWS);
    assert_int_equal(pace_chunk_rows(session, 127), 16);
    assert_int_equal(pace_chunk_rows(session, 255), least > 8 ? least : 8);
    assert_int_equal(pace_chunk_rows(session, N_CTX - 1), least > 4 ? least : 4);
    prefill.user = got;
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    assert_true(session->counts.passes[PASS_PRELUDE] > 3 * passes);
    assert_memory_equal(got, expected, bytes);
    hooks.on_submit = NULL;
    free(expected);
    free(got);
    session_destroy(session);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bound), cmocka_unit_test(test_slowdown),
                                       cmocka_unit_test(test_pieces), cmocka_unit_test(test_chunks)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
