/* How `muninn bench --quick` keeps its time. */
#include "bench/sweep/quick_plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/sweep/estimate.h"

/* Behind a deadline what runs ends within one submit, and the lines have to be written. */
static const double END_S = 2.0;
/* A setting can be slower than ar: what it takes is not known before it has run. */
static const double SLOWER = 1.5;
/* At least so many settings, or none: ar and two to compare with it. */
enum { SETTINGS_MIN = 3 };
/* New tokens of each prompt: as many as there is time for, and fewer than usual rather than nothing. */
enum { N_NEW_MOST = 64, N_NEW_USUAL = 16, N_NEW_FEWEST = 8 };
/* A subject that is predicted from a smaller one is tried unless it would take this much more than there is. */
static const double DOUBT = 1.5;
/* Of a subject's time at most so much is kept for its end. */
static const double FINISH_SHARE = 0.1;

struct quick {
    const struct quick_ops *ops;
    double end;                       /* of everything */
    double open_s_byte, token_s_byte; /* of synthetic models so far, the slowest; 0: none yet */
    enum mn_status failed;
    /* What there was no time for in its share, and may be some for when all others are done. */
    struct postponed {
        bool is;
        double seconds;            /* that it needs */
        char why[QUICK_WHY_BYTES]; /* what is said of it when there are not so many */
    } postponed[QUICK_SUBJECTS_MAX];
};

static double seconds_of(double token_s, uint32_t n_new, double runs)
{
    return token_s * QUICK_PROMPTS * n_new * runs;
}

/* All settings that are needed, with the tokens of ar that they are compared with. */
static double least_cost(double token_s, uint32_t n_new, uint32_t n_settings)
{
    const double n = n_settings < SETTINGS_MIN ? n_settings : SETTINGS_MIN;
    return seconds_of(token_s, n_new, 1.0 + (1.0 + (n - 1.0) * SLOWER) * (1 + QUICK_REPETITIONS));
}

/* 0: not even the fewest. */
static uint32_t choose_n_new(double token_s, uint32_t n_settings, double seconds, uint32_t fewest)
{
    for (uint32_t n_new = N_NEW_MOST; n_new >= fewest; n_new /= 2)
        if (least_cost(token_s, n_new, n_settings) <= seconds)
            return n_new;
    return 0;
}

static void learn(double *s_byte, const struct quick_subject *s, double seconds)
{
    if (s->synthetic && s->weight_bytes && seconds / (double)s->weight_bytes > *s_byte)
        *s_byte = seconds / (double)s->weight_bytes;
}

/* From smaller ones: would it come to a token at all? */
static bool is_hopeless(const struct quick *q, const struct quick_subject *s, double seconds, char *why)
{
    char open[TIME_TEXT_BYTES], token[TIME_TEXT_BYTES];
    const double open_s = q->open_s_byte * (double)s->weight_bytes, token_s = q->token_s_byte * (double)s->weight_bytes;
    if (!s->synthetic || open_s + least_cost(token_s, N_NEW_FEWEST, s->n_settings) <= DOUBT * seconds)
        return false;
    write_time(open, open_s);
    write_time(token, token_s);
    snprintf(why, QUICK_WHY_BYTES,
             "left out: by the smaller one, making its weights would take about %s here, and a token %s", open, token);
    return true;
}

/* As many settings as there is time for: once one is known, by the slowest so far. */
static enum mn_status measure_settings(struct quick *q, uint32_t i, const struct quick_subject *s, uint32_t n_new,
                                       double token_s, double end, uint32_t *n_done)
{
    const struct quick_ops *ops = q->ops;
    double slowest = seconds_of(token_s, n_new, SLOWER * (1 + QUICK_REPETITIONS));
    for (uint32_t k = 0; k < s->n_settings; k++) {
        const double start = ops->now(ops->user);
        if (k > 0 && start + slowest > end)
            return MN_OK;
        enum mn_status status = ops->measure(ops->user, i, k, n_new, end);
        if (status)
            return status;
        *n_done = k + 1;
        if (k > 0) /* behind the first one stands what ar says, too */
            slowest = k == 1 || ops->now(ops->user) - start > slowest ? ops->now(ops->user) - start : slowest;
    }
    return MN_OK;
}

/* The time of one subject, and what came of it. */
struct turn {
    double start, end;
    uint32_t fewest; /* new tokens */
    uint32_t n_done;
    bool too_slow; /* for its time; needed_s would do */
    double needed_s;
    char why[QUICK_WHY_BYTES];
};

/* `status` of the settings; one more failure does not take what was measured. */
static enum mn_status finish(struct quick *q, uint32_t i, const struct turn *t, enum mn_status status)
{
    const struct quick_ops *ops = q->ops;
    const bool is_cut = status == MN_ERR_INTERRUPTED && !ops->stop(ops->user);
    if (!t->n_done || (status && !is_cut))
        return status;
    const enum mn_status ended = ops->finish(ops->user, i, t->end);
    return ended && (ended != MN_ERR_INTERRUPTED || ops->stop(ops->user)) ? ended : status;
}

static enum mn_status run_opened(struct quick *q, uint32_t i, const struct quick_subject *s, struct turn *t)
{
    const struct quick_ops *ops = q->ops;
    const double start = ops->now(ops->user),
                 finish_s = fmin(DOUBT * ops->finish_s(ops->user, i), FINISH_SHARE * (t->end - t->start));
    double token_s = 0.0;
    char all[TIME_TEXT_BYTES], token[TIME_TEXT_BYTES];
    enum mn_status status = ops->time_token(ops->user, i, t->end, &token_s);
    const double begin = ops->now(ops->user);
    if (status == MN_ERR_INTERRUPTED) {
        token_s = begin - start; /* at least */
        snprintf(t->why, sizeof t->why, "left out: no token came within %.0f s", token_s);
    }
    learn(&q->token_s_byte, s, token_s);
    if (status)
        return status;
    const uint32_t n_new = choose_n_new(token_s, s->n_settings, t->end - finish_s - begin, t->fewest);
    if (n_new)
        return finish(q, i, t, measure_settings(q, i, s, n_new, token_s, t->end - finish_s, &t->n_done));
    const double least = least_cost(token_s, N_NEW_FEWEST, s->n_settings);
    t->too_slow = true;
    t->needed_s = DOUBT * (begin - t->start) + least + finish_s;
    write_time(token, token_s);
    write_time(all, least);
    snprintf(t->why, sizeof t->why, "left out: a token of ar takes %s here, and the fewest settings would take %s",
             token, all);
    return MN_OK;
}

static enum mn_status open_and_run(struct quick *q, uint32_t i, const struct quick_subject *s, struct turn *t)
{
    const struct quick_ops *ops = q->ops;
    enum mn_status status = ops->open(ops->user, i, t->end);
    const double open_s = ops->now(ops->user) - t->start;
    learn(&q->open_s_byte, s, open_s);
    if (status == MN_ERR_INTERRUPTED)
        snprintf(t->why, sizeof t->why, "left out: it was not ready after %.0f s", open_s);
    else if (status == MN_ERR_MEMORY)
        snprintf(t->why, sizeof t->why, "left out: it does not fit");
    if (status)
        return status;
    status = run_opened(q, i, s, t);
    ops->close(ops->user, i);
    return status;
}

static enum mn_status run_subject(struct quick *q, uint32_t i, const struct quick_subject *s, double seconds,
                                  uint32_t fewest)
{
    const struct quick_ops *ops = q->ops;
    const double start = ops->now(ops->user);
    struct turn t = {.start = start, .end = start + seconds, .fewest = fewest};
    enum mn_status status = MN_OK;
    if (seconds < END_S)
        snprintf(t.why, sizeof t.why, "left out: no time is left");
    else if (fewest == N_NEW_FEWEST || !is_hopeless(q, s, seconds, t.why))
        status = open_and_run(q, i, s, &t);
    if (status == MN_ERR_INTERRUPTED && ops->stop(ops->user))
        return status;
    if (t.too_slow && fewest > N_NEW_FEWEST) {
        q->postponed[i] = (struct postponed){.is = true, .seconds = t.needed_s};
        memcpy(q->postponed[i].why, t.why, sizeof t.why);
        return MN_OK;
    }
    if (!*t.why && t.n_done < s->n_settings)
        snprintf(t.why, sizeof t.why,
                 status && status != MN_ERR_INTERRUPTED ? "%u of %u settings: one failed"
                                                        : "%u of %u settings in its time",
                 t.n_done, s->n_settings);
    if (status && status != MN_ERR_INTERRUPTED && status != MN_ERR_MEMORY && !q->failed)
        q->failed = status;
    ops->over(ops->user, i, t.n_done, *t.why ? t.why : NULL);
    return MN_OK;
}

/* What the others left goes to those that had too little: in equal parts where that is enough, else to the first. */
static enum mn_status run_postponed(struct quick *q, const struct quick_subject *subjects, uint32_t n)
{
    const struct quick_ops *ops = q->ops;
    uint32_t n_left = 0;
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < n; i++)
        n_left += q->postponed[i].is;
    for (uint32_t i = 0; i < n && !status; i++) {
        const struct postponed *p = &q->postponed[i];
        const double left = q->end - ops->now(ops->user);
        if (!p->is)
            continue;
        const double share = left / n_left--;
        if (ops->stop(ops->user))
            status = MN_ERR_INTERRUPTED;
        else if (p->seconds > left)
            ops->over(ops->user, i, 0, p->why);
        else
            status = run_subject(q, i, &subjects[i], p->seconds > share ? p->seconds : share, N_NEW_FEWEST);
    }
    return status;
}

enum mn_status quick_plan_run(const struct quick_ops *ops, const struct quick_subject *subjects, uint32_t n,
                              double budget_s)
{
    struct quick q = {.ops = ops, .end = ops->now(ops->user) + budget_s - END_S};
    enum mn_status status = MN_OK;
    for (uint32_t i = 0; i < n && !status; i++)
        status = ops->stop(ops->user)
                     ? MN_ERR_INTERRUPTED
                     : run_subject(&q, i, &subjects[i], (q.end - ops->now(ops->user)) / (n - i), N_NEW_USUAL);
    if (!status)
        status = run_postponed(&q, subjects, n);
    return status ? status : q.failed;
}
