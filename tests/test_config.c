/* Goal: config.json and generation_config.json give either a configuration inside the limits of config.h, or one
 * message that names file, key and value.
 * Method: a complete valid configuration in which each table row replaces (or removes, or adds) one key; the published
 * huginn-0125 settings, the default model and the golden vectors as positive cases; damaged and missing files in a
 * temporary directory.
 */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/model/config.h"
#include "tests/capture.h"

static const char *const base[][2] = {
    {"model_type", "\"huginn_raven\""},
    {"n_embd", "64"},
    {"n_heads", "4"},
    {"intermediate_size", "100"},
    {"vocab_size", "256"},
    {"n_layers_in_prelude", "2"},
    {"n_layers_in_recurrent_block", "4"},
    {"n_layers_in_coda", "1"},
    {"mean_recurrence", "8"},
    {"block_size", "128"},
};

/* The base configuration with key's value replaced or added; NULL value removes the key, NULL key changes nothing. */
static void compose(char *text, size_t n_text, const char *key, const char *value)
{
    size_t n = 0;
    int replaced = 0;
    n += (size_t)snprintf(text + n, n_text - n, "{\"other\": 1");
    for (size_t i = 0; i < sizeof base / sizeof *base; i++) {
        const char *v = base[i][1];
        if (key && strcmp(key, base[i][0]) == 0) {
            v = value;
            replaced = 1;
        }
        if (v)
            n += (size_t)snprintf(text + n, n_text - n, ", \"%s\": %s", base[i][0], v);
    }
    if (key && value && !replaced)
        n += (size_t)snprintf(text + n, n_text - n, ", \"%s\": %s", key, value);
    snprintf(text + n, n_text - n, "}");
}

static enum mn_status parse(struct model_config *c, const char *text, const char *generation, const struct mn_log *log)
{
    return config_parse(c, "m/config.json", text, strlen(text), "m/generation_config.json", generation,
                        generation ? strlen(generation) : 0, log);
}

static enum mn_status parse_with(struct model_config *c, const char *key, const char *value, const struct mn_log *log)
{
    char text[2048];
    compose(text, sizeof text, key, value);
    return parse(c, text, NULL, log);
}

static const struct {
    const char *key, *value;
    enum mn_status status;
    const char *log_key, *log;
} rows[] = {
    /* required, in range, not zero */
    {"model_type", NULL, MN_ERR_FORMAT, "key 'model_type'", "value (missing)"},
    {"n_embd", NULL, MN_ERR_FORMAT, "key 'n_embd'", "value (missing)"},
    {"n_heads", NULL, MN_ERR_FORMAT, "key 'n_heads'", "value (missing)"},
    {"intermediate_size", NULL, MN_ERR_FORMAT, "key 'intermediate_size'", "value (missing)"},
    {"vocab_size", NULL, MN_ERR_FORMAT, "key 'vocab_size'", "value (missing)"},
    {"n_layers_in_prelude", NULL, MN_ERR_FORMAT, "key 'n_layers_in_prelude'", "value (missing)"},
    {"n_layers_in_recurrent_block", NULL, MN_ERR_FORMAT, "key 'n_layers_in_recurrent_block'", "value (missing)"},
    {"n_layers_in_coda", NULL, MN_ERR_FORMAT, "key 'n_layers_in_coda'", "value (missing)"},
    {"mean_recurrence", NULL, MN_ERR_FORMAT, "key 'mean_recurrence'", "value (missing)"},
    {"block_size", NULL, MN_ERR_FORMAT, "key 'block_size'", "value (missing)"},
    {"n_embd", "0", MN_ERR_FORMAT, "key 'n_embd'", "value 0: must be an integer from 1 to 65536"},
    {"n_heads", "0", MN_ERR_FORMAT, "key 'n_heads'", "value 0:"},
    {"intermediate_size", "0", MN_ERR_FORMAT, "key 'intermediate_size'", "value 0:"},
    {"vocab_size", "0", MN_ERR_FORMAT, "key 'vocab_size'", "value 0:"},
    {"n_layers_in_recurrent_block", "0", MN_ERR_FORMAT, "key 'n_layers_in_recurrent_block'", "value 0:"},
    {"mean_recurrence", "0", MN_ERR_FORMAT, "key 'mean_recurrence'", "value 0:"},
    {"block_size", "0", MN_ERR_FORMAT, "key 'block_size'", "value 0:"},
    {"n_embd", "65540", MN_ERR_FORMAT, "key 'n_embd'", "value 65540:"},
    {"n_heads", "1025", MN_ERR_FORMAT, "key 'n_heads'", "value 1025:"},
    {"intermediate_size", "262145", MN_ERR_FORMAT, "key 'intermediate_size'", "value 262145:"},
    {"vocab_size", "1048577", MN_ERR_FORMAT, "key 'vocab_size'", "value 1048577:"},
    {"n_layers_in_prelude", "257", MN_ERR_FORMAT, "key 'n_layers_in_prelude'", "value 257:"},
    {"n_layers_in_recurrent_block", "4294967297", MN_ERR_FORMAT, "recurrent_block'",
     "value 4294967297:"}, /* 1 mod 2^32 */
    {"n_layers_in_coda", "1e300", MN_ERR_FORMAT, "key 'n_layers_in_coda'", "value 1e300:"},
    {"mean_recurrence", "4097", MN_ERR_FORMAT, "key 'mean_recurrence'", "value 4097:"},
    {"block_size", "1048577", MN_ERR_FORMAT, "key 'block_size'", "value 1048577:"},
    {"n_embd", "-64", MN_ERR_FORMAT, "key 'n_embd'", "value -64:"},
    {"n_embd", "64.5", MN_ERR_FORMAT, "key 'n_embd'", "value 64.5:"},
    {"n_embd", "\"64\"", MN_ERR_FORMAT, "key 'n_embd'", "value \"64\":"},
    {"n_embd", "null", MN_ERR_FORMAT, "key 'n_embd'", "value null:"},
    {"n_embd", "[64]", MN_ERR_FORMAT, "key 'n_embd'", "value [...]:"},
    {"n_embd", "1e999", MN_ERR_FORMAT, "key 'n_embd'", "outside the range of double"},
    /* heads */
    {"n_embd", "66", MN_ERR_FORMAT, "key 'n_embd'", "value 66: must be a multiple of n_heads"},
    {"n_embd", "2", MN_ERR_FORMAT, "key 'n_embd'", "value 2: must be a multiple"}, /* head_dim would be 0 */
    {"n_embd", "2056", MN_ERR_UNSUPPORTED, "key 'n_heads'", "at most 256"},
    {"n_heads", "64", MN_ERR_FORMAT, "key 'n_heads'", "value 64: gives heads of 1, must be even"},
    {"n_embd", "60", MN_ERR_FORMAT, "key 'n_heads'",
     "gives heads of 15, must be even: the rotary embedding turns pairs"},
    {"num_attention_heads", "8", MN_ERR_FORMAT, "key 'num_attention_heads'", "value 8: must equal n_heads"},
    {"num_attention_heads", "4", MN_OK, NULL, NULL},
    {"num_key_value_heads", "4", MN_OK, NULL, NULL},
    {"num_key_value_heads", "2", MN_ERR_UNSUPPORTED, "key 'num_key_value_heads'", "value 2: grouped"},
    {"num_key_value_heads", "0", MN_ERR_FORMAT, "key 'num_key_value_heads'", "value 0:"},
    {"head_dim", "0", MN_ERR_FORMAT, "key 'head_dim'", "value 0:"},
    {"head_dim", "32", MN_ERR_FORMAT, "key 'head_dim'", "value 32: must equal n_embd / n_heads"},
    {"hidden_size", "63", MN_ERR_FORMAT, "key 'hidden_size'", "value 63: must equal n_embd"},
    /* vocabulary */
    {"padded_vocab_size", "4096", MN_OK, NULL, NULL},
    {"padded_vocab_size", "255", MN_ERR_FORMAT, "key 'padded_vocab_size'", "value 255: must be an integer from 256"},
    {"padded_vocab_size", "1048577", MN_ERR_FORMAT, "key 'padded_vocab_size'", "value 1048577:"},
    {"bos_token_id", "255", MN_OK, NULL, NULL},
    {"bos_token_id", "256", MN_ERR_FORMAT, "key 'bos_token_id'", "value 256: must be an integer from 0 to 255"},
    {"bos_token_id", "-1", MN_ERR_FORMAT, "key 'bos_token_id'", "value -1:"},
    {"bos_token_id", "4294967295", MN_ERR_FORMAT, "key 'bos_token_id'", "value 4294967295:"}, /* our own "none" */
    {"bos_token_id", "[1]", MN_ERR_FORMAT, "key 'bos_token_id'", "value [...]:"},
    {"eos_token_id", "256", MN_ERR_FORMAT, "key 'eos_token_id'", "value 256:"},
    {"eos_token_id", "[1, 256]", MN_ERR_FORMAT, "key 'eos_token_id'", "value 256:"},
    {"eos_token_id", "[1, null]", MN_ERR_FORMAT, "key 'eos_token_id'", "value null:"},
    {"eos_token_id", "[[1]]", MN_ERR_FORMAT, "key 'eos_token_id'", "value [...]:"},
    {"eos_token_id", "\"1\"", MN_ERR_FORMAT, "key 'eos_token_id'", "value \"1\":"},
    {"eos_token_id", "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]", MN_ERR_UNSUPPORTED, "key 'eos_token_id'",
     "more than 16 ids"},
    {"eos_token_id", "NaN", MN_ERR_FORMAT, "key 'eos_token_id'", "value NaN:"}, /* null would keep the default */
    {"bos_token_id", "Infinity", MN_ERR_FORMAT, "key 'bos_token_id'", "value Infinity:"},
    {"torch_dtype", "-Infinity", MN_ERR_FORMAT, "key 'torch_dtype'", "value -Infinity:"},
    /* what nobody reads may be what Python writes */
    {"time_step_limit", "[0.0, Infinity]", MN_OK, NULL, NULL},
    {"ignored", "{\"a\": [NaN, -Infinity]}", MN_OK, NULL, NULL},
    /* building blocks */
    {"model_type", "\"mamba\"", MN_ERR_UNSUPPORTED, "key 'model_type'", "value \"mamba\": only huginn_raven"},
    {"model_type", "\"HUGINN_RAVEN\"", MN_ERR_UNSUPPORTED, "key 'model_type'", "only huginn_raven"},
    {"model_type", "7", MN_ERR_FORMAT, "key 'model_type'", "value 7:"},
    {"bias", "true", MN_ERR_UNSUPPORTED, "key 'bias'", "value true:"},
    {"bias", "1", MN_ERR_FORMAT, "key 'bias'", "value 1: must be true or false"},
    {"injection_type", "\"add\"", MN_ERR_UNSUPPORTED, "key 'injection_type'", "value \"add\": only linear"},
    {"nonlin_name", "\"GELU\"", MN_ERR_UNSUPPORTED, "key 'nonlin_name'", "value \"GELU\": only SiLU"},
    {"norm_class_name", "\"LayerNorm\"", MN_ERR_UNSUPPORTED, "key 'norm_class_name'", "only RMSNorm_llama"},
    {"norm_class_name", "\"RMSNorm_llama\"", MN_OK, NULL, NULL},
    {"norm_class_name", "\"RMSNorm\"", MN_OK, NULL, NULL},
    {"block_class_name", "\"TransformerPreNormBlock\"", MN_ERR_UNSUPPORTED, "key 'block_class_name'",
     "only SandwichBlock"},
    {"mlp_class_name", "\"BaseMLP\"", MN_ERR_UNSUPPORTED, "key 'mlp_class_name'", "only GatedMLP"},
    {"architecture_class_name", "\"GPT\"", MN_ERR_UNSUPPORTED, "key 'architecture_class_name'", "only RecurrentGPT"},
    {"nonlin_name", "{}", MN_ERR_FORMAT, "key 'nonlin_name'", "value {...}:"},
    {"test_time_noise", "0", MN_OK, NULL, NULL},
    {"test_time_noise", "0.1", MN_ERR_UNSUPPORTED, "key 'test_time_noise'", "value 0.1:"},
    {"init_values", "{\"embed_scale\": 8.0}", MN_OK, NULL, NULL},
    {"init_values", "{\"embed_scale\": 1.0}", MN_ERR_UNSUPPORTED, "key 'embed_scale'", "value 1.0:"},
    /* constants: zero, negative, not finite, zero as float */
    {"norm_eps", "0", MN_ERR_FORMAT, "key 'norm_eps'", "value 0:"},
    {"norm_eps", "-1e-6", MN_ERR_FORMAT, "key 'norm_eps'", "value -1e-6:"},
    {"norm_eps", "1e-50", MN_ERR_FORMAT, "key 'norm_eps'", "value 1e-50:"},
    {"norm_eps", "1e-400", MN_ERR_FORMAT, "key 'norm_eps'", "value 1e-400:"},
    {"norm_eps", "1e400", MN_ERR_FORMAT, "key 'norm_eps'", "outside the range"},
    {"norm_eps", "NaN", MN_ERR_FORMAT, "key 'norm_eps'", "value NaN: must be a number"},
    {"norm_eps", "1e39", MN_ERR_FORMAT, "key 'norm_eps'", "must be a number"},
    {"norm_eps", "\"1e-6\"", MN_ERR_FORMAT, "key 'norm_eps'", "value \"1e-6\":"},
    {"rope_base", "0", MN_ERR_FORMAT, "key 'rope_base'", "value 0:"},
    {"rope_base", "-50000", MN_ERR_FORMAT, "key 'rope_base'", "value -50000:"},
    {"rope_base", "1e39", MN_ERR_FORMAT, "key 'rope_base'", "must be a number"}, /* infinite as float */
    {"rope_base", "Infinity", MN_ERR_FORMAT, "key 'rope_base'", "value Infinity: must be a number"},
    {"tie_embeddings", "\"yes\"", MN_ERR_FORMAT, "key 'tie_embeddings'", "value \"yes\":"},
    {"qk_bias", "0", MN_ERR_FORMAT, "key 'qk_bias'", "value 0:"},
    {"torch_dtype", "\"float8_e4m3fn\"", MN_OK, NULL, NULL}, /* the weights say what they are */
    {"torch_dtype", "5", MN_ERR_FORMAT, "key 'torch_dtype'", "value 5:"},
    {"dtype", "\"a name of more than fifteen bytes\"", MN_OK, NULL, NULL},
    {"dtype", "[]", MN_ERR_FORMAT, "key 'dtype'", "value [...]:"},
    /* settings of others, which may only say what is built */
    {"quantization_config", "null", MN_OK, NULL, NULL},
    {"quantization_config", "{\"bits\": 4}", MN_ERR_UNSUPPORTED, "key 'quantization_config'", "quantised"},
    {"partial_rotary_factor", "1.0", MN_OK, NULL, NULL},
    {"partial_rotary_factor", "0.5", MN_ERR_UNSUPPORTED, "key 'partial_rotary_factor'", "value 0.5:"},
    {"rope_scaling", "null", MN_OK, NULL, NULL},
    {"rope_scaling", "{\"type\": \"linear\", \"factor\": 2}", MN_ERR_UNSUPPORTED, "key 'rope_scaling'", "has none"},
    {"rope_parameters", "{\"rope_theta\": 50000, \"rope_type\": \"default\"}", MN_OK, NULL, NULL},
    {"rope_parameters", "{\"rope_theta\": 1e6}", MN_ERR_FORMAT, "key 'rope_parameters'", "value 1e6: the rotary"},
    {"rope_parameters", "{\"rope_type\": \"yarn\"}", MN_ERR_FORMAT, "key 'rope_parameters'", "value \"yarn\":"},
    {"rope_parameters", "{\"rope_type\": \"llama3\"}", MN_ERR_FORMAT, "key 'rope_parameters'", "value \"llama3\":"},
    {"state_init", "\"like-init\"", MN_OK, NULL, NULL},
    {"state_init", "\"embed\"", MN_ERR_UNSUPPORTED, "key 'state_init'", "value \"embed\": only like-init"},
    {"initial_state_mode", "\"learned\"", MN_ERR_UNSUPPORTED, "key 'initial_state_mode'", "value \"learned\":"},
    {"init_values", "{\"std\": -1}", MN_ERR_FORMAT, "key 'std'", "value -1:"},
    {"tie_embeddings", "true, \"tie_word_embeddings\": false", MN_ERR_FORMAT, "key 'tie_word_embeddings'",
     "value false: tie_embeddings says the opposite"},
    {"tie_embeddings", "false, \"tie_word_embeddings\": true", MN_ERR_FORMAT, "key 'tie_word_embeddings'",
     "value true: tie_embeddings says the opposite"},
    {"tie_embeddings", "false, \"tie_word_embeddings\": false", MN_OK, NULL, NULL},
    {"tie_embeddings", "false, \"tie_word_embeddings\": null", MN_OK, NULL, NULL},
    {"N_EMBD", "99", MN_OK, NULL, NULL}, /* another key: cJSON alone would find it for n_embd */
};

static void test_rows(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct model_config config;
        enum mn_status status = parse_with(&config, rows[i].key, rows[i].value, &log);
        if (status != rows[i].status)
            fail_msg("%s = %s: %s, log \"%s\"", rows[i].key, rows[i].value ? rows[i].value : "(removed)",
                     mn_status_name(status), c.line);
        if (status == MN_OK) {
            assert_int_equal(c.n, 0);
            assert_int_equal(config.n_embd, 64);
        } else {
            assert_non_null(strstr(c.line, "m/config.json: "));
            expect_log(&c, rows[i].log_key, rows[i].log);
            assert_int_equal(config.n_embd, 0);
        }
    }
}

static void test_document(void **state)
{
    (void)state;
    struct capture c = {0};
    struct mn_log log = {capture_write, &c};
    struct model_config config;
    char text[2048];
    assert_int_equal(parse(&config, "[]", NULL, &log), MN_ERR_FORMAT);
    expect_log(&c, "m/config.json", "value [...]: the file must be an object");
    assert_int_equal(parse(&config, "", NULL, &log), MN_ERR_FORMAT);
    expect_log(&c, "m/config.json", "byte 0");
    compose(text, sizeof text, NULL, NULL);
    strcpy(strrchr(text, '}'), ", \"n_embd\": 128}");
    assert_int_equal(parse(&config, text, NULL, &log), MN_ERR_FORMAT);
    expect_log(&c, "m/config.json", "key 'n_embd': given twice");

    char *huge = malloc(CONFIG_FILE_BYTES_MAX + 1);
    assert_non_null(huge);
    memset(huge, ' ', CONFIG_FILE_BYTES_MAX + 1);
    assert_int_equal(config_parse(&config, "m/config.json", huge, CONFIG_FILE_BYTES_MAX + 1, NULL, NULL, 0, &log),
                     MN_ERR_FORMAT);
    expect_log(&c, "m/config.json", "the limit is");
    free(huge);
}

static void test_defaults(void **state)
{
    (void)state;
    struct model_config c;
    assert_int_equal(parse_with(&c, NULL, NULL, NULL), MN_OK);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.n_prelude, 2);
    assert_int_equal(c.n_core, 4);
    assert_int_equal(c.n_coda, 1);
    assert_int_equal(c.padded_vocab_size, 256);
    assert_true(c.tie_embeddings && c.qk_bias);
    assert_true(c.norm_eps == 1e-6f && c.rope_base == 50000.0f);
    assert_true(c.bos_token_id == UINT32_MAX && c.n_eos == 0);
    assert_string_equal(c.torch_dtype, "bfloat16");

    assert_int_equal(parse_with(&c, "tie_word_embeddings", "false", NULL), MN_OK);
    assert_false(c.tie_embeddings);
    assert_int_equal(parse_with(&c, "tie_embeddings", "false", NULL), MN_OK);
    assert_false(c.tie_embeddings);
    assert_int_equal(parse_with(&c, "padded_vocab_size", "320", NULL), MN_OK);
    assert_int_equal(c.padded_vocab_size, 320);
    assert_int_equal(c.vocab_size, 256);
    assert_int_equal(parse_with(&c, "dtype", "\"float16\"", NULL), MN_OK);
    assert_string_equal(c.torch_dtype, "float16");

    /* how random initial states are drawn */
    assert_int_equal(parse_with(&c, NULL, NULL, NULL), MN_OK);
    assert_true(c.state_std == sqrt(2.0 / (5.0 * 64)) * sqrt(64.0));
    assert_int_equal(parse_with(&c, "init_values", "{\"std\": 0.25, \"embed_scale\": 8.0}", NULL), MN_OK);
    assert_true(c.state_std == 2.0);
}

static void test_token_ids(void **state)
{
    (void)state;
    struct capture cap = {0};
    struct mn_log log = {capture_write, &cap};
    struct model_config c;
    char text[2048];
    assert_int_equal(parse_with(&c, "eos_token_id", "7", &log), MN_OK);
    assert_true(c.n_eos == 1 && c.eos_token_ids[0] == 7);
    assert_int_equal(parse_with(&c, "eos_token_id", "[7, 0, 255]", &log), MN_OK);
    assert_true(c.n_eos == 3 && c.eos_token_ids[1] == 0 && c.eos_token_ids[2] == 255);
    assert_int_equal(parse_with(&c, "eos_token_id", "null", &log), MN_OK);
    assert_int_equal(c.n_eos, 0);
    assert_int_equal(parse_with(&c, "eos_token_id", "[]", &log), MN_OK);
    assert_int_equal(c.n_eos, 0);
    assert_int_equal(parse_with(&c, "eos_token_id", "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]", &log), MN_OK);
    assert_int_equal(c.n_eos, 16);

    /* generation_config.json wins where it says something */
    compose(text, sizeof text, "eos_token_id", "[7, 8]");
    assert_int_equal(parse(&c, text, "{\"bos_token_id\": 3, \"eos_token_id\": 9}", &log), MN_OK);
    assert_true(c.bos_token_id == 3 && c.n_eos == 1 && c.eos_token_ids[0] == 9);
    assert_int_equal(parse(&c, text, "{\"bos_token_id\": null, \"eos_token_id\": null}", &log), MN_OK);
    assert_true(c.bos_token_id == UINT32_MAX && c.n_eos == 2 && c.eos_token_ids[1] == 8);
    assert_int_equal(parse(&c, text, "{}", &log), MN_OK);
    assert_int_equal(cap.n, 0);

    const struct {
        const char *generation, *log;
    } bad[] = {
        {"", "byte 0"},
        {"[]", "the file must be an object"},
        {"{\"bos_token_id\": 256}", "key 'bos_token_id': value 256"},
        {"{\"eos_token_id\": [1, 65505]}", "key 'eos_token_id': value 65505"},
        {"{\"eos_token_id\": 1, \"eos_token_id\": 2}", "key 'eos_token_id': given twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(parse(&c, text, bad[i].generation, &log), MN_ERR_FORMAT);
        expect_log(&cap, "m/generation_config.json", bad[i].log);
        assert_int_equal(c.n_embd, 0);
    }
}

static void test_published_shape(void **state)
{
    (void)state;
    struct model_config c;
    static const char text[] =
        "{\"activation_checkpoint_impl\": \"per-iteration\", \"architecture_class_name\": \"RecurrentGPT\","
        "\"architectures\": [\"RavenForCausalLM\"], \"bias\": false, \"block_class_name\": \"SandwichBlock\","
        "\"block_size\": 4096, \"effective_expected_depth\": 132, \"head_dim\": 96, \"init_orthogonal\": false,"
        "\"init_strategy\": \"takase\", \"init_values\": {\"embed_scale\": 72.6636084983398,"
        "\"embedding\": 0.008703882797784892, \"out_proj\": 0.0005356869554443541, \"std\": 0.008703882797784892},"
        "\"injection_type\": \"linear\", \"intermediate_size\": 17920, \"mean_backprop_depth\": 8,"
        "\"mean_recurrence\": 32, \"mlp_class_name\": \"GatedMLP\", \"model_type\": \"huginn_raven\","
        "\"n_embd\": 5280, \"n_heads\": 55, \"n_layers\": 8, \"n_layers_in_coda\": 2, \"n_layers_in_prelude\": 2,"
        "\"n_layers_in_recurrent_block\": 4, \"nonlin_name\": \"SiLU\", \"norm_class_name\": \"RMSNorm_llama\","
        "\"norm_eps\": 1e-06, \"num_key_value_heads\": 55, \"padded_vocab_size\": 65536, \"padding_multiple\": 4096,"
        "\"qk_bias\": true, \"rope_base\": 50000, \"sampling_scheme\": \"poisson-lognormal-filling\","
        "\"state_init\": \"like-init\", \"tie_embeddings\": true, \"torch_dtype\": \"float32\","
        "\"vocab_size\": 65536}";
    assert_int_equal(parse(&c, text, "{\"bos_token_id\": 65504, \"eos_token_id\": 65505}", NULL), MN_OK);
    assert_true(c.n_embd == 5280 && c.n_heads == 55 && c.head_dim == 96 && c.intermediate_size == 17920);
    assert_true(c.n_prelude == 2 && c.n_core == 4 && c.n_coda == 2 && c.mean_recurrence == 32);
    assert_true(c.vocab_size == 65536 && c.padded_vocab_size == 65536 && c.block_size == 4096);
    assert_true(c.bos_token_id == 65504 && c.n_eos == 1 && c.eos_token_ids[0] == 65505);
    assert_string_equal(c.torch_dtype, "float32");
}

static void test_shipped_files(void **state)
{
    (void)state;
    const struct {
        const char *dir;
        uint32_t n_embd, n_heads, n_core, vocab_size, n_eos;
    } shipped[] = {
        {"tests/vectors/square", 64, 4, 4, 256, 0},
        {"tests/vectors/converging", 80, 5, 4, 200, 0},
        {"tests/vectors/odd-bf16-sharded", 72, 3, 3, 131, 0},
        {"models/raven-tiny", 128, 4, 2, 512, 2}, /* the list is in generation_config.json */
    };
    struct capture cap = {0};
    struct mn_log log = {capture_write, &cap};
    for (size_t i = 0; i < sizeof shipped / sizeof *shipped; i++) {
        struct model_config c;
        char path[512];
        snprintf(path, sizeof path, "%s/%s", MN_SOURCE_DIR, shipped[i].dir);
        if (config_load(&c, path, &log) != MN_OK)
            fail_msg("%s", cap.line);
        assert_int_equal(c.n_embd, shipped[i].n_embd);
        assert_int_equal(c.n_heads, shipped[i].n_heads);
        assert_int_equal(c.n_core, shipped[i].n_core);
        assert_int_equal(c.vocab_size, shipped[i].vocab_size);
        assert_int_equal(c.n_eos, shipped[i].n_eos);
    }
}

static void test_folder(void **state)
{
    (void)state;
    struct capture cap = {0};
    struct mn_log log = {capture_write, &cap};
    struct model_config c;
    char dir[] = "/tmp/muninn-config-XXXXXX", path[64], generation_path[64], text[2048];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/config.json", dir);
    snprintf(generation_path, sizeof generation_path, "%s/generation_config.json", dir);
    assert_int_equal(config_load(&c, dir, &log), MN_ERR_FILE);
    expect_log(&cap, path, "No such file");

    compose(text, sizeof text, NULL, NULL);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(config_load(&c, dir, &log), MN_OK); /* generation_config.json is optional */
    file = fopen(generation_path, "w");
    assert_non_null(file);
    fputs("{\"eos_token_id\": [1, 256]}", file);
    fclose(file);
    assert_int_equal(config_load(&c, dir, &log), MN_ERR_FORMAT);
    expect_log(&cap, generation_path, "key 'eos_token_id': value 256");
    assert_int_equal(truncate(generation_path, 10), 0);
    assert_int_equal(config_load(&c, dir, &log), MN_ERR_FORMAT);
    expect_log(&cap, generation_path, "byte 10");
    assert_int_equal(truncate(path, 20), 0);
    assert_int_equal(config_load(&c, dir, &log), MN_ERR_FORMAT);
    expect_log(&cap, path, "byte 20");
    unlink(path);
    unlink(generation_path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),      cmocka_unit_test(test_document),        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_token_ids), cmocka_unit_test(test_published_shape), cmocka_unit_test(test_shipped_files),
        cmocka_unit_test(test_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
