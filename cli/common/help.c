#include "cli/common/help.h"

#include <string.h>

#include "cli/common/option_values.h"

static void print_strategies(FILE *stream)
{
    const struct mn_strategy *strategy;
    for (uint32_t i = 0; (strategy = mn_strategy_at(i)); i++) {
        fprintf(stream, "  %-34s   %-12s  %s", "", strategy->name, strategy->help);
        if (strategy->usual_inflight)
            fprintf(stream, "; W is %u unless given", strategy->usual_inflight);
        fputc('\n', stream);
    }
}

const char *option_shown(const struct command_option *option)
{
    return option->shown ? option->shown : option->value ? option->value : option->kind == OPTION_FLAG ? "off" : "none";
}

static void print_option(const struct command_option *option, FILE *stream)
{
    char names[CHOICES_BYTES], left[CHOICES_BYTES + 64];
    const char *choices = option->argument ? option->argument : option_choices(option, names, sizeof names);
    snprintf(left, sizeof left, "%c%c%s --%s %s", option->letter ? '-' : ' ', option->letter ? option->letter : ' ',
             option->letter ? "," : " ", option->name, choices ? choices : "");
    fprintf(stream, "  %-34s %s", left, option->help);
    if (strcmp(option->name, "help") != 0)
        fprintf(stream, " [default: %s]", option_shown(option));
    fputc('\n', stream);
    if (option->strategies)
        print_strategies(stream);
}

void print_help(const struct command *command, FILE *stream)
{
    const struct command_option *option;
    fprintf(stream, "%s\n\nUsage: muninn %s%s%s\n", command->summary, command->name, *command->synopsis ? " " : "",
            command->synopsis);
    if (option_at(command, 0)->kind != OPTION_GROUP)
        fputs("\nOptions:\n", stream);
    for (size_t i = 0; (option = option_at(command, i)); i++) {
        if (option->kind == OPTION_GROUP)
            fprintf(stream, "\n%s:\n", option->help);
        else
            print_option(option, stream);
    }
    if (command->notes)
        fprintf(stream, "\n%s\n", command->notes);
    fprintf(stream, "\nExample:\n  %s\n", command->example);
}
