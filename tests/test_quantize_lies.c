/* Goal: a quantised folder that is not what it says is refused in one line that names the tensor or the key, and so is
 * a value that a type cannot hold. Method: folders that were quantised, whose tensors or configuration are then
 * rewritten: types, shapes, missing and surplus tensors, scales that no group has. */
#include "engine/model/synthetic.h"
#include "engine/model/weight_plan.h"
#include "tests/quantized.h"

/* As loading lists the tensors, without a device. */
static enum mn_status list_folder(const char *dir, const char *type, const struct mn_log *log)
{
    struct model_config config;
    struct weights weights = {0};
    struct weight_plan plan = {.config = &config, .log = log, .dir = dir};
    assert_int_equal(weight_scheme_parse(type, &plan.scheme, log), MN_OK);
    enum mn_status status = config_load(&config, dir, log);
    if (!status)
        status = weights_list(&weights, &plan);
    weight_plan_finish(&plan);
    weights_finish(&weights);
    return status;
}

static void expect_refusal(struct place *p, enum mn_status status, const char *what, const char *word)
{
    if (mn_status_exit_code(status) != 4 || p->log.n_errors != 1 || !strstr(p->log.last, word))
        fail_msg("%s: status %d, %u lines: %s", what, (int)status, (unsigned)p->log.n_errors, p->log.last);
    test_log_init(&p->log);
}

#define WQKV "transformer.core_block.0.attn.Wqkv.weight" /* [288, 96] */
#define QKV_VALUES WQKV ".q4_1.values"                   /* [288, 48] */
#define QKV_SCALES WQKV ".q4_1.scales"                   /* [288, 3, 2] */

static void lie_type(struct tensors *t)
{
    t->headers[find(t, QKV_VALUES)].dtype_name = "I8";
}

static void lie_scale_type(struct tensors *t)
{
    t->headers[find(t, QKV_SCALES)].dtype_name = "BF16";
}

static void drop(struct tensors *t, const char *name)
{
    const uint32_t i = find(t, name);
    free(t->bytes[i]);
    t->n--;
    t->headers[i] = t->headers[t->n];
    t->bytes[i] = t->bytes[t->n];
}

static void lie_no_scales(struct tensors *t)
{
    drop(t, QKV_SCALES);
}

static void lie_no_values(struct tensors *t)
{
    drop(t, QKV_VALUES);
}

static void add(struct tensors *t, const char *name, const char *dtype, uint64_t rows, uint64_t columns,
                uint64_t value_bytes)
{
    t->headers[t->n] = (struct tensor_header){name, dtype, 2, {rows, columns}, rows * columns * value_bytes};
    t->bytes[t->n] = calloc(rows * columns, value_bytes);
    assert_non_null(t->bytes[t->n++]);
}

static void lie_plain_too(struct tensors *t)
{
    add(t, WQKV, "BF16", 288, 96, 2);
}

static void lie_two_types(struct tensors *t)
{
    add(t, WQKV ".q8_0.values", "U8", 288, 96, 1);
    add(t, WQKV ".q8_0.scales", "F16", 288, 3, 2);
}

static void lie_other_type(struct tensors *t)
{
    drop(t, QKV_VALUES);
    drop(t, QKV_SCALES);
    lie_two_types(t);
}

static void lie_plain(struct tensors *t)
{
    drop(t, QKV_VALUES);
    drop(t, QKV_SCALES);
    lie_plain_too(t);
}

static void shorten(struct tensors *t, const char *name)
{
    struct tensor_header *h = &t->headers[find(t, name)];
    h->bytes -= h->bytes / h->shape[0];
    h->shape[0]--;
}

static void lie_fewer_rows(struct tensors *t)
{
    shorten(t, QKV_VALUES);
    shorten(t, QKV_SCALES);
}

static void lie_fewer_scales(struct tensors *t)
{
    shorten(t, QKV_SCALES);
}

static void lie_fewer_words(struct tensors *t)
{
    shorten(t, "transformer.wte.weight.q8_0.values");
    shorten(t, "transformer.wte.weight.q8_0.scales");
}

static void lie_rank(struct tensors *t)
{
    struct tensor_header *h = &t->headers[find(t, QKV_SCALES)];
    h->rank = 2;
    h->shape[1] *= 2;
}

static void lie_turned(struct tensors *t)
{
    struct tensor_header *h = &t->headers[find(t, QKV_VALUES)];
    const uint64_t rows = h->shape[0];
    h->shape[0] = h->shape[1];
    h->shape[1] = rows;
}

static void lie_norm(struct tensors *t)
{
    drop(t, "transformer.ln_f.weight");
    add(t, "transformer.ln_f.weight.q8_0.values", "U8", 1, 96, 1);
    add(t, "transformer.ln_f.weight.q8_0.scales", "F16", 1, 3, 2);
}

static void lie_norm_too(struct tensors *t)
{
    add(t, "transformer.coda.0.norm_1.weight.q8_0.values", "U8", 1, 96, 1);
    add(t, "transformer.coda.0.norm_1.weight.q8_0.scales", "F16", 1, 3, 2);
}

static const struct {
    const char *what, *word;
    void (*make)(struct tensors *t);
} lies[] = {{"values of another type", "'" QKV_VALUES "' has type I8", lie_type},
            {"scales of another type", "'" QKV_SCALES "' has type BF16", lie_scale_type},
            {"no scales", "'" QKV_SCALES "' is missing", lie_no_scales},
            {"no values", "'" QKV_VALUES "' is missing", lie_no_values},
            {"as it was, too", "'" WQKV "' is there twice", lie_plain_too},
            {"two types", "'" WQKV "' is there twice", lie_two_types},
            {"another type", "'" WQKV "' is stored as q8_0", lie_other_type},
            {"not quantised", "'" WQKV "' is stored as bf16", lie_plain},
            {"fewer rows", "'" QKV_VALUES "' has rank 2 and shape [287, 48", lie_fewer_rows},
            {"fewer scales", "'" QKV_SCALES "' has rank 3 and shape [287, 3, 2]", lie_fewer_scales},
            {"fewer words", "'transformer.wte.weight.q8_0.values' has rank 2 and shape [223", lie_fewer_words},
            {"scales of another rank", "'" QKV_SCALES "' has rank 2", lie_rank},
            {"turned", "'" QKV_VALUES "' has rank 2 and shape [48, 288", lie_turned},
            {"a quantised norm", "'transformer.ln_f.weight' is missing", lie_norm},
            {"a quantised norm beside", "'transformer.coda.0.norm_1.weight.q8_0.", lie_norm_too}};

static void test_lies(void **state)
{
    (void)state;
    static struct tensors t;
    struct place p;
    char lie[PATH_BYTES];
    place_open(&p);
    snprintf(lie, sizeof lie, "%s/lie", p.dir);
    quantize_well(&p, FOLDER, "q4_1");
    assert_int_equal(list_folder(p.out, NULL, &p.log.log), MN_OK);
    assert_int_equal(list_folder(p.out, "q4_1", &p.log.log), MN_OK);
    assert_int_equal(list_folder(p.out, "f16", &p.log.log), MN_OK);
    expect_refusal(&p, list_folder(p.out, "q8_0", &p.log.log), "q8_0 of q4_1", "weight_type q8_0 would round it again");
    expect_refusal(&p, list_folder(p.out, "q4_1+all=q4_1", &p.log.log), "exceptions", "would round it again");
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        tensors_read(&t, p.out);
        lies[i].make(&t);
        run_shell("cp -r", p.out, lie);
        tensors_write(&t, lie);
        expect_refusal(&p, list_folder(lie, NULL, &p.log.log), lies[i].what, lies[i].word);
        run_shell("rm -r", lie, NULL);
        tensors_free(&t);
    }
    place_close(&p);
}

/* Seen while the values are read: by whoever loads them, not by the list. */
static void test_scales(void **state)
{
    (void)state;
    static struct tensors t;
    static const struct {
        const char *name;
        uint32_t at; /* half of the tensor */
        uint16_t half;
        const char *word;
    } wrong[] = {{QKV_SCALES, 0, 0x7e00, "not finite"},
                 {QKV_SCALES, 287 * 6 + 5, 0xfc00, "not finite"},
                 {QKV_SCALES, 6, 0x8001, "negative"},
                 {"transformer.wte.weight.q8_0.scales", 223 * 3 + 2, 0x7c00, "not finite"},
                 {"transformer.adapter.weight.q8_0.scales", 5, 0xb800, "negative"}};
    struct place p;
    place_open(&p);
    quantize_well(&p, FOLDER, "q4_1");
    test_engine_done(test_engine(&p.log, p.out, NULL)); /* skips where there is no device */
    tensors_read(&t, p.out);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        for (int as_f32 = 0; as_f32 < 2; as_f32++) {
            struct mn_engine *engine;
            uint8_t *const at = t.bytes[find(&t, wrong[i].name)] + 2 * wrong[i].at;
            uint16_t before;
            char text[PATH_BYTES];
            memcpy(&before, at, 2);
            memcpy(at, &wrong[i].half, 2);
            tensors_write(&t, p.out);
            const enum mn_status status = mn_engine_create(
                &engine, &(struct mn_engine_params){.model_dir = p.out,
                                                    .device = test_device,
                                                    .weight_type = as_f32 ? "f32" : NULL,
                                                    .log = &p.log.log});
            snprintf(text, sizeof text, "'%s' holds a scale that is %s", wrong[i].name, wrong[i].word);
            expect_refusal(&p, status, "a scale", text);
            assert_null(engine);
            memcpy(at, &before, 2);
        }
    tensors_free(&t);
    place_close(&p);
}

static void test_configs(void **state)
{
    (void)state;
    static const char *const wrong[][3] = {
        {"\"muninn\"", "\"gptq\"", "'quant_method': value \"gptq\""},
        {"\"quant_method\": \"muninn\", ", "", "'quantization_config'"},
        {"\"format\": 1", "\"format\": 2", "'format': value 2"},
        {"\"format\": 1, ", "", "'format': value (missing)"},
        {"\"group_size\": 32", "\"group_size\": 64", "'group_size': value 64"},
        {"\"weight_type\": \"q4_1\"", "\"weight_type\": \"q5_0\"", "'weight_type': value \"q5_0\""},
        {"\"weight_type\": \"q4_1\"", "\"weight_type\": \"bf16\"", "'weight_type': value \"bf16\""},
        {"\"weight_type\": \"q4_1\"", "\"weight_type\": 4", "'weight_type': value 4"},
        {"\"weight_type\": \"q4_1\"", "\"weight_type\": \"q8_0\"", "weight_type q8_0 of config.json makes it q8_0"},
        {"\"quantization_config\"", "\"quantisation_config\"", "config.json has no quantization_config"},
        {"\"intermediate_size\": 160", "\"intermediate_size\": 128", "config.json asks for"},
    };
    struct place p;
    place_open(&p);
    quantize_well(&p, FOLDER, "q4_1");
    char *config = read_text(p.out, "config.json");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *lie = replaced(config, wrong[i][0], wrong[i][1]);
        write_text(p.out, "config.json", lie);
        expect_refusal(&p, list_folder(p.out, NULL, &p.log.log), wrong[i][2], wrong[i][2]);
        free(lie);
    }
    write_text(p.out, "config.json", config);
    /* Shorter than it says. */
    char path[PATH_BYTES];
    struct stat info;
    snprintf(path, sizeof path, "%s/model.safetensors", p.out);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size - 1), 0);
    expect_refusal(&p, list_folder(p.out, NULL, &p.log.log), "a truncated file", "model.safetensors");
    /* A shape of no weights of its own. */
    struct model_config parsed;
    snprintf(path, sizeof path, "%s/config.json", p.out);
    expect_refusal(&p, synthetic_config(&parsed, path, &p.log.log), "synthetic", "'quantization_config'");
    free(config);
    place_close(&p);
}

/* Rows of 72 values: nothing of such a model is quantised, and nobody may say that it is. */
static void test_groups_that_do_not_fit(void **state)
{
    (void)state;
    static const char name[] = "transformer.core_block.0.attn.Wqkv.weight";
    static struct tensors t;
    struct place p;
    char values[128], scales[128];
    place_open(&p);
    quantize_well(&p, VECTORS "retrofit-olmo", "q8_0");
    tensors_read(&t, p.out);
    const uint64_t rows = t.headers[find(&t, name)].shape[0];
    drop(&t, name);
    snprintf(values, sizeof values, "%s.q8_0.values", name);
    snprintf(scales, sizeof scales, "%s.q8_0.scales", name);
    add(&t, values, "U8", rows, 64, 1);
    add(&t, scales, "F16", rows, 2, 2);
    tensors_write(&t, p.out);
    expect_refusal(&p, list_folder(p.out, NULL, &p.log.log), "rows of 72", "rows of 72 values are no whole groups");
    tensors_free(&t);
    place_close(&p);
}

/* Values that no type of 8 bits holds, in a matrix and in the gate that the host computes. */
static void test_values_that_do_not_fit(void **state)
{
    (void)state;
    static const char *const names[] = {"model.layers.0.mlp.down_proj.weight", "model.early_exit_gate.weight"};
    static const struct random_shape shape = {.n_embd = 64,
                                              .n_heads = 2,
                                              .intermediate_size = 64,
                                              .vocab_size = 96,
                                              .n_core = 1,
                                              .block_size = 32,
                                              .family = "ouro",
                                              .seed = 5};
    static struct tensors t;
    for (int i = 0; i < 2; i++) {
        struct place p;
        struct mn_engine *engine;
        char *dir;
        const float huge = 1e9f;
        place_open(&p);
        random_model_write(&shape, &dir);
        tensors_read(&t, dir);
        memcpy(t.bytes[find(&t, names[i])] + 44 * sizeof huge, &huge, sizeof huge);
        tensors_write(&t, dir);
        tensors_free(&t);
        expect_refusal(&p, quantize(&p, dir, "q8_0"), "quantise", names[i]);
        assert_int_equal(count_files(p.dir), 0);
        const enum mn_status status = mn_engine_create(
            &engine, &(struct mn_engine_params){
                         .model_dir = dir, .device = test_device, .weight_type = "q8_0", .log = &p.log.log});
        if (status != MN_ERR_NO_DEVICE)
            expect_refusal(&p, status, "at load", names[i]);
        random_model_remove(dir);
        place_close(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lies), cmocka_unit_test(test_configs),
                                       cmocka_unit_test(test_groups_that_do_not_fit),
                                       cmocka_unit_test(test_values_that_do_not_fit), cmocka_unit_test(test_scales)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
