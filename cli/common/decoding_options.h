/* Options that `generate`, `chat` and `serve` have in common, by the offset of their value, and what follows from them
 * where they are not given. Beside those of options.h. Thread-safety: stateless. */
#ifndef MUNINN_CLI_COMMON_DECODING_OPTIONS_H
#define MUNINN_CLI_COMMON_DECODING_OPTIONS_H

#include "cli/common/options.h"
#include "engine/files/lines.h"

#define DEFAULT_LOOKAHEAD "7"

#define DEPTH_OPTION(at) \
    { \
        .name = "num-steps", .kind = OPTION_U32, .offset = at, .argument = "R", \
        .shown = "the model's mean_recurrence", .min = 1, .max = 4096, .help = "recurrence steps per token" \
    }
#define STRATEGY_OPTION(at) \
    { \
        .name = "strategy", .kind = OPTION_CHOICE, .offset = at, .argument = "NAME", .strategies = true, \
        .value = "ar", .help = "how tokens are found" \
    }
#define DRAFT_STEPS_OPTION(at, help_) \
    { \
        .name = "draft-steps", .kind = OPTION_U32, .offset = at, .argument = "K", .shown = "4, but below R", .min = 1, \
        .max = 4095, .help = help_ \
    }
#define LOOKAHEAD_OPTION(at) \
    { \
        .name = "lookahead", .kind = OPTION_U32, .offset = at, .argument = "L", .value = DEFAULT_LOOKAHEAD, .min = 1, \
        .max = MN_MAX_LOOKAHEAD, .help = "tokens drafted per round of draft-verify" \
    }
#define INFLIGHT_OPTION(at, help_) \
    { \
        .name = "max-inflight", .kind = OPTION_U32, .offset = at, .argument = "W", .shown = "the strategy's own", \
        .min = 1, .max = MN_MAX_LOOKAHEAD + 1, .help = help_ \
    }
#define BRANCHES_OPTION(at) \
    { \
        .name = "branches", .kind = OPTION_U32, .offset = at, .argument = "N", .value = "1", .min = 1, \
        .max = MN_MAX_BRANCHES, \
        .help = "wavefront: continuations in flight behind a row whose prediction changed, 1 or 2" \
    }
#define LOOKUP_OPTION(at) \
    { \
        .name = "lookup", .kind = OPTION_U32, .offset = at, .argument = "N", .value = "0", .min = 0, \
        .max = MN_MAX_LOOKUP, \
        .help = \
            "wavefront, draft-verify and auto: where the last tokens occurred before, up to N that followed there " \
            "enter at once; 0: none" \
    }
#define TEMPERATURE_OPTION(at) \
    { \
        .name = "temp", .kind = OPTION_FLOAT, .offset = at, .argument = "T", .value = "0", .min = 0, .max = 100, \
        .help = "temperature; 0 is greedy" \
    }
#define TOP_K_OPTION(at) \
    { \
        .name = "top-k", .kind = OPTION_U32, .offset = at, .argument = "N", .value = "0", .min = 0, .max = UINT32_MAX, \
        .help = "sample from the N best tokens; 0 is off" \
    }
#define TOP_P_OPTION(at) \
    { \
        .name = "top-p", .kind = OPTION_FLOAT, .offset = at, .argument = "P", .value = "1", .min = 0, .max = 1, \
        .help = "sample from the best tokens that make up P; 1 is off" \
    }
#define MIN_P_OPTION(at) \
    { \
        .name = "min-p", .kind = OPTION_FLOAT, .offset = at, .argument = "P", .value = "0", .min = 0, .max = 1, \
        .help = "leave out tokens below P times the best one's probability; 0 is off" \
    }
#define KV_POLICY_OPTION(at, help_) \
    { \
        .name = "kv-policy", .kind = OPTION_TEXT, .offset = at, .argument = "full|share:k", .value = "full", \
        .help = help_ \
    }
#define CTX_OPTION(at, shown_, help_) \
    { \
        .name = "ctx", .kind = OPTION_U32, .offset = at, .argument = "N", .shown = shown_, .min = 2, .max = IDS_MAX, \
        .help = help_ \
    }
#define CPU_THREADS_OPTION(at) \
    { \
        .name = "cpu-threads", .kind = OPTION_CHOICE, .offset = at, .choices = "0|1|2|3|4|6|8|12|16|24|32", \
        .shown = "0 for small models, else all", \
        .help = "worker threads of a CPU device (lavapipe); 0: none beside the one that computes" \
    }

/* What --draft-steps says, or where it was not given (0) four steps, but less than num_steps. */
uint32_t draft_steps_or_usual(uint32_t draft_steps, uint32_t num_steps);
/* Refuses impossible values: MN_ERR_USAGE. */
enum mn_status check_sampling_options(const struct mn_sampler_params *sampler, const struct mn_log *log);

#endif
