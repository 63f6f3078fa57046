/* muninn devices: every Vulkan device, and whether it can be used. */
#include <inttypes.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/common/output.h"
#include "engine/base/text.h"

struct devices_options {
    const char *output;
};

struct listing {
    bool json;
    uint32_t n;
};

/* A table cell: names come from drivers and must not break the table. */
static void cell(const char *text)
{
    fputs(" ", stdout);
    text_write_cell(stdout, text, TEXT_MARKUP, '\\');
    fputs(" |", stdout);
}

static void print_row(const struct mn_device_info *info)
{
    char text[64];
    printf("| %" PRIu32 " |", info->index);
    cell(info->name);
    cell(info->type);
    cell(info->driver);
    snprintf(text, sizeof text, "%" PRIu32 ".%" PRIu32, info->api_version >> 22 & 0x7f,
             info->api_version >> 12 & 0x3ff);
    cell(text);
    snprintf(text, sizeof text, "%.1f GiB", (double)info->memory_bytes / (double)(1 << 30));
    cell(text);
    printf(" %" PRIu32 " | %d | %d | %d | %d |", info->subgroup_size, info->uma, info->fp16, info->int8_dot,
           info->matrix_cores);
    cell(info->refusal ? info->refusal : "yes");
    putchar('\n');
}

static void print_object(const struct mn_device_info *info, bool first)
{
    char version[32];
    snprintf(version, sizeof version, "%" PRIu32 ".%" PRIu32 ".%" PRIu32, info->api_version >> 22 & 0x7f,
             info->api_version >> 12 & 0x3ff, info->api_version & 0xfff);
    fputs(first ? "{" : ",\n {", stdout);
    cli_json_u64("index", info->index, true);
    cli_json_string("name", info->name, false);
    cli_json_string("type", info->type, false);
    cli_json_string("driver", info->driver, false);
    cli_json_string("api_version", version, false);
    cli_json_u64("vendor_id", info->vendor_id, false);
    cli_json_u64("device_id", info->device_id, false);
    cli_json_u64("memory_bytes", info->memory_bytes, false);
    cli_json_u64("subgroup_size", info->subgroup_size, false);
    cli_json_bool("uma", info->uma, false);
    cli_json_bool("fp16", info->fp16, false);
    cli_json_bool("int8_dot", info->int8_dot, false);
    cli_json_bool("matrix_cores", info->matrix_cores, false);
    cli_json_bool("usable", info->refusal == NULL, false);
    if (info->refusal)
        cli_json_string("refusal", info->refusal, false);
    cli_json_string("id", info->id, false);
    cli_json_u64("driver_version", info->driver_version, false);
    cli_json_string("banner", info->banner, false);
    putchar('}');
}

static void visit(void *user, const struct mn_device_info *info)
{
    struct listing *listing = user;
    if (listing->n == 0)
        fputs(listing->json ? "["
                            : "| # | device | type | driver | Vulkan | memory | subgroup | uma | fp16 | int dot | "
                              "matrix cores | usable |\n"
                              "|---|---|---|---|---|---|---|---|---|---|---|---|\n",
              stdout);
    if (listing->json)
        print_object(info, listing->n == 0);
    else
        print_row(info);
    listing->n++;
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct devices_options *options = values;
    struct listing listing = {.json = !strcmp(options->output, "json")};
    enum mn_status status = mn_devices(visit, &listing, log);
    if (listing.json && listing.n)
        fputs("]\n", stdout);
    return status;
}

static const struct command_option table[] = {
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct devices_options, output),
     .choices = "md|json",
     .value = "md",
     .help = "Markdown table or JSON array"},
};

const struct command command_devices = {
    .name = "devices",
    .summary = "Lists the Vulkan devices and what they offer.",
    .synopsis = "[-o md|json]",
    .example = "muninn devices -o json",
    .notes = "`--device` of the other commands takes the number in the first column or part of a name.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct devices_options),
    .run = run};
