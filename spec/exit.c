#include "spec/exit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/decimal.h"

static const struct {
    const char *name;
    double threshold;
} criteria[EXIT_COUNT] = {
    [EXIT_NONE] = {"none", 0.0},
    [EXIT_LATENT_DIFF] = {"latent-diff", 0.03},
    [EXIT_COSINE] = {"cosine", 1e-3},
    [EXIT_ENTROPY_DIFF] = {"entropy-diff", 1e-3},
    [EXIT_KL] = {"kl", 1e-3},
    [EXIT_MINP_KL] = {"minp-kl", 1e-5},
    [EXIT_ARGMAX_STABILITY] = {"argmax-stability", 5.0},
    [EXIT_GATE] = {"gate", 0.9},
};

const char *exit_name(enum exit_criterion criterion)
{
    return criteria[criterion].name;
}

bool exit_is_latent(enum exit_criterion criterion)
{
    return criterion == EXIT_LATENT_DIFF || criterion == EXIT_COSINE || criterion == EXIT_GATE;
}

enum mn_status exit_parse(const char *text, struct exit_rule *out, const struct mn_log *log)
{
    *out = (struct exit_rule){.min_steps = 1, .check_interval = 1};
    if (!text)
        return MN_OK;
    size_t n = strcspn(text, ":");
    for (int i = EXIT_LATENT_DIFF; i < EXIT_COUNT; i++)
        if (strlen(criteria[i].name) == n && !strncmp(criteria[i].name, text, n)) {
            out->criterion = (enum exit_criterion)i;
            out->threshold = criteria[i].threshold;
        }
    if (out->criterion == EXIT_NONE)
        return log_fail(
            log, MN_ERR_USAGE,
            "exit.rule %s: must be latent-diff, cosine, entropy-diff, kl, minp-kl, argmax-stability or gate, then "
            ":THRESHOLD if wanted",
            text);
    if (text[n] == '\0')
        return MN_OK;
    const char *end;
    out->threshold = decimal_read(text + n + 1, &end);
    if (end == text + n + 1 || *end || !(out->threshold > 0.0 && out->threshold < 1e6))
        return log_fail(log, MN_ERR_USAGE, "exit.rule %s: the threshold must be a number above 0", text);
    return MN_OK;
}

enum mn_status exit_memory_init(struct exit_memory *memory, uint32_t n_vocab, const struct mn_log *log)
{
    *memory = (struct exit_memory){.n_vocab = n_vocab};
    memory->previous = malloc(n_vocab * sizeof *memory->previous);
    memory->current = malloc(n_vocab * sizeof *memory->current);
    if (memory->previous && memory->current)
        return MN_OK;
    exit_memory_finish(memory);
    return log_fail(log, MN_ERR_MEMORY, "out of host memory for early exit");
}

void exit_memory_finish(struct exit_memory *memory)
{
    free(memory->previous);
    free(memory->current);
    *memory = (struct exit_memory){0};
}

void exit_begin(struct exit_memory *memory)
{
    memory->n_checks = memory->n_stable = 0;
    memory->previous_entropy = 100.0;
    memory->survival = 1.0;
    for (uint32_t i = 0; i < memory->n_vocab; i++)
        memory->previous[i] = 1.0 / memory->n_vocab;
}

double exit_latent_value(enum exit_criterion criterion, const float *s, const float *before, uint32_t n)
{
    double difference = 0.0, ss = 0.0, bb = 0.0, sb = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        double a = s[i], b = before[i];
        difference += (a - b) * (a - b);
        ss += a * a;
        bb += b * b;
        sb += a * b;
    }
    if (criterion == EXIT_LATENT_DIFF)
        return sqrt(difference) / sqrt(ss);
    /* A zero state (the initial one) has no direction: the cosine counts as 0. */
    return bb > 0.0 && ss > 0.0 ? 1.0 - sb / (sqrt(ss) * sqrt(bb)) : 1.0;
}

bool exit_latent(const struct exit_rule *rule, double value)
{
    return value < rule->threshold;
}

bool exit_gate(const struct exit_rule *rule, struct exit_memory *memory, const float *gate, const float *s, uint32_t n)
{
    double sum = (double)gate[n];
    for (uint32_t i = 0; i < n; i++)
        sum += (double)gate[i] * (double)s[i];
    memory->survival *= 1.0 / (1.0 + exp(sum)); /* 1 - sigmoid */
    return 1.0 - memory->survival >= rule->threshold;
}

/* Softmax of the logits; for minp-kl everything below a tenth of the largest becomes 1/V before renormalising. */
static void probabilities(const struct exit_rule *rule, const float *logits, uint32_t n, double *p)
{
    double largest = -INFINITY, sum = 0.0, top = 0.0;
    for (uint32_t i = 0; i < n; i++)
        largest = (double)logits[i] > largest ? (double)logits[i] : largest;
    for (uint32_t i = 0; i < n; i++)
        sum += p[i] = exp((double)logits[i] - largest);
    for (uint32_t i = 0; i < n; i++) {
        p[i] /= sum;
        top = p[i] > top ? p[i] : top;
    }
    if (rule->criterion != EXIT_MINP_KL)
        return;
    sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += p[i] = p[i] < 0.1 * top ? 1.0 / n : p[i];
    for (uint32_t i = 0; i < n; i++)
        p[i] /= sum;
}

static double entropy(const double *p, uint32_t n)
{
    double h = 0.0;
    for (uint32_t i = 0; i < n; i++)
        h -= p[i] > 0.0 ? p[i] * log(p[i]) : 0.0;
    return h;
}

static double divergence(const double *before, const double *p, uint32_t n)
{
    double kl = 0.0;
    for (uint32_t i = 0; i < n; i++)
        kl += before[i] > 0.0 ? before[i] * (log(before[i]) - log(p[i])) : 0.0;
    return kl;
}

static bool stable(const struct exit_rule *rule, struct exit_memory *memory, const float *logits)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < memory->n_vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    memory->n_stable = memory->n_checks > 0 && best == memory->previous_best ? memory->n_stable + 1 : 0;
    memory->previous_best = best;
    memory->n_checks++;
    return memory->n_stable >= rule->threshold;
}

bool exit_logits(const struct exit_rule *rule, struct exit_memory *memory, const float *logits)
{
    if (rule->criterion == EXIT_ARGMAX_STABILITY)
        return stable(rule, memory, logits);
    probabilities(rule, logits, memory->n_vocab, memory->current);
    double value;
    if (rule->criterion == EXIT_ENTROPY_DIFF) {
        double h = entropy(memory->current, memory->n_vocab);
        value = fabs(h - memory->previous_entropy);
        memory->previous_entropy = h;
    } else {
        value = divergence(memory->previous, memory->current, memory->n_vocab);
    }
    memory->n_checks++;
    double *swap = memory->previous;
    memory->previous = memory->current;
    memory->current = swap;
    return value < rule->threshold;
}
