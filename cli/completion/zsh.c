/* zsh: a function for _arguments, which knows options by their specifications. */
#include "cli/completion/completion.h"

/* Inside single quotes, and inside [...] or before a colon of a specification. */
static void write_text(const char *text, FILE *stream)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", stream);
        else if (*text == '[' || *text == ']' || *text == ':' || *text == '\\')
            fprintf(stream, "\\%c", *text);
        else
            fputc(*text, stream);
    }
}

static void write_value(const struct command_option *option, FILE *stream)
{
    char words[VALUE_WORDS_BYTES];
    const enum value_kind kind = option_value_kind(option, words);
    if (kind == VALUE_NONE)
        return;
    fputc(':', stream);
    write_text(option->argument ? option->argument : option->name, stream);
    switch (kind) {
    case VALUE_WORDS: fprintf(stream, ":(%s)", words); break;
    case VALUE_LIST: fprintf(stream, ":_values -s , %s %s", option->name, words); break;
    case VALUE_FILE: fputs(":_files", stream); break;
    case VALUE_DIR: fputs(":_files -/", stream); break;
    case VALUE_OTHER:
    case VALUE_NONE: fputs(": ", stream); break;
    }
}

static void write_option(const struct command_option *option, FILE *stream)
{
    fputs(" \\\n            ", stream);
    if (option->kind == OPTION_LIST)
        fputs("'*'", stream);
    else if (option->letter)
        fprintf(stream, "'(-%c --%s)'", option->letter, option->name);
    if (option->letter)
        fprintf(stream, "{-%c,--%s}'[", option->letter, option->name);
    else
        fprintf(stream, "'--%s[", option->name);
    write_text(option->help, stream);
    fputc(']', stream);
    write_value(option, stream);
    fputc('\'', stream);
}

static void write_command(const struct command *const *commands, const struct command *command, FILE *stream)
{
    const struct command_option *option;
    fprintf(stream, "    %s)\n        _arguments -s -S :", command->name);
    for (size_t i = 0; (option = option_at(command, i)); i++)
        if (option->kind != OPTION_GROUP)
            write_option(option, stream);
    if (command->operand_choices) {
        fputs(" \\\n            '1: :(", stream);
        write_operands(commands, command, stream);
        fputs(")'", stream);
    } else if (command->takes_operands) {
        fputs(" \\\n            '*:file:_files'", stream);
    }
    fputs(" ;;\n", stream);
}

void write_zsh(const struct command *const *commands, FILE *stream)
{
    fputs("#compdef muninn\n"
          "# zsh completion of muninn, made by `muninn completion zsh`\n"
          "_muninn() {\n"
          "    local -a commands\n"
          "    commands=(\n",
          stream);
    for (size_t i = 0; commands[i]; i++) {
        fprintf(stream, "        '%s:", commands[i]->name);
        write_text(commands[i]->summary, stream);
        fputs("'\n", stream);
    }
    fputs("        'help:Shows the options of a command.'\n"
          "    )\n"
          "    if (( CURRENT == 2 )); then\n"
          "        _describe -t commands command commands\n"
          "        compadd -- --help --version\n"
          "        return\n"
          "    fi\n"
          "    (( CURRENT-- ))\n"
          "    shift words\n"
          "    case $words[1] in\n"
          "    help) (( CURRENT == 2 )) && _describe -t commands command commands ;;\n",
          stream);
    for (size_t i = 0; commands[i]; i++)
        write_command(commands, commands[i], stream);
    fputs("    esac\n"
          "}\n"
          "if [ \"$funcstack[1]\" = _muninn ]; then\n"
          "    _muninn \"$@\"\n"
          "else\n"
          "    compdef _muninn muninn\n"
          "fi\n",
          stream);
}
