/* Goal: a family is its descriptor. Another plan of weights - queries, keys and values as tensors of their own, gate
 * and up apart, rotary pairs as halves of a head - makes the same matrices on the device, and the same logits, bit for
 * bit. Method: a random Huginn checkpoint is written again in that form, and loaded with a descriptor that is Huginn's
 * but for the plan. Also: what a descriptor must have, and that a plan's first failure sticks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/files/safetensors_write.h"
#include "engine/model/family.h"
#include "engine/model/weight_plan.h"
#include "tests/testing.h"

enum { D = 48, H = 4, HEAD = D / H, F = 40, V = 60, BLOCKS = 4, N_TENSORS = 96, N_PROMPT = 9, STEPS = 3 };

static const struct random_shape shape = {.n_embd = D,
                                          .n_heads = H,
                                          .intermediate_size = F,
                                          .vocab_size = V,
                                          .n_prelude = 1,
                                          .n_core = 2,
                                          .n_coda = 1,
                                          .block_size = 64,
                                          .tied = false,
                                          .qk_bias = false,
                                          .seed = 3};

/* What decides between families of one model_type is in the file; an empty one is Huginn's. */
static const struct family *huginn_family(void)
{
    static const char nothing[] = "{}";
    struct json_doc doc;
    assert_int_equal(json_parse(&doc, "nothing", nothing, sizeof nothing - 1, 16, NULL), MN_OK);
    const struct family *family = family_find("huginn_raven", &doc, NULL);
    json_destroy(&doc);
    assert_non_null(family);
    return family;
}

/* ---- the other form ---- */

struct written {
    struct tensor_source tensors[N_TENSORS];
    char names[N_TENSORS][PLAN_NAME_BYTES];
    uint32_t n;
};

static void add_rows(struct written *w, const char *prefix, const char *name, const float *values, uint32_t rows,
                     uint32_t columns)
{
    float *copy = malloc((size_t)rows * columns * sizeof *copy);
    assert_non_null(copy);
    assert_true(w->n < N_TENSORS);
    memcpy(copy, values, (size_t)rows * columns * sizeof *copy);
    plan_name(w->names[w->n], prefix, name);
    w->tensors[w->n] = (struct tensor_source){
        .name = w->names[w->n], .dtype = TENSOR_F32, .rank = 2, .shape = {rows, columns}, .data = copy};
    w->n++;
}

/* Rows of heads whose pairs are neighbours, as halves. */
static void to_halves(float *rows)
{
    float turned[HEAD * D];
    for (uint32_t head = 0; head < H; head++) {
        float *at = rows + (size_t)head * HEAD * D;
        for (uint32_t i = 0; i < HEAD; i++)
            memcpy(turned + (size_t)(i / 2 + i % 2 * HEAD / 2) * D, at + (size_t)i * D, D * sizeof *at);
        memcpy(at, turned, sizeof turned);
    }
}

static void scatter(struct written *w, const struct tensor_view *view, float *values)
{
    char prefix[PLAN_NAME_BYTES];
    snprintf(prefix, sizeof prefix, "%s", view->name);
    char *attn = strstr(prefix, ".attn.Wqkv"), *mlp = strstr(prefix, ".mlp.fc");
    if (attn) {
        *attn = '\0';
        to_halves(values);
        to_halves(values + D * D);
        add_rows(w, prefix, "q.weight", values, D, D);
        add_rows(w, prefix, "k.weight", values + D * D, D, D);
        add_rows(w, prefix, "v.weight", values + 2 * D * D, D, D);
    } else if (mlp) {
        *mlp = '\0';
        add_rows(w, prefix, "gate.weight", values, F, D);
        add_rows(w, prefix, "up.weight", values + F * D, F, D);
    } else {
        const uint32_t columns = view->rank > 1 ? (uint32_t)view->shape[1] : 1;
        add_rows(w, "x", view->name, values, (uint32_t)view->shape[0], columns);
        memmove(w->names[w->n - 1], w->names[w->n - 1] + 2, strlen(w->names[w->n - 1]) - 1);
    }
}

/* Writes the checkpoint in `dir` again in the other form. */
static void write_scattered(const char *dir)
{
    struct written *w = calloc(1, sizeof *w);
    struct safetensors *file;
    char path[256];
    assert_non_null(w);
    assert_int_equal(safetensors_open(&file, dir, NULL, NULL), MN_OK);
    for (uint32_t i = 0; i < safetensors_n_tensors(file); i++) {
        const struct tensor_view *view = safetensors_tensor(file, i);
        float *values = malloc(view->bytes);
        assert_non_null(values);
        assert_int_equal(safetensors_read(file, view, 0, view->bytes, values, NULL), MN_OK);
        scatter(w, view, values);
        free(values);
    }
    safetensors_close(file);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    unlink(path);
    struct output_file out;
    assert_int_equal(output_open(&out, path, NULL), MN_OK);
    assert_int_equal(safetensors_write(&out, w->tensors, w->n, NULL), MN_OK);
    assert_int_equal(output_commit(&out, NULL), MN_OK);
    for (uint32_t i = 0; i < w->n; i++)
        free((void *)(uintptr_t)w->tensors[i].data);
    free(w);
}

/* ---- its family ---- */

static void part(struct matrix_plan *plan, uint32_t i, const char *prefix, const char *name, uint32_t rows)
{
    plan_name(plan->parts[i].name, prefix, name);
    plan->parts[i].rows = rows;
}

static void plan_block(struct weight_plan *plan, struct block_weights *w, const char *prefix, const char *before)
{
    struct matrix_plan qkv = {.columns = D, .layout = LAYOUT_QKV}, proj = {.columns = D, .layout = LAYOUT_HEADS},
                       gate = {.columns = D, .layout = LAYOUT_GATE}, down = {.columns = F};
    char a[PLAN_NAME_BYTES], b[PLAN_NAME_BYTES];
    part(&qkv, 0, prefix, "q.weight", D);
    part(&qkv, 1, prefix, "k.weight", D);
    part(&qkv, 2, prefix, "v.weight", D);
    part(&proj, 0, prefix, "attn.proj.weight", D);
    part(&gate, 0, prefix, "gate.weight", F);
    part(&gate, 1, prefix, "up.weight", F);
    part(&down, 0, prefix, "mlp.proj.weight", D);
    plan_matrix(plan, &w->qkv, &qkv);
    plan_matrix(plan, &w->proj, &proj);
    plan_matrix(plan, &w->gate, &gate);
    plan_matrix(plan, &w->down, &down);
    plan_norm(plan, &w->attention_in, plan_name(a, prefix, "norm_1.weight"),
              before ? plan_name(b, before, "norm_4.weight") : NULL, D);
    plan_norm(plan, &w->attention_out, plan_name(a, prefix, "norm_2.weight"), NULL, D);
    plan_norm(plan, &w->mlp_in, plan_name(a, prefix, "norm_2.weight"), plan_name(b, prefix, "norm_3.weight"), D);
    plan_norm(plan, &w->mlp_out, plan_name(a, prefix, "norm_4.weight"), NULL, D);
    plan_bias(plan, &w->bias, NULL, 2 * D);
}

static void plan_scattered(struct weight_plan *plan, struct weights *w)
{
    static const char *const blocks[BLOCKS] = {"transformer.prelude.0", "transformer.core_block.0",
                                               "transformer.core_block.1", "transformer.coda.0"};
    struct matrix_plan adapter = {.parts = {{"transformer.adapter.weight", D}}, .columns = 2 * D, .n_columns = D};
    plan_matrix(plan, &w->embedding, &(struct matrix_plan){.parts = {{"transformer.wte.weight", V}}, .columns = D});
    plan_matrix(plan, &w->head, &(struct matrix_plan){.parts = {{"lm_head.weight", V}}, .columns = D});
    plan_matrix(plan, &w->adapter_state, &adapter);
    adapter.column0 = D;
    plan_matrix(plan, &w->adapter_embed, &adapter);
    for (int i = 0; i < BLOCKS; i++)
        plan_block(plan, &w->blocks[i], blocks[i], i == 2 ? blocks[1] : NULL);
    plan_host_norm(plan, &w->state_norm, "transformer.core_block.1.norm_4.weight", D);
    plan_norm(plan, &w->coda_norm, "transformer.ln_f.weight", NULL, D);
    plan_norm(plan, &w->head_norm, "transformer.ln_f.weight", "transformer.coda.0.norm_4.weight", D);
}

/* ---- models ---- */

/* `family` NULL: the one that config.json names. *status is what the weights came to. */
static struct model *open_model(struct test_log *log, const char *dir, const struct family *family,
                                enum mn_status *status)
{
    struct model *model = calloc(1, sizeof *model);
    struct stream stream = {0};
    test_log_init(log);
    assert_non_null(model);
    assert_int_equal(config_load(&model->config, dir, &log->log), MN_OK);
    if (family)
        model->config.family = family;
    model->config.rotary_halves = family != NULL;
    struct device_params params = {.select = test_device, .validate = MN_TEST_VALIDATE};
    assert_int_equal(device_create(&model->device, &params, &log->log), MN_OK);
    model->tuning = tuning_choose(&model->device->caps);
    assert_int_equal(kernels_init(&model->kernels, model->device), MN_OK);
    assert_int_equal(stream_init(&stream, model->device, &model->kernels), MN_OK);
    model->head_pad = kv_head_pad(HEAD);
    model->stride = D;
    model->ff_stride = F;
    const struct weight_scheme scheme = weight_scheme_of(WEIGHT_TYPE_BF16);
    *status = weights_load(&model->weights, dir, &model->config, &scheme, model->device, &stream);
    stream_finish(&stream);
    return model;
}

static enum mn_status keep_logits(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    memcpy((float *)user + (size_t)position * n_vocab, logits, n_vocab * sizeof *logits);
    return MN_OK;
}

static void take_logits(struct model *model, float *logits)
{
    const struct session_params params = {
        .n_ctx = 16, .num_steps = STEPS, .max_rows = 1, .kv_type = KV_F32, .sampler = {.top_p = 1.0f}};
    struct session *session;
    uint32_t ids[N_PROMPT];
    for (uint32_t i = 0; i < N_PROMPT; i++)
        ids[i] = (i * 7 + 2) % V;
    assert_int_equal(session_create(&session, model, &params), MN_OK);
    const struct session_prefill_params prefill = {
        .ids = ids, .n = N_PROMPT, .num_steps = STEPS, .each_logits = keep_logits, .user = logits};
    assert_int_equal(session_prefill(session, &prefill, NULL), MN_OK);
    session_destroy(session);
}

static void same_matrix(struct stream *a, struct stream *b, const struct matrix *x, const struct matrix *y)
{
    const uint64_t n = matrix_bytes(x);
    uint8_t *bytes = malloc(2 * n);
    assert_non_null(bytes);
    assert_int_equal(matrix_bytes(y), n);
    assert_int_equal(stream_download(a, matrix_span(x, 0, x->n_out), 0, bytes, n), MN_OK);
    assert_int_equal(stream_download(b, matrix_span(y, 0, y->n_out), 0, bytes + n, n), MN_OK);
    assert_memory_equal(bytes, bytes + n, n);
    free(bytes);
}

static void same_weights(struct model *a, struct model *b)
{
    struct stream stream_a = {0}, stream_b = {0};
    assert_int_equal(stream_init(&stream_a, a->device, &a->kernels), MN_OK);
    assert_int_equal(stream_init(&stream_b, b->device, &b->kernels), MN_OK);
    for (int i = 0; i < BLOCKS; i++) {
        const struct block_weights *x = &a->weights.blocks[i], *y = &b->weights.blocks[i];
        same_matrix(&stream_a, &stream_b, &x->qkv, &y->qkv);
        same_matrix(&stream_a, &stream_b, &x->proj, &y->proj);
        same_matrix(&stream_a, &stream_b, &x->gate, &y->gate);
        same_matrix(&stream_a, &stream_b, &x->down, &y->down);
    }
    assert_memory_equal(a->weights.state_norm, b->weights.state_norm, D * sizeof(float));
    stream_finish(&stream_a);
    stream_finish(&stream_b);
}

/* ---- tests ---- */

static void test_other_plan(void **state)
{
    (void)state;
    struct test_log log_a, log_b;
    struct family scattered = *huginn_family();
    char *dir_a, *dir_b;
    enum mn_status status;
    scattered.model_type = "scattered";
    scattered.plan_weights = plan_scattered;
    random_model_write(&shape, &dir_a);
    random_model_write(&shape, &dir_b);
    write_scattered(dir_b);
    struct model *a = open_model(&log_a, dir_a, NULL, &status);
    assert_int_equal(status, MN_OK);
    struct model *b = open_model(&log_b, dir_b, &scattered, &status);
    assert_int_equal(status, MN_OK);
    same_weights(a, b);
    float logits_a[N_PROMPT * V], logits_b[N_PROMPT * V];
    take_logits(a, logits_a);
    take_logits(b, logits_b);
    assert_memory_equal(logits_a, logits_b, sizeof logits_a);
    assert_int_equal(a->device->n_messages + b->device->n_messages, 0);
    model_free(a);
    /* Huginn's own tensors are not what this plan asks for: one line, which names the first one that is missing. */
    model_free(b);
    b = open_model(&log_b, dir_a, &scattered, &status);
    assert_int_equal(status, MN_ERR_FORMAT);
    assert_int_equal(log_b.n_errors, 1);
    assert_non_null(strstr(log_b.last, "tensor 'transformer.prelude.0.q.weight' is missing"));
    model_free(b);
    random_model_remove(dir_a);
    random_model_remove(dir_b);
}

/* What means nothing to a family is refused by name before anything runs; with the same settings Huginn runs. */
struct refused_case {
    const char *word;
    struct mn_generate_params params;
};

static void check_refusals(const char *folder, const char *family, uint32_t num_steps, const struct refused_case *cases,
                           size_t n_cases)
{
    static const uint32_t prompt[] = {1, 2, 3};
    struct test_log log;
    struct mn_stats stats;
    char path[256];
    test_log_init(&log);
    snprintf(path, sizeof path, VECTORS "%s", folder);
    struct mn_engine *engine = test_engine(&log, path, NULL);
    const struct session_params with = {
        .n_ctx = 16, .num_steps = num_steps, .max_rows = 8, .kv_type = KV_F16, .policy = {1}};
    struct session *session = test_session(engine, &with);
    for (size_t i = 0; i < n_cases; i++) {
        struct mn_generate_params params = cases[i].params;
        params.prompt = prompt;
        params.n_prompt = 3;
        params.n_new = 1;
        test_refused(&log, generate(session, &params, &stats), family, cases[i].word);
        assert_int_equal(session->counts.passes[PASS_PRELUDE], 0);
    }
    const struct mn_generate_params plain = {.prompt = prompt, .n_prompt = 3, .n_new = 4, .ignore_eos = true};
    assert_int_equal(generate(session, &plain, &stats), MN_OK);
    session_destroy(session);
    const struct session_params deeper = {.n_ctx = 16, .num_steps = num_steps + 1, .max_rows = 1};
    test_refused(&log, session_create(&session, engine->model, &deeper), "num_steps", family);
    test_engine_done(engine);
}

static void test_no_injection(void **state)
{
    (void)state;
    static const struct refused_case cases[] = {
        {"continuous", {.strategy = "ar", .continuous = true}},
        {"init_scale", {.strategy = "ar", .init_scale = 1.0f}},
        {"diffusion", {.strategy = "diffusion", .speculation = {.draft_steps = 1}}}};
    check_refusals("ouro", "ouro", 4, cases, sizeof cases / sizeof *cases);
}

static void test_fixed_depth(void **state)
{
    (void)state;
    static const struct refused_case cases[] = {
        {"draft-verify", {.strategy = "draft-verify", .speculation = {.draft_steps = 1, .lookahead = 2}}},
        {"wavefront", {.strategy = "wavefront", .speculation = {.draft_steps = 1}}},
        {"auto", {.strategy = "auto"}},
        {"diffusion", {.strategy = "diffusion", .speculation = {.draft_steps = 1}}},
        {"exit.rule kl", {.strategy = "ar", .exit = {.rule = "kl"}}},
        {"continuous", {.strategy = "ar", .continuous = true}}};
    check_refusals("llama-fixed-depth", "llama", 1, cases, sizeof cases / sizeof *cases);
}

static void test_table(void **state)
{
    (void)state;
    char names[256];
    const struct family *huginn = huginn_family();
    assert_non_null(huginn);
    assert_true(huginn->read_config && huginn->plan_weights && huginn->prelude && huginn->step && huginn->coda &&
                huginn->head && huginn->injects);
    assert_null(family_find("huginn", NULL, NULL));
    assert_null(family_find("", NULL, NULL));
    family_names(names, sizeof names);
    assert_string_equal(names, "only huginn_raven, ouro, llama are supported");
    family_names(names, 8);
    assert_string_equal(names, "only hu");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_other_plan), cmocka_unit_test(test_no_injection),
                                       cmocka_unit_test(test_fixed_depth), cmocka_unit_test(test_table)};
    return RUN_ON_EVERY_DEVICE(tests, NULL, NULL);
}
