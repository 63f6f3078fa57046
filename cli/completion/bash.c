/* bash: one function. The word before the one that is completed decides; "--option=value" comes as three words. */
#include "cli/completion/completion.h"

static void write_names(const struct command_option *option, FILE *stream)
{
    if (option->letter)
        fprintf(stream, "-%c|", option->letter);
    fprintf(stream, "--%s) ", option->name);
}

/* A case for each option with a value, then the options themselves. */
static void write_command(const struct command *const *commands, const struct command *command, FILE *stream)
{
    static const char *const what[] = {
        [VALUE_FILE] = "kind=file", [VALUE_DIR] = "kind=folder", [VALUE_OTHER] = "kind=other"};
    const struct command_option *option;
    char words[VALUE_WORDS_BYTES];
    fprintf(stream, "    %s)\n        case $before in\n", command->name);
    for (size_t i = 0; (option = option_at(command, i)); i++) {
        const enum value_kind kind = option->kind == OPTION_GROUP ? VALUE_NONE : option_value_kind(option, words);
        if (kind == VALUE_NONE)
            continue;
        fputs("        ", stream);
        write_names(option, stream);
        if (kind == VALUE_WORDS || kind == VALUE_LIST)
            fprintf(stream, "kind=%s words='%s' ;;\n", kind == VALUE_LIST ? "list" : "words", words);
        else
            fprintf(stream, "%s ;;\n", what[kind]);
    }
    fputs("        *) words='", stream);
    for (size_t i = 0; (option = option_at(command, i)); i++)
        if (option->kind != OPTION_GROUP)
            fprintf(stream, "--%s ", option->name);
    fputs("'", stream);
    if (command->operand_choices) {
        fputs(" operands='", stream);
        write_operands(commands, command, stream);
        fputs("'", stream);
    } else if (command->takes_operands) {
        fputs(" operands=file", stream);
    }
    fputs(" ;;\n        esac ;;\n", stream);
}

void write_bash(const struct command *const *commands, FILE *stream)
{
    fputs("# bash completion of muninn, made by `muninn completion bash`\n"
          "_muninn()\n"
          "{\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}\n"
          "    local kind=words words= operands= start= IFS=$' \\t\\n'\n"
          "    COMPREPLY=()\n"
          "    if [ \"$before\" = = ]; then\n"
          "        before=${COMP_WORDS[COMP_CWORD - 2]}\n"
          "    elif [ \"$word\" = = ]; then\n"
          "        word=\n"
          "    fi\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        command=\n"
          "    fi\n"
          "    case $command in\n"
          "    '') words='",
          stream);
    write_command_names(commands, stream);
    fputs(" --help --version' ;;\n    help) words='", stream);
    write_command_names(commands, stream);
    fputs("' ;;\n", stream);
    for (size_t i = 0; commands[i]; i++)
        write_command(commands, commands[i], stream);
    fputs("    esac\n"
          "    if [ -n \"$operands\" ] && [ \"${word:0:1}\" != - ]; then\n"
          "        if [ \"$operands\" = file ]; then kind=file; else words=$operands; fi\n"
          "    fi\n"
          "    case $kind in\n"
          "    list) start=${word%\"${word##*,}\"} ;;\n"
          "    other) return ;;\n"
          "    esac\n"
          "    case $kind in\n"
          "    file|folder)\n"
          "        IFS=$'\\n'\n"
          "        if [ $kind = file ]; then COMPREPLY=($(compgen -f -- \"$word\"))\n"
          "        else COMPREPLY=($(compgen -d -- \"$word\")); fi\n"
          "        compopt -o filenames 2>/dev/null ;;\n"
          "    *) COMPREPLY=($(compgen -P \"$start\" -W \"$words\" -- \"${word##*,}\")) ;;\n"
          "    esac\n"
          "    return 0\n"
          "}\n"
          "complete -F _muninn muninn\n",
          stream);
}
