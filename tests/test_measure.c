/* Goal: a row has the figures that users look for, and none that were not measured. Method: one setting of a small
 * synthetic model is measured on the device. (1) Times of delivery: each is there, ordered, and as long as the decoding
 * took. (2) Energy and clock come from a made tree in the place of /sys whose counter moves with every submit; without
 * the tree the keys are absent. (3) Memory is what the engine has reserved while the session is open. (4) Times of
 * delivery by hand: bursts, several sequences, one token. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/rows/latency.h"
#include "bench/sweep/cost_file.h"
#include "bench/sweep/measure.h"
#include "engine/base/clock.h"
#include "engine/files/json.h"
#include "testing.h"

#define SHAPE "d=32,heads=2,ff=64,vocab=96,layers=1-1-1,steps=4,ctx=300"
enum { N_NEW = 8, N_PROMPTS = 4, REPETITIONS = 3 };

static char root[64];

/* ---- the made machine ---- */

static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *c = path + strlen(root) + 1; *c; c++)
        if (*c == '/') {
            *c = '\0';
            mkdir(path, 0700);
            *c = '/';
        }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static uint64_t energy_uj;

static int burn(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user, (void)what, (void)done, (void)total;
    char text[32];
    if (!*root)
        return 0;
    energy_uj += 1000;
    snprintf(text, sizeof text, "%llu\n", (unsigned long long)energy_uj);
    put("sys/class/powercap/intel-rapl:0/energy_uj", text);
    return 0;
}

static double now(void *user)
{
    (void)user;
    return clock_s();
}

static void make_machine(void)
{
    strcpy(root, "/tmp/muninn-measure-XXXXXX");
    assert_non_null(mkdtemp(root));
    put("sys/class/powercap/intel-rapl:0/name", "package-0\n");
    put("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n");
    put("sys/class/powercap/intel-rapl:0/energy_uj", "0\n");
    put("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2500000\n");
}

static void remove_machine(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %.60s", root);
    assert_int_equal(system(command), 0);
    root[0] = '\0';
}

/* ---- rows ---- */

/* A row of `strategy`; the caller deletes it. NULL: there is no device. */
static cJSON *measure(const char *strategy, const char *sensor_root)
{
    struct prompt_set prompts;
    struct cost_memory costs = {0};
    struct bench_model model;
    cJSON *row = NULL;
    bool equal;
    assert_int_equal(prompts_read(&prompts, NULL, NULL), MN_OK);
    const struct bench_common common = {.sampling = {REPETITIONS, 0.0, now, NULL},
                                        .prompts = &prompts,
                                        .cpu_threads = "",
                                        .costs = &costs,
                                        .sensor_root = sensor_root,
                                        .progress = {burn, NULL}};
    const struct bench_setting setting = {.kv_policy = "full",
                                          .kv_type = "f16",
                                          .strategy = strategy,
                                          .num_steps = 4,
                                          .draft_steps = strcmp(strategy, "ar") ? 2 : 0,
                                          .lookahead = strcmp(strategy, "ar") ? 3 : 0,
                                          .n_new = N_NEW,
                                          .batch = 1};
    const enum mn_status status = bench_model_open(&model, NULL, SHAPE, &(struct bench_setting){0}, &common);
    if (status != MN_ERR_NO_DEVICE) {
        assert_int_equal(status, MN_OK);
        assert_int_equal(bench_measure(&model, &setting, &common, &row, &equal), MN_OK);
        bench_model_close(&model);
    }
    cost_memory_free(&costs);
    prompts_free(&prompts);
    return row;
}

static double figure(const cJSON *row, const char *key)
{
    const cJSON *item = json_find(row, key);
    if (!cJSON_IsNumber(item))
        fail_msg("%s is not there", key);
    return item->valuedouble;
}

static void test_delivery_in_rows(void **state)
{
    (void)state;
    cJSON *row = measure("ar", "/nowhere");
    if (!row)
        skip();
    const double p50 = figure(row, "inter_token_p50_ms"), p95 = figure(row, "inter_token_p95_ms"),
                 p99 = figure(row, "inter_token_p99_ms");
    assert_true(p50 > 0.0 && p50 <= p95 && p95 <= p99);
    assert_true(figure(row, "ttft_ms") > 0.0);
    assert_true(figure(row, "device_peak_bytes") > figure(row, "weight_bytes"));
    assert_true(figure(row, "host_peak_bytes") > 1e6);
    static const char *const absent[] = {"joules_per_token", "power_w", "energy_source", "clock_mhz", "clock_source"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        assert_null(json_find(row, absent[i]));
    cJSON_Delete(row);
}

static void test_energy_in_rows(void **state)
{
    (void)state;
    make_machine();
    cJSON *row = measure("draft-verify", root);
    remove_machine();
    if (!row)
        skip();
    if (!cJSON_IsString(json_find(row, "device_id")) || !*json_find(row, "device_id")->valuestring) {
        cJSON_Delete(row); /* not a CPU device: the made machine is not its */
        skip();
    }
    const double joules = figure(row, "joules_per_token");
    /* Every submit is announced before it is made, 1 mJ each; so are steps of other work. */
    assert_true(joules >= 1e-3 * figure(row, "submits") / figure(row, "total_new_tokens"));
    assert_true(joules < 1.0 && figure(row, "power_w") > 0.0);
    assert_string_equal(json_find(row, "energy_source")->valuestring, "rapl");
    assert_float_equal(figure(row, "clock_mhz"), 2500.0, 1e-9);
    assert_string_equal(json_find(row, "clock_source")->valuestring, "cpufreq");
    cJSON_Delete(row);
}

/* ---- by hand ---- */

static void test_bursts(void **state)
{
    (void)state;
    struct latency l = {0}, all = {0};
    struct delivery a, b;
    struct latency_summary s = latency_summarise(&l);
    assert_false(s.has_first || s.has_gaps);
    delivery_begin(&a, 10.0);
    delivery_token(&a, &l, 10.5);
    s = latency_summarise(&l);
    assert_true(s.has_first && !s.has_gaps);
    assert_float_equal(s.first_s, 0.5, 1e-12);
    /* Rounds of four tokens, a second each; in between another sequence. */
    delivery_begin(&b, 10.0);
    for (int round = 1; round <= 24; round++) {
        for (int i = 0; i < 4; i++)
            delivery_token(&a, &l, 10.5 + round);
        if (round == 2)
            delivery_token(&b, &l, 13.0);
    }
    delivery_token(&b, &l, 20.0);
    s = latency_summarise(&l);
    assert_int_equal(l.n_firsts, 2);
    assert_int_equal(l.n_gaps, 97);
    assert_float_equal(s.first_s, 1.75, 1e-12); /* of 0.5 and 3 */
    assert_float_equal(s.p50_s, 0.0, 1e-12);
    assert_float_equal(s.p95_s, 1.0, 1e-12);
    assert_float_equal(s.p99_s, 7.0, 1e-12); /* the 97th of 97 */
    latency_add(&all, &l);
    latency_add(&all, &l);
    assert_int_equal(all.n_gaps, 194);
    assert_float_equal(latency_summarise(&all).p99_s, 7.0, 1e-12);
    latency_clear(&l);
    assert_false(latency_summarise(&l).has_first);
    latency_free(&l);
    latency_free(&all);
}

/* Nearest rank: of 100 values the 50th, the 95th, the 99th. */
static void test_ranks(void **state)
{
    (void)state;
    struct latency l = {0};
    struct delivery d;
    double at = 0.0;
    delivery_begin(&d, at);
    delivery_token(&d, &l, at);
    for (int i = 1; i <= 100; i++)
        delivery_token(&d, &l, at += (i * 37 % 101));
    const struct latency_summary s = latency_summarise(&l);
    assert_float_equal(s.p50_s, 50.0, 1e-9);
    assert_float_equal(s.p95_s, 95.0, 1e-9);
    assert_float_equal(s.p99_s, 99.0, 1e-9);
    latency_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bursts), cmocka_unit_test(test_ranks),
                                       cmocka_unit_test(test_delivery_in_rows), cmocka_unit_test(test_energy_in_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
