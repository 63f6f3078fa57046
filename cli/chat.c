/* muninn chat: a conversation in the terminal. */
#include "cli/chat/chat.h"

#include "cli/commands.h"
#include "cli/common/decoding_options.h"
#include "cli/common/option_rules.h"

static enum mn_status run(const void *values, const struct mn_log *log)
{
    return run_chat(values, log);
}

#define AT(field) offsetof(struct chat_options, field)

static const struct command_option table[] = {
    OPTIONS_GROUP("Conversation"),
    {.name = "system", .kind = OPTION_TEXT, .offset = AT(system), .argument = "TEXT", .help = "system message"},
    {.name = "max-new-tokens",
     .letter = 'n',
     .kind = OPTION_U32,
     .offset = AT(n_new),
     .argument = "N",
     .shown = "what the context holds",
     .min = 1,
     .max = IDS_MAX,
     .help = "most tokens of an answer"},
    OPTIONS_GROUP("Depth and strategy"),
    DEPTH_OPTION(AT(num_steps)),
    BEYOND_OPTION(AT(beyond)),
    STRATEGY_OPTION(AT(strategy)),
    DRAFT_STEPS_OPTION(AT(draft_steps), "recurrence steps of a draft, or per tick of wavefront"),
    LOOKAHEAD_OPTION(AT(lookahead)),
    INFLIGHT_OPTION(AT(max_inflight), "most rows in flight in wavefront and auto"),
    LOOKUP_OPTION(AT(lookup)),
    OPTIONS_GROUP("Sampling"),
    TEMPERATURE_OPTION(AT(temperature)),
    TOP_K_OPTION(AT(top_k)),
    TOP_P_OPTION(AT(top_p)),
    MIN_P_OPTION(AT(min_p)),
    {.name = "seed", .kind = OPTION_U64, .offset = AT(seed), .argument = "S", .value = "0", .help = "of sampling"},
    OPTIONS_GROUP("Model, memory and device"),
    MODEL_OPTION(AT(model)),
    WEIGHT_TYPE_OPTION(AT(weight_type)),
    KV_POLICY_OPTION(AT(kv_policy),
                     "cache every step, or the last k steps (LOSSY, and nothing is kept between two turns)"),
    KV_TYPE_OPTION(AT(kv_type), "f16", "type of the cache"),
    CTX_OPTION(AT(ctx), "what the model knows, or memory holds", "positions of the conversation"),
    DEVICE_OPTION(AT(device)),
    MATRIX_UNITS_OPTION(AT(matrix_units)),
    CPU_THREADS_OPTION(AT(cpu_threads)),
};

/* Strategy and temperature may change between two turns: what belongs to others than the first ones is no mistake. */
const struct command command_chat = {
    .name = "chat",
    .summary = "Holds a conversation in the terminal.",
    .synopsis = "[-m DIR] [--system TEXT] [OPTIONS]",
    .example = "muninn chat --strategy draft-verify",
    .notes =
        "A line is a message; one that begins with \"\"\" goes on until a line that ends with it. Commands, between "
        "two\n"
        "turns: /steps N, /strategy NAME, /temp T, /reset, /save FILE, /help, /quit; a message that begins with / is\n"
        "written with two. Ctrl-C stops the answer and keeps the conversation, Ctrl-D ends.\n"
        "From a pipe it takes the same lines, without a prompt; answers go to standard output, each with a newline\n"
        "behind it, everything else to standard error. The exit code is that of the first line that failed.\n"
        "An answer is, token for token, what `generate` gives for the conversation as ids (which /save writes). What\n"
        "of it is in the cache, and what is read again: docs/chat.md.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct chat_options),
    .run = run};
