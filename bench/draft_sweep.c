/* Tokens per second of `ar`, of `draft-verify` over draft depth K and lookahead L, and of `wavefront` over K on a few prompts.
 *
 *     build/bench_draft_sweep [MODEL_DIR [N_NEW [REPETITIONS [draft-verify|wavefront]]]]
 *
 * JSON lines, one per setting: median over the repetitions of the whole prompt set; the tokens are compared with those of
 * `ar` each time, and a difference ends the program with exit code 7. Depth: the model's mean_recurrence. */
#include <string.h>

#include "bench.h"
#include "cli.h"

static const char *const prompts[] = {"<|begin_text|>Kai has 53 keys and Max has 52 keys. How many keys do they have together?", "<|begin_text|>sort 2 8 0 1 9 4 :",
                                      "<|begin_text|>mod 10 let g = 2 , a = k + 3 , k = g + 1 ;", "<|begin_text|>282 + 216 ="};
enum { N_PROMPTS = sizeof prompts / sizeof *prompts, MAX_NEW = 400, MAX_REPETITIONS = 25 };

struct output {
    uint32_t n, ids[N_PROMPTS * MAX_NEW];
};

static int keep(void *user, uint32_t token)
{
    struct output *output = user;
    output->ids[output->n++] = token;
    return 0;
}

struct figures {
    double tok_s, acceptance, length, weight_bytes, draft_share;
};

/* All prompts once; sums over prompts. */
static enum mn_status run_once(struct mn_engine *engine, struct mn_session *session, struct mn_generate_params params, struct output *output, struct figures *figures)
{
    double ns = 0.0, tokens = 0.0, bytes = 0.0, drafted = 0.0, accepted = 0.0, rounds = 0.0, draft_ns = 0.0;
    output->n = 0;
    for (int i = 0; i < N_PROMPTS; i++) {
        uint32_t *ids;
        size_t n;
        struct mn_stats stats;
        enum mn_status status = mn_tokenize(engine, prompts[i], strlen(prompts[i]), true, &ids, &n);
        if (status)
            return status;
        params.prompt = ids;
        params.n_prompt = (uint32_t)n;
        params.on_token = keep;
        params.user = output;
        status = mn_generate(session, &params, &stats);
        free(ids);
        if (status)
            return status;
        ns += stats.decode_ns;
        tokens += stats.n_new - 1;
        bytes += (double)stats.weight_bytes;
        drafted += (double)stats.drafted;
        accepted += (double)stats.accepted;
        rounds += (double)stats.rounds;
        draft_ns += stats.draft_ns;
    }
    *figures = (struct figures){tokens * 1e9 / ns, drafted > 0 ? accepted / drafted : 0, rounds > 0 ? 1 + accepted / rounds : 0, bytes / tokens, draft_ns / ns};
    return MN_OK;
}

static enum mn_status measure(struct mn_engine *engine, struct mn_session *session, const struct mn_generate_params *params, uint32_t repetitions,
                              struct output *expected, double ar_tok_s, double *tok_s)
{
    double samples[MAX_REPETITIONS];
    struct figures figures = {0};
    struct output *output = malloc(sizeof *output);
    enum mn_status status = output ? MN_OK : MN_ERR_MEMORY;
    for (uint32_t i = 0; i <= repetitions && !status; i++) { /* the first run warms up */
        status = run_once(engine, session, *params, output, &figures);
        if (i > 0)
            samples[i - 1] = figures.tok_s;
        if (!status && !expected->n)
            *expected = *output;
        if (!status && (output->n != expected->n || memcmp(output->ids, expected->ids, output->n * sizeof *output->ids))) {
            fprintf(stderr, "tokens differ from those of ar\n");
            status = MN_ERR_CHECK;
        }
    }
    if (!status) {
        *tok_s = bench_median(samples, repetitions);
        printf("{\"bench\":\"draft_sweep\",\"strategy\":\"%s\",\"draft_steps\":%u,\"lookahead\":%u,\"tok_s\":%.1f,\"slowest\":%.1f,\"fastest\":%.1f,"
               "\"speedup\":%.3f,\"acceptance_rate\":%.4f,\"mean_acceptance_length\":%.3f,\"weight_bytes_per_token\":%.0f,\"draft_share\":%.3f,\"equals_ar\":true}\n",
               params->strategy, params->draft_steps, params->lookahead, *tok_s, samples[0], samples[repetitions - 1], ar_tok_s > 0 ? *tok_s / ar_tok_s : 1.0,
               figures.acceptance, figures.length, figures.weight_bytes, figures.draft_share);
        fflush(stdout);
    }
    free(output);
    return status;
}

int main(int argc, char **argv)
{
    struct mn_log log = {bench_log, NULL};
    struct mn_engine *engine = NULL;
    struct mn_session *session = NULL;
    struct output *expected = calloc(1, sizeof *expected);
    uint32_t n_new = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 96, repetitions = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 5;
    if (!expected || n_new < 2 || n_new > MAX_NEW || repetitions < 1 || repetitions > MAX_REPETITIONS) {
        fprintf(stderr, "usage: bench_draft_sweep [MODEL_DIR [N_NEW 2..%d [REPETITIONS 1..%d]]]\n", MAX_NEW, MAX_REPETITIONS);
        free(expected);
        return 2;
    }
    struct mn_engine_params params = {.model_dir = argc > 1 ? argv[1] : "models/raven-tiny", .log = &log};
    cli_set_cpu_threads(NULL, params.model_dir);
    enum mn_status status = mn_engine_create(&engine, &params);
    struct mn_session_params with = {.max_rows = 16};
    if (!status)
        status = mn_session_create(&session, engine, &with);
    struct mn_generate_params ar = {.n_new = n_new, .strategy = "ar", .ignore_eos = true};
    double ar_tok_s = 0.0, tok_s;
    if (!status) {
        printf("{\"bench\":\"device\",\"banner\":\"%s\",\"model\":\"%s\",\"num_steps\":%u,\"n_new\":%u,\"prompts\":%d,\"repetitions\":%u}\n", engine->banner, params.model_dir,
               session->session->num_steps, n_new, N_PROMPTS, repetitions);
        status = measure(engine, session, &ar, repetitions, expected, 0.0, &ar_tok_s);
    }
    const char *only = argc > 4 ? argv[4] : NULL;
    static const uint32_t steps_per_tick[] = {1, 2, 3, 4, 5, 6, 8, 11, 16};
    for (size_t k = 0; k < sizeof steps_per_tick / sizeof *steps_per_tick && !status && (!only || !strcmp(only, "wavefront")); k++) {
        struct mn_generate_params wave = ar;
        wave.strategy = "wavefront";
        wave.draft_steps = steps_per_tick[k];
        status = measure(engine, session, &wave, repetitions, expected, ar_tok_s, &tok_s);
    }
    static const uint32_t depths[] = {1, 2, 3, 4, 5, 6, 8}, lookaheads[] = {1, 2, 3, 5, 7, 11, 15};
    for (size_t k = 0; k < sizeof depths / sizeof *depths && !status && (!only || !strcmp(only, "draft-verify")); k++)
        for (size_t l = 0; l < sizeof lookaheads / sizeof *lookaheads && !status; l++) {
            struct mn_generate_params draft = ar;
            draft.strategy = "draft-verify";
            draft.draft_steps = depths[k];
            draft.lookahead = lookaheads[l];
            status = measure(engine, session, &draft, repetitions, expected, ar_tok_s, &tok_s);
        }
    mn_session_destroy(session);
    mn_engine_destroy(engine);
    free(expected);
    return mn_status_exit_code(status);
}
