/* Goal: the scheduler as a program has it that sees muninn.h alone: arguments, room to grow, what a session refuses
 * while it has one, why sequences end, and that what was passed in may be gone once it is added.
 * Method: links libmuninn.a and nothing else of the project; tokens against mn_generate. tests/test_scheduler.c has the
 * rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h needs the four headers at the top. */
#include <cmocka.h>

#include "api/muninn.h"

#define MODEL MN_SOURCE_DIR "/models/raven-tiny"
#define N_OF(array) (sizeof(array) / sizeof *(array))

enum { N_PROMPT = 5, N_NEW = 12 };

static const uint32_t prompt[N_PROMPT] = {0, 23, 29, 90, 100};

static struct {
    struct mn_log log;
    uint32_t n_errors;
    char last[1024];
    struct mn_engine *engine;
    struct mn_session *session;
} f;

static void write_log(void *user, enum mn_log_level level, const char *line)
{
    (void)user;
    if (level != MN_LOG_ERROR)
        return;
    f.n_errors++;
    snprintf(f.last, sizeof f.last, "%s", line);
}

/* One error line with `word` in it, which is forgotten. */
static void refused(enum mn_status status, const char *word)
{
    if (status != MN_ERR_USAGE || f.n_errors != 1 || !strstr(f.last, word))
        fail_msg("%s, %u error lines, the last: %s; expected '%s'", mn_status_name(status), f.n_errors, f.last, word);
    f.n_errors = 0;
}

static int setup(void **state)
{
    (void)state;
    f.log.write = write_log;
    enum mn_status status = mn_engine_create(&f.engine, &(struct mn_engine_params){.model_dir = MODEL, .log = &f.log});
    if (status == MN_ERR_NO_DEVICE)
        exit(77);
    const struct mn_session_params session = {.n_ctx = 64, .num_steps = 4, .n_sequences = 2, .max_rows = 4};
    return status || mn_session_create(&f.session, f.engine, &session);
}

static int teardown(void **state)
{
    (void)state;
    mn_session_destroy(f.session);
    mn_engine_destroy(f.engine);
    return (int)f.n_errors;
}

struct tokens {
    uint32_t n, ids[N_NEW], stop_after;
    enum mn_end end;
    uint64_t id;
    uint32_t n_reused;
};

static int on_token(void *user, uint32_t token)
{
    struct tokens *t = user;
    t->ids[t->n++] = token;
    return t->n == t->stop_after;
}

static void on_end(void *user, uint64_t id, const struct mn_stats *stats)
{
    struct tokens *t = user;
    assert_int_equal(t->end, MN_END_NONE);
    t->end = stats->end;
    t->id = id;
    t->n_reused = stats->n_reused;
    for (size_t word = 0; word < N_OF(stats->reserved); word++)
        assert_int_equal(stats->reserved[word], 0);
}

static struct mn_generate_params params_of(struct tokens *tokens)
{
    return (struct mn_generate_params){.prompt = prompt,
                                       .n_prompt = N_PROMPT,
                                       .n_new = N_NEW,
                                       .ignore_eos = true,
                                       .on_token = on_token,
                                       .user = tokens};
}

static void test_arguments(void **state)
{
    (void)state;
    struct mn_scheduler_params p = {0};
    struct mn_scheduler *s = (struct mn_scheduler *)&f, *second;
    struct mn_scheduler_stats stats;
    struct mn_generate_params g = params_of(NULL);
    uint64_t id = 7;
    uint32_t n_alive = 7;
    refused(mn_scheduler_create(NULL, f.session, &p), "out is NULL");
    refused(mn_scheduler_create(&s, f.session, NULL), "params is NULL");
    assert_null(s);
    assert_int_equal(mn_scheduler_create(&s, NULL, &p), MN_ERR_USAGE);
    for (size_t word = 0; word < N_OF(p.reserved); word++) {
        p.reserved[word] = 1;
        refused(mn_scheduler_create(&s, f.session, &p), "mn_scheduler_params.reserved");
        p.reserved[word] = 0;
    }
    assert_int_equal(mn_scheduler_create(&s, f.session, &p), MN_OK);
    refused(mn_scheduler_create(&second, f.session, &p), "mn_scheduler_create: the session has a scheduler");
    refused(mn_scheduler_add(s, NULL, NULL, NULL, &id), "params is NULL");
    assert_int_equal(id, 0);
    g.reserved[0] = 1;
    refused(mn_scheduler_add(s, &g, NULL, NULL, NULL), "mn_generate_params.reserved");
    assert_int_equal(mn_scheduler_add(NULL, &g, NULL, NULL, NULL), MN_ERR_USAGE);
    assert_int_equal(mn_scheduler_cancel(NULL, 1), MN_ERR_USAGE);
    assert_int_equal(mn_scheduler_step(NULL, &n_alive), MN_ERR_USAGE);
    assert_int_equal(n_alive, 0);
    memset(&stats, 0xff, sizeof stats);
    mn_scheduler_stats(NULL, &stats);
    assert_int_equal(stats.n_added, 0);
    memset(&stats, 0xff, sizeof stats);
    mn_scheduler_stats(s, &stats);
    for (size_t word = 0; word < N_OF(stats.reserved); word++)
        assert_int_equal(stats.reserved[word], 0);
    mn_scheduler_stats(s, NULL);
    mn_scheduler_destroy(s);
    mn_scheduler_destroy(NULL);
}

static enum mn_status no_logits(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    (void)user, (void)position, (void)logits, (void)n_vocab;
    return MN_OK;
}

/* The cache is the scheduler's while it lives. */
static void test_exclusive(void **state)
{
    (void)state;
    static const uint32_t depth = 2;
    struct tokens tokens = {0};
    struct mn_generate_params g = params_of(&tokens);
    struct mn_stats stats, total;
    struct mn_agreement agreement;
    struct mn_depth_trace trace;
    struct mn_cost_table costs;
    const struct mn_score_item item = {prompt, 3, 1};
    const struct mn_score_params score = {.items = &item, .n_items = 1, .num_steps = &depth, .n_num_steps = 1};
    const struct mn_depth_trace_params t = {.prompt = prompt, .n_prompt = 3, .num_steps = 2};
    struct mn_scheduler *s;
    assert_int_equal(mn_scheduler_create(&s, f.session, &(struct mn_scheduler_params){0}), MN_OK);
    refused(mn_generate(f.session, &g, &stats), "mn_generate: the session has a scheduler");
    refused(mn_generate_batch(f.session, &g, 1, &stats, &total, NULL, NULL), "mn_generate_batch: ");
    refused(mn_compare_ar(f.session, &g, prompt, 2, &agreement), "mn_compare_ar: ");
    refused(mn_logits(f.session, prompt, 2, 2, NULL, no_logits, NULL), "mn_logits: ");
    refused(mn_score(f.session, &score), "mn_score: ");
    refused(mn_depth_trace_run(&trace, f.session, &t), "mn_depth_trace_run: ");
    refused(mn_session_costs(f.session, &costs), "mn_session_costs: ");
    mn_scheduler_destroy(s);
    assert_int_equal(mn_generate(f.session, &g, &stats), MN_OK);
    assert_int_equal(stats.end, MN_END_LENGTH);
}

static void run_all(struct mn_scheduler *s)
{
    uint32_t n_alive = 1;
    while (n_alive)
        assert_int_equal(mn_scheduler_step(s, &n_alive), MN_OK);
}

/* Every way to end, and mn_generate ends the same way. */
static void test_ends(void **state)
{
    (void)state;
    enum { N = 5 };
    struct tokens expected[N] = {{0}}, got[N] = {{0}};
    static const enum mn_end ends[N] = {MN_END_LENGTH, MN_END_TOKEN, MN_END_CALLER, MN_END_TOKEN, MN_END_LENGTH};
    struct mn_scheduler *s;
    struct mn_stats stats;
    struct mn_scheduler_stats all;
    expected[2].stop_after = got[2].stop_after = 3;
    assert_int_equal(mn_generate(f.session,
                                 &(struct mn_generate_params){.prompt = prompt,
                                                              .n_prompt = N_PROMPT,
                                                              .n_new = N_NEW,
                                                              .ignore_eos = true,
                                                              .on_token = on_token,
                                                              .user = &expected[0]},
                                 &stats),
                     MN_OK);
    const uint32_t at_once = expected[0].ids[0], later = expected[0].ids[N_NEW - 1];
    assert_int_equal(mn_scheduler_create(&s, f.session, &(struct mn_scheduler_params){0}), MN_OK);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t *copy = malloc(sizeof prompt), *stop = malloc(sizeof *stop);
        char *strategy = strdup(i % 2 ? "draft-verify" : "ar");
        struct mn_generate_params g = params_of(&got[i]);
        uint64_t id = 0;
        memcpy(copy, prompt, sizeof prompt);
        *stop = i == 1 ? at_once : later;
        g.prompt = copy;
        g.strategy = strategy;
        g.speculation.draft_steps = g.speculation.lookahead = 1;
        g.stop_ids = stop;
        g.n_stop_ids = i == 1 || i == 3;
        assert_int_equal(mn_scheduler_add(s, &g, on_end, &got[i], &id), MN_OK);
        assert_int_equal(id, i + 1);
        memset(copy, 0xff, sizeof prompt), memset(stop, 0xff, sizeof *stop), memset(strategy, 'x', strlen(strategy));
        free(copy), free(stop), free(strategy);
    }
    run_all(s);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t n = 0; /* what is wanted of the whole answer */
        while (n < N_NEW && !(i == 1 && n == 1) && !(i == 2 && n == 3) &&
               !(i == 3 && n && expected[0].ids[n - 1] == later))
            n++;
        assert_int_equal(got[i].n, n);
        assert_memory_equal(got[i].ids, expected[0].ids, n * sizeof *got[i].ids);
        assert_int_equal(got[i].end, ends[i]);
        assert_int_equal(got[i].id, i + 1);
    }
    mn_scheduler_stats(s, &all);
    assert_int_equal(all.n_added, N);
    assert_int_equal(all.n_ended, N);
    assert_int_equal(all.total.n_sequences, N);
    assert_int_equal(all.prompt_rows + all.reused_rows, N * N_PROMPT);
    assert_int_equal(all.reused_rows, 3 * (N_PROMPT - 1)); /* places that were left */
    mn_scheduler_destroy(s);
    struct mn_generate_params g = params_of(&expected[1]);
    g.stop_ids = &at_once;
    g.n_stop_ids = 1;
    assert_int_equal(mn_generate(f.session, &g, &stats), MN_OK);
    assert_int_equal(stats.n_new, 1);
    assert_int_equal(stats.end, MN_END_TOKEN);
    g.user = &expected[2];
    g.n_stop_ids = 0;
    assert_int_equal(mn_generate(f.session, &g, &stats), MN_OK);
    assert_int_equal(stats.n_new, 3);
    assert_int_equal(stats.end, MN_END_CALLER);
}

/* What is under way when the scheduler goes ends without a word. */
static void test_destroyed(void **state)
{
    (void)state;
    struct tokens tokens[4] = {{0}};
    struct mn_scheduler *s;
    assert_int_equal(mn_scheduler_create(&s, f.session, &(struct mn_scheduler_params){0}), MN_OK);
    for (uint32_t i = 0; i < 4; i++) {
        struct mn_generate_params g = params_of(&tokens[i]);
        assert_int_equal(mn_scheduler_add(s, &g, on_end, &tokens[i], NULL), MN_OK);
    }
    assert_int_equal(mn_scheduler_step(s, NULL), MN_OK);
    mn_scheduler_destroy(s);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(tokens[i].n, i < 2 ? 2 : 0);
        assert_int_equal(tokens[i].end, MN_END_NONE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_arguments), cmocka_unit_test(test_exclusive),
                                       cmocka_unit_test(test_ends), cmocka_unit_test(test_destroyed)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
