/* muninn: the subcommand table, help, version, messages, signals. */
#include <stdlib.h>
#include <string.h>

#include "bench/rows/nearest.h"
#include "cli/commands.h"
#include "cli/common/help.h"
#include "cli/common/interrupt.h"
#include "cli/common/output.h"
#include "cli/common/process.h"
#include "cli/common/progress.h"
#include "cli/common/talk.h"
#include "commit.h"
#include "engine/base/clock.h"

#define X(name) &command_##name,
const struct command *const all_commands[] = {COMMANDS(X) NULL};
#undef X

/* Advice is for people: it is left out when stderr is not a terminal. */
static void write_line(void *user, enum mn_log_level level, const char *line)
{
    (void)user;
    if (level == MN_LOG_INFO && !cli_is_watched() && !cli_is_verbose())
        return;
    if (level == MN_LOG_WARN && cli_is_quiet())
        return;
    if (level == MN_LOG_WARN && cli_pipe_is_closed()) /* "interrupted after .." */
        return;
    cli_progress_clear();
    fprintf(stderr, "muninn: %s%s\n", level == MN_LOG_WARN ? "warning: " : "", line);
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; all_commands[i]; i++)
        if (!strcmp(all_commands[i]->name, name))
            return all_commands[i];
    return NULL;
}

static void print_overview(FILE *stream)
{
    fputs("muninn " MN_VERSION ": " OVERVIEW_SUMMARY "\n\nUsage: muninn COMMAND [OPTIONS]\n\nCommands:\n", stream);
    for (size_t i = 0; all_commands[i]; i++)
        fprintf(stream, "  %-10s %s\n", all_commands[i]->name, all_commands[i]->summary);
    fputs("  help       Shows this text, or the options of a command: muninn help generate\n\n"
          "Options:\n"
          "  -h, --help   this text\n"
          "  --version    the version, with commit, compiler and Vulkan headers\n\n"
          "Exit codes: " EXIT_CODES "\n\nExample:\n  " OVERVIEW_EXAMPLE "\n",
          stream);
}

static void print_version(void)
{
    puts("muninn " MN_VERSION "\n"
         "commit          " MUNINN_COMMIT "\n"
         "build           " MUNINN_BUILD "\n"
         "Vulkan headers  " MUNINN_VULKAN_HEADERS);
}

static enum mn_status run_command(const struct command *command, int argc, char **argv, const struct mn_log *log)
{
    struct common_options common;
    const double started = clock_s();
    void *values = calloc(1, command->values_bytes);
    if (!values)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for options");
    enum mn_status status = options_parse(command, argc, argv, values, &common, log);
    if (!status && common.help)
        print_help(command, stdout);
    else if (!status)
        status = cli_talk(common.quiet, common.verbose, log);
    if (!status && !common.help) {
        status = command->run(values, log);
        cli_detail("%s: %.2f s in all", command->name, clock_s() - started);
    }
    options_free(command, values);
    free(values);
    return status;
}

static enum mn_status unknown_command(const char *name, const struct mn_log *log)
{
    struct nearest nearest = {.word = name};
    char hint[NEAREST_HINT_BYTES];
    if (*name == '-')
        return log_fail(log, MN_ERR_USAGE, "option '%s' without a command before it; `muninn help` lists them", name);
    for (size_t i = 0; all_commands[i]; i++)
        nearest_offer(&nearest, all_commands[i]->name, strlen(all_commands[i]->name));
    nearest_offer(&nearest, "help", 4);
    return log_fail(log, MN_ERR_USAGE, "unknown command '%s'%s; `muninn help` lists them", name,
                    nearest_hint(&nearest, "", hint));
}

static enum mn_status help_command(int argc, char **argv, const struct mn_log *log)
{
    const struct command *command = argc > 2 ? find_command(argv[2]) : NULL;
    if (argc > 3)
        return log_fail(log, MN_ERR_USAGE, "unexpected argument '%s'; usage: muninn help [COMMAND]", argv[3]);
    if (argc > 2 && !command)
        return unknown_command(argv[2], log);
    if (command)
        print_help(command, stdout);
    else
        print_overview(stdout);
    return MN_OK;
}

static enum mn_status dispatch(int argc, char **argv, const struct mn_log *log)
{
    if (argc < 2)
        return log_fail(log, MN_ERR_USAGE, "a command is missing; `muninn help` lists them");
    const char *name = argv[1];
    const struct command *command = find_command(name);
    if (command)
        return run_command(command, argc - 1, argv + 1, log);
    if (!strcmp(name, "help"))
        return help_command(argc, argv, log);
    if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        print_overview(stdout);
        return MN_OK;
    }
    if (!strcmp(name, "--version")) {
        print_version();
        return MN_OK;
    }
    return unknown_command(name, log);
}

int main(int argc, char **argv)
{
    argv = process_begin(argc, argv);
    const struct mn_log log = {.write = write_line};
    enum mn_status status = argv ? dispatch(argc, argv, &log)
                                 : log_fail(&log, MN_ERR_USAGE, "the arguments cannot be read as text");
    /* What a failed command printed before it failed still goes out; the first failure decides the exit code. */
    if (!status)
        status = cli_flush(&log);
    else
        fflush(stdout);
    return status == MN_ERR_INTERRUPTED ? cli_interrupt_exit_code() : mn_status_exit_code(status);
}
