/* Goal: the sampler draws from exactly the distribution that its parameters describe, from noise that is a function of
 * (seed, position, id) alone; number conversions round to nearest even.
 * Method: published Philox vectors; keep sets observed over many positions against sets written down by hand;
 * chi-square of observed counts against softmax (fixed seeds, so a pass stays a pass; bounds at a chance of about one
 * in a million); moments of the cut normal; conversions exhaustively over all 65536 patterns and over every midpoint
 * between neighbours. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "engine/model/sampler.h"
#include "engine/model/weights.h"
#include "tests/testing.h"

/* ---- noise ---- */

static void test_philox(void **state)
{
    (void)state;
    /* Known answers of the Random123 distribution, philox4x32 with 10 rounds. */
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t out[4];
        philox(cases[i].counter, cases[i].key, out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

static void test_unit_interval(void **state)
{
    (void)state;
    /* Neither end may appear: both logarithms of the Gumbel noise must be finite. */
    const uint32_t bits[] = {0, 511, 512, 0x7fffffff, 0x80000000, 0xfffffdff, 0xffffffff};
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        const float u = unit_from_bits(bits[i]);
        assert_true(u > 0.0f && u < 1.0f);
        assert_true(isfinite(-logf(-logf(u))));
    }
    assert_true(unit_from_bits(0) < unit_from_bits(512));
    assert_true(unit_from_bits(0) == 0x1p-24f && unit_from_bits(0xffffffff) == 1.0f - 0x1p-24f);
}

/* Mean, second and fourth moment of a standard normal cut at +-3, from the density's closed forms. */
static void test_state_noise(void **state)
{
    (void)state;
    enum { N_POSITIONS = 100, N_ELEMENTS = 2000 };
    const double n = (double)N_POSITIONS * N_ELEMENTS, phi = exp(-4.5) / sqrt(2.0 * acos(-1.0)),
                 mass = erf(3.0 / sqrt(2.0));
    const double second = 1.0 - 6.0 * phi / mass, fourth = 3.0 * second - 54.0 * phi / mass;
    double sums[5] = {0}, beyond = 0.0, product = 0.0;
    for (uint32_t p = 0; p < N_POSITIONS; p++)
        for (uint32_t k = 0; k < N_ELEMENTS; k++) {
            const double x = (double)sampler_state_noise(99, p, k);
            assert_true(fabs(x) <= 3.0);
            for (int m = 1; m <= 4; m++)
                sums[m] += pow(x, m);
            beyond += fabs(x) > 1.0;
            product += x * (double)sampler_state_noise(99, p + 1000, k);
        }
    const double sigma = 5.0 / sqrt(n); /* five standard errors of a value of variance 1 */
    assert_true(fabs(sums[1] / n) < sigma);
    assert_true(fabs(sums[2] / n - second) < sigma * sqrt(fourth - second * second));
    assert_true(fabs(sums[3] / n) < sigma * 4.0);
    assert_true(fabs(sums[4] / n - fourth) < sigma * 10.0);
    assert_true(fabs(beyond / n - (1.0 - erf(1.0 / sqrt(2.0)) / mass)) < sigma);
    assert_true(fabs(product / n) < sigma); /* positions are independent */
    assert_true(sampler_state_noise(1, 2, 3) == sampler_state_noise(1, 2, 3));
    assert_true(sampler_state_noise(1, 2, 3) != sampler_state_noise(1ull << 32 | 1, 2, 3));
}

/* ---- the chain ---- */

static void test_check(void **state)
{
    (void)state;
    static const struct {
        struct sampler_params params;
        enum mn_status status;
    } cases[] = {
        {{.temperature = 0.0f, .top_p = 1.0f}, MN_OK},
        {{.temperature = 100.0f, .top_k = UINT32_MAX, .top_p = 0.001f, .min_p = 1.0f}, MN_OK},
        {{.temperature = -1.0f, .top_p = 1.0f}, MN_ERR_USAGE},
        {{.temperature = 1e-4f, .top_p = 1.0f}, MN_ERR_USAGE},
        {{.temperature = 101.0f, .top_p = 1.0f}, MN_ERR_USAGE},
        {{.temperature = NAN, .top_p = 1.0f}, MN_ERR_USAGE},
        {{.temperature = 1.0f, .top_p = 0.0f}, MN_ERR_USAGE},
        {{.temperature = 1.0f, .top_p = 1.01f}, MN_ERR_USAGE},
        {{.temperature = 1.0f, .top_p = NAN}, MN_ERR_USAGE},
        {{.temperature = 1.0f, .top_p = 1.0f, .min_p = -0.1f}, MN_ERR_USAGE},
        {{.temperature = 1.0f, .top_p = 1.0f, .min_p = 1.1f}, MN_ERR_USAGE},
        {{.temperature = 1.0f, .top_p = 1.0f, .min_p = NAN}, MN_ERR_USAGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (sampler_check(&cases[i].params, NULL) != cases[i].status)
            fail_msg("case %zu", i);
}

static void test_argmax(void **state)
{
    (void)state;
    assert_int_equal(sampler_argmax((const float[]){3.0f}, 1), 0);
    assert_int_equal(sampler_argmax((const float[]){1.0f, 5.0f, 5.0f, 2.0f}, 4), 1);
    assert_int_equal(sampler_argmax((const float[]){0.0f, -0.0f}, 2), 0);
    assert_int_equal(sampler_argmax((const float[]){-INFINITY, -INFINITY}, 2), 0);
    assert_int_equal(sampler_argmax((const float[]){NAN, -INFINITY, 2.0f, NAN, 2.0f}, 5), 2);
    assert_int_equal(sampler_argmax((const float[]){NAN, -INFINITY}, 2), 1);
    assert_int_equal(sampler_argmax((const float[]){NAN, NAN, NAN}, 3), 0);
}

static void test_greedy(void **state)
{
    (void)state;
    enum { N = 37 };
    float logits[N], scratch[N];
    const struct sampler_params greedy = {.temperature = 0.0f, .top_p = 1.0f, .seed = 5};
    const struct sampler_params top_1 = {.temperature = 2.0f, .top_k = 1, .top_p = 1.0f, .seed = 5};
    const struct sampler_params min_1 = {.temperature = 2.0f, .top_p = 1.0f, .min_p = 1.0f, .seed = 5};
    const struct sampler_params tiny_p = {.temperature = 2.0f, .top_p = 1e-6f, .seed = 5};
    for (uint32_t position = 0; position < 500; position++) {
        for (uint32_t i = 0; i < N; i++)
            logits[i] = 4.0f * test_noise(position, i);
        const uint32_t best = sampler_argmax(logits, N);
        assert_int_equal(sampler_pick(&greedy, logits, N, position, scratch), best);
        assert_int_equal(sampler_pick(&top_1, logits, N, position, scratch), best);
        assert_int_equal(sampler_pick(&min_1, logits, N, position, scratch), best);
        assert_int_equal(sampler_pick(&tiny_p, logits, N, position, scratch), best);
    }
}

/* Ids seen over many positions, as a bit mask. */
static uint32_t seen(const struct sampler_params *params, const float *logits, uint32_t n)
{
    float scratch[32];
    uint32_t mask = 0;
    for (uint32_t position = 0; position < 20000; position++) {
        const uint32_t id = sampler_pick(params, logits, n, position, scratch);
        assert_true(id < n);
        mask |= 1u << id;
    }
    return mask;
}

static void test_keep_sets(void **state)
{
    (void)state;
    /* Probabilities 0.05, 0.4, 0.1, 0.2, 0.1, 0.15 for ids 0..5; ids 2 and 4 are equal. */
    static const float p[] = {0.05f, 0.4f, 0.1f, 0.2f, 0.1f, 0.15f};
    float logits[6];
    for (int i = 0; i < 6; i++)
        logits[i] = logf(p[i]) + 3.0f;
    logits[4] = logits[2];
    static const struct {
        struct sampler_params params;
        uint32_t mask;
    } cases[] = {
        {{.top_p = 1.0f}, 0x3f},
        {{.top_k = 1, .top_p = 1.0f}, 0x02},
        {{.top_k = 3, .top_p = 1.0f}, 0x2a},
        {{.top_k = 4, .top_p = 1.0f}, 0x3e}, /* equal logits stay together */
        {{.top_k = 5, .top_p = 1.0f}, 0x3e},
        {{.top_k = 6, .top_p = 1.0f}, 0x3f},
        {{.top_k = 1000, .top_p = 1.0f}, 0x3f},
        {{.top_p = 0.39f}, 0x02},
        {{.top_p = 0.41f}, 0x0a}, /* the id that crosses the mass belongs to the set */
        {{.top_p = 0.59f}, 0x0a},
        {{.top_p = 0.61f}, 0x2a},
        {{.top_p = 0.80f}, 0x3e},
        {{.top_p = 0.96f}, 0x3f},
        {{.top_p = 1.0f, .min_p = 0.51f}, 0x02},
        {{.top_p = 1.0f, .min_p = 0.49f}, 0x0a},
        {{.top_p = 1.0f, .min_p = 0.3f}, 0x2a},
        {{.top_p = 1.0f, .min_p = 0.2f}, 0x3e},
        {{.top_p = 1.0f, .min_p = 0.1f}, 0x3f},
        {{.top_k = 3, .top_p = 0.75f}, 0x0a}, /* top-p counts what top-k leaves: 0.4 and 0.2 of 0.75 are 0.8 */
        {{.top_k = 3, .top_p = 0.85f}, 0x2a},
        {{.top_k = 5, .top_p = 0.9f, .min_p = 0.3f}, 0x2a},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sampler_params params = cases[i].params;
        params.temperature = 1.0f;
        params.seed = 17 + i;
        /* min-p 0.1 is not met exactly by 0.05 / 0.4 = 0.125, top-p 0.96 leaves 0.05: all bounds have room for
         * rounding. */
        if (seen(&params, logits, 6) != cases[i].mask)
            fail_msg("case %zu: ids 0x%x, expected 0x%x", i, seen(&params, logits, 6), cases[i].mask);
    }
    /* Filters see the logits after the temperature: at 0.5 the probabilities are squared, 0.16 : 0.04 : ... of
     * 0.245. */
    const struct sampler_params cold = {.temperature = 0.5f, .top_p = 0.6f, .seed = 1};
    assert_int_equal(seen(&cold, logits, 6), 0x02);
    const float with_nan[] = {NAN, 0.0f, NAN, 0.5f, -INFINITY};
    const struct sampler_params plain = {.temperature = 1.0f, .top_p = 1.0f, .seed = 3};
    assert_int_equal(seen(&plain, with_nan, 5), 0x0a);
    const float all_nan[] = {NAN, NAN, NAN};
    float scratch[3];
    assert_true(sampler_pick(&plain, all_nan, 3, 0, scratch) < 3);
}

static double chi_square(const uint32_t *counts, const double *p, uint32_t n, double total)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += p[i] > 0.0 ? (counts[i] - total * p[i]) * (counts[i] - total * p[i]) / (total * p[i]) : counts[i] * 1e9;
    return sum;
}

/* Counts over many positions against softmax(logits / T) over the ids in `mask`. */
static void check_distribution(struct sampler_params params, uint32_t mask, double bound)
{
    enum { N = 16, DRAWS = 200000 };
    float logits[N], scratch[N];
    double p[N], total = 0.0;
    uint32_t counts[N] = {0};
    for (uint32_t i = 0; i < N; i++) {
        logits[i] = 2.0f * (float)(i % 7) / 3.0f - 1.5f * (float)(i % 3);
        p[i] = mask >> i & 1 ? exp((double)logits[i] / (double)params.temperature) : 0.0;
        total += p[i];
    }
    for (uint32_t i = 0; i < N; i++)
        p[i] /= total;
    for (uint32_t position = 0; position < DRAWS; position++)
        counts[sampler_pick(&params, logits, N, position, scratch)]++;
    const double x = chi_square(counts, p, N, DRAWS);
    if (!(x < bound))
        fail_msg("temperature %g: chi-square %g exceeds %g", (double)params.temperature, x, bound);
}

static void test_distribution(void **state)
{
    (void)state;
    /* With 15 degrees of freedom one in a million exceeds 56. */
    check_distribution((struct sampler_params){.temperature = 1.0f, .top_p = 1.0f, .seed = 1}, 0xffff, 56.0);
    check_distribution((struct sampler_params){.temperature = 2.5f, .top_p = 1.0f, .seed = 0xfeedfacecafebeefu}, 0xffff,
                       56.0);
    check_distribution((struct sampler_params){.temperature = 0.8f, .top_p = 1.0f, .seed = 3}, 0xffff, 56.0);
    /* Kept ids by definition: fewer than six logits are larger. The others must never appear. */
    uint32_t mask = 0;
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t above = 0;
        for (uint32_t k = 0; k < 16; k++)
            above += 2.0f * (float)(k % 7) / 3.0f - 1.5f * (float)(k % 3) >
                     2.0f * (float)(i % 7) / 3.0f - 1.5f * (float)(i % 3);
        mask |= (uint32_t)(above < 6) << i;
    }
    check_distribution((struct sampler_params){.temperature = 1.0f, .top_k = 6, .top_p = 1.0f, .seed = 4}, mask, 56.0);
}

/* Neighbouring positions and neighbouring seeds must be independent: pairs of tokens against the product
 * distribution. */
static void test_independence(void **state)
{
    (void)state;
    enum { DRAWS = 100000 };
    static const float logits[4] = {0.0f, 0.5f, 1.0f, -0.5f};
    float scratch[4];
    double p[4], pairs[16], total = 0.0;
    uint32_t by_position[16] = {0}, by_seed[16] = {0};
    for (int i = 0; i < 4; i++)
        total += p[i] = exp((double)logits[i]);
    for (int i = 0; i < 16; i++)
        pairs[i] = p[i / 4] * p[i % 4] / (total * total);
    for (uint32_t i = 0; i < DRAWS; i++) {
        const struct sampler_params even = {.temperature = 1.0f, .top_p = 1.0f, .seed = 2 * (uint64_t)i},
                                    odd = {.temperature = 1.0f, .top_p = 1.0f, .seed = 2 * (uint64_t)i + 1};
        const struct sampler_params fixed = {.temperature = 1.0f, .top_p = 1.0f, .seed = 77};
        by_position[4 * sampler_pick(&fixed, logits, 4, 2 * i, scratch) +
                    sampler_pick(&fixed, logits, 4, 2 * i + 1, scratch)]++;
        by_seed[4 * sampler_pick(&even, logits, 4, 9, scratch) + sampler_pick(&odd, logits, 4, 9, scratch)]++;
    }
    assert_true(chi_square(by_position, pairs, 16, DRAWS) < 56.0);
    assert_true(chi_square(by_seed, pairs, 16, DRAWS) < 56.0);
}

/* A draft and its verification: close logits, same noise. They must agree far more often than independent draws
 * would. */
static void test_shared_noise(void **state)
{
    (void)state;
    enum { N = 50, DRAWS = 5000 };
    float a[N], b[N], scratch[N];
    const struct sampler_params params = {.temperature = 1.0f, .top_p = 0.95f, .seed = 6};
    uint32_t n_equal = 0;
    for (uint32_t position = 0; position < DRAWS; position++) {
        for (uint32_t i = 0; i < N; i++) {
            a[i] = 2.0f * test_noise(position, i);
            b[i] = a[i] + 0.01f * test_noise(position + DRAWS, i);
        }
        const uint32_t id = sampler_pick(&params, a, N, position, scratch);
        assert_int_equal(sampler_pick(&params, a, N, position, scratch), id);
        n_equal += sampler_pick(&params, b, N, position, scratch) == id;
    }
    assert_true(n_equal > DRAWS * 97 / 100);
}

/* ---- conversions ---- */

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* IEEE 754 binary16 by its definition. */
static double f16_value(uint16_t h)
{
    const int exponent = h >> 10 & 31, mantissa = h & 1023;
    const double sign = h & 0x8000 ? -1.0 : 1.0;
    if (exponent == 31)
        return mantissa ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24));
}

static void test_f16(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        const uint16_t h = (uint16_t)i;
        const double want = f16_value(h);
        const float got = f16_to_f32(h);
        if (isnan(want)) {
            const uint16_t back = f32_to_f16(got);
            if (!isnan(got) || !isnan(f16_value(back)) || (back ^ h) & 0x8000)
                fail_msg("NaN 0x%04x became 0x%08x, 0x%04x", h, bits_of(got), back);
        } else if ((double)got != want || (signbit(got) != 0) != (h >> 15 != 0) || f32_to_f16(got) != h) {
            fail_msg("0x%04x became %g, 0x%04x", h, (double)got, f32_to_f16(got));
        }
    }
}

static void test_f16_rounding(void **state)
{
    (void)state;
    /* Between all neighbours h, h + 1 of one sign: the midpoint goes to the even one, a hair beside it to the nearer
     * one. */
    for (uint32_t i = 0; i < 0x7bff; i++)
        for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
            const uint16_t low = (uint16_t)(i | sign), high = (uint16_t)(low + 1);
            const float middle = (float)(0.5 *
                                         (f16_value(low) + f16_value(high))); /* exact: one bit more than f16 has */
            const uint16_t even = low & 1 ? high : low;
            if (f32_to_f16(middle) != even || f32_to_f16(nextafterf(middle, 0.0f)) != low ||
                f32_to_f16(nextafterf(middle, sign ? -INFINITY : INFINITY)) != high)
                fail_msg("around %.9g: 0x%04x 0x%04x 0x%04x, expected 0x%04x 0x%04x 0x%04x", (double)middle,
                         f32_to_f16(nextafterf(middle, 0.0f)), f32_to_f16(middle),
                         f32_to_f16(nextafterf(middle, sign ? -INFINITY : INFINITY)), low, even, high);
        }
    assert_int_equal(f32_to_f16(65504.0f), 0x7bff);
    assert_int_equal(f32_to_f16(nextafterf(65520.0f, 0.0f)), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(-FLT_MAX), 0xfc00);
    assert_int_equal(f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(f32_to_f16(0x1p-25f), 0x0000);
    assert_int_equal(f32_to_f16(-0x1p-25f), 0x8000);
    assert_int_equal(f32_to_f16(0x1.000002p-25f), 0x0001);
    assert_int_equal(f32_to_f16(FLT_TRUE_MIN), 0x0000);
    assert_int_equal(f32_to_f16(-0.0f), 0x8000);
}

static void test_bf16(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        const uint16_t b = (uint16_t)i;
        const float x = bf16_to_f32(b);
        assert_int_equal(bits_of(x), i << 16);
        if (isnan(x) ? !isnan(bf16_to_f32(f32_to_bf16(x))) || (f32_to_bf16(x) ^ b) & 0x8000 : f32_to_bf16(x) != b)
            fail_msg("0x%04x came back as 0x%04x", b, f32_to_bf16(x));
        /* Halfway to the next pattern, and one f32 step to either side. Past the largest finite value that is
         * infinity. */
        if ((b & 0x7fff) >= 0x7f80)
            continue;
        float around[3];
        const uint32_t bits[3] = {(i << 16) + 0x7fff, (i << 16) + 0x8000, (i << 16) + 0x8001};
        memcpy(around, bits, sizeof around);
        const uint16_t even = (uint16_t)(b + (b & 1));
        if (f32_to_bf16(around[0]) != b || f32_to_bf16(around[1]) != even ||
            f32_to_bf16(around[2]) != (uint16_t)(b + 1))
            fail_msg("around 0x%08x: 0x%04x 0x%04x 0x%04x", bits[1], f32_to_bf16(around[0]), f32_to_bf16(around[1]),
                     f32_to_bf16(around[2]));
    }
    assert_int_equal(f32_to_bf16(FLT_MAX), 0x7f80);
    /* A NaN whose payload lies in the dropped bits must not become infinity. */
    uint32_t bits = 0x7f800001;
    float low_payload;
    memcpy(&low_payload, &bits, sizeof low_payload);
    assert_true(isnan(bf16_to_f32(f32_to_bf16(low_payload))));
    assert_true(isnan(f16_to_f32(f32_to_f16(low_payload))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox),       cmocka_unit_test(test_unit_interval), cmocka_unit_test(test_state_noise),
        cmocka_unit_test(test_check),        cmocka_unit_test(test_argmax),        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_keep_sets),    cmocka_unit_test(test_distribution),  cmocka_unit_test(test_independence),
        cmocka_unit_test(test_shared_noise), cmocka_unit_test(test_f16),           cmocka_unit_test(test_f16_rounding),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
