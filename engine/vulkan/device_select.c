#include "engine/vulkan/device_select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_BYTES = 600 };

/* Of ASCII only: what a host program's locale calls a letter is not asked. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool begins_ignoring_case(const char *text, const char *part)
{
    while (*part && lower(*text) == lower(*part))
        text++, part++;
    return *part == '\0';
}

static bool contains_ignoring_case(const char *text, const char *part)
{
    for (; *text; text++)
        if (begins_ignoring_case(text, part))
            return true;
    return *part == '\0';
}

static int rank_of(const struct caps *caps)
{
    switch (caps->type) {
    case DEVICE_DISCRETE: return 4;
    case DEVICE_INTEGRATED: return 3;
    case DEVICE_VIRTUAL: return 2;
    case DEVICE_CPU: return 1;
    default: return 0;
    }
}

/* "0 NAME, 1 NAME" of those in the set. */
static void list_names(char text[LIST_BYTES], const struct device_candidate *candidates, uint32_t n, uint32_t set)
{
    size_t at = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < n && at < LIST_BYTES; i++)
        if (set >> i & 1)
            at += (size_t)snprintf(text + at, LIST_BYTES - at, "%s%u %s", at ? ", " : "", i, candidates[i].caps.name);
}

static uint32_t best_of(const struct device_candidate *candidates, uint32_t n, uint32_t set)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++)
        if ((set >> i & 1) && (best == UINT32_MAX || rank_of(&candidates[i].caps) > rank_of(&candidates[best].caps)))
            best = i;
    return best;
}

/* The devices that are meant, as bits. */
static uint32_t find(const struct device_candidate *candidates, uint32_t n, const char *select)
{
    const uint32_t all = (uint32_t)((UINT64_C(1) << n) - 1);
    uint32_t named = 0, part_of = 0;
    if (!select)
        return all;
    const bool digits = *select && strspn(select, "0123456789") == strlen(select);
    if (digits && strtoul(select, NULL, 10) < n)
        return UINT32_C(1) << strtoul(select, NULL, 10);
    for (uint32_t i = 0; i < n; i++) {
        const char *name = candidates[i].caps.name;
        const bool part = contains_ignoring_case(name, select);
        part_of |= (uint32_t)part << i;
        named |= (uint32_t)(part && strlen(name) == strlen(select)) << i;
    }
    return named ? named : part_of;
}

enum mn_status device_choose(uint32_t *chosen, const struct device_candidate *candidates, uint32_t n,
                             const char *select, const struct mn_log *log)
{
    const uint32_t meant = find(candidates, n, select);
    char names[LIST_BYTES];
    uint32_t usable = meant;
    for (uint32_t i = 0; i < n; i++)
        if (candidates[i].refusal)
            usable &= ~(UINT32_C(1) << i);
    *chosen = best_of(candidates, n, usable);
    if (!meant) {
        list_names(names, candidates, n, UINT32_MAX);
        return log_fail(log, MN_ERR_USAGE,
                        "device '%s': neither number nor part of the name of a device; there are: %s", select, names);
    }
    if (!usable)
        return log_fail(log, MN_ERR_NO_DEVICE, "device '%s' cannot be used: %s", select ? select : "(any)",
                        candidates[best_of(candidates, n, meant)].refusal);
    if (select && (usable & (usable - 1))) {
        list_names(names, candidates, n, usable);
        return log_fail(log, MN_ERR_USAGE, "device '%s': part of several names: %s; give a number", select, names);
    }
    return MN_OK;
}
