/* Goal: principal components are those of the data, and the end of a trajectory is called by its name.
 * Method: vectors whose covariance is known in closed form; made sequences of each kind, and of the kinds between
 * them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/pca.h"
#include "analysis/terminal.h"
#include "tests/testing.h"

/* ---- principal components ---- */

/* Pairs of vectors mean +- sqrt(variance_i * n / 2) axis_i have exactly the covariance sum of variance_i axis_i
 * axis_i'. The axes come from a Householder matrix, whose columns are orthonormal. */
static void check_pca(uint32_t d, const double *variances, uint32_t n_variances, uint32_t n_components)
{
    float *values = calloc((size_t)2 * n_variances * d, sizeof *values);
    double *h = calloc(d, sizeof *h), hh = 0.0, total = 0.0;
    for (uint32_t k = 0; k < d; k++) {
        h[k] = (double)test_noise(5, k);
        hh += h[k] * h[k];
    }
    for (uint32_t i = 0; i < n_variances; i++) {
        total += variances[i];
        for (uint32_t k = 0; k < d; k++) {
            const double axis = (k == i ? 1.0 : 0.0) - 2.0 * h[k] * h[i] / hh, mean = (double)test_noise(6, k);
            values[(size_t)(2 * i) * d + k] = (float)(mean + sqrt(variances[i] * n_variances) * axis);
            values[(size_t)(2 * i + 1) * d + k] = (float)(mean - sqrt(variances[i] * n_variances) * axis);
        }
    }
    const struct pca_vectors vectors = {
        .values = values, .n_groups = n_variances, .per_group = 2, .stride = (size_t)2 * d, .d = d};
    struct pca pca, again;
    assert_int_equal(pca_fit(&pca, &vectors, n_components, NULL), MN_OK);
    assert_int_equal(pca_fit(&again, &vectors, n_components, NULL), MN_OK);
    assert_int_equal(pca.n, n_components < d ? n_components : d);
    assert_memory_equal(pca.axes, again.axes, pca.n * (size_t)d * sizeof *pca.axes);
    assert_true(fabs(pca.total - total) < 1e-5 * total && pca.residual < 1e-8);
    for (uint32_t i = 0; i < pca.n; i++) {
        const double *axis = pca.axes + (size_t)i * d, expected = i < n_variances ? variances[i] : 0.0;
        double inner = 0.0;
        uint32_t largest = 0;
        assert_true(fabs(pca.variance[i] - expected) < 1e-5 * variances[0]);
        for (uint32_t k = 0; k < d; k++) {
            inner += i < n_variances ? axis[k] * ((k == i ? 1.0 : 0.0) - 2.0 * h[k] * h[i] / hh) : 0.0;
            largest = fabs(axis[k]) > fabs(axis[largest]) ? k : largest;
        }
        assert_true(axis[largest] > 0.0);
        if (i < n_variances)
            assert_true(fabs(fabs(inner) - 1.0) < 1e-5);
        for (uint32_t j = 0; j < pca.n; j++) {
            inner = 0.0;
            for (uint32_t k = 0; k < d; k++)
                inner += axis[k] * pca.axes[(size_t)j * d + k];
            assert_true(fabs(inner - (i == j ? 1.0 : 0.0)) < 1e-9);
        }
        double at[MN_MAX_COMPONENTS], opposite[MN_MAX_COMPONENTS];
        pca_project(&pca, values, at);
        pca_project(&pca, values + d, opposite);
        assert_true(fabs(at[i] + opposite[i]) < 1e-4 &&
                    fabs(fabs(at[i]) - (i == 0 ? sqrt(variances[0] * n_variances) : 0.0)) < 1e-4);
    }
    pca_finish(&pca);
    pca_finish(&again);
    free(values);
    free(h);
}

static void test_pca(void **state)
{
    (void)state;
    static const double spread[] = {9.0, 4.0, 2.5, 1.0, 0.5, 0.25, 0.1, 0.05}, close[] = {1.0, 0.99, 0.98, 0.5},
                        flat[] = {3.0};
    check_pca(40, spread, 8, 6);
    check_pca(200, spread, 8, 2);
    check_pca(12, close, 4, 3); /* the block is the whole space */
    check_pca(50, close, 4, 3);
    check_pca(20, flat, 1, 4);  /* fewer directions than components */
    check_pca(2, spread, 2, 6); /* fewer dimensions than components */
    const float same[6] = {1, 2, 3, 1, 2, 3};
    struct pca pca;
    assert_int_equal(pca_fit(&pca,
                             &(struct pca_vectors){.values = same, .n_groups = 2, .per_group = 1, .stride = 3, .d = 3},
                             2, NULL),
                     MN_OK);
    assert_true(pca.total == 0.0 && pca.variance[0] == 0.0 && pca.variance[1] == 0.0);
    pca_finish(&pca);
}

/* ---- the end of a trajectory ---- */

enum { D = 6, STEPS = 32 };

static struct mn_terminal judge(void (*make)(uint32_t step, double *s), uint32_t n_steps)
{
    float states[(STEPS + 1) * D];
    for (uint32_t t = 0; t <= n_steps; t++) {
        double s[D] = {0};
        make(t, s);
        for (uint32_t k = 0; k < D; k++)
            states[t * D + k] = (float)s[k];
    }
    return terminal_classify(&(struct mn_terminal_rule){0}, states, n_steps, D);
}

static double turn_steps; /* steps per turn of the circle */

static void make_circle(uint32_t t, double *s)
{
    s[0] = cos(2 * acos(-1.0) * t / turn_steps);
    s[1] = sin(2 * acos(-1.0) * t / turn_steps);
    s[2] = 2.0;
}
static void make_alternating(uint32_t t, double *s)
{
    s[0] = 3.0;
    s[1] = t % 2 ? 0.4 : -0.4;
}
static void make_triangle(uint32_t t, double *s)
{
    s[t % 3] = 1.0;
}
static void make_fast(uint32_t t, double *s) /* comes to rest within a few steps */
{
    s[0] = 2.0;
    s[1] = pow(0.5, t);
}
static void make_still(uint32_t t, double *s)
{
    s[0] = t ? 1.5 : 0.0;
}
static void make_small_orbit(uint32_t t, double *s) /* below what counts as having moved */
{
    s[0] = 3.0;
    s[1] = t % 2 ? 0.01 : -0.01;
}
static void make_slow(uint32_t t, double *s) /* on its way to a fixed point, far from it at the end */
{
    s[0] = 1.0;
    s[1] = 10.0 * pow(0.93, t);
}
static void make_decaying(uint32_t t, double *s) /* the same, to and fro */
{
    s[0] = 1.0;
    s[1] = 10.0 * pow(-0.93, t);
}
static void make_line(uint32_t t, double *s)
{
    s[0] = 0.2 * t;
    s[1] = 1.0 - 0.1 * t;
    s[2] = 0.02 * (t % 2);
}
static void make_small_line(uint32_t t, double *s) /* every step below `near`, the way of all steps not */
{
    s[0] = 1.0 + 0.01 * t;
    s[1] = 1.0;
}
static void make_noise(uint32_t t, double *s)
{
    for (uint32_t k = 0; k < D; k++)
        s[k] = (double)test_noise(9, t * D + k);
}
static void make_zero(uint32_t t, double *s)
{
    (void)t;
    s[0] = 0.0;
}

static void test_terminal(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*make)(uint32_t step, double *s);
        double turn;
        enum mn_terminal_kind kind;
        uint32_t period;
    } cases[] = {
        {"at rest", make_still, 0, MN_TERMINAL_FIXED_POINT, 0},
        {"halving", make_fast, 0, MN_TERMINAL_FIXED_POINT, 0},
        {"all zero", make_zero, 0, MN_TERMINAL_FIXED_POINT, 0},
        {"an orbit too small to count", make_small_orbit, 0, MN_TERMINAL_FIXED_POINT, 0},
        {"alternating", make_alternating, 0, MN_TERMINAL_ORBIT, 2},
        {"triangle", make_triangle, 0, MN_TERMINAL_ORBIT, 3},
        {"circle of 5", make_circle, 5, MN_TERMINAL_ORBIT, 5},
        {"circle of 8", make_circle, 8, MN_TERMINAL_ORBIT, 8},
        {"circle of 6.3", make_circle, 6.3, MN_TERMINAL_ORBIT, 6},
        {"circle of 100", make_circle, 100, MN_TERMINAL_SLIDER,
         0}, /* as the rule says of orbits longer than the window */
        {"line", make_line, 0, MN_TERMINAL_SLIDER, 0},
        {"line of small steps", make_small_line, 0, MN_TERMINAL_SLIDER, 0},
        {"circle of 13", make_circle, 13, MN_TERMINAL_UNSETTLED, 0}, /* too long to see twice, too round for a slider */
        {"still converging", make_slow, 0, MN_TERMINAL_UNSETTLED, 0},
        {"still converging, to and fro", make_decaying, 0, MN_TERMINAL_UNSETTLED, 0},
        {"noise", make_noise, 0, MN_TERMINAL_UNSETTLED, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        turn_steps = cases[i].turn;
        const struct mn_terminal t = judge(cases[i].make, STEPS);
        if (t.kind != cases[i].kind || t.period != cases[i].period || t.window != STEPS / 2)
            fail_msg("%s: %s of period %u (spread %g, lag %g, alignment %g, straightness %g, steadiness %g), expected "
                     "%s of period %u",
                     cases[i].name, mn_terminal_name(t.kind), t.period, t.spread, t.lag, t.alignment, t.straightness,
                     t.steadiness, mn_terminal_name(cases[i].kind), cases[i].period);
    }
    assert_int_equal(judge(make_still, 3).window, 0); /* too few steps to judge */
    assert_int_equal(judge(make_still, 3).kind, MN_TERMINAL_UNSETTLED);
    assert_int_equal(judge(make_still, 5).window, 4);
    assert_int_equal(judge(make_still, 5).kind, MN_TERMINAL_FIXED_POINT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pca), cmocka_unit_test(test_terminal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
