/* Goal: a trace is enough to replay a run.
 * Method: every strategy, greedy and sampled, with its events kept. The committed tokens of the events are the tokens
 * of the run; each is what the rule says of the event's rows; and on a fresh cache, the passes that the rows' depths
 * describe give the predictions that the trace holds, round by round and tick by tick. */
#include <stdlib.h>
#include <string.h>

#include "tests/testing.h"

enum { R = 12, N_NEW = 40, MAX_EVENTS = 512, N_CTX = 64 };

static const uint32_t prompt[] = {0, 23, 29, 90, 100, 23, 27, 92, 26, 7, 61};
enum { N_PROMPT = sizeof prompt / sizeof *prompt };

struct event {
    char name[8];
    uint32_t n_rows, n_tokens, tokens[SESSION_MAX_ROWS];
    struct mn_trace_row rows[SESSION_MAX_ROWS];
};

struct recorded {
    struct token_list list;
    uint32_t n;
    struct event events[MAX_EVENTS];
};

static int keep_token(void *user, uint32_t token)
{
    return token_list_add(&((struct recorded *)user)->list, token);
}

static void keep_event(void *user, const struct mn_trace *trace)
{
    struct recorded *r = user;
    assert_true(r->n < MAX_EVENTS && trace->n_rows <= SESSION_MAX_ROWS && trace->end_ns >= trace->start_ns);
    assert_int_equal(trace->index, r->n);
    struct event *e = &r->events[r->n++];
    assert_true(strlen(trace->event) < sizeof e->name);
    strcpy(e->name, trace->event);
    e->n_rows = trace->n_rows;
    e->n_tokens = trace->n_committed;
    memcpy(e->rows, trace->rows, trace->n_rows * sizeof *e->rows);
    memcpy(e->tokens, trace->tokens, trace->n_committed * sizeof *e->tokens);
}

/* Where the event's branch begins: at its first row, which is never committed from there. Returns how many rows it has.
 */
static uint32_t branch_of(const struct event *e, const struct mn_trace_row **first)
{
    uint32_t n = 0;
    for (uint32_t i = e->n_rows; i-- > 0;)
        if (e->rows[i].branch) {
            *first = &e->rows[i];
            n++;
        }
    return n;
}

/* Does a row of the event go on as one of the sequence's own that was the branch's first row in the event before? */
static void take_branch(struct session *session, const struct event *before, const struct event *e, uint64_t *n_taken)
{
    const struct mn_trace_row *first = NULL;
    const uint32_t n = branch_of(before, &first);
    for (uint32_t i = 0; i < e->n_rows && n; i++)
        if (!e->rows[i].branch && e->rows[i].position == first->position && e->rows[i].token == first->token &&
            e->rows[i].depth_before > 0) {
            assert_int_equal(e->rows[i].depth_before, first->depth_after);
            assert_int_equal(session_take_branch(session, 0, first->position, n, first->depth_after), MN_OK);
            ++*n_taken;
        }
}

/* Rows [first, first + n) of the event go `steps` further from `depth`; what do they predict? */
static void go(struct session *session, const struct event *e, uint32_t first, uint32_t n, uint32_t steps,
               bool drafting, uint32_t *predicted)
{
    struct row rows[SESSION_MAX_ROWS];
    uint32_t n_new = 0;
    const struct mn_trace_row *branch = NULL;
    branch_of(e, &branch);
    for (uint32_t i = 0; i < n; i++) {
        const struct mn_trace_row *row = &e->rows[first + i];
        rows[i] = (struct row){
            .token = row->token, .position = row->position, .depth = drafting ? 0 : row->depth_before};
        if (row->branch)
            rows[i].shift = N_CTX - branch->position;
        n_new += rows[i].depth == 0;
    }
    struct session_run_params run = {
        .rows = rows, .n_rows = n, .n_new = n_new, .n_core = steps, .coda = true, .n_head = n};
    assert_int_equal(session_run(session, &run, predicted), MN_OK);
}

static void replay_passes(struct session *session, const struct recorded *r, uint64_t *n_taken)
{
    struct session_prefill_params prefill = {.ids = prompt, .n = N_PROMPT, .num_steps = R};
    uint32_t predicted[SESSION_MAX_ROWS];
    assert_int_equal(session_prefill(session, &prefill, predicted), MN_OK);
    assert_int_equal(predicted[0], r->list.ids[0]);
    for (uint32_t i = 0; i < r->n; i++) {
        const struct event *e = &r->events[i];
        const bool round = !strcmp(e->name, "round");
        if (i > 0)
            take_branch(session, e - 1, e, n_taken);
        for (uint32_t j = 0; j < e->n_rows && round;
             j++) { /* drafts are made one by one, the last row follows without one */
            go(session, e, j, 1, e->rows[j].depth_before, true, predicted);
            if (j + 1 < e->n_rows)
                assert_int_equal(predicted[0], e->rows[j + 1].token);
        }
        go(session, e, 0, e->n_rows, e->rows[0].depth_after - e->rows[0].depth_before, false, predicted);
        for (uint32_t j = 0; j < e->n_rows; j++)
            if (predicted[j] != e->rows[j].predicted)
                fail_msg("event %u (%s), row %u predicts %u, the trace has %u", i, e->name, j, predicted[j],
                         e->rows[j].predicted);
    }
}

static void replay_tokens(const struct recorded *r)
{
    uint32_t n = 1; /* the prompt's */
    for (uint32_t i = 0; i < r->n; i++) {
        const struct event *e = &r->events[i];
        for (uint32_t j = 0, own = 0; j < e->n_rows; j++)
            if (!e->rows[j].branch)
                assert_int_equal(e->rows[j].position, N_PROMPT + n - 1 + own++);
        assert_int_equal(e->rows[0].token, r->list.ids[n - 1]);
        for (uint32_t j = 0; j < e->n_tokens; j++, n++) {
            assert_int_equal(e->tokens[j], r->list.ids[n]);
            /* A row that was kept stands on the token that was committed, also under the lossy rules; the last one's is
             * its prediction. */
            const bool follows = strcmp(e->name, "window") && j + 1 < e->n_rows && e->rows[j + 1].kept;
            assert_int_equal(e->tokens[j], follows ? e->rows[j + 1].token : e->rows[j].predicted);
        }
    }
    assert_int_equal(n, r->list.n);
}

static void test_replay(void **state)
{
    (void)state;
    static const float half[] = {0.5f};
    static const struct mn_generate_params runs[] = {
        {.strategy = "ar"},
        {.strategy = "draft-verify", .speculation = {.draft_steps = 2, .lookahead = 5}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 1}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 5, .max_inflight = 3}},
        {.strategy = "draft-verify", .speculation = {.draft_steps = 2, .lookahead = 9, .lookup = 8}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 2, .max_inflight = 16, .lookup = 8}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 1, .max_inflight = 16, .branches = 2}},
        {.strategy = "wavefront", .speculation = {.draft_steps = 3, .max_inflight = 4, .branches = 2}},
        {.strategy = "auto"},
        {.strategy = "auto", .speculation = {.lookup = 8}},
        {.strategy = "draft-verify",
         .speculation = {.draft_steps = 2, .lookahead = 5, .verification_threshold = 0.01f}},
        {.strategy = "draft-verify",
         .speculation = {.draft_steps = 2, .lookahead = 5},
         .measuring = {.forced_acceptance = half, .n_forced_acceptance = 1}},
        {.strategy = "wavefront",
         .speculation = {.draft_steps = 2},
         .measuring = {.forced_acceptance = half, .n_forced_acceptance = 1}},
        {.strategy = "draft-verify",
         .speculation = {.draft_steps = 4, .lookahead = 5},
         .exit = {.rule = "latent-diff:0.3"}},
        {.strategy = "ar", .exit = {.rule = "latent-diff:0.3"}},
        {.strategy = "diffusion", .speculation = {.draft_steps = 2}, .diffusion = {.embed_average = 0.1f}},
    };
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct session_params params = {.num_steps = R, .max_rows = 16, .kv_type = KV_F16, .n_ctx = N_CTX, .n_branch = 5};
    struct session *full = test_session(engine, &params);
    params.policy.share = 1;
    struct session *shared = test_session(engine, &params);
    struct recorded *r = malloc(sizeof *r);
    assert_non_null(r);
    uint64_t looked_up = 0, n_taken = 0;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        for (int sampled = 0; sampled < 2; sampled++) {
            struct mn_generate_params g = runs[i];
            struct mn_stats stats;
            memset(r, 0, sizeof *r);
            g.prompt = prompt;
            g.n_prompt = N_PROMPT;
            g.n_new = N_NEW;
            g.sampler.temperature = sampled ? 1.1f : 0.0f;
            g.sampler.seed = i;
            g.ignore_eos = true;
            g.on_token = keep_token;
            g.on_trace = keep_event;
            g.user = r;
            const bool diffusion = !strcmp(g.strategy, "diffusion");
            assert_int_equal(generate(diffusion ? shared : full, &g, &stats), MN_OK);
            assert_int_equal(r->list.n, N_NEW);
            replay_tokens(r);
            /* With an early exit rows are level in steps of their own, and a window's states are mixed on the host: no
             * plain passes. */
            if (!diffusion && !g.exit.rule)
                replay_passes(full, r, &n_taken);
            looked_up += stats.looked_up;
        }
    assert_true(looked_up > 0 && n_taken > 10);
    free(r);
    session_destroy(full);
    session_destroy(shared);
    test_engine_done(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_replay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
