/* The chat template that a model folder brings, compared with those that chat_encode builds: templates are programs
 * (Jinja), and none is run here.
 *
 * Owns: finding the template (chat_template.jinja, or chat_template in tokenizer_config.json, which may be a list of
 *       named ones), and the decision which of those that are built in stands for it.
 * Never: runs it.
 * Thread-safety: a template is immutable once read.
 */
#ifndef MUNINN_ENGINE_TEXT_CHAT_TEMPLATE_H
#define MUNINN_ENGINE_TEXT_CHAT_TEMPLATE_H

#include "engine/text/chat.h"

enum chat_fit {
    CHAT_SAME,    /* no template, or a text that is known to say what chat_encode builds */
    CHAT_SIMILAR, /* another text, with the tokens and the model's name of the one that is built in */
    CHAT_OTHER,
};

/* Zeroed is a folder that brings none. */
struct chat_template {
    enum chat_fit fits[CHAT_N_KINDS];
    bool opens_thought; /* its replies begin with <think> */
    char *file;         /* owned: where it is; NULL: nowhere */
};

/* MN_ERR_FILE, MN_ERR_FORMAT: a file that cannot be read; MN_ERR_MEMORY. A file that does not exist is none. */
enum mn_status chat_template_read(struct chat_template *out, const char *dir, const struct mn_log *log);
/* Which of the built-in ones a model's conversations go into: one whose tokens the tokenizer has, and which fits the
 * folder's template best. MN_ERR_UNSUPPORTED: there is none. `warns`: of one that may be another. */
enum mn_status chat_template_choose(struct chat_style *style, const struct chat_template *t,
                                    const struct tokenizer *tokenizer, bool warns, const struct mn_log *log);
void chat_template_finish(struct chat_template *t);

#endif
