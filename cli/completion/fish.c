/* fish: a line for each command and option. */
#include <stdbool.h>

#include "cli/completion/completion.h"

/* Inside single quotes. */
static void write_text(const char *text, FILE *stream)
{
    for (; *text; text++)
        fprintf(stream, *text == '\'' || *text == '\\' ? "\\%c" : "%c", *text);
}

static void write_option(const struct command *command, const struct command_option *option, FILE *stream)
{
    char words[VALUE_WORDS_BYTES];
    const enum value_kind kind = option_value_kind(option, words);
    fprintf(stream, "complete -c muninn -n '__muninn_command %s' -l %s", command->name, option->name);
    if (option->letter)
        fprintf(stream, " -s %c", option->letter);
    switch (kind) {
    case VALUE_NONE: break;
    case VALUE_WORDS: fprintf(stream, " -x -a '%s'", words); break;
    case VALUE_LIST: fprintf(stream, " -x -a '(__fish_append , %s)'", words); break;
    case VALUE_FILE: fputs(" -r -F", stream); break;
    case VALUE_DIR: fputs(" -x -a '(__fish_complete_directories)'", stream); break;
    case VALUE_OTHER: fputs(" -x", stream); break;
    }
    fputs(" -d '", stream);
    write_text(option->help, stream);
    fputs("'\n", stream);
}

static void write_command(const struct command *const *commands, const struct command *command, FILE *stream)
{
    const struct command_option *option;
    fprintf(stream, "complete -c muninn -n __muninn_first -a %s -d '", command->name);
    write_text(command->summary, stream);
    fputs("'\n", stream);
    for (size_t i = 0; (option = option_at(command, i)); i++)
        if (option->kind != OPTION_GROUP)
            write_option(command, option, stream);
    if (command->operand_choices) {
        fprintf(stream, "complete -c muninn -n '__muninn_command %s' -a '", command->name);
        write_operands(commands, command, stream);
        fputs("'\n", stream);
    } else if (command->takes_operands) {
        fprintf(stream, "complete -c muninn -n '__muninn_command %s' -F\n", command->name);
    }
}

void write_fish(const struct command *const *commands, FILE *stream)
{
    fputs("# fish completion of muninn, made by `muninn completion fish`\n"
          "function __muninn_first\n"
          "    test (count (commandline -opc)) -eq 1\n"
          "end\n"
          "function __muninn_command\n"
          "    set -l words (commandline -opc)\n"
          "    test (count $words) -ge 2; and contains -- $words[2] $argv\n"
          "end\n"
          "complete -c muninn -f\n"
          "complete -c muninn -n __muninn_first -l help -s h -d 'the commands'\n"
          "complete -c muninn -n __muninn_first -l version -d 'the version'\n"
          "complete -c muninn -n __muninn_first -a help -d 'Shows the options of a command.'\n"
          "complete -c muninn -n '__muninn_command help' -a '",
          stream);
    write_command_names(commands, stream);
    fputs("'\n", stream);
    for (size_t i = 0; commands[i]; i++)
        write_command(commands, commands[i], stream);
}
