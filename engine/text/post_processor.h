/* Post-processor: what a tokenizer.json says belongs around a text.
 *
 * Owns: the `post_processor` object: TemplateProcessing, ByteLevel (which only moves offsets) and sequences of them.
 * Never: puts a token in front by itself: whoever makes a prompt asks for it. Looks at pairs of texts, which nobody
 * here makes. Thread-safety: stateless. */
#ifndef MUNINN_ENGINE_TEXT_POST_PROCESSOR_H
#define MUNINN_ENGINE_TEXT_POST_PROCESSOR_H

#include "engine/base/status.h"
#include "engine/files/json.h"

/* What stands in front of a text: nothing that is said, expressly nothing, or the token `id`. */
struct begin_token {
    bool is_said, has_token;
    uint32_t id;
};

/* Reads the `post_processor` value. MN_ERR_UNSUPPORTED: another type, more than one token in front, or a token behind
 * the text. MN_ERR_FORMAT: malformed; ids from `n_ids` on. */
enum mn_status post_processor_read(struct begin_token *begin, const struct json_doc *doc, uint32_t n_ids);

#endif
