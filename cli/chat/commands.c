/* What begins with a slash. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/rows/lists.h"
#include "bench/rows/nearest.h"
#include "cli/chat/chat.h"
#include "cli/common/interrupt.h"
#include "cli/common/option_values.h"
#include "cli/common/output.h"
#include "cli/common/talk.h"
#include "engine/base/numbers.h"

struct chat_word {
    const char *name, *argument, *help;
    enum mn_status (*run)(struct chat *chat, const char *argument); /* "": there is none */
};

static const char names[] = "steps|strategy|temp|reset|save|help|quit";

/* ---- settings ---- */

/* What could not be opened is opened as it was before. Also after a Ctrl-C, which is not to cost a conversation. */
static enum mn_status go_back(struct chat *chat, enum mn_status (*open)(struct chat *chat), enum mn_status status)
{
    if (status == MN_ERR_INTERRUPTED && !cli_interrupt_forget())
        return status;
    const enum mn_status again = open(chat);
    if (again || status != MN_ERR_INTERRUPTED)
        return again ? again : status;
    log_note(chat->log, MN_LOG_WARN, "stopped: it is as it was before");
    return MN_OK;
}

/* One that is deeper than the session needs another session. */
static enum mn_status set_steps(struct chat *chat, const char *argument)
{
    static const struct command_option option = {.name = "num-steps", .kind = OPTION_U32, .min = 1, .max = 4096};
    uint32_t steps = 0;
    const uint32_t before = chat->num_steps, most = chat->session_params.num_steps;
    if (!*argument) {
        fprintf(cli_notes(), "muninn: %" PRIu32 " steps\n", chat->num_steps);
        return MN_OK;
    }
    enum mn_status status = option_store(&option, argument, &steps, chat->log);
    if (status)
        return status;
    chat->num_steps = steps;
    if (steps <= most)
        return MN_OK;
    status = chat_open_session(chat);
    if (!status) {
        if (chat->n_turns)
            log_note(chat->log, MN_LOG_INFO, "a cache for %" PRIu32 " steps: the conversation is read again", steps);
        return MN_OK;
    }
    chat->num_steps = most; /* the session's; `before` may be less */
    status = go_back(chat, chat_open_session, status);
    chat->num_steps = before;
    return status;
}

static enum mn_status set_strategy(struct chat *chat, const char *argument)
{
    char choices[CHOICES_BYTES];
    const struct mn_strategy *strategy = mn_strategy_find(argument);
    if (!*argument) {
        fprintf(cli_notes(), "muninn: %s\n", chat->strategy);
        return MN_OK;
    }
    join_choices(strategy_name_at, choices, sizeof choices);
    if (!strategy)
        return refuse_choice("strategy", argument, choices, chat->log);
    if (!strategy->batches)
        return log_fail(chat->log, MN_ERR_USAGE, "/strategy %s: keeps nothing between two turns; see `muninn generate`",
                        argument);
    const char *before = chat->strategy;
    const bool needs_costs = strategy->uses & MN_USES_COSTS && !(mn_strategy_find(before)->uses & MN_USES_COSTS);
    chat->strategy = strategy->name;
    /* They are measured in the cache: the conversation is read again. */
    enum mn_status status = needs_costs ? chat_open_scheduler(chat) : MN_OK;
    if (!status)
        return MN_OK;
    chat->strategy = before;
    return go_back(chat, chat_open_scheduler, status);
}

static enum mn_status set_temperature(struct chat *chat, const char *argument)
{
    static const struct command_option option = {.name = "temp", .kind = OPTION_FLOAT, .min = 0, .max = 100};
    if (*argument)
        return option_store(&option, argument, &chat->temperature, chat->log);
    fprintf(cli_notes(), "muninn: temperature %g\n", (double)chat->temperature);
    return MN_OK;
}

/* ---- the conversation ---- */

static enum mn_status reset(struct chat *chat, const char *argument)
{
    (void)argument;
    chat_forget(chat); /* what is in the cache stays: a conversation that begins like this one goes on from it */
    log_note(chat->log, MN_LOG_INFO, "the conversation begins anew");
    return MN_OK;
}

static enum mn_status save(struct chat *chat, const char *argument)
{
    if (!*argument)
        return log_fail(chat->log, MN_ERR_USAGE, "/save: a file is missing");
    enum mn_status status = chat_save(chat, argument);
    if (!status)
        log_note(chat->log, MN_LOG_INFO, "%" PRIu32 " turns in %s", chat->n_turns, argument);
    return status;
}

static enum mn_status quit(struct chat *chat, const char *argument)
{
    (void)argument;
    chat->ended = true;
    return MN_OK;
}

static enum mn_status help(struct chat *chat, const char *argument);

static const struct chat_word words[] = {
    {"steps", "N", "recurrence steps per token; more than the session has need a new cache", set_steps},
    {"strategy", "NAME", "how tokens are found: ar, draft-verify, wavefront, auto", set_strategy},
    {"temp", "T", "temperature; 0 is greedy", set_temperature},
    {"reset", NULL, "the conversation begins anew", reset},
    {"save", "FILE", "the conversation as JSON, with ids and settings of each answer", save},
    {"help", NULL, "this list", help},
    {"quit", NULL, "ends, as Ctrl-D does", quit},
};
enum { N_WORDS = sizeof words / sizeof *words };

/* Asked for, so that it is data, but not a part of an answer. */
static enum mn_status help(struct chat *chat, const char *argument)
{
    FILE *notes = cli_notes();
    (void)chat;
    (void)argument;
    for (size_t i = 0; i < N_WORDS; i++) {
        const char *takes = words[i].argument ? words[i].argument : "";
        fprintf(notes, "  /%s %-*s %s\n", words[i].name, 14 - (int)strlen(words[i].name), takes, words[i].help);
    }
    fputs("  \"\"\"              begins a message of several lines, and ends it\n"
          "  //              begins a message with a slash\n"
          "  Ctrl-C          stops the answer; the conversation goes on\n",
          notes);
    return MN_OK;
}

enum mn_status chat_command(struct chat *chat, const char *line)
{
    const char *name = line + 1;
    const size_t n = strcspn(name, " \t");
    const char *given = name + n + strspn(name + n, " \t");
    size_t n_given = strlen(given);
    while (n_given && (given[n_given - 1] == ' ' || given[n_given - 1] == '\t'))
        n_given--;
    char *argument = malloc(n_given + 1), hint[NEAREST_HINT_BYTES], word[NEAREST_WORD_MAX + 1];
    if (!argument)
        return log_fail(chat->log, MN_ERR_MEMORY, "out of host memory for a command");
    memcpy(argument, given, n_given);
    argument[n_given] = '\0';
    snprintf(word, sizeof word, "%.*s", (int)min_u64(n, sizeof word - 1), name);
    enum mn_status status = MN_ERR_USAGE;
    const struct chat_word *found = NULL;
    for (size_t i = 0; i < N_WORDS && !found; i++)
        found = strlen(words[i].name) == n && !memcmp(words[i].name, name, n) ? &words[i] : NULL;
    struct nearest nearest = {.word = word};
    nearest_offer_choices(&nearest, names);
    if (!found)
        log_fail(chat->log, MN_ERR_USAGE, "unknown command '/%s'%s; /help lists them, // begins a message with a slash",
                 word, nearest_hint(&nearest, "/", hint));
    else if (*argument && !found->argument)
        log_fail(chat->log, MN_ERR_USAGE, "/%s takes no value", found->name);
    else
        status = found->run(chat, argument);
    free(argument);
    return status;
}
