/* Terminal behaviour: what a token's latent state does at the end of its recurrence, judged by the last steps, the
 * WINDOW.
 *
 * With s_t the state after step t, R the last step and D the window's differences s_t - s_(t-1), the first rule that
 * holds decides: fixed point  every state of the window lies within `near` |s_R| of s_R; orbit        for a period p >=
 * 2 the mean of |s_t - s_(t-p)| over the window is at most `lag` times the mean of |D|, and D is steady; the smallest
 * such p is the period, at most half the window so that two laps are seen; slider       the mean cosine of neighbouring
 * differences is at least `aligned`, |s_R - s_(R-W)| is at least `straight` times the way walked, and D is steady;
 *   unsettled    none of them: still converging, or wandering.
 * Steady: the mean |D| of the window's second half is at least `steady` times that of its first. What shrinks faster is
 * on its way to a fixed point, however it moves. An orbit of many more steps than the window holds looks like a slider.
 *
 * Owns: the rule. Never: touches the device. Thread-safety: stateless.
 */
#ifndef MUNINN_ANALYSIS_TERMINAL_H
#define MUNINN_ANALYSIS_TERMINAL_H

#include <stdint.h>

enum terminal_kind { TERMINAL_UNSETTLED, TERMINAL_FIXED_POINT, TERMINAL_ORBIT, TERMINAL_SLIDER, TERMINAL_COUNT };

enum { TERMINAL_WINDOW_MIN = 4, TERMINAL_PERIOD_MAX = 32 };

struct terminal_rule {
    uint32_t window; /* steps; 0: half of all, at least TERMINAL_WINDOW_MIN */
    double near, lag, aligned, straight, steady;
};
extern const struct terminal_rule terminal_defaults;

struct terminal {
    enum terminal_kind kind;
    uint32_t window; /* steps that were looked at; 0: fewer than TERMINAL_WINDOW_MIN steps, unsettled */
    uint32_t period; /* of an orbit, else 0 */
    double spread;   /* largest distance of a state of the window from the last one, over |s_R| */
    double lag;      /* smallest mean lag distance over mean step length; 0 when nothing moves */
    double alignment, straightness, steadiness; /* 0 when nothing moves */
};

/* "fixed-point", "orbit", "slider", "unsettled". */
const char *terminal_name(enum terminal_kind kind);

/* Judges one trajectory: states [n_steps + 1, d], the initial one first. */
struct terminal terminal_classify(const struct terminal_rule *rule, const float *states, uint32_t n_steps, uint32_t d);

#endif
