/* Goal: a folder that was quantised once is the model that quantising at load makes, bit by bit, and what it must not
 * be is refused in one line that names it. Method: folders of every family, whose logits and counts of matrices are
 * compared with those of the original under the same scheme, and which hold as f32 what they hold in groups; shards
 * against one file; all else byte for byte. Lies are made by rewriting such a folder's tensors or its configuration.
 * Places that may not be written to, a caller who stops at every call, and a disk that takes no more leave nothing. */
#include <signal.h>
#include <sys/resource.h>

#include "engine/model/family.h"
#include "engine/model/quantize.h"
#include "tests/quantized.h"

/* ---- the same model ---- */

enum { N_PROMPT = 9, N_STEPS = 3 };

struct model_seen {
    float *logits; /* [N_PROMPT, n_vocab]; NULL: not asked for */
    uint32_t n_vocab;
    uint8_t *matrices; /* as they lie on the device; NULL: the host does not see them */
    size_t n_bytes;
    struct mn_weight_count counts[WEIGHT_TYPES];
    char weight_type[WEIGHT_SCHEME_BYTES];
    float gate[256];
    uint32_t n_gate;
};

static enum mn_status keep_logits(void *user, uint32_t position, const float *logits, uint32_t n_vocab)
{
    memcpy((float *)user + (size_t)position * n_vocab, logits, n_vocab * sizeof *logits);
    return MN_OK;
}

static void look_at_logits(struct model_seen *seen, struct mn_engine *engine)
{
    const uint32_t steps = engine->model->config.family->fixed_depth ? 1 : N_STEPS;
    uint32_t ids[N_PROMPT], token;
    seen->logits = calloc((size_t)N_PROMPT * seen->n_vocab, sizeof *seen->logits);
    assert_non_null(seen->logits);
    for (uint32_t i = 0; i < N_PROMPT; i++)
        ids[i] = (7 + i * 13) % seen->n_vocab;
    struct session *session = test_session(
        engine, &(struct session_params){.num_steps = steps, .max_rows = 1, .kv_type = KV_F32, .n_ctx = 16});
    const struct session_prefill_params prefill = {
        .ids = ids, .n = N_PROMPT, .num_steps = steps, .each_logits = keep_logits, .user = seen->logits};
    assert_int_equal(session_prefill(session, &prefill, &token), MN_OK);
    session_destroy(session);
}

static void look_at_matrix(struct model_seen *seen, const struct matrix *matrix)
{
    for (uint32_t row = 0, n; row < matrix->n_out; row += n) {
        n = matrix_rows_at(matrix, row, matrix->n_out);
        const void *bytes = span_host(matrix_span(matrix, row, n));
        if (!bytes)
            return;
        seen->matrices = realloc(seen->matrices, seen->n_bytes + n * matrix->row_bytes);
        assert_non_null(seen->matrices);
        memcpy(seen->matrices + seen->n_bytes, bytes, n * matrix->row_bytes);
        seen->n_bytes += n * matrix->row_bytes;
    }
}

static struct model_seen look(const char *dir, const char *weight_type, bool logits)
{
    struct test_log log;
    struct model_seen seen = {0};
    struct mn_model_info info;
    test_log_init(&log);
    struct mn_engine *engine = test_engine(&log, dir, weight_type);
    const struct weights *w = &engine->model->weights;
    const struct matrix *const whole[] = {&w->embedding, &w->head, &w->adapter_state, &w->adapter_embed};
    seen.n_vocab = engine->model->config.vocab_size;
    for (int i = 0; i < 4; i++)
        look_at_matrix(&seen, whole[i]);
    for (uint32_t i = 0; i < w->n_blocks; i++) {
        const struct block_weights *b = &w->blocks[i];
        const struct matrix *const parts[] = {&b->qkv, &b->proj, &b->gate, &b->down};
        for (int k = 0; k < 4; k++)
            look_at_matrix(&seen, parts[k]);
    }
    if (logits || !seen.matrices)
        look_at_logits(&seen, engine);
    mn_engine_info(engine, &info);
    snprintf(seen.weight_type, sizeof seen.weight_type, "%s", info.weight_type);
    for (uint32_t i = 0; i < WEIGHT_TYPES; i++)
        mn_engine_weight_count(engine, i, &seen.counts[i]);
    seen.n_gate = w->exit_gate ? engine->model->config.n_embd + 1 : 0;
    assert_true(seen.n_gate <= sizeof seen.gate / sizeof *seen.gate);
    if (w->exit_gate)
        memcpy(seen.gate, w->exit_gate, seen.n_gate * sizeof *seen.gate);
    test_engine_done(engine);
    return seen;
}

/* Of one and the same types, or of any. */
static void expect_same(const struct model_seen *a, const struct model_seen *b, bool types)
{
    assert_int_equal(a->n_vocab, b->n_vocab);
    assert_int_equal(a->n_gate, b->n_gate);
    assert_memory_equal(a->gate, b->gate, sizeof a->gate);
    if (a->logits)
        assert_memory_equal(a->logits, b->logits, (size_t)N_PROMPT * a->n_vocab * sizeof *a->logits);
    if (!types)
        return;
    assert_int_equal(a->n_bytes, b->n_bytes);
    assert_memory_equal(a->matrices ? a->matrices : (uint8_t *)"", b->matrices ? b->matrices : (uint8_t *)"",
                        a->n_bytes);
    assert_memory_equal(a->counts, b->counts, sizeof a->counts);
}

static void forget(struct model_seen *seen)
{
    free(seen->logits);
    free(seen->matrices);
}

static void test_same_bits(void **state)
{
    (void)state;
    static const struct {
        const char *dir, *type;
        bool logits, kept; /* kept: rows of 72, 100, 112 values, heads that are padded */
    } cases[] = {
        {FOLDER, "q4_1", true, false},
        {FOLDER, "bf16+core.mlp=q8_0+coda=q4_1+adapter=q4_1", false, false},
        {VECTORS "retrofit-tinyllama-bf16-sharded", "q4_1+all=q4_1", false, false},
        {VECTORS "odd-bf16-sharded", "q8_0", false, true},
        {VECTORS "retrofit-llama", "q8_0", false, false},
        {VECTORS "retrofit-olmo", "q4_1", false, true},
        {VECTORS "ouro", "q4_1", true, true},
        {VECTORS "llama-fixed-depth", "f16+core=q4_1", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct place p;
        place_open(&p);
        quantize_well(&p, cases[i].dir, cases[i].type);
        struct model_seen at_load = look(cases[i].dir, cases[i].type, cases[i].logits),
                          folder = look(p.out, NULL, cases[i].logits);
        print_message("%s as %s\n", cases[i].dir + strlen(VECTORS), cases[i].type);
        expect_same(&at_load, &folder, true);
        assert_string_equal(folder.weight_type, cases[i].type);
        uint32_t n_kept = 0;
        for (int type = 0; type < WEIGHT_TYPES; type++)
            n_kept += folder.counts[type].n_kept;
        assert_int_equal(n_kept > 0, cases[i].kept);
        if (i == 0) { /* and what the groups stand for is in it */
            struct model_seen as_f32 = look(p.out, "f32", true), again = look(p.out, cases[i].type, false);
            expect_same(&at_load, &as_f32, false);
            assert_int_equal(as_f32.counts[WEIGHT_TYPE_Q4_1].n_matrices, 0);
            expect_same(&again, &folder, true);
            forget(&as_f32);
            forget(&again);
        }
        forget(&at_load);
        forget(&folder);
        place_close(&p);
    }
}

/* ---- what is in the folder ---- */

/* Cut into shards, the tensors are the same, and the index is one that can be read. */
static void test_shards(void **state)
{
    (void)state;
    static struct tensors one, many;
    struct place p;
    char path[PATH_BYTES];
    struct quantize_params params = {.model_dir = FOLDER, .shard_bytes = 20000};
    place_open(&p);
    quantize_well(&p, FOLDER, "q4_1");
    snprintf(path, sizeof path, "%s/many", p.dir);
    params.out_dir = path;
    params.log = &p.log.log;
    assert_int_equal(weight_scheme_parse("q4_1", &params.scheme, NULL), MN_OK);
    assert_int_equal(quantize_folder(&params, NULL), MN_OK);
    tensors_read(&one, p.out);
    tensors_read(&many, path);
    assert_true(safetensors_n_shards(many.file) > 3);
    expect_same_tensors(&one, &many);
    tensors_free(&one);
    tensors_free(&many);
    assert_int_equal(p.log.n_errors + p.log.n_warnings, 0);
    place_close(&p);
}

/* A model of its own in p->dir/model, with more in it than a model needs. */
static void copy_model(const struct place *p, char *model)
{
    snprintf(model, PATH_BYTES, "%s/model", p->dir);
    run_shell("cp -r", FOLDER, model);
    write_text(model, "README.md", "read me\n");
    write_text(model, ".hidden", "no\n");
    write_text(model, "pytorch_model.bin", "no\n");
    snprintf(model + strlen(model), 16, "/onnx");
    assert_int_equal(mkdir(model, 0777), 0);
    *strrchr(model, '/') = '\0';
}

/* A quantization_config at the end, or where a null stands; everything else is what it was. */
static void test_rest(void **state)
{
    (void)state;
    static const char value[] = "{\"quant_method\": \"muninn\", \"format\": 1, \"weight_type\": \"q8_0\", "
                                "\"group_size\": 32}";
    static const char *const beginnings[] = {"{", "{\"quantization_config\" : null,",
                                             ("\xef\xbb\xbf{\"x\": [\"}\", {\"quantization_config\": null}], \"y\": "
                                              "\"\\\"quantization_config\\\": null\", ")};
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        struct place p;
        char model[PATH_BYTES];
        place_open(&p);
        copy_model(&p, model);
        char *before = read_text(model, "config.json"), *given = replaced(before, "{", beginnings[i]);
        write_text(model, "config.json", given);
        if (quantize(&p, model, "q8_0"))
            fail_msg("%s", p.log.last);
        char *after = read_text(p.out, "config.json"), *without = replaced(after, value, "null");
        char *member = i == 1 ? strdup(without) : NULL;
        if (i != 1) { /* the member that was put in, taken out again */
            char *at = strstr(without, "\"quantization_config\": null\n}");
            assert_non_null(at);
            while (at[-1] != ',')
                at--;
            member = malloc(strlen(without) + 1);
            sprintf(member, "%.*s\n}%s", (int)(at - 1 - without), without, strrchr(without, '}') + 1);
        }
        assert_string_equal(member, given);
        assert_int_equal(count_files(p.out), 4); /* config, model, golden.json, README */
        char *copied = read_text(p.out, "README.md");
        assert_string_equal(copied, "read me\n");
        free(copied);
        free(member);
        free(without);
        free(after);
        free(given);
        free(before);
        place_close(&p);
    }
}

/* ---- places, and ends before the end ---- */

static void expect_nothing(struct place *p, enum mn_status status, enum mn_status expected, const char *word,
                           uint32_t n_files)
{
    if (status != expected || p->log.n_errors != (expected != MN_ERR_INTERRUPTED) || !strstr(p->log.last, word))
        fail_msg("%s: status %d, %u lines: %s", word, (int)status, (unsigned)p->log.n_errors, p->log.last);
    assert_int_equal(count_files(p->dir), n_files);
    test_log_init(&p->log);
}

static enum mn_status quantize_to(struct place *p, const char *model, const char *out, const char *type)
{
    return mn_quantize(
        &(struct mn_quantize_params){.model_dir = model, .out_dir = out, .weight_type = type, .log = &p->log.log},
        NULL);
}

static void test_places(void **state)
{
    (void)state;
    struct place p;
    char model[PATH_BYTES], path[PATH_BYTES + 32], link[PATH_BYTES];
    place_open(&p);
    copy_model(&p, model);
    const uint32_t n_model = count_files(model);
    static const char *const inside[] = {"", "/", "/.", "/q", "/onnx", "/onnx/q", "/../model", "/onnx/../q"};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        snprintf(path, sizeof path, "%s%s", model, inside[i]);
        expect_nothing(&p, quantize_to(&p, model, path, "q8_0"), MN_ERR_USAGE, "the input", 1);
        assert_int_equal(count_files(model), n_model);
    }
    /* By way of a link, and to one. */
    snprintf(link, sizeof link, "%s/link", p.dir);
    assert_int_equal(symlink("model", link), 0);
    snprintf(path, sizeof path, "%s/q", link);
    expect_nothing(&p, quantize_to(&p, model, path, "q8_0"), MN_ERR_USAGE, "the input", 2);
    expect_nothing(&p, quantize_to(&p, model, link, "q8_0"), MN_ERR_USAGE, "the input", 2);
    expect_nothing(&p, quantize_to(&p, FOLDER, link, "q8_0"), MN_ERR_USAGE, "is there already", 2);
    expect_nothing(&p, quantize_to(&p, FOLDER, model, "q8_0"), MN_ERR_USAGE, "is there already", 2);
    snprintf(path, sizeof path, "%s/config.json", model);
    expect_nothing(&p, quantize_to(&p, FOLDER, path, "q8_0"), MN_ERR_USAGE, "is there already", 2);
    expect_nothing(&p, quantize_to(&p, FOLDER, "", "q8_0"), MN_ERR_USAGE, "empty", 2);
    snprintf(path, sizeof path, "%s/not/there", p.dir);
    expect_nothing(&p, quantize_to(&p, FOLDER, path, "q8_0"), MN_ERR_FILE, "No such file", 2);
    /* Types. */
    expect_nothing(&p, quantize(&p, FOLDER, "bf16"), MN_ERR_USAGE, "bf16: is not a quantised type", 2);
    expect_nothing(&p, quantize(&p, FOLDER, "q5_0"), MN_ERR_USAGE, "q5_0", 2);
    /* An empty folder gives way, and the slash behind a name is none of it. */
    assert_int_equal(mkdir(p.out, 0700), 0);
    strcat(p.out, "/");
    assert_int_equal(quantize(&p, model, "q8_0"), MN_OK);
    assert_int_equal(count_files(p.dir), 3);
    snprintf(path, sizeof path, "%s/again", p.dir);
    expect_nothing(&p, quantize_to(&p, p.out, path, "q8_0"), MN_ERR_UNSUPPORTED, "is quantised already, as q8_0", 3);
    expect_nothing(&p, quantize_to(&p, p.dir, path, "q8_0"), MN_ERR_FILE, "config.json", 3);
    place_close(&p);
}

static int stop_later(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what, (void)done, (void)total;
    uint32_t *n = user;
    return (*n)-- == 0;
}

static void test_interrupted(void **state)
{
    (void)state;
    struct place p;
    place_open(&p);
    struct mn_quantize_params params = {
        .model_dir = FOLDER, .out_dir = p.out, .weight_type = "q4_1", .log = &p.log.log};
    enum mn_status status = MN_ERR_INTERRUPTED;
    uint32_t n = 0;
    for (; status == MN_ERR_INTERRUPTED; n++) {
        uint32_t left = n;
        params.progress = (struct mn_progress){stop_later, &left};
        status = mn_quantize(&params, NULL);
        if (status)
            expect_nothing(&p, status, MN_ERR_INTERRUPTED, "", 0);
    }
    assert_int_equal(status, MN_OK);
    assert_true(n > 60); /* once for every tensor at least */
    place_close(&p);
}

/* As on a full disk: no file may become larger than so much. */
static void test_full(void **state)
{
    (void)state;
    static const rlim_t most[] = {0, 100, 4096, 300000};
    struct place p;
    struct rlimit before;
    place_open(&p);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        const struct rlimit small = {most[i], before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        const enum mn_status status = quantize(&p, FOLDER, "q8_0");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        expect_nothing(&p, status, MN_ERR_RUN, "writing failed", 0);
    }
    signal(SIGXFSZ, SIG_DFL);
    place_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shards), cmocka_unit_test(test_rest),
                                       cmocka_unit_test(test_places), cmocka_unit_test(test_interrupted),
                                       cmocka_unit_test(test_full),   cmocka_unit_test(test_same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
