#include "engine/text/post_processor.h"

#include <string.h>

/* The one id that a special token of the template stands for. */
static enum mn_status special_read(struct begin_token *begin, const struct json_doc *doc, const struct cJSON *template,
                                   const struct cJSON *piece, uint32_t n_ids)
{
    const struct cJSON *tokens, *token, *ids;
    const char *name;
    enum mn_status status = json_get_string(doc, piece, "id", 512, &name);
    if (!status)
        status = json_get_object(doc, template, "special_tokens", &tokens);
    if (!status)
        status = json_get_object(doc, tokens, name, &token);
    if (!status)
        status = json_get_array(doc, token, "ids", &ids);
    if (status)
        return status;
    if (begin->has_token || cJSON_GetArraySize(ids) != 1)
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "post_processor.single", json_find(template, "single"),
                           "more than one token in front of a text");
    begin->has_token = true;
    return json_as_u32(doc, "post_processor.special_tokens", ids->child, 0, n_ids - 1, &begin->id);
}

static enum mn_status template_read(struct begin_token *begin, const struct json_doc *doc, const struct cJSON *node,
                                    uint32_t n_ids)
{
    const struct cJSON *single, *piece, *special;
    bool has_text = false;
    enum mn_status status = json_get_array(doc, node, "single", &single);
    if (status)
        return status;
    if (begin->is_said)
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "post_processor", NULL, "more than one TemplateProcessing");
    begin->is_said = true;
    cJSON_ArrayForEach (piece, single) {
        special = json_find(piece, "SpecialToken");
        if (!special && json_find(piece, "Sequence") && !has_text) {
            has_text = true;
            continue;
        }
        if (!special || has_text)
            return json_refuse(doc, MN_ERR_UNSUPPORTED, "post_processor.single", single,
                               "only one token in front of the text is understood");
        status = special_read(begin, doc, node, special, n_ids);
        if (status)
            return status;
    }
    return has_text ? MN_OK
                    : json_refuse(doc, MN_ERR_FORMAT, "post_processor.single", single, "a template without the text");
}

/* The recursion is as deep as the file is nested, which the JSON reader bounds. */
static enum mn_status processor_read(struct begin_token *begin, const struct json_doc *doc, const struct cJSON *node,
                                     uint32_t n_ids)
{
    const struct cJSON *members, *member;
    const char *type;
    enum mn_status status = json_get_string(doc, node, "type", 64, &type);
    if (status)
        return status;
    if (!strcmp(type, "ByteLevel"))
        return MN_OK;
    if (!strcmp(type, "TemplateProcessing"))
        return template_read(begin, doc, node, n_ids);
    if (strcmp(type, "Sequence"))
        return json_refuse(doc, MN_ERR_UNSUPPORTED, "post_processor.type", json_find(node, "type"),
                           "only TemplateProcessing, ByteLevel and Sequence are understood");
    status = json_get_array(doc, node, "processors", &members);
    if (status)
        return status;
    cJSON_ArrayForEach (member, members) {
        status = processor_read(begin, doc, member, n_ids);
        if (status)
            return status;
    }
    return MN_OK;
}

enum mn_status post_processor_read(struct begin_token *begin, const struct json_doc *doc, uint32_t n_ids)
{
    const struct cJSON *node = json_find(doc->root, "post_processor");
    *begin = (struct begin_token){0};
    return json_is_given(doc->root, "post_processor") ? processor_read(begin, doc, node, n_ids) : MN_OK;
}
