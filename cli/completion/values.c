/* What can be proposed for an option's value. */
#include <string.h>

#include "bench/rows/lists.h"
#include "cli/common/option_values.h"
#include "cli/completion/completion.h"

static void copy_words(const char *choices, char *words)
{
    size_t n = 0;
    for (; choices[n] && n + 1 < VALUE_WORDS_BYTES; n++)
        words[n] = choices[n] == '|' ? ' ' : choices[n];
    words[n] = '\0';
}

enum value_kind option_value_kind(const struct command_option *option, char *words)
{
    char made[CHOICES_BYTES];
    const char *choices = option_choices(option, made, sizeof made);
    const char *argument = option->argument ? option->argument : "";
    *words = '\0';
    if (choices)
        copy_words(choices, words);
    if (option->kind == OPTION_FLAG)
        return VALUE_NONE;
    if (option->kind == OPTION_CHOICE)
        return VALUE_WORDS;
    if (choices)
        return VALUE_LIST;
    if (!strncmp(argument, "FILE", 4))
        return VALUE_FILE;
    return strcmp(argument, "DIR") ? VALUE_OTHER : VALUE_DIR;
}

void write_command_names(const struct command *const *commands, FILE *stream)
{
    for (size_t i = 0; commands[i]; i++)
        fprintf(stream, "%s ", commands[i]->name);
    fputs("help", stream);
}

void write_operands(const struct command *const *commands, const struct command *command, FILE *stream)
{
    if (!strcmp(command->operand_choices, "COMMAND"))
        write_command_names(commands, stream);
    else
        for (const char *c = command->operand_choices; *c; c++)
            fputc(*c == '|' ? ' ' : *c, stream);
}
