/* muninn info: a model's shape and what it takes on the device. */
#include <inttypes.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/common/options.h"
#include "cli/common/output.h"
#include "cli/common/paths.h"
#include "engine/base/text.h"
#include "engine/files/lines.h"

struct info_options {
    const char *model, *synthetic, *device, *weight_type, *kv_type, *kv_policy, *output;
    uint32_t num_steps, ctx; /* 0: the model's own */
    float memory;            /* 10^9 bytes to plan for; 0: the device's */
    bool beyond;
};

enum { WEIGHT_TYPES_MAX = 16 };

struct info_report {
    const char *name;
    const struct info_options *options;
    struct mn_model_info info;
    struct mn_memory_plan plan;
    struct mn_weight_count counts[WEIGHT_TYPES_MAX];
    uint32_t num_steps;
    char fits[256]; /* what would, where it does not */
};

/* 0: what the device has. */
static uint64_t available(const struct info_report *r)
{
    return (uint64_t)((double)r->options->memory * 1e9);
}

/* Weight bytes that a token of `ar` reads at this depth. */
static uint64_t bytes_at_depth(const struct mn_model_info *info, uint32_t steps)
{
    return info->prelude_bytes + info->core_bytes * steps + info->coda_bytes;
}

/* ---- what it prints ---- */

static void print_memory_json(const struct info_report *r)
{
    const struct mn_memory_plan *p = &r->plan;
    cli_json_key("memory", false);
    putchar('{');
    cli_json_u64("n_ctx", p->n_ctx, true);
    cli_json_u64("num_steps", r->num_steps, false);
    cli_json_string("kv_policy", r->options->kv_policy, false);
    cli_json_string("kv_type", r->options->kv_type, false);
    cli_json_u64("weight_bytes", p->weight_bytes, false);
    cli_json_u64("cache_bytes_per_token", p->cache_bytes_per_token, false);
    cli_json_u64("cache_bytes", p->cache_bytes, false);
    cli_json_u64("scratch_bytes", p->scratch_bytes, false);
    cli_json_u64("available_bytes", p->available_bytes, false);
    cli_json_u64("largest_n_ctx", p->largest_n_ctx, false);
    cli_json_bool("fits", p->fits, false);
    cli_json_string("would_fit", r->fits, false);
    putchar('}');
}

/* Matrices by type: how many, how many of them only because their rows do not fit the type asked for, bytes. */
static void print_weight_types_json(const struct info_report *r)
{
    cli_json_key("weight_types", false);
    putchar('{');
    for (uint32_t i = 0, n = 0; mn_weight_type_at(i); i++)
        if (r->counts[i].n_matrices) {
            cli_json_key(mn_weight_type_at(i), n++ == 0);
            putchar('{');
            cli_json_u64("n_matrices", r->counts[i].n_matrices, true);
            cli_json_u64("n_kept", r->counts[i].n_kept, false);
            cli_json_u64("bytes", r->counts[i].bytes, false);
            putchar('}');
        }
    putchar('}');
}

static void print_json(const struct info_report *r)
{
    const struct mn_model_info *info = &r->info;
    putchar('{');
    cli_json_string("model", r->name, true);
    cli_json_string("family", info->shape.family, false);
    cli_json_string("device", info->device_name, false);
    cli_json_string("driver", info->driver, false);
    cli_json_u64("n_parameters", info->n_parameters, false);
    cli_json_u64("n_embd", info->shape.n_embd, false);
    cli_json_u64("n_heads", info->shape.n_heads, false);
    cli_json_u64("n_kv_heads", info->shape.n_kv_heads, false);
    cli_json_u64("head_dim", info->shape.head_dim, false);
    cli_json_u64("intermediate_size", info->shape.intermediate_size, false);
    cli_json_u64("vocab_size", info->shape.vocab_size, false);
    cli_json_u64("n_prelude", info->shape.n_prelude, false);
    cli_json_u64("n_core", info->shape.n_core, false);
    cli_json_u64("n_coda", info->shape.n_coda, false);
    cli_json_u64("mean_recurrence", info->shape.mean_recurrence, false);
    cli_json_key("max_recurrence", false);
    if (info->shape.max_recurrence)
        printf("%" PRIu64, info->shape.max_recurrence);
    else
        fputs("null", stdout);
    cli_json_u64("block_size", info->shape.block_size, false);
    cli_json_bool("tied", info->shape.tied, false);
    cli_json_bool("qk_bias", info->shape.qk_bias, false);
    cli_json_key("bos_token_id", false);
    if (info->bos_token_id == UINT32_MAX)
        fputs("null", stdout);
    else
        printf("%" PRIu32, info->bos_token_id);
    cli_json_ids("eos_token_ids", info->eos_token_ids, info->n_eos, false);
    cli_json_string("weight_type", info->weight_type, false);
    print_weight_types_json(r);
    cli_json_u64("weight_bytes", info->weight_bytes, false);
    cli_json_u64("prelude_bytes", info->prelude_bytes, false);
    cli_json_u64("core_bytes", info->core_bytes, false);
    cli_json_u64("coda_bytes", info->coda_bytes, false);
    print_memory_json(r);
    puts("}");
}

static void print_structure(const struct mn_model_shape *s)
{
    const uint32_t n = s->n_core;
    printf("family           %s: ", s->family);
    if (s->fixed_depth)
        printf("%" PRIu32 " blocks, once\n", n);
    else if (s->n_prelude + s->n_coda == 0)
        printf("%" PRIu32 " blocks, looped\n", n);
    else
        printf("%" PRIu32 " prelude + %" PRIu32 " core, looped + %" PRIu32 " coda blocks\n", s->n_prelude, n,
               s->n_coda);
    printf("width            %" PRIu32 " (%" PRIu32 " heads of %" PRIu32, s->n_embd, s->n_heads, s->head_dim);
    if (s->n_kv_heads != s->n_heads)
        printf(", %" PRIu32 " for keys and values", s->n_kv_heads);
    printf("), feed-forward %" PRIu32 "\n", s->intermediate_size);
    if (s->fixed_depth)
        fputs("recurrence       none: one step", stdout);
    else
        printf("recurrence       %" PRIu64 " steps by default (%s of config.json)", (uint64_t)s->mean_recurrence,
               s->max_recurrence ? "total_ut_steps" : "mean_recurrence");
    if (!s->fixed_depth && s->max_recurrence)
        printf(", at most %" PRIu64, s->max_recurrence);
    printf("\ncontext          %" PRIu32 "\n", s->block_size);
    printf("vocabulary       %" PRIu32 "\n", s->vocab_size);
}

/* Behind the scheme's name, where the matrices have several types. */
static void print_weight_counts(const struct info_report *r)
{
    uint32_t n_types = 0, n_kept = 0;
    for (uint32_t i = 0; mn_weight_type_at(i); i++)
        n_types += r->counts[i].n_matrices > 0;
    for (uint32_t i = 0, n = 0; mn_weight_type_at(i) && n_types > 1; i++)
        if (r->counts[i].n_matrices) {
            printf("%s%" PRIu32 " matrices %s", n++ ? ", " : ": ", r->counts[i].n_matrices, mn_weight_type_at(i));
            n_kept += r->counts[i].n_kept;
        }
    if (n_kept)
        printf("\n                 %" PRIu32
               " of them keep the type of the file: their rows are not whole groups of 32",
               n_kept);
    putchar('\n');
}

static void print_memory(const struct info_report *r)
{
    const struct mn_memory_plan *p = &r->plan;
    const double mb = 1e6;
    printf("weights          %s, %.2f MB on the device", r->info.weight_type, (double)p->weight_bytes / mb);
    print_weight_counts(r);
    printf("cache            %s, %s, %" PRIu32 " steps: %.4g MB per token, %.2f MB for %" PRIu32 " positions\n",
           r->options->kv_policy, r->options->kv_type, r->num_steps, (double)p->cache_bytes_per_token / mb,
           (double)p->cache_bytes / mb, p->n_ctx);
    printf("scratch          %.2f MB\n", (double)p->scratch_bytes / mb);
    printf("in all           %.2f MB of %.2f MB: %s",
           (double)(p->weight_bytes + p->cache_bytes + p->scratch_bytes) / mb, (double)p->available_bytes / mb,
           p->fits ? "fits" : "does not fit");
    if (p->largest_n_ctx)
        printf(", up to %" PRIu32 " positions", p->largest_n_ctx);
    printf("\nread per pass    prelude %.3f MB, core step %.3f MB, coda and head %.3f MB\n",
           (double)r->info.prelude_bytes / mb, (double)r->info.core_bytes / mb, (double)r->info.coda_bytes / mb);
    fputs("read per token  ", stdout);
    for (uint32_t steps = 1; steps <= r->num_steps; steps *= 2)
        printf("%s%" PRIu32 ": %.2f MB", steps == 1 ? " depth " : ", ", steps,
               (double)bytes_at_depth(&r->info, steps) / mb);
    if (r->num_steps & (r->num_steps - 1))
        printf(", %" PRIu32 ": %.2f MB", r->num_steps, (double)bytes_at_depth(&r->info, r->num_steps) / mb);
    putchar('\n');
}

static void print_text(const struct info_report *r)
{
    const struct mn_model_info *info = &r->info;
    fputs("model            ", stdout);
    text_puts(stdout, r->name);
    fputs("\ndevice           ", stdout);
    text_puts(stdout, info->device_banner);
    printf("\nparameters       %.2f M, %s%s\n", (double)info->n_parameters / 1e6,
           info->shape.tied ? "tied embeddings" : "separate head",
           info->shape.qk_bias ? ", biases on queries and keys" : "");
    print_structure(&info->shape);
    if (info->bos_token_id != UINT32_MAX)
        printf("begin token      %" PRIu32 "\n", info->bos_token_id);
    fputs("end tokens      ", stdout);
    for (uint32_t i = 0; i < info->n_eos; i++)
        printf(" %" PRIu32, info->eos_token_ids[i]);
    puts(info->n_eos ? "" : " none");
    print_memory(r);
}

/* ---- what would fit ---- */

/* A way to need less: what it changes of what was asked for; NULL: nothing. */
struct smaller {
    const char *weight_type, *kv_policy, *kv_type;
};

static void say_smaller(const struct smaller *s, uint32_t n_ctx, char *text, size_t text_bytes)
{
    char context[32] = "";
    if (n_ctx)
        snprintf(context, sizeof context, "%s--ctx %" PRIu32, s->weight_type || s->kv_policy || s->kv_type ? " " : "",
                 n_ctx);
    snprintf(text, text_bytes, "%s%s%s%s%s%s%s%s%s", s->weight_type ? "--weight-type " : "",
             s->weight_type ? s->weight_type : "", s->weight_type && (s->kv_policy || s->kv_type) ? " " : "",
             s->kv_policy ? "--kv-policy " : "", s->kv_policy ? s->kv_policy : "",
             s->kv_policy && s->kv_type ? " " : "", s->kv_type ? "--kv-type " : "", s->kv_type ? s->kv_type : "",
             context);
}

/* How many positions fit with the cache types of `s`, the best of them first, and which it is. */
static enum mn_status try_smaller(struct info_report *r, struct mn_engine *engine, struct mn_session_params params,
                                  struct smaller *s, bool *whole, uint32_t *n_ctx)
{
    const char *const asked = params.kv_type;
    enum mn_status status = MN_OK;
    params.kv_policy = s->kv_policy ? s->kv_policy : params.kv_policy;
    *whole = false;
    bool smaller = false; /* the types stand from the largest to the smallest */
    for (uint32_t i = 0; mn_kv_type_at(i) && !*whole && !status; i++) {
        struct mn_memory_plan plan;
        smaller |= !strcmp(mn_kv_type_at(i), asked);
        if (!smaller)
            continue;
        params.kv_type = mn_kv_type_at(i);
        status = mn_memory_plan(&plan, engine, &params, available(r));
        s->kv_type = strcmp(params.kv_type, asked) != 0 ? params.kv_type : NULL;
        *whole = plan.fits;
        *n_ctx = plan.largest_n_ctx;
    }
    return status;
}

/* *engine is NULL, without an error, where the model cannot have that weight type: a quantised folder has one. */
static enum mn_status open_smaller(struct mn_engine **engine, const struct mn_engine_params *params)
{
    struct mn_engine_params silent = *params;
    silent.log = NULL;
    enum mn_status status = mn_engine_create(engine, &silent);
    if (status && status != MN_ERR_UNSUPPORTED)
        return mn_engine_create(engine, params);
    return MN_OK;
}

/* The first that does for all positions of: a smaller cache, smaller weights, both with slots that steps share; or else
 * for some of them the last. In front of it how many positions fit as things are. */
static enum mn_status find_fit(struct info_report *r, struct mn_engine *engine, const struct mn_session_params *params,
                               const struct mn_engine_params *engine_params)
{
    static const char *const policies[] = {NULL, "share:1"}, *const types[] = {NULL, "bf16", "q8_0", "q4_1"};
    char found[160] = "", as_it_is[32] = "";
    bool whole = false;
    enum mn_status status = MN_OK;
    if (r->plan.largest_n_ctx)
        say_smaller(&(struct smaller){0}, r->plan.largest_n_ctx, as_it_is, sizeof as_it_is);
    for (int i = 0; i < 8 && !whole && !status; i++) {
        struct smaller s = {.weight_type = types[i % 4], .kv_policy = policies[i / 4]};
        struct mn_engine_params smaller = *engine_params;
        struct mn_engine *other = NULL;
        struct mn_model_info info = {.weight_bytes = 0};
        uint32_t n_ctx = 0;
        smaller.weight_type = s.weight_type;
        if (s.weight_type)
            status = open_smaller(&other, &smaller);
        if (s.weight_type && !other)
            continue;
        if (!status)
            mn_engine_info(other, &info);
        if (!status && info.weight_bytes < r->info.weight_bytes)
            status = try_smaller(r, s.weight_type ? other : engine, *params, &s, &whole, &n_ctx);
        if (!status && (whole || (n_ctx && !r->plan.largest_n_ctx)))
            say_smaller(&s, whole ? 0 : n_ctx, found, sizeof found);
        mn_engine_destroy(other);
    }
    snprintf(r->fits, sizeof r->fits, "%s%s%s", as_it_is, *as_it_is && *found ? ", or " : "", found);
    return status;
}

/* ---- the command ---- */

static enum mn_status report(struct info_report *r, struct mn_engine *engine, const struct mn_engine_params *params,
                             const struct mn_log *log)
{
    const struct info_options *o = r->options;
    mn_engine_info(engine, &r->info);
    for (uint32_t i = 0; mn_weight_type_at(i) && i < WEIGHT_TYPES_MAX; i++)
        mn_engine_weight_count(engine, i, &r->counts[i]);
    r->num_steps = o->num_steps ? o->num_steps : r->info.shape.mean_recurrence;
    const struct mn_session_params session = {.n_ctx = o->ctx,
                                              .num_steps = r->num_steps,
                                              .kv_policy = o->kv_policy,
                                              .kv_type = o->kv_type,
                                              .beyond_trained_depth = o->beyond};
    enum mn_status status = mn_memory_plan(&r->plan, engine, &session, available(r));
    if (!status && !r->plan.fits)
        status = find_fit(r, engine, &session, params);
    if (status)
        return status;
    if (!strcmp(o->output, "json"))
        print_json(r);
    else
        print_text(r);
    status = cli_flush(log);
    if (status || r->plan.fits)
        return status;
    if (r->plan.binding)
        return log_fail(log, MN_ERR_MEMORY,
                        "%" PRIu32
                        " positions: the cache of one block is more than a device binds at once: %s would fit",
                        r->plan.n_ctx, *r->fits ? r->fits : "nothing");
    return log_fail(log, MN_ERR_MEMORY, "%" PRIu32 " positions need %.2f MB of %.2f MB: %s would fit", r->plan.n_ctx,
                    (double)(r->plan.weight_bytes + r->plan.cache_bytes + r->plan.scratch_bytes) / 1e6,
                    (double)r->plan.available_bytes / 1e6, *r->fits ? r->fits : "nothing that this program has");
}

static enum mn_status run(const void *values, const struct mn_log *log)
{
    const struct info_options *o = values;
    char dir[CLI_PATH_BYTES];
    struct mn_engine *engine;
    struct info_report r = {.name = o->synthetic ? o->synthetic : dir, .options = o};
    if (o->synthetic && o->model)
        return log_fail(log, MN_ERR_USAGE, "--synthetic and --model exclude each other");
    enum mn_status status = o->synthetic ? MN_OK : cli_model_dir(o->model, dir, log);
    if (status)
        return status;
    const struct mn_engine_params params = {.model_dir = o->synthetic ? NULL : dir,
                                            .synthetic = o->synthetic,
                                            .device = o->device,
                                            .weight_type = o->weight_type,
                                            .plan_only = true,
                                            .log = log};
    status = mn_engine_create(&engine, &params);
    if (!status)
        status = report(&r, engine, &params, log);
    mn_engine_destroy(engine);
    return status;
}

static const struct command_option table[] = {
    MODEL_OPTION(offsetof(struct info_options, model)),
    {.name = "synthetic",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct info_options, synthetic),
     .argument = "SHAPE",
     .help = "instead of a model: a shape as `bench --synthetic` takes it"},
    {.name = "num-steps",
     .kind = OPTION_U32,
     .offset = offsetof(struct info_options, num_steps),
     .argument = "R",
     .shown = "the model's own",
     .min = 1,
     .max = 4096,
     .help = "recurrence steps per token"},
    BEYOND_OPTION(offsetof(struct info_options, beyond)),
    {.name = "ctx",
     .kind = OPTION_U32,
     .offset = offsetof(struct info_options, ctx),
     .argument = "N",
     .shown = "the model's block_size",
     .min = 2,
     .max = IDS_MAX,
     .help = "positions to plan for"},
    {.name = "kv-policy",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct info_options, kv_policy),
     .argument = "full|share:k",
     .value = "full",
     .help = "cache every step, or the last k"},
    KV_TYPE_OPTION(offsetof(struct info_options, kv_type), "f16", "type of the cache"),
    {.name = "memory",
     .kind = OPTION_FLOAT,
     .offset = offsetof(struct info_options, memory),
     .argument = "GB",
     .shown = "what the device has left",
     .min = 1e-3,
     .max = 1e6,
     .help = "plan for a device with so many 10^9 bytes"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct info_options, output),
     .choices = "text|json",
     .value = "text",
     .help = "lines to read, or a JSON object"},
    DEVICE_OPTION(offsetof(struct info_options, device)),
    WEIGHT_TYPE_OPTION(offsetof(struct info_options, weight_type)),
};

const struct command command_info = {
    .name = "info",
    .summary = "Shows a model's shape, what it takes on the device, and whether that fits.",
    .synopsis = "[-m DIR | --synthetic SHAPE] [--ctx N] [OPTIONS]",
    .example = "muninn info --synthetic huginn-3.5b --ctx 2048 --kv-policy share:4",
    .notes = "Reads no weights: sizes come from config.json and the tensors' names and "
             "shapes. Exit code 6 when it does not fit, with what would.",
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .values_bytes = sizeof(struct info_options),
    .run = run};
