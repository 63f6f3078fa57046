#include "cli/common/output.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common/interrupt.h"
#include "cli/common/process.h"
#include "cli/common/progress.h"
#include "cli/common/talk.h"
#include "engine/base/text.h"
#include "engine/files/json.h"

enum mn_status cli_flush(const struct mn_log *log)
{
    /* A failure stays on the stream after it is reported here: report it once. */
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) == 0 && !failed)
        return MN_OK;
    if (errno == EPIPE || process_reader_is_gone()) {
        cli_interrupt_closed_pipe();
        return MN_ERR_INTERRUPTED;
    }
    return log_fail(log, MN_ERR_RUN, "cannot write to standard output%s%s", errno ? ": " : "",
                    errno ? strerror(errno) : "");
}

void cli_banner(const char *banner)
{
    FILE *notes = cli_notes();
    if (cli_is_verbose()) /* said when the model was opened */
        return;
    fputs("muninn: ", notes);
    text_puts(notes, banner);
    fputc('\n', notes);
}

void cli_json_key(const char *key, bool first)
{
    printf("%s\"%s\":", first ? "" : ",", key);
}

void cli_json_string(const char *key, const char *text, bool first)
{
    cli_json_key(key, first);
    json_write_name(stdout, text);
}

void cli_json_u64(const char *key, uint64_t value, bool first)
{
    cli_json_key(key, first);
    printf("%" PRIu64, value);
}

void cli_json_double(const char *key, double value, bool first)
{
    cli_json_key(key, first);
    json_write_double(stdout, isfinite(value) ? value : 0.0);
}

void cli_json_float(const char *key, float value, bool first)
{
    cli_json_key(key, first);
    json_write_float(stdout, isfinite(value) ? value : 0.0f);
}

void cli_json_bool(const char *key, bool value, bool first)
{
    cli_json_key(key, first);
    fputs(value ? "true" : "false", stdout);
}

void cli_json_ids(const char *key, const uint32_t *ids, size_t n_ids, bool first)
{
    cli_json_key(key, first);
    putchar('[');
    for (size_t i = 0; i < n_ids; i++)
        printf("%s%" PRIu32, i ? "," : "", ids[i]);
    putchar(']');
}

enum { REPLACEMENT_BYTES = 3 }; /* of U+FFFD */

enum mn_status cli_write_token(FILE *out, struct mn_stream_decoder *decoder, uint32_t id, const struct mn_log *log)
{
    const char *text, *rest;
    char *whole;
    size_t n = 0, n_rest = 0;
    if (!decoder || mn_stream_decoder_push(decoder, id, &text, &n)) {
        json_write_string(out, "", 0);
        return MN_OK;
    }
    if (!(whole = malloc(n + REPLACEMENT_BYTES)))
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for the text of a token");
    memcpy(whole, text, n);
    enum mn_status status = mn_stream_decoder_finish(decoder, &rest, &n_rest);
    if (!status) {
        memcpy(whole + n, rest, n_rest);
        json_write_string(out, whole, n + n_rest);
    }
    free(whole);
    return status;
}
