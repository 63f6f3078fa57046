/* muninn serve: the model behind HTTP, in OpenAI's form. */
#include "cli/commands.h"
#include "cli/common/decoding_options.h"
#include "cli/common/option_rules.h"
#include "cli/serve/options.h"
#include "engine/files/lines.h"

static enum mn_status run(const void *values, const struct mn_log *log)
{
#ifdef MUNINN_HTTP
    return run_serve(values, log);
#else
    (void)values;
    return log_fail(log, MN_ERR_RUN,
                    "serve: this program was built without libmicrohttpd (Debian: "
                    "libmicrohttpd-dev, then build again)");
#endif
}

#define AT(field) offsetof(struct serve_options, field)

static const struct command_option table[] = {
    OPTIONS_GROUP("Network"),
    {.name = "host",
     .kind = OPTION_TEXT,
     .offset = AT(host),
     .argument = "A",
     .value = "127.0.0.1",
     .help = "address to listen on; the default one is reached from this machine alone"},
    {.name = "port",
     .kind = OPTION_U32,
     .offset = AT(port),
     .argument = "N",
     .value = "8080",
     .min = 0,
     .max = 65535,
     .help = "0: any free one, which is said on standard error"},
    {.name = "api-key-file",
     .kind = OPTION_TEXT,
     .offset = AT(api_key_file),
     .argument = "FILE",
     .shown = "$MUNINN_API_KEY, else no key is asked for",
     .help = "file with the key that requests must bring (Authorization: Bearer KEY)"},
    {.name = "name",
     .kind = OPTION_TEXT,
     .offset = AT(name),
     .argument = "NAME",
     .shown = "the folder's name",
     .help = "the model's name in requests and answers"},
    OPTIONS_GROUP("Limits"),
    {.name = "parallel",
     .kind = OPTION_U32,
     .offset = AT(parallel),
     .argument = "N",
     .value = "8",
     .min = 1,
     .max = 64,
     .help = "texts that share passes; fewer where 128 rows do not hold them"},
    {.name = "queue",
     .kind = OPTION_U32,
     .offset = AT(queue),
     .argument = "N",
     .value = "64",
     .min = 0,
     .max = 4096,
     .help = "texts that may wait beside those; more are refused with 429"},
    {.name = "max-body",
     .kind = OPTION_U32,
     .offset = AT(max_body_kib),
     .argument = "KIB",
     .value = "1024",
     .min = 1,
     .max = 65536,
     .help = "largest request, in KiB; larger ones are refused with 413"},
    {.name = "timeout",
     .kind = OPTION_U32,
     .offset = AT(timeout_s),
     .argument = "S",
     .value = "600",
     .min = 0,
     .max = 1000000,
     .help = "seconds that a request may take, waiting included; then it is answered with 504; 0: no limit"},
    {.name = "drain-seconds",
     .kind = OPTION_U32,
     .offset = AT(drain_s),
     .argument = "S",
     .value = "30",
     .min = 0,
     .max = 1000000,
     .help = "what runs when a signal comes may go on for so long"},
    {.name = "no-logprobs",
     .kind = OPTION_FLAG,
     .offset = AT(no_logprobs),
     .help = "refuse logprobs, which need a cache of their own"},
    OPTIONS_GROUP("Depth and strategy"),
    {.name = "num-steps",
     .kind = OPTION_U32,
     .offset = AT(num_steps),
     .argument = "R",
     .shown = "the model's mean_recurrence",
     .min = 1,
     .max = 4096,
     .help = "recurrence steps per token; the most that a request may ask for"},
    BEYOND_OPTION(AT(beyond)),
    {.name = "strategy",
     .kind = OPTION_CHOICE,
     .offset = AT(strategy),
     .argument = "NAME",
     .strategies = true,
     .value = "ar",
     .help = "how tokens are found where a request does not say it"},
    DRAFT_STEPS_OPTION(AT(draft_steps), "recurrence steps of a draft, or per tick of wavefront"),
    LOOKAHEAD_OPTION(AT(lookahead)),
    INFLIGHT_OPTION(AT(max_inflight), "most rows in flight in wavefront and auto"),
    LOOKUP_OPTION(AT(lookup)),
    OPTIONS_GROUP("Model, memory and device"),
    MODEL_OPTION(AT(model)),
    WEIGHT_TYPE_OPTION(AT(weight_type)),
    KV_POLICY_OPTION(AT(kv_policy), "cache every step, or the last k steps (LOSSY)"),
    KV_TYPE_OPTION(AT(kv_type), "f16", "type of the cache; logprobs are computed with f32, as `score` does"),
    CTX_OPTION(AT(ctx), "what the model knows, or memory holds", "positions of a text"),
    DEVICE_OPTION(AT(device)),
    MATRIX_UNITS_OPTION(AT(matrix_units)),
    CPU_THREADS_OPTION(AT(cpu_threads)),
};

static const struct option_rule rules[] = {
    {.option = "draft-steps", .with = "strategy", .takes = strategy_takes_draft_steps},
    {.option = "lookahead", .with = "strategy", .takes = strategy_takes_lookahead},
    {.option = "max-inflight", .with = "strategy", .takes = strategy_takes_inflight},
    {.option = "lookup", .with = "strategy", .takes = strategy_takes_lookup},
};

const struct command command_serve = {
    .name = "serve",
    .summary = "Answers HTTP requests in OpenAI's form.",
    .synopsis = "[-m DIR] [--host A] [--port N] [OPTIONS]",
    .example = "muninn serve --port 8080 --strategy draft-verify",
    .notes = "Paths: /v1/models, /v1/completions, /v1/chat/completions, /tokenize, /detokenize, /health, /metrics. A "
             "request\n"
             "may have a strategy and a depth of its own. What is not supported is refused by its name. See\n"
             "docs/serving.md.\n"
             "SIGTERM and Ctrl-C end it well: nobody is let in any more, what runs is finished within "
             "--drain-seconds, exit\n"
             "code 0. A second one ends it at once.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
    .values_bytes = sizeof(struct serve_options),
    .run = run};
