/* What a sweep runs over, and the cross product of it. */
#include "bench/sweep/settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sweep/sweep.h"
#include "engine/base/numbers.h"
#include "engine/files/json.h"
#include "engine/files/lines.h"

enum { SETTINGS_MAX = 100000 };

/* ---- what to run over ---- */

static enum mn_status parse_shard(struct sweep_lists *l, const char *text, const struct mn_log *log)
{
    char end;
    l->shard = l->n_shards = 1;
    if (!text)
        return MN_OK;
    if (sscanf(text, "%6" SCNu32 "/%6" SCNu32 "%c", &l->shard, &l->n_shards, &end) != 2 || l->shard < 1 ||
        l->shard > l->n_shards)
        return log_fail(log, MN_ERR_USAGE, "--shard %s: must be i/n with i from 1 to n", text);
    return MN_OK;
}

/* Refused before a model is open where that is possible. */
static enum mn_status parse_acceptance(struct sweep_lists *l, const char *text, const struct mn_log *log)
{
    enum mn_status status = acceptance_parse(&l->acceptance, text, log);
    for (uint32_t i = 0; i < l->num_steps.n && !status; i++)
        status = acceptance_check(&l->acceptance, l->num_steps.values[i], log);
    for (uint32_t i = 0; i < l->strategies.n && !status && l->acceptance.n_flat; i++)
        if (mn_strategy_find(l->strategies.words[i])->uses & MN_USES_COSTS)
            status = log_fail(log, MN_ERR_USAGE,
                              "--acceptance %.60s: strategy %s chooses the depth of its drafts itself: it needs "
                              "DEPTH:SHARE,.. or a profile",
                              text, l->strategies.words[i]);
    return status;
}

enum mn_status sweep_lists_parse(struct sweep_lists *l, const struct sweep_params *p, const struct mn_log *log)
{
    const struct {
        const char *option, *text;
        const char *(*choice_at)(uint32_t index);
        struct word_list *out;
    } words[] = {{"device", p->devices, NULL, &l->devices},
                 {"weight-type", p->weight_types, NULL, &l->weight_types},
                 {"matrix-units", p->matrix_units, NULL, &l->matrix_units},
                 {"kv-policy", p->kv_policies, NULL, &l->kv_policies},
                 {"kv-type", p->kv_types, mn_kv_type_at, &l->kv_types},
                 {"strategy", p->strategies, strategy_name_at, &l->strategies}};
    const struct {
        const char *option, *text;
        uint32_t min, max;
        struct number_list *out;
    } numbers[] = {{"num-steps", p->num_steps, 1, 4096, &l->num_steps},
                   {"draft-steps", p->draft_steps, 1, 4095, &l->draft_steps},
                   {"lookahead", p->lookaheads, 1, MN_MAX_LOOKAHEAD, &l->lookaheads},
                   {"lookup", p->lookups, 0, MN_MAX_LOOKUP, &l->lookups},
                   {"branches", p->branches, 1, MN_MAX_BRANCHES, &l->branches},
                   {"max-inflight", p->max_inflights, 1, ROWS_PER_PASS, &l->max_inflights},
                   {"prompt-tokens", p->prompt_tokens, 1, IDS_MAX, &l->prompt_tokens},
                   {"max-new-tokens", p->n_new, 2, IDS_MAX, &l->n_new},
                   {"batch", p->batches, 1, ROWS_PER_PASS, &l->batches}};
    *l = (struct sweep_lists){0};
    enum mn_status status = parse_shard(l, p->shard, log);
    for (size_t i = 0; i < sizeof words / sizeof *words && !status; i++) {
        char choices[CHOICES_BYTES];
        if (words[i].choice_at)
            join_choices(words[i].choice_at, choices, sizeof choices);
        if (words[i].text)
            status = parse_words(words[i].option, words[i].text, words[i].choice_at ? choices : NULL, words[i].out,
                                 log);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !status; i++)
        if (numbers[i].text)
            status = parse_numbers(numbers[i].option, numbers[i].text, numbers[i].min, numbers[i].max, numbers[i].out,
                                   log);
    for (uint32_t i = 0; i < l->kv_policies.n && !status; i++)
        status = mn_kv_policy_check(l->kv_policies.words[i], log);
    for (uint32_t i = 0; i < l->weight_types.n && !status; i++)
        status = mn_weight_type_check(l->weight_types.words[i], log);
    for (uint32_t i = 0; i < l->matrix_units.n && !status; i++)
        status = mn_matrix_units_check(l->matrix_units.words[i], log);
    if (!status && p->resume && !p->results)
        status = log_fail(log, MN_ERR_USAGE, "--resume: needs --results FILE.jsonl");
    if (!status && p->seed > JSON_INTEGER_MAX)
        status = log_fail(log, MN_ERR_USAGE, "--seed %" PRIu64 ": at most 2^53 - 1, so that it can stand in JSON",
                          p->seed);
    if (!status && p->kernels && (p->prompts || p->answers || p->acceptance))
        status = log_fail(
            log, MN_ERR_USAGE,
            "--kernels: measures passes, not prompts: it goes without --prompts, --answers and --acceptance");
    for (uint32_t i = 0; i < l->lookups.n && !status && p->acceptance; i++)
        if (l->lookups.values[i] > 0)
            status = log_fail(log, MN_ERR_USAGE, "--lookup: not with --acceptance, under which tokens mean nothing");
    if (!status && p->answers && !p->prompts)
        status = log_fail(log, MN_ERR_USAGE, "--answers: needs --prompts with questions");
    for (uint32_t i = 0; i < l->batches.n && !status && p->answers; i++)
        if (l->batches.values[i] > 1)
            status = log_fail(log, MN_ERR_USAGE,
                              "--answers: not with --batch above 1, where a question has no time of its own");
    return status ? status : parse_acceptance(l, p->acceptance, log);
}

/* ---- the cross product ---- */

uint32_t bench_rows(const struct bench_setting *s)
{
    return mn_strategy_rows(&(struct mn_generate_params){
        .strategy = s->strategy,
        .speculation = {.lookahead = s->lookahead, .max_inflight = s->max_inflight, .lookup = s->lookup}});
}

/* Can this combination run? The rules are the engine's (spec/check.c); here they leave holes in the product instead of
 * ending it. */
static bool is_possible(const struct bench_setting *s)
{
    const struct mn_strategy *strategy = mn_strategy_find(s->strategy);
    const uint32_t most_steps = strategy->uses & MN_USES_WHOLE_DEPTH ? s->num_steps : s->num_steps - 1;
    if (strategy->uses & MN_USES_DRAFT_STEPS && s->draft_steps > most_steps)
        return false;
    if (s->branches && s->lookup)
        return false;
    return (strategy->batches || s->batch == 1) && bench_rows(s) * s->batch <= ROWS_PER_PASS;
}

/* Figures that the strategy does not use become 0, so that combinations which differ in nothing else are one. Rows in
 * flight that nobody asked for are what a batch has room for. */
static void normalise(struct bench_setting *s)
{
    const struct mn_strategy *strategy = mn_strategy_find(s->strategy);
    if (!(strategy->uses & MN_USES_LOOKAHEAD))
        s->lookahead = 0;
    if (!(strategy->uses & MN_USES_LOOKUP))
        s->lookup = 0;
    if (!(strategy->uses & MN_USES_BRANCHES) || s->branches < 2)
        s->branches = 0;
    if (!(strategy->uses & MN_USES_DRAFT_STEPS))
        s->draft_steps = 0;
    if (strategy->kv_policy)
        s->kv_policy = strategy->kv_policy;
    /* auto has the same rows with lookup and without. */
    const uint32_t usual = strategy->usual_inflight + (strategy->uses & MN_USES_COSTS ? 0 : s->lookup);
    s->max_inflight = !strategy->usual_inflight ? 0
                      : s->max_inflight         ? s->max_inflight
                                                : min_u32(usual, ROWS_PER_PASS / s->batch);
}

/* Among those of the same sizes, types and batch. */
static bool is_known(const struct setting_list *list, size_t first, const struct bench_setting *s)
{
    for (size_t i = first; i < list->n; i++)
        if (list->items[i].draft_steps == s->draft_steps && list->items[i].lookahead == s->lookahead &&
            list->items[i].max_inflight == s->max_inflight && list->items[i].lookup == s->lookup &&
            list->items[i].branches == s->branches && list->items[i].strategy == s->strategy &&
            !strcmp(list->items[i].kv_policy, s->kv_policy))
            return true;
    return false;
}

static enum mn_status add_setting(struct setting_list *list, size_t first, struct bench_setting s,
                                  const struct mn_log *log)
{
    if (!is_possible(&s)) {
        list->n_impossible++;
        return MN_OK;
    }
    if (is_known(list, first, &s))
        return MN_OK;
    if (list->n == SETTINGS_MAX)
        return log_fail(log, MN_ERR_USAGE, "more than %d settings", SETTINGS_MAX);
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 256;
        struct bench_setting *items = realloc(list->items, capacity * sizeof *items);
        if (!items)
            return log_fail(log, MN_ERR_MEMORY, "out of host memory for %zu settings", capacity);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->n++] = s;
    return MN_OK;
}

/* The numbers of a strategy; it and the cache are set. */
static enum mn_status add_numbers(struct setting_list *list, size_t first, const struct sweep_lists *l,
                                  struct bench_setting s, const struct mn_log *log)
{
    const uint32_t n_inflights = l->max_inflights.n ? l->max_inflights.n : 1,
                   n_lookups = l->lookups.n ? l->lookups.n : 1, n_branches = l->branches.n ? l->branches.n : 1,
                   n_each = n_lookups * n_branches;
    enum mn_status status = MN_OK;
    for (uint32_t k = 0; k < l->draft_steps.n && !status; k++)
        for (uint32_t j = 0; j < l->lookaheads.n && !status; j++)
            for (uint32_t w = 0; w < n_inflights * n_each && !status; w++) {
                struct bench_setting at = s;
                at.draft_steps = l->draft_steps.values[k];
                at.lookahead = l->lookaheads.values[j];
                at.max_inflight = l->max_inflights.n ? l->max_inflights.values[w / n_each] : 0;
                at.lookup = l->lookups.n ? l->lookups.values[w % n_each / n_branches] : 0;
                at.branches = l->branches.n ? l->branches.values[w % n_branches] : 0;
                normalise(&at);
                status = add_setting(list, first, at, log);
            }
    return status;
}

/* The innermost lists: those that share sizes and the tokens of ar. */
static enum mn_status add_strategies(struct setting_list *list, const struct sweep_lists *l, struct bench_setting s,
                                     const struct mn_log *log)
{
    const size_t first = list->n;
    enum mn_status status = MN_OK;
    for (uint32_t c = 0; c < l->kv_policies.n && !status; c++)
        for (uint32_t i = 0; i < l->strategies.n && !status; i++) {
            s.kv_policy = l->kv_policies.words[c];
            s.strategy = l->strategies.words[i];
            status = add_numbers(list, first, l, s, log);
        }
    return status;
}

/* num_steps 0 and prompt_tokens 0: the model's own, known when it is open. An empty list is one value: the default. */
enum mn_status settings_fill(struct setting_list *list, const struct sweep_lists *l, struct bench_setting s,
                             uint32_t mean_recurrence, const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    list->n = 0;
    for (uint32_t r = 0; r < (l->num_steps.n ? l->num_steps.n : 1) && !status; r++)
        for (uint32_t p = 0; p < (l->prompt_tokens.n ? l->prompt_tokens.n : 1) && !status; p++)
            for (uint32_t n = 0; n < l->n_new.n && !status; n++)
                for (uint32_t t = 0; t < l->kv_types.n && !status; t++)
                    for (uint32_t b = 0; b < l->batches.n && !status; b++) {
                        s.num_steps = l->num_steps.n ? l->num_steps.values[r] : mean_recurrence;
                        s.prompt_tokens = l->prompt_tokens.n ? l->prompt_tokens.values[p] : 0;
                        s.n_new = l->n_new.values[n];
                        s.kv_type = l->kv_types.words[t];
                        s.batch = l->batches.values[b];
                        status = add_strategies(list, l, s, log);
                    }
    return status;
}

enum mn_status settings_check_acceptance(const struct setting_list *list, const struct acceptance *acceptance,
                                         const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < list->n && !status; i++)
        if (mn_strategy_find(list->items[i].strategy)->uses & MN_USES_FORCED_ACCEPTANCE)
            status = acceptance_check(acceptance, list->items[i].num_steps, log);
    return status;
}
