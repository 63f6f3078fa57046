/* muninn trace: records and table. */
#include "cli/trace/trace_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/output.h"
#include "engine/base/system.h"
#include "engine/files/json.h"

/* ---- pieces ---- */

static void key(FILE *f, const char *name, bool first)
{
    fprintf(f, "%s\"%s\":", first ? "" : ",", name);
}

static void text(FILE *f, const char *name, const char *value)
{
    key(f, name, false);
    json_write_name(f, value);
}

static void number(FILE *f, const char *name, double value)
{
    key(f, name, false);
    json_write_double(f, value);
}

/* What was given as a float: without the digits that only its type adds. */
static void setting(FILE *f, const char *name, double value)
{
    key(f, name, false);
    json_write_float(f, (float)value);
}

/* One value of every step: a double member of struct mn_depth_step. */
static void step_array(FILE *f, const char *name, const struct mn_depth_step *steps, uint32_t n, size_t offset)
{
    key(f, name, false);
    for (uint32_t i = 0; i < n; i++) {
        double value;
        memcpy(&value, (const char *)&steps[i] + offset, sizeof value);
        fputc(i ? ',' : '[', f);
        json_write_double(f, value);
    }
    fputc(']', f);
}

/* ---- records ---- */

/* Names the trace: everything that its numbers depend on. */
static void write_id(const struct trace_report *r, char *id)
{
    const struct mn_depth_trace_params *p = r->params;
    const uint32_t numbers[] = {p->num_steps, p->n_new, p->ignore_eos, p->n_inits, p->n_components, p->terminal.window};
    const double rule[] = {p->terminal.nearness, p->terminal.lag,    p->terminal.aligned,
                           p->terminal.straight, p->terminal.steady, (double)p->init_scale};
    uint64_t hash = hash_bytes(identity_hash(&r->identity), r->kv_type, strlen(r->kv_type) + 1);
    hash = hash_bytes(hash_bytes(hash_bytes(hash, numbers, sizeof numbers), rule, sizeof rule), &p->seed,
                      sizeof p->seed);
    hash = hash_bytes(hash, p->readout_steps, p->n_readouts * sizeof *p->readout_steps);
    snprintf(id, HASH_TEXT_BYTES, "%016" PRIx64, hash_bytes(hash, p->prompt, p->n_prompt * sizeof *p->prompt));
}

/* Those of these names [n] that the identity has. */
static void write_identity(const struct trace_report *r, const char *const *names, size_t n, FILE *f)
{
    for (size_t k = 0; k < n; k++)
        for (int i = 0; i < IDENTITY_TEXTS; i++)
            if (!strcmp(r->identity.texts[i].name, names[k]))
                text(f, names[k], r->identity.texts[i].value);
}

/* Every record begins with what it is and what result rows are filtered by. `place` NULL: that of a token. */
static void write_beginning(const struct trace_report *r, FILE *f, const char *kind, const char *id, const char *place,
                            uint32_t position)
{
    fprintf(f, "{\"bench\":\"%s\",\"key\":\"trace-%s-", kind, id);
    if (place)
        fprintf(f, "%s\"", place);
    else
        fprintf(f, "%" PRIu32 "\"", position);
    fprintf(f, ",\"trace\":\"%s\"", id);
    static const char *const filters[] = {"device", "device_id", "driver", "model", "model_hash", "weight_type"};
    write_identity(r, filters, sizeof filters / sizeof *filters, f);
    text(f, "kv_type", r->kv_type);
    fprintf(f, ",\"num_steps\":%" PRIu32, r->params->num_steps);
}

static void write_readout_steps(const struct trace_report *r, uint32_t n, FILE *f)
{
    fputs(",\"readout_steps\":[", f);
    for (uint32_t i = 0; i < n; i++)
        fprintf(f, "%s%" PRIu32, i ? "," : "", r->params->readout_steps[i]);
    fputc(']', f);
}

static void write_header(const struct trace_report *r, const char *id, FILE *f)
{
    const struct mn_depth_trace_params *p = r->params;
    const struct mn_terminal_rule *rule = &p->terminal;
    write_beginning(r, f, "trace_header", id, "header", 0);
    static const char *const rest[] = {"version", "commit", "build", "driver_version"};
    write_identity(r, rest, sizeof rest / sizeof *rest, f);
    text(f, "banner", r->info.device_banner);
    text(f, "kv_policy", "full");
    fprintf(f,
            ",\"prompt_tokens\":%" PRIu32 ",\"max_new_tokens\":%" PRIu32 ",\"ignore_eos\":%s,\"n_embd\":%" PRIu32
            ",\"vocab_size\":%" PRIu32,
            p->n_prompt, p->n_new, p->ignore_eos ? "true" : "false", r->info.shape.n_embd, r->info.shape.vocab_size);
    fprintf(f, ",\"inits\":%" PRIu32 ",\"seed\":%" PRIu64, p->n_inits, p->seed);
    setting(f, "init_scale", (double)p->init_scale);
    if (p->n_readouts)
        write_readout_steps(r, p->n_readouts, f);
    text(f, "kl", "sum p_R (log p_R - log p_t), nats");
    fputs(",\"exit_rules\":{", f);
    for (int c = MN_EXIT_LATENT_DIFF; c < r->trace->exits_end; c++) {
        key(f, mn_exit_name((enum mn_exit_criterion)c), c == MN_EXIT_LATENT_DIFF);
        json_write_double(f, mn_exit_threshold((enum mn_exit_criterion)c));
    }
    fprintf(f, "},\"terminal_rule\":{\"window\":%" PRIu32, rule->window);
    setting(f, "near", rule->nearness);
    setting(f, "lag", rule->lag);
    setting(f, "aligned", rule->aligned);
    setting(f, "straight", rule->straight);
    setting(f, "steady", rule->steady);
    fputs("}}\n", f);
}

static void write_terminal(const struct mn_terminal *t, FILE *f)
{
    text(f, "class", mn_terminal_name(t->kind));
    fprintf(f, ",\"period\":%" PRIu32 ",\"terminal\":{\"window\":%" PRIu32, t->period, t->window);
    number(f, "spread", t->spread);
    number(f, "lag", isfinite(t->lag) ? t->lag : 0.0); /* no period fits into the window */
    number(f, "alignment", t->alignment);
    number(f, "straightness", t->straightness);
    number(f, "steadiness", t->steadiness);
    fputc('}', f);
}

static void write_exits(const struct trace_report *r, const struct mn_depth_token *token, FILE *f)
{
    key(f, "exits", false);
    for (int c = MN_EXIT_LATENT_DIFF; c < r->trace->exits_end; c++) {
        fputs(c == MN_EXIT_LATENT_DIFF ? "{" : "", f);
        key(f, mn_exit_name((enum mn_exit_criterion)c), c == MN_EXIT_LATENT_DIFF);
        if (token->exits[c])
            fprintf(f, "%" PRIu32, token->exits[c]);
        else
            fputs("null", f);
    }
    fputc('}', f);
}

static void write_inits(const struct mn_depth_trace *t, uint32_t token, FILE *f)
{
    const double *distance = t->distance + (size_t)token * t->init_stride;
    const uint32_t *top1 = t->init_top1 + (size_t)token * t->init_stride;
    fputs(",\"inits\":{\"distance\":[", f);
    for (uint32_t m = 0; m < t->n_inits; m++) {
        fputs(m ? "," : "", f);
        json_write_double(f, distance[m]);
    }
    fputs("],\"top1\":[", f);
    for (uint32_t m = 0; m < t->n_inits; m++)
        fprintf(f, "%s%" PRIu32, m ? "," : "", top1[m]);
    fputs("]}", f);
}

/* Of one token, [step of the list]: best ids of every read-out; without a token, shares that are the last step's. */
static void write_readouts(const struct mn_depth_trace *t, const uint32_t *token, FILE *f)
{
    const size_t per_step = (size_t)MN_READOUT_COUNT * MN_ENTRIES_COUNT;
    for (size_t at = 0; at < per_step; at++) {
        const char *rule = mn_readout_name((enum mn_readout_rule)(at / MN_ENTRIES_COUNT));
        const int entries = (int)(at % MN_ENTRIES_COUNT);
        if (entries == 0) {
            fputs(at ? "}" : "", f);
            key(f, rule, at == 0);
            fputc('{', f);
        }
        key(f, mn_entries_name((enum mn_entries)entries), entries == 0);
        for (uint32_t i = 0; i < t->n_readouts; i++) {
            uint32_t n_right = 0;
            fputc(i ? ',' : '[', f);
            for (uint32_t p = 0; p < t->n_tokens && !token; p++)
                n_right += t->readouts[((size_t)p * t->readout_stride + i) * per_step + at] ==
                           t->steps[(size_t)p * t->n_steps + t->n_steps - 1].top1;
            if (token)
                fprintf(f, "%" PRIu32, t->readouts[((size_t)*token * t->readout_stride + i) * per_step + at]);
            else
                json_write_double(f, (double)n_right / t->n_tokens);
        }
        fputs(t->n_readouts ? "]" : "[]", f);
    }
    fputs("}}", f);
}

static void write_path(const struct mn_depth_trace *t, uint32_t token, FILE *f)
{
    fputs(",\"path\":[", f);
    for (uint32_t step = 0; step <= t->n_steps; step++) {
        const double *at = t->paths + ((size_t)token * (t->n_steps + 1) + step) * t->n_components;
        for (uint32_t i = 0; i < t->n_components; i++) {
            fputs(i ? "," : step ? ",[" : "[", f);
            json_write_double(f, at[i]);
        }
        fputc(']', f);
    }
    fputc(']', f);
}

static enum mn_status write_token(const struct trace_report *r, const char *id, uint32_t i, FILE *f,
                                  const struct mn_log *log)
{
    const struct mn_depth_trace *t = r->trace;
    const struct mn_depth_token *token = &t->tokens[i];
    const struct mn_depth_step *steps = t->steps + (size_t)i * t->n_steps;
    const uint32_t n = t->n_steps, last = steps[n - 1].top1;
    write_beginning(r, f, "trace", id, NULL, i);
    fprintf(f, ",\"position\":%" PRIu32 ",\"token\":%" PRIu32 ",\"text\":", i, token->id);
    enum mn_status status = cli_write_token(f, r->decoder, token->id, log);
    fprintf(f, ",\"generated\":%s", token->generated ? "true" : "false");
    step_array(f, "norm", steps, n, offsetof(struct mn_depth_step, norm));
    step_array(f, "change", steps, n, offsetof(struct mn_depth_step, change));
    step_array(f, "kl", steps, n, offsetof(struct mn_depth_step, kl));
    step_array(f, "entropy", steps, n, offsetof(struct mn_depth_step, entropy));
    step_array(f, "top1_p", steps, n, offsetof(struct mn_depth_step, top1_p));
    fputs(",\"top1\":[", f);
    for (uint32_t s = 0; s < n; s++)
        fprintf(f, "%s%" PRIu32, s ? "," : "", steps[s].top1);
    fputs("],\"top1_text\":[", f);
    for (uint32_t s = 0; s < n && !status; s++) {
        fputs(s ? "," : "", f);
        status = cli_write_token(f, r->decoder, steps[s].top1, log);
    }
    fputs("],\"top1_is_final\":[", f);
    for (uint32_t s = 0; s < n; s++)
        fprintf(f, "%s%s", s ? "," : "", steps[s].top1 == last ? "true" : "false");
    fputc(']', f);
    write_exits(r, token, f);
    write_terminal(&token->terminal, f);
    if (r->params->n_inits)
        write_inits(t, i, f);
    if (t->n_readouts) {
        fputs(",\"readouts\":{", f);
        write_readouts(t, &i, f);
    }
    write_path(t, i, f);
    fputs("}\n", f);
    return status;
}

/* Tokens by exit step: [step - 1], and those that never leave. */
static void write_histogram(const struct mn_depth_trace *t, enum mn_exit_criterion c, FILE *f)
{
    uint64_t never = 0, sum = 0;
    key(f, mn_exit_name(c), c == MN_EXIT_LATENT_DIFF);
    fputs("{\"steps\":[", f);
    for (uint32_t step = 1; step <= t->n_steps; step++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < t->n_tokens; i++)
            n += t->tokens[i].exits[c] == step;
        fprintf(f, "%s%" PRIu32, step > 1 ? "," : "", n);
    }
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        never += t->tokens[i].exits[c] == 0;
        sum += t->tokens[i].exits[c] ? t->tokens[i].exits[c] : t->n_steps;
    }
    fprintf(f, "],\"never\":%" PRIu64, never);
    number(f, "mean", t->n_tokens ? (double)sum / t->n_tokens : 0.0);
    fputc('}', f);
}

static void write_independence(const struct mn_depth_trace *t, FILE *f)
{
    const double n = (double)t->n_tokens * t->n_inits;
    double sum = 0.0, largest = 0.0;
    uint32_t n_same = 0;
    for (uint32_t i = 0; i < t->n_tokens; i++)
        for (uint32_t m = 0; m < t->n_inits; m++) {
            const size_t at = (size_t)i * t->init_stride + m;
            sum += t->distance[at];
            largest = fmax(largest, t->distance[at]);
            n_same += t->init_top1[at] == t->steps[(size_t)i * t->n_steps + t->n_steps - 1].top1;
        }
    fprintf(f, ",\"path_independence\":{\"inits\":%" PRIu32, t->n_inits);
    number(f, "mean_distance", n > 0.0 ? sum / n : 0.0);
    number(f, "largest_distance", largest);
    number(f, "top1_agreement", n > 0.0 ? n_same / n : 0.0);
    fputc('}', f);
}

static void write_summary(const struct trace_report *r, const char *id, FILE *f)
{
    const struct mn_depth_trace *t = r->trace;
    const uint32_t n_prompt = t->n_tokens < t->n_prompt ? t->n_tokens : t->n_prompt;
    write_beginning(r, f, "trace_summary", id, "summary", 0);
    fprintf(f,
            ",\"tokens\":%" PRIu32 ",\"prompt_tokens\":%" PRIu32 ",\"generated_tokens\":%" PRIu32
            ",\"ended_by_eos\":%s,\"interrupted\":%s",
            t->n_tokens, n_prompt, t->n_tokens - n_prompt, t->ended_by_eos ? "true" : "false",
            r->interrupted ? "true" : "false");
    fputs(",\"classes\":{", f);
    for (int kind = 0; kind < MN_TERMINAL_COUNT; kind++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < t->n_tokens; i++)
            n += (int)t->tokens[i].terminal.kind == kind;
        key(f, mn_terminal_name((enum mn_terminal_kind)kind), kind == 0);
        fprintf(f, "%" PRIu32, n);
    }
    fputs("},\"exits\":{", f);
    for (int c = MN_EXIT_LATENT_DIFF; c < r->trace->exits_end; c++)
        write_histogram(t, (enum mn_exit_criterion)c, f);
    fprintf(f, "},\"pca\":{\"components\":%" PRIu32 ",\"explained\":[", t->n_components);
    double all = 0.0;
    for (uint32_t i = 0; i < t->n_components; i++) {
        const double part = t->total_variance > 0.0 ? t->variance[i] / t->total_variance : 0.0;
        fputs(i ? "," : "", f);
        json_write_double(f, part);
        all += part;
    }
    fprintf(f, "],\"iterations\":%" PRIu32, t->n_iterations);
    number(f, "explained_together", all);
    number(f, "residual", t->residual);
    fputc('}', f);
    if (r->params->n_inits)
        write_independence(t, f);
    if (t->n_readouts) {
        write_readout_steps(r, t->n_readouts, f);
        fputs(",\"readouts\":{\"top1_is_final\":{", f);
        write_readouts(t, NULL, f);
        fputc('}', f);
    }
    fputs("}\n", f);
}

enum mn_status trace_write_records(const struct trace_report *r, FILE *f, const struct mn_log *log)
{
    enum mn_status status = MN_OK;
    char id[HASH_TEXT_BYTES];
    write_id(r, id);
    write_header(r, id, f);
    for (uint32_t i = 0; i < r->trace->n_tokens && !status; i++)
        status = write_token(r, id, i, f, log);
    if (!status)
        write_summary(r, id, f);
    return status;
}

/* ---- the table ---- */

/* Text of a token inside a cell: quoted as in JSON, so that blanks show; what ends a cell or opens markup is
 * escaped. */
static enum mn_status write_cell(const struct trace_report *r, uint32_t id, FILE *f, const struct mn_log *log)
{
    char *quoted = NULL;
    size_t n;
    FILE *memory = memory_open(&quoted, &n);
    enum mn_status status = memory ? cli_write_token(memory, r->decoder, id, log) : MN_ERR_MEMORY;
    if (memory && !memory_close(memory, &quoted, &n))
        status = MN_ERR_MEMORY;
    for (size_t i = 0; i < n && !status; i++) {
        if (strchr("\\|<>&`*_[]", quoted[i]))
            fputc('\\', f);
        fputc(quoted[i], f);
    }
    free(quoted);
    return status;
}

enum mn_status trace_write_table(const struct trace_report *r, FILE *f, const struct mn_log *log)
{
    const struct mn_depth_trace *t = r->trace;
    enum mn_status status = MN_OK;
    fputs("| position | token ", f);
    for (int c = MN_EXIT_LATENT_DIFF; c < r->trace->exits_end; c++)
        fprintf(f, "| %s ", mn_exit_name((enum mn_exit_criterion)c));
    fputs("| ends as | last change | next token |\n|---:|---", f);
    for (int c = MN_EXIT_LATENT_DIFF; c < r->trace->exits_end; c++)
        fputs("|---:", f);
    fputs("|---|---:|---|\n", f);
    for (uint32_t i = 0; i < t->n_tokens && !status; i++) {
        const struct mn_depth_token *token = &t->tokens[i];
        const struct mn_depth_step *last = &t->steps[(size_t)i * t->n_steps + t->n_steps - 1];
        fprintf(f, "| %" PRIu32 "%s | ", i, token->generated ? " new" : "");
        status = write_cell(r, token->id, f, log);
        for (int c = MN_EXIT_LATENT_DIFF; c < r->trace->exits_end; c++) {
            if (token->exits[c])
                fprintf(f, " | %" PRIu32, token->exits[c]);
            else
                fputs(" | -", f);
        }
        fprintf(f, " | %s", mn_terminal_name(token->terminal.kind));
        if (token->terminal.period)
            fprintf(f, " of %" PRIu32, token->terminal.period);
        fprintf(f, " | %.3g | ", last->change);
        if (!status)
            status = write_cell(r, last->top1, f, log);
        fputs(" |\n", f);
    }
    return status;
}
