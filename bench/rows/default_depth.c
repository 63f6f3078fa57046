#include "bench/rows/default_depth.h"

#include <inttypes.h>
#include <string.h>

void default_depth_note(FILE *stream, const struct mn_model_info *info)
{
    static const char retrofit[] = "retrofit-";
    if (strncmp(info->shape.family, retrofit, sizeof retrofit - 1) != 0)
        return;
    fprintf(stream, "muninn: %" PRIu64 " recurrence steps (mean_recurrence of config.json; --num-steps sets it)\n",
            (uint64_t)info->shape.mean_recurrence);
}
