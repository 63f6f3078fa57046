/* Muninn: a Vulkan compute engine for recurrent-depth language models (model_type huginn_raven).
 *
 * An engine is a loaded model on a device. A session is its cache and its recorded work for one timeline of tokens.
 * Generation runs a strategy on a session, or a scheduler many at once. Lifetimes: engine > session. Strings and
 * structs passed in are read during the call only, except `log`, which must outlive the engine, as must the `user` of
 * callbacks that go with it.
 *
 * THE CONTRACT of speculation: with cache policy `full`, every strategy that declares itself lossless emits exactly the
 * tokens that `ar` emits with the same num_steps, sampler and seed on the same device - for every draft depth and
 * lookahead, greedy and sampled. `mn_stats.lossless` says whether a run was under that contract.
 *
 * A NULL argument that is not said to be allowed is MN_ERR_USAGE, or 0 where a number is returned.
 *
 * ROOM TO GROW. Zero is the default of every field that has one: structs of parameters begin zeroed, as designated
 * initialisers leave them. A struct that may get further fields ends in `reserved`; later versions make fields of these
 * words, so that no size and no offset changes and programs need not be compiled again. In parameters a reserved word
 * that is not zero is MN_ERR_USAGE: the struct was not zeroed, or the program asks for something that this library is
 * too old to know. In what the library fills in they are 0. Structs that the library makes itself, one by one
 * (mn_device_info, mn_strategy, mn_trace), get new fields at their end, enums new values at theirs. The others, mn_log
 * and those that come in arrays, stay as they are.
 *
 * IN A HOST PROGRAM. Numbers in files, settings and messages have a point in every locale. Of the process nothing is
 * changed: locale, environment, working directory, umask, signal handlers and masks, rounding. The library has no
 * variables, starts no threads (drivers do), prints nothing, and reads a model's files while the engine is created.
 * Behind a fork, a child cannot use what its parent made: drivers do not survive it.
 *
 * Thread-safety: an engine and its sessions belong to one thread at a time; different engines are independent. */
#ifndef MUNINN_H
#define MUNINN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MN_VERSION "0.1.0"    /* of this header */
const char *mn_version(void); /* of the library that runs */

/* Everything fallible returns one of these. The reason is logged once, where it happens. */
enum mn_status {
    MN_OK = 0,
    MN_ERR_RUN,         /* anything without a better name: a failed write, an impossible state of the world */
    MN_ERR_USAGE,       /* the caller's mistake: a bad argument, K >= R, a prompt longer than the context */
    MN_ERR_NO_DEVICE,   /* no Vulkan loader, no driver, no device that meets the requirements */
    MN_ERR_FILE,        /* a file that is missing, unreadable or changes while it is read */
    MN_ERR_FORMAT,      /* a file whose content is malformed */
    MN_ERR_UNSUPPORTED, /* a well-formed file that asks for something this build cannot do */
    MN_ERR_DEVICE_LOST, /* the device was lost or did not answer in time; sticky */
    MN_ERR_MEMORY,      /* host or device memory ran out, or a limit was reached */
    MN_ERR_CHECK,       /* a self-test or an equality check failed */
    MN_ERR_INTERRUPTED, /* the caller's callback asked to stop */
};

enum mn_log_level { MN_LOG_INFO = 0, MN_LOG_WARN, MN_LOG_ERROR };

/* Where messages go. `write` gets one line without newline, in UTF-8 and fit for a terminal: control characters and
 * marks of direction in names and values are spelled out (\u001b), as are bytes that are no text (\xff). A NULL log or
 * NULL write drops messages. */
struct mn_log {
    void (*write)(void *user, enum mn_log_level level, const char *line);
    void *user;
};

/* Whoever waits: what long work is at, and whether it is to go on. `report` is called at least a few times a second,
 * and before everything that is given to the device, a piece of some 150 ms at most: how often is the library's affair,
 * how often something is shown is the caller's. A phase begins with `done` 0 and, unless it fails, ends with `done`
 * equal to `total`; what it counts (bytes, pipelines, steps of rows) is its own, and its share of `total` is roughly
 * that of its time. `what` names the phase in a few words ("reading weights") and is constant; it is NULL, with 0 of 0,
 * where there is no phase and the question is only whether to go on. A non-zero return stops the call under way, which
 * returns MN_ERR_INTERRUPTED and logs nothing: what it was to make is not made, tokens that were handed out stay valid,
 * engine and session can be used again. It must not call the library. NULL: nobody is asked. */
struct mn_progress {
    int (*report)(void *user, const char *what, uint64_t done, uint64_t total);
    void *user;
};

/* Short stable name of a status ("out of memory"), never NULL. */
const char *mn_status_name(enum mn_status status);

/* The process exit code that belongs to a status: 0 ok, 1 run error, 2 usage, 3 no device,
 * 4 bad model or input file, 5 device lost or timeout, 6 out of memory, 7 check failed, 130 interrupted. */
int mn_status_exit_code(enum mn_status status);

/* ---- devices ---- */

struct mn_device_info {
    uint32_t index;
    const char *name, *driver, *type; /* type: "discrete", "integrated", "virtual", "cpu" or "other" */
    const char *banner;               /* one line to paste into reports */
    const char *refusal;              /* NULL, or why the device cannot be used */
    uint32_t subgroup_size, vendor_id, device_id, api_version;
    uint64_t memory_bytes; /* largest device-local heap */
    bool uma, fp16, int8_dot, matrix_cores;
    /* What tells it from devices with its name: a CPU device's processors; of several equal devices in one machine the
     * UUID, or the number among them where the driver gives them one UUID. "" where the name says it all, so that equal
     * devices of different machines count as one kind. */
    const char *id;
    uint32_t driver_version; /* as the driver encodes it: `driver` may leave it out */
};

/* Visits every Vulkan device. MN_ERR_NO_DEVICE when there is no loader, driver or device. */
enum mn_status mn_devices(void (*visit)(void *user, const struct mn_device_info *info), void *user,
                          const struct mn_log *log);

/* ---- engine ---- */

struct mn_engine;

struct mn_engine_params {
    const char *model_dir; /* Hugging Face folder: config.json, model.safetensors (or index + shards), tokenizer.json */
    /* For measuring without a model: a shape instead of model_dir, whose weights the device makes from a seed, the same
     * ones on every device and in every weight type. "huginn-3.5b", "raven-1b", "raven-100m", "raven-tiny",
     * "raven-llama-1b", "raven-tinyllama", "raven-olmo-1b", "ouro-1.4b", "ouro-2.6b", "llama-1b";
     * "d=..,heads=..,ff=..,vocab=..,layers=P-C-K" with ",steps=..,ctx=..,kv=..,head=..,tied=..,family=.." if wanted; or
     * the path of a config.json. It has no tokenizer. */
    const char *synthetic;
    uint64_t synthetic_seed;
    /* NULL: the best one; an index; or part of one device's name, also one of digits that are no index. */
    const char *device;
    /* NULL: as stored; a name of mn_weight_type_at, with exceptions for groups of matrices if wanted: "q4_1",
     * "bf16+core.mlp=q8_0" (docs/quantisation.md). q8_0 and q4_1 round the weights: another model. Matrices whose rows
     * do not come in groups of 32 keep their type (mn_engine_weight_count). */
    const char *weight_type;
    /* Matmuls on matrix units (VK_KHR_cooperative_matrix): NULL or "off": never; "on": always, MN_ERR_NO_DEVICE where
     * there are none; "auto": where a trial on the device, with a matrix of the model, says that they are faster. The
     * order of additions is their own, so low bits of logits differ from those without. "on" and "auto" try first
     * whether a row's bits depend on the rows beside it; then they are MN_ERR_CHECK and not taken. */
    const char *matrix_units;
    bool validate; /* run under the Vulkan validation layer; its messages go to the log and are counted */
    /* Read nothing but model_dir's tokenizer.json, open no device. Such an engine turns text into ids and back; what
     * needs a model is MN_ERR_USAGE. */
    bool tokenizer_only;
    /* Read no weights and reserve nothing: mn_engine_info and mn_memory_plan say what the model takes, mn_pipelines
     * what compilers make of its kernels. What computes is MN_ERR_USAGE, but for mn_read_bandwidth. */
    bool plan_only;
    const struct mn_log *log;
    struct mn_progress progress; /* of making the engine, and of everything that is done with it and its sessions */
    uint64_t reserved[5];
};

/* Is it a value that mn_engine_params.matrix_units can have? MN_ERR_USAGE; for programs that refuse their input before
 * they open a device. NULL is "off". */
enum mn_status mn_matrix_units_check(const char *text, const struct mn_log *log);

enum mn_status mn_engine_create(struct mn_engine **out, const struct mn_engine_params *params);
void mn_engine_destroy(struct mn_engine *engine); /* NULL is fine */

/* What a model is made of. */
struct mn_model_shape {
    uint32_t n_embd, n_heads, head_dim, intermediate_size, vocab_size;
    uint32_t n_prelude, n_core, n_coda; /* blocks */
    uint32_t mean_recurrence;           /* steps it was trained around: the default depth */
    uint32_t block_size;                /* positions it was trained on */
    bool tied, qk_bias;                 /* tied: the embedding is the head as well */
    bool fixed_depth;                   /* one step is all there is: nothing to draft with */
    bool has_exit_gate;                 /* a gate says after each step whether another one is needed */
    uint32_t n_kv_heads;                /* of keys and values: n_heads / n_kv_heads query heads share one */
    const char *family;                 /* "huginn", "retrofit-llama", "retrofit-olmo", "ouro", "llama" */
    uint64_t max_recurrence;            /* steps beyond which it is another model; 0: no such bound */
    uint64_t reserved[6];
};

/* The shape that mn_engine_create would find for these parameters, of which only model_dir, synthetic and log are
 * looked at: no weights are read, no device is opened. *shape is zeroed on failure. */
enum mn_status mn_model_shape(struct mn_model_shape *shape, const struct mn_engine_params *params);

enum {
    MN_MATRIX_FEW = 1 << 0,     /* those of a token, of drafts, of verification and of waves */
    MN_MATRIX_PROMPTS = 1 << 1, /* those of prompts */
};

struct mn_model_info {
    const char *device_banner, *device_name, *driver;
    struct mn_model_shape shape;
    uint32_t bos_token_id; /* UINT32_MAX: none */
    uint32_t n_eos;
    const uint32_t *eos_token_ids;
    bool has_tokenizer;
    const char *weight_type; /* as it was asked for, else a quantised folder's, else that of the core's first matrix */
    uint64_t n_parameters, weight_bytes;            /* weight_bytes: device memory */
    uint64_t prelude_bytes, core_bytes, coda_bytes; /* matrix bytes one pass reads; coda includes the head */
    uint32_t validation_messages;
    /* Of everything that a number of this model depends on: every byte of config.json, generation_config.json,
     * tokenizer.json, tokenizer_config.json, chat_template.jinja, the index and the weight files that were read; for a
     * synthetic model its configuration and seed. Neither the folder's path nor the weight type is in it. */
    uint64_t model_hash;
    const char *device_id, *device_type; /* id and type of mn_device_info */
    uint32_t driver_version;
    uint64_t device_bytes;      /* device memory that the engine and its sessions have reserved now */
    uint64_t device_peak_bytes; /* the most that it was since the engine was made, loading included */
    uint64_t device_pci;        /* domain << 16 | bus << 8 | device << 3 | function; 0: the driver names no place */
    uint32_t matrix_units;      /* which passes run on matrix units: MN_MATRIX_FEW | MN_MATRIX_PROMPTS */
    uint32_t reserved[1];
};
/* Strings and ids live as long as the engine. */
void mn_engine_info(const struct mn_engine *engine, struct mn_model_info *info);

/* Measures the device's read bandwidth in 10^9 bytes per second: the ceiling of work that is bound by memory. Takes
 * some tens of milliseconds on a GPU. Also for an engine made with plan_only, whose device has done nothing before. */
enum mn_status mn_read_bandwidth(struct mn_engine *engine, double *gb_s);

/* Text to ids. `specials`: special tokens in the text are recognised. *ids is malloc'ed, free() it. MN_ERR_USAGE for
 * text that is not UTF-8, MN_ERR_FILE when the model has no tokenizer. */
enum mn_status mn_tokenize(struct mn_engine *engine, const char *text, size_t n_bytes, bool specials, uint32_t **ids,
                           size_t *n_ids);
/* Ids to text (malloc'ed, also zero-terminated). `skip_specials` leaves special tokens out. */
enum mn_status mn_detokenize(struct mn_engine *engine, const uint32_t *ids, size_t n_ids, bool skip_specials,
                             char **text, size_t *n_bytes);

/* One message of a conversation. */
struct mn_chat_message {
    const char *role; /* zero-terminated: "system", "user"; "assistant" is the model, whatever its template calls it */
    const char *text; /* [n_bytes] */
    size_t n_bytes;
};
/* Ids of a conversation in the model's chat template, up to where its next reply begins. Templates are built in:
 * Huginn's, ChatML and Llama-3's, told apart by the tokenizer's special tokens and by the template that the folder
 * brings. Structure comes from the template alone: special tokens in roles and texts are ordinary text.
 * MN_ERR_UNSUPPORTED when the tokenizer has the tokens of none, or when the folder brings another template; one that
 * has the tokens and is not a known text is worth a warning, once. */
enum mn_status mn_chat(struct mn_engine *engine, const struct mn_chat_message *messages, size_t n_messages,
                       uint32_t **ids, size_t *n_ids);

/* Turns ids into text as they come: a character whose bytes are not all there yet is held back. All texts together are
 * the text of mn_detokenize for all ids. Allocates at creation only; must not outlive its engine, and is independent of
 * what else the engine does: it may run on another thread. */
struct mn_stream_decoder;
enum mn_status mn_stream_decoder_create(struct mn_stream_decoder **out, struct mn_engine *engine, bool skip_specials);
void mn_stream_decoder_destroy(struct mn_stream_decoder *decoder); /* NULL is fine */
/* *text (not zero-terminated, valid until the next call) is what can be shown now, possibly nothing. MN_ERR_USAGE for
 * an id without a token, which leaves the decoder as it was and is not logged: a vocabulary may have such ids. */
enum mn_status mn_stream_decoder_push(struct mn_stream_decoder *decoder, uint32_t id, const char **text,
                                      size_t *n_bytes);
/* The end: U+FFFD when a character stayed incomplete, else nothing. The decoder is as new afterwards. */
enum mn_status mn_stream_decoder_finish(struct mn_stream_decoder *decoder, const char **text, size_t *n_bytes);

/* ---- quantised folders ---- */

struct mn_quantize_params {
    const char *model_dir;   /* a folder as mn_engine_params has it, not quantised yet */
    const char *out_dir;     /* must not be there, or be an empty folder */
    const char *weight_type; /* as mn_engine_params has it: one that rounds something */
    const struct mn_log *log;
    struct mn_progress progress;
    uint64_t reserved[6];
};

struct mn_quantized {
    uint64_t read_bytes, written_bytes; /* of tensors */
    uint32_t n_quantized, n_kept;       /* matrices; kept: their rows do not come in groups of 32 */
    uint64_t reserved[4];
};

/* Writes a folder whose weights are of this type already: an engine made of it, whose weight_type may be NULL, has the
 * bits of one that rounds them while it loads model_dir. Needs no device. Configuration, tokenizer and all other plain
 * files but weights of other formats are copied. It is written beside out_dir and renamed; whatever goes wrong, there
 * is nothing. `made` may be NULL. MN_ERR_USAGE: a type that rounds nothing; out_dir is there, is model_dir or inside
 * it. MN_ERR_UNSUPPORTED: model_dir is quantised already, or has a value that the type cannot hold. MN_ERR_RUN: writing
 * failed. MN_ERR_INTERRUPTED. */
enum mn_status mn_quantize(const struct mn_quantize_params *params, struct mn_quantized *made);

/* ---- session ---- */

struct mn_session;

enum { MN_USUAL_BRANCH_POSITIONS = 8 };

struct mn_session_params {
    uint32_t n_ctx;        /* positions; 0: the model's block_size */
    uint32_t num_steps;    /* most recurrence steps per token; 0: config.mean_recurrence */
    uint32_t n_sequences;  /* sequences that can be in the cache at once, for mn_generate_batch; 0: 1 */
    uint32_t max_rows;     /* most rows per pass outside prefill, 1..128; 0: 16. Fewer rows, fewer pipelines to build */
    const char *kv_policy; /* NULL: "full"; "share:k" keeps the last k steps (lossy) */
    const char *kv_type;   /* NULL: "f16"; "f32", "q8" */
    /* Allows more steps than shape.max_recurrence: what comes out is not what the model was trained for. */
    bool beyond_trained_depth;
    /* Further positions of each sequence in the cache, 0..128: so long may a kept branch be (mn_speculation_params); 0:
     * there are none. MN_USUAL_BRANCH_POSITIONS are enough. */
    uint32_t branch_positions;
    uint64_t reserved[7];
};

enum mn_status mn_session_create(struct mn_session **out, struct mn_engine *engine,
                                 const struct mn_session_params *params);
void mn_session_destroy(struct mn_session *session); /* NULL is fine */

/* What a session would take on the device, in bytes. */
struct mn_memory_plan {
    uint64_t weight_bytes, cache_bytes, scratch_bytes;
    uint64_t cache_bytes_per_token; /* of one position in all blocks and slots */
    uint64_t available_bytes;       /* before anything is loaded */
    uint32_t n_ctx;                 /* positions of a sequence that were asked for */
    uint32_t largest_n_ctx;         /* that would fit, up to 2^20; 0: not even the weights do */
    bool fits;
    bool binding; /* a piece (one block's cache, mostly) is more than the device binds at once, whatever its memory */
    uint64_t reserved[8];
};
/* For any engine with a model, also one made with plan_only. `available_bytes` 0: this device's, with its limits; else
 * those of a device with so much memory that binds as much at once as Vulkan lets it, 4 GiB. Refuses what
 * mn_session_create refuses, but for memory. */
enum mn_status mn_memory_plan(struct mn_memory_plan *plan, struct mn_engine *engine,
                              const struct mn_session_params *params, uint64_t available_bytes);

/* The names that weight_type and kv_type may have, in order; NULL behind the last. */
const char *mn_weight_type_at(uint32_t index);
const char *mn_kv_type_at(uint32_t index);

/* Is it a weight_type? MN_ERR_USAGE; for programs that refuse their input before they load a model. */
enum mn_status mn_weight_type_check(const char *text, const struct mn_log *log);

/* The matrices of a model that lie on the device in type number `type` of mn_weight_type_at: how many, how many of them
 * only because the type asked for does not fit their rows, and their bytes. */
struct mn_weight_count {
    uint32_t n_matrices, n_kept;
    uint64_t bytes;
};
void mn_engine_weight_count(const struct mn_engine *engine, uint32_t type, struct mn_weight_count *count);

/* Is it "full" or "share:k"? MN_ERR_USAGE; for programs that refuse their input before they load a model. */
enum mn_status mn_kv_policy_check(const char *policy, const struct mn_log *log);

/* What passes of a session take, by the number of their rows: what `auto` decides by. */
enum {
    MN_COST_POINTS = 16,
    MN_COST_CONTEXT = 272 /* positions from which on all sessions have their costs measured at one place, and may share
                             a table; with fewer it is nearer to the start */
};
struct mn_cost_table {
    uint32_t n;                    /* row counts that are known, 1..MN_COST_POINTS */
    uint32_t rows[MN_COST_POINTS]; /* [n] ascending from 1 */
    double prelude_ns[MN_COST_POINTS], core_ns[MN_COST_POINTS], head_ns[MN_COST_POINTS]; /* [n] of a pass; head: coda,
                                                                                            head, choice of the token */
    double submit_ns; /* what a submit costs beside its passes */
    uint64_t reserved[4];
};

/* The session's table, measured if it has none yet (a fraction of a second; between generations, as every call). `auto`
 * measures it too, so a session measures once. */
enum mn_status mn_session_costs(struct mn_session *session, struct mn_cost_table *table);
/* Gives the session a table that one with the same key has measured. MN_ERR_USAGE: row counts that do not ascend from
 * 1, times that are not above 0. */
enum mn_status mn_session_set_costs(struct mn_session *session, const struct mn_cost_table *table);
/* Names what passes depend on as far as the library knows it: device, driver, shaders, shapes, cache. A CPU device
 * depends on the machine's processors and its worker threads, too. Returns the length as snprintf does. */
size_t mn_session_cost_key(const struct mn_session *session, char *text, size_t n_bytes);

/* ---- strategies ---- */

struct mn_generate_params;

/* Settings that a strategy knows. An early exit, a warm start, a verification threshold, lookup, branches or forced
 * acceptance are refused by one that does not; draft_steps, lookahead and max_inflight are not looked at. */
enum mn_strategy_uses {
    MN_USES_DRAFT_STEPS = 1 << 0, /* below num_steps */
    MN_USES_WHOLE_DEPTH = 1 << 1, /* draft_steps may also be num_steps */
    MN_USES_LOOKAHEAD = 1 << 2,
    MN_USES_EXIT = 1 << 3,
    MN_USES_CONTINUOUS = 1 << 4,
    MN_USES_VERIFICATION_THRESHOLD = 1 << 5,
    MN_USES_FORCED_ACCEPTANCE = 1 << 6, /* forced_acceptance (not auto) and forced_at */
    MN_USES_COSTS = 1 << 7,             /* decides by mn_session_costs */
    MN_USES_LOOKUP = 1 << 8,
    MN_USES_BRANCHES = 1 << 9,
};

/* What can be known of a strategy before there is a model: for lists of choices, and for what to ask a session for. */
struct mn_strategy {
    const char *name;
    const char *help;        /* what it does, in a few words; K: draft_steps, L: lookahead, R: num_steps */
    bool lossless;           /* emits the tokens of `ar`, with policy "full" and no lossy setting */
    bool batches;            /* runs in mn_generate_batch */
    uint32_t uses;           /* enum mn_strategy_uses */
    uint32_t usual_inflight; /* a good max_inflight; 0: it has no such setting */
    const char *kv_policy;   /* the only one it runs with; NULL: any */
};

/* The strategies in the order in which lists show them; NULL behind the last. */
const struct mn_strategy *mn_strategy_at(uint32_t index);
/* NULL when there is none of this name. */
const struct mn_strategy *mn_strategy_find(const char *name);
/* Most rows of one sequence in a pass: with so many for each sequence in its max_rows, a session runs these params. Its
 * max_inflight 0 counts as the strategy's usual one. 0 when there is no such strategy. */
uint32_t mn_strategy_rows(const struct mn_generate_params *params);

/* ---- generation ---- */

enum { MN_MAX_LOOKAHEAD = 63, MN_MAX_LOOKUP = 63, MN_MAX_BRANCHES = 2 };

/* What a strategy did in one step: a token of `ar`, a round of `draft-verify`, a tick of `wavefront`. Enough to replay
 * it. */
struct mn_trace_row {
    uint32_t position, token;
    uint32_t depth_before, depth_after;
    uint32_t predicted; /* the token behind it, as of depth_after */
    bool kept;          /* false: dropped, because the token it stood on was wrong */
    bool branch;        /* on a kept branch, beside rows of the same positions */
};

struct mn_trace {
    const char *event;             /* "token", "round", "tick", "window" */
    uint64_t index;                /* of the event in this run, from 0 */
    double start_ns, end_ns;       /* since decoding began */
    uint64_t start_pass, end_pass; /* the session's core passes at the event's beginning and end: an axis that sequences
                                      of a batch share */
    const struct mn_trace_row *rows; /* [n_rows] by position; of several lines, what they had before the event first */
    uint32_t n_rows;
    const uint32_t *tokens; /* [n_committed] committed by this event: what is behind the first so many rows */
    uint32_t n_committed;
    double draft_ns; /* of the time between start_ns and end_ns: spent on drafts */
};

/* How logits become a token. Zeroed is greedy. */
struct mn_sampler_params {
    float temperature; /* 0: greedy */
    float top_p;       /* 0 or 1: off */
    float min_p;       /* 0: off */
    uint32_t top_k;    /* 0: off */
    uint64_t seed;     /* of the noise, which is a function of (seed, position): the same for every strategy */
    uint64_t reserved[4];
};

/* Are the values possible? MN_ERR_USAGE; for programs that refuse their input before they load a model. */
enum mn_status mn_sampler_check(const struct mn_sampler_params *params, const struct mn_log *log);

/* How tokens are guessed before they are computed at full depth, and how strictly guesses are checked. */
struct mn_speculation_params {
    uint32_t draft_steps; /* K: recurrence steps of a draft, or per tick of wavefront and diffusion; 1..num_steps - 1 */
    uint32_t lookahead;   /* L: tokens drafted per round, 1..63 and below the session's max_rows */
    uint32_t max_inflight; /* wavefront, auto and diffusion: most rows in flight, at most the session's max_rows; 0:
                              that many */
    /* draft-verify: 0 accepts a draft that equals the target (lossless); T in (0, 1] accepts one whose probability is
     * at least T times the largest (lossy). */
    float verification_threshold;
    bool require_lossless; /* refuse settings whose tokens are not those of plain decoding */
    /* wavefront, draft-verify and auto: where the last tokens occurred in prompt or answer before, so many tokens that
     * followed there are guessed at once, at most, 0..63; 0: none. Lossless. Not with an early exit of drafts, nor with
     * forced acceptance. */
    uint32_t lookup;
    /* wavefront: how many continuations may be in flight behind a row whose prediction changed: 2 keeps the old one
     * beside the new one, in the session's branch_positions; 0 or 1: none is kept. Lossless. Not with lookup, nor with
     * forced acceptance. */
    uint32_t branches;
    uint64_t reserved[4];
};

/* Early exit. In `ar` the answer itself exits early (lossy); in `draft-verify` only drafts do (lossless). The others
 * have none. */
struct mn_exit_params {
    const char *rule;   /* NULL: none; "CRITERION[:THRESHOLD]" with latent-diff, cosine, entropy-diff, kl, minp-kl or
                         * argmax-stability */
    uint32_t min_steps; /* 0: 1 */
    uint32_t check_interval; /* 0: 1 */
    uint64_t reserved[4];
};

/* The diffusion-forcing sampler, with the paper's names in brackets. */
struct mn_diffusion_params {
    uint32_t headway;       /* rows appended per tick [headway]; 0: 1 */
    float freeze_threshold; /* a row freezes when |s - s'| / |s| is below it [epsilon]; 0: 0.03 */
    float state_noise;      /* mixed in with weight state_noise / (1 + steps) [beta] */
    float embed_average;    /* share of the embedding before [eta] */
    uint64_t reserved[4];
};

/* Of the predictions at `depth`, in a round's place `place`, this share is the one at num_steps. */
struct mn_acceptance_at {
    uint32_t depth; /* core steps, from 1; at num_steps the share can only be 1 */
    uint32_t place; /* of the draft in its round, from 0; the last place that a depth has stands for those behind it */
    float share;    /* 0 to 1; never less than at a lesser depth in the same place */
};

/* For measuring without a trained model: how often predictions are right is given instead of found out. Lossy. One
 * number per (seed, prompt, position) decides from which depth on the prediction there is right (docs/contract.md, 4),
 * the same for all strategies. Zeroed: drafts are compared. */
struct mn_measuring_params {
    /* Of the drafts at place i of a round, made at draft_steps, the share [i] is right; the last one repeats. Not with
     * `auto`, which chooses draft_steps itself. */
    const float *forced_acceptance;
    uint32_t n_forced_acceptance;
    /* Or by depth: [n_forced_at], by depth and place. */
    uint32_t n_forced_at;
    const struct mn_acceptance_at *forced_at;
    uint64_t reserved[3];
};

struct mn_generate_params {
    const uint32_t *prompt; /* [n_prompt], at least 1 */
    uint32_t n_prompt;
    uint32_t n_new;       /* at most so many new tokens, at least 1; n_prompt + n_new - 1 <= n_ctx */
    uint32_t num_steps;   /* depth of the answer, 1..session.num_steps; 0: the session's */
    const char *strategy; /* NULL: "ar"; see mn_strategy_at */
    struct mn_sampler_params sampler;
    struct mn_speculation_params speculation;
    struct mn_exit_params exit;
    struct mn_diffusion_params diffusion;
    struct mn_measuring_params measuring;
    bool continuous; /* ar: a new token starts from the final state of the one before it, not from s0 (lossy) */
    bool ignore_eos;
    float init_scale;    /* 0: zero initial state; else the keyed truncated normal, scaled */
    const float *state0; /* NULL, or [n_prompt, n_embd] initial states of the prompt */
    uint32_t *steps;     /* NULL, or [n_new]: recurrence steps that each new token took */
    /* Called for every committed token in order; a non-zero return stops after it. May be NULL. */
    int (*on_token)(void *user, uint32_t token);
    void *user;                                                 /* of both callbacks */
    void (*on_trace)(void *user, const struct mn_trace *trace); /* NULL: no trace */
    /* NULL: the engine's. Where it goes why these params are refused: of a batch, a sequence's own reason. */
    const struct mn_log *log;
    const uint32_t *stop_ids; /* [n_stop_ids] further ids that end the sequence, also with ignore_eos */
    uint32_t n_stop_ids;
    uint64_t reserved[5];
};

/* Why a sequence ended. An id that ends it is its last token. */
enum mn_end {
    MN_END_NONE = 0, /* it has not */
    MN_END_TOKEN,    /* the model's end token, or one of stop_ids */
    MN_END_LENGTH,   /* n_new tokens are there */
    MN_END_CALLER,   /* on_token asked for it, or it was cancelled */
    MN_END_FAILED,   /* a pass failed: mn_stats.status */
};

/* What a committed token was before it was computed at full depth. */
enum mn_proposal {
    MN_PROPOSAL_FIRST,      /* what the row before it predicted first */
    MN_PROPOSAL_CORRECTION, /* what that row predicted later, or instead of a token that lookup had put there */
    MN_PROPOSAL_LOOKUP,     /* what followed where the text had these tokens before */
    MN_PROPOSAL_RESTART,    /* nothing that stood: known at full depth only */
    MN_PROPOSALS
};

enum { MN_AGREEMENT_DEPTHS = 64 };

struct mn_stats {
    const char *strategy;
    bool lossless;
    const char *lossy_because; /* the setting that makes the run lossy; NULL when lossless */
    uint32_t num_steps, draft_steps, lookahead;
    uint32_t n_sequences; /* 1; in the total of a batch, all of them: sums over them follow */
    uint32_t n_prompt, n_new;
    /* wavefront: ticks; positions where a row stood on a prediction before its token was committed; those where the
     * first such row was kept. Where the sequence ended, drafts behind the end are neither drafted nor accepted. */
    uint64_t rounds, drafted, accepted;
    uint64_t exit_steps; /* early exit: sum over the rows that may exit of the steps they took */
    uint64_t exit_rows;
    uint64_t inflight_rows;     /* wavefront and diffusion: sum over ticks of the rows in flight */
    uint64_t tick_weight_bytes; /* wavefront: the cost model, matrix bytes that a full tick reads while its rows share
                                   them */
    /* auto: the setting it used last, and how often it changed. */
    const char *chosen_strategy;
    uint32_t chosen_draft_steps, chosen_lookahead;
    uint64_t n_choices;
    /* draft-verify: */
    uint64_t drafted_at[MN_MAX_LOOKAHEAD], accepted_at[MN_MAX_LOOKAHEAD]; /* per position in the round, from 0 */
    uint64_t accepted_lengths[MN_MAX_LOOKAHEAD + 1];                      /* rounds by number of accepted tokens */
    /* Decoding only, without the prefill: */
    uint64_t prelude_passes, core_passes, coda_passes, core_rows;
    uint64_t weight_bytes, kv_bytes; /* read from device memory, counted by the host from the passes */
    uint64_t submits, dispatches;
    uint64_t kv_bytes_per_token;                       /* cache storage of one position */
    double prefill_ns, draft_ns, verify_ns, decode_ns; /* decode_ns: from the first new token to the last */
    enum mn_status
        status;         /* of a sequence of a batch: MN_ERR_USAGE when it was refused; why a pass failed; else MN_OK */
    uint64_t committed; /* tokens that the rounds brought */
    uint32_t n_reused;  /* of n_prompt: positions that were in the cache already (mn_scheduler) */
    enum mn_end end;
    /* draft-verify and wavefront: who proposed these tokens, an enum mn_proposal each; in sum `committed`. */
    uint64_t proposed_by[MN_PROPOSALS];
    uint64_t looked_up;     /* tokens that lookup proposed, right or wrong */
    uint32_t most_inflight; /* rows of a tick or a verification, at most */
    uint32_t lookup;        /* the setting */
    uint32_t chosen_lookup; /* auto: of the setting used last; 0: without */
    uint32_t branches;      /* the setting; 0: none were kept */
    /* [depth - 1]: predictions at that depth behind committed tokens whose own token was committed later; those of them
     * that were it. Depths beyond MN_AGREEMENT_DEPTHS are not counted, nor drafts with forced acceptance. */
    uint64_t predicted_at[MN_AGREEMENT_DEPTHS], agreed_at[MN_AGREEMENT_DEPTHS];
    uint64_t branch_moves, branch_moved; /* branches that became the sequence's own, and the positions that they had */
    uint64_t reserved[3];
};

/* Derived figures, 0 where there is nothing to divide by. */
double mn_stats_acceptance_rate(const struct mn_stats *stats);        /* accepted / drafted */
double mn_stats_mean_acceptance_length(const struct mn_stats *stats); /* tokens per round: committed / rounds */
double mn_stats_prefill_tok_s(const struct mn_stats *stats);          /* prompt tokens that were read per second */
double mn_stats_decode_tok_s(const struct mn_stats *stats); /* new tokens after the first, which the prefill gave */
double mn_stats_weight_bytes_per_token(const struct mn_stats *stats);
const char *mn_proposal_name(enum mn_proposal proposal); /* "first", "correction", "lookup", "restart" */
double mn_proposal_share(const struct mn_stats *stats, enum mn_proposal proposal); /* of `committed` */
double mn_stats_gamma(const struct mn_stats *stats); /* new tokens, but for the first, per num_steps core passes */
double mn_stats_gb_s(const struct mn_stats *stats);  /* weight and cache bytes per decoding time */

/* Generates. On failure the tokens handed to on_token so far are valid and *stats describes them. */
enum mn_status mn_generate(struct mn_session *session, const struct mn_generate_params *params, struct mn_stats *stats);

/* Generates n sequences that share passes: rows of different sequences, at different depths, go through the same
 * weights. Sequence i emits the tokens that mn_generate(&params[i]) emits. More sequences than the session's
 * n_sequences, or than its max_rows has room for, wait for their turn. Sampler, strategy and its settings must be the
 * same for all; prompts, n_new, num_steps, draft_steps, state0 and callbacks may differ. stats [n] has what concerns a
 * sequence; *total the passes and bytes of all of them. The strategy must be one that `batches`. A sequence that cannot
 * run (a prompt longer than the context, draft_steps not below its num_steps) is refused with MN_ERR_USAGE in its
 * stats' status; the others run, and what the first refused one got is what the call returns at the end. Settings that
 * would refuse them all, and failures of the device or of memory, end the batch. on_end (may be NULL) is called when
 * sequence i has ended or was refused; a non-zero return ends the batch: stats and callbacks of the sequences under way
 * have what they reached. */
enum mn_status mn_generate_batch(struct mn_session *session, const struct mn_generate_params *params, uint32_t n,
                                 struct mn_stats *stats, struct mn_stats *total, int (*on_end)(void *user, uint32_t i),
                                 void *user);

/* ---- many sequences, added and cancelled at any time ---- */

/* Runs sequences on a session, each with its own depth, strategy, sampler and rules for ending, in shared passes. The
 * tokens of each are, bit for bit, those that mn_generate gives for its parameters on a session with these sizes:
 * whoever runs beside it, whenever they come and go, however prompts are cut, whatever is reused. (But for `auto` with
 * policy "share:k", whose choices depend on times.)
 *
 * A session has one scheduler at a time; while it has, what computes on the session by other ways is MN_ERR_USAGE.
 * Lifetimes: session > scheduler. Threads: as the session.
 *
 * FAIRNESS. A step (1) lets waiting sequences in, in the order in which they were added, as long as there is one of the
 * session's n_sequences places and the rows of all together (mn_strategy_rows of each) stay within max_rows: nobody is
 * overtaken; (2) reads prompts, the one let in first coming first: up to prompt_rows rows in all, through all their
 * steps, or 128 where nobody decodes; (3) takes every decoding sequence the same number of passes further, at least
 * one: as many as the request that is nearest to its end has left. So between two rounds of a sequence others' prompts
 * take prompt_rows rows at most; the oldest prompt that is not read yet gets so many in every step, or what is left of
 * it; and since each sequence ends after n_new tokens, the turn of each one comes. */
struct mn_scheduler;

struct mn_scheduler_params {
    uint32_t prompt_rows; /* 0: 64 */
    /* Entries of sequences that ended are forgotten at once. Else, with policy "full", they stay until their place is
     * needed, and a prompt that begins as one of theirs did (same num_steps, init_scale and seed of it) is read from
     * the first difference on. */
    bool no_reuse;
    uint64_t reserved[6];
};

enum mn_status mn_scheduler_create(struct mn_scheduler **out, struct mn_session *session,
                                   const struct mn_scheduler_params *params);
/* Sequences that are there still end without a word. NULL is fine. */
void mn_scheduler_destroy(struct mn_scheduler *scheduler);

/* Adds a sequence, which waits for its turn; *id (1, 2, ...; may be NULL) names it. What `params` points to is copied,
 * but for `log` and `steps`, which must outlive the sequence. Callbacks are called by mn_scheduler_step, and must not
 * call the library with this scheduler or its session: on_token for every token, a non-zero return ending the sequence
 * with it; on_end (may be NULL) once, last of all, with what became of it (stats->end, valid during the call).
 * MN_ERR_USAGE for what mn_generate refuses, and for a strategy that does not run in batches: then there is no
 * sequence and on_end is not called. `auto` measures costs when its first sequence is let in, which stalls the others
 * for a fraction of a second, unless mn_session_costs or mn_session_set_costs came before. */
enum mn_status mn_scheduler_add(struct mn_scheduler *scheduler, const struct mn_generate_params *params,
                                void (*on_end)(void *user, uint64_t id, const struct mn_stats *stats), void *user,
                                uint64_t *id);
/* Ends a sequence: on_end is called before this returns, nothing of it comes after that. MN_OK for one that has ended
 * by itself, MN_ERR_USAGE for an id that was never given. */
enum mn_status mn_scheduler_cancel(struct mn_scheduler *scheduler, uint64_t id);
/* One round, as FAIRNESS has it. *n_alive (may be NULL): sequences that wait or run after it; with none a step does
 * nothing. When it fails, every sequence whose turn had come ends with MN_END_FAILED and that status, the tokens it has
 * got staying valid; after MN_ERR_DEVICE_LOST so do those that wait, else they go on with the next step. */
enum mn_status mn_scheduler_step(struct mn_scheduler *scheduler, uint32_t *n_alive);

struct mn_scheduler_stats {
    uint32_t n_waiting, n_reading, n_decoding; /* now; reading: the prompt is on its way into the cache */
    uint32_t n_kept;                           /* places with entries of sequences that ended */
    uint64_t n_steps, n_added, n_ended;        /* so far */
    uint64_t prompt_rows, reused_rows;         /* so far: positions of prompts that were read; that were there */
    struct mn_stats total; /* passes and bytes of all, and sums over the sequences that ended, as mn_generate_batch */
    uint64_t reserved[8];
};
void mn_scheduler_stats(const struct mn_scheduler *scheduler, struct mn_scheduler_stats *stats);

/* How the tokens of a lossy run compare with those of `ar` at the same depth, sampler and seed with policy `full`. */
struct mn_agreement {
    uint32_t n_compared, n_equal; /* places at which both have a token; places with the same token */
    bool diverged;
    uint32_t first_divergence; /* place of the first difference, from 0 */
    uint32_t token, ar_token;  /* the two tokens there; UINT32_MAX where one had ended */
    float margin;              /* difference of ar's two largest logits there: small means a near tie */
    /* Share of the run's tokens that ar's greedy choice after the same tokens would have been: does not fall with the
     * first difference as n_equal does. Greedy runs only; -1 otherwise. */
    double forced_agreement;
    uint64_t reserved[4];
};

/* Runs `ar` on a session with policy `full` and compares. `tokens` [n_tokens] came from a run with `params`, whose
 * lossy settings are switched off here. */
enum mn_status mn_compare_ar(struct mn_session *full, const struct mn_generate_params *params, const uint32_t *tokens,
                             uint32_t n_tokens, struct mn_agreement *agreement);

/* Logits of every position of `ids` at depth num_steps, in order. */
enum mn_status mn_logits(struct mn_session *session, const uint32_t *ids, uint32_t n_ids, uint32_t num_steps,
                         const float *state0,
                         enum mn_status (*each)(void *user, uint32_t position, const float *logits, uint32_t n_vocab),
                         void *user);

/* ---- scoring ---- */

enum { MN_MAX_SCORE_DEPTHS = 128 };

/* The ids from n_context on are scored, each behind all ids before it. */
struct mn_score_item {
    const uint32_t *ids; /* [n_ids]; n_ids - 1 <= n_ctx, since the last one is only predicted */
    uint32_t n_ids;
    uint32_t n_context; /* 1..n_ids - 1 */
};

struct mn_likelihood {
    double logprob; /* natural logarithm, summed over the scored ids; log-softmax in double of the float logits */
    bool is_greedy; /* each scored id has the largest logit at its place; of equal ones the lowest id counts */
};

struct mn_score_params {
    const struct mn_score_item *items; /* [n_items] */
    uint32_t n_items;
    const uint32_t *num_steps; /* [n_num_steps] depths in any order, each 1..session.num_steps */
    uint32_t n_num_steps;      /* 1..MN_MAX_SCORE_DEPTHS */
    /* Called for the items in order, with the likelihoods [n_num_steps] in the order of num_steps. Anything but MN_OK
     * ends the run and is what mn_score returns. */
    enum mn_status (*each)(void *user, uint32_t item, const struct mn_likelihood *likelihoods);
    /* After every pass, with the core steps of rows done and to be done; may be NULL. A non-zero return ends the run
     * with MN_ERR_INTERRUPTED. */
    int (*progress)(void *user, uint64_t done, uint64_t total);
    void *user; /* of all callbacks */
    /* NULL, or called with the logits [n_vocab] that decide ids[place] of an item, n_context <= place < n_ids, at
     * num_steps[depth]: of all scored ids at all depths, in no order that may be relied on. They are valid during the
     * call. Anything but MN_OK ends the run and is what mn_score returns. */
    enum mn_status (*logits)(void *user, uint32_t item, uint32_t place, uint32_t depth, const float *logits,
                             uint32_t n_vocab);
    uint64_t reserved[7];
};

/* Likelihoods of given ids at one or several depths: a teacher-forced pass through the prefill path. The session's
 * n_sequences items run at a time and share passes; all depths come out of one run to the deepest. The logits behind
 * the numbers are, bit for bit, those of mn_logits for the item alone at that depth. MN_ERR_USAGE names the item;
 * MN_ERR_RUN: logits that are not finite. Initial states are zero. */
enum mn_status mn_score(struct mn_session *session, const struct mn_score_params *params);

/* ---- inside the recurrence ---- */

enum {
    MN_MAX_COMPONENTS = 6, /* principal components of a trace */
    MN_MIN_WINDOW = 4,     /* steps by which the end of a trajectory can be judged */
    MN_MAX_EXIT_CRITERIA = 16,
};

/* The criteria of early exit, whose names mn_exit_params.rule takes. */
enum mn_exit_criterion {
    MN_EXIT_NONE,
    MN_EXIT_LATENT_DIFF,
    MN_EXIT_COSINE,
    MN_EXIT_ENTROPY_DIFF,
    MN_EXIT_KL,
    MN_EXIT_MINP_KL,
    MN_EXIT_ARGMAX_STABILITY,
    MN_EXIT_GATE, /* of families that have one */
    MN_EXIT_COUNT
};
const char *mn_exit_name(enum mn_exit_criterion criterion); /* "latent-diff", ...; NULL for none of them */
double mn_exit_threshold(enum mn_exit_criterion criterion); /* the default one */

/* What a token's latent state does at the end of its recurrence, judged by the last steps, the window. With s_t the
 * state after step t, R the last step and D the window's differences s_t - s_(t-1), the first rule that holds decides:
 *   fixed point  every state of the window lies within `nearness` |s_R| of s_R;
 *   orbit        for a period p >= 2 the mean of |s_t - s_(t-p)| over the window is at most `lag` times the mean of
 *                |D|, and D is steady; the smallest such p is the period, at most half the window so that two laps are
 *                seen;
 *   slider       the mean cosine of neighbouring differences is at least `aligned`, |s_R - s_(R-W)| is at least
 *                `straight` times the way walked, and D is steady;
 *   unsettled    none of them: still converging, or wandering.
 * Steady: the mean |D| of the window's second half is at least `steady` times that of its first. What shrinks faster is
 * on its way to a fixed point, however it moves. An orbit of many more steps than the window holds looks like a
 * slider. */
enum mn_terminal_kind {
    MN_TERMINAL_UNSETTLED,
    MN_TERMINAL_FIXED_POINT,
    MN_TERMINAL_ORBIT,
    MN_TERMINAL_SLIDER,
    MN_TERMINAL_COUNT
};
const char *mn_terminal_name(enum mn_terminal_kind kind); /* "fixed-point", "orbit", "slider", "unsettled" */

struct mn_terminal_rule {
    uint32_t window; /* steps; 0: half of all, at least MN_MIN_WINDOW */
    /* `nearness` 0: the default of all five, which are 0.03, 0.5, 0.5, 0.5, 0.7. */
    double nearness, lag, aligned, straight, steady;
    uint64_t reserved[4];
};

struct mn_terminal {
    enum mn_terminal_kind kind;
    uint32_t window; /* steps that were looked at; 0: fewer than MN_MIN_WINDOW steps, unsettled */
    uint32_t period; /* of an orbit, else 0 */
    double spread;   /* largest distance of a state of the window from the last one, over |s_R| */
    double lag;      /* smallest mean lag distance over mean step length; 0 when nothing moves */
    double alignment, straightness, steadiness; /* 0 when nothing moves */
};

/* What coda and head are given at a step, in place of the state s_t; f_t = s_t - s_(t-1). Every state, every entry of
 * the core's cache and every token stay those of the trace: this asks what a prediction at step t would be worth if the
 * recurrence's limit were estimated from where it is heading.
 *   plain     s_t
 *   aitken    s_t + l / (1 - l) f_t with l = f_t . f_(t-1) / |f_(t-1)|^2 between -0.8 and 0.8; step 1: plain
 *   anderson  Anderson's mixing of depth 2 (step 2: of depth 1): s_t - c_0 f_t - c_1 f_(t-1), where c minimises
 *             |f_t - c_0 (f_t - f_(t-1)) - c_1 (f_(t-1) - f_(t-2))|, each between -4 and 4; step 1: plain */
enum mn_readout_rule { MN_READOUT_PLAIN, MN_READOUT_AITKEN, MN_READOUT_ANDERSON, MN_READOUT_COUNT };
const char *mn_readout_name(enum mn_readout_rule rule);

/* Which coda entries of earlier positions a prediction at step t reads: `same`, those of the same read-out at step t,
 * as in a model of depth t; `final`, those of the last step, as a draft behind committed tokens does. A family without
 * a coda gives the same for both. */
enum mn_entries { MN_ENTRIES_SAME, MN_ENTRIES_FINAL, MN_ENTRIES_COUNT };
const char *mn_entries_name(enum mn_entries entries);

struct mn_depth_trace_params {
    const uint32_t *prompt; /* [n_prompt], at least 1 */
    uint32_t n_prompt;
    uint32_t n_new;        /* generated tokens to trace as well; the context must hold them all */
    uint32_t num_steps;    /* 1..session.num_steps; 0: the session's */
    bool ignore_eos;       /* else the trace ends with the first end token */
    uint32_t n_inits;      /* further runs from random initial states, for path independence */
    float init_scale;      /* of these; 0: 1 */
    uint64_t seed;         /* of the first; the next has seed + 1 */
    uint32_t n_components; /* principal components, 1..MN_MAX_COMPONENTS; 0: 2 */
    struct mn_terminal_rule terminal;
    int (*stop)(void *user); /* NULL, or: asked between passes; non-zero ends the trace with MN_ERR_INTERRUPTED */
    void *user;
    const uint32_t *readout_steps; /* [n_readouts] steps, 1..num_steps, at which all read-outs are tried */
    uint32_t n_readouts;           /* 0: none */
    uint64_t reserved[6];
};

/* Figures of one step of one token. The states are those before the last norm; step 1 is compared with the initial
 * state. */
struct mn_depth_step {
    double norm;    /* |s| */
    double change;  /* |s - s'| / |s|, s' one step earlier */
    double kl;      /* sum over ids of p_R (log p_R - log p): how far the distribution is from the last step's; nats */
    double entropy; /* of p, nats */
    double top1_p;  /* largest probability */
    uint32_t top1;  /* its id, the lowest of equals */
};

struct mn_depth_token {
    uint32_t id;
    bool generated;
    /* [criterion]: first step at which it asks for the exit at its default threshold; 0: never */
    uint32_t exits[MN_MAX_EXIT_CRITERIA];
    struct mn_terminal terminal;
};

/* What a trace found; memory of the library's, which mn_depth_trace_finish frees. */
struct mn_depth_trace {
    uint32_t n_tokens; /* complete ones, also of a trace that failed or was interrupted */
    uint32_t n_prompt, n_steps, n_embd;
    uint32_t n_inits;     /* runs from random states that were completed */
    uint32_t init_stride; /* those asked for */
    bool ended_by_eos;
    int exits_end;                 /* criteria this model has: MN_EXIT_LATENT_DIFF .. exits_end - 1 */
    struct mn_depth_token *tokens; /* [n_tokens] */
    struct mn_depth_step *steps;   /* [n_tokens, n_steps] */
    float *states;                 /* [n_tokens, n_steps + 1, n_embd], the initial state first */
    double *distance; /* [n_tokens, init_stride]: |s - s0| / |s0| of the last states s from a random, s0 from the zero
                         start */
    uint32_t *init_top1; /* [n_tokens, init_stride]: best id after the last step */
    /* Principal components of all states after steps 1..n_steps: the initial ones are not the model's. The start is
     * drawn from a fixed seed, so that the same states give the same axes. */
    uint32_t n_components; /* at most n_embd; 0 when no token was completed, or so many were that who interrupted
                            * would have to wait for them */
    double variance[MN_MAX_COMPONENTS]; /* along each axis, falling */
    double total_variance;              /* in all directions */
    double residual;                    /* of the axes, over the largest variance: 0 is exact */
    uint32_t n_iterations;
    double *paths;           /* [n_tokens, n_steps + 1, n_components] the states' coordinates along the axes */
    uint32_t n_readouts;     /* of readout_steps, those that were completed */
    uint32_t readout_stride; /* those asked for */
    uint32_t *readouts;      /* [n_tokens, readout_stride, MN_READOUT_COUNT, MN_ENTRIES_COUNT] best ids */
    uint64_t reserved[6];
};

/* Refuses what cannot be traced, before any work: MN_ERR_USAGE. */
enum mn_status mn_depth_trace_check(struct mn_session *session, const struct mn_depth_trace_params *params);
/* Every token's state and prediction after every step. The prompt's positions take each step together: step t of a
 * position has the bits of mn_logits at num_steps t, and the last step those from which generation goes on. Generated
 * tokens, greedy ones, follow one by one as `ar` decodes them. The session must have policy "full". Refuses what
 * mn_depth_trace_check refuses; MN_ERR_RUN for logits that are not finite; MN_ERR_INTERRUPTED. Whatever the result,
 * *trace is to be finished. */
enum mn_status mn_depth_trace_run(struct mn_depth_trace *trace, struct mn_session *session,
                                  const struct mn_depth_trace_params *params);
void mn_depth_trace_finish(struct mn_depth_trace *trace); /* zeroed is fine */

/* ---- profiles: what passes and their dispatches take by themselves ---- */

enum mn_pass { MN_PASS_PRELUDE = 0, MN_PASS_STEP, MN_PASS_CODA, MN_PASS_HEAD, MN_PASSES };

/* A dispatch of a pass. */
struct mn_operation {
    const char *what;     /* "qkv", "attention", "projection", "gate", "down", "adapter", "head", ... */
    const char *kernel;   /* the shader's name */
    uint32_t n_out, n_in; /* of its matrix: rows, and inputs of a sum; 0 when it has none */
    bool reads_weights;
    double bytes, flops; /* weights or cache entries it reads; multiplications and additions; at the rows asked for */
};

struct mn_profile;

struct mn_profile_params {
    uint32_t position;   /* where the rows stand: so much of the cache is filled; at least 1 */
    uint32_t max_rows;   /* 1..128 */
    const char *kv_type; /* NULL: "f16" */
    uint64_t reserved[8];
};

enum mn_status mn_profile_create(struct mn_profile **out, struct mn_engine *engine,
                                 const struct mn_profile_params *params);
void mn_profile_destroy(struct mn_profile *profile); /* NULL is fine */
/* Takes a pass of n_rows rows for the calls that follow; *operations [*n_operations] are valid until the next such
 * call. */
enum mn_status mn_profile_pass(struct mn_profile *profile, enum mn_pass pass, uint32_t n_rows,
                               const struct mn_operation **operations, uint32_t *n_operations);
/* Runs the pass: microseconds of one. The first call for a pass warms up. */
enum mn_status mn_profile_time_pass(struct mn_profile *profile, double *us);
/* Runs it once, with timestamps: microseconds of each operation, us [n_operations]. MN_ERR_UNSUPPORTED where the device
 * has no timestamps. */
enum mn_status mn_profile_time_operations(struct mn_profile *profile, double *us);
bool mn_profile_has_timestamps(const struct mn_profile *profile);
/* One submit with n dispatches that do next to nothing. */
enum mn_status mn_profile_time_empty(struct mn_profile *profile, uint32_t n_dispatches, double *us);

/* ---- pipelines: what the driver makes of the kernels ---- */

/* A number of the driver, under the driver's own name. */
struct mn_pipeline_statistic {
    const char *name;
    double value;
};

/* A compiled kernel: one version of it for a type of weights, a number of rows and a place in the model. */
struct mn_pipeline {
    const char *kernel;        /* the shader's name */
    const char *what;          /* the operations it is for: "projection, down" */
    const char *passes;        /* "prelude, core, coda, head" */
    const char *row_counts;    /* of the passes it is recorded for: "1, 2, 4", "prompt" */
    uint32_t n_rows;           /* that share one read of the weights; 0: its kernel reads none */
    const char *weight_type;   /* as mn_weight_type_at; NULL: its kernel reads none */
    const uint32_t *constants; /* [n_constants] that it was specialised with; the first one is `threads` */
    uint32_t n_constants;
    uint32_t threads, max_threads;           /* of a workgroup; the device's most */
    uint32_t shared_bytes, max_shared_bytes; /* of a workgroup, as the shader declares and uses it; the device's most */
    uint32_t subgroup_size;
    /* As far as the driver says (VK_KHR_pipeline_executable_properties); -1 where it does not. Registers are a
     * lane's, scalar ones a subgroup's, as the driver counts them: of 32 bits on AMD and NVIDIA, 128 on Adreno, 16 on
     * Apple. Spills: registers, or stores of them, that found no room; scratch is
     * memory for them. Waves: most subgroups at a time, on a SIMD (AMD), a core (Qualcomm), a multiprocessor (NVIDIA).
     */
    double registers, scalar_registers, spills, scratch_bytes, code_bytes, instructions, waves;
    const struct mn_pipeline_statistic *statistics; /* [n_statistics] everything it says */
    uint32_t n_statistics;
};

/* Builds every pipeline that a session would use, and visits each with what the driver says of it; *has_statistics (may
 * be NULL): the driver says anything at all. For engines made with plan_only; of others the driver was not asked, and
 * nothing is said. Takes no memory for weights, cache or buffers, submits nothing and needs no fence, so that it runs
 * on devices that only compile. Refuses what mn_session_create refuses, but for memory. What is visited is valid during
 * the call; a visit that returns anything but MN_OK ends it with that. */
enum mn_status mn_pipelines(struct mn_engine *engine, const struct mn_session_params *params, bool *has_statistics,
                            enum mn_status (*visit)(void *user, const struct mn_pipeline *pipeline), void *user);

#ifdef __cplusplus
}
#endif

#endif
