#include "cli/common/option_rules.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { NAMES_BYTES = 160 };

static size_t option_named(const struct command *command, const char *name, size_t n)
{
    size_t i = 0;
    while (command->options[i].kind == OPTION_GROUP || strlen(command->options[i].name) != n ||
           memcmp(command->options[i].name, name, n) != 0) {
        i++;
        assert(i < command->n_options); /* a rule names no other options than the command's */
    }
    return i;
}

/* Does the option ask for something: a text, a number other than 0, a flag? */
static bool is_on(const struct command_option *option, const void *values)
{
    const void *at = (const char *)values + option->offset;
    switch (option->kind) {
    case OPTION_FLAG: return *(const bool *)at;
    case OPTION_U32: return *(const uint32_t *)at != 0;
    case OPTION_U64: return *(const uint64_t *)at != 0;
    case OPTION_FLOAT: return *(const float *)at != 0.0f;
    case OPTION_TEXT:
    case OPTION_CHOICE: return *(const char *const *)at != NULL;
    case OPTION_LIST: return ((const struct text_list *)at)->n != 0;
    case OPTION_IDS: return ((const struct id_list *)at)->ids != NULL;
    case OPTION_GROUP: break;
    }
    return false;
}

/* The option among "a|b" that is on and, where the rule says which, has a value that takes the rule's option; NULL when
 * there is none. */
static const struct command_option *first_on(const struct command *command, const void *values,
                                             const struct option_rule *rule, const char *names)
{
    for (const char *at = names;; at++) {
        const size_t n = strcspn(at, "|");
        const struct command_option *option = &command->options[option_named(command, at, n)];
        const void *value = (const char *)values + option->offset;
        if (is_on(option, values) && (!rule->takes || rule->takes(*(const char *const *)value)))
            return option;
        at += n;
        if (*at == '\0')
            return NULL;
    }
}

/* "a|b|c" as "--a, --b or --c", numbers with "above 0" behind them. */
static void list_names(const struct command *command, const char *names, char *text, size_t text_bytes)
{
    size_t n_text = 0;
    *text = '\0';
    for (const char *at = names; n_text < text_bytes; at++) {
        const size_t n = strcspn(at, "|");
        const char *before = at == names ? "" : at[n] ? ", " : " or ";
        const enum option_kind kind = command->options[option_named(command, at, n)].kind;
        const bool number = kind == OPTION_U32 || kind == OPTION_U64 || kind == OPTION_FLOAT;
        n_text += (size_t)snprintf(text + n_text, text_bytes - n_text, "%s--%.*s%s", before, (int)n, at,
                                   number ? " above 0" : "");
        at += n;
        if (*at == '\0')
            return;
    }
}

static enum mn_status check_rule(const struct command *command, const void *values, const struct option_rule *rule,
                                 const struct mn_log *log)
{
    char names[NAMES_BYTES];
    if (rule->without) {
        const struct command_option *other = first_on(command, values, &(struct option_rule){0}, rule->without);
        return other ? log_fail(log, MN_ERR_USAGE, "--%s has no effect with --%s", rule->option, other->name) : MN_OK;
    }
    if (first_on(command, values, rule, rule->with))
        return MN_OK;
    if (rule->takes) {
        const struct command_option *other = &command->options[option_named(command, rule->with, strlen(rule->with))];
        const char *value = *(const char *const *)(const void *)((const char *)values + other->offset);
        return log_fail(log, MN_ERR_USAGE, "--%s has no effect with --%s %s", rule->option, rule->with, value);
    }
    list_names(command, rule->with, names, sizeof names);
    return log_fail(log, MN_ERR_USAGE, "--%s has no effect without %s", rule->option, names);
}

enum mn_status option_rules_check(const struct command *command, const void *values, const bool *given,
                                  const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    for (size_t i = 0; i < command->n_rules && !status; i++)
        if (given[option_named(command, command->rules[i].option, strlen(command->rules[i].option))])
            status = check_rule(command, values, &command->rules[i], log);
    return status;
}

static bool uses(const char *strategy, uint32_t what)
{
    return (mn_strategy_find(strategy)->uses & what) != 0;
}

bool strategy_takes_draft_steps(const char *strategy)
{
    return uses(strategy, MN_USES_DRAFT_STEPS);
}

bool strategy_takes_lookahead(const char *strategy)
{
    return uses(strategy, MN_USES_LOOKAHEAD);
}

bool strategy_takes_inflight(const char *strategy)
{
    return mn_strategy_find(strategy)->usual_inflight != 0;
}

bool strategy_takes_lookup(const char *strategy)
{
    return uses(strategy, MN_USES_LOOKUP);
}

bool strategy_takes_branches(const char *strategy)
{
    return uses(strategy, MN_USES_BRANCHES);
}

bool strategy_takes_acceptance(const char *strategy)
{
    return uses(strategy, MN_USES_FORCED_ACCEPTANCE);
}

bool strategy_takes_exit(const char *strategy)
{
    return uses(strategy, MN_USES_EXIT);
}

bool strategy_takes_continuous(const char *strategy)
{
    return uses(strategy, MN_USES_CONTINUOUS);
}

bool strategy_takes_verification_threshold(const char *strategy)
{
    return uses(strategy, MN_USES_VERIFICATION_THRESHOLD);
}

bool strategy_is_diffusion(const char *strategy)
{
    return !strcmp(strategy, "diffusion");
}
