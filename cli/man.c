/* muninn man: manual pages, from the option tables. */
#include <ctype.h>
#include <string.h>

#include "bench/rows/nearest.h"
#include "cli/commands.h"
#include "cli/common/help.h"
#include "cli/common/option_values.h"

struct man_options {
    struct operand_list command;
};

/* ---- text as roff ---- */

/* A dash stays one that can be copied, and quotes stay straight. A line does not begin with a request. */
static void roff_char(char c, bool begins)
{
    if (begins && (c == '.' || c == '\''))
        fputs("\\&", stdout);
    switch (c) {
    case '\\': fputs("\\e", stdout); break;
    case '-': fputs("\\-", stdout); break;
    case '`': fputs("\\(ga", stdout); break;
    case '\'': fputs("\\(aq", stdout); break;
    case '"': fputs("\\(dq", stdout); break;
    case '^': fputs("\\(ha", stdout); break;
    case '~': fputs("\\(ti", stdout); break;
    default: putchar(c);
    }
}

static void roff_text(const char *text)
{
    for (const char *at = text; *at; at++)
        roff_char(*at, at == text);
}

/* Paragraphs end at empty lines; lines that begin with blanks stay as they are. */
static void roff_notes(const char *text)
{
    bool table = false;
    for (const char *at = text; *at; at += *at == '\n') {
        const size_t n = strcspn(at, "\n");
        if (table != (*at == ' '))
            puts(table ? ".fi" : ".nf");
        table = *at == ' ';
        if (n == 0)
            puts(".PP");
        for (size_t i = 0; i < n; i++)
            roff_char(at[i], i == 0);
        if (n)
            putchar('\n');
        at += n;
    }
    if (table)
        puts(".fi");
}

static void header(const char *command, const char *summary)
{
    fputs(".TH MUNINN", stdout);
    for (const char *c = command; *c; c++)
        c == command ? printf("\\-%c", toupper((unsigned char)*c)) : putchar(toupper((unsigned char)*c));
    fputs(" 1 \"\" \"muninn " MN_VERSION "\" \"Muninn\"\n.SH NAME\nmuninn", stdout);
    printf("%s%s \\- ", *command ? "\\-" : "", command);
    putchar(tolower((unsigned char)*summary)); /* a summary is a sentence, this is half a line */
    for (const char *c = summary + 1; *c; c++)
        if (c[1] || *c != '.')
            roff_char(*c, false);
    putchar('\n');
}

static void example(const char *line)
{
    puts(".SH EXAMPLES\n.nf");
    roff_text(line);
    puts("\n.fi");
}

/* ---- a command's page ---- */

static void write_option(const struct command_option *option)
{
    char names[CHOICES_BYTES];
    const char *argument = option->argument ? option->argument : option_choices(option, names, sizeof names);
    fputs(".TP\n", stdout);
    if (option->letter)
        printf("\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", stdout);
    roff_text(option->name);
    fputs("\\fR", stdout);
    if (argument) {
        fputs(" \\fI", stdout);
        roff_text(argument);
        fputs("\\fR", stdout);
    }
    putchar('\n');
    roff_text(option->help);
    if (strcmp(option->name, "help") != 0) {
        fputs(" [default: ", stdout);
        roff_text(option_shown(option));
        putchar(']');
    }
    putchar('\n');
}

static void write_strategies(void)
{
    const struct mn_strategy *strategy;
    puts(".RS");
    for (uint32_t i = 0; (strategy = mn_strategy_at(i)); i++) {
        fputs(".TP\n\\fB", stdout);
        roff_text(strategy->name);
        fputs("\\fR\n", stdout);
        roff_text(strategy->help);
        if (strategy->usual_inflight)
            printf("; W is %u unless given", strategy->usual_inflight);
        putchar('\n');
    }
    puts(".RE");
}

static void write_command_page(const struct command *command)
{
    const struct command_option *option;
    header(command->name, command->summary);
    printf(".SH SYNOPSIS\n\\fBmuninn %s\\fR ", command->name);
    roff_text(command->synopsis);
    puts("\n.SH OPTIONS");
    for (size_t i = 0; (option = option_at(command, i)); i++) {
        if (option->kind == OPTION_GROUP) {
            fputs(".SS ", stdout);
            roff_text(option->help);
            putchar('\n');
            continue;
        }
        write_option(option);
        if (option->strategies)
            write_strategies();
    }
    if (command->notes) {
        puts(".SH NOTES");
        roff_notes(command->notes);
    }
    puts(".SH EXIT STATUS");
    roff_notes(EXIT_CODES);
    example(command->example);
    puts(".SH SEE ALSO\n.BR muninn (1)");
}

/* ---- the page of them all ---- */

static void write_overview(void)
{
    header("", OVERVIEW_SUMMARY);
    puts(".SH SYNOPSIS\n\\fBmuninn\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n.SH COMMANDS");
    for (size_t i = 0; all_commands[i]; i++) {
        fputs(".TP\n", stdout);
        printf("\\fB%s\\fR, \\fBmuninn\\-%s\\fR(1)\n", all_commands[i]->name, all_commands[i]->name);
        roff_text(all_commands[i]->summary);
        putchar('\n');
    }
    puts(".TP\n\\fBhelp\\fR\nShows the commands, or the options of one.\n"
         ".SH OPTIONS\n"
         ".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nThe commands.\n"
         ".TP\n\\fB\\-\\-version\\fR\nThe version, with commit, compiler and Vulkan headers.\n"
         ".SH ENVIRONMENT\n"
         ".TP\n\\fBMUNINN_MODEL\\fR\nThe model folder where \\fB\\-m\\fR names none.\n"
         ".TP\n\\fBXDG_CACHE_HOME\\fR, \\fBHOME\\fR\nWhat passes cost here is kept in "
         "\\fI$XDG_CACHE_HOME/muninn\\fR, else in \\fI~/.cache/muninn\\fR.\n"
         ".TP\n\\fBVK_DRIVER_FILES\\fR, \\fBVK_ICD_FILENAMES\\fR\nThe Vulkan loader's: which drivers it sees.\n"
         ".SH EXIT STATUS");
    roff_notes(EXIT_CODES);
    example(OVERVIEW_EXAMPLE);
    fputs(".SH SEE ALSO\n", stdout);
    for (size_t i = 0; all_commands[i]; i++)
        printf(".BR muninn\\-%s (1)%s\n", all_commands[i]->name, all_commands[i + 1] ? "," : "");
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct man_options *options = values;
    char hint[NEAREST_HINT_BYTES];
    if (options->command.n > 1)
        return log_fail(log, MN_ERR_USAGE, "unexpected argument '%s'; see `muninn man --help`",
                        options->command.items[1]);
    if (options->command.n == 0) {
        write_overview();
        return MN_OK;
    }
    struct nearest nearest = {.word = options->command.items[0]};
    for (size_t i = 0; all_commands[i]; i++) {
        if (!strcmp(all_commands[i]->name, nearest.word)) {
            write_command_page(all_commands[i]);
            return MN_OK;
        }
        nearest_offer(&nearest, all_commands[i]->name, strlen(all_commands[i]->name));
    }
    return log_fail(log, MN_ERR_USAGE, "unknown command '%s'%s; `muninn help` lists them", nearest.word,
                    nearest_hint(&nearest, "", hint));
}

const struct command command_man = {
    .name = "man",
    .summary = "Prints the manual page of muninn or of a command.",
    .synopsis = "[COMMAND]",
    .example = "muninn man generate | man -l -",
    .notes = "The pages are roff with the man macros; `cmake --install` puts them where man finds them.",
    .values_bytes = sizeof(struct man_options),
    .takes_operands = true,
    .operand_choices = "COMMAND",
    .operands_offset = offsetof(struct man_options, command),
    .run = run};
