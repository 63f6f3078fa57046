#include "engine/vulkan/device_id.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/system.h"

static bool are_twins(const struct caps *a, const struct caps *b)
{
    return !strcmp(a->name, b->name) && !strcmp(a->driver, b->driver) && a->driver_version == b->driver_version;
}

/* The UUID; where a driver gives equal ones, the number among the equal devices. */
static void write_place(const struct device_candidate *all, uint32_t n, uint32_t which, char *text, size_t text_bytes)
{
    const struct caps *self = &all[which].caps;
    uint32_t n_twins = 0, n_before = 0;
    bool unique = true;
    for (uint32_t i = 0; i < n; i++)
        if (i != which && are_twins(&all[i].caps, self)) {
            n_twins++;
            n_before += i < which;
            unique &= memcmp(all[i].caps.uuid, self->uuid, sizeof self->uuid) != 0;
        }
    *text = '\0';
    if (n_twins && unique)
        for (size_t i = 0, at = 0; i < sizeof self->uuid; i++)
            at += (size_t)snprintf(text + at, text_bytes - at, "%02x", self->uuid[i]);
    else if (n_twins)
        snprintf(text, text_bytes, "number %u of %u", n_before + 1, n_twins + 1);
}

void device_id_write(struct caps *caps, const struct device_candidate *all, uint32_t n, uint32_t which)
{
    char model[128] = "unknown processor", host[192] = "", place[64];
    write_place(all, n, which, place, sizeof place);
    if (caps->is_cpu) {
        system_processor_name(model, sizeof model);
        snprintf(host, sizeof host, "%s, %ld processors", model, system_processors_usable());
    }
    snprintf(caps->id, sizeof caps->id, "%s%s%s", host, *host && *place ? ", " : "", place);
}
