/* Options that have an effect beside others only. Thread-safety: stateless. */
#ifndef MUNINN_CLI_COMMON_OPTION_RULES_H
#define MUNINN_CLI_COMMON_OPTION_RULES_H

#include "cli/common/options.h"

/* The first rule that what was given breaks is MN_ERR_USAGE with one line that names both options. `given` is by index
 * into the command's options. */
enum mn_status option_rules_check(const struct command *command, const void *values, const bool *given,
                                  const struct mn_log *log);

/* For `takes` of rules about --strategy: does the strategy of this name have that setting? */
bool strategy_takes_draft_steps(const char *strategy);
bool strategy_takes_lookahead(const char *strategy);
bool strategy_takes_inflight(const char *strategy);
bool strategy_takes_lookup(const char *strategy);
bool strategy_takes_branches(const char *strategy);
bool strategy_takes_acceptance(const char *strategy);
bool strategy_takes_exit(const char *strategy);
bool strategy_takes_continuous(const char *strategy);
bool strategy_takes_verification_threshold(const char *strategy);
bool strategy_is_diffusion(const char *strategy);

#endif
