/* muninn chat: from the options to the end of the conversation (chat.c), lines as they are typed (input.c, and with
 * libedit edit_posix.c), what begins with a slash (commands.c), a turn from the message to the end of the answer
 * (turn.c), the conversation as a file (save.c). The option table is cli/chat.c.
 *
 * A turn is a sequence of a scheduler with one place, which keeps what it has read: the next prompt is read from where
 * it differs from the last one, which is the beginning of the answer (docs/decisions.md, 70).
 *
 * Thread-safety: none; one thread. */
#ifndef MUNINN_CLI_CHAT_CHAT_H
#define MUNINN_CLI_CHAT_CHAT_H

#include "api/muninn.h"
#include "cli/chat/edit.h"
#include "cli/common/input_lines.h"
#include "cli/common/options.h"

struct chat_options {
    const char *model, *system, *device, *matrix_units, *strategy, *kv_policy, *kv_type, *weight_type, *cpu_threads;
    uint32_t n_new, num_steps, ctx, draft_steps, max_inflight; /* 0 when not given */
    uint32_t lookahead, lookup, top_k;
    uint64_t seed;
    float temperature, top_p, min_p;
    bool beyond;
};

/* ---- input.c ---- */

/* Zeroed is closed. */
struct chat_input {
    struct editor *editor; /* owned; NULL: lines as they come */
    struct input_lines lines;
    FILE *prompts; /* where they are written; NULL: nobody types */
    bool block;    /* the last message stood between fences: it is no command */
};

enum mn_status chat_input_open(struct chat_input *in, const struct mn_log *log);
/* The next message or command, *text [*n_bytes, and a zero behind], malloc'ed; NULL at the end of the input. Also NULL
 * when a signal came, which cli_interrupted says. */
enum mn_status chat_input_read(struct chat_input *in, char **text, size_t *n_bytes, const struct mn_log *log);
void chat_input_close(struct chat_input *in);

/* ---- the conversation ---- */

/* A message and its answer. */
struct turn {
    char *message, *answer; /* owned; zero-terminated as well */
    size_t n_message, n_answer;
    uint32_t *prompt, *tokens; /* [n_prompt], [n_tokens], owned */
    size_t n_prompt;
    uint32_t n_tokens;
    const char *strategy; /* these as they were asked for, constant */
    uint32_t draft_steps;
    float temperature;
    struct mn_stats stats;
};

struct chat {
    const struct chat_options *options;
    const struct mn_log *log;
    const char *dir; /* the model's folder, borrowed */
    struct mn_engine *engine;
    struct mn_model_info info;
    struct mn_session_params session_params;
    struct mn_session *session;
    struct mn_scheduler *scheduler;
    struct chat_input input;
    const char *strategy; /* of the next turn, constant; so are these */
    uint32_t num_steps;
    float temperature;
    struct turn *turns; /* [n_turns], owned, room for capacity */
    uint32_t n_turns, capacity;
    bool answering, ended; /* ended: /quit */
    double stop_seen;      /* of the answer: when its end was first asked for; 0: it was not */
};

/* The command. */
enum mn_status run_chat(const struct chat_options *options, const struct mn_log *log);
/* What the options say of it, and how many rows that takes; lookup where the strategy has it. draft_steps is the
 * turn's. */
struct mn_speculation_params chat_speculation(const struct chat_options *options, const char *strategy);
/* A session for the present depth, and its scheduler; what there was is gone before, and so is what the cache had. */
enum mn_status chat_open_session(struct chat *chat);
/* The scheduler alone, anew: with costs where the strategy needs them. */
enum mn_status chat_open_scheduler(struct chat *chat);
/* The conversation begins anew. */
void chat_forget(struct chat *chat);
void turn_free(struct turn *turn);

/* ---- turn.c ---- */

/* Answers a message and keeps both. What failed is logged, and the conversation is as before. MN_ERR_INTERRUPTED: by
 * what ends the program. */
enum mn_status chat_turn(struct chat *chat, const char *message, size_t n_bytes);

/* ---- commands.c ---- */

/* `line` begins with a slash. What it cannot do is logged: MN_ERR_USAGE, or what the work came to. */
enum mn_status chat_command(struct chat *chat, const char *line);

/* ---- save.c ---- */

/* The conversation as one JSON document, which replaces what stands at `path`. */
enum mn_status chat_save(const struct chat *chat, const char *path);

#endif
