#include "engine/model/weight_scheme.h"

#include <stdio.h>
#include <string.h>

static const char *const names[WEIGHT_GROUPS] = {
    "embedding",         "head",           "adapter",          "exit_gate",      "prelude.attn.qkv",
    "prelude.attn.proj", "prelude.mlp.fc", "prelude.mlp.proj", "core.attn.qkv",  "core.attn.proj",
    "core.mlp.fc",       "core.mlp.proj",  "coda.attn.qkv",    "coda.attn.proj", "coda.mlp.fc",
    "coda.mlp.proj"};

const char *weight_group_name(enum weight_group group)
{
    return names[group];
}

struct weight_scheme weight_scheme_of(enum weight_type type)
{
    struct weight_scheme scheme = {{0}, {0}};
    if (type != WEIGHT_TYPE_AS_STORED)
        snprintf(scheme.name, sizeof scheme.name, "%s", weight_type_name(type));
    for (int group = 0; group < WEIGHT_GROUPS; group++)
        scheme.types[group] = type;
    return scheme;
}

struct weight_scheme weight_scheme_as_stored(void)
{
    return weight_scheme_of(WEIGHT_TYPE_AS_STORED);
}

bool weight_scheme_quantised(const struct weight_scheme *scheme)
{
    bool quantised = false;
    for (int group = 0; group < WEIGHT_GROUPS; group++)
        quantised |= weight_type_quantised(scheme->types[group]);
    return quantised;
}

/* What 4 bits hurt most keeps 8: an error of the core's last matrix goes into the state at every step, and the matrices
 * at the ends are read once per token. */
static void keep_sensitive(struct weight_scheme *scheme)
{
    static const enum weight_group kept[] = {WEIGHT_GROUP_EMBEDDING, WEIGHT_GROUP_HEAD, WEIGHT_GROUP_ADAPTER,
                                             WEIGHT_GROUP_EXIT_GATE,
                                             WEIGHT_GROUP_BLOCKS + WEIGHT_PARTS * WEIGHT_CORE + WEIGHT_MLP_PROJ};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        scheme->types[kept[i]] = WEIGHT_TYPE_Q8_0;
}

/* Whether `group` of n letters is the name or a beginning of it that ends at a dot. */
static bool names_group(const char *group, size_t n, const char *name)
{
    return (n == 3 && !strncmp(group, "all", n)) || (!strncmp(group, name, n) && (name[n] == '\0' || name[n] == '.'));
}

/* "GROUP=TYPE" of n letters. */
static enum mn_status parse_exception(const char *text, size_t n, const char *whole, struct weight_scheme *scheme,
                                      const struct mn_log *log)
{
    const char *const equals = memchr(text, '=', n);
    char type_name[16];
    enum weight_type type;
    bool found = false;
    if (!equals || equals == text)
        return log_fail(log, MN_ERR_USAGE, "weight_type %s: '%.*s' must be GROUP=TYPE", whole, (int)n, text);
    snprintf(type_name, sizeof type_name, "%.*s", (int)(n - (size_t)(equals + 1 - text)), equals + 1);
    enum mn_status status = weight_type_parse(type_name, &type, log);
    for (int group = 0; group < WEIGHT_GROUPS && !status; group++)
        if (names_group(text, (size_t)(equals - text), names[group])) {
            scheme->types[group] = type;
            found = true;
        }
    if (!status && !found)
        return log_fail(log, MN_ERR_USAGE,
                        "weight_type %s: no matrices are called '%.*s'; there are embedding, head, adapter, exit_gate, "
                        "{prelude,core,coda}.{attn.qkv,attn.proj,mlp.fc,mlp.proj}, a beginning of these, and all",
                        whole, (int)(equals - text), text);
    return status;
}

enum mn_status weight_scheme_parse(const char *text, struct weight_scheme *out, const struct mn_log *log)
{
    *out = weight_scheme_as_stored();
    if (!text)
        return MN_OK;
    const char *at = text;
    size_t n = strcspn(text, "+");
    char type_name[16];
    enum weight_type type;
    if (strlen(text) >= WEIGHT_SCHEME_BYTES)
        return log_fail(log, MN_ERR_USAGE, "weight_type %.40s..: longer than %d letters", text,
                        WEIGHT_SCHEME_BYTES - 1);
    snprintf(type_name, sizeof type_name, "%.*s", (int)n, text);
    enum mn_status status = weight_type_parse(text[n] ? type_name : text, &type, log);
    if (status)
        return status;
    *out = weight_scheme_of(type);
    if (type == WEIGHT_TYPE_Q4_1)
        keep_sensitive(out);
    snprintf(out->name, sizeof out->name, "%s", text);
    for (at += n; *at == '+' && !status; at += n) {
        at++;
        n = strcspn(at, "+");
        status = parse_exception(at, n, text, out, log);
    }
    return status;
}
