#include <stdio.h>
#include <string.h>

#include "engine/model/family.h"

extern const struct family family_huginn_raven, family_retrofit_llama, family_retrofit_olmo, family_ouro, family_llama;

/* Of those that share a model_type, the one without `is` comes last. */
static const struct family *const families[] = {&family_retrofit_olmo, &family_retrofit_llama, &family_huginn_raven,
                                                &family_ouro, &family_llama};
enum { N_FAMILIES = sizeof families / sizeof *families };

const struct family *family_find(const char *model_type, const struct json_doc *doc, const struct safetensors *file)
{
    for (int i = 0; i < N_FAMILIES; i++)
        if (!strcmp(families[i]->model_type, model_type) && (!families[i]->is || families[i]->is(doc, file)))
            return families[i];
    return NULL;
}

const struct family *family_named(const char *name)
{
    for (int i = 0; i < N_FAMILIES; i++)
        if (!strcmp(families[i]->name, name))
            return families[i];
    return NULL;
}

bool family_is_ambiguous(const char *model_type)
{
    int n = 0;
    for (int i = 0; i < N_FAMILIES; i++)
        n += !strcmp(families[i]->model_type, model_type);
    return n > 1;
}

void family_names(char *text, size_t text_bytes)
{
    const char *last = "";
    size_t n = (size_t)snprintf(text, text_bytes, "only ");
    for (int i = 0; i < N_FAMILIES && n < text_bytes; i++) {
        if (strcmp(last, families[i]->model_type) != 0)
            n += (size_t)snprintf(text + n, text_bytes - n, "%s%s", i ? ", " : "", families[i]->model_type);
        last = families[i]->model_type;
    }
    if (n < text_bytes)
        snprintf(text + n, text_bytes - n, " are supported");
}
