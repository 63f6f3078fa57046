/* The chat template that a model folder brings, compared with the one that chat_encode builds: templates are programs
 * (Jinja), and none is run here.
 *
 * Owns: finding the template (chat_template.jinja, or chat_template in tokenizer_config.json, which may be a list of
 *       named ones), and the decision whether chat_encode stands for it.
 * Never: runs it.
 * Thread-safety: a template is immutable once read.
 */
#ifndef MUNINN_ENGINE_TEXT_CHAT_TEMPLATE_H
#define MUNINN_ENGINE_TEXT_CHAT_TEMPLATE_H

#include "engine/base/status.h"

enum chat_fit {
    CHAT_SAME,    /* none, or a text that is known to say what chat_encode builds */
    CHAT_SIMILAR, /* another text, with the tokens and the role of Huginn's */
    CHAT_OTHER,
};

/* Zeroed is a folder that brings none. */
struct chat_template {
    enum chat_fit fit;
    char *file; /* owned: where it is; NULL: nowhere */
};

/* MN_ERR_FILE, MN_ERR_FORMAT: a file that cannot be read; MN_ERR_MEMORY. A file that does not exist is none. */
enum mn_status chat_template_read(struct chat_template *out, const char *dir, const struct mn_log *log);
/* MN_ERR_UNSUPPORTED: it is another one. Warns of one that may be. */
enum mn_status chat_template_check(const struct chat_template *t, const struct mn_log *log);
void chat_template_finish(struct chat_template *t);

#endif
