/* muninn completion: scripts that complete commands, options and their values, from the option tables. */
#include "cli/completion/completion.h"

#include <string.h>

#include "cli/commands.h"

struct completion_options {
    struct operand_list shell;
};

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct completion_options *options = values;
    static void (*const write_script[])(const struct command *const *, FILE *) = {write_bash, write_zsh, write_fish};
    static const char *const shells[] = {"bash", "zsh", "fish"};
    if (options->shell.n != 1)
        return log_fail(log, MN_ERR_USAGE, "one shell is needed: bash, zsh or fish");
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (!strcmp(options->shell.items[0], shells[i])) {
            write_script[i](all_commands, stdout);
            return MN_OK;
        }
    return log_fail(log, MN_ERR_USAGE, "no script for '%s': must be one of bash, zsh and fish",
                    options->shell.items[0]);
}

const struct command command_completion = {
    .name = "completion",
    .summary = "Prints a script with which a shell completes muninn's commands, options and values.",
    .synopsis = "bash|zsh|fish",
    .example = "muninn completion bash >~/.local/share/bash-completion/completions/muninn",
    .notes = "`cmake --install` puts the scripts where the shells look for them. By hand: `source <(muninn completion "
             "bash)`, a file _muninn in a folder of\n"
             "zsh's $fpath, or ~/.config/fish/completions/muninn.fish.",
    .values_bytes = sizeof(struct completion_options),
    .takes_operands = true,
    .operand_choices = "bash|zsh|fish",
    .operands_offset = offsetof(struct completion_options, shell),
    .run = run};
