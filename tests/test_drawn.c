/* Goal: the lossless contract for settings that nobody thought of. Whatever a lossless strategy is told, alone or in a
 * batch, it emits the tokens of ar (D2, and by the rows of others beside it D1), a second run has the same bits (D0),
 * and a refusal leaves the session as it was.
 *
 * Method: drawn anew at every run. Some worlds (a random model of a small shape, or one of another family, a weight
 * type, a session with its depth, rows, context, places and cache type), and in each of them some settings, one behind
 * the other in the same session: prompt, length, depth, sampler, initial states, end tokens, a caller who stops, a
 * strategy and its options. The number of settings is fixed, not the time. MUNINN_TEST_SEED repeats a run,
 * MUNINN_TEST_INDEX beside it one setting alone; a failure prints both. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/model/family.h"
#include "tests/testing.h"

/* The worlds behind Huginn's; each a golden checkpoint or a random one. */
static const struct {
    const char *family, *folder;
} others[] = {{"retrofit-llama", "retrofit-llama"},
              {"retrofit-olmo", "retrofit-olmo"},
              {"ouro", "ouro"},
              {"llama", "llama-fixed-depth"}};

enum {
    N_HUGINN = 4,
    N_OTHERS = sizeof others / sizeof *others,
    N_PLAIN = N_HUGINN + N_OTHERS,
    N_WORLDS = N_PLAIN + 1 + N_OTHERS, /* and one of each family with quantised weights */
    N_SETTINGS = 40,
    N_BATCH_MAX = 5,
    PROMPT_MAX = 192,
    WHAT_BYTES = 640
};

/* --- drawing ---------------------------------------------------------------------------------------------------- */

struct dice {
    uint64_t state;
};

static uint64_t dice_next(struct dice *d)
{
    uint64_t z = d->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t draw(struct dice *d, uint32_t low, uint32_t high)
{
    return low + (uint32_t)(dice_next(d) % (high - low + 1));
}

static bool draw_one_in(struct dice *d, uint32_t n)
{
    return draw(d, 1, n) == 1;
}

static float draw_float(struct dice *d, float low, float high)
{
    return low + (high - low) * (float)draw(d, 0, 1000) / 1000.0f;
}

/* Settings are independent of each other, so that each can be drawn alone. */
static struct dice dice_of(uint64_t seed, uint64_t world, uint64_t setting)
{
    struct dice d = {seed ^ (world << 40) ^ (setting << 48)};
    dice_next(&d);
    return d;
}

static uint64_t number_from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : otherwise;
}

/* --- a world ---------------------------------------------------------------------------------------------------- */

struct world {
    struct test_model model; /* dir NULL: `folder` */
    const char *folder;      /* or what the random one is */
    struct session *session;
    struct mn_cost_table costs;
    struct model_config *config;
    struct session_params params;
    const char *weight_type;
    uint64_t accepted, rejected, looked_up, by_lookup, moves, n_left, n_stopped, n_refused, n_batches, n_generated;
};

static void shape_draw(struct random_shape *shape, struct dice *d)
{
    static const struct random_shape shapes[] = {{.n_embd = 20,
                                                  .n_heads = 2,
                                                  .intermediate_size = 28,
                                                  .vocab_size = 61,
                                                  .n_prelude = 1,
                                                  .n_core = 1,
                                                  .n_coda = 1},
                                                 {.n_embd = 36,
                                                  .n_heads = 6,
                                                  .intermediate_size = 44,
                                                  .vocab_size = 97,
                                                  .n_prelude = 0,
                                                  .n_core = 2,
                                                  .n_coda = 1},
                                                 {.n_embd = 48,
                                                  .n_heads = 2,
                                                  .intermediate_size = 20,
                                                  .vocab_size = 33,
                                                  .n_prelude = 1,
                                                  .n_core = 1,
                                                  .n_coda = 0},
                                                 {.n_embd = 16,
                                                  .n_heads = 4,
                                                  .intermediate_size = 36,
                                                  .vocab_size = 130,
                                                  .n_prelude = 1,
                                                  .n_core = 2,
                                                  .n_coda = 1}};
    *shape = shapes[draw(d, 0, 3)];
    shape->block_size = 200;
    shape->tied = draw_one_in(d, 2);
    shape->qk_bias = draw_one_in(d, 2);
    shape->seed = dice_next(d);
}

/* The same for another family: heads of their own size, grouped or not, in all places. */
static void family_shape_draw(struct random_shape *shape, const char *family, struct dice *d)
{
    static const uint32_t dims[] = {2, 6, 10, 16};
    const bool retrofit = !strncmp(family, "retrofit", 8);
    shape->family = family;
    shape->n_kv_heads = draw(d, 1, 2);
    shape->n_heads = shape->n_kv_heads * draw(d, 1, 3);
    shape->head_dim = dims[draw(d, 0, 3)];
    shape->n_prelude = retrofit ? draw(d, 0, 1) : 0;
    shape->n_coda = retrofit ? draw(d, 0, 1) : 0;
}

/* Whole groups of 32 in every row, so that all matrices are quantised. */
static void make_whole_groups(struct random_shape *shape, struct dice *d)
{
    shape->n_embd = 32 * draw(d, 1, 2);
    shape->intermediate_size = 32 * draw(d, 1, 3);
    shape->n_heads = shape->family ? 2 * shape->n_kv_heads : shape->n_embd / 16;
    shape->head_dim = 16;
}

/* World `index`: the first ones are Huginn's, each of the others has a family; then all families again, quantised. */
static void world_draw(struct world *w, uint32_t index, struct dice d)
{
    static const char *const types[] = {"f32", "f16", "bf16", "q8_0", "q4_1", "q4_1+all=q4_1"};
    const bool quantised = index >= N_PLAIN, huginn = index < N_HUGINN || index == N_PLAIN;
    struct random_shape shape;
    char path[256];
    *w = (struct world){.weight_type = types[draw(&d, 0, 2) + (quantised ? 3 : 0)], .folder = "random huginn"};
    test_log_init(&w->model.log);
    shape_draw(&shape, &d);
    if (!huginn) {
        const uint32_t family = index - (quantised ? N_PLAIN + 1 : N_HUGINN);
        w->folder = others[family].folder;
        family_shape_draw(&shape, others[family].family, &d);
    }
    if (quantised)
        make_whole_groups(&shape, &d);
    if (huginn || quantised || draw_one_in(&d, 2)) {
        w->folder = huginn ? w->folder : shape.family;
        random_model_write(&shape, &w->model.dir);
    }
    snprintf(path, sizeof path, VECTORS "%s", w->folder);
    w->model.engine = test_engine(&w->model.log, w->model.dir ? w->model.dir : path, w->weight_type);
    w->config = &w->model.engine->model->config;
    for (uint32_t type = 0; type < WEIGHT_TYPES && quantised; type++)
        if (!weight_type_quantised((enum weight_type)type))
            assert_int_equal(weights_count(&w->model.engine->model->weights, (enum weight_type)type).n, 0);
    const uint32_t deepest = w->config->max_recurrence ? w->config->max_recurrence : 10;
    w->params = (struct session_params){.num_steps = deepest > 1 ? draw(&d, 2, deepest) : 1,
                                        .max_rows = draw(&d, 2, draw_one_in(&d, 2) ? 5 : 16),
                                        .n_sequences = draw(&d, 1, 4),
                                        .kv_type = (enum kv_type)draw(&d, 0, KV_TYPES - 1),
                                        .n_ctx = draw_one_in(&d, 4) ? PROMPT_MAX : draw(&d, 20, 48),
                                        .n_branch = draw_one_in(&d, 3) ? 0 : draw(&d, 1, 8)};
    w->session = test_session(w->model.engine, &w->params);
}

static void world_close(struct world *w)
{
    session_destroy(w->session);
    test_engine_done(w->model.engine);
    if (w->model.dir)
        random_model_remove(w->model.dir);
}

/* --- a setting -------------------------------------------------------------------------------------------------- */

struct setting {
    struct mn_generate_params p[N_BATCH_MAX]; /* of each sequence */
    uint32_t n;
    uint32_t prompts[N_BATCH_MAX][PROMPT_MAX];
    uint32_t stop_after[N_BATCH_MAX]; /* of the caller; 0: never */
    uint32_t eos;                     /* the token that ar says at this place becomes the end; 0: none does */
    char rule[48], what[WHAT_BYTES];
};

static void sequence_draw(const struct world *w, struct setting *s, uint32_t i, struct dice *d)
{
    struct mn_generate_params *p = &s->p[i];
    const uint32_t n_ctx = w->params.n_ctx;
    *p = s->p[0];
    p->n_prompt = draw_one_in(d, 8) ? draw(d, 1, n_ctx - 1) : draw(d, 1, 12);
    const uint32_t room = n_ctx + 1 - p->n_prompt;
    p->n_new = draw_one_in(d, 4) && room < 40 ? room : draw(d, 1, room < 16 ? room : 16);
    p->num_steps = draw_one_in(d, 3) || w->params.num_steps < 2 ? 0 : draw(d, 2, w->params.num_steps);
    const uint32_t most = (p->num_steps ? p->num_steps : w->params.num_steps) - 1,
                   least = p->exit.rule ? 1 + most / 2 : 1; /* room to leave before them */
    p->speculation.draft_steps = most ? draw(d, least < most ? least : most, most) : 0;
    /* Few ids, so that what stood there before comes again; or all of them. */
    const uint32_t n_ids = draw_one_in(d, 2) ? draw(d, 1, 3) : w->config->vocab_size;
    for (uint32_t j = 0; j < p->n_prompt; j++)
        s->prompts[i][j] = draw(d, 0, n_ids - 1);
    p->prompt = s->prompts[i];
    p->on_token = token_list_add;
    s->stop_after[i] = draw_one_in(d, 6) ? draw(d, 1, p->n_new) : 0;
}

/* What all sequences of a batch have in common. */
static void common_draw(const struct world *w, struct setting *s, struct dice *d)
{
    static const char *const strategies[] = {"draft-verify", "draft-verify", "wavefront", "wavefront", "auto", "ar"};
    static const char *const criteria[] = {"latent-diff", "cosine", "entropy-diff", "kl", "minp-kl", "gate"};
    const struct family *family = w->config->family;
    struct mn_generate_params *p = &s->p[0];
    p->strategy = strategies[family->fixed_depth ? 5 : draw(d, 0, 5)];
    p->sampler.temperature = draw_one_in(d, 3) ? 0.0f : draw_float(d, 0.1f, 2.0f);
    p->sampler.top_k = draw_one_in(d, 3) ? draw(d, 1, 50) : 0;
    p->sampler.top_p = draw_one_in(d, 3) ? draw_float(d, 0.05f, 1.0f) : 0.0f;
    p->sampler.min_p = draw_one_in(d, 3) ? draw_float(d, 0.0f, 0.5f) : 0.0f;
    p->sampler.seed = dice_next(d);
    p->init_scale = draw_one_in(d, 3) && family->injects ? draw_float(d, 0.1f, 1.5f) : 0.0f;
    p->ignore_eos = true;
    p->speculation.require_lossless = draw_one_in(d, 2);
    p->speculation.lookahead = draw(d, 1, w->params.max_rows - 1);
    p->speculation.max_inflight = draw_one_in(d, 2) ? 0 : draw(d, 1, w->params.max_rows);
    s->eos = draw_one_in(d, 4) ? draw(d, 1, 10) : 0;
    if (!strcmp(p->strategy, "draft-verify") && draw_one_in(d, 2)) {
        if (draw_one_in(d, 6))
            snprintf(s->rule, sizeof s->rule, "argmax-stability:%u", draw(d, 1, 4));
        else
            snprintf(s->rule, sizeof s->rule, "%s:%g", criteria[draw(d, 0, family->has_exit_gate ? 5 : 4)],
                     pow(10, (double)draw_float(d, -3, 0)));
        p->exit.rule = s->rule;
        p->exit.min_steps = draw(d, 0, 3);
        p->exit.check_interval = draw(d, 0, 3);
    }
    if (strcmp(p->strategy, "ar") != 0 && !p->exit.rule && !draw_one_in(d, 3))
        p->speculation.lookup = draw_one_in(d, 4) ? MN_MAX_LOOKUP : draw(d, 1, 8);
    if (!strcmp(p->strategy, "wavefront") && w->params.n_branch && draw_one_in(d, 2)) {
        p->speculation.branches = 2;
        p->speculation.lookup = 0;
    }
}

static void setting_name(const struct world *w, struct setting *s, uint64_t seed, uint32_t index)
{
    const struct mn_generate_params *p = &s->p[0];
    int n = snprintf(
        s->what, sizeof s->what,
        "MUNINN_TEST_SEED=%#llx MUNINN_TEST_INDEX=%u: model %s, %s, session of %u steps, %u rows, %u places, context "
        "%u, cache %s, weights %s; %u sequences; temperature %g top_k %u top_p %g min_p %g init_scale %g "
        "L %u max_inflight %u lookup %u branches %u/%u exit '%s' min %u every %u eos %u;",
        (unsigned long long)seed, index, w->folder, p->strategy, w->params.num_steps, w->params.max_rows,
        w->params.n_sequences, w->params.n_ctx, kv_type_name(w->params.kv_type), w->weight_type, s->n,
        (double)p->sampler.temperature, p->sampler.top_k, (double)p->sampler.top_p, (double)p->sampler.min_p,
        (double)p->init_scale, p->speculation.lookahead, p->speculation.max_inflight, p->speculation.lookup,
        p->speculation.branches, w->params.n_branch, s->rule, p->exit.min_steps, p->exit.check_interval, s->eos);
    for (uint32_t i = 0; i < s->n; i++, p++)
        n += snprintf(s->what + n, sizeof s->what - (size_t)n, " [%u + %u, R %u, K %u, stops %u]", p->n_prompt,
                      p->n_new, p->num_steps, p->speculation.draft_steps, s->stop_after[i]);
    assert_true((size_t)n < sizeof s->what);
}

static void setting_draw(const struct world *w, struct setting *s, struct dice d)
{
    *s = (struct setting){.n = draw_one_in(&d, 4) ? draw(&d, 2, N_BATCH_MAX) : 1};
    common_draw(w, s, &d);
    for (uint32_t i = 0; i < s->n; i++)
        sequence_draw(w, s, i, &d);
}

/* --- what is held ----------------------------------------------------------------------------------------------- */

static void run_alone(struct world *w, const struct setting *s, struct mn_generate_params p, struct token_list *list,
                      struct mn_stats *stats)
{
    p.user = list;
    if (generate_with_costs(w->session, &w->costs, &p, stats))
        fail_msg("%s %s refused: %s", s->what, p.strategy, w->model.log.last);
    w->n_generated += list->n;
}

static void assert_equal_lists(const struct setting *s, uint32_t i, const struct token_list *got,
                               const struct token_list *expected, const char *than)
{
    const uint32_t n = got->n < expected->n ? got->n : expected->n;
    for (uint32_t j = 0; j < n; j++)
        if (got->ids[j] != expected->ids[j])
            fail_msg("%s sequence %u: token %u is %u, %s has %u", s->what, i, j, got->ids[j], than, expected->ids[j]);
    if (got->n != expected->n)
        fail_msg("%s sequence %u: %u tokens, %s has %u", s->what, i, got->n, than, expected->n);
}

/* What ar says of each sequence, up to where it is told to end. */
static void expect(struct world *w, struct setting *s, struct token_list *expected)
{
    struct mn_stats stats;
    w->config->n_eos = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        struct mn_generate_params p = s->p[i];
        p.strategy = "ar";
        p.exit.rule = NULL;
        p.speculation.lookup = p.speculation.branches = 0;
        run_alone(w, s, p, &expected[i], &stats);
        assert_true(stats.lossless && stats.n_new == expected[i].n && expected[i].n == p.n_new);
    }
    if (s->eos) {
        w->config->n_eos = 1;
        w->config->eos_token_ids[0] = expected[0].ids[(s->eos - 1) % expected[0].n];
    }
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t n = 0;
        s->p[i].ignore_eos = !s->eos;
        while (n < expected[i].n && n + 1 != s->stop_after[i] &&
               !(s->eos && expected[i].ids[n] == w->config->eos_token_ids[0]))
            n++;
        w->n_stopped += n < expected[i].n;
        expected[i].n = n < expected[i].n ? n + 1 : n;
    }
}

/* Each is one line, and the session goes on as if it had not been asked. */
static void check_refusal(struct world *w, const struct setting *s, struct dice d)
{
    struct mn_generate_params p = s->p[0];
    struct mn_stats stats;
    struct token_list none = {0};
    uint32_t bad_id = w->config->vocab_size;
    p.user = &none;
    p.strategy = "draft-verify";
    p.exit.rule = NULL;
    p.speculation.lookup = p.speculation.branches = 0;
    switch (draw(&d, 0, 7)) {
    case 7: p.speculation.branches = 2; break;
    case 6: p.speculation.lookup = MN_MAX_LOOKUP + 1; break;
    case 0: p.speculation.lookahead = draw_one_in(&d, 2) ? 0 : w->params.max_rows; break;
    case 1: p.speculation.draft_steps = p.num_steps ? p.num_steps : w->params.num_steps; break;
    case 2: p.n_new = w->params.n_ctx + 2 - p.n_prompt; break;
    case 3: p.num_steps = w->params.num_steps + 1; break;
    case 4: p.prompt = &bad_id, p.n_prompt = 1, p.n_new = 1; break;
    default: p.strategy = "wavefront", p.speculation.max_inflight = w->params.max_rows + 1; break;
    }
    w->model.log.n_errors = 0;
    if (generate_with_costs(w->session, &w->costs, &p, &stats) != MN_ERR_USAGE || w->model.log.n_errors != 1 || none.n)
        fail_msg("%s a bad setting: %u messages, %u tokens", s->what, w->model.log.n_errors, none.n);
    w->n_refused++;
}

/* The bits of the logits behind the last row. */
static void bits_read(struct world *w, uint32_t *bits)
{
    float logits[256];
    assert_true(w->config->vocab_size <= 256);
    assert_int_equal(session_read_logits(w->session, 0, logits), MN_OK);
    memcpy(bits, logits, w->config->vocab_size * sizeof *logits);
}

static void check_alone(struct world *w, const struct setting *s, const struct token_list *expected)
{
    uint32_t bits[2][256] = {0};
    struct mn_stats stats[2];
    for (int again = 0; again < 2; again++) {
        struct token_list got = {.stop_after = s->stop_after[0]};
        run_alone(w, s, s->p[0], &got, &stats[again]);
        assert_equal_lists(s, 0, &got, expected, again ? "the run before" : "ar");
        assert_true(stats[again].lossless && stats[again].n_new == got.n);
        if (got.n > 1)
            bits_read(w, bits[again]);
        if (!strcmp(s->p[0].strategy, "auto")) /* what it chooses hangs on times */
            return;
    }
    w->accepted += stats[0].accepted;
    w->rejected += stats[0].drafted - stats[0].accepted;
    w->looked_up += stats[0].looked_up;
    w->moves += stats[0].branch_moves;
    w->by_lookup += stats[0].proposed_by[MN_PROPOSAL_LOOKUP];
    w->n_left += stats[0].exit_steps < stats[0].exit_rows * stats[0].draft_steps;
    uint64_t proposed = 0;
    for (int i = 0; i < MN_PROPOSALS; i++)
        proposed += stats[0].proposed_by[i];
    if (proposed != stats[0].committed || stats[0].proposed_by[MN_PROPOSAL_LOOKUP] > stats[0].looked_up)
        fail_msg("%s %llu tokens were proposed, %llu committed", s->what, (unsigned long long)proposed,
                 (unsigned long long)stats[0].committed);
    if (stats[0].looked_up != stats[1].looked_up || stats[0].drafted != stats[1].drafted ||
        stats[0].accepted != stats[1].accepted || stats[0].core_rows != stats[1].core_rows ||
        stats[0].exit_steps != stats[1].exit_steps || (expected->n > 1 && memcmp(bits[0], bits[1], sizeof bits[0])))
        fail_msg("%s the second run is another one", s->what);
}

static void check_together(struct world *w, struct setting *s, const struct token_list *expected)
{
    static struct token_list got[N_BATCH_MAX];
    struct mn_stats stats[N_BATCH_MAX], total;
    memset(got, 0, sizeof got);
    for (uint32_t i = 0; i < s->n; i++) {
        s->p[i].user = &got[i];
        got[i].stop_after = s->stop_after[i];
    }
    if (generate_batch_with_costs(w->session, &w->costs, s->p, s->n, stats, &total, NULL, NULL))
        fail_msg("%s refused: %s", s->what, w->model.log.last);
    for (uint32_t i = 0; i < s->n; i++)
        assert_equal_lists(s, i, &got[i], &expected[i], "ar");
    w->n_batches++;
}

static void check_setting(struct world *w, uint64_t seed, uint32_t index)
{
    static struct token_list expected[N_BATCH_MAX];
    struct setting s;
    const struct dice d = dice_of(seed, index / N_SETTINGS, 1 + index % N_SETTINGS);
    setting_draw(w, &s, d);
    setting_name(w, &s, seed, index);
    memset(expected, 0, sizeof expected);
    if (index % 4 == 0)
        check_refusal(w, &s, d);
    expect(w, &s, expected);
    if (s.n == 1)
        check_alone(w, &s, &expected[0]);
    else
        check_together(w, &s, expected);
}

static void test_drawn_settings(void **state)
{
    (void)state;
    const uint64_t fresh = (uint64_t)time(NULL) * UINT64_C(0x9e3779b97f4a7c15) >> 24;
    const uint64_t seed = number_from_environment("MUNINN_TEST_SEED", fresh);
    const uint64_t only = number_from_environment("MUNINN_TEST_INDEX", UINT64_MAX);
    uint64_t accepted = 0, rejected = 0, looked_up = 0, by_lookup = 0, moves = 0, left = 0, stopped = 0, refused = 0,
             batches = 0, generated = 0;
    print_message("MUNINN_TEST_SEED=%#llx\n", (unsigned long long)seed);
    for (uint32_t i = 0; i < N_WORLDS; i++) {
        struct world w;
        if (only != UINT64_MAX && only / N_SETTINGS != i)
            continue;
        world_draw(&w, i, dice_of(seed, i, 0));
        for (uint32_t k = i * N_SETTINGS; k < (i + 1) * N_SETTINGS; k++)
            if (only == UINT64_MAX || only == k)
                check_setting(&w, seed, k);
        accepted += w.accepted;
        rejected += w.rejected;
        looked_up += w.looked_up;
        by_lookup += w.by_lookup;
        moves += w.moves;
        left += w.n_left;
        stopped += w.n_stopped;
        refused += w.n_refused;
        batches += w.n_batches;
        generated += w.n_generated;
        world_close(&w);
    }
    print_message(
        "%llu tokens alone, %llu batches; drafts: %llu accepted, %llu rejected, in %llu runs some left early; "
        "%llu tokens looked up, %llu right; %llu branches taken; %llu runs were stopped, %llu refused\n",
        (unsigned long long)generated, (unsigned long long)batches, (unsigned long long)accepted,
        (unsigned long long)rejected, (unsigned long long)left, (unsigned long long)looked_up,
        (unsigned long long)by_lookup, (unsigned long long)moves, (unsigned long long)stopped,
        (unsigned long long)refused);
    /* Settings that draft nothing, or of which all are right, would show nothing. */
    if (only == UINT64_MAX)
        assert_true(accepted > 0 && rejected > 0 && looked_up > by_lookup && by_lookup > 0 && moves > 0 &&
                    stopped > 0 && batches > 0 && refused == N_WORLDS * N_SETTINGS / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_drawn_settings)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
