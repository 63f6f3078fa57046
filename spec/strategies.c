#include "spec/strategies.h"

#include <string.h>

#define STRATEGY_ENTRY(name) &strategy_##name,
static const struct strategy *const table[] = {STRATEGIES(STRATEGY_ENTRY)};
#undef STRATEGY_ENTRY

const struct strategy *strategy_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(name, table[i]->about.name))
            return table[i];
    return NULL;
}

const struct mn_strategy *mn_strategy_at(uint32_t index)
{
    return index < sizeof table / sizeof *table ? &table[index]->about : NULL;
}

const struct mn_strategy *mn_strategy_find(const char *name)
{
    const struct strategy *strategy = name ? strategy_find(name) : NULL;
    return strategy ? &strategy->about : NULL;
}

uint32_t mn_strategy_rows(const struct mn_generate_params *params)
{
    const struct strategy *strategy = params ? strategy_find(params->strategy ? params->strategy : "ar") : NULL;
    if (!strategy)
        return 0;
    return strategy->rows ? strategy->rows(params) : 1;
}
