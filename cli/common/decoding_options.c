#include "cli/common/decoding_options.h"

enum { USUAL_DRAFT_STEPS = 4 };

uint32_t draft_steps_or_usual(uint32_t draft_steps, uint32_t num_steps)
{
    if (draft_steps)
        return draft_steps;
    return num_steps > USUAL_DRAFT_STEPS ? USUAL_DRAFT_STEPS : num_steps > 1 ? num_steps - 1 : 1;
}

enum mn_status check_sampling_options(const struct mn_sampler_params *sampler, const struct mn_log *log)
{
    if (sampler->top_p == 0.0f) /* which is off for the library: here that is 1 */
        return log_fail(log, MN_ERR_USAGE, "--top-p 0: must be above 0 and at most 1");
    return mn_sampler_check(sampler, log);
}
