/* muninn quantize: a model folder in 8 or 4 bits. */
#include "cli/commands.h"
#include "cli/common/interrupt.h"
#include "cli/common/paths.h"
#include "cli/common/progress.h"
#include "cli/common/talk.h"

struct quantize_options {
    const char *model, *output, *weight_type;
};

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct quantize_options *o = values;
    char dir[CLI_PATH_BYTES];
    struct mn_quantized made;
    if (!o->output || !o->weight_type)
        return log_fail(log, MN_ERR_USAGE, "%s is missing", o->output ? "--weight-type T" : "--output DIR");
    cli_catch_interrupt();
    enum mn_status status = cli_model_dir(o->model, dir, log);
    if (!status)
        status = mn_quantize(&(struct mn_quantize_params){.model_dir = dir,
                                                          .out_dir = o->output,
                                                          .weight_type = o->weight_type,
                                                          .log = log,
                                                          .progress = cli_progress()},
                             &made);
    if (!status)
        fprintf(cli_notes(), "%s: %.2f MB of %.2f MB, %u matrices as %s%s\n", o->output,
                (double)made.written_bytes / 1e6, (double)made.read_bytes / 1e6, (unsigned)made.n_quantized,
                o->weight_type, made.n_kept ? ", those whose rows are no whole groups of 32 as they were" : "");
    return status;
}

static const struct command_option table[] = {
    MODEL_OPTION(offsetof(struct quantize_options, model)),
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .offset = offsetof(struct quantize_options, output),
     .argument = "DIR",
     .help = "folder to make; it must not be there, or be empty"},
    {.name = "weight-type",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct quantize_options, weight_type),
     .choice_at = mn_weight_type_at,
     .check = mn_weight_type_check,
     .help = "q8_0, q4_1, or TYPE+GROUP=TYPE, docs/quantisation.md"},
};

const struct command command_quantize = {
    .name = "quantize",
    .summary = "Writes a model folder in 8 or 4 bits, which loads as it is.",
    .synopsis = "[-m DIR] -o DIR --weight-type T",
    .example = "muninn quantize -m huginn -o huginn-q4 --weight-type q4_1",
    .notes = "The folder's logits and tokens have the bits of --weight-type T on the original. Everything in it is "
             "copied but folders, hidden files and weights of other formats. It is written beside its place and "
             "renamed: a run that is interrupted or fails leaves nothing. Needs no device.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct quantize_options),
    .run = run};
