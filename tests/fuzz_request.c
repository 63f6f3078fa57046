/* Goal: no body of a request makes `muninn serve` crash, leak, or start work that the model cannot do; whatever is
 * refused is refused with one answer that is JSON and repeats no more of the body than a field's name.
 *
 * Method: libFuzzer target. The first byte chooses completions or chat, whether the server has a tokenizer and whether
 * log-probabilities; the rest is the body. It goes through cli/serve/request.c and fields.c as HTTP's thread has them,
 * with the tokenizer of models/raven-tiny and without a device. A job that comes out keeps all limits. */
#include <string.h>

#include "cli/serve/serve.h"
#include "tests/fuzz_tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_CTX = 64, STEPS = 8, VOCAB = 512, CHAT = 1, WORDLESS = 2, UNSCORED = 4 };

/* What the server's main thread does is not part of this. */
bool serve_others(struct server *server)
{
    (void)server;
    return false;
}

static struct server *some_server(uint8_t how)
{
    static struct serve_options options = {.strategy = "ar", .parallel = 4, .queue = 8};
    static struct server server = {.options = &options, .n_ctx = N_CTX, .num_steps = STEPS, .name = "raven-tiny"};
    static struct mn_engine *tokenizer;
    if (!tokenizer) {
        CHECK(mtx_init(&server.lock, mtx_plain) == thrd_success);
        CHECK(mn_engine_create(&tokenizer, &(struct mn_engine_params){.model_dir = MN_SOURCE_DIR "/models/raven-tiny",
                                                                      .tokenizer_only = true}) == MN_OK);
        server.info.shape.vocab_size = VOCAB; /* which an engine with weights knows */
        server.info.has_tokenizer = true;
        server.info.bos_token_id = 0;
    }
    server.tokenizer = how & WORDLESS ? NULL : tokenizer;
    server.chats = server.tokenizer;
    options.no_logprobs = how & UNSCORED;
    return &server;
}

static void check_job(const struct job *job, const struct server *server)
{
    const struct mn_generate_params *p = &job->params;
    CHECK(job->n_prompts >= 1 && job->n_choices == job->n_prompts * job->n_per_prompt);
    CHECK(job->n_choices >= 1 && job->n_choices <= SERVE_CHOICES_MAX && job->n_top <= SERVE_TOP_MAX);
    CHECK(!job->wants_logprobs || !server->options->no_logprobs);
    CHECK(p->num_steps >= 1 && p->num_steps <= STEPS);
    CHECK(mn_strategy_find(p->strategy) && mn_strategy_find(p->strategy)->batches);
    CHECK(p->sampler.temperature >= 0 && p->sampler.top_p > 0 && p->sampler.top_p <= 1 && p->sampler.min_p >= 0);
    for (uint32_t i = 0; i < job->n_prompts; i++) {
        const struct prompt *prompt = &job->prompts[i];
        CHECK(prompt->n >= 1 && prompt->n <= N_CTX + 1 && job->max_tokens <= N_CTX + 1 - prompt->n);
        for (uint32_t k = 0; k < prompt->n; k++)
            CHECK(prompt->ids[k] < VOCAB);
    }
    for (size_t i = 0; i < job->stops.n; i++)
        CHECK(*job->stops.items[i]);
}

/* The answer is JSON whose message is a line of text. */
static void check_refusal(const struct api_error *error)
{
    struct json_doc doc;
    char *text = NULL;
    size_t n_text = 0;
    CHECK(error->http == 400 || error->http == 404);
    CHECK(error->type && error->code && *error->message);
    for (const char *c = error->message; *c; c++)
        CHECK((unsigned char)*c >= ' ' && *c != 0x7f);
    FILE *out = open_memstream(&text, &n_text);
    CHECK(out);
    answer_error(out, error);
    CHECK(fclose(out) == 0);
    CHECK(json_parse(&doc, "refusal", text, n_text, n_text, NULL) == MN_OK);
    const cJSON *member = json_find(doc.root, "error"), *param = json_find(member, "param");
    CHECK(!strcmp(json_find(member, "message")->valuestring, error->message));
    CHECK(*error->param ? !strcmp(param->valuestring, error->param) : cJSON_IsNull(param));
    json_destroy(&doc);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct job *job = NULL;
    struct api_error error = {0};
    if (!size)
        return 0;
    const uint8_t how = data[0] - (data[0] >= '0' ? '0' : 0); /* a digit in inputs that people write */
    struct server *server = some_server(how);
    const enum mn_status status = request_read(&job, server, how & CHAT, (const char *)data + 1, size - 1, &error);
    CHECK((status == MN_OK) == (job != NULL) && (status == MN_OK) == (error.http == 0));
    if (job)
        check_job(job, server);
    else
        check_refusal(&error);
    job_release(job);
    return 0;
}
