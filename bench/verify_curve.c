/* What a pass costs: t(n) of a core pass for n = 1..16 rows, and the time of every kernel at 1 and 8 rows.
 *
 *     build/bench_verify_curve [MODEL_DIR [POSITION]]
 *
 * JSON lines: one per n (median of 15 runs of 16 core passes each), then one per kernel (fastest of 30 runs, from device
 * timestamps). POSITION (default 128) is how many tokens stand in the cache. */
#include <string.h>

#include "bench.h"
#include "cli.h"
#include "forward.h"

enum { REPETITIONS = 15, STEPS = 16, KERNEL_REPETITIONS = 30, MAX_ROWS = 16 };

static enum mn_status fill_cache(struct session *session, uint32_t position)
{
    uint32_t *ids = calloc(position, sizeof *ids);
    if (!ids)
        return MN_ERR_MEMORY;
    for (uint32_t i = 0; i < position; i++)
        ids[i] = i * 37 % session->model->config.vocab_size;
    struct session_prefill_params prefill = {.ids = ids, .n = position, .num_steps = STEPS};
    enum mn_status status = session_prefill(session, &prefill, NULL);
    free(ids);
    return status;
}

static void make_rows(struct row *rows, uint32_t n, uint32_t position, uint32_t depth)
{
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct row){.token = i, .position = position + i, .depth = depth};
}

static enum mn_status measure_curve(struct session *session, uint32_t position)
{
    double first = 0.0;
    for (uint32_t n = 1; n <= MAX_ROWS; n++) {
        double samples[REPETITIONS];
        struct row rows[MAX_ROWS];
        for (uint32_t i = 0; i <= REPETITIONS; i++) { /* the first run warms up */
            make_rows(rows, n, position, 0);
            struct session_run_params prelude = {.rows = rows, .n_rows = n, .n_new = n};
            enum mn_status status = session_run(session, &prelude, NULL);
            double start = clock_ns();
            struct session_run_params core = {.rows = rows, .n_rows = n, .n_core = STEPS};
            if (!status)
                status = session_run(session, &core, NULL);
            if (status)
                return status;
            if (i > 0)
                samples[i - 1] = (clock_ns() - start) / STEPS;
        }
        double median = bench_median(samples, REPETITIONS);
        first = n == 1 ? median : first;
        printf("{\"bench\":\"verify_curve\",\"rows\":%u,\"core_pass_us\":%.1f,\"ratio\":%.3f,\"fastest_us\":%.1f,\"slowest_us\":%.1f}\n", n, median / 1e3,
               median / first, samples[0] / 1e3, samples[REPETITIONS - 1] / 1e3);
    }
    return MN_OK;
}

static const char *const pass_names[] = {"prelude", "core", "coda", "head"};

static enum mn_status measure_kernels(struct session *session, uint32_t n_rows, uint32_t position)
{
    struct row rows[MAX_ROWS];
    make_rows(rows, n_rows, position, 0);
    struct session_run_params all = {.rows = rows, .n_rows = n_rows, .n_new = n_rows, .n_core = 1, .coda = true, .n_head = n_rows};
    enum mn_status status = session_run(session, &all, NULL);
    for (int pass = PASS_PRELUDE; pass <= PASS_HEAD_GREEDY && !status; pass++) {
        struct recording recording;
        session->stream.profile = true;
        status = forward_record_whole(session, (enum pass)pass, session_stamp(n_rows, false), &recording);
        session->stream.profile = false;
        const uint32_t n = session->stream.n_profiled;
        double fastest[STREAM_MAX_TIMERS], now[STREAM_MAX_TIMERS], sum[KERNEL_COUNT] = {0};
        uint32_t count[KERNEL_COUNT] = {0};
        const struct recording *list[] = {&recording};
        for (uint32_t i = 0; i < KERNEL_REPETITIONS && !status; i++) {
            /* Every run starts from the same rows: a core pass raises their depths. */
            status = session_run(session, &all, NULL);
            if (!status)
                status = stream_run(&session->stream, list, 1);
            if (!status)
                status = stream_read_timers(&session->stream, n + 1, now);
            for (uint32_t k = 0; k < n && !status; k++)
                if (i == 0 || now[k + 1] - now[k] < fastest[k])
                    fastest[k] = now[k + 1] - now[k];
        }
        for (uint32_t k = 0; k < n && !status; k++) {
            sum[session->stream.profiled[k]] += fastest[k];
            count[session->stream.profiled[k]]++;
        }
        for (int id = 0; id < KERNEL_COUNT && !status; id++)
            if (count[id])
                printf("{\"bench\":\"kernel\",\"rows\":%u,\"pass\":\"%s\",\"kernel\":\"%s\",\"dispatches\":%u,\"us_each\":%.1f}\n", n_rows, pass_names[pass],
                       kernel_info((enum kernel_id)id)->name, count[id], sum[id] / count[id] / 1e3);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct mn_log log = {bench_log, NULL};
    struct mn_engine *engine = NULL;
    struct session *session = NULL;
    uint32_t position = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 128;
    struct mn_engine_params params = {.model_dir = argc > 1 ? argv[1] : "models/raven-tiny", .log = &log};
    cli_set_cpu_threads(NULL, params.model_dir);
    enum mn_status status = mn_engine_create(&engine, &params);
    struct session_params with = {.num_steps = STEPS, .max_rows = MAX_ROWS, .kv_type = KV_F16, .sampler = {.top_p = 1.0f}};
    if (!status)
        status = session_create(&session, engine->model, &with);
    if (!status)
        status = fill_cache(session, position);
    if (!status) {
        printf("{\"bench\":\"device\",\"banner\":\"%s\",\"model\":\"%s\",\"position\":%u,\"dispatches\":{\"prelude\":%u,\"core\":%u,\"coda\":%u,\"head\":%u}}\n",
               engine->banner, params.model_dir, position, session->n_dispatches[PASS_PRELUDE], session->n_dispatches[PASS_CORE],
               session->n_dispatches[PASS_CODA], session->n_dispatches[PASS_HEAD_GREEDY]);
        status = measure_curve(session, position);
    }
    if (!status)
        status = measure_kernels(session, 1, position);
    if (!status)
        status = measure_kernels(session, 8, position);
    session_destroy(session);
    mn_engine_destroy(engine);
    return mn_status_exit_code(status);
}
