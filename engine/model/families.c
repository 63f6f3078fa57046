#include <stdio.h>
#include <string.h>

#include "engine/model/family.h"

extern const struct family family_huginn_raven;

static const struct family *const families[] = {&family_huginn_raven};
enum { N_FAMILIES = sizeof families / sizeof *families };

const struct family *family_find(const char *model_type)
{
    for (int i = 0; i < N_FAMILIES; i++)
        if (!strcmp(families[i]->model_type, model_type))
            return families[i];
    return NULL;
}

void family_names(char *text, size_t text_bytes)
{
    size_t n = (size_t)snprintf(text, text_bytes, "only ");
    for (int i = 0; i < N_FAMILIES && n < text_bytes; i++)
        n += (size_t)snprintf(text + n, text_bytes - n, "%s%s", i ? ", " : "", families[i]->model_type);
    if (n < text_bytes)
        snprintf(text + n, text_bytes - n, N_FAMILIES == 1 ? " is supported" : " are supported");
}
