#include <string.h>
#include <utf8proc.h>

#include "engine/text/pretokenizer.h"

enum mn_status metaspace_read(struct metaspace *metaspace, const struct json_doc *doc, const char *key,
                              const struct cJSON *node, const struct mn_log *log)
{
    static const char *const schemes[] = {"always", "first", "never"};
    const char *replacement, *scheme;
    bool add_prefix_space = true;
    utf8proc_int32_t c;
    size_t i = 0;
    *metaspace = (struct metaspace){.split = true};
    enum mn_status status = json_get_string(doc, node, "replacement", 4, &replacement);
    if (!status)
        status = json_get_string_or(doc, node, "prepend_scheme", 64, schemes[0], &scheme);
    if (!status)
        status = json_get_bool_or(doc, node, "add_prefix_space", true, &add_prefix_space);
    if (!status)
        status = json_get_bool_or(doc, node, "split", true, &metaspace->split);
    if (status)
        return status;
    size_t n = strlen(replacement);
    if (!n || (size_t)utf8proc_iterate((const utf8proc_uint8_t *)replacement, (utf8proc_ssize_t)n, &c) != n)
        return log_fail(log, MN_ERR_FORMAT, "%s: key '%s.replacement': '%s' is not one character", doc->file, key,
                        replacement);
    while (i < sizeof schemes / sizeof *schemes && strcmp(scheme, schemes[i]))
        i++;
    if (i == sizeof schemes / sizeof *schemes)
        return log_fail(log, MN_ERR_UNSUPPORTED, "%s: key '%s.prepend_scheme': '%s': only always, first and never",
                        doc->file, key, scheme);
    if (!add_prefix_space && i != PREPEND_NEVER)
        return log_fail(log, MN_ERR_FORMAT, "%s: key '%s.add_prefix_space': false contradicts prepend_scheme '%s'",
                        doc->file, key, schemes[i]);
    memcpy(metaspace->replacement, replacement, n + 1);
    metaspace->scheme = (enum prepend_scheme)i;
    return MN_OK;
}
