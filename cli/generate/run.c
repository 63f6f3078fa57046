/* One sequence on the command line: its prompt as ids, its tokens on their way out. Shared by single runs and
 * batches. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/generate/generate.h"

/* ---- the prompt ---- */

static enum mn_status encode_chat(struct generate_run *run, const char *text, size_t n_bytes)
{
    if (strlen(text) != n_bytes)
        return log_fail(run->log, MN_ERR_FORMAT, "%s: a zero byte at offset %zu: not possible with --chat",
                        run->options->file, strlen(text));
    const char *system = run->options->system;
    const struct mn_chat_message messages[] = {{"system", system, system ? strlen(system) : 0},
                                               {"user", text, n_bytes}};
    enum mn_status status = mn_chat(run->engine, messages + !system, 1 + (system != NULL), &run->prompt,
                                    &run->n_prompt);
    if (!status && run->n_prompt > IDS_MAX)
        status = log_fail(run->log, MN_ERR_USAGE, "a prompt of %zu tokens; at most %d", run->n_prompt, IDS_MAX);
    return status;
}

enum mn_status run_take_text(struct generate_run *run, const char *text, size_t n_bytes)
{
    return run->options->chat ? encode_chat(run, text, n_bytes)
                              : cli_encode_prompt(run->engine, text, n_bytes, !run->options->no_bos, &run->prompt,
                                                  &run->n_prompt, run->log);
}

enum mn_status run_take_ids(struct generate_run *run, const struct id_list *ids)
{
    enum mn_status status = cli_check_ids(ids->ids, ids->n, run->info.shape.vocab_size, run->log);
    if (status)
        return status;
    run->prompt = malloc(ids->n * sizeof *run->prompt);
    if (!run->prompt)
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " prompt ids", ids->n);
    memcpy(run->prompt, ids->ids, ids->n * sizeof *run->prompt);
    run->n_prompt = ids->n;
    return MN_OK;
}

/* ---- tokens on their way out ---- */

static void note_end(struct generate_run *run, uint32_t token)
{
    for (uint32_t i = 0; !run->options->ignore_eos && i < run->info.n_eos; i++)
        run->ended_by_eos |= token == run->info.eos_token_ids[i];
}

int run_on_token(void *user, uint32_t token)
{
    struct generate_run *run = user;
    const char *text = "";
    size_t n_bytes = 0;
    if (run->n_tokens == 0 && !run->in_batch) /* not earlier: a run that is refused prints its reason only */
        report_banner(run);
    if (run->n_tokens == 0 && run->trace)
        report_trace_prompt(run, token);
    run->tokens[run->n_tokens++] = token;
    note_end(run, token);
    /* A vocabulary may have ids that the tokenizer does not know; they have no text. */
    if (run->decoder && mn_stream_decoder_push(run->decoder, token, &text, &n_bytes) == MN_OK)
        run->status = text_out_push(&run->text, text, n_bytes, run->log);
    else if (!run->decoder && !run->collects)
        printf("%s%" PRIu32, run->n_tokens > 1 ? " " : "", token);
    if (!run->status && !run->collects)
        run->status = cli_flush(run->log);
    return run_was_cut(run);
}

enum mn_status run_prepare(struct generate_run *run)
{
    run->tokens = malloc(run->n_new * sizeof *run->tokens);
    if (!run->tokens)
        return log_fail(run->log, MN_ERR_MEMORY, "out of host memory for %" PRIu32 " tokens", run->n_new);
    run->text = (struct text_out){.stops = &run->options->stops, .stream = run->collects ? NULL : stdout};
    if (!run->info.has_tokenizer)
        return run->options->stops.n ? log_fail(run->log, MN_ERR_FILE, "--stop: the model has no tokenizer.json")
                                     : MN_OK;
    return mn_stream_decoder_create(&run->decoder, run->engine, !run->options->special);
}

bool run_was_cut(const struct generate_run *run)
{
    return run->status || run->text.stopped || cli_interrupted();
}

enum mn_status run_finish(struct generate_run *run, enum mn_status status)
{
    const char *text;
    size_t n_bytes;
    if (run->decoder) {
        enum mn_status rest = mn_stream_decoder_finish(run->decoder, &text, &n_bytes);
        if (!rest)
            rest = text_out_push(&run->text, text, n_bytes, run->log);
        status = status ? status : rest;
        text_out_finish(&run->text);
    }
    if (run->collects)
        report_json(run, status);
    else if (!run->decoder || (isatty(STDOUT_FILENO) && run->text.n && run->text.text[run->text.n - 1] != '\n'))
        putchar('\n'); /* elsewhere the output is the text, byte for byte */
    enum mn_status flushed = run->status ? MN_OK : cli_flush(run->log); /* a failed write has been reported by then */
    return status ? status : flushed;
}

void run_free(struct generate_run *run)
{
    text_out_free(&run->text);
    mn_stream_decoder_destroy(run->decoder);
    free(run->tokens);
    free(run->prompt);
    free(run->id);
}
