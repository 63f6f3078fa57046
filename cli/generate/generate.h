/* muninn generate: from the options to one sequence or many (generate.c), one from its prompt to its text (run.c), many
 * of them from a file (batch.c) or as they come (worker.c) in lines of JSON (line.c), and how it went (report.c,
 * figures.c). The option table is cli/generate.c. */
#ifndef MUNINN_CLI_GENERATE_GENERATE_H
#define MUNINN_CLI_GENERATE_GENERATE_H

#include "bench/rows/latency.h"
#include "bench/sensors/sensors.h"
#include "cli/generate/text.h"
#include "engine/files/output_file.h"

struct generate_options {
    const char *model, *prompt, *file, *batch, *system, *device, *matrix_units, *strategy, *kv_policy, *kv_type,
        *weight_type, *output, *exit, *trace, *cpu_threads;
    struct id_list ids;
    struct text_list stops;
    uint32_t n_new, num_steps, draft_steps, max_inflight, ctx, parallel; /* 0 when not given */
    uint32_t lookahead, lookup, branches, exit_min_steps, exit_interval, headway, top_k;
    uint64_t seed;
    float temperature, top_p, min_p, init_scale, verification_threshold, freeze_threshold, state_noise, embed_average;
    bool chat, no_bos, ignore_eos, special, validate, beyond, require_lossless, continuous, compare_ar, raw;
};

/* What a run took beside its tokens per second. Zeroed is empty. */
struct run_figures {
    struct mn_engine *engine; /* borrowed */
    struct latency latency;   /* owned; of a sequence of a batch its own, of the batch all of them */
    struct sensors *sensors;  /* owned; NULL: nothing is shown, or a sequence of a batch */
    struct sensor_totals energy;
    uint64_t device_peak_bytes, host_peak_bytes; /* 0: not known */
};

/* One sequence from the prompt to the report. */
struct generate_run {
    const struct generate_options *options;
    const struct mn_log *log;
    const struct mn_log **engine_log; /* borrowed: where the engine's messages go now */
    struct mn_engine *engine;
    struct mn_model_info info;
    const char *dir;       /* the model's folder, borrowed */
    const char *kv_policy; /* the session's */
    uint32_t *prompt;      /* [n_prompt], owned */
    size_t n_prompt;
    uint32_t *tokens; /* [n_tokens], owned, room for n_new */
    uint32_t n_tokens, n_new,
        num_steps; /* n_new and num_steps: what was asked for, 0 before settle_run when nothing was */
    struct mn_stream_decoder *decoder;       /* owned; NULL when the model has no tokenizer */
    struct mn_stream_decoder *token_decoder; /* of the trace, token by token; owned; NULL as well without a trace */
    struct text_out text;
    struct output_file *trace; /* borrowed; NULL: no trace */
    struct mn_stats stats;
    const struct mn_stats *live; /* borrowed: what mn_generate is filling in */
    struct run_figures figures;
    struct delivery delivery;
    struct sensors *polled; /* borrowed: whoever runs it */
    uint64_t *count;        /* borrowed, tokens of the batch so far; NULL: not in one */
    uint64_t count_of;      /* at most so many */
    struct mn_agreement agreement;
    enum mn_status status; /* what a token's way to stdout came to */
    bool collects;         /* prints one JSON document at its end instead of a stream */
    bool ended_by_eos, compared;
    bool default_depth; /* num_steps is the model's own */
    bool in_batch;
    uint32_t index;   /* in the batch, from 0 */
    char *id;         /* the batch line's "id" as JSON text, owned; NULL: none */
    char *stop_texts; /* that a line brought, owned; NULL: none */
    char *error;      /* why it cannot run, owned; NULL: it can */
};

/* ---- generate.c ---- */

/* The command. */
enum mn_status run_generate(const struct generate_options *options, const struct mn_log *log);

/* ---- run.c ---- */

/* The prompt: text (through the chat template with --chat, else with a begin token in front) or ids. */
enum mn_status run_take_text(struct generate_run *run, const char *text, size_t n_bytes);
enum mn_status run_take_ids(struct generate_run *run, const struct id_list *ids);
/* Fills in what depends on the model, for a run whose prompt is there: n_new, num_steps, and the parameters of its
 * session and its generation. Impossible values are left to the engine, which knows the rules. */
enum mn_status settle_run(struct generate_run *run, struct mn_session_params *session,
                          struct mn_generate_params *generate);
/* Rows per pass of one sequence. */
uint32_t rows_per_sequence(const struct generate_options *options);
/* Makes room for n_new tokens and their text. */
enum mn_status run_prepare(struct generate_run *run);
/* The callback of mn_generate_params, with the run as `user`. */
int run_on_token(void *user, uint32_t token);
/* Was the run ended by something other than the engine: a stop string, an interrupt, a failed write? */
bool run_was_cut(const struct generate_run *run);
/* Did an interrupt end it before its own end? */
bool run_was_interrupted(const struct generate_run *run);
/* The rest of the text, or the JSON document. Returns `status`, or how the writing went. */
enum mn_status run_finish(struct generate_run *run, enum mn_status status);
/* Frees what the run owns; the engine is not among it. */
void run_free(struct generate_run *run);

/* ---- line.c ---- */

/* Reads a line into a run with `options` set. `own` (may be NULL): the run's options, where the line may have settings
 * of its own. `log` is told what is malformed, `line_log` why a prompt cannot be turned into ids: that is no malformed
 * line, and goes into run->status. */
enum mn_status line_settings_read(struct generate_run *run, struct generate_options *own, const char *line,
                                  size_t n_bytes, const struct mn_log *log, const struct mn_log *line_log);

/* ---- batch.c, worker.c ---- */

enum { BATCH_PARALLEL = 8, BATCH_ROWS_MAX = 128 };

/* All sequences of options->batch on one session. `engine` and `info` of `common` are set. */
enum mn_status generate_file(const struct generate_run *common);
/* The same for lines that come on standard input, each answered as soon as it ends. */
enum mn_status generate_worker(const struct generate_run *common);

/* ---- report.c ---- */

/* One JSON document on stdout. */
void report_json(struct generate_run *run, enum mn_status status);
/* {"total":{...}} with the passes, bytes and times of the batch that the run belongs to; `n_parallel` sequences ran at
 * once. */
void report_total(const struct generate_run *any, const struct mn_stats *total, struct run_figures *figures,
                  uint32_t n_parallel);
/* The device, for reports of others' machines; one line on stderr, and one on the depth where it has to be said. */
void report_banner(const struct generate_run *run, bool default_depth);
/* The trace file's JSON lines: the settings with the prompt and its first token, then one line per event. */
void report_trace_prompt(struct generate_run *run, uint32_t token);
void report_trace(void *user, const struct mn_trace *trace);
/* Speed, acceptance and whether the tokens are those of plain decoding; one line on cli_notes, on its own line also
 * where the text of `run` goes to the same file. */
void report_summary(const struct generate_run *run, const struct mn_stats *stats);
/* How the tokens compare with those of plain decoding; one line on stderr. */
void report_agreement(const struct generate_run *run);

/* ---- figures.c ---- */

/* Around mn_generate or mn_generate_batch, while the session is open. */
void figures_begin(struct run_figures *figures, struct mn_engine *engine, const struct mn_model_info *info);
void figures_end(struct run_figures *figures);
void figures_free(struct run_figures *figures);
/* Keys of "stats" and "total"; the device's are those of all sequences together. */
void figures_json_latency(struct latency *latency);
void figures_json_device(const struct run_figures *figures, uint32_t n_new);
/* One line on cli_notes. */
void figures_summary(struct run_figures *figures, uint32_t n_new);

#endif
