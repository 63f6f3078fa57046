#include "generate.h"

#include <inttypes.h>
#include <string.h>

#include "json.h"

static const char *finish_reason(const struct generate_run *run, enum mn_status status)
{
    if (status != MN_OK && status != MN_ERR_INTERRUPTED)
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

static void json_acceptance(const struct mn_stats *stats)
{
    cli_json_u64("rounds", stats->rounds, false);
    cli_json_u64("drafted", stats->drafted, false);
    cli_json_u64("accepted", stats->accepted, false);
    cli_json_double("acceptance_rate", mn_stats_acceptance_rate(stats), false);
    /* A round of the wavefront is a tick, which may commit nothing: the length is a figure of draft-verify alone. */
    cli_json_double("mean_acceptance_length", stats->lookahead ? mn_stats_mean_acceptance_length(stats) : 0.0, false);
    cli_json_double("mean_exit_steps", stats->exit_rows ? (double)stats->exit_steps / (double)stats->exit_rows : 0.0, false);
    cli_json_double("mean_inflight", mean_inflight(stats), false);
    cli_json_key("acceptance_per_position", false);
    putchar('[');
    for (uint32_t i = 0; i < stats->lookahead; i++)
        printf("%s%.9g", i ? "," : "", stats->drafted_at[i] ? (double)stats->accepted_at[i] / (double)stats->drafted_at[i] : 0.0);
    putchar(']');
    cli_json_key("accepted_lengths", false);
    putchar('[');
    for (uint32_t i = 0; stats->lookahead && i <= stats->lookahead; i++)
        printf("%s%" PRIu64, i ? "," : "", stats->accepted_lengths[i]);
    putchar(']');
}

static void json_work(const struct mn_stats *stats)
{
    cli_json_u64("prelude_passes", stats->prelude_passes, false);
    cli_json_u64("core_passes", stats->core_passes, false);
    cli_json_u64("coda_passes", stats->coda_passes, false);
    cli_json_u64("core_rows", stats->core_rows, false);
    cli_json_u64("weight_bytes", stats->weight_bytes, false);
    cli_json_u64("kv_bytes", stats->kv_bytes, false);
    cli_json_double("weight_bytes_per_token", mn_stats_weight_bytes_per_token(stats), false);
    cli_json_u64("kv_bytes_per_token", stats->kv_bytes_per_token, false);
    cli_json_double("gb_s", mn_stats_gb_s(stats), false);
    cli_json_u64("submits", stats->submits, false);
    cli_json_u64("dispatches", stats->dispatches, false);
    cli_json_double("prefill_ms", stats->prefill_ns / 1e6, false);
    cli_json_double("draft_ms", stats->draft_ns / 1e6, false);
    cli_json_double("verify_ms", stats->verify_ns / 1e6, false);
    cli_json_double("decode_ms", stats->decode_ns / 1e6, false);
}

static void json_stats(const struct generate_run *run, enum mn_status status)
{
    const struct mn_stats *stats = &run->stats;
    const struct generate_options *options = run->options;
    cli_json_key("stats", false);
    putchar('{');
    cli_json_string("device", run->info.device_name, true);
    cli_json_string("driver", run->info.driver, false);
    cli_json_string("strategy", stats->strategy, false);
    cli_json_bool("lossless", stats->lossless, false);
    cli_json_string("finish_reason", finish_reason(run, status), false);
    cli_json_u64("num_steps", stats->num_steps, false);
    cli_json_u64("draft_steps", stats->draft_steps, false);
    cli_json_u64("lookahead", stats->lookahead, false);
    cli_json_u64("prompt_tokens", stats->n_prompt, false);
    cli_json_u64("new_tokens", stats->n_new, false);
    cli_json_double("prefill_tok_s", mn_stats_prefill_tok_s(stats), false);
    cli_json_double("decode_tok_s", mn_stats_decode_tok_s(stats), false);
    json_acceptance(stats);
    json_work(stats);
    cli_json_string("kv_policy", options->kv_policy, false);
    cli_json_string("kv_type", options->kv_type, false);
    cli_json_string("weight_type", run->info.weight_type, false);
    cli_json_u64("seed", options->seed, false);
    cli_json_double("temperature", (double)options->temperature, false);
    cli_json_u64("top_k", options->top_k, false);
    cli_json_double("top_p", (double)options->top_p, false);
    cli_json_double("min_p", (double)options->min_p, false);
    cli_json_double("init_scale", (double)options->init_scale, false);
    putchar('}');
}

void report_json(const struct generate_run *run, enum mn_status status)
{
    putchar('{');
    cli_json_ids("prompt_ids", run->prompt, run->n_prompt, true);
    cli_json_ids("tokens", run->tokens, run->n_tokens, false);
    cli_json_key("text", false);
    json_write_string(stdout, run->text.text ? run->text.text : "", run->text.n);
    json_stats(run, status);
    puts("}");
}

void report_trace(void *user, const struct mn_trace *trace)
{
    FILE *file = ((struct generate_run *)user)->trace;
    fprintf(file, "{\"event\":\"%s\",\"index\":%" PRIu64 ",\"start_ms\":%.4f,\"end_ms\":%.4f,\"committed\":%" PRIu32 ",\"rows\":[", trace->event, trace->index,
            trace->start_ns / 1e6, trace->end_ns / 1e6, trace->n_committed);
    for (uint32_t i = 0; i < trace->n_rows; i++) {
        const struct mn_trace_row *row = &trace->rows[i];
        fprintf(file,
                "%s{\"position\":%" PRIu32 ",\"token\":%" PRIu32 ",\"depth_before\":%" PRIu32 ",\"depth_after\":%" PRIu32 ",\"predicted\":%" PRIu32 ",\"kept\":%s}",
                i ? "," : "", row->position, row->token, row->depth_before, row->depth_after, row->predicted, row->kept ? "true" : "false");
    }
    fputs("]}\n", file);
}

void report_banner(const struct generate_run *run)
{
    fprintf(stderr, "muninn: %s\n", run->info.device_banner);
}

void report_summary(const struct generate_run *run)
{
    const struct mn_stats *stats = &run->stats;
    fprintf(stderr, "muninn: %s: %" PRIu32 " tokens, %.1f tok/s", stats->strategy, stats->n_new, mn_stats_decode_tok_s(stats));
    if (stats->lookahead)
        fprintf(stderr, ", acceptance %.3f (%.2f tokens per round)", mn_stats_acceptance_rate(stats), mn_stats_mean_acceptance_length(stats));
    else if (stats->inflight_rows)
        fprintf(stderr, ", acceptance %.3f (%.2f rows in flight)", mn_stats_acceptance_rate(stats), mean_inflight(stats));
    fprintf(stderr, ", %.2f GB/s", mn_stats_gb_s(stats));
    if (stats->lossless)
        fputs(", lossless\n", stderr);
    else
        fprintf(stderr, ", LOSSY (%s%s)\n", strcmp(run->options->kv_policy, "full") ? "--kv-policy " : "--exit ",
                strcmp(run->options->kv_policy, "full") ? run->options->kv_policy : run->options->exit);
}
