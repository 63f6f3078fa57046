#include "strategy.h"

uint32_t accept_prefix(const uint32_t *drafts, const uint32_t *targets, uint32_t n)
{
    uint32_t i = 0;
    while (i < n && drafts[i] == targets[i])
        i++;
    return i;
}
