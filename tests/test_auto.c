/* Goal: auto is lossless whatever it chooses; a session measures what passes cost once and takes a table that is given;
 * stored costs are trusted only when they are whole and for this very set-up.
 * Method: tokens against ar, greedy and sampled, on the shipped model and a random one; cost tables that make each
 * family the cheapest; counted passes; files that are damaged, and keys of other devices. */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench/sweep/cache_folder.h"
#include "bench/sweep/cost_file.h"
#include "spec/cost.h"
#include "tests/testing.h"

static const struct random_shape odd_shape = {.n_embd = 60,
                                              .n_heads = 6,
                                              .intermediate_size = 92,
                                              .vocab_size = 173,
                                              .n_prelude = 1,
                                              .n_core = 2,
                                              .n_coda = 2,
                                              .block_size = 160,
                                              .tied = false,
                                              .qk_bias = true,
                                              .seed = 11};
static const uint32_t prompt[] = {0, 23, 29, 90, 100, 23, 27, 92, 26, 7, 61};
enum { N_PROMPT = sizeof prompt / sizeof *prompt };

static struct token_list run(struct session *session, struct mn_cost_table *costs, struct mn_generate_params params,
                             struct mn_stats *stats)
{
    struct token_list list = {0};
    params.prompt = prompt;
    params.n_prompt = N_PROMPT;
    params.on_token = token_list_add;
    params.user = &list;
    assert_int_equal(generate_with_costs(session, costs, &params, stats), MN_OK);
    return list;
}

static void assert_same(const struct token_list *got, const struct token_list *expected)
{
    assert_int_equal(got->n, expected->n);
    assert_memory_equal(got->ids, expected->ids, got->n * sizeof *got->ids);
}

/* The one file in the folder. */
static void cost_file(const char *dir, char *path, size_t n_bytes)
{
    DIR *folder = opendir(dir);
    struct dirent *entry;
    uint32_t n = 0;
    assert_non_null(folder);
    while ((entry = readdir(folder)))
        if (entry->d_name[0] != '.') {
            snprintf(path, n_bytes, "%s/%s", dir, entry->d_name);
            n++;
        }
    closedir(folder);
    assert_int_equal(n, 1);
}

static char *read_text(const char *path)
{
    char *text = calloc(1, 1 << 16);
    FILE *file = fopen(path, "rb");
    assert_non_null(text);
    assert_non_null(file);
    assert_true(fread(text, 1, (1 << 16) - 1, file) > 0);
    fclose(file);
    return text;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* A table in which a core pass of n rows takes core_ns (1 + slope (n - 1)). */
static struct mn_cost_table fake_costs(double core_ns, double slope, double head_ns)
{
    struct mn_cost_table t = {.n = MN_COST_POINTS, .submit_ns = 1000};
    for (uint32_t i = 0; i < MN_COST_POINTS; i++) {
        t.rows[i] = i + 1;
        t.prelude_ns[i] = 1000;
        t.core_ns[i] = core_ns * (1.0 + slope * i);
        t.head_ns[i] = head_ns;
    }
    return t;
}

static void check_lossless(bool random)
{
    struct test_log log;
    char *dir = NULL;
    test_log_init(&log);
    if (random)
        random_model_write(&odd_shape, &dir);
    struct mn_engine *engine = test_engine(&log, random ? dir : RAVEN_TINY, NULL);
    struct session_params params = {.num_steps = 16, .max_rows = 16, .kv_type = KV_F16, .n_ctx = 160};
    struct session *session = test_session(engine, &params);
    /* Measured, then faked: a row costs nothing more; as much as a pass of its own; more than that. */
    static const struct {
        double slope, head_ns;
    } fakes[] = {{-1, 0}, {0.0, 1000}, {1.0, 1000}, {3.0, 5e6}};
    uint64_t drafted = 0, choices = 0;
    struct mn_cost_table costs = {0};
    for (size_t i = 0; i < sizeof fakes / sizeof *fakes; i++)
        for (int sampled = 0; sampled < 2; sampled++) {
            struct mn_generate_params g = {
                .n_new = 140,
                .strategy = "ar",
                .sampler = {.temperature = sampled ? 0.8f : 0.0f, .top_k = 40, .seed = 77 + i},
                .ignore_eos = i % 2 == 0,
                .init_scale = random ? 1.0f : 0.0f};
            struct mn_stats stats;
            struct token_list expected = run(session, &costs, g, &stats);
            assert_int_equal(costs.n, i + sampled ? MN_COST_POINTS : 0); /* ar asks for none */
            g.strategy = "auto";
            if (fakes[i].slope >= 0.0)
                costs = fake_costs(1e6, fakes[i].slope, fakes[i].head_ns);
            struct token_list got = run(session, &costs, g, &stats);
            assert_same(&got, &expected);
            assert_true(stats.lossless);
            assert_string_equal(stats.strategy, "auto");
            drafted += stats.drafted;
            choices += stats.n_choices;
        }
    print_message("%llu drafts, %llu changes of mind\n", (unsigned long long)drafted, (unsigned long long)choices);
    assert_true(drafted > 0);
    session_destroy(session);
    test_engine_done(engine);
    if (dir)
        random_model_remove(dir);
}

static void test_shipped(void **state)
{
    (void)state;
    check_lossless(false);
}

static void test_random(void **state)
{
    (void)state;
    check_lossless(true);
}

/* One row per pass, or one step: nothing to speculate with. */
static void test_degenerate(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    static const uint32_t steps[] = {1, 2, 4}, rows[] = {16, 2, 1};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct session_params params = {.num_steps = steps[i], .max_rows = rows[i], .kv_type = KV_F16, .n_ctx = 40};
        struct session *session = test_session(engine, &params);
        struct mn_generate_params g = {.n_new = 20, .strategy = "ar", .ignore_eos = true};
        struct mn_stats stats;
        struct mn_cost_table costs = {0};
        struct token_list expected = run(session, &costs, g, &stats);
        g.strategy = "auto";
        struct token_list got = run(session, &costs, g, &stats);
        assert_same(&got, &expected);
        session_destroy(session);
    }
    test_engine_done(engine);
}

static void assert_same_table(const struct mn_cost_table *a, const struct mn_cost_table *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->rows, b->rows, a->n * sizeof *a->rows);
    assert_memory_equal(a->prelude_ns, b->prelude_ns, a->n * sizeof *a->prelude_ns);
    assert_memory_equal(a->core_ns, b->core_ns, a->n * sizeof *a->core_ns);
    assert_memory_equal(a->head_ns, b->head_ns, a->n * sizeof *a->head_ns);
    assert_true(a->submit_ns == b->submit_ns);
}

static struct mn_session *open_session(struct mn_engine *engine, uint32_t n_sequences)
{
    struct mn_session *session;
    const struct mn_session_params params = {
        .n_ctx = 40, .num_steps = 4, .max_rows = 16, .n_sequences = n_sequences, .kv_type = "f16"};
    assert_int_equal(mn_session_create(&session, engine, &params), MN_OK);
    return session;
}

/* A session measures once, whoever asks first and however many sequences there are; with a given table never. */
static void test_measured_once(void **state)
{
    (void)state;
    enum { N = 3, N_NEW = 20, R = 4 };
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    for (int given = 0; given < 2; given++) {
        struct mn_session *session = open_session(engine, N);
        const uint64_t *core = &session->session->counts.passes[PASS_CORE];
        struct mn_cost_table table = fake_costs(1e6, 0.0, 1000), again;
        if (given)
            assert_int_equal(mn_session_set_costs(session, &table), MN_OK);
        uint64_t before = *core;
        for (int run = 0; run < 2; run++) { /* a batch, then the same once more */
            struct mn_generate_params p[N];
            struct mn_stats stats[N], total;
            for (uint32_t i = 0; i < N; i++)
                p[i] = (struct mn_generate_params){
                    .prompt = prompt, .n_prompt = N_PROMPT, .n_new = N_NEW, .strategy = "auto", .ignore_eos = true};
            assert_int_equal(mn_generate_batch(session, p, N, stats, &total, NULL, NULL), MN_OK);
            const uint64_t measuring = *core - before - total.core_passes - N * R;
            if (run == 0 && !given)
                assert_true(measuring > 0 && session->costs.n == MN_COST_POINTS);
            else
                assert_int_equal(measuring, 0);
            before = *core;
            assert_int_equal(mn_session_costs(session, &again), MN_OK);
            assert_int_equal(*core, before);
            if (given || run)
                assert_same_table(&again, &table);
            table = again;
        }
        mn_session_destroy(session);
    }
    struct mn_session *session = open_session(engine, N);
    const uint64_t *core = &session->session->counts.passes[PASS_CORE];
    struct mn_cost_table table;
    uint64_t before = *core;
    assert_int_equal(mn_session_costs(session, &table), MN_OK);
    const uint64_t once = *core - before;
    before = *core;
    struct mn_cost_table own = {0};
    struct mn_generate_params p[N];
    struct mn_stats stats[N], total;
    for (uint32_t i = 0; i < N; i++)
        p[i] = (struct mn_generate_params){
            .prompt = prompt, .n_prompt = N_PROMPT, .n_new = N_NEW, .strategy = "auto", .ignore_eos = true};
    assert_int_equal(generate_batch_with_costs(session->session, &own, p, N, stats, &total, NULL, NULL), MN_OK);
    assert_int_equal(*core - before, once + total.core_passes + N * R); /* not once per sequence */
    mn_session_destroy(session);
    test_engine_done(engine);
}

static void test_tables_refused(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct mn_session *session = open_session(engine, 1);
    const struct mn_cost_table good = fake_costs(1e6, 1.0, 1000);
#define REFUSE(...) \
    do { \
        struct mn_cost_table t = good; \
        (void)(__VA_ARGS__); \
        test_refused(&log, mn_session_set_costs(session, &t), "a cost table", #__VA_ARGS__); \
    } while (0)
    REFUSE(t.n = 0);
    REFUSE(t.n = MN_COST_POINTS + 1);
    REFUSE(t.rows[0] = 2);
    REFUSE(t.rows[3] = 3);
    REFUSE(t.submit_ns = 0.0);
    REFUSE(t.core_ns[15] = -1.0);
    REFUSE(t.prelude_ns[0] = NAN);
    REFUSE(t.head_ns[7] = INFINITY);
    struct mn_cost_table newer = good;
    newer.reserved[3] = 1;
    test_refused(&log, mn_session_set_costs(session, &newer), "mn_cost_table", "a word of a later version");
    assert_int_equal(session->costs.n, 0);
    assert_int_equal(mn_session_set_costs(session, &good), MN_OK);
    assert_true(cost_at(&good, good.core_ns, 2) == 2e6 && cost_at(&good, good.core_ns, 0) == 0.0);
    assert_true(cost_at(&good, good.head_ns, 32) == 2 * 1000.0);
    const struct mn_cost_table coarse = {.n = 2, .rows = {1, 5}, .core_ns = {100, 200}};
    assert_true(cost_at(&coarse, coarse.core_ns, 2) == 125.0); /* between two points: a straight line */
    mn_session_destroy(session);
    test_engine_done(engine);
}

/* What a driver is told about its worker threads; NULL: nothing. */
static void set_threads(const char *threads)
{
    assert_int_equal(threads ? setenv("LP_NUM_THREADS", threads, 1) : unsetenv("LP_NUM_THREADS"), 0);
}

static char *kept_threads(void)
{
    const char *threads = getenv("LP_NUM_THREADS");
    return threads ? strdup(threads) : NULL;
}

/* What the times depend on is in the key: also which twin of its shaders a device runs. */
static void test_key(void **state)
{
    (void)state;
    struct test_log log;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    struct mn_session *session = open_session(engine, 1), *other = open_session(engine, 1);
    struct caps *caps = &engine->model->device->caps;
    const struct caps kept = *caps;
    char key[1024], again[1024];
    const size_t n = mn_session_cost_key(session, key, sizeof key);
    assert_true(n > 0 && n == strlen(key) && n < sizeof key);
    assert_int_equal(mn_session_cost_key(session, NULL, 0), n);
    assert_int_equal(mn_session_cost_key(NULL, key, sizeof key), 0);
    mn_session_cost_key(other, again, sizeof again);
    assert_string_equal(again, key);
    char *threads = kept_threads();
    set_threads("7"); /* the environment is the program's business */
    mn_session_cost_key(session, again, sizeof again);
    set_threads(threads);
    free(threads);
    assert_string_equal(again, key);
    caps->subgroup_shuffle = true;
    caps->texel_loads = false;
    mn_session_cost_key(session, key, sizeof key);
    caps->texel_loads = true;
    mn_session_cost_key(session, again, sizeof again);
    assert_string_not_equal(again, key);
    caps->subgroup_shuffle = false;
    mn_session_cost_key(session, again, sizeof again);
    assert_string_not_equal(again, key);
    *caps = kept;
    mn_session_destroy(session);
    mn_session_destroy(other);
    test_engine_done(engine);
}

/* What the folder gives a new session, or makes it measure. */
static struct mn_cost_table from_folder(struct mn_engine *engine, const char *dir, const struct mn_log *log)
{
    struct mn_cost_table table;
    struct mn_session *session = open_session(engine, 1);
    assert_int_equal(cost_file_use(session, dir, NULL, log), MN_OK);
    const uint64_t passes = session->session->counts.passes[PASS_CORE];
    assert_int_equal(mn_session_costs(session, &table), MN_OK); /* it is there by now */
    assert_int_equal(session->session->counts.passes[PASS_CORE], passes);
    mn_session_destroy(session);
    return table;
}

/* Without a folder, sessions of a kind measure once between them; one with other rows measures for itself. */
static void test_measured_once_for_a_kind(void **state)
{
    (void)state;
    struct test_log log;
    struct cost_memory memory = {0};
    struct mn_cost_table first, table;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    for (int i = 0; i < 3; i++) {
        struct mn_session *session = open_session(engine, 1);
        assert_int_equal(cost_file_use(session, NULL, &memory, &log.log), MN_OK);
        assert_int_equal(session->session->counts.passes[PASS_CORE] > 0, i == 0);
        assert_int_equal(mn_session_costs(session, &table), MN_OK);
        first = i == 0 ? table : first;
        assert_same_table(&table, &first);
        mn_session_destroy(session);
    }
    struct mn_session *other;
    const struct mn_session_params params = {.n_ctx = 40, .num_steps = 4, .max_rows = 3, .kv_type = "f16"};
    assert_int_equal(mn_session_create(&other, engine, &params), MN_OK);
    assert_int_equal(cost_file_use(other, NULL, &memory, &log.log), MN_OK);
    assert_true(other->session->counts.passes[PASS_CORE] > 0);
    mn_session_destroy(other);
    assert_int_equal(memory.n, 2);
    cost_memory_free(&memory);
    test_engine_done(engine);
}

struct damage {
    const char *what, *instead;
};

/* A file that is not whole is measured again and stored anew. */
static void check_damage(struct mn_engine *engine, const char *dir, const char *path, const char *whole,
                         const struct damage *damage, const struct mn_log *log)
{
    const char *at = strstr(whole, damage->what);
    char *damaged = malloc(1 << 17);
    assert_non_null(at);
    assert_non_null(damaged);
    snprintf(damaged, 1 << 17, "%.*s%s%s", (int)(at - whole), whole, damage->instead, at + strlen(damage->what));
    write_text(path, damaged);
    const struct mn_cost_table table = from_folder(engine, dir, log);
    if (table.head_ns[15] == 777)
        fail_msg("damage %s -> %s was not noticed", damage->what, damage->instead);
    char *again = read_text(path);
    assert_string_not_equal(again, damaged);
    assert_int_equal(strncmp(again, whole, (size_t)(strstr(whole, ",\"checksum\"") - whole)), 0); /* the key */
    free(again);
    free(damaged);
}

/* A cost file is an outside file. */
static void test_cost_files(void **state)
{
    (void)state;
    struct test_log log;
    char costs[] = "/tmp/muninn-costs-XXXXXX", path[512];
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, RAVEN_TINY, NULL);
    assert_non_null(mkdtemp(costs));
    struct mn_cost_table table = from_folder(engine, costs, &log.log);
    assert_int_equal(table.n, MN_COST_POINTS);
    cost_file(costs, path, sizeof path);
    unlink(path);

    /* A session's table is what is stored; a whole file is used as it is. */
    struct mn_session *session = open_session(engine, 1);
    const struct mn_cost_table fake = fake_costs(123456, 0.5, 777);
    assert_int_equal(mn_session_set_costs(session, &fake), MN_OK);
    assert_int_equal(cost_file_use(session, costs, NULL, &log.log), MN_OK);
    mn_session_destroy(session);
    cost_file(costs, path, sizeof path);
    table = from_folder(engine, costs, &log.log);
    assert_same_table(&table, &fake);

    char *whole = read_text(path);
    static const struct damage damages[] = {{"777", "778"},
                                            {"\"checksum\":\"", "\"checksum\":\"0"},
                                            {"123456", "-1"},
                                            {"123456", "0"},
                                            {"123456", "1e300"},
                                            {"123456", "\"x\""},
                                            {"123456", "123456,5"},
                                            {"\"rows\":[1,2,3", "\"rows\":[1,2,2"},
                                            {"\"rows\":[1", "\"rows\":[1e99"},
                                            {"\"core_ns\"", "\"gore_ns\""},
                                            {"\"key\":\"", "\"key\":\"another "},
                                            {"}", ""},
                                            {"{", "[{"}};
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++)
        check_damage(engine, costs, path, whole, &damages[i], &log.log);
    assert_int_equal(log.n_errors, 0);
    free(whole);
    unlink(path);

    /* More worker threads: another machine. */
    char *threads = kept_threads();
    set_threads("9");
    from_folder(engine, costs, &log.log);
    set_threads(threads);
    free(threads);
    cost_file(costs, path, sizeof path);
    whole = read_text(path);
    assert_non_null(strstr(whole, " threads9|"));
    free(whole);
    unlink(path);
    assert_int_equal(rmdir(costs), 0);

    /* No folder: measured all the same. */
    table = from_folder(engine, costs, &log.log);
    assert_true(table.core_ns[0] > 0.0);
    table = from_folder(engine, NULL, &log.log);
    assert_true(table.core_ns[0] > 0.0);
    test_engine_done(engine);
}

/* ---- the folder's bound ---- */

/* A file of ours in all but its content, unused for `age` seconds. */
static void put(const char *dir, const char *name, const char *text, size_t n_bytes, time_t age)
{
    char path[512];
    const struct timespec then = {time(NULL) - age, 0}, times[2] = {then, then};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    write_text(path, text);
    assert_int_equal(truncate(path, (off_t)n_bytes), 0);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static bool is_there(const char *dir, const char *name)
{
    char path[512];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return lstat(path, &info) == 0;
}

static void put_costs(const char *dir, unsigned number, size_t n_bytes, time_t age)
{
    char name[64];
    snprintf(name, sizeof name, "costs-%016x.json", number);
    put(dir, name, "{\"key\":\"", n_bytes, age);
}

static bool has_costs(const char *dir, unsigned number)
{
    char name[64];
    snprintf(name, sizeof name, "costs-%016x.json", number);
    return is_there(dir, name);
}

/* What is not ours stays, whatever it is called; so does what a run under way may be writing. */
static void test_cache_bound(void **state)
{
    (void)state;
    enum { MANY = CACHE_FILES_MAX + 20, OLD = 100000 };
    static const char *const others[] = {"costs-0123456789abcdef.json", /* other content */
                                         "costs-0123456789abcdeF.json",
                                         "costs-0123456789abcde.json",
                                         "costs-0123456789abcdef0.json",
                                         "costs-0123456789abcdef.json.bak",
                                         "notes.json",
                                         ".muninn-0123456789abcdef.parts"};
    enum { N_OTHERS = sizeof others / sizeof *others };
    char dir[] = "/tmp/muninn-bound-XXXXXX", path[512], outside[] = "/tmp/muninn-outside-XXXXXX";
    assert_non_null(mkdtemp(dir));
    close(mkstemp(outside));
    write_text(outside, "{\"key\":\"");
    for (int i = 0; i < N_OTHERS; i++)
        put(dir, others[i], i ? "{\"key\":\"" : "{\"kex\":\"", 100000, OLD);
    snprintf(path, sizeof path, "%s/costs-00000000000000aa.json", dir);
    assert_int_equal(symlink(outside, path), 0);
    snprintf(path, sizeof path, "%s/costs-00000000000000ab.json", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(path, sizeof path, "%s/costs-00000000000000ac.json", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    put(dir, ".muninn-0000000000000001.part", "{", 1, OLD);
    put(dir, ".muninn-0000000000000002.part", "{", 1, 10);
    for (unsigned i = 0; i < MANY; i++) /* the larger its number, the longer without use */
        put_costs(dir, 0x1000 + i, 1000, 10 + i);
    snprintf(path, sizeof path, "%s/costs-%016x.json", dir, 0x1000 + MANY - 1);
    cache_folder_used(path);
    cache_folder_trim(dir);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(has_costs(dir, 0x1000 + i), i < CACHE_FILES_MAX - 1 || i == MANY - 1);
    /* Bytes count as well: 40 files of 30 kB are too much, the last 34 stay. */
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(path, sizeof path, "%s/costs-%016x.json", dir, 0x1000 + i);
        unlink(path);
    }
    for (unsigned i = 0; i < 40; i++)
        put_costs(dir, 0x1000 + i, 30000, 10 + i);
    cache_folder_trim(dir);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(has_costs(dir, 0x1000 + i), i < CACHE_BYTES_MAX / 30000);
        snprintf(path, sizeof path, "%s/costs-%016x.json", dir, 0x1000 + i);
        unlink(path);
    }
    for (int i = 0; i < N_OTHERS; i++)
        assert_true(is_there(dir, others[i]));
    assert_true(has_costs(dir, 0xaa) && has_costs(dir, 0xab) && has_costs(dir, 0xac));
    assert_false(is_there(dir, ".muninn-0000000000000001.part"));
    assert_true(is_there(dir, ".muninn-0000000000000002.part"));
    cache_folder_trim("/nowhere at all");
    assert_int_equal(access(outside, F_OK), 0);
    unlink(outside);
    static const char *const rest[] = {"costs-00000000000000aa.json", "costs-00000000000000ab.json",
                                       ".muninn-0000000000000002.part"};
    for (int i = 0; i < N_OTHERS + 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, i < N_OTHERS ? others[i] : rest[i - N_OTHERS]);
        assert_int_equal(unlink(path), 0);
    }
    snprintf(path, sizeof path, "%s/costs-00000000000000ac.json", dir);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shipped),
                                       cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_degenerate),
                                       cmocka_unit_test(test_measured_once),
                                       cmocka_unit_test(test_measured_once_for_a_kind),
                                       cmocka_unit_test(test_tables_refused),
                                       cmocka_unit_test(test_key),
                                       cmocka_unit_test(test_cost_files),
                                       cmocka_unit_test(test_cache_bound)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
