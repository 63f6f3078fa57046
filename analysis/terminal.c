#include "analysis/terminal.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* A rule with what its zeros stand for. */
static struct mn_terminal_rule settled(const struct mn_terminal_rule *rule)
{
    if (rule->nearness != 0.0)
        return *rule;
    return (struct mn_terminal_rule){
        .window = rule->window, .nearness = 0.03, .lag = 0.5, .aligned = 0.5, .straight = 0.5, .steady = 0.7};
}

const char *mn_terminal_name(enum mn_terminal_kind kind)
{
    static const char *const names[MN_TERMINAL_COUNT] = {[MN_TERMINAL_UNSETTLED] = "unsettled",
                                                         [MN_TERMINAL_FIXED_POINT] = "fixed-point",
                                                         [MN_TERMINAL_ORBIT] = "orbit",
                                                         [MN_TERMINAL_SLIDER] = "slider"};
    return (unsigned)kind < MN_TERMINAL_COUNT ? names[kind] : NULL;
}

/* The window: states[0] is s_(R-W), states[w] is s_R. */
struct view {
    const float *states;
    uint32_t w, d;
};

static const float *state_at(const struct view *v, uint32_t i)
{
    return v->states + (size_t)i * v->d;
}

static double distance(const struct view *v, uint32_t i, uint32_t j)
{
    const float *a = state_at(v, i), *b = state_at(v, j);
    double sum = 0.0;
    for (uint32_t k = 0; k < v->d; k++)
        sum += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]);
    return sqrt(sum);
}

static double mean_step(const struct view *v, uint32_t from, uint32_t to)
{
    double sum = 0.0;
    for (uint32_t i = from; i < to; i++)
        sum += distance(v, i, i + 1);
    return sum / (to - from);
}

/* Mean cosine of the angles between a step and the next; a step of length 0 has no direction and counts as 0. */
static double mean_alignment(const struct view *v)
{
    double sum = 0.0;
    for (uint32_t i = 0; i + 2 <= v->w; i++) {
        const float *a = state_at(v, i), *b = state_at(v, i + 1), *c = state_at(v, i + 2);
        double product = 0.0, first = 0.0, second = 0.0;
        for (uint32_t k = 0; k < v->d; k++) {
            const double x = (double)b[k] - (double)a[k], y = (double)c[k] - (double)b[k];
            product += x * y;
            first += x * x;
            second += y * y;
        }
        sum += first > 0.0 && second > 0.0 ? product / sqrt(first * second) : 0.0;
    }
    return sum / (v->w - 1);
}

/* The smallest period that the rule accepts, or 0; *smallest is the smallest ratio of lag distance to step length
 * met. */
static uint32_t find_period(const struct mn_terminal_rule *rule, const struct view *v, double step, double *smallest)
{
    const uint32_t most = v->w / 2 < TERMINAL_PERIOD_MAX ? v->w / 2 : TERMINAL_PERIOD_MAX;
    *smallest = INFINITY;
    for (uint32_t p = 2; p <= most; p++) {
        double sum = 0.0;
        for (uint32_t i = p; i <= v->w; i++)
            sum += distance(v, i - p, i);
        const double ratio = sum / (v->w - p + 1) / step;
        *smallest = fmin(*smallest, ratio);
        if (ratio <= rule->lag)
            return p;
    }
    return 0;
}

struct mn_terminal terminal_classify(const struct mn_terminal_rule *given, const float *states, uint32_t n_steps,
                                     uint32_t d)
{
    const struct mn_terminal_rule with_defaults = settled(given), *rule = &with_defaults;
    struct mn_terminal t = {.kind = MN_TERMINAL_UNSETTLED};
    uint32_t w = rule->window ? rule->window : n_steps / 2;
    w = w < MN_MIN_WINDOW ? MN_MIN_WINDOW : w;
    if (w > n_steps)
        return t;
    const struct view v = {.states = states + (size_t)(n_steps - w) * d, .w = w, .d = d};
    double norm = 0.0;
    for (uint32_t k = 0; k < d; k++)
        norm += (double)state_at(&v, w)[k] * (double)state_at(&v, w)[k];
    norm = sqrt(norm);
    t.window = w;
    for (uint32_t i = 0; i < w; i++)
        t.spread = fmax(t.spread, distance(&v, i, w));
    const double step = mean_step(&v, 0, w), early = mean_step(&v, 0, w / 2);
    if (step > 0.0) {
        t.period = find_period(rule, &v, step, &t.lag);
        t.alignment = mean_alignment(&v);
        t.straightness = distance(&v, 0, w) / (step * w);
        t.steadiness = early > 0.0 ? mean_step(&v, w / 2, w) / early : 0.0;
    }
    const bool steady = t.steadiness >= rule->steady;
    if (t.spread <= rule->nearness * norm)
        t.kind = MN_TERMINAL_FIXED_POINT;
    else if (t.period && steady)
        t.kind = MN_TERMINAL_ORBIT;
    else if (t.alignment >= rule->aligned && t.straightness >= rule->straight && steady)
        t.kind = MN_TERMINAL_SLIDER;
    if (t.kind != MN_TERMINAL_ORBIT)
        t.period = 0;
    t.spread = norm > 0.0 ? t.spread / norm : 0.0;
    return t;
}
