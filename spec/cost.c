#include "spec/cost.h"

#include <math.h>
#include <stdio.h>

#include "engine/base/clock.h"

/* Attention grows with the position: passes are timed in the middle of a context, up to a usual length. */
enum { USUAL_POSITION = 128 };
_Static_assert(MN_COST_CONTEXT == 2 * USUAL_POSITION + MN_COST_POINTS, "the context whose middle that is");

enum { ROUNDS = 3, REPETITIONS = 3 };

double cost_at(const struct mn_cost_table *t, const double *ns, uint32_t rows)
{
    if (rows == 0 || t->n == 0)
        return 0.0;
    uint32_t i = 0;
    while (i < t->n && t->rows[i] < rows)
        i++;
    if (i == t->n) /* beyond the last point: in proportion */
        return ns[t->n - 1] * rows / t->rows[t->n - 1];
    if (t->rows[i] == rows || i == 0)
        return ns[i];
    double part = (double)(rows - t->rows[i - 1]) / (double)(t->rows[i] - t->rows[i - 1]);
    return ns[i - 1] + part * (ns[i] - ns[i - 1]);
}

/* ---- measuring ---- */

/* Row counts from 1 that the session can run. */
static uint32_t n_points(const struct session *s)
{
    uint32_t n = session_info(s)->max_rows < MN_COST_POINTS ? session_info(s)->max_rows : MN_COST_POINTS;
    return n < session_info(s)->n_ctx ? n : session_info(s)->n_ctx;
}

static uint32_t first_position(const struct session *s)
{
    const uint32_t middle = (session_info(s)->n_ctx - n_points(s)) / 2;
    return middle < USUAL_POSITION ? middle : USUAL_POSITION;
}

/* Steps of the run that is compared with one of a single step. */
static uint32_t many_steps(const struct session *s)
{
    return session_info(s)->num_steps < 5 ? session_info(s)->num_steps : 5;
}

/* Four runs for a row count, each with one thing more than the first: what they differ in is that thing's time. */
enum { ONE_STEP, MANY_STEPS, ENTERING, HEADED, N_RUNS };

static enum mn_status time_rows(struct session *s, uint32_t sequence, uint32_t n, double *fastest)
{
    struct row rows[SESSION_MAX_ROWS] = {{0}};
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct row){.position = first_position(s) + i, .sequence = sequence};
    const struct session_run_params runs[N_RUNS] = {
        [ONE_STEP] = {.rows = rows, .n_rows = n, .n_core = 1},
        [MANY_STEPS] = {.rows = rows, .n_rows = n, .n_core = many_steps(s)},
        [ENTERING] = {.rows = rows, .n_rows = n, .n_core = 1, .n_new = n},
        [HEADED] = {.rows = rows, .n_rows = n, .n_core = 1, .coda = true, .n_head = n}};
    for (int repetition = 0; repetition < REPETITIONS; repetition++)
        for (int i = 0; i < N_RUNS; i++) {
            const double start = clock_ns();
            enum mn_status status = session_run(s, &runs[i], NULL);
            if (status)
                return status;
            fastest[i] = fmin(fastest[i], clock_ns() - start);
        }
    return MN_OK;
}

static double above_zero(double ns)
{
    return ns > 1.0 ? ns : 1.0;
}

/* More rows never take less: neighbours that say so are taken together. */
static void rising(double *ns, uint32_t n)
{
    double sum[MN_COST_POINTS];
    uint32_t count[MN_COST_POINTS], n_groups = 0;
    for (uint32_t i = 0; i < n; i++, n_groups++) {
        sum[n_groups] = ns[i];
        count[n_groups] = 1;
        for (; n_groups > 0 && sum[n_groups - 1] * count[n_groups] > sum[n_groups] * count[n_groups - 1]; n_groups--) {
            sum[n_groups - 1] += sum[n_groups];
            count[n_groups - 1] += count[n_groups];
        }
    }
    for (uint32_t i = 0, group = 0; group < n_groups; group++)
        for (uint32_t j = 0; j < count[group]; j++)
            ns[i++] = sum[group] / count[group];
}

/* What session_run counts: core steps of rows. */
static uint64_t steps_to_measure(const struct session *s)
{
    const uint64_t n = n_points(s), rows = n * (n + 1) / 2;
    return rows * (N_RUNS - 1 + many_steps(s)) * REPETITIONS * ROUNDS;
}

static enum mn_status measure(struct session *s, uint32_t sequence, struct mn_cost_table *t)
{
    double fastest[MN_COST_POINTS][N_RUNS]; /* what disturbs a run only adds to it */
    const uint32_t n = n_points(s);
    *t = (struct mn_cost_table){.n = n};
    for (uint32_t i = 0; i < n * N_RUNS; i++)
        fastest[i / N_RUNS][i % N_RUNS] = INFINITY;
    enum mn_status status = progress_begin(session_progress(s), "measuring the cost of passes", steps_to_measure(s));
    for (int round = 0; round < ROUNDS && !status; round++) /* a machine's slow moment meets one round */
        for (uint32_t i = 0; i < n && !status; i++)
            status = time_rows(s, sequence, i + 1, fastest[i]);
    status = progress_end(session_progress(s), status);
    if (status)
        return status;
    for (uint32_t i = 0; i < n; i++) {
        const double *ns = fastest[i];
        const uint32_t more = many_steps(s) - 1;
        t->rows[i] = i + 1;
        t->core_ns[i] = more ? above_zero((ns[MANY_STEPS] - ns[ONE_STEP]) / more) : ns[ONE_STEP];
        t->prelude_ns[i] = above_zero(ns[ENTERING] - ns[ONE_STEP]);
        t->head_ns[i] = above_zero(ns[HEADED] - ns[ONE_STEP]);
    }
    t->submit_ns = above_zero(fastest[0][ONE_STEP] - t->core_ns[0]);
    rising(t->core_ns, n);
    rising(t->prelude_ns, n);
    rising(t->head_ns, n);
    return MN_OK;
}

enum mn_status cost_ready(struct session *s, struct mn_cost_table *t, uint32_t sequence)
{
    struct mn_cost_table measured;
    if (t->n)
        return MN_OK;
    enum mn_status status = measure(s, sequence, &measured);
    if (!status)
        *t = measured;
    return status;
}

/* ---- given ---- */

enum mn_status cost_check(const struct mn_cost_table *t, const struct mn_log *log)
{
    if (t->n < 1 || t->n > MN_COST_POINTS)
        return log_fail(log, MN_ERR_USAGE, "a cost table of %u row counts: must be from 1 to %d", t->n, MN_COST_POINTS);
    bool good = t->rows[0] == 1 && t->submit_ns > 0.0 && isfinite(t->submit_ns);
    for (uint32_t i = 0; i < t->n; i++) {
        const double ns[] = {t->prelude_ns[i], t->core_ns[i], t->head_ns[i]};
        good &= i == 0 || t->rows[i] > t->rows[i - 1];
        for (size_t k = 0; k < sizeof ns / sizeof *ns; k++)
            good &= ns[k] > 0.0 && isfinite(ns[k]);
    }
    return good
               ? MN_OK
               : log_fail(log, MN_ERR_USAGE, "a cost table: its rows must ascend from 1 and its times must be above 0");
}

/* ---- the key ---- */

size_t cost_key(const struct session *s, char *text, size_t n_bytes)
{
    const size_t n = session_fingerprint(s, text, n_bytes), left = n < n_bytes ? n_bytes - n : 0;
    const int more = snprintf(left ? text + n : NULL, left, "|rows%u at%u", n_points(s), first_position(s));
    return n + (more > 0 ? (size_t)more : 0);
}
