/* Goal: what is said of two models' predictions is what the definitions say, to the digits of a double, and an interval
 * is as wide as its formula.
 * Method: distributions with probabilities like 1/2 and 1/4, whose divergence is known on paper; means over texts
 * worked out by hand; logits that are no numbers. */
#include <math.h>
#include <string.h>

#include "bench/rows/divergence.h"
#include "testing.h"

static void near(double got, double wanted, double within)
{
    if (!(fabs(got - wanted) <= within))
        fail_msg("%.17g, wanted %.17g", got, wanted);
}

/* p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2), both with another constant on their logits, which is no difference. */
static void test_point(void **state)
{
    (void)state;
    const float p[] = {(float)log(2.0), 0.0f, 0.0f}, q[] = {5.0f, 5.0f, 5.0f + (float)log(2.0)};
    bool finite = false;
    struct divergence_point point = divergence_at(p, q, 3, 2, &finite);
    assert_true(finite);
    /* 1/2 (log 1/2 - log 1/4) + 1/4 (log 1/4 - log 1/4) + 1/4 (log 1/4 - log 1/2) = 1/4 log 2 */
    near(point.kl, 0.25 * log(2.0), 1e-7);
    near(point.reference_nll, log(4.0), 1e-7);
    near(point.nll, log(2.0), 1e-7);
    near(point.logit_error, 5.0 + log(2.0), 1e-6);
    assert_false(point.agrees);

    /* Equal logits: nothing. Of equals the lowest id is best. */
    point = divergence_at(p, p, 3, 0, &finite);
    assert_true(finite && point.kl == 0.0 && point.logit_error == 0.0 && point.agrees);
    const float tied[] = {1.0f, 1.0f, 0.0f}, other[] = {0.0f, 1.0f, 0.0f};
    assert_false(divergence_at(tied, other, 3, 0, &finite).agrees);
    assert_true(divergence_at(tied, p, 3, 0, &finite).agrees);

    /* Not symmetric: the reference's probabilities are the weights. q = (1/3, 1/3, 1/3). */
    const float even[] = {0.0f, 0.0f, 0.0f};
    near(divergence_at(p, even, 3, 0, &finite).kl, log(3.0) - 1.5 * log(2.0), 1e-7);
    near(divergence_at(even, p, 3, 0, &finite).kl, (5.0 * log(2.0) - 3.0 * log(3.0)) / 3.0, 1e-7);
}

/* Small differences do not drown: logits apart by e at two equal ids diverge by e^2 / 8. */
static void test_small(void **state)
{
    (void)state;
    const float e = 0x1p-14f, p[] = {20.0f, 20.0f}, q[] = {20.0f, 20.0f + e};
    bool finite;
    near(divergence_at(p, q, 2, 0, &finite).kl, (double)e * (double)e / 8.0, 1e-13);
    assert_true(divergence_at(q, p, 2, 0, &finite).kl >= 0.0);
}

static void test_not_finite(void **state)
{
    (void)state;
    const float good[] = {1.0f, 2.0f, 3.0f};
    const float bad[][3] = {{NAN, 2.0f, 3.0f}, {1.0f, INFINITY, 3.0f}, {-INFINITY, 2.0f, 3.0f}, {1.0f, 2.0f, NAN}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bool finite = true;
        (void)divergence_at(good, bad[i], 3, 1, &finite);
        assert_false(finite);
        finite = true;
        (void)divergence_at(bad[i], good, 3, 1, &finite);
        assert_false(finite);
    }
}

/* Three texts of 1, 2 and 1 positions with 0.2, (0.1, 0.3) and 0.6 nats: mean 0.3; the texts lie -0.1, -0.2 and 0.3
 * from what their positions would have, so the variance is 3/2 (0.01 + 0.04 + 0.09) / 16. */
static void test_means(void **state)
{
    (void)state;
    const struct divergence_point points[] = {
        {.kl = 0.2, .logit_error = 1.0, .reference_nll = 1.0, .nll = 2.0, .agrees = true},
        {.kl = 0.1, .logit_error = 3.0, .reference_nll = 2.0, .nll = 2.0, .agrees = true},
        {.kl = 0.3, .logit_error = 2.0, .reference_nll = 3.0, .nll = 2.0, .agrees = false},
        {.kl = 0.6, .logit_error = 0.5, .reference_nll = 4.0, .nll = 6.0, .agrees = true}};
    const uint32_t ends[] = {1, 3, 4};
    struct divergence d;
    assert_int_equal(divergence_sum(&d, points, ends, 3, NULL), MN_OK);
    assert_int_equal(d.n_texts, 3);
    assert_int_equal(d.n_positions, 4);
    const double half = 1.959963984540054 * sqrt(1.5 * 0.14 / 16.0);
    near(d.kl.value, 0.3, 1e-12);
    near(d.kl.low, 0.3 - half, 1e-12);
    near(d.kl.high, 0.3 + half, 1e-12);
    assert_true(d.kl.bounded);
    near(d.kl_max, 0.6, 0.0);
    near(d.kl_p99, 0.6, 0.0);
    near(d.logit_error_max, 3.0, 0.0);
    near(d.reference_nll, 2.5, 1e-12);
    near(d.nll, 3.0, 1e-12);

    /* The share is 3/4; texts deviate by 1/4, -1/2, 1/4: variance 3/2 (3/8) / 16 = 9/256, that of four independent
     * positions 3/64 is larger, so n stays 4. Wilson's interval for 3 of 4. */
    near(d.agreement.value, 0.75, 1e-12);
    near(d.agreement.low, 0.300641843, 1e-8);
    near(d.agreement.high, 0.954412739, 1e-8);

    /* An interval of divergence does not reach below 0. */
    const struct divergence_point wide[] = {{.kl = 0.0}, {.kl = 1.0}};
    const uint32_t each[] = {1, 2};
    assert_int_equal(divergence_sum(&d, wide, each, 2, NULL), MN_OK);
    near(d.kl.low, 0.0, 0.0);
}

/* Errors that come text by text: four texts of 10 positions, one of which is wrong throughout. Variance 4/3 (3 (2.5)^2
 * + 7.5^2) / 1600 = 1/16; of 40 independent positions 3/640. So 40 count as 3, and the interval is that of 2.25 of 3.
 */
static void test_clusters(void **state)
{
    (void)state;
    struct divergence_point points[40];
    const uint32_t ends[] = {10, 20, 30, 40};
    struct divergence clustered, spread;
    for (int i = 0; i < 40; i++)
        points[i] = (struct divergence_point){.kl = 1.0, .agrees = i >= 10};
    assert_int_equal(divergence_sum(&clustered, points, ends, 4, NULL), MN_OK);
    near(clustered.agreement.value, 0.75, 1e-12);
    const double z2 = 3.841458820694124, n = 3.0, centre = (0.75 + z2 / 6.0) / (1.0 + z2 / n),
                 half = sqrt(z2) / (1.0 + z2 / n) * sqrt(0.1875 / n + z2 / (4.0 * n * n));
    near(clustered.agreement.low, centre - half, 1e-9);
    near(clustered.agreement.high, centre + half, 1e-9);
    for (int i = 0; i < 40; i++)
        points[i].agrees = i % 4 != 0;
    assert_int_equal(divergence_sum(&spread, points, ends, 4, NULL), MN_OK);
    assert_true(spread.agreement.low > clustered.agreement.low && spread.agreement.high < clustered.agreement.high);

    /* All agree: the interval ends at 1 and begins where 0 of 40 errors leave it. */
    for (int i = 0; i < 40; i++)
        points[i].agrees = true;
    assert_int_equal(divergence_sum(&spread, points, ends, 4, NULL), MN_OK);
    near(spread.agreement.low, 40.0 / (40.0 + z2), 1e-9);
    near(spread.agreement.high, 1.0, 0.0);
}

/* A text by itself has no interval; 99 of 100 positions are not above the 99th. */
static void test_one_text(void **state)
{
    (void)state;
    struct divergence_point points[200];
    const uint32_t end = 200;
    struct divergence d;
    for (int i = 0; i < 200; i++)
        points[i] = (struct divergence_point){.kl = 199 - i, .agrees = true};
    assert_int_equal(divergence_sum(&d, points, &end, 1, NULL), MN_OK);
    assert_false(d.kl.bounded || d.agreement.bounded);
    near(d.kl_p99, 197.0, 0.0);
    near(d.kl_max, 199.0, 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_point),      cmocka_unit_test(test_small),
                                       cmocka_unit_test(test_not_finite), cmocka_unit_test(test_means),
                                       cmocka_unit_test(test_clusters),   cmocka_unit_test(test_one_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
