/* muninn serve: from the options to the server, and its end. */
#include "cli/serve/serve.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/sweep/cost_file.h"
#include "cli/common/engine.h"
#include "cli/common/interrupt.h"
#include "cli/common/progress.h"
#include "cli/common/talk.h"
#include "engine/base/numbers.h"
#include "engine/base/system.h"
#include "engine/base/text.h"
#include "engine/files/lines.h"

/* LEAST_ROWS: a request may ask for a strategy that takes more of them than the usual one. */
enum { ROWS_MAX = 128, LEAST_ROWS = 16, KEY_BYTES_MAX = 4096 };

/* ---- the key ---- */

static enum mn_status take_key(struct server *server, const char *source, const char *key, size_t n)
{
    while (n && strchr(" \t\r\n", key[n - 1]))
        n--;
    bool good = n > 0 && n <= KEY_BYTES_MAX;
    for (size_t i = 0; i < n && good; i++)
        good = key[i] > ' ' && key[i] < 127;
    if (!good)
        return log_fail(server->log, MN_ERR_USAGE, "%s: must be a key of 1 to %d visible ASCII characters", source,
                        KEY_BYTES_MAX);
    server->api_key = malloc(n + 1);
    if (!server->api_key)
        return log_fail(server->log, MN_ERR_MEMORY, "out of host memory for a key");
    memcpy(server->api_key, key, n);
    server->api_key[n] = '\0';
    server->n_api_key = n;
    return MN_OK;
}

static enum mn_status find_key(struct server *server)
{
    const char *path = server->options->api_key_file, *variable = system_variable("MUNINN_API_KEY");
    char *text = NULL;
    size_t n = 0;
    if (!path)
        return variable && *variable ? take_key(server, "MUNINN_API_KEY", variable, strlen(variable)) : MN_OK;
    enum mn_status status = text_file_read(path, &text, &n, server->log);
    if (!status)
        status = take_key(server, "--api-key-file", text, n);
    free(text);
    return status;
}

/* ---- the model ---- */

/* While it loads, a signal ends it; then signals are this program's own affair: what runs is to end well. */
static int report(void *user, const char *what, uint64_t done, uint64_t total)
{
    const struct server *server = user;
    const struct mn_progress usual = cli_progress();
    return server->serving ? 0 : usual.report(usual.user, what, done, total);
}

/* The folder's own name, or --name: what "model" must be in requests. */
static void name_model(struct server *server, const char *dir)
{
    size_t n = strlen(dir), at;
    while (n > 1 && dir[n - 1] == '/')
        n--;
    for (at = n; at > 0 && dir[at - 1] != '/'; at--)
        ;
    const char *name = server->options->name ? server->options->name : dir + at;
    n = server->options->name ? strlen(name) : n - at;
    n = n < sizeof server->name ? n : utf8_whole(name, sizeof server->name - 1);
    memcpy(server->name, name, n);
    if (n == 0 || (n == 1 && (*name == '.' || *name == '/')) || (n == 2 && !memcmp(name, "..", 2)))
        strcpy(server->name, "model");
}

/* Of the tokenizer: its warnings at the beginning are for the log, later ones for nobody. */
static void write_tokenizer(void *user, enum mn_log_level level, const char *line)
{
    struct server *server = user;
    catch_line(&server->tokenizer_said, level, line);
    if (level == MN_LOG_WARN && !server->http)
        log_note(server->log, level, "%s", line);
}

static enum mn_status open_tokenizer(struct server *server, const char *dir, const struct mn_log *log)
{
    const struct mn_chat_message hello = {"user", "a", 1};
    uint32_t *ids = NULL;
    size_t n;
    if (!server->info.has_tokenizer)
        return MN_OK;
    enum mn_status status = mn_engine_create(
        &server->tokenizer, &(struct mn_engine_params){.model_dir = dir, .tokenizer_only = true, .log = log});
    if (status)
        return log_fail(server->log, status, "%s", server->tokenizer_said.text);
    server->words = server->engine;
    server->chats = !mn_chat(server->tokenizer, &hello, 1, &ids, &n);
    free(ids);
    return MN_OK;
}

/* As many positions as the model knows, or three quarters of what there is room for. */
static enum mn_status choose_session(struct server *server, struct mn_session_params *p)
{
    const struct serve_options *options = server->options;
    const struct mn_model_shape *shape = &server->info.shape;
    const uint32_t rows = mn_strategy_rows(&(struct mn_generate_params){
        .strategy = options->strategy,
        .speculation = {
            .lookahead = options->lookahead, .max_inflight = options->max_inflight, .lookup = options->lookup}});
    struct mn_memory_plan plan;
    *p = (struct mn_session_params){.n_ctx = options->ctx ? options->ctx : shape->block_size,
                                    .num_steps = options->num_steps ? options->num_steps : shape->mean_recurrence,
                                    .n_sequences = min_u32(options->parallel, ROWS_MAX / rows),
                                    .kv_policy = options->kv_policy,
                                    .kv_type = options->kv_type,
                                    .beyond_trained_depth = options->beyond};
    p->max_rows = max_u32(p->n_sequences * rows, LEAST_ROWS);
    enum mn_status status = options->ctx ? MN_OK : mn_memory_plan(&plan, server->engine, p, 0);
    if (!status && !options->ctx && !plan.fits && plan.largest_n_ctx >= 4)
        p->n_ctx = plan.largest_n_ctx / 4 * 3;
    return status;
}

static enum mn_status use_costs(struct server *server)
{
    char dir[CLI_PATH_BYTES];
    return mn_strategy_find(server->options->strategy)->uses & MN_USES_COSTS
               ? cost_file_use(server->session, cli_cache_dir(dir), NULL, server->log)
               : MN_OK;
}

static enum mn_status open_sessions(struct server *server)
{
    struct mn_session_params params, scoring;
    enum mn_status status = choose_session(server, &params);
    if (!status)
        status = cli_open_session(&server->session, server->engine, &params);
    scoring = params; /* as `muninn score` has it by default */
    scoring.n_sequences = scoring.max_rows = 1;
    scoring.kv_type = "f32";
    if (!status && !server->options->no_logprobs)
        status = cli_open_session(&server->scoring, server->engine, &scoring);
    if (!status)
        status = use_costs(server);
    if (!status)
        status = mn_scheduler_create(&server->scheduler, server->session, &(struct mn_scheduler_params){0});
    server->n_ctx = params.n_ctx;
    server->num_steps = params.num_steps;
    return status;
}

static enum mn_status open_all(struct server *server, const struct mn_log *tokenizer_log)
{
    const struct serve_options *options = server->options;
    char dir[CLI_PATH_BYTES];
    enum mn_status status = cli_open_engine(&server->engine, dir,
                                            &(struct engine_choice){.model = options->model,
                                                                    .device = options->device,
                                                                    .weight_type = options->weight_type,
                                                                    .matrix_units = options->matrix_units,
                                                                    .cpu_threads = options->cpu_threads,
                                                                    .progress = {report, server}},
                                            server->log);
    if (status)
        return status;
    mn_engine_info(server->engine, &server->info);
    name_model(server, dir);
    status = open_tokenizer(server, dir, tokenizer_log);
    return status ? status : open_sessions(server);
}

/* ---- all ---- */

static enum mn_status check_options(const struct server *server)
{
    const struct serve_options *options = server->options;
    if (!mn_strategy_find(options->strategy)->batches)
        return log_fail(server->log, MN_ERR_USAGE, "--strategy %s: does not run many texts at once", options->strategy);
    if (options->name && !*options->name)
        return log_fail(server->log, MN_ERR_USAGE, "--name: must not be empty");
    return mn_kv_policy_check(options->kv_policy, server->log);
}

static enum mn_status serve(struct server *server)
{
    const struct mn_log tokenizer_log = {write_tokenizer, server};
    struct http *http = NULL;
    enum mn_status status = http_open(&http, server); /* before the work of loading: the port may be taken */
    if (!status && !server->loopback && !server->api_key)
        log_note(server->log, MN_LOG_WARN,
                 "--host %s: others can reach this server, and no API key is asked of them (--api-key-file)",
                 server->options->host);
    if (!status)
        status = open_all(server, &tokenizer_log);
    server->http = http;
    if (!status && cli_interrupted())
        status = MN_ERR_INTERRUPTED;
    if (!status)
        status = http_start(http);
    if (!status)
        status = work(server);
    http_destroy(http);
    mn_scheduler_destroy(server->scheduler);
    mn_session_destroy(server->scoring);
    mn_session_destroy(server->session);
    mn_engine_destroy(server->tokenizer);
    mn_engine_destroy(server->engine);
    return status;
}

enum mn_status run_serve(const struct serve_options *options, const struct mn_log *log)
{
    const time_t now = time(NULL);
    struct server *server = calloc(1, sizeof *server);
    if (!server)
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for a server");
    server->options = options;
    server->log = log;
    server->queue_end = &server->queue;
    server->created = (int64_t)now;
    server->start = (uint64_t)now & UINT32_MAX;
    server->next_seed = (uint64_t)now & UINT32_MAX;
    enum mn_status status = MN_OK;
    if (mtx_init(&server->lock, mtx_plain) != thrd_success || cnd_init(&server->wake) != thrd_success)
        status = log_fail(log, MN_ERR_RUN, "no lock can be made");
    if (!status)
        status = check_options(server);
    if (!status)
        status = find_key(server);
    cli_catch_interrupt();
    if (!status)
        status = serve(server);
    cnd_destroy(&server->wake);
    mtx_destroy(&server->lock);
    free(server->api_key);
    free(server);
    return status;
}
