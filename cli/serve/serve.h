/* muninn serve: from the options to the end of the process (serve.c), HTTP (http_posix.c) and what each path answers
 * (routes.c), a request's JSON as a checked job (request.c, fields.c), jobs between the two threads (jobs.c), the work
 * on them (work.c, scoring.c), answers as JSON (answer.c) and figures (metrics.c). The option table is cli/serve.c.
 *
 * Two threads. HTTP's reads requests, turns text into ids with an engine of its own that is a tokenizer only, and
 * writes answers. The main thread has the model: it takes jobs, steps the scheduler and makes answers. What both touch
 * is said to be "shared" below and lies behind server.lock; what was set before HTTP began is read by both.
 *
 * Never: a path, a name of a file or a piece of the environment in an answer; text of a client in a message. */
#ifndef MUNINN_CLI_SERVE_SERVE_H
#define MUNINN_CLI_SERVE_SERVE_H

#include <stdio.h>
#include <threads.h>

#include "cli/generate/text.h"
#include "cli/serve/options.h"
#include "engine/files/json.h"

enum {
    SERVE_TOP_MAX = 20,      /* most alternatives of a token in logprobs */
    SERVE_CHOICES_MAX = 256, /* most texts of one request */
    SERVE_DEFAULT_NEW = 16,  /* max_tokens of /v1/completions, as OpenAI has it */
    ERROR_BYTES = 1024,
    NAME_BYTES = 128,
    RETRY_AFTER_S = 1,
};

/* ---- errors ---- */

/* What an answer says that refuses. Strings are constant. */
struct api_error {
    int http; /* 0: there is none */
    const char *type, *code;
    char param[NAME_BYTES]; /* "": of no field */
    char message[ERROR_BYTES];
};

/* Keeps the last error line instead of writing it: a log for one thread, with the struct as `user`. */
struct caught {
    char text[ERROR_BYTES];
};
void catch_line(void *user, enum mn_log_level level, const char *line);

/* ---- jobs ---- */

struct server;
struct job;

/* The alternatives of a token, best first. */
struct alternative {
    uint32_t id;
    double logprob;
};

/* One text of an answer: a sequence of the scheduler. Main thread. */
struct choice {
    struct job *job;
    uint32_t prompt; /* which of the job's */
    uint64_t id, seed;
    uint32_t *tokens; /* [n_tokens], owned */
    uint32_t n_tokens, capacity;
    struct mn_stream_decoder *decoder; /* owned; NULL: the model has no tokenizer */
    struct text_out text;
    size_t n_sent;
    bool begun, ended, scored; /* begun: added to the scheduler */
    bool opened, told;         /* of a stream: its first event is out; its last is */
    enum mn_status status;
    struct mn_stats stats;
    double *logprobs;                 /* [n_prompt + n_tokens], NAN where nothing was asked; owned */
    struct alternative *alternatives; /* [n_prompt + n_tokens, job.n_top], owned */
};

struct prompt {
    uint32_t *ids; /* [n], owned */
    uint32_t n;
    bool begun; /* ids[0] is a begin token that the request did not have */
    char *echo; /* [n_echo] the prompt as text, owned; NULL where it is not asked for */
    size_t n_echo;
};

/* Thread-safety: made by HTTP's thread; from jobs_add on the main thread's, but for what is shared. Freed by the last
 * of the two. */
struct job {
    struct server *server;
    struct job *next; /* in the queue, then among those at work */
    uint64_t number;
    int64_t created; /* seconds since 1970 */
    bool chat, stream, include_usage, echo, token_ids, wants_logprobs;
    uint32_t n_top, n_per_prompt, max_tokens;
    struct mn_generate_params params; /* of every choice, but for prompt, seed and callbacks */
    char exit_rule[NAME_BYTES];
    struct text_list stops;
    char *stop_texts;       /* owned */
    struct prompt *prompts; /* [n_prompts], owned */
    uint32_t n_prompts;
    struct choice *choices; /* [n_choices], owned */
    uint32_t n_choices, n_ended;
    struct caught caught;
    struct mn_log log;
    double arrived, first; /* clock_s; first: of the first token, 0 before */
    struct api_error error;
    /* Shared: */
    int n_owners;
    void *connection; /* borrowed; NULL: the exchange is over */
    int fd;
    bool suspended, gone; /* gone: nobody waits for the answer */
    bool streaming, done; /* streaming: the answer has begun; done: nothing is added to it */
    bool broken;          /* the connection is to be closed without a further word */
    char *out;            /* [n_out] of the answer, owned; those before n_taken were sent */
    size_t n_out, n_taken, out_capacity;
};

/* Zeroed but for its owner, HTTP's thread; NULL without memory. */
struct job *job_create(struct server *server);
/* Gives the job `n_choices` choices; MN_ERR_MEMORY. */
enum mn_status job_make_choices(struct job *job);
/* An owner less. */
void job_release(struct job *job);
/* More of the answer, for whoever sends it. On the main thread. False: out of memory. */
bool job_put(struct job *job, const char *bytes, size_t n_bytes);
/* HTTP's thread: queues the job; with the lock held, so that nobody answers before the connection is asleep. */
void jobs_add(struct server *server, struct job *job);
/* Main thread: takes all that were queued, in order; waits up to `seconds` where there are none. */
struct job *jobs_take(struct server *server, double seconds);

/* ---- metrics.c ---- */

enum { BUCKETS = 14, CODES = 13, PATHS = 9, DEPTHS_MAX = 4096 };

struct histogram {
    uint64_t counts[BUCKETS + 1];
    double sum;
};

/* Shared. */
struct metrics {
    uint64_t answers[PATHS][CODES]; /* by path and HTTP status */
    uint64_t cancelled, timed_out;  /* requests whose client went away, or whose time was over */
    uint64_t prompt_tokens, new_tokens, scored_tokens, score_passes;
    uint64_t drafted[DEPTHS_MAX + 1], accepted[DEPTHS_MAX + 1]; /* by draft_steps; [0]: of auto, which changes it */
    uint64_t rounds, committed;
    uint64_t proposed_by[MN_PROPOSALS], looked_up;                              /* as in mn_stats */
    uint64_t predicted_at[MN_AGREEMENT_DEPTHS], agreed_at[MN_AGREEMENT_DEPTHS]; /* [depth - 1] */
    struct histogram first_s, token_s, request_s;
    struct mn_scheduler_stats scheduler;
};

void metrics_count(struct server *server, size_t path, int http); /* takes the lock */
void histogram_add(struct histogram *histogram, double seconds);  /* the lock is held */
void metrics_write(FILE *out, struct server *server);             /* takes the lock */

/* ---- server ---- */

struct http;

struct server {
    const struct serve_options *options;
    const struct mn_log *log;
    struct mn_model_info info;
    char name[NAME_BYTES]; /* of the model */
    char *api_key;         /* owned; NULL: none is asked for */
    size_t n_api_key;
    uint32_t n_ctx, num_steps;
    int64_t created;      /* seconds since 1970 */
    uint64_t start;       /* begins ids of answers */
    bool chats, loopback; /* chats: the model has a template */
    /* HTTP's thread: */
    struct mn_engine *tokenizer; /* owned by main's; NULL: the model has none */
    struct caught tokenizer_said;
    uint64_t next_seed;
    /* Main thread: */
    struct mn_engine *engine, *words;     /* words: the same, or NULL where the model has no tokenizer */
    struct mn_session *session, *scoring; /* scoring: NULL with --no-logprobs */
    struct mn_scheduler *scheduler;
    struct http *http;
    struct job *jobs;    /* at work */
    struct job *scored;  /* one of them, whose text is just being scored: it does not end meanwhile */
    double until;        /* while draining: when what runs has to end */
    bool serving, hurry; /* hurry: what runs ends now */
    uint64_t n_answered;
    /* Shared: */
    mtx_t lock;
    cnd_t wake;
    struct job *queue, **queue_end;
    uint32_t n_sequences; /* of jobs that are not done */
    uint32_t n_exchanges; /* jobs whose answer is on its way */
    uint64_t n_jobs;
    bool draining;
    enum mn_status failed; /* nothing can be computed any more */
    struct metrics metrics;
};

/* ---- http_posix.c ---- */

/* A whole answer. */
struct reply {
    int http;
    const char *type;  /* of its content; NULL: JSON */
    const char *allow; /* methods, with 405 */
    char *body;        /* owned */
    size_t n_bytes;
};

/* Binds options->host and port; nobody is answered yet. */
enum mn_status http_open(struct http **out, struct server *server);
/* Starts answering; says where. */
enum mn_status http_start(struct http *http);
/* Nobody is let in any more. */
void http_close_door(struct http *http);
/* Ends connections that are too slow with their request, and marks jobs whose client is gone. Main thread, often. */
void http_watch(struct http *http);
/* Wakes the job's connection if it sleeps. */
void http_wake(struct job *job);
/* Ends all connections. No job may be suspended any more. NULL is fine. */
void http_destroy(struct http *http);

/* ---- routes.c ---- */

struct route {
    const char *path, *method;
    bool is_open; /* also without the key */
    /* Fills in either *reply or *job, which is then to be queued. HTTP's thread. */
    void (*answer)(struct server *server, const char *body, size_t n_bytes, struct reply *reply, struct job **job);
};

const struct route *route_at(size_t index);    /* NULL behind the last */
size_t route_index(const struct route *route); /* NULL: behind the last */
void reply_error(struct reply *reply, const struct api_error *error);
void reply_plain_error(struct reply *reply, int http, const char *code, const char *message);

/* ---- request.c, fields.c ---- */

/* What a request asks for, before it is checked as a whole. UINT32_MAX: not given. */
struct settings {
    uint32_t n, best_of, max_tokens, max_completion_tokens, logprobs, top_logprobs;
    uint32_t num_steps, draft_steps, lookahead, max_inflight, lookup, top_k;
    double temperature, top_p, min_p;
    uint64_t seed;
    bool has_seed, stream, include_usage, echo, ignore_eos, chat_logprobs, token_ids, add_special;
    const char *strategy;
    const cJSON *prompt, *messages, *stop, *tokens; /* in the document */
    const char *exit;
};

enum { FOR_COMPLETIONS = 1, FOR_CHAT = 2, FOR_TOKENIZE = 4, FOR_DETOKENIZE = 8 };

/* A request under way. */
struct reading {
    struct server *server;
    struct json_doc doc;
    struct mn_log log;
    struct caught caught;
    struct settings want;
    struct api_error *error;
};

/* Parses the body and takes the fields that requests of this kind have. Whatever the result, json_destroy(&r->doc).
 * On failure *r->error is set. */
enum mn_status fields_read(struct reading *r, unsigned kind, const char *body, size_t n_bytes);
/* Fills in *r->error, of a request that is wrong; returns MN_ERR_USAGE. */
enum mn_status fields_refuse(struct reading *r, const char *param, const char *code, const char *fmt, ...)
    MN_PRINTF(4, 5);
enum mn_status fields_out_of_memory(struct reading *r);

/* Prompts and chats as ids; *ids is malloc'ed. */
enum mn_status request_text_ids(struct reading *r, const char *text, bool begin, struct prompt *prompt);
enum mn_status request_chat_ids(struct reading *r, struct prompt *prompt);
enum mn_status request_list_ids(struct reading *r, const char *param, const cJSON *list, struct prompt *prompt);
/* A job, or *error. */
enum mn_status request_read(struct job **job, struct server *server, bool chat, const char *body, size_t n_bytes,
                            struct api_error *error);

/* ---- work.c ---- */

/* Until the server ends. The reason is the status: MN_OK when it was asked to. */
enum mn_status work(struct server *server);
/* Between two passes of a score: a step for everybody else. False: nobody waits for that score any more. */
bool serve_others(struct server *server);

/* ---- scoring.c ---- */

/* Log-probabilities of a choice that has ended: exactly those of mn_score. Others are served between its passes;
 * MN_ERR_INTERRUPTED when nobody waits for it any more. */
enum mn_status score_choice(struct server *server, struct choice *choice);
/* Text of ids, malloc'ed, with a zero byte behind it; ids without a token have none, nor has any without an engine.
 * NULL: out of memory. */
char *decode_ids(struct mn_engine *engine, const uint32_t *ids, size_t n_ids, bool skip_specials, size_t *n_text);

/* ---- answer.c ---- */

void answer_error(FILE *out, const struct api_error *error);
void answer_whole(FILE *out, const struct job *job);
/* An event of a stream: text, and how it ended once it has. */
void answer_piece(FILE *out, const struct choice *choice, const char *text, size_t n_bytes, bool first, bool last);
void answer_usage(FILE *out, const struct job *job); /* the last event, where it was asked for */
const char *finish_reason(const struct choice *choice);

#endif
