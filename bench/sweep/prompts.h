/* What a sweep says to a model: a small fixed set of prompts, or a file of them. Owns their texts; knows no model.
 * Thread-safety: none. */
#ifndef MUNINN_BENCH_SWEEP_PROMPTS_H
#define MUNINN_BENCH_SWEEP_PROMPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/status.h"

enum { PROMPTS_MAX = 100000, TURNS_MAX = 16 };

/* One prompt: texts that follow each other, or ids. */
struct prompt {
    char **turns; /* [n_turns], owned; 0 turns: ids */
    uint32_t n_turns;
    uint32_t *ids, n_ids; /* owned */
    char *question_id;    /* as JSON text, owned; NULL when the line is no question */
    char *category;       /* owned */
};

struct prompt_set {
    struct prompt *items; /* [n], owned */
    uint32_t n;
    bool questions; /* conversations: they go through the chat template */
    char *name;     /* owned */
};

/* The fixed small set, or a file: JSON lines of {"prompt": TEXT} or {"ids": [..]}, or of Spec-Bench's questions.
 * MN_ERR_FORMAT names the line. */
enum mn_status prompts_read(struct prompt_set *set, const char *path, const struct mn_log *log);
void prompts_free(struct prompt_set *set);

#endif
