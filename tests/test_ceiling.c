/* Goal: the ceiling of a device is measured in rest, kept with its spread, held against what earlier runs had, and
 * something above it has a cause. Method: (1) Files: what was kept is read again, the oldest goes; every file that is
 * cut, changed, huge, binary, of another key, a link or a folder is nothing, and is replaced where it can be. (2) On a
 * device: one measurement per device and run, a line in the file per run, a warning where earlier runs had ten times as
 * much and none where they had the same. (3) Causes with made caches. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/sweep/cache_folder.h"
#include "bench/sweep/ceiling.h"
#include "testing.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/muninn-ceiling-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %.60s", dir);
    return system(command);
}

/* The only file there is. */
static const char *only_file(void)
{
    static char path[512];
    char command[128];
    snprintf(command, sizeof command, "ls -d %.60s/ceiling-*.json", dir);
    FILE *list = popen(command, "r");
    assert_non_null(list);
    assert_non_null(fgets(path, sizeof path, list));
    char more[8];
    assert_null(fgets(more, sizeof more, list));
    pclose(list);
    path[strcspn(path, "\n")] = '\0';
    return path;
}

static void write_file(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void add(struct ceiling_history *h, double gb_s)
{
    const struct ceiling now = {.gb_s = gb_s, .spread = gb_s / 1000.0};
    assert_true(ceiling_file_add(h, dir, "a key", &now, 1e9 + gb_s));
}

static void test_kept(void **state)
{
    struct ceiling_history h, other;
    (void)state;
    ceiling_file_read(&h, dir, "a key");
    assert_int_equal(h.n, 0);
    for (int i = 1; i <= CEILING_KEPT + 3; i++) {
        add(&h, i + 0.1);
        ceiling_file_read(&other, dir, "a key");
        assert_int_equal(other.n, i < CEILING_KEPT ? i : CEILING_KEPT);
        assert_memory_equal(&h, &other, sizeof h);
    }
    assert_true(h.gb_s[0] == 4.1 && h.gb_s[CEILING_KEPT - 1] == CEILING_KEPT + 3.1);
    ceiling_file_read(&other, dir, "another key");
    assert_int_equal(other.n, 0);
    assert_false(ceiling_file_add(&h, "/nowhere/at all", "a key", &(struct ceiling){.gb_s = 1.0}, 1.0));
}

static void expect_nothing(void)
{
    struct ceiling_history h;
    ceiling_file_read(&h, dir, "a key");
    assert_int_equal(h.n, 0);
}

static void test_hostile_files(void **state)
{
    struct ceiling_history h = {0};
    char path[512], text[2048];
    (void)state;
    add(&h, 2.5);
    snprintf(path, sizeof path, "%s", only_file());
    FILE *file = fopen(path, "r");
    const size_t n = fread(text, 1, sizeof text, file);
    fclose(file);
    for (size_t cut = 0; cut + 1 < n; cut++) { /* without its last newline it is whole */
        write_file(path, text, cut);
        expect_nothing();
    }
    for (size_t i = 0; i < n; i++) /* any digit */
        if (text[i] >= '0' && text[i] <= '9') {
            const char was = text[i];
            text[i] = was == '9' ? '8' : (char)(was + 1);
            write_file(path, text, n);
            expect_nothing();
            text[i] = was;
        }
    static const char *const others[] = {"[]", "{}", "{\"key\":5}", "\x80\xff", "{\"key\":\"a key\",\"gb_s\":[1e999]}"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        write_file(path, others[i], strlen(others[i]));
        expect_nothing();
    }
    char *huge = malloc(1 << 20);
    memset(huge, '[', 1 << 20);
    write_file(path, huge, 1 << 20);
    free(huge);
    expect_nothing();
    h.n = 0;
    add(&h, 3.5); /* it is replaced */
    ceiling_file_read(&h, dir, "a key");
    assert_true(h.n == 1 && h.gb_s[0] == 3.5);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_nothing();
    assert_false(ceiling_file_add(&h, dir, "a key", &(struct ceiling){.gb_s = 1.0}, 1.0));
}

/* The folder's bound holds for them, too. */
static void test_bound(void **state)
{
    struct ceiling_history h;
    char key[32];
    uint32_t n = 0;
    (void)state;
    for (int i = 0; i < CACHE_FILES_MAX + 10; i++) {
        h = (struct ceiling_history){0};
        snprintf(key, sizeof key, "key %d", i);
        assert_true(ceiling_file_add(&h, dir, key, &(struct ceiling){.gb_s = 1.0}, 1.0));
    }
    for (int i = 0; i < CACHE_FILES_MAX + 10; i++) {
        snprintf(key, sizeof key, "key %d", i);
        ceiling_file_read(&h, dir, key);
        n += h.n;
    }
    assert_int_equal(n, CACHE_FILES_MAX);
}

/* ---- on a device ---- */

static char said[1024];

static void listen(void *user, enum mn_log_level level, const char *line)
{
    (void)user;
    if (level == MN_LOG_WARN)
        snprintf(said, sizeof said, "%s", line);
}

static const struct mn_log listening = {listen, NULL};

/* As if earlier runs had had `times` as much. */
static void change_history(double times)
{
    struct ceiling_history h;
    char path[512], text[2048], key[1024];
    snprintf(path, sizeof path, "%s", only_file());
    FILE *file = fopen(path, "r");
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    const char *from = strchr(text + 1, ':') + 2, *to = strstr(from, "\",\"checksum");
    snprintf(key, sizeof key, "%.*s", (int)(to - from), from);
    ceiling_file_read(&h, dir, key);
    assert_true(h.n > 0);
    const struct ceiling was = {.gb_s = h.gb_s[h.n - 1] * times};
    h.n = 0;
    for (int i = 0; i < 3; i++)
        assert_true(ceiling_file_add(&h, dir, key, &was, 1e9));
}

static void test_on_a_device(void **state)
{
    struct ceiling_memory memory = {0};
    struct ceiling first, second, end;
    const struct ceiling_params params = {.cpu_threads = "", .dir = dir, .log = &listening};
    (void)state;
    const enum mn_status status = ceiling_at_rest(&first, &memory, &params);
    if (status == MN_ERR_NO_DEVICE)
        skip();
    assert_int_equal(status, MN_OK);
    assert_true(first.gb_s > 0.0 && first.spread >= 0.0 && isfinite(first.spread));
    assert_int_equal(strlen(first.time), strlen("2026-01-01T00:00:00Z"));
    assert_int_equal(ceiling_at_rest(&second, &memory, &params), MN_OK);
    assert_memory_equal(&first, &second, sizeof first); /* it was not measured again */
    ceiling_memory_free(&memory);
    change_history(10.0);
    said[0] = '\0';
    assert_int_equal(ceiling_at_rest(&second, &memory, &params), MN_OK);
    if (second.spread < 0.8) /* else nothing can be said */
        assert_non_null(strstr(said, "3 earlier runs"));
    ceiling_memory_free(&memory);
    struct mn_engine *engine;
    assert_int_equal(mn_engine_create(&engine, &(struct mn_engine_params){.synthetic = "raven-tiny"}), MN_OK);
    const struct ceiling more = {.gb_s = 1e5};
    said[0] = '\0';
    assert_int_equal(ceiling_at_end(&end, &more, engine, &listening), MN_OK);
    if (end.spread < 0.8)
        assert_non_null(strstr(said, "at the end"));
    mn_engine_destroy(engine);
}

/* ---- words ---- */

static void test_differs(void **state)
{
    (void)state;
    assert_false(ceiling_differs(95.0, 0.0, 100.0, 0.0));
    assert_true(ceiling_differs(85.0, 0.0, 100.0, 0.0));
    assert_true(ceiling_differs(115.0, 0.05, 100.0, 0.1));
    assert_false(ceiling_differs(85.0, 0.2, 100.0, 0.0));
    assert_false(ceiling_differs(85.0, 0.0, 100.0, 0.2));
    assert_false(ceiling_differs(0.0, 0.0, 100.0, 0.0)); /* not measured */
    assert_false(ceiling_differs(100.0, 0.0, 0.0, 0.0));
}

static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    for (char *c = path + strlen(dir) + 1; *c; c++)
        if (*c == '/') {
            *c = '\0';
            mkdir(path, 0700);
            *c = '/';
        }
    write_file(path, text, strlen(text));
}

static void expect_cause(double percent, double bytes, bool is_cpu, const char *part)
{
    char text[CEILING_CAUSE_BYTES];
    ceiling_cause(text, &(struct ceiling){.gb_s = 10.0, .spread = 0.04}, percent, "a core step", bytes, is_cpu, dir);
    if (!strstr(text, part))
        fail_msg("'%s' is not in '%s'", part, text);
}

static void test_causes(void **state)
{
    (void)state;
    expect_cause(150.0, 1e6, true, "a cache may hold"); /* the system shows no caches */
    put("sys/devices/system/cpu/cpu0/cache/index2/level", "2\n");
    put("sys/devices/system/cpu/cpu0/cache/index2/type", "Unified\n");
    put("sys/devices/system/cpu/cpu0/cache/index2/size", "2048K\n");
    expect_cause(150.0, 1e6, true, "the weights of a core step (1 MB) fit the L2 cache (2.1 MB)");
    expect_cause(150.0, 3e6, true, "cause not known: the weights of a core step (3 MB) fit no cache (L2: 2.1 MB)");
    expect_cause(103.0, 3e6, true, "varies by 4 %");
    expect_cause(103.0, 1e6, true, "fit the L2 cache");
    expect_cause(150.0, 1e6, false, "a cache may hold"); /* a GPU's caches are not the processor's */
    expect_cause(103.0, 7e9, false, "varies by 4 %");
    expect_cause(150.0, 7e9, false, "cause not known: no cache holds");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {TEST(test_kept),        TEST(test_hostile_files), TEST(test_bound),
                                       TEST(test_on_a_device), TEST(test_differs),       TEST(test_causes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
