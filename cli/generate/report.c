#include <inttypes.h>
#include <string.h>

#include "bench/rows/default_depth.h"
#include "bench/rows/identity.h"
#include "cli/common/output.h"
#include "cli/common/paths.h"
#include "cli/common/talk.h"
#include "cli/generate/generate.h"
#include "engine/base/system.h"
#include "engine/files/disk.h"
#include "engine/files/json.h"

static const char *finish_reason(const struct generate_run *run, enum mn_status status)
{
    if (status && status != MN_ERR_INTERRUPTED)
        return "error";
    if (run->text.stopped)
        return "stop";
    if (run->ended_by_eos)
        return "eos";
    return status == MN_ERR_INTERRUPTED ? "interrupted" : "length";
}

/* Rows per tick of the wavefront; 0 for other strategies. */
static double mean_inflight(const struct mn_stats *stats)
{
    return stats->rounds ? (double)stats->inflight_rows / (double)stats->rounds : 0.0;
}

/* Who proposed the tokens that rounds brought, as shares of them; and what predictions at each depth were worth. */
static void json_proposals(const struct mn_stats *stats)
{
    bool first = true;
    cli_json_u64("looked_up", stats->looked_up, false);
    cli_json_key("proposal_shares", false);
    putchar('{');
    for (int i = 0; i < MN_PROPOSALS; i++)
        cli_json_double(mn_proposal_name((enum mn_proposal)i), mn_proposal_share(stats, (enum mn_proposal)i), !i);
    putchar('}');
    cli_json_key("agreement_by_depth", false);
    putchar('[');
    for (uint32_t i = 0; i < MN_AGREEMENT_DEPTHS; i++)
        if (stats->predicted_at[i]) {
            printf("%s[%" PRIu32 ",%" PRIu64 ",", first ? "" : ",", i + 1, stats->predicted_at[i]);
            json_write_double(stdout, (double)stats->agreed_at[i] / (double)stats->predicted_at[i]);
            putchar(']');
            first = false;
        }
    putchar(']');
}

static void json_acceptance(const struct mn_stats *stats)
{
    cli_json_u64("rounds", stats->rounds, false);
    cli_json_u64("drafted", stats->drafted, false);
    cli_json_u64("accepted", stats->accepted, false);
    cli_json_double("acceptance_rate", mn_stats_acceptance_rate(stats), false);
    /* A round of the wavefront is a tick, which may commit nothing: the length is a figure of draft-verify alone. */
    cli_json_double("mean_acceptance_length", stats->lookahead ? mn_stats_mean_acceptance_length(stats) : 0.0, false);
    cli_json_double("mean_exit_steps", stats->exit_rows ? (double)stats->exit_steps / (double)stats->exit_rows : 0.0,
                    false);
    cli_json_double("mean_inflight", mean_inflight(stats), false);
    cli_json_u64("most_inflight", stats->most_inflight, false);
    json_proposals(stats);
    cli_json_key("acceptance_per_position", false);
    putchar('[');
    for (uint32_t i = 0; i < stats->lookahead; i++) {
        fputs(i ? "," : "", stdout);
        json_write_double(stdout,
                          stats->drafted_at[i] ? (double)stats->accepted_at[i] / (double)stats->drafted_at[i] : 0.0);
    }
    putchar(']');
    cli_json_key("accepted_lengths", false);
    putchar('[');
    for (uint32_t i = 0; stats->lookahead && i <= stats->lookahead; i++)
        printf("%s%" PRIu64, i ? "," : "", stats->accepted_lengths[i]);
    putchar(']');
}

/* The cost model of a tick next to what ticks really read and took; auto's last choice. */
static void json_strategy(const struct mn_stats *stats)
{
    const bool ticks = stats->inflight_rows > 0 && stats->rounds > 0;
    cli_json_u64("tick_weight_bytes_model", stats->tick_weight_bytes, false);
    cli_json_double("tick_weight_bytes", ticks ? (double)stats->weight_bytes / (double)stats->rounds : 0.0, false);
    cli_json_double("tick_ms", ticks ? stats->decode_ns / 1e6 / (double)stats->rounds : 0.0, false);
    if (!stats->chosen_strategy)
        return;
    cli_json_string("chosen_strategy", stats->chosen_strategy, false);
    cli_json_u64("chosen_draft_steps", stats->chosen_draft_steps, false);
    cli_json_u64("chosen_lookahead", stats->chosen_lookahead, false);
    cli_json_u64("chosen_lookup", stats->chosen_lookup, false);
    cli_json_u64("choices", stats->n_choices, false);
}

static void json_agreement(const struct mn_agreement *a)
{
    cli_json_key("agreement", false);
    putchar('{');
    cli_json_u64("compared", a->n_compared, true);
    cli_json_u64("equal", a->n_equal, false);
    cli_json_double("rate", a->n_compared ? (double)a->n_equal / a->n_compared : 0.0, false);
    cli_json_bool("diverged", a->diverged, false);
    if (a->diverged) {
        cli_json_u64("first_divergence", a->first_divergence, false);
        cli_json_key("token", false);
        printf(a->token == UINT32_MAX ? "null" : "%" PRIu32, a->token);
        cli_json_key("ar_token", false);
        printf(a->ar_token == UINT32_MAX ? "null" : "%" PRIu32, a->ar_token);
        cli_json_float("top2_margin", a->margin, false);
    }
    if (a->forced_agreement >= 0.0)
        cli_json_double("forced_agreement", a->forced_agreement, false);
    putchar('}');
}

static void json_work(const struct mn_stats *stats)
{
    cli_json_u64("prelude_passes", stats->prelude_passes, false);
    cli_json_u64("core_passes", stats->core_passes, false);
    cli_json_u64("coda_passes", stats->coda_passes, false);
    cli_json_u64("core_rows", stats->core_rows, false);
    cli_json_u64("weight_bytes", stats->weight_bytes, false);
    cli_json_u64("kv_bytes", stats->kv_bytes, false);
    cli_json_double("gamma", mn_stats_gamma(stats), false);
    cli_json_double("weight_bytes_per_token", mn_stats_weight_bytes_per_token(stats), false);
    cli_json_u64("kv_bytes_per_token", stats->kv_bytes_per_token, false);
    cli_json_double("gb_s", mn_stats_gb_s(stats), false);
    cli_json_u64("submits", stats->submits, false);
    cli_json_u64("dispatches", stats->dispatches, false);
}

static void json_times(const struct mn_stats *stats)
{
    cli_json_double("prefill_ms", stats->prefill_ns / 1e6, false);
    cli_json_double("draft_ms", stats->draft_ns / 1e6, false);
    cli_json_double("verify_ms", stats->verify_ns / 1e6, false);
    cli_json_double("decode_ms", stats->decode_ns / 1e6, false);
}

static void json_lossless(const struct mn_stats *stats)
{
    cli_json_bool("lossless", stats->lossless, false);
    if (stats->lossy_because)
        cli_json_string("lossy_because", stats->lossy_because, false);
}

static void json_settings(const struct generate_run *run)
{
    const struct generate_options *options = run->options;
    cli_json_string("kv_policy", run->kv_policy, false);
    cli_json_string("kv_type", options->kv_type, false);
    cli_json_string("weight_type", run->info.weight_type, false);
    cli_json_u64("seed", options->seed, false);
    cli_json_float("temperature", options->temperature, false);
    cli_json_u64("top_k", options->top_k, false);
    cli_json_float("top_p", options->top_p, false);
    cli_json_float("min_p", options->min_p, false);
    cli_json_float("init_scale", options->init_scale, false);
}

static void json_stats(struct generate_run *run, enum mn_status status)
{
    const struct mn_stats *stats = &run->stats;
    cli_json_key("stats", false);
    putchar('{');
    cli_json_string("device", run->info.device_name, true);
    cli_json_string("driver", run->info.driver, false);
    cli_json_string("strategy", stats->strategy, false);
    json_lossless(stats);
    cli_json_string("finish_reason", finish_reason(run, status), false);
    cli_json_u64("num_steps", stats->num_steps, false);
    cli_json_u64("draft_steps", stats->draft_steps, false);
    cli_json_u64("lookahead", stats->lookahead, false);
    cli_json_u64("lookup", stats->lookup, false);
    cli_json_u64("branches", stats->branches, false);
    cli_json_u64("prompt_tokens", stats->n_prompt, false);
    cli_json_u64("new_tokens", stats->n_new, false);
    cli_json_double("prefill_tok_s", mn_stats_prefill_tok_s(stats), false);
    cli_json_double("decode_tok_s", mn_stats_decode_tok_s(stats), false);
    json_acceptance(stats);
    if (!run->in_batch) { /* passes are shared there: the total has them */
        json_strategy(stats);
        json_work(stats);
    }
    json_times(stats);
    figures_json_latency(&run->figures.latency);
    if (!run->in_batch)
        figures_json_device(&run->figures, run->n_tokens);
    json_settings(run);
    putchar('}');
}

void report_json(struct generate_run *run, enum mn_status status)
{
    putchar('{');
    if (run->in_batch) {
        cli_json_u64("index", run->index, true);
        cli_json_key("id", false);
        printf("%s,", run->id ? run->id : "null");
    }
    cli_json_ids("prompt_ids", run->prompt, run->n_prompt, true);
    cli_json_ids("tokens", run->tokens, run->n_tokens, false);
    cli_json_key("text", false);
    json_write_string(stdout, run->text.text ? run->text.text : "", run->text.n);
    if (!strcmp(finish_reason(run, status), "error"))
        cli_json_string("error", run->error ? run->error : mn_status_name(status), false);
    if (run->compared)
        json_agreement(&run->agreement);
    json_stats(run, status);
    puts("}");
}

void report_total(const struct generate_run *any, const struct mn_stats *total, struct run_figures *figures,
                  uint32_t n_parallel)
{
    putchar('{');
    cli_json_key("total", true);
    putchar('{');
    cli_json_string("device", any->info.device_name, true);
    cli_json_string("driver", any->info.driver, false);
    cli_json_string("strategy", total->strategy, false);
    json_lossless(total);
    cli_json_u64("sequences", total->n_sequences, false);
    cli_json_u64("parallel", n_parallel, false);
    cli_json_u64("draft_steps", total->draft_steps, false);
    cli_json_u64("lookahead", total->lookahead, false);
    cli_json_u64("lookup", total->lookup, false);
    cli_json_u64("branches", total->branches, false);
    cli_json_u64("prompt_tokens", total->n_prompt, false);
    cli_json_u64("new_tokens", total->n_new, false);
    cli_json_double("prefill_tok_s", mn_stats_prefill_tok_s(total), false);
    cli_json_double("decode_tok_s", mn_stats_decode_tok_s(total), false);
    json_acceptance(total);
    json_work(total);
    json_times(total);
    figures_json_latency(&figures->latency);
    figures_json_device(figures, total->n_new);
    json_settings(any);
    puts("}}");
}

static void trace_begin(const struct generate_run *run)
{
    fputc('{', run->trace->text);
    if (run->in_batch)
        fprintf(run->trace->text, "\"sequence\":%" PRIu32 ",", run->index);
}

static void trace_ids(FILE *file, const char *key, const uint32_t *ids, size_t n)
{
    fprintf(file, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++)
        fprintf(file, "%s%" PRIu32, i ? "," : "", ids[i]);
    fputc(']', file);
}

static void trace_text(struct generate_run *run, uint32_t id)
{
    const enum mn_status status = cli_write_token(run->trace->text, run->token_decoder, id, run->log);
    run->status = run->status ? run->status : status;
}

/* For readers that have no tokenizer. Without one here the key is left out. */
static void trace_texts(struct generate_run *run, const char *key, const uint32_t *ids, size_t n)
{
    FILE *file = run->trace->text;
    if (!run->token_decoder)
        return;
    fprintf(file, ",\"%s\":[", key);
    for (size_t i = 0; i < n; i++) {
        fputs(i ? "," : "", file);
        trace_text(run, ids[i]);
    }
    fputc(']', file);
}

/* Its own texts: most of what rows assume and predict is never committed. */
static void trace_row(struct generate_run *run, const struct mn_trace_row *row)
{
    FILE *file = run->trace->text;
    fprintf(file,
            "{\"position\":%" PRIu32 ",\"token\":%" PRIu32 ",\"depth_before\":%" PRIu32 ",\"depth_after\":%" PRIu32
            ",\"predicted\":%" PRIu32 ",\"kept\":%s",
            row->position, row->token, row->depth_before, row->depth_after, row->predicted,
            row->kept ? "true" : "false");
    if (row->branch)
        fputs(",\"branch\":true", file);
    if (run->token_decoder) {
        fputs(",\"text\":", file);
        trace_text(run, row->token);
        fputs(",\"predicted_text\":", file);
        trace_text(run, row->predicted);
    }
    fputc('}', file);
}

static void trace_name(FILE *file, const char *key, const char *value)
{
    fprintf(file, ",\"%s\":", key);
    json_write_name(file, value);
}

/* What result rows are filtered by. */
static void trace_identity(struct generate_run *run)
{
    FILE *file = run->trace->text;
    char model[IDENTITY_NAME_BYTES] = "";
    const enum mn_status status = identity_model_name(model, run->dir, run->log);
    run->status = run->status ? run->status : status;
    trace_name(file, "device", run->info.device_name);
    trace_name(file, "device_id", run->info.device_id);
    trace_name(file, "driver", run->info.driver);
    trace_name(file, "model", model);
    fprintf(file, ",\"model_hash\":\"%016" PRIx64 "\",\"kv_type\":\"%s\"", run->info.model_hash, run->options->kv_type);
    trace_name(file, "weight_type", run->info.weight_type);
    trace_name(file, "version", MN_VERSION);
}

static void trace_float(FILE *file, const char *key, float value)
{
    fprintf(file, ",\"%s\":", key);
    json_write_float(file, value);
}

static void trace_double(FILE *file, const char *key, double value)
{
    fprintf(file, ",\"%s\":", key);
    json_write_double(file, value);
}

void report_trace_prompt(struct generate_run *run, uint32_t token)
{
    const struct mn_stats *stats = run->live;
    FILE *file = run->trace->text;
    trace_begin(run);
    fprintf(file,
            "\"event\":\"prompt\",\"strategy\":\"%s\",\"lossless\":%s,\"num_steps\":%" PRIu32
            ",\"draft_steps\":%" PRIu32 ",\"lookahead\":%" PRIu32 ",\"max_inflight\":%" PRIu32 ",\"lookup\":%" PRIu32
            ",\"kv_policy\":\"%s\",\"top_k\":%" PRIu32 ",\"seed\":%" PRIu64,
            stats->strategy, stats->lossless ? "true" : "false", stats->num_steps, stats->draft_steps, stats->lookahead,
            rows_per_sequence(run->options), stats->lookup, run->kv_policy, run->options->top_k, run->options->seed);
    if (stats->lossy_because)
        trace_name(file, "lossy_because", stats->lossy_because);
    trace_float(file, "temperature", run->options->temperature);
    trace_float(file, "top_p", run->options->top_p);
    trace_float(file, "min_p", run->options->min_p);
    trace_float(file, "init_scale", run->options->init_scale);
    trace_ids(file, "prompt_ids", run->prompt, run->n_prompt);
    trace_ids(file, "tokens", &token, 1);
    trace_texts(run, "prompt_texts", run->prompt, run->n_prompt);
    trace_texts(run, "texts", &token, 1);
    trace_identity(run);
    fputs("}\n", file);
    output_flush(run->trace, run->log); /* a failure is reported, and kept for the end */
}

void report_trace(void *user, const struct mn_trace *trace)
{
    struct generate_run *run = user;
    FILE *file = run->trace->text;
    trace_begin(run);
    fprintf(file,
            "\"event\":\"%s\",\"index\":%" PRIu64 ",\"start_pass\":%" PRIu64 ",\"end_pass\":%" PRIu64
            ",\"committed\":%" PRIu32,
            trace->event, trace->index, trace->start_pass, trace->end_pass, trace->n_committed);
    trace_double(file, "start_ms", trace->start_ns / 1e6);
    trace_double(file, "end_ms", trace->end_ns / 1e6);
    trace_double(file, "draft_ms", trace->draft_ns / 1e6);
    trace_ids(file, "tokens", trace->tokens, trace->n_committed);
    trace_texts(run, "texts", trace->tokens, trace->n_committed);
    fputs(",\"rows\":[", file);
    for (uint32_t i = 0; i < trace->n_rows; i++) {
        fputs(i ? "," : "", file);
        trace_row(run, &trace->rows[i]);
    }
    fputs("]}\n", file);
    output_flush(run->trace, run->log);
}

void report_banner(const struct generate_run *run, bool default_depth)
{
    cli_note_default_model(run->options->model, run->log);
    cli_banner(run->info.device_banner);
    if (default_depth)
        default_depth_note(cli_notes(), &run->info);
}

/* Text that ends inside a line, in the file or terminal where the summary goes as well. */
static bool shares_line(const struct generate_run *run)
{
    struct disk_info out, err;
    const struct text_out *text = &run->text;
    if (!run->decoder || run->collects || text->n == 0 || text->text[text->n - 1] == '\n' || stream_is_terminal(stdout))
        return false; /* on a terminal the text has its newline already */
    return disk_look_open(&out, 1) && disk_look_open(&err, 2) && disk_is_same(&out, &err);
}

/* Tokens per R core steps, and who proposed them. */
static void report_proposals(FILE *notes, const struct mn_stats *stats)
{
    if (!stats->committed)
        return;
    fprintf(notes, ", %.2f tokens per %" PRIu32 " core steps (", mn_stats_gamma(stats), stats->num_steps);
    for (int i = 0; i < MN_PROPOSALS; i++)
        if (i != MN_PROPOSAL_LOOKUP || stats->looked_up)
            fprintf(notes, "%s%.0f%% %s", i ? ", " : "", 100.0 * mn_proposal_share(stats, (enum mn_proposal)i),
                    mn_proposal_name((enum mn_proposal)i));
    fputc(')', notes);
}

void report_summary(const struct generate_run *run, const struct mn_stats *stats)
{
    FILE *notes = cli_notes();
    if (shares_line(run))
        fputc('\n', notes);
    fprintf(notes, "muninn: %s: %" PRIu32 " tokens, %.1f tok/s", stats->strategy, stats->n_new,
            mn_stats_decode_tok_s(stats));
    if (stats->n_sequences > 1)
        fprintf(notes, " in %" PRIu32 " sequences", stats->n_sequences);
    if (stats->drafted)
        fprintf(notes, ", acceptance %.3f", mn_stats_acceptance_rate(stats));
    if (stats->lookahead)
        fprintf(notes, " (%.2f tokens per round)", mn_stats_mean_acceptance_length(stats));
    else if (stats->inflight_rows && stats->n_sequences <= 1)
        fprintf(notes, ", %.2f rows in flight", mean_inflight(stats));
    if (stats->tick_weight_bytes && stats->rounds &&
        stats->n_sequences <= 1) /* the cost model next to what was read and what it took */
        fprintf(notes, ", a tick of %.2f MB (model %.2f) in %.2f ms",
                (double)stats->weight_bytes / 1e6 / (double)stats->rounds, (double)stats->tick_weight_bytes / 1e6,
                stats->decode_ns / 1e6 / (double)stats->rounds);
    report_proposals(notes, stats);
    fprintf(notes, ", %.2f GB/s", mn_stats_gb_s(stats));
    if (stats->chosen_strategy)
        fprintf(notes, ", last choice %s K %" PRIu32 " L %" PRIu32, stats->chosen_strategy, stats->chosen_draft_steps,
                stats->chosen_lookahead);
    if (stats->lossless)
        fputs(", lossless\n", notes);
    else
        fprintf(notes, ", LOSSY (%s)\n", stats->lossy_because ? stats->lossy_because : "unknown");
}

void report_agreement(const struct generate_run *run)
{
    const struct mn_agreement *a = &run->agreement;
    FILE *notes = cli_notes();
    fprintf(notes, "muninn: against ar with a full cache: %" PRIu32 " of %" PRIu32 " tokens equal", a->n_equal,
            a->n_compared);
    if (a->diverged)
        fprintf(notes, ", first difference at token %" PRIu32 " (its two best logits there are %.4g apart)",
                a->first_divergence, (double)a->margin);
    if (a->forced_agreement >= 0.0)
        fprintf(notes, ", %.1f%% are what ar says after the same text", 100.0 * a->forced_agreement);
    fputc('\n', notes);
}
